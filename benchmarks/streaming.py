"""An epoch of shuffled batches from an .npy file: held in memory, and left on disk as if memory were short.

The last rows read the next segment of the file in a second thread while one is trained on: what a prefetch would gain.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.graphs import perceptron
from benchmarks.harness import Contender, Options, SkipContenderError, Table, Work, compare

WIDTH, HIDDEN, CLASSES, BATCH = 128, 64, 10, 64


@dataclass(frozen=True)
class Problem:
    """A model file, the arrays beside it, and the weights to start from; `allowed` bytes are a fifth of the arrays."""

    path: Path
    arrays: tuple[Path, ...]
    weights: dict[str, np.ndarray[Any, Any]]
    allowed: int


def run(options: Options) -> list[Table]:
    """ms per epoch, with a step that takes about as long as reading its batch."""
    rows = 20_000 if options.quick else 100_000
    with tempfile.TemporaryDirectory() as folder:
        table = compare(
            f"an epoch of {rows:,} x {WIDTH} float32 on disk, hidden layer of {HIDDEN}",
            CONTENDERS,
            make_problem(Path(folder), rows),
            options,
            per="epoch",
            unit="ms",
        )
    return [table]


def make_problem(folder: Path, rows: int) -> Problem:
    """A classifier and random samples."""
    generator = np.random.default_rng(0)
    arrays = {
        "x": generator.normal(size=(rows, WIDTH)).astype(np.float32),
        "labels": generator.integers(0, CLASSES, rows),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    content = {
        **perceptron((WIDTH, HIDDEN, CLASSES)),
        "data": {"train": {"type": "npy", "paths": {name: f"{name}.npy" for name in arrays}}},
        "training": {
            "loss": "loss",
            "optimizer": {"type": "sgd", "learning_rate": 1e-3},
            "batch_size": BATCH,
            "shuffle": True,
            "epochs": 1,
        },
    }
    path = folder / "model.json"
    path.write_text(json.dumps(content))
    weights = {
        name: (generator.normal(size=declared["shape"]) / 10).astype(np.float32)
        for name, declared in content["parameters"].items()
    }
    size = sum(array.nbytes for array in arrays.values())
    return Problem(path, tuple(folder / f"{name}.npy" for name in arrays), weights, size // 5)


def epochs(*, stored: bool, cold: bool = False, ahead: bool = False) -> Callable[[Problem], Work]:
    """A contender that trains one epoch after the other; a cold one has nothing of the files in the system's cache."""

    def build(problem: Problem) -> Work:
        import graphengine as ge
        from graphengine.limits import Limits

        if cold and not hasattr(os, "posix_fadvise"):
            raise SkipContenderError("this system does not let go of a cached file")
        model = ge.load(problem.path, limits=Limits(data_bytes=problem.allowed if stored else 2**40))

        def work(count: int) -> Any:
            for name, value in problem.weights.items():
                model.parameters[name] = value
            for _ in range(count):
                if cold:
                    forget(problem.arrays)
                trainer = model.trainer()
                if ahead:
                    plain = trainer.batches.epoch
                    trainer.batches.epoch = lambda *place: read_ahead(plain(*place))  # noqa: B023 - called at once
                for _ in trainer.chunks():
                    pass
            return tuple(model.parameters.values())

        return work

    return build


def forget(paths: Iterable[Path]) -> None:
    """Let the system forget what it has cached of files."""
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_ahead(segments: Iterable[Any]) -> Iterator[Any]:
    """The same segments, each read by another thread while the one before it is in use."""
    source = iter(segments)
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, source, None)
        while segment := coming.result():
            coming = pool.submit(next, source, None)
            yield segment


CONTENDERS = [
    Contender("in memory", epochs(stored=False), "limit"),
    Contender("on disk", epochs(stored=True), "ours", reference=True),
    Contender("on disk, read ahead", epochs(stored=True, ahead=True), "hand"),
    Contender("on disk, cold", epochs(stored=True, cold=True), "ours"),
    Contender("on disk, cold, read ahead", epochs(stored=True, cold=True, ahead=True), "hand"),
]
