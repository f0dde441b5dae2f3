"""The state of a training: how a checkpoint writes it, and whether one that was read fits the training that resumes.

A state, `Trainer.state`, is made of dictionaries, lists, numbers and arrays. A document in the right form may still be
wrong: a shape that no parameter has, or a record with another number of rows than it claims.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from graphengine.errors import DataError, Problem, make_pointer
from graphengine.format.checkpoint_documents import ArrayDocument, TrainingStateDocument
from graphengine.format.documents import ExternalValue
from graphengine.format.fields import Document
from graphengine.format.tensors import TensorFiles, are_external
from graphengine.format.writing import encode_array
from graphengine.mappings import without
from graphengine.ops.numbers import ElementError, decode_array, encode_number
from graphengine.ops.shapes import ArrayType, Shape, type_of
from graphengine.wording import counted

State: TypeAlias = dict[str, Any]
Place: TypeAlias = tuple[str | int, ...]
Fault: TypeAlias = tuple[Place, str]
"""Where something is wrong in a state, and what."""

LONGEST_INLINE = 16
"""Numbers of an array that stays in the JSON although there is a file of tensors."""


class StateLayout(NamedTuple):
    """What the states of a training have in common.

    `carried` has the types of their arrays, `values` those of the model's; `recorded` are the parameters that a row of
    the history has, `checked` the numbers of axes of the values that a check computes, `samples` those of an epoch.
    """

    carried: Mapping[str, ArrayType]
    values: Mapping[str, ArrayType]
    recorded: Sequence[str]
    checked: Mapping[str, int]
    per_epoch: int
    samples: int
    has_early: bool


def types_of(values: Mapping[str, Any]) -> dict[str, ArrayType]:
    """The types of arrays, and of Python numbers as arrays."""
    return {name: type_of(np.asarray(value)) for name, value in values.items()}


# ---------------------------------------------------------------- writing and reading


def arrays_of(state: State) -> dict[Place, np.ndarray[Any, Any]]:
    """All arrays of a state, by their places in it."""
    found: dict[Place, np.ndarray[Any, Any]] = {}
    _walked(state, (), lambda place, value: found.update({place: value}) if isinstance(value, np.ndarray) else None)
    return found


def document_of(state: State, stored: Mapping[Place, ExternalValue]) -> Any:
    """A state as JSON values; of the arrays those at the `stored` places are in a file of tensors."""

    def written(place: Place, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return stored[place].model_dump() if place in stored else _inline(value)
        return encode_number(value) if isinstance(value, float) else value

    return _walked(state, (), written)


def outside(arrays: Mapping[Place, np.ndarray[Any, Any]]) -> dict[Place, np.ndarray[Any, Any]]:
    """Of the arrays of a large state those for a file of tensors: all but short ones, unless these are many."""
    short = {place for place, array in arrays.items() if array.size <= LONGEST_INLINE}
    if are_external(arrays[place] for place in short):
        return dict(arrays)
    return without(arrays, short)


def state_of(document: TrainingStateDocument, files: TensorFiles) -> tuple[State, list[Problem]]:
    """The state that a document describes, and which of its arrays cannot be had; pointers into the checkpoint."""
    problems: list[Problem] = []

    def read(place: Place, value: Any) -> Any:
        if not isinstance(value, (ArrayDocument, ExternalValue)):
            return value
        try:
            return files.array(value)[()] if isinstance(value, ExternalValue) else _decoded(value)
        except ValueError as error:
            inside: Place = ("values", *error.path) if isinstance(error, ElementError) else ()
            problems.append(Problem("GE603", str(error), None, make_pointer(("state", *place, *inside))))
        except DataError as error:
            problems.append(Problem("GE603", error.problems[0].message, None, make_pointer(("state", *place))))
        return None

    return _walked(document, (), read), problems


def _walked(value: Any, place: Place, leaf: Callable[[Place, Any], Any]) -> Any:
    """A state or its document in another form: what `leaf` makes of each number, array and null."""
    value = _opened(value)
    if isinstance(value, Mapping):
        return {name: _walked(item, (*place, name), leaf) for name, item in value.items()}
    if isinstance(value, list):
        return [_walked(item, (*place, index), leaf) for index, item in enumerate(value)]
    return leaf(place, value)


def _opened(value: Any) -> Any:
    """A document, but of an array, as a mapping; a scalar of NumPy as an array."""
    if isinstance(value, Document) and not isinstance(value, (ArrayDocument, ExternalValue)):
        return {name: getattr(value, name) for name in type(value).model_fields}
    return np.asarray(value) if isinstance(value, np.generic) else value


def _inline(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {"dtype": array.dtype.name, "shape": list(array.shape), "values": encode_array(np.ravel(array))}


def _decoded(stored: ArrayDocument) -> Any:
    """An array, or a scalar of NumPy.

    Raises
    ------
    ValueError
        If its numbers are no array of the dtype and shape that it declares.
    """
    array = decode_array(stored.values, np.dtype(stored.dtype))
    if array.ndim != 1 or array.size != math.prod(stored.shape):
        raise ValueError(f"{array.size} values in {array.ndim} dimensions do not make the shape {stored.shape}")
    return array.reshape(stored.shape)[()]


# ---------------------------------------------------------------- what fits


def state_problems(state: State, layout: StateLayout) -> Iterator[Problem]:
    """What no state of a training with this layout has, although its form is right; pointers into the checkpoint."""
    for place, message in _faults(state, layout):
        yield Problem("GE603", message, None, make_pointer(("state", *place)))


def _faults(state: State, layout: StateLayout) -> Iterator[Fault]:
    yield from _array_faults(state["carried"], layout.carried, ("carried",))
    yield from _history_faults(state["history"], layout, state["iteration"])
    yield from _loss_faults(state["total"], 0, ("total",))
    yield from _loss_faults(state["epoch"], 1, ("epoch",))
    most = 1 if state["iteration"] % layout.per_epoch else 0
    if np.size(state["epoch"]) > most:
        yield ("epoch",), f"after iteration {state['iteration']} there is at most {counted(most, 'sum')} of losses"
    if state["uncounted"] > layout.samples:
        yield ("uncounted",), f"an epoch has {counted(layout.samples, 'sample')}"
    yield from _stopping_faults(state["early"], layout, state["iteration"])


def _stopping_faults(early: Mapping[str, Any] | None, layout: StateLayout, iteration: int) -> Iterator[Fault]:
    """The errors in the state of early stopping, which is there if the training stops early."""
    if (early is not None) != layout.has_early:
        yield ("early",), "the training stops early" if layout.has_early else "the training does not stop early"
    elif early:
        yield from _early_faults(early, layout, iteration)


def _early_faults(early: Mapping[str, Any], layout: StateLayout, iteration: int) -> Iterator[Fault]:
    if early["values"]:
        yield from _array_faults(early["values"], layout.values, ("early", "values"))
    if early["check"] or early["iteration"]:
        check = {"iteration": early["iteration"], "values": early["check"]}
        for place, message in _check_faults(check, layout.checked, iteration, ("early",)):
            yield ("early", "check", *place[2:]) if place[1] == "values" else place, message


def _array_faults(arrays: Mapping[str, Any], expected: Mapping[str, ArrayType], place: Place) -> Iterator[Fault]:
    """Arrays that are missing, are too many, or have another dtype or shape."""
    for name in sorted(expected.keys() - arrays.keys()):
        yield place, f"'{name}' is missing"
    for name, array in arrays.items():
        if name not in expected:
            yield (*place, name), f"the training has no '{name}'"
        elif (found := type_of(array)) != expected[name]:
            yield (*place, name), f"'{name}' is {found}, must be {expected[name]}"


def _loss_faults(value: Any, axes: int, place: Place) -> Iterator[Fault]:
    array = np.asarray(value)
    if array.dtype.kind != "f" or array.ndim != axes:
        yield place, f"it is {type_of(array)}, must be of floating-point dtype and have {counted(axes, 'dimension')}"


def _history_faults(history: Mapping[str, Any], layout: StateLayout, iteration: int) -> Iterator[Fault]:
    iterations, epochs, checks = history["iterations"], history["epochs"], history["checks"]
    complete = iteration // layout.per_epoch if layout.per_epoch > 1 else 0
    for part, seen in (("iterations", iteration), ("epochs", complete)):
        if history[part]["seen"] != seen:
            yield ("history", part, "seen"), f"after iteration {iteration} it must be {seen}"
    yield from _columns_faults(iterations, layout)
    yield from _column_faults(epochs, epochs["losses"], (), ("history", "epochs", "losses"))
    yield from _length_faults(checks, len(checks["rows"]), ("history", "checks", "rows"))
    for index, check in enumerate(checks["rows"]):
        yield from _check_faults(check, layout.checked, iteration, ("history", "checks", "rows", index))


def _columns_faults(iterations: Mapping[str, Any], layout: StateLayout) -> Iterator[Fault]:
    """Columns of loss, gradient norm and recorded parameters that are too many, too few, or of another form."""
    rows = [(), (), *(layout.carried[name].shape for name in layout.recorded)]
    columns, place = iterations["columns"], ("history", "iterations", "columns")
    if len(columns) != len(rows):
        yield place, f"it has {counted(len(columns), 'column')}, must have {len(rows)}"
    for index, (column, row) in enumerate(zip(columns, rows, strict=False)):
        yield from _column_faults(iterations, column, row, (*place, index))


def _column_faults(part: Mapping[str, Any], column: Any, row: Shape, place: Place) -> Iterator[Fault]:
    array = np.asarray(column)
    if array.dtype.kind != "f" or array.ndim == 0 or array.shape[1:] != row:
        yield place, f"it is {type_of(array)}, must be of floating-point dtype with rows of shape {row}"
    else:
        yield from _length_faults(part, len(array), place)


def _length_faults(part: Mapping[str, Any], rows: int, place: Place) -> Iterator[Fault]:
    """Another number of rows than thinning keeps: each one at a multiple of the stride, and the last one once more."""
    seen, stride = part["seen"], part["stride"]
    kept = -(-seen // stride) + 1 if seen else 0
    if stride & (stride - 1):
        yield (*place[:2], "stride"), f"a stride is a power of two, not {stride}"
    elif rows != kept:
        yield place, f"it has {counted(rows, 'row')}, of {seen} with the stride {stride} {kept} are kept"


def _check_faults(check: Mapping[str, Any], axes: Mapping[str, int], iteration: int, place: Place) -> Iterator[Fault]:
    if check["iteration"] > iteration:
        yield (*place, "iteration"), f"a check after iteration {check['iteration']}, which was not reached"
    if set(check["values"]) != set(axes):
        yield (*place, "values"), f"a check computes {', '.join(axes) or 'nothing'}"
        return
    for name, value in check["values"].items():
        if np.ndim(value) != axes[name]:
            yield (*place, "values", name), f"it has {counted(np.ndim(value), 'dimension')}, must have {axes[name]}"
