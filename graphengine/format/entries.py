"""Some entries of a mapping, in its order: those under given names, or all others."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, TypeVar

Value = TypeVar("Value")


def only(entries: Mapping[str, Value], names: Container[Any]) -> dict[str, Value]:
    """Return the entries under these names."""
    return {name: value for name, value in entries.items() if name in names}


def without(entries: Mapping[str, Value], names: Container[Any]) -> dict[str, Value]:
    """Return the entries under other names than these."""
    return {name: value for name, value in entries.items() if name not in names}
