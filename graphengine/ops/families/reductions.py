"""Reductions over `axis`: an integer, several, or None for all; `keepdims` keeps reduced axes as size 1."""

import math
from typing import Literal

import numpy as np

from graphengine.ops.families.constants import extremes
from graphengine.ops.inference import along_axis, floating, normalized_axes, reduction
from graphengine.ops.merging import of_reduction
from graphengine.ops.node import Node
from graphengine.ops.norms import euclidean_norm, root_of_size
from graphengine.ops.registry import register
from graphengine.ops.sums import running_sum, sum_over


@register("sum", numpy=np.sum, traits=("keeps_one", "primitive"))
class Sum(Node):
    """Sum of the values, z = x1 + ... + xn; dz/dxi = 1."""

    infer = reduction
    merge = "sum"
    axis: int | tuple[int, ...] | None = None
    keepdims: bool = False

    def forward(self, x):
        return sum_over(x, axis=self.axis, keepdims=self.keepdims)

    def backward(self, grad, x):
        return np.broadcast_to(kept(grad, x, self), x.shape)


@register("mean", numpy=np.mean)
class Mean(Node):
    """Arithmetic mean, z = (x1 + ... + xn) / n; dz/dxi = 1/n."""

    infer = reduction
    axis: int | tuple[int, ...] | None = None
    keepdims: bool = False

    def forward(self, x):
        return sum_over(x, axis=self.axis, keepdims=self.keepdims) / count(x, self.axis)

    def backward(self, grad, x):
        return np.broadcast_to(kept(grad, x, self) / count(x, self.axis), x.shape)


@register("prod", numpy=np.prod, traits=("keeps_one", "primitive"))
class Prod(Node):
    """Product of the values, z = x1 * ... * xn; dz/dxi = z / xi.

    The derivative is the product of the other values, computed as that of those before times that of those after. So
    derivatives of every order are right for zeros, too.
    """

    infer = reduction
    merge = "prod"
    axis: int | tuple[int, ...] | None = None
    keepdims: bool = False

    def forward(self, x):
        return np.prod(x, axis=self.axis, keepdims=self.keepdims)

    def backward(self, grad, x):
        grad = kept(grad, x, self)
        for axis in normalized_axes(self.axis, x.ndim):
            grad = grad * product_of_others(x, axis)
            x = np.prod(x, axis=axis, keepdims=True)
        return grad


@register("max", numpy=np.max, traits=("keeps_one", "primitive"))
class Max(Node):
    """Largest value, z = max(x1, ..., xn); dz/dxi = (xi == z) / k with k = sum(x == z).

    If k values are the largest, each gets 1/k of the gradient. The result for no values is the smallest number of the
    dtype, -Infinity for floating-point numbers, as in ONNX.
    """

    infer = reduction
    merge = "max"
    axis: int | tuple[int, ...] | None = None
    keepdims: bool = False

    def forward(self, x):
        if not count(x, self.axis):
            return of_nothing(x, self, extremes(x.dtype)[0])
        return np.max(x, axis=self.axis, keepdims=self.keepdims)

    def backward(self, grad, x, out):
        return shared(grad, x, out, self)


@register("min", numpy=np.min, traits=("keeps_one", "primitive"))
class Min(Node):
    """Smallest value, z = min(x1, ..., xn); dz/dxi = (xi == z) / k with k = sum(x == z).

    If k values are the smallest, each gets 1/k of the gradient. The result for no values is the largest number of the
    dtype, Infinity for floating-point numbers, as in ONNX.
    """

    infer = reduction
    merge = "min"
    axis: int | tuple[int, ...] | None = None
    keepdims: bool = False

    def forward(self, x):
        if not count(x, self.axis):
            return of_nothing(x, self, extremes(x.dtype)[1])
        return np.min(x, axis=self.axis, keepdims=self.keepdims)

    def backward(self, grad, x, out):
        return shared(grad, x, out, self)


@register("argmax", numpy=np.argmax, traits=("primitive",))
class ArgMax(Node):
    """Index of the largest value, the first of equal ones, z = argmax(x).

    Along `axis` or, without one, in the flattened array. NaN counts as the largest, as in NumPy.
    """

    infer = reduction
    axis: int | None = None
    keepdims: bool = False

    def forward(self, x):
        return np.argmax(x, axis=self.axis, keepdims=self.keepdims)


@register("argmin", numpy=np.argmin, traits=("primitive",))
class ArgMin(Node):
    """Index of the smallest value, the first of equal ones, z = argmin(x).

    Along `axis` or, without one, in the flattened array. NaN counts as the smallest, as in NumPy.
    """

    infer = reduction
    axis: int | None = None
    keepdims: bool = False

    def forward(self, x):
        return np.argmin(x, axis=self.axis, keepdims=self.keepdims)


@register("var", numpy=np.var)
class Var(Node):
    """Variance, the mean square distance from the mean.

    z = ((x1 - m)**2 + ... + (xn - m)**2) / (n - ddof) with m = mean(x); dz/dxi = 2 * (xi - m) / (n - ddof).

    `ddof` is 0 for the variance of the values themselves, 1 for the unbiased estimate from a sample.
    """

    infer = reduction
    axis: int | tuple[int, ...] | None = None
    keepdims: bool = False
    ddof: float = 0

    def forward(self, x):
        squares = np.square(centered(x, self))
        return sum_over(squares, axis=self.axis, keepdims=self.keepdims) / (count(x, self.axis) - self.ddof)

    def backward(self, grad, x):
        return kept(grad, x, self) * 2 * centered(x, self) / (count(x, self.axis) - self.ddof)


@register("std", numpy=np.std)
class Std(Node):
    """Standard deviation, the square root of the variance.

    z = sqrt(((x1 - m)**2 + ... + (xn - m)**2) / (n - ddof)) with m = mean(x); dz/dxi = (xi - m) / ((n - ddof) * z).

    If all values are equal, the derivative is 0, as in PyTorch. `ddof` as for `var`; with `ddof` values or fewer z is
    NaN or infinite. It does not overflow or underflow where its square would.
    """

    infer = reduction
    axis: int | tuple[int, ...] | None = None
    keepdims: bool = False
    ddof: float = 0

    def forward(self, x):
        length = Norm(axis=self.axis, keepdims=self.keepdims)(centered(x, self))
        return length / root_of_size(count(x, self.axis) - self.ddof, length)

    def backward(self, grad, x, out):
        return kept(grad / (count(x, self.axis) - self.ddof), x, self) * shares(centered(x, self), out, x, self)


@register("norm")
class Norm(Node):
    """Length, z = (abs(x1)**ord + ... + abs(xn)**ord)**(1 / ord); dz/dxi = sign(xi) * (abs(xi) / z)**(ord - 1).

    For `ord` 2 it is the root of the sum of squares, with the derivative xi / z; for 1 the sum of absolute values,
    whose derivative at a value of 0 is 0. If all values are 0, the derivative is 0, as in PyTorch. Values whose squares
    exceed the range of the dtype are scaled first (Blue 1978), so the result is infinite or 0 only if it is itself out
    of range.
    """

    infer = reduction
    axis: int | tuple[int, ...] | None = None
    keepdims: bool = False
    ord: Literal[1, 2] = 2

    def forward(self, x):
        if self.ord == 1:
            return sum_over(np.abs(x), axis=self.axis, keepdims=self.keepdims)
        return euclidean_norm(x, self.axis, self.keepdims)

    def merge(self, axes, x):
        if axes[0] not in normalized_axes(self.axis, len(x.shape)):
            return "rows"
        return "sum" if self.ord == 1 else "hypot"

    def backward(self, grad, x, out):
        if self.ord == 1:
            return kept(grad, x, self) * np.sign(x)
        return kept(grad, x, self) * shares(x, out, x, self)


@register("cumsum", numpy=np.cumsum, traits=("primitive",))
class CumSum(Node):
    """Running sum along an axis, zi = x1 + ... + xi; dxi = dzi + ... + dzn.

    With `exclusive` without xi itself; with `reverse` from the end, zi = xi + ... + xn. As CumSum of ONNX.
    """

    infer = along_axis
    axis: int
    exclusive: bool = False
    reverse: bool = False

    def forward(self, x):
        return running_sum(x, self.axis) if plain(self) else running(running_sum, 0, x, self)

    def backward(self, grad):
        return CumSum(axis=self.axis, exclusive=self.exclusive, reverse=not self.reverse)(grad)


@register("cumprod", numpy=np.cumprod, traits=("primitive",))
class CumProd(Node):
    """Running product along an axis, zi = x1 * ... * xi; dxi = (dzi * zi + ... + dzn * zn) / xi.

    `exclusive` and `reverse` as for `cumsum`. The derivative is the product of the values before, times a linear
    recurrence of those after, so it is right for zeros, too.
    """

    infer = along_axis
    axis: int
    exclusive: bool = False
    reverse: bool = False

    def forward(self, x):
        return np.cumprod(x, axis=self.axis) if plain(self) else running(np.cumprod, 1, x, self)

    def backward(self, grad, x):
        before = CumProd(axis=self.axis, exclusive=True, reverse=self.reverse)(x)
        after = LinearRecurrence(axis=self.axis, reverse=not self.reverse)
        return before * (after(x, grad) if self.exclusive else grad + after(x, grad * x))


@register("linear_recurrence")
class LinearRecurrence(Node):
    """The states before each step of s = factor * s + term along an axis, from 0.

    z[i] = factors[i - 1] * z[i - 1] + terms[i - 1] if i > 0 else 0;
    dfactors = dterms * z, dterms[i] = factors[i + 1] * dterms[i + 1] + dz[i + 1] if i + 1 < n else 0.

    With `reverse` from the end; the gradient of the terms is the recurrence of dz in the other direction. Terms
    broadcast to the shape of the factors.
    """

    infer = along_axis
    axis: int
    reverse: bool = False

    def forward(self, factors, terms):
        z = np.zeros(np.shape(factors), np.result_type(factors, terms))
        steps = [np.swapaxes(np.broadcast_to(each, z.shape), self.axis, 0) for each in (factors, terms)]
        states = np.swapaxes(z, self.axis, 0)
        if self.reverse:
            steps, states = [each[::-1] for each in steps], states[::-1]
        factors, terms = steps
        for place in range(1, len(states)):
            carried = factors[place - 1] * states[place - 1] if place > 1 else 0  # and not infinity * 0
            states[place] = carried + terms[place - 1]
        return z

    def backward(self, grad, factors, out):
        terms = LinearRecurrence(axis=self.axis, reverse=not self.reverse)(factors, grad)
        return terms * out, terms


@register("any", numpy=np.any, traits=("primitive",))
class Any(Node):
    """Whether any of the values is true (a number: not 0), z = x1 or ... or xn."""

    infer = reduction
    merge = "any"
    axis: int | tuple[int, ...] | None = None
    keepdims: bool = False

    def forward(self, x):
        return np.any(x, axis=self.axis, keepdims=self.keepdims)


@register("all", numpy=np.all, traits=("primitive",))
class All(Node):
    """Whether all of the values are true (numbers: not 0), z = x1 and ... and xn."""

    infer = reduction
    merge = "all"
    axis: int | tuple[int, ...] | None = None
    keepdims: bool = False

    def forward(self, x):
        return np.all(x, axis=self.axis, keepdims=self.keepdims)


@register("logsumexp")
class LogSumExp(Node):
    """Logarithm of a sum of exponentials, z = log(exp(x1) + ... + exp(xn)); dz/dxi = exp(xi - z).

    Computed from the shifted x - max(x), so nothing overflows. Where all values are -Infinity the gradient is 0, and
    with respect to a value that is Infinity it is NaN, as in PyTorch.
    """

    axis: int | tuple[int, ...] | None = None
    keepdims: bool = False
    merge = of_reduction

    def infer(self, x):
        floating(x)
        return reduction(self, x)

    def forward(self, x):
        largest = Max(axis=self.axis, keepdims=self.keepdims)(x)
        shift = np.where(np.isfinite(largest), largest, 0)
        return np.log(sum_over(np.exp(x - kept(shift, x, self)), axis=self.axis, keepdims=self.keepdims)) + shift

    def backward(self, grad, x, out):
        z = kept(out, x, self)
        return kept(grad, x, self) * np.exp(x - np.where(z == -np.inf, 0, z))


def centered(x, node):
    """x less its mean over the axes of a reduction."""
    return x - sum_over(x, axis=node.axis, keepdims=True) / count(x, node.axis)


def product_of_others(x, axis):
    """For each value along an axis the product of all but it: of those before times those after."""
    before, after = (CumProd(axis=axis, exclusive=True, reverse=reverse)(x) for reverse in (False, True))
    return before * after


def plain(node):
    """Whether running results begin in front and count the value at their own place."""
    return not (node.exclusive or node.reverse)


def running(function, start, x, node):
    """Running results along the axis of a node, from either end, with or without the value at their own place."""
    turned = slice(None, None, -1 if node.reverse else 1)
    lines = np.swapaxes(x, 0, node.axis)[turned]
    if node.exclusive:
        results = function(lines[:-1], 0)
        z = np.full(lines.shape, start, results.dtype)
        z[1:] = results
    else:
        z = function(lines, 0)
    return np.ascontiguousarray(np.swapaxes(z[turned], 0, node.axis))


def of_nothing(x, node, number):
    """A number for each result of a reduction over axes without values."""
    return np.full_like(np.sum(x, axis=node.axis, keepdims=node.keepdims, dtype=x.dtype), number)[()]


def shared(grad, x, out, node):
    """The gradient of a largest or smallest value: to where it is, in equal shares where it is several times."""
    there = x == kept(out, x, node)
    ties = sum_over(np.where(there, np.ones_like(x), 0), axis=node.axis, keepdims=True)
    return kept(grad, x, node) * there / ties  # 0 / 0 where the result is NaN


def count(x, axis):
    """How many values of x go into one value of a reduction over `axis`."""
    if axis is None:
        return np.size(x)
    return math.prod(np.shape(x)[number] for number in normalized_axes(axis, np.ndim(x)))


def kept(value, x, node):
    """The result of a reduction of x with the reduced axes back, as size 1, so that it broadcasts against x."""
    if node.axis is None or node.keepdims:
        return value
    return np.expand_dims(value, normalized_axes(node.axis, np.ndim(x)))


def shares(values, out, x, node):
    """Values over the length of all of them, 0 where that is 0; its reciprocal may be no number where they are one."""
    return values / kept(np.where(out == 0, 1, out), x, node)
