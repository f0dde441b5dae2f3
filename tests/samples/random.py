from hashlib import sha256

import numpy as np

from samples.table import Samples


def random_key(iteration=0, *, stream, seed=0):
    digest = sha256(f"{seed}/{stream}".encode()).digest()
    return np.array([np.frombuffer(digest, "<u8")[0], iteration], np.uint64)


TABLE = {
    "random_key": Samples(
        [({"stream": "a"}, ()), ({"stream": "a", "seed": 3}, (np.array(5),))], random_key, of_scalars=True
    ),
}
