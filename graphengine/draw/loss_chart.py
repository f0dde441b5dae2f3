"""The losses of a training as one chart: of each iteration, the mean of each epoch, and of the validation data."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import chain

from graphengine.draw.charts import Axes, Point, axes, legend, line, thinned
from graphengine.training.history import History


def loss_chart(history: History) -> tuple[Axes, tuple[str, ...]]:
    """The axes and the elements of the chart; an epoch of one iteration has no line of its own."""
    series = _series(history)
    frame = axes("loss", list(chain.from_iterable(series.values())), "iteration", logarithmic=None)
    names = legend("loss", list(series)) if len(series) > 1 else ()
    lines = (line(frame, thinned(points), index) for index, points in enumerate(series.values()))
    return frame, (*frame.elements(), *names, *lines)


def _series(history: History) -> dict[str, list[Point]]:
    length = len(history) / max(history.epochs_trained, 1)
    iterations = _finite((row.iteration, row.loss) for row in history.iterations)
    epochs = _finite((epoch.epoch * length, epoch.loss) for epoch in history.epochs)
    checks = _finite((check.iteration, check.values.get("validation_loss")) for check in history.checks)
    series = {"epoch": epochs if length > 1 else [], "validation": checks}
    return {"iteration": iterations} | {name: points for name, points in series.items() if len(points) > 1}


def _finite(points: Iterable[tuple[float, float | None]]) -> list[Point]:
    return [(float(x), float(y)) for x, y in points if y is not None and math.isfinite(y)]
