"""BLAS with one thread: it cuts a product among its threads, and where it cuts may change the last bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any


class _Users:
    """Those who need one thread at the moment; the first one limits BLAS, and the last one lifts the limit."""

    def __init__(self) -> None:
        self._lock, self.count = Lock(), 0
        self._limited: list[tuple[Any, int]] = []
        """The libraries that had more threads, with how many."""

    def enter(self) -> None:
        with self._lock:
            if not self.count:
                self._limited = _of_several_threads()
                for each, _ in self._limited:
                    each.set_num_threads(1)
            self.count += 1

    def leave(self) -> None:
        with self._lock:
            self.count -= 1
            if not self.count:
                for each, count in self._limited:
                    each.set_num_threads(count)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let BLAS use one thread, in all threads of this process, until the last one leaves."""
    _USERS.enter()
    try:
        yield
    finally:
        _USERS.leave()


def is_limited() -> bool:
    """Return whether BLAS uses one thread because somebody needs that."""
    return _USERS.count > 0


@cache
def _libraries() -> list[Any]:
    """The libraries of BLAS that are loaded; finding them takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    return [each for each in ThreadpoolController().lib_controllers if each.user_api == "blas"]


def _of_several_threads() -> list[tuple[Any, int]]:
    """The libraries that may use several threads, with how many."""
    threads = [(each, each.get_num_threads()) for each in _libraries()]
    return [(each, count) for each, count in threads if count not in (None, 1)]


_USERS = _Users()
