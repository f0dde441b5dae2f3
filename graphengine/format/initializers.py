"""Values of parameters and state: the value in the file, or what its initializer makes.

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
    Initializer,
    NormalInitializer,
    OnesInitializer,
    ScaledInitializer,
    UniformInitializer,
    ZerosInitializer,
)
from graphengine.ir.declarations import Parameter, State
from graphengine.ops.numbers import converted, decode_array

BLOCK = 2**16
"""Numbers that are drawn at a time."""


def initial_value(name: str, source: Parameter | State) -> np.ndarray[Any, Any]:
    """Return the value a parameter or a state starts from: the one in the file, else what its initializer makes.

    Raises
    ------
    ValueError
        If the value in the file does not have the declared shape, the shape has symbols, or the initializer makes
        numbers that the dtype does not have.
    """
    dtype = source.type.array_dtype
    symbolic = [size for size in source.type.shape if not isinstance(size, int)]
    if symbolic:
        raise ValueError(f"its sizes must be integers, not {symbolic[0]!r}")
    shape: tuple[int, ...] = source.type.shape  # type: ignore[assignment]
    if source.value is None:
        return _initialize(name, source, shape, dtype)
    if isinstance(source.value, np.ndarray) and source.value.dtype != dtype:
        raise ValueError(f"the value is {source.value.dtype}, declared is {dtype}")
    value = decode_array(source.value, dtype)
    if value.shape != shape:
        raise ValueError(f"the value has shape {value.shape}, declared is {shape}")
    return value


def _initialize(
    name: str, source: Parameter | State, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> np.ndarray[Any, Any]:
    recipe: Initializer = source.initializer
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
