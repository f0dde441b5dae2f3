"""Numbers in CSV files. A cell that is empty, or neither a number nor a category, is reported with its place.

A file is read line by line and given out in blocks; of several faults the first in the file is reported.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np

from graphengine.data.csv_dialect import CELL_BYTES, Dialect, Row
from graphengine.data.sources import reported, require_one
from graphengine.data.stored import Block, Memory
from graphengine.errors import DataError
from graphengine.format.paths import DataFile
from graphengine.ir.binding import Column, Columns, names_in
from graphengine.ir.cells import (
    BadCells,
    Indices,
    Wording,
    as_encoded,
    dated,
    numbers_of,
    text_codes,
)
from graphengine.ir.declarations import Input
from graphengine.ir.graph import Graph
from graphengine.ops.numbers import INEXACT, LARGEST_EXACT, InexactError
from graphengine.wording import counted

BOOLEANS = {"true": 1, "false": 0, "1": 1, "0": 0}


def csv_blocks(path: DataFile, columns: Columns, dialect: Dialect, graph: Graph, memory: Memory) -> Iterator[Block]:
    """Yield columns of a CSV file, by input; a list of columns makes a matrix.

    Raises
    ------
    DataError
        GE406 a cell is not among the categories of its input, GE501 without rows, GE502 a column is missing or there
        twice, GE503 a cell is empty or not a number of the input's dtype. All empty cells are counted.
    """
    with dialect.table(path, memory.block) as (header, rows):
        first = next(rows, None)
        if first is None:
            raise DataError("the file has no rows" + " below its header" * dialect.header, file=str(path))
        table = _Table(path, header, columns, dialect, graph)
        wording = Wording(lambda column, _: f"column '{column}'", "is empty", "line", file=str(path))
        with reported(table.bad, graph, wording):
            for block in grouped(itertools.chain([first], rows), memory.block):
                yield table.numbers(block)


def grouped(rows: Iterable[Row], most: int) -> Iterator[list[Row]]:
    """Yield rows in lists that take about `most` bytes."""
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

    def __init__(self, path: DataFile, header: list[str], columns: Columns, dialect: Dialect, graph: Graph) -> None:
        self._path, self._header, self._dialect, self._inputs = path, header, dialect, graph.inputs
        self._wanted = {
            name: ([self._place(name, column) for column in names_in(wanted)], graph.inputs[name])
            for name, wanted in columns.items()
        }
        self._vectors = [name for name, wanted in columns.items() if isinstance(wanted, Column)]
        self.bad = BadCells()
        """The cells that have no number."""

    def _place(self, name: str, column: Column) -> int:
        if isinstance(column, str):
            if column not in self._header and (hint := self._dialect.separator_hint(self._path)):
                message = f"there is no column '{column}' for input '{name}'"
                raise DataError(message, code="GE502", hint=hint, file=str(self._path))
            require_one(self._path, "column", column, name, self._header)
            return self._header.index(column)
        if column < len(self._header):
            return column
        message = f"there is no column {column} for input '{name}'; the file has {len(self._header)}"
        hint = self._dialect.separator_hint(self._path) or "columns are numbered from 0"
        raise DataError(message, code="GE502", hint=hint, file=str(self._path))

    def numbers(self, rows: list[Row]) -> Block:
        """A block of rows as arrays."""
        bad = BadCells()
        try:
            found = self._quickly(rows, bad)
        except (ValueError, OverflowError):  # reported, or read, cell by cell
            found = self._one_by_one(rows)
        else:
            if bad:
                self.bad.add_part(bad)
        return {name: array[:, 0] if name in self._vectors else array for name, array in found.items()}

    def _quickly(self, rows: list[Row], bad: BadCells) -> dict[str, np.ndarray[Any, Any]]:
        """The same numbers as `_one_by_one`, or a ValueError."""
        columns = list(zip(self._header, *(row for _, row in rows), strict=True))
        lines = [line for line, _ in rows]
        found: dict[str, np.ndarray[Any, Any]] = {}
        for name, (places, declared) in self._wanted.items():
            read = [
                self._column((name, self._header[place]), columns[place][1:], lines, declared, bad) for place in places
            ]
            found[name] = _side_by_side(read, declared)
        return found

    def _column(
        self, names: tuple[str, str], cells: Sequence[str], lines: Sequence[int], declared: Input, bad: BadCells
    ) -> Any:
        """What the cells of a column mean to an input: indices of categories, dates or numbers."""
        if declared.categories:
            return _indices(*names, self._dialect.texts(cells), lines, declared, bad)
        if declared.units:
            return dated(self._dialect.dates(cells), declared, bad, names, lines)
        return _filled(*names, self._dialect.numbers(cells), lines, declared, bad)

    def _one_by_one(self, rows: list[Row]) -> dict[str, np.ndarray[Any, Any]]:
        found: dict[str, list[list[float]]] = {name: [] for name in self._wanted}
        for line, row in rows:
            self._require_width(line, row)
            for name, (places, declared) in self._wanted.items():
                cells = [self._cell(name, row[place], line, self._header[place], declared) for place in places]
                found[name].append(cells)
        return as_encoded(
            {name: np.array(numbers, self._inputs[name].type.array_dtype) for name, numbers in found.items()},
            self._inputs,
        )

    def _require_width(self, line: int, row: Sequence[str]) -> None:
        if len(row) != len(self._header):
            top = "header" if self._dialect.header else "first row"
            message = f"the row has {counted(len(row), 'cell')}, the {top} has {len(self._header)}"
            raise self._refused(line, message, self._dialect.separator_hint(self._path))

    def _cell(self, name: str, cell: str, line: int, column: str, declared: Input) -> float:
        """A cell as a number; of one without a value or category a 0 that is never used."""
        if declared.categories:
            return float(_indices(name, column, self._dialect.texts([cell]), [line], declared, self.bad)[0])
        if declared.units:
            return self._date(name, cell, line, column, declared)
        if self._dialect.numbers([cell])[0].strip():
            return self._number(cell, declared.type.array_dtype, line, column)
        if not declared.missing:
            self.bad.add_missing(name, column, [line])
        return np.nan if declared.missing else 0

    def _date(self, name: str, cell: str, line: int, column: str, declared: Input) -> float:
        """A cell as a number in the units of its input."""
        try:
            numbers = dated(self._dialect.dates([cell]), declared, self.bad, (name, column), [line])
        except ValueError as error:
            raise self._refused(line, f"column '{column}': {error}", self._dialect.date_hint(cell)) from None
        return numbers[0]  # type: ignore[no-any-return]

    def _number(self, cell: str, dtype: np.dtype[Any], line: int, column: str) -> float:
        """A cell as a number that the dtype of its input can hold."""
        text = self._dialect.numbers([cell])[0].strip()
        try:
            return _number_of(text, dtype)
        except InexactError as error:
            message = f"column '{column}': {error}: {cell!r}"
            raise self._refused(line, message, "write it with a point or an exponent") from None
        except (ValueError, KeyError, OverflowError) as error:
            is_too_large = dtype.kind == "f" and isinstance(error, OverflowError)
            what = f"has a number larger than any {dtype}" if is_too_large else f"is not {_NOUNS[dtype.kind]}"
            found = f"{what.format(dtype)}: {cell!r}" if text else "is empty"
            raise self._refused(line, f"column '{column}' {found}", self._dialect.hint(cell)) from None

    def _refused(self, line: int, message: str, hint: str | None) -> DataError:
        return DataError(message, code="GE503", hint=hint, file=str(self._path), line=line)


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


def _number_of(text: str, dtype: np.dtype[Any]) -> float:
    """The number of a text that a dtype can hold, or a ValueError, KeyError or OverflowError."""
    if not text or _is_odd(text):
        raise ValueError
    if dtype.kind == "f":
        return _float(text, dtype)
    number = BOOLEANS[text.lower()] if dtype.kind == "b" else _integer(text)
    return int(np.array(number, dtype))


def _is_odd(text: str) -> bool:
    """Whether Python may read as a number what is none here: 1_000, and digits of other scripts."""
    return "_" in text or not text.isascii()


def _side_by_side(columns: Sequence[Any], declared: Input) -> np.ndarray[Any, Any]:
    """The columns of an input as a matrix."""
    if declared.categories:
        return np.stack(columns, axis=1).view(Indices)
    return np.stack(columns, axis=1) if declared.units else _numbers(columns, declared.type.array_dtype)


def _numbers(columns: Sequence[Sequence[str]], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Columns of numbers side by side, or a ValueError where a cell has to be looked at."""
    read = {"f": float, "i": int, "u": int}.get(dtype.kind)
    if read is None or any(map(_is_odd, map("".join, columns))):
        raise ValueError
    with np.errstate(over="ignore"):
        numbers = np.stack([np.array(list(map(read, column)), dtype) for column in columns], axis=1)
    if dtype.kind == "f" and np.any((large := np.abs(numbers)) >= LARGEST_EXACT):
        if np.isinf(large).any():
            raise ValueError
        _require_exact_all(itertools.chain.from_iterable(columns))
    return numbers


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


def _require_exact_all(cells: Iterable[str]) -> None:
    for cell in cells:
        if "." not in cell:  # else it is not an integer, whatever else it is
            _require_exact(cell)


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
