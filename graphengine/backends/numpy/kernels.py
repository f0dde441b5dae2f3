"""The table of the NumPy backend, from kernel ops to their calls; `lowering` makes those of ufuncs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphengine.backends.numpy.calls import Call, is_float, made, operand_kind, operand_shape
from graphengine.backends.protocol import Instruction
from graphengine.ops.inference import normalized_axes
from graphengine.ops.shapes import ArrayType
from graphengine.ops.sums import add_up, sums_in_blocks

MOST_CLASSES = 256
"""Indices up to which `one_hot` has a unit matrix."""
REDUCE = {
    "sum": np.add.reduce,
    "prod": np.multiply.reduce,
    "max": np.maximum.reduce,
    "min": np.minimum.reduce,
    "any": np.logical_or.reduce,
    "all": np.logical_and.reduce,
}


def _reduction(instruction: Instruction) -> Call | None:
    node: Any = instruction.node
    axes, reduce = normalized_axes(node.axis, len(operand_shape(instruction))), REDUCE[instruction.op]
    if 0 in operand_shape(instruction) and reduce in (np.maximum.reduce, np.minimum.reduce):
        return None  # the node says what the extremum of no values is
    if reduce == np.add.reduce and sums_in_blocks(instruction.operand_types[0], axes):
        return _sum_in_blocks(instruction, axes, node.keepdims)
    return _reduce(instruction, reduce, axes if len(axes) != 1 else axes[0], node.keepdims)


def _reduce(instruction: Instruction, reduce: Any, axes: Any, keepdims: bool) -> Call:
    (kind,), first = instruction.types, instruction.inputs[:1]
    if kind.shape == ():
        if is_float(kind):
            return made(instruction, lambda x: float(reduce(x, axes)), first)
        return made(instruction, lambda x: reduce(x, axes), first)

    def call(x: Any, out: Any) -> Any:
        return reduce(x, axes, None, out, keepdims)

    return made(instruction, call, first, writes=True)


def _sum_in_blocks(instruction: Instruction, axes: tuple[int, ...], keepdims: bool) -> Call:
    """The sum of many numbers of single precision."""

    def call(x: Any, out: Any = None) -> Any:
        return add_up(x, axes, keepdims, out)

    return made(instruction, call, instruction.inputs[:1], writes=instruction.types[0].shape != ())


def _is_array_of_floats(kind: ArrayType) -> bool:
    return kind.shape != () and kind.dtype in (np.float32, np.float64)


def _norm(instruction: Instruction) -> Call | None:
    """The Euclidean norm with its axes and its smallest exact sum of squares known."""
    from graphengine.ops.norms import SMALLEST, norm_of_all, norm_over

    node: Any = instruction.node
    kind = operand_kind(instruction)
    shape: Any = kind.shape
    if node.ord != 2 or not _is_array_of_floats(kind):
        return None
    axes, result = normalized_axes(node.axis, len(shape)), instruction.types[0]
    smallest = math.prod(shape) * SMALLEST[kind.array_dtype.type]
    if is_float(result):
        return made(instruction, lambda x: norm_of_all(x, smallest))
    if not node.keepdims or result.shape == ():
        return made(instruction, lambda x: norm_over(x, axes, smallest))
    final: Any = result.shape
    return made(instruction, lambda x: norm_over(x, axes, smallest).reshape(final))


def _sum_to(instruction: Instruction) -> Call | None:
    """One reduction where one does; the general case is the node's own."""
    shape, (kind,) = operand_shape(instruction), instruction.types
    extra = len(shape) - len(kind.shape)
    if instruction.inputs[1] is not None or shape[extra:] != kind.shape:
        return None
    if sums_in_blocks(instruction.operand_types[0], range(extra)):
        return _sum_in_blocks(instruction, tuple(range(extra)), False)
    return _reduce(instruction, np.add.reduce, tuple(range(extra)), False)


def _has_one_operand(instruction: Instruction) -> bool:
    """Whether all operands but the first are omitted."""
    return all(operand is None for operand in instruction.inputs[1:])


def _reshape(instruction: Instruction) -> Call | None:
    if not _has_one_operand(instruction):
        return None
    first, (kind,) = instruction.inputs[:1], instruction.types
    if is_float(kind):
        return made(instruction, lambda x: float(np.asarray(x).reshape(())), first)
    shape: Any = kind.shape
    return made(instruction, lambda x: np.asarray(x).reshape(shape), first, aliases=True)


def _concat(instruction: Instruction) -> Call | None:
    axis = instruction.node.axis  # type: ignore[attr-defined]

    def call(*arrays: Any) -> Any:
        return np.concatenate(arrays[:-1], axis, arrays[-1])

    return made(instruction, call, writes=True)


def split_views(instruction: Instruction) -> Callable[..., Any]:
    """Parts of an array by slices that are made once: of many parts, each takes NumPy's own call ten times as long."""
    node: Any = instruction.node
    whole = operand_shape(instruction)
    (axis,) = normalized_axes(node.axis, len(whole))
    sizes: list[Any] = [kind.shape[axis] for kind in instruction.types]
    if None in sizes or sum(sizes) != whole[axis]:
        return node.forward  # type: ignore[no-any-return] # of sizes that are not known, or places in no order
    edges, before = [0, *itertools.accumulate(sizes)], (slice(None),) * axis
    places = [(*before, slice(start, stop)) for start, stop in itertools.pairwise(edges)]
    return lambda x: [x[place] for place in places]


def _transpose(instruction: Instruction) -> Call | None:
    if instruction.types[0].shape == ():
        return None
    axes = instruction.node.axes  # type: ignore[attr-defined]
    return made(instruction, lambda x: x.transpose(axes), aliases=True, reorders=True)


def _slice(instruction: Instruction) -> Call | None:
    """A view by an index that is made once."""
    (kind,) = instruction.types
    if kind.shape == ():
        return None
    from graphengine.ops.families.selection import slice_index

    index = slice_index(instruction.node, len(kind.shape))  # type: ignore[no-untyped-call]
    return made(instruction, lambda x: x[index], aliases=True)


def _broadcast_to(instruction: Instruction) -> Call | None:
    if instruction.inputs[1] is not None:
        return None
    shape: Any = instruction.types[0].shape
    function = lambda x: np.broadcast_to(x, shape)  # noqa: E731
    return made(instruction, function, instruction.inputs[:1], aliases=True, reorders=True)


def _cast(instruction: Instruction) -> Call | None:
    (kind,) = instruction.types
    if kind.shape == ():
        return None
    dtype = kind.array_dtype

    def call(x: Any, out: Any) -> Any:
        if out is None:
            return x.astype(dtype)
        np.copyto(out, x, casting="unsafe")
        return out

    return made(instruction, call, writes=True)


def _one_hot(instruction: Instruction) -> Call:
    """Rows of a unit matrix, made once; where an index is out of range, a comparison with the possible indices."""
    depth = instruction.node.depth  # type: ignore[attr-defined]
    from graphengine.ops.families.selection import from_the_front

    indices = np.arange(depth)
    shape: Any = instruction.types[0].shape
    dtype = instruction.types[0].array_dtype

    rows = np.eye(depth, dtype=dtype) if depth <= MOST_CLASSES else np.empty((0, depth), dtype)

    def call(targets: Any, out: Any) -> Any:
        result = np.empty(shape, dtype) if out is None else out
        try:
            return rows.take(targets, 0, result)
        except (IndexError, TypeError):  # of no unit matrix, or unsigned indices of 64 bits
            pass
        return np.equal(from_the_front(targets, depth)[..., None], indices, out=result)  # type: ignore[no-untyped-call]

    return made(instruction, call, writes=True)


def _into(instruction: Instruction) -> Call | None:
    """An op of one input whose class can write its result into an array that is there."""
    if not _has_one_operand(instruction):
        return None
    first = instruction.inputs[:1]
    node: Any = instruction.node
    into, dtype = node.into, instruction.types[0].array_dtype
    shape: Any = instruction.types[0].shape

    def call(x: Any, out: Any) -> Any:
        return into(x, np.empty(shape, dtype) if out is None else out)

    return made(instruction, call, first, writes=True)


def _take_along_axis(instruction: Instruction) -> Call | None:
    """Indexing along the last axis with the row numbers made once."""
    node: Any = instruction.node
    shape: Any = instruction.types[0].shape
    if node.axis not in (-1, len(shape) - 1):
        return None
    size: Any = operand_shape(instruction)[-1]
    count = math.prod(shape[:-1])
    rows = np.arange(count)[:, None]

    def call(x: Any, indices: Any) -> Any:
        return x.reshape(count, size)[rows, indices.reshape(count, shape[-1])].reshape(shape)

    return made(instruction, call)


KERNELS: Mapping[str, Callable[[Instruction], Call | None]] = {
    **dict.fromkeys(REDUCE, _reduction),
    "norm": _norm,
    "sum_to": _sum_to,
    "reshape": _reshape,
    "expand_dims": _reshape,
    "squeeze": _reshape,
    "concat": _concat,
    "transpose": _transpose,
    "slice": _slice,
    "broadcast_to": _broadcast_to,
    "cast": _cast,
    "one_hot": _one_hot,
    "unfold": _into,
    "fold": _into,
    "take_along_axis": _take_along_axis,
}
VIEWS: Mapping[str, Callable[[Instruction], Callable[..., Any]]] = {"split": split_views}
"""Ops of several outputs, all views of what they read."""
