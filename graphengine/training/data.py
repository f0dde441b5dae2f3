"""Data sources: from a declaration in the file to one array for each input."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphengine.binding import as_input
from graphengine.errors import DataError, InputError, did_you_mean
from graphengine.format.documents import CsvData, InlineData, NpzData
from graphengine.format.paths import confined
from graphengine.graph import Graph
from graphengine.values import decode_array


def load_data(document: Any, graph: Graph, folder: Path | None) -> dict[str, Any]:
    """The arrays of a data source, by input.

    Raises
    ------
    DataError
        GE501 to GE505, naming the file and, where there is one, row and column.
    """
    match document:
        case InlineData():
            return _inline(document, graph)
        case CsvData():
            columns: Mapping[str, Any] = document.columns or {name: name for name in graph.inputs}
            return read_csv(_file(folder, document.path), columns, graph)
        case NpzData():
            return _npz(document, graph, _file(folder, document.path))
        case _:
            raise DataError(f"data of type '{document.type}' is not supported yet", code="GE900")


def _file(folder: Path | None, name: str) -> Path:
    if folder is None:
        raise DataError(f"the model was not loaded from a file, so there is no folder to look for '{name}' in")
    return confined(folder, name)


def _inline(document: InlineData, graph: Graph) -> dict[str, Any]:
    arrays = {}
    for name, values in document.values.items():
        try:
            arrays[name] = decode_array(values, graph.types[name].array_dtype)
        except ValueError as error:
            raise DataError(f"inline data for input '{name}': {error}", code="GE503") from None
    return arrays


def read_csv(path: Path, columns: Mapping[str, str | Sequence[str]], graph: Graph) -> dict[str, Any]:
    """Columns of a CSV file with a header, by input; a list of column names makes a matrix.

    Raises
    ------
    DataError
        GE501 unreadable, GE502 a column is missing, GE503 a cell is empty or not a number of the input's dtype.
    """
    header, rows = _csv_rows(path)
    arrays = {}
    for name, wanted in columns.items():
        names = [wanted] if isinstance(wanted, str) else list(wanted)
        for column in names:
            if column not in header:
                hint = did_you_mean(column, header, "columns")
                raise DataError(f"{path}: there is no column '{column}' for input '{name}'", code="GE502", hint=hint)
        places = [header.index(column) for column in names]
        cells = [[_number(row[place], path, line, header[place]) for place in places] for line, row in rows]
        matrix = np.array(cells, dtype=np.float64).reshape(len(rows), len(names))
        arrays[name] = _as_declared(matrix[:, 0] if isinstance(wanted, str) else matrix, name, graph, path)
    return arrays


def _csv_rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and the rows with their line numbers."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from error
    if not rows:
        raise DataError(f"{path}: the file has no rows below its header")
    for line, row in rows:
        if len(row) != len(header):
            message = f"{path}:{line}: the row has {len(row)} cells, the header has {len(header)}"
            raise DataError(message, code="GE503")
    return header, rows


def _number(cell: str, path: Path, line: int, column: str) -> float:
    try:
        return float(cell)
    except ValueError:
        what = "is empty" if not cell.strip() else f"is not a number: {cell!r}"
        raise DataError(f"{path}:{line}: column '{column}' {what}", code="GE503") from None


def _as_declared(array: np.ndarray[Any, Any], name: str, graph: Graph, path: Path) -> np.ndarray[Any, Any]:
    """Numbers of a text file in the dtype of their input; integers must be whole."""
    dtype = graph.types[name].array_dtype
    converted = array.astype(dtype)
    if dtype.kind != "f" and not np.array_equal(converted, array):
        raise DataError(f"{path}: values for input '{name}' do not fit its dtype {dtype}", code="GE503")
    return converted


def _npz(document: NpzData, graph: Graph, path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = document.arrays or {name: name for name in graph.inputs}
            for name, array in names.items():
                if array not in archive:
                    hint = did_you_mean(array, archive, "arrays")
                    message = f"{path}: there is no array '{array}' for input '{name}'"
                    raise DataError(message, code="GE502", hint=hint)
            return {name: as_input(name, archive[array], graph.types[name]) for name, array in names.items()}
    except InputError as error:
        raise DataError(f"{path}: {error.problems[0].message}", code="GE505") from None
    except DataError:
        raise
    except Exception as error:  # zip, zlib, NumPy: a broken archive raises all kinds of errors
        raise DataError(f"{path}: cannot be read as an .npz archive: {error}") from error


def given_data(data: Mapping[str, Any], graph: Graph) -> dict[str, Any]:
    """Arrays a caller hands over instead of a declared source."""
    _require_inputs(data, graph)
    return {name: as_input(name, values, graph.types[name]) for name, values in data.items()}


def require_finite(arrays: Mapping[str, Any]) -> None:
    """Refuse data that no training could come back from.

    Raises
    ------
    DataError
        GE503 with the input and the first row, from 1, that has a NaN or an infinite number.
    """
    for name, array in arrays.items():
        if np.asarray(array).dtype.kind != "f" or np.isfinite(array).all():
            continue
        place = np.argwhere(~np.isfinite(array))[0]
        row = f" in row {place[0] + 1}" if len(place) else ""
        number = np.asarray(array)[tuple(place)]
        raise DataError(
            f"the data for input '{name}' has the value {number}{row}; training needs finite numbers", code="GE503"
        )


def _require_inputs(names: Iterable[str], graph: Graph) -> None:
    for name in names:
        if name not in graph.inputs:
            hint = did_you_mean(name, graph.inputs, "inputs")
            raise InputError(f"graph '{graph.name}' has no input '{name}'", code="GE402", hint=hint)
