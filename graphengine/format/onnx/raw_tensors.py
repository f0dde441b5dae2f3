"""The bytes of large tensors, read from an ONNX file straight into memory of their own, and the rest of the file.

The library's parser would hold them in the message and hand each over as a copy, after the file was read: twice the
memory of the weights. Here they become external data of the message, under a location that no file can name, because
it is random. The format: https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import numpy as np

LARGE = 2**16
"""Bytes from which a tensor is read apart."""
MOST_FIELDS = 2**17
"""A file of more fields is left to the parser of the library."""
GRAPH, INITIALIZER, RAW_DATA = 7, 5, 9
"""Fields of ModelProto, GraphProto and TensorProto (onnx.proto)."""
BESIDE_RAW_DATA = frozenset({1, 2, 8, RAW_DATA, 12, 16})
"""The fields of a TensorProto whose numbers are in raw_data: dims, data_type, name, doc_string, metadata_props."""
EXTERNAL_DATA, DATA_LOCATION, EXTERNAL = 13, 14, 1
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

RawTensors = dict[str, np.ndarray[Any, Any]]
"""Bytes by the location that the message has for them."""


class Field(NamedTuple):
    """One field of a message: its number and kind, and where in the file it begins, has its content, and ends."""

    number: int
    kind: int
    begin: int
    content: int
    end: int


def read_apart(file: IO[bytes], size: int) -> tuple[bytes, RawTensors]:
    """Return the message of a file of `size` bytes without its large tensors, and these.

    A file that is not made as ONNX files are is returned whole, and the parser of the library judges it.
    """
    separation = _Separation(file)
    try:
        return separation.without(0, size, (GRAPH, INITIALIZER)), separation.found
    except ValueError:
        separation.found.clear()
        file.seek(0)
        return file.read(size), {}


class _Separation:
    """One way through a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._left = file, MOST_FIELDS
        self._secret = os.urandom(16).hex()
        self.found: RawTensors = {}

    def without(self, begin: int, end: int, path: tuple[int, ...]) -> bytes:
        """Return a message without what is read apart; `path` are the numbers of the fields that lead to tensors."""
        if not path:
            return self._tensor(begin, end)
        parts, kept = [], begin
        for field in self._fields(begin, end):
            if (field.number, field.kind) == (path[0], BYTES) and field.end - field.content >= LARGE:
                parts.append(self._read(kept, field.begin))
                parts.append(_delimited(field.number, self.without(field.content, field.end, path[1:])))
                kept = field.end
        return b"".join([*parts, self._read(kept, end)])

    def _tensor(self, begin: int, end: int) -> bytes:
        raw = _raw_data(list(self._fields(begin, end)))
        if raw is None:
            return self._read(begin, end)
        location = f"{self._secret}/{len(self.found)}"
        entry = _delimited(1, b"location") + _delimited(2, location.encode())
        self._file.seek(raw.content)
        self.found[location] = array = np.empty(raw.end - raw.content, np.uint8)
        if self._file.readinto(array.data) != len(array):  # type: ignore[attr-defined]
            raise ValueError("the file became shorter")
        array.flags.writeable = False
        rest = self._read(begin, raw.begin) + self._read(raw.end, end)
        return rest + _delimited(EXTERNAL_DATA, entry) + _tag(DATA_LOCATION, VARINT) + bytes([EXTERNAL])

    def _read(self, begin: int, end: int) -> bytes:
        self._file.seek(begin)
        return self._file.read(end - begin)

    def _fields(self, begin: int, end: int) -> Iterator[Field]:
        """Yield the fields of a message; raises ValueError where it is none, or has groups or too many fields."""
        place = begin
        while place < end:
            self._left -= 1
            self._file.seek(place)
            tag, content = self._varint(place)
            length, kind = 0, tag & 7
            if kind == VARINT:
                _, content = self._varint(content)
            elif kind == BYTES:
                length, content = self._varint(content)
            else:
                length = {FIXED64: 8, FIXED32: 4}.get(kind, end)
            if content + length > end or self._left < 0:
                raise ValueError("no message, or one of too many fields")
            yield Field(tag >> 3, kind, place, content, content + length)
            place = content + length

    def _varint(self, place: int) -> tuple[int, int]:
        """Return the number at the place where the file is read, and the place after it."""
        number = shift = 0
        while shift < 64:
            (byte,) = self._file.read(1)  # at the end of the file it raises ValueError
            place += 1
            number |= (byte & 127) << shift
            if byte < 128:
                return number, place
            shift += 7
        raise ValueError("a number of more than 64 bits")


def _delimited(number: int, content: bytes) -> bytes:
    return _tag(number, BYTES) + _encoded(len(content)) + content


def _tag(number: int, kind: int) -> bytes:
    return _encoded(number << 3 | kind)


def _encoded(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def _raw_data(fields: list[Field]) -> Field | None:
    """Return the one field of raw data, if the tensor has nothing that would contradict it."""
    raw = [field for field in fields if (field.number, field.kind) == (RAW_DATA, BYTES)]
    is_alone = len(raw) == 1 and BESIDE_RAW_DATA.issuperset(field.number for field in fields)
    return raw[0] if is_alone else None
