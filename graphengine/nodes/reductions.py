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
        largest = x == kept(out, x, self)
        ties = np.sum(np.where(largest, np.ones_like(x), 0), axis=self.axis, keepdims=True)
        return np.where(largest, kept(grad, x, self) / ties, 0)


def count(x, axis):
    """How many values of x go into one value of a reduction over `axis`."""
    if axis is None:
        return np.size(x)
    return math.prod(np.shape(x)[number] for number in normalized_axes(axis, np.ndim(x)))


def kept(value, x, node):
    """The result of a reduction of x with the reduced axes back, as size 1, so that it broadcasts against x."""
    if node.axis is None or node.keepdims:
        return value
    return np.expand_dims(value, normalized_axes(node.axis, x.ndim))
