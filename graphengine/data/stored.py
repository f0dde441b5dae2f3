"""From blocks of rows to arrays, which stay on disk if they are too large for memory.

Whatever reads a file gives blocks, one array for each input. A `Spool` joins them, in memory or in files of plain
numbers without a name, which go with the arrays, however the process ends. Nothing is decoded twice.

Of a `Stored` array rows are read when they are requested, a block at a time. Rows that follow each other are read from
the file. Rows in any order are gathered from a map of it, whose pages are given back after each block, so a training
takes the memory of a few blocks however large the file is. What a stored array gives is, bit for bit, what the array in
memory would give.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass
from typing import IO, Any, TypeAlias

import numpy as np

from graphengine.data.chosen import Chosen, Rows, grouped_places
from graphengine.errors import DataError
from graphengine.ir.binding import as_input
from graphengine.ir.graph import Graph
from graphengine.limits import DEFAULT
from graphengine.ops.shapes import shape_text
from graphengine.wording import size_text

AROUND = 2**21
"""How far from a byte that is read a system may map pages, too: a huge page."""

Block: TypeAlias = Mapping[str, np.ndarray[Any, Any]]
"""Rows of some inputs, which follow those of the block before."""

Arrays: TypeAlias = "dict[str, np.ndarray[Any, Any] | Stored]"
"""Arrays by input, in memory or on disk."""


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


def spooled(source: Iterable[Block], graph: Graph, memory: Memory) -> Arrays:
    """The arrays that the blocks of a source make, by input.

    Raises
    ------
    InputError
        GE404 for numbers that do not fit their input, GE406 for what is none of its categories.
    DataError
        GE101 if there is no room for them on disk, GE133 if they may not take so much of it.
    """
    with Spool(graph, memory) as spool:
        for block in source:
            spool.add(block)
        return spool.arrays()


class Spool:
    """Takes blocks, and gives arrays at the end: of more than a quarter of the allowed memory such as stay on disk."""

    def __init__(self, graph: Graph, memory: Memory) -> None:
        self._inputs, self._memory = graph.inputs, memory
        self._kept: dict[str, _GrowingRows] = {}
        self._rows: dict[str, int] = {}
        self._bytes = 0
        self._files: dict[str, IO[bytes]] = {}
        self._open = ExitStack()

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, block: Block) -> None:
        """Take the next rows."""
        for name, array in block.items():
            typed = as_input(name, array, self._inputs[name])
            if name not in self._kept:
                self._kept[name] = _GrowingRows(typed)
            self._kept[name].add(typed)
            self._rows[name] = self._rows.get(name, 0) + len(typed)
            self._bytes += typed.nbytes
        if self._bytes > self._memory.whole:
            self._memory.require_disk(self._bytes)
            self._write()

    def _write(self) -> None:
        """Move what is kept to disk."""
        for name, kept in self._kept.items():
            if name not in self._files:
                self._files[name] = self._open.enter_context(scratch_file())
            append(self._files[name], kept.taken())

    def arrays(self) -> Arrays:
        """All rows, by input."""
        return {name: self._stored(name) if name in self._files else self._kept[name].whole() for name in self._kept}

    def _stored(self, name: str) -> np.ndarray[Any, Any] | Stored:
        like = self._kept[name].taken()
        shape = (self._rows[name], *like.shape[1:])
        if 0 in shape:
            return np.empty(shape, like.dtype)
        return Stored(kept_open(self._files[name]), 0, shape, like.dtype, self._memory)


class _GrowingRows:
    """Rows in one array that grows in place: blocks that are joined at the end take twice the memory."""

    def __init__(self, like: np.ndarray[Any, Any]) -> None:
        self._array, self._kind, self._count = np.empty((0, *like.shape[1:]), like.dtype), type(like), 0

    def add(self, block: np.ndarray[Any, Any]) -> None:
        """Copy the next rows, which have the shape and dtype of the first ones."""
        end = self._count + len(block)
        if end > len(self._array):  # an eighth more than is needed, so that few systems copy the rows often
            self._resize(max(end, len(self._array) * 9 // 8))
        np.concatenate([block], out=self._array[self._count : end])
        self._count = end

    def _resize(self, rows: int) -> None:
        self._array.resize((rows, *self._array.shape[1:]), refcheck=False)

    def taken(self) -> np.ndarray[Any, Any]:
        """The rows so far; those that are added next overwrite them."""
        count, self._count = self._count, 0
        return self._array[:count]

    def whole(self) -> np.ndarray[Any, Any]:
        """All rows; none can be added after them."""
        self._resize(self._count)
        return self._array.view(self._kind)


@contextmanager
def _faults() -> Iterator[None]:
    """Report what goes wrong with a file that the user has not named."""
    try:
        yield
    except OSError as error:
        message = f"the data is larger than the memory limit, and a temporary file for it cannot be written: {error}"
        hint = "let TMPDIR name a folder on a disk with more room, or raise the limit data_bytes"
        raise DataError(message, code="GE101", hint=hint) from error


def scratch_file() -> IO[bytes]:
    """A nameless file."""
    with _faults():
        return tempfile.TemporaryFile(buffering=0)


def append(file: IO[bytes], array: np.ndarray[Any, Any]) -> None:
    """Write all numbers of an array in C order; a system may take fewer bytes than it is given, so to the last one."""
    rest = array.reshape(-1).view(np.uint8).data
    with _faults():
        while rest:
            rest = rest[file.write(rest) :]


def kept_open(file: IO[bytes]) -> StoredFile:
    """A file whose numbers are read from now on."""
    with _faults():
        return StoredFile(file)


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
        for block, places in grouped_places(rows // at_once):
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
