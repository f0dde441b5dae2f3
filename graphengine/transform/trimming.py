"""Loops without what nobody reads, for a graph of known sizes: results, states, and then what functions read in vain.

The gradient of a loop may read a value for its shape alone. Once sizes are numbers nothing of that is left, and the
loop before need not keep the value. A state on which nothing that is read depends is not computed: a product with the
Jacobian is the gradient of a gradient, of which only the values that it keeps are read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from graphengine.ir.graph import Graph
from graphengine.ir.graph_bodies import GraphBody
from graphengine.ir.nodes import GraphNode, operand_types, reachable, results_of
from graphengine.ops.registry import OPS, Instances
from graphengine.ops.shapes import ArrayType
from graphengine.ops.traits import fill_of
from graphengine.transform.filling import filled_nodes
from graphengine.transform.passes import dead_code, optimize


def optimize_trimmed(graph: Graph, *, exact: bool = True) -> Graph:
    """Return the graph after all passes, with its loops trimmed; see `optimize`."""
    graph = optimize(graph, exact=exact)
    loops = [node for node in graph.nodes if node.is_loop]
    if not loops:
        return graph
    graph = _without_shapes_of(graph, results_of(loops))
    read: set[Any] = set(graph.outputs.values())
    nodes, first = [], dict[Any, str]()
    for node in reversed(graph.nodes):
        trimmed = _trimmed(node, graph, read) if node.is_loop else node
        read.update(trimmed.inputs)
        nodes.append(trimmed)
        if (port := trimmed.node.outputs[0]) != node.node.outputs[0]:
            first[f"{node.id}:{port}"] = node.id  # what is left of the results has another first one
    return dead_code(_with_first_results(graph, nodes[::-1], first))


def _with_first_results(graph: Graph, nodes: list[GraphNode], first: Mapping[Any, str]) -> Graph:
    """The graph with trimmed loops; `first` maps results that have become the first of their loop to its id."""
    nodes = [node.renamed(first) for node in nodes]
    names = {*graph.sources, *results_of(nodes)}
    types = {name: kind for name, kind in graph.types.items() if name in names}
    types |= {name: graph.types[old] for old, name in first.items()}
    outputs = {port: first.get(value, value) for port, value in graph.outputs.items()}
    return graph.derive(nodes, outputs, types)


def _trimmed(node: GraphNode, graph: Graph, read: set[Any]) -> GraphNode:
    """A loop that gives what is read, and reads what that needs."""
    kinds = operand_types(node.inputs, graph.types)
    if not all(kind.is_sized for kind in kinds if kind):
        return node
    loop: Any = node.node
    body = loop.function
    steps, _ = loop.steps(kinds)
    whole = body.graph(steps)
    wanted = _wanted(loop, whole, {port for port, name in zip(body.outputs, node.outputs, strict=True) if name in read})
    part = _without_shapes_of(whole, loop.sequences)
    part = optimize_trimmed(part.derive(part.nodes, {port: body.results[port] for port in wanted}, part.types))
    trimmed = _with_body(loop, part)
    operands = dict(zip(body.inputs, node.inputs, strict=True))
    return node._replace(node=trimmed, inputs=tuple([operands[name] for name in trimmed.function.inputs]))


def _with_body(loop: Any, part: Graph) -> Any:
    """The loop with a part of its body: its states, sequences and axes are those that the part has."""
    body, wanted = loop.function, list(part.outputs)
    carry = tuple([name for name, port in zip(loop.carry, body.outputs, strict=False) if port in part.outputs])
    used = {*part.outputs.values(), *carry}.union(*[each.inputs for each in part.nodes])
    if used.isdisjoint(loop.sequences):
        used.update(loop.sequences[:1])  # one that says how many steps there are
    cut = {name: axis for name, axis in zip(loop.sequences, loop.axes[0], strict=True) if name in used}
    axes = dict(zip(body.outputs[len(loop.carry) :], loop.axes[1], strict=True))
    changes = {
        "function": GraphBody(body.name, [name for name in body.inputs if name in used], part.nodes, part.outputs),
        "carry": carry,
        "sequences": tuple(cut),
        "axis": (*cut.values(), *[axes[port] for port in wanted[len(carry) :]]),
    }
    return loop.model_copy(update=changes)


def _wanted(loop: Any, body: Graph, read: set[str]) -> list[str]:
    """The outputs of the function that are read, and the states that they depend on, in some step."""
    replacing = dict(zip(loop.carry, body.outputs, strict=False))
    wanted = read or {next(iter(body.outputs))}
    while True:
        values = {body.outputs[port] for port in wanted}
        nodes = reachable(body.nodes, values)
        needed = values.union(*[node.inputs for node in nodes])
        found = {port for name, port in replacing.items() if name in needed} - wanted
        if not found:
            return [port for port in body.outputs if port in wanted]
        wanted = wanted | found


def _without_shapes_of(graph: Graph, names: Collection[str]) -> Graph:
    """The graph in which zeros and ones like some values do not read them."""
    nodes: list[GraphNode] = []
    types, instance = dict(graph.types), Instances(OPS.original)
    for node in graph.nodes:
        kind, fill = types[node.id], fill_of(node.node.traits)
        if fill is None or node.inputs[0] not in names or not kind.is_static:
            nodes.append(node)
            continue
        for made in filled_nodes(node.id, fill, kind, instance):
            types.setdefault(made.id, ArrayType((), kind.dtype))
            nodes.append(made)
    return graph.derive(nodes, graph.outputs, types)
