"""Writing a file as a whole: at no time is there half a file, and an old one stays until the new one is safe.

The new content goes to a temporary file in the same folder, onto the disk, and then under its name, in one step.
Everything that this package writes is written here.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from graphengine.errors import GraphEngineError

_WITHIN = os.open in os.supports_dir_fd and hasattr(os, "O_DIRECTORY")
"""Whether this system opens names within an open folder, and lets a folder be synced."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file.

    Raises
    ------
    GraphEngineError
        GE101 if the file cannot be written, GE504 if the path names something other than a plain file; an old file
        is then untouched.
    """
    path = Path(path)
    with _told(path), _folder_of(path) as folder:
        _replace(path.parent, path.name, folder, data)


def check_target(path: str | Path) -> None:
    """Refuse a file that could not be written, before the work whose result it is to hold; raises as `write_bytes`."""
    path = Path(path)
    with _told(path), _folder_of(path) as folder:
        _mode_of(path, path.name if folder is not None else str(path), folder)
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tell what the system refuses as an error that names the file."""
    try:
        yield
    except (OSError, ValueError) as error:
        lacking = isinstance(error, FileNotFoundError) and f"there is no folder '{path.parent}'"
        reason = lacking or getattr(error, "strerror", None) or error
        raise GraphEngineError(f"cannot write the file: {reason}", code="GE101", file=str(path)) from error


@contextmanager
def _folder_of(path: Path) -> Iterator[int | None]:
    """The open folder of a file; None where the system does not open names within a folder."""
    if not _WITHIN:
        path.parent.stat()
        yield None
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield folder
    finally:
        os.close(folder)


def _replace(parent: Path, name: str, folder: int | None, data: bytes) -> None:
    """Write the file `name` in `parent`, which is open as `folder` where the system has that."""

    def place(of: str) -> str:
        return of if folder is not None else str(parent / of)

    mode = _mode_of(parent / name, place(name), folder)
    temporary = f".{name[:100]}.{secrets.token_hex(8)}.tmp"
    descriptor = os.open(place(temporary), _NEW, 0o666 if mode is None else 0o600, dir_fd=folder)
    try:
        try:
            if mode is not None and hasattr(os, "fchmod"):
                os.fchmod(descriptor, mode)
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(place(temporary), place(name), src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:  # an interruption, too, leaves no temporary file behind
        with suppress(OSError):
            os.unlink(place(temporary), dir_fd=folder)
        raise
    if folder is not None:
        os.fsync(folder)


def _write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes; the system may take fewer at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _mode_of(path: Path, name: str, folder: int | None) -> int | None:
    """The permissions of the file that is there; None if there is none, and the user's mask decides."""
    try:
        seen = os.stat(name or ".", dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(seen.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(seen.st_mode) else "not a plain file"
        raise GraphEngineError(f"the path is {what}", code="GE504", hint="name a plain file", file=str(path))
    return stat.S_IMODE(seen.st_mode)
