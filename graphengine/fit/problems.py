"""What a descent minimizes: half a sum of squares, or any loss with second derivatives."""

from __future__ import annotations

import numpy as np

from graphengine.fit.objective import Objective
from graphengine.fit.quadratic import Matrix, Quadratic, Vector, triangle, triangle_of_products
from graphengine.fit.residuals import Residuals
from graphengine.fit.robust import Robust

ALIKE = 1e-9
"""Points that differ by no more than this fraction have the same second derivatives, for all that these decide."""


class SumOfSquares:
    """Half the sum of the squares of residuals, or of what a robust loss makes of them.

    The details of a value are the residuals.
    """

    def __init__(self, residuals: Residuals, robust: Robust | None = None) -> None:
        self._residuals, self._robust = residuals, robust
        self._keeps_jacobian = not residuals.have_tables or not residuals.are_in_blocks
        self._jacobian: tuple[Vector, Matrix] | None = None
        self._seen: tuple[Vector, tuple[float, Vector]] | None = None
        self._triangle: tuple[Vector, tuple[Matrix, Vector]] | None = None
        self._curved: tuple[Vector, Matrix | None] | None = None

    def value(self, x: Vector) -> tuple[float, Vector]:
        """Half the sum at a point, and the residuals, remembered for the last point."""
        if self._seen is None or not np.array_equal(self._seen[0], x):
            with np.errstate(all="ignore"):
                residual = self._look(x)
                half = self._robust.half(residual) if self._robust else float(residual @ residual) / 2
            self._seen = np.array(x), (half if np.isfinite(half) else np.inf, residual)
        return self._seen[1]

    def _look(self, x: Vector) -> Vector:
        """The residuals at a point, with the Jacobian, or what it reduces to, where that costs little more."""
        if self._keeps_jacobian:
            whole = self._residuals.with_jacobian(x)
            if whole is None:
                return self._residuals(x)
            self._jacobian = np.array(x), whole[1:].T
            return np.asarray(whole[0])
        residual, products = np.empty(self._residuals.size), np.zeros((len(x) + 1, len(x) + 1))
        for place, table in self._residuals.tables(x):
            residual[place] = table[0]
            counted = table * np.sqrt(self._robust.weights(table[0])) if self._robust else table
            products += counted @ counted.T
        found = triangle_of_products(products)
        if found is None:
            self._keeps_jacobian = True
        else:
            self._triangle = np.array(x), found
        return residual

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
        if not self._keeps_jacobian and not self._has_triangle(x):
            with np.errstate(all="ignore"):
                self._look(x)
        if not self._has_triangle(x):
            jacobian, residual = self.jacobian(x), details
            if self._robust:
                roots = np.sqrt(self._weights(details))
                jacobian, residual = roots[:, np.newaxis] * jacobian, roots * residual
            self._triangle = np.array(x), triangle(jacobian, residual)
        assert self._triangle is not None
        return self._triangle[1]

    def _has_triangle(self, x: Vector) -> bool:
        return self._triangle is not None and np.array_equal(self._triangle[0], x)

    def exact(self, x: Vector, details: Vector) -> Quadratic | None:
        """The model with the second derivatives of the residuals; None if they have none, or none that is finite."""
        second = self._second(x, details)
        if second is None or not np.isfinite(second).all():
            return None
        if self._robust:
            jacobian = self.jacobian(x)
            second = second + jacobian.T @ (self._robust.bends(details)[:, np.newaxis] * jacobian)
        return self._model(x, details, second)

    def _second(self, x: Vector, details: Vector) -> Matrix | None:
        """The second derivatives of the residuals as they count, those of the last point where it is about the same."""
        if self._curved is None or not np.allclose(self._curved[0], x, rtol=ALIKE, atol=0):
            self._curved = (
                np.array(x),
                self._residuals.curvature(x, self._weights(details) * details, self._sizes(x, details)),
            )
        return self._curved[1]

    def _sizes(self, x: Vector, details: Vector) -> Vector:
        """The sizes of the parameters; for one that is 0, what changes the residuals by as much as they are."""
        lengths = self._model(x, details, None).lengths
        scale = np.linalg.norm(details) / np.where(lengths > 0, lengths, np.inf)
        return np.where(x != 0, np.abs(x), np.where(scale > 0, scale, 1.0))

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
            size = float(model.lengths @ np.abs(x))
            noise = (self._residuals.epsilon * size) ** 2 / 2
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
