"""A plan of many numbers that is made once it has run for some rounds.

Until then the graph is walked, node by node, with nothing prepared: a round takes ten times as long as one of a plan,
but making the plan takes as long as ten walks. No pass changes a bit of a single number, so both give the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from graphengine.backends.protocol import CodeListing, Program, Rounds
from graphengine.ir.graph import Graph
from graphengine.ir.memory import require_memory

FEWEST_NODES = 400
"""Nodes of the smallest graph that is walked."""
WALKS = 8
"""Rounds after which a plan is made."""


def is_of_numbers(graph: Graph) -> bool:
    """Whether a graph has no values but single numbers of double precision, and truth values."""
    kinds = {id(kind): kind for kind in graph.types.values()}.values()
    are_numbers = (kind.shape == () and kind.dtype in (np.float64, np.bool_) for kind in kinds)
    return all(are_numbers)


class LatePlan:
    """Runs a graph of numbers; `make` gives its plan, which has to take all of the `sources`."""

    def __init__(
        self, graph: Graph, sources: Sequence[str], carried: Mapping[str, str], make: Callable[[], Program]
    ) -> None:
        require_memory(graph)
        self._graph, self._make, self._walks = graph, make, 0
        self.sources, self.outputs, self.carried = sources, dict(graph.outputs), carried
        self.floats = frozenset(name for name in sources if graph.types[name].dtype == np.float64)

    @cached_property
    def plan(self) -> Program:
        """The plan, made when it is requested."""
        return self._make()

    @property
    def nbytes(self) -> int:
        """The bytes that the plan keeps between runs, once there is one."""
        return self.plan.nbytes if "plan" in vars(self) else 0

    def run(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Compute the outputs; see `Program.run`."""
        if self._walks >= WALKS:
            return self.plan.run(values)
        self._walks += 1
        return self._walk(values)

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
        if self._walks >= WALKS:
            return self.plan.loop(groups, values, fed, recorded, record, finish)
        from graphengine.backends.reference.program import repeated

        return repeated(self._walk, self.carried, self._counted(groups), values, fed, recorded, record, finish)

    def listing(self, fed: Sequence[str], recorded: Sequence[str]) -> CodeListing | None:
        """Return the code of the plan; see `Program.listing`."""
        return self.plan.listing(fed, recorded)

    def _counted(self, groups: Iterable[tuple[float, Rounds]]) -> Iterator[tuple[float, Rounds]]:
        """The same groups; their rounds are counted."""
        for total, rounds in groups:
            self._walks += len(rounds.flags)
            yield total, rounds

    def _sources_of(self, values: Mapping[str, Any]) -> dict[Any, Any]:
        return {name: np.float64(values[name]) if name in self.floats else values[name] for name in self.sources}

    def _walk(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs, by the `forward` of each node."""
        known = self._sources_of(values)
        with np.errstate(all="ignore"):
            for each in self._graph.nodes:
                name, _, node, operands = each
                results = node.forward(*[known[ref] if type(ref) is str else ref for ref in operands])
                if type(results) is tuple:
                    known.update(zip(each.outputs, results, strict=True))
                else:
                    known[name] = results
        return {name: known[value] for name, value in self.outputs.items()}
