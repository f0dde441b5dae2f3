"""NewNames of an ONNX model, which may be any text, as ids of a model file; what is renamed is kept in a table."""

from __future__ import annotations

import re

from graphengine.ops.shapes import Size, is_symbol

LONGEST = 200
"""Letters of an id."""
_FIRST, _OTHER = re.compile(r"[\W\d]"), re.compile(r"[^\w.\-/]")
_SIZE = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class NewNames:
    """Ids for names: valid, each given once. `table` maps each id that is not its name to the name."""

    def __init__(self) -> None:
        self.table: dict[str, str] = {}
        self._taken: set[str] = set()

    def given(self, name: str) -> str:
        """Return a new id for a name; it is the name itself where that is a valid id and free."""
        found = self.free(valid(name))
        if found != name:
            self.table[found] = name
        return found

    def free(self, near: str) -> str:
        """Return an id that nothing has."""
        found, count = near, 1
        while found in self._taken:
            count += 1
            found = f"{near[: LONGEST - 8]}_{count}"
        self._taken.add(found)
        return found


def valid(name: str) -> str:
    """Return a valid id that is like a name."""
    text = _OTHER.sub("_", name)[: LONGEST - 8]
    return f"_{text}" if not text or _FIRST.match(text) else text


def size_named(name: str) -> Size:
    """Return a symbol that is like the name of a size."""
    if _SIZE.fullmatch(name) and is_symbol(name):
        return name
    text = re.sub(r"\W", "_", name, flags=re.ASCII)[:100]
    return f"n_{text}"
