"""Reading a CSV file of numbers into one matrix, beside pyarrow's own reader and pandas.

pyarrow's result is its table of columns: it need not put them side by side.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.graphs import HEAD, node
from benchmarks.harness import Contender, Goal, Options, Row, SkipContenderError, Table, Work, build, seconds, verify

COLUMNS = 20
FOLDER = tempfile.TemporaryDirectory()


def run(options: Options) -> list[Table]:
    """Seconds for a million rows of 20 columns, or a fifth of them in a quick run."""
    rows = 200_000 if options.quick else 1_000_000
    works, skipped = build(CONTENDERS, rows)
    verify({name: [work(1)] for name, work in works.items()}, 0)
    turns = [Row(each.name, each.kind, [], each.reference) for each in CONTENDERS if each.name in works]
    for _ in range(3):
        for row in turns:
            row.values.append(seconds(works[row.name], 1))
    goals = [Goal("graphengine", 1.5)] if "pyarrow.csv" in works else []
    return [Table(f"a CSV file of {rows:,} x {COLUMNS} numbers", "s", "file", turns, skipped, goals)]


@cache
def written(rows: int) -> Path:
    """The file, of random numbers with all their digits."""
    path = Path(FOLDER.name, "t.csv")
    numbers = np.random.default_rng(0).normal(size=(rows, COLUMNS))
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(names()) + "\n")
        file.writelines(",".join(map(repr, row)) + "\n" for row in numbers.tolist())
    return path


def names() -> list[str]:
    """The header."""
    return [f"c{number}" for number in range(COLUMNS)]


def sums(table: Any) -> list[float]:
    """What the contenders agree on: the first and the last number."""
    return [float(table[0, 0]), float(table[-1, -1])]


def by_graphengine(rows: int) -> Work:
    """The data source of a model with one input, a matrix."""
    import graphengine as ge

    path = written(rows)
    content = {
        **HEAD,
        "name": "table",
        "inputs": {"x": {"shape": ["N", COLUMNS]}},
        "nodes": [node("total", "sum", "x")],
        "outputs": {"total": "total"},
        "data": {"t": {"type": "csv", "path": path.name, "columns": {"x": names()}}},
    }
    model = ge.Model.from_dict(content, path=path.with_name("m.json"), limits=ge.Limits(data_bytes=2**32))
    return lambda count: [sums(model.load_data("t")["x"]) for _ in range(count)][-1]


def by_pyarrow(rows: int) -> Work:
    """A table of columns, in several threads."""
    try:
        from pyarrow import csv
    except ImportError as error:
        raise SkipContenderError("pyarrow is not installed") from error
    path = written(rows)

    def work(count: int) -> list[float]:
        for _ in range(count):
            table = csv.read_csv(path)
        return [table["c0"][0].as_py(), table[names()[-1]][-1].as_py()]

    return work


def by_pandas(rows: int) -> Work:
    """A frame, by the parser of pandas in C."""
    try:
        import pandas as pd
    except ImportError as error:
        raise SkipContenderError("pandas is not installed") from error
    path = written(rows)
    return lambda count: [sums(pd.read_csv(path).to_numpy()) for _ in range(count)][-1]


CONTENDERS = [
    Contender("graphengine", by_graphengine, "ours"),
    Contender("pyarrow.csv", by_pyarrow, reference=True),
    Contender("pandas", by_pandas),
]
