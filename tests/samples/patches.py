import itertools
import math

import numpy as np

from samples.arrays import values
from samples.table import Samples


def of_axis(setting, axis):
    return setting[axis] if isinstance(setting, tuple) else setting


def margin(size, width, kernel, stride, dilation):
    """Padding before and after an axis: for "same" as ONNX defines SAME_UPPER."""
    if width == "same":
        width = max((math.ceil(size / stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
        return math.floor(width / 2), math.ceil(width / 2)
    if width == "valid":
        return 0, 0
    return width if isinstance(width, tuple) else (width, width)


def margins(sizes, kernel_size, stride=1, padding=0, dilation=1):
    settings = [[of_axis(each, axis) for each in (stride, dilation)] for axis in range(len(sizes))]
    return [margin(size, of_axis(padding, axis), kernel_size[axis], *settings[axis]) for axis, size in enumerate(sizes)]


def windows(sizes, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False):
    """The indices of each patch in the padded array, one patch after the other, by the definition.

    With `ceil_mode` one more along an axis if the last did not reach the end and this one begins before the padding.
    """
    per_axis = []
    for axis, (before, after) in enumerate(margins(sizes, kernel_size, stride, padding, dilation)):
        step, offsets = of_axis(stride, axis), [of_axis(dilation, axis) * place for place in range(kernel_size[axis])]
        size, whole = sizes[axis] + before, sizes[axis] + before + after
        per_axis.append(
            [
                [start + offset for offset in offsets]
                for start in range(0, whole, step)
                if start + offsets[-1] < whole
                or (ceil_mode and start - step + offsets[-1] + 1 < whole and start < size)
            ]
        )
    return [list(itertools.product(*patch)) for patch in itertools.product(*per_axis)]


def padded(x, kernel_size, fill=0.0, **layout):
    pairs = margins(x.shape[2:], kernel_size, **layout)
    return np.pad(x, [(0, 0), (0, 0), *pairs], constant_values=float(fill))


def unfold(x, kernel_size, fill=0.0, **layout):
    places = windows(x.shape[2:], kernel_size, **layout)
    whole = padded(x, kernel_size, fill, **layout)
    columns = [[whole[:, :, *index] for index in patch] for patch in places]  # L, k, N, C
    return np.moveaxis(np.array(columns), (0, 1), (3, 2)).reshape(len(x), -1, len(places))


def fold(x, output_size, kernel_size, **layout):
    whole = padded(np.zeros((len(x), x.shape[1] // np.prod(kernel_size), *output_size)), kernel_size, **layout)
    parts = x.reshape(*whole.shape[:2], -1, x.shape[2])
    for column, patch in enumerate(windows(output_size, kernel_size, **layout)):
        for row, index in enumerate(patch):
            whole[:, :, *index] += parts[:, :, row, column]
    firsts = [before for before, _ in margins(output_size, kernel_size, **layout)]
    return whole[:, :, *(slice(first, first + size) for first, size in zip(firsts, output_size, strict=True))]


LAYOUT = {"kernel_size": [3, 2], "stride": [2, 1], "padding": [1, 0], "dilation": [1, 2]}

TABLE = {
    "unfold": Samples(
        [
            ({"kernel_size": [2]}, (values((2, 3, 5)),)),
            ({"kernel_size": [2, 2], "stride": 2, "fill": 1.0, "padding": 1}, (values((2, 1, 5, 6)),)),
            (LAYOUT, (values((2, 3, 5, 6)),)),
            ({"kernel_size": [4, 2], "padding": [[1, 0], [0, 2]]}, (values((2, 1, 5, 6)),)),
            ({"kernel_size": [2, 3], "stride": [1, 4], "padding": "same"}, (values((2, 1, 5, 6)),)),
        ],
        unfold,
    ),
    "fold": Samples(
        [
            ({"kernel_size": [2], "output_size": [7]}, (values((2, 8, 6)),)),
            ({**LAYOUT, "output_size": [5, 6]}, (values((2, 12, 12)),)),
            ({"kernel_size": [2], "output_size": [5], "padding": [[0, 3]]}, (values((2, 6, 7)),)),
            ({"kernel_size": [2], "output_size": [6], "padding": "valid"}, (values((2, 6, 5)),)),
            ({"kernel_size": [2], "stride": 2, "padding": 1}, (values((2, 6, 5)), values((1, 1, 9)))),
        ],
        lambda x, like=None, output_size=None, **layout: fold(x, output_size or like.shape[2:], **layout),
    ),
}
