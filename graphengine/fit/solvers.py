"""Solvers: an open union. A solver minimizes a function of one vector, all trainable parameters laid end to end.

What a solver does to a model, its history and its limits is the business of `SolverTrainer`; a class here has the keys
of the optimizer as fields and moves a point downhill.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from graphengine.errors import TrainingError
from graphengine.extras import optional
from graphengine.fit.conjugate import sharpened
from graphengine.format.documents import TrainingDocument
from graphengine.format.fields import Positive, Reference
from graphengine.format.kinds import SOLVERS, Kind

if TYPE_CHECKING:
    from graphengine.fit.objective import Objective
    from graphengine.fit.quadratic import Matrix, Vector
    from graphengine.fit.trust_region import BoxConstraints

LARGEST_HESSIAN = 100
"""The most numbers for which the curvature decides whether a solver of SciPy ended at a minimum.

The point of a larger problem is sharpened by products of the Hessian with vectors, no more of them than the solver
asked for gradients.
"""
MOST_NUMBERS = 2000
"""The most numbers that a solver takes which decomposes a matrix of their square at each step."""


@dataclass(frozen=True)
class Minimization:
    """What a solver minimizes, and where it reports its steps. All vectors are float64 of shape (P,).

    Attributes
    ----------
    bounds : Box
        `lower` and `upper` bounds of each number, infinite where there are none; a solver has to keep to them.
    max_iterations : int
        The most steps; `accept` ends the solver there.
    accept : callable
        Takes each point that the solver moves to, into the history and the model. It leaves the solver by an exception
        where a limit is reached.
    descend : callable
        Minimizes from a point by the trust-region method of this package, which needs second derivatives; returns
        whether it ends at a minimum.
    """

    objective: Objective
    bounds: BoxConstraints
    max_iterations: int
    accept: Callable[[Vector], None]
    descend: Callable[[Vector], bool]

    def __call__(self, x: Vector) -> tuple[float, Vector]:
        """Return the loss and its gradient, of shape (P,), at a point."""
        return self.objective(x)

    @property
    def has_hessian(self) -> bool:
        """Whether the loss has second derivatives: every node on the way from the parameters has them."""
        return self.objective.has_curvature

    def hessian(self, x: Vector) -> Matrix:
        """Return the Hessian of the loss, of shape (P, P), at a point."""
        return self.objective.hessian(x)

    def hessian_product(self, x: Vector, direction: Vector) -> Vector:
        """Return the Hessian of the loss at a point, times a vector."""
        return self.objective.hessian_product(x, direction)

    def require_hessian(self, solver: str) -> None:
        """Refuse a loss without second derivatives.

        Raises
        ------
        TrainingError
            GE602.
        """
        if not self.has_hessian:
            raise TrainingError(f"the solver '{solver}' needs second derivatives, and a node has none")


class Solver(Kind, ABC):
    """Base of solvers: a subclass has its attributes as fields, and `type: Literal["name"]`.

    A solver needs no learning rate and uses all samples in each iteration.
    """

    @abstractmethod
    def minimize(self, problem: Minimization, start: Vector) -> bool:
        """Minimize from a start, passing each step to `problem.accept`; return whether that converged."""

    def require(self) -> None:
        """Refuse to run where something is missing, such as a package; called before anything is computed."""

    def require_few(self, numbers: int) -> None:
        """Refuse more numbers than the solver can take; called before anything is computed."""


class SolverWithMatrix(Solver):
    """Base of the solvers that decompose a matrix with a row and a column for each number."""

    type: str

    def require_few(self, numbers: int) -> None:
        """Refuse too many numbers: TrainingError (GE602)."""
        if numbers > MOST_NUMBERS:
            message = f"the solver '{self.type}' takes at most {MOST_NUMBERS} numbers; this model has {numbers}"
            raise TrainingError(message, hint="train the model with 'lbfgs' or an update rule, which need no matrix")


@SOLVERS.register
class LeastSquares(SolverWithMatrix):
    """Least squares of the value `residual`, divided by `sigma` or multiplied by the root of `weights`.

    With `absolute_sigma` the standard deviations are known, and not only their ratios. A `robust` loss takes the place
    of the squares from about `robust_scale` on.
    """

    type: Literal["least_squares"]
    residual: Reference
    sigma: Reference | None = None
    weights: Reference | None = None
    absolute_sigma: bool = False
    robust: Literal["huber", "soft_l1", "cauchy"] | None = None
    robust_scale: Positive = 1.0

    @property
    def is_weighted(self) -> bool:
        """Whether the residuals have standard deviations, or weights."""
        return self.sigma is not None or self.weights is not None

    def minimize(self, problem: Minimization, start: Vector) -> bool:
        """Minimize the sum of squares, which is what the problem descends on."""
        return problem.descend(start)


@SOLVERS.register
class Newton(SolverWithMatrix):
    """Newton's method within a trust region, with the exact Hessian."""

    type: Literal["newton"]

    def minimize(self, problem: Minimization, start: Vector) -> bool:
        """Minimize the loss; raises TrainingError (GE602) without second derivatives."""
        problem.require_hessian(self.type)
        return problem.descend(start)


class ScipySolver(Solver):
    """Base of the solvers of `scipy.optimize.minimize` (the extra `fit`)."""

    def require(self) -> None:
        """Refuse to run without SciPy: UsageError (GE803)."""
        optional("scipy.optimize", "fit")

    def run(self, problem: Minimization, start: Vector, method: str, options: Mapping[str, Any], **more: Any) -> bool:
        """Let SciPy minimize; where the exact Hessian is at hand, it has the last word."""
        scipy = optional("scipy.optimize", "fit")
        limits = {"maxiter": 10 * problem.max_iterations, **options}  # it counts steps that are not taken, too
        with np.errstate(all="ignore"):  # steps that are tried and not taken may overflow
            found = scipy.minimize(
                problem,
                start,
                jac=True,
                method=method,
                callback=lambda x, *_: problem.accept(x),
                bounds=None if problem.bounds.is_open else scipy.Bounds(*problem.bounds, keep_feasible=True),
                options=limits,
                **more,
            )
        problem.accept(found.x)
        if problem.has_hessian and len(start) <= LARGEST_HESSIAN:
            return problem.descend(problem.bounds.clipped(found.x))
        if problem.has_hessian:
            problem.accept(sharpened(problem, problem.bounds.clipped(found.x), most_products=found.nfev))
        return bool(found.success)


@SOLVERS.register
class Lbfgs(ScipySolver):
    """The limited-memory method of Broyden, Fletcher, Goldfarb and Shanno with bounds (L-BFGS-B), by SciPy."""

    type: Literal["lbfgs"]

    def minimize(self, problem: Minimization, start: Vector) -> bool:
        """Minimize the loss."""
        rounding = float(np.finfo(np.float64).eps)
        limits = {"ftol": rounding, "gtol": 1e-10, "maxcor": 20, "maxfun": 20 * problem.max_iterations}
        return self.run(problem, start, "L-BFGS-B", limits)


@SOLVERS.register
class TrustConstr(ScipySolver):
    """A trust-region method with exact products of the Hessian (trust-constr), by SciPy."""

    type: Literal["trust-constr"]

    def minimize(self, problem: Minimization, start: Vector) -> bool:
        """Minimize the loss; raises TrainingError (GE602) without second derivatives."""
        problem.require_hessian(self.type)
        return self.run(problem, start, "trust-constr", {"gtol": 1e-10, "xtol": 1e-14}, hessp=problem.hessian_product)


def solver_of(training: TrainingDocument) -> Solver:
    """Return the solver that a training section names, with its keys, which were checked."""
    optimizer = training.optimizer
    made = SOLVERS[optimizer.type].model_validate({"type": optimizer.type, **optimizer.attributes})
    assert isinstance(made, Solver)
    return made
