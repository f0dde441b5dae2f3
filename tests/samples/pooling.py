import numpy as np

from samples.arrays import values
from samples.patches import margins, padded, windows
from samples.table import Samples

IMAGES = values((2, 5, 5, 6))
OVERLAPPING = {"kernel_size": [3, 2], "stride": [2, 1], "padding": [1, 0]}


def pool(function, x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, fill=np.nan):
    """A function of the values of each patch, one patch after the other; NaN where a patch is beyond the padding."""
    kernel_size = kernel_size if isinstance(kernel_size, tuple) else (kernel_size,) * 2
    layout = {"stride": stride or kernel_size, "padding": padding, "dilation": dilation}
    places = windows(x.shape[2:], kernel_size, **layout, ceil_mode=ceil_mode)
    beyond = [(0, 0), (0, 0), *((0, size) for size in kernel_size)]
    whole = np.pad(padded(x, kernel_size, fill, **layout), beyond, constant_values=np.nan)
    z = np.stack([function(np.stack([whole[:, :, *index] for index in patch]), axis=0) for patch in places], axis=-1)
    rows = len({patch[0][0] for patch in places})
    return z.reshape(*z.shape[:2], rows, -1)


def avg_pool2d(x, count_include_pad=True, **layout):
    return pool(np.nanmean, x, fill=0 if count_include_pad else np.nan, **layout)


def max_pool_with_indices(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """The largest value of each patch and its place in the image, one patch after the other."""
    layout = {"stride": stride or kernel_size, "padding": padding, "dilation": dilation}
    before = [pair[0] for pair in margins(x.shape[2:], kernel_size, **layout)]
    patches, found = windows(x.shape[2:], kernel_size, **layout, ceil_mode=ceil_mode), []
    for patch in patches:
        inside = [tuple(np.subtract(index, before)) for index in patch]
        inside = [at for at in inside if all(0 <= place < size for place, size in zip(at, x.shape[2:], strict=True))]
        places = np.ravel_multi_index(tuple(np.transpose(inside)), x.shape[2:])
        values = np.stack([x[:, :, *at] for at in inside])
        first = np.argmax(values, axis=0)
        found.append((np.take_along_axis(values, first[None], axis=0)[0], places[first]))
    counts = [len({patch[0][axis] for patch in patches}) for axis in range(len(kernel_size))]
    return tuple(np.stack(each, axis=-1).reshape(*x.shape[:2], *counts) for each in zip(*found, strict=True))


TABLE = {
    "max_pool_with_indices": Samples(
        [
            ({"kernel_size": [2]}, (values((2, 5, 7)),)),
            (OVERLAPPING, (IMAGES,)),
            ({"kernel_size": [2, 2], "dilation": [2, 1], "padding": [[1, 0], 0], "stride": 1}, (-abs(IMAGES),)),
            ({"kernel_size": [2, 3], "stride": [2, 4], "ceil_mode": True}, (IMAGES,)),
            ({"kernel_size": [2, 1, 2]}, (values((2, 1, 5, 6, 5)),)),
        ],
        max_pool_with_indices,
        analytic=False,
    ),
    "max_pool2d": Samples(
        [
            ({"kernel_size": 2}, (IMAGES,)),
            (OVERLAPPING, (IMAGES,)),
            ({"kernel_size": 2, "dilation": 2}, (-abs(IMAGES),)),
            ({"kernel_size": 2, "padding": [[0, 1], [1, 0]], "stride": [2, 3]}, (IMAGES,)),
            ({"kernel_size": [2, 3], "stride": [2, 4], "ceil_mode": True}, (IMAGES,)),
            ({"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True}, (IMAGES,)),
        ],
        lambda x, **layout: pool(np.nanmax, x, **layout),
        analytic=False,
    ),
    "avg_pool2d": Samples(
        [
            ({"kernel_size": 2}, (IMAGES,)),
            (OVERLAPPING, (IMAGES,)),
            ({**OVERLAPPING, "count_include_pad": False}, (IMAGES,)),
            ({"kernel_size": 2, "padding": "same", "count_include_pad": False}, (IMAGES,)),
            ({"kernel_size": 3, "stride": 2, "padding": [[1, 0], [0, 1]], "ceil_mode": True}, (IMAGES,)),
            (
                {"kernel_size": 2, "padding": [1, 0], "ceil_mode": True, "count_include_pad": False},
                (IMAGES,),
            ),
            ({"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True}, (IMAGES,)),
        ],
        avg_pool2d,
    ),
    "global_avg_pool2d": Samples(
        [({}, (values((2, 3, 5, 6)),))], lambda x: x.mean(axis=3).mean(axis=2)[..., None, None]
    ),
}
