"""Loops over rows in parts that several threads share: whoever is free claims the next part.

How many parts there are depends on the shape alone, and sums over rows are added for each part by itself, then in the
order of the parts. So the bits do not depend on how many threads there are, nor on who computes what. A thread that
comes too late, because all processors are busy, finds nothing left, and nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from graphengine.backends.numba.parameters import SCRATCH, LoopParameter
from graphengine.backends.one_thread import is_limited
from graphengine.backends.threads import threads
from graphengine.ops.shapes import ArrayType

WORTH_SHARING = 2**20
"""Numbers that a group computes at least for another thread to be worth its start."""
PART = 2**13
"""Numbers of the space in a part, or a few more."""
MOST_PARTS = 64
"""Parts at most: each has its own sums for all columns."""
CLAIMS = [(ArrayType((1,), np.dtype(np.int64)), False), (ArrayType((), np.dtype(np.bool_)), True)]
"""The types of `claims`, the number of the next part, and `ends`, whether the loop finishes the sums of all parts."""


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


def summed(sums: str, parts: str, count: str, text: str) -> list[str]:
    """Return the lines that add the sums of all parts, one part after the other, to those of the first."""
    return [
        f"{sums} = {parts}[0]",
        f"s{sums} = flat({sums})",
        f"for part in range(1, {count}):",
        f"    s{parts} = flat({parts}[part])",
        f"    for j in range(len(s{sums})):",
        f"        s{sums}[j] = {text.format(f's{sums}[j]', f's{parts}[j]')}",
    ]


def thread_count() -> int:
    """Return how many threads share a loop: as many as numba has, one where BLAS is limited to one.

    numba has as many as there are processors, or as the environment variable `NUMBA_NUM_THREADS` says.
    """
    from numba import config

    return 1 if is_limited() else config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]


class SharedLoop:
    """Runs a loop in as many threads as there are; each has its own scratch memory."""

    def __init__(self, loop: Callable[..., Any], constants: Sequence[Any], operands: Sequence[LoopParameter]) -> None:
        self._loop, self._constants = loop, constants
        self._scratch = [place for place, each in enumerate(operands) if each.role == SCRATCH]

    def __call__(self, *operands: Any) -> Any:
        """Run the loop; return what it returns."""
        claims = np.zeros(1, np.int64)
        helpers = thread_count() - 1
        if helpers:
            self._share(helpers, claims, operands)
        return self._loop(claims, True, *self._constants, *operands)

    def _share(self, helpers: int, claims: Any, operands: Sequence[Any]) -> None:
        """Compute all parts, with the help of other threads."""
        from concurrent.futures import Future, wait

        given = list(operands)
        tasks: list[Future[None]] = []
        try:
            with suppress(RuntimeError):  # no thread can be started: the process ends, or has as many as it may
                tasks.extend(threads(helpers).submit(self._help, claims, given) for _ in range(helpers))
            self._loop(claims, False, *self._constants, *operands)
        finally:
            begun = [task for task in tasks if not task.cancel()]
            wait(begun)
            given.clear()  # a canceled task is kept until a thread is free, and must not keep arrays for so long
        for task in begun:
            task.result()

    def _help(self, claims: Any, given: Sequence[Any]) -> None:
        own = list(given)
        for place in self._scratch:
            own[place] = np.empty_like(own[place])
        self._loop(claims, False, *self._constants, *own)
