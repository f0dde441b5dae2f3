"""Kill workers of trainings and of scoring at random, and compare the bits: `python -m fuzzing.killing` in `tests`.

Options: the number of kills of each (50 by default), a seed, and the name of one of them.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import random
import signal
import tempfile
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import graphengine as ge
from graphengine import dask
from graphengine.model import dask_workers
from graphengine.scale import score_parts
from graphengine.scale.local_training import working
from graphengine.scale.score_folders import by_workers, score_folder

KEYS = {"shard_rows": 128, "batch_size": 700, "shuffle": True, "epochs": 12}
"""A training of the digits of 36 iterations."""
PART_ROWS = 2000
"""Rows of a part that is scored."""


def children():
    """The processes that this one has started."""
    found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in found]


def command_of(pid):
    """The command line of a process, empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def bits(model):
    """The bytes of all values of a model, by name."""
    return {name: np.asarray(value).tobytes() for name, value in model.values.items()}


def kill_soon(pid, chance):
    """Kill a process within 20 ms, in the middle of whatever it does then."""

    def kill():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    threading.Timer(0.02 * chance.random(), kill).start()


def trainings(kills, chance, start, pids_of):
    """Train until so many workers were killed; `start` lets workers compute a training, and `pids_of` are theirs."""
    alone = ge.load("mlp_digits")
    alone.train(**KEYS)
    done = rounds = 0
    while done < kills:
        model = ge.load("mlp_digits")
        trainer = model.trainer(**KEYS)
        places = {chance.randrange(1, 34) for _ in range(3)}
        with start(trainer, model):
            for row in trainer.chunks():
                if row.iteration in places and (pids := pids_of(trainer)):
                    kill_soon(chance.choice(pids), chance)
                    done += 1
        assert bits(model) == bits(alone), "other bits"
        rounds += 1
    return f"{done} kills in {rounds} trainings, equal bits"


def on_dask(kills, chance):
    """Kill the workers of a local cluster, also those that are just starting."""
    dask_workers.PATIENCE = 600.0
    with dask.local_cluster(2) as cluster, dask.connected(cluster.scheduler_address) as client:

        def pids_of(trainer):
            while not (found := sorted(filter(None, (nanny.pid for nanny in list(cluster.workers.values()))))):
                time.sleep(0.1)
            return found

        def start(trainer, model):
            dask.with_workers(trainer, model, client)
            return nullcontext()

        return trainings(kills, chance, start, pids_of)


def on_processes(kills, chance):
    """Kill the processes of joblib."""

    def pids_of(trainer):
        return trainer.stepper.sharding.workers._workers.pids

    return trainings(kills, chance, lambda trainer, model: working(trainer, model, None, 2, "processes"), pids_of)


def scoring(kills, chance):
    """Kill processes that score a folder."""

    def pids():
        return [pid for pid in children() if "spawn_main" in command_of(pid)]

    return scorings(kills, chance, by_workers(2), pids)


def scoring_on_dask(kills, chance):
    """Kill the workers of a local cluster that score a folder."""
    with dask.local_cluster(2) as cluster:

        def engine(work, common, parts, died):
            return dask.in_cluster(work, common, parts, cluster.scheduler_address)

        def pids():
            return sorted(filter(None, (nanny.pid for nanny in list(cluster.workers.values()))))

        return scorings(kills, chance, engine, pids)


def scorings(kills, chance, engine, pids_of):
    """Score a folder until so many processes of `pids_of` were killed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work, killed, expected, rounds = digits_in(folder), [], {}, 0

        def killing(*asked):
            for result in engine(*asked):
                if expected and (pids := pids_of()) and chance.random() < 0.3:
                    kill_soon(chance.choice(pids), chance)
                    killed.append(pids)
                yield result

        while len(killed) < kills:
            out = folder / f"out{rounds}"
            score_folder(work, str(folder / "?.parquet"), out, killing)
            found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.iterdir())}
            expected = expected or found
            assert found == expected, "other files"
            rounds += 1
        return f"{len(killed)} kills in {rounds - 1} runs, equal files"


def digits_in(folder):
    """What scores four files of digits, which are written into a folder."""
    x = np.random.default_rng(0).integers(0, 17, (40_000, 64)).astype(float)
    for place, rows in enumerate(np.array_split(np.arange(len(x)), 4)):
        table = pa.table({"id": rows, **{f"x{n}": x[rows, n] for n in range(64)}})
        pq.write_table(table, folder / f"{place}.parquet", row_group_size=PART_ROWS)
    model = ge.load("mlp_digits")
    model.initialize(model.load_data("train"))
    model.save(folder / "model.json")
    columns = (("x", tuple(f"x{n}" for n in range(64))),)
    fingerprint = ge.load(folder / "model.json").fingerprint
    return score_parts.Scoring(str(folder / "model.json"), fingerprint, ("probabilities",), ("id",), columns)


WORKS = on_processes, on_dask, scoring, scoring_on_dask


def main():
    """Kill, compare, and count what is left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int, nargs="?", default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[work.__name__ for work in WORKS])
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    score_parts.PART_ROWS = PART_ROWS
    chance, before = random.Random(arguments.seed), set(children())
    for work in [work for work in WORKS if arguments.only in (None, work.__name__)]:
        start = time.perf_counter()
        print(f"{work.__name__}: {work(arguments.kills, chance)}, {time.perf_counter() - start:.0f} s", flush=True)
    time.sleep(2)
    left = [
        pid for pid in set(children()) - before if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert not left, f"processes are left: {left}"


if __name__ == "__main__":
    main()
