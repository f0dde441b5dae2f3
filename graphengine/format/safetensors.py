"""The safetensors format, written and read array by array: no number is in memory twice.

Eight bytes give the length of a JSON header, which gives dtype, shape and place of each tensor; the numbers follow,
little endian and row by row. https://github.com/huggingface/safetensors describes it. Its library takes and returns a
file as one object of bytes, which is a second and a third copy of a large model.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import IO, Any, NamedTuple

import numpy as np
import orjson

from graphengine.errors import InvalidModelError
from graphengine.format.narrow import widened_bits
from graphengine.format.strict import parse_json

DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
    "BF16": "<u2",
}
"""The dtypes that NumPy has, as it writes them, and the bits of bfloat16, which it has not."""
LENGTH_BYTES, ALIGNMENT = 8, 8
LONGEST_HEADER = 2**26
"""Bytes of the longest header that is read, which is a file of JSON like any other."""
METADATA = "__metadata__"


class Tensor(NamedTuple):
    """An entry of a header."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    stop: int
    is_bfloat16: bool


def encoded(arrays: Mapping[str, np.ndarray[Any, Any]], bfloat16: Collection[str] = ()) -> Iterator[Any]:
    """Yield the bytes of a file: its header, then views of the arrays, without a copy of those in C order.

    Arrays of larger items come first, so that all are aligned. Those that `bfloat16` names are bits of such numbers.
    """
    dense = {name: _little_endian(array) for name, array in arrays.items()}
    text, places = _laid_out(dense, bfloat16)
    yield len(text).to_bytes(LENGTH_BYTES, "little") + text
    for name in places:
        yield _bytes_of(dense[name])


def places_of(arrays: Mapping[str, np.ndarray[Any, Any]], bfloat16: Collection[str] = ()) -> dict[str, int]:
    """Return at which byte of the file that `encoded` writes the numbers of each array begin."""
    text, places = _laid_out({name: _little_endian(array) for name, array in arrays.items()}, bfloat16)
    return {name: LENGTH_BYTES + len(text) + place for name, place in places.items()}


def _laid_out(dense: Mapping[str, np.ndarray[Any, Any]], bfloat16: Collection[str]) -> tuple[bytes, dict[str, int]]:
    """Return the text of a header, and where the arrays begin after it, in their order."""
    header, places, place = {}, {}, 0
    for name in sorted(dense, key=lambda name: (-dense[name].itemsize, name)):
        array, places[name] = dense[name], place
        place += array.nbytes
        offsets = [places[name], place]
        kind = "BF16" if name in bfloat16 else _name(array.dtype)
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": offsets}
    text = orjson.dumps(header)
    return text + b" " * (-len(text) % ALIGNMENT), places


def _little_endian(array: Any) -> np.ndarray[Any, Any]:
    dense: np.ndarray[Any, Any] = np.asarray(array, order="C")
    little: np.ndarray[Any, Any] = dense.astype(dense.dtype.newbyteorder("<"), copy=False)
    return little


def _name(dtype: np.dtype[Any]) -> str:
    return next(name for name, written in DTYPES.items() if np.dtype(written) == dtype)


def _bytes_of(array: np.ndarray[Any, Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def decoded(file: IO[bytes], size: int) -> dict[str, np.ndarray[Any, Any]]:
    """Read the arrays of a file of `size` bytes, each into memory of its own, from the first byte to the last.

    Numbers of bfloat16 become float32.

    Raises
    ------
    ValueError
        If the file is not in this format, or has a dtype that is none of DTYPES.
    """
    tensors = list(_header(file, size))
    arrays = {}
    for each in tensors:
        array = np.empty(each.shape, each.dtype)
        _fill(array, file)
        if array.dtype == bool and array.view(np.uint8).max(initial=0) > 1:
            raise ValueError(f"tensor '{each.name}' has a truth value that is neither 0 nor 1")
        native = array.astype(each.dtype.newbyteorder("="), copy=False)
        arrays[each.name] = widened_bits(native) if each.is_bfloat16 else native
    return arrays


def _fill(array: np.ndarray[Any, Any], file: IO[bytes]) -> None:
    """Read the bytes of an array into its memory."""
    rest = _bytes_of(array)
    while rest:
        count = file.readinto(rest)  # type: ignore[attr-defined]
        if not count:
            raise ValueError("it ends before its last number")
        rest = rest[count:]


def _header(file: IO[bytes], size: int) -> Iterator[Tensor]:
    """The tensors in the order of their places, which leave no byte of the file out and none in two of them."""
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    if not 0 < length <= min(size - LENGTH_BYTES, LONGEST_HEADER):
        raise ValueError(f"its header has {length} bytes, the file {size}")
    header = _parsed(file.read(length))
    place = 0
    for each in sorted((_tensor(name, entry) for name, entry in header.items()), key=lambda each: each[3:5]):
        if each.start != place:
            raise ValueError(f"tensor '{each.name}' begins at byte {each.start}, the one before it ends at {place}")
        place = each.stop
        yield each
    if place != size - LENGTH_BYTES - length:
        raise ValueError(f"its tensors have {place} bytes, the file has {size - LENGTH_BYTES - length}")


def _parsed(text: bytes) -> dict[str, Any]:
    """The entries of a header, by the names of the tensors."""
    try:
        header = parse_json(text)
    except InvalidModelError as error:
        raise ValueError(f"its header is not JSON: {error.problems[0].message}") from None
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    header.pop(METADATA, None)
    return header


def _tensor(name: str, entry: Any) -> Tensor:
    """An entry of the header; raises ValueError for one that describes no array."""
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(start), int(stop)]} if _are_sizes(
            [*shape, start, stop]
        ):
            if dtype not in DTYPES:
                raise ValueError(f"tensor '{name}' has the dtype {dtype:.20}; the known dtypes are {', '.join(DTYPES)}")
            tensor = Tensor(name, np.dtype(DTYPES[dtype]), tuple(shape), start, stop, dtype == "BF16")
            if stop - start == math.prod(shape) * tensor.dtype.itemsize:
                return tensor
    raise ValueError(f"tensor '{name}' has no dtype, shape and data_offsets that fit together")


def _are_sizes(shape: Iterable[Any]) -> bool:
    return all(type(size) is int and size >= 0 for size in shape)
