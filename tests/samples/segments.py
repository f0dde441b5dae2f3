"""Samples of the gradient of a loop in segments."""

import numpy as np

from samples.arrays import values
from samples.loops import DOUBLED, GROWING, LOOP, W, X
from samples.table import Samples


def gradient(h, x, w, dh, dy, *, axis=0, reverse=False, wanted, **_):
    """The chain rule, step by step, for h' = tanh(h w + x), y = h' x."""
    parts, dparts = (np.moveaxis(each, axis, 0) for each in (x, dy))
    order = list(range(len(parts)))[:: -1 if reverse else 1]
    states = [h]
    for step in order:
        states.append(np.tanh(states[-1] * w + parts[step]))
    dx, dw = np.zeros(parts.shape), np.zeros(w.shape)
    for number, step in reversed(list(enumerate(order))):
        inner = (dh + dparts[step] * parts[step]) * (1 - states[number + 1] ** 2)
        dx[step] = inner + dparts[step] * states[number + 1]
        dw += inner * states[number]
        dh = inner * w
    found = [each for each, need in zip((dh, np.moveaxis(dx, 0, axis), dw), wanted, strict=True) if need]
    return tuple(found) if len(found) > 1 else found[0]


def of_growth(h, w, dh, **_):
    """The derivative of h w^3."""
    return w**3 * dh


def computed(*arrays, function, **attributes):
    if function is DOUBLED:
        return 2 * arrays[1]
    return of_growth(*arrays) if function is GROWING else gradient(*arrays, **attributes)


ALL = {"arrives": (True, True), "wanted": (True, True, True)}
SEGMENTS = {**LOOP, **ALL, "checkpoint_every": 3}
TABLE = {
    "scan_gradient": Samples(
        [
            (SEGMENTS, (X, values((4, 3), 1), W, values((3,), 3), values((4, 3), 4))),
            (
                {**SEGMENTS, "axis": 1, "reverse": True, "wanted": (False, True, True)},
                (X, values((3, 4), 1), W, values((3,), 3), values((3, 4), 4)),
            ),
            (
                {
                    "function": GROWING,
                    "carry": ("h",),
                    "length": 3,
                    "arrives": (True,),
                    "wanted": (True, False),
                    "checkpoint_every": 2,
                },
                (X, W, values((3,), 3)),
            ),
            (
                {
                    "function": DOUBLED,
                    "sequences": ("x",),
                    "arrives": (True,),
                    "wanted": (True,),
                    "checkpoint_every": 2,
                },
                (values((4, 3), 1), values((4, 3), 2)),
            ),
        ],
        computed,
        analytic=False,
    )
}
