"""Attributes compared by type: True is not 1, 1.0 is not 1, and a float takes no integer that it would round."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from pydantic_core import PydanticKnownError
from pydantic_core.core_schema import no_info_before_validator_function

from graphengine.ops.numbers import exact_number


def exact(schema: Any) -> Any:
    """A core schema in which a literal that is no string has to have the type of an expected value.

    A float takes no integer that it would round.
    """
    if isinstance(schema, list | tuple):
        return type(schema)(map(exact, schema))
    if not isinstance(schema, dict):
        return schema
    schema = {key: exact(value) if isinstance(value, dict | list | tuple) else value for key, value in schema.items()}
    if schema.get("type") == "float":
        return no_info_before_validator_function(exact_number, schema)
    if schema.get("type") == "literal" and not all(isinstance(value, str) for value in schema["expected"]):
        return no_info_before_validator_function(_one_of(schema["expected"]), schema)
    return schema


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
