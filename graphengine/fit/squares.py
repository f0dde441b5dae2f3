"""Sums of squares in a graph: found in a loss, or added for a residual."""

from __future__ import annotations

from graphengine.ir.graph import Graph
from graphengine.ir.recording import Recorder
from graphengine.transform.gradient import pruned

SUM_OF_SQUARES = "sum_of_squares"
"""The loss of a fit whose file declares none for its residual."""


def with_sum_of_squares(graph: Graph, residual: str) -> Graph:
    """The graph with one more output, the sum of the squares of a residual."""
    recorder = Recorder(graph)
    recorder.enter(residual)
    square = recorder.apply("square", (recorder.symbol(residual),), {})
    total = recorder.apply("sum", (square,), {}) if square.ndim else square
    outputs = {**graph.outputs, SUM_OF_SQUARES: total.name}
    return pruned(recorder, outputs, f"least squares of {residual}", keep=graph.parameters)


def squared_residual(graph: Graph, loss: str) -> str | None:
    """The residual of a loss that is the mean or the sum of squares of one value; None of any other loss."""
    made = {node.id: node for node in graph.nodes}
    reduction = made.get(loss)
    if reduction is None or reduction.op not in ("mean", "sum") or not isinstance(reduction.inputs[0], str):
        return None
    square = made.get(reduction.inputs[0])
    return str(square.inputs[0]) if square is not None and square.op == "square" else None
