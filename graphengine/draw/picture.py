"""A graph as shapes and wires with their places: what is drawn, whoever draws it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import starmap
from math import ceil
from typing import Any, NamedTuple, TypeAlias

from graphengine.draw.layers import LayoutEdge
from graphengine.draw.layout import MARGIN, PITCH, ItemPlace, ItemSize, Layout, lay_out
from graphengine.draw.levels import Level, Levels, Link, entry_key, exit_key
from graphengine.draw.scopes import Box, boxes_of
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode
from graphengine.ir.origins import source_kind
from graphengine.ops.shapes import shape_text
from graphengine.traces.summary import number_text
from graphengine.wording import counted, escaped

LABEL, TITLE, NOTE = 12, 15, 11
"""Sizes of the text of labels, of the main text of a shape, and of what is below it, in pixels."""
MAX_TEXT = 22
"""Longer names are shown shortened."""
ALONG = 44
"""The height of a shape in a picture from top to bottom."""
ABOVE = 32
"""The room above such a shape: for two labels, or for a literal."""

SYMBOLS = {
    "add": "+",
    "sub": "−",
    "mul": "×",
    "div": "÷",
    "neg": "−x",
    "square": "x²",
    "sqrt": "√x",
    "exp": "eˣ",
    "sum": "Σ",
    "matmul": "@",
}
"""Signs for ops that have one; any other op is shown by its name."""

Texts: TypeAlias = Callable[[Link], Iterable[str]]
"""All that may appear above or below a link, one at a time."""


class DrawnItem(NamedTuple):
    """An item of a level: its kind (node, box, input, parameter, state, output, entry, exit), texts and place."""

    key: str
    kind: str
    title: str
    note: str
    size: ItemSize
    place: ItemPlace
    literals: tuple[tuple[int, str], ...]
    """Numbers of the file at places where no link goes in."""


class Wire(NamedTuple):
    """A link with the points it passes: where it starts, each bend, and where it ends."""

    link: Link
    points: tuple[ItemPlace, ...]


@dataclass(frozen=True)
class Panel:
    """The content of an open box, in its own frame."""

    key: str
    title: str
    width: int
    height: int
    shapes: tuple[DrawnItem, ...]
    wires: tuple[Wire, ...]


def panels_of(graph: Graph, texts: Texts, *, folded: bool = True, down: bool = False) -> Iterator[Panel]:
    """The panels of a graph, that of the whole graph first; without `folded` it is the only one.

    `down` lays them out from top to bottom. Their x and width then count downward, y and height to the right.
    """
    levels = Levels(graph, boxes_of(graph, folded=folded))
    return (_panel(graph, level, levels, texts, down=down) for level in levels)


def shape_note(graph: Graph, value: str) -> str:
    """The shape of a value; a scalar needs none."""
    shape = graph.types[value].shape
    return shape_text(shape) if shape else ""


def _panel(graph: Graph, level: Level, levels: Levels, texts: Texts, *, down: bool) -> Panel:
    drafts = {draft.key: draft for draft in _drafts(graph, level, levels)}
    rooms = _rooms(drafts, level.links, texts)
    if down:
        drafts, rooms = _turned(drafts, rooms)
    sizes = {key: draft.size for key, draft in drafts.items()}
    edges = {LayoutEdge(link.source, link.value, link.target, link.port): link for link in level.links}
    layout = lay_out(sizes, list(edges), rooms, **_ends(level, levels))
    shapes = tuple(draft._replace(place=layout.places[key]) for key, draft in drafts.items())
    wires = tuple(Wire(link, _points(edge, sizes, layout)) for edge, link in edges.items())
    return Panel(level.box.key, level.box.title, layout.width, layout.height, shapes, wires)


def _ends(level: Level, levels: Levels) -> dict[str, Any]:
    """The items in the first and the last layer, and the margin, of which a box needs none where its entries are."""
    last = [] if level.box is levels.root else [exit_key(name) for name, _ in level.exits]
    return {"first": list(map(entry_key, level.entries)), "last": last, "side": 0 if level.entries else MARGIN}


def _rooms(drafts: Mapping[str, DrawnItem], links: Iterable[Link], texts: Texts) -> dict[str, int]:
    """How much room the labels and literals before each item need."""
    rooms = {key: max([_literal_room(text) for _, text in draft.literals], default=0) for key, draft in drafts.items()}
    for link in links:
        widest = max((text_width(text, LABEL) for text in texts(link)), default=0)
        rooms[link.target] = max(rooms[link.target], widest + 14)
    return rooms


def _turned(drafts: Mapping[str, DrawnItem], rooms: Mapping[str, int]) -> tuple[dict[str, DrawnItem], dict[str, int]]:
    """Items and rooms for a picture from top to bottom."""
    turned = {key: draft._replace(size=_turned_size(draft, rooms[key])) for key, draft in drafts.items()}
    return turned, {key: ABOVE * bool(room) for key, room in rooms.items()}


def _turned_size(draft: DrawnItem, room: int) -> ItemSize:
    """The size of an item in a picture from top to bottom; its labels have their room side by side."""
    size, pitch = draft.size, max(PITCH, room)
    if draft.kind in ("entry", "exit"):
        return size
    ports = max(len(size.ins), len(size.outs))
    outs = dict(zip(size.outs, _spaced(len(size.outs), pitch), strict=True))
    across = max(size.width, pitch * (ports - 1) + 28)
    return ItemSize(min(size.height, ALONG), across, _spaced(len(size.ins), pitch), outs)


def _points(edge: LayoutEdge, sizes: dict[str, ItemSize], layout: Layout) -> tuple[ItemPlace, ...]:
    """Where a wire starts, bends and ends; the start is at the right side of its item."""
    source, target = layout.places[edge.source], layout.places[edge.target]
    size = sizes[edge.source]
    start = source._replace(x=source.x + size.width, y=source.y + size.outs[edge.value])
    end = target._replace(y=target.y + sizes[edge.target].ins[edge.port])
    return (start, *(layout.places[bend] for bend in layout.bends[edge]), end)


NOWHERE = ItemPlace(0, 0, 0, 0)


def _drafts(graph: Graph, level: Level, levels: Levels) -> list[DrawnItem]:
    """The shapes of a level, not placed yet, in the order of the file where there is one."""
    way_out = _pill_out if level.box is levels.root else _point_out
    return [
        *(_pill(name, source_kind(graph, name), name, shape_note(graph, name), outs=name) for name in level.sources),
        *(_point(entry_key(value), "entry", value, value) for value in level.entries),
        *map(_node, level.box.nodes),
        *(_box(box, levels) for box in level.box.boxes),
        *starmap(way_out, level.exits),
    ]


def _pill_out(name: str, _value: str) -> DrawnItem:
    return _pill(exit_key(name), "output", name)


def _point_out(name: str, value: str) -> DrawnItem:
    return _point(exit_key(name), "exit", value)


def _out(value: str | None) -> dict[str, int]:
    """Where a value leaves an item that gives one: in its middle."""
    return {value: 0} if value else {}


def _pill(key: str, kind: str, title: str, note: str = "", outs: str | None = None) -> DrawnItem:
    width = max(text_width(shortened(title), TITLE), text_width(note, NOTE), 20) + 24
    size = ItemSize(width, 36, (0,), _out(outs))
    return DrawnItem(key, kind, title, note, size, NOWHERE, ())


def _point(key: str, kind: str, title: str, outs: str | None = None) -> DrawnItem:
    return DrawnItem(key, kind, title, "", ItemSize(8, PITCH, (0,), _out(outs)), NOWHERE, ())


def _node(node: GraphNode) -> DrawnItem:
    title, note = SYMBOLS.get(node.op, node.op), node.id
    literals = tuple(
        (position, number_text(operand, 4))
        for position, operand in enumerate(node.inputs)
        if operand is not None and not isinstance(operand, str)
    )
    size = _sized(title, note, len(node.inputs), list(node.outputs))
    return DrawnItem(node.id, "node", title, note, size, NOWHERE, literals)


def _box(box: Box, levels: Levels) -> DrawnItem:
    count = sum(1 for _ in box.all_nodes)
    note = counted(count, "node")
    size = _sized(box.title, note, len(levels.entries_of(box)), list(levels.exits_of(box)))
    return DrawnItem(box.key, "box", box.title, note, size, NOWHERE, ())


def _sized(title: str, note: str, ins: int, outs: list[str]) -> ItemSize:
    width = max(text_width(shortened(title), TITLE), text_width(shortened(note), NOTE), 28) + 20
    height = max(44, PITCH * max(ins, 1), PITCH * len(outs))
    return ItemSize(width, height, _spaced(ins), dict(zip(outs, _spaced(len(outs)), strict=True)))


def _spaced(count: int, pitch: int = PITCH) -> tuple[int, ...]:
    """Places at equal distances, around 0."""
    return tuple(pitch * index - pitch * (count - 1) // 2 for index in range(count))


def shortened(text: str) -> str:
    """A name on one line that is not too long for a shape."""
    text = escaped(text)
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 9]}…{text[-8:]}"


def text_width(text: str, size: int) -> int:
    """About how wide text is, rather too wide than too narrow, as no font is known here."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return ceil(size * (0.62 * (len(text) - wide) + 1.05 * wide))


def _literal_room(text: str) -> int:
    return text_width(text, LABEL) + 22
