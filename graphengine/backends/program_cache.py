"""Compiled programs that are kept: one for each purpose and each set of input shapes, as many as fit.

Compiling pays from the second use on, for graphs of thousands of nodes later, for large arrays at once. The uses before
get no program and are left to the reference executor, whose results are the same to the last bit; with a backend whose
results are others each use gets its program. The memory that they may take is bounded from the first use on: a gradient
may have far larger arrays than what it is the gradient of.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from threading import Lock
from typing import Any

from graphengine import gc_pause
from graphengine.backends.protocol import Backend, Program
from graphengine.ir.binding import bind_sizes
from graphengine.ir.graph import Graph
from graphengine.ir.memory import RUNNING, memory_of, require_memory
from graphengine.mappings import kept, only

CAPACITY, MOST_GRAPHS = 32, 4
NODES_PER_USE = 1000
"""A program of this many nodes takes about as long to compile as it saves in one use, of small arrays."""
BYTES_PER_NODE = 2**18
"""Values of this many bytes for each node take longer to compute than the node takes to compile."""


class ProgramCache:
    """The programs of one model, shared by all threads that use it; the least recently used goes first.

    The buffers of all programs together take at most the limit `plan_bytes`; a program that takes more is not kept.
    """

    is_exact: bool

    def __init__(self, graph: Graph, backend: Backend) -> None:
        self._graph, self._backend = graph, backend
        loops = any(node.op in RUNNING for node in graph.nodes)  # the reference takes much longer for a step
        self.is_exact = backend.is_exact(graph)
        self._patience = 1 + len(graph.nodes) // NODES_PER_USE if self.is_exact and not loops else 0
        self._programs: OrderedDict[Hashable, Program | int] = OrderedDict()
        self._graphs: OrderedDict[Hashable, Graph] = OrderedDict()
        self._last: tuple[Hashable, Program] | None = None
        """What was found last: comparing with it takes less than looking it up."""
        self._lock = Lock()

    def find(self, purpose: Hashable, inputs: Mapping[str, Any]) -> Program | None:
        """Return the program for inputs of these types, if there is one: nothing about them is checked again then."""
        key, last = (purpose, _kinds(inputs)), self._last
        if last and last[0] == key:
            return last[1]
        with self._lock:
            program = self._programs.get(key)
            if program is None or isinstance(program, int):
                return None
            self._programs.move_to_end(key)
            self._last = (key, program)
            return program

    def get(
        self, purpose: Hashable, make: Callable[[], Graph], inputs: Mapping[str, Any], *, is_gradient: bool = False
    ) -> Program | None:
        """Return the program of the graph that `make` makes, for inputs of these shapes; None at its first uses.

        The graph has the values of the model's graph or, with `is_gradient`, further ones.

        Raises
        ------
        InputError
            GE403 or GE405 if the shapes do not fit the declared ones, GE133 if with them the values of the graph take
            more memory than the limit.
        """
        shapes = {name: array.shape for name, array in inputs.items()}
        key = (purpose, _kinds(inputs))
        with self._lock:
            program = self._programs.get(key)
            if program is None:
                sizes = self._sizes(self._graph, shapes)
                if is_gradient and _gradient_may_grow(self._graph, sizes):
                    self._sizes(self._graph_for(purpose, make, inputs), shapes)
                program = self._uses_before(sizes)
            if isinstance(program, int):
                is_early = program < self._patience
                program = program + 1 if is_early else self._compile(self._graph_for(purpose, make, inputs), shapes)
            self._remember(key, program)
            return None if isinstance(program, int) else program

    def _uses_before(self, sizes: Mapping[str, int]) -> int:
        """As how many uses the first one counts: as all that need no program where the values are large."""
        is_large = memory_of(self._graph, sizes) > BYTES_PER_NODE * len(self._graph.nodes)
        return self._patience if is_large else 0

    def _graph_for(self, purpose: Hashable, make: Callable[[], Graph], inputs: Iterable[str]) -> Graph:
        """The graph of a purpose, for whatever sizes; which outputs a prediction has may depend on what is given."""
        return kept(self._graphs, (purpose, *inputs), MOST_GRAPHS, make)

    def _remember(self, key: Hashable, program: Program | int) -> None:
        self._last = None
        self._programs[key] = program
        self._programs.move_to_end(key)
        while self._programs and (len(self._programs) > CAPACITY or self._nbytes() > self._graph.limits.plan_bytes):
            self._programs.popitem(last=False)

    def _nbytes(self) -> int:
        return sum(program.nbytes for program in self._programs.values() if not isinstance(program, int))

    @gc_pause.paused()
    def _compile(self, graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> Program:
        return self._backend.compile(graph.with_sizes(self._sizes(graph, shapes)))

    def _sizes(self, graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """The numbers of the symbolic sizes, for which the graph fits into memory."""
        known = only(shapes, graph.inputs)
        sizes = bind_sizes(known, graph.types)
        require_memory(graph, sizes)
        return sizes


def _kinds(inputs: Mapping[str, Any]) -> tuple[tuple[str, tuple[int, ...], Any], ...]:
    """What distinguishes the arrays that a program takes: an array of another dtype has not been checked."""
    return tuple([(name, array.shape, array.dtype) for name, array in inputs.items()])


def _gradient_may_grow(graph: Graph, sizes: Mapping[str, int]) -> bool:
    from graphengine.transform.own_backward import gradient_may_grow  # it records loops

    return gradient_may_grow(graph, sizes)
