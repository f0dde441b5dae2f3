"""A table whose columns have types, of a Parquet or Arrow file, as it is found: numbers, dates and texts."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from graphengine.data.carried import carried_arrow, carried_parquet
from graphengine.data.csv_dialect import Dialect
from graphengine.data.sources import faults_in
from graphengine.data.stored import Memory
from graphengine.drafting.profiles import ColumnProfile, Numbers
from graphengine.drafting.survey import Survey
from graphengine.errors import DataError
from graphengine.format.paths import DataFile

KINDS = {".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow"}
"""The types of data sources, by the ending of a file."""
NUMBERS = ("int", "uint", "float", "double", "halffloat", "bool")
"""How the names of Arrow's types of numbers begin."""
OTHERS = ("string", "large_string", "string_view", "dictionary<values=string", "date", "timestamp")
"""How those of texts and dates begin."""


def survey_of_types(path: DataFile, kind: str, memory: Memory) -> Survey:
    """Read all columns of a file, and find out what is in them.

    Raises
    ------
    DataError
        GE501 if the file cannot be read or has no rows, GE502 if two columns have one name.
    """
    carried = carried_parquet if kind == "parquet" else carried_arrow
    columns: dict[str, ColumnProfile] = {}
    rows = 0
    with faults_in(path, kind):
        for block in carried(path, None, memory):
            rows += _add(block, columns, rows)
    if not rows:
        raise DataError("the file has no rows", file=str(path))
    return Survey(Dialect(), rows, list(columns.values()), kind)


def _add(block: Mapping[str, Any], columns: dict[str, ColumnProfile], rows: int) -> int:
    """Add a block of rows, after so many others, to the profiles of its columns; gives how many rows it has."""
    count = 0
    for name, values in block.items():
        cells = values.to_pylist()
        if name not in columns:
            columns[name] = _profile(name, len(columns), str(values.type))
        columns[name].add(range(rows + 1, rows + 1 + len(cells)), list(map(_text, cells)))
        count = len(cells)
    return count


def _profile(name: str, place: int, kind: str) -> ColumnProfile:
    """A column before its first cell. Texts that look like numbers are texts: no input of numbers takes them."""
    is_number = kind.startswith(NUMBERS)
    refused = "" if is_number or kind.startswith(OTHERS) else f"its type is {kind}; numbers, texts and dates are taken"
    return ColumnProfile(name, place, [Numbers(Dialect())] if is_number else [], refused)


def _text(cell: Any) -> str:
    """A cell as a CSV file has it."""
    if _is_missing(cell):
        return ""
    if isinstance(cell, (datetime.date, datetime.datetime)):
        return cell.isoformat()
    return str(int(cell) if isinstance(cell, bool) else cell)


def _is_missing(cell: Any) -> bool:
    """Whether a cell has no value, or NaN."""
    return cell is None or cell != cell
