"""Constants: a number as a node, with a dtype of its own."""

from typing import Literal

import numpy as np

from graphengine.ops.node import Node
from graphengine.ops.numbers import NON_FINITE
from graphengine.ops.registry import register
from graphengine.ops.shapes import ArrayType, DTypeName


@register("constant")
class Constant(Node):
    """A number as a node, z = value.

    The scalar `value` in `dtype`. Unlike a literal it takes part in NumPy's promotion with its dtype.
    """

    value: float | Literal["NaN", "Infinity", "-Infinity"]
    dtype: DTypeName = "float64"

    def infer(self):
        return ArrayType((), represented(self).dtype)

    def forward(self):
        return np.dtype(self.dtype).type(NON_FINITE.get(self.value, self.value))


def represented(constant):
    """The number of a constant, if its dtype has it: one of floating-point numbers may round, but not to infinity."""
    value = NON_FINITE.get(constant.value, constant.value)
    with np.errstate(over="ignore"):
        z = constant.forward()
    if np.isfinite(z) != np.isfinite(value) or (z.dtype.kind != "f" and z != value):
        raise ValueError(f"dtype {constant.dtype} does not have the number {value}")
    return z
