"""What a descent minimizes: half a sum of squares, or any loss with second derivatives."""

from __future__ import annotations

import numpy as np

from graphengine.fit.objective import Objective, Residuals
from graphengine.fit.quadratic import Matrix, Quadratic, Vector, triangle
from graphengine.fit.robust import Robust


class SumOfSquares:
    """Half the sum of the squares of residuals, or of what a robust loss makes of them.

    The details of a value are the residuals.
    """

    def __init__(self, residuals: Residuals, robust: Robust | None = None) -> None:
        self._residuals, self._robust = residuals, robust
        self._jacobian: tuple[Vector, Matrix] | None = None
        self._seen: tuple[Vector, tuple[float, Vector]] | None = None
        self._triangle: tuple[Vector, tuple[Matrix, Vector]] | None = None

    def value(self, x: Vector) -> tuple[float, Vector]:
        """Half the sum at a point, and the residuals, remembered for the last point."""
        if self._seen is None or not np.array_equal(self._seen[0], x):
            with np.errstate(all="ignore"):
                residual, jacobian = self._residuals.at(x)
                half = self._robust.half(residual) if self._robust else float(residual @ residual) / 2
            self._jacobian = self._jacobian if jacobian is None else (np.array(x), jacobian)
            self._seen = np.array(x), (half if np.isfinite(half) else np.inf, residual)
        return self._seen[1]

    def jacobian(self, x: Vector) -> Matrix:
        """The Jacobian of the residuals, remembered for the last point."""
        if self._jacobian is None or not np.array_equal(self._jacobian[0], x):
            with np.errstate(all="ignore"):
                self._jacobian = np.array(x), self._residuals.jacobian(x)
        return self._jacobian[1]

    def _weights(self, residual: Vector) -> Vector:
        return self._robust.weights(residual) if self._robust else np.ones(len(residual))

    def model(self, x: Vector, details: Vector) -> Quadratic:
        """The model of Gauss and Newton, with each residual as it counts."""
        return self._model(x, details, None)

    def _model(self, x: Vector, details: Vector, second: Matrix | None) -> Quadratic:
        jacobian, residual = self._reduced(x, details)
        gradient = np.full(len(x), 0.0 if np.isfinite(jacobian).all() else np.nan)
        return Quadratic(jacobian, residual, gradient, second, self._residuals.epsilon)

    def plain(self, x: Vector, details: Vector) -> Quadratic:
        """The model of Gauss and Newton of the residuals themselves, not as a robust loss counts them."""
        if self._robust is None:
            return self.model(x, details)
        return Quadratic.of_residuals(details, self.jacobian(x), None, self._residuals.epsilon)

    def _reduced(self, x: Vector, details: Vector) -> tuple[Matrix, Vector]:
        """Jacobian and residual, each residual as it counts, with few rows; remembered for the last point."""
        if self._triangle is None or not np.array_equal(self._triangle[0], x):
            jacobian, residual = self.jacobian(x), details
            if self._robust:
                roots = np.sqrt(self._weights(details))
                jacobian, residual = roots[:, np.newaxis] * jacobian, roots * residual
            self._triangle = np.array(x), triangle(jacobian, residual)
        return self._triangle[1]

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
        with np.errstate(all="ignore"):
            ahead = self._residuals(x + fraction * step)
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
