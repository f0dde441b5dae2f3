"""The places of the items of a level: in layers from left to right, each item right of what it reads.

All numbers are integers and nothing is random, so a graph always looks the same. A label is at the level last part
of its link, above and below it; places where links go in are `PITCH` apart, and so labels do not meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from graphengine.draw.heights import Tie, heights_of
from graphengine.draw.layers import Bend, Hop, Item, LayoutEdge, bends_of, layers_of, ordered, steps_of

PITCH = 36
"""The distance of two places where links go in: room for a label above the one and a label below the other."""
GAP = 14
"""The least distance of two items of a layer."""
CURVE = 40
"""How wide the curved part of a link is."""
MARGIN = 16
"""What is free around all items."""


class ItemSize(NamedTuple):
    """How large an item is, and where links touch it, as heights below its middle."""

    width: int
    height: int
    ins: tuple[int, ...]
    outs: Mapping[str, int]


class ItemPlace(NamedTuple):
    """The left side and the middle of an item, the right end of its layer, the length of the links' level last part."""

    x: int
    y: int
    right: int
    tail: int


@dataclass(frozen=True)
class Layout:
    """The places of the items of a level and of the bends of its links, in a frame that begins at (0, 0)."""

    width: int
    height: int
    places: Mapping[Item, ItemPlace]
    bends: Mapping[LayoutEdge, tuple[Bend, ...]]


def lay_out(
    sizes: Mapping[str, ItemSize],
    edges: Sequence[LayoutEdge],
    rooms: Mapping[str, int],
    first: Sequence[str] = (),
    last: Sequence[str] = (),
    side: int = MARGIN,
) -> Layout:
    """Lay out items of given sizes; where nothing else decides, in their order.

    `side` is what is free on the left and on the right.
    `rooms` is the width that labels need before an item; `first` and `last` are in the first and in the last layer.
    """
    layer = layers_of(list(sizes), edges, first, last)
    bends = bends_of(edges, layer)
    steps = steps_of(bends, {item: len(size.ins) for item, size in sizes.items()})
    rows = ordered(_rows(layer, bends), steps)
    ties = [_tie(step, sizes) for step in steps]
    heights = {item: sizes[item].height if isinstance(item, str) else 4 for item in chain.from_iterable(rows)}
    middles = heights_of(rows, ties, heights, GAP)
    return _framed(rows, middles, heights, sizes, _tails(rows, rooms), bends, side)


def _rows(layer: Mapping[str, int], bends: Mapping[LayoutEdge, Sequence[Bend]]) -> list[list[Item]]:
    """The layers: the items of each, and the bends of links that pass through it."""
    rows: list[list[Item]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for item, number in layer.items():
        rows[number].append(item)
    for bend in dict.fromkeys(chain.from_iterable(bends.values())):
        rows[bend.layer].append(bend)
    return rows


def _tie(step: Hop, sizes: Mapping[str, ItemSize]) -> Tie[Item]:
    """Long links should be level most of all."""
    out = sizes[step.source].outs[step.value] if isinstance(step.source, str) else 0
    into = sizes[step.target].ins[step.port] if isinstance(step.target, str) else 0
    bent = isinstance(step.source, Bend) + isinstance(step.target, Bend)
    return Tie(step.source, out, step.target, into, (1, 2, 8)[bent])


def _tails(rows: Sequence[Sequence[Item]], rooms: Mapping[str, int]) -> list[int]:
    """The room for labels before each layer."""
    return [max((rooms[item] for item in row if isinstance(item, str)), default=0) for row in rows]


def _extent(middles: Mapping[Item, int], heights: Mapping[Item, int]) -> tuple[int, int]:
    """Where the highest item begins and where the lowest one ends."""
    highest = min((middle - heights[item] // 2 for item, middle in middles.items()), default=0)
    return highest, max((middle + heights[item] // 2 for item, middle in middles.items()), default=0)


def _framed(
    rows: Sequence[Sequence[Item]],
    middles: Mapping[Item, int],
    heights: Mapping[Item, int],
    sizes: Mapping[str, ItemSize],
    tails: Sequence[int],
    bends: Mapping[LayoutEdge, tuple[Bend, ...]],
    side: int,
) -> Layout:
    """Layers side by side, moved down so that the highest item is at the margin."""
    highest, lowest = _extent(middles, heights)
    top, bottom = highest - MARGIN, lowest + MARGIN
    places: dict[Item, ItemPlace] = {}
    right = side
    for number, (row, tail) in enumerate(zip(rows, tails, strict=True)):
        left = right + CURVE * bool(number) + tail
        right = left + max((sizes[item].width for item in row if isinstance(item, str)), default=0)
        places.update((item, ItemPlace(left, middles[item] - top, right, tail)) for item in row)
    return Layout(right + side, bottom - top, places, bends)
