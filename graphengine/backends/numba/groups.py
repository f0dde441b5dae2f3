"""Groups of instructions over arrays of one shape, each of which becomes one loop over rows.

A group has a space, the shape of its largest arrays, and knows of each value along which axes of the space its
dimensions run. A reduction over the last axes gives a number for each row, which the rest of the group may use: a row
is passed over as often as it takes. What is reduced in another way is there when all rows are done.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from graphengine.backends.numba.array_ops import VIEWS, RowFold, element, fold_of
from graphengine.backends.numba.ufunc_loops import applied_function
from graphengine.backends.numpy.calls import operand_shape
from graphengine.backends.protocol import Instruction, instructions
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import Operand
from graphengine.ops.shapes import ArrayType

LONGEST_GROUP = 96
"""Instructions of a group at most."""
NEAR = 16
"""A group is open to an instruction until so many groups came after it."""
SHORTEST_RUN = 32
"""Numbers of a row at least for NumPy's function to be called on each row."""
FEWEST_NUMBERS = 2048
"""Numbers that a group computes at least: a compiled loop over fewer gains less than its call takes."""

Span: TypeAlias = tuple[int | None, ...]
"""The axis of the space that each dimension of a value runs along; None for one of size 1."""


class Member(NamedTuple):
    """An instruction of a group: an expression or a fold, with the spans of operands and result."""

    instruction: Instruction
    text: str
    fold: RowFold | None
    spans: tuple[Span | None, ...]
    span: Span
    applied: int = 0
    """The address of a function of NumPy that is called on runs, which gives no expression."""

    @property
    def is_expression(self) -> bool:
        """Whether it is computed for each element, or row, by itself."""
        return not self.fold and not self.applied

    @property
    def output(self) -> str:
        """The name of the result."""
        return self.instruction.outputs[0]

    @property
    def kind(self) -> ArrayType:
        """The type of the result."""
        return self.instruction.types[0]


@dataclass
class Group:
    """Instructions of one loop, in the order in which they run."""

    shape: tuple[int, ...]
    members: list[Member] = field(default_factory=list)
    kept: frozenset[int] = frozenset()
    """The axes that count the rows; none before a row is folded."""
    spans: dict[str, Span] = field(default_factory=dict)
    """The spans of the values that the rest of the group may use."""

    @property
    def wide(self) -> frozenset[int]:
        """The axes of the space that have more than one index."""
        return frozenset(axis for axis, size in enumerate(self.shape) if size != 1)

    @property
    def numbers(self) -> int:
        """How many numbers it computes."""
        return math.prod(self.shape) * len(self.members)

    @property
    def late(self) -> list[Member]:
        """The folds whose results are there when all rows are done."""
        return [each for each in self.members if each.fold and each.output not in self.spans]

    def pays(self, fewest: int) -> bool:
        """Whether several instructions compute at least `fewest` numbers; every group pays where that is 0."""
        return not fewest or (len(self.members) > 1 and self.numbers >= fewest)

    def takes(self, instruction: Instruction) -> bool:
        """Take an instruction whose operands are there, if it fits."""
        if len(self.members) == LONGEST_GROUP:
            return False
        fold = fold_of(instruction)
        member = self._folded(instruction, fold) if fold else self._computed(instruction)
        if member is None:
            return False
        self.members.append(member)
        return True

    def _computed(self, instruction: Instruction) -> Member | None:
        """An expression on elements of the space or on rows, or a view."""
        member = self._viewed(instruction) if instruction.op in VIEWS else self._expressed(instruction)
        if member is None or not self._agrees(instruction.inputs, member.spans):
            return None
        self.spans[member.output] = member.span
        return member

    def _viewed(self, instruction: Instruction) -> Member | None:
        span = self._seen(instruction)
        if span is None:
            return None
        operands = (self.spans.get(str(instruction.inputs[0])), *[None] * (len(instruction.inputs) - 1))
        return Member(instruction, VIEWS[instruction.op], None, operands, span)

    def _expressed(self, instruction: Instruction) -> Member | None:
        is_whole = instruction.types[0].shape == self.shape
        text = element(instruction, for_rows=not is_whole)
        if text is None:
            return self._applied(instruction)
        span = self._aligned(self.shape) if is_whole else self._of_rows(instruction)
        if span is None:
            return None
        pairs = zip(instruction.inputs, instruction.operand_types, strict=True)
        operands = tuple([_of_dimensions(span, of, kind) for of, kind in pairs])
        return Member(instruction, text, None, operands, span)

    def _applied(self, instruction: Instruction) -> Member | None:
        """A function of NumPy on all elements of rows that are known, and not short."""
        if instruction.types[0].shape != self.shape or not self._has_long_rows():
            return None
        address, span = applied_function(instruction), self._aligned(self.shape)
        return Member(instruction, "", None, (span,), span, address) if address else None

    def _has_long_rows(self) -> bool:
        return bool(self.kept) and self.shape[max(self.wide)] >= SHORTEST_RUN

    def _agrees(self, inputs: Sequence[Operand], spans: Sequence[Span | None]) -> bool:
        """Whether the values among the operands that the group computes have these spans."""
        return all(of not in self.spans or self.spans[of] == span for of, span in zip(inputs, spans, strict=True))

    def _aligned(self, shape: Any) -> Span:
        """The span of an array that is broadcast to the space."""
        first = len(self.shape) - len(shape)
        return tuple([None if size == 1 else axis for axis, size in enumerate(shape, first)])

    def _of_rows(self, instruction: Instruction) -> Span | None:
        """The span of what is computed for each row: that of its operands, else the axes that count the rows."""
        if not self.kept:
            return None
        shape: Any = instruction.types[0].shape
        if self.spans.keys().isdisjoint(instruction.inputs):
            return self._span_along(sorted(self.kept), shape)
        span = self._common_span(instruction, len(shape))
        fits = all((axis is None) == (size == 1) for axis, size in zip(span, shape, strict=True))
        return tuple(span) if fits and self._counts_rows(span) else None

    def _common_span(self, instruction: Instruction, rank: int) -> list[Any]:
        """The axes of the group along which the operands of an instruction lie together."""
        span: list[Any] = [None] * rank
        for operand in instruction.inputs:
            known: Any = self.spans.get(operand, ()) if isinstance(operand, str) else ()
            for place, axis in enumerate(known, rank - len(known)):
                span[place] = span[place] if axis is None else axis
        return span

    def _seen(self, instruction: Instruction) -> Span | None:
        """The span of a view of a value that the group computes, whose axes keep their order."""
        known, shape = self.spans.get(str(instruction.inputs[0])), instruction.types[0].shape
        if known is None or any(operand is not None for operand in instruction.inputs[1:]):
            return None
        return self._span_along(_axes_of(known), shape)

    def _span_along(self, axes: Sequence[int], shape: Any) -> Span | None:
        """The span of a shape whose dimensions, except for size 1, are these axes; None if their sizes differ."""
        fits = [self.shape[axis] for axis in axes] == [size for size in shape if size != 1]
        return _along(axes, shape) if fits else None

    def _counts_rows(self, span: Iterable[int | None]) -> bool:
        return _axes_of(span) == sorted(self.kept)

    def _folded(self, instruction: Instruction, fold: RowFold) -> Member | None:
        """A fold of arrays of the space: of rows, of columns or of all numbers."""
        if not self.wide or not all(self._is_whole(instruction, place) for place in fold.places):
            return None
        kept = self.wide.difference(fold.axes)
        span = _along(sorted(kept), instruction.types[0].shape)
        if self._folds_rows(kept):
            if self.kept not in (frozenset(), kept):
                return None
            self.kept = kept
            self.spans[instruction.outputs[0]] = span
        whole = self._aligned(self.shape)
        return Member(instruction, fold.finish, fold, (whole,) * len(fold.places), span)

    def _is_whole(self, instruction: Instruction, place: int) -> bool:
        """Whether an operand has the shape of the space and, if the group computes it, runs along all of its axes."""
        kind, span = instruction.operand_types[place], self._aligned(self.shape)
        return kind is not None and kind.shape == self.shape and self._agrees([instruction.inputs[place]], [span])

    def _folds_rows(self, kept: frozenset[int]) -> bool:
        """Whether a fold that keeps these axes has a number for each row: it folds the last axis, but not all."""
        return bool(kept) and max(self.wide) not in kept


def _along(axes: Iterable[int], shape: Any) -> Span:
    """The span of a shape whose dimensions, except for size 1, are these axes."""
    following = iter(axes)
    return tuple([None if size == 1 else next(following) for size in shape])


def _axes_of(span: Iterable[int | None]) -> list[int]:
    return [axis for axis in span if axis is not None]


def _of_dimensions(span: Span, operand: Operand, kind: ArrayType | None) -> Span | None:
    """The span of an operand that is broadcast to a result of a span; None for a literal."""
    if kind is None or not isinstance(operand, str):
        return None
    first = len(span) - len(kind.shape)
    return tuple([None if size == 1 else span[place] for place, size in enumerate(kind.shape, first)])


def grouped(graph: Graph, fewest: int | None = None) -> list[Group | Instruction]:
    """The instructions of a graph of known shapes, those that share a loop in one group, in an order to run in.

    A group computes at least `fewest` numbers, by default `FEWEST_NUMBERS`.
    """
    fewest = FEWEST_NUMBERS if fewest is None else fewest
    items: list[Group | Instruction] = []
    places: dict[Operand, int] = {}
    for each in instructions(graph):
        first = max((_earliest(items, places, of) for of in each.inputs), default=0)
        place = _place(items, each, first)
        places.update(dict.fromkeys(each.outputs, place))
    return [each for item in items for each in _unless_small(item, fewest)]


def _unless_small(item: Group | Instruction, fewest: int) -> Sequence[Group | Instruction]:
    """An item; of a group that computes too few numbers to pay its instructions."""
    if isinstance(item, Instruction) or item.pays(fewest):
        return [item]
    return [member.instruction for member in item.members]


def _earliest(items: Sequence[Group | Instruction], places: Mapping[Operand, int], operand: Operand) -> int:
    """The first item that can have an instruction that reads an operand."""
    place = places.get(operand, -1)
    item = items[place] if place >= 0 else None
    return place if isinstance(item, Group) and operand in item.spans else place + 1


def _place(items: list[Group | Instruction], instruction: Instruction, first: int) -> int:
    """The number of the item that takes an instruction, a new one if it fits nowhere."""
    for place in range(max(first, len(items) - NEAR), len(items)):
        item = items[place]
        if isinstance(item, Group) and item.takes(instruction):
            return place
    items.append(_opened(instruction))
    return len(items) - 1


def _opened(instruction: Instruction) -> Group | Instruction:
    """A group with an instruction, or the instruction if loops lack it."""
    shape = _space_of(instruction)
    if None in shape or 0 in shape:
        return instruction
    group = Group(tuple(shape))
    return group if group.wide and group.takes(instruction) else instruction


def _space_of(instruction: Instruction) -> Any:
    """The shape of what an instruction folds, or of its result."""
    return operand_shape(instruction) if fold_of(instruction) else instruction.types[0].shape


def merged_axes(group: Group) -> list[tuple[int, ...]]:
    """Return the axes of a space with more than one index; those that all values have together are one dimension."""
    first, *axes = sorted(group.wide)
    of_values = _axes_of_values(group)
    dims: list[tuple[int, ...]] = [(first,)]
    for axis in axes:
        if all((axis in there) == (dims[-1][-1] in there) for there in of_values):
            dims[-1] = (*dims[-1], axis)
        else:
            dims.append((axis,))
    return dims


def _axes_of_values(group: Group) -> set[frozenset[int | None]]:
    """The sets of axes that the values of a group have, and that of its rows."""
    spans = [span for each in group.members for span in (*each.spans, each.span) if span is not None]
    return {group.kept, *map(frozenset, spans)}


def phases_of(group: Group) -> dict[str, int]:
    """Return which loop over a row computes each elementwise value, or before which loop a number is known."""
    when: dict[str, int] = {}
    for each in group.members:
        before = [when[of] for of in each.instruction.inputs if isinstance(of, str) and of in when]
        when[each.output] = max(before, default=0) + (not each.is_expression)
    return when


def is_double(group: Group) -> bool:
    """Return whether a group computes nothing in single precision."""
    kinds = [kind for each in group.members for kind in (each.kind, *each.instruction.operand_types)]
    return all(kind is None or kind.dtype != np.float32 for kind in kinds)
