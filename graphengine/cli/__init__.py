"""The command line: parse, call, print; what a command does is done by the layers below.

Only typer is imported before it is known which command runs: the engine, rich and all they need are imported in the
functions that use them, so that `graphengine --help` and the completion of a shell answer at once.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """The command line, as the script `graphengine` and as `python -m graphengine`."""
    from graphengine import gc_pause

    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for some reads about each installed package
    gc_pause.skip_at_exit()
    with gc_pause.paused(many=0):  # to look for garbage among modules takes a tenth of the start
        from graphengine.cli.app import app_for
        from graphengine.cli.output import make_streams_forgiving

        app = app_for(sys.argv[1:])
    make_streams_forgiving()
    app()
