"""The text of a group as one loop over rows.

A run is what is contiguous in memory: a row, a part of one, or 128 numbers of a vector. Elementwise expressions are a
loop over each run. A row that is folded takes a loop for what comes before and one for what comes after; what the
second needs of the first is kept in an array as long as a row. Columns, and vectors as a whole, are added up run by
run, place by place, in double precision.

The text holds operators, names of `machine_code` and `expressions`, and names made here: a0 for arrays and b0 for them
in the shape of the loop, r0 for a run and e0 for an element of one, v0 for numbers, t0 for sums of rows, c0 for sums of
columns, k0 for literals, n0 for sizes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from graphengine.backends.numba.array_ops import CASTS, RowFold, computed_in
from graphengine.backends.numba.groups import Group, Member, Span, is_double, merged_axes, phases_of
from graphengine.backends.numba.parameters import (
    FLOAT,
    SCRATCH,
    Dims,
    LoopNames,
    LoopParameter,
    LoopParameters,
    View,
    indented,
    joined,
    nested,
)
from graphengine.backends.numba.row_parts import RowParts, parts_of, rows_apart, summed
from graphengine.ops.shapes import ArrayType

TILE = 128
"""Numbers of a vector that are a run: as many sums are added up side by side."""


class RowsText:
    """Writes the loop of a group; `results` are the values that are needed outside of it.

    `over` maps results to operands of the group that they are written over. Threads may share the loop if `is_shared`.
    """

    def __init__(
        self,
        group: Group,
        results: Sequence[str],
        over: Mapping[str, str],
        names: LoopNames,
        *,
        is_shared: bool = False,
    ) -> None:
        self.group, self._names, self._results = group, names, list(results)
        self._members = {each.output: each for each in group.members}
        self._dims = merged_axes(group)
        self._last = len(self._dims) - 1
        self._rows = self._dims_of(group.kept)
        self._inner = self._within_rows(range(self._last))
        self._after = group.late
        self._tiled = self._last == 0 and bool(self._after)
        self._when = phases_of(group)
        self._phases = self._count_phases()
        self.over = dict(over) if self._phases == 1 else {}
        self.totals = {each.output: each.kind for each in self._after if not self._dims_of(each.span)}
        """The results that are numbers, in the order in which they are returned, with their types."""
        self._wide = is_double(group)
        self.parts = self._shared_parts(is_shared=is_shared)
        """The parts of the rows, if threads share them."""
        self._stored = {*self._results, *self._kept_values()}
        self._parameters = LoopParameters(names)
        self._views: dict[Any, View] = {}
        self._lines = list(self._written())

    @property
    def parameters(self) -> list[LoopParameter]:
        """What the loop is called with, the constants first."""
        return sorted(self._parameters.found.values(), key=lambda each: not each.is_constant)

    @property
    def operands(self) -> list[LoopParameter]:
        """The parameters that are not constants."""
        return [each for each in self.parameters if not each.is_constant]

    @property
    def names(self) -> dict[str, str]:
        """The values, arrays and numbers, by the names that the text has for them."""
        text = self.text()
        arrays = {each.name: str(each.value) for each in self.operands}
        numbers = {self._names.value(name): name for name in self._members}
        names = {**arrays, **self._functions(), **numbers}
        return {name: value for name, value in names.items() if re.search(rf"\b{name}\b", text)}

    def _functions(self) -> dict[str, str]:
        """The ops of the functions that are applied to runs, by the names of these."""
        applied = [each for each in self.group.members if each.applied]
        names = [self._parameters.function(each.instruction.op, each.applied) for each in applied]
        return {name: each.instruction.op for name, each in zip(names, applied, strict=True)}

    def lines(self, indent: int) -> list[str]:
        """The lines of the loop."""
        return ["    " * indent + line for line in self._lines]

    def text(self) -> str:
        """The loop as a function of its parameters that returns the totals."""
        totals = "".join(f"{self._names.value(name)}, " for name in self.totals)
        names = ["member", "team"] * bool(self.parts) + [each.name for each in self.parameters]
        head = f"def loop({', '.join(names)}):"
        return "\n".join([head, *self.lines(1), *[f"    return ({totals})"] * bool(totals)]) + "\n"

    # ------------------------------------------------------------ what is known before

    def _dims_of(self, axes: Container[int | None]) -> Dims:
        return tuple(number for number, (first, *_) in enumerate(self._dims) if first in axes)

    def _within_rows(self, dims: Iterable[int]) -> Dims:
        """The dimensions that do not count the rows."""
        return tuple(dim for dim in dims if dim not in self._rows)

    def _shared_parts(self, *, is_shared: bool) -> RowParts | None:
        """The parts of the rows, if all sums over rows are over rows of all parts."""
        if not is_shared or not self._rows or self._sums_within_rows():
            return None
        (rows,) = self._lengths(self._rows[:1])
        return parts_of(rows, math.prod(self.group.shape), self.group.numbers)

    def _sums_within_rows(self) -> bool:
        """Whether a sum over rows has a number for each of the first of them."""
        return any(self._rows[0] in self._dims_of(each.span) for each in self._after)

    def _is_whole(self, member: Member) -> bool:
        """Whether there is a value for each element of the space."""
        return not member.fold and len(self._dims_of(member.span)) == len(self._dims)

    def _phase_of(self, member: Member) -> int | None:
        """The number of the loop over a row that an instruction is part of; None if there is one for each row."""
        if member.fold or member.applied:
            return self._when[member.output] - 1
        return self._when[member.output] if self._is_whole(member) else None

    def _kept_values(self) -> Iterator[str]:
        """The elementwise values that are read after the loop that computes them."""
        for each in self.group.members:
            if self._phase_of(each) is not None:
                yield from (made.output for made in self._elements_read(each) if self._is_read_later(made, each))

    def _elements_read(self, member: Member) -> Iterator[Member]:
        """The elementwise values of the group among the operands of an instruction."""
        operands = [self._members[of] for of in member.instruction.inputs if of in self._members]
        return filter(self._is_whole, operands)

    def _is_read_later(self, made: Member, reader: Member) -> bool:
        """Whether another loop reads an elementwise value than the one that computes it."""
        beside = reader in self._after and self._wide
        has_own_loop = reader.applied or (reader.fold and not beside)
        return bool(has_own_loop) or self._when[made.output] < (self._phase_of(reader) or 0)

    # ------------------------------------------------------------ arrays

    def _size(self, dim: int) -> str:
        return self._parameters.size(self._dims[dim], self.group.shape)

    def _lengths(self, dims: Iterable[int]) -> tuple[int, ...]:
        return tuple(math.prod(self.group.shape[axis] for axis in self._dims[dim]) for dim in dims)

    def _view(self, array: LoopParameter, dims: Dims, *, is_run: bool = False) -> View:
        has_shape = array.kind.shape == self._lengths(dims) or (len(array.kind.shape) == 1 and len(dims) < 2)
        sizes = "" if has_shape else self._sizes(dims)
        number = self._names.number((id(self), array.name, dims))
        return self._views.setdefault((array.name, dims), View(array, dims, number, sizes, is_run))

    def _sizes(self, dims: Dims) -> str:
        return ", ".join(map(self._size, dims)) or "1"

    def _array(self, name: str, span: Span) -> View:
        """The array that has the numbers of an operand, of a result, or those of one row."""
        made, dims = self._members.get(name), self._dims_of(span)
        if made is None:
            return self._view(self._parameters.found[name], dims)
        if name in self.over:
            return self._view(self._parameters.operand(self.over[name], made.kind, is_replaced=True), dims)
        if name in self._results:
            return self._view(self._parameters.result(name, made.kind), dims)
        return self._of_one_row(made, self._within_rows(dims))

    def _of_one_row(self, made: Member, dims: Dims) -> View:
        """An array that each row, or each run of a vector, writes anew."""
        shape = (TILE,) if self._tiled else self._lengths(dims)
        dtype = made.kind.array_dtype
        if self.parts:
            array = _one_of(self._parameters.scratch(made.output, "p", (1, *shape), dtype), "a")
        else:
            array = self._parameters.scratch(made.output, "a", shape, dtype)
        return self._view(array, dims, is_run=self._tiled)

    def _run(self, view: View) -> str:
        """The name of a run of an array."""
        return f"r{view.number}" if (self._tiled and not view.is_run) or len(view.dims) > 1 else view.name

    def _element(self, view: View) -> str:
        """An element of an array, of a run or the only one."""
        return f"{self._run(view)}[j]" if self._last in view.dims else f"e{view.number}"

    # ------------------------------------------------------------ expressions

    def _operand(self, member: Member, place: int) -> str:
        operand = member.instruction.inputs[place]
        if not isinstance(operand, str):
            return self._literal(operand, member)
        made, span = self._members.get(operand), member.spans[place] or ()
        if made is None:
            return self._given(operand, member.instruction.operand_types[place], span)
        if self._is_variable(made, member):
            return self._names.value(operand)
        return self._element(self._array(operand, span))

    def _literal(self, operand: Any, member: Member) -> str:
        """A number in the dtype of an expression; nothing for an omitted operand, which no expression has."""
        dtype = computed_in(member.instruction)
        return self._parameters.literal(operand, dtype) if dtype else ""

    def _is_variable(self, made: Member, reader: Member) -> bool:
        """Whether an instruction reads a value where it has just been computed, not in an array."""
        return bool(made.fold) or self._phase_of(made) in (None, self._phase_of(reader))

    def _given(self, operand: str, kind: ArrayType | None, span: Span) -> str:
        """An operand that another instruction computed, or the caller gives."""
        assert kind is not None
        given = self._parameters.operand(operand, kind, is_replaced=operand in self.over.values())
        return self._element(self._array(operand, span)) if kind.shape else given.name

    def _computed(self, member: Member) -> list[str]:
        """The lines of an expression, with one that stores its value if it is read elsewhere."""
        operands = [self._operand(member, place) for place in range(len(member.instruction.inputs))]
        value = self._names.value(member.output)
        return [f"{value} = {member.text.format(*operands)}", *self._storing(member, value)]

    def _storing(self, member: Member, value: str) -> Iterator[str]:
        if member.output in self._stored:
            yield f"{self._place(member)} = {value}"

    def _place(self, member: Member) -> str:
        """The element of an array where the value of an instruction is stored."""
        view = self._array(member.output, member.span)
        is_row = self._phase_of(member) is None or member.fold
        return f"{view.name}[{_indices(self._rows)}]" if is_row else self._element(view)

    # ------------------------------------------------------------ loops

    def _written(self) -> Iterator[str]:
        cleared = joined(map(self._cleared, self._after))
        body = self._row()
        rows = nested([f"for i{dim} in range({self._range(dim)}):" for dim in self._rows], body)
        finished = joined(map(self._finished, self._after))
        yield from self._own_scratch()
        yield from self._shaped()
        yield from self._numbers(lambda dims: not dims)
        yield from self._in_parts(cleared, rows, finished) if self.parts else (*cleared, *rows, *finished)

    def _row(self) -> list[str]:
        """What is done for each row."""
        loops = joined(map(self._phase, range(self._phases)))
        after = self._row_lines(self._phases)
        return [*self._numbers(lambda dims: bool(dims) and set(dims) <= set(self._rows)), *loops, *after]

    def _shaped(self) -> Iterator[str]:
        """The lines that give arrays the shape of the loop."""
        for view in self._views.values():
            if view.sizes:
                reshaped = f"{view.array.name}.reshape({view.sizes})"
                yield f"{view.name} = {reshaped if len(view.dims) > 1 else f'flat({view.array.name})'}"

    def _own_scratch(self) -> Iterator[str]:
        """The lines that give each thread its memory for a row."""
        scratch = {view.array: view for view in self._views.values() if view.array.role == SCRATCH}
        for array, view in scratch.items() if self.parts else ():
            yield f"{array.name} = {_whole(view)}[member * {self._apart(view)}]"

    def _apart(self, view: View) -> str:
        """The name of how far apart in an array are what different threads write."""
        number = rows_apart(view.array.nbytes)
        return self._parameters.count(f"rows apart {number}", number)

    def _range(self, dim: int) -> str:
        """The rows along a dimension: of the first one those of a part, where there are parts."""
        size = self._size(dim)
        if not self.parts or dim != self._rows[0]:
            return size
        rows = self._parameters.count("rows", self.parts.length)
        return f"part * {rows}, min(part * {rows} + {rows}, {size})"

    def _in_parts(self, cleared: Sequence[str], rows: Sequence[str], finished: Sequence[str]) -> Iterator[str]:
        """The lines for each part that a thread claims, and those after all of them."""
        assert self.parts is not None
        count, columns = self._parameters.count("parts", self.parts.number), list(map(self._columns, self._after))
        sums = [f"{each.name} = {_whole(each)}[part * {self._apart(each)}]" for each in columns]
        claim = f"part = claimed(member, team, {count})"
        yield from ("offer_call(member, team)", claim, f"while part < {count}:")
        yield from indented([*sums, *cleared, *rows, claim])
        yield "withdraw_call(member, team)"
        if self._after:
            yield from self._returned_early()
            for each, member in zip(columns, self._after, strict=True):
                yield from summed(each.name, _whole(each), count, self._apart(each), _fold(member).text)
            yield from finished

    def _returned_early(self) -> list[str]:
        """The lines that end the work of a helper, which does not add up the parts."""
        nothing = "".join(f"{CASTS[kind.array_dtype]}(0.0), " for kind in self.totals.values())
        return ["if member:", f"    return ({nothing})" if nothing else "    return"]

    def _count_phases(self) -> int:
        return 1 + max(self._phase_of(each) or 0 for each in self.group.members)

    def _phase(self, phase: int) -> list[str]:
        """A loop over the runs of a row, with what there is once before it."""
        here = [each for each in self.group.members if self._phase_of(each) == phase]
        rows = [each for each in here if each.fold and each not in self._after]
        run = self._run_lines(here, rows)
        starts = [f"{self._sum(each)} = {_fold(each).start}" for each in rows]
        return [*self._row_lines(phase), *starts, *self._runs(run)]

    def _run_lines(self, members: Sequence[Member], rows: Sequence[Member]) -> list[str]:
        """What is done with a run of a row: a loop over its elements, then folds and functions of it as a whole."""
        beside, columns = self._elements(members)
        loop = nested([f"for j in range({self._length}):"], beside) if beside else []
        return [
            *loop,
            *map(self._folded, rows),
            *columns,
            *map(self._applied, [each for each in members if each.applied]),
        ]

    def _elements(self, members: Sequence[Member]) -> tuple[list[str], list[str]]:
        """The lines for each element, and those of sums down columns, which are apart in single precision."""
        elements = joined(self._computed(each) for each in members if each.is_expression)
        columns = joined(self._column(each) for each in members if each in self._after)
        return ([*elements, *columns], []) if self._wide else (elements, columns)

    def _row_lines(self, phase: int) -> list[str]:
        """What there is once for each row and is known before a loop over its runs."""
        known = [each for each in self.group.members if self._when[each.output] == phase]
        once = filter(self._is_of_row, known)
        return joined(self._total(each) if each.fold else self._computed(each) for each in once)

    def _is_of_row(self, member: Member) -> bool:
        """Whether there is a value for each row."""
        return not self._is_whole(member) and member not in self._after

    def _total(self, member: Member) -> list[str]:
        """The lines of the result of a fold of a row."""
        value = self._names.value(member.output)
        return [f"{value} = {self._result(member, self._sum(member))}", *self._storing(member, value)]

    def _runs(self, lines: Sequence[str]) -> list[str]:
        """Lines for each run of a row, with the parts of arrays and the numbers that they name."""
        if not lines:
            return []
        body = [*self._named_for(lines), *lines]
        if self._tiled:
            return self._tiles(body)
        return nested([f"for i{dim} in range({self._size(dim)}):" for dim in self._inner], body)

    def _named_for(self, lines: Iterable[str]) -> list[str]:
        """The lines that give the names which these use to parts of arrays, and to numbers."""
        named = [*self._numbers(lambda dims: not set(dims) <= set(self._rows)), *self._parts()]
        used = set(re.findall(r"\w+", "\n".join(lines)))
        return [line for line in named if line.partition(" ")[0] in used]

    def _tiles(self, lines: Sequence[str]) -> list[str]:
        """Lines for the runs of a vector, whose length is known except for the last one."""
        size, whole = self._size(0), [re.sub(r"\bm\b", str(TILE), line) for line in lines]
        rest = [f"at = {size} - {size} % {TILE}", f"m = {size} - at", *lines]
        return [*nested([f"for at in range(0, {size} - {size} % {TILE}, {TILE}):"], whole), *rest]

    @property
    def _length(self) -> str:
        return "m" if self._tiled else self._size(self._last)

    def _parts(self) -> Iterator[str]:
        """The run of each array that has longer ones."""
        for view in self._views.values():
            if self._last in view.dims and (place := self._place_of_run(view)):
                yield f"{self._run(view)} = {view.name}[{place}]"

    def _place_of_run(self, view: View) -> str:
        """Where the current run is in an array; nothing if the array is one."""
        is_longer = self._tiled and not view.is_run
        return "at:at + m" if is_longer else _indices(dim for dim in view.dims if dim != self._last)

    def _numbers(self, wanted: Callable[[Dims], bool]) -> list[str]:
        """The elements of operands that have no runs and the wanted dimensions."""
        return [
            f"e{view.number} = {view.name}[{_indices(view.dims) or 0}]"
            for view in self._views.values()
            if self._last not in view.dims and view.array.value not in self._members and wanted(view.dims)
        ]

    # ------------------------------------------------------------ folds

    def _sum(self, member: Member) -> str:
        return f"t{self._names.number(member.output)}"

    def _result(self, member: Member, text: str) -> str:
        """What a fold gives, from the number that is folded."""
        found = member.text.format(text)
        return found if member.kind.dtype == np.float64 else f"{CASTS[member.kind.array_dtype]}({found})"

    def _applied(self, member: Member) -> str:
        """The function of NumPy on a run of a row."""
        (given,), made = self._runs_of(member, (0,)), self._run(self._array(member.output, member.span))
        return f"applied({self._parameters.function(member.instruction.op, member.applied)}, {given}, {made})"

    def _folded_runs(self, member: Member) -> list[str]:
        return self._runs_of(member, _fold(member).places)

    def _runs_of(self, member: Member, places: Iterable[int]) -> list[str]:
        """The runs of operands."""
        each = member.instruction
        operands: Any = [(each.inputs[place], each.operand_types[place]) for place in places]
        for name, kind in operands:
            if name not in self._members:
                self._parameters.operand(name, kind)
        return [self._run(self._array(name, member.spans[0] or ())) for name, _ in operands]

    def _folded(self, member: Member) -> str:
        """The fold of a run of a row."""
        total = self._sum(member)
        return f"{total} = {_fold(member).function}({', '.join([*self._folded_runs(member), total])})"

    def _column(self, member: Member) -> list[str]:
        """One more number for each column: with others of single precision in its own loop, which is faster."""
        fold, place = _fold(member), self._element(self._columns(member))
        if self._wide:
            factors = [self._operand(member, place) for place in fold.places]
            return [f"{place} = {fold.text.format(place, ' * '.join(factors))}"]
        factors = [f"f8({run}[j])" for run in self._folded_runs(member)]
        line = f"{place} = {fold.text.format(place, ' * '.join(factors))}"
        return [f"for j in range({self._length}):", f"    {line}"]

    def _columns(self, member: Member) -> View:
        """The sums of a fold of columns: the result itself, if it is of double precision."""
        dims = self._dims_of(member.span)
        if not dims:
            length = (TILE,) if self._tiled else self._lengths([self._last])
            return self._view(self._sums(member, length), (self._last,), is_run=True)
        if self._is_result(member):
            return self._view(self._parameters.result(member.output, member.kind), dims)
        return self._view(self._sums(member, self._lengths(dims)), dims)

    def _sums(self, member: Member, shape: tuple[int, ...]) -> LoopParameter:
        """Memory for sums: of each part, where there are parts."""
        if not self.parts:
            return self._parameters.scratch(member.output, "c", shape)
        rows = self.parts.number * rows_apart(math.prod(shape) * FLOAT.itemsize)
        return _one_of(self._parameters.sums(member.output, (rows, *shape)), "c")

    def _is_result(self, member: Member) -> bool:
        return not self.parts and member.kind.dtype == np.float64 and member.text == "{0}"

    def _cleared(self, member: Member) -> list[str]:
        return [f"{self._columns(member).array.name}[:] = {_fold(member).start}"]

    def _finished(self, member: Member) -> list[str]:
        """What becomes of the sums of columns when all rows are done."""
        sums, fold = self._columns(member).array.name, _fold(member)
        if member.output in self.totals:
            function = fold.function if fold.function != "products" else "added"
            found = self._result(member, f"{function}({sums}, {fold.start})")
            return [f"{self._names.value(member.output)} = {found}"]
        if self._is_result(member):
            return []
        out = self._parameters.result(member.output, member.kind)
        flat, number = f"flat({out.name})", self._names.number((id(self), out.name))
        sums = f"flat({sums})" if len(self._dims_of(member.span)) > 1 else sums
        return [
            f"b{number} = {flat}",
            f"s{number} = {sums}",
            f"for j in range(len(b{number})):",
            f"    b{number}[j] = {self._result(member, f's{number}[j]')}",
        ]


def _fold(member: Member) -> RowFold:
    assert member.fold is not None
    return member.fold


def _one_of(whole: LoopParameter, letter: str) -> LoopParameter:
    """What one part has of the sums of all, or one thread of the scratch memory of all."""
    return whole._replace(name=f"{letter}{whole.name[1:]}", kind=whole.kind._replace(shape=whole.kind.shape[1:]))


def _whole(view: View) -> str:
    """The name of the sums of all parts, or of the memory of all threads, of which a view has those of one."""
    return f"p{view.array.name[1:]}"


def _indices(dims: Iterable[int]) -> str:
    return ", ".join(f"i{dim}" for dim in dims)
