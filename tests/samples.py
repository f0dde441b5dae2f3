"""ONE table of samples for each op: attributes and input arrays. The laws of `test_laws.py` hold for every row.

A new op gets a row here and is tested by all laws. Sizes are 0, 1, 2, 3 or 4 (`test_laws.py` gives each of the last
three a symbol).
"""

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
SHAPES = [(), (1,), (3,), (2, 3), (4, 2, 3), (2, 1, 3), (0,), (0, 3)]
REDUCTIONS = [
    *[({}, shape) for shape in SHAPES],
    *[({"keepdims": True}, shape) for shape in SHAPES],
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


def values(shape, seed=0):
    """Numbers of both signs with a distance from zero, different for each seed."""
    count = math.prod(shape)
    signs = np.where(np.arange(count) % 3 == seed % 3, -1.0, 1.0)
    return (signs * (0.5 + np.modf((np.arange(1, count + 1) + 7 * seed) * 0.6180339887)[0])).reshape(shape)


def unary():
    return [({}, (values(shape),)) for shape in SHAPES]


def binary():
    return [({}, (values(first), values(second, 1))) for first, second in BROADCASTING]


def reductions():
    return [(attributes, (values(shape),)) for attributes, shape in REDUCTIONS]


def positive(rows):
    """The same rows with positive numbers only."""
    return [(attributes, tuple(np.asarray(abs(array)) for array in arrays)) for attributes, arrays in rows]


def compared():
    """Pairs that are partly equal, partly less, partly greater."""
    return [*binary(), ({}, (np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])))]


def integers(*numbers):
    return np.array(numbers, np.int64)


def booleans(shape):
    return np.asarray(values(shape) > 0)


def choices():
    shapes = [((), (), ()), ((3,), (3,), (3,)), ((3,), (), (2, 3)), ((2, 1), (3,), (1, 1)), ((), (2, 3), (3,))]
    return [({}, (booleans(first), values(second), values(third, 1))) for first, second, third in shapes]


def shaped(rows):
    return [(attributes, (values(shape),)) for attributes, shape in rows]


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
SOFTMAXES = [({}, (3,)), ({}, (2, 3)), ({"axis": 0}, (2, 3)), ({"axis": 1}, (4, 2, 3)), ({"axis": -1}, (4, 2, 3))]
EXTREMA = [row for row in REDUCTIONS if 0 not in row[1]]
LABELS = integers(2, 0)

SAMPLES = {
    "add": binary(),
    "sub": binary(),
    "mul": binary(),
    "div": binary(),
    "neg": unary(),
    "square": unary(),
    "sum": reductions(),
    "mean": reductions(),
    "max": [*shaped(EXTREMA), ({}, (np.array([1.0, 3.0, 2.0]),))],
    "abs": unary(),
    "sign": unary(),
    "exp": unary(),
    "sin": unary(),
    "cos": unary(),
    "tanh": unary(),
    "relu": unary(),
    "sigmoid": unary(),
    "zeros_like": unary(),
    "ones_like": unary(),
    "log": positive(unary()),
    "sqrt": positive(unary()),
    "pow": positive(binary()),
    "maximum": binary(),
    "minimum": binary(),
    "equal": compared(),
    "not_equal": compared(),
    "less": compared(),
    "less_equal": compared(),
    "greater": compared(),
    "greater_equal": compared(),
    "logical_and": [({}, (booleans(first), booleans(second))) for first, second in BROADCASTING],
    "where": choices(),
    "constant": [({"value": 1.5}, ()), ({"value": 2.0, "dtype": "float32"}, ()), ({"value": "NaN"}, ())],
    "matmul": [({}, (values(first), values(second, 1))) for first, second in MATRICES],
    "shape": unary(),
    "size": [*unary(), ({"axis": 0}, (values((2, 3)),)), ({"axis": -1}, (values((2, 3)),))],
    "reshape": [*shaped(RESHAPES), ({}, (values((2, 3)), integers(3, 2)))],
    "broadcast_to": [*shaped(BROADCASTS), ({}, (values((3,)), integers(2, 3)))],
    "sum_to": [*shaped(SUMS), ({}, (values((2, 3)), integers(2, 1)))],
    "transpose": shaped(TRANSPOSES),
    "expand_dims": shaped(NEW_AXES),
    "take_along_axis": [
        ({"axis": -1}, (values((2, 3)), np.array([[2, 0], [1, 1]]))),
        ({"axis": -1}, (values((3,)), integers(2, 2, 0, 1))),
    ],
    "one_hot": [
        ({"depth": 3}, (LABELS,)),
        ({"depth": 3}, (np.array(1),)),
        ({"depth": 4}, (np.array([[0, 3], [1, 2]]),)),
    ],
    "cast": [({"dtype": "float64"}, (values((3,)),)), ({"dtype": "float64"}, (values((2, 3)),))],
    "random_key": [({"stream": "a"}, ()), ({"stream": "a", "seed": 3}, (np.array(5),))],
    "softmax": shaped(SOFTMAXES),
    "softmax_cross_entropy": [
        ({}, (values((2, 3)), LABELS)),
        ({"reduction": "sum"}, (values((2, 3)), LABELS)),
        ({"reduction": "none"}, (values((2, 3)), LABELS)),
    ],
    "opaque_backward": [
        ({"of": "mul", "index": index}, (values((3,)), values((3,), 1), values((3,), 2), values((3,), 3)))
        for index in (0, 1)
    ],
}

NOT_ANALYTIC = frozenset({"abs", "sign", "max", "maximum", "minimum", "relu", "sigmoid", "cast"})
"""Ops whose gradient a complex step does not give, because they are not analytic functions."""

WIDENING = frozenset({"max"})
"""Ops whose backward gives float64 for float32: the executor converts it back, at the cost of the wider computation."""

OF_SCALARS = frozenset({"random_key"})
"""Ops whose inputs are single numbers."""

IN_WORDS = frozenset(
    {"sign", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and", "where"}
    | {"zeros_like", "ones_like", "maximum", "minimum", "sin", "cos"}
)
"""Ops whose docstring says in words what is no formula of Python."""
