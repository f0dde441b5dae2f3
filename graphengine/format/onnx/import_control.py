"""Import of subgraphs: a known condition chooses a branch, loops of a known length are unrolled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from graphengine.format.onnx.drafts import Weight
from graphengine.format.onnx.onnx_calls import Follows, NotKnownYet, OnnxCall, Unimportable, imports, is_known, op
from graphengine.format.onnx.recorded_loops import is_short, looped

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
    count = trips(int(call.number(0, "M"))) if call.has(0) else MOST_TRIPS
    run = _Unrolling(call, range(2, len(call)), ahead=1)
    if _iterate(call, run, count) and not call.has(0):
        raise Unimportable(f"at most {MOST_TRIPS:,} iterations are unrolled")
    return [*run.carried, *[_column(call, column) for column in run.columns]]


def _iterate(call: OnnxCall, run: _Unrolling, count: int) -> bool:
    """Run iterations while the condition is true, at most so many; return whether it is true after them."""
    goes_on = not call.has(1) or bool(call.number(1, "cond"))
    for number in range(count):
        if not goes_on:
            break
        (condition,) = run.step(number, [np.asarray(number, np.int64), np.asarray(goes_on)])
        goes_on = _is_true(condition)
    return goes_on


class _Unrolling:
    """The steps of a loop one by one: what is `carried` from one to the next, and a column of each further result.

    The values at the `places` of a call are carried first. So many results of the body as are `ahead` come before them.
    """

    def __init__(self, call: OnnxCall, places: Iterable[int], ahead: int = 0) -> None:
        self._call, self._body, self._ahead = call, call.get("body"), ahead
        self._names = [each.name for each in self._body.input]
        self.carried = [_value(call, place) for place in places]
        self.columns: list[list[Any]] = [[] for _ in range(len(self._body.output) - ahead - len(self.carried))]

    def step(self, number: int, before: Sequence[Any] = (), after: Sequence[Any] = ()) -> list[Any]:
        """Run the body with what comes before and after the carried values, and return the results ahead of these."""
        values = dict(zip(self._names, [*before, *self.carried, *after], strict=True))
        results = self._call.apply(self._body, values, f"{number}/")
        last = self._ahead + len(self.carried)
        self.carried = results[self._ahead : last]
        for column, value in zip(self.columns, results[last:], strict=True):
            column.append(value)
        return results[: self._ahead]  # type: ignore[no-any-return]


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
    return _stacked(call, values, 0)


@imports("Scan")
def scan(call: OnnxCall) -> Any:
    """Import the steps along sequences of known length."""
    if call.version < 9:
        raise Unimportable("before opset 9 it has a batch axis")
    count = call.get("num_scan_inputs")
    first = len(call) - count
    axes, backward = (call.repeated(f"scan_input_{name}", count, 0) for name in ("axes", "directions"))
    length = _common_length(call, first, axes)
    if len(set(backward)) == 1 and not is_short(length):
        return _recorded(call, first, axes, reverse=bool(backward[0]))
    if not isinstance(length, int):
        raise NotKnownYet("its sequences go in both directions, and their length is known only at run time")
    return _unrolled(call, first, length, list(zip(axes, backward, strict=True)))


def _common_length(call: OnnxCall, first: int, axes: Sequence[int]) -> Any:
    lengths = {call.shape(place)[axis] for place, axis in enumerate(axes, first)}
    if len(lengths) != 1:
        raise Unimportable("its sequences differ in length")
    return lengths.pop()


def _unrolled(call: OnnxCall, first: int, length: int, sequences: Sequence[tuple[int, int]]) -> list[Any]:
    """Return the results of a loop, step by step; of each sequence the axis and whether it goes backward."""
    run = _Unrolling(call, range(first))
    for number in range(trips(length)):
        parts = [
            part(call[place], length - 1 - number if back else number, axis)
            for place, (axis, back) in enumerate(sequences, first)
        ]
        run.step(number, after=parts)
    return [*run.carried, *_stacked_columns(call, run.columns)]


def _recorded(call: OnnxCall, first: int, axes: Sequence[int], *, reverse: bool) -> list[Any]:
    """Return the results of a loop that is recorded as a `scan`."""
    body = call.get("body")
    names, count = [each.name for each in body.input], len(body.output) - first

    def step(states: list[Any], parts: list[Any]) -> tuple[list[Any], list[Any]]:
        results = call.apply(body, dict(zip(names, [*states, *parts], strict=True)), "step/")
        return results[:first], results[first:]

    carried = [_value(call, place) for place in range(first)]
    whole = [call[place] for place in range(first, len(call))]
    stacking = call.repeated("scan_output_axes", count, 0)
    found = looped(call.draft, step, carried, whole, axes, stacking, reverse=reverse)
    return [*found[:first], *_in_direction(call, found[first:], stacking, reverse=reverse)]


def _in_direction(call: OnnxCall, found: list[Any], axes: Sequence[int], *, reverse: bool) -> list[Any]:
    """Return what a loop stacked, each in its own direction."""
    backward = call.repeated("scan_output_directions", len(axes), 0)
    return [
        each if bool(back) == reverse else np.flip(each, axis=axis)
        for each, back, axis in zip(found, backward, axes, strict=True)
    ]


def _stacked_columns(call: OnnxCall, columns: list[list[Any]]) -> list[Any]:
    if not all(columns):
        raise NotKnownYet("its sequences are empty, so the shape of what it stacks is not known")
    axes, backward = (call.repeated(f"scan_output_{name}", len(columns), 0) for name in ("axes", "directions"))
    along = zip(columns, backward, axes, strict=True)
    return [_stacked(call, column[::-1] if back else column, axis) for column, back, axis in along]


def _stacked(call: OnnxCall, column: list[Any], axis: int) -> Any:
    return stacked([call.draft.computed(value) for value in column], axis)
