"""Starts of a fit that workers run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from graphengine.fit.procedure import StartRun, run_start
from graphengine.fit.requests import Request
from graphengine.fit.solver_trainer import SolverTrainer
from graphengine.model.model import Model
from graphengine.model.tasks import ModelTask, Workers, over_workers, require_workers, task_of


@dataclass(frozen=True)
class FitTask:
    """A fit of a model that is run from several starts."""

    model: ModelTask
    request: Request
    max_iterations: int | None

    def solver(self) -> SolverTrainer:
        """The fit, made once by each process."""
        return _solver_of(self)


@lru_cache(maxsize=1)
def _solver_of(task: FitTask) -> SolverTrainer:
    return task.model.open().fitting(task.model.source, task.request, task.max_iterations)


def _run_start(task: FitTask, values: Mapping[str, Any]) -> StartRun:
    return run_start(task.solver(), values)


def starts_over(
    model: Model, data: Any, request: Request, max_iterations: int | None, workers: Workers
) -> Callable[[Sequence[Mapping[str, Any]]], list[StartRun]]:
    """Return what runs the starts of a fit over workers; raises as `task_of`."""
    require_workers(workers)
    task = FitTask(task_of(model, data), request, max_iterations)
    return lambda starts: list(over_workers(_run_start, task, starts, workers))
