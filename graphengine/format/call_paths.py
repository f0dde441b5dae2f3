"""The calls of functions that lead to a node: the id of an inlined node is a path through the calls in the file.

So nothing is kept for the many nodes that no message ever names.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from graphengine.format.documents import ModelDocument, NodeDocument
from graphengine.format.functions import functions_in, given_by, nameable_in, substituted
from graphengine.ir.nodes import Origin
from graphengine.ir.origins import enclosing


def origin_in(document: ModelDocument, ident: str) -> Origin:
    """Return the calls that lead to a node of a document, and its own id and op in the innermost function."""
    table = functions_in(document)
    specs: dict[str, NodeDocument] = {spec["id"]: spec for spec in document.nodes}
    name, rest = _split(ident, specs)
    calls, spec = [], specs.get(name or "")
    named = table
    while spec and (function := table.get(called_by(spec))):
        calls.append(f"call '{name}' of '{spec['op']}'")
        attributes = spec.get("attributes", {})
        function = function.form(attributes, given_by(spec, function))
        table = nameable_in(function, named)
        specs = {each["id"]: substituted(each, {**function.defaults, **attributes}) for each in function.document.nodes}
        # the first output of a call has the id of the call
        name, rest = _split(rest, specs) if rest else (function.lead, "")
        spec = specs.get(name or "")
    return Origin(calls, name, None if rest or spec is None else spec["op"])


def called_by(spec: NodeDocument) -> Any:
    """The function that a node calls, by its op or, in a node of op `call`, by an attribute."""
    return spec.get("attributes", {}).get("function") if spec["op"] == "call" else spec["op"]


def _split(path: str, names: Container[str]) -> tuple[str | None, str]:
    """The longest beginning of a path that is one of the names, and what follows it."""
    name = next((each for each in enclosing(path) if each in names), None)
    return name, path.removeprefix(f"{name}").removeprefix("/")
