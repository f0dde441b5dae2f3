"""Tasks in processes of this machine: a process that dies is replaced, and its tasks are done again.

No process outlives the one that started it: each holds one end of a pipe, and ends when the other end is gone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from graphengine.errors import GraphEngineError

Task = TypeVar("Task")
Result = TypeVar("Result")
MOST_DEATHS = 5
"""How often processes may die one after the other with no task done in between."""


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
        except BrokenProcessPool:
            died()
            deaths = deaths + 1 if len(pending) == before else 1
            if deaths >= MOST_DEATHS:
                message = f"a process died {deaths} times, and no task was done in between"
                hint = "use fewer workers if the memory was used up; what is done is kept"
                raise GraphEngineError(message, code="GE418", hint=hint) from None


def _until_one_dies(
    work: Callable[[Any, Task], Result], common: Any, pending: dict[int, Task], workers: int
) -> Iterator[tuple[Task, Result]]:
    """Do the tasks that are pending, and take out each one that is done."""
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(min(workers, len(pending)), context, _begin, (theirs,))
    try:
        places = {pool.submit(work, common, task): place for place, task in pending.items()}
        for future in as_completed(places):
            result = future.result()
            yield pending.pop(places[future]), result
    except BaseException:
        ours.close()  # an interruption, too, ends the processes at once
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        ours.close()
        theirs.close()


def _begin(pipe: Connection) -> None:
    """Begin a process: an interruption is the business of the one that started it, and it ends with that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()


def _end_with(pipe: Connection) -> None:
    try:
        pipe.recv()
    except (EOFError, OSError):
        os._exit(1)
