"""Solvers of SciPy and least-squares fits: certified values, derivatives, what is refused."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import scipy.optimize
from documents import MODELS, document, linreg, parameter, write
from documents import model as make
from test_cli import cli, cli_json

import graphengine as ge
from graphengine.fit.conjugate import conjugate_step
from graphengine.fit.fit_programs import Programs
from graphengine.fit.objective import Objective
from graphengine.fit.residuals import Residuals

NIST = ["misra1a", "chwirut2", "lanczos3", "thurber", "mgh09", "eckerle4", "boxbod"]
LINE = {"x": np.array([1.0, 2.0, 4.0, 7.0]), "y": np.array([2.0, 3.5, 9.0, 13.0])}


def digits(got, certified):
    """The number of digits in which a result agrees, at most 11: NIST's LRE."""
    return min(11.0, -np.log10(max(abs(got - certified) / abs(certified), 1e-16)))


# ---------------------------------------------------------------- certified values


@pytest.mark.parametrize("start", ["first", "second"])
@pytest.mark.parametrize("name", NIST)
def test_the_nist_problem_is_solved_to_10_digits_from_both_starts(name, start):
    model = ge.load(MODELS / f"{name}.json")
    certified = model.document.metadata["certified"]
    if start == "second":
        for parameter_, value in model.document.metadata["second_start"].items():
            model.parameters[parameter_] = value
    fit = model.fit()
    assert fit.converged
    for got, expected in (
        (fit.parameters, certified["parameters"]),
        (fit.standard_errors, certified["standard_errors"]),
        ({"": fit.residual_sum_of_squares}, {"": certified["residual_sum_of_squares"]}),
        ({"": fit.residual_standard_deviation}, {"": certified["residual_standard_deviation"]}),
    ):
        assert min(digits(got[key], value) for key, value in expected.items()) >= 10


@pytest.mark.parametrize(
    ("name", "standard_error", "r2", "deviation"),
    [
        ("noint1", 0.165289256198347e-01, 0.999365492298663, 3.56753034006338),
        ("noint2", 0.420827318078432e-01, 0.993348115299335, 0.369274472937998),
    ],
)
def test_the_statistics_of_the_nist_regressions_without_intercept(name, standard_error, r2, deviation):
    fit = ge.load(MODELS / f"{name}.json").fit()
    assert fit.standard_errors["theta"] == pytest.approx(standard_error, rel=1e-13)
    assert fit.r2 == pytest.approx(r2, rel=1e-13)
    assert fit.residual_standard_deviation == pytest.approx(deviation, rel=1e-13)
    assert not fit.r2_is_centered


def line_with_intercept(**parameters):
    nodes = {"bx": ("mul", ["b", "x"]), "line": ("add", ["a", "bx"]), "error": ("sub", ["y", "line"])}
    nodes |= {"sq": ("square", ["error"]), "loss": ("mean", ["sq"])}
    return make(nodes, inputs={"x": ["N"], "y": ["N"]}, parameters={"a": 0.0, "b": 0.0, **parameters})


def test_a_line_with_an_intercept_has_the_statistics_of_the_textbook():
    fit = line_with_intercept().fit(LINE, residual="error")
    (slope, intercept), covariance = np.polyfit(LINE["x"], LINE["y"], 1, cov="unscaled")
    errors = LINE["y"] - intercept - slope * LINE["x"]
    assert fit.parameters == {"a": pytest.approx(intercept, rel=1e-12), "b": pytest.approx(slope, rel=1e-12)}
    assert fit.r2 == pytest.approx(np.corrcoef(LINE["x"], LINE["y"])[0, 1] ** 2, rel=1e-12)
    assert fit.r2_is_centered
    assert fit.degrees_of_freedom == 2
    deviation = np.sqrt(errors @ errors / 2)
    assert fit.standard_errors["b"] == pytest.approx(deviation * np.sqrt(covariance[0, 0]), rel=1e-12)
    assert fit.standard_errors["a"] == pytest.approx(deviation * np.sqrt(covariance[1, 1]), rel=1e-12)


@pytest.mark.parametrize("data", [{"x": [1.0], "y": [2.0]}, {"x": [1.0, 2.0, 3.0], "y": [2.0, 2.0, 2.0]}])
def test_data_that_do_not_vary_have_no_r2(data):
    fit = line_with_intercept().fit(data, residual="error")
    assert np.isnan(fit.r2)
    assert fit.residual_sum_of_squares == pytest.approx(0.0, abs=1e-25)


GROUPS = np.repeat(np.eye(3), [5, 7, 8], axis=0)


@pytest.mark.parametrize(("columns", "centred"), [((), False), (GROUPS, True), (GROUPS[:, :2], False)])
def test_a_linear_regression_has_the_statistics_of_its_normal_equations(columns, centred):
    """R2 is about the mean where the columns can give a constant, be it as the sum of indicators of groups."""
    random = np.random.default_rng(1)
    x = np.column_stack([random.normal(size=(20, 2)), *np.transpose(columns)])
    y = 3 + x.sum(axis=1) + random.normal(size=20)
    nodes = {"p": ("matmul", ["x", "w"]), "e": ("sub", ["p", "y"]), "s": ("square", ["e"]), "loss": ("mean", ["s"])}
    width = x.shape[1]
    model = make(nodes, inputs={"x": ["N", width], "y": ["N"]}, parameters={"w": [0.0] * width})
    fit = model.fit({"x": x, "y": y}, residual="e")
    inverse = np.linalg.inv(x.T @ x)
    weights = inverse @ x.T @ y
    errors = y - x @ weights
    variance = errors @ errors / (20 - width)
    np.testing.assert_allclose(fit.parameters["w"], weights, rtol=1e-11)
    np.testing.assert_allclose(fit.standard_errors["w"], np.sqrt(variance * np.diag(inverse)), rtol=1e-11)
    assert fit.residual_sum_of_squares == pytest.approx(errors @ errors, rel=1e-12)
    assert fit.r2_is_centered == centred
    assert fit.r2 == pytest.approx(1 - errors @ errors / np.sum((y - centred * y.mean()) ** 2), rel=1e-12)


def test_parameters_that_are_matrices_are_fitted_as_numpy_solves_them():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(20, 3)), random.normal(size=(20, 2))
    nodes = {"p": ("matmul", ["x", "w"]), "e": ("sub", ["p", "y"]), "s": ("square", ["e"]), "loss": ("sum", ["s"])}
    model = make(nodes, inputs={"x": ["N", 3], "y": ["N", 2]}, parameters={"w": [[0.0] * 2] * 3})
    fit = model.fit({"x": x, "y": y}, residual="e")
    np.testing.assert_allclose(fit.parameters["w"], np.linalg.lstsq(x, y, rcond=None)[0], rtol=1e-12)
    assert fit.standard_errors["w"].shape == (3, 2)
    assert fit.observations == 40


def test_parameters_that_the_data_do_not_determine_have_no_standard_errors():
    content = {"ab": ("add", ["a", "b"]), "error": ("sub", ["y", "ab"]), "sq": ("square", ["error"])}
    model = make(content | {"loss": ("sum", ["sq"])}, inputs={"y": ["N"]}, parameters={"a": 0.0, "b": 1.0})
    fit = model.fit({"y": [1.0, 2.0, 6.0]}, residual="error")
    assert fit.parameters["a"] + fit.parameters["b"] == pytest.approx(3.0, rel=1e-14)
    assert np.isnan([*fit.standard_errors.values()]).all()
    (part,) = fit.undetermined
    assert part.parameters == ("a", "b")
    assert part.reason == "a and b act only together: the data determine 1 combination of 2"
    assert (fit.converged, fit.degrees_of_freedom) == (True, 2)


def test_the_residual_is_found_in_a_loss_that_sums_squares_up():
    fit = ge.load(MODELS / "linreg.json").fit()
    assert fit.parameters["theta"] == pytest.approx(2502739000 / 5903559, rel=1e-14)
    model = make({"e": ("exp", ["p"])}, parameters={"p": 1.0})
    with pytest.raises(ge.errors.TrainingError, match="does not name its residual"):
        model.fit({})


# ---------------------------------------------------------------- minima, and what is none


def line_with_an_unused_parameter(**training):
    nodes = {"ax": ("mul", ["a", "x"]), "line": ("add", ["ax", "b"]), "error": ("sub", ["y", "line"])}
    nodes |= {"sq": ("square", ["error"]), "loss": ("mean", ["sq"])}
    parameters = {"a": 0.0, "b": 0.0, "c": [1.0, 2.0]}
    return make(nodes, inputs={"x": ["N"], "y": ["N"]}, parameters=parameters, **training)


def test_an_undetermined_parameter_is_named_and_the_others_keep_their_errors():
    fit = line_with_an_unused_parameter().fit(LINE, residual="error")
    (slope, intercept), covariance = np.polyfit(LINE["x"], LINE["y"], 1, cov=True)
    assert fit.converged
    assert fit.parameters["a"] == pytest.approx(slope, rel=1e-12)
    assert fit.parameters["b"] == pytest.approx(intercept, rel=1e-12)
    assert fit.standard_errors["a"] == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-12)
    assert fit.standard_errors["b"] == pytest.approx(np.sqrt(covariance[1, 1]), rel=1e-12)
    assert np.isnan(fit.standard_errors["c"]).all()
    assert fit.degrees_of_freedom == 2
    assert [part.reason for part in fit.undetermined] == [
        "c[0] has no effect here",
        "c[1] has no effect here",
    ]


def test_a_product_of_parameters_is_one_combination_and_a_third_keeps_its_error():
    """y = a*b*x + c: a line whose slope is a product."""
    nodes = {"ab": ("mul", ["a", "b"]), "abx": ("mul", ["ab", "x"]), "line": ("add", ["abx", "c"])}
    nodes |= {"error": ("sub", ["y", "line"])}
    model = make(nodes, inputs={"x": ["N"], "y": ["N"]}, parameters={"a": 1.0, "b": 0.5, "c": 0.0})
    fit = model.fit(LINE, residual="error")
    (slope, _), covariance = np.polyfit(LINE["x"], LINE["y"], 1, cov=True)
    assert fit.parameters["a"] * fit.parameters["b"] == pytest.approx(slope, rel=1e-12)
    assert fit.standard_errors["c"] == pytest.approx(np.sqrt(covariance[1, 1]), rel=1e-11)
    assert [part.parameters for part in fit.undetermined] == [("a", "b")]
    assert np.isnan([fit.standard_errors["a"], fit.standard_errors["b"]]).all()


def test_more_parameters_than_data_leave_no_degree_of_freedom():
    nodes = {"p": ("matmul", ["x", "w"]), "e": ("sub", ["y", "p"])}
    x, y = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 0.0]]), np.array([3.0, 1.0])
    fit = make(nodes, inputs={"x": ["N", 3], "y": ["N"]}, parameters={"w": [0.0] * 3}).fit(
        {"x": x, "y": y}, residual="e"
    )
    np.testing.assert_allclose(fit.parameters["w"], [1.0, 1.0, 0.0], rtol=1e-13)
    assert (fit.degrees_of_freedom, [part.parameters for part in fit.undetermined]) == (0, [("w[2]",)])
    assert np.isnan([fit.r2, fit.residual_standard_deviation, *fit.standard_errors["w"]]).all()


def test_a_parameter_behind_an_active_clip_is_undetermined():
    """y = clip(a, 0, 1) * x with a slope of 2 in the data: the best is anything above 1."""
    nodes = {"k": ("clip", ["a", 0.0, 1.0]), "p": ("mul", ["k", "x"]), "e": ("sub", ["y", "p"])}
    x = np.array([1.0, 2.0, 3.0])
    fit = make(nodes, inputs={"x": ["N"], "y": ["N"]}, parameters={"a": 0.5}).fit({"x": x, "y": 2 * x}, residual="e")
    assert fit.parameters["a"] >= 1
    assert fit.residual_sum_of_squares == pytest.approx(14.0, rel=1e-15)
    assert [part.parameters for part in fit.undetermined] == [("a",)]
    assert np.isnan(fit.standard_errors["a"])
    assert fit.degrees_of_freedom == 3


def slope_as_a_power(power, start=0.0):
    """Residuals y - k**power * x, which are flat at k = 0."""
    nodes = {"kk": ("pow", ["k", power]), "p": ("mul", ["kk", "x"]), "r": ("sub", ["y", "p"])}
    nodes |= {"sq": ("square", ["r"]), "loss": ("sum", ["sq"])}
    return make(nodes, inputs={"x": ["N"], "y": ["N"]}, parameters={"k": start})


@pytest.mark.parametrize("power", [2, 4])
@pytest.mark.parametrize("method", ["least_squares", "lbfgs", "trust-constr"])
def test_a_start_on_a_saddle_or_a_plain_is_left(method, power):
    data = {"x": np.array([1.0, 2.0, 3.0]), "y": np.array([4.0, 8.0, 12.5])}
    model = slope_as_a_power(power)
    best = (data["x"] @ data["y"]) / (data["x"] @ data["x"])
    residual = {"residual": "r"} if method == "least_squares" else {}
    solver = model.trainer(data, loss="loss", optimizer={"type": method, **residual})
    list(solver.iterate())
    assert abs(model.parameters["k"]) ** power == pytest.approx(best, rel=1e-11)
    assert solver.converged


def test_a_minimum_that_the_jacobian_does_not_see_is_one():
    """With a negative slope in the data the best k**2 is 0, where all residuals are flat."""
    fit = slope_as_a_power(2, start=1.0).fit({"x": [1.0, 2.0], "y": [-1.0, -2.5]}, residual="r")
    assert fit.converged
    assert fit.parameters["k"] == pytest.approx(0.0, abs=1e-7)


LARGE = {"x": np.array([1.0, 2.0, 3.0]), "y": np.array([2.0, 4.0, -8.0])}


def exponential(b=1.0):
    """Residuals y - exp(b*x)."""
    nodes = {"bx": ("mul", ["b", "x"]), "e": ("exp", ["bx"]), "r": ("sub", ["y", "e"]), "sq": ("square", ["r"])}
    return make(nodes | {"loss": ("sum", ["sq"])}, inputs={"x": ["N"], "y": ["N"]}, parameters={"b": b})


@pytest.mark.parametrize("start", [1.0, 0.0, -3.0])
def test_large_residuals_cost_no_digits(start):
    """Box, Davies and Swann's problem as Madsen, Nielsen and Tingleff have it: Gauss-Newton does not converge to it."""
    from scipy.optimize import brentq

    def slope(b):
        return np.sum((np.exp(b * LARGE["x"]) - LARGE["y"]) * LARGE["x"] * np.exp(b * LARGE["x"]))

    exact = brentq(slope, -1.0, -0.5, xtol=1e-15, rtol=1e-15)
    fit = exponential(start).fit(LARGE, residual="r")
    assert exact == pytest.approx(-0.791486337059, abs=1e-12)
    assert fit.converged
    assert fit.parameters["b"] == pytest.approx(exact, rel=1e-11)


def weighted_line(loss, **optimizer):
    """A line with a loss in which each residual counts by 1 / s**2, and others."""
    nodes = {"ax": ("mul", ["a", "x"]), "error": ("sub", ["y", "ax"]), "scaled": ("div", ["error", "s"])}
    nodes |= {"plain": ("square", ["error"]), "squares": ("square", ["scaled"])}
    nodes |= {"weighted": ("sum", ["squares"]), "mean": ("mean", ["plain"]), "half": ("div", ["mean", 2.0])}
    nodes |= {"root": ("sqrt", ["mean"]), "mse": ("mse", ["ax", "y"]), "size": ("square", ["a"])}
    nodes |= {"ridge": ("add", ["mean", "size"])}
    section = {"loss": loss, "optimizer": {"type": "least_squares", "residual": "error", **optimizer}}
    inputs = {"x": ["N"], "y": ["N"], "s": ["N"]}
    return make(nodes, {"loss": loss}, inputs=inputs, parameters={"a": 0.5}, training=section)


WEIGHTED = {**LINE, "s": np.array([1.0, 0.1, 2.0, 0.5])}


@pytest.mark.parametrize("loss", ["weighted", "ridge"])
def test_a_loss_that_is_not_the_sum_of_squares_of_its_residual_is_refused(loss):
    with pytest.raises(ge.errors.TrainingError, match=rf"the loss '{loss}' is not the sum of the squares .* 'error'"):
        weighted_line(loss).fit(WEIGHTED)


@pytest.mark.parametrize("loss", ["mean", "half", "root", "mse"])
def test_a_loss_that_grows_with_the_sum_of_squares_has_the_same_minimum(loss):
    fit = weighted_line(loss).fit(WEIGHTED)
    assert fit.parameters["a"] == pytest.approx(LINE["x"] @ LINE["y"] / (LINE["x"] @ LINE["x"]), rel=1e-13)


def test_a_residual_that_is_asked_for_has_its_own_loss():
    fit = weighted_line("ridge").fit(WEIGHTED, residual="scaled")
    weights = WEIGHTED["s"] ** -2.0
    best = np.sum(weights * LINE["x"] * LINE["y"]) / np.sum(weights * LINE["x"] ** 2)
    assert fit.parameters["a"] == pytest.approx(best, rel=1e-13)
    start = (LINE["y"] - 0.5 * LINE["x"]) / WEIGHTED["s"]
    assert fit.history.first_loss == pytest.approx(start @ start, rel=1e-13)


def test_a_sigma_of_zero_is_reported_with_its_row():
    data = {**WEIGHTED, "s": np.array([1.0, 1.0, 0.0, 1.0])}
    with pytest.raises(ge.errors.DivergenceError) as caught:
        weighted_line("weighted", residual="scaled").fit(data)
    (problem,) = caught.value.problems
    assert "node 'scaled' (div) is not finite at the start: inf in row 3, from error = 7.0, s = 0.0" in problem.message
    assert problem.hint == "other parameters do not change that: check row 3 of the data"


def test_a_start_that_other_values_would_mend_says_so():
    model = make({"q": ("log", ["p"])}, {"loss": "q"}, parameters={"p": -1.0})
    with pytest.raises(ge.errors.DivergenceError, match="start from other values"):
        model.train({}, loss="loss", optimizer={"type": "lbfgs"})
    model = make({"q": ("sqrt", ["p"])}, {"loss": "q"}, parameters={"p": 0.0})
    with pytest.raises(ge.errors.DivergenceError, match="'loss' is finite at the start, but its gradient is not"):
        model.train({}, loss="loss", optimizer={"type": "lbfgs"})


def test_a_function_without_a_minimum_does_not_converge():
    """1 / b falls forever: it has a slope wherever the solver gives up, or b has no effect any more."""
    nodes = {"r": ("div", [1.0, "b"]), "sq": ("square", ["r"]), "loss": ("sum", ["sq"])}
    fit = make(nodes, parameters={"b": 1.0}).fit({}, residual="r", max_iterations=200)
    assert not fit.converged
    assert fit.reason


def test_a_fit_in_single_precision_has_its_digits():
    """y = a*exp(b*x) in float32, against the same data in double precision."""
    from scipy.optimize import curve_fit

    nodes = {"bx": ("mul", ["b", "x"]), "e": ("exp", ["bx"]), "p": ("mul", ["a", "e"]), "r": ("sub", ["y", "p"])}
    x = np.linspace(0, 2, 20).astype(np.float32)
    y = (2 * np.exp(-0.7 * x) + 0.1 * np.cos(9 * x)).astype(np.float32)
    model = make(nodes, inputs={"x": ["N"], "y": ["N"]}, parameters={"a": 1.0, "b": 0.0}, dtype="float32")
    fit = model.fit({"x": x, "y": y}, residual="r")
    best, covariance = curve_fit(lambda x, a, b: a * np.exp(b * x), x.astype(float), y.astype(float), [1.0, 0.0])
    assert fit.converged
    assert [fit.parameters["a"], fit.parameters["b"]] == pytest.approx(best, rel=1e-5)
    errors = [fit.standard_errors["a"], fit.standard_errors["b"]]
    assert errors == pytest.approx(np.sqrt(np.diag(covariance)), rel=1e-4)


# ---------------------------------------------------------------- derivatives


def saturation(branching=False):
    """Residuals y - b1*(1 - exp(-b2*x)); `branching` puts a node on the way that has no second derivative."""
    nodes = {"bx": ("mul", ["b2", "x"]), "n": ("neg", ["bx"]), "e": ("exp", ["n"]), "o": ("sub", [1, "e"])}
    nodes |= {"h": ("test.looks", ["o"]) if branching else ("neg", ["n"])} if branching else {}
    nodes |= {"p": ("mul", ["b1", "h" if branching else "o"]), "r": ("sub", ["y", "p"])}
    nodes |= {"s": ("square", ["r"]), "loss": ("sum", ["s"])}
    content = document(nodes, inputs={"x": ["N"], "y": ["N"]}, parameters={"b1": 2.0, "b2": 0.5})
    content["opset_imports"] = {"core": 1, "test": 1}
    return ge.Model.from_dict(content)


def register_looks():
    @ge.register("test.looks")
    class Looks(ge.Node):
        """The identity, z = x, with a backward that cannot be recorded."""

        def forward(self, x):
            return x * 1.0

        def backward(self, grad, x):
            return grad if float(np.sum(x)) != 12345.0 else -grad


def jacobian(model):
    objective = Objective(model.graph, model.values, LINE, "loss", Programs(model.backend))
    return Residuals(objective, "r"), objective, objective.vector(model.values)


@pytest.mark.parametrize("branching", [False, True])
def test_the_jacobian_is_exact_with_and_without_second_derivatives(branching):
    register_looks()
    residuals, _, x = jacobian(saturation(branching))
    decay = np.exp(-0.5 * LINE["x"])
    np.testing.assert_allclose(
        residuals.jacobian(x), np.stack([-(1 - decay), -2.0 * LINE["x"] * decay], axis=1), rtol=1e-15
    )


def test_the_product_with_the_hessian_is_the_difference_of_gradients():
    _, objective, x = jacobian(saturation())
    for direction in np.eye(2):
        step = 1e-6 * direction
        expected = (objective(x + step)[1] - objective(x - step)[1]) / 2e-6
        np.testing.assert_allclose(objective.hessian_product(x, direction), expected, rtol=1e-7)


@pytest.mark.parametrize("method", ["lbfgs", "trust-constr", "least_squares"])
def test_a_parameter_that_nothing_depends_on_stays_and_has_no_standard_error(method):
    model = make({"r": ("sub", ["p", 3.0]), "loss": ("square", ["r"])}, parameters={"p": 1.0, "unused": [1.0, 2.0]})
    residual = {"residual": "r"} if method == "least_squares" else {}
    model.train({}, loss="loss", optimizer={"type": method, **residual})
    assert model.parameters["p"] == pytest.approx(3.0, rel=1e-12)
    assert model.parameters["unused"].tolist() == [1.0, 2.0]
    assert np.isnan(model.fit({}, residual="r").standard_errors["unused"]).all()


def test_values_of_the_same_gradient_get_each_their_own_column():
    nodes = {"ab": ("add", ["a", "b"]), "r": ("sub", ["y", "ab"]), "s": ("square", ["r"]), "loss": ("sum", ["s"])}
    model = make(nodes, inputs={"y": ["N"]}, parameters={"a": 0.0, "b": 1.0})
    objective = Objective(model.graph, model.values, {"y": np.ones(3)}, "loss", Programs(model.backend))
    np.testing.assert_array_equal(Residuals(objective, "r").jacobian(objective.vector(model.values)), -np.ones((3, 2)))


# ---------------------------------------------------------------- minimizers and the history


def rosenbrock(**optimizer):
    nodes = {
        "aa": ("square", ["a"]),
        "d": ("sub", ["b", "aa"]),
        "dd": ("square", ["d"]),
        "steep": ("mul", [100, "dd"]),
        "e": ("sub", [1, "a"]),
        "ee": ("square", ["e"]),
        "loss": ("add", ["steep", "ee"]),
    }
    section = {"loss": "loss", "optimizer": optimizer}
    return make(nodes, {"loss": "loss"}, parameters={"a": -1.2, "b": 1.0}, training=section)


@pytest.mark.parametrize("method", ["lbfgs", "trust-constr"])
def test_a_minimizer_finds_the_bottom_of_rosenbrocks_valley(method):
    model = rosenbrock(type=method)
    history = model.train({})
    assert dict(model.parameters) == {"a": pytest.approx(1, abs=1e-9), "b": pytest.approx(1, abs=1e-9)}
    assert history.first_loss == pytest.approx(24.2, rel=1e-14)
    assert history.last_loss < 1e-8
    assert len(history) == history.epochs_trained > 5
    assert [row.iteration for row in history] == list(range(1, len(history) + 1))
    assert {name: float(value) for name, value in history.last.parameters.items()} == dict(model.parameters)
    assert history.iterations[0].gradient_norm == pytest.approx(np.hypot(-215.6, -88.0), rel=1e-12)


@pytest.mark.parametrize("method", ["lbfgs", "trust-constr"])
def test_max_iterations_stops_a_minimizer(method):
    assert len(rosenbrock(type=method).train({}, max_iterations=4)) == 4


def test_metrics_are_computed_after_each_step_of_a_solver():
    model = ge.load(MODELS / "softmax_iris.json")
    rows, accuracies = [], []
    for row in model.iterate(metrics={"right": "accuracy"}, max_iterations=5):
        rows.append(row)
        accuracies.append(model.forward(model.load_data())["accuracy"])
    checks = model.train(metrics={"right": "accuracy"}, max_iterations=1).checks
    assert len(rows) == 5
    again = ge.load(MODELS / "softmax_iris.json").train(metrics={"right": "accuracy"}, max_iterations=5)
    assert [check.values["right"] for check in again.checks] == accuracies
    assert [check.iteration for check in checks] == [1]


@pytest.mark.parametrize("method", ["lbfgs", "trust-constr", "least_squares"])
def test_a_solver_gives_each_step_when_it_is_made_and_may_be_left(method):
    residual = {"residual": "r"} if method == "least_squares" else {}
    section = {"loss": "loss", "optimizer": {"type": method, **residual}}
    left, stopped, threads = saturation(), saturation(), threading.active_count()
    trainer = left.trainer(LINE, **section)
    for row in trainer.iterate():
        assert row == trainer.history.last
        assert row.iteration == len(trainer.history)
        assert row.parameters == dict(left.parameters)
        if row.iteration == 3:
            break
    assert threading.active_count() == threads
    assert list(stopped.train(LINE, max_iterations=3, **section)) == list(trainer.history)
    assert dict(stopped.parameters) == dict(left.parameters)


def test_what_goes_wrong_in_a_solver_is_raised_where_it_is_iterated():
    model = make({"q": ("log", ["p"])}, {"loss": "q"}, parameters={"p": -1.0})
    with pytest.raises(ge.errors.DivergenceError, match="no solver can start here"):
        next(model.iterate({}, loss="loss", optimizer={"type": "lbfgs"}))


def test_an_interrupt_ends_a_solver_and_leaves_the_last_step():
    @ge.register("test.interrupting")
    class Interrupting(ge.Node):
        """The identity; its fifth call by a solver meets a Ctrl-C, and goes on when that has arrived."""

        def forward(self, x):
            calls[threading.current_thread() is threading.main_thread()].append(float(x))  # so nothing is recorded
            if len(calls[False]) == 5:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
                arrived.append(comes_true(lambda: trainer._turns[-1].is_left))
            return x * 1.0

        def backward(self, grad):
            return grad

    calls, arrived, threads = ([], []), [], threading.active_count()
    content = document({"i": ("test.interrupting", ["p"]), "q": ("square", ["i"]), "loss": ("exp", ["q"])})
    content |= {"opset_imports": {"core": 1, "test": 1}, "parameters": {"p": parameter(1.5)}}
    model = ge.Model.from_dict(content)
    trainer = model.trainer({}, loss="out", optimizer={"type": "lbfgs"})
    with pytest.raises(KeyboardInterrupt):
        list(trainer.iterate())
    assert threading.active_count() == threads
    assert (len(calls[False]), arrived) == (5, [True])
    assert trainer.history.last.parameters == dict(model.parameters)


def comes_true(condition, seconds=60):
    """Whether a condition holds within a time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    return condition()


def test_a_solver_that_is_never_asked_again_lets_python_end():
    script = "import sys, graphengine as ge\nrows = ge.load(sys.argv[1]).iterate()\nprint(next(rows).iteration)"
    command = [sys.executable, "-c", script, str(MODELS / "misra1a.json")]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout == "1\n"


FORKED = """
import os, sys
import graphengine as ge

rows = ge.load(sys.argv[1]).iterate()
next(rows)
child = os.fork()
if child:
    os.waitpid(child, 0)
try:
    print(1 + len(list(rows)) == len(list(ge.load(sys.argv[1]).iterate())), flush=True)
except ge.errors.TrainingError as error:
    print(error, flush=True)
if not child:
    os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_solver_in_a_fork_says_that_it_cannot_go_on():
    command = [sys.executable, "-c", FORKED, str(MODELS / "misra1a.json")]
    reported = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=True).stdout.splitlines()
    assert reported == ["GE602: a training by a solver resumes only in the process that began it", "True"]


def test_max_iterations_stops_a_fit_before_it_converges():
    fit = ge.load(MODELS / "thurber.json").fit(max_iterations=3)
    assert (len(fit.history), fit.converged) == (3, False)


def test_a_limit_of_a_fit_that_is_none_is_a_training_error():
    with pytest.raises(ge.errors.TrainingError, match=r"GE112: must be greater than or equal to 1, not 0"):
        ge.Model.from_dict(linreg()).fit({"x": [1.0], "y": [2.0]}, residual="error", max_iterations=0)


def test_a_fit_that_starts_at_its_solution_has_one_row():
    model = line_with_intercept(a=1.0, b=2.0)
    fit = model.fit({"x": [1.0, 2.0, 3.0], "y": [3.0, 5.0, 7.0]}, residual="error")
    assert (len(fit.history), fit.history.last_loss) == (1, 0.0)


def test_a_parameter_that_is_not_trainable_is_not_fitted():
    fit = line_with_intercept(a=parameter(1.0, trainable=False)).fit(LINE, residual="error")
    assert fit.parameters == {"b": pytest.approx(LINE["x"] @ (LINE["y"] - 1) / (LINE["x"] @ LINE["x"]), rel=1e-13)}


# ---------------------------------------------------------------- what is refused

LEAST = {"type": "least_squares", "residual": "error"}


@pytest.mark.parametrize(
    ("section", "code", "pointer"),
    [
        ({"optimizer": {"type": "least_squares"}}, "GE111", "/training/optimizer"),
        ({"optimizer": {**LEAST, "residual": "eror"}}, "GE210", "/training/optimizer/residual"),
        ({"optimizer": {**LEAST, "residual": 1}}, "GE112", "/training/optimizer/residual"),
        ({"optimizer": {**LEAST, "residual": "flags"}}, "GE303", "/training/optimizer/residual"),
        ({"optimizer": {**LEAST, "momentum": 0.9}}, "GE110", "/training/optimizer/momentum"),
        ({"optimizer": {"type": "lbfgs", "learning_rate": 0.1}}, "GE110", "/training/optimizer/learning_rate"),
        ({"optimizer": {"type": "lbfgs"}, "batch_size": 10}, "GE112", "/training/batch_size"),
        ({"optimizer": {"type": "lbfgs"}, "epochs": 10}, "GE112", "/training/epochs"),
        ({"optimizer": {"type": "lbfgs"}, "seed": 1}, "GE112", "/training/seed"),
        ({"optimizer": {"type": "sgd"}}, "GE111", "/training/optimizer"),
    ],
)
def test_what_a_solver_does_not_understand_is_reported_with_its_place(section, code, pointer):
    content = linreg(training={"loss": "loss", **section})
    content["nodes"].append({"id": "flags", "op": "greater", "inputs": ["x", 0]})
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.Model.from_dict(content)
    (problem,) = caught.value.problems
    assert (problem.code, problem.pointer) == (code, pointer)


def test_a_loss_that_is_not_finite_at_the_start_is_a_divergence():
    model = make({"q": ("log", ["p"]), "loss": ("square", ["q"])}, {"loss": "loss"}, parameters={"p": -1.0})
    with pytest.raises(ge.errors.DivergenceError, match="not finite at the start"):
        model.train({}, loss="loss", optimizer={"type": "lbfgs"})


def test_a_loss_with_state_needs_an_update_rule():
    content = document({"s": ("square", ["p"]), "loss": ("add", ["s", "count"])}, parameters={"p": 1.0})
    content["state"] = {"count": {"shape": [], "initializer": {"type": "zeros"}, "update": "loss"}}
    with pytest.raises(ge.errors.TrainingError, match=r"depends on the parameters alone, and 'count' does not"):
        ge.Model.from_dict(content).train({}, loss="loss", optimizer={"type": "lbfgs"})


def test_keys_that_mean_nothing_to_a_solver_have_a_remedy():
    with pytest.raises(ge.errors.TrainingError, match=r"write 'max_iterations', or name an update rule such as 'adam'"):
        rosenbrock(type="lbfgs").train({}, epochs=3)


def test_keys_that_mean_nothing_to_a_solver_are_reported_in_one_order():
    keys = {"epochs": 3, "accumulate": 2, "seed": 4, "shuffle": True, "batch_size": 2, "shard_rows": 1}
    with pytest.raises(ge.errors.TrainingError) as caught:
        rosenbrock(type="lbfgs").train({}, **keys)
    found = [problem.pointer.removeprefix("/training/") for problem in caught.value.problems]
    assert found == ["batch_size", "shuffle", "seed", "epochs", "accumulate", "shard_rows"]


def test_data_that_a_solver_does_not_look_at_is_refused():
    with pytest.raises(
        ge.errors.TrainingError, match=r"GE602: 'validation_data' has no effect with the solver 'lbfgs'"
    ):
        rosenbrock(type="lbfgs").train({}, validation_data={})


def test_a_solver_has_no_training_step():
    with pytest.raises(ge.errors.TrainingError, match="is a solver"):
        ge.load(MODELS / "misra1a.json").training_step()


def test_without_scipy_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ge.errors.UsageError, match=r"GE803: .*'scipy'.*pip install 'graphengine\[fit\]'"):
        rosenbrock(type="lbfgs").train({})
    assert ge.load(MODELS / "misra1a.json").fit().converged


# ---------------------------------------------------------------- the command


def test_fit_reports_machines_all_and_saves(tmp_path):
    reported = cli_json("fit", "misra1a", "--save", tmp_path / "m.json")
    assert reported["parameters"] == {"b1": pytest.approx(238.94212918), "b2": pytest.approx(0.00055015643181)}
    assert reported["standard_errors"] == {"b1": pytest.approx(2.7070075241), "b2": pytest.approx(7.2668688436e-6)}
    assert (reported["observations"], reported["degrees_of_freedom"], reported["converged"]) == (14, 12, True)
    assert not reported["r2_is_centered"]
    assert reported["iterations"] > 1
    assert dict(ge.load(tmp_path / "m.json").parameters) == reported["parameters"]


def test_fit_takes_data_and_a_residual_from_the_command_line():
    text = cli("fit", "linreg", "--input", "x=[1, 2]", "--input", "y=[2, 4.5]", "--residual", "error").stdout
    assert "theta  2.2" in text
    assert "R2 (uncentered): 0.9" in text
    assert cli_json("fit", "linreg", "--residual", "eror", code=2)["errors"][0]["code"] == "GE210"


def test_a_fit_that_does_not_converge_is_shown_and_saved_and_exits_with_1(tmp_path):
    reported = cli_json("fit", "thurber", "--max-iterations", "2", "--save", tmp_path / "m.json", code=1)
    assert not reported["converged"]
    assert reported["reason"] == "stopped after 2 iterations"
    assert [error["code"] for error in reported["errors"]] == ["GE604"]
    assert dict(ge.load(tmp_path / "m.json").parameters) == reported["parameters"]
    shown = cli("fit", "thurber", "--max-iterations", "2", code=1)
    assert shown.stdout.splitlines()[0] == "thurber: 2 iterations, not converged"
    assert "error: GE604: the fit did not converge: stopped after 2 iterations" in shown.stderr


def test_fit_names_what_the_data_do_not_determine(tmp_path):
    content = line_with_an_unused_parameter(name="line").as_document().model_dump(mode="json", exclude_none=True)
    path = write(tmp_path / "m.json", {**content, "opset_imports": {"core": 1}})
    data = [f"--input={name}={values.tolist()}" for name, values in LINE.items()]
    reported = cli_json("fit", path, *data, "--residual", "error")
    assert [part["parameters"] for part in reported["undetermined"]] == [["c[0]"], ["c[1]"]]
    assert reported["standard_errors"]["c"] == ["NaN", "NaN"]
    assert "undetermined: c[0] has no effect here" in cli("fit", path, *data, "--residual", "error").stdout


def test_train_runs_a_solver():
    reported = cli_json("train", "boxbod")
    assert reported["parameters"]["b1"] == pytest.approx(213.80940889, rel=1e-10)
    assert reported["loss"]["last"] == pytest.approx(1168.0088766, rel=1e-10)


# ---------------------------------------------------------------- the last digits of many numbers


def penalized(bounds=None):
    """A penalized regression with respect to six targets, 234 coefficients, with its data."""
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 39)) * np.geomspace(1, 30, 39)
    y = x @ random.normal(size=(39, 6)) + random.normal(size=(400, 6))
    nodes = {
        "xw": ("matmul", ["x", "w"]),
        "e": ("sub", ["y", "xw"]),
        "squares": ("square", ["e"]),
        "error": ("mean", ["squares"]),
        "w2": ("square", ["w"]),
        "size": ("sum", ["w2"]),
        "penalty": ("mul", [1e-3, "size"]),
        "loss": ("add", ["error", "penalty"]),
    }
    weights = {"w": {"shape": [39, 6], "initializer": {"type": "zeros"}, **({"bounds": bounds} if bounds else {})}}
    content = document(nodes, {"loss": "loss"}, inputs={"x": ["N", 39], "y": ["N", 6]}, parameters=weights)
    return ge.Model.from_dict(content), x, y


def test_lbfgs_finds_the_last_digits_of_many_coefficients():
    model, x, y = penalized()
    model.train({"x": x, "y": y}, loss="loss", optimizer={"type": "lbfgs"})
    exact = np.linalg.solve(x.T @ x / y.size + 1e-3 * np.eye(39), x.T @ y / y.size)
    assert np.abs(model.parameters["w"] - exact).max() < 1e-10 * np.abs(exact).max()


def test_coefficients_on_a_bound_stay_there_and_the_others_get_their_last_digits():
    model, x, y = penalized(bounds=[-0.5, 0.5])
    model.train({"x": x, "y": y}, loss="loss", optimizer={"type": "lbfgs"})
    found = model.parameters["w"]
    penalty = np.sqrt(1e-3 * y.size) * np.eye(39)
    for target in range(6):
        rows, right = np.vstack([x, penalty]), np.concatenate([y[:, target], np.zeros(39)])
        exact = scipy.optimize.lsq_linear(rows, right, (-0.5, 0.5), method="bvls", tol=1e-15)
        assert np.abs(found[:, target] - exact.x).max() < 1e-10
        held = np.abs(exact.x) == 0.5
        assert 0 < np.count_nonzero(held) < 39
        assert np.array_equal(found[held, target], exact.x[held])


def test_a_step_by_conjugate_gradients_is_that_of_the_matrix():
    random = np.random.default_rng(1)
    axes, _ = np.linalg.qr(random.normal(size=(30, 30)))
    matrix, slope = axes @ np.diag(np.geomspace(1, 100, 30)) @ axes.T, random.normal(size=30)
    step, products = conjugate_step(matrix.__matmul__, slope, 1000)
    assert products <= 60
    assert np.linalg.norm(matrix @ step + slope) <= 2e-4 * np.linalg.norm(slope)
    none, products = conjugate_step(lambda direction: -direction, slope, 1000)
    assert (none.tolist(), products) == ([0.0] * 30, 1)
    assert conjugate_step(matrix.__matmul__, slope, 3)[1] == 3
