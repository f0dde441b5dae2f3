"""Exponential and trigonometric functions. Angles are in radians."""

import math

import numpy as np

from graphengine.ops.families.comparison import STOP_GRADIENT, where_defined
from graphengine.ops.families.special import erf
from graphengine.ops.inference import elementwise
from graphengine.ops.node import Node
from graphengine.ops.registry import register


@register("exp", numpy=np.exp, traits=("large_pole",))
class Exp(Node):
    """Exponential, z = exp(x); dz/dx = exp(x)."""

    infer = elementwise

    def forward(self, x):
        return np.exp(x)

    def backward(self, grad, out):
        return grad * out


@register("expm1", numpy=np.expm1, traits=("large_pole",))
class ExpM1(Node):
    """Exponential less one, exact near 0, z = expm1(x); dz/dx = exp(x)."""

    infer = elementwise

    def forward(self, x):
        return np.expm1(x)

    def backward(self, grad, x):
        return grad * np.exp(x)


@register("log", numpy=np.log, traits=("pole",))
class Log(Node):
    """Natural logarithm, z = log(x); dz/dx = 1 / x."""

    infer = elementwise

    def forward(self, x):
        return np.log(x)

    def backward(self, grad, x, out):
        return grad / in_domain(x, out)


@register("log1p", numpy=np.log1p, traits=("pole",))
class Log1P(Node):
    """Natural logarithm of 1 + x, exact near 0, z = log1p(x); dz/dx = 1 / (1 + x)."""

    infer = elementwise

    def forward(self, x):
        return np.log1p(x)

    def backward(self, grad, x, out):
        return grad / (1 + in_domain(x, out))


@register("log2", numpy=np.log2, traits=("pole",))
class Log2(Node):
    """Logarithm to the base 2, z = log2(x); dz/dx = 1 / (x * log(2))."""

    infer = elementwise

    def forward(self, x):
        return np.log2(x)

    def backward(self, grad, x, out):
        return grad / (in_domain(x, out) * math.log(2))


@register("log10", numpy=np.log10, traits=("pole",))
class Log10(Node):
    """Logarithm to the base 10, z = log10(x); dz/dx = 1 / (x * log(10))."""

    infer = elementwise

    def forward(self, x):
        return np.log10(x)

    def backward(self, grad, x, out):
        return grad / (in_domain(x, out) * math.log(10))


@register("sin", numpy=np.sin)
class Sin(Node):
    """Sine, z = sin(x); dz/dx = cos(x)."""

    infer = elementwise

    def forward(self, x):
        return np.sin(x)

    def backward(self, grad, x):
        return grad * np.cos(x)


@register("cos", numpy=np.cos)
class Cos(Node):
    """Cosine, z = cos(x); dz/dx = -sin(x)."""

    infer = elementwise

    def forward(self, x):
        return np.cos(x)

    def backward(self, grad, x):
        return -grad * np.sin(x)


@register("tan", numpy=np.tan, traits=("pole",))
class Tan(Node):
    """Tangent, z = tan(x); dz/dx = 1 + tan(x) ** 2."""

    infer = elementwise

    def forward(self, x):
        return np.tan(x)

    def backward(self, grad, out):
        return grad * (1 + np.square(out))


@register("arcsin", numpy=np.arcsin, traits=("pole",))
class ArcSin(Node):
    """Inverse sine, z = arcsin(x); dz/dx = 1 / sqrt(1 - x**2)."""

    infer = elementwise

    def forward(self, x):
        return np.arcsin(x)

    def backward(self, grad, x):
        return grad / np.sqrt((1 - x) * (1 + x))


@register("arccos", numpy=np.arccos, traits=("pole",))
class ArcCos(Node):
    """Inverse cosine, z = arccos(x); dz/dx = -1 / sqrt(1 - x**2)."""

    infer = elementwise

    def forward(self, x):
        return np.arccos(x)

    def backward(self, grad, x):
        return -grad / np.sqrt((1 - x) * (1 + x))


@register("arctan", numpy=np.arctan)
class ArcTan(Node):
    """Inverse tangent, z = arctan(x); dz/dx = 1 / (1 + x**2)."""

    infer = elementwise

    def forward(self, x):
        return np.arctan(x)

    def backward(self, grad, x):
        return grad / (1 + np.square(x))


@register("arctan2", numpy=np.arctan2)
class ArcTan2(Node):
    """Angle of the point (x, y), z = arctan2(y, x); dz/dy = x / (x**2 + y**2), dz/dx = -y / (x**2 + y**2).

    The squares are those of x and y divided by the larger one, so that they neither overflow nor vanish. At the origin,
    where no angle is defined, z is 0 or pi depending on the signs, as in NumPy, and both derivatives are 0, as in
    PyTorch. Where x is negative and y is 0, z jumps: it is pi, and -pi for a y of -0.0; the derivatives are the same on
    both sides.
    """

    infer = elementwise

    def forward(self, y, x):
        return np.arctan2(y, x)

    def backward(self, grad, y, x):
        size = np.maximum(np.abs(x), np.abs(y))
        larger = np.where(size == 0, 1, size)
        u, v = x / larger, y / larger
        scaled = grad / (larger * np.where(size == 0, 1, np.square(u) + np.square(v)))
        return np.where(size == np.inf, 0, scaled * u), np.where(size == np.inf, 0, -scaled * v)


@register("sinh", numpy=np.sinh, traits=("large_pole",))
class Sinh(Node):
    """Hyperbolic sine, z = sinh(x); dz/dx = cosh(x)."""

    infer = elementwise

    def forward(self, x):
        return np.sinh(x)

    def backward(self, grad, x):
        return grad * np.cosh(x)


@register("cosh", numpy=np.cosh, traits=("large_pole",))
class Cosh(Node):
    """Hyperbolic cosine, z = cosh(x); dz/dx = sinh(x)."""

    infer = elementwise

    def forward(self, x):
        return np.cosh(x)

    def backward(self, grad, x):
        return grad * np.sinh(x)


@register("tanh", numpy=np.tanh)
class Tanh(Node):
    """Hyperbolic tangent, z = tanh(x); dz/dx = 1 - tanh(x) ** 2."""

    infer = elementwise

    def forward(self, x):
        return np.tanh(x)

    def backward(self, grad, out):
        return grad * (1 - np.square(out))


@register("arcsinh", numpy=np.arcsinh)
class ArcSinh(Node):
    """Inverse hyperbolic sine, z = arcsinh(x); dz/dx = 1 / sqrt(x**2 + 1)."""

    infer = elementwise

    def forward(self, x):
        return np.arcsinh(x)

    def backward(self, grad, out):
        return grad / np.cosh(out)


@register("arccosh", numpy=np.arccosh, traits=("pole",))
class ArcCosh(Node):
    """Inverse hyperbolic cosine, z = arccosh(x); dz/dx = 1 / sqrt(x**2 - 1)."""

    infer = elementwise

    def forward(self, x):
        return np.arccosh(x)

    def backward(self, grad, out):
        return grad / np.sinh(out)


@register("arctanh", numpy=np.arctanh, traits=("pole",))
class ArcTanh(Node):
    """Inverse hyperbolic tangent, z = arctanh(x); dz/dx = 1 / (1 - x**2)."""

    infer = elementwise

    def forward(self, x):
        return np.arctanh(x)

    def backward(self, grad, x, out):
        return where_defined(grad / ((1 - x) * (1 + x)), out)


@register("erf")
class Erf(Node):
    """Error function, z = erf(x); dz/dx = 2 / sqrt(pi) * exp(-(x**2))."""

    infer = elementwise

    def forward(self, x):
        return erf(x)

    def backward(self, grad, x):
        return grad * (2 / math.sqrt(math.pi)) * np.exp(-np.square(x))


def in_domain(x, logarithm):
    """x, NaN where its logarithm is: the larger of both, because a logarithm is never larger than its argument."""
    return np.maximum(x, STOP_GRADIENT(logarithm))
