"""What the cells of one column are: numbers in some dialect, dates, or texts, and which mean a missing value.

A profile grows block by block and keeps counts, not cells.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from graphengine.data.csv_dialect import MARKS, MISSING, Dialect
from graphengine.ir.dates import FORMATS, as_dates

MOST_TEXTS = 1000
"""Different texts of a column that are kept."""
GAPS = frozenset(("", *MISSING))
"""Cells without a value, or texts that may mean that."""
WORDS = frozenset({"None", "-", "."})
"""Texts that mean a missing value among numbers, and may mean something among texts."""


class Cell(NamedTuple):
    """A cell and its line in the file."""

    line: int
    text: str


@dataclass
class Numbers:
    """The cells of a column as numbers of one dialect; cells that are none are `bad`."""

    dialect: Dialect
    bad: int = 0
    first_bad: Cell | None = None
    low: float = math.inf
    high: float = -math.inf
    are_integers: bool = True
    last: float | None = None
    are_counting: bool = True
    """Whether each number is the one before it plus 1."""

    def add(self, lines: Sequence[int], texts: Sequence[str]) -> None:
        """Read more cells."""
        found = np.array([math.nan if each is None else each for each in self.dialect.values(texts)], np.float64)
        is_number = np.isfinite(found)
        if not is_number.all():
            place = int(np.argmin(is_number))
            self._add_bad(Cell(lines[place], texts[place]), int(np.count_nonzero(~is_number)))
            found = found[is_number]
        if found.size:
            self._extend(found)

    def _add_bad(self, first: Cell, count: int) -> None:
        self.first_bad = self.first_bad or first
        self.bad += count

    def _extend(self, found: np.ndarray[Any, Any]) -> None:
        """Look at more numbers."""
        self.low, self.high = min(self.low, float(found.min())), max(self.high, float(found.max()))
        self.are_integers &= bool((found == np.floor(found)).all())
        steps = np.diff(found, prepend=found[0] - 1 if self.last is None else self.last)
        self.are_counting &= bool((steps == 1).all())
        self.last = float(found[-1])


class Period(NamedTuple):
    """The first and the last date of a column."""

    low: np.datetime64
    high: np.datetime64


@dataclass
class ColumnProfile:
    """What is known of a column after some of its cells."""

    name: str
    place: int
    readings: list[Numbers]
    """The column as numbers, in each of the dialects that read most of it."""
    refused: str = ""
    """Why no input can take the column, whatever its cells are."""
    asked: frozenset[str] = frozenset()
    """Texts without spaces around them that mean a missing value because the caller says so."""
    filled: int = 0
    """Cells that have a value."""
    gaps: int = 0
    gap_lines: list[int] = field(default_factory=list)
    missing: Counter[str] = field(default_factory=Counter)
    """Texts of cells that mean a missing value, as they are in the file."""
    words: Counter[str] = field(default_factory=Counter)
    """Such texts that count only if the other cells are numbers."""
    texts: Counter[str] = field(default_factory=Counter)
    """Different texts, without spaces around them; only the first ones of very many."""
    has_more_texts: bool = False
    periods: dict[str | None, Period | None] = field(default_factory=lambda: dict.fromkeys((None, *FORMATS)))
    """The column as dates, by each format that reads all of it; None is ISO 8601."""

    def add(self, lines: Sequence[int], cells: Sequence[str]) -> None:
        """Look at the cells of a block of rows."""
        texts: Sequence[str] = [cell.strip() for cell in cells]
        gaps = GAPS | self.asked
        if not gaps.isdisjoint(texts):
            lines, texts = self._without_gaps(gaps, lines, cells, texts)
        self.filled += len(texts)
        self._add_texts(texts)
        self._add_dates(texts)
        for numbers in self.readings:
            numbers.add(lines, texts)
        self._keep_best_readings()

    def _keep_best_readings(self) -> None:
        fewest = min((numbers.bad for numbers in self.readings), default=0)
        self.readings = [numbers for numbers in self.readings if numbers.bad == fewest]

    def _without_gaps(
        self, gaps: Collection[str], lines: Sequence[int], cells: Sequence[str], texts: Sequence[str]
    ) -> tuple[list[int], list[str]]:
        """Count the gaps and return the lines and texts of the other cells."""
        filled = []
        for line, cell, text in zip(lines, cells, texts, strict=True):
            if text in gaps:
                self._add_gap(line, cell, text)
            else:
                filled.append((line, text))
        return [line for line, _ in filled], [text for _, text in filled]

    def _add_gap(self, line: int, cell: str, text: str) -> None:
        if text in WORDS - self.asked:
            self.words[cell] += 1
            return
        self.gaps += 1
        if len(self.gap_lines) < len(MISSING):
            self.gap_lines.append(line)
        if cell:
            self.missing[cell] += 1

    def _add_texts(self, texts: Sequence[str]) -> None:
        if self.has_more_texts:
            return
        self.texts.update(texts)
        self.has_more_texts = len(self.texts) > MOST_TEXTS

    def _add_dates(self, texts: Sequence[str]) -> None:
        different = set(texts)
        for date_format, before in list(self.periods.items()) if different else []:
            try:
                dates = as_dates(different, date_format)
            except ValueError:
                del self.periods[date_format]
                continue
            self.periods[date_format] = _period(dates, before)

    def numbers(self, dialect: Dialect) -> Numbers | None:
        """The column as numbers of a dialect, if it reads as many of its cells as any other."""
        marks = dialect.decimal, dialect.thousands
        return next((each for each in self.readings if (each.dialect.decimal, each.dialect.thousands) == marks), None)

    def are_numbers(self, dialect: Dialect) -> bool:
        """Whether all cells that have a value are numbers."""
        numbers = self.numbers(dialect)
        return bool(self.filled and numbers and not numbers.bad)

    @property
    def are_dates(self) -> bool:
        """Whether all cells that have a value are dates of one format."""
        return bool(self.filled and self.periods)

    @property
    def repeats(self) -> bool:
        """Whether a text is there twice."""
        return any(count > 1 for count in self.texts.values())

    @property
    def may_be_categories(self) -> bool:
        """Whether a text is there twice, or one that may mean a missing value."""
        return bool(self.repeats or self.words)


def _period(dates: np.ndarray[Any, Any], before: Period | None) -> Period:
    """The period of some dates and those before."""
    ends = [dates.min(), dates.max(), *(before or ())]
    return Period(min(ends), max(ends))


def dialects(written: Dialect) -> list[Dialect]:
    """The dialects of numbers that are tried in a file whose separator and header are known."""
    made = [
        Dialect(written.separator, decimal, thousands, written.header, (), written.comment)
        for decimal, thousands in MARKS
    ]
    return [each for each in made if each.decimal != written.separator]
