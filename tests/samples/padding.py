import numpy as np

from samples.arrays import shaped, values
from samples.table import Samples

FILLED = [
    ({"pad_width": [[1, 2]]}, (3,)),
    ({"pad_width": [[0, 0], [1, 0]], "constant_values": 1.0}, (2, 3)),
    ({"pad_width": [[2, 1], [0, 3]]}, (0, 3)),
    ({"pad_width": []}, ()),
]
MARGINS = [
    ({"pad_width": [[2, 0], [1, 2]], "mode": "edge"}, (2, 3)),
    ({"pad_width": [[1, 0], [0, 0], [4, 6]], "mode": "reflect"}, (2, 1, 3)),
    ({"pad_width": [[3, 7]], "mode": "symmetric"}, (3,)),
    ({"pad_width": [[5, 1], [0, 0]], "mode": "wrap"}, (4, 0)),
    ({"pad_width": [[0, 1], [4, 0]], "mode": "wrap"}, (2, 3)),
    ({"pad_width": [[1, 1]], "mode": "reflect"}, (1,)),
]
"""Some wider than what they are made of."""


def origin(place, size, mode):
    """Where the value comes from that stands at a place of a line of a size gone on with on both sides."""
    period = {"wrap": size, "symmetric": 2 * size, "reflect": max(2 * size - 2, 1), "edge": 1}[mode]
    if mode == "edge":
        return min(max(place, 0), size - 1)
    place %= period
    return place if place < size else period - place - (mode == "symmetric")


def places(shape, pad_width, mode):
    """The origins along each axis, as indices that broadcast to the padded shape."""
    lines = [
        [origin(place, size, mode) for place in range(-before, size + after)] if before or after else range(size)
        for size, (before, after) in zip(shape, pad_width, strict=True)
    ]
    return np.ix_(*lines)


def pad(x, pad_width, mode="constant", constant_values=0.0):
    if mode != "constant":
        return x[places(x.shape, pad_width, mode)]
    z = np.full([size + sum(widths) for size, widths in zip(x.shape, pad_width, strict=True)], constant_values)
    for place in np.ndindex(x.shape):
        z[tuple(at + before for at, (before, _) in zip(place, pad_width, strict=True))] = x[place]
    return z


def unpad(x, pad_width, mode):
    z = np.zeros([size - sum(widths) for size, widths in zip(x.shape, pad_width, strict=True)])
    targets = np.broadcast_arrays(*places(z.shape, pad_width, mode))
    for place in np.ndindex(x.shape):
        z[tuple(target[place] for target in targets)] += x[place]
    return z


def padded_shape(attributes, shape):
    return tuple(size + sum(widths) for size, widths in zip(shape, attributes["pad_width"], strict=True))


TABLE = {
    "pad": Samples(shaped([*FILLED, *MARGINS]), pad, known_sizes=False),
    "unpad": Samples(
        [(attributes, (values(padded_shape(attributes, shape)),)) for attributes, shape in MARGINS],
        unpad,
        known_sizes=False,
    ),
}
