"""Pooling: maxima and means of the patches of images, with the layout and the attributes of PyTorch."""

import math

import numpy as np

from graphengine.ops.families.padding import Pad
from graphengine.ops.families.patches import (
    Count,
    Counts,
    Padding,
    Unfold,
    by_axis,
    check_layout,
    folded,
    padding_pairs,
    patch_counts,
    patch_fields,
    spans,
)
from graphengine.ops.families.reductions import Max, Mean, Sum
from graphengine.ops.families.selection import ScatterAdd
from graphengine.ops.families.shaping import Flatten
from graphengine.ops.inference import floating
from graphengine.ops.merging import of_first_axis
from graphengine.ops.node import Node
from graphengine.ops.numbers import LARGEST_EXACT
from graphengine.ops.registry import register
from graphengine.ops.shapes import ArrayType, shape_text
from graphengine.ops.sums import sum_over

Patch = Count | tuple[Count, Count]


@register("max_pool2d")
class MaxPool2d(Node):
    """Largest value of each patch of images, (N, C, H, W) to (N, C, H', W').

    z = max(p) with p = unfold(x); dx = fold(dz * (p == z) / sum(p == z)).

    Without `stride` patches do not overlap. `padding` as for conv2d; padded values never count. With `ceil_mode` a last
    patch may begin in x or before and reach beyond the padding. Equal largest values share the gradient evenly, as in
    `max`; PyTorch gives it to the first. Integers give integers.
    """

    merge = of_first_axis
    kernel_size: Patch
    stride: Counts | None = None
    padding: Padding = 0
    dilation: Counts = 1
    ceil_mode: bool = False

    def infer(self, x):
        return ArrayType(pooled(cut(self, x, dilation=self.dilation), x), x.array_dtype)

    def workspace(self, x):
        return [cut(self, x, dilation=self.dilation).infer(x)]

    def forward(self, x):
        unfold = cut(self, x, dilation=self.dilation, fill="-Infinity")
        return as_images(np.max(patches_of(unfold, x), axis=2), unfold, x)

    def backward(self, grad, x, out):
        unfold = cut(self, x, dilation=self.dilation, fill="-Infinity")
        patches = patches_of(unfold, x)
        return added_up(Max(axis=2).backward(in_one_axis(grad), patches, in_one_axis(out)), unfold, x)


@register("max_pool_with_indices")
class MaxPoolWithIndices(Node):
    """Largest value of each patch, (N, C, *sizes) to (N, C, *counts), and the `indices` of where in x these are.

    z = max(p) with p = unfold(x); dx = scatter_add(zeros_like(x), indices, dz).

    An index counts the places of an image, x[n, c], row by row, and gradients are put there. The first of equal values
    counts, as in PyTorch; NaN counts as the largest. `kernel_size` has a number for each axis; the other attributes are
    those of max_pool2d, but a patch must not lie on padding alone.
    """

    merge = of_first_axis
    outputs = ("values", "indices")
    kernel_size: tuple[Count, ...]
    stride: Counts | None = None
    padding: Padding = 0
    dilation: Counts = 1
    ceil_mode: bool = False

    def infer(self, x):
        unfold = cut(self, x, dilation=self.dilation)
        pairs = padding_pairs(unfold, unfold.kernel_size, [1] * len(unfold.kernel_size))
        if any(before >= span for (before, _), span in zip(pairs, spans(unfold, unfold.kernel_size), strict=True)):
            raise ValueError(f"padding {self.padding} is as wide as a patch of kernel_size {self.kernel_size}")
        shape = pooled(unfold, x)
        return ArrayType(shape, x.array_dtype), ArrayType(shape, np.dtype(np.int64))

    def workspace(self, x):
        patches = cut(self, x, dilation=self.dilation).infer(x)
        return [patches, ArrayType(patches.shape, np.dtype(np.int64))]

    def forward(self, x):
        unfold = cut(self, x, dilation=self.dilation, fill="-Infinity")
        patches = patches_of(unfold, x)
        largest = np.max(patches, axis=2, keepdims=True)
        found = np.logical_or(np.equal(patches, largest), np.not_equal(patches, patches))
        places = patches_of(unfold.model_copy(update={"fill": -1.0}), places_in_image(x))
        inside = np.where(np.logical_and(found, places >= 0), places, LARGEST_EXACT)
        return as_images(np.squeeze(largest, axis=2), unfold, x), as_images(np.min(inside, axis=2), unfold, x)

    def backward(self, grad_values, x, indices):
        images = in_one_axis(np.zeros_like(x))
        return np.reshape(ScatterAdd(axis=2)(images, in_one_axis(indices), in_one_axis(grad_values)), x.shape)


@register("avg_pool2d")
class AvgPool2d(Node):
    """Mean of each patch of images, (N, C, H, W) to (N, C, H', W'), z = sum(unfold(x)) / k; dx = fold(dz / k).

    k is the number of values that count in a patch. Without `stride` patches do not overlap. `padding` and `ceil_mode`
    as for max_pool2d. With `count_include_pad` padded zeros count, which is the default in PyTorch; in ONNX it is not.
    """

    merge = of_first_axis
    kernel_size: Patch
    stride: Counts | None = None
    padding: Padding = 0
    ceil_mode: bool = False
    count_include_pad: bool = True

    def infer(self, x):
        return ArrayType(pooled(cut(self, x), x), floating(x))

    def workspace(self, x):
        return [cut(self, x).infer(x)]

    def forward(self, x):
        unfold = cut(self, x)
        return as_images(sum_over(patches_of(unfold, x), axis=2) / counted(unfold, margin(self), x), unfold, x)

    def backward(self, grad, x):
        unfold = cut(self, x)
        shares = in_one_axis(grad) / counted(unfold, margin(self), x)
        return added_up(Sum(axis=2).backward(shares, patches_of(unfold, x)), unfold, x)


@register("global_avg_pool2d")
class GlobalAvgPool2d(Node):
    """Mean of each image, (N, C, H, W) to (N, C, 1, 1).

    z = mean(x, axis=(2, 3), keepdims=True); dz/dx = 1 / (H * W).
    """

    merge = of_first_axis

    def infer(self, x):
        if len(x.shape) != 4:
            raise ValueError(f"images must have shape (N, C, H, W), not {shape_text(x.shape)}")
        return ArrayType((*x.shape[:2], 1, 1), floating(x))

    def forward(self, x):
        return Mean(axis=(2, 3), keepdims=True).forward(x)

    def backward(self, grad, x):
        return Mean(axis=(2, 3), keepdims=True).backward(grad, x)


def cut(node, x, **more):
    """The op that cuts images into the patches of a pooling."""
    unfold = declared(node, **more)
    if not node.ceil_mode or node.padding == "same":  # which lets all patches fit in
        return unfold
    return unfold.model_copy(update={"padding": completed(unfold, x)})


def declared(node, **more):
    """The same without what `ceil_mode` adds."""
    kernel_size = by_axis(node.kernel_size, "HW")
    return Unfold(kernel_size=kernel_size, stride=node.stride or kernel_size, padding=node.padding, **more)


def completed(unfold, x):
    """Padding that lets one more patch fit in where it begins in the images or before them.

    Less than a stride lets a begun patch fit in, less than a patch does not let one begin beyond the images. What no
    patch reads of it does not matter, so it is the same for all sizes.
    """
    check_layout(unfold, unfold.kernel_size, x)
    sizes = x.shape[2:]
    pairs, reach = padding_pairs(unfold, unfold.kernel_size, sizes), spans(unfold, unfold.kernel_size)
    along = zip(pairs, reach, by_axis(unfold.stride, sizes), strict=True)
    return tuple((before, max(after, min(after + stride, span) - 1)) for (before, after), span, stride in along)


def pooled(unfold, x):
    """The shape of a pooling."""
    return (*x.shape[:2], *patch_counts(unfold, unfold.kernel_size, x))


def patches_of(unfold, x):
    """Patches with channels and places apart: (N, C, patch size, number of patches)."""
    columns = unfold(x)
    return np.reshape(columns, (x.shape[0], x.shape[1], math.prod(unfold.kernel_size), columns.shape[2]))


def places_in_image(x):
    """The numbers of the places of an image row by row, (1, 1, *sizes)."""
    ones = np.sum(np.zeros_like(x), axis=(0, 1), keepdims=True).astype(np.int64) + 1
    return np.reshape(np.cumsum(in_one_axis(ones), axis=2) - 1, ones.shape)


def added_up(patches, unfold, x):
    """The gradient with respect to images from that with respect to their patches."""
    columns = np.reshape(patches, (x.shape[0], x.shape[1] * patches.shape[2], patches.shape[3]))
    return folded(columns, x, patch_fields(unfold, unfold.kernel_size))


def in_one_axis(images):
    """(N, C, *sizes) with the places of an image in one axis."""
    return Flatten(axis=2)(images)


def as_images(values, unfold, x):
    """The values of patches, (N, C, number), as images."""
    return np.reshape(values, (x.shape[0], x.shape[1], *patch_counts(unfold, unfold.kernel_size, x)))


def margin(node):
    """The padding that counts in a mean."""
    return node.padding if node.count_include_pad else 0


def counted(unfold, counting, x):
    """How many values go into each mean, where of the padding `counting` counts."""
    if unfold.padding == counting:
        return math.prod(unfold.kernel_size)
    if unfold.padding == "same":
        return sum_over(patches_of(unfold, np.ones_like(x)), axis=2)
    whole, inner = (
        padding_pairs(each, unfold.kernel_size, x.shape[2:])
        for each in (unfold, unfold.model_copy(update={"padding": counting}))
    )
    if whole == inner:
        return math.prod(unfold.kernel_size)
    ones = Pad(pad_width=((0, 0), (0, 0), *inner), constant_values=1.0)(np.ones_like(x))
    rests = tuple((a - b, c - d) for (a, c), (b, d) in zip(whole, inner, strict=True))
    return sum_over(patches_of(unfold.model_copy(update={"padding": rests}), ones), axis=2)
