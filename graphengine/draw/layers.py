"""The layer of each item, and the order within each layer that leaves few links crossing.

Layers by longest paths, orders by barycentres, forth and back: the method of Sugiyama, Tagawa and Toda (1981).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple, TypeAlias

from graphengine.mappings import without

SWEEPS = 12


class LayoutEdge(NamedTuple):
    """A link as the layout sees it: a value from an item to a place of another."""

    source: str
    value: str
    target: str
    port: int


class Bend(NamedTuple):
    """A point in a layer that links with one value pass on their way through it."""

    source: str
    value: str
    layer: int


Item: TypeAlias = str | Bend


class Hop(NamedTuple):
    """The part of a link from one layer to the next; `share` is how far down the target it goes in, from 0 to 1."""

    source: Item
    value: str
    target: Item
    port: int
    share: float


def layers_of(
    items: Sequence[str], edges: Sequence[LayoutEdge], first: Sequence[str], last: Sequence[str]
) -> dict[str, int]:
    """The layer of each item: one more than the last of those it reads; what reads nothing precedes its users."""
    before, after = _neighbors(items, edges)
    layer: dict[str, int] = {}
    for item in _sorted(items, before, after):
        layer[item] = max((layer[other] + 1 for other in before[item]), default=int(bool(first)))
    layer |= dict.fromkeys(first, 0)
    layer |= {item: min(map(layer.__getitem__, after[item])) - 1 for item in _movable(items, before, after, first)}
    end = max(without(layer, last).values(), default=-1) + 1
    return layer | dict.fromkeys(last, end)


def _movable(
    items: Sequence[str], before: Mapping[str, Sequence[str]], after: Mapping[str, Sequence[str]], first: Sequence[str]
) -> list[str]:
    """The items that read nothing and are read: they may be in any layer before their users."""
    return [item for item in items if after[item] and not before[item] and item not in first]


def _neighbors(
    items: Sequence[str], edges: Sequence[LayoutEdge]
) -> tuple[Mapping[str, list[str]], Mapping[str, list[str]]]:
    """For each item those that it reads, and those that read it."""
    before, after = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for edge in _without_cycles(items, edges):
        before[edge.target].append(edge.source)
        after[edge.source].append(edge.target)
    return before, after


def _without_cycles(items: Sequence[str], edges: Sequence[LayoutEdge]) -> list[LayoutEdge]:
    """The edges without those that close a cycle: boxes of a graph that has none may form one."""
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_nodes_from(items)
    graph.add_edges_from((edge.source, edge.target) for edge in edges)
    part = {item: number for number, members in enumerate(nx.strongly_connected_components(graph)) for item in members}
    place = {item: index for index, item in enumerate(items)}

    def is_kept(edge: LayoutEdge) -> bool:
        return part[edge.source] != part[edge.target] or place[edge.source] < place[edge.target]

    return list(filter(is_kept, edges))


def _sorted(items: Sequence[str], before: Mapping[str, list[str]], after: Mapping[str, list[str]]) -> list[str]:
    """The items, each after those before it."""
    waiting = {item: len(before[item]) for item in items}
    ready = [item for item in items if not waiting[item]]
    for item in ready:
        for other in after[item]:
            waiting[other] -= 1
            if not waiting[other]:
                ready.append(other)
    return ready


def bends_of(edges: Sequence[LayoutEdge], layer: Mapping[str, int]) -> dict[LayoutEdge, tuple[Bend, ...]]:
    """The points each edge passes in the layers between its ends; edges with one value share them."""
    return {
        edge: tuple(
            Bend(edge.source, edge.value, number) for number in range(layer[edge.source] + 1, layer[edge.target])
        )
        for edge in edges
    }


def steps_of(bends: Mapping[LayoutEdge, tuple[Bend, ...]], ports: Mapping[str, int]) -> list[Hop]:
    """The edges in parts from layer to layer, each part once; `ports` is how many places an item has."""
    steps: dict[Hop, None] = {}
    for edge, points in bends.items():
        stops: tuple[Item, ...] = (edge.source, *points)
        steps.update((Hop(stop, edge.value, bend, 0, 0.5), None) for stop, bend in zip(stops, points, strict=False))
        steps[Hop(stops[-1], edge.value, edge.target, edge.port, (edge.port + 1) / (ports[edge.target] + 1))] = None
    return list(steps)


def ordered(layers: list[list[Item]], steps: Sequence[Hop]) -> list[list[Item]]:
    """The layers with their items in the best order that the sweeps find."""
    best, fewest = layers, crossings(layers, steps)
    for sweep in range(SWEEPS if fewest else 0):
        layers = _swept(layers, steps, backwards=bool(sweep % 2))
        count = crossings(layers, steps)
        if count < fewest:
            best, fewest = layers, count
    return best


def _swept(layers: list[list[Item]], steps: Sequence[Hop], *, backwards: bool) -> list[list[Item]]:
    """Each layer sorted by the mean places of its neighbors, those before it or those after it."""
    place: dict[Item, float] = {item: index for layer in layers for index, item in enumerate(layer)}
    neighbors = _neighbors_after(steps) if backwards else _neighbors_before(steps)

    def barycentre(item: Item) -> float:
        return fmean([place[other] + share for other, share in neighbors.get(item, ())] or [place[item] + 0.5])

    swept = []
    direction = -1 if backwards else 1
    for layer in layers[::direction]:
        swept.append(sorted(layer, key=barycentre))
        place.update((item, index) for index, item in enumerate(swept[-1]))
    return swept[::direction]


def _neighbors_after(steps: Sequence[Hop]) -> Mapping[Item, list[tuple[Item, float]]]:
    """For each item those of the next layer, and how far down these it goes in."""
    found = defaultdict[Item, list[tuple[Item, float]]](list)
    for step in steps:
        found[step.source].append((step.target, step.share))
    return found


def _neighbors_before(steps: Sequence[Hop]) -> Mapping[Item, list[tuple[Item, float]]]:
    """For each item those of the layer before, which it leaves in their middle."""
    found = defaultdict[Item, list[tuple[Item, float]]](list)
    for step in steps:
        found[step.target].append((step.source, 0.5))
    return found


def crossings(layers: Sequence[Sequence[Item]], steps: Sequence[Hop]) -> int:
    """How many pairs of links cross between neighboring layers."""
    place = {item: (number, index) for number, layer in enumerate(layers) for index, item in enumerate(layer)}
    between: dict[int, list[tuple[int, float]]] = {}
    for step in steps:
        number, start = place[step.source]
        between.setdefault(number, []).append((start, place[step.target][1] + step.share))
    count = 0
    for pairs in between.values():
        seen: list[float] = []
        for _, end in sorted(pairs):
            count += len(seen) - bisect_right(seen, end)
            insort(seen, end)
    return count
