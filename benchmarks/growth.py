"""How the time until the first training iteration grows with each dimension of a model: the exponent over three sizes.

The exponent is the slope of the straight line through the logarithms of size and time: 1 is linear, 2 is quadratic. A
second table compares the first training iteration of large graphs with loading and checking their files. Times are
processor time, which other work on the machine changes least. The collector is as users have it.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from benchmarks import functions, on_disk
from benchmarks.graphs import many_parameters, node, random_graph, scalar_chain, shared_value, wide_concat, wide_sum
from benchmarks.harness import Goal, Options, Row, Table

Prepared: TypeAlias = Callable[[], Any]

TURNS = (3, 2, 1)
"""How often each size is timed; the least counts, so fewer turns of a larger size can only make the exponent larger."""
MOST = 1.1
"""The largest exponent that counts as linear: caches and memory of a larger size are slower, too."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One way in which a model or its data can be large.

    `prepare` gets a size and returns the work that is timed; what it does itself is not.
    """

    name: str
    sizes: tuple[int, int, int]
    prepare: Callable[[int], Prepared]


def run(options: Options) -> Iterator[Table]:
    """Exponents, a table for each dimension as soon as it is known, and the seconds of first iterations."""
    gc.collect()
    for dimension in DIMENSIONS:
        yield exponents([dimension], (3, 3, 3) if options.full else TURNS, 10 if options.quick else 1)
    yield first_iterations(3 if options.quick or options.full else 1, options)


# ---------------------------------------------------------------- exponents


def exponents(dimensions: Sequence[Dimension], turns: Sequence[int], divisor: int) -> Table:
    """The exponent of each dimension; each size, divided by `divisor`, is timed as often as its turns say."""
    rows, notes = [], []
    for dimension in dimensions:
        sizes = [size // divisor for size in dimension.sizes]
        seconds = fastest(dimension.prepare, sizes, turns)
        rows.append(Row(dimension.name, "ours", [exponent(sizes, seconds)]))
        each = ", ".join(f"{size:,}: {taken:.3g}" for size, taken in zip(sizes, seconds, strict=True))
        notes.append(f"{dimension.name}, s at each size: {each}")
    goals = [Goal(row.name, MOST, against="exponent") for row in rows]
    return Table("growth of the time", "exponent", "dimension", rows, goals=goals, notes=notes)


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The slope of a least-squares line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def fastest(prepare: Callable[[int], Prepared], sizes: Sequence[int], turns: Sequence[int]) -> list[float]:
    """The least seconds that the work of each size takes; the sizes take turns, after one that warms up."""
    prepare(min(sizes))()
    taken: list[list[float]] = [[] for _ in sizes]
    for turn in range(max(turns)):
        for size, count, found in zip(sizes, turns, taken, strict=True):
            if turn < count:
                found.append(seconds_of(prepare(size)))
    return [min(found) for found in taken]


def seconds_of(work: Prepared) -> float:
    """The processor time of one call, begun without garbage."""
    gc.collect()
    start = time.process_time()
    work()
    return time.process_time() - start


def from_content(content: Mapping[str, Any], x: Any) -> Prepared:
    """Load, run forward and backward and do one training iteration: each for the first time."""

    def work() -> None:
        model = loaded(content)
        model.forward(x=x).backward(of="out")
        first_iteration(model, x)

    return work


def loaded(content: Mapping[str, Any]) -> Any:
    """The model of a document, checked and sorted."""
    import graphengine as ge

    return ge.Model.from_dict(content)


def first_iteration(model: Any, x: Any) -> None:
    """Train for one iteration, on one batch."""
    model.train(data={"x": x}, loss="out", optimizer={"type": "sgd", "learning_rate": 1e-9}, max_iterations=1)


def scalars(make: Callable[[int], Mapping[str, Any]]) -> Callable[[int], Prepared]:
    """The work on a graph of a scalar x."""
    return lambda size: from_content(make(size), np.array(0.3))


def concatenated(size: int) -> Prepared:
    """The work on a node of op concat with `size` inputs."""
    return from_content(wide_concat(size), np.array([0.1, 0.2, 0.3]))


def called(size: int) -> Prepared:
    """The work on `size` layers, each the call of a function."""
    content = functions.calls(size)
    content["nodes"].append(node("mean", "mean", content["outputs"]["out"]))
    return from_content({**content, "outputs": {"out": "mean"}}, np.ones((3, 4)))


def parametrized(size: int) -> Prepared:
    """The work on `size` parameters of four numbers each."""
    return from_content(many_parameters(size), np.array([0.1, 0.2, 0.3, 0.4]))


def shuffled(size: int) -> Prepared:
    """The work of one shuffled epoch of `size` rows on disk, of 512 bytes each."""
    return on_disk.epoch(size, on_disk.allowed(DIMENSIONS[-1].sizes[-1]))


DIMENSIONS = [
    Dimension("nodes", (10_000, 30_000, 100_000), scalars(scalar_chain)),
    Dimension("inputs of add_n", (10_000, 30_000, 100_000), scalars(wide_sum)),
    Dimension("inputs of concat", (3_000, 10_000, 30_000), concatenated),
    Dimension("uses of a value", (10_000, 30_000, 100_000), scalars(shared_value)),
    Dimension("parameters", (10_000, 30_000, 100_000), parametrized),
    Dimension("function calls", (3_000, 10_000, 30_000), called),
    Dimension("rows on disk", (200_000, 600_000, 2_000_000), shuffled),
]


# ---------------------------------------------------------------- the first iteration


GRAPHS: Mapping[str, Callable[[int], Mapping[str, Any]]] = {
    "chain": scalar_chain,
    "random": random_graph,
    "wide": wide_sum,
}


def first_iterations(rounds: int, options: Options) -> Table:
    """Seconds of loading and checking, and of the first training iteration after it."""
    size, inputs = (10_000, 100) if options.quick else (100_000, 1_000)
    rows, goals = [], []
    for name, make in GRAPHS.items():
        content = make(size)
        load, first = f"{name}: load and check", f"{name}: first iteration"
        rows += stages(load, first, content, np.array(0.3), rounds)
        goals.append(Goal(first, 5.0, load))
    goals.append(Goal("wide: first iteration", 1.3, "chain: first iteration"))
    first = f"concat of {inputs:,}: first iteration"
    rows += stages(f"concat of {inputs:,}: load and check", first, wide_concat(inputs), np.ones(3), rounds)
    goals.append(Goal(first, 0.5, "second"))
    return Table(f"first training iteration of {size:,} nodes", "s", "graph", rows, goals=goals)


def stages(load: str, first: str, content: Mapping[str, Any], x: Any, rounds: int) -> list[Row]:
    """A row for loading and one for the first iteration, under these names."""
    loads, firsts = Row(load, "ours"), Row(first, "ours")
    for _ in range(rounds):
        models: list[Any] = []
        loads.values.append(seconds_of(lambda: models.append(loaded(content))))  # noqa: B023 - called at once
        firsts.values.append(seconds_of(lambda: first_iteration(models[0], x)))  # noqa: B023
    return [loads, firsts]
