"""Which nodes a gradient flows through: those between a scalar and the values it is differentiated with respect to.

Branches that a choice does not take pass no gradient, whatever their derivatives are there.

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

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from graphengine.errors import DifferentiationError
from graphengine.ir.graph import Graph, names_of
from graphengine.ir.nodes import GraphNode
from graphengine.ir.origins import node_text
from graphengine.ir.recording import Symbol
from graphengine.ops.inference import is_pointwise
from graphengine.ops.shapes import ArrayType, Shape
from graphengine.ops.traits import OpTrait

STOP = "stop_gradient"
"""The op that makes a constant of what it reads."""


class PathNode(NamedTuple):
    """A node that a gradient flows through; `needs` has a flag for each of its inputs, `choices` where it is 0."""

    node: GraphNode
    needs: tuple[bool, ...]
    choices: tuple[Choice | OwnChoice, ...] = ()


def backward_path(graph: Graph, of: str | Iterable[str], wrt: Iterable[str]) -> list[PathNode]:
    """The nodes on the paths from `wrt` to `of`, a value or several, last first.

    Raises
    ------
    DifferentiationError
        GE411 if one of them has no `backward`.
    """
    active = differentiable_toward(graph, wrt)
    ends = names_of(of)
    reached: set[Any] = set(ends)
    path = []
    for node in reversed(graph.nodes):
        if node.id not in reached and reached.isdisjoint(node.outputs):
            continue
        needs = tuple(map(active.__contains__, node.inputs))
        if True in needs:
            toward = [*itertools.compress(node.inputs, needs)]
            if node.node.signature.saved is None:
                raise _not_differentiable(graph, node, ends[0], toward)
            reached.update(toward)
            path.append((node, needs))
    found = choices(graph, path)
    return [PathNode(node, needs, found.get(node.id, ())) for node, needs in path]


def differentiable_toward(graph: Graph, wrt: Iterable[str]) -> set[Any]:
    """The values that depend on one of `wrt` through floating-point values, `wrt` included.

    A value without a type, which a file with errors may have, does not count.
    """
    active: set[Any] = set(wrt)
    passing = differentiable_values(graph)
    for node in graph.nodes:
        if not active.isdisjoint(node.inputs):
            active.update(passing.intersection(node.outputs))
    return active


def learned(graph: Graph, of: str) -> list[str]:
    """Return the trainable parameters that a value depends on through nodes that pass gradients on."""
    needed: set[Any] = {of}
    passing = {*differentiable_values(graph), of}
    for node in reversed(graph.nodes):
        if node.op != STOP and not needed.isdisjoint(passing.intersection(node.outputs)):
            needed.update(node.inputs)
    return list(filter(needed.__contains__, graph.trainable))


def differentiable_values(graph: Graph) -> set[str]:
    """Return the values that gradients flow through."""
    dtypes = {kind.dtype for kind in graph.types.values()}
    differentiable = {dtype for dtype in dtypes if ArrayType((), dtype).is_differentiable}
    return {name for name, kind in graph.types.items() if kind.dtype in differentiable}


def _not_differentiable(graph: Graph, node: GraphNode, of: str, toward: Sequence[Any]) -> DifferentiationError:
    """The error that names the node in the way."""
    names = ", ".join(map(repr, toward))
    return DifferentiationError(
        f"{node_text(graph, node)} has no backward, so '{of}' has no gradient with respect to {names}",
        node=node.id,
    )


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
        _add_own_choices(found, graph, path)
    return found


def _add_own_choices(found: dict[str, tuple[Choice | OwnChoice, ...]], graph: Graph, path: Path) -> None:
    for node in _between_infinities(graph, path):
        found[node.id] = (*found.get(node.id, ()), OwnChoice(node.id, node.op))


def _of_conditions(graph: Graph, path: Path) -> dict[str, tuple[Choice, ...]]:
    """The choices of `where`, for the nodes of its branches."""
    unsafe = _may_be_infinite(graph)
    held: dict[Any, frozenset[Choice]] = {}
    found: dict[str, tuple[Choice, ...]] = {}
    for node, needs in path:
        arriving = held.get(node.id, frozenset())
        if arriving and _meets_infinities(node, unsafe):
            found[node.id] = tuple(sorted(arriving))
        for place in itertools.compress(range(len(needs)), needs):
            operand, passed = node.inputs[place], _passed(node, place, arriving, graph.types)
            held[operand] = held.get(operand, passed) & passed
    return found


def _meets_infinities(node: GraphNode, unsafe: set[Any]) -> bool:
    """Whether a node of single numbers gives what may be infinite."""
    return is_pointwise(node.node) and not unsafe.isdisjoint(node.outputs)


def _between_infinities(graph: Graph, path: Path) -> Iterator[GraphNode]:
    """The nodes that choose by their values, and that an infinite gradient may arrive at."""
    infinite: set[Any] = set()
    for node, needs in path:
        if not is_pointwise(node.node):
            continue
        arrives = node.id in infinite
        if arrives and _chooses_by_values(node):
            yield node
        if arrives or _has_pole(node):
            infinite.update(_of_its_shape(itertools.compress(node.inputs, needs), node, graph.types))


def _chooses_by_values(node: GraphNode) -> bool:
    return node.op in OWN and node.node.is_core


def _of_its_shape(operands: Iterable[Any], node: GraphNode, types: Mapping[Any, ArrayType]) -> list[Any]:
    """The operands that have the shape of the result: what arrives at one number is passed on to one number."""
    return [each for each in operands if types[each].shape == types[node.id].shape]


def _has_pole(node: GraphNode) -> bool:
    """Whether the derivative of a node may be infinite at a small number; that of a quotient by a literal is not."""
    if _divides_by_literal(node):
        return False
    return OpTrait.POLE in node.node.traits or _is_unknown(node)


def _divides_by_literal(node: GraphNode) -> bool:
    return node.node.is_core and node.op == "div" and not isinstance(node.inputs[1], str)


def _passed(
    node: GraphNode, place: int, arriving: frozenset[Choice], types: Mapping[Any, ArrayType]
) -> frozenset[Choice]:
    """The choices that hold for what a node passes on to an operand."""
    if not _is_number_by_number(node, types[node.inputs[place]].shape, types[node.id].shape):
        return frozenset()
    return arriving | {Choice(str(node.inputs[0]), place == 1)} if _chooses(node) else arriving


def _is_number_by_number(node: GraphNode, operand: Shape, result: Shape) -> bool:
    """Whether each number of an operand is one of the result's own: none is broadcast."""
    return is_pointwise(node.node) and None not in operand and operand == result


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
        if _may_begin_infinite(node) or not unsafe.isdisjoint(node.inputs):
            unsafe.update(node.outputs)
    return unsafe


def _may_begin_infinite(node: GraphNode) -> bool:
    """Whether an op may give infinity for finite numbers."""
    return not node.node.traits.isdisjoint(POLES) or _is_unknown(node)
