"""Loops whose gradient keeps the states between segments and computes the values within them again."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, operand_types

FEWEST_STEPS = 16
"""Steps of a loop that is worth cutting into segments."""


def in_segments(graph: Graph, sizes: Mapping[str, int]) -> Graph:
    """Return the graph with `checkpoint_every` of about the root of the number of steps in each long loop without it.

    Then states between segments and values within one take about the same memory. Values and gradients keep their bits.
    """
    nodes = [_in_segments(node, graph, sizes) for node in graph.nodes]
    changed = any(new is not old for new, old in zip(nodes, graph.nodes, strict=True))
    return graph.derive(nodes, graph.outputs, graph.types) if changed else graph


def _in_segments(node: GraphNode, graph: Graph, sizes: Mapping[str, int]) -> GraphNode:
    loop: Any = node.node
    if not node.is_loop or loop.checkpoint_every is not None:
        return node
    kinds = operand_types(node.inputs, graph.types)
    _, size = loop.steps(kinds)
    steps = sizes.get(size, size)
    if not isinstance(steps, int) or steps < FEWEST_STEPS:
        return node
    return node._replace(node=loop.model_copy(update={"checkpoint_every": isqrt(steps - 1) + 1}))
