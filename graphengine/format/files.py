"""Writing a file as a whole: at no time is there half a file, and an old one stays until the new one is safe.

The new content goes to a temporary file in the same folder, onto the disk, and then under its name, in one step. A log
grows instead, by whole lines. Everything that this package writes is written here.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from graphengine.errors import GraphEngineError

_WITHIN = os.open in os.supports_dir_fd and hasattr(os, "O_DIRECTORY")
"""Whether this system opens names within an open folder, and lets a folder be synced."""
_OURS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NEW = os.O_CREAT | os.O_EXCL | _OURS
_GROWING = os.O_RDWR | os.O_APPEND | _OURS
_AS_SEEN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""What was a plain file when it was looked at may be a link or a pipe when it is opened."""
_LONGEST_LINE = 2**16
_TEMPORARY = re.compile(r"\.(.*)\.[0-9a-f]{16}\.tmp", re.DOTALL)
"""The name of a temporary file, as `_replace` makes it."""


def write_bytes(path: str | Path, *parts: bytes | memoryview) -> None:
    """Write a file that has these parts, one after the other; raises as `write_parts`."""
    write_parts(path, parts)


def write_parts(path: str | Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write a file part by part, as they are made.

    Raises
    ------
    GraphEngineError
        GE101 if the file cannot be written, GE504 if the path names something other than a plain file; what `parts`
        raises. An old file is then untouched.
    """
    path = Path(path)
    with writing(path), _folder_of(path) as folder:
        _replace(path.parent, path.name, folder, parts)


def leftovers(paths: Iterable[str | Path]) -> list[Path]:
    """Return the temporary files that a process left when it was killed while it wrote one of these files."""
    names: dict[Path, set[str]] = {}
    for path in map(Path, paths):
        names.setdefault(path.parent, set()).add(path.name[:100])
    return [
        entry
        for folder, own in names.items()
        if folder.is_dir()
        for entry in folder.iterdir()
        if _is_temporary(entry.name, own)
    ]


def _is_temporary(entry: str, names: Collection[str]) -> bool:
    """Whether an entry of a folder is a temporary file of one of these names."""
    found = _TEMPORARY.fullmatch(entry)
    return found is not None and found[1] in names


def check_target(path: str | Path) -> None:
    """Refuse a file that could not be written, before the work whose result it is to hold; raises as `write_bytes`."""
    path = Path(path)
    with writing(path), _folder_of(path) as folder:
        _plain(path, path.name if folder is not None else str(path), folder)
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@contextmanager
def appending(path: str | Path, is_own: Callable[[bytes], bool]) -> Iterator[Callable[[bytes], None]]:
    """A function that adds a line to a file, whole or not at all; the file is new, or its first line `is_own`.

    Raises
    ------
    GraphEngineError
        GE101 if the file cannot be written, when it is opened or later; GE504 if the path names something other than a
        plain file with one name, or a file of another kind. What was there is then untouched.
    """
    path = Path(path)
    with writing(path), _folder_of(path) as folder:
        descriptor = _opened_to_grow(path, path.name if folder is not None else str(path), folder, is_own)

    def add(line: bytes) -> None:
        with writing(path):
            _add(descriptor, line + b"\n")

    try:
        yield add
    finally:
        os.close(descriptor)


def _opened_to_grow(path: Path, name: str, folder: int | None, is_own: Callable[[bytes], bool]) -> int:
    seen = _plain(path, name, folder)
    if seen is None:
        return os.open(name, _GROWING | _NEW, 0o666, dir_fd=folder)
    descriptor = os.open(name, _GROWING | _AS_SEEN, dir_fd=folder)
    try:
        opened = os.fstat(descriptor)
        _refuse_shared(path, opened, seen)
        if opened.st_size:
            _continue_own(path, descriptor, is_own)
    except BaseException:  # Ctrl-C, too, leaves nothing open
        os.close(descriptor)
        raise
    return descriptor


def _refuse_shared(path: Path, opened: os.stat_result, seen: os.stat_result) -> None:
    """Refuse a file that was exchanged, or that has another name, under which someone else would find the lines."""
    if not os.path.samestat(opened, seen):
        raise _refused(path, "was replaced while it was opened")
    if opened.st_nlink > 1:
        raise _refused(path, "is a hard link: another file would change with it")


def _continue_own(path: Path, descriptor: int, is_own: Callable[[bytes], bool]) -> None:
    """Refuse a file of another kind, and end the line that a system went down with."""
    if not is_own(os.read(descriptor, _LONGEST_LINE).split(b"\n", 1)[0]):
        raise _refused(path, "names a file that is not a log; nothing was appended")
    os.lseek(descriptor, -1, os.SEEK_END)
    if os.read(descriptor, 1) != b"\n":
        _add(descriptor, b"\n")


def _add(descriptor: int, data: bytes) -> None:
    """Write all bytes at the end of a file, or none of them."""
    end = os.fstat(descriptor).st_size
    try:
        _write_all(descriptor, data)
    except BaseException:  # Ctrl-C, too, leaves no half a line
        with suppress(OSError):
            os.ftruncate(descriptor, end)
        raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise what the system refuses, while a file is written, as an error with its name.

    Raises
    ------
    GraphEngineError
        GE101.
    """
    try:
        yield
    except GraphEngineError:  # some are ValueErrors, too
        raise
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


def _replace(parent: Path, name: str, folder: int | None, parts: Iterable[bytes | memoryview]) -> None:
    """Write the file `name` in `parent`, which is open as `folder` where the system has that."""

    def place(of: str) -> str:
        return of if folder is not None else str(parent / of)

    seen = _plain(parent / name, place(name), folder)
    temporary = f".{name[:100]}.{secrets.token_hex(8)}.tmp"
    descriptor = os.open(place(temporary), os.O_WRONLY | _NEW, 0o600 if seen else 0o666, dir_fd=folder)
    try:
        _fill(descriptor, seen, parts)
        os.replace(place(temporary), place(name), src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:  # an interruption, too, leaves no temporary file
        with suppress(OSError):
            os.unlink(place(temporary), dir_fd=folder)
        raise
    if folder is not None:
        os.fsync(folder)


def _fill(descriptor: int, seen: os.stat_result | None, parts: Iterable[bytes | memoryview]) -> None:
    """Write a new file onto the disk and close it; who may use it, it has from the one that it replaces."""
    try:
        if seen is not None and hasattr(os, "fchmod"):
            _keep_owner(descriptor, seen)
            os.fchmod(descriptor, stat.S_IMODE(seen.st_mode))
        for part in parts:
            _write_all(descriptor, part)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _keep_owner(descriptor: int, seen: os.stat_result) -> None:
    """Give a new file the owner and group of the one that it replaces, as far as the system allows."""
    new = os.fstat(descriptor)
    if seen.st_gid != new.st_gid:
        with suppress(OSError):
            os.fchown(descriptor, -1, seen.st_gid)
    if seen.st_uid != new.st_uid:
        with suppress(OSError):
            os.fchown(descriptor, seen.st_uid, -1)


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all bytes; the system may take fewer at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _plain(path: Path, name: str, folder: int | None) -> os.stat_result | None:
    """What is known of the plain file that is there; None if there is none."""
    try:
        seen = os.stat(name or ".", dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(seen.st_mode):
        raise _refused(path, "is a symbolic link" if stat.S_ISLNK(seen.st_mode) else "is not a plain file")
    return seen


def _refused(path: Path, why: str) -> GraphEngineError:
    return GraphEngineError(f"the path {why}", code="GE504", hint="name another file", file=str(path))
