import math
import statistics

import numpy as np

from samples.arrays import EVERY_REDUCTION, REDUCTIONS, booleans, shaped, values
from samples.table import Samples

OF_NOTHING = shaped([({}, (0,)), ({"axis": 0}, (0, 3))])
ALONG_NOTHING = shaped([({"axis": 1}, (0, 3)), ({"axis": 0, "keepdims": True}, (3, 0))])
EXTREMA = [*shaped(EVERY_REDUCTION), *ALONG_NOTHING, ({}, (np.array([1.0, 3.0, 2.0]),))]
INDICES = shaped(
    [
        ({}, (3,)),
        ({}, (2, 3)),
        ({"axis": 0}, (2, 3)),
        ({"axis": -1, "keepdims": True}, (4, 2, 3)),
        ({"axis": 1}, (0, 3)),
    ]
)
WITH_ZEROS = [
    ({"axis": 1}, (np.array([[0.0, 2.0, 3.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]),)),
    ({}, (np.array([1.5, 0.0, -2.0]),)),
]
SPREADS = [*shaped(REDUCTIONS), *shaped([({"ddof": 1}, (2, 3)), ({"ddof": 1, "axis": 0}, (3, 2))])]
CUMULATED = shaped(
    [
        ({"axis": 0}, (3,)),
        ({"axis": -1}, (2, 3)),
        ({"axis": 0}, (4, 2, 3)),
        ({"axis": 0}, (0, 3)),
        ({"axis": 1, "exclusive": True}, (2, 3)),
        ({"axis": 0, "reverse": True}, (4, 2)),
        ({"axis": -2, "exclusive": True, "reverse": True}, (2, 4, 3)),
        ({"axis": 0, "exclusive": True}, (0,)),
    ]
)
RECURRENCES = [
    ({"axis": axis, "reverse": reverse}, (values(shape), values(terms, 1)))
    for axis, reverse, shape, terms in [
        (0, False, (4,), (4,)),
        (-1, True, (2, 4), (2, 4)),
        (1, False, (2, 3, 1), (3, 1)),
        (0, True, (1, 2), ()),
        (0, False, (0, 3), (0, 3)),
    ]
]
TRUTHS = [
    *[(attributes, (booleans(shape),)) for attributes, shape in REDUCTIONS],
    *[({}, (np.zeros(shape, bool),)) for shape in [(0,), (3,)]],
    ({"axis": 0}, (values((2, 3)).astype(np.int64),)),
]


def of_lists(function):
    """An oracle from a function of a list: of all values, or of those along the reduced axes."""

    def oracle(x, axis=None, keepdims=False, **attributes):
        axes = range(x.ndim) if axis is None else [number % x.ndim for number in np.atleast_1d(axis).astype(int)]
        kept = [number for number in range(x.ndim) if number not in axes]
        results = np.empty([x.shape[number] for number in kept])
        for place in np.ndindex(results.shape):
            selected = np.transpose(x, [*kept, *axes])[place]
            results[place] = function(selected.ravel().tolist(), **attributes)
        return np.expand_dims(results, tuple(axes)) if keepdims else results

    return oracle


def mean(numbers):
    return math.fsum(numbers) / len(numbers) if numbers else math.nan


def variance(numbers, ddof=0):
    return statistics.variance(numbers) if ddof else statistics.pvariance(numbers)


def norm(numbers, ord=2):
    return math.hypot(*numbers) if ord == 2 else math.fsum(map(abs, numbers))


def logsumexp(numbers):
    return math.log(math.fsum(map(math.exp, numbers))) if numbers else -math.inf


def line_by_line(function):
    """An oracle from a function of a list for each line along an axis; with `reverse` the list is from the end."""

    def oracle(*arrays, axis, reverse=False, **attributes):
        arrays = np.broadcast_arrays(*arrays)
        results = np.empty(arrays[0].shape)
        for place in np.ndindex(*np.delete(results.shape, axis)):
            at = axis % results.ndim
            line = np.s_[(*place[:at], slice(None, None, -1 if reverse else 1), *place[at:])]
            results[line] = function(*(array[line].tolist() for array in arrays), **attributes)
        return results

    return oracle


def running(function):
    """What a function gives of all values up to each, or with `exclusive` before each."""
    return line_by_line(
        lambda line, exclusive=False: [function(line[: end + (not exclusive)]) for end in range(len(line))]
    )


def states(factors, terms):
    """By the closed form: each term times the factors of the steps after its own."""
    return [
        math.fsum(terms[step] * math.prod(factors[step + 1 : place]) for step in range(place))
        for place in range(len(terms))
    ]


TABLE = {
    "sum": Samples(shaped(EVERY_REDUCTION), of_lists(math.fsum)),
    "mean": Samples([*shaped(REDUCTIONS), *OF_NOTHING], of_lists(mean)),
    "prod": Samples([*shaped(REDUCTIONS), *OF_NOTHING, *WITH_ZEROS], of_lists(math.prod)),
    "max": Samples(EXTREMA, of_lists(lambda numbers: max(numbers, default=-math.inf)), analytic=False),
    "min": Samples(
        [*shaped(REDUCTIONS), *OF_NOTHING, *ALONG_NOTHING],
        of_lists(lambda numbers: min(numbers, default=math.inf)),
        analytic=False,
    ),
    "argmax": Samples(INDICES, of_lists(lambda numbers: numbers.index(max(numbers)))),
    "argmin": Samples(INDICES, of_lists(lambda numbers: numbers.index(min(numbers)))),
    "var": Samples(SPREADS, of_lists(variance)),
    "std": Samples(SPREADS, of_lists(lambda numbers, ddof=0: math.sqrt(variance(numbers, ddof)))),
    "norm": Samples(
        [*shaped(REDUCTIONS), *shaped([({"ord": 1}, (2, 3)), ({"ord": 1, "axis": 1}, (2, 3))])],
        of_lists(norm),
        analytic=False,
    ),
    "cumsum": Samples(CUMULATED, running(math.fsum)),
    "cumprod": Samples([*CUMULATED, *[({"axis": -1}, arrays) for _, arrays in WITH_ZEROS]], running(math.prod)),
    "linear_recurrence": Samples(RECURRENCES, line_by_line(states)),
    "any": Samples(TRUTHS, of_lists(any)),
    "all": Samples(TRUTHS, of_lists(all)),
    "logsumexp": Samples([*shaped(REDUCTIONS), *OF_NOTHING], of_lists(logsumexp)),
}
