"""`search`: cross-validation of settings equals loops written by hand, and scikit-learn on the same folds."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from documents import write
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from typer.testing import CliRunner

import graphengine as ge
from graphengine.cli.app import app
from graphengine.cli.values import json_values_of
from graphengine.training.splitting import SplitKind, divided, folds_of, fraction_of

RATE = "training.optimizer.learning_rate"
RNG = np.random.default_rng(15)
X = RNG.normal(size=(40, 3))
DATA = {"x": X, "y": X @ [1.0, -2.0, 0.5] + RNG.normal(size=40), "site": np.arange(40) % 8}


def ridge(**training):
    """Least squares with a penalty, whose columns are standardized by the rows trained on."""
    b = ge.Builder("ridge")
    x, y = b.input("x", ["N", 3]), b.input("y", ["N"])
    b.input("site", ["N"], "int64")
    recipe = {"type": "from_data", "of": "x"}
    mean = b.parameter("mean", [3], initializer={**recipe, "statistic": "mean"}, trainable=False)
    weight = b.parameter("weight", [3], initializer={"type": "zeros"})
    alpha = b.parameter("alpha", [], value=0.0, trainable=False)
    prediction = b.name("prediction", ge.ops.matmul(x - 0 * mean, weight))
    b.name("mean_of_squares", np.mean(np.square(x)))
    mse = b.name("mse", ge.ops.mse(prediction, y))
    b.output(prediction=prediction, loss=b.name("loss", mse + alpha * np.sum(np.square(weight))))
    section = {"optimizer": {"type": "sgd", "learning_rate": 0.05}, "epochs": 4, "batch_size": 8}
    b.training(**{"loss": "loss", "metrics": {"mse": "mse"}, **section, **training})
    return b.model()


# ---------------------------------------------------------------- against loops and scikit-learn


def test_scores_are_those_of_scikit_learn_on_the_same_folds():
    model = ridge(optimizer={"type": "lbfgs"}, epochs=None, batch_size=None)
    alphas = [0.0, 0.01, 0.1, 1.0]
    found = ge.search(model, {"parameters.alpha.value": alphas}, DATA, folds=4, seed=3, metric="mse")
    folds = folds_of(DATA, model.graph, 4, 3, SplitKind())
    grid = {"alpha": [30 * alpha for alpha in alphas]}  # they add the squares up, of 30 rows
    theirs = GridSearchCV(
        Ridge(fit_intercept=False), grid, cv=PredefinedSplit(folds), scoring="neg_mean_squared_error"
    ).fit(X, DATA["y"])
    by_alpha = {trial.settings["parameters.alpha.value"]: trial for trial in found.trials}
    means, stds = theirs.cv_results_["mean_test_score"], theirs.cv_results_["std_test_score"]
    np.testing.assert_allclose([by_alpha[alpha].mean for alpha in alphas], -means, rtol=1e-6)
    np.testing.assert_allclose([by_alpha[alpha].std for alpha in alphas], stds, rtol=1e-6)
    assert found.best.settings["parameters.alpha.value"] == theirs.best_params_["alpha"] / 30
    assert [trial.mean for trial in found.trials] == sorted(trial.mean for trial in found.trials)
    whole = Ridge(alpha=40 * found.best.settings["parameters.alpha.value"], fit_intercept=False).fit(X, DATA["y"])
    np.testing.assert_allclose(found.model.parameters["weight"], whole.coef_, rtol=1e-6)


@pytest.mark.parametrize("kind", [SplitKind(), SplitKind(stratify="site"), SplitKind(group="site")])
@pytest.mark.parametrize("batch_size", [None, 1, 7])
def test_scores_are_those_of_loops_written_by_hand(kind, batch_size):
    model = ridge(batch_size=batch_size, validation={"fraction": 0.2, "every_epochs": 1})
    found = ge.search(model, {RATE: [0.05, 0.2]}, DATA, folds=3, seed=1, stratify=kind.stratify, group=kind.group)
    folds = folds_of(DATA, model.graph, 3, 1, kind)
    for trial in found.trials:
        scores = []
        for fold in range(3):
            fresh = ridge(batch_size=batch_size, validation={"fraction": 0.2, "every_epochs": 1})
            kept, apart = divided(DATA, model.graph, folds == fold)
            fresh.train(kept, learning_rate=trial.settings[RATE])
            scores.append(fresh.evaluate(apart).loss)
            np.testing.assert_array_equal(np.sort(np.r_[kept["y"], apart["y"]]), np.sort(DATA["y"]))
        assert trial.scores == tuple(scores)
        assert (trial.mean, trial.std) == (pytest.approx(np.mean(scores)), pytest.approx(np.std(scores)))
    again = ridge(batch_size=batch_size, validation={"fraction": 0.2, "every_epochs": 1})
    again.train(DATA, learning_rate=found.best.settings[RATE])
    np.testing.assert_array_equal(found.model.parameters["weight"], again.parameters["weight"])


def test_rows_held_out_change_nothing_but_the_test():
    settings = {RATE: [0.05, 0.2]}
    one = ge.search(ridge(), settings, DATA, folds=3, test=0.25, stratify="site")
    held = fraction_of(DATA, ridge().graph, 0.25, 0, SplitKind(stratify="site"))
    changed = {**DATA, "x": np.where(held[:, None], 100.0, X)}
    other = ge.search(ridge(), settings, changed, folds=3, test=0.25, stratify="site")
    assert one.trials == other.trials
    for name in ("weight", "mean"):
        np.testing.assert_array_equal(one.model.parameters[name], other.model.parameters[name])
    assert (one.rows, one.test.rows) == (30, 10)
    assert one.test.loss != other.test.loss
    kept, apart = divided(DATA, ridge().graph, held)
    assert one.trials == ge.search(ridge(), settings, kept, folds=3, test=apart, stratify="site").trials
    np.testing.assert_allclose(one.model.parameters["mean"], kept["x"].mean(axis=0), rtol=1e-12)


def test_rows_on_disk_have_the_same_scores(tmp_path):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20_000, 3))
    np.savez(tmp_path / "d.npz", x=x, y=x.sum(axis=1), site=rng.integers(0, 9, 20_000))
    content = ridge(batch_size=500, epochs=1, validation={"fraction": 0.2, "stratify": "site"}).to_dict()
    content["data"] = {"d": {"type": "npz", "path": "d.npz", "arrays": {name: name for name in ("x", "y", "site")}}}
    path = write(tmp_path / "m.json", content)
    large, small = (
        ge.search(ge.load(path, limits=ge.Limits(data_bytes=size)), {RATE: [0.1, 0.3]}, folds=3, test=0.1, group="site")
        for size in (2**30, 2**20)
    )
    for one, other in zip(large.trials, small.trials, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-9)
    assert large.test.loss == pytest.approx(small.test.loss, rel=1e-9)


def test_words_are_encoded_once():
    b = ge.Builder("words")
    x = b.input("word", ["N"], "int64", categories=["b", "a"], unknown=2)
    y = b.input("y", ["N"])
    level = b.parameter("level", [3], initializer={"type": "zeros"})
    b.output(loss=b.name("loss", ge.ops.mse(ge.ops.gather(level, x, axis=0), y)))
    b.training(loss="loss", optimizer={"type": "sgd", "learning_rate": 1.0}, epochs=60)
    words = np.array(["a", "b", "c"])[np.arange(24) % 3]
    data = {"word": words.tolist(), "y": (words == "a") + 2.0 * (words == "b")}
    for test in (0.25, data):
        found = ge.search(b.model(), {RATE: [1.0]}, data, folds=3, stratify="word", test=test)
        assert found.best.mean < 1e-8
        assert found.test.loss < 1e-8
        np.testing.assert_allclose(found.model.parameters["level"], [2, 1, 0], atol=1e-4)


# ---------------------------------------------------------------- trials


def test_a_setting_that_diverges_is_a_row_and_not_the_end():
    found = ge.search(ridge(epochs=400), {RATE: [1e6, 0.05]}, DATA, folds=2)
    assert [trial.settings[RATE] for trial in found.trials] == [0.05, 1e6]
    assert found.best.problem is None
    assert found.trials[1].problem.code == "GE601"
    assert np.isnan(found.trials[1].mean)
    with pytest.raises(ge.errors.ExecutionError, match="GE601: no setting has a finite score on all folds"):
        ge.search(ridge(epochs=400), {RATE: [1e6]}, DATA, folds=2)


def test_all_combinations_are_tried_and_larger_is_better_for_r2():
    settings = {RATE: [1e-6, 0.05], "training.epochs": [1, 5]}
    seen = []
    found = ge.search(ridge(), settings, DATA, folds=2, metric="r2", seen=seen.append)
    assert [list(trial.settings.values()) for trial in seen] == [[1e-6, 1], [1e-6, 5], [0.05, 1], [0.05, 5]]
    assert [trial.mean for trial in found.trials] == sorted((trial.mean for trial in seen), reverse=True)
    assert found.best.settings == {RATE: 0.05, "training.epochs": 5}
    worst = ge.search(ridge(), settings, DATA, folds=2, metric="r2", mode="min")
    assert worst.trials == found.trials[::-1]


def test_trained_values_are_not_started_from(tmp_path):
    fresh, trained = ge.load("linreg"), ge.load("linreg")
    trained.train(epochs=50)
    path = ge.load("linreg").path
    trained.save(tmp_path / "trained.json")
    (tmp_path / "data").symlink_to(path.parent / "data")
    content = json.loads((tmp_path / "trained.json").read_text())
    values = fresh.load_data("train")
    saved = ge.Model.from_dict(content)
    expected = ge.search(fresh, {RATE: [0.1, 0.2]}, values, folds=3).trials
    assert ge.search(saved, {RATE: [0.1, 0.2]}, values, folds=3).trials == expected
    del content["parameters"]["theta"]["initializer"]
    with pytest.raises(ge.errors.UsageError, match="GE801: the file is trained, and 1 parameter without an init"):
        ge.search(ge.Model.from_dict(content), {RATE: [0.1]}, values)


def test_layers_take_the_sizes_of_each_trial():
    b = ge.Builder("layers")
    x, y = b.input("x", ["N", 3]), b.input("y", ["N"])
    hidden = b.name("hidden", ge.nn.dense(x, units=4, activation="tanh"))
    out = b.name("out", ge.nn.dense(hidden, units=1))
    b.output(loss=b.name("loss", ge.ops.mse(ge.ops.squeeze(out, axis=1), y)))
    b.training(loss="loss", optimizer={"type": "adam", "learning_rate": 0.05}, epochs=3)
    model = b.model()
    data = {"x": X, "y": DATA["y"]}
    model.train(data)
    saved = ge.Model.from_dict(model.to_dict())
    found = ge.search(saved, {"nodes.hidden.attributes.units": [4, 9]}, data, folds=2)
    units = found.best.settings["nodes.hidden.attributes.units"]
    assert found.model.parameters["hidden/weight"].shape == (3, units)
    assert found.trials == ge.search(b.model(), {"nodes.hidden.attributes.units": [4, 9]}, data, folds=2).trials


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ({RATE: []}, {}, "GE801: setting 'training.optimizer.learning_rate' takes a list of values"),
        ({RATE: "0.1"}, {}, "takes a list of values to try, not '0.1'"),
        ({"inputs.x.shape": [[3]]}, {}, "GE801: setting 'inputs.x.shape' changes the data"),
        ({"training.data": ["a"]}, {}, "GE801: setting 'training.data' changes the data"),
        ({RATE: [0.1] * 200, "training.epochs": [1] * 200}, {}, "40,000 combinations; at most 10,000"),
        ({"training.epoch": [1]}, {}, "GE110: unknown key 'epoch'"),
        ({"nodes.loss2.op": ["add"]}, {}, "GE801: setting 'nodes.loss2.op': there is no element 'loss2'"),
        ({RATE: [0.1]}, {"folds": 1}, "GE801: the number of folds is 1"),
        ({RATE: [0.1]}, {"folds": 41}, "GE505: 41 folds of only 40 samples"),
        ({RATE: [0.1]}, {"folds": 9, "group": "site"}, "GE505: 9 folds of only 8 groups"),
        ({RATE: [0.1]}, {"group": "sit"}, "GE402: model 'ridge' has no input 'sit'; did you mean 'site'"),
        ({RATE: [0.1]}, {"stratify": "y"}, r"GE801: input 'y' is float64\(N,\); a split is by integers"),
        ({RATE: [0.1]}, {"stratify": "site", "group": "site"}, "GE801: folds are stratified or made of groups"),
        ({RATE: [0.1]}, {"test": 1.5}, "GE801: the test fraction is 1.5"),
        ({RATE: [0.1]}, {"metric": "auc"}, "GE801: there is no metric 'auc'; metrics: loss, mse, r2, mae, rmse"),
        ({}, {}, "GE801: there is no setting to try; give paths and values"),
        ({RATE: [0.1]}, {"metric": "auc", "mode": "max"}, "GE801: there is no metric 'auc'"),
    ],
)
def test_what_makes_no_search_is_refused(settings, options, message):
    with pytest.raises(ge.errors.GraphEngineError, match=message):
        ge.search(ridge(), settings, DATA, **options)


def test_a_metric_whose_direction_is_unknown_needs_a_mode():
    model = ridge(metrics={"mean": "mean_of_squares"})
    with pytest.raises(ge.errors.UsageError, match="GE801: it is not known whether a larger or a smaller 'mean' is"):
        ge.search(model, {RATE: [0.1]}, DATA, metric="mean")
    assert ge.search(model, {RATE: [0.1]}, DATA, metric="mean", mode="max").best.mean >= 0


# ---------------------------------------------------------------- the command


@pytest.fixture
def file(tmp_path):
    content = ridge().to_dict()
    values = {name: array.tolist() for name, array in DATA.items()}
    content["data"] = {"rows": {"type": "inline", "values": values}}
    content["training"]["data"] = "rows"
    return write(tmp_path / "m.json", content)


def run(*arguments, code=0):
    done = CliRunner().invoke(app, ["search", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def test_the_command_gives_what_the_function_does(file, tmp_path):
    arguments = ("--set", f"{RATE}=0.05,0.2", "--set", "training.epochs=1,2", "--folds", 3, "--seed", 2, "--test", 0.2)
    found = ge.search(ge.load(file), {RATE: [0.05, 0.2], "training.epochs": [1, 2]}, folds=3, seed=2, test=0.2)
    reported = json.loads(run(file, *arguments, "--save", tmp_path / "best.json", "--format", "json"))
    assert reported["trials"] == [trial.as_dict() for trial in found.trials]
    assert (reported["best"], reported["test"]["loss"]) == (found.best.settings, found.test.loss)
    best = ge.load(tmp_path / "best.json")
    assert best.evaluate().loss == found.model.evaluate().loss
    assert best.document.training.optimizer.learning_rate == found.best.settings[RATE]
    lines = run(file, *arguments).splitlines()
    assert lines[0] == "ridge: 4 settings, 3 folds of 32 rows"
    assert lines[1].split() == [RATE, "training.epochs", "loss", "std", "error"]
    assert lines[2].split()[2] == f"{found.best.mean:.6g}"


def test_data_and_test_may_be_files(file, tmp_path):
    table = zip(*DATA.values(), strict=True)
    rows = ["a,b,c,y,site", *(",".join(map(str, [*x.tolist(), y, site])) for x, y, site in table)]
    for name, chosen in (("train.csv", rows[:31]), ("test.csv", [rows[0], *rows[31:]])):
        (tmp_path / name).write_text("\n".join(chosen) + "\n")
    arguments = ("--set", f"{RATE}=0.05,0.2", "--folds", 3, "--group", "site", "--columns", "x=a,b,c")
    data = ("--data", tmp_path / "train.csv", "--test", tmp_path / "test.csv")
    reported = json.loads(run(file, *arguments, *data, "--format", "json"))
    kept, apart = ({name: array[part] for name, array in DATA.items()} for part in (slice(30), slice(30, None)))
    found = ge.search(ridge(), {RATE: [0.05, 0.2]}, kept, folds=3, group="site", test=apart)
    assert reported["trials"] == [trial.as_dict() for trial in found.trials]
    assert reported["test"]["loss"] == pytest.approx(found.test.loss, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.1,0.01", [0.1, 0.01]),
        ('"adam","sgd"', ["adam", "sgd"]),
        ("adam, sgd", ["adam", "sgd"]),
        ("[16,8],[32]", [[16, 8], [32]]),
        ('{"type": "a,b", "n": [1, 2]},null', [{"type": "a,b", "n": [1, 2]}, None]),
        (r'"a\",b",true', ['a",b', True]),
        ("7", [7]),
    ],
)
def test_values_are_json_with_commas_between_them(text, values):
    assert json_values_of("--set", text) == values


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (f"{RATE}=0.1,", "GE801: --set: '0.1,' has a comma without a value"),
        (f"{RATE}=[1,2", "GE801: --set: '[1,2' is not JSON"),
        (f"{RATE}=1],[2", "GE801: --set: '1],[2' is not JSON"),
        (RATE, f"GE801: --set takes NAME=VALUE, not '{RATE}'"),
    ],
)
def test_values_that_are_no_json_are_refused(file, setting, message):
    assert message in run(file, "--set", setting, code=2)


def test_a_test_that_is_not_there_is_reported_by_its_option(file):
    assert "GE801: --test nowhere is neither a data source" in run(
        file, "--set", f"{RATE}=0.1", "--test", "nowhere", code=2
    )


def test_a_place_is_set_once(file):
    assert f"GE801: --set {RATE}: the path is given twice" in run(
        file, "--set", f"{RATE}=0.1", "--set", f"{RATE}=0.2", code=2
    )


def test_no_hash_seed_changes_a_search(file):
    command = [
        sys.executable,
        "-m",
        "graphengine",
        "search",
        str(file),
        "--set",
        f"{RATE}=0.05,0.2",
        "--stratify",
        "site",
    ]
    found = {
        subprocess.run(
            [*command, "--format", "json"],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "77")
    }
    assert len(found) == 1
