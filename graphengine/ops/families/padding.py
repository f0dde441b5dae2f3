"""Arrays with a margin: extra elements along each axis, which are a constant or copies of values of the array. `unpad`
removes a margin of copies and adds each of them to the value it was copied from; `pad` and `unpad` are each other's
gradient.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from graphengine.ops.families.constants import represented
from graphengine.ops.families.selection import IndexAdd, Slice
from graphengine.ops.inference import floating
from graphengine.ops.node import Node
from graphengine.ops.registry import register
from graphengine.ops.shapes import ArrayType, shape_text, total

Width = Annotated[int, Field(ge=0)]
Margin = tuple[tuple[Width, Width], ...]
Copies = Literal["edge", "reflect", "symmetric", "wrap"]


@register("pad", numpy=np.pad, traits=("primitive",))
class Pad(Node):
    """x with `pad_width` = [[before, after], ...] extra elements along each axis, filled according to `mode`.

    z = pad(x, pad_width, mode); dx = unpad(dz, pad_width, mode).

    As `numpy.pad`: "constant" fills with `constant_values`; "edge" repeats the value at the edge; "reflect" mirrors x
    without the value at the edge and "symmetric" with it; "wrap" continues at the other end. `unpad` has no mode
    "constant", because it would only drop such a margin.
    """

    pad_width: Margin
    mode: Literal["constant", "edge", "reflect", "symmetric", "wrap"] = "constant"
    constant_values: float | Literal["NaN", "Infinity", "-Infinity"] = 0.0

    def infer(self, x):
        if self.mode != "constant" and self.constant_values:
            raise ValueError(f"constant_values are for mode 'constant', not '{self.mode}'")
        if self.mode != "constant" and any(any(widths) and size == 0 for size, widths in margins(self, x)):
            raise ValueError(f"an axis of size 0 has no values to fill a margin with: shape {shape_text(x.shape)}")
        represented(self.constant_values, x.array_dtype)
        return ArrayType(tuple(total((size, *widths)) for size, widths in margins(self, x)), x.dtype)

    def merge(self, axes, _x):
        return None if any(self.pad_width[axes[0]]) else "rows"

    def forward(self, x):
        if self.mode != "constant":
            return np.pad(x, self.pad_width, self.mode) if self.pad_width else x
        shape = [size + sum(widths) for size, widths in margins(self, x)]
        z = np.full(shape, represented(self.constant_values, x.dtype), x.dtype)
        z[tuple(slice(before, before + size) for size, (before, _) in margins(self, x))] = x
        return z

    def backward(self, grad):
        if self.mode != "constant":
            return Unpad(pad_width=self.pad_width, mode=self.mode)(grad)
        starts, stops = (
            tuple(before for before, _ in self.pad_width),
            tuple(-after or None for _, after in self.pad_width),
        )
        return Slice(start=starts, stop=stops, axis=tuple(range(len(starts))))(grad)


@register("unpad")
class Unpad(Node):
    """x without its margin, each value of which is added to the one that `pad` copies there.

    z = unpad(x, pad_width, mode); dx = pad(dz, pad_width, mode).
    """

    pad_width: Margin
    mode: Copies

    def infer(self, x):
        sizes = tuple(total((size, -sum(widths))) for size, widths in margins(self, x))
        for size, widths in zip(sizes, self.pad_width, strict=True):
            if isinstance(size, int) and size < any(widths):
                raise ValueError(f"a margin of {self.pad_width} is too wide for shape {shape_text(x.shape)}")
        return ArrayType(sizes, floating(x))

    def merge(self, axes, _x):
        return None if any(self.pad_width[axes[0]]) else "rows"

    def forward(self, x):
        for axis, (size, (before, after)) in enumerate(margins(self, x)):
            if not (before or after):
                continue
            inside = size - before - after
            first, x, last = np.split(x, (before, before + inside), axis=axis)
            copied = np.delete(np.pad(np.arange(inside), (before, after), self.mode), slice(before, before + inside))
            x = IndexAdd(axis=axis).forward(x, copied, np.concatenate((first, last), axis=axis))
        return x

    def backward(self, grad):
        return Pad(pad_width=self.pad_width, mode=self.mode)(grad)


def margins(node, x):
    """Each axis's size with the widths of its margin."""
    if len(node.pad_width) != len(x.shape):
        raise ValueError(f"pad_width {node.pad_width} must have a pair for each of {len(x.shape)} axes")
    return list(zip(x.shape, node.pad_width, strict=True))
