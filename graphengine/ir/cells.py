"""Cells as numbers: a category becomes its index, a missing value becomes NaN.

What has no number is counted and reported together, with the first places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from graphengine.errors import Problem, did_you_mean
from graphengine.ir.declarations import Input
from graphengine.ops.numbers import decode_array, is_masked_array
from graphengine.wording import shown

if TYPE_CHECKING:
    from graphengine.ir.dates import Dates

UNSEEN, MISSING = -1, -2
"""The codes of a cell that is no category, and of one without a value."""
MOST_PLACES = 5
"""Places of bad cells that a message shows."""


class Indices(np.ndarray[Any, Any]):
    """Indices into the categories of an input: numbers that have crossed the boundary and are not encoded again."""


def as_encoded(arrays: Mapping[str, Any], inputs: Mapping[str, Input]) -> dict[str, Any]:
    """Return arrays that were read for inputs, those of categories marked as the indices that they are."""
    return {name: array.view(Indices) if inputs[name].categories else array for name, array in arrays.items()}


def is_missing(cell: Any) -> bool:
    """Whether a cell has no value: None, NaN, or what pandas has for these."""
    if isinstance(cell, (float, np.floating)):
        return bool(cell != cell)
    return cell is None or type(cell).__name__ in ("NAType", "NaTType", "MaskedConstant")


def empty_places(value: Any) -> list[int]:
    """Return the places where a library's column or table, row by row, has no value; NaN is none for pandas."""
    if is_empty := _method(value, "isna", "is_null"):  # of pandas; of columns of polars and Arrow
        return np.flatnonzero(np.asarray(is_empty())).tolist()
    if columns_of := _method(value, "iter_columns", "itercolumns"):  # of tables of polars, Arrow
        columns = [np.asarray(column.is_null()) for column in columns_of()]
        return np.flatnonzero(np.column_stack(columns)).tolist() if columns else []
    return []


def _method(value: Any, *names: str) -> Callable[[], Any] | None:
    """The first of these methods that the object of a library has."""
    return next((getattr(value, name) for name in names if hasattr(value, name)), None)


def category_codes(cells: Sequence[Any], declared: Input) -> np.ndarray[Any, Any]:
    """Return the index of each cell among the categories, `UNSEEN` or `MISSING`; an empty text is missing."""
    table = {value: index for index, value in enumerate(declared.categories or ())}
    codes = np.fromiter((table.get(cell, UNSEEN) for cell in cells), np.int64, len(cells))
    empty = [place for place in _places(codes, UNSEEN) if _is_blank(cells[place])]
    codes[empty] = table.get("", MISSING)
    return codes


def _is_blank(cell: Any) -> bool:
    return is_missing(cell) or cell == ""


def _places(codes: np.ndarray[Any, Any], code: int) -> list[int]:
    found: list[int] = np.flatnonzero(codes == code).tolist()
    return found


def text_codes(cells: Sequence[str], declared: Input) -> np.ndarray[Any, Any]:
    """Return the codes of cells that are texts, of which numbers are read if the categories are numbers."""
    if not isinstance((declared.categories or ("",))[0], str):
        return category_codes([_number(cell) for cell in cells], declared)
    codes = category_codes(cells, declared)
    unseen = _places(codes, UNSEEN)
    codes[unseen] = category_codes([cells[place].strip() for place in unseen], declared)
    return codes


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text.strip()


def numbers_of(
    codes: np.ndarray[Any, Any], declared: Input
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return the numbers that codes become, and where there is none: an unknown category or a missing value."""
    dtype, left = declared.type.array_dtype, codes < 0
    numbers = np.where(left, 0, codes).astype(dtype)
    if declared.missing:
        numbers[codes == MISSING] = np.nan
        left = codes == UNSEEN
    if declared.unknown is not None:
        numbers[left] = declared.unknown
        left = np.zeros_like(left)
    return numbers, left


@dataclass
class _Fault:
    """The bad cells of one column: their number, the first places, and the first values that are no category."""

    count: int = 0
    places: list[int] = field(default_factory=list)
    values: dict[Any, None] = field(default_factory=dict)

    def add(self, count: int, places: Sequence[int]) -> None:
        """Count further cells; `places` may be only the first of them."""
        self.count += count
        self.places.extend(places[: MOST_PLACES - len(self.places)])  # `+=` would add the numbers of an array


def _at(places: Iterable[int], items: Sequence[Any]) -> list[Any]:
    return [items[place] for place in places]


class BadCells(dict[tuple[str, str, int], _Fault]):
    """Collects the cells of a table that have no number, by input, column and code, `UNSEEN` or `MISSING`."""

    def add_missing(self, name: str, column: str, places: Sequence[int]) -> None:
        """Count cells of an input that have no value; `places` are their rows or lines."""
        self.setdefault((name, column, MISSING), _Fault()).add(len(places), places)

    def add_unseen(self, name: str, column: str, places: Sequence[int], values: Iterable[Any]) -> None:
        """Count cells of an input that are no category."""
        fault = self.setdefault((name, column, UNSEEN), _Fault())
        fault.add(len(places), places)
        for value in values:
            if len(fault.values) >= MOST_PLACES:
                break
            fault.values.setdefault(value)

    def add_codes(
        self, name: str, column: str, codes: np.ndarray[Any, Any], cells: Sequence[Any], places: Sequence[int]
    ) -> None:
        """Count the cells whose codes have no number."""
        if missing := _places(codes, MISSING):
            self.add_missing(name, column, _at(missing, places))
        if unseen := _places(codes, UNSEEN):
            self.add_unseen(name, column, _at(unseen, places), _at(unseen, cells))

    def add_part(self, other: BadCells) -> None:
        """Add what another part of the table has."""
        for key, fault in other.items():
            kept = self.setdefault(key, _Fault())
            kept.add(fault.count, fault.places)
            kept.values = dict.fromkeys([*kept.values, *fault.values][:MOST_PLACES])

    def add_column(self, name: str, column: str, other: BadCells) -> None:
        """Add what `encoded` has found in one column of a table, whose rows count from 1."""
        for (_, _, code), fault in other.items():
            self[name, column, code] = replace(fault, places=[place + 1 for place in fault.places])

    def problems(self, inputs: Mapping[str, Input], wording: Wording) -> list[Problem]:
        """Return the findings by column, in the order of their first cells; a missing value is before an unseen one."""
        found = sorted(self.items(), key=lambda item: (item[1].places[0], item[0][2]))
        return [
            wording.missing(column, fault, inputs[name])
            if code == MISSING
            else wording.unseen(name, column, fault, inputs[name])
            for (name, column, code), fault in found
        ]


class Wording(NamedTuple):
    """How a reader reports its bad cells."""

    place: Callable[[str, int], str]
    """Names the column of a cell, and its row or line where a file has lines."""
    lacks: str
    unit: str
    """What places count: line, row, position."""
    at: str = ""
    """What leads to the first place where the name of the column does not."""
    code: str = "GE503"
    file: str | None = None
    """The file that was read; its lines are places of findings."""

    def missing(self, column: str, fault: _Fault, declared: Input) -> Problem:
        """Return a finding about cells without a value."""
        message = f"{self.place(column, fault.places[0])} {self.lacks}{self.where(fault)}"
        return self.problem(self.code, message, _missing_hint(declared), fault)

    def unseen(self, name: str, column: str, fault: _Fault, declared: Input) -> Problem:
        """Return a finding about values of an input that are no categories."""
        place, values = self.place(column, fault.places[0]), ", ".join(map(shown, fault.values))
        of = f" of input '{name}'" if name else ""
        message = f"{place} has {values}{self.where(fault)}: not among the categories{of}"
        return self.problem("GE406", message, _unseen_hint(fault, declared), fault)

    def problem(self, code: str, message: str, hint: str, fault: _Fault) -> Problem:
        """Return a finding about a fault, at the first place that it has in a file."""
        line = fault.places[0] if self.file and self.unit == "line" else None
        return Problem(code, message, hint, file=self.file, line=line)

    def where(self, fault: _Fault) -> str:
        """Return the places of a fault in words."""
        first = f" {self.at} {self.unit} {fault.places[0]}" if self.at else ""
        if fault.count == 1:
            return first
        more = ", ..." if fault.count > len(fault.places) else ""
        return f"{first} ({fault.count} cells, in {self.unit}s {', '.join(map(str, fault.places))}{more})"


def _missing_hint(declared: Input) -> str:
    if declared.categories:
        return 'leave the rows out, add "" to the categories, or give "unknown" an index'
    if declared.type.is_differentiable:
        return 'leave the rows out, or declare "missing": "nan" in the input and replace NaN with nn.impute'
    return "leave the rows out, or fill them in"


def _unseen_hint(fault: _Fault, declared: Input) -> str:
    categories = [str(each) for each in declared.categories or ()]
    near = did_you_mean(str(next(iter(fault.values))), categories, "categories")
    return f'{near}; add it to "categories", or give "unknown" an index for all other values'


# ---------------------------------------------------------------- values of callers and files


def encoded(value: Any, declared: Input) -> tuple[Any, BadCells]:
    """Return a value of a caller with indices for categories and NaN for what is missing, and the cells that have none.

    Dates become numbers. A value without any of these comes back as it is.

    Raises
    ------
    ValueError
        For what is no date, of an input that has units of dates.
    """
    bad = BadCells()
    if isinstance(value, Indices):
        return value, bad
    if declared.categories:
        return _indices(value, declared, bad), bad
    if declared.units and (dates := _dates_of(value)) is not None:
        return dated(dates, declared, bad), bad
    return _filled(value, declared, bad), bad


def _indices(value: Any, declared: Input, bad: BadCells) -> Indices:
    """The indices of categories; cells that have none are counted as bad."""
    cells, shape = cells_of(value)
    codes = category_codes(cells, declared)
    numbers, left = numbers_of(codes, declared)
    if left.any():
        bad.add_codes("", "", codes, cells, range(len(cells)))
    return numbers.reshape(shape).view(Indices)


def _dates_of(value: Any) -> Dates | None:
    """A value as dates; None if it holds numbers, or nothing."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        return None
    kind = "O" if is_masked_array(value) else np.asarray(value).dtype.kind
    if kind == "M":
        return np.asarray(value)
    return _dates_in(*cells_of(value)) if kind in "OU" else None


def _dates_in(cells: list[Any], shape: tuple[int, ...]) -> Dates | None:
    """Cells as dates; None if they are numbers, or empty."""
    if all(is_missing(cell) or isinstance(cell, (int, float, np.number)) for cell in cells):
        return None
    from graphengine.ir.dates import as_dates

    return as_dates(cells).reshape(shape)


def dated(
    dates: Dates,
    declared: Input,
    bad: BadCells,
    column: tuple[str, str] = ("", ""),
    places: Sequence[int] | None = None,
) -> np.ndarray[Any, Any]:
    """Return dates as numbers in the units of their input; missing ones are NaN, or bad cells of a column.

    Raises
    ------
    ValueError
        If a date is not a whole number of these units, and the input has integers.
    """
    from graphengine.ir.dates import numbers_of_dates

    if not declared.missing and (found := np.flatnonzero(np.isnat(dates)).tolist()):
        bad.add_missing(*column, found if places is None else _at(found, places))
    return numbers_of_dates(dates, declared.units or "", declared.type.array_dtype)


def _filled(value: Any, declared: Input, bad: BadCells) -> Any:
    """A value with NaN where it has nothing, or counted as bad where its input has no such number."""
    if declared.missing:
        return _nan_for_missing(value) if _may_lack(value) else value
    if places := empty_places(value) or _empty_objects(value):
        bad.add_missing("", "", places)
    return value


def _empty_objects(value: Any) -> list[int]:
    """The places without a value among cells that may be empty."""
    return _missing_places(cells_of(value)[0]) if _may_lack(value) else []


def _missing_places(cells: Iterable[Any]) -> list[int]:
    return [place for place, cell in enumerate(cells) if is_missing(cell)]


def _nan_for_missing(value: Any) -> Any:
    """Nested lists with NaN for cells that have no value; the value itself if all have one."""
    cells, shape = cells_of(value)
    missing = _missing_places(cells)
    if not missing:
        return value
    filled = np.empty(len(cells), object)
    filled[:] = cells
    filled[missing] = float("nan")
    return filled.reshape(shape).tolist()


def _may_lack(value: Any) -> bool:
    """Whether cells of a value may be empty: objects may, and so may masked arrays."""
    kind = ""
    with suppress(Exception):  # an object's own __array__ may raise anything, which is reported where it is read
        kind = np.asarray(value).dtype.kind
    return kind == "O" or (is_masked_array(value) and bool(np.ma.is_masked(value)))


def cells_of(value: Any) -> tuple[list[Any], tuple[int, ...]]:
    """Return the cells of a value in a row, and its shape."""
    if is_masked_array(value):
        value = value.tolist()  # None where it is masked
    array = np.array(value, dtype=object)
    cells: list[Any] = array.ravel().tolist()
    return cells, array.shape


def decode(value: Any, declared: Input) -> np.ndarray[Any, Any]:
    """Return the array that a JSON value means: categories as in a table, null for what is missing.

    Raises
    ------
    ElementError
        If the lists are ragged, or hold something that is not a number.
    ValueError
        If the numbers are not of a kind that fits the dtype, a category is unknown, or a value is missing.
    """
    bad = BadCells()
    if declared.units and (dates := _dates_of(value)) is not None:
        numbers = dated(dates, declared, bad)
    elif declared.categories:
        numbers, bad = encoded(value, declared)
    else:
        return decode_array(_with_nan(value) if declared.missing else value, declared.type.array_dtype)
    if bad:
        raise ValueError(bad.problems({"": declared}, _VALUES)[0].message)
    return numbers


_VALUES = Wording(lambda *_: "the value", "is missing", "position", "at")


def _with_nan(value: Any) -> Any:
    """Nested lists with the file's word for NaN where they have null."""
    try:
        cells = np.array(value, dtype=object)
    except ValueError:  # ragged, which is reported later
        return value
    flat = cells.reshape(-1)
    flat[[cell is None for cell in flat]] = "NaN"
    return flat.reshape(cells.shape).tolist()
