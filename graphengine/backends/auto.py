"""The backend `auto`: numba for trainings that it makes faster by more than it takes to start, else numpy.

What a training gains is estimated before it begins, from its numbers of iterations, nodes and values, and not from
time: the same training has the same backend each time, and a checkpoint names it.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphengine.backends.protocol import DEFAULT_BACKEND, Backend, Program, backend_named
from graphengine.errors import UsageError
from graphengine.ir.graph import Graph
from graphengine.ir.memory import memory_of

AUTO = "auto"
OPS_OF_A_NODE = 3
"""Ops of a training step for each node of a model: forward, backward and update."""
GAIN_OF_AN_OP, GAIN_OF_A_NUMBER = 5e-8, 2e-10
"""Seconds that a compiled loop saves for an op on single numbers, and for each number of an array."""
STARTING = 4.0
"""Seconds that numba may take to start and to compile all loops of a training, twice."""


class AutoBackend:
    """Compiles with the default backend; `backend_for` chooses one for a training."""

    name = AUTO

    def is_exact(self, graph: Graph) -> bool:
        """Whether the bits are those of the reference executor: always."""
        return True

    def compile(self, graph: Graph, *, exact: bool = True, carried: Mapping[str, str] | None = None) -> Program:
        """Compile a graph; see `Backend.compile`."""
        return backend_named(DEFAULT_BACKEND).compile(graph, exact=exact, carried=carried)


def backend_for(graph: Graph, sizes: Mapping[str, int], iterations: int) -> Backend:
    """Return the backend that `auto` trains a model's graph with, by the work there is."""
    if iterations * _gain(graph, sizes) > STARTING:
        try:
            return backend_named("numba")
        except UsageError:  # it is not installed
            pass
    return backend_named(DEFAULT_BACKEND)


def _gain(graph: Graph, sizes: Mapping[str, int]) -> float:
    """The seconds that loops save in one iteration."""
    numbers, ops = memory_of(graph, sizes) // 8, OPS_OF_A_NODE * len(graph.nodes)
    is_of_numbers = numbers <= 2 * len(graph.types)
    return ops * GAIN_OF_AN_OP if is_of_numbers else OPS_OF_A_NODE * numbers * GAIN_OF_A_NUMBER
