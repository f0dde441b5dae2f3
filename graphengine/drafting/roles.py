"""What a model does with the columns of a table: numbers, categories, the target; or why a column is left out."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from graphengine.drafting.profiles import ColumnProfile, Numbers, Period, dialects
from graphengine.drafting.survey import Survey
from graphengine.errors import DataError, UsageError, did_you_mean
from graphengine.ops.numbers import LARGEST_EXACT
from graphengine.wording import counted, enumerated, shown

MOST_CATEGORIES = 100
"""Different texts of a column that become categories."""
FEW_VALUES = 0.1
"""A column with values in fewer of its rows is left out."""
MOST_GUESSED = 2
"""Different integers of a target that are taken for classes unless a kind of model is asked for."""


class ColumnKind(StrEnum):
    """What a column is."""

    number = "number"
    category = "category"
    date = "date"
    text = "text"


@dataclass(frozen=True)
class Role:
    """A column, what it is, whether it is used, and why."""

    column: str
    place: int
    kind: ColumnKind
    is_used: bool
    why: str
    gaps: int
    categories: tuple[str | int, ...] = ()
    is_constant: bool = False
    """Whether it is left out only because it has one number in all rows."""


@dataclass(frozen=True)
class Task:
    """What is learned of a table: the roles of all columns but the target, and the target."""

    target: Role
    roles: list[Role]

    @property
    def numbers(self) -> list[Role]:
        """The columns of numbers that are used."""
        return [role for role in self.roles if role.is_used and role.kind == ColumnKind.number]

    @property
    def dates(self) -> list[Role]:
        """The columns of dates that are used."""
        return [role for role in self.roles if role.is_used and role.kind == ColumnKind.date]

    @property
    def categories(self) -> list[Role]:
        """The columns of categories that are used."""
        return [role for role in self.roles if role.is_used and role.kind == ColumnKind.category]

    @property
    def has_classes(self) -> bool:
        """Whether the target is one of several classes."""
        return self.target.kind == ColumnKind.category


def find_task(
    path: str, survey: Survey, target: str, *, classes: bool | None = None, excluded: Collection[str] = ()
) -> Task:
    """Return what can be learned of a table; `classes` says whether the target is classes, None that it follows.

    Raises
    ------
    DataError
        GE502 if there is no column of the name of the target, or two of them; GE503 if the target has gaps; GE505 if it
        has one value or too many classes, or no other column can be used.
    UsageError
        GE801 if the target does not have numbers, and they are asked for.
    """
    try:
        return _task(survey, target, classes, excluded)
    except (DataError, UsageError) as error:
        error.located(file=str(path))
        raise


def _task(survey: Survey, target: str, classes: bool | None, excluded: Collection[str]) -> Task:
    names = [column.name for column in survey.columns]
    _require_columns((target, *excluded), names, survey)
    if names.count(target) > 1:
        raise DataError(f"column '{target}' occurs {names.count(target)} times", code="GE502")
    place = names.index(target)
    others = [*survey.columns[:place], *survey.columns[place + 1 :]]
    role = _target_role(survey.columns[place], survey, classes)
    task = Task(role, _other_roles(others, survey, names, excluded))
    if not (task.numbers or task.dates or task.categories):
        hint = _left_out(task.roles)
        raise DataError(f"no column is left to predict '{target}' from", code="GE505", hint=hint)
    return task


def _require_columns(wanted: Iterable[str], names: Sequence[str], survey: Survey) -> None:
    for name in wanted:
        if name not in names:
            hint = did_you_mean(name, names, "columns") + _header_hint(survey, names)
            raise DataError(f"there is no column '{name}'", code="GE502", hint=hint)


def _header_hint(survey: Survey, names: Sequence[str]) -> str:
    """What to do where the names of the columns have a number among them: the first row may be data."""
    readers = dialects(survey.dialect) if survey.dialect.header else []
    if any(each.value(text) is not None for each in readers for text in names):
        return "; if the first row has no names, add --no-header"
    return ""


def _left_out(roles: Sequence[Role]) -> str:
    return enumerated([f"'{role.column}' is left out: {role.why}" for role in roles], most=3) or "add columns"


def _other_roles(
    columns: Sequence[ColumnProfile], survey: Survey, names: Sequence[str], excluded: Collection[str]
) -> list[Role]:
    """Columns but the target; what counts the rows is used only where nothing else can be, as the years of a series."""
    roles = [_role(column, survey, names, excluded) for column in columns]
    used = {role.place for role in roles if role.is_used}
    counting = used.intersection(column.place for column in columns if _counts_rows(column, survey))
    if used == counting:
        return roles
    return [_as_counter(role) if role.place in counting else role for role in roles]


def _as_counter(role: Role) -> Role:
    return replace(role, is_used=False, why=f"it counts the rows: {role.why}")


def _counts_rows(column: ColumnProfile, survey: Survey) -> bool:
    """Whether a column has a number in each row, always 1 more than in the row before."""
    numbers = column.numbers(survey.dialect)
    if numbers is None or not column.are_numbers(survey.dialect) or column.gaps or column.words:
        return False
    return numbers.are_integers and numbers.are_counting and survey.rows > MOST_GUESSED


def _role(column: ColumnProfile, survey: Survey, names: Sequence[str], excluded: Collection[str]) -> Role:
    kind, categories = _kind(column, survey)
    reason = _reason_against_name(column.name, names, excluded) or _reason_against(column, kind, survey, categories)
    constant = "" if reason else _constant(column, kind, survey)
    against = reason or constant
    return Role(
        column.name,
        column.place,
        kind,
        is_used=not against,
        why=against or _reason_for(column, kind, survey, categories),
        gaps=_gaps(column, kind),
        categories=categories if kind == ColumnKind.category else (),
        is_constant=bool(constant),
    )


def _constant(column: ColumnProfile, kind: ColumnKind, survey: Survey) -> str:
    """The one number of a column; nothing if it has others."""
    numbers = column.numbers(survey.dialect) if kind == ColumnKind.number else None
    return f"it is constant: {numbers.low:.6g}" if numbers and numbers.low == numbers.high else ""


def _reason_against_name(name: str, names: Sequence[str], excluded: Collection[str]) -> str:
    if name in excluded:
        return "it is excluded"
    if not name.strip():
        return "it has no name, as an index"
    return "duplicate name; rename it to use it" if names.count(name) > 1 else ""


def _kind(column: ColumnProfile, survey: Survey) -> tuple[ColumnKind, tuple[str, ...]]:
    """What a column is, and the categories that it has."""
    if column.are_numbers(survey.dialect):
        return ColumnKind.number, ()
    if column.are_dates:
        return ColumnKind.date, ()
    words = (text.strip() for text in column.words if text not in survey.dialect.missing)
    categories = tuple(sorted({*column.texts, *words}))
    are_few = len(categories) <= MOST_CATEGORIES and column.may_be_categories
    return ColumnKind.category if are_few else ColumnKind.text, categories


def _gaps(column: ColumnProfile, kind: ColumnKind) -> int:
    return column.gaps + column.words.total() * (kind == ColumnKind.number)


def _reason_against(column: ColumnProfile, kind: ColumnKind, survey: Survey, categories: Sequence[str]) -> str:
    """Why a column is left out; nothing if it is not."""
    if column.refused:
        return column.refused
    if not (column.filled or categories):
        return "it is empty"
    if column.filled + column.words.total() < FEW_VALUES * survey.rows:
        return f"it has a value in {column.filled} of {survey.rows} rows"
    if kind == ColumnKind.date:
        return _reason_against_dates(column, survey.dialect.date_format)
    return _reason_against_texts(column, kind, survey, categories)


def _reason_against_texts(column: ColumnProfile, kind: ColumnKind, survey: Survey, categories: Sequence[str]) -> str:
    if len(categories) == 1 and survey.rows > 1:
        return f"it is constant: {shown(categories[0])}"
    return _reason_against_many_texts(column, survey) if kind == ColumnKind.text else ""


def _reason_against_dates(column: ColumnProfile, date_format: str | None) -> str:
    period = column.periods.get(date_format)
    if period is None:
        return f"its dates are not {_form(date_format)}, as those of other columns are"
    return f"it is constant: {period.low}" if period.low == period.high else ""


def _form(date_format: str | None) -> str:
    return shown(date_format) if date_format else "ISO 8601"


def _reason_for_dates(column: ColumnProfile, period: Period, date_format: str | None) -> str:
    """From when to when the dates of a column are, how they are written, and how they may be meant."""
    low, high = (str(date.astype("datetime64[s]")).removesuffix("T00:00:00") for date in period)
    other = next((each for each in column.periods if each != date_format), None)
    doubt = f"; {_form(other)} would fit, too" if other else ""
    return f"dates from {low} to {high}, written {_form(date_format)}{doubt}"


def _reason_against_many_texts(column: ColumnProfile, survey: Survey) -> str:
    if bad := _bad_numbers(column, survey):
        return bad
    if not column.repeats:
        return "all its texts differ, as of an identifier"
    return f"it has more than {MOST_CATEGORIES} different texts"


def _bad_numbers(column: ColumnProfile, survey: Survey) -> str:
    """Which cells of a column are no numbers, if most of them are; else nothing."""
    numbers = column.numbers(survey.dialect) or next(iter(column.readings), None)
    if numbers is None or numbers.first_bad is None or numbers.bad > column.filled / 2:
        return ""
    line, text = numbers.first_bad
    others = "one is not," if numbers.bad == 1 else f"{numbers.bad} are not, the first"
    size = ", larger than any double" * _is_beyond(text)
    return f"most of its cells are numbers, {others} in line {line}: {shown(text)}{size}"


def _is_beyond(text: str) -> bool:
    """Whether a text is a number that no double holds."""
    try:
        return math.isinf(float(text)) and "inf" not in text.lower()
    except ValueError:
        return False


def _reason_for(column: ColumnProfile, kind: ColumnKind, survey: Survey, categories: Sequence[str]) -> str:
    """What the column has, if it is used."""
    numbers, date_format = column.numbers(survey.dialect), survey.dialect.date_format
    if kind == ColumnKind.number and numbers:
        return _reason_for_numbers(numbers)
    if kind == ColumnKind.date and (period := column.periods.get(date_format)):
        return _reason_for_dates(column, period, date_format)
    texts = enumerated(list(map(shown, categories)), most=4)
    return f"{counted(len(categories), 'text')}: {texts}{_doubt(column, survey)}"


def _reason_for_numbers(numbers: Numbers) -> str:
    is_exact = numbers.are_integers and max(-numbers.low, numbers.high) <= LARGEST_EXACT
    return f"{'integers' if is_exact else 'numbers'} from {numbers.low:.6g} to {numbers.high:.6g}"


def _doubt(column: ColumnProfile, survey: Survey) -> str:
    """Why the texts of a column may be meant as numbers; nothing if they may not."""
    if bad := _bad_numbers(column, survey):
        return f"; {bad}; if that means a missing value, leave the cells empty or name it with --missing"
    marks = [each.dialect.decimal for each in column.readings if not each.bad]
    return f"; numbers with the decimal mark {shown(marks[0])}, unlike other columns" if marks else ""


def _target_role(column: ColumnProfile, survey: Survey, classes: bool | None) -> Role:
    kind, categories = _kind(column, survey)
    where = f"the target '{column.name}'"
    _require_target(where, column, kind, survey)
    if kind == ColumnKind.number:
        return _number_target(where, column, survey, classes)
    if classes is False:
        raise UsageError(f"{where} has texts, and a regression predicts numbers", hint="choose logistic or mlp")
    if kind == ColumnKind.text and (bad := _bad_numbers(column, survey)):
        raise DataError(f"{where}: {bad}", code="GE503", hint="write numbers there, or leave these rows out")
    return _class_target(where, column, categories, f"{counted(len(categories), 'text')}: classification")


def _require_target(where: str, column: ColumnProfile, kind: ColumnKind, survey: Survey) -> None:
    """Refuse a target that has no value in each row, or whose values are not predicted."""
    if gaps := _gaps(column, kind):
        message = f"{where} has no value in {counted(gaps, 'row')}{_gap_places(column, survey.unit)}"
        raise DataError(message, code="GE503", hint="leave these rows out: nothing can be learned from them")
    if column.refused:
        raise DataError(f"{where} cannot be predicted: {column.refused}", code="GE505", hint="choose another target")
    if kind == ColumnKind.date:
        hint = "add a column with a number, such as days since a day, and predict that"
        raise DataError(f"{where} has dates, which are not predicted", code="GE505", hint=hint)


def _gap_places(column: ColumnProfile, unit: str) -> str:
    """In which lines or rows of the file a column has gaps, in words; of many the first ones."""
    places = [*map(str, column.gap_lines[:5]), *["..."] * (len(column.gap_lines) > 5)]
    return f", {unit}{'s' * (len(places) > 1)} {', '.join(places)}" if places else ""


def _number_target(where: str, column: ColumnProfile, survey: Survey, classes: bool | None) -> Role:
    values = len(column.texts)
    are_countable = _are_integers(column, survey) and not column.has_more_texts
    if classes is None:
        classes = are_countable and values == MOST_GUESSED
    if classes:
        why = f"{values} different numbers: classification"
        return _class_target(where, column, _number_categories(column.texts), why)
    if constant := _constant(column, ColumnKind.number, survey):
        raise DataError(f"{where} {constant.removeprefix('it ')}", code="GE505", hint="nothing can be learned from it")
    few = are_countable and column.repeats and values <= MOST_CATEGORIES // 5
    note = f"; if they are {values} classes, add --task classification" * few
    return Role(column.name, column.place, ColumnKind.number, True, f"numbers: regression{note}", 0)


def _are_integers(column: ColumnProfile, survey: Survey) -> bool:
    numbers = column.numbers(survey.dialect)
    return numbers is not None and numbers.are_integers


def _number_categories(texts: Iterable[str]) -> tuple[str | int, ...]:
    """Integers as numbers, so that 1 and 1.0 are the same; anything else, and what no double holds, as texts."""
    return tuple(sorted(map(int, texts))) if all(map(_EXACT_INTEGER.fullmatch, texts)) else tuple(sorted(texts))


_EXACT_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,14}")


def _class_target(where: str, column: ColumnProfile, categories: tuple[str | int, ...], why: str) -> Role:
    if len(categories) < 2:
        message = f"{where} has one class, {', '.join(map(shown, categories))}, in all rows"
        raise DataError(message, code="GE505", hint="nothing can be learned from it; add rows of other classes")
    if len(categories) > MOST_CATEGORIES or column.has_more_texts or not column.may_be_categories:
        count = f"more than {len(categories) - 1}" if column.has_more_texts else len(categories)
        message = f"{where} has {count} different values, too many for classes"
        hint = f"choose another target; classes are texts that repeat, at most {MOST_CATEGORIES} of them"
        raise DataError(message, code="GE505", hint=hint)
    return Role(column.name, column.place, ColumnKind.category, True, why, 0, categories)
