"""Sorting: values in order, the first of them, and their former indices. Equal values keep their order, also if the
largest come first. NaN counts as the largest.
"""

from typing import Annotated

import numpy as np
from pydantic import Field

from graphengine.ops.families.selection import ScatterAdd, Slice, kept_whole
from graphengine.ops.inference import normalized_axes
from graphengine.ops.node import Node
from graphengine.ops.registry import register
from graphengine.ops.shapes import ArrayType


@register("argsort")
class ArgSort(Node):
    """Places of the values of x along an axis in increasing order, or with `descending` in decreasing order.

    z = argsort(x).

    Passes no gradient.
    """

    axis: int = -1
    descending: bool = False

    def infer(self, x):
        normalized_axes(self.axis, len(x.shape))
        return ArrayType(x.shape, np.dtype(np.int64))

    def merge(self, axes, x):
        return kept_whole(self, axes, x)

    def forward(self, x):
        if not self.descending:
            return np.argsort(x, axis=self.axis, kind="stable")
        places = np.argsort(np.flip(x, self.axis), axis=self.axis, kind="stable")
        return np.flip(x.shape[self.axis] - 1 - places, self.axis)


@register("sort")
class Sort(Node):
    """The values of x along an axis in increasing order, or with `descending` in decreasing order.

    z = take_along_axis(x, argsort(x), axis); dx = scatter_add(zeros_like(x), argsort(x), dz).
    """

    axis: int = -1
    descending: bool = False

    def infer(self, x):
        normalized_axes(self.axis, len(x.shape))
        return ArrayType(x.shape, x.array_dtype)

    def merge(self, axes, x):
        return kept_whole(self, axes, x)

    def forward(self, x):
        return np.take_along_axis(x, ArgSort(axis=self.axis, descending=self.descending)(x), axis=self.axis)

    def backward(self, grad, x):
        places = ArgSort(axis=self.axis, descending=self.descending)(x)
        return ScatterAdd(axis=self.axis)(np.zeros_like(x), places, grad)


@register("topk")
class TopK(Node):
    """The k largest values of x along an axis in decreasing order, and the `indices` of their places.

    z = take_along_axis(x, indices, axis); dx = scatter_add(zeros_like(x), indices, dz).

    If `largest` is false, the k smallest in increasing order. Equal values keep the order that they have in x.
    """

    outputs = ("values", "indices")
    k: Annotated[int, Field(ge=0)]
    axis: int = -1
    largest: bool = True

    def infer(self, x):
        (axis,) = normalized_axes(self.axis, len(x.shape))
        require_values(x.shape[axis], self.k)
        shape = (*x.shape[:axis], self.k, *x.shape[axis + 1 :])
        return ArrayType(shape, x.array_dtype), ArrayType(shape, np.dtype(np.int64))

    def merge(self, axes, x):
        return kept_whole(self, axes, x)

    def workspace(self, x):
        return [ArrayType(x.shape, np.dtype(np.int64))] * 2

    def forward(self, x):
        require_values(x.shape[self.axis], self.k)
        places = ArgSort(axis=self.axis, descending=self.largest)(x)
        first = Slice(stop=self.k, axis=self.axis)(places)
        return np.take_along_axis(x, first, axis=self.axis), first

    def backward(self, grad_values, x, indices):
        return ScatterAdd(axis=self.axis)(np.zeros_like(x), indices, grad_values)


def require_values(size, count):
    """Refuse to take more values than there are, as far as the size is known."""
    if isinstance(size, int) and size < count:
        raise ValueError(f"an axis of size {size} has no {count} values; k is at most {size}")
