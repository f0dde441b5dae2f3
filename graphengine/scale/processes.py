"""Tasks in processes of this machine: a process that dies is replaced, and its tasks are done again.

No process outlives the one that started it: each holds one end of a pipe, and ends when the other end is gone.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from graphengine.errors import GraphEngineError
from graphengine.model.shard_tasks import GONE, answer, opened

Task = TypeVar("Task")
Result = TypeVar("Result")
MOST_DEATHS = 5
"""How often processes may die one after the other with no task done in between."""


class _DiedError(Exception):
    """A process is gone."""


def in_processes(
    work: Callable[[Any, Task], Result],
    common: Any,
    tasks: Sequence[Task],
    workers: int,
    *,
    died: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Task, Result]]:
    """Yield each task with its result, as they are done; `work` gets what is common and the task.

    `died` is called when no process runs, after one has died. A task may be done twice.

    Raises
    ------
    GraphEngineError
        GE418 if processes die again and again; what `work` raises.
    """
    pending, deaths = dict(enumerate(tasks)), 0
    while pending:
        before = len(pending)
        try:
            yield from _until_one_dies(work, common, pending, workers)
        except _DiedError:
            died()
            deaths = deaths + 1 if len(pending) == before else 1
            if deaths >= MOST_DEATHS:
                message = f"a process died {deaths} times without completing a task"
                hint = "use fewer workers if the memory was used up; finished parts are kept"
                raise GraphEngineError(message, code="GE418", hint=hint) from None


def _until_one_dies(
    work: Callable[[Any, Task], Result], common: Any, pending: dict[int, Task], workers: int
) -> Iterator[tuple[Task, Result]]:
    """Do the tasks that are pending, and take out each one that is done; raises `_DiedError` when a process is gone."""
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    started = [_Started(context, theirs, partial(work, common)) for _ in range(min(workers, len(pending)))]
    waiting, busy = iter(list(pending.items())), {}

    def deal(each: _Started) -> None:
        for place, task in itertools.islice(waiting, 1):
            each.ask(task)
            busy[each.pipe] = each, place

    try:
        for each in started:
            deal(each)
        while busy:
            for pipe in wait(list(busy)):
                each, place = busy.pop(pipe)
                result = each.answer()
                deal(each)
                yield pending.pop(place), opened(result)
    finally:  # an interruption, too, ends the processes at once
        ours.close()
        for each in started:
            each.end()
        theirs.close()


class _Started:
    """A process with its own pipe, so that its death is seen whatever it was writing, and locks nobody out."""

    def __init__(self, context: Any, theirs: Connection, compute: Callable[[Any], Any]) -> None:
        self.pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, other, compute), daemon=True)
        self._process.start()
        other.close()

    def ask(self, task: Any) -> None:
        try:
            self.pipe.send((task,))
        except GONE:
            raise _DiedError from None

    def answer(self) -> Any:
        try:
            return self.pipe.recv()
        except GONE:
            raise _DiedError from None

    def end(self) -> None:
        self.pipe.close()
        self._process.terminate()
        self._process.join()


def _serve(alive: Connection, pipe: Connection, compute: Callable[[Any], Any]) -> None:
    """Do tasks; an interruption is the business of the process that started this one, and it ends with that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()
    answer(pipe, compute)


def _end_with(pipe: Connection) -> None:
    try:
        pipe.recv()
    except (EOFError, OSError):
        os._exit(1)
