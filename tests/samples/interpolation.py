import bisect
import itertools

import numpy as np

from samples.table import Samples

POINTS = np.array([1.0, 2.0, 4.0])
HEIGHTS = np.array([0.5, -1.0, 2.0])
PLACES = [np.array(1.4), np.array([1.4, 2.8, 0.3]), np.array([[2.9, 5.7], [1.45, -1.0]]), np.zeros((0, 3))]


def searchsorted(a, v, side="left"):
    find = bisect.bisect_left if side == "left" else bisect.bisect_right
    return np.reshape([find(list(a), value) for value in np.ravel(v)], np.shape(v)).astype(int)


def interp(x, xp, fp):
    def at(value):
        pairs = list(zip(xp, fp, strict=True))
        if value <= xp[0]:
            return fp[0]
        for (start, low), (end, high) in itertools.pairwise(pairs):
            if value <= end:
                return low + (high - low) * (value - start) / (end - start)
        return fp[-1]

    return np.reshape([at(value) for value in np.ravel(x)], np.shape(x))


SIDES = [({}, (POINTS, place)) for place in (*PLACES, np.array([1.0, 2.0, 4.0]))]
TABLE = {
    "searchsorted": Samples([*SIDES, *[({"side": "right"}, arrays) for _, arrays in SIDES]], searchsorted),
    "interp": Samples([({}, (place, POINTS, HEIGHTS)) for place in PLACES], interp, analytic=False),
}
