"""Line and column of a JSON Pointer in a file. Runs only once something is wrong.

Only the containers on the way to a wanted place are read here; all other values are skipped by the scanner of Python's
`json`, which is written in C.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from graphengine.errors import pointer_key

_SPACE = re.compile(r"[ \t\r\n]*")
_NO_SPACE = frozenset('[]{},:"')
_DECODER: Any = json.JSONDecoder(strict=False, parse_int=bool, parse_float=bool)  # a number takes no memory
_SCAN = _DECODER.scan_once
_CLOSING = {"[": "]", "{": "}"}
_LONGEST_INDEX = 12
"""Digits that no index of an element has: keys of objects may look like one, and be longer than Python reads."""
_LEAP = 4096
_NUMBERS = re.compile(rf'(?:[^\[\]{{}}",]*,){{1,{_LEAP}}}+')
"""Elements of an array that are neither strings nor have any inside, so many at most, each with its comma."""


def find_positions(text: str, pointers: Iterable[str], of_keys: Collection[str] = ()) -> dict[str, tuple[int, int]]:
    """Line and column, both from 1, of the values at the given JSON Pointers, and of the keys at those in `of_keys`.

    A pointer to a key that is not there gets the position of its nearest container that is. `text` must be JSON.
    """
    wanted = set(pointers)
    inside: dict[str, set[str]] = {}
    for pointer in wanted:
        for start, end in itertools.pairwise(_cuts(pointer)):
            inside.setdefault(pointer[:start], set()).add(pointer[start + 1 : end])
    offsets = _offsets(text, inside, of_keys)
    lines = Lines(text)
    places = {pointer: offsets[_nearest(pointer, offsets)] for pointer in wanted}
    return {pointer: lines.place(places[pointer]) for pointer in sorted(wanted, key=places.__getitem__)}


def _cuts(pointer: str) -> list[int]:
    return [*(slash.start() for slash in re.finditer("/", pointer)), len(pointer)]


def _nearest(pointer: str, offsets: dict[str, int]) -> str:
    return max((pointer[:cut] for cut in _cuts(pointer) if pointer[:cut] in offsets), key=len)


def _offsets(text: str, inside: Mapping[str, Collection[str]], of_keys: Collection[str]) -> dict[str, int]:
    """Offsets of the text's value and of what is wanted inside it: of each container by its pointer, the keys.

    Of a duplicate key it is the offset of the value that counts.
    """
    found: dict[str, int] = {}
    walk = _PointerWalk(text, inside)
    while True:
        if walk.pointer is not None:
            found[walk.pointer] = walk.member if walk.pointer in of_keys else walk.place
        walk.enter_or_skip()
        if not walk.stack:
            return found
        walk.go_to_member()


class _PointerWalk:
    """A walk over a text, into the containers that have something wanted `inside`, from one value to the next.

    `pointer` is that of the value at the `place`, None inside a container for what is not wanted there. Its key, or it
    itself if it has none, begins at `member`. The stack has the pointer of each open container, what closes it, and how
    many members are before this one.
    """

    def __init__(self, text: str, inside: Mapping[str, Collection[str]]) -> None:
        self._text, self._inside = text, inside
        self._indices = dict(zip(inside, map(_indices, inside.values()), strict=True))
        self.place = self.member = _behind_space(text, 0)
        self.pointer: str | None = ""
        self.stack: list[tuple[str, str, int]] = []

    def enter_or_skip(self) -> None:
        """Go into a container if something in it is wanted, else past the value; then past what ends there."""
        closing = _CLOSING.get(self._text[self.place])
        if closing and self.pointer is not None and self.pointer in self._inside:
            self.stack.append((self.pointer, closing, 0))
            self.place = _behind_space(self._text, self.place + 1)
        else:
            self.place = _behind_space(self._text, _SCAN(self._text, self.place)[1])
        self.place = _closed(self._text, self.place, self.stack)

    def go_to_member(self) -> None:
        """Go to the next member of the innermost container."""
        container, closing, count = self.stack.pop()
        if self._text[self.place] == ",":
            count, self.place = count + 1, _behind_space(self._text, self.place + 1)
        if closing == "]":
            self.place, count = _leapt(self._text, self.place, count, self._indices[container])
        self.stack.append((container, closing, count))
        self.member = self.place
        part, self.place = _key(self._text, self.place) if closing == "}" else (str(count), self.place)
        self.pointer = f"{container}/{part}" if part in self._inside[container] else None


def _closed(text: str, place: int, stack: list[tuple[str, str, int]]) -> int:
    """Take the containers that end at a place off the stack; the place after them."""
    while stack and text[place] == stack[-1][1]:
        stack.pop()
        place = _behind_space(text, place + 1)
    return place


def _indices(parts: Iterable[str]) -> list[int]:
    return sorted(int(part) for part in parts if part.isdecimal() and len(part) < _LONGEST_INDEX)


def _key(text: str, place: int) -> tuple[str, int]:
    """The key of a member as part of a pointer, and where its value begins."""
    key, place = _SCAN(text, place)
    return pointer_key(key), _behind_space(text, _behind_space(text, place) + 1)  # the colon


def _leapt(text: str, place: int, count: int, wanted: list[int]) -> tuple[int, int]:
    """The place and the index of an element of an array, a little before the next wanted one if numbers lead there."""
    if text[place] in '[{"':
        return place, count
    following = bisect_left(wanted, count)
    target = wanted[following] if following < len(wanted) else math.inf
    while count + _LEAP < target and (run := _NUMBERS.match(text, place)):
        count += text.count(",", place, run.end())
        place = _behind_space(text, run.end())
    return place, count


def _behind_space(text: str, place: int) -> int:
    return place if text[place : place + 1] in _NO_SPACE else _SPACE.match(text, place).end()  # type: ignore[union-attr]


def path_of(pointer: str, value: Any) -> tuple[str | int, ...]:
    """The keys and indices in a JSON Pointer as far as the value has them, and the first that it does not have."""
    path: list[str | int] = []
    for part in pointer.split("/")[1:]:
        key: Any = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and key.isdecimal() and len(key) < _LONGEST_INDEX:
            key = int(key)
        path.append(key)
        if not has_part(value, key):
            break
        value = value[key]
    return tuple(path)


def has_part(value: Any, part: str | int) -> bool:
    """Whether an object has a key or an array an index; nothing else has any."""
    if isinstance(value, dict):
        return part in value
    return isinstance(value, list) and isinstance(part, int) and part < len(value)


def value_at(value: Any, path: Iterable[str | int]) -> Any:
    """The value at a path in a value."""
    for part in path:
        value = value[part]
    return value


class Lines:
    """Line and column of offsets in a text, none before the one requested last: lines are counted on from there."""

    def __init__(self, text: str) -> None:
        self._text, self._line, self._start, self._place = text, 1, 0, 0

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both from 1."""
        more = self._text.count("\n", self._place, offset)
        if more:
            self._line += more
            self._start = self._text.rindex("\n", self._place, offset) + 1
        self._place = offset
        return self._line, offset - self._start + 1
