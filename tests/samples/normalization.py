import numpy as np

from samples.arrays import values
from samples.random import KEY, bernoulli
from samples.table import Samples


def channels(x, axis):
    """The values of each channel, as rows."""
    return np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)


def batch_norm(x, scale, bias, running_mean, running_var, axis=1, momentum=0.9, epsilon=1e-5, training=False):
    rows = channels(x, axis)
    mean, var = (np.mean(rows, 1), np.var(rows, 1)) if training else (running_mean, running_var)
    parts = zip(np.moveaxis(x, axis, 0), mean, var, scale, bias, strict=True)
    z = np.stack([(part - m) / (v + epsilon) ** 0.5 * s + b for part, m, v, s, b in parts], axis)
    new = [momentum * old + (1 - momentum) * now for old, now in ((running_mean, mean), (running_var, var))]
    return z, *new


def rows_of(x, axis):
    return x.reshape(*x.shape[:axis], -1)


def layer_norm(x, scale=None, bias=None, axis=-1, epsilon=1e-5):
    rows = rows_of(x, axis)
    unit = (rows - np.mean(rows, -1, keepdims=True)) / np.sqrt(np.var(rows, -1, keepdims=True) + epsilon)
    return unit.reshape(x.shape) * (1 if scale is None else scale) + (0 if bias is None else bias)


def rms_norm(x, scale=1.0, axis=-1, epsilon=1e-5):
    rows = rows_of(x, axis)
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True) ** 2 / rows.shape[-1]
    return (rows / np.sqrt(lengths + epsilon)).reshape(x.shape) * scale


def dropout(x, key=None, p=0.5, training=False):
    return x * bernoulli(key, shape=x.shape, p=1 - p) / (1 - p) if training else x


OF_CHANNELS = (*(values((3,), seed) for seed in range(3)), abs(values((3,), 3)))
IMAGES = values((2, 3, 4, 1))

TABLE = {
    "batch_norm": Samples(
        [
            ({}, (IMAGES, *OF_CHANNELS)),
            ({"training": True, "momentum": 0.75}, (IMAGES, *OF_CHANNELS)),
            ({"training": True, "axis": -1, "epsilon": 0.1}, (values((4, 2, 3)), *OF_CHANNELS)),
        ],
        batch_norm,
    ),
    "layer_norm": Samples(
        [
            ({}, (values((2, 3)),)),
            ({"epsilon": 0.01}, (values((4, 2, 3)), values((3,), 1), values((3,), 2))),
            ({"axis": 1}, (values((4, 2, 3)), values((2, 3), 1))),
        ],
        layer_norm,
    ),
    "rms_norm": Samples(
        [({}, (values((2, 3)),)), ({"axis": -2, "epsilon": 0.01}, (values((4, 2, 3)), values((2, 3), 1)))], rms_norm
    ),
    "dropout": Samples(
        [
            ({}, (values((2, 3)),)),
            ({"training": True}, (values((4, 2, 3)), KEY)),
            ({"training": True, "p": 0.2}, (values((2, 3)), KEY)),
        ],
        dropout,
        analytic=False,
    ),
}
