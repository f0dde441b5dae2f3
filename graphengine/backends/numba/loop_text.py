"""A step as the text of a loop over a chunk of iterations, data and records included.

Sources, outputs and what is carried are single numbers; groups over arrays are loops over rows inside of it. The text
holds operators, the names of `NAMES` and names made here, v0 for values, x0 for columns of the data, y0 for arrays that
all iterations have: no character of it comes from a file.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphengine.backends.numba.array_ops import CASTS
from graphengine.backends.numba.expressions import expression_of
from graphengine.backends.numba.groups import grouped
from graphengine.backends.numba.parameters import GIVEN, RESULT, SCRATCH, SIZE, LoopNames, LoopParameter, indented
from graphengine.backends.numba.row_loops import rows_texts
from graphengine.backends.numba.rows_text import RowsText
from graphengine.backends.numpy.calls import is_float
from graphengine.backends.numpy.lowering import constants
from graphengine.backends.numpy.number_text import literal
from graphengine.backends.protocol import Instruction
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import Operand
from graphengine.ops.families.constants import Constant
from graphengine.ops.shapes import ArrayType

LONGEST_LOOP = 400
"""Instructions of a loop at most: what LLVM takes for a longer one grows faster than its length."""


class Line(NamedTuple):
    """What computes a value: an expression with {0}, {1} for the operands, or a loop over rows."""

    outputs: tuple[str, ...]
    text: str | RowsText
    inputs: tuple[Operand, ...]


def _other_numbers(graph: Graph, names: Iterable[Any]) -> list[str]:
    """The values that are not numbers of double precision, in words."""
    return [f"'{name}' of {graph.types[name]}" for name in names if not is_float(graph.types[name])]


def _float_constants(graph: Graph) -> dict[str, float]:
    return {name: value for name, value in constants(graph).items() if type(value) is float}


class LoopText:
    """Writes the loop of a step whose values outside of groups are numbers; `lacking` names what prevents it."""

    def __init__(self, graph: Graph, carried: Mapping[str, str], sources: Sequence[str]) -> None:
        self._graph, self._sources, self._outputs = graph, sources, graph.outputs
        self._carried = [(graph.outputs[name], of) for name, of in carried.items()]
        self.lacking = _other_numbers(graph, [*graph.outputs.values(), *carried.values()])
        self._named = LoopNames()
        self._numbers = _float_constants(graph)
        self.arrays = [name for name in sources if not is_float(graph.types[name])]
        """The sources that are arrays."""
        self._names = self._names_at_start()
        self.same_bits = True
        """Whether the loop has the bits of the NumPy backend."""
        self._lines = [] if self.lacking else list(self._made(graph))
        self.lacking = list(dict.fromkeys([*self.lacking, *self._unread()]))
        self._name_outputs()
        self._rows = [line.text for line in self._lines if isinstance(line.text, RowsText)]

    def _names_at_start(self) -> dict[str, str]:
        """The names of the sources that are numbers; constants are literals."""
        names = {name: self._named.value(name) for name in self._sources if name not in self.arrays}
        return names | {name: literal(value) for name, value in self._numbers.items()}

    def _name_outputs(self) -> None:
        for line in self._lines:
            for output in line.outputs:
                self._names.setdefault(output, self._named.value(output))

    def _made(self, graph: Graph) -> Iterator[Line]:
        if len(graph.nodes) > LONGEST_LOOP:
            self.lacking.append(f"{len(graph.nodes)} instructions, more than {LONGEST_LOOP}")
            return
        items = grouped(graph, fewest=0)
        for each in rows_texts(graph, items, {}, self._named):
            yield self._computed(each) if isinstance(each, Instruction) else self._looped(each)

    def _looped(self, rows: RowsText) -> Line:
        members = [each.instruction for each in rows.group.members]
        self.same_bits &= not any(each.fold for each in rows.group.members)
        read = dict.fromkeys(itertools.chain.from_iterable(each.values for each in members))
        return Line(tuple(each.outputs[0] for each in members), rows, tuple(read))

    def _computed(self, each: Instruction) -> Line:
        inputs: Any = [self._numbers.get(of, of) if isinstance(of, str) else of for of in each.inputs]
        found = expression_of(each._replace(inputs=tuple(inputs)))
        if found is not None:
            self.same_bits &= found.same_bits
            return Line(each.outputs, found.text, each.inputs)
        if not (isinstance(each.node, Constant) and each.outputs[0] in self._names):
            self.lacking.append(_described(each))
        return Line((), "", ())

    def _unread(self) -> Iterator[str]:
        """The sources that are arrays and read by what is not a group."""
        for line in self._lines:
            if not isinstance(line.text, RowsText):
                yield from _other_numbers(self._graph, filter(self.arrays.__contains__, line.inputs))

    # ------------------------------------------------------------ parameters

    def parameters(self, fed: Sequence[str]) -> list[tuple[ArrayType, bool]]:
        """The types of the parameters of the loop, and whether each is only read."""
        columns = [self._graph.types[name]._replace(shape=("N", *self._graph.types[name].shape)) for name in fed]
        kept = [self._graph.types[name] for name in self.arrays if name not in fed]
        return [*OWN, *((kind, True) for kind in [*columns, *kept]), *((each.kind, False) for each in self.memory)]

    @property
    def sizes(self) -> list[int]:
        """The sizes that the loops over rows have."""
        return [each.value for each in self._parameters if each.role == SIZE]

    @property
    def memory(self) -> list[LoopParameter]:
        """The arrays that the loops over rows write."""
        return [each for each in self._parameters if each.role in (RESULT, SCRATCH)]

    @property
    def _parameters(self) -> list[LoopParameter]:
        """What the loops over rows are called with, one after the other."""
        return list(itertools.chain.from_iterable(rows.parameters for rows in self._rows))

    # ------------------------------------------------------------ text

    def loop(self, fed: Sequence[str], recorded: Sequence[str]) -> str:
        """The loop: `given` are the other numbers and, when it ends, the carried ones have their last values there.

        What only a record needs is computed only for one.
        """
        kept = self.kept(fed)
        columns = {name: f"x{place}" for place, name in enumerate(fed)}
        arrays = {name: f"y{place}" for place, name in enumerate(self.arrays) if name not in fed}
        written = [each.name for each in self.memory]
        head = ["given", "total", "keep", "rows", "sizes", *columns.values(), *arrays.values(), *written]
        once = [
            *(f"{self._names[name]} = given[{place}]" for place, name in enumerate(kept)),
            *self._constants(arrays),
            "row = 0",
        ]
        each_time = indented(self._each_time(columns, recorded))
        at_the_end = [f"given[{place}] = {self._names[name]}" for place, name in enumerate(kept)]
        body = [*once, "for i in range(len(keep)):", *each_time, *at_the_end, "return total"]
        return "\n".join([f"def loop({', '.join(head)}):", *indented(body)]) + "\n"

    def _each_time(self, columns: Mapping[str, str], recorded: Sequence[str]) -> list[str]:
        """The lines of an iteration."""
        often, seldom = self._often_and_seldom(recorded)
        results = [self._names[self._outputs[name]] for name in recorded]
        return [
            *(f"{self._names[name]} = {column}[i]" for name, column in columns.items() if name not in self.arrays),
            *self._batches(columns),
            *often,
            f"total += {results[0]}",
            "if keep[i]:",
            *indented(seldom),
            *indented(f"rows[row, {place}] = {result}" for place, result in enumerate(results)),
            "    row += 1",
            *self._carried_on(),
        ]

    def _often_and_seldom(self, recorded: Sequence[str]) -> tuple[list[str], list[str]]:
        """The lines of each iteration, and those that only a record needs."""
        always = self._needed(recorded)
        often: list[str] = []
        seldom: list[str] = []
        for line in self._lines:
            (seldom if always.isdisjoint(line.outputs) else often).extend(self._text(line))
        return often, seldom

    def _carried_on(self) -> list[str]:
        """The line that replaces the carried numbers, all at once."""
        if not self._carried:
            return []
        values, names = zip(*self._carried, strict=True)
        return [f"{', '.join(map(self._names.__getitem__, names))} = {', '.join(map(self._names.__getitem__, values))}"]

    def kept(self, fed: Sequence[str]) -> list[str]:
        """The sources that are numbers and are not fed."""
        return [name for name in self._sources if name not in fed and name not in self.arrays]

    def _needed(self, recorded: Sequence[str]) -> set[Operand]:
        """The values that each iteration needs, whether it is recorded or not."""
        always: set[Operand] = {self._outputs[recorded[0]], *(value for value, _ in self._carried)}
        for line in reversed(self._lines):
            if not always.isdisjoint(line.outputs):
                always.update(line.inputs)
        return always

    def _constants(self, arrays: Mapping[str, str]) -> Iterator[str]:
        """What the loops over rows are called with and is the same in all iterations."""
        known, sizes = self._known(arrays), itertools.count()
        for each in self._parameters:
            if each.role == SIZE:
                yield f"{each.name} = sizes[{next(sizes)}]"
            elif each.is_constant:
                yield f"{each.name} = {CASTS[each.kind.array_dtype]}({literal(each.value)})"
            elif each.role == GIVEN and each.value in known:
                yield f"{each.name} = {known[each.value]}"

    def _known(self, arrays: Mapping[str, str]) -> dict[str, str]:
        """The names of what loops over rows read and is there before the iterations."""
        made = {each.value: each.name for each in self.memory if each.role == RESULT}
        return {**made, **arrays, **{name: self._names[name] for name in self._numbers}}

    def _batches(self, columns: Mapping[str, str]) -> Iterator[str]:
        """The batch of an iteration, for each loop over rows that reads it."""
        for each in self._parameters:
            if each.role == GIVEN and each.kind.shape and each.value in columns:
                column = columns[each.value]
                yield f"{each.name} = {column}[i if len({column}) > 1 else 0]"

    @property
    def names(self) -> dict[str, str]:
        """The values by the names that the loop has for them."""
        return {name: value for value, name in self._names.items() if value not in self._numbers}

    def _text(self, line: Line) -> list[str]:
        if isinstance(line.text, RowsText):
            return line.text.lines(0)
        operands = [self._names[of] if isinstance(of, str) else literal(of) for of in line.inputs]
        return [f"{self._names[name]} = {line.text.format(*operands)}" for name in line.outputs]


NUMBERS = ArrayType(("N",), np.dtype(np.float64))
OWN = [
    (NUMBERS, False),
    (ArrayType((), np.dtype(np.float64)), False),
    (ArrayType(("N",), np.dtype(np.bool_)), False),
    (ArrayType(("M", "N"), np.dtype(np.float64)), False),
    (ArrayType(("N",), np.dtype(np.int64)), True),
]
"""The types of `given`, `total`, `keep`, `rows` and `sizes`."""


def _described(instruction: Instruction) -> str:
    return f"{instruction.op} of {instruction.types[0]}"
