"""The result of a fit: parameters and their uncertainties, how good the fit is, and what the data leave open."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from graphengine.backends.reference.executor import Executor
from graphengine.fit.determination import (
    AtBound,
    Determination,
    Undetermined,
    at_bounds,
    of_hessian,
    of_squares,
    undetermined,
)
from graphengine.fit.objective import Objective
from graphengine.fit.problems import SumOfSquares
from graphengine.fit.profile import Interval
from graphengine.fit.quadratic import Matrix, Quadratic, Vector
from graphengine.fit.solver_trainer import SolverTrainer
from graphengine.fit.starts import Start
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import producers_of
from graphengine.mappings import absent
from graphengine.training.history import History
from graphengine.transform.path import differentiable_toward

NAN = float("nan")
SAME_LOSS = 1e-6
"""Losses that differ by no more than this fraction are those of the same data, on another processor."""
PROJECTIONS = 3
SHIFT, FAR = 1e-8, 1e-3
"""A constant shift of length 1 is one of the model's if no more than this is missing; beyond the other it is none."""


@dataclass(frozen=True)
class Squares:
    """How well a least-squares fit follows the data.

    Attributes
    ----------
    residual_sum_of_squares, residual_standard_deviation : float
        The sum, weighted where the residuals are, and the square root of the sum over the degrees of freedom (NaN if
        there are none). With known standard deviations the sum is chi-square.
    r2 : float or None
        1 - residual sum of squares / total sum of squares; NaN if the latter is zero or no degree of freedom is left.
        None if the residual is no difference of data and model, or the loss is robust.
    r2_is_centered : bool
        Whether the total is about the mean: in a model with an intercept, one whose Jacobian can give a constant shift.
    """

    residual_sum_of_squares: float
    residual_standard_deviation: float
    r2: float | None
    r2_is_centered: bool


class Bootstrap(NamedTuple):
    """What fits of drawn data have found, by coordinate; NaN of what the data leave undetermined.

    Fits that did not converge are counted and left out.
    """

    samples: int
    seed: int
    not_converged: int
    standard_errors: Mapping[str, float]
    """The standard deviations of the estimates."""
    percentiles: Mapping[float, Mapping[str, float]]
    """The percentiles of the estimates."""


@dataclass(frozen=True)
class Fit:
    """The result of a fit.

    Attributes
    ----------
    objective : {"least_squares", "robust", "likelihood"}
        What was minimized: a sum of squares, a robust loss of residuals, or a negative log-likelihood.
    loss : float
        What it is at the solution.
    parameters, standard_errors : dict of str to array
        By trainable parameter. The error of a number that the data do not determine, or that a bound holds, is NaN;
        the others keep theirs. Of least squares all are NaN without degrees of freedom, unless sigma is absolute.
    coordinates : tuple of str
        A name for each number of the parameters: `c[2]` is a number of the array c.
    covariance, correlation : array (n, n)
        Of the coordinates, in their order.
    at_bounds : tuple of AtBound
        The numbers that a bound keeps from getting better. The errors of the others are those with these fixed.
    undetermined : tuple of Undetermined
        What the data do not determine, each part with its parameters.
    observations, degrees_of_freedom : int
        The number of residuals with a weight, or of samples, and that number less the number of directions that they
        determine.
    log_likelihood, aic, bic : float or None
        Of least squares those of normal errors, whose standard deviation is estimated, and counts as a parameter,
        unless sigma is absolute. None of a robust loss.
    squares : Squares or None
        How well a least-squares fit follows the data.
    converged : bool
        Whether the solver ended at a minimum: no slope is left, and no direction is known that leads down.
    reason : str or None
        Why it did not converge.
    history : History
        The accepted steps, of the best start.
    intervals : dict of float to dict of str to Interval
        For each level that was requested the profile interval of each coordinate.
    starts : tuple of Start
        What came of each start, if there were several.
    bootstrap : Bootstrap or None
        How the estimates scatter in fits of drawn data, if that was requested.
    settings : dict of str to object
        Of a fit of residuals what was requested, by the keys of the solver `least_squares`: `residual`, `sigma`, ...
    """

    objective: str
    loss: float
    parameters: dict[str, Any]
    standard_errors: dict[str, Any]
    coordinates: tuple[str, ...]
    covariance: Matrix
    at_bounds: tuple[AtBound, ...]
    undetermined: tuple[Undetermined, ...]
    observations: int
    degrees_of_freedom: int
    log_likelihood: float | None
    aic: float | None
    bic: float | None
    squares: Squares | None
    converged: bool
    reason: str | None
    history: History
    intervals: Mapping[float, Mapping[str, Interval]] = field(default_factory=dict)
    starts: tuple[Start, ...] = ()
    bootstrap: Bootstrap | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def chi_square(self) -> float | None:
        """The sum of squares in units of known standard deviations (`absolute_sigma`); None where they are unknown."""
        return self.residual_sum_of_squares if self.squares and self.settings.get("absolute_sigma") else None

    @property
    def freedom_of_errors(self) -> float:
        """The degrees of freedom of Student's t that errors are compared with; infinite where the spread is known."""
        is_estimated = self.squares is not None and not self.settings.get("absolute_sigma")
        return self.degrees_of_freedom if is_estimated else math.inf

    @property
    def correlation(self) -> Matrix:
        """The covariance of the coordinates over the products of their standard errors."""
        errors = np.sqrt(np.diag(self.covariance))
        with np.errstate(all="ignore"):
            return np.asarray(self.covariance / errors / errors[:, np.newaxis])

    @property
    def residual_sum_of_squares(self) -> float:
        """That of a fit of residuals."""
        return self._residuals.residual_sum_of_squares

    @property
    def residual_standard_deviation(self) -> float:
        """That of a fit of residuals."""
        return self._residuals.residual_standard_deviation

    @property
    def r2(self) -> float | None:
        """That of a fit of residuals."""
        return self._residuals.r2

    @property
    def r2_is_centered(self) -> bool:
        """That of a fit of residuals."""
        return self._residuals.r2_is_centered

    @property
    def _residuals(self) -> Squares:
        if self.squares is None:
            raise AttributeError("a fit by likelihood has no residuals")
        return self.squares


def fit_of(solver: SolverTrainer) -> Fit:
    """The result of a solver that has run."""
    return _fit_of_squares(solver) if solver.options else _fit_of_likelihood(solver)


def is_of_data(solver: SolverTrainer, fit: Fit) -> bool:
    """Whether a fit is one to the data of a solver, which has its values: whether its loss is the same."""
    x, problem = solver.objective.vector(solver.values), solver.problem
    value, details = problem.value(x)
    rounding = problem.noise(x, details, problem.model(x, details))
    loss = 2 * value if solver.options else value
    return abs(loss - fit.loss) <= SAME_LOSS * abs(fit.loss) + 100 * rounding


def _common(
    solver: SolverTrainer, x: Vector, found: Determination, covariance: Matrix, model: Quadratic, variance: float
) -> dict[str, Any]:
    """What fits of all kinds have; a rise of the `model` by half of the variance is that of one standard error."""
    objective, names = solver.objective, solver.objective.coordinates
    return {
        "parameters": objective.split(x),
        "standard_errors": objective.split(np.sqrt(np.diag(covariance))),
        "coordinates": tuple(names),
        "covariance": covariance,
        "at_bounds": at_bounds(names, x, solver.box, found, model, variance),
        "undetermined": undetermined(names, found.flat),
        "converged": solver.converged,
        "reason": None if solver.converged else solver.reason,
        "history": solver.history,
    }


# ---------------------------------------------------------------- residuals


def _fit_of_squares(solver: SolverTrainer) -> Fit:
    problem, options = solver.problem, solver.options
    assert isinstance(problem, SumOfSquares) and options is not None  # noqa: PT018
    x = solver.objective.vector(solver.values)
    half, residual = problem.value(x)
    model = problem.plain(x, residual)
    free = solver.box.free(x, problem.model(x, residual).slope)
    found = of_squares(model, free, len(residual))
    roots = _root_weights(solver, len(residual))
    count = int(np.count_nonzero(roots))
    freedom, total = count - found.rank, float(residual @ residual)
    squares = _squares(solver, total, freedom, roots, problem.jacobian(x), found.root)
    if solver.robust:
        variance = NAN
        likelihood: dict[str, Any] = dict.fromkeys(("log_likelihood", "aic", "bic"))
        covariance = _of_robust(solver, problem, x, free, count / freedom if freedom else NAN)
    else:
        variance = 1.0 if options.absolute_sigma else squares.residual_standard_deviation**2
        likelihood = _of_normal_errors(total, roots, found.rank, absolute=options.absolute_sigma)
        covariance = found.covariance(variance)
    return Fit(
        objective="robust" if solver.robust else "least_squares",
        loss=2 * half,
        observations=count,
        degrees_of_freedom=freedom,
        squares=squares,
        settings=options.model_dump(exclude_defaults=True, exclude={"type"}),
        **likelihood,
        **_common(solver, x, found, covariance, model, variance),
    )


def _squares(
    solver: SolverTrainer, total: float, freedom: int, roots: Vector, jacobian: Matrix, root: Matrix
) -> Squares:
    """The sum of the squares with what follows from it: the deviation of a residual, and R2 unless it is robust."""
    deviation = math.sqrt(total / freedom) if freedom else NAN
    r2, centered = _r2(None if solver.robust else _target(solver), total, roots, jacobian, root)
    return Squares(total, deviation, r2 if freedom or r2 is None else NAN, centered)


def _of_robust(solver: SolverTrainer, problem: SumOfSquares, x: Vector, free: Any, factor: float) -> Matrix:
    """The covariance of an M-estimator: the sandwich of its Hessian and of the products of its scores."""
    _, residual = problem.value(x)
    exact = problem.exact(x, residual) or problem.model(x, residual)
    assert solver.robust is not None
    scores = (solver.robust.weights(residual) * residual)[:, np.newaxis] * problem.jacobian(x)
    return of_hessian(exact.hessian, free, solver.residuals.epsilon).sandwich(scores, factor)


def _root_weights(solver: SolverTrainer, count: int) -> Vector:
    """What each residual of the file is multiplied by: 1 / sigma, or the root of the weights."""
    options = solver.options
    assert options is not None
    if not options.is_weighted:
        return np.ones(count)
    graph = solver.objective.graph
    shape: Any = graph.types[graph.value_name(options.residual)].shape
    weights = np.broadcast_to(value_at(solver.objective, str(options.sigma or options.weights), solver.values), shape)
    return np.ravel(1 / weights if options.sigma else np.sqrt(weights)).astype(np.float64)


def value_at(objective: Objective, name: str, values: Any) -> Any:
    """A value of the graph of a fit, with given parameters."""
    executor, value = Executor(objective.graph), objective.graph.value_name(name)
    with np.errstate(all="ignore"):
        slots = executor.forward(objective.sources_at(objective.vector(values)), executor.forward_schedule([value]))
    return slots[executor.slot_of[value]]


def _of_normal_errors(total: float, roots: Vector, rank: int, *, absolute: bool) -> dict[str, Any]:
    """Log-likelihood, AIC and BIC of residuals that are normal, with known or with estimated standard deviation."""
    known = roots[roots > 0]
    count = len(known)
    variance = 1.0 if absolute else total / count if count else NAN
    if not variance:  # all residuals are zero
        return criteria(math.inf, rank + 1, count)
    logarithm = -(count * math.log(2 * math.pi * variance) + total / variance) / 2
    return criteria(logarithm + float(np.sum(np.log(known))), rank if absolute else rank + 1, count)


def criteria(log_likelihood: float, parameters: int, observations: int) -> dict[str, Any]:
    """The criteria of Akaike (1974) and Schwarz (1978) for a log-likelihood."""
    return {
        "log_likelihood": log_likelihood,
        "aic": 2 * parameters - 2 * log_likelihood,
        "bic": parameters * math.log(observations) - 2 * log_likelihood if observations else NAN,
    }


def _target(solver: SolverTrainer) -> Vector | None:
    """What the model is fitted to: of a residual that is a difference, the part that no trainable parameter changes."""
    graph, objective, options = solver.objective.graph, solver.objective, solver.options
    assert options is not None
    residual = graph.value_name(options.residual)
    name = target_of(graph, residual)
    if name is None:
        return None
    shape: Any = graph.types[residual].shape
    return np.ravel(np.broadcast_to(value_at(objective, name, solver.values), shape)).astype(np.float64)


def target_of(graph: Graph, residual: str) -> str | None:
    """The value that a residual compares with; None if it is no difference of data and model."""
    operands = _compared_by(graph, residual)
    learned = differentiable_toward(graph, graph.trainable)
    fixed = absent(operands, learned)
    return fixed[0] if len(fixed) == 1 else None


def _compared_by(graph: Graph, residual: str) -> list[str]:
    """The values that a residual is the difference of; none if it is no difference."""
    node = producers_of(graph.nodes).get(residual)
    return list(node.references) if node is not None and node.op == "sub" else []


def _r2(
    target: Vector | None, total: float, roots: Vector, jacobian: Matrix, root: Matrix
) -> tuple[float | None, bool]:
    """R2, and whether it is about the weighted mean: whether the Jacobian can give a constant shift."""
    has_intercept = _can_shift(roots, jacobian, root)
    if target is None:
        return None, has_intercept
    about = roots * (target - np.average(target, weights=roots**2) if has_intercept else target)
    squares = float(about @ about)
    return 1 - total / squares if squares else NAN, has_intercept


def _can_shift(roots: Vector, jacobian: Matrix, root: Matrix) -> bool:
    """Whether the Jacobian can give a constant shift.

    The columns of Jacobian times root are orthonormal up to rounding, which projecting several times makes up for.
    """
    rest, missing = roots / np.linalg.norm(roots), 1.0
    for _ in range(PROJECTIONS):
        rest = rest - jacobian @ (root @ (root.T @ (jacobian.T @ rest)))
        missing = float(np.linalg.norm(rest))
        if missing <= SHIFT or missing > FAR:
            break
    return missing <= SHIFT


# ---------------------------------------------------------------- likelihoods


def _fit_of_likelihood(solver: SolverTrainer) -> Fit:
    objective = solver.objective
    x, factor = objective.vector(solver.values), samples_in_a_mean(solver)
    loss, slope = objective(x)
    free = solver.box.free(x, slope)
    hessian = objective.hessian(x) * factor
    found = of_hessian(hessian, free, objective.epsilon)
    return Fit(
        objective="likelihood",
        loss=loss,
        observations=solver.batches.samples,
        degrees_of_freedom=solver.batches.samples - found.rank,
        squares=None,
        **criteria(-loss * factor, found.rank, solver.batches.samples),
        **_common(solver, x, found, found.covariance(), Quadratic.of_loss(slope * factor, hessian), 1.0),
    )


def samples_in_a_mean(solver: SolverTrainer) -> int:
    """The number of samples if the loss is a mean over them, else 1: a mean is the same for the data taken twice."""
    data, batches, executor = solver.batches.whole(), solver.batches, Executor(solver.graph)
    assert data is not None
    loss = solver.graph.value_name(solver.training.loss)
    schedule = executor.forward_schedule([loss])

    def at(arrays: Any) -> float:
        with np.errstate(all="ignore"):
            return float(executor.forward({**solver.values, **arrays}, schedule)[executor.slot_of[loss]])

    twice = {name: np.concatenate([each, each]) if batches.has_samples(name) else each for name, each in data.items()}
    once = at(data)
    return batches.samples if once and abs(at(twice) - once) <= 1e-6 * abs(once) else 1
