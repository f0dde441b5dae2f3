"""A call: what the NumPy backend makes of an instruction, a function on slots with what buffers and tiles must know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from graphengine.backends.numpy.scalars import is_float
from graphengine.backends.protocol import Instruction
from graphengine.ir.nodes import Operand
from graphengine.ops.shapes import ArrayType

LINE = 10_000
"""A dot product of at most this length is computed by one thread of the BLAS library."""


class Call(NamedTuple):
    """One call: `function(*inputs)`, with a buffer as one more argument if `writes`.

    `text`, with {0}, {1} for the inputs, is the same as an expression, where Python has one. `aliases` is true where
    the result may share the memory of an input. `elementwise` means that the buffer may be that of an input, `sums`
    that the result for vectors is the sum of the results for their parts, `scalar` that operands and result are Python
    numbers, which nothing writes over, `reorders` that the result may be no array row by row where the inputs are.
    It writes into the inputs `fills`, so it runs wherever these are needed.
    """

    function: Callable[..., Any]
    inputs: tuple[Operand, ...]
    output: str
    kind: ArrayType
    text: str | None = None
    writes: bool = False
    aliases: bool = False
    elementwise: bool = False
    sums: bool = False
    scalar: bool = False
    reorders: bool = False
    fills: tuple[Operand, ...] = ()

    @property
    def values(self) -> list[str]:
        """The operands that are not literals."""
        return [operand for operand in self.inputs if type(operand) is str]


def made(instruction: Instruction, function: Callable[..., Any], inputs: Any = None, **traits: Any) -> Call:
    """Return the call of a function for an instruction, on all its operands or on those given."""
    operands = instruction.inputs if inputs is None else inputs
    return Call(function, operands, instruction.outputs[0], instruction.types[0], **traits)


def values_of(instruction: Instruction) -> list[ArrayType | None]:
    """Return the types of the values among the operands; None for literals."""
    pairs = zip(instruction.inputs, instruction.operand_types, strict=True)
    return [kind if isinstance(operand, str) else None for operand, kind in pairs]


def operand_kind(instruction: Instruction) -> ArrayType:
    """Return the type of the first operand."""
    kind = instruction.operand_types[0]
    assert kind is not None
    return kind


def operand_shape(instruction: Instruction) -> tuple[Any, ...]:
    """Return the shape of the first operand."""
    return operand_kind(instruction).shape


def typed(function: Callable[..., Any], kinds: Any, kind: ArrayType) -> Callable[..., Any]:
    """A call that gets scalars as NumPy's, and gives a double scalar as a Python float."""
    if len(kinds) == 1 and isinstance(function, np.ufunc) and is_float(kind):
        return lambda x: float(function(x))
    call = on_scalars(function, kinds)
    return (lambda *values: float(call(*values))) if is_float(kind) else call


def on_scalars(function: Callable[..., Any], kinds: Any) -> Callable[..., Any]:
    """A call that gets double scalars and truth values, which a plan holds as Python's, as NumPy's."""
    places = [(index, of.array_dtype.type) for index, of in enumerate(kinds) if _is_python_scalar(of)]
    if not places:
        return function

    def call(*values: Any) -> Any:
        arguments = list(values)
        for place, number in places:
            arguments[place] = number(arguments[place])
        return function(*arguments)

    return call


def _is_python_scalar(kind: ArrayType | None) -> bool:
    return kind is not None and kind.shape == () and kind.dtype in (np.float64, np.bool_)


def dot(x: Any, y: Any) -> float:
    """The dot product of two vectors."""
    return float(x.dot(y))
