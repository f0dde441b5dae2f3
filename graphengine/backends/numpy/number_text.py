"""Instructions on few numbers as lines of text: each number of each small array is its own variable.

What only moves numbers, such as `slice` and `concat`, becomes another arrangement of names and no line. The text holds
operators, digits and names made here, v0 for numbers: no character of it comes from a file.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from graphengine.backends.numpy.lowering import constants
from graphengine.backends.protocol import Instruction
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import Operand
from graphengine.ops.families.constants import Constant
from graphengine.ops.families.selection import slice_index
from graphengine.ops.inference import elementwise
from graphengine.ops.shapes import ArrayType

MOST_NUMBERS = 32
"""Numbers that a value has at most."""
MOST_ADDED = 7
"""Numbers that are added up at most: NumPy adds more than these in several lanes."""

Names: TypeAlias = Any
"""An array of texts, one for each number of a value."""
Expressions: TypeAlias = Callable[[Instruction], "str | None"]
"""What gives the expression of an instruction on single numbers, with {0}, {1} for the operands, if there is one."""


class NoTextError(Exception):
    """There is no text with the bits of NumPy's arrays."""


class Expressed(str):
    """An expression that needs its own name."""

    __slots__ = ()


class NumberText:
    """Writes instructions; `names` has the names of each value's numbers, `lines` what computes them."""

    def __init__(self, expressions: Expressions) -> None:
        self._expressions = expressions
        self.names: dict[Any, Names] = {}
        self.lines: list[str] = []
        self.indent = ""
        self._numbers = itertools.count()

    def within(self) -> NumberText:
        """A text that adds to the same lines, with other names for values: that of a graph within a graph."""
        text = NumberText(self._expressions)
        text.lines, text.indent, text._numbers = self.lines, self.indent, self._numbers
        return text

    def know(self, graph: Graph) -> None:
        """Take the constants of a graph as literals."""
        self.names.update({name: literals(value) for name, value in constants(graph).items()})

    def fresh(self, kind: ArrayType) -> Names:
        """New names for the numbers of a value."""
        size = number_count(kind)
        if kind.array_dtype not in (np.float64, np.bool_) or size > MOST_NUMBERS:
            raise NoTextError
        return arranged([self.name() for _ in range(size)], kind.shape)

    def name(self) -> str:
        """A name that nothing has."""
        return f"v{next(self._numbers)}"

    def add(self, *lines: str) -> None:
        """Add lines of text."""
        self.lines += [self.indent + line for line in lines]

    def write(self, each: Instruction) -> None:
        """Write one instruction.

        Raises
        ------
        NoTextError
            There is no text with the bits of NumPy's arrays.
        """
        if isinstance(each.node, Constant):
            return
        operands = list(map(self._named, each.inputs))
        if each.is_core and each.op in WRITERS:
            results = WRITERS[each.op](each, operands)
        else:
            results = [_elementwise(each, operands, self._expressions)]
        for name, kind, texts in zip(each.outputs, each.types, results, strict=True):
            self.names[name] = self._kept(kind, texts)

    def _named(self, operand: Operand) -> Names | None:
        """The names of the numbers of an operand; None for an omitted one."""
        if operand is None:
            return None
        return self.names[operand] if isinstance(operand, str) else literals(operand)

    def _kept(self, kind: ArrayType, texts: Names) -> Names:
        """The names of a result: those that it has, and new ones for expressions."""
        names, made = texts.copy(), self.fresh(kind)
        for place in np.ndindex(texts.shape):
            if isinstance(texts[place], Expressed):
                names[place] = made[place]
                self.add(f"{names[place]} = {texts[place]}")
        return names


def number_count(kind: ArrayType) -> int:
    """How many numbers a value of known sizes has."""
    return math.prod(kind.shape)  # type: ignore[arg-type]


def arranged(texts: Sequence[str], shape: Any) -> Names:
    """Texts as an array of a shape."""
    names = np.empty(len(texts), object)
    names[:] = texts
    return names.reshape(shape)


def literals(value: Any) -> Names:
    """Numbers as literals."""
    array = np.asarray(value)
    return arranged([literal(each) for each in array.ravel().tolist()], array.shape)


def literal(number: Any) -> str:
    """A number as text that gives it back, always a double."""
    number = 0.0 if number is None else float(number)
    digits = repr(number)
    return digits if math.isfinite(number) and not digits.startswith("-") else f"({digits})"


def _elementwise(each: Instruction, operands: Sequence[Any], expressions: Expressions) -> Names:
    """An expression for each number of the result."""
    alone = each._replace(
        operand_types=tuple(map(_of_one_number, each.operand_types)), types=tuple(map(_of_one_number, each.types))
    )
    text = expressions(alone)
    if text is None or type(each.node).infer is not elementwise:
        raise NoTextError
    shape: Any = each.types[0].shape
    texts = [np.broadcast_to(literals(0.0) if of is None else of, shape).flat for of in operands]
    return arranged([Expressed(text.format(*row)) for row in zip(*texts, strict=True)], shape)


def _of_one_number(kind: Any) -> Any:
    return kind and kind._replace(shape=())


def _moved(each: Instruction, operands: Sequence[Any]) -> list[Names]:
    """The names in another order: the op itself is asked where each number goes."""
    names: list[Any] = []
    places: list[Any] = []
    for of in operands:
        if of is None:
            places.append(None)
        else:
            places.append(np.arange(len(names), len(names) + of.size).reshape(of.shape))
            names += of.ravel().tolist()
    found: Any = each.node.forward(*places)
    results = found if isinstance(found, (tuple, list)) else [found]
    return [arranged([names[place] for place in np.ravel(of)], np.shape(of)) for of in results]


def _summed(each: Instruction, operands: Sequence[Any]) -> list[Names]:
    """The sum of a vector, from the first number to the last; NumPy starts from 0."""
    (of,) = operands
    if of.ndim > 1 or of.size > MOST_ADDED or number_count(each.types[0]) != 1:
        raise NoTextError
    total = np.empty(1, object)
    total[0] = Expressed(" + ".join([*of.flat, "0.0"]))
    return [total.reshape(each.types[0].shape)]


def _added_where(each: Instruction, operands: Sequence[Any]) -> list[Names]:
    """The names of x, and sums where `updates` are added."""
    x, updates = operands
    result = x.copy()
    chosen = slice_index(each.node, x.ndim)  # type: ignore[no-untyped-call]
    added = [Expressed(f"{one} + {other}") for one, other in zip(x[chosen].flat, updates.flat, strict=True)]
    result[chosen] = arranged(added, x[chosen].shape)
    return [result]


def _filled(number: float) -> Writer:
    """What gives one number everywhere, whatever the operand is."""
    return lambda each, _operands: [literals(np.full(each.types[0].shape, number))]


Writer: TypeAlias = Callable[[Instruction, Sequence[Any]], "list[Names]"]
WRITERS: Mapping[str, Writer] = {
    "slice": _moved,
    "concat": _moved,
    "split": _moved,
    "stack": _moved,
    "reshape": _moved,
    "transpose": _moved,
    "expand_dims": _moved,
    "squeeze": _moved,
    "broadcast_to": _moved,
    "flip": _moved,
    "zeros_like": _filled(0.0),
    "ones_like": _filled(1.0),
    "sum": _summed,
    "slice_add": _added_where,
}
"""Ops without an expression for each number: those that only move numbers, fill or add some."""
