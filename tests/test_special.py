"""Special functions of our own: to a few units of rounding over their whole range, and their values at its ends."""

import math

import mpmath
import numpy as np
import pytest
from documents import document
from samples.table import by_element
from scipy import special

import graphengine as ge
from graphengine.backends.reference.executor import Executor
from graphengine.ops.registry import OPS

RANDOM = np.random.default_rng(0)
POSITIVE = np.concatenate([10.0 ** RANDOM.uniform(-8, 8, 2000), RANDOM.uniform(0, 12, 2000)])
NEGATIVE = -RANDOM.uniform(0, 20, 2000)
REAL = np.concatenate([RANDOM.normal(size=2000) * 3, RANDOM.uniform(-6, 26, 2000), RANDOM.normal(size=500) * 1e-6])
NEAR = RANDOM.normal(size=500) * 1e-4
ROOT = 1.4616321449683623


def op(name, *arrays, **attributes):
    return OPS[name].cls(**attributes).forward(*arrays)


def lgamma_bends(z, less=0):
    """The terms from the second on of lgamma at 1, or at 2 with `less` = 1 (Abramowitz and Stegun 1964, 6.1.33)."""
    return sum((-z) ** k * (special.zeta(k) - less) / k for k in range(2, 8))


def digits_lost(got, expected):
    """The largest relative error, in units of rounding."""
    return np.max(np.abs(got - expected) / np.abs(expected)) / np.finfo(float).eps


@pytest.mark.parametrize(
    ("name", "oracle", "x", "most"),
    [
        ("lgamma", special.gammaln, POSITIVE[(POSITIVE < 0.7) | (POSITIVE > 2.3)], 40),
        ("lgamma", lambda x: -np.euler_gamma * (x - 1) + lgamma_bends(x - 1), 1 + NEAR, 40),
        ("lgamma", lambda x: (1 - np.euler_gamma) * (x - 2) + lgamma_bends(x - 2, less=1), 2 + NEAR, 40),
        ("digamma", special.digamma, POSITIVE, 40),
        ("digamma", special.digamma, ROOT + RANDOM.normal(size=500) * 1e-2, 40),
        ("digamma", special.digamma, NEGATIVE, 1e4),
        ("erfc", by_element(math.erfc), REAL, 40),
        ("erfcx", special.erfcx, np.concatenate([REAL, POSITIVE]), 40),
        ("log_ndtr", special.log_ndtr, np.concatenate([REAL[REAL < 0], -POSITIVE[POSITIVE < 1e6]]), 100),
        ("log_ndtr", lambda x: np.log1p(-by_element(math.erfc)(x / np.sqrt(2)) / 2), REAL[np.abs(REAL) < 2], 40),
    ],
)
def test_a_special_function_agrees_with_another_library_over_its_range(name, oracle, x, most):
    """Within a few units of rounding of either; next to a zero at a negative number both lose digits.

    Next to 1 and 2 lgamma is compared with its series, because SciPy and Python keep only half of the digits there.
    """
    assert digits_lost(op(name, x), oracle(x)) < most


@pytest.mark.parametrize("order", [1, 2, 3, 7, 20])
def test_polygamma_agrees_with_scipy_and_its_recurrence(order):
    x = POSITIVE[(POSITIVE > 1e-3) & (POSITIVE < 1e4)]
    assert digits_lost(op("polygamma", x, order=order), special.polygamma(order, x)) < 100
    beside = op("polygamma", NEGATIVE, order=order) - op("polygamma", NEGATIVE + 1, order=order)
    step = (-1) ** (order + 1) * special.factorial(order) / NEGATIVE ** (order + 1)
    scale = np.abs(step) + np.abs(op("polygamma", NEGATIVE, order=order))
    assert np.max(np.abs(beside - step) / scale) < 1e-13


def test_betaln_keeps_its_digits_where_its_terms_cancel():
    """ln B(a, b) for b = 1, 2, 3 is a rational function in a: 1 / a, 1 / (a (a + 1)), 2 / (a (a + 1) (a + 2))."""
    a = 10.0 ** RANDOM.uniform(-3, 12, 1000)
    np.testing.assert_allclose(op("betaln", a, 1.0), -np.log(a), rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(op("betaln", 2.0, a), -np.log(a) - np.log1p(a), rtol=1e-14, atol=1e-15)
    three = np.log(2) - np.log(a) - np.log1p(a) - np.log(2 + a)
    np.testing.assert_allclose(op("betaln", a, 3.0), three, rtol=1e-14, atol=1e-14)
    large, other = 10.0 ** RANDOM.uniform(1, 3, 1000), 10.0 ** RANDOM.uniform(1, 3, 1000)
    expected = special.gammaln(large) + special.gammaln(other) - special.gammaln(large + other)
    np.testing.assert_allclose(op("betaln", large, other), expected, rtol=1e-10)


def test_logarithms_of_probabilities_go_far_into_the_tails():
    x = np.array([10.0, 100.0, 1e4, 1e8])
    leading = -(x**2) / 2 - np.log(x * np.sqrt(2 * np.pi)) + np.log1p(-1 / x**2 + 3 / x**4 - 15 / x**6)
    np.testing.assert_allclose(op("log_ndtr", -x), leading, rtol=1e-7)
    np.testing.assert_allclose(op("log_erfc", x / np.sqrt(2)), leading + np.log(2), rtol=1e-7)
    np.testing.assert_allclose(op("log_ndtr", x), [-special.ndtr(-10.0), 0, 0, 0], rtol=1e-12)
    np.testing.assert_allclose(op("inverse_mills", -x), x + 1 / x, rtol=1e-3)
    far = np.array([15.0, 25.0, 37.0])
    tail = (
        np.exp(-(far**2) / 2) / (far * np.sqrt(2 * np.pi)) * (1 - 1 / far**2 + 3 / far**4 - 15 / far**6 + 105 / far**8)
    )
    np.testing.assert_allclose(op("log_ndtr", far), -tail, rtol=1e-6)


ENDS = np.array([0.0, -0.0, -1.0, -2.0, np.inf, -np.inf, np.nan])


@pytest.mark.parametrize(
    ("name", "attributes", "expected"),
    [
        ("lgamma", {}, [np.inf, np.inf, np.inf, np.inf, np.inf, np.nan, np.nan]),
        ("digamma", {}, [-np.inf, -np.inf, np.nan, np.nan, np.inf, np.nan, np.nan]),
        ("polygamma", {"order": 1}, [np.inf, np.inf, np.inf, np.inf, 0, np.nan, np.nan]),
        ("polygamma", {"order": 2}, [-np.inf, -np.inf, np.nan, np.nan, 0, np.nan, np.nan]),
        ("erfc", {}, [1, 1, 1.8427007929497148, 1.9953222650189527, 0, 2, np.nan]),
        ("erfcx", {}, [1, 1, 5.0089800807622, 108.94090439, 0, np.inf, np.nan]),
        ("log_erfc", {}, [0, 0, math.log(math.erfc(-1)), math.log(math.erfc(-2)), -np.inf, np.log(2), np.nan]),
        ("log_ndtr", {}, [-np.log(2), -np.log(2), -1.8410216450093, -3.7831843336821, 0, -np.inf, np.nan]),
        ("inverse_mills", {}, [0.7978845608, 0.7978845608, 1.5251352761, 2.3732155328, 0, np.inf, np.nan]),
    ],
)
def test_the_values_at_poles_and_ends(name, attributes, expected):
    np.testing.assert_allclose(op(name, ENDS, **attributes), expected, rtol=1e-9)


def test_xlogy_is_zero_where_x_is_whatever_y_is_but_nan():
    x, y = np.array([0.0, 0.0, -0.0, 0.0, 0.0, 2.0]), np.array([0.0, -1.0, np.inf, 3.0, np.nan, 0.0])
    with np.errstate(all="ignore"):
        found = op("xlogy", x, y)
        _, toward_y = OPS["xlogy"].cls().backward(np.ones(6), x, y, found)
    np.testing.assert_array_equal(found, [0, 0, 0, 0, np.nan, -np.inf])
    np.testing.assert_array_equal(toward_y, [0, 0, 0, 0, np.nan, np.inf])


@pytest.mark.parametrize("name", ["lgamma", "digamma", "erfc", "log_ndtr"])
def test_single_precision_is_computed_in_double_and_rounded_once(name):
    x = np.abs(REAL).astype(np.float32)
    np.testing.assert_array_equal(op(name, x), op(name, x.astype(float)).astype(np.float32))


def test_a_table_whose_points_do_not_increase_gives_nan():
    x = np.array([0.5, 2.0])
    assert np.isnan(op("interp", x, np.array([0.0, 0.0, 1.0]), np.zeros(3))).all()
    np.testing.assert_array_equal(op("interp", x, np.array([0.0, 1.0]), np.array([3.0, 5.0])), [4.0, 5.0])


MILLS = {
    "inverse_mills": lambda x: mpmath.npdf(x) / mpmath.ncdf(x),
    "erfcx": lambda x: mpmath.exp(x * x) * mpmath.erfc(x),
}


@pytest.mark.parametrize(("dtype", "tolerances"), [("float32", (1e-4, 0.02)), ("float64", (1e-11, 1e-5))])
@pytest.mark.parametrize(("name", "sign"), [("inverse_mills", -1), ("erfcx", 1)])
def test_derivatives_that_cancel_keep_digits_far_out(name, sign, dtype, tolerances):
    x = sign * np.array([3.0, 5.0, 8.0, 11.9, 12.1, 15.0, 20.0, 49.0, 51.0, 300.0])
    graph = ge.Model.from_dict(document({"z": (name, ["x"])}, {"z": "z"}, inputs={"x": []}, dtype=dtype)).graph
    for order, tolerance in enumerate(tolerances, 1):
        graph = ge.gradient(graph, of=next(iter(graph.outputs)), wrt=["x"])
        executor, (output,) = Executor(graph), graph.outputs.values()
        found = [executor.forward({"x": np.array(each, dtype)})[executor.slot_of[output]] for each in x]
        with mpmath.workdps(80):
            expected = [float(mpmath.diff(MILLS[name], mpmath.mpf(float(np.array(each, dtype))), order)) for each in x]
        np.testing.assert_allclose(found, expected, rtol=tolerance)
