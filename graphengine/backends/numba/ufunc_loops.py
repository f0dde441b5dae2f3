"""NumPy's own loops, by their addresses: compiled loops call them on runs of rows, so the bits are those of NumPy.

A ufunc is a structure that NumPy's C interface publishes (numpy/ufuncobject.h): the head of a Python object, counts of
operands, functions with their data, types of operands. Where anything in it differs from what Python says about the
ufunc there is no address, and the op stays a call of NumPy.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any, ClassVar

import numpy as np

from graphengine.backends.protocol import Instruction
from graphengine.ops.registry import OPS

FLOATS = {np.dtype(np.float32), np.dtype(np.float64)}


class _Structure(ctypes.Structure):
    _fields_: ClassVar = [
        *[(name, ctypes.c_int) for name in ("nin", "nout", "nargs", "identity")],
        ("functions", ctypes.POINTER(ctypes.c_void_p)),
        ("data", ctypes.POINTER(ctypes.c_void_p)),
        *[(name, ctypes.c_int) for name in ("ntypes", "reserved")],
        ("name", ctypes.c_char_p),
        ("types", ctypes.c_void_p),
    ]

    def describes(self, ufunc: np.ufunc) -> bool:
        """Whether it agrees with the attributes of a ufunc of one operand."""
        counts = (self.nin, self.nout, self.nargs, self.ntypes)
        has_name = counts == (1, 1, 2, ufunc.ntypes) and self.name == ufunc.__name__.encode()
        return has_name and self._has_types(ufunc.types)

    def _has_types(self, loops: list[str]) -> bool:
        """Whether the types of operands and results are those of loops such as `d->d`."""
        types = b"".join(bytes([np.dtype(char).num for char in loop.replace("->", "")]) for loop in loops)
        return ctypes.string_at(self.types, len(types)) == types

    def function(self, place: int) -> int | None:
        """The address of a function; None if it is called with data."""
        return None if self.data and self.data[place] else self.functions[place]


def applied_function(instruction: Instruction) -> int | None:
    """Return the address of NumPy's loop for an op on one array of floating-point numbers, None if there is none."""
    (kind, *further), operands = instruction.types, instruction.operand_types
    if further or not instruction.is_core or operands != (kind,) or kind.dtype not in FLOATS:
        return None
    ufunc = OPS.original(instruction.op).numpy
    return address_of(ufunc, kind.array_dtype) if isinstance(ufunc, np.ufunc) else None


@cache
def address_of(ufunc: Any, dtype: np.dtype[Any]) -> int | None:
    """Return the address of the loop of a ufunc of one operand for a dtype; None if it is not where it must be.

    It is a function of pointers to operand and result, of their length, of their strides and of data, which is null.
    """
    if sys.implementation.name != "cpython" or (ufunc.nin, ufunc.nout) != (1, 1):
        return None
    found = _Structure.from_address(id(ufunc) + object.__basicsize__)
    loop = f"{dtype.char}->{dtype.char}"
    if loop not in ufunc.types or not found.describes(ufunc):
        return None
    return found.function(ufunc.types.index(loop))
