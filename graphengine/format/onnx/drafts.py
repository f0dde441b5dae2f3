"""The graph that an import records, with what rules compute with: symbols, weights that may become parameters, arrays.

A weight is a tensor of the file. Read as a value it becomes a parameter; read as an attribute, such as the sizes of a
reshape, it stays what it is. A shape that is known in part is an array of integers and symbols.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any

import numpy as np

from graphengine.errors import InvalidModelError
from graphengine.extras import optional
from graphengine.format.narrow import Storage
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import Operand, operands_of, reachable
from graphengine.ir.recording import Recorder, Symbol
from graphengine.mappings import present
from graphengine.ops.families.shaping import quotient
from graphengine.ops.node import Node
from graphengine.ops.numbers import encode_number
from graphengine.ops.shapes import ArrayType, PythonNumber, array_type, product

WEAK = {
    *("add", "sub", "mul", "div", "pow", "maximum", "minimum", "clip"),
    *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
}
"""Ops whose result has the dtype that their operands have: a constant beside one of that dtype may be a literal."""


class Weight:
    """A tensor of floating-point numbers of the file: a parameter as soon as something computes with it."""

    def __init__(self, name: str, array: np.ndarray[Any, Any], storage: Storage | None = None) -> None:
        self.name, self.array, self.storage = name, array, storage

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype."""
        dtype: np.dtype[Any] = self.array.dtype
        return dtype


class Draft(Recorder):
    """Records the nodes of an import, and keeps the values of its parameters.

    `weights` are those that the file may train, `constants` the others; both by name. There are at most `most` nodes.
    """

    def __init__(self, dtype: str, most: int) -> None:
        self._most = most
        super().__init__(Graph("draft", {}, {}, {}, [], {}, {"": array_type((), dtype)}))
        self.onnx = optional("onnx", "onnx")
        self.inputs: dict[str, ArrayType] = {}
        self.weights: dict[str, np.ndarray[Any, Any]] = {}
        self.constants: dict[str, np.ndarray[Any, Any]] = {}
        self._same_constants: dict[Any, Symbol] = {}
        self._of_array: dict[int, tuple[np.ndarray[Any, Any], Symbol]] = {}
        self._symbols: dict[int, tuple[Weight, Symbol]] = {}
        self.storage: dict[str, Storage | None] = {}
        """The types of 16 bits that weights and inputs have in the file."""
        self.frozen: set[str] = set()
        """Weights that no training may change, such as running statistics."""
        self.doubtful: dict[str, bool] = {}
        """Values that follow from stand-ins, and whether sizes of these are guesses."""
        self.near = "value"
        """What constants of the node that is being imported are named after."""

    def declare(self, name: str, kind: ArrayType) -> Symbol:
        """Enter a value that no node computes."""
        self.types[name] = kind
        self._offer({name: kind})
        return Symbol(self, name, kind)

    def input(self, name: str, kind: ArrayType, storage: Storage | None = None) -> Symbol:
        """Enter an input."""
        self.inputs[name], self.storage[name] = kind, storage
        return self.declare(name, kind)

    def stand_in(self, kind: ArrayType) -> Symbol:
        """Return a value of a type in place of one that could not be imported; its new symbolic sizes are guesses."""
        guessed = any(isinstance(size, str) and size not in self._axes for size in kind.shape)
        symbol = self.declare(self.free("unknown"), kind)
        self.doubtful[symbol.name] = guessed
        return symbol

    def doubts(self, values: Sequence[Any]) -> list[bool]:
        """Return of each value that follows from a stand-in whether it is doubtful."""
        return [self.doubtful[each.name] for each in _symbols_in(values) if each.name in self.doubtful]

    def as_symbol(self, value: Any) -> Any:
        """Return the operand for a weight, a constant or sizes in the graph."""
        if isinstance(value, Symbol):
            return value
        if isinstance(value, Weight):
            return self._parameter(value)
        array = np.asarray(value)
        if array.dtype == object:
            return self._sizes_symbol(array)
        return self._scalar(array) if array.ndim == 0 else self._stored(array)

    def _parameter(self, weight: Weight) -> Symbol:
        """Return the one symbol of a weight."""
        if id(weight) not in self._symbols:
            self.weights[weight.name], self.storage[weight.name] = weight.array, weight.storage
            self._symbols[id(weight)] = weight, self.declare(weight.name, ArrayType(weight.array.shape, weight.dtype))
        return self._symbols[id(weight)][1]

    def inputs_of(self, value: Symbol) -> list[str]:
        """Return the inputs that a value depends on."""
        nodes = reachable(self.nodes, [value.name])
        read = {value.name} | operands_of(nodes)
        return present(self.inputs, read)

    def emit(self, op: str, node: Node, operands: tuple[Operand, ...], name: str) -> Any:
        """Add a node, unless there are too many.

        Raises
        ------
        InvalidModelError
            GE132.
        """
        if len(self.nodes) >= self._most:
            message = f"as ops of this package the model has more than {self._most:,} nodes"
            raise InvalidModelError(message, code="GE132", hint="load it with larger limits")
        found = super().emit(op, node, operands, name)
        self._inherit_doubts(operands, found if isinstance(found, tuple) else (found,))
        return found

    def _inherit_doubts(self, operands: Sequence[Operand], results: Sequence[Any]) -> None:
        """Let results follow from a stand-in if an operand does, and be doubtful if one is."""
        doubts = [self.doubtful[each] for each in operands if each in self.doubtful]
        if doubts:
            self.doubtful.update(dict.fromkeys([each.name for each in results], any(doubts)))

    def freeze(self, *values: Any) -> None:
        """Leave weights out of what is trained."""
        self.frozen.update(value.name for value in values if isinstance(value, Weight))

    def computed(self, value: Any) -> Any:
        """Return a value for computing: sizes that are known in part become a symbol."""
        return self.as_symbol(value) if are_sizes(value) else value

    def _scalar(self, array: np.ndarray[Any, Any]) -> Symbol:
        number: Any = array.item()
        if array.dtype.kind == "f":
            number = encode_number(number)
        elif array.dtype.kind == "b":
            number = int(number)
        node = self.instance("constant", {"value": number, "dtype": array.dtype.name})
        symbol: Symbol = self.emit("constant", node, (), self.numbered(self.near))
        return symbol

    def _stored(self, array: np.ndarray[Any, Any]) -> Symbol:
        if id(array) in self._of_array:
            return self._of_array[id(array)][1]
        key = (array.shape, array.dtype.str, array.tobytes())
        if key not in self._same_constants:
            name = self.free(f"{self.near}.constant")
            self.constants[name] = array
            self._same_constants[key] = self.declare(name, ArrayType(array.shape, array.dtype))
        self._of_array[id(array)] = array, self._same_constants[key]
        return self._same_constants[key]

    def _sizes_symbol(self, array: np.ndarray[Any, Any]) -> Any:
        """Return sizes as a vector of int64, or one of them as a number."""
        whole = self._whole_shape(array)
        if whole is not None:
            return whole
        cells = [self._size_symbol(each) for each in array.reshape(-1)]
        vector = self.apply("stack", cells, {"axis": 0}) if array.ndim else cells[0]
        return vector if array.ndim < 2 else vector.reshape(array.shape)

    def _size_symbol(self, size: Any) -> Any:
        return size.astype("int64") if isinstance(size, Symbol) else self._scalar(np.asarray(size, np.int64))

    def _whole_shape(self, array: np.ndarray[Any, Any]) -> Any:
        """Return the shape of a value that has exactly these sizes, if there is one."""
        sizes = [self.size_text(each) for each in array.reshape(-1)]
        if array.ndim == 1 and None not in sizes and tuple(sizes) in self._like:
            source = self._like[tuple(sizes)]
            return self.emit("shape", self.instance("shape", {}), (source,), self.free(f"{source}.shape"))
        return None

    def size_text(self, size: Any) -> Any:
        """Return a size as types have it: an integer, a symbol as text, None where it is not known."""
        if not isinstance(size, Symbol):
            return int(size)
        content = size.type.content
        return content[0] if content else None

    def left_size(self, x: Symbol, sizes: Sequence[Any]) -> Any:
        """Return the size that is -1 in a reshape of x to sizes, as an integer or a symbol; None if it is not known."""
        texts = [self.size_text(each) for each in sizes if not is_left_open(each)]
        whole, rest = product(x.type.shape), product(texts)
        if whole is None or not rest:
            return None
        divide: Callable[..., Any] = quotient
        left = divide(whole, rest)
        return left if isinstance(left, int) else self._size_named(left)

    def _size_named(self, text: str) -> Any:
        """Return the symbol of a size of an input, None for any other text."""
        if text not in self._axes:
            return None
        name, axis = self._axes[text]
        return self.size_of(Symbol(self, name, self.types[name]), axis)

    def _operands(self, op: str, inputs: Sequence[Any]) -> tuple[tuple[Operand, ...], dict[str, Any]]:
        dtypes = _dtypes(inputs)
        if op in WEAK and len(dtypes) == 1:
            inputs = [self._literal(each, dtypes) for each in inputs]
        return super()._operands(op, inputs)

    def _literal(self, value: Any, dtypes: set[np.dtype[Any]]) -> Any:
        """Return a constant as a Python number where its partner's dtype is its own."""
        if isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype in dtypes and value.dtype.kind in "fi":
            return value.item() if np.isfinite(value) else value
        return value

    def _operand(self, value: Any) -> Operand:
        if isinstance(value, (Weight, np.ndarray, np.generic)):
            value = self.as_symbol(value)
        return super()._operand(value)


def are_sizes(value: Any) -> bool:
    """Whether a value is an array of sizes that are known in part."""
    return isinstance(value, np.ndarray) and value.dtype == object


def is_left_open(size: Any) -> bool:
    """Whether a size of a reshape follows from the others."""
    return not isinstance(size, Symbol) and size == -1


def _symbols_in(values: Sequence[Any]) -> list[Symbol]:
    """Return the symbols among values and in arrays of sizes."""
    cells = itertools.chain.from_iterable(value.flat if are_sizes(value) else [value] for value in values)
    return [each for each in cells if isinstance(each, Symbol)]


def _dtypes(inputs: Sequence[Any]) -> set[np.dtype[Any]]:
    """Return the dtypes of symbols that are no sizes."""
    return {each.dtype for each in inputs if isinstance(each, Symbol) and not is_size(each)}


def is_size(value: Any) -> bool:
    """Whether a symbol is a Python integer, as sizes are."""
    return isinstance(value, Symbol) and value.type.dtype is PythonNumber.INT and value.type.shape == ()


def boxed(value: Any) -> np.ndarray[Any, Any]:
    """Return one symbol as an array of it, of no dimensions."""
    array = np.empty((), object)
    array[()] = value
    return array


def normalized(value: Any) -> Any:
    """Return a result as rules take it: sizes in arrays of objects, those that are all known as int64."""
    if is_size(value):
        return boxed(value)
    if isinstance(value, (Symbol, Weight, list, NoneType)):
        return value
    array = np.asarray(value)
    if array.dtype == object and all(isinstance(each, (int, np.integer)) for each in array.reshape(-1)):
        return array.astype(np.int64)
    return array
