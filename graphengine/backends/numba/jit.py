"""The numba backend: a plan of the NumPy backend whose long runs of steps on single numbers are compiled loops.

Where both have the same bits a training may change from one to the other between any two chunks: it does so once the
plan has run for some time, because numba takes time to start. Where a function of the C library has other bits than
NumPy's, all rounds run in the loop. What is no number, and what the table lacks, stays with the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from graphengine.backends.numba.compiling import compiled
from graphengine.backends.numba.expressions import NAMES
from graphengine.backends.numba.loop_text import LoopText
from graphengine.backends.numpy.plan import Plan
from graphengine.backends.protocol import CodeListing, Rounds
from graphengine.extras import require
from graphengine.ir.graph import Graph

WORTH_COMPILING = 2**23
"""Instructions after which a loop is compiled: Python runs them in about the time that numba takes to start."""
SIGNATURE = "float64(float64[::1], float64, boolean[::1], float64[:, ::1]{})"
"""The types of a loop: `given`, `total`, `keep`, `rows` and the columns."""


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

    def compile(self, graph: Graph, *, exact: bool = True, carried: Mapping[str, str] | None = None) -> NumbaProgram:
        """Compile a graph; see `Backend.compile`."""
        return NumbaProgram(Plan(graph, exact=exact, carried=carried))


class NumbaProgram:
    """A plan, and its step as a loop once that is worth its time."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.sources, self.outputs, self.floats = plan.sources, plan.outputs, plan.floats
        self._done = 0
        self._loops: dict[Any, Callable[..., float]] = {}

    @cached_property
    def text(self) -> LoopText:
        """The step as text, with what prevents that."""
        return LoopText(self.plan.graph, self.plan.carried, self.sources)

    @property
    def nbytes(self) -> int:
        """The bytes that the plan keeps."""
        return self.plan.nbytes

    def listing(self, fed: Sequence[str], recorded: Sequence[str]) -> CodeListing:
        """Return the plan and, of a training step, the loop that is made of it; see `Program.listing`."""
        plan = self.plan.listing(fed, recorded)
        if not self.plan.carried:
            return plan
        if self.text.lacking:
            return replace(plan, lacking=tuple(self.text.lacking))
        loop = CodeListing(self.text.loop(fed, recorded), self.text.names)
        return replace(plan, loop=loop, same_bits=self.text.same_bits)

    def run(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Compute the outputs; see `Program.run`."""
        return self.plan.run(values)

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
        if text.lacking or (text.same_bits and self._done < WORTH_COMPILING):
            return self.plan.loop(self._counted(groups), values, fed, recorded, record, finish)
        loop = self._compiled(tuple(fed), tuple(recorded))
        kept = [name for name in self.sources if name not in fed]
        given = np.array([float(np.asarray(values[name]).item()) for name in kept])
        for total, rounds in groups:
            keep = _truths(rounds.flags)
            rows = np.empty((np.count_nonzero(keep), len(recorded)))
            total = loop(given, total, keep, rows, *rounds.numbers())
            for row in rows.tolist() if len(rows) else ():
                record(tuple(row))
            finish(total)
        last = dict(zip(kept, given.tolist(), strict=True))
        return {source: last[source] for source in self.plan.carried.values()}

    def _counted(self, groups: Iterable[tuple[float, Rounds]]) -> Iterable[tuple[float, Rounds]]:
        """The same groups; the instructions of their rounds are counted."""
        for total, rounds in groups:
            self._done += len(rounds.flags) * len(self.plan.instructions)
            yield total, rounds

    def _compiled(self, fed: tuple[str, ...], recorded: tuple[str, ...]) -> Callable[..., float]:
        key = (fed, recorded)
        if key not in self._loops:
            signature = SIGNATURE.format("".join([", float64[::1]"] * len(fed)))
            self._loops[key] = compiled(self.text.loop(fed, recorded), "loop", signature, NAMES)
        return self._loops[key]


def _truths(flags: Sequence[int]) -> Any:
    """Flags as an array; those of a history are bytes, which are not copied."""
    return np.frombuffer(flags, np.bool_) if isinstance(flags, bytearray) else np.array(flags, np.bool_)
