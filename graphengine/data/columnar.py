"""Columns of Parquet and Arrow files, through pyarrow (the extra `data`), in blocks of rows.

What a reader of Parquet has in memory is a page of each column, or two: that is why not all columns are read side by
side where their pages would take too much.
"""

from __future__ import annotations

import itertools
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, NamedTuple, TypeAlias

import numpy as np

from graphengine.data.arrow_arrays import as_arrow, as_numpy
from graphengine.data.sources import reported, require_one
from graphengine.data.stored import Block, Memory, Stored, append, kept_open, release, require_whole, scratch_file
from graphengine.errors import DataError
from graphengine.extras import optional
from graphengine.format.paths import DataFile
from graphengine.ir.binding import as_typed
from graphengine.ir.cells import BadCells, Wording, as_encoded, category_codes, dated, numbers_of
from graphengine.ir.dates import as_dates
from graphengine.ir.declarations import Input
from graphengine.ir.graph import Graph
from graphengine.mappings import without
from graphengine.ops.shapes import shape_text

READ_BYTES = 65_536
"""How much of a column of a Parquet file is read at a time."""
PAGE_BYTES = 2**20
"""How large all writers of Parquet make a page by default."""
BESIDE_ROWS = 4096
"""Rows of columns that are put side by side at a time: a line of the cache gets all its numbers before it leaves."""

Columns: TypeAlias = Mapping[str, str | Sequence[str]]
"""The columns of each input: a name for a vector, a list of names for a matrix."""


class Taken(NamedTuple):
    """A column and the input that takes it."""

    column: str
    name: str


Numbers: TypeAlias = Mapping[Taken, np.ndarray[Any, Any]]
"""Columns as numbers."""
Dtypes: TypeAlias = Mapping[Taken, np.dtype[Any]]


def parquet_blocks(path: DataFile, columns: Columns, graph: Graph, memory: Memory) -> Iterator[Block]:
    """Columns of a Parquet file, by input.

    Raises
    ------
    DataError
        GE406 if a value is not among the categories of its input, GE502 if the file lacks a column or has it twice,
        GE503 if values are missing, all of which are counted, or a column does not hold numbers.
    UsageError
        GE803 if pyarrow is not installed.
    """
    parquet = optional("pyarrow.parquet", "data")
    with path.open("rb") as file:
        source = parquet.ParquetFile(file, pre_buffer=False, buffer_size=min(READ_BYTES, memory.block))
        dtypes = _dtypes(path, source.schema_arrow, columns, graph)
        cells = _Cells(graph)
        reader = _ParquetReader(source, dtypes, memory, cells)
        with reported(cells.bad, graph, _wording(path)):
            yield from _by_input(itertools.chain([_empty(dtypes)], reader.numbers()), columns, graph)


class _ParquetReader:
    """Decodes columns: all of them side by side, or a group after the other where that takes less memory.

    Reading ahead and in several threads, which is pyarrow's default, would hold the whole file in the end.
    """

    def __init__(self, source: Any, dtypes: Dtypes, memory: Memory, cells: _Cells) -> None:
        self._source, self._dtypes, self._memory, self._cells = source, dtypes, memory, cells
        self._batch_rows = _rows_per_block(dtypes, memory)

    def numbers(self) -> Iterator[Numbers]:
        """All columns, in blocks of rows."""
        groups = list(self._groups())
        if len(groups) > 1:
            yield from self._assembled(groups)
        else:
            yield from self._decoded(groups[0])

    def _decoded(self, group: list[Taken]) -> Iterator[Numbers]:
        columns = list(dict.fromkeys(taken.column for taken in group))
        batches = self._source.iter_batches(self._batch_rows, columns=columns, use_threads=False)
        yield from self._cells.numbers(batches, group, as_numpy)
        _release_unused()

    def _groups(self) -> Iterator[list[Taken]]:
        """Columns that may be decoded side by side, in a quarter of the memory."""
        group: list[Taken] = []
        taken = 0
        for name, size in self._sizes().items():
            if group and taken + size > self._memory.whole:
                yield group
                group, taken = [], 0
            group.append(name)
            taken += size
        yield group

    def _sizes(self) -> dict[Taken, int]:
        """About what it takes to decode a column: a page as it is in the file, one that is decoded, a dictionary."""
        metadata = self._source.metadata
        if not metadata.num_row_groups:
            return dict.fromkeys(self._dtypes, 0)
        largest = max(map(metadata.row_group, range(metadata.num_row_groups)), key=lambda group: group.num_rows)
        chunks = {chunk.path_in_schema: chunk for chunk in map(largest.column, range(largest.num_columns))}
        return {taken: 3 * min(chunks[taken.column].total_uncompressed_size, PAGE_BYTES) for taken in self._dtypes}

    def _assembled(self, groups: list[list[Taken]]) -> Iterator[Numbers]:
        """The columns side by side, after each was written whole into a nameless file."""
        rows = self._source.metadata.num_rows
        with scratch_file() as file:
            starts = {}
            for group in groups:
                starts.update(self._write(file, group, rows))
            numbers = kept_open(file)
        stored = {
            name: Stored(numbers, start, (rows,), self._dtypes[name], self._memory) for name, start in starts.items()
        }
        for start in range(0, rows, self._batch_rows):
            yield {name: array[start : start + self._batch_rows] for name, array in stored.items()}

    def _write(self, file: IO[bytes], group: list[Taken], rows: int) -> dict[Taken, int]:
        """Append each column of a group to what is there; gives where each begins."""
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
    dtypes, cells = _dtypes(path, schema, columns, graph), _Cells(graph)

    def copied(column: Any) -> np.ndarray[Any, Any]:
        array = np.array(as_numpy(column))
        release(pages)  # column by column: to touch one may map megabytes
        return array

    def whole() -> Iterator[Any]:
        require_whole(pages, str(path))
        for batch in sliced(batches, _rows_per_block(dtypes, memory)):
            require_whole(pages, str(path))
            yield batch
            require_whole(pages, str(path))

    numbers = cells.numbers(whole(), dtypes, copied)
    with reported(cells.bad, graph, _wording(path)):
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


def sliced(batches: Iterator[Any], rows: int) -> Iterator[Any]:
    """Yield batches of at most this many rows; one is freed before the next is decompressed."""
    while (batch := next(batches, None)) is not None:
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)
        del batch


def _release_unused() -> None:
    """Give back what pyarrow keeps for arrays to come."""
    optional("pyarrow", "data").default_memory_pool().release_unused()


# ---------------------------------------------------------------- from columns to arrays


def _dtypes(path: DataFile | str, schema: Any, columns: Columns, graph: Graph) -> dict[Taken, np.dtype[Any]]:
    """The dtypes of the wanted columns, all of which must be there and hold numbers, or categories."""
    dtypes = {}
    for name, wanted in columns.items():
        declared = graph.inputs[name]
        for column in [wanted] if isinstance(wanted, str) else wanted:
            require_one(path, "column", column, name, schema.names)
            kind = schema.field(column).type
            dtype = _dtype_for(declared, kind)
            if dtype.kind not in "biuf":
                raise _no_numbers(path, name, column, kind)
            dtypes[Taken(column, name)] = _dtype_with_gaps(dtype) if declared.missing else dtype
    return dtypes


def _dtype_for(declared: Input, kind: Any) -> np.dtype[Any]:
    """The dtype that a column of a type of Arrow is read in: its own unless the input has categories or dates."""
    is_read = declared.categories or (declared.units and _may_be_dates(kind))
    return declared.type.array_dtype if is_read else _dtype(kind)


def _dtype_with_gaps(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype for numbers of which some may be missing, NaN."""
    return dtype if dtype.kind == "f" else np.dtype(np.float64)


def _dtype(kind: Any) -> np.dtype[Any]:
    """The dtype of a type of Arrow, that of objects for what NumPy does not have."""
    if str(kind).startswith("timestamp"):
        return np.dtype(f"datetime64[{kind.unit}]")  # whatever the time zone is, the integers are of UTC
    try:
        dtype: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
    except NotImplementedError:
        return np.dtype(object)
    return dtype


def _rows_per_block(dtypes: Dtypes, memory: Memory) -> int:
    return max(1, memory.block // max(sum(dtype.itemsize for dtype in dtypes.values()), 1))


def _empty(dtypes: Dtypes) -> Numbers:
    """No rows, which still have dtypes."""
    return {name: np.empty(0, dtype) for name, dtype in dtypes.items()}


def _wording(path: DataFile) -> Wording:
    return Wording(lambda column, _: f"column '{column}'", "has no value", "row", "in", file=str(path))


class _Cells:
    """Makes numbers of columns, and counts the cells that have none by their rows, from 1."""

    def __init__(self, graph: Graph, bad: BadCells | None = None) -> None:
        self._inputs, self.bad = graph.inputs, BadCells() if bad is None else bad

    def numbers(
        self, batches: Iterable[Any], wanted: Iterable[Taken], array_of: Callable[[Any], np.ndarray[Any, Any]]
    ) -> Iterator[Numbers]:
        """Yield the columns of each batch as arrays; `array_of` makes one of a column without missing values."""
        done = 0
        for batch in batches:
            columns = {taken: batch.column(taken.column) for taken in wanted}
            yield {taken: self._column(taken, column, done + 1, array_of) for taken, column in columns.items()}
            done += batch.num_rows

    def _column(
        self, taken: Taken, column: Any, first: int, array_of: Callable[[Any], np.ndarray[Any, Any]]
    ) -> np.ndarray[Any, Any]:
        declared, kind = self._inputs[taken.name], _dtype(column.type)
        if declared.categories:
            return self._indices(taken, column, first)
        if declared.units and _may_be_dates(column.type):
            rows = range(first, first + len(column))
            return dated(_dates(column), declared, self.bad, (taken.name, taken.column), rows)
        if declared.missing and kind.kind != "f":
            column = column.cast("float64")
        return array_of(self._filled(taken, column, first) if column.null_count else column)

    def _filled(self, taken: Taken, column: Any, first: int) -> Any:
        """A column with a number for each missing one: NaN, or a 0 that is never used."""
        declared = self._inputs[taken.name]
        if not declared.missing:
            self.bad.add_missing(
                taken.name, taken.column, (first + np.flatnonzero(~as_numpy(column.is_valid()))).tolist()
            )
        filling = np.array([np.nan if declared.missing else 0]).astype(_dtype(column.type))
        return column.fill_null(as_arrow(filling, column.type)[0])

    def _indices(self, taken: Taken, column: Any, first: int) -> np.ndarray[Any, Any]:
        """A column as indices into the categories: only its distinct values are looked up."""
        declared = self._inputs[taken.name]
        distinct = column if hasattr(column, "dictionary") else column.dictionary_encode()
        values = [*distinct.dictionary.to_pylist(), None]
        places = as_numpy(distinct.indices.cast("int64").fill_null(len(values) - 1))
        codes = category_codes(values, declared)[places]
        numbers, left = numbers_of(codes, declared)
        if left.any():
            cells = [values[place] for place in places.tolist()]
            rows = range(first, first + len(codes))
            self.bad.add_codes(taken.name, taken.column, np.where(left, codes, 0), cells, rows)
        return numbers


def _may_be_dates(kind: Any) -> bool:
    """Whether a type of Arrow is one of dates, or of texts."""
    return _dtype(kind).kind == "M" or str(kind) in ("string", "large_string", "string_view")


def _dates(column: Any) -> np.ndarray[Any, Any]:
    """A column as dates: the integers of a timestamp, or what texts say."""
    if _dtype(column.type).kind != "M":
        return as_dates(column.to_pylist())
    unit = {"date32[day]": "D", "date64[ms]": "ms"}.get(str(column.type)) or column.type.unit
    integers = as_numpy(column.cast("int32" if unit == "D" else "int64").fill_null(0)).astype(np.int64)
    dates = integers.view(f"datetime64[{unit}]")
    dates[~as_numpy(column.is_valid())] = np.array("NaT", dates.dtype)
    return dates


def _no_numbers(path: DataFile | str, name: str, column: str, kind: Any) -> DataError:
    """The error of a column of texts or dates for an input that declares neither."""
    what = "units" if _dtype(kind).kind == "M" else "categories"
    hint = f"declare the \"{what}\" of input '{name}'"
    return DataError(f"column '{column}' does not hold numbers, but {kind}", code="GE503", hint=hint, file=str(path))


def batch_by_input(batch: Any, columns: Columns, graph: Graph, bad: BadCells) -> Block:
    """Return columns of a batch of Arrow by input; `bad` gets the cells without a number, by their rows from 1.

    A column of lists of one length is an input with further axes.

    Raises
    ------
    DataError
        GE502 if a column is missing, GE503 if one does not hold numbers, GE505 if lists do not fit their input.
    """
    lists = {name: what for name, what in columns.items() if _holds_lists(batch.schema, what)}
    plain = without(columns, lists)
    cells = _Cells(graph, bad)
    (numbers,) = cells.numbers([batch], _dtypes("the batch", batch.schema, plain, graph), as_numpy)
    found = dict(next(_by_input([numbers], plain, graph)))
    for name, column in lists.items():
        found[name] = _of_lists(name, batch.column(column), graph.types[name].shape[1:], bad)
    return found


def _holds_lists(schema: Any, wanted: Any) -> bool:
    return isinstance(wanted, str) and wanted in schema.names and "list" in str(schema.field(wanted).type)


def _of_lists(name: str, column: Any, shape: Sequence[Any], bad: BadCells) -> np.ndarray[Any, Any]:
    """The lists of a column in the shape that its input has for a row; one size may be a symbol."""
    valid = as_numpy(column.is_valid())
    if not valid.all():
        bad.add_missing(name, name, (np.flatnonzero(~valid) + 1).tolist())
    flat = column.flatten()
    sizes = [size if isinstance(size, int) else -1 if len(flat) else 1 for size in shape]
    if _dtype(flat.type).kind not in "biuf":
        raise DataError(f"the lists of column '{name}' hold {flat.type}, not numbers", code="GE503")
    if sizes.count(-1) > 1 or not _are_of_one_length(column):
        message = f"the lists of column '{name}' have missing values or different lengths"
        raise DataError(message, code="GE505", hint=f"give each row {shape_text(shape)} numbers")
    try:
        lists = as_numpy(flat).reshape(int(valid.sum()), *sizes)
    except ValueError:
        message = f"the lists of column '{name}' have {len(flat)} numbers, which do not fit {shape_text(shape)}"
        raise DataError(message, code="GE505") from None
    found = np.zeros((len(valid), *lists.shape[1:]), lists.dtype)
    found[valid] = lists
    return found


def _are_of_one_length(column: Any) -> bool:
    """Whether the lists of a column have one length, and a value at each place."""
    lengths = optional("pyarrow.compute", "data").list_value_length(column.drop_null())
    return column.flatten().null_count == 0 and len(lengths.unique()) <= 1


def _by_input(blocks: Iterable[Numbers], columns: Columns, graph: Graph) -> Iterator[Block]:
    """A column for each input, or several side by side."""
    for numbers in blocks:
        yield as_encoded(
            {
                name: numbers[Taken(wanted, name)]
                if isinstance(wanted, str)
                else _beside(name, [numbers[Taken(each, name)] for each in wanted], graph)
                for name, wanted in columns.items()
            },
            graph.inputs,
        )


def _beside(name: str, columns: Sequence[np.ndarray[Any, Any]], graph: Graph) -> np.ndarray[Any, Any]:
    """Columns side by side, each in the dtype of its input: NumPy would make one of int64 and uint64 floating-point."""
    typed = [as_typed(name, column, graph.types[name]) for column in columns]
    beside = np.empty((len(typed[0]), len(typed)), graph.types[name].array_dtype)
    for first in range(0, len(beside), BESIDE_ROWS):
        rows = slice(first, first + BESIDE_ROWS)
        np.stack([column[rows] for column in typed], axis=1, out=beside[rows])
    return beside


@contextmanager
def opened_arrow(path: DataFile) -> Iterator[tuple[list[str], Iterator[Any]]]:
    """Open an Arrow file or stream: the names of its columns, and its batches, which are read into memory one by one.

    Nothing of them is mapped, so a file that is truncated later does no harm to them.
    """
    ipc = optional("pyarrow.ipc", "data")
    with path.open("rb") as file:
        is_file = file.read(6) == b"ARROW1"
        file.seek(0)
        with ipc.open_file(file) if is_file else ipc.open_stream(file) as source:
            batches = map(source.get_batch, range(source.num_record_batches)) if is_file else iter(source)
            yield list(source.schema.names), batches


def arrow_names(path: DataFile) -> list[str]:
    """Return the names of the columns of an Arrow file or stream."""
    with opened_arrow(path) as (names, _):
        return names
