"""Calls: what the NumPy backend makes of instructions, with Python's operators for single numbers.

A plan holds a double scalar as a Python float where Python's operator, many times as fast as NumPy, gives the same
bits; division by zero and roots of negative numbers, which Python refuses, give what NumPy gives. Any other function
gets such numbers as NumPy's, and a double scalar that it gives becomes a Python float.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphengine.backends.protocol import Instruction
from graphengine.ir.nodes import Operand
from graphengine.ops.shapes import ArrayType, PythonNumber, Shape


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


LINE = 10_000
"""A dot product of at most this length is computed by one thread of the BLAS library."""


def length_of(shape: Shape) -> int:
    """Return the length of a vector; 0 for another shape, and for a length that is not known."""
    return shape[0] if len(shape) == 1 and isinstance(shape[0], int) else 0


def dot(x: Any, y: Any) -> float:
    """The dot product of two vectors."""
    return float(x.dot(y))


# ------------------------------------------------------------ single numbers, held as Python's


def is_float(kind: ArrayType | None) -> bool:
    """Whether a plan holds the value as a Python float."""
    return kind is not None and kind.shape == () and (kind.dtype == np.float64 or kind.dtype is PythonNumber.FLOAT)


def is_truth(kind: ArrayType) -> bool:
    """Whether a value is one truth value."""
    return kind.shape == () and kind.dtype == np.bool_


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


# ------------------------------------------------------------ operators of Python


def is_scalar(op: str, kinds: Sequence[ArrayType | None], kind: ArrayType) -> bool:
    """Whether Python has an operator for an op that gives NumPy's bits."""
    return op in SCALAR and is_exact(op, kinds, kind)


def is_exact(op: str, kinds: Sequence[ArrayType | None], kind: ArrayType) -> bool:
    """Whether an operator has NumPy's bits here: on floats, and truth values that NumPy makes floats or compares.

    Two truth values are added to a number in Python, to a truth value in NumPy.
    """
    if not all(map(_is_one_number, kinds)):
        return False
    if op in COMPARISONS:
        return True
    chosen = kinds[1:] if op in CHOICES else ()
    return is_float(kind) and all(map(gives_float, chosen))


def gives_float(kind: ArrayType | None) -> bool:
    """Whether an operand is a Python float, or a literal that becomes one."""
    return kind is None or is_float(kind)


def _is_one_number(kind: ArrayType | None) -> bool:
    return kind is None or is_float(kind) or is_truth(kind)


def safe_divide(x: float, y: float) -> float:
    """x / y as NumPy divides: infinite or NaN for y = 0."""
    return x / y if y else float(np.divide(x, y))


def safe_sqrt(x: float) -> float:
    """The square root as NumPy has it: NaN for a negative number."""
    return math.sqrt(x) if x >= 0 else math.nan


def safe_sin(x: float) -> float:
    """The sine as NumPy has it: NaN for infinity."""
    return math.sin(x) if math.isfinite(x) else math.nan


def safe_cos(x: float) -> float:
    """The cosine as NumPy has it: NaN for infinity."""
    return math.cos(x) if math.isfinite(x) else math.nan


def safe_hypot(x: float, y: float) -> float:
    """The length of (x, y): Python and NumPy call the C library, Python refuses an infinite result."""
    try:
        return abs(complex(x, y))
    except OverflowError:
        return math.inf


def gives_same_bits(function: Callable[[float], float], ufunc: Callable[..., Any]) -> bool:
    """Whether a function on floats gives what one of NumPy gives, bit for bit, judged by two thousand numbers.

    Python calls the C library, and NumPy may have its own routine. Where it has, a rounding in several differs.
    """
    samples = np.concatenate([np.linspace(-20, 20, 1001), np.geomspace(1e-300, 1e300, 1001)])
    return np.array_equal(ufunc(samples), np.array([function(x) for x in samples.tolist()]))


def choose(condition: Any, x: float, y: float) -> float:
    """x if the condition holds, else y."""
    return x if condition else y


_has_hypot = gives_same_bits(lambda x: safe_hypot(x, 1.25), lambda x: np.hypot(x, 1.25))
COMPARISONS: Mapping[str, tuple[str, Callable[..., Any]]] = {
    "equal": ("{0} == {1}", operator.eq),
    "not_equal": ("{0} != {1}", operator.ne),
    "less": ("{0} < {1}", operator.lt),
    "less_equal": ("{0} <= {1}", operator.le),
    "greater": ("{0} > {1}", operator.gt),
    "greater_equal": ("{0} >= {1}", operator.ge),
}
CHOICES: Mapping[str, tuple[str, Callable[..., Any]]] = {
    "where": ("({1} if {0} else {2})", choose),
}
"""Ops that give one of their operands as it is."""
SCALAR: Mapping[str, tuple[str, Callable[..., Any]]] = {
    "add": ("{0} + {1}", operator.add),
    "sub": ("{0} - {1}", operator.sub),
    "mul": ("{0} * {1}", operator.mul),
    "div": ("({0} / {1} if {1} else safe_divide({0}, {1}))", safe_divide),
    "neg": ("-{0}", operator.neg),
    "abs": ("abs({0})", abs),
    "square": ("{0} * {0}", lambda x: x * x),
    "sqrt": ("safe_sqrt({0})", safe_sqrt),
    **COMPARISONS,
    **CHOICES,
    "sum": ("{0} + 0.0", lambda x: x + 0.0),  # NumPy starts from 0, which makes -0.0 positive
    "sum_to": ("{0}", operator.pos),
    "transpose": ("{0}", operator.pos),
    **({"hypot": ("safe_hypot({0}, {1})", safe_hypot)} if _has_hypot else {}),
    **({"sin": ("(sin({0}) if -inf < {0} < inf else nan)", safe_sin)} if gives_same_bits(math.sin, np.sin) else {}),
    **({"cos": ("(cos({0}) if -inf < {0} < inf else nan)", safe_cos)} if gives_same_bits(math.cos, np.cos) else {}),
}
"""Ops on Python floats that give NumPy's bits, as an expression and as a function."""
NAMES: Mapping[str, Any] = {
    "safe_divide": safe_divide,
    "safe_sqrt": safe_sqrt,
    "safe_hypot": safe_hypot,
    "sin": math.sin,
    "cos": math.cos,
    "inf": math.inf,
    "nan": math.nan,
}
"""The functions that the texts of instructions name."""
