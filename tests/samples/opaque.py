import numpy as np

from samples.arrays import values
from samples.table import Samples

ARRAYS = tuple(values((3,), seed) for seed in range(4))
ROWS = [
    *[({"of": "mul", "index": index}, ARRAYS) for index in (0, 1)],
    *[({"of": "clip", "index": index, "omitted": [1]}, ARRAYS) for index in (0, 2)],
    ({"of": "leaky_relu", "index": 0, "attributes": {"negative_slope": 0.2}}, ARRAYS[:3]),
]


def backward(grad, *arrays, of, index, attributes=None, omitted=()):
    """Of a product, of what is at most its second argument, and of the leaky rectified linear unit."""
    x, *others, _ = arrays
    if of == "mul":
        return grad * (others[0], x)[index]
    if of == "leaky_relu":
        return grad * np.where(x > 0, 1, attributes["negative_slope"])
    return np.where((x <= others[0]) == (index == 0), grad, 0)


TABLE = {"opaque_backward": Samples(ROWS, backward)}
