"""Linear algebra, on matrices in the last two axes: stacks of them are worked on one by one."""

import numpy as np

from graphengine.ops.families.reductions import product_of_others
from graphengine.ops.merging import from_end, of_stacks
from graphengine.ops.node import Node
from graphengine.ops.registry import register
from graphengine.ops.shapes import ArrayType, broadcast_shapes, shape_text
from graphengine.ops.sums import dot_products, matrix_product, sum_over


def of_matrices(_node, x):
    """Rule for shapes: what is made of matrices has their shape and dtype."""
    return ArrayType(_matrices(x), x.array_dtype)


def of_square_matrices(_node, x):
    """Rule for shapes: what is computed of square matrices has their shape."""
    return ArrayType(_matrices(x, square=True), _inexact(x))


@register("matmul", numpy=np.matmul)
class Matmul(Node):
    """Matrix product, z = x @ y; dx = dz @ y.T, dy = x.T @ dz.

    As in NumPy: vectors too, leading axes broadcast.
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

    def merge(self, axes, x, y):
        left, right = (None if axis is None else axis - len(x.shape) for axis, x in zip(axes, (x, y), strict=True))
        if left == -1 and right == max(-2, -len(y.shape)):
            return "sum"
        columns = right == -1 and len(y.shape) > 1
        alone = (left == -2 and right is None) or (columns and left is None)
        return "rows" if alone else of_stacks(self, axes, x, y)

    def forward(self, x, y):
        return matrix_product(x, y)

    def backward(self, grad, x, y, needs):
        matrix_x = x if x.ndim > 1 else np.expand_dims(x, 0)
        matrix_y = y if y.ndim > 1 else np.expand_dims(y, 1)
        axes = (-2,) * (x.ndim == 1) + (-1,) * (y.ndim == 1)
        dz = np.expand_dims(grad, axes) if axes else grad
        dx = matrix_product(dz, swapped(matrix_y)) if needs[0] else None
        dy = matrix_product(swapped(matrix_x), dz) if needs[1] else None
        if dx is not None and x.ndim == 1:
            dx = sum_over(dx, axis=-2)
        if dy is not None and y.ndim == 1:
            dy = sum_over(dy, axis=-1)
        return dx, dy


def swapped(x):
    """x with its last two axes swapped."""
    return np.transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


@register("vecdot", numpy=np.vecdot)
class Vecdot(Node):
    """Sums of products along the last axis, z = sum(x * y, axis=-1); dz/dx = y, dz/dy = x.

    Other axes broadcast. Faster than the product and its sum: no array of products is made.
    """

    def infer(self, x, y):
        if not x.shape or not y.shape or (x.shape[-1] != y.shape[-1] and None not in (x.shape[-1], y.shape[-1])):
            raise ValueError(f"shapes {shape_text(x.shape)} and {shape_text(y.shape)} differ in their last axis")
        return ArrayType(broadcast_shapes([x.shape[:-1], y.shape[:-1]]), np.result_type(x.dtype, y.dtype))

    def merge(self, axes, x, y):
        places = set(from_end(axes, (x, y)))
        return "sum" if places == {-1} else "rows" if -1 not in places else None

    def forward(self, x, y):
        return dot_products(x, y)

    def backward(self, grad, x, y):
        grad = np.expand_dims(grad, -1)
        return grad * y, grad * x


class OfEachMatrix(Node):
    """Base of ops that give one number for each matrix of a stack."""

    merge = of_stacks


@register("trace", numpy=np.linalg.trace, traits=("primitive",))
class Trace(OfEachMatrix):
    """Sum of the diagonal of each matrix, z = x11 + ... + xnn; dz/dx = eye(n)."""

    def infer(self, x):
        return ArrayType(_matrices(x)[:-2], np.sum(np.ones(1, x.array_dtype)).dtype)

    def forward(self, x):
        return np.linalg.trace(x)

    def backward(self, grad, x):
        return np.expand_dims(grad, (-2, -1)) * EyeLike()(x)


@register("det", numpy=np.linalg.det, traits=("primitive",))
class Det(OfEachMatrix):
    """Determinant of each matrix, z = det(x); dx = dz * cofactor(x).

    Where x is regular that is dz * z * inv(x).T (Jacobi's formula).
    """

    def infer(self, x):
        return ArrayType(_matrices(x, square=True)[:-2], _inexact(x))

    def forward(self, x):
        return np.linalg.det(x)

    def backward(self, grad, x):
        return np.expand_dims(grad, (-2, -1)) * Cofactor()(x)


@register("cofactor")
class Cofactor(Node):
    """Cofactors of each matrix, the derivatives of its determinant.

    z = det(x) * inv(x).T; dx = cofactor(x, dz), ddirection = cofactor(x, dz).

    That is (-1) ** (i + j) * det(x without row i, column j). If a direction of the shape of x is given, z is the
    derivative of the cofactors along it, and dx is their second derivative along it and dz. All but the last are right
    for singular x, too, because they come from the singular values and not from an inverse (Stewart, On the adjugate
    matrix, 1998); the last needs inv(x) and is NaN where x is singular.
    """

    merge = of_stacks

    def infer(self, x, direction=None):
        if direction is not None and direction.shape != x.shape:
            raise ValueError(
                f"a direction has the shape of x, {shape_text(x.shape)}, not {shape_text(direction.shape)}"
            )
        return ArrayType(_matrices(x, square=True), _inexact(x) if direction is None else _inexact(direction))

    def workspace(self, x, direction=None):
        return [ArrayType(x.shape[-2:], _inexact(x))] * 6  # LAPACK decomposes one matrix of the stack at a time

    def forward(self, x, direction=None):
        if direction is None:
            return nan_where_refused(cofactors, "(n,n)->(n,n)", x)
        return nan_where_refused(cofactors, "(n,n),(n,n)->(n,n)", x, direction)

    def backward(self, grad, x, direction, needs):
        if direction is None:
            return Cofactor()(x, grad), None
        return third_derivative(x, direction, grad) if needs[0] else None, Cofactor()(x, grad) if needs[1] else None


@register("inv", numpy=np.linalg.inv)
class Inv(Node):
    """Inverse of each matrix, z = inv(x); dx = -z.T @ dz @ z.T.

    NaN where x is singular.
    """

    merge = of_stacks

    infer = of_square_matrices

    def forward(self, x):
        return nan_where_refused(np.linalg.inv, "(n,n)->(n,n)", x)

    def backward(self, grad, out):
        return -matrix_product(matrix_product(swapped(out), grad), swapped(out))


@register("solve", numpy=np.linalg.solve)
class Solve(Node):
    """Solution of the linear equations x @ z = y, z = inv(x) @ y; dx = -dy @ z.T, dy = inv(x).T @ dz.

    For matrices x and a vector y, or stacks of matrices y. Computed without the inverse; NaN where x is singular.
    """

    merge = of_stacks

    def infer(self, x, y):
        size = _matrices(x, square=True)[-1]
        rows = y.shape if len(y.shape) == 1 else y.shape[-2:]
        if not rows or (rows[0] != size and None not in (rows[0], size)):
            raise ValueError(f"{size} equations do not fit a right-hand side of shape {shape_text(y.shape)}")
        leading = broadcast_shapes([x.shape[:-2], y.shape[: -len(rows)]])
        return ArrayType((*leading, *rows), np.result_type(_inexact(x), _inexact(y)))

    def forward(self, x, y):
        return nan_where_refused(np.linalg.solve, "(n,n),(n)->(n)" if y.ndim == 1 else "(n,n),(n,m)->(n,m)", x, y)

    def backward(self, grad, x, y, out):
        vector = y.ndim == 1
        dz, z = (np.expand_dims(grad, -1), np.expand_dims(out, -1)) if vector else (grad, out)
        dy = Solve()(swapped(x), dz)
        return -matrix_product(dy, swapped(z)), np.reshape(dy, grad.shape) if vector else dy


@register("cholesky", numpy=np.linalg.cholesky)
class Cholesky(Node):
    """Lower triangular square root of symmetric, positive definite matrices: x is z @ z.T.

    z = cholesky((x + x.T) / 2); dx = (s + s.T) / 2 with s = inv(z).T @ phi(z.T @ dz) @ inv(z),
    phi(a) = (tril(a) + tril(a, -1)) / 2.

    NaN where x is not positive definite. Each triangle of x counts for one half, as in JAX: the gradient is symmetric,
    as in JAX and PyTorch, so a step along it keeps a symmetric matrix symmetric. NumPy and PyTorch read the lower
    triangle only. Murray, Differentiation of the Cholesky decomposition, 2016, section 3.1.
    """

    merge = of_stacks

    infer = of_square_matrices

    def forward(self, x):
        return nan_where_refused(np.linalg.cholesky, "(n,n)->(n,n)", symmetric_part(x))

    def backward(self, grad, out):
        upper = swapped(out)
        inner = Solve()(upper, with_half_diagonal(matrix_product(upper, grad)))
        outer = Solve()(upper, swapped(inner))
        return (outer + swapped(outer)) / 2


class Triangle(Node):
    """Base of the ops that keep one side of a diagonal of each matrix."""

    infer = of_matrices
    merge = of_stacks
    k: int = 0


@register("tril", numpy=np.tril, traits=("primitive",))
class Tril(Triangle):
    """The lower triangle of each matrix, z = tril(x, k); dx = tril(dz, k).

    x on and below the diagonal number k (0 is the main one), 0 above.
    """

    def forward(self, x):
        return np.tril(x, self.k)

    def backward(self, grad):
        return np.tril(grad, self.k)


@register("triu", numpy=np.triu, traits=("primitive",))
class Triu(Triangle):
    """The upper triangle of each matrix, z = triu(x, k); dx = triu(dz, k).

    x on and above the diagonal number k (0 is the main one), 0 below.
    """

    def forward(self, x):
        return np.triu(x, self.k)

    def backward(self, grad):
        return np.triu(grad, self.k)


@register("eye_like")
class EyeLike(Node):
    """Matrices with 1 on the diagonal and 0 elsewhere, in the shape and dtype of x, z = eye_like(x); dz/dx = 0."""

    infer = of_matrices
    merge = of_stacks

    def forward(self, x):
        return np.broadcast_to(np.eye(*x.shape[-2:], dtype=x.dtype), x.shape)

    def backward(self, grad):
        return np.zeros_like(grad)


def cofactors(x, direction=None):
    """The first derivative of the determinant, or the second along a direction.

    For x = u @ diag(s) @ v they are those of diag(s) between u and v, times the determinants of both.
    """
    u, s, v = np.linalg.svd(x)
    if direction is None:
        z = product_of_others(s, -1)[..., None, :] * u
    else:
        one = np.eye(s.shape[-1], dtype=bool)
        turned = swapped(u) @ direction @ swapped(v)
        pairs = np.where(one, 0, product_of_others(np.where(one, 1, s[..., None, :]), -1))  # of all but two of s
        traces = pairs @ np.diagonal(turned, axis1=-2, axis2=-1)[..., None]
        z = u @ (np.where(one, traces, 0) - pairs * swapped(turned))
    return np.sign(np.linalg.det(u @ v))[..., None, None] * (z @ v)


def third_derivative(x, first, second):
    """The gradient with respect to regular x of the second derivative of its determinant along two directions."""
    y = swapped(Inv()(x))
    p, q = matrix_product(y, swapped(first)), matrix_product(y, swapped(second))
    pq, qp = matrix_product(p, q), matrix_product(q, p)
    trace_p, trace_q, trace_pq, det = (
        np.expand_dims(scalars, (-2, -1)) for scalars in (*map(np.linalg.trace, (p, q, pq)), np.linalg.det(x))
    )
    inner = (trace_p * trace_q - trace_pq) * EyeLike()(x) - trace_q * p - trace_p * q + pq + qp
    return det * matrix_product(inner, y)


def dot_along(x, y, axis):
    """Sum of x * y along one axis, which is kept as size 1."""
    if axis in (-1, x.ndim - 1):
        return np.expand_dims(dot_products(x, y), -1)
    return sum_over(x * y, axis=axis, keepdims=True)


def symmetric_part(x):
    """The mean of each matrix and its transpose; equal values keep their bits and do not overflow."""
    return np.where(x == x.mT, x, x / 2 + x.mT / 2)


def with_half_diagonal(x):
    """The lower triangle of each matrix, with half of the diagonal."""
    return (np.tril(x) + np.tril(x, -1)) / 2


def nan_where_refused(function, signature, *arrays):
    """What a function of matrices gives, NaN for those it refuses and for those that are not finite.

    NumPy refuses a whole stack for one of them, and makes numbers of a matrix with NaN.
    """
    result = numbers_or_nan(function, signature, *arrays)
    finite = np.isfinite(arrays[0])
    if finite.all():
        return result
    axes = signature.partition("->")[2].count(",") + 1
    return np.where(np.expand_dims(finite.all((-2, -1)), tuple(range(-axes, 0))), result, np.nan)


def numbers_or_nan(function, signature, *arrays):
    """What a function of matrices gives, NaN for those it refuses."""

    def one(*matrices):
        try:
            return function(*matrices)
        except np.linalg.LinAlgError:
            return matrices[-1] * np.nan

    try:
        return function(*arrays)
    except np.linalg.LinAlgError:
        return np.vectorize(one, signature=signature)(*arrays)


def _matrices(x, *, square=False):
    """The shape of what must be matrices."""
    if len(x.shape) < 2 or (square and x.shape[-1] != x.shape[-2]):
        raise ValueError(f"it takes {'square ' * square}matrices, not shape {shape_text(x.shape)}")
    return x.shape


def _inexact(x):
    """The dtype that NumPy's linear algebra computes in."""
    return x.array_dtype if x.array_dtype.kind == "f" else np.dtype(np.float64)
