"""Random numbers as pure functions of a key.

A key is a vector of two uint64 numbers. An op that takes one as its optional input `key` draws the same numbers
whenever it gets the same key; where a file leaves the key out, the engine supplies a node of op `random_key`.
"""

from functools import cache
from hashlib import sha256
from typing import Annotated

import numpy as np
from pydantic import Field

from graphengine.node import Node
from graphengine.registry import register
from graphengine.shapes import ArrayType


@register("random_key")
class RandomKey(Node):
    """The key of a random op: a pure function of `seed`, `stream` and iteration.

    Its first number is the beginning of sha256("seed/stream"), its second the iteration, 0 without one. In a training
    step the engine supplies the iteration, from 1, and the seed of the training where `seed` is null; elsewhere null
    is 0.
    """

    stream: str
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None

    def infer(self, iteration=None):
        if iteration is not None and iteration.shape != ():
            raise ValueError(f"the iteration must be a scalar, not {iteration}")
        return ArrayType((2,), np.dtype(np.uint64))

    def forward(self, iteration=None):
        return np.array([stream_number(self.seed or 0, self.stream), int(iteration or 0)], np.uint64)


@cache
def stream_number(seed: int, stream: str) -> int:
    """A number for each pair of a seed and the name of a stream."""
    return int.from_bytes(sha256(f"{seed}/{stream}".encode()).digest()[:8], "little")
