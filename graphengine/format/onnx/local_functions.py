"""Calls of functions as model-local functions: the nodes of a call become one node, whose function is in the model.

A graph has its calls inlined, and names lead back to them: `h/weighted` is a node of the call `h`. A call stays inlined
where others read more of it than its results, as a gradient does, or where it would lie before and after another node.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import networkx as nx

from graphengine.format.onnx.emitting import Emitter
from graphengine.format.onnx.protos import read_by, subgraphs

CALLS = "graphengine.calls"
"""The domain of functions of the model file."""


class CalledFunction(NamedTuple):
    """The name of a function that a node calls, its description, and its inputs by the values that it is given."""

    name: str
    description: str
    inputs: Mapping[str, str]


class _Cluster(NamedTuple):
    """The nodes of a call by their numbers, what they read, and the results that others read."""

    call: str
    members: list[int]
    inputs: list[str]
    outputs: list[str]


def with_functions(emit: Emitter, calls: Mapping[str, CalledFunction], wanted: set[str], opset: int) -> list[Any]:
    """Replace the nodes of calls, and return the functions; `wanted` are names that the model gives."""
    functions: dict[bytes, Any] = {}
    for call, called in calls.items():
        cluster = _cluster_of(emit, call, wanted)
        order = cluster and _contracted_order(emit.nodes, cluster.members)
        if not cluster or not order:
            continue
        function = _function(emit, cluster, called, opset)
        text = function.SerializeToString(deterministic=True)
        if text not in functions:
            count = sum(re.sub(r"_\d+$", "", each.name) == called.name for each in functions.values())
            function.name = f"{called.name}_{count + 1}" if count else called.name
            functions[text] = function
        node = emit.helper.make_node(functions[text].name, cluster.inputs, cluster.outputs, name=call, domain=CALLS)
        first = cluster.members[0]
        nodes = [node if number == first else emit.nodes[number] for number in order]
        emit.owners[:] = [call if number == first else emit.owners[number] for number in order]
        emit.nodes[:] = nodes
    return list(functions.values())


def _cluster_of(emit: Emitter, call: str, wanted: set[str]) -> _Cluster | None:
    """Return the nodes of a call, None for fewer than two or if others read more of it than its results."""
    members = [number for number, owner in enumerate(emit.owners) if f"{owner}/".startswith(f"{call}/")]
    inside = {number: emit.nodes[number] for number in members}
    if len(inside) < 2:
        return None
    made = {name for node in inside.values() for name in node.output}
    read = wanted.union(*[read_by(node) for number, node in enumerate(emit.nodes) if number not in inside])
    outputs = [name for node in inside.values() for name in node.output if name in read]
    results = {name for number, node in inside.items() if emit.owners[number] == call for name in node.output}
    own = made.union(emit.initializers, *[_defined_in(node) for node in inside.values()], [""])
    inputs = dict.fromkeys(name for node in inside.values() for name in _in_order(node) if name not in own)
    return _Cluster(call, members, list(inputs), outputs) if outputs and set(outputs) <= results else None


def _in_order(node: Any) -> list[str]:
    """Return what a node reads, in its order."""
    return [*node.input, *sorted(read_by(node).difference(node.input))]


def _defined_in(node: Any) -> set[str]:
    """Return the names that the subgraphs of a node define."""
    names: set[str] = set()
    waiting = list(subgraphs(node))
    while waiting:
        graph = waiting.pop()
        names.update(each.name for each in (*graph.input, *graph.initializer))
        for each in graph.node:
            names.update(each.output)
            waiting.extend(subgraphs(each))
    return names


def _contracted_order(nodes: Sequence[Any], members: list[int]) -> list[int]:
    """Return the order of nodes where the members are one, their first; nothing if none is possible."""
    moved = dict.fromkeys(members, members[0])
    place = {name: moved.get(number, number) for number, node in enumerate(nodes) for name in node.output}
    graph = nx.DiGraph()
    for number, node in enumerate(nodes):
        own = moved.get(number, number)
        graph.add_node(own)
        graph.add_edges_from((place[name], own) for name in read_by(node) if place.get(name, own) != own)
    try:
        return list(nx.lexicographical_topological_sort(graph))
    except nx.NetworkXUnfeasible:
        return []


def _function(emit: Emitter, cluster: _Cluster, called: CalledFunction, opset: int) -> Any:
    """Return the function of a call, with names that are the same in every call of it."""
    helper, prefix = emit.helper, f"{cluster.call}/"
    nodes = [emit.nodes[number] for number in cluster.members]
    stored = [name for name in emit.initializers if any(name in read_by(node) for node in nodes)]
    names = {name: called.inputs.get(name, f"x{place}") for place, name in enumerate(cluster.inputs)}
    names |= {name: f"constant{place}" for place, name in enumerate(stored)}
    made = dict.fromkeys(name for node in nodes for name in node.output)
    names |= {name: name.removeprefix(prefix) for name in made if name.startswith(prefix)}
    names |= {name: f"out{name.removeprefix(cluster.call)}" for name in made if not name.startswith(prefix)}
    constants = [helper.make_node("Constant", [], [names[name]], value=_unnamed(emit, name)) for name in stored]
    imported = [helper.make_opsetid("", opset)]
    if any(node.domain for node in nodes):
        imported += [helper.make_opsetid(domain, 1) for domain in sorted({node.domain for node in nodes} - {""})]
    return helper.make_function(
        CALLS,
        "",
        [names[name] for name in cluster.inputs],
        [names[name] for name in cluster.outputs],
        [*constants, *[_renamed(emit, node, names) for node in nodes]],
        imported,
        doc_string=called.description,
    )


def _unnamed(emit: Emitter, name: str) -> Any:
    """Return the tensor of an initializer without its name."""
    tensor = emit.onnx.TensorProto()
    tensor.CopyFrom(emit.initializers[name])
    tensor.ClearField("name")
    return tensor


def _renamed(emit: Emitter, node: Any, names: Mapping[str, str]) -> Any:
    """Return a copy of a node, and of its subgraphs, with other names."""
    copy = emit.onnx.NodeProto()
    copy.CopyFrom(node)
    inside = [copy]
    while inside:
        each = inside.pop()
        each.input[:] = [names.get(name, name) for name in each.input]
        each.output[:] = [names.get(name, name) for name in each.output]
        for graph in subgraphs(each):
            inside.extend(graph.node)
            for output in graph.output:
                output.name = names.get(output.name, output.name)
    return copy
