"""The estimators of scikit-learn: its own checks, its tools, and what a model of the caller gets and gives."""

import json
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from documents import document
from selection import missing

import graphengine as ge

if missing(["sklearn"]):
    pytest.skip("scikit-learn is not installed", allow_module_level=True)

from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from graphengine.errors import InvalidModelError, UsageError
from graphengine.sklearn import GraphClassifier, GraphRegressor, GraphTransformer

CHECKS = [
    pytest.param(estimator, check, id=f"{type(estimator).__name__}-{index}-{check.func.__name__}")
    for made in (GraphRegressor(), GraphClassifier(), GraphTransformer())
    for index, (estimator, check) in enumerate(estimator_checks_generator(made))
    if check.func.__name__ != "check_array_api_input"  # needs SCIPY_ARRAY_API before SciPy is imported
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_scikit_learn_finds_nothing_wrong(estimator, check):
    check(estimator)


# ---------------------------------------------------------------- models of their own


def test_the_own_regressor_is_ridge_on_standardized_columns():
    x, y = load_diabetes(return_X_y=True)
    scaled = StandardScaler().fit_transform(x)
    expected = Ridge(alpha=0.1 * len(x)).fit(scaled, y)
    found = GraphRegressor(alpha=0.1).fit(x, y)
    assert np.allclose(found.predict(x), expected.predict(scaled), rtol=1e-8)


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine, load_iris])
def test_the_own_classifier_is_logistic_regression_on_standardized_columns(load):
    x, y = load(return_X_y=True)
    scaled = StandardScaler().fit_transform(x)
    alpha = 0.01
    expected = LogisticRegression(C=1 / (alpha * len(x)), tol=1e-12, max_iter=10_000).fit(scaled, y)
    found = GraphClassifier(alpha=alpha).fit(x, y)
    assert np.allclose(found.predict_proba(x), expected.predict_proba(scaled), atol=1e-5)
    assert (found.predict(x) == expected.predict(scaled)).all()


def test_a_network_learns_what_a_linear_model_cannot():
    random = np.random.default_rng(0)
    x = random.uniform(-2, 2, (400, 2))
    y = np.where(np.hypot(*x.T) < 1.3, "inside", "outside")
    linear, network = GraphClassifier(), GraphClassifier(units=(16, 16), epochs=60, random_state=1)
    assert linear.fit(x, y).score(x, y) < 0.75
    assert network.fit(x, y).score(x, y) > 0.95
    assert network.classes_.tolist() == ["inside", "outside"]
    curve = GraphRegressor(units=(24,), activation="tanh", epochs=200, random_state=0).fit(x, np.sin(2 * x[:, 0]))
    assert curve.score(x, np.sin(2 * x[:, 0])) > 0.95


def test_random_state_decides_about_every_bit():
    x, y = load_iris(return_X_y=True)
    same = [GraphClassifier(units=(4,), epochs=3, random_state=7).fit(x, y).predict_proba(x) for _ in range(2)]
    other = GraphClassifier(units=(4,), epochs=3, random_state=8).fit(x, y).predict_proba(x)
    assert np.array_equal(*same)
    assert not np.array_equal(same[0], other)


def test_weights_count_as_repetitions_for_several_targets():
    random = np.random.default_rng(4)
    x, y, weights = random.normal(size=(30, 3)), random.normal(size=(30, 2)), random.integers(0, 4, 30)
    weighted = GraphRegressor().fit(x, y, sample_weight=weights).predict(x)
    repeated = GraphRegressor().fit(x.repeat(weights, axis=0), y.repeat(weights, axis=0)).predict(x)
    assert weighted.shape == (30, 2)
    assert np.allclose(weighted, repeated, rtol=1e-7)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"alpha": "x"}, "alpha must be a finite number of at least 0, not 'x'"),
        ({"alpha": None}, "alpha must be .*, not None"),
        ({"alpha": -1e-4}, "alpha must be .*, not -0.0001"),
        ({"alpha": math.inf}, "alpha must be .*, not inf"),
        ({"units": 3}, "units must be a sequence of integers of at least 1, not 3"),
        ({"units": "3"}, "units must be .*, not '3'"),
        ({"units": (4, 2.5)}, r"units must be .*, not \(4, 2.5\)"),
        ({"units": [0]}, r"units must be .*, not \[0\]"),
    ],
)
def test_settings_of_a_wrong_kind_are_named(keys, message):
    x = np.arange(6.0).reshape(-1, 1)
    for estimator, y in [(GraphRegressor(**keys), x[:, 0]), (GraphClassifier(**keys), x[:, 0] > 2)]:
        with pytest.raises(ValueError, match=message):
            estimator.fit(x, y)


@pytest.mark.parametrize("made", [GraphRegressor(), GraphClassifier(), GraphClassifier(units=(3,), epochs=1)])
def test_the_fitted_model_is_a_file_that_predicts_alone(made, tmp_path):
    x, y = load_iris(return_X_y=True)
    made.fit(x, y)
    made.model_.save(tmp_path / "model.json")
    found = ge.load(tmp_path / "model.json").predict(x=x)[made.output_]
    expected = made.predict(x) if isinstance(made, GraphRegressor) else made.predict_proba(x)
    assert np.array_equal(found.reshape(expected.shape), expected)


# ---------------------------------------------------------------- tools of scikit-learn


def test_a_search_in_two_processes_finds_what_one_finds():
    x, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), GraphClassifier(units=(4,), batch_size=16, random_state=0))
    grid = {"graphclassifier__epochs": [20], "graphclassifier__learning_rate": [0.0001, 0.05]}
    two, one = (GridSearchCV(pipeline, grid, cv=2, n_jobs=jobs).fit(x, y) for jobs in (2, 1))
    assert two.best_params_ == {"graphclassifier__epochs": 20, "graphclassifier__learning_rate": 0.05}
    for name in ("split0_test_score", "split1_test_score"):
        assert two.cv_results_[name].tolist() == one.cv_results_[name].tolist()
    assert two.best_score_ > 0.9


def test_clones_and_cross_validation_train_anew():
    x, y = load_diabetes(return_X_y=True)
    fitted = GraphRegressor(alpha=0.5).fit(x, y)
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "model_")
    assert cross_val_score(copy, x, y, cv=4).mean() > 0.4


def test_frames_have_names_in_and_out():
    frame = load_wine(as_frame=True).data[["alcohol", "hue", "ash"]]
    made = GraphTransformer().set_output(transform="pandas")
    found = made.fit_transform(frame)
    assert list(made.feature_names_in_) == list(frame)
    assert list(found) == list(frame) == list(made.get_feature_names_out())
    assert (found.index == frame.index).all()
    assert np.allclose(found, StandardScaler().fit_transform(frame), rtol=1e-12)
    with pytest.raises(ValueError, match="feature names should match"):
        made.transform(frame[["hue", "ash", "alcohol"]])


# ---------------------------------------------------------------- models of the caller


def test_a_shipped_model_is_trained_anew_by_its_training_section():
    x, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    made = GraphClassifier("softmax_iris").fit(x, names)
    assert made.score(x, names) > 0.95
    assert np.allclose(made.predict_proba(x).sum(axis=1), 1)
    assert list(made.classes_) == ["setosa", "versicolor", "virginica"]
    assert made.n_iter_ == len(made.history_) > 1


LINE = document(
    {
        "h": ("nn.dense", ["x"], {"units": 6, "activation": "tanh"}),
        "z": ("nn.dense", ["h"], {"units": 1}),
        "prediction": ("squeeze", ["z"], {"axis": 1}),
        "loss": ("mse", ["prediction", "price"]),
    },
    {"prediction": "prediction", "loss": "loss"},
    inputs={"x": ["N", "F"], "price": ["N"]},
    opset_imports={"core": 1, "nn": 1},
    training={"loss": "loss", "optimizer": {"type": "adam", "learning_rate": 0.05}, "epochs": 150},
)


@pytest.mark.parametrize("source", ["mapping", "file", "function"])
def test_a_model_is_a_mapping_a_file_or_a_function_and_its_symbol_becomes_the_number_of_columns(source, tmp_path):
    x = np.random.default_rng(1).normal(size=(80, 3))
    y = np.tanh(x @ [1.0, -2.0, 0.5])
    path = tmp_path / "line.json"
    path.write_text(json.dumps(LINE))
    made = {"mapping": LINE, "file": path, "function": lambda features, targets: LINE}[source]
    found = GraphRegressor(made, target="price", random_state=0).fit(x, y)
    assert found.model_.parameters["h/weight"].shape == (3, 6)
    assert r2_score(y, found.predict(x)) > 0.95
    again = GraphRegressor(LINE, target="price", random_state=0).fit(x, y)
    assert np.array_equal(found.predict(x), again.predict(x))


def built(features, classes):
    b = ge.Builder("built")
    x, y = b.input("x", ["N", features]), b.input("y", ["N", classes])
    weight = b.input("sample_weight", ["N"])
    logits = b.name("logits", ge.nn.mlp(x, units=[8, classes]))
    losses = np.sum(np.square(ge.ops.softmax(logits, axis=-1) - y), axis=1)
    b.output(logits=logits, loss=np.mean(weight * losses))
    b.training(loss="loss", optimizer={"type": "adam", "learning_rate": 0.03}, epochs=80)
    return b


def test_a_function_that_builds_gets_columns_and_classes_and_may_give_logits():
    x, y = load_wine(return_X_y=True)
    made = make_pipeline(StandardScaler(), GraphClassifier(built, random_state=0))
    made.fit(x, y, graphclassifier__sample_weight=np.where(y == 2, 0.0, 1.0))
    found = made.predict(x)
    assert (found[y != 2] == y[y != 2]).mean() > 0.95
    logits = made[-1].model_.predict(x=made[0].transform(x))["logits"]
    powers = np.exp(logits)
    assert np.allclose(made.predict_proba(x), powers / powers.sum(axis=1, keepdims=True), rtol=1e-10)


def test_columns_go_to_inputs_of_their_names():
    nodes = {
        "wide": ("mul", ["a", "width"]),
        "deep": ("mul", ["b", "depth"]),
        "prediction": ("add", ["wide", "deep"]),
        "loss": ("mse", ["prediction", "y"]),
    }
    content = document(
        nodes,
        {"prediction": "prediction", "loss": "loss"},
        inputs={"depth": ["N"], "width": ["N"], "y": ["N"]},
        parameters={name: {"shape": [], "initializer": {"type": "zeros"}} for name in "ab"},
        training={"loss": "loss", "optimizer": {"type": "lbfgs"}},
    )
    random = np.random.default_rng(2)
    frame = pd.DataFrame({"width": random.normal(size=20), "depth": random.normal(size=20)})
    found = GraphRegressor(content).fit(frame, 3 * frame["width"] - 2 * frame["depth"])
    assert np.allclose([found.model_.parameters["a"], found.model_.parameters["b"]], [3, -2], rtol=1e-6)


CODED = document(
    {
        "code": ("one_hot", ["color"], {"depth": 3}),
        "there": ("isfinite", ["size"]),
        "known": ("where", ["there", "size", 0.0]),
        "column": ("expand_dims", ["known"], {"axis": 1}),
        "both": ("concat", ["code", "column"], {"axis": 1}),
        "z": ("nn.dense", ["both"], {"units": 3}),
        "probabilities": ("softmax", ["z"]),
        "loss": ("softmax_cross_entropy", ["z", "kind"]),
    },
    {"probabilities": "probabilities", "loss": "loss"},
    inputs={
        "size": {"shape": ["N"], "missing": "nan"},
        "color": {"shape": ["N"], "dtype": "int64", "categories": ["red", "green", "blue"]},
        "kind": {"shape": ["N"], "dtype": "int64", "categories": ["s", "m", "l"]},
    },
    opset_imports={"core": 1, "nn": 1},
    training={"loss": "loss", "optimizer": {"type": "adam", "learning_rate": 0.1}, "epochs": 200},
)
"""A model with categories of its own, and cells without a value."""


def test_strings_and_gaps_go_to_a_model_that_declares_them():
    random = np.random.default_rng(6)
    color = random.choice(["red", "green", "blue"], 90)
    frame = pd.DataFrame({"color": color, "more": 0.0, "size": random.normal(size=90)})
    frame.loc[::9, "size"] = np.nan
    kind = pd.Series(color).map({"red": "l", "green": "m", "blue": "s"})
    made = GraphClassifier(CODED, target="kind").fit(frame, kind)
    assert made.classes_.tolist() == ["l", "m", "s"]
    assert made.score(frame, kind) == 1
    assert np.allclose(made.predict_proba(frame).sum(axis=1), 1)
    two = kind != "m"
    assert GraphClassifier(CODED, target="kind").fit(frame[two], kind[two]).score(frame[two], kind[two]) == 1
    with pytest.raises(ValueError, match="class 'xl' is not among the categories of the model: s, m, l"):
        GraphClassifier(CODED, target="kind").fit(frame, kind.replace("m", "xl"))


SCALED = document(
    {
        "scaled": ("nn.standardize", ["x", "mean", "std"]),
        "z": ("nn.dense", ["scaled"], {"units": 1}),
        "prediction": ("squeeze", ["z"], {"axis": 1}),
        "loss": ("mse", ["prediction", "y"]),
    },
    {"prediction": "prediction", "scaled": "scaled", "loss": "loss"},
    inputs={"x": ["N", "F"], "y": ["N"]},
    parameters={
        name: {
            "shape": ["F"],
            "initializer": {"type": "from_data", "statistic": name, "of": "x"},
            "trainable": False,
        }
        for name in ("mean", "std")
    },
    opset_imports={"core": 1, "nn": 1},
    training={"loss": "loss", "optimizer": {"type": "lbfgs"}},
)


def test_each_fit_takes_statistics_of_its_own_rows(tmp_path):
    x, y = load_diabetes(return_X_y=True)
    first = GraphRegressor(SCALED).fit(x[:200], y[:200])
    first.model_.save(tmp_path / "first.json")
    second = GraphRegressor(tmp_path / "first.json").fit(x[200:], y[200:])
    scaled = StandardScaler().fit(x[200:]).transform(x)
    assert np.allclose(second.model_.predict(x=x)["scaled"], scaled, rtol=1e-9)
    assert np.allclose(second.predict(x), LinearRegression().fit(scaled[200:], y[200:]).predict(scaled), rtol=1e-6)


def test_an_autoencoder_is_a_transformer_and_a_trained_model_a_frozen_one(tmp_path):
    x = np.random.default_rng(5).normal(size=(60, 4)) @ np.diag([3.0, 2.0, 0.1, 0.1])
    nodes = {
        "code": ("nn.dense", ["x"], {"units": 2}),
        "back": ("nn.dense", ["code"], {"units": 4}),
        "loss": ("mse", ["back", "x"]),
    }
    content = document(
        nodes,
        {"code": "code", "reconstruction": "back", "loss": "loss"},
        inputs={"x": ["N", 4]},
        opset_imports={"core": 1, "nn": 1},
        training={"loss": "loss", "optimizer": {"type": "adam", "learning_rate": 0.02}, "epochs": 300},
    )
    made = GraphTransformer(content, output="code").set_output(transform="pandas").fit(x)
    assert list(made.transform(x)) == ["graphtransformer0", "graphtransformer1"]
    assert made.model_.forward(x=x)["loss"] < 0.05
    made.model_.save(tmp_path / "trained.json")
    frozen = GraphTransformer(tmp_path / "trained.json", frozen=True, output="code").fit(x[:5])
    assert np.array_equal(frozen.transform(x), made.transform(x))


# ---------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (GraphClassifier("softmax_iris"), "X has 3 features, but the inputs of the model take 4: x"),
        (GraphRegressor("autoencoder_digits", target="z"), "X has 3 features"),
        (GraphRegressor(LINE, target="price", output="loss"), "name the output to take, output=...: the features give"),
        (GraphClassifier(LINE, target="price"), "output 'prediction' has 2 columns, but there are 3 classes"),
    ],
)
def test_what_does_not_fit_is_said(made, said):
    x, y = np.random.default_rng(0).normal(size=(12, 3)), np.arange(12) % 3
    with pytest.raises(ValueError, match=said):
        made.fit(x, y).predict(x)


@pytest.mark.parametrize("estimator", [GraphRegressor, GraphClassifier, GraphTransformer])
@pytest.mark.parametrize(
    ("model", "error", "said"),
    [
        (5, ValueError, "a model is a path, .* a Model or a Builder, or a function .*, not 5"),
        ([1], ValueError, r"a model is a path, .*, not \[1\]"),
        (lambda _features, _outputs: None, ValueError, "a model is a path, .*, not None"),
        ({"a": 1}, InvalidModelError, "GE104: not a graphengine.model file: .* its keys are 'a'"),
        ({**LINE, "inputs": 3}, InvalidModelError, "GE112.*inputs"),
        ({**LINE, "inputs": {"x": 3}}, InvalidModelError, "GE112.*inputs/x"),
        ({**LINE, "parameters": {"w": 3}}, InvalidModelError, "GE112.*parameters/w"),
        ({**LINE, "inputs": {}}, ValueError, "the model has no inputs for the columns of X"),
        ("no_such_model", UsageError, "GE101: no such file, and no shipped model of that name"),
    ],
)
def test_what_is_no_model_is_said(estimator, model, error, said):
    x, y = np.random.default_rng(0).normal(size=(12, 3)), np.arange(12) % 3
    with pytest.raises(error, match=said):
        estimator(model).fit(x, y)


def test_the_own_linear_model_has_no_epochs():
    x, y = np.ones((4, 2)), np.arange(4.0)
    with pytest.raises(
        ValueError, match=r"fitted by a solver: epochs cannot be set for it; pass units=\(32,\), or a model"
    ):
        GraphRegressor(epochs=20).fit(x, y)


def test_weights_need_an_input():
    x, y = np.ones((4, 2)), np.arange(4.0)
    with pytest.raises(ValueError, match=r"the model has no input 'sample_weight'; name it: weight=\.\.\."):
        GraphRegressor(LINE, target="price").fit(x, y, sample_weight=np.arange(4.0))


def test_without_scikit_learn_one_line_says_what_to_install():
    code = "import sys; sys.modules['sklearn'] = None; import graphengine.sklearn"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = found.stderr.splitlines()[-1]
    assert last.startswith("graphengine.errors.UsageError: GE803: ")
    assert last.endswith("pip install 'graphengine[sklearn]'")
