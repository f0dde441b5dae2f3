"""A file that is wrong in a million places is cut to the first of them before pydantic looks at it.

pydantic collects all errors, a kilobyte each, and only a hundred are reported. So wrong elements, and everything after
the last of them that is reported, are left out. What is counted as wrong is wrong whatever else the file says: no
member of a union takes it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import FailFast, TypeAdapter, ValidationError

from graphengine.errors import MOST_REPORTED
from graphengine.format.annotations import fields_of, is_document, members_of
from graphengine.format.kinds import Kinds

Element = TypeVar("Element")
_FEW = 16
"""Elements that are looked at one by one without asking first whether all of them, but the large ones, are right."""


def pruned(content: Any, document: Any, *, strict: bool = True) -> Any:
    """Return the content of a document without what is wrong beyond what is reported.

    Not `strict` for a class that converts what it is given, as those of ops make tuples of lists.
    """
    return _Pruning(strict).of(content, [document])


class _Pruning:
    """One walk over a content; `left` is how many more problems are wanted."""

    def __init__(self, strict: bool) -> None:
        self.left, self._strict = MOST_REPORTED + 1, strict

    def of(self, value: Any, places: Iterable[Any]) -> Any:
        """Return a value that has to be one of the `places` without what is not wanted of it."""
        if not isinstance(value, (dict, list)):
            return value
        members = list(itertools.chain.from_iterable(map(members_of, places)))
        if isinstance(value, list):
            kinds = [kind for kind, *_ in _arguments(members, list, tuple, Sequence)]
            return self._list(value, kinds) if kinds else value
        return self._keyed(value, members)

    def _keyed(self, value: dict[str, Any], members: Sequence[Any]) -> dict[str, Any]:
        tables = _arguments(members, dict)
        documents = [fields_of(each) for each in members if is_document(each)]
        if bool(tables) == bool(documents):
            return value
        return self._table(value, *zip(*tables, strict=True)) if tables else self._object(value, documents)

    def _list(self, value: list[Any], kinds: Sequence[Any]) -> list[Any]:
        small = list(itertools.filterfalse(_is_large, value))
        are_right = len(small) > _FEW and self._are_accepted(small, kinds)
        if are_right and len(small) == len(value):
            return value
        suspect: Callable[[Any], bool] = _is_large if are_right else _always
        return [self._element(each, kinds) if suspect(each) else each for each in self._wanted(value)]

    def _wanted(self, elements: Iterable[Element]) -> Iterator[Element]:
        """Yield the elements, at least one, until no more problems are wanted."""
        for count, element in enumerate(elements):
            if count and self.left <= 0:
                return
            yield element

    def _table(self, value: dict[str, Any], names: Sequence[Any], kinds: Sequence[Any]) -> dict[str, Any]:
        """An object with any keys."""
        if self._accepted(list(value), names) and self._accepted(list(value.values()), kinds):
            return value
        kept: dict[str, Any] = {}
        for key, element in self._wanted(value.items()):
            before = self.left
            kept[key] = self._element(element, kinds)
            if self.left == before and not self._are_accepted([key], names):
                self.left -= 1
        return kept

    def _object(self, value: dict[str, Any], documents: Sequence[dict[Any, Any]]) -> dict[str, Any]:
        """An object whose keys are known; of one whose type is none pydantic says nothing else."""
        documents = _of_type(value.get("type"), documents)
        if not documents:
            return value
        kept = {}
        for key, element in value.items():
            places = [fields[key] for fields in documents if key in fields]
            if places:
                kept[key] = self.of(element, places)
            elif self.left > 0:
                kept[key] = element
                self.left -= 1
        return kept

    def _element(self, element: Any, kinds: Sequence[Any]) -> Any:
        """An element, counted as one problem if it is wrong and nothing in it is."""
        before = self.left
        found = self.of(element, kinds)  # first what is inside, because pydantic would collect all that is wrong there
        if self.left == before and not self._are_accepted([found], kinds):
            self.left -= 1
        return found

    def _accepted(self, elements: list[Any], kinds: Sequence[Any]) -> bool:
        """Whether all of many elements are right; that is not asked of few, nor of large ones."""
        return len(elements) > _FEW and not any(map(_is_large, elements)) and self._are_accepted(elements, kinds)

    def _are_accepted(self, elements: list[Any], kinds: Iterable[Any]) -> bool:
        return any(self._is_valid(elements, kind) for kind in kinds)

    def _is_valid(self, elements: list[Any], kind: Any) -> bool:
        try:
            _adapter(kind).validate_python(elements, strict=self._strict)
        except ValidationError:
            return False
        return True


def _arguments(kinds: Iterable[Any], *origins: Any) -> list[tuple[Any, ...]]:
    """The arguments of those generic types that are made of one of the `origins`."""
    return [get_args(each) for each in kinds if get_origin(each) in origins]


def _of_type(kind: Any, documents: Sequence[dict[Any, Any]]) -> Sequence[dict[Any, Any]]:
    """The documents that have a type, if all have one."""
    if not all("type" in fields for fields in documents):
        return documents
    return [fields for fields in documents if kind in get_args(fields["type"])]


def _always(_: Any) -> bool:
    return True


def _is_large(element: Any) -> bool:
    """Whether much can be wrong in one element."""
    parts = element.values() if isinstance(element, dict) else element if isinstance(element, list) else ()
    return len(parts) > MOST_REPORTED or any(
        isinstance(part, (dict, list)) and len(part) > MOST_REPORTED for part in parts
    )


_ADAPTERS: dict[tuple[int, int], tuple[Any, TypeAdapter[Any]]] = {}
"""By the identity of an annotation, which is kept: annotations have no hash."""


def _adapter(kind: Any) -> TypeAdapter[Any]:
    key = (id(kind), Kinds.changes)
    if key not in _ADAPTERS:
        _ADAPTERS[key] = (kind, TypeAdapter(Annotated[list[kind], FailFast()]))
    return _ADAPTERS[key][1]
