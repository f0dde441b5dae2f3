"""The one way everything here is measured.

A contender builds a `Work`: a function that does n repetitions of the work from the same start and returns what it
computed. The results of all contenders must agree, else nothing is timed. Then short rounds of all contenders take
turns, so that a noisy moment of the machine meets everyone; minimum and median are printed, ratios are of minima.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

Work: TypeAlias = Callable[[int], Any]

PAUSE = 0.1
"""Seconds of rest before a round: idle threads of the contender before spin on, OpenBLAS's for 30 ms."""

UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9, "MB": 1e-6, "exponent": 1.0, "draws": 1.0}


class SkipContenderError(Exception):
    """A contender cannot take part; the message says why."""


class DisagreementError(Exception):
    """Contenders computed different things, so their times mean nothing."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the work. `kind`: "hand", "ours", "peer" or "limit"; ratios are to the fastest `reference`."""

    name: str
    build: Callable[[Any], Work]
    kind: str = "peer"
    reference: bool = False


@dataclass(frozen=True, slots=True)
class Goal:
    """`contender` must take at most `at_most` times as long as the fastest of `against`: a name, a kind, or "second".

    "second" and "exponent" compare with 1 in the unit of the table.
    """

    contender: str
    at_most: float
    against: str = "reference"

    def __str__(self) -> str:
        if self.against == "exponent":
            return f"{self.contender}: exponent at most {self.at_most:g}"
        return f"{self.contender} at most {self.at_most:g} x {self.against}"


@dataclass(frozen=True, slots=True)
class Options:
    """How long a run may take: `quick` for a look, `full` for the sizes that take minutes."""

    quick: bool = False
    full: bool = False

    @property
    def rounds(self) -> int:
        """How many rounds at most."""
        return 5 if self.quick else 15

    @property
    def budget(self) -> float:
        """Seconds after which no further round begins; three are always run."""
        return 4.0 if self.quick else 20.0


@dataclass(slots=True)
class Row:
    """What one contender took: a value for each round, in seconds (or bytes) per unit of work."""

    name: str
    kind: str
    values: list[float] = field(default_factory=list)
    reference: bool = False

    @property
    def minimum(self) -> float:
        """The best round: what the code takes when nothing disturbs it."""
        return min(self.values)

    @property
    def median(self) -> float:
        """The middle round."""
        return statistics.median(self.values)


@dataclass(slots=True)
class Table:
    """One comparison: rows, what was left out and why, and the goals it serves."""

    title: str
    unit: str
    per: str
    rows: list[Row]
    skipped: dict[str, str] = field(default_factory=dict)
    goals: Sequence[Goal] = ()
    notes: list[str] = field(default_factory=list)

    @property
    def base(self) -> float | None:
        """The minimum that ratios are taken to."""
        return min((row.minimum for row in self.rows if row.reference), default=None)

    def results(self) -> list[tuple[Goal, float]]:
        """Each goal whose contenders all took part, and the ratio reached."""
        found = []
        for goal in self.goals:
            ours = [row.minimum for row in self.rows if row.name == goal.contender]
            others = [row.minimum for row in self.rows if goal.against in _names(row)]
            others += [1.0] * (goal.against in ("second", "exponent"))
            if ours and others:
                found.append((goal, ours[0] / min(others)))
        return found


def _names(row: Row) -> tuple[str, ...]:
    return (row.name, row.kind, *["reference"] * row.reference)


def compare(
    title: str,
    contenders: Sequence[Contender],
    problem: Any,
    options: Options,
    *,
    per: str,
    unit: str,
    units: int = 1,
    check: int = 1,
    tolerance: float = 1e-6,
    round_seconds: float = 0.02,
    goals: Sequence[Goal] = (),
) -> Table:
    """Build, verify with `check` repetitions and time; one repetition is `units` units of work.

    Raises
    ------
    DisagreementError
        If a contender computes something else than the first one.
    """
    works, skipped = build(contenders, problem)
    verify({name: work(check) for name, work in works.items()}, tolerance)
    rows = [Row(c.name, c.kind, [], c.reference) for c in contenders if c.name in works]
    before = processor_time()
    with settled_garbage_collection():
        race(rows, works, options, units, round_seconds)
    return Table(title, unit, per, rows, skipped, goals, stolen(before, processor_time()))


def build(contenders: Sequence[Contender], problem: Any) -> tuple[dict[str, Work], dict[str, str]]:
    """The works of the contenders that can take part, and why the others cannot."""
    works: dict[str, Work] = {}
    skipped: dict[str, str] = {}
    for contender in contenders:
        try:
            works[contender.name] = contender.build(problem)
        except ImportError as error:
            skipped[contender.name] = f"not installed ({error.name or error})"
        except SkipContenderError as error:
            skipped[contender.name] = str(error)
    return works, skipped


def verify(results: Mapping[str, Any], tolerance: float) -> None:
    """Raise unless all results are the first one, within `tolerance` of its norm, part by part.

    Raises
    ------
    DisagreementError
        Naming the contender, the part and how far it is off.
    """
    first, *_ = results
    expected = [np.asarray(part, dtype=float) for part in results[first]]
    for name, parts in results.items():
        for index, (got, due) in enumerate(zip(parts, expected, strict=True)):
            off = np.linalg.norm(np.asarray(got, dtype=float) - due) / max(float(np.linalg.norm(due)), 1e-300)
            if not off <= tolerance:
                message = f"'{name}' computes something else than '{first}': result {index} is off by {off:.1e}"
                raise DisagreementError(message)


def race(rows: Sequence[Row], works: Mapping[str, Work], options: Options, units: int, round_seconds: float) -> None:
    """Fill the rows with the seconds per unit of each round; the order of the contenders turns from round to round."""
    counts = {row.name: repetitions(works[row.name], round_seconds) for row in rows}
    start = time.perf_counter()
    for number in range(options.rounds):
        if number >= 3 and time.perf_counter() - start > options.budget:
            break
        turn = number % len(rows)
        for row in [*rows[turn:], *rows[:turn]]:
            time.sleep(PAUSE)
            count = counts[row.name]
            works[row.name](-(-count // 4))  # untimed: its threads and caches wake up
            row.values.append(seconds(works[row.name], count) / (count * units))


def repetitions(work: Work, round_seconds: float) -> int:
    """How many repetitions fill a round and make what a call does only once (binding data) 5% of it at most.

    The trials are the warm-up.
    """
    once = min(seconds(work, 1), seconds(work, 1))
    count, taken = 4, seconds(work, 4)
    while taken - once < max(round_seconds / 2, once):
        count *= 4
        taken = seconds(work, count)
    each = (taken - once) / (count - 1)
    setup = once - each
    length = max(round_seconds, 20 * setup) if setup > 0.2 * each else round_seconds
    return math.ceil(min(length, 1.0) / each)


def seconds(work: Work, count: int) -> float:
    """The time of one call of a work."""
    start = time.perf_counter()
    work(count)
    return time.perf_counter() - start


def processor_time() -> tuple[int, int] | None:
    """Ticks that all processors of this machine have spent, and those its host took from it; None if unknown."""
    source = Path("/proc/stat")
    if not source.exists():
        return None
    ticks = [int(number) for number in source.read_text().split("\n", 1)[0].split()[1:9]]
    return sum(ticks), ticks[7]


def stolen(before: tuple[int, int] | None, after: tuple[int, int] | None) -> list[str]:
    """A warning if the host of a virtual machine took more than 2% of its processors away."""
    if before is None or after is None or after[0] == before[0]:
        return []
    share = (after[1] - before[1]) / (after[0] - before[0])
    return [f"noisy: the host took {share:.0%} of the processors' time"] if share > 0.02 else []


@contextmanager
def settled_garbage_collection() -> Iterator[None]:
    """Collection stays on, as in real use, but skips the millions of objects that the peers' modules consist of."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def one_blas_thread() -> Callable[[], AbstractContextManager[Any]]:
    """A context that keeps NumPy's matrix library to one thread: np.dot uses several from 10,000 elements on.

    Raises
    ------
    ImportError
        If threadpoolctl is not installed.
    """
    from threadpoolctl import ThreadpoolController

    controller = ThreadpoolController()
    return lambda: controller.limit(limits=1, user_api="blas")


def on_one_blas_thread(build: Callable[[Any], Work]) -> Callable[[Any], Work]:
    """The same contender with NumPy's matrix library kept to one thread."""

    def built(problem: Any) -> Work:
        work, limited = build(problem), one_blas_thread()

        def limited_work(count: int) -> Any:
            with limited():
                return work(count)

        return limited_work

    return built


def require_ops(*names: str) -> None:
    """Skip the contender unless graphengine has these ops.

    Raises
    ------
    SkipContenderError
        Naming the missing ones.
    """
    import graphengine.ops.families  # noqa: F401 - registers the ops
    from graphengine.ops.registry import OPS

    missing = [name for name in names if name not in OPS]
    if missing:
        raise SkipContenderError(f"graphengine has no op {', '.join(missing)}")
