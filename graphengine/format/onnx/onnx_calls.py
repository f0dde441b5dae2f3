"""What a rule of the import sees of an ONNX node: its inputs as arrays or symbols, its attributes, its opset.

A rule is a function (call) -> result, or a tuple of results. It is written in NumPy: on arrays it computes, which folds
constants, and on symbols it records. `IMPORTS` is the one table of rules, by domain and op.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np

from graphengine.format.onnx.drafts import Draft, Weight, are_sizes
from graphengine.ir.nodes import infer
from graphengine.ir.recording import Symbol
from graphengine.ops.body import kind_of
from graphengine.ops.node import Node
from graphengine.ops.registry import OPS

ML = "ai.onnx.ml"
"""The domain of ONNX's ops for classical models."""
MICROSOFT = "com.microsoft"
"""The domain of onnxruntime's own ops."""
MOST_FOLDED = 2**16
"""Constants of more numbers are not computed with while a model is read."""
LARGEST = 2**24
"""Numbers of the largest constant that is made while a model is read."""


class Unimportable(Exception):  # noqa: N818 - a reason, which becomes a finding
    """A node has no counterpart here; the text says why, `inputs` names inputs of the model that must be known."""

    def __init__(self, reason: str, inputs: Iterable[str] = ()) -> None:
        super().__init__(reason)
        self.inputs = tuple(inputs)


class NotKnownYet(Unimportable):
    """A value or a size that a node needs is known only at run time."""


class Follows(Exception):  # noqa: N818 - no error: what failed is reported already
    """A value follows from what could not be imported."""


class OnnxCall:
    """An ONNX node with its values.

    `apply` runs a subgraph: (graph, values by name) -> values of its outputs.
    """

    def __init__(
        self,
        draft: Draft,
        node: Any,
        inputs: Sequence[Any],
        attributes: Mapping[str, Any],
        version: int,
        apply: Callable[..., Any],
    ) -> None:
        self.draft, self.node, self.version = draft, node, version
        self.op: str = node.op_type
        self.count = len(node.output)
        self.raws, self.attributes, self.apply = list(inputs), attributes, apply
        self.element_types: Sequence[int] = ()
        """ONNX's numbers of the types that the inputs have in the file, 0 where that is our dtype for it."""
        constants = [each.size for each in self.raws if isinstance(each, np.ndarray)]
        self._most = MOST_FOLDED if math.prod(map(max, constants, [1] * len(constants))) <= LARGEST else 1
        self.made = 0
        """The type of the results in the file, where it is none of ours."""

    def __len__(self) -> int:
        return len(self.raws)

    def has(self, place: int) -> bool:
        """Whether an optional input is given."""
        return place < len(self.raws) and self.raws[place] is not None

    def wants(self, place: int) -> bool:
        """Whether an output has a name."""
        return place < self.count and bool(self.node.output[place])

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute or its default."""
        return self.attributes.get(name, default)

    def repeated(self, name: str, count: int, default: Any) -> tuple[Any, ...]:
        """Return an attribute that is a list, or so many times its default."""
        return tuple(self.get(name) or (default,) * count)

    def __getitem__(self, place: int) -> Any:
        """Return an input to compute with: a symbol, or a small constant as an array."""
        return self.draft.computed(self.size(place))

    def size(self, place: int) -> Any:
        """Return an input to compute with, in which sizes may be known in part: an array of integers and symbols."""
        if not self.has(place):
            raise Unimportable(f"its input {place} is omitted")
        value = self.raws[place]
        if isinstance(value, list):
            raise Unimportable("sequences have no counterpart")
        return self.draft.as_symbol(value) if self._is_recorded(value) else value

    def _is_recorded(self, value: Any) -> bool:
        """Whether a value is read by a node: a weight, or a constant that is too large to compute with."""
        return isinstance(value, Weight) or (isinstance(value, np.ndarray) and value.size > self._most)

    @property
    def all(self) -> list[Any]:
        """All inputs, to compute with."""
        return [self[place] for place in range(len(self.raws))]

    def optional(self, place: int) -> Any:
        """Return an input to compute with, None where it is omitted."""
        return self[place] if self.has(place) else None

    def known(self, place: int, what: str) -> np.ndarray[Any, Any]:
        """Return an input whose value has to be known while the model is read."""
        if not self.has(place):
            raise Unimportable(f"its input '{what}' is omitted")
        value = array_of(self.raws[place])
        if is_known(value):
            return value  # type: ignore[no-any-return]
        names = self.draft.inputs_of(value) if isinstance(value, Symbol) else []
        raise NotKnownYet(f"its input '{what}' is computed at run time", names)

    def ints(self, place: int, name: str, default: Any = None) -> Any:
        """Return integers that older opsets have as an attribute and newer ones as an input; None if omitted."""
        if name in self.attributes:
            value = self.attributes[name]
            return [value] if isinstance(value, int) else list(value)
        if not self.has(place):
            return default
        return [int(each) for each in self.known(place, name).reshape(-1)]

    def number(self, place: int, what: str) -> Any:
        """Return an input that is one known number."""
        found = self.known(place, what)
        if found.size != 1:
            raise Unimportable(f"its input '{what}' is not one number")
        return found.reshape(-1)[0].item()

    def rank(self, place: int = 0) -> int:
        """Return the number of dimensions of an input."""
        return len(self.shape(place))

    def shape(self, place: int = 0) -> tuple[Any, ...]:
        """Return the shape of an input: integers, symbols as text, None for what is not known."""
        return shape_of(self.raws[place])

    def static(self, place: int = 0, axes: Iterable[int] | None = None) -> tuple[int, ...]:
        """Return sizes of an input that have to be known, all of them or those of axes."""
        shape = self.shape(place)
        sizes = shape if axes is None else [shape[axis] for axis in axes]
        if not all(isinstance(size, int) for size in sizes):
            raise NotKnownYet("sizes that it needs are known only at run time")
        return tuple(sizes)

    def axis(self, default: int, rank: int | None = None) -> int:
        """Return the attribute `axis`, counted from the front."""
        rank = self.rank() if rank is None else rank
        axis = self.get("axis", default)
        if not -rank <= axis < max(rank, 1):
            raise Unimportable(f"axis {axis} is out of range for {rank} dimensions")
        return int(axis % rank if rank else 0)

    def dtype(self, place: int = 0) -> np.dtype[Any]:
        """Return the dtype of an input."""
        value = self.raws[place]
        dtype: np.dtype[Any] = np.dtype(np.int64) if are_sizes(value) else value.dtype
        return dtype

    def elements(self, place: int) -> int:
        """Return ONNX's number of the type that an input has in the file."""
        return self.element_types[place] or int(self.draft.onnx.helper.np_dtype_to_tensor_dtype(self.dtype(place)))

    def text(self, name: str, default: str) -> str:
        """Return an attribute that is text."""
        value = self.get(name, default)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


Rule: TypeAlias = Callable[[OnnxCall], Any]
IMPORTS: dict[tuple[str, str], Rule] = {}
"""How each op is imported, by domain and name; the domain of ONNX itself is empty."""


def imports(*ops: str, domain: str = "") -> Callable[[Rule], Rule]:
    """Enter a rule for these ops of a domain."""

    def enter(rule: Rule) -> Rule:
        IMPORTS.update(dict.fromkeys([(domain, op) for op in ops], rule))
        return rule

    return enter


def op(name: str, **attributes: Any) -> Callable[..., Any]:
    """Return a node of ours as a function, which computes on arrays and records on symbols.

    It raises Unimportable where it would make an array of more than LARGEST numbers.
    """
    node: Node = OPS[name].cls(**attributes)

    def applied(*operands: Any) -> Any:
        if all(each is None or isinstance(each, (np.ndarray, np.generic, int, float)) for each in operands):
            with suppress(ValueError):  # which the node itself raises, too
                for kind in infer(node, tuple(map(kind_of, operands))):
                    bounded([size for size in kind.shape if isinstance(size, int)])
        return node(*operands)

    return applied


def bounded(shape: Any) -> tuple[int, ...]:
    """Return sizes of a constant that is made, unless it would be too large."""
    sizes = tuple(int(size) for size in shape)
    if any(size < 0 for size in sizes) or math.prod(sizes) > LARGEST:
        raise Unimportable(f"it makes a constant of shape {sizes}")
    return sizes


def array_of(value: Any) -> Any:
    """Return the array of a weight, any other value as it is."""
    return value.array if isinstance(value, Weight) else value


def shape_of(value: Any) -> tuple[Any, ...]:
    """Return the shape of a symbol, a weight or an array."""
    return tuple(value.type.shape if isinstance(value, Symbol) else np.shape(array_of(value)))


def is_known(*values: Any) -> bool:
    """Whether values are arrays without a symbol in them."""
    return all(isinstance(value, np.ndarray) and value.dtype != object for value in values)


def are_arrays(*values: Any) -> bool:
    """Whether values can be computed with at once: constants, and sizes that are known in part."""
    return all(isinstance(value, np.ndarray) for value in values)


def have_symbols(sizes: Iterable[Any]) -> bool:
    """Whether a size is known only at run time."""
    return any(isinstance(size, Symbol) for size in sizes)


def constant(value: Any, like: Any) -> np.ndarray[Any, Any]:
    """Return a number as an array without dimensions, in the dtype of a value."""
    return np.asarray(value, like.dtype)


def cast(value: Any, dtype: Any) -> Any:
    """Return a value in another dtype."""
    dtype = np.dtype(dtype)
    if value.dtype == dtype:
        return value
    if isinstance(value, Symbol):
        return value.astype(dtype)
    with np.errstate(all="ignore"):
        return value.astype(dtype)
