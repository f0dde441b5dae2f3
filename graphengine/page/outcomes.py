"""What the predictions of a film come to in each frame: classes that are right or wrong, residuals of a fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from graphengine.model.model import Model
from graphengine.ops.shapes import Shape
from graphengine.page.film import Film
from graphengine.page.landscape import data_of
from graphengine.wording import escaped

LOSSES = ("binary_cross_entropy", "softmax_cross_entropy", "negative_log_likelihood", "hinge")
"""Losses of classes, with the scores as first operand and the classes as second."""
SEVERAL = LOSSES[1:3]
"""Those that have a score for each class; the others have one score for two classes."""
MOST_CLASSES = 10
GRID = 28
"""So many places has the plane of two inputs across and up."""

Matrix: TypeAlias = np.ndarray[Any, Any]


class Classes(NamedTuple):
    """The values of a model that score classes and say which is right, and the names of the classes."""

    op: str
    scores: str
    targets: str
    names: tuple[str, ...]


class FilmValues:
    """Computes values of a model for all data of a film, with the parameters of a frame."""

    def __init__(self, model: Model, film: Film) -> None:
        self.model, self.batches = model, film.batches

    def __call__(self, given: Mapping[str, Any], names: Sequence[str], batches: Any = None) -> list[Matrix]:
        """Return values, those of the batches one after the other."""
        graph, executor = self.model.graph, self.model.executor
        schedule = executor.forward_schedule(names)
        fixed = {name: given[name] for name in graph.sources if name in given and name not in graph.inputs}
        found = []
        for batch in self.batches if batches is None else batches:
            slots = executor.forward({**fixed, **batch}, schedule)
            found.append([np.atleast_1d(slots[executor.slot_of[name]]) for name in names])
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def classes_of(model: Model, film: Film, loss: str) -> Classes | None:
    """Return what scores classes: by the loss of the model, or because all targets are 0 or 1; None for others."""
    graph = model.graph
    node = next((node for node in graph.nodes if node.op in LOSSES and node.node.is_core), None)
    if not film.batches:
        return None
    if node is None:
        return _two_classes(target_of(model, loss), film)
    scores, targets = node.inputs[:2]
    if not isinstance(scores, str) or not isinstance(targets, str):
        return None
    count = _class_count(node.op, graph.types[scores].shape)
    if count is None:
        return None
    return Classes(node.op, scores, targets, _class_names(model, targets, count))


def _class_count(op: str, scores: Shape) -> int | None:
    """Return the number of classes that a loss scores, if it is known and not too large."""
    count = scores[-1:] if op in SEVERAL else (2,)
    return next((size for size in count if isinstance(size, int) and size <= MOST_CLASSES), None)


def _class_names(model: Model, targets: str, count: int) -> tuple[str, ...]:
    """Return the categories that the file declares for the targets, else the numbers of the classes."""
    declared = model.document.inputs[targets].categories if targets in model.graph.inputs else None
    named = declared if declared and len(declared) == count else range(count)
    return tuple([escaped(str(each)) for each in named])


def _two_classes(target: Target | None, film: Film) -> Classes | None:
    """Return classes 0 and 1 where all targets are one of them."""
    if target is None or not np.isin(data_of(film.batches)[target.target], (0, 1)).all():
        return None
    return Classes("", target.value, target.target, ("0", "1"))


def scored(classes: Classes, scores: Matrix) -> Matrix:
    """Return a row of scores for each sample, whose softmax are the probabilities of the classes."""
    if classes.op in SEVERAL:
        return np.reshape(scores, (-1, len(classes.names)))
    flat = np.ravel(scores)
    if classes.op == "":
        near = np.clip(flat, 1e-9, 1 - 1e-9)
        flat = np.log(near / (1 - near))
    return np.stack([np.zeros_like(flat), 2 * flat if classes.op == "hinge" else flat], axis=-1)


def right_classes(classes: Classes, targets: Matrix) -> Matrix:
    """Return the index of the class that is right, for each sample."""
    if classes.op not in SEVERAL:
        above: Matrix = np.ravel(targets) > (0 if classes.op == "hinge" else 0.5)
        return above.astype(int)
    if targets.dtype.kind == "f":
        largest: Matrix = np.argmax(np.reshape(targets, (-1, len(classes.names))), axis=-1)
        return largest
    return np.ravel(targets)


def probabilities(scores: Matrix) -> Matrix:
    """Return the softmax of each row."""
    with np.errstate(all="ignore"):
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares: Matrix = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def confusion(right: Matrix, predicted: Matrix, count: int) -> Matrix:
    """Return how many samples of each class (rows) are predicted as each class (columns)."""
    return np.bincount(right * count + predicted, minlength=count * count).reshape(count, count)


class Plane(NamedTuple):
    """The plane of two inputs: their names, the samples, a grid, and the batch that has a sample at each grid point."""

    names: tuple[str, str]
    points: Matrix
    xs: Matrix
    ys: Matrix
    batch: Mapping[str, Any]


def plane_of(model: Model, film: Film, value: str) -> Plane | None:
    """Return the plane of the inputs of a value: one input of two numbers a sample, or two of one; else None."""
    graph, data = model.graph, data_of(film.batches)
    inputs = [name for name in model.executor.inputs_of([value]) if name in data]
    if not all(graph.types[name].is_differentiable and graph.types[name].shape for name in inputs):
        return None
    shapes = [np.shape(data[name])[1:] for name in inputs]
    if shapes == [(2,)]:
        points, names = data[inputs[0]], (f"{inputs[0]}[0]", f"{inputs[0]}[1]")
    elif shapes == [(), ()]:
        points, names = np.stack([data[name] for name in inputs], axis=-1), (inputs[0], inputs[1])
    else:
        return None
    xs, ys = np.linspace(*_around(points), GRID, axis=-1)
    grid = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2).astype(points.dtype)
    batch = {inputs[0]: grid} if len(inputs) == 1 else dict(zip(inputs, grid.T, strict=True))
    return Plane(names, points, xs, ys, batch)


def _around(points: Matrix) -> tuple[Matrix, Matrix]:
    """Return the lowest and highest coordinates of a field with some room around the points."""
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.where(high > low, 0.15 * (high - low), 1.0)
    return low - room, high + room


class Target(NamedTuple):
    """An output and the input that it should be."""

    output: str
    value: str
    target: str
    inputs: tuple[str, ...]


def target_of(model: Model, loss: str) -> Target | None:
    """Return the output that the loss compares with an input of its shape, one number a sample; None without."""
    graph, executor = model.graph, model.executor
    compared = executor.inputs_of([graph.value_name(loss)])
    for output, value in graph.outputs.items():
        inputs = executor.inputs_of([value])
        others = [name for name in compared if name not in inputs]
        if not inputs or len(others) != 1:
            continue
        kinds = [graph.types[value], graph.types[others[0]]]
        is_one = set(kinds[0].shape[1:]) <= {1} and kinds[0].shape == kinds[1].shape
        if is_one and all(kind.is_differentiable for kind in kinds):
            return Target(output, value, others[0], tuple(inputs))
    return None
