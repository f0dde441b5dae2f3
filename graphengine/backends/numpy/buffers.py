"""Which array a result is written into: a buffer shared by values that do not live at the same time.

At the last use of an input an elementwise result takes over its buffer. What leaves the plan is never in a buffer; a
value that is carried to the next round is written over what it replaces, if nothing reads that later. What NumPy may
not put row by row, because it comes from a transposed array, is in no buffer: sums over it depend on the order.

A large array is in no buffer, either, because a plan would hold it between its runs. It is made anew in each round, or
written over an operand of the round that nothing reads later, and forgotten after its last use. What a plan is given
and is large is never written over, so a caller needs no copy of it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphengine.backends import protocol
from graphengine.backends.numpy.calls import Call
from graphengine.ops.shapes import ArrayType


@dataclass
class Buffers:
    """`kinds` are shape and dtype of each buffer; `of` and `in_place` say where instructions, by number, write.

    `last` are the values that no instruction reads after one, by its number, where they are to be forgotten.
    """

    kinds: list[tuple[Any, Any]] = field(default_factory=list)
    of: dict[int, int] = field(default_factory=dict)
    in_place: dict[int, str] = field(default_factory=dict)
    last: dict[int, list[str]] = field(default_factory=dict)


def is_large(kind: ArrayType) -> bool:
    """Whether an array of a type is too large for a buffer."""
    shape: Any = kind.shape
    return None not in shape and kind.array_dtype.itemsize * math.prod(shape) >= protocol.LARGE


def assign_buffers(
    instructions: Sequence[Call],
    outputs: Mapping[str, str],
    carried: Mapping[str, str],
    lasting: Iterable[str] = (),
) -> Buffers:
    """Give each writing instruction its buffer; that of a `lasting` value is not shared."""
    large_kinds = {key for key, kind in {id(each.kind): each.kind for each in instructions}.items() if is_large(kind)}
    if not large_kinds and not any(each.writes for each in instructions):
        return Buffers()  # all are numbers
    assignment = _Assignment(instructions, outputs, carried, set(lasting))
    large = {each.output: each.kind[:2] for each in instructions if id(each.kind) in large_kinds}
    if large:
        assignment.leave_out(large)
    return assignment.buffers()


class _Assignment:
    """Which buffer each call writes into, decided in the order in which they run.

    The memory of a value is that of its owners: of a view, what it is a view of.
    """

    def __init__(
        self, instructions: Sequence[Call], outputs: Mapping[str, str], carried: Mapping[str, str], lasting: set[str]
    ) -> None:
        self._instructions, self._ends = instructions, lasting.union(outputs.values())
        self._memory = memory_of(instructions)
        self._lasting = {owner for value in lasting for owner in self._owners(value)}
        # what replaces two sources is one array under both names in the next round, and must not be written over
        owners = Counter(owner for name in carried for owner in self._owners(outputs[name]))
        self._replaces = {outputs[name]: source for name, source in carried.items() if owners[outputs[name]] == 1}
        # a source that is itself an output keeps what it holds until the end of the round
        self._escaping = {owner for value in outputs.values() for owner in self._owners(value)}
        self._unordered = _unordered(instructions)
        self._buffered = {each.output for each in instructions if each.writes}.union(self._memory)
        self._last = self._last_reads()
        self._large: Mapping[str, Any] = {}
        self._pool = _Pool()

    def _owners(self, operand: Any) -> Iterable[Any]:
        found: Iterable[Any] = self._memory.get(operand, (operand,))
        return found

    def _last_reads(self) -> dict[Any, int]:
        """The number of the call that is the last one to read each value that may be in a buffer."""
        tracked = self._buffered.union(self._replaces.values())
        return {
            owner: index
            for index, instruction in enumerate(self._instructions)
            if not tracked.isdisjoint(instruction.inputs)
            for operand in instruction.inputs
            for owner in self._owners(operand)
        }

    def leave_out(self, large: Mapping[str, Any]) -> None:
        """Let large values be in no buffer, but written over others, and forgotten after their last use."""
        self._large = large
        kept = self._escaping | self._unordered | self._lasting
        last = {name: index for name, index in self._last.items() if name not in kept}
        self._pool.buffers.in_place = _written_over(self._instructions, large, last)
        self._pool.buffers.last = _last_uses(self._instructions, self._ends)

    def buffers(self) -> Buffers:
        """Go through the calls, and give what was decided."""
        for index, instruction in enumerate(self._instructions):
            if instruction.writes or not self._buffered.isdisjoint(instruction.inputs):  # others need no buffer
                self._place(index, instruction)
        return self._pool.buffers

    def _place(self, index: int, instruction: Call) -> None:
        read = dict.fromkeys(owner for operand in instruction.inputs for owner in self._owners(operand))
        dying = [name for name in read if self._last.get(name) == index and name not in self._lasting]
        output, source = instruction.output, self._replaces.get(instruction.output)
        if output in self._large:
            pass  # in no buffer
        elif source in dying and source not in self._escaping and instruction.elementwise:
            self._pool.buffers.in_place[index] = str(source)
        elif instruction.writes and output not in self._escaping and output not in self._unordered:
            if instruction.elementwise:
                self._pool.release(dying)
            self._pool.take(index, instruction)
        self._pool.release(dying)
        if output not in self._last and output not in self._lasting:
            self._pool.release([output])


def _written_over(instructions: Sequence[Call], large: Mapping[str, Any], last: Mapping[Any, int]) -> dict[int, str]:
    """The operand that each large elementwise result is written over: one of its type that nothing reads later."""
    found: dict[int, str] = {}
    for index, each in enumerate(instructions):
        if each.elementwise and each.output in large:
            dying = [str(name) for name in each.inputs if name in large and last.get(name) == index]
            alike = [name for name in dying if large[name] == large[each.output]]
            if alike:
                found[index] = alike[0]
    return found


def _last_uses(instructions: Sequence[Call], outputs: set[str]) -> dict[int, list[str]]:
    """The results that each instruction, by its number, is the last one to read; outputs are read at the end.

    Without what is part of an expression on scalars, which may be computed later than its place.
    """
    last = {of: index for index, each in enumerate(instructions) for of in (each.output, *each.inputs)}
    kept = outputs.union(*[each.inputs for each in instructions if each.scalar])
    uses: dict[int, list[str]] = {}
    for each in instructions:
        if each.output not in kept and not each.scalar:
            uses.setdefault(last[each.output], []).append(each.output)
    return uses


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
        if len(each.kind.shape) > 1:
            follows = each.function is not np.matmul and not found.isdisjoint(each.inputs)
            if each.reorders or follows:
                found.add(each.output)
    return found


def memory_of(instructions: Sequence[Call]) -> dict[Any, tuple[str, ...]]:
    """For each value that may share the memory of others, those others."""
    memory: dict[Any, tuple[str, ...]] = {}
    for instruction in instructions:
        if instruction.aliases:
            owners = [memory.get(operand, (operand,)) for operand in instruction.inputs if isinstance(operand, str)]
            memory[instruction.output] = tuple(dict.fromkeys(owner for each in owners for owner in each))
    return memory
