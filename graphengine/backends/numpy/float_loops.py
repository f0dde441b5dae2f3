"""Loops (`scan`) over few numbers on Python floats, which take a tenth of the time of NumPy's calls on short arrays.

A loop is a function of lists: a row of numbers for each step. Loops inside of it are written in place, and their rows
are lists within the rows of the outer one. Only what has the bits of NumPy's arrays is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from math import prod
from typing import Any, NamedTuple

import numpy as np

from graphengine.backends.numpy.calls import NAMES, SCALAR, is_float, is_scalar, values_of
from graphengine.backends.numpy.number_text import Names, NoTextError, NumberText, literals
from graphengine.backends.numpy.source import function_of
from graphengine.backends.protocol import Instruction, instructions
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import Operand
from graphengine.ops.families.constants import Constant
from graphengine.ops.shapes import ArrayType

MOST_LINES = 8000
"""Lines of a loop at most: Python compiles a line in about 20 microseconds."""
LINES_OF_A_CALL = 16
"""Lines for a call of NumPy at most, on average: the call takes as long as about 20 lines."""


class LoopParts(NamedTuple):
    """A loop as a backend runs it: the graph of a step, and of what is computed once `before` all steps."""

    graph: Graph
    before: Graph | None
    names: Sequence[str]
    """The names that a step has for the operands of the loop."""
    carried: Sequence[tuple[str, str]]
    """Values with the sources that they replace in the next step."""
    cut: Mapping[str, int]
    """The sequences, with the axis of the steps."""
    results: Sequence[str]
    """Values that are stacked."""
    places: Sequence[int]
    """Their places among the outputs of the node."""
    stacking: Sequence[int]
    """The axis of the steps in each stack."""
    length: int
    is_reversed: bool
    inner: Mapping[str, LoopParts]
    """The loops within a step, by the name of their first result."""

    @property
    def given(self) -> list[str]:
        """What a step reads that is the same in each step, or carried."""
        return [name for name in self.graph.inputs if name not in self.cut]

    def in_order(self, rows: str) -> str:
        """The expression of some rows in the order of the steps."""
        return f"reversed({rows})" if self.is_reversed else rows


class Rows(NamedTuple):
    """A list with a row for each step, or a list of such lists, by its name."""

    name: str
    sizes: tuple[int, ...]
    """The lengths of the lists."""
    shape: tuple[int, ...]
    """The shape of what a row is made of."""

    @property
    def width(self) -> tuple[int, ...]:
        """How many numbers a row has; none for a single one, which needs no row."""
        size = prod(self.shape)
        return () if size == 1 else (size,)


class FloatLoop:
    """A loop on Python floats; `pays` says whether it could be written, and takes less time than NumPy's calls."""

    def __init__(self, loop: LoopParts) -> None:
        self._loop, self._calls = loop, 0
        self._columns = list(_columns(loop))
        self._shapes = [(*rows.sizes, *rows.width) for rows in self._columns]
        try:
            self._text = self._written()
        except NoTextError:
            self.pays = False
        else:
            lines = self._text.count("\n")
            self.pays = lines <= min(MOST_LINES, LINES_OF_A_CALL * self._calls) and self._has_arrays()

    def _has_arrays(self) -> bool:
        """Whether there is more than single numbers, which a plan holds as Python floats anyway."""
        return bool(self._loop.inner) or any(kind.shape != () for kind in self._loop.graph.types.values())

    def _written(self) -> str:
        text, loop = NumberText(on_floats), self._loop
        text.indent = "    "
        numbers = {name: text.fresh(loop.graph.types[name]) for name in loop.given}
        text.lines.append(f"def steps({', '.join(['given', *(each.name for each in self._columns)])}):")
        text.add(f"[{_listed(numbers.values())}] = given")
        columns = dict(zip(loop.cut, self._columns, strict=True))
        last, self._lists = self._steps(loop._replace(before=None), {**numbers, **columns}, text)
        text.add(f"return [{_listed(last)}], [{', '.join(each.name for each in self._lists)}]")
        return "\n".join(text.lines) + "\n"

    def _steps(self, loop: LoopParts, given: Mapping[str, Any], outer: NumberText) -> tuple[list[Names], list[Rows]]:
        """Write a loop; the names of what is carried after it, and of the lists that it fills."""
        text, types = outer.within(), loop.graph.types
        text.names.update(given)
        text.know(loop.graph)
        if loop.before:
            text.know(loop.before)
            self._write(loop.before, loop, text)
        sources = self._begun(loop, text)
        lists = [(text.name(), value) for value in loop.results]
        text.add(*[f"{name} = []" for name, _ in lists])
        text.add(self._head(loop, text))
        text.indent += "    "
        self._write_step(loop, sources, lists, text)
        text.indent = outer.indent
        text.add(*[f"{name}.reverse()" for name, _ in lists] * loop.is_reversed)
        return sources, [_rows(name, loop.length, text.names[value], types[value]) for name, value in lists]

    def _write_step(
        self, loop: LoopParts, sources: Sequence[Names], lists: Sequence[tuple[str, str]], text: NumberText
    ) -> None:
        """Write one step: its nodes, the rows that it adds to lists, and what it carries."""
        self._write(loop.graph, loop, text)
        text.add(*[f"{name}.append({_row(text.names[value])})" for name, value in lists])
        replacing = [self._numbers(value, text) for value, _ in loop.carried]
        text.add(f"{_listed(sources)} = {_listed(replacing)}" if sources else "pass")

    def _begun(self, loop: LoopParts, text: NumberText) -> list[Names]:
        """Names for what is carried, with the values that the first step gets."""
        sources = []
        for _, source in loop.carried:
            names = text.fresh(loop.graph.types[source])
            text.add(f"{_listed([names])} = {_listed([self._numbers(source, text)])}")
            text.names[source] = names
            sources.append(names)
        return sources

    def _head(self, loop: LoopParts, text: NumberText) -> str:
        """The line that begins each step with its rows."""
        columns = {name: self._column(text.names[name], axis) for name, axis in loop.cut.items()}
        if not columns:
            return f"for _ in range({loop.length}):"
        for name, rows in columns.items():
            text.names[name] = _fresh_row(rows, loop.graph.types[name], text)
        together = _side_by_side([loop.in_order(rows.name) for rows in columns.values()])
        return f"for {', '.join([_row(text.names[name]) for name in columns])} in {together}:"

    def _column(self, whole: Any, axis: int) -> Rows:
        """A sequence as a list with a row for each step."""
        if not isinstance(whole, Rows):
            return _as_rows(whole, axis)
        if axis != 0 and whole not in self._columns:
            raise NoTextError
        return whole

    def _write(self, graph: Graph, loop: LoopParts, text: NumberText) -> None:
        """Write the nodes of a graph, loops as their own lines."""
        for each in instructions(graph):
            self._calls += not isinstance(each.node, Constant)
            inner = loop.inner.get(each.outputs[0])
            if inner:
                self._write_loop(each, inner, text)
                continue
            for operand in each.inputs:
                if isinstance(operand, str):
                    self._numbers(operand, text)
            text.write(each)

    def _write_loop(self, each: Instruction, inner: LoopParts, text: NumberText) -> None:
        operands = [text.names[of] if isinstance(of, str) else literals(of) for of in each.inputs]
        last, lists = self._steps(inner, dict(zip(inner.names, operands, strict=True)), text)
        if any(axis != 0 for axis in inner.stacking):
            raise NoTextError
        text.names.update(zip(each.outputs, last, strict=False))
        text.names.update({each.outputs[place]: rows for place, rows in zip(inner.places, lists, strict=True)})

    def _numbers(self, name: str, text: NumberText) -> Names:
        """The names of a value's numbers, which are taken out of lists where they are in some."""
        rows = text.names[name]
        if isinstance(rows, Rows):
            names = text.fresh(ArrayType((*rows.sizes, *rows.shape), np.dtype(np.float64)))
            text.add(f"{_target(names.reshape(*rows.sizes, *rows.width))} = {rows.name}")
            text.names[name] = names
        return text.names[name]

    @cached_property
    def _run(self) -> Callable[..., Any]:
        return function_of(self._text, "steps", NAMES)

    def __call__(self, sources: Mapping[str, Any], wholes: Sequence[Any], slots: Sequence[Any]) -> list[Any]:
        """Run all steps; the last values of what is carried. See `Steps.in_python`."""
        loop, types = self._loop, self._loop.graph.types
        given = list(chain.from_iterable(np.ravel(sources[name]).tolist() for name in loop.given))
        columns = [whole.reshape(shape).tolist() for whole, shape in zip(wholes, self._shapes, strict=True)]
        last, lists = self._run(given, *columns)
        for slot, made, rows in zip(slots, lists, self._lists, strict=True):
            slot[...] = np.fromiter(_flat(made, rows), slot.dtype, slot.size).reshape(slot.shape)
        numbers = iter(last)
        return [_held(numbers, types[source]) for _, source in loop.carried]


def on_floats(instruction: Instruction) -> str | None:
    """The expression of an instruction on Python floats, if it has NumPy's bits."""
    if not instruction.is_core or len(instruction.types) > 1:
        return None
    is_exact = is_scalar(instruction.op, values_of(instruction), instruction.types[0])
    return SCALAR[instruction.op][0] if is_exact else None


def _columns(loop: LoopParts) -> Iterable[Rows]:
    """The sequences of the outer loop; one that a loop inside goes through has a list in each row."""
    inner = [node for node in loop.graph.nodes if node.outputs[0] in loop.inner]
    through = {of for node in inner for of in _cut_by(loop.inner[node.outputs[0]], node.inputs)}
    for number, name in enumerate(loop.cut):
        shape: Any = loop.graph.types[name].shape
        depth = int(name in through)
        yield Rows(f"x{number}", (loop.length, *shape[:depth]), shape[depth:])


def _cut_by(loop: LoopParts, operands: Sequence[Operand]) -> list[Operand]:
    """The operands of a loop that it goes through."""
    return [of for name, of in zip(loop.names, operands, strict=True) if name in loop.cut]


def _side_by_side(lists: Sequence[str]) -> str:
    """The expression of the rows of lists, a row of each at a time."""
    return lists[0] if len(lists) == 1 else f"zip({', '.join(lists)})"


def _flat(lists: Iterable[Any], rows: Rows) -> Iterable[float]:
    """The numbers in lists of lists."""
    for _ in (*rows.sizes[1:], *rows.width):
        lists = chain.from_iterable(lists)
    return lists


def _fresh_row(rows: Rows, kind: ArrayType, text: NumberText) -> Any:
    """New names for a row: of a list where it has lists, else of its numbers."""
    return Rows(text.name(), rows.sizes[1:], rows.shape) if len(rows.sizes) > 1 else text.fresh(kind)


def _as_rows(names: Names, axis: int) -> Rows:
    """The numbers of a sequence as a list."""
    steps = np.moveaxis(names, axis, 0)
    return Rows(f"[{', '.join(map(_row, steps))}]", (len(steps),), steps.shape[1:])


def _rows(name: str, count: int, value: Any, kind: ArrayType) -> Rows:
    """The list of all that a value was, one for each step."""
    shape: Any = kind.shape
    return Rows(name, (count, *value.sizes), value.shape) if isinstance(value, Rows) else Rows(name, (count,), shape)


def _row(value: Any) -> str:
    """A row: a list that there is, or the numbers of a value, a single one by itself."""
    if isinstance(value, Rows):
        return value.name
    texts = np.ravel(value).tolist()
    return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"


def _target(names: Names) -> str:
    """What takes numbers out of lists of lists."""
    return f"[{', '.join(map(_target, names))}]" if isinstance(names, np.ndarray) else str(names)


def _listed(values: Iterable[Names]) -> str:
    """The names of the numbers of some values."""
    return ", ".join([name for names in values for name in names.flat])


def _held(numbers: Iterable[float], kind: ArrayType) -> Any:
    """The next numbers as a value of a type, as a plan holds it."""
    shape: Any = kind.shape
    if is_float(kind):
        return next(iter(numbers))
    return np.array([next(iter(numbers)) for _ in range(prod(shape))], kind.array_dtype).reshape(shape)[()]
