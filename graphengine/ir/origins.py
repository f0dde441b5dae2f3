"""Where a node of a graph is in the file: an inlined one is in a call, and may have the id of a call."""

from __future__ import annotations

from collections.abc import Iterator

from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, Origin


def node_text(graph: Graph, node: GraphNode) -> str:
    """A node in words: node 'z' (log), or the node of a function after the calls that lead to it."""
    calls, name, op = graph.origin(node.id) if graph.origin else Origin([], node.id, node.op)
    if op != node.op:  # a transformation made it
        calls, name = [], node.id
    return ", ".join([*calls, f"node '{name}' ({node.op})"])


def enclosing(name: str) -> Iterator[str]:
    """An id and those of the calls that its node may lie in, the innermost first."""
    yield name
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def source_text(graph: Graph, name: str) -> str:
    """Return a declared value in words: input 'x'."""
    return f"{source_kind(graph, name)} '{name}'"


def source_kind(graph: Graph, name: str) -> str:
    """Return what declares a value: input, parameter or state."""
    return section_of(graph, name).removesuffix("s")


def section_of(graph: Graph, name: str) -> str:
    """Return the section of a file that declares a value."""
    return "inputs" if name in graph.inputs else "parameters" if name in graph.parameters else "state"
