"""Paths in a file: plain names inside the folder of the file, and nothing else.

A path is followed name by name, each opened within the folder before it and never through a symbolic link, and what
was opened is what was looked at. So nothing is gained by exchanging a file or a folder meanwhile.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, TypeAlias

from graphengine.errors import DataError

PACKAGE = Path(__file__).parents[1]

_WITHIN = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
"""Whether this system opens a name within an open folder; where not, each name is looked at before it is opened."""
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_FILE = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)

NOT_PLAIN: Final = "is not a plain relative path inside the model's folder"
HOW_TO_WRITE = 'write it like "data/train.csv"'


@dataclass(frozen=True)
class ConfinedFile:
    """A file that a path in a model file names, relative to the model's folder; it is looked at when it is opened."""

    folder: Path
    name: str

    def __str__(self) -> str:
        return str(self.folder / self.name)

    def open(self, mode: str = "r", *, newline: str | None = None, encoding: str | None = None) -> IO[Any]:
        """Open the file for reading.

        Raises
        ------
        DataError
            GE501 if there is no such file or it cannot be read; GE504 if its path goes through a symbolic link, or
            what it names is not a plain file of a single name.
        """
        return os.fdopen(_opened(self.folder, self.name), mode, newline=newline, encoding=encoding)


DataFile: TypeAlias = Path | ConfinedFile
"""A file to read data from: one that the caller names, or one that a model file names."""


def confined(folder: Path, name: str) -> ConfinedFile:
    """The file that a path in a model file names.

    Raises
    ------
    DataError
        GE504 if the path is not plain and relative, or leaves the folder.
    """
    if not is_plain(name):
        raise DataError(f"path {name!r} {NOT_PLAIN}", code="GE504", hint=HOW_TO_WRITE)
    return ConfinedFile(folder, name)


def is_plain(name: str) -> bool:
    """Whether a path is relative, in the same spelling on all systems, and leaves its folder nowhere."""
    parts = PurePosixPath(name).parts
    letters = re.fullmatch(r"[^\x00-\x1f\x7f\\:]+", name)
    return bool(letters and parts) and not name.startswith(("/", "~")) and ".." not in parts


def _opened(folder: Path, name: str) -> int:
    """The descriptor of a plain file, reached from the folder name by name."""
    *folders, last = PurePosixPath(name).parts
    # pip, uv and conda may install files as hard links
    single = not folder.resolve().is_relative_to(PACKAGE.resolve())
    path, within = folder, None
    try:
        within = os.open(folder, _FOLDER) if _WITHIN else None
        for part in folders:
            path = path / part
            seen = _look(path, part, within, name)
            if not stat.S_ISDIR(seen.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if within is not None:
                outer, within = within, _same(os.open(part, _FOLDER | _NO_LINK, dir_fd=within), seen, name)
                os.close(outer)
        seen = _look(path / last, last, within, name)
        _refuse_unless_plain(seen, name, single=single)
        opened = os.open(path / last if within is None else last, _FILE | _NO_LINK, dir_fd=within)
        return _same(opened, seen, name)
    except OSError as error:
        raise DataError(f"cannot read '{name}': {error.strerror or error}") from error
    finally:
        if within is not None:
            os.close(within)


def _look(path: Path, part: str, within: int | None, name: str) -> os.stat_result:
    """The entry of a name, which must not be a symbolic link."""
    seen = path.lstat() if within is None else os.stat(part, dir_fd=within, follow_symlinks=False)
    if stat.S_ISLNK(seen.st_mode):
        raise DataError(f"path '{name}' goes through a symbolic link", code="GE504")
    return seen


def _refuse_unless_plain(seen: os.stat_result, name: str, *, single: bool) -> None:
    if not stat.S_ISREG(seen.st_mode):
        raise DataError(f"path '{name}' is not a plain file", code="GE504")
    if single and seen.st_nlink > 1:
        hint = "it may have another name outside the folder; copy the file"
        raise DataError(f"path '{name}' is a hard link", code="GE504", hint=hint)


def _same(descriptor: int, seen: os.stat_result, name: str) -> int:
    """The descriptor, if what was opened is what was looked at."""
    opened = os.fstat(descriptor)
    # a number that is free again may be given to the next file, so the kind counts as well
    if not os.path.samestat(opened, seen) or opened.st_mode != seen.st_mode:
        os.close(descriptor)
        raise DataError(f"path '{name}' was replaced while it was opened", code="GE504")
    return descriptor
