"""Rules of ops that change shapes, and that select, join and add parts of arrays."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from graphengine.format.onnx.emitting import Applied, Emitter, exports
from graphengine.ops.families import patches
from graphengine.ops.inference import normalized_axes

by_axis: Callable[..., Any] = patches.by_axis
LAST, FIRST = np.iinfo(np.int64).max, np.iinfo(np.int64).min


@exports("constant")
def constant(emit: Emitter, applied: Applied) -> str:
    """Write an initializer."""
    return emit.constant(applied.forward(), emit.result_dtype(applied))


@exports("shape")
def shape(emit: Emitter, applied: Applied) -> str:
    """Write Shape."""
    return emit("Shape", emit.read(applied))


@exports("size")
def size(emit: Emitter, applied: Applied) -> str:
    """Write Size, or one number of Shape."""
    x = emit.read(applied)
    if applied.axis is None:
        return emit("Size", x)
    axis = applied.axis % applied.rank()
    return emit("Squeeze", emit("Shape", x, start=axis, end=axis + 1), emit.vector([0]))


def target_of(emit: Emitter, applied: Applied) -> str:
    """Return the shape that is requested: an attribute, or a vector."""
    if applied.target is not None:
        return emit.vector(applied.target)
    return emit.read(applied, 1, np.int64)


@exports("reshape")
def reshape(emit: Emitter, applied: Applied) -> str:
    """Write Reshape, where a size of 0 is a size."""
    return emit("Reshape", emit.read(applied), target_of(emit, applied), allowzero=1)


@exports("broadcast_to")
def broadcast_to(emit: Emitter, applied: Applied) -> str:
    """Write Expand."""
    dtype = emit.result_dtype(applied)
    return emit("Expand", emit.read(applied, 0, dtype), target_of(emit, applied))


@exports("zeros_like", "ones_like")
def filled_like(emit: Emitter, applied: Applied) -> str:
    """Write ConstantOfShape."""
    dtype = emit.result_dtype(applied)
    value = emit.helper.make_tensor("value", emit.tensor_type(dtype), [1], [int(applied.node.op == "ones_like")])
    return emit("ConstantOfShape", emit("Shape", emit.read(applied)), value=value)


@exports("stop_gradient")
def unchanged(emit: Emitter, applied: Applied) -> str:
    """Write nothing: the value itself."""
    return emit.read(applied, 0, emit.result_dtype(applied))


@exports("expand_dims")
def expand_dims(emit: Emitter, applied: Applied) -> str:
    """Write Unsqueeze."""
    return emit("Unsqueeze", emit.read(applied), emit.vector(normalized_axes(applied.axis, len(applied.result.shape))))


@exports("squeeze")
def squeeze(emit: Emitter, applied: Applied) -> str:
    """Write Squeeze."""
    return emit("Squeeze", emit.read(applied), emit.vector(normalized_axes(applied.axis, applied.rank())))


@exports("transpose")
def transpose(emit: Emitter, applied: Applied) -> str:
    """Write Transpose."""
    rank = applied.rank()
    if rank == 0:
        return emit.read(applied)
    axes = range(rank)[::-1] if applied.axes is None else normalized_axes(applied.axes, rank)
    return emit("Transpose", emit.read(applied), perm=list(axes))


@exports("concat")
def concat(emit: Emitter, applied: Applied) -> str:
    """Write Concat."""
    dtype = emit.result_dtype(applied)
    values = [emit.read(applied, place, dtype) for place in range(len(applied.node.inputs))]
    return emit("Concat", *values, axis=applied.axis % len(applied.result.shape))


@exports("stack")
def stack(emit: Emitter, applied: Applied) -> str:
    """Write Concat of values that have a new axis."""
    dtype = emit.result_dtype(applied)
    axis = normalized_axes(applied.axis, len(applied.result.shape))[0]
    places = emit.vector([axis])
    values = [emit("Unsqueeze", emit.read(applied, place, dtype), places) for place in range(len(applied.node.inputs))]
    return emit("Concat", *values, axis=axis)


@exports("slice")
def cut(emit: Emitter, applied: Applied) -> str:
    """Write Slice."""
    return emit("Slice", emit.read(applied), *_cuts(emit, applied))


def _cuts(emit: Emitter, applied: Applied) -> list[str]:
    """Return starts, stops, axes and steps as Slice takes them."""
    axes = by_axis(applied.axis, [0])
    starts, stops, steps = (by_axis(each, axes) for each in (applied.start, applied.stop, applied.step))
    ends = [_ends(*each) for each in zip(starts, stops, steps, strict=True)]
    begin, finish = [start for start, _ in ends], [stop for _, stop in ends]
    return [emit.vector(each) for each in (begin, finish, axes, steps)]


def _ends(start: int | None, stop: int | None, step: int) -> tuple[int, int]:
    """Return where a slice begins and ends; Slice has numbers for the ends of an axis."""
    first, last = (0, LAST) if step > 0 else (LAST, FIRST)
    return first if start is None else start, last if stop is None else stop


@exports("slice_add")
def slice_add(emit: Emitter, applied: Applied) -> str:
    """Write ScatterND of sums at the places that the slice has in the flat array."""
    dtype = emit.result_dtype(applied)
    x, updates = emit.read(applied, 0, dtype), emit.read(applied, 1, dtype)
    sizes, cuts = emit("Shape", x), _cuts(emit, applied)
    zero, one = emit.constant(0, np.int64), emit.constant(1, np.int64)
    numbers = emit("Reshape", emit("Range", zero, emit("Size", x), one), sizes, allowzero=1)
    places = emit("Reshape", emit("Slice", numbers, *cuts), emit.vector([-1, 1]))
    sums = emit("Reshape", emit("Add", emit("Slice", x, *cuts), updates), emit.vector([-1]))
    flat = emit("Reshape", x, emit.vector([-1]))
    return emit("Reshape", emit("ScatterND", flat, places, sums), sizes, allowzero=1)


@exports("gather")
def gather(emit: Emitter, applied: Applied) -> str:
    """Write Gather."""
    return emit("Gather", emit.read(applied), emit.read(applied, 1, np.int64), axis=applied.axis % applied.rank())


@exports("take_along_axis")
def take_along_axis(emit: Emitter, applied: Applied) -> str:
    """Write GatherElements."""
    return emit(
        "GatherElements", emit.read(applied), emit.read(applied, 1, np.int64), axis=applied.axis % applied.rank()
    )


@exports("scatter_add")
def scatter_add(emit: Emitter, applied: Applied) -> str:
    """Write ScatterElements that adds."""
    dtype = emit.result_dtype(applied)
    values = emit.read(applied, 0, dtype), emit.read(applied, 1, np.int64), emit.read(applied, 2, dtype)
    return emit("ScatterElements", *values, axis=applied.axis % applied.rank(), reduction="add")


@exports("one_hot")
def one_hot(emit: Emitter, applied: Applied) -> str:
    """Write a comparison with 0, 1, ...; negative targets count from the end."""
    targets, depth = emit.read(applied, 0, np.int64), emit.constant(applied.depth, np.int64)
    negative = emit("Less", targets, emit.constant(0, np.int64))
    counted = emit("Where", negative, emit("Add", targets, depth), targets)
    column = emit("Unsqueeze", counted, emit.vector([-1]))
    return emit.cast(emit("Equal", column, emit.vector(range(applied.depth))), bool, emit.result_dtype(applied))


@exports("tril", "triu")
def triangle(emit: Emitter, applied: Applied) -> str:
    """Write Trilu."""
    k = emit.constant(applied.k, np.int64)
    return emit("Trilu", emit.read(applied), k, upper=int(applied.node.op == "triu"))


@exports("flip")
def flip(emit: Emitter, applied: Applied) -> str:
    """Write Slice with steps of -1."""
    axes = normalized_axes(applied.axis, applied.rank())
    if not axes:
        return emit.read(applied)
    starts, stops, steps = ([number] * len(axes) for number in (LAST, FIRST, -1))
    return emit("Slice", emit.read(applied), *map(emit.vector, (starts, stops, axes, steps)))


@exports("tile")
def tile(emit: Emitter, applied: Applied) -> str:
    """Write Tile, with axes of size 1 in front where there are more numbers than axes."""
    extra = len(applied.reps) - applied.rank()
    x = emit.read(applied)
    if extra > 0:
        x = emit("Unsqueeze", x, emit.vector(range(extra)))
    return emit("Tile", x, emit.vector([*[1] * -extra, *applied.reps]))


@exports("index_add")
def index_add(emit: Emitter, applied: Applied) -> str:
    """Write ScatterElements that adds, with the axes of the indices joined to one."""
    dtype, rank = emit.result_dtype(applied), applied.rank(1)
    x, updates = emit.read(applied, 0, dtype), emit.read(applied, 2, dtype)
    axis = applied.axis % applied.rank()
    sizes = emit("Shape", updates)
    before, after = emit("Shape", updates, start=0, end=axis), emit("Shape", updates, start=axis + rank)
    count = emit("Reshape", emit("Size", emit.read(applied, 1)), emit.vector([1]))
    joined = emit("Concat", before, count, after, axis=0) if rank != 1 else sizes
    flat = emit("Reshape", updates, joined, allowzero=1)
    column = [1] * axis + [-1] + [1] * (applied.rank() - axis - 1)
    places = emit("Expand", emit("Reshape", emit.read(applied, 1, np.int64), emit.vector(column)), joined)
    return emit("ScatterElements", x, places, flat, axis=axis, reduction="add")


@exports("split")
def split(emit: Emitter, applied: Applied) -> tuple[str, ...]:
    """Write Slice for each part."""
    x, axis, cuts = emit.read(applied), applied.axis, applied.indices_or_sections
    if isinstance(cuts, int):
        size = applied.shape()[axis]
        if not isinstance(size, int):
            return _equal_parts(emit, x, axis % applied.rank(), cuts)
        cuts = range(size // cuts, size, size // cuts) if size else [0] * (cuts - 1)
    ends = zip((0, *cuts), (*cuts, LAST), strict=True)
    return tuple([emit("Slice", x, *map(emit.vector, ([start], [stop], [axis]))) for start, stop in ends])


def _equal_parts(emit: Emitter, x: str, axis: int, count: int) -> tuple[str, ...]:
    """Write Slice for each part, whose size is computed."""
    size = emit("Div", emit("Shape", x, start=axis, end=axis + 1), emit.vector([count]))
    ends = [emit("Mul", size, emit.vector([number])) for number in range(count + 1)]
    return tuple([emit("Slice", x, *pair, emit.vector([axis])) for pair in itertools.pairwise(ends)])


@exports("split_like")
def split_like(emit: Emitter, applied: Applied) -> tuple[str, ...]:
    """Write Slice for each part, from where the one before ends."""
    x, axis = emit.read(applied), applied.axis % applied.rank()
    start, places, parts = emit.vector([0]), emit.vector([axis]), []
    for place in range(1, applied.parts + 1):
        stop = emit("Add", start, emit("Shape", emit.read(applied, place), start=axis, end=axis + 1))
        parts.append(emit("Slice", x, start, stop, places))
        start = stop
    return tuple(parts)


@exports("flatten")
def flatten(emit: Emitter, applied: Applied) -> str:
    """Write Reshape."""
    shape = applied.result.shape
    if all(isinstance(size, int) for size in shape):
        return emit("Reshape", emit.read(applied), emit.vector(shape), allowzero=1)
    return emit("Reshape", emit.read(applied), emit.vector([*[0] * (len(shape) - 1), -1]))


@exports("scatter")
def scatter(emit: Emitter, applied: Applied) -> str:
    """Write ScatterElements."""
    dtype = emit.result_dtype(applied)
    values = emit.read(applied, 0, dtype), emit.read(applied, 1, np.int64), emit.read(applied, 2, dtype)
    return emit("ScatterElements", *values, axis=applied.axis % applied.rank(), reduction=applied.reduction)


@exports("arange")
def arange(emit: Emitter, applied: Applied) -> str:
    """Write Range."""
    given = dict(zip(("start", "stop", "step"), applied.node.inputs, strict=False))
    names = {
        key: emit.read(applied, place, np.int64) for place, (key, ref) in enumerate(given.items()) if ref is not None
    }
    first, step = emit.constant(0, np.int64), emit.constant(1, np.int64)
    limits = (names.get("start", first), names["stop"]) if "stop" in names else (first, names["start"])
    return emit("Range", *limits, names.get("step", step))


@exports("argsort")
def argsort(emit: Emitter, applied: Applied) -> str:
    """Write the places that TopK finds of all values."""
    axis = applied.axis % applied.rank()
    return _first(emit, applied, emit("Shape", emit.read(applied), start=axis, end=axis + 1), applied.descending)[1]


@exports("topk")
def topk(emit: Emitter, applied: Applied) -> tuple[str, ...]:
    """Write TopK."""
    values, places = _first(emit, applied, emit.vector([applied.k]), applied.largest)
    return emit.cast(values, _wide(emit, applied), emit.result_dtype(applied)), places


def _first(emit: Emitter, applied: Applied, count: str, largest: bool) -> list[str]:
    """Write TopK, and return the names of the values and of their places."""
    x = emit.read(applied, 0, _wide(emit, applied))
    names = [emit.free(applied.node.id) for _ in range(2)]
    attributes = {"axis": applied.axis % applied.rank(), "largest": int(largest), "sorted": 1}
    emit.nodes.append(emit.helper.make_node("TopK", [x, count], names, **attributes))
    return names


def _wide(emit: Emitter, applied: Applied) -> np.dtype[Any]:
    """Return the dtype that the runtime sorts: it has 64 and 32 bits."""
    dtype = emit.operand_dtype(applied, 0)
    return dtype if dtype.kind == "f" else np.dtype(np.int64)
