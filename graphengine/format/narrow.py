"""Numbers of 16 bits in files: float16 and bfloat16 are stored, and computed with as wider ones.

bfloat16 is the upper half of a float32, with the same exponents and 8 significant bits. NumPy has no such dtype, so its
numbers are handled as uint16.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from graphengine.mappings import only

Storage: TypeAlias = Literal["float16", "bfloat16"]
"""The types in which numbers may be stored."""
BFLOAT16: Final = "bfloat16"
HALF: Final = 16


def narrowed(array: np.ndarray[Any, Any], storage: Storage) -> np.ndarray[Any, Any] | None:
    """Return floating-point numbers as float16, or as the bits of bfloat16; None if a bit of one would be lost."""
    with np.errstate(all="ignore"):
        single = array.astype(np.float32)
        if storage == BFLOAT16:
            narrow = (single.view(np.uint32) >> HALF).astype(np.uint16)
            wide = widened_bits(narrow).astype(array.dtype)
        else:
            narrow = single.astype(np.float16)
            wide = narrow.astype(array.dtype)
    return narrow if wide.tobytes() == array.tobytes() else None


class StoredArrays(NamedTuple):
    """Arrays as a file has them, and the names of those that are bits of bfloat16."""

    arrays: dict[str, np.ndarray[Any, Any]]
    bfloat16: frozenset[str]


def stored(arrays: Mapping[str, Any], storage: Mapping[str, Storage]) -> StoredArrays:
    """Return arrays in the types in which they are stored, in full where a bit of a number would be lost."""
    narrow = {name: narrowed(np.asarray(arrays[name]), kind) for name, kind in only(storage, arrays).items()}
    fitting = {name: array for name, array in narrow.items() if array is not None}
    return StoredArrays({**arrays, **fitting}, frozenset(name for name in fitting if storage[name] == BFLOAT16))


def widened_bits(bits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the numbers of bfloat16 that have these bits, as float32."""
    wide: np.ndarray[Any, Any] = (bits.astype(np.uint32) << HALF).view(np.float32)
    return wide
