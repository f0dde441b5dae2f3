"""What a least-squares fit is worth: standard errors, the residual sum of squares, R2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from graphengine.backends.numpy.plan import Plan
from graphengine.fit.objective import Objective
from graphengine.fit.quadratic import Mask, Matrix, Quadratic, Vector
from graphengine.fit.solvers import Solver
from graphengine.ir.graph import Graph
from graphengine.training.history import History
from graphengine.transform.path import differentiable_toward
from graphengine.wording import counted, enumerated

INVISIBLE = 1e-12
"""The square of a component of a unit vector that counts as zero."""


class Undetermined(NamedTuple):
    """Parameters, or numbers of them, that the data leave open at the solution, and in words how."""

    parameters: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Fit:
    """The result of a least-squares fit.

    Attributes
    ----------
    parameters, standard_errors : dict of str to array
        By trainable parameter. The error of a number that the data do not determine is NaN; the others keep theirs.
        All are NaN without degrees of freedom.
    undetermined : tuple of Undetermined
        What the data do not determine, each part with its parameters: `c[2]` is a number of the array c.
    observations, degrees_of_freedom : int
        The number of residuals, and that number less the number of directions that they determine.
    residual_sum_of_squares, residual_standard_deviation : float
        The sum, and the square root of the sum over the degrees of freedom (NaN if there are none).
    r2 : float or None
        1 - residual sum of squares / total sum of squares; NaN if the latter is zero or no degree of freedom is left.
        None if the residual is no difference of data and model.
    r2_is_centred : bool
        Whether the total is about the mean: in a model with an intercept, one whose Jacobian can give a constant shift.
    converged : bool
        Whether the solver ended at a minimum: no slope is left, and no direction is known that leads down.
    reason : str or None
        Why it did not converge.
    history : History
        The accepted steps.
    """

    parameters: dict[str, Any]
    standard_errors: dict[str, Any]
    undetermined: tuple[Undetermined, ...]
    observations: int
    degrees_of_freedom: int
    residual_sum_of_squares: float
    residual_standard_deviation: float
    r2: float | None
    r2_is_centred: bool
    converged: bool
    reason: str | None
    history: History


def fit_of(solver: Solver) -> Fit:
    """The statistics of a least-squares solver that has run."""
    objective, residuals = solver.objective, solver.residuals
    x = objective.vector(solver.values)
    errors, matrix = residuals(x), residuals.jacobian(x)
    seen = determination(errors, matrix, residuals.epsilon)
    freedom, total = len(errors) - seen.rank, float(errors @ errors)
    deviation = float(np.sqrt(total / freedom)) if freedom else float("nan")
    r2, centred = _r2(_target(solver), total, has_intercept=_spans_constant(seen.basis))
    return Fit(
        parameters=objective.split(x),
        standard_errors=objective.split(deviation * seen.spread),
        undetermined=undetermined(objective, seen.flat),
        observations=len(errors),
        degrees_of_freedom=freedom,
        residual_sum_of_squares=total,
        residual_standard_deviation=deviation,
        r2=r2 if freedom or r2 is None else float("nan"),
        r2_is_centred=centred,
        converged=solver.converged,
        reason=None if solver.converged else solver.reason,
        history=solver.history,
    )


class Determination(NamedTuple):
    """What a Jacobian says of the parameters."""

    rank: int
    basis: Matrix
    """An orthonormal basis of what it spans, as columns."""
    spread: Vector
    """The square roots of the diagonal of (J'J)^-1, NaN for a parameter that is not determined."""
    flat: Matrix
    """An orthonormal basis of the directions it does not see, as columns, where its own columns have length 1."""


def determination(residual: Vector, jacobian: Matrix, epsilon: float) -> Determination:
    """Find which directions a Jacobian determines, and how well."""
    lengths = np.linalg.norm(jacobian, axis=0)
    scale = np.where(lengths > 0, lengths, 1.0)
    model = Quadratic(jacobian / scale, residual, np.zeros(len(scale)), None, epsilon)
    basis, values, axes = model.solid_part(np.ones(len(scale), bool))
    flat = np.linalg.qr(axes, mode="complete")[0][:, len(values) :]
    spread = np.linalg.norm(axes / values, axis=1) / scale
    spread[np.sum(flat**2, axis=1) > INVISIBLE] = np.nan
    return Determination(len(values), basis, spread, flat)


def undetermined(objective: Objective, flat: Matrix) -> tuple[Undetermined, ...]:
    """The parts of the parameters that flat directions join, in words."""
    coupled = np.abs(flat @ flat.T) > np.sqrt(INVISIBLE)
    names, left, parts = objective.coordinates, set(map(int, np.flatnonzero(np.diag(coupled)))), []
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
        return f"{listed} {'has' if free == 1 else 'have'} no effect on the residuals"
    seen = len(names) - free
    return f"{listed} act only together: the data determine {counted(seen, 'combination')} of {len(names)}"


def _spans_constant(basis: Vector) -> bool:
    ones = np.ones(len(basis))
    return bool(np.linalg.norm(ones - basis @ (basis.T @ ones)) <= 1e-8 * np.sqrt(len(basis)))


def _target(solver: Solver) -> Vector | None:
    """What the model is fitted to: of a residual that is a difference, the part that no trainable parameter changes."""
    graph, objective = solver.objective.graph, solver.objective
    name = target_of(graph, graph.value_name(solver.training.optimizer.attributes["residual"]))
    if name is None:
        return None
    plan = Plan(graph.derive(graph.nodes, {"target": name}, graph.types))
    (target,) = objective.run(plan, objective.vector(solver.values))
    return np.ravel(target).astype(np.float64)


def target_of(graph: Graph, residual: str) -> str | None:
    """The value that a residual compares with; None if it is no difference of data and model."""
    node = next((node for node in graph.nodes if node.id == residual and node.op == "sub"), None)
    if node is None:
        return None
    learned = differentiable_toward(graph, graph.trainable)
    fixed = [operand for operand in node.inputs if isinstance(operand, str) and operand not in learned]
    return fixed[0] if len(fixed) == 1 else None


def _r2(target: Vector | None, total: float, *, has_intercept: bool) -> tuple[float | None, bool]:
    if target is None:
        return None, has_intercept
    about = target - target.mean() if has_intercept else target
    squares = float(about @ about)
    return 1 - total / squares if squares else float("nan"), has_intercept
