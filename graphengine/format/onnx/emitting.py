"""What the rules of the export write to: ONNX nodes and initializers under the names of the graph.

A rule is a function (emitter, applied node) -> name of the result, or names of several. `RULES` is the one table of
them, by op. A rule reads its operands in the dtype it needs; literals and Python numbers take the dtype of their
partner, as in NumPy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from graphengine.extras import optional
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, Operand, literal_type, operand_types
from graphengine.ops.shapes import ArrayType, PythonNumber

OLDEST_OPSET = 18
"""The rules write ops as this opset defines them; no later one changes what they use."""

DOMAIN = "graphengine"
"""The domain of functions of the models that are written."""


class Unexportable(Exception):  # noqa: N818 - a reason, which becomes a finding
    """A node has no counterpart in ONNX; the text says why."""


class Applied(NamedTuple):
    """A node with the types of its operands and of its result."""

    node: GraphNode
    types: tuple[ArrayType | None, ...]
    result: ArrayType

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the op."""
        return getattr(self.node.node, name)

    @property
    def target(self) -> Any:
        """Return the attribute `shape` of the op."""
        node: Any = self.node.node
        return node.shape

    def rank(self, place: int = 0) -> int:
        """Return the number of dimensions of an operand."""
        return len(self.shape(place))

    def shape(self, place: int = 0) -> tuple[Any, ...]:
        """Return the shape of an operand."""
        kind = self.types[place]
        return () if kind is None else kind.shape


Rule: TypeAlias = "Callable[[Emitter, Applied], str | tuple[str, ...]]"
RULES: dict[str, Rule] = {}
"""How each op is written, by its name."""


SINGLE: dict[str, Rule] = {}
"""How ops are written in graphs of single precision, where the runtime has them as one; else they are expanded."""


def exports(*ops: str, table: dict[str, Rule] = RULES) -> Callable[[Rule], Rule]:
    """Enter a rule for these ops."""

    def enter(rule: Rule) -> Rule:
        table.update(dict.fromkeys(ops, rule))
        return rule

    return enter


class Emitter:
    """Collects nodes and initializers; with `single` all values of double precision become single.

    `renamed` maps values of the graph to names that the ONNX model gives them.
    """

    def __init__(self, types: Mapping[str, ArrayType], renamed: Mapping[str, str], *, single: bool) -> None:
        self.onnx = optional("onnx", "onnx")
        self.helper = self.onnx.helper
        self.nodes: list[Any] = []
        self.owners: list[str] = []
        """The node of the graph that each is written for."""
        self.initializers: dict[str, Any] = {}
        self.functions: dict[str, str] = {}
        """Functions of the model by name, in ONNX's own text form; all are of the domain DOMAIN."""
        self.called: list[Any] = []
        """Functions of the model file, as those of the model."""
        self.types, self.renamed, self.single = types, renamed, single
        self._constants: dict[Any, str] = {}
        self._taken = {*types, *renamed.values()}
        self._scope = ""

    def dtype(self, kind: ArrayType) -> np.dtype[Any]:
        """Return the dtype of a value in the ONNX model; Python numbers keep their precision."""
        if self.single and not isinstance(kind.dtype, PythonNumber) and kind.dtype == np.float64:
            return np.dtype(np.float32)
        return kind.array_dtype

    def named(self, dtype: Any) -> np.dtype[Any]:
        """Return the dtype of the ONNX model for one that an attribute names."""
        return self.dtype(ArrayType((), np.dtype(dtype)))

    def tensor_type(self, dtype: np.dtype[Any]) -> int:
        """Return ONNX's number of a dtype."""
        return int(self.helper.np_dtype_to_tensor_dtype(dtype))

    def free(self, near: str) -> str:
        """Return a name that nothing has."""
        count = 1
        while (name := f"{near}~{count}") in self._taken:
            count += 1
        self._taken.add(name)
        return name

    def place(self, applied: Applied) -> None:
        """Write a node by its rule; its result bears the name that the graph gives it."""
        name = applied.node.id
        name = self._scope = self.renamed.get(name, name)
        before = len(self.nodes)
        rule = RULES.get(applied.node.op) or SINGLE[applied.node.op]
        result = rule(self, applied)
        if isinstance(result, tuple):
            for value, output in zip(result, applied.node.outputs, strict=True):
                self.alias(value, self.renamed.get(output, output))
        elif len(self.nodes) > before and result == self.nodes[-1].output[0]:
            self.nodes[-1].output[0] = name
        else:
            self.alias(result, name)

    def alias(self, value: str, name: str) -> None:
        """Give a value a second name."""
        self.nodes.append(self.helper.make_node("Identity", [value], [name]))

    def __call__(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Append an ONNX node and return the name of its result."""
        name = self.free(self._scope)
        self.nodes.append(self.helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def nested(self, types: Mapping[str, ArrayType], renamed: Mapping[str, str]) -> Emitter:
        """Return what collects the nodes of a graph within a node; names, initializers and functions are shared."""
        inner = copy.copy(self)
        inner.nodes, inner.types, inner.renamed = [], types, renamed
        return inner

    def define(self, name: str, text: str) -> None:
        """Enter a function of the model."""
        self.functions[name] = text

    def call(self, function: str, count: int, *inputs: str) -> list[str]:
        """Append a call of a function of the model and return the names of its results."""
        names = [self.free(self._scope) for _ in range(count)]
        self.nodes.append(self.helper.make_node(function, list(inputs), names, domain=DOMAIN))
        return names

    def constant(self, value: Any, dtype: Any) -> str:
        """Return the name of an initializer with this value; equal ones are one."""
        array = np.asarray(value, np.dtype(dtype))
        key = (array.shape, array.dtype.str, array.tobytes())
        if key not in self._constants:
            name = self._constants[key] = self.free("constant")
            self.initializers[name] = self.onnx.numpy_helper.from_array(array, name)
        return self._constants[key]

    def vector(self, numbers: Any) -> str:
        """Return the name of a constant vector of integers, as sizes and axes are given."""
        return self.constant(list(numbers), np.int64)

    def cast(self, value: str, source: Any, target: Any) -> str:
        """Return a value in another dtype."""
        if np.dtype(source) == np.dtype(target):
            return value
        return self("Cast", value, to=self.tensor_type(np.dtype(target)))

    def operand_dtype(self, applied: Applied, place: int) -> np.dtype[Any]:
        """Return the dtype in which an operand is at hand."""
        operand, kind = applied.node.inputs[place], applied.types[place]
        known = kind or literal_type(operand)
        if known is None:
            raise Unexportable(f"input {place} is omitted")
        return self.dtype(known)

    def read(self, applied: Applied, place: int = 0, dtype: Any = None) -> str:
        """Return the name of an operand, in a dtype if one is given."""
        operand = applied.node.inputs[place]
        source = self.operand_dtype(applied, place)
        target = source if dtype is None else np.dtype(dtype)
        if not isinstance(operand, str):
            return self.constant(operand, target)
        return self.cast(self.renamed.get(operand, operand), source, target)

    def result_dtype(self, applied: Applied) -> np.dtype[Any]:
        """Return the dtype of a node's result."""
        return self.dtype(applied.result)

    def common_dtype(self, applied: Applied, *places: int) -> np.dtype[Any]:
        """Return the dtype that NumPy computes in with operands; Python numbers are weak (NEP 50)."""
        operands = [(applied.types[place], applied.node.inputs[place]) for place in places]
        return np.result_type(*[self._weak(kind, operand) for kind, operand in operands])

    def _weak(self, kind: ArrayType | None, operand: Operand) -> Any:
        known = kind or literal_type(operand)
        if known is None:
            raise Unexportable("an input is omitted")
        if isinstance(known.dtype, PythonNumber):
            return 1 if known.dtype is PythonNumber.INT else 1.0
        return self.dtype(known)


def applied(node: GraphNode, graph: Graph) -> Applied:
    """Return a node with its types."""
    kinds = operand_types(node.inputs, graph.types)
    return Applied(node, kinds, graph.types[node.id])
