"""`evaluate`: scores equal scikit-learn's, in any batches, and say what they are of."""

import json

import numpy as np
import pandas
import pytest
from sklearn import metrics
from typer.testing import CliRunner

import graphengine as ge
from graphengine.cli.app import app
from graphengine.format.documents import ValidationDocument
from graphengine.model.evaluating import EvaluationSubject, comparison
from graphengine.model.scores import ClassCounts, Errors
from graphengine.training.splitting import split

H = {"format": "graphengine.model", "format_version": 1, "opset_imports": {"core": 1}, "name": "t"}


def cli_json(*arguments):
    done = CliRunner().invoke(app, [*map(str, arguments), "--format", "json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.mark.parametrize("batch", [1, 7, 50])
def test_class_scores_are_those_of_scikit_learn(rng, batch):
    target, predicted = rng.integers(0, 4, 50), rng.integers(0, 4, 50)
    counts = ClassCounts(("a", "b", "c", "d"))
    for start in range(0, 50, batch):
        counts.add(target[start : start + batch], predicted[start : start + batch])
    np.testing.assert_array_equal(counts.matrix, metrics.confusion_matrix(target, predicted))
    assert counts.metrics["accuracy"] == pytest.approx(metrics.accuracy_score(target, predicted))
    expected = np.array(metrics.precision_recall_fscore_support(target, predicted)).T
    np.testing.assert_allclose([each[1:] for each in counts.scores()], expected, rtol=1e-14)


def test_a_class_that_is_never_predicted_has_no_precision():
    counts = ClassCounts((0, 1))
    counts.add([0, 1, 1, -1], [0, 0, 0, 0])
    assert counts.matrix.tolist() == [[1, 0], [2, 0]]
    first, second = counts.scores()
    assert (first.recall, second.recall, second.support) == (1, 0, 2)
    assert np.isnan(second.precision)


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_errors_are_those_of_scikit_learn(rng, batch):
    target = 1e6 + rng.normal(size=1000)
    predicted = target + rng.normal(size=1000)
    errors = Errors()
    for start in range(0, 1000, batch):
        errors.add(target[start : start + batch], predicted[start : start + batch])
    found = errors.metrics
    assert found["r2"] == pytest.approx(metrics.r2_score(target, predicted), rel=1e-9)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(target, predicted), rel=1e-12)
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(target, predicted), rel=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1e300])
def test_errors_near_the_ends_of_the_range_are_those_of_scaled_numbers(rng, scale):
    target = rng.normal(size=30)
    predicted = target + rng.normal(size=30)
    near, far = Errors(), Errors()
    for part in (slice(0, 7), slice(7, None)):
        near.add(target[part], predicted[part])
        far.add(scale * target[part], scale * predicted[part])
    assert far.metrics["r2"] == pytest.approx(near.metrics["r2"], rel=1e-12)
    for name in ("mae", "rmse"):
        assert far.metrics[name] == pytest.approx(scale * near.metrics[name], rel=1e-12, abs=0)


def test_targets_whose_sum_is_beyond_the_largest_number_have_scores():
    errors = Errors()
    errors.add(np.array([1.6e308, 1.6e308, 1.2e308]), np.array([1.4e308, 1.6e308, 1.2e308]))
    assert errors.metrics == pytest.approx({"r2": 0.625, "mae": 2e307 / 3, "rmse": 2e307 / 3**0.5}, rel=1e-9)


def test_targets_that_are_all_equal_have_no_r2():
    errors = Errors()
    errors.add([2.0, 2.0], [1.0, 2.0])
    assert np.isnan(errors.metrics["r2"])


@pytest.mark.parametrize(
    ("name", "output", "classes"),
    [
        ("linreg", "prediction", ()),
        ("logistic_iris", "probability", (0, 1)),
        ("softmax_iris", "probabilities", (0, 1, 2)),
        ("mlp_digits", "probabilities", tuple(range(10))),
        ("lstm_sums", "prediction", ()),
    ],
)
def test_what_is_compared_follows_from_the_graph(name, output, classes):
    model = ge.load(name)
    assert comparison(EvaluationSubject(model.evaluator, model.document)) == ("y", output, classes)


@pytest.mark.parametrize("name", ["autoencoder_digits", "baydin", "griewank_walther"])
def test_a_model_without_a_target_is_compared_with_nothing(name):
    model = ge.load(name)
    assert comparison(EvaluationSubject(model.evaluator, model.document)) is None


def test_the_scores_are_those_of_the_predictions():
    model = ge.load("softmax_iris")
    model.train()
    data = model.load_data("train")
    scores = model.evaluate()
    predicted = model.predict(x=data["x"])["probabilities"].argmax(1)
    assert scores.rows == 150
    assert scores.loss == pytest.approx(float(model.forward(data)["loss"]))
    assert scores.metrics["accuracy"] == pytest.approx(np.mean(predicted == data["y"]))
    np.testing.assert_array_equal(scores.confusion, metrics.confusion_matrix(data["y"], predicted))


def test_scores_do_not_depend_on_the_limit_of_memory():
    limits = ge.Limits(data_bytes=20_000, array_bytes=20_000)
    small, large = ge.load("softmax_iris", limits=limits), ge.load("softmax_iris")
    np.testing.assert_array_equal(small.evaluate().confusion, large.evaluate().confusion)
    assert small.evaluate().loss == pytest.approx(large.evaluate().loss, rel=1e-12)


def test_class_names_are_those_of_the_categories(tmp_path):
    (tmp_path / "t.csv").write_text("x,kind\n1,no\n3,yes\n2,yes\n0,no\n")
    model = {
        **H,
        "inputs": {
            "x": {"shape": ["N"]},
            "kind": {"shape": ["N"], "dtype": "int64", "categories": ["no", "yes"]},
        },
        "parameters": {"b": {"shape": [], "value": -2.5}},
        "nodes": [
            {"id": "z", "op": "add", "inputs": ["x", "b"]},
            {"id": "p", "op": "sigmoid", "inputs": ["z"]},
            {"id": "loss", "op": "binary_cross_entropy", "inputs": ["z", "kind"]},
        ],
        "outputs": {"p": "p", "loss": "loss"},
        "data": {"train": {"type": "csv", "path": "t.csv"}},
        "training": {"loss": "loss", "data": "train", "optimizer": {"type": "sgd", "learning_rate": 0.1}},
    }
    (tmp_path / "m.json").write_text(json.dumps(model))
    found = cli_json("evaluate", tmp_path / "m.json", "--data", tmp_path / "t.csv")
    assert found["rows"] == 4
    assert found["confusion"] == [[2, 0], [1, 1]]
    assert [each["name"] for each in found["classes"]] == ["no", "yes"]
    assert found["classes"][1]["recall"] == 0.5
    assert found["metrics"]["accuracy"] == 0.75
    text = CliRunner().invoke(app, ["evaluate", str(tmp_path / "m.json")], catch_exceptions=False).output
    assert "t: 4 rows of 'train'" in text
    assert "accuracy: 0.75" in text


def test_evaluate_uses_the_rows_of_the_validation_by_default():
    model = ge.load("mlp_digits")
    model.train(epochs=1)
    scores = model.evaluate()
    assert (scores.rows, len(scores.classes)) == (450, 10)
    assert scores.metrics["accuracy"] == pytest.approx(np.trace(scores.confusion) / 450)
    assert scores.metrics["accuracy"] == pytest.approx(model.evaluate(model.load_data("test")).metrics["accuracy"])


def with_fraction(validation, seed=0):
    """A model of 30 rows in classes "u" and "v", and pairs of rows in groups; `y` numbers the rows."""
    values = {
        "x": np.linspace(-1, 1, 30).tolist(),
        "y": list(range(30)),
        "kind": ["v" if row % 3 else "u" for row in range(30)],
        "pair": [row // 2 for row in range(30)],
    }
    return {
        **H,
        "inputs": {
            "x": {"shape": ["N"]},
            "y": {"shape": ["N"]},
            "kind": {"shape": ["N"], "dtype": "int64", "categories": ["v", "u"]},
            "pair": {"shape": ["N"], "dtype": "int64"},
        },
        "parameters": {"slope": {"shape": [], "value": 2.0}},
        "nodes": [
            {"id": "prediction", "op": "mul", "inputs": ["x", "slope"]},
            {"id": "loss", "op": "mse", "inputs": ["prediction", "y"]},
        ],
        "outputs": {"prediction": "prediction", "loss": "loss"},
        "data": {"train": {"type": "inline", "values": values}},
        "training": {
            "loss": "loss",
            "data": "train",
            "epochs": 1,
            "seed": seed,
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
            "validation": validation,
        },
    }


@pytest.mark.parametrize("labels", [{}, {"stratify": "kind"}, {"group": "pair"}])
@pytest.mark.parametrize("seed", [0, 5])
def test_evaluate_takes_the_rows_that_a_training_sets_apart(tmp_path, labels, seed):
    validation = {"fraction": 0.2, **labels}
    path = tmp_path / "m.json"
    path.write_text(json.dumps(with_fraction(validation, seed)))
    model = ge.load(path)
    kept, apart = split(model.load_data("train"), model.graph, ValidationDocument(**validation), seed)
    assert (len(kept["y"]), len(apart["y"])) == (24, 6)
    scores = model.evaluate()
    assert scores.rows == 6
    assert scores.loss == pytest.approx(np.mean(np.square(2 * np.asarray(apart["x"]) - apart["y"])), rel=1e-12)
    assert model.train(learning_rate=1e-30).check.values["validation_loss"] == pytest.approx(scores.loss, rel=1e-12)
    assert model.evaluate("train").rows == 30
    found = cli_json("evaluate", path)
    assert (found["rows"], found["data"], found["set_apart"]) == (6, "train", True)
    assert found["loss"] == scores.loss
    text = CliRunner().invoke(app, ["evaluate", str(path)], catch_exceptions=False).stdout
    assert "t: 6 rows of 'train' held out for validation\n" in text


@pytest.mark.parametrize("table", [pandas.DataFrame, dict])
def test_a_missing_column_is_named(table):
    model = ge.load("linreg")
    data = table({"distance_mpc": [1.0, 2.0]})
    with pytest.raises(ge.errors.InputError, match=r"GE401: no score can be computed .*: 'loss' needs 'y'") as raised:
        model.evaluate(data)
    if table is pandas.DataFrame:
        assert "has no column 'velocity_km_s' for input 'y'" in str(raised.value)


def test_a_model_with_nothing_to_evaluate_is_refused(tmp_path):
    document = {
        **H,
        "inputs": {"x": {"shape": ["N"]}},
        "nodes": [{"id": "z", "op": "neg", "inputs": ["x"]}],
        "outputs": {"z": "z"},
    }
    (tmp_path / "m.json").write_text(json.dumps(document))
    with pytest.raises(ge.errors.UsageError, match="nothing to evaluate"):
        ge.load(tmp_path / "m.json").evaluate({"x": [1.0]})
