"""A graph for all samples as graphs for parts of them: passes over the parts, and what follows once from their results.

What a pass merges, by how each value depends on the samples (`sample_walk`), is the same for all of them. So everything
after it is computed once, from the merged number: the root of a mean, a quotient of sums, r2.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from graphengine.ir.declarations import Input
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, Operand, results_of
from graphengine.mappings import only, picked
from graphengine.ops.shapes import ArrayType, size_value
from graphengine.transform.sample_walk import FIXED, PART_KEY, Merged, SampleWalk, Spread, walked


@dataclass(frozen=True)
class Pass:
    """A graph that runs for each part; its outputs merge as `merges` say, and `then` runs once on what is merged."""

    graph: Graph
    merges: Mapping[str, Merged]
    then: Graph | None


@dataclass(frozen=True)
class Stages:
    """Passes over the parts of the samples, and the graph that gives the outputs from what they merged.

    `sizes` are the numbers of the symbolic sizes for all samples together, `gathered` the nodes that get all samples at
    once. `uncut` are inputs that have samples on more than one axis and cannot be cut into parts.
    """

    passes: tuple[Pass, ...]
    final: Graph
    sizes: Mapping[str, int]
    gathered: tuple[GraphNode, ...]
    uncut: tuple[str, ...]


def stages_of(
    graph: Graph,
    sizes: Mapping[str, int],
    rows: Iterable[str],
    single: Iterable[str] = (),
    *,
    last: Container[str] = (),
    redraws: bool = False,
) -> Stages:
    """The stages of a graph whose inputs `rows` have samples along their first axis.

    Inputs `single` take one sample at a time; then all samples come one by one, and an output is the mean over them, of
    integers the sum, of the outputs `last` what the last sample gave. With `redraws` what is random for each sample is
    drawn part by part; without, for all samples at once.
    """
    walk = walked(graph, sizes, rows, single, redraws=redraws)
    outputs = {name: walk.output(value, is_last=name in last) for name, value in graph.outputs.items()}
    return _Cutting(walk).stages(outputs)


class _Cutting:
    """Cuts the nodes of a walk into the graphs of its passes."""

    def __init__(self, walk: SampleWalk) -> None:
        self._walk = walk
        self._merged: defaultdict[int, set[str]] = defaultdict(set)
        """What each pass merges, by the number of passes after which it is known."""
        self._derived: defaultdict[int, set[str]] = defaultdict(set)
        """What is computed once after each pass, because a later one reads it."""

    def stages(self, outputs: Mapping[str, str]) -> Stages:
        """The passes that the outputs need, from the last to the first, and the final graph."""
        walk, final = self._walk, self._graph(outputs, self._is_merged)
        passes = [self._pass(stage) for stage in range(max(self._merged, default=0), 0, -1)]
        return Stages(tuple(passes[::-1]), final, walk.sizes, tuple(walk.gathered), walk.uncut)

    def _pass(self, stage: int) -> Pass:
        """The pass with a number, which begins with 1; those after it say what they need of it."""
        derived = {name: name for name in sorted(self._derived[stage])}
        then = self._graph(derived, self._is_merged) if derived else None
        merges = picked(self._walk.merged, sorted(self._merged[stage]))
        graph = self._graph({name: merge.value for name, merge in merges.items()}, self._is_known)
        return Pass(graph, merges, then)

    def _is_merged(self, value: Operand) -> bool:
        return value in self._walk.merged

    def _is_known(self, value: Operand) -> bool:
        """Whether a value of a pass is known before it."""
        place = self._walk.places.get(value, FIXED)
        return value in self._walk.merged or (place.spread is Spread.FIXED and place.stage > 0)

    def _graph(self, outputs: Mapping[str, str], is_known: Callable[[Operand], bool]) -> Graph:
        """The graph that computes values, with what is known as inputs."""
        needed: set[Any] = set(outputs.values()).difference(self._walk.merged)
        known: set[Any] = set(outputs.values()) - needed
        kept = []
        for node in reversed(self._walk.nodes):
            if not needed.isdisjoint(node.outputs):
                kept.append(node)
                operands = set(node.references)
                known.update(filter(is_known, operands))
                needed |= operands - known
        for name in known:
            group = self._merged if name in self._walk.merged else self._derived
            group[self._walk.places[name].stage].add(name)
        return self._derive(kept[::-1], outputs, needed, sorted(known))

    def _derive(self, nodes: list[GraphNode], outputs: Mapping[str, str], read: set[Any], known: list[str]) -> Graph:
        graph, walk = self._walk.graph, self._walk
        inputs = {name: replace(each, type=walk.types[name]) for name, each in only(graph.inputs, read).items()}
        inputs |= {name: self._as_input(name) for name in (*known, *read.intersection([PART_KEY]))}
        parameters = only(graph.parameters, read)
        state = {name: replace(each, update=None) for name, each in only(graph.state, read).items()}
        types = picked(walk.types, (*inputs, *parameters, *state, *results_of(nodes)))
        return graph.derive(nodes, outputs, types, inputs=inputs, parameters=parameters, state=state)

    def _as_input(self, name: str) -> Input:
        """The declaration of a value that is known."""
        kind = self._walk.types[name]
        shape = tuple([size_value(size, self._walk.sizes) for size in kind.shape])
        return Input(ArrayType(shape, kind.array_dtype))
