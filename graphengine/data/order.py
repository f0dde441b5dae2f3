"""The order of the samples in an epoch: a function of (seed, epoch) alone, so a training that resumes needs no more.

It comes from the raw stream of NumPy's Philox generator, which NumPy keeps the same forever: a number is drawn for
each sample, and the samples are sorted by their numbers. Of more samples than memory has room to sort, those with the
lowest numbers are sorted first; the numbers are drawn again for each such piece, which gives the same order.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

Places: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]

DRAWN = 65_536
"""How many numbers are drawn at a time where not all are kept."""


def epoch_order(seed: int, epoch: int, samples: int) -> Places:
    """A permutation of the samples that depends on seed and epoch alone."""
    return np.argsort(_stream(seed, epoch).random_raw(samples), kind="stable")


def _stream(seed: int, epoch: int) -> np.random.Philox:
    return np.random.Philox(key=seed, counter=[0, 0, 0, epoch])


class Order:
    """The permutation of `epoch_order`, given out from its beginning on, of which about `most` places are in memory."""

    def __init__(self, seed: int, epoch: int, samples: int, most: int) -> None:
        whole = samples <= most
        self._pieces = iter([epoch_order(seed, epoch, samples)]) if whole else _pieces(seed, epoch, samples, most)
        self._held: Places = np.empty(0, np.intp)
        self._start = 0

    @property
    def start(self) -> int:
        """The first place that can still be requested."""
        return self._start

    def places(self, start: int, stop: int) -> Places:
        """The samples from place `start` to `stop`; no place before `start` can be requested afterwards."""
        while self._start + len(self._held) < stop:
            passed = min(start - self._start, len(self._held))
            rest = self._held[passed:]
            self._start += passed
            piece = next(self._pieces)
            self._held = np.concatenate([rest, piece]) if len(rest) else piece
        return self._held[start - self._start : stop - self._start]


def _pieces(seed: int, epoch: int, samples: int, most: int) -> Iterator[Places]:
    """The permutation in pieces: the samples whose numbers lie in one range after the other."""
    count = -(-samples // most)
    edges = [part * 2**64 // count for part in range(count + 1)]
    for low, end in itertools.pairwise(edges):
        yield _sorted_between(_stream(seed, epoch), samples, np.uint64(low), np.uint64(end - 1))


def _sorted_between(stream: np.random.Philox, samples: int, low: np.uint64, high: np.uint64) -> Places:
    places, numbers = [], []
    for start in range(0, samples, DRAWN):
        drawn = stream.random_raw(min(DRAWN, samples - start))
        chosen = np.flatnonzero((drawn >= low) & (drawn <= high))
        places.append(chosen + start)
        numbers.append(drawn[chosen])
    order = np.argsort(np.concatenate(numbers), kind="stable")  # sorting takes memory: before the places are copied
    return np.concatenate(places)[order]
