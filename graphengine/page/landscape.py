"""What a small model can be seen to do: its curve through the data, and its loss as a landscape over its parameters.

A curve is shown for an output that depends on one input of one number a sample and is compared with another; a
landscape for one or two trainable numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphengine.backends.reference.executor import Executor
from graphengine.draw.charts import Point
from graphengine.mappings import absent, only
from graphengine.model.model import Model

CURVE_POINTS = 41
GRID = {1: 61, 2: 26}
"""How many values each parameter takes in a landscape of one and of two parameters."""


UNKNOWN = np.zeros(())
"""What an input is that the data do not have; it is no column."""


class Scatter(NamedTuple):
    """Data and the name of the output that should follow it: y over x."""

    x: str
    y: str
    output: str
    points: tuple[Point, ...]


class Target(NamedTuple):
    """An output, its value, the input that it is compared with, and the inputs that it depends on."""

    output: str
    value: str
    target: str
    inputs: tuple[str, ...]


def data_of(batches: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """The data of batches, one after the other, by input."""
    return {name: np.concatenate([np.atleast_1d(batch[name]) for batch in batches]) for name in (batches or [{}])[0]}


def compared_outputs(model: Model, loss: str) -> Iterator[Target]:
    """The outputs that the loss compares with one input that they do not depend on."""
    graph, executor = model.graph, model.executor
    compared = executor.inputs_of([graph.value_name(loss)])
    for output, value in graph.outputs.items():
        inputs = executor.inputs_of([value])
        others = absent(compared, inputs)
        if len(others) == 1:
            yield Target(output, value, others[0], tuple(inputs))


def scatter_of(model: Model, batches: Sequence[Mapping[str, Any]], loss: str) -> Scatter | None:
    """The data that an output of one input can be drawn through; None where there is no such output."""
    data, types = data_of(batches), model.graph.types
    for found in compared_outputs(model, loss):
        columns = [data.get(name, UNKNOWN) for name in (*found.inputs, found.target)]
        has_shape = types[found.value].shape == types[found.target].shape
        if has_shape and list(map(np.ndim, columns)) == [1, 1]:
            points = zip(*(column.astype(float).tolist() for column in columns), strict=True)
            return Scatter(found.inputs[0], found.target, found.output, tuple(points))
    return None


def curve(model: Model, scatter: Scatter, parameters: Mapping[str, Any]) -> list[Point]:
    """The output over the range of the data, for given parameters."""
    xs = [x for x, _ in scatter.points]
    room = 0.04 * (max(xs) - min(xs))
    grid = np.linspace(min(xs) - room, max(xs) + room, CURVE_POINTS)
    executor, value, kind = model.executor, model.graph.outputs[scatter.output], model.graph.types[scatter.x]
    schedule = executor.forward_schedule([value])
    values = {**model.values, **only(parameters, model.graph.parameters)}

    def at(x: Any) -> Any:
        return executor.forward({**values, scatter.x: x}, schedule)[executor.slot_of[value]]

    given = grid.astype(kind.array_dtype)
    ys = at(given) if kind.shape else list(map(at, given))
    return list(zip(grid.tolist(), np.broadcast_to(ys, grid.shape).astype(float).tolist(), strict=True))


class Landscape(NamedTuple):
    """The loss over one or two trainable numbers: their names, the values they take, and the losses."""

    names: tuple[str, ...]
    grids: tuple[np.ndarray[Any, Any], ...]
    losses: np.ndarray[Any, Any]


def coordinates(model: Model, parameters: Mapping[str, Any]) -> list[float]:
    """All trainable numbers, one after the other."""
    values = (np.ravel(parameters[name]).astype(float).tolist() for name in model.graph.trainable)
    return list(itertools.chain.from_iterable(values))


def landscape_of(
    model: Model,
    batches: Sequence[Mapping[str, Any]],
    loss: str,
    path: Sequence[Sequence[float]],
    start: Mapping[str, Any],
) -> Landscape | None:
    """The landscape around a path; None for more than two numbers.

    The other values are those of a training's `start`, which has initialized them.
    """
    names = coordinate_names(model, start)
    finite = [point for point in path if np.isfinite(point).all()]
    if len(names) not in GRID or not (finite and batches):
        return None
    grids = tuple(_around(numbers, GRID[len(names)]) for numbers in zip(*finite, strict=True))
    mean_loss = _mean_loss(model, batches, model.graph.value_name(loss), only(start, model.graph.sources))
    losses = np.array(list(map(mean_loss, itertools.product(*grids))))
    return Landscape(tuple(names), grids, losses.reshape(list(map(len, grids))))


def _mean_loss(
    model: Model, batches: Sequence[Mapping[str, Any]], value: str, start: Mapping[str, Any]
) -> Callable[[Sequence[float]], float]:
    """The loss of all data as a function of the trainable numbers."""
    executor = Executor(model.graph)
    schedule = executor.forward_schedule([value])

    def mean_loss(point: Sequence[float]) -> float:
        values = {**start, **_parameters(model, point, start)}
        losses = [executor.forward({**values, **batch}, schedule)[executor.slot_of[value]] for batch in batches]
        return float(np.mean(losses))

    return mean_loss


def coordinate_names(model: Model, start: Mapping[str, Any]) -> list[str]:
    """A name for each trainable number: that of its parameter, with its place in an array."""
    names = []
    for name in model.graph.trainable:
        names += [f"{name}[{index}]" if np.ndim(start[name]) else name for index in range(np.size(start[name]))]
    return names


def _around(numbers: Sequence[float], count: int) -> np.ndarray[Any, Any]:
    """Values around the numbers of a path, with the last of them near the middle."""
    last = numbers[-1]
    reach = max(abs(number - last) for number in numbers) or abs(last) or 1.0
    return np.linspace(last - 1.25 * reach, last + 1.25 * reach, count)


def _parameters(model: Model, point: Sequence[float], start: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that have given numbers."""
    rest, parameters = list(point), {}
    for name in model.graph.trainable:
        old = np.asarray(start[name])
        numbers, rest = rest[: old.size], rest[old.size :]
        parameters[name] = np.array(numbers, old.dtype).reshape(old.shape)[()]
    return parameters
