"""The reference executor as a backend: nothing is optimized, nothing is reordered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from graphengine.backends.protocol import Rounds
from graphengine.backends.reference.executor import Executor
from graphengine.ir.graph import Graph
from graphengine.ir.memory import require_memory


class ReferenceBackend:
    """Interprets a graph node by node."""

    name = "reference"

    def is_exact(self, graph: Graph) -> bool:
        """Whether the bits are those of the reference executor: always."""
        return True

    def compile(
        self, graph: Graph, *, exact: bool = True, carried: Mapping[str, str] | None = None
    ) -> ReferenceProgram:
        """Wrap a graph; see `Backend.compile`. The results are always exact."""
        return ReferenceProgram(graph, carried or {})


class ReferenceProgram:
    """A graph and its executor."""

    def __init__(self, graph: Graph, carried: Mapping[str, str]) -> None:
        require_memory(graph)
        self._executor, self._carried = Executor(graph), dict(carried)
        self._schedule = self._executor.forward_schedule(graph.outputs.values())
        self.outputs = dict(graph.outputs)
        read = {name for step in self._schedule.steps for name in step.node.inputs}
        read.update(self.outputs.values(), self._carried.values())
        self.sources = tuple(name for name in graph.sources if name in read)
        self.floats: frozenset[str] = frozenset()
        self.nbytes = 0

    def run(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Compute the outputs; see `Program.run`."""
        slots = self._executor.forward({name: values[name] for name in self.sources}, self._schedule)
        return {name: slots[self._executor.slot_of[value]] for name, value in self.outputs.items()}

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
        return repeated(self.run, self._carried, groups, values, fed, recorded, record, finish)

    def listing(self, fed: Sequence[str], recorded: Sequence[str]) -> None:
        """Return None: nodes are interpreted, and no code is made."""


def repeated(
    run: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    carried: Mapping[str, str],
    groups: Iterable[tuple[float, Rounds]],
    values: Mapping[str, Any],
    fed: Sequence[str],
    recorded: Sequence[str],
    record: Callable[[tuple[Any, ...]], None],
    finish: Callable[[float], None],
) -> dict[str, Any]:
    """Do what `Program.loop` does by calling `run` for each batch."""
    values = dict(values)
    for total, batches in groups:
        for keep, *batch in batches:
            outputs = run({**values, **dict(zip(fed, batch, strict=True))})
            values.update({source: outputs[name] for name, source in carried.items()})
            total += float(outputs[recorded[0]])
            if keep:
                record(tuple([_plain(outputs[name]) for name in recorded]))
        finish(total)
    return {source: values[source] for source in carried.values()}


def _plain(value: Any) -> Any:
    """A scalar of float64 as a Python float, as every program records it."""
    return float(value) if np.shape(value) == () else np.copy(value)
