"""How a CSV file is written: separator, decimal mark, header, texts for a missing value, comments, compression.

A dialect turns a file into rows of cells, and a cell into the text of a number as Python reads it. It also knows what
other dialect a file seems to be written in, for the hint of an error.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any

from graphengine.errors import DataError
from graphengine.format.paths import DataFile

if TYPE_CHECKING:
    from graphengine.ir.dates import Dates

CELL_BYTES = 128
"""About what a cell takes as a Python string and as a number, besides its text."""
SAMPLE = 65_536
"""Characters of a file that are looked at to find out its separator."""
SEPARATORS = ",;\t|"
MISSING = (
    *("NA", "N/A", "n/a", "N.A.", "n.a.", "<NA>", "#N/A", "#NV", "k.A."),
    *("NaN", "nan", "null", "NULL", "None", "?", "-", "."),
)
"""Texts that often mean a missing value."""
MARKS: tuple[tuple[str, str | None], ...] = ((".", None), (",", None), (".", ","), (",", "."))
"""Decimal marks and marks of thousands that are tried; of several that fit, the first counts."""
IN_SOURCE = "in the data source"
"""Where the model file has the dialect, for hints."""

Row = tuple[int, list[str]]
"""The cells of a row, with its line."""


@dataclass(frozen=True)
class Dialect:
    """The marks of a CSV file; the default is a comma-separated file with a header and decimal points."""

    separator: str = ","
    decimal: str = "."
    thousands: str | None = None
    header: bool = True
    missing: tuple[str, ...] = ()
    comment: str | None = None
    date_format: str | None = None

    @contextmanager
    def table(self, path: DataFile, most: int = SAMPLE) -> Iterator[tuple[list[str], Iterator[Row]]]:
        """Open a file: the names of its columns, and its rows; without a header the names are 0, 1, ...

        Raises
        ------
        DataError
            GE501 if a line is longer than `most` characters.
        """
        with opened(path) as file:
            reader = csv.reader(self._uncommented(lines_of(file, path, most)), delimiter=self.separator, strict=True)
            rows = ((reader.line_num, row) for row in _readable(reader, path) if row)
            first = next(rows, (0, []))
            if self.header:
                yield first[1], rows
            else:
                yield (
                    [str(number) for number in range(len(first[1]))],
                    itertools.chain([first] if first[1] else [], rows),
                )

    def _uncommented(self, lines: Iterator[str]) -> Iterator[str]:
        """The lines of a file, with an empty one for each comment, so that the line numbers stay."""
        if self.comment is None:
            return lines
        return ("\n" if line.startswith(self.comment) else line for line in lines)

    @property
    def plain(self) -> bool:
        """Whether the cells are numbers as they are."""
        return self.decimal == "." and self.thousands is None and not self.missing

    def numbers(self, cells: Sequence[str]) -> Sequence[str]:
        """Cells as texts of numbers with a decimal point; an empty one for a missing value."""
        if self.plain:
            return cells
        return ["" if cell in self.missing else self._number(cell) for cell in cells]

    def _number(self, cell: str) -> str:
        if self.thousands:
            whole, mark, fraction = cell.partition(self.decimal)
            cell = _without_groups(whole, self.thousands) + mark + fraction
        if self.decimal == ".":
            return cell
        return cell.replace(self.decimal, ".") if "." not in cell else cell + "?"  # a point is no digit of this file

    def value(self, cell: str) -> float | None:
        """The number that a cell is read as; None if it is none, as `1_000` or digits of other scripts are none."""
        text = self._number(cell)
        if "_" in text or not text.isascii():
            return None
        try:
            return float(text)
        except ValueError:
            return None

    def values(self, cells: Sequence[str]) -> list[float | None]:
        """The numbers that cells are read as; None for those that are none."""
        if self._has_plain_numbers("".join(cells)):
            with suppress(ValueError):
                return [*map(float, cells if self.decimal == "." else (cell.replace(",", ".") for cell in cells))]
        return [self.value(cell) for cell in cells]

    def _has_plain_numbers(self, text: str) -> bool:
        """Whether all numbers in a text are read as Python reads them, except for the decimal mark."""
        is_grouped = self.thousands is not None and self.thousands in text
        has_own_mark = self.decimal == "." or "." not in text
        return has_own_mark and not is_grouped and "_" not in text and text.isascii()

    def texts(self, cells: Sequence[str]) -> Sequence[str]:
        """Cells as texts, which are categories; an empty one for a missing value."""
        return ["" if cell in self.missing else cell for cell in cells] if self.missing else cells

    def dates(self, cells: Sequence[str]) -> Dates:
        """Return cells as dates, NaT for a missing value.

        Raises
        ------
        ValueError
            For a cell that is no date.
        """
        from graphengine.ir.dates import as_dates

        return as_dates(self.texts(cells), self.date_format)

    def date_hint(self, cell: str) -> str | None:
        """What to write in the data source, if a cell is a date of another format."""
        from graphengine.ir.dates import format_of

        found = format_of(cell)
        return f'write "date_format": "{found}" {IN_SOURCE}' if found else self.hint(cell)

    def hint(self, cell: str) -> str | None:
        """What to write in the data source, if another dialect would read a cell as a number."""
        text = cell.strip()
        if text in MISSING:
            return f'if it means a missing value, write "missing": ["{text}"] {IN_SOURCE}'
        for decimal, thousands in MARKS:
            other = replace(self, decimal=decimal, thousands=thousands)
            if other != self and other.value(text) not in (None, self.value(text)):
                return self._change_to(other)
        return None

    def _change_to(self, other: Dialect) -> str:
        """What to write in the data source for the marks of another dialect."""
        marks = [f'"decimal": "{other.decimal}"'] if other.decimal != self.decimal else []
        marks += [f'"thousands": "{other.thousands}"'] if other.thousands not in (None, self.thousands) else []
        parts = [f"write {', '.join(marks)}"] if marks else []
        parts += ['leave "thousands" out'] if self.thousands and not other.thousands else []
        change = f"{' and '.join(parts)} {IN_SOURCE}"
        return change if (self.decimal, self.thousands) == MARKS[0] else f"if all numbers are written so, {change}"

    def separator_hint(self, path: DataFile) -> str | None:
        """What separator to write in the data source, if the first lines of a file agree on another one."""
        with suppress(csv.Error, OSError, DataError, UnicodeDecodeError), opened(path) as file:
            sample = list(itertools.islice(self._uncommented(iter(file.read(SAMPLE).splitlines())), 20))
            for separator in SEPARATORS.replace(self.separator, ""):
                if _separates(separator, sample):
                    mark = "\\t" if separator == "\t" else separator
                    return f'the columns seem to be separated by another mark: write "separator": "{mark}" {IN_SOURCE}'
        return None


def _separates(separator: str, lines: Iterable[str]) -> bool:
    """Whether a separator divides all lines into one number of cells, and into more than one."""
    widths = {len(row) for row in csv.reader(lines, delimiter=separator) if row}
    return len(widths) == 1 and widths != {1}


def _readable(reader: Any, path: DataFile) -> Iterator[list[str]]:
    """The rows of a reader of CSV; what is wrong with one is reported with its line."""
    try:
        yield from reader
    except csv.Error as error:
        hint = "a quotation mark within a quoted text is doubled, and the separator follows the last one"
        raise DataError(f"cannot be read as CSV: {error}", hint=hint, file=str(path), line=reader.line_num) from error


def _without_groups(whole: str, mark: str) -> str:
    """The digits of a whole number, if its groups have three digits each; else the text, which is not a number."""
    first, *groups = whole.split(mark)
    fits = first.strip().lstrip("+-") and all(len(group) == 3 for group in groups)
    return first + "".join(groups) if fits else whole


@contextmanager
def opened(path: DataFile) -> Iterator[IO[str]]:
    """Open a text file in UTF-8 for reading; one whose name ends in .gz is decompressed as it is read."""
    if not str(path).lower().endswith(".gz"):
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield file
    else:
        with (
            path.open("rb") as packed,
            gzip.open(packed) as unpacked,
            io.TextIOWrapper(unpacked, newline="", encoding="utf-8-sig") as file,
        ):
            yield file


def lines_of(file: IO[Any], path: DataFile, most: int) -> Iterator[Any]:
    """Yield the lines of a file.

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
            raise DataError(f"the line has more than {most} characters", hint=hint, file=str(path), line=number)
        yield line
