"""The bridge to Dask: tasks and trainings on a cluster whose scheduler the caller names (the extra `dask`).

A task names a path, a fingerprint and shards, and holds no model and no data. The address of a scheduler comes from
the caller alone, and nothing of a file is unpickled.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from graphengine.errors import GraphEngineError, TrainingError, UsageError
from graphengine.extras import optional
from graphengine.fit.solver_trainer import SolverTrainer
from graphengine.model.dask_workers import DaskWorkers
from graphengine.model.model import Model
from graphengine.model.shard_tasks import answered, opened, training_task
from graphengine.training.history import LOG, History
from graphengine.training.loop import Trainer, run_to_end

Task = TypeVar("Task")
Result = TypeVar("Result")
SHARD_ROWS = 1024
"""Rows of a shard where a training with workers declares none."""
RETRIES = 5
"""How often Dask does a task again that fails in Dask itself, for example in a worker that is closing."""
REPEATS = 2
"""How often a task is submitted again that Dask has given up because four workers died that had it, running or not."""
WAITING = 15.0
"""Seconds that a scheduler may take to answer."""
REFILL = 1.0
"""Seconds after which it is looked again whether a cluster that is started here has all its workers."""
FAILURES = 5
"""How often all workers of it may end before they run; from then on it rests before it starts more."""
LONGEST_REST = 60
"""How often in a row it does not look."""
SETTINGS = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 2**27,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 2**25,
}
"""Settings of workers that are started here: what Dask observes of a process takes 3 % of a processor, and its limit of
64 KiB for freed memory lets glibc give back and fetch again each array of more than 128 KiB."""


@contextmanager
def connected(scheduler: str | int | Any) -> Iterator[Any]:
    """Yield a client of a scheduler: a client that there is, an address, or a number of local workers to start.

    What is started here ends with the block.

    Raises
    ------
    GraphEngineError
        GE418 if no scheduler answers at the address, or no longer does.
    UsageError
        GE801 for what is no address, GE803 if Dask is not installed.
    """
    distributed = optional("distributed", "dask")
    if isinstance(scheduler, int):
        with local_cluster(scheduler) as cluster, connected(cluster.scheduler_address) as client:
            yield client
        return
    if not isinstance(scheduler, str):
        yield scheduler
        return
    with _quiet():
        try:
            _require_scheduler(scheduler)
            client = distributed.Client(scheduler, timeout=WAITING, set_as_default=False, direct_to_workers=True)
        except (OSError, TimeoutError) as error:
            raise lost(scheduler, error) from error
        except ValueError as error:
            hint = "write it as the scheduler prints it, such as tcp://host:8786"
            raise UsageError(f"'{scheduler}' is not the address of a scheduler", hint=hint) from error
        with client, client.as_current():
            yield client


def _require_scheduler(address: str) -> None:
    """Refuse an address where no scheduler answers: Dask's client waits without end for a port that only accepts.

    Raises
    ------
    GraphEngineError
        GE418.
    OSError, ValueError
        If nobody is there, or the text is no address.
    """
    core = optional("distributed.core", "dask")
    options = optional("distributed", "dask").Security().get_connection_args("client")

    async def kind() -> Any:
        async with core.rpc(address, timeout=WAITING, connection_args=options) as asked:
            return (await asked.identity())["type"]

    async def kind_in_time() -> Any:
        return await asyncio.wait_for(kind(), WAITING)

    with ThreadPoolExecutor(1) as thread:  # a notebook runs an event loop in its own
        try:
            found = thread.submit(asyncio.run, kind_in_time()).result()
        except TimeoutError as error:
            raise lost(address, TimeoutError(f"no answer within {WAITING:g} s")) from error
        except (OSError, ValueError):
            raise
        except Exception as error:  # whatever Dask makes of the answer of something else
            raise lost(address, RuntimeError("the address does not belong to a Dask scheduler")) from error
    if found != "Scheduler":
        raise lost(address, RuntimeError(f"the address belongs to a {found.lower()} of Dask, not a scheduler"))


def in_cluster(
    work: Callable[[Any, Task], Result], common: Any, tasks: Sequence[Task], address: str
) -> Iterator[tuple[Task, Result]]:
    """Yield each task with its result, as they are done on a cluster; as `scale.processes.in_processes`.

    Raises
    ------
    GraphEngineError
        GE418 if the scheduler does not answer or workers die again and again; what `work` raises.
    """
    with connected(address) as client:
        for task, answer in _answers(client, partial(answered, work, common), tasks, address):
            yield task, opened(answer)


def _answers(
    client: Any, work: Callable[[Task], Result], tasks: Sequence[Task], address: str
) -> Iterator[tuple[Task, Result]]:
    """Yield each task with what `work` returns; raises GE418 for whatever Dask raises when it is lost."""
    distributed = optional("distributed", "dask")
    submitted = partial(client.submit, work, pure=False, retries=RETRIES)
    try:
        left = {submitted(task): (task, REPEATS) for task in tasks}
        coming = distributed.as_completed(list(left))
        for future in coming:
            task, repeats = left.pop(future)
            try:
                result = future.result()
            except distributed.KilledWorker:
                if not repeats:
                    raise
                again = submitted(task)
                left[again] = task, repeats - 1
                coming.add(again)
            else:
                yield task, result
    except Exception as error:
        raise lost(address, error) from error


def lost(address: str, error: Exception) -> GraphEngineError:
    """Return the error about a cluster that does not do its work."""
    reason = next(iter(str(error).splitlines()), "")[:200] or type(error).__name__
    message = f"the cluster at {address} failed: {reason}"
    return GraphEngineError(message, code="GE418", hint="start it, and run the same command again")


@contextmanager
def local_cluster(workers: int, port: int = 0) -> Iterator[Any]:
    """Yield a scheduler and workers on this machine, processes of one thread each, which end with the block.

    Raises
    ------
    UsageError
        GE801 if no scheduler can be started at the port, GE803 if Dask is not installed.
    """
    with optional("dask.config", "dask").set(SETTINGS):  # for workers that are started again, too
        try:
            cluster = _started(workers, port)
        except (OSError, RuntimeError) as error:
            hint = "choose another port; 0 takes a free one"
            raise UsageError(f"no scheduler can be started at port {port}", hint=hint) from error
        with cluster, _refilled(cluster, workers):
            yield cluster


def _started(workers: int, port: int) -> Any:
    with _uninterrupted():
        return optional("distributed", "dask").LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            scheduler_port=port,
            dashboard_address=":0",
            silence_logs="CRITICAL",
        )


class _Refill:
    """Starts workers of a cluster again that it has given up: those that end while they start, or start slowly.

    Called every `REFILL` seconds. Where none can start, it waits longer each time and logs a warning.
    """

    def __init__(self, cluster: Any, workers: int) -> None:
        self._cluster, self._workers = cluster, workers
        self._failures = self._rests = 0

    def __call__(self) -> None:
        """Look at the workers, and start those that are missing."""
        if self._rests:
            self._rests -= 1
            return
        known = {name: worker.status.name for name, worker in self._cluster.workers.items()}
        given_up = [name for name, status in known.items() if status in ("closed", "failed")]
        self._failures = 0 if "running" in known.values() else self._failures + bool(given_up)
        if given_up and self._failures > FAILURES:
            self._rests = min(2 ** (self._failures - FAILURES), LONGEST_REST)
            LOG.warning("workers end while starting; new ones start in %g s", (self._rests + 1) * REFILL)
        for name in given_up:
            del self._cluster.workers[name]
        self._cluster.scale(self._workers)


@contextmanager
def _refilled(cluster: Any, workers: int) -> Iterator[None]:
    """Keep the workers of a cluster as many as they were."""
    refill = _Refill(cluster, workers)
    watch = optional("tornado.ioloop", "dask").PeriodicCallback(refill, 1000.0 * REFILL)
    cluster.loop.add_callback(watch.start)
    try:
        yield
    finally:
        cluster.loop.add_callback(watch.stop)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let processes that are started ignore Ctrl-C, which is the business of the process that starts them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Silence:
    """Silences Dask's loggers from the first user to the last, who may be threads that leave in any order."""

    def __init__(self) -> None:
        self._lock, self._users = threading.Lock(), 0
        self._levels: dict[logging.Logger, int] = {}
        """The loggers that are silent, with their own levels."""

    def enter(self) -> None:
        with self._lock:
            self._users += 1
            names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]
            for logger in map(logging.getLogger, names):  # some have levels of their own, some are new
                self._levels.setdefault(logger, logger.level)
                logger.setLevel(logging.CRITICAL + 1)

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            while not self._users and self._levels:
                logger, level = self._levels.popitem()
                logger.setLevel(level)


_SILENCE = _Silence()


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave it to this package to report what is lost; Dask's log would show tracebacks before."""
    _SILENCE.enter()
    try:
        yield
    finally:
        _SILENCE.leave()


def train(model: Model, scheduler: str | int | Any, data: str | None = None, **options: Any) -> History:
    """Train a model as `Model.train` does, with the gradients of its shards from the workers of a scheduler.

    The bits are those of `Model.train` with the same `shard_rows` (by default 1,024), whatever workers there are.

    Parameters
    ----------
    scheduler : str, int or distributed.Client
        The address of a scheduler, a number of local processes to start, or a client that is connected.
    data : str, optional
        A data source of the file; by default the one that the training section names.
    **options
        Keywords of `Model.train`.

    Raises
    ------
    TrainingError
        If the training cannot start.
    WorkersError
        GE607 if no worker is left, after a checkpoint was written, if there is a folder for them.
    UsageError
        GE801 if the model has no file; GE803 if Dask is not installed.
    GraphEngineError
        GE418 if no scheduler answers.
    """
    with connected(scheduler) as client:
        trainer = model.trainer(data, **sharded(model, options))
        run_to_end(with_workers(trainer, model, client, data))
    return trainer.history


def sharded(model: Model, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords of a training with shards, of `SHARD_ROWS` rows if neither they nor the file declare any.

    Raises
    ------
    TrainingError
        GE602 if the training has a solver, which takes all rows at once.
    """
    section = model.document.training
    if section and section.optimizer.is_solver and "optimizer" not in options:
        message = f"workers compute gradients for an update rule, and '{section.optimizer.type}' is a solver"
        raise TrainingError(message, hint="fit from several starts over workers: fit --starts 100 --workers 4")
    declared = options.get("shard_rows", section.shard_rows if section else None)
    return {**options, "shard_rows": SHARD_ROWS if declared is None else declared}


def with_workers(
    trainer: Trainer | SolverTrainer,
    model: Model,
    client: Any,
    data: str | None = None,
) -> Trainer | SolverTrainer:
    """Let the workers of a client compute the shards of a training on a data source of the file, and return it.

    Raises
    ------
    TrainingError
        GE602 if the training has no shards.
    UsageError
        GE801 if the model has no file that workers could open, or the data is no source of it.
    """
    if not isinstance(trainer, Trainer) or trainer.stepper.sharding is None:
        raise TrainingError(
            "workers compute the gradients of shards, and this training has none", hint="set shard_rows"
        )
    trainer.stepper.sharding.workers = DaskWorkers(client, training_task(trainer, model, data))
    return trainer
