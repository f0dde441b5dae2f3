"""Signals that end a saved training: they wait until nothing is half done, so that it resumes to the same bits.

Ctrl-C, a terminal that is closed and a scheduler that stops a job may come between any two instructions, also while
history, checks and values are being brought up to date. The signal is therefore kept until the iterations at work are
done, about a tenth of a second, and a checkpoint is written.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from graphengine.training.history import Iteration
from graphengine.training.underway import Running

ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
"""The signals that ask a process to end; not each system has all of them."""
_DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)


class Terminated(SystemExit):
    """A signal other than Ctrl-C asked the process to end; the exit code is 128 and its number, as shells have it."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.name = signal.Signals(number).name

    def __reduce__(self) -> tuple[Any, ...]:
        return Terminated, (signal.Signals[self.name].value,), dict(vars(self))


def run_saved(trainer: Running, see: Callable[[Iteration], None]) -> None:
    """Run a training that has a folder for checkpoints, showing each row; a signal ends it with a checkpoint.

    A second Ctrl-C does not wait for that. Other signals may come more than once: `timeout`, for one, sends two.

    Raises
    ------
    KeyboardInterrupt
        If there was a Ctrl-C.
    Terminated
        If there was a SIGTERM or a SIGHUP.
    """
    # closed at once: who keeps a traceback does not keep the folder for checkpoints
    with _kept_signals() as kept, closing(trainer.chunks()) as chunks:
        for row in chunks:
            see(row)
            if kept:
                trainer.save_checkpoint()
                raise _interruption(kept.pop())


def _interruption(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)


def _default_handlers() -> dict[int, Any]:
    """The handlers of the signals that end the process, where nobody has set another one."""
    before = {number: signal.getsignal(number) for number in ENDING}
    return {number: handler for number, handler in before.items() if handler in _DEFAULTS}


@contextmanager
def _kept_signals() -> Iterator[list[int]]:
    """A list that gets the first signal that is to end the process, if this thread may say so and nobody else does.

    Signals that are ignored, as SIGHUP is under nohup, stay ignored. What is left in the list ends the process, too.
    """
    kept: list[int] = []

    def keep(number: int, frame: Any) -> None:
        if kept and number == signal.SIGINT:
            kept.clear()
            signal.default_int_handler(number, frame)
        if not kept:
            kept.append(number)

    mine = _default_handlers() if threading.current_thread() is threading.main_thread() else {}
    for number in mine:
        signal.signal(number, keep)
    try:
        yield kept
    finally:
        for number, handler in mine.items():
            signal.signal(number, handler)
        if kept:
            raise _interruption(kept[0])
