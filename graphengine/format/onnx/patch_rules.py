"""Rules of patches: `unfold` gathers them, `fold` adds padded parts, of sizes that are known or computed at run time.

A size here is an integer, or the name of a vector of one integer.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from graphengine.format.onnx.emitting import Applied, Emitter, exports
from graphengine.ops.families import patches
from graphengine.ops.shapes import are_integers

by_axis: Callable[..., Any] = patches.by_axis
spans: Callable[..., Any] = patches.spans
padding_pairs: Callable[..., Any] = patches.padding_pairs
SizeOrName: TypeAlias = int | str
Pairs: TypeAlias = list[tuple[SizeOrName, SizeOrName]]


@exports("unfold")
def unfold(emit: Emitter, applied: Applied) -> str:
    """Write Gather along each axis of the padded array: exact."""
    kernel, dtype, x = applied.kernel_size, emit.result_dtype(applied), emit.read(applied)
    sizes = sizes_of(emit, x, applied.shape())
    pairs = pairs_of(emit, applied, kernel, sizes)
    x = padded(emit, x, pairs, applied.filling(dtype), dtype)
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
    shape, kernel = applied.result.shape, applied.kernel_size
    sizes = sizes_of(emit, "" if applied.output_size else emit.read(applied, 1), shape)
    pairs = pairs_of(emit, applied, kernel, sizes)
    counts = _counts(emit, applied, sizes, pairs)
    strides, steps = by_axis(applied.stride, sizes), by_axis(applied.dilation, sizes)
    channels: SizeOrName = shape[1] if isinstance(shape[1], int) else -1
    parts = emit("Reshape", emit.read(applied), _vector(emit, [0, channels, int(np.prod(kernel)), *counts]))
    ends = [_end(emit, *each) for each in zip(sizes, pairs, counts, strides, strict=True)]
    total = ""
    for number, place in enumerate(itertools.product(*map(range, kernel))):
        part = _spread(emit, emit("Gather", parts, emit.constant(number, np.int64), axis=2), counts, strides)
        before = [step * each for step, each in zip(steps, place, strict=True)]
        after = [_affine(emit, end, 1, -first) for end, first in zip(ends, before, strict=True)]
        part = emit("Pad", part, _vector(emit, [0, 0, *before, 0, 0, *after]))
        total = emit("Add", total, part) if total else part
    return _without_margin(emit, total, sizes, pairs)


def _end(emit: Emitter, size: SizeOrName, pair: Any, count: SizeOrName, stride: int) -> SizeOrName:
    """Return how much longer an axis with its margin is than a part that is spread along it."""
    spread = _affine(emit, count, -stride, stride - 1)
    return _affine(emit, spread, 1, _affine(emit, size, 1, _width(emit, pair)))


def padded(emit: Emitter, x: str, pairs: Pairs, fill: Any, dtype: Any) -> str:
    """Return an array with a margin of equal numbers around its axes from the third on."""
    if not any(map(any, pairs)):
        return x
    widths = [0, 0, *(before for before, _ in pairs), 0, 0, *(after for _, after in pairs)]
    return emit("Pad", x, _vector(emit, widths), emit.constant(fill, dtype))


def _without_margin(emit: Emitter, x: str, sizes: Sequence[SizeOrName], pairs: Pairs) -> str:
    if not any(map(any, pairs)):
        return x
    starts = [before for before, _ in pairs]
    stops = [_affine(emit, size, 1, before) for size, before in zip(sizes, starts, strict=True)]
    return emit("Slice", x, _vector(emit, starts), _vector(emit, stops), emit.vector(range(2, len(pairs) + 2)))


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


def pairs_of(emit: Emitter, applied: Applied, kernel: Sequence[int], sizes: Sequence[SizeOrName]) -> Pairs:
    """Return the widths of the padding before and after each axis."""
    node: Any = applied.node.node
    if node.padding != "same" or are_integers(sizes):
        return list(padding_pairs(node, kernel, sizes))
    along = zip(sizes, by_axis(node.stride, sizes), spans(node, kernel), strict=True)
    missing = [_missing(emit, *each) for each in along]
    halves = [_quotient(emit, each, 2) for each in missing]
    return [(half, _affine(emit, half, -1, each)) for half, each in zip(halves, missing, strict=True)]


def _missing(emit: Emitter, size: SizeOrName, stride: int, span: int) -> SizeOrName:
    """Return how many values the padding "same" adds along an axis."""
    if isinstance(size, int) or stride == 1:
        return max(0, (size - 1) // stride * stride + span - size) if isinstance(size, int) else span - 1
    last = _affine(emit, _quotient(emit, _affine(emit, size, 1, -1), stride), stride, span)
    return emit("Max", _named(emit, _affine(emit, size, -1, last)), emit.vector([0]))


def _counts(emit: Emitter, applied: Applied, sizes: Sequence[SizeOrName], pairs: Pairs) -> list[SizeOrName]:
    """Return the numbers of patches along each axis."""
    strides, reach = by_axis(applied.stride, sizes), spans(applied.node.node, applied.kernel_size)
    along = zip(sizes, pairs, reach, strides, strict=True)
    return [
        _affine(
            emit, _quotient(emit, _affine(emit, size, 1, _affine(emit, _width(emit, pair), 1, -span)), stride), 1, 1
        )
        for size, pair, span, stride in along
    ]


def _width(emit: Emitter, pair: tuple[SizeOrName, SizeOrName]) -> SizeOrName:
    return _affine(emit, pair[0], 1, pair[1])


def sizes_of(emit: Emitter, x: str, shape: Sequence[Any]) -> list[SizeOrName]:
    """Return the sizes of the axes of an array from the third on."""
    axes = enumerate(shape[2:], 2)
    return [size if isinstance(size, int) else _size_of(emit, x, axis) for axis, size in axes]


def _size_of(emit: Emitter, x: str, axis: int) -> str:
    return emit("Shape", x, start=axis, end=axis + 1)


def _affine(emit: Emitter, size: SizeOrName, factor: int, offset: SizeOrName) -> SizeOrName:
    """Return size * factor + offset."""
    if isinstance(size, int) and isinstance(offset, int):
        return size * factor + offset
    product = _multiple(emit, size, factor)
    return product if offset == 0 else emit("Add", _named(emit, product), _named(emit, offset))


def _multiple(emit: Emitter, size: SizeOrName, factor: int) -> SizeOrName:
    if isinstance(size, int):
        return size * factor
    return size if factor == 1 else emit("Mul", size, emit.vector([factor]))


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
