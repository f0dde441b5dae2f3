"""All nonlinear problems of NIST's Statistical Reference Datasets, from both starts, with one default setting."""

import numpy as np
import pytest
from nist import PROBLEMS, fitted

DIGITS_OF_ERRORS = {"Lanczos1": 3}
"""Its residuals are 1e-13 of data that are 2.5, so its data lose these digits as they become doubles: from the doubles
arithmetic of 60 digits gives errors with 3.36 of NIST's. All others have 10, Lanczos2 10.2 of at most 10.4."""
MOST_STEPS = {"Bennett5": 595, "MGH17": 355}
"""Half of the steps that SciPy's method takes from the first start, with Newton's after it (docs/design.md)."""


def digits(found, certified):
    """The fewest digits in which results agree: NIST's LRE."""
    errors = [abs(got - exact) / abs(exact) for got, exact in zip(found, certified, strict=True)]
    return -np.log10(max(*errors, 1e-16))


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("name", PROBLEMS)
def test_each_problem_has_its_certified_values(name, start):
    problem = PROBLEMS[name]
    model, data = fitted(name, problem["starts"][start])
    fit = model.fit(data, residual="residual")
    assert fit.converged
    assert not fit.undetermined
    values, errors = ([float(each) for each in part.values()] for part in (fit.parameters, fit.standard_errors))
    assert digits(values, problem["parameters"]) >= 10
    assert digits(errors, problem["standard_errors"]) >= DIGITS_OF_ERRORS.get(name, 10)
    assert len(fit.history) <= MOST_STEPS.get(name, 200)


def test_a_start_in_single_precision_costs_no_digits():
    problem = PROBLEMS["Misra1a"]
    model, data = fitted("Misra1a", problem["starts"][0])
    for name, value in zip(("b1", "b2"), problem["starts"][0], strict=True):
        model.parameters[name] = np.float32(value)
    fit = model.fit(data, residual="residual")
    assert digits([float(each) for each in fit.parameters.values()], problem["parameters"]) >= 10


@pytest.mark.parametrize("name", ["Lanczos1", "Lanczos2", "Lanczos3"])
@pytest.mark.parametrize("start", [[1, 0.5, 1, 0.5, 1.5, 5], [1.0, 1, 1, 1, 1, 1]])
def test_terms_that_begin_alike_part(name, start):
    """By symmetry the slope and the Jacobian of equal terms are equal, and their sum alone has a minimum."""
    model, data = fitted(name, start)
    fit = model.fit(data, residual="residual")
    assert fit.converged
    assert fit.residual_sum_of_squares <= PROBLEMS[name]["residual_sum_of_squares"] * (1 + 1e-6) + 1e-20
    assert not fit.undetermined
