"""The table of the numba backend, from kernel ops to expressions on doubles.

IEEE 754 defines arithmetic, square roots and comparisons to the last bit. A function of the C library differs from
NumPy's in last bits on some machines: NumPy has its own routines for some processors. Two thousand numbers show it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from graphengine.backends.numpy.calls import COMPARISONS, gives_float, is_exact, is_float, safe_hypot, values_of
from graphengine.backends.protocol import Instruction
from graphengine.ops.registry import OPS


class Expression(NamedTuple):
    """A text with {0}, {1} for the operands, and whether it has the bits of the NumPy backend on this machine."""

    text: str
    same_bits: bool = True


class Checked(NamedTuple):
    """A text that has NumPy's bits where `function`, the same in Python, has them; `calls` the C library, or not."""

    text: str
    function: Callable[..., float]
    calls: bool = True


ARITHMETIC: Mapping[str, str] = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "neg": "-{0}",
    "abs": "abs({0})",
    "square": "{0} * {0}",
    "sqrt": "sqrt({0})",
    "ones_like": "1.0",
    "zeros_like": "0.0",
}
"""Ops that give a number for numbers."""

EXACT: Mapping[str, str] = {
    **ARITHMETIC,
    **{op: text for op, (text, _) in COMPARISONS.items()},
    "where": "({1} if {0} else {2})",
    "sum": "{0} + 0.0",  # NumPy starts from 0, which makes -0.0 positive
    "sum_to": "{0}",
    "transpose": "{0}",
}
"""Ops that IEEE 754 defines to the last bit."""

CHECKED: Mapping[str, Checked] = {
    "exp": Checked("exp({0})", math.exp),
    "log": Checked("log({0})", math.log),
    "sin": Checked("sin({0})", math.sin),
    "cos": Checked("cos({0})", math.cos),
    "tanh": Checked("tanh({0})", math.tanh),
    "pow": Checked("pow({0}, {1})", math.pow),
    "hypot": Checked("hypot({0}, {1})", safe_hypot),
    "sign": Checked("(0.0 if {0} == 0.0 else 1.0 if {0} > 0.0 else -1.0 if {0} < 0.0 else {0})", np.sign, False),
    "maximum": Checked("({0} if {0} > {1} or {0} != {0} else {1})", lambda x, y: x if x > y or x != x else y, False),
    "minimum": Checked("({0} if {0} < {1} or {0} != {0} else {1})", lambda x, y: x if x < y or x != x else y, False),
}
"""Ops whose last bits, or signs of zero, depend on the machine."""

NAMES: Mapping[str, Any] = {
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "sin": math.sin,
    "cos": math.cos,
    "tanh": math.tanh,
    "pow": math.pow,
    "hypot": math.hypot,
    "inf": math.inf,
    "nan": math.nan,
    "f4": np.float32,
    "f8": np.float64,
}
"""What the expressions name."""


def expression_of(instruction: Instruction) -> Expression | None:
    """Return the expression of an instruction on doubles and truth values, None if there is none."""
    (kind, *further), kinds = instruction.types, values_of(instruction)
    if further or not instruction.is_core:
        return None
    if instruction.op in EXACT:
        return Expression(EXACT[instruction.op]) if is_exact(instruction.op, kinds, kind) else None
    are_floats = is_float(kind) and all(map(gives_float, kinds))
    return _checked(instruction) if are_floats and instruction.op in CHECKED else None


def _checked(instruction: Instruction) -> Expression:
    """The expression of an op whose last bits depend on the machine."""
    checked = CHECKED[instruction.op]
    folded = checked.calls and _has_literal(instruction)
    return Expression(checked.text, _agrees(instruction.op) and not folded)


def _has_literal(instruction: Instruction) -> bool:
    """Whether LLVM may call another function, as it makes x * x of pow(x, 2) and exp2(x) of pow(2, x)."""
    return any(isinstance(operand, (int, float)) for operand in instruction.inputs)


@cache
def _agrees(op: str) -> bool:
    """Whether the expression of an op gives the bits of NumPy's function."""
    function, ufunc = CHECKED[op].function, OPS.original(op).numpy
    assert isinstance(ufunc, np.ufunc)
    trials = itertools.chain.from_iterable(itertools.starmap(zip, _samples(ufunc.nin)))
    with np.errstate(all="ignore"):
        return all(_same(ufunc(*given), function, given) for given in trials)


def _samples(count: int) -> list[tuple[Any, ...]]:
    """Vectors of numbers for an op of one or two operands: of both signs, of all sizes, integer powers."""
    samples = np.concatenate([np.linspace(-20, 20, 1001), np.geomspace(1e-300, 1e300, 1001), [0.0, -0.0, np.nan]])
    if count == 1:
        return [(samples,)]
    further = [np.roll(samples, 1), samples, *(np.full_like(samples, power) for power in range(5))]
    return [(samples, other) for other in further]


def _same(expected: Any, function: Callable[..., float], numbers: tuple[float, ...]) -> bool:
    try:
        found = function(*map(float, numbers))
    except (ValueError, OverflowError):  # Python refuses what the C library gives: NaN or an infinity
        return not math.isfinite(expected)
    return np.float64(found).tobytes() == np.float64(expected).tobytes() or (math.isnan(found) and math.isnan(expected))
