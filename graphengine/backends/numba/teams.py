"""Threads that help with loops in machine code, without Python's lock.

A thread that sleeps begins some 30 us after it is woken, and has to take Python's lock first, while a loop over rows
takes 250. So a helper that has worked looks for the next call in machine code for about 100 us before it sleeps, and
lets whoever waits for its processor run meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from threading import Lock, Thread
from typing import Any

import numpy as np

from graphengine.backends.numba.compiling import compiled
from graphengine.backends.numba.team_words import new_words
from graphengine.ops.shapes import ArrayType

WORD = np.dtype(np.int64)
MEMBER_AND_TEAM = [(ArrayType((), WORD), False), (ArrayType((1,), WORD), False)]
"""The types of the number of a thread, 0 for the caller, and of the words of its team."""
LOOKS = 256
"""How often a helper looks for a call before it sleeps."""
SERVE = """def serve(member, team, last, most):
    looks = 0
    while looks < most:
        call = offered_call(team)
        if call == 0 or call == last:
            looks += 1
            yield_processor(team)
        else:
            help_with(member, team, call)
            last = call
            looks = 0
    return last
"""
"""What a helper does while it is awake; `last` is the number of the last call that it took part in."""


class Team:
    """A caller and its helpers, which start when it first wakes them; `words` is what they share."""

    def __init__(self, helpers: int) -> None:
        self.words, self.is_free = new_words(), Lock()
        self._helpers, self._has_started = helpers, False
        self._wakes: list[Any] = []

    def wake(self) -> None:
        """Let the helpers look for a call; one that has not slept yet does it once more."""
        if not self._has_started:
            self._start()
        for each in self._wakes:
            if each.locked():
                each.release()

    def _start(self) -> None:
        """Start the helpers that are missing: all of them, or the rest if the user interrupted this."""
        serve = compiled(SERVE, "serve", [*MEMBER_AND_TEAM, *[MEMBER_AND_TEAM[0]] * 2], {}, is_shared=True)
        with suppress(RuntimeError):  # no thread can be started: the process ends, or has as many as it may
            while len(self._wakes) < self._helpers:
                wake = Lock()
                wake.acquire()
                Thread(target=_help, args=(serve, len(self._wakes) + 1, self.words, wake), daemon=True).start()
                self._wakes.append(wake)
        self._has_started = True


TEAMS: dict[int, Team] = {}
"""The teams of this process, by how many helpers they have."""


def _help(serve: Callable[..., int], member: int, words: Any, wake: Any) -> None:
    last = 0
    while True:
        wake.acquire()
        last = serve(member, words, last, LOOKS)


def team_of(helpers: int) -> Team:
    """Return the team of this process with as many helpers, which sleep while there is no call."""
    return TEAMS.get(helpers) or TEAMS.setdefault(helpers, Team(helpers))


if hasattr(os, "register_at_fork"):  # a forked process has no thread of its parent
    os.register_at_fork(after_in_child=TEAMS.clear)
