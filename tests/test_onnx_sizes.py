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
LAYERS = {
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
OTHERS = {
    "halved": ("conv2d", ["x", "w", "b"], {"stride": 2, "padding": "same"}),
    "active": ("silu", ["halved"]),
    "dilated": ("conv2d", ["active", "v"], {"groups": 2, "stride": [1, 3], "dilation": [2, 1], "padding": "same"}),
    "raised": ("conv_transpose2d", ["dilated", "u"], {"stride": [2, 3], "padding": 1, "output_padding": [1, 2]}),
    "wide": ("conv_transpose2d", ["raised", "u"], {"groups": 2, "dilation": 2, "padding": [[1, 0], 2]}),
    "means": ("avg_pool2d", ["wide"], {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    "partial": (
        "avg_pool2d",
        ["means"],
        {"kernel_size": 2, "stride": 3, "ceil_mode": True, "count_include_pad": False},
    ),
    "largest": ("max_pool2d", ["partial"], {"kernel_size": 3, "stride": 2, "padding": "same"}),
    "mean": ("avg_pool2d", ["means"], {"kernel_size": 3, "stride": 2, "padding": "same", "count_include_pad": False}),
    "first": ("max_pool_with_indices", ["mean"], {"kernel_size": [2, 2], "stride": [1, 3], "ceil_mode": True}),
    **{f"{name}.square": ("square", [name]) for name in ("largest", "first")},
    **{f"{name}.loss": ("mean", [f"{name}.square"]) for name in ("largest", "first")},
    "loss": ("add", ["largest.loss", "first.loss"]),
}
NETWORKS = {"layers": LAYERS, "others": OTHERS}
PARAMETERS = {
    "u": RNG.normal(size=(4, 4, 3, 2)) / 4,
    "w": RNG.normal(size=(4, 3, 3, 3)),
    "b": RNG.normal(size=4),
    "v": RNG.normal(size=(4, 2, 2, 3)),
}
SHAPES = [(2, 3, 12, 11), (1, 3, 9, 16), (3, 3, 20, 13)]
TRAINING = {"loss": "loss", "optimizer": {"type": "adam", "learning_rate": 0.01}, "epochs": 1}


@pytest.fixture(params=NETWORKS)
def network(request):
    nodes = NETWORKS[request.param]
    content = document(nodes, {"loss": "loss", "means": "means"}, inputs={"x": ["N", 3, "H", "W"]})
    read = {each for _, inputs, *_ in nodes.values() for each in inputs}
    parameters = {
        name: {"shape": list(value.shape), "value": value.tolist()}
        for name, value in PARAMETERS.items()
        if name in read
    }
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
def test_one_file_predicts_and_differentiates_for_images_of_every_size(network, dtype, tolerance):
    model = network
    forward, gradient = (session_of(model, graph=kind, dtype=dtype) for kind in ("forward", "gradient"))
    for shape in SHAPES:
        x = np.round(RNG.normal(size=shape), 3)
        given = {"x": x.astype(dtype or "f8")}
        ours = model.forward(x=x)
        assert_near(run(forward, given), {name: ours[name] for name in ("loss", "means")}, tolerance)
        wanted = {f"d_loss/d_{name}": value for name, value in ours.backward().items()}
        assert_near(run(gradient, given), wanted, tolerance)


def test_a_step_trains_on_images_of_several_sizes(network):
    model = network
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


OF_ALL_SIZES = pytest.mark.parametrize("sizes", [["N", 4, "H", "W"], [2, 4, 7, 6]])


@OF_ALL_SIZES
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
    filters = [4, 4 // layout.get("groups", 1), 3, 2]
    assert written_as("conv2d", layout, sizes, filters, 4) == ["Conv"]


def test_a_margin_that_conv_of_onnx_cannot_have_is_padded():
    layout = {"padding": "same", "stride": [1, 2], "dilation": 2}
    assert written_as("conv2d", layout, ["N", 4, "H", "W"], [4, 4, 3, 2], 4)[-2:] == ["Pad", "Conv"]


@OF_ALL_SIZES
@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"stride": [2, 3], "padding": 1, "output_padding": [1, 2]},
        {"dilation": 2, "padding": [[1, 2], 0]},
        {"groups": 2, "stride": 2},
    ],
)
def test_a_transposed_convolution_of_single_precision_is_one_node(layout, sizes):
    channels = 3 * layout.get("groups", 1)
    assert written_as("conv_transpose2d", layout, sizes, [4, 3, 3, 2], channels) == ["ConvTranspose"]


def written_as(op, layout, sizes, filters, channels):
    """The ops as which a node of single precision is written, which must give what it gives here."""
    nodes, x = {"z": (op, ["x", "w", "b"], layout)}, RNG.normal(size=(2, 4, 7, 6)).astype("f4")
    inputs = {"x": sizes, "w": filters, "b": [channels]}
    model = ge.Model.from_dict(document(nodes, {"z": "z"}, inputs=inputs, dtype="float32"))
    given = {"x": x, "w": RNG.normal(size=filters).astype("f4"), "b": RNG.normal(size=channels).astype("f4")}
    assert_near(run(session_of(model), given), model.predict(given), 1e-5)
    return [node.op_type for node in onnx_proto(model).graph.node]
