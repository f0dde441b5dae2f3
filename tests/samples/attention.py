import numpy as np
from scipy.special import softmax

from samples.arrays import booleans, integers, values
from samples.table import Samples


def attention(q, k, v, mask=None, causal=False, scale=None):
    """One query after the other: the keys it sees, softmax, the mean of their values."""
    scale = 1 / np.sqrt(q.shape[-1]) if scale is None else scale
    leading = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    q, k, v = (np.broadcast_to(each, (*leading, *each.shape[-2:])) for each in (q, k, v))
    mask = np.ones((), bool) if mask is None else mask
    mask = np.broadcast_to(mask, (*leading, q.shape[-2], k.shape[-2]))
    z = np.zeros((*leading, q.shape[-2], v.shape[-1]))
    for *place, row in np.ndindex(z.shape[:-1]):
        place = tuple(place)
        added = mask[place][row]
        seen = np.ones(k.shape[-2], bool) if added.dtype != bool else added.copy()
        if causal:
            seen[row + 1 :] = False
        scores = scale * k[place][seen] @ q[place][row] + (added[seen] if added.dtype != bool else 0)
        z[*place, row] = softmax(scores) @ v[place][seen] if seen.any() else 0
    return z


QUERIES, KEYS, VALUES = values((2, 4, 5)), values((2, 3, 5), 1), values((2, 3, 2), 2)
SEEN = booleans((4, 3))
SEEN[1] = False

TABLE = {
    "embedding": Samples(
        [
            ({}, (integers(2, 0, 2), values((4, 3)))),
            ({}, (np.array([[1, 1], [0, 3]]), values((4, 2)))),
            ({"padding_index": -3}, (integers(2, 0, -1), values((4, 3)))),
        ],
        lambda indices, weight, padding_index=None: np.eye(len(weight))[indices] @ weight,
    ),
    "scaled_dot_product_attention": Samples(
        [
            ({}, (QUERIES, KEYS, VALUES)),
            ({"causal": True, "scale": 0.5}, (QUERIES, KEYS, VALUES)),
            ({}, (QUERIES[:, None], KEYS, VALUES[0], SEEN)),
            ({}, (QUERIES, KEYS, VALUES, values((4, 3), 3))),
            ({"causal": True}, (QUERIES, KEYS, VALUES, values((2, 4, 3), 3))),
        ],
        attention,
    ),
}
