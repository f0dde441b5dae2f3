"""Marks in texts and in JSON values that say where an error is expected."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from documents import changed

MARK = re.compile("⟨(GE[0-9]{3})⟩")


class Expected(NamedTuple):
    """An error and its place."""

    code: str
    line: int
    column: int


class Mark(NamedTuple):
    """A value of a document at which an error is expected, or at its key."""

    code: str
    value: Any
    is_of_key: bool = False

    @property
    def at_key(self) -> bool:
        """Whether the key is what is wrong, as an unknown one always is."""
        return self.is_of_key or self.code == "GE110"


def taken_out(text: str) -> tuple[str, list[Expected]]:
    """The text without its marks, and what they say."""
    plain, expected, end = "", [], 0
    for found in MARK.finditer(text):
        plain += text[end : found.start()]
        end = found.end()
        expected.append(Expected(found[1], plain.count("\n") + 1, len(plain) - plain.rfind("\n")))
    return plain + text[end:], expected


def text_of(value: Any, indent: str = "\n") -> str:
    """A document as JSON text with its marks: small values on one line, the others over several."""
    if isinstance(value, Mark):
        return f"⟨{value.code}⟩{text_of(value.value, indent)}"
    if not isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    deeper = indent + " "
    if isinstance(value, dict):
        parts = [_member(key, item, deeper) for key, item in value.items()]
    else:
        parts = [text_of(item, deeper) for item in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    line = opening + ", ".join(parts) + closing
    if len(MARK.sub("", line)) <= 60 and "\n" not in line:
        return line
    return opening + deeper + f",{deeper}".join(parts) + indent + closing


def _member(key: str, value: Any, indent: str) -> str:
    """A member of an object; where the key is what is wrong, the mark stands before it."""
    mark, value = (f"⟨{value.code}⟩", value.value) if isinstance(value, Mark) and value.at_key else ("", value)
    return f"{mark}{json.dumps(key, ensure_ascii=False)}: {text_of(value, indent)}"


def without(document: Any, path: Sequence[str | int], code: str) -> Any:
    """A copy of a document without a key, whose container is marked."""
    result = copy.deepcopy(document)
    inner = result
    for part in path[:-1]:
        inner = inner[part]
    del inner[path[-1]]
    return changed(result, path[:-1], Mark(code, inner)) if len(path) > 1 else Mark(code, inner)


def found_at(document: Any, path: Sequence[str | int]) -> Any:
    """The value at a path."""
    for part in path:
        document = document[part]
    return document
