"""What a notebook shows of a graph, a model, a run or a history: a picture."""

from __future__ import annotations

from graphengine import hooks


class Pictured:
    """Base of classes that a notebook shows as a picture."""

    __slots__ = ()

    def _repr_svg_(self) -> str | None:
        """Return the picture as SVG, or None where there is nothing to draw."""
        return hooks.picture_svg(self)  # type: ignore[no-any-return]

    def _repr_html_(self) -> str | None:
        """Return the picture with a line of text, as HTML that holds nothing active."""
        return hooks.picture_html(self)  # type: ignore[no-any-return]
