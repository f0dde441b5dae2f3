"""The calls of functions that lead to a node: the id of an inlined node is a path through the calls in the file.

So nothing is kept for the many nodes that no message ever names.
"""

from __future__ import annotations

from collections.abc import Container

from graphengine.format.documents import ModelDocument
from graphengine.format.functions import callable_in, functions_in
from graphengine.ir.graph import Origin
from graphengine.ir.origins import enclosing


class CallPaths:
    """Finds the origin of a node in a document, by its id."""

    def __init__(self, document: ModelDocument) -> None:
        self._document = document

    def __call__(self, ident: str) -> Origin:
        """Return the calls that lead to a node, and its own id and op in the innermost function."""
        table = functions_in(self._document)
        ops = {spec["id"]: spec["op"] for spec in self._document.nodes}
        name, rest = _split(ident, ops)
        calls, op = [], ops.get(name or "")
        while function := table.get(op or ""):
            calls.append(f"call '{name}' of '{op}'")
            # the first output of a call has the id of the call
            name, rest = _split(rest, function.ops) if rest else (function.lead, "")
            op, table = function.ops.get(name or ""), callable_in(function, table)
        return Origin(calls, name, None if rest else op)


def _split(path: str, names: Container[str]) -> tuple[str | None, str]:
    """The longest beginning of a path that is one of the names, and what is behind it."""
    name = next((each for each in enclosing(path) if each in names), None)
    return name, path.removeprefix(f"{name}").removeprefix("/")
