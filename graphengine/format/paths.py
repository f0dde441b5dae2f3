"""Paths in a file: plain names inside the folder of the file, and nothing else."""

from __future__ import annotations

import re
import stat
from pathlib import Path, PurePosixPath

from graphengine.errors import DataError


def confined(folder: Path, name: str) -> Path:
    """The file that a path in a model file names.

    Raises
    ------
    DataError
        GE504 if the path is not plain and relative, leaves the folder, goes through a symbolic link or names
        something that is not a plain file; GE501 if there is no such file.
    """
    parts = PurePosixPath(name).parts
    plain = name and re.fullmatch(r"[^\x00-\x1f\x7f\\:]+", name) and not name.startswith(("/", "~"))
    if not plain or ".." in parts or not parts:
        message = f"path {name!r} is not a plain relative path inside the model's folder"
        raise DataError(message, code="GE504", hint='write it like "data/train.csv"')
    path = folder
    for part in parts:
        path = path / part
        _refuse_unless_plain(path, name, last=len(path.parts) == len(folder.parts) + len(parts))
    return path


def _refuse_unless_plain(path: Path, name: str, *, last: bool) -> None:
    try:
        mode = path.lstat().st_mode
    except OSError as error:
        raise DataError(f"cannot read '{name}': {error.strerror or error}") from error
    if stat.S_ISLNK(mode):
        raise DataError(f"path '{name}' goes through a symbolic link", code="GE504")
    if last and not stat.S_ISREG(mode):
        raise DataError(f"path '{name}' is not a plain file", code="GE504")
