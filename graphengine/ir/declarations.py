"""What a graph declares: values that no node computes. It knows their types; initializers are opaque to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from graphengine.mappings import without_none
from graphengine.ops.shapes import ArrayType, Shape, dtype_name, mismatch


@dataclass(frozen=True, slots=True)
class Input:
    """A value the caller supplies.

    Cells of `categories` become their indices, other cells the index `unknown` or, without one, an error. With
    `missing` a cell without a value is NaN. Dates become numbers in `units`, one of those of `ir.dates`. Numbers of the
    type `storage`, float16 or bfloat16, become those of the dtype.
    """

    type: ArrayType
    description: str | None = None
    categories: tuple[str | float, ...] | None = None
    unknown: int | None = None
    missing: bool = False
    units: str | None = None
    storage: str | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value that is learned: `initializer` says what it starts from, `value` what it is now, if anything.

    `bounds` are the lowest and the highest number that it may have, None where there is none; `scale` is its typical
    size. Files have its numbers in the type `storage`, float16 or bfloat16, as long as no bit of one is lost.
    """

    type: ArrayType
    initializer: Any = None
    value: Any = None
    trainable: bool = True
    learning_rate_multiplier: float = 1.0
    weight_decay_multiplier: float = 1.0
    bounds: tuple[float | None, float | None] | None = None
    scale: float | None = None
    description: str | None = None
    storage: str | None = None

    def limits(self) -> tuple[float, float]:
        """The bounds as numbers of the parameter's dtype, infinite where there are none."""
        low, high = self.bounds or (None, None)
        cast = self.type.array_dtype.type if self.type.is_differentiable else float
        return float(cast(-np.inf if low is None else low)), float(cast(np.inf if high is None else high))

    def outside(self, value: Any) -> str | None:
        """The first number of a value that breaks the bounds, in words; None if all keep them."""
        if self.bounds is None:
            return None
        low, high = self.limits()
        numbers = np.ravel(value)
        wrong = numbers[~((numbers >= low) & (numbers <= high))]
        return f"{wrong[0]:g} is outside of its bounds, {self.bounds_text}" if wrong.size else None

    @property
    def bounds_text(self) -> str:
        """The bounds in words: from 0 to 1, at least 0, at most 1, none."""
        low, high = self.bounds or (None, None)
        return _BOUNDS[low is None, high is None].format(low=low, high=high)


_BOUNDS = {
    (False, False): "from {low:g} to {high:g}",
    (False, True): "at least {low:g}",
    (True, False): "at most {high:g}",
    (True, True): "none",
}
"""Bounds in words, by whether the low one and the high one are missing."""


@dataclass(frozen=True, slots=True)
class State:
    """A value that is not learned but changes: `update` names the value that replaces it after a step."""

    type: ArrayType
    initializer: Any = None
    update: str | None = None
    value: Any = None
    description: str | None = None


Source: TypeAlias = Input | Parameter | State


def plain_inputs(kinds: Mapping[str, ArrayType]) -> dict[str, Input]:
    """Return inputs of these types, of which nothing else is declared."""
    return {name: Input(kind) for name, kind in kinds.items()}


class Expected(NamedTuple):
    """What a function declares of an input; `axes` are all sizes, or the last ones with `trailing`."""

    axes: Shape | None = None
    trailing: bool = False
    dtype: str | None = None

    def takes(self, dtype: Any) -> bool:
        """Return whether a dtype is the declared one; a literal number has none, and fits each."""
        return self.dtype is None or not isinstance(dtype, np.dtype) or dtype == self.dtype

    def part_of(self, shape: Shape) -> Shape:
        """Return the sizes of a shape that are compared with the declared ones."""
        return shape[max(len(shape) - len(self.axes or ()), 0) :] if self.trailing else shape


def misfit(expected: Mapping[str, Expected], kinds: Mapping[str, ArrayType]) -> str | None:
    """Return why inputs do not have the declared shapes and dtypes; None if they have, as far as types are known."""
    for name, kind in kinds.items():
        if not expected[name].takes(kind.dtype):
            return f"input '{name}' must be {expected[name].dtype}, not {dtype_name(kind.dtype)}"
    shapes = without_none({name: expected[name].axes for name in kinds})
    return mismatch(shapes, {name: expected[name].part_of(kinds[name].shape) for name in shapes})
