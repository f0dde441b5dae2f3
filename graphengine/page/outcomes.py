"""What the predictions of a film come to in each frame: classes that are correct or wrong, residuals of a fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from graphengine.ir.nodes import GraphNode
from graphengine.mappings import picked
from graphengine.model.model import Model
from graphengine.ops.shapes import ArrayType, Shape
from graphengine.page.film import Film
from graphengine.page.landscape import Target, compared_outputs, data_of
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
    """The values of a model that score classes and name the true one, and the names of the classes."""

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
        fixed = picked(given, graph.sources.keys() & given.keys() - graph.inputs.keys())
        found = []
        for batch in self.batches if batches is None else batches:
            slots = executor.forward({**fixed, **batch}, schedule)
            found.append([np.atleast_1d(slots[executor.slot_of[name]]) for name in names])
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def classes_of(model: Model, film: Film, loss: str) -> Classes | None:
    """Return what scores classes: by the loss of the model, or because all targets are 0 or 1; None for others."""
    if not film.batches:
        return None
    node = next((node for node in model.graph.nodes if node.op in LOSSES and node.node.is_core), None)
    return _two_classes(target_of(model, loss), film) if node is None else _scored_by(node, model)


def _scored_by(node: GraphNode, model: Model) -> Classes | None:
    """Return the classes of such a loss, if both of its operands are values and the number of classes is known."""
    scores, targets = node.inputs[:2]
    if not (isinstance(scores, str) and isinstance(targets, str)):
        return None
    count = _class_count(node.op, model.graph.types[scores].shape)
    return None if count is None else Classes(node.op, scores, targets, _class_names(model, targets, count))


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


def true_classes(classes: Classes, targets: Matrix) -> Matrix:
    """Return the index of the true class of each sample."""
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


def confusion(true: Matrix, predicted: Matrix, count: int) -> Matrix:
    """Return how many samples of each class (rows) are predicted as each class (columns)."""
    return np.bincount(true * count + predicted, minlength=count * count).reshape(count, count)


class Plane(NamedTuple):
    """The plane of two inputs: their names, the samples, a grid, and the batch that has a sample at each grid point."""

    names: tuple[str, str]
    points: Matrix
    xs: Matrix
    ys: Matrix
    batch: Mapping[str, Any]


def plane_of(model: Model, film: Film, value: str) -> Plane | None:
    """Return the plane of the inputs of a value: one input of two numbers a sample, or two of one; else None."""
    columns = _coordinates(model, film, value)
    shapes = [column.shape[1:] for column in columns.values()]
    if shapes == [(2,)]:
        ((name, points),) = columns.items()
        return _plane(points, (f"{name}[0]", f"{name}[1]"), lambda grid: {name: grid})
    if shapes == [(), ()]:
        first, second = columns
        points = np.stack(list(columns.values()), axis=-1)
        return _plane(points, (first, second), lambda grid: {first: grid[:, 0], second: grid[:, 1]})
    return None


def _coordinates(model: Model, film: Film, value: str) -> Mapping[str, Matrix]:
    """Return the data that a value depends on, by input; nothing if some of them are no coordinates."""
    types, data = model.graph.types, data_of(film.batches)
    columns = {name: data[name] for name in model.executor.inputs_of([value]) if name in data}
    return columns if all(types[name].is_differentiable and types[name].shape for name in columns) else {}


def _plane(points: Matrix, names: tuple[str, str], batch_of: Callable[[Matrix], Mapping[str, Any]]) -> Plane:
    """Return the plane around samples, whose grid comes as a batch."""
    xs, ys = np.linspace(*_around(points), GRID, axis=-1)
    grid = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2).astype(points.dtype)
    return Plane(names, points, xs, ys, batch_of(grid))


def _around(points: Matrix) -> tuple[Matrix, Matrix]:
    """Return the lowest and highest coordinates of a field with some room around the points."""
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.where(high > low, 0.15 * (high - low), 1.0)
    return low - room, high + room


def target_of(model: Model, loss: str) -> Target | None:
    """Return the output that the loss compares with an input of its shape, one number a sample; None without."""
    types = model.graph.types
    found = (each for each in compared_outputs(model, loss) if each.inputs)
    return next((each for each in found if _are_alike(types[each.value], types[each.target])), None)


def _are_alike(value: ArrayType, target: ArrayType) -> bool:
    """Return whether both are floating-point, with one number a sample."""
    has_one = value.shape == target.shape and set(value.shape[1:]) <= {1}
    return has_one and value.is_differentiable and target.is_differentiable
