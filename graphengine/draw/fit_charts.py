"""The charts of a fit: data with curve and band, and residuals, each as an SVG picture by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from graphengine.draw.charts import HEIGHT, STYLE, WIDTH, Axes, Point, axes, dots, line, thinned
from graphengine.draw.svg import alone
from graphengine.fit.observed import Comparison, Curve
from graphengine.fit.statistics import Fit

MOST_DOTS = 1000
MOST_IN_PARABOLA = 60
BAND = ".ge .band{fill:var(--series1);opacity:.18}\n.ge .bar{stroke:var(--series0);stroke-width:1;opacity:.6}\n"


def fit_charts(found: Comparison, level: float) -> dict[str, str]:
    """Return the charts of a fit by name."""
    name = "data and curve" if found.curve else "observed over fitted"
    band = f" with its {100 * level:g} % confidence band" if found.curve else ""
    residuals = "residual" if found.sigma is None else "residual / sigma"
    return {
        name: _picture(f"{name}{band}", _curve(found, name)),
        "residuals": _picture(residuals, _residuals(found, residuals)),
    }


def profile_charts(fit: Fit, profiles: Mapping[str, Sequence[Point]]) -> dict[str, str]:
    """Return a chart by name for each profile: the rise of the minimum, beside the parabola of the standard error."""
    errors = dict(zip(fit.coordinates, np.sqrt(np.diag(fit.covariance)).tolist(), strict=True))
    return {
        f"profile of {name}": _picture(f"profile of {name}", _profile(fit, name, points, errors.get(name, np.nan)))
        for name, points in profiles.items()
    }


def _profile(fit: Fit, name: str, points: Sequence[Point], error: float) -> Iterator[str]:
    rise = [(number, zeta**2) for number, zeta in points]
    parabola = _parabola(points, error)
    frame = axes("rise of squares / variance" if fit.squares else "rise of -2 log L", rise + parabola, name)
    yield from frame.elements()
    if parabola:
        yield line(frame, parabola, 1)
    yield line(frame, rise)
    yield from dots(frame, rise)


def _parabola(points: Sequence[Point], error: float) -> list[Point]:
    """The rise by the standard error alone, as far as the profile rises; nothing if there is no such error."""
    if not error > 0:
        return []
    best = next(number for number, zeta in points if zeta == 0)
    most = max(zeta**2 for _, zeta in points)
    grid = np.linspace(points[0][0], points[-1][0], MOST_IN_PARABOLA)
    parabola = _points(grid, ((grid - best) / error) ** 2)
    return [point for point in parabola if point[1] <= 1.2 * most]


def _picture(description: str, elements: Iterator[str]) -> str:
    return alone(WIDTH, HEIGHT, description, STYLE + BAND, elements)


def _points(x: object, y: object) -> list[Point]:
    pairs = zip(np.asarray(x, np.float64).tolist(), np.asarray(y, np.float64).tolist(), strict=True)
    return [pair for pair in pairs if np.isfinite(pair).all()]


def _places(found: Comparison) -> object:
    return found.fitted if found.x is None else found.x


def _curve(found: Comparison, title: str) -> Iterator[str]:
    points = _points(_places(found), found.observed)
    curve = found.curve
    if curve is None:
        ends = sorted(each for each, _ in _points(found.fitted, found.observed))
        on_line = [(each, each) for each in (ends[0], ends[-1])] if ends else []
        frame = axes(title, points + on_line, found.x_name)
        band: list[str] = []
    else:
        on_line, edge = _points(curve.x, curve.y), _edge(curve)
        frame = axes(title, points + on_line + edge, found.x_name)
        band = [f'<path class="band" d="{frame.path(edge)}Z"/>'] if edge else []
    yield from (*frame.elements(), *band, *_bars(frame, found), line(frame, on_line, 1))
    yield from dots(frame, thinned(points, MOST_DOTS))


def _edge(curve: Curve) -> list[Point]:
    """The outline of the band, along above and back below; empty where it is not known."""
    if not np.isfinite(curve.width).all():
        return []
    return _points(curve.x, curve.y + curve.width) + _points(curve.x, curve.y - curve.width)[::-1]


def _bars(frame: Axes, found: Comparison) -> Iterator[str]:
    """The standard deviations of a few observations."""
    if found.sigma is None or len(found.observed) > MOST_DOTS:
        return
    low, high = (_points(_places(found), found.observed + sign * found.sigma) for sign in (-1, 1))
    for below, above in zip(low, high, strict=True):
        (x, bottom), (_, top) = frame.at(below), frame.at(above)
        yield f'<path class="bar" d="M{x:g} {bottom:g}V{top:g}"/>'


def _residuals(found: Comparison, title: str) -> Iterator[str]:
    points = _points(_places(found), found.residuals)
    ends = sorted(x for x, _ in points)
    zero = [(each, 0.0) for each in (ends[0], ends[-1])] if ends else []
    frame = axes(title, points + zero, found.x_name)
    yield from (*frame.elements(), line(frame, zero, 1), *dots(frame, thinned(points, MOST_DOTS)))
