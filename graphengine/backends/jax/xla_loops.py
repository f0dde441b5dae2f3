"""Chunks of a training as loops on the device: batches, flags and numbers go there, losses and records come back.

What a segment of the data holds goes to the device once, however many chunks and epochs read it. A loop runs as many
iterations as it is asked for, so it is compiled for each segment and not for each length of a chunk.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from graphengine.backends.jax.xla_parts import CompiledPart, Values, computed, made_by
from graphengine.backends.protocol import Rounds
from graphengine.ir.graph import Graph
from graphengine.mappings import absent, present, without

BLOCK_BYTES = 2**26
"""Bytes of batches and recorded values that go to the device and back at a time."""
TABLE_BYTES = 2**28
"""Bytes of a segment that stays on the device; of a larger one the batches of each chunk go there."""
LENGTHS = (16, 256, 4096)
"""Iterations that a loop has room for: XLA compiles each of them anew."""


class DeviceLoops:
    """The loops of a step that is compiled as a whole; `put` brings a value by name to the device."""

    def __init__(
        self,
        jax: Any,
        graph: Graph,
        part: CompiledPart,
        carried: Mapping[str, str],
        put: Callable[[str, Any], Any],
    ) -> None:
        self._jax, self._graph, self._part, self._put = jax, graph, part, put
        self._replaced = {source: graph.outputs[name] for name, source in carried.items()}
        self._loops: dict[tuple[str, ...], Callable[..., Any]] = {}
        self._tables: dict[str, tuple[Any, Any]] = {}

    def run(
        self,
        values: Values,
        rounds: Rounds,
        fed: Sequence[str],
        recorded: Sequence[str],
        record: Callable[[tuple[Any, ...]], None],
        add: Callable[[float], None],
    ) -> Values:
        """Run the rounds of a group and return the values after it; `add` gets each loss, `record` the kept rows."""
        constant, tables, numbers = self._columns(rounds, fed)
        moving = [] if _stay(tables) else list(tables)
        block, loop = self._block([*recorded, *moving]), self._loop_of(tuple(recorded))
        for start in range(0, len(rounds.flags), block):
            keep, count = _padded(rounds.flags[start : start + block], block)
            first, rows = self._rows(tables, rounds.first + start, count, len(keep))
            counted = self._filled_all(numbers, slice(start, start + count), len(keep))
            state = {name: values[name] for name in self._replaced}
            kept = without({**values, **constant}, state)
            state, found = loop(count, first, state, kept, rows, counted, keep)
            values = {**values, **state}
            _record([np.asarray(each)[:count] for each in found], keep[:count], record, add)
        return values

    def _columns(
        self, rounds: Rounds, fed: Sequence[str]
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, list[Any]]]:
        """What is fed: values that stay the same, tables whose rows are read, and lists of what is computed."""
        columns = dict(zip(fed, rounds.values(), strict=True))
        constant = {name: self._host(name, next(iter(each))) for name, each in columns.items() if _is_one(each)}
        tables = _tables(rounds, absent(fed, constant))
        known = {*constant, *tables}
        return constant, tables, {name: list(column) for name, column in columns.items() if name not in known}

    def _rows(self, tables: Mapping[str, Any], first: int, count: int, length: int) -> tuple[int, dict[str, Any]]:
        """Tables that have `count` batches from `first` on, and its place in them; whole ones stay on the device."""
        if _stay(tables):
            return first, {name: self._table(name, each) for name, each in tables.items()}
        return 0, self._filled_all(tables, slice(first, first + count), length)

    def _filled_all(self, columns: Mapping[str, Any], rows: slice, length: int) -> dict[str, Any]:
        """These rows of columns, each filled up to a length."""
        return {name: self._filled(name, each[rows], length) for name, each in columns.items()}

    def _block(self, names: Sequence[str]) -> int:
        """How many iterations run at a time, by the bytes of these values."""
        return max(1, min(LENGTHS[-1], BLOCK_BYTES // max(1, sum(map(self._nbytes, names)))))

    def _nbytes(self, name: str) -> int:
        kind = self._graph.types[name]
        return int(np.prod(kind.shape, dtype=np.int64)) * kind.array_dtype.itemsize  # type: ignore[arg-type]

    def _table(self, name: str, table: Any) -> Any:
        """All batches of a segment on the device, where they stay as long as the segment has them."""
        host, device = self._tables.get(name, (lambda: None, None))
        if host() is not table:
            device = self._put(name, table)
            self._tables[name] = weakref.ref(table, lambda _: self._tables.pop(name, None)), device
        return device

    def _filled(self, name: str, rows: Any, length: int) -> Any:
        """Values of some iterations on the device, with room for `length` of them."""
        rows = self._host(name, rows)
        if len(rows) < length:
            rows = np.concatenate([rows, np.zeros((length - len(rows), *rows.shape[1:]), rows.dtype)])
        return rows

    def _host(self, name: str, value: Any) -> Any:
        """A value in its dtype: a compiled function takes it to the device faster than `device_put`."""
        return np.asarray(value, self._graph.types[name].array_dtype)

    def _loop_of(self, recorded: tuple[str, ...]) -> Callable[..., Any]:
        if recorded not in self._loops:
            self._loops[recorded] = self._jax.jit(self._loop(recorded))
        return self._loops[recorded]

    def _loop(self, recorded: tuple[str, ...]) -> Callable[..., Any]:
        """A loop as a function that XLA compiles: the values after it, and what is recorded of each iteration."""
        lax, step = self._jax.lax, self._step(recorded)

        def loop(count: Any, first: Any, state: Any, kept: Any, rows: Any, counted: Any, keep: Any) -> Any:
            def body(number: Any, carry: Any) -> Any:
                state, records = carry
                batch = {name: lax.dynamic_index_in_dim(each, first + number, 0, False) for name, each in rows.items()}
                given = {**kept, **state, **batch, **{name: each[number] for name, each in counted.items()}}
                known = step(given, keep[number])
                records = [each.at[number].set(known[name]) for name, each in zip(recorded, records, strict=True)]
                return {source: known[name] for source, name in self._replaced.items()}, records

            return lax.fori_loop(0, count, body, (state, [self._blank(name, len(keep)) for name in recorded]))

        return loop

    def _step(self, recorded: tuple[str, ...]) -> Callable[[Values, Any], Values]:
        """One iteration; what only a record needs, such as the norm of the gradient, is computed only for one."""
        always, sometimes = self._part.split([recorded[0], *self._replaced.values()])
        made = made_by(sometimes)
        asked = present(recorded, made)

        def step(values: Values, is_kept: Any) -> Values:
            known = computed(always, values)
            if not asked:
                return known
            found = self._jax.lax.cond(
                is_kept,
                lambda: list(map(computed(sometimes, known).get, asked)),
                lambda: list(map(self._blank, asked)),
            )
            return {**known, **dict(zip(asked, found, strict=True))}

        return step

    def _blank(self, name: str, *room: int) -> Any:
        """Zeros of the type of a value, or room for so many of it."""
        kind = self._graph.types[name]
        return self._jax.numpy.zeros((*room, *kind.shape), kind.array_dtype)


def _tables(rounds: Rounds, names: Iterable[str]) -> dict[str, Any]:
    """The tables of those names that have one."""
    found = {name: rounds.table(name) for name in names}
    return {name: table for name, table in found.items() if table is not None}


def _stay(tables: Mapping[str, Any]) -> bool:
    """Whether tables stay on the device as a whole."""
    nbytes: int = sum(table.nbytes for table in tables.values())
    return nbytes <= TABLE_BYTES


def _padded(flags: Sequence[Any], block: int) -> tuple[Any, int]:
    """The flags of a block up to a length for which a loop is compiled, and how many they are."""
    count = len(flags)
    length = min(block, next(each for each in LENGTHS if each >= count))
    keep = np.zeros(length, np.bool_)
    keep[:count] = flags
    return keep, count


def _is_one(column: Any) -> bool:
    """Whether all rounds have the same value."""
    return isinstance(column, itertools.repeat)


def _record(
    found: Sequence[Any],
    keep: Any,
    record: Callable[[tuple[Any, ...]], None],
    add: Callable[[float], None],
) -> None:
    for loss in found[0].tolist():
        add(loss)
    chosen = np.flatnonzero(keep)
    for row in zip(*[_listed(each[chosen]) for each in found], strict=True):
        record(row)


def _listed(column: Any) -> list[Any]:
    """The values of a column as they are recorded: a double as a Python float."""
    is_floats = column.dtype == np.float64 and column.ndim == 1
    return column.tolist() if is_floats else [np.copy(each)[()] for each in column]
