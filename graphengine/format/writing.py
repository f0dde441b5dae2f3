"""From a document to bytes, in one canonical form.

The canonical form keeps the order of the file's own lists and objects, writes the keys of the format in the format's
order, leaves out what has its default, and puts on one line what fits on one line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphengine.format.canonical import canonical_text
from graphengine.format.documents import ModelDocument
from graphengine.mappings import selected
from graphengine.ops.numbers import encode_number

LINE_WIDTH = 110


def dump_model(document: ModelDocument) -> bytes:
    """The canonical bytes of a model document."""
    return dump_json(model_as_dict(document))


def model_as_dict(document: ModelDocument) -> dict[str, Any]:
    """A model document as JSON values, without what has its default."""
    values = document.model_dump(exclude_defaults=True, by_alias=True)
    always = {"format": document.format, "format_version": document.format_version}
    order = [field.alias or name for name, field in ModelDocument.model_fields.items()]
    values |= always
    return selected(values, order)


def dump_json(value: Any) -> bytes:
    """JSON for people: what fits on a line is on one line, numbers are wrapped, two spaces a level."""
    return "".join([*_render(value, ""), "\n"]).encode()


def _render(value: Any, indent: str) -> Iterator[str]:
    line = _on_one_line(value, LINE_WIDTH - len(indent))
    if line is not None:
        yield line
        return
    deeper = indent + "  "
    if isinstance(value, dict):
        yield "{"
        for count, (key, item) in enumerate(value.items()):
            yield f"{',' * (count > 0)}\n{deeper}{canonical_text(key)}: "
            yield from _render(item, deeper)
        yield f"\n{indent}}}"
    else:
        yield f"[\n{deeper}"
        yield from _elements(value, deeper)
        yield f"\n{indent}]"


def _elements(values: Any, indent: str) -> Iterator[str]:
    """Elements of an array: numbers side by side up to the line's width, anything else one a line."""
    room = 0
    for count, (item, text) in enumerate(zip(values, _atoms(values), strict=True)):
        width = LINE_WIDTH if text is None else len(text) + 2
        fits = width <= room
        if count:
            yield ", " if fits else f",\n{indent}"
        if not fits:
            room = LINE_WIDTH - len(indent)
        room -= width
        if text is None:
            yield from _render(item, indent)
        else:
            yield text


def _atoms(values: Any) -> list[str | None]:
    """The text of each element of an array; None for those that are arrays or objects themselves."""
    if _NUMBERS.issuperset(map(type, values)):
        return [*canonical_text(values)[1:-1].split(",")]
    return [None if isinstance(item, _CONTAINERS) else canonical_text(item) for item in values]


def _on_one_line(value: Any, width: int) -> str | None:
    """The text of a value if it fits, or if it cannot be broken into lines."""
    if not isinstance(value, _CONTAINERS) or not value:
        return canonical_text(value)
    if _is_wider(value, width):
        return None
    text = canonical_text(value, spaced=True)
    return text if len(text) <= width else None


def _is_wider(value: Any, width: int) -> bool:
    """Whether a value has more elements than fit, which needs no text of them."""
    least, inside = 0, [value]
    while inside and least <= width:
        each = inside.pop()
        if not isinstance(each, _CONTAINERS):
            least += 1
        elif 3 * len(each) > width:
            return True
        else:  # brackets, and a comma and a space between each two elements
            least += 2 * max(len(each), 1)
            inside += each.values() if isinstance(each, dict) else each
    return least > width


_CONTAINERS = (dict, list, tuple)
_NUMBERS = {bool, int, float, type(None)}


def encode_array(value: Any) -> Any:
    """An array as nested lists of JSON values; non-finite numbers become the format's strings."""
    array = np.asarray(value)
    if isinstance(value, (list, tuple)) and array.dtype.kind in "fO":  # of an integer beside a fraction NumPy makes one
        array = np.array(value, dtype=object)
    if array.dtype == object or _has_non_finite(array):
        shown = np.array([_encoded(number) for number in array.ravel().tolist()], dtype=object)
        return shown.reshape(array.shape).tolist()
    return array.tolist()


def _has_non_finite(array: NDArray[Any]) -> bool:
    return array.dtype.kind == "f" and not np.isfinite(array).all()


def _encoded(number: Any) -> Any:
    number = number.item() if isinstance(number, (np.generic, np.ndarray)) else number
    return encode_number(number) if isinstance(number, float) else number
