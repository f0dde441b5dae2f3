"""Rules for shape and dtype of an op's result before it runs: one for each family of ops.

A node class takes a rule as its `infer` (`infer = elementwise`). A class that names none is probed: its `forward`
is called on small arrays of ones, twice with different sizes, and the sizes of the results show which
symbols they follow.

A rule raises ValueError with the reason where the types do not fit; the graph adds node and op.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Any

import numpy as np

from graphengine.ops.shapes import (
    ArrayType,
    DType,
    PythonNumber,
    Shape,
    Size,
    broadcast_shapes,
    product,
    shape_text,
    size_value,
    symbols_of,
    type_of,
)
from graphengine.ops.traits import OpTrait

_FIRST_SIZES, _SECOND_SIZES = (3, 5, 7, 11, 13, 17, 19, 23), (29, 31, 37, 41, 43, 47, 53, 59)


def elementwise(node: Any, *types: ArrayType | None) -> ArrayType:
    """Broadcast the shapes; the dtype is what `forward` gives for one element."""
    shapes = [kind.shape for kind in types if kind is not None]
    find = _dtype_of_element if type(node).model_fields else _dtype_without_attributes
    dtype = find(node, tuple([kind and kind.dtype for kind in types]))
    return ArrayType(shapes[0] if len(set(shapes)) == 1 else broadcast_shapes(shapes), dtype)


def is_elementwise(node: Any) -> bool:
    """Return whether a node of this package computes number by number, and broadcasts."""
    return bool(node.is_core) and type(node).infer is elementwise


def is_pointwise(node: Any) -> bool:
    """Return whether each number of a node's result depends on the numbers in its place alone."""
    return type(node).infer is elementwise or OpTrait.POINTWISE in node.traits


def _dtype_of_element(node: Any, dtypes: tuple[DType | None, ...]) -> DType:
    """What `forward` gives for one element of each input."""
    ones = [None if dtype is None else ArrayType((), dtype) for dtype in dtypes]
    return type_of(_forward(node, ones, {})).dtype


_dtype_without_attributes = lru_cache(maxsize=1024)(_dtype_of_element)
"""The same, remembered: all nodes of a class without attributes are equal."""


def reduction(node: Any, x: ArrayType) -> ArrayType:
    """Drop the axes named by the attribute `axis` (all if None), or keep them with size 1 if `keepdims`."""
    reduced = normalized_axes(node.axis, len(x.shape))
    sizes = [1 if axis in reduced else size for axis, size in enumerate(x.shape)]
    shape = [size for axis, size in enumerate(sizes) if node.keepdims or axis not in reduced]
    result = _forward(node, [ArrayType((1,) * len(x.shape), x.dtype)], {})
    return ArrayType(tuple(shape), type_of(result).dtype)


def along_axis(node: Any, x: ArrayType, *others: ArrayType | None) -> ArrayType:
    """Keep the shape of x; the op works along the attribute `axis`, and its other inputs broadcast to that shape."""
    normalized_axes(node.axis, len(x.shape))
    types = [x, *others]
    shapes = [kind.shape for kind in types if kind is not None]
    if broadcast_shapes(shapes) != x.shape:
        raise ValueError(
            f"shapes {' and '.join(map(shape_text, shapes[1:]))} do not broadcast to {shape_text(x.shape)}"
        )
    result = _forward(node, [kind and ArrayType((1,) * len(kind.shape), kind.dtype) for kind in types], {})
    return ArrayType(x.shape, type_of(result).dtype)


def floating(*types: ArrayType | None) -> np.dtype[Any]:
    """The dtype that floating-point arrays have in common.

    Raises
    ------
    ValueError
        If one of them holds integers or truth values: the op is one of real numbers.
    """
    given = [kind for kind in types if kind is not None]
    for kind in given:
        if not kind.is_differentiable:
            raise ValueError(f"it takes floating-point numbers, not {kind}; a node of op 'cast' makes them")
    return np.result_type(*[kind.array_dtype for kind in given])


def target_shape(node: Any, sizes: ArrayType | None) -> Shape:
    """The shape an op is asked for: its attribute `shape`, or the content of its input `sizes`.

    Raises
    ------
    ValueError
        If it has none of the two, or both, or sizes that are not integers.
    """
    if (node.shape is None) == (sizes is None):
        raise ValueError("give either the attribute 'shape' or the input 'sizes'")
    if sizes is None:
        return tuple(node.shape)
    if sizes.array_dtype.kind not in "iu":
        raise ValueError(f"the input 'sizes' must hold integers, not {sizes}")
    if sizes.content is not None:
        return sizes.content
    length = sizes.shape[0] if len(sizes.shape) == 1 else None
    if not isinstance(length, int):
        raise ValueError(f"the input 'sizes' must be a vector of known length, not {sizes}")
    return (None,) * length


def normalized_axes(axis: int | tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    """Axes counted from the front, each once: -1 of 3 is 2, None is all.

    Raises
    ------
    ValueError
        If an axis is out of range or named twice.
    """
    if axis is None:
        return tuple(range(rank))
    axes = (axis,) if isinstance(axis, int) else axis
    for number in axes:
        if not -rank <= number < rank:
            raise ValueError(f"axis {number} is out of range for an array of {rank} dimensions")
    positive = tuple(number % rank for number in axes)
    if len(set(positive)) < len(positive):
        raise ValueError(f"axis {axis} names an axis twice")
    return positive


def probed(node: Any, *types: ArrayType | None) -> tuple[ArrayType, ...]:
    """Run `forward` on arrays of ones of two sets of sizes, and return the shapes and dtypes of the results."""
    symbols = sorted({symbol for kind in types if kind for symbol in symbols_of(kind.shape)})
    if len(symbols) > len(_FIRST_SIZES) or any(None in kind.shape for kind in types if kind):
        raise ValueError(f"{type(node).__name__} needs an `infer` method: its input shapes cannot be probed")
    bindings = dict(zip(symbols, _FIRST_SIZES, strict=False)), dict(zip(symbols, _SECOND_SIZES, strict=False))
    results = [as_tuple(_forward(node, types, binding)) for binding in bindings]
    return tuple(
        ArrayType(_follow(np.shape(first), np.shape(second), *bindings), type_of(first).dtype)
        for first, second in zip(*results, strict=True)
    )


def _forward(node: Any, types: Any, bindings: dict[str, int]) -> Any:
    """Call `forward` on ones of the given types, silencing floating-point warnings."""
    arguments = [kind and _ones(kind, bindings) for kind in types]
    try:
        with np.errstate(all="ignore"):
            return node.forward(*arguments)
    except Exception as error:  # a user's node may raise anything
        shapes = " and ".join(shape_text(kind.shape) for kind in types if kind)
        raise ValueError(f"it does not take shapes {shapes}: {error}") from error


def _ones(kind: ArrayType, bindings: dict[str, int]) -> Any:
    if isinstance(kind.dtype, PythonNumber):
        return 1 if kind.dtype is PythonNumber.INT else 1.0
    return np.ones([size_value(size, bindings) for size in kind.shape], kind.dtype)


def as_tuple(result: Any) -> tuple[Any, ...]:
    """What a call gives as a tuple: of one result, or of several."""
    return result if isinstance(result, tuple) else (result,)


def _follow(first: Shape, second: Shape, small: dict[str, int], large: dict[str, int]) -> Shape:
    """The shape that has the sizes `first` with one set of symbol values and `second` with the other."""
    if len(first) != len(second):
        raise ValueError("the number of dimensions of its result depends on sizes; it needs an `infer` method")
    return tuple(_follow_size(a, b, small, large) for a, b in zip(first, second, strict=True))


def _follow_size(a: Any, b: Any, small: dict[str, int], large: dict[str, int]) -> Size:
    if a == b:
        return int(a)
    for count in (1, 2):
        for symbols in itertools.combinations(sorted(small), count):
            size = product(symbols)
            first, second = size_value(size, small), size_value(size, large)
            if first and second and a * second == b * first and a % first == 0:
                return product([size, a // first])
    return None
