"""Which array a result is written into: a buffer shared by values that do not live at the same time.

At the last use of an input an elementwise result takes over its buffer. What leaves the plan is never in a buffer; a
value that is carried to the next round is written over what it replaces, if nothing reads that later. What NumPy may
not put row by row, because it comes from a transposed array, is in no buffer: sums over it depend on the order.

A large array is in no buffer, either, because a plan would hold it between its runs. It is made anew in each round, or
written over an operand of the round that nothing reads later, and forgotten after its last use. What a plan is given
and is large is never written over, so a caller needs no copy of it.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np

from graphengine.backends import protocol
from graphengine.backends.numpy.calls import Call
from graphengine.ops.shapes import ArrayType

Value = TypeVar("Value", str, int)


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
    large = {key for key, kind in {id(each.kind): each.kind for each in instructions}.items() if is_large(kind)}
    if not large and not any(each.writes for each in instructions):
        return Buffers()  # all are numbers
    assignment = _Assignment(instructions, outputs, carried, lasting)
    if large:
        assignment.leave_out(large)
    return assignment.buffers()


class _Numbered(NamedTuple):
    """A call with the values that it reads and gives as numbers, in the order in which they occur.

    What is known of values that occur together is then side by side in memory. By name it would be anywhere, and in a
    plan of 100,000 calls nearly each look would miss the caches.
    """

    call: Call
    inputs: tuple[int, ...]
    output: int


def _numbered(instructions: Iterable[Call], number: Mapping[str, int]) -> list[_Numbered]:
    """The calls with numbers; `number` gives a new one to each name that it is asked for."""
    return [_Numbered(each, tuple([number[of] for of in each.values]), number[each.output]) for each in instructions]


class _Assignment:
    """Which buffer each call writes into, decided in the order in which they run.

    The memory of a value is that of its owners: of a view, what it is a view of.
    """

    def __init__(
        self,
        instructions: Sequence[Call],
        outputs: Mapping[str, str],
        carried: Mapping[str, str],
        lasting: Iterable[str],
    ) -> None:
        number: defaultdict[str, int] = defaultdict(itertools.count().__next__)
        calls = _numbered(instructions, number)
        given = {name: number[value] for name, value in outputs.items()}
        ends = [number[value] for value in lasting]
        self._instructions, self._ends = calls, {*ends, *given.values()}
        self._memory = memory_of((each.call.aliases, each.inputs, each.output) for each in calls)
        self._lasting = self._owners_of(ends)
        # what replaces two sources is one array under both names in the next round, and must not be written over
        owners = Counter(owner for name in carried for owner in self._owners(given[name]))
        self._replaces = {given[name]: number[source] for name, source in carried.items() if owners[given[name]] == 1}
        # a source that is itself an output keeps what it holds until the end of the round
        self._escaping = self._owners_of(given.values())
        self._unordered = _unordered(calls)
        self._buffered = {each.output for each in calls if each.call.writes}.union(self._memory)
        self._last = self._last_reads()
        self._large: Mapping[int, Any] = {}
        self._pool = _Pool()
        self._names = list(number)

    def _owners(self, value: int) -> tuple[int, ...]:
        return self._memory.get(value, (value,))

    def _owners_of(self, values: Iterable[int]) -> set[int]:
        return {owner for value in values for owner in self._owners(value)}

    def _last_reads(self) -> dict[int, int]:
        """The number of the call that is the last one to read each value that may be in a buffer."""
        tracked, memory = self._buffered.union(self._replaces.values()), self._memory
        return {
            owner: index
            for index, instruction in enumerate(self._instructions)
            if not tracked.isdisjoint(instruction.inputs)
            for value in instruction.inputs
            for owner in memory.get(value, (value,))
        }

    def leave_out(self, kinds: Collection[int]) -> None:
        """Let values of large types, known by their identity, be in no buffer.

        They are written over others, and forgotten after their last use.
        """
        self._large = {each.output: each.call.kind[:2] for each in self._instructions if id(each.call.kind) in kinds}
        kept = self._escaping | self._unordered | self._lasting
        last = {value: index for value, index in self._last.items() if value not in kept}
        over = _written_over(self._instructions, self._large, last)
        self._pool.buffers.in_place = {index: self._names[value] for index, value in over.items()}
        self._pool.buffers.last = _last_uses(self._instructions, self._ends)

    def buffers(self) -> Buffers:
        """Go through the calls, and give what was decided."""
        for index, instruction in enumerate(self._instructions):
            if instruction.call.writes or not self._buffered.isdisjoint(instruction.inputs):  # others need none
                self._place(index, instruction)
        return self._pool.buffers

    def _place(self, index: int, instruction: _Numbered) -> None:
        call, dying = instruction.call, self._dying(index, instruction)
        output, source = instruction.output, self._replaces.get(instruction.output)
        if output in self._large:
            pass  # in no buffer
        elif source in dying and source not in self._escaping and call.elementwise:
            self._pool.buffers.in_place[index] = self._names[source]
        elif self._takes_buffer(instruction):
            if call.elementwise:
                self._pool.release(dying)
            self._pool.take(index, instruction)
        self._pool.release(dying)
        if output not in self._last and output not in self._lasting:
            self._pool.release([output])

    def _dying(self, index: int, instruction: _Numbered) -> list[int]:
        """What nobody reads after an instruction."""
        memory = self._memory
        read = dict.fromkeys([owner for value in instruction.inputs for owner in memory.get(value, (value,))])
        return [value for value in read if self._last.get(value) == index and value not in self._lasting]

    def _takes_buffer(self, instruction: _Numbered) -> bool:
        """Whether an instruction can write its result into a buffer, and nobody keeps it."""
        output = instruction.output
        return instruction.call.writes and output not in self._escaping and output not in self._unordered


def _written_over(
    instructions: Sequence[_Numbered], large: Mapping[int, Any], last: Mapping[int, int]
) -> dict[int, int]:
    """The operand that each large elementwise result is written over: one of its type that nothing reads later."""
    found: dict[int, int] = {}
    for index, each in enumerate(instructions):
        if each.call.elementwise and each.output in large:
            dying = [value for value in each.inputs if value in large and last.get(value) == index]
            alike = [value for value in dying if large[value] == large[each.output]]
            if alike:
                found[index] = alike[0]
    return found


def _last_uses(instructions: Sequence[_Numbered], outputs: set[int]) -> dict[int, list[str]]:
    """The results that each instruction, by its number, is the last one to read; outputs are read at the end.

    Without what is part of an expression on scalars, which may be computed later than its place.
    """
    last = {of: index for index, each in enumerate(instructions) for of in (each.output, *each.inputs)}
    kept = outputs.union(*[each.inputs for each in instructions if each.call.scalar])
    uses: dict[int, list[str]] = {}
    for each in instructions:
        if each.output not in kept and not each.call.scalar:
            uses.setdefault(last[each.output], []).append(each.call.output)
    return uses


class _Pool:
    """The buffers that are free, by kind, and those that are held, by value."""

    def __init__(self) -> None:
        self.buffers = Buffers()
        self._free: dict[Any, list[int]] = {}
        self._held: dict[int, int] = {}

    def take(self, index: int, instruction: _Numbered) -> None:
        kind = (instruction.call.kind.shape, instruction.call.kind.dtype)
        free = self._free.get(kind)
        if not free:
            free = [len(self.buffers.kinds)]
            self.buffers.kinds.append(kind)
        self.buffers.of[index] = self._held[instruction.output] = free.pop()

    def release(self, values: Iterable[int]) -> None:
        for value in values:
            if value in self._held:
                buffer = self._held.pop(value)
                self._free.setdefault(self.buffers.kinds[buffer], []).append(buffer)


def _unordered(instructions: Sequence[_Numbered]) -> set[int]:
    """Values that may lie in memory in another order than row by row. A product of matrices never does."""
    found: set[int] = set()
    for each in instructions:
        if len(each.call.kind.shape) > 1:
            follows = each.call.function is not np.matmul and not found.isdisjoint(each.inputs)
            if each.call.reorders or follows:
                found.add(each.output)
    return found


def memory_of(calls: Iterable[tuple[bool, Iterable[Value], Value]]) -> dict[Value, tuple[Value, ...]]:
    """For each value that may share the memory of others, those others.

    Of a call it gets whether its result may do so, the values that it reads, and its result.
    """
    memory: dict[Value, tuple[Value, ...]] = {}
    for aliases, values, result in calls:
        if aliases:
            owners = [memory.get(value, (value,)) for value in values]
            memory[result] = tuple(dict.fromkeys(owner for each in owners for owner in each))
    return memory
