"""The garbage collector, paused while something large is built.

Parsing and building make millions of objects and no garbage. The collector, which runs after every few hundred new
objects, would look at all of them again and again, and triple the time.
"""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

MANY = 100_000
"""New objects from which on a first look at them takes longer than it is worth."""


FROZEN_BY_PYTHON = min(gc.get_freeze_count(), 1000) if sys.version_info[:2] == (3, 12) else 0
"""Objects that Python 3.12 itself keeps frozen, some 400: a collection freezes the immortal ones, always as many.

A caller's are thousands, and must not be taken for these.
"""


def skip_at_exit() -> None:
    """Let the collections at the end of this process find nothing to look at: the system takes all memory back.

    Python makes two, and each would look at every function and class that was imported.
    """
    atexit.register(gc.freeze)


@contextmanager
def paused(many: int = MANY) -> Iterator[None]:
    """No collection inside; also a decorator, `@paused()`.

    More than `many` new objects are called old at the end, by freezing and unfreezing: else the next collection would
    look at each of them. A command, whose modules and model stay as long as its process, does so with any. What makes
    them must leave no cycles, which would stay until the next full collection. Where a caller has frozen objects, those
    must stay so.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if gc.get_count()[0] > many and gc.get_freeze_count() <= FROZEN_BY_PYTHON:
                gc.freeze()
                gc.unfreeze()
            gc.enable()
