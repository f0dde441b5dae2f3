"""The fits that come with the package, against SciPy, statsmodels, equations of the maximum and closed forms."""

import numpy as np
import pytest
from documents import model as make
from scipy.optimize import curve_fit, minimize_scalar, root
from scipy.stats import poisson

import graphengine as ge


def found(fit):
    """Parameters and standard errors of a fit, in order."""
    return [np.array([float(part[name]) for name in fit.coordinates]) for part in (fit.parameters, fit.standard_errors)]


def by_curve_fit(function, x, y, near, **options):
    """SciPy's result from the solution, to its last digits, without bounds, which hold nothing here."""
    tight = dict.fromkeys(("ftol", "xtol", "gtol"), 1e-14)
    best, covariance = curve_fit(function, x, y, near, **tight, **options)
    return best, np.sqrt(np.diag(covariance))


def two_decays(x, fast, fast_time, slow, slow_time):
    return fast * np.exp(-x / fast_time) + slow * np.exp(-x / slow_time)


def test_two_decays_have_the_parameters_and_errors_of_curve_fit():
    model = ge.load("two_decays")
    data, fit = model.load_data(), model.fit()
    assert fit.converged
    assert not fit.at_bounds
    values, errors = found(fit)
    best, expected = by_curve_fit(two_decays, data["x"], data["y"], values)
    np.testing.assert_allclose(values, best, rtol=1e-6)
    np.testing.assert_allclose(errors, expected, rtol=1e-4)  # its Jacobian is one of differences


def test_a_dose_response_on_a_bound_is_the_fit_with_this_parameter_fixed():
    model = ge.load("dose_response")
    data, fit = model.load_data(), model.fit()
    assert fit.converged
    assert [each[:3] for each in fit.at_bounds] == [("bottom", "lower", 0.0)]
    values, errors = found(fit)

    def curve(dose, top, ec50, hill):
        return top / (1 + (ec50 / dose) ** hill)

    assert values[0] == 0
    best, expected = by_curve_fit(curve, data["dose"], data["response"], values[1:])
    np.testing.assert_allclose(values[1:], best, rtol=1e-6)
    np.testing.assert_allclose(errors[1:], expected, rtol=1e-4)  # its Jacobian is one of differences
    bounded, _ = curve_fit(
        lambda dose, bottom, top, ec50, hill: bottom + curve(dose, top - bottom, ec50, hill),
        data["dose"],
        data["response"],
        [1.0, 90.0, 1.0, 1.0],
        bounds=([0, 0, 0.001, 0.1], [np.inf, 120, 1000, 10]),
    )
    np.testing.assert_allclose(values, bounded, rtol=1e-4, atol=1e-4)  # SciPy stays within its bounds


def test_poisson_regression_is_that_of_statsmodels():
    """The figures are those of statsmodels 0.15.0: GLM of the family Poisson with exposure 14, tol=1e-15."""
    fit = ge.load("poisson_counts").fit()
    values, errors = found(fit)
    np.testing.assert_allclose(values, [-0.16031899490700247, 0.22464743320518285, -0.667939234400403], rtol=1e-10)
    np.testing.assert_allclose(errors, [0.10162707255288891, 0.13695351327716088, 0.26028867892776014], rtol=1e-8)
    assert fit.log_likelihood == pytest.approx(-54.96188879764809, rel=1e-10)


def test_logistic_regression_is_that_of_statsmodels():
    """Beetles killed by carbon disulfide (Bliss 1935); the figures are those of statsmodels 0.15.0, GLM, Binomial."""
    nodes = {"rise": ("mul", ["slope", "dose"]), "logit": ("add", ["intercept", "rise"])}
    nodes |= {"loss": ("nll.binomial_logit", ["killed", "beetles", "logit"])}
    model = make(
        nodes,
        {"logit": "logit", "loss": "loss"},
        inputs={"dose": ["N"], "beetles": ["N"], "killed": ["N"]},
        parameters={"intercept": 0.0, "slope": 0.0},
        training={"loss": "loss", "optimizer": {"type": "newton"}},
        opset_imports={"core": 1, "nll": 1},
    )
    data = {
        "dose": [1.6907, 1.7242, 1.7552, 1.7842, 1.8113, 1.8369, 1.8610, 1.8839],
        "beetles": [59, 60, 62, 56, 63, 59, 62, 60],
        "killed": [6, 13, 18, 28, 52, 53, 61, 60],
    }
    fit = model.fit(data)
    values, errors = found(fit)
    np.testing.assert_allclose(values, [-60.7174545616353, 34.27032573414692], rtol=1e-10)
    np.testing.assert_allclose(errors, [5.180711463340782, 2.9121400706357186], rtol=1e-8)
    assert fit.log_likelihood == pytest.approx(-18.715134657256023, rel=1e-10)


def peak(parameters, x):
    """The rate in each bin, and its derivatives with respect to the parameters."""
    amplitude, center, sigma, _, slope = parameters
    score = (x - center) / sigma
    bell = np.exp(-0.5 * score**2) / (sigma * np.sqrt(2 * np.pi))
    rate = amplitude * bell + parameters[3] + slope * (x - 30)
    of_peak = [bell, amplitude * bell * score / sigma, amplitude * bell * (score**2 - 1) / sigma]
    return rate, np.array([*of_peak, np.ones_like(x), x - 30])


def test_a_peak_on_background_solves_the_likelihood_equations():
    model = ge.load("peak_on_background")
    data, fit = model.load_data(), model.fit()
    assert fit.converged
    assert not fit.at_bounds
    values, errors = found(fit)

    def slope_of_loss(parameters):
        rate, derivatives = peak(parameters, data["channel"])
        return derivatives @ (1 - data["counts"] / rate)

    best = root(slope_of_loss, values * 1.01, options={"xtol": 1e-13}).x
    np.testing.assert_allclose(values, best, rtol=1e-9)
    steps = 1e-5 * np.diag(np.abs(best))
    hessian = [(slope_of_loss(best + step) - slope_of_loss(best - step)) / (2 * step.max()) for step in steps]
    np.testing.assert_allclose(errors, np.sqrt(np.diag(np.linalg.inv(hessian))), rtol=1e-6)
    rate, _ = peak(values, data["channel"])
    assert fit.log_likelihood == pytest.approx(poisson.logpmf(data["counts"], rate).sum(), rel=1e-12)


def test_a_counting_experiment_has_its_closed_form():
    """n_on = s + b and n_off = 3 b: s = n_on - n_off / 3 with the variance n_on + n_off / 9."""
    fit = ge.load("counting_experiment").fit(intervals=[0.6826894921370859])
    values, errors = found(fit)
    np.testing.assert_allclose(values, [37 - 54 / 3, 54 / 3], rtol=1e-9)
    np.testing.assert_allclose(errors, [np.sqrt(37 + 54 / 9), np.sqrt(54 / 9)], rtol=1e-8)

    def deviance(signal):
        """Twice the fall of the log-likelihood, at the best background for a signal."""

        def loss(background):
            return -poisson.logpmf([37, 54], [signal + background, 3 * background]).sum()

        least = minimize_scalar(loss, bounds=(1.0, 60.0), method="bounded", options={"xatol": 1e-10}).fun
        return 2 * (least + poisson.logpmf([37, 54], [37, 54]).sum())

    for end in next(iter(fit.intervals.values()))["signal"]:
        assert deviance(end) == pytest.approx(1.0, abs=1e-6)
