"""What a least-squares fit is worth: standard errors, the residual sum of squares, R2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from graphengine.backends.numpy.plan import Plan
from graphengine.fit.least_squares import EPSILON, scaled
from graphengine.fit.objective import Vector
from graphengine.fit.solvers import Solver
from graphengine.ir.graph import Graph
from graphengine.ir.recording import Recorder
from graphengine.training.history import History
from graphengine.transform.gradient import pruned
from graphengine.transform.path import differentiable_toward

SUM_OF_SQUARES = "sum_of_squares"
"""The loss of a fit whose file declares none."""


@dataclass(frozen=True)
class Fit:
    """The result of a least-squares fit.

    Attributes
    ----------
    parameters, standard_errors : dict of str to array
        By trainable parameter; the errors are NaN where the data do not determine the parameters.
    observations, degrees_of_freedom : int
        The number of residuals, and that number less the number of parameters.
    residual_sum_of_squares, residual_standard_deviation : float
        The sum, and the square root of the sum over the degrees of freedom.
    r2 : float or None
        1 - residual sum of squares / total sum of squares; NaN if the latter is zero. None if the residual is no
        difference of data and model.
    r2_is_centred : bool
        Whether the total is about the mean: in a model with an intercept, one whose Jacobian can give a constant shift.
    converged : bool
        Whether the solver ended because nothing could be gained any more.
    history : History
        The accepted steps.
    """

    parameters: dict[str, Any]
    standard_errors: dict[str, Any]
    observations: int
    degrees_of_freedom: int
    residual_sum_of_squares: float
    residual_standard_deviation: float
    r2: float | None
    r2_is_centred: bool
    converged: bool
    history: History


def fit_of(solver: Solver) -> Fit:
    """The statistics of a least-squares solver that has run."""
    objective, residuals = solver.objective, solver.residuals
    x = objective.vector(solver.values)
    errors, matrix = residuals(x), residuals.jacobian(x)
    freedom, total = len(errors) - len(x), float(errors @ errors)
    deviation = float(np.sqrt(total / freedom)) if freedom > 0 else float("nan")
    basis, spread = _spread(matrix)
    r2, centred = _r2(_target(solver), total, has_intercept=_spans_constant(basis))
    return Fit(
        parameters=objective.split(x),
        standard_errors=objective.split(deviation * spread),
        observations=len(errors),
        degrees_of_freedom=freedom,
        residual_sum_of_squares=total,
        residual_standard_deviation=deviation,
        r2=r2,
        r2_is_centred=centred,
        converged=solver.converged,
        history=solver.history,
    )


def _spread(jacobian: Vector) -> tuple[Vector, Vector]:
    """An orthonormal basis of what the Jacobian spans, and the square roots of the diagonal of (J'J)^-1."""
    matrix, lengths = scaled(jacobian)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    solid = values > EPSILON * max(matrix.shape) * values[0]
    if not solid.all() or len(values) < len(lengths):
        return left[:, solid], np.full(len(lengths), np.nan)
    return left, np.sqrt(np.sum((right / values[:, np.newaxis]) ** 2, axis=0)) / lengths


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


def with_sum_of_squares(graph: Graph, residual: str) -> Graph:
    """The graph with an output more, the sum of the squares of a residual."""
    recorder = Recorder(graph)
    recorder.enter(residual)
    square = recorder.apply("square", (recorder.symbol(residual),), {})
    total = recorder.apply("sum", (square,), {}) if square.ndim else square
    outputs = {**graph.outputs, SUM_OF_SQUARES: total.name}
    return pruned(recorder, outputs, f"least squares of {residual}", keep=graph.parameters)


def squared_residual(graph: Graph, loss: str) -> str | None:
    """The residual of a loss that is the mean or the sum of squares of one value; None of any other loss."""
    made = {node.id: node for node in graph.nodes}
    reduction = made.get(loss)
    if reduction is None or reduction.op not in ("mean", "sum") or not isinstance(reduction.inputs[0], str):
        return None
    square = made.get(reduction.inputs[0])
    return str(square.inputs[0]) if square is not None and square.op == "square" else None
