#!/usr/bin/env bash
# onnxruntime 1.32.0 with onnx 1.23.2, Python 3.11: whether a maximum is NaN depends on the position of the NaN.
#
# ReduceMax and ArgMax of [1, NaN, 3] ignore the NaN; of [NaN, 1, 3] they return it. The elementwise Max returns NaN in
# either order, and MaxPool ignores it in either order. Four operators with one name in common have three rules, so the
# same scores, sorted in another way, pass or fail a check for NaN.
# Seen: ReduceMax 3 and NaN; ArgMax 2 and 0; Max NaN and NaN; MaxPool over pairs of [1, NaN, 3]: [1, 3].
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper


def run(op, *arrays, shape=(), result=TensorProto.FLOAT, **attributes):
    names = [f"input_{number}" for number in range(len(arrays))]
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in zip(names, arrays, strict=True)
    ]
    node = helper.make_node(op, names, ["result"], **attributes)
    graph = helper.make_graph([node], op, infos, [helper.make_tensor_value_info("result", result, shape)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip(names, arrays, strict=True)))[0]


inside = np.array([1, np.nan, 3], np.float32)
first = np.array([np.nan, 1, 3], np.float32)
axes = np.array([0], np.int64)
greatest = [float(run("ReduceMax", scores, axes, keepdims=0)) for scores in (inside, first)]
place = [int(run("ArgMax", scores, result=TensorProto.INT64, keepdims=0)) for scores in (inside, first)]
pooled = run("MaxPool", inside.reshape(1, 1, 3), shape=(1, 1, 2), kernel_shape=[2]).ravel().tolist()
print("ReduceMax", greatest, "ArgMax", place, "MaxPool", pooled)
assert greatest[0] == 3
assert np.isnan(greatest[1])
assert place == [2, 0]
assert pooled == [1, 3]
assert np.isnan(run("Max", inside[1:2], inside[:1], shape=(1,))).all()
assert np.isnan(run("Max", inside[:1], inside[1:2], shape=(1,))).all()
PY
