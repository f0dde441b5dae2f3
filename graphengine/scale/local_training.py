"""The workers of a training on this machine: threads where NumPy leaves Python's lock, processes of joblib otherwise.

Threads share the data and send nothing, but wait for each other wherever Python itself works. Processes open the model
file and its data themselves. Which of them is used is measured on the first shards; the bits are the same.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Literal

from graphengine.dask import connected, sharded, with_workers
from graphengine.errors import UsageError
from graphengine.fit.solver_trainer import SolverTrainer
from graphengine.model.model import Model
from graphengine.model.shard_tasks import TrainingTask, training_task
from graphengine.model.tasks import Workers, require_workers
from graphengine.scale.shard_processes import ProcessWorkers, subtotals_of, twin_of
from graphengine.training.loop import Trainer
from graphengine.training.sharding import ShardRequest, Subtotals, one_thread

Kind = Literal["threads", "processes"]
ENOUGH = 0.75
"""The share of a full gain from which threads are used."""
TRIALS = 3


class ThreadWorkers:
    """Threads, each with its own programs."""

    def __init__(self, trainer: Trainer, count: int) -> None:
        self._each = [twin_of(trainer) for _ in range(count)]
        self._pool = ThreadPoolExecutor(count)

    def subtotals(self, request: ShardRequest) -> list[Subtotals]:
        """Give the subtotals of all shards, in the order of the shards."""
        return self._computed(request, request.dealt(len(self._each)))

    def gain(self, request: ShardRequest) -> float:
        """How much more all threads compute at once than one alone, with a shard for each."""
        shards = [(place, place + 1) for place in range(min(len(self._each), request.shards))]
        self._computed(request, shards)  # compiles the programs
        alone = min(self._seconds(request, shards[:1]) for _ in range(TRIALS))
        return len(shards) * alone / min(self._seconds(request, shards) for _ in range(TRIALS))

    def _seconds(self, request: ShardRequest, shards: list[tuple[int, int]]) -> float:
        start = time.perf_counter()
        self._computed(request, shards)
        return time.perf_counter() - start

    def _computed(self, request: ShardRequest, shards: list[tuple[int, int]]) -> list[Subtotals]:
        work = zip(self._each, shards, strict=False)
        with one_thread():  # OpenBLAS spins for 100 ms if threads of a pool change how many it has
            sent = [self._pool.submit(subtotals_of, *each, request, *pair) for each, pair in work]
            return [each.result() for each in sent]

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()


class LocalWorkers:
    """Threads or processes, as the first request shows; without a task, because there is no file to open, threads."""

    def __init__(self, trainer: Trainer, task: TrainingTask | None, count: int, kind: Kind | None = None) -> None:
        self._trainer, self._task, self._count, self._kind = trainer, task, count, kind
        self._workers: ThreadWorkers | ProcessWorkers | None = None

    def subtotals(self, request: ShardRequest) -> Iterable[Subtotals]:
        """Give the subtotals of all shards, in the order of the shards; raises as `sharding.Workers`."""
        if self._workers is None:
            self._workers = self._chosen(request)
        return self._workers.subtotals(request)

    def _chosen(self, request: ShardRequest) -> ThreadWorkers | ProcessWorkers:
        if self._task is None or self._kind == "threads":
            return ThreadWorkers(self._trainer, self._count)
        if self._kind == "processes":
            return ProcessWorkers(self._trainer, self._task, self._count)
        threads = ThreadWorkers(self._trainer, self._count)
        if threads.gain(request) >= ENOUGH * min(self._count, request.shards, os.cpu_count() or 1):
            return threads
        threads.close()
        return ProcessWorkers(self._trainer, self._task, self._count)

    def close(self) -> None:
        """End what was started."""
        if self._workers is not None:
            self._workers.close()


@contextmanager
def trainer_over(model: Model, data: Any, options: Mapping[str, Any], workers: Workers) -> Iterator[Trainer]:
    """Yield a training whose shards workers compute in the block; raises as `dask.sharded` and `working`."""
    require_workers(workers)
    trainer = model.trainer(data, **sharded(model, options))
    assert isinstance(trainer, Trainer)
    with working(trainer, model, data, workers):
        yield trainer


@contextmanager
def working(
    trainer: Trainer | SolverTrainer, model: Model, data: Any, workers: Workers | None, kind: Kind | None = None
) -> Iterator[None]:
    """Let workers compute the shards of a training in the block: so many here, or those of a Dask scheduler.

    One worker is this process. `kind` is measured by default.

    Raises
    ------
    GraphEngineError
        GE418 if no scheduler answers.
    UsageError
        GE801 if the workers of a scheduler cannot open the model and the data; GE803 without joblib or Dask.
    """
    if isinstance(workers, str):
        with connected(workers) as client:
            with_workers(trainer, model, client, data)
            yield
    elif workers in (None, 1) or not isinstance(trainer, Trainer) or trainer.stepper.sharding is None:
        yield
    else:
        local = LocalWorkers(trainer, _task_of(trainer, model, data), workers or 1, kind)
        trainer.stepper.sharding.workers = local
        try:
            yield
        finally:
            local.close()


def _task_of(trainer: Trainer, model: Model, data: Any) -> TrainingTask | None:
    """The training as a process opens it, None if there is no file of it or the data is not in it."""
    try:
        return training_task(trainer, model, data)
    except UsageError:
        return None
