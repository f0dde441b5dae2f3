"""Loops (`scan`) over few numbers as machine code: each number of each small array is its own variable.

A loop is compiled only where it has the bits of the NumPy backend, so it may replace the steps in Python at any time:
it does so once they have run for about as long as numba takes to start and to compile. In the steps of other loops
elementwise calls and the sums after them become loops over rows, as in a plan.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from graphengine.backends.numba.compiling import compiled
from graphengine.backends.numba.expressions import NAMES, expression_of
from graphengine.backends.numba.groups import Group, grouped
from graphengine.backends.numba.loop_text import LONGEST_LOOP
from graphengine.backends.numba.parameters import indented
from graphengine.backends.numba.row_loops import RowLoop, fuse
from graphengine.backends.numpy.calls import Call
from graphengine.backends.numpy.looping import Steps
from graphengine.backends.numpy.number_text import NoTextError, NumberText
from graphengine.backends.protocol import CodeListing, Instruction, instructions
from graphengine.ir.graph import Graph
from graphengine.ops.shapes import ArrayType

WORTH_COMPILING = 2**22
"""Instructions on single numbers after which a loop is compiled: NumPy takes some seconds for them."""


def compile_scans(calls: Iterable[Call]) -> None:
    """Let loops run as machine code once that is worth its time: those among calls, and those inside of them.

    The steps of those that have no text get loops over rows, before they first run. Loops inside of one that runs on
    Python floats are part of it.
    """
    for steps in _loops(calls):
        text = StepsText(steps)
        if text.is_whole:
            steps.faster = ScanLoop(steps, text)
        elif any(isinstance(item, Group) for item in grouped(steps.piece.graph)):
            steps.piece = steps.piece.fused(fuse)


def scan_listing(call: Call) -> CodeListing | None:
    """The text of a loop, or of those inside of it; None if a call is not a loop or runs in Python."""
    loops = list(_loops([call]))
    texts = [each.faster.text for each in loops if isinstance(each.faster, ScanLoop)]
    names = dict(itertools.chain.from_iterable(text.names.items() for text in texts))
    parts = [*(text.lines() for text in texts), *_rows_in(loops)]
    return CodeListing("\n".join(parts), names) if parts else None


def _rows_in(loops: Iterable[Steps]) -> list[str]:
    """The texts of the loops over rows in the steps of loops."""
    calls = itertools.chain.from_iterable(each.piece.text.instructions for each in loops)
    return [each.function.rows.text() for each in calls if isinstance(each.function, RowLoop)]


def _loops(calls: Iterable[Call]) -> Iterator[Steps]:
    """The loops among calls, and those inside of one that runs in NumPy."""
    waiting = list(calls)
    while waiting:
        steps = waiting.pop().function
        if isinstance(steps, Steps):
            yield steps
            waiting += () if steps.on_floats else steps.piece.text.instructions


class StepsText:
    """Writes the loop; `is_whole` says whether it could be written."""

    def __init__(self, steps: Steps) -> None:
        self._graph: Graph = steps.piece.graph
        self._steps, self._text = steps, NumberText(_same_bits)
        try:
            self._write()
            self.is_whole = len(self._text.lines) <= LONGEST_LOOP
        except NoTextError:
            self.is_whole = False
        self._lines, self._names = self._text.lines, self._text.names

    def _write(self) -> None:
        """Write all instructions; the values that are there from the start get names."""
        if any(self._is_truth(source) for _, source in self._steps.piece.carried):
            raise NoTextError
        self._text.names.update({name: self._text.fresh(self._graph.types[name]) for name in self._graph.inputs})
        self._text.know(self._graph)
        for each in instructions(self._graph):
            self._text.write(each)

    def _is_truth(self, name: str) -> bool:
        return self._graph.types[name].array_dtype == np.bool_

    @property
    def given(self) -> list[str]:
        """The sources that are not sequences."""
        return [name for name in self._steps.piece.sources if name not in self._steps.cut]

    @property
    def _given_numbers(self) -> list[tuple[str, str]]:
        """The sources that are not sequences, each with the name of each of its numbers."""
        return [(source, name) for source in self.given for name in self._names[source].flat]

    def lines(self) -> str:
        """The loop: `given` are the numbers of the sources; at its end the carried ones have their last values."""
        steps, piece = self._steps, self._steps.piece
        given = self._given_numbers
        columns = [f"x{place}" for place in range(len(steps.cut))]
        stacks = [f"y{place}" for place in range(len(piece.results))]
        each_step = [
            f"n = {'count - 1 - i' if steps.is_reversed else 'i'}",
            *self._read(columns),
            *self._lines,
            *self._stacked(stacks),
            *self._carried_on(),
        ]
        body = [
            *(self._assigned(*each, f"given[{place}]") for place, each in enumerate(given)),
            "for i in range(count):",
            *indented(each_step),
            *(f"given[{place}] = {name}" for place, (_, name) in enumerate(given)),
        ]
        return "\n".join([f"def steps({', '.join(['given', 'count', *columns, *stacks])}):", *indented(body)]) + "\n"

    def _stacked(self, stacks: Sequence[str]) -> Iterable[str]:
        """The lines that keep the results of a step."""
        for stack, value in zip(stacks, self._steps.piece.results, strict=True):
            for place, text in enumerate(self._names[value].flat):
                yield f"{stack}[n, {place}] = {text}"

    def _carried_on(self) -> list[str]:
        """The line that replaces the carried numbers, all at once."""
        carried = self._steps.piece.carried
        names = [name for _, source in carried for name in self._names[source].flat]
        values = [name for value, _ in carried for name in self._names[value].flat]
        return [f"{', '.join(names)} = {', '.join(values)}"] if names else []

    def _read(self, columns: Sequence[str]) -> Iterable[str]:
        for column, source in zip(columns, self._steps.cut, strict=True):
            for place, name in enumerate(self._names[source].flat):
                yield self._assigned(source, name, f"{column}[n, {place}]")

    def _assigned(self, source: str, name: str, number: str) -> str:
        """A number of a source, or a truth value."""
        return f"{name} = {number}{' != 0.0' * self._is_truth(source)}"

    @property
    def names(self) -> dict[str, str]:
        """The values by the names that the loop has for their numbers."""
        return {text: name for name, texts in self._names.items() for text in texts.flat if text.startswith("v")}

    def parameters(self) -> list[tuple[ArrayType, bool]]:
        """The types of the parameters, and whether each is only read."""
        rows = ArrayType(("M", "N"), np.dtype(np.float64))
        return [
            (ArrayType(("N",), np.dtype(np.float64)), False),
            (ArrayType((), np.dtype(np.int64)), False),
            *[(rows, True)] * len(self._steps.cut),
            *[(rows, False)] * len(self._steps.piece.results),
        ]


class ScanLoop:
    """Runs the steps of a loop, in Python at first."""

    def __init__(self, steps: Steps, text: StepsText) -> None:
        self._steps, self.text = steps, text
        self._shapes: list[Any] = [steps.piece.graph.types[name].shape for name in text.given]
        self._work, self._done = len(steps.piece.graph.nodes) * steps.count, 0

    @cached_property
    def _run(self) -> Callable[..., None]:
        found: Callable[..., None] = compiled(self.text.lines(), "steps", self.text.parameters(), NAMES)
        return found

    def __call__(self, sources: Sequence[Any], wholes: Sequence[Any], slots: Sequence[Any]) -> list[Any]:
        """Run all steps; see `Steps.in_python`."""
        if self._done < WORTH_COMPILING:
            self._done += self._work
            return self._steps.in_python(sources, wholes, slots)
        steps, count = self._steps, self._steps.count
        values = dict(zip(steps.piece.sources, sources, strict=True))
        given = np.concatenate([np.empty(0), *[np.ravel(values[name]) for name in self.text.given]], dtype=np.float64)
        columns = [np.ascontiguousarray(whole, np.float64).reshape(count, -1) for whole in wholes]
        rows = [np.empty((count, slot[:1].size)) for slot in slots]
        self._run(given, count, *columns, *rows)
        for slot, made in zip(slots, rows, strict=True):
            slot[...] = made.reshape(slot.shape)
        last = self._apart(given)
        return [last[source] for _, source in steps.piece.carried]

    def _apart(self, numbers: Any) -> dict[str, Any]:
        """The values of the sources from all of their numbers, single numbers as Python floats."""
        found, place = {}, 0
        for name, shape in zip(self.text.given, self._shapes, strict=True):
            size = int(np.prod(shape, dtype=np.int64))
            part = numbers[place : place + size]
            found[name], place = part.reshape(shape) if shape else float(part[0]), place + size
        return found


def _same_bits(instruction: Instruction) -> str | None:
    """The expression of an instruction on single numbers that has the bits of the NumPy backend."""
    found = expression_of(instruction)
    return found.text if found and found.same_bits else None
