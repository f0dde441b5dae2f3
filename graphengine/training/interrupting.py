"""Ctrl-C in a training that is saved: it waits until nothing is half done, so that all bits are the same if it goes on.

An interruption may come between any two instructions, also while history, checks and values are being brought up to
date. The first one is therefore kept until the iterations at work are done, about a tenth of a second.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from graphengine.fit.solvers import Solver
from graphengine.training.history import Iteration
from graphengine.training.loop import Trainer


def run_to_end(trainer: Trainer | Solver, see: Callable[[Iteration], None] = lambda row: None) -> None:
    """Run a training, showing each row; a Ctrl-C ends one that has a folder for checkpoints with a checkpoint.

    A second Ctrl-C does not wait for that.

    Raises
    ------
    KeyboardInterrupt
        If there was a Ctrl-C.
    """
    with _kept_interrupts(trainer.checkpoints is not None) as kept:
        for row in trainer.chunks():
            see(row)
            if kept:
                trainer.save_checkpoint()
                raise KeyboardInterrupt


@contextmanager
def _kept_interrupts(wanted: bool) -> Iterator[list[int]]:
    """A list that gets the first Ctrl-C instead of an exception, if this thread may say so and nobody else does."""
    kept: list[int] = []

    def keep(number: int, frame: Any) -> None:
        if kept:
            signal.default_int_handler(number, frame)
        kept.append(number)

    is_main = threading.current_thread() is threading.main_thread()
    if not (wanted and is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler):
        yield kept
        return
    signal.signal(signal.SIGINT, keep)
    try:
        yield kept
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
