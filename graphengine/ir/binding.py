"""Checks the values a caller supplies against the declared inputs, and gives symbolic sizes their numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from graphengine.errors import InputError, did_you_mean
from graphengine.ir.cells import Wording, encoded
from graphengine.ir.declarations import Input
from graphengine.ir.graph import Graph
from graphengine.ops.numbers import UnfitError, as_array, converted, fits_kind
from graphengine.ops.shapes import ArrayType, dtype_name, is_symbol, shape_text, size_value, solve_size, symbols_of


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


def by_input(graph: Graph, given: Any, named: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """Values by input: those of a mapping, or the columns of a table that are inputs; `named` take their place.

    A table is whatever gives a column for a name: a frame of pandas or polars, a table of Arrow.

    Raises
    ------
    InputError
        GE401 if it has no column for any input.
    """
    if given is None:
        return named or {}
    if not isinstance(given, Mapping):
        given = _columns(graph, given)
    return {**given, **named} if named else given


def _columns(graph: Graph, table: Any) -> dict[str, Any]:
    columns = {}
    for name in graph.inputs:
        with suppress(Exception):  # each library of tables has an error of its own for a missing column
            columns[name] = table[name]
    if graph.inputs and not columns:
        message = f"the {type(table).__name__} has no column for an input: {', '.join(graph.inputs)}"
        raise InputError(message, code="GE401", hint="pass a mapping: {input: values}")
    return columns


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
    numbers, bad = encoded(value, declared)
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
    """The numbers that the symbols in the declared shapes stand for, given actual shapes.

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
