"""Data sources: from a declaration in the file to one array for each input.

Each kind of file has a reader in a module of this package, and what they read in blocks is kept in one way (`spool`).
What is large stays on disk (`stored`) and is read in blocks while it is trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from graphengine.data.arrays import read_npy, read_npz
from graphengine.data.columnar import arrow_blocks, parquet_blocks
from graphengine.data.faults import told
from graphengine.data.spool import spooled
from graphengine.data.stored import Memory, Stored, blocks_of
from graphengine.data.text import csv_blocks, jsonl_blocks
from graphengine.errors import DataError, InputError
from graphengine.format.data_documents import (
    ColumnarData,
    CsvData,
    DataDocument,
    FileData,
    InlineData,
    JsonlData,
    NpyData,
    NpzData,
)
from graphengine.format.paths import ConfinedFile, DataFile, confined
from graphengine.ir.binding import as_inputs, by_input
from graphengine.ir.graph import Graph
from graphengine.ops.numbers import all_finite, decode_array
from graphengine.ops.shapes import dtype_name

Arrays: TypeAlias = dict[str, np.ndarray[Any, Any] | Stored]


def load_data(document: DataDocument, graph: Graph, folder: Path | None, memory: Memory) -> Arrays:
    """The arrays of a data source, by input; what would take more than a quarter of the memory stays on disk.

    Raises
    ------
    DataError
        GE501 to GE505, naming the file and, where there is one, row and column; GE101 if there is no room on disk;
        GE133 for what is too large and cannot be read in rows.
    """
    if isinstance(document, InlineData):
        return _inline(document, graph)
    if isinstance(document, NpyData):
        return read_npy({name: _file(folder, path) for name, path in document.paths.items()}, graph, memory)
    return read_file(document, _file(folder, document.path), graph, memory)


def read_file(document: FileData, path: DataFile, graph: Graph, memory: Memory) -> Arrays:
    """The arrays in the file at `path`, of the kind and with the names of a data source. Raises as `load_data`."""
    match document:
        case NpzData():
            return read_npz(path, _wanted(document.arrays, graph), graph, memory)
        case CsvData():
            blocks, what = csv_blocks(path, _wanted(document.columns, graph), graph, memory), "CSV"
        case JsonlData():
            blocks, what = jsonl_blocks(path, _wanted(document.keys, graph), graph, memory), "JSON lines"
        case ColumnarData():
            read = parquet_blocks if document.type == "parquet" else arrow_blocks
            blocks, what = read(path, _wanted(document.columns, graph), memory), document.type
    with told(path, what):
        return spooled(blocks, graph, memory)


def _wanted(names: Mapping[str, Any] | None, graph: Graph) -> Mapping[str, Any]:
    """What a source has for each input; where the file does not say, all inputs under their own names."""
    return names or {name: name for name in graph.inputs}


def _file(folder: Path | None, name: str) -> ConfinedFile:
    if folder is None:
        raise DataError(f"the model was not loaded from a file, so there is no folder to look for '{name}' in")
    return confined(folder, name)


def _inline(document: InlineData, graph: Graph) -> Arrays:
    arrays: Arrays = {}
    for name, values in document.values.items():
        try:
            arrays[name] = decode_array(values, graph.types[name].array_dtype)
        except ValueError as error:
            raise DataError(f"inline data for input '{name}': {error}", code="GE503") from None
    return arrays


def given_data(data: Any, graph: Graph) -> Arrays:
    """What a caller hands over instead of a source, as arrays by input; what was loaded and is on disk stays there.

    Raises
    ------
    InputError
        GE401 and GE402 as `by_input` and `as_inputs`, GE404 for what is no number.
    """
    given = by_input(graph, data)
    stored = {name: value for name, value in given.items() if isinstance(value, Stored) and name in graph.inputs}
    for name, array in stored.items():
        if array.dtype != graph.types[name].dtype:
            declared = dtype_name(graph.types[name].dtype)
            raise InputError(f"input '{name}' must be {declared}, what is on disk is {array.dtype}", code="GE404")
    return {**as_inputs(graph, {name: value for name, value in given.items() if name not in stored}), **stored}


def require_finite(arrays: Mapping[str, Any]) -> None:
    """Refuse data that no training could come back from.

    Raises
    ------
    DataError
        GE503 with the input and the first row, from 1, that has a NaN or an infinite number.
    """
    for name, array in arrays.items():
        done = 0
        for block in blocks_of(array):
            if block.dtype.kind == "f" and not all_finite(block):
                place = np.argwhere(~np.isfinite(block))[0]
                row = f" in row {done + place[0] + 1}" if len(place) else ""
                raise DataError(
                    f"the data for input '{name}' has the value {block[tuple(place)]}{row}; "
                    "training needs finite numbers",
                    code="GE503",
                )
            done += len(block) if block.ndim else 0


def data_hash(arrays: Mapping[str, Any]) -> str:
    """A sha256 of what was trained on: names, dtypes, shapes and numbers, however they were stored."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {dtype_name(array.dtype)} {list(np.shape(array))}\n".encode())
        for block in blocks_of(array):
            digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()
