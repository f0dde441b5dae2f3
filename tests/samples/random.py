from hashlib import sha256

import numpy as np

from samples.arrays import integers
from samples.table import Samples

KEY = np.array([3, 2**63 + 1], np.uint64)


def random_key(iteration=0, *, stream, seed=0):
    digest = sha256(f"{seed}/{stream}".encode()).digest()
    return np.array([np.frombuffer(digest, "<u8")[0], iteration], np.uint64)


def generator(key):
    return np.random.Generator(np.random.Philox(key=key))


def wanted(sizes, shape):
    return shape if sizes is None else tuple(sizes)


def uniform(key, sizes=None, *, shape=None, low=0.0, high=1.0, dtype="float64"):
    return low + (high - low) * generator(key).random(wanted(sizes, shape), np.dtype(dtype)).astype(float)


def normal(key, sizes=None, *, shape=None, mean=0.0, std=1.0, dtype="float64"):
    """Pairs of numbers as the parts of complex numbers in polar form."""
    shape = wanted(sizes, shape)
    count = np.prod(shape, dtype=int)
    first, second = generator(key).random((2, (count + 1) // 2), np.dtype(dtype)).astype(float)
    pairs = np.sqrt(-2 * np.log(1 - first)) * np.exp(2j * np.pi * second)
    return mean + std * np.append(pairs.real, pairs.imag)[:count].reshape(shape)


def bernoulli(key, sizes=None, *, shape=None, p=0.5, dtype="float64"):
    shape = wanted(sizes, shape)
    words = generator(key).integers(0, 2**32, shape, np.uint32)
    return (words / 2**32 < p).astype(dtype)


TABLE = {
    "random_key": Samples(
        [({"stream": "a"}, ()), ({"stream": "a", "seed": 3}, (np.array(5),))], random_key, of_scalars=True
    ),
    "uniform": Samples(
        [
            ({"shape": [3, 2]}, (KEY,)),
            ({"low": -1.0, "high": 2.0}, (KEY, integers(3))),
            ({"shape": [0]}, (KEY,)),
            ({"shape": [5], "dtype": "float32"}, (KEY,)),
        ],
        uniform,
    ),
    "normal": Samples(
        [
            ({"shape": [3]}, (KEY,)),
            ({"mean": 2.0, "std": 0.5}, (KEY, integers(2, 2))),
            ({"shape": [4], "dtype": "float32"}, (KEY,)),
        ],
        normal,
    ),
    "bernoulli": Samples(
        [({"shape": [4, 3]}, (KEY,)), ({"p": 0.9, "dtype": "float32"}, (KEY, integers(5)))], bernoulli
    ),
}
