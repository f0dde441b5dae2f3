"""Initializers from the rows of a training: the numbers of NumPy and scikit-learn, of the training rows alone."""

import json

import mpmath
import numpy as np
import pytest
from typer.testing import CliRunner

import graphengine as ge
from graphengine.cli.app import app
from graphengine.format.documents import ValidationDocument
from graphengine.training.splitting import split

STATISTICS = {
    "mean": np.nanmean,
    "std": np.nanstd,
    "min": np.nanmin,
    "max": np.nanmax,
    "median": np.nanmedian,
    "quantile": lambda x, axis: np.nanquantile(x, 0.3, axis=axis),
}
RANDOM = np.random.default_rng(15)


def table(rows=101):
    """A table with gaps, a constant column, repeated numbers and both signs."""
    x = RANDOM.normal(size=(rows, 4)) * [1, 1000, 1e-3, 0] + [0, 1e6, 0, 0.1]
    x[:, 2] = np.round(x[:, 2], 3)
    x[RANDOM.random(x.shape) < 0.1] = np.nan
    x[0] = 0.1
    return x


def from_data(statistic, of="x", **keys):
    return {"type": "from_data", "statistic": statistic, "of": of, **keys}


def statistics_model(columns=4):
    b = ge.Builder("statistics")
    x = b.input("x", ["N", columns], missing="nan")
    for name in STATISTICS:
        keys = {"q": 0.3} if name == "quantile" else {}
        b.parameter(name, [columns], initializer=from_data(name, **keys), trainable=False)
    b.output(z=b.name("z", 2 * x))
    return b.model()


def test_statistics_are_those_of_numpy_without_nan():
    model, x = statistics_model(), table()
    model.initialize({"x": x})
    for name, function in STATISTICS.items():
        expected = function(x, axis=0)
        np.testing.assert_allclose(model.parameters[name], expected, rtol=1e-12, atol=1e-12, err_msg=name)
    assert model.parameters["std"][3] == 0.0
    assert (model.parameters["median"] == np.nanmedian(x, axis=0)).all()


FAR = [
    [1e300, -3.0, 5e299, 0.25],
    [1e-200, 0.0, 3e-200, -2e-200],
    [1.7e308, -1.7e308, 1.7e308, 1.6e308],
    [1e-300, 1e300, -1e300, 2.0],
]
"""Columns of numbers whose squares, sums or differences over- or underflow."""


def test_statistics_near_the_ends_of_the_range_are_those_of_exact_numbers():
    model = statistics_model()
    model.initialize({"x": np.transpose(FAR)})
    for column, cells in enumerate(FAR):
        with mpmath.workprec(5000):
            numbers = sorted(map(mpmath.mpf, cells))
            mean = sum(numbers) / 4
            exact = {
                "mean": mean,
                "std": mpmath.sqrt(sum((each - mean) ** 2 for each in numbers) / 4),
                "median": (numbers[1] + numbers[2]) / 2,
                "quantile": numbers[0] + (numbers[1] - numbers[0]) * mpmath.mpf("0.9"),  # at 0.3 * 3 of three steps
            }
            largest = max(map(abs, numbers))
            for name, value in exact.items():
                assert abs(mpmath.mpf(float(model.parameters[name][column])) - value) <= 1e-14 * largest, name


def test_an_infinite_value_has_no_statistic():
    b = ge.Builder("t")
    x = b.input("x", ["N"])
    b.name("log", np.log(x))
    b.parameter("m", [], initializer=from_data("mean", "log"), trainable=False)
    b.output(z=b.name("z", 2 * x))
    with pytest.raises(ge.errors.DataError, match="GE507: parameter 'm': 'log' is infinite in some row, and the mean"):
        b.model().initialize({"x": [0.0, 1.0]})


def test_data_larger_than_memory_has_the_same_statistics(tmp_path):
    x = table(20_000)
    np.save(tmp_path / "x.npy", x)
    content = {**statistics_model().to_dict(), "data": {"d": {"type": "npy", "paths": {"x": "x.npy"}}}}
    (tmp_path / "m.json").write_text(json.dumps(content))
    large, small = (
        ge.load(tmp_path / "m.json"),
        ge.load(tmp_path / "m.json", limits=ge.Limits(data_bytes=x.nbytes // 5)),
    )
    assert not isinstance(small.load_data("d")["x"], np.ndarray)
    large.initialize()
    small.initialize()
    for name in STATISTICS:
        np.testing.assert_allclose(small.parameters[name], large.parameters[name], rtol=1e-12, atol=1e-15, err_msg=name)
    for name in ("min", "max", "median", "quantile"):
        assert (small.parameters[name] == large.parameters[name]).all()


@pytest.mark.parametrize("q", [0.0, 0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("rows", [1, 2, 3, 10, 57])
def test_quantiles_interpolate_as_numpy_does(rows, q):
    b = ge.Builder("q")
    x = b.input("x", ["N"])
    b.parameter("p", [], initializer=from_data("quantile", q=q), trainable=False)
    b.output(z=b.name("z", 2 * x))
    values = np.concatenate([RANDOM.normal(size=rows), [-0.0, 0.0]])[:rows]
    model = b.model()
    model.initialize({"x": values})
    np.testing.assert_allclose(model.parameters["p"], np.quantile(values, q), rtol=1e-15, atol=0)


def test_count_is_the_number_of_rows_that_have_a_value():
    b = ge.Builder("rows")
    x, y = b.input("x", ["N", 2], missing="nan"), b.input("y", ["N"], "int64", categories=["a", "b", "c"])
    b.parameter("filled", [2], initializer=from_data("count"), trainable=False)
    b.parameter("rows", [], initializer=from_data("count", "y"), trainable=False)
    b.output(z=b.name("z", 2 * x), u=b.name("u", y * 1))
    model = b.model()
    model.initialize({"x": [[1.0, None], [None, None], [3.0, 1.0]], "y": ["a", "b", "b"]})
    assert (model.parameters["filled"].tolist(), model.parameters["rows"]) == ([2.0, 1.0], 3.0)


def test_mode_and_frequency():
    b = ge.Builder("classes")
    x, y = b.input("x", ["N", 2], missing="nan"), b.input("y", ["N"], "int64", categories=["a", "b", "c"])
    b.parameter("mode", [2], initializer=from_data("mode"), trainable=False)
    b.parameter("most", [], initializer=from_data("mode", "y"), trainable=False, dtype="int64")
    b.parameter("prior", [4], initializer=from_data("frequency", "y"), trainable=False)
    b.output(z=b.name("z", 2 * x), u=b.name("u", y * 1))
    model = b.model()
    x = [[1.0, 2.0], [None, 2.0], [3.0, 1.0], [3.0, 1.0], [1.0, None]]
    model.initialize({"x": x, "y": ["a", "b", "b", "c", "b"]})
    assert model.parameters["mode"].tolist() == [1.0, 1.0]  # of several the least
    assert model.parameters["most"] == 1
    np.testing.assert_allclose(model.parameters["prior"], [0.2, 0.6, 0.2, 0])


def test_a_statistic_of_an_imputed_column_waits_for_what_it_is_imputed_with():
    b = ge.Builder("chain")
    x = b.input("x", ["N", 2], missing="nan")
    deviation = b.parameter("deviation", [2], initializer=from_data("std", "full"), trainable=False)
    mean = b.parameter("mean", [2], initializer=from_data("mean", "full"), trainable=False)
    middle = b.parameter("middle", [2], initializer=from_data("median"), trainable=False)
    b.output(z=b.name("z", ge.nn.standardize(b.name("full", ge.nn.impute(x, middle)), mean, deviation)))
    model = b.model()
    data = RANDOM.normal(size=(50, 2))
    data[::7] = np.nan
    model.initialize({"x": data})
    full = np.where(np.isnan(data), np.nanmedian(data, axis=0), data)
    expected = (full - full.mean(axis=0)) / full.std(axis=0)
    np.testing.assert_allclose(model.predict(x=data)["z"], expected, rtol=1e-12)


def regression(path=None, **training):
    """A standardized linear regression, whose scaling is fitted on the rows that are trained on."""
    b = ge.Builder("scaled")
    x, y = b.input("x", ["N", 2]), b.input("y", ["N"])
    mean = b.parameter("mean", [2], initializer=from_data("mean"), trainable=False)
    std = b.parameter("std", [2], initializer=from_data("std"), trainable=False)
    w, bias = b.parameter("w", [2], initializer=0.0), b.parameter("b", [], initializer=from_data("mean", "y"))
    predicted = b.name("predicted", np.matmul(ge.nn.standardize(x, mean, std), w) + bias)
    b.output(prediction=predicted, loss=b.name("loss", np.mean(np.square(y - predicted))))
    section = {"optimizer": {"type": "sgd", "learning_rate": 0.1}, "epochs": 5, **training}
    b.training(loss="loss", **section)
    return b.model(path)


def rows(count=60):
    x = RANDOM.normal(size=(count, 2)) * [1, 50] + [3, 100]
    return {"x": x, "y": x @ [1.0, -0.5] + RANDOM.normal(size=count)}


def bits(model):
    return {name: np.asarray(value).tobytes() for name, value in model.values.items()}


def test_rows_that_are_set_apart_change_no_bit():
    data = rows()
    model = regression(validation={"fraction": 0.25}, seed=4)
    model.train(data)
    kept, apart = split(data, model.graph, ValidationDocument(fraction=0.25), 4)
    np.testing.assert_allclose(model.parameters["mean"], kept["x"].mean(axis=0), rtol=1e-12)
    other = {name: array.copy() for name, array in data.items()}
    is_apart = np.isin(data["y"], apart["y"])
    other["x"][is_apart] *= 17
    other["y"][is_apart] += 1000
    again = regression(validation={"fraction": 0.25}, seed=4)
    again.train(other)
    assert bits(again) == bits(model)
    only = regression()
    only.train(kept, validation_data={name: array * 3 for name, array in apart.items()})
    without = regression()
    without.train(kept)
    assert bits(only) == bits(without)


def test_a_resumed_training_has_the_same_bits(tmp_path):
    data = rows()
    whole = regression(batch_size=7, shuffle=True)
    whole.train(data, checkpoints=tmp_path / "whole")
    first = regression(batch_size=7, shuffle=True)
    first.train(data, epochs=2, checkpoints=tmp_path / "parts")
    second = regression(batch_size=7, shuffle=True)
    second.train(data, checkpoints=tmp_path / "parts", resume=True)
    assert bits(second) == bits(whole)


def test_statistics_are_saved_and_kept(tmp_path):
    data = rows()
    model = regression(tmp_path / "m.json")
    model.train(data)
    model.save(tmp_path / "m.json")
    again = ge.load(tmp_path / "m.json")
    assert bits(again) == bits(model)
    assert (again.predict(x=data["x"])["prediction"] == model.predict(x=data["x"])["prediction"]).all()
    before = again.parameters["mean"].copy()
    again.train({"x": data["x"] + 1, "y": data["y"]})
    assert (again.parameters["mean"] == before).all()


def test_a_training_that_cannot_start_leaves_no_statistics():
    model = regression(batch_size=7)
    with pytest.raises(ge.errors.GraphEngineError):
        model.train({"x": np.ones((3, 2)), "y": [1.0, 2.0]})
    assert "mean" not in model.parameters


def test_one_sample_at_a_time():
    b = ge.Builder("single")
    x, y = b.input("x", [2]), b.input("y", [])
    mean = b.parameter("mean", [2], initializer=from_data("mean"), trainable=False)
    std = b.parameter("std", [2], initializer=from_data("std"), trainable=False)
    w = b.parameter("w", [2], initializer=0.0)
    b.output(loss=b.name("loss", np.square(y - np.sum(ge.nn.standardize(x, mean, std) * w))))
    b.training(loss="loss", optimizer={"type": "sgd", "learning_rate": 0.1}, epochs=1, batch_size=1)
    model, data = b.model(), rows()
    model.train(data)
    np.testing.assert_allclose(model.parameters["mean"], data["x"].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(model.parameters["std"], data["x"].std(axis=0), rtol=1e-12)


def test_what_needs_a_training_says_so():
    model, data = regression(), rows()
    for use in (
        lambda: model.predict(x=data["x"]),
        lambda: model.forward(data),
        lambda: model.evaluate(data),
        lambda: model.parameters["mean"],
    ):
        with pytest.raises(ge.errors.UsageError, match=r"GE415: '\w+' has no value yet: .*; train the model first"):
            use()
    assert dict(model.parameters) == {"w": pytest.approx([0, 0])}
    model.parameters["mean"] = [0.0, 0.0]
    model.parameters["std"] = [1.0, 1.0]
    model.parameters["b"] = 1.0
    assert model.predict(x=[[1.0, 2.0]])["prediction"].tolist() == [1.0]
    assert regression().copy().fingerprint == model.fingerprint


@pytest.mark.parametrize("command", ["run", "evaluate", "predict"])
@pytest.mark.parametrize("limit", ["1GiB", "4KiB"])
def test_every_command_says_that_a_statistic_has_no_value_yet(tmp_path, command, limit):
    np.savez(tmp_path / "rows.npz", **rows())
    content = {key: value for key, value in regression().to_dict().items() if key != "training"}
    content["data"] = {"t": {"type": "npz", "path": "rows.npz"}}
    (tmp_path / "m.json").write_text(json.dumps(content))
    data = ["--data", str(tmp_path / "rows.npz")]
    arguments = ["--limit", f"data_bytes={limit}", command, str(tmp_path / "m.json"), *data, "--format", "json"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 2, result.output
    assert [each["code"] for each in json.loads(result.stdout)["errors"]] == ["GE415"]


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"shape": [3], "initializer": from_data("mean")}, "the mean of 'x' has the shape (2,)"),
        ({"shape": [2], "initializer": from_data("mean", "weighted")}, "'weighted' depends on 'w', which has no value"),
        ({"shape": [2], "initializer": from_data("mean", "own")}, "'own' depends on 'p', which has no value"),
        ({"shape": [], "initializer": from_data("mean", "total")}, "samples must be along its first axis"),
        ({"shape": [2], "initializer": from_data("frequency")}, "frequencies are those of integers"),
        ({"shape": [2], "dtype": "int64", "initializer": from_data("min")}, "a statistic is floating-point"),
        ({"shape": [2], "initializer": from_data("mean", "z")}, "'z' is not defined"),
        ({"shape": [2], "initializer": from_data("mean", q=0.5)}, "'q' and the statistic 'quantile' need each other"),
        ({"shape": [2], "initializer": from_data("quantile")}, "'q' and the statistic 'quantile' need each other"),
        ({"shape": [2], "initializer": from_data("average")}, "average"),
    ],
)
def test_what_a_file_may_not_say(declared, message):
    content = {
        "format": "graphengine.model",
        "format_version": 1,
        "opset_imports": {"core": 1},
        "name": "wrong",
        "inputs": {"x": {"shape": ["N", 2]}},
        "parameters": {"w": {"shape": [2], "initializer": {"type": "ones"}}, "p": {"trainable": False, **declared}},
        "nodes": [
            {"id": "weighted", "op": "mul", "inputs": ["x", "w"]},
            {"id": "own", "op": "mul", "inputs": ["x", "p"]},
            {"id": "total", "op": "mean", "inputs": ["x"]},
        ],
        "outputs": {"weighted": "weighted"},
    }
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.Model.from_dict(content)
    found = caught.value.problems[0]
    assert message in found.message or message in str(found)
    assert found.pointer.startswith("/parameters/p")


@pytest.mark.parametrize(("spoiled", "fits"), [("centred", False), ("shared", False), ("own", True), ("scaled", True)])
def test_a_row_counts_alone(spoiled, fits):
    b = ge.Builder("rows")
    x = b.input("x", ["N", 2])
    b.name("centred", x - np.mean(x, axis=0))
    b.name("shared", x @ np.transpose(x) @ x)
    b.name("own", x - np.mean(x, axis=1, keepdims=True))
    b.output(z=b.name("scaled", ge.nn.standardize(x, 1.0, 2.0)))
    b.parameter("p", [2], initializer=from_data("max", spoiled), trainable=False)
    model = b.model()
    if fits:
        model.initialize({"x": [[1.0, 2.0], [3.0, 5.0]]})
        assert model.parameters["p"].tolist() == {"own": [-0.5, 1.0], "scaled": [1.0, 2.0]}[spoiled]
    else:
        with pytest.raises(ge.errors.DataError, match=f"GE304: parameter 'p': the rows of '{spoiled}' depend on each"):
            model.initialize({"x": [[1.0, 2.0], [3.0, 5.0]]})


def test_a_column_without_a_value_has_no_statistic():
    model = statistics_model()
    with pytest.raises(ge.errors.DataError, match="GE507: parameter 'mean': 'x', column 2 has no value in any row"):
        model.initialize({"x": [[1.0, 1.0, np.nan, 1.0], [2.0, 1.0, np.nan, 1.0]]})


# ---------------------------------------------------------------- scikit-learn


def preprocessing():
    import sklearn.impute
    import sklearn.preprocessing

    return sklearn.preprocessing, sklearn.impute


def transformed(function, names, x, **statistics):
    """A shipped function of a table, with statistics of its rows."""
    b = ge.Builder("transformed")
    value = b.input("x", ["N", x.shape[1]], missing="nan")
    given = [
        b.parameter(name, [x.shape[1]], initializer=from_data(statistics.get(name, name)), trainable=False)
        for name in names
    ]
    b.output(z=b.name("z", getattr(ge.nn, function)(value, *given)))
    model = b.model()
    model.initialize({"x": x})
    return model.predict(x=x)["z"]


@pytest.mark.parametrize(("function", "names"), [("standardize", ["mean", "std"]), ("min_max", ["min", "max"])])
def test_scaling_is_that_of_scikit_learn(function, names):
    scalers, _ = preprocessing()
    scaler = scalers.StandardScaler() if function == "standardize" else scalers.MinMaxScaler()
    x = table()
    np.testing.assert_allclose(transformed(function, names, x), scaler.fit_transform(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("statistic", "strategy"), [("mean", "mean"), ("median", "median"), ("mode", "most_frequent")])
def test_imputation_is_that_of_scikit_learn(statistic, strategy):
    _, imputers = preprocessing()
    x = np.round(table(), 2)
    expected = imputers.SimpleImputer(strategy=strategy).fit_transform(x)
    np.testing.assert_allclose(transformed("impute", ["value"], x, value=statistic), expected, rtol=1e-12)


def test_one_hot_columns_are_those_of_scikit_learn():
    scalers, _ = preprocessing()
    kinds, seen = ["a", "b", "c"], ["c", "a", "x", "b", "a"]
    b = ge.Builder("columns")
    kind = b.input("kind", ["N"], "int64", categories=kinds, unknown=3)
    b.output(z=b.name("z", ge.ops.one_hot(kind, depth=3)))
    encoder = scalers.OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(np.array(kinds)[:, None])
    np.testing.assert_array_equal(b.model().predict(kind=seen)["z"], encoder.transform(np.array(seen)[:, None]))


@pytest.mark.parametrize(
    ("there", "back", "names"),
    [("standardize", "unstandardize", ("mean", "std")), ("min_max", "un_min_max", ("min", "max"))],
)
def test_the_inverse_of_a_scaling_gives_the_target_back(there, back, names):
    y = np.array([[3.0, 7.0], [5.0, 7.0], [1.0, 7.0]])
    given = [getattr(y, name)(axis=0) for name in names]
    scaled = getattr(ge.nn, there)(y, *given)
    assert np.isfinite(scaled).all()
    np.testing.assert_allclose(getattr(ge.nn, back)(scaled, *given), y, rtol=1e-15)


def pipeline(count, classes=None):
    """A linear or logistic model with L2 on standardized columns, minimized by L-BFGS."""
    b = ge.Builder("pipeline")
    x = b.input("x", ["N", count])
    given = [b.parameter(each, [count], initializer=from_data(each), trainable=False) for each in ("mean", "std")]
    scaled = ge.nn.standardize(x, *given)
    outputs = [] if classes is None else [len(classes)]
    w, bias = b.parameter("w", [count, *outputs], initializer=0.0), b.parameter("b", outputs, initializer=0.0)
    result = b.name("result", scaled @ w + bias)
    if classes is None:
        y = b.input("y", ["N"])
        loss = np.sum(np.square(y - result)) + np.sum(np.square(w))
    else:
        y = b.input("y", ["N"], "int64", categories=classes)
        loss = np.sum(ge.ops.softmax_cross_entropy(result, y, reduction="none")) + 0.5 * np.sum(np.square(w))
        b.output(probability=b.name("p", ge.ops.softmax(result)), label=b.name("label", ge.ops.argmax(result, axis=1)))
        b.categories(label=y)
    b.output(result=result, loss=b.name("loss", loss))
    b.training(loss="loss", optimizer={"type": "lbfgs"}, max_iterations=5000)
    return b.model()


def split_of(name):
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    data = getattr(datasets, f"load_{name}")()
    names = getattr(data, "target_names", None)
    target = data.target if names is None else np.array([str(each) for each in names])[data.target]
    return train_test_split(data.data, target, test_size=0.3, random_state=0)


def test_ridge_on_standardized_columns_is_that_of_scikit_learn():
    x, test, y, _ = split_of("diabetes")
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    reference = make_pipeline(StandardScaler(), Ridge(alpha=1.0)).fit(x, y)
    model = pipeline(x.shape[1])
    model.train({"x": x, "y": y})
    np.testing.assert_allclose(model.parameters["w"], reference[-1].coef_, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(model.parameters["b"], reference[-1].intercept_, rtol=1e-6)
    np.testing.assert_allclose(model.predict(x=test)["result"], reference.predict(test), rtol=1e-8)


@pytest.mark.parametrize("name", ["wine", "breast_cancer"])
def test_a_logistic_model_on_standardized_columns_is_that_of_scikit_learn(name):
    x, test, y, _ = split_of(name)
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes = sorted(set(y))
    model = pipeline(x.shape[1], classes)
    model.train({"x": x, "y": y})
    w, solver, c = model.parameters["w"], "newton-cg", 1.0
    if len(classes) == 2:  # two columns of weights share the penalty that one would have
        w, solver, c = (w[:, 1] - w[:, 0])[:, None], "newton-cholesky", 2.0
    logistic = LogisticRegression(C=c, tol=1e-12, max_iter=1000, solver=solver)
    reference = make_pipeline(StandardScaler(), logistic).fit(x, y)
    np.testing.assert_allclose(w.T, logistic.coef_, rtol=1e-6, atol=1e-6)
    found = model.predict(x=test)
    np.testing.assert_allclose(found["probability"], reference.predict_proba(test), rtol=1e-8, atol=1e-8)
    assert found["label"].tolist() == reference.predict(test).tolist()


# ---------------------------------------------------------------- a table with words and gaps


NUMBERS = ["a", "b", "c"]
PLACES = ["field", "lab", "sea"]


def messy(rows=150):
    """Columns of a table: numbers with gaps, a place with words that are no category in its last rows, a class."""
    generator = np.random.default_rng(3)
    numbers = generator.normal(size=(rows, 3)) * [1, 20, 300] + [0, 50, 0]
    kinds = generator.integers(0, 3, rows)
    sums = numbers @ [1, 0.05, 0.003] + kinds - 3 + generator.normal(size=rows) / 2
    numbers[generator.random(numbers.shape) < 0.1] = np.nan
    places = [*np.array(PLACES)[kinds[:-10]], *["elsewhere"] * 10]
    columns = {
        name: [None if each != each else float(each) for each in numbers[:, i]] for i, name in enumerate(NUMBERS)
    }
    return {
        **columns,
        "place": [str(each) for each in places],
        "grade": np.array(["low", "high", "top"])[np.digitize(sums, [-1, 1])].tolist(),
    }


def messy_model(path, data=None):
    b = ge.Builder("messy")
    x = b.input("x", ["N", 3], missing="nan")
    place = b.input("place", ["N"], "int64", categories=PLACES, unknown=3)
    grade = b.input("grade", ["N"], "int64", categories=["high", "low", "top"])
    usual = b.parameter("usual", [3], initializer=from_data("median"), trainable=False)
    mean, std = (
        b.parameter(each, [3], initializer=from_data(each, "full"), trainable=False) for each in ("mean", "std")
    )
    scaled = ge.nn.standardize(b.name("full", ge.nn.impute(x, usual)), mean, std)
    columns = np.concatenate([scaled, ge.ops.one_hot(place, depth=3)], axis=1)
    w, bias = b.parameter("w", [6, 3], initializer=0.0), b.parameter("bias", [3], initializer=0.0)
    logits = columns @ w + bias
    b.output(
        loss=b.name(
            "loss", np.sum(ge.ops.softmax_cross_entropy(logits, grade, reduction="none")) + 0.5 * np.sum(np.square(w))
        ),
        probability=b.name("probability", ge.ops.softmax(logits)),
        label=b.name("label", ge.ops.argmax(logits, axis=1)),
    )
    b.categories(label=grade)
    if data:
        b.data("train", data)
    b.training(loss="loss", optimizer={"type": "lbfgs"}, max_iterations=5000, **({"data": "train"} if data else {}))
    b.save(path)
    return ge.load(path)


def test_a_table_with_words_and_gaps_is_fitted_as_scikit_learn_does(tmp_path):
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    preprocessing()
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame = pd.DataFrame(messy())
    train, test = frame[:100], frame[100:]
    train.to_csv(tmp_path / "train.csv", index=False)
    columns = {"x": NUMBERS, "place": "place", "grade": "grade"}
    model = messy_model(tmp_path / "m.json", {"type": "csv", "path": "train.csv", "columns": columns})
    model.train()
    encoded = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NUMBERS),
            ("place", OneHotEncoder(categories=[PLACES], handle_unknown="ignore"), ["place"]),
        ]
    )
    logistic = LogisticRegression(solver="newton-cg", tol=1e-12, max_iter=1000)
    reference = make_pipeline(encoded, logistic).fit(train, train["grade"])
    np.testing.assert_allclose(model.parameters["w"].T, logistic.coef_, rtol=1e-6, atol=1e-6)
    found = model.predict(x=test[NUMBERS], place=test["place"])
    np.testing.assert_allclose(found["probability"], reference.predict_proba(test), rtol=1e-8, atol=1e-8)
    assert found["label"].tolist() == reference.predict(test).tolist()


def test_a_frame_and_every_file_of_a_table_train_to_the_same_bits(tmp_path):
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    frame = pd.DataFrame(messy())
    columns = {"x": NUMBERS, "place": "place", "grade": "grade"}
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet", index=False)
    frame.to_feather(tmp_path / "t.arrow")
    found = set()
    for kind in ("csv", "parquet", "arrow"):
        model = messy_model(tmp_path / f"{kind}.json", {"type": kind, "path": f"t.{kind}", "columns": columns})
        model.train()
        found.add(tuple(bits(model).items()))
    model = messy_model(tmp_path / "frame.json")
    model.train({"x": frame[NUMBERS], "place": frame["place"], "grade": frame["grade"]})
    found.add(tuple(bits(model).items()))
    assert len(found) == 1
