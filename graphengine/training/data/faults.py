"""What goes wrong while a data file is read, told as one kind of error that names the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from graphengine.errors import DataError, GraphEngineError, InputError
from graphengine.format.paths import DataFile


@contextmanager
def told(path: DataFile, what: str) -> Iterator[None]:
    """Tell whatever goes wrong while a file is read.

    Raises
    ------
    DataError
        GE505 for numbers that do not fit their input, GE501 if the file cannot be read as `what` it should be.
    """
    try:
        yield
    except InputError as error:
        raise DataError(f"{path}: {error.problems[0].message}", code="GE505") from None
    except GraphEngineError:
        raise
    except Exception as error:  # csv, zip, zlib, NumPy, Arrow: a broken file raises all kinds of errors
        raise DataError(f"{path}: cannot be read as {what}: {error}") from error
