"""What is known of a value before anything runs: its shape, its dtype and, for a shape, its content.

A size is an integer, a product of powers of symbols written as in a model file ("N", "2*M*N^3"), or None where it is
only known at run time. Two different symbols never broadcast: a model that needs two sizes to be equal says so by
using one symbol, and what broadcasts is therefore decided once, for every size.

An array has less than 2^63 elements. No size is larger, and none has more than 63 symbols, which would make as many
elements as soon as each is 2: arithmetic stops there, so no graph of a few nodes can make a size of a million digits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias, TypeGuard, get_args

import numpy as np

from graphengine.wording import shortened

Size: TypeAlias = int | str | None
Shape: TypeAlias = tuple[Size, ...]

_POWER = r"[A-Za-z_]\w*(\^[1-9][0-9]*)?"
SIZE_PATTERN = rf"^([1-9][0-9]*\*)?{_POWER}(\*{_POWER})*$"
HOW_TO_WRITE_A_SIZE = 'a size is an integer, a symbol such as "N" or a product such as "2*N" or "M*N^2"'
LARGEST_SIZE = 2**63 - 1
"""The number of elements that an array may have; NumPy counts them in 64 bits."""
MOST_AXES = 64
"""NumPy's arrays have no more dimensions."""
MOST_SYMBOLS = 63
"""Symbols of a size, each counted as often as its exponent says."""
LONGEST_SIZE = 1000
"""Characters of a size as text."""
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


class SizeError(ValueError):
    """A size that no array can have."""


class PythonNumber(Enum):
    """The dtype of a Python number, which in NumPy's promotion does not widen its partners (NEP 50)."""

    INT = "int"
    FLOAT = "float"


DType: TypeAlias = "np.dtype[Any] | PythonNumber"


class ArrayType(NamedTuple):
    """Shape and dtype of a value.

    `dtype` is a NumPy dtype, or a `PythonNumber` for a literal or a size. `content` holds the sizes of a value that is
    itself a shape or a size, so that shapes stay known through graphs that compute with them.
    """

    shape: Shape
    dtype: DType
    content: Shape | None = None

    def __str__(self) -> str:
        return f"{dtype_name(self.dtype)}{shape_text(self.shape)}"

    @property
    def array_dtype(self) -> np.dtype[Any]:
        """The dtype of the array that NumPy makes of the value."""
        if isinstance(self.dtype, PythonNumber):
            return np.dtype(np.int64 if self.dtype is PythonNumber.INT else np.float64)
        return self.dtype

    @property
    def is_differentiable(self) -> bool:
        """Whether gradients flow through the value: only floating-point numbers have gradients."""
        return self.dtype is PythonNumber.FLOAT or (isinstance(self.dtype, np.dtype) and self.dtype.kind == "f")

    @property
    def is_sized(self) -> bool:
        """Whether every size is a number."""
        return all(isinstance(size, int) for size in self.shape)

    @property
    def is_static(self) -> bool:
        """Whether it is an array with a known dtype and known sizes."""
        return isinstance(self.dtype, np.dtype) and self.is_sized

    def sized(self, sizes: Mapping[str, int]) -> ArrayType:
        """The type with numbers for symbolic sizes, 0 for one that `sizes` lacks."""
        return self._replace(shape=tuple([size_value(size, sizes) or 0 for size in self.shape]))


PYTHON_NUMBERS: dict[type, ArrayType] = {int: ArrayType((), PythonNumber.INT), float: ArrayType((), PythonNumber.FLOAT)}
"""The types of Python numbers, by class."""


def array_type(shape: Iterable[Size], dtype: Any = "float64") -> ArrayType:
    """The type of an array: its sizes (integers, or text such as "N" and "2*N") and its dtype."""
    return ArrayType(tuple(shape), np.dtype(dtype))


def dtype_name(dtype: DType) -> str:
    """The name of a dtype as a model file writes it; a Python number's is that of its type."""
    return dtype.value if isinstance(dtype, PythonNumber) else _name(dtype)


@cache
def _name(dtype: np.dtype[Any]) -> str:
    """The name of a dtype, which NumPy puts together each time."""
    return dtype.name


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


@lru_cache(maxsize=1024)
def factors(size: int | str) -> tuple[int, Mapping[str, int]]:
    """Return a size as a coefficient and the exponents of its symbols: "2*N^3" is (2, {"N": 3})."""
    if isinstance(size, int):
        return size, MappingProxyType({})
    coefficient, exponents = 1, dict[str, int]()
    for factor in size.split("*"):
        symbol, _, exponent = factor.partition("^")
        if symbol[0].isdigit():
            coefficient = int(symbol)
        else:
            exponents[symbol] = exponents.get(symbol, 0) + int(exponent or 1)
    return coefficient, MappingProxyType(exponents)


def product(sizes: Iterable[Size]) -> Size:
    """Return the product of sizes in its one canonical form, None if one of them is not known.

    Raises
    ------
    SizeError
        If no array can have so many elements, other axes of size 0 or not.
    """
    coefficient, exponents, is_empty = 1, dict[str, int](), False
    for size in sizes:
        if size is None:
            return None
        number, symbols = factors(size)
        is_empty |= number == 0
        coefficient *= number or 1
        for symbol, exponent in symbols.items():
            exponents[symbol] = exponents.get(symbol, 0) + exponent
        if abs(coefficient) > LARGEST_SIZE or sum(exponents.values()) > MOST_SYMBOLS:
            raise _too_large(coefficient, exponents)
    if is_empty or not exponents:
        return 0 if is_empty else coefficient
    return _product_text(coefficient, exponents)


def _product_text(coefficient: int, exponents: Mapping[str, int]) -> str:
    powers = [symbol if exponent == 1 else f"{symbol}^{exponent}" for symbol, exponent in sorted(exponents.items())]
    text = "*".join([str(coefficient)] * (coefficient != 1) + powers)
    if len(text) > LONGEST_SIZE:
        raise SizeError(f"a size has at most {LONGEST_SIZE} characters as text, not {len(text)}")
    return text


@lru_cache(maxsize=1024)
def require_possible(shape: Shape) -> None:
    """Refuse a shape that no array has.

    Raises
    ------
    ValueError
        If a size is negative, or if there are too many dimensions.
    SizeError
        If there would be too many elements.
    """
    if any(isinstance(size, int) and size < 0 for size in shape):
        raise ValueError(f"its result would have the shape {shape_text(shape)}")
    if len(shape) > MOST_AXES:
        raise ValueError(f"its result would have {len(shape)} dimensions, an array has at most {MOST_AXES}")
    product(shape)


def _too_large(coefficient: int, exponents: Mapping[str, int]) -> SizeError:
    """The error for a product that is beyond one of its bounds."""
    if sum(exponents.values()) <= MOST_SYMBOLS:
        return SizeError(f"an array has at most 2^63 - 1 elements, not {shortened(str(coefficient), 40)}")
    count = shortened(str(sum(exponents.values())), 40)
    text = "*".join([f"{symbol}^{exponent}" for symbol, exponent in sorted(exponents.items())])
    return SizeError(f"a size has at most {MOST_SYMBOLS} symbols, not {count}: {shortened(text, 200)}")


def total(sizes: Iterable[Size]) -> Size:
    """The sum of sizes; None if it is neither a number nor a multiple of one product of symbols."""
    given = [size for size in sizes if size != 0]
    if None in given:
        return None
    parts = [factors(size) for size in given if size is not None]
    symbols = parts[0][1] if parts else {}
    if any(names != symbols for _, names in parts):
        return None
    return product([sum(coefficient for coefficient, _ in parts), *powers(symbols)])


def repeated(size: Size) -> Size:
    """Return a size without exponents: "2*N^3" is "2*N*N*N"."""
    if not isinstance(size, str):
        return size
    coefficient, exponents = factors(size)
    symbols = [symbol for symbol, exponent in exponents.items() for _ in range(exponent)]
    return "*".join([str(coefficient)] * (coefficient != 1) + symbols)


def powers(exponents: Mapping[str, int]) -> list[Size]:
    """Return the factors of a product, each a power of one symbol."""
    return [f"{symbol}^{exponent}" for symbol, exponent in exponents.items()]


def size_value(size: Size, bindings: Mapping[str, int]) -> int | None:
    """The number that a size means, None where a symbol has no value yet."""
    if size is None or isinstance(size, int):
        return size
    coefficient, exponents = factors(size)
    if any(symbol not in bindings for symbol in exponents):
        return None
    number: int = coefficient * math.prod(bindings[symbol] ** exponent for symbol, exponent in exponents.items())
    return number


def are_integers(sizes: Iterable[Any]) -> bool:
    """Whether all sizes are known."""
    return all(isinstance(size, int) for size in sizes)


def is_symbol(size: Size) -> TypeGuard[str]:
    """Whether a size is one symbol, and no product."""
    return isinstance(size, str) and "*" not in size and "^" not in size


def symbols_of(shape: Iterable[Size]) -> list[str]:
    """The symbols that occur in a shape, in order, those of each size once."""
    return [symbol for size in shape if isinstance(size, str) for symbol in factors(size)[1]]


def axes_with(symbols: set[str], shape: Shape) -> list[int]:
    """The axes whose sizes have one of these symbols; a size that is not known may have one."""
    return [axis for axis, size in enumerate(shape) if size is None or not symbols.isdisjoint(symbols_of([size]))]


def solve_size(size: str, actual: int, bindings: Mapping[str, int]) -> tuple[str, int] | None:
    """The one symbol of `size` without a value and the value that makes the size `actual`, if there is one."""
    coefficient, exponents = factors(size)
    unknown = [symbol for symbol in exponents if symbol not in bindings]
    if len(unknown) != 1:
        return None
    symbol, exponent = unknown[0], exponents[unknown[0]]
    known = coefficient * math.prod(bindings[other] ** power for other, power in exponents.items() if other != symbol)
    if known == 0 or actual % known:
        return None
    value = round((actual // known) ** (1 / exponent)) if exponent > 1 else actual // known
    return (symbol, value) if known * value**exponent == actual else None


def mismatch(declared: Mapping[str, Shape], given: Mapping[str, Shape]) -> str | None:
    """Why shapes are not the declared ones, each symbol of which means one size; None if they are.

    The given sizes may themselves be symbolic, and what is not known fits.
    """
    places = []
    for name, shape in declared.items():
        if len(shape) != len(given[name]):
            return f"input '{name}' has shape {shape_text(given[name])}; the declared shape is {shape_text(shape)}"
        places += [(name, axis, size, got) for axis, (size, got) in enumerate(zip(shape, given[name], strict=True))]
    bound: dict[str, Size] = {}
    origin: dict[str, str] = {}
    # a symbol on its own gives itself a size, which a product then has to have
    for name, axis, size, got in sorted(places, key=lambda place: not is_symbol(place[2])):
        if got is None:
            continue
        if is_symbol(size) and size not in bound:
            bound[size], origin[size] = got, name
        try:
            expected = _substituted(size, bound)
        except SizeError as error:
            return f"input '{name}' has size {got} in dimension {axis}, which {size} cannot be: {error}"
        if expected is not None and expected != got:
            return f"input '{name}' has size {got} in dimension {axis}{_expectation(size, expected, origin)}"
    return None


def _substituted(size: Size, bound: Mapping[str, Size]) -> Size:
    """A size with the sizes that its symbols have; None if one of them has none."""
    if not isinstance(size, str):
        return size
    coefficient, symbols = factors(size)
    return product([coefficient, *[bound.get(symbol) for symbol, power in symbols.items() for _ in range(power)]])


def _expectation(size: Size, expected: Size, origin: Mapping[str, str]) -> str:
    """What a size should be and why, after what it is."""
    if not isinstance(size, str):
        return f"; the declared size is {size}"
    others = ", ".join(dict.fromkeys(f"'{origin[symbol]}'" for symbol in factors(size)[1]))
    return f" ({size}), but input {others} makes {size} {expected}"


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
    """A size written in a file, in canonical form: "N*M*N" is "M*N^2" ("N*2" is not a size).

    Raises
    ------
    SizeError
        If the size is larger than an array can be, or longer than `LONGEST_SIZE`.
    ValueError
        If the text is not a symbol or a product.
    """
    if len(text) > LONGEST_SIZE:
        raise SizeError(f"a size has at most {LONGEST_SIZE} characters as text, not {len(text)}")
    if not re.match(SIZE_PATTERN, text):
        raise ValueError(f"{HOW_TO_WRITE_A_SIZE}, not {text!r}")
    return product([text])
