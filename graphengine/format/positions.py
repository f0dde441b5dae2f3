"""Line and column of a JSON Pointer in a file. Runs only once something is wrong.

Only the containers on the way to a wanted place are read here; all other values are skipped by the scanner of Python's
`json`, which is written in C.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Collection, Iterable
from typing import Any

_SPACE = re.compile(r"[ \t\r\n]*")
_NO_SPACE = frozenset('[]{},:"')
_DECODER: Any = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)
_SCAN = _DECODER.scan_once


def find_positions(text: str, pointers: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Line and column, both from 1, of the values at the given JSON Pointers.

    A pointer to a key that is not there gets the position of its nearest container that is. `text` must be JSON.
    """
    wanted = set(pointers)
    ancestors = {pointer[:cut] for pointer in wanted for cut in _cuts(pointer)}
    offsets = _offsets(text, ancestors)
    lines = LineStarts(text)
    return {pointer: lines.place(offsets[_nearest(pointer, offsets)]) for pointer in wanted}


def _cuts(pointer: str) -> list[int]:
    return [index for index, letter in enumerate(pointer) if letter == "/"] + [len(pointer)]


def _nearest(pointer: str, offsets: dict[str, int]) -> str:
    return max((pointer[:cut] for cut in _cuts(pointer) if pointer[:cut] in offsets), key=len)


def _offsets(text: str, wanted: set[str]) -> dict[str, int]:
    """Offsets of the values at the wanted pointers; of a key that stands twice, that of the value that counts."""
    found: dict[str, int] = {}
    stack: list[tuple[str, str, int]] = []  # pointer of each open container, what closes it, members before this one
    pointer, place = "", _behind_space(text, 0)
    while True:
        if pointer in wanted:
            found[pointer] = place
        if pointer in wanted and text[place] in "[{":
            stack.append((pointer, "}" if text[place] == "{" else "]", 0))
            place = _behind_space(text, place + 1)
        else:
            place = _behind_space(text, _SCAN(text, place)[1])
        while stack and text[place] == stack[-1][1]:
            stack.pop()
            place = _behind_space(text, place + 1)
        if not stack:
            return found
        container, closing, count = stack[-1]
        if text[place] == ",":
            count += 1
            stack[-1] = (container, closing, count)
            place = _behind_space(text, place + 1)
        pointer = f"{container}/{count}"
        if closing == "}":
            key, place = _SCAN(text, place)
            place = _behind_space(text, _behind_space(text, place) + 1)  # the colon
            pointer = container + make_pointer([key])


def _behind_space(text: str, place: int) -> int:
    return place if text[place : place + 1] in _NO_SPACE else _SPACE.match(text, place).end()  # type: ignore[union-attr]


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def make_pointer(parts: Iterable[str | int]) -> str:
    """A JSON Pointer from keys and indices."""
    return "".join([f"/{_escaped(str(part))}" for part in parts])


def path_of(pointer: str, value: Any) -> tuple[str | int, ...]:
    """The keys and indices in a JSON Pointer as far as the value has them, and the first that it does not have."""
    path: list[str | int] = []
    for part in pointer.split("/")[1:]:
        key: Any = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and key.isdigit():
            key = int(key)
        path.append(key)
        if key not in keys_of(value):
            break
        value = value[key]
    return tuple(path)


def keys_of(value: Any) -> Collection[Any]:
    """The keys of an object, the indices of an array; nothing else has any."""
    return value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()


def value_at(value: Any, path: Iterable[str | int]) -> Any:
    """What stands at a path in a value."""
    for part in path:
        value = value[part]
    return value


class LineStarts:
    """Where the lines of a text begin."""

    def __init__(self, text: str) -> None:
        self._offsets = [0, *(found.end() for found in re.finditer("\n", text))]

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both from 1."""
        line = bisect_right(self._offsets, offset)
        return line, offset - self._offsets[line - 1] + 1
