"""Sums of squares in a graph: found in a loss, or added for a residual with its weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from graphengine.fit.robust import Robust, record_robust
from graphengine.fit.solvers import LeastSquares
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode
from graphengine.ir.recording import Recorder

SUM_OF_SQUARES = "sum_of_squares"
"""The loss of a fit whose file declares none for its residual: the sum of squares, or of what replaces them."""


class Weighted(NamedTuple):
    """A graph in which a residual is divided by its standard deviation, or weighted; and the value that it is then."""

    graph: Graph
    residual: str


def weighted_residual(graph: Graph, options: LeastSquares) -> Weighted:
    """The residual whose plain squares a fit adds up, recorded in the graph where it is weighted."""
    residual = graph.value_name(options.residual)
    if not options.is_weighted:
        return Weighted(graph, residual)
    recorder = Recorder(graph)
    recorder.enter(f"{residual}/weighted")
    plain = recorder.symbol(residual)
    if options.sigma is not None:
        value = plain / recorder.symbol(graph.value_name(options.sigma))
    else:
        value = plain * np.sqrt(recorder.symbol(graph.value_name(str(options.weights))))
    return Weighted(_grown(graph, recorder, graph.outputs), value.name)


def with_sum_of_squares(graph: Graph, residual: str, robust: Robust | None = None) -> Graph:
    """The graph with one more output, the sum of the squares of a residual, or of what a robust loss makes of them."""
    recorder = Recorder(graph)
    recorder.enter(residual)
    value = recorder.symbol(residual)
    squares = recorder.apply("square", (value,), {}) if robust is None else record_robust(recorder, value, robust)
    total = recorder.apply("sum", (squares,), {}) if squares.ndim else squares
    return _grown(graph, recorder, {**graph.outputs, SUM_OF_SQUARES: total.name})


def _grown(graph: Graph, recorder: Recorder, outputs: Any) -> Graph:
    """The graph with all that was recorded."""
    return graph.derive([*graph.nodes, *recorder.nodes], outputs, recorder.types)


def squared_residual(graph: Graph, loss: str) -> str | None:
    """The residual of a loss that is the mean or the sum of squares of one value; None of any other loss."""
    made = {node.id: node for node in graph.nodes}
    reduction = made.get(loss)
    if reduction is None or reduction.op not in ("mean", "sum") or not isinstance(reduction.inputs[0], str):
        return None
    return _base_of_square(made.get(reduction.inputs[0]))


def _base_of_square(node: GraphNode | None) -> str | None:
    """What a node squares: by `square`, by a power of 2, or by a product with itself."""
    if node is None or not isinstance(node.inputs[0], str):
        return None
    return node.inputs[0] if _is_square(node) else None


def _is_square(node: GraphNode) -> bool:
    if node.op == "pow":
        return node.inputs[1] == 2
    return node.op == "square" or (node.op == "mul" and node.inputs[0] == node.inputs[1])


def with_difference(graph: Graph, loss: str) -> Weighted | None:
    """The graph with the difference whose squares a loss of op `mse` adds up; None of any other loss."""
    node = next((node for node in graph.nodes if node.id == loss), None)
    if node is None or node.op != "mse":
        return None
    recorder = Recorder(graph)
    recorder.enter(f"{loss}/residual")
    prediction, target = map(recorder.symbol, node.inputs)
    difference = recorder.apply("sub", (target, prediction), {})
    return Weighted(_grown(graph, recorder, graph.outputs), difference.name)
