"""A network of convolution, pooling and a dense layer in a file: any batch, saved gradients, errors before it runs."""

import numpy as np
import pytest
from documents import document, model, problem_of
from scipy.signal import correlate

import graphengine as ge
from graphengine.backends.reference.executor import Executor
from graphengine.transform.directional import curvature

RNG = np.random.default_rng(0)
NODES = {
    "features": ("conv2d", ["images", "filters", "bias"], {"padding": 1}),
    "active": ("silu", ["features"]),
    "large": ("max_pool2d", ["active"], {"kernel_size": 3, "stride": 2, "padding": 1}),
    "smooth": ("avg_pool2d", ["large"], {"kernel_size": 2}),
    "wide": ("conv_transpose2d", ["smooth", "stamps"], {"stride": 2}),
    "mean": ("global_avg_pool2d", ["wide"]),
    "logits": ("reshape", ["mean"], {"shape": [-1, 2]}),
    "loss": ("softmax_cross_entropy", ["logits", "labels"]),
}
INPUTS = {"images": ["N", 3, 8, 8], "labels": {"shape": ["N"], "dtype": "int64"}}
PARAMETERS = {
    "filters": RNG.normal(size=(4, 3, 3, 3)),
    "bias": RNG.normal(size=4),
    "stamps": RNG.normal(size=(4, 2, 3, 3)),
}


def network():
    return model(NODES, {"loss": "loss", "logits": "logits"}, inputs=INPUTS, parameters=PARAMETERS)


def batch(count):
    return {"images": RNG.normal(size=(count, 3, 8, 8)), "labels": RNG.integers(0, 2, count)}


def test_one_gradient_graph_serves_batches_of_every_size_and_survives_saving(tmp_path):
    made = network()
    ge.gradient(made.graph, "loss", also=["loss"]).save(tmp_path / "gradient.json")
    saved = ge.load(tmp_path / "gradient.json")
    for count in (1, 3):
        given = batch(count)
        called = made.forward(given).backward(of="loss")
        for name, gradient in called.items():
            np.testing.assert_array_equal(saved.forward(given)[f"d_loss/d_{name}"], gradient)


def test_a_convolution_is_the_correlation_of_signal_processing():
    given = batch(2)
    found = network().forward(given).value("features")
    for sample, filtered in zip(given["images"], found, strict=True):
        for weight, bias, plane in zip(PARAMETERS["filters"], PARAMETERS["bias"], filtered, strict=True):
            whole = correlate(np.pad(sample, [(0, 0), (1, 1), (1, 1)]), weight, mode="valid")[0]
            np.testing.assert_allclose(plane, whole + bias, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, [[3, 3]]),
        ({"ceil_mode": True}, [[3, 3, 3], [3, 3, 3]]),
        ({"padding": 1, "stride": 3}, [[3, 3], [3, 3]]),
        ({"padding": 1, "stride": 3, "count_include_pad": True}, [[0.75, 1.5], [0.75, 1.5]]),
        (
            {"padding": 1, "stride": 2, "ceil_mode": True, "count_include_pad": True},
            [[0.75, 1.5, 1.5], [1.5, 3, 3]],
        ),
    ],
)
def test_a_mean_counts_what_is_padded_and_not_what_a_last_patch_reaches_beyond(attributes, expected):
    nodes = {"z": ("avg_pool2d", ["x"], {"kernel_size": 2, "count_include_pad": False, **attributes})}
    found = model(nodes, inputs={"x": ["N", 1, 3, 5]}).forward(x=np.full((2, 1, 3, 5), 3.0))["out"]
    np.testing.assert_array_equal(found[1, 0], expected)


def test_training_a_convolutional_network_lowers_its_loss():
    images = RNG.normal(size=(32, 3, 8, 8))
    labels = (images[:, 0].mean(axis=(1, 2)) > 0).astype(np.int64)
    history = network().train({"images": images, "labels": labels}, loss="loss", epochs=30, learning_rate=0.2)
    assert history.last_loss < 0.5 * history.first_loss


OPEN = {
    "conv1d": ({"z": ("conv1d", ["x", "w"], {"padding": 1, "stride": 2})}, (2, 3, 9), (4, 3, 3)),
    "conv1d, same": ({"z": ("conv1d", ["x", "w"], {"padding": "same"})}, (2, 3, 8), (4, 3, 3)),
    "conv2d": ({"z": ("conv2d", ["x", "w"], {"dilation": 2})}, (2, 3, 7, 6), (4, 3, 2, 2)),
    "conv_transpose2d": ({"z": ("conv_transpose2d", ["x", "w"], {"stride": 2})}, (2, 3, 4, 5), (3, 2, 3, 3)),
    "max_pool2d": ({"z": ("max_pool2d", ["x"], {"kernel_size": 2})}, (2, 3, 6, 5), (1,)),
    "avg_pool2d": ({"z": ("avg_pool2d", ["x"], {"kernel_size": 2, "ceil_mode": True})}, (2, 3, 6, 5), (1,)),
    "max_pool_with_indices": ({"z": ("max_pool_with_indices", ["x"], {"kernel_size": [2, 3]})}, (2, 3, 6, 5), (1,)),
}
"""Nodes, and the shapes of x and of a second input."""


@pytest.mark.parametrize(("nodes", "shape", "filters"), OPEN.values(), ids=OPEN)
@pytest.mark.parametrize("kind", ["symbols", "values"])
def test_sizes_that_are_symbols_or_values_give_what_numbers_give(nodes, shape, filters, kind):
    """The first sizes are symbols, or those that `broadcast_to` reads from an input."""
    x, w = RNG.normal(size=shape), RNG.normal(size=filters)
    nodes = {**nodes, "square": ("square", ["z"]), "loss": ("sum", ["square"])}
    outputs = {"loss": "loss", "z": "z"}
    fixed = model(nodes, outputs, inputs={"x": list(shape), "w": list(filters)}).forward(x=x, w=w)
    wanted = fixed.backward(of="loss", wrt=["x", "w"] if "w" in nodes["z"][1] else ["x"])
    if kind == "symbols":
        symbols = ["N", shape[1], *(f"S{axis}" for axis in range(2, len(shape)))]
        opened, given = model(nodes, outputs, inputs={"x": symbols, "w": list(filters)}), {"x": x, "w": w}
    else:
        nodes = {"wide": ("broadcast_to", ["x", "sizes"]), **nodes}
        nodes["z"] = (nodes["z"][0], ["wide", *nodes["z"][1][1:]], nodes["z"][2])
        inputs = {"x": list(shape), "w": list(filters), "sizes": {"shape": [len(shape)], "dtype": "int64"}}
        opened, given = model(nodes, outputs, inputs=inputs), {"x": x, "w": w, "sizes": list(shape)}
    for _ in range(3):
        run = opened.forward(given)
        np.testing.assert_array_equal(run["z"], fixed["z"])
        found = run.backward(of="loss", wrt=[*wanted])
        assert [found[name].tolist() for name in wanted] == [each.tolist() for each in wanted.values()]


@pytest.mark.parametrize(("nodes", "shape", "filters"), OPEN.values(), ids=OPEN)
def test_second_derivatives_are_graphs_where_sizes_are_symbols(nodes, shape, filters):
    op, operands, attributes = nodes["z"]
    plain = {key: value for key, value in attributes.items() if key != "ceil_mode"}
    nodes = {"z": (op, operands, plain), "cube": ("pow", ["z", 3]), "loss": ("sum", ["cube"])}
    x, w, along = RNG.normal(size=shape), RNG.normal(size=filters), RNG.normal(size=shape)
    symbols = ["N", shape[1], *(f"S{axis}" for axis in range(2, len(shape)))]
    found = []
    for sizes in (symbols, list(shape)):
        graph = model(nodes, {"loss": "loss"}, inputs={"x": sizes, "w": list(filters)}).graph
        product = curvature(graph, "loss", ["x"], ["along"])
        assert "opaque_backward" not in {node.op for node in product.nodes}
        executor = Executor(product)
        given = {"x": x, "w": w, "along": along}
        slots = executor.forward({name: given[name] for name in product.inputs})
        found += [slots[executor.slot_of[value]] for value in product.outputs.values()]
    np.testing.assert_array_equal(*found)


def test_a_size_that_is_too_small_for_a_patch_is_an_error_of_its_node():
    small = model({"z": ("conv1d", ["x", "w"])}, inputs={"x": ["N", 1, "L"], "w": [1, 1, 3]})
    for _ in range(3):
        with pytest.raises(ge.errors.GraphEngineError, match=r"GE.*node 'z' \(conv1d\): no patch of \(3,\) fits"):
            small.forward(x=np.zeros((1, 1, 2)), w=np.ones((1, 1, 3)))


def test_a_symbolic_convolution_is_refused_beyond_the_limit_when_its_sizes_are_there():
    content = document({"z": ("conv1d", ["x", "w"])}, inputs={"x": ["N", 1, "L"], "w": [1, 1, 300]})
    small = ge.Model.from_dict(content, limits=ge.limits.Limits(array_bytes=2**20))
    assert small.predict(x=np.ones((1, 1, 400)), w=np.ones((1, 1, 300)))["out"].shape == (1, 1, 101)
    with pytest.raises(ge.errors.InputError, match=r"GE133.*on the way to its result"):
        small.predict(x=np.ones((1, 1, 4000)), w=np.ones((1, 1, 300)))


@pytest.mark.parametrize(("dtype", "least"), [("int64", -(2**63)), ("uint8", 0), ("bool", False)])
def test_the_largest_of_integers_is_an_integer_and_what_is_padded_is_never_it(dtype, least):
    x = (
        np.array([[[[0, -7, 3, 1], [2, 5, -4, 6], [9, 8, -1, 0]]]]) if dtype == "int64" else np.eye(3, 4)[None, None]
    ).astype(dtype)
    nodes = {"z": ("max_pool2d", ["x"], {"kernel_size": 2, "stride": 2, "padding": [[0, 1], [0, 0]]})}
    pools = model(nodes, inputs={"x": {"shape": ["N", 1, 3, 4], "dtype": dtype}})
    whole = np.pad(x, [(0, 0), (0, 0), (0, 1), (0, 0)], constant_values=least)
    for _ in range(3):
        found = pools.forward(x=x)["out"]
        assert found.dtype == dtype
        assert found.tolist() == whole.reshape(1, 1, 2, 2, 2, 2).max(axis=(3, 5)).tolist()


@pytest.mark.parametrize(
    ("op", "shapes", "attributes", "said"),
    [
        ("conv2d", [(2, 3, 5, 5), (4, 2, 3, 3)], {}, "the channels do not fit"),
        ("conv2d", [(2, 3, 5, 5), (4, 3, 3)], {}, "x and weight must have 4 axes"),
        ("conv2d", [("N", "C", 5, 5), (4, 3, 3, 3)], {}, "channels and the sizes of filters must be numbers"),
        ("conv2d", [("N", 3, "H", 2), (4, 3, 3, 3)], {}, "no patch of (3, 3) fits into sizes (H, 2)"),
        ("conv2d", [(2, 3, 2, 2), (4, 3, 3, 3)], {}, "no patch of (3, 3) fits into sizes (2, 2)"),
        ("conv2d", [(2, 3, 5, 5), (4, 3, 3, 3)], {"stride": [1, 1, 1]}, "stride (1, 1, 1) is not for 2 axes"),
        ("conv2d", [(2, 3, 5, 5), (4, 3, 3, 3), (3,)], {}, "bias must have shape (4,), not (3,)"),
        ("conv2d", [(2, 3, 5, 5), (4, 3, 3, 3)], {"padding": [[1, 0]]}, "padding ((1, 0),) is not for 2 axes"),
        ("conv_transpose2d", [(2, 3, 5, 5), (3, 4, 3, 3)], {"padding": [1, 1, 1]}, "padding (1, 1, 1) is not for 2"),
        ("conv_transpose2d", [(2, 3, 5, 5), (3, 4, 3, 3)], {"output_padding": 1}, "must be less than stride 1"),
        ("max_pool2d", [(2, 5, 5)], {"kernel_size": 2}, "need an array of 4"),
        ("fold", [(2, 8, 5)], {"kernel_size": [2], "output_size": [7]}, "patches must have shape (N, C * 2, 6)"),
    ],
)
def test_what_does_not_fit_is_reported_before_anything_runs(op, shapes, attributes, said):
    names = [f"x{index}" for index in range(len(shapes))]
    content = document({"z": (op, names, attributes)}, inputs=dict(zip(names, map(list, shapes), strict=True)))
    problem = problem_of(content)
    assert problem.code == "GE301"
    assert said in problem.message


@pytest.mark.extra("torch")
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("layout", [{}, {"stride": 1, "padding": 1}, {"stride": 3, "dilation": 2, "ceil_mode": True}])
def test_places_of_the_largest_values_are_those_of_torch(axes, layout):
    import torch

    x = RNG.integers(-3, 3, (2, 3, 7, 6, 8)[: axes + 2]).astype(float)  # many are equal
    given = torch.from_numpy(x).requires_grad_()
    pool = getattr(torch.nn.functional, f"max_pool{axes}d")
    values, indices = pool(given, 2, return_indices=True, **layout)
    weights = RNG.normal(size=values.shape)
    (values * torch.from_numpy(weights)).sum().backward()
    nodes = {
        "y": ("max_pool_with_indices", ["x"], {"kernel_size": [2] * axes, **layout}),
        "w": ("mul", ["y", "weights"]),
        "loss": ("sum", ["w"]),
    }
    outputs = {"values": "y", "indices": "y:indices", "loss": "loss"}
    made = model(nodes, outputs, inputs={"x": ["N", *x.shape[1:]], "weights": ["N", *weights.shape[1:]]})
    run = made.forward(x=x, weights=weights)
    np.testing.assert_array_equal(run["values"], values.detach())
    np.testing.assert_array_equal(run["indices"], indices)
    np.testing.assert_allclose(run.backward(of="loss", wrt=["x"])["x"], given.grad, rtol=1e-14)
