"""The data of a training, by input: what it was read from, and what may be wrong with it.

Each kind of file has a reader in a module of this package; whatever goes wrong while one is read is reported as one
kind of error that names the file. What a caller hands over instead is checked as a file is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphengine.data.stored import Arrays, Stored, blocks_of
from graphengine.errors import DataError, GraphEngineError, InputError, Problem, did_you_mean
from graphengine.format.paths import DataFile
from graphengine.ir.binding import NO_COLUMNS, Columns, as_inputs, by_input
from graphengine.ir.cells import BadCells, Wording
from graphengine.ir.declarations import Input
from graphengine.ir.graph import Graph
from graphengine.mappings import without
from graphengine.ops.numbers import all_finite
from graphengine.ops.shapes import dtype_name


class NamedArrays(dict[str, Any]):
    """Arrays by input with the name of what they were read from: a data source of the model file, or another file."""

    name: str

    def __init__(self, arrays: Mapping[str, Any], name: str) -> None:
        super().__init__(arrays)
        self.name = name


def name_of(arrays: Mapping[str, Any]) -> str | None:
    """Return the name of what arrays were read from, None if a caller made them."""
    return arrays.name if isinstance(arrays, NamedArrays) else None


def given_data(data: Any, graph: Graph, columns: Columns = NO_COLUMNS) -> Arrays:
    """What a caller hands over instead of a source, as arrays by input; what was loaded and is on disk stays there.

    `columns` say what inputs take from a table or a mapping, as of `by_input`.

    Raises
    ------
    InputError
        GE401 and GE402 as `by_input` and `as_inputs`, GE404 for what is not a number.
    """
    given = by_input(graph, data, columns=columns)
    stored = {name: value for name, value in given.items() if isinstance(value, Stored) and name in graph.inputs}
    for name, array in stored.items():
        _require_dtype(name, array, graph)
    if not stored:
        return as_inputs(graph, given)  # which still knows what a table lacks
    return {**as_inputs(graph, without(given, stored)), **stored}


def _require_dtype(name: str, array: Stored, graph: Graph) -> None:
    if array.dtype != graph.types[name].dtype:
        declared = dtype_name(graph.types[name].dtype)
        raise InputError(f"input '{name}' must be {declared}, what is on disk is {array.dtype}", code="GE404")


def data_hash(arrays: Mapping[str, Any]) -> str:
    """A sha256 of what was trained on: names, dtypes, shapes and numbers, however they were stored."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {dtype_name(array.dtype)} {list(np.shape(array))}\n".encode())
        for block in blocks_of(array):
            digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()


# ---------------------------------------------------------------- what may be wrong


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


def require_finite(arrays: Mapping[str, Any], inputs: Mapping[str, Input]) -> None:
    """Refuse data that no training could come back from; NaN is fine where an input may lack values.

    Raises
    ------
    DataError
        GE503 with the input and the first row, from 1, that has a NaN or an infinite number, and how many there are.
    """
    problems = [_not_finite(name, array, inputs[name]) for name, array in arrays.items()]
    if any(problems):
        raise DataError(filter(None, problems))


def _not_finite(name: str, array: Any, declared: Input) -> Problem | None:
    """The numbers of an input that are not finite, as one finding."""
    done = count = 0
    first = ""
    for block in blocks_of(array):
        places = _places_not_finite(block, declared)
        if len(places) and not count:
            row = f" in row {done + places[0][0] + 1}" if block.ndim else ""
            first = f"{block[tuple(places[0])]}{row}"
        count += len(places)
        done += len(block) if block.ndim else 0
    return _finite_problem(name, count, first) if count else None


def _places_not_finite(block: np.ndarray[Any, Any], declared: Input) -> Any:
    """The indices of infinite numbers, and of NaN where an input has no missing values."""
    if block.dtype.kind != "f" or all_finite(block):
        return ()
    return np.argwhere(np.isinf(block) if declared.missing else ~np.isfinite(block))


def _finite_problem(name: str, count: int, first: str) -> Problem:
    others = f" and {count - 1} more like it" if count > 1 else ""
    message = f"the data for input '{name}' has the value {first}{others}; training needs finite numbers"
    hint = 'if NaN means a missing value, declare "missing": "nan" in the input and replace it with nn.impute'
    return Problem("GE503", message, hint if "nan" in first else None)
