"""What went wrong in a node: which one it is, its op, and the shapes that it got."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from graphengine.errors import ExecutionError, GraphEngineError, InputError
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode
from graphengine.ir.origins import node_text
from graphengine.ops.shapes import shape_text


def bounded(result: Any) -> Any:
    """The result of a node, if it is no Python integer beyond int64.

    Arithmetic on literals gives Python's integers, whose digits may double at each node.

    Raises
    ------
    OverflowError
        If it is one.
    """
    if type(result) is int and not -(2**63) <= result < 2**63:
        raise OverflowError(f"an integer of {result.bit_length()} bits does not fit int64")
    return result


def plan_failure(error: Exception, reference: Callable[[], Any]) -> GraphEngineError:
    """What went wrong in a plan, reported by the reference: it knows which node failed."""
    try:
        reference()
    except GraphEngineError as located:
        return located
    if isinstance(error, InputError):  # the parts of a node ask for more memory than the node
        return error
    return ExecutionError(f"a plan failed where the reference does not: {type(error).__name__}: {error}")


def failed(graph: Graph, node: GraphNode, method: str, arguments: Sequence[Any], reason: Exception) -> ExecutionError:
    """Return the error about a method of a node that failed, with the shapes of its arguments."""
    shapes = ", ".join(f"{name} {shape_text(np.shape(value))}" for name, value in _named(node, method, arguments))
    why = str(reason) if isinstance(reason, ValueError) else f"{type(reason).__name__}: {reason}"
    where = "" if method == "forward" else f" {method}"
    return ExecutionError(f"{node_text(graph, node)}{where}: {why} (shapes {shapes})", node=node.id)


def _named(node: GraphNode, method: str, arguments: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """The arguments of a call that are there with their names: inputs forward, gradients of outputs backward."""
    signature = node.node.signature
    outputs = signature.outputs if len(signature.outputs) > 1 else ("grad",)
    for place, value in enumerate(arguments):
        if value is not None:
            yield signature.input_name(place) if method == "forward" else outputs[place], value
