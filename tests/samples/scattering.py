import math

import numpy as np

from samples.arrays import values
from samples.selection import ALONG
from samples.table import Samples

FUNCTIONS = {
    "none": lambda _old, *new: new[-1],
    "add": lambda *numbers: sum(numbers),
    "mul": lambda *numbers: math.prod(numbers),
    "max": max,
    "min": min,
}


def scatter(x, indices, updates, axis=-1, reduction="none"):
    """By the list of updates of each place."""
    arriving = {}
    for place in np.ndindex(indices.shape):
        target = list(place)
        target[axis] = int(indices[place]) % x.shape[axis]
        arriving.setdefault(tuple(target), []).append(updates[place])
    result = np.array(x)
    for target, numbers in arriving.items():
        result[target] = FUNCTIONS[reduction](x[target], *numbers)
    return result


TABLE = {
    "scatter": Samples(
        [
            ({"axis": axis, "reduction": reduction}, (values(shape), indices, values(indices.shape, 1)))
            for reduction in FUNCTIONS
            for axis, shape, indices in ALONG
        ],
        scatter,
        analytic=False,
    )
}
