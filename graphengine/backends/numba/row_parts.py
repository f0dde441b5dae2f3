"""Loops over rows in parts that several threads share: whoever is free claims the next part.

How many parts there are depends on the shape alone, and sums over rows are added for each part by itself, then in the
order of the parts. So the bits do not depend on how many threads there are, nor on who computes what. A thread that
comes too late, because all processors are busy, finds nothing left, and nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphengine.backends.numba.parameters import SCRATCH, LoopParameter
from graphengine.backends.numba.team_words import new_words
from graphengine.backends.numba.teams import team_of
from graphengine.backends.one_thread import is_limited

WORTH_SHARING = 2**20
"""Numbers that a group computes at least for another thread to be worth its start."""
PART = 2**13
"""Numbers of the space in a part, or a few more."""
MOST_PARTS = 64
"""Parts at most: each has its own sums for all columns."""
CACHED = 128
"""Bytes that a cache moves at once, at most."""
LONG = 2**14
"""Bytes of a long row."""
MOST_THREADS = 8
"""Threads at most: to wake one takes the caller a few us."""


class RowParts(NamedTuple):
    """How many parts there are, and how many rows each has; the last one may have fewer."""

    number: int
    length: int


def parts_of(rows: int, numbers: int, computed: int) -> RowParts | None:
    """Return the parts of a loop over rows of a space of `numbers`; None if it computes too little to share."""
    if computed < WORTH_SHARING:
        return None
    length = -(-rows // min(MOST_PARTS, -(-numbers // PART)))
    parts = RowParts(-(-rows // length), length)
    return parts if parts.number > 1 else None


def summed(sums: str, parts: str, count: str, apart: str, text: str) -> list[str]:
    """Return the lines that add the sums of all parts, one part after the other, to those of the first."""
    return [
        f"{sums} = {parts}[0]",
        f"s{sums} = flat({sums})",
        f"for part in range(1, {count}):",
        f"    s{parts} = flat({parts}[part * {apart}])",
        f"    for j in range(len(s{sums})):",
        f"        s{sums}[j] = {text.format(f's{sums}[j]', f's{parts}[j]')}",
    ]


def rows_apart(nbytes: int) -> int:
    """Return how far apart are the rows of an array that different threads write: no cache moves numbers of both.

    Long rows are next to each other; it does not matter what their ends take.
    """
    return 1 if nbytes >= LONG else 1 + -(-CACHED // nbytes)


def thread_count() -> int:
    """Return how many threads share a loop: as many as numba has, up to 8, one where BLAS is limited to one.

    numba has as many as there are processors, or as the environment variable `NUMBA_NUM_THREADS` says.
    """
    from numba import config

    return 1 if is_limited() else min(config.NUMBA_NUM_THREADS, MOST_THREADS)  # type: ignore[attr-defined]


class SharedLoop:
    """Runs a loop in as many threads as there are; each has its own scratch memory."""

    def __init__(self, loop: Callable[..., Any], constants: Sequence[Any], operands: Sequence[LoopParameter]) -> None:
        self._loop, self._constants = loop, constants
        self._scratch = [place for place, each in enumerate(operands) if each.role == SCRATCH]

    def __call__(self, *operands: Any) -> Any:
        """Run the loop; return what it returns. Who calls while the team has another call works alone."""
        count = thread_count()
        team = team_of(count - 1) if count > 1 else None
        if team is None or team.is_free.locked():
            return self._loop(0, new_words(), *self._constants, *operands)
        with team.is_free:  # not acquire and try: an interrupt between them would leave it locked
            team.wake()
            return self._loop(0, team.words, *self._constants, *self._own(operands, count))

    def _own(self, operands: Sequence[Any], count: int) -> list[Any]:
        """The operands with scratch memory for some threads."""
        own = list(operands)
        for place in self._scratch:
            row = own[place]
            own[place] = np.empty((count * rows_apart(row.nbytes), *row.shape[1:]), row.dtype)
        return own
