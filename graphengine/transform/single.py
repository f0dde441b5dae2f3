"""A step on one sample: vectors of one number become numbers.

With a batch size of 1 every array of a model on vectors has one element, and NumPy takes a hundred times as long for
it as Python takes for a number. Arithmetic on the one number has the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from graphengine.ir.graph import Graph, types_of
from graphengine.ir.nodes import GraphNode, Operand, infer, operand_types, results_of
from graphengine.mappings import only, with_renamed
from graphengine.ops.inference import elementwise
from graphengine.ops.registry import OPS
from graphengine.ops.shapes import ArrayType
from graphengine.ops.traits import OpTrait

UNIT = (1,)


def with_single_numbers(graph: Graph) -> Graph:
    """Return the graph with scalars in place of vectors of one float64, or the same graph where that is not possible.

    Inputs that are such vectors become scalars; parameters, state and outputs stay what they are declared to be.
    """
    vectors = _vectors(graph)
    if not _may_be_numbers(graph, vectors):
        return graph
    inputs = {name: replace(each, type=_single(each.type)) for name, each in graph.inputs.items()}
    types = only(graph.types, graph.sources) | types_of(inputs)
    replaced: dict[Operand, Operand] = {}
    nodes = _nodes_on_numbers(graph, vectors, types, replaced)
    outputs = with_renamed(graph.outputs, replaced)
    if nodes is None or not set(map(type, outputs.values())) <= {str}:
        return graph
    return graph.derive(nodes, outputs, types, inputs=inputs)


def _vectors(graph: Graph) -> set[str]:
    """The values that are vectors of one element; there may be types of others, too."""
    values = [*graph.sources, *results_of(graph.nodes)]
    return {name for name in values if graph.types[name].shape == UNIT}


def _nodes_on_numbers(
    graph: Graph, vectors: set[str], types: dict[str, ArrayType], replaced: dict[Operand, Operand]
) -> list[GraphNode] | None:
    """The nodes on numbers, with their types added to `types`; None if one cannot work on numbers.

    `replaced` gets the operand that each node gave which is left out.
    """
    nodes: list[GraphNode] = []
    for node in graph.nodes:
        given = node.renamed(replaced)
        concerned = not vectors.isdisjoint((*node.inputs, *node.outputs))
        made = _on_numbers(graph, given, node) if concerned else given
        if made is None:
            return None
        if isinstance(made, GraphNode):
            types.update(zip(made.outputs, infer(made.node, operand_types(made.inputs, types)), strict=True))
            nodes.append(made)
        else:
            replaced[node.id] = made
    return nodes


def _may_be_numbers(graph: Graph, vectors: set[str]) -> bool:
    """Whether there are vectors of one element, of dtypes that Python computes as NumPy does, and none is to last."""
    lasting = {*graph.parameters, *graph.state, *graph.outputs.values()}
    dtypes = {graph.types[name].dtype for name in vectors}
    return bool(dtypes) and dtypes <= {np.dtype(np.float64), np.dtype(np.bool_)} and vectors.isdisjoint(lasting)


def _single(kind: ArrayType) -> ArrayType:
    return kind._replace(shape=()) if kind.shape == UNIT else kind


def _on_numbers(graph: Graph, made: GraphNode, node: GraphNode) -> GraphNode | Operand:
    """A node on vectors of one number as one on numbers, or the operand that it gives; None if neither is known."""
    if not (node.node.is_core and _are_small(graph, node.references)):
        return None
    if type(node.node).infer is elementwise:
        return made
    if _keeps_one(graph, node):
        return made.inputs[0]
    if node.op == "matmul":
        return GraphNode(node.id, "mul", OPS.original("mul").cls(), made.inputs)
    return None


def _keeps_one(graph: Graph, node: GraphNode) -> bool:
    """Whether a node gives the one number that it gets."""
    return OpTrait.KEEPS_ONE in node.node.traits and _are_small(graph, [node.id])


def _are_small(graph: Graph, values: Iterable[str]) -> bool:
    """Whether values are numbers or vectors of one number."""
    return {graph.types[name].shape for name in values} <= {(), UNIT}
