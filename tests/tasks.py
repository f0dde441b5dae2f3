"""Tasks for processes of tests, in a module that is imported in no time."""

import os
import time

from graphengine.errors import DataError


def dies_once(folder, task):
    """Ends its process the first time that a task is done, as if the system had killed it."""
    begun = folder / f"{task}.begun"
    if not begun.exists():
        begun.touch()
        os._exit(9)
    return task * task


def dies(folder, task):
    os._exit(9)


def fails(folder, task):
    raise DataError(f"task {task}", code="GE503")


def sleeps(folder, task):
    (folder / f"{os.getpid()}.pid").touch()
    time.sleep(600)
