"""The parametric bootstrap: data are drawn from the fitted model, and the fit is repeated on them.

How the estimates scatter is how well they are known, without an assumption about the shape of the likelihood (Efron and
Tibshirani 1993, section 6.5). Each sample depends on the seed and its number alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from graphengine.errors import UsageError
from graphengine.fit.determination import coordinates_in
from graphengine.fit.least_squares import minimized
from graphengine.fit.problems import Loss, SumOfSquares
from graphengine.fit.quadratic import Matrix, Vector
from graphengine.fit.simulation import Term, drawn, likelihood_terms
from graphengine.fit.solver_trainer import SolverTrainer
from graphengine.fit.statistics import Bootstrap, Fit, value_at
from graphengine.format.initializers import random_generator

PERCENTILES = (2.5, 16.0, 50.0, 84.0, 97.5)
MOST_SAMPLES = 100_000
Problems: TypeAlias = "Iterator[SumOfSquares | Loss]"


class BootstrapRequest(NamedTuple):
    """How many samples are drawn, by which seed, and of a likelihood the terms whose data they are."""

    samples: int = 0
    seed: int = 0
    terms: Callable[[], Sequence[Term]] = tuple

    def check(self, solver: SolverTrainer) -> None:
        """Raise UsageError for a number of samples that has no meaning, and where nothing says how data scatter."""
        if self.samples and not 2 <= self.samples <= MOST_SAMPLES:
            raise UsageError(f"a bootstrap takes 2 to {MOST_SAMPLES} samples, not {self.samples}")
        if self.samples and solver.robust:
            raise UsageError("a robust loss does not define the distribution of the data, so no data can be drawn")
        if self.samples and not solver.options:
            self.terms()


def terms_of(nodes: Iterable[Mapping[str, Any]], solver: SolverTrainer) -> Sequence[Term]:
    """Return the likelihoods among the nodes of a document that the loss of a solver adds up.

    Raises
    ------
    UsageError
        GE801 if there are none, or their data do more than to be compared.
    """
    return likelihood_terms(nodes, solver.graph, solver.training.loss)


def bootstrap(solver: SolverTrainer, fit: Fit, wanted: BootstrapRequest) -> Bootstrap:
    """Return the scatter of fits to data that are drawn from a fit; each starts at its values.

    Raises
    ------
    UsageError
        GE801 if the errors of the data are unknown, or no data can be drawn with the values that the fit found.
    """
    x = solver.objective.vector(solver.values)
    problems = _resampled_squares(solver, fit, wanted) if solver.options else _redrawn(solver, wanted)
    runs = [minimized(each, x, solver.box, solver.typical, lambda _: None) for each in problems]
    estimates = np.array([run.x for run in runs if run.is_minimum]).reshape(-1, len(x))
    return Bootstrap(
        wanted.samples,
        wanted.seed,
        len(runs) - len(estimates),
        _by_name(fit, estimates.std(axis=0, ddof=1) if len(estimates) > 1 else np.full(len(x), np.nan)),
        dict(zip(PERCENTILES, (_by_name(fit, row) for row in _percentiles(estimates)), strict=True)),
    )


def _percentiles(estimates: Matrix) -> Matrix:
    if not len(estimates):
        return np.full((len(PERCENTILES), estimates.shape[1]), np.nan)
    return np.percentile(estimates, PERCENTILES, axis=0)


def _by_name(fit: Fit, numbers: Vector) -> dict[str, float]:
    flat = coordinates_in(fit.undetermined)
    named = zip(fit.coordinates, numbers.tolist(), strict=True)
    return {name: float("nan") if name in flat else number for name, number in named}


def _generators(wanted: BootstrapRequest) -> Iterator[np.random.Generator]:
    return (random_generator(f"bootstrap/{number}", wanted.seed) for number in range(wanted.samples))


def _resampled_squares(solver: SolverTrainer, fit: Fit, wanted: BootstrapRequest) -> Problems:
    """Yield the fit of residuals with normal errors in place of its own: y* - f = (y - f) - (y - f_fitted) + e."""
    assert solver.options is not None
    if not solver.options.absolute_sigma and not fit.degrees_of_freedom:
        raise UsageError("without degrees of freedom the errors of the data are unknown, so no data can be drawn")
    spread = 1.0 if solver.options.absolute_sigma else fit.residual_standard_deviation
    residual = solver.residuals(solver.objective.vector(solver.values))
    for draw in _generators(wanted):
        yield SumOfSquares(solver.residuals.shifted(spread * draw.standard_normal(len(residual)) - residual))


def _redrawn(solver: SolverTrainer, wanted: BootstrapRequest) -> Problems:
    """Yield the fit of a likelihood with other data."""
    objective, terms, whole = solver.objective, wanted.terms(), solver.batches.whole()
    assert whole is not None
    known = {
        each: value_at(objective, each, solver.values)
        for term in terms
        for each in term.operands
        if isinstance(each, str)
    }
    for draw in _generators(wanted):
        yield Loss(objective.with_data(drawn(terms, whole, known.__getitem__, draw)))
