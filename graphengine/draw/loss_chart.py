"""The losses of a training as one chart: of each iteration, the mean of each epoch, and of the validation data."""

from __future__ import annotations

import math

from graphengine.draw.charts import Axes, Point, axes, legend, line, thinned
from graphengine.training.history import History


def loss_chart(history: History) -> tuple[Axes, tuple[str, ...]]:
    """The axes and the elements of the chart; an epoch of one iteration has no line of its own."""
    series = _series(history)
    frame = axes("loss", [point for points in series.values() for point in points], "iteration", logarithmic=None)
    names = legend("loss", list(series)) if len(series) > 1 else ()
    lines = (line(frame, thinned(points), index) for index, points in enumerate(series.values()))
    return frame, (*frame.elements(), *names, *lines)


def _series(history: History) -> dict[str, list[Point]]:
    length = len(history) / max(history.epochs_trained, 1)
    epochs = [(epoch.epoch * length, epoch.loss) for epoch in history.epochs] if length > 1 else []
    checks = [(float(check.iteration), check.values.get("validation_loss")) for check in history.checks]
    series = {
        "iteration": [(float(row.iteration), float(row.loss)) for row in history.iterations],
        "epoch": epochs,
        "validation": [(number, float(loss)) for number, loss in checks if loss is not None],
    }
    series = {name: [point for point in points if math.isfinite(point[1])] for name, points in series.items()}
    return {name: points for name, points in series.items() if name == "iteration" or len(points) > 1}
