"""What a training changes in a graph: the mode of its nodes, and the keys of its random ops.

A file stores neither. A node class that behaves differently in training has a field `training`, false in a
graph as it is loaded and true in a training step. A class that says it is random has an optional input `key`; where it
is omitted a node of op `random_key` supplies it, whose key depends on the iteration in a training step and on nothing
elsewhere.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

import numpy as np

from graphengine.ir.declarations import State
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, Operand
from graphengine.ops.node import Node
from graphengine.ops.registry import OPS
from graphengine.ops.shapes import ArrayType


def in_training_mode(graph: Graph) -> Graph:
    """The graph with `training` set in every node of a class that has such a field; the same one if there is none."""
    modes: dict[int, Node] = {}
    for node in graph.nodes:
        if id(node.node) not in modes:
            field = type(node.node).model_fields.get("training")
            has_mode = field is not None and field.annotation is bool
            modes[id(node.node)] = node.node.model_copy(update={"training": True}) if has_mode else node.node
    if all(modes[id(node)] is node for _, _, node, _ in graph.nodes):
        return graph
    nodes = [node._replace(node=modes[id(node.node)]) for node in graph.nodes]
    return graph.derive(nodes, graph.outputs, graph.types)


def with_keys(nodes: Iterable[GraphNode], taken: Container[str]) -> list[GraphNode]:
    """The nodes, and for each random one among them that has no key a node that supplies it, `<id>.key`."""
    keyed: list[GraphNode] = []
    for node in nodes:
        place = node.node.signature.key
        if place is not None and node.inputs[place] is None:
            from graphengine.ops.families.random import RandomKey

            name = f"{node.id}.key"
            while name in taken:
                name += "_"
            keyed.append(GraphNode(name, "random_key", RandomKey(stream=node.id), (None,)))
            node = node._replace(inputs=(*node.inputs[:place], name, *node.inputs[place + 1 :]))
        keyed.append(node)
    return keyed


def with_carried_keys(graph: Graph) -> tuple[Graph, dict[str, str]]:
    """The graph whose keys that depend on the iteration have their first number from state, and what replaces it.

    So a program without sha256 can draw other numbers; a key stays what it is from one step to the next.
    """
    from graphengine.ops.families.random import RandomKey, stream_number

    keys: dict[str, State] = {}
    nodes, kind = [], ArrayType((), np.dtype(np.uint64))
    whole, together = OPS["cast"].cls.model_validate({"dtype": "uint64"}), OPS["stack"].cls()
    types = dict(graph.types)
    for node in graph.nodes:
        if not isinstance(node.node, RandomKey) or node.inputs == (None,):
            nodes.append(node)
            continue
        number = np.asarray(stream_number(node.node.seed or 0, node.node.stream), np.uint64)
        keys[node.id] = State(kind, value=number, description=f"what '{node.node.stream}' draws")
        second, pair = f"{node.id}~iteration", f"{node.id}~pair"
        nodes.append(GraphNode(second, "cast", whole, node.inputs))
        nodes.append(GraphNode(pair, "stack", together, (node.id, second)))
        types |= {second: kind, pair: types[node.id], node.id: kind}
    if not keys:
        return graph, {}
    read = {key: f"{key}~pair" for key in keys}
    nodes = [
        node if node.id in read.values() else node._replace(inputs=tuple([_read(read, each) for each in node.inputs]))
        for node in nodes
    ]
    carried = {f"new_{key}": key for key in keys}
    outputs = {**graph.outputs, **carried}
    return graph.derive(nodes, outputs, types, state={**graph.state, **keys}), carried


def _read(read: Mapping[str, str], operand: Operand) -> Operand:
    return read.get(operand, operand) if isinstance(operand, str) else operand


def with_iteration(graph: Graph, iteration: Operand, seed: int) -> Graph:
    """The graph whose keys depend on the value `iteration` and, where they have no seed of their own, on `seed`."""
    nodes = []
    for node in graph.nodes:
        if node.op == "random_key" and node.inputs == (None,):
            unseeded = getattr(node.node, "seed", seed) is None
            seeded = node.node.model_copy(update={"seed": seed}) if unseeded else node.node
            node = node._replace(node=seeded, inputs=(iteration,))
        nodes.append(node)
    return graph.derive(nodes, graph.outputs, graph.types)
