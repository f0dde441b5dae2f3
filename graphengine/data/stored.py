"""Arrays that stay on disk: rows are read when they are requested, a block at a time.

Rows that follow each other are read from the file. Rows in any order are gathered from a map of it, whose pages are
given back after each block, so a training takes the memory of a few blocks however large the file is. What a stored
array gives is, bit for bit, what the array in memory would give.
"""

from __future__ import annotations

import math
import mmap
import os
import threading
import weakref
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from graphengine.errors import DataError
from graphengine.limits import DEFAULT
from graphengine.ops.shapes import shape_text
from graphengine.wording import size_text

MASKED = 65_536
"""How many rows of a mask are counted together, a multiple of 8."""

RADIX = 2**16
"""Keys below it are sorted by radix, ten times as fast as NumPy compares larger ones."""

AROUND = 2**21
"""How far from a byte that is read a system may map pages, too: a huge page."""

Rows = slice | np.ndarray[Any, np.dtype[np.intp]]


@dataclass(frozen=True)
class Memory:
    """How many bytes the data of a training may take, and what they are shared out to; and in temporary files."""

    allowed: int
    on_disk: int = DEFAULT.disk_bytes

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
        """What is read at a time of data on disk in its own order: one segment is in use while the next is read."""
        return self.allowed // 16

    @property
    def window(self) -> int:
        """What is read at a time of a shuffled epoch: each window passes over the whole file, so it is large."""
        return self.allowed * 9 // 16

    @property
    def sorted_samples(self) -> int:
        """How many samples of a shuffled epoch are put in order at a time, with 40 bytes for each."""
        return max(1, self.allowed // 160)

    def require_disk(self, size: int) -> None:
        """Refuse data that would take more temporary files than they may.

        Raises
        ------
        DataError
            GE133.
        """
        if size > self.on_disk:
            message = f"the data takes more temporary files than the limit disk_bytes, {size_text(self.on_disk)}"
            raise DataError(message, code="GE133", hint="raise the limit disk_bytes")


class StoredFile:
    """A file of numbers that stays open for the arrays in it, even when its caller closes or removes it.

    It is read wherever that is as fast as a map, because a page beyond the end of a truncated file kills the process.
    Scattered rows come from a map, after a look at the size: to read all that lies between them takes twice the time.
    """

    def __init__(self, file: IO[bytes], name: str = "the temporary file of the data") -> None:
        self.pages, self.name = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), name
        self._file = os.fdopen(os.dup(file.fileno()), "rb", buffering=0)
        weakref.finalize(self, self._file.close)
        self._one_reader = threading.Lock()

    def read(self, place: int, into: np.ndarray[Any, Any]) -> None:
        """Fill an array in C order with the bytes from a place on.

        Raises
        ------
        DataError
            GE501 if the file ends before.
        """
        rest = into.reshape(-1).view(np.uint8).data
        with self._one_reader:
            self._file.seek(place)
            while rest:
                if not (count := self._file.readinto(rest)):
                    raise truncated(self.pages, self.name)
                rest = rest[count:]


class Stored:
    """An array in C order that lies in a file from `offset` on; `astype` gives it out in another dtype.

    Several arrays may share one file. If it is truncated, reading is an error with its name.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    ndim: int
    memory: Memory

    def __init__(
        self,
        file: StoredFile,
        offset: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        memory: Memory,
    ) -> None:
        self._file, self._offset, self._stored = file, offset, dtype
        self.shape, self.dtype, self.ndim, self.memory = shape, dtype, len(shape), memory
        self._row_items = math.prod(shape[1:])
        self._rows = shape[0]
        self._chosen: Chosen | None = None
        self._class: type[np.ndarray[Any, Any]] = np.ndarray

    def __len__(self) -> int:
        return self.shape[0]

    def astype(self, dtype: np.dtype[Any]) -> Stored:
        """The array with its numbers given out in another dtype, which is known to have them."""
        part = copy(self)
        part.dtype = dtype
        return part

    def view(self, kind: type[np.ndarray[Any, Any]]) -> Stored:
        """The array with its rows given out as arrays of a class."""
        part = copy(self)
        part._class = kind
        return part

    def chosen(self, rows: Chosen) -> Stored:
        """The array of some rows, which stay where they are."""
        part = copy(self)
        part._chosen = rows if self._chosen is None else self._chosen.among(rows)
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
        """Rows as an array in memory: a slice without a step, or rows by their numbers in any order.

        Raises
        ------
        DataError
            GE501 if the file was truncated.
        """
        if self._chosen is not None:
            return self._gather(self._chosen.rows(rows)).view(self._class)
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            return self._run(start, max(start, stop)).view(self._class)
        return self._gather(rows).view(self._class)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """Refuse to become an array in memory unasked.

        Raises
        ------
        DataError
            GE133.
        """
        message = f"an array of shape {shape_text(self.shape)} is on disk, because its data is too large for memory"
        raise DataError(message, code="GE133", hint="take rows of it, array[:1000], or raise the limit data_bytes")

    def _run(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        """Rows that follow each other."""
        found = np.empty((stop - start, *self.shape[1:]), self.dtype)
        if self.dtype == self._stored:
            self._file.read(self._place(start), found)
            return found
        at_once = self.rows_per_block
        block = np.empty((min(at_once, stop - start), *self.shape[1:]), self._stored)
        for first in range(start, stop, at_once):
            part = block[: min(at_once, stop - first)]
            self._file.read(self._place(first), part)
            found[first - start : first - start + len(part)] = part
        return found

    def _gather(self, rows: np.ndarray[Any, np.dtype[np.intp]]) -> np.ndarray[Any, Any]:
        """Rows by number, read block by block in the order of the file: never more pages at once than a block has."""
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        at_once = self.rows_per_block
        for block, places in _grouped(rows // at_once):
            start, stop = block * at_once, min((block + 1) * at_once, self._rows)
            found[places] = self._mapped(start, stop).take(rows[places] - start, axis=0)
            release(self._file.pages, self._place(start), self._place(stop))
        return found

    def _mapped(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        require_whole(self._file.pages, self._file.name)
        place = self._place(start)
        count = (stop - start) * self._row_items
        return np.frombuffer(self._file.pages, self._stored, count, place).reshape(stop - start, *self.shape[1:])

    def _place(self, row: int) -> int:
        """Where a row begins in the file."""
        return self._offset + row * self._row_items * self._stored.itemsize


class Chosen:
    """The rows where a mask is true, by their numbers among these: a bit for each row there is, and no numbers."""

    def __init__(self, mask: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        counts = [np.count_nonzero(mask[start : start + MASKED]) for start in range(0, len(mask), MASKED)]
        self._before = np.cumsum([0, *counts])
        """How many rows are chosen before each block of the mask."""
        self._bits = np.packbits(mask)

    def __len__(self) -> int:
        return int(self._before[-1])

    def among(self, chosen: Chosen) -> Chosen:
        """The rows that are chosen among these: its numbers are theirs."""
        mask = np.unpackbits(self._bits).view(np.bool_)
        mask[mask] = np.unpackbits(chosen._bits, count=len(self)).view(np.bool_)
        return Chosen(mask)

    def rows(self, numbers: Rows) -> np.ndarray[Any, np.dtype[np.intp]]:
        """The rows that have these numbers."""
        if isinstance(numbers, slice):
            numbers = np.arange(*numbers.indices(len(self)))
        found = np.empty(len(numbers), np.intp)
        for block, places in _grouped(np.searchsorted(self._before, numbers, "right") - 1):
            start = block * MASKED
            chosen = np.flatnonzero(np.unpackbits(self._bits[start // 8 : (start + MASKED) // 8]))
            found[places] = start + chosen[numbers[places] - self._before[block]]
        return found


def _grouped(keys: np.ndarray[Any, np.dtype[np.intp]]) -> Iterator[tuple[int, np.ndarray[Any, np.dtype[np.intp]]]]:
    """The places of each key there is, the least first."""
    if len(keys) and keys.max() < RADIX:
        keys = keys.astype(np.uint16)
    order = np.argsort(keys, kind="stable")
    edges = np.flatnonzero(np.diff(keys[order])) + 1
    for places in np.split(order, edges):
        if len(places):
            yield int(keys[places[0]]), places


def require_whole(pages: mmap.mmap, name: str) -> None:
    """Refuse a mapped file that was truncated: reading past its end would kill the process.

    Raises
    ------
    DataError
        GE501.
    """
    if pages.size() < len(pages):
        raise truncated(pages, name)


def truncated(pages: mmap.mmap, name: str) -> DataError:
    """The error of a file that has become shorter than its map."""
    left, was = size_text(pages.size()), size_text(len(pages))
    message = f"the file was truncated while it was in use: {left} are left of {was}"
    return DataError(message, hint="write data to a new file, and rename it when it is complete", file=name)


def release(pages: mmap.mmap, start: int = 0, stop: int | None = None) -> None:
    """Give back the memory of a map from `start` to `stop`; what is read again comes from the cache of the system.

    Only around the part that was read: the system visits each page, so the whole file after each block is quadratic.
    """
    if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows, which trims on its own
        first = max(0, start - AROUND) // mmap.PAGESIZE * mmap.PAGESIZE
        last = len(pages) if stop is None else min(len(pages), stop + AROUND)
        pages.madvise(mmap.MADV_DONTNEED, first, last - first)


def in_memory(array: Any) -> np.ndarray[Any, Any]:
    """An array, read as a whole if it is stored."""
    return array[:] if isinstance(array, Stored) else np.asanyarray(array)


def blocks_of(array: Any) -> Iterator[np.ndarray[Any, Any]]:
    """The rows of an array, a block at a time if it is stored; an array in memory as it is."""
    if not isinstance(array, Stored):
        yield np.asarray(array)
        return
    for start in range(0, len(array), array.rows_per_block):
        yield array[start : start + array.rows_per_block]
