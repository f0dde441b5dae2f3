"""The words that the threads of a team share: integers in one array, those that different threads write far apart."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

import numpy as np

CLAIMS, FIRST, LAST = 0, 1, 2
"""How many parts of the rows are claimed, by the caller from the first one on, by helpers from the last one on."""
CALL, NUMBER = 16, 17
"""The number of the call that is offered, 0 if there is none, and of the last one."""
FRAME, ENTRY = 18, 19
"""Where the arguments of the call are, and the function that takes part in it."""
YIELD, GET_MODES, SET_MODES = 20, 21, 22
"""Functions of the system: let another thread run, get and set how the thread computes with floating-point numbers."""
MODES = 24
"""How the caller rounds, and whether it flushes subnormal numbers to zero: a `fenv_t`, of 32 bytes or fewer."""
INSIDE = 32
"""How many helpers are inside the call."""
WORDS = 48


def new_words() -> Any:
    """Return the words of a team that has no call."""
    words = np.zeros(WORDS, np.int64)
    words[YIELD : SET_MODES + 1] = _addresses()
    return words


@cache
def _addresses() -> list[int]:
    """The addresses of the system's functions."""
    if sys.platform == "win32":
        library: Any = ctypes.cdll.ucrtbase
        yielded: Any = ctypes.windll.kernel32.SwitchToThread
    else:
        library = ctypes.CDLL(None)
        yielded = library.sched_yield
    functions = [yielded, library.fegetenv, library.fesetenv]
    return [ctypes.cast(each, ctypes.c_void_p).value or 0 for each in functions]
