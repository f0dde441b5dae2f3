"""Numbers in text files: CSV with a header, and JSON lines. What is missing or no number is told with its place."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from graphengine.errors import DataError, did_you_mean
from graphengine.format.paths import DataFile
from graphengine.graph import Graph
from graphengine.values import decode_array

BOOLEANS = {"true": 1, "false": 0, "1": 1, "0": 0}


def read_csv(path: DataFile, columns: Mapping[str, str | Sequence[str]], graph: Graph) -> dict[str, Any]:
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
        dtype = graph.types[name].array_dtype
        cells = [[_number(row[place], dtype, path, line, header[place]) for place in places] for line, row in rows]
        matrix = np.array(cells, dtype=dtype)
        arrays[name] = matrix[:, 0] if isinstance(wanted, str) else matrix
    return arrays


def _csv_rows(path: DataFile) -> tuple[list[str], list[tuple[int, list[str]]]]:
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


def _number(cell: str, dtype: np.dtype[Any], path: DataFile, line: int, column: str) -> float:
    """A cell as a number that the dtype of its input can hold."""
    text = cell.strip()
    try:
        if not text or "_" in text:  # Python reads 1_000
            raise ValueError
        if dtype.kind == "f":
            return float(text)
        number = BOOLEANS[text.lower()] if dtype.kind == "b" else _integer(text)
        return int(np.array(number, dtype))
    except (ValueError, KeyError, OverflowError):
        what = "is empty" if not text else f"is not {_NOUNS[dtype.kind].format(dtype)}: {cell!r}"
        raise DataError(f"{path}:{line}: column '{column}' {what}", code="GE503") from None


_NOUNS = {"f": "a number", "b": "true or false", "i": "an integer of dtype {}", "u": "an integer of dtype {}"}


def _integer(text: str) -> int:
    """An integer, also one that is written as a decimal number, such as 3.0."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not number.is_integer():
            raise
        return int(number)


def read_jsonl(path: DataFile, keys: Mapping[str, str], graph: Graph) -> dict[str, Any]:
    """Values of the JSON objects in a file, one a line, by input; `keys` maps inputs to keys of the objects.

    Raises
    ------
    DataError
        GE501 unreadable, GE502 a key is missing in every row, GE503 a value is missing, null or not a number.
    """
    rows = _json_rows(path)
    present = dict.fromkeys(key for _, row in rows for key in row)
    arrays = {}
    for name, key in keys.items():
        if key not in present:
            hint = did_you_mean(key, present, "keys")
            raise DataError(f"{path}: there is no key '{key}' for input '{name}'", code="GE502", hint=hint)
        dtype = graph.types[name].array_dtype
        values = [_json_value(row.get(key), dtype, path, line, key) for line, row in rows]
        for (line, _), value in zip(rows, values, strict=True):
            if value.shape != values[0].shape:
                message = f"{path}:{line}: key '{key}' has shape {value.shape}, in the first row {values[0].shape}"
                raise DataError(message, code="GE503")
        arrays[name] = np.stack(values)
    return arrays


def _json_rows(path: DataFile) -> list[tuple[int, dict[str, Any]]]:
    """The objects with their line numbers."""
    rows = []
    try:
        with path.open("rb") as file:
            for line, text in enumerate(file, 1):
                if text.strip():
                    rows.append((line, orjson.loads(text)))
    except OSError as error:
        raise DataError(f"{path}: cannot be read as JSON lines: {error}") from error
    except orjson.JSONDecodeError as error:
        raise DataError(f"{path}:{line}: the line is not JSON: {error.msg}") from None
    if not rows:
        raise DataError(f"{path}: the file has no rows")
    for line, row in rows:
        if not isinstance(row, dict):
            raise DataError(f"{path}:{line}: the line is not a JSON object", code="GE503")
    return rows


def _json_value(value: Any, dtype: np.dtype[Any], path: DataFile, line: int, key: str) -> np.ndarray[Any, Any]:
    try:
        if value is None:
            raise ValueError("is missing")
        return decode_array(value, dtype)
    except ValueError as error:
        what = "is missing" if value is None else f"is not a number: {error}"
        raise DataError(f"{path}:{line}: key '{key}' {what}", code="GE503") from None
