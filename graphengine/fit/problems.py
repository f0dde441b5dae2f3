"""What a descent minimizes: half a sum of squares, or any loss with second derivatives."""

from __future__ import annotations

import numpy as np

from graphengine.fit.objective import Objective, Residuals
from graphengine.fit.quadratic import Matrix, Quadratic, Vector
from graphengine.fit.robust import Robust


class SumOfSquares:
    """Half the sum of the squares of residuals, or of what a robust loss makes of them.

    The details of a value are the residuals.
    """

    def __init__(self, residuals: Residuals, robust: Robust | None = None) -> None:
        self._residuals, self._robust = residuals, robust
        self._jacobian: tuple[Vector, Matrix] | None = None

    def value(self, x: Vector) -> tuple[float, Vector]:
        """Half the sum at a point, and the residuals."""
        with np.errstate(all="ignore"):
            residual = self._residuals(x)
            half = self._robust.half(residual) if self._robust else float(residual @ residual) / 2
        return (half if np.isfinite(half) else np.inf), residual

    def jacobian(self, x: Vector) -> Matrix:
        """The Jacobian of the residuals, remembered for the last point."""
        if self._jacobian is None or not np.array_equal(self._jacobian[0], x):
            self._jacobian = np.array(x), self._residuals.jacobian(x)
        return self._jacobian[1]

    def _weights(self, residual: Vector) -> Vector:
        return self._robust.weights(residual) if self._robust else np.ones(len(residual))

    def model(self, x: Vector, details: Vector) -> Quadratic:
        """The model of Gauss and Newton, with each residual as it counts."""
        return self._model(x, details, None)

    def _model(self, x: Vector, details: Vector, second: Matrix | None) -> Quadratic:
        jacobian, residual = self.jacobian(x), details
        if self._robust:
            roots = np.sqrt(self._weights(details))
            jacobian, residual = roots[:, np.newaxis] * jacobian, roots * residual
        if not np.isfinite(jacobian).all():
            return Quadratic(jacobian, residual, np.full(len(x), np.nan))
        return Quadratic.of_residuals(residual, jacobian, second, self._residuals.epsilon)

    def exact(self, x: Vector, details: Vector) -> Quadratic | None:
        """The model with the second derivatives of the residuals; None if they have none, or none that is finite."""
        second = self._residuals.curvature(x, self._weights(details) * details)
        if second is None or not np.isfinite(second).all():
            return None
        if self._robust:
            jacobian = self.jacobian(x)
            second = second + jacobian.T @ (self._robust.bends(details)[:, np.newaxis] * jacobian)
        return self._model(x, details, second)

    def bend(self, x: Vector, details: Vector, step: Vector, fraction: float) -> Vector | None:
        """J' times the second derivative of the residuals along a step, by a difference."""
        _, ahead = self.value(x + fraction * step)
        if not np.isfinite(ahead).all():
            return None
        jacobian = self.jacobian(x)
        with np.errstate(all="ignore"):
            along = ((ahead - details) / fraction - jacobian @ step) * (2 / fraction)
            bend = jacobian.T @ (self._weights(details) * along)
        return bend if np.isfinite(bend).all() else None

    def noise(self, x: Vector, details: Vector, model: Quadratic) -> float:
        """Half the squares of what rounding leaves of residuals that are differences of larger numbers."""
        with np.errstate(all="ignore"):
            sizes = np.abs(self.jacobian(x)) @ np.abs(x)
            noise = (self._residuals.epsilon * float(np.linalg.norm(sizes))) ** 2 / 2
        return noise if np.isfinite(noise) else 0.0


class Loss:
    """A loss with its exact Hessian; the details of a value are its gradient."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective

    def value(self, x: Vector) -> tuple[float, Vector]:
        """The loss and its gradient."""
        with np.errstate(all="ignore"):
            loss, slope = self._objective(x)
        return (loss if np.isfinite(loss) else np.inf), slope

    def model(self, x: Vector, details: Vector) -> Quadratic:
        """The model with gradient and Hessian."""
        return Quadratic.of_loss(details, self._objective.hessian(x), self._objective.epsilon)

    def exact(self, x: Vector, details: Vector) -> None:
        """Nothing more exact than the model."""

    def bend(self, x: Vector, details: Vector, step: Vector, fraction: float) -> None:
        """Nothing: the Hessian knows how the loss bends."""

    def noise(self, x: Vector, details: Vector, model: Quadratic) -> float:
        """The rounding error of a loss whose terms have the sizes of its slopes."""
        return self._objective.epsilon * float(np.abs(details) @ np.abs(x))
