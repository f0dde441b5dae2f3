"""Rules of ops that reduce axes, and of products of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphengine.format.onnx.array_rules import target_of
from graphengine.format.onnx.emitting import Applied, Emitter, Unexportable, exports
from graphengine.ops.inference import normalized_axes


def _axes(emit: Emitter, applied: Applied) -> str:
    return emit.vector(normalized_axes(applied.axis, applied.rank()))


def _reduce(emit: Emitter, op: str, applied: Applied, x: str) -> str:
    """Write a reduction over the axes of a node."""
    if not normalized_axes(applied.axis, applied.rank()):
        return x
    return emit(op, x, _axes(emit, applied), keepdims=int(applied.keepdims))


@exports("sum")
def total(emit: Emitter, applied: Applied) -> str:
    """Write ReduceSum; the runtime adds integers in double precision, so they are exact up to 2**53."""
    dtype = emit.result_dtype(applied)
    wide = dtype if dtype.kind == "f" else np.dtype(np.int64)
    x = emit.cast(emit.read(applied, 0, dtype), dtype, wide)
    return emit.cast(_reduce(emit, "ReduceSum", applied, x), wide, dtype)


@exports("max", "min")
def extremum(emit: Emitter, applied: Applied) -> str:
    """Write ReduceMax or ReduceMin, and NaN wherever there is one: the runtime skips NaN unless it is first."""
    dtype, op = emit.result_dtype(applied), f"Reduce{applied.node.op.title()}"
    if dtype.kind not in "fi":
        raise Unexportable(f"the runtime has no {op} of {dtype}")
    wide = dtype if dtype.kind == "f" else np.dtype(np.int64)
    x = emit.cast(emit.read(applied), dtype, wide)
    found = _reduce(emit, op, applied, x)
    if dtype.kind != "f" or found == x:
        return emit.cast(found, wide, dtype)
    unknown = emit.cast(emit("IsNaN", x), bool, dtype)
    is_unknown = emit("Greater", _reduce(emit, "ReduceMax", applied, unknown), emit.constant(0, dtype))
    return emit("Where", is_unknown, emit.constant(np.nan, dtype), found)


@exports("argmax", "argmin")
def place_of_extremum(emit: Emitter, applied: Applied) -> str:
    """Write ArgMax or ArgMin: the first of equal ones; NaN counts as infinite, as in NumPy where none is."""
    op, most = {"argmax": ("ArgMax", np.inf), "argmin": ("ArgMin", -np.inf)}[applied.node.op]
    keepdims = getattr(applied.node.node, "keepdims", False)
    if applied.axis is None and keepdims:
        raise Unexportable("the place in all axes is a scalar; give an axis")
    x = _without_nan(emit, applied, most)
    if applied.axis is None:
        return emit(op, emit("Reshape", x, emit.vector([-1])), axis=0, keepdims=0)
    return emit(op, x, axis=int(applied.axis), keepdims=int(keepdims))


def _without_nan(emit: Emitter, applied: Applied, most: float) -> str:
    """Return the operand with a number for NaN; integers have 64 bits."""
    dtype = emit.operand_dtype(applied, 0)
    if dtype.kind != "f":
        return emit.read(applied, 0, np.dtype(np.int64))
    x, number = emit.read(applied, 0, dtype), emit.constant(most, dtype)
    return emit("Where", emit("IsNaN", x), number, x)


@exports("norm")
def norm(emit: Emitter, applied: Applied) -> str:
    """Write s * sqrt(sum((x / s)**2)) with the largest magnitude s; the rounding of a sum of n numbers, no overflow."""
    dtype = emit.result_dtype(applied)
    x = emit("Abs", emit.read(applied, 0, dtype))
    if applied.rank() == 0:
        return x
    axes = _axes(emit, applied)
    if applied.ord == 1:
        return emit("ReduceSum", x, axes, keepdims=int(applied.keepdims))
    largest = emit("ReduceMax", x, axes, keepdims=1)
    usable = emit("And", emit("Greater", largest, emit.constant(0, dtype)), _is_finite(emit, largest, dtype))
    scale = emit("Where", usable, largest, emit.constant(1, dtype))
    ratio = emit("Div", x, scale)
    squares = emit("ReduceSum", emit("Mul", ratio, ratio), axes, keepdims=1)
    length = emit("Mul", scale, emit("Sqrt", squares))
    return length if applied.keepdims else emit("Squeeze", length, axes)


def _is_finite(emit: Emitter, x: str, dtype: Any) -> str:
    return emit("Less", x, emit.constant(np.inf, dtype))


@exports("matmul")
def matmul(emit: Emitter, applied: Applied) -> str:
    """Write MatMul, which multiplies stacks of matrices as NumPy does."""
    dtype = emit.result_dtype(applied)
    if dtype.kind == "b":
        raise Unexportable("truth values have no product of matrices")
    wide = dtype if dtype.kind == "f" else np.dtype(np.int64)
    x, y = (emit.cast(emit.read(applied, place, dtype), dtype, wide) for place in (0, 1))
    return emit.cast(emit("MatMul", x, y), wide, dtype)


@exports("sum_to")
def sum_to(emit: Emitter, applied: Applied) -> str:
    """Write the sum over the axes that broadcasting added or stretched; where types leave it open, sizes say which."""
    x = emit.read(applied)
    before, after = applied.shape(), applied.result.shape
    extra = len(before) - len(after)
    if extra < 0:
        raise Unexportable("it adds axes")
    if extra:
        x = emit("ReduceSum", x, emit.vector(range(extra)), keepdims=0)
    pairs = list(zip(before[extra:], after, strict=True))
    if any(map(_is_open, pairs)):
        differs = emit("Not", emit("Equal", emit("Shape", x), target_of(emit, applied)))
        axes = emit("Squeeze", emit("NonZero", differs), emit.vector([0]))
        return emit("ReduceSum", x, axes, keepdims=1, noop_with_empty_axes=1)
    stretched = [axis for axis, pair in enumerate(pairs) if pair[0] != 1 == pair[1]]
    return emit("ReduceSum", x, emit.vector(stretched), keepdims=1) if stretched else x


def _is_open(pair: tuple[Any, Any]) -> bool:
    """Whether types do not say if an axis was stretched."""
    return None in pair and 1 not in pair


@exports("any", "all")
def truth(emit: Emitter, applied: Applied) -> str:
    """Write ReduceMax or ReduceMin of truth values as integers."""
    x = emit.cast(emit.read(applied, 0, bool), bool, np.int64)
    found = _reduce(emit, "ReduceMax" if applied.node.op == "any" else "ReduceMin", applied, x)
    return emit("Greater", found, emit.constant(0, np.int64))


@exports("prod")
def prod(emit: Emitter, applied: Applied) -> str:
    """Write ReduceProd of floating-point numbers."""
    dtype = emit.result_dtype(applied)
    if dtype.kind != "f":
        raise Unexportable("products of integers go through double precision in the runtime; cast to float64 before")
    return _reduce(emit, "ReduceProd", applied, emit.read(applied, 0, dtype))


@exports("cumsum")
def cumsum(emit: Emitter, applied: Applied) -> str:
    """Write CumSum."""
    dtype = emit.result_dtype(applied)
    wide = dtype if dtype.kind == "f" else np.dtype(np.int64)
    x = emit.cast(emit.read(applied, 0, dtype), dtype, wide)
    axis = emit.constant(applied.axis, np.int64)
    sums = emit("CumSum", x, axis, exclusive=int(applied.exclusive), reverse=int(applied.reverse))
    return emit.cast(sums, wide, dtype)


@exports("vecdot")
def vecdot(emit: Emitter, applied: Applied) -> str:
    """Write the sum of products along the last axis."""
    dtype = emit.result_dtype(applied)
    if dtype.kind != "f":
        raise Unexportable("sums of integers go through double precision in the runtime; cast to float64 before")
    products = emit("Mul", emit.read(applied, 0, dtype), emit.read(applied, 1, dtype))
    return emit("ReduceSum", products, emit.vector([-1]), keepdims=0)


@exports("einsum")
def einsum(emit: Emitter, applied: Applied) -> str:
    """Write Einsum of floating-point numbers."""
    dtype = emit.result_dtype(applied)
    if dtype.kind != "f":
        raise Unexportable("the runtime has Einsum of floating-point numbers alone")
    _check_axes(applied, applied.equation.replace(" ", "").partition("->")[0].split(","))
    values = [emit.read(applied, place, dtype) for place in range(len(applied.node.inputs))]
    return emit("Einsum", *values, equation=applied.equation)


def _check_axes(applied: Applied, terms: list[str]) -> None:
    """Refuse an equation that stretches axes of size 1, or whose ellipses differ in length."""
    sizes: dict[str, Any] = {}
    covered = set()
    for place, term in enumerate(terms):
        shape, (head, dots, tail) = applied.shape(place), term.partition("...")
        if dots:
            covered.add(len(shape) - len(head) - len(tail))
        named = [*zip(head, shape, strict=False), *zip(reversed(tail), reversed(shape), strict=False)]
        if any(sizes.setdefault(letter, size) != size for letter, size in named):
            raise Unexportable("in ONNX a letter of an equation has one size")
    if len(covered) > 1:
        raise Unexportable("in ONNX all ellipses of an equation have as many axes")


@exports("trace")
def trace(emit: Emitter, applied: Applied) -> str:
    """Write the sum over the diagonal, by choosing zeros elsewhere."""
    dtype = emit.result_dtype(applied)
    x = emit.read(applied, 0, dtype)
    chosen = emit("Where", _diagonal(emit, x, np.dtype(bool)), x, emit.constant(0, dtype))
    return emit("ReduceSum", chosen, emit.vector([-2, -1]), keepdims=0)


@exports("eye_like")
def eye_like(emit: Emitter, applied: Applied) -> str:
    """Write ones on the diagonal."""
    return _diagonal(emit, emit.read(applied), emit.result_dtype(applied))


def _diagonal(emit: Emitter, x: str, dtype: np.dtype[Any]) -> str:
    """Return matrices of ones on the diagonal, in the shape of x: what is in both triangles."""
    one = emit.helper.make_tensor("value", emit.tensor_type(np.dtype(np.int64)), [1], [1])
    ones = emit("ConstantOfShape", emit("Shape", x), value=one)
    return emit.cast(emit("Trilu", emit("Trilu", ones, upper=0), upper=1), np.int64, dtype)


@exports("untile")
def untile(emit: Emitter, applied: Applied) -> str:
    """Write the sum over the tiles, which get their own axis."""
    reps = list(applied.reps)
    if not reps:
        return emit.read(applied)
    x, copies = emit.read(applied, 0, emit.result_dtype(applied)), emit.vector(reps)
    pairs = [emit("Unsqueeze", each, emit.vector([1])) for each in (copies, emit("Div", emit("Shape", x), copies))]
    split = emit("Reshape", emit("Concat", *pairs, axis=1), emit.vector([-1]))
    return emit(
        "ReduceSum", emit("Reshape", x, split, allowzero=1), emit.vector(range(0, 2 * len(reps), 2)), keepdims=0
    )
