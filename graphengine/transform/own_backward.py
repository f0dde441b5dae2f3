"""The backward pass of one node, recorded on the node alone: what memory it takes.

Nodes alike take the same, so the memory of a gradient is bounded without deriving it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from graphengine.errors import DifferentiationError
from graphengine.ir.binding import bind_sizes, shapes_of
from graphengine.ir.declarations import plain_inputs
from graphengine.ir.graph import Graph
from graphengine.ir.memory import bytes_of, may_grow, memory_of, require_memory
from graphengine.ir.nodes import GraphNode
from graphengine.ir.recording import Recorder
from graphengine.mappings import only, picked, present
from graphengine.transform.backward import BackwardPass, pruned
from graphengine.transform.gradient import gradient
from graphengine.transform.path import PathNode, differentiable_values
from graphengine.transform.reversal import free_names, with_inputs

MOST_KINDS = 64
"""Kinds of nodes up to which their backward passes are recorded one by one rather than that of the graph."""


def require_memory_for(graph: Graph, values: Mapping[str, Any], of: str | None, wrt: Sequence[str]) -> None:
    """Refuse values with which a graph, or its gradient of the scalar `of`, takes more memory than the limit.

    Raises
    ------
    InputError
        GE133, naming what asks for most.
    DifferentiationError
        GE411 if there is no such gradient.
    """
    sizes = bind_sizes(shapes_of(only(values, graph.inputs)), graph.types)
    require_memory(graph, sizes)
    if of is not None and wrt and gradient_may_grow(graph, sizes):
        require_memory(gradient(graph, of, wrt), sizes)


def gradient_may_grow(graph: Graph, sizes: Mapping[str, int]) -> bool:
    """Whether gradients of a graph may take more memory than the limit although the graph does not."""
    return may_grow(graph, sizes) and gradient_bound(graph, sizes) > graph.limits.array_bytes


def gradient_bound(graph: Graph, sizes: Mapping[str, int]) -> float:
    """The bytes that no gradient graph of a scalar exceeds; infinite where too many kinds of nodes would be recorded.

    What a node gives to an operand is added to what others gave, so the operands count once more; and each value, for
    the ones that a gradient begins with and the zeros of what it does not reach.
    """
    kinds = _kinds(graph)
    if len(kinds) > MOST_KINDS:
        return math.inf
    added = sum(len(nodes) * _most_of(graph, nodes[0], sizes) for nodes in kinds.values())
    return 2 * memory_of(graph, sizes) + added


def _kinds(graph: Graph) -> dict[Any, list[GraphNode]]:
    """The nodes of each kind, whose backward passes take the same."""
    found: dict[Any, list[GraphNode]] = {}
    for node in graph.nodes:
        key = (id(node.node), *[id(graph.types.get(ref)) if type(ref) is str else ref for ref in node.inputs])
        found.setdefault(key, []).append(node)
    return found


def _most_of(graph: Graph, node: GraphNode, sizes: Mapping[str, int]) -> int:
    """What the backward of a node adds at most, sums with the gradients of others included."""
    return backward_bytes(graph, node, graph.types, sizes) + bytes_of(graph, _values_of(node), sizes)


def _values_of(node: GraphNode) -> list[str]:
    return [*node.references, *node.outputs]


def backward_bytes(graph: Graph, node: GraphNode, toward: Collection[str], sizes: Mapping[str, int]) -> int:
    """The bytes that the backward of a node takes for those operands that have a gradient and are in `toward`.

    They include the gradients of operands and results, and not the operands and results themselves.
    """
    alone = _alone(graph, node)
    active = differentiable_values(alone)
    wanted = active.intersection(present(node.inputs, toward))
    needs = tuple(map(wanted.__contains__, node.inputs))
    arriving = present(node.outputs, active)
    if node.node.signature.saved is None or not arriving or not wanted:
        return 0
    try:
        whole = _with_backward(alone, PathNode(node, needs), arriving)
    except DifferentiationError:  # whoever differentiates the graph gets this error, if the node is on the path at all
        return 0
    return memory_of(whole, sizes) - memory_of(alone, sizes)


def _alone(graph: Graph, node: GraphNode) -> Graph:
    """The graph of one node; its inputs are the operands."""
    inputs = plain_inputs(picked(graph.types, node.references))
    known = picked(graph.types, _values_of(node))
    results = dict(zip(node.outputs, node.outputs, strict=True))
    return graph.derive([node], results, known, inputs=inputs, parameters={}, state={})


def _with_backward(alone: Graph, step: PathNode, arriving: Sequence[str]) -> Graph:
    """The graph of one node and its backward; gradients of the results `arriving` are further inputs."""
    seeds = dict(zip(arriving, free_names([f"d_{name}" for name in arriving], alone.types), strict=True))
    recorder = Recorder(with_inputs(alone, {seed: alone.types[name] for name, seed in seeds.items()}))
    gradients = BackwardPass(recorder, seeds, [step]).gradients
    return pruned(recorder, {**alone.outputs, **{name: name for name in gradients.values()}}, alone.name)
