"""Row-stable predictions beside those of one batch, and scoring of Parquet files beside pyarrow and onnxruntime."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import graphengine as ge
from benchmarks.harness import Contender, Goal, Options, Row, Table, Work, build, compare, seconds, verify

ROWS = 10_000
BATCH = 65_536


class Job(NamedTuple):
    """A model, its file, Parquet files of rows for it, and the columns and the output that count."""

    model: ge.Model
    folder: Path
    columns: Sequence[str]
    output: str


def run(options: Options) -> list[Table]:
    """ms per batch of 10,000 rows; seconds for all files in one process."""
    warnings.simplefilter("ignore", ge.errors.ModelWarning)
    with tempfile.TemporaryDirectory() as folder:
        rows = 100_000 if options.quick else 400_000
        jobs = [digits(Path(folder, "digits"), rows), linear(Path(folder, "linear"), 2 * rows)]
        models = [*(job.model for job in jobs), *map(_iris, ("logistic_iris", "softmax_iris"))]
        tables = [row_stable(model, options) for model in models]
        return [*tables, *map(files, jobs)]


def _iris(name: str) -> ge.Model:
    """A shipped model of one small product."""
    model = ge.load(name)
    model.initialize(model.load_data("train"))
    return model


def row_stable(model: ge.Model, options: Options) -> Table:
    """Predictions of rows in any batch."""
    x = np.random.default_rng(0).integers(0, 17, (ROWS, model.graph.types["x"].shape[1])).astype(float)
    (output,) = model.predict(x=x[:1], row_stable=True)
    contenders = [
        Contender("one batch", partial(_predictions, model, output), "ours", reference=True),
        Contender("row_stable", partial(_predictions, model, output, row_stable=True), "ours"),
    ]
    title = f"{model.graph.name}, {ROWS:,} rows, predict"
    return compare(title, contenders, x, options, per="batch", unit="ms", goals=[Goal("row_stable", 1.5)])


def _predictions(model: ge.Model, output: str, x: Any, *, row_stable: bool = False) -> Work:
    def work(calls: int) -> Any:
        for _ in range(calls):
            found = model.predict(x=x, outputs=[output], row_stable=row_stable)
        return [found[output]]

    return work


def files(job: Job) -> Table:
    """Reading, predicting and writing, in one process."""
    contenders = [
        Contender("graphengine score", score, "ours"),
        Contender("pyarrow and onnxruntime", _onnxruntime, reference=True),
    ]
    goals = [Goal("graphengine score", 1.0)]
    return in_turns(f"{job.model.graph.name}: Parquet to Parquet", contenders, job, goals)


def in_turns(title: str, contenders: Sequence[Contender], job: Job, goals: Sequence[Goal], rounds: int = 4) -> Table:
    """Seconds of each contender, round by round; all write the same numbers."""
    works, skipped = build(contenders, job)
    verify({name: work(1) for name, work in works.items()}, 1e-6)
    rows = [Row(each.name, each.kind, [], each.reference) for each in contenders if each.name in works]
    for _ in range(rounds):
        for row in rows:
            row.values.append(seconds(works[row.name], 1))
    return Table(title, "s", "run", rows, skipped, goals)


# ---------------------------------------------------------------- the contenders


def score(job: Job, workers: int = 0) -> Work:
    """Build `graphengine score` in threads of this process, or by so many workers."""
    from graphengine.scale.score_folders import by_workers, one_by_one

    return score_by(by_workers(workers) if workers else one_by_one, job)


def score_by(engine: Any, job: Job) -> Work:
    """Build `graphengine score` with an engine."""
    from graphengine.scale.score_folders import score_folder
    from graphengine.scale.score_parts import Scoring

    scoring = Scoring(
        str(job.folder / "model.json"), job.model.fingerprint, (job.output,), ("id",), (("x", tuple(job.columns)),)
    )

    def scored(target: Path) -> None:
        score_folder(scoring, str(job.folder / "*.parquet"), target, engine)

    return _written(scored, job)


def _onnxruntime(job: Job) -> Work:
    import onnxruntime
    import pyarrow as pa
    import pyarrow.parquet as pq

    ge.onnx.export(job.model, job.folder / "model.onnx")
    session = onnxruntime.InferenceSession(job.folder / "model.onnx", providers=["CPUExecutionProvider"])
    others = [each.name for each in session.get_inputs() if each.name != "x"]

    def scored(batch: Any) -> Any:
        x = np.stack([batch.column(name).to_numpy() for name in job.columns], axis=1)
        labels = {name: np.zeros(len(x), np.int64) for name in others}  # an export has all inputs
        (found,) = session.run([job.output], {"x": x, **labels})
        columns = found.T if found.ndim > 1 else [found]
        return pa.RecordBatch.from_pydict({"id": batch.column("id"), **{str(n): z for n, z in enumerate(columns)}})

    def score(target: Path) -> None:
        target.mkdir()
        for path in sorted(job.folder.glob("*.parquet")):
            writer = None
            for batch in pq.ParquetFile(path).iter_batches(BATCH, columns=["id", *job.columns]):
                found = scored(batch)
                writer = writer or pq.ParquetWriter(target / path.name, found.schema)
                writer.write_batch(found)
            if writer is not None:
                writer.close()

    return _written(score, job)


def _written(score: Callable[[Path], None], job: Job) -> Work:
    """Write all files again for each run; the sums of their columns count."""
    target = job.folder / "scored"

    def work(runs: int) -> Any:
        import pyarrow.parquet as pq

        for _ in range(runs):
            shutil.rmtree(target, ignore_errors=True)
            score(target)
        table = pq.read_table(target)
        return [[float(np.sum(column.to_numpy())) for column in table.columns]]

    return work


# ---------------------------------------------------------------- the work


def digits(folder: Path, rows: int) -> Job:
    """The shipped classifier of 8 x 8 pixels."""
    model = ge.load("mlp_digits")
    model.initialize(model.load_data("train"))
    pixels = np.random.default_rng(0).integers(0, 17, (rows, 64)).astype(float)
    return _job(model, folder, pixels, "probabilities")


def linear(folder: Path, rows: int) -> Job:
    """A linear model of 20 columns."""
    random, builder = np.random.default_rng(0), ge.Builder("linear")
    w = builder.parameter("w", [20], value=random.standard_normal(20))
    builder.output(prediction=builder.input("x", ["N", 20]) @ w)
    return _job(builder.model(), folder, random.standard_normal((rows, 20)), "prediction")


def _job(model: ge.Model, folder: Path, x: Any, output: str) -> Job:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    model.save(folder / "model.json")
    columns = {f"c{number}": x[:, number] for number in range(x.shape[1])}
    for number, rows in enumerate(np.array_split(np.arange(len(x)), 4)):
        table = pa.table({"id": rows, **{name: column[rows] for name, column in columns.items()}})
        pq.write_table(table, folder / f"{number}.parquet")
    return Job(ge.load(folder / "model.json"), folder, list(columns), output)
