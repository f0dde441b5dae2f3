"""Derivatives of vectors, made of nothing but the gradient of scalars.

The gradient of sum(u * r) by the parameters is J'u, a product of the Jacobian of r with weights u. It is linear in
u, so its own gradient along a direction v, toward u, is J v: a column of the Jacobian for a v with a single 1. Both are
graphs, exact, and vectorized over the samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import prod
from operator import add
from typing import Any

import numpy as np

from graphengine.ir.declarations import plain_inputs
from graphengine.ir.graph import Graph
from graphengine.ir.recording import Recorder
from graphengine.transform.backward import pruned, record_backward
from graphengine.transform.gradient import as_output, gradient

WEIGHTED, VALUE = "weighted", "/value"


def weighted(graph: Graph, weights: Sequence[tuple[str, str]], wrt: Sequence[str] = ()) -> Graph:
    """The graph of the scalar sum over pairs of sum(value * weight); the weights are new inputs of these names.

    It has the values `wrt` even if the sum does not depend on them.
    """
    kinds = {name: graph.types[value] for value, name in weights}
    inputs = plain_inputs(kinds)
    whole = graph.derive(graph.nodes, graph.outputs, {**graph.types, **kinds}, inputs={**graph.inputs, **inputs})
    recorder = Recorder(whole)
    recorder.enter(WEIGHTED)
    total = reduce(add, (_weighted(recorder, value, name) for value, name in weights))
    return pruned(recorder, {WEIGHTED: total.name}, f"weighted sum of values of {graph.name}", keep=(*inputs, *wrt))


def _weighted(recorder: Recorder, value: str, weight: str) -> Any:
    """The sum of a value times its weight."""
    product = recorder.symbol(weight) * recorder.symbol(value)
    return np.sum(product) if product.ndim else product


def transposed_product(graph: Graph, value: str, wrt: Sequence[str], weight: str) -> Graph:
    """The graph of J'u: its outputs are one for each of `wrt`, in order; u is the input `weight`."""
    return gradient(weighted(graph, [(value, weight)], wrt), of=WEIGHTED, wrt=wrt)


def directional(graph: Graph, value: str, wrt: Sequence[str], weight: str, directions: Sequence[str]) -> Graph:
    """The graph of J v, shaped as the value, its only output; v are the inputs `directions`, one for each of `wrt`.

    Raises
    ------
    DifferentiationError
        GE411 if a node on the way has no second derivative.
    """
    transposed = transposed_product(graph, value, wrt, weight)
    pairs = list(zip(transposed.outputs.values(), directions, strict=True))
    return gradient(weighted(transposed, pairs), of=WEIGHTED, wrt=[weight])


def columns(graph: Graph, value: str, wrt: Sequence[str], weight: str) -> Graph:
    """The graph of a value and of its Jacobian: a column shaped as the value for each number of each of `wrt`.

    All have in common what the value is computed from, so together they cost little more than one.

    Raises
    ------
    DifferentiationError
        GE411 if a node on the way has no second derivative.
    """
    scalar = weighted(graph, [(value, weight)], wrt)
    scalar = scalar.derive(scalar.nodes, {**scalar.outputs, VALUE: value}, scalar.types)
    transposed = _with_numbers(gradient(scalar, of=WEIGHTED, wrt=wrt, also=[VALUE]))
    recorder, outputs = Recorder(transposed), {VALUE: value}
    for name, target in transposed.outputs.items():
        if name != VALUE:
            column = record_backward(recorder, target, [weight])[weight]
            outputs[name] = as_output(recorder, column, weight)
    return pruned(recorder, outputs, f"columns of the Jacobian of {value} of {graph.name}", keep=(weight,))


def _with_numbers(graph: Graph) -> Graph:
    """The graph with an output for each number of each output but the value."""
    recorder, outputs = Recorder(graph), {VALUE: graph.outputs[VALUE]}
    for name, value in graph.outputs.items():
        shape: Any = graph.types[value].shape
        if name == VALUE or shape == ():
            outputs[name] = value
            continue
        outputs |= {f"{name} {place}": each.name for place, each in enumerate(_numbers(recorder, value, shape))}
    return graph.derive([*graph.nodes, *recorder.nodes], outputs, recorder.types)


def _numbers(recorder: Recorder, value: str, shape: Any) -> list[Any]:
    """Record each number of a value."""
    recorder.enter(value)
    numbers = np.split(np.reshape(recorder.symbol(value), -1), prod(shape))
    return [np.reshape(each, ()) for each in numbers]


def hessian(graph: Graph, loss: str, wrt: Sequence[str]) -> Graph:
    """The graph of the Hessian of a loss in scalars: an output for each pair, the rows of its upper triangle.

    Raises
    ------
    DifferentiationError
        GE411 if a node on the way has no second derivative.
    """
    slope = gradient(graph, of=loss, wrt=wrt)
    recorder, outputs = Recorder(slope), {}
    for place, target in enumerate(slope.outputs.values()):
        row = record_backward(recorder, target, wrt[place:])
        for name, value in row.items():
            outputs[f"{wrt[place]} {name}"] = as_output(recorder, value, name)
    return pruned(recorder, outputs, f"Hessian of {loss} of {graph.name}", keep=wrt)


def curvature(graph: Graph, loss: str, wrt: Sequence[str], directions: Sequence[str]) -> Graph:
    """The graph of H v, a product of the Hessian of a scalar: an output for each of `wrt`; v are new inputs.

    Raises
    ------
    DifferentiationError
        GE411 if a node on the way has no second derivative.
    """
    slope = gradient(graph, of=loss, wrt=wrt)
    pairs = list(zip(slope.outputs.values(), directions, strict=True))
    return gradient(weighted(slope, pairs, wrt), of=WEIGHTED, wrt=wrt)
