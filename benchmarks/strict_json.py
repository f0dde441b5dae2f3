"""Reading a file as strict JSON beside what orjson alone takes to parse it: graphs, and arrays of numbers."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson

from benchmarks.graphs import elementwise_graph
from benchmarks.harness import Contender, Goal, Options, Table, Work, compare

AT_MOST = 1.5


def run(options: Options) -> list[Table]:
    """ms per file, for each kind of file."""
    size = 10**4 if options.quick else 10**5
    kinds = {f"{size:,} nodes": elementwise_graph(size), f"{size:,} nodes with attributes": with_attributes(size)}
    kinds[f"{10 * size:,} numbers"] = numbers(10 * size)
    return [
        compare(
            f"{title}: bytes to JSON values",
            [
                Contender("orjson", reading(orjson.loads), "limit", reference=True),
                Contender("graphengine", reading(strictly()), "ours"),
            ],
            orjson.dumps(content),
            options,
            per="file",
            unit="ms",
            round_seconds=0.2,
            goals=[Goal("graphengine", AT_MOST)],
        )
        for title, content in kinds.items()
    ]


def with_attributes(count: int) -> dict[str, Any]:
    """The same graph with an attribute and a description at each node: more keys, some with colons in their values."""
    content = elementwise_graph(count)
    for index, node in enumerate(content["nodes"]):
        node |= {"attributes": {"axis": index % 3}, "description": f"node {index}: one of many"}
    return content


def numbers(count: int) -> dict[str, Any]:
    """A small graph whose parameter has its value in the file."""
    draw = random.Random(0).random
    content = elementwise_graph(4)
    content["parameters"]["theta"] |= {"shape": [count], "value": [draw() for _ in range(count)]}
    return content


def strictly() -> Callable[[bytes], Any]:
    """The reader of graphengine."""
    from graphengine.format.strict import parse_json

    return parse_json


def reading(read: Callable[[bytes], Any]) -> Callable[[bytes], Work]:
    """A contender that reads the same bytes again and again, without collections; its result is what it read."""
    from graphengine import gc_pause

    def build(data: bytes) -> Work:
        def work(times: int) -> Any:
            with gc_pause.paused():
                for _ in range(times):
                    value = read(data)
            return (np.array([len(value["nodes"]), len(value["parameters"]["theta"])]),)

        return work

    return build
