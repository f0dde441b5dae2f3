"""Numbers in text files: CSV with a header, and JSON lines. What is missing or no number is told with its place.

A file is read line by line and given out in blocks; of several faults the first in the file is told.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import IO, Any

import numpy as np
import orjson

from graphengine.data.faults import reported, require_one
from graphengine.data.spool import Block
from graphengine.data.stored import Memory
from graphengine.errors import DataError, InvalidModelError, did_you_mean
from graphengine.format.paths import DataFile
from graphengine.format.strict import parse_json
from graphengine.ir.cells import (
    BadCells,
    Indices,
    Wording,
    as_encoded,
    category_codes,
    decode,
    numbers_of,
    text_codes,
)
from graphengine.ir.declarations import Input
from graphengine.ir.graph import Graph
from graphengine.ops.numbers import INEXACT, LARGEST_EXACT, InexactError

BOOLEANS = {"true": 1, "false": 0, "1": 1, "0": 0}
CELL_BYTES = 128
"""About what a cell takes as a Python string and as a number, besides its text."""

Row = tuple[int, list[str]]
"""The cells of a row, with its line."""


def _lines(file: IO[Any], path: DataFile, most: int) -> Iterator[Any]:
    """The lines of a file.

    Raises
    ------
    DataError
        GE501 if one is longer than `most`: it would have to be in memory as a whole.
    """
    number = 0
    while line := file.readline(most):
        number += 1
        if len(line) == most:
            hint = "raise the limit data_bytes"
            raise DataError(f"{path}:{number}: the line has more than {most} characters", hint=hint)
        yield line


# ---------------------------------------------------------------- CSV


def csv_blocks(
    path: DataFile, columns: Mapping[str, str | Sequence[str]], graph: Graph, memory: Memory
) -> Iterator[Block]:
    """Columns of a CSV file with a header, by input; a list of column names makes a matrix.

    Raises
    ------
    DataError
        GE406 a cell is not among the categories of its input, GE501 without rows, GE502 a column is missing or there
        twice, GE503 a cell is empty or not a number of the input's dtype. All empty cells are counted.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(_lines(file, path, memory.block), strict=True)
        header = next(reader, [])
        rows = ((reader.line_num, row) for row in reader if row)
        first = next(rows, None)
        if first is None:
            raise DataError(f"{path}: the file has no rows below its header")
        table = _Table(path, header, columns, graph)
        wording = Wording(lambda column, line: f"{path}:{line}: column '{column}'", "is empty", "line")
        with reported(table.bad, graph, wording):
            for block in _grouped(itertools.chain([first], rows), memory.block):
                yield table.numbers(block)


def _grouped(rows: Iterable[Row], most: int) -> Iterator[list[Row]]:
    """Rows in lists that take about `most` bytes."""
    block, size = [], 0
    for row in rows:
        block.append(row)
        size += sum(map(len, row[1])) + CELL_BYTES * len(row[1])
        if size >= most:
            yield block
            block, size = [], 0
    if block:
        yield block


class _Table:
    """What is wanted of each row of a CSV file: the places of its cells, and their dtype, by input."""

    def __init__(
        self, path: DataFile, header: list[str], columns: Mapping[str, str | Sequence[str]], graph: Graph
    ) -> None:
        self._path, self._header, self._inputs = path, header, graph.inputs
        self._wanted = {
            name: ([self._place(name, column) for column in _names(wanted)], graph.inputs[name])
            for name, wanted in columns.items()
        }
        self._vectors = [name for name, wanted in columns.items() if isinstance(wanted, str)]
        self.bad = BadCells()
        """The cells that have no number."""

    def _place(self, name: str, column: str) -> int:
        require_one(self._path, "column", column, name, self._header)
        return self._header.index(column)

    def numbers(self, rows: list[Row]) -> Block:
        """A block of rows as arrays."""
        bad = BadCells()
        try:
            found = self._quickly(rows, bad)
        except (ValueError, OverflowError):  # told, or read after all, cell by cell
            found = self._one_by_one(rows)
        else:
            self.bad.update(bad)
        return {name: array[:, 0] if name in self._vectors else array for name, array in found.items()}

    def _quickly(self, rows: list[Row], bad: BadCells) -> dict[str, np.ndarray[Any, Any]]:
        """The same numbers as `_one_by_one`, or a ValueError."""
        columns = list(zip(self._header, *(row for _, row in rows), strict=True))
        lines = [line for line, _ in rows]
        found: dict[str, np.ndarray[Any, Any]] = {}
        for name, (places, declared) in self._wanted.items():
            cells = [(self._header[place], columns[place][1:]) for place in places]
            if declared.categories:
                read = [_indices(name, column, texts, lines, declared, bad) for column, texts in cells]
                found[name] = np.stack(read, axis=1).view(Indices)
            else:
                filled = [_filled(name, column, texts, lines, declared, bad) for column, texts in cells]
                found[name] = _numbers(filled, declared.type.array_dtype)
        return found

    def _one_by_one(self, rows: list[Row]) -> dict[str, np.ndarray[Any, Any]]:
        found: dict[str, list[list[float]]] = {name: [] for name in self._wanted}
        for line, row in rows:
            if len(row) != len(self._header):
                message = f"{self._path}:{line}: the row has {len(row)} cells, the header has {len(self._header)}"
                raise DataError(message, code="GE503")
            for name, (places, declared) in self._wanted.items():
                cells = [(row[place], self._header[place]) for place in places]
                found[name].append([self._cell(name, cell, line, column, declared) for cell, column in cells])
        kinds = {name: declared.type.array_dtype for name, (_, declared) in self._wanted.items()}
        return as_encoded({name: np.array(numbers, kinds[name]) for name, numbers in found.items()}, self._inputs)

    def _cell(self, name: str, cell: str, line: int, column: str, declared: Input) -> float:
        """A cell as a number; of one without a value or category a 0 that is never used."""
        if declared.categories:
            return float(_indices(name, column, [cell], [line], declared, self.bad)[0])
        if cell.strip():
            return self._number(cell, declared.type.array_dtype, line, column)
        if not declared.missing:
            self.bad.add_missing(name, column, [line])
        return np.nan if declared.missing else 0

    def _number(self, cell: str, dtype: np.dtype[Any], line: int, column: str) -> float:
        """A cell as a number that the dtype of its input can hold."""
        text = cell.strip()
        try:
            if not text or "_" in text or not text.isascii():  # Python reads 1_000, and digits of other scripts
                raise ValueError
            if dtype.kind == "f":
                return _float(text, dtype)
            number = BOOLEANS[text.lower()] if dtype.kind == "b" else _integer(text)
            return int(np.array(number, dtype))
        except InexactError as error:
            message = f"{self._path}:{line}: column '{column}': {error}: {cell!r}"
            raise DataError(message, code="GE503", hint="write it with a point or an exponent") from None
        except (ValueError, KeyError, OverflowError) as error:
            noun = _NOUNS[dtype.kind].format(dtype)
            if dtype.kind == "f" and isinstance(error, OverflowError):
                noun += f" of dtype {dtype}"
            what = f"is not {noun}: {cell!r}" if text else "is empty"
            raise DataError(f"{self._path}:{line}: column '{column}' {what}", code="GE503") from None


def _indices(
    name: str, column: str, cells: Sequence[str], lines: Sequence[int], declared: Input, bad: BadCells
) -> np.ndarray[Any, Any]:
    """Cells as indices into the categories of their input."""
    codes = text_codes(cells, declared)
    numbers, left = numbers_of(codes, declared)
    if left.any():
        bad.add_codes(name, column, np.where(left, codes, 0), cells, lines)
    return numbers


def _filled(
    name: str, column: str, cells: Sequence[str], lines: Sequence[int], declared: Input, bad: BadCells
) -> Sequence[str]:
    """Cells with a number for those that are empty: NaN, or a 0 that is never used."""
    if "" not in cells:
        return cells
    if not declared.missing:
        bad.add_missing(name, column, [line for line, cell in zip(lines, cells, strict=True) if not cell])
    return [cell or ("nan" if declared.missing else "0") for cell in cells]


def _numbers(columns: Sequence[Sequence[str]], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Columns of numbers side by side, or a ValueError where a cell has to be looked at."""
    read = {"f": float, "i": int, "u": int}.get(dtype.kind)
    if read is None or any("_" in cell or not cell.isascii() for column in columns for cell in column):
        raise ValueError
    with np.errstate(over="ignore"):
        numbers = np.stack([np.array(list(map(read, column)), dtype) for column in columns], axis=1)
    if dtype.kind == "f" and np.any((large := np.abs(numbers)) >= LARGEST_EXACT):
        if np.isinf(large).any():
            raise ValueError
        for cell in itertools.chain.from_iterable(columns):
            if "." not in cell:  # else it is no integer, whatever else it is
                _require_exact(cell)
    return numbers


def _names(wanted: str | Sequence[str]) -> Sequence[str]:
    return [wanted] if isinstance(wanted, str) else wanted


_NOUNS = {"f": "a number", "b": "true or false", "i": "an integer of dtype {}", "u": "an integer of dtype {}"}


def _float(text: str, dtype: np.dtype[Any]) -> float:
    """A number, rounded; one that is infinite is written so."""
    number = float(text)
    with np.errstate(over="ignore"):
        if np.isinf(dtype.type(number)) and "inf" not in text.lower():
            raise OverflowError
    if abs(number) >= LARGEST_EXACT:
        _require_exact(text)
    return number


def _require_exact(text: str) -> None:
    """Refuse an integer that no floating-point number equals: it may be a key, of which no digit may change."""
    if _INTEGER.fullmatch(text) and int(float(text)) != int(text):
        raise InexactError(INEXACT)


_INTEGER = re.compile(r"\s*[+-]?\d+\s*")
_MOST_DIGITS = 20
"""Digits of the largest integer of 64 bits."""


def _integer(text: str) -> int:
    """An integer to its last digit, also one that is written as a decimal number, such as 3.0 or 1.5e3."""
    with suppress(ValueError):
        return int(text)
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None
    if not number.is_finite():
        raise ValueError(text)
    if not number:
        return 0
    if number.adjusted() >= _MOST_DIGITS:  # a power of ten of a million digits is not computed
        raise OverflowError
    if number.adjusted() < 0 or number != number.to_integral_value():
        raise ValueError(text)
    return int(number)


# ---------------------------------------------------------------- JSON lines


def jsonl_blocks(path: DataFile, keys: Mapping[str, str], graph: Graph, memory: Memory) -> Iterator[Block]:
    """Values of the JSON objects in a file, one a line, by input; `keys` maps inputs to keys of the objects.

    Raises
    ------
    DataError
        GE501 without rows or not JSON, GE122 to GE130 for JSON that readers take differently, GE502 a key is missing in
        the first row, GE503 a value is missing, null, not a number or of another shape than that in the first row.
    """
    first: dict[str, tuple[int, ...]] = {}
    block: dict[str, list[np.ndarray[Any, Any]]] = {name: [] for name in keys}
    bad, size = BadCells(), 0
    wording = Wording(lambda key, line: f"{path}:{line}: key '{key}'", "is missing", "line")
    with path.open("rb") as file, reported(bad, graph, wording):
        has_rows = False
        for line, row in _objects(file, path, memory.block):
            if not has_rows:
                _require_keys(row, keys, path)
                has_rows = True
            for name, key in keys.items():
                value = _json_value(name, row.get(key), graph.inputs[name], path, line, key, bad)
                if value is None:
                    continue
                if value.shape != first.setdefault(name, value.shape):
                    message = f"{path}:{line}: key '{key}' has shape {value.shape}, in the first row {first[name]}"
                    raise DataError(message, code="GE503")
                block[name].append(value)
                size += value.nbytes + CELL_BYTES
            if size >= memory.block:
                yield _stacked(block, graph)
                size = 0
        if not has_rows:
            raise DataError(f"{path}: the file has no rows")
        if size:
            yield _stacked(block, graph)


def _stacked(block: dict[str, list[np.ndarray[Any, Any]]], graph: Graph) -> Block:
    """The arrays of a block, which is emptied."""
    found = as_encoded({name: np.stack(values) for name, values in block.items() if values}, graph.inputs)
    for values in block.values():
        values.clear()
    return found


def _objects(file: IO[bytes], path: DataFile, most: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects with their line numbers."""
    for line, text in enumerate(_lines(file, path, most), 1):
        if not text.strip():
            continue
        row = _strict(text, path, line)
        if not isinstance(row, dict):
            raise DataError(f"{path}:{line}: the line is not a JSON object", code="GE503")
        yield line, row


def _strict(text: bytes, path: DataFile, line: int) -> Any:
    """The value of a line, which is as strict JSON as a model is."""
    try:
        value = orjson.loads(text)
        # most lines have as many colons as keys, and no long number: the whole check takes as long as fifty lines
        if text.count(b":") == orjson.dumps(value).count(b":") and not _LONG.search(text):
            return value
        return parse_json(text)
    except orjson.JSONDecodeError as error:
        raise DataError(f"{path}:{line}: the line is not JSON: {error.msg}") from None
    except InvalidModelError as error:
        found = error.problems[0]
        raise DataError(f"{path}:{line}:{found.column}: {found.message}", code=found.code, hint=found.hint) from None


_LONG = re.compile(rb"\d{19}")


def _require_keys(row: Mapping[str, Any], keys: Mapping[str, str], path: DataFile) -> None:
    """Refuse a file whose first row, as the header of a table, lacks a key."""
    for name, key in keys.items():
        if key not in row:
            hint = did_you_mean(key, row, "keys")
            raise DataError(f"{path}: there is no key '{key}' for input '{name}'", code="GE502", hint=hint)


def _json_value(
    name: str, value: Any, declared: Input, path: DataFile, line: int, key: str, bad: BadCells
) -> np.ndarray[Any, Any] | None:
    """A value as an array; None, and counted as bad, if it is missing or not among the categories."""
    if declared.categories:
        cells = np.array(value, dtype=object)
        codes = category_codes(cells.ravel().tolist(), declared)
        numbers, left = numbers_of(codes, declared)
        if not left.any():
            return numbers.reshape(cells.shape)
        lines = [line] * len(codes)
        bad.add_codes(name, key, np.where(left, codes, 0), cells.ravel().tolist(), lines)
        return None
    if value is None and not declared.missing:
        bad.add_missing(name, key, [line])
        return None
    try:
        return decode(value, declared)
    except ValueError as error:
        raise DataError(f"{path}:{line}: key '{key}' is not a number: {error}", code="GE503") from None
