"""Arrays and shapes that the samples of several families share."""

import math

import numpy as np

BROADCASTING = [
    ((), ()),
    ((3,), (3,)),
    ((2, 3), (2, 3)),
    ((), (3,)),
    ((3,), ()),
    ((1,), (3,)),
    ((3,), (1,)),
    ((2, 3), (3,)),
    ((3,), (2, 3)),
    ((2, 3), (2, 1)),
    ((2, 1), (1, 3)),
    ((1, 3), (2, 1)),
    ((2, 1, 3), (4, 1)),
    ((4, 2, 3), ()),
    ((1, 1), (1,)),
    ((0,), (0,)),
    ((0,), ()),
    ((), (0, 3)),
    ((1, 3), (0, 3)),
]
"""All positions of broadcasting: for a few ops that stand for the others, because the engine broadcasts for all."""
PAIRS = [((), ()), ((3,), (3,)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((0, 3), ())]
SHAPES = [(), (3,), (2, 3), (0, 3)]
EVERY_REDUCTION = [
    *[({}, shape) for shape in [(), (1,), (3,), (2, 3), (4, 2, 3), (0,), (0, 3)]],
    *[({"keepdims": True}, shape) for shape in [(), (3,), (4, 2, 3), (0, 3)]],
    ({"axis": 0}, (3,)),
    ({"axis": -1}, (3,)),
    ({"axis": 0, "keepdims": True}, (3,)),
    ({"axis": 0}, (2, 3)),
    ({"axis": 1}, (2, 3)),
    ({"axis": -2}, (2, 3)),
    ({"axis": 1}, (4, 2, 3)),
    ({"axis": 1, "keepdims": True}, (4, 2, 3)),
    ({"axis": [0, 2]}, (4, 2, 3)),
    ({"axis": [-1, 0]}, (4, 2, 3)),
    ({"axis": [0, -2], "keepdims": True}, (4, 2, 3)),
    ({"axis": [0, 1, 2]}, (4, 2, 3)),
    ({"axis": []}, (2, 3)),
    ({"axis": 1}, (2, 1)),
    ({"axis": 0}, (0, 3)),
    ({"axis": 1}, (0, 3)),
]
REDUCTIONS = [
    ({}, ()),
    ({}, (3,)),
    ({"axis": 0}, (2, 3)),
    ({"axis": -1, "keepdims": True}, (2, 3)),
    ({"axis": [0, 2]}, (4, 2, 3)),
    ({"keepdims": True}, (2, 3)),
    ({"axis": 1}, (0, 3)),
]


def values(shape, seed=0):
    """Numbers of both signs with a distance from zero, different for each seed."""
    count = math.prod(shape)
    signs = np.where(np.arange(count) % 3 == seed % 3, -1.0, 1.0)
    return (signs * (0.5 + np.modf((np.arange(1, count + 1) + 7 * seed) * 0.6180339887)[0])).reshape(shape)


def unary(shapes=SHAPES):
    return [({}, (values(shape),)) for shape in shapes]


def binary(pairs=PAIRS):
    return [({}, (values(first), values(second, 1))) for first, second in pairs]


def shaped(rows):
    """Rows of one array of numbers, from rows of its shape."""
    return [(attributes, (values(shape),)) for attributes, shape in rows]


def changed(function, rows):
    """The same rows with another function of their arrays' values."""
    return [(attributes, tuple(np.asarray(function(array)) for array in arrays)) for attributes, arrays in rows]


def positive(rows):
    """The same rows with positive numbers only."""
    return changed(abs, rows)


def filled(rows):
    """The rows whose arrays all hold values."""
    return [(attributes, arrays) for attributes, arrays in rows if all(np.size(array) for array in arrays)]


def integers(*numbers):
    return np.array(numbers, np.int64)


def booleans(shape):
    return np.asarray(values(shape) > 0)
