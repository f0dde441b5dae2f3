"""Pipes between processes of one host that pass arrays through unnamed shared memory, where the system has it.

A socket takes a large message in pieces, for which both ends wait in turn: a question and its answer of 350 KiB each
take 1.5 ms, and 0.2 ms here. The kernel frees the memory when both processes end, however they end.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO
from itertools import accumulate
from mmap import mmap
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler, recv_handle, send_handle
from typing import Any

HAS_MEMORY = hasattr(os, "memfd_create")
ALIGNED = 64
"""Arrays begin at multiples of it."""


class SharedPipe:
    """An end of a pipe whose other end is of this class, too; each has memory that it writes, which the other reads.

    A message overwrites the one before, so an end sends again only after the other end has answered. What is received
    is a copy.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._written = self._read = memoryview(bytearray())

    def send(self, value: Any) -> None:
        """Send a value as `Connection.send` does; raises OSError if the other end is gone."""
        text, buffers = _text_and_arrays(value)
        views = [each.raw() for each in buffers]
        sizes = [view.nbytes for view in views]
        *places, size = _places(sizes)
        file = None if size <= len(self._written) else _memory(size)
        if file is not None:
            self._written = memoryview(mmap(file, size))
        for place, view in zip(places, views, strict=True):
            self._written[place : place + view.nbytes] = view
        self._send(file, (text, sizes, size))

    def _send(self, file: int | None, message: tuple[bytes, list[int], int]) -> None:
        """Send what is no array, and the file of new memory."""
        try:
            self._pipe.send((file is not None, *message))
            if file is not None:
                send_handle(self._pipe, file, None)
        finally:
            if file is not None:
                os.close(file)

    def recv(self) -> Any:
        """Wait for a value as `Connection.recv` does; raises EOFError or OSError if the other end is gone."""
        is_new, text, sizes, size = self._pipe.recv()
        if is_new:
            file = recv_handle(self._pipe)
            try:
                self._read = memoryview(mmap(file, size))
            finally:
                os.close(file)
        *places, _ = _places(sizes)
        arrays = zip(places, sizes, strict=True)
        buffers = [bytearray(self._read[place : place + size]) for place, size in arrays]
        return ForkingPickler.loads(text, buffers=buffers)

    def poll(self, timeout: float) -> bool:
        """Wait so many seconds for a value; whether there is one."""
        return self._pipe.poll(timeout)

    def close(self) -> None:
        """Close this end."""
        self._pipe.close()


def _text_and_arrays(value: Any) -> tuple[bytes, list[Any]]:
    """What a pipe sends of a value, without its arrays if there is memory for them."""
    text, buffers = BytesIO(), list[Any]()
    pickler: Any = ForkingPickler
    pickler(text, 5, True, buffers.append if HAS_MEMORY else None).dump(value)
    return text.getvalue(), buffers


def _memory(size: int) -> int:
    """The file of new memory."""
    file = os.memfd_create("graphengine")
    os.ftruncate(file, size)
    return file


def _places(sizes: Sequence[int]) -> list[int]:
    """Where arrays of these sizes begin, and where the last one ends."""
    return list(accumulate((-(-size // ALIGNED) * ALIGNED for size in sizes), initial=0))
