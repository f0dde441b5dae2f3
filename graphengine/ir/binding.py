"""Checks the values a caller supplies against the declared inputs, and gives symbolic sizes their numbers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from graphengine.errors import InputError, Problem, did_you_mean
from graphengine.ir.cells import BadCells, Wording, as_encoded, cells_of, encoded
from graphengine.ir.declarations import Input
from graphengine.ir.graph import Graph
from graphengine.mappings import absent, only, present, without
from graphengine.ops.numbers import UnfitError, as_array, converted, fits_kind
from graphengine.ops.shapes import ArrayType, Size, dtype_name, factors, shape_text, size_value, solve_size, symbols_of
from graphengine.wording import enumerated, nearest, shown

Column: TypeAlias = str | int
"""A column by its name, or by its number from 0."""


class AllBut(NamedTuple):
    """All columns of a table but those named or numbered, side by side in the order of the table."""

    left_out: tuple[Column, ...]


Wanted: TypeAlias = Column | Sequence[Column]
Columns: TypeAlias = Mapping[str, Wanted]
"""What inputs take from a table: a column, or several side by side; `listed` has made lists of all `AllBut`."""
NO_COLUMNS: Columns = MappingProxyType({})


class Supplied(dict[str, Any]):
    """Values by input, and what a table lacks for the inputs that it has no values for."""

    def __init__(self, values: Mapping[str, Any], lacking: Mapping[str, Problem]) -> None:
        super().__init__(values)
        self.lacking = lacking


def lacking_of(given: Mapping[str, Any], names: Iterable[str]) -> list[Problem]:
    """Return which columns a table lacks for some inputs; nothing if the values are of no table."""
    lacking = given.lacking if isinstance(given, Supplied) else {}
    return [lacking[name] for name in present(names, lacking)]


def bind_inputs(graph: Graph, given: Mapping[str, Any], needed: Iterable[str] | None = None) -> dict[str, Any]:
    """The given inputs as arrays of the declared dtypes; all of `needed` (default: every input) must be there.

    Raises
    ------
    InputError
        GE401 missing, GE402 unknown, GE403 wrong shape, GE404 wrong dtype, GE405 sizes that disagree.
    """
    arrays = as_inputs(graph, given)
    require_inputs(graph, arrays, graph.inputs if needed is None else needed)
    bind_sizes(shapes_of(arrays), graph.types)
    return arrays


def as_inputs(graph: Graph, given: Mapping[str, Any]) -> dict[str, Any]:
    """Values as arrays of the dtypes declared for them.

    Raises
    ------
    InputError
        GE402 unknown, GE404 wrong dtype or a missing value, GE406 no category.
    """
    for name in given:
        if name not in graph.inputs:
            hint = did_you_mean(name, graph.inputs, "inputs")
            raise InputError(f"graph '{graph.name}' has no input '{name}'", code="GE402", hint=hint)
    found = {name: as_input(name, value, graph.inputs[name]) for name, value in given.items()}
    return Supplied(found, given.lacking) if isinstance(given, Supplied) else found


def by_input(
    graph: Graph,
    given: Any,
    named: Mapping[str, Any] | None = None,
    columns: Columns = NO_COLUMNS,
    useful: Collection[str] | None = None,
) -> Mapping[str, Any]:
    """Values by input: those of a mapping or a table; `named` take their place.

    A table is whatever gives a column for a name: a frame of pandas or polars, a table of Arrow. `columns` says which
    column, or which ones side by side, an input takes; else it takes what has its own name. In a mapping the names of
    inputs come first. Of a table only `useful` inputs are read, by default all.

    Raises
    ------
    InputError
        GE401 if it has no column for any input, GE503 for cells of a table without a value, GE404 for columns side by
        side that are not numbers.
    """
    named = named or {}
    if given is None:
        return named
    columns = listed(columns, lambda: _header(given, graph.inputs), graph.inputs)
    if isinstance(given, Mapping):
        return {**_of_mapping(graph, given, columns), **named}
    found = _of_table(graph, given, columns, graph.inputs if useful is None else useful)
    return Supplied({**found, **named}, found.lacking)


def listed(columns: Columns, header: Callable[[], Iterable[Any]], inputs: Mapping[str, Input]) -> Columns:
    """Return columns with the list of what `AllBut` leaves of a header, which is requested where it is needed.

    Raises
    ------
    InputError
        GE403 if an input has another number of columns.
    """
    if not any(isinstance(wanted, AllBut) for wanted in columns.values()):
        return columns
    names = list(header())
    return {
        name: _all_but(name, wanted.left_out, names, inputs) if isinstance(wanted, AllBut) else wanted
        for name, wanted in columns.items()
    }


def _all_but(name: str, left_out: Sequence[Column], header: Sequence[Any], inputs: Mapping[str, Input]) -> list[Any]:
    """The columns of a header but some; a header that could not be read has none, which is reported later."""
    columns = [column for place, column in enumerate(header) if not {place, column} & set(left_out)]
    count = _columns_declared(inputs.get(name))
    if not header or count in (None, len(columns)):
        return columns
    wrong = _misspelled(left_out, header, columns)
    message = f"input '{name}' has {count} columns, and without those left out there are {len(columns)}"
    message += f"; there is no column '{wrong}' to leave out" * bool(wrong)
    raise InputError(message, hint=did_you_mean(wrong, map(str, columns), "columns"))


def _columns_declared(declared: Input | None) -> int | None:
    """The number of columns that an input has; None if it has none, or a symbol for it."""
    shape = declared.type.shape if declared else ()
    return next((size for size in shape[1:2] if isinstance(size, int)), None)


def _misspelled(left_out: Sequence[Column], header: Sequence[Any], columns: Sequence[Any]) -> str:
    """The first name to leave out that no column has, preferably one that is like a column; empty if all are there."""
    unknown = [each for each in left_out if isinstance(each, str) and each not in header]
    return min(unknown, key=lambda each: not nearest(each, map(str, columns)), default="")


def _header(given: Any, inputs: Collection[str]) -> Iterable[Any]:
    """The names of the columns of a table, or of a mapping, which may have values by input, too."""
    if isinstance(given, Mapping):
        return absent(given, inputs)
    columns: Iterable[Any] = getattr(given, "column_names", None) or given.columns
    return columns


def _of_mapping(graph: Graph, given: Mapping[str, Any], columns: Columns) -> Mapping[str, Any]:
    if not columns:
        return given
    there = only(given, _names_of(columns).keys() - graph.inputs.keys())
    asked = {name: what for name, what in without(columns, given).items() if _touches(what, there)}
    if not asked:
        return given
    if lacking := _lacking(given, asked, there):
        raise InputError(lacking.values())
    return {**without(given, _names_of(asked)), **_TableColumns(given, there).taken(asked, graph)}


def _of_table(graph: Graph, table: Any, columns: Columns, useful: Iterable[str]) -> Supplied:
    there = _columns_of(table, [*graph.inputs, *_names_of(columns)])
    meant = {name: meant_by(name, columns, there) for name in useful}
    if not meant:
        return Supplied({}, {})
    if not there:
        message = f"the {type(table).__name__} has no column for an input: {', '.join(map(str, _names_of(meant)))}"
        raise InputError(message, code="GE401", hint="pass a mapping: {input: values}")
    lacking = _lacking(table, meant, there)
    if len(lacking) == len(meant):
        raise InputError(lacking.values())
    return Supplied(_TableColumns(table, there).taken(without(meant, lacking), graph), lacking)


def _names_of(columns: Columns) -> dict[Any, None]:
    """The columns that inputs are read from, each once, in order."""
    return dict.fromkeys(itertools.chain.from_iterable(map(names_in, columns.values())))


def _columns_of(table: Any, names: Iterable[Column]) -> dict[str, Any]:
    """The columns of a table that are there, of some; a number counts the columns of a file, and is not a name."""
    there = {}
    for name in names:
        if isinstance(name, str):
            with suppress(Exception):  # each library of tables has its own error for a missing column
                there[name] = table[name]
    return there


def _lacking(table: Any, wanted: Columns, there: Collection[str]) -> dict[str, Problem]:
    """The inputs for which a table lacks a column."""
    return {name: _lack(table, name, what, there) for name, what in wanted.items() if not is_in(what, there)}


def _lack(table: Any, name: str, wanted: Wanted, there: Collection[str]) -> Problem:
    columns = [str(column) for column in names_in(wanted) if not is_in(column, there)]
    what = "column" if len(columns) == 1 else "columns"
    message = f"the {type(table).__name__} has no {what} {enumerated(list(map(repr, columns)))} for input '{name}'"
    names = absent(map(str, _header(table, ())), there)
    return Problem("GE401", message, did_you_mean(columns[0], names, "other columns") if names else None)


class _TableColumns:
    """The columns of a table or a mapping as inputs; what is wrong is reported with its column and row."""

    def __init__(self, table: Any, there: Mapping[Any, Any]) -> None:
        self._what, self._there, self._bad = f"the {type(table).__name__}", there, BadCells()

    def taken(self, wanted: Columns, graph: Graph) -> dict[str, Any]:
        """Return a column for each input, or several side by side: integers beside others stay exact."""
        found = {name: self._taken(name, what, graph.inputs[name]) for name, what in wanted.items()}
        if self._bad:
            wording = Wording(lambda column, _: f"{self._what}: column '{column}'", "has no value", "row", "in")
            raise InputError(self._bad.problems(graph.inputs, wording))
        return as_encoded(found, graph.inputs)

    def _taken(self, name: str, wanted: Wanted, declared: Input) -> Any:
        columns = {column: self._column(name, column, declared) for column in names_in(wanted)}
        if isinstance(wanted, Column):
            return columns[wanted]
        self._require_one_shape(name, columns)
        return np.stack([columns[column] for column in names_in(wanted)], axis=-1)

    def _require_one_shape(self, name: str, columns: Mapping[Column, Any]) -> None:
        if len({array.shape for array in columns.values()}) > 1:
            shown = ", ".join(f"'{column}' {shape_text(array.shape)}" for column, array in columns.items())
            raise InputError(
                f"{self._what}: the columns of input '{name}' have different shapes: {shown}", code="GE403"
            )

    def _column(self, name: str, column: Column, declared: Input) -> Any:
        values = self._there[column]
        try:
            numbers, bad = encoded(values, declared)
            found = as_typed(
                name, np.zeros(np.shape(values), declared.type.array_dtype) if bad else numbers, declared.type
            )
        except Exception as error:  # noqa: BLE001 - an object's own __array__ may raise anything
            raise self._unfit(column, declared, str(error)) from None
        self._bad.add_column(name, str(column), bad)
        return found

    def _unfit(self, column: Column, declared: Input, why: str) -> InputError:
        """The error about a column: its first cell that is not a number at all, else the first that does not fit."""
        where = f"{self._what}: column '{column}'"
        cells, shape = cells_of(self._there[column])
        row, cell = _first_unfit(cells[:MOST_LOOKED_AT] if len(shape) == 1 else (), declared)
        if not row:
            return InputError(f"{where}: {why}", code="GE404")
        message = f"{where} has {shown(cell)} in row {row}, which is not {_fitting(declared)}"
        return InputError(message, code="GE404", hint=_conversion(cell, declared))


def _conversion(cell: Any, declared: Input) -> str | None:
    """A hint for a column that has numbers as texts."""
    is_numeral = isinstance(cell, str) and not (declared.units or _is_word(cell))
    return "convert the column to numbers first" if is_numeral else None


def _fitting(declared: Input) -> str:
    """What fits an input, in words."""
    return "a date" if declared.units else f"a number of dtype {dtype_name(declared.type.array_dtype)}"


def _first_unfit(cells: Iterable[Any], declared: Input) -> tuple[int, Any]:
    """The first word with its row, else the first cell that does not fit; row 0 if there is none."""
    numbered = list(enumerate(cells, 1))
    words = (pair for pair in numbered if not declared.units and _is_word(pair[1]))
    unfit = (pair for pair in numbered if not _fits(pair[1], declared))
    return next(itertools.chain(words, unfit), (0, None))


MOST_LOOKED_AT = 10_000
"""Cells of a column that are looked at one by one for the message of an error."""


def _is_word(cell: Any) -> bool:
    """Whether a cell is a text that no number is written as."""
    try:
        float(cell if isinstance(cell, str) else 0)
    except ValueError:
        return True
    return False


def _fits(cell: Any, declared: Input) -> bool:
    try:
        as_typed("", encoded([cell], declared)[0], declared.type)
    except Exception:  # noqa: BLE001 - it is reported by the caller
        return False
    return True


def meant_by(name: str, columns: Columns, there: Collection[str]) -> Column | Sequence[Column]:
    """Return what an input takes: what `columns` say, unless there is only what has the name of the input."""
    said = columns.get(name, name)
    return name if name in there and not is_in(said, there) else said


def is_in(wanted: Column | Sequence[Column], there: Collection[str]) -> bool:
    """Whether all columns that an input takes are there; those of a file, a sequence, also have numbers."""
    count = len(there) if isinstance(there, Sequence) else 0
    return all(column in there if isinstance(column, str) else column < count for column in names_in(wanted))


def _touches(wanted: Column | Sequence[Column], there: Mapping[str, Any]) -> bool:
    """Whether one of the columns that an input takes is there."""
    return not there.keys().isdisjoint(names_in(wanted))


def names_in(wanted: Column | Sequence[Column]) -> Sequence[Column]:
    """Return the columns that an input takes; a string or a number is one of them."""
    return [wanted] if isinstance(wanted, Column) else wanted


def require_inputs(graph: Graph, given: Mapping[str, Any], needed: Iterable[str]) -> None:
    """Refuse a call that leaves out a needed input.

    Raises
    ------
    InputError
        GE401.
    """
    if missing := absent(needed, given):
        shapes = ", ".join(f"'{name}' {graph.types[name]}" for name in missing)
        raise InputError(lacking_of(given, missing) or f"input {shapes} is missing", code="GE401")


def as_input(name: str, value: Any, declared: Input) -> Any:
    """A value as an array of the declared dtype: categories as indices, a missing value as NaN where this is declared.

    Raises
    ------
    InputError
        GE404 and GE406.
    """
    if type(value) is np.ndarray and value.dtype != object and not (declared.categories or declared.units):
        return as_typed(name, value, declared.type)  # one row, as a service passes it: each microsecond counts
    return as_typed(name, _encoded_input(name, value, declared), declared.type)


def _encoded_input(name: str, value: Any, declared: Input) -> Any:
    try:
        numbers, bad = encoded(value, declared)
    except Exception as error:  # noqa: BLE001 - an object's own __array__ may raise anything
        what = "dates" if declared.units else "categories"
        raise InputError(f"input '{name}' is not a regular array of {what}: {error}", code="GE404") from None
    if bad:
        wording = Wording(lambda *_: f"input '{name}'", "has no value", "position", "at", "GE404")
        raise InputError(bad.problems({"": declared}, wording))
    return numbers


def as_typed(name: str, value: Any, declared: ArrayType) -> Any:
    """A value as an array of the declared dtype, row by row, without a copy where it is one already.

    The order in memory decides in which order a sum is added: it must not depend on the caller's array.

    Raises
    ------
    InputError
        GE404 if it is not an array of numbers, they are of another kind, or the dtype does not have one of them.
    """
    dtype = declared.array_dtype
    try:
        array = as_array(value, dtype)
    except UnfitError as error:
        raise InputError(f"input '{name}': {error}", code="GE404") from None
    except ValueError as error:
        raise InputError(f"input '{name}' is not a regular array of numbers: {error}", code="GE404") from None
    if array.dtype == dtype and type(value) is np.ndarray:
        return _read_only(array)
    return _read_only(_converted_input(name, value, array, dtype))


def _converted_input(name: str, value: Any, array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    if array.dtype.name == "bfloat16" and dtype.kind == "f":
        array = array.astype(np.float32)
    if not fits_kind(array, dtype):
        raise InputError(f"input '{name}' must be {dtype_name(dtype)}, not {array.dtype}", code="GE404")
    try:
        return converted(value, array, dtype, copy=False)
    except ValueError as error:
        raise InputError(f"input '{name}': {error}", code="GE404") from None


def _read_only(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A view that no node can change the caller's data through."""
    view = array.view()
    view.flags.writeable = False
    return view


def shapes_of(arrays: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of arrays and numbers, by name."""
    return {name: np.shape(array) for name, array in arrays.items()}


def bind_sizes(shapes: Mapping[str, tuple[int, ...]], types: Mapping[str, ArrayType]) -> dict[str, int]:
    """The numbers that the symbols in the declared shapes mean, given actual shapes.

    Raises
    ------
    InputError
        GE403 or GE405, naming the input, the dimension and both sizes.
    """
    bindings: dict[str, int] = {}
    origin: dict[str, str] = {}
    places: list[tuple[str, int, Size, int]] = []
    for name, shape in shapes.items():
        declared = types[name].shape
        if len(shape) != len(declared):
            message = f"input '{name}' has shape {shape_text(shape)}; the declared shape is {shape_text(declared)}"
            raise InputError(message)
        places += [(name, axis, size, actual) for axis, (size, actual) in enumerate(zip(declared, shape, strict=True))]
    # a symbol on its own gives itself a number, a product with one open symbol then gives that one its number
    symbols: Mapping[Any, Mapping[str, int]] = {
        size: factors(size)[1] for _, _, size, _ in places if isinstance(size, str)
    }
    places.sort(key=lambda place: (len(symbols.get(place[2], ())), place[2] not in symbols.get(place[2], ())))
    for name, axis, size, actual in places:
        solved = solve_size(size, actual, bindings) if isinstance(size, str) else None
        if solved:
            bindings[solved[0]] = solved[1]
            origin[solved[0]] = name
        elif size_value(size, bindings) != actual:
            raise _disagreement(name, axis, size, actual, bindings, origin)
    return bindings


def _disagreement(
    name: str, axis: int, size: Any, actual: int, bindings: Mapping[str, int], origin: Mapping[str, str]
) -> InputError:
    got = f"input '{name}' has size {actual} in dimension {axis}"
    expected = size_value(size, bindings)
    if isinstance(size, int):
        return InputError(f"{got}; the declared size is {size}")
    if expected is None:
        return InputError(f"{got}, which '{size}' cannot be", code="GE405")
    others = ", ".join(dict.fromkeys(f"'{origin[symbol]}'" for symbol in symbols_of([size])))
    return InputError(f"{got} ({size}), but input {others} makes {size} {expected}", code="GE405")
