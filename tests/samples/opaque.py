import numpy as np

from samples.arrays import values
from samples.table import Samples

ARRAYS = tuple(values((3,), seed) for seed in range(4))


def backward(*arrays, of, index, omitted=()):
    """Of a product, and of what is at most its second argument."""
    grad, *inputs, _ = arrays
    if of == "mul":
        return grad * inputs[1 - index]
    x, most = inputs
    return np.where((x <= most) == (index == 0), grad, 0)


TABLE = {
    "opaque_backward": Samples(
        [
            ({"of": "mul", "index": 0}, ARRAYS),
            ({"of": "mul", "index": 1}, ARRAYS),
            ({"of": "clip", "index": 0, "omitted": [1]}, ARRAYS),
            ({"of": "clip", "index": 2, "omitted": [1]}, ARRAYS),
        ],
        backward,
    )
}
