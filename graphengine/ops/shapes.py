"""What is known of a value before anything runs: its shape, its dtype and, for a shape, its content.

A size is an integer, a product of symbols written as in a model file ("N", "2*N"), or None where it is only
known at run time. Two different symbols never broadcast: a model that needs two sizes to be equal says so by
using one symbol, and what broadcasts is therefore decided once, for every size.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

Size: TypeAlias = int | str | None
Shape: TypeAlias = tuple[Size, ...]

SIZE_PATTERN = r"^([1-9]\d*\*)?[A-Za-z_]\w*(\*[A-Za-z_]\w*)*$"
DTypeName: TypeAlias = Literal[
    "float64",
    "float32",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint64",
    "uint32",
    "uint16",
    "uint8",
    "bool",
]
DTYPES: tuple[str, ...] = get_args(DTypeName)


class PythonNumber(Enum):
    """The dtype of a Python number, which in NumPy's promotion does not widen its partners (NEP 50)."""

    INT = "int"
    FLOAT = "float"


class ArrayType(NamedTuple):
    """Shape and dtype of a value.

    `dtype` is a NumPy dtype, or a `PythonNumber` for a literal or a size. `content` holds the sizes of a value that is
    itself a shape or a size, so that shapes stay known through graphs that compute with them.
    """

    shape: Shape
    dtype: np.dtype[Any] | PythonNumber
    content: Shape | None = None

    def __str__(self) -> str:
        return f"{dtype_name(self.dtype)}{shape_text(self.shape)}"

    @property
    def array_dtype(self) -> np.dtype[Any]:
        """The dtype of the array that NumPy makes of such a value."""
        if isinstance(self.dtype, PythonNumber):
            return np.dtype(np.int64 if self.dtype is PythonNumber.INT else np.float64)
        return self.dtype

    @property
    def is_differentiable(self) -> bool:
        """Whether gradients flow through such a value: floating-point numbers only."""
        return self.array_dtype.kind == "f"


PYTHON_NUMBERS = {int: ArrayType((), PythonNumber.INT), float: ArrayType((), PythonNumber.FLOAT)}
"""The types of Python numbers, by class."""


def dtype_name(dtype: np.dtype[Any] | PythonNumber) -> str:
    """The name of a dtype as a model file writes it; a Python number's is that of its type."""
    return dtype.value if isinstance(dtype, PythonNumber) else dtype.name


def type_of(value: Any) -> ArrayType:
    """The type of a value that is there: an array, a NumPy scalar or a Python number."""
    if type(value) in PYTHON_NUMBERS:
        return PYTHON_NUMBERS[type(value)]
    array = np.asarray(value)
    return ArrayType(array.shape, array.dtype)


def shape_text(shape: Iterable[Size]) -> str:
    """A shape as NumPy writes it, with symbols: (N, 3), (4,), ()."""
    sizes = ["?" if size is None else str(size) for size in shape]
    return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"


def factors(size: int | str) -> tuple[int, list[str]]:
    """A size as a coefficient and its sorted symbols: "2*N" is (2, ["N"])."""
    if isinstance(size, int):
        return size, []
    parts = size.split("*")
    coefficient = int(parts.pop(0)) if parts[0].isdigit() else 1
    return coefficient, sorted(parts)


def product(sizes: Iterable[Size]) -> Size:
    """The product of sizes in its one canonical form; None if one of them is not known."""
    coefficient, symbols = 1, []
    for size in sizes:
        if size is None:
            return None
        number, names = factors(size)
        coefficient *= number
        symbols += names
    if not symbols or coefficient == 0:
        return coefficient
    return "*".join([str(coefficient)] * (coefficient != 1) + sorted(symbols))


def total(sizes: Iterable[Size]) -> Size:
    """The sum of sizes; None if it is neither a number nor a multiple of one product of symbols."""
    given = [size for size in sizes if size != 0]
    if None in given:
        return None
    parts = [factors(size) for size in given if size is not None]
    symbols = parts[0][1] if parts else []
    if any(names != symbols for _, names in parts):
        return None
    return product([sum(coefficient for coefficient, _ in parts), *symbols])


def size_value(size: Size, bindings: Mapping[str, int]) -> int | None:
    """The number a size stands for, None where a symbol has no value yet."""
    if size is None or isinstance(size, int):
        return size
    coefficient, symbols = factors(size)
    if any(symbol not in bindings for symbol in symbols):
        return None
    return coefficient * math.prod(bindings[symbol] for symbol in symbols)


def symbols_of(shape: Iterable[Size]) -> list[str]:
    """The symbols that occur in a shape, in order."""
    return [symbol for size in shape if isinstance(size, str) for symbol in factors(size)[1]]


def solve_size(size: str, actual: int, bindings: Mapping[str, int]) -> tuple[str, int] | None:
    """The one symbol of `size` without a value and the value that makes the size `actual`, if there is one."""
    coefficient, symbols = factors(size)
    unknown = [symbol for symbol in symbols if symbol not in bindings]
    if len(unknown) != 1:
        return None
    known = coefficient * math.prod(bindings[symbol] for symbol in symbols if symbol in bindings)
    if known == 0 or actual % known:
        return None
    return unknown[0], actual // known


def mismatch(declared: Mapping[str, Shape], given: Mapping[str, Shape]) -> str | None:
    """Why shapes are not the declared ones, a symbol of which stands for one size; None if they are.

    The given sizes may themselves be symbolic, and what is not known fits.
    """
    for name, shape in declared.items():
        if len(shape) != len(given[name]):
            return f"input '{name}' has shape {shape_text(given[name])}, declared is {shape_text(shape)}"
    bound: dict[str, Size] = {}
    origin: dict[str, str] = {}
    places = [
        (name, axis, size, got)
        for name, shape in declared.items()
        for axis, (size, got) in enumerate(zip(shape, given[name], strict=True))
        if got is not None
    ]
    # a symbol on its own gives itself a size, which a product then has to have
    for name, axis, size, got in sorted(places, key=lambda place: symbols_of([place[2]]) != [place[2]]):
        coefficient, symbols = factors(size) if isinstance(size, str) else (1, [])
        if [size] == symbols and size not in bound:
            bound[size], origin[size] = got, name  # type: ignore[index]
        expected = size if not symbols else product([coefficient, *(bound.get(symbol) for symbol in symbols)])
        if expected is not None and expected != got:
            others = ", ".join(dict.fromkeys(f"'{origin[symbol]}'" for symbol in symbols))
            because = f" ({size}), but input {others} makes {size} {expected}" if symbols else f", declared is {size}"
            return f"input '{name}' has size {got} in dimension {axis}{because}"
    return None


def broadcast_shapes(shapes: Sequence[Shape]) -> Shape:
    """The shape NumPy broadcasting gives, for symbolic sizes too.

    Raises
    ------
    ValueError
        If the shapes do not broadcast for every value of their symbols.
    """
    rank = max((len(shape) for shape in shapes), default=0)
    result: list[Size] = []
    for axis in range(-rank, 0):
        sizes = {shape[axis] for shape in shapes if len(shape) >= -axis} - {1}
        if len(sizes - {None}) > 1:
            raise ValueError(_mismatch(shapes, [size for size in sizes if isinstance(size, str)]))
        known = next((size for size in sizes if size is not None), None)
        result.append(known if known is not None else (None if sizes else 1))
    return tuple(result)


def _mismatch(shapes: Sequence[Shape], symbols: list[str]) -> str:
    text = " and ".join(map(shape_text, shapes))
    if not symbols:
        return f"shapes {text} do not broadcast"
    return f"shapes {text} do not broadcast for every {' and '.join(sorted(symbols))}"


def canonical_size(text: str) -> Size:
    """A size written in a file, in canonical form ("N*2" is not a size, "M*N" and "N*M" are one).

    Raises
    ------
    ValueError
        If the text is not a symbol or a product.
    """
    if not re.match(SIZE_PATTERN, text):
        raise ValueError(f'a size is an integer, a symbol such as "N" or a product such as "2*N", not {text!r}')
    return product([text])
