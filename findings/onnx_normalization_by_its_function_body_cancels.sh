#!/usr/bin/env bash
# onnx 1.23.2 with onnxruntime 1.32.0, Python 3.11: the reference MeanVarianceNormalization is off by nine digits.
#
# The operator subtracts the mean and divides by the standard deviation. Its definition as a function of other operators
# takes the variance as the mean of squares minus the square of the mean. In float32, for [10000, 10001, 10002, 10003],
# both are the same number and the difference is 0: onnx's reference evaluator then divides by the epsilon 1e-9 and
# returns 1.5e9. onnxruntime has a kernel of its own and returns 1.34. Inlining the body to run or differentiate the
# operator reproduces the wrong numbers.
# Seen: reference [-1.5e9, -5e8, 5e8, 1.5e9], runtime [-1.3416407, -0.4472136, 0.4472136, 1.3416407].
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper
from onnx.reference import ReferenceEvaluator

x = np.arange(10000, 10004, dtype=np.float32)
graph = helper.make_graph(
    [helper.make_node("MeanVarianceNormalization", ["x"], ["z"], axes=[0])],
    "normalize",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
    [helper.make_tensor_value_info("z", TensorProto.FLOAT, [4])],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
checker.check_model(model, full_check=True)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
by_runtime = session.run(None, {"x": x})[0]
by_reference = ReferenceEvaluator(model).run(None, {"x": x})[0]
print(by_reference, by_runtime)
exact = (x.astype(float) - x.mean(dtype=float)) / x.std(dtype=float)
assert np.allclose(by_runtime, exact, rtol=1e-5)
assert np.abs(by_reference).max() > 1e8
PY
