"""A shuffled epoch of a linear regression on an .npy file larger than memory may hold, beside a loop over a map of it.

Both read the same batches in the same order; the loop gathers each batch from the map and does the step in NumPy.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.graphs import HEAD, node
from benchmarks.harness import Contender, Goal, Options, Row, Table, Work, build, verify

WIDTH, BATCH, BLOCK, RATE = 128, 256, 65_536, 1e-4
FOLDER = tempfile.TemporaryDirectory()
"""The files, which other benchmarks read, too; they go with the process."""


def run(options: Options) -> list[Table]:
    """Processor time of an epoch of 4 GB with the default limits, or of a tenth of both in a quick run."""
    rows = 800_000 if options.quick else 8_000_000
    title = f"a shuffled epoch of {rows:,} x {WIDTH} float32 on disk, four times as much as data_bytes"
    works, skipped = build(CONTENDERS, rows)
    verify({name: [work(1)] for name, work in works.items()}, 1e-3)
    turns = [Row(each.name, each.kind, [], each.reference) for each in CONTENDERS]
    for _ in range(2 if options.quick else 3):
        for row in turns:
            began = time.process_time()
            works[row.name](1)
            row.values.append(time.process_time() - began)
    return [Table(title, "s", "epoch, of processor time", turns, skipped, [Goal("graphengine", 2.0)])]


def allowed(rows: int) -> int:
    """A quarter of the bytes of the rows, as 4 GB have of the default limit."""
    return rows * WIDTH * 4 // 4


@cache
def written(rows: int) -> Path:
    """The model file, with so many rows of random numbers beside it."""
    folder = Path(FOLDER.name, str(rows))
    folder.mkdir()
    block = np.random.default_rng(0).random((BLOCK, WIDTH), np.float32)
    with (folder / "x.npy").open("wb") as file:  # as np.save does, without the array in memory
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, WIDTH)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, rows, BLOCK):
            file.write(block[: rows - start].tobytes())
    np.save(folder / "y.npy", np.resize(block.sum(axis=1), rows))
    path = folder / "model.json"
    path.write_text(json.dumps(regression(folder)))
    return path


def regression(folder: Path) -> dict[str, Any]:
    """A linear regression on the two files of the folder."""
    return {
        **HEAD,
        "name": "regression",
        "dtype": "float32",
        "inputs": {"x": {"shape": ["N", WIDTH]}, "y": {"shape": ["N"]}},
        "parameters": {"w": {"shape": [WIDTH], "initializer": {"type": "zeros"}}},
        "nodes": [
            node("predicted", "matmul", "x", "w"),
            node("error", "sub", "predicted", "y"),
            node("squared", "square", "error"),
            node("loss", "mean", "squared"),
        ],
        "outputs": {"loss": "loss"},
        "data": {"train": {"type": "npy", "paths": {"x": "x.npy", "y": "y.npy"}}},
        "training": {
            "loss": "loss",
            "optimizer": {"type": "sgd", "learning_rate": RATE},
            "batch_size": BATCH,
            "shuffle": True,
            "epochs": 1,
        },
    }


def epoch(rows: int, data_bytes: int) -> Callable[[], Any]:
    """The work of one shuffled epoch in which the data may take so many bytes of memory."""
    import graphengine as ge
    from graphengine.limits import Limits

    path = written(rows)

    def work() -> Any:
        model = ge.load(path, limits=Limits(data_bytes=data_bytes))
        model.train()
        return model.parameters["w"]

    return work


def ours(rows: int) -> Work:
    """graphengine; each repetition starts from zeros."""
    once = epoch(rows, allowed(rows))
    return lambda count: [once() for _ in range(count)][-1]


def mapped(rows: int) -> Work:
    """A loop over batches gathered from a memory map."""
    from graphengine.data.order import epoch_order

    folder = written(rows).parent

    def work(count: int) -> Any:
        for _ in range(count):
            x, y = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in "xy")
            order, w = epoch_order(0, 1, rows), np.zeros(WIDTH, np.float32)
            for start in range(0, rows, BATCH):
                chosen = order[start : start + BATCH]
                batch = x[chosen]
                error = batch @ w - y[chosen]
                w -= np.float32(2 * RATE / len(error)) * (error @ batch)
        return w

    return work


CONTENDERS = [
    Contender("NumPy memmap", mapped, "hand", reference=True),
    Contender("graphengine", ours, "ours"),
]
