"""Processes of joblib that compute shards of a training beside this one, each at the other end of its own pipe.

A pipe has two ends, so whoever dies is found at once by the other end, whatever it was writing then; queues that
several processes share would be left locked or with half a message.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from copy import copy
from functools import cache
from multiprocessing.connection import Connection
from typing import Any

from graphengine.data.batches import Batches
from graphengine.errors import WorkersError
from graphengine.extras import optional
from graphengine.model.shard_tasks import GONE, MOST_LOSSES, ShardActor, TrainingTask, answer, opened
from graphengine.model.shared_pipes import SharedPipe
from graphengine.training.loop import Trainer
from graphengine.training.sharding import Sharding, ShardRequest, Subtotals


class ProcessWorkers:
    """This process and others, which open the model file and the data themselves; one that dies is replaced."""

    def __init__(self, trainer: Trainer, task: TrainingTask, count: int) -> None:
        self._own = twin_of(trainer)
        context = optional("joblib.externals.loky.backend.context", "workers").get_context("loky")
        self._helpers = [_Helper(context, task) for _ in range(count - 1)]

    def subtotals(self, request: ShardRequest) -> list[Subtotals]:
        """Give the subtotals of all shards, in the order of the shards; raises as `sharding.Workers`."""
        own, *others = request.dealt(1 + len(self._helpers))
        asked = list(zip(self._helpers, others, strict=False))
        for helper, shards in asked:
            helper.ask(request, *shards)
        found = subtotals_of(*self._own, request, *own)
        return [found, *(helper.answer() for helper, _ in asked)]

    @property
    def pids(self) -> list[int]:
        """The numbers of the other processes."""
        return [helper.process.pid for helper in self._helpers]

    def close(self) -> None:
        """End the other processes."""
        for helper in self._helpers:
            helper.end()


class _Helper:
    """A process with a pipe to it, started again when it dies; it gets one question at a time."""

    def __init__(self, context: Any, task: TrainingTask) -> None:
        self._context, self._task = context, task
        self._asked: tuple[ShardRequest, int, int] | None = None
        self._start()

    def _start(self) -> None:
        ours, theirs = self._context.Pipe()
        self._pipe = SharedPipe(ours)
        self.process = self._context.Process(target=_serve, args=(theirs, self._task), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, request: ShardRequest, first: int, stop: int) -> None:
        """Send a question; one that was not answered, because the training was interrupted, is given up."""
        if self._asked is not None:
            self._start_again()
        self._asked = request, first, stop
        with suppress(*GONE):  # asked again when the answer is due
            self._pipe.send(self._asked)

    def answer(self) -> Subtotals:
        """Wait for the answer; a process that died is replaced and asked again."""
        assert self._asked is not None
        for _ in range(MOST_LOSSES):
            try:
                found = self._pipe.recv()
            except GONE:
                self._start_again()
                with suppress(*GONE):
                    self._pipe.send(self._asked)
            else:
                self._asked = None
                return opened(found)  # type: ignore[no-any-return]
        iteration = self._asked[0].iteration
        raise WorkersError(f"{MOST_LOSSES} processes in a row ended while they computed iteration {iteration}")

    def _start_again(self) -> None:
        self.end()
        self._start()

    def end(self) -> None:
        """End the process, whatever it does."""
        self._pipe.close()
        self.process.terminate()
        self.process.join()


def _serve(pipe: Connection, task: TrainingTask) -> None:
    """Answer questions until the other end is gone; an interruption is the business of the process that started this.

    An answer that nobody waits for any more ends the process, too.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    actor = cache(lambda: ShardActor(task))  # what is wrong with the task is an answer, too
    answer(SharedPipe(pipe), lambda *asked: actor().subtotals(*asked))
    os._exit(0)  # nothing is left to do, and threads of libraries are not waited for


def twin_of(trainer: Trainer) -> tuple[Sharding, Batches]:
    """Return what computes shards of a training in its own thread: programs and batches that no other uses."""
    sharding = trainer.stepper.sharding
    assert sharding is not None
    return sharding.twin(), copy(trainer.batches)


def subtotals_of(sharding: Sharding, batches: Batches, request: ShardRequest, first: int, stop: int) -> Subtotals:
    """Return the subtotals of shards `first` to `stop`, computed by the twin of a training."""
    return sharding.subtotals_of(request, batches.parts_of(request.iteration, first, stop), first)
