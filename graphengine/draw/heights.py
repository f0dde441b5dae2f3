"""The height of each item in its layer: as near to its neighbors as the order and the distances allow.

For one layer this is a least-squares problem with an order, which pooling of neighbors solves exactly (isotonic
regression; Barlow and others 1972). Sweeps over the layers bring items to the heights of those they are linked with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from math import ceil, floor
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from graphengine.mappings import without

SWEEPS = 4

ItemType = TypeVar("ItemType")
Neighbors: TypeAlias = dict[ItemType, list[tuple[ItemType, int, int]]]


class Tie(NamedTuple, Generic[ItemType]):
    """Two linked items, each with how far below its middle the link is there, and how much it matters to be level."""

    source: ItemType
    out: int
    target: ItemType
    into: int
    weight: int


def heights_of(
    layers: Sequence[Sequence[ItemType]], ties: Sequence[Tie[ItemType]], heights: Mapping[ItemType, int], gap: int
) -> dict[ItemType, int]:
    """The middle of each item, downwards from any height."""
    before, after = _neighbors(ties)
    offsets = [_offsets([heights[item] for item in layer], gap) for layer in layers]
    middles = _centered(layers, offsets)
    forth, back = range(len(layers)), range(len(layers))[::-1]
    starting = without(after, before)
    for numbers, neighbors in [(forth, before), (back, after)] * SWEEPS + [(forth, before), (back, starting)]:
        for number in numbers:
            _level(middles, layers[number], offsets[number], neighbors)
    places = zip(chain.from_iterable(layers), chain.from_iterable(offsets), strict=True)
    return {item: floor(middles[item] - place + 0.5) + place for item, place in places}


def _centered(layers: Sequence[Sequence[ItemType]], offsets: Sequence[Sequence[int]]) -> dict[ItemType, float]:
    """The middle of each item where the middle of each layer is at 0."""
    middles: dict[ItemType, float] = {}
    for layer, offset in zip(layers, offsets, strict=True):
        middles.update((item, place - max(offset) / 2) for item, place in zip(layer, offset, strict=True))
    return middles


def _level(
    middles: dict[ItemType, float],
    layer: Sequence[ItemType],
    offsets: Sequence[int],
    neighbors: Mapping[ItemType, Sequence[tuple[ItemType, int, int]]],
) -> None:
    """Move the items of a layer to the heights of their neighbors."""
    wanted = [_wanted(middles, item, neighbors) for item in layer]
    middles.update(zip(layer, _spread(wanted, offsets), strict=True))


def _wanted(
    middles: Mapping[ItemType, float],
    item: ItemType,
    neighbors: Mapping[ItemType, Sequence[tuple[ItemType, int, int]]],
) -> tuple[float, float]:
    """The height at which an item is level with its neighbors on the mean, and how much that matters."""
    ties = neighbors.get(item, ())
    total = sum(weight for _, _, weight in ties)
    if not total:
        return middles[item], 0.02
    return sum((middles[other] + shift) * weight for other, shift, weight in ties) / total, total


def _neighbors(ties: Sequence[Tie[ItemType]]) -> tuple[Neighbors[ItemType], Neighbors[ItemType]]:
    """For each item those before it, and those after it: how far below them it is level, and how much that matters."""
    before: Neighbors[ItemType] = {}
    after: Neighbors[ItemType] = {}
    for source, out, target, into, weight in ties:
        before.setdefault(target, []).append((source, out - into, weight))
        after.setdefault(source, []).append((target, into - out, weight))
    return before, after


def _offsets(heights: Sequence[int], gap: int) -> list[int]:
    """How far below the first each item of a layer is at least."""
    offsets = [0] * len(heights)
    for index in range(1, len(heights)):
        offsets[index] = offsets[index - 1] + ceil((heights[index - 1] + heights[index]) / 2) + gap
    return offsets


def _spread(wanted: Sequence[tuple[float, float]], offsets: Sequence[int]) -> list[float]:
    """The heights nearest to the wanted ones, in the sense of weighted least squares, that keep order and distances."""
    pools: list[tuple[float, float, int]] = []
    for (height, weight), offset in zip(wanted, offsets, strict=True):
        mean, count = height - offset, 1
        while pools and pools[-1][0] >= mean:
            other, total, number = pools.pop()
            mean = (mean * weight + other * total) / (weight + total)
            weight, count = weight + total, count + number
        pools.append((mean, weight, count))
    shifts = [mean for mean, _, count in pools for _ in range(count)]
    return [shift + offset for shift, offset in zip(shifts, offsets, strict=True)]
