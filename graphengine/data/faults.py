"""What goes wrong while a data file is read, reported as one kind of error that names the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from graphengine.errors import DataError, GraphEngineError, InputError, did_you_mean
from graphengine.format.paths import DataFile
from graphengine.ir.cells import BadCells, Wording
from graphengine.ir.graph import Graph


@contextmanager
def faults_in(path: DataFile, what: str) -> Iterator[None]:
    """Report whatever goes wrong while a file is read.

    Raises
    ------
    DataError
        GE505 for numbers that do not fit their input, GE501 if the file cannot be read as `what` it should be.
    """
    try:
        yield
    except InputError as error:
        problem = error.problems[0]
        raise DataError(problem.message, code="GE505", hint=problem.hint, file=str(path)) from None
    except GraphEngineError:
        raise
    except OSError as error:
        raise DataError(f"cannot read the file: {error.strerror or error}", file=str(path)) from error
    except Exception as error:  # csv, zip, zlib, NumPy, Arrow: a broken file raises all kinds of errors
        hint = "save it again, in UTF-8" if isinstance(error, UnicodeDecodeError) else None
        raise DataError(f"cannot be read as {what}: {error}", hint=hint, file=str(path)) from error


@contextmanager
def reported(bad: BadCells, graph: Graph, wording: Wording) -> Iterator[None]:
    """Report the bad cells that were collected while a file was read, before what ended the reading.

    Raises
    ------
    DataError
        GE503 for missing values, GE406 for what is not among the categories of an input.
    """
    try:
        yield
    except DataError as error:
        if not bad:
            raise
        raise DataError([*bad.problems(graph.inputs, wording), *error.problems]) from None
    if bad:
        raise DataError(bad.problems(graph.inputs, wording))


def require_one(path: DataFile | str, what: str, wanted: str, name: str, there: Sequence[str]) -> None:
    """Refuse a file whose columns or arrays, `there`, lack the one that an input takes, or have it twice.

    Raises
    ------
    DataError
        GE502.
    """
    if wanted not in there:
        hint = did_you_mean(wanted, there, f"{what}s")
        raise DataError(f"there is no {what} '{wanted}' for input '{name}'", code="GE502", hint=hint, file=str(path))
    if there.count(wanted) > 1:
        message = f"{there.count(wanted)} {what}s have the name '{wanted}', which input '{name}' takes"
        raise DataError(message, code="GE502", hint="give each its own name", file=str(path))
