"""Loops without what nobody reads, for a graph of known sizes: results, and then what the functions read in vain.

The gradient of a loop may read a value for its shape alone. Once sizes are numbers nothing of that is left, and the
loop before need not keep the value.
"""

from __future__ import annotations

from typing import Any

from graphengine.ir.graph import Graph
from graphengine.ir.graph_bodies import GraphBody
from graphengine.ir.node_types import literal_type
from graphengine.ir.nodes import GraphNode
from graphengine.ops.registry import OPS, Instances
from graphengine.ops.shapes import ArrayType
from graphengine.ops.traits import fill_of
from graphengine.transform.filling import filled_nodes
from graphengine.transform.passes import dead_code, optimize


def optimize_trimmed(graph: Graph, *, exact: bool = True) -> Graph:
    """Return the graph after all passes, with its loops trimmed; see `optimize`."""
    graph = optimize(graph, exact=exact)
    if not any(node.op == "scan" and node.is_core for node in graph.nodes):
        return graph
    read: set[Any] = set(graph.outputs.values())
    nodes = []
    for node in reversed(graph.nodes):
        trimmed = _trimmed(node, graph, read) if node.op == "scan" and node.is_core else node
        read.update(trimmed.inputs)
        nodes.append(trimmed)
    names = {*graph.sources, *[name for node in nodes for name in node.outputs]}
    types = {name: kind for name, kind in graph.types.items() if name in names}
    return dead_code(graph.derive(nodes[::-1], graph.outputs, types))


def _trimmed(node: GraphNode, graph: Graph, read: set[Any]) -> GraphNode:
    """A loop that gives what is read, and reads what that needs."""
    kinds = [graph.types[ref] if isinstance(ref, str) else literal_type(ref) for ref in node.inputs]
    if any(not isinstance(size, int) for kind in kinds if kind for size in kind.shape):
        return node
    loop: Any = node.node
    body, carried = loop.function, len(loop.carry)
    axes = dict(zip(body.outputs[carried:], loop.axes[1], strict=True))
    wanted = [
        port
        for place, (port, name) in enumerate(zip(body.outputs, node.outputs, strict=True))
        if place < max(carried, 1) or name in read
    ]
    steps, _ = loop.steps(kinds)
    whole = body.graph(steps)
    part = _without_shapes_of(whole, loop.sequences)
    part = optimize_trimmed(part.derive(part.nodes, {port: body.results[port] for port in wanted}, part.types))
    used = {*part.outputs.values(), *loop.carry}.union(*[each.inputs for each in part.nodes])
    if used.isdisjoint(loop.sequences):
        used.update(loop.sequences[:1])
    kept = [name for name in body.inputs if name in used]
    cut = dict(zip(loop.sequences, loop.axes[0], strict=True))
    changes = {
        "function": GraphBody(body.name, kept, part.nodes, part.outputs),
        "sequences": tuple([name for name in loop.sequences if name in used]),
        "axis": (*[axis for name, axis in cut.items() if name in used], *[axes[p] for p in wanted[carried:]]),
    }
    operands = [ref for name, ref in zip(body.inputs, node.inputs, strict=True) if name in used]
    return node._replace(node=loop.model_copy(update=changes), inputs=tuple(operands))


def _without_shapes_of(graph: Graph, names: tuple[str, ...]) -> Graph:
    """The graph of a step in which zeros and ones like a part of a sequence do not read it."""
    nodes: list[GraphNode] = []
    types, instance = dict(graph.types), Instances(OPS.original)
    for node in graph.nodes:
        kind, fill = types[node.id], fill_of(node.node.traits)
        if fill is None or node.inputs[0] not in names:
            nodes.append(node)
            continue
        for made in filled_nodes(node.id, fill, kind, instance):
            types.setdefault(made.id, ArrayType((), kind.dtype))
            nodes.append(made)
    return graph.derive(nodes, graph.outputs, types)
