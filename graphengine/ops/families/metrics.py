"""Metrics: they measure how good predictions are. They are not minimized, so none of them has a gradient."""

import numpy as np

from graphengine.ops.families.comparison import where_defined
from graphengine.ops.families.losses import is_number
from graphengine.ops.families.reductions import Norm
from graphengine.ops.node import Node
from graphengine.ops.registry import register
from graphengine.ops.shapes import ArrayType, shape_text


def of_classes(scores, targets):
    """Check that there is one integer target for each row of scores, whose last axis is that of the classes."""
    if targets.array_dtype.kind not in "iu" or scores.shape[:-1] != targets.shape or not scores.shape:
        shapes = f"{shape_text(scores.shape)} and {shape_text(targets.shape)} of {targets.array_dtype}"
        raise ValueError(f"scores need classes on the last axis and an integer target for each row, not {shapes}")


@register("accuracy")
class Accuracy(Node):
    """Share of the rows whose largest score is that of the target; the first of equal scores counts.

    z = mean(argmax(scores) == targets).

    NaN if a score is NaN.
    """

    def infer(self, scores, targets):
        of_classes(scores, targets)
        return ArrayType((), scores.array_dtype if scores.is_differentiable else np.dtype("float64"))

    def forward(self, scores, targets):
        dtype = scores.dtype if scores.dtype.kind == "f" else np.dtype(np.float64)
        right = np.equal(np.argmax(scores, axis=-1), targets)
        known = where_defined(right, np.max(scores, axis=-1))
        return (np.sum(known) / np.size(right)).astype(dtype.name)


@register("confusion_matrix")
class ConfusionMatrix(Node):
    """Number of rows by target (first axis) and by the class with the largest score (second axis).

    z[i, j] = sum((targets == i) * (argmax(scores) == j)).

    NaN counts as the largest score, as in `argmax`.
    """

    merge = "sum"

    def infer(self, scores, targets):
        of_classes(scores, targets)
        return ArrayType((scores.shape[-1],) * 2, np.dtype("int64"))

    def forward(self, scores, targets):
        classes = scores.shape[-1]
        places = np.ravel(targets).astype(np.int64) * classes + np.ravel(np.argmax(scores, axis=-1))
        return np.bincount(places, minlength=classes * classes).reshape(classes, classes)


@register("r2")
class R2(Node):
    """Coefficient of determination, z = 1 - sum((target - prediction)**2) / sum((target - mean(target))**2).

    Integers are subtracted as floating-point numbers. Squares may exceed the range of the dtype.
    """

    def infer(self, prediction, target):
        if prediction.shape != target.shape:
            shapes = f"{shape_text(prediction.shape)} and {shape_text(target.shape)}"
            raise ValueError(f"prediction and target must have the same shape, not {shapes}")
        if "b" in (prediction.array_dtype.kind, target.array_dtype.kind):
            raise ValueError(f"prediction and target must be numbers, not {prediction} and {target}")
        return ArrayType((), np.result_type(prediction.array_dtype, target.array_dtype, np.float32))

    def forward(self, prediction, target):
        kinds = [np.dtype(type(value)) if is_number(value) else value.dtype for value in (prediction, target)]
        dtype = np.result_type(*kinds, np.float32)
        prediction, target = (value if is_number(value) else value.astype(dtype.name) for value in (prediction, target))
        errors, about = np.subtract(target, prediction), np.subtract(target, np.mean(target))
        return (1 - np.square(Norm()(errors) / Norm()(about))).astype(dtype.name)
