"""Loading a model whose layers are calls of functions, beside the same graph written out; and a refusal.

The refusal is of 30 functions that each call the next one twice: it must be counted, not made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.graphs import HEAD, node, parameter
from benchmarks.harness import Contender, Goal, Options, Table, Work, compare

LEVELS = 30
REFUSED_WITHIN = 0.05


def run(options: Options) -> list[Table]:
    """us per node of the graph, and seconds for the refusal."""
    layers = 1_000 if options.quick else 10_000
    loads = compare(
        f"{layers:,} layers: content to checked, sorted graph",
        [
            Contender("written out", loader(written_out), "ours", reference=True),
            Contender("calls", loader(calls), "ours"),
        ],
        layers,
        options,
        per="node",
        unit="us",
        units=2 * layers,
        round_seconds=0.1,
        goals=[Goal("calls", 2.0)],
    )
    refusal = compare(
        f"{LEVELS} levels of two calls each, refused",
        [Contender("graphengine", refusing, "ours", reference=True)],
        LEVELS,
        options,
        per="refusal",
        unit="ms",
        goals=[Goal("graphengine", REFUSED_WITHIN, against="second")],
    )
    return [loads, refusal]


def loader(make: Callable[[int], Mapping[str, Any]]) -> Callable[[int], Work]:
    """A contender that loads what `make` gives; its result is the number of nodes."""

    def build(layers: int) -> Work:
        import graphengine as ge

        content = make(layers)

        def work(loads: int) -> Any:
            for _ in range(loads):
                model = ge.Model.from_dict(content)
            return (np.array(float(len(model.graph.nodes))),)

        return work

    return build


def calls(layers: int) -> dict[str, Any]:
    """Each layer a call of `nn.dense`."""
    return content([node(f"h{i}", "nn.dense", f"h{i - 1}" if i else "x", "w", "b") for i in range(layers)], nn=1)


def written_out(layers: int) -> dict[str, Any]:
    """The nodes that the calls become."""
    nodes = []
    for i in range(layers):
        nodes += [
            node(f"h{i}/product", "matmul", f"h{i - 1}" if i else "x", "w"),
            node(f"h{i}", "add", f"h{i}/product", "b"),
        ]
    return content(nodes)


def content(nodes: list[Any], **imports: int) -> dict[str, Any]:
    """A model of square layers that share one weight."""
    return {
        **HEAD,
        "opset_imports": {"core": 1, **imports},
        "name": "layers",
        "inputs": {"x": {"shape": ["N", 4]}},
        "parameters": {"w": parameter(4, 4), "b": parameter(4)},
        "nodes": nodes,
        "outputs": {"out": nodes[-1]["id"]},
    }


def refusing(levels: int) -> Work:
    """Load functions that would become 2**levels nodes."""
    import graphengine as ge

    functions = {}
    for level in range(levels):
        op = f"f{level + 1}" if level + 1 < levels else "neg"
        body = [node("a", op, "x"), node("b", op, "a")]
        functions[f"f{level}"] = {"inputs": {"x": {}}, "nodes": body, "outputs": {"out": "b"}}
    model = {**content([node("z", "f0", "x")]), "functions": functions}

    def work(loads: int) -> Any:
        refused = 0
        for _ in range(loads):
            try:
                ge.Model.from_dict(model)
            except ge.errors.InvalidModelError as error:
                refused += error.problems[0].code == "GE216"
        return (np.array(refused / loads),)

    return work
