"""Accumulated gradients: an iteration in parts is, for a loss that is a mean, the iteration of the whole batch."""

import math

import numpy as np
import pytest
from documents import document, linreg, training

import graphengine as ge
from graphengine.trace.iterations import Iterations

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


def counting(**keys):
    """A loss that is a random number, and a state that counts how often it was computed."""
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


def test_each_part_draws_anew_and_updates_the_state():
    data = {"x": np.zeros(6)}
    parts, single = counting(batch_size=1, accumulate=2), counting(batch_size=1)
    found, expected = parts.train(data).losses, single.train(data).losses
    assert found == pytest.approx([sum(expected[start : start + 2]) / 2 for start in (0, 2, 4)], rel=1e-15)
    assert parts.values["count"] == single.values["count"] == 6


def test_a_batch_that_diverges_is_told_and_its_update_not_made():
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
