"""Which array a result is written into: a buffer shared by values that do not live at the same time.

At the last use of an input an elementwise result takes over its buffer. What leaves the plan is never in a buffer; a
value that is carried to the next round is written over what it replaces, if nothing reads that later. What NumPy may
not put row by row, because it comes from a transposed array, is in no buffer: sums over it depend on the order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphengine.backends.numpy.calls import Call


@dataclass
class Buffers:
    """`kinds` are shape and dtype of each buffer; `of` and `in_place` say where instructions, by number, write."""

    kinds: list[tuple[Any, Any]] = field(default_factory=list)
    of: dict[int, int] = field(default_factory=dict)
    in_place: dict[int, str] = field(default_factory=dict)


def assign_buffers(
    instructions: Sequence[Call],
    outputs: Mapping[str, str],
    carried: Mapping[str, str],
    lasting: Iterable[str] = (),
) -> Buffers:
    """Give each writing instruction its buffer; that of a `lasting` value is not shared."""
    lasting = set(lasting)
    memory = _memory(instructions)
    last = {
        owner: index
        for index, instruction in enumerate(instructions)
        for operand in instruction.inputs
        for owner in memory.get(operand, (operand,))
    }
    # what replaces two sources is one array under both names in the next round, and must not be written over
    owners = Counter(owner for name in carried for owner in memory.get(outputs[name], (outputs[name],)))
    replaces = {outputs[name]: source for name, source in carried.items() if owners[outputs[name]] == 1}
    # a source that is itself an output keeps what it holds until the end of the round
    escaping = {owner for value in outputs.values() for owner in memory.get(value, (value,))}
    unordered = _unordered(instructions)
    pool = _Pool()
    for index, instruction in enumerate(instructions):
        read = dict.fromkeys(owner for operand in instruction.inputs for owner in memory.get(operand, (operand,)))
        dying = [name for name in read if last[name] == index and name not in lasting]
        source = replaces.get(instruction.output)
        if source in read and source not in escaping and instruction.elementwise and last[source] == index:
            pool.buffers.in_place[index] = str(source)
        elif instruction.writes and instruction.output not in escaping and instruction.output not in unordered:
            if instruction.elementwise:
                pool.release(dying)
            pool.take(index, instruction)
        pool.release(dying)
        if instruction.output not in last and instruction.output not in lasting:
            pool.release([instruction.output])
    return pool.buffers


class _Pool:
    """The buffers that are free, by kind, and those that are held, by value."""

    def __init__(self) -> None:
        self.buffers = Buffers()
        self._free: dict[Any, list[int]] = {}
        self._held: dict[Any, int] = {}

    def take(self, index: int, instruction: Call) -> None:
        kind = (instruction.kind.shape, instruction.kind.dtype)
        free = self._free.get(kind)
        if not free:
            free = [len(self.buffers.kinds)]
            self.buffers.kinds.append(kind)
        self.buffers.of[index] = self._held[instruction.output] = free.pop()

    def release(self, names: Iterable[Any]) -> None:
        for name in names:
            if name in self._held:
                buffer = self._held.pop(name)
                self._free.setdefault(self.buffers.kinds[buffer], []).append(buffer)


def _unordered(instructions: Sequence[Call]) -> set[Any]:
    """Values that may lie in memory in another order than row by row. A product of matrices never does."""
    found: set[Any] = set()
    for each in instructions:
        follows = each.function is not np.matmul and not found.isdisjoint(each.inputs)
        if len(each.kind.shape) > 1 and (each.reorders or follows):
            found.add(each.output)
    return found


def _memory(instructions: Sequence[Call]) -> dict[Any, tuple[str, ...]]:
    """For each value that may share the memory of others, those others."""
    memory: dict[Any, tuple[str, ...]] = {}
    for instruction in instructions:
        if instruction.aliases:
            owners = [memory.get(operand, (operand,)) for operand in instruction.inputs if isinstance(operand, str)]
            memory[instruction.output] = tuple(dict.fromkeys(owner for each in owners for owner in each))
    return memory
