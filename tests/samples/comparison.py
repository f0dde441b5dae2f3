import math
import operator

import numpy as np

from samples.arrays import PAIRS, SHAPES, binary, booleans, unary, values
from samples.table import Samples, by_element

CHOICES = [
    ((), (), ()),
    ((3,), (3,), (3,)),
    ((3,), (), (2, 3)),
    ((2, 1), (3,), (1, 1)),
    ((), (2, 3), (3,)),
    ((0, 3), (), (3,)),
]
CHOSEN = [({}, (booleans(first), values(second), values(third, 1))) for first, second, third in CHOICES]
COMPARED = [*binary(), ({}, (np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])))]
"""Pairs that are partly equal, partly less, partly greater."""
JOINED = [({}, (booleans(first), np.asarray(values(second, 1) > 0))) for first, second in PAIRS]

NUMBERS = [*unary(), ({}, (np.array([1.0, np.inf, -np.inf, np.nan]),))]

TABLE = {
    "equal": Samples(COMPARED, by_element(operator.eq)),
    "not_equal": Samples(COMPARED, by_element(operator.ne)),
    "less": Samples(COMPARED, by_element(operator.lt)),
    "less_equal": Samples(COMPARED, by_element(operator.le)),
    "greater": Samples(COMPARED, by_element(operator.gt)),
    "greater_equal": Samples(COMPARED, by_element(operator.ge)),
    "logical_and": Samples(JOINED, by_element(lambda x, y: x and y)),
    "logical_or": Samples(JOINED, by_element(lambda x, y: x or y)),
    "logical_not": Samples([({}, (booleans(shape),)) for shape in SHAPES], by_element(operator.not_)),
    "isfinite": Samples(NUMBERS, by_element(math.isfinite)),
    "where": Samples(CHOSEN, by_element(lambda condition, x, y: x if condition else y)),
    "stop_gradient": Samples(unary(), lambda x: x, slope=False),
}
