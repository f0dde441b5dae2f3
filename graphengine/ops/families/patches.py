"""Patches of arrays as columns of matrices, and back: convolution and pooling are made of them.

`unfold` lays patches side by side and `fold` adds them up where they overlap: each is the other's gradient. Layouts,
names and attributes are those of PyTorch: arrays are (N, C, *sizes), and an attribute that holds for all axes is one
integer. Padding may differ before and after an axis: give a pair of widths. All sizes may be symbols.
"""

import itertools
import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from graphengine.ops.families.constants import extremes, represented
from graphengine.ops.families.padding import Pad, Width
from graphengine.ops.families.selection import Slice
from graphengine.ops.families.shaping import quotient
from graphengine.ops.merging import of_first_axis
from graphengine.ops.node import Node, Recorded
from graphengine.ops.registry import register
from graphengine.ops.shapes import ArrayType, product, shape_text

Count = Annotated[int, Field(ge=1)]
Counts = Count | tuple[Count, ...]
Widths = Width | tuple[Width, ...]
Paddings = Width | tuple[Width | tuple[Width, Width], ...]
Padding = Paddings | Literal["same", "valid"]


@register("unfold")
class Unfold(Node):
    """Patches of x as columns: (N, C, *sizes) becomes (N, C * patch size, number of patches).

    z[n, (c, k), i] = x[n, c, stride * i + dilation * k - padding]; dx = fold(dz).

    Patches begin every `stride` values, and their values lie `dilation` apart. x is first padded with the value `fill`;
    `padding` gives the widths, as for conv2d. The fill "-Infinity" is the smallest number of the dtype.
    """

    merge = of_first_axis
    kernel_size: tuple[Count, ...]
    stride: Counts = 1
    padding: Padding = 0
    dilation: Counts = 1
    fill: float | Literal["-Infinity"] = 0.0

    def infer(self, x):
        counts = patch_counts(self, self.kernel_size, x)
        self.filling(x.array_dtype)
        return ArrayType((x.shape[0], product([x.shape[1], *self.kernel_size]), product(counts)), x.dtype)

    def forward(self, x):
        counts = patch_counts(self, self.kernel_size, x)
        size = math.prod(x.shape[1:2] + self.kernel_size)
        return self.into(x, np.empty((len(x), size, math.prod(counts)), x.dtype))

    def into(self, x, out):
        """The result in an array that is there."""
        out.fill(self.filling(out.dtype))
        patches, places = by_place(self, out, x)
        for place, inside, source in places:
            patches[:, :, *place, *inside] = x[:, :, *source]
        return out

    def backward(self, grad, x):
        return folded(grad, x, patch_fields(self, self.kernel_size))

    def filling(self, dtype):
        """The number that x is padded with; "-Infinity" is the smallest one of a dtype, also of integers."""
        return extremes(dtype)[0] if self.fill == "-Infinity" else represented(self.fill, dtype)


@register("fold")
class Fold(Node):
    """Sum of patches where they overlap: (N, C * patch size, number of patches) becomes (N, C, *output_size).

    z[n, c, j] = sum(x[n, (c, k), i]) over stride * i + dilation * k - padding == j; dx = unfold(dz), dlike = 0.

    The patches are those that `unfold` with the same attributes makes of an array of that size; values on the padding
    are dropped. Instead of `output_size`, an array `like` with these sizes may be given.
    """

    merge = of_first_axis
    output_size: tuple[Count, ...] | None = None
    kernel_size: tuple[Count, ...]
    stride: Counts = 1
    padding: Padding = 0
    dilation: Counts = 1

    def infer(self, x, like=None):
        if (self.output_size is None) == (like is None):
            raise ValueError("give either the attribute 'output_size' or the input 'like'")
        sizes, size = self.output_size if like is None else like.shape[2:], math.prod(self.kernel_size)
        count = product(patch_counts(self, self.kernel_size, ArrayType((1, 1, *sizes), x.dtype)))
        channels = quotient(x.shape[1], size) if len(x.shape) == 3 and x.shape[1] is not None else None
        if channels is None or (None not in (count, x.shape[2]) and x.shape[2] != count):
            raise ValueError(f"patches must have shape (N, C * {size}, {count}), not {shape_text(x.shape)}")
        return ArrayType((x.shape[0], channels, *sizes), x.dtype)

    def forward(self, x, like=None):
        sizes = self.output_size if like is None else like.shape[2:]
        shape = (len(x), x.shape[1] // math.prod(self.kernel_size), *sizes)
        return self.into(x, np.empty(shape, x.dtype))

    def into(self, x, out):
        """The result in an array that is there."""
        out.fill(0)
        patches, places = by_place(self, x, out)
        for place, inside, source in places:
            out[:, :, *source] += patches[:, :, *place, *inside]
        return out

    def backward(self, grad):
        return Unfold(**patch_fields(self, self.kernel_size))(grad), None


def folded(columns, like, fields):
    """The sum of patches as images that have the sizes of others."""
    sizes = like.shape[2:]
    if any(isinstance(size, Recorded) for size in sizes):
        return Fold(**fields)(columns, like)
    return Fold(output_size=sizes, **fields)(columns)


def by_place(node, columns, x):
    """The columns with an axis for each axis of a patch and of the patches; and what belongs together.

    That is, for each place in a patch: the place, the patches that have it inside of x, and where it lies in x.
    """
    sizes, counts = x.shape[2:], patch_counts(node, node.kernel_size, x)
    widths = [before for before, _ in padding_pairs(node, node.kernel_size, sizes)]
    settings = (by_axis(node.stride, sizes), widths, by_axis(node.dilation, sizes))
    axes = [tuple(by_place_along(*each)) for each in zip(sizes, node.kernel_size, counts, *settings, strict=True)]
    patches = columns.reshape(*x.shape[:2], *node.kernel_size, *counts)
    return patches, [tuple(zip(*each, strict=True)) for each in itertools.product(*axes)]


def by_place_along(size, kernel_size, count, stride, width, apart):
    """What belongs together along one axis; padding is left out."""
    for place in range(kernel_size):
        start = place * apart - width
        first, stop = max(0, -(start // stride)), min(count, (size - 1 - start) // stride + 1)
        if first < stop:
            source = start + first * stride
            yield place, slice(first, stop), slice(source, source + (stop - first - 1) * stride + 1, stride)


def by_axis(value, axes):
    """An attribute as one integer for each axis."""
    return value if isinstance(value, tuple) else (value,) * len(axes)


def spans(node, kernel_size):
    """How many values of x a patch reaches over, along each axis."""
    steps = by_axis(node.dilation, kernel_size)
    return tuple(step * (size - 1) + 1 for step, size in zip(steps, kernel_size, strict=True))


def padding_pairs(node, kernel_size, sizes):
    """How many values are padded before and after each axis.

    With "same" a patch begins at every `stride`-th value; strides of more than 1 take sizes that are known.
    """
    if node.padding == "valid":
        return ((0, 0),) * len(sizes)
    if node.padding != "same":
        return tuple(each if isinstance(each, tuple) else (each, each) for each in by_axis(node.padding, sizes))
    along = zip(sizes, by_axis(node.stride, sizes), spans(node, kernel_size), strict=True)
    missing = [missing_along(*each) for each in along]
    return tuple((each // 2, each - each // 2) for each in missing)


def missing_along(size, stride, span):
    """How many values padding "same" adds along an axis, 0 where that is not known yet."""
    if stride == 1:
        return span - 1
    if isinstance(size, Recorded):
        raise ValueError("patches are cut when their sizes are numbers")
    return max(0, (size - 1) // stride * stride + span - size) if isinstance(size, int) else 0


def patch_counts(node, kernel_size, x):
    """How many patches of x there are along each axis, None where that is known only when they are cut.

    While code is recorded that is a recorded number.

    Raises
    ------
    ValueError
        If the attributes are not for as many axes as x has, or no patch fits.
    """
    check_layout(node, kernel_size, x)
    known = [isinstance(kernel, int) for kernel in kernel_size]
    kernels = tuple(kernel if is_known else 1 for kernel, is_known in zip(kernel_size, known, strict=True))
    counts = tuple(count_along(node, kernels, x, axis) if known[axis] else None for axis in range(len(kernels)))
    if any(isinstance(count, int) and count < 1 for count in counts):
        raise ValueError(f"no patch of {shape_text(kernel_size)} fits into sizes {shape_text(x.shape[2:])}")
    return counts


def count_along(node, kernel_size, x, axis):
    """How many patches there are along an axis; while code is recorded, the size of what has a value for each."""
    size, stride = x.shape[axis + 2], by_axis(node.stride, kernel_size)[axis]
    beyond = 0
    if node.padding != "same":
        beyond = spans(node, kernel_size)[axis] - 1 - sum(padding_pairs(node, kernel_size, x.shape[2:])[axis])
    if isinstance(size, int):
        return (size - 1 - beyond) // stride + 1
    if stride == 1 and beyond == 0:
        return size
    if not isinstance(size, Recorded):
        return None
    if beyond < 0:
        x = Pad(pad_width=tuple((0, -beyond if place == axis + 2 else 0) for place in range(x.ndim)))(x)
    return np.size(Slice(stop=-beyond if beyond > 0 else None, step=stride, axis=axis + 2)(x), axis + 2)


def check_layout(node, kernel_size, x):
    """Refuse attributes that are not for as many axes as x has."""
    sizes, axes = x.shape[2:], len(kernel_size)
    if len(x.shape) != axes + 2:
        raise ValueError(f"patches of {axes} axes need an array of {axes + 2}, not of shape {shape_text(x.shape)}")
    for name in ("stride", "padding", "dilation"):
        if len(by_axis(getattr(node, name), sizes)) != axes:
            raise ValueError(f"{name} {getattr(node, name)} is not for {axes} axes")


def patch_fields(node, kernel_size):
    """The attributes that say what the patches are."""
    return {
        "kernel_size": tuple(kernel_size),
        "stride": node.stride,
        "padding": node.padding,
        "dilation": node.dilation,
    }
