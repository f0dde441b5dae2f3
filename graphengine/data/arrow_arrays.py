"""Arrays of Arrow and of NumPy, made of each other.

What pyarrow offers for it imports pandas where that is installed, which takes as long as all other imports together.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphengine.extras import optional

Mask = np.ndarray[Any, np.dtype[np.bool_]]


def as_numpy(column: Any) -> np.ndarray[Any, Any]:
    """Return a column of numbers or truth values of Arrow, without missing ones, as an array."""
    if not len(column):
        return np.empty(0, column.type.to_pandas_dtype())
    data, start, stop = column.buffers()[1], column.offset, column.offset + len(column)
    if column.type.bit_width == 1:
        first, end = start // 8, -(-stop // 8)
        bits = np.unpackbits(np.frombuffer(data, np.uint8, end - first, first), bitorder="little")
        return bits[start - 8 * first : stop - 8 * first].view(np.bool_)
    return np.frombuffer(data, column.type.to_pandas_dtype(), stop)[start:]


def as_arrow(values: Any, kind: Any = None, valid: Mask | None = None) -> Any:
    """Return a vector as an array of Arrow, by default of the type of its values, with null where it is not valid.

    Numbers that keep their type are not copied. Raises what pyarrow does if the type cannot hold a value.
    """
    pa = optional("pyarrow", "data")
    if not _are_plain_numbers(values) or not _is_of_numbers(kind):
        return pa.array(values, kind, mask=None if valid is None else ~valid)
    mask = None if valid is None or valid.all() else pa.py_buffer(_bits(valid))
    data = _bits(values) if values.dtype == np.bool_ else np.ascontiguousarray(values)
    made = pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [mask, pa.py_buffer(data)])
    return made.cast(kind or made.type)


def _are_plain_numbers(values: Any) -> bool:
    """Whether Arrow has numbers in memory as this array has."""
    is_vector = isinstance(values, np.ndarray) and values.ndim == 1
    return is_vector and values.dtype.kind in "biuf" and values.dtype.isnative


def _is_of_numbers(kind: Any) -> bool:
    """Whether a type of Arrow, if one is given, holds numbers or truth values."""
    types = optional("pyarrow", "data").types
    return kind is None or types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind)


def _bits(values: Mask) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.packbits(values, bitorder="little")
