"""Images of any size through convolution and pooling: forward, gradient and step in onnxruntime, one file for all."""

import json

import numpy as np
import pytest
from documents import document
from selection import missing

import graphengine as ge
from graphengine.backends.reference.executor import Executor

pytestmark = pytest.mark.extra("onnx", "onnxruntime")
if not missing(["onnx", "onnxruntime"]):
    import onnxruntime

    from graphengine.model.onnx_files import onnx_proto

RNG = np.random.default_rng(0)
NODES = {
    "strided": ("conv2d", ["x", "w", "b"], {"stride": [2, 1], "padding": [1, 2]}),
    "dilated": ("conv2d", ["strided", "v"], {"groups": 2, "dilation": [1, 2], "padding": "same"}),
    "active": ("silu", ["dilated"]),
    "largest": ("max_pool2d", ["active"], {"kernel_size": 2, "stride": [1, 2], "padding": [0, 1]}),
    "means": ("avg_pool2d", ["largest"], {"kernel_size": 2, "padding": 1, "count_include_pad": False, "stride": 3}),
    "first": ("max_pool_with_indices", ["means"], {"kernel_size": [2, 2], "stride": 1}),
    "image": ("global_avg_pool2d", ["first"]),
    "squares": ("square", ["image"]),
    "loss": ("mean", ["squares"]),
}
PARAMETERS = {"w": RNG.normal(size=(4, 3, 3, 3)), "b": RNG.normal(size=4), "v": RNG.normal(size=(4, 2, 2, 3))}
SHAPES = [(2, 3, 12, 11), (1, 3, 9, 16), (3, 3, 20, 13)]
TRAINING = {"loss": "loss", "optimizer": {"type": "adam", "learning_rate": 0.01}, "epochs": 1}


def network():
    content = document(NODES, {"loss": "loss", "means": "means"}, inputs={"x": ["N", 3, "H", "W"]})
    parameters = {name: {"shape": list(value.shape), "value": value.tolist()} for name, value in PARAMETERS.items()}
    return ge.Model.from_dict({**content, "parameters": parameters, "training": TRAINING})


def session_of(model, **options):
    text = onnx_proto(model, **options).SerializeToString()
    return onnxruntime.InferenceSession(text, providers=["CPUExecutionProvider"])


def run(session, given):
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(None, given), strict=True))


def assert_near(found, wanted, tolerance):
    for name, value in wanted.items():
        assert found[name].shape == np.shape(value)
        np.testing.assert_allclose(found[name], value, rtol=0, atol=tolerance * np.max(np.abs(value)), err_msg=name)


@pytest.mark.parametrize(("dtype", "tolerance"), [(None, 1e-12), ("float32", 1e-5)])
def test_one_file_predicts_and_differentiates_for_images_of_every_size(dtype, tolerance):
    model = network()
    forward, gradient = (session_of(model, graph=kind, dtype=dtype) for kind in ("forward", "gradient"))
    for shape in SHAPES:
        x = np.round(RNG.normal(size=shape), 3)
        given = {"x": x.astype(dtype or "f8")}
        ours = model.forward(x=x)
        assert_near(run(forward, given), {name: ours[name] for name in ("loss", "means")}, tolerance)
        wanted = {f"d_loss/d_{name}": value for name, value in ours.backward().items()}
        assert_near(run(gradient, given), wanted, tolerance)


def test_a_step_trains_on_images_of_several_sizes():
    model = network()
    session = session_of(model, graph="step", defaults=False)
    carried = json.loads(session.get_modelmeta().custom_metadata_map["graphengine.carried"])
    step, state = model.training_step(), run(session_of(model, graph="start"), {})
    for iteration, shape in enumerate(SHAPES, 1):
        scalars = {"iteration": np.array(float(iteration)), "learning_rate": np.array(0.01)}
        given = {"x": RNG.normal(size=shape), **scalars, **state}
        executor = Executor(step.graph)
        slots = executor.forward(given)
        wanted = {name: slots[executor.slot_of[value]] for name, value in step.graph.outputs.items()}
        found = run(session, given)
        assert_near(found, wanted, 1e-12)
        state = {replaced: found[name] for name, replaced in carried.items()}
    assert not np.array_equal(state["w"], PARAMETERS["w"])


@pytest.mark.parametrize("sizes", [["N", 4, "H", "W"], [2, 4, 7, 6]])
@pytest.mark.parametrize(
    "layout",
    [
        {"padding": "same"},
        {"padding": "same", "stride": [1, 2]},
        {"padding": "same", "dilation": 2},
        {"padding": [[1, 2], 0], "groups": 2, "stride": 2},
        {"padding": "valid"},
    ],
)
def test_a_convolution_of_single_precision_is_one_node(layout, sizes):
    filters, x = [4, 4 // layout.get("groups", 1), 3, 2], RNG.normal(size=(2, 4, 7, 6)).astype("f4")
    nodes = {"z": ("conv2d", ["x", "w", "b"], layout)}
    model = ge.Model.from_dict(
        document(nodes, {"z": "z"}, inputs={"x": sizes, "w": filters, "b": [4]}, dtype="float32")
    )
    assert [node.op_type for node in onnx_proto(model).graph.node] == ["Conv"]
    given = {"x": x, "w": RNG.normal(size=filters).astype("f4"), "b": RNG.normal(size=4).astype("f4")}
    assert_near(run(session_of(model), given), model.predict(given), 1e-5)


def test_what_takes_known_sizes_is_refused_with_the_reason():
    nodes = {"z": ("conv2d", ["x", "w"], {"padding": "same", "stride": 2})}
    content = document(nodes, {"z": "z"}, inputs={"x": ["N", 3, "H", "W"], "w": [4, 3, 3, 3]})
    with pytest.raises(ge.errors.InvalidModelError, match="GE305"):
        onnx_proto(ge.Model.from_dict(content))
