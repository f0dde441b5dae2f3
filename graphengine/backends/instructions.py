"""Instructions: an optimized graph as data, one kernel op on operands after the other.

This is the seam between `transform` and the backends. An instruction holds no code: a backend has a table from kernel
ops to its own code, and knows neither the file nor the optimizer that a graph comes from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from graphengine.ir.graph import Graph
from graphengine.ir.node_types import literal_type
from graphengine.ir.nodes import GraphNode, Operand
from graphengine.ops.node import Node
from graphengine.ops.shapes import ArrayType


class Instruction(NamedTuple):
    """One op on operands. `node` has its attributes; an operand is the name of a value, a number, or None."""

    op: str
    node: Node
    inputs: tuple[Operand, ...]
    outputs: tuple[str, ...]
    operand_types: tuple[ArrayType | None, ...]
    """The types of the operands; None for an omitted one."""
    types: tuple[ArrayType, ...]
    """The types of the results."""
    is_core: bool
    """Whether the op is one of this package; of any other only its `forward` is known."""


def instructions(graph: Graph) -> Iterator[Instruction]:
    """Yield the nodes of a graph as instructions, in the order in which they run."""
    return (instruction_of(node, graph.types) for node in graph.nodes)


def instruction_of(node: GraphNode, types: Mapping[str, ArrayType]) -> Instruction:
    """Return a node as an instruction, by the types of all values."""
    outputs = node.outputs
    return Instruction(
        node.op,
        node.node,
        node.inputs,
        outputs,
        tuple([types[ref] if type(ref) is str else literal_type(ref) for ref in node.inputs]),
        tuple([types[name] for name in outputs]),
        node.node.is_core,
    )
