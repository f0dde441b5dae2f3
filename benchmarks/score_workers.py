"""A folder of Parquet files that one process scores, and two, with the memory that a worker takes at most.

`--full` writes 4 GB of files, which 10 GB of free space and two minutes are enough for; otherwise it is 0.5 GB.
"""

from __future__ import annotations

import resource
import tempfile
import warnings
from functools import partial
from pathlib import Path

import numpy as np

import graphengine as ge
from benchmarks.harness import Contender, Goal, Options, Row, Table
from benchmarks.score import Job, in_turns, linear, score

ROWS = 800_000
"""Rows of a file of 20 columns: 0.13 GB."""


def run(options: Options) -> list[Table]:
    """Seconds for all files in one worker and in two, both started for the work; MB of a worker."""
    warnings.simplefilter("ignore", ge.errors.ModelWarning)
    with tempfile.TemporaryDirectory() as folder:
        job = _files(Path(folder, "linear"), 31 if options.full else 4)
        return [workers(job, rounds=2 if options.full else 4), _memory()]


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


def workers(job: Job, rounds: int) -> Table:
    """One process and two."""
    contenders = [
        Contender("1 worker", partial(score, workers=1), "ours", reference=True),
        Contender("2 workers", partial(score, workers=2), "ours"),
    ]
    size = sum(path.stat().st_size for path in job.folder.glob("*.parquet"))
    title = f"{job.model.graph.name}: {size / 1e9:.1f} GB of Parquet, by workers"
    return in_turns(title, contenders, job, [Goal("2 workers", 1 / 1.7, "1 worker")], rounds)


def _memory() -> Table:
    """The largest process that this one has started."""
    peak = 1024.0 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return Table("The memory of a worker", "MB", "worker", [Row("a worker", "ours", [peak])])
