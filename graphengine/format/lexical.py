"""What JSON leaves open and this format refuses, reported with its place.

JSON does not say what a duplicate key means, has no bare NaN, and lets every reader choose what becomes of a
number that is too large for it. Readers choose differently, so two programs would see two models in one file. This walk
over the tokens runs only once `strict` has seen that something is wrong, so it may be plain Python.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from graphengine.errors import Problem, make_pointer
from graphengine.format.positions import Lines

_TOKEN = re.compile(r'[ \t\r\n]*+(?:("(?:[^"\\]++|\\.)*+")|([\[\]{}:,])|([^\s\[\]{}:,"]+))', re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)((?:\.\d+)?(?:[eE][+-]?\d+)?)")
_READ = json.JSONDecoder(strict=False).decode
_NOT_JSON = {"NaN", "-NaN", "Infinity", "-Infinity"}
_HEX = "[0-9a-fA-F]{2}"
_ESCAPE = re.compile(rf"\\(?:u([dD][89abAB]{_HEX})\\u([dD][c-fC-F]{_HEX})|u([dD][89a-fA-F]{_HEX})|.)", re.DOTALL)
"""An escape in a string: a pair of surrogates, half of a pair, or anything else."""


_HALF = re.compile("[\ud800-\udfff]")
_INSTEAD, _AS_ESCAPE = "\ufffd", "\\ufffd"
"""What Unicode has for a character that is none. It is used in the pointer of a key, which must be text itself."""


class LexicalFinding(NamedTuple):
    """A problem at an offset, and harmless text of the same length to read on with where the token cannot stay."""

    offset: int
    problem: Problem
    instead: str = ""


class _TokenWalk:
    """The place in a document while its tokens go by: the keys of each open object, the way from the top."""

    def __init__(self, text: str) -> None:
        self._lines = Lines(text)
        self.keys: list[set[str] | None] = []  # None for an array
        self.path: list[str | int] = []
        self.expects_key = False

    def finding(self, offset: int, code: str, message: str, hint: str | None, instead: str = "") -> LexicalFinding:
        line, column = self._lines.place(offset)
        return LexicalFinding(
            offset, Problem(code, message, hint, make_pointer(self.path), line=line, column=column), instead
        )

    def mark(self, mark: str) -> None:
        if mark in "[{":
            self.keys.append(set() if mark == "{" else None)
            self.path.append(0)
        elif mark in "]}" and self.keys:
            self.keys.pop()
            self.path.pop()
        elif mark == "," and self.keys[-1:] == [None]:
            self.path[-1] = int(self.path[-1]) + 1
        self.expects_key = mark in "{," and self.keys[-1:] not in ([], [None])


def lexical_findings(text: str, depth: int) -> Iterator[LexicalFinding]:
    """The errors in the tokens of a text, in order; their order is not checked.

    The walk ends where arrays and objects are nested deeper than `depth`.
    """
    walk = _TokenWalk(text)
    for token in _TOKEN.finditer(text):
        string, mark, word = token.groups()
        offset = token.start(token.lastindex or 0)
        if mark:
            if mark in "[{" and len(walk.keys) == depth:
                yield walk.finding(offset, "GE130", f"nested deeper than {depth} levels", None)
                return
            walk.mark(mark)
        elif word:
            yield from _of_word(walk, offset, word)
        else:
            yield from _of_string(walk, offset, string)


def _of_word(walk: _TokenWalk, offset: int, word: str) -> Iterator[LexicalFinding]:
    number = _NUMBER.fullmatch(word)
    if word in _NOT_JSON:
        hint = f'where the format allows such a number, write the string "{word.replace("-NaN", "NaN")}"'
        yield walk.finding(offset, "GE123", f"{word} is not JSON", hint, "0".ljust(len(word)))
    elif number:
        yield from _of_number(walk, offset, word, is_whole=not number[1])


def _of_number(walk: _TokenWalk, offset: int, word: str, *, is_whole: bool) -> Iterator[LexicalFinding]:
    shown = word if len(word) <= 40 else f"{word[:37]}..."
    if math.isinf(float(word)):
        yield walk.finding(offset, "GE124", f"{shown} is larger than any double", None, "0".ljust(len(word)))
    elif is_whole and not -(2**63) <= int(word) < 2**64:
        hint = "write a floating-point number with a point or an exponent"
        yield walk.finding(offset, "GE125", f"the integer {shown} does not fit 64 bits", hint)


def _of_string(walk: _TokenWalk, offset: int, string: str) -> Iterator[LexicalFinding]:
    if walk.expects_key:
        yield from _of_key(walk, offset, string)
    for escape in _ESCAPE.finditer(string) if "\\u" in string else ():
        if escape[3]:
            hint = "write both halves of the pair, or the character itself"
            message = f"{escape[0]} is half of a character"
            yield walk.finding(offset + escape.start(), "GE126", message, hint, _AS_ESCAPE)


def _of_key(walk: _TokenWalk, offset: int, string: str) -> Iterator[LexicalFinding]:
    known, key = walk.keys[-1], _key(string)
    walk.path[-1] = _HALF.sub(_INSTEAD, key)
    walk.expects_key = False
    assert known is not None, "keys occur in objects"
    if key in known:
        yield walk.finding(offset, "GE122", f"duplicate key {string} in an object", "keep one of them")
    known.add(key)


def _key(string: str) -> str:
    """The key that a string token is; a token that is no JSON, which is reported elsewhere, means itself."""
    try:
        return str(_READ(string))
    except ValueError:
        return string
