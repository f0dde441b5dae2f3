"""Euclidean norms that neither overflow nor vanish where the norm itself is a number of the dtype.

A sum of squares leaves the range of a dtype at the root of its largest number: 1e154 in double precision, 1.8e19 in
single. So the sums are looked at, of which there are few, and only where one has left the range where it is exact to
rounding are its numbers divided by a power of two and squared again (Blue, A portable Fortran program to find the
Euclidean norm of a vector, 1978). The reference executor and the plans call the same function.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphengine.ops.inference import normalized_axes
from graphengine.ops.sums import LONGEST_PRODUCT, dot_products, is_single, sum_over, sums_in_blocks

LINE = 10_000
"""A dot product of at most this length is computed by one thread of the BLAS library."""
SHORT = LONGEST_PRODUCT
"""A dot product of at most this length is NumPy's in every precision."""
SMALLEST = {kind: float(np.finfo(kind).tiny) for kind in (np.float16, np.float32, np.float64)}
"""For each number of a sum of squares as much is so large that squares without all their digits do not count."""


def euclidean_norm(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The root of the sum of squares over axes; of integers in double precision."""
    x = np.asarray(x)
    if is_complex(x):
        return np.sqrt(sum_over(np.square(x), axis, keepdims))
    if x.dtype.kind != "f":
        x = x.astype(np.float64)
    with np.errstate(over="ignore"):
        roots = norm_over(x, normalized_axes(axis, x.ndim), x.size * SMALLEST[x.dtype.type])
    return np.expand_dims(roots, normalized_axes(axis, x.ndim)) if keepdims else roots


def hypotenuse(x: Any, y: Any) -> Any:
    """The root of x**2 + y**2, as `numpy.hypot`."""
    if is_complex(x) or is_complex(y):
        return np.sqrt(np.square(x) + np.square(y))
    return np.hypot(x, y)


def root_of_size(size: Any, like: Any) -> Any:
    """The root of a number of values, which may be known only at run time, in the dtype of what it divides."""
    if isinstance(size, (int, float)) and size >= 0:
        return math.sqrt(size)
    return np.sqrt(np.ones_like(like) * size)


def is_complex(x: Any) -> bool:
    """Whether a value is complex, as those of a complex step are: of these a norm is not the length of arrows."""
    return getattr(getattr(x, "dtype", None), "kind", None) == "c"


def norm_over(x: Any, axes: tuple[int, ...], smallest: float) -> Any:
    """The same of floating-point numbers over axes counted from 0; sums below `smallest` are computed again."""
    if len(axes) == x.ndim:
        return x.dtype.type(norm_of_all(x, smallest))
    squares = sum_of_squares(x, axes)
    roots = np.sqrt(squares)
    if squares.size and not (
        smallest <= np.minimum.reduce(squares, None) and np.maximum.reduce(squares, None) < math.inf
    ):
        inexact = (squares < smallest) | (squares == np.inf)
        roots[inexact] = _scaled(_in_rows(x, axes)[inexact])
    return roots


def norm_of_all(x: Any, smallest: float) -> float:
    """The norm of all numbers of an array as a Python float, which has the bits of the root in each precision."""
    flat = x.reshape(-1)
    total = float(flat.dot(flat) if flat.size <= SHORT else sum_of_squares(flat, (0,)))
    return math.sqrt(total) if smallest <= total < math.inf else float(_scaled(flat.reshape(1, -1))[0])


def sum_of_squares(x: Any, axes: tuple[int, ...]) -> Any:
    """The sum of squares over axes, as a rule without an array of squares."""
    kept = x.ndim - len(axes)
    if axes and axes[0] != kept:
        if sums_in_blocks(x, axes):
            return sum_over(np.square(x), axes)
        places = list(range(x.ndim))
        return np.einsum(x, places, x, places, [place for place in places if place not in axes])
    rows = x if len(axes) == 1 else x.reshape(*x.shape[:kept], -1)
    length = rows.shape[-1]
    if length <= SHORT:
        return np.vecdot(rows, rows)
    if length <= LINE or is_single(x):
        return dot_products(rows, rows)
    whole = length // LINE * LINE
    lines, rest = rows[..., :whole].reshape(*rows.shape[:-1], -1, LINE), rows[..., whole:]
    return sum_over(dot_products(lines, lines), -1) + dot_products(rest, rest)


def _in_rows(x: Any, axes: tuple[int, ...]) -> Any:
    """The numbers of each norm along the last axis."""
    others = [place for place in range(x.ndim) if place not in axes]
    return x.transpose(*others, *axes).reshape(*[x.shape[place] for place in others], -1)


def _scaled(rows: Any) -> Any:
    """The norms of rows, each divided by a power of two that is next to its largest number."""
    largest = np.max(np.abs(rows), axis=-1, initial=0)
    _, exponents = np.frexp(np.where(np.isfinite(largest), largest, 1))
    rows = np.ldexp(rows, -exponents[:, None])
    return np.ldexp(np.sqrt(sum_of_squares(rows, (1,))), exponents)
