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
from collections import Counter, defaultdict, deque
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


def kinds_by_id(instructions: Iterable[Call]) -> dict[int, ArrayType]:
    """Return the types of the results by their identity: a plan of 100,000 calls has few."""
    return {id(each.kind): each.kind for each in instructions}


def large_kinds(instructions: Iterable[Call]) -> set[int]:
    """Return the identities of the large types."""
    return {key for key, kind in kinds_by_id(instructions).items() if is_large(kind)}


def updates_last(instructions: list[Call], updates: set[str]) -> list[Call]:
    """Return calls with replacements of carried values last, so that they can be written over what they replace."""
    late = updates.difference(*[each.inputs for each in instructions])
    return sorted(instructions, key=lambda each: each.output in late)


def assign_buffers(
    instructions: Sequence[Call],
    outputs: Mapping[str, str],
    carried: Mapping[str, str],
    lasting: Iterable[str] = (),
) -> Buffers:
    """Give each writing instruction its buffer; that of a `lasting` value is not shared."""
    large = large_kinds(instructions)
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


class Owners(dict[Value, tuple[Value, ...]]):
    """The owners of the memory of values: of a view, what it is a view of. A value that is not here owns its own."""

    def of(self, values: Iterable[Value]) -> list[Value]:
        """Return the owners of some values, each once and in their order."""
        return list(dict.fromkeys([owner for value in values for owner in self.get(value, (value,))]))


def owners_of(calls: Iterable[tuple[bool, Iterable[Value], Value]]) -> Owners[Value]:
    """The owners of the results of calls.

    Of a call it gets whether its result may share memory with what it reads, the values that it reads, and its result.
    """
    owners = Owners[Value]()
    for aliases, values, result in calls:
        if aliases:
            owners[result] = tuple(owners.of(values))
    return owners


class _Assignment:
    """Which buffer each call writes into, decided in the order in which they run."""

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
        ends = list(map(number.__getitem__, lasting))
        self._instructions, self._ends = calls, {*ends, *given.values()}
        self._owners = owners_of((each.call.aliases, each.inputs, each.output) for each in calls)
        replaced = [(given[name], number[source]) for name, source in carried.items()]
        self._replaces = _replacing_one(replaced, self._owners)
        # a source that is itself an output keeps what it holds until the end of the round
        self._escaping = set(self._owners.of(given.values()))
        self._unordered = _unordered(calls)
        self._buffered = {each.output for each in calls if each.call.writes}.union(self._owners)
        self._last = self._last_reads()
        self._last.update(dict.fromkeys(self._owners.of(ends), len(calls)))
        self._large: Mapping[int, Any] = {}
        self._pool = _Pool()
        self._names = list(number)

    def _last_reads(self) -> dict[int, int]:
        """The number of the call that is the last one to read each value that may be in a buffer."""
        tracked = self._buffered.union(self._replaces.values())
        last: dict[int, int] = {}
        for index, instruction in enumerate(self._instructions):
            if not tracked.isdisjoint(instruction.inputs):
                last.update(dict.fromkeys(self._owners.of(instruction.inputs), index))
        return last

    def leave_out(self, kinds: Collection[int]) -> None:
        """Let values of large types, known by their identity, be in no buffer.

        They are written over others, and forgotten after their last use.
        """
        self._large = {each.output: each.call.kind[:2] for each in self._instructions if id(each.call.kind) in kinds}
        kept = self._escaping | self._unordered
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
        dying = self._dying(index, instruction)
        if instruction.output not in self._large:
            self._write(index, instruction, dying)
        self._pool.release(dying)
        if instruction.output not in self._last:
            self._pool.release([instruction.output])

    def _write(self, index: int, instruction: _Numbered, dying: Sequence[int]) -> None:
        """Write a result over the source that it replaces, or into a buffer; those of `dying` are free by then."""
        over = dying if instruction.call.elementwise else ()
        source = self._replaces.get(instruction.output, -1)  # which is not a value
        if source in over and source not in self._escaping:
            self._pool.buffers.in_place[index] = self._names[source]
        elif self._takes_buffer(instruction):
            self._pool.release(over)
            self._pool.take(index, instruction)

    def _dying(self, index: int, instruction: _Numbered) -> list[int]:
        """What nobody reads after an instruction."""
        return [value for value in self._owners.of(instruction.inputs) if self._last.get(value) == index]

    def _takes_buffer(self, instruction: _Numbered) -> bool:
        """Whether an instruction can write its result into a buffer, and nobody keeps it."""
        output = instruction.output
        return instruction.call.writes and output not in self._escaping and output not in self._unordered


def _replacing_one(replaced: Sequence[tuple[int, int]], owners: Owners[int]) -> dict[int, int]:
    """The sources that carried values replace, where a value may be written over its source.

    What replaces two sources is one array under both names in the next round, and must not be.
    """
    counts = Counter(owner for value, _ in replaced for owner in owners.of([value]))
    return {value: source for value, source in replaced if counts[value] == 1}


def _written_over(
    instructions: Sequence[_Numbered], large: Mapping[int, Any], last: Mapping[int, int]
) -> dict[int, int]:
    """The operand that each large elementwise result is written over: one of its type that nothing reads later."""
    found: dict[int, int] = {}
    for index, each in enumerate(instructions):
        if each.call.elementwise and each.output in large:
            found.update((index, value) for value in _dying_alike(index, each, large, last)[:1])
    return found


def _dying_alike(index: int, each: _Numbered, large: Mapping[int, Any], last: Mapping[int, int]) -> list[int]:
    kind = large[each.output]
    return [value for value in each.inputs if large.get(value) == kind and last.get(value) == index]


def _last_uses(instructions: Sequence[_Numbered], outputs: set[int]) -> dict[int, list[str]]:
    """The results that each instruction, by its number, is the last one to read; outputs are read at the end.

    Without what is part of an expression on scalars, which may be computed later than its place.
    """
    last: dict[int, int] = {}
    for index, each in enumerate(instructions):
        last.update(dict.fromkeys((each.output, *each.inputs), index))
    kept = outputs.union(*[(each.output, *each.inputs) for each in instructions if each.call.scalar])
    uses: dict[int, list[str]] = {}
    for each in instructions:
        if each.output not in kept:
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
        if len(each.call.kind.shape) > 1 and (each.call.reorders or _follows(each, found)):
            found.add(each.output)
    return found


def _follows(instruction: _Numbered, unordered: set[int]) -> bool:
    return instruction.call.function is not np.matmul and not unordered.isdisjoint(instruction.inputs)


class Workspaces:
    """Sets of buffers of some kinds (shape, dtype): what runs takes one that no other thread uses meanwhile."""

    def __init__(self, kinds: Sequence[tuple[Any, Any]]) -> None:
        self._kinds = kinds
        self._free: deque[list[Any]] = deque()

    def take(self) -> list[Any]:
        """Return a free set, or a new one."""
        try:
            return self._free.pop()
        except IndexError:
            return [np.empty(shape, dtype) for shape, dtype in self._kinds]

    def give_back(self, buffers: list[Any]) -> None:
        """Let others use a set."""
        self._free.append(buffers)

    @property
    def nbytes(self) -> int:
        """The bytes of the free sets, and of one if there is none yet."""
        one: int = sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in self._kinds)
        return one * max(1, len(self._free))
