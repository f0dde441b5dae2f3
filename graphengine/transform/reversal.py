"""The gradients of functions that run as nodes: of the body of a loop, and of the branches of a choice.

The gradient of a body is recorded as that of any graph. Sums begin with what the steps after this one have added up,
and go on in the order of the unrolled loop, so a loop gives its bits: a constant gets what each step contributes, one
contribution after the other, and contributions to a state that is also a result stay apart until the result's own has
been added. What the gradient reads of the forward values is kept for each step; views are made again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from graphengine.ir.declarations import Input
from graphengine.ir.graph import Graph
from graphengine.ir.graph_bodies import GraphBody
from graphengine.ir.nodes import GraphNode, reachable
from graphengine.ir.recording import Recorder
from graphengine.ops.body import Branch, Reversal
from graphengine.ops.shapes import ArrayType
from graphengine.ops.traits import OpTrait
from graphengine.transform.backward import BackwardPass
from graphengine.transform.path import PathNode, backward_path, differentiable_toward

Types = tuple[ArrayType | None, ...]


def loop_gradient(
    body: GraphBody,
    types: Types,
    carry: tuple[str, ...],
    sequences: tuple[str, ...],
    arriving: tuple[bool, ...],
    needs: tuple[bool, ...],
) -> Reversal:
    """Return the gradient of a loop, by the types of what the body gets in a step.

    `arriving` says at which outputs a gradient arrives, `needs` which inputs need one.

    Raises
    ------
    DifferentiationError
        GE411 if a node on the way has no `backward`.
    """
    key = ("loop", types, carry, sequences, arriving, needs)
    found: Reversal = body.remembered(
        key, lambda: _Reversing(body, body.graph(types), carry, sequences, arriving, needs).reversal()
    )
    return found


def branch_gradient(body: GraphBody, types: Types, arriving: tuple[bool, ...], wanted: tuple[int, ...]) -> Branch:
    """Return the gradient of the inputs `wanted` of a branch, as a function of its inputs and what arrives.

    Raises
    ------
    DifferentiationError
        GE411 if a node on the way has no `backward`.
    """
    key = ("branch", types, arriving, wanted)
    found: Branch = body.remembered(key, lambda: _branch(body, body.graph(types), arriving, wanted))
    return found


def _branch(body: GraphBody, graph: Graph, arriving: tuple[bool, ...], wanted: tuple[int, ...]) -> Branch:
    outputs = list(body.results.values())
    places = tuple(place for place, arrives in enumerate(arriving) if arrives)
    toward = [body.inputs[place] for place in wanted]
    active = [name for name in toward if graph.types[name].is_differentiable]
    seeds = free_names([f"d_{body.outputs[place]}" for place in places], graph.types)
    kinds = {seed: graph.types[outputs[place]] for seed, place in zip(seeds, places, strict=True)}
    recorder = Recorder(with_inputs(graph, kinds))
    incoming = [(outputs[place], seed) for seed, place in zip(seeds, places, strict=True)]
    path = backward_path(graph, [value for value, _ in incoming], active)
    gradients = BackwardPass(recorder, _added(recorder, {}, incoming), path).gradients
    results = {f"d_{name}": gradients.get(name) or _zeros(recorder, name) for name in toward}
    kept = reachable([*graph.nodes, *recorder.nodes], results.values())
    return Branch(GraphBody(f"d_{body.name}", (*body.inputs, *seeds), kept, results), places, wanted)


def _zeros(recorder: Recorder, value: str) -> str:
    recorder.enter(f"d_{value}")
    return str(recorder.apply("zeros_like", (recorder.symbol(value),), {}).name)


def with_inputs(graph: Graph, kinds: Mapping[str, ArrayType]) -> Graph:
    """The graph with further inputs, which come first: shapes are taken from them where possible."""
    inputs = {**{name: Input(kind) for name, kind in kinds.items()}, **graph.inputs}
    return graph.derive(graph.nodes, graph.outputs, {**kinds, **graph.types}, inputs=inputs)


def _added(recorder: Recorder, begun: Mapping[str, str], incoming: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The gradients that a backward pass begins with: what has begun, and what arrives, in order."""
    seeds = dict(begun)
    for value, name in incoming:
        if value in seeds:
            recorder.enter(f"d_{value}")
            total = np.add(recorder.symbol(seeds[value]), recorder.symbol(name))
            seeds[value] = total.name
        else:
            seeds[value] = name
    return seeds


def free_names(names: Iterable[str], taken: Collection[str]) -> list[str]:
    """Names made of letters, digits and underscores that nothing has, one for each."""
    found: list[str] = []
    for name in names:
        free = re.sub(r"\W", "_", name)
        while free in taken or free in found:
            free += "_"
        found.append(free)
    return found


@dataclass
class _GradientRecording:
    """One recording: the recorder, the gradients, and for each carried input the names its gradient comes in by.

    `begun` are the names of what the gradients of constants, and of carried inputs, begin with.
    """

    recorder: Recorder
    gradients: Mapping[Any, str]
    pieces: dict[str, list[str]]
    begun: dict[str, str]
    arriving: dict[int, str] = field(default_factory=dict)


class _Reversing:
    """Makes the gradient of one loop."""

    def __init__(
        self,
        body: GraphBody,
        graph: Graph,
        carry: tuple[str, ...],
        sequences: tuple[str, ...],
        arriving: tuple[bool, ...],
        needs: tuple[bool, ...],
    ) -> None:
        self._body, self._graph, self._carry, self._sequences = body, graph, carry, sequences
        self._outputs = list(body.results.values())
        self._arriving = [place for place, arrives in enumerate(arriving) if arrives]
        self._needed = {name for name, need in zip(body.inputs, needs, strict=True) if need}
        active = self._active()
        self._path, reached = self._reached(active)
        self._wanted = [
            name for name in body.inputs if name in active & reached and (name in carry or name in self._needed)
        ]

    def _active(self) -> set[Any]:
        """The inputs that depend on what needs a gradient, a state through the steps before."""
        floats = {name for name, kind in self._graph.types.items() if kind.is_differentiable}
        active = self._needed & floats
        while True:
            depends = differentiable_toward(self._graph, active)
            found = {name for name, value in self._replacing if value in depends and name in floats} - active
            if not found:
                return active
            active |= found

    @property
    def _replacing(self) -> list[tuple[str, str]]:
        """The carried inputs with the values that replace them."""
        return list(zip(self._carry, self._outputs, strict=False))

    def _reached(self, active: set[Any]) -> tuple[list[PathNode], set[Any]]:
        """The path of the gradient, and the inputs that it reaches, from what arrives and through the steps after."""
        ends = {self._outputs[place] for place in self._arriving}
        while True:
            path = backward_path(self._graph, sorted(ends), active)
            reached = ends.union(
                *[{ref for ref, need in zip(node.inputs, needs, strict=True) if need} for node, needs, _ in path]
            )
            found = {value for name, value in self._replacing if name in reached} - ends
            if not found:
                return path, reached
            ends |= found

    def reversal(self) -> Reversal:
        """Record the gradient, and again where contributions to a state have to stay apart."""
        counts = {name: 1 for name in self._wanted if name in self._carry}
        while True:
            recorded = self._record(counts)
            apart = {name: self._contributions(recorded, name) for name in counts}
            found = {name: self._pieces(name, len(each)) for name, each in apart.items()}
            if found == counts:
                return self._assembled(recorded, apart)
            counts = {name: count for name, count in found.items() if count}
            self._wanted = [name for name in self._wanted if name not in self._carry or name in counts]

    def _pieces(self, name: str, contributions: int) -> int:
        """The number of values in which a step gives the gradient of a state to the step before."""
        return contributions if self._stays_apart(name) else min(contributions, 1)

    def _stays_apart(self, name: str) -> bool:
        """Whether something else arrives at the value that replaces a state before what the next step gives it."""
        value = dict(self._replacing)[name]
        others = [self._outputs[place] for place in self._arriving if place >= len(self._carry)]
        others += [each for other, each in self._replacing if other != name and other in self._wanted]
        return value in others

    def _record(self, counts: Mapping[str, int]) -> _GradientRecording:
        graph = self._graph
        pieces, arriving, begun = self._seeds(counts)
        kinds = {piece: graph.types[name] for name, each in pieces.items() for piece in each}
        kinds |= {seed: graph.types[self._outputs[place]] for place, seed in arriving.items()}
        kinds |= {seed: graph.types[name] for name, seed in begun.items()}
        recorder = Recorder(with_inputs(graph, kinds))
        incoming = [(self._outputs[place], seed) for place, seed in arriving.items()]
        incoming += [(value, piece) for name, value in self._replacing for piece in pieces.get(name, ())]
        gradients = BackwardPass(recorder, _added(recorder, begun, incoming), self._path).gradients
        return _GradientRecording(recorder, gradients, pieces, begun, arriving)

    def _seeds(self, counts: Mapping[str, int]) -> tuple[dict[str, list[str]], dict[int, str], dict[str, str]]:
        """Names for what a step gets: the pieces of each state's gradient, gradients of results, and sums so far."""
        results = [place for place in self._arriving if place >= len(self._carry)]
        states = [name for name in counts if name not in self._outputs]
        names = [f"d_{name}" for name, count in counts.items() for _ in range(count)]
        names += [f"d_{self._body.outputs[place]}" for place in results]
        names += [f"sum_{name}" for name in self._constants] + [f"begun_{name}" for name in states]
        free = iter(free_names(names, self._graph.types))
        pieces = {name: list(islice(free, count)) for name, count in counts.items()}
        arriving = dict(zip(results, free, strict=False))
        return pieces, arriving, dict(zip((*self._constants, *states), free, strict=True))

    @property
    def _constants(self) -> list[str]:
        """The inputs that need a gradient and are the same in each step."""
        return [name for name in self._wanted if name not in self._carry and name not in self._sequences]

    def _contributions(self, recorded: _GradientRecording, name: str) -> list[str]:
        """What is added up to the gradient of a state, in order; the whole of it where it began with what arrives."""
        value = recorded.gradients.get(name)
        start = recorded.begun.get(name)
        if start is None or value is None:
            return [] if value is None else [value]
        nodes = {node.id: node for node in recorded.recorder.nodes}
        found: list[str] = []
        while value != start:
            before, added = nodes[value].inputs
            found.append(str(added))
            value = str(before)
        return found[::-1]

    def _assembled(self, recorded: _GradientRecording, apart: Mapping[str, list[str]]) -> Reversal:
        recorder, pieces = recorded.recorder, recorded.pieces
        carried: list[tuple[str, str, tuple[str, int]]] = []
        for name, each in pieces.items():
            given = apart[name] if len(each) > 1 else [self._sum(recorder, name, apart[name])]
            carried += zip(each, given, self._starts(name, len(each)), strict=True)
        for name, start in recorded.begun.items():
            if name not in self._carry and recorded.gradients[name] != start:
                carried.append((start, recorded.gradients[name], ("zero", self._body.inputs.index(name))))
        cut = [name for name in self._wanted if name in self._sequences and name in recorded.gradients]
        values = [value for _, value, _ in carried] + [recorded.gradients[name] for name in cut]
        return self._built(recorded, carried, values, cut)

    def _starts(self, name: str, count: int) -> list[tuple[str, int]]:
        """What the pieces of the gradient of a state begin with: the first with what arrives, if anything does."""
        output, zero = self._carry.index(name), ("zero", self._body.inputs.index(name))
        first = ("arriving", output) if output in self._arriving else zero
        return [first, *[zero] * (count - 1)]

    def _sum(self, recorder: Recorder, name: str, contributions: Sequence[str]) -> str:
        recorder.enter(f"d_{name}")
        total = recorder.symbol(contributions[0])
        for each in contributions[1:]:
            total = np.add(total, recorder.symbol(each))
        return str(total.name)

    def _built(
        self,
        recorded: _GradientRecording,
        carried: Sequence[tuple[str, str, tuple[str, int]]],
        values: Sequence[str],
        cut: Sequence[str],
    ) -> Reversal:
        """The loops of a recording; `values` are what the body of the gradient gives, and `cut` the sequences last."""
        body, graph = self._body, self._graph
        nodes, read = self._needed_nodes(recorded.recorder, values)
        made = {name for node in nodes for name in node.outputs}
        kept = [name for name in (*self._carry, *_made_by(graph.nodes)) if name in read and name not in made]
        ports = dict(zip(free_names(kept, body.outputs), kept, strict=True))
        names = dict(zip(kept, free_names(kept, recorded.recorder.types.keys() - set(kept)), strict=True))
        carries = tuple([name for name, _, _ in carried])
        sequences, constants = self._others(recorded, read, names)
        inputs: dict[str, tuple[str, int]] = {name: start for name, _, start in carried}
        inputs |= {**sequences, **constants}
        ports_back = free_names([*[f"new_{name}" for name in carries], *[f"d_{name}" for name in cut]], ())
        results = {port: names.get(value, value) for port, value in zip(ports_back, values, strict=True)}
        backward = GraphBody(f"d_{body.name}", [*inputs], _renamed(nodes, names), results)
        gradients = self._gradients(recorded, carries, len(carried), cut)
        return Reversal(
            body.with_results(ports), backward, carries, tuple(sequences), tuple(inputs.values()), gradients
        )

    def _others(
        self, recorded: _GradientRecording, read: Collection[str], kept: Mapping[str, str]
    ) -> tuple[dict[str, tuple[str, int]], dict[str, tuple[str, int]]]:
        """What the body of the gradient reads beside its states, with the sources: sequences, and constants."""
        sequences = {name: ("arriving", place) for place, name in recorded.arriving.items() if name in read}
        sequences |= {name: ("kept", place) for place, name in enumerate(kept.values())}
        own = {name: ("value", self._body.inputs.index(name)) for name in self._body.inputs if name in read}
        sequences |= {name: source for name, source in own.items() if name in self._sequences}
        varying = {*self._sequences, *self._carry}
        constants = {name: source for name, source in own.items() if name not in varying}
        return sequences or self._step_counter(), constants

    def _step_counter(self) -> dict[str, tuple[str, int]]:
        """A sequence, with its source, that says how many steps there are."""
        return {name: ("value", self._body.inputs.index(name)) for name in self._sequences[:1]}

    def _gradients(
        self, recorded: _GradientRecording, carries: Sequence[str], count: int, cut: Sequence[str]
    ) -> dict[int, tuple[int, ...]]:
        """The numbers of the results that make up the gradient of an input, by the number of the input."""
        sums = {name: [start] for name, start in recorded.begun.items() if start in carries}
        found: dict[int, tuple[int, ...]] = {}
        for name, each in {**sums, **recorded.pieces}.items():
            if name in self._needed:
                found[self._body.inputs.index(name)] = tuple(map(carries.index, each))
        for number, name in enumerate(cut, count):
            found[self._body.inputs.index(name)] = (number,)
        return found

    def _needed_nodes(self, recorder: Recorder, values: Sequence[str]) -> tuple[list[GraphNode], set[Any]]:
        """The nodes of the gradient, with forward nodes that are run again, and all values that they read."""
        graph = self._graph
        invariant = self._invariant()
        recorded = {id(node) for node in recorder.nodes}
        read: set[Any] = set(values)
        kept: list[GraphNode] = []
        for node in reversed([*graph.nodes, *recorder.nodes]):
            again = OpTrait.VIEW in node.node.traits or node.id in invariant
            if (id(node) in recorded or again) and not read.isdisjoint(node.outputs):
                kept.append(node)
                read.update(ref for ref in node.inputs if isinstance(ref, str))
        return kept[::-1], read

    def _invariant(self) -> set[str]:
        """The nodes that give the same in each step."""
        varying: set[Any] = {*self._carry, *self._sequences}
        found = set()
        for node in self._graph.nodes:
            if varying.isdisjoint(node.inputs):
                found.add(node.id)
            else:
                varying.update(node.outputs)
        return found


def _renamed(nodes: Iterable[GraphNode], names: Mapping[Any, Any]) -> list[GraphNode]:
    """The nodes, reading values under other names."""
    return [node.renamed(names) for node in nodes]


def _made_by(nodes: Iterable[GraphNode]) -> Iterable[str]:
    return (name for node in nodes for name in node.outputs)
