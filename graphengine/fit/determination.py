"""What the data say of the parameters at a minimum: covariances, directions that stay open, bounds that hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from graphengine.fit.quadratic import NOISE, Mask, Matrix, Quadratic, Vector
from graphengine.fit.trust_region import BoxConstraints
from graphengine.wording import counted, enumerated

INVISIBLE = 1e-12
"""The square of a component of a unit vector that counts as zero."""


class Undetermined(NamedTuple):
    """Parameters, or numbers of them, that the data leave open at the solution, and in words how."""

    parameters: tuple[str, ...]
    reason: str


class AtBound(NamedTuple):
    """A number that a bound keeps from getting better."""

    parameter: str
    side: str
    """`lower` or `upper`."""
    bound: float
    error: float = float("nan")
    """The one-sided error: how far off the bound, the others fitted anew, the fit is as much worse as at one standard
    error; by the quadratic at the solution. NaN where the spread of the data is unknown."""


class Determination(NamedTuple):
    """What a quadratic model says of the parameters, among those that no bound holds."""

    free: Mask
    root: Matrix
    """A matrix R with the covariance R R', up to a factor: a row for each number, zero where a bound holds it."""
    flat: Matrix
    """An orthonormal basis of what is left open, as columns, in the scale where all numbers count alike."""

    @property
    def rank(self) -> int:
        """The number of directions that are determined."""
        return int(self.root.shape[1])

    @property
    def known(self) -> Mask:
        """The numbers that are determined."""
        return np.asarray(self.free & (np.sum(self.flat**2, axis=1) <= INVISIBLE))

    def covariance(self, factor: float = 1.0) -> Matrix:
        """The covariance of all numbers; NaN for those that are not determined or held by a bound."""
        return self._masked(factor * (self.root @ self.root.T))

    def sandwich(self, scores: Matrix, factor: float) -> Matrix:
        """The covariance where the terms of the gradient, a row for each, do not have the covariance of the Hessian.

        H^-1 G H^-1 with G the sum of the products of the terms (Huber 1967).
        """
        spread = scores @ self.root @ self.root.T
        return self._masked(factor * (spread.T @ spread))

    def _masked(self, covariance: Matrix) -> Matrix:
        unknown = ~self.known
        covariance[unknown], covariance[:, unknown] = np.nan, np.nan
        return covariance


def of_squares(model: Quadratic, free: Mask, count: int) -> Determination:
    """What a sum of squares of `count` residuals determines, by its Jacobian."""
    scale = np.where(model.lengths > 0, model.lengths, 1.0)
    _, values, axes = model.scaled(scale).solid_part(free, count)
    flat = np.linalg.qr(axes, mode="complete")[0][:, len(values) :]
    return Determination(free, _spread_out(axes / values, free, scale), _spread_out(flat, free, 1.0))


def of_hessian(hessian: Matrix, free: Mask, epsilon: float) -> Determination:
    """What a negative log-likelihood determines, by its Hessian."""
    diagonal = np.abs(np.diag(hessian))
    scale = np.where(diagonal > 0, np.sqrt(diagonal), 1.0)
    scaled = (hessian / scale / scale[:, np.newaxis])[np.ix_(free, free)]
    curvatures, axes = np.linalg.eigh(scaled)
    solid = curvatures > NOISE * len(curvatures) * epsilon * np.abs(curvatures).max(initial=0.0)
    root = axes[:, solid] / np.sqrt(curvatures[solid])
    return Determination(free, _spread_out(root, free, scale), _spread_out(axes[:, ~solid], free, 1.0))


def _spread_out(rows: Matrix, free: Mask, scale: Vector | float) -> Matrix:
    """Rows of the free numbers among rows of zeros, divided by the scale."""
    whole = np.zeros((len(free), rows.shape[1]))
    whole[free] = rows
    return np.asarray(whole / np.reshape(scale, (-1, 1)))


def at_bounds(
    names: Sequence[str], x: Vector, box: BoxConstraints, found: Determination, model: Quadratic, variance: float
) -> tuple[AtBound, ...]:
    """The numbers that are held, with their bounds and one-sided errors; the rise of one is half the variance."""
    sides = np.where(x <= box.lower, "lower", "upper")
    held = map(int, np.flatnonzero(~found.free))
    errors = ((place, _one_sided(found, model, variance, place)) for place in held)
    return tuple(AtBound(names[place], str(sides[place]), float(x[place]), error) for place, error in errors)


def _one_sided(found: Determination, model: Quadratic, variance: float, place: int) -> float:
    """The length d with |slope| d + bend d**2 / 2 = variance / 2, where the numbers that are free follow."""
    hessian, slope = model.hessian, abs(float(model.slope[place]))
    bend = float(hessian[place, place]) - float(np.sum(np.square(found.root.T @ hessian[place])))
    square = slope**2 + bend * variance
    return math.inf if square <= 0 else variance / (slope + math.sqrt(square))


# ---------------------------------------------------------------- what is left open, in words


def coordinates_in(parts: Iterable[Undetermined]) -> set[str]:
    """Return the coordinates that the data do not determine, of all parts together."""
    return set().union(*[part.parameters for part in parts])


def undetermined(names: Sequence[str], flat: Matrix) -> tuple[Undetermined, ...]:
    """The parts of the parameters that flat directions join, in words."""
    lengths = np.linalg.norm(flat, axis=1)
    is_open = lengths**2 > INVISIBLE
    coupled = np.abs(flat @ flat.T) > np.sqrt(INVISIBLE) * lengths * lengths[:, np.newaxis]
    coupled &= is_open
    left, parts = set(map(int, np.flatnonzero(is_open))), []
    while left:
        members = _joined(coupled, min(left))
        left.difference_update(members)
        free = round(float(np.sum(flat[members] ** 2)))
        named = tuple(names[each] for each in members)
        parts.append(Undetermined(named, _reason(named, free)))
    return tuple(parts)


def _joined(coupled: Mask, first: int) -> list[int]:
    """All that is coupled with the first one, directly or not, in order."""
    part, grown = set[int](), {first}
    while grown - part:
        part, grown = part | grown, {int(other) for one in grown for other in np.flatnonzero(coupled[one])}
    return sorted(part)


def _reason(names: Sequence[str], free: int) -> str:
    listed = enumerated(names)
    if len(names) == free:
        return f"{listed} {'has' if free == 1 else 'have'} no effect here"
    seen = len(names) - free
    return f"{listed} act only together: the data determine {counted(seen, 'combination')} of {len(names)}"
