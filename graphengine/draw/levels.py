"""What is drawn when a box is open: its nodes, the boxes in it, sources, what enters and leaves, and the links between.

A link is one value on its way to one place of one item. Whatever is inside a closed box is one item, with a place for
each value that enters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

from graphengine.draw.scopes import Box
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode

Use = tuple[str, int]
"""An operand: the id of a node and the position."""


class Link(NamedTuple):
    """A value on its way from one item of a level to a place of another.

    `uses` are the operands at that place; `leaves` says whether it is an output, or leads to one.
    """

    source: str
    value: str
    target: str
    port: int
    uses: tuple[Use, ...]
    leaves: bool = False


@dataclass(frozen=True)
class Level:
    """The content of an open box. Items are known by keys: a node's id, a box's key, a value's name for the others."""

    box: Box
    sources: tuple[str, ...]
    """Inputs, parameters and state that are drawn here."""
    entries: tuple[str, ...]
    """Values that come from outside."""
    exits: tuple[tuple[str, str], ...]
    """What leaves, as name and value: the outputs of the whole graph, or the values that others use."""
    links: tuple[Link, ...]


def entry_key(value: str) -> str:
    """The key of the place where a value enters a box."""
    return f">{value}"


def exit_key(name: str) -> str:
    """The key of the place where a value leaves a box, or of an output."""
    return f"{name}>"


def _values(node: GraphNode) -> Iterator[tuple[int, str]]:
    """The operands that are values, each with its position."""
    return ((position, operand) for position, operand in enumerate(node.inputs) if isinstance(operand, str))


def _uses(graph: Graph) -> dict[str, list[Use]]:
    """For each value where nodes read it."""
    uses: dict[str, list[Use]] = {name: [] for name in graph.types}
    for node in graph.nodes:
        for position, operand in _values(node):
            uses[operand].append((node.id, position))
    return uses


class Levels:
    """The levels of a graph, one for each of its boxes."""

    def __init__(self, graph: Graph, root: Box) -> None:
        self.graph, self.root = graph, root
        self.producer = {name: node.id for node in graph.nodes for name in node.outputs}
        self.uses = _uses(graph)
        self.path: dict[str, tuple[str, ...]] = {}
        self._find_paths()
        self.home = {name: self._home(name) for name in graph.sources}
        self.public = set(graph.outputs.values())

    def _find_paths(self) -> None:
        """For each node the keys of the boxes it lies in, from the outermost to the innermost."""
        pending: list[tuple[Box, tuple[str, ...]]] = [(self.root, ())]
        self.boxes = {}
        while pending:
            box, above = pending.pop()
            path = (*above, box.key)
            self.boxes[box.key] = box
            self.path.update({node.id: path for node in box.nodes})
            pending += [(inner, path) for inner in box.boxes]

    def _home(self, source: str) -> tuple[str, ...]:
        """The path of the box a source is drawn in: the innermost around all its uses that is not a function's."""
        paths = [self.path[node] for node, _ in self.uses[source]]
        if not paths or source in self.graph.outputs.values():
            return (self.root.key,)
        levels = takewhile(lambda keys: len(set(keys)) == 1, zip(*paths, strict=False))
        shared = [keys[0] for keys in levels]
        while len(shared) > 1 and not self.boxes[shared[-1]].is_group:
            shared.pop()
        return tuple(shared)

    def __iter__(self) -> Iterator[Level]:
        return (self._level(box) for box in self.root.all_boxes)

    def _place(self, value: str) -> tuple[str, ...]:
        """The path of the box in which a value arises."""
        return self.home[value] if value in self.home else self.path[self.producer[value]]

    def _level(self, box: Box) -> Level:
        depth = len(self._path_of(box))
        sources = tuple(name for name, path in self.home.items() if path[-1] == box.key)
        links: list[Link] = []
        for node in box.nodes:
            links += self._links_to_node(node, box, depth)
        for inner in box.boxes:
            links += self._links_to_box(inner, box, depth)
        exits = tuple(self._exits(box))
        links += [self._link_out(name, value, box, depth) for name, value in exits]
        return Level(box, sources, self.entries_of(box), exits, tuple(links))

    def _exits(self, box: Box) -> Iterable[tuple[str, str]]:
        """What leaves a box, by name: of the whole graph its outputs, of others values under their own names."""
        if box is self.root:
            return self.graph.outputs.items()
        values = self.exits_of(box)
        return zip(values, values, strict=True)

    def _links_to_box(self, inner: Box, box: Box, depth: int) -> Iterator[Link]:
        for port, value in enumerate(self.entries_of(inner)):
            uses = tuple(use for use in self.uses[value] if inner.key in self.path[use[0]])
            yield Link(self._item(value, box, depth), value, inner.key, port, uses)

    def _link_out(self, name: str, value: str, box: Box, depth: int) -> Link:
        """The link of a value to an exit of its box."""
        uses = tuple(use for use in self.uses[value] if box.key not in self.path[use[0]])
        return Link(self._item(value, box, depth), value, exit_key(name), 0, uses, value in self.public)

    def _path_of(self, box: Box) -> tuple[str, ...]:
        node = next(box.all_nodes, None)
        path = self.path[node.id] if node else (self.root.key,)
        return path[: path.index(box.key) + 1]

    def _links_to_node(self, node: GraphNode, box: Box, depth: int) -> Iterator[Link]:
        for position, operand in _values(node):
            yield Link(self._item(operand, box, depth), operand, node.id, position, ((node.id, position),))

    def _item(self, value: str, box: Box, depth: int) -> str:
        """The key of the item of a level that a value comes out of."""
        place = self._place(value)
        if box.key not in place:
            return entry_key(value)
        if len(place) > depth:
            return place[depth]
        return value if value in self.home else self.producer[value]

    def entries_of(self, box: Box) -> tuple[str, ...]:
        """The values that nodes of a box use and that arise outside, in the order they are used."""
        used = dict.fromkeys(operand for node in box.all_nodes for operand in node.references)
        return tuple(value for value in used if box.key not in self._place(value))

    def exits_of(self, box: Box) -> tuple[str, ...]:
        """The values that arise in a box and that others use, or that are outputs."""
        made = [name for node in box.all_nodes for name in node.outputs]
        return tuple(value for value in made if value in self.public or self._is_used_outside(value, box))

    def _is_used_outside(self, value: str, box: Box) -> bool:
        return any(box.key not in self.path[node] for node, _ in self.uses[value])
