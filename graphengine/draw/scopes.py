"""Which nodes are drawn together: those of a function in its box, those of a long graph in boxes of neighbors.

A scope is the text before the last `/` of an id; a node that bears the name of a scope belongs to it, because that
is how the result of an inlined function is called. Boxes lie in boxes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode

MAX_ITEMS = 80
"""A box with more nodes and boxes than this gets boxes inside."""
GROUP = 40
"""How many neighbors such a box has."""


@dataclass(frozen=True)
class Box:
    """Nodes drawn together. `key` is the scope, "" that of the whole graph; a group of neighbors is no scope."""

    key: str
    title: str
    nodes: tuple[GraphNode, ...]
    boxes: tuple[Box, ...]
    is_group: bool = False

    @property
    def all_nodes(self) -> Iterator[GraphNode]:
        """The nodes in it and in the boxes inside, in no special order."""
        pending = [self]
        while pending:
            box = pending.pop()
            yield from box.nodes
            pending += box.boxes

    @property
    def all_boxes(self) -> Iterator[Box]:
        """The box itself and all boxes inside, each before those in it."""
        pending = [self]
        while pending:
            box = pending.pop()
            yield box
            pending += reversed(box.boxes)


def boxes_of(graph: Graph, *, folded: bool = True) -> Box:
    """The whole graph as a box with boxes inside; without `folded` as one box of all nodes."""
    if not folded:
        return Box("", graph.name, graph.nodes, ())
    scopes = _scopes(graph)
    inner: dict[str, list[Box]] = {scope: [] for scope in scopes}
    for scope in sorted(scopes, key=lambda scope: (-_depth(scope), scope)):
        title = scope.rpartition("/")[2] or graph.name
        box = _grouped(Box(scope, title, tuple(scopes[scope]), tuple(inner[scope])))
        if scope:
            inner[scope.rpartition("/")[0]].append(box)
    return box


def _scopes(graph: Graph) -> dict[str, list[GraphNode]]:
    """The nodes of each scope, those of the whole graph first."""
    scopes: dict[str, list[GraphNode]] = {"": []}
    for node in graph.nodes:
        scopes.update({scope: [] for scope in _ancestors(node.id) if scope not in scopes})
    for node in graph.nodes:
        scopes[_scope_of(node.id, scopes)].append(node)
    return scopes


def _ancestors(node_id: str) -> Iterator[str]:
    return (node_id[:index] for index, letter in enumerate(node_id) if letter == "/")


def _scope_of(node_id: str, scopes: dict[str, list[GraphNode]]) -> str:
    if node_id in scopes:
        return node_id
    scope = node_id.rpartition("/")[0]
    return scope if scope in scopes else ""


def _depth(scope: str) -> int:
    return scope.count("/") + bool(scope)


def _grouped(box: Box) -> Box:
    """A box of too many items with neighbors in the order of the nodes in their own boxes, and those again."""
    items: list[GraphNode | Box] = [*box.nodes, *box.boxes]
    level = 0
    while len(items) > MAX_ITEMS:
        level += 1
        parts = [items[start : start + GROUP] for start in range(0, len(items), GROUP)]
        items = [_group(f"{box.key}…{level}.{index}", part) for index, part in enumerate(parts, 1)]
    return Box(box.key, box.title, *_split(items), is_group=box.is_group)


def _group(key: str, items: Sequence[GraphNode | Box]) -> Box:
    first, last = (item.id if isinstance(item, GraphNode) else item.title for item in (items[0], items[-1]))
    return Box(key, f"{first.partition(' … ')[0]} … {last.rpartition(' … ')[2]}", *_split(items), is_group=True)


def _split(items: Sequence[GraphNode | Box]) -> tuple[tuple[GraphNode, ...], tuple[Box, ...]]:
    nodes = tuple(item for item in items if isinstance(item, GraphNode))
    return nodes, tuple(item for item in items if isinstance(item, Box))
