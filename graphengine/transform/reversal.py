"""The gradients of functions that run as nodes: of the body of a loop, and of the branches of a choice.

The gradient of a body is recorded as that of any graph. Sums begin with what the steps after this one have added up,
and go on in the order of the unrolled loop, so a loop gives its bits: a constant gets what each step contributes, one
contribution after the other, and contributions to a state that is also a result stay apart until the result's own has
been added. What the gradient reads of the forward values is kept for each step; views are made again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, compress, count, islice
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from graphengine.ir.declarations import plain_inputs
from graphengine.ir.graph import Graph
from graphengine.ir.graph_bodies import GraphBody
from graphengine.ir.nodes import GraphNode, free_name, reachable, reached, results_of
from graphengine.ir.recording import Recorder
from graphengine.mappings import absent, only, present, with_renamed, without
from graphengine.ops.body import Branch, Reversal
from graphengine.ops.shapes import ArrayType
from graphengine.ops.traits import OpTrait
from graphengine.transform.backward import BackwardPass
from graphengine.transform.path import PathNode, backward_path, differentiable_toward, differentiable_values

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
    places = _places(arriving)
    toward = [body.inputs[place] for place in wanted]
    seeds = free_names(prefixed("d_", [body.outputs[place] for place in places]), graph.types)
    values = list(compress(body.results.values(), arriving))
    recorder, gradients = _recorded(graph, list(zip(values, seeds, strict=True)), toward)
    results = {f"d_{name}": gradients.get(name) or _zeros(recorder, name) for name in toward}
    kept = reachable([*graph.nodes, *recorder.nodes], results.values())
    return Branch(GraphBody(f"d_{body.name}", (*body.inputs, *seeds), kept, results), places, wanted)


def _places(flags: Iterable[bool]) -> tuple[int, ...]:
    """The places of the flags that are set."""
    return tuple(compress(count(), flags))


def _recorded(
    graph: Graph, incoming: Sequence[tuple[str, str]], toward: Iterable[str]
) -> tuple[Recorder, Mapping[Any, str]]:
    """Record the gradients with respect to some values; `incoming` has values and the names of what arrives there."""
    recorder = Recorder(with_inputs(graph, {seed: graph.types[value] for value, seed in incoming}))
    active = [name for name in toward if graph.types[name].is_differentiable]
    path = backward_path(graph, [value for value, _ in incoming], active)
    return recorder, BackwardPass(recorder, _added(recorder, {}, incoming), path).gradients


def _zeros(recorder: Recorder, value: str) -> str:
    recorder.enter(f"d_{value}")
    return str(recorder.apply("zeros_like", (recorder.symbol(value),), {}).name)


def with_inputs(graph: Graph, kinds: Mapping[str, ArrayType]) -> Graph:
    """The graph with further inputs, which come first: shapes are taken from them where possible."""
    inputs = {**plain_inputs(kinds), **graph.inputs}
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
    known = set(taken)
    for name in names:
        found.append(free_name(re.sub(r"\W", "_", name), known))
        known.add(found[-1])
    return found


def prefixed(prefix: str, names: Iterable[str]) -> list[str]:
    """The names with a prefix."""
    return [f"{prefix}{name}" for name in names]


class _GradientRecording(NamedTuple):
    """One recording: the recorder, the gradients, and for each carried input the names its gradient comes in by.

    `arriving` are the names of what arrives, by the place of the output, `begun` those of what the gradients of
    constants, and of carried inputs, begin with.
    """

    recorder: Recorder
    gradients: Mapping[Any, str]
    pieces: dict[str, list[str]]
    arriving: dict[int, str]
    begun: dict[str, str]


Source: TypeAlias = tuple[str, int]
"""Where an input of the body of the gradient comes from: what kind of value, and its place there."""


class _Carried(NamedTuple):
    """An input of the body of the gradient that each step replaces."""

    name: str
    value: str
    start: Source


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
        self._replacing = dict(zip(carry, self._outputs, strict=False))
        """The values that replace carried inputs."""
        self._arriving = _places(arriving)
        self._results = {place: self._outputs[place] for place in self._arriving if place >= len(carry)}
        """Further outputs at which a gradient arrives, by their places."""
        self._needed = set(compress(body.inputs, needs))
        active = self._active()
        self._path, reached = self._reached(active)
        self._wanted = self._ordered(active & reached & {*carry, *self._needed})

    def _ordered(self, names: Collection[str]) -> list[str]:
        """The inputs that are among some names, in the order of the body."""
        return present(self._body.inputs, names)

    def _active(self) -> set[Any]:
        """The inputs that depend on what needs a gradient, a state through the steps before."""
        floats = differentiable_values(self._graph)
        active = self._needed & floats
        while True:
            depends = differentiable_toward(self._graph, active)
            found = {name for name, value in self._replacing.items() if value in depends} & floats - active
            if not found:
                return active
            active |= found

    def _reached(self, active: set[Any]) -> tuple[list[PathNode], set[Any]]:
        """The path of the gradient, and the inputs that it reaches, from what arrives and through the steps after."""
        ends = {self._outputs[place] for place in self._arriving}
        while True:
            path = backward_path(self._graph, sorted(ends), active)
            reached = ends.union(*[compress(node.inputs, needs) for node, needs, _ in path])
            found = set(only(self._replacing, reached).values()) - ends
            if not found:
                return path, reached
            ends |= found

    def reversal(self) -> Reversal:
        """Record the gradient, and again where contributions to a state have to stay apart."""
        counts = dict.fromkeys(filter(self._replacing.__contains__, self._wanted), 1)
        while True:
            recorded = self._record(counts)
            apart = {name: self._contributions(recorded, name) for name in counts}
            found = {name: self._pieces(name, len(each)) for name, each in apart.items()}
            if found == counts:
                return self._assembled(recorded, apart)
            counts = self._with_gradient(found)

    def _with_gradient(self, counts: Mapping[str, int]) -> dict[str, int]:
        """The counts that are not 0; states without a gradient are not wanted."""
        lost = [name for name, count in counts.items() if not count]
        self._wanted = absent(self._wanted, lost)
        return without(counts, lost)

    def _pieces(self, name: str, contributions: int) -> int:
        """The number of values in which a step gives the gradient of a state to the step before."""
        return contributions if self._stays_apart(name) else min(contributions, 1)

    def _stays_apart(self, name: str) -> bool:
        """Whether something else arrives at the value that replaces a state before what the next step gives it."""
        others = without(only(self._replacing, self._wanted), [name])
        return self._replacing[name] in {*self._results.values(), *others.values()}

    def _record(self, counts: Mapping[str, int]) -> _GradientRecording:
        graph = self._graph
        pieces, arriving, begun = self._seeds(counts)
        seeds = [*chain.from_iterable(pieces.values()), *arriving.values(), *begun.values()]
        alike = [*Counter(counts).elements(), *self._results.values(), *begun]
        kinds = {seed: graph.types[value] for seed, value in zip(seeds, alike, strict=True)}
        recorder = Recorder(with_inputs(graph, kinds))
        incoming = list(zip(self._results.values(), arriving.values(), strict=True))
        incoming += [(self._replacing[name], piece) for name, each in pieces.items() for piece in each]
        gradients = BackwardPass(recorder, _added(recorder, begun, incoming), self._path).gradients
        return _GradientRecording(recorder, gradients, pieces, arriving, begun)

    def _seeds(self, counts: Mapping[str, int]) -> tuple[dict[str, list[str]], dict[int, str], dict[str, str]]:
        """Names for what a step gets: the pieces of each state's gradient, gradients of results, and sums so far."""
        states, constants = without(counts, self._outputs), self._constants
        ports = [self._body.outputs[place] for place in self._results]
        names = prefixed("d_", [*Counter(counts).elements(), *ports])
        names += prefixed("sum_", constants) + prefixed("begun_", states)
        free = iter(free_names(names, self._graph.types))
        pieces = {name: list(islice(free, count)) for name, count in counts.items()}
        arriving = dict(zip(self._results, free, strict=False))
        return pieces, arriving, dict(zip((*constants, *states), free, strict=True))

    @property
    def _constants(self) -> list[str]:
        """The inputs that need a gradient and are the same in each step."""
        return absent(self._wanted, {*self._carry, *self._sequences})

    def _contributions(self, recorded: _GradientRecording, name: str) -> list[str]:
        """What is added up to the gradient of a state, in order; the whole of it where it began with what arrives."""
        value, start = recorded.gradients.get(name), recorded.begun.get(name)
        if value is None:
            return []
        return [value] if start is None else _summands(recorded.recorder.nodes, value, start)

    def _assembled(self, recorded: _GradientRecording, apart: Mapping[str, list[str]]) -> Reversal:
        carried = [*self._carried_states(recorded, apart), *self._carried_sums(recorded)]
        cut = self._ordered(recorded.gradients.keys() & {*self._wanted} & {*self._sequences})
        return self._built(recorded, carried, cut)

    def _carried_states(self, recorded: _GradientRecording, apart: Mapping[str, list[str]]) -> Iterator[_Carried]:
        """The gradients of states, in one piece or in several."""
        for name, each in recorded.pieces.items():
            given = apart[name] if len(each) > 1 else [self._sum(recorded.recorder, name, apart[name])]
            yield from map(_Carried, each, given, self._starts(name, len(each)))

    def _carried_sums(self, recorded: _GradientRecording) -> Iterator[_Carried]:
        """The gradients of constants to which a step adds something."""
        for name in self._constants:
            start, value = recorded.begun[name], recorded.gradients[name]
            if value != start:
                yield _Carried(start, value, ("zero", self._body.inputs.index(name)))

    def _starts(self, name: str, count: int) -> list[Source]:
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

    def _built(self, recorded: _GradientRecording, carried: Sequence[_Carried], cut: Sequence[str]) -> Reversal:
        """The loops of a recording; what the body of the gradient gives of the sequences `cut` comes last."""
        body = self._body
        values = [each.value for each in carried] + [recorded.gradients[name] for name in cut]
        nodes, read = self._needed_nodes(recorded.recorder, values)
        kept = self._kept(read.difference(results_of(nodes)))
        ports = dict(zip(free_names(kept, body.outputs), kept, strict=True))
        names: dict[Any, str] = dict(
            zip(kept, free_names(kept, recorded.recorder.types.keys() - set(kept)), strict=True)
        )
        inputs = {each.name: each.start for each in carried}
        carries = tuple(inputs)
        sequences, constants = self._others(recorded, read, names)
        inputs |= {**sequences, **constants}
        ports_back = free_names(prefixed("new_", carries) + prefixed("d_", cut), ())
        results = with_renamed(dict(zip(ports_back, values, strict=True)), names)
        backward = GraphBody(f"d_{body.name}", inputs, [node.renamed(names) for node in nodes], results)
        gradients = self._gradients(recorded, carries, cut)
        return Reversal(
            body.with_results(ports), backward, carries, tuple(sequences), tuple(inputs.values()), gradients
        )

    def _kept(self, read: Collection[str]) -> list[str]:
        """The values of a step that are kept for the gradient: those that it reads and does not make again."""
        return present((*self._carry, *results_of(self._graph.nodes)), read)

    def _others(
        self, recorded: _GradientRecording, read: Collection[str], kept: Mapping[str, str]
    ) -> tuple[dict[str, Source], dict[str, Source]]:
        """What the body of the gradient reads beside its states, with the sources: sequences, and constants."""
        values = _sources("value", enumerate(self._body.inputs))
        own = only(values, read)
        sequences = only(_sources("arriving", recorded.arriving.items()), read)
        sequences |= _sources("kept", enumerate(kept.values()))
        sequences |= only(own, self._sequences)
        constants = without(own, {*self._sequences, *self._carry})
        return sequences or only(values, self._sequences[:1]), constants  # one that says how many steps there are

    def _gradients(
        self, recorded: _GradientRecording, carries: Sequence[str], cut: Sequence[str]
    ) -> dict[int, tuple[int, ...]]:
        """The numbers of the results that make up the gradient of an input, by the number of the input."""
        inputs = self._body.inputs
        sums = {name: [start] for name, start in recorded.begun.items() if start in carries}
        carried = only({**sums, **recorded.pieces}, self._needed)
        found = {inputs.index(name): tuple(map(carries.index, each)) for name, each in carried.items()}
        return found | {inputs.index(name): (number,) for number, name in enumerate(cut, len(carries))}

    def _needed_nodes(self, recorder: Recorder, values: Sequence[str]) -> tuple[list[GraphNode], set[Any]]:
        """The nodes of the gradient, with forward nodes that are run again, and all values that they read."""
        invariant = self._invariant()
        again = [node for node in self._graph.nodes if OpTrait.VIEW in node.node.traits or node.id in invariant]
        return reached([*again, *recorder.nodes], values)

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


def _summands(nodes: Iterable[GraphNode], total: str, start: str) -> list[str]:
    """What was added to `start`, one after the other, to give a total."""
    operands = {node.id: node.inputs for node in nodes}
    found: list[str] = []
    while total != start:
        before, added = operands[total]
        found.append(str(added))
        total = str(before)
    return found[::-1]


def _sources(kind: str, places: Iterable[tuple[int, str]]) -> dict[str, Source]:
    """The sources of values of one kind, by name."""
    return {name: (kind, place) for place, name in places}
