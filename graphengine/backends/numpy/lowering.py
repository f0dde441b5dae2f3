"""From an optimized graph of known shapes to a list of calls: NumPy functions on slots.

Python's operators compute single numbers of double precision (`calls`). An op whose counterpart is a ufunc of NumPy
writes into a buffer; of these, products of matrices and vectors have better calls for some shapes. An op in the table
of `kernels` has its own call, and any other calls the node's own `forward`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Container, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from graphengine.backends.numpy.calls import (
    SCALAR,
    Call,
    dot,
    is_float,
    is_scalar,
    made,
    on_scalars,
    safe_divide,
    typed,
    values_of,
)
from graphengine.backends.numpy.kernels import KERNELS, VIEWS
from graphengine.backends.protocol import Instruction, instruction_of
from graphengine.backends.reference.diagnosis import bounded
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, Operand, literal_key
from graphengine.ops.families.constants import Constant
from graphengine.ops.inference import elementwise
from graphengine.ops.registry import OPS
from graphengine.ops.shapes import ArrayType, PythonNumber
from graphengine.ops.sums import dot_products, multiplies_in_blocks, multiply

Fuse: TypeAlias = Callable[[Graph, Sequence[Call], Mapping[str, str]], list[Call]]
"""Puts calls together, given a graph, its calls and for each value that is carried the source that it replaces."""
Running: TypeAlias = Mapping[str, Callable[[Instruction, Sequence[int]], Callable[..., Any]]]
"""What makes the call of an op that runs functions, of which only the results at some places are read."""


def lower(graph: Graph, running: Running) -> list[Call]:
    """The calls of a graph whose shapes are all known, in its order."""
    calls: list[Call] = []
    alike: dict[Any, _CallsAlike] = {}
    read = cache(lambda: _read_in(graph))  # few graphs ask
    for node in graph.nodes:
        if len(node.node.outputs) > 1 or node.op in running:
            calls += _several_outputs(instruction_of(node, graph.types), read(), running)
        elif not isinstance(node.node, Constant):
            calls.append(_lower_alike(node, graph.types, alike))
    return calls


def _read_in(graph: Graph) -> set[Operand]:
    return set[Operand](graph.outputs.values()).union(*[each.inputs for each in graph.nodes])


def constants(graph: Graph) -> dict[str, Any]:
    """The values of the constant nodes."""
    values = {node.id: node.node.forward() for node in graph.nodes if isinstance(node.node, Constant)}  # type: ignore[no-untyped-call]
    return {name: float(value) if is_float(graph.types[name]) else value for name, value in values.items()}


def _several_outputs(instruction: Instruction, read: set[Operand], running: Running) -> list[Call]:
    """A call that gives a tuple, and one call for each of its items that is read."""
    whole, function = f"{instruction.outputs[0]}:*", _giving_a_tuple(instruction, read, running)
    first = Call(function, instruction.inputs, whole, instruction.types[0], aliases=True)
    return [first, *_items(instruction, whole, read)]


def _giving_a_tuple(instruction: Instruction, read: Container[Operand], running: Running) -> Callable[..., Any]:
    if instruction.is_core and instruction.op in running:
        places = [place for place, name in enumerate(instruction.outputs) if name in read]
        return running[instruction.op](instruction, places)
    if instruction.is_core and instruction.op in VIEWS:
        return VIEWS[instruction.op](instruction)
    return on_scalars(instruction.node.forward, values_of(instruction))


def _items(instruction: Instruction, whole: str, read: Container[Operand]) -> list[Call]:
    return [
        Call(_item(index, kind), (whole,), name, kind, aliases=True)
        for index, (name, kind) in enumerate(zip(instruction.outputs, instruction.types, strict=True))
        if name in read
    ]


def _item(index: int, kind: ArrayType) -> Callable[..., Any]:
    """What takes an item out of a tuple, a double scalar as a Python float."""
    return (lambda whole: float(whole[index])) if is_float(kind) else operator.itemgetter(index)


class _CallsAlike(NamedTuple):
    """What the calls of nodes alike have in common.

    `inputs` are the places of operands as text, and literals; None where they are the operands in their order.
    """

    function: Callable[..., Any]
    inputs: tuple[Operand, ...] | None
    rest: Any

    def call(self, name: str, operands: Sequence[Operand]) -> Call:
        """Return the call that gives the value of that name."""
        if self.inputs is not None:
            operands = [operands[int(ref)] if type(ref) is str else ref for ref in self.inputs]
        return Call(self.function, tuple(operands), name, *self.rest)


def _lower_alike(node: GraphNode, types: Mapping[str, ArrayType], alike: dict[Any, _CallsAlike]) -> Call:
    """Lower a node; one like an earlier one, the same instance on operands of the same types, is lowered like it."""
    name, _, instance, operands = node
    kinds = tuple([types[ref] if type(ref) is str else literal_key(node, ref) for ref in operands])
    key = (id(instance), kinds)
    found = alike.get(key)
    if found is None:
        found = alike[key] = _first_of(node, types, kinds)
    return found.call(name, operands)


def _first_of(node: GraphNode, types: Mapping[str, ArrayType], kinds: Sequence[Any]) -> _CallsAlike:
    """Lower the first of nodes that are alike.

    Where `kinds` has only the class of a literal, the op is arithmetic, and its call takes the operands in order.
    """
    operands = node.inputs
    places = tuple([str(place) if type(ref) is str else ref for place, ref in enumerate(operands)])
    function, inputs, _, *rest = _lower_one(instruction_of(node, types)._replace(inputs=places))
    inputs = tuple([str(place) if kinds[place] is float else ref for place, ref in enumerate(inputs)])
    return _CallsAlike(function, None if inputs == tuple(map(str, range(len(operands)))) else inputs, rest)


def _lower_one(instruction: Instruction) -> Call:
    (kind,), values = instruction.types, values_of(instruction)
    if kind.dtype is PythonNumber.INT:
        forward = instruction.node.forward
        return made(instruction, lambda *given: bounded(forward(*given)))
    if not instruction.is_core or _is_open(kind, *values):
        return _call(instruction)
    if is_scalar(instruction.op, values, kind):
        return _scalar(instruction)
    return _by_kernel(instruction) or _call(instruction)


def _by_kernel(instruction: Instruction) -> Call | None:
    """A call of a ufunc or from a table; the tables know nothing of literals."""
    kernel = PRODUCTS.get(instruction.op) or KERNELS.get(instruction.op)
    if kernel is None:
        return _by_ufunc(instruction)
    has_literal = any(isinstance(operand, (int, float)) for operand in instruction.inputs)
    return None if has_literal else kernel(instruction)


def _by_ufunc(instruction: Instruction) -> Call | None:
    """A ufunc that writes into a buffer; of scalars, one that gives a Python float."""
    (kind,) = instruction.types
    function = OPS.original(instruction.op).numpy
    if not isinstance(function, np.ufunc) or _mixed(instruction):
        return None
    if kind.shape == ():
        return made(instruction, typed(function, (), kind))
    if function in (np.maximum, np.minimum):
        function = _with_out(function)
    in_place = type(instruction.node).infer is elementwise and function is not np.sign  # ten times as slow in place
    return made(instruction, function, writes=True, elementwise=in_place)


def _with_out(function: np.ufunc) -> Callable[..., Any]:
    """A ufunc that does not take its output by position."""
    return lambda x, y, out: function(x, y, out=out)


def _mixed(instruction: Instruction) -> bool:
    """Whether a double scalar, which the plan holds as a Python float, meets values that it must widen."""
    kinds = instruction.value_types
    strong = any(is_float(kind) and kind.dtype is not PythonNumber.FLOAT for kind in kinds)
    return strong and any(kind.dtype in (np.float32, np.float16) for kind in kinds)


def _matmul(instruction: Instruction) -> Call | None:
    """Two vectors go through the array's own `dot`, which has less to decide; the rest is a ufunc."""
    ranks = [len(kind.shape) for kind in instruction.operand_types if kind is not None]
    if ranks == [1, 1] and is_float(instruction.types[0]):
        return made(instruction, dot, text="float({0}.dot({1}))", sums=True)
    return made(instruction, multiply) if multiplies_in_blocks(*instruction.operand_types) else _by_ufunc(instruction)


def _vecdot(instruction: Instruction) -> Call | None:
    in_blocks = multiplies_in_blocks(*instruction.operand_types)
    return made(instruction, dot_products) if in_blocks else _by_ufunc(instruction)


PRODUCTS: Mapping[str, Callable[[Instruction], Call | None]] = {"matmul": _matmul, "vecdot": _vecdot}
"""Ops that are ufuncs, but not called as such for all shapes."""


def _is_open(*kinds: ArrayType | None) -> bool:
    """Whether a size follows from numbers that are known only when it runs."""
    return any(kind is not None and None in kind.shape for kind in kinds)


def _call(instruction: Instruction) -> Call:
    """A call of the node's own `forward`, which may give a view of an input."""
    (kind,) = instruction.types
    function = typed(instruction.node.forward, values_of(instruction), kind)
    return made(instruction, function, aliases=not is_float(kind))


def _scalar(instruction: Instruction) -> Call:
    """An operator of Python on Python floats."""
    inputs = tuple([float(of) if type(of) is int else of for of in instruction.inputs if of is not None])
    text, function = SCALAR[instruction.op]
    if function is safe_divide and isinstance(inputs[1], float) and inputs[1] != 0:
        text, function = "{0} / {1}", operator.truediv
    return made(instruction, function, inputs, text=text, scalar=True)
