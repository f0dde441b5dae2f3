"""`python tests/walking.py COMMAND...`: which functions of the package a command calls, in order, as a JSON array.

A function is a module and a qualified name, `model.model:Model.trainer`. Left out is what no reader follows: the bodies
of modules and classes, what runs while a module is imported, lambdas and comprehensions. A generator counts once,
however often it is resumed.
"""

import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import CodeType

import graphengine

PACKAGE = Path(graphengine.__file__).parent


class Walk:
    """A profiler that writes down calls."""

    def __init__(self):
        self.calls, self._importing, self._resumed = [], 0, set()

    def __call__(self, frame, event, _):
        """Take an event of `sys.setprofile`."""
        code = frame.f_code
        if code.co_name == "<module>":
            self._importing += {"call": 1, "return": -1}.get(event, 0)
        elif event == "call" and not self._importing and code.co_filename.startswith(f"{PACKAGE}/"):
            if code.co_flags & inspect.CO_GENERATOR:
                if frame in self._resumed:
                    return
                self._resumed.add(frame)
            if self._is_function(code):
                path = Path(code.co_filename).relative_to(PACKAGE).with_suffix("")
                module = ".".join(path.parts).removesuffix(".__init__")
                self.calls.append(f"{module}:{code.co_qualname.replace('.<locals>', '')}")

    @staticmethod
    def _is_function(code: CodeType) -> bool:
        return not code.co_name.startswith("<") and bool(code.co_flags & inspect.CO_NEWLOCALS)


def calls_of(*command):
    """The calls of `graphengine COMMAND...`, run in a process of its own from the root of the repository."""
    done = subprocess.run(
        [sys.executable, __file__, *command], check=True, capture_output=True, text=True, cwd=PACKAGE.parent
    )
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    from graphengine.cli import main
    from graphengine.training import loop

    loop.CHUNK_SECONDS = 1e9  # the number of chunks does not depend on how busy the machine is
    sys.argv[0] = "graphengine"
    walk = Walk()
    sys.setprofile(walk)
    try:
        main()
    except SystemExit as end:
        sys.setprofile(None)
        if end.code:
            raise
    sys.stdout.write(f"{json.dumps(walk.calls)}\n")
