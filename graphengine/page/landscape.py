"""What a small model can be seen to do: its curve through the data, and its loss as a landscape over its parameters.

A curve is shown for an output that depends on one input of one number a sample and is compared with another; a
landscape for one or two trainable numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphengine.backends.reference.executor import Executor
from graphengine.draw.charts import Point
from graphengine.model.model import Model

CURVE_POINTS = 41
GRID = {1: 61, 2: 26}
"""How many values each parameter takes in a landscape of one and of two parameters."""


class Scatter(NamedTuple):
    """Data and the name of the output that should follow it: y over x."""

    x: str
    y: str
    output: str
    points: tuple[Point, ...]


def data_of(batches: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """The data of batches, one after the other, by input."""
    return {name: np.concatenate([np.atleast_1d(batch[name]) for batch in batches]) for name in (batches or [{}])[0]}


def scatter_of(model: Model, batches: Sequence[Mapping[str, Any]], loss: str) -> Scatter | None:
    """The data that an output of one input can be drawn through; None where there is no such output."""
    data = data_of(batches)
    graph, executor = model.graph, model.executor
    compared = executor.inputs_of([graph.value_name(loss)])
    for output, value in graph.outputs.items():
        inputs = executor.inputs_of([value])
        others = [name for name in compared if name not in inputs]
        if len(inputs) != 1 or len(others) != 1 or graph.types[value].shape != graph.types[others[0]].shape:
            continue
        (x,), (y,) = inputs, others
        if x in data and y in data and np.ndim(data[x]) == np.ndim(data[y]) == 1:
            return Scatter(x, y, output, tuple(zip(map(float, data[x]), map(float, data[y]), strict=True)))
    return None


def curve(model: Model, scatter: Scatter, parameters: Mapping[str, Any]) -> list[Point]:
    """The output over the range of the data, for given parameters."""
    xs = [x for x, _ in scatter.points]
    room = 0.04 * (max(xs) - min(xs))
    grid = np.linspace(min(xs) - room, max(xs) + room, CURVE_POINTS)
    executor, value = model.executor, model.graph.outputs[scatter.output]
    schedule = executor.forward_schedule([value])
    dtype = model.graph.types[scatter.x].array_dtype
    values = {**model.values, **{name: parameters[name] for name in model.graph.parameters if name in parameters}}

    def at(x: Any) -> Any:
        return executor.forward({**values, scatter.x: x}, schedule)[executor.slot_of[value]]

    is_batch = bool(model.graph.types[scatter.x].shape)
    ys = at(grid.astype(dtype)) if is_batch else [at(dtype.type(x)) for x in grid]
    return [(float(x), float(y)) for x, y in zip(grid, np.broadcast_to(ys, grid.shape), strict=True)]


class Landscape(NamedTuple):
    """The loss over one or two trainable numbers: their names, the values they take, and the losses."""

    names: tuple[str, ...]
    grids: tuple[np.ndarray[Any, Any], ...]
    losses: np.ndarray[Any, Any]


def coordinates(model: Model, parameters: Mapping[str, Any]) -> list[float]:
    """All trainable numbers, one after the other."""
    values = [np.ravel(parameters[name]) for name in model.graph.trainable]
    return [float(number) for value in values for number in value]


def landscape_of(
    model: Model, batches: Sequence[Mapping[str, Any]], loss: str, path: Sequence[Sequence[float]]
) -> Landscape | None:
    """The landscape around a path; None for more than two numbers."""
    names = coordinate_names(model)
    finite = [point for point in path if np.isfinite(point).all()]
    if len(names) not in GRID or not finite or not batches:
        return None
    grids = tuple(_around(numbers, GRID[len(names)]) for numbers in zip(*finite, strict=True))
    value = model.graph.value_name(loss)
    executor = Executor(model.graph)
    schedule = executor.forward_schedule([value])

    def mean_loss(point: Sequence[float]) -> float:
        values = {**model.values, **_parameters(model, point)}
        losses = [executor.forward({**values, **batch}, schedule)[executor.slot_of[value]] for batch in batches]
        return float(np.mean(losses))

    losses = np.array([mean_loss(point) for point in itertools.product(*grids)])
    return Landscape(tuple(names), grids, losses.reshape([len(grid) for grid in grids]))


def coordinate_names(model: Model) -> list[str]:
    """A name for each trainable number: that of its parameter, with its place in an array."""
    names = []
    for name in model.graph.trainable:
        size, shape = np.size(model.values[name]), np.shape(model.values[name])
        names += [f"{name}[{index}]" if shape else name for index in range(size)]
    return names


def _around(numbers: Sequence[float], count: int) -> np.ndarray[Any, Any]:
    """Values around the numbers of a path, with the last of them near the middle."""
    last = numbers[-1]
    reach = max(abs(number - last) for number in numbers) or abs(last) or 1.0
    return np.linspace(last - 1.25 * reach, last + 1.25 * reach, count)


def _parameters(model: Model, point: Sequence[float]) -> dict[str, Any]:
    """The parameters that have given numbers."""
    rest, parameters = list(point), {}
    for name in model.graph.trainable:
        old = np.asarray(model.values[name])
        numbers, rest = rest[: old.size], rest[old.size :]
        parameters[name] = np.array(numbers, old.dtype).reshape(old.shape)[()]
    return parameters
