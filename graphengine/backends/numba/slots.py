"""A large graph of single numbers as codes for an interpreter that is compiled once: nothing is compiled for a graph.

The text of the interpreter is the same for all graphs, so an installation compiles it once. It is used where all
expressions have the bits of the NumPy backend.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from graphengine.backends.numba.expressions import expression_of
from graphengine.backends.numba.slot_codes import SlotStep, interpreter, interpreter_text, rows_of
from graphengine.backends.numpy.calls import is_float, is_truth, values_of
from graphengine.backends.numpy.lowering import constants
from graphengine.backends.protocol import CodeListing, Instruction, Rounds, instructions
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import operand_key
from graphengine.mappings import absent
from graphengine.ops.families.constants import Constant


def encoded(graph: Graph, carried: Mapping[str, str], sources: Sequence[str]) -> SlotProgram | None:
    """A program of codes, None where a value is not a number, or an expression lacks or has other bits."""
    if not _has_numbers_alone(graph, sources):
        return None
    slots: dict[Any, int] = {name: place for place, name in enumerate(sources)}
    numbers = {slots.setdefault(name, len(slots)): float(value) for name, value in constants(graph).items()}
    steps, alike = [], dict[Any, bool]()
    for each in instructions(graph):
        if isinstance(each.node, Constant):
            continue
        if not _is_known(each, alike):
            return None
        numbers.update(_literals(each, slots))
        steps.append(SlotStep(each.op, tuple(map(operand_key, each.inputs)), each.outputs[0]))
    first = len(slots)
    codes = np.array(_rows_of_codes(steps, slots), np.uint32).reshape(-1, 4)
    return SlotProgram(graph, carried, sources, codes, slots, first, numbers)


def _literals(each: Instruction, slots: dict[Any, int]) -> Iterator[tuple[int, float]]:
    """The slots of the literals of an instruction, new ones for new literals, with their numbers."""
    for operand in each.inputs:
        if not isinstance(operand, str):
            yield slots.setdefault(operand_key(operand), len(slots)), 0.0 if operand is None else float(operand)


def _rows_of_codes(steps: Sequence[SlotStep], slots: dict[Any, int]) -> list[list[int]]:
    """The code and the slots of the operands of each row; `slots` gets those of the results."""
    rows = []
    for row in rows_of(steps):
        operands = [slots[operand] for operand in row.operands]
        rows.append([row.code, *operands, *[0] * (3 - len(operands))])
        slots.update({name: len(slots) + place for place, name in enumerate(row.results)})
    return rows


def _has_numbers_alone(graph: Graph, sources: Sequence[str]) -> bool:
    """Whether all values are numbers or truth values, and what is given and asked for are numbers."""
    ends = [*sources, *graph.outputs.values()]
    are_numbers = all(is_float(kind) or is_truth(kind) for kind in graph.types.values())
    return are_numbers and all(is_float(graph.types[name]) for name in ends)


def _is_known(each: Instruction, alike: dict[Any, bool]) -> bool:
    """Whether there is a code for an instruction that has the bits of NumPy; nodes alike are looked at once."""
    literals = tuple([None if isinstance(operand, str) else operand for operand in each.inputs])
    key = (id(each.node), each.operand_types, literals)
    if key not in alike:
        found = expression_of(each)
        alike[key] = found is not None and found.same_bits and len(values_of(each)) <= 3
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
        first: int,
        numbers: Mapping[int, float],
    ) -> None:
        self.outputs, self.sources, self.floats = dict(graph.outputs), tuple(sources), frozenset(sources)
        self._codes, self._slots, self._carried = codes, slots, dict(carried)
        self._results_from, self._first = np.uint64(first), np.zeros(len(slots))
        self._first[list(numbers)] = list(numbers.values())
        self._results = [slots[name] for name in self.outputs.values()]
        self._memory: deque[Any] = deque()

    @cached_property
    def _pairs(self) -> Any:
        """The slots of what is carried, each with that of the source that it replaces."""
        pairs = [(self._slots[self.outputs[name]], self._slots[source]) for name, source in self._carried.items()]
        return np.array(pairs, np.uint32).reshape(-1, 2)

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
        interpreter()(self._codes, slots, self._results_from, 0.0, ONCE, NO_ROWS, NO_SLOTS, NO_SLOTS, NO_PAIRS, NO_ROWS)
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
        slots = self._filled(absent(self.sources, fed), values)
        places = self._places(fed), self._places([self.outputs[name] for name in recorded])
        carried = self._pairs
        for total, rounds in groups:
            keep = np.array(rounds.flags, np.bool_)
            rows = np.empty((np.count_nonzero(keep), len(recorded)))
            columns = np.array(rounds.numbers(())).reshape(len(fed), len(keep))
            total = interpreter()(self._codes, slots, self._results_from, total, keep, rows, *places, carried, columns)
            record_all(rows, record)
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


def record_all(rows: Any, record: Callable[[tuple[Any, ...]], None]) -> None:
    """Give the rows that a compiled loop has filled to what records them."""
    for row in rows.tolist():
        record(tuple(row))


ONCE = np.zeros(1, np.bool_)
NO_ROWS, NO_SLOTS, NO_PAIRS = np.empty((0, 1)), np.empty(0, np.uint32), np.empty((0, 2), np.uint32)
