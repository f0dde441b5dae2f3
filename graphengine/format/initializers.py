"""Initializers, and the values of parameters and state: the value in the file, or what its initializer makes.

A random initial value is a pure function of the initializer's seed and the value's name, so that adding a parameter
never changes another one.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal, LiteralString, Self

import numpy as np
from pydantic import model_validator
from pydantic_core import PydanticCustomError

from graphengine.format.fields import Float, Fraction, NonNegative, Number, Reference, Seed
from graphengine.format.kinds import INITIALIZERS, Kind
from graphengine.ir.declarations import Parameter, State
from graphengine.ops.numbers import converted, decode_array

BLOCK = 2**16
"""Numbers that are drawn at a time."""


class Initializer(Kind, ABC):
    """The initial value of a parameter or state. A subclass has attributes as fields, and `type: Literal["name"]`."""

    @abstractmethod
    def values(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        """Return the initial value, of this shape and dtype, of the parameter or state `name`.

        Raises
        ------
        ValueError
            If a number is out of range for the dtype.
        """


@INITIALIZERS.register
class ConstantInitializer(Initializer):
    """Every element is `value`."""

    type: Literal["constant"]
    value: Number

    def values(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        """Return an array of equal numbers."""
        value = np.array(self.value)
        return np.full(shape, converted(value, value, dtype))


@INITIALIZERS.register
class ZerosInitializer(Initializer):
    """Every element is 0."""

    type: Literal["zeros"]

    def values(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        """Return zeros."""
        return np.zeros(shape, dtype)


@INITIALIZERS.register
class OnesInitializer(Initializer):
    """Every element is 1."""

    type: Literal["ones"]

    def values(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        """Return ones."""
        return np.ones(shape, dtype)


@INITIALIZERS.register
class UniformInitializer(Initializer):
    """Uniform between `low` and `high`."""

    type: Literal["uniform"]
    low: Float = -0.05
    high: Float = 0.05
    seed: Seed = 0

    def values(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        """Return random numbers."""
        generator = random_generator(name, self.seed)
        return _drawn(lambda count: generator.uniform(self.low, self.high, count), shape, dtype)


@INITIALIZERS.register
class NormalInitializer(Initializer):
    """Normal with mean `mean` and standard deviation `std`."""

    type: Literal["normal"]
    mean: Float = 0.0
    std: NonNegative = 0.05
    seed: Seed = 0

    def values(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        """Return random numbers."""
        generator = random_generator(name, self.seed)
        return _drawn(lambda count: generator.normal(self.mean, self.std, count), shape, dtype)


@INITIALIZERS.register
class ScaledInitializer(Initializer):
    """Glorot and Bengio 2010 (variance 2 / (fan_in + fan_out)) or He et al. 2015 (variance 2 / fan_in)."""

    type: Literal["glorot_uniform", "glorot_normal", "he_uniform", "he_normal"]
    seed: Seed = 0

    def values(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        """Return random numbers whose variance depends on the shape."""
        return _drawn(_scaled(name, self, shape), shape, dtype)


@INITIALIZERS.register
class FromDataInitializer(Initializer):
    """A statistic over the rows that are trained on, of an input or a value that depends on inputs; NaN is left out.

    `std` divides by the number of rows. `quantile` needs `q`, from 0 to 1, and interpolates linearly, as `median` does.
    `mode` is the most frequent value, of several the least. `frequency` has a new last axis: the shares of the rows
    whose value is 0, 1, ... `count` is the number of rows that have a value.
    """

    type: Literal["from_data"]
    statistic: Literal["mean", "std", "min", "max", "median", "quantile", "mode", "frequency", "count"]
    of: Reference
    q: Fraction | None = None

    @model_validator(mode="after")
    def _q_belongs_to_quantile(self) -> Self:
        if (self.q is None) == (self.statistic == "quantile"):
            message: LiteralString = "'q' and the statistic 'quantile' need each other"
            raise PydanticCustomError("quantile", message)
        return self

    def values(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        """Refuse: there are no numbers without rows."""
        raise ValueError("its value is computed from the training rows")


def initial_value(name: str, source: Parameter | State) -> np.ndarray[Any, Any]:
    """Return the value a parameter or a state starts from: the one in the file, else what its initializer makes.

    A value that is an array, which comes from a file of tensors, is returned as it is, or widened from its `storage`.

    Raises
    ------
    ValueError
        If the value in the file does not have the declared shape, the shape has symbols, or the initializer makes
        numbers that the dtype does not have.
    """
    symbolic = [size for size in source.type.shape if not isinstance(size, int)]
    if symbolic:
        raise ValueError(f"its sizes must be integers, not {symbolic[0]!r}")
    if source.value is None:
        recipe: Initializer = source.initializer
        return recipe.values(name, source.type.shape, source.type.array_dtype)  # type: ignore[arg-type]
    return _stored_value(source)


def _stored_value(source: Parameter | State) -> np.ndarray[Any, Any]:
    """The value in the file, if it is what is declared."""
    dtype, shape = source.type.array_dtype, source.type.shape
    value = source.value if isinstance(source.value, np.ndarray) else decode_array(source.value, dtype)
    if getattr(source, "storage", None) and np.can_cast(value.dtype, dtype):
        value = value.astype(dtype, copy=False)
    if value.dtype != dtype:
        raise ValueError(f"the value is {value.dtype}, but {dtype} is declared")
    if value.shape != shape:
        raise ValueError(f"the value has shape {value.shape}, but {shape} is declared")
    return value


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
    fan_in, fan_out = _fans(shape)
    fan = fan_in if recipe.type.startswith("he") else (fan_in + fan_out) / 2
    variance = (2 if recipe.type.startswith("he") else 1) / max(fan, 1)
    generator = random_generator(name, recipe.seed)
    if recipe.type.endswith("normal"):
        return lambda count: generator.normal(0.0, math.sqrt(variance), count)
    limit = math.sqrt(3 * variance)
    return lambda count: generator.uniform(-limit, limit, count)


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many numbers a unit reads, and how many read it."""
    if len(shape) < 2:
        return math.prod(shape), math.prod(shape)
    if len(shape) == 2:
        return shape[0], shape[1]
    receptive = math.prod(shape[2:])
    return shape[1] * receptive, shape[0] * receptive


def random_generator(name: str, seed: int) -> np.random.Generator:
    """Return the generator for one value: Philox, keyed by the seed and the name."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
