"""The models that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

from graphengine.errors import UsageError, did_you_mean


def models() -> dict[str, Path]:
    """Return the files of the shipped models by name; `graphengine.load` takes the names.

    They are inside an installed package, and next to the package in a checkout.
    """
    package = Path(__file__).parent
    folders = [folder for folder in (package / "models", package.parent / "models") if folder.is_dir()]
    return {path.stem: path for folder in folders[:1] for path in sorted(folder.glob("*.json"))}


def shipped_file(name: str) -> Path:
    """Return the file of a shipped model, for a name that is no file.

    Raises
    ------
    UsageError
        GE101 if there is no such model.
    """
    shipped = models()
    if name in shipped:
        return shipped[name]
    hint = did_you_mean(Path(name).stem, shipped, "shipped models")
    raise UsageError(f"no such file, and no shipped model of that name: '{name}'", code="GE101", hint=hint)
