"""Nonlinear least squares to the last digits that the data allow, with one setting for all problems.

A trust-region method (Branch, Coleman and Li 1999, SciPy's "trf"), scaled by the Jacobian, finds the minimum from far
away; it stops once the sum of squares no longer falls, which leaves half of the digits of the parameters. Gauss-Newton
steps with the exact Jacobian then give the rest: they look at the gradient, and go on as long as they become shorter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphengine.fit.objective import Residuals, Vector

MOST_POLISHING = 100
EPSILON = float(np.finfo(np.float64).eps)
"""All tolerances: a fit ends when nothing can be gained any more."""


def solved(residuals: Residuals, start: Vector, accept: Callable[[Vector], None], scipy: Any) -> tuple[Vector, bool]:
    """The minimum that the trust-region method finds, and whether it converged; each accepted point is handed over."""

    def jacobian(x: Vector) -> Vector:
        accept(x)  # SciPy asks for the Jacobian at the start and at each point that it accepts
        return residuals.jacobian(x)

    tolerances = dict.fromkeys(("xtol", "ftol", "gtol"), EPSILON)
    most = 1000 * len(start)
    with np.errstate(all="ignore"):  # steps that are tried and not taken may overflow
        found = scipy.least_squares(
            residuals, start, jacobian, method="trf", x_scale="jac", max_nfev=most, **tolerances
        )
    return found.x, bool(found.success)


def polished(residuals: Residuals, x: Vector) -> Vector:
    """The point after Gauss-Newton steps, as long as each is shorter than the last, in the scale of the Jacobian."""
    least, last = np.sum(residuals(x) ** 2), np.inf
    for _ in range(MOST_POLISHING):
        step, length = gauss_newton_step(residuals, x)
        moved = x + step
        if not length < last or not np.sum(residuals(moved) ** 2) <= least * (1 + 1e-10):
            return x
        x, last = moved, length
    return x


def gauss_newton_step(residuals: Residuals, x: Vector) -> tuple[Vector, float]:
    """The step to the minimum of the linearised problem, and its length where the Jacobian has columns of length 1."""
    matrix, scale = scaled(residuals.jacobian(x))
    step, *_ = np.linalg.lstsq(matrix, -residuals(x), rcond=None)
    return step / scale, float(np.linalg.norm(step))


def scaled(jacobian: Vector) -> tuple[Vector, Vector]:
    """A Jacobian with columns of length 1, and the lengths they had; a column of zeros stays one."""
    lengths = np.linalg.norm(jacobian, axis=0)
    lengths[lengths == 0] = 1.0
    return jacobian / lengths, lengths
