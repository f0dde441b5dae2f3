"""The error function and its complements, in array operations of NumPy alone, to a few units of rounding.

erf is its Taylor series at the nearest point of a grid, and the points lie so close that a few terms give full
precision. What erfc has beyond exp(-x**2) varies slowly, and one Chebyshev series covers all positive numbers.
"""

import itertools
import math
from functools import cache

import numpy as np

GRID = 128
"""Points of the grid between 0 and 1."""
LAST = 6
"""From here on the error function is 1 in double precision."""
TERMS = 7
TILE = 2_048
"""Numbers that are worked on at once."""


def erf_series():
    """The coefficients of the Taylor series of erf at all points, a row for each power.

    The derivatives of erf are Hermite polynomials times a bell curve: erf(c + h) = erf(c) + 2 / sqrt(pi) * exp(-c**2) *
    (h - H1(c) h**2 / 2! + H2(c) h**3 / 3! - ...), with H1 = 2 c, H(n+1) = 2 c Hn - 2 n H(n-1) (Abramowitz and Stegun
    1964, 7.1.19).
    """
    c = np.arange(LAST * GRID + 1) / GRID
    bell = 2 / math.sqrt(math.pi) * np.exp(-np.square(c))
    hermite = [np.ones_like(c), 2 * c]
    for n in range(1, TERMS - 2):
        hermite.append(2 * c * hermite[n] - 2 * n * hermite[n - 1])
    values = np.array([math.erf(point) for point in c])
    signs = itertools.cycle((1, -1))
    return [values, *(next(signs) * bell * h / math.factorial(n) for n, h in enumerate(hermite, 1))]


ERF = erf_series()


def in_tiles(function, *arrays):
    """An elementwise function of doubles for arrays of any floating-point dtype; what is between lies in the cache.

    Integers count as doubles, Python numbers take the dtype of the others.
    """
    dtype = np.result_type(*arrays, 0.0)
    arrays = np.broadcast_arrays(*arrays)
    flat = [np.reshape(each, -1) for each in arrays]
    z = np.empty(arrays[0].size, dtype)
    with np.errstate(all="ignore"):  # branches that are not taken, and poles
        for start in range(0, z.size, TILE):
            z[start : start + TILE] = function(*[each[start : start + TILE].astype(np.float64) for each in flat])
    return z.reshape(arrays[0].shape)[()]


def erf(x):
    """The error function, 2 / sqrt(pi) times the integral of exp(-t**2) from 0 to x, to a relative error of 4e-16."""
    return in_tiles(erf_of_some, x)


def erf_of_some(x):
    """The error function of doubles."""
    size = np.minimum(np.abs(x), LAST, dtype=np.float64)
    nearest = np.rint(np.nan_to_num(size) * GRID).astype(np.intp)
    h = size - nearest / GRID
    z = ERF[-1].take(nearest)
    for coefficients in ERF[-2::-1]:
        z = z * h + coefficients.take(nearest)
    return np.copysign(z, x)


ERFCX = (
    1.1775789345674017, -0.004590054580646478, -0.08424913336651792, 0.05920993999819189, -0.026658668435305753,
    0.009074997670705265, -0.002413163540417608, 0.0004907758365258086, -6.916973302501207e-05, 4.13902798607301e-06,
    7.74038306619849e-07, -2.1886401049234397e-07, 1.076499946567091e-08, 4.521959811218287e-09,
    -7.754400208831351e-10, -6.318088340886684e-11, 2.86879501093067e-11, 1.9455868545777347e-13,
    -9.65469674843344e-13, 3.25254814814874e-14, 3.3478119482868056e-14, -1.864562880419313e-15,
    -1.2507950530688648e-15, 7.418235256624044e-17, 5.068148904796111e-17,
)  # fmt: skip
"""The Chebyshev series of (1 + 2 x) * exp(x**2) * erfc(x) in (x - 3.75) / (x + 3.75) (Shepherd and Laframboise 1981).

Computed anew with 60 digits; `tests/test_special.py` compares what comes of it.
"""
LARGE = 1e8
"""From here on erfc(x) * exp(x**2) is 1 / (x * sqrt(pi))."""


def chebyshev(x, coefficients):
    """A Chebyshev series for -1 <= x <= 1, by Clenshaw's recurrence."""
    last, before = np.zeros_like(x), np.zeros_like(x)
    for coefficient in reversed(coefficients[1:]):
        last, before = coefficient + 2 * x * last - before, last
    return coefficients[0] + x * last - before


def erfcx_of_positive(x):
    """exp(x**2) * erfc(x) for x >= 0."""
    near = np.minimum(x, LARGE)
    series = chebyshev((near - 3.75) / (near + 3.75), ERFCX) / (1 + 2 * near)
    return np.where(x < LARGE, series, 1 / (x * math.sqrt(math.pi)))


def bell(x, rate=1.0):
    """exp(-rate * x**2), with the rounding error of the square taken care of."""
    head = np.rint(x * 1024) / 1024  # its square has no rounding error where it counts
    exact = np.exp(-rate * np.square(head)) * np.exp(-rate * (x - head) * (x + head))
    return np.where(np.abs(x) < 1000, exact, np.where(x == x, 0.0, x))


def erfcx(x):
    """exp(x**2) * erfc(x)."""
    positive = erfcx_of_positive(np.abs(x))
    return np.where(x >= 0, positive, np.where(x < 0, 2 / bell(x) - positive, x))


def erfc(x):
    """1 - erf(x), without cancellation."""
    return np.where(x > 0.5, bell(x) * erfcx_of_positive(np.abs(x)), 1 - erf_of_some(x))


def log_erfc(x):
    """The logarithm of erfc(x), far beyond where that is zero."""
    return np.where(x > 0.5, np.log(erfcx_of_positive(np.abs(x))) - np.square(x), np.log1p(-erf_of_some(x)))


def log_ndtr(x):
    """The logarithm of the normal distribution function."""
    t = x / math.sqrt(2)
    scaled = erfcx_of_positive(np.abs(t)) / 2
    above = np.where(x > 1, bell(x, 0.5) * scaled, erfc(t) / 2)
    return np.where(x < -1, np.log(scaled) - x * (x / 2), np.log1p(-above))


def inverse_mills(x):
    """The density of the standard normal distribution over its distribution function."""
    return math.sqrt(2 / math.pi) / erfcx(x * -math.sqrt(0.5))


TERMS_OF_W = 40
OUTSIDE = 7.0
"""From this distance to 0 on, w(z) is a continued fraction."""


@cache
def weideman():
    """The length L and the coefficients of Weideman's rational series of w(z), from the highest power on.

    w(z) = 2 p(Z) / (L - i z)**2 + 1 / sqrt(pi) / (L - i z) with Z = (L + i z) / (L - i z) (Weideman 1994).
    """
    length = math.sqrt(TERMS_OF_W / math.sqrt(2))
    count = 2 * TERMS_OF_W
    angles = np.arange(1 - count, count) * np.pi / count
    t = length * np.tan(angles / 2)
    weights = np.exp(-np.square(t)) * (length**2 + np.square(t)) / (2 * count)
    powers = np.arange(TERMS_OF_W, 0, -1)
    return length, np.sum(weights * np.cos(powers[:, np.newaxis] * angles), axis=1)


def faddeeva(x, y):
    """The Faddeeva function w(x + i y) = exp(-z**2) * erfc(-i z), to 3e-14 of its size."""
    z = x + 1j * np.where(y == np.inf, 1, np.abs(y))
    length, coefficients = weideman()
    near = np.where(np.abs(z) < OUTSIDE, z, 1j)
    denominator = length - 1j * near
    inside = 2 * horner((length + 1j * near) / denominator, coefficients) / np.square(denominator)
    inside += 1 / math.sqrt(math.pi) / denominator
    far = np.where(np.abs(z) < OUTSIDE, 1j * OUTSIDE, z)
    fraction = far
    for k in range(30, 0, -1):
        fraction = far - k / 2 / fraction
    w = np.where(np.abs(z) < OUTSIDE, inside, 1j / math.sqrt(math.pi) / fraction)
    w = np.where(y == np.inf, 0, w)
    return np.where(y < 0, np.conj(2 * np.exp(-np.square(z)) - w), w)


def horner(x, coefficients):
    """A polynomial, from the highest power on."""
    result = np.zeros_like(x)
    for coefficient in coefficients:
        result = result * x + coefficient
    return result
