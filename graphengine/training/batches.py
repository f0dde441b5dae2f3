"""Batches of a data set: which samples each iteration sees.

The order of an epoch is a pure function of (seed, epoch), so a training that goes on later needs nothing but these
numbers. It comes from the raw stream of NumPy's Philox generator, which NumPy keeps the same for ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from graphengine.binding import bind_sizes
from graphengine.errors import DataError
from graphengine.graph import Graph
from graphengine.shapes import shape_text


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

    def epoch(self, number: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """The batches of one epoch (from 1): how many samples each has, and its arrays by input."""
        batched, single = self._batched, self._single
        if self._shuffle:
            order = epoch_order(self._seed, number, self.samples)
            batched = {name: array[order] for name, array in batched.items()}
            single = {name: array[order] for name, array in single.items()}
        for index in range(self.per_epoch):
            start = index * self.batch_size
            stop = min(start + self.batch_size, self.samples)
            batch = {name: array[start:stop] for name, array in batched.items()}
            batch |= {name: array[index] for name, array in single.items()}
            yield stop - start, {**batch, **self._whole}

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
