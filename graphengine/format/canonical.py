"""JSON as canonical text: one form of every number, whatever the versions of Python, NumPy and orjson.

What is hashed and what is saved depends on every character, and libraries change theirs: orjson writes `1e16` in one
release and `1e+16` in the next. So the form of a number is fixed here. An integer has all its digits. A float has the
fewest digits that round to it; of several such texts it is the nearest. From 1e-5 up to, but not including, 1e16 it has
a point and no exponent (`0.00001`, `1000000000000000.0`). Any other has one digit, or one digit and a fraction, and an
exponent with its sign and without a leading zero (`1e+16`, `1.5e-7`, `5e-324`). Zero keeps its sign.
"""

from __future__ import annotations

import json
import re
from typing import Any

_SMALL = re.compile(r"(\d)(?:\.(\d+))?e-0([5-9])")
"""The end of a number that Python's repr writes in another form: `1e-05` is `0.00001`, `1e-07` is `1e-7`."""


def canonical_text(value: Any, *, spaced: bool = False, sort_keys: bool = False) -> str:
    """Return JSON on one line, with a space after each comma and colon if `spaced`.

    Raises
    ------
    ValueError
        If a number is not finite.
    TypeError
        If a value is not of JSON.
    """
    text = json.dumps(
        value,
        ensure_ascii=False,
        allow_nan=False,
        check_circular=False,
        sort_keys=sort_keys,
        separators=(", ", ": ") if spaced else (",", ":"),
    )
    return _with_own_exponents(text) if "e-0" in text else text


def _with_own_exponents(text: str) -> str:
    """The text with its small numbers in the canonical form; strings stay as they are."""
    parts: list[str] = []
    end = quotes = 0
    for found in _SMALL.finditer(text):
        between = text[end : found.start()]
        quotes += _quotes(between)
        parts += [between, found[0] if quotes % 2 else _own_form(found)]
        end = found.end()
    return "".join([*parts, text[end:]])


def _quotes(text: str) -> int:
    """The number of quotes that begin or end a string."""
    if "\\" in text:
        text = text.replace("\\\\", "").replace('\\"', "")
    return text.count('"')


def _own_form(found: re.Match[str]) -> str:
    digit, fraction, exponent = found.groups()
    if exponent == "5":
        return f"0.0000{digit}{fraction or ''}"
    return f"{digit}.{fraction}e-{exponent}" if fraction else f"{digit}e-{exponent}"
