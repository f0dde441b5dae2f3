"""Parts of mappings: the items with some keys, all but these, those whose value is there; and values renamed.

Of any collection: the members that another one has, and those that it lacks. Of a cache: an item, made if it is not
there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, TypeVar

KeyT = TypeVar("KeyT")
ItemT = TypeVar("ItemT")


def only(items: Mapping[KeyT, ItemT], keys: Container[object]) -> dict[KeyT, ItemT]:
    """Return the items that have one of the keys, in their order."""
    return {key: item for key, item in items.items() if key in keys}


def without(items: Mapping[KeyT, ItemT], keys: Container[object]) -> dict[KeyT, ItemT]:
    """Return the items that have none of the keys, in their order."""
    return {key: item for key, item in items.items() if key not in keys}


def picked(items: Mapping[KeyT, ItemT], keys: Iterable[KeyT]) -> dict[KeyT, ItemT]:
    """Return the items that have these keys, in the order of the keys; raises KeyError if there is none."""
    return {key: items[key] for key in keys}


def selected(items: Mapping[KeyT, ItemT], keys: Iterable[KeyT]) -> dict[KeyT, ItemT]:
    """Return the items that have one of the keys, in the order of the keys."""
    return {key: items[key] for key in keys if key in items}


def present(members: Iterable[ItemT], there: Container[object]) -> list[ItemT]:
    """Return those members that are there, in their order."""
    return [member for member in members if member in there]


def absent(members: Iterable[ItemT], there: Container[object]) -> list[ItemT]:
    """Return those members that are not there, in their order."""
    return [member for member in members if member not in there]


def without_none(items: Mapping[KeyT, ItemT | None]) -> dict[KeyT, ItemT]:
    """Return the items whose value is not None."""
    return {key: item for key, item in items.items() if item is not None}


def with_renamed(items: Mapping[KeyT, ItemT], names: Mapping[Any, Any]) -> dict[KeyT, ItemT]:
    """Return the items, each value as `names` has it; those that it does not have stay."""
    return {key: names.get(item, item) for key, item in items.items()}


def kept(known: OrderedDict[Any, ItemT], key: Any, most: int, make: Callable[[], ItemT]) -> ItemT:
    """Return what is known under a key, or else is made; of all others, those that were used last stay."""
    value = known.pop(key, None) or make()
    known[key] = value
    while len(known) > most:
        known.popitem(last=False)
    return value
