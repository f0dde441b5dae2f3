"""Runs a graph over parts of the samples: its passes one by one, each over all parts, and then its final graph.

The result is that of the whole set up to rounding, whatever the parts are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from graphengine.backends.protocol import Backend, Program
from graphengine.backends.totals import Gathered, Subtotal, Total, Tree
from graphengine.ir.binding import bind_sizes
from graphengine.ir.graph import Graph
from graphengine.ops.merging import ROWS
from graphengine.ops.shapes import size_value
from graphengine.transform.sample_walk import PART_KEY, Merged
from graphengine.transform.stages import Pass, Stages

Part: TypeAlias = Mapping[str, Any]
PassRunner: TypeAlias = Callable[[int, Mapping[str, Any]], tuple[Mapping[str, Any], Part]]
"""Runs a pass, by its place, with some values: gives what it merges, by name, and the values of any part."""
_NO_PART: Part = {}
SPREAD = 0x9E3779B97F4A7C15
"""The keys of the parts differ by multiples of this odd number, the golden ratio times 2**64."""


class InParts:
    """Runs stages, compiled by a backend; `exact` as for `Backend.compile`."""

    stages: Stages

    def __init__(self, stages: Stages, backend: Backend, *, exact: bool = True) -> None:
        self.stages, self._backend, self._exact = stages, backend, exact
        self._programs: dict[Any, Program] = {}

    def run(
        self, values: Mapping[str, Any], parts: Callable[[], Iterable[Part]], carried: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The outputs for all samples; `parts` gives the parts anew for each pass.

        `carried` maps outputs that are those of the last sample to the source that they replace in the next part.
        """
        replaced = {self.stages.final.outputs[name]: source for name, source in (carried or {}).items()}
        return self.run_passes(
            values,
            lambda place, values: self._run_pass(self.stages.passes[place], values, parts(), replaced),
            lambda: next(iter(parts()), {}),
        )

    def run_passes(
        self, values: Mapping[str, Any], run_pass: PassRunner, any_part: Callable[[], Part] = lambda: _NO_PART
    ) -> dict[str, Any]:
        """The outputs for all samples, with each pass run by `run_pass`, which gives what it merges and a part."""
        values, part = dict(values), None
        for place, each in enumerate(self.stages.passes):
            totals, part = run_pass(place, values)
            values |= totals
            if each.then is not None:
                values |= self._program(each.then, {}).run({**part, **values})
        return self._program(self.stages.final, {}).run({**(any_part() if part is None else part), **values})

    def subtotals(
        self, place: int, values: Mapping[str, Any], parts: Iterable[Part], first: int
    ) -> dict[str, list[Subtotal]]:
        """What a pass merges of some parts in a row, `first` the number of the first one, as subtotals of trees."""
        each, trees = self.stages.passes[place], self._trees(place)
        for number, part in enumerate(parts, first):
            found = self._found(each, values, part, number)
            for name, tree in trees.items():
                tree.add(number, found[name])
        return {name: tree.subtotals for name, tree in trees.items()}

    def merged(self, place: int, pieces: Iterable[Mapping[str, list[Subtotal]]]) -> dict[str, Any]:
        """What a pass merges of all parts, from the subtotals of its pieces in their order."""
        trees = self._trees(place)
        for piece in pieces:
            for name, tree in trees.items():
                tree.take(piece[name])
        return {name: tree.result() for name, tree in trees.items()}

    def _trees(self, place: int) -> dict[str, Tree]:
        each = self.stages.passes[place]
        types = each.graph.types
        return {
            name: Tree(merge.word, merge.axis or 0, types[merge.value].array_dtype)
            for name, merge in each.merges.items()
        }

    def _found(self, each: Pass, values: Mapping[str, Any], part: Part, number: int) -> dict[str, Any]:
        key = np.array([number * SPREAD % 2**64, 0], np.uint64)
        return self._program(each.graph, part).run({**values, **part, PART_KEY: key})

    def _run_pass(
        self, each: Pass, values: Mapping[str, Any], parts: Iterable[Part], replaced: Mapping[str, str]
    ) -> tuple[dict[str, Any], Part]:
        """What a pass merges, by name, and the last part."""
        values, part = dict(values), _NO_PART
        totals = {name: self._total(each.graph, merge) for name, merge in each.merges.items()}
        for number, part in enumerate(parts):
            found = self._found(each, values, part, number)
            for name, total in totals.items():
                total.add(found[name])
            values |= {source: totals[name].value for name, source in replaced.items() if name in totals}
        return {name: total.result() for name, total in totals.items()}, part

    def _total(self, graph: Graph, merge: Merged) -> Total:
        if merge.word != ROWS:
            return Total(merge.word)
        shape = [size_value(size, self.stages.sizes) or 0 for size in graph.types[merge.value].shape]
        return Gathered(shape, merge.axis or 0)

    def _program(self, graph: Graph, part: Part) -> Program:
        """The program of a graph for parts of one shape."""
        shapes = {name: np.shape(value) for name, value in part.items() if name in graph.inputs}
        key = (id(graph), *sorted(shapes.items()))
        if key not in self._programs:
            sizes = bind_sizes(shapes, graph.types) if part else self.stages.sizes
            self._programs[key] = self._backend.compile(graph.with_sizes(sizes), exact=self._exact)
        return self._programs[key]
