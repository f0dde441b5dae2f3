"""Plans that are kept: one for each purpose and each set of input shapes, as many as fit.

Making a plan pays from the second use on, for graphs of thousands of nodes later; the uses before get none and are
left to the reference executor, whose results are the same to the last bit. What they may take is bounded from the first
use on: a gradient may have far larger arrays than what it is the gradient of, and only its graph tells.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from threading import Lock
from typing import Any, TypeVar

from graphengine.backends.numpy.plan import Plan
from graphengine.ir.binding import bind_sizes
from graphengine.ir.graph import Graph
from graphengine.ir.memory import may_grow, require_memory

Made = TypeVar("Made")

CAPACITY, MOST_GRAPHS = 32, 4
NODES_PER_USE = 1000
"""A plan of this many nodes takes about as long to make as it saves in one use."""


class PlanCache:
    """The plans of one model, shared by all threads that use it; the one not used for longest goes first."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._patience = 1 + len(graph.nodes) // NODES_PER_USE
        self._plans: OrderedDict[Hashable, Plan | int] = OrderedDict()
        self._graphs: OrderedDict[Hashable, Graph] = OrderedDict()
        self._lock = Lock()

    def find(self, purpose: Hashable, inputs: Mapping[str, Any]) -> Plan | None:
        """The plan for inputs of these shapes, if there is one: then nothing about them needs to be checked again."""
        key = (purpose, _shapes(inputs))
        with self._lock:
            plan = self._plans.get(key)
            if not isinstance(plan, Plan):
                return None
            self._plans.move_to_end(key)
            return plan

    def get(
        self, purpose: Hashable, make: Callable[[], Graph], inputs: Mapping[str, Any], *, is_gradient: bool = False
    ) -> Plan | None:
        """The plan of the graph that `make` gives, for inputs of these shapes; None at its first uses.

        The graph has the values of the model's graph or, with `is_gradient`, further ones.

        Raises
        ------
        InputError
            GE403 or GE405 if the shapes do not fit the declared ones, GE133 if with them the values of the graph take
            more memory than the limit.
        """
        shapes = _shapes(inputs)
        key = (purpose, shapes)
        with self._lock:
            plan = self._plans.get(key, 0)
            if plan == 0:
                sizes = self._sizes(self._graph, dict(shapes))
                if is_gradient and may_grow(self._graph, sizes):
                    self._sizes(self._graph_for(purpose, make, inputs), dict(shapes))
            if isinstance(plan, int) and plan < self._patience:
                plan += 1
            elif isinstance(plan, int):
                plan = self._compile(self._graph_for(purpose, make, inputs), dict(shapes))
            self._remember(key, plan)
            return None if isinstance(plan, int) else plan

    def _graph_for(self, purpose: Hashable, make: Callable[[], Graph], inputs: Iterable[str]) -> Graph:
        """The graph of a purpose, for whatever sizes; which outputs a prediction has may depend on what is given."""
        return kept(self._graphs, (purpose, *inputs), MOST_GRAPHS, make)

    def _remember(self, key: Hashable, plan: Plan | int) -> None:
        self._plans[key] = plan
        self._plans.move_to_end(key)
        if len(self._plans) > CAPACITY:
            self._plans.popitem(last=False)

    def _compile(self, graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> Plan:
        return Plan(graph.with_sizes(self._sizes(graph, shapes)))

    def _sizes(self, graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """The numbers of the symbolic sizes, for which the graph fits into memory."""
        known = {name: shape for name, shape in shapes.items() if name in graph.inputs}
        sizes = bind_sizes(known, graph.types)
        require_memory(graph, sizes)
        return sizes


def kept(known: OrderedDict[Any, Made], key: Any, most: int, make: Callable[[], Made]) -> Made:
    """What is known under a key, or else is made; of all others, those that were used last stay."""
    value = known.pop(key, None) or make()
    known[key] = value
    while len(known) > most:
        known.popitem(last=False)
    return value


def _shapes(inputs: Mapping[str, Any]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple([(name, array.shape) for name, array in inputs.items()])
