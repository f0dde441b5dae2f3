"""Locks between processes: one writer at a time, and no lock outlives its process, however that ends.

The system locks an open file that is made for it and removed again. A file that a killed process left is locked by
nobody, and serves the next one.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_IN_USE = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems say that have no locks: then there is one writer because the user starts no second one."""


class Lock:
    """An exclusive lock on a file that exists for it; one object locks once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether this object has the lock."""
        return self._descriptor is not None

    def acquire(self, *, wait: bool = False) -> bool:
        """Lock, and return whether that succeeded; with `wait` it does once others have released the lock.

        Raises
        ------
        OSError
            If there can be no such file.
        """
        while True:
            descriptor = os.open(self.path, _FLAGS, 0o666)
            try:
                locked = _locked(descriptor, wait=wait)
                if locked and self._is_here(descriptor):
                    self._descriptor, descriptor = descriptor, -1
            finally:
                if descriptor >= 0:
                    os.close(descriptor)
            if self.is_held or not locked:
                return locked

    def _is_here(self, descriptor: int) -> bool:
        """Whether the file is still under its name: who held the lock before has removed the file."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(descriptor), self.path.lstat())
        return False

    def release(self) -> None:
        """Remove the file and release the lock, if it is held."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        if sys.platform == "win32":  # which removes no open file
            os.close(descriptor)
            descriptor = -1
        with suppress(OSError):
            self.path.unlink()
        if descriptor >= 0:
            os.close(descriptor)


def _locked(descriptor: int, *, wait: bool) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in _IN_USE:
            return False
        if error.errno not in _WITHOUT_LOCKS:
            raise
    return True
