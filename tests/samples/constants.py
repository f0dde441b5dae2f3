import numpy as np

from samples.table import Samples

ROWS = [({"value": 1.5}, ()), ({"value": 2.0, "dtype": "float32"}, ()), ({"value": "NaN"}, ())]
LIMITS = [(3,), (0,), (-2,), (1, 4), (4, 1), (0, 3, 2), (3, -4, -3), (-1, -1, 2)]


def arange(start, stop=None, step=1):
    """By Python's range."""
    first, last = (0, start) if stop is None else (start or 0, stop)
    return np.array(list(range(int(first), int(last), int(step))), np.int64)


TABLE = {
    "constant": Samples(ROWS, lambda value, dtype="float64": float(value)),
    "arange": Samples(
        [({}, tuple(map(np.array, limits))) for limits in LIMITS], arange, sizes_of_values=True, of_scalars=True
    ),
}
