"""The logarithm of the gamma function and its derivatives, in array operations of NumPy alone.

Large arguments have an asymptotic series (Abramowitz and Stegun 1964, 6.1.40, 6.3.18, 23.1.30); smaller ones are
brought there, or next to 2, by the recurrence gamma(x + 1) = x * gamma(x), and negative ones by reflection. At positive
zeros of the functions, where such sums cancel, a Taylor series keeps the relative error at a few units of rounding.
"""

import math
from functools import cache

import numpy as np

BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
"""The even Bernoulli numbers, from the second on."""
FAR = 10.0
"""From here on the asymptotic series of lgamma and digamma are exact in double precision."""
EULER = 0.5772156649015329
ROOT, ROOT_REST = 1.4616321449683622, 9.549995429965697e-17
"""The positive zero of digamma, as a sum of two doubles."""
NEAR_ROOT = 0.25


def hurwitz(order, x):
    """The sum of (x + k)**-order over k = 0, 1, 2, ..., for an integer order from 2 on and x > 0."""
    near_sum = np.zeros_like(x)
    for _ in range(math.ceil(FAR) + order):
        near = x < FAR + order
        near_sum += np.where(near, x**-order, 0.0)
        x = np.where(near, x + 1, x)
    tail = 1 / (order - 1) + 0.5 / x  # in units of x**(1 - order)
    for place, number in enumerate(BERNOULLI, 1):
        rising = math.prod(range(order, order + 2 * place - 1))
        tail += number * rising / math.factorial(2 * place) / x ** (2 * place)
    return near_sum + tail * x ** (1.0 - order)


def taylor_of_digamma(x, count):
    """The coefficients of the Taylor series of digamma at x, from the power 1 on."""
    return [(-1) ** (k + 1) * float(hurwitz(k + 1, np.array(x))) for k in range(1, count)]


@cache
def lgamma_at_two():
    """The Taylor series of lgamma at 2."""
    return [0.0, 1 - EULER, *(number / (k + 2) for k, number in enumerate(taylor_of_digamma(2.0, 30)))]


@cache
def digamma_at_root():
    """The Taylor series of digamma at its zero."""
    return [0.0, *taylor_of_digamma(ROOT, 24)]


def horner(x, coefficients):
    """A polynomial, from the constant on."""
    result = np.zeros_like(x)
    for coefficient in reversed(coefficients):
        result = result * x + coefficient
    return result


def stirling_rest(x):
    """What lgamma has beyond (x - 1/2) * log(x) - x + log(2 * pi) / 2, for x from `FAR` on."""
    total = np.zeros_like(x)
    for place in range(len(BERNOULLI), 0, -1):
        total = total / x**2 + BERNOULLI[place - 1] / (2 * place * (2 * place - 1))
    return total / x


def lgamma(x):
    """The logarithm of the absolute value of the gamma function."""
    positive = np.where(x > 0, x, 1 - x)
    far = positive >= FAR
    large, small = np.where(far, positive, FAR), np.where(far, 2.0, positive)
    result = np.where(far, (large - 0.5) * np.log(large) - large + math.log(2 * math.pi) / 2, 0.0)
    result = np.where(far, result + stirling_rest(large), lgamma_near(small))
    result = np.where(np.isposinf(x), np.inf, result)
    sine = np.abs(np.sin(np.pi * (x - np.rint(x))))
    return np.where(x > 0, result, math.log(math.pi) - np.log(sine) - result)


def lgamma_near(x):
    """The same for 0 < x < `FAR`: the recurrence leads to the neighborhood of 2."""
    above, down = np.ones_like(x), x
    for _ in range(math.ceil(FAR) - 2):
        high = down >= 2.5
        down = np.where(high, down - 1, down)
        above *= np.where(high, down, 1.0)
    beyond_two = np.where(x < 0.5, x, np.where(x < 1.5, x - 1, down - 2))  # x + 1 and x + 2 would be rounded
    below = np.where(x < 0.5, np.log(x) + np.log1p(x), np.where(x < 1.5, np.log1p(x - 1), 0.0))
    return horner(beyond_two, lgamma_at_two()) + np.log(above) - below


def digamma(x):
    """The derivative of lgamma."""
    positive = np.where(x > 0, x, 1 - x)
    far, near_sum = positive, np.zeros_like(x)
    for _ in range(math.ceil(FAR)):
        near = far < FAR
        near_sum += np.where(near, 1 / far, 0.0)
        far = np.where(near, far + 1, far)
    rest = np.zeros_like(x)
    for place in range(len(BERNOULLI), 0, -1):
        rest = (rest + BERNOULLI[place - 1] / (2 * place)) / far**2
    result = np.log(far) - 0.5 / far - rest - near_sum
    shift = np.clip(positive - ROOT - ROOT_REST, -NEAR_ROOT, NEAR_ROOT)
    result = np.where(np.abs(positive - ROOT) < NEAR_ROOT, horner(shift, digamma_at_root()), result)
    result = np.where(x > 0, result, result - np.pi * cotangent_of_turns(x))
    return np.where(x == 0, -np.inf, result)


def cotangent_of_turns(x):
    """The cotangent of pi * x, NaN at its poles."""
    part = x - np.rint(x)
    return np.where(part == 0, np.nan, 1 / np.tan(np.pi * part))


def polygamma(order, x):
    """The derivative of digamma of an order from 1 on."""
    positive = np.where(x > 0, x, 1 - x)
    sign = (-1.0) ** (order + 1)
    result = sign * math.factorial(order) * hurwitz(order + 1, positive)
    of_cotangent = [0.0, 1.0]
    for _ in range(order):  # the derivative of p(cot) is -(1 + cot**2) * p'(cot)
        slope = [power * number for power, number in enumerate(of_cotangent)][1:]
        of_cotangent = [-low - high for low, high in zip([*slope, 0.0, 0.0], [0.0, 0.0, *slope], strict=True)]
    reflected = np.pi ** (order + 1) * horner(cotangent_of_turns(x), of_cotangent)
    result = np.where(x > 0, result, -sign * result - reflected)
    pole = sign * np.inf if order % 2 else np.where(x == 0, -np.inf, np.nan)
    return np.where((x <= 0) & (x == np.rint(x)) & np.isfinite(x), pole, result)


def betaln(a, b):
    """The logarithm of the absolute value of the beta function, lgamma(a) + lgamma(b) - lgamma(a + b).

    For large positive numbers the large parts are canceled by hand (Didonato and Morris 1992).
    """
    small, large = np.minimum(a, b), np.maximum(a, b)
    near = lgamma(small) + lgamma(large) - lgamma(small + large)
    far, part = np.where(large >= FAR, large, FAR), np.where(small > 0, small, 1.0)
    rest = stirling_rest(far) - stirling_rest(part + far)
    one_far = lgamma(part) + part - part * np.log(part + far) - (far - 0.5) * np.log1p(part / far) + rest
    both = np.where(part >= FAR, part, FAR)
    logarithms = (both - 0.5) * np.log(both / (both + far)) - 0.5 * np.log(far) - far * np.log1p(both / far)
    two_far = logarithms + math.log(2 * math.pi) / 2 + stirling_rest(both) + rest
    result = np.where(small >= FAR, two_far, one_far)
    finite = np.where((large >= FAR) & (small > 0), result, near)
    finite = np.where((large == 0) & (small == 0), np.inf, finite)
    return np.where((large == np.inf) & (small > 0), -np.inf, finite)
