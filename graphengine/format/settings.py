"""Settings: a path into the content of a file, and the value to put there before the content is checked."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

from graphengine.errors import UsageError, did_you_mean


def keys_of(path: str) -> list[str]:
    """Return the keys of a path: `training.epochs`, or, where a key has a dot, the pointer `/parameters/w.1/value`."""
    if not path.startswith("/"):
        return path.split(".")
    return [key.replace("~1", "/").replace("~0", "~") for key in path[1:].split("/")]


def with_value(content: Any, keys: Sequence[str], value: Any, what: str) -> Any:
    """Return content with a value at a place; `what` names the setting. The content given is not changed.

    Raises
    ------
    UsageError
        GE801 if the keys lead into a number or a string, or to an element that an array does not have.
    """
    *parents, last = keys
    changed = container = copy(content)
    for key in parents:
        place = _place(container, key, what)
        inner = copy(container.get(place, {}) if isinstance(container, dict) else container[place])
        container[place] = inner
        container = inner
    container[_place(container, last, what)] = value
    return changed


def _place(container: Any, key: str, what: str) -> Any:
    """Where in an object or an array a key points: in an array it is an index, or the id of an element."""
    if isinstance(container, dict):
        return key
    if not isinstance(container, list):
        raise UsageError(f"{what}: there is no '{key}' inside a value that is neither object nor array")
    return _index(container, key, what)


def _index(elements: list[Any], key: str, what: str) -> int:
    ids = _ids(elements)
    places = {**{str(index): index for index in range(len(elements))}, **ids}
    if key not in places:
        hint = did_you_mean(key, ids, "elements") if ids else f"number of elements: {len(elements)}"
        raise UsageError(f"{what}: there is no element '{key}'", hint=hint)
    return places[key]


def _ids(elements: list[Any]) -> dict[str, int]:
    """The indices of the elements that have an id, by that."""
    return {item["id"]: index for index, item in enumerate(elements) if isinstance(item, dict) and _has_name(item)}


def _has_name(element: dict[str, Any]) -> bool:
    return isinstance(element.get("id"), str)
