"""Linear algebra."""

import numpy as np

from graphengine.node import Node
from graphengine.registry import register
from graphengine.shapes import ArrayType, broadcast_shapes, shape_text


@register("matmul", numpy=np.matmul)
class Matmul(Node):
    """Matrix product, z = x @ y, as in NumPy: vectors too, leading axes broadcast.

    With dz the gradient of z: dx = dz @ y.T, dy = x.T @ dz.
    """

    def infer(self, x, y):
        if not x.shape or not y.shape:
            raise ValueError(f"matmul takes no scalars: shapes {shape_text(x.shape)} and {shape_text(y.shape)}")
        left, right = (1, *x.shape)[-2:] if len(x.shape) == 1 else x.shape[-2:], y.shape[-2:]
        if len(y.shape) == 1:
            right = (*y.shape, 1)
        if left[1] != right[0] and None not in (left[1], right[0]):
            message = f"shapes {shape_text(x.shape)} and {shape_text(y.shape)} do not match"
            raise ValueError(f"{message}: {left[1]} columns, {right[0]} rows")
        rows, columns = left[:1] * (len(x.shape) > 1), right[1:] * (len(y.shape) > 1)
        leading = broadcast_shapes([x.shape[:-2], y.shape[:-2]])
        probe = np.matmul(np.ones((1, 1), x.dtype), np.ones((1, 1), y.dtype))
        return ArrayType((*leading, *rows, *columns), probe.dtype)

    def forward(self, x, y):
        return np.matmul(x, y)

    def backward(self, grad, x, y, needs):
        matrix_x = x if x.ndim > 1 else np.expand_dims(x, 0)
        matrix_y = y if y.ndim > 1 else np.expand_dims(y, 1)
        axes = (-2,) * (x.ndim == 1) + (-1,) * (y.ndim == 1)
        dz = np.expand_dims(grad, axes) if axes else grad
        dx = np.matmul(dz, swapped(matrix_y)) if needs[0] else None
        dy = np.matmul(swapped(matrix_x), dz) if needs[1] else None
        if dx is not None and x.ndim == 1:
            dx = np.sum(dx, axis=-2)
        if dy is not None and y.ndim == 1:
            dy = np.sum(dy, axis=-1)
        return dx, dy


def swapped(x):
    """x with its last two axes swapped."""
    return np.transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))
