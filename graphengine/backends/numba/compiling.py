"""Compiles generated text with numba and keeps the machine code in the user's cache folder.

A text is a file named after the hash of it, of the functions it calls, and of the versions it is compiled with, and
numba keeps the machine code beside it, by processor. Files are written under another name and renamed, here and by
numba, so several processes may share the folder. The files are never read back as code: what runs is the text that
was made here.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from graphengine.extras import optional
from graphengine.ops.shapes import ArrayType
from graphengine.user_folders import cache_folder
from graphengine.version import __version__


def compiled(
    text: str,
    name: str,
    parameters: Sequence[tuple[ArrayType, bool]],
    names: Mapping[str, Any],
    *,
    is_shared: bool = False,
) -> Any:
    """Return the function `name` of a text as machine code: strict IEEE 754, no contraction, division as NumPy's.

    Each parameter has a type, of which the rank counts, and may be read only or not. No two arrays share memory.
    A function that several threads share runs without Python's lock.

    Raises
    ------
    UsageError
        GE803 if numba is not installed.
    """
    numba = optional("numba", "jit")
    from graphengine.backends.numba.machine_code import TEXT_FUNCTIONS, machine_code

    path = _kept(text, numba.__version__)
    namespace = {**names, **TEXT_FUNCTIONS, "__name__": __name__}  # numba imports the module of what it has cached
    exec(compile(text, str(path or "<numba loop>"), "exec"), namespace)
    if path is not None:
        with suppress(Exception):  # whatever is wrong with files that others may have written: compile without them
            return machine_code(namespace[name], parameters, cache=True, is_shared=is_shared)
    return machine_code(namespace[name], parameters, cache=False, is_shared=is_shared)


def _kept(text: str, numba: str) -> Path | None:
    """Return the file that has the text, None if it cannot be written."""
    versions = f"{__version__} {numba} {sys.version}"
    try:
        digest = hashlib.sha256(f"{versions}\n{_called()}\n{text}".encode()).hexdigest()
        path = cache_folder() / "numba" / f"loop_{digest[:32]}.py"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, text)
    except (OSError, RuntimeError):  # a full disk, a folder that is not ours, no home, no source
        return None
    return path


@cache
def _called() -> str:
    """Return the source of the functions that texts call: between two releases it changes and the version does not."""
    from graphengine.backends.numba import machine_code, team_code

    return "".join(map(inspect.getsource, (machine_code, team_code)))


def _write(path: Path, text: str) -> None:
    """Write a file whole; its time is fixed, because numba compares times, and two processes may write it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.utime(temporary, (0, 0))
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
