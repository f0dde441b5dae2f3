"""Scores all parts of the files that a pattern names, by whatever does the tasks, and sums up what was done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from graphengine.errors import UsageError
from graphengine.format.files import leftovers, writing
from graphengine.format.locks import Lock
from graphengine.scale.batch_scoring import FIRST_ROWS
from graphengine.scale.processes import in_processes
from graphengine.scale.score_parts import ScorePart, Scoring, done, planned, score_part
from graphengine.wording import counted, enumerated

LOCK = ".graphengine-score.lock"


class PartWork(Protocol):
    """Computes a part, as `score_part` does."""

    def __call__(self, scoring: Scoring, part: ScorePart, /, *, threads: bool = False) -> dict[str, Any]:
        """Return what is known of the part's rows."""


Engine: TypeAlias = Callable[
    [PartWork, Scoring, Sequence[ScorePart], Callable[[], None]], Iterator[tuple[ScorePart, dict[str, Any]]]
]
"""Does the work for each part, in any order; calls its last argument when nobody works and somebody has died."""


@dataclass
class Summary:
    """What was scored: rows, those refused by reason, with the first places, and how many parts were there before."""

    files: int = 0
    parts: int = 0
    kept: int = 0
    rows: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    first: dict[str, list[tuple[str, int]]] = field(default_factory=dict)

    @property
    def refused(self) -> int:
        """The number of rows without outputs."""
        return sum(self.reasons.values())

    def add(self, part: ScorePart, result: dict[str, Any]) -> None:
        """Count the rows of a part."""
        self.parts += 1
        self.rows += result["rows"]
        for reason, count in result["refused"].items():
            self.reasons[reason] = self.reasons.get(reason, 0) + count
            places = [(part.source, row) for row in result["first"][reason]]
            self.first[reason] = sorted([*self.first.get(reason, []), *places])[:FIRST_ROWS]

    def as_dict(self) -> dict[str, Any]:
        """Return it as a JSON object, the most frequent reasons first."""
        reasons = sorted(self.reasons.items(), key=lambda pair: (-pair[1], pair[0]))
        listed = [
            {
                "reason": reason,
                "count": count,
                "first": [{"file": file, "row": row} for file, row in self.first[reason]],
            }
            for reason, count in reasons
        ]
        refused = {"count": self.refused, "reasons": listed}
        return {"files": self.files, "parts": self.parts, "kept": self.kept, "rows": self.rows, "refused": refused}


def score_folder(
    scoring: Scoring,
    pattern: str,
    folder: Path,
    engine: Engine,
    seen: Callable[[Summary, int], None] = lambda summary, rows: None,
) -> Summary:
    """Score the files that a pattern names into a folder; `seen` gets the summary so far and the number of all rows.

    Raises
    ------
    DataError
        GE501 if there are no such files; as `score_part`.
    GraphEngineError
        GE101 if the folder cannot be written, or another process scores into it; what the engine raises.
    UsageError
        GE801 if the folder has other Parquet files.
    """
    parts = planned(pattern, folder)
    lock = _locked(folder)
    try:
        _require_own(folder, parts)
        _clean(parts)
        rows = sum(part.rows for part in parts)
        summary = Summary(files=len({part.source for part in parts}))
        rest = _add_done(summary, scoring, parts)
        summary.kept = summary.parts
        seen(summary, rows)
        for part, result in engine(score_part, scoring, rest, lambda: _clean(rest)):
            summary.add(part, result)
            seen(summary, rows)
        _clean(rest)  # a cluster does not report that a worker died
        return summary
    finally:
        lock.release()


def _locked(folder: Path) -> Lock:
    """Make a folder, unless it is there, and keep other processes from scoring into it; raises as `score_folder`."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", hint="name a folder, which need not exist, with -o")
    with writing(folder / LOCK):
        folder.mkdir(parents=True, exist_ok=True)
        lock = Lock(folder / LOCK)
        if not lock.acquire():
            raise UsageError(f"another process scores into {folder}", hint="wait for it, or name another folder")
    return lock


def _add_done(summary: Summary, scoring: Scoring, parts: Iterable[ScorePart]) -> list[ScorePart]:
    """Count the parts that are done already; gives the others."""
    rest = []
    for part in parts:
        if (result := done(scoring, part)) is None:
            rest.append(part)
        else:
            summary.add(part, result)
    return rest


def one_by_one(
    work: PartWork, scoring: Scoring, parts: Sequence[ScorePart], _died: Callable[[], None]
) -> Iterator[tuple[ScorePart, dict[str, Any]]]:
    """Do the work in this process, which reads, computes and writes side by side."""
    for part in parts:
        yield part, work(scoring, part, threads=True)


def by_workers(workers: int) -> Engine:
    """Return what does the work in processes of this machine, each of one thread."""
    return lambda work, scoring, parts, died: in_processes(work, scoring, parts, workers, died=died)


def _require_own(folder: Path, parts: Iterable[ScorePart]) -> None:
    targets = {part.target for part in parts}
    others = [str(path) for path in sorted(folder.absolute().rglob("*.parquet")) if str(path) not in targets]
    if others:
        message = (
            f"{folder} has {counted(len(others), 'file')} that this scoring does not write: {enumerated(others, 3)}"
        )
        raise UsageError(message, hint="name another folder, or remove the files")


def _clean(parts: Iterable[ScorePart]) -> None:
    """Remove the temporary files that processes left that were killed."""
    for path in leftovers(part.target for part in parts):
        path.unlink(missing_ok=True)
