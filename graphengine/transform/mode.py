"""What a training changes in a graph: the mode of its nodes, and the keys of its random ops.

A file stores neither. A node class that behaves differently in training has a field `training`, false in a
graph as it is loaded and true in a training step. A class that says it is random has an optional input `key`; where it
is omitted a node of op `random_key` supplies it, whose key depends on the iteration in a training step and on nothing
elsewhere.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

import numpy as np

from graphengine.ir.declarations import State
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, Operand, free_name
from graphengine.ops.node import Node
from graphengine.ops.registry import OPS
from graphengine.ops.shapes import ArrayType

NUMBER = ArrayType((), np.dtype(np.uint64))
"""The type of each of the two numbers of a key."""


def in_training_mode(graph: Graph) -> Graph:
    """The graph with `training` set in every node of a class that has such a field; the same one if there is none."""
    modes = _training_modes(graph)
    if not modes:
        return graph
    nodes = [node._replace(node=modes.get(id(node.node), node.node)) for node in graph.nodes]
    return graph.derive(nodes, graph.outputs, graph.types)


def _training_modes(graph: Graph) -> dict[int, Node]:
    """Copies for training of what nodes apply, by identity: nodes that share one share its copy."""
    applied = {id(node): node for _, _, node, _ in graph.nodes}
    fields = {key: type(node).model_fields.get("training") for key, node in applied.items()}
    return {
        key: applied[key].model_copy(update={"training": True})
        for key, field in fields.items()
        if field and field.annotation is bool
    }


def with_keys(nodes: Iterable[GraphNode], taken: Container[str]) -> list[GraphNode]:
    """The nodes, and for each random one among them that has no key a node that supplies it, `<id>.key`."""
    keyed: list[GraphNode] = []
    for node in nodes:
        place = node.node.signature.key
        if place is not None and node.inputs[place] is None:
            from graphengine.ops.families.random import RandomKey

            name = free_name(f"{node.id}.key", taken)
            keyed.append(GraphNode(name, "random_key", RandomKey(stream=node.id), (None,)))
            node = node.with_input(place, name)
        keyed.append(node)
    return keyed


def with_carried_keys(graph: Graph) -> tuple[Graph, dict[str, str]]:
    """The graph whose keys that depend on the iteration have their first number from state, and what replaces it.

    So a program without sha256 can draw other numbers; a key stays what it is from one step to the next.
    """
    keys = _iterated_keys(graph)
    if not keys:
        return graph, {}
    types = dict(graph.types)
    nodes = _with_pairs(graph.nodes, keys, types)
    carried = {f"new_{key}": key for key in keys}
    state = {**graph.state, **dict(zip(keys, map(_first_number, keys.values()), strict=True))}
    return graph.derive(nodes, {**graph.outputs, **carried}, types, state=state), carried


def _iterated_keys(graph: Graph) -> dict[str, GraphNode]:
    """The nodes, by id, of keys that depend on the iteration."""
    from graphengine.ops.families.random import RandomKey

    return {node.id: node for node in graph.nodes if isinstance(node.node, RandomKey) and node.inputs != (None,)}


def _with_pairs(nodes: Iterable[GraphNode], keys: Container[str], types: dict[str, ArrayType]) -> list[GraphNode]:
    """The nodes with pairs of numbers in place of keys; the types of what is new are added to `types`."""
    read: dict[str, str] = {}
    found: list[GraphNode] = []
    for node in nodes:
        if node.id in keys:
            found += _paired(node, types)
            read[node.id] = found[-1].id
        else:
            found.append(node.renamed(read))
    return found


def _paired(key: GraphNode, types: dict[str, ArrayType]) -> list[GraphNode]:
    """Nodes that make a key of a number and the iteration, with their types added to `types`."""
    whole, together = OPS["cast"].cls.model_validate({"dtype": "uint64"}), OPS["stack"].cls()
    second, pair = f"{key.id}~iteration", f"{key.id}~pair"
    types |= {second: NUMBER, pair: types[key.id], key.id: NUMBER}
    return [GraphNode(second, "cast", whole, key.inputs), GraphNode(pair, "stack", together, (key.id, second))]


def _first_number(node: GraphNode) -> State:
    """The state that holds the first number of a key."""
    from graphengine.ops.families.random import stream_number

    key: Any = node.node
    number = np.asarray(stream_number(key.seed or 0, key.stream), np.uint64)
    return State(NUMBER, value=number, description=f"what '{key.stream}' draws")


def with_iteration(graph: Graph, iteration: Operand, seed: int) -> Graph:
    """The graph whose keys depend on the value `iteration` and, where they have no seed of their own, on `seed`."""
    nodes = []
    for node in graph.nodes:
        if node.op == "random_key" and node.inputs == (None,):
            node = node._replace(node=_seeded(node.node, seed), inputs=(iteration,))
        nodes.append(node)
    return graph.derive(nodes, graph.outputs, graph.types)


def _seeded(key: Node, seed: int) -> Node:
    """A node that makes a key, with this seed if it has none of its own."""
    return key.model_copy(update={"seed": seed}) if getattr(key, "seed", seed) is None else key
