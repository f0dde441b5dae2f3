"""The way down to a minimum: steps within a radius in which a quadratic model is trusted.

Far from a minimum the steps are those of Gauss and Newton, which see no saddle. Three slow steps in a row mean a curved
valley or large residuals. In a valley a step is bent along it by its second derivative ("geodesic acceleration",
Transtrum and Sethna 2012), a difference of residuals; for large residuals there is the exact Hessian, which is tried
beside it. The better of the two is taken, and where the Hessian loses it is asked for more rarely.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from graphengine.fit.quadratic import Quadratic, Vector
from graphengine.fit.trust_region import BoundedStep, BoxConstraints, step_within

PATIENCE = 3
"""Slow steps in a row after which more is tried than Gauss and Newton's."""
SLOW = 0.3
"""A step is slow if it is longer than this fraction of the last one; those of a method that converges fast are not."""
BENT = 0.5
"""A step that would be bent by more than this, half of its bend over its length, is not trusted."""
PROBE = 0.1
"""The second derivative along a step is taken from a point at this fraction of it."""
COLLAPSED = 1e-15
"""A radius below this fraction of the point itself ends the descent."""


class MinimizationProblem(Protocol):
    """A function to minimize. What a value was computed with, such as residuals, is handed back for its derivatives."""

    def value(self, x: Vector) -> tuple[float, Any]:
        """The function at a point, infinite where it is not finite, and the details."""

    def model(self, x: Vector, details: Any) -> Quadratic:
        """The model of first choice."""

    def exact(self, x: Vector, details: Any) -> Quadratic | None:
        """The model with the exact Hessian, if that is another one and finite."""

    def bend(self, x: Vector, details: Any, step: Vector, fraction: float) -> Vector | None:
        """J' times the second derivative of the residuals along a step, from a point at a fraction of it."""

    def noise(self, x: Vector, details: Any, model: Quadratic) -> float:
        """The rounding error of the value."""


class Point(NamedTuple):
    """A point with the value of the function and the details."""

    x: Vector
    value: float
    details: Any


class TrialStep(NamedTuple):
    """A step that was tried: where it led, and how it compares with what was promised."""

    point: Point
    step: BoundedStep
    ratio: float
    trusted: bool
    is_exact: bool


@dataclass
class TrustRegion:
    """The radius, in scaled variables, in which a model is trusted."""

    radius: float

    def learn(self, trial: TrialStep, *, improved: bool) -> None:
        """Shrink after a broken promise, grow after a kept one that the radius has limited."""
        length = float(np.linalg.norm(trial.step.vector))
        if trial.ratio < 0.25 or not trial.trusted:
            self.radius = min(self.radius, length) * (0.5 if improved else 0.25)
        elif trial.ratio > 0.75 and trial.step.multiplier > 0:
            self.radius = max(self.radius, 2 * length)


class Descent:
    """A descent from a point; `accept` is called with each point on the way.

    `typical` are sizes of the variables, for those that start at zero.
    """

    def __init__(
        self,
        problem: MinimizationProblem,
        start: Vector,
        box: BoxConstraints,
        typical: Vector,
        accept: Callable[[Vector], None],
    ) -> None:
        self._problem, self._box, self._typical, self._accept = problem, box, typical, accept
        self._at = Point(start, *problem.value(start))
        self._scale = np.zeros(len(start))
        self._regions: tuple[TrustRegion, TrustRegion] | None = None
        self._limited = self._slow = 0
        self._wait, self._last = PATIENCE, np.inf

    def run(self) -> Vector:
        """The point where no step gains anything any more."""
        while self._advance():
            self._accept(self._at.x)
        return self._at.x

    def _advance(self) -> bool:
        """Take one step; whether there was one."""
        x, details = self._at.x, self._at.details
        model = self._problem.model(x, details)
        if not np.isfinite(model.slope).all():
            return False
        self._scale = np.maximum(self._scale, model.lengths)
        scale = np.where(self._scale > 0, self._scale, 1.0)
        exact = self._problem.exact(x, details) if self._slow >= self._wait else None
        self._regions = self._regions or (self._first_region(scale), self._first_region(scale))
        models = [each.scaled(scale) for each in (model, exact) if each is not None]
        least = self._problem.noise(x, details, model) + model.epsilon * abs(self._at.value)
        best = self._best(models, self._regions[: len(models)], scale, least)
        if best is None:
            return False
        self._learn(best, asked=exact is not None)
        self._at = best.point
        return True

    def _best(
        self, models: Sequence[Quadratic], regions: Sequence[TrustRegion], scale: Vector, least: float
    ) -> TrialStep | None:
        """The trial that gets lowest, with radii that shrink until one improves; None if no model promises anything."""
        smallest = COLLAPSED * (float(np.linalg.norm(scale * self._at.x)) + float(np.sqrt(abs(self._at.value))))
        while max(region.radius for region in regions) > smallest:
            steps = [self._step(model, region, scale) for model, region in zip(models, regions, strict=True)]
            if all(step.gain <= least for step in steps):
                return None
            trials = [self._trial(model, step, scale) for model, step in zip(models, steps, strict=True)]
            for trial, region in zip(trials, regions, strict=True):
                region.learn(trial, improved=trial.point.value < self._at.value)
            best = min(trials, key=lambda trial: trial.point.value)
            if best.point.value < self._at.value:
                return best
        return None

    def _first_region(self, scale: Vector) -> TrustRegion:
        size = float(np.linalg.norm(scale * np.maximum(np.abs(self._at.x), self._typical)))
        return TrustRegion(size or float(np.sqrt(2 * abs(self._at.value))) or 1.0)

    def _step(self, model: Quadratic, region: TrustRegion, scale: Vector) -> BoundedStep:
        x = self._at.x * scale
        return step_within(model, BoxConstraints(self._box.lower * scale, self._box.upper * scale), x, region.radius)

    def _trial(self, model: Quadratic, step: BoundedStep, scale: Vector) -> TrialStep:
        """Try a step; one of Gauss and Newton's is bent along a valley."""
        vector, trusted, is_exact = step.vector, True, model.second is not None
        if not is_exact and step.multiplier > 0 and self._limited >= PATIENCE:
            vector, trusted = self._bent(model, step, scale)
        x = self._box.pinned(self._at.x + vector / scale, step.free)
        value, details = self._problem.value(x)
        ratio = (self._at.value - value) / step.gain if step.gain > 0 else -np.inf
        return TrialStep(Point(x, value, details), step, ratio, trusted, is_exact)

    def _bent(self, model: Quadratic, step: BoundedStep, scale: Vector) -> tuple[Vector, bool]:
        """The step with half of its acceleration, and whether that is small enough."""
        bend = self._problem.bend(self._at.x, self._at.details, step.vector / scale, PROBE)
        if bend is None or not step.free.all():
            return step.vector, True
        curvatures, axes, _ = model.spectrum(step.free, np.zeros(len(bend)))
        acceleration = -axes @ ((axes.T @ (bend / scale)) / (curvatures + step.multiplier)) / 2
        if 2 * np.linalg.norm(acceleration) > BENT * np.linalg.norm(step.vector):
            return step.vector, False
        vector = step.vector + acceleration
        return (vector, True) if self._box.contains(self._at.x + vector / scale) else (step.vector, True)

    def _learn(self, best: TrialStep, *, asked: bool) -> None:
        """Count slow steps, and decide from which number of them on the exact Hessian is asked for."""
        length, limited = float(np.linalg.norm(best.step.vector)), best.step.multiplier > 0
        slow = limited or length > SLOW * self._last
        self._slow = self._slow + 1 if slow else 0
        self._limited = self._limited + 1 if limited else 0
        self._last = length if best.is_exact or not limited else np.inf
        if asked:
            self._wait, self._slow = (PATIENCE, PATIENCE) if best.is_exact else (2 * self._wait, 0)
