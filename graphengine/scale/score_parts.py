"""Scoring folders of Parquet files part by part: a part is some groups of rows of one file, and becomes one file.

A task carries paths, numbers and a fingerprint, never an array or a model. Which rows are a part depends on the data
alone, so whoever does the work writes the same files. A part's file appears whole, and says what it was made of: a part
that is there is not computed again.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from graphengine.backends.one_thread import one_blas_thread
from graphengine.data.columnar import READ_BYTES
from graphengine.data.sources import faults_in
from graphengine.data.table_files import batch_parts
from graphengine.errors import DataError, UsageError
from graphengine.extras import optional
from graphengine.format.files import write_parts
from graphengine.limits import DEFAULT, Limits
from graphengine.mappings import without
from graphengine.model.model import Model, load
from graphengine.plugins import load_plugins
from graphengine.scale.ahead import ahead
from graphengine.scale.batch_scoring import BatchScorer, Refusals

PART_ROWS = 2**17
"""Rows from which a group of rows is its own part; smaller ones are put together."""
BATCH_ROWS = 2**16
"""Rows that are computed at once, if they are not too wide."""
BATCH_BYTES = 2**23
"""Bytes that their inputs may take; with threads three such batches are read, computed and written at once."""
Beside: TypeAlias = Callable[[Iterator[Any]], Iterator[Any]]
"""What gives the batches of an iterator, as `ahead` and `iter` do."""
RECORD = "graphengine.score"
"""The key of a part's metadata under which it says what it was made of."""


@dataclass(frozen=True)
class Scoring:
    """What is done with each part."""

    model: str
    """The path of the model file, and the fingerprint that it must have."""
    fingerprint: str
    outputs: tuple[str, ...] | None = None
    keep: tuple[str, ...] = ()
    columns: tuple[tuple[str, str | tuple[str, ...]], ...] = ()
    row_stable: bool = True
    plugins: tuple[str, ...] = ()
    limits: Limits = DEFAULT

    @property
    def named_columns(self) -> dict[str, str | list[str]]:
        """What each input takes: a column, or several side by side."""
        return {name: what if isinstance(what, str) else list(what) for name, what in self.columns}


@dataclass(frozen=True)
class ScorePart:
    """Groups of rows of a file, as it was when the work was planned, and the file that they become."""

    source: str
    size: int
    modified: int
    first: int
    stop: int
    row: int
    """The number of its first row in the file."""
    rows: int
    target: str


def planned(pattern: str, folder: Path) -> list[ScorePart]:
    """Return the parts of all files that a pattern such as `data/*.parquet` names, in the order of their names.

    Raises
    ------
    DataError
        GE501 if there is no such file, or one is not a Parquet file.
    """
    paths = _files(pattern)
    root = Path(os.path.commonpath([path.parent for path in paths]))
    return [part for path in paths for part in _parts_of(path, root, folder)]


def _files(pattern: str) -> list[Path]:
    """The files that a pattern names, in the order of their names; raises as `planned`."""
    named = map(Path, glob.glob(pattern, recursive=True))  # noqa: PTH207 - it may be absolute
    paths = sorted(path for path in named if path.is_file())
    if not paths:
        raise DataError(f"no file matches {pattern}", code="GE501", hint="quote a pattern: 'data/*.parquet'")
    return list(map(Path.absolute, paths))


def _parts_of(path: Path, root: Path, folder: Path) -> Iterator[ScorePart]:
    parquet = optional("pyarrow.parquet", "data")
    seen = path.stat()
    with faults_in(path, "parquet"):
        metadata = parquet.read_metadata(path)
    counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    first = row = rows = 0
    for group, count in enumerate(counts):
        rows += count
        if rows >= PART_ROWS or group == len(counts) - 1:
            name = path.relative_to(root).with_suffix("")
            target = folder / name.with_name(f"{name.name}-{first:05d}.parquet")
            yield ScorePart(
                str(path), seen.st_size, seen.st_mtime_ns, first, group + 1, row, rows, str(target.absolute())
            )
            first, row, rows = group + 1, row + rows, 0


def done(scoring: Scoring, part: ScorePart) -> dict[str, Any] | None:
    """Return what the file of a part says of its rows; None if it is not there, or was made of something else."""
    parquet = optional("pyarrow.parquet", "data")
    if not Path(part.target).is_file():
        return None
    try:
        said = orjson.loads(parquet.read_metadata(part.target).metadata[RECORD.encode()])
    except Exception as error:
        message = "a file of another kind has the name of a part"
        raise UsageError(message, hint="name an empty folder with -o", file=part.target) from error
    return said["result"] if said["made_of"] == _made_of(scoring, part) else None


def score_part(scoring: Scoring, part: ScorePart, *, threads: bool = False) -> dict[str, Any]:
    """Compute a part and write its file, unless it is there; return its rows and the refused ones by reason.

    With `threads` the next batch is read and the last one written in their own threads; otherwise this thread does
    all, one after the other, and so do libraries of linear algebra.

    Raises
    ------
    DataError
        GE501 if the data or the model is not what it was when the work was planned; as `score_batches`.
    GraphEngineError
        GE101 if the file cannot be written.
    """
    if (found := done(scoring, part)) is not None:
        return found
    refusals = Refusals()
    result: dict[str, Any] = {}

    def record() -> Mapping[str, str]:
        rows = {reason: [part.row + each + 1 for each in rows] for reason, rows in refusals.first.items()}
        result.update(rows=part.rows, refused=refusals.reasons, first=rows)
        return {RECORD: orjson.dumps({"made_of": _made_of(scoring, part), "result": result}).decode()}

    Path(part.target).parent.mkdir(parents=True, exist_ok=True)
    beside: Beside = ahead if threads else iter
    with nullcontext() if threads else one_blas_thread():
        write_parts(part.target, batch_parts(beside(_scored(scoring, part, refusals, beside)), record))
    return result


def _made_of(scoring: Scoring, part: ScorePart) -> Any:
    """What decides the content of a part's file, except for where things are."""
    content = {**asdict(scoring), **asdict(part), "source": Path(part.source).name}
    return orjson.loads(orjson.dumps(without(content, ("model", "plugins", "limits", "target"))))


def _scored(scoring: Scoring, part: ScorePart, refusals: Refusals, beside: Beside) -> Iterator[Any]:
    """The scored batches of a part, in the order of its rows; of the file only the columns that are needed are read."""
    pa, parquet = optional("pyarrow", "data"), optional("pyarrow.parquet", "data")
    model = _model_of(scoring.model, scoring.fingerprint, scoring.plugins, scoring.limits)
    with faults_in(Path(part.source), "parquet"), Path(part.source).open("rb") as file:
        seen = os.fstat(file.fileno())
        if (seen.st_size, seen.st_mtime_ns) != (part.size, part.modified):
            raise DataError(f"{part.source} has changed since the work was planned", hint="score it again")
        source = parquet.ParquetFile(file, pre_buffer=False, buffer_size=READ_BYTES)
        schema = source.schema_arrow
        empty = pa.RecordBatch.from_arrays([pa.nulls(0, kind) for kind in schema.types], schema=schema)
        scorer = BatchScorer(
            model,
            empty,
            columns=scoring.named_columns,
            outputs=scoring.outputs,
            keep=scoring.keep,
            row_stable=scoring.row_stable,
        )
        groups, row = range(part.first, part.stop), 0
        rows = max(1, min(BATCH_ROWS, BATCH_BYTES // scorer.row_bytes))
        batches = source.iter_batches(rows, row_groups=groups, columns=scorer.read, use_threads=False)
        for batch in beside(batches):
            yield scorer.score(batch, refusals, row)
            row += batch.num_rows
        if not row:  # a file without rows becomes one with the columns of the others
            yield scorer.score(empty.select(scorer.read), refusals, 0)


@lru_cache(1)
def _model_of(path: str, fingerprint: str, plugins: tuple[str, ...], limits: Limits) -> Model:
    load_plugins(plugins)
    model = load(path, limits=limits)
    if model.fingerprint != fingerprint:
        raise DataError(f"{path} has changed since the work was planned", hint="score it again")
    return model
