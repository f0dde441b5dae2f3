"""A function that calls back, as a generator: it runs in its own thread, while the generator waits for it.

SciPy's solvers call back after each step and cannot be asked for the next one. Here the two take turns: nothing moves
while the caller of the generator looks, and when the generator is left the function is over.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from graphengine.errors import TrainingError

LOOK_SECONDS = 0.1
"""How long a wait is at most: a signal that comes just before one begins is heard when it is over."""


class LeftError(Exception):
    """Ends a function whose generator was left."""


class Turn:
    """What the function gets: `hand_over` where the generator is to give something, `check` anywhere in between."""

    def __init__(self) -> None:
        self.given: SimpleQueue[Any] = SimpleQueue()
        """What the generator gives; None once the function is over."""
        self.asked: SimpleQueue[None] = SimpleQueue()
        self.is_left = False
        self.failure: BaseException | None = None

    def next_given(self) -> Any:
        """The next value for the generator, waited for."""
        while True:
            with suppress(Empty):
                return self.given.get(timeout=LOOK_SECONDS)

    def hand_over(self, value: Any) -> None:
        """Let the generator give a value, and wait while it is the turn of the caller; raises as `check`."""
        self.given.put(value)
        self.asked.get()
        self.check()

    def check(self) -> None:
        """Raise LeftError if the generator was left."""
        if self.is_left:
            raise LeftError

    def run(self, function: Callable[[Turn], None]) -> None:
        """Run the function to its end, and keep what it raises."""
        try:
            function(self)
        except LeftError:
            pass
        except BaseException as error:  # noqa: BLE001 (raised again where the generator waits)
            self.failure = error
        self.given.put(None)


def in_turns(function: Callable[[Turn], None]) -> Generator[Any, None, None]:
    """Run a function, giving what it hands over, which is not None; raises what the function raises.

    Raises
    ------
    TrainingError
        GE602 in a fork of the process that began it.
    """
    turn = Turn()
    # daemon: a generator that nobody asks any more must not keep Python from ending
    thread = Thread(target=copy_context().run, args=(turn.run, function), daemon=True)
    thread.start()
    try:
        while (value := turn.next_given()) is not None:
            yield value
            if not thread.is_alive():  # it waits, unless this process is a fork, which has no thread but its own
                raise TrainingError("a training by a solver resumes only in the process that began it")
            turn.asked.put(None)
    except BaseException:  # the generator is closed, or the wait interrupted
        turn.is_left = True
        turn.asked.put(None)
        raise
    finally:
        if not sys.is_finalizing():  # at the end of Python the thread moves no more
            thread.join()
    if turn.failure is not None:
        raise turn.failure
