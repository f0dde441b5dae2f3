"""The numba backend: a plan of the NumPy backend with loops over rows, and compiled loops for whole iterations.

Where both have the same bits a training may change from plan to loop between any two chunks: it does so once the
plan has run for some time, because numba takes time to start. Where a function of the C library has other bits than
NumPy's, or sums are in another order, all rounds run in the loop. What the tables lack stays with NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from graphengine.backends.numba.compiling import compiled
from graphengine.backends.numba.expressions import NAMES
from graphengine.backends.numba.loop_text import LONGEST_LOOP, LoopText
from graphengine.backends.numba.one_row import one_row
from graphengine.backends.numba.row_loops import ResultMemory, RowLoop, fuse
from graphengine.backends.numba.scan_loops import compile_scans, scan_listing
from graphengine.backends.numba.slots import encoded, record_all
from graphengine.backends.numpy.calls import Call
from graphengine.backends.numpy.plan import Plan, optimized
from graphengine.backends.protocol import CodeListing, Program, Rounds, sources_of
from graphengine.extras import require
from graphengine.ir.graph import Graph

WORTH_COMPILING = 2**23
"""Instructions after which a loop is compiled: Python runs them in about the time that numba takes to start."""


class NumbaBackend:
    """Compiles a graph to a plan and a training step on single numbers to a loop.

    Raises
    ------
    UsageError
        GE803 if numba is not installed.
    """

    name = "numba"

    def __init__(self) -> None:
        require("numba", "jit")

    def is_exact(self, graph: Graph) -> bool:
        """Whether no sums are in another order: all values are single numbers."""
        return all(kind.shape == () for kind in graph.types.values())

    def compile(self, graph: Graph, *, exact: bool = True, carried: Mapping[str, str] | None = None) -> Program:
        """Compile a graph; see `Backend.compile`."""
        carried = carried or {}
        if len(graph.nodes) > LONGEST_LOOP and self.is_exact(graph):
            made = optimized(graph, exact, carried)
            program = encoded(made, carried, sources_of(made, carried))
            if program is not None:
                return program
        return NumbaProgram(Plan(graph, exact=exact, carried=carried, fuse=_compiled_calls))


class NumbaProgram:
    """A plan, and its step as a loop once that is worth its time."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.sources, self.outputs, self.floats = plan.sources, plan.outputs, plan.floats
        self._one_row = None if plan.carried else one_row(plan.graph, plan.sources)
        self._done = 0
        self._loops: dict[Any, Callable[..., float]] = {}

    @cached_property
    def text(self) -> LoopText:
        """The step as text, with what prevents that."""
        return LoopText(self.plan.graph, self.plan.carried, self.sources)

    @property
    def nbytes(self) -> int:
        """The bytes that the plan and its results keep."""
        calls = [each.function for each in self.plan.instructions]
        return self.plan.nbytes + sum(each.nbytes for each in calls if isinstance(each, ResultMemory))

    def listing(self, fed: Sequence[str], recorded: Sequence[str]) -> CodeListing:
        """Return the plan and, of a training step, the loop that is made of it; see `Program.listing`."""
        if self._one_row:
            return CodeListing(self._one_row.text.text(), self._one_row.text.names)
        plan = replace(self.plan.listing(fed, recorded), loops=_listings(self.plan.instructions))
        if not self.plan.carried:
            return plan
        if self.text.lacking:
            return replace(plan, lacking=tuple(self.text.lacking))
        loop = CodeListing(self.text.loop(fed, recorded), self.text.names)
        return replace(plan, loop=loop, same_bits=self.text.same_bits)

    def run(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Compute the outputs; see `Program.run`."""
        return self._one_row(values) if self._one_row else self.plan.run(values)

    def loop(
        self,
        groups: Iterable[tuple[float, Rounds]],
        values: Mapping[str, Any],
        fed: Sequence[str],
        recorded: Sequence[str],
        record: Callable[[tuple[Any, ...]], None],
        finish: Callable[[float], None],
    ) -> dict[str, Any]:
        """Run the step for each batch; see `Program.loop`."""
        text = self.text
        if self._stays_in_python:
            return self.plan.loop(self._counted(groups), values, fed, recorded, record, finish)
        loop = self._compiled(tuple(fed), tuple(recorded))
        kept, sizes = text.kept(fed), np.array(text.sizes, np.int64)
        given = np.array([float(np.asarray(values[name]).item()) for name in kept])
        arrays = self._arrays(values, fed)
        for total, rounds in groups:
            keep = _truths(rounds.flags)
            rows = np.empty((np.count_nonzero(keep), len(recorded)))
            total = loop(given, total, keep, rows, sizes, *rounds.numbers(text.arrays), *arrays)
            record_all(rows, record)
            finish(total)
        last = dict(zip(kept, given.tolist(), strict=True))
        return {source: last[source] for source in self.plan.carried.values()}

    @property
    def _stays_in_python(self) -> bool:
        """Whether there is no loop, or one with the bits of the plan has not been worth its time yet."""
        return bool(self.text.lacking) or (self.text.same_bits and self._done < WORTH_COMPILING)

    def _arrays(self, values: Mapping[str, Any], fed: Sequence[str]) -> list[Any]:
        """The arrays that all iterations have: those of the caller, and memory."""
        given = [_in_order(values[name]) for name in self.text.arrays if name not in fed]
        return [*given, *(each.memory() for each in self.text.memory)]

    def _counted(self, groups: Iterable[tuple[float, Rounds]]) -> Iterable[tuple[float, Rounds]]:
        """The same groups; the instructions of their rounds are counted."""
        for total, rounds in groups:
            self._done += len(rounds.flags) * len(self.plan.instructions)
            yield total, rounds

    def _compiled(self, fed: tuple[str, ...], recorded: tuple[str, ...]) -> Callable[..., float]:
        key = (fed, recorded)
        if key not in self._loops:
            self._loops[key] = compiled(self.text.loop(fed, recorded), "loop", self.text.parameters(fed), NAMES)
        return self._loops[key]


def _listings(calls: Iterable[Call]) -> dict[str, CodeListing]:
    """The code of the calls that are compiled, by their names in the plan."""
    listings = {f"f{number}": _listing_of(call) for number, call in enumerate(calls)}
    return {name: listing for name, listing in listings.items() if listing}


def _listing_of(call: Call) -> CodeListing | None:
    """The code of a loop over rows or over steps, None of any other call."""
    if isinstance(call.function, RowLoop):
        rows = call.function.rows
        return CodeListing(rows.text(), rows.names)
    return scan_listing(call)


def _compiled_calls(graph: Graph, calls: Sequence[Call], replaced: Mapping[str, str]) -> list[Call]:
    """The calls of a plan, with compiled loops over rows, and over steps where a node is a loop."""
    compile_scans(calls)
    return fuse(graph, calls, replaced)


def _in_order(value: Any) -> Any:
    """An array as a loop takes it, row by row."""
    return np.require(value, None, ["C", "A"])


def _truths(flags: Sequence[int]) -> Any:
    """Flags as an array; those of a history are bytes, which are not copied."""
    return np.frombuffer(flags, np.bool_) if isinstance(flags, bytearray) else np.array(flags, np.bool_)
