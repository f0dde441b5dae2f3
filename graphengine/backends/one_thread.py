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
        self._lock, self._count = Lock(), 0
        self._limit: Any = None

    def enter(self) -> None:
        with self._lock:
            if not self._count:
                self._limit = _controller().limit(limits=1, user_api="blas")
            self._count += 1

    def leave(self) -> None:
        with self._lock:
            self._count -= 1
            if not self._count:
                self._limit.restore_original_limits()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let BLAS use one thread, in all threads of this process, until the last one leaves."""
    _USERS.enter()
    try:
        yield
    finally:
        _USERS.leave()


@cache
def _controller() -> Any:
    """What knows the libraries of BLAS that are loaded; finding them takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


_USERS = _Users()
