"""A long array of nodes stays text, and is parsed piece by piece whenever someone walks along it.

As Python objects, a million nodes take half a gigabyte; as text, a tenth of it. Where a piece ends is guessed, and
orjson verifies the guess: what it reads between two brackets is so many whole nodes, and it reads the
rest of the file with something else in their place.
"""

from __future__ import annotations

import itertools
import re
import secrets
import string
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import orjson

from graphengine.format.strict import strict_value

LENGTH = 2**17
"""Bytes of a piece, at least: what is made of them fits the cache."""
_LONGEST = (2**17, 2**21)
"""Bytes that the last node of a piece may have; a larger number counts where no end was found within a smaller one."""
_TRIES = 4
"""Places of each kind that are tried as the end of a piece before the array becomes a list after all."""

_SPACE = rb"[ \t\r\n]*"
_KEY = b'"nodes"'
_OPENING = re.compile(_KEY + _SPACE + b":" + _SPACE + rb"\[")
_BETWEEN = re.compile(rb"\}" + _SPACE + b"," + _SPACE + rb"(?=\{)")
_LAST = re.compile(rb"\}(?=" + _SPACE + rb"\]" + _SPACE + b"[,}])")


class Span(NamedTuple):
    """Where a piece of a text begins and ends, and how many elements of the array it has."""

    start: int
    end: int
    size: int


class Pieces(Sequence[Any]):
    """The elements of an array, of which a text has some in each span; `complete` adds what the text leaves out."""

    def __init__(self, text: bytes, spans: Sequence[Span], complete: Callable[[list[Any]], list[Any]] = list) -> None:
        self._text, self._spans, self._complete = text, spans, complete
        self._firsts = [0, *itertools.accumulate(span.size for span in spans)]

    def __len__(self) -> int:
        return self._firsts[-1]

    def __iter__(self) -> Iterator[Any]:
        return itertools.chain.from_iterable(map(self._parsed, self._spans))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return list(self)[index]
        index = range(len(self))[index]
        number = bisect_right(self._firsts, index) - 1
        return self._parsed(self._spans[number])[index - self._firsts[number]]

    def __eq__(self, other: object) -> bool:
        return list(self) == (list(other) if isinstance(other, Pieces) else other)

    __hash__ = None  # type: ignore[assignment]

    def _parsed(self, span: Span) -> list[Any]:
        return self._complete(orjson.loads(_array(self._text[span.start : span.end])))


def parse_apart(
    text: bytes, accepts: Callable[[list[Any]], bool], complete: Callable[[list[Any]], list[Any]] = list
) -> Any:
    """The value of a text that is surely strict JSON; nodes that are most of it are `Pieces`, if all are accepted.

    Whoever walks along them gets what `complete` makes of a piece.

    Raises
    ------
    ValueError
        If the text is none, or if that cannot be decided so cheaply.
    """
    start = _start(text)
    if start is not None:
        with suppress(ValueError):
            spans = list(_spans(text, start, accepts))
            instead = _unguessable()
            rest = strict_value(text[:start] + orjson.dumps(instead) + text[spans[-1].end :])
            if isinstance(rest, dict) and rest.get("nodes") == [instead]:
                return {**rest, "nodes": Pieces(text, spans, complete)}
    return strict_value(text)


def _unguessable() -> str:
    """A string that no file has by chance or on purpose; without digits, of which many may look like a long integer."""
    return "".join(secrets.choice(string.ascii_letters) for _ in range(40))


def unfolded(content: dict[str, Any]) -> dict[str, Any]:
    """The same content, with nodes that are in pieces as a list."""
    nodes = content.get("nodes")
    return {**content, "nodes": list(nodes)} if isinstance(nodes, Pieces) else content


def _start(text: bytes) -> int | None:
    """Where the nodes begin that are most of a text: after the last such key before its middle."""
    place = len(text) // 2
    while (place := text.rfind(_KEY, 0, place)) >= 0:
        if found := _OPENING.match(text, place):
            return found.end()
    return None


def _spans(text: bytes, start: int, accepts: Callable[[list[Any]], bool]) -> Iterator[Span]:
    """The pieces of the array whose first element begins there; a ValueError if there is one that is not accepted."""
    following: int | None = start
    while following is not None:
        start = following
        end, following, elements = _first_piece(text, start)
        if not accepts(elements):
            raise ValueError
        yield Span(start, end, len(elements))


def _first_piece(text: bytes, start: int) -> tuple[int, int | None, list[Any]]:
    """The end of the piece that begins there, the start of the next one, and the elements; a ValueError if unknown."""
    for longest in _LONGEST:
        for end, following in _ends(text, start, start + LENGTH + longest):
            with suppress(ValueError):
                return end, following, strict_value(_array(text[start:end]))
        if start + LENGTH + longest >= len(text):
            break
    raise ValueError


def _ends(text: bytes, start: int, furthest: int) -> Iterator[tuple[int, int | None]]:
    """Likely ends of a piece, each with the start of the next one; the last piece has none."""
    between = itertools.islice(_BETWEEN.finditer(text, start + LENGTH, furthest), _TRIES)
    last = itertools.islice(_LAST.finditer(text, start, furthest), _TRIES)
    for found in filter(None, itertools.chain.from_iterable(itertools.zip_longest(between, last))):
        yield found.start() + 1, found.end() if found.re is _BETWEEN else None


def _array(elements: bytes) -> bytes:
    return b"[" + elements + b"]"
