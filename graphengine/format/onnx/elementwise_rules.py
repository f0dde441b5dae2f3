"""Rules of ops that work number by number and have a counterpart in ONNX, in the dtypes that onnxruntime has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphengine.format.onnx.emitting import Applied, Emitter, Unexportable, exports

UNARY = {
    "abs": "Abs",
    "ceil": "Ceil",
    "cos": "Cos",
    "exp": "Exp",
    "floor": "Floor",
    "log": "Log",
    "neg": "Neg",
    "round": "Round",
    "sin": "Sin",
    "sqrt": "Sqrt",
    "tanh": "Tanh",
}
BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div"}
LOGIC = {"add": "Or", "mul": "And"}
COMPARED = {
    "equal": "Equal",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "less": "Less",
    "less_equal": "LessOrEqual",
}
LOGICAL = {"logical_and": "And", "logical_or": "Or"}


@exports(*UNARY)
def unary(emit: Emitter, applied: Applied) -> str:
    """Write an op of the same name, in the dtype of the result; rounding of integers changes nothing."""
    dtype = emit.result_dtype(applied)
    x = emit.read(applied, 0, dtype)
    if dtype.kind in "iu" and applied.node.op in ("ceil", "floor", "round"):
        return x
    return _within(emit, dtype, lambda *values: emit(UNARY[applied.node.op], *values), x)


@exports(*BINARY)
def binary(emit: Emitter, applied: Applied) -> str:
    """Write arithmetic in the dtype of the result; of truth values, `or` and `and`."""
    op, dtype = applied.node.op, emit.result_dtype(applied)
    x, y = emit.read(applied, 0, dtype), emit.read(applied, 1, dtype)
    if dtype.kind == "b":
        if op not in LOGIC:
            raise Unexportable("truth values have no such arithmetic")
        return emit(LOGIC[op], x, y)
    return _within(emit, dtype, lambda *values: emit(BINARY[op], *values), x, y)


def _within(emit: Emitter, dtype: np.dtype[Any], apply: Callable[..., str], *values: str) -> str:
    """Apply an op to values; integers are computed with 64 bits, which wrap to fewer as NumPy's do."""
    if dtype.kind not in "iu" or dtype == np.int64:
        return apply(*values)
    wide = [emit.cast(value, dtype, np.int64) for value in values]
    return emit.cast(apply(*wide), np.int64, dtype)


@exports("add_n")
def add_n(emit: Emitter, applied: Applied) -> str:
    """Write a sum of many values as additions, in their order."""
    dtype = emit.result_dtype(applied)
    total, *others = [emit.read(applied, place, dtype) for place in range(len(applied.node.inputs))]
    for value in others:
        total = emit("Add", total, value)
    return total


@exports("square")
def square(emit: Emitter, applied: Applied) -> str:
    """Write x * x."""
    dtype = emit.result_dtype(applied)
    x = emit.read(applied, 0, dtype)
    return _within(emit, dtype, lambda *values: emit("Mul", *values), x, x)


@exports("sign")
def sign(emit: Emitter, applied: Applied) -> str:
    """Write Sign; NaN stays NaN, which onnxruntime's Sign does not promise."""
    dtype = emit.result_dtype(applied)
    x = emit.read(applied, 0, dtype)
    if dtype.kind != "f":
        return emit("Sign", x)
    return emit("Where", emit("IsNaN", x), x, emit("Sign", x))


@exports("pow")
def power(emit: Emitter, applied: Applied) -> str:
    """Write Pow of floating-point numbers."""
    dtype = emit.result_dtype(applied)
    if dtype.kind != "f":
        raise Unexportable("powers of integers go through double precision in the runtime; cast to float64 before")
    return emit("Pow", emit.read(applied, 0, dtype), emit.read(applied, 1, dtype))


@exports("maximum", "minimum")
def extreme(emit: Emitter, applied: Applied) -> str:
    """Write Max or Min, which keep NaN."""
    dtype = emit.result_dtype(applied)
    op = "Max" if applied.node.op == "maximum" else "Min"
    if dtype.kind not in "fi":
        raise Unexportable(f"the runtime has no {op} of {dtype}")
    x, y = emit.read(applied, 0, dtype), emit.read(applied, 1, dtype)
    return _within(emit, dtype, lambda *values: emit(op, *values), x, y)


@exports(*COMPARED)
def comparison(emit: Emitter, applied: Applied) -> str:
    """Write a comparison in the dtype that the operands have in common; truth values are ordered as integers."""
    common = emit.common_dtype(applied, 0, 1)
    dtype = common if common.kind == "f" else np.dtype(np.int64)
    if common == np.uint64:
        raise Unexportable("the runtime does not compare numbers of uint64")
    return emit(COMPARED[applied.node.op], emit.read(applied, 0, dtype), emit.read(applied, 1, dtype))


@exports("not_equal")
def not_equal(emit: Emitter, applied: Applied) -> str:
    """Write the negation of Equal."""
    dtype = emit.common_dtype(applied, 0, 1)
    return emit("Not", emit("Equal", emit.read(applied, 0, dtype), emit.read(applied, 1, dtype)))


@exports(*LOGICAL)
def logical(emit: Emitter, applied: Applied) -> str:
    """Write And or Or."""
    return emit(LOGICAL[applied.node.op], emit.read(applied, 0, bool), emit.read(applied, 1, bool))


@exports("logical_not")
def logical_not(emit: Emitter, applied: Applied) -> str:
    """Write Not."""
    return emit("Not", emit.read(applied, 0, bool))


@exports("isfinite")
def isfinite(emit: Emitter, applied: Applied) -> str:
    """Write x - x == 0, which is false of NaN and of infinity."""
    dtype = emit.operand_dtype(applied, 0)
    if dtype.kind != "f":
        raise Unexportable(f"numbers of {dtype} are all finite")
    x = emit.read(applied)
    return emit("Equal", emit("Sub", x, x), emit.constant(0, dtype))


@exports("where")
def where(emit: Emitter, applied: Applied) -> str:
    """Write Where; the runtime has it for float32, float64, int32, int64 and uint8, others are cast."""
    dtype = emit.result_dtype(applied)
    wide = dtype if dtype.kind == "f" else np.dtype(np.int64)
    values = [emit.cast(emit.read(applied, place, dtype), dtype, wide) for place in (1, 2)]
    return emit.cast(emit("Where", emit.read(applied, 0, bool), *values), wide, dtype)


@exports("cast")
def cast(emit: Emitter, applied: Applied) -> str:
    """Write Cast."""
    return emit.read(applied, 0, emit.result_dtype(applied))


@exports("reciprocal")
def reciprocal(emit: Emitter, applied: Applied) -> str:
    """Write 1 / x."""
    dtype = emit.result_dtype(applied)
    return emit("Div", emit.constant(1, dtype), emit.read(applied, 0, dtype))


@exports("mod")
def modulo(emit: Emitter, applied: Applied) -> str:
    """Write Mod; of floating-point numbers the exact remainder of C, moved to the sign of the divisor."""
    dtype = emit.result_dtype(applied)
    x, y = emit.read(applied, 0, dtype), emit.read(applied, 1, dtype)
    if dtype.kind != "f":
        return _within(emit, dtype, lambda *values: emit("Mod", *values), x, y)
    zero, rest = emit.constant(0, dtype), emit("Mod", x, y, fmod=1)
    differ = emit("Xor", emit("Less", rest, zero), emit("Less", y, zero))
    moved = emit("And", differ, emit("Not", emit("Equal", rest, zero)))
    return emit("Where", moved, emit("Add", rest, y), rest)
