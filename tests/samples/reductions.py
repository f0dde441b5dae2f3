import itertools
import math
import statistics

import numpy as np

from samples.arrays import EVERY_REDUCTION, REDUCTIONS, booleans, filled, shaped, values
from samples.table import Samples

OF_NOTHING = shaped([({}, (0,)), ({"axis": 0}, (0, 3))])
ALONG_NOTHING = shaped([({"axis": 1}, (0, 3)), ({"axis": 0, "keepdims": True}, (3, 0))])
EXTREMA = [*filled(shaped(EVERY_REDUCTION)), *ALONG_NOTHING, ({}, (np.array([1.0, 3.0, 2.0]),))]
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
CUMULATED = shaped([({"axis": 0}, (3,)), ({"axis": -1}, (2, 3)), ({"axis": 0}, (4, 2, 3)), ({"axis": 0}, (0, 3))])
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


def cumsum(x, axis):
    sums = np.empty_like(x)
    for place in np.ndindex(*np.delete(x.shape, axis)):
        line = np.s_[(*place[: axis % x.ndim], slice(None), *place[axis % x.ndim :])]
        sums[line] = [*itertools.accumulate(x[line])]
    return sums


TABLE = {
    "sum": Samples(shaped(EVERY_REDUCTION), of_lists(math.fsum)),
    "mean": Samples([*shaped(REDUCTIONS), *OF_NOTHING], of_lists(mean)),
    "prod": Samples([*shaped(REDUCTIONS), *OF_NOTHING, *WITH_ZEROS], of_lists(math.prod)),
    "max": Samples(EXTREMA, of_lists(max), analytic=False),
    "min": Samples([*filled(shaped(REDUCTIONS)), *ALONG_NOTHING], of_lists(min), analytic=False),
    "argmax": Samples(INDICES, of_lists(lambda numbers: numbers.index(max(numbers)))),
    "argmin": Samples(INDICES, of_lists(lambda numbers: numbers.index(min(numbers)))),
    "var": Samples(SPREADS, of_lists(variance)),
    "std": Samples(SPREADS, of_lists(lambda numbers, ddof=0: math.sqrt(variance(numbers, ddof)))),
    "norm": Samples(
        [*shaped(REDUCTIONS), *shaped([({"ord": 1}, (2, 3)), ({"ord": 1, "axis": 1}, (2, 3))])],
        of_lists(norm),
        analytic=False,
    ),
    "cumsum": Samples(CUMULATED, cumsum),
    "any": Samples(TRUTHS, of_lists(any)),
    "all": Samples(TRUTHS, of_lists(all)),
    "logsumexp": Samples([*shaped(REDUCTIONS), *OF_NOTHING], of_lists(logsumexp)),
}
