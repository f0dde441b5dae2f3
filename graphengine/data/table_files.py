"""Tables that are written: columns by name, in blocks of rows, as CSV, JSON lines or Parquet.

A table is encoded block by block, so it may be larger than memory, and its file appears whole or not at all.
"""

from __future__ import annotations

import csv
import datetime
import io
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import orjson

from graphengine.data.arrow_arrays import as_arrow
from graphengine.errors import DataError, UsageError
from graphengine.extras import optional
from graphengine.format.files import write_parts
from graphengine.format.writing import encode_array

Rows: TypeAlias = Mapping[str, Sequence[Any] | np.ndarray[Any, Any]]
"""Rows of a table: lists, arrays of NumPy or of Arrow by column, all of one length."""
GROUP_ROWS = 2**16
"""Rows from which batches are a group of a Parquet file."""
GROUP_BYTES = 2**26
"""Bytes from which they are: a row may hold a long list."""
CELLS_AT_ONCE = 2**16
"""Cells that are text at once."""


def write_table(path: str | Path, blocks: Iterable[Rows]) -> None:
    """Write a table, as the ending of the file says; a failure leaves an old file untouched.

    Raises
    ------
    UsageError
        GE801 for another ending, GE803 if pyarrow is not installed.
    GraphEngineError
        GE101, GE504 if the file cannot be written.
    DataError
        GE503 if a column holds values that one column of a Parquet file cannot hold.
    """
    write_parts(path, encoder_of(path)(blocks))


def encoder_of(path: str | Path) -> Callable[[Iterable[Rows]], Iterator[bytes]]:
    """Return what makes the bytes of a table, by the ending of its file.

    Raises
    ------
    UsageError
        GE801.
    """
    for suffix, encoder in ENCODERS.items():
        if str(path).lower().endswith(suffix):
            return encoder
    raise UsageError(f"a table cannot be written to '{path}'", hint=f"name a file that ends in {', '.join(ENCODERS)}")


def csv_parts(blocks: Iterable[Rows]) -> Iterator[bytes]:
    """Yield the text of a CSV file: commas, decimal points, a header, quotation marks where a cell needs them."""
    for number, block in enumerate(blocks):
        if number == 0:
            yield _csv_text([list(block)])
        for rows in _sliced(block):
            yield _csv_text(zip(*[map(_csv_cell, _values(column)) for column in rows.values()], strict=True))


def _csv_text(rows: Iterable[Iterable[Any]]) -> bytes:
    kept = list(rows)
    text = _written(kept, csv.QUOTE_MINIMAL)
    if "\r" in text:  # Python before 3.13 writes it without the quotation marks that it needs
        text = _written(kept, csv.QUOTE_ALL)
    return text.encode("utf-8", "surrogatepass")


def _written(rows: Iterable[Iterable[Any]], quoting: Any) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=quoting).writerows(rows)
    return text.getvalue()


def _csv_cell(cell: Any) -> Any:
    if isinstance(cell, (dict, list)):
        return orjson.dumps(cell, default=str).decode()
    return cell.isoformat() if isinstance(cell, (datetime.date, datetime.time)) else cell


def gzip_parts(blocks: Iterable[Rows]) -> Iterator[bytes]:
    """Yield a CSV file compressed by gzip, which has no time in it: the same table gives the same bytes."""
    packer = zlib.compressobj(wbits=31)
    for part in csv_parts(blocks):
        yield packer.compress(part)
    yield packer.flush()


def jsonl_parts(blocks: Iterable[Rows]) -> Iterator[bytes]:
    """Yield JSON lines, an object for each row; numbers that are not finite are the strings of a model file."""
    for block in blocks:
        for rows in _sliced(block):
            cells = zip(*map(_values, rows.values()), strict=True)
            yield b"".join(orjson.dumps(dict(zip(rows, row, strict=True)), default=str) + b"\n" for row in cells)


def parquet_parts(blocks: Iterable[Rows]) -> Iterator[bytes]:
    """Yield a Parquet file, through pyarrow, a group of rows for each block."""
    pa, sink, writer = optional("pyarrow", "data"), _Sink(), None
    for block in blocks:
        table = pa.table({name: _arrow(pa, name, column, writer) for name, column in block.items()})
        writer = writer or _writer(sink, table.schema)
        writer.write_table(table)
        yield sink.taken()
    if writer is not None:
        writer.close()
    yield sink.taken()


def batch_parts(batches: Iterable[Any], metadata: Callable[[], Mapping[str, str]]) -> Iterator[bytes]:
    """Yield a Parquet file of record batches of Arrow; `metadata` is called at the end.

    Batches are put together to groups of `GROUP_ROWS` rows or `GROUP_BYTES` bytes, or more.
    """
    pa, sink, writer = optional("pyarrow", "data"), _Sink(), None
    for group in _grouped(batches):
        writer = writer or _writer(sink, group[0].schema)
        writer.write_table(pa.Table.from_batches(group))
        yield sink.taken()
    if writer is not None:
        writer.add_key_value_metadata(dict(metadata()))
        writer.close()
    yield sink.taken()


def _grouped(batches: Iterable[Any]) -> Iterator[list[Any]]:
    group: list[Any] = []
    for batch in batches:
        group.append(batch)
        if _is_full(group):
            yield group
            group = []
    if group:
        yield group


def _is_full(group: Sequence[Any]) -> bool:
    rows: int = sum(each.num_rows for each in group)
    return rows >= GROUP_ROWS or sum(each.nbytes for each in group) >= GROUP_BYTES


def _writer(sink: _Sink, schema: Any) -> Any:
    """A writer of Parquet that looks for repeated values where there are no numbers: most of them are different."""
    types, parquet = optional("pyarrow", "data").types, optional("pyarrow.parquet", "data")
    others = [each.name for each in schema if not (types.is_floating(each.type) or types.is_integer(each.type))]
    return parquet.ParquetWriter(sink, schema, use_dictionary=others)


def _arrow(pa: Any, name: str, column: Any, writer: Any) -> Any:
    """A column as an array of Arrow, of the type that it has in the blocks before."""
    kind = writer.schema.field(name).type if writer else None
    try:
        return column.cast(kind or column.type) if isinstance(column, pa.Array) else as_arrow(column, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        message = f"column '{name}' has values that one column of a Parquet file cannot hold: {error}"
        raise DataError(message, code="GE503", hint="write a .csv or .jsonl file, or do not keep the column") from None


def as_lists(blocks: Iterable[Rows]) -> dict[str, list[Any]]:
    """Return a table as lists of JSON values, by column."""
    found: dict[str, list[Any]] = {}
    for block in blocks:
        for name, column in block.items():
            found.setdefault(name, []).extend(_values(column))
    return found


class _Sink(io.RawIOBase):
    """A file that hands over what was written since it was last asked."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        return len(part)

    def taken(self) -> bytes:
        """Return what was written, and forget it."""
        found = b"".join(self._parts)
        self._parts.clear()
        return found


def _sliced(block: Rows) -> Iterator[Rows]:
    """The rows of a block, a limited number at a time: as Python objects they take much more memory."""
    step = max(1, CELLS_AT_ONCE // max(len(block), 1))
    for start in range(0, row_count(block), step):
        yield {name: column[start : start + step] for name, column in block.items()}


def row_count(block: Rows) -> int:
    """Return the number of rows of a block."""
    return len(next(iter(block.values()), ()))


def _values(column: Any) -> Sequence[Any]:
    """A column as JSON values, texts and dates."""
    if isinstance(column, np.ndarray):
        return encode_array(column)  # type: ignore[no-any-return]
    return column.to_pylist() if hasattr(column, "to_pylist") else column  # type: ignore[no-any-return]


ENCODERS: Mapping[str, Callable[[Iterable[Rows]], Iterator[bytes]]] = {
    ".csv": csv_parts,
    ".csv.gz": gzip_parts,
    ".jsonl": jsonl_parts,
    ".parquet": parquet_parts,
}
"""What makes the bytes of a table, by the ending of its file."""
