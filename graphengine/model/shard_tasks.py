"""The shards of a training, as another process computes them: it opens the model file and its data source itself.

It gets parameters, and answers with subtotals of gradients, to calls or to questions that come through a pipe.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener
from multiprocessing.reduction import ForkingPickler
from typing import Any

from graphengine.errors import GraphEngineError
from graphengine.format.documents import TrainingDocument
from graphengine.model.model import Model
from graphengine.model.shared_pipes import SharedPipe
from graphengine.model.tasks import ModelTask, task_of
from graphengine.training.loop import Trainer
from graphengine.training.sharding import ShardRequest, Subtotals, one_thread

GONE = (EOFError, OSError)
"""What a pipe raises whose other end is gone."""
MOST_LOSSES = 20
"""Workers in a row that one iteration may lose: what ends each process that works on it is no accident."""


@dataclass(frozen=True)
class TrainingTask:
    """A training of a model file, as a worker opens it; the section is JSON."""

    model: ModelTask
    section: str

    def trainer(self) -> Trainer:
        """The training of the file that the task names; raises as `ModelTask.open`.

        Data that keeps its order, of which a worker reads the same rows in each epoch, stays on disk where a
        batch takes a small part of what may be in memory.
        """
        section, limits = json.loads(self.section), self.model.limits
        for part in () if section["shuffle"] else (16, 4):
            fewer = replace(self.model, limits=replace(limits, data_bytes=limits.data_bytes // part))
            with suppress(GraphEngineError):  # a batch is larger, or it cannot be read in such small pieces
                return _trainer_of(fewer, section)
        return _trainer_of(self.model, section)


def _trainer_of(task: ModelTask, section: Mapping[str, Any]) -> Trainer:
    trainer = task.open().trainer(task.source, **section)
    assert isinstance(trainer, Trainer)
    return trainer


class ShardActor:
    """A worker's model, and the rows of its shards: of data that stays on disk it keeps those that it reads again."""

    def __init__(self, task: TrainingTask) -> None:
        trainer = task.trainer()
        assert trainer.stepper.sharding is not None
        self._sharding, self._batches = trainer.stepper.sharding, trainer.batches
        reads_again = self._batches.is_stored and not trainer.training.shuffle
        self._room = task.model.limits.data_bytes // 4 if reads_again else 0
        self._kept: dict[tuple[int, int, int], list[dict[str, Any]]] = {}

    def subtotals(self, request: ShardRequest, first: int, stop: int) -> Subtotals:
        """The subtotals of shards `first` to `stop`."""
        return self._sharding.subtotals_of(request, self._parts(request.iteration, first, stop), first)

    def _parts(self, iteration: int, first: int, stop: int) -> Iterable[dict[str, Any]]:
        place = (iteration - 1) % self._batches.per_epoch, first, stop
        if place in self._kept:
            return self._kept[place]
        parts = self._batches.parts_of(iteration, first, stop)
        size = self._batches.part_bytes * (stop - first)
        if size > self._room:
            return parts
        self._room -= size
        self._kept[place] = list(parts)
        return self._kept[place]


def training_task(trainer: Trainer, model: Model, data: Any = None) -> TrainingTask:
    """Return a training as another process opens it; raises as `tasks.task_of`."""
    training = trainer.training
    task = task_of(model, training.data if data is None else data, has_training=False)
    return TrainingTask(task, json.dumps(_to_compute(training)))


def _to_compute(training: TrainingDocument) -> dict[str, Any]:
    """A training section without what only the process that trains does: checks on other data, checkpoints."""
    apart = training.validation and training.validation.data
    left: dict[str, Any] = {
        "early_stopping": None,
        "checkpoint": None,
        "metrics": {},
        **({"validation": None} if apart else {}),
    }
    return {**training.model_dump(mode="json", exclude={"data"}), **left}


def answer(pipe: Connection | SharedPipe, compute: Callable[..., Any]) -> None:
    """Answer the questions that come through a pipe, arguments of `compute`, until its other end is gone.

    What `compute` raises is an answer, too.
    """
    with suppress(*GONE):
        while True:
            pipe.send(answered(compute, *pipe.recv()))


def answered(compute: Callable[..., Any], *asked: Any) -> Any:
    """Return what a computation returns or, as a value, the error that it raises, which `opened` raises elsewhere.

    So an error that is raised on the way is one of the processes or their connection, and not of the computation.
    """
    try:
        return compute(*asked)
    except Exception as error:  # noqa: BLE001 - raised where the answer arrives
        return error if isinstance(error, GraphEngineError) else _portable(error)


def _portable(error: Exception) -> Exception:
    """An error that another process can read, with its traceback as a note: pickling drops traceback and cause."""
    note = "".join(traceback.format_exception(error))
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:  # noqa: BLE001 - pickling calls methods of the error, which may raise anything
        error = RuntimeError(traceback.format_exception_only(error)[0].rstrip())
    error.add_note(f"Raised in another process:\n{note}")
    return error


def opened(found: Any) -> Any:
    """Return what was answered, or raise it if it is an error."""
    if isinstance(found, Exception):
        raise found
    return found


class PipedActor:
    """An actor of Dask that can be asked through a pipe; it opens its training when it is asked for the first time."""

    def __init__(self, task: TrainingTask) -> None:
        self._actor = cache(lambda: ShardActor(task))  # what is wrong with the task is an answer, too

    def subtotals(self, *asked: Any) -> Any:
        """The subtotals of `ShardActor.subtotals`, or the error that it raises, for `opened`."""
        return answered(self._computed, *asked)

    def _computed(self, *asked: Any) -> Subtotals:
        return self._actor().subtotals(*asked)

    def listen(self, name: str, key: bytes, host: str) -> bool:
        """Wait for a process of this host that connects to a name and knows the key; whether it can be on this host.

        The name is an abstract socket of Linux: no file is left if the worker is killed. BLAS has one thread until the
        process is gone: if several actors changed that for each question, OpenBLAS would wait 100 ms each time.
        """
        if sys.platform != "linux" or host != socket.gethostname():
            return False
        listener = Listener(name, "AF_UNIX", authkey=key)
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()
        return True

    def _serve(self, listener: Listener) -> None:
        with listener, suppress(AuthenticationError, *GONE), listener.accept() as pipe, one_thread():
            answer(SharedPipe(pipe), self._computed)


class Piped:
    """An actor on this host, asked through a pipe with the methods of Dask's own, one question at a time."""

    def __init__(self, actor: Any, pipe: Connection) -> None:
        self._actor = actor  # Dask ends an actor that nobody refers to
        self._pipe, self._is_asked = SharedPipe(pipe), False

    def subtotals(self, *asked: Any) -> Piped:
        """Ask for subtotals, as from an actor.

        Raises
        ------
        ConnectionError
            If the worker is gone, or an answer was not waited for because a training was interrupted.
        """
        if self._is_asked:
            raise ConnectionAbortedError("another request is still pending")
        self._is_asked = True
        self._pipe.send(asked)
        return self

    def result(self, timeout: float) -> Any:
        """Wait so many seconds for the answer, which `opened` opens; raises as the future of an actor."""
        if not self._pipe.poll(timeout):
            raise TimeoutError
        found = self._pipe.recv()
        self._is_asked = False
        return found
