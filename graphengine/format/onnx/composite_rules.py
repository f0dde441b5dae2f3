"""Rules of functions without an op in ONNX or without a kernel of double precision in onnxruntime: composites.

The table of decompositions in docs/onnx.md has their accuracy, which the tests measure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from graphengine.format.onnx.emitting import Applied, Emitter, exports
from graphengine.ops.families import special

ATAN_ABOVE = (
    -8.750608600031904122785e-1,
    -1.615753718733365076637e1,
    -7.500855792314704667340e1,
    -1.228866684490136173410e2,
    -6.485021904942025371773e1,
)
ATAN_BELOW = (
    1.0,
    2.485846490142306297962e1,
    1.650270098316988542046e2,
    4.328810604912902668951e2,
    4.853903996359136964868e2,
    1.945506571482613964425e2,
)
"""The rational approximation of the arctangent up to 0.66 in the Cephes library (Moshier 1989)."""
LARGE = 1e8
"""From here on a square swallows a 1."""


def polynomial(emit: Emitter, coefficients: Iterable[float], x: str, dtype: Any) -> str:
    """Return a polynomial by Horner's rule; the highest power comes first."""
    first, *rest = [emit.constant(each, dtype) for each in coefficients]
    for coefficient in rest:
        first = emit("Add", emit("Mul", first, x), coefficient)
    return first


def _odd(emit: Emitter, x: str, of_size: str, dtype: Any) -> str:
    """Return an odd function of x from its value at |x|; zeros keep their sign."""
    zero = emit.constant(0, dtype)
    signed = emit("Where", emit("Less", x, zero), emit("Neg", of_size), of_size)
    return emit("Where", emit("Equal", x, zero), x, signed)


@exports("log1p")
def log1p(emit: Emitter, applied: Applied) -> str:
    """Write log(u) * x / (u - 1) with u = 1 + x, and x where u is 1.

    Kahan's formula (Higham, Accuracy and Stability of Numerical Algorithms, 2002, problem 1.5): errors of u cancel.
    """
    dtype = emit.result_dtype(applied)
    return log1p_of(emit, emit.read(applied, 0, dtype), dtype)


def log1p_of(emit: Emitter, x: str, dtype: Any) -> str:
    """Return log1p of a value, by Kahan's formula."""
    one = emit.constant(1, dtype)
    u = emit("Add", one, x)
    corrected = emit("Mul", emit("Log", u), emit("Div", x, emit("Sub", u, one)))
    finite = emit("Where", emit("Equal", u, x), emit("Log", u), corrected)  # of infinity, and of what swallows the 1
    return emit("Where", emit("Equal", u, one), x, finite)


@exports("expm1")
def expm1(emit: Emitter, applied: Applied) -> str:
    """Write (u - 1) * x / log(u) with u = exp(x), x where u is 1, and u - 1 where |x| > 1.

    Kahan's formula (Higham 2002, section 1.14.1).
    """
    dtype = emit.result_dtype(applied)
    return _expm1(emit, emit.read(applied, 0, dtype), dtype)


def _expm1(emit: Emitter, x: str, dtype: Any) -> str:
    one = emit.constant(1, dtype)
    u = emit("Exp", x)
    less = emit("Sub", u, one)
    corrected = emit("Mul", less, emit("Div", x, emit("Log", u)))
    near = emit("Where", emit("Greater", emit("Abs", x), one), less, corrected)
    return emit("Where", emit("Equal", u, one), x, near)


@exports("hypot")
def hypot(emit: Emitter, applied: Applied) -> str:
    """Write m * sqrt(1 + (n / m)**2) with the larger magnitude m and the smaller n, without overflow."""
    dtype = emit.result_dtype(applied)
    x, y = (emit("Abs", emit.read(applied, place, dtype)) for place in (0, 1))
    large, small = emit("Max", x, y), emit("Min", x, y)
    ratio = emit("Div", small, large)
    length = emit("Mul", large, emit("Sqrt", emit("Add", emit.constant(1, dtype), emit("Mul", ratio, ratio))))
    zero, most = emit.constant(0, dtype), emit.constant(np.inf, dtype)
    known = emit("Where", emit("Equal", large, zero), zero, length)
    infinite = emit("Or", emit("Equal", x, most), emit("Equal", y, most))
    return emit("Where", infinite, most, known)


@exports("log2", "log10")
def logarithm(emit: Emitter, applied: Applied) -> str:
    """Write log(x) / log(base)."""
    dtype = emit.result_dtype(applied)
    base = 2.0 if applied.node.op == "log2" else 10.0
    return emit("Div", emit("Log", emit.read(applied, 0, dtype)), emit.constant(np.log(base), dtype))


@exports("tan")
def tan(emit: Emitter, applied: Applied) -> str:
    """Write sin(x) / cos(x), as accurate as the runtime has these."""
    x = emit.read(applied, 0, emit.result_dtype(applied))
    return emit("Div", emit("Sin", x), emit("Cos", x))


@exports("cosh")
def cosh(emit: Emitter, applied: Applied) -> str:
    """Write t * (t / 2) + exp(-|x|) / 2 with t = exp(|x| / 2), without early overflow."""
    dtype = emit.result_dtype(applied)
    size, half = emit("Abs", emit.read(applied, 0, dtype)), emit.constant(0.5, dtype)
    root = emit("Exp", emit("Mul", size, half))
    small = emit("Mul", half, emit("Exp", emit("Neg", size)))
    return emit("Add", emit("Mul", root, emit("Mul", root, half)), small)


@exports("sinh")
def sinh(emit: Emitter, applied: Applied) -> str:
    """Write (e + e / (e + 1)) / 2 with e = expm1(|x|), and t * (t / 2) with t = exp(|x| / 2) from 22 on."""
    dtype = emit.result_dtype(applied)
    x, half = emit.read(applied, 0, dtype), emit.constant(0.5, dtype)
    size = emit("Abs", x)
    e = _expm1(emit, size, dtype)
    near = emit("Mul", half, emit("Add", e, emit("Div", e, emit("Add", e, emit.constant(1, dtype)))))
    root = emit("Exp", emit("Mul", size, half))
    far = emit("Mul", root, emit("Mul", root, half))
    return _odd(emit, x, emit("Where", emit("Greater", size, emit.constant(22, dtype)), far, near), dtype)


@exports("arcsinh")
def arcsinh(emit: Emitter, applied: Applied) -> str:
    """Write log1p(|x| + x**2 / (1 + sqrt(1 + x**2))), and log(|x|) + log(2) where |x| is large."""
    dtype = emit.result_dtype(applied)
    x, one = emit.read(applied, 0, dtype), emit.constant(1, dtype)
    size = emit("Abs", x)
    squared = emit("Mul", size, size)
    root = emit("Add", one, emit("Sqrt", emit("Add", one, squared)))
    near = log1p_of(emit, emit("Add", size, emit("Div", squared, root)), dtype)
    return _odd(emit, x, _or_log_of_twice(emit, size, near, dtype), dtype)


@exports("arccosh")
def arccosh(emit: Emitter, applied: Applied) -> str:
    """Write log1p(t + sqrt(2 * t + t**2)) with t = x - 1, and log(x) + log(2) where x is large."""
    dtype = emit.result_dtype(applied)
    x, one = emit.read(applied, 0, dtype), emit.constant(1, dtype)
    t = emit("Sub", x, one)
    under = emit("Mul", t, emit("Add", t, emit.constant(2, dtype)))
    near = log1p_of(emit, emit("Add", t, emit("Sqrt", under)), dtype)
    found = _or_log_of_twice(emit, x, near, dtype)
    return emit("Where", emit("Less", x, one), emit.constant(np.nan, dtype), found)


def _or_log_of_twice(emit: Emitter, x: str, near: str, dtype: Any) -> str:
    """Return log(2 * x) where x is large, without overflow, else `near`."""
    far = emit("Add", emit("Log", x), emit.constant(np.log(2), dtype))
    return emit("Where", emit("Greater", x, emit.constant(LARGE, dtype)), far, near)


@exports("arctanh")
def arctanh(emit: Emitter, applied: Applied) -> str:
    """Write log1p(2 * |x| / (1 - |x|)) / 2."""
    dtype = emit.result_dtype(applied)
    x = emit.read(applied, 0, dtype)
    size = emit("Abs", x)
    ratio = emit("Div", emit("Add", size, size), emit("Sub", emit.constant(1, dtype), size))
    return _odd(emit, x, emit("Mul", emit.constant(0.5, dtype), log1p_of(emit, ratio, dtype)), dtype)


@exports("arctan")
def arctan(emit: Emitter, applied: Applied) -> str:
    """Write a rational approximation of |x|, of (|x| - 1) / (|x| + 1) from 0.66 on, of -1 / |x| from 2.4 on."""
    dtype = emit.result_dtype(applied)
    x = emit.read(applied, 0, dtype)
    return _odd(emit, x, _arctan_of_size(emit, emit("Abs", x), dtype), dtype)


def _arctan_of_size(emit: Emitter, size: str, dtype: Any) -> str:
    one, zero = emit.constant(1, dtype), emit.constant(0, dtype)
    far = emit("Greater", size, emit.constant(1 + np.sqrt(2), dtype))
    middle = emit("Greater", size, emit.constant(0.66, dtype))

    def by_range(of_far: str, of_middle: str, of_near: str) -> str:
        return emit("Where", far, of_far, emit("Where", middle, of_middle, of_near))

    ratio = emit("Div", emit("Sub", size, one), emit("Add", size, one))
    t = by_range(emit("Neg", emit("Div", one, size)), ratio, size)
    base = by_range(emit.constant(np.pi / 2, dtype), emit.constant(np.pi / 4, dtype), zero)
    rest = 6.123233995736766e-17  # what rounding takes off pi / 2
    more = by_range(emit.constant(rest, dtype), emit.constant(rest / 2, dtype), zero)
    z = emit("Mul", t, t)
    above, below = (polynomial(emit, each, z, dtype) for each in (ATAN_ABOVE, ATAN_BELOW))
    series = emit("Add", emit("Mul", t, emit("Mul", z, emit("Div", above, below))), t)
    return emit("Add", base, emit("Add", series, more))


@exports("arctan2")
def arctan2(emit: Emitter, applied: Applied) -> str:
    """Write the arctangent of the smaller magnitude over the larger, moved to its octant."""
    dtype = emit.result_dtype(applied)
    return _arctan2(emit, emit.read(applied, 0, dtype), emit.read(applied, 1, dtype), dtype)


def _arctan2(emit: Emitter, y: str, x: str, dtype: Any) -> str:
    zero, one, most = (emit.constant(each, dtype) for each in (0, 1, np.inf))
    height, width = emit("Abs", y), emit("Abs", x)
    large, small = emit("Max", height, width), emit("Min", height, width)
    ratio = emit("Where", emit("Equal", large, zero), zero, emit("Div", small, large))
    ratio = emit("Where", emit("Equal", small, most), one, ratio)
    angle = _arctan_of_size(emit, ratio, dtype)
    complement = emit("Sub", emit.constant(np.pi / 2, dtype), angle)
    angle = emit("Where", emit("Greater", height, width), complement, angle)
    opposite = emit("Sub", emit.constant(np.pi, dtype), angle)
    angle = emit("Where", _is_negative(emit, x, dtype), opposite, angle)
    return emit("Where", _is_negative(emit, y, dtype), emit("Neg", angle), angle)


def _is_negative(emit: Emitter, x: str, dtype: Any) -> str:
    """Return whether the sign bit of a number is set, that of -0 too."""
    zero, inverse = emit.constant(0, dtype), emit("Div", emit.constant(1, dtype), x)
    return emit("Or", emit("Less", x, zero), emit("Less", inverse, zero))


@exports("arcsin")
def arcsin(emit: Emitter, applied: Applied) -> str:
    """Write arctan2(x, sqrt((1 - x) * (1 + x)))."""
    dtype = emit.result_dtype(applied)
    x, one = emit.read(applied, 0, dtype), emit.constant(1, dtype)
    root = emit("Sqrt", emit("Mul", emit("Sub", one, x), emit("Add", one, x)))
    return _arctan2(emit, x, root, dtype)


@exports("arccos")
def arccos(emit: Emitter, applied: Applied) -> str:
    """Write 2 * arctan2(sqrt(1 - x), sqrt(1 + x))."""
    dtype = emit.result_dtype(applied)
    x, one = emit.read(applied, 0, dtype), emit.constant(1, dtype)
    below, above = emit("Sqrt", emit("Sub", one, x)), emit("Sqrt", emit("Add", one, x))
    return emit("Mul", emit.constant(2, dtype), _arctan2(emit, below, above, dtype))


@exports("erf")
def erf(emit: Emitter, applied: Applied) -> str:
    """Write Erf in single precision; in double, for which the runtime has none, our Taylor series.

    Its coefficients lie in a table, one row for each power, and are gathered at the nearest point of the grid.
    """
    dtype = emit.result_dtype(applied)
    x = emit.read(applied, 0, dtype)
    if dtype != np.float64:
        return emit("Erf", x)
    last, grid = emit.constant(special.LAST, dtype), emit.constant(special.GRID, dtype)
    size, known = emit("Abs", x), emit("Equal", x, x)
    size = emit("Min", emit("Where", known, size, emit.constant(0, dtype)), last)
    nearest = emit("Round", emit("Mul", size, grid))
    place, h = emit.cast(nearest, dtype, np.int64), emit("Sub", size, emit("Div", nearest, grid))
    rows = [emit("Gather", emit.constant(each, dtype), place) for each in special.ERF]
    z = rows[-1]
    for row in rows[-2::-1]:
        z = emit("Add", emit("Mul", z, h), row)
    signed = emit("Where", emit("Less", x, emit.constant(0, dtype)), emit("Neg", z), z)
    return emit("Where", known, signed, x)
