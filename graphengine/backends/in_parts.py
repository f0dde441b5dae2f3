"""Runs a graph over parts of the samples: its passes one by one, each over all parts, and then its final graph.

The result is that of the whole set up to rounding, whatever the parts are. Sums are added in double precision and given
out in their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from graphengine.backends.protocol import Backend, Program
from graphengine.ir.binding import bind_sizes
from graphengine.ir.graph import Graph
from graphengine.ops.merging import ADDED, MERGES, ROWS
from graphengine.ops.shapes import size_value
from graphengine.transform.stages import COUNT, LAST, MEAN, PART_KEY, Merged, Pass, Stages

Part: TypeAlias = Mapping[str, Any]
_NO_PART: Part = {}
SPREAD = 0x9E3779B97F4A7C15
"""The keys of the parts differ by multiples of this odd number, the golden ratio times 2**64."""


class InParts:
    """Runs stages, compiled by a backend; `exact` as for `Backend.compile`."""

    def __init__(self, stages: Stages, backend: Backend, *, exact: bool = True) -> None:
        self.stages, self._backend, self._exact = stages, backend, exact
        self._programs: dict[Any, Program] = {}

    def run(
        self, values: Mapping[str, Any], parts: Callable[[], Iterable[Part]], carried: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The outputs for all samples; `parts` gives the parts anew for each pass.

        `carried` maps outputs that are those of the last sample to the source that they replace in the next part.
        """
        values, part = dict(values), _NO_PART
        replaced = {self.stages.final.outputs[name]: source for name, source in (carried or {}).items()}
        for each in self.stages.passes:
            totals, part = self._run_pass(each, values, parts(), replaced)
            values |= totals
            if each.then is not None:
                values |= self._program(each.then, {}).run({**part, **values})
        whole = part if self.stages.passes else next(iter(parts()), {})
        return self._program(self.stages.final, {}).run({**whole, **values})

    def _run_pass(
        self, each: Pass, values: Mapping[str, Any], parts: Iterable[Part], replaced: Mapping[str, str]
    ) -> tuple[dict[str, Any], Part]:
        """What a pass merges, by name, and the last part."""
        values, part = dict(values), _NO_PART
        totals = {name: self._total(each.graph, merge) for name, merge in each.merges.items()}
        for number, part in enumerate(parts):
            key = np.array([number * SPREAD % 2**64, 0], np.uint64)
            found = self._program(each.graph, part).run({**values, **part, PART_KEY: key})
            for name, total in totals.items():
                total.add(found[name])
            values |= {source: totals[name].value for name, source in replaced.items() if name in totals}
        return {name: total.result() for name, total in totals.items()}, part

    def _total(self, graph: Graph, merge: Merged) -> _Total:
        if merge.word != ROWS:
            return _Total(merge.word)
        shape = [size_value(size, self.stages.sizes) or 0 for size in graph.types[merge.value].shape]
        return _Gathered(shape, merge.axis or 0)

    def _program(self, graph: Graph, part: Part) -> Program:
        """The program of a graph for parts of one shape."""
        shapes = {name: np.shape(value) for name, value in part.items() if name in graph.inputs}
        key = (id(graph), *sorted(shapes.items()))
        if key not in self._programs:
            sizes = bind_sizes(shapes, graph.types) if part else self.stages.sizes
            self._programs[key] = self._backend.compile(graph.with_sizes(sizes), exact=self._exact)
        return self._programs[key]


class _Total:
    """Values of parts as they come, merged by a word."""

    def __init__(self, word: str) -> None:
        self._word, self._count = word, 0
        self.value: Any = None
        self._dtype: np.dtype[Any] | None = None

    def add(self, value: Any) -> None:
        """Merge in the value of one more part."""
        value = np.asarray(value)
        self._dtype, self._count = value.dtype, self._count + 1
        if self._word == LAST or (self._count == 1 and self._word not in _SUMS):
            self.value = np.array(value)[()]
        elif self._count == 1:
            self.value = np.array(value, _wide(value.dtype, self._word))
        elif self._word in MERGES:
            self.value = MERGES[self._word](self.value, value)
        else:
            self.value += value

    def result(self) -> Any:
        """The value for all parts."""
        if self._word == MEAN:
            self.value /= self._count
        return np.asarray(self.value, None if self._word == COUNT else self._dtype)[()]


_SUMS = (*ADDED, MEAN, COUNT)


def _wide(dtype: np.dtype[Any], word: str) -> np.dtype[Any]:
    """The dtype that values are added in: doubles for floating-point numbers, integers for what is counted."""
    if dtype.kind == "f":
        return np.result_type(dtype, np.float64)
    return np.result_type(dtype, np.int64) if word == COUNT else dtype


class _Gathered(_Total):
    """Values of parts put one after the other along an axis, into an array that has room for all of them."""

    def __init__(self, shape: list[int], axis: int) -> None:
        super().__init__(ROWS)
        self._shape, self._axis, self._filled = shape, axis, 0

    def add(self, value: Any) -> None:
        if self.value is None:
            self.value = np.empty(self._shape, np.asarray(value).dtype)
        stop = self._filled + np.shape(value)[self._axis]
        self.value[(*[slice(None)] * self._axis, slice(self._filled, stop))] = value
        self._filled = stop

    def result(self) -> Any:
        return self.value
