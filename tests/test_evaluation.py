"""A number that is printed is that of all samples, in any batches and at any limit; expected values are NumPy's."""

import json

import numpy as np
import pytest
from documents import document, linreg, training, write
from typer.testing import CliRunner

import graphengine as ge
from graphengine.cli.app import app
from graphengine.limits import Limits

N = 60_000
GENERATOR = np.random.Generator(np.random.Philox(key=5))
X = np.sort(GENERATOR.uniform(0, 4, N))
Y = 3 * X + GENERATOR.normal(0, 0.3, N)
W = 2.5
"""Sorted rows: a mean over batches is no r2, no maximum, no root, no weighted mean."""


def cli(*arguments, code=0):
    result = CliRunner().invoke(app, [*map(str, arguments), "--format", "json"], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def regression(**sections):
    """y = w * x with what is computed of the errors: in one op, in several, and with weights."""
    nodes = {
        "y_hat": ("mul", ["w", "x"]),
        "error": ("sub", ["y", "y_hat"]),
        "sq": ("square", ["error"]),
        "loss": ("mean", ["sq"]),
        "rms": ("sqrt", ["loss"]),
        "size": ("abs", ["error"]),
        "largest": ("max", ["size"]),
        "least": ("min", ["error"]),
        "r2": ("r2", ["y_hat", "y"]),
        "spread": ("std", ["error"], {"ddof": 1.0}),
        "weighted": ("mul", ["x", "sq"]),
        "numerator": ("sum", ["weighted"]),
        "denominator": ("sum", ["x"]),
        "weighted_mean": ("div", ["numerator", "denominator"]),
        "soft": ("logsumexp", ["error"]),
        "length": ("norm", ["error"]),
        "good": ("less", ["size", 1.0]),
        "any_good": ("any", ["good"]),
        "all_good": ("all", ["good"]),
        "count": ("sum", ["good"]),
        "rows": ("size", ["x"]),
        "moments": ("einsum", ["x", "y"], {"equation": "i,i->"}),
    }
    outputs = ["rms", "largest", "least", "r2", "spread", "weighted_mean", "soft", "length", "any_good", "all_good"]
    outputs += ["count", "rows", "moments", "loss"]
    return document(
        nodes, {name: name for name in outputs}, inputs={"x": ["N"], "y": ["N"]}, parameters={"w": W}, **sections
    )


def expected():
    error, about = Y - W * X, Y - np.mean(Y)
    top = np.max(error)
    return {
        "rms": np.sqrt(np.mean(error**2)),
        "largest": np.max(np.abs(error)),
        "least": np.min(error),
        "r2": 1 - np.sum(error**2) / np.sum(about**2),
        "spread": np.std(error, ddof=1),
        "weighted_mean": np.average(error**2, weights=X),
        "soft": top + np.log(np.sum(np.exp(error - top))),
        "length": np.linalg.norm(error),
        "any_good": True,
        "all_good": False,
        "count": np.sum(np.abs(error) < 1),
        "rows": N,
        "moments": np.dot(X, Y),
        "loss": np.mean(error**2),
    }


@pytest.fixture
def folder(tmp_path):
    np.savez(tmp_path / "d.npz", x=X, y=Y)
    return tmp_path


SOURCE = {"train": {"type": "npz", "path": "d.npz", "arrays": {"x": "x", "y": "y"}}}
LIMITS = [(), ("--limit", "data_bytes=1MiB"), ("--limit", "data_bytes=200KiB"), ("--limit", "array_bytes=300KiB")]


def assert_expected(found, wanted=None):
    wanted = wanted or expected()
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=1e-10), name


@pytest.mark.parametrize("limit", LIMITS)
def test_run_gives_the_numbers_of_the_whole_set_at_any_limit(folder, limit):
    path = write(folder / "m.json", regression(data=SOURCE))
    found = cli(*limit, "run", path)["outputs"]
    assert_expected(found)
    assert found["r2"] > 0.8


@pytest.mark.parametrize("limit", LIMITS)
def test_a_training_and_its_checks_give_them_too(folder, limit):
    names = {f"m_{name}": name for name in expected()}
    keys = {"learning_rate": 0.0, "batch_size": 1000, "metrics": names, "data": "train"}
    sources = {**SOURCE, "test": SOURCE["train"]}
    path = write(folder / "m.json", regression(data=sources, training=training(validation={"data": "test"}, **keys)))
    found = cli(*limit, "train", path)
    assert_expected(found["outputs"])
    assert_expected({name.removeprefix("m_"): value for name, value in found["checks"].items()})
    assert found["checks"]["validation_loss"] == pytest.approx(expected()["loss"], rel=1e-12)


def test_the_methods_of_a_model_give_them_too():
    model = ge.Model.from_dict(regression())
    assert_expected(model.forward(x=X, y=Y).outputs)
    assert_expected(model.predict(x=X, y=Y))


# ---------------------------------------------------------------- what needs all samples at once


def ranked(**sections):
    nodes = {"p_x": ("mul", ["p", "x"]), "error": ("sub", ["y", "p_x"])}
    nodes |= {"worst": ("argmax", ["error"]), "loss": ("mean", ["error"])}
    outputs = {"worst": "worst", "loss": "loss"}
    return document(nodes, outputs, inputs={"x": ["N"], "y": ["N"]}, parameters={"p": 1.0}, **sections)


def test_it_is_computed_of_the_whole_where_that_fits_and_else_refused(folder):
    path = write(folder / "m.json", ranked(data=SOURCE))
    assert cli("--limit", "data_bytes=200KiB", "run", path)["outputs"]["worst"] == np.argmax(Y - X)
    limits = ("--limit", "data_bytes=200KiB", "--limit", "array_bytes=200KiB")
    (error,) = cli(*limits, "run", path, code=1)["errors"]
    assert (error["code"], error["node"]) == ("GE414", "worst")
    assert error["message"].startswith("node 'worst' (argmax) needs 60000 samples at once, and ")
    assert "declare 'merge' in its class" in error["hint"]


def test_a_metric_that_is_an_array_is_no_score(folder):
    keys = {"metrics": {"errors": "error", "mae": "length"}, "data": "train"}
    path = write(folder / "m.json", regression(data=SOURCE, training=training(**keys)))
    found = cli("evaluate", path)
    assert found["metrics"]["mae"] == pytest.approx(expected()["length"], rel=1e-12)
    assert "errors" not in found["metrics"]


def test_a_metric_of_a_training_is_refused_before_it_begins(folder):
    keys = {"metrics": {"worst": "worst"}, "batch_size": 100, "loss": "loss", "learning_rate": 0.1, "epochs": 1}
    model = ge.Model.from_dict(ranked(), limits=Limits(array_bytes=100_000))
    with pytest.raises(ge.errors.ExecutionError, match="GE414: node 'worst'"):
        model.trainer({"x": X, "y": Y}, **keys)


def test_samples_on_two_axes_cannot_be_worked_on_in_batches(folder):
    content = document(
        {"t": ("trace", ["x"])}, inputs={"x": ["N", "N"]}, data={"d": {"type": "npy", "paths": {"x": "x.npy"}}}
    )
    np.save(folder / "x.npy", np.eye(100))
    path = write(folder / "m.json", content)
    assert cli("run", path)["outputs"]["out"] == 100
    (error,) = cli("--limit", "data_bytes=64KiB", "run", path, code=1)["errors"]
    assert error["code"] == "GE414"
    assert error["message"].startswith("input 'x' has samples on more than one axis")


# ---------------------------------------------------------------- the end of a training


def apart(**keys):
    """A training whose validation loss is least in the middle: it passes the right value of one row by another."""
    values = {"x": [1.0, 1.0], "y": [0.0, 0.0]}
    sources = {"train": {"type": "inline", "values": {"x": [1.0, 2.0], "y": [3.0, 6.0]}}}
    sources["test"] = {"type": "inline", "values": {"x": [1.0], "y": [1.7]}}
    early = {"monitor": "validation_loss", "patience": 2}
    section = training(data="train", validation={"data": "test"}, early_stopping=early, epochs=100, **keys)
    return linreg(data=sources, training=section), values


def test_the_end_shows_the_check_whose_values_the_model_has_and_the_rows_of_the_outputs(tmp_path):
    path = write(tmp_path / "m.json", apart(learning_rate=0.05)[0])
    found = cli("train", path)
    history = ge.load(path).train()
    theta, losses = 0.0, []
    for _ in range(len(history)):  # by hand: the gradient is 5 * (theta - 3)
        theta -= 0.05 * 5 * (theta - 3)
        losses.append((theta, (1.7 - theta) ** 2))
    best, (kept, loss) = min(enumerate(losses, 1), key=lambda each: each[1][1])
    assert best < len(losses)
    assert found["restored"] == {"epoch": best, "iteration": best}
    assert found["checks"]["validation_loss"] == pytest.approx(loss, rel=1e-12)
    assert found["parameters"]["theta"] == pytest.approx(kept, rel=1e-12)
    assert found["outputs"]["loss"] == pytest.approx((3 - kept) ** 2 * 2.5, rel=1e-12)
    assert found["outputs_on"] == {"data": "training", "rows": 2}
    assert found["checks_on"] == {"data": "validation", "rows": 1}
    text = CliRunner().invoke(app, ["train", str(path)], catch_exceptions=False).stdout
    assert f"check after iteration {best} on 1 row of 'test', the best one, whose values the model has:\n" in text
    assert "outputs on the 2 training rows:\n" in text


@pytest.mark.parametrize(
    ("keys", "on", "batch"),
    [
        ({}, "the 2 training rows", 2),
        ({"batch_size": 1}, "batches of 1 of the 2 training rows", 1),
        ({"batch_size": 1, "accumulate": 2}, "the 2 training rows", 2),
        ({"optimizer": {"type": "lbfgs"}}, "the 2 training rows", 2),
    ],
)
def test_the_end_says_what_the_losses_are_on(tmp_path, keys, on, batch):
    content = {key: value for key, value in apart()[0].items() if key != "training"}
    update = {"epochs": 3, "optimizer": {"type": "sgd", "learning_rate": 0.05}}
    section = {"loss": "loss", "data": "train", **({} if "optimizer" in keys else update), **keys}
    path = write(tmp_path / "m.json", {**content, "training": section})
    assert cli("train", path)["loss_on"] == {"data": "training", "rows": 2, "batch": batch}
    lines = CliRunner().invoke(app, ["train", str(path)], catch_exceptions=False).stdout.splitlines()
    assert lines[1].startswith(f"loss on {on}: ")


@pytest.mark.parametrize(
    ("keys", "on", "data"),
    [
        ({"validation": {"fraction": 0.25}}, "2 rows held out", {"data": "validation", "rows": 2}),
        ({"metrics": {"squares": "loss"}}, "the 8 training rows", {"data": "training", "rows": 8}),
    ],
)
def test_a_check_names_the_rows_that_it_is_on(tmp_path, keys, on, data):
    rows = {"x": [1.0] * 8, "y": [3.0] * 8}
    section = training(data="train", epochs=2, learning_rate=0.05, **keys)
    path = write(tmp_path / "m.json", linreg(data={"train": {"type": "inline", "values": rows}}, training=section))
    text = CliRunner().invoke(app, ["train", str(path)], catch_exceptions=False).stdout
    assert f"check after iteration 2 on {on}:\n" in text
    assert cli("train", path)["checks_on"] == data


def test_the_end_says_nothing_of_what_was_not_restored(tmp_path):
    content = apart(learning_rate=0.05)[0]
    content["training"]["early_stopping"]["restore_best"] = False
    found = cli("train", write(tmp_path / "m.json", content))
    assert "restored" not in found
    assert found["checks"]["validation_loss"] == pytest.approx((1.7 - found["parameters"]["theta"]) ** 2, rel=1e-12)


def test_an_output_that_has_no_room_is_left_out_at_the_end_of_a_training(folder):
    section = training(batch_size=100, data="train", learning_rate=0.0)
    path = write(folder / "m.json", ranked(data=SOURCE, training=section))
    limits = ("--limit", "data_bytes=200KiB", "--limit", "array_bytes=200KiB")
    found = cli(*limits, "train", path)
    assert found["outputs"] == {"loss": pytest.approx(np.mean(Y - X), rel=1e-10)}
    (warning,) = found["warnings"]
    assert warning["code"] == "GE414"
    assert warning["message"].startswith("output 'worst' is left out: node 'worst' (argmax) needs 60000 samples")


@pytest.mark.parametrize("batch_size", [None, 2])
def test_a_training_that_ends_worse_than_it_began_says_so(tmp_path, batch_size):
    keys = {"learning_rate": 0.3, "epochs": 3, "data": "d", "batch_size": batch_size}
    source = {"type": "inline", "values": {"x": [1.0, 2.0, 3.0], "y": [1.0, 2.0, 3.0]}}
    path = write(tmp_path / "m.json", linreg(data={"d": source}, training=training(**keys)))
    found = cli("train", path)
    (warning,) = found["warnings"]
    assert warning["code"] == "GE605"
    result = CliRunner().invoke(app, ["train", str(path)], catch_exceptions=False)
    assert "warning: GE605: " in result.stderr
    assert cli("train", path, "--learning-rate", 0.01)["warnings"] == []


def test_a_training_at_its_minimum_is_not_worse_for_rounding(tmp_path):
    source = {"type": "inline", "values": {"x": [1.0, 2.0], "y": [3.0, 6.1]}}
    start = 15.2 / 5  # the least squares
    path = write(tmp_path / "m.json", linreg(theta=start, data={"d": source}, training=training(data="d", epochs=50)))
    assert cli("train", path)["warnings"] == []


def test_shapes_that_broadcast_by_mistake_are_noticed_by_the_loss(tmp_path):
    """(N, 1) against (N,): sub and mean train on an N x N matrix."""
    nodes = {"y_hat": ("mul", ["x", "w"]), "error": ("sub", ["y", "y_hat"]), "sq": ("square", ["error"])}
    nodes["loss"] = ("mean", ["sq"])
    x = np.linspace(1, 100, 20)
    values = {"x": x[:, None].tolist(), "y": (3 * x).tolist()}
    section = training(data="d", learning_rate=0.001, epochs=5)
    data = {"d": {"type": "inline", "values": values}}
    inputs, parameters = {"x": ["N", 1], "y": ["N"]}, {"w": 3.0}
    content = document(nodes, {"loss": "loss"}, inputs=inputs, parameters=parameters, data=data, training=section)
    found = cli("train", write(tmp_path / "m.json", content))
    assert [warning["code"] for warning in found["warnings"]] == ["GE901", "GE605"]
