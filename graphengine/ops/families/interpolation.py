"""Places in sorted arrays, and functions that are given by a table."""

from typing import Literal

import numpy as np

from graphengine.ops.families.comparison import where_defined
from graphengine.ops.families.selection import IndexAdd
from graphengine.ops.node import Node
from graphengine.ops.registry import register
from graphengine.ops.shapes import ArrayType, PythonNumber, shape_text


@register("searchsorted", numpy=np.searchsorted, traits=("primitive",))
class SearchSorted(Node):
    """Places at which values would keep an increasing array in order, z = searchsorted(a, v, side).

    As `numpy.searchsorted`: a[z - 1] < v <= a[z], with side "right" a[z - 1] <= v < a[z]. Passes no gradient.
    """

    side: Literal["left", "right"] = "left"

    def infer(self, a, v):
        require_vector("a", a)
        return ArrayType(v.shape, np.dtype(np.int64))

    def merge(self, axes, _a, _v):
        return "rows" if axes[0] is None else None

    def forward(self, a, v):
        return np.searchsorted(a, v, self.side)


@register("interp", numpy=np.interp)
class Interp(Node):
    """Linear interpolation in a table of increasing points xp and values fp.

    z = interp(x, xp, fp);
    dx = dz * (fp[k + 1] - fp[k]) / (xp[k + 1] - xp[k]) * (0 <= t) * (t <= 1),
    dxp = spread(dz * slope * (u - 1) * inside, k) - spread(dz * slope * u * inside, k + 1),
    dfp = spread(dz * (1 - u), k) + spread(dz * u, k + 1).

    As `numpy.interp`: the first value below the first point, the last value above the last point. NaN everywhere if the
    points do not increase.
    """

    def infer(self, x, xp, fp):
        require_vector("xp", xp)
        require_vector("fp", fp)
        if xp.shape != fp.shape:
            raise ValueError(f"xp and fp have the shapes {shape_text(xp.shape)} and {shape_text(fp.shape)}")
        if isinstance(xp.shape[0], int) and xp.shape[0] < 2:
            raise ValueError("a table needs at least two points")
        place = 1.0 if isinstance(x.dtype, PythonNumber) else x.dtype
        return ArrayType(x.shape, np.result_type(place, xp.array_dtype, fp.array_dtype, 0.0))

    def merge(self, axes, _x, _xp, _fp):
        return "rows" if axes[1:] == (None, None) else None

    def forward(self, x, xp, fp):
        dtype = np.result_type(x, xp, fp, 0.0)
        if len(xp) < 2 or not np.all(xp[1:] > xp[:-1]):
            return np.full(np.shape(x), np.nan, dtype)[()]
        return np.asarray(np.interp(x, xp, fp), dtype)[()]

    def backward(self, grad, x, xp, fp, out):
        grad = where_defined(grad, out)
        left = np.minimum(np.maximum(np.searchsorted(xp, x, side="right") - 1, 0), np.shape(xp)[0] - 2)
        right = left + 1
        low, high = np.take(fp, left, axis=0), np.take(fp, right, axis=0)
        start, end = np.take(xp, left, axis=0), np.take(xp, right, axis=0)
        part, slope = (x - start) / (end - start), (high - low) / (end - start)
        inside = np.logical_and(part >= 0, part <= 1)
        clipped, steep = np.clip(part, 0.0, 1.0), grad * slope * inside
        spread = IndexAdd(axis=0)
        of_points = spread(spread(np.zeros_like(xp), left, steep * (clipped - 1)), right, -steep * clipped)
        of_values = spread(spread(np.zeros_like(fp), left, grad * (1 - clipped)), right, grad * clipped)
        return steep, of_points, of_values


def require_vector(name, kind):
    """Refuse what has not exactly one axis."""
    if len(kind.shape) != 1:
        raise ValueError(f"{name} must have one axis, not shape {shape_text(kind.shape)}")
