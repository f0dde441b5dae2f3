"""Readers: what a data source of a file may be. A class has the form of the source and reads it.

What a reader of a file gives in blocks is kept in one way (`stored`): in memory, or on disk if it is large. A plugin
adds a reader with `@graphengine.register_reader`.
"""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias, get_args

import numpy as np
import orjson
from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from graphengine.data.csv_dialect import Dialect
from graphengine.data.csv_table import csv_blocks
from graphengine.data.sources import faults_in
from graphengine.data.stored import Arrays, Block, Memory, spooled
from graphengine.errors import DataError, UsageError
from graphengine.format.documents import ModelDocument
from graphengine.format.fields import Document, FilePath, Identifier, Values
from graphengine.format.kinds import READERS, Kind
from graphengine.format.paths import ConfinedFile, DataFile, confined
from graphengine.ir.binding import NO_COLUMNS, AllBut, Columns, listed
from graphengine.ir.cells import decode
from graphengine.ir.graph import Graph

if TYPE_CHECKING:
    from graphengine.data.carried import Carried

LARGE = 2**20
"""Bytes of a CSV file from which on the import of pyarrow pays."""

ColumnField: TypeAlias = str | Annotated[int, Field(ge=0)]


def _one_character(text: str) -> str:
    if len(text) != 1 or text in '\r\n"':
        raise PydanticCustomError("mark", "must be one character, other than a quotation mark or a line break")
    return text


Mark: TypeAlias = Annotated[
    str, AfterValidator(_one_character), Field(json_schema_extra={"minLength": 1, "maxLength": 1})
]
"""A character that separates cells or begins a comment."""


def _date_format(text: str) -> str:
    from graphengine.ir.dates import parsed

    try:
        parsed(A_DATE.strftime(text), text)
    except ValueError:
        message = 'must be a format of strptime, such as "%d.%m.%Y"'
        raise PydanticCustomError("date_format", message) from None
    return text


A_DATE = datetime.datetime(2024, 2, 29, 12, 30)
DateFormat: TypeAlias = Annotated[str, AfterValidator(_date_format), Field(max_length=64)]
"""How dates are written."""


def _all_but(content: Any) -> AllBut:
    if isinstance(content, AllBut):
        return content
    return AllBut(tuple(_LeftOut.model_validate(content).all_but))


class _LeftOut(Document):
    all_but: list[ColumnField]


AllButField: TypeAlias = Annotated[
    AllBut,
    PlainValidator(_all_but, json_schema_input_type=_LeftOut),
    PlainSerializer(lambda columns: {"all_but": list(columns.left_out)}, return_type=dict[str, list[Any]]),
]
"""All columns but some, as a file has it: `{"all_but": ["id", "y"]}`."""


class DataSource(Kind, ABC):
    """A data source of any kind."""

    @abstractmethod
    def read(self, folder: Path | None, graph: Graph, memory: Memory) -> Arrays:
        """Return the arrays of the source by input; what takes more than a quarter of the memory stays on disk.

        Paths are relative to `folder`, that of the model file.

        Raises
        ------
        DataError
            GE501 to GE505, naming the file and, where there is one, row and column; GE101 if there is no room on disk;
            GE133 for what is too large and cannot be read in rows.
        """


class Reader(DataSource):
    """A data source in one file, with a part for each input.

    A subclass declares `type: Literal["name"]`, a field, named by `named_by`, that maps inputs to what they take from
    the file, and `blocks`. `suffixes` are the endings of such files, by which `--data FILE` knows them.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    named_by: ClassVar[str] = "columns"

    type: str
    path: FilePath

    @abstractmethod
    def blocks(self, file: DataFile, names: Mapping[str, Any], graph: Graph, memory: Memory) -> Iterator[Block]:
        """Yield blocks of rows: arrays by input, the rows of each block after those of the one before.

        `names` maps inputs to what they take from the file. `file.open("rb")` opens it. `graph.types` has the dtypes of
        the inputs, `memory.block` the bytes that a block may take.
        """

    def names_in(self, path: DataFile) -> list[str]:
        """Return the names in a file, such as its columns; none if they are not known."""
        return []

    def carried(self, file: DataFile, names: Sequence[str] | None, memory: Memory) -> Iterator[Carried]:
        """Yield columns of a file as they are, by default all, in blocks of rows in the order of `blocks`.

        Raises
        ------
        UsageError
            GE801 if files of this kind have no columns to carry along.
        """
        raise UsageError(f"columns cannot be kept from a file of the type '{self.type}'")

    def carried_along(self, file: DataFile, names: Sequence[str] | None, memory: Memory) -> Iterator[Carried]:
        """Yield what `carried` does.

        Raises
        ------
        DataError
            GE501 if the file cannot be read, GE502 if it lacks a column or has it twice.
        """
        with faults_in(file, self.kind):
            yield from self.carried(file, names, memory)

    def read(self, folder: Path | None, graph: Graph, memory: Memory) -> Arrays:
        """Return the arrays of the file that the model names."""
        return self.read_file(file_in(folder, self.path), graph, memory)

    def read_file(self, file: DataFile, graph: Graph, memory: Memory) -> Arrays:
        """Return the arrays of any file, under the names that the source has for it.

        Raises
        ------
        DataError
            GE501 to GE505, naming the file and, where there is one, row and column; GE101 if there is no room on disk.
        """
        with faults_in(file, self.kind):
            return spooled(self.blocks(file, self.names_for(graph, file), graph, memory), graph, memory)

    def names_for(self, graph: Graph, file: DataFile) -> Mapping[str, Any]:
        """Return what each input takes; by default each input takes the column or array with its name."""
        said: Columns = getattr(self, self.named_by) or {name: name for name in graph.inputs}
        return listed(said, lambda: self.names_in(file), graph.inputs)

    @property
    def kind(self) -> str:
        """The kind of file, in words."""
        return self.type


def file_in(folder: Path | None, name: str) -> ConfinedFile:
    """Return a file that a model names.

    Raises
    ------
    DataError
        GE501 if the model does not come from a file, GE504 if the path leaves its folder.
    """
    if folder is None:
        raise DataError(f"the model was not loaded from a file, so there is no folder to look for '{name}' in")
    return confined(folder, name)


@READERS.register
class InlineData(DataSource):
    """Values written in the file, an array for each input."""

    type: Literal["inline"]
    values: dict[Identifier, Values]

    def read(self, folder: Path | None, graph: Graph, memory: Memory) -> Arrays:
        """Return the values as arrays of the dtypes of the inputs."""
        arrays: Arrays = {}
        for name, values in self.values.items():
            try:
                arrays[name] = decode(values, graph.inputs[name])
            except ValueError as error:
                raise DataError(f"inline data for input '{name}': {error}", code="GE503") from None
        return arrays


@READERS.register
class NpyData(DataSource):
    """NumPy .npy files, one for each input."""

    type: Literal["npy"]
    paths: dict[Identifier, FilePath]

    def read(self, folder: Path | None, graph: Graph, memory: Memory) -> Arrays:
        """Return the arrays; large ones are read where they lie."""
        from graphengine.data.arrays import read_npy

        return read_npy({name: file_in(folder, path) for name, path in self.paths.items()}, graph, memory)


@READERS.register
class CsvData(Reader):
    """A CSV file; `columns` maps inputs to columns, by name or by number from 0 (default: the names of the inputs).

    The other fields say how the file is written; a file whose name ends in .gz is decompressed as it is read.
    """

    suffixes = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz")

    type: Literal["csv"]
    columns: dict[Identifier, ColumnField | list[ColumnField] | AllButField] | None = None
    separator: Mark = Field(default=",", description="character between two cells")
    decimal: Literal[".", ","] = Field(default=".", description="decimal mark of the numbers")
    thousands: Literal[".", ",", " ", "'"] | None = Field(
        default=None, description="mark between groups of three digits"
    )
    header: bool = Field(default=True, description="whether the first row has the names of the columns")
    missing: list[str] = Field(default=[], description="cell texts that mean a missing value, besides an empty cell")
    comment: Mark | None = Field(default=None, description="character that begins a line to be skipped")
    date_format: DateFormat | None = Field(
        default=None, description="how dates are written, in the codes of strptime; default: ISO 8601"
    )

    @model_validator(mode="after")
    def _different_marks(self) -> CsvData:
        marks = [mark for mark in (self.separator, self.decimal, self.comment) if mark]
        if len(set(marks)) < len(marks) or self.thousands in (self.decimal, self.comment or self.decimal):
            message = (
                "separator, decimal and comment must be different characters, and thousands none but the separator"
            )
            raise PydanticCustomError("marks", message)
        return self

    @property
    def dialect(self) -> Dialect:
        """How the file is written."""
        marks = (self.separator, self.decimal, self.thousands, self.header, tuple(self.missing), self.comment)
        return Dialect(*marks, self.date_format)

    def read_file(self, file: DataFile, graph: Graph, memory: Memory) -> Arrays:
        """Return the arrays of any file, by pyarrow if it is large and plain; raises as for all kinds of files."""
        if not self._is_large(file):
            return super().read_file(file, graph, memory)
        from graphengine.data.csv_arrow import read_csv

        with faults_in(file, self.kind):
            names = self.names_for(graph, file)
        arrays = read_csv(file, names, self.dialect, graph, memory)
        return super().read_file(file, graph, memory) if arrays is None else arrays

    def _is_large(self, file: DataFile) -> bool:
        """Whether pyarrow is installed, and a file so large that its import pays."""
        if find_spec("pyarrow") is None:
            return False
        with faults_in(file, self.kind), file.open("rb") as content:
            return content.seek(0, 2) >= LARGE

    def blocks(self, file: DataFile, names: Mapping[str, Any], graph: Graph, memory: Memory) -> Iterator[Block]:
        """Yield blocks of rows."""
        return csv_blocks(file, names, self.dialect, graph, memory)

    def carried(self, file: DataFile, names: Sequence[str] | None, memory: Memory) -> Iterator[Carried]:
        """Yield columns as they are."""
        from graphengine.data.carried import carried_csv

        return carried_csv(file, names, self.dialect, memory)

    def names_in(self, path: DataFile) -> list[str]:
        """Return the header."""
        with self.dialect.table(path) as (header, _):
            return header

    @property
    def kind(self) -> str:
        """What the file should be."""
        return "CSV"


@READERS.register
class NpzData(Reader):
    """A NumPy .npz archive; `arrays` maps inputs to array names (default: the same names)."""

    suffixes, named_by = (".npz",), "arrays"

    type: Literal["npz"]
    arrays: dict[Identifier, str] | None = None

    def read_file(self, file: DataFile, graph: Graph, memory: Memory) -> Arrays:
        """Return the arrays; what is not in rows is not read in blocks."""
        from graphengine.data.arrays import read_npz

        return read_npz(file, self.names_for(graph, file), graph, memory)

    def blocks(self, file: DataFile, names: Mapping[str, Any], graph: Graph, memory: Memory) -> Iterator[Block]:
        """Yield all as one block."""
        from graphengine.data.arrays import read_npz

        yield {name: np.asarray(array) for name, array in read_npz(file, names, graph, memory).items()}

    def names_in(self, path: DataFile) -> list[str]:
        """Return the names of the arrays."""
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return list(archive)


@READERS.register
class JsonlData(Reader):
    """A file with one JSON object a line; `keys` maps inputs to keys (default: the same names)."""

    suffixes, named_by = (".jsonl",), "keys"

    type: Literal["jsonl"]
    keys: dict[Identifier, str] | None = None

    def blocks(self, file: DataFile, names: Mapping[str, Any], graph: Graph, memory: Memory) -> Iterator[Block]:
        """Yield blocks of lines."""
        from graphengine.data.jsonl import jsonl_blocks

        return jsonl_blocks(file, names, graph, memory)

    def carried(self, file: DataFile, names: Sequence[str] | None, memory: Memory) -> Iterator[Carried]:
        """Yield columns as they are."""
        from graphengine.data.carried import carried_jsonl

        return carried_jsonl(file, names, memory)

    def names_in(self, path: DataFile) -> list[str]:
        """Return the keys of the first line."""
        with path.open("rb") as lines:
            return list(orjson.loads(lines.readline()))

    @property
    def kind(self) -> str:
        """What the file should be."""
        return "JSON lines"


@READERS.register
class ParquetData(Reader):
    """A Parquet file; `columns` maps inputs to column names (default: the same names)."""

    suffixes = (".parquet",)

    type: Literal["parquet"]
    columns: dict[Identifier, str | list[str] | AllButField] | None = None

    def blocks(self, file: DataFile, names: Mapping[str, Any], graph: Graph, memory: Memory) -> Iterator[Block]:
        """Yield blocks of rows."""
        from graphengine.data.columnar import parquet_blocks

        return parquet_blocks(file, names, graph, memory)

    def carried(self, file: DataFile, names: Sequence[str] | None, memory: Memory) -> Iterator[Carried]:
        """Yield columns as they are."""
        from graphengine.data.carried import carried_parquet

        return carried_parquet(file, names, memory)

    def names_in(self, path: DataFile) -> list[str]:
        """Return the names of the columns."""
        from graphengine.extras import optional

        with path.open("rb") as file:
            return list(optional("pyarrow.parquet", "data").read_schema(file).names)


@READERS.register
class ArrowData(Reader):
    """An Arrow file or stream; `columns` maps inputs to column names (default: the same names)."""

    suffixes = (".arrow", ".feather")

    type: Literal["arrow"]
    columns: dict[Identifier, str | list[str] | AllButField] | None = None

    def blocks(self, file: DataFile, names: Mapping[str, Any], graph: Graph, memory: Memory) -> Iterator[Block]:
        """Yield blocks of rows."""
        from graphengine.data.columnar import arrow_blocks

        return arrow_blocks(file, names, graph, memory)

    def carried(self, file: DataFile, names: Sequence[str] | None, memory: Memory) -> Iterator[Carried]:
        """Yield columns as they are."""
        from graphengine.data.carried import carried_arrow

        return carried_arrow(file, names, memory)

    def names_in(self, path: DataFile) -> list[str]:
        """Return the names of the columns."""
        from graphengine.data.columnar import arrow_names

        return arrow_names(path)


def readers_by_suffix() -> dict[str, type[Reader]]:
    """Return the readers of files by the ending of a file."""
    files = [reader for reader in READERS.members if issubclass(reader, Reader)]
    return {suffix: reader for reader in files for suffix in reader.suffixes}


def declared_source(document: ModelDocument) -> DataSource | None:
    """Return the data source that a model is trained on, or its only one; None if there is none."""
    section, sources = document.training, document.data
    name = section.data if section else None
    return sources.get(name) if name else next(iter(sources.values()), None) if len(sources) == 1 else None


def declared_columns(document: ModelDocument, *keys: str) -> Columns:
    """Return what inputs take from the declared source, if it says so.

    `keys` are the fields that may say it, by default `columns` of tables, `keys` of JSON lines, `arrays` of archives.
    """
    source = declared_source(document)
    field = getattr(source, "named_by", None)
    said: Columns | None = getattr(source, field) if field in (keys or ("columns", "keys", "arrays")) else None
    return said or NO_COLUMNS


def reader_of(path: Path, document: ModelDocument) -> Reader | None:
    """Return what reads a file of the caller, by its ending: as the model says of its own file of that kind."""
    kind = next((reader for suffix, reader in readers_by_suffix().items() if path.name.lower().endswith(suffix)), None)
    declared = declared_source(document)
    if kind is None or type(declared) is kind:
        return declared if kind else None  # type: ignore[return-value] # its class is kind
    names = {"type": get_args(kind.model_fields["type"].annotation)[0], "path": "the-callers"}
    return kind.model_validate(names)
