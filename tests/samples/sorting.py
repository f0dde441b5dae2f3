import numpy as np

from samples.arrays import shaped
from samples.table import Samples

ROWS = shaped(
    [
        ({}, (3,)),
        ({}, (2, 3)),
        ({"axis": 0}, (4, 2)),
        ({"axis": 1, "descending": True}, (2, 3, 2)),
        ({"descending": True}, (4,)),
        ({}, (2, 0)),
    ]
)

FIRST = shaped(
    [
        ({"k": 2}, (3,)),
        ({"k": 3, "largest": False}, (2, 3)),
        ({"k": 1, "axis": 0}, (4, 2)),
        ({"k": 0, "axis": 1}, (2, 3, 2)),
    ]
)


def argsort(x, axis=-1, descending=False):
    """By Python's sorted, one line of x after the other."""
    lines = np.moveaxis(x, axis, -1)
    found = np.empty(lines.shape, np.int64)
    for place in np.ndindex(lines.shape[:-1]):
        line = lines[place]
        found[place] = sorted(range(len(line)), key=lambda index: (-line[index] if descending else line[index], index))
    return np.moveaxis(found, -1, axis)


def sort(x, axis=-1, descending=False):
    return np.take_along_axis(x, argsort(x, axis, descending), axis)


def topk(x, k, axis=-1, largest=True):
    places = np.take(argsort(x, axis, largest), range(k), axis)
    return np.take_along_axis(x, places, axis), places


TABLE = {
    "argsort": Samples(ROWS, argsort),
    "sort": Samples(ROWS, sort),
    "topk": Samples(FIRST, topk),
}
