"""Two workers beside one: training, searching, fits from many starts; and what two processes gain at most here."""

from __future__ import annotations

import itertools
import multiprocessing
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import graphengine as ge
from benchmarks.harness import Goal, Options, Row, Table, settled_garbage_collection

ROWS, COLUMNS, WIDTH, SHARD = 4096, 256, 176, 512
"""An iteration on them takes about 20 ms in one thread."""
Over = Callable[[Any, ge.Model], AbstractContextManager[Any]]


def run(options: Options) -> list[Table]:
    """ms per iteration, and seconds per search and fit, of one worker and of two."""
    warnings.simplefilter("ignore", ge.errors.ModelWarning)
    rounds = 3 if options.quick else 5
    with tempfile.TemporaryDirectory() as folder, settled_garbage_collection():
        path = network(Path(folder))
        return [ceiling(rounds), training(path, rounds), overhead(rounds), search(rounds), starts(rounds)]


def _in_turns(
    title: str, works: dict[str, Callable[[], float]], rounds: int, unit: str, per: str, **goal: Any
) -> Table:
    """The seconds that each work gives, round by round; the first work is what the others are compared with."""
    first, *_ = works
    rows = [Row(name, "ours", [], name == first) for name in works]
    for _ in range(rounds):
        for row in rows:
            row.values.append(works[row.name]())
    return Table(title, unit, per, rows, {}, **goal)


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


# ---------------------------------------------------------------- the ceiling


def _products(times: int) -> None:
    random = np.random.default_rng(0)
    x, w = random.normal(size=(SHARD, COLUMNS)), random.normal(size=(COLUMNS, WIDTH))
    with threadpool_limits(1):
        for _ in range(times):
            x.T @ np.tanh(x @ w)


def ceiling(rounds: int) -> Table:
    """The same work of NumPy in one process, and half of it in each of two."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_products, [1, 1]))

        def work(processes: int) -> float:
            return _seconds(lambda: list(pool.map(_products, [400 // processes] * processes)))

        works = {"1 process": partial(work, 1), "2 processes": partial(work, 2)}
        return _in_turns("The ceiling: products and tanh of NumPy alone", works, rounds, "s", "run")


# ---------------------------------------------------------------- training


def network(folder: Path) -> Path:
    """A network of one hidden layer, and its data."""
    random, builder = np.random.default_rng(0), ge.Builder("network")
    np.savez(folder / "rows.npz", x=random.normal(size=(ROWS, COLUMNS)), y=random.normal(size=ROWS))
    x, y = builder.input("x", ["N", COLUMNS]), builder.input("y", ["N"])
    w = builder.parameter("w", [COLUMNS, WIDTH], value=0.05 * random.normal(size=(COLUMNS, WIDTH)))
    v = builder.parameter("v", [WIDTH], value=0.05 * random.normal(size=WIDTH))
    loss = builder.name("loss", np.mean(np.square(y - np.tanh(x @ w) @ v)))
    builder.output(loss=loss)
    builder.data("rows", {"type": "npz", "path": "rows.npz"})
    builder.training(loss=loss, data="rows", optimizer={"type": "sgd", "learning_rate": 0.01}, epochs=40)
    builder.save(folder / "network.json")
    return folder / "network.json"


def _iteration(path: Path | str, over: Over, **keys: Any) -> float:
    """The median seconds of an iteration, without the first ones, which compile and start."""
    model = ge.load(path)
    trainer = model.trainer(**keys)
    with over(trainer, model):
        taken = [time.perf_counter() for _ in trainer.chunks()]
    return float(np.median(np.diff(taken)[2:]))


def _here(kind: Any, count: int) -> Over:
    from graphengine.scale.local_training import working

    return lambda trainer, model: working(trainer, model, None, count, kind)


@contextmanager
def _cluster() -> Iterator[Over]:
    from graphengine import dask

    with dask.connected(2) as client:

        def over(trainer: Any, model: ge.Model) -> AbstractContextManager[Any]:
            dask.with_workers(trainer, model, client)
            return nullcontext()

        yield over


def _training(title: str, path: Path | str, rounds: int, goals: list[Goal], **keys: Any) -> Table:
    with _cluster() as over:
        everyone = {"1 worker": _here(None, 1), "2 threads": _here("threads", 2), "2 processes": _here("processes", 2)}
        works = {
            name: partial(_iteration, path, each, **keys) for name, each in {**everyone, "2 of Dask": over}.items()
        }
        return _in_turns(title, works, rounds, "ms", "iteration", goals=goals)


def training(path: Path, rounds: int) -> Table:
    """Iterations of about 20 ms."""
    goals = [Goal(name, 1 / 1.5, "1 worker") for name in ("2 threads", "2 processes", "2 of Dask")]
    return _training("Training a network, 8 shards", path, rounds, goals, shard_rows=SHARD)


def overhead(rounds: int) -> Table:
    """Iterations with next to no work: what takes longer is what workers cost."""
    title = "An iteration of next to no work (goal: 5 ms more than one worker)"
    return _training(title, "linreg", rounds, [], shard_rows=6, epochs=60, learning_rate=0.01)


# ---------------------------------------------------------------- searching and starting


GRID = {"training.optimizer.learning_rate": [0.1, 0.05, 0.02, 0.01], "training.epochs": [4, 5]}


def search(rounds: int) -> Table:
    """A grid of eight settings in five folds; threads, which are not offered, show why processes are."""
    works = {
        "1 worker": lambda: ge.search(ge.load("mlp_digits"), GRID, workers=1),
        "2 workers": lambda: ge.search(ge.load("mlp_digits"), GRID, workers=2),
        "2 threads": _searched_by_threads,
    }
    return _raced(works, "A search of 8 settings, 5 folds", rounds)


def _searched_by_threads() -> None:
    """The trials of the grid alone, half of them in each of two threads."""
    from graphengine.model.search import Dealing, Experiment
    from graphengine.training.sharding import one_thread

    settings = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]

    def run(mine: list[dict[str, Any]]) -> None:
        experiment = Experiment(ge.load("mlp_digits"), None, Dealing(5, 0, None, None, None), "loss")
        for each in mine:
            experiment.run(each)

    with one_thread(), ThreadPoolExecutor(2) as pool:
        list(pool.map(run, (settings[::2], settings[1::2])))


def starts(rounds: int) -> Table:
    """A fit from many starts."""

    def work(workers: int) -> Any:
        return ge.load("two_decays").fit(starts=400, workers=workers)

    return _raced({"1 worker": partial(work, 1), "2 workers": partial(work, 2)}, "A fit from 400 starts", rounds)


def _raced(works: dict[str, Callable[[], Any]], title: str, rounds: int) -> Table:
    works["2 workers"]()  # joblib's processes start, and stay
    timed = {name: partial(_seconds, work) for name, work in works.items()}
    return _in_turns(title, timed, rounds, "s", "run", goals=[Goal("2 workers", 1 / 1.8, "1 worker")])
