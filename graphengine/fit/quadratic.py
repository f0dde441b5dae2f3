"""A function around a point as a quadratic: slope and curvature, principal axes, and what they leave open.

Half a sum of squares is kept as residuals and Jacobian, because forming J'J loses half of the digits. Both are reduced
to the triangle of a QR factorization first, so the number of residuals counts only once. Of many residuals with a J of
small condition J'J loses no digits worth mentioning, and its Cholesky factor is that triangle for a third of the work.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

Vector = np.ndarray[Any, np.dtype[np.float64]]
Matrix = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

EPSILON = float(np.finfo(np.float64).eps)
BLOCK = 8192
"""Rows that are reduced to a triangle at once."""
STEEP = 1e4
"""The condition of J'J up to which it has the digits of J: all but so many units of rounding."""
NOISE = 32.0
"""A singular value below so many units of rounding of the largest, times the root of the dimension, counts as zero."""


class Spectrum(NamedTuple):
    """The principal axes of a curvature, as columns, with the curvature and the slope along each."""

    curvatures: Vector
    axes: Matrix
    slopes: Vector


def triangle(jacobian: Matrix, residual: Vector) -> tuple[Matrix, Vector]:
    """A Jacobian and a residual with the same products J'J and J'r, of no more rows than numbers and one.

    Blocks of rows that fit into a cache are reduced first, then what is left of them.
    """
    rows, columns = jacobian.shape
    if rows <= columns + 1:
        return jacobian, residual
    blocks = [_reduced(jacobian[each : each + BLOCK], residual[each : each + BLOCK]) for each in range(0, rows, BLOCK)]
    reduced: Any = blocks[0] if len(blocks) == 1 else np.linalg.qr(np.concatenate(blocks), mode="r")
    return reduced[:, :-1], reduced[:, -1]


def triangle_of_products(products: Matrix) -> tuple[Matrix, Vector] | None:
    """The same as `triangle` from the products of residual and columns of J, in this order, with each other.

    None where a square would cost digits: where columns that are scaled to the length 1 have a J'J of a condition
    beyond `STEEP`.
    """
    squares, slopes = products[1:, 1:], products[1:, 0]
    if not np.isfinite(products).all():
        return np.full_like(squares, np.nan), np.full_like(slopes, np.nan)
    scale = np.sqrt(np.diag(squares))
    if not scale.all():
        return None
    correlation = squares / scale / scale[:, np.newaxis]
    curvatures = np.linalg.eigvalsh(correlation)
    if not curvatures[-1] <= STEEP * curvatures[0]:
        return None
    lower = np.linalg.cholesky(correlation)
    return np.asarray(lower.T * scale), np.linalg.solve(lower, slopes / scale)


def _reduced(jacobian: Matrix, residual: Vector) -> Matrix:
    return np.asarray(np.linalg.qr(np.column_stack([jacobian, residual]), mode="r"))


class Quadratic:
    """The change of a function for a step s: r.J s + |J s|^2 / 2 + g.s + s.S s / 2.

    Parameters
    ----------
    jacobian : array (m, n), residual : array (m,)
        J and r of half a sum of squares; m = 0 for any other function.
    gradient : array (n,)
        g, the gradient of a function that is not a sum of squares; else zero.
    second : array (n, n), optional
        S, the Hessian of such a function; of a sum of squares the part of its Hessian beyond J'J.
    epsilon : float
        The relative rounding error of the numbers above.
    """

    def __init__(
        self,
        jacobian: Matrix,
        residual: Vector,
        gradient: Vector,
        second: Matrix | None = None,
        epsilon: float = EPSILON,
    ) -> None:
        self.jacobian, self.residual, self.gradient = jacobian, residual, gradient
        self.second, self.epsilon = second, epsilon

    @classmethod
    def of_residuals(
        cls, residual: Vector, jacobian: Matrix, second: Matrix | None = None, epsilon: float = EPSILON
    ) -> Quadratic:
        """The model of half a sum of squares; without `second` it is the one of Gauss and Newton."""
        jacobian, residual = triangle(jacobian, residual)
        return cls(jacobian, residual, np.zeros(jacobian.shape[1]), second, epsilon)

    @classmethod
    def of_loss(cls, gradient: Vector, hessian: Matrix, epsilon: float = EPSILON) -> Quadratic:
        """The model of a function with this gradient and Hessian."""
        return cls(np.zeros((0, len(gradient))), np.zeros(0), gradient, hessian, epsilon)

    @property
    def is_sum_of_squares(self) -> bool:
        """Whether the function is half a sum of squares."""
        return len(self.jacobian) > 0

    @property
    def slope(self) -> Vector:
        """The gradient."""
        return np.asarray(self.jacobian.T @ self.residual + self.gradient)

    @property
    def hessian(self) -> Matrix:
        """The matrix of second derivatives."""
        squares = self.jacobian.T @ self.jacobian
        return np.asarray(squares if self.second is None else squares + self.second)

    @property
    def lengths(self) -> Vector:
        """How strongly the function bends along each variable: its natural units are the inverse of these."""
        if self.is_sum_of_squares or self.second is None:
            return np.asarray(np.linalg.norm(self.jacobian, axis=0))
        return np.sqrt(np.abs(np.diag(self.second)))

    def scaled(self, scale: Vector) -> Quadratic:
        """The same function of the variables times `scale`."""
        second = None if self.second is None else self.second / scale / scale[:, np.newaxis]
        return Quadratic(self.jacobian / scale, self.residual, self.gradient / scale, second, self.epsilon)

    def without_second(self) -> Quadratic:
        """The model of Gauss and Newton."""
        return Quadratic(self.jacobian, self.residual, self.gradient, None, self.epsilon)

    def change(self, step: Vector) -> float:
        """The change of the function for a step."""
        moved = self.jacobian @ step
        bent = 0.0 if self.second is None else step @ self.second @ step / 2
        return float(self.residual @ moved + moved @ moved / 2 + self.gradient @ step + bent)

    def slope_after(self, step: Vector) -> Vector:
        """The gradient after a step."""
        slope = self.jacobian.T @ (self.residual + self.jacobian @ step) + self.gradient
        return np.asarray(slope if self.second is None else slope + self.second @ step)

    # ------------------------------------------------------------ axes

    @cached_property
    def _known(self) -> dict[bytes, Any]:
        return {}

    def _once(self, free: Mask, decompose: Any) -> Any:
        key = free.tobytes()
        if key not in self._known:
            self._known[key] = decompose(free)
        return self._known[key]

    def spectrum(self, free: Mask, step: Vector) -> Spectrum:
        """The axes among the free variables, and the slopes after a step; what is noise is zero."""
        if self.second is None:
            left, values, axes = self._once(free, self.solid_part)
            offsets = left.T @ (self.residual + self.jacobian @ step)
            return Spectrum(values**2, axes, values * offsets)
        curvatures, axes = self._once(free, self._eigen)
        slope = self.slope_after(step)[free]
        slopes = axes.T @ slope
        slopes[np.abs(slopes) <= len(slope) * self.epsilon * np.linalg.norm(slope)] = 0.0
        return Spectrum(curvatures, axes, slopes)

    def solid_part(self, free: Mask, rows: int = 1) -> tuple[Matrix, Vector, Matrix]:
        """The singular vectors and values of the Jacobian with respect to the free variables that are not noise.

        Its columns should have about the same length, as those of `scaled(lengths)` have. It comes from so many `rows`.
        """
        matrix = self.jacobian[:, free]
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
        least = NOISE * np.sqrt(max(*matrix.shape, rows)) * self.epsilon * values.max(initial=0.0)
        solid = values > least
        return left[:, solid], values[solid], right[solid].T

    def _eigen(self, free: Mask) -> tuple[Vector, Matrix]:
        assert self.second is not None
        matrix = self.jacobian[:, free]
        hessian = matrix.T @ matrix + self.second[np.ix_(free, free)]
        curvatures, axes = np.linalg.eigh((hessian + hessian.T) / 2)
        noise = NOISE * len(curvatures) * self.epsilon * np.abs(curvatures).max(initial=0.0)
        curvatures[np.abs(curvatures) <= noise] = 0.0
        return curvatures, axes
