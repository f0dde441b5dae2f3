import numpy as np

from samples.arrays import integers, shaped, unary, values
from samples.table import Samples

RESHAPES = [
    ({"shape": [6]}, (2, 3)),
    ({"shape": [-1]}, (2, 3)),
    ({"shape": [3, -1]}, (2, 3)),
    ({"shape": []}, (1,)),
    ({"shape": [1, 1]}, ()),
    ({"shape": [0, 3]}, (0,)),
]
BROADCASTS = [
    ({"shape": [3]}, ()),
    ({"shape": [2, 3]}, (3,)),
    ({"shape": [4, 2, 3]}, (2, 1)),
    ({"shape": [2, 3]}, (2, 3)),
    ({"shape": [0, 3]}, (1, 3)),
]
SUMS = [
    ({"shape": []}, (2, 3)),
    ({"shape": [3]}, (2, 3)),
    ({"shape": [2, 1]}, (4, 2, 3)),
    ({"shape": [2, 3]}, (2, 3)),
    ({"shape": [1]}, (0,)),
]
TRANSPOSES = [
    ({}, ()),
    ({}, (3,)),
    ({}, (2, 3)),
    ({}, (4, 2, 3)),
    ({"axes": [1, 2, 0]}, (4, 2, 3)),
    ({"axes": [0, -1, 1]}, (4, 2, 3)),
]
NEW_AXES = [
    ({"axis": 0}, ()),
    ({"axis": 0}, (3,)),
    ({"axis": -1}, (2, 3)),
    ({"axis": [0, 2]}, (2, 3)),
    ({"axis": [-1, 0]}, (3,)),
]


def wanted(sizes, shape):
    return shape if sizes is None else tuple(sizes)


def sum_to(x, sizes=None, shape=None):
    """Broadcasting undone by an einsum over the labels that are missing, one axis after the other."""
    shape = wanted(sizes, shape)
    x = x.sum(axis=tuple(range(x.ndim - len(shape))))
    for axis, size in enumerate(shape):
        x = x if x.shape[axis] == size else x.sum(axis=axis, keepdims=True)
    return x


TABLE = {
    "shape": Samples(unary(), lambda x: list(np.shape(x))),
    "size": Samples(
        [*unary(), *shaped([({"axis": 0}, (2, 3)), ({"axis": -1}, (2, 3))])],
        lambda x, axis=None: len(x.ravel()) if axis is None else len(np.moveaxis(x, axis, 0)),
    ),
    "reshape": Samples(
        [*shaped(RESHAPES), ({}, (values((2, 3)), integers(3, 2)))],
        lambda x, sizes=None, shape=None: np.array(list(x.flat)).reshape(wanted(sizes, shape)),
    ),
    "broadcast_to": Samples(
        [*shaped(BROADCASTS), ({}, (values((3,)), integers(2, 3)))],
        lambda x, sizes=None, shape=None: x * np.ones(wanted(sizes, shape)),
    ),
    "sum_to": Samples([*shaped(SUMS), ({}, (values((2, 3)), integers(2, 1)))], sum_to),
    "transpose": Samples(
        shaped(TRANSPOSES),
        lambda x, axes=None: np.moveaxis(x, range(x.ndim)[::-1] if axes is None else axes, range(x.ndim)),
    ),
    "expand_dims": Samples(shaped(NEW_AXES), lambda x, axis: np.expand_dims(x, axis)),
    "cast": Samples(
        shaped([({"dtype": "float64"}, (3,)), ({"dtype": "float64"}, (2, 3))]), lambda x, dtype: x, analytic=False
    ),
    "zeros_like": Samples(unary(), lambda x: 0 * x, formula=False),
    "ones_like": Samples(unary(), lambda x: 0 * x + 1, formula=False),
}
