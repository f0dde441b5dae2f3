import itertools

import numpy as np

from samples.arrays import values
from samples.table import Samples


def windows(sizes, kernel_size, stride=1, padding=0, dilation=1):
    """The indices of each patch in the padded array, one patch after the other, by the definition."""
    per_axis = []
    for axis, size in enumerate(kernel_size):
        step, width, apart = (each[axis] if isinstance(each, tuple) else each for each in (stride, padding, dilation))
        starts = range(0, sizes[axis] + 2 * width - apart * (size - 1), step)
        per_axis.append([[start + apart * place for place in range(size)] for start in starts])
    return [list(itertools.product(*patch)) for patch in itertools.product(*per_axis)]


def padded(x, padding=0, fill=0.0):
    widths = padding if isinstance(padding, tuple) else (padding,) * (x.ndim - 2)
    return np.pad(x, [(0, 0), (0, 0), *((width, width) for width in widths)], constant_values=float(fill))


def unfold(x, kernel_size, fill=0.0, **layout):
    places = windows(x.shape[2:], kernel_size, **layout)
    whole = padded(x, layout.get("padding", 0), fill)
    columns = [[whole[:, :, *index] for index in patch] for patch in places]  # L, k, N, C
    return np.moveaxis(np.array(columns), (0, 1), (3, 2)).reshape(len(x), -1, len(places))


def fold(x, output_size, kernel_size, **layout):
    whole = padded(np.zeros((len(x), x.shape[1] // np.prod(kernel_size), *output_size)), layout.get("padding", 0))
    parts = x.reshape(*whole.shape[:2], -1, x.shape[2])
    for column, patch in enumerate(windows(output_size, kernel_size, **layout)):
        for row, index in enumerate(patch):
            whole[:, :, *index] += parts[:, :, row, column]
    margins = [(full - size) // 2 for full, size in zip(whole.shape[2:], output_size, strict=True)]
    return whole[:, :, *(slice(margin, margin + size) for margin, size in zip(margins, output_size, strict=True))]


LAYOUT = {"kernel_size": [3, 2], "stride": [2, 1], "padding": [1, 0], "dilation": [1, 2]}

TABLE = {
    "unfold": Samples(
        [
            ({"kernel_size": [2]}, (values((2, 3, 5)),)),
            ({"kernel_size": [2, 2], "stride": 2, "fill": 0.5, "padding": 1}, (values((2, 1, 5, 6)),)),
            (LAYOUT, (values((2, 3, 5, 6)),)),
        ],
        unfold,
    ),
    "fold": Samples(
        [
            ({"kernel_size": [2], "output_size": [7]}, (values((2, 8, 6)),)),
            ({**LAYOUT, "output_size": [5, 6]}, (values((2, 12, 12)),)),
        ],
        fold,
    ),
}
