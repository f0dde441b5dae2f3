"""Groups of instructions as calls of a plan: each group one call of a compiled loop, in memory that the plan provides.

The numpy backend has the memory of a plan and reuses it. So each result, and what a loop keeps between two passes over
a row, is its own call that gives memory; the loop writes there.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import chain, filterfalse
from typing import Any

import numpy as np

from graphengine.backends import protocol
from graphengine.backends.numba.compiling import compiled
from graphengine.backends.numba.expressions import NAMES
from graphengine.backends.numba.groups import Group, Span, grouped
from graphengine.backends.numba.parameters import GIVEN, RESULT, WRITTEN_OVER, LoopNames, LoopParameter
from graphengine.backends.numba.row_parts import SharedLoop
from graphengine.backends.numba.rows_text import RowsText
from graphengine.backends.numba.teams import MEMBER_AND_TEAM
from graphengine.backends.numpy.buffers import is_large
from graphengine.backends.numpy.calls import Call, is_float
from graphengine.backends.protocol import Instruction
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import Operand
from graphengine.ops.shapes import ArrayType

OBJECT = np.dtype(object)
MOST_RESULTS = 2
"""Results that are kept for use again: the one before may still be in use while the next is made."""


def fuse(graph: Graph, calls: Sequence[Call], replaced: Mapping[str, str]) -> list[Call]:
    """Return the calls of a graph with those of a group as one; `replaced` are the sources that values replace."""
    items = grouped(graph)
    if not any(isinstance(item, Group) for item in items):
        return list(calls)
    by_owner = _by_owner(graph, calls)
    found: list[Call] = []
    for item in rows_texts(graph, items, replaced):
        found += by_owner.pop(item.outputs[0], ()) if isinstance(item, Instruction) else _calls_of(item)
    return found


def _by_owner(graph: Graph, calls: Iterable[Call]) -> dict[str, list[Call]]:
    """The calls of each node, by its first result."""
    owners = {name: node.outputs[0] for node in graph.nodes for name in node.outputs}
    found: dict[str, list[Call]] = {}
    for call in calls:
        name = call.output if call.output in owners else call.output.rpartition(":")[0]
        found.setdefault(owners[name], []).append(call)
    return found


def rows_texts(
    graph: Graph, items: Sequence[Group | Instruction], replaced: Mapping[str, str], names: LoopNames | None = None
) -> Iterator[RowsText | Instruction]:
    """The items in their order, groups as texts: with one set of names for all, or each with its own."""
    readers = Counter(chain.from_iterable(map(_read, items)))
    outputs = set(graph.outputs.values())
    for item in items:
        if isinstance(item, Instruction):
            yield item
        else:
            results = _results(item, readers, outputs)
            over = _replacing(item, filterfalse(readers.__getitem__, results), replaced, outputs)
            yield RowsText(item, results, over, names or LoopNames(), is_shared=names is None)


def _replacing(group: Group, results: Iterable[str], replaced: Mapping[str, str], outputs: set[str]) -> dict[str, str]:
    """The results that a loop may write over the sources that they replace, with these."""
    sources = {name: replaced[name] for name in results if name in replaced}
    return {name: source for name, source in sources.items() if _may_replace(group, source, name, outputs)}


def _results(group: Group, readers: Mapping[Operand, int], outputs: set[str]) -> list[str]:
    """What a group computes for others: outputs, and what is read outside of it."""
    made, read = [each.output for each in group.members], _read(group)
    return [name for name in made if name in outputs or readers[name] > (name in read)]


def _read(item: Any) -> set[Operand]:
    """The values that an item reads."""
    members = [each.instruction for each in item.members] if isinstance(item, Group) else [item]
    return set().union(*[each.values for each in members])


def _may_replace(group: Group, source: str, name: str, outputs: set[str]) -> bool:
    """Whether a loop may write a result over the source that it replaces."""
    place = [each.output for each in group.members].index(name)
    is_needed = source in outputs or is_large(group.members[place].kind)
    return not is_needed and _is_read_in_time(source, group, place)


def _is_read_in_time(source: str, group: Group, place: int) -> bool:
    """Whether a loop reads a source at the elements that an instruction writes, and not after it.

    A fold and a function of NumPy read their operands after all expressions.
    """
    reads, written = _reads_of(source, group), group.members[place].span
    return bool(reads) and all(index <= place and at_once and span == written for index, at_once, span in reads)


def _reads_of(source: str, group: Group) -> list[tuple[int, bool, Span | None]]:
    """Where a group reads a value: the numbers of the instructions, whether they are expressions, the spans there."""
    return [
        (index, each.is_expression, span)
        for index, each in enumerate(group.members)
        for operand, span in zip(each.instruction.inputs, each.spans, strict=False)
        if operand == source
    ]


def _calls_of(rows: RowsText) -> list[Call]:
    """The calls of a loop: memory, the loop, its results."""
    loop = RowLoop(rows)
    replacing = {source: name for name, source in rows.over.items()}
    calls = [_memory_call(each, replacing) for each in loop.operands if each.role != GIVEN]
    made = iter(calls)
    inputs = tuple(each.value if each.role == GIVEN else next(made).output for each in loop.operands)
    whole = f"{rows.group.members[0].output}:loop"
    run = Call(loop, inputs, whole, ArrayType((len(rows.totals),), OBJECT), fills=tuple(rows.over))
    return [*calls, run, *_calls_after(loop, whole)]


def _calls_after(loop: RowLoop, whole: str) -> Iterator[Call]:
    """The calls that give arrays and numbers once the call `whole` has run a loop."""
    for each in loop.operands:
        if each.role == RESULT:
            yield Call(_second, (whole, _memory_name(each)), each.value, each.kind, aliases=True)
    for place, (name, kind) in enumerate(loop.rows.totals.items()):
        yield Call(_number(place, kind), (whole,), name, kind)


def _memory_name(parameter: LoopParameter) -> str:
    return f"{parameter.value}:{parameter.name}"


def _memory_call(parameter: LoopParameter, replacing: Mapping[str, str]) -> Call:
    """The call that gives an array to write into: that of a source that is replaced, or memory."""
    kind = parameter.kind
    if parameter.role == WRITTEN_OVER:
        source = parameter.value
        return Call(_written_over, (source,), replacing[source], kind, writes=True, elementwise=True)
    return Call(ResultMemory(parameter), (), _memory_name(parameter), kind, writes=True)


def unused(arrays: list[Any]) -> Any:
    """Return the first of some arrays that nobody else has, None if there is none.

    Whoever looks at an array, through a view of it or in another thread, has a reference to it. How many references an
    array has that nobody looks at depends on the version of Python.
    """
    for array in arrays:
        if sys.getrefcount(array) <= OWN_REFERENCES:
            return array
    return None


def _own_references() -> int:
    """The references that `unused` counts of an array that is nowhere else but in the list."""
    for array in [np.empty(1)]:
        return sys.getrefcount(array)
    raise AssertionError


OWN_REFERENCES = _own_references()
IS_LOCKED = getattr(sys, "_is_gil_enabled", lambda: True)()
"""Whether one thread runs at a time; without that, references of other threads may not be counted yet."""


class ResultMemory:
    """Gives a buffer or, where there is none, memory of a result that nobody has any more, or else new memory.

    A system gives memory page by page when it is first written, which may take longer than the loop that writes it.
    """

    def __init__(self, parameter: LoopParameter) -> None:
        self._parameter = parameter
        self._given: list[Any] = []

    @property
    def nbytes(self) -> int:
        """The bytes of results that may be used again."""
        return sum(array.nbytes for array in self._given)

    def __call__(self, out: Any) -> Any:
        """Return an array to write into."""
        if out is not None:
            return out
        found = unused(self._given)
        if found is not None:
            return found
        array = self._parameter.memory()
        if len(self._given) < MOST_RESULTS and array.nbytes < protocol.LARGE and IS_LOCKED:
            self._given.append(array)
        return array


def _written_over(source: Any, out: Any) -> Any:
    """The array that a loop writes over: the source itself, or a copy in a buffer."""
    if out is source:
        return source if source.flags.carray else np.array(source, order="C")
    if out is None:
        return np.array(source, order="C")
    np.copyto(out, source)
    return out


def _second(_whole: Any, memory: Any) -> Any:
    """The memory of a result, once the loop has run."""
    return memory


def _number(place: int, kind: ArrayType) -> Callable[[Any], Any]:
    """A total as the plan holds it: a Python float, or a NumPy scalar."""
    if is_float(kind):
        return lambda totals: totals[place]
    shape: Any = kind.shape
    dtype = kind.array_dtype
    if not shape:
        return lambda totals: dtype.type(totals[place])
    return lambda totals: np.full(shape, totals[place], dtype)


class RowLoop:
    """Runs the loop of a group, compiled when it is called first."""

    def __init__(self, rows: RowsText) -> None:
        self.rows = rows
        self.operands = rows.operands
        self._constants = [each.kind.array_dtype.type(each.value) for each in rows.parameters if each.is_constant]

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The loop as machine code."""
        kinds = [(each.kind, each.role == GIVEN) for each in self.rows.parameters]
        if not self.rows.parts:
            return partial(compiled(self.rows.text(), "loop", kinds, NAMES), *self._constants)
        loop = compiled(self.rows.text(), "loop", [*MEMBER_AND_TEAM, *kinds], NAMES, is_shared=True)
        return SharedLoop(loop, self._constants, self.operands)

    def __call__(self, *operands: Any) -> Any:
        """Run the loop; arrays that do not lie in memory row by row are copied before."""
        try:
            return self.function(*operands)
        except TypeError:
            return self.function(*map(_in_order, operands, self.operands))


def _in_order(operand: Any, parameter: LoopParameter) -> Any:
    dtype = parameter.kind.array_dtype
    return np.require(operand, dtype, ["C", "A"]) if parameter.kind.shape else dtype.type(operand)
