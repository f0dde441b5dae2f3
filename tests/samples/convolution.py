import numpy as np

from samples.arrays import values
from samples.patches import fold, margins, padded, windows
from samples.table import Samples


def convolve(x, weight, bias=None, groups=1, **layout):
    """One value after the other: each is the sum of products of a filter and a patch, plus the bias."""
    whole = padded(x, weight.shape[2:], **layout)
    places = windows(x.shape[2:], weight.shape[2:], **layout)
    channels, outputs = weight.shape[1], len(weight)
    z = np.zeros((len(x), outputs, len(places)))
    for sample, output, place in np.ndindex(z.shape):
        first = output // (outputs // groups) * channels
        for channel in range(channels):
            patch = [whole[sample, first + channel, *index] for index in places[place]]
            z[sample, output, place] += np.dot(patch, weight[output, channel].ravel())
        z[sample, output, place] += 0 if bias is None else bias[output]
    ends = np.array([patch[0] for patch in places]).max(axis=0)
    strides = layout.get("stride", 1)
    return z.reshape(*z.shape[:2], *(ends // strides + 1))


def conv_transpose2d(x, weight, bias=None, output_padding=0, groups=1, **layout):
    """Each value of x stamps its filters, times itself, on the result."""
    stride, dilation = layout.get("stride", 1), layout.get("dilation", 1)
    kernel = weight.shape[2:]
    sizes = (
        (np.array(x.shape[2:]) - 1) * stride
        - np.sum(margins(x.shape[2:], kernel, **layout), axis=1)
        + dilation * (np.array(kernel) - 1)
        + output_padding
        + 1
    )
    parts = np.split(x, groups, axis=1)
    stamps = [
        np.einsum("nchw,cokl->noklhw", part, filters)
        for part, filters in zip(parts, np.split(weight, groups), strict=True)
    ]
    columns = np.concatenate(stamps, axis=1).reshape(len(x), -1, x.shape[2] * x.shape[3])
    z = fold(columns, tuple(sizes), kernel, **layout)
    return z if bias is None else z + bias[:, None, None]


IMAGES = values((2, 6, 6, 5))
BIAS = values((6,), 2)

TABLE = {
    "conv1d": Samples(
        [
            ({}, (values((2, 1, 6)), values((5, 1, 5), 1))),
            ({"dilation": 2}, (values((2, 1, 10)), values((6, 1, 5), 1), BIAS)),
            ({"stride": 2, "padding": 1, "groups": 6}, (values((2, 6, 7)), values((6, 1, 5), 1), BIAS)),
            ({"stride": 2, "padding": [[4, 1]]}, (values((2, 1, 6)), values((5, 1, 5), 1))),
            ({"stride": 3, "padding": "same"}, (values((2, 1, 7)), values((5, 1, 6), 1))),
        ],
        convolve,
    ),
    "conv2d": Samples(
        [
            ({}, (values((2, 1, 5, 6)), values((5, 1, 5, 1), 1))),
            (
                {"stride": [1, 2], "padding": [1, 0], "groups": 2},
                (values((1, 10, 6, 5)), values((6, 5, 5, 1), 1) / 8, BIAS),
            ),
            ({"dilation": [1, 3], "padding": [0, 5]}, (IMAGES, values((5, 6, 1, 5), 1) / 8, BIAS[:5])),
            ({"padding": [[0, 1], 2]}, (values((2, 1, 5, 6)), values((5, 1, 1, 6), 1))),
            ({"dilation": [1, 2], "padding": "same"}, (values((2, 1, 5, 6)), values((5, 1, 6, 5), 1))),
            ({"padding": "valid"}, (values((2, 1, 5, 6)), values((5, 1, 5, 5), 1))),
        ],
        convolve,
    ),
    "conv_transpose2d": Samples(
        [
            ({}, (values((2, 1, 5, 6)), values((1, 6, 5, 1), 1), BIAS)),
            (
                {"stride": [1, 2], "padding": [1, 0], "output_padding": [0, 1], "groups": 6, "dilation": 2},
                (IMAGES, values((6, 1, 1, 5), 1), BIAS),
            ),
            ({"padding": [[1, 0], [0, 3]]}, (values((2, 1, 5, 6)), values((1, 5, 5, 1), 1))),
        ],
        conv_transpose2d,
    ),
}
