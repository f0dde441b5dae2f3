"""Several starting points of one fit: the file's own, and a Latin hypercube around it.

Each number has a range: its bounds or, where one is missing, a distance around its start. A hypercube of K points has
in each K-th part of each range exactly one of them (McKay, Beckman and Conover 1979). A range of positive numbers that
spans more than two decades is divided evenly in the logarithm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from graphengine.fit.quadratic import Vector
from graphengine.fit.trust_region import BoxConstraints
from graphengine.format.initializers import random_generator

AROUND = 3.0
"""Where there is no bound, starting points lie up to so many typical sizes from the file's."""
DECADES = 100.0
"""The ratio of bounds from which on a range is logarithmic."""
SAME = 1e-6
"""Two starts have found the same minimum if loss and parameters agree to this fraction."""


class Start(NamedTuple):
    """One of several starting points, and what came of it."""

    start: dict[str, object]
    parameters: dict[str, object]
    loss: float
    converged: bool
    reason: str | None
    iterations: int
    minimum: int
    """The number of the minimum that was found, from 1, the best first; 0 for none."""


def starting_points(
    start: Vector, box: BoxConstraints, typical: Vector, names: Sequence[str], count: int, seed: int
) -> list[Vector]:
    """The start itself and `count` - 1 points around it; each number depends on its name and the seed alone."""
    sizes = np.maximum(np.abs(start), typical)
    sizes = np.where(sizes > 0, sizes, 1.0)
    low = np.where(np.isfinite(box.lower), box.lower, start - AROUND * sizes)
    high = np.where(np.isfinite(box.upper), box.upper, start + AROUND * sizes)
    columns = [
        _column(float(low[place]), float(high[place]), random_generator(f"start/{name}", seed), count - 1)
        for place, name in enumerate(names)
    ]
    return [start, *map(np.array, zip(*columns, strict=True))]


def _column(low: float, high: float, generator: np.random.Generator, count: int) -> list[float]:
    """One number of all points: a place in each part of its range, in random order."""
    order = np.argsort(generator.random(count), kind="stable")
    parts = (order + generator.random(count)) / max(count, 1)
    if low > 0 and high > DECADES * low:
        return [float(low * (high / low) ** part) for part in parts]
    return [float(low + (high - low) * part) for part in parts]


def numbered(losses: Sequence[float], points: Sequence[Vector], sizes: Vector) -> list[int]:
    """The minimum that each start has found, from 1, the best first; 0 for an infinite loss, which is none."""
    found: list[int] = [0] * len(losses)
    minima: list[tuple[float, Vector]] = []
    for place in np.argsort(losses, kind="stable"):
        loss, point = losses[place], points[place]
        if not np.isfinite(loss):
            continue
        known = (number for number, each in enumerate(minima, 1) if _alike(loss, point, *each, sizes))
        found[place] = next(known, 0)
        if not found[place]:
            minima.append((loss, point))
            found[place] = len(minima)
    return found


def _alike(loss: float, point: Vector, other_loss: float, other: Vector, sizes: Vector) -> bool:
    close = abs(loss - other_loss) <= SAME * (abs(loss) + abs(other_loss)) + np.finfo(float).tiny
    return bool(close and np.all(np.abs(point - other) <= 100 * SAME * (np.abs(other) + sizes)))
