"""What fits minimize and what they say of it: weights, robust losses, likelihoods, covariances, criteria."""

import re

import numpy as np
import pytest
from documents import MODELS, document, parameter
from documents import model as make
from scipy.optimize import curve_fit, least_squares, minimize
from scipy.stats import norm
from test_cli import cli, cli_json
from test_solvers import LINE, line_with_intercept, write

import graphengine as ge

RANDOM = np.random.default_rng(5)
X = np.linspace(0.0, 4.0, 25)
S = np.where(np.arange(25) % 3, 0.05, 0.2)
Y = 2.5 * np.exp(-1.3 * X) + 0.5 + S * RANDOM.normal(size=25)
DECAY = {"x": X, "y": Y, "s": S}


def decay(a, b, c):
    return lambda x: a * np.exp(-b * x) + c


def decay_model(start=(1.0, 1.0, 0.0), **keys):
    """Residuals y - a*exp(-b*x) - c, with an input s that only a fit reads."""
    nodes = {"bx": ("mul", ["b", "x"]), "n": ("neg", ["bx"]), "e": ("exp", ["n"]), "ae": ("mul", ["a", "e"])}
    nodes |= {"p": ("add", ["ae", "c"]), "r": ("sub", ["y", "p"]), "sq": ("square", ["r"]), "loss": ("sum", ["sq"])}
    parameters = dict(zip("abc", start, strict=True))
    inputs = {"x": ["N"], "y": ["N"], "s": ["N"]}
    return make(nodes, {"prediction": "p", "loss": "loss"}, inputs=inputs, parameters=parameters, **keys)


def numbers(fit, values=None):
    return np.array([float((values or fit.parameters)[name]) for name in "abc"])


def reference(**options):
    """SciPy's curve_fit, from the solution and with an exact Jacobian, so that it has its digits."""

    def function(x, a, b, c):
        return a * np.exp(-b * x) + c

    def jacobian(x, a, b, c):
        return np.stack([np.exp(-b * x), -a * x * np.exp(-b * x), np.ones(len(x))], axis=1)

    tight = dict.fromkeys(("ftol", "xtol", "gtol"), 1e-15)
    best, _ = curve_fit(function, X, Y, [2.5, 1.3, 0.5], jac=jacobian, **tight, **options)
    return curve_fit(function, X, Y, best, jac=jacobian, **tight, **options)


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        ({}, {}),
        ({"sigma": "s"}, {"sigma": S}),
        ({"sigma": "s", "absolute_sigma": True}, {"sigma": S, "absolute_sigma": True}),
    ],
)
def test_standard_errors_and_covariance_are_those_of_curve_fit(asked, options):
    fit = decay_model().fit(DECAY, residual="r", **asked)
    best, covariance = reference(**options)
    np.testing.assert_allclose(numbers(fit), best, rtol=1e-8)
    np.testing.assert_allclose(numbers(fit, fit.standard_errors), np.sqrt(np.diag(covariance)), rtol=1e-8)
    np.testing.assert_allclose(fit.covariance, covariance, rtol=1e-8, atol=1e-11)
    assert fit.coordinates == ("a", "b", "c")
    expected = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    np.testing.assert_allclose(fit.correlation, expected, rtol=1e-8, atol=1e-8)


def test_weights_are_one_over_the_squares_of_sigma():
    one = decay_model().fit(DECAY, residual="r", sigma="s")
    other = decay_model().fit({**DECAY, "s": S**-2.0}, residual="r", weights="s")
    np.testing.assert_allclose(numbers(one), numbers(other), rtol=1e-12)
    np.testing.assert_allclose(one.covariance, other.covariance, rtol=1e-10)
    assert one.residual_sum_of_squares == pytest.approx(other.residual_sum_of_squares, rel=1e-12)


def test_a_weight_of_zero_leaves_a_point_out():
    kept = np.arange(25) != 7
    fit = decay_model().fit({**DECAY, "s": kept.astype(float)}, residual="r", weights="s")
    rest = decay_model().fit({name: values[kept] for name, values in DECAY.items()}, residual="r")
    np.testing.assert_allclose(numbers(fit), numbers(rest), rtol=1e-11)
    np.testing.assert_allclose(fit.covariance, rest.covariance, rtol=1e-9)
    assert (fit.observations, fit.degrees_of_freedom) == (24, 21)
    assert fit.log_likelihood == pytest.approx(rest.log_likelihood, rel=1e-12)


def test_r2_of_a_weighted_regression_is_about_the_weighted_mean():
    nodes = {"ax": ("mul", ["a", "x"]), "line": ("add", ["ax", "b"]), "error": ("sub", ["y", "line"])}
    inputs = {"x": ["N"], "y": ["N"], "w": ["N"]}
    weights = np.array([1.0, 4.0, 2.0, 0.5])
    model = make(nodes, inputs=inputs, parameters={"a": 0.0, "b": 0.0})
    fit = model.fit({**LINE, "w": weights}, residual="error", weights="w")
    slope, intercept = np.polyfit(LINE["x"], LINE["y"], 1, w=np.sqrt(weights))
    errors = LINE["y"] - slope * LINE["x"] - intercept
    about = LINE["y"] - np.average(LINE["y"], weights=weights)
    assert fit.r2_is_centered
    assert fit.r2 == pytest.approx(1 - weights @ errors**2 / (weights @ about**2), rel=1e-12)


@pytest.mark.parametrize(
    ("asked", "code", "text"),
    [
        ({"sigma": "nothing"}, "GE210", "sigma 'nothing' is not defined"),
        ({"sigma": "s", "weights": "s"}, "GE112", "'sigma' and 'weights' are alternatives"),
        ({"sigma": "a"}, "GE112", "depends on trainable parameters"),
        ({"robust": "tukey"}, "GE112", "is not possible here"),
        ({"robust": "huber", "robust_scale": 0.0}, "GE112", "greater than 0"),
    ],
)
def test_what_a_fit_cannot_weigh_with_is_refused(asked, code, text):
    with pytest.raises(ge.errors.TrainingError) as caught:
        decay_model().fit(DECAY, residual="r", **asked)
    assert caught.value.problems[0].code == code
    assert text in str(caught.value)


def test_a_sigma_of_another_shape_is_refused():
    nodes = {"p": ("mul", ["a", "x"]), "r": ("sub", ["y", "p"])}
    model = make(nodes, inputs={"x": ["N"], "y": ["N"], "s": ["M", 1]}, parameters={"a": 1.0})
    with pytest.raises(ge.errors.TrainingError, match=r"GE301: sigma 's' is .* does not fit the residual"):
        model.fit({"x": [1.0], "y": [1.0], "s": [[1.0]]}, residual="r", sigma="s")


@pytest.mark.parametrize(("key", "wrong", "text"), [("sigma", 0.0, "positive"), ("weights", -1.0, "zero or positive")])
def test_a_sigma_of_zero_and_a_negative_weight_are_reported_with_their_row(key, wrong, text):
    values = S.copy()
    values[3] = wrong
    with pytest.raises(
        ge.errors.InputError, match=rf"GE404: {key} 's' must be {text} everywhere; it is {wrong:g} in row 4"
    ):
        decay_model().fit({**DECAY, "s": values}, residual="r", **{key: "s"})


def test_a_file_says_how_its_residuals_are_weighted():
    nodes = {"p": ("mul", ["a", "x"]), "r": ("sub", ["y", "p"]), "z": ("div", ["r", "s"]), "zz": ("square", ["z"])}
    nodes |= {"chi2": ("sum", ["zz"]), "plain": ("square", ["r"]), "sum": ("sum", ["plain"])}
    optimizer = {"type": "least_squares", "residual": "r", "sigma": "s", "absolute_sigma": True}
    section = {"loss": "chi2", "optimizer": optimizer}
    inputs = {"x": ["N"], "y": ["N"], "s": ["N"]}
    content = document(nodes, {"chi2": "chi2", "sum": "sum"}, inputs=inputs, parameters={"a": 1.0}, training=section)
    fit = ge.Model.from_dict(content).fit(DECAY)
    assert fit.standard_errors["a"] == pytest.approx(np.sum(X**2 / S**2) ** -0.5, rel=1e-12)
    assert fit.loss == pytest.approx(fit.residual_sum_of_squares, rel=1e-14)
    content["training"]["loss"] = "sum"
    with pytest.raises(ge.errors.TrainingError, match=r"'sum' is not the sum of .* 'r' with these weights"):
        ge.Model.from_dict(content).fit(DECAY)


# ---------------------------------------------------------------- robust losses


@pytest.mark.parametrize("robust", ["huber", "soft_l1", "cauchy"])
def test_a_robust_fit_is_that_of_scipy(robust):
    y = Y.copy()
    y[[4, 15]] += [3.0, -2.0]
    fit = decay_model().fit({**DECAY, "y": y}, residual="r", robust=robust, robust_scale=0.1)
    best = least_squares(
        lambda p: y - decay(*p)(X),
        [2.5, 1.3, 0.5],
        loss=robust,
        f_scale=0.1,
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
        jac="cs",
    )
    assert fit.objective == "robust"
    assert fit.converged
    assert fit.loss == pytest.approx(2 * best.cost, rel=1e-10)
    np.testing.assert_allclose(numbers(fit), best.x, rtol=1e-6)
    assert np.linalg.norm(numbers(fit) - [2.5, 1.3, 0.5]) < 0.3
    assert fit.history.first_loss == pytest.approx(
        2 * least_squares(lambda p: y - decay(*p)(X), [1, 1, 0], loss=robust, f_scale=0.1, max_nfev=1).cost, rel=1e-12
    )
    assert (fit.log_likelihood, fit.aic, fit.r2) == (None, None, None)


def test_the_errors_of_a_robust_fit_are_those_of_an_m_estimator():
    """The mean of Huber (1964): its variance is sum(psi**2) / (sum(psi'))**2, with n / (n - 1) for the fitted mean."""
    y = np.array([0.3, -0.5, 0.1, 8.0, 0.2, -0.4, -9.0, 0.6])
    model = make({"r": ("sub", ["y", "m"])}, inputs={"y": ["N"]}, parameters={"m": 0.0})
    fit = model.fit({"y": y}, residual="r", robust="huber", robust_scale=1.0)
    psi, slope = np.clip(y - fit.parameters["m"], -1, 1), np.abs(y - fit.parameters["m"]) < 1
    assert np.sum(psi) == pytest.approx(0.0, abs=1e-13)
    assert fit.standard_errors["m"] == pytest.approx(np.sqrt(np.sum(psi**2) / np.sum(slope) ** 2 * 8 / 7), rel=1e-12)


def test_a_large_scale_is_least_squares():
    fit = decay_model().fit(DECAY, residual="r", robust="cauchy", robust_scale=1e8)
    plain = decay_model().fit(DECAY, residual="r")
    np.testing.assert_allclose(numbers(fit), numbers(plain), rtol=1e-9)


# ---------------------------------------------------------------- likelihoods


def normal_likelihood(reduction="sum"):
    """-log L of y = m + normal errors of standard deviation exp(t), without its constant."""
    nodes = {"d": ("sub", ["y", "m"]), "s": ("exp", ["t"]), "z": ("div", ["d", "s"]), "zz": ("square", ["z"])}
    nodes |= {"half": ("mul", ["zz", 0.5]), "each": ("add", ["half", "t"]), "loss": (reduction, ["each"])}
    section = {"loss": "loss", "optimizer": {"type": "newton"}}
    return make(nodes, {"loss": "loss"}, inputs={"y": ["N"]}, parameters={"m": 0.0, "t": 0.0}, training=section)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_likelihood_has_the_errors_of_its_exact_hessian(reduction):
    """m = mean(y) with error s / sqrt(n), t = log(s) with error 1 / sqrt(2 n); a mean counts n times."""
    y = np.array([1.0, 2.5, 2.0, 4.0, 3.5])
    fit = normal_likelihood(reduction).fit({"y": y})
    spread = np.std(y)
    assert (fit.objective, fit.converged) == ("likelihood", True)
    assert fit.parameters["m"] == pytest.approx(y.mean(), rel=1e-13)
    assert fit.parameters["t"] == pytest.approx(np.log(spread), rel=1e-12)
    assert fit.standard_errors["m"] == pytest.approx(spread / np.sqrt(5), rel=1e-12)
    assert fit.standard_errors["t"] == pytest.approx(1 / np.sqrt(10), rel=1e-12)
    logarithm = norm.logpdf(y, y.mean(), spread).sum() + 5 / 2 * np.log(2 * np.pi)
    assert fit.log_likelihood == pytest.approx(logarithm, rel=1e-12)
    assert fit.aic == pytest.approx(4 - 2 * logarithm, rel=1e-12)
    assert fit.bic == pytest.approx(2 * np.log(5) - 2 * logarithm, rel=1e-12)
    assert (fit.observations, fit.degrees_of_freedom) == (5, 3)
    with pytest.raises(AttributeError, match="a fit by likelihood has no residuals"):
        _ = fit.r2


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")  # the loss does not depend on c
def test_a_likelihood_names_what_it_does_not_determine():
    nodes = {"ab": ("add", ["a", "b"]), "d": ("sub", ["y", "ab"]), "dd": ("square", ["d"]), "loss": ("sum", ["dd"])}
    section = {"loss": "loss", "optimizer": {"type": "newton"}}
    parameters = {"a": 0.0, "b": 0.0, "c": 1.0}
    model = make(nodes, {"loss": "loss"}, inputs={"y": ["N"]}, parameters=parameters, training=section)
    fit = model.fit({"y": [1.0, 3.0]})
    assert fit.parameters["a"] + fit.parameters["b"] == pytest.approx(2.0, rel=1e-14)
    assert [part.parameters for part in fit.undetermined] == [("a", "b"), ("c",)]
    assert np.isnan([*fit.standard_errors.values()]).all()


def test_a_loss_that_is_no_sum_of_squares_is_a_likelihood_whatever_trains_it():
    """logistic_iris names lbfgs; the loss is a mean, and so counts once for each sample."""
    model = ge.load(MODELS / "logistic_iris.json")
    fit = model.fit()
    data = model.load_data()
    x, y = np.column_stack([data["x"], np.ones(len(data["x"]))]), data["y"] == 2
    weights = np.concatenate([np.ravel(value) for value in fit.parameters.values()])
    assert fit.objective == "likelihood"
    probability = 1 / (1 + np.exp(-x @ weights))
    information = (x.T * (probability * (1 - probability))) @ x
    errors = np.concatenate([np.ravel(value) for value in fit.standard_errors.values()])
    np.testing.assert_allclose(errors, np.sqrt(np.diag(np.linalg.inv(information))), rtol=1e-8)
    logarithm = np.sum(y * np.log(probability) + (1 - y) * np.log1p(-probability))
    assert fit.log_likelihood == pytest.approx(logarithm, rel=1e-10)


def test_newton_trains_and_keeps_to_bounds():
    """The maximum of a normal likelihood whose mean may be at most 2."""
    model = normal_likelihood()
    content = model.as_document().model_dump(mode="json", exclude_none=True, by_alias=True)
    content["parameters"]["m"] |= {"bounds": [None, 2.0]}
    model = ge.Model.from_dict(content)
    y = np.array([1.0, 2.5, 2.0, 4.0, 3.5])
    fit = model.fit({"y": y})
    spread = np.sqrt(np.mean((y - 2) ** 2))
    assert fit.parameters["m"] == 2.0
    assert fit.parameters["t"] == pytest.approx(np.log(spread), rel=1e-12)
    assert [held[:3] for held in fit.at_bounds] == [("m", "upper", 2.0)]
    assert np.isnan(fit.standard_errors["m"])
    assert fit.standard_errors["t"] == pytest.approx(1 / np.sqrt(10), rel=1e-12)


def test_newton_finds_the_minimum_of_a_hard_function():
    """Rosenbrock's valley in four dimensions, against SciPy."""
    nodes = {}
    for place in range(3):
        here, after = f"p{place}", f"p{place + 1}"
        nodes |= {f"q{place}": ("square", [here]), f"d{place}": ("sub", [after, f"q{place}"])}
        nodes |= {f"dd{place}": ("square", [f"d{place}"]), f"s{place}": ("mul", [100.0, f"dd{place}"])}
        nodes |= {f"e{place}": ("sub", [1.0, here]), f"ee{place}": ("square", [f"e{place}"])}
    nodes |= {"loss": ("add_n", [f"{kind}{place}" for place in range(3) for kind in ("s", "ee")])}
    start = [-1.2, 1.0, -1.2, 1.0]
    parameters = {f"p{place}": value for place, value in enumerate(start)}
    section = {"loss": "loss", "optimizer": {"type": "newton"}}
    model = make(nodes, {"loss": "loss"}, parameters=parameters, training=section)
    model.train({})
    assert np.array([*model.parameters.values()]) == pytest.approx(np.ones(4), rel=1e-12)


@pytest.mark.parametrize("optimizer", [{"type": "newton"}, {"type": "least_squares", "residual": "p"}])
def test_a_solver_with_a_matrix_refuses_too_many_numbers(optimizer):
    nodes = {"s": ("square", ["p"]), "loss": ("sum", ["s"])}
    section = {"loss": "loss", "optimizer": optimizer}
    model = make(nodes, {"loss": "loss"}, parameters={"p": np.ones(2001)}, training=section)
    with pytest.raises(ge.errors.TrainingError, match="takes at most 2000 numbers; this model has 2001"):
        model.train({})


# ---------------------------------------------------------------- criteria


def test_the_criteria_of_a_regression_are_those_of_normal_errors():
    fit = line_with_intercept().fit(LINE, residual="error")
    (slope, intercept), count = np.polyfit(LINE["x"], LINE["y"], 1), 4
    errors = LINE["y"] - slope * LINE["x"] - intercept
    logarithm = norm.logpdf(errors, scale=np.sqrt(errors @ errors / count)).sum()
    assert fit.log_likelihood == pytest.approx(logarithm, rel=1e-12)
    assert fit.aic == pytest.approx(2 * 3 - 2 * logarithm, rel=1e-12)
    assert fit.bic == pytest.approx(3 * np.log(count) - 2 * logarithm, rel=1e-12)


def test_the_criteria_with_known_errors_are_those_of_chi_square():
    fit = decay_model().fit(DECAY, residual="r", sigma="s", absolute_sigma=True)
    logarithm = norm.logpdf(Y, decay(*numbers(fit))(X), S).sum()
    assert fit.log_likelihood == pytest.approx(logarithm, rel=1e-12)
    assert fit.aic == pytest.approx(2 * 3 - 2 * logarithm, rel=1e-12)
    relative = decay_model().fit(DECAY, residual="r", sigma="s")
    spread = np.sqrt(relative.residual_sum_of_squares / 25)
    logarithm = norm.logpdf(Y, decay(*numbers(relative))(X), S * spread).sum()
    assert relative.log_likelihood == pytest.approx(logarithm, rel=1e-12)
    assert relative.aic == pytest.approx(2 * 4 - 2 * logarithm, rel=1e-12)


def test_data_as_many_as_parameters_have_errors_only_with_known_sigma():
    nodes = {"ax": ("mul", ["a", "x"]), "line": ("add", ["ax", "b"]), "error": ("sub", ["y", "line"])}
    inputs, data = {"x": ["N"], "y": ["N"], "s": ["N"]}, {"x": [1.0, 3.0], "y": [2.0, 8.0], "s": [0.1, 0.2]}
    model = make(nodes, inputs=inputs, parameters={"a": 0.0, "b": 0.0})
    fit = model.fit(data, residual="error", sigma="s")
    assert dict(fit.parameters) == {"a": pytest.approx(3.0, rel=1e-12), "b": pytest.approx(-1.0, rel=1e-12)}
    assert np.isnan([*fit.standard_errors.values()]).all()
    fit = model.fit(data, residual="error", sigma="s", absolute_sigma=True)
    assert fit.standard_errors["a"] == pytest.approx(np.sqrt(0.1**2 + 0.2**2) / 2, rel=1e-12)


def test_the_error_of_a_number_that_a_bound_holds_is_unknown_and_the_others_are_those_with_it_fixed():
    model = decay_model()
    content = model.as_document().model_dump(mode="json", exclude_none=True, by_alias=True)
    content["parameters"]["c"] |= {"bounds": [None, 0.3]}
    fit = ge.Model.from_dict(content).fit(DECAY, residual="r", sigma="s", absolute_sigma=True)
    best, covariance = curve_fit(
        lambda x, a, b: a * np.exp(-b * x) + 0.3, X, Y, [2.5, 1.3], sigma=S, absolute_sigma=True
    )
    assert [held.parameter for held in fit.at_bounds] == ["c"]
    np.testing.assert_allclose(numbers(fit)[:2], best, rtol=1e-6)
    np.testing.assert_allclose(numbers(fit, fit.standard_errors)[:2], np.sqrt(np.diag(covariance)), rtol=1e-5)
    assert np.isnan(numbers(fit, fit.standard_errors)[2])
    assert fit.degrees_of_freedom == 23


# ---------------------------------------------------------------- the command


def test_the_command_takes_weights_and_robust_losses(tmp_path):
    content = decay_model(name="decay").as_document().model_dump(mode="json", exclude_none=True, by_alias=True)
    path = write(tmp_path / "decay.json", content)
    table = np.column_stack([X, Y, S])
    np.savetxt(tmp_path / "d.csv", table, delimiter=",", header="x,y,s", comments="", fmt="%.17g")
    asked = ("fit", path, "--data", tmp_path / "d.csv", "--residual", "r")
    reported = cli_json(*asked, "--sigma", "s", "--absolute-sigma")
    _, covariance = reference(sigma=S, absolute_sigma=True)
    np.testing.assert_allclose(reported["covariance"], covariance, rtol=1e-8, atol=1e-11)
    assert (reported["objective"], reported["coordinates"], reported["at_bounds"]) == (
        "least_squares",
        ["a", "b", "c"],
        [],
    )
    text = cli(*asked, "--robust", "huber", "--robust-scale", "0.1").stdout
    assert "robust loss: " in text
    assert cli_json(*asked, "--robust", "tukey", code=2)["errors"][0]["code"] == "GE112"


def test_the_command_fits_a_likelihood_and_reports_what_is_at_a_bound(tmp_path):
    content = normal_likelihood().as_document().model_dump(mode="json", exclude_none=True, by_alias=True)
    content["parameters"]["m"] |= parameter(0.0, bounds=[None, 2.0])
    path = write(tmp_path / "m.json", content)
    text = cli("fit", path, "--input", "y=[1, 2.5, 2, 4, 3.5]").stdout
    assert "log-likelihood: " in text
    assert re.search(r"at its upper bound: m = 2, error downward 0\.\d+ \(the other errors hold for that\)", text)
    (held,) = cli_json("fit", path, "--input", "y=[1, 2.5, 2, 4, 3.5]")["at_bounds"]
    assert (held.pop("parameter"), held.pop("side"), held.pop("bound")) == ("m", "upper", 2.0)
    assert held.keys() == {"error"}


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("bound", [0.7, 2.0])
def test_the_error_at_a_bound_is_where_a_line_fits_worse_by_one_standard_error(absolute, bound):
    """The profile of a line is a parabola, so it is the distance itself; the free slope follows."""
    b = ge.Builder("line")
    x, y, _ = (b.input(name, ["N"]) for name in "xys")
    slope = b.parameter("slope", [], initializer=1.0)
    level = b.parameter("level", [], initializer=bound, bounds=[bound, None])
    b.output(r=b.name("r", y - slope * x - level))
    y = 0.5 * X + 0.6 + 0.1 * np.cos(9 * X)
    fit = b.model().fit({"x": X, "y": y, "s": S}, residual="r", sigma="s", absolute_sigma=absolute)

    def least(level):
        rest = (y - level) / S
        return np.sum((rest - (X / S) * (rest @ (X / S)) / np.sum((X / S) ** 2)) ** 2)

    variance = 1.0 if absolute else least(bound) / fit.degrees_of_freedom
    (held,) = fit.at_bounds
    assert held.side == "lower"
    assert least(bound + held.error) - least(bound) == pytest.approx(variance, rel=1e-8)


def test_a_likelihood_has_an_error_at_a_bound():
    """The rate of counts 0, 0, 0 is at its bound 0, where -log L = 3 rate rises by 1/2 at 1/6."""
    b = ge.Builder("counts")
    counts = b.input("counts", ["N"])
    rate = b.parameter("rate", [], initializer=1.0, bounds=[0, 5])
    b.output(loss=b.name("loss", np.sum(rate - 0.0 * counts)))
    b.training(loss="loss", optimizer={"type": "newton"})
    (held,) = b.model().fit({"counts": [0.0, 0.0, 0.0]}).at_bounds
    assert held[:3] == ("rate", "lower", 0.0)
    assert held.error == pytest.approx(1 / 6, rel=1e-12)


def test_minimize_is_the_oracle_of_a_likelihood_in_two_parameters():
    """A Gumbel likelihood, which has no closed form, against SciPy."""
    y = RANDOM.gumbel(2.0, 0.7, size=40)
    nodes = {"d": ("sub", ["y", "m"]), "s": ("exp", ["t"]), "z": ("div", ["d", "s"]), "n": ("neg", ["z"])}
    nodes |= {"e": ("exp", ["n"]), "ze": ("add", ["z", "e"]), "each": ("add", ["ze", "t"]), "loss": ("sum", ["each"])}
    section = {"loss": "loss", "optimizer": {"type": "newton"}}
    fit = make(nodes, {"loss": "loss"}, inputs={"y": ["N"]}, parameters={"m": 0.0, "t": 0.0}, training=section).fit(
        {"y": y}
    )

    def negative(p):
        z = (y - p[0]) / np.exp(p[1])
        return np.sum(z + np.exp(-z) + p[1])

    best = minimize(negative, [2.0, 0.0], method="BFGS", options={"gtol": 1e-9})
    assert [fit.parameters["m"], fit.parameters["t"]] == pytest.approx(best.x, rel=1e-6)
    assert fit.loss == pytest.approx(best.fun, rel=1e-12)
    at, step = np.array([fit.parameters["m"], fit.parameters["t"]]), 1e-3 * np.eye(2)
    hessian = [
        [negative(at + i + j) - negative(at + i - j) - negative(at - i + j) + negative(at - i - j) for i in step]
        for j in step
    ]
    expected = np.linalg.inv(np.array(hessian) / 4e-6)
    np.testing.assert_allclose(fit.covariance, expected, rtol=1e-4)
