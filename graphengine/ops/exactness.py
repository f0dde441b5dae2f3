"""Attributes compared by type: True is not 1, 1.0 is not 1, and a float takes no integer that it would round."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from pydantic_core import PydanticKnownError
from pydantic_core.core_schema import no_info_before_validator_function

from graphengine.ops.numbers import exact_number


def make_exact(schema: Any) -> None:
    """Change a core schema so that a literal that is no string has the type of an expected value.

    A float takes no integer that it would round.
    """
    pending = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            check = _check_of(part) if part.get("type") in ("float", "literal") else None
            if check:
                checked = no_info_before_validator_function(check, part.copy())
                part.clear()
                part.update(checked)
            else:
                pending += part.values()
        elif isinstance(part, list | tuple):
            pending += part


def _check_of(schema: Mapping[str, Any]) -> Callable[[Any], Any] | None:
    """What a value is checked by before pydantic sees it."""
    if schema["type"] == "float":
        return exact_number
    only_strings = all(isinstance(value, str) for value in schema["expected"])
    return None if only_strings else _one_of(schema["expected"])


def _one_of(expected: Sequence[Any]) -> Callable[[Any], Any]:
    """A check that a value is one of those expected, by type and value."""
    known = {(type(value), value) for value in expected}
    names = [value if isinstance(value, str) else json.dumps(value) for value in expected]
    possible = " or ".join([", ".join(names[:-1])] * (len(names) > 1) + names[-1:])

    def check(value: Any) -> Any:
        if not isinstance(value, Hashable) or (type(value), value) not in known:
            raise PydanticKnownError("literal_error", {"expected": possible})
        return value

    return check
