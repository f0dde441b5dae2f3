"""Ops that change or return a shape.

An op that needs the shape of its result takes it as the attribute `shape` or, if sizes are only known at run time, as
the input `sizes`: a vector of integers, such as the result of the op `shape`.
"""

import itertools
import math
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from graphengine.ops.inference import elementwise, floating, normalized_axes, target_shape
from graphengine.ops.node import Node
from graphengine.ops.registry import register
from graphengine.ops.shapes import (
    ArrayType,
    DTypeName,
    PythonNumber,
    broadcast_shapes,
    factors,
    powers,
    product,
    shape_text,
)
from graphengine.ops.sums import sum_over


@register("shape", numpy=np.shape, traits=("view", "primitive", "sizes_only"))
class Shape(Node):
    """The sizes of x as a vector of integers, z = shape(x)."""

    def infer(self, x):
        return ArrayType((len(x.shape),), np.dtype(np.int64), x.shape)

    def forward(self, x):
        return np.array(np.shape(x), np.int64)


@register("size", numpy=np.size, traits=("view", "primitive", "sizes_only"))
class Size(Node):
    """The number of values in x or, given `axis`, along that axis: a Python integer, z = size(x, axis)."""

    axis: int | None = None

    def infer(self, x):
        sizes = x.shape if self.axis is None else (x.shape[normalized_axes(self.axis, len(x.shape))[0]],)
        return ArrayType((), PythonNumber.INT, (product(sizes),))

    def forward(self, x):
        return np.size(x, self.axis)


@register("reshape", numpy=np.reshape, traits=("view", "keeps_one", "gives_axes", "type_only", "primitive"))
class Reshape(Node):
    """The values of x in another shape of the same size, z = reshape(x, shape); dx = reshape(dz, x.shape).

    One size may be -1, which follows from the others.
    """

    shape: tuple[int, ...] | None = None

    def infer(self, x, sizes=None):
        return ArrayType(reshaped(x.shape, target_shape(self, sizes)), x.array_dtype)

    def merge(self, axes, x, sizes=None):
        before = list(itertools.takewhile(lambda size: isinstance(size, int), self.infer(x, sizes).shape))
        return "rows" if axes[0] is not None and product(x.shape[: axes[0]]) == product(before) else None

    def forward(self, x, sizes=None):
        return np.reshape(x, self.shape if sizes is None else tuple(sizes))

    def backward(self, grad, x):
        return np.reshape(grad, x.shape), None


@register("flatten", traits=("view",))
class Flatten(Node):
    """x with its axes from `axis` on merged into one, z = reshape(x, (*x.shape[:axis], -1)); dx = reshape(dz, x.shape).

    Axis 0 gives a vector, axis 1 a vector for each sample. Unlike in ONNX the axes before `axis` stay as they are.
    """

    axis: int = 0

    def infer(self, x):
        axis = flattened_from(self, len(x.shape))
        return ArrayType((*x.shape[:axis], product(x.shape[axis:])), x.array_dtype)

    def merge(self, axes, x):
        return "rows" if axes[0] <= flattened_from(self, len(x.shape)) else None

    def forward(self, x):
        axis = flattened_from(self, np.ndim(x))
        return np.reshape(x, (*np.shape(x)[:axis], math.prod(np.shape(x)[axis:])))

    def backward(self, grad, x):
        return np.reshape(grad, x.shape)


@register("squeeze", numpy=np.squeeze, traits=("view", "keeps_one", "primitive"))
class Squeeze(Node):
    """x without axes of size 1, z = squeeze(x, axis); dx = expand_dims(dz, axis).

    They must be named, because which symbolic sizes are 1 is not known.
    """

    merge = "rows"
    axis: int | tuple[int, ...]

    def infer(self, x):
        axes = normalized_axes(self.axis, len(x.shape))
        if any(x.shape[axis] not in (1, None) for axis in axes):
            raise ValueError(f"axis {self.axis} of shape {shape_text(x.shape)} is not of size 1")
        return ArrayType(tuple(size for axis, size in enumerate(x.shape) if axis not in axes), x.array_dtype)

    def forward(self, x):
        return np.squeeze(x, axis=self.axis)

    def backward(self, grad, x):
        return np.reshape(grad, x.shape)


@register("broadcast_to", numpy=np.broadcast_to, traits=("view", "keeps_one", "gives_axes", "type_only", "primitive"))
class BroadcastTo(Node):
    """x repeated along new axes and axes of size 1, by NumPy's broadcasting.

    z = broadcast_to(x, shape); dx = sum_to(dz, x.shape).

    A view, nothing is copied.
    """

    merge = "rows"
    shape: tuple[int, ...] | None = None

    def infer(self, x, sizes=None):
        target = target_shape(self, sizes)
        if broadcast_shapes([x.shape, target]) != target and None not in target:
            raise ValueError(f"shape {shape_text(x.shape)} does not broadcast to {shape_text(target)}")
        return ArrayType(target, x.array_dtype)

    def forward(self, x, sizes=None):
        return np.broadcast_to(x, self.shape if sizes is None else tuple(sizes))

    def backward(self, grad):
        return grad, None


@register("sum_to", traits=("keeps_one", "type_only"))
class SumTo(Node):
    """x summed over the axes that broadcasting from a shape to that of x would add or stretch.

    z = sum_to(x, shape); dx = broadcast_to(dz, x.shape).
    """

    shape: tuple[int, ...] | None = None

    def infer(self, x, sizes=None):
        target = target_shape(self, sizes)
        if broadcast_shapes([x.shape, target]) != x.shape and None not in (*target, *x.shape):
            raise ValueError(f"shape {shape_text(target)} does not broadcast to {shape_text(x.shape)}")
        dtype = floating(x)
        return ArrayType(target, x.dtype if target == x.shape else dtype)  # a literal is given as it is

    def merge(self, axes, x, sizes=None):
        has_samples = any(isinstance(size, str) for size in target_shape(self, sizes))
        return "rows" if has_samples or axes[0] is None else "sum"

    def forward(self, x, sizes=None):
        return sum_to(x, self.shape if sizes is None else tuple(sizes))

    def backward(self, grad, x):
        return np.broadcast_to(grad, x.shape), None


@register("transpose", numpy=np.transpose, traits=("view", "gives_axes", "primitive"))
class Transpose(Node):
    """x with its axes permuted; without `axes`, reversed, z = transpose(x, axes); dx = transpose(dz, inverse(axes))."""

    merge = "rows"
    axes: tuple[int, ...] | None = None

    def infer(self, x):
        rank = len(x.shape)
        axes = range(rank)[::-1] if self.axes is None else normalized_axes(self.axes, rank)
        if len(axes) != rank:
            raise ValueError(f"axes {self.axes} do not name each of {rank} dimensions once")
        return ArrayType(tuple(x.shape[axis] for axis in axes), x.array_dtype)

    def forward(self, x):
        return np.transpose(x, self.axes)

    def backward(self, grad):
        if self.axes is None:
            return np.transpose(grad)
        places = normalized_axes(self.axes, len(self.axes))
        return np.transpose(grad, tuple(places.index(axis) for axis in range(len(places))))


@register("expand_dims", numpy=np.expand_dims, traits=("view", "keeps_one", "gives_axes", "primitive"))
class ExpandDims(Node):
    """x with new axes of size 1 at the places `axis` of the result.

    z = expand_dims(x, axis); dx = squeeze(dz, axis).
    """

    merge = "rows"
    axis: int | tuple[int, ...]

    def infer(self, x):
        count = 1 if isinstance(self.axis, int) else len(self.axis)
        axes = set(normalized_axes(self.axis, len(x.shape) + count))
        sizes = iter(x.shape)
        shape = tuple(1 if axis in axes else next(sizes) for axis in range(len(x.shape) + count))
        return ArrayType(shape, x.array_dtype)

    def forward(self, x):
        return np.expand_dims(x, self.axis)

    def backward(self, grad, x):
        return np.reshape(grad, x.shape)


@register("flip", numpy=np.flip, traits=("primitive",))
class Flip(Node):
    """x in reverse order along the axes `axis`, all of them without one, z = flip(x, axis); dx = flip(dz, axis)."""

    axis: int | tuple[int, ...] | None = None

    def infer(self, x):
        normalized_axes(self.axis, len(x.shape))
        return ArrayType(x.shape, x.array_dtype)

    def merge(self, axes, x):
        return None if axes[0] in normalized_axes(self.axis, len(x.shape)) else "rows"

    def forward(self, x):
        return np.flip(x, axis=self.axis)

    def backward(self, grad):
        return np.flip(grad, axis=self.axis)


@register("tile", numpy=np.tile, traits=("gives_axes", "primitive"))
class Tile(Node):
    """x repeated `reps` times along each axis, as `numpy.tile`, z[i] = x[i % n]; dx[i] = sum(dz[i::n]).

    n is the size of x along the axis; missing axes or numbers are added in front as 1.
    """

    reps: tuple[Annotated[int, Field(ge=0)], ...]

    def infer(self, x):
        sizes = zip(*tiles(self, x.shape), strict=True)
        return ArrayType(tuple(product(pair) for pair in sizes), x.array_dtype)

    def merge(self, axes, x):
        rank = max(len(self.reps), len(x.shape))
        return "rows" if (*[1] * (rank - len(self.reps)), *self.reps)[axes[0] - len(x.shape)] == 1 else None

    def forward(self, x):
        return np.tile(x, self.reps)

    def backward(self, grad, x):
        reps, _ = tiles(self, x.shape)
        return np.reshape(Untile(reps=reps)(grad), x.shape) if all(reps) else np.zeros_like(x)


@register("untile")
class Untile(Node):
    """Sum of the tiles of x, of which there are `reps` along each axis, z[i] = sum(x[i::n]); dx = tile(dz, reps).

    The gradient of `tile`; n is the size of a tile along the axis.
    """

    reps: tuple[Annotated[int, Field(ge=1)], ...]

    def infer(self, x):
        pairs = list(zip(x.shape, self.reps, strict=False))
        if not len(self.reps) == len(x.shape) or any(isinstance(size, int) and size % rep for size, rep in pairs):
            raise ValueError(f"shape {shape_text(x.shape)} has no {shape_text(self.reps)} tiles")
        return ArrayType(tuple(size and quotient(size, rep) for size, rep in pairs), floating(x))

    def merge(self, axes, _x):
        return "rows" if self.reps[axes[0]] == 1 else None

    def forward(self, x):
        copies = [part for size, rep in zip(x.shape, self.reps, strict=True) for part in (rep, size // rep)]
        return sum_over(np.reshape(x, tuple(copies)), axis=tuple(range(0, len(copies), 2)))

    def backward(self, grad):
        return np.tile(grad, self.reps)


@register("cast", traits=("correctly_rounded", "pointwise", "type_only"))
class Cast(Node):
    """x in another dtype, by its NumPy name, z = astype(x, dtype); dx = astype(dz, x.dtype)."""

    merge = "rows"
    dtype: DTypeName

    def infer(self, x):
        dtype = np.dtype(self.dtype)
        return ArrayType(x.shape, dtype, x.content if dtype == np.int64 else None)

    def forward(self, x):
        return np.asarray(x).astype(self.dtype)[()]

    def backward(self, grad):
        return grad


@register("zeros_like", numpy=np.zeros_like, traits=("zeros", "primitive"))
class ZerosLike(Node):
    """Zeros in the shape and dtype of x, on whose values they do not depend, z = zeros_like(x); dz/dx = 0."""

    infer = elementwise

    def forward(self, x):
        return np.zeros_like(x)[()]

    def backward(self):
        return None


@register("ones_like", numpy=np.ones_like, traits=("ones", "primitive"))
class OnesLike(Node):
    """Ones in the shape and dtype of x, on whose values they do not depend, z = ones_like(x); dz/dx = 0."""

    infer = elementwise

    def forward(self, x):
        return np.ones_like(x)[()]

    def backward(self):
        return None


def flattened_from(node, rank):
    """The first of the axes that are joined; a scalar is a vector of one value."""
    return normalized_axes(node.axis, max(rank, 1))[0]


def tiles(node, shape):
    """How often, and what is repeated, axis by axis."""
    rank = max(len(shape), len(node.reps))
    return (*[1] * (rank - len(node.reps)), *node.reps), (*[1] * (rank - len(shape)), *shape)


def reshaped(shape, target):
    """The shape that a reshape of `shape` to `target` gives, its -1 resolved where the sizes allow."""
    total, rest = product(shape), product(size for size in target if size != -1)
    free = target.count(-1)
    if free > 1 or (free and rest == 0):
        raise ValueError(f"one size at most may be -1, beside sizes that are not 0, not {shape_text(target)}")
    if not may_agree(total, rest, free):
        raise ValueError(f"shape {shape_text(shape)} cannot be reshaped to {shape_text(target)}")
    missing = missing_size(total, rest) if free and None not in (total, rest) else None
    return tuple(missing if size == -1 else size for size in target)


def may_agree(total, rest, free):
    """Whether as many numbers may have both shapes; `free` if an axis of any size is added to the rest."""
    if not free:
        return None in (total, rest) or total == rest
    return not (isinstance(total, int) and isinstance(rest, int)) or total % rest == 0


def missing_size(total, rest):
    """The size that times `rest` is `total`; None if that depends on symbols."""
    if isinstance(total, int):
        return total // rest if isinstance(rest, int) else None
    return quotient(total, rest)


def quotient(total, rest):
    """The size that times `rest` is `total`, None if the symbols do not divide."""
    coefficient, symbols = factors(total)
    divisor, divided = factors(rest)
    left = {symbol: exponent - divided.get(symbol, 0) for symbol, exponent in symbols.items()}
    if divided.keys() - symbols.keys() or coefficient % divisor or min(left.values(), default=0) < 0:
        return None
    return product(
        [coefficient // divisor, *powers({symbol: exponent for symbol, exponent in left.items() if exponent})]
    )


def sum_to(x: Any, shape: tuple[int, ...]) -> Any:
    """Sum an array over the axes that broadcasting from `shape` added or stretched; broadcast a smaller one."""
    extra = np.ndim(x) - len(shape)
    if extra > 0:
        x = sum_over(x, axis=tuple(range(extra)))
    stretched = tuple(axis for axis, size in enumerate(np.shape(x)[::-1], 1) if shape[-axis] == 1 != size)
    if stretched:
        x = sum_over(x, axis=tuple(-axis for axis in stretched), keepdims=True)
    return x if np.shape(x) == shape else np.broadcast_to(x, shape)


def like(gradient: Any, value: Any) -> Any:
    """A gradient in the shape and dtype of its value: broadcasting is undone here, for all ops.

    A value that was broadcast was used several times, and the gradients of all uses add up.
    """
    if type(gradient) is type(value) is np.float64:
        return gradient
    shape = np.shape(value)
    dtype = value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype
    if np.shape(gradient) != shape:
        gradient = sum_to(gradient, shape)
    if getattr(gradient, "dtype", None) == dtype:
        return gradient
    return (gradient if hasattr(gradient, "dtype") else np.asarray(gradient)).astype(dtype)[()]
