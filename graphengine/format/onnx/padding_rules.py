"""Rules of margins: `pad` with a number or with copies, and `unpad`, of sizes known here or computed at run time."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphengine.format.onnx.emitting import Applied, Emitter, exports

LAST = np.iinfo(np.int64).max


@exports("pad")
def pad(emit: Emitter, applied: Applied) -> str:
    """Write Pad with a constant, or Gather of the places that are copied."""
    x = emit.read(applied)
    if applied.mode == "constant":
        return _pad_constant(emit, applied, x)
    for axis, pair in enumerate(applied.pad_width):
        if any(pair):
            x = emit("Gather", x, _places(emit, applied, x, axis, 0), axis=axis)
    return x


def _pad_constant(emit: Emitter, applied: Applied, x: str) -> str:
    widths = [pair[side] for side in (0, 1) for pair in applied.pad_width]
    value = emit.constant(np.asarray(float(applied.constant_values)), emit.result_dtype(applied))
    return emit("Pad", x, emit.vector(widths), value) if widths else x


@exports("unpad")
def unpad(emit: Emitter, applied: Applied) -> str:
    """Write ScatterElements that adds the margin to what it was copied from."""
    x, rank = emit.read(applied), applied.rank()
    for axis, pair in enumerate(applied.pad_width):
        if not any(pair):
            continue
        places = _places(emit, applied, x, axis, sum(pair))
        margin = _margin(emit, x, pair, axis)
        column = emit.vector([-1 if each == axis else 1 for each in range(rank)])
        places = emit("Expand", emit("Reshape", _margin(emit, places, pair, 0), column), emit("Shape", margin))
        inside = emit("Slice", x, *map(emit.vector, ([pair[0]], [-pair[1] or LAST], [axis])))
        x = emit("ScatterElements", inside, places, margin, axis=axis, reduction="add")
    return x


def _margin(emit: Emitter, x: str, pair: tuple[int, int], axis: int) -> str:
    """Return what is before and after the inside of an array along an axis."""
    ends = [([0], [pair[0]])] * bool(pair[0]) + [([-pair[1]], [LAST])] * bool(pair[1])
    parts = [emit("Slice", x, *map(emit.vector, (start, stop, [axis]))) for start, stop in ends]
    return emit("Concat", *parts, axis=axis) if len(parts) > 1 else parts[0]


def _places(emit: Emitter, applied: Applied, x: str, axis: int, margin: int) -> str:
    """Return for each place of a padded axis the one inside that it copies; `margin` is how much of x is none of it."""
    size, pair = applied.shape()[axis], applied.pad_width[axis]
    if isinstance(size, int):
        return emit.vector(np.pad(np.arange(size - margin), pair, applied.mode))

    def integer(number: int) -> str:
        return emit.constant(number, np.int64)

    count = emit("Squeeze", emit("Shape", x, start=axis, end=axis + 1), emit.vector([0]))
    count = emit("Sub", count, integer(margin))
    places = emit("Range", integer(-pair[0]), emit("Add", count, integer(pair[1])), integer(1))
    return _copied(emit, applied.mode, places, count, integer)


def _copied(emit: Emitter, mode: str, places: str, count: str, integer: Any) -> str:
    """Return the places from 0 to count - 1 that others copy: the nearest, or those of a periodic continuation."""
    last = emit("Sub", count, integer(1))
    if mode == "edge":
        return emit("Min", emit("Max", places, integer(0)), last)
    if mode == "wrap":
        return emit("Mod", places, count)
    if mode == "symmetric":
        period = emit("Mul", count, integer(2))
        there = emit("Mod", places, period)
        return emit("Min", there, emit("Sub", emit("Sub", period, integer(1)), there))
    period = emit("Max", emit("Mul", last, integer(2)), integer(1))
    there = emit("Mod", places, period)
    return emit("Min", there, emit("Sub", period, there))
