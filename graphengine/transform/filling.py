"""Nodes for an array of equal numbers of a known shape, which read no other value."""

from __future__ import annotations

from graphengine.ir.nodes import GraphNode
from graphengine.ops.registry import Instances
from graphengine.ops.shapes import ArrayType
from graphengine.ops.traits import OpTrait


def filled_nodes(node: GraphNode, types: dict[str, ArrayType], instance: Instances) -> tuple[GraphNode, ...]:
    """Return nodes for one that gives equal numbers: of the number, `<id>/number`, and of the array.

    There are none for any other node, nor where the shape is not known. `types` gets the type of the number.
    """
    kind, traits = types[node.id], node.node.traits
    if traits.isdisjoint((OpTrait.ZEROS, OpTrait.ONES)) or not kind.is_static:
        return ()
    fill = float(OpTrait.ONES in traits)
    number = instance("constant", {"value": fill, "dtype": kind.array_dtype.name})
    array = instance("broadcast_to", {"shape": kind.shape})
    constant = GraphNode(f"{node.id}/number", "constant", number, ())
    types.setdefault(constant.id, ArrayType((), kind.dtype))
    return constant, GraphNode(node.id, "broadcast_to", array, (constant.id, None))
