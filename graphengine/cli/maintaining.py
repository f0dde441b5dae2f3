"""`copy` and `doctor`: a shipped model with its data, and what a report of a bug needs to know of an installation."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from graphengine.cli.options import OutputFormat
from graphengine.cli.output import Format, print_lines, print_result, print_values
from graphengine.errors import UsageError, did_you_mean
from graphengine.user_folders import cache_folder
from graphengine.version import __version__

REQUIREMENT = re.compile(r"([\w.-]+)[^;]*(?:;\s*extra\s*==\s*['\"]([\w-]+)['\"])?")
"""A requirement as an installed package lists it: the package, and the extra that asks for it."""


def copy(
    model: Annotated[str, typer.Argument(metavar="NAME", help="The name of a shipped model such as linreg.")],
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="The folder to copy to. Default: the current folder.")
    ] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    output_format: OutputFormat = Format.text,
) -> None:
    """Copy the shipped model NAME, and the data it is trained on, to FOLDER."""
    from graphengine.format.files import write_bytes

    targets = {folder / name: source for name, source in _files_of(model).items()}
    if not force:
        _require_new(targets)
    for target, source in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(target, source.read_bytes())
    written = [target.as_posix() for target in targets]
    content = {"model": model, "files": written}
    print_result(output_format, content, lambda: print_lines(f"written: {path}" for path in written))


def _require_new(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.exists():
            raise UsageError(f"{path} already exists", hint="choose another folder, or overwrite it with --force")


def _files_of(model: str) -> dict[str, Path]:
    """The files of a shipped model by their paths relative to its folder, the model file last."""
    from graphengine import library
    from graphengine.format.reading import read_model

    shipped = library.models()
    if model not in shipped:
        hint = did_you_mean(model, shipped, "shipped models")
        raise UsageError(f"no shipped model '{model}'", code="GE101", hint=hint)
    document, _ = read_model(shipped[model])
    named = [str(source.path) for source in document.data.values() if hasattr(source, "path")]
    return {name: shipped[model].parent / name for name in [*dict.fromkeys(named), shipped[model].name]}


def doctor(output_format: OutputFormat = Format.text) -> None:
    """Print versions, extras, BLAS, backends and folders for a bug report."""
    from graphengine.backends.protocol import BACKENDS

    packages = _packages()
    found: dict[str, dict[str, Any]] = {
        "versions": {"graphengine": __version__, "python": platform.python_version(), **packages.pop("", {})},
        "system": {"platform": platform.platform(), "processor": platform.machine()},
        "extras": dict(sorted(packages.items())),
        "blas": {each.pop("library"): each for each in _blas()},
        "backends": {name: _state_of(name) for name in BACKENDS},
        "folders": {"package": str(Path(__file__).parents[1]), "cache": str(cache_folder())},
    }
    print_result(output_format, found, lambda: _print(found))


def _print(found: Mapping[str, Mapping[str, Any]]) -> None:
    for title, values in found.items():
        print_values(title, {name: _line(value) for name, value in values.items()})


def _line(value: str | dict[str, Any]) -> str:
    return value if isinstance(value, str) else ", ".join(f"{name} {each}" for name, each in value.items())


def _packages() -> dict[str, dict[str, str]]:
    """The installed versions of required packages by extra; those that are always required have the name ''."""
    found: dict[str, dict[str, str]] = {}
    for requirement in _requirements():
        named = REQUIREMENT.fullmatch(requirement)
        if named:
            found.setdefault(named[2] or "", {})[named[1]] = _version(named[1])
    return found


def _requirements() -> list[str]:
    """What this package requires; nothing if it runs from a folder and is not installed."""
    from importlib import metadata

    try:
        return metadata.requires("graphengine") or []
    except metadata.PackageNotFoundError:
        return []


def _version(package: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _blas() -> Iterator[dict[str, Any]]:
    """The libraries for products of matrices that NumPy has loaded."""
    import numpy as np  # noqa: F401 - it loads them
    from threadpoolctl import threadpool_info

    for pool in threadpool_info():
        if pool["user_api"] == "blas":
            kernel = pool.get("architecture", "not known")
            yield {
                "library": pool["internal_api"],
                "version": pool["version"],
                "kernel": kernel,
                "threads": pool["num_threads"],
            }


def _state_of(backend: str) -> str:
    from graphengine.backends.protocol import backend_named

    try:
        backend_named(backend)
    except UsageError as error:
        return str(error)
    return "ready"
