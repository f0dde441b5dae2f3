"""What files of 140 kB cost that are wrong, or large, in each of many ways; how the time grows with the file.

Nothing is compared with another program: the goals are a second, 50 MiB, and an exponent near 1. The exponent is the
slope of the straight line through the logarithms of size and time, over files of 35, 70 and 140 kB. A file that is
refused sooner the larger it is has a small one.
"""

from __future__ import annotations

import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.growth import exponent
from benchmarks.harness import Goal, Options, Row, Table, settled_garbage_collection
from tests.growing import DIMENSIONS, sized

KILOBYTES = (35, 70, 140)
MOST = 1.3
"""The largest exponent that counts as linear: files are short, and what they share is looked up in larger tables."""
LEAST_SECONDS = 0.02
"""Of less time there is no exponent."""
MOST_BYTES = 50 * 2**20
SHOWN = 20
"""So many rows of a table are shown, the worst ones."""


def run(options: Options) -> list[Table]:
    """Return seconds and memory of the largest files, and exponents."""
    rounds = 2 if options.quick else 5
    seconds, memory, growth = list[Row](), list[Row](), list[Row]()
    with settled_garbage_collection(), tempfile.TemporaryDirectory() as folder:
        for name, make in DIMENSIONS.items():
            paths = [Path(folder) / f"{kilobytes}.json" for kilobytes in KILOBYTES]
            for path, kilobytes in zip(paths, KILOBYTES, strict=True):
                path.write_text(sized(make, kilobytes))
            checked(paths[0])
            turns = [[seconds_of(checked, path) for path in paths] for _ in range(rounds)]
            fastest = [min(taken) for taken in zip(*turns, strict=True)]
            seconds.append(Row(name, "ours", [taken[-1] for taken in turns]))
            memory.append(Row(name, "ours", [float(bytes_of(checked, paths[-1]))]))
            if min(fastest) > LEAST_SECONDS:
                growth.append(Row(name, "ours", [exponent(KILOBYTES, fastest)]))
    limit = Row("50 MiB", "limit", [float(MOST_BYTES)])
    note = "tracemalloc counts, which does not see the memory of pydantic; tests/test_growing.py measures all memory"
    return [
        worst("hostile files of 140 kB", "s", seconds, 1.0, "second"),
        worst("memory of hostile files of 140 kB", "MB", memory, 1.0, limit.name, limit, notes=[note]),
        worst("growth with a hostile file", "exponent", growth, MOST, "exponent"),
    ]


def worst(title: str, unit: str, rows: list[Row], most: float, against: str, *others: Row, **keys: Any) -> Table:
    """Return a table of the worst rows with a goal for each."""
    shown = sorted(rows, key=lambda row: row.minimum, reverse=True)[:SHOWN]
    goals = [Goal(row.name, most, against=against) for row in shown]
    return Table(title, unit, "file", [*shown, *others], goals=goals, **keys)


def checked(path: Path) -> Any:
    """Load a file and look at its inline data; what is wrong, if anything."""
    import graphengine as ge

    try:
        model = ge.load(path)
        for name in model.document.data:
            model.check_data(name)
    except ge.errors.GraphEngineError as error:
        return str(error)
    return None


def seconds_of(work: Callable[[Path], Any], path: Path) -> float:
    """The time of one call."""
    start = time.perf_counter()
    work(path)
    return time.perf_counter() - start


def bytes_of(work: Callable[[Path], Any], path: Path) -> int:
    """The most memory of Python's that one call takes at a time."""
    tracemalloc.start()
    try:
        work(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
