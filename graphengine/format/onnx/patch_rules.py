"""Rules of patches: `unfold` gathers them, `fold` adds padded parts, of sizes that are known or computed at run time.

A size here is an integer, or the name of a vector of one integer.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from graphengine.format.onnx.emitting import Applied, Emitter, Unexportable, exports
from graphengine.ops.families import patches

by_axis: Callable[..., Any] = patches.by_axis
spans: Callable[..., Any] = patches.spans
padding_pairs: Callable[..., Any] = patches.padding_pairs
SizeOrName: TypeAlias = int | str


@exports("unfold")
def unfold(emit: Emitter, applied: Applied) -> str:
    """Write Gather along each axis of the padded array: exact."""
    kernel, dtype = applied.kernel_size, emit.result_dtype(applied)
    pairs = _pairs(applied, applied.shape()[2:])
    x = emit.read(applied)
    sizes = _sizes_of(emit, x, applied.shape())
    if any(map(any, pairs)):
        widths = [0, 0, *(before for before, _ in pairs), 0, 0, *(after for _, after in pairs)]
        x = emit("Pad", x, emit.vector(widths), emit.constant(applied.filling(dtype), dtype))
    counts = _counts(emit, applied, sizes, pairs)
    strides, steps = by_axis(applied.stride, sizes), by_axis(applied.dilation, sizes)
    for axis, (size, count, stride, step) in enumerate(zip(kernel, counts, strides, steps, strict=True), 2):
        x = emit("Gather", x, _places(emit, step * np.arange(size), count, stride), axis=axis)
    split: list[SizeOrName] = [part for pair in zip(kernel, counts, strict=True) for part in pair]
    order = [0, 1, *range(2, len(split) + 2, 2), *range(3, len(split) + 2, 2)]
    columns = emit("Transpose", emit("Reshape", x, _vector(emit, [0, 0, *split])), perm=order)
    number, rows = _product(emit, counts), applied.result.shape[1]
    if not isinstance(rows, int):
        rows = -1 if isinstance(number, int) else _product(emit, [_size_of(emit, x, 1), *kernel])
    return emit("Reshape", columns, _vector(emit, [0, rows, number]))


def _places(emit: Emitter, offsets: Any, count: SizeOrName, stride: int) -> str:
    """Return the places of all patches along an axis, those of the first value of each patch first."""
    if isinstance(count, int):
        return emit.constant(np.add.outer(offsets, stride * np.arange(count)).ravel(), np.int64)
    zero, one = emit.constant(0, np.int64), emit.constant(1, np.int64)
    numbers = emit("Range", zero, emit("Squeeze", count, emit.vector([0])), one)
    starts = emit("Mul", numbers, emit.constant(stride, np.int64))
    return emit("Reshape", emit("Add", emit.constant(offsets[:, None], np.int64), starts), emit.vector([-1]))


@exports("fold")
def fold(emit: Emitter, applied: Applied) -> str:
    """Write the sum of padded parts, one for each place in a patch, in the order of the reference: exact.

    A part lies `stride` apart: zeros are put between its numbers. What lies on the margin is cut off in the end.
    """
    shape = applied.result.shape
    kernel, pairs = applied.kernel_size, _pairs(applied, shape[2:])
    sizes = _sizes_of(emit, "" if applied.output_size else emit.read(applied, 1), shape)
    counts = _counts(emit, applied, sizes, pairs)
    strides, steps = by_axis(applied.stride, sizes), by_axis(applied.dilation, sizes)
    channels: SizeOrName = shape[1] if isinstance(shape[1], int) else -1
    parts = emit("Reshape", emit.read(applied), _vector(emit, [0, channels, int(np.prod(kernel)), *counts]))
    ends = [
        _affine(emit, _affine(emit, count, -stride, stride - 1 + sum(pair)), 1, size)
        for size, pair, count, stride in zip(sizes, pairs, counts, strides, strict=True)
    ]
    total = ""
    for number, place in enumerate(itertools.product(*map(range, kernel))):
        part = _spread(emit, emit("Gather", parts, emit.constant(number, np.int64), axis=2), counts, strides)
        before = [step * each for step, each in zip(steps, place, strict=True)]
        after = [_affine(emit, end, 1, -first) for end, first in zip(ends, before, strict=True)]
        part = emit("Pad", part, _vector(emit, [0, 0, *before, 0, 0, *after]))
        total = emit("Add", total, part) if total else part
    return _without_margin(emit, total, pairs)


def _without_margin(emit: Emitter, x: str, pairs: Sequence[tuple[int, int]]) -> str:
    if not any(map(any, pairs)):
        return x
    stops = [-after or np.iinfo(np.int64).max for _, after in pairs]
    starts = [before for before, _ in pairs]
    return emit("Slice", x, *map(emit.vector, (starts, stops, range(2, len(pairs) + 2))))


def _spread(emit: Emitter, x: str, counts: Sequence[SizeOrName], strides: Sequence[int]) -> str:
    """Return an array whose numbers lie `strides` apart, with zeros between them."""
    sizes, rank = list(counts), len(counts) + 2
    for axis, (count, stride) in enumerate(zip(counts, strides, strict=True)):
        if stride == 1 or count == 1:
            continue
        wide = emit("Unsqueeze", x, emit.vector([axis + 3]))
        widths = [0] * (2 * rank + 2)
        widths[rank + axis + 4] = stride - 1  # after each number
        wide = emit("Pad", wide, emit.vector(widths))
        sizes[axis] = _affine(emit, count, stride, 0)
        wide = emit("Reshape", wide, _vector(emit, [0, 0, *sizes]))
        sizes[axis] = _affine(emit, count, stride, 1 - stride)
        x = emit("Slice", wide, *map(emit.vector, ([0], [1 - stride], [axis + 2])))
    return x


def _pairs(applied: Applied, sizes: Sequence[Any]) -> Any:
    """Return the widths of the padding before and after each axis."""
    node: Any = applied.node.node
    strides = by_axis(node.stride, sizes)
    if node.padding == "same" and any(
        stride > 1 and not isinstance(size, int) for size, stride in zip(sizes, strides, strict=True)
    ):
        raise Unexportable("the padding 'same' with a stride takes sizes that are known")
    return padding_pairs(node, applied.kernel_size, sizes)


def _counts(emit: Emitter, applied: Applied, sizes: Sequence[SizeOrName], pairs: Any) -> list[SizeOrName]:
    """Return the numbers of patches along each axis."""
    strides, reach = by_axis(applied.stride, sizes), spans(applied.node.node, applied.kernel_size)
    along = zip(sizes, pairs, reach, strides, strict=True)
    return [
        _affine(emit, _quotient(emit, _affine(emit, size, 1, sum(pair) - span), stride), 1, 1)
        for size, pair, span, stride in along
    ]


def _sizes_of(emit: Emitter, x: str, shape: Sequence[Any]) -> list[SizeOrName]:
    """Return the sizes of the axes of an array from the third on."""
    axes = enumerate(shape[2:], 2)
    return [size if isinstance(size, int) else _size_of(emit, x, axis) for axis, size in axes]


def _size_of(emit: Emitter, x: str, axis: int) -> str:
    return emit("Shape", x, start=axis, end=axis + 1)


def _affine(emit: Emitter, size: SizeOrName, factor: int, offset: SizeOrName) -> SizeOrName:
    """Return size * factor + offset."""
    if isinstance(size, int) and isinstance(offset, int):
        return size * factor + offset
    return emit("Add", emit("Mul", _named(emit, size), emit.vector([factor])), _named(emit, offset))


def _quotient(emit: Emitter, size: SizeOrName, divisor: int) -> SizeOrName:
    """Return size // divisor of a size that is not negative."""
    return size // divisor if isinstance(size, int) else emit("Div", size, emit.vector([divisor]))


def _times(emit: Emitter, one: SizeOrName, other: SizeOrName) -> SizeOrName:
    if isinstance(one, int) and isinstance(other, int):
        return one * other
    return emit("Mul", _named(emit, one), _named(emit, other))


def _product(emit: Emitter, sizes: Sequence[SizeOrName]) -> SizeOrName:
    """Return the product of sizes."""
    return functools.reduce(functools.partial(_times, emit), sizes)


def _named(emit: Emitter, size: SizeOrName) -> str:
    """Return the name of a vector that is a size."""
    return size if isinstance(size, str) else emit.vector([size])


def _vector(emit: Emitter, sizes: Sequence[SizeOrName]) -> str:
    """Return a vector of sizes."""
    if all(isinstance(size, int) for size in sizes):
        return emit.vector(sizes)
    return emit("Concat", *[_named(emit, size) for size in sizes], axis=0)
