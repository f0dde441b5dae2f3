import numpy as np

from samples.arrays import integers, shaped, values
from samples.table import Samples

SLICES = [
    ({}, (3,)),
    ({"start": 1}, (3,)),
    ({"stop": -1, "axis": 1}, (2, 3)),
    ({"start": -1, "step": -2, "axis": -1}, (2, 3)),
    ({"start": 1, "stop": 9, "step": 2, "axis": 1}, (2, 4, 3)),
    ({"start": 2, "stop": 1}, (3, 2)),
    ({"stop": 2}, (0, 3)),
    ({"start": [None, 1], "stop": [-1, None], "axis": [-1, 0]}, (3, 4)),
    ({"start": [-1, 0, 2], "step": [-1, 2, -2], "axis": [0, 1, -1]}, (4, 2, 3)),
    ({"start": 1, "axis": [0, 2]}, (2, 1, 3)),
]
SLICED = [
    np.s_[:],
    np.s_[1:],
    np.s_[:, :-1],
    np.s_[:, ::-2],
    np.s_[:, 1::2],
    np.s_[2:1],
    np.s_[:2],
    np.s_[1:, :-1],
    np.s_[::-1, ::2, ::-2],
    np.s_[1:, :, 1:],
]
GATHERED = [
    (0, (3,), integers(2, 0, 2, -1)),
    (1, (2, 3), np.array([[2, 0], [1, 1]])),
    (-1, (4, 2, 3), np.array(1)),
    (0, (4, 3), integers()),
]
ALONG = [
    (-1, (2, 3), np.array([[2, 0], [1, 1]])),
    (-1, (3,), integers(2, 2, 0, -1)),
    (0, (3, 2), np.array([[2, 0], [2, 1], [0, 0], [2, -2]])),
    (1, (2, 3, 1), np.zeros((2, 0, 1), np.int64)),
]
CONCATENATED = [(0, [(3,)]), (0, [(2,), (3,), (0,)]), (-1, [(2, 3), (2, 1)]), (1, [(2, 3, 1), (2, 2, 1), (2, 3, 1)])]
STACKED = [(0, [()]), (0, [(3,), (3,)]), (-1, [(2, 3), (2, 3), (2, 3)]), (1, [(2, 0), (2, 0)])]
SPLIT = shaped(
    [
        ({"indices_or_sections": 2}, (4,)),
        ({"indices_or_sections": 3, "axis": -1}, (2, 3)),
        ({"indices_or_sections": 2, "axis": 1}, (3, 0)),
    ]
)
CUT = shaped([({"indices_or_sections": [1]}, (3,)), ({"indices_or_sections": [1, 1, 9], "axis": 1}, (2, 3))])
HOT = [
    ({"depth": 3}, (integers(2, -3),)),
    ({"depth": 3}, (np.array(1),)),
    ({"depth": 4}, (np.array([[0, 3], [1, 2]]),)),
    ({"depth": 2, "dtype": "float32"}, (integers(),)),
]


def several(rows):
    return [({"axis": axis}, tuple(values(shape, seed) for seed, shape in enumerate(shapes))) for axis, shapes in rows]


def adding(rows, taken):
    """Rows that add where those of the inverse op take; `taken` gives the shape of what it takes."""
    return [
        ({"axis": axis}, (values(shape), indices, values(taken(values(shape), indices, axis).shape, 1)))
        for axis, shape, indices in rows
    ]


def slice_(x, start=None, stop=None, step=1, axis=0):
    """By the indices that Python's range gives, one axis after the other."""
    axes = axis if isinstance(axis, tuple) else (axis,)
    bounds = [each if isinstance(each, tuple) else (each,) * len(axes) for each in (start, stop, step)]
    for number, first, last, by in zip(axes, *bounds, strict=True):
        x = np.take(x, range(x.shape[number])[first:last:by], number)
    return x


def gather(x, indices, axis):
    """The selected parts in front, then the axes of the indices where the axis was."""
    parts = np.array([np.moveaxis(x, axis, 0)[index] for index in indices.flat])
    others = np.delete(x.shape, axis)
    axis %= x.ndim
    front = parts.reshape(*indices.shape, *others)
    return np.moveaxis(front, range(indices.ndim), range(axis, axis + indices.ndim))


def take_along_axis(x, indices, axis):
    result = np.empty(indices.shape)
    for place in np.ndindex(indices.shape):
        source = list(place)
        source[axis] = indices[place]
        result[place] = x[tuple(source)]
    return result


def place_by_place(places_of):
    """Adds by one loop over all places, found by taking out of an array of place numbers."""

    def add(x, *inputs, **attributes):
        *indices, updates = inputs
        result = x.copy()
        numbers = np.arange(x.size).reshape(x.shape)
        places = places_of(numbers, *indices, **attributes)
        for number, update in zip(places.flat, updates.flat, strict=True):
            result.flat[number] += update
        return result

    return add


def split(x, indices_or_sections, axis=0):
    """Slices between the places where x is cut."""
    size, cuts = x.shape[axis], indices_or_sections
    places = [size // cuts * part for part in range(1, cuts)] if isinstance(cuts, int) else list(cuts)
    return tuple(slice_(x, start, stop, axis=axis) for start, stop in zip([0, *places], [*places, size], strict=True))


def concat(*xs, axis):
    return np.moveaxis(np.array([part for x in xs for part in np.moveaxis(x, axis, 0)]), 0, axis)


TABLE = {
    "slice": Samples(shaped(SLICES), slice_, known_sizes=False),
    "slice_add": Samples(
        [
            (attributes, (values(shape), values(np.empty(shape)[index].shape, 1)))
            for (attributes, shape), index in zip(SLICES, SLICED, strict=True)
        ],
        place_by_place(slice_),
    ),
    "gather": Samples(
        [({"axis": axis}, (values(shape), indices)) for axis, shape, indices in GATHERED],
        gather,
    ),
    "index_add": Samples(adding(GATHERED, np.take), place_by_place(np.take)),
    "take_along_axis": Samples(
        [({"axis": axis}, (values(shape), indices)) for axis, shape, indices in ALONG],
        take_along_axis,
    ),
    "scatter_add": Samples(adding(ALONG, np.take_along_axis), place_by_place(np.take_along_axis)),
    "one_hot": Samples(HOT, lambda targets, depth, dtype="float64": np.eye(depth)[targets]),
    "concat": Samples(several(CONCATENATED), concat, known_sizes=False),
    "split_like": Samples(
        [
            ({"parts": len(arrays), **attributes}, (values(np.shape(concat(*arrays, **attributes))), *arrays))
            for attributes, arrays in several(CONCATENATED)
            if len(arrays) > 1
        ],
        lambda x, *xs, parts, axis: split(x, tuple(np.cumsum([each.shape[axis] for each in xs])[:-1]), axis),
    ),
    "stack": Samples(several(STACKED), lambda *xs, axis: np.moveaxis(np.array(xs), 0, axis)),
    "split": Samples([*SPLIT, *CUT], split, known_sizes=False),
}
