"""Random numbers as pure functions of a key.

A key is a vector of two uint64 numbers. A random op, declared by `random = True`, takes a key as its optional input
`key` and draws the same numbers for the same key. If a file omits the key, the engine supplies a node of op
`random_key`. The bits are those of the counter-based generator Philox4x64 (Salmon et al., Parallel Random Numbers: As
Easy as 1, 2, 3, 2011), which NumPy guarantees never to change; this module converts them to floating-point numbers.
"""

import math
from functools import cache
from hashlib import sha256
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from graphengine.ops.inference import target_shape
from graphengine.ops.node import Node
from graphengine.ops.registry import register
from graphengine.ops.shapes import ArrayType, DTypeName

Probability = Annotated[float, Field(ge=0, le=1)]
Precision = Literal["float64", "float32"]


@register("random_key", traits=("has_mode",))
class RandomKey(Node):
    """The key of a random op: a pure function of `seed`, `stream` and iteration, z = [sha256(seed/stream), iteration].

    Its first number is the beginning of the hash, its second the iteration, or 0 outside of a training. In a training
    step the engine supplies the iteration, counted from 1, and the seed of the training if `seed` is null; elsewhere
    null means 0.
    """

    stream: str
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None

    def infer(self, iteration=None):
        if iteration is not None and iteration.shape != ():
            raise ValueError(f"the iteration must be a scalar, not {iteration}")
        return ArrayType((2,), np.dtype(np.uint64))

    def forward(self, iteration=None):
        return np.array([stream_number(self.seed or 0, self.stream), int(iteration or 0)], np.uint64)


def drawn(node, key=None, sizes=None):
    """Rule for shapes: what is asked for, by the attribute `shape` or the input `sizes`."""
    check_key(key)
    return ArrayType(target_shape(node, sizes), np.dtype(node.dtype))


def check_key(key):
    """Refuse a key that is none; whether a symbolic size is 2 shows when the op runs."""
    if key is None:
        return
    if key.dtype != np.uint64 or len(key.shape) != 1 or (isinstance(key.shape[0], int) and key.shape[0] != 2):
        raise ValueError(f"a key must have type uint64(2,), not {key}")


@register("uniform")
class Uniform(Node):
    """Random numbers, uniform from `low` up to but without `high`, z = low + (high - low) * u with u in [0, 1)."""

    infer = drawn
    random = True
    low: float = 0.0
    high: float = 1.0
    shape: tuple[int, ...] | None = None
    dtype: Precision = "float64"

    def forward(self, key=None, sizes=None):
        shape = self.shape if sizes is None else tuple(sizes)
        numbers = fractions(key, math.prod(shape), self.dtype).reshape(shape)
        return self.low + (self.high - self.low) * numbers


@register("normal")
class Normal(Node):
    """Random numbers, normally distributed.

    z = mean + std * [r * cos(a), r * sin(a)] with r = sqrt(-2 * log(1 - u)), a = 2 * pi * v.

    u and v are uniform in [0, 1). Box and Muller, A Note on the Generation of Random Normal Deviates, 1958.
    """

    infer = drawn
    random = True
    mean: float = 0.0
    std: Annotated[float, Field(ge=0)] = 1.0
    shape: tuple[int, ...] | None = None
    dtype: Precision = "float64"

    def workspace(self, key=None, sizes=None):
        return [ArrayType(target_shape(self, sizes), np.dtype(self.dtype))] * 4

    def forward(self, key=None, sizes=None):
        shape = self.shape if sizes is None else tuple(sizes)
        count = math.prod(shape)
        first, second = fractions(key, count + count % 2, self.dtype).reshape(2, -1)
        radius, angle = np.sqrt(-2 * np.log1p(-first)), 2 * math.pi * second
        numbers = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count].reshape(shape)
        return self.mean + self.std * numbers


@register("bernoulli")
class Bernoulli(Node):
    """Random ones, each with probability p, else zeros, z = (u < p) with u in [0, 1).

    p is rounded to a multiple of 2**-32.
    """

    infer = drawn
    random = True
    p: Probability = 0.5
    shape: tuple[int, ...] | None = None
    dtype: DTypeName = "float64"

    def forward(self, key=None, sizes=None):
        shape = self.shape if sizes is None else tuple(sizes)
        ones = words(key, math.prod(shape), "u4") < round(self.p * 2**32)
        return ones.reshape(shape).astype(self.dtype)[()]


def words(key, count, kind):
    """`count` random integers of 32 or 64 bits ("u4", "u8"): the stream of the key from its beginning."""
    if key is None:
        raise ValueError("a random op needs a key, a vector of two uint64 numbers")
    whole = -(-count * np.dtype(kind).itemsize // 8)
    stream = np.random.Philox(key=key).random_raw(whole)
    return stream.astype("<u8", copy=False).view(f"<{kind}")[:count]


def fractions(key, count, dtype):
    """`count` random numbers in [0, 1), each multiple of 2**-53 (in single precision 2**-24) equally likely."""
    if dtype == "float64":
        return (words(key, count, "u8") >> 11) * 2.0**-53
    return (words(key, count, "u4") >> 8).astype(np.float32) * 2.0**-24


@cache
def stream_number(seed: int, stream: str) -> int:
    """A number for each pair of a seed and the name of a stream."""
    return int.from_bytes(sha256(f"{seed}/{stream}".encode()).digest()[:8], "little")
