"""Constants: a number as a node, with a dtype of its own."""

import math
from typing import Literal

import numpy as np

from graphengine.ops.node import Node
from graphengine.ops.numbers import INEXACT, NON_FINITE, is_inexact
from graphengine.ops.registry import register
from graphengine.ops.shapes import ArrayType, DTypeName


@register("constant")
class Constant(Node):
    """A number as a node, z = value.

    The scalar `value` in `dtype`. Unlike a literal it takes part in NumPy's promotion with its dtype.
    """

    value: int | float | Literal["NaN", "Infinity", "-Infinity"]
    dtype: DTypeName = "float64"

    def infer(self):
        number = represented(self.value, np.dtype(self.dtype))
        is_size = number.dtype == np.int64 and number >= 0
        return ArrayType((), number.dtype, (int(number),) if is_size else None)

    def forward(self):
        return np.dtype(self.dtype).type(NON_FINITE.get(self.value, self.value))


def represented(value, dtype):
    """A number of a file in a dtype.

    Raises
    ------
    ValueError
        If the dtype does not have it: a floating-point dtype may round it, but not to infinity, and no integer.
    """
    number = NON_FINITE.get(value, value)
    if dtype.kind == "f" and is_inexact(number):
        raise ValueError(INEXACT)
    with np.errstate(over="ignore", invalid="ignore"):
        z = np.asarray(number).astype(dtype)[()]
    if np.isfinite(z) != np.isfinite(number) or (dtype.kind != "f" and z != number):
        raise ValueError(f"dtype {dtype} does not have the number {number}; use one that it has, or a wider dtype")
    return z


def extremes(dtype):
    """The smallest and the largest number of a dtype: infinities of floating-point numbers, False and True of bool."""
    if dtype.kind in "iu":
        return np.iinfo(dtype).min, np.iinfo(dtype).max
    return (False, True) if dtype.kind == "b" else (-math.inf, math.inf)
