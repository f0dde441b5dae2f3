import numpy as np

from samples.arrays import SHAPES, integers, shaped, unary, values
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
    ({}, (0, 3)),
    ({"axes": [0, -1, 1]}, (4, 2, 3)),
]
NEW_AXES = [
    ({"axis": 0}, ()),
    ({"axis": 0}, (3,)),
    ({"axis": -1}, (2, 3)),
    ({"axis": [0, 2]}, (2, 3)),
    ({"axis": [-1, 0]}, (3,)),
    ({"axis": 1}, (0, 3)),
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


def flatten(x, axis=0):
    """The values in order, dealt out to one vector for each place along the axes in front."""
    first = axis % max(x.ndim, 1)
    joined = np.empty((*x.shape[:first], int(np.prod(x.shape[first:]))))
    for place in np.ndindex(x.shape[:first]):
        joined[place] = list(x[place].flat)
    return joined


def by_axis(x, axis, named, other):
    """An index: one thing for the axes that are named, all of them by None, another for the rest."""
    axes = range(x.ndim) if axis is None else np.atleast_1d(axis) % x.ndim
    return tuple(named if number in axes else other for number in range(x.ndim))


def untile(x, reps):
    """Tile after tile added up."""
    sizes = [size // rep for size, rep in zip(x.shape, reps, strict=True)]
    total = np.zeros(sizes)
    for corner in np.ndindex(reps):
        total += x[tuple(slice(at * size, (at + 1) * size) for at, size in zip(corner, sizes, strict=True))]
    return total


def tile(x, reps):
    """Copies put together, one axis after the other."""
    x = x[(None,) * max(0, len(reps) - x.ndim)]
    for axis, count in zip(range(-len(reps), 0), reps, strict=True):
        x = np.concatenate([x] * count, axis) if count else np.take(x, [], axis)
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
    "flatten": Samples(
        shaped([({}, ()), ({}, (2, 3)), ({"axis": 1}, (4, 2, 3)), ({"axis": -1}, (2, 3)), ({"axis": 1}, (2, 3, 0))]),
        flatten,
    ),
    "squeeze": Samples(
        shaped([({"axis": 0}, (1,)), ({"axis": [0, -1]}, (1, 3, 1)), ({"axis": 1}, (0, 1))]),
        lambda x, axis: x[by_axis(x, axis, 0, slice(None))],
    ),
    "flip": Samples(
        shaped([({}, (2, 3)), ({"axis": 0}, (3,)), ({"axis": 1}, (0, 3)), ({"axis": [0, -1]}, (4, 2, 3))]),
        lambda x, axis=None: x[by_axis(x, axis, slice(None, None, -1), slice(None))],
    ),
    "tile": Samples(
        shaped(
            [
                ({"reps": [2]}, ()),
                ({"reps": [3]}, (2,)),
                ({"reps": [2, 1, 3]}, (2, 3)),
                ({"reps": [2]}, (2, 3)),
                ({"reps": [0, 2]}, (3,)),
                ({"reps": [2, 2]}, (0, 3)),
            ]
        ),
        tile,
    ),
    "untile": Samples(
        shaped(
            [
                ({"reps": [2]}, (4,)),
                ({"reps": [3, 1, 2]}, (3, 1, 4)),
                ({"reps": [2, 3]}, (0, 3)),
                ({"reps": []}, ()),
                ({"reps": [1, 3]}, (2, 9)),
            ]
        ),
        untile,
        known_sizes=False,
    ),
    "cast": Samples(shaped([({"dtype": "float64"}, shape) for shape in SHAPES]), lambda x, dtype: x, analytic=False),
    "zeros_like": Samples(unary(), lambda x: 0 * x),
    "ones_like": Samples(unary(), lambda x: 0 * x + 1),
}
