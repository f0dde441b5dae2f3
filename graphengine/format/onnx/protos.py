"""ONNX files as they are read: bounded before memory is taken, tensors as arrays, external data by our rules for paths.

An ONNX file is as hostile as a model file. Nothing here runs its graph, and the checker of the package onnx, which
reads external data by its own rules, does not see it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from graphengine.errors import DataError, GraphEngineError, InvalidModelError
from graphengine.extras import optional
from graphengine.format.narrow import Storage
from graphengine.format.onnx.onnx_calls import Unimportable
from graphengine.format.onnx.raw_tensors import RawTensors, read_apart
from graphengine.format.paths import confined
from graphengine.limits import Limits

STRUCTURE_BYTES = 64 * 2**20
"""Room for what a file has besides its tensors."""
PREFIX = "graphengine."
"""What keys of this package in `metadata_props` begin with."""
NARROW = ("FLOAT16", "BFLOAT16", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT4E2M1")
"""Floating-point types that are computed in single precision."""
STORED: dict[str, Storage] = {"FLOAT16": "float16", "BFLOAT16": "bfloat16"}
"""Types in which parameters and inputs stay stored."""
SUBBYTE = {"INT4": "int8", "INT2": "int8", "UINT4": "uint8", "UINT2": "uint8"}
PLAIN = {
    "FLOAT": "float32",
    "DOUBLE": "float64",
    "BOOL": "bool",
    **{f"{sign.upper()}INT{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
DTYPES = {**PLAIN, **SUBBYTE, **dict.fromkeys(NARROW, "float32")}
"""Our dtype for each of ONNX's types of elements."""


def type_name(number: int) -> str:
    """Return ONNX's name of a type of elements."""
    onnx = optional("onnx", "onnx")
    return onnx.TensorProto.DataType.Name(number) if number in onnx.TensorProto.DataType.values() else str(number)


def dtype_of(number: int) -> np.dtype[Any]:
    """Return the dtype in which we compute with elements of a type; raises Unimportable where there is none."""
    name = type_name(number)
    if name not in DTYPES:
        raise Unimportable(f"values of type {name} have no counterpart")
    return np.dtype(DTYPES[name])


class OnnxFile(NamedTuple):
    """A `ModelProto`, the folder of its external data, and large tensors that were read apart from it."""

    proto: Any
    folder: Path | None = None
    apart: RawTensors = {}  # noqa: RUF012 - nothing changes it


def read_onnx(path: Path, limits: Limits) -> OnnxFile:
    """Return what a file holds.

    Raises
    ------
    InvalidModelError
        GE103 if the file is too large, GE307 if it is no ONNX model.
    GraphEngineError
        GE101 if it cannot be read.
    """
    onnx = optional("onnx", "onnx")
    most = limits.array_bytes + STRUCTURE_BYTES
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            text, apart = (b"", {}) if size > most else read_apart(file, size)
    except OSError as error:
        raise GraphEngineError(f"cannot read '{path}': {error.strerror or error}", code="GE101") from error
    if size > most:
        message = f"the file has more than {most:,} bytes"
        raise InvalidModelError(message, code="GE103", file=str(path), hint="load it with larger limits")
    return OnnxFile(parsed(onnx, text, str(path)), path.parent, apart)


def parsed(onnx: Any, text: bytes, path: str | None = None) -> Any:
    """Return the `ModelProto` that bytes hold; raises GE307 where they hold none."""
    message = optional("google.protobuf.message", "onnx")
    try:
        proto = onnx.ModelProto.FromString(text)
    except (message.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidModelError(f"not an ONNX model: {error}", code="GE307", file=path) from error
    if not proto.HasField("graph") or not proto.opset_import:
        raise InvalidModelError("not an ONNX model: it has no graph or no opset", code="GE307", file=path)
    if not has_text(proto):
        raise InvalidModelError("not an ONNX model: a name in it is not UTF-8", code="GE307", file=path)
    return proto


def has_text(proto: Any) -> bool:
    """Whether all text of a message is UTF-8; the library hands over other text as bytes."""
    inside = [proto]
    while inside:
        texts, messages = _content(inside.pop())
        if not all(map(is_text, texts)):
            return False
        inside.extend(messages)
    return True


def _content(proto: Any) -> tuple[list[Any], Any]:
    """Return texts and messages in a message; those of a tensor apart, because its numbers would be copied."""
    message, onnx = optional("google.protobuf.message", "onnx"), optional("onnx", "onnx")
    if isinstance(proto, onnx.TensorProto):
        return [proto.name, proto.doc_string], proto.external_data
    texts: list[Any] = []
    messages: list[Any] = []
    for field, value in proto.ListFields():
        if field.type == field.TYPE_MESSAGE:
            messages.extend([value] if isinstance(value, message.Message) else value)
        elif field.type == field.TYPE_STRING:
            texts.append(value)
    return texts, messages


def is_text(value: Any) -> bool:
    """Whether a value is text, or a sequence of texts."""
    return isinstance(value, str) or (not isinstance(value, bytes) and all(isinstance(each, str) for each in value))


class Tensors:
    """Tensors of a file as arrays, those in files beside it included; all together have at most `limit` bytes."""

    def __init__(self, file: OnnxFile, limit: int) -> None:
        self.onnx = optional("onnx", "onnx")
        self._folder, self._apart, self._left = file.folder, file.apart, limit
        self.narrow: dict[str, int] = {}
        """How many tensors of each narrow type were widened to single precision."""

    def array(self, tensor: Any) -> np.ndarray[Any, Any]:
        """Return the array of a tensor in our dtype for it; raises Unimportable for what is none."""
        name, dtype = type_name(tensor.data_type), dtype_of(tensor.data_type)
        shape = _shape(tensor)
        size = math.prod(shape) * dtype.itemsize
        self._take(size)
        array = self._stored(tensor, shape, dtype if name in PLAIN else None, size)
        if name in NARROW:
            self.narrow[name] = self.narrow.get(name, 0) + 1
        return array if array.dtype == dtype else array.astype(dtype)

    def whole(self, tensor: Any) -> Any:
        """Return a `TensorProto` with the numbers that were read apart from it."""
        location = _entries(tensor).get("location")
        if location not in self._apart:
            return tensor
        found = self.onnx.TensorProto()
        found.CopyFrom(tensor)
        for field in ("data_location", "external_data"):
            found.ClearField(field)
        found.raw_data = self._apart[location].tobytes()
        return found

    def _take(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise InvalidModelError(
                "the tensors take more memory than the limit", code="GE133", hint="load it with larger limits"
            )

    def _stored(
        self, tensor: Any, shape: tuple[int, ...], dtype: np.dtype[Any] | None, size: int
    ) -> np.ndarray[Any, Any]:
        """Return the array of a tensor, for which `size` bytes are taken; `dtype` is that of its bytes, if NumPy's."""
        raw = tensor.raw_data if tensor.HasField("raw_data") else None
        if tensor.data_location == self.onnx.TensorProto.EXTERNAL:
            raw = self._external(_entries(tensor), size)
            if dtype is None:
                tensor = self.onnx.TensorProto(data_type=tensor.data_type, dims=shape, raw_data=bytes(raw))
        try:
            array = self._of_bytes(tensor, raw, shape, dtype)
        except (ValueError, TypeError, OverflowError) as error:
            raise Unimportable(f"a tensor of shape {shape} has other data: {error}") from error
        if array.shape != shape:
            raise Unimportable(f"a tensor of shape {shape} has data of shape {array.shape}")
        return array

    def _of_bytes(
        self, tensor: Any, raw: Any, shape: tuple[int, ...], dtype: np.dtype[Any] | None
    ) -> np.ndarray[Any, Any]:
        if dtype is not None and raw is not None:
            return np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)
        array: np.ndarray[Any, Any] = self.onnx.numpy_helper.to_array(tensor)
        return array

    def _external(self, entries: dict[str, str], size: int) -> Any:
        """Return what was read apart, or read a part of a file beside the ONNX file; `size` bytes are taken for it."""
        apart = self._apart.get(entries.get("location", ""))
        if apart is not None:
            return apart
        if self._folder is None:
            raise Unimportable("external data, and the model does not come from a file")
        offset, length = _range_of(entries)
        with confined(self._folder, entries.get("location", "")).open("rb") as file:
            rest = os.fstat(file.fileno()).st_size - offset
            count = rest if length < 0 else length
            if not 0 <= count <= rest:
                raise DataError(f"'{entries['location']}' ends before byte {offset + count}", code="GE501")
            self._take(max(0, count - size))
            file.seek(offset)
            return bytes(file.read(count))


def _entries(tensor: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def subgraphs(proto: Any) -> Iterator[Any]:
    """Yield the graphs in the attributes of a node."""
    for attribute in proto.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def needed(nodes: Any, wanted: Iterable[str]) -> list[Any]:
    """Return the nodes that values depend on, in their order; what a subgraph reads counts as read by its node."""
    names, found = set(wanted), []
    for node in reversed(nodes):
        if not names.isdisjoint(node.output):
            found.append(node)
            names.update(read_by(node))
    return found[::-1]


def read_by(node: Any) -> set[str]:
    """Return all names that a node reads, and those that its subgraphs read."""
    names, inside = set(node.input), list(subgraphs(node))
    while inside:
        for each in inside.pop().node:
            names.update(each.input)
            inside.extend(subgraphs(each))
    return names


def declared_types(graph: Any) -> dict[str, Any]:
    """Return the types that a graph states of its values."""
    return {each.name: each.type for each in (*graph.value_info, *graph.output)}


def _shape(tensor: Any) -> tuple[int, ...]:
    shape = tuple(tensor.dims)
    if min(shape, default=0) < 0 or len(shape) > 64:
        raise Unimportable(f"a tensor has the shape {shape}")
    return shape


def _range_of(entries: dict[str, str]) -> tuple[int, int]:
    """Return where external data begins, and its length, negative if it reaches to the end of the file."""
    try:
        offset, length = (int(entries.get(key, default)) for key, default in (("offset", "0"), ("length", "-1")))
    except ValueError:
        raise Unimportable("external data whose offset or length is not a number") from None
    if offset < 0:
        raise Unimportable("external data with a negative offset")
    return offset, length
