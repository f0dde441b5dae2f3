"""Products of matrices with the samples cut into tiles, so that a sample gets the same bits wherever it is.

BLAS may compute the rows at the edge of a matrix by another kernel than the others. In tiles of the right number of
rows there is no such edge, and a stack of tiles is multiplied one by one. Functions that a node runs are cut alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, TypeAlias

from graphengine.ir.graph import Graph
from graphengine.ir.graph_bodies import GraphBody, graph_bodies_of
from graphengine.ir.nodes import GraphNode, Operand, operand_types
from graphengine.ops.families.contraction import labels_of
from graphengine.ops.inference import is_elementwise
from graphengine.ops.shapes import ArrayType, Shape, size_value
from graphengine.transform.passes import expand
from graphengine.transform.rewriting import Result, Rewriter, Rule, only_for

TileOf: TypeAlias = Callable[[int, ArrayType, ArrayType], int]
"""The number of rows of a tile, for a number of rows and the types of a matrix of such rows and of its factor."""


def in_row_tiles(graph: Graph, block: int, tile_of: TileOf) -> Graph:
    """Return a graph of known sizes with its products in tiles; a size that `block` divides is one of samples."""
    cut = Rewriter(expand(graph)).run((_product_rule(block, tile_of), _sum_rule(block)))
    nodes = [_with_cut_bodies(node, cut, block, tile_of) for node in cut.nodes]
    return cut.derive(nodes, cut.outputs, cut.types)


def products_of_rows(graph: Graph, block: int) -> list[tuple[ArrayType, ArrayType]] | None:
    """Return the types of the factors of all products of a graph of known sizes, each of rows and a factor without.

    None if the graph has anything else than such products and functions of single numbers.
    """
    whole = expand(graph)
    products = [node for node in whole.nodes if not is_elementwise(node.node)]
    if not all(map(_is_product, products)):
        return None
    found = [_factors(node, whole) for node in products]
    return found if all(_is_of_rows(*factors, block) for factors in found) else None


def _is_product(node: GraphNode) -> bool:
    return node.op == "matmul" and node.node.is_core


def _factors(node: GraphNode, graph: Graph) -> tuple[ArrayType, ArrayType]:
    left, right = node.references
    return graph.types[left], graph.types[right]


def _is_of_rows(left: ArrayType, right: ArrayType, block: int) -> bool:
    """Whether the left factor is a matrix that has the samples as its rows, and the right one has no samples."""
    have_axes = len(left.shape) == 2 and len(right.shape) <= 2
    return have_axes and _sampled_axes(left.shape, block) == [0] and not _sampled_axes(right.shape, block)


def _sampled_axes(shape: Shape, block: int) -> list[int]:
    return [axis for axis, size in enumerate(shape) if _counts_samples(size, block)]


def _product_rule(block: int, tile_of: TileOf) -> Rule:
    @only_for("matmul")
    def product(rewriter: Rewriter, node: GraphNode, kind: ArrayType) -> Result:
        x, y = node.inputs
        left, right = _shape(rewriter, x), _shape(rewriter, y)
        if len(left) > 1 and _counts_samples(left[-2], block):
            return _with_samples_left(rewriter, node, kind.shape, tile_of)
        if len(right) > 1 and _counts_samples(right[-1], block):
            return _with_samples_right(rewriter, node, kind.shape, tile_of)
        return None

    return product


def _counts_samples(size: Any, block: int) -> bool:
    return isinstance(size, int) and size > 0 and size % block == 0


def _shape(rewriter: Rewriter, operand: Operand) -> tuple[Any, ...]:
    kind = rewriter.type_of(operand)
    return () if kind is None else kind.shape


def _with_samples_left(rewriter: Rewriter, node: GraphNode, shape: Shape, tile_of: TileOf) -> Result:
    """A product whose left matrix has the samples as its rows."""
    x, y = node.inputs
    found = _in_tiles(rewriter, node, x, y, tile_of)
    return None if found is None else _reshape(rewriter, found, shape, node.id)


def _with_samples_right(rewriter: Rewriter, node: GraphNode, shape: Shape, tile_of: TileOf) -> Result:
    """A product whose right matrix has the samples as its columns: the transposed one of the transposed matrices."""
    x, y = node.inputs
    is_vector = len(_shape(rewriter, x)) == 1
    turned = _swapped(rewriter, y, node.id), x if is_vector else _swapped(rewriter, x, node.id)
    found = _in_tiles(rewriter, node, *turned, tile_of) or rewriter.insert("matmul", turned, {}, node.id)
    if is_vector:
        return _reshape(rewriter, found, shape, node.id)
    whole = rewriter.insert("reshape", (found, None), {"shape": (*shape[:-2], shape[-1], shape[-2])}, node.id)
    attributes = {"axes": _axes_swapped(len(shape))}
    return GraphNode(node.id, "transpose", rewriter.instance("transpose", attributes), (whole,))


def _in_tiles(rewriter: Rewriter, node: GraphNode, x: Operand, y: Operand, tile_of: TileOf) -> str | None:
    """The product of each tile of rows; None if all rows are one tile."""
    left: Any = rewriter.type_of(x)
    right: Any = rewriter.type_of(y)
    *leading, rows, length = [size_value(size, {}) or 0 for size in left.shape]
    tile = tile_of(rows, left, right)
    if tile == rows:
        return None
    x = rewriter.insert("reshape", (x, None), {"shape": (*leading, rows // tile, tile, length)}, node.id)
    if len(right.shape) > 2:  # one factor for all tiles of a matrix
        *stack, height, width = right.shape
        y = rewriter.insert("reshape", (y, None), {"shape": (*stack, 1, height, width)}, node.id)
    return rewriter.insert("matmul", (x, y), {}, node.id)


def _reshape(rewriter: Rewriter, operand: str, shape: Sequence[Any], name: str) -> GraphNode:
    return GraphNode(name, "reshape", rewriter.instance("reshape", {"shape": tuple(shape)}), (operand, None))


def _swapped(rewriter: Rewriter, operand: Operand, near: str) -> str:
    axes = _axes_swapped(len(_shape(rewriter, operand)))
    return rewriter.insert("transpose", (operand,), {"axes": axes}, near)


def _axes_swapped(rank: int) -> tuple[int, ...]:
    return (*range(rank - 2), rank - 1, rank - 2)


def _sum_rule(block: int) -> Rule:
    @only_for("einsum")
    def sum_of_products(rewriter: Rewriter, node: GraphNode, kind: ArrayType) -> Result:
        """Each factor gets the axis of the samples, so that no product of matrices is made of them."""
        shapes = [_shape(rewriter, operand) for operand in node.inputs]
        equation: str = node.node.equation  # type: ignore[attr-defined]
        terms, result = labels_of(equation, list(map(len, shapes)))  # type: ignore[no-untyped-call]
        sized = dict(zip("".join(terms), chain.from_iterable(shapes), strict=True))
        samples = next((label for label in result if _counts_samples(sized[label], block)), None)
        if samples is None:
            return None
        lacking = [place for place, term in enumerate(terms) if samples not in term]
        if not lacking:
            return None
        factors = list(node.inputs)
        for place in lacking:
            attributes = {"shape": (1, *shapes[place])}
            factors[place] = rewriter.insert("reshape", (factors[place], None), attributes, node.id)
            terms[place] = samples + terms[place]
        whole = rewriter.instance("einsum", {"equation": f"{','.join(terms)}->{result}"})
        return GraphNode(node.id, "einsum", whole, tuple(factors))

    return sum_of_products


def _with_cut_bodies(node: GraphNode, graph: Graph, block: int, tile_of: TileOf) -> GraphNode:
    """A node whose functions are cut, too."""
    bodies = graph_bodies_of(node.node)
    if not bodies or not node.node.is_core:
        return node
    given = _given(node, operand_types(node.inputs, graph.types))
    cut = {field: _cut(body, given, block, tile_of) for field, body in bodies.items()}
    return node._replace(node=node.node.model_copy(update=cut))


def _given(node: GraphNode, kinds: tuple[ArrayType | None, ...]) -> Sequence[ArrayType | None]:
    """The types of what the functions of a node get: parts in a loop, all but the condition in a choice."""
    if node.is_loop:
        steps: Sequence[ArrayType | None] = node.node.steps(kinds)[0]  # type: ignore[attr-defined]
        return steps
    return kinds[1:] if node.op == "cond" else kinds


def _cut(body: GraphBody, kinds: Sequence[ArrayType | None], block: int, tile_of: TileOf) -> GraphBody:
    graph = in_row_tiles(body.graph(kinds), block, tile_of)
    return GraphBody(body.name, body.inputs, graph.nodes, graph.outputs)
