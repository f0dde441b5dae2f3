"""From bytes to JSON values, refusing what JSON leaves open, at little more than the cost of parsing.

orjson parses; it bounds nothing, and of a duplicate key it keeps the last. What it does not report is found
by comparing counts on the bytes, in C: only if a count does not agree, a slow walk says what is wrong and where.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from graphengine.errors import MOST_REPORTED, InvalidModelError, Problem, curtailed
from graphengine.limits import DEFAULT, Limits

if TYPE_CHECKING:
    from graphengine.format.lexical import LexicalFinding

BOM = b"\xef\xbb\xbf"

_UTF8 = "save it as UTF-8"
_MARKED = Problem("GE120", "the file begins with a byte order mark", f"{_UTF8} without one", line=1, column=1)

_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1
_LONG_INTEGER = 19
"""Digits of the shortest integer that may not fit 64 bits."""
_CHUNK = 2**18
"""Bytes that are looked at together: few enough for what is made of them to stay in the cache."""


class Reading(NamedTuple):
    """A value, the errors in its text, and text of the same lines and columns that surely is strict JSON.

    In that text harmless parts replace wrong ones; the value is of it, and so are the places of what is in the value.
    """

    value: Any
    problems: list[Problem]
    text: bytes


def parse_json(data: bytes, name: str | None = None, limits: Limits = DEFAULT) -> Any:
    """The value in the bytes of a JSON file; `name` names the file in messages.

    Raises
    ------
    InvalidModelError
        GE102 and GE120 to GE131, with all problems of the text.
    """
    reading = read_json(data, name, limits)
    if reading.problems:
        raise InvalidModelError(reading.problems)
    return reading.value


def read_json(data: bytes, name: str | None, limits: Limits, parse: Callable[[bytes], Any] | None = None) -> Reading:
    """The value as far as it can be understood, with the errors in the text.

    `parse` is `strict_value`, or does the same in its own way.

    Raises
    ------
    InvalidModelError
        If the text cannot be understood, or is beyond a limit.
    """
    text = data.removeprefix(BOM)
    openings, depth = _structure(text)
    most = limits.values - openings
    if _count(text, b",") >= most and _count_outside_strings(text, b",") >= most:
        message = f"the file has more than {limits.values:,} values"
        raise InvalidModelError(message, code="GE131", file=name, line=1, column=1)
    if depth > limits.depth:
        return _explained(data, name, limits)
    try:
        value = (parse or strict_value)(text)
    except ValueError:
        return _explained(data, name, limits)
    return Reading(value, [replace(_MARKED, file=name)] if len(text) < len(data) else [], text)


def strict_value(text: bytes) -> Any:
    """The value of a text that is surely strict JSON.

    Raises
    ------
    ValueError
        If it is none, or if that cannot be decided so cheaply.
    """
    value = orjson.loads(text)
    if _may_have_double_keys(text, value) or _may_have_long_integers(text):
        raise ValueError
    return value


def _structure(data: bytes) -> tuple[int, int]:
    """How many brackets open outside of the strings of a text, and how deep they are nested."""
    openings = level = deepest = 0
    for marks in _outside_strings(data, b"[]{}"):
        steps = _STEPS[marks]
        levels = np.cumsum(steps, dtype=np.int32)
        deepest = max(deepest, level + int(levels.max(initial=0)))
        level += int(levels[-1]) if len(levels) else 0
        openings += int(np.count_nonzero(steps == 1))
    return openings, deepest


def _count_outside_strings(data: bytes, letter: bytes) -> int:
    return sum(map(len, _outside_strings(data, letter)))


def _outside_strings(data: bytes, marks: bytes) -> Iterator[NDArray[np.uint8]]:
    """Those of the marks that are outside of strings, in pieces; of what is not JSON, anything.

    A mark is outside if the quotes before it are even in number. They are what is left of its place among marks
    and quotes without the marks before it.
    """
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    others = bytes(set(range(256)) - {*marks, ord('"')})
    quotes = 0
    for start in range(0, len(data), _CHUNK):
        piece = np.frombuffer(data[start : start + _CHUNK].translate(None, others), np.uint8)
        places = np.flatnonzero(piece != ord('"'))
        inside = (places - np.arange(-quotes, len(places) - quotes)) & 1
        found = piece[places]
        yield found[inside == 0] if inside.any() else found
        quotes += len(piece) - len(places)


def _may_have_double_keys(data: bytes, value: Any) -> bool:
    """Whether orjson dropped a member of an object, or whether that cannot be decided so cheaply.

    A colon follows a key or is in a string. Writing the value again brings all of them back but those of members
    that were dropped, unless a string has its colon as an escape. Numbers take as long to write as to read: where
    colons are rare, members are counted instead.
    """
    colons = _count(data, b":")
    if colons < len(data) // 128:
        return not (_has_members(value, colons) or _has_members(value, _count_outside_strings(data, b":")))
    if b"\\" in data and b"\\u003" in data:
        return True
    try:
        return colons != _count(orjson.dumps(value), b":")
    except TypeError:  # nested deeper than orjson writes
        return True


def _has_members(value: Any, count: int) -> bool:
    """Whether the objects in a value have so many members together, counted level by level until there are enough.

    Long arrays of numbers lie deep, and have nothing below them: they are seldom looked at.
    """
    level = [value]
    while level:
        count -= sum([len(each) for each in level if type(each) is dict])
        if count <= 0:
            return True
        level = _next_level(level)
    return False


def _next_level(level: list[Any]) -> list[Any]:
    """The objects and arrays that are members or elements of these."""
    inside = itertools.chain.from_iterable([each.values() if type(each) is dict else each for each in level])
    return [each for each in inside if type(each) in (dict, list)]


def _may_have_long_integers(data: bytes) -> bool:
    """Whether somewhere, other than after a point, so many digits follow each other."""
    # a piece begins so far before the end of the last one that a run is whole in one of the two
    pieces = (data[start - _LONG_INTEGER : start + _CHUNK] for start in range(_CHUNK, len(data), _CHUNK))
    return any(map(_has_long_integer, itertools.chain([b" " + data[:_CHUNK]], pieces)))


def _has_long_integer(data: bytes) -> bool:
    letters = np.frombuffer(data, np.uint8)
    is_digit = (letters - ord("0")) < 10
    runs = is_digit  # whether a run begins at each place: of 1 digit at first, in the end of `_LONG_INTEGER`
    for further in (1, 2, 4, 8, _LONG_INTEGER - 16):
        runs = runs[:-further] & runs[further:]
    starts = np.flatnonzero(runs)
    firsts = starts[(starts > 0) & ~is_digit[starts - 1]]
    return bool(np.any(letters[firsts - 1] != ord(".")))


def _count(data: bytes, letter: bytes) -> int:
    """`data.count(letter)`, five times faster where the letter is frequent."""
    letters, code = np.frombuffer(data, np.uint8), ord(letter)
    return sum(int(np.count_nonzero(letters[start : start + _CHUNK] == code)) for start in range(0, len(data), _CHUNK))


def _explained(data: bytes, name: str | None, limits: Limits) -> Reading:
    """All that is wrong with a text, and its value if harmless text in place of what is wrong makes it JSON."""
    text, found = _all_findings(data, name, limits)
    problems = [replace(each.problem, file=name) for each in found]
    if any(problem.code == "GE130" for problem in problems):
        raise InvalidModelError(problems)
    harmless = _harmless(text, found)
    try:
        return Reading(orjson.loads(harmless), problems, harmless.encode())
    except orjson.JSONDecodeError as error:
        before = [problem for problem, each in zip(problems, found, strict=True) if each.offset < error.pos]
        raise InvalidModelError([*before, replace(_syntax_problem(harmless, error), file=name)]) from None


def _all_findings(data: bytes, name: str | None, limits: Limits) -> tuple[str, list[LexicalFinding]]:
    """A text and what is wrong with its tokens, unless that is more than is reported."""
    from graphengine.format.lexical import lexical_findings

    text, found = _decoded(data, name)
    found += itertools.islice(lexical_findings(text, limits.depth), MOST_REPORTED + 1)
    if len(found) > MOST_REPORTED:
        raise InvalidModelError(curtailed([replace(each.problem, file=name) for each in found], name))
    return text, found


def _decoded(data: bytes, name: str | None) -> tuple[str, list[LexicalFinding]]:
    """The text, and that it begins with a byte order mark, if it does."""
    from graphengine.format.lexical import LexicalFinding
    from graphengine.format.positions import Lines

    found = []
    if data.startswith(BOM):
        data = data[len(BOM) :]
        found.append(LexicalFinding(-1, _MARKED))
    try:
        return data.decode(), found
    except UnicodeDecodeError as error:
        line, column = Lines(before := data[: error.start].decode()).place(len(before))
        message = f"the file is not UTF-8: byte 0x{data[error.start]:02x} is not allowed here"
        raise InvalidModelError(message, code="GE121", hint=_UTF8, file=name, line=line, column=column) from None


def _harmless(text: str, found: list[LexicalFinding]) -> str:
    parts, end = [], 0
    for each in found:
        if each.instead:
            parts += [text[end : each.offset], each.instead]
            end = each.offset + len(each.instead)
    return "".join([*parts, text[end:]])


def _syntax_problem(text: str, error: orjson.JSONDecodeError) -> Problem:
    from graphengine.format.positions import Lines
    from graphengine.format.remedies import syntax

    line, column = Lines(text).place(error.pos)
    if not text.strip():
        return Problem("GE102", "not JSON: the file is empty", line=1, column=1)
    try:
        orjson.loads(text[: error.pos])
    except orjson.JSONDecodeError:
        hint = syntax(text, error.pos)
        return Problem("GE102", f"not JSON: {error.msg}", hint, line=line, column=column)
    hint = "a file is one JSON value; remove what follows"
    return Problem("GE127", "unexpected text after the JSON value", hint, line=line, column=column)
