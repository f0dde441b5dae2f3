"""Which nodes a gradient flows through: those between a scalar and the values it is differentiated with respect to."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from graphengine.errors import DifferentiationError
from graphengine.ir.graph import Graph, names_of
from graphengine.ir.nodes import GraphNode
from graphengine.ir.origins import node_text
from graphengine.ops.shapes import ArrayType
from graphengine.transform.branches import Choice, OwnChoice, choices

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
    passing = _passing(graph)
    for node in graph.nodes:
        if not active.isdisjoint(node.inputs):
            active.update(passing.intersection(node.outputs))
    return active


def learned(graph: Graph, of: str) -> list[str]:
    """Return the trainable parameters that a value depends on through nodes that pass gradients on."""
    needed: set[Any] = {of}
    passing = {*_passing(graph), of}
    for node in reversed(graph.nodes):
        if node.op != STOP and not needed.isdisjoint(passing.intersection(node.outputs)):
            needed.update(node.inputs)
    return [name for name in graph.trainable if name in needed]


def _passing(graph: Graph) -> set[str]:
    """The values that gradients flow through."""
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
