"""Checks the values a caller supplies against the declared inputs, and gives symbolic sizes their numbers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from graphengine.errors import InputError, did_you_mean
from graphengine.ir.cells import BadCells, Wording, as_encoded, empty_rows, encoded
from graphengine.ir.declarations import Input
from graphengine.ir.graph import Graph
from graphengine.ops.numbers import UnfitError, as_array, converted, fits_kind
from graphengine.ops.shapes import ArrayType, dtype_name, is_symbol, shape_text, size_value, solve_size, symbols_of

Column: TypeAlias = str | int
"""A column by its name, or by its number from 0."""


class AllBut(NamedTuple):
    """All columns of a table but those named or numbered, side by side in the order of the table."""

    left_out: tuple[Column, ...]


Wanted: TypeAlias = Column | Sequence[Column]
Columns: TypeAlias = Mapping[str, Wanted]
"""What inputs take from a table: a column, or several side by side; `listed` has made lists of all `AllBut`."""
NO_COLUMNS: Columns = MappingProxyType({})


def bind_inputs(graph: Graph, given: Mapping[str, Any], needed: Iterable[str] | None = None) -> dict[str, Any]:
    """The given inputs as arrays of the declared dtypes; all of `needed` (default: every input) must be there.

    Raises
    ------
    InputError
        GE401 missing, GE402 unknown, GE403 wrong shape, GE404 wrong dtype, GE405 sizes that disagree.
    """
    arrays = as_inputs(graph, given)
    require_inputs(graph, arrays, graph.inputs if needed is None else needed)
    bind_sizes({name: np.shape(array) for name, array in arrays.items()}, graph.types)
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
    return {name: as_input(name, value, graph.inputs[name]) for name, value in given.items()}


def by_input(
    graph: Graph, given: Any, named: Mapping[str, Any] | None = None, columns: Columns = NO_COLUMNS
) -> Mapping[str, Any]:
    """Values by input: those of a mapping or a table; `named` take their place.

    A table is whatever gives a column for a name: a frame of pandas or polars, a table of Arrow. `columns` says which
    column, or which ones side by side, an input takes; else it takes what has its own name. In a mapping the names of
    inputs come first.

    Raises
    ------
    InputError
        GE401 if it has no column for any input, GE503 for cells of a table without a value, GE404 for columns side by
        side that are no numbers.
    """
    if given is None:
        return named or {}
    read = _of_mapping if isinstance(given, Mapping) else _of_table
    given = read(graph, given, listed(columns, lambda: _header(given)))
    return {**given, **named} if named else given


def listed(columns: Columns, header: Callable[[], Iterable[Any]]) -> Columns:
    """Return columns with the list of what `AllBut` leaves of a header, which is asked for where it is needed."""
    if not any(isinstance(wanted, AllBut) for wanted in columns.values()):
        return columns
    names = list(enumerate(header()))
    return {
        name: [column for place, column in names if not {place, column} & set(wanted.left_out)]
        if isinstance(wanted, AllBut)
        else wanted
        for name, wanted in columns.items()
    }


def _header(given: Any) -> Iterable[Any]:
    """The names of the columns of a mapping or a table."""
    if isinstance(given, Mapping):
        return given
    columns: Iterable[Any] = getattr(given, "column_names", None) or given.columns
    return columns


def _of_mapping(graph: Graph, given: Mapping[str, Any], columns: Columns) -> Mapping[str, Any]:
    others = {name: value for name, value in given.items() if name not in graph.inputs}
    taken = {name: columns[name] for name in columns if name not in given and is_in(columns[name], others)}
    if not taken:
        return given
    used = {each for wanted in taken.values() for each in names_in(wanted)}
    found = {name: _taken(graph, name, wanted, others) for name, wanted in taken.items()}
    return {**{name: value for name, value in given.items() if name not in used}, **found}


def _of_table(graph: Graph, table: Any, columns: Columns) -> dict[str, Any]:
    there = {}
    for name in (*graph.inputs, *(each for wanted in columns.values() for each in names_in(wanted))):
        if isinstance(name, str):  # a number counts the columns of a file
            with suppress(Exception):  # each library of tables has an error of its own for a missing column
                there[name] = table[name]
    meant = {name: meant_by(name, columns, there) for name in graph.inputs}
    found = {name: _taken(graph, name, wanted, there) for name, wanted in meant.items() if is_in(wanted, there)}
    if graph.inputs and not found:
        listed = ", ".join(dict.fromkeys(str(each) for wanted in meant.values() for each in names_in(wanted)))
        message = f"the {type(table).__name__} has no column for an input: {listed}"
        raise InputError(message, code="GE401", hint="pass a mapping: {input: values}")
    _require_cells(graph, table, {name: names_in(meant[name]) for name in found}, there)
    return found


def _require_cells(graph: Graph, table: Any, wanted: Mapping[str, Sequence[Column]], there: Mapping[Any, Any]) -> None:
    """Refuse a table that lacks values for inputs that do not declare what a missing value is, as in a file."""
    bad = BadCells()
    for name, columns in wanted.items():
        declared = graph.inputs[name]
        if not (declared.missing or declared.categories):
            for column in columns:
                if rows := empty_rows(there[column]):
                    bad.add_missing(name, str(column), rows)
    if bad:
        what = type(table).__name__
        wording = Wording(lambda column, _: f"the {what}: column '{column}'", "has no value", "row", "in")
        raise InputError(bad.problems(graph.inputs, wording))


def meant_by(name: str, columns: Columns, there: Collection[str]) -> Column | Sequence[Column]:
    """Return what an input takes: what `columns` say, unless there is only what has the name of the input."""
    said = columns.get(name, name)
    return name if name in there and not is_in(said, there) else said


def is_in(wanted: Column | Sequence[Column], there: Collection[str]) -> bool:
    """Whether all columns that an input takes are there; those of a file, a sequence, also have numbers."""
    count = len(there) if isinstance(there, Sequence) else 0
    return all(column in there if isinstance(column, str) else column < count for column in names_in(wanted))


def names_in(wanted: Column | Sequence[Column]) -> Sequence[Column]:
    """Return the columns that an input takes; a string or a number is one of them."""
    return [wanted] if isinstance(wanted, Column) else wanted


def _taken(graph: Graph, name: str, wanted: Column | Sequence[Column], there: Mapping[Any, Any]) -> Any:
    """A column, or several side by side, each in the dtype of the input: integers beside others stay exact."""
    if isinstance(wanted, Column):
        return there[wanted]
    columns = np.stack([as_input(name, there[each], graph.inputs[name]) for each in wanted], axis=-1)
    return as_encoded({name: columns}, graph.inputs)[name]


def require_inputs(graph: Graph, given: Mapping[str, Any], needed: Iterable[str]) -> None:
    """Refuse a call that leaves out a needed input.

    Raises
    ------
    InputError
        GE401.
    """
    missing = [name for name in needed if name not in given]
    if missing:
        shapes = ", ".join(f"'{name}' {graph.types[name]}" for name in missing)
        raise InputError(f"input {shapes} is missing", code="GE401")


def as_input(name: str, value: Any, declared: Input) -> Any:
    """A value as an array of the declared dtype: categories as indices, a missing value as NaN where this is declared.

    Raises
    ------
    InputError
        GE404 and GE406.
    """
    try:
        numbers, bad = encoded(value, declared)
    except Exception as error:  # noqa: BLE001 - an object's own __array__ may raise anything
        what = "dates" if declared.units else "categories"
        raise InputError(f"input '{name}' is not a regular array of {what}: {error}", code="GE404") from None
    if bad:
        wording = Wording(lambda *_: f"input '{name}'", "has no value", "position", "at", "GE404")
        raise InputError(bad.problems({"": declared}, wording))
    return as_typed(name, numbers, declared.type)


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
    if not fits_kind(array, dtype):
        raise InputError(f"input '{name}' must be {dtype_name(dtype)}, it is {array.dtype}", code="GE404")
    try:
        return _read_only(converted(value, array, dtype, copy=False))
    except ValueError as error:
        raise InputError(f"input '{name}': {error}", code="GE404") from None


def _read_only(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A view that no node can change the caller's data through."""
    view = array.view()
    view.flags.writeable = False
    return view


def bind_sizes(shapes: Mapping[str, tuple[int, ...]], types: Mapping[str, ArrayType]) -> dict[str, int]:
    """The numbers that the symbols in the declared shapes mean, given actual shapes.

    Raises
    ------
    InputError
        GE403 or GE405, naming the input, the dimension and both sizes.
    """
    bindings: dict[str, int] = {}
    origin: dict[str, str] = {}
    for name, shape in shapes.items():
        declared = types[name].shape
        if len(shape) != len(declared):
            message = f"input '{name}' has shape {shape_text(shape)}, declared is {shape_text(declared)}"
            raise InputError(message)
    places = [
        (name, axis, size, actual)
        for name, shape in shapes.items()
        for axis, (size, actual) in enumerate(zip(types[name].shape, shape, strict=True))
    ]
    # a symbol on its own gives itself a number, a product with one open symbol then gives that one its number
    for name, axis, size, actual in sorted(
        places, key=lambda place: (len(symbols_of([place[2]])), not is_symbol(place[2]))
    ):
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
        return InputError(f"{got}, declared is {size}")
    if expected is None:
        return InputError(f"{got}, which '{size}' cannot be", code="GE405")
    others = ", ".join(dict.fromkeys(f"'{origin[symbol]}'" for symbol in symbols_of([size])))
    return InputError(f"{got} ({size}), but input {others} makes {size} {expected}", code="GE405")
