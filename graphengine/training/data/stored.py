"""Arrays that stay on disk: rows are read when they are asked for, in blocks of a few megabytes.

A stored array is mapped into memory, and after each read its pages are given back, so a training takes the memory of a
block however large the file is. What it gives is, bit for bit, what the array in memory would give.
"""

from __future__ import annotations

import math
import mmap
import tempfile
from collections.abc import Iterator
from copy import copy
from typing import IO, Any

import numpy as np

from graphengine.binding import as_input
from graphengine.shapes import ArrayType

IN_MEMORY_BYTES = 256 * 2**20
"""An array of at most this many bytes is read into memory as a whole."""
BLOCK_BYTES = 4 * 2**20
"""How much of a stored array is read at a time."""

Rows = slice | np.ndarray[Any, np.dtype[np.intp]]


class Stored:
    """An array in C order that begins at `offset` of a file and is given out in the type that an input declares.

    The file may be closed, and even removed, once the array is made.
    """

    def __init__(
        self, file: IO[bytes], offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], name: str, kind: ArrayType
    ) -> None:
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._offset, self._stored = offset, dtype
        self._name, self._kind = name, kind
        self.shape, self.dtype, self.ndim = shape, kind.array_dtype, len(shape)
        self._row_bytes = math.prod(shape[1:]) * dtype.itemsize
        self._rows = shape[0]
        self._chosen: np.ndarray[Any, np.dtype[np.intp]] | None = None
        as_input(name, np.empty(0, dtype), kind)

    def __len__(self) -> int:
        return self.shape[0]

    def chosen(self, rows: np.ndarray[Any, np.dtype[np.intp]]) -> Stored:
        """The array of some rows, which stay where they are."""
        part = copy(self)
        part._chosen = rows if self._chosen is None else self._chosen[rows]
        part.shape = (len(rows), *self.shape[1:])
        return part

    @property
    def rows_per_block(self) -> int:
        """The number of rows that are read at a time."""
        return max(1, BLOCK_BYTES // max(self._row_bytes, 1))

    def __getitem__(self, rows: Rows) -> np.ndarray[Any, Any]:
        """Rows as an array in memory: a slice without a step, or rows by their numbers in any order."""
        if self._chosen is not None:
            found = self._gather(self._chosen[rows])
        elif isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            found = self._read(start, max(start, stop)).copy()
            self._release()
        else:
            found = self._gather(rows)
        return np.asarray(as_input(self._name, found, self._kind))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return self[:].astype(dtype or self.dtype, copy=False)

    def _read(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        shape = (stop - start, *self.shape[1:])
        place = self._offset + start * self._row_bytes
        return np.frombuffer(self._map, self._stored, math.prod(shape), place).reshape(shape)

    def _gather(self, rows: np.ndarray[Any, np.dtype[np.intp]]) -> np.ndarray[Any, Any]:
        """Rows by number, read block by block in the order of the file: never more pages at once than a block has."""
        found = np.empty((len(rows), *self.shape[1:]), self._stored)
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        for start in range(0, self._rows, self.rows_per_block):
            stop = min(start + self.rows_per_block, self._rows)
            places = order[np.searchsorted(ordered, start) : np.searchsorted(ordered, stop)]
            if len(places):
                found[places] = self._read(start, stop)[rows[places] - start]
                self._release()
        return found

    def _release(self) -> None:
        """Give back the pages that were read; what is read again comes from the system's cache of the file."""
        if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows, which trims on its own
            self._map.madvise(mmap.MADV_DONTNEED)


class Spool:
    """Takes an array in blocks of rows, of a known number: into memory if it is small, else into a nameless file."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], name: str, kind: ArrayType) -> None:
        self._shape, self._dtype, self._name, self._kind = shape, dtype, name, kind
        self._rows = 0
        self._array: np.ndarray[Any, Any] | None = None
        self._file: IO[bytes] | None = None
        if math.prod(shape) * dtype.itemsize <= IN_MEMORY_BYTES:
            self._array = np.empty(shape, dtype)
        else:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - `finish` closes it

    def write(self, block: np.ndarray[Any, Any]) -> None:
        """Add rows."""
        if self._array is not None:
            self._array[self._rows : self._rows + len(block)] = block
        else:
            assert self._file is not None
            self._file.write(np.ascontiguousarray(block, self._dtype).data)
        self._rows += len(block)

    def finish(self) -> np.ndarray[Any, Any] | Stored:
        """The array, once all its rows are there."""
        if self._file is None:
            return np.asarray(as_input(self._name, self._array, self._kind))
        with self._file:
            self._file.flush()
            return Stored(self._file, 0, self._shape, self._dtype, self._name, self._kind)


def blocks(array: Any) -> Iterator[np.ndarray[Any, Any]]:
    """The rows of an array, a block at a time if it is stored; an array in memory as it is."""
    if not isinstance(array, Stored):
        yield np.asarray(array)
        return
    for start in range(0, len(array), array.rows_per_block):
        yield array[start : start + array.rows_per_block]
