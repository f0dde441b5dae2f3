"""Plugins: modules with `@register`, named on the command line and never by a file.

A plugin is a file (`my_nodes.py`), an installed entry point of the group `graphengine.nodes`, or a module that can
be imported (`acme.nodes`).
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from graphengine.errors import UsageError

if TYPE_CHECKING:
    from importlib.abc import Loader

GROUP = "graphengine.nodes"
LOADED: dict[str, None] = {}
"""The plugins of this process in the order in which they were loaded; files by their whole paths."""


def load_plugins(names: Iterable[str] | None) -> None:
    """Register the ops of plugins.

    Raises
    ------
    UsageError
        GE802 if a plugin is not there or fails while it is loaded.
    """
    for name in names or ():
        if name.endswith(".py"):
            _load_file(Path(name))
            LOADED[os.path.realpath(name)] = None
        else:
            _load_installed(name)
            LOADED[name] = None


def _load_file(path: Path) -> None:
    """Run a file as a module under a name that no other module has; a file that is loaded already is left alone."""
    from importlib.util import module_from_spec, spec_from_file_location

    name = _module_name(path)
    spec = spec_from_file_location(name, path)
    if name in sys.modules or spec is None or spec.loader is None:
        return
    sys.modules[name] = module_from_spec(spec)
    _run(name, spec.loader, path)


def _run(name: str, loader: Loader, path: Path) -> None:
    """Run the file of a module; a module that fails leaves no trace."""
    try:
        loader.exec_module(sys.modules[name])
    except Exception as error:  # the code of a plugin may raise anything
        del sys.modules[name]
        raise _failed(str(path), error, _line_in(path, error)) from error


def _module_name(path: Path) -> str:
    """A name for the module of a file that no other module has."""
    import hashlib

    return f"graphengine_plugin_{hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:16]}"


def _load_installed(name: str) -> None:
    from importlib.metadata import entry_points

    installed = entry_points(group=GROUP)
    try:
        if name in installed.names:
            installed[name].load()
        else:
            importlib.import_module(name)
    except Exception as error:  # the code of a plugin may raise anything
        raise _failed(name, error, hint=_kinds_of_plugins(installed.names)) from error


def _kinds_of_plugins(installed: Collection[str]) -> str:
    shown = f"; installed: {', '.join(sorted(installed))}" if installed else ""
    return f"a plugin is a .py file, a module, or an entry point of the group '{GROUP}'{shown}"


def _failed(name: str, error: Exception, line: int | None = None, hint: str | None = None) -> UsageError:
    reason = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    place = {"file": name, "line": line} if line else {}
    return UsageError(f"plugin '{name}' cannot be loaded: {reason}", code="GE802", hint=hint, **place)


def _line_in(path: Path, error: Exception) -> int | None:
    """The line of the plugin's own text that failed."""
    if isinstance(error, SyntaxError):
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return lines[-1] if lines else None
