"""What a loop over rows is called with, and the names that its text has for it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from graphengine.ops.shapes import ArrayType

LITERAL, SIZE, GIVEN, WRITTEN_OVER, RESULT, SCRATCH, SUMS = range(7)
"""The roles of parameters: the operands of a group are given, one of them may be written over with a result.

Each thread that runs the loop has scratch memory of its own; sums of the parts of a loop are shared."""
Dims = tuple[int, ...]
INT, FLOAT = np.dtype(np.int64), np.dtype(np.float64)


class LoopParameter(NamedTuple):
    """A number or an array that a loop is called with: its name in the text, its type, what it is.

    `value` is the number of a literal or a size, or else the name of a value of the graph.
    """

    name: str
    kind: ArrayType
    role: int
    value: Any

    @property
    def is_constant(self) -> bool:
        """Whether it is a number that is known when the loop is made."""
        return self.role in (LITERAL, SIZE)

    @property
    def nbytes(self) -> int:
        """The bytes of the array."""
        shape: Any = self.kind.shape
        return int(math.prod(shape)) * self.kind.array_dtype.itemsize

    def memory(self) -> Any:
        """Return new memory for the array."""
        shape: Any = self.kind.shape
        return np.empty(shape, self.kind.array_dtype)


class View(NamedTuple):
    """An array in the shape of the loop, with the dimensions of the loop that it has."""

    array: LoopParameter
    dims: Dims
    number: int
    sizes: str
    """What it is reshaped to; nothing if it has that shape."""
    is_run: bool
    """Whether it is as long as a run."""

    @property
    def name(self) -> str:
        """Its name as a whole."""
        return f"b{self.number}" if self.sizes else self.array.name


class LoopNames:
    """Numbers for the names of a text: each key has one."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}

    def number(self, key: Any) -> int:
        """Return the number of a key, the next one if it is new."""
        return self._numbers.setdefault(key, len(self._numbers))

    def value(self, name: str) -> str:
        """Return the name in the text of a value of the graph that is a number."""
        return f"v{self.number(name)}"


class LoopParameters:
    """The parameters of one loop, made when its text first names them."""

    def __init__(self, names: LoopNames) -> None:
        self._names = names
        self.found: dict[Any, LoopParameter] = {}

    def size(self, axes: Iterable[int], shape: tuple[int, ...]) -> str:
        """Return the name of the product of the sizes of some axes."""
        count = math.prod(shape[axis] for axis in axes)
        return self._made("n", (SIZE, tuple(axes)), ArrayType((), INT), SIZE, count).name

    def count(self, what: str, count: int) -> str:
        """Return the name of a number of parts, or of rows of a part."""
        return self._made("n", (SIZE, what), ArrayType((), INT), SIZE, count).name

    def function(self, op: str, address: int) -> str:
        """Return the name of the address of a function of NumPy."""
        return self._made("f", (SIZE, op), ArrayType((), INT), SIZE, address).name

    def literal(self, number: Any, dtype: np.dtype[Any]) -> str:
        """Return the name of a number of the graph, converted to a dtype."""
        key = (LITERAL, type(number), repr(number), dtype)
        return self._made("k", key, ArrayType((), dtype), LITERAL, number).name

    def operand(self, name: str, kind: ArrayType, *, is_replaced: bool = False) -> LoopParameter:
        """Return a value that the group reads."""
        if not kind.shape:
            return self.found.setdefault(name, LoopParameter(self._names.value(name), kind, GIVEN, name))
        return self._made("a", name, kind, WRITTEN_OVER if is_replaced else GIVEN, name)

    def result(self, name: str, kind: ArrayType) -> LoopParameter:
        """Return the memory of a result."""
        return self._made("a", (RESULT, name), kind, RESULT, name)

    def scratch(self, name: str, letter: str, shape: tuple[Any, ...], dtype: np.dtype[Any] = FLOAT) -> LoopParameter:
        """Return memory for a value while the loop runs."""
        return self._made(letter, (SCRATCH, letter, name), ArrayType(shape, dtype), SCRATCH, name)

    def sums(self, name: str, shape: tuple[Any, ...]) -> LoopParameter:
        """Return memory for the sums of the parts of a loop."""
        return self._made("p", (SUMS, name), ArrayType(shape, FLOAT), SUMS, name)

    def _made(self, letter: str, key: Any, kind: ArrayType, role: int, value: Any) -> LoopParameter:
        if key not in self.found:
            name = f"{letter}{self._names.number((id(self), key))}"
            self.found[key] = LoopParameter(name, kind, role, value)
        return self.found[key]


def indented(lines: Iterable[str], depth: int = 1) -> list[str]:
    """Lines inside of a block of Python, or of several."""
    return ["    " * depth + line for line in lines]


def joined(parts: Iterable[Iterable[str]]) -> list[str]:
    """Return the lines of several parts, one after the other."""
    return list(chain.from_iterable(parts))


def nested(loops: Sequence[str], body: Iterable[str]) -> list[str]:
    """Return lines inside of loops, each inside of the one before."""
    heads = ["    " * depth + line for depth, line in enumerate(loops)]
    return [*heads, *indented(body, len(loops))]
