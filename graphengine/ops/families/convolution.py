"""Convolution: products of filters with the patches of an array.

A convolution is `unfold` and a matrix product; a transposed convolution is a matrix product and `fold`. Their gradients
consist of the same ops. Layouts, names and attributes are those of PyTorch. What deep learning calls convolution is a
cross-correlation: filters are not flipped.
"""

import math

import numpy as np

from graphengine.ops.families.linear import swapped
from graphengine.ops.families.padding import Pad
from graphengine.ops.families.patches import (
    Count,
    Counts,
    Fold,
    Padding,
    Paddings,
    Unfold,
    Widths,
    by_axis,
    check_layout,
    folded,
    padding_pairs,
    patch_counts,
    patch_fields,
    spans,
)
from graphengine.ops.families.selection import Slice, agree
from graphengine.ops.families.shaping import Flatten
from graphengine.ops.inference import floating
from graphengine.ops.merging import of_first_axis
from graphengine.ops.node import Node
from graphengine.ops.registry import register
from graphengine.ops.shapes import ArrayType, product, shape_text
from graphengine.ops.sums import matrix_product, sum_over


@register("conv1d")
class Conv1d(Node):
    """Cross-correlation along one axis.

    z = weight @ unfold(x) + bias; dx = fold(weight.T @ dz), dweight = sum(dz @ unfold(x).T), dbias = sum(dz).

    x (N, C, L), weight (O, C / groups, K), bias (O,), result (N, O, L'); the weight as matrix (O, C * K), sums over the
    samples. Attributes as for conv2d.
    """

    merge = of_first_axis
    stride: Counts = 1
    padding: Padding = 0
    dilation: Counts = 1
    groups: Count = 1

    def infer(self, x, weight, bias=None):
        return convolved(self, 1, x, weight, bias)

    def workspace(self, x, weight, bias=None):
        return [Unfold(**patch_fields(self, weight.shape[2:])).infer(x)]

    def forward(self, x, weight, bias=None):
        return convolve(self, x, weight, bias)

    def backward(self, grad, x, weight, needs):
        return convolution_gradients(self, grad, x, weight, needs)


@register("conv2d")
class Conv2d(Node):
    """Cross-correlation of images.

    z = weight @ unfold(x) + bias; dx = fold(weight.T @ dz), dweight = sum(dz @ unfold(x).T), dbias = sum(dz).

    x (N, C, H, W), weight (O, C / groups, K, L), bias (O,), result (N, O, H', W'); the weight as matrix (O, C * K * L),
    sums over the samples. H' = floor((H + 2 * padding - dilation * (K - 1) - 1) / stride) + 1, W' likewise; `padding`
    is one width for all sides, a width for each axis, [before, after] for each axis, "valid" for none, or "same" as
    SAME_UPPER of ONNX: H' = ceil(H / stride), with the larger half after. Groups divide the channels in order, and each
    group has its own filters. Dumoulin and Visin, A guide to convolution arithmetic for deep learning, 2016.
    """

    merge = of_first_axis
    stride: Counts = 1
    padding: Padding = 0
    dilation: Counts = 1
    groups: Count = 1

    def infer(self, x, weight, bias=None):
        return convolved(self, 2, x, weight, bias)

    def workspace(self, x, weight, bias=None):
        return [Unfold(**patch_fields(self, weight.shape[2:])).infer(x)]

    def forward(self, x, weight, bias=None):
        return convolve(self, x, weight, bias)

    def backward(self, grad, x, weight, needs):
        return convolution_gradients(self, grad, x, weight, needs)


@register("conv_transpose2d")
class ConvTranspose2d(Node):
    """The gradient of conv2d as an op.

    z = fold(weight.T @ x) + bias; dx = weight @ unfold(dz), dweight = sum(x @ unfold(dz).T), dbias = sum(dz).

    x (N, C, H, W), weight (C, O / groups, K, L), bias (O,), result (N, O, H', W'); the weight as matrix (C, O * K * L),
    sums over the samples. H' = (H - 1) * stride - 2 * padding + dilation * (K - 1) + output_padding + 1, W' likewise.
    """

    merge = of_first_axis
    stride: Counts = 1
    padding: Paddings = 0
    output_padding: Widths = 0
    dilation: Counts = 1
    groups: Count = 1

    def infer(self, x, weight, bias=None):
        channels = check_filters(self, 2, x, weight, bias, transposed=True)
        check_layout(self, weight.shape[2:], x)
        extras, strides = by_axis(self.output_padding, "HW"), by_axis(self.stride, "HW")
        if len(extras) != 2 or any(extra >= stride for extra, stride in zip(extras, strides, strict=True)):
            raise ValueError(
                f"output_padding {self.output_padding} must be less than stride {self.stride} on each axis"
            )
        sizes = transposed_sizes(self, x, weight)
        if any(size is not None and size < 1 for size in sizes):
            raise ValueError(f"its result would have sizes {shape_text(sizes)}")
        return ArrayType((x.shape[0], channels, *sizes), floating(x, weight, bias))

    def workspace(self, x, weight, bias=None):
        columns = (x.shape[0], self.groups * math.prod(weight.shape[1:]), math.prod(x.shape[2:]))
        return [ArrayType(columns, floating(x, weight))]

    def forward(self, x, weight, bias=None):
        rows = grouped(self, x)
        columns = matrix_product(swapped(filters(self, weight)), rows)
        columns = np.reshape(columns, (x.shape[0], self.groups * math.prod(weight.shape[1:]), rows.shape[3]))
        sizes, fields = transposed_sizes(self, x, weight), patch_fields(self, weight.shape[2:])
        like = () if None not in sizes else (transposed_like(self, x, weight),)
        z = Fold(output_size=None if like else sizes, **fields)(columns, *like)
        return z if bias is None else z + np.reshape(bias, (-1, 1, 1))

    def backward(self, grad, x, weight, needs):
        columns = grouped(self, Unfold(**patch_fields(self, weight.shape[2:]))(grad))
        dx = np.reshape(matrix_product(filters(self, weight), columns), (-1, *x.shape[1:])) if needs[0] else None
        dw = weight_gradient(grouped(self, x), columns, weight) if needs[1] else None
        return dx, dw, sum_over(grad, axis=(0, 2, 3)) if needs[2] else None


def convolve(node, x, weight, bias):
    """Products of the filters and the patches of x."""
    columns = grouped(node, Unfold(**patch_fields(node, weight.shape[2:]))(x))
    counts = patch_counts(node, weight.shape[2:], x)
    z = np.reshape(matrix_product(filters(node, weight), columns), (x.shape[0], weight.shape[0], *counts))
    return z if bias is None else z + np.reshape(bias, (-1, *(1 for _ in counts)))


def convolution_gradients(node, grad, x, weight, needs):
    """Gradients with respect to the input, by fold; the weight; the bias."""
    fields, dz = patch_fields(node, weight.shape[2:]), grouped(node, grad)
    dx = dw = None
    if needs[0]:
        columns = matrix_product(swapped(filters(node, weight)), dz)
        columns = np.reshape(columns, (x.shape[0], x.shape[1] * math.prod(weight.shape[2:]), dz.shape[-1]))
        dx = folded(columns, x, fields)
    if needs[1]:
        dw = weight_gradient(dz, grouped(node, Unfold(**fields)(x)), weight)
    return dx, dw, sum_over(grad, axis=(0, *range(2, grad.ndim))) if needs[2] else None


def weight_gradient(rows, columns, weight):
    """The sum over the batch of products of (N, G, R, L) and (N, G, P, L), as filters of the shape of the weight."""
    return np.reshape(sum_over(matrix_product(rows, swapped(columns)), axis=0), weight.shape)


def filters(node, weight):
    """The weight as matrices, one for each group: (G, rows / G, columns)."""
    return np.reshape(weight, (node.groups, weight.shape[0] // node.groups, math.prod(weight.shape[1:])))


def grouped(node, x):
    """Channels dealt out to groups, in front of one axis of places: (N, C, *sizes) becomes (N, G, C / G, places)."""
    columns = Flatten(axis=2)(x)
    return np.reshape(columns, (x.shape[0], node.groups, x.shape[1] // node.groups, columns.shape[2]))


def convolved(node, axes, x, weight, bias):
    """The type of a convolution."""
    channels = check_filters(node, axes, x, weight, bias)
    sizes = patch_counts(node, weight.shape[2:], x)
    return ArrayType((x.shape[0], channels, *sizes), floating(x, weight, bias))


def check_filters(node, axes, x, weight, bias, *, transposed=False):
    """The number of channels of the result, None where that is known only at run time.

    Raises
    ------
    ValueError
        If input, weight, bias and groups do not fit each other.
    """
    shapes = f"x {shape_text(x.shape)}, weight {shape_text(weight.shape)}, groups {node.groups}"
    if not len(x.shape) == len(weight.shape) == axes + 2:
        raise ValueError(f"x and weight must have {axes + 2} axes: {shapes}")
    if any(isinstance(size, str) for size in (x.shape[1], *weight.shape)):
        reason = "channels and the sizes of filters must be numbers, not symbols"
        raise ValueError(f"{reason}: {shapes}; write the numbers into the shapes")
    if 0 in weight.shape[2:]:
        raise ValueError(f"a filter needs at least one number along each axis: {shapes}")
    first, second = weight.shape[0], product((weight.shape[1], node.groups))
    wanted, channels = (first, second) if transposed else (second, first)
    if not agree((x.shape[1],), (wanted,)) or (first is not None and first % node.groups):
        raise ValueError(f"the channels do not fit: {shapes}")
    if bias is not None and not agree(bias.shape, (channels,)):
        raise ValueError(f"bias must have shape {shape_text((channels,))}, not {shape_text(bias.shape)}")
    return channels


def transposed_sizes(node, x, weight):
    """The sizes of the result of a transposed convolution, None where they are known only at run time."""
    kernel_size, sizes = weight.shape[2:], x.shape[2:]
    if None in kernel_size:
        return (None,) * len(sizes)
    along = zip(sizes, by_axis(node.stride, sizes), beyond_strides(node, kernel_size), strict=True)
    return tuple(size * stride + more if isinstance(size, int) else None for size, stride, more in along)


def transposed_like(node, x, weight):
    """An array that has the sizes of the result of a transposed convolution of any size.

    One place too many is cut off again, so that these sizes are as little known before it runs as those of the result.
    """
    strides, more = by_axis(node.stride, "HW"), beyond_strides(node, weight.shape[2:])
    tiled = np.tile(Slice(stop=(1, 1), axis=(0, 1))(x), (1, 1, *strides))
    padded = Pad(pad_width=((0, 0), (0, 0), *((0, max(0, each) + 1) for each in more)))(tiled)
    return Slice(stop=tuple(min(0, each) - 1 for each in more), axis=(2, 3))(padded)


def beyond_strides(node, kernel_size):
    """How much longer each axis of the result of a transposed convolution is than the stride for each place of x."""
    along = (by_axis(each, kernel_size) for each in (node.stride, node.output_padding))
    pairs = padding_pairs(node, kernel_size, kernel_size)
    parts = zip(*along, pairs, spans(node, kernel_size), strict=True)
    return tuple(extra + span - stride - sum(pair) for stride, extra, pair, span in parts)
