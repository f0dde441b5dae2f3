"""Accumulated gradients: an iteration in parts is the iteration of the whole batch, whatever the loss is."""

import math

import numpy as np
import pytest
from documents import document, linreg, parameter, training

import graphengine as ge
from graphengine.limits import Limits
from graphengine.traces.iterations import Iterations

X = np.arange(1.0, 12.0) / 5
DATA = {"x": X, "y": 3 * X + np.resize([0.5, -0.5], 11)}


def regression(dtype="float64", shape=("N",), **keys):
    return ge.Model.from_dict(linreg(shape=shape, training=training(learning_rate=0.02, **keys), dtype=dtype))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(("batch_size", "accumulate"), [(2, 2), (2, 3), (3, 2), (4, 9), (1, 11), (11, 2)])
@pytest.mark.parametrize("keys", [{}, {"shuffle": True, "gradient_clipping": {"type": "norm", "limit": 0.5}}])
def test_parts_make_the_step_of_the_whole_batch(optimizer, batch_size, accumulate, keys):
    rule = {"type": optimizer, "learning_rate": 0.02}
    parts, whole = regression(), regression()
    found = parts.train(DATA, batch_size=batch_size, accumulate=accumulate, epochs=3, optimizer=rule, **keys)
    expected = whole.train(DATA, batch_size=min(batch_size * accumulate, 11), epochs=3, optimizer=rule, **keys)
    assert len(found) == len(expected) == 3 * math.ceil(11 / (batch_size * accumulate))
    assert parts.parameters["theta"] == pytest.approx(whole.parameters["theta"], rel=1e-12)
    for one, other in zip(found, expected, strict=True):
        assert one[:2] == other[:2]
        assert one[2:4] == pytest.approx(other[2:4], rel=1e-12)
    assert [epoch.loss for epoch in found.epochs] == pytest.approx([epoch.loss for epoch in expected.epochs], rel=1e-12)


def test_single_samples_accumulate_to_the_gradient_of_their_mean():
    single, batch = regression(shape=()), regression()
    single.train(DATA, batch_size=1, accumulate=4, epochs=2)
    batch.train(DATA, batch_size=4, epochs=2)
    assert single.parameters["theta"] == pytest.approx(batch.parameters["theta"], rel=1e-12)


def test_drop_last_drops_the_smaller_part_and_not_the_iteration():
    trainer = regression().trainer(DATA, batch_size=2, accumulate=3, drop_last=True)
    parts = [
        [size for _, size in segment.parts(index)]
        for segment in trainer.batches.epoch(1)
        for index in range(segment.count)
    ]
    assert parts == [[2, 2, 2], [2, 2]]
    assert trainer.batches.samples_per_epoch == 10


def test_parameters_keep_their_dtype():
    model = regression("float32")
    model.train(DATA, batch_size=2, accumulate=2, epochs=2)
    assert model.parameters["theta"].dtype == np.float32


# ---------------------------------------------------------------- any loss: the step of the whole batch

SAMPLES, CLASSES = 8, 3
FEATURES = np.random.default_rng(11).normal(size=(SAMPLES, 4))
LABELS = np.array([0, 1, -1, 2, 2, -1, 0, 1])
CLASS_WEIGHTS = np.array([0.2, 1.0, 3.0])
SAMPLE_WEIGHTS = np.array([1.0, 0.1, 2.0, 0.5, 3.0, 1.5, 0.2, 1.0])
START = np.random.default_rng(12).normal(size=(4, CLASSES))


def classifier(loss, *, labels=LABELS, **sections):
    """Logits of a linear layer and nodes that make the loss of them, with an update of the weights at rate 1."""
    nodes = {"z": ("matmul", ["x", "w"]), **loss}
    inputs = {"x": ["N", 4], "y": {"shape": ["N"], "dtype": "int64"}, "weight": ["N"]}
    parameters = {"w": START, "c": parameter(CLASS_WEIGHTS, trainable=False)}
    section = training(learning_rate=1.0)
    content = document(nodes, {"loss": "loss"}, inputs=inputs, parameters=parameters, training=section, **sections)
    return ge.Model.from_dict(content), {"x": FEATURES, "y": labels, "weight": SAMPLE_WEIGHTS}


def cross_entropy_step(labels, weights, reduction):
    """The weights after the step, by NumPy: the gradient of a sample is its weight times softmax minus one-hot."""
    logits = FEATURES @ START
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    slopes = (odds / odds.sum(axis=1, keepdims=True) - np.eye(CLASSES)[labels]) * weights[:, None]
    return START - FEATURES.T @ slopes / (weights.sum() if reduction == "mean" else 1)


IGNORE = {"ignore_index": -1}
COUNTED = (LABELS != -1).astype(float)
CROSS_ENTROPIES = {
    "ignored labels": (["z", "y"], IGNORE, LABELS, COUNTED),
    "class weights": (["z", "y", "c"], {}, np.abs(LABELS), CLASS_WEIGHTS[np.abs(LABELS)]),
    "both": (["z", "y", "c"], IGNORE, LABELS, COUNTED * CLASS_WEIGHTS[LABELS]),
    "a sum": (["z", "y"], {"reduction": "sum"}, np.abs(LABELS), np.ones(SAMPLES)),
    "a sum of some": (["z", "y", "c"], {"reduction": "sum", **IGNORE}, LABELS, COUNTED * CLASS_WEIGHTS[LABELS]),
}
SPLITS = [(1, 8), (2, 4), (3, 3), (4, 2), (5, 2)]


@pytest.mark.parametrize(("batch_size", "accumulate"), SPLITS)
@pytest.mark.parametrize("case", CROSS_ENTROPIES)
def test_weights_of_samples_count_as_in_the_whole_batch(case, batch_size, accumulate):
    inputs, attributes, labels, weights = CROSS_ENTROPIES[case]
    model, data = classifier({"loss": ("softmax_cross_entropy", inputs, attributes)}, labels=labels)
    history = model.train(data, batch_size=batch_size, accumulate=accumulate)
    expected = cross_entropy_step(labels, weights, attributes.get("reduction", "mean"))
    np.testing.assert_allclose(model.parameters["w"], expected, rtol=0, atol=1e-14)
    whole, _ = classifier({"loss": ("softmax_cross_entropy", inputs, attributes)}, labels=labels)
    assert history.losses == pytest.approx([float(whole.forward(data)["loss"])], rel=1e-14)


def norm_layer():
    """Batch normalization in training mode, whose statistics are those of the batch, and kept as state."""
    names = ["mean", "var"]
    inputs = ["z", "c", "c", *[f"running_{name}" for name in names]]
    nodes = {"norm": ("batch_norm", inputs, {"axis": 1}), "h": ("tanh", ["norm"]), "loss": ("mean", ["h"])}
    state = {
        f"running_{name}": {"shape": [CLASSES], "initializer": {"type": "ones"}, "update": f"norm:new_{name}"}
        for name in names
    }
    return nodes, {"state": state}


SQUARES = {"sq": ("square", ["z"]), "per_sample": ("mean", ["sq"], {"axis": 1})}
LOSSES = {
    "a mean": ({**SQUARES, "loss": ("mean", ["per_sample"])}, {}),
    "a weighted mean": (
        {
            **SQUARES,
            "weighted": ("mul", ["weight", "per_sample"]),
            "numerator": ("sum", ["weighted"]),
            "denominator": ("sum", ["weight"]),
            "loss": ("div", ["numerator", "denominator"]),
        },
        {},
    ),
    "the root of a mean": ({**SQUARES, "ms": ("mean", ["sq"]), "loss": ("sqrt", ["ms"])}, {}),
    "a maximum": ({**SQUARES, "loss": ("max", ["per_sample"])}, {}),
    "a soft maximum": ({**SQUARES, "loss": ("logsumexp", ["per_sample"])}, {}),
    "a deviation": ({"loss": ("std", ["z"])}, {}),
    "a penalty": (
        {
            **SQUARES,
            "data": ("sum", ["per_sample"]),
            "ww": ("square", ["w"]),
            "size": ("sum", ["ww"]),
            "penalty": ("mul", [0.1, "size"]),
            "loss": ("add", ["data", "penalty"]),
        },
        {},
    ),
    "pairs of samples": (
        {
            "turned": ("transpose", ["z"]),
            "pairs": ("matmul", ["z", "turned"]),
            "loss": ("logsumexp", ["pairs"]),
        },
        {},
    ),
    "batch normalization": norm_layer(),
}
LOSSES["one minus r2"] = (
    {
        "first": ("gather", ["z", 0], {"axis": 1}),
        "about": ("mean", ["weight"]),
        "rest": ("sub", ["weight", "about"]),
        "rest2": ("square", ["rest"]),
        "total": ("sum", ["rest2"]),
        "error": ("sub", ["weight", "first"]),
        "error2": ("square", ["error"]),
        "sum": ("sum", ["error2"]),
        "loss": ("div", ["sum", "total"]),
    },
    {},
)


@pytest.mark.parametrize(("batch_size", "accumulate"), SPLITS)
@pytest.mark.parametrize("case", LOSSES)
def test_the_step_is_that_of_the_whole_batch_whatever_the_loss_is(case, batch_size, accumulate):
    nodes, sections = LOSSES[case]
    parts, data = classifier(nodes, **sections)
    whole, _ = classifier(nodes, **sections)
    size = min(batch_size * accumulate, SAMPLES)
    found = parts.train(data, batch_size=batch_size, accumulate=accumulate, epochs=3, learning_rate=0.1)
    expected = whole.train(data, batch_size=size, epochs=3, learning_rate=0.1)
    assert found.losses == pytest.approx(expected.losses, rel=1e-11)
    for name, value in whole.values.items():
        np.testing.assert_allclose(parts.values[name], value, rtol=1e-11, atol=1e-13)
    assert np.abs(whole.values["w"] - START).max() > 1e-4


def counting(**keys):
    """A loss with a random number, and a state that counts how often it was computed."""
    nodes = {
        "u": ("uniform", [], {"shape": []}),
        "m": ("mean", ["x"]),
        "n": ("mul", ["p", "m"]),
        "loss": ("add", ["u", "n"]),
        "more": ("add", ["count", 1]),
    }
    content = document(nodes, {"loss": "loss"}, inputs={"x": ["N"]}, parameters={"p": 0.0}, training=training(**keys))
    content["state"] = {"count": {"shape": [], "initializer": {"type": "zeros"}, "update": "more"}}
    return ge.Model.from_dict(content)


def test_what_is_the_same_for_all_samples_is_drawn_and_updated_once_an_iteration():
    data = {"x": np.zeros(6)}
    parts, whole = counting(batch_size=1, accumulate=2), counting(batch_size=2)
    assert parts.train(data).losses == whole.train(data).losses
    assert parts.values["count"] == whole.values["count"] == 3


def test_of_single_samples_each_updates_the_state():
    content = linreg(shape=(), training=training(batch_size=1, accumulate=2))
    content["nodes"].append({"id": "more", "op": "add", "inputs": ["count", "x"]})
    content["state"] = {"count": {"shape": [], "initializer": {"type": "zeros"}, "update": "more"}}
    model = ge.Model.from_dict(content)
    model.train({"x": [1.0, 2.0, 4.0], "y": [1.0, 2.0, 3.0]})
    assert model.values["count"] == 7


def test_what_is_random_for_each_sample_is_drawn_anew_in_each_part():
    nodes = {"d": ("dropout", ["x"], {"p": 0.5}), "n": ("mul", ["p", "d"]), "loss": ("sum", ["n"])}
    content = document(nodes, {"loss": "loss"}, inputs={"x": ["N"]}, parameters={"p": 1.0}, training=training())

    def loss(count, **keys):
        return ge.Model.from_dict(content).train({"x": np.ones(count)}, **keys).first_loss

    first, both = loss(64), loss(128, batch_size=64, accumulate=2)
    assert both - first != first  # the second part has not the same mask
    assert 0 < both - first < 128


def test_a_loss_of_pairs_is_refused_where_all_samples_do_not_fit():
    nodes, _ = LOSSES["pairs of samples"]
    model, data = classifier(nodes)
    limited = ge.Model(model.document, limits=Limits(array_bytes=2000))
    with pytest.raises(ge.errors.ExecutionError, match="GE414: node 'pairs'"):
        limited.trainer(data, batch_size=1, accumulate=8)
    assert len(limited.train(data, batch_size=1)) == SAMPLES


def test_a_batch_that_diverges_is_reported_and_its_update_not_made():
    model = regression()
    with pytest.raises(ge.errors.DivergenceError, match=r"iteration 2 \(epoch 1\)") as caught:
        model.train(DATA, batch_size=2, accumulate=2, learning_rate=1e200)
    assert caught.value.iteration == 2
    assert np.isfinite(model.parameters["theta"])


def test_without_a_batch_size_there_is_nothing_to_accumulate():
    with pytest.raises(ge.errors.InvalidModelError, match="GE112: 'accumulate' needs a 'batch_size'"):
        regression(accumulate=2)


def test_values_are_not_checked_one_by_one_and_iterations_not_traced():
    model = regression(batch_size=2, accumulate=2)
    with pytest.raises(ge.errors.TrainingError, match="GE602: values are not checked"):
        model.trainer(DATA).check_finite()
    with pytest.raises(ge.errors.UsageError, match="no batch of its own"):
        Iterations(model, DATA)
