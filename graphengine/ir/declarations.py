"""What a graph declares: values that no node computes. It knows their types; initializers are opaque to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from graphengine.ops.shapes import ArrayType, Size


@dataclass(frozen=True, slots=True)
class Input:
    """A value the caller supplies."""

    type: ArrayType
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value that is learned: `initializer` says what it starts from, `value` what it is now, if anything."""

    type: ArrayType
    initializer: Any = None
    value: Any = None
    trainable: bool = True
    learning_rate_multiplier: float = 1.0
    weight_decay_multiplier: float = 1.0
    description: str | None = None


@dataclass(frozen=True, slots=True)
class State:
    """A value that is not learned but changes: `update` names the value that replaces it after a step."""

    type: ArrayType
    initializer: Any = None
    update: str | None = None
    value: Any = None
    description: str | None = None


Source: TypeAlias = Input | Parameter | State


def types_of(*sections: Mapping[str, Input] | Mapping[str, Parameter] | Mapping[str, State]) -> dict[str, ArrayType]:
    """Return the types of all declared values by name."""
    return {name: source.type for section in sections for name, source in section.items()}


def array_type(shape: Iterable[Size], dtype: Any = "float64") -> ArrayType:
    """Return the type of an array: its sizes (integers, or text such as "N" and "2*N") and its dtype."""
    return ArrayType(tuple(shape), np.dtype(dtype))
