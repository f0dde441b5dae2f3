"""Columns of Parquet and Arrow files, through pyarrow (the extra `data`), in blocks of rows.

What a reader of Parquet has in memory is a page of each column, or two: that is why not all columns are read side by
side where their pages would take too much.
"""

from __future__ import annotations

import itertools
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np

from graphengine.data.faults import require_one
from graphengine.data.spool import Block, append, mapped, scratch_file
from graphengine.data.stored import Memory, Stored, release, require_whole
from graphengine.errors import DataError
from graphengine.extras import optional
from graphengine.format.paths import DataFile
from graphengine.ir.binding import as_input
from graphengine.ir.graph import Graph

READ_BYTES = 65_536
"""How much of a column of a Parquet file is read at a time."""
PAGE_BYTES = 2**20
"""How large all writers of Parquet make a page unless they are told otherwise."""

Columns: TypeAlias = Mapping[str, str | Sequence[str]]
"""The columns of each input: a name for a vector, a list of names for a matrix."""
Numbers: TypeAlias = Mapping[str, np.ndarray[Any, Any]]
"""Columns by name."""


def parquet_blocks(path: DataFile, columns: Columns, graph: Graph, memory: Memory) -> Iterator[Block]:
    """Columns of a Parquet file, by input.

    Raises
    ------
    DataError
        GE502 if the file lacks a column or has it twice, GE503 if a value is missing or a column does not hold numbers.
    UsageError
        GE803 if pyarrow is not installed.
    """
    parquet = optional("pyarrow.parquet", "data")
    with path.open("rb") as file:
        source = parquet.ParquetFile(file, pre_buffer=False, buffer_size=min(READ_BYTES, memory.block))
        dtypes = _dtypes(path, source.schema_arrow, columns)
        reader = _ParquetReader(path, source, dtypes, memory)
        yield from _by_input(itertools.chain([_empty(dtypes)], reader.numbers()), columns, graph)


class _ParquetReader:
    """Decodes columns: all of them side by side, or a group after the other where that takes less memory.

    Reading ahead and in several threads, which is pyarrow's default, would hold the whole file in the end.
    """

    def __init__(self, path: DataFile, source: Any, dtypes: Mapping[str, np.dtype[Any]], memory: Memory) -> None:
        self._path, self._source, self._dtypes, self._memory = path, source, dtypes, memory
        self._batch_rows = _rows_per_block(dtypes, memory)

    def numbers(self) -> Iterator[Numbers]:
        """All columns, in blocks of rows."""
        groups = list(self._groups())
        if len(groups) > 1:
            yield from self._assembled(groups)
        else:
            yield from self._decoded(groups[0])

    def _decoded(self, columns: list[str]) -> Iterator[Numbers]:
        batches = self._source.iter_batches(self._batch_rows, columns=columns, use_threads=False)
        yield from _numbers(self._path, batches, columns, _array)
        _release_unused()

    def _groups(self) -> Iterator[list[str]]:
        """Columns that may be decoded side by side, in a quarter of the memory."""
        group: list[str] = []
        taken = 0
        for name, size in self._sizes().items():
            if group and taken + size > self._memory.whole:
                yield group
                group, taken = [], 0
            group.append(name)
            taken += size
        yield group

    def _sizes(self) -> dict[str, int]:
        """About what it takes to decode a column: a page as it is in the file, one that is decoded, a dictionary."""
        metadata = self._source.metadata
        if not metadata.num_row_groups:
            return dict.fromkeys(self._dtypes, 0)
        largest = max(map(metadata.row_group, range(metadata.num_row_groups)), key=lambda group: group.num_rows)
        chunks = {chunk.path_in_schema: chunk for chunk in map(largest.column, range(largest.num_columns))}
        return {name: 3 * min(chunks[name].total_uncompressed_size, PAGE_BYTES) for name in self._dtypes}

    def _assembled(self, groups: list[list[str]]) -> Iterator[Numbers]:
        """The columns side by side, after each was written whole into a nameless file."""
        rows = self._source.metadata.num_rows
        with scratch_file() as file:
            starts = {}
            for group in groups:
                starts.update(self._write(file, group, rows))
            pages = mapped(file)
        stored = {
            name: Stored(pages, start, (rows,), self._dtypes[name], self._memory) for name, start in starts.items()
        }
        for start in range(0, rows, self._batch_rows):
            yield {name: array[start : start + self._batch_rows] for name, array in stored.items()}

    def _write(self, file: IO[bytes], group: list[str], rows: int) -> dict[str, int]:
        """Write each column of a group behind what is there; gives where each begins."""
        places, end = {}, file.seek(0, 2)
        for name in group:
            places[name] = end
            end += rows * self._dtypes[name].itemsize
        starts = dict(places)
        for numbers in self._decoded(group):
            for name, array in numbers.items():
                file.seek(places[name])
                append(file, array)
                places[name] += array.nbytes
        return starts


def arrow_blocks(path: DataFile, columns: Columns, graph: Graph, memory: Memory) -> Iterator[Block]:
    """Columns of an Arrow file, in the format for files or in that for streams, by input; raises as `parquet_blocks`.

    The file is mapped: what is not compressed is read where it lies. A compressed batch is in memory as a whole.
    """
    pa = optional("pyarrow", "data")
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    schema, batches = _arrow(pa, pa.py_buffer(pages))
    dtypes = _dtypes(path, schema, columns)

    def copied(column: Any) -> np.ndarray[Any, Any]:
        array = np.array(_array(column))
        release(pages)  # column by column: to touch one may map megabytes
        return array

    def whole() -> Iterator[Any]:
        require_whole(pages, str(path))
        for batch in _slices(batches, _rows_per_block(dtypes, memory)):
            require_whole(pages, str(path))
            yield batch
            require_whole(pages, str(path))

    numbers = _numbers(path, whole(), dtypes, copied)
    yield from _by_input(itertools.chain([_empty(dtypes)], numbers), columns, graph)
    _release_unused()


def _arrow(pa: Any, buffer: Any) -> tuple[Any, Iterator[Any]]:
    """The schema of a file and its batches, one by one."""
    try:
        source = pa.ipc.open_file(pa.BufferReader(buffer))
    except pa.ArrowInvalid:
        stream = pa.ipc.open_stream(pa.BufferReader(buffer))
        return stream.schema, iter(stream)
    return source.schema, map(source.get_batch, range(source.num_record_batches))


def _slices(batches: Iterator[Any], rows: int) -> Iterator[Any]:
    """Batches of at most so many rows; one is let go before the next is decompressed."""
    while (batch := next(batches, None)) is not None:
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)
        del batch


def _release_unused() -> None:
    """Give back what pyarrow keeps for arrays to come."""
    optional("pyarrow", "data").default_memory_pool().release_unused()


# ---------------------------------------------------------------- from columns to arrays


def _dtypes(path: DataFile, schema: Any, columns: Columns) -> dict[str, np.dtype[Any]]:
    """The dtypes of the wanted columns, all of which must be there and hold numbers."""
    dtypes = {}
    for name, wanted in columns.items():
        for column in [wanted] if isinstance(wanted, str) else wanted:
            require_one(path, "column", column, name, schema.names)
            kind = schema.field(column).type
            dtypes[column] = _dtype(kind)
            if dtypes[column].kind not in "biuf":
                raise DataError(f"{path}: column '{column}' does not hold numbers, but {kind}", code="GE503")
    return dtypes


def _dtype(kind: Any) -> np.dtype[Any]:
    """The dtype of a type of Arrow, that of objects for what NumPy does not have."""
    try:
        dtype: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
    except NotImplementedError:
        return np.dtype(object)
    return dtype


def _rows_per_block(dtypes: Mapping[str, np.dtype[Any]], memory: Memory) -> int:
    return max(1, memory.block // max(sum(dtype.itemsize for dtype in dtypes.values()), 1))


def _empty(dtypes: Mapping[str, np.dtype[Any]]) -> Numbers:
    """No rows, which still have dtypes."""
    return {name: np.empty(0, dtype) for name, dtype in dtypes.items()}


def _numbers(
    path: DataFile,
    batches: Iterable[Any],
    names: Iterable[str],
    array_of: Callable[[Any], np.ndarray[Any, Any]],
) -> Iterator[Numbers]:
    """The columns of each batch as arrays; a missing value is told with its row, from 1."""
    done = 0
    for batch in batches:
        for name in names:
            if batch.column(name).null_count:
                row = done + int(np.argmin(_array(batch.column(name).is_valid()))) + 1
                raise DataError(f"{path}: column '{name}' has no value in row {row}", code="GE503")
        yield {name: array_of(batch.column(name)) for name in names}
        done += batch.num_rows


def _array(column: Any) -> np.ndarray[Any, Any]:
    """A column without missing values as an array. (`to_numpy` would import pandas where it is installed.)"""
    if not len(column):
        return np.empty(0, column.type.to_pandas_dtype())
    data, start, stop = column.buffers()[1], column.offset, column.offset + len(column)
    if column.type.bit_width == 1:
        first, end = start // 8, -(-stop // 8)
        bits = np.unpackbits(np.frombuffer(data, np.uint8, end - first, first), bitorder="little")
        return bits[start - 8 * first : stop - 8 * first].view(np.bool_)
    return np.frombuffer(data, column.type.to_pandas_dtype(), stop)[start:]


def _by_input(blocks: Iterable[Numbers], columns: Columns, graph: Graph) -> Iterator[Block]:
    """A column for each input, or several side by side."""
    for numbers in blocks:
        yield {
            name: numbers[wanted]
            if isinstance(wanted, str)
            else _beside(name, [numbers[each] for each in wanted], graph)
            for name, wanted in columns.items()
        }


def _beside(name: str, columns: Sequence[np.ndarray[Any, Any]], graph: Graph) -> np.ndarray[Any, Any]:
    """Columns side by side, each in the dtype of its input: NumPy would make one of int64 and uint64 floating-point."""
    return np.stack([as_input(name, column, graph.types[name]) for column in columns], axis=1)


def arrow_names(path: Path) -> list[str]:
    """Return the names of the columns of an Arrow file or stream."""
    ipc = optional("pyarrow.ipc", "data")
    with path.open("rb") as file:
        is_file = file.read(6) == b"ARROW1"
        file.seek(0)
        with ipc.open_file(file) if is_file else ipc.open_stream(file) as reader:
            return list(reader.schema.names)
