"""Import of subgraphs: a known condition chooses a branch, loops of a known length are unrolled."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from graphengine.format.onnx.drafts import Weight
from graphengine.format.onnx.onnx_calls import Follows, NotKnownYet, OnnxCall, Unimportable, imports, is_known, op
from graphengine.format.onnx.recorded_loops import FEW, looped

MOST_TRIPS = 2**12
"""Iterations of the longest loop that is unrolled."""


def part(value: Any, place: int, axis: int) -> Any:
    """Return one part of a value along an axis, without the axis."""
    return np.take(value, place, axis=axis)


def stacked(values: list[Any], axis: int) -> Any:
    """Return values along a new axis; of constants a constant."""
    if all(is_known(value) for value in values):
        return np.stack(values, axis=axis)
    return op("stack", axis=axis)(*values)


def trips(count: int) -> int:
    """Return a number of iterations, unless it is too large."""
    if count > MOST_TRIPS:
        raise Unimportable(f"it has {count:,} iterations, and at most {MOST_TRIPS:,} are unrolled")
    return max(count, 0)


@imports("If")
def choose(call: OnnxCall) -> Any:
    """Import the branch that a known condition chooses, or a choice between the values of both."""
    condition = call[0]
    if is_known(condition):
        return call.apply(call.get("then_branch" if condition.reshape(-1)[0] else "else_branch"), {})
    condition = np.reshape(condition, ())
    found: list[Any] = []
    for name, near in (("then_branch", "then/"), ("else_branch", "else/")):
        with suppress(Follows):  # the other branch is looked at, too
            found.append(call.apply(call.get(name), {}, near))
    if len(found) < 2:
        raise Follows
    return [_chosen(call, condition, *pair) for pair in zip(*found, strict=True)]


def _chosen(call: OnnxCall, condition: Any, x: Any, y: Any) -> Any:
    x, y = (call.draft.as_symbol(each) for each in (x, y))
    if x.type.shape != y.type.shape or x.dtype != y.dtype:
        raise NotKnownYet("its branches give values of different shapes by a condition that is computed at run time")
    return np.where(condition, x, y)


@imports("Loop")
def loop(call: OnnxCall) -> Any:
    """Import the iterations of a loop whose number and conditions are known."""
    body = call.get("body")
    count = trips(int(call.number(0, "M"))) if call.has(0) else MOST_TRIPS
    goes_on: Any = not call.has(1) or bool(call.number(1, "cond"))
    carried = [_value(call, place) for place in range(2, len(call))]
    names = [each.name for each in body.input]
    columns: list[list[Any]] = [[] for _ in range(len(body.output) - 1 - len(carried))]
    for number in range(count):
        if not goes_on:
            break
        given = [np.asarray(number, np.int64), np.asarray(goes_on), *carried]
        condition, *results = call.apply(body, dict(zip(names, given, strict=True)), f"{number}/")
        goes_on = _is_true(condition)
        carried = results[: len(carried)]
        for column, value in zip(columns, results[len(carried) :], strict=True):
            column.append(value)
    if goes_on and not call.has(0):
        raise Unimportable(f"at most {MOST_TRIPS:,} iterations are unrolled")
    return [*carried, *[_column(call, column) for column in columns]]


def _is_true(condition: Any) -> bool:
    if not is_known(condition):
        raise NotKnownYet("whether it ends is decided by values that are computed at run time")
    return bool(condition.reshape(-1)[0])


def _value(call: OnnxCall, place: int) -> Any:
    value = call.raws[place]
    return call.draft.as_symbol(value) if isinstance(value, Weight) else value


def _column(call: OnnxCall, values: list[Any]) -> Any:
    if not values:
        raise NotKnownYet("it has no iterations, so the shape of what it stacks is not known")
    return stacked([call.draft.computed(value) for value in values], 0)


@imports("Scan")
def scan(call: OnnxCall) -> Any:
    """Import the steps along sequences of known length."""
    if call.version < 9:
        raise Unimportable("before opset 9 it has a batch axis")
    body, count = call.get("body"), call.get("num_scan_inputs")
    first = len(call) - count
    carried = [_value(call, place) for place in range(first)]
    axes = call.get("scan_input_axes") or [0] * count
    backward = call.get("scan_input_directions") or [0] * count
    lengths = {call.shape(first + place)[axis] for place, axis in enumerate(axes)}
    if len(lengths) != 1:
        raise Unimportable("its sequences differ in length")
    length = lengths.pop()
    if len(set(backward)) == 1 and not (isinstance(length, int) and length <= FEW):
        return _recorded(call, body, carried, first, axes, reverse=bool(backward[0]))
    if not isinstance(length, int):
        raise NotKnownYet("its sequences go in both directions, and their length is known only at run time")
    return _unrolled(call, body, carried, length, list(zip(axes, backward, strict=True)))


def _unrolled(
    call: OnnxCall, body: Any, carried: list[Any], length: int, sequences: Sequence[tuple[int, int]]
) -> list[Any]:
    """Return the results of a loop, step by step; of each sequence the axis and whether it goes backward."""
    names, first = [each.name for each in body.input], len(carried)
    columns: list[list[Any]] = [[] for _ in range(len(body.output) - first)]
    for number in range(trips(length)):
        parts = [
            part(call[place], length - 1 - number if back else number, axis)
            for place, (axis, back) in enumerate(sequences, first)
        ]
        results = call.apply(body, dict(zip(names, [*carried, *parts], strict=True)), f"{number}/")
        carried = results[:first]
        for column, value in zip(columns, results[first:], strict=True):
            column.append(value)
    return [*carried, *_stacked_columns(call, columns)]


def _recorded(
    call: OnnxCall, body: Any, carried: list[Any], first: int, axes: list[int], *, reverse: bool
) -> list[Any]:
    """Return the results of a loop that is recorded as a `scan`."""
    names, count = [each.name for each in body.input], len(body.output) - first

    def step(states: list[Any], parts: list[Any]) -> tuple[list[Any], list[Any]]:
        results = call.apply(body, dict(zip(names, [*states, *parts], strict=True)), "step/")
        return results[:first], results[first:]

    stacking = call.get("scan_output_axes") or [0] * count
    backward = call.get("scan_output_directions") or [0] * count
    whole = [call[place] for place in range(first, len(call))]
    found = looped(call.draft, step, carried, whole, axes, stacking, reverse=reverse)
    stacked = [
        each if bool(back) == reverse else np.flip(each, axis=axis)
        for each, back, axis in zip(found[first:], backward, stacking, strict=True)
    ]
    return [*found[:first], *stacked]


def _stacked_columns(call: OnnxCall, columns: list[list[Any]]) -> list[Any]:
    axes = call.get("scan_output_axes") or [0] * len(columns)
    backward = call.get("scan_output_directions") or [0] * len(columns)
    ordered = [column[::-1] if back else column for column, back in zip(columns, backward, strict=True)]
    if any(not column for column in ordered):
        raise NotKnownYet("its sequences are empty, so the shape of what it stacks is not known")
    pairs = zip(ordered, axes, strict=True)
    return [stacked([call.draft.computed(value) for value in column], axis) for column, axis in pairs]
