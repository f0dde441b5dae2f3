"""Pipes between processes of one host that pass arrays through unnamed shared memory, where the system has it.

A socket takes a large message in pieces, for which both ends wait in turn: a question and its answer of 350 KiB each
take 1.5 ms, and 0.2 ms here. The kernel frees the memory when both processes end, however they end.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import accumulate
from mmap import mmap
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any


def _has_memory() -> bool:
    """Whether the system has such memory, and lets this process have it."""
    try:
        os.close(os.memfd_create("graphengine"))
    except (AttributeError, OSError):
        return False
    return True


HAS_MEMORY = _has_memory()
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
        file = None
        if size > len(self._written):
            file, self._written = _memory(size)
        for place, view in zip(places, views, strict=True):
            self._written[place : place + view.nbytes] = view
        self._send(file, (text, sizes, size))

    def _send(self, file: int | None, message: tuple[bytes, list[int], int]) -> None:
        """Send what is no array, and the file of new memory."""
        try:
            self._pipe.send((file is not None, *message))
            if file is not None:
                with _as_socket(self._pipe) as own:
                    socket.send_fds(own, [b"m"], [file])
        finally:
            if file is not None:
                os.close(file)

    def recv(self) -> Any:
        """Wait for a value as `Connection.recv` does; raises EOFError or OSError if the other end is gone."""
        is_new, text, sizes, size = self._pipe.recv()
        if is_new:
            with _as_socket(self._pipe) as own:
                _, files, _, _ = socket.recv_fds(own, 1, 1)
            if not files:
                raise EOFError
            (file,) = files
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


@contextmanager
def _as_socket(pipe: Connection) -> Iterator[socket.socket]:
    """A pipe as a socket, which blocks: with the default timeout of a program, reads of the pipe itself would not."""
    with socket.fromfd(pipe.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as own:
        own.settimeout(None)
        yield own


def _memory(size: int) -> tuple[int, memoryview]:
    """New memory, as a file and as what it has."""
    file = os.memfd_create("graphengine")
    try:
        os.ftruncate(file, size)
        return file, memoryview(mmap(file, size))
    except BaseException:
        os.close(file)
        raise


def _places(sizes: Sequence[int]) -> list[int]:
    """Where arrays of these sizes begin, and where the last one ends."""
    return list(accumulate((-(-size // ALIGNED) * ALIGNED for size in sizes), initial=0))
