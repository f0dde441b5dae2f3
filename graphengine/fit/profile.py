"""Profile-likelihood intervals: how far a number can move while the others make the best of it.

With one number held, the others are fitted anew; the rise of the objective, as a number of standard deviations, is the
profile zeta. It is exactly the distance in standard errors where a problem is linear, and bends where it is not; an
interval ends where zeta is the quantile of its level (Bates and Watts 1988, chapter 6; Venzon and Moolgavkar 1988).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from graphengine.errors import UsageError
from graphengine.extras import optional
from graphengine.fit.descent import MinimizationProblem
from graphengine.fit.least_squares import minimized
from graphengine.fit.quadratic import Vector
from graphengine.fit.trust_region import BoxConstraints

CLOSE = 0.1
"""A zeta within so many roots of the rounding error of the one that is looked for is the one."""
MOST_STEPS = 60
LOWER = 1e-7
"""A rise of less than minus this many units of the scale is a minimum that the fit has missed."""


class Interval(NamedTuple):
    """The ends of an interval; infinite where the data set no end, a bound where that comes first."""

    low: float
    high: float


class _Seen(NamedTuple):
    """A point of a profile: the number that is held, zeta, and the best point with it."""

    number: float
    zeta: float
    point: Vector


class MissedError(Exception):
    """A profile has come upon a point that is lower than the minimum of the fit."""

    def __init__(self, x: Vector) -> None:
        super().__init__("a lower point")
        self.x = x


class MinimumProfile:
    """The profiles of a minimum.

    Parameters
    ----------
    problem, box, typical
        As of the fit.
    x : array
        The minimum.
    errors : array
        Standard errors, NaN where there are none: how far to look first.
    scale : float
        What divides the rise of the objective: the variance for half a sum of squares, 1 for a negative log-likelihood.
    epsilon : float
        The rounding error of the objective, in relation to it.
    """

    def __init__(
        self,
        problem: MinimizationProblem,
        box: BoxConstraints,
        typical: Vector,
        x: Vector,
        errors: Vector,
        scale: float,
        epsilon: float,
    ) -> None:
        self._problem, self._box, self._typical, self.x, self._errors = problem, box, typical, x, errors
        self._scale, self._least, self._close = scale, problem.value(x)[0], CLOSE * math.sqrt(epsilon)

    def zeta(self, place: int, number: float, near: Vector) -> tuple[float, Vector]:
        """The signed profile with one number held, and the best point; `near` is where to start.

        Raises
        ------
        MissedError
            If that is lower than the minimum.
        """
        start = np.array(near)
        start[place] = number
        lower, upper = self._box.lower.copy(), self._box.upper.copy()
        lower[place] = upper[place] = number
        best = minimized(self._problem, start, BoxConstraints(lower, upper), self._typical, lambda _: None).x
        rise = 2 * (self._problem.value(best)[0] - self._least) / self._scale
        if rise < -LOWER:
            raise MissedError(best)
        return math.copysign(math.sqrt(max(rise, 0.0)), number - self.x[place]), best

    def interval(self, place: int, quantile: float) -> Interval:
        """Where the profile of one number has the quantile, below and above."""
        return Interval(self._end(place, -quantile), self._end(place, quantile))

    def _end(self, place: int, wanted: float) -> float:
        """Where zeta is `wanted`: steps outward until it is beyond, then a search between the last two."""
        bound = (self._box.lower if wanted < 0 else self._box.upper)[place]
        inside, inside_zeta, near = self.x[place], 0.0, self.x
        if inside == bound:
            return float(bound)
        step = abs(wanted) * self._first_step(place)
        for _ in range(MOST_STEPS):
            number = inside + math.copysign(step, wanted)
            number = max(number, bound) if wanted < 0 else min(number, bound)
            zeta, point = self.zeta(place, number, self._ahead(place, number, near))
            if abs(zeta) >= abs(wanted):
                seen = _Seen(inside, inside_zeta, near), _Seen(number, zeta, point)
                return self._between(place, wanted, *seen)
            if number == bound:
                return float(bound)
            slope = (abs(zeta) - abs(inside_zeta)) / abs(number - inside)
            missing = 1.1 * (abs(wanted) - abs(zeta)) / slope if slope > 0 else math.inf
            step = min(max(missing, 0.1 * step), 4 * step)
            inside, inside_zeta, near = number, zeta, point
        return math.copysign(math.inf, wanted)

    def _first_step(self, place: int) -> float:
        error = self._errors[place]
        if math.isfinite(error) and error > 0:
            return float(error)
        return 1e-3 * (abs(float(self.x[place])) or float(self._typical[place]) or 1.0)

    def _ahead(self, place: int, number: float, near: Vector) -> Vector:
        """Where the others probably are: on the line through the minimum and the last point."""
        gone = near[place] - self.x[place]
        if gone == 0:
            return near
        return self._box.clipped(self.x + (near - self.x) * ((number - self.x[place]) / gone))

    def _between(self, place: int, wanted: float, inside: _Seen, outside: _Seen) -> float:
        """The number where zeta is `wanted`: a false position that keeps one end on each side.

        The value at an end that stays is halved, so that both ends move (Illinois; Dowell and Jarratt 1971).
        """
        ends, missing = [inside, outside], [abs(each.zeta) - abs(wanted) for each in (inside, outside)]
        last = None
        for _ in range(MOST_STEPS):
            (low, high), (below, above) = (each.number for each in ends), missing
            number = high - above * (high - low) / (above - below)
            zeta, point = self.zeta(place, number, self._ahead(place, number, ends[1].point))
            left = abs(zeta) - abs(wanted)
            side = int(left > 0)
            if abs(left) <= self._close * abs(wanted) or number in (low, high):
                return float(number)
            if side == last:
                missing[1 - side] /= 2
            ends[side], missing[side], last = _Seen(number, zeta, point), left, side
        return float(number)

    def curve(self, place: int, reach: float, count: int) -> list[tuple[float, float]]:
        """Points (number, zeta) of a profile, about `count` on each side, out to `reach` or to a bound."""
        halves = [point for sign in (-1.0, 1.0) for point in self._half(place, sign, reach, count)]
        return sorted([(float(self.x[place]), 0.0), *halves])

    def _half(self, place: int, sign: float, reach: float, count: int) -> Iterator[tuple[float, float]]:
        """Points on one side; the slope between the last two says how far the next is."""
        bound = float((self._box.lower if sign < 0 else self._box.upper)[place])
        number, zeta, near = float(self.x[place]), 0.0, self.x
        step = reach / count * self._first_step(place)
        for _ in range(4 * count):
            if number == bound or abs(zeta) >= reach:
                return
            ahead = number + sign * step
            ahead = max(ahead, bound) if sign < 0 else min(ahead, bound)
            rise, near = self.zeta(place, ahead, self._ahead(place, ahead, near))
            yield ahead, rise
            slope = abs(rise - zeta) / abs(ahead - number)
            step = min(max(reach / count / slope, step / 4), 4 * step) if slope > 0 else 4 * step
            number, zeta = ahead, rise


def quantiles(levels: Iterable[float], freedom: float) -> dict[float, float]:
    """For each level the quantile of Student's t that it lies between; with infinite freedom that of the normal.

    Raises
    ------
    UsageError
        GE801 if a level is not between 0 and 1; GE803 if SciPy is not installed.
    """
    special = optional("scipy.special", "fit")
    found = {}
    for level in levels:
        if not 0 < level < 1:
            raise UsageError(f"the level of an interval is between 0 and 1, not {level:g}")
        probability = (1 + level) / 2
        found[level] = float(
            special.ndtri(probability) if math.isinf(freedom) else special.stdtrit(freedom, probability)
        )
    return found
