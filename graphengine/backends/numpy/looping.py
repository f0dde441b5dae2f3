"""Loops and choices in a plan: the functions that they run are lowered once and run without dispatch.

What is the same in each step of a loop is computed once before it. The results of a step are put into arrays that have
room for all steps; buffers are reused from step to step and from run to run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from graphengine.backends.instructions import Instruction
from graphengine.backends.numpy.buffers import assign_buffers
from graphengine.backends.numpy.calls import Call, on_scalars, values_of
from graphengine.backends.numpy.claiming import with_claims
from graphengine.backends.numpy.float_loops import FloatLoop, LoopParts
from graphengine.backends.numpy.lowering import constants, lower
from graphengine.backends.numpy.ordering import updates_last
from graphengine.backends.numpy.scalars import is_float
from graphengine.backends.numpy.source import PlanText, assign_slots
from graphengine.ir.declarations import Input
from graphengine.ir.graph import Graph
from graphengine.ir.node_types import infer
from graphengine.ir.nodes import GraphNode
from graphengine.ops.body import kind_of
from graphengine.ops.families.constants import Constant
from graphengine.ops.shapes import ArrayType
from graphengine.transform.trimming import optimize_trimmed

Fuse: TypeAlias = Callable[[Graph, Sequence[Call], Mapping[str, str]], list[Call]]
"""Puts calls together, given a graph, its calls and for each value that is carried the source that it replaces."""


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
        late = {value for value, _ in self.carried}
        instructions = with_claims(lower(graph, RUNNING), graph)
        if fuse:
            instructions = fuse(graph, instructions, dict(self.carried))
        instructions = updates_last(instructions, late)
        escaping = {
            port: value
            for port, value in graph.outputs.items()
            if port in (*carried, *leaving) or value in graph.inputs
        }
        buffers = assign_buffers(instructions, escaping, carried, self.results)
        self.sources = tuple(graph.inputs)
        slots, fixed = assign_slots(self.sources, constants(graph), instructions)
        self.text = PlanText(instructions, buffers, slots, fixed)
        self._workspaces: deque[list[Any]] = deque()

    def fused(self, fuse: Fuse) -> LoweredFunction:
        """The same function with calls put together; see `Plan`."""
        return LoweredFunction(self.graph, *self._ports, fuse=fuse)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a compiled function with buffers that nothing else uses meanwhile."""
        try:
            buffers = self._workspaces.pop()
        except IndexError:
            buffers = [np.empty(shape, dtype) for shape, dtype in self.text.buffers.kinds]
        try:
            return function(arguments[0], buffers, *arguments[1:])
        finally:
            self._workspaces.append(buffers)


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
        body = loop.function
        carried = len(loop.carry)
        self._stacked = [place for place in places if place >= carried]
        self._axes = dict(zip(loop.sequences, loop.axes[0], strict=True))
        self._stacking = [loop.axes[1][place - carried] for place in self._stacked]
        wanted = [body.outputs[place] for place in (*range(carried), *self._stacked)]
        graph = body.graph(steps)
        graph = optimize_trimmed(graph.derive(graph.nodes, {port: body.results[port] for port in wanted}, graph.types))
        self._still, graph = _divided(graph, {*loop.carry, *loop.sequences})
        self._steps = steps
        self.piece = LoweredFunction(graph, dict(zip(body.outputs, loop.carry, strict=False)), wanted[carried:])
        self.cut: list[str] = [name for name in loop.sequences if name in graph.inputs]
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
            cut={name: self._axes[name] for name in self.cut},
            results=piece.results,
            places=self._stacked,
            stacking=self._stacking,
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
        text = piece.text.steps(piece.sources, self.cut, piece.carried, piece.results)
        return piece.text.compile(text, "steps")

    def __call__(self, *values: Any) -> list[Any]:
        """Run all steps; of results that nobody reads None."""
        loop = self._loop
        given: dict[str, Any] = dict(zip(loop.function.inputs, values, strict=True))
        for name, place in zip(loop.carry, loop.carried, strict=True):
            kind = self._steps[place]
            own = np.array(values[place], kind.array_dtype)  # it may be written over
            given[name] = held(own, kind) if is_float(kind) else own[()]
        given.update(self._before(given))
        wholes = [_steps_first(given[name], self._axes[name]) for name in self.cut]
        stacks = [_room_for(self._kinds[place]) for place in self._stacked]
        slots = [_steps_first(stack, axis) for stack, axis in zip(stacks, self._stacking, strict=True)]
        sources = [given.get(name) if name not in self.cut else None for name in self.piece.sources]
        last = (self.faster or self.in_python)(sources, wholes, slots)
        results: list[Any] = [*last, *[None] * (len(self._kinds) - len(last))]
        for place, stack in zip(self._stacked, stacks, strict=True):
            results[place] = stack
        return results

    def in_python(self, sources: Sequence[Any], wholes: Sequence[Any], slots: Sequence[Any]) -> list[Any]:
        """Run all steps and return what is carried after them.

        The sequences `wholes` and the room for results `slots` have an axis for the steps in front.
        """
        if self.on_floats:
            return self.on_floats(dict(zip(self.piece.sources, sources, strict=True)), wholes, slots)
        numbers = range(self.count)[::-1] if self.is_reversed else range(self.count)
        kinds = dict(zip(self._loop.function.inputs, self._steps, strict=True))
        parts = [self._parts(whole, kinds[name]) for name, whole in zip(self.cut, wholes, strict=True)]
        found: list[Any] = self.piece.call(self._run, sources, slots, zip(numbers, *parts, strict=True))
        return found

    def _parts(self, whole: Any, kind: ArrayType | None) -> Iterable[Any]:
        """The parts of a sequence in the order of the steps."""
        parts = whole[:: -1 if self.is_reversed else 1]
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
    made = [name for node in still if not isinstance(node.node, Constant) for name in node.outputs if name in read]
    inputs = {name: each for name, each in graph.inputs.items() if name in read or name in varying}
    inputs |= {name: Input(graph.types[name]) for name in made}
    after = graph.derive(rest, graph.outputs, _types(graph, inputs, rest), inputs=inputs)
    if not made:
        return None, after
    return graph.derive(still, {name: name for name in made}, _types(graph, graph.inputs, still)), after


def _still_and_rest(graph: Graph, varying: Iterable[str]) -> tuple[list[GraphNode], list[GraphNode]]:
    """The nodes that do the same in each step, and the others; constants are among both."""
    moving: set[Any] = set(varying)
    still, rest = [], []
    for node in graph.nodes:
        fixed = moving.isdisjoint(node.inputs)
        if fixed:
            still.append(node)
        if not fixed or isinstance(node.node, Constant):
            rest.append(node)
        if not fixed:
            moving.update(node.outputs)
    return still, rest


def _types(graph: Graph, inputs: Iterable[str], nodes: Iterable[GraphNode]) -> dict[str, ArrayType]:
    """The types of some inputs and of the results of some nodes."""
    return {name: graph.types[name] for name in (*inputs, *[name for node in nodes for name in node.outputs])}


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
    kinds = [*instruction.types, *[kind for kind in instruction.operand_types if kind is not None]]
    if any(not isinstance(size, int) for kind in kinds for size in kind.shape):
        return on_scalars(instruction.node.forward, values_of(instruction))
    return Steps(instruction, places)


def choice(instruction: Instruction, places: Sequence[int]) -> Callable[..., Any]:
    """Return the call of a choice: of two functions only the chosen one runs."""
    node: Any = instruction.node
    kinds = [*instruction.types, *[kind for kind in instruction.operand_types if kind is not None]]
    if any(not isinstance(size, int) for kind in kinds for size in kind.shape):
        return _tuple_of(on_scalars(node.forward, values_of(instruction)), len(instruction.types))
    types = instruction.operand_types[1:]
    wanted = [node.outputs[place] for place in places]
    branches = [_branch(body, types, [body.outputs[place] for place in places]) for body in (node.then, node.otherwise)]
    count = len(node.outputs)

    def choose(condition: Any, *values: Any) -> list[Any]:
        results: list[Any] = [None] * count
        for place, value in zip(places, branches[not condition](values), strict=True):
            results[place] = np.asarray(value, instruction.types[place].array_dtype)[()]
        return results

    return choose if wanted else lambda *_: [None] * count


def _branch(body: Any, types: Sequence[ArrayType | None], ports: Sequence[str]) -> Callable[[Sequence[Any]], Any]:
    graph = body.graph(types)
    graph = optimize_trimmed(graph.derive(graph.nodes, {port: body.results[port] for port in ports}, graph.types))
    compute = _once(graph)
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
