"""What the section `data` of a model file may say: where values come from."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from graphengine.format.fields import Document, FilePath, Identifier, Values


class InlineData(Document):
    """Values written in the file, an array for each input."""

    type: Literal["inline"]
    values: dict[Identifier, Values]


class CsvData(Document):
    """A CSV file with a header; `columns` maps inputs to column names (default: the same names)."""

    type: Literal["csv"]
    path: FilePath
    columns: dict[Identifier, str | list[str]] | None = None


class NpzData(Document):
    """A NumPy .npz archive; `arrays` maps inputs to array names (default: the same names)."""

    type: Literal["npz"]
    path: FilePath
    arrays: dict[Identifier, str] | None = None


class NpyData(Document):
    """NumPy .npy files, one for each input."""

    type: Literal["npy"]
    paths: dict[Identifier, FilePath]


class JsonlData(Document):
    """A file with one JSON object a line; `keys` maps inputs to keys (default: the same names)."""

    type: Literal["jsonl"]
    path: FilePath
    keys: dict[Identifier, str] | None = None


class ColumnarData(Document):
    """A Parquet or Arrow file; `columns` maps inputs to column names (default: the same names)."""

    type: Literal["parquet", "arrow"]
    path: FilePath
    columns: dict[Identifier, str | list[str]] | None = None


FileData: TypeAlias = CsvData | NpzData | JsonlData | ColumnarData
"""A source that is one file, with something for each input."""
DataDocument: TypeAlias = Annotated[InlineData | NpyData | FileData, Field(discriminator="type")]
