"""A fit from beginning to end: from one start or several, with the intervals that are requested."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from graphengine.errors import DivergenceError, UsageError
from graphengine.fit.bootstrap import BootstrapRequest, bootstrap
from graphengine.fit.determination import coordinates_in
from graphengine.fit.profile import Interval, MinimumProfile, MissedError, quantiles
from graphengine.fit.solver_trainer import SolverTrainer
from graphengine.fit.starts import Start, numbered, starting_points
from graphengine.fit.statistics import Fit, fit_of, samples_in_a_mean
from graphengine.mappings import picked
from graphengine.training.history import History
from graphengine.training.loop import run_to_end

POINTS = 6
"""So many points has a profile on each side."""
MOST_REFITS = 5
"""So often a fit begins again at a lower point that a profile has come upon."""


class StartRun(NamedTuple):
    """What came of one start: all values, the loss, infinite without one, and what the solver reports."""

    values: Mapping[str, Any]
    loss: float
    converged: bool
    reason: str | None
    history: History


class FitRequest(NamedTuple):
    """What is wanted of a fit besides its result: intervals of these levels, several starts, a bootstrap."""

    levels: tuple[float, ...] = ()
    starts: int = 1
    seed: int = 0
    bootstrap: BootstrapRequest = BootstrapRequest()
    run_starts: Callable[[Sequence[Mapping[str, Any]]], Sequence[StartRun]] | None = None
    """Runs the starts, by their values, where this process does not; a result for each, in order."""


def run_fit(solver: SolverTrainer, wanted: FitRequest) -> Fit:
    """Run a solver; the solver's values are those of the best start.

    Raises
    ------
    DivergenceError
        If no start has a finite loss.
    UsageError
        GE801 if a level or a number of starts or samples has no meaning, or no data can be drawn.
    """
    if wanted.starts < 1:
        raise UsageError(f"a fit needs at least one start, not {wanted.starts}")
    wanted.bootstrap.check(solver)
    quantiles(wanted.levels, math.inf) if wanted.levels else None  # before the work
    starts: tuple[Start, ...] = ()
    if wanted.starts > 1:
        starts = _run_starts(solver, wanted)
    else:
        run_to_end(solver)
    fit = replace(_with_intervals(solver, wanted.levels), starts=starts)
    return replace(fit, bootstrap=bootstrap(solver, fit, wanted.bootstrap)) if wanted.bootstrap.samples else fit


def _with_intervals(solver: SolverTrainer, levels: Sequence[float]) -> Fit:
    """The result with its intervals; a fit begins again at a lower point that a profile comes upon."""
    fit = fit_of(solver)
    for _ in range(MOST_REFITS):
        try:
            return replace(fit, intervals=intervals(solver, fit, levels))
        except MissedError as missed:
            solver.values.update(solver.objective.split(missed.x))
            run_to_end(solver)
            fit = fit_of(solver)
    return fit


# ---------------------------------------------------------------- starts


def _run_starts(solver: SolverTrainer, wanted: FitRequest) -> tuple[Start, ...]:
    """Run all starts, and leave the solver with the values and the history of the best."""
    objective = solver.objective
    first = objective.vector(solver.values)
    points = starting_points(first, solver.box, solver.typical, objective.coordinates, wanted.starts, wanted.seed)
    begun = [{**solver.values, **objective.split(point)} for point in points]
    runs = (wanted.run_starts or partial(_run_one_by_one, solver))(begun)
    losses = [run.loss for run in runs]
    if not np.isfinite(losses).any():
        message = f"no start of {wanted.starts} has a finite loss; the first: {runs[0].reason}"
        raise DivergenceError(message, iteration=1, epoch=1)
    found = [objective.vector(run.values) for run in runs]
    ends = [loss if run.converged else np.inf for loss, run in zip(losses, runs, strict=True)]
    minima = numbered(ends, found, solver.typical)
    best = min(range(len(runs)), key=lambda place: (not runs[place].converged, losses[place], place))
    _take_over(solver, runs[best])
    return tuple(
        Start(
            start=objective.split(points[place]),
            parameters=objective.split(found[place]),
            loss=losses[place],
            converged=run.converged,
            reason=run.reason,
            iterations=len(run.history),
            minimum=minima[place],
        )
        for place, run in enumerate(runs)
    )


def _run_one_by_one(solver: SolverTrainer, begun: Iterable[Mapping[str, Any]]) -> list[StartRun]:
    return [run_start(solver, values) for values in begun]


def run_start(solver: SolverTrainer, values: Mapping[str, Any]) -> StartRun:
    """Return what comes of a solver from other values; the solver itself stays where it is."""
    run = solver.fresh(values)
    try:
        run_to_end(run)
        reason = run.reason or None
    except DivergenceError as error:
        reason = error.problems[0].message
    return StartRun(run.values, _loss(run), run.converged, reason, run.history)


def _loss(run: SolverTrainer) -> float:
    with np.errstate(all="ignore"):
        loss, _ = run.objective(run.objective.vector(run.values))
    return loss if np.isfinite(loss) and len(run.history) else np.inf


def _take_over(solver: SolverTrainer, best: StartRun) -> None:
    solver.values.update(picked(best.values, solver.objective.names))
    solver.history, solver.converged, solver.reason = best.history, best.converged, best.reason or ""


# ---------------------------------------------------------------- intervals


def profile_of(solver: SolverTrainer, fit: Fit) -> MinimumProfile:
    """The profiles of a fit.

    Raises
    ------
    UsageError
        GE801 of a robust fit, which has no likelihood, and of one without degrees of freedom.
    """
    if fit.objective == "robust":
        raise UsageError("a robust fit has no likelihood, so its intervals are those of its standard errors")
    scale = 1.0 / samples_in_a_mean(solver) if fit.squares is None else 1.0
    if fit.squares is not None and not (solver.options and solver.options.absolute_sigma):
        if not fit.degrees_of_freedom:
            raise UsageError("without degrees of freedom the errors of the data, and so all intervals, are unknown")
        scale = fit.residual_standard_deviation**2
    x = solver.objective.vector(solver.values)
    errors = np.sqrt(np.diag(fit.covariance))
    return MinimumProfile(solver.problem, solver.box, solver.typical, x, errors, scale, solver.objective.epsilon)


def profiles(solver: SolverTrainer, reach: float) -> dict[str, list[tuple[float, float]]]:
    """For each coordinate that the data determine points (number, zeta) of its profile at the solver's values.

    Raises
    ------
    UsageError
        GE801 as `profile_of`, or if the values are no minimum.
    """
    fit = fit_of(solver)
    profile, flat = profile_of(solver, fit), coordinates_in(fit.undetermined)
    determined = [(place, name) for place, name in enumerate(fit.coordinates) if name not in flat]
    try:
        return {name: profile.curve(place, reach, POINTS) for place, name in determined}
    except MissedError:
        raise UsageError("a point with a lower loss than that of the fit exists", hint="fit the model again") from None


def intervals(solver: SolverTrainer, fit: Fit, levels: Sequence[float]) -> dict[float, dict[str, Interval]]:
    """For each level the profile interval of each coordinate.

    Raises
    ------
    MissedError
        If a profile comes upon a lower point than the fit.
    """
    if not levels:
        return {}
    profile, found = profile_of(solver, fit), quantiles(levels, fit.freedom_of_errors)
    open_ends = coordinates_in(fit.undetermined)
    return {
        level: {
            name: _open(solver, place) if name in open_ends else profile.interval(place, quantile)
            for place, name in enumerate(fit.coordinates)
        }
        for level, quantile in found.items()
    }


def _open(solver: SolverTrainer, place: int) -> Interval:
    return Interval(float(solver.box.lower[place]), float(solver.box.upper[place]))
