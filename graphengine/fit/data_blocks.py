"""The data of a fit in blocks of rows, so that what is computed from a block stays in a cache.

All blocks have the same number of rows, so one program serves them all; the last one repeats its last row, and what
comes of that is dropped.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from graphengine.ir.binding import bind_sizes, shapes_of
from graphengine.ir.graph import Graph, part_for
from graphengine.transform.sample_walk import with_part_for_each

ROWS = 2**14
"""The most rows of a block: a dozen vectors of this many numbers fit into a cache of 2 MiB."""


class DataBlocks:
    """The data for a value of a graph in blocks of at most this many rows, `ROWS` by default.

    There is one block where there are no more rows, or the value needs all at once. `graph` has the sizes of a block.
    """

    graph: Graph

    def __init__(self, graph: Graph, value: str, data: Mapping[str, Any], most: int | None = None) -> None:
        shapes = shapes_of(data)
        sizes = bind_sizes(shapes, graph.types)
        most = most or ROWS
        self._rows = _cut_inputs(graph, value, sizes, most)
        self._count = shapes[self._rows[0]][0] if self._rows else 1
        self._size = -(-self._count // -(-self._count // most))
        symbols = {str(graph.types[name].shape[0]) for name in self._rows}
        self.graph = graph.with_sizes({**sizes, **dict.fromkeys(symbols, self._size)})

    @property
    def is_single(self) -> bool:
        """Whether one block has all rows."""
        return not self._rows

    def of(self, arrays: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield those of the arrays that have rows, cut to each block; nothing where one block has all rows."""
        for start in range(0, self._count, self._size):
            yield {name: self._cut(arrays[name], start) for name in self._rows}

    def _cut(self, array: Any, start: int) -> Any:
        stop = start + self._size
        return array[start:stop] if stop <= self._count else array[np.minimum(np.arange(start, stop), self._count - 1)]

    def vectors(self, vector: Any, shape: Sequence[int]) -> Iterator[Any]:
        """Yield a number for each residual, cut to each block and shaped as the residuals of one; zero beyond them."""
        size = int(np.prod(shape))
        for start in range(0, len(vector), size) if self._rows else (0,):
            part = vector[start : start + size]
            yield np.pad(part, (0, size - len(part))).reshape(shape)


def _cut_inputs(graph: Graph, value: str, sizes: Mapping[str, int], most: int) -> tuple[str, ...]:
    """The inputs that are cut: those with a row for each row of the value; none where cutting would not pay."""
    if max(sizes.values(), default=0) <= most:
        return ()
    part = part_for(graph, {"value": value})
    rows = tuple([name for name in part.inputs if isinstance(next(iter(graph.types[name].shape), 0), str)])
    symbol = _symbol_of(rows, graph)
    if symbol is None or sizes[symbol] <= most:
        return ()
    return rows if value in with_part_for_each(part, sizes, rows) else ()


def _symbol_of(rows: Iterable[str], graph: Graph) -> str | None:
    """The symbol for the number of rows of some inputs; None unless there is one, and no other size of an input."""
    symbols = {str(graph.types[name].shape[0]) for name in rows}
    others = itertools.chain.from_iterable(graph.types[name].shape[1:] for name in graph.inputs)
    return symbols.pop() if len(symbols) == 1 and symbols.isdisjoint(map(str, others)) else None
