"""A panel as SVG: shapes, wires and labels, with classes for what a style sheet colors.

All text passes through `markup`, all numbers are integers, and nothing in the result can run or load anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

from graphengine.draw.layout import ItemPlace
from graphengine.draw.levels import Link
from graphengine.draw.picture import DrawnItem, Panel, Wire, shortened
from graphengine.escaping import markup

PALETTE = {
    "paper": ("#ffffff", "#14181f"),
    "ink": ("#1d2530", "#e4e9f0"),
    "soft": ("#566170", "#9aa6b5"),
    "line": ("#a3adba", "#5d6a7c"),
    "node": ("#f5f7fa", "#1f2630"),
    "edge": ("#c0c8d2", "#414d5d"),
    "input": ("#e6f0fb", "#1b2f45"),
    "parameter": ("#fdf1d3", "#3b3012"),
    "output": ("#e4f4ea", "#19352a"),
    "gradient": ("#c0212b", "#ff8b86"),
    "series0": ("#2f6fb5", "#7db4f0"),
    "series1": ("#c0212b", "#ff8b86"),
    "series2": ("#2c7a4b", "#7fd1a0"),
    "series3": ("#8a5a00", "#f0c060"),
    "series4": ("#6b4fa0", "#c0a5f0"),
    "series5": ("#1f7a8c", "#7fd0dd"),
    "series6": ("#a0456e", "#f0a0c5"),
    "series7": ("#566170", "#9aa6b5"),
}
"""The colors by name, each for a light and for a dark surrounding."""


def _colors(which: int) -> str:
    return "".join(f"--{name}:{pair[which]};" for name, pair in PALETTE.items())


COLORS = f""".ge{{{_colors(0)}}}
@media (prefers-color-scheme:dark){{.ge{{{_colors(1)}}}}}
"""
"""The colors of a picture by itself; a page has its own way to choose between light and dark."""

BASE = """\
.ge{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;font-variant-numeric:tabular-nums}
.ge .paper{fill:var(--paper)}
.ge text{fill:var(--ink)}
"""
"""What pictures and charts share."""

SHAPES = """\
.ge .title{font-size:15px;text-anchor:middle}
.ge .note{font-size:11px;text-anchor:middle}
.ge .node .note,.ge .box .note{fill:var(--soft)}
.ge .shape rect{fill:var(--node);stroke:var(--edge)}
.ge .input rect{fill:var(--input)}
.ge .parameter rect,.ge .state rect{fill:var(--parameter)}
.ge .output rect{fill:var(--output)}
.ge .point circle{fill:var(--line)}
.ge .wire path,.ge .literal path{fill:none;stroke:var(--line);stroke-width:1.5}
.ge .off path{stroke-dasharray:4 4}
.ge .value,.ge .gradient,.ge .literal text{text-anchor:end}
.ge .gradient{fill:var(--gradient)}
.ge .literal text{fill:var(--soft)}
"""


class Label(NamedTuple):
    """The texts above and below a wire; `off` where the backward pass does not walk."""

    above: str = ""
    below: str = ""
    off: bool = False


Labeled: TypeAlias = Callable[[Link], Label]


def svg_document(panel: Panel, labeled: Labeled, description: str) -> str:
    """A picture by itself."""
    return alone(panel.width, panel.height, description, SHAPES, panel_elements(panel, labeled))


def alone(width: int, height: int, description: str, style: str, elements: Iterable[str]) -> str:
    """Elements as an SVG file, in colors for a light and for a dark surrounding."""
    frame = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="ge" role="img" {frame}>',
            f"<title>{markup(description)}</title>",
            f"<style>\n{COLORS}{BASE}{style}</style>",
            '<rect class="paper" width="100%" height="100%" rx="8"/>',
            *elements,
            "</svg>\n",
        ]
    )


def panel_elements(panel: Panel, labeled: Labeled, *, changing: bool = False) -> Iterator[str]:
    """The elements of a panel: wires below shapes, each in the order of the panel.

    Where labels are `changing` a wire has two of them even if they are empty now.
    """
    for wire in panel.wires:
        yield _wire(wire, labeled(wire.link), changing=changing)
    for shape in panel.shapes:
        yield _shape(shape)


def _wire(wire: Wire, label: Label, *, changing: bool) -> str:
    end = wire.points[-1]
    texts = _text("value", end.x - 7, end.y - 5, label.above, empty=changing)
    texts += _text("gradient", end.x - 7, end.y + 14, label.below, empty=changing)
    return f'<g class="wire{" off" * label.off}"><path d="{path_of(wire.points)}"/>{texts}</g>'


def path_of(points: tuple[ItemPlace, ...]) -> str:
    """A wire as a path: level through each layer, with a curve between layers and a level part at its end."""
    start, *rest = points
    path = f"M{start.x} {start.y}H{start.right}"
    right, y = start.right, start.y
    for stop in rest:
        level = stop.x - stop.tail
        middle = (right + level) // 2
        path += f"C{middle} {y} {middle} {stop.y} {level} {stop.y}" if stop.y != y else ""
        path += f"H{stop.x if stop is rest[-1] else stop.right}"
        right, y = stop.right, stop.y
    return path


def _shape(shape: DrawnItem) -> str:
    if shape.kind in ("entry", "exit"):
        return _point(shape)
    x, y, width, height = shape.place.x, shape.place.y, shape.size.width, shape.size.height
    radius = 8 if shape.kind in ("node", "box") else height // 2
    rect = f'<rect x="{x}" y="{y - height // 2}" width="{width}" height="{height}" rx="{radius}"/>'
    middle, note = x + width // 2, shortened(shape.note)
    title = _text("title", middle, y + (-2 if note else 5), shortened(shape.title))
    literals = "".join(_literal(x, y + shape.size.ins[position], text) for position, text in shape.literals)
    texts = f"{title}{_text('note', middle, y + 14, note)}{literals}"
    return f'<g class="shape {shape.kind}">{_hint(shape)}{rect}{texts}</g>'


def _hint(shape: DrawnItem) -> str:
    """The text of a shape that is too long for it: its title, or its note."""
    for text in (shape.title, shape.note):
        if shortened(text) != text:
            return f"<title>{markup(text)}</title>"
    return ""


def _point(shape: DrawnItem) -> str:
    x, y = shape.place.x + 4, shape.place.y
    return f'<g class="shape point"><title>{markup(shape.title)}</title><circle cx="{x}" cy="{y}" r="4"/></g>'


def _literal(x: int, y: int, text: str) -> str:
    return f'<g class="literal"><path d="M{x - 14} {y}H{x}"/>{_text("value", x - 18, y + 4, text)}</g>'


def _text(kind: str, x: int, y: int, text: str, *, empty: bool = False) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{markup(text)}</text>' if text or empty else ""
