"""Constants: a number as a node with its own dtype, and ranges of integers."""

import math
from typing import Literal

import numpy as np

from graphengine.ops.node import Node
from graphengine.ops.numbers import INEXACT, NON_FINITE, is_inexact
from graphengine.ops.registry import register
from graphengine.ops.shapes import ArrayType, DTypeName


@register("constant", traits=("primitive", "gives_axes"))
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


@register("arange")
class ARange(Node):
    """Integers from `start` up to but without `stop`, z[i] = start + i * step.

    A single positional input is `stop`, as in `numpy.arange`. `start` is 0 and `step` is 1 unless given. All are single
    integers; their values may be known only at run time, such as the size of an array.
    """

    def infer(self, start=None, stop=None, step=None):
        kinds = self._limits(start, stop, step)
        for name, kind in zip(("start", "stop", "step"), kinds, strict=True):
            if isinstance(kind, ArrayType) and (kind.shape != () or kind.array_dtype.kind not in "iu"):
                raise ValueError(f"{name} must be a single integer, not {kind}; multiply the result for other numbers")
        first, last, by = (kind.content and kind.content[0] if isinstance(kind, ArrayType) else kind for kind in kinds)
        if by == 0:
            raise ValueError("the step must not be 0")
        whole = (first, by) == (0, 1)
        is_known = all(isinstance(each, int) for each in (first, last, by))
        return ArrayType((len(range(first, last, by)) if is_known else last if whole else None,), np.dtype(np.int64))

    def merge(self, _axes, *_limits):
        return None

    def forward(self, start=None, stop=None, step=None):
        return np.arange(*self._limits(start, stop, step), dtype=np.int64)

    def _limits(self, start, stop, step):
        """Start, stop and step, with the defaults of those that are omitted."""
        if start is None and stop is None:
            raise ValueError("it needs a stop")
        first, last = (0, start) if stop is None else (0 if start is None else start, stop)
        return first, last, 1 if step is None else step


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
        raise ValueError(f"dtype {dtype} cannot hold the number {number}; choose another number or a wider dtype")
    return z


def extremes(dtype):
    """The smallest and the largest number of a dtype: infinities of floating-point numbers, False and True of bool."""
    if dtype.kind in "iu":
        return np.iinfo(dtype).min, np.iinfo(dtype).max
    return (False, True) if dtype.kind == "b" else (-math.inf, math.inf)
