"""A table as it is found: how its file is written, and what each column is, in one reading.

The separator follows from the first lines; decimal mark, missing texts and the kinds of columns from all rows.
"""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from graphengine.data.csv_dialect import SAMPLE, SEPARATORS, Dialect, Row, opened
from graphengine.data.sources import faults_in
from graphengine.drafting.profiles import ColumnProfile, Numbers, dialects
from graphengine.errors import DataError
from graphengine.format.paths import DataFile
from graphengine.ir.dates import FORMATS
from graphengine.wording import counted

LOOKED_AT = 100
"""Lines that are looked at to find the separator."""
COMMENT = "#"
"""What begins a comment, if without such lines the others agree better."""
BLOCK = 4096
"""Rows that are read at a time."""


@dataclass(frozen=True)
class Survey:
    """What a file has: the dialect it is written in if its `kind` is "csv", its rows, and its columns."""

    dialect: Dialect
    rows: int
    columns: list[ColumnProfile]
    kind: str = "csv"

    @property
    def unit(self) -> str:
        """What the places of cells count."""
        return "line" if self.kind == "csv" else "row"


def survey(
    path: DataFile, longest_line: int = SAMPLE, *, header: bool | None = None, missing: Collection[str] = ()
) -> Survey:
    """Read a CSV file, and find out how it is written and what is in it.

    `header` says whether it has names of columns, `missing` are further texts of cells that mean a missing value.

    Raises
    ------
    DataError
        GE501 if the file cannot be read or has no rows, GE503 if a row has more or fewer cells than the header.
    """
    with faults_in(path, "CSV"):
        written = layout(path, header=header)
        with written.table(path, longest_line) as (names, rows):
            count, columns = _profiles(path, names, rows, written, missing)
    if not count:
        raise DataError("the file has no rows" + " below its header" * bool(names), file=str(path))
    best = max(dialects(written), key=lambda each: sum(column.are_numbers(each) for column in columns))
    found = replace(best, missing=_missing(columns, best, missing), date_format=_date_format(columns, best))
    return Survey(found, count, columns)


def layout(path: DataFile, *, header: bool | None = None) -> Dialect:
    """Return separator, comment and header of a file: those by which the first lines have most columns alike.

    There is no header if all cells of the first row are numbers.
    """
    lines, best = max(_readings(_first_lines(path)), key=lambda pair: _widths(*pair))
    return replace(best, header=_has_header(lines, best) if header is None else header)


def _first_lines(path: DataFile) -> list[str]:
    with opened(path) as file:
        lines = file.read(SAMPLE).splitlines(keepends=True)
    return lines[: LOOKED_AT if len(lines) > LOOKED_AT else max(len(lines) - 1, 1)]  # the last one may be cut off


def _readings(lines: list[str]) -> list[tuple[list[str], Dialect]]:
    """The lines in each dialect that they may have; of one with comments those that are none."""
    tried = _readings_by_separator(lines, Dialect())
    rest = [line for line in lines if not line.startswith(COMMENT)]
    if 0 < len(rest) < len(lines):
        tried += _readings_by_separator(rest, Dialect(comment=COMMENT))
    return tried


def _readings_by_separator(lines: list[str], dialect: Dialect) -> list[tuple[list[str], Dialect]]:
    return [(lines, replace(dialect, separator=separator)) for separator in SEPARATORS]


def _has_header(lines: Sequence[str], dialect: Dialect) -> bool:
    """Whether no dialect of numbers reads all cells of the first row."""
    first = next(csv.reader(lines, delimiter=dialect.separator), [])
    return not first or not any(all(each.value(cell) is not None for cell in first) for each in dialects(dialect))


def _widths(lines: Sequence[str], dialect: Dialect) -> tuple[int, int]:
    """How many columns all lines have, 0 if they do not agree or have one; and how many most of them have."""
    with suppress(csv.Error):
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=dialect.separator) if row)
        most = widths.most_common(1)[0][0] if widths else 0
        return _agreed(widths), most
    return 0, 0


def _agreed(widths: Collection[int]) -> int:
    """The one number of columns that lines have, if it is more than 1; else 0."""
    return max(widths) if len(widths) == 1 and max(widths) > 1 else 0


def _profiles(
    path: DataFile, header: list[str], rows: Iterator[Row], written: Dialect, missing: Collection[str]
) -> tuple[int, list[ColumnProfile]]:
    tried, asked = dialects(written), frozenset(map(str.strip, missing))
    columns = [ColumnProfile(name, place, list(map(Numbers, tried)), asked=asked) for place, name in enumerate(header)]
    count = 0
    while block := list(itertools.islice(rows, BLOCK)):
        _require_cells(path, block, len(header))
        _look_at(block, columns)
        count += len(block)
    return count, columns


def _look_at(block: Iterable[Row], columns: Iterable[ColumnProfile]) -> None:
    """Add the cells of some rows to their columns."""
    lines, cells = zip(*block, strict=True)
    for column, texts in zip(columns, zip(*cells, strict=True), strict=True):
        column.add(lines, texts)


def _require_cells(path: DataFile, block: Iterable[Row], width: int) -> None:
    """Refuse a row that does not have as many cells as the first one."""
    for line, row in block:
        if len(row) != width:
            message = f"the row has {counted(len(row), 'cell')}, the first row has {width}"
            hint = "give each row as many cells, and quote texts with marks"
            raise DataError(message, code="GE503", hint=hint, file=str(path), line=line)


def _date_format(columns: Sequence[ColumnProfile], dialect: Dialect) -> str | None:
    """The format that reads most columns of dates."""
    dated = _dated(columns, dialect)
    return max((None, *FORMATS), key=lambda each: sum(each in column.periods for column in dated))


def _dated(columns: Iterable[ColumnProfile], dialect: Dialect) -> list[ColumnProfile]:
    """The columns that have dates and no numbers."""
    return [column for column in columns if column.are_dates and not column.are_numbers(dialect)]


def _missing(columns: Sequence[ColumnProfile], dialect: Dialect, asked: Collection[str]) -> tuple[str, ...]:
    """The texts for a missing value that a file has, the most frequent ones first, and those asked for."""
    found: Counter[str] = Counter()
    for column in columns:
        found += column.missing
        if column.are_numbers(dialect):
            found += column.words
    return tuple(dict.fromkeys([*(text for text, _ in found.most_common()), *asked]))
