"""Numbers of files and callers as arrays: which numbers a dtype can hold, and non-finite ones as strings.

Attributes are compared by type: True is not 1, 1.0 is not 1, and a float takes no integer that it would round.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, LiteralString

import numpy as np
from pydantic_core import PydanticCustomError, PydanticKnownError
from pydantic_core.core_schema import no_info_before_validator_function

from graphengine.errors import GraphEngineError
from graphengine.wording import shown

LARGEST_EXACT = 2**53
"""Up to here every integer is a double."""

INEXACT: LiteralString = "an integer beyond 2^53 is not exact as a floating-point number"

NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""How a file writes the numbers that JSON does not have."""


def encode_number(value: float) -> float | str:
    """Return a number as JSON can hold it: non-finite ones as strings."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def decode_array(value: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """The array that a number or nested lists of a file mean; "NaN" and "Infinity" are understood.

    Raises
    ------
    ElementError
        If the lists are ragged, or hold something that is not a number.
    ValueError
        If the numbers are not of a kind that fits `dtype`.
    """
    has_strings = str in _types_inside(value)  # of which NumPy would make texts of 32 characters each, and of numbers
    if has_strings and (found := _element_error(value)):
        raise found
    try:
        array = _with_non_finite(value) if has_strings else as_array(value, dtype)
    except UnfitError:
        raise
    except ValueError as error:
        raise _element_error(value) or ValueError(f"not a regular array of numbers: {error}") from None
    if not fits_kind(array, dtype):
        if array.dtype == object and (found := _element_error(value)):
            raise found
        raise ValueError(f"values of dtype {array.dtype} do not fit dtype {dtype}")
    return converted(value, array, dtype)


def _shape(value: Any) -> list[int]:
    """The lengths of nested lists, as the first element of each says."""
    lengths = []
    while isinstance(value, list):
        lengths.append(len(value))
        value = value[0] if value else None
    return lengths


def _flat(value: Any) -> Iterable[Any]:
    """The elements of nested lists, as deep as the first one lies."""
    elements: Iterable[Any] = [value]
    for _ in _shape(value):
        elements = itertools.chain.from_iterable(elements)
    return elements


def _types_inside(value: Any) -> set[type]:
    """The types of the elements of nested lists; of lists that are not regular, of some."""
    found: set[type] = set()
    with suppress(TypeError):
        found.update(map(type, _flat(value)))
    return found


def _with_non_finite(value: Any) -> np.ndarray[Any, Any]:
    """The array of regular nested lists of numbers and of strings for non-finite ones."""
    return np.array([NON_FINITE.get(each, each) for each in _flat(value)]).reshape(_shape(value))


class ElementError(ValueError):
    """An element of nested lists that makes them no array of numbers; `path` are the indices that lead to it."""

    def __init__(self, message: str, path: list[int]) -> None:
        super().__init__(message)
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return ElementError, (str(self), self.path), dict(vars(self))


def _element_error(value: Any) -> ElementError | None:
    """The error about the first element that is not a number, or not as deep or as long as the first ones are."""
    lengths = _shape(value)
    path, rows = [0], [enumerate([value])]
    while rows:
        for path[-1], element in rows[-1]:
            depth = len(path) - 1
            if depth == len(lengths):
                if type(element) not in _NUMBERS and not (type(element) is str and element in NON_FINITE):
                    ragged = "not a regular array of numbers: " * isinstance(element, list)
                    return ElementError(f"{ragged}{shown(element)} is not a number", path[1:])
            elif not isinstance(element, list):
                return ElementError(f"not a regular array of numbers: {shown(element)} beside an array", path[1:])
            elif len(element) != lengths[depth]:
                reason = f"one of length {len(element)} beside one of {lengths[depth]}"
                return ElementError(f"not a regular array of numbers: {reason}", path[1:])
            elif depth < len(lengths) - 1 or not _NUMBERS.issuperset(map(type, element)):
                path.append(0)
                rows.append(enumerate(element))
                break
        else:
            rows.pop()
            path.pop()
    return None


_NUMBERS = {bool, int, float}


def as_array(value: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """The array that NumPy makes of `value`, row by row, with integers that are to have a dtype of integers exact.

    NumPy makes floating-point numbers of integers that no dtype of its own has together, such as 2^63 and 1.

    Raises
    ------
    UnfitError
        If `dtype` does not have one of the integers.
    ValueError
        If NumPy makes no array of the value.
    """
    try:
        array = np.asarray(value, order="C")
    except (ValueError, MemoryError, GraphEngineError):
        raise
    except Exception as error:  # an object's own __array__ may raise anything
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if not isinstance(value, (list, tuple)) or (array.dtype.kind, dtype.kind) not in CHANGED:
        return array
    cells = np.array(value, dtype=object)
    integers = [_integer(cell) for cell in cells.ravel().tolist()]
    if not integers or None in integers:
        return array
    return _of_integers(integers, dtype).reshape(cells.shape)


CHANGED = {("f", "i"), ("f", "u"), ("O", "i"), ("O", "u"), ("O", "f")}
"""The kind that NumPy finds for integers, with the wanted kind, where the integers may not be what they were."""


def _of_integers(integers: list[int], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    if dtype.kind == "f":
        raise InexactError(INEXACT)
    bounds = np.iinfo(dtype)
    for each in integers:
        if not bounds.min <= each <= bounds.max:
            raise UnfitError(f"{each} does not fit dtype {dtype}")
    return np.array(integers, dtype)


def _integer(cell: Any) -> Any:
    """The Python integer that a cell holds; None if it holds anything else."""
    cell = cell[()] if isinstance(cell, np.ndarray) else cell
    return int(cell) if isinstance(cell, (int, np.integer, np.bool_)) else None


def is_masked_array(value: Any) -> bool:
    """Whether a value is a masked array; only a subclass of NumPy's array is worth the import of `numpy.ma`."""
    return type(value) is not np.ndarray and isinstance(value, np.ndarray) and isinstance(value, np.ma.MaskedArray)


def fits_kind(array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> bool:
    """Whether the numbers of an array are of a kind that a dtype can represent; whether each one fits is not asked."""
    if array.size == 0 and array.dtype == np.float64:
        return True  # NumPy's dtype of an empty list
    both_integers = array.dtype.kind in "iu" and dtype.kind in "iu"
    return array.dtype.kind in "biuf" and (both_integers or np.can_cast(array.dtype, dtype, "same_kind"))


def converted(
    value: Any, array: np.ndarray[Any, Any], dtype: np.dtype[Any], *, copy: bool = True
) -> np.ndarray[Any, Any]:
    """The array that NumPy makes of `value` in another dtype, row by row: a sum is added in the order of the memory.

    A floating-point number is rounded to those of the dtype; any other stays what it is.

    Raises
    ------
    ValueError
        If the dtype has no such number, or a value is masked.
    """
    if is_masked_array(value) and np.ma.is_masked(value):
        raise ValueError("values are missing: the array is masked")
    if dtype.kind == "f" and _has_inexact_integer(value, array):
        raise InexactError(INEXACT)
    if array.dtype == dtype or (array.dtype.kind in "biu" and dtype.kind == "f"):
        return array.astype(dtype, order="C", copy=copy)
    try:
        with np.errstate(over="raise", invalid="ignore"):
            made = array.astype(dtype, order="C")
    except FloatingPointError:
        raise ValueError(f"a number is beyond the largest of dtype {dtype}, {np.finfo(dtype).max:.4g}") from None
    if dtype.kind != "f" and np.any(lost := made != array):
        raise ValueError(f"{array[lost][0]} does not fit dtype {dtype}")
    return made


class UnfitError(ValueError):
    """A number that a dtype does not have."""


class InexactError(UnfitError):
    """An integer where a floating-point number is meant that may be equal to none."""


def is_inexact(value: Any) -> bool:
    """Whether a value is an integer that a floating-point number cannot distinguish from its neighbors."""
    return type(value) is int and abs(value) > LARGEST_EXACT


def exact_number(value: Any) -> Any:
    """Return a value of a pydantic field for floating-point numbers as it is, unless it is an inexact integer."""
    if is_inexact(value):
        raise PydanticCustomError("inexact", INEXACT)
    return value


def _has_inexact_integer(value: Any, array: np.ndarray[Any, Any]) -> bool:
    """Whether there is an integer that is not exact as a floating-point number."""
    if array.dtype.kind == "b" or not array.size:
        return False
    if array.dtype.kind in "iu":
        return bool(array.max() > LARGEST_EXACT or array.min() < -LARGEST_EXACT)
    if isinstance(value, (float, np.ndarray, np.generic)) or not np.any(np.abs(array) >= LARGEST_EXACT):
        return False
    # of integers beside floating-point numbers or missing values NumPy makes floating-point numbers, too
    return any(abs(integer) > LARGEST_EXACT for integer in map(_integer, _cells(value)) if integer is not None)


def _cells(value: Any) -> list[Any]:
    """The numbers of a list, or of what a library has for a column or a table, in their own types."""
    for method in ("iter_columns", "itercolumns", "items"):  # of a table of polars, Arrow, pandas
        if hasattr(value, "columns") and hasattr(value, method):
            columns = [each[1] if isinstance(each, tuple) else each for each in getattr(value, method)()]
            return [cell for column in columns for cell in _cells(column)]
    for method in ("to_list", "to_pylist"):  # of a column of pandas or polars, Arrow
        if hasattr(value, method):
            value = getattr(value, method)()
    cells: list[Any] = np.array(value, dtype=object).ravel().tolist()
    return cells


def all_finite(value: Any) -> bool:
    """Whether no number is NaN or infinite: a finite sum says so in one pass that writes nothing."""
    if isinstance(value, float):
        return math.isfinite(value)
    with np.errstate(all="ignore"):
        return bool(np.isfinite(np.sum(value))) or bool(np.isfinite(value).all())


def make_exact(schema: Any) -> None:
    """Change a core schema so that a literal that is not a string has the type of an expected value.

    A float takes no integer that it would round.
    """
    pending = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            check = _check_of(part) if part.get("type") in ("float", "literal") else None
            if check:
                checked = no_info_before_validator_function(check, part.copy())
                part.clear()
                part.update(checked)
            else:
                pending += part.values()
        elif isinstance(part, list | tuple):
            pending += part


def _check_of(schema: Mapping[str, Any]) -> Callable[[Any], Any] | None:
    """What a value is checked by before pydantic sees it."""
    if schema["type"] == "float":
        return exact_number
    only_strings = all(isinstance(value, str) for value in schema["expected"])
    return None if only_strings else _one_of(schema["expected"])


def _one_of(expected: Sequence[Any]) -> Callable[[Any], Any]:
    """A check that a value is one of those expected, by type and value."""
    known = {(type(value), value) for value in expected}
    names = [value if isinstance(value, str) else json.dumps(value) for value in expected]
    possible = " or ".join([", ".join(names[:-1])] * (len(names) > 1) + names[-1:])

    def check(value: Any) -> Any:
        if not isinstance(value, Hashable) or (type(value), value) not in known:
            raise PydanticKnownError("literal_error", {"expected": possible})
        return value

    return check
