"""Reductions over `axis`: an integer, several, or None for all; `keepdims` keeps reduced axes as size 1."""

import math

import numpy as np

from graphengine.inference import normalized_axes, reduction
from graphengine.node import Node
from graphengine.registry import register


@register("sum", numpy=np.sum)
class Sum(Node):
    """Sum of the values, z = x1 + ... + xn; dz/dxi = 1."""

    infer = reduction
    axis: int | tuple[int, ...] | None = None
    keepdims: bool = False

    def forward(self, x):
        return np.sum(x, axis=self.axis, keepdims=self.keepdims)

    def backward(self, grad, x):
        return np.broadcast_to(kept(grad, x, self), x.shape)


@register("mean")
class Mean(Node):
    """Arithmetic mean, z = (x1 + ... + xn) / n; dz/dxi = 1/n."""

    infer = reduction
    axis: int | tuple[int, ...] | None = None
    keepdims: bool = False

    def forward(self, x):
        return np.sum(x, axis=self.axis, keepdims=self.keepdims) / count(x, self.axis)

    def backward(self, grad, x):
        return np.broadcast_to(kept(grad, x, self) / count(x, self.axis), x.shape)


@register("max", numpy=np.max)
class Max(Node):
    """Largest value, z = max(x1, ..., xn); dz/dxi = 1 where xi is the largest, shared evenly where several are."""

    infer = reduction
    axis: int | tuple[int, ...] | None = None
    keepdims: bool = False

    def forward(self, x):
        return np.max(x, axis=self.axis, keepdims=self.keepdims)

    def backward(self, grad, x, out):
        return shared(grad, x, out, self)


@register("min", numpy=np.min)
class Min(Node):
    """Smallest value, z = min(x1, ..., xn); dz/dxi = 1 where xi is the smallest, shared evenly where several are."""

    infer = reduction
    axis: int | tuple[int, ...] | None = None
    keepdims: bool = False

    def forward(self, x):
        return np.min(x, axis=self.axis, keepdims=self.keepdims)

    def backward(self, grad, x, out):
        return shared(grad, x, out, self)


@register("logsumexp")
class LogSumExp(Node):
    """Logarithm of a sum of exponentials, z = log(exp(x1) + ... + exp(xn)); dz/dxi = exp(xi - z).

    Computed from the shifted x - max(x), so nothing overflows.
    """

    infer = reduction
    axis: int | tuple[int, ...] | None = None
    keepdims: bool = False

    def forward(self, x):
        reduce = np.max if count(x, self.axis) else np.sum  # of nothing: a shift of 0
        largest = reduce(x, axis=self.axis, keepdims=self.keepdims)
        shift = np.where(np.isfinite(largest), largest, 0)
        return np.log(np.sum(np.exp(x - kept(shift, x, self)), axis=self.axis, keepdims=self.keepdims)) + shift

    def backward(self, grad, x, out):
        z = kept(out, x, self)
        return kept(grad, x, self) * np.exp(x - np.where(np.isfinite(z), z, 0))


def shared(grad, x, out, node):
    """The gradient of a largest or smallest value: to where it is, in equal shares where it is several times."""
    there = x == kept(out, x, node)
    ties = np.sum(np.where(there, np.ones_like(x), 0), axis=node.axis, keepdims=True)
    return np.where(there, kept(grad, x, node) / ties, 0)


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
