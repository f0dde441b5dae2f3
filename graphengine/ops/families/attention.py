"""Attention and embedding, as transformers have them."""

import numpy as np

from graphengine.ops.families.activations import Softmax
from graphengine.ops.families.linear import swapped
from graphengine.ops.families.selection import IndexAdd
from graphengine.ops.inference import floating
from graphengine.ops.merging import of_stacks
from graphengine.ops.node import Node
from graphengine.ops.registry import register
from graphengine.ops.shapes import ArrayType, broadcast_shapes, dtype_name, shape_text
from graphengine.ops.sums import matrix_product


@register("embedding")
class Embedding(Node):
    """The row of `weight` for each index.

    z[i] = weight[indices[i]]; dweight = index_add(zeros_like(weight), indices, dz).

    Indices of any shape, weight (V, E), result (*shape, E). The gradient of a row is the sum over all its uses. The row
    `padding_index`, which pads short sequences, has the gradient 0.
    """

    padding_index: int | None = None

    def infer(self, indices, weight):
        if len(weight.shape) != 2 or indices.array_dtype.kind not in "iu":
            raise ValueError(f"indices must be integers and weight a matrix, not {indices} and {weight}")
        rows, index = weight.shape[0], self.padding_index
        if index is not None and isinstance(rows, int) and not -rows <= index < rows:
            raise ValueError(f"padding_index {index} is out of range for {rows} rows")
        return ArrayType((*indices.shape, weight.shape[1]), weight.dtype)

    def merge(self, axes, indices, weight):
        return "rows" if axes[1] is None else None

    def forward(self, indices, weight):
        return np.take(weight, indices, axis=0)

    def backward(self, grad, indices, weight):
        if self.padding_index is not None:
            rows = weight.shape[0]
            padding = indices.astype(np.int64) % rows == self.padding_index % rows
            grad = np.where(np.expand_dims(padding, -1), 0, grad)
        return None, IndexAdd(axis=0)(np.zeros_like(weight), indices, grad)


@register("scaled_dot_product_attention")
class ScaledDotProductAttention(Node):
    """Means of values, weighted by how well their keys fit each query.

    z = w @ v with w = softmax(scale * q @ k.T + mask);
    dq = scale * ds @ k, dk = scale * ds.T @ q, dv = w.T @ dz, dmask = ds with ds = w * (dw - sum(w * dw)),
    dw = dz @ v.T.

    Shapes: q (..., L, E), k (..., S, E), v (..., S, D), result (..., L, D); leading axes broadcast. Where a mask of
    truth values (..., L, S) is false, a query does not see a key; one of numbers is added to the scores. With `causal`
    query number i sees the keys up to number i. A query that sees no key gives 0; one whose scores are all -Infinity
    gives NaN, as in `softmax`. Keys and values that are not seen must be finite, too: 0 * NaN is NaN, as in PyTorch.
    `scale` is 1 / sqrt(E) unless given. Vaswani et al., Attention Is All You Need, 2017.
    """

    merge = of_stacks
    causal: bool = False
    scale: float | None = None

    def infer(self, q, k, v, mask=None):
        return attended(self, q, k, v, mask)

    def workspace(self, q, k, v, mask=None):
        scores = ArrayType(scored(q, k, mask), floating(q, k))
        chosen = self.causal or (mask is not None and mask.array_dtype.kind == "b")
        return [scores] * (5 if chosen else 3)

    def forward(self, q, k, v, mask=None):
        return matrix_product(self.weights(q, k, mask), v)

    def backward(self, grad, q, k, v, mask, needs):
        weights, scale = self.weights(q, k, mask), self.factor(q)
        dweights = matrix_product(grad, swapped(v))
        dscores = Softmax().backward(dweights, weights)
        return (
            matrix_product(dscores, k) * scale if needs[0] else None,
            matrix_product(swapped(dscores), q) * scale if needs[1] else None,
            matrix_product(swapped(weights), grad) if needs[2] else None,
            dscores if needs[3] else None,
        )

    def factor(self, q):
        """What the products of queries and keys are multiplied by."""
        return q.shape[-1] ** -0.5 if self.scale is None else self.scale

    def weights(self, q, k, mask):
        """What each value counts for each query; the weights of a query add up to 1."""
        scores = matrix_product(q * self.factor(q), swapped(k))
        if mask is not None and mask.dtype != np.bool_:
            scores, mask = scores + mask, None
        if self.causal:
            past = np.tril(np.ones_like(scores)) > 0
            mask = past if mask is None else np.logical_and(mask, past)
        if mask is None:
            return Softmax().forward(scores)
        blind = np.logical_not(np.any(mask, axis=-1, keepdims=True))  # a softmax of no key would be NaN
        return np.where(mask, Softmax().forward(np.where(np.logical_or(mask, blind), scores, -np.inf)), 0)


def attended(node, q, k, v, mask):
    """The type of an attention."""
    shapes = ", ".join(shape_text(kind.shape) for kind in (q, k, v))
    if min(len(kind.shape) for kind in (q, k, v)) < 2:
        raise ValueError(f"queries, keys and values have two axes or more, not shapes {shapes}")
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ValueError(f"queries (L, E), keys (S, E) and values (S, D) do not fit each other: shapes {shapes}")
    if node.scale is None and not isinstance(q.shape[-1], int):
        raise ValueError(f"the size of queries must be a number if `scale` is not given, not {q.shape[-1]}")
    if mask is not None and mask.array_dtype.kind not in "bf":
        raise ValueError(f"a mask holds truth values or numbers to add, not {dtype_name(mask.dtype)}")
    leading = broadcast_shapes([scored(q, k, mask)[:-2], v.shape[:-2]])
    added = None if mask is None or mask.array_dtype.kind == "b" else mask
    return ArrayType((*leading, q.shape[-2], v.shape[-1]), floating(q, k, v, added))


def scored(q, k, mask):
    """The shape of the scores of an attention, and of its weights."""
    pairs = [(*q.shape[:-2], 1, 1), (*k.shape[:-2], q.shape[-2], k.shape[-2])]
    return broadcast_shapes([*pairs, *([mask.shape] if mask else [])])
