"""Threads that share the parts of a computation. Shapes fix the parts, so how many threads there are changes no bit."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported where there are threads
    from concurrent.futures import ThreadPoolExecutor


@cache
def threads(count: int) -> ThreadPoolExecutor:
    """Return as many threads, which wait for work as long as the process runs."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(count, "graphengine-part")


if hasattr(os, "register_at_fork"):  # a forked process has no thread of its parent
    os.register_at_fork(after_in_child=threads.cache_clear)
