"""Line and column of a JSON Pointer in a file. Runs only once something is wrong, so it may be plain Python."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

_TOKEN = re.compile(r'[ \t\r\n]*(?:("[^"\\]*(?:\\.[^"\\]*)*")|([\[\]{}:,])|([^\s\[\]{}:,"]+))')


def find_positions(text: str, pointers: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Line and column, both from 1, of the values at the given JSON Pointers.

    A pointer to a key that is not there gets the position of its nearest container that is. `text` must be JSON.
    """
    wanted = set(pointers)
    ancestors = {pointer[:cut] for pointer in wanted for cut in _cuts(pointer)}
    offsets = _offsets(text, ancestors)
    return {pointer: _line_and_column(text, offsets[_nearest(pointer, offsets)]) for pointer in wanted}


def _cuts(pointer: str) -> list[int]:
    return [index for index, letter in enumerate(pointer) if letter == "/"] + [len(pointer)]


def _nearest(pointer: str, offsets: dict[str, int]) -> str:
    return max((pointer[:cut] for cut in _cuts(pointer) if pointer[:cut] in offsets), key=len)


def _offsets(text: str, wanted: set[str]) -> dict[str, int]:
    """Offsets of the values at the wanted pointers, in one walk over the tokens with a stack of its own."""
    found: dict[str, int] = {}
    stack: list[tuple[str, bool]] = []  # pointer of each open container, and whether it is an object
    counts: list[int] = []
    pointer, expects_key = "", False
    for token in _TOKEN.finditer(text):
        string, mark, _ = token.groups()
        start = token.start(token.lastindex or 0)
        if mark in ("}", "]"):
            stack.pop()
            counts.pop()
        elif mark == ",":
            counts[-1] += 1
            expects_key = stack[-1][1]
            pointer = f"{stack[-1][0]}/{counts[-1]}"
        elif mark == ":":
            expects_key = False
        elif expects_key and string:
            pointer = f"{stack[-1][0]}/{_escaped(json.loads(string))}"
        else:
            if pointer in wanted:
                found[pointer] = start
            if mark:
                stack.append((pointer, mark == "{"))
                counts.append(0)
                expects_key = mark == "{"
                pointer = f"{pointer}/0"
    return found


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def make_pointer(parts: Iterable[str | int]) -> str:
    """A JSON Pointer from keys and indices."""
    return "".join(f"/{_escaped(str(part))}" for part in parts)


def _line_and_column(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)
