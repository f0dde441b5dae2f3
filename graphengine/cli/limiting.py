"""`--limit`: how much a file may ask for, in place of the limits that hold otherwise, for the command that runs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import fields, replace

from graphengine.cli.options import split_pairs
from graphengine.errors import UsageError, did_you_mean
from graphengine.limits import DEFAULT, Limits

KNOWN = tuple(field.name for field in fields(Limits))
UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}

_LIMITS: ContextVar[Limits] = ContextVar("limits", default=DEFAULT)


def current_limits() -> Limits:
    """The limits of the command that runs."""
    return _LIMITS.get()


def set_limits(pairs: Iterable[str]) -> None:
    """Take `NAME=SIZE` from the command line; a size is an integer, with a unit such as MiB if it counts bytes.

    Raises
    ------
    UsageError
        GE801 for what is no limit or no size.
    """
    limits = DEFAULT
    for name, text in split_pairs("--limit", pairs):
        size = re.fullmatch(r"([0-9]{1,18})([KMGT]iB)?", text)
        if name not in KNOWN:
            raise UsageError(f"there is no limit '{name}'", hint=did_you_mean(name, KNOWN, "limits"))
        if size is None:
            raise UsageError(f"--limit {name}: a size is an integer such as 1000 or 4GiB, not '{text}'")
        limits = replace(limits, **{name: int(size[1]) * UNITS[size[2] or ""]})
    _LIMITS.set(limits)
