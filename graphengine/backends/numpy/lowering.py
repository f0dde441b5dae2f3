"""From an optimised graph of known shapes to a list of instructions: NumPy calls on slots.

Floating-point scalars become Python floats (`scalars`). An op that has a NumPy ufunc as its counterpart writes into a
buffer; any other calls the node's own `forward`.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from graphengine.backends.numpy.scalars import SCALAR, is_float, is_scalar
from graphengine.backends.reference.executor import bounded
from graphengine.ir.graph import Graph, GraphNode, Operand
from graphengine.ops.families.selection import from_the_front, slice_index
from graphengine.ops.inference import elementwise, normalized_axes
from graphengine.ops.registry import OPS
from graphengine.ops.shapes import ArrayType, PythonNumber

Types: TypeAlias = Mapping[str, ArrayType]


class Instruction(NamedTuple):
    """One call: `function(*inputs)`, with a buffer as one more argument if `writes`.

    `text`, with {0}, {1} for the inputs, is the same as an expression, where Python has one. `aliases` is true where
    the result may share the memory of an input. `elementwise` means that the buffer may be that of an input, `sums`
    that the result for vectors is the sum of the results for their parts, `scalar` that operands and result are Python
    numbers, which nothing writes over, `reorders` that the result may be no array row by row where the inputs are.
    """

    function: Callable[..., Any]
    inputs: tuple[Operand, ...]
    output: str
    kind: ArrayType
    text: str | None = None
    writes: bool = False
    aliases: bool = False
    elementwise: bool = False
    sums: bool = False
    scalar: bool = False
    reorders: bool = False


def lower(graph: Graph) -> list[Instruction]:
    """The instructions of a graph whose shapes are all known, in its order."""
    instructions: list[Instruction] = []
    alike: dict[Any, Instruction] = {}
    read = {operand for node in graph.nodes for operand in node.inputs}.union(graph.outputs.values())
    for node in graph.nodes:
        if len(node.outputs) > 1:
            instructions += _several_outputs(node, graph, read)
        elif node.op != "constant":
            instructions.append(_lower_alike(node, graph.types, alike))
    return instructions


def constants(graph: Graph) -> dict[str, Any]:
    """The values of the constant nodes."""
    values = {node.id: node.node.forward() for node in graph.nodes if node.op == "constant"}
    return {name: float(value) if is_float(graph.types[name]) else value for name, value in values.items()}


def _several_outputs(node: GraphNode, graph: Graph, read: set[Operand]) -> list[Instruction]:
    """A call that gives a tuple, and one instruction for each of its items that is read."""
    whole, kinds = f"{node.id}:*", _kinds(node, graph.types)
    function = _split(node, graph.types) if node.op == "split" and node.is_core else None
    function = function or _on_scalars(node.node.forward, kinds)
    call = Instruction(function, node.inputs, whole, graph.types[node.id], aliases=True)
    items = [
        Instruction(_item(index, graph.types[name]), (whole,), name, graph.types[name], aliases=True)
        for index, name in enumerate(node.outputs)
        if name in read
    ]
    return [call, *items]


def _split(node: GraphNode, types: Types) -> Callable[..., Any] | None:
    """The parts of an array by slices that are made once: NumPy's own call takes ten times as long for each."""
    kinds, whole = [types[name] for name in node.outputs], types[str(node.inputs[0])]
    (axis,) = normalized_axes(node.node.axis, len(whole.shape))  # type: ignore[attr-defined]
    sizes: list[Any] = [kind.shape[axis] for kind in kinds]
    if None in sizes or sum(sizes) != whole.shape[axis]:
        return None  # places in no order, whose parts overlap
    edges = [0, *itertools.accumulate(sizes)]
    before = (slice(None),) * axis
    places = [(*before, slice(start, stop)) for start, stop in itertools.pairwise(edges)]
    return lambda x: [x[place] for place in places]


def _item(index: int, kind: ArrayType) -> Callable[..., Any]:
    """What takes an item out of a tuple, a double scalar as a Python float."""
    return (lambda whole: float(whole[index])) if is_float(kind) else operator.itemgetter(index)


def _kinds(node: GraphNode, types: Types) -> list[ArrayType | None]:
    """The types of the values among the operands of a node."""
    return [types.get(operand) if isinstance(operand, str) else None for operand in node.inputs]


def _lower_alike(node: GraphNode, types: Types, alike: dict[Any, Instruction]) -> Instruction:
    """Lower a node; one like an earlier one, the same instance on operands of the same types, is lowered like it."""
    kinds: tuple[Any, ...] = tuple([types[ref] if type(ref) is str else (type(ref), repr(ref)) for ref in node.inputs])
    key = (id(node.node), kinds)
    found = alike.get(key)
    if found is None:
        names = tuple([str(place) if type(ref) is str else ref for place, ref in enumerate(node.inputs)])
        given = {name: kind for name, kind in zip(names, kinds, strict=True) if isinstance(name, str)}
        given[node.id] = types[node.id]
        found = alike[key] = _lower_node(node._replace(inputs=names), given)
    inputs = tuple([node.inputs[int(ref)] if type(ref) is str else ref for ref in found.inputs])
    return Instruction(found.function, inputs, node.id, *found[3:])


def _lower_node(node: GraphNode, types: Types) -> Instruction:
    kind = types[node.id]
    kinds = _kinds(node, types)
    values = [graph_kind for graph_kind in kinds if graph_kind is not None]
    literal = any(isinstance(operand, (int, float)) for operand in node.inputs)
    if kind.dtype is PythonNumber.INT:
        return Instruction(lambda *given: bounded(node.node.forward(*given)), node.inputs, node.id, kind)
    if not node.is_core or any(None in of.shape for of in [kind, *values]) or (literal and node.op in _SPECIAL):
        return _call(node, kinds, kind)
    if node.op in SCALAR and is_scalar(node, kinds, kind):
        inputs = tuple(_as_float(operand) for operand in node.inputs if operand is not None)
        divides = node.op == "div" and isinstance(inputs[1], float) and inputs[1] != 0
        text, function = ("{0} / {1}", operator.truediv) if divides else SCALAR[node.op]
        return Instruction(function, inputs, node.id, kind, text, scalar=True)
    lowered = _SPECIAL.get(node.op, _by_ufunc)(node, types, kind)
    return lowered or _call(node, kinds, kind)


def _call(node: GraphNode, kinds: Any, kind: ArrayType) -> Instruction:
    """A call of the node's own `forward`, which may give a view of an input."""
    return Instruction(_typed(node.node.forward, kinds, kind), node.inputs, node.id, kind, aliases=not is_float(kind))


def _as_float(operand: Operand) -> Operand:
    return float(operand) if type(operand) is int else operand


def _by_ufunc(node: GraphNode, types: Types, kind: ArrayType) -> Instruction | None:
    """A ufunc that writes into a buffer; of scalars, one that gives a Python float."""
    function = OPS.original(node.op).numpy
    if not isinstance(function, np.ufunc) or _mixed(node, types):
        return None
    if kind.shape == ():
        return Instruction(_typed(function, (), kind), node.inputs, node.id, kind)
    if function in (np.maximum, np.minimum):
        function = _with_out(function)
    same = type(node.node).infer is elementwise and function is not np.sign  # which takes ten times as long in place
    return Instruction(function, node.inputs, node.id, kind, writes=True, elementwise=same)


def _with_out(function: np.ufunc) -> Callable[..., Any]:
    """A ufunc that does not take its output by position."""
    return lambda x, y, out: function(x, y, out=out)


def _mixed(node: GraphNode, types: Types) -> bool:
    """Whether a double scalar, which the plan holds as a Python float, meets values that it must widen."""
    kinds = [types[operand] for operand in node.inputs if isinstance(operand, str)]
    strong = any(is_float(kind) and kind.dtype is not PythonNumber.FLOAT for kind in kinds)
    return strong and any(kind.dtype in (np.float32, np.float16) for kind in kinds)


def _typed(function: Callable[..., Any], kinds: Any, kind: ArrayType) -> Callable[..., Any]:
    """A call that gets scalars as NumPy's, and gives a double scalar as a Python float."""
    if len(kinds) == 1 and isinstance(function, np.ufunc) and is_float(kind):
        return lambda x: float(function(x))
    call = _on_scalars(function, kinds)
    return (lambda *values: float(call(*values))) if is_float(kind) else call


def _on_scalars(function: Callable[..., Any], kinds: Any) -> Callable[..., Any]:
    """A call that gets double scalars and truth values, which a plan holds as Python's, as NumPy's."""
    places = [
        (index, of.array_dtype.type)
        for index, of in enumerate(kinds)
        if of is not None and of.shape == () and of.dtype in (np.float64, np.bool_)
    ]
    if not places:
        return function

    def call(*values: Any) -> Any:
        arguments = list(values)
        for place, number in places:
            arguments[place] = number(arguments[place])
        return function(*arguments)

    return call


# ---------------------------------------------------------------- ops that NumPy has as something other than a ufunc


REDUCE = {
    "sum": np.add.reduce,
    "prod": np.multiply.reduce,
    "max": np.maximum.reduce,
    "min": np.minimum.reduce,
    "any": np.logical_or.reduce,
    "all": np.logical_and.reduce,
}


def _reduction(node: GraphNode, types: Types, kind: ArrayType) -> Instruction | None:
    x = types[node.inputs[0]]  # type: ignore[index]
    axes = normalized_axes(node.node.axis, len(x.shape))  # type: ignore[attr-defined]
    if node.op in ("max", "min") and 0 in x.shape:
        return None  # what they are of no values is for the node to say
    reduce = REDUCE[node.op]
    return _reduce(node, kind, reduce, axes if len(axes) != 1 else axes[0], node.node.keepdims)  # type: ignore[attr-defined]


def _reduce(node: GraphNode, kind: ArrayType, reduce: Any, axes: Any, keepdims: bool) -> Instruction:
    if kind.shape == ():
        if is_float(kind):
            sums = reduce is np.add.reduce
            return Instruction(lambda x: float(reduce(x, axes)), node.inputs[:1], node.id, kind, sums=sums)
        return Instruction(lambda x: reduce(x, axes), node.inputs[:1], node.id, kind)

    def call(x: Any, out: Any) -> Any:
        return reduce(x, axes, None, out, keepdims)

    return Instruction(call, node.inputs[:1], node.id, kind, writes=True)


def _sum_to(node: GraphNode, types: Types, kind: ArrayType) -> Instruction | None:
    """One reduction where one does; the general case is the node's own."""
    x = types[node.inputs[0]]  # type: ignore[index]
    extra = len(x.shape) - len(kind.shape)
    if node.inputs[1] is not None or x.shape[extra:] != kind.shape:
        return None
    return _reduce(node, kind, np.add.reduce, tuple(range(extra)), False)


def _reshape(node: GraphNode, types: Types, kind: ArrayType) -> Instruction | None:
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        return None
    shape = kind.shape
    if is_float(kind):
        return Instruction(lambda x: float(np.asarray(x).reshape(())), node.inputs[:1], node.id, kind)
    return Instruction(lambda x: np.asarray(x).reshape(shape), node.inputs[:1], node.id, kind, aliases=True)


def _concat(node: GraphNode, types: Types, kind: ArrayType) -> Instruction | None:
    axis = node.node.axis  # type: ignore[attr-defined]

    def call(*arrays: Any) -> Any:
        return np.concatenate(arrays[:-1], axis, arrays[-1])

    return Instruction(call, node.inputs, node.id, kind, writes=True)


def _transpose(node: GraphNode, types: Types, kind: ArrayType) -> Instruction | None:
    if kind.shape == ():
        return None
    axes = node.node.axes  # type: ignore[attr-defined]
    return Instruction(lambda x: x.transpose(axes), node.inputs, node.id, kind, aliases=True, reorders=True)


def _slice(node: GraphNode, types: Types, kind: ArrayType) -> Instruction | None:
    """A view by an index that is made once."""
    if kind.shape == ():
        return None
    index = slice_index(node.node, len(kind.shape))  # type: ignore[no-untyped-call]
    return Instruction(lambda x: x[index], node.inputs, node.id, kind, aliases=True)


def _broadcast_to(node: GraphNode, types: Types, kind: ArrayType) -> Instruction | None:
    if node.inputs[1] is not None:
        return None
    shape: Any = kind.shape
    return Instruction(lambda x: np.broadcast_to(x, shape), node.inputs[:1], node.id, kind, aliases=True, reorders=True)


def _cast(node: GraphNode, types: Types, kind: ArrayType) -> Instruction | None:
    if kind.shape == ():
        return None

    dtype = kind.array_dtype

    def call(x: Any, out: Any) -> Any:
        if out is None:
            return x.astype(dtype)
        np.copyto(out, x, casting="unsafe")
        return out

    return Instruction(call, node.inputs, node.id, kind, writes=True)


def _matmul(node: GraphNode, types: Types, kind: ArrayType) -> Instruction | None:
    """Two vectors go through the array's own `dot`, which has less to decide; the rest is a ufunc."""
    x, y = (types[operand] for operand in node.inputs)  # type: ignore[index]
    if len(x.shape) == len(y.shape) == 1 and is_float(kind):
        return Instruction(dot, node.inputs, node.id, kind, "float({0}.dot({1}))", sums=True)
    return _by_ufunc(node, types, kind)


def _one_hot(node: GraphNode, types: Types, kind: ArrayType) -> Instruction:
    """A comparison with the possible indices, made once, that writes numbers instead of truth values."""
    depth = node.node.depth  # type: ignore[attr-defined]
    indices = np.arange(depth)
    shape: Any = kind.shape
    dtype = kind.array_dtype

    def call(targets: Any, out: Any) -> Any:
        result = np.empty(shape, dtype) if out is None else out
        return np.equal(from_the_front(targets, depth)[..., None], indices, out=result)  # type: ignore[no-untyped-call]

    return Instruction(call, node.inputs, node.id, kind, writes=True)


def _into(node: GraphNode, types: Types, kind: ArrayType) -> Instruction:
    """An op of one input whose class can write its result into an array that is there."""
    into, dtype = node.node.into, kind.array_dtype  # type: ignore[attr-defined]
    shape: Any = kind.shape

    def call(x: Any, out: Any) -> Any:
        return into(x, np.empty(shape, dtype) if out is None else out)

    return Instruction(call, node.inputs, node.id, kind, writes=True)


def _take_along_axis(node: GraphNode, types: Types, kind: ArrayType) -> Instruction | None:
    """Indexing along the last axis with the row numbers made once."""
    if node.node.axis not in (-1, len(kind.shape) - 1):  # type: ignore[attr-defined]
        return None
    size: Any = types[node.inputs[0]].shape[-1]  # type: ignore[index]
    shape: Any = kind.shape
    count = math.prod(shape[:-1])
    rows = np.arange(count)[:, None]

    def call(x: Any, indices: Any) -> Any:
        return x.reshape(count, size)[rows, indices.reshape(count, shape[-1])].reshape(shape)

    return Instruction(call, node.inputs, node.id, kind)


def dot(x: Any, y: Any) -> float:
    """The dot product of two vectors."""
    return float(x.dot(y))


_SPECIAL: Mapping[str, Callable[[GraphNode, Types, ArrayType], Instruction | None]] = {
    **dict.fromkeys(REDUCE, _reduction),
    "sum_to": _sum_to,
    "reshape": _reshape,
    "expand_dims": _reshape,
    "squeeze": _reshape,
    "concat": _concat,
    "transpose": _transpose,
    "slice": _slice,
    "broadcast_to": _broadcast_to,
    "cast": _cast,
    "matmul": _matmul,
    "one_hot": _one_hot,
    "unfold": _into,
    "fold": _into,
    "take_along_axis": _take_along_axis,
}
