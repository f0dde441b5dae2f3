"""A prediction for one row as one compiled function: products of a row with matrices, and the loops between them.

NumPy takes about a microsecond for a call, and a small classifier eight of them beside the one product that takes time.
A product adds four rows of its matrix at a time, (x0 * w0 + x1 * w1) + (x2 * w2 + x3 * w3), to what there is, each
number in the precision of its arrays; what is left, row by row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any

import numpy as np

from graphengine.backends.numba.array_ops import CASTS
from graphengine.backends.numba.compiling import compiled
from graphengine.backends.numba.expressions import NAMES
from graphengine.backends.numba.groups import Group, grouped
from graphengine.backends.numba.parameters import GIVEN, LITERAL, SCRATCH, SIZE, LoopNames, LoopParameter, joined
from graphengine.backends.numba.row_loops import rows_texts
from graphengine.backends.numba.rows_text import RowsText
from graphengine.backends.numpy.lowering import constants
from graphengine.backends.numpy.number_text import literal
from graphengine.backends.protocol import Instruction
from graphengine.ir.graph import Graph
from graphengine.ops.shapes import ArrayType

MOST_NUMBERS = 2**18
"""Numbers of a matrix at most: of a larger one BLAS has several threads."""
MOST_LINES = 400
"""Lines at most; LLVM takes longer for them than it gains."""
NAMES_OF_ROWS = {**NAMES, "empty": np.empty}
PRODUCT = """\
x, z = flat({row}), flat({result})
z[:] = 0.0
for i in range(0, {whole}, 4):
    x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
    w0, w1, w2, w3 = {matrix}[i], {matrix}[i + 1], {matrix}[i + 2], {matrix}[i + 3]
    for j in range({columns}):
        z[j] = z[j] + ((x0 * w0[j] + x1 * w1[j]) + (x2 * w2[j] + x3 * w3[j]))
for i in range({whole}, {rows}):
    x0, w0 = x[i], {matrix}[i]
    for j in range({columns}):
        z[j] = z[j] + x0 * w0[j]"""
PRODUCTS: Mapping[str, str] = {"matmul": PRODUCT}
"""The table of the ops that multiply a row, or a vector, with a matrix."""


def one_row(graph: Graph, sources: Sequence[str]) -> OneRow | None:
    """Return the function of a graph, if it multiplies single rows and is made of arrays that loops take."""
    known = constants(graph)
    items = _items_of(graph, (*sources, *known))
    if not items:
        return None
    texts = list(rows_texts(graph, items, {}, LoopNames()))
    if not all(map(_has_arrays_alone, texts)):
        return None
    text = OneRowText(graph, texts, (*sources, *known))
    return OneRow(text, sources, graph.outputs, known) if len(text.lines) <= MOST_LINES else None


def _items_of(graph: Graph, given: Sequence[str]) -> list[Group | Instruction]:
    """Products of rows, and groups between them; nothing if there is something else, or no product."""
    if not _has_arrays_at_ends(graph, given):
        return []
    items = _items_after(graph, given)
    products = [each for each in items if isinstance(each, Instruction)]
    return items if products and all(map(_is_row_product, products)) else []


def _has_arrays_at_ends(graph: Graph, given: Sequence[str]) -> bool:
    """Whether what is given, and what it gives, are arrays that loops take, none of them both."""
    outputs = graph.outputs.values()
    kinds = [graph.types[name] for name in (*given, *outputs)]
    return all(map(_is_taken, kinds)) and set(given).isdisjoint(outputs)


def _items_after(graph: Graph, given: Sequence[str]) -> list[Group | Instruction]:
    """The items of a graph without the constants, which are given."""
    return [each for each in grouped(graph, fewest=0) if isinstance(each, Group) or each.outputs[0] not in given]


def _is_taken(kind: ArrayType) -> bool:
    """Whether a value is an array that loops take."""
    return kind.array_dtype in CASTS and kind.shape != ()


def _is_row_product(each: Instruction) -> bool:
    """Whether a row, or a vector, is multiplied with a matrix of the same dtype."""
    if each.op not in PRODUCTS or not each.is_core:
        return False
    operands: Any = each.operand_types
    row, matrix = operands
    if len(matrix.shape) != 2 or row.shape[:-1] not in ((), (1,)):
        return False
    return row.dtype == matrix.dtype == each.types[0].array_dtype and _are_numbers_of_loops(matrix)


def _are_numbers_of_loops(matrix: ArrayType) -> bool:
    """Whether a loop over a matrix pays: in the dtypes of loops, neither empty nor large."""
    numbers: int = math.prod(matrix.shape)  # type: ignore[arg-type]
    return matrix.dtype in CASTS and 0 < numbers <= MOST_NUMBERS


def _has_arrays_alone(rows: RowsText | Instruction) -> bool:
    """Whether a loop reads and writes numbers of arrays, in the dtypes of loops, and returns none."""
    if isinstance(rows, Instruction):  # a product
        return True
    are_numbers = all(each.role == SIZE or each.kind.array_dtype in CASTS for each in rows.parameters)
    return are_numbers and not (rows.totals or _calls_addresses(rows))


def _calls_addresses(rows: RowsText) -> bool:
    """Whether a loop calls functions by addresses, which are others in each process."""
    return any(each.applied for each in rows.group.members)


class OneRowText:
    """Writes the function: `arrays` are the values that it is called with, then come its results."""

    def __init__(self, graph: Graph, items: Iterable[RowsText | Instruction], arrays: Sequence[str]) -> None:
        self._graph = graph
        self.results = list(dict.fromkeys(graph.outputs.values()))
        values = dict.fromkeys([*arrays, *self.results])
        self.parameters = [(graph.types[name], name not in self.results) for name in values]
        """The types of the parameters, and whether each is only read."""
        self._names = {name: f"y{place}" for place, name in enumerate(values)}
        self.lines = joined(map(self._written, items))

    @property
    def names(self) -> dict[str, str]:
        """The values by the names that the text has for them."""
        return {name: value for value, name in self._names.items()}

    def text(self) -> str:
        """The function, which fills its results."""
        names = [f"y{place}" for place in range(len(self.parameters))]
        return "\n".join([f"def row({', '.join(names)}):", *self.lines]) + "\n"

    def _written(self, item: RowsText | Instruction) -> Iterator[str]:
        lines = self._product(item) if isinstance(item, Instruction) else self._loop(item)
        return (f"    {line}" for line in lines)

    def _loop(self, rows: RowsText) -> Iterator[str]:
        for each in rows.parameters:
            if each.role == SIZE:
                yield f"{each.name} = {each.value}"
            elif each.role == LITERAL:
                yield f"{each.name} = {CASTS[each.kind.array_dtype]}({literal(each.value)})"
            elif each.kind.shape:
                yield from self._array(each)
        yield from rows.lines(0)

    def _array(self, each: LoopParameter) -> Iterator[str]:
        """What a loop has as an array: one that is there, or new memory."""
        if each.role == SCRATCH:
            yield f"{each.name} = {_memory(each.kind)}"
            return
        if each.role != GIVEN:
            yield from self._made(each.value)
        yield f"{each.name} = {self._names[each.value]}"

    def _made(self, value: str) -> Iterator[str]:
        """Memory for a value that is not a result, under its own name."""
        if value not in self._names:
            self._names[value] = f"m{len(self._names)}"
            yield f"{self._names[value]} = {_memory(self._graph.types[value])}"

    def _product(self, each: Instruction) -> Iterator[str]:
        value, matrix = each.outputs[0], each.operand_types[1]
        assert matrix is not None
        rows, columns = map(int, matrix.shape)  # type: ignore[arg-type]
        yield from self._made(value)
        row, by = (self._names[str(operand)] for operand in each.inputs)
        sizes = {"rows": rows, "whole": rows - rows % 4, "columns": columns}
        yield from PRODUCTS[each.op].format(row=row, matrix=by, result=self._names[value], **sizes).splitlines()


def _memory(kind: ArrayType) -> str:
    return f"empty({kind.shape}, {CASTS[kind.array_dtype]})"


def _values_of(names: Sequence[str]) -> Callable[[Mapping[str, Any]], Sequence[Any]]:
    """A function that returns the values of these names."""
    # itemgetter returns the value itself for a single name
    return itemgetter(*names) if len(names) > 1 else lambda values: [values[name] for name in names]


class OneRow:
    """Computes the outputs of a graph from values for its sources, compiled when it is called first."""

    def __init__(
        self, text: OneRowText, sources: Sequence[str], outputs: Mapping[str, str], known: Mapping[str, Any]
    ) -> None:
        self.text, self._known = text, tuple(known.values())
        self._given = _values_of(sources)
        self._results: list[Any] = [(kind.shape, kind.array_dtype) for kind, is_read in text.parameters if not is_read]
        self._places = [(name, text.results.index(value)) for name, value in outputs.items()]

    @cached_property
    def _function(self) -> Callable[..., None]:
        found: Callable[..., None] = compiled(self.text.text(), "row", self.text.parameters, NAMES_OF_ROWS)
        return found

    def __call__(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the outputs; see `Program.run`."""
        results: Any = [np.empty(shape, dtype) for shape, dtype in self._results]
        try:
            self._function(*self._given(values), *self._known, *results)
        except TypeError:  # an array that does not lie in memory row by row
            given = [np.require(array, None, ["C", "A"]) for array in self._given(values)]
            self._function(*given, *self._known, *results)
        return {name: results[place] for name, place in self._places}
