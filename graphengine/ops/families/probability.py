"""Functions that likelihoods are made of: of the gamma and of the error function, and logarithms of probabilities."""

import math
from typing import Annotated

import numpy as np
from pydantic import Field

from graphengine.ops.families import gamma_functions, special
from graphengine.ops.families.comparison import STOP_GRADIENT, where_defined
from graphengine.ops.families.special import in_tiles
from graphengine.ops.inference import elementwise
from graphengine.ops.node import Node
from graphengine.ops.registry import register

SLOPE_AT_0 = 2 / math.sqrt(math.pi)
"""The derivative of the error function at 0."""
LARGE, LARGE_SINGLE = 50.0, 12.0
"""From here on a few terms of an asymptotic series are exact to 13 digits, or to the 7 of single precision."""
FAR = 1000.0
"""Here a normal density is 0."""


@register("lgamma", traits=("pole",))
class LGamma(Node):
    """Logarithm of the absolute value of the gamma function, z = lgamma(x); dz/dx = digamma(x).

    So lgamma(n + 1) is log(n!). Infinite at 0, -1, -2, ...
    """

    infer = elementwise

    def forward(self, x):
        return in_tiles(gamma_functions.lgamma, x)

    def backward(self, grad, x):
        return grad * DIGAMMA(x)


@register("digamma", traits=("pole",))
class Digamma(Node):
    """Derivative of lgamma, z = digamma(x); dz/dx = polygamma(x, order=1).

    NaN at -1, -2, ..., and at 0 the limit from above, -inf.
    """

    infer = elementwise

    def forward(self, x):
        return in_tiles(gamma_functions.digamma, x)

    def backward(self, grad, x):
        return grad * PolyGamma(order=1)(x)


@register("polygamma", traits=("pole",))
class PolyGamma(Node):
    """Derivative of digamma of an order, z = polygamma(x, order); dz/dx = polygamma(x, order + 1).

    The order 1 is called trigamma. At 0 the limit from above; at -1, -2, ... infinite, or NaN where the order is even.
    """

    order: Annotated[int, Field(ge=1, le=150)]

    infer = elementwise

    def forward(self, x):
        return in_tiles(lambda part: gamma_functions.polygamma(self.order, part), x)

    def backward(self, grad, x):
        return grad * PolyGamma(order=self.order + 1)(x)


@register("betaln", traits=("pole",))
class BetaLn(Node):
    """Logarithm of the absolute value of the beta function.

    z = lgamma(a) + lgamma(b) - lgamma(a + b);
    dz/da = digamma(a) - digamma(a + b), dz/db = digamma(b) - digamma(a + b).

    It has full precision for large positive numbers, where the three terms cancel (Didonato and Morris 1992).
    """

    infer = elementwise

    def forward(self, a, b):
        return in_tiles(gamma_functions.betaln, a, b)

    def backward(self, grad, a, b, out):
        of_sum = DIGAMMA(a + b)
        return grad * slope_of_betaln(a, of_sum, out), grad * slope_of_betaln(b, of_sum, out)


@register("erfc")
class ErfC(Node):
    """Complementary error function, exact where it is small, z = erfc(x); dz/dx = -2 / sqrt(pi) * exp(-(x**2))."""

    infer = elementwise

    def forward(self, x):
        return in_tiles(special.erfc, x)

    def backward(self, grad, x):
        return grad * -SLOPE_AT_0 * np.exp(-np.square(x))


@register("erfcx", traits=("pole",))
class ErfCX(Node):
    """Scaled complementary error function, z = exp(x**2) * erfc(x); dz/dx = 2 * x * z - 2 / sqrt(pi)."""

    infer = elementwise

    def forward(self, x):
        return in_tiles(special.erfcx, x)

    def backward(self, grad, x, out):
        return grad * slope_of_erfcx(x, out)


@register("inverse_mills", traits=("pole",))
class InverseMills(Node):
    """Derivative of log_ndtr, z = sqrt(2 / pi) / erfcx(-x / sqrt(2)); dz/dx = -z * (x + z).

    The density of the standard normal distribution over its distribution function. For large -x it is about -x; there
    the derivative is an asymptotic series, because x + z cancels (Abramowitz and Stegun 1964, 26.2.12).
    """

    infer = elementwise

    def forward(self, x):
        return in_tiles(special.inverse_mills, x)

    def backward(self, grad, x, out):
        return -grad * product_of_mills(x, out)


@register("log_ndtr", traits=("pole",))
class LogNdtr(Node):
    """Logarithm of the standard normal distribution function, z = log_ndtr(x); dz/dx = inverse_mills(x).

    Finite where the probability itself is zero. The logarithm of 1 - Phi(x) is log_ndtr(-x).
    """

    infer = elementwise

    def forward(self, x):
        return in_tiles(special.log_ndtr, x)

    def backward(self, grad, x):
        return grad * INVERSE_MILLS(x)


@register("log_erfc", traits=("pole",))
class LogErfC(Node):
    """Logarithm of erfc, finite where that is zero.

    z = log_erfc(x); dz/dx = -sqrt(2) * inverse_mills(-sqrt(2) * x).
    """

    infer = elementwise

    def forward(self, x):
        return in_tiles(special.log_erfc, x)

    def backward(self, grad, x):
        return grad * (-math.sqrt(2) * INVERSE_MILLS(x * -math.sqrt(2)))


@register("faddeeva_real", traits=("pole",))
class FaddeevaReal(Node):
    """Real part of the Faddeeva function w(x + i y), the Voigt function.

    z = real(w(x + 1j * y)) with w(z) = exp(-z**2) * erfc(-1j * z);
    dz/dx = 2 * (y * imag(w(x + 1j * y)) - x * z), dz/dy = 2 * (x * imag(w(x + 1j * y)) + y * z) - 2 / sqrt(pi).

    Exact to 3e-14 of abs(w), for y of any sign (Weideman 1994; beyond 7 a continued fraction).
    """

    infer = elementwise

    def forward(self, x, y):
        return in_tiles(lambda *part: special.faddeeva(*part).real, x, y)

    def backward(self, grad, x, y, out):
        imag = FADDEEVA_IMAG(x, y)
        return vanishing(grad, x, y, out, 2 * (y * imag - x * out), 2 * (x * imag + y * out) - SLOPE_AT_0)


@register("faddeeva_imag", traits=("pole",))
class FaddeevaImag(Node):
    """Imaginary part of the Faddeeva function w(x + i y).

    z = imag(w(x + 1j * y)) with w(z) = exp(-z**2) * erfc(-1j * z);
    dz/dx = 2 / sqrt(pi) - 2 * (x * z + y * real(w(x + 1j * y))), dz/dy = 2 * (y * z - x * real(w(x + 1j * y))).

    On the real axis 2 / sqrt(pi) times Dawson's integral. Exact as `faddeeva_real`.
    """

    infer = elementwise

    def forward(self, x, y):
        return in_tiles(lambda *part: special.faddeeva(*part).imag, x, y)

    def backward(self, grad, x, y, out):
        real = FADDEEVA_REAL(x, y)
        return vanishing(grad, x, y, out, SLOPE_AT_0 - 2 * (x * out + y * real), 2 * (y * out - x * real))


@register("xlogy", traits=("pole",))
class XLogY(Node):
    """Product of x and the logarithm of y, zero where x is.

    z = 0.0 if x == 0 else x * log(y); dz/dx = log(y), dz/dy = 0.0 if x == 0 else x / y.

    Where x is zero, y is ignored, even if it is zero or negative; only NaN gives NaN.
    """

    infer = elementwise

    def forward(self, x, y):
        return x * np.log(np.where(np.logical_and(x == 0, y == y), 1.0, y))

    def backward(self, grad, x, y, out):
        return grad * np.log(y), where_defined(grad * (x / np.where(x == 0, 1.0, y)), out)


def slope_of_erfcx(x, out):
    """The derivative of erfcx, for large x by its asymptotic series (Abramowitz and Stegun 1964, 7.1.23)."""
    large = large_for(x)
    far, near = 1 / np.square(np.maximum(x, large)), np.minimum(x, large)
    series = 1 - far * (1.5 - far * (3.75 - far * (13.125 - far * 59.0625)))
    return np.where(x > large, -SLOPE_AT_0 / 2 * far * series, 2 * near * out - SLOPE_AT_0)


def product_of_mills(x, out):
    """z * (x + z) for z = inverse_mills(x), for large -x by its asymptotic series (the same, 26.2.12)."""
    large = large_for(x)
    far = 1 / np.minimum(x, -large)
    square = np.square(far)
    series = 1 - square * (2 - square * (10 - square * (74 - square * 706)))
    return np.where(x < -large, series + np.square(far * series), out * (np.clip(x, -large, FAR) + out))


def large_for(x):
    """The bound of a series: what cancels below it loses digits with the square of x, so fewer digits end earlier."""
    return LARGE if x.dtype == np.float64 else LARGE_SINGLE


def slope_of_betaln(x, of_sum, out):
    """The derivative of betaln with respect to x, 0 where x is infinite and NaN where the result is."""
    return where_defined(np.where(x == np.inf, 0, DIGAMMA(x) - of_sum), out)


def vanishing(grad, x, y, out, dx, dy):
    """The gradients of a Faddeeva function, which vanish where it does itself: where x or y is infinite."""
    far = np.maximum(np.abs(x), y) == np.inf
    return grad * np.where(far, STOP_GRADIENT(out), dx), grad * np.where(far, STOP_GRADIENT(out), dy)


DIGAMMA = Digamma()
INVERSE_MILLS = InverseMills()
FADDEEVA_REAL = FaddeevaReal()
FADDEEVA_IMAG = FaddeevaImag()
