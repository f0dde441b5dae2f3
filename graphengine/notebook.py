"""What a notebook shows of a graph, a model, a run or a history: a picture.

What draws pictures lies above the classes that are drawn, and they must not know it. It is found by its name when a
notebook asks, and nowhere else.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Pictured:
    """Base of classes that a notebook shows as a picture."""

    __slots__ = ()

    def _repr_svg_(self) -> str | None:
        """The picture as SVG, or None where there is nothing to draw."""
        return _drawing().svg(self)  # type: ignore[no-any-return]

    def _repr_html_(self) -> str | None:
        """The picture with a line of text, as HTML that holds nothing active."""
        return _drawing().html(self)  # type: ignore[no-any-return]


def _drawing() -> Any:
    return import_module("graphengine.draw.drawing")
