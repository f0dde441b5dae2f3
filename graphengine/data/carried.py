"""Columns that a prediction carries along from its data file, untouched: the texts of CSV, the values of other kinds.

Each function yields blocks of consecutive rows. `names` are the wanted columns, None for all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from graphengine.data.columnar import READ_BYTES, opened_arrow, sliced
from graphengine.data.csv_dialect import CELL_BYTES, Dialect
from graphengine.data.csv_table import grouped
from graphengine.data.jsonl import json_objects
from graphengine.data.stored import Memory
from graphengine.errors import DataError, did_you_mean
from graphengine.extras import optional
from graphengine.format.paths import DataFile

Carried: TypeAlias = Mapping[str, Sequence[Any]]
"""Rows of some columns: lists, or arrays of Arrow."""


def carried_csv(path: DataFile, names: Sequence[str] | None, dialect: Dialect, memory: Memory) -> Iterator[Carried]:
    """Yield columns of a CSV file as texts; without a header their names are 0, 1, ...

    Raises
    ------
    DataError
        GE502 if a column is missing or there twice.
    """
    with dialect.table(path, memory.block) as (header, rows):
        places = {name: header.index(name) for name in columns_to_keep(path, names, header, "column")}
        for block in grouped(rows, memory.block):
            yield {name: [row[place] for _, row in block] for name, place in places.items()}


def carried_jsonl(path: DataFile, names: Sequence[str] | None, memory: Memory) -> Iterator[Carried]:
    """Yield values of the objects in a file of JSON lines, None for a key that a line lacks; raises as `carried_csv`.

    The first line has all keys, as when inputs are read.
    """
    with path.open("rb") as file:
        wanted: Sequence[str] | None = None
        rows: list[dict[str, Any]] = []
        for _, row in json_objects(file, path, memory.block):
            wanted = columns_to_keep(path, names, list(row), "key") if wanted is None else wanted
            rows.append(row)
            if len(rows) >= _rows_at_once(row, memory):
                yield _columns(rows, wanted)
                rows.clear()
        if wanted and rows:
            yield _columns(rows, wanted)


def _columns(rows: Sequence[Mapping[str, Any]], wanted: Iterable[str]) -> Carried:
    return {name: [each.get(name) for each in rows] for name in wanted}


def carried_parquet(path: DataFile, names: Sequence[str] | None, memory: Memory) -> Iterator[Carried]:
    """Yield columns of a Parquet file as arrays of Arrow; raises as `carried_csv`."""
    parquet = optional("pyarrow.parquet", "data")
    with path.open("rb") as file:
        source = parquet.ParquetFile(file, pre_buffer=False, buffer_size=READ_BYTES)
        wanted = columns_to_keep(path, names, source.schema_arrow.names, "column")
        for batch in source.iter_batches(_rows_at_once(wanted, memory), columns=wanted, use_threads=False):
            yield {name: batch.column(name) for name in wanted}


def carried_arrow(path: DataFile, names: Sequence[str] | None, memory: Memory) -> Iterator[Carried]:
    """Yield columns of an Arrow file as arrays of Arrow; raises as `carried_csv`."""
    with opened_arrow(path) as (there, batches):
        wanted = columns_to_keep(path, names, there, "column")
        for batch in sliced(batches, _rows_at_once(wanted, memory)):
            yield {name: batch.column(name) for name in wanted}


def _rows_at_once(columns: Collection[str], memory: Memory) -> int:
    """How many rows of some columns fit into a block."""
    return max(1, memory.block // (CELL_BYTES * max(len(columns), 1)))


def columns_to_keep(path: DataFile | str, names: Sequence[str] | None, there: Sequence[str], what: str) -> list[str]:
    """Return the columns to carry along, by default all, each of which must be there once.

    Raises
    ------
    DataError
        GE502.
    """
    wanted = list(dict.fromkeys(there if names is None else names))
    for name in wanted:
        if name not in there:
            hint = did_you_mean(name, there, f"{what}s")
            raise DataError(f"there is no {what} '{name}' to keep", code="GE502", hint=hint, file=str(path))
        if there.count(name) > 1:
            message, hint = f"{there.count(name)} {what}s to keep have the name '{name}'", "give each its own name"
            raise DataError(message, code="GE502", hint=f"{hint}, or keep others", file=str(path))
    return wanted
