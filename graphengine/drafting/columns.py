"""Columns of a table: what each of them is, and what speaks against or for it as an input of a model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from graphengine.drafting.profiles import Cell, ColumnProfile, Numbers, Period
from graphengine.drafting.survey import Survey
from graphengine.ops.numbers import LARGEST_EXACT
from graphengine.wording import counted, enumerated, shown

MOST_CATEGORIES = 100
"""Different texts of a column that become categories."""
FEW_VALUES = 0.1
"""A column with values in fewer of its rows is left out."""
MOST_GUESSED = 2
"""Different integers of a target that are taken for classes unless a kind of model is requested."""


class ColumnKind(StrEnum):
    """What a column is."""

    number = "number"
    category = "category"
    date = "date"
    text = "text"


@dataclass(frozen=True)
class Column:
    """A column of a survey: how its cells are read depends on the other columns of the table."""

    profile: ColumnProfile
    survey: Survey

    @property
    def numbers(self) -> Numbers | None:
        """The column as numbers of the dialect of the table."""
        return self.profile.numbers(self.survey.dialect)

    @cached_property
    def kind(self) -> ColumnKind:
        """What the column is."""
        if self.profile.are_numbers(self.survey.dialect):
            return ColumnKind.number
        if self.profile.are_dates:
            return ColumnKind.date
        return ColumnKind.category if self._are_few_texts else ColumnKind.text

    @property
    def _are_few_texts(self) -> bool:
        return len(self.texts) <= MOST_CATEGORIES and self.profile.may_be_categories

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Its different texts, among them words that mean a missing value only elsewhere."""
        words = (text.strip() for text in self.profile.words if text not in self.survey.dialect.missing)
        return tuple(sorted({*self.profile.texts, *words}))

    @property
    def categories(self) -> tuple[str, ...]:
        """Its different texts, if it has neither numbers nor dates."""
        return () if self.kind in (ColumnKind.number, ColumnKind.date) else self.texts

    @property
    def gaps(self) -> int:
        """Cells without a value."""
        return self.profile.gaps + self.profile.words.total() * (self.kind == ColumnKind.number)

    @property
    def are_integers(self) -> bool:
        """Whether the numbers are integers, if there are any."""
        return self.numbers is not None and self.numbers.are_integers

    @property
    def are_countable(self) -> bool:
        """Whether the numbers may be those of classes: integers, not too many of them."""
        return self.are_integers and not self.profile.has_more_texts

    @property
    def counts_rows(self) -> bool:
        """Whether the column has a number in each row, always 1 more than in the row before."""
        if self.kind != ColumnKind.number or self.gaps:
            return False
        return self.are_integers and self._are_counting and self.survey.rows > MOST_GUESSED

    @property
    def _are_counting(self) -> bool:
        return self.numbers is not None and self.numbers.are_counting

    # ------------------------------------------------------------ why it is left out; nothing if it is not

    @property
    def constant(self) -> str:
        """The one number of the column; nothing if it has others."""
        numbers = self.numbers if self.kind == ColumnKind.number else None
        return f"it is constant: {numbers.low:.6g}" if numbers and numbers.low == numbers.high else ""

    def reason_against(self) -> str:
        """Why its cells are not used."""
        return self.profile.refused or self._too_empty() or self._useless()

    def _too_empty(self) -> str:
        filled, rows = self.profile.filled, self.survey.rows
        if not (filled or self.categories):
            return "it is empty"
        is_rare = filled + self.profile.words.total() < FEW_VALUES * rows
        return f"it has a value in {filled} of {rows} rows" if is_rare else ""

    def _useless(self) -> str:
        """Why its dates or texts teach nothing."""
        if self.kind == ColumnKind.date:
            return self._useless_dates()
        if len(self.categories) == 1 and self.survey.rows > 1:
            return f"it is constant: {shown(self.categories[0])}"
        return self._useless_texts() if self.kind == ColumnKind.text else ""

    def _useless_dates(self) -> str:
        date_format = self.survey.dialect.date_format
        period = self.profile.periods.get(date_format)
        if period is None:
            return f"its dates are not {_form(date_format)}, as those of other columns are"
        return f"it is constant: {period.low}" if period.low == period.high else ""

    def _useless_texts(self) -> str:
        if bad := self.bad_numbers():
            return bad
        if not self.profile.repeats:
            return "all its texts differ, as of an identifier"
        return f"it has more than {MOST_CATEGORIES} different texts"

    def bad_numbers(self) -> str:
        """Which cells of the column are not numbers, if most of them are; else nothing."""
        numbers = self.numbers or next(iter(self.profile.readings), None)
        if numbers is None or numbers.first_bad is None or numbers.bad > self.profile.filled / 2:
            return ""
        return f"most of its cells are numbers, {_exceptions(numbers.bad, numbers.first_bad)}"

    # ------------------------------------------------------------ what it has, if it is used

    def reason_for(self) -> str:
        """What the column has."""
        period = self.profile.periods.get(self.survey.dialect.date_format)
        if self.kind == ColumnKind.number and self.numbers:
            return _range_of(self.numbers)
        if self.kind == ColumnKind.date and period:
            return self._dates(period)
        texts = enumerated(list(map(shown, self.categories)), most=4)
        return f"{counted(len(self.categories), 'text')}: {texts}{self._doubt()}"

    def _dates(self, period: Period) -> str:
        """From when to when the dates are, how they are written, and how they may be meant."""
        date_format = self.survey.dialect.date_format
        low, high = (str(date.astype("datetime64[s]")).removesuffix("T00:00:00") for date in period)
        return f"dates from {low} to {high}, written {_form(date_format)}{self._other_form()}"

    def _other_form(self) -> str:
        """What else the dates may mean; nothing if there is nothing else."""
        date_format = self.survey.dialect.date_format
        other = next((each for each in self.profile.periods if each != date_format), None)
        return f"; {_form(other)} would fit, too" if other else ""

    def _doubt(self) -> str:
        """Why the texts may be meant as numbers; nothing if they may not."""
        if bad := self.bad_numbers():
            return f"; {bad}; if that means a missing value, leave the cells empty or name it with --missing"
        return self._other_mark()

    def _other_mark(self) -> str:
        marks = [each.dialect.decimal for each in self.profile.readings if not each.bad]
        return f"; numbers with the decimal mark {shown(marks[0])}, unlike other columns" if marks else ""

    # ------------------------------------------------------------ as the target

    @property
    def as_target(self) -> str:
        """What the column is called where it is the target."""
        return f"the target '{self.profile.name}'"

    def gap_places(self) -> str:
        """In which lines or rows of the file the column has gaps, in words; of many the first ones."""
        lines = self.profile.gap_lines
        places = [*map(str, lines[:5]), *["..."] * (len(lines) > 5)]
        return f", {self.survey.unit}{'s' * (len(places) > 1)} {', '.join(places)}" if places else ""


def _form(date_format: str | None) -> str:
    return shown(date_format) if date_format else "ISO 8601"


def _exceptions(count: int, first: Cell) -> str:
    """How many cells are not numbers, and where the first of them is."""
    others = "one is not," if count == 1 else f"{count} are not, the first"
    size = ", larger than any double" * _is_beyond(first.text)
    return f"{others} in line {first.line}: {shown(first.text)}{size}"


def _is_beyond(text: str) -> bool:
    """Whether a text is a number that no double holds."""
    try:
        return math.isinf(float(text)) and "inf" not in text.lower()
    except ValueError:
        return False


def _range_of(numbers: Numbers) -> str:
    is_exact = numbers.are_integers and max(-numbers.low, numbers.high) <= LARGEST_EXACT
    return f"{'integers' if is_exact else 'numbers'} from {numbers.low:.6g} to {numbers.high:.6g}"
