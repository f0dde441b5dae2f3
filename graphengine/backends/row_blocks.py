"""Row-stable evaluation: a row gets the same bits alone, in any batch, at any place, on any number of threads.

Rows are computed in blocks of one size, the last one padded, so that each product, sum and loop sees arrays of the same
shape. Within a block the rows of a product are cut into tiles in which BLAS treats all of them alike; whether it does
is found out by multiplying tiles of equal rows.

Where a graph of few numbers has nothing but functions of single numbers and such products, all rows but the last few
are computed at once if the products then have the bits of tiles, which is found out in the same way.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from threading import Lock
from typing import Any

import numpy as np

from graphengine.backends.protocol import Backend, Program
from graphengine.ir.binding import bind_sizes
from graphengine.ir.graph import Graph
from graphengine.mappings import kept
from graphengine.ops.shapes import ArrayType, size_value
from graphengine.ops.sums import matrix_product
from graphengine.transform.row_tiles import in_row_tiles, products_of_rows

BLOCK = 192
"""Rows of a block: a number that the kernels of BLAS divide into tiles without a rest."""
TILES = (192, 96, 48, 24, 16, 8, 4, 2)
"""Rows that a tile may have; one row is always the same call of BLAS."""
SAMPLED = 256
"""Numbers for each row of a tile by which its rows are compared."""
BLOCK_NUMBERS = 2**15
"""Numbers that the values of a block of more rows may have: they stay in the cache."""
TIMES = (8, 4, 2, 1)
"""How many times as many rows a block of few numbers has: a single row costs a whole block."""
AT_ONCE_NUMBERS = 2**19
"""Numbers that the values of rows may have that are computed at once."""
ALIGNED = 8
"""Rows that are computed at once are a multiple of this: BLAS has other kernels for those that are left."""
DRAWN = 32
"""Numbers for each row by which rows at once are compared with tiles."""
MOST_SIZES = 4
"""Numbers of rows for which a program is kept that computes them at once."""


class RowBlocks:
    """Computes the outputs of a graph block by block; `rows` are the inputs with a row for each sample.

    Each output must have a row for each sample that depends on no other one.
    """

    block: int

    def __init__(
        self, graph: Graph, rows: Sequence[str], shapes: Mapping[str, tuple[int, ...]], backend: Backend
    ) -> None:
        self._graph, self._rows, self._shapes, self._backend = graph, tuple(rows), shapes, backend
        smallest = block_for(graph, rows, shapes)
        sized = self._sized(smallest)
        numbers = _numbers_of(sized, smallest)
        times = _times_for(numbers)
        self._products = _even_products(sized, smallest) if times > 1 else []
        self._most = AT_ONCE_NUMBERS // numbers * smallest if self._products else 0
        self.block = smallest if self._products else smallest * times
        self._program = self._backend.compile(in_row_tiles(self._sized(self.block), self.block, tile_of))
        self._at_once: OrderedDict[int, Program | None] = OrderedDict()
        self._lock = Lock()

    def _sized(self, rows: int) -> Graph:
        shapes = {name: (rows, *shape[1:]) if name in self._rows else shape for name, shape in self._shapes.items()}
        return self._graph.with_sizes(bind_sizes(shapes, self._graph.types))

    def run(
        self, given: Mapping[str, Any], run: Callable[[Program, Mapping[str, Any]], Mapping[str, Any]]
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Return the outputs for inputs; `run` runs a program on the inputs of a block, in one thread of BLAS."""
        count = len(given[self._rows[0]])
        found: dict[str, np.ndarray[Any, Any]] = {}
        for program, start, stop, values in self._pieces(given, count):
            results = run(program, values)
            if stop - start == count == len(next(iter(results.values()))):
                return dict(results)
            for name, value in results.items():
                if name not in found:
                    found[name] = np.empty((count, *value.shape[1:]), value.dtype)
                found[name][start:stop] = value[: stop - start]
        return found

    def _pieces(self, given: Mapping[str, Any], count: int) -> Iterator[tuple[Program, int, int, dict[str, Any]]]:
        """Programs, the rows `start` to `stop` that each computes, and their inputs, contiguous.

        The last row fills what is left of the last block.
        """
        arrays = {name: np.ascontiguousarray(given[name]) for name in self._rows}
        for program, start, rows in self._programs(count):
            stop = min(start + rows, count)
            cut = {name: _filled(array[start:stop], rows) for name, array in arrays.items()}
            yield program, start, stop, {**given, **cut}

    def _programs(self, count: int) -> Iterator[tuple[Program, int, int]]:
        """The programs that are run one after the other, each with its first row and its number of rows."""
        start = 0
        while start < count:
            many = min(count - start, self._most) // ALIGNED * ALIGNED
            program = self._for_many(many) if many > self.block else None
            rows, stop = self.block if program is None else many, start + max(many, 1)
            for first in range(start, stop, rows):
                yield program or self._program, first, rows
            start = first + rows

    def _for_many(self, rows: int) -> Program | None:
        """The program of many rows at once, if it has the bits of blocks; made when so many come a second time."""
        with self._lock:
            is_first = rows not in self._at_once
            return kept(self._at_once, rows, MOST_SIZES, lambda: None if is_first else self._compiled(rows))

    def _compiled(self, rows: int) -> Program | None:
        alike = all(has_bits_of_tiles(rows, *factors) for factors in self._products)
        return self._backend.compile(self._sized(rows)) if alike else None


def _times_for(numbers: int) -> int:
    """How many times as many rows a block has whose values are this many numbers."""
    return next((times for times in TIMES if times * numbers <= BLOCK_NUMBERS), 1)


def _even_products(graph: Graph, block: int) -> list[tuple[ArrayType, ArrayType]]:
    """The factors of the products of rows, if the graph has no other ops across rows and a block is one tile of all."""
    products = products_of_rows(graph, block) or []
    return products if all(tile_of(BLOCK, *each) == BLOCK for each in products) else []


def block_for(graph: Graph, rows: Sequence[str], shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return a number of rows that divides no other size of a graph, so that a size shows whether it is of samples."""
    symbols = {graph.types[name].shape[0] for name in rows}
    sizes = bind_sizes(shapes, graph.types)
    others = graph.with_sizes({**sizes, **{str(symbol): 1 for symbol in symbols}})
    known = set(itertools.chain.from_iterable(map(_sizes_in, others.types.values())))
    return next(block for block in itertools.count(BLOCK, BLOCK) if not _has_multiple(known, block))


def _has_multiple(sizes: Iterable[int], block: int) -> bool:
    return any(size and size % block == 0 for size in sizes)


def _numbers_of(graph: Graph, block: int) -> int:
    """How many numbers the values of a graph of known sizes have that depend on samples."""
    shapes = map(_sizes_in, graph.types.values())
    return sum(math.prod(shape) for shape in shapes if _has_multiple(shape, block))


def _sizes_in(kind: ArrayType) -> list[int]:
    return [size_value(size, {}) or 0 for size in kind.shape]


def _filled(array: Any, rows: int) -> Any:
    """An array of this many rows: the last one fills what is left."""
    if len(array) == rows:
        return array
    filled = np.empty((rows, *array.shape[1:]), array.dtype)
    filled[: len(array)], filled[len(array) :] = array, array[-1]
    return filled


def tile_of(rows: int, left: ArrayType, right: ArrayType) -> int:
    """Return the most rows that a tile may have for all of them to be treated alike; all rows for exact numbers."""
    length, width = _sizes_of(left, right)
    dtypes = [kind.array_dtype for kind in (left, right)]
    if np.result_type(*dtypes).kind != "f" or length < 2:
        return rows
    return next((tile for tile in TILES if _is_even(tile, length, width, *dtypes)), 1)


def has_bits_of_tiles(rows: int, left: ArrayType, right: ArrayType) -> bool:
    """Return whether the product of this many rows has in each row the bits that the row has in a tile of a block."""
    return _is_as_in_tiles(rows, *_sizes_of(left, right), left.array_dtype, right.array_dtype)


def _sizes_of(left: ArrayType, right: ArrayType) -> tuple[int, int]:
    """The length of a row and the number of columns of its factor, 0 for a vector."""
    return int(left.shape[-1] or 0), int(right.shape[-1] or 0) if len(right.shape) > 1 else 0


def _factor(random: np.random.Generator, length: int, width: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """A random matrix, or a vector where the width is 0."""
    return random.standard_normal((length, width) if width else length).astype(dtype)


@cache
def _is_as_in_tiles(rows: int, length: int, width: int, *dtypes: np.dtype[Any]) -> bool:
    """Whether rows of a long matrix have the bits that they have in a tile."""
    random = np.random.default_rng(0)
    for _ in range(-(-DRAWN // max(width, 1))):
        x = random.standard_normal((BLOCK, length)).astype(dtypes[0])
        y = _factor(random, length, width, dtypes[1])
        for factor in (y, np.asfortranarray(y)):
            one, many = matrix_product(x, factor), matrix_product(np.resize(x, (rows, length)), factor)
            if not np.array_equal(many, np.resize(one, many.shape)):
                return False
    return True


@cache
def _is_even(rows: int, length: int, width: int, *dtypes: np.dtype[Any]) -> bool:
    """Whether equal rows of a tile have equal products, whatever order the matrices have in memory."""
    random = np.random.default_rng(0)
    draws = -(-SAMPLED // max(width, 1))
    row = random.standard_normal((draws, 1, length))
    x = np.ascontiguousarray(np.broadcast_to(row, (draws, rows, length)), dtypes[0])
    y = _factor(random, length, width, dtypes[1])
    lefts = x, np.ascontiguousarray(x.swapaxes(1, 2)).swapaxes(1, 2)
    products = (matrix_product(*pair) for pair in itertools.product(lefts, (y, np.asfortranarray(y))))
    return all((product == product[:, :1]).all() for product in products)
