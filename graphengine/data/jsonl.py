"""Numbers in JSON lines: one object a line. A value that is missing or not a number is reported with its line.

The file is read line by line and given out in blocks.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import IO, Any

import numpy as np
import orjson

from graphengine.data.csv_dialect import CELL_BYTES, lines_of
from graphengine.data.sources import reported
from graphengine.data.stored import Block, Memory
from graphengine.errors import DataError, InvalidModelError, did_you_mean
from graphengine.format.paths import DataFile
from graphengine.format.strict import parse_json
from graphengine.ir.cells import BadCells, Wording, as_encoded, category_codes, decode, numbers_of
from graphengine.ir.declarations import Input
from graphengine.ir.graph import Graph


def jsonl_blocks(path: DataFile, keys: Mapping[str, str], graph: Graph, memory: Memory) -> Iterator[Block]:
    """Values of the JSON objects in a file, one a line, by input; `keys` maps inputs to keys of the objects.

    Raises
    ------
    DataError
        GE501 without rows or not JSON, GE122 to GE130 for JSON that readers take differently, GE502 a key is missing in
        the first row, GE503 a value is missing, null, not a number or of another shape than that in the first row.
    """
    first: dict[str, tuple[int, ...]] = {}
    block: dict[str, list[np.ndarray[Any, Any]]] = {name: [] for name in keys}
    bad, size = BadCells(), 0
    wording = Wording(lambda key, _: f"key '{key}'", "is missing", "line", file=str(path))
    with path.open("rb") as file, reported(bad, graph, wording):
        for line, row in _rows_with(keys, json_objects(file, path, memory.block), path):
            for name, key in keys.items():
                value = _json_value(name, row.get(key), graph.inputs[name], path, line, key, bad)
                if value is None:
                    continue
                if value.shape != first.setdefault(name, value.shape):
                    message = f"key '{key}' has shape {value.shape}, in the first row {first[name]}"
                    raise DataError(message, code="GE503", file=str(path), line=line)
                block[name].append(value)
                size += value.nbytes + CELL_BYTES
            if size >= memory.block:
                yield _stacked(block, graph)
                size = 0
        if size:
            yield _stacked(block, graph)


def _stacked(block: dict[str, list[np.ndarray[Any, Any]]], graph: Graph) -> Block:
    """The arrays of a block, which is emptied."""
    found = as_encoded({name: np.stack(values) for name, values in block.items() if values}, graph.inputs)
    for values in block.values():
        values.clear()
    return found


def json_objects(file: IO[bytes], path: DataFile, most: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a file with their line numbers."""
    for line, text in enumerate(lines_of(file, path, most), 1):
        if not text.strip():
            continue
        row = _strict(text, path, line)
        if not isinstance(row, dict):
            raise DataError("the line is not a JSON object", code="GE503", file=str(path), line=line)
        yield line, row


def _strict(text: bytes, path: DataFile, line: int) -> Any:
    """The value of a line, which is as strict JSON as a model is."""
    with suppress(orjson.JSONDecodeError):  # the strict reader knows what is wrong
        value = orjson.loads(text)
        # most lines have as many colons as keys, and no long number: the whole check takes as long as fifty lines
        if text.count(b":") == orjson.dumps(value).count(b":") and not _LONG.search(text):
            return value
    try:
        return parse_json(text)
    except InvalidModelError as error:
        found = error.problems[0]
        found = replace(found, file=str(path), line=line, pointer=None)
        if found.code == "GE102":
            found = replace(found, code="GE501", message=f"the line is {found.message}")
        raise DataError([found]) from None


_LONG = re.compile(rb"\d{19}")


def _rows_with(
    keys: Mapping[str, str], rows: Iterator[tuple[int, dict[str, Any]]], path: DataFile
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a file, of which there must be one, and the first must have the keys."""
    first = next(rows, None)
    if first is None:
        raise DataError("the file has no rows", file=str(path))
    _require_keys(first[1], keys, path)
    return itertools.chain([first], rows)


def _require_keys(row: Mapping[str, Any], keys: Mapping[str, str], path: DataFile) -> None:
    """Refuse a file whose first row, as the header of a table, lacks a key."""
    for name, key in keys.items():
        if key not in row:
            hint = did_you_mean(key, row, "keys")
            raise DataError(f"there is no key '{key}' for input '{name}'", code="GE502", hint=hint, file=str(path))


def _json_value(
    name: str, value: Any, declared: Input, path: DataFile, line: int, key: str, bad: BadCells
) -> np.ndarray[Any, Any] | None:
    """A value as an array; None, and counted as bad, if it is missing or not among the categories."""
    if declared.categories:
        cells = np.array(value, dtype=object)
        codes = category_codes(cells.ravel().tolist(), declared)
        numbers, left = numbers_of(codes, declared)
        if not left.any():
            return numbers.reshape(cells.shape)
        lines = [line] * len(codes)
        bad.add_codes(name, key, np.where(left, codes, 0), cells.ravel().tolist(), lines)
        return None
    if value is None and not declared.missing:
        bad.add_missing(name, key, [line])
        return None
    try:
        return decode(value, declared)
    except ValueError as error:
        message = f"key '{key}' is not a number: {error}"
        raise DataError(message, code="GE503", file=str(path), line=line) from None
