"""Import of ops that change or return shapes. Shapes fold: what is known of sizes is computed while a model is read."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphengine.format.onnx.drafts import boxed, is_left_open, normalized
from graphengine.format.onnx.onnx_calls import (
    NotKnownYet,
    OnnxCall,
    Unimportable,
    are_arrays,
    bounded,
    cast,
    have_symbols,
    imports,
    is_known,
    op,
)
from graphengine.format.onnx.protos import dtype_of
from graphengine.ir.recording import Symbol
from graphengine.ops.inference import normalized_axes
from graphengine.ops.shapes import are_integers

CONSTANTS = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
"""The attributes that hold the numbers of a constant, with the types of these."""


@imports("Shape")
def shape(call: OnnxCall) -> Any:
    """Import the sizes: known ones as integers, others as symbols."""
    sizes = vector_of(list(call.size(0).shape))
    return normalized(sizes[slice(call.get("start"), call.get("end"))])


@imports("Size")
def size(call: OnnxCall) -> Any:
    """Import the number of values."""
    value = call.size(0)
    return normalized(boxed(value.size) if isinstance(value, Symbol) else np.asarray(value.size))


@imports("Reshape")
def reshape(call: OnnxCall) -> Any:
    """Import a reshape: 0 keeps a size unless `allowzero` is set, -1 is what is left."""
    x = call.size(0)
    target = target_sizes(call, 1, "shape")
    if not isinstance(target, list):
        return np.reshape(call[0], target)
    before = x.shape
    if not call.get("allowzero", 0):
        target = [before[axis] if is_zero(each) else each for axis, each in enumerate(target)]
    return reshaped(call, x, target)


def is_zero(size: Any) -> bool:
    """Whether a size is the number 0."""
    return not isinstance(size, Symbol) and size == 0


def target_sizes(call: OnnxCall, place: int, name: str) -> Any:
    """Return sizes that are requested as a list of integers and symbols, or as a symbol of all of them."""
    if name in call.attributes:
        return list(call.attributes[name])
    value = call.size(place)
    if not isinstance(value, Symbol):
        return [each if isinstance(each, Symbol) else int(each) for each in value.reshape(-1)]
    if value.type.content is None:
        raise NotKnownYet(f"its input '{name}' is computed at run time", call.draft.inputs_of(value))
    return value


def reshaped(call: OnnxCall, x: Any, target: list[Any]) -> Any:
    """Return x in a shape that may have symbols."""
    symbols = sum(isinstance(each, Symbol) for each in target)
    if not symbols:
        return np.reshape(x, tuple(target))
    x = call.draft.as_symbol(x)
    target = [call.draft.left_size(x, target) if is_left_open(each) else each for each in target]
    known = list(map(_known, target))
    if known.count(-1) == 1:  # which one, follows from the others
        return np.reshape(x, tuple(known))
    if known.count(-1) == symbols:  # none is left open
        return op("reshape")(x, call.draft.as_symbol(vector_of(target)))
    return _with_last_joined(call, x, target)


def _with_last_joined(call: OnnxCall, x: Any, target: list[Any]) -> Any:
    """Return x with its last axes joined, if the sizes before them are its own."""
    *first, last = target
    if last is None and tuple(map(call.draft.size_text, first)) == x.type.shape[: len(first)]:
        return op("flatten", axis=len(first))(x)
    raise NotKnownYet("one of its sizes follows from several others that are known only at run time")


def _known(size: Any) -> int:
    """Return a size, -1 for a symbol and for one that is left open."""
    return -1 if isinstance(size, Symbol) or size is None else size


def vector_of(sizes: Any) -> np.ndarray[Any, Any]:
    """Return sizes, integers and symbols, as an array."""
    vector = np.empty(len(sizes), object)
    for place, size in enumerate(sizes):  # at once NumPy would look into symbols
        vector[place] = size
    return vector


@imports("Flatten")
def flatten(call: OnnxCall) -> Any:
    """Import a matrix: the axes before `axis` joined to one, and those from it on."""
    x, axis = call[0], call.get("axis", 1)
    axis = axis % call.rank() if axis < 0 else axis
    if axis == 0:
        return np.reshape(x, (1, -1))
    if axis > 1:
        return _joined(call, x, call.shape()[:axis], call.shape()[axis:])
    return op("flatten", axis=1)(x) if call.rank() > 1 else np.reshape(x, (-1, 1))


def _joined(call: OnnxCall, x: Any, head: tuple[Any, ...], tail: tuple[Any, ...]) -> Any:
    """Return a matrix of the axes `head` and `tail`, of which one has known sizes."""
    if are_integers(tail):
        return np.reshape(x, (-1, math.prod(tail)) if 0 not in tail else (math.prod(call.static(0)[: len(head)]), 0))
    if not are_integers(head):
        raise NotKnownYet("sizes that it needs are known only at run time")
    return np.reshape(x, (math.prod(head), -1))


@imports("Squeeze")
def squeeze(call: OnnxCall) -> Any:
    """Import the removal of axes; without axes, of those whose size is the number 1."""
    axes = call.ints(1, "axes")
    if axes is None:
        axes = [axis for axis, each in enumerate(call.static()) if each == 1]
    return np.squeeze(call.size(0), axis=tuple(axes)) if axes else call.size(0)


@imports("Unsqueeze")
def unsqueeze(call: OnnxCall) -> Any:
    """Import new axes."""
    return np.expand_dims(call.size(0), tuple(call.ints(1, "axes")))


@imports("Transpose")
def transpose(call: OnnxCall) -> Any:
    """Import a transpose."""
    perm = call.get("perm")
    return np.transpose(call[0], None if perm is None else tuple(perm))


@imports("Concat")
def concat(call: OnnxCall) -> Any:
    """Import a concatenation; of sizes, also of those that are not known."""
    values = list(map(call.size, range(len(call))))
    at_once = are_arrays(*values)
    values = values if at_once else call.all
    if len(values) == 1:
        return values[0]
    axis = call.get("axis", 1)
    return np.concatenate(values, axis=axis) if at_once else op("concat", axis=axis)(*values)


@imports("Expand")
def expand(call: OnnxCall) -> Any:
    """Import broadcasting, by which axes of both may be stretched."""
    target, value = target_sizes(call, 1, "shape"), call.size(0)
    if not isinstance(target, list):
        return np.broadcast_to(value, target)
    wide = _stretched(list(value.shape), target)
    if have_symbols(wide):
        return op("broadcast_to")(call.draft.as_symbol(value), call.draft.as_symbol(vector_of(wide)))
    if isinstance(value, np.ndarray):
        return np.broadcast_to(value, bounded(wide))
    return np.broadcast_to(call.draft.as_symbol(value), tuple(map(int, wide)))


def _stretched(own: list[Any], target: list[Any]) -> list[Any]:
    """Return the shape that two shapes broadcast to."""
    own = [1] * (len(target) - len(own)) + own
    kept = len(own) - len(target)
    return [*own[:kept], *[_wider(*each) for each in zip(own[kept:], target, strict=True)]]


def _wider(own: Any, wanted: Any) -> Any:
    """Return the size that two sizes broadcast to."""
    return own if _is_one(wanted) or not _is_one(own) else wanted


def _is_one(size: Any) -> bool:
    return not isinstance(size, Symbol) and size == 1


@imports("Tile")
def tile(call: OnnxCall) -> Any:
    """Import repetition along each axis."""
    if call.version < 6:
        raise Unimportable("opset 1 has other inputs of Tile")
    repeats = tuple(call.ints(1, "repeats"))
    if isinstance(call.raws[0], np.ndarray):
        bounded([size * count for size, count in zip(call.static(), repeats, strict=True)])
    return np.tile(call[0], repeats)


@imports("Constant")
def stored(call: OnnxCall) -> Any:
    """Import a constant of the graph, which is not trained."""
    for name, dtype in CONSTANTS.items():
        if name in call.attributes:
            return np.asarray(call.attributes[name], dtype)
    if "value" not in call.attributes:
        raise Unimportable("text and sparse tensors have no counterpart")
    return call.attributes["value"]


@imports("ConstantOfShape")
def filled(call: OnnxCall) -> Any:
    """Import a constant, or one number that is repeated at run time."""
    value = np.asarray(call.get("value", np.zeros(1, np.float32))).reshape(())
    target = target_sizes(call, 0, "input")
    if isinstance(target, list):
        if not have_symbols(target):
            return np.full(bounded(target), value)
        target = call.draft.as_symbol(vector_of(target))
    return op("broadcast_to")(call.draft.as_symbol(value), target)


@imports("Range")
def arange(call: OnnxCall) -> Any:
    """Import an arithmetic sequence, start + step * number; of integers its limits may be known only at run time."""
    limits = [_limit(call, place) for place in range(3)]
    if call.dtype().kind in "iu" and have_symbols(limits):
        return cast(op("arange")(*limits), call.dtype())
    start, limit, delta = (call.number(place, name) for place, name in enumerate(("start", "limit", "delta")))
    if not delta:
        raise Unimportable("its step is 0")
    (count,) = bounded([max(0, math.ceil((limit - start) / delta))])
    dtype = call.dtype()
    return (start + delta * np.arange(count)).astype(dtype)


def _limit(call: OnnxCall, place: int) -> Any:
    """Return a limit of a sequence: a number, or a symbol of one."""
    value = call.size(place)
    if is_known(value):
        return value.reshape(-1)[0].item() if value.size == 1 else None
    symbol = value if isinstance(value, Symbol) else call.draft.as_symbol(value)
    return np.reshape(symbol, ()) if symbol.ndim else symbol


@imports("EyeLike")
def eye_like(call: OnnxCall) -> Any:
    """Import ones on a diagonal."""
    number = call.get("dtype")
    dtype = call.dtype() if number is None else dtype_of(number)
    rows, columns = bounded(call.static())
    return np.eye(rows, columns, call.get("k", 0), dtype)


@imports("Trilu")
def trilu(call: OnnxCall) -> Any:
    """Import a triangle of matrices."""
    k = call.number(1, "k") if call.has(1) else 0
    x, name = call[0], "triu" if call.get("upper", 1) else "tril"
    return getattr(np, name)(x, k) if isinstance(x, np.ndarray) else op(name, k=k)(x)


@imports("Pad")
def pad(call: OnnxCall) -> Any:
    """Import margins; negative widths cut."""
    pairs, mode = _widths(call), call.text("mode", "constant")
    x, pairs = cropped(call[0], pairs), added_widths(pairs)
    if not any(map(any, pairs)):
        return x
    return padded(x, pairs, _filling(call)) if mode == "constant" else op("pad", pad_width=tuple(pairs), mode=mode)(x)


def _widths(call: OnnxCall) -> list[tuple[int, int]]:
    """Return the widths before and after each axis."""
    widths, rank = call.ints(1, "paddings" if call.version < 2 else "pads"), call.rank()
    axes = normalized_axes(tuple(call.ints(3, "axes", range(rank))), rank)
    pairs = [(0, 0)] * rank
    for number, axis in enumerate(axes):
        pairs[axis] = (widths[number], widths[number + len(axes)])
    return pairs


def _filling(call: OnnxCall) -> Any:
    if call.version < 11:
        return call.get("value", 0.0)
    return call.number(2, "constant_value") if call.has(2) else 0


def added_widths(pairs: Any) -> list[tuple[int, int]]:
    """Return the widths that are not negative, and 0 for the others."""
    return [(max(before, 0), max(after, 0)) for before, after in pairs]


def padded(x: Any, pairs: Any, value: Any) -> Any:
    """Return x with margins of a number."""
    number = float(value)
    text = "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    fill = number if math.isfinite(number) else text
    return op("pad", pad_width=tuple(map(tuple, pairs)), constant_values=fill)(x)


def cropped(x: Any, pairs: Any) -> Any:
    """Return x without what negative widths take off."""
    cut = [axis for axis, pair in enumerate(pairs) if min(pair) < 0]
    if not cut:
        return x
    starts, stops = zip(*[_inside(*pairs[axis]) for axis in cut], strict=True)
    return op("slice", start=starts, stop=stops, axis=tuple(cut))(x)


def _inside(before: int, after: int) -> tuple[int, int | None]:
    """Return where a slice begins and ends that negative widths leave."""
    return max(-before, 0), min(after, 0) or None


@imports("DepthToSpace")
def depth_to_space(call: OnnxCall) -> Any:
    """Import blocks of pixels that lie on channels."""
    x, block = call[0], call.get("blocksize")
    _, channels, height, width = (None, *call.static(0, range(1, 4)))
    deep = channels // block**2
    if call.text("mode", "DCR") == "DCR":
        parts, order = (-1, block, block, deep, height, width), (0, 3, 4, 1, 5, 2)
    else:
        parts, order = (-1, deep, block, block, height, width), (0, 1, 4, 2, 5, 3)
    return np.reshape(np.transpose(np.reshape(x, parts), order), (-1, deep, height * block, width * block))


@imports("SpaceToDepth")
def space_to_depth(call: OnnxCall) -> Any:
    """Import blocks of pixels that go to channels."""
    x, block = call[0], call.get("blocksize")
    channels, height, width = call.static(0, range(1, 4))
    parts = np.reshape(x, (-1, channels, height // block, block, width // block, block))
    depth_first = call.text("mode", "DCR") == "DCR"
    blocks = np.transpose(parts, (0, 3, 5, 1, 2, 4) if depth_first else (0, 1, 3, 5, 2, 4))
    return np.reshape(blocks, (-1, channels * block**2, height // block, width // block))
