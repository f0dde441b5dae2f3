"""Values of parameters and state: from a file's nested lists to arrays, and from an initializer's recipe.

A random initial value is a pure function of the initializer's seed and the value's name, so that adding a parameter
never changes another one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any, assert_never

import numpy as np

from graphengine.format.documents import (
    ConstantInitializer,
    NormalInitializer,
    OnesInitializer,
    ParameterDocument,
    ScaledInitializer,
    StateDocument,
    UniformInitializer,
    ZerosInitializer,
)
from graphengine.format.fields import LARGEST_EXACT
from graphengine.ops.families.constants import NON_FINITE
from graphengine.wording import shown

BLOCK = 2**16
"""Numbers that are drawn at a time."""


def decode_array(value: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """The array that a number or nested lists of a file stand for; "NaN" and "Infinity" are understood.

    Raises
    ------
    ElementError
        If the lists are ragged, or hold something that is not a number.
    ValueError
        If the numbers are not of a kind that fits `dtype`.
    """
    try:
        array = np.asarray(value)
        if array.dtype.kind == "U":
            cells = np.array(value, dtype=object)
            numbers = [NON_FINITE[cell] if isinstance(cell, str) else cell for cell in cells.ravel().tolist()]
            array = np.array(numbers).reshape(cells.shape)
    except (KeyError, ValueError) as error:
        raise _element_error(value) or ValueError(f"not a regular array of numbers: {error}") from None
    if not fits_kind(array, dtype):
        if array.dtype == object and (found := _element_error(value)):
            raise found
        raise ValueError(f"values of dtype {array.dtype} do not fit dtype {dtype}")
    return converted(value, array, dtype)


class ElementError(ValueError):
    """An element of nested lists that makes them no array of numbers; `path` are the indices that lead to it."""

    def __init__(self, message: str, path: list[int]) -> None:
        super().__init__(message)
        self.path = path


def _element_error(value: Any) -> ElementError | None:
    """What is wrong with the first element that is no number, or not as deep or as long as the first ones are."""
    lengths: list[int] = []
    first = value
    while isinstance(first, list):
        lengths.append(len(first))
        first = first[0] if first else None
    path, rows = [0], [enumerate([value])]
    while rows:
        for path[-1], element in rows[-1]:
            depth = len(path) - 1
            if depth == len(lengths):
                if type(element) not in _NUMBERS and not (type(element) is str and element in NON_FINITE):
                    ragged = "not a regular array of numbers: " * isinstance(element, list)
                    return ElementError(f"{ragged}{shown(element)} is not a number", path[1:])
            elif not isinstance(element, list):
                return ElementError(f"not a regular array of numbers: {shown(element)} beside an array", path[1:])
            elif len(element) != lengths[depth]:
                reason = f"one of length {len(element)} beside one of {lengths[depth]}"
                return ElementError(f"not a regular array of numbers: {reason}", path[1:])
            elif depth < len(lengths) - 1 or not _NUMBERS.issuperset(map(type, element)):
                path.append(0)
                rows.append(enumerate(element))
                break
        else:
            rows.pop()
            path.pop()
    return None


_NUMBERS = {bool, int, float}


def fits_kind(array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> bool:
    """Whether the numbers of an array are of a kind that may stand for a dtype; whether each one fits is not asked."""
    if array.size == 0 and array.dtype == np.float64:
        return True  # NumPy's dtype of an empty list
    both_integers = array.dtype.kind in "iu" and dtype.kind in "iu"
    return array.dtype.kind in "biuf" and (both_integers or np.can_cast(array.dtype, dtype, "same_kind"))


def converted(
    value: Any, array: np.ndarray[Any, Any], dtype: np.dtype[Any], *, copy: bool = True
) -> np.ndarray[Any, Any]:
    """The array that NumPy makes of `value` in another dtype, row by row: a sum is added in the order of the memory.

    A floating-point number is rounded to those of the dtype; any other stays what it is.

    Raises
    ------
    ValueError
        If the dtype has no such number, or a value is masked.
    """
    if type(value) is not np.ndarray and isinstance(value, np.ndarray) and np.ma.is_masked(value):
        raise ValueError("values are missing: the array is masked")
    if dtype.kind == "f" and _has_inexact_integer(value, array):
        raise InexactError("an integer beyond 2^53 is not exact as a floating-point number")
    if array.dtype == dtype or (array.dtype.kind in "biu" and dtype.kind == "f"):
        return array.astype(dtype, order="C", copy=copy)
    try:
        with np.errstate(over="raise", invalid="ignore"):
            made = array.astype(dtype, order="C")
    except FloatingPointError:
        raise ValueError(f"a number is beyond the largest of dtype {dtype}, {np.finfo(dtype).max:.4g}") from None
    if dtype.kind != "f" and np.any(lost := made != array):
        raise ValueError(f"{array[lost][0]} does not fit dtype {dtype}")
    return made


class InexactError(ValueError):
    """An integer where a floating-point number is meant that may be equal to none."""


def _has_inexact_integer(value: Any, array: np.ndarray[Any, Any]) -> bool:
    """Whether there is an integer that is not exact as a floating-point number."""
    if array.dtype.kind == "b" or not array.size:
        return False
    if array.dtype.kind in "iu":
        return bool(array.max() > LARGEST_EXACT or array.min() < -LARGEST_EXACT)
    if isinstance(value, (float, np.ndarray, np.generic)):
        return False
    large = np.abs(array) >= LARGEST_EXACT  # of integers beside floating-point numbers NumPy makes such numbers, too
    if not large.any():
        return False
    cells: list[Any] = np.array(value, dtype=object)[large].tolist()
    return any(isinstance(cell, (int, np.integer)) and abs(int(cell)) > LARGEST_EXACT for cell in cells)


def initial_value(name: str, source: ParameterDocument | StateDocument, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """The value a parameter or a state starts from: the one in the file, else what its initializer makes.

    Raises
    ------
    ValueError
        If the value in the file does not have the declared shape, the shape has symbols, or the initializer makes
        numbers that the dtype does not have.
    """
    symbolic = [size for size in source.shape if not isinstance(size, int)]
    if symbolic:
        raise ValueError(f"its sizes must be integers, not {symbolic[0]!r}")
    shape: tuple[int, ...] = tuple(source.shape)  # type: ignore[arg-type]
    if source.value is None:
        return _initialize(name, source, shape, dtype)
    if isinstance(source.value, np.ndarray) and source.value.dtype != dtype:
        raise ValueError(f"the value is {source.value.dtype}, declared is {dtype}")
    value = decode_array(source.value, dtype)
    if value.shape != shape:
        raise ValueError(f"the value has shape {value.shape}, declared is {shape}")
    return value


def _initialize(
    name: str, source: ParameterDocument | StateDocument, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> np.ndarray[Any, Any]:
    recipe = source.initializer
    match recipe:
        case ConstantInitializer():
            value = np.array(recipe.value)
            return np.full(shape, converted(value, value, dtype))
        case ZerosInitializer():
            return np.zeros(shape, dtype)
        case OnesInitializer():
            return np.ones(shape, dtype)
        case UniformInitializer():
            generator = _random(name, recipe.seed)
            return _drawn(lambda count: generator.uniform(recipe.low, recipe.high, count), shape, dtype)
        case NormalInitializer():
            generator = _random(name, recipe.seed)
            return _drawn(lambda count: generator.normal(recipe.mean, recipe.std, count), shape, dtype)
        case ScaledInitializer():
            return _drawn(_scaled(name, recipe, shape), shape, dtype)
        case _:
            assert_never(recipe)


def _drawn(
    draw: Callable[[int], np.ndarray[Any, Any]], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> np.ndarray[Any, Any]:
    """An array of numbers drawn in order, some at a time: they come in double precision, whatever the dtype."""
    values = np.empty(shape, dtype)
    flat = values.reshape(-1)
    for start in range(0, flat.size, BLOCK):
        part = flat[start : start + BLOCK]
        numbers = draw(part.size)
        part[:] = converted(numbers, numbers, dtype, copy=False)
    return values


def _scaled(name: str, recipe: ScaledInitializer, shape: tuple[int, ...]) -> Callable[[int], np.ndarray[Any, Any]]:
    """Glorot and Bengio 2010, He et al. 2015; weights are (fan_in, fan_out), kernels (out, in, height, width)."""
    if len(shape) < 2:
        fan_in = fan_out = math.prod(shape)
    elif len(shape) == 2:
        fan_in, fan_out = shape
    else:
        receptive = math.prod(shape[2:])
        fan_in, fan_out = shape[1] * receptive, shape[0] * receptive
    fan = fan_in if recipe.type.startswith("he") else (fan_in + fan_out) / 2
    variance = (2 if recipe.type.startswith("he") else 1) / max(fan, 1)
    generator = _random(name, recipe.seed)
    if recipe.type.endswith("normal"):
        return lambda count: generator.normal(0.0, math.sqrt(variance), count)
    limit = math.sqrt(3 * variance)
    return lambda count: generator.uniform(-limit, limit, count)


def _random(name: str, seed: int) -> np.random.Generator:
    """A generator for one value: Philox, keyed by the seed and the name."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def all_finite(value: Any) -> bool:
    """Whether no number is NaN or infinite: a finite sum says so in one pass that writes nothing."""
    if isinstance(value, float):
        return math.isfinite(value)
    with np.errstate(all="ignore"):
        return bool(np.isfinite(np.sum(value))) or bool(np.isfinite(value).all())
