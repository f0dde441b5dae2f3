"""Data files of a model that is saved in another folder: paths in a model file lead only into its own folder."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath
from typing import Any

from graphengine.data.readers import NpyData, Reader
from graphengine.errors import DataError, GraphEngineError
from graphengine.format.documents import ModelDocument
from graphengine.format.files import write_bytes
from graphengine.format.paths import confined, is_plain

MOST_COPIED = 2**24
"""A data file of at most this many bytes, 16 MiB, is copied."""


def with_data_for(document: ModelDocument, origin: Path | None, target: Path) -> ModelDocument:
    """Return a document whose data sources are found from the path where it is saved.

    A file inside the new folder gets its path from there. Another one, of at most 16 MiB, is copied beside the model as
    `<stem>-<hash><ending>`. A file that is larger, is not there or cannot be copied keeps the path that it has.
    """
    if origin is None or origin.parent.resolve() == target.parent.resolve():
        return document
    data = {name: _moved(source, origin.parent, target) for name, source in document.data.items()}
    return document.model_copy(update={"data": data})


def _moved(source: Any, folder: Path, target: Path) -> Any:
    """Return a data source with the paths that it has from another folder."""
    if isinstance(source, Reader):
        return source.model_copy(update={"path": _path_from(source.path, folder, target)})
    if isinstance(source, NpyData):
        paths = {name: _path_from(path, folder, target) for name, path in source.paths.items()}
        return source.model_copy(update={"paths": paths})
    return source


def _path_from(name: str, folder: Path, target: Path) -> str:
    """Return the path of a data file from the folder of the target, after copying the file there if need be."""
    here, there = (folder / name).resolve(), target.parent.resolve()
    if here.is_relative_to(there) and is_plain(found := here.relative_to(there).as_posix()):
        return found
    content = _content(folder, name)
    if content is None or content == _content(there, name):
        return name
    return _copied(content, name, target)


def _copied(content: bytes, name: str, target: Path) -> str:
    """Write the content of a data file beside the target, and return its new name; the old one where that fails."""
    digest = hashlib.sha256(content).hexdigest()[:12]
    stem = re.sub(r"[^\w.-]", "_", target.stem)
    copied = f"{stem}-{digest}{''.join(PurePosixPath(name).suffixes)}"
    try:
        write_bytes(target.with_name(copied), content)
    except GraphEngineError:  # the values of the model are worth more than the copy
        return name
    return copied


def _content(folder: Path, name: str) -> bytes | None:
    """Return the bytes of a data file; None of one that is not there, or is too large to be copied."""
    try:
        with confined(folder, name).open("rb") as file:
            content: bytes = file.read(MOST_COPIED + 1)
    except DataError:
        return None
    return content if len(content) <= MOST_COPIED else None
