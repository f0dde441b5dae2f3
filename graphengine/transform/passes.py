"""Passes: pure functions from graph to graph.

All but two give bit for bit what the reference executor gives on the unchanged graph, signs of zero and NaN included
(only a NaN's payload is not promised). `factor_sums` and `broadcast_late` reorder sums; their docstrings state the
bound.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, Operand, operand_types, reachable
from graphengine.ir.recording import Recorder, StandIn, Symbol, Template
from graphengine.ops.inference import as_tuple, elementwise
from graphengine.ops.numbers import LARGEST_EXACT
from graphengine.ops.shapes import DTYPES, ArrayType, PythonNumber, Shape, broadcast_shapes, dtype_name, product
from graphengine.ops.traits import OpTrait
from graphengine.transform.rewriting import NUMBER, Result, Rewriter, Types, only_for

SIGN, WIDENING = "neg", "broadcast_to"
"""Ops that rules look for among what a node reads."""


def dead_code(graph: Graph) -> Graph:
    """Without the nodes that no output needs."""
    alive = reachable(graph.nodes, graph.outputs.values())
    return graph if len(alive) == len(graph.nodes) else graph.derive(alive, graph.outputs, graph.types)


def expand(graph: Graph) -> Graph:
    """With ops that are made of others replaced by what their `forward` does, found by recording it.

    An op whose recording gives itself stays, and so does one that cannot be recorded.
    """
    return Rewriter(graph).run(expansion=expansion)


MOST_INPUTS = 64
"""A node of more inputs stays one, instead of becoming as many."""


def expansion(recorder: Recorder, node: GraphNode, types: Types, kinds: Types) -> Template | None:
    """What the `forward` of a node does, by the types of its operands and the `kinds` of its results."""
    if len(node.inputs) > MOST_INPUTS:
        return None
    pairs = zip(node.inputs, types, strict=True)
    stand_ins = [StandIn(kind) if isinstance(ref, str) and kind else ref for ref, kind in pairs]
    try:
        with np.errstate(all="ignore"):  # what is done to literals alone is done now
            sample = recorder.sample(stand_ins, lambda values: node.node.forward(*values))
    except Exception:  # noqa: BLE001 - whatever stops the recording, the node stays as it is
        return None
    results = as_tuple(sample.returned)
    if _gives_itself(sample.nodes, node) or not _as_inferred(results, kinds):
        return None
    return sample.template([each.name for each in results], [_numbered] * len(sample.nodes))


def _gives_itself(recorded: Sequence[GraphNode], node: GraphNode) -> bool:
    """Whether recording an op gives the op: it would be expanded forever."""
    return any(each.op == node.op and (len(recorded) == 1 or each.node == node.node) for each in recorded)


def _as_inferred(results: Sequence[Any], kinds: Types) -> bool:
    """Whether what was recorded has the shapes and dtypes that the class infers."""
    found = [each.type[:2] if isinstance(each, Symbol) else None for each in results]
    return found == [kind and kind[:2] for kind in kinds]


def _numbered(recorder: Recorder, near: str, values: list[Any], operands: tuple[Operand, ...]) -> str:
    return recorder.numbered(near)


def expand_node(recorder: Recorder, node: GraphNode, replaced: dict[Any, Any]) -> list[GraphNode] | None:
    """Record the `forward` of one node and give the nodes it makes; None, with nothing recorded, for a primitive.

    `replaced` then maps the results of the node to those of the recorded nodes.
    """
    if OpTrait.PRIMITIVE in node.node.traits:
        return None
    types = operand_types(node.inputs, recorder.types)
    template = expansion(recorder, node, types, [recorder.types[name] for name in node.outputs])
    if template is None:
        return None
    before = len(recorder.nodes)
    values = recorder.repeat(template, [*node.inputs], node.id)
    replaced.update(zip(node.outputs, template.results_among(values), strict=True))
    return recorder.nodes[before:]


# ---------------------------------------------------------------- rules


@only_for("size")
def fold_sizes(rewriter: Rewriter, node: GraphNode, kind: ArrayType) -> Result:
    """A size that is known becomes a literal."""
    content = kind.content
    return _literal(content[0]) if content and isinstance(content[0], int) else None


@only_for("split_like")
def fold_splits(rewriter: Rewriter, node: GraphNode, kind: ArrayType) -> Result:
    """A cut into parts of known sizes, as long as what the parts are like need not be there."""
    axis = node.node.axis  # type: ignore[attr-defined]
    sizes = [part.shape[axis] for part in map(rewriter.type_of, node.inputs[1:]) if part is not None]
    if not _is_static(tuple(sizes)):
        return None
    places = tuple(itertools.accumulate(sizes[:-1]))
    cut = rewriter.instance("split", {"indices_or_sections": places, "axis": axis})
    return GraphNode(node.id, "split", cut, node.inputs[:1])


@only_for("fold")
def fold_output_sizes(rewriter: Rewriter, node: GraphNode, kind: ArrayType) -> Result:
    """Sizes of images that are known become an attribute."""
    images = rewriter.type_of(node.inputs[1])
    if images is None or not _is_static(images.shape[2:]):
        return None
    known = rewriter.instance(node.op, {**node.node.model_dump(), "output_size": images.shape[2:]})
    return node._replace(inputs=(node.inputs[0], None), node=known)


@only_for("broadcast_to", "reshape", "sum_to")
def fold_shapes(rewriter: Rewriter, node: GraphNode, kind: ArrayType) -> Result:
    """A shape that is known becomes an attribute."""
    sizes = rewriter.type_of(node.inputs[1])
    if sizes is None or sizes.content is None or not _is_static(sizes.content):
        return None
    known = rewriter.instance(node.op, {"shape": sizes.content})
    return node._replace(inputs=(node.inputs[0], None), node=known)


@only_for(traits=(OpTrait.ZEROS, OpTrait.ONES))
def fold_fills(rewriter: Rewriter, node: GraphNode, kind: ArrayType) -> Result:
    """Ones and zeros of a scalar are known."""
    return None if kind.shape else _known(float(OpTrait.ONES in node.node.traits), kind)


@only_for(reads={NUMBER})
def fold_constants(rewriter: Rewriter, node: GraphNode, kind: ArrayType) -> Result:
    """A node whose inputs are all numbers is computed now."""
    if kind.shape != () or len(node.node.outputs) > 1 or OpTrait.SIZES_ONLY in node.node.traits:
        return None
    values = list(map(rewriter.number, node.inputs))
    if values.count(None) > node.inputs.count(None):
        return None
    return _computed(node, values, kind)


def _computed(node: GraphNode, values: Sequence[Any], kind: ArrayType) -> Result:
    """What a node gives of numbers, if a model file may hold it."""
    try:
        result = node.node.forward(*values)
    except Exception:  # noqa: BLE001 - the node stays, and what is wrong is reported when it runs
        return None
    if type(result) in (int, float):
        return _literal(result)
    return _known(float(result), kind) if np.asarray(result).dtype.kind == "f" else None


def _literal(number: float) -> Operand:
    """A Python number as a literal, if a model file may hold it: finite, and an integer that is exact as a double."""
    exact = abs(number) <= LARGEST_EXACT if type(number) is int else math.isfinite(number)
    return number if exact else None


def _known(value: float, kind: ArrayType) -> Result:
    """A number of a type, if it is of a floating-point dtype that a model file has (float16 is none)."""
    has_dtype = kind.is_differentiable and dtype_name(kind.dtype) in DTYPES
    return kind.array_dtype.type(value) if has_dtype else None


_NEUTRAL = {"mul": 1, "div": 1, "pow": 1, "sub": 0}
"""The last operand that changes nothing. x + 0 is not among them, because -0.0 + 0 is 0.0."""


@only_for(*_NEUTRAL, reads={NUMBER})
def neutral_operands(rewriter: Rewriter, node: GraphNode, kind: ArrayType) -> Result:
    """x * 1, 1 * x, x / 1, x ** 1 and x - 0 give x bit for bit, for every x, -0.0, infinities and NaN included."""
    x, y = node.inputs
    if node.op == "mul" and _is_number(rewriter, x, 1):
        return _same_type(rewriter, y, kind)
    return _same_type(rewriter, x, kind) if _is_number(rewriter, y, _NEUTRAL[node.op]) else None


@only_for("neg", reads={SIGN})
def double_signs(rewriter: Rewriter, node: GraphNode, kind: ArrayType) -> Result:
    """-(-x) is x."""
    producer = rewriter.producer(node.inputs[0], SIGN)
    return producer.inputs[0] if producer else None


@only_for(traits={OpTrait.TYPE_ONLY})
def unchanged(rewriter: Rewriter, node: GraphNode, kind: ArrayType) -> Result:
    """A change of shape or dtype to what a value already has is none."""
    return _same_type(rewriter, node.inputs[0], kind)


def _is_number(rewriter: Rewriter, operand: Operand, number: int) -> bool:
    """Whether an operand is this number; 0 means positive zero."""
    value = rewriter.number(operand)
    return value is not None and value == number and math.copysign(1, value) > 0


def _same_type(rewriter: Rewriter, operand: Operand, wanted: ArrayType) -> Operand:
    """The operand, if it is a value of just the type that is wanted."""
    kind = rewriter.type_of(operand)
    same = isinstance(operand, str) and kind and kind[:2] == wanted[:2] and None not in kind.shape
    return operand if same else None


@only_for("abs", "square", reads={SIGN})
def signs_of_operands(rewriter: Rewriter, node: GraphNode, kind: ArrayType) -> Result:
    """abs(-x) = abs(x), and (-x) squared is x squared."""
    inner = _under_sign(rewriter, node.inputs[0]) if kind.is_differentiable else None
    return None if inner is None else node._replace(inputs=(inner,))


@only_for("mul", reads={SIGN})
def signs_of_products(rewriter: Rewriter, node: GraphNode, kind: ArrayType) -> Result:
    """(-x) * y = -(x * y) and (-x) * (-y) = x * y: rounding does not depend on the sign."""
    if not kind.is_differentiable:
        return None
    x, y = node.inputs
    left, right = _under_sign(rewriter, x), _under_sign(rewriter, y)
    if left is None and right is None:
        return None
    if left is None:
        return _negative_product(rewriter, (x, right), node.id)
    if right is None:
        return _negative_product(rewriter, (left, y), node.id)
    return rewriter.insert("mul", (left, right), {}, node.id)


def _negative_product(rewriter: Rewriter, operands: tuple[Operand, ...], name: str) -> GraphNode:
    plain = rewriter.insert("mul", operands, {}, name)
    return GraphNode(name, SIGN, rewriter.instance(SIGN, {}), (plain,))


_OPPOSITE = {"add": "sub", "sub": "add"}


@only_for(*_OPPOSITE, reads={SIGN})
def signs_of_sums(rewriter: Rewriter, node: GraphNode, kind: ArrayType) -> Result:
    """x + (-y) = x - y, x - (-y) = x + y and (-x) + y = y - x: sums take up minus signs."""
    if not kind.is_differentiable:
        return None
    x, y = node.inputs
    opposite = _OPPOSITE[node.op]
    right = _under_sign(rewriter, y)
    if right is not None:
        return GraphNode(node.id, opposite, rewriter.instance(opposite, {}), (x, right))
    left = _under_sign(rewriter, x) if node.op == "add" else None
    return None if left is None else GraphNode(node.id, opposite, rewriter.instance(opposite, {}), (y, left))


def _under_sign(rewriter: Rewriter, operand: Operand) -> Operand:
    """What a value is the negative of, if it is one of floating-point numbers: those of others may wrap around."""
    producer = rewriter.producer(operand, SIGN)
    kind = producer and rewriter.type_of(operand)
    return producer.inputs[0] if producer and kind and kind.is_differentiable else None


@only_for(infer=elementwise, reads={WIDENING})
def unexpanded(rewriter: Rewriter, node: GraphNode, kind: ArrayType) -> Result:
    """An elementwise op takes what was broadcast before it was broadcast, if it has another operand of the full shape.

    No array of equal numbers is made where a scalar does; NumPy broadcasts by itself.
    """
    inputs = _unbroadcast(rewriter, node, kind.shape)
    return node._replace(inputs=inputs) if inputs and _shape_of(rewriter, inputs) == kind.shape else None


@only_for(infer=elementwise, reads={WIDENING})
def broadcast_late(rewriter: Rewriter, node: GraphNode, kind: ArrayType) -> Result:
    """An elementwise op of nothing but what was broadcast is computed before, and its result is broadcast.

    A sum over the result is then added in another order, within the bound of `factor_sums`: NumPy goes through a view
    of equal numbers by other axes than through an array of them.
    """
    inputs = _unbroadcast(rewriter, node, kind.shape)
    if inputs is None:
        return None
    attributes = {"shape": kind.shape}
    small = rewriter.insert(node.op, inputs, _attributes(node), node.id)
    return GraphNode(node.id, WIDENING, rewriter.instance(WIDENING, attributes), (small, None))


def _unbroadcast(rewriter: Rewriter, node: GraphNode, shape: Shape) -> tuple[Operand, ...] | None:
    """The operands of an elementwise op before they were broadcast; None where that changes nothing, or a type."""
    if not shape or not _is_static(shape):
        return None
    inputs = tuple([_before_broadcast(rewriter, operand) for operand in node.inputs])
    if inputs == node.inputs or _frees_python_number(rewriter, inputs, node.inputs):
        return None
    return inputs


def _frees_python_number(rewriter: Rewriter, inputs: Sequence[Operand], before: Sequence[Operand]) -> bool:
    """Whether one of the operands that were broadcast before is a Python number."""
    pairs = zip(inputs, before, strict=True)
    return any(operand is not made and _is_python_number(rewriter, operand) for operand, made in pairs)


def _is_python_number(rewriter: Rewriter, operand: Operand) -> bool:
    """Whether an operand takes part in promotion with less weight than an array made of it."""
    kind = rewriter.type_of(operand)
    return kind is not None and isinstance(kind.dtype, PythonNumber)


def _shape_of(rewriter: Rewriter, operands: tuple[Operand, ...]) -> Shape:
    """The shape that operands broadcast to."""
    return broadcast_shapes([kind.shape for kind in map(rewriter.type_of, operands) if kind is not None])


def _before_broadcast(rewriter: Rewriter, operand: Operand) -> Operand:
    producer = rewriter.producer(operand, WIDENING)
    return producer.inputs[0] if producer else operand


def _attributes(node: GraphNode) -> dict[str, Any]:
    return {name: getattr(node.node, name) for name in type(node.node).model_fields}


@only_for("sum", "sum_to")
def factor_sums(rewriter: Rewriter, node: GraphNode, kind: ArrayType) -> Result:
    """Scalar factors and signs leave a sum over all elements, and a sum of products becomes a dot product.

    sum(c * x * y) = c * dot(x, y). Sums are added in another order and products rounded in another place: for n
    elements the result differs by at most 2 * (n + 2) * eps * sum(abs(c * x * y)), the bound of any order of summation
    (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1).
    """
    summed = rewriter.type_of(node.inputs[0])
    if summed is None or not (_sums_all(node, kind) and _is_float_array(summed)):
        return None
    factors = _factors(rewriter, node.inputs[0], summed)
    if factors.are_one_array:
        return None
    insert = partial(rewriter.insert, attributes={}, near=node.id, kind=kind)  # `_is_factor`: none changes the dtype
    result = insert(*_summed(rewriter, factors.arrays, summed))
    for scalar in factors.scalars:
        result = insert("mul", (scalar, result))
    return insert(SIGN, (result,)) if factors.negative else result


class _Factors(NamedTuple):
    """A product as scalar factors, at most two array factors of the full shape, and its sign."""

    scalars: list[Operand]
    arrays: list[Operand]
    negative: bool

    @property
    def are_one_array(self) -> bool:
        """Whether the product is an array as it is."""
        return not (self.arrays[1:] or self.scalars or self.negative)


def _summed(rewriter: Rewriter, arrays: Sequence[Operand], kind: ArrayType) -> tuple[str, tuple[Operand, ...]]:
    """What sums up all elements of an array, or of the product of two: an op and its operands."""
    if len(arrays) == 1:
        return "sum", (arrays[0],)
    vectors = arrays if len(kind.shape) == 1 else [_flat(rewriter, array, kind) for array in arrays]
    return "matmul", tuple(vectors)


def _is_float_array(kind: ArrayType) -> bool:
    return isinstance(kind.dtype, np.dtype) and kind.dtype.kind == "f" and kind.shape != ()


def _flat(rewriter: Rewriter, array: Operand, kind: ArrayType) -> Operand:
    """The values of an array as a vector."""
    return rewriter.insert("reshape", (array, None), {"shape": (product(kind.shape),)}, "flat")


def _sums_all(node: GraphNode, kind: ArrayType) -> bool:
    if node.op == "sum":
        return kind.shape == ()
    return node.op == "sum_to" and node.inputs[1] is None and node.node.shape == ()  # type: ignore[attr-defined]


def _factors(rewriter: Rewriter, operand: Operand, kind: ArrayType) -> _Factors:
    """Take a product apart, as far as it has such factors."""
    scalars: list[Operand] = []
    arrays: list[Operand] = []
    negative, pending = False, [operand]
    while pending:
        current = pending.pop()
        of = rewriter.type_of(current)
        if of is not None and of.shape == ():
            scalars.append(current)
            continue
        match rewriter.producer(current, SIGN, "square", "mul"):
            case GraphNode(op="neg", inputs=inputs):
                negative = not negative
                pending += inputs
            case GraphNode(op="square", inputs=inputs) if not (arrays or pending):
                arrays += inputs * 2
            case GraphNode(op="mul") as node if _splits(rewriter, node, kind, len(arrays) + len(pending)):
                pending += node.inputs
            case _:
                arrays.append(current)
    return _Factors(scalars, arrays, negative)


def _splits(rewriter: Rewriter, node: GraphNode, kind: ArrayType, others: int) -> bool:
    """Whether a product may be taken apart: into a scalar and an array, or into two arrays in all."""
    factors = list(map(rewriter.type_of, node.inputs))
    arrays = [of for of in factors if of and of.shape]
    return len(arrays) + others <= 2 and all(_is_factor(of, kind) for of in factors)


def _is_factor(of: ArrayType | None, product: ArrayType) -> bool:
    """Whether a factor is a scalar or has the shape of the product, and leaves it its dtype."""
    if of is None or of.shape not in ((), product.shape):
        return False
    return of.dtype == product.dtype or isinstance(of.dtype, PythonNumber)


SHAPES = (fold_sizes, fold_splits, fold_output_sizes, fold_shapes)
IDENTITIES = (neutral_operands, double_signs, unchanged)
SIGNS = (signs_of_operands, signs_of_products, signs_of_sums)
EXACT = (*SHAPES, fold_fills, fold_constants, unexpanded, *IDENTITIES, *SIGNS)
"""`unexpanded` comes before those that look for what it makes of an operand: a neutral number, for one."""


def optimize(graph: Graph, *, exact: bool = True) -> Graph:
    """All passes in one walk; with `exact` only those that change no bit."""
    rules = EXACT if exact else (*EXACT, broadcast_late, factor_sums)
    return dead_code(Rewriter(dead_code(graph)).run(rules, merge=True, expansion=expansion))


def _is_static(shape: Shape) -> bool:
    return all(isinstance(size, int) for size in shape)
