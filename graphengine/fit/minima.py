"""Whether a point is a minimum, to the last digits: Newton steps, the signs of the curvature, and looks around.

The curvature of a sum of squares is seen in the axes of its Jacobian, each divided by its singular value. There J'J is
the identity and the second derivatives of the residuals add pure numbers: no digits are lost to squaring, and a saddle
is a number below -1, whatever the units of the parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from graphengine.fit.descent import MinimizationProblem
from graphengine.fit.quadratic import EPSILON, NOISE, Mask, Matrix, Quadratic, Vector
from graphengine.fit.trust_region import BoxConstraints

MOST_POLISHING = 50
BELOW_ZERO = 1e-8
"""A curvature counts as negative from here on, in relation to the one that the Jacobian gives."""
GAIN = 1e-12
"""At a minimum a Newton step promises no more than this fraction of the value."""
CLOSE = 1e-9
"""Or it is no longer than this fraction of the point itself."""
MOST_DIRECTIONS = 50
LOOKS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 1.0, 2.0, 10.0)
"""How far the function is looked at along a direction that is flat or leads down, in units of the point."""

MOST_FLAT = 4
"""Of so many flat directions at most it is looked whether a way down begins elsewhere on the plain."""
ELSEWHERE = (0.5, 2.0)
"""How far, in units of the point."""
ALIKE = 1e-9
"""The plain has the same value up to this fraction."""


class Surroundings(NamedTuple):
    """A point with the curvature around it, among the variables that are not held on a bound."""

    x: Vector
    value: float
    noise: float
    """The rounding error of the value."""
    step: Vector
    """The Newton step."""
    gain: float
    """What it promises."""
    length: float
    """How long it is where all variables count alike; `size` is the same of the point itself."""
    size: float
    ways: Matrix
    """Directions of no or of negative curvature, as columns."""

    @property
    def has_no_slope(self) -> bool:
        """Whether a step promises nothing worth mentioning."""
        return self.gain <= GAIN * abs(self.value) + 100 * self.noise or self.length <= CLOSE * self.size


def surroundings(problem: MinimizationProblem, x: Vector, box: BoxConstraints) -> Surroundings:
    """Look at the curvature around a point."""
    value, details = problem.value(x)
    first = problem.model(x, details)
    scale = np.where(first.lengths > 0, first.lengths, 1.0)
    model, free = (problem.exact(x, details) or first).scaled(scale), box.free(x, first.slope)
    axes, hessian, slopes = _in_axes(model, free)
    curvatures, directions = np.linalg.eigh(hessian)
    bent = curvatures > _uncertainty(model, free, axes)
    downhill = np.where(bent, -(directions.T @ slopes), 0.0) / np.where(bent, curvatures, 1.0)
    step, ways = np.zeros(len(x)), np.zeros((len(x), np.count_nonzero(~bent)))
    step[free], ways[free] = axes @ directions @ downhill, axes @ directions[:, ~bent]
    gain = float(curvatures @ downhill**2) / 2
    noise = problem.noise(x, details, first)
    size, length = float(np.linalg.norm(scale * x)), float(np.linalg.norm(step))
    return Surroundings(x, value, noise, step / scale, gain, length, size, ways / scale[:, np.newaxis])


def _in_axes(model: Quadratic, free: Mask) -> tuple[Matrix, Matrix, Vector]:
    """Axes as columns, and the Hessian and the slope along them."""
    if model.is_sum_of_squares:
        left, values, solid = model.solid_part(free)
        flat = np.linalg.qr(solid, mode="complete")[0][:, len(values) :]
        axes, of_jacobian = np.hstack([solid / values, flat]), np.repeat([1.0, 0.0], [len(values), flat.shape[1]])
        slopes = np.concatenate([left.T @ model.residual, np.zeros(flat.shape[1])])
    else:
        slopes = model.slope[free]
        axes, of_jacobian = np.eye(len(slopes)), np.zeros(len(slopes))
    hessian = np.diag(of_jacobian)
    if model.second is not None:
        second = axes.T @ model.second[np.ix_(free, free)] @ axes
        hessian = hessian + (second + second.T) / 2
    return axes, hessian, slopes


def _uncertainty(model: Quadratic, free: Mask, axes: Matrix) -> float:
    """How far a curvature may be from zero by rounding alone."""
    if model.second is None or not axes.size:
        return BELOW_ZERO
    second = float(np.linalg.norm(model.second[np.ix_(free, free)]))
    rounding = NOISE * model.epsilon * second * float(np.square(np.linalg.norm(axes, 2)))
    return min(rounding + BELOW_ZERO, 0.5) if model.is_sum_of_squares else rounding


def polished(problem: MinimizationProblem, x: Vector, box: BoxConstraints) -> Surroundings:
    """The point after Newton steps, each of which makes the next one shorter: the last digits a value cannot show."""
    here = surroundings(problem, x, box)
    for _ in range(MOST_POLISHING):
        moved = here.x + here.step
        if here.length <= EPSILON * here.size or not box.contains(moved):
            return here
        there = surroundings(problem, moved, box)
        rounding = 100 * here.noise + 10 * np.sqrt(here.noise * abs(here.value))  # of squares (r + d)**2
        allowed = here.value + 1e-10 * abs(here.value) + rounding
        if not (there.length < here.length and there.value <= allowed):
            return here
        here = there
    return here


def way_down(problem: MinimizationProblem, here: Surroundings, box: BoxConstraints, typical: Vector) -> Vector | None:
    """A lower point along a direction in which the curvature shows no minimum; None if there is none to be seen.

    Where a few directions are flat a way down may begin elsewhere on the plain: two terms of a sum that have become
    alike part again only at other amplitudes.
    """
    lowest = here.value - GAIN * abs(here.value) - 100 * here.noise
    best = _lowest_along(problem, here.x, here.ways, box, typical, lowest)
    if best is not None or not 0 < here.ways.shape[1] <= MOST_FLAT:
        return best
    for x in _line(here.x, here.ways, box, typical, ELSEWHERE):
        value, _ = problem.value(x)
        if abs(value - here.value) <= ALIKE * abs(here.value):
            there = surroundings(problem, x, box)
            best = _lowest_along(problem, x, there.ways, box, typical, lowest)
            if best is not None:
                return best
    return None


def _lowest_along(
    problem: MinimizationProblem, x: Vector, ways: Matrix, box: BoxConstraints, typical: Vector, lowest: float
) -> Vector | None:
    """The lowest point along some directions, if one is below a value."""
    best = None
    for moved in _line(x, ways, box, typical, LOOKS):
        value, _ = problem.value(moved)
        if value < lowest:
            lowest, best = value, moved
    return best


def _line(x: Vector, ways: Matrix, box: BoxConstraints, typical: Vector, looks: Sequence[float]) -> Iterator[Vector]:
    """Points on both sides of a point along each direction, at distances in units of the point."""
    sizes = np.maximum(np.abs(x), typical)
    sizes = np.where(sizes > 0, sizes, 1.0)
    for direction in ways.T[:MOST_DIRECTIONS]:
        unit = direction / np.max(np.abs(direction) / sizes)
        for distance in (sign * look for look in looks for sign in (1, -1)):
            yield box.clipped(x + distance * unit)
