"""The labels of the wires of a graph: shapes, or for a trace the value above each and the gradient below."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from graphengine.draw.levels import Link
from graphengine.draw.picture import shape_note
from graphengine.draw.svg import Label, Labeled
from graphengine.ir.graph import Graph
from graphengine.traces.summary import ShownValue
from graphengine.traces.trace_parts import GraphTrace


def shape_labels(graph: Graph) -> Labeled:
    """Labels that say the shape of each value."""
    return lambda link: Label(shape_note(graph, link.value))


def above_and_below(panels: Sequence[Sequence[tuple[Any, Any]]]) -> tuple[list[list[Any]], list[list[Any]]]:
    """What is above and what is below each wire of each panel, apart from each other."""
    above = [[label for label, _ in panel] for panel in panels]
    return above, [[label for _, label in panel] for panel in panels]


def texts_of(labeled: Labeled) -> Callable[[Link], Iterable[str]]:
    """The texts for which the layout of a picture needs room."""
    return lambda link: labeled(link)[:2]


class TraceLabels:
    """The labels of one trace, by link.

    A link into a box carries what all uses in the box give together, a link to an output of the differentiated value 1.
    """

    def __init__(self, trace: GraphTrace) -> None:
        self.trace = trace
        self.values = trace.values
        self.products = {(walk.node, edge.position): product for walk, edge, product in trace.walked}

    def __call__(self, link: Link) -> Label:
        """The label of a link."""
        value = self.values.get(link.value)
        gradients = [self.products[use] for use in link.uses if use in self.products]
        if self.is_differentiated(link):
            gradients.append(ShownValue((), "float64", 1.0))
        return Label(value.label if value else "", _sum(gradients), off=not gradients)

    def is_differentiated(self, link: Link) -> bool:
        """Whether a link goes to an output of the differentiated value."""
        return link.leaves and link.value == self.trace.of


def _sum(gradients: Sequence[ShownValue]) -> str:
    """The label of a sum; of large arrays the mean of the sum is the sum of their means."""
    if len(gradients) == 1:
        return gradients[0].label
    return _label_of_sum(gradients) if gradients else ""


def _label_of_sum(gradients: Sequence[ShownValue]) -> str:
    if all(value.numbers is not None for value in gradients):
        return ShownValue.of(np.sum([np.array(value.numbers, dtype=np.float64) for value in gradients], axis=0)).label
    means = [float(value.mean) for value in gradients if value.mean is not None]
    return ShownValue(gradients[0].shape, gradients[0].dtype, None, mean=sum(means)).label
