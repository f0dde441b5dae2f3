"""Data sources: from a declaration in the file to one array for each input.

Each kind of file has a reader in a module of this package. What is large stays on disk (`stored`) and is read in blocks
while it is trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from graphengine.errors import DataError
from graphengine.format.data_documents import (
    ColumnarData,
    CsvData,
    DataDocument,
    InlineData,
    JsonlData,
    NpyData,
    NpzData,
)
from graphengine.format.paths import ConfinedFile, confined
from graphengine.graph import Graph
from graphengine.shapes import dtype_name
from graphengine.training.data.arrays import read_npy, read_npz
from graphengine.training.data.columnar import read_columnar
from graphengine.training.data.stored import Stored, blocks
from graphengine.training.data.text import read_csv, read_jsonl
from graphengine.values import all_finite, decode_array

Arrays: TypeAlias = dict[str, np.ndarray[Any, Any] | Stored]


def load_data(document: DataDocument, graph: Graph, folder: Path | None) -> Arrays:
    """The arrays of a data source, by input.

    Raises
    ------
    DataError
        GE501 to GE505, naming the file and, where there is one, row and column.
    """
    match document:
        case InlineData():
            return _inline(document, graph)
        case CsvData():
            return read_csv(_file(folder, document.path), _wanted(document.columns, graph), graph)
        case JsonlData():
            return read_jsonl(_file(folder, document.path), _wanted(document.keys, graph), graph)
        case NpzData():
            return read_npz(_file(folder, document.path), _wanted(document.arrays, graph), graph)
        case NpyData():
            return {name: read_npy(_file(folder, path), name, graph) for name, path in document.paths.items()}
        case ColumnarData():
            path = _file(folder, document.path)
            return read_columnar(path, document.type, _wanted(document.columns, graph), graph)


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


def require_finite(arrays: Mapping[str, Any]) -> None:
    """Refuse data that no training could come back from.

    Raises
    ------
    DataError
        GE503 with the input and the first row, from 1, that has a NaN or an infinite number.
    """
    for name, array in arrays.items():
        done = 0
        for block in blocks(array):
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
        for block in blocks(array):
            digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()
