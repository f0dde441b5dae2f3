"""Values that are computed from the rows that are trained on, before a training: block by block, whatever their number.

Sums and extremes add up over the blocks. An order statistic is found digit by digit in the bits of the numbers, so
a median is exact without all rows in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from graphengine.backends.reference.executor import Executor
from graphengine.data.batches import Batches
from graphengine.errors import DataError, InputError
from graphengine.format.from_rows import Statistic, statistics_in
from graphengine.format.initializers import FromDataInitializer
from graphengine.ir.binding import bind_sizes
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import reachable
from graphengine.mappings import absent, only, present
from graphengine.ops.numbers import converted

Array: TypeAlias = np.ndarray[Any, Any]
Blocks: TypeAlias = Callable[[], Iterator[Array]]
"""Gives the rows of a value, a block at a time, as often as it is called."""

MOST_DISTINCT = 2**20
"""Different numbers among which a mode is looked for."""
DIGITS = 8
"""Bytes of the numbers that order statistics are found by."""
SAFE_EXPONENT = 400
"""Up to this power of two, squares and their sums neither over- nor underflow."""


def initialized(graph: Graph, values: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that initializers compute from rows, for parameters and state that have none yet.

    Raises
    ------
    InputError
        GE401 if the data lacks an input that is needed.
    DataError
        GE505 if it does not fit the inputs, GE507 if a statistic has no value.
    """
    waiting = [each for each in statistics_in(graph) if each.name not in values]
    found: dict[str, Any] = {}
    while waiting:
        ready, waiting = _ready(waiting, graph)
        for statistic in ready:
            found[statistic.name] = _computed(statistic, graph, {**values, **found}, data)
    return found


def _ready(waiting: Sequence[Statistic], graph: Graph) -> tuple[list[Statistic], list[Statistic]]:
    """The statistics that read none of those that are waiting, and the others."""
    names = {each.name for each in waiting}
    ready = [each for each in waiting if names.isdisjoint(each.reads(graph))]
    return ready, absent(waiting, ready)


def _computed(statistic: Statistic, graph: Graph, values: Mapping[str, Any], data: Mapping[str, Any]) -> Any:
    recipe, kind = statistic.recipe, statistic.source.type
    blocks = _blocks_of(statistic, graph, values, data)
    if recipe.statistic == "frequency":
        found = _frequency(blocks, statistic.classes)
    elif recipe.statistic in ("median", "quantile"):
        found = _quantile(blocks, 0.5 if recipe.q is None else recipe.q)
    else:
        found = STATISTICS[recipe.statistic](blocks)
    if not np.isfinite(found).all():
        raise DataError(f"{statistic.what}: {_lacking(found, recipe, blocks)}", code="GE507")
    return converted(found, found, kind.array_dtype)[()]


def _lacking(found: Array, recipe: FromDataInitializer, blocks: Blocks) -> str:
    """Why the first statistic that is not a number is none."""
    place = tuple(np.argwhere(~np.isfinite(found))[0].tolist())
    column = f", column {place[0]}" if place else ""
    if np.asarray(sum(map(_count, blocks())))[place] == 0:
        return f"'{recipe.of}'{column} has no value in any row that is trained on"
    return f"'{recipe.of}'{column} is infinite in some row, and the {recipe.statistic} is {found[place]}"


def _blocks_of(statistic: Statistic, graph: Graph, values: Mapping[str, Any], data: Mapping[str, Any]) -> Blocks:
    """The rows of the value that a statistic is of."""
    value, needed = statistic.value, statistic.reads(graph) & graph.inputs.keys()
    _require_inputs(statistic, present(graph.inputs, needed), data)
    arrays = only(data, needed)
    of_value = graph.derive(reachable(graph.nodes, [value]), {value: value}, graph.types)
    executor, batches = Executor(of_value), Batches(arrays, graph, batch_size=1)
    _require_rows(statistic, of_value, batches)
    schedule, is_single = executor.forward_schedule([value]), batches.takes_single_samples
    from graphengine.training.evaluation import largest_part  # few models have such initializers

    size = 1 if is_single else largest_part(batches, [of_value])
    batches = Batches(arrays, graph, batch_size=size)

    def blocks() -> Iterator[Array]:
        for segment in batches.epoch(1):
            for index in range(segment.count):
                slots = executor.forward({**values, **segment.batch(index)}, schedule)
                rows = np.asarray(slots[executor.slot_of[value]])
                yield rows[None] if is_single else rows

    return blocks


def _require_inputs(statistic: Statistic, needed: Iterable[str], data: Container[str]) -> None:
    for name in needed:
        if name not in data:
            raise InputError(f"{statistic.what}: the data has no values for input '{name}'", code="GE401")


def _require_rows(statistic: Statistic, graph: Graph, batches: Batches) -> None:
    """Refuse a value whose rows depend on each other: in other blocks it would be another one."""
    if batches.takes_single_samples:
        return
    sizes = bind_sizes(batches.shapes_of(batches.samples), graph.types)
    from graphengine.transform.sample_walk import with_part_for_each

    if graph.value_name(statistic.value) not in with_part_for_each(graph, sizes, batches.batched_inputs):
        message = f"{statistic.what}: the rows of '{statistic.recipe.of}' depend on each other"
        raise DataError(message, code="GE304", hint="take the statistic of an input, or of a value of each row alone")


# ---------------------------------------------------------------- statistics of blocks of rows


def _count(block: Array) -> Array:
    return np.sum(~np.isnan(block), axis=0) if block.dtype.kind == "f" else np.full(block.shape[1:], len(block))


def _mean(blocks: Blocks) -> Array:
    return _mean_and_extremes(blocks)[0]


def _mean_and_extremes(blocks: Blocks) -> tuple[Array, Array, Array]:
    """The mean, the least and the largest number, in one pass unless the sum overflows."""
    total: Any = 0.0
    count: Any = 0
    low: Any = None
    high: Any = None
    for block in blocks():
        with np.errstate(over="ignore", invalid="ignore"):
            total = total + np.nansum(block, axis=0, dtype=np.float64)
        count = count + _count(block)
        low = _extreme(np.fmin, block, low)
        high = _extreme(np.fmax, block, high)
    if not np.isfinite(total).all() and np.any((scale := _scale(low, high)) != 1):
        return scale * _mean_and_extremes(_divided(blocks, scale))[0], low, high
    with np.errstate(invalid="ignore"):
        return np.asarray(total / count), np.asarray(low), np.asarray(high)


def _std(blocks: Blocks) -> Array:
    """The root of the mean squared distance from the mean, 0 where all numbers are equal.

    The sum of the distances takes off what rounding the mean has lost (Chan, Golub and LeVeque 1983).
    """
    mean, low, high = _mean_and_extremes(blocks)
    scale = _scale(low, high)
    squares: Any = 0.0
    rest: Any = 0.0
    count: Any = 0
    for block in _divided(blocks, scale)():
        with np.errstate(invalid="ignore"):
            distance = block - mean / scale
        squares = squares + np.nansum(np.square(distance), axis=0)
        rest = rest + np.nansum(distance, axis=0)
        count = count + _count(block)
    with np.errstate(invalid="ignore"):
        variance = (squares - np.square(rest) / count) / count
    return np.asarray(np.where(low == high, 0.0, scale * np.sqrt(np.maximum(variance, 0))))


def _scale(low: Array, high: Array) -> Any:
    """The power of two to divide numbers between these by, so that squares neither over- nor underflow; mostly 1."""
    largest = np.maximum(np.abs(np.asarray(low, np.float64)), np.abs(np.asarray(high, np.float64)))
    exponent = np.frexp(largest)[1] - 1
    is_far = np.isfinite(largest) & (largest > 0) & (np.abs(exponent) > SAFE_EXPONENT)
    return np.ldexp(1.0, np.where(is_far, exponent, 0))


def _divided(blocks: Blocks, scale: Any) -> Blocks:
    """The rows divided by powers of two, which is exact except for numbers next to 0 beside much larger ones."""
    return (lambda: (block / scale for block in blocks())) if np.any(scale != 1) else blocks


def _extreme(of: np.ufunc, block: Array, before: Any = None) -> Any:
    """The least or largest number of a block and those before it; `fmin` and `fmax` leave NaN out."""
    here = of.reduce(block, axis=0)
    return here if before is None else of(before, here)


def _extreme_of_all(of: np.ufunc, blocks: Blocks) -> Array:
    found: Any = None
    for block in blocks():
        found = _extreme(of, block, found)
    return np.asarray(found)


def _frequency(blocks: Blocks, classes: int) -> Array:
    count: Any = 0
    rows = 0
    for block in blocks():
        count = count + np.sum(np.equal(block[..., None], np.arange(classes)), axis=0)
        rows += len(block)
    return np.asarray(count / rows)


def _mode(blocks: Blocks) -> Array:
    """The most frequent number of each column; of several the least."""
    counts: list[dict[Any, int]] = []
    shape: tuple[int, ...] = ()
    for block in blocks():
        shape, columns = block.shape[1:], block.reshape(len(block), -1).T
        counts = counts or [{} for _ in columns]
        for known, column in zip(counts, columns, strict=True):
            _count_numbers(known, column)
    found = [min(known, key=lambda value: (-known[value], value)) if known else np.nan for known in counts]
    return np.array(found).reshape(shape)


def _count_numbers(known: dict[Any, int], column: Array) -> None:
    """Count the numbers of a column, without NaN, with those that are known."""
    values, times = np.unique(column[column == column], return_counts=True)
    for value, number in zip(values.tolist(), times.tolist(), strict=True):
        known[value] = known.get(value, 0) + number
    if len(known) > MOST_DISTINCT:
        message = f"a mode is looked for among {MOST_DISTINCT:,} different numbers at most"
        raise DataError(message, code="GE507", hint="take the median, or round the value first")


def _quantile(blocks: Blocks, q: float) -> Array:
    """The number that a share `q` of the others lies below, between two of them by linear interpolation."""
    count = np.asarray(sum(_count(block) for block in blocks()))
    place = np.maximum(count - 1, 0) * q
    low = np.floor(place).astype(np.int64)
    ranks = np.stack([low, np.minimum(low + 1, np.maximum(count - 1, 0))])
    below, above = _selected(blocks, ranks)
    share, scale = place - low, _scale(below, above)
    low, high = below / scale, above / scale
    step = high - low
    between = scale * np.where(share < 0.5, low + step * share, high - step * (1 - share))
    return np.where(count > 0, np.where(below == above, below, between), np.nan)


def _selected(blocks: Blocks, ranks: Array) -> Array:
    """The numbers of each column that have some ranks from 0 in ascending order, by a radix search.

    Read as an integer, with all bits turned where the sign is set and the sign else, a double sorts like the number.
    """
    flat = ranks.reshape(len(ranks), -1).copy()
    known = np.zeros(flat.shape, np.uint64)
    for digit in range(DIGITS):
        shift = np.uint64(8 * (DIGITS - 1 - digit))
        counts = np.zeros((*flat.shape, 256), np.int64)
        for block in blocks():
            keys = _keys(block.reshape(len(block), -1))
            for place in np.ndindex(flat.shape):
                column = keys[place[1]]
                if digit:
                    column = column[column >> (shift + np.uint64(8)) == known[place]]
                counts[place] += np.bincount(((column >> shift) & np.uint64(255)).astype(np.int64), minlength=256)
        ends = np.cumsum(counts, axis=-1)
        for place in np.ndindex(flat.shape):
            found = min(int(np.searchsorted(ends[place], flat[place], "right")), 255)
            flat[place] -= ends[place][found - 1] if found else 0
            known[place] = known[place] << np.uint64(8) | np.uint64(found)
    sign = np.uint64(1 << 63)
    return np.where(known & sign, known ^ sign, ~known).view(np.float64).reshape(ranks.shape)


def _keys(rows: Array) -> list[Array]:
    """The sortable bits of each column, without NaN; -0 is 0."""
    sign, found = np.uint64(1 << 63), []
    for column in rows.T.astype(np.float64):
        bits = (column[~np.isnan(column)] + 0.0).view(np.uint64)
        found.append(np.where(bits & sign, ~bits, bits | sign))
    return found


STATISTICS: Mapping[str, Callable[[Blocks], Array]] = {
    "mean": _mean,
    "std": _std,
    "min": lambda blocks: _extreme_of_all(np.fmin, blocks),
    "max": lambda blocks: _extreme_of_all(np.fmax, blocks),
    "mode": _mode,
    "count": lambda blocks: np.asarray(sum(map(_count, blocks()))),
}
