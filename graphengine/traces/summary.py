"""What is shown of a value: all numbers of a small array; of a large one its type, least, mean and greatest number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphengine.format.writing import encode_array
from graphengine.ops.numbers import encode_number
from graphengine.ops.shapes import dtype_name, shape_text, type_of

MAX_NUMBERS = 8
"""An array of at most this many numbers is shown whole."""
MAX_TERMS = 6
"""So many numbers of a vector fit inside a formula."""
MAX_LABEL = 11
"""A label beside an edge has at most this many characters."""
HOLE, HOLE_END = "\x02", "\x03"
"""Around what a page replaces by its own number; `in_product` adds a parenthesis to the first."""


@dataclass(frozen=True, slots=True)
class ShownValue:
    """A number or an array as it is shown; numbers that are not finite are the strings of the file format."""

    shape: tuple[int, ...]
    dtype: str
    numbers: Any
    """The number or nested lists of a small array, None for a large one, which has the next three instead."""
    min: float | str | None = None
    mean: float | str | None = None
    max: float | str | None = None

    @classmethod
    def whole(cls, value: Any) -> ShownValue:
        """All numbers of an array, however many."""
        return cls.of(value, most=math.inf)

    @classmethod
    def of(cls, value: Any, most: float = MAX_NUMBERS) -> ShownValue:
        """What is shown of an array or a number; of one with more numbers than `most` its range."""
        kind = type_of(value)
        array = np.asarray(value)
        shape = tuple(map(int, array.shape))
        if array.size <= most:
            return cls(shape, dtype_name(kind.dtype), encode_array(array))
        with np.errstate(all="ignore"):
            extremes = [encode_number(float(number)) for number in (array.min(), array.mean(), array.max())]
        return cls(shape, dtype_name(kind.dtype), None, *extremes)

    @property
    def fits_formula(self) -> bool:
        """Whether it fits inside a formula: a number, or a vector of a few."""
        return self.numbers is not None and len(self.shape) <= 1 and math.prod(self.shape) <= MAX_TERMS

    @property
    def is_small(self) -> bool:
        """Whether all numbers are shown, and are few enough for a formula of arrays."""
        return self.numbers is not None and math.prod(self.shape) <= MAX_NUMBERS

    @property
    def text(self) -> str:
        """The numbers to six digits, or type and range."""
        if self.numbers is not None:
            return numbers_text(self.numbers)
        least, mean, greatest = map(number_text, (self.min, self.mean, self.max))
        return f"{self.dtype}{shape_text(self.shape)}: min {least}, mean {mean}, max {greatest}"

    @property
    def label(self) -> str:
        """The value in a few characters: a number, a short list, or the mean after a sign for it."""
        text = numbers_text(self.numbers, 4) if self.numbers is not None else ""
        if text and len(text) <= MAX_LABEL:
            return text
        return f"⌀ {number_text(self._mean if self.mean is None else self.mean, 4)}"

    @property
    def _mean(self) -> float:
        numbers: Any = self.numbers or 0.0
        return float(np.array(numbers, dtype=np.float64).mean())


def in_product(text: str) -> str:
    """A number beside an operator: a negative one in parentheses."""
    if text.startswith(HOLE):
        return text.replace(HOLE, f"{HOLE}(", 1)
    return f"({text})" if text.startswith("-") else text


def number_text(number: Any, digits: int = 6) -> str:
    """A number as people write it: as few of the given digits as say the same."""
    if isinstance(number, bool):
        return "true" if number else "false"
    return _float_text(number, digits) if isinstance(number, float) else str(number)


def _float_text(number: float, digits: int) -> str:
    if 10**digits <= abs(number) < 1e9:
        return f"{number:.0f}"
    text = f"{number:.{digits}g}"
    return "0" if text == "-0" else text


def numbers_text(numbers: Any, digits: int = 6) -> str:
    """A number or nested lists of them."""
    if isinstance(numbers, list):
        return f"[{', '.join(numbers_text(item, digits) for item in numbers)}]"
    return number_text(numbers, digits)
