"""Reading a CSV file of numbers into one matrix, beside pyarrow's own reader and pandas.

pyarrow's result is its table of columns: it need not put them side by side. The memory of each reader is measured in a
fresh process: `python -m benchmarks.csv_table graphengine FILE`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from benchmarks.graphs import HEAD, node
from benchmarks.harness import Contender, Goal, Options, Row, SkipContenderError, Table, Work, build, seconds, verify
from benchmarks.load_once import peak_memory

Reader: TypeAlias = Callable[[], list[float]]
"""Reads a file; returns what all readers agree on."""
COLUMNS = 20
ROOT = Path(__file__).parents[1]
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
    title = f"a CSV file of {rows:,} x {COLUMNS} numbers"
    return [Table(title, "s", "file", turns, skipped, goals), memory(rows, [*works], skipped)]


def memory(rows: int, contenders: list[str], skipped: dict[str, str]) -> Table:
    """How far the peak of a fresh process rises above its imports, beside the size of the matrix."""
    matrix = Row("the matrix", "limit", [8.0 * rows * COLUMNS], reference=True)
    turns = [Row(name, "peer", [_peak_of(name, written(rows)) for _ in range(2)]) for name in contenders]
    goals = [Goal("graphengine", 2.0)] if "graphengine" in contenders else []
    return Table("memory above the imports", "MB", "file", [matrix, *turns], skipped, goals)


def _peak_of(name: str, path: Path) -> float:
    command = [sys.executable, "-m", "benchmarks.csv_table", name, str(path)]
    return float(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


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


def _repeated(make: Callable[[Path], Reader], rows: int) -> Work:
    read = make(written(rows))
    return lambda count: [read() for _ in range(count)][-1]


def by_graphengine(path: Path) -> Reader:
    """The data source of a model with one input, a matrix."""
    import graphengine as ge

    content = {
        **HEAD,
        "name": "table",
        "inputs": {"x": {"shape": ["N", COLUMNS]}},
        "nodes": [node("total", "sum", "x")],
        "outputs": {"total": "total"},
        "data": {"t": {"type": "csv", "path": path.name, "columns": {"x": names()}}},
    }
    model = ge.Model.from_dict(content, path=path.with_name("m.json"), limits=ge.Limits(data_bytes=2**32))
    with suppress(ImportError):
        import pyarrow.csv  # noqa: F401 - it is no part of what reading takes
    return lambda: sums(model.load_data("t")["x"])


def by_pyarrow(path: Path) -> Reader:
    """A table of columns, in several threads."""
    try:
        from pyarrow import csv
    except ImportError as error:
        raise SkipContenderError("pyarrow is not installed") from error

    def read() -> list[float]:
        table = csv.read_csv(path)
        return [table["c0"][0].as_py(), table[names()[-1]][-1].as_py()]

    return read


def by_pandas(path: Path) -> Reader:
    """A frame, by the parser of pandas in C."""
    try:
        import pandas as pd
    except ImportError as error:
        raise SkipContenderError("pandas is not installed") from error
    return lambda: sums(pd.read_csv(path).to_numpy())


READERS: dict[str, Callable[[Path], Reader]] = {
    "graphengine": by_graphengine,
    "pyarrow.csv": by_pyarrow,
    "pandas": by_pandas,
}
CONTENDERS = [
    Contender(name, partial(_repeated, make), "ours" if name == "graphengine" else "peer", name == "pyarrow.csv")
    for name, make in READERS.items()
]


def main() -> None:
    """Print by how many bytes the memory of this process rises while one reader reads a file."""
    read = READERS[sys.argv[1]](Path(sys.argv[2]))
    before = peak_memory()
    read()
    print(peak_memory() - before)


if __name__ == "__main__":
    main()
