"""The codes of the interpreter over slots, and its text: a branch for each kernel op, and for pairs of arithmetic ops.

An instruction is a row of numbers: what to do, and the slots of its operands. Results go to slots one after the other.
Two instructions of which the second reads the first are one row: what passes between them stays in a register. So a
step waits for the first that reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from graphengine.backends.numba.compiling import compiled
from graphengine.backends.numba.expressions import CHECKED, EXACT, NAMES
from graphengine.backends.numba.parameters import indented
from graphengine.backends.numpy.calls import COMPARISONS
from graphengine.ops.shapes import ArrayType

PAIRED = {"add": True, "sub": False, "mul": True}
"""The ops of pairs, and whether their operands may change places; each more costs the compiler time."""
_PAIRS = [(one, two, at) for one in PAIRED for two in PAIRED for at in (0, 1) if at == 0 or not PAIRED[two]]
CODES: dict[Any, int] = {op: code for code, op in enumerate([*EXACT, *CHECKED, *_PAIRS])}
"""The number of each op; and of each pair, with the place among the operands of the second where the first goes."""
_INTS, _NUMBERS = np.dtype(np.uint32), np.dtype(np.float64)
PARAMETERS = [
    (ArrayType(("N", 4), _INTS), True),
    (ArrayType(("N",), _NUMBERS), False),
    (ArrayType((), np.dtype(np.uint64)), False),
    (ArrayType((), _NUMBERS), False),
    (ArrayType(("N",), np.dtype(np.bool_)), False),
    (ArrayType(("M", "N"), _NUMBERS), False),
    (ArrayType(("N",), _INTS), True),
    (ArrayType(("N",), _INTS), True),
    (ArrayType(("N", 2), _INTS), True),
    (ArrayType(("M", "N"), _NUMBERS), True),
]
"""The types of the parameters of the interpreter."""


class SlotStep(NamedTuple):
    """One op on operands; what operands and results are called is up to the caller."""

    op: str
    operands: tuple[Any, ...]
    result: Any


class CodeRow(NamedTuple):
    """One row: its code, operands, and one result or two."""

    code: int
    operands: tuple[Any, ...]
    results: tuple[Any, ...]


def rows_of(steps: Iterable[SlotStep]) -> Iterator[CodeRow]:
    """Yield steps as rows, in an order to run in."""
    waiting: dict[Any, SlotStep] = {}
    for step in steps:
        first = _partner(step, waiting)
        if first is not None:
            del waiting[first.result]
        for operand in step.operands:
            if operand in waiting:
                yield _alone(waiting.pop(operand))
        if first is not None:
            yield _pair(first, step)
        elif step.op in PAIRED:
            waiting[step.result] = step
        else:
            yield _alone(step)
    yield from map(_alone, waiting.values())


def _partner(step: SlotStep, waiting: dict[Any, SlotStep]) -> SlotStep | None:
    """The step that one which reads it makes a pair with."""
    if step.op not in PAIRED or len(set(step.operands)) == 1:
        return None
    return next((waiting[operand] for operand in step.operands if operand in waiting), None)


def _pair(first: SlotStep, second: SlotStep) -> CodeRow:
    place = second.operands.index(first.result)
    code = CODES[first.op, second.op, 0 if PAIRED[second.op] else place]
    return CodeRow(code, (*first.operands, second.operands[1 - place]), (first.result, second.result))


def _alone(step: SlotStep) -> CodeRow:
    return CodeRow(CODES[step.op], step.operands, (step.result,))


@cache
def interpreter_text() -> str:
    """The interpreter: rounds of all instructions, with columns of what is fed, records and what is carried."""
    lines = [
        "def interpret(codes, slots, first, total, keep, rows, fed, recorded, carried, columns):",
        "    row = 0",
        "    moved = np.empty(len(carried))",
        "    for i in range(len(keep)):",
        "        for k in range(len(fed)):",
        "            slots[fed[k]] = columns[k, i]",
        "        to = first",
        "        for k in range(len(codes)):",
        "            op = codes[k, 0]",
        "            x = slots[codes[k, 1]]",
        "            y = slots[codes[k, 2]]",
        *("            " + line for line in _branches()),
        "            else:",
        "                z = nan",
        "            slots[to] = z",
        "            to += ONE",
        "        if len(recorded):",
        "            total += slots[recorded[0]]",
        "        if keep[i]:",
        "            for k in range(len(recorded)):",
        "                rows[row, k] = slots[recorded[k]]",
        "            row += 1",
        "        for k in range(len(carried)):",
        "            moved[k] = slots[carried[k, 0]]",
        "        for k in range(len(carried)):",
        "            slots[carried[k, 1]] = moved[k]",
        "    return total",
    ]
    return "\n".join(lines) + "\n"


def _branches() -> Iterator[str]:
    """The branches of all codes: a single op gives z, a pair also writes what its first op gives."""
    for key, code in CODES.items():
        yield f"{'elif' if code else 'if'} op == {code}:"
        yield from indented(_branch_of_op(key) if isinstance(key, str) else _branch_of_pair(*key))


def _branch_of_op(op: str) -> Iterator[str]:
    text = _template(op)
    if "{2}" in text:
        yield "w = slots[codes[k, 3]]"
    yield f"z = {text.format('x', 'y', 'w').replace('if x else', 'if x != 0.0 else')}"


def _branch_of_pair(first: str, second: str, place: int) -> Iterator[str]:
    yield f"v = {_template(first).format('x', 'y')}"
    yield "slots[to] = v"
    yield "to += ONE"
    yield "w = slots[codes[k, 3]]"
    yield f"z = {_template(second).format(*(('w', 'v') if place else ('v', 'w')))}"


def _template(op: str) -> str:
    text = EXACT[op] if op in EXACT else CHECKED[op].text
    return f"1.0 if {text} else 0.0" if op in COMPARISONS else text


@cache
def interpreter() -> Callable[..., float]:
    """The interpreter as machine code."""
    names = {**NAMES, "np": np, "ONE": np.uint64(1)}
    found: Callable[..., float] = compiled(interpreter_text(), "interpret", PARAMETERS, names)
    return found
