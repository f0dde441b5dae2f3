"""Some rows of many, by a mask: a bit for each row, and no numbers of rows until some of them are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

MASKED = 65_536
"""How many rows of a mask are counted together, a multiple of 8."""

RADIX = 2**16
"""Keys below it are sorted by radix, ten times as fast as NumPy compares larger ones."""

Rows = slice | np.ndarray[Any, np.dtype[np.intp]]


class Chosen:
    """The rows where a mask is true, by their numbers among these: a bit for each row there is, and no numbers."""

    def __init__(self, mask: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        counts = [np.count_nonzero(mask[start : start + MASKED]) for start in range(0, len(mask), MASKED)]
        self._before = np.cumsum([0, *counts])
        """How many rows are chosen before each block of the mask."""
        self._bits = np.packbits(mask)

    def __len__(self) -> int:
        return int(self._before[-1])

    def among(self, chosen: Chosen) -> Chosen:
        """The rows that are chosen among these: its numbers are theirs."""
        mask = np.unpackbits(self._bits).view(np.bool_)
        mask[mask] = np.unpackbits(chosen._bits, count=len(self)).view(np.bool_)
        return Chosen(mask)

    def rows(self, numbers: Rows) -> np.ndarray[Any, np.dtype[np.intp]]:
        """The rows that have these numbers."""
        if isinstance(numbers, slice):
            numbers = np.arange(*numbers.indices(len(self)))
        found = np.empty(len(numbers), np.intp)
        for block, places in grouped_places(np.searchsorted(self._before, numbers, "right") - 1):
            start = block * MASKED
            chosen = np.flatnonzero(np.unpackbits(self._bits[start // 8 : (start + MASKED) // 8]))
            found[places] = start + chosen[numbers[places] - self._before[block]]
        return found


def grouped_places(
    keys: np.ndarray[Any, np.dtype[np.intp]],
) -> Iterator[tuple[int, np.ndarray[Any, np.dtype[np.intp]]]]:
    """The places of each key there is, the least first."""
    if len(keys) and keys.max() < RADIX:
        keys = keys.astype(np.uint16)
    order = np.argsort(keys, kind="stable")
    edges = np.flatnonzero(np.diff(keys[order])) + 1
    for places in np.split(order, edges):
        if len(places):
            yield int(keys[places[0]]), places
