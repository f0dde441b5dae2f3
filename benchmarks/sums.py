"""Sums over rows of single precision, beside the same code with NumPy's own sums, which add one row after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from benchmarks.graphs import HEAD, Json
from benchmarks.harness import Contender, Goal, Options, Table, Work, compare

Array: TypeAlias = np.ndarray[Any, Any]
SHAPES = ((1_000, 64), (1_000, 512), (100_000, 8))
OPS: Mapping[str, tuple[Json, Callable[[Array], Array]]] = {
    "sum": ({"op": "sum"}, lambda x: np.add.reduce(x, 0)),
    "mean": ({"op": "mean"}, lambda x: np.add.reduce(x, 0) / len(x)),
    "var": ({"op": "var"}, lambda x: variance(x)),
    "std": ({"op": "std"}, lambda x: np.sqrt(variance(x))),
}


def run(options: Options) -> list[Table]:
    """Microseconds per call of a plan."""
    shapes = SHAPES[:1] if options.quick else SHAPES
    return [table(name, shape, options) for shape in shapes for name in OPS]


def variance(x: Array) -> Array:
    """The mean square of what is left when the mean is taken off."""
    rest = x - np.add.reduce(x, 0) / len(x)
    result: Array = np.add.reduce(np.square(rest), 0) / len(x)
    return result


def table(name: str, shape: tuple[int, int], options: Options) -> Table:
    """The table of one op on rows of one length."""
    node, by_hand = OPS[name]
    x = np.random.default_rng(0).random(shape, np.float32)
    contenders = [
        Contender("NumPy", lambda x: repeated(lambda: by_hand(x)), "hand", reference=True),
        Contender("graphengine", lambda x: repeated(planned(node, x)), "ours"),
    ]
    title = f"{name} over {shape[0]:,} rows of {shape[1]} float32"
    goals = [Goal("graphengine", 1.1)]
    return compare(title, contenders, x, options, per="call", unit="us", tolerance=1e-4, goals=goals)


def planned(node: Json, x: Array) -> Callable[[], Any]:
    """The call of a plan of one op."""
    import graphengine as ge
    from graphengine.backends.numpy.plan import Plan

    nodes = [{"id": "z", "inputs": ["x"], "attributes": {"axis": 0}, **node}]
    inputs = {"x": {"shape": list(x.shape), "dtype": x.dtype.name}}
    plan = Plan(
        ge.Model.from_dict({**HEAD, "name": "sums", "inputs": inputs, "nodes": nodes, "outputs": {"z": "z"}}).graph
    )
    return lambda: plan.run({"x": x})["z"]


def repeated(call: Callable[[], Any]) -> Work:
    """The work of n calls; the result of the last one counts."""

    def work(calls: int) -> Any:
        for _ in range(calls):
            result = call()
        return result

    return work
