"""A table as it is found: how its file is written, and what each column is, in one reading.

The separator follows from the first lines; decimal mark, missing texts and the kinds of columns from all rows.
"""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from graphengine.data.csv_dialect import SAMPLE, SEPARATORS, Dialect, Row, opened
from graphengine.data.faults import told
from graphengine.drafting.profiles import Numbers, Profile, dialects
from graphengine.errors import DataError
from graphengine.format.paths import DataFile

LOOKED_AT = 100
"""Lines that are looked at to find the separator."""
BLOCK = 4096
"""Rows that are read at a time."""


@dataclass(frozen=True)
class Survey:
    """What a CSV file has: the dialect it is written in, its rows, and its columns."""

    dialect: Dialect
    rows: int
    columns: list[Profile]


def survey(path: DataFile, longest_line: int = SAMPLE) -> Survey:
    """Read a CSV file, and find out how it is written and what is in it.

    Raises
    ------
    DataError
        GE501 if the file cannot be read or has no rows, GE503 if a row has more or fewer cells than the header.
    """
    with told(path, "CSV"):
        written = layout(path)
        with written.table(path, longest_line) as (header, rows):
            count, columns = _profiles(path, header, rows, written)
    if not count:
        raise DataError(f"{path}: the file has no rows" + " below its header" * bool(header))
    best = max(dialects(written), key=lambda each: sum(column.are_numbers(each) for column in columns))
    return Survey(replace(best, missing=_missing(columns, best)), count, columns)


def layout(path: DataFile) -> Dialect:
    """Return separator and header of a file: the separator by which the first lines have most columns alike.

    There is no header if all cells of the first row are numbers.
    """
    with opened(path) as file:
        lines = file.read(SAMPLE).splitlines(keepends=True)
    whole = lines[: LOOKED_AT if len(lines) > LOOKED_AT else max(len(lines) - 1, 1)]  # the last one may be cut off
    found = [(_width(whole, separator), Dialect(separator)) for separator in SEPARATORS]
    _, best = max(found, key=lambda pair: pair[0])
    first = next(csv.reader(whole, delimiter=best.separator), [])
    tried = dialects(best)
    has_numbers_only = bool(first) and any(all(each.value(cell) is not None for cell in first) for each in tried)
    return replace(best, header=not has_numbers_only)


def _width(lines: Sequence[str], separator: str) -> int:
    """The number of columns that all lines have; 0 if they do not agree."""
    with suppress(csv.Error):
        widths = {len(row) for row in csv.reader(lines, delimiter=separator) if row}
        return widths.pop() if len(widths) == 1 else 0
    return 0


def _profiles(path: DataFile, header: list[str], rows: Iterator[Row], written: Dialect) -> tuple[int, list[Profile]]:
    tried = dialects(written)
    columns = [Profile(name, place, [Numbers(each) for each in tried]) for place, name in enumerate(header)]
    count = 0
    while block := list(itertools.islice(rows, BLOCK)):
        for line, row in block:
            if len(row) != len(header):
                message = f"{path}:{line}: the row has {len(row)} cells, the first row has {len(header)}"
                raise DataError(message, code="GE503", hint="give each row as many cells, and quote texts with marks")
        lines = [line for line, _ in block]
        for column, cells in zip(columns, zip(*(row for _, row in block), strict=True), strict=True):
            column.add(lines, cells)
        count += len(block)
    return count, columns


def _missing(columns: Sequence[Profile], dialect: Dialect) -> tuple[str, ...]:
    """The texts for a missing value that a file has, the most frequent ones first."""
    found: Counter[str] = Counter()
    for column in columns:
        found += column.missing
        if column.are_numbers(dialect):
            found += column.words
    return tuple(text for text, _ in found.most_common())
