"""Values on a command line: `NAME=VALUE` pairs, and `--set PATH=VALUE`, which changes a document before it is checked.

VALUE is JSON, as strict as in a file; a bare word is a string, because quotes inside quotes are hard to type.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from graphengine.cli.limiting import current_limits
from graphengine.cli.options import split_pairs
from graphengine.errors import InvalidModelError, Problem, UsageError, did_you_mean

_BARE_WORD = re.compile(r"-?[^\W\d][\w.\-/]*")


def named_values(option: str, pairs: Iterable[str]) -> dict[str, Any]:
    """The values of a repeatable option `NAME=VALUE`, by name."""
    return {name: json_value(option, text) for name, text in split_pairs(option, pairs)}


def json_value(option: str, text: str) -> Any:
    """What a VALUE stands for.

    Raises
    ------
    UsageError
        GE801 if it is neither JSON nor a bare word, else the codes of what a file may not say either.
    """
    from graphengine.format.strict import parse_json

    try:
        return parse_json(text.encode(errors="surrogateescape"), limits=current_limits())
    except InvalidModelError as error:
        if _BARE_WORD.fullmatch(text):
            return text
        raise UsageError(_problem(option, text, each) for each in error.problems) from None


def _problem(option: str, text: str, found: Problem) -> Problem:
    """What is wrong with a VALUE, which is shown and has no lines."""
    value = f"{option}: '{text if len(text) <= 60 else f'{text[:57]}...'}'"
    message = found.message.replace("the file", "it")
    if found.code not in ("GE102", "GE127"):
        return Problem(found.code, f"{value}: {message}", found.hint)
    return Problem("GE801", f"{value} is not JSON: {message.removeprefix('not JSON: ')}", "write it like [1, 2.5]")


def apply_settings(content: Any, settings: Iterable[str]) -> dict[str, Any]:
    """Change a document in place as `PATH=VALUE` settings say; what they say of inputs' values is returned.

    `inputs.x=[1, 2]` is the value of an input, `inputs.x={...}` its declaration.
    """
    inputs = {}
    for path, text in split_pairs("--set", settings):
        keys, value = _keys(path), json_value("--set", text)
        if len(keys) == 2 and keys[0] == "inputs" and not isinstance(value, dict):
            inputs[keys[1]] = value
        else:
            _put(content, keys, value, path)
    return inputs


def _keys(path: str) -> list[str]:
    """The keys of a path: `training.epochs`, or a JSON Pointer where a key has a dot, `/parameters/w.1/value`."""
    if not path.startswith("/"):
        return path.split(".")
    return [key.replace("~1", "/").replace("~0", "~") for key in path[1:].split("/")]


def _put(content: Any, keys: list[str], value: Any, path: str) -> None:
    *parents, last = keys
    for key in parents:
        place = _place(content, key, path)
        if isinstance(content, dict):
            content.setdefault(place, {})
        content = content[place]
    content[_place(content, last, path)] = value


def _place(container: Any, key: str, path: str) -> Any:
    """Where in an object or an array a key points: in an array it is an index, or the id of an element."""
    if isinstance(container, dict):
        return key
    if not isinstance(container, list):
        raise UsageError(f"--set {path}: there is no '{key}' inside a value that is neither object nor array")
    ids = [item.get("id") if isinstance(item, dict) else None for item in container]
    places: dict[Any, int] = {str(index): index for index in range(len(ids))}
    places |= {name: index for index, name in enumerate(ids) if isinstance(name, str)}
    if key not in places:
        hint = did_you_mean(key, [name for name in ids if isinstance(name, str)], "elements") if any(ids) else None
        raise UsageError(f"--set {path}: there is no element '{key}'", hint=hint or f"number of elements: {len(ids)}")
    return places[key]
