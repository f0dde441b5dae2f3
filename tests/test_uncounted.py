"""A batch of which no sample counts teaches nothing: no loss, gradient 0, and the training goes on."""

import json
import math

import numpy as np
import pytest
from documents import document, parameter, training, write
from typer.testing import CliRunner

import graphengine as ge
from graphengine.cli.app import app
from graphengine.draw.curve import terminal_curve

LABELS = np.array([0, 1, -1, -1, 2, 0])
X = np.random.default_rng(21).normal(size=(6, 4))
START = np.random.default_rng(22).normal(size=(4, 3))


def classifier(op="softmax_cross_entropy", inputs=("z", "y"), **keys):
    nodes = {"z": ("matmul", ["x", "w"])}
    nodes |= {"p": ("log_softmax", ["z"])} if op == "negative_log_likelihood" else {}
    nodes["loss"] = (op, ["p", *inputs[1:]] if "p" in nodes else list(inputs), {"ignore_index": -1})
    declared = {"x": ["N", 4], "y": {"shape": ["N"], "dtype": "int64"}}
    parameters = {"w": START, "c": parameter([1.0, 0.0, 2.0], trainable=False)}
    section = training(**{"learning_rate": 0.5, "batch_size": 2, **keys})
    return document(nodes, {"loss": "loss"}, inputs=declared, parameters=parameters, training=section)


def step(w, x, labels, rate=0.5):
    """A step of gradient descent and the loss before it, by NumPy; of no labels the step is none."""
    logits = x @ w
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    there = labels >= 0
    slopes = ((odds - np.eye(3)[labels]) * there[:, None]) / max(there.sum(), 1)
    losses = -np.log(odds[np.arange(len(x)), labels])[there]
    return w - rate * x.T @ slopes, losses.mean() if there.any() else math.nan


def trained(batch, epochs=1):
    w, losses = START, []
    for _ in range(epochs):
        for start in range(0, 6, batch):
            w, loss = step(w, X[start : start + batch], LABELS[start : start + batch])
            losses.append(loss)
    return w, losses


@pytest.mark.parametrize("op", ["softmax_cross_entropy", "negative_log_likelihood"])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 6])
@pytest.mark.parametrize("way", ["plan", "reference", "parts"])
def test_a_training_goes_on_behind_ignored_labels(op, batch_size, way):
    keys = {"batch_size": 1, "accumulate": batch_size} if way == "parts" else {"batch_size": batch_size}
    model = ge.Model.from_dict(classifier(op, **keys))
    trainer = model.trainer({"x": X, "y": LABELS}, epochs=3)
    trainer.stepper.reference = way == "reference"
    for _ in trainer.chunks():
        pass
    expected, losses = trained(batch_size, epochs=3)
    np.testing.assert_allclose(model.parameters["w"], expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(trainer.history.losses, losses, rtol=1e-12)
    assert [row.gradient_norm == 0 for row in trainer.history] == [math.isnan(loss) for loss in losses]
    per_epoch = len(losses) // 3
    means = [np.nanmean(losses[start : start + per_epoch]) for start in range(0, len(losses), per_epoch)]
    assert [epoch.loss for epoch in trainer.history.epochs] == pytest.approx(means, rel=1e-12)


def test_the_example_of_the_issue():
    model = ge.Model.from_dict(classifier())
    history = model.train({"x": X, "y": LABELS})
    assert math.isnan(history.losses[1])
    assert history.iterations[1].gradient_norm == 0
    assert history.last_epoch_loss == pytest.approx((history.losses[0] + history.losses[2]) / 2, rel=1e-15)


def test_weights_of_zero_are_as_good_as_ignored_labels():
    model = ge.Model.from_dict(classifier(inputs=("z", "y", "c")))
    history = model.train({"x": X, "y": np.array([0, 2, 1, 1, 1, 2])})
    assert [math.isnan(loss) for loss in history.losses] == [False, True, False]


def test_a_step_that_remembers_goes_on_by_what_it_remembers():
    model = ge.Model.from_dict(classifier(optimizer={"type": "momentum", "learning_rate": 0.5, "momentum": 0.5}))
    rows = [np.array(row) for row in (model.parameters["w"] for _ in model.trainer({"x": X, "y": LABELS}).iterate())]
    first, second = rows[0] - START, rows[1] - rows[0]
    np.testing.assert_allclose(second, first / 2, rtol=1e-10)


def test_all_labels_ignored_is_a_loss_of_nan_and_no_step():
    model = ge.Model.from_dict(classifier())
    history = model.train({"x": X, "y": np.full(6, -1)})
    assert np.isnan(history.losses).all()
    assert math.isnan(history.last_epoch_loss)
    assert math.isnan(history.first_loss)
    np.testing.assert_array_equal(model.parameters["w"], START)


def test_the_end_of_the_command_shows_losses_that_are_numbers(tmp_path):
    source = {"type": "inline", "values": {"x": X.tolist(), "y": [0, 1, 2, 0, -1, -1]}}
    path = write(tmp_path / "m.json", classifier(data="d") | {"data": {"d": source}})
    result = CliRunner().invoke(app, ["train", str(path), "--format", "json"], catch_exceptions=False)
    loss = json.loads(result.stdout)["loss"]
    assert 0 < loss["last"] < 10
    source["values"]["y"] = [-1] * 6
    write(path, classifier(data="d") | {"data": {"d": source}})
    result = CliRunner().invoke(app, ["train", str(path), "--format", "json"], catch_exceptions=False)
    assert json.loads(result.stdout)["loss"] == {"first": "NaN", "last": "NaN"}


@pytest.mark.parametrize("labels", [LABELS, np.full(6, -1)])
def test_curves_leave_batches_without_a_loss_out(labels):
    history = ge.Model.from_dict(classifier()).train({"x": X, "y": labels}, epochs=3)
    counted = [loss for loss in history.losses if not math.isnan(loss)]
    assert terminal_curve(history.losses) == (terminal_curve(counted) if counted else "no loss is a number")
    assert ",nan" not in history._repr_svg_().lower()  # a coordinate


def test_a_training_resumes_in_the_middle_of_such_an_epoch(tmp_path):
    whole = ge.Model.from_dict(classifier()).train({"x": X, "y": LABELS}, epochs=2)
    model = ge.Model.from_dict(classifier())
    for row in model.trainer({"x": X, "y": LABELS}, checkpoints=tmp_path, checkpoint={"every_iterations": 1}).iterate():
        if row.iteration == 2:
            break
    resumed = ge.Model.from_dict(classifier())
    history = resumed.train({"x": X, "y": LABELS}, epochs=2, checkpoints=tmp_path, resume=True)
    assert [each.loss for each in history.epochs] == [each.loss for each in whole.epochs]


@pytest.mark.parametrize("way", ["plan", "reference", "parts"])
def test_a_loss_that_is_no_number_for_another_reason_diverges(way):
    nodes = {"m": ("mean", ["x"]), "s": ("sub", ["p", "m"]), "loss": ("log", ["s"])}  # of -1: NaN, with the slope -1
    section = training(learning_rate=0.1, batch_size=1, **({"accumulate": 2} if way == "parts" else {}))
    content = document(nodes, {"loss": "loss"}, inputs={"x": ["N"]}, parameters={"p": 0.0}, training=section)
    model = ge.Model.from_dict(content)
    trainer = model.trainer({"x": [1.0, 1.0]})
    trainer.stepper.reference = way == "reference"
    with pytest.raises(ge.errors.DivergenceError, match="GE601: training diverged at iteration 1"):
        list(trainer.chunks())


def test_a_quotient_of_sums_without_samples_diverges_if_its_gradient_is_no_number():
    nodes = {"e": ("mul", ["w", "x"]), "we": ("mul", ["m", "e"]), "n": ("sum", ["we"]), "d": ("sum", ["m"])}
    nodes["loss"] = ("div", ["n", "d"])
    inputs, section = {"x": ["N"], "m": ["N"]}, training(batch_size=1)
    content = document(nodes, {"loss": "loss"}, inputs=inputs, parameters={"w": 1.0}, training=section)
    model = ge.Model.from_dict(content)
    with pytest.raises(ge.errors.DivergenceError, match="iteration 2"):
        model.train({"x": [1.0, 1.0], "m": [1.0, 0.0]})
