"""Arrays that stay on disk: rows are read when they are asked for, a block at a time.

A stored array is mapped into memory, and after each block its pages are given back, so a training takes the memory of
a few blocks however large the file is. What it gives is, bit for bit, what the array in memory would give.
"""

from __future__ import annotations

import itertools
import math
import mmap
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

Rows = slice | np.ndarray[Any, np.dtype[np.intp]]


@dataclass(frozen=True)
class Memory:
    """How many bytes the data of a training may take, and what they are shared out to."""

    allowed: int

    @property
    def whole(self) -> int:
        """What all arrays of a source may have in memory: validation data and a shuffled epoch take as much again."""
        return self.allowed // 4

    @property
    def block(self) -> int:
        """What a file is read in: several blocks are held at once where numbers are decoded or put side by side."""
        return self.allowed // 32

    @property
    def segment(self) -> int:
        """What is read at a time of data that is on disk: one segment is in use while the next is read."""
        return self.allowed // 16

    @property
    def sorted_samples(self) -> int:
        """How many samples of a shuffled epoch are put in order at a time, with 40 bytes for each."""
        return max(1, self.allowed // 160)


class Stored:
    """An array in C order that lies in a mapped file from `offset` on and is given out in another dtype, `dtype`.

    The file may be closed, and even removed, once it is mapped; several arrays may share one map.
    """

    def __init__(
        self,
        pages: mmap.mmap,
        offset: int,
        shape: tuple[int, ...],
        stored: np.dtype[Any],
        dtype: np.dtype[Any],
        memory: Memory,
    ) -> None:
        self._pages, self._offset, self._stored = pages, offset, stored
        self.shape, self.dtype, self.ndim, self.memory = shape, dtype, len(shape), memory
        self._row_items = math.prod(shape[1:])
        self._rows = shape[0]
        self._chosen: np.ndarray[Any, np.dtype[np.intp]] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def chosen(self, rows: np.ndarray[Any, np.dtype[np.intp]]) -> Stored:
        """The array of some rows, which stay where they are."""
        part = copy(self)
        part._chosen = rows if self._chosen is None else self._chosen[rows]
        part.shape = (len(rows), *self.shape[1:])
        return part

    @property
    def row_bytes(self) -> int:
        """The memory that a row takes at most."""
        return self._row_items * max(self._stored.itemsize, self.dtype.itemsize)

    @property
    def rows_per_block(self) -> int:
        """The number of rows that are read at a time."""
        return max(1, self.memory.segment // max(self.row_bytes, 1))

    def __getitem__(self, rows: Rows) -> np.ndarray[Any, Any]:
        """Rows as an array in memory: a slice without a step, or rows by their numbers in any order."""
        if self._chosen is not None:
            return self._gather(self._chosen[rows])
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            return self._run(start, max(start, stop))
        return self._gather(rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return self[:].astype(dtype or self.dtype, copy=False)

    def _run(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        """Rows that follow each other."""
        found = np.empty((stop - start, *self.shape[1:]), self.dtype)
        at_once = self.rows_per_block
        for first in range(start, stop, at_once):
            last = min(first + at_once, stop)
            found[first - start : last - start] = self._mapped(first, last)
            self._release()
        return found

    def _gather(self, rows: np.ndarray[Any, np.dtype[np.intp]]) -> np.ndarray[Any, Any]:
        """Rows by number, read block by block in the order of the file: never more pages at once than a block has."""
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        order, at_once = np.argsort(rows, kind="stable"), self.rows_per_block
        blocks = rows[order] // at_once
        edges = [0, *(np.flatnonzero(np.diff(blocks)) + 1).tolist(), len(rows)]
        for first, last in itertools.pairwise(edges):
            places = order[first:last]
            if len(places):
                start = int(blocks[first]) * at_once
                found[places] = self._mapped(start, min(start + at_once, self._rows))[rows[places] - start]
                self._release()
        return found

    def _mapped(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        place = self._offset + start * self._row_items * self._stored.itemsize
        count = (stop - start) * self._row_items
        return np.frombuffer(self._pages, self._stored, count, place).reshape(stop - start, *self.shape[1:])

    def _release(self) -> None:
        release(self._pages)


def release(pages: mmap.mmap) -> None:
    """Give back the memory of a map; what is read again comes from the system's cache of the file."""
    if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows, which trims on its own
        pages.madvise(mmap.MADV_DONTNEED)


def blocks_of(array: Any) -> Iterator[np.ndarray[Any, Any]]:
    """The rows of an array, a block at a time if it is stored; an array in memory as it is."""
    if not isinstance(array, Stored):
        yield np.asarray(array)
        return
    for start in range(0, len(array), array.rows_per_block):
        yield array[start : start + array.rows_per_block]
