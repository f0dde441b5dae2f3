"""The step that minimizes a quadratic within a radius and within bounds.

Along the principal axes the minimum within a radius is one equation in one unknown, the multiplier (More and Sorensen
1983). Bounds are met one after the other: where a step would leave the box it stops, the variable stays on its bound,
and the rest of the step is found for the others.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from graphengine.fit.quadratic import Mask, Quadratic, Spectrum, Vector

MOST_ROUNDS = 100
CLOSE = 0.05
"""A step may miss the radius by this fraction."""


class BoundedStep(NamedTuple):
    """A step, what the quadratic promises for it, and whether the radius keeps it from being longer."""

    vector: Vector
    gain: float
    multiplier: float
    free: Mask
    """The variables that are not on a bound after it."""


class BoxConstraints(NamedTuple):
    """Lower and upper bounds for each variable, infinite where there are none."""

    lower: Vector
    upper: Vector

    @property
    def is_open(self) -> bool:
        """Whether there are no bounds at all."""
        return not np.isfinite([self.lower, self.upper]).any()

    def nearest(self, x: Vector) -> Vector:
        """The nearer bound of each variable."""
        return np.where(np.abs(x - self.lower) < np.abs(x - self.upper), self.lower, self.upper)

    def contains(self, x: Vector) -> bool:
        """Whether a point keeps all bounds."""
        return bool(np.all((self.lower <= x) & (x <= self.upper)))

    def clipped(self, x: Vector) -> Vector:
        """The nearest point within the bounds."""
        return np.clip(x, self.lower, self.upper)

    def pinned(self, x: Vector, free: Mask) -> Vector:
        """A point whose variables that are not free lie exactly on their nearest bound."""
        return np.where(free, self.clipped(x), self.nearest(x))

    def free(self, x: Vector, slope: Vector) -> Mask:
        """The variables that are not held on a bound by the slope of the function."""
        held = ((x <= self.lower) & (slope >= 0)) | ((x >= self.upper) & (slope <= 0))
        return np.asarray(~held)


def step_within(model: Quadratic, box: BoxConstraints, at: Vector, radius: float) -> BoundedStep:
    """The step from `at` that minimizes a quadratic within a radius and a box."""
    step, free = np.zeros(len(at)), box.free(at, model.slope)
    multiplier = 0.0
    while free.any() and (rest := max(radius**2 - float(step @ step), 0.0) ** 0.5) > 1e-3 * radius:
        part = np.zeros(len(at))
        part[free], multiplier = within(model.spectrum(free, step), rest)
        fraction, hit = first_hit(box, at + step, part)
        step = step + fraction * part
        if hit is None:
            break
        step[hit] = (box.lower if part[hit] < 0 else box.upper)[hit] - at[hit]
        free[hit] = False
    return BoundedStep(step, -model.change(step), multiplier, free)


def first_hit(box: BoxConstraints, at: Vector, step: Vector) -> tuple[float, int | None]:
    """How much of a step stays in a box, and the variable that ends it; None if the whole step does."""
    room = np.where(step < 0, box.lower - at, box.upper - at)
    with np.errstate(divide="ignore", invalid="ignore"):
        fractions = np.where(step != 0, room / step, np.inf)
    hit = int(np.argmin(fractions))
    return (1.0, None) if fractions[hit] >= 1 else (max(float(fractions[hit]), 0.0), hit)


def within(spectrum: Spectrum, radius: float) -> tuple[Vector, float]:
    """The vector within the radius that minimizes a quadratic, and the multiplier, 0 where the radius is no limit."""
    curvatures, axes, slopes = spectrum
    bent = curvatures > 0
    if not np.any(curvatures < 0) and not np.any(slopes[~bent]):
        inside = np.where(bent, -slopes, 0.0) / np.where(bent, curvatures, 1.0)
        if np.linalg.norm(inside) <= radius:
            return axes @ inside, 0.0
    least = max(0.0, -float(curvatures.min()))
    if least > 0 and (found := _along_the_worst(spectrum, least, radius)) is not None:
        return axes @ found, least
    multiplier = _multiplier(curvatures, slopes, least, radius)
    return axes @ (-slopes / (curvatures + multiplier)), multiplier


def _along_the_worst(spectrum: Spectrum, least: float, radius: float) -> Vector | None:
    """The hard case: the slope has no part along the most negative curvature, and the rest does not fill the radius."""
    curvatures, _, slopes = spectrum
    worst = curvatures + least <= 1e-10 * least
    if np.linalg.norm(slopes[worst]) > 1e-14 * np.linalg.norm(slopes):
        return None
    step = np.where(worst, 0.0, -slopes) / np.where(worst, 1.0, curvatures + least)
    missing = radius**2 - step @ step
    if missing <= 0:
        return None
    first = int(np.argmax(worst))
    step[first] = np.sqrt(missing) * (-1.0 if slopes[first] > 0 else 1.0)
    return step


def _multiplier(curvatures: Vector, slopes: Vector, least: float, radius: float) -> float:
    """The number to add to all curvatures that makes the step as long as the radius, by Newton on 1 / length."""
    low, high = least, least + float(np.linalg.norm(slopes)) / radius
    multiplier = low + 1e-3 * (high - low)
    for _ in range(MOST_ROUNDS):
        raised = curvatures + multiplier
        length = float(np.linalg.norm(slopes / raised))
        if abs(length - radius) <= CLOSE * radius:
            break
        low, high = (multiplier, high) if length > radius else (low, multiplier)
        change = (length / radius - 1) * length**2 / float(np.sum(slopes**2 / raised**3))
        multiplier += change
        if not low < multiplier < high:
            multiplier = (low + high) / 2
    return multiplier
