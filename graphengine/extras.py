"""Packages that only some users need: imported where they are used, and asked for by name where they are missing."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from graphengine.errors import UsageError


def optional(module: str, extra: str) -> Any:
    """A module of an optional package; `extra` is the group of pyproject.toml that installs it.

    Raises
    ------
    UsageError
        GE803 if the package is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise _missing(module, extra) from error


def require(module: str, extra: str) -> None:
    """Raise as `optional` where a package is not installed, without importing it."""
    if find_spec(module) is None:
        raise _missing(module, extra)


def _missing(module: str, extra: str) -> UsageError:
    package = module.partition(".")[0]
    hint = f"pip install 'graphengine[{extra}]'"
    return UsageError(f"this needs the package '{package}', which is not installed", code="GE803", hint=hint)
