"""A plan: a graph lowered once for given shapes and dtypes, run without dispatch any number of times.

A short plan is one generated Python function. A long one is a flat list of steps over slots until it has run often
enough to be worth the time that Python takes to compile it. A plan may be used by many threads: each run takes a
workspace (the buffers) of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from graphengine import gc_pause
from graphengine.backends.numpy.buffers import Workspaces, assign_buffers, large_kinds, updates_last
from graphengine.backends.numpy.calls import LINE, Call, is_float, length_of
from graphengine.backends.numpy.late import FEWEST_NODES, LatePlan, is_of_numbers
from graphengine.backends.numpy.lowering import Fuse, Running, constants, lower
from graphengine.backends.numpy.source import PlanText, assign_slots, slot_key
from graphengine.backends.protocol import CodeListing, Program, Rounds, sources_of
from graphengine.ir.graph import Graph
from graphengine.ir.memory import claims, require_memory
from graphengine.ir.nodes import has_loops
from graphengine.ops.traits import OpTrait
from graphengine.transform.passes import optimize

LONGEST_FUNCTION = 400
"""Instructions up to which a plan is one function from the start: Python compiles a line in about 20 microseconds."""
WORTH_COMPILING = 64
"""Rounds after which a longer plan becomes one function, too: about what compiling costs, for a graph of any length."""


FlatStep: TypeAlias = tuple[Callable[..., Any], Any, int | None, int]
"""A call on slots: a function, its two operands, its result. One operand has None beside it; none, three or more are
a tuple with `MANY`. Plain tuples, because Python unpacks no others as fast."""
MANY = -1


class Plan:
    """Runs a graph whose shapes are known: `run(values)` gives its outputs by public name.

    `carried` maps outputs to the parameters or state they replace in the next round of `loop`. With `exact` the results
    are, bit for bit, those of the reference executor; without, sums may be reordered (`passes.factor_sums`). `fuse`
    puts calls together, given the graph, its calls and for each value that is carried the source that it replaces. It
    takes the `sources` even if it reads none of them.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        exact: bool = True,
        carried: Mapping[str, str] | None = None,
        fuse: Fuse | None = None,
        sources: Iterable[str] = (),
    ) -> None:
        self.carried = dict(carried or {})
        self.graph = graph = optimized(graph, exact, self.carried)
        """The optimized graph that it runs."""
        self.outputs = dict(graph.outputs)
        self.sources = sources_of(graph, self.carried, sources)
        self.floats = frozenset(name for name in self.sources if is_float(graph.types[name]))
        self._replaced = [(self.outputs[name], source) for name, source in self.carried.items()]
        instructions = updates_last(self._lowered(exact, fuse), set(dict(self._replaced)))
        if large_kinds(instructions):
            from graphengine.backends.numpy.ordering import ordered

            instructions = ordered(instructions, self.outputs.values())
        self.instructions = tuple(instructions)
        self._buffers = assign_buffers(self.instructions, self.outputs, self.carried)
        self._slots, self._fixed = assign_slots(self.sources, constants(graph), self.instructions)
        self.text = PlanText(self.instructions, self._buffers, self._slots, self._fixed)
        self._flat_rounds = 0
        self._workspaces = Workspaces(self._buffers.kinds)
        self._loops: dict[Any, tuple[list[str], Callable[..., Any]]] = {}

    def _lowered(self, exact: bool, fuse: Fuse | None) -> list[Call]:
        """The calls of the graph, put together by `fuse` or, where sums may be reordered, into tiles."""
        graph = self.graph
        calls = lower(graph, _running(graph))
        if found := claims(graph):
            from graphengine.backends.numpy.claiming import with_claims

            calls = with_claims(calls, graph, found)
        if fuse:
            calls = fuse(graph, calls, dict(self._replaced))
        elif exact:
            return calls
        if not _has_long_vectors(graph):
            return calls
        from graphengine.backends.numpy.tiles import in_lines, tile

        return in_lines(calls, graph.types) if fuse else tile(calls, graph.types, set(self.outputs.values()))

    @property
    def nbytes(self) -> int:
        """The bytes of the buffers that it keeps between runs, one set for each thread that ran it at once."""
        return self._workspaces.nbytes

    @property
    def is_function(self) -> bool:
        """Whether the plan runs as one generated function, and not as a flat list of steps."""
        return len(self.instructions) <= LONGEST_FUNCTION or self._flat_rounds >= WORTH_COMPILING

    def __str__(self) -> str:
        """The plan as Python text, each instruction a line."""
        return self.text.function(self.sources, list(self.outputs.values()))

    def listing(self, fed: Sequence[str], recorded: Sequence[str]) -> CodeListing:
        """Return the plan as text; see `Program.listing`."""
        from graphengine.backends.numpy.plan_names import listing_of  # which no run needs

        return listing_of(str(self), self.text, self.outputs)

    def run(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Compute the outputs from values for inputs, parameters and state."""
        run = self._function if self.is_function else self._run_flat
        results = self._with_buffers(run, self._given(self.sources, values))
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
        """Run once for each batch of each group, feeding `carried` outputs back; gives their last values by source.

        A group is a number and its rounds: a flag and values for the sources `fed` each. After a round with the flag
        set `record` gets a tuple of the outputs `recorded`; after a group `finish` gets its number plus the sum of the
        first of `recorded` over its rounds. Arrays in `values` that are carried are written over.
        """
        key = (tuple(fed), tuple(recorded), self.is_function)
        if key not in self._loops:
            kept = [name for name in self.sources if name not in fed]
            self._loops[key] = kept, self._make_loop(kept, fed, recorded)
        kept, loop = self._loops[key]
        new = self._with_buffers(loop, self._given(kept, values), groups, record, finish)
        return dict(zip(self.carried.values(), new, strict=True))

    def _given(self, names: Iterable[str], values: Mapping[str, Any]) -> list[Any]:
        """Values as the plan holds them: double scalars, and vectors that became scalars, as Python floats."""
        return [np.asarray(values[name]).item() if name in self.floats else values[name] for name in names]

    def _with_buffers(self, function: Callable[..., Any], given: list[Any], *more: Any) -> Any:
        """A call with buffers that no other run uses meanwhile, and NumPy's floating-point warnings off."""
        buffers = self._workspaces.take()
        try:
            with np.errstate(all="ignore"):
                return function(given, buffers, *more)
        finally:
            self._workspaces.give_back(buffers)

    # ------------------------------------------------------------ as a function

    @cached_property
    def _function(self) -> Callable[..., list[Any]]:
        return self.text.compile(str(self), "run")

    def _make_loop(self, kept: Sequence[str], fed: Sequence[str], recorded: Sequence[str]) -> Callable[..., Any]:
        """A loop that is given the sources `kept` once, and those `fed` for each round."""
        if not self.is_function:
            return self._flat_loop(kept, fed, recorded)
        text = self.text.loop(kept, fed, self._replaced, [self.outputs[name] for name in recorded])
        return self.text.compile(text, "loop")

    # ------------------------------------------------------------ as a flat list of steps

    @cached_property
    @gc_pause.paused()
    def _steps(self) -> list[FlatStep]:
        steps: list[FlatStep] = []
        slot_of = self._slots
        for index, instruction in enumerate(self.instructions):
            slots = [slot_of[operand if type(operand) is str else slot_key(operand)] for operand in instruction.inputs]
            slots += self._written(index, instruction)
            steps.append((instruction.function, *_operands(slots), slot_of[instruction.output]))
            forgotten = [slot_of[value] for value in self._buffers.last.get(index, ())]
            steps += [(_forget, slot, None, slot) for slot in forgotten]
        return steps

    def _written(self, index: int, instruction: Call) -> list[int]:
        """The slot of the array that an instruction writes into, if it takes one."""
        if index in self._buffers.in_place:
            return [self._slots[self._buffers.in_place[index]]]
        if index in self._buffers.of:
            return [len(self._slots) + self._buffers.of[index]]
        return [self._slots[slot_key(None)]] * instruction.writes

    def _run_flat(self, given: Sequence[Any], workspace: Sequence[Any]) -> list[Any]:
        self._flat_rounds += 1
        slots: list[Any] = [None] * len(self._slots)
        slots[: len(given)] = given
        for slot, value in self._fixed.items():
            slots[slot] = value
        slots += workspace
        for function, one, two, result in self._steps:
            if two is None:
                slots[result] = function(slots[one])
            elif two < 0:
                slots[result] = function(*[slots[slot] for slot in one])
            else:
                slots[result] = function(slots[one], slots[two])
        return [slots[self._slots[value]] for value in self.outputs.values()]

    def _flat_loop(self, kept: Sequence[str], fed: Sequence[str], recorded: Sequence[str]) -> Callable[..., Any]:
        """The loop of a plan that is too long for one function."""

        def loop(given: Any, workspace: Any, groups: Any, record: Any, finish: Any) -> list[Any]:
            values = dict(zip(kept, given, strict=True))
            for total, batches in groups:
                for keep, *batch in batches:
                    values.update(zip(fed, batch, strict=True))
                    results = self._run_flat([values[name] for name in self.sources], workspace)
                    outputs = dict(zip(self.outputs, results, strict=True))
                    values.update({source: outputs[name] for name, source in self.carried.items()})
                    total += outputs[recorded[0]]
                    if keep:
                        record(tuple([_copied(outputs[name]) for name in recorded]))
                finish(total)
            return [values[source] for source in self.carried.values()]

        return loop


def _operands(slots: list[int]) -> tuple[Any, int | None]:
    """The operands of a step; see `FlatStep`."""
    if len(slots) == 1:
        return slots[0], None
    return (slots[0], slots[1]) if len(slots) == 2 else (tuple(slots), MANY)


def optimized(graph: Graph, exact: bool, carried: Mapping[str, str]) -> Graph:
    """Return the graph that a plan runs.

    Raises
    ------
    InputError
        GE133 if the values of the graph take more memory than the limit.
    """
    require_memory(graph)
    passes = _passes(graph)
    graph = passes(graph, exact=exact)
    if exact or not carried or not _has_units(graph):
        return graph
    from graphengine.transform.single import with_single_numbers

    single = with_single_numbers(graph)
    return graph if single is graph else passes(single, exact=exact)


def _passes(graph: Graph) -> Callable[..., Graph]:
    """Return what optimizes a graph, and the loops in it if there are some."""
    if not has_loops(graph.nodes):
        return optimize
    from graphengine.transform.trimming import optimize_trimmed

    return optimize_trimmed


def _has_units(graph: Graph) -> bool:
    """Whether a source or the first result of a node is a vector of one number."""
    values = [*graph.sources, *[node.id for node in graph.nodes]]
    return (1,) in {graph.types[name].shape for name in values}


def _has_long_vectors(graph: Graph) -> bool:
    """Whether a dot product may be too long for one thread of the BLAS library; tiles are for even longer vectors."""
    return any(length_of(shape) > LINE for shape in {kind.shape for kind in graph.types.values()})


def _running(graph: Graph) -> Running:
    """Return what lowers ops that run functions, which is imported only for a graph that has some."""
    if not any(OpTrait.RUNS_FUNCTIONS in node.node.traits for node in graph.nodes):
        return {}
    from graphengine.backends.numpy.looping import RUNNING

    return RUNNING


class NumPyBackend:
    """The default backend and, beside the reference, the judge of all others: it compiles a graph to a plan."""

    name = "numpy"

    def is_exact(self, graph: Graph) -> bool:
        """Whether the bits are those of the reference executor: always."""
        return True

    def compile(self, graph: Graph, *, exact: bool = True, carried: Mapping[str, str] | None = None) -> Program:
        """Compile a graph; see `Backend.compile`. A plan of many numbers that is to run in a loop is made later."""
        if not (carried and len(graph.nodes) >= FEWEST_NODES and is_of_numbers(graph)):
            return Plan(graph, exact=exact, carried=carried)
        sources = sources_of(graph, carried)
        return LatePlan(graph, sources, carried, lambda: Plan(graph, exact=exact, carried=carried, sources=sources))


def _forget(_: Any) -> None:
    """What a slot gets whose array is no longer needed."""


def _copied(value: Any) -> Any:
    return np.copy(value) if np.ndim(value) else value
