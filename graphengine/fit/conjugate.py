"""The last digits of a minimum of many numbers: Newton steps by conjugate gradients, which need no matrix.

A value is flat around its minimum, so a solver that looks at values finds half of the digits of the point. A Newton
step solves H p = -g, here by products of the Hessian with vectors (Nocedal and Wright 2006, algorithm 7.1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from graphengine.fit.quadratic import EPSILON, Mask, Vector
from graphengine.fit.trust_region import BoxConstraints

MOST_STEPS = 20
REDUCTION = 1e-4
"""By how much the slope of the quadratic model is reduced within a step."""


class SmoothProblem(Protocol):
    """A function with products of its Hessian, within bounds."""

    @property
    def bounds(self) -> BoxConstraints:
        """The bounds of each number."""

    def __call__(self, x: Vector) -> tuple[float, Vector]:
        """The value and its gradient."""

    def hessian_product(self, x: Vector, direction: Vector) -> Vector:
        """The Hessian at a point, times a vector."""


def sharpened(problem: SmoothProblem, x: Vector, most_products: int) -> Vector:
    """The point after Newton steps, as long as each halves the slope, or sooner after `most_products`."""
    value, slope = problem(x)
    left = most_products
    for _ in range(MOST_STEPS):
        free = problem.bounds.free(x, slope)
        along = _within(problem, x, free)
        step, used = conjugate_step(along, np.where(free, slope, 0.0), left)
        left, moved = left - used, x + step
        after, further = problem(moved) if problem.bounds.contains(moved) else (np.inf, slope)
        noise = EPSILON * (abs(value) + float(np.abs(slope) @ np.abs(x)))
        better = np.linalg.norm(further[free]) < np.linalg.norm(slope[free]) / 2
        if not (better and after <= value + 10 * noise):
            return x
        x, value, slope = moved, after, further
    return x


def _within(problem: SmoothProblem, x: Vector, free: Mask) -> Callable[[Vector], Vector]:
    """Products of the Hessian at a point, among the numbers that are not held on a bound."""
    return lambda direction: np.where(free, problem.hessian_product(x, direction), 0.0)


def conjugate_step(product: Callable[[Vector], Vector], slope: Vector, most: int) -> tuple[Vector, int]:
    """The step that solves H p = -slope for products with H, and how many there were; it ends where H has no curve."""
    step, residual, direction = np.zeros(len(slope)), -slope, -slope
    length = enough = float(residual @ residual)
    enough *= REDUCTION**2
    for count in range(1, most + 1):
        along = product(direction)
        bend = float(direction @ along)
        if not bend > EPSILON * float(np.linalg.norm(direction) * np.linalg.norm(along)):
            return step, count
        step = step + (length / bend) * direction
        residual = residual - (length / bend) * along
        before, length = length, float(residual @ residual)
        if length <= enough:
            return step, count
        direction = residual + (length / before) * direction
    return step, most
