"""The charts of what predictions come to: classes and the boundary between them, residuals."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphengine.draw.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axes, Point, axes, line, round_up
from graphengine.draw.contours import zero_lines
from graphengine.errors import GraphEngineError
from graphengine.escaping import markup
from graphengine.model.model import Model
from graphengine.page.film import Film
from graphengine.page.gauges import Gauge
from graphengine.page.landscape import Target
from graphengine.page.outcomes import (
    Classes,
    FilmValues,
    Matrix,
    Plane,
    classes_of,
    confusion,
    plane_of,
    probabilities,
    scored,
    target_of,
    true_classes,
)
from graphengine.traces.summary import number_text

MOST_POINTS = 150
"""Of more samples every second, third, ... one is drawn."""
SHARES = (0.06, 0.3)
"""The opacity of a cell without samples, and of one with all of its class."""
LEVELS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""The labeled heights of a chart whose scale changes, as shares of the number at its top."""
TOPS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""The leading digits of that number."""


def outcome_gauges(model: Model, film: Film, loss: str) -> list[Gauge]:
    """All charts of predictions that a model has."""
    classes = classes_of(model, film, loss)
    try:
        return list(_residuals(model, film, loss) if classes is None else _of_classes(model, film, classes))
    except GraphEngineError:  # a batch of the data may have other sizes than the training takes
        return []


def _of_classes(model: Model, film: Film, classes: Classes) -> Iterator[Gauge]:
    evaluate = FilmValues(model, film)
    names = [classes.scores, classes.targets]
    found = [evaluate(shot.given, names) for shot in film.frames]
    true = true_classes(classes, found[0][1])
    rows = [scored(classes, scores) for scores, _ in found]
    if not _are_scored(classes, true, rows):
        return
    yield _predictions(classes, true, rows)
    yield _confusion(classes, true, rows)
    if plane := plane_of(model, film, classes.scores):
        fields = [scored(classes, evaluate(shot.given, names[:1], [plane.batch])[0]) for shot in film.frames]
        yield _boundary(classes, true, plane, fields)


def _are_scored(classes: Classes, true: Matrix, rows: Sequence[Matrix]) -> bool:
    """Whether each sample has a class that there is, and scores."""
    return true.min() >= 0 and true.max() < len(classes.names) and {*map(len, rows)} == {len(true)}


def _predictions(classes: Classes, true: Matrix, rows: Sequence[Matrix]) -> Gauge:
    """The probability of class 1 of two classes, or of the true class of several: a point for each sample."""
    count, step = len(true), -(-len(true) // MOST_POINTS)
    binary = len(classes.names) == 2
    chosen = np.ones_like(true) if binary else true
    title = f"probability of {classes.names[1]}" if binary else "probability of the true class"
    frame = axes(title, [(1.0, 0.0), (float(max(count, 2)), 1.0)], "sample")

    def points(scores: Matrix) -> dict[str, Any]:
        heights = probabilities(scores)[np.arange(count), chosen]
        each = [
            [(n + 1.0, float(heights[n])) for n in range(0, count, step) if true[n] == k]
            for k in range(scores.shape[1])
        ]
        return {"p": [_dots(frame, one) for one in each]}

    level = [line(frame, [(1.0, 0.5), (float(max(count, 2)), 0.5)], 7)] if binary else []
    return Gauge("predictions", (*frame.elements(), *level, *_series(classes)), tuple(map(points, rows)))


def _series(classes: Classes) -> Iterator[str]:
    """A path of points for each class."""
    for number in range(len(classes.names)):
        yield f'<path class="points s{number % 8}"/>'


def _dots(frame: Axes, points: Sequence[Point]) -> str:
    """Points as a path of lines without length, which have round ends."""
    return "".join(f"M{x:.0f} {y:g}h0" for x, y in map(frame.at, points))


def _confusion(classes: Classes, true: Matrix, rows: Sequence[Matrix]) -> Gauge:
    """How many samples of each class are predicted as each class."""
    names, count = classes.names, len(classes.names)
    width, height = (WIDTH - LEFT - RIGHT) / count, (HEIGHT - TOP - BOTTOM) / count
    elements = [
        f'<text class="name count" x="{LEFT}" y="16"></text>',
        f'<text class="axis" x="{WIDTH - RIGHT}" y="16">↓ true, → predicted</text>',
    ]
    for row, name in enumerate(names):
        y, x = TOP + row * height, LEFT + row * width
        elements.append(f'<text class="tick y" x="{LEFT - 6}" y="{y + height / 2 + 4:g}">{markup(name[:9])}</text>')
        elements.append(f'<text class="tick x" x="{x + width / 2:g}" y="{HEIGHT - 14}">{markup(name[:9])}</text>')
        for column in range(count):
            left, middle = LEFT + column * width, LEFT + (column + 0.5) * width
            place = f'x="{left + 1:g}" y="{y + 1:g}" width="{width - 2:g}" height="{height - 2:g}" rx="3"'
            elements.append(f'<rect class="cell s{0 if row == column else 1}" {place}/>')
            elements.append(f'<text class="tick x count" x="{middle:g}" y="{y + height / 2 + 4:g}"></text>')

    def cells(scores: Matrix) -> dict[str, Any]:
        counts = confusion(true, np.argmax(scores, axis=-1), count)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        shades = SHARES[0] + (SHARES[1] - SHARES[0]) * shares
        title = f"{int(np.trace(counts))} of {len(true)} correct"
        return {
            "t": [title, *map(str, counts.ravel().tolist())],
            "o": [round(shade, 2) for shade in shades.ravel().tolist()],
        }

    return Gauge("confusion", tuple(elements), tuple(map(cells, rows)))


def _boundary(classes: Classes, true: Matrix, plane: Plane, fields: Sequence[Matrix]) -> Gauge:
    """The samples in the plane of two inputs, and the line where the predicted class changes."""
    ends = [(float(plane.xs[0]), float(plane.ys[0])), (float(plane.xs[-1]), float(plane.ys[-1]))]
    frame = axes(f"boundary: {plane.names[1]} over {plane.names[0]}", ends)
    step = -(-len(true) // MOST_POINTS)
    samples = [
        (int(true[n]), (float(plane.points[n, 0]), float(plane.points[n, 1]))) for n in range(0, len(true), step)
    ]
    drawn = []
    for number in range(len(classes.names)):
        points = _dots(frame, [point for each, point in samples if each == number])
        drawn.append(f'<path class="sample s{number % 8}" d="{points}"/>')

    def boundary(scores: Matrix) -> dict[str, Any]:
        grids = [_margin(scores, number).reshape(len(plane.ys), -1) for number in range(1, scores.shape[1])]
        pieces = [piece for grid in grids for piece in zero_lines(plane.xs, plane.ys, grid)]
        pixels = [(*frame.at(start), *frame.at(end)) for start, end in pieces]
        return {"d": "".join(f"M{a:g} {b:g}L{c:g} {d:g}" for a, b, c, d in pixels)}

    return Gauge("boundary", (*frame.elements(), *drawn, '<path class="edge drawn"/>'), tuple(map(boundary, fields)))


def _margin(scores: Matrix, number: int) -> Matrix:
    """How far the score of a class is above those of all others."""
    margin: Matrix = scores[:, number] - np.delete(scores, number, axis=1).max(axis=1)
    return margin


def _residuals(model: Model, film: Film, loss: str) -> Iterator[Gauge]:
    """What is missing from each prediction to its target: over the only input, else over the prediction.

    Residuals shrink by orders of magnitude, so each frame has the scale of its own residuals, with its numbers.
    """
    target = target_of(model, loss)
    if target is None or not film.batches:
        return
    evaluate, across = FilmValues(model, film), _across(model, target)
    shots = [_residual_points(*evaluate(shot.given, [target.value, target.target, across])) for shot in film.frames]
    if shots[-1]:
        yield _residual_chart(shots, f"residual: {target.target} - {target.output}", across)


def _residual_chart(shots: Sequence[Sequence[Point]], title: str, across: str) -> Gauge:
    xs = [x for points in shots for x, _ in points]
    frame = axes(title, [(min(xs), -1.0), (max(xs), 1.0)], across)
    zero = line(frame, [(min(xs), 0.0), (max(xs), 0.0)], 7)
    levels = (part for level in LEVELS for part in frame.level(level, kind=" count"))
    elements = (*levels, *frame.across(), zero, '<path class="points s0"/>')
    return Gauge("residuals", elements, tuple(_scaled(frame, points) for points in shots))


def _across(model: Model, target: Target) -> str:
    """The only input, if it has one number a sample, or else the prediction."""
    is_curve = len(target.inputs) == 1 and len(model.graph.types[target.inputs[0]].shape) <= 1
    return target.inputs[0] if is_curve else target.value


def _scaled(frame: Axes, points: Sequence[Point]) -> dict[str, Any]:
    """Return points as shares of a round number above all of them, and the texts of the levels."""
    largest = max((abs(y) for _, y in points), default=0.0)
    top = min(round_up(largest, TOPS), sys.float_info.max) if largest > sys.float_info.min else 1.0
    step = max(1, -(-len(points) // MOST_POINTS))
    shares = [(x, y / top) for x, y in points[::step]]
    return {"p": [_dots(frame, shares)], "t": [number_text(top * level) for level in LEVELS]}


def _residual_points(predicted: Matrix, target: Matrix, across: Matrix) -> list[tuple[float, float]]:
    """Return the residuals over `across`, the finite ones."""
    points = np.stack([across.ravel(), target.ravel() - predicted.ravel()], axis=-1)
    return [(float(x), float(y)) for x, y in points[np.isfinite(points).all(axis=-1)]]
