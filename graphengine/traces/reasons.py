"""Why the backward pass does not walk along an edge, in words."""

from __future__ import annotations

from collections.abc import Container

from graphengine.ir.graph import Graph
from graphengine.ir.nodes import Operand
from graphengine.ops.shapes import ArrayType, dtype_name


def not_walked(graph: Graph, operand: Operand, active: Container[str]) -> str:
    """Why an operand gets no gradient: nothing it depends on is learned, or no gradient can flow to it.

    `active` are the values that depend on what the gradient is asked for, through floating-point values.
    """
    if not isinstance(operand, str):
        return "a number in the file is constant"
    if operand in active:
        return "the op gives it no gradient"
    return _not_learned(graph, operand)


def _not_learned(graph: Graph, name: str) -> str:
    sources = {
        "an input is data, not a parameter": graph.inputs,
        "state is not trained": graph.state,
        "its gradient was not requested": graph.trainable,
        "the parameter is not trainable": graph.parameters,
    }
    found = (reason for reason, names in sources.items() if name in names)
    return next(found, None) or _result_not_learned(graph.types[name])


def _result_not_learned(kind: ArrayType) -> str:
    if not kind.is_differentiable:
        return f"{dtype_name(kind.dtype)} numbers have no gradient"
    return "it depends on no trainable value"
