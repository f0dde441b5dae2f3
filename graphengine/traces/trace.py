"""What one evaluation of a graph computes, step by step: a trace that every picture and report is made of.

Forward, each node with its formula and result; backward, each edge with the local partial derivative, the gradient
that arrives and their product, or the reason why it is not walked; then the sums.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from itertools import count
from operator import add
from typing import Any, TypeAlias, TypeVar

import numpy as np

from graphengine.backends.reference.executor import Executor, Slots
from graphengine.backends.reference.steps import BackwardStep
from graphengine.ir.graph import Graph, gradient_names
from graphengine.ir.nodes import GraphNode, differentiable_operands, reachable
from graphengine.mappings import picked, without
from graphengine.ops.inference import elementwise, reduction
from graphengine.traces.formulas import formula, formula_with_numbers, partial_formula, partial_with_numbers
from graphengine.traces.gradient_rules import gradient_rule
from graphengine.traces.reasons import not_walked
from graphengine.traces.summary import ShownValue
from graphengine.traces.trace_parts import (
    BackwardEdge,
    Given,
    Gradient,
    GraphTrace,
    NodeBackward,
    NodeForward,
    TracedLoop,
)
from graphengine.traces.unrolling import FIRST_AND_LAST, LoopStep, Opened, Unrolled, present
from graphengine.transform.directional import WEIGHTED, weighted
from graphengine.transform.own_backward import require_memory_for
from graphengine.transform.path import differentiable_toward

T = TypeVar("T")
Show: TypeAlias = Callable[[Any], ShownValue]
"""Gives what is shown of a value."""


def trace_graph(
    graph: Graph,
    values: Mapping[str, Any],
    of: str | None = None,
    wrt: str | Sequence[str] | None = None,
    show: Show = ShownValue.of,
    opened: Opened = FIRST_AND_LAST,
    called: str | None = None,
) -> GraphTrace:
    """Trace a graph from the values of its inputs, parameters and state.

    `of` is the scalar whose gradient is walked (default: none), `wrt` are the values it is walked toward (default: the
    trainable parameters). Where inputs are missing, the nodes that need them are left out. `show` decides how much of a
    large array is shown, and `opened` how many steps of loops are traced. Texts name `of` as it is `called`.

    Raises
    ------
    DifferentiationError
        GE411 if there is no such gradient.
    ExecutionError
        GE410 if a node fails.
    InputError
        GE133 if the values take more memory than the limit.
    """
    executor = Executor(computable(graph, values))
    names = gradient_names(graph, wrt)
    require_memory_for(executor.graph, values, of, names)
    return trace_values(executor, executor.forward(values), of, names, show, opened, called)


def trace_values(
    executor: Executor,
    slots: Slots,
    of: str | None,
    wrt: Sequence[str],
    show: Show = ShownValue.of,
    opened: Opened = FIRST_AND_LAST,
    called: str | None = None,
) -> GraphTrace:
    """Trace the values of a forward pass, which may be symbols of a recorder if `show` knows what to show of one."""
    graph = executor.graph
    shown = {name: show(slots[slot]) for name, slot in executor.slot_of.items()}
    wanted = list(map(graph.value_name, wrt))
    target = None if of is None else graph.value_name(of)
    walker = _Walker(executor, slots, shown, wanted, show, (called or target) if wanted else None)
    return GraphTrace(
        graph.name,
        walker.of,
        tuple(wanted),
        _given(graph, shown),
        tuple(evaluation(node, shown) for node in graph.nodes),
        left_out=walker.walk(executor, target),
        backward=tuple(walker.walks),
        gradients=walker.sums(target),
        loops=walker.loops(opened),
    )


def _given(graph: Graph, shown: Mapping[str, ShownValue]) -> tuple[Given, ...]:
    kinds = {"input": graph.inputs, "parameter": graph.parameters, "state": graph.state}
    return tuple([Given(name, kind, shown[name]) for kind, names in kinds.items() for name in names])


def _traced_step(step: LoopStep, of: str | None, show: Show, opened: Opened) -> GraphTrace:
    """The trace of a step of a loop; what arrives at its results comes from outside of it."""
    inputs = [name for name, kind in step.graph.inputs.items() if kind.type.is_differentiable]
    if of is None or not (step.arriving and inputs):
        return trace_graph(step.graph, step.values, show=show, opened=opened)
    return _traced_weighted(step, inputs, of, show, opened)


def _traced_weighted(step: LoopStep, inputs: Sequence[str], of: str, show: Show, opened: Opened) -> GraphTrace:
    """The trace of a step with the gradients that arrive as the weights of its results in a sum."""
    values, gradients = zip(*step.arriving, strict=True)
    names = list(map("{}/arriving.{}".format, values, count()))
    graph = weighted(step.graph, list(zip(values, names, strict=True)), inputs)
    given = {**step.values, **dict(zip(names, gradients, strict=True))}
    return _of_nodes_in(step.graph, trace_graph(graph, given, WEIGHTED, inputs, show, opened, of))


def _of_nodes_in(graph: Graph, traced: GraphTrace) -> GraphTrace:
    """The trace of an extended graph without what extends it."""
    own = {node.id for node in graph.nodes}
    return replace(
        traced,
        model=graph.name,
        given=_selected(traced.given, "name", graph.sources),
        forward=_selected(traced.forward, "node", own),
        backward=_selected(traced.backward, "node", own),
        left_out=tuple([each for each in traced.left_out if each[0] in own]),
        gradients=tuple([_from_outside(each, own) for each in _selected(traced.gradients, "value", graph.types)]),
    )


def _selected(items: Iterable[T], key: str, kept: Container[str]) -> tuple[T, ...]:
    return tuple([each for each in items if getattr(each, key) in kept])


def _from_outside(gradient: Gradient, own: Container[str]) -> Gradient:
    """A gradient whose contributions from other nodes than a graph's own come from outside of it."""
    parts = [(node if node in own else "outside", shown) for node, shown in gradient.contributions]
    return replace(gradient, contributions=tuple(parts))


def computable(graph: Graph, values: Mapping[str, Any]) -> Graph:
    """The part of a graph that can be computed from given values."""
    missing: set[Any] = graph.sources.keys() - values.keys()
    if not missing:
        return graph
    nodes = _without_readers(graph.nodes, missing)
    outputs = {name: value for name, value in graph.outputs.items() if value not in missing}
    return graph.derive(nodes, outputs, without(graph.types, missing), inputs=without(graph.inputs, missing))


def _without_readers(nodes: Sequence[GraphNode], missing: set[Any]) -> list[GraphNode]:
    """The nodes that read nothing missing; what the others give is missing, too."""
    kept = []
    for node in nodes:
        if missing.isdisjoint(node.inputs):
            kept.append(node)
        else:
            missing.update(node.outputs)
    return kept


def evaluation(node: GraphNode, shown: Mapping[str, ShownValue]) -> NodeForward:
    """A node forward, given what is shown of its operands and results."""
    numbers = formula_with_numbers(node, _operands(node, shown))
    return NodeForward(node.id, node.op, formula(node), numbers, picked(shown, node.outputs))


def _operands(node: GraphNode, shown: Mapping[str, ShownValue]) -> list[ShownValue | None]:
    return [shown[ref] if isinstance(ref, str) else None if ref is None else ShownValue.of(ref) for ref in node.inputs]


def _has_partials(node: GraphNode, results: Sequence[Any]) -> bool:
    """Whether a partial derivative is one number for each element of the only result."""
    is_apart = type(node.node).infer in (elementwise, reduction)
    return len(results) == 1 and (is_apart or not np.ndim(results[0]))


def _needs_rule(partial: Any, incoming: Sequence[Any]) -> bool:
    """Whether a gradient comes from one result, by a derivative that is not one number for each element."""
    return partial is None and len(incoming) == 1


class _Walker:
    """Sees the backward pass of the reference executor go by and writes down what it does."""

    def __init__(
        self,
        executor: Executor,
        slots: Slots,
        shown: Mapping[str, ShownValue],
        wanted: Sequence[str],
        show: Show,
        of: str | None,
    ) -> None:
        self.of = of
        self.show, self.graph, self.slot_of = show, executor.graph, executor.slot_of
        self.slots, self.shown, self.wanted = slots, shown, wanted
        self.active = differentiable_toward(self.graph, wanted)
        self.walks: list[NodeBackward] = []
        self.arrived: dict[str, list[tuple[str, Any]]] = {}
        self.incoming: dict[str, Sequence[Any]] = {}

    def walk(self, executor: Executor, target: str | None) -> tuple[tuple[str, str], ...]:
        """Run the backward pass from a target, if there is one; gives the nodes that it does not come to, and why."""
        if target is None or not self.wanted:
            return ()
        executor.backward(self.slots, target, self.wanted, self.see)
        return self.left_out(target)

    def see(self, step: BackwardStep, incoming: Sequence[Any], products: Sequence[Any]) -> None:
        """Write down one step: what arrives at a node and what its operands get of it."""
        node = step.step.node
        self.incoming[node.id] = incoming
        edges = []
        for position, (partial, product) in enumerate(zip(self._partials(step), products, strict=True)):
            operand = node.inputs[position]
            if product is not None:
                self.arrived.setdefault(str(operand), []).append((node.id, product))
            if operand is not None:
                edges.append(self._edge(step, position, partial, product, incoming))
        arriving = {name: self.show(each) for name, each in present(node.outputs, incoming)}
        self.walks.append(NodeBackward(node.id, node.op, arriving, tuple(edges)))

    def _edge(
        self, step: BackwardStep, position: int, partial: Any, product: Any, incoming: Sequence[Any]
    ) -> BackwardEdge:
        node = step.step.node
        operand, values, result = node.inputs[position], _operands(node, self.shown), self.shown[node.id]
        rule = None
        if product is not None and _needs_rule(partial, incoming):
            arriving = f"d_{self.of}/d_{node.id}"
            rule = gradient_rule(node, position, arriving, values, result, self.show(incoming[0]))
        return BackwardEdge(
            node.node.signature.input_name(position),
            position,
            str(operand),
            partial_formula(node, position),
            partial_with_numbers(node, position, values, result),
            self._shown(partial),
            self._shown(product),
            not_walked(self.graph, operand, self.active) if product is None else None,
            rule,
        )

    def _shown(self, value: Any) -> ShownValue | None:
        return None if value is None else self.show(value)

    def _partials(self, step: BackwardStep) -> Sequence[Any]:
        """The local partial derivatives: what `backward` gives where a gradient of ones arrives.

        These are the partial derivatives where no element of an operand is in two results, or where there is only one
        result. For any other op the derivative is a matrix, and nothing is shown of it.
        """
        node, _, inputs, outputs = step.step
        values, results = [self.slots[slot] for slot in inputs], [self.slots[slot] for slot in outputs]
        if not _has_partials(node, results):
            return [None] * len(inputs)
        ones = np.ones_like(results[0])[()]
        try:
            with np.errstate(all="ignore"):
                return node.node.signature.gradients(
                    node.node, [ones], values, results, differentiable_operands(node, self.graph.types)
                )
        except Exception:  # noqa: BLE001 - a backward may refuse inputs that no gradient is asked for
            return [None] * len(inputs)

    def loops(self, opened: Opened) -> tuple[TracedLoop, ...]:
        """The loops among the nodes, the first and the last steps of each traced."""
        if self.show not in (ShownValue.of, ShownValue.whole):
            return ()  # symbols are not cut into steps
        return tuple([self._loop(node, opened) for node in self.graph.nodes if node.is_loop])

    def _loop(self, node: GraphNode, opened: Opened) -> TracedLoop:
        loop: Any = node.node
        operands = [self.slots[self.slot_of[ref]] if isinstance(ref, str) else ref for ref in node.inputs]
        arriving = self.incoming.get(node.id, [None] * len(node.outputs))
        unrolled = Unrolled(loop, operands, arriving)
        steps = unrolled.steps(opened.numbers(unrolled.count))
        within = Opened(opened.within, opened.within)
        traced = tuple([(step.number, _traced_step(step, self.of, self.show, within)) for step in steps])
        return TracedLoop(node.id, loop.function.name, unrolled.count, traced)

    def left_out(self, target: str) -> tuple[tuple[str, str], ...]:
        """The nodes without a walk, each with the reason."""
        used = {node.id for node in reachable(self.graph.nodes, [target])}
        return tuple([(node.id, self._why_left_out(node, used)) for node in self._not_walked()])

    def _not_walked(self) -> list[GraphNode]:
        walked = {walk.node for walk in self.walks}
        return [node for node in self.graph.nodes if node.id not in walked]

    def _why_left_out(self, node: GraphNode, used: Container[str]) -> str:
        if node.id not in used:
            return f"{self.of} does not depend on it"
        learned = not self.active.isdisjoint(node.outputs)
        return "no gradient arrives" if learned else "it depends on no trainable value"

    def sums(self, target: str | None) -> tuple[Gradient, ...]:
        """The gradients with respect to all values that are walked through, from the target to the wanted values."""
        found = [self._sum(name, parts) for name, parts in self.arrived.items()]
        return tuple(found if target is None else found + self._without_parts(target))

    def _without_parts(self, target: str) -> list[Gradient]:
        """The gradients with respect to wanted values at which nothing arrives."""
        absent = [name for name in self.wanted if name not in self.arrived]
        return [Gradient(name, (), self.show(self._without_edges(name, target))) for name in absent]

    def _sum(self, name: str, parts: Sequence[tuple[str, Any]]) -> Gradient:
        total = reduce(add, (part for _, part in parts))
        return Gradient(name, tuple((node, self.show(part)) for node, part in parts), self.show(total))

    def _without_edges(self, name: str, target: str | None) -> Any:
        """The gradient of the target itself, which is 1, or of what it does not depend on, which is 0."""
        value = self.slots[self.slot_of[name]]
        return np.ones_like(value) if name == target else np.zeros_like(value)
