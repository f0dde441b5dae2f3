#!/usr/bin/env bash
# onnx 1.23.2, Python 3.11: the version converter drops the functions of a model and leaves the calls.
#
# A model that defines a function (a model-local FunctionProto) and calls it is valid for the full checker. After
# onnx.version_converter.convert_version to a newer opset no function is left in the model, while the node that calls it
# is still there. The converter raises nothing, and the full checker accepts the result, which no runtime can run.
# Seen: one function before, none after; the call is kept; check_model(full_check=True) passes; the reference evaluator,
# which runs the model before, raises for the result.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q 'onnx==1.23.2'
"$folder/env/bin/python" - <<'PY'
import numpy as np
from onnx import TensorProto, checker, helper, version_converter
from onnx.reference import ReferenceEvaluator

opsets = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
body = [helper.make_node("Mul", ["x", "x"], ["z"])]
square = helper.make_function("local", "Square", ["x"], ["z"], body, opsets[:1])
graph = helper.make_graph(
    [helper.make_node("Square", ["a"], ["b"], domain="local")],
    "calls_a_function",
    [helper.make_tensor_value_info("a", TensorProto.FLOAT, ["N"])],
    [helper.make_tensor_value_info("b", TensorProto.FLOAT, ["N"])],
)
model = helper.make_model(graph, opset_imports=opsets, functions=[square], ir_version=10)
checker.check_model(model, full_check=True)
converted = version_converter.convert_version(model, 20)
print("functions:", len(model.functions), "->", len(converted.functions))
print("nodes:", [node.op_type for node in model.graph.node], "->", [node.op_type for node in converted.graph.node])
assert len(model.functions) == 1
assert len(converted.functions) == 0
assert [node.op_type for node in converted.graph.node] == ["Square"]
checker.check_model(converted, full_check=True)  # accepts a call of a function that is not there
ReferenceEvaluator(model).run(None, {"a": np.array([3.0], np.float32)})
try:
    ReferenceEvaluator(converted).run(None, {"a": np.array([3.0], np.float32)})
except Exception as error:
    print(f"running the result: {type(error).__name__}")
else:
    raise AssertionError("the result runs")
PY
