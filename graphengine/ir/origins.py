"""Where a node of a graph is in the file: an inlined one is behind calls, and may have the id of a call.

The file still has the calls and the functions, and an id is a path through them; so nothing is kept for the many nodes
of which nothing is ever told.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

from graphengine.format.functions import callable_in, functions_in
from graphengine.ir.graph import Graph, GraphNode


def told_node(graph: Graph, node: GraphNode) -> str:
    """A node in words: node 'z' (log), or the node of a function behind the calls that lead to it."""
    calls, (name, op) = _origin(graph, node.id)
    if op != node.op:  # a transformation made it
        calls, name = [], node.id
    return ", ".join([*calls, f"node '{name}' ({node.op})"])


def enclosing(name: str) -> Iterator[str]:
    """An id and those of the calls that its node may lie in, the innermost first."""
    yield name
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def _origin(graph: Graph, ident: str) -> tuple[list[str], tuple[str | None, str | None]]:
    """The calls that lead to a node, in words, and its own id and op in the innermost function."""
    table = functions_in(graph.header)
    ops = {spec["id"]: spec["op"] for spec in graph.header.nodes}
    name, rest = _split(ident, ops)
    calls, op = [], ops.get(name or "")
    while function := table.get(op or ""):
        calls.append(f"call '{name}' of '{op}'")
        # the first output of a call has the id of the call
        name, rest = _split(rest, function.ops) if rest else (function.lead, "")
        op, table = function.ops.get(name or ""), callable_in(function, table)
    return calls, (name, None if rest else op)


def _split(path: str, names: Container[str]) -> tuple[str | None, str]:
    """The longest beginning of a path that is one of the names, and what is behind it."""
    name = next((each for each in enclosing(path) if each in names), None)
    return name, path.removeprefix(f"{name}").removeprefix("/")
