"""Sums of many numbers of single precision, in blocks.

NumPy adds pairwise along the axis that is innermost in memory, and one number after the other along any other axis: of
a million float32 rows of 0.1 the sum is then off by a percent. BLAS does the same with products. Here such an axis is
cut into blocks of 32 numbers that are added in single precision, the sums of up to 32 blocks as well, and more of them
in double precision. With u = 2**-24 a sum differs from the exact one by at most 66 * u * sum(abs(x)), however many
numbers there are, a product of matrices by at most (p + 66) * u * sum(abs(x * y)), where p products are a block: 128,
or more where the sums of all blocks took more memory than the matrices (Higham, Accuracy and Stability of Numerical
Algorithms, 2002, section 4.2). Short sums, and those in double precision, are NumPy's own. The reference executor and
the plans call the same functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphengine.ops.inference import normalized_axes
from graphengine.ops.node import Recorded

BLOCK = 32
"""Numbers that are added one after the other in single precision."""
LONGEST, WIDE = 256, 256
"""Up to this many numbers are added as NumPy does it, four times as many in rows of this width, which it adds fast."""
PRODUCTS = 128
"""Products that BLAS adds up in single precision; more where the sums of all blocks would take too much memory."""
LONGEST_PRODUCT = 1024
"""Up to so many products are added as BLAS does it."""


def sum_over(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The sum over axes, as `numpy.sum`."""
    if not isinstance(x, Recorded) and is_single(x):
        axes = normalized_axes(axis, np.ndim(x))
        if sums_in_blocks(x, axes):
            return add_up(x, axes, keepdims)
    return np.sum(x, axis=axis, keepdims=keepdims)


def matrix_product(x: Any, y: Any) -> Any:
    """The product of matrices, as `numpy.matmul`."""
    if isinstance(x, Recorded) or isinstance(y, Recorded) or not multiplies_in_blocks(x, y):
        return np.matmul(x, y)
    return multiply(x, y)


def dot_products(x: Any, y: Any) -> Any:
    """The sums of products along the last axis, as `numpy.vecdot`."""
    if isinstance(x, Recorded) or isinstance(y, Recorded) or not multiplies_in_blocks(x, y):
        return np.vecdot(x, y)
    count = x.shape[-1] // PRODUCTS
    whole = count * PRODUCTS
    front = [each[..., :whole].reshape(*each.shape[:-1], count, PRODUCTS) for each in (x, y)]
    rest = np.vecdot(x[..., whole:], y[..., whole:])
    return np.asarray(np.add.reduce(np.vecdot(*front), -1, np.float64) + rest, np.float32)[()]


def running_sum(x: Any, axis: int) -> Any:
    """The sum of the values up to each along an axis, as `numpy.cumsum`."""
    if isinstance(x, Recorded) or not sums_in_blocks(x, [axis]):
        return np.cumsum(x, axis=axis)
    return np.cumsum(x, axis=axis, dtype=np.float64).astype(np.float32)


def is_single(x: Any) -> bool:
    """Whether a value, or what has its type, is of single precision."""
    return getattr(x, "dtype", None) == np.float32


def is_long(count: int) -> bool:
    """Whether this many numbers of single precision are not added one after the other."""
    return count > LONGEST


def sums_in_blocks(x: Any, axes: Iterable[int]) -> bool:
    """Whether a sum over axes is of so many numbers that they are added in blocks; x is an array or a type of one."""
    if not is_single(x):
        return False
    count, size = math.prod([x.shape[axis] for axis in axes]), math.prod(x.shape)
    return size > 0 and is_long(count) and (size < WIDE * count or count > 4 * LONGEST)


def multiplies_in_blocks(x: Any, y: Any) -> bool:
    """Whether the sums of a product of arrays are so long that they are made in blocks."""
    return is_single(x) and is_single(y) and x.shape[-1] > LONGEST_PRODUCT


def add_up(x: Any, axes: Sequence[int], keepdims: bool = False, out: Any = None) -> Any:
    """The sum of single precision over axes, counted from 0; written into `out` where that is given."""
    order = range(x.ndim) if x.flags.c_contiguous else sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    z = _added(x, order, axes)
    result = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    if not x.flags.c_contiguous:
        z = z.reshape([result[axis] for axis in order]).transpose(np.argsort(order))
    z = z.reshape(result if keepdims else [size for axis, size in enumerate(result) if axis not in axes])
    if out is None:
        return np.asarray(z, np.float32, order="C")[()]
    np.copyto(out, z, casting="same_kind")
    return out


def _added(x: Any, order: Sequence[int], axes: Sequence[int]) -> Any:
    """The sums of an array whose axes are taken in another order, in any shape."""
    sizes, flags = _merged([(x.shape[axis], axis in axes) for axis in order])
    z = np.ascontiguousarray(x.transpose(order)).reshape(sizes)
    if flags[-1]:
        z = np.add.reduce(z, -1)  # pairwise
    for axis in reversed(range(len(flags) - flags[-1])):
        if flags[axis]:
            z = _folded(z.reshape(math.prod(sizes[:axis]), sizes[axis], -1))
    return z


def _merged(axes: Iterable[tuple[int, bool]]) -> tuple[list[int], list[bool]]:
    """Sizes of axes, with neighbors joined that are both summed over or both not, and whether each is summed over."""
    sizes: list[int] = []
    flags: list[bool] = []
    for size, flag in axes:
        if flags and (flag == flags[-1] or size == 1):
            sizes[-1] *= size
        else:
            sizes.append(size)
            flags.append(flag)
    return sizes, flags


def _folded(x: Any) -> Any:
    """The sum along the second of three axes, of many numbers in double precision.

    The numbers of a block lie apart, so that whole parts of an array are added at once.
    """
    before, length, after = x.shape
    count = length // BLOCK if is_single(x) else 0
    if count < 2:
        return np.add.reduce(x, 1, np.float64)
    whole, dtype = count * BLOCK, np.float64 if count > BLOCK else np.float32
    blocks = np.add.reduce(x[:, :whole].reshape(before, BLOCK, count * after), 1)
    z = np.add.reduce(blocks.reshape(before, count, after), 1, dtype)
    return z if whole == length else z + np.add.reduce(x[:, whole:], 1, dtype)


def multiply(x: Any, y: Any) -> Any:
    """The product of matrices of single precision, the sums in blocks."""
    if x.ndim == y.ndim == 1:
        return dot_products(x, y)
    rows, columns = x[None] if x.ndim == 1 else x, y[:, None] if y.ndim == 1 else y
    (height, length), width = rows.shape[-2:], columns.shape[-1]
    block = PRODUCTS
    while length // block * height * width > length * (height + width):
        block *= 2
    count = length // block
    if not count:
        return np.matmul(x, y)
    whole = count * block
    lying = rows[..., :whole].reshape(*rows.shape[:-1], count, block).swapaxes(-3, -2)
    standing = columns[..., :whole, :].reshape(*columns.shape[:-2], count, block, width)
    products = np.matmul(lying, standing)
    *leading, _, _, _ = products.shape
    z = _folded(products.reshape(math.prod(leading), count, height * width)).reshape(*leading, height, width)
    if whole < length:
        z = z + np.matmul(rows[..., whole:], columns[..., whole:, :])
    return np.squeeze(z, (-2,) * (x.ndim == 1) + (-1,) * (y.ndim == 1)).astype(np.float32)
