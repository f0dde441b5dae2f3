"""The line along which numbers on a grid are 0."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphengine.draw.charts import Point


def zero_lines(
    xs: np.ndarray[Any, Any], ys: np.ndarray[Any, Any], heights: np.ndarray[Any, Any]
) -> Iterator[tuple[Point, Point]]:
    """Yield the pieces of the line where heights[row, column] over (xs[column], ys[row]) change their sign.

    Along an edge of a cell heights are taken for linear, as in marching squares (Lorensen and Cline 1987). A cell where
    they change on all four edges has two pieces.
    """
    positive = heights > 0
    turns = positive[:-1, :-1].astype(int) + positive[1:, :-1] + positive[:-1, 1:] + positive[1:, 1:]
    for row, column in np.argwhere((turns > 0) & (turns < 4)).tolist():
        around = [(row, column), (row, column + 1), (row + 1, column + 1), (row + 1, column)]
        corners = [(float(xs[j]), float(ys[i]), float(heights[i, j])) for i, j in around]
        ends = [
            _between(a, b) for a, b in zip(corners, [*corners[1:], corners[0]], strict=True) if (a[2] > 0) != (b[2] > 0)
        ]
        yield from zip(ends[::2], ends[1::2], strict=True)


def _between(first: tuple[float, float, float], second: tuple[float, float, float]) -> Point:
    """Return where the height between two corners is 0; the middle where one is not finite."""
    (x, y, height), (other_x, other_y, other) = first, second
    share = height / (height - other)
    share = share if np.isfinite(share) else 0.5
    return x + share * (other_x - x), y + share * (other_y - y)
