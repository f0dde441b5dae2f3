"""Robust losses: squares that grow more slowly from about `scale` on, so that outliers count less.

A residual r contributes scale**2 * rho(z) / 2 with z = (r / scale)**2, where rho(z) is about z for small z (Triggs et
al. 2000). `rho(z) = z` would be least squares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphengine.fit.quadratic import Vector

Shape = Callable[[Vector], tuple[Vector, Vector, Vector]]


def _huber(z: Vector) -> tuple[Vector, Vector, Vector]:
    """rho(z) = z up to 1, then 2 * sqrt(z) - 1 (Huber 1964)."""
    root = np.sqrt(np.maximum(z, 1.0))
    return np.where(z <= 1, z, 2 * root - 1), 1 / root, np.where(z <= 1, 0.0, -0.5 / root**3)


def _soft_l1(z: Vector) -> tuple[Vector, Vector, Vector]:
    """rho(z) = 2 * (sqrt(1 + z) - 1)."""
    root = np.sqrt(1 + z)
    return 2 * z / (root + 1), 1 / root, -0.5 / root**3


def _cauchy(z: Vector) -> tuple[Vector, Vector, Vector]:
    """rho(z) = log(1 + z)."""
    return np.log1p(z), 1 / (1 + z), -1 / (1 + z) ** 2


ROBUST: Mapping[str, Shape] = {"huber": _huber, "soft_l1": _soft_l1, "cauchy": _cauchy}
"""rho with its first and second derivative, by name."""


@dataclass(frozen=True)
class Robust:
    """A robust loss with its scale."""

    name: str
    scale: float

    def half(self, residual: Vector) -> float:
        """Half the sum of the contributions."""
        return self.scale**2 / 2 * float(np.sum(self._shape(residual)[0]))

    def weights(self, residual: Vector) -> Vector:
        """What the derivative of a contribution has to that of a square: rho'(z)."""
        return self._shape(residual)[1]

    def bends(self, residual: Vector) -> Vector:
        """What the second derivative has beyond the weight: 2 * z * rho''(z), negative or zero."""
        return 2 * np.square(residual / self.scale) * self._shape(residual)[2]

    def _shape(self, residual: Vector) -> tuple[Vector, Vector, Vector]:
        return ROBUST[self.name](np.square(residual / self.scale))


def record_robust(recorder: Any, residual: Any, robust: Robust) -> Any:
    """Record twice the contributions of residuals in a graph, as `_huber`, `_soft_l1` and `_cauchy` compute them."""
    z = np.square(residual / robust.scale)
    if robust.name == "huber":
        rho = np.where(z <= 1, z, 2 * np.sqrt(np.maximum(z, 1.0)) - 1)
    elif robust.name == "soft_l1":
        rho = 2 * z / (np.sqrt(1 + z) + 1)
    else:
        rho = np.log1p(z)
    return robust.scale**2 * rho
