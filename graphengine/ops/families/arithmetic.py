"""Elementwise arithmetic. Inputs broadcast; the engine sums a gradient back to the shape of its input."""

import numpy as np

from graphengine.ops.families.comparison import order, truth, where_defined
from graphengine.ops.inference import elementwise
from graphengine.ops.node import Node
from graphengine.ops.norms import hypotenuse
from graphengine.ops.registry import register


@register("add", numpy=np.add, traits=("correctly_rounded", "takes_literals"))
class Add(Node):
    """Sum, z = x + y; dz/dx = 1, dz/dy = 1."""

    infer = elementwise

    def forward(self, x, y):
        return x + y

    def backward(self, grad):
        return grad, grad


@register("sub", numpy=np.subtract, traits=("correctly_rounded", "takes_literals"))
class Sub(Node):
    """Difference, z = x - y; dz/dx = 1, dz/dy = -1."""

    infer = elementwise

    def forward(self, x, y):
        return x - y

    def backward(self, grad):
        return grad, -grad


@register("mul", numpy=np.multiply, traits=("correctly_rounded", "takes_literals"))
class Mul(Node):
    """Product, z = x * y; dz/dx = y, dz/dy = x."""

    infer = elementwise

    def forward(self, x, y):
        return x * y

    def backward(self, grad, x, y):
        return grad * y, grad * x


@register("div", numpy=np.divide, traits=("pole", "correctly_rounded", "takes_literals"))
class Div(Node):
    """Quotient, z = x / y; dz/dx = 1 / y, dz/dy = -x / y**2."""

    infer = elementwise

    def forward(self, x, y):
        return np.divide(x, y)

    def backward(self, grad, y, out):
        return grad / y, -grad * out / y


@register("reciprocal", numpy=np.reciprocal, traits=("pole",))
class Reciprocal(Node):
    """Reciprocal, z = 1 / x; dz/dx = -1 / x**2.

    For integers the result is an integer, as in NumPy.
    """

    infer = elementwise

    def forward(self, x):
        return np.reciprocal(x)

    def backward(self, grad, out):
        return -grad * np.square(out)


@register("neg", numpy=np.negative, traits=("correctly_rounded",))
class Neg(Node):
    """Negative, z = -x; dz/dx = -1."""

    infer = elementwise

    def forward(self, x):
        return -x

    def backward(self, grad):
        return -grad


@register("abs", numpy=np.abs, traits=("correctly_rounded",))
class Abs(Node):
    """Absolute value, z = abs(x); dz/dx = sign(x).

    At 0 and -0.0 the derivative is 0, as in PyTorch.
    """

    infer = elementwise

    def forward(self, x):
        return np.abs(x)

    def backward(self, grad, x):
        return grad * np.sign(x)


@register("sign", numpy=np.sign, traits=("correctly_rounded",))
class Sign(Node):
    """Sign (-1, 0 or 1), z = sign(x); dz/dx = 0."""

    infer = elementwise

    def forward(self, x):
        return np.sign(x)

    def backward(self, grad):
        return np.zeros_like(grad)


@register("square", numpy=np.square, traits=("correctly_rounded",))
class Square(Node):
    """Square, z = x * x; dz/dx = 2 * x."""

    infer = elementwise

    def forward(self, x):
        return np.square(x)

    def backward(self, grad, x):
        return 2 * x * grad


@register("sqrt", numpy=np.sqrt, traits=("pole", "correctly_rounded"))
class Sqrt(Node):
    """Square root, z = sqrt(x); dz/dx = 1 / (2 * sqrt(x))."""

    infer = elementwise

    def forward(self, x):
        return np.sqrt(x)

    def backward(self, grad, out):
        return grad / (2 * out)


@register("rsqrt", traits=("pole",))
class RSqrt(Node):
    """Reciprocal square root, z = 1 / sqrt(x); dz/dx = -1 / (2 * x * sqrt(x))."""

    infer = elementwise

    def forward(self, x):
        return 1 / np.sqrt(x)

    def backward(self, grad, x, out):
        return -grad * out / (2 * x)


@register("hypot", numpy=np.hypot)
class Hypot(Node):
    """Length of the vector (x, y), z = sqrt(x**2 + y**2); dz/dx = x / z, dz/dy = y / z.

    It does not overflow or underflow where a square would. Where both are 0, the derivatives are 0, as for `norm`.
    """

    infer = elementwise

    def forward(self, x, y):
        return hypotenuse(x, y)

    def backward(self, grad, x, y, out):
        length = np.where(out == 0, 1, out)
        return grad * (x / length), grad * (y / length)


@register("pow", numpy=np.power, traits=("pole",))
class Pow(Node):
    """Power, z = x ** y; dz/dx = y * x ** (y - 1), dz/dy = x ** y * log(x).

    Where y is 0, dz/dx is 0; where x is 0 and y is not negative, dz/dy is 0, as in PyTorch.
    """

    infer = elementwise

    def forward(self, x, y):
        return np.power(x, y)

    def backward(self, grad, x, y, out, needs):
        dx = grad * times(y, np.power(x, one_less(y, x))) if needs[0] else None
        vanishes = np.logical_or(np.logical_and(x >= 0, out == 0), np.logical_and(x == 0, y == 0))
        dy = np.where(vanishes, 0, grad * out * np.log(x)) if needs[1] else None
        return dx, dy


@register("mod", numpy=np.mod, traits=("pole",))
class Mod(Node):
    """Remainder with the sign of y, z = mod(x, y); dz/dx = 1, dz/dy = -floor(x / y).

    As `numpy.mod`: a multiple of y gives 0 with the sign of y. z jumps there; the derivatives are those of the formula,
    as in PyTorch. Where y is 0, z is NaN.
    """

    infer = elementwise

    def forward(self, x, y):
        return np.mod(x, y)

    def backward(self, grad, x, y, out):
        return where_defined(grad, out), where_defined(-grad * np.floor(x / y), out)


@register("floor", numpy=np.floor)
class Floor(Node):
    """Largest integer that is not larger, z = floor(x); dz/dx = 0."""

    infer = elementwise

    def forward(self, x):
        return np.floor(x)

    def backward(self, grad):
        return np.zeros_like(grad)


@register("ceil", numpy=np.ceil)
class Ceil(Node):
    """Smallest integer that is not smaller, z = ceil(x); dz/dx = 0."""

    infer = elementwise

    def forward(self, x):
        return np.ceil(x)

    def backward(self, grad):
        return np.zeros_like(grad)


@register("round", numpy=np.round, traits=("primitive",))
class Round(Node):
    """Nearest integer, at halves the even one, z = round(x); dz/dx = 0.

    A zero has the sign of x: round(-0.4) is -0.0. The derivative is 0, also at halves, where z jumps.
    """

    infer = elementwise

    def forward(self, x):
        return np.round(x)

    def backward(self, grad):
        return np.zeros_like(grad)


@register("maximum", numpy=np.maximum, traits=("correctly_rounded",))
class Maximum(Node):
    """Larger value, z = maximum(x, y); dz/dx = (x > y), dz/dy = (x < y).

    Where both are equal each gets half the gradient.
    """

    infer = elementwise

    def forward(self, x, y):
        return np.maximum(x, y)

    def backward(self, grad, x, y):
        sign = order(x, y)
        return grad * ((1 + sign) / 2), grad * ((1 - sign) / 2)


@register("minimum", numpy=np.minimum, traits=("correctly_rounded",))
class Minimum(Node):
    """Smaller value, z = minimum(x, y); dz/dx = (x < y), dz/dy = (x > y).

    Where both are equal each gets half the gradient.
    """

    infer = elementwise

    def forward(self, x, y):
        return np.minimum(x, y)

    def backward(self, grad, x, y):
        sign = order(x, y)
        return grad * ((1 - sign) / 2), grad * ((1 + sign) / 2)


@register("clip", numpy=np.clip, traits=("pointwise",))
class Clip(Node):
    """x between two limits, each of them optional.

    z = minimum(maximum(x, min), max);
    dz/dx = (x >= min) * (x <= max), dz/dmin = (x < min) * (min <= max), dz/dmax = (maximum(x, min) > max).

    A limit gets the gradient where x is beyond it, as in PyTorch.
    """

    merge = "rows"

    def infer(self, x, min=None, max=None):
        if min is None and max is None:
            raise ValueError("give it one limit or both: min, max")
        return elementwise(self, x, min, max)

    def forward(self, x, min=None, max=None):
        raised = x if min is None else np.maximum(x, min)
        return raised if max is None else np.minimum(raised, max)

    def backward(self, grad, x, min, max, out, needs):
        low, high = -np.inf if min is None else min, np.inf if max is None else max
        inside = np.logical_and(x >= low, x <= high)
        dmin = grad * truth(np.logical_and(x < low, low <= high), out) if needs[1] else None
        dmax = grad * truth(np.maximum(x, low) > high, out) if needs[2] else None
        return grad * truth(inside, out), dmin, dmax


@register("add_n")
class AddN(Node):
    """Sum of any number of arrays, which broadcast, z = x + sum(xs); dz/dx = 1, dz/dxs = 1."""

    infer = elementwise

    def forward(self, x, *xs):
        return sum(xs, start=x)

    def backward(self, grad, needs):
        return (grad,) * len(needs)


def times(y, power):
    """y * power, but 0 where the power is: infinity times 0, where the power vanishes faster."""
    return y * power if type(y) in (int, float) else np.where(power == 0, 0, y * power)


def one_less(y, x):
    """y - 1, but 0 where x and y are 0: there the derivative of x ** y is 0 * 1 and not 0 * infinity."""
    if type(y) in (int, float) and y:
        return y - 1
    return np.where(np.logical_and(x == 0, y == 0), 0, y - 1)
