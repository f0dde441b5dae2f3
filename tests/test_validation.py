"""Validation, metrics, early stopping and the limit in time: each key of the section has its effect."""

import numpy as np
import pytest
from documents import document, linreg, parameter, training, write

import graphengine as ge
from graphengine.format.documents import ValidationDocument
from graphengine.limits import Limits
from graphengine.training.splitting import split

X = np.arange(1.0, 11.0)
DATA = {"x": X, "y": 3 * X + np.resize([0.5, -0.5], 10)}
FRACTION = ValidationDocument(fraction=0.3)
APART = {"x": [20.0, 30.0], "y": [61.0, 89.0]}


def regression(theta=0.0, **keys):
    return ge.Model.from_dict(linreg(theta=theta, training=training(learning_rate=0.001, **keys)))


def validation_loss(model, data=APART):
    return float(model.forward(data)["loss"])


# ---------------------------------------------------------------- validation


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, [4, 8, 12, 16, 20]),
        ({"every_epochs": 2}, [8, 16]),
        ({"every_iterations": 3}, [3, 6, 9, 12, 15, 18]),
        ({"every_epochs": 3, "every_iterations": 5}, [5, 10, 12, 15, 20]),
        ({"every_epochs": 9}, []),
    ],
)
def test_checks_come_when_the_section_says(keys, expected):
    section = {"fraction": 0.3, **keys}
    history = regression(validation=section).train(DATA, batch_size=2, epochs=5)
    assert [check.iteration for check in history.checks] == expected
    assert [check.epoch for check in history.checks] == [(done - 1) // 4 + 1 for done in expected]


@pytest.mark.parametrize("batch_size", [None, 3])
def test_the_validation_loss_is_the_loss_of_the_model_at_that_time(batch_size):
    model, stepwise = regression(), regression()
    history = model.train(DATA, epochs=4, batch_size=batch_size, validation_data=APART)
    trainer = stepwise.trainer(DATA, epochs=4, batch_size=batch_size)
    ends = range(trainer.batches.per_epoch, 100, trainer.batches.per_epoch)
    expected = [validation_loss(stepwise) for row in trainer.iterate() if row.iteration in ends]
    assert [check.values for check in history.checks] == [{"validation_loss": loss} for loss in expected]
    assert model.parameters["theta"] == stepwise.parameters["theta"]


def test_validation_data_of_the_file(tmp_path):
    sources = {
        name: {"type": "inline", "values": {key: list(map(float, values)) for key, values in data.items()}}
        for name, data in (("train", DATA), ("test", APART))
    }
    section = training(learning_rate=0.001, data="train", validation={"data": "test"})
    model = ge.load(write(tmp_path / "m.json", linreg(data=sources, training=section)))
    (check,) = model.train().checks
    assert check.values["validation_loss"] == validation_loss(model)


def test_a_fraction_of_the_samples_is_set_apart_by_the_seed():
    model = regression(validation={"fraction": 0.3})
    trainer = model.trainer(DATA, seed=4)
    (check,) = [trainer.history.checks[0] for _ in trainer.chunks()]
    kept, apart = split(DATA, model.graph, FRACTION, 4)
    assert (trainer.batches.samples, len(apart["x"])) == (7, 3)
    assert sorted([*kept["x"], *apart["x"]]) == X.tolist()
    assert [*kept["x"]] == sorted(kept["x"])
    assert check.values["validation_loss"] == validation_loss(model, apart)
    assert not np.array_equal(split(DATA, model.graph, FRACTION, 5)[1]["x"], apart["x"])
    for name in ("x", "y"):
        np.testing.assert_array_equal(np.isin(DATA[name], apart[name]), np.isin(DATA["x"], apart["x"]))


@pytest.mark.parametrize(("fraction", "apart"), [(0.01, 1), (0.99, 9), (0.5, 5)])
def test_at_least_one_sample_is_on_either_side(fraction, apart):
    assert len(split(DATA, regression().graph, ValidationDocument(fraction=fraction), 0)[1]["x"]) == apart


def test_of_a_single_sample_none_is_set_apart():
    with pytest.raises(ge.errors.DataError, match="GE505: a single sample cannot be split"):
        regression(validation={"fraction": 0.5}).train({"x": [1.0], "y": [2.0]}, epochs=1)


def test_a_model_that_takes_one_sample_at_a_time_is_validated_on_the_mean():
    model = ge.Model.from_dict(linreg(shape=(), training=training(batch_size=1, learning_rate=0.001)))
    (check,) = model.train(DATA, validation_data=APART).checks
    expected = np.mean([validation_loss(model, {"x": x, "y": y}) for x, y in zip(*APART.values(), strict=True)])
    assert check.values["validation_loss"] == pytest.approx(expected, rel=1e-15)


# ---------------------------------------------------------------- metrics


def classifier(**keys):
    nodes = {"z": ("mul", ["x", "w"]), "loss": ("softmax_cross_entropy", ["z", "y"]), "a": ("accuracy", ["z", "y"])}
    nodes |= {"c": ("confusion_matrix", ["z", "y"]), "flat": ("mean", ["z"]), "spread": ("square", ["flat"])}
    content = document(
        nodes,
        {"loss": "loss", "right": "a"},
        inputs={"x": ["N", 2], "y": {"shape": ["N"], "dtype": "int64"}},
        parameters={"w": [0.1, 0.2]},
        training=training(metrics={"accuracy": "right", "confusion": "c", "spread": "spread"}, **keys),
    )
    return ge.Model.from_dict(content)


CLASSES = {"x": [[1.0, 2.0], [3.0, 1.0], [0.0, 1.0], [2.0, 2.5]], "y": [1, 0, 0, 1]}


@pytest.mark.parametrize("validation", [None, {"x": [[1.0, 0.0], [0.0, 1.0], [5.0, 0.0]], "y": [0, 1, 1]}])
def test_metrics_are_any_values_of_the_graph_on_validation_data_or_else_on_the_data(validation):
    model = classifier()
    history = model.train(CLASSES, epochs=2, validation_data=validation)
    expected = model.forward(validation or CLASSES)
    found = history.checks[-1].values
    assert [check.epoch for check in history.checks] == [1, 2]
    assert found["accuracy"] == expected["right"]
    assert found["confusion"].tolist() == expected.value("c").tolist()
    assert found["spread"] == expected.value("spread")
    assert ("validation_loss" in found) == (validation is not None)


def reader_of_w(*, metric=False, state=False, **keys):
    """A model whose loss does not read its input w; a metric or the update of a state does."""
    nodes = {"z": ("mul", ["t", "x"]), "loss": ("mse", ["z", "y"]), "of_w": ("mean", ["w"])}
    sections = {"state": {"last": {"shape": [], "initializer": {"type": "zeros"}, "update": "of_w"}}} if state else {}
    section = training(metrics={"of_w": "of_w"} if metric else {}, **keys)
    inputs = {"x": ["N"], "y": ["N"], "w": ["N"]}
    content = document(nodes, {"loss": "loss"}, inputs=inputs, parameters={"t": 0.0}, training=section, **sections)
    return ge.Model.from_dict(content)


@pytest.mark.parametrize("read", ["metric", "state"])
@pytest.mark.parametrize("keys", [{}, {"batch_size": 1, "accumulate": 2}])
def test_the_data_has_what_a_metric_or_the_update_of_state_reads(read, keys):
    with pytest.raises(ge.errors.InputError, match="GE401: the data has no values for input 'w'"):
        reader_of_w(**{read: True}, **keys).train(APART)
    assert len(reader_of_w(**{read: True}, **keys).train({**APART, "w": [1.0, 2.0]})) == 1


def test_what_only_a_metric_reads_is_asked_of_the_validation_data_alone_if_there_is_some():
    model, has_w = reader_of_w(metric=True), {**APART, "w": [1.0, 2.0]}
    assert model.train(APART, validation_data=has_w).checks[0].values["of_w"] == 1.5
    for data, keys in ((has_w, {"validation_data": APART}), (APART, {"validation": {"fraction": 0.5}})):
        with pytest.raises(ge.errors.InputError, match="GE401: the data has no values for input 'w'"):
            model.train(data, **keys)


def test_data_that_takes_too_much_memory_at_once_is_checked_batch_by_batch():
    apart = {"x": np.linspace(0, 1, 10_000), "y": np.linspace(0, 3, 10_000)}
    content = linreg(training=training(learning_rate=0.001, batch_size=4, epochs=3))
    limited = ge.Model.from_dict(content, limits=Limits(array_bytes=100_000))
    whole = ge.Model.from_dict(content)
    checks = [model.train(DATA, validation_data=apart).checks for model in (limited, whole)]
    losses = [[check.values["validation_loss"] for check in each] for each in checks]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    assert len(losses[0]) == 3
    with pytest.raises(ge.errors.InputError, match="GE133"):
        limited.forward(apart)


def test_metrics_of_data_in_parts_are_means_and_counts_are_sums():
    nodes = {"s": ("mul", ["x", "w"]), "l": ("square", ["s"]), "loss": ("mean", ["l"]), "n": ("greater", ["x", 2.5])}
    nodes |= {"m": ("cast", ["n"], {"dtype": "int64"}), "count": ("sum", ["m"])}
    content = document(
        nodes,
        {"loss": "loss"},
        inputs={"x": [1]},
        parameters={"w": 0.1},
        training=training(batch_size=1, metrics={"count": "count"}),
    )
    (check,) = ge.Model.from_dict(content).train({"x": [[1.0], [2.0], [3.0], [4.0]]}).checks
    assert check.values == {"count": 2}


# ---------------------------------------------------------------- early stopping


def descender(values, **keys):
    """A model whose monitored metric takes given values, one a check: the parameter counts down from 0."""
    nodes = {"loss": ("mul", ["p", 1.0]), "step": ("neg", ["p"]), "at": ("cast", ["step"], {"dtype": "int64"})}
    nodes |= {"score": ("gather", ["curve", "at"], {"axis": 0})}
    section = {
        "loss": "loss",
        "optimizer": {"type": "sgd", "learning_rate": 1.0},
        "epochs": len(values),
        "metrics": {"score": "score"},
        "early_stopping": {"monitor": "score", **keys},
    }
    parameters = {"p": 0.0, "curve": parameter([0.0, *values], trainable=False)}
    return ge.Model.from_dict(document(nodes, {"loss": "loss"}, parameters=parameters, training=section))


def descending(values, **keys):
    """The training of such a model, how many iterations it had, and where the parameter ended."""
    model = descender(values, **keys)
    trainer = model.trainer({})
    for _ in trainer.chunks():
        pass
    return trainer, len(trainer.history), -float(model.parameters["p"])


@pytest.mark.parametrize(
    ("values", "keys", "stopped", "kept"),
    [
        ([5, 4, 3, 4, 4, 4, 1], {"patience": 2}, 5, 3),
        ([5, 4, 3, 4, 4, 4, 1], {"patience": 4}, 7, 7),
        ([5, 4, 3, 4, 4, 4, 1], {"patience": 2, "restore_best": False}, 5, 5),
        ([1, 2, 3, 2, 1, 0], {"patience": 2, "mode": "max"}, 5, 3),
        ([5, 4.5, 4.2, 3.9, 3.5], {"patience": 2, "min_delta": 1.0}, 3, 3),
        ([5, 4.5, 3.9, 3.8, 3.85, 9], {"patience": 2, "min_delta": 1.0}, 5, 4),
        ([1, 0.357, 0.2, 0.0002, 0.3, 0.4, 9], {"patience": 4, "min_delta": 0.5}, 6, 4),
        ([1, 1.5, 1.9, 1.8], {"patience": 2, "min_delta": 1.0, "mode": "max"}, 3, 3),
        ([float("nan"), 3, 2, float("nan"), float("nan"), 1], {"patience": 2}, 5, 3),
        ([5, 4, 3, 2, 1], {"patience": 1}, 5, 5),
        ([3, 3, 3], {"patience": 1}, 2, 1),
        ([2, 1, 3], {"patience": 5}, 3, 2),
    ],
)
def test_early_stopping_waits_and_keeps_the_best(values, keys, stopped, kept):
    trainer, iterations, parameter = descending(values, **keys)
    assert (iterations, parameter) == (stopped, kept)
    assert (trainer.history.stopped is None) == (stopped == len(values))


def test_the_reason_of_an_early_stop_is_reported():
    trainer, _, _ = descending([5, 4, 4, 4], patience=2)
    assert trainer.history.stopped == "score has not improved in 2 checks (best: 4 at iteration 2)"
    trainer, _, _ = descending([5, 3.5, 3.2, 3.4], patience=2, min_delta=1)
    assert trainer.history.stopped == "score has not improved by 1 in 2 checks (best: 3.2 at iteration 3)"


@pytest.mark.parametrize(
    ("values", "restored", "score"), [([5, 4, 3, 4, 4], 3, 3), ([5, 4, 3], None, 3), ([2, 1, 3, 3], 2, 1)]
)
def test_a_history_has_the_check_that_the_values_belong_to(values, restored, score):
    trainer, iterations, parameter = descending(values, patience=2)
    history = trainer.history
    assert history.check.values == {"score": score}
    assert history.check.iteration == (restored or iterations) == parameter
    assert (history.restored and history.restored.iteration) == restored


def test_a_training_that_resumes_knows_its_best_check(tmp_path):
    values = [5, 4.6, 4.5, 4.55, 4.7, 4.8, 4.9]
    keys = {"patience": 5, "min_delta": 1.0}
    whole, _, _ = descending(values, **keys)
    for row in descender(values, **keys).trainer({}, checkpoints=tmp_path).iterate():
        if row.iteration == 4:
            break
    model = descender(values, **keys)
    history = model.train({}, checkpoints=tmp_path, resume=True)
    assert (history.restored, history.stopped) == (whole.history.restored, whole.history.stopped)
    assert history.restored.iteration == 3
    assert model.parameters["p"] == -3


@pytest.mark.parametrize("monitor", ["loss", "validation_loss"])
def test_the_losses_may_be_monitored(monitor):
    early = {"monitor": monitor, "patience": 3}
    model = regression(theta=3.0, early_stopping=early, validation={"fraction": 0.2})
    history = model.train(DATA, epochs=10_000, batch_size=4)
    assert history.epochs_trained < 10_000
    assert len(history.checks) == history.epochs_trained
    assert history.last_epoch_loss == history.epochs[-1].loss


@pytest.mark.parametrize(
    ("section", "code", "pointer"),
    [
        ({"validation": {}}, "GE112", "/training/validation"),
        ({"validation": {"data": "test"}}, "GE210", "/training/validation/data"),
        ({"early_stopping": {}}, "GE210", "/training/early_stopping/monitor"),
        ({"early_stopping": {"monitor": "lost"}}, "GE210", "/training/early_stopping/monitor"),
        ({"metrics": {"m": "nothing"}}, "GE210", "/training/metrics/m"),
        ({"metrics": {"loss": "sq"}}, "GE112", "/training/metrics/loss"),
        ({"metrics": {"validation_loss": "y_hat"}}, "GE112", "/training/metrics/validation_loss"),
        (
            {"metrics": {"loss": "sq"}, "optimizer": {"type": "lbfgs"}, "epochs": None},
            "GE112",
            "/training/metrics/loss",
        ),
        ({"metrics": {"m": "sq"}, "early_stopping": {"monitor": "m"}}, "GE112", "/training/early_stopping/monitor"),
    ],
)
def test_what_does_not_fit_together_is_reported_with_its_place(section, code, pointer):
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        regression(**section)
    (problem,) = caught.value.problems
    assert (problem.code, problem.pointer) == (code, pointer)


# ---------------------------------------------------------------- the limit in time


def test_max_seconds_stops_a_training():
    trainer = regression().trainer(DATA, epochs=None, max_seconds=0.2)
    for _ in trainer.chunks():
        pass
    assert trainer.history.stopped == "the time is up (0.2 s)"
    assert len(regression().train(DATA, epochs=100, max_seconds=1e-9)) == 1


def test_max_seconds_stops_a_solver():
    content = document({"q": ("square", ["p"]), "r": ("exp", ["q"])}, {"loss": "r"}, parameters={"p": 2.0})
    model = ge.Model.from_dict(content)
    history = model.train({}, loss="loss", optimizer={"type": "lbfgs"}, max_seconds=1e-9)
    assert (len(history), history.stopped) == (1, "the time is up (1e-09 s)")
