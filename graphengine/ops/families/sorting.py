"""Values in order, and where they were before.

Equal values keep their order, also where the largest come first. NaN counts as the largest.
"""

import numpy as np

from graphengine.ops.families.selection import ScatterAdd, kept_whole
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
