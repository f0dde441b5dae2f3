"""How well predictions meet targets: a confusion matrix for classes, errors for numbers, added up over batches."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from graphengine.ops.norms import euclidean_norm


class ClassScores(NamedTuple):
    """Scores of one class: `support` is the number of rows that have it; NaN where nothing has been counted."""

    name: str | float
    precision: float
    recall: float
    f1: float
    support: int


@dataclass
class ClassCounts:
    """Counts rows by their class and the predicted one: `matrix[true, predicted]`, as in scikit-learn."""

    names: tuple[str | float, ...]
    matrix: np.ndarray[Any, np.dtype[np.int64]] = field(init=False)

    def __post_init__(self) -> None:
        self.matrix = np.zeros((len(self.names), len(self.names)), np.int64)

    def add(self, target: Any, predicted: Any) -> None:
        """Count rows; a target that is none of the classes, such as an ignored label, is left out."""
        target, predicted = np.ravel(target).astype(np.int64), np.ravel(predicted).astype(np.int64)
        known = (target >= 0) & (target < len(self.names))
        np.add.at(self.matrix, (target[known], predicted[known]), 1)

    @property
    def metrics(self) -> dict[str, float]:
        """The share of the rows whose class is the predicted one."""
        return {"accuracy": _ratio(np.trace(self.matrix), self.matrix.sum())}

    def scores(self) -> list[ClassScores]:
        """Precision, recall and their harmonic mean for each class."""
        hits, predicted, support = np.diag(self.matrix), self.matrix.sum(0), self.matrix.sum(1)
        return [
            ClassScores(
                name,
                _ratio(hits[each], predicted[each]),
                _ratio(hits[each], support[each]),
                _ratio(2 * hits[each], predicted[each] + support[each]),
                int(support[each]),
            )
            for each, name in enumerate(self.names)
        ]


@dataclass
class Errors:
    """Adds up the errors of predicted numbers, and how far the targets are from their mean.

    Lengths of the vectors of both are kept and no squares, which would leave the range of the numbers. That around the
    mean is merged over batches by the formula of Chan, Golub and LeVeque (1979).
    """

    count: int = 0
    absolute: float = 0.0
    length: float = 0.0
    mean: float = 0.0
    spread: float = 0.0

    def add(self, target: Any, predicted: Any) -> None:
        """Add the rows of a batch."""
        target = np.ravel(target).astype(np.float64)
        error = np.ravel(predicted) - target
        before, self.count = self.count, self.count + target.size
        share, mean = target.size / self.count, _mean(target)
        moved = (mean - self.mean) * math.sqrt(before * share)
        self.spread = math.hypot(self.spread, euclidean_norm(target - mean), moved)
        self.length = math.hypot(self.length, euclidean_norm(error))
        self.mean += (mean - self.mean) * share
        self.absolute += (_mean(np.abs(error)) - self.absolute) * share

    @property
    def metrics(self) -> dict[str, float]:
        """R squared (NaN for targets that are all equal), mean absolute error, root mean squared error."""
        ratio = _ratio(self.length, self.spread)
        root_mean = _ratio(self.length, math.sqrt(self.count))
        return {"r2": 1 - ratio * ratio, "mae": self.absolute if self.count else math.nan, "rmse": root_mean}


def _mean(values: Any) -> float:
    """The mean, also where the sum is beyond the largest number."""
    with np.errstate(over="ignore"):
        mean = float(np.mean(values))
    return mean if math.isfinite(mean) else float(np.sum(values / len(values)))


def _ratio(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else math.nan
