"""Training by a solver instead of an update rule: on all samples, until it converges.

A `SolverTrainer` has what a `Trainer` has: chunks, a history, the data. An iteration is a step that the solver
accepted; it is given as soon as it is made, and the caller may leave at any time.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from copy import copy
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from graphengine.backends.protocol import Backend
from graphengine.data.batches import Batches
from graphengine.errors import DivergenceError, TrainingError
from graphengine.fit.beginning import not_finite, require_positive, require_resolved, require_sum_of_squares
from graphengine.fit.fit_programs import ProgramsOfFits
from graphengine.fit.least_squares import minimized
from graphengine.fit.objective import Objective
from graphengine.fit.problems import Loss, SumOfSquares
from graphengine.fit.quadratic import Vector
from graphengine.fit.residuals import Residuals
from graphengine.fit.robust import Robust
from graphengine.fit.sections import require_function
from graphengine.fit.solvers import LeastSquares, Minimization, Solver, solver_of
from graphengine.fit.squares import SUM_OF_SQUARES, Weighted, squared_residual, weighted_residual
from graphengine.fit.trust_region import BoxConstraints
from graphengine.fit.turns import Turn, in_turns
from graphengine.format.documents import TrainingDocument
from graphengine.ir.binding import shapes_of
from graphengine.ir.graph import Graph
from graphengine.ops.norms import euclidean_norm
from graphengine.training.evaluation import Evaluation
from graphengine.training.history import LOG, History, Iteration, recorded_of
from graphengine.training.initializing import initialized
from graphengine.wording import counted

MOST_ITERATIONS = 15_000
"""Where `max_iterations` does not say when to stop, and convergence does not stop it."""
NO_MINIMUM = "the solver cannot reduce the loss further, but this is not a minimum: the gradient is not zero"


class _EnoughError(Exception):
    """Leaves a solver at a limit."""


class SolverTrainer:
    """Finds the parameters that minimize the loss on given arrays; `values` gets each accepted step.

    `converged` says whether it ended at a minimum: no slope, and no direction that leads down.

    Raises
    ------
    TrainingError
        GE602 if nothing is trainable, more is than the solver takes, the data does not fit into memory, or the loss is
        not a function of the parameters alone.
    UsageError
        GE803 if the solver needs a package that is not installed.
    """

    graph: Graph
    values: dict[str, Any]
    training: TrainingDocument
    data: Mapping[str, Any]
    solver: Solver
    batches: Batches
    options: LeastSquares | None
    objective: Objective
    history: History
    total_iterations: int
    converged: bool
    reason: str

    def __init__(
        self,
        graph: Graph,
        values: dict[str, Any],
        training: TrainingDocument,
        data: Mapping[str, Any],
        backend: Backend,
        programs: ProgramsOfFits | None = None,
    ) -> None:
        self.graph, self.values, self.training, self.data = graph, values, training, data
        self.solver = solver_of(training)
        self.solver.require()
        if not graph.trainable:
            raise TrainingError(f"model '{graph.name}' has no trainable parameter")
        require_function(graph, training.optimizer.type)
        self.batches = Batches(data, graph)
        whole = self._whole()
        values.update(initialized(graph, values, data))
        self._turns = [Turn()]
        self.options = self.solver if isinstance(self.solver, LeastSquares) else None
        graph, self._residual = weighted_residual(graph, self.options) if self.options else Weighted(graph, "")
        loss = graph.value_name(training.loss)
        programs = programs or ProgramsOfFits(backend, graph.limits.plan_bytes)
        kind = (training.loss, training.optimizer.model_dump_json(), *graph.trainable)
        shared = programs.of(kind, shapes_of(whole))
        self.objective = Objective(graph, values, whole, loss, shared, before=lambda: self._turns[-1].check())
        self.solver.require_few(self.objective.size)
        self._metrics = Evaluation(graph, whole, training.metrics, backend) if training.metrics else None
        recorded = recorded_of(graph.trainable, values)
        self.history = History(1, recorded)
        self.total_iterations = training.max_iterations or sys.maxsize  # it ends by itself, nobody knows when
        self._most = training.max_iterations or MOST_ITERATIONS
        self.converged, self.reason = False, ""
        self.learning_rate: float | None = None  # which a trainer has
        self.checkpoints: Any = None
        self._recording = bool(recorded)

    def _whole(self) -> dict[str, Any]:
        """All samples as one batch."""
        whole = self.batches.whole()
        if whole is None:
            hint = "raise the limit data_bytes to four times what the data takes" if self.batches.is_stored else None
            message = f"the solver '{self.training.optimizer.type}' needs all samples as one batch in memory"
            raise TrainingError(message, hint=hint)
        return whole

    def fresh(self, values: Mapping[str, Any]) -> SolverTrainer:
        """The same solver at another start, with its own history and values; what is compiled is shared."""
        other = copy(self)
        other.values, other.converged, other.reason = {**self.values, **values}, False, ""
        other.history = History(1, self.graph.trainable if self._recording else ())
        return other

    @cached_property
    def residuals(self) -> Residuals:
        """The residuals that a solver for least squares works with: those of the file, weighted."""
        return Residuals(self.objective, self._residual)

    @cached_property
    def robust(self) -> Robust | None:
        """The robust loss that replaces the squares, if any."""
        options = self.options
        return Robust(options.robust, options.robust_scale) if options and options.robust else None

    @cached_property
    def problem(self) -> SumOfSquares | Loss:
        """What is minimized: half a sum of squares, or the loss."""
        return SumOfSquares(self.residuals, self.robust) if self.options else Loss(self.objective)

    @cached_property
    def box(self) -> BoxConstraints:
        """The bounds of the parameters."""
        return BoxConstraints(*(self.objective.each(side) for side in zip(*self._limits, strict=True)))

    @property
    def _limits(self) -> list[tuple[float, float]]:
        return [self.graph.parameters[name].limits() for name in self.objective.names]

    @cached_property
    def typical(self) -> Vector:
        """The typical sizes of the parameters, 0 where the file does not say."""
        return self.objective.each([self.graph.parameters[name].scale or 0.0 for name in self.objective.names])

    def save_checkpoint(self) -> None:
        """Nothing: a solver begins again, and soon is where it was."""

    def iterate(self) -> Iterator[Iteration]:
        """The same as `chunks`: a row after each step, with the model's values those after it."""
        return self.chunks()

    def chunks(self) -> Generator[Iteration, None, None]:
        """Run the solver to its end, giving a row after each step.

        Raises
        ------
        DivergenceError
            GE601 if the loss is not finite where the solver starts.
        """
        return in_turns(self._run)

    def _run(self, turn: Turn) -> None:
        self._turns[-1] = turn
        self._deadline = time.monotonic() + (self.training.max_seconds or math.inf)
        start = self.objective.vector(self.values)
        self._before, self._at = self._checked_loss_at(start), start
        if not self._minimize(start):
            self.converged = False
            self.reason = self.history.stopped or f"stopped after {counted(self._most, 'iteration')}"
            return
        if not len(self.history):  # the start is the solution
            self._record(start)
        if not self.converged:
            self.reason = self.history.stopped = self.reason or NO_MINIMUM

    def _minimize(self, start: Vector) -> bool:
        """Whether the solver ends by itself, and not because it took all the iterations or the time that it has."""
        try:
            self._require_squares(start)
            problem = Minimization(self.objective, self.box, self._most, self._accept, self._descend)
            self.converged = bool(self.solver.minimize(problem, start))
        except _EnoughError:
            return False
        except (ValueError, np.linalg.LinAlgError) as error:  # what SciPy makes of numbers that are not finite
            step = len(self.history) + 1
            raise DivergenceError(f"the solver stopped at step {step}: {error}", iteration=step, epoch=step) from error
        return True

    def _checked_loss_at(self, start: Vector) -> tuple[float, float]:
        """The loss at the start with its slope; an error where a fit cannot begin."""
        if self.options:
            require_positive(self.objective, start, self.options)
        loss, slope = self._loss_at(start)
        if not (math.isfinite(loss) and math.isfinite(slope)):
            raise not_finite(self.objective, start, self.training.loss)
        if self.options:
            require_resolved(self.problem.value(start)[1], self.options.residual or self._residual)
        return loss, slope

    def _accept(self, x: Vector) -> None:
        """Take a step of the solver into the history and the model."""
        if np.array_equal(x, self._at):
            return
        self._record(x)
        if len(self.history) >= self._most:
            raise _EnoughError
        if time.monotonic() > self._deadline:
            self.history.stopped = f"the time is up ({self.training.max_seconds:g} s)"
            raise _EnoughError

    def _record(self, x: Vector) -> None:
        parameters = self.objective.split(np.array(x))
        after = self._loss_at(x)
        self.values.update(parameters)
        self.history.add((*self._before, *(parameters.values() if self._recording else ())))
        self._before, self._at = after, np.array(x)
        LOG.info("step %d: loss %.6g", len(self.history), after[0])
        if self._metrics:
            self.history.add_check(self._metrics(self.values))
        self._turns[-1].hand_over(self.history.last)

    def _loss_at(self, x: Vector) -> tuple[float, float]:
        """The loss at a point and the length of its gradient, from the residuals where these are known."""
        if not self._share or not isinstance(self.problem, SumOfSquares):
            loss, slope = self.objective(x)
            return loss, float(euclidean_norm(slope))
        half, residual = self.problem.value(x)
        with np.errstate(all="ignore"):  # a residual that is not finite is reported
            slope = self.problem.model(x, residual).slope
        return 2 * self._share * half, 2 * self._share * float(euclidean_norm(slope))

    @cached_property
    def _share(self) -> float:
        """What the loss is of the sum of squares: 1, or for a mean the part of one residual; 0 for any other loss."""
        if self.options and self.training.loss == SUM_OF_SQUARES:
            return 1.0
        return self._share_as_written() if self.options and self._is_written_as_squares() else 0.0

    def _share_as_written(self) -> float:
        graph, loss = self.objective.graph, self.objective.graph.value_name(self.training.loss)
        is_mean = next(node.op == "mean" for node in graph.nodes if node.id == loss)
        shape: Any = graph.types[self._residual].shape
        return 1 / max(prod(shape), 1) if is_mean else 1.0

    def _descend(self, start: Vector) -> bool:
        """Minimize by the trust-region method of this package; return whether it ends at a minimum."""
        return minimized(self.problem, start, self.box, self.typical, self._accept).is_minimum

    def _require_squares(self, start: Vector) -> None:
        """Refuse a loss that is not a sum of squares of the residual, which least squares would minimize."""
        is_declared = self.training.loss != SUM_OF_SQUARES
        if is_declared and self.options and not self._is_written_as_squares():
            require_sum_of_squares(self.objective, self.residuals, self.robust, start, self.training)

    def _is_written_as_squares(self) -> bool:
        """Whether the nodes of the loss are a sum or a mean of the squares of the residual."""
        loss = self.graph.value_name(self.training.loss)
        return self.robust is None and squared_residual(self.objective.graph, loss) == self._residual
