"""Import of ops that select, put together and scatter parts of arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphengine.format.onnx.drafts import boxed
from graphengine.format.onnx.onnx_calls import NotKnownYet, OnnxCall, Unimportable, bounded, cast, imports, is_known, op

FAR = 2**31 - 1
"""No axis has so many places."""


@imports("Slice")
def cut(call: OnnxCall) -> Any:
    """Import a slice; ends beyond an axis are its ends."""
    cuts, x = _cuts(call), call.size(0)
    if isinstance(x, np.ndarray):
        return x[tuple([dict(cuts).get(axis, slice(None)) for axis in range(x.ndim)])]
    found = [(axis, each.start, each.stop, each.step) for axis, each in cuts if each != slice(None, None, 1)]
    if not found:
        return x
    axis, start, stop, step = zip(*found, strict=True)
    return op("slice", start=start, stop=stop, step=step, axis=axis)(x)


def _cuts(call: OnnxCall) -> list[tuple[int, slice]]:
    """Return the axes that are cut, each with what is left of it."""
    starts, stops = call.ints(1, "starts"), call.ints(2, "ends")
    rank = call.rank()
    axes = [axis % rank for axis in call.ints(3, "axes", range(len(starts)))]
    steps = call.ints(4, "steps", [1] * len(starts))
    along = zip(axes, starts, stops, steps, strict=True)
    return [(axis, slice(*_bounds(start, stop, step), step)) for axis, start, stop, step in along]


def _bounds(start: int, stop: int, step: int) -> tuple[int | None, int | None]:
    """Return bounds as Python has them; ONNX writes the ends of an axis as numbers beyond it."""
    first, last = (-FAR, FAR) if step > 0 else (FAR, -FAR)
    start = first if step > 0 and start == 0 else start
    return _unless_beyond(start, first), _unless_beyond(stop, last)


def _unless_beyond(place: int, end: int) -> int | None:
    """Return a place, None for one that is as far as an end, or farther."""
    return None if place * end >= end**2 else place


@imports("Gather")
def gather(call: OnnxCall) -> Any:
    """Import parts by their indices; a size of a shape stays a size."""
    x, indices, axis = call.size(0), call.size(1), call.axis(0)
    if isinstance(x, np.ndarray) and is_known(indices):
        return _taken(x, indices.astype(np.int64), axis)
    return op("gather", axis=axis)(call[0], call[1])


def _taken(x: np.ndarray[Any, Any], indices: np.ndarray[Any, Any], axis: int) -> np.ndarray[Any, Any]:
    taken = np.take(x, indices, axis=axis)
    is_one_size = x.dtype == object and indices.ndim == 0 and x.ndim == 1
    return boxed(taken) if is_one_size else np.asarray(taken, x.dtype)


@imports("GatherElements")
def gather_elements(call: OnnxCall) -> Any:
    """Import values by their indices along an axis; the other axes of the indices may be shorter."""
    x, indices, axis = call[0], call[1], call.axis(0)
    return op("take_along_axis", axis=axis)(_narrowed(call, x, 1, axis), indices)


def _narrowed(call: OnnxCall, x: Any, place: int, axis: int) -> Any:
    """Return x cut to the sizes of indices but along the axis."""
    own, wanted = call.shape(0), call.shape(place)
    cuts = [each for each in range(len(own)) if each != axis and own[each] != wanted[each]]
    if not cuts:
        return x
    sizes = call.static(place, cuts)
    return op("slice", start=(0,) * len(cuts), stop=sizes, axis=tuple(cuts))(x)


@imports("GatherND")
def gather_nd(call: OnnxCall) -> Any:
    """Import parts by tuples of indices, as one index into the axes that they select in, joined to one."""
    x, indices, batch = call[0], call[1], call.get("batch_dims", 0)
    depth = call.static(1, [call.rank(1) - 1])[0]
    joined = call.static(0, range(batch + depth))
    places = _flat_places(indices, joined[batch:])
    rest = call.shape()[batch + depth :]
    if batch:
        return _batched(call, x, places, joined, batch)
    if not all(isinstance(each, int) for each in rest):
        raise NotKnownYet("sizes that it needs are known only at run time")
    flat = np.reshape(x, (int(np.prod(joined)), *rest))
    return op("gather", axis=0)(flat, places)


def _batched(call: OnnxCall, x: Any, places: Any, joined: tuple[int, ...], batch: int) -> Any:
    """Return parts of each array of a batch: the batch is an index as well."""
    lead, inside = int(np.prod(joined[:batch])), int(np.prod(joined[batch:]))
    rest = call.static()[len(joined) :]
    bounded([lead])
    first = (np.arange(lead) * inside).reshape(*joined[:batch], *[1] * (call.rank(1) - 1 - batch))
    flat = np.reshape(x, (lead * inside, *rest))
    return op("gather", axis=0)(flat, places + first)


def _flat_places(indices: Any, sizes: tuple[int, ...]) -> Any:
    """Return tuples of indices as indices into axes that are joined to one."""
    depth = len(sizes)
    places: Any = None
    strides = np.cumprod([1, *sizes[:0:-1]])[::-1]
    for number, (size, stride) in enumerate(zip(sizes, strides, strict=True)):
        part = np.take(indices, number, axis=-1)
        part = cast(part, np.int64)
        part = np.where(np.less(part, 0), part + size, part) * int(stride)
        places = part if places is None else places + part
    if not depth:
        raise Unimportable("its indices are empty")
    return places


@imports("ScatterElements", "Scatter")
def scatter_elements(call: OnnxCall) -> Any:
    """Import values put, or added, at indices along an axis."""
    reduction, axis = call.text("reduction", "none"), call.axis(0)
    x, indices, updates = call.all
    shape, wanted = call.shape(0), call.shape(1)
    if any(own != other for place, (own, other) in enumerate(zip(shape, wanted, strict=True)) if place != axis):
        return _scattered_flat(call, axis, reduction)
    return _scatter(reduction, axis)(x, indices, updates)


def _scatter(reduction: str, axis: int) -> Any:
    """Return the node that scatters along an axis."""
    return op("scatter_add", axis=axis) if reduction == "add" else op("scatter", axis=axis, reduction=reduction)


def _scattered_flat(call: OnnxCall, axis: int, reduction: str) -> Any:
    """Scatter into the flat array: indices may be shorter than x along other axes."""
    sizes, wanted = call.static(0), call.static(1)
    indices = cast(call[1], np.int64)
    indices = np.where(np.less(indices, 0), indices + sizes[axis], indices)
    strides = np.cumprod([1, *sizes[:0:-1]])[::-1]
    grid = np.indices(bounded(wanted))
    others = sum((grid[place] * int(strides[place]) for place in range(len(sizes)) if place != axis), np.zeros(wanted))
    places = np.reshape(indices * int(strides[axis]) + others.astype(np.int64), (-1,))
    return _into_flat(call, places, np.reshape(call[2], (-1,)), sizes, reduction)


def _into_flat(call: OnnxCall, places: Any, updates: Any, sizes: tuple[int, ...], reduction: str) -> Any:
    """Return x with updates at places of its flat form."""
    flat = np.reshape(call[0], (int(np.prod(sizes)), *[1] * 0))
    return np.reshape(_scatter(reduction, 0)(flat, places, updates), sizes)


@imports("ScatterND")
def scatter_nd(call: OnnxCall) -> Any:
    """Import parts put, or added, at tuples of indices."""
    sizes, depth = call.static(0), call.static(1, [call.rank(1) - 1])[0]
    lead, rest = sizes[:depth], sizes[depth:]
    inside = int(np.prod(rest))
    bounded([inside])
    first = np.reshape(_flat_places(call[1], lead), (-1, 1)) * inside
    places = np.reshape(first + np.arange(inside), (-1,))
    return _into_flat(call, places, np.reshape(call[2], (-1,)), sizes, call.text("reduction", "none"))


@imports("OneHot")
def one_hot(call: OnnxCall) -> Any:
    """Import a new axis with the value `on` where its index is the target, negative ones counted from the end."""
    depth, axis = int(call.number(1, "depth")), call.get("axis", -1)
    targets, values = call[0], call[2]
    targets = cast(targets, np.int64) if targets.dtype.kind != "i" else targets
    off, on = (np.take(values, place, axis=0) for place in (0, 1))
    hot = op("one_hot", depth=depth, dtype="bool")(targets)
    rank = call.rank() + 1
    chosen = np.where(hot, on, off)
    return chosen if axis % rank == rank - 1 else np.transpose(chosen, _moved(rank, axis % rank))


def _moved(rank: int, axis: int) -> tuple[int, ...]:
    """Return the order of axes that moves the last one to a place."""
    order = list(range(rank - 1))
    order.insert(axis, rank - 1)
    return tuple(order)


@imports("Split")
def split(call: OnnxCall) -> Any:
    """Import parts along an axis."""
    x, axis, count = call[0], call.axis(0), call.count
    sizes = call.ints(1, "split")
    if sizes is None:
        (size,) = call.static(0, [axis])
        part = -(-size // call.get("num_outputs", count))
        sizes = [min(part, size - part * number) for number in range(count)]
    if len(sizes) == 1:
        return (x,)
    return op("split", indices_or_sections=tuple(np.cumsum(sizes[:-1]).tolist()), axis=axis)(x)


@imports("Compress")
def compress(call: OnnxCall) -> Any:
    """Import parts that a known condition chooses."""
    chosen = np.flatnonzero(call.known(1, "condition"))
    if "axis" not in call.attributes:
        return np.take(np.reshape(call[0], (-1,)), chosen, axis=0)
    return np.take(call[0], chosen, axis=call.axis(0))


@imports("ReverseSequence")
def reverse_sequence(call: OnnxCall) -> Any:
    """Import the beginnings of sequences in reverse order, by lengths that are known."""
    lengths, time = call.known(1, "sequence_lens"), call.get("time_axis", 0)
    batch = call.get("batch_axis", 1)
    shape = call.static()
    bounded([shape[time], len(lengths), math.prod(shape[2:])])
    places = np.tile(np.arange(shape[time]), (len(lengths), 1))
    for row, length in enumerate(lengths):
        places[row, :length] = places[row, :length][::-1]
    lined = places if batch < time else places.T
    wide = lined.reshape(*lined.shape, *[1] * (len(shape) - 2))
    return op("take_along_axis", axis=time)(call[0], np.broadcast_to(wide, shape).copy())


@imports("NonZero")
def nonzero(call: OnnxCall) -> Any:
    """Import the places of a known array that are not 0."""
    return np.array(np.nonzero(call.known(0, "X")), np.int64)


@imports("Unique")
def unique(call: OnnxCall) -> Any:
    """Import the distinct values of a known array."""
    axis = call.get("axis")
    x = call.known(0, "X")
    values, first, inverse, counts = np.unique(x, return_index=True, return_inverse=True, return_counts=True, axis=axis)
    if not call.get("sorted", 1):
        order = np.argsort(first)
        values, first, counts = np.take(values, order, axis=axis or 0), first[order], counts[order]
        inverse = np.argsort(order)[inverse]
    return values, first.astype(np.int64), inverse.reshape(-1).astype(np.int64), counts.astype(np.int64)


@imports("TopK")
def top_k(call: OnnxCall) -> Any:
    """Import the first values in order, and their places; of equal ones the first comes first."""
    x, axis = call[0], call.axis(-1)
    count = call.get("k") if call.version < 10 else int(call.number(1, "K"))
    return op("topk", k=count, axis=axis, largest=bool(call.get("largest", 1)))(x)
