"""A folder of Parquet files that one process of several threads scores, one worker, and two: time, processors, memory.

`--full` writes 4.8 GB of files, which 10 GB of free space and two minutes are enough for; otherwise it is 0.6 GB.
"""

from __future__ import annotations

import resource
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import graphengine as ge
from benchmarks.harness import Goal, Options, Row, Table, verify
from benchmarks.load_once import peak_memory
from benchmarks.score import Job, linear, score, score_by

ROWS = 800_000
"""Rows of a file of 20 columns: 0.15 GB."""
REFERENCE = "1 worker"
WAYS = {"one process of several threads": 0, REFERENCE: 1, "2 workers": 2}
"""The number of workers of each way; 0 is the default of the command."""


def run(options: Options) -> list[Table]:
    """Seconds for all files, and seconds of processors; what is started for the work is part of it. MB of a worker."""
    warnings.simplefilter("ignore", ge.errors.ModelWarning)
    with tempfile.TemporaryDirectory() as folder:
        job = _files(Path(folder, "linear"), 31 if options.full else 4)
        return [*workers(job, rounds=2 if options.full else 4), memory(job)]


def _files(folder: Path, count: int) -> Job:
    """A linear model of 20 columns, and so many files, each with numbers of its own."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    job = linear(folder, 0)
    for path in folder.glob("*.parquet"):
        path.unlink()
    for number in range(count):
        random, ids = np.random.default_rng(number), np.arange(number * ROWS, (number + 1) * ROWS)
        columns = {name: random.standard_normal(ROWS) for name in job.columns}
        pq.write_table(pa.table({"id": ids, **columns}), folder / f"{number}.parquet", row_group_size=ROWS // 4)
    return job


def workers(job: Job, rounds: int) -> list[Table]:
    """Each way in turn, by the clock and by processor time of all processes."""
    works = {name: score(job, count) for name, count in WAYS.items()}
    verify({name: work(1) for name, work in works.items()}, 1e-6)
    clock, processors = ([Row(name, "ours", [], name == REFERENCE) for name in works] for _ in range(2))
    for _ in range(rounds):
        for by_clock, by_processors in zip(clock, processors, strict=True):
            before, start = _processor_time(), time.perf_counter()
            works[by_clock.name](1)
            by_clock.values.append(time.perf_counter() - start)
            by_processors.values.append(_processor_time() - before)
    size = sum(path.stat().st_size for path in job.folder.glob("*.parquet"))
    title = f"{job.model.graph.name}: {size / 1e9:.1f} GB of Parquet"
    goals = [Goal("2 workers", 1 / 1.7, REFERENCE)]
    taken = Table(f"{title}, by the clock", "s", "run", clock, {}, goals)
    return [taken, Table(f"{title}, seconds of processors", "s", "run", processors)]


def _processor_time() -> float:
    """Seconds of this process and of those that it has started and that have ended."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def memory(job: Job) -> Table:
    """The largest of two workers that score all files."""
    from graphengine.scale.processes import in_processes

    peaks: list[float] = []

    def engine(_work: Any, scoring: Any, parts: Any, died: Any) -> Iterator[Any]:
        for part, result in in_processes(_measured, scoring, parts, 2, died=died):
            peaks.append(result.pop("peak"))
            yield part, result

    score_by(engine, job)(1)
    return Table("The memory of a worker", "MB", "worker", [Row("a worker", "ours", [max(peaks)])])


def _measured(scoring: Any, part: Any) -> dict[str, Any]:
    """Score a part; the result has the highest memory of this process so far, too."""
    from graphengine.scale.score_parts import score_part

    return {**score_part(scoring, part), "peak": float(peak_memory())}
