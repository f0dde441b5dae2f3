"""The one way from a source of data to arrays: blocks of rows are kept in memory, or on disk if they are too many.

Whatever reads a file gives blocks, one array for each input. On disk they are plain numbers of the dtype that the input
declares, so that each epoch reads them in any order and nothing is decoded twice. The files there have no name: they go
with the arrays, however the process ends.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import IO, Any, TypeAlias

import numpy as np

from graphengine.data.stored import Memory, Stored, StoredFile
from graphengine.errors import DataError
from graphengine.ir.binding import as_input
from graphengine.ir.graph import Graph

Block: TypeAlias = Mapping[str, np.ndarray[Any, Any]]
"""Rows of some inputs, which follow those of the block before."""


def spooled(source: Iterable[Block], graph: Graph, memory: Memory) -> dict[str, np.ndarray[Any, Any] | Stored]:
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

    def arrays(self) -> dict[str, np.ndarray[Any, Any] | Stored]:
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
