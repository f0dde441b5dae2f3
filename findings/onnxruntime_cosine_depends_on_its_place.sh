#!/usr/bin/env bash
# onnxruntime 1.32.0 with onnx 1.23.2, Python 3.11: Cos of a double depends on its place in the tensor.
#
# A vector loop reduces the argument in fewer digits than the C library does for the numbers that are left over. So
# Cos(pi/2) is 0 within a vector, and 6.1e-17, which is right, as the only number; numbers near the other zeros lose
# some digits. The same row gives another result in a batch than alone, and what divides by a cosine is infinite.
# Seen on x86-64 with AVX2: -0.0 for all full groups of a vector, 6.123e-17 alone; 10 units of the last place at 7.7.
# NumPy gives the same for both. The size of the groups belongs to the processor, so vectors of 1 and 64 are compared.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper

graph = helper.make_graph(
    [helper.make_node("Cos", ["x"], ["y"])],
    "cosine",
    [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["N"])],
    [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["N"])],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
checker.check_model(model, full_check=True)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
angle = np.pi / 2
alone = session.run(None, {"x": np.full(1, angle)})[0]
together = session.run(None, {"x": np.full(64, angle)})[0]
print("alone:", alone[0], "in a vector of 64:", together[0], "NumPy:", np.cos(angle))
assert abs(alone[0] / 6.123233995736766e-17 - 1) < 1e-9
assert together[0] == 0
assert np.cos(np.full(64, angle))[0] == np.cos(angle)
PY
