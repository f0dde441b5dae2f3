"""Predictions as a frame of the library that the inputs came in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphengine.errors import UsageError
from graphengine.extras import optional
from graphengine.wording import counted


def require_frame(given: Any) -> None:
    """Refuse inputs that are no frame, whose library and index a result could have.

    Raises
    ------
    UsageError
        GE801.
    """
    if not _library_of(given):
        message = f"as_frame=True needs inputs that are a frame of pandas or polars, not {type(given).__name__}"
        raise UsageError(message, hint="pass a frame, or leave as_frame out to get arrays by name")


def framed(columns: Mapping[str, Any], given: Any) -> Any:
    """Return columns as a frame like the one that the inputs came in: of its library, with its index.

    Raises
    ------
    UsageError
        GE801 if there are no columns, or they do not have a row for each row of the frame.
    """
    rows = len(next(iter(columns.values()))) if columns else None
    if rows != len(given):
        found = (
            "no requested output has a row for each sample"
            if rows is None
            else f"the outputs have {counted(rows, 'row')}"
        )
        message = f"{found}, the frame has {counted(len(given), 'row')}"
        raise UsageError(message, hint="leave as_frame out to get arrays by name")
    library = _library_of(given)
    package = optional(library, "frame")
    return package.DataFrame(dict(columns), index=given.index) if library == "pandas" else package.DataFrame(columns)


def _library_of(given: Any) -> str:
    """The library of a frame; an empty string for anything else."""
    libraries = (cls.__module__.partition(".")[0] for cls in type(given).__mro__ if cls.__name__ == "DataFrame")
    return next((name for name in libraries if name in ("pandas", "polars")), "")
