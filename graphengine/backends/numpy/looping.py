"""Loops and choices in a plan: the functions that they run are lowered once and run without dispatch.

What is the same in each step of a loop is computed once before it. The results of a step are put into arrays that have
room for all steps; buffers are reused from step to step and from run to run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from graphengine.backends.numpy.buffers import Workspaces, assign_buffers, updates_last
from graphengine.backends.numpy.calls import is_float, on_scalars, values_of
from graphengine.backends.numpy.claiming import with_claims
from graphengine.backends.numpy.float_loops import FloatLoop, LoopParts
from graphengine.backends.numpy.lowering import Fuse, constants, lower
from graphengine.backends.numpy.source import PlanText, assign_slots
from graphengine.backends.protocol import Instruction
from graphengine.ir.declarations import Input, plain_inputs
from graphengine.ir.graph import Graph
from graphengine.ir.memory import claims
from graphengine.ir.nodes import GraphNode, infer
from graphengine.mappings import only, picked, present
from graphengine.ops.body import kind_of
from graphengine.ops.families.constants import Constant
from graphengine.ops.shapes import ArrayType
from graphengine.transform.trimming import optimize_trimmed


class LoweredFunction:
    """A graph lowered for a function that a node runs: its sources by name, and its text.

    `carried` maps values to the sources that they replace in the next step; `results` are read at the end of a step,
    and what is `leaving` is in no buffer. `fuse` puts calls together.
    """

    def __init__(
        self,
        graph: Graph,
        carried: Mapping[str, str],
        results: Sequence[str],
        leaving: Collection[str] = (),
        fuse: Fuse | None = None,
    ) -> None:
        self.graph, self._ports = graph, (carried, results, leaving)
        self.carried = [(graph.outputs[port], source) for port, source in carried.items()]
        self.results = [graph.outputs[port] for port in results]
        replaced = dict(self.carried)
        instructions = with_claims(lower(graph, RUNNING), graph, claims(graph))
        if fuse:
            instructions = fuse(graph, instructions, replaced)
        instructions = updates_last(instructions, set(replaced))
        buffers = assign_buffers(instructions, _escaping(graph, {*carried, *leaving}), carried, self.results)
        self.sources = tuple(graph.inputs)
        slots, fixed = assign_slots(self.sources, constants(graph), instructions)
        self.text = PlanText(instructions, buffers, slots, fixed)
        self._workspaces = Workspaces(buffers.kinds)

    def fused(self, fuse: Fuse) -> LoweredFunction:
        """The same function with calls put together; see `Plan`."""
        return LoweredFunction(self.graph, *self._ports, fuse=fuse)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a compiled function with buffers that nothing else uses meanwhile."""
        buffers = self._workspaces.take()
        try:
            return function(arguments[0], buffers, *arguments[1:])
        finally:
            self._workspaces.give_back(buffers)


def _escaping(graph: Graph, ports: Collection[str]) -> dict[str, str]:
    """The outputs that are in no buffer: some by their ports, and inputs that are given out."""
    return {port: value for port, value in graph.outputs.items() if port in ports or value in graph.inputs}


def _graph_of(body: Any, types: Sequence[ArrayType | None], ports: Sequence[str]) -> Graph:
    """The graph of a function for operands of known types, as far as its results `ports` are read."""
    graph = body.graph(types)
    return optimize_trimmed(graph.derive(graph.nodes, picked(body.results, ports), graph.types))


def held(value: Any, kind: ArrayType | None) -> Any:
    """Return a value as a plan holds it: a double scalar is a Python float."""
    return float(value) if is_float(kind) else value


class Steps:
    """A loop for operands of known types, as far as its results at some places are read."""

    def __init__(self, instruction: Instruction, places: Sequence[int]) -> None:
        loop: Any = instruction.node
        self._loop, self._kinds, self._types = loop, instruction.types, instruction.operand_types
        steps, self.count = loop.steps(self._types)
        self.is_reversed: bool = loop.reverse
        self._direction = -1 if loop.reverse else 1
        body, carried = loop.function, len(loop.carry)
        axes_of_sequences, axes_of_stacks = loop.axes
        self._stacking = {place: axis for place, axis in enumerate(axes_of_stacks, carried) if place in places}
        stacked = [body.outputs[place] for place in self._stacking]
        whole = _graph_of(body, steps, [*body.outputs[:carried], *stacked])
        self._still, graph = _divided(whole, {*loop.carry, *loop.sequences})
        self._steps = steps
        self.piece = LoweredFunction(graph, dict(zip(body.outputs, loop.carry, strict=False)), stacked)
        sequences = zip(loop.sequences, axes_of_sequences, strict=True)
        self.cut: dict[str, int] = {name: axis for name, axis in sequences if name in graph.inputs}
        """The sequences that a step reads, with the axis of the steps."""
        self.faster: Callable[[Sequence[Any], Sequence[Any], Sequence[Any]], list[Any]] | None = None
        """What runs the steps as `in_python` does, where a backend has it."""

    @cached_property
    def parts(self) -> LoopParts:
        """The loop as what writes it in another form sees it."""
        loop, piece = self._loop, self.piece
        calls = [(call.output.removesuffix(":*"), call.function) for call in piece.text.instructions]
        return LoopParts(
            graph=piece.graph,
            before=self._still,
            names=loop.function.inputs,
            carried=piece.carried,
            cut=self.cut,
            results=piece.results,
            places=list(self._stacking),
            stacking=list(self._stacking.values()),
            length=self.count,
            is_reversed=self.is_reversed,
            inner={name: each.parts for name, each in calls if isinstance(each, Steps)},
        )

    @cached_property
    def on_floats(self) -> FloatLoop | None:
        """The loop on Python floats, where that takes less time."""
        loop = FloatLoop(self.parts)
        return loop if loop.pays else None

    @cached_property
    def _before(self) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
        """What computes the values that are the same in each step, by name."""
        return _once(self._still) if self._still else lambda given: {}

    @cached_property
    def _run(self) -> Callable[..., Any]:
        piece = self.piece
        text = piece.text.steps(piece.sources, list(self.cut), piece.carried, piece.results)
        return piece.text.compile(text, "steps")

    def __call__(self, *values: Any) -> list[Any]:
        """Run all steps; of results that nobody reads None."""
        loop = self._loop
        given: dict[str, Any] = dict(zip(loop.function.inputs, values, strict=True))
        for name, place in zip(loop.carry, loop.carried, strict=True):
            kind = self._steps[place]
            given[name] = held(np.array(values[place], kind.array_dtype)[()], kind)  # it may be written over
        given.update(self._before(given))
        wholes = [_steps_first(given.pop(name), axis) for name, axis in self.cut.items()]
        stacks = {place: _room_for(self._kinds[place]) for place in self._stacking}
        slots = [_steps_first(stack, self._stacking[place]) for place, stack in stacks.items()]
        run = self.faster or self.in_python
        results = {**dict(enumerate(run(list(map(given.get, self.piece.sources)), wholes, slots))), **stacks}
        return list(map(results.get, range(len(self._kinds))))

    def in_python(self, sources: Sequence[Any], wholes: Sequence[Any], slots: Sequence[Any]) -> list[Any]:
        """Run all steps and return what is carried after them.

        The sequences `wholes` and the room for results `slots` have an axis for the steps in front.
        """
        if self.on_floats:
            return self.on_floats(dict(zip(self.piece.sources, sources, strict=True)), wholes, slots)
        numbers = range(self.count)[:: self._direction]
        kinds = dict(zip(self._loop.function.inputs, self._steps, strict=True))
        parts = [self._parts(whole, kinds[name]) for name, whole in zip(self.cut, wholes, strict=True)]
        found: list[Any] = self.piece.call(self._run, sources, slots, zip(numbers, *parts, strict=True))
        return found

    def _parts(self, whole: Any, kind: ArrayType | None) -> Iterable[Any]:
        """The parts of a sequence in the order of the steps."""
        parts = whole[:: self._direction]
        found: Iterable[Any] = parts.tolist() if is_float(kind) else parts
        return found


def _steps_first(array: Any, axis: int) -> Any:
    """The array with the axis of the steps in front; `moveaxis` takes as long as a hundred numbers."""
    return array if axis == 0 else np.moveaxis(array, axis, 0)


def _room_for(kind: ArrayType) -> np.ndarray[Any, Any]:
    shape: Any = kind.shape
    return np.empty(shape, kind.array_dtype)


def _divided(graph: Graph, varying: set[str]) -> tuple[Graph | None, Graph]:
    """The graph of the values that are the same in each step, if any, and the graph of the rest, which reads them."""
    still, rest = _still_and_rest(graph, varying)
    read = {*graph.outputs.values()}.union(*[node.inputs for node in rest])
    missing = read.difference(_results(rest))
    made = present(_results(still), missing)
    inputs = _inputs_of_rest(graph, read | varying, made)
    after = graph.derive(rest, graph.outputs, _types(graph, inputs, rest), inputs=inputs)
    if not made:
        return None, after
    return graph.derive(still, dict(zip(made, made, strict=True)), _types(graph, graph.inputs, still)), after


def _inputs_of_rest(graph: Graph, wanted: Container[Any], made: Iterable[str]) -> dict[str, Input]:
    """The inputs of the steps: wanted ones of the whole, and what is made before them."""
    own = only(graph.inputs, wanted)
    return own | plain_inputs(picked(graph.types, made))


def _still_and_rest(graph: Graph, varying: Iterable[str]) -> tuple[list[GraphNode], list[GraphNode]]:
    """The nodes that do the same in each step, and the others; constants are among both."""
    moving: set[Any] = set(varying)
    still, rest = [], []
    for node in graph.nodes:
        if moving.isdisjoint(node.inputs):
            still.append(node)
        else:
            moving.update(node.outputs)
        if isinstance(node.node, Constant) or not moving.isdisjoint(node.outputs):
            rest.append(node)
    return still, rest


def _results(nodes: Iterable[GraphNode]) -> list[str]:
    return [name for node in nodes for name in node.outputs]


def _types(graph: Graph, inputs: Iterable[str], nodes: Iterable[GraphNode]) -> dict[str, ArrayType]:
    """The types of some inputs and of the results of some nodes."""
    return picked(graph.types, (*inputs, *_results(nodes)))


def _once(graph: Graph) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """A function from the inputs of a graph to its outputs, by name."""
    outputs = list(graph.outputs)
    piece = LoweredFunction(graph, {}, outputs, outputs)
    text = piece.text.function(piece.sources, [graph.outputs[port] for port in outputs])
    run = piece.text.compile(text, "run")

    def compute(given: Mapping[str, Any]) -> Mapping[str, Any]:
        results = piece.call(run, [given.get(name) for name in piece.sources])
        return dict(zip(outputs, results, strict=True))

    return compute


def loop(instruction: Instruction, places: Sequence[int]) -> Callable[..., Any]:
    """Return the call of a loop; one whose sizes are not known runs as the reference does."""
    if _has_unknown_sizes(instruction):
        return on_scalars(instruction.node.forward, values_of(instruction))
    return Steps(instruction, places)


def _has_unknown_sizes(instruction: Instruction) -> bool:
    shapes = [kind.shape for kind in (*instruction.types, *instruction.operand_types) if kind is not None]
    return any(not isinstance(size, int) for shape in shapes for size in shape)


def choice(instruction: Instruction, places: Sequence[int]) -> Callable[..., Any]:
    """Return the call of a choice: of two functions only the chosen one runs."""
    node: Any = instruction.node
    if _has_unknown_sizes(instruction):
        return _tuple_of(on_scalars(node.forward, values_of(instruction)), len(instruction.types))
    types = instruction.operand_types[1:]
    branches = [_branch(body, types, places) for body in (node.then, node.otherwise)]
    count = len(node.outputs)

    def choose(condition: Any, *values: Any) -> list[Any]:
        results: list[Any] = [None] * count
        for place, value in zip(places, branches[not condition](values), strict=True):
            results[place] = np.asarray(value, instruction.types[place].array_dtype)[()]
        return results

    return choose if places else lambda *_: [None] * count


def _branch(body: Any, types: Sequence[ArrayType | None], places: Sequence[int]) -> Callable[[Sequence[Any]], Any]:
    compute = _once(_graph_of(body, types, [body.outputs[place] for place in places]))
    return lambda values: [*compute(dict(zip(body.inputs, values, strict=True))).values()]


def _tuple_of(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """A call that gives a sequence, also of one result."""
    return function if count > 1 else lambda *values: (function(*values),)


def segments(instruction: Instruction, _places: Sequence[int]) -> Callable[..., Any]:
    """Return the call of a gradient in segments: each loop that it runs is lowered once for each length."""
    node: Any = instruction.node
    lowered: dict[Any, Callable[..., Any]] = {}

    def run(loop: Any, operands: Sequence[Any]) -> Sequence[Any]:
        kinds = tuple(map(kind_of, operands))
        key = (loop.function, loop.reverse, loop.length, kinds)
        if key not in lowered:
            results = infer(loop, kinds)
            step = instruction._replace(node=loop, inputs=(), outputs=loop.outputs, operand_types=kinds, types=results)
            lowered[key] = Steps(step, range(len(results)))
        found: Sequence[Any] = lowered[key](*operands)
        return found

    return _tuple_of(lambda *values: node.computed(values, run), len(instruction.types))


RUNNING: Mapping[str, Callable[[Instruction, Sequence[int]], Callable[..., Any]]] = {
    "scan": loop,
    "cond": choice,
    "scan_gradient": segments,
}
"""Ops that run functions, with what makes their calls."""
