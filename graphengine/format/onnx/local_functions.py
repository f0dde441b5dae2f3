"""Calls of functions as model-local functions: the nodes of a call become one node, whose function is in the model.

A graph has its calls inlined, and names lead back to them: `h/weighted` is a node of the call `h`. A call stays inlined
where others read more of it than its results, as a gradient does, or where it would lie before and after another node.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from graphengine.format.onnx.emitting import Emitter
from graphengine.format.onnx.protos import read_by, subgraphs
from graphengine.mappings import absent, present

Item = TypeVar("Item")

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
        order = _contracted_order(emit.nodes, cluster.members) if cluster else []
        if cluster and order:
            function = _shared(functions, _function(emit, cluster, called, opset), called.name)
            _replace(emit, cluster, function.name, order)
    return list(functions.values())


def _replace(emit: Emitter, cluster: _Cluster, function: str, order: list[int]) -> None:
    """Write the call of a function for the nodes of a cluster, and what is left in another order."""
    node = emit.helper.make_node(function, cluster.inputs, cluster.outputs, name=cluster.call, domain=CALLS)
    emit.nodes[cluster.members[0]], emit.owners[cluster.members[0]] = node, cluster.call
    emit.nodes[:], emit.owners[:] = _at(emit.nodes, order), _at(emit.owners, order)


def _at(items: Sequence[Item], numbers: Iterable[int]) -> list[Item]:
    """Return the items at these places."""
    return [items[number] for number in numbers]


def _shared(functions: dict[bytes, Any], function: Any, name: str) -> Any:
    """Return the function that is there already, or a new one of its own name."""
    text = function.SerializeToString(deterministic=True)
    if text not in functions:
        function.name = _free(name, {each.name for each in functions.values()})
        functions[text] = function
    return functions[text]


def _free(name: str, taken: Collection[str]) -> str:
    numbered = (f"{name}_{count}" for count in itertools.count(2))
    return next(each for each in itertools.chain([name], numbered) if each not in taken)


def _cluster_of(emit: Emitter, call: str, wanted: set[str]) -> _Cluster | None:
    """Return the nodes of a call, None for fewer than two or if others read more of it than its results."""
    members = _members(emit, call)
    if len(members) < 2:
        return None
    nodes, others = _at(emit.nodes, members), {*range(len(emit.nodes))}.difference(members)
    read = wanted.union(_read(_at(emit.nodes, others)))
    outputs = present(_made(nodes), read)
    if not outputs or not set(outputs).issubset(_results(emit, call)):
        return None
    return _Cluster(call, members, _read_from_outside(emit, nodes), outputs)


def _results(emit: Emitter, call: str) -> Iterable[str]:
    """Return what the nodes make that were written for a call itself."""
    return _made(node for node, owner in zip(emit.nodes, emit.owners, strict=True) if owner == call)


def _read_from_outside(emit: Emitter, nodes: Sequence[Any]) -> list[str]:
    """Return what nodes read and neither make nor have as a constant."""
    own = {"", *_made(nodes), *emit.initializers}.union(*map(_defined_in, nodes))
    return absent(dict.fromkeys(_read(nodes)), own)


def _members(emit: Emitter, call: str) -> list[int]:
    """Return the numbers of the nodes of a call and of those inside it."""
    return [number for number, owner in enumerate(emit.owners) if f"{owner}/".startswith(f"{call}/")]


def _made(nodes: Iterable[Any]) -> list[str]:
    """Return the results of nodes."""
    return [name for node in nodes for name in node.output]


def _read(nodes: Iterable[Any]) -> list[str]:
    """Return what nodes and their subgraphs read, in order."""
    return [name for node in nodes for name in (*node.input, *sorted(read_by(node).difference(node.input)))]


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
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_nodes_from(sorted({*range(len(nodes))} - {*members[1:]}))
    graph.add_edges_from(_contracted_edges(nodes, dict.fromkeys(members, members[0])))
    try:
        return list(nx.lexicographical_topological_sort(graph))
    except nx.NetworkXUnfeasible:
        return []


def _contracted_edges(nodes: Sequence[Any], moved: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """Yield from which node to which a value leads, except for those inside the one that others have become."""
    place = {name: moved.get(number, number) for number, node in enumerate(nodes) for name in node.output}
    for number, node in enumerate(nodes):
        own = moved.get(number, number)
        yield from [(place[name], own) for name in read_by(node) if place.get(name, own) != own]


def _function(emit: Emitter, cluster: _Cluster, called: CalledFunction, opset: int) -> Any:
    """Return the function of a call, with names that are the same in every call of it."""
    nodes = _at(emit.nodes, cluster.members)
    constants = present(dict.fromkeys(_read(nodes)), emit.initializers)
    names = _names_within(cluster, called, constants, _made(nodes))
    return emit.helper.make_function(
        CALLS,
        "",
        list(map(names.__getitem__, cluster.inputs)),
        list(map(names.__getitem__, cluster.outputs)),
        [*[_constant(emit, name, names[name]) for name in constants], *[_renamed(emit, node, names) for node in nodes]],
        _opsets(emit, nodes, opset),
        doc_string=called.description,
    )


def _names_within(
    cluster: _Cluster, called: CalledFunction, constants: Iterable[str], made: Iterable[str]
) -> dict[str, str]:
    """Return the names that values have in a function: those of its inputs, numbers, and ids without the call."""
    names = {name: called.inputs.get(name, f"x{place}") for place, name in enumerate(cluster.inputs)}
    names |= {name: f"constant{place}" for place, name in enumerate(constants)}
    return names | {name: _within(name, cluster.call) for name in made}


def _opsets(emit: Emitter, nodes: Sequence[Any], opset: int) -> list[Any]:
    """Return the opsets that nodes need."""
    domains = sorted({node.domain for node in nodes} - {""})
    return [emit.helper.make_opsetid("", opset), *[emit.helper.make_opsetid(domain, 1) for domain in domains]]


def _within(name: str, call: str) -> str:
    """Return the name that a value of a call has in the function."""
    return name.removeprefix(f"{call}/") if name.startswith(f"{call}/") else f"out{name.removeprefix(call)}"


def _constant(emit: Emitter, initializer: str, name: str) -> Any:
    """Return a node that gives the value of an initializer."""
    tensor = emit.onnx.TensorProto()
    tensor.CopyFrom(emit.initializers[initializer])
    tensor.ClearField("name")
    return emit.helper.make_node("Constant", [], [name], value=tensor)


def _renamed(emit: Emitter, node: Any, names: Mapping[str, str]) -> Any:
    """Return a copy of a node, and of its subgraphs, with other names."""
    copy = emit.onnx.NodeProto()
    copy.CopyFrom(node)
    inside = [copy]
    while inside:
        each = inside.pop()
        _rename(each.input, names)
        _rename(each.output, names)
        for graph in subgraphs(each):
            inside.extend(graph.node)
            for output in graph.output:
                output.name = names.get(output.name, output.name)
    return copy


def _rename(values: Any, names: Mapping[str, str]) -> None:
    values[:] = [names.get(name, name) for name in values]
