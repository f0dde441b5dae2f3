"""Sizes that meet crosswise: (N, 1) and (N,) broadcast to (N, N), each sample with each other one.

Where a loss adds that up, a model most likely trains on pairs that nobody meant. The rule avoids false alarms: the
shorter operand has no axis of its own there, a node that writes down the axis of size 1 (an op that gives axes,
`keepdims`) shows that all pairs are meant, a size in numbers must be that of the samples on both sides, and a scalar
that counts depends on the result.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from graphengine.errors import Problem
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, producers_of, reachable, reached
from graphengine.ir.origins import node_text
from graphengine.ops.inference import elementwise, is_pointwise, probed
from graphengine.ops.shapes import Shape, Size, shape_text
from graphengine.ops.traits import OpTrait


class Crossing(NamedTuple):
    """Two operands that meet crosswise: `column` has the size on an axis that `row` lacks, and 1 where `row` has it."""

    column: str
    row: str
    axis: int
    size: Size


def crosswise(graph: Graph, targets: Iterable[str]) -> Iterator[Problem]:
    """Yield a warning for each node whose operands meet crosswise, of those that the scalars `targets` depend on."""
    squares = set(filter(_has_twice, {kind.shape for kind in graph.types.values()}))
    if not squares:
        return
    producers = producers_of(graph.nodes)
    for node, found in _crossings(graph, targets, squares):
        if not _is_explicit(graph, producers, found.column, found.axis):
            yield _problem(graph, node, found)


def _crossings(graph: Graph, targets: Iterable[str], squares: set[Shape]) -> Iterator[tuple[GraphNode, Crossing]]:
    """The nodes with results of these shapes whose operands meet crosswise, of those that scalars depend on."""
    scalars = [name for name in targets if graph.types[name].shape == ()]
    for node in reachable(graph.nodes, scalars):
        if graph.types[node.id].shape in squares and (found := _crossing(graph, node)):
            yield node, found


def _has_twice(shape: Shape) -> bool:
    sizes = [size for size in shape if size is not None and size != 1]
    return len(set(sizes)) < len(sizes)


def _crossing(graph: Graph, node: GraphNode) -> Crossing | None:
    """The operands of a node that meet crosswise; axes are counted from the last one, which is -1."""
    if type(node.node).infer not in (elementwise, probed):  # only these align axes from the last one
        return None
    return next((found for found in _meetings(graph, node) if _are_samples(graph, found)), None)


def _meetings(graph: Graph, node: GraphNode) -> Iterator[Crossing]:
    """The pairs of operands of which one has the size of the other on another axis, whatever it counts."""
    operands = {name: graph.types[name].shape for name in node.references}
    for (column, tall), (row, flat) in itertools.permutations(operands.items(), 2):
        for axis in _crossed_axes(tall, flat):
            yield Crossing(column, row, axis, flat[axis])


def _crossed_axes(tall: Shape, flat: Shape) -> list[int]:
    """The axes of a shape whose size a longer one has on an axis before all of these, and 1 where they align."""
    if len(tall) <= len(flat):
        return []
    before = tall[: -len(flat)]
    return [axis for axis in range(-len(flat), 0) if tall[axis] == 1 != flat[axis] and flat[axis] in before]


def _are_samples(graph: Graph, found: Crossing) -> bool:
    """Whether a size is a symbol, or both operands depend on an input whose first axis has it.

    The same number may be there by chance.
    """
    if isinstance(found.size, str):
        return True
    sampled = {name for name in graph.inputs if graph.types[name].shape[:1] == (found.size,)}
    values = (found.column, found.row)
    return all(not sampled.isdisjoint(reached(graph.nodes, [value])[1]) for value in values)


def _is_explicit(graph: Graph, producers: dict[str, GraphNode], value: str, axis: int) -> bool:
    """Whether a node writes down an axis of size 1 that a value has."""
    return any(map(_writes_axes, _givers(graph, producers, value, axis)))


def _givers(graph: Graph, producers: dict[str, GraphNode], value: str, axis: int) -> Iterator[GraphNode]:
    """The nodes that a value may have an axis of size 1 from: elementwise ops pass it on."""
    pending, seen = [value], set[str]()
    while pending:
        node = producers.get(name := pending.pop())
        if node is None or name in seen:
            continue
        seen.add(name)
        yield node
        pending += _passed_on(graph, node, axis)


def _passed_on(graph: Graph, node: GraphNode, axis: int) -> list[str]:
    """The operands whose axis of size 1 a node passes on."""
    if not is_pointwise(node.node):
        return []
    return [ref for ref in node.references if _is_single(graph.types[ref].shape, axis)]


def _writes_axes(node: GraphNode) -> bool:
    return OpTrait.GIVES_AXES in node.node.traits or getattr(node.node, "keepdims", False)


def _is_single(shape: Shape, axis: int) -> bool:
    """Whether a shape has an axis, counted from the last one, and the size 1 there."""
    return len(shape) >= -axis and shape[axis] == 1


def _problem(graph: Graph, node: GraphNode, found: Crossing) -> Problem:
    column, row, result = (shape_text(graph.types[name].shape) for name in (found.column, found.row, node.id))
    message = (
        f"{node_text(graph, node)}: '{found.column}' {column} and '{found.row}' {row} broadcast to {result}, "
        f"each of {found.size} with each other one"
    )
    hint = "give both the same shape, with 'squeeze' or 'expand_dims'; 'expand_dims' also marks all pairs as intended"
    return Problem("GE901", message, hint, node=node.id)
