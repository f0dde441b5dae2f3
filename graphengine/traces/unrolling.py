"""Single steps of a loop: what a step gets, and the gradient that arrives at what it gives.

The steps before one are a loop over the first parts of the sequences, and the steps after it are one over the last
parts, whose gradient with respect to its state is what arrives. So a step is found by running the op itself, only over
the steps between it and one that is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphengine.ir.graph import Graph
from graphengine.ops.body import kind_of
from graphengine.ops.inference import as_tuple


class Opened(NamedTuple):
    """How many steps of a loop are traced, half of them at its beginning, and how many of a loop within it."""

    steps: int = 2
    within: int = 2

    def numbers(self, count: int) -> list[int]:
        """The numbers of the steps, counted from 1, of a loop of this many steps."""
        if count <= self.steps:
            return [*range(1, count + 1)]
        ahead = (self.steps + 1) // 2
        return [*range(1, ahead + 1), *range(count + 1 - self.steps + ahead, count + 1)]


FIRST_AND_LAST = Opened()


class LoopStep(NamedTuple):
    """A step, counted from 1 as they run: the graph of the function, its values, and what arrives at its outputs.

    `arriving` are pairs: a value that the function gives, and the gradient that arrives there from outside.
    """

    number: int
    graph: Graph
    values: Mapping[str, Any]
    arriving: tuple[tuple[str, Any], ...]


class Unrolled:
    """A loop with the values of its operands, and with the gradients that arrive at its results, None for none."""

    def __init__(self, loop: Any, operands: Sequence[Any], arriving: Sequence[Any]) -> None:
        self._loop, self._operands, self._arriving = loop, list(operands), list(arriving)
        self._kinds, count = loop.steps(tuple(map(kind_of, operands)))
        self.count = int(count)
        for place in loop.carried:
            self._operands[place] = np.asarray(operands[place], self._kinds[place].array_dtype)[()]
        self._states: dict[int, list[Any]] = {0: [self._operands[place] for place in loop.carried]}
        self._gradients: dict[int, list[Any]] = {self.count: self._arriving[: len(loop.carry)]}

    def steps(self, numbers: Iterable[int]) -> list[LoopStep]:
        """Return some steps in their order: states are found from the first on, gradients from the last back."""
        chosen = sorted(numbers)
        for number in chosen:
            self._state(number - 1)
        for number in reversed(chosen):
            self._after(number)
        return list(map(self.step, chosen))

    def step(self, number: int) -> LoopStep:
        """Return a step, counted from 1."""
        loop, body = self._loop, self._loop.function
        values = self._starting(self._state(number - 1))
        for place, axis in zip(loop.cut, loop.axes[0], strict=True):
            values[place] = self._part(values[place], axis, number - 1)
        graph = body.graph(tuple(map(kind_of, values)))
        names = [body.results[port] for port in body.outputs]
        given = [*self._after(number), *self._stacked(number - 1)]
        return LoopStep(number, graph, dict(present(body.inputs, values)), tuple(present(names, given)))

    def _starting(self, state: Sequence[Any]) -> list[Any]:
        """The operands with another state."""
        values = list(self._operands)
        for place, value in zip(self._loop.carried, state, strict=True):
            values[place] = value
        return values

    def _state(self, number: int) -> list[Any]:
        """The state after this many steps."""
        if number not in self._states:
            known = max(filter(number.__gt__, self._states))
            loop, values = self._loop.between(self._starting(self._states[known]), known, number, self.count)
            self._states[number] = list(as_tuple(loop.forward(*values)))[: len(loop.carry)]
        return self._states[number]

    def _after(self, number: int) -> list[Any]:
        """The gradients with respect to the state after this many steps."""
        if all(each is None for each in self._arriving):
            return self._arriving[: len(self._loop.carry)]
        if number not in self._gradients:
            known = min(filter(number.__lt__, self._gradients))
            self._gradients[number] = self._back(known, number)
        return self._gradients[number]

    def _back(self, known: int, number: int) -> list[Any]:
        """The gradients with respect to the state after fewer steps than those for which they are known."""
        steps = (number, known, self.count)
        loop, values = self._loop.between(self._starting(self._state(number)), *steps)
        arriving = self._cut(lambda each, axis: self._loop.parts(each, axis, *steps), loop.axes[1])
        needs = tuple(place in loop.carried and kind.is_differentiable for place, kind in enumerate(self._kinds))
        found = loop.backward((*self._gradients[known], *arriving), tuple(values), needs)
        return [found[place] for place in loop.carried]

    def _cut(self, part: Callable[[Any, int], Any], axes: Sequence[int]) -> list[Any]:
        """A part of each gradient that arrives at a sequence, None where none does."""
        sequences = zip(self._arriving[len(self._loop.carry) :], axes, strict=True)
        return [each if each is None else part(each, axis) for each, axis in sequences]

    def _stacked(self, index: int) -> list[Any]:
        """What arrives at the results of one step that are stacked."""
        return self._cut(lambda each, axis: self._part(each, axis, index), self._loop.axes[1])

    def _part(self, whole: Any, axis: int, index: int) -> Any:
        return np.take(whole, self.count - 1 - index if self._loop.reverse else index, axis=axis)


def present(names: Sequence[str], values: Sequence[Any]) -> list[tuple[str, Any]]:
    """Names with their values, without those that have none."""
    return [(name, value) for name, value in zip(names, values, strict=True) if value is not None]
