"""A network of convolution, pooling and a dense layer in a file: any batch, saved gradients, errors before it runs."""

import numpy as np
import pytest
from documents import document, model, problem_of
from scipy.signal import correlate

import graphengine as ge

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


@pytest.mark.parametrize(
    ("op", "shapes", "attributes", "said"),
    [
        ("conv2d", [(2, 3, 5, 5), (4, 2, 3, 3)], {}, "the channels do not fit"),
        ("conv2d", [(2, 3, 5, 5), (4, 3, 3)], {}, "x and weight must have 4 axes"),
        ("conv2d", [("N", 3, "H", 5), (4, 3, 3, 3)], {}, "must be numbers, not (H, 5)"),
        ("conv2d", [(2, 3, 2, 2), (4, 3, 3, 3)], {}, "no patch of (3, 3) fits into sizes (2, 2)"),
        ("conv2d", [(2, 3, 5, 5), (4, 3, 3, 3)], {"stride": [1, 1, 1]}, "stride (1, 1, 1) is not for 2 axes"),
        ("conv2d", [(2, 3, 5, 5), (4, 3, 3, 3), (3,)], {}, "bias must have shape (4,), not (3,)"),
        ("conv2d", [(2, 3, 5, 5), (4, 3, 3, 3)], {"padding": [[1, 0]]}, "padding ((1, 0),) is not for 2 axes"),
        ("conv2d", [("N", 3, "H", 5), (4, 3, 3, 3)], {"padding": "same"}, "must be numbers, not (H, 5)"),
        ("conv_transpose2d", [(2, 3, 5, 5), (3, 4, 3, 3)], {"padding": [1, 1, 1]}, "padding (1, 1, 1) is not for 2"),
        ("conv_transpose2d", [(2, 3, 5, 5), (3, 4, 3, 3)], {"output_padding": 1}, "must be less than stride 1"),
        ("max_pool2d", [(2, 3, "H", 5)], {"kernel_size": 2, "ceil_mode": True}, "must be numbers, not (H, 5)"),
        ("max_pool2d", [(2, 5, 5)], {"kernel_size": 2}, "need an array of 4"),
        ("fold", [(2, 8, 5)], {"kernel_size": [2], "output_size": [7]}, "patches must have shape (N, C * 2, 6)"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_runs(op, shapes, attributes, said):
    names = [f"x{index}" for index in range(len(shapes))]
    content = document({"z": (op, names, attributes)}, inputs=dict(zip(names, map(list, shapes), strict=True)))
    problem = problem_of(content)
    assert problem.code == "GE301"
    assert said in problem.message
