"""Batches of which no sample counts: all labels are ignored, or all weights are 0.

A mean over no samples is NaN, and its gradient 0: such a batch teaches nothing, and training continues after it. What
distinguishes it from a training that diverged is the sum that its loss divides by, which is 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from graphengine.backends.reference.executor import Executor
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import Operand
from graphengine.mappings import only, present
from graphengine.transform.mode import in_training_mode
from graphengine.transform.passes import dead_code, expand

MOST_LEVELS = 8
"""How deep a loss may be made of other ops."""


class Denominators:
    """The sums that a loss divides by and that depend on the data and not on what is learned."""

    def __init__(self, graph: Graph, loss: str) -> None:
        expanded = in_training_mode(graph.derive(graph.nodes, {"loss": graph.value_name(loss)}, graph.types))
        for _ in range(MOST_LEVELS):
            expanded = dead_code(expand(expanded))
        learned = _dependent(expanded, [*graph.trainable, *graph.state])
        data = _dependent(expanded, graph.inputs) - learned
        self._names = list(map(str, present(_divisors(expanded), data)))
        self._executor = Executor(expanded)
        self._schedule = self._executor.forward_schedule(self._names)

    def are_zero(self, values: Mapping[str, Any]) -> bool:
        """Whether one of them is 0 for these inputs and parameters."""
        slots = self._executor.forward(only(values, self._executor.slot_of), self._schedule)
        return any(np.any(slots[self._executor.slot_of[name]] == 0) for name in self._names)


def _divisors(graph: Graph) -> dict[Operand, None]:
    return dict.fromkeys(node.inputs[1] for node in graph.nodes if node.op == "div" and node.node.is_core)


def _dependent(graph: Graph, sources: Iterable[str]) -> set[Operand]:
    """The values whose numbers depend on those of the sources, and not on their shapes alone."""
    found: set[Operand] = set(sources)
    for node in graph.nodes:
        if node.op not in _OF_SHAPES and not found.isdisjoint(node.inputs):
            found.update(node.outputs)
    return found


_OF_SHAPES = ("ones_like", "zeros_like", "shape", "size")
