"""Values on a command line: `NAME=VALUE` pairs, and `--set PATH=VALUE`, which changes a document before it is checked.

VALUE is JSON, as strict as in a file; a bare word is a string, because quotes inside quotes are hard to type.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from graphengine.cli.options import LIMITS, split_pairs
from graphengine.errors import InvalidModelError, Problem, UsageError
from graphengine.format.settings import keys_of, with_value
from graphengine.wording import shortened

_BARE_WORD = re.compile(r"-?[^\W\d][\w.\-/]*")
HOW_TO_WRITE = """write it like 2.5, '[1, 2.5]' or '"a text"'"""
_MARK = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},]')
"""A string as a whole, or a mark outside strings."""


def named_values(option: str, pairs: Iterable[str] | None) -> dict[str, Any]:
    """The values of a repeatable option `NAME=VALUE`, by name; None if it is not there."""
    return {name: json_value(option, text) for name, text in split_pairs(option, pairs or ())}


def json_value(option: str, text: str) -> Any:
    """What a VALUE means.

    Raises
    ------
    UsageError
        GE801 if it is neither JSON nor a bare word, else the codes of what a file may not say either.
    """
    from graphengine.format.strict import parse_json

    try:
        return parse_json(text.encode(errors="surrogateescape"), limits=LIMITS.get())
    except InvalidModelError as error:
        if _BARE_WORD.fullmatch(text):
            return text
        raise UsageError(_problem(option, text, each) for each in error.problems) from None


def _problem(option: str, text: str, found: Problem) -> Problem:
    """The problem of a VALUE, which is shown and has no lines."""
    value = f"{option}: '{text if len(text) <= 60 else f'{text[:57]}...'}'"
    message = found.message.replace("the file", "it")
    if found.code not in ("GE102", "GE127"):
        return Problem(found.code, f"{value}: {message}", found.hint)
    return Problem("GE801", f"{value} is not JSON: {message.removeprefix('not JSON: ')}", HOW_TO_WRITE)


def apply_settings(content: Any, settings: Iterable[str]) -> tuple[Any, dict[str, Any]]:
    """Return a document with changes from `PATH=VALUE` settings, and what they say of inputs' values.

    `inputs.x=[1, 2]` is the value of an input, `inputs.x={...}` its declaration.
    """
    inputs = {}
    for path, text in split_pairs("--set", settings):
        keys, value = keys_of(path), json_value("--set", text)
        if len(keys) == 2 and keys[0] == "inputs" and not isinstance(value, dict):
            inputs[keys[1]] = value
        else:
            content = with_value(content, keys, value, f"--set {path}")
    return content, inputs


def json_values_of(option: str, text: str) -> list[Any]:
    """Return the values of `VALUE,VALUE,...`, each as of `json_value`: commas in strings, lists and objects are theirs.

    Raises
    ------
    UsageError
        GE801 if a value is missing, else as `json_value`.
    """
    parts = [part.strip() for part in _between_commas(text)]
    if "" in parts:
        hint = "separate values by commas, such as 0.1,0.01"
        raise UsageError(f"{option}: '{shortened(text, 60)}' has a comma without a value", hint=hint)
    return [json_value(option, part) for part in parts]


def _between_commas(text: str) -> Iterator[str]:
    """The parts of a text between commas that are in no string, list or object."""
    depth = start = 0
    for found in _MARK.finditer(text):
        mark = found[0]
        depth += (mark in "[{") - (mark in "]}")
        if mark == "," and depth == 0:
            yield text[start : found.start()]
            start = found.end()
    yield text[start:]
