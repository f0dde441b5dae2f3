"""What parts of the samples merge to: sums, largest values, rows one after the other.

Sums are added in double precision and given out in their own. A total adds the parts as they come. A tree adds them in
one fixed order, whoever has computed which of them: a fixed binary tree over the numbers of the parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from graphengine.ops.merging import ADDED, MERGES, ROWS
from graphengine.transform.sample_walk import COUNT, LAST, MEAN

_SUMS = (*ADDED, MEAN, COUNT)


class Subtotal(NamedTuple):
    """What `parts` parts from part `first` on merge to."""

    first: int
    parts: int
    value: Any


class Total:
    """Values of parts as they come, merged by a word."""

    def __init__(self, word: str) -> None:
        self.word, self._count = word, 0
        self.value: Any = None
        self._dtype: np.dtype[Any] | None = None

    def add(self, value: Any) -> None:
        """Merge in the value of one more part."""
        value = np.asarray(value)
        self._dtype, self._count = value.dtype, self._count + 1
        self.value = _owned(value, self.word) if self._count == 1 else _merged(self.value, value, self.word)

    def result(self) -> Any:
        """The value for all parts."""
        if self.word == MEAN:
            self.value /= self._count
        return np.asarray(self.value, None if self.word == COUNT else self._dtype)[()]


class Gathered(Total):
    """Values of parts put one after the other along an axis, into an array that has room for all of them."""

    def __init__(self, shape: list[int], axis: int) -> None:
        super().__init__(ROWS)
        self._shape, self._axis, self._filled = shape, axis, 0

    def add(self, value: Any) -> None:
        """Put the value of one more part after those that are there."""
        if self.value is None:
            self.value = np.empty(self._shape, np.asarray(value).dtype)
        stop = self._filled + np.shape(value)[self._axis]
        self.value[(*[slice(None)] * self._axis, slice(self._filled, stop))] = value
        self._filled = stop

    def result(self) -> Any:
        """The rows of all parts."""
        return self.value


class Tree:
    """Values of parts merged by a word as a binary tree: two halves of 2^k parts each, from part 0 on, merge first.

    It keeps one value for each half that waits for the other, at most two for each doubling of the parts.
    """

    def __init__(self, word: str, axis: int = 0, dtype: np.dtype[Any] | None = None) -> None:
        self._word, self._axis, self._dtype = word, axis, dtype
        self.subtotals: list[Subtotal] = []
        """What has been merged so far, in the order of the parts."""

    def add(self, number: int, value: Any) -> None:
        """Merge in the value of part `number`, which follows the last one."""
        self.take([Subtotal(number, 1, _owned(np.asarray(value), self._word))])

    def take(self, subtotals: Iterable[Subtotal]) -> None:
        """Merge in subtotals of the parts that follow."""
        for each in subtotals:
            whole = each
            while self.subtotals and _are_halves(self.subtotals[-1], whole):
                whole = self._joined(self.subtotals.pop(), whole)
            self.subtotals.append(whole)

    def result(self) -> Any:
        """The value for all parts."""
        whole = self.subtotals.pop()
        while self.subtotals:
            whole = self._joined(self.subtotals.pop(), whole)
        value = whole.value / whole.parts if self._word == MEAN else whole.value
        return np.asarray(value, None if self._word == COUNT else self._dtype)[()]

    def _joined(self, left: Subtotal, right: Subtotal) -> Subtotal:
        if self._word == ROWS:
            value = np.concatenate([left.value, right.value], axis=self._axis)
        else:
            value = _merged(left.value, right.value, self._word)
        return Subtotal(left.first, left.parts + right.parts, value)


def _are_halves(left: Subtotal, right: Subtotal) -> bool:
    return left.parts == right.parts and left.first % (2 * left.parts) == 0


def _owned(value: np.ndarray[Any, Any], word: str) -> Any:
    """A copy of a value that others may be added to: doubles for floating-point numbers, integers for what counts."""
    if word not in _SUMS:
        return np.array(value)[()]
    if value.dtype.kind == "f":
        return np.array(value, np.result_type(value.dtype, np.float64))
    return np.array(value, np.result_type(value.dtype, np.int64) if word == COUNT else value.dtype)


def _merged(value: Any, other: Any, word: str) -> Any:
    """Two values merged, the second one that of later parts; sums are written into the first."""
    if word == LAST:
        return np.array(other)[()]
    if word in MERGES:
        return MERGES[word](value, other)
    value += other
    return value
