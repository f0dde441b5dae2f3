"""Row-stable evaluation: a row gets the same bits alone, in any batch, at any place, on any number of threads.

Rows are computed in blocks of one size, the last one padded, so that each product, sum and loop sees arrays of the same
shape. Within a block the rows of a product are cut into tiles in which BLAS treats all of them alike; whether it does
is found out by multiplying tiles of equal rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from graphengine.backends.one_thread import one_blas_thread
from graphengine.backends.protocol import Backend, Program
from graphengine.ir.binding import bind_sizes
from graphengine.ir.graph import Graph
from graphengine.ops.shapes import ArrayType
from graphengine.ops.sums import matrix_product
from graphengine.transform.row_tiles import in_row_tiles

BLOCK = 192
"""Rows of a block: a number that the kernels of BLAS divide into tiles without a rest."""
TILES = (192, 96, 48, 24, 16, 8, 4, 2)
"""Rows that a tile may have; one row is always the same call of BLAS."""
SAMPLED = 256
"""Numbers for each row of a tile by which its rows are compared."""


class RowBlocks:
    """Computes the outputs of a graph block by block; `rows` are the inputs with a row for each sample.

    Each output must have a row for each sample that depends on no other one.
    """

    block: int

    def __init__(
        self, graph: Graph, rows: Sequence[str], shapes: Mapping[str, tuple[int, ...]], backend: Backend
    ) -> None:
        self._rows = tuple(rows)
        self.block = block_for(graph, rows, shapes)
        sizes = bind_sizes(_in_blocks(shapes, rows, self.block), graph.types)
        with one_blas_thread():
            tiled = in_row_tiles(graph.with_sizes(sizes), self.block, tile_of)
        self._program: Program = backend.compile(tiled)

    def run(
        self, given: Mapping[str, Any], run: Callable[[Program, Mapping[str, Any]], Mapping[str, Any]]
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Return the outputs for inputs; `run` runs a program on the inputs of a block."""
        count = len(given[self._rows[0]])
        found: dict[str, np.ndarray[Any, Any]] = {}
        with one_blas_thread():
            for start, block in self._blocks(given, count):
                stop = min(start + self.block, count)
                for name, value in run(self._program, block).items():
                    if name not in found:
                        found[name] = np.empty((count, *value.shape[1:]), value.dtype)
                    found[name][start:stop] = value[: stop - start]
        return found

    def _blocks(self, given: Mapping[str, Any], count: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """The inputs of each block, contiguous; the last row fills what is left of the last block."""
        values = dict(given)
        arrays = {name: np.ascontiguousarray(given[name]) for name in self._rows}
        for start in range(0, count, self.block):
            stop = start + self.block
            cut: Any = slice(start, stop) if stop <= count else np.minimum(np.arange(start, stop), count - 1)
            values.update({name: array[cut] for name, array in arrays.items()})
            yield start, values


def block_for(graph: Graph, rows: Sequence[str], shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return a number of rows that divides no other size of a graph, so that a size shows whether it is of samples."""
    symbols = {graph.types[name].shape[0] for name in rows}
    sizes = bind_sizes(shapes, graph.types)
    others = graph.with_sizes({**sizes, **{str(symbol): 1 for symbol in symbols}})
    known = {size for kind in others.types.values() for size in kind.shape if isinstance(size, int)} - {0}
    return next(block for block in itertools.count(BLOCK, BLOCK) if not any(size % block == 0 for size in known))


def _in_blocks(shapes: Mapping[str, tuple[int, ...]], rows: Sequence[str], block: int) -> dict[str, tuple[int, ...]]:
    return {name: (block, *shape[1:]) if name in rows else shape for name, shape in shapes.items()}


def tile_of(rows: int, left: ArrayType, right: ArrayType) -> int:
    """Return the most rows that a tile may have for all of them to be treated alike; all rows for exact numbers."""
    length, width = int(left.shape[-1] or 0), int(right.shape[-1] or 0) if len(right.shape) > 1 else 0
    dtypes = [kind.array_dtype for kind in (left, right)]
    if np.result_type(*dtypes).kind != "f" or length < 2:
        return rows
    return next((tile for tile in TILES if _is_even(tile, length, width, *dtypes)), 1)


@cache
def _is_even(rows: int, length: int, width: int, *dtypes: np.dtype[Any]) -> bool:
    """Whether equal rows of a tile have equal products, whatever order the matrices have in memory."""
    random = np.random.default_rng(0)
    draws = -(-SAMPLED // max(width, 1))
    row = random.standard_normal((draws, 1, length))
    x = np.ascontiguousarray(np.broadcast_to(row, (draws, rows, length)), dtypes[0])
    y = random.standard_normal((length, width) if width else length).astype(dtypes[1])
    lefts = x, np.ascontiguousarray(x.swapaxes(1, 2)).swapaxes(1, 2)
    products = (matrix_product(*pair) for pair in itertools.product(lefts, (y, np.asfortranarray(y))))
    return all((product == product[:, :1]).all() for product in products)
