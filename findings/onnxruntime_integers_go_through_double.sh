#!/usr/bin/env bash
# onnxruntime 1.32.0 with onnx 1.23.2, Python 3.11: int64 ReduceSum, ReduceProd and Pow compute in double.
#
# The operators are defined for int64 and return int64, but the sum of [2^53 + 1, 0] is 2^53, and 3^34 times 1 loses its
# last bit. Pow of (3^20, 2), whose result does not fit, is the least int64 instead of the value modulo 2^64 that Mul of
# the same two numbers gives. Add, Mul and CumSum are exact, so a sum written as a reduction and one written as a chain
# of additions differ. Identifiers, hashes and counts are what is damaged.
# Seen: ReduceSum 9007199254740992, ReduceProd 16677181699666568, Pow -9223372036854775808, Mul -6289078614652622815.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper


def run(op, *arrays, shape=(1,), **attributes):
    arrays = [np.array(array, np.int64) for array in arrays]
    names = [f"input_{number}" for number in range(len(arrays))]
    infos = [
        helper.make_tensor_value_info(name, TensorProto.INT64, array.shape)
        for name, array in zip(names, arrays, strict=True)
    ]
    node = helper.make_node(op, names, ["result"], **attributes)
    graph = helper.make_graph([node], op, infos, [helper.make_tensor_value_info("result", TensorProto.INT64, shape)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return int(session.run(None, dict(zip(names, arrays, strict=True)))[0].ravel()[0])


total = run("ReduceSum", [2**53 + 1, 0], [0], shape=(), keepdims=0)
product = run("ReduceProd", [3**34, 1], [0], shape=(), keepdims=0)
power, square = run("Pow", [3**20], [2]), run("Mul", [3**20], [3**20])
print(total, product, power, square)
assert run("Add", [2**53 + 1], [0]) == 2**53 + 1
assert total == 2**53
assert product == 3**34 - 1
assert power == -(2**63)
assert square == (3**40 + 2**63) % 2**64 - 2**63
PY
