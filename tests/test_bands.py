"""Bands of fitted curves: against closed forms of linear regression, Fisher's information, and SciPy's quantiles."""

import numpy as np
import pytest
from documents import model as make
from documents import parameter
from scipy import stats
from test_cli import cli, cli_json
from test_fits import DECAY, S, X, decay_model

import graphengine as ge
from graphengine.fit import bands

RANDOM = np.random.default_rng(11)
PLACES = np.linspace(-1.0, 5.0, 9)


def line_model(**keys):
    """y = a + b*x, with a quantity of the parameters alone."""
    nodes = {"bx": ("mul", ["b", "x"]), "p": ("add", ["a", "bx"]), "r": ("sub", ["y", "p"])}
    nodes |= {"sq": ("square", ["r"]), "loss": ("sum", ["sq"]), "root": ("div", ["a", "b"]), "far": ("add", ["p", "x"])}
    outputs = {"prediction": "p", "loss": "loss", "root": "root", "far": "far"}
    return make(nodes, outputs, inputs={"x": ["N"], "y": ["N"]}, parameters={"a": 0.0, "b": 1.0}, **keys)


Y = 0.7 + 1.9 * X + 0.3 * RANDOM.normal(size=len(X))


def regression(places):
    """The closed form: estimates, variances of the line, variance of an observation, degrees of freedom."""
    design = np.stack([np.ones(len(X)), X], axis=1)
    best, *_ = np.linalg.lstsq(design, Y, rcond=None)
    freedom = len(X) - 2
    spread = np.sum((Y - design @ best) ** 2) / freedom
    inverse = np.linalg.inv(design.T @ design)
    rows = np.stack([np.ones(len(places)), places], axis=1)
    return rows @ best, spread * np.einsum("ij,jk,ik->i", rows, inverse, rows), spread, freedom


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_bands_of_a_line_are_those_of_linear_regression(level):
    model = line_model()
    model.fit({"x": X, "y": Y}, residual="r")
    line, variance, spread, freedom = regression(PLACES)
    quantile = stats.t.ppf((1 + level) / 2, freedom)
    found = model.predict({"x": PLACES}, band=level, outputs="prediction")
    assert list(found) == ["prediction", "prediction_lower", "prediction_upper"]
    np.testing.assert_allclose(found["prediction_lower"], line - quantile * np.sqrt(variance), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(found["prediction_upper"], line + quantile * np.sqrt(variance), rtol=1e-9, atol=1e-10)
    found = model.predict({"x": PLACES}, band=level, band_kind="prediction")
    width = quantile * np.sqrt(variance + spread)
    np.testing.assert_allclose(found["prediction_lower"], line - width, rtol=1e-9, atol=1e-10)
    assert "far_lower" not in found  # which the data are not compared with


def test_the_error_of_a_quantity_of_the_parameters_is_by_the_delta_method():
    model = line_model()
    fit = model.fit({"x": X, "y": Y}, residual="r")
    a, b = float(fit.parameters["a"]), float(fit.parameters["b"])
    slope = np.array([1 / b, -a / b**2])
    width = stats.t.ppf(0.975, len(X) - 2) * np.sqrt(slope @ fit.covariance @ slope)
    found = model.predict({}, outputs="root", band=0.95)
    assert float(found["root_upper"]) == pytest.approx(a / b + width, rel=1e-12)
    assert float(found["root_lower"]) == pytest.approx(a / b - width, rel=1e-12)


@pytest.mark.parametrize("absolute", [False, True])
def test_bands_of_a_curve_have_the_exact_jacobian(absolute):
    model = decay_model()
    fit = model.fit(DECAY, residual="r", sigma="s", absolute_sigma=absolute)
    a, b, _ = (float(fit.parameters[name]) for name in "abc")

    def jacobian(x):
        return np.stack([np.exp(-b * x), -a * x * np.exp(-b * x), np.ones(len(x))], axis=1)

    weighted = jacobian(X) / S[:, np.newaxis]
    covariance = np.linalg.inv(weighted.T @ weighted)
    if not absolute:
        covariance *= fit.residual_sum_of_squares / (len(X) - 3)
    quantile = stats.norm.ppf(0.95) if absolute else stats.t.ppf(0.95, len(X) - 3)
    width = quantile * np.sqrt(np.einsum("ij,jk,ik->i", jacobian(PLACES), covariance, jacobian(PLACES)))
    found = model.predict({"x": PLACES}, outputs="prediction", band=0.9)
    np.testing.assert_allclose(found["prediction_upper"] - found["prediction"], width, rtol=1e-7)
    np.testing.assert_allclose(found["prediction"] - found["prediction_lower"], width, rtol=1e-7)
    with pytest.raises(ge.errors.UsageError, match="a new observation has no sigma"):
        model.predict({"x": PLACES}, band=0.9, band_kind="prediction")


def test_the_band_of_a_poisson_regression_is_that_of_fishers_information():
    nodes = {"bx": ("mul", ["b", "x"]), "eta": ("add", ["a", "bx"]), "rate": ("exp", ["eta"])}
    nodes |= {"loss": ("nll.poisson_log", ["y", "eta"])}
    counts = np.array([2.0, 1.0, 4.0, 3.0, 6.0, 9.0, 8.0, 15.0])
    x = np.linspace(0.0, 2.0, 8)
    model = make(
        nodes,
        {"eta": "eta", "rate": "rate", "loss": "loss"},
        inputs={"x": ["N"], "y": ["N"]},
        parameters={"a": 0.0, "b": 0.0},
        training={"loss": "loss", "optimizer": {"type": "newton"}},
        opset_imports={"core": 1, "nll": 1},
    )
    model.fit({"x": x, "y": counts})
    design, best = np.stack([np.ones(8), x], axis=1), np.zeros(2)
    for _ in range(50):  # iteratively reweighted least squares
        rate = np.exp(design @ best)
        best = best + np.linalg.solve(design.T @ (rate[:, np.newaxis] * design), design.T @ (counts - rate))
    covariance = np.linalg.inv(design.T @ (np.exp(design @ best)[:, np.newaxis] * design))
    rows = np.stack([np.ones(len(PLACES)), PLACES], axis=1)
    width = stats.norm.ppf(0.975) * np.sqrt(np.einsum("ij,jk,ik->i", rows, covariance, rows))
    found = model.predict({"x": PLACES}, band=0.95)
    np.testing.assert_allclose(found["eta_lower"], rows @ best - width, rtol=1e-7, atol=1e-9)
    rate = np.exp(rows @ best)
    np.testing.assert_allclose(found["rate_upper"], rate + rate * width, rtol=1e-7)
    with pytest.raises(ge.errors.UsageError, match="a prediction band needs least squares"):
        model.predict({"x": PLACES}, band=0.95, band_kind="prediction")


def test_an_array_of_parameters_counts_with_all_its_numbers():
    """A polynomial by a matrix product, in float32 as well."""
    powers = np.stack([X**0, X, X**2], axis=1)
    nodes = {"p": ("matmul", ["m", "w"]), "r": ("sub", ["y", "p"]), "sq": ("square", ["r"]), "loss": ("sum", ["sq"])}
    for dtype, close in (("float64", 1e-8), ("float32", 2e-3)):
        model = make(
            nodes,
            {"prediction": "p", "loss": "loss"},
            inputs={"m": ["N", 3], "y": ["N"]},
            parameters={"w": [0.0, 0.0, 0.0]},
            dtype=dtype,
        )
        model.fit({"m": powers.astype(dtype), "y": Y.astype(dtype)}, residual="r")
        best, *_ = np.linalg.lstsq(powers, Y, rcond=None)
        spread = np.sum((Y - powers @ best) ** 2) / (len(X) - 3)
        inverse = np.linalg.inv(powers.T @ powers)
        width = stats.t.ppf(0.975, len(X) - 3) * np.sqrt(spread * np.einsum("ij,jk,ik->i", powers, inverse, powers))
        found = model.predict({"m": powers.astype(dtype)}, outputs="prediction", band=0.95)
        assert found["prediction_upper"].dtype == dtype
        np.testing.assert_allclose(found["prediction_upper"], powers @ best + width, rtol=close, atol=close)


def test_what_a_bound_holds_is_fixed_and_what_is_open_has_no_band():
    bounded = make(
        {"bx": ("mul", ["b", "x"]), "p": ("add", ["a", "bx"]), "r": ("sub", ["y", "p"]), "z": ("mul", ["c", "x"])},
        {"prediction": "p", "other": "z"},
        inputs={"x": ["N"], "y": ["N"]},
        parameters={"a": parameter(0.0, bounds=[None, 0.5]), "b": parameter(1.0), "c": parameter(1.0)},
    )
    fit = bounded.fit({"x": X, "y": Y}, residual="r")
    assert [each.parameter for each in fit.at_bounds] == ["a"]
    assert [part.parameters for part in fit.undetermined] == [("c",)]
    found = bounded.predict({"x": PLACES}, band=0.95)
    width = stats.t.ppf(0.975, fit.degrees_of_freedom) * np.abs(PLACES) * float(fit.standard_errors["b"])
    np.testing.assert_allclose(found["prediction_upper"] - found["prediction"], width, rtol=1e-9, atol=1e-12)
    assert np.isnan(found["other_upper"]).all()


def test_a_model_without_the_fit_of_its_values_has_no_bands():
    model = line_model()
    with pytest.raises(ge.errors.UsageError, match="GE801: a band needs the covariance of a fit"):
        model.predict({"x": PLACES}, band=0.95)
    model.fit({"x": X, "y": Y}, residual="r")
    model.parameters["a"] = 3.0
    with pytest.raises(ge.errors.UsageError, match="the values of this model are not those of one"):
        model.predict({"x": PLACES}, band=0.95)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"band": 95}, "between 0 and 1, not 95"),
        ({"band": 0.0}, "between 0 and 1, not 0"),
        ({"band": 0.9, "band_kind": "credible"}, "of kind 'confidence' or 'prediction', not 'credible'"),
        ({"band": 0.9, "band_kind": "prediction", "outputs": "far"}, "no output here has a prediction band"),
    ],
)
def test_a_band_of_no_meaning_is_refused(options, said):
    model = line_model()
    model.fit({"x": X, "y": Y}, residual="r")
    with pytest.raises(ge.errors.UsageError, match=said):
        model.predict({"x": PLACES}, **options)


def test_a_limit_with_the_name_of_an_output_is_refused():
    nodes = {"p": ("mul", ["b", "x"]), "r": ("sub", ["y", "p"])}
    outputs = {"p": "p", "p_lower": "r"}
    model = make(nodes, outputs, inputs={"x": ["N"], "y": ["N"]}, parameters={"b": 1.0})
    model.fit({"x": X, "y": Y}, residual="r")
    with pytest.raises(ge.errors.UsageError, match="a limit 'p_lower', and an output has this name"):
        model.predict({"x": PLACES}, outputs="p", band=0.9)


def test_predict_prints_bands_from_a_saved_fit(tmp_path):
    path = tmp_path / "fitted.json"
    cli("fit", "misra1a", "--save", path)
    said = cli_json("predict", path, "--input", "x=[100, 500]", "--band", "0.95")["outputs"]
    model = ge.load("misra1a")
    model.fit()
    found = model.predict({"x": [100, 500]}, band=0.95)
    for name in ("prediction", "prediction_lower", "prediction_upper"):
        np.testing.assert_allclose(said[name], found[name], rtol=1e-12)
    table = cli("predict", path, "--input", "x=[100, 500]", "--band", "0.95", "--format", "csv").stdout.splitlines()
    assert table[0] == "prediction,prediction_lower,prediction_upper"
    assert len(table) == 3
    rows = tmp_path / "rows.csv"
    rows.write_text("x\n100\n500\n")
    text = cli("predict", path, "--data", rows, "--keep", "x", "--band", "0.95", "--format", "csv").stdout
    assert [line.partition(",")[2] for line in text.splitlines()] == table
    result = cli("predict", "misra1a", "--input", "x=[100]", "--band", "0.95", code=2)
    assert "a band needs the covariance of a fit" in result.stderr


def test_a_frame_has_the_limits_as_columns():
    pandas = pytest.importorskip("pandas")
    model = line_model()
    model.fit({"x": X, "y": Y}, residual="r")
    found = model.predict(pandas.DataFrame({"x": PLACES}), outputs="prediction", band=0.9, as_frame=True)
    assert list(found.columns) == ["prediction", "prediction_lower", "prediction_upper"]


def test_a_jacobian_by_rows_is_the_one_by_columns(monkeypatch):
    model = decay_model()
    model.fit(DECAY, residual="r")
    expected = model.predict({"x": PLACES}, band=0.95)

    def without_second_derivative(*_):
        raise ge.errors.DifferentiationError("no second derivative", code="GE411")

    monkeypatch.setattr(bands, "directional", without_second_derivative)
    found = model.predict({"x": PLACES}, band=0.95)
    assert found.keys() == expected.keys()
    for name, limits in expected.items():
        np.testing.assert_allclose(found[name], limits, rtol=1e-12)


def test_the_curve_of_a_loss_of_op_mse_has_a_prediction_band():
    nodes = {"bx": ("mul", ["b", "x"]), "p": ("add", ["a", "bx"]), "loss": ("mse", ["p", "y"])}
    model = make(
        nodes,
        {"prediction": "p", "loss": "loss"},
        inputs={"x": ["N"], "y": ["N"]},
        parameters={"a": 0.0, "b": 1.0},
        training={"loss": "loss", "optimizer": {"type": "sgd", "learning_rate": 0.1}},
    )
    model.fit({"x": X, "y": Y})
    line, variance, spread, freedom = regression(PLACES)
    found = model.predict({"x": PLACES}, band=0.95, band_kind="prediction")
    width = stats.t.ppf(0.975, freedom) * np.sqrt(variance + spread)
    np.testing.assert_allclose(found["prediction_upper"], line + width, rtol=1e-9, atol=1e-10)
