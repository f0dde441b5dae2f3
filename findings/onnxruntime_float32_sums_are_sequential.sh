#!/usr/bin/env bash
# onnxruntime 1.32.0 with onnx 1.23.2, Python 3.11: the mean of a million float32 numbers is off in the second digit.
#
# ReduceMean and ReduceSum over the first axis of a (1000000, 2) tensor of 0.1 add one row after the other in float32:
# the mean is 0.10096. Over a vector of the same numbers it is 0.0999, so the two shapes differ by a percent. NumPy's sum
# of the vector is pairwise and right to 1e-7. A bias gradient or a batch statistic of a large batch, run in onnxruntime,
# carries this error.
# Seen: 0.10095834 for the matrix, 0.09991033 for the vector, 0.1 from NumPy for the vector. The last digits, and the
# vector's error, depend on the processor; what is asserted is an error of more than 0.5 % for the matrix.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper


def mean_over_rows(array):
    infos = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, array.shape),
        helper.make_tensor_value_info("axes", TensorProto.INT64, [1]),
    ]
    node = helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0)
    graph = helper.make_graph([node], "mean", infos, [helper.make_tensor_value_info("mean", TensorProto.FLOAT, array.shape[1:])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": array, "axes": np.array([0], np.int64)})[0]


matrix = np.full((1_000_000, 2), 0.1, np.float32)
vector = matrix[:, 0].copy()
print("matrix", mean_over_rows(matrix), "vector", mean_over_rows(vector), "NumPy", vector.mean())
assert abs(mean_over_rows(matrix)[0] / 0.1 - 1) > 5e-3
assert abs(vector.mean() / 0.1 - 1) < 1e-6
PY
