"""Branches that a choice does not take, which pass no gradient, whatever their derivatives are there.

Where `condition` is false, `where(condition, x, y)` gives x the gradient 0. What x was computed from would get that 0
times a derivative, and at a pole that is 0 * infinity, NaN: of `where(x > 0, sqrt(x), 0)` at 0. So the path of a
gradient carries the conditions under which it is not 0 down to the ops that may give NaN, and what these pass on is
0 where a condition does not hold. That a gradient is 0 is not enough: sqrt(x)**2 has the derivative 1 at 0.

The conditions go through ops of single numbers whose operand has the shape of their result. Another op ends them, and
so does a value that is used elsewhere, unless both uses have the condition. An op gets the choice only where it has a
pole, or reads what may be infinite: all other graphs stay as they are.

`relu`, `maximum`, `minimum` and `clip` choose, too, and what they choose between has as a rule a finite derivative. But
what arrives may be infinite, where such a choice is an operand of an op with a pole: of sqrt(relu(x)) at 0. There what
they pass on is put through their own choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode
from graphengine.ir.recording import Symbol
from graphengine.ops.inference import is_pointwise
from graphengine.ops.shapes import ArrayType
from graphengine.ops.traits import OpTrait


class Choice(NamedTuple):
    """A gradient is 0 where the value `condition` is not `taken`."""

    condition: str
    taken: bool

    def of(self, condition: Any, gradient: Any, _operand: Any) -> Any:
        """The gradient, 0 where it is that of the branch that was not taken."""
        return np.where(condition, gradient, 0) if self.taken else np.where(condition, 0, gradient)


class OwnChoice(NamedTuple):
    """An op, `taken` by its name, that chooses by its values; `condition` is its result, the operand that was taken."""

    condition: str
    taken: str

    def of(self, result: Any, gradient: Any, operand: Any) -> Any:
        """The gradient, 0 where the result is not the operand; NaN is not compared, and passes."""
        return np.where(OWN[self.taken](operand, result), 0, gradient)


OWN: Mapping[str, Callable[[Any, Any], Any]] = {
    "relu": lambda _, result: result <= 0,
    "maximum": lambda operand, result: operand < result,
    "minimum": lambda operand, result: operand > result,
    "clip": lambda operand, result: np.logical_or(operand < result, operand > result),
}
"""Where an operand was not taken, by op."""


def put_through(chosen: Sequence[tuple[Choice | OwnChoice, Any]], gradient: Any, result: Any, operand: Any) -> Any:
    """What a node passes on to an operand, 0 where a condition does not hold.

    A gradient that has been summed up stays as it is.
    """
    if not chosen or _shape(gradient) != _shape(result):
        return gradient
    for choice, condition in chosen:
        gradient = choice.of(condition, gradient, operand)
    return gradient


def _shape(value: Any) -> Any:
    return value.type.shape if isinstance(value, Symbol) else np.shape(value)


Path: TypeAlias = Sequence[tuple[GraphNode, tuple[bool, ...]]]


def choices(graph: Graph, path: Path) -> dict[str, tuple[Choice | OwnChoice, ...]]:
    """For the nodes of a backward path, last first, the choices that what they pass on is put through, by id."""
    found: dict[str, tuple[Choice | OwnChoice, ...]] = {}
    if any(_chooses(node) for node, _ in path):
        found.update(_of_conditions(graph, path))
    if any(node.op in OWN for node, _ in path):
        for node in _between_infinities(graph, path):
            found[node.id] = (*found.get(node.id, ()), OwnChoice(node.id, node.op))
    return found


def _of_conditions(graph: Graph, path: Path) -> dict[str, tuple[Choice, ...]]:
    """The choices of `where`, for the nodes of its branches."""
    unsafe = _may_be_infinite(graph)
    held: dict[Any, frozenset[Choice]] = {}
    found: dict[str, tuple[Choice, ...]] = {}
    for node, needs in path:
        arriving = held.get(node.id, frozenset())
        if arriving and is_pointwise(node.node) and not unsafe.isdisjoint(node.outputs):
            found[node.id] = tuple(sorted(arriving))
        for place, (operand, need) in enumerate(zip(node.inputs, needs, strict=True)):
            if need:
                passed = _passed(node, place, arriving, graph.types)
                held[operand] = held[operand] & passed if operand in held else passed
    return found


def _between_infinities(graph: Graph, path: Path) -> Iterator[GraphNode]:
    """The nodes that choose by their values, and that an infinite gradient may arrive at."""
    infinite: set[Any] = set()
    for node, needs in path:
        if not is_pointwise(node.node):
            continue
        if node.id in infinite and node.op in OWN and node.node.is_core:
            yield node
        if node.id in infinite or _has_pole(node):
            shape = graph.types[node.id].shape
            operands = [str(operand) for operand, need in zip(node.inputs, needs, strict=True) if need]
            infinite.update([each for each in operands if graph.types[each].shape == shape])


def _has_pole(node: GraphNode) -> bool:
    """Whether the derivative of a node may be infinite at a small number; that of a quotient by a literal is not."""
    if node.node.is_core and node.op == "div" and not isinstance(node.inputs[1], str):
        return False
    return OpTrait.POLE in node.node.traits or _is_unknown(node)


def _passed(
    node: GraphNode, place: int, arriving: frozenset[Choice], types: Mapping[Any, ArrayType]
) -> frozenset[Choice]:
    """The choices that hold for what a node passes on to an operand."""
    shape = types[node.inputs[place]].shape
    if not is_pointwise(node.node) or None in shape or shape != types[node.id].shape:
        return frozenset()
    return arriving | {Choice(str(node.inputs[0]), place == 1)} if _chooses(node) else arriving


def _chooses(node: GraphNode) -> bool:
    return node.op == "where" and node.node.is_core and isinstance(node.inputs[0], str)


POLES = frozenset({OpTrait.POLE, OpTrait.LARGE_POLE})


def _is_unknown(node: GraphNode) -> bool:
    """Whether nothing is declared of the poles of an op: it is taken for one that has some."""
    return not node.node.is_core and node.node.traits.isdisjoint({*POLES, OpTrait.FINITE})


def _may_be_infinite(graph: Graph) -> set[Any]:
    """The results of nodes with a pole, and of those that read such results."""
    unsafe: set[Any] = set()
    for node in graph.nodes:
        if not node.node.traits.isdisjoint(POLES) or _is_unknown(node) or not unsafe.isdisjoint(node.inputs):
            unsafe.update(node.outputs)
    return unsafe
