import numpy as np
from scipy import linalg

from samples.arrays import shaped, values
from samples.table import Samples

MATRICES = [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 2)),
    ((2, 3), (3, 4)),
    ((4, 2, 3), (3, 2)),
    ((4, 2, 3), (4, 3, 2)),
    ((2, 3), (4, 3, 2)),
    ((4, 1, 2, 3), (2, 3, 1)),
    ((3,), (4, 3, 2)),
    ((4, 2, 3), (3,)),
    ((0, 3), (3, 2)),
    ((2, 0), (0, 3)),
]


def matmul(x, y):
    """The product by its definition: sums of products of rows and columns."""
    rows = x if x.ndim > 1 else x[None, :]
    columns = y if y.ndim > 1 else y[:, None]
    result = (rows[..., :, :, None] * columns[..., None, :, :]).sum(axis=-2)
    return np.squeeze(result, axis=(-2,) * (x.ndim == 1) + (-1,) * (y.ndim == 1))


def regular(shape, seed=0):
    """Matrices that are far from singular."""
    return values(shape, seed) + 3 * np.eye(shape[-1])


def positive_definite(shape):
    return np.matmul(regular(shape), np.swapaxes(regular(shape), -1, -2))


def each_matrix(function):
    """An oracle for stacks of matrices from a function of one."""

    def oracle(x, *rest, **attributes):
        if x.ndim == 2:
            return function(x, *rest, **attributes)
        return np.stack([oracle(part, *rest, **attributes) for part in x])

    return oracle


def solve(x, y):
    if x.ndim == 2 and y.ndim <= 2:
        return linalg.solve(x, y)
    return np.stack([solve(x[i] if x.ndim > 2 else x, y[i] if y.ndim > 2 else y) for i in range(max(len(x), len(y)))])


def offsets(x):
    """How far below the diagonal each value of a matrix lies."""
    return np.subtract.outer(*map(np.arange, x.shape))


def singular(size):
    """A stack of matrices of ranks 0, n - 2 (two columns are multiples of others) and n - 1 (a column is 0)."""
    stack = np.stack([0 * regular((size, size)), regular((size, size)), regular((size, size), 1)])
    stack[1, :, -2:] = 2 * stack[1, :, :2]
    stack[2, :, 1] = 0
    return stack


def without(x, row, column):
    return np.delete(np.delete(x, row, 0), column, 1)


def determinant_along(x, direction):
    """The derivative along a direction: a determinant is linear in each row."""
    rows = np.eye(len(x), dtype=bool)
    return sum(linalg.det(np.where(row[:, None], direction, x)) for row in rows)


def cofactors(x, direction=None):
    """By the definition, minor by minor."""
    z = np.empty_like(x)
    for row, column in np.ndindex(x.shape):
        minor = without(x, row, column)
        along = None if direction is None else without(direction, row, column)
        z[row, column] = (-1) ** (row + column) * (
            linalg.det(minor) if along is None else determinant_along(minor, along)
        )
    return z


SQUARE = [(2, 2), (3, 3), (4, 3, 3)]
EQUATIONS = [((3, 3), (3,)), ((3, 3), (3, 2)), ((4, 3, 3), (4, 3, 2)), ((4, 3, 3), (3,)), ((3, 3), (4, 3, 2))]
VECTORS = [((3,), (3,)), ((2, 3), (3,)), ((4, 1, 3), (2, 3)), ((2, 0), (2, 0))]
TRIANGLES = [({}, (3, 3)), ({"k": -1}, (4, 2, 3)), ({"k": 1}, (3, 2))]

TABLE = {
    "matmul": Samples([({}, (values(first), values(second, 1))) for first, second in MATRICES], matmul),
    "vecdot": Samples(
        [({}, (values(first), values(second, 1))) for first, second in VECTORS],
        lambda x, y: (x * y).sum(axis=-1),
        analytic=False,
    ),
    "trace": Samples(shaped([({}, (3, 3)), ({}, (4, 2, 3))]), each_matrix(lambda x: sum(np.diag(x)))),
    "det": Samples([({}, (regular(shape),)) for shape in SQUARE] + [({}, (singular(4) / 3,))], each_matrix(linalg.det)),
    "cofactor": Samples(
        [
            *[({}, (regular(shape),)) for shape in SQUARE],
            *[({}, (regular(shape), values(shape, 1))) for shape in SQUARE[1:]],
        ],
        lambda x, *direction: np.stack([*map(cofactors, x, *direction)]) if x.ndim > 2 else cofactors(x, *direction),
        analytic=False,
    ),
    "inv": Samples([({}, (regular(shape),)) for shape in SQUARE], each_matrix(linalg.inv)),
    "solve": Samples([({}, (regular(left), values(right, 1))) for left, right in EQUATIONS], solve),
    "cholesky": Samples(
        [({}, (positive_definite(shape),)) for shape in SQUARE] + [({}, (np.array([[4.0, 1.0], [2.0, 3.0]]),))],
        each_matrix(lambda x: linalg.cholesky((x + x.T) / 2, lower=True)),
        analytic=False,
    ),
    "tril": Samples(shaped(TRIANGLES), each_matrix(lambda x, k=0: x * (offsets(x) >= -k))),
    "triu": Samples(shaped(TRIANGLES), each_matrix(lambda x, k=0: x * (offsets(x) <= -k))),
    "eye_like": Samples(shaped([({}, (3, 3)), ({}, (4, 2, 3))]), each_matrix(lambda x: np.eye(*x.shape))),
}
