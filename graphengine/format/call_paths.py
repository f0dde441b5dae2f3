"""The calls of functions that lead to a node: the id of an inlined node is a path through the calls in the file.

So nothing is kept for the many nodes that no message ever names.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from graphengine.format.documents import ModelDocument, NodeDocument
from graphengine.format.functions import Function, functions_in, given_by, nameable_in, substituted
from graphengine.ir.nodes import Origin
from graphengine.ir.origins import enclosing


def origin_in(document: ModelDocument, ident: str) -> Origin:
    """Return the calls that lead to a node of a document, and its own id and op in the innermost function."""
    table = functions_in(document)
    specs: dict[Any, NodeDocument] = {spec["id"]: spec for spec in document.nodes}
    name, rest = _split(ident, specs)
    calls, spec = [], specs.get(name)
    named = table
    while spec and (function := table.get(called_by(spec))):
        calls.append(f"call '{name}' of '{spec['op']}'")
        function = function.form(spec.get("attributes", {}), given_by(spec, function))
        table = nameable_in(function, named)
        specs = _inside(function, spec)
        # the first output of a call has the id of the call
        name, rest = _split(rest, specs) if rest else (function.lead, "")
        spec = specs.get(name)
    return Origin(calls, name, None if rest or spec is None else spec["op"])


def _inside(function: Function, spec: NodeDocument) -> dict[Any, NodeDocument]:
    """The nodes of a function as a node calls it, by their ids."""
    attributes = {**function.defaults, **spec.get("attributes", {})}
    return {each["id"]: substituted(each, attributes) for each in function.document.nodes}


def called_by(spec: NodeDocument) -> Any:
    """The function that a node calls, by its op or, in a node of op `call`, by an attribute."""
    return spec.get("attributes", {}).get("function") if spec["op"] == "call" else spec["op"]


def _split(path: str, names: Container[str]) -> tuple[str | None, str]:
    """The longest beginning of a path that is one of the names, and what follows it."""
    name = next((each for each in enclosing(path) if each in names), None)
    return name, path.removeprefix(f"{name}").removeprefix("/")
