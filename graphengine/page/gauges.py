"""The charts beside the graph of a page: loss, parameters, the fit through the data, the landscape of the loss.

Each chart is drawn once; what moves in it are marks, whose places in each frame are given in the pixels of the chart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby, pairwise
from typing import Any, NamedTuple

import numpy as np

from graphengine.draw.charts import (
    BEYOND,
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axes,
    Point,
    Scale,
    axes,
    cut_off,
    dots,
    legend,
    line,
    thinned,
)
from graphengine.draw.loss_chart import loss_chart
from graphengine.model.model import Model
from graphengine.ops.numbers import encode_number
from graphengine.page.film import Film
from graphengine.page.landscape import Landscape, coordinate_names, coordinates, curve, landscape_of, scatter_of
from graphengine.training.history import History

SHADES = 9
UPRIGHT = f'<path class="upright" d="M0 {TOP}V{HEIGHT - BOTTOM}"/>'
"""A mark that the place `x` of a frame moves; a dot is moved by `x` and `y`, a drawn line is replaced by `d`."""
DOT = '<circle class="mark" r="4.5"/>'


class Gauge(NamedTuple):
    """A chart with marks: its name, its elements, and for each frame what its marks need.

    `x` and `y` are places, `d` is a line, `p` are the points of each series, `t` are texts, and `o` opacities of cells.
    Marks that follow edited numbers have the scales `x` and `y` in `follows`, and the names of what is drawn: a `value`
    over the iterations; trainable `numbers`, over `heights` if there is one; or a `value` over a `grid` of an `input`.
    """

    name: str
    elements: tuple[str, ...]
    marks: tuple[Mapping[str, Any], ...]
    follows: Mapping[str, Any] | None = None


def gauges_of(model: Model, film: Film) -> list[Gauge]:
    """All charts that a film gives; none where nothing was trained."""
    if not film.history:
        return []
    gauges = (
        _loss(film, film.history),
        _parameters(model, film, film.history),
        _fit(model, film),
        _landscape(model, film),
    )
    return list(filter(None, gauges))


def _loss(film: Film, history: History) -> Gauge:
    frame, elements = loss_chart(history)
    losses = [float(shot.trace.values[shot.trace.of].numbers) for shot in film.frames if shot.trace.of]
    points = zip((shot.iteration for shot in film.frames), losses, strict=True)
    follows = {"x": frame.x, "y": frame.y, "value": film.loss}
    return Gauge("loss", (*elements, UPRIGHT, DOT), _dots_at(frame, points), follows)


def _parameters(model: Model, film: Film, history: History) -> Gauge | None:
    """A line for each trainable number, if the history has them; each point is what an iteration starts from."""
    if history.iterations[-1].parameters is None:
        return None
    names, numbers, points = coordinate_names(model, film.frames[0].given), *_starts(model, film, history)
    series = [list(zip(numbers, column, strict=True)) for column in zip(*points, strict=True)]
    frame = axes("parameters", list(chain.from_iterable(series)), "iteration")
    lines = (line(frame, thinned(one), index % 8) for index, one in enumerate(series))
    marks = tuple({"x": frame.x(shot.iteration)} for shot in film.frames)
    return Gauge("parameters", (*frame.elements(), *legend("parameters", names[:8]), *lines, UPRIGHT), marks)


def _starts(model: Model, film: Film, history: History) -> tuple[list[float], list[list[float]]]:
    """The numbers of the iterations, one after the last included, and the parameters that each starts from."""
    rows = history.iterations
    numbers = [1.0, *(row.iteration + 1.0 for row in rows)]
    return numbers, [
        coordinates(model, each) for each in (film.frames[0].given, *(row.parameters or {} for row in rows))
    ]


def _fit(model: Model, film: Film) -> Gauge | None:
    """The data and the curve of the prediction, which moves with the parameters."""
    scatter = scatter_of(model, film.batches, film.loss)
    if scatter is None:
        return None
    curves = [curve(model, scatter, shot.given) for shot in film.frames]
    frame = axes(f"{scatter.output} and {scatter.y}", [*scatter.points, *_among(scatter.points, curves[-1])], scatter.x)
    elements = (*frame.elements(), *dots(frame, thinned(scatter.points)), cut_off('<path class="line s1 drawn"/>'))
    follows: dict[str, Any] = {
        "x": frame.x,
        "y": frame.y,
        "value": model.graph.outputs[scatter.output],
        "input": scatter.x,
    }
    follows |= {"grid": [x for x, _ in curves[-1]], "outside": BEYOND}
    return Gauge("fit", elements, tuple({"d": frame.path(one, BEYOND)} for one in curves), follows)


def _among(points: Sequence[Point], curve: Sequence[Point]) -> list[Point]:
    """The part of a curve over the range of points: beyond it a curve may grow without bound."""
    xs = [x for x, _ in points]
    low, high = min(xs), max(xs)
    return [(x, y) for x, y in curve if low <= x <= high]


def _landscape(model: Model, film: Film) -> Gauge | None:
    """The loss over the parameters, with the way they went."""
    start, path = film.frames[0].given, [coordinates(model, shot.given) for shot in film.frames]
    land = landscape_of(model, film.batches, film.loss, path, start)
    if land is None:
        return None
    ground = _over_one(land, path) if len(land.names) == 1 else _over_two(land, path)
    frame = ground.frame
    way = f'<path class="way" d="{frame.path(ground.way)}"/>'
    numbers = [(name, place) for name in model.graph.trainable for place in range(np.size(start[name]))]
    follows = {"x": frame.x, "y": frame.y, "numbers": numbers, **ground.follows}
    return Gauge("landscape", (*ground.below, *frame.elements(), way, DOT), _dots_at(frame, ground.way), follows)


def _dots_at(frame: Axes, points: Iterable[Point]) -> tuple[Mapping[str, Any], ...]:
    """The places of a dot, one for each frame of a film."""
    return tuple({"x": x, "y": y} for x, y in map(frame.at, points))


class _Ground(NamedTuple):
    """A landscape as it is drawn: axes, what is below them, and the way of the parameters over it."""

    frame: Axes
    below: Sequence[str]
    way: Sequence[Point]
    follows: Mapping[str, Any]


def _over_one(land: Landscape, path: Sequence[Sequence[float]]) -> _Ground:
    """A curve, which the way follows."""
    across = land.grids[0]
    points = list(zip(map(float, across), map(float, land.losses), strict=True))
    frame = axes("loss of all data", points, land.names[0])
    way = [(number, _height(land, number)) for (number,) in path]
    heights = [encode_number(height) for _, height in points]
    return _Ground(
        frame, [line(frame, points)], way, {"heights": heights, "ends": [float(across[0]), float(across[-1])]}
    )


def _over_two(land: Landscape, path: Sequence[Sequence[float]]) -> _Ground:
    """Axes that the landscape fills."""
    across, up = land.grids[0], land.grids[1]
    left, right, bottom, top = (float(number) for number in (across[0], across[-1], up[0], up[-1]))
    x, y = Scale(left, right, LEFT, WIDTH - RIGHT), Scale(bottom, top, HEIGHT - BOTTOM, TOP)
    frame = Axes(f"loss of all data over {land.names[0]} and {land.names[1]}", x, y)
    return _Ground(frame, list(_shaded(land, frame)), [(point[0], point[1]) for point in path], {})


def _height(land: Landscape, number: float) -> float:
    return float(np.interp(number, land.grids[0], land.losses))


def _shaded(land: Landscape, frame: Axes) -> Iterator[str]:
    """The landscape as cells in shades, light where the loss is small; each shade has as many cells as another."""
    finite = np.where(np.isfinite(land.losses), land.losses, np.inf)
    ranks = np.argsort(np.argsort(finite, axis=None, kind="stable"), kind="stable").reshape(finite.shape)
    shades = ranks * SHADES // ranks.size
    columns, rows = (
        np.linspace(axis.start, axis.stop, len(grid) + 1)
        for axis, grid in zip((frame.x, frame.y), land.grids, strict=True)
    )
    paths = defaultdict[int, list[str]](list)
    for row, (bottom, top) in enumerate(pairwise(rows)):
        for shade, left, right in _runs(shades[:, row].tolist(), columns):
            paths[shade].append(f"M{left:.0f} {bottom:.0f}H{right:.0f}V{top:.0f}H{left:.0f}z")
    for shade, parts in sorted(paths.items()):
        yield f'<path class="shade h{shade}" d="{"".join(parts)}"/>'


def _runs(shades: Sequence[int], edges: np.ndarray[Any, Any]) -> Iterator[tuple[int, float, float]]:
    """Neighbors of one shade as that shade and its two ends."""
    start = 0
    for shade, cells in groupby(shades):
        stop = start + len(list(cells))
        yield shade, edges[start], edges[stop]
        start = stop
