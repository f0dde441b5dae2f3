"""What compiling costs: the first time, from the cache, and `--backend auto` on all shipped models.

Processor seconds of processes of their own. What numba costs is the time of a training of two iterations, its import
included, less that of the same training with NumPy.
"""

from __future__ import annotations

import tempfile
import time

from benchmarks.cold_start import ROOT, measured, start_process
from benchmarks.harness import Goal, Options, Row, Table

MODELS = {"numbers": "linreg_single_sample", "arrays": "autoencoder_digits"}
"""A step that is one loop over numbers, and one of eight loops over rows."""
FIRST, CACHED = "{}, compiled for the first time", "{}, from the cache"
GOALS = [
    *[Goal(FIRST.format(name), 1.5, "second") for name in MODELS.values()],
    *[Goal(CACHED.format(name), 0.4, "second") for name in MODELS.values()],
]
CODE = """
import sys, time
import graphengine as ge
from graphengine.backends.numba import jit

jit.WORTH_COMPILING = 0

def seconds(backend):
    start = time.process_time()
    ge.load(sys.argv[1], backend=backend).train(max_iterations=2)
    return time.process_time() - start

seconds("numpy")
without = min(seconds("numpy") for _ in range(3))
print(seconds("numba") - without)
"""
SLOWER, ALL = 1.05, "all models together"


def run(options: Options) -> list[Table]:
    """Seconds until a loop is there; seconds of `run MODEL` by backend."""
    return [starting(options), automatic(options)]


def starting(options: Options) -> Table:
    """The seconds that numba takes with an empty folder for machine code, and with a full one."""
    title = "what --backend numba takes before its first loop runs, processor time"
    if start_process(["-c", "import numba"]).returncode:
        return Table(title, "s", "process", [], {"numba": "not installed"})
    rows = {
        text.format(name): Row(text.format(name), "ours", []) for text in (FIRST, CACHED) for name in MODELS.values()
    }
    for _ in range(options.rounds // 2):
        for name in MODELS.values():
            with tempfile.TemporaryDirectory() as folder:
                for text in (FIRST, CACHED):
                    rows[text.format(name)].values.append(seconds_of(f"models/{name}.json", folder))
    return Table(title, "s", "process", list(rows.values()), {}, GOALS)


def seconds_of(model: str, folder: str) -> float:
    """The processor seconds that numba takes in one process, with its machine code in a folder."""
    variables = {"XDG_CACHE_HOME": folder, "LOCALAPPDATA": folder, "HOME": folder}
    done = start_process(["-c", CODE, model], **variables)
    return float(done.stdout)


def automatic(options: Options) -> Table:
    """`graphengine run` of each shipped model, with the default backend and with `--backend auto`.

    The two take turns, in an order that turns around, until a model has taken the seconds of a budget. The matrix
    library has one thread: where other work wants the processors, two wait for each other, and count while they do.
    """
    rows: dict[str, Row] = {}
    for path in sorted((ROOT / "models").glob("*.json")):
        start = time.perf_counter()
        for number in range(max(2, options.rounds // 3)):
            if time.perf_counter() - start > options.budget:
                break
            for backend in ("numpy", "auto")[:: -1 if number % 2 else 1]:
                command = ["-m", "graphengine", "run", f"models/{path.name}", "--backend", backend]
                name = path.stem if backend == "numpy" else f"{path.stem}, auto"
                _, seconds, _ = measured(command, OPENBLAS_NUM_THREADS="1")
                rows.setdefault(name, Row(name, "ours", [])).values.append(seconds)
    names = [name for name in rows if f"{name}, auto" in rows]
    for name in (ALL, f"{ALL}, auto"):
        rows[name] = Row(name, "ours", [sum(rows[name.replace(ALL, each)].minimum for each in names)])
    goals = [Goal(f"{name}, auto", SLOWER, against=name) for name in [*names, ALL]]
    return Table(
        "graphengine run MODEL --backend auto, processor time", "ms", "process", list(rows.values()), {}, goals
    )
