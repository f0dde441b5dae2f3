"""The table of the numba backend for arrays: kernel ops as expressions on one element, and as reductions of rows.

An expression is computed in one dtype, that of its result or, of a comparison, that of its operands: every operand is
converted before, as NumPy does it. Functions of the C library are no expressions here: NumPy's own take many numbers
at a time, and their bits are those of the numpy backend.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphengine.backends.numba.expressions import ARITHMETIC, CHECKED
from graphengine.backends.numpy.calls import CHOICES, COMPARISONS, operand_kind, operand_shape
from graphengine.backends.protocol import Instruction
from graphengine.ops.inference import normalized_axes
from graphengine.ops.shapes import ArrayType, PythonNumber

CASTS = {np.dtype(np.float32): "f4", np.dtype(np.float64): "f8"}
"""The dtypes that loops compute in, and what converts a number to them."""

ELEMENTS: Mapping[str, str] = {
    **ARITHMETIC,
    **{op: each.text for op, each in CHECKED.items() if not each.calls},
    "cast": "{0}",
}
FOR_ROWS: Mapping[str, str] = {**ELEMENTS, "hypot": "hypot({0}, {1})"}
"""Expressions on what there is once for each row, where a function of the C library costs little."""
VIEWS: Mapping[str, str] = {"expand_dims": "{0}", "squeeze": "{0}", "reshape": "{0}"}
"""Ops that give the numbers of their first operand in another shape."""


def computed_in(instruction: Instruction) -> np.dtype[Any] | None:
    """Return the dtype that an expression computes in; None if loops have none for it."""
    kind, *further = instruction.types
    if further or None in instruction.operand_types or not instruction.is_core:
        return None
    if instruction.op in COMPARISONS:
        return _common(instruction.value_types)
    return kind.dtype if kind.dtype in CASTS else None  # type: ignore[return-value]


def _common(kinds: list[ArrayType]) -> np.dtype[Any] | None:
    """The dtype that numbers are compared in, if they are floating-point numbers."""
    dtypes = {each.dtype for each in kinds if not isinstance(each.dtype, PythonNumber)}
    return np.result_type(*dtypes) if dtypes and dtypes <= CASTS.keys() else None


def element(instruction: Instruction, *, for_rows: bool = False) -> str | None:
    """Return the expression for an element of the result, with {0}, {1} for those of the operands."""
    dtype = computed_in(instruction)
    if dtype is None:
        return None
    text = _in_doubles(instruction, _converted(instruction, dtype), FOR_ROWS if for_rows else ELEMENTS)
    is_rounded = instruction.types[0].dtype == np.float32
    return f"{CASTS[dtype]}({text})" if text is not None and is_rounded else text


def _in_doubles(instruction: Instruction, operands: Sequence[str], table: Mapping[str, str]) -> str | None:
    """The expression without the rounding of its result, None if there is none."""
    if instruction.op in COMPARISONS:
        return COMPARISONS[instruction.op][0].format(*operands)
    if instruction.op in CHOICES:
        return _chosen(instruction, operands)
    return table[instruction.op].format(*operands) if instruction.op in table else None


def _chosen(instruction: Instruction, operands: Sequence[str]) -> str | None:
    condition = instruction.operand_types[0]
    if condition is None or condition.dtype != np.bool_:
        return None
    return CHOICES[instruction.op][0].format("{0}", *operands[1:])


def _converted(instruction: Instruction, dtype: np.dtype[Any]) -> list[str]:
    """A placeholder for each operand, inside of a conversion where it has another dtype."""
    places = [f"{{{place}}}" for place in range(len(instruction.inputs))]
    kinds = zip(places, instruction.inputs, instruction.operand_types, strict=True)
    return [
        place if not isinstance(of, str) or (kind and kind.dtype == dtype) else f"{CASTS[dtype]}({place})"
        for place, of, kind in kinds
    ]


class RowFold(NamedTuple):
    """How numbers become one: `function` of `lanes` folds a row, `text` one more number; then `finish` of the result.

    The operands at `places` are arrays of one shape, of which `axes` are folded. Of two the products are folded.
    """

    function: str
    axes: tuple[int, ...]
    start: str = "0.0"
    text: str = "{0} + {1}"
    finish: str = "{0}"
    places: tuple[int, ...] = (0,)


def _rank(instruction: Instruction) -> int:
    return len(operand_shape(instruction))


def _along(function: str, **options: Any) -> Callable[[Instruction], RowFold]:
    def fold(instruction: Instruction) -> RowFold:
        node: Any = instruction.node
        return RowFold(function, normalized_axes(node.axis, _rank(instruction)), **options)

    return fold


def _summed_to(instruction: Instruction) -> RowFold | None:
    (kind,), rank = instruction.types, _rank(instruction)
    if instruction.inputs[1] is not None:
        return None
    extra = rank - len(kind.shape)
    return RowFold("added", tuple(axis for axis in range(rank) if axis < extra or kind.shape[axis - extra] == 1))


def _multiplied(instruction: Instruction) -> RowFold | None:
    """Products along the last axis of arrays of one shape: of rows, or of two vectors."""
    operands: Any = instruction.operand_types
    one, other = operands
    if one[:2] != other[:2]:
        return None
    return RowFold("products", (_rank(instruction) - 1,), places=(0, 1))


def _vectors(instruction: Instruction) -> RowFold | None:
    return _multiplied(instruction) if _rank(instruction) == 1 else None


def _length(instruction: Instruction) -> RowFold | None:
    """The norm of numbers of single precision, whose squares neither overflow nor vanish in double precision."""
    node: Any = instruction.node
    if node.ord != 2 or instruction.types[0].dtype != np.float32:
        return None
    return RowFold("products", normalized_axes(node.axis, _rank(instruction)), finish="sqrt({0})", places=(0, 0))


_EXTREME = "({1} if {1} %s {0} or {1} != {1} else {0})"
FOLDS: Mapping[str, Callable[[Instruction], RowFold | None]] = {
    "sum": _along("added"),
    "max": _along("highest", start="-inf", text=_EXTREME % ">"),
    "min": _along("lowest", start="inf", text=_EXTREME % "<"),
    "sum_to": _summed_to,
    "vecdot": _multiplied,
    "matmul": _vectors,
    "norm": _length,
}


def fold_of(instruction: Instruction) -> RowFold | None:
    """Return how an instruction folds the rows of an array, None if it does not or loops cannot."""
    make = FOLDS.get(instruction.op)
    return make(instruction) if make is not None and _keeps_dtype_of_loops(instruction) else None


def _keeps_dtype_of_loops(instruction: Instruction) -> bool:
    """Whether an op of this package gives numbers of an array in their dtype, which loops compute in."""
    if not instruction.is_core:
        return False
    operand = operand_kind(instruction)
    return operand.shape != () and operand.dtype in CASTS and operand.dtype == instruction.types[0].dtype
