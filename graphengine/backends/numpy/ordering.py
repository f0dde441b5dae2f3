"""An order of instructions that keeps few large arrays at a time.

Next comes, of the instructions whose operands are there, the one after which the least memory is in use. That is no
best order, which is hard to find; so the given one stays if it takes less.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from graphengine.backends.numpy.buffers import is_large, owners_of
from graphengine.backends.numpy.calls import Call

MOST = 4096
"""Instructions of the longest plan that is put in order: the time it takes may grow with their square."""


def ordered(instructions: Sequence[Call], outputs: Iterable[str]) -> list[Call]:
    """Return the instructions in an order that takes no more memory for large arrays than the given one."""
    given, outputs = list(instructions), set(outputs)
    if len(given) > MOST:
        return given
    found = _greedy(given, _Live(given, outputs))
    return min((given, found), key=lambda order: _peak(order, _Live(given, outputs)))


def _greedy(instructions: Sequence[Call], live: _Live) -> list[Call]:
    waiting = _Waiting(instructions)
    order = []
    while waiting.ready:
        index = min(waiting.ready, key=lambda index: (live.change(instructions[index]), index))
        order.append(instructions[index])
        live.run(instructions[index])
        waiting.run(index)
    return order


class _Waiting:
    """Instructions that wait for their operands, by number, and those that are `ready` to run."""

    def __init__(self, instructions: Sequence[Call]) -> None:
        made = {each.output: index for index, each in enumerate(instructions)}
        self._missing = [made.keys() & each.values for each in instructions]
        self._names = list(made)
        self._readers = _readers(self._missing)
        self.ready = {index for index, operands in enumerate(self._missing) if not operands}

    def run(self, index: int) -> None:
        """Make ready what waited for nothing else than the result of an instruction."""
        self.ready.remove(index)
        result = self._names[index]
        for reader in self._readers[result]:
            self._missing[reader].remove(result)
            if not self._missing[reader]:
                self.ready.add(reader)


def _readers(operands: Sequence[set[str]]) -> Mapping[str, list[int]]:
    """The numbers of the instructions that read each value, from the values that each of them reads."""
    found = defaultdict[str, list[int]](list)
    for index, names in enumerate(operands):
        for name in names:
            found[name].append(index)
    return found


def _peak(instructions: Iterable[Call], live: _Live) -> int:
    for each in instructions:
        live.run(each)
    return live.peak


class _Live:
    """The large arrays that exist while instructions run, in bytes."""

    def __init__(self, instructions: Sequence[Call], outputs: set[str]) -> None:
        self._owners = owners_of((each.aliases, each.values, each.output) for each in instructions)
        self._bytes = {each.output: _bytes(each) for each in instructions if each.output not in self._owners}
        self._kinds = {each.output: each.kind[:2] for each in instructions}
        self._uses = Counter(itertools.chain.from_iterable(self._owners.of(each.values) for each in instructions))
        self._uses.update(self._owners.of(outputs))
        self.now = self.peak = 0

    def change(self, instruction: Call) -> int:
        """How many bytes more are in use after an instruction."""
        dying = [owner for owner in self._owners.of(instruction.values) if self._uses[owner] == 1]
        return self._bytes.get(instruction.output, 0) - sum(self._bytes.get(owner, 0) for owner in dying)

    def run(self, instruction: Call) -> None:
        """Take an instruction into account."""
        dying = [name for name in instruction.values if self._uses[name] == 1]
        over = any(self._kinds.get(name) == instruction.kind[:2] for name in dying)
        made = self._bytes.get(instruction.output, 0)
        self.peak = max(self.peak, self.now + made * (not (over and instruction.elementwise)))
        self.now += self.change(instruction)
        self._uses.subtract(self._owners.of(instruction.values))


def _bytes(instruction: Call) -> int:
    """The size of a result, if it is large."""
    shape: Any = instruction.kind.shape
    return instruction.kind.array_dtype.itemsize * math.prod(shape) if is_large(instruction.kind) else 0
