"""Small charts as SVG elements: axes with round numbers, lines, points, and a field of shades.

A chart is drawn in pixels of its own frame; a page that moves a mark in it is given the places in the same pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from graphengine.escaping import markup
from graphengine.traces.summary import number_text

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 30, 34
MANY = 100
"""Positive numbers whose largest is this many times the least are drawn on a logarithmic scale."""
EDGE = 0.02
"""How far outside its scale a mark may be, as a share of the length; it shows on which side its number lies."""
BEYOND = 1000.0
"""The same for a line that is cut off where the chart ends: far enough to keep its slope."""

WIDE = "mwMW@%"
"""Letters that take more room than others in a legend."""

Point: TypeAlias = tuple[float, float]

STYLE = """\
.ge .grid{stroke:var(--edge);stroke-width:.6}
.ge .tick{font-size:11px;fill:var(--soft)}
.ge .y{text-anchor:end}
.ge .x{text-anchor:middle}
.ge .name{font-size:13px;fill:var(--ink)}
.ge .axis{font-size:11px;fill:var(--soft);text-anchor:end}
.ge .line{fill:none;stroke:var(--series);stroke-width:1.8;stroke-linejoin:round}
.ge .dot{fill:var(--series);opacity:.75}
.ge .key{fill:var(--series)}
""" + "".join(f".ge .s{number}{{--series:var(--series{number})}}\n" for number in range(8))


class Scale(NamedTuple):
    """From numbers to pixels."""

    low: float
    high: float
    start: int
    stop: int
    is_logarithmic: bool = False

    def __call__(self, number: float, outside: float = EDGE) -> float:
        """The pixel of a number, to a tenth; one farther outside the scale is put at this distance."""
        low, high, at = (self._flat(each) for each in (self.low, self.high, number))
        share = 1 + outside if math.isnan(at) else min(max((at - low) / (high - low), -outside), 1 + outside)
        return round(self.start + share * (self.stop - self.start), 1)

    def _flat(self, number: float) -> float:
        if not self.is_logarithmic:
            return number
        return math.log10(number) if number > 0 else -math.inf

    @property
    def ticks(self) -> list[float]:
        """A few round numbers on the scale."""
        if self.is_logarithmic:
            least, most = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            return [10.0**power for power in range(least, most + 1, max(1, math.ceil((most - least) / 4)))]
        step = round_up((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        return [first * step + index * step for index in range(int((self.high - first * step) / step + 1e-9) + 1)]


def round_up(number: float, factors: Sequence[float] = (1, 2, 5)) -> float:
    """The next larger round number: one of the factors times a power of ten."""
    power = 10.0 ** math.floor(math.log10(number))
    return next(factor * power for factor in (*factors, 10) if factor * power >= number * (1 - 1e-9))


def scale(numbers: Iterable[float], start: int, stop: int, *, logarithmic: bool | None = False) -> Scale:
    """A scale that has room for numbers; `logarithmic` None lets the numbers decide."""
    finite = list(filter(math.isfinite, numbers)) or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if _spans_magnitudes(low, high) if logarithmic is None else logarithmic:
        return Scale(low / 1.2, high * 1.2, start, stop, is_logarithmic=True)
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return Scale(low - room, high + room, start, stop)


def _spans_magnitudes(low: float, high: float) -> bool:
    return low > 0 and high / low >= MANY


@dataclass(frozen=True)
class Axes:
    """The frame of a chart."""

    title: str
    x: Scale
    y: Scale
    x_name: str = ""

    def at(self, point: Point) -> tuple[float, float]:
        """The pixels of a point."""
        return self.x(point[0]), self.y(point[1])

    def path(self, points: Sequence[Point], outside: float = EDGE) -> str:
        """A line through points, as the `d` of a path; points that are NaN are left out."""
        pairs = [f"{self.x(x):g} {self.y(y, outside):g}" for x, y in points if not math.isnan(y)]
        return f"M{'L'.join(pairs)}" if pairs else ""

    def elements(self) -> Iterator[str]:
        """Grid, numbers and names."""
        for tick in self.y.ticks:
            yield from self.level(tick, number_text(_tidy(tick)))
        yield from self.across()

    def level(self, height: float, text: str = "", kind: str = "") -> Iterator[str]:
        """A line of the grid and its text, which may be of a kind that a page fills in."""
        y = self.y(height)
        yield f'<path class="grid" d="M{LEFT} {y:g}H{WIDTH - RIGHT}"/>'
        yield f'<text class="tick y{kind}" x="{LEFT - 6}" y="{y + 4:g}">{text}</text>'

    def across(self) -> Iterator[str]:
        """The numbers below the chart, and the names."""
        for tick in self.x.ticks:
            yield f'<text class="tick x" x="{self.x(tick):g}" y="{HEIGHT - 14}">{number_text(_tidy(tick))}</text>'
        yield f'<text class="name" x="{LEFT}" y="16">{markup(self.title)}</text>'
        if self.x_name:
            yield f'<text class="axis" x="{WIDTH - RIGHT}" y="16">{markup(self.x_name)}</text>'


def cut_off(element: str) -> str:
    """An element of which only the part between the axes is shown."""
    frame = f"{LEFT} {TOP} {WIDTH - LEFT - RIGHT} {HEIGHT - TOP - BOTTOM}"
    x, y, width, height = frame.split()
    return f'<svg x="{x}" y="{y}" width="{width}" height="{height}" viewBox="{frame}">{element}</svg>'


def _tidy(number: float) -> float:
    """A tick without what rounding added."""
    return float(f"{number:.12g}")


def axes(title: str, points: Iterable[Point], x_name: str = "", *, logarithmic: bool | None = False) -> Axes:
    """Axes with room for points; `logarithmic` is about the heights."""
    points = list(points)
    x = scale((x for x, _ in points), LEFT, WIDTH - RIGHT)
    y = scale((y for _, y in points), HEIGHT - BOTTOM, TOP, logarithmic=logarithmic)
    return Axes(title, x, y, x_name)


def line(frame: Axes, points: Sequence[Point], series: int = 0) -> str:
    """A line in the color of its series."""
    return f'<path class="line s{series}" d="{frame.path(points)}"/>'


def dots(frame: Axes, points: Sequence[Point], series: int = 0) -> Iterator[str]:
    """Points in the color of their series."""
    for x, y in map(frame.at, points):
        yield f'<circle class="dot s{series}" cx="{x:g}" cy="{y:g}" r="2.6"/>'


def legend(title: str, names: Sequence[str]) -> Iterator[str]:
    """The names of series in their colors, after the title: as many as there is room for, and "…" for the rest."""
    x, stop = LEFT + 7 * len(title) + 12, WIDTH - RIGHT - 54
    for series, name in enumerate(names):
        wide = sum(letter in WIDE for letter in name)
        end, room = x + round(5.8 * len(name) + 4 * wide), 14 if series + 1 < len(names) else 0
        if end + room > stop:
            yield f'<text class="tick" x="{x}" y="16">…</text>'
            return
        yield f'<text class="tick key s{series}" x="{x}" y="16">{markup(name)}</text>'
        x = end + 10


def thinned(points: Sequence[Point], most: int = 300) -> list[Point]:
    """At most this many points of a line, its ends included."""
    if len(points) <= most:
        return list(points)
    step = (len(points) - 1) / (most - 1)
    return [points[round(index * step)] for index in range(most)]
