"""An order of numbers that read each other, asked of networkx, and the cycles where there is none.

A graph of networkx keeps four dictionaries for each node, most of them for attributes that the nodes here do not have.
Sorting asks for less: how many numbers each one reads, and which ones read it. Two arrays answer that. Its search for
cycles keeps four dictionaries more, and an iterator for each node; the one here keeps arrays.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress

import networkx as nx
import numpy as np


class Readers(nx.DiGraph):  # type: ignore[misc]
    """The numbers 0 to n - 1, each followed by those that read it; not to be changed.

    `reads` are, in order, the different numbers that each one reads.
    """

    def __init__(self, count: int, reads: Iterable[Collection[int]]) -> None:
        super().__init__()
        self._node = range(count)
        self._reads, read = array("i"), array("i")
        for each in reads:
            self._reads.append(len(each))
            read.extend(each)
        readers = np.repeat(np.arange(count, dtype=np.int32), self._reads)
        starts = np.zeros(count + 1, np.int32)
        np.cumsum(np.bincount(np.asarray(read, np.int32), minlength=count), out=starts[1:])
        by_read = readers[np.argsort(read, kind="stable")]
        self._adj = _RaggedRows(array("i", by_read.tobytes()), array("i", starts.tobytes()))

    def in_degree(self) -> Iterator[tuple[int, int]]:
        """Each number with how many it reads."""
        return enumerate(self._reads)

    def order(self) -> list[int]:
        """The numbers, each after those it reads; without those on a cycle and what follows from them."""
        found = []
        with suppress(nx.NetworkXUnfeasible):  # it comes after all that have an order
            for number in nx.topological_sort(self):
                found.append(number)  # noqa: PERF402 - a list made at once would be lost with the exception
        return found

    def cycles(self, most: int) -> list[list[int]]:
        """A shortest cycle through the least number of each group of numbers that form cycles, of the first groups."""
        group = self._groups()
        _, least, sizes = np.unique(group, return_index=True, return_counts=True)
        groups = sorted(zip(least.tolist(), sizes.tolist(), strict=True))
        cyclic = (number for number, size in groups if size > 1 or number in self._adj[number])
        return [self._shortest_cycle(start, group) for start in itertools.islice(cyclic, most)]

    def _groups(self) -> array[int]:
        """For each number one representative of all that it reaches and that reach it.

        They are the strongly connected components (Tarjan 1972), found without recursion.
        """
        count, rows = len(self), self._adj
        met, low, group = array("i", [0]) * count, array("i", [0]) * count, array("i", [-1]) * count
        upcoming = rows.starts[:count]  # which edge of each number is looked at next
        way, undecided, clock = array("i"), array("i"), 0
        for root in self._node:
            if not met[root]:
                way.append(root)
            while way:
                number = way[-1]
                if not met[number]:
                    clock += 1
                    met[number] = low[number] = clock
                    undecided.append(number)
                edge = upcoming[number]
                if edge < rows.starts[number + 1]:
                    upcoming[number] += 1
                    reader = rows.values[edge]
                    if not met[reader]:
                        way.append(reader)
                    elif group[reader] < 0:
                        low[number] = min(low[number], met[reader])
                    continue
                way.pop()
                if way:
                    low[way[-1]] = min(low[way[-1]], low[number])
                while low[number] == met[number] and group[number] < 0:
                    group[undecided.pop()] = number
        return group

    def _shortest_cycle(self, start: int, group: array[int]) -> list[int]:
        """The shortest way from a number back to itself, along the edges."""
        before = self._before(start, group)
        way = [before[start]]
        while way[-1] != start:
            way.append(before[way[-1]])
        return [*way[::-1], start]

    def _before(self, start: int, group: array[int]) -> array[int]:
        """For each number of a group the one before it on a shortest way from `start`, until that is reached again."""
        before, reached = array("i", [-1]) * len(group), array("i", [start])
        for number in reached:  # it grows
            for reader in self._adj[number]:
                if before[reader] < 0 and group[reader] == group[start]:
                    before[reader] = number
                    reached.append(reader)
            if before[start] >= 0:
                break
        return before


class _RaggedRows:
    """Rows of numbers of different lengths, one after the other."""

    def __init__(self, values: array[int], starts: array[int]) -> None:
        self.values, self.starts = values, starts

    def __getitem__(self, row: int) -> array[int]:
        return self.values[self.starts[row] : self.starts[row + 1]]
