"""Activation functions, in forms that neither overflow nor lose digits for large arguments.

Names, attributes and their defaults are those of PyTorch. At a kink the derivative is that of the left side. Pieces are
added up, each times 1 or 0: `where` takes several times as long on numbers of random signs, because processors cannot
foresee its choices.
"""

import math
from typing import Literal

import numpy as np

from graphengine.ops.families.comparison import STOP_GRADIENT, by_sign, where_defined
from graphengine.ops.families.elementary import Erf
from graphengine.ops.families.linear import dot_along
from graphengine.ops.families.reductions import Max
from graphengine.ops.inference import along_axis, elementwise
from graphengine.ops.node import Node
from graphengine.ops.registry import register
from graphengine.ops.sums import sum_over


@register("relu")
class Relu(Node):
    """Rectified linear unit, z = maximum(x, 0); dz/dx = (x > 0)."""

    infer = elementwise

    def forward(self, x):
        return np.maximum(x, 0)

    def backward(self, grad, out):
        return grad * STOP_GRADIENT(np.sign(out))


@register("leaky_relu")
class LeakyRelu(Node):
    """Leaky rectified linear unit, z = where(x > 0, x, negative_slope * x); dz/dx = where(x > 0, 1, negative_slope)."""

    infer = elementwise
    negative_slope: float = 0.01

    def forward(self, x):
        return np.maximum(x, 0) + self.negative_slope * np.minimum(x, 0)

    def backward(self, grad, x):
        return grad * by_sign(x, self.negative_slope, 1)


@register("prelu")
class Prelu(Node):
    """Learned slope, z = where(x > 0, x, slope * x); dz/dx = where(x > 0, 1, slope), dz/dslope = where(x > 0, 0, x).

    The slope broadcasts against x by NumPy's rules; for one slope per channel of an image use the shape (C, 1, 1). He
    et al., Delving Deep into Rectifiers, 2015.
    """

    infer = elementwise

    def forward(self, x, slope):
        return np.where(x > 0, x, slope * x)

    def backward(self, grad, x, slope, out):
        return where_defined(np.where(x > 0, grad, grad * slope), out), grad * np.minimum(x, 0)


@register("elu")
class Elu(Node):
    """Exponential linear unit, z = where(x > 0, x, alpha * expm1(x)); dz/dx = where(x > 0, 1, z + alpha).

    Clevert et al., Fast and Accurate Deep Network Learning by Exponential Linear Units, 2016.
    """

    infer = elementwise
    alpha: float = 1.0

    def forward(self, x):
        return np.maximum(x, 0) + self.alpha * np.expm1(np.minimum(x, 0))

    def backward(self, grad, x, out):
        return grad * by_sign(x, np.minimum(out, abs(self.alpha)) + self.alpha, 1)


@register("selu")
class Selu(Node):
    """Scaled exponential linear unit.

    z = s * where(x > 0, x, a * expm1(x)) with s = 1.0507009873554805, a = 1.6732632423543772;
    dz/dx = where(x > 0, s, z + s * a).

    These constants preserve a mean of 0 and a variance of 1. Klambauer et al., Self-Normalizing Neural Networks, 2017.
    """

    infer = elementwise

    def forward(self, x):
        return SELU_SCALE * (np.maximum(x, 0) + SELU_ALPHA * np.expm1(np.minimum(x, 0)))

    def backward(self, grad, x, out):
        return grad * by_sign(x, np.minimum(out, 0) + SELU_SCALE * SELU_ALPHA, SELU_SCALE)


SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


@register("celu")
class Celu(Node):
    """Smooth elu, z = where(x > 0, x, alpha * expm1(x / alpha)); dz/dx = where(x > 0, 1, z / alpha + 1).

    Barron, Continuously Differentiable Exponential Linear Units, 2017.
    """

    infer = elementwise
    alpha: float = 1.0

    def forward(self, x):
        return np.maximum(x, 0) + self.alpha * np.expm1(np.minimum(x, 0) / self.alpha)

    def backward(self, grad, out):
        return grad * (np.minimum(out, 0) / self.alpha + 1)


@register("gelu")
class Gelu(Node):
    """Gaussian error linear unit, x times the probability that a standard normal number is smaller.

    z = x * (1 + erf(x / sqrt(2))) / 2; dz/dx = (1 + erf(x / sqrt(2))) / 2 + x * exp(-(x**2) / 2) / sqrt(2 * pi).

    With `approximate` "tanh" it is about x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2, and the derivative
    of that. For very negative x, z has the absolute accuracy of 1 + erf(x / sqrt(2)), as in PyTorch. Hendrycks and
    Gimpel, Gaussian Error Linear Units, 2016.
    """

    infer = elementwise
    approximate: Literal["none", "tanh"] = "none"

    def forward(self, x):
        if self.approximate == "tanh":
            return np.maximum(x, -FAR) * Sigmoid().forward(2 * ROOT * (x + 0.044715 * x * x * x))
        return np.maximum(x, -FAR) * ((1 + Erf()(x / math.sqrt(2))) / 2)

    def backward(self, grad, x):
        x = np.clip(x, -FAR, FAR)
        if self.approximate == "tanh":
            sigmoid = Sigmoid()(2 * ROOT * (x + 0.044715 * x * x * x))
            return grad * (sigmoid + x * sigmoid * (1 - sigmoid) * 2 * ROOT * (1 + 3 * 0.044715 * np.square(x)))
        return grad * ((1 + Erf()(x / math.sqrt(2))) / 2 + x * ROOT / 2 * np.exp(-np.square(x) / 2))


ROOT = math.sqrt(2 / math.pi)
FAR = 1000.0
"""At this distance from 0 exponential functions have reached their limits, and no infinity is multiplied by 0."""


@register("silu")
class Silu(Node):
    """Sigmoid linear unit, also named swish, z = x / (1 + exp(-x)); dz/dx = (1 + z * exp(-x)) / (1 + exp(-x)).

    Elfwing et al., Sigmoid-Weighted Linear Units, 2018.
    """

    infer = elementwise

    def forward(self, x):
        return np.maximum(x, -FAR) * Sigmoid().forward(x)

    def backward(self, grad, x, out):
        sigmoid = Sigmoid()(x)
        return grad * (sigmoid + np.minimum(out, FAR) * (1 - sigmoid))


@register("mish")
class Mish(Node):
    """Mish, z = x * tanh(log1p(exp(x))); dz/dx = t + x * (1 - t**2) / (1 + exp(-x)) with t = tanh(log1p(exp(x))).

    Misra, Mish: A Self Regularized Non-Monotonic Activation Function, 2020.
    """

    infer = elementwise

    def forward(self, x):
        return np.maximum(x, -FAR) * np.tanh(Softplus().forward(x))

    def backward(self, grad, x):
        t = np.tanh(Softplus()(x))
        return grad * (t + np.clip(x, -FAR, FAR) * (1 - np.square(t)) * Sigmoid()(x))


@register("sigmoid")
class Sigmoid(Node):
    """Logistic function, z = 1 / (1 + exp(-x)); dz/dx = z * (1 - z)."""

    infer = elementwise

    def forward(self, x):
        e = np.exp(-np.abs(x))
        return np.maximum(e, x >= 0) / (1 + e)

    def backward(self, grad, out):
        return grad * out * (1 - out)


@register("hard_sigmoid")
class HardSigmoid(Node):
    """Sigmoid in straight pieces, z = clip(alpha * x + beta, 0, 1); dz/dx = where(abs(z - 0.5) < 0.5, alpha, 0).

    The default of alpha is that of PyTorch and Keras, 1/6; ONNX's is 0.2.
    """

    infer = elementwise
    alpha: float = 1 / 6
    beta: float = 0.5

    def forward(self, x):
        return np.maximum(0, np.minimum(1, self.alpha * x + self.beta))

    def backward(self, grad, out):
        return self.alpha * grad * STOP_GRADIENT(np.sign(out * (1 - out)))


@register("softplus")
class Softplus(Node):
    """Smooth version of relu, z = log1p(exp(x)); dz/dx = 1 / (1 + exp(-x)).

    Computed as maximum(x, 0) + log1p(exp(-abs(x))), so nothing overflows.
    """

    infer = elementwise

    def forward(self, x):
        return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))

    def backward(self, grad, x):
        return grad * Sigmoid()(x)


HUGE = 1e30
"""A number beside which 1 vanishes."""


@register("softsign")
class Softsign(Node):
    """Softsign, z = x / (1 + abs(x)); dz/dx = 1 / square(1 + abs(x))."""

    infer = elementwise

    def forward(self, x):
        return np.clip(x, -HUGE, HUGE) / (1 + np.minimum(np.abs(x), HUGE))

    def backward(self, grad, x):
        return grad * np.square(1 / (1 + np.abs(x)))


class OverAnAxis(Node):
    """Base of the ops that scale the values along an axis together."""

    infer = along_axis
    axis: int = -1


@register("softmax")
class Softmax(OverAnAxis):
    """Softmax over one axis, zi = exp(xi) / (exp(x1) + ... + exp(xn)); dx = z * (dz - sum(z * dz)).

    Computed from x - max(x), so nothing overflows. For -Infinity, a masked value, z and dx are 0. NaN if the largest
    value is infinite, so also if all values are -Infinity, as in PyTorch and SciPy.
    """

    def forward(self, x):
        e = np.exp(x - Max(axis=self.axis, keepdims=True)(x))
        return e / sum_over(e, axis=self.axis, keepdims=True)

    def backward(self, grad, out):
        return out * (grad - dot_along(out, grad, self.axis))


@register("log_softmax")
class LogSoftmax(OverAnAxis):
    """Logarithm of softmax over one axis, zi = xi - log(exp(x1) + ... + exp(xn)); dx = dz - exp(z) * sum(dz).

    Computed from x - max(x), so nothing overflows. NaN if the largest value is infinite, as for `softmax`.
    """

    def forward(self, x):
        shifted = x - Max(axis=self.axis, keepdims=True)(x)
        return shifted - np.log(sum_over(np.exp(shifted), axis=self.axis, keepdims=True))

    def backward(self, grad, out):
        return grad - np.exp(out) * sum_over(grad, axis=self.axis, keepdims=True)
