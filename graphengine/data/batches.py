"""Batches of a data set: which samples each iteration sees."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from graphengine.data.chosen import Chosen
from graphengine.data.stored import Stored, in_memory
from graphengine.errors import DataError
from graphengine.ir.binding import bind_sizes, shapes_of
from graphengine.ir.cells import as_encoded
from graphengine.ir.graph import Graph
from graphengine.mappings import only
from graphengine.ops.shapes import shape_text
from graphengine.wording import size_text

if TYPE_CHECKING:
    from graphengine.data.order import Order

SORTING = 64
"""Bytes for each sample of a window beside its places: what sorting these by their blocks of the file takes."""


@dataclass(frozen=True)
class Segment:
    """Consecutive batches of one size: `count` batches of `size` samples out of `arrays`, in order.

    A batch is worked on in parts of at most `part` samples where gradients are accumulated.
    """

    count: int
    size: int
    arrays: Mapping[str, Any]
    whole: Mapping[str, Any]
    single: bool
    part: int
    _columns: dict[str, list[Any]] = field(default_factory=dict, repr=False, compare=False)
    _vectors: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    _tables: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def batch(self, index: int) -> dict[str, Any]:
        """One batch, by input."""
        start = index * self.size
        if self.single:
            return {**{name: array[index] for name, array in self.arrays.items()}, **self.whole}
        return {**{name: array[start : start + self.size] for name, array in self.arrays.items()}, **self.whole}

    def parts(self, index: int) -> Iterator[tuple[dict[str, Any], int]]:
        """The parts of a batch, each with its number of samples."""
        stop = (index + 1) * self.size
        for start in range(index * self.size, stop, self.part):
            chosen = start if self.single else slice(start, min(start + self.part, stop))
            rows = {name: array[chosen] for name, array in self.arrays.items()}
            yield {**rows, **self.whole}, min(self.part, stop - start)

    def column(self, name: str, start: int, stop: int, *, is_float: bool = False) -> Iterable[Any]:
        """One input of the batches from `start` to `stop`; double scalars as Python floats.

        With `is_float` a batch is one number, that of its one sample.
        """
        if name in self.whole:
            value = self.whole[name]
            return itertools.repeat(value.item() if is_float else _as_float(value), stop - start)
        array = self.arrays[name]
        if not self.single and not (is_float and self.size == 1):
            return (array[index * self.size : (index + 1) * self.size] for index in range(start, stop))
        if not is_float and (array.ndim > 1 or array.dtype != np.float64):
            part: Iterable[Any] = array[start:stop]
            return part
        return self._floats(name, start, stop)

    def _floats(self, name: str, start: int, stop: int) -> list[float]:
        """The numbers of an input that has one for each sample."""
        array = self.arrays[name]
        if stop - start < self.count:
            return array[start:stop].reshape(-1).tolist()  # type: ignore[no-any-return]
        if name not in self._columns:  # the epochs of a small set come from the same numbers again and again
            self._columns[name] = array.reshape(-1).tolist()
        return self._columns[name]

    def numbers(self, name: str, start: int, stop: int) -> Any:
        """One input of the batches from `start` to `stop`, each one number, as a contiguous vector of doubles."""
        if name in self.whole:
            return np.full(stop - start, self.whole[name], dtype=np.float64)
        if name not in self._vectors:
            self._vectors[name] = np.require(self.arrays[name].reshape(-1), np.float64, ["C", "A", "W"])
        vector = self._vectors[name]
        return vector if stop - start == self.count else vector[start:stop]

    def table(self, name: str) -> Any:
        """One input of all batches as `stacked` gives it, the same array each time."""
        if name not in self._tables:
            self._tables[name] = self.stacked(name, 0, self.count)
        return self._tables[name]

    def stacked(self, name: str, start: int, stop: int) -> Any:
        """One input of the batches from `start` to `stop` with an axis for them in front, of size 1 if all share it."""
        if name in self.whole:
            return np.require(self.whole[name], None, ["C", "A"])[None]
        array = self.arrays[name]
        if self.single:
            return np.require(array[start:stop], None, ["C", "A"])
        rows = np.require(array[start * self.size : stop * self.size], None, ["C", "A"])
        return rows.reshape(stop - start, self.size, *array.shape[1:])


def _as_float(value: Any) -> Any:
    return float(value) if np.shape(value) == () and np.asarray(value).dtype == np.float64 else value


class Batches:
    """Splits arrays into batches along their sample axis.

    An input whose declared shape begins with a symbol takes batches of any size. An input without such an axis takes
    one sample at a time, if the data has one axis more than declared (`batch_size` must then be 1), or the same whole
    array in every batch, if it has the declared shape. With `accumulate` a batch has that many parts of `batch_size`;
    with `shard_rows` its parts are shards of this many samples, whatever `batch_size` is.

    Raises
    ------
    DataError
        GE505 if the arrays have different numbers of samples or do not fit the declared shapes.
    """

    arrays: Mapping[str, Any]
    inputs: frozenset[str]
    samples: int
    part: int
    samples_per_epoch: int
    batch_size: int
    full_batches: int
    per_epoch: int

    def __init__(
        self,
        arrays: Mapping[str, Any],
        graph: Graph,
        *,
        batch_size: int | None = None,
        accumulate: int = 1,
        shard_rows: int | None = None,
        drop_last: bool = False,
        shuffle: bool = False,
        seed: int = 0,
    ) -> None:
        by_axis = _by_sample_axis(arrays, graph)
        self._batched, self._single = by_axis["batch"], by_axis["sample"]
        self._whole = {name: in_memory(array) for name, array in by_axis["whole"].items()}
        self.arrays, self.inputs, self._declared = arrays, frozenset(arrays), graph.inputs
        self._has_categories = any(each.categories for each in graph.inputs.values())
        self.samples = self._count_samples()
        self._stored = [array for array in {**self._batched, **self._single}.values() if isinstance(array, Stored)]
        self.part = self.samples if batch_size is None else min(batch_size, self.samples)
        self.samples_per_epoch = self.samples - (self.samples % self.part if drop_last else 0)
        self.batch_size = min(self.part * accumulate, self.samples_per_epoch)
        self.part = self.part if shard_rows is None else min(shard_rows, self.batch_size)
        for name in self._single:
            self._require_single(name, graph, sharded=shard_rows is not None)
        self._shuffle, self._seed = shuffle, seed
        self._epoch_order: tuple[int, Order] | None = None
        self._in_order: tuple[Segment, ...] = ()
        self.full_batches, rest = divmod(self.samples_per_epoch, self.batch_size)
        self.per_epoch = self.full_batches + (rest > 0)
        bind_sizes(shapes_of(self._batched), graph.types)

    def _require_single(self, name: str, graph: Graph, *, sharded: bool) -> None:
        """Refuse several samples at a time for an input that takes one."""
        if self.part != 1:
            raise DataError(
                f"input '{name}' takes one sample at a time (its shape is {shape_text(graph.types[name].shape)})",
                code="GE505",
                hint='set batch_size to 1, or declare the shape with a symbol first, such as ["N"]',
            )
        if sharded:
            message = f"input '{name}' takes one sample at a time, and shards have several"
            raise DataError(message, code="GE505", hint='declare its shape with a symbol first, such as ["N"]')

    def has_samples(self, name: str) -> bool:
        """Whether an input takes a batch of samples along its first axis."""
        return name in self._batched

    def _count_samples(self) -> int:
        counts = {name: len(array) for name, array in {**self._batched, **self._single}.items()}
        if len(set(counts.values())) > 1:
            shown = ", ".join(f"'{name}' {count}" for name, count in counts.items())
            raise DataError(f"inputs have different numbers of samples: {shown}", code="GE505")
        samples = next(iter(counts.values()), 1)
        if samples == 0:
            raise DataError("the data has no samples", code="GE505")
        return samples

    def epoch(self, number: int, first: int = 0) -> Iterable[Segment]:
        """The batches of one epoch (from 1), from batch `first` on, in groups of one size; the smaller last one alone.

        What is in memory is one group; what is stored is read group by group. A shuffled group may take half of the
        allowed memory, so the caller drops it before it asks for the next.
        """
        if self.is_stored or self._shuffle or first:
            return self._segments(self.order(number) if self._shuffle else None, first)
        self._in_order = self._in_order or tuple(self._segments(None, 0))
        return self._in_order

    def order(self, epoch: int) -> Order:
        """The order that the samples have in an epoch if they are shuffled."""
        from graphengine.data.order import Order

        most = self._stored[0].memory.sorted_samples if self._stored else self.samples
        return Order(self._seed, epoch, self.samples, most)

    def parts_of(self, iteration: int, first: int, stop: int) -> Iterator[dict[str, Any]]:
        """Parts `first` to `stop` of the batch of an iteration (from 1), of which only these are read."""
        epoch, batch = divmod(iteration - 1, self.per_epoch)
        start = batch * self.batch_size
        end = min(start + self.batch_size, self.samples_per_epoch)
        order = self._order_from(start + first * self.part, epoch + 1) if self._shuffle else None
        for place in range(start + first * self.part, min(start + stop * self.part, end), self.part):
            yield {**self._rows(order, place, min(place + self.part, end)), **self._whole}

    def _order_from(self, place: int, epoch: int) -> Order:
        """The order of an epoch from a place on; what has been sorted of it is kept, until an earlier place is due."""
        if self._epoch_order is None or self._epoch_order[0] != epoch or self._epoch_order[1].start > place:
            self._epoch_order = epoch, self.order(epoch)
        return self._epoch_order[1]

    def _segments(self, order: Order | None, first: int) -> Iterator[Segment]:
        size, full, used = self.batch_size, self.full_batches, self.samples_per_epoch
        at_once = max(1, (self.samples_at_once if order is None else self._samples_in_window) // size)
        for start in range(first, full, at_once):
            yield self._segment(order, start * size, min(start + at_once, full) * size, size)  # not kept in a variable
        if max(full, first) < self.per_epoch:
            yield self._segment(order, full * size, used, used - full * size)

    def _segment(self, order: Order | None, start: int, stop: int, size: int) -> Segment:
        rows = self._rows(order, start, stop)
        return Segment((stop - start) // size, size, rows, self._whole, bool(self._single), self.part)

    def _rows(self, order: Order | None, start: int, stop: int) -> dict[str, Any]:
        """Samples of all inputs, by their places in the order of the epoch."""
        chosen = slice(start, stop) if order is None else order.places(start, stop)
        return {name: array[chosen] for name, array in {**self._batched, **self._single}.items()}

    @property
    def takes_single_samples(self) -> bool:
        """Whether the model has an input that takes one sample at a time."""
        return bool(self._single)

    @property
    def is_stored(self) -> bool:
        """Whether part of the data stays on disk."""
        return bool(self._stored)

    @property
    def batched_inputs(self) -> tuple[str, ...]:
        """The inputs that take batches of any size."""
        return tuple(self._batched)

    @property
    def single_inputs(self) -> tuple[str, ...]:
        """The inputs that take one sample at a time."""
        return tuple(self._single)

    @property
    def samples_at_once(self) -> int:
        """How many samples are read at once in their own order."""
        samples = self._stored[0].memory.segment // self._row_bytes if self._stored else self.samples
        return max(1, min(samples, self.samples))

    @property
    def _samples_in_window(self) -> int:
        """How many samples of a shuffled epoch are read at once."""
        return self._stored[0].memory.window // (self._row_bytes + SORTING) if self._stored else self.samples

    @property
    def part_bytes(self) -> int:
        """What the samples of a part take that are read from disk."""
        return self.part * self._row_bytes

    @property
    def _row_bytes(self) -> int:
        """What a sample takes that is read from disk, its places in two orders included."""
        return sum(array.row_bytes for array in self._stored) + 32

    def require_room(self) -> None:
        """Refuse batches that leave no room in memory to read them from disk.

        Raises
        ------
        DataError
            GE133.
        """
        if not self._stored or self.batch_size * self._row_bytes <= self._stored[0].memory.whole:
            return
        memory, size = self._stored[0].memory, self.batch_size * self._row_bytes
        message = (
            f"the data stays on disk, and a batch of {self.batch_size} samples takes {size_text(size)}, "
            f"more than a quarter of the limit data_bytes, {size_text(memory.allowed)}"
        )
        hint = f"set batch_size to {max(1, memory.whole // self._row_bytes)} at most, or raise the limit data_bytes"
        raise DataError(message, code="GE133", hint=hint)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each input in a part of a batch."""
        return self.shapes_of(self.part)

    def shapes_of(self, samples: int) -> dict[str, tuple[int, ...]]:
        """The shape of each input for a number of samples."""
        batched = {name: (samples, *np.shape(array)[1:]) for name, array in self._batched.items()}
        single = {name: np.shape(array)[1:] for name, array in self._single.items()}
        return {**batched, **single, **shapes_of(self._whole)}

    def sizes_in(self, graph: Graph, samples: int) -> dict[str, int]:
        """The numbers of the symbolic sizes of a graph with some of the inputs, for a number of samples."""
        return bind_sizes(only(self.shapes_of(samples), graph.inputs), graph.types)

    def repeated(self, count: int) -> Segment:
        """The one batch that all samples make, `count` times."""
        (segment,) = self._segments(None, 0)
        return Segment(count, self.samples, {}, segment.batch(0), single=False, part=self.part)

    @property
    def is_constant(self) -> bool:
        """Whether every iteration sees the same batch."""
        return self.per_epoch == 1 and self.part == self.samples and not self._shuffle

    def whole(self) -> dict[str, Any] | None:
        """All samples as one batch, None if an input takes one sample at a time or the data stays on disk."""
        if self._single or self.is_stored:
            return None
        arrays = {**self._batched, **self._whole}
        return as_encoded(arrays, self._declared) if self._has_categories else arrays


def is_whole(name: str, array: Any, graph: Graph) -> bool:
    """Whether an input takes its array as a whole in every batch."""
    return _sample_axis(name, array, graph) == "whole"


def takes_single_samples(arrays: Mapping[str, Any], graph: Graph) -> bool:
    """Whether an input takes one sample of its array at a time."""
    return any(_sample_axis(name, array, graph) == "sample" for name, array in arrays.items())


def rows_of(array: Any, chosen: Chosen) -> Any:
    """Some rows of an array; those of a stored array stay where they are."""
    return array.chosen(chosen) if isinstance(array, Stored) else array[chosen.rows(slice(None))]


def _by_sample_axis(arrays: Mapping[str, Any], graph: Graph) -> dict[str, dict[str, Any]]:
    """The arrays of inputs that take a batch, a single sample or the whole array at a time."""
    found: dict[str, dict[str, Any]] = {"batch": {}, "sample": {}, "whole": {}}
    for name, array in arrays.items():
        found[_sample_axis(name, array, graph)][name] = array
    return found


def _sample_axis(name: str, array: Any, graph: Graph) -> str:
    declared, rank = graph.types[name].shape, np.ndim(array)
    has_batch_axis = isinstance(next(iter(declared), None), str)
    if rank == len(declared):
        return "batch" if has_batch_axis else "whole"
    if rank == len(declared) + 1 and not has_batch_axis:
        return "sample"
    got = f"data for input '{name}' has shape {shape_text(np.shape(array))}"
    message = f"{got}; the declared shape is {shape_text(declared)}"
    raise DataError(message, code="GE505")
