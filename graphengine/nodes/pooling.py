"""Pooling: largest values and means of the patches of images, in the layout and with the attributes of PyTorch."""

import math

import numpy as np

from graphengine.inference import floating
from graphengine.node import Node
from graphengine.nodes.patches import Count, Counts, Fold, Unfold, Widths, by_axis, patch_counts, patch_fields
from graphengine.nodes.reductions import Max, Mean, Sum
from graphengine.registry import register
from graphengine.shapes import ArrayType, shape_text

Patch = Count | tuple[Count, Count]


@register("max_pool2d")
class MaxPool2d(Node):
    """Largest value of each patch of images, (N, C, H, W) to (N, C, H', W').

    Without `stride` patches do not overlap. What is padded never counts. Equal largest values share the gradient
    evenly, as in `max`; PyTorch gives it to the first.
    """

    kernel_size: Patch
    stride: Counts | None = None
    padding: Widths = 0
    dilation: Counts = 1

    def infer(self, x):
        return pooled(cut(self, dilation=self.dilation), x)

    def forward(self, x):
        unfold = cut(self, dilation=self.dilation, fill="-Infinity")
        return as_images(np.max(patches_of(unfold, x), axis=2), unfold, x)

    def backward(self, grad, x, out):
        unfold = cut(self, dilation=self.dilation, fill="-Infinity")
        patches = patches_of(unfold, x)
        return added_up(Max(axis=2).backward(in_one_axis(grad), patches, in_one_axis(out)), unfold, x)


@register("avg_pool2d")
class AvgPool2d(Node):
    """Mean of each patch of images, (N, C, H, W) to (N, C, H', W').

    Without `stride` patches do not overlap. With `count_include_pad` padded zeros count, which is the default of
    PyTorch; that of ONNX is not to count them.
    """

    kernel_size: Patch
    stride: Counts | None = None
    padding: Widths = 0
    count_include_pad: bool = True

    def infer(self, x):
        return pooled(cut(self), x)

    def forward(self, x):
        unfold = cut(self)
        return as_images(np.sum(patches_of(unfold, x), axis=2) / counted(self, unfold, x), unfold, x)

    def backward(self, grad, x):
        unfold = cut(self)
        shares = in_one_axis(grad) / counted(self, unfold, x)
        return added_up(Sum(axis=2).backward(shares, patches_of(unfold, x)), unfold, x)


@register("global_avg_pool2d")
class GlobalAvgPool2d(Node):
    """Mean of each image, (N, C, H, W) to (N, C, 1, 1)."""

    def infer(self, x):
        if len(x.shape) != 4:
            raise ValueError(f"images have the shape (N, C, H, W), not {shape_text(x.shape)}")
        return ArrayType((*x.shape[:2], 1, 1), floating(x))

    def forward(self, x):
        return Mean(axis=(2, 3), keepdims=True).forward(x)

    def backward(self, grad, x):
        return Mean(axis=(2, 3), keepdims=True).backward(grad, x)


def cut(node, **more):
    """The op that cuts images into the patches of a pooling."""
    kernel_size = by_axis(node.kernel_size, "HW")
    return Unfold(kernel_size=kernel_size, stride=node.stride or kernel_size, padding=node.padding, **more)


def pooled(unfold, x):
    """The type of a pooling."""
    counts = patch_counts(unfold, unfold.kernel_size, x)
    if not isinstance(x.shape[1], int):
        raise ValueError(f"only the first size may be a symbol, not {shape_text(x.shape)}")
    return ArrayType((*x.shape[:2], *counts), floating(x))


def patches_of(unfold, x):
    """Patches with channels and places apart: (N, C, patch size, number of patches)."""
    count = math.prod(patch_counts(unfold, unfold.kernel_size, x))
    return np.reshape(unfold(x), (-1, x.shape[1], math.prod(unfold.kernel_size), count))


def added_up(patches, unfold, x):
    """The gradient toward images from that toward their patches."""
    columns = np.reshape(patches, (-1, x.shape[1] * patches.shape[2], patches.shape[3]))
    return Fold(output_size=x.shape[2:], **patch_fields(unfold, unfold.kernel_size))(columns)


def in_one_axis(images):
    """(N, C, H, W) as (N, C, H * W)."""
    return np.reshape(images, (-1, images.shape[1], math.prod(images.shape[2:])))


def as_images(values, unfold, x):
    """The values of patches, (N, C, number), as images."""
    return np.reshape(values, (-1, x.shape[1], *patch_counts(unfold, unfold.kernel_size, x)))


def counted(node, unfold, x):
    """How many values go into each mean."""
    if node.count_include_pad or not node.padding:
        return math.prod(unfold.kernel_size)
    return np.sum(patches_of(unfold, np.ones_like(x)), axis=2)
