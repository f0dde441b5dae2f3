import numpy as np

from samples.arrays import values
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


TABLE = {
    "matmul": Samples([({}, (values(first), values(second, 1))) for first, second in MATRICES], matmul),
}
