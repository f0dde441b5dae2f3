"""The charts beside the graph of a page: loss, parameters, the fit through the data, the landscape of the loss.

Each chart is drawn once; what moves in it are marks, whose places in each frame are given in the pixels of the chart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
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
    if film.history is None or not len(film.history):
        return []
    makers = (_loss, _parameters, _fit, _landscape)
    return [gauge for make in makers if (gauge := make(model, film))]


def _loss(model: Model, film: Film) -> Gauge:
    assert film.history is not None
    frame, elements = loss_chart(film.history)
    losses = [float(shot.trace.values[shot.trace.of].numbers) for shot in film.frames if shot.trace.of]
    marks = [frame.at((shot.iteration, loss)) for shot, loss in zip(film.frames, losses, strict=True)]
    follows = {"x": frame.x, "y": frame.y, "value": _name_of_loss(film)}
    return Gauge("loss", (*elements, UPRIGHT, DOT), tuple({"x": x, "y": y} for x, y in marks), follows)


def _parameters(model: Model, film: Film) -> Gauge | None:
    """A line for each trainable number, if the history has them; each point is what an iteration starts from."""
    assert film.history is not None
    rows = film.history.iterations
    if rows[-1].parameters is None:
        return None
    names = coordinate_names(model)
    start = (1.0, coordinates(model, film.frames[0].given))
    points = [start, *((row.iteration + 1.0, coordinates(model, row.parameters or {})) for row in rows)]
    series = [[(number, values[index]) for number, values in points] for index in range(len(names))]
    frame = axes("parameters", [point for one in series for point in one], "iteration")
    lines = (line(frame, thinned(one), index % 8) for index, one in enumerate(series))
    marks = tuple({"x": frame.x(shot.iteration)} for shot in film.frames)
    return Gauge("parameters", (*frame.elements(), *legend("parameters", names[:8]), *lines, UPRIGHT), marks)


def _fit(model: Model, film: Film) -> Gauge | None:
    """The data and the curve of the prediction, which moves with the parameters."""
    scatter = scatter_of(model, film.batches, _name_of_loss(film))
    if scatter is None:
        return None
    curves = [curve(model, scatter, shot.given) for shot in film.frames]
    frame = axes(f"{scatter.output} and {scatter.y}", [*scatter.points, *curves[-1]], scatter.x)
    elements = (*frame.elements(), *dots(frame, thinned(scatter.points)), cut_off('<path class="line s1 drawn"/>'))
    follows: dict[str, Any] = {
        "x": frame.x,
        "y": frame.y,
        "value": model.graph.outputs[scatter.output],
        "input": scatter.x,
    }
    follows |= {"grid": [x for x, _ in curves[-1]], "outside": BEYOND}
    return Gauge("fit", elements, tuple({"d": frame.path(one, BEYOND)} for one in curves), follows)


def _landscape(model: Model, film: Film) -> Gauge | None:
    """The loss over the parameters, with the way they went."""
    path = [coordinates(model, shot.given) for shot in film.frames]
    land = landscape_of(model, film.batches, _name_of_loss(film), path)
    if land is None:
        return None
    flat = len(land.names) == 1
    frame = _over_one(land) if flat else _over_two(land)
    points = [(point[0], _height(land, point[0]) if flat else point[1]) for point in path]
    below = [line(frame, list(zip(land.grids[0], land.losses, strict=True)))] if flat else _shaded(land, frame)
    way = f'<path class="way" d="{frame.path(points)}"/>'
    marks = tuple({"x": x, "y": y} for x, y in map(frame.at, points))
    numbers = [(name, place) for name in model.graph.trainable for place in range(np.size(model.values[name]))]
    follows: dict[str, Any] = {"x": frame.x, "y": frame.y, "numbers": numbers}
    if flat:
        heights, across = [encode_number(float(loss)) for loss in land.losses], land.grids[0]
        follows |= {"heights": heights, "ends": [float(across[0]), float(across[-1])]}
    return Gauge("landscape", (*below, *frame.elements(), way, DOT), marks, follows)


def _name_of_loss(film: Film) -> str:
    return film.frames[0].trace.of or ""


def _over_one(land: Landscape) -> Axes:
    points = list(zip(map(float, land.grids[0]), map(float, land.losses), strict=True))
    return axes("loss of all data", points, land.names[0])


def _over_two(land: Landscape) -> Axes:
    """Axes that the landscape fills."""
    across, up = land.grids[0], land.grids[1]
    left, right, bottom, top = (float(number) for number in (across[0], across[-1], up[0], up[-1]))
    x, y = Scale(left, right, LEFT, WIDTH - RIGHT), Scale(bottom, top, HEIGHT - BOTTOM, TOP)
    return Axes(f"loss of all data over {land.names[0]} and {land.names[1]}", x, y)


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
    paths: dict[int, list[str]] = {}
    for row in range(len(land.grids[-1])):
        column = 0
        for shade, cells in groupby(shades[:, row].tolist()):
            count = len(list(cells))
            left, right, bottom, top = columns[column], columns[column + count], rows[row], rows[row + 1]
            paths.setdefault(shade, []).append(f"M{left:.0f} {bottom:.0f}H{right:.0f}V{top:.0f}H{left:.0f}z")
            column += count
    for shade, parts in sorted(paths.items()):
        yield f'<path class="shade h{shade}" d="{"".join(parts)}"/>'
