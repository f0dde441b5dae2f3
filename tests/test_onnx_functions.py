"""Functions of a model file as functions of the ONNX model, and what is described there as doc strings."""

import numpy as np
import pytest
from selection import missing

import graphengine as ge

pytestmark = pytest.mark.extra("onnx", "onnxruntime")
if not missing(["onnx", "onnxruntime"]):
    import onnxruntime

    from graphengine.format.onnx.local_functions import CALLS
    from graphengine.model.onnx_files import from_proto, onnx_proto

BODY = [{"id": "s", "op": "mul", "inputs": ["a", "b"]}, {"id": "t", "op": "tanh", "inputs": ["s"]}]
CONTENT = {
    "format": "graphengine.model",
    "format_version": 1,
    "opset_imports": {"core": 1},
    "name": "called",
    "inputs": {"x": {"shape": ["N", 3], "description": "what is measured"}},
    "parameters": {"w": {"shape": [3], "value": [1.0, -2.0, 0.5], "description": "what is learned"}},
    "functions": {
        "scaled": {"description": "tanh(a * b)", "inputs": {"a": {}, "b": {}}, "nodes": BODY, "outputs": {"out": "t"}}
    },
    "nodes": [
        {"id": "p", "op": "scaled", "inputs": ["x", "w"], "description": "first call"},
        {"id": "q", "op": "scaled", "inputs": {"b": "w", "a": "p"}},
        {"id": "z", "op": "sum", "inputs": ["q"], "attributes": {"axis": 1}, "description": "the sum"},
        {"id": "loss", "op": "mean", "inputs": ["z"]},
    ],
    "outputs": {"z": "z", "loss": "loss"},
    "training": {"loss": "loss", "optimizer": {"type": "sgd", "learning_rate": 0.1}, "epochs": 1},
}
X = np.random.default_rng(0).normal(size=(5, 3))


def assert_runs(proto, wanted):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    found = dict(zip([each.name for each in session.get_outputs()], session.run(None, {"x": X}), strict=True))
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, err_msg=name)


def called_in(proto):
    return [node.op_type for node in proto.graph.node if node.domain == CALLS]


def test_a_function_is_one_of_the_model_and_its_calls_are_nodes():
    model = ge.Model.from_dict(CONTENT)
    proto = onnx_proto(model)
    (function,) = proto.functions
    assert (function.domain, function.name, function.doc_string) == (CALLS, "scaled", "tanh(a * b)")
    assert (list(function.input), [node.op_type for node in function.node]) == (["a", "b"], ["Mul", "Tanh"])
    assert [(node.name, list(node.input), list(node.output)) for node in proto.graph.node[:2]] == [
        ("p", ["x", "w"], ["p"]),
        ("q", ["p", "w"], ["q"]),
    ]
    assert_runs(proto, model.predict(x=X))


def test_descriptions_are_doc_strings_of_nodes_inputs_and_initializers():
    graph = onnx_proto(ge.Model.from_dict(CONTENT)).graph
    assert {node.output[0]: node.doc_string for node in graph.node if node.doc_string} == {
        "p": "first call",
        "z": "the sum",
    }
    assert graph.input[0].doc_string == "what is measured"
    assert {each.name: each.doc_string for each in graph.initializer if each.doc_string} == {"w": "what is learned"}


def test_a_call_of_which_more_is_read_stays_inlined():
    model = ge.Model.from_dict(CONTENT)
    proto, ours = onnx_proto(model, outputs=["p/s", "z"]), model.forward(x=X)
    assert called_in(proto) == ["scaled"]  # q alone
    assert_runs(proto, {name: ours.value(name) for name in ("p/s", "z")})
    gradient = onnx_proto(ge.Model.from_dict(CONTENT), graph="gradient")
    assert_runs(gradient, {"d_loss/d_w": ge.Model.from_dict(CONTENT).forward(x=X).backward()["w"]})


@pytest.mark.parametrize("name", ["mlp_digits", "two_decays", "dose_response"])
def test_functions_of_the_package_are_functions_of_the_model(name):
    model = ge.load(name)
    model.initialize()
    proto = onnx_proto(model)
    assert {each.name for each in proto.functions} == set(called_in(proto))
    assert called_in(proto)


def test_a_function_that_was_changed_is_imported_as_it_is():
    proto = onnx_proto(ge.Model.from_dict(CONTENT))
    assert from_proto(proto).fingerprint == ge.Model.from_dict(CONTENT).fingerprint
    proto.functions[0].node[1].op_type = "Sin"
    changed = from_proto(proto)
    assert {node.id for node in changed.graph.nodes} >= {"p/s", "q/s"}
    w = np.array(CONTENT["parameters"]["w"]["value"])
    np.testing.assert_allclose(changed.predict(x=X)["z"], np.sin(np.sin(X * w) * w).sum(axis=1), rtol=1e-12)
