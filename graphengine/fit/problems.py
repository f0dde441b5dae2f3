"""What a descent minimizes: half a sum of squares, or any loss with second derivatives."""

from __future__ import annotations

import numpy as np

from graphengine.fit.objective import Objective, Residuals
from graphengine.fit.quadratic import Matrix, Quadratic, Vector


class SumOfSquares:
    """Half the sum of the squares of residuals; the details of a value are the residuals."""

    def __init__(self, residuals: Residuals) -> None:
        self._residuals = residuals
        self._jacobian: tuple[Vector, Matrix] | None = None

    def value(self, x: Vector) -> tuple[float, Vector]:
        """Half the sum of squares at a point, and the residuals."""
        with np.errstate(all="ignore"):
            residual = self._residuals(x)
            half = float(residual @ residual) / 2
        return (half if np.isfinite(half) else np.inf), residual

    def jacobian(self, x: Vector) -> Matrix:
        """The Jacobian, remembered for the last point."""
        if self._jacobian is None or not np.array_equal(self._jacobian[0], x):
            self._jacobian = np.array(x), self._residuals.jacobian(x)
        return self._jacobian[1]

    def model(self, x: Vector, details: Vector) -> Quadratic:
        """The model of Gauss and Newton."""
        jacobian = self.jacobian(x)
        if not np.isfinite(jacobian).all():
            return Quadratic(jacobian, details, np.full(len(x), np.nan))
        return Quadratic.of_residuals(details, jacobian, None, self._residuals.epsilon)

    def exact(self, x: Vector, details: Vector) -> Quadratic | None:
        """The model with the second derivatives of the residuals; None if they have none, or none that is finite."""
        second = self._residuals.curvature(x, details)
        if second is None or not np.isfinite(second).all():
            return None
        return Quadratic.of_residuals(details, self.jacobian(x), second, self._residuals.epsilon)

    def bend(self, x: Vector, details: Vector, step: Vector, fraction: float) -> Vector | None:
        """J' times the second derivative of the residuals along a step, by a difference."""
        _, ahead = self.value(x + fraction * step)
        if not np.isfinite(ahead).all():
            return None
        jacobian = self.jacobian(x)
        with np.errstate(all="ignore"):
            bend = jacobian.T @ (((ahead - details) / fraction - jacobian @ step) * (2 / fraction))
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
