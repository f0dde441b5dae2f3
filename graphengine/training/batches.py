"""Batches of a data set: which samples each iteration sees.

The order of an epoch is a pure function of (seed, epoch), so a training that goes on later needs nothing but these
numbers. It comes from the raw stream of NumPy's Philox generator, which NumPy keeps the same for ever.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphengine.binding import bind_sizes
from graphengine.errors import DataError
from graphengine.graph import Graph
from graphengine.shapes import shape_text


@dataclass(frozen=True)
class Segment:
    """Consecutive batches of one size: `count` batches of `size` samples out of `arrays`, in order."""

    count: int
    size: int
    arrays: Mapping[str, Any]
    whole: Mapping[str, Any]
    single: bool

    def batch(self, index: int) -> dict[str, Any]:
        """One batch, by input."""
        start = index * self.size
        if self.single:
            return {**{name: array[index] for name, array in self.arrays.items()}, **self.whole}
        return {**{name: array[start : start + self.size] for name, array in self.arrays.items()}, **self.whole}

    def column(self, name: str, start: int, stop: int) -> Iterable[Any]:
        """One input of the batches from `start` to `stop`; double scalars as Python floats."""
        if name in self.whole:
            return itertools.repeat(self.whole[name], stop - start)
        array = self.arrays[name]
        if self.single:
            part: Any = array[start:stop]
            values: Iterable[Any] = part.tolist() if part.ndim == 1 and part.dtype == np.float64 else part
            return values
        return (array[index * self.size : (index + 1) * self.size] for index in range(start, stop))


class Batches:
    """Splits arrays into batches along their sample axis.

    An input whose declared shape begins with a symbol takes batches of any size. An input without such an axis takes
    one sample at a time, if the data has one axis more than declared (`batch_size` must then be 1), or the same whole
    array in every batch, if it has the declared shape.

    Raises
    ------
    DataError
        GE505 if the arrays have different numbers of samples or do not fit the declared shapes.
    """

    def __init__(
        self,
        arrays: Mapping[str, Any],
        graph: Graph,
        *,
        batch_size: int | None = None,
        drop_last: bool = False,
        shuffle: bool = False,
        seed: int = 0,
    ) -> None:
        kinds = {name: _sample_axis(name, array, graph) for name, array in arrays.items()}
        self._batched = {name: array for name, array in arrays.items() if kinds[name] == "batch"}
        self._single = {name: array for name, array in arrays.items() if kinds[name] == "sample"}
        self._whole = {name: array for name, array in arrays.items() if kinds[name] == "whole"}
        self.samples = self._count_samples()
        self.batch_size = self.samples if batch_size is None else min(batch_size, self.samples)
        if self._single and self.batch_size != 1:
            name = next(iter(self._single))
            raise DataError(
                f"input '{name}' takes one sample at a time (its shape is {shape_text(graph.types[name].shape)})",
                code="GE505",
                hint='set batch_size to 1, or declare the shape with a symbol first, such as ["N"]',
            )
        self._shuffle, self._seed = shuffle, seed
        full, rest = divmod(self.samples, self.batch_size)
        self.per_epoch = full + (rest > 0 and not drop_last)
        bind_sizes({name: np.shape(array) for name, array in self._batched.items()}, graph.types)

    def _count_samples(self) -> int:
        counts = {name: len(array) for name, array in {**self._batched, **self._single}.items()}
        if len(set(counts.values())) > 1:
            shown = ", ".join(f"'{name}' {count}" for name, count in counts.items())
            raise DataError(f"inputs have different numbers of samples: {shown}", code="GE505")
        samples = next(iter(counts.values()), 1)
        if samples == 0:
            raise DataError("the data has no samples", code="GE505")
        return samples

    def epoch(self, number: int) -> list[Segment]:
        """The batches of one epoch (from 1), in groups of one size: the full ones, then a smaller last one."""
        arrays = {**self._batched, **self._single}
        if self._shuffle:
            order = epoch_order(self._seed, number, self.samples)
            arrays = {name: array[order] for name, array in arrays.items()}
        full, rest = divmod(self.samples, self.batch_size)
        segments = [Segment(full, self.batch_size, arrays, self._whole, single=bool(self._single))]
        if full < self.per_epoch:
            tail = {name: array[self.samples - rest :] for name, array in arrays.items()}
            segments.append(Segment(1, rest, tail, self._whole, single=False))
        return segments

    @property
    def is_constant(self) -> bool:
        """Whether every iteration sees the same batch."""
        return self.per_epoch == 1 and self.batch_size == self.samples and not self._shuffle

    def whole(self) -> dict[str, Any] | None:
        """All samples as one batch, None if an input takes one sample at a time."""
        return None if self._single else {**self._batched, **self._whole}


def epoch_order(seed: int, epoch: int, samples: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """A permutation of the samples that depends on seed and epoch alone."""
    draws = np.random.Philox(key=seed, counter=[0, 0, 0, epoch]).random_raw(samples)
    return np.argsort(draws, kind="stable")


def _sample_axis(name: str, array: Any, graph: Graph) -> str:
    declared, rank = graph.types[name].shape, np.ndim(array)
    if rank == len(declared):
        return "batch" if declared and isinstance(declared[0], str) else "whole"
    if rank == len(declared) + 1 and not (declared and isinstance(declared[0], str)):
        return "sample"
    message = f"data for input '{name}' has shape {shape_text(np.shape(array))}, declared is {shape_text(declared)}"
    raise DataError(message, code="GE505")
