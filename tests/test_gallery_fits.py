"""A shipped fit with bounds against SciPy, and a counting experiment against its closed form."""

import numpy as np
import pytest
from documents import model as make
from documents import parameter
from scipy.optimize import curve_fit, minimize_scalar
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


def test_a_counting_experiment_has_its_closed_form():
    """n_on = s + b and n_off = 3 b: s = n_on - n_off / 3 with the variance n_on + n_off / 9."""
    nodes = {"seen": ("mul", ["s", "on"]), "below": ("mul", ["b", "exposure"]), "rate": ("add", ["seen", "below"])}
    nodes |= {"loss": ("nll.poisson", ["counts", "rate"])}
    model = make(
        nodes,
        {"rate": "rate", "loss": "loss"},
        inputs={"counts": ["N"], "on": ["N"], "exposure": ["N"]},
        parameters={"s": 10.0, "b": parameter(10.0, bounds=[0.001, None])},
        training={"loss": "loss", "optimizer": {"type": "newton"}},
        opset_imports={"core": 1, "nll": 1},
    )
    data = {"counts": [37.0, 54.0], "on": [1.0, 0.0], "exposure": [1.0, 3.0]}
    fit = model.fit(data, intervals=[0.6826894921370859])
    values, errors = found(fit)
    np.testing.assert_allclose(values, [37 - 54 / 3, 54 / 3], rtol=1e-9)
    np.testing.assert_allclose(errors, [np.sqrt(37 + 54 / 9), np.sqrt(54 / 9)], rtol=1e-8)

    def deviance(signal):
        """Twice the fall of the log-likelihood, at the best background for a signal."""

        def loss(background):
            return -poisson.logpmf([37, 54], [signal + background, 3 * background]).sum()

        least = minimize_scalar(loss, bounds=(1.0, 60.0), method="bounded", options={"xatol": 1e-10}).fun
        return 2 * (least + poisson.logpmf([37, 54], [37, 54]).sum())

    for end in next(iter(fit.intervals.values()))["s"]:
        assert deviance(end) == pytest.approx(1.0, abs=1e-6)
