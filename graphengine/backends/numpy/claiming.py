"""Instructions that count memory, in front of those whose sizes are values and show only when a plan runs.

The count goes from one to the next as a value of the plan, so that rounds and threads have each their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphengine.backends.numpy.calls import Call
from graphengine.ir.graph import Graph
from graphengine.ir.memory import Claim, memory_of
from graphengine.ir.nodes import Operand
from graphengine.ops.shapes import PYTHON_NUMBERS


def with_claims(instructions: Sequence[Call], graph: Graph, found: Mapping[str, Claim]) -> list[Call]:
    """The instructions of a graph, those of a node that claims memory after one that counts it; see `claims`."""
    nodes = {node.id: node for node in graph.nodes}
    taken: Operand = memory_of(graph)
    claiming: list[Call] = []
    for each in instructions:
        name = each.output.removesuffix(":*")
        if name in found:
            counted = f"{name}:+"
            claiming.append(Call(found[name], (taken, *nodes[name].inputs), counted, PYTHON_NUMBERS[int]))
            each = each._replace(function=_behind(each.function), inputs=(counted, *each.inputs))
            taken = counted
        claiming.append(each)
    return claiming


def _behind(function: Callable[..., Any]) -> Callable[..., Any]:
    """A call that waits for a count."""
    return lambda _count, *operands: function(*operands)
