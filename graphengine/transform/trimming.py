"""Loops without what nobody reads, for a graph of known sizes: results, states, and then what functions read in vain.

The gradient of a loop may read a value for its shape alone. Once sizes are numbers nothing of that is left, and the
loop before need not keep the value. A state on which nothing that is read depends is not computed: a product with the
Jacobian is the gradient of a gradient, of which only the values that it keeps are read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from graphengine.ir.graph import Graph
from graphengine.ir.graph_bodies import GraphBody
from graphengine.ir.nodes import GraphNode, operand_types, operands_of, reached, results_of
from graphengine.mappings import only, present, with_renamed
from graphengine.ops.registry import OPS, Instances
from graphengine.transform.filling import filled_nodes
from graphengine.transform.passes import dead_code, optimize


def optimize_trimmed(graph: Graph, *, exact: bool = True) -> Graph:
    """Return the graph after all passes, with its loops trimmed; see `optimize`."""
    graph = optimize(graph, exact=exact)
    loops = [node for node in graph.nodes if node.is_loop]
    if not loops:
        return graph
    graph = _without_shapes_of(graph, results_of(loops))
    return dead_code(_with_loops(graph, _trimmed_nodes(graph)))


def _trimmed_nodes(graph: Graph) -> list[GraphNode]:
    """The nodes with trimmed loops, from the last to the first, since a trimmed loop reads less of those before."""
    read: set[Any] = set(graph.outputs.values())
    nodes = []
    for node in reversed(graph.nodes):
        trimmed = _trimmed(node, graph, read) if node.is_loop else node
        read.update(trimmed.inputs)
        nodes.append(trimmed)
    return nodes[::-1]


def _with_loops(graph: Graph, trimmed: list[GraphNode]) -> Graph:
    """The graph with trimmed loops; what has become the first result of a loop is called as the loop."""
    first = _first_results(graph.nodes, trimmed)
    nodes = [node.renamed(first) for node in trimmed]
    types = only(graph.types, {*graph.sources, *results_of(nodes)})
    types |= {name: graph.types[old] for old, name in first.items()}
    return graph.derive(nodes, with_renamed(graph.outputs, first), types)


def _first_results(nodes: Iterable[GraphNode], trimmed: Iterable[GraphNode]) -> dict[Any, str]:
    """The results that are the first of their node only when it is trimmed, with the id of the node."""
    ports = [(node.id, node.node.outputs[0], new.node.outputs[0]) for node, new in zip(nodes, trimmed, strict=True)]
    return {f"{name}:{now}": name for name, before, now in ports if now != before}


def _trimmed(node: GraphNode, graph: Graph, read: set[Any]) -> GraphNode:
    """A loop that gives what is read, and reads what that needs."""
    kinds = operand_types(node.inputs, graph.types)
    if not all(kind.is_sized for kind in kinds if kind):
        return node
    loop: Any = node.node
    body = loop.function
    steps, _ = loop.steps(kinds)
    whole = body.graph(steps)
    ports = dict(zip(node.outputs, body.outputs, strict=True))
    wanted = _wanted(loop, whole, set(only(ports, read).values()))
    part = _without_shapes_of(whole, loop.sequences)
    part = optimize_trimmed(part.derive(part.nodes, only(body.results, wanted), part.types))
    trimmed = _with_body(loop, part)
    operands = dict(zip(body.inputs, node.inputs, strict=True))
    return node._replace(node=trimmed, inputs=tuple([operands[name] for name in trimmed.function.inputs]))


def _with_body(loop: Any, part: Graph) -> Any:
    """The loop with a part of its body: its states, sequences and axes are those that the part has."""
    body = loop.function
    carry = tuple(only(dict(zip(body.outputs, loop.carry, strict=False)), part.outputs).values())
    used = _used(loop, part, carry)
    cut = only(dict(zip(loop.sequences, loop.axes[0], strict=True)), used)
    stacked = only(dict(zip(body.outputs[len(loop.carry) :], loop.axes[1], strict=True)), part.outputs)
    changes = {
        "function": GraphBody(body.name, present(body.inputs, used), part.nodes, part.outputs),
        "carry": carry,
        "sequences": tuple(cut),
        "axis": (*cut.values(), *stacked.values()),
    }
    return loop.model_copy(update=changes)


def _used(loop: Any, part: Graph, carry: Iterable[str]) -> set[Any]:
    """What a part of the body of a loop reads and gives, with its states and at least one sequence."""
    used = {*part.outputs.values(), *carry} | operands_of(part.nodes)
    if used.isdisjoint(loop.sequences):
        used.update(loop.sequences[:1])  # one that says how many steps there are
    return used


def _wanted(loop: Any, body: Graph, read: set[str]) -> set[str]:
    """The outputs of the function that are read, and the states that they depend on, in some step."""
    replacing = dict(zip(loop.carry, body.outputs, strict=False))
    wanted = read or {next(iter(body.outputs))}
    while True:
        _, needed = reached(body.nodes, only(body.outputs, wanted).values())
        found = set(only(replacing, needed).values()) - wanted
        if not found:
            return wanted
        wanted = wanted | found


def _without_shapes_of(graph: Graph, names: Iterable[str]) -> Graph:
    """The graph in which zeros and ones like some values do not read them."""
    nodes: list[GraphNode] = []
    types, instance, unread = dict(graph.types), Instances(OPS.original), set(names)
    for node in graph.nodes:
        made = () if unread.isdisjoint(node.inputs[:1]) else filled_nodes(node, types, instance)
        nodes += made or (node,)
    return graph.derive(nodes, graph.outputs, types)
