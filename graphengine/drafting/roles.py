"""What a model does with the columns of a table: numbers, categories, the target; or why a column is left out."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from graphengine.data.csv_dialect import Dialect
from graphengine.drafting.columns import MOST_CATEGORIES, MOST_GUESSED, Column, ColumnKind
from graphengine.drafting.profiles import dialects
from graphengine.drafting.survey import Survey
from graphengine.errors import DataError, UsageError, did_you_mean
from graphengine.wording import counted, enumerated, shown


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
        return self._used(ColumnKind.number)

    @property
    def dates(self) -> list[Role]:
        """The columns of dates that are used."""
        return self._used(ColumnKind.date)

    @property
    def categories(self) -> list[Role]:
        """The columns of categories that are used."""
        return self._used(ColumnKind.category)

    def _used(self, kind: ColumnKind) -> list[Role]:
        return [role for role in self.roles if role.is_used and role.kind == kind]

    @property
    def has_inputs(self) -> bool:
        """Whether a column is used."""
        return bool(self.numbers or self.dates or self.categories)

    @property
    def has_gaps(self) -> bool:
        """Whether a number or a date that is used has no value in some rows."""
        return any(role.gaps for role in (*self.numbers, *self.dates))

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
    columns = [Column(profile, survey) for profile in survey.columns]
    role = _target_role(columns.pop(names.index(target)), classes)
    task = Task(role, _other_roles(columns, names, excluded))
    if not task.has_inputs:
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
    is_doubtful = survey.dialect.header and _are_numbers_among(names, dialects(survey.dialect))
    return "; if the first row has no names, add --no-header" * is_doubtful


def _are_numbers_among(texts: Iterable[str], readers: Sequence[Dialect]) -> bool:
    return any(each.value(text) is not None for text in texts for each in readers)


def _left_out(roles: Sequence[Role]) -> str:
    return enumerated([f"'{role.column}' is left out: {role.why}" for role in roles], most=3) or "add columns"


def _other_roles(columns: Sequence[Column], names: Sequence[str], excluded: Collection[str]) -> list[Role]:
    """Columns but the target; what counts the rows is used only where nothing else can be, as the years of a series."""
    roles = [_role(column, names, excluded) for column in columns]
    without_counters = list(map(_unless_counter, roles, columns))
    return without_counters if any(role.is_used for role in without_counters) else roles


def _unless_counter(role: Role, column: Column) -> Role:
    if not (role.is_used and column.counts_rows):
        return role
    return replace(role, is_used=False, why=f"it counts the rows: {role.why}")


def _role(column: Column, names: Sequence[str], excluded: Collection[str]) -> Role:
    reason = _reason_against_name(column.profile.name, names, excluded) or column.reason_against()
    constant = "" if reason else column.constant
    against = reason or constant
    return Role(
        column.profile.name,
        column.profile.place,
        column.kind,
        is_used=not against,
        why=against or column.reason_for(),
        gaps=column.gaps,
        categories=column.categories if column.kind == ColumnKind.category else (),
        is_constant=bool(constant),
    )


def _reason_against_name(name: str, names: Sequence[str], excluded: Collection[str]) -> str:
    if name in excluded:
        return "it is excluded"
    if not name.strip():
        return "it has no name, as an index"
    return "duplicate name; rename it to use it" if names.count(name) > 1 else ""


def _target_role(column: Column, classes: bool | None) -> Role:
    _require_target(column)
    return _number_target(column, classes) if column.kind == ColumnKind.number else _text_target(column, classes)


def _text_target(column: Column, classes: bool | None) -> Role:
    where = column.as_target
    if classes is False:
        raise UsageError(f"{where} has texts, and a regression predicts numbers", hint="choose logistic or mlp")
    if column.kind == ColumnKind.text and (bad := column.bad_numbers()):
        raise DataError(f"{where}: {bad}", code="GE503", hint="write numbers there, or leave these rows out")
    return _class_target(column, column.categories, f"{counted(len(column.categories), 'text')}: classification")


def _require_target(column: Column) -> None:
    """Refuse a target that has no value in each row, or whose values are not predicted."""
    where, refused = column.as_target, column.profile.refused
    if gaps := column.gaps:
        message = f"{where} has no value in {counted(gaps, 'row')}{column.gap_places()}"
        raise DataError(message, code="GE503", hint="leave these rows out: nothing can be learned from them")
    if refused:
        raise DataError(f"{where} cannot be predicted: {refused}", code="GE505", hint="choose another target")
    if column.kind == ColumnKind.date:
        hint = "add a column with a number, such as days since a day, and predict that"
        raise DataError(f"{where} has dates, which are not predicted", code="GE505", hint=hint)


def _are_classes(column: Column, asked: bool | None) -> bool:
    """Whether numbers are classes: as asked for, or else if they are two integers."""
    if asked is not None:
        return asked
    return column.are_countable and len(column.profile.texts) == MOST_GUESSED


def _number_target(column: Column, classes: bool | None) -> Role:
    texts = column.profile.texts
    if _are_classes(column, classes):
        return _class_target(column, _number_categories(texts), f"{len(texts)} different numbers: classification")
    if constant := column.constant:
        message = f"{column.as_target} {constant.removeprefix('it ')}"
        raise DataError(message, code="GE505", hint="nothing can be learned from it")
    return _target(column, ColumnKind.number, f"numbers: regression{_other_task(column)}")


def _target(column: Column, kind: ColumnKind, why: str, categories: tuple[str | int, ...] = ()) -> Role:
    return Role(column.profile.name, column.profile.place, kind, True, why, 0, categories)


def _other_task(column: Column) -> str:
    """What to do if the few different integers of a target are classes."""
    values = len(column.profile.texts)
    are_few = column.are_countable and column.profile.repeats and values <= MOST_CATEGORIES // 5
    return f"; if they are {values} classes, add --task classification" * are_few


def _number_categories(texts: Iterable[str]) -> tuple[str | int, ...]:
    """Integers as numbers, so that 1 and 1.0 are the same; anything else, and what no double holds, as texts."""
    return tuple(sorted(map(int, texts))) if all(map(_EXACT_INTEGER.fullmatch, texts)) else tuple(sorted(texts))


_EXACT_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,14}")


def _class_target(column: Column, categories: tuple[str | int, ...], why: str) -> Role:
    if len(categories) < 2:
        message = f"{column.as_target} has one class, {', '.join(map(shown, categories))}, in all rows"
        raise DataError(message, code="GE505", hint="nothing can be learned from it; add rows of other classes")
    _require_few(column, len(categories))
    return _target(column, ColumnKind.category, why, categories)


def _require_few(column: Column, classes: int) -> None:
    """Refuse a target with more values than there may be classes."""
    if _has_too_many(column, classes):
        count = f"more than {classes - 1}" if column.profile.has_more_texts else classes
        message = f"{column.as_target} has {count} different values, too many for classes"
        hint = f"choose another target; classes are texts that repeat, at most {MOST_CATEGORIES} of them"
        raise DataError(message, code="GE505", hint=hint)


def _has_too_many(column: Column, classes: int) -> bool:
    return classes > MOST_CATEGORIES or column.profile.has_more_texts or not column.profile.may_be_categories
