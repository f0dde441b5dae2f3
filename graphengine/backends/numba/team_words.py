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
YIELD = 20
"""The system's function that lets another thread run."""
INSIDE = 32
"""How many helpers are inside the call."""
WORDS = 48


def new_words() -> Any:
    """Return the words of a team that has no call."""
    words = np.zeros(WORDS, np.int64)
    words[YIELD] = _yield_address()
    return words


@cache
def _yield_address() -> int:
    if sys.platform == "win32":
        function: Any = ctypes.windll.kernel32.SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    return ctypes.cast(function, ctypes.c_void_p).value or 0
