"""Arrays in safetensors files beside a model: too many numbers for JSON, and still no code.

The JSON names such a file together with its sha256, so the two cannot be mixed up; a file is never changed, a new one
gets a new name. The old one goes once the JSON that names the new one is safe, if no file of the folder names it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from graphengine.errors import DataError
from graphengine.format import safetensors
from graphengine.format.documents import ExternalValue
from graphengine.format.files import write_bytes, writing
from graphengine.format.locks import Lock
from graphengine.format.paths import confined

EXTERNAL_FROM = 1_000_000
"""From this many numbers on, values are written beside the JSON and not into it."""
HEADER_BYTES = 2**20
"""Room for what a file of tensors has besides its numbers."""
READ_BYTES = 2**20
"""How much of a file is read and hashed at a time: what fits the cache is read from memory once."""
ONNX_BYTE = b"\x08"
"""What an ONNX file begins with: the key of its first field, `ir_version`."""
SEARCHED_BYTES = 2**20
"""How much of a file is searched at a time for the names of others."""


class TensorFiles:
    """The files of tensors in the folder of a model, each read once; none may be larger than `limit` bytes."""

    def __init__(self, folder: Path | None, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._known: dict[tuple[str, str], Mapping[str, np.ndarray[Any, Any]]] = {}

    def array(self, value: ExternalValue) -> np.ndarray[Any, Any]:
        """The tensor that a model names.

        Raises
        ------
        DataError
            GE501 if the file cannot be read, GE502 if it lacks the tensor, GE504 for a path out of the folder, GE506 if
            it is not the file that the model was written with.
        """
        key = (value.file, value.sha256)
        if key not in self._known:
            self._known[key] = self._read(*key)
        if value.tensor not in self._known[key]:
            raise DataError(f"'{value.file}' has no tensor '{value.tensor}'", code="GE502")
        return self._known[key][value.tensor]

    def _read(self, name: str, sha256: str) -> Mapping[str, np.ndarray[Any, Any]]:
        if self._folder is None:
            raise DataError(f"the model was not loaded from a file, so there is no folder to look for '{name}' in")
        with confined(self._folder, name).open("rb") as plain:
            size = os.fstat(plain.fileno()).st_size
            if size > self._limit + HEADER_BYTES:
                raise DataError(f"'{name}' has more than {self._limit} bytes", hint="load the model with larger limits")
            file, problem, tensors = _Hashed(plain), None, {}
            try:
                tensors = safetensors.decoded(file, size)  # type: ignore[arg-type]
            except ValueError as error:
                problem = error
            if file.sha256() != sha256:
                raise DataError(f"'{name}' is not the file that the model was written with", code="GE506")
        if problem:
            raise DataError(f"'{name}' cannot be read as safetensors: {problem}") from problem
        return tensors


class _Hashed:
    """A file that is read from its beginning on, and hashed meanwhile."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._digest = file, hashlib.sha256()

    def read(self, count: int) -> bytes:
        data = self._file.read(count)
        self._digest.update(data)
        return data

    def readinto(self, part: memoryview) -> int:
        count: int = self._file.readinto(part[:READ_BYTES])  # type: ignore[attr-defined]
        self._digest.update(part[:count])
        return count

    def sha256(self) -> str:
        """The hash of the whole file."""
        while self.read(READ_BYTES):
            pass
        return self._digest.hexdigest()


def are_external(arrays: Iterable[Any]) -> bool:
    """Whether arrays have so many numbers that they are written into a file of tensors."""
    return sum(map(np.size, arrays)) >= EXTERNAL_FROM


def write_tensors(
    folder: Path, stem: str, arrays: Mapping[str, Any], bfloat16: Collection[str] = ()
) -> dict[str, ExternalValue]:
    """Write arrays into a new file `<stem>-<hash>.safetensors`, and give what a model says instead of each.

    Raises
    ------
    GraphEngineError
        GE101 if the file cannot be written.
    """
    parts, digest = list(safetensors.encoded(arrays, bfloat16)), hashlib.sha256()
    for part in parts:
        digest.update(part)
    sha256 = digest.hexdigest()
    name = tensors_name(stem, sha256)
    write_bytes(folder / name, *parts)
    return {each: ExternalValue(file=name, tensor=each, sha256=sha256) for each in arrays}


@contextmanager
def one_writer(path: Path) -> Iterator[None]:
    """Wait until nobody else writes a model with tensors to a path, and keep others waiting meanwhile.

    Raises
    ------
    GraphEngineError
        GE101 if nothing can be written there.
    """
    lock = Lock(path.with_name(f".{path.stem[:100]}.lock"))
    with writing(path):
        lock.acquire(wait=True)
    try:
        yield
    finally:
        lock.release()


def write_beside(
    path: Path,
    stem: str,
    arrays: Mapping[str, Any],
    finish: Callable[[dict[str, Any]], None],
    bfloat16: Collection[str] = (),
) -> None:
    """Write arrays into a new file of tensors, then with `finish` the file at a path, which names it.

    `finish` gets what that file says instead of each array. Files of tensors that the old one named are removed. Arrays
    that `bfloat16` names are bits of such numbers.

    Raises
    ------
    GraphEngineError
        GE101 if a file cannot be written; what `finish` raises. The old files are then untouched.
    """
    last, written = tensors_of(path, stem), set[str]()
    try:
        named = write_tensors(path.parent, stem, arrays, bfloat16) if arrays else {}
        written = {value.file for value in named.values()}
        finish(named)
    finally:  # what the file names now stays, be it the old one or the new one
        remove_unnamed(path, last | written)


def tensors_name(stem: str, sha256: str) -> str:
    """The name of a file of tensors of a model."""
    return f"{_plain(stem)}-{sha256[:12]}.safetensors"


def _plain(stem: str) -> str:
    """Return a stem as a path in a file may have it."""
    return re.sub(r"[\x00-\x1f\x7f\\:]|^~", "_", stem)


def tensors_of(path: Path, stem: str) -> set[str]:
    """The files of tensors that were written for a model and that its file names."""
    own = re.compile(re.escape(_plain(stem)) + r"-[0-9a-f]{12}\.safetensors")
    with suppress(OSError):
        return _named({each.name for each in path.parent.iterdir() if own.fullmatch(each.name)}, path)
    return set()


def remove_unnamed(path: Path, tensors: Iterable[str]) -> None:
    """Remove those of some files of tensors beside a model that neither its file nor another one in the folder names.

    What cannot be removed, or not be looked up, stays.
    """
    unnamed = set(tensors)
    with suppress(OSError):
        for other in path.parent.iterdir() if unnamed else ():
            unnamed -= _named(unnamed, other)
        for name in unnamed:
            (path.parent / name).unlink()


def _named(tensors: set[str], path: Path) -> set[str]:
    """Those of some files of tensors that a file names, if it may be a model, be it an ONNX file."""
    if not (tensors and path.is_file()):
        return set()
    with path.open("rb") as file:
        text = file.read(SEARCHED_BYTES)
        return _named_in(file, text, tensors) if text.lstrip()[:1] in (b"{", b"", ONNX_BYTE) else set()


def _named_in(file: IO[bytes], text: bytes, tensors: set[str]) -> set[str]:
    """Those of some files of tensors that are named in a text and the rest of a file."""
    # the hash is there as it is, however JSON writes the rest of a name
    ends = {name: name[-len("0123456789ab.safetensors") :].encode() for name in tensors}
    found: set[str] = set()
    while text:
        found |= {name for name, end in ends.items() if end in text}
        more = file.read(SEARCHED_BYTES)
        text = more and text[-len(".safetensors") * 2 :] + more
    return found
