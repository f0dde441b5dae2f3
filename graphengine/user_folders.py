"""Where the platform keeps what belongs to a user."""

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder for what can be made again, such as compiled loops; it need not exist.

    Raises
    ------
    RuntimeError
        If the user has no home.
    """
    base = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    own = "Library/Caches" if sys.platform == "darwin" else ".cache"
    return (Path(base) if base else Path.home() / own) / "graphengine"
