"""Columns of Parquet and Arrow files, through pyarrow (the extra `data`).

A file is decoded batch by batch. What is large goes into a nameless file on the way, so that every epoch reads plain
numbers, in any order, without decoding them again.
"""

from __future__ import annotations

import itertools
import mmap
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, Literal

import numpy as np

from graphengine.errors import DataError, InputError, did_you_mean
from graphengine.extras import optional
from graphengine.format.paths import DataFile
from graphengine.graph import Graph
from graphengine.training.data.stored import Spool

BATCH_ROWS = 8192
READ_BYTES = 65_536
"""How much is decoded, and read, at a time."""


def read_columnar(
    path: DataFile, kind: Literal["parquet", "arrow"], columns: Mapping[str, str | Sequence[str]], graph: Graph
) -> dict[str, Any]:
    """Columns of a file, by input; a list of column names makes a matrix.

    Raises
    ------
    DataError
        GE501 if the file cannot be read, GE502 if it lacks a column, GE503 if a value is missing or a column does not
        hold numbers, GE505 for numbers that do not fit their input.
    UsageError
        GE803 if pyarrow is not installed.
    """
    pa = optional("pyarrow", "data")
    try:
        with path.open("rb") as file:
            needed = list(dict.fromkeys(itertools.chain(*map(_names, columns.values()))))
            rows, schema, batches = (_parquet if kind == "parquet" else _arrow)(file, needed)
            _check(path, schema, columns)
            spools = {name: _spool(name, wanted, rows, schema, graph) for name, wanted in columns.items()}
            done = 0
            for batch in batches:
                numbers = {column: _numbers(batch.column(column), column, path, done) for column in needed}
                for name, wanted in columns.items():
                    spools[name].write(_together(numbers, wanted))
                done += batch.num_rows
        return {name: spool.finish() for name, spool in spools.items()}
    except InputError as error:
        raise DataError(f"{path}: {error.problems[0].message}", code="GE505") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as {kind}: {error}") from error


def _names(wanted: str | Sequence[str]) -> list[str]:
    return [wanted] if isinstance(wanted, str) else list(wanted)


def _together(numbers: Mapping[str, np.ndarray[Any, Any]], wanted: str | Sequence[str]) -> np.ndarray[Any, Any]:
    """A column, or several side by side."""
    return numbers[wanted] if isinstance(wanted, str) else np.stack([numbers[name] for name in wanted], axis=1)


def _parquet(file: IO[bytes], needed: list[str]) -> tuple[int, Any, Iterator[Any]]:
    """The number of rows, the schema, and the batches, which are decoded one by one.

    Reading ahead and in several threads, which is pyarrow's default, would hold the whole file in the end.
    """
    parquet = optional("pyarrow.parquet", "data")
    source = parquet.ParquetFile(file, pre_buffer=False, buffer_size=READ_BYTES)
    batches = source.iter_batches(BATCH_ROWS, columns=needed, use_threads=False)
    return source.metadata.num_rows, source.schema_arrow, batches


def _arrow(file: IO[bytes], _: list[str]) -> tuple[int, Any, Iterator[Any]]:
    """The same of an Arrow file, in the format for files or in that for streams; it is in memory where it is read."""
    pa = optional("pyarrow", "data")
    source = pa.BufferReader(pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    try:
        table = pa.ipc.open_file(source).read_all()
    except pa.ArrowInvalid:
        source.seek(0)
        table = pa.ipc.open_stream(source).read_all()
    return table.num_rows, table.schema, iter(table.to_batches(BATCH_ROWS))


def _check(path: DataFile, schema: Any, columns: Mapping[str, str | Sequence[str]]) -> None:
    """Refuse columns that are missing or do not hold numbers."""
    for name, wanted in columns.items():
        for column in _names(wanted):
            if column not in schema.names:
                hint = did_you_mean(column, schema.names, "columns")
                raise DataError(f"{path}: there is no column '{column}' for input '{name}'", code="GE502", hint=hint)
            if _dtype(schema, column).kind not in "biuf":
                kind = schema.field(column).type
                raise DataError(f"{path}: column '{column}' does not hold numbers, but {kind}", code="GE503")


def _dtype(schema: Any, column: str) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(schema.field(column).type.to_pandas_dtype())
    return dtype


def _spool(name: str, wanted: str | Sequence[str], rows: int, schema: Any, graph: Graph) -> Spool:
    columns = _names(wanted)
    shape = (rows,) if isinstance(wanted, str) else (rows, len(columns))
    return Spool(shape, np.result_type(*[_dtype(schema, column) for column in columns]), name, graph.types[name])


def _numbers(column: Any, name: str, path: DataFile, done: int) -> np.ndarray[Any, Any]:
    """A column of a batch as an array; `done` rows came before it."""
    if column.null_count:
        row = done + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False))) + 1
        raise DataError(f"{path}: column '{name}' has no value in row {row}", code="GE503")
    return np.asarray(column.to_numpy(zero_copy_only=False))
