"""Nodes for an array of equal numbers of a known shape, which read no other value."""

from __future__ import annotations

from graphengine.ir.nodes import GraphNode
from graphengine.ops.registry import Instances
from graphengine.ops.shapes import ArrayType


def filled_nodes(name: str, fill: float, kind: ArrayType, instance: Instances) -> tuple[GraphNode, GraphNode]:
    """Return the node of the number, `name/number`, and the node `name` of the array; `kind` has a NumPy dtype."""
    number = instance("constant", {"value": fill, "dtype": kind.array_dtype.name})
    array = instance("broadcast_to", {"shape": kind.shape})
    constant = GraphNode(f"{name}/number", "constant", number, ())
    return constant, GraphNode(name, "broadcast_to", array, (constant.id, None))
