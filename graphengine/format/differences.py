"""What is different between two models: nodes, wiring, attributes, values; order and formatting do not count.

What is written in two ways and means the same (inputs by order or by name, an attribute with its default) is no
difference. Names and descriptions of the model and its parts are shown, but change nothing of what is computed: what is
left is no difference exactly where the fingerprints are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from graphengine.format.documents import ModelDocument
from graphengine.format.meaning import Path, is_text, meaning, same
from graphengine.wording import shown

Kind: TypeAlias = Literal["added", "removed", "rewired", "changed"]

NOTHING: Any = object()
"""Marks what is not there, where null may be there."""


class Difference(NamedTuple):
    """One place in which two models differ; `before` or `after` is `NOTHING` where there is nothing."""

    kind: Kind
    path: Path
    before: Any
    after: Any

    @property
    def changes_meaning(self) -> bool:
        """Whether what the model computes may be another."""
        return not is_text(self.path)

    def as_dict(self) -> dict[str, Any]:
        """The difference as a JSON object, with null for what is not there."""
        values = {key: None if value is NOTHING else value for key, value in self._asdict().items()}
        return {**values, "path": list(self.path), "changes_meaning": self.changes_meaning}

    def __str__(self) -> str:
        mark = {"added": "+", "removed": "-"}.get(self.kind, "~")
        change = " -> ".join(_shown(value) for value in (self.before, self.after) if value is not NOTHING)
        note = _distance(self.before, self.after)
        rewired = " (rewired)" if self.kind == "rewired" else ""
        return f"{mark} {'.'.join(self.path)}: {change}{note}{rewired}"


def differences(before: ModelDocument, after: ModelDocument) -> list[Difference]:
    """All places in which two models differ, those that change what is computed first."""
    found = _compared((), meaning(before), meaning(after))
    return sorted(found, key=lambda each: not each.changes_meaning)


def _compared(path: Path, before: Any, after: Any) -> Iterator[Difference]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys((*before, *after)):
            yield from _compared((*path, key), before.get(key, NOTHING), after.get(key, NOTHING))
    elif not _agree(path, before, after):
        yield Difference(_kind(path, before, after), path, before, after)


def _agree(path: Path, before: Any, after: Any) -> bool:
    """Whether two values are the same; of an order what comes or goes is reported elsewhere."""
    if before is NOTHING or after is NOTHING:
        return False
    is_order = path[-2:-1] == ("order",)
    return same(before, after) or (is_order and set(before) != set(after))


def _kind(path: Path, before: Any, after: Any) -> Kind:
    if path[-2:-1] == ("inputs",) and path[-4:-3] == ("nodes",):
        return "rewired"
    if before is NOTHING:
        return "added"
    return "removed" if after is NOTHING else "changed"


def _shown(value: Any) -> str:
    """A value on one line; a node as Python writes a call."""
    if isinstance(value, dict) and value.keys() >= {"op", "inputs", "attributes"}:
        given = [f"{name}={item}" for name, item in {**value["inputs"], **value["attributes"]}.items()]
        return f"{value['op']}({', '.join(given)})"
    return shown(value)


def _distance(before: Any, after: Any) -> str:
    """By how much two arrays of numbers differ at most."""
    if not (isinstance(before, list) and isinstance(after, list)):
        return ""
    try:
        first, second = np.asarray(before, np.float64), np.asarray(after, np.float64)
    except (ValueError, TypeError):
        return ""
    return f" (by at most {np.abs(first - second).max():.6g})" if first.shape == second.shape and first.size else ""
