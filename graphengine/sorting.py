"""networkx, asked for an order and for cycles, on a graph that takes a fifth of the memory of its own ones.

A graph of networkx keeps four dictionaries for each node, most of them for attributes that the nodes here do not have.
These algorithms ask for less: how many nodes each one follows, and which ones follow it. Counts and lists answer that.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress

import networkx as nx


class Readers(nx.DiGraph):  # type: ignore[misc]
    """The numbers 0 to n - 1, each followed by those that read it; not to be changed.

    `reads` are, in order, the different numbers that each one reads.
    """

    def __init__(self, count: int, reads: Iterable[Collection[int]]) -> None:
        super().__init__()
        self._node = range(count)
        self._adj: list[list[int]] = [[] for _ in self._node]
        self._reads = []
        for reader, read in enumerate(reads):
            self._reads.append(len(read))
            for number in read:
                self._adj[number].append(reader)

    def in_degree(self) -> Iterator[tuple[int, int]]:
        """Each number with how many it reads."""
        return enumerate(self._reads)

    def order(self) -> list[int]:
        """The numbers, each behind those it reads; without those on a cycle and what follows from them."""
        found = []
        with suppress(nx.NetworkXUnfeasible):  # it comes behind all that have an order
            for number in nx.topological_sort(self):
                found.append(number)  # noqa: PERF402 - a list made at once would be lost with the exception
        return found

    def cycles(self, most: int) -> list[list[int]]:
        """A shortest cycle through the least number of each group of numbers that form cycles, of the first groups."""
        groups = nx.strongly_connected_components(self)
        least = ((min(group), len(group)) for group in groups)
        cyclic = (start for start, size in least if size > 1 or self.has_edge(start, start))
        starts = list(itertools.islice(cyclic, most))
        del groups, least, cyclic  # the search keeps dictionaries of all numbers
        return [self._shortest_cycle(start) for start in starts]

    def _shortest_cycle(self, start: int) -> list[int]:
        """The shortest way from a number back to itself, along the edges."""
        before = {start: start}
        last = start
        for number, last in itertools.chain([(start, start)], nx.bfs_edges(self, start)):
            before[last] = number
            if self.has_edge(last, start):
                break
        way = [start]
        while last != start:
            way.append(last)
            last = before[last]
        return [start, *way[:0:-1], start]
