"""The models that come with the package, by name."""

from __future__ import annotations

import os
from pathlib import Path

from graphengine.errors import UsageError, did_you_mean


def models() -> dict[str, Path]:
    """Return the files of the shipped models by name; `graphengine.load` takes the names.

    They are inside an installed package, and next to the package in a checkout.
    """
    package = Path(__file__).parent
    folders = [folder for folder in (package / "models", package.parent / "models") if folder.is_dir()]
    return {path.stem: path for folder in folders[:1] for path in sorted(folder.glob("*.json"))}


def model_file(name: str | Path) -> Path:
    """Return the file that a path or the name of a shipped model means; an existing file comes first.

    Raises
    ------
    UsageError
        GE101 if there is neither.
    """
    path, shipped = Path(name), models()
    if os.path.exists(name):  # noqa: PTH110 - of names that are too long `Path` makes an error
        return path
    if str(name) in shipped:
        return shipped[str(name)]
    hint = did_you_mean(path.stem, shipped, "shipped models")
    raise UsageError(f"no such file, and no shipped model of that name: '{name}'", code="GE101", hint=hint)
