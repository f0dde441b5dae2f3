"""Numbers of a plain CSV file through pyarrow, where it is installed: the same numbers as `csv_table`, in less time.

pyarrow does not say where a fault is, and reads some cells in another way: 0x10 as an integer, 1e400 as infinity.
Whatever may be such a cell raises `NotPlain`, and the file is read again by `csv_table`.
"""

from __future__ import annotations

import gzip
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from csv import Error
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from graphengine.data.csv_dialect import Dialect
from graphengine.data.stored import Arrays, Block, Memory, spooled
from graphengine.errors import DataError, InputError
from graphengine.format.paths import DataFile
from graphengine.ir.binding import Column, Columns, names_in
from graphengine.ir.declarations import Input
from graphengine.ir.graph import Graph
from graphengine.ops.numbers import LARGEST_EXACT

if TYPE_CHECKING:
    from concurrent.futures import Future

SEGMENT = 2**22
"""Bytes that one thread reads at a time."""


class NotPlain(Exception):  # noqa: N818 - it is no error: another reader takes the file
    """A file that pyarrow may not read as `csv_table` does."""


def read_csv(file: DataFile, columns: Columns, dialect: Dialect, graph: Graph, memory: Memory) -> Arrays | None:
    """Return columns of a CSV file, by input; None if `csv_table` has to read it, or to report what is wrong."""
    has_numbers = _is_plain(dialect) and all(_is_number(graph.inputs[name]) for name in columns)
    if has_numbers and memory.block >= SEGMENT:
        with suppress(NotPlain, InputError):
            return spooled(arrow_csv_blocks(file, columns, dialect, graph, memory), graph, memory)
    return None


def _is_plain(dialect: Dialect) -> bool:
    return dialect.header and dialect.thousands is None and dialect.comment is None


def _is_number(declared: Input) -> bool:
    return declared.type.array_dtype.kind in "fiu" and not declared.categories and not declared.units


def arrow_csv_blocks(
    path: DataFile, columns: Columns, dialect: Dialect, graph: Graph, memory: Memory
) -> Iterator[Block]:
    """Yield columns of a CSV file, by input, as `csv_blocks` does.

    Raises
    ------
    NotPlain
        If `csv_blocks` might give something else, an error included.
    """
    arrow, csv = import_module("pyarrow"), import_module("pyarrow.csv")
    header = _header(path, dialect, memory)
    places = {name: [_place(header, column) for column in names_in(wanted)] for name, wanted in columns.items()}
    options = csv.ConvertOptions(
        column_types=_types(arrow, places, graph),
        include_columns=list(dict.fromkeys(column for taken in places.values() for column in taken)),
        null_values=["", *dialect.missing],
        decimal_point=dialect.decimal,
    )
    read = csv.ReadOptions(column_names=header, block_size=SEGMENT, use_threads=False)
    parse = csv.ParseOptions(delimiter=dialect.separator)
    has_integers = any(graph.inputs[name].type.array_dtype.kind != "f" for name in places)

    def block(segment: bytes) -> Block:
        if b'"' in segment or (has_integers and _has_hexadecimal(segment)):
            raise NotPlain
        table = csv.read_csv(arrow.BufferReader(segment), read, parse, options)
        return {name: _numbers(table, taken, graph.inputs[name], columns[name]) for name, taken in places.items()}

    try:
        yield from _in_threads(block, _segments(path), min(arrow.cpu_count(), memory.block // SEGMENT))
    except (arrow.ArrowException, EOFError, OSError, ValueError) as error:
        raise NotPlain from error


def _in_threads(function: Callable[[bytes], Block], items: Iterable[bytes], threads: int) -> Iterator[Block]:
    """Yield what a function makes of each item, in order; each thread is at most one item ahead.

    The threads of pyarrow's own reader parse only: what is before and after that waits for them.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[Block]] = deque()
        for item in items:
            ahead.append(pool.submit(function, item))
            if len(ahead) > threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _skip_header(file: IO[bytes] | gzip.GzipFile) -> None:
    header = file.readline(SEGMENT)
    line = header.removesuffix(b"\n").removesuffix(b"\r")
    if line == header or not line.strip() or b"\r" in line:  # `csv_table` takes another line as the header
        raise NotPlain


def _segments(path: DataFile) -> Iterator[bytes]:
    """Yield the rows after the header in whole lines, which must be UTF-8."""
    with path.open("rb") as packed:
        file = gzip.GzipFile(fileobj=packed) if str(path).endswith(".gz") else packed
        _skip_header(file)
        rest = b""
        while found := file.read(SEGMENT):
            end = found.rfind(b"\n") + 1
            if end:
                yield _text(b"".join([rest, memoryview(found)[:end]]))
                rest = b""
            rest += found[end:]
            if len(rest) > SEGMENT:  # no table has such a row
                raise NotPlain
        if rest:
            yield _text(rest)


def _text(lines: bytes) -> bytes:
    if not lines.isascii():
        lines.decode()  # raises a ValueError
    return lines


def _header(path: DataFile, dialect: Dialect, memory: Memory) -> list[str]:
    try:
        with dialect.table(path, memory.block) as (header, _):
            return header
    except (DataError, EOFError, OSError, ValueError, Error) as error:
        raise NotPlain from error


def _place(header: list[str], column: Column) -> str:
    """The name of a column, which must be one of its own."""
    name = column if isinstance(column, str) else header[column] if column < len(header) else ""
    if header.count(name) != 1:
        raise NotPlain
    return name


def _types(arrow: Any, places: Mapping[str, list[str]], graph: Graph) -> dict[str, Any]:
    """The types of the columns for pyarrow; a column that two inputs take as two types is left to `csv_table`."""
    types: dict[str, Any] = {}
    for name, taken in places.items():
        dtype = graph.inputs[name].type.array_dtype
        kind = arrow.float64() if dtype.kind == "f" else arrow.from_numpy_dtype(dtype)
        for column in taken:
            if types.setdefault(column, kind) != kind:
                raise NotPlain
    return types


def _numbers(batch: Any, taken: list[str], declared: Input, wanted: Any) -> np.ndarray[Any, Any]:
    """The columns of an input side by side."""
    columns = [batch.column(name) for name in taken]
    if not declared.missing and any(column.null_count for column in columns):
        raise NotPlain
    dtype = declared.type.array_dtype
    found = np.stack([column.to_numpy(zero_copy_only=False) for column in columns], axis=1)
    if dtype.kind == "f":
        _require_small(found, dtype)
        found = found.astype(dtype, copy=False)
    return found[:, 0] if isinstance(wanted, Column) else found


def _require_small(found: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> None:
    """Leave integers that are rounded, and infinite numbers, to `csv_table`."""
    large = max(np.fmax.reduce(found, axis=None, initial=0), -np.fmin.reduce(found, axis=None, initial=0))
    if not large < min(LARGEST_EXACT, np.finfo(dtype).max):
        raise NotPlain


def _has_hexadecimal(rows: bytes) -> bool:
    return b"0x" in rows or b"0X" in rows
