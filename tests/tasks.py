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


class UnreadableError(Exception):
    """An error that can be pickled, but not be read again."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


DEFECTS = {
    "RuntimeError: dice": lambda: RuntimeError("dice"),
    "OSError: dice": lambda: OSError("dice"),
    "TimeoutError: dice": lambda: TimeoutError("dice"),
    "RuntimeError: tasks.UnreadableError: dice and lice": lambda: UnreadableError("dice", "lice"),
}
"""Errors in the code of a worker, three of which a lost connection raises, too; each by its look where it arrives."""


def breaks(common, defect):
    raise DEFECTS[defect]() from ValueError("the cause")


def look(error):
    """An error of `breaks` where it arrives, which has its cause."""
    assert any("ValueError: the cause" in note for note in error.__notes__)
    return f"{type(error).__name__}: {error}"


def sleeps(folder, task):
    (folder / f"{os.getpid()}.pid").touch()
    time.sleep(600)
