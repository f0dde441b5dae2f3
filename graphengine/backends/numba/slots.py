"""A large graph of single numbers as codes for an interpreter that is compiled once: nothing is compiled for a graph.

Each instruction is a row of numbers: what to do, the slots of its operands and of its result. The interpreter has a
branch for each kernel op, made of the table of expressions; its text is the same for all graphs, so an installation
compiles it once. It is used where all expressions have the bits of the NumPy backend.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from graphengine.backends.instructions import Instruction, instructions
from graphengine.backends.numba.compiling import compiled
from graphengine.backends.numba.expressions import CHECKED, EXACT, NAMES, expression_of
from graphengine.backends.numpy.calls import values_of
from graphengine.backends.numpy.lowering import constants
from graphengine.backends.numpy.scalars import COMPARISONS, is_float, is_truth
from graphengine.backends.protocol import CodeListing, Rounds
from graphengine.ir.graph import Graph
from graphengine.ops.families.constants import Constant
from graphengine.ops.shapes import ArrayType

CODES = {op: code for code, op in enumerate([*EXACT, *CHECKED])}
"""The number of each op."""
_INTS, _NUMBERS = np.dtype(np.uint32), np.dtype(np.float64)
PARAMETERS = [
    (ArrayType(("N", 5), _INTS), True),
    (ArrayType(("N",), _NUMBERS), False),
    (ArrayType((), _NUMBERS), False),
    (ArrayType(("N",), np.dtype(np.bool_)), False),
    (ArrayType(("M", "N"), _NUMBERS), False),
    (ArrayType(("N",), _INTS), True),
    (ArrayType(("N",), _INTS), True),
    (ArrayType(("N", 2), _INTS), True),
    (ArrayType(("M", "N"), _NUMBERS), True),
]
"""The types of the parameters of the interpreter."""


@cache
def interpreter_text() -> str:
    """The interpreter: rounds of all instructions, with columns of what is fed, records and what is carried."""
    branches: list[str] = []
    for op, code in CODES.items():
        text = EXACT[op] if op in EXACT else CHECKED[op].text
        if op in COMPARISONS:
            text = f"1.0 if {text} else 0.0"
        branches.append(f"{'if' if not branches else 'elif'} op == {code}:")
        branches.append(f"    z = {text.format('x', 'y', 'w').replace('if x else', 'if x != 0.0 else')}")
    lines = [
        "def interpret(codes, slots, total, keep, rows, fed, recorded, carried, columns):",
        "    row = 0",
        "    moved = np.empty(len(carried))",
        "    for i in range(len(keep)):",
        "        for k in range(len(fed)):",
        "            slots[fed[k]] = columns[k, i]",
        "        for k in range(len(codes)):",
        "            op = codes[k, 0]",
        "            x = slots[codes[k, 1]]",
        "            y = slots[codes[k, 2]]",
        "            w = slots[codes[k, 3]]",
        *("            " + line for line in branches),
        "            else:",
        "                z = nan",
        "            slots[codes[k, 4]] = z",
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


@cache
def interpreter() -> Callable[..., float]:
    """The interpreter as machine code."""
    found: Callable[..., float] = compiled(interpreter_text(), "interpret", PARAMETERS, {**NAMES, "np": np})
    return found


def encoded(graph: Graph, carried: Mapping[str, str], sources: Sequence[str]) -> SlotProgram | None:
    """A program of codes, None where a value is no number, or an expression lacks or has other bits."""
    if not all(is_float(kind) or is_truth(kind) for kind in graph.types.values()):
        return None
    if not all(is_float(graph.types[name]) for name in [*sources, *graph.outputs.values()]):
        return None
    slots = {name: place for place, name in enumerate(sources)}
    numbers = {slots.setdefault(name, len(slots)): float(value) for name, value in constants(graph).items()}
    rows, alike = [], dict[Any, int | None]()
    for each in instructions(graph):
        if isinstance(each.node, Constant):
            continue
        code = _code(each, alike)
        if code is None:
            return None
        operands = []
        for operand in each.inputs:
            key: Any = operand if isinstance(operand, str) else (type(operand), repr(operand))
            operands.append(slots.setdefault(key, len(slots)))
            if not isinstance(operand, str):
                numbers[operands[-1]] = 0.0 if operand is None else float(operand)
        rows.append([code, *operands, *[0] * (3 - len(operands)), slots.setdefault(each.outputs[0], len(slots))])
    return SlotProgram(graph, carried, sources, np.array(rows, np.uint32), slots, numbers)


def _code(each: Instruction, alike: dict[Any, int | None]) -> int | None:
    """The code of an instruction; nodes alike are looked at once."""
    literals = tuple([None if isinstance(operand, str) else operand for operand in each.inputs])
    key = (id(each.node), each.operand_types, literals)
    if key not in alike:
        found = expression_of(each)
        known = found is not None and found.same_bits and len(values_of(each)) <= 3
        alike[key] = CODES[each.op] if known else None
    return alike[key]


class SlotProgram:
    """The codes of a graph, with memory for its numbers for each thread that runs it at once."""

    def __init__(
        self,
        graph: Graph,
        carried: Mapping[str, str],
        sources: Sequence[str],
        codes: Any,
        slots: Mapping[Any, int],
        numbers: Mapping[int, float],
    ) -> None:
        self.outputs, self.sources, self.floats = dict(graph.outputs), tuple(sources), frozenset(sources)
        self._codes, self._slots, self._carried = codes, slots, dict(carried)
        self._first = np.zeros(len(slots))
        self._first[list(numbers)] = list(numbers.values())
        self._results = [slots[name] for name in self.outputs.values()]
        self._memory: deque[Any] = deque()

    @property
    def nbytes(self) -> int:
        """The bytes of codes and numbers."""
        return int(self._codes.nbytes) + int(self._first.nbytes) * (1 + len(self._memory))

    def listing(self, fed: Sequence[str], recorded: Sequence[str]) -> CodeListing:
        """Return the interpreter; see `Program.listing`."""
        return CodeListing(interpreter_text(), {"codes": f"{len(self._codes)} instructions", "slots": "their numbers"})

    def run(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Compute the outputs; see `Program.run`."""
        slots = self._filled(self.sources, values)
        interpreter()(self._codes, slots, 0.0, ONCE, NO_ROWS, NO_SLOTS, NO_SLOTS, NO_PAIRS, NO_ROWS)
        results = slots[self._results].tolist()
        self._memory.append(slots)
        return dict(zip(self.outputs, results, strict=True))

    def loop(
        self,
        groups: Iterable[tuple[float, Rounds]],
        values: Mapping[str, Any],
        fed: Sequence[str],
        recorded: Sequence[str],
        record: Callable[[tuple[Any, ...]], None],
        finish: Callable[[float], None],
    ) -> dict[str, Any]:
        """Run once for each batch; see `Program.loop`."""
        slots = self._filled([name for name in self.sources if name not in fed], values)
        places = self._places(fed), self._places([self.outputs[name] for name in recorded])
        pairs = [(self._slots[self.outputs[name]], self._slots[source]) for name, source in self._carried.items()]
        carried = np.array(pairs, np.uint32).reshape(-1, 2)
        for total, rounds in groups:
            keep = np.array(rounds.flags, np.bool_)
            rows = np.empty((np.count_nonzero(keep), len(recorded)))
            columns = np.array(rounds.numbers(())).reshape(len(fed), len(keep))
            total = interpreter()(self._codes, slots, total, keep, rows, *places, carried, columns)
            for row in rows.tolist():
                record(tuple(row))
            finish(total)
        self._memory.append(slots)
        return {source: float(slots[self._slots[source]]) for source in self._carried.values()}

    def _filled(self, names: Iterable[str], values: Mapping[str, Any]) -> Any:
        """Memory with the constants and these values in it."""
        try:
            slots = self._memory.pop()
        except IndexError:
            slots = self._first.copy()
        for name in names:
            slots[self._slots[name]] = values[name]
        return slots

    def _places(self, names: Sequence[str]) -> Any:
        return np.array([self._slots[name] for name in names], np.uint32)


ONCE = np.zeros(1, np.bool_)
NO_ROWS, NO_SLOTS, NO_PAIRS = np.empty((0, 1)), np.empty(0, np.uint32), np.empty((0, 2), np.uint32)
