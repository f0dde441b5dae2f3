"""A trace without numbers: its sentences have holes, and a recorder knows how to compute what fills them.

It is made by the code that traces numbers, run with symbols. So a page that computes other numbers has the words of the
trace and the derivatives of the engine, and none of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np

from graphengine.backends.reference.executor import Executor
from graphengine.draw.labels import TraceLabels
from graphengine.draw.levels import Link
from graphengine.ir.binding import bind_sizes
from graphengine.ir.graph import Graph
from graphengine.ir.recording import Recorder, Symbol
from graphengine.model.model import Model
from graphengine.ops.shapes import dtype_name
from graphengine.page.film import Film
from graphengine.traces.iterations import Iterations
from graphengine.traces.summary import HOLE, HOLE_END, MAX_NUMBERS, ShownValue
from graphengine.traces.trace import computable, trace_values
from graphengine.traces.trace_parts import GraphTrace, TrainingStep
from graphengine.traces.why import Movement, aim_of, of_numbers, sentences


@dataclass(frozen=True)
class Hole:
    """The place of a number: an element of a value, or its min, mean or max; or of a sentence about an update."""

    value: int | str
    part: int | str = 0

    def __str__(self) -> str:
        return f"{HOLE}{self.value}.{self.part}{HOLE_END}"


class LiveTrace:
    """The trace of the first frame of a film, with holes for its numbers; the values that fill them have numbers."""

    def __init__(self, model: Model, film: Film) -> None:
        frame, iterations = film.frames[0], film.iterations
        whole = iterations.graph_at(frame.iteration) if iterations else computable(model.graph, frame.given)
        graph = _sized(whole, frame.shapes)
        self.graph = _together(graph, _sized(iterations.step.graph, frame.shapes)) if iterations else graph
        self.recorder = Recorder(self.graph)
        self.values: list[str] = []
        self._numbers: dict[str, int] = {}
        self.reasons: list[dict[str, Any]] = []
        """For each update the sentences, and the numbers of the values that choose one."""
        executor = Executor(graph)
        slots = executor.slots({name: self.recorder.symbol(name) for name in executor.slot_of})
        traced = trace_values(executor, slots, frame.trace.of, frame.trace.wrt, self.show)
        self.trace = self._with_updates(traced, iterations) if iterations else traced
        self._labels = TraceLabels(self.trace)

    def _with_updates(self, traced: GraphTrace, iterations: Iterations) -> GraphTrace:
        computed = {name: self.recorder.symbol(name) for name in iterations.step.graph.types}
        updates = iterations.updates(traced, computed, self.show, self._why)
        return replace(traced, training=TrainingStep(1, None, "", 0.0, updates))

    def as_graph(self) -> Graph:
        """Return the graph with all that was recorded, and an output for each value that has a number."""
        outputs = {str(number): name for number, name in enumerate(self.values)}
        return self.graph.derive([*self.graph.nodes, *self.recorder.nodes], outputs, self.recorder.types)

    def show(self, value: Any) -> ShownValue:
        """Return a value with holes for its numbers."""
        if not isinstance(value, Symbol):
            return ShownValue.of(value)
        number, shape = self.number(value.name), tuple(map(int, value.type.shape))  # type: ignore[arg-type]
        kind, size = dtype_name(value.type.dtype), math.prod(shape)
        if size > MAX_NUMBERS:
            return ShownValue(shape, kind, None, *[Hole(number, part) for part in ("min", "mean", "max")])  # type: ignore[arg-type]
        holes = np.array([Hole(number, index) for index in range(size)], dtype=object)
        return ShownValue(shape, kind, holes.reshape(shape).tolist())

    def number(self, name: str) -> int:
        """Return the number of a value."""
        if name not in self._numbers:
            self._numbers[name] = len(self.values)
            self.values.append(name)
        return self._numbers[name]

    def _symbol(self, shown: ShownValue) -> Any:
        """Return what is shown: a symbol, or the number itself."""
        number = _number_of(shown)
        return shown.numbers if number is None else self.recorder.symbol(self.values[number])

    def label(self, link: Link) -> tuple[int | None, int | None]:
        """Return the numbers of the values above and below a link."""
        value = self._labels.values.get(link.value)
        return None if value is None else _number_of(value), self._below(link)

    def _below(self, link: Link) -> int | None:
        """Return the number of the sum of what arrives at a link."""
        products = filter(None, map(self._labels.products.get, link.uses))
        parts = list(map(self._symbol, products))
        if self._labels.is_differentiated(link):
            parts.append(np.ones_like(self.recorder.symbol(link.value)))
        total = reduce(np.add, parts) if parts else None
        return self.number(total.name) if isinstance(total, Symbol) else None

    def _why(self, traced: GraphTrace, name: str, old: Any, new: Any, gradient: ShownValue) -> str:
        """Return a hole for the sentence about an update, and keep what may be in it."""
        place = Hole("why", len(self.reasons))
        if old.ndim:
            self.reasons.append({"old": self.number(old.name), "new": self.number(new.name)})
            return of_numbers(name, str(place))
        aim = aim_of(traced, name, self._product)
        movement = Movement(name, traced.of, self.show(old), self.show(new), gradient, aim)
        numbers = {key: _number_of(getattr(movement, key)) for key in ("old", "new", "gradient")}
        if aim:
            numbers |= {key: _number_of(getattr(aim, key)) for key in ("guess", "wanted", "slope")}
        self.reasons.append({**numbers, "cases": sentences(movement)})
        return str(place)

    def _product(self, factors: Sequence[ShownValue]) -> ShownValue:
        return self.show(reduce(np.multiply, map(self._symbol, factors)))


def _number_of(shown: ShownValue) -> int | None:
    """Return the number of a value with holes; None for one without."""
    numbers: Any = shown.mean if shown.numbers is None else shown.numbers
    found = next(iter(np.ravel(numbers)), None)
    return found.value if isinstance(found, Hole) and isinstance(found.value, int) else None


def _sized(graph: Graph, shapes: Mapping[str, Any]) -> Graph:
    return graph.with_sizes(bind_sizes({name: shapes[name] for name in graph.inputs if name in shapes}, graph.types))


def _together(graph: Graph, step: Graph) -> Graph:
    """Return the step with what else the model computes."""
    nodes = [*step.nodes, *(node for node in graph.nodes if node.id not in step.types)]
    types = {**graph.types, **step.types}
    inputs, state = {**graph.inputs, **step.inputs}, {**graph.state, **step.state}
    parameters = {**graph.parameters, **step.parameters}
    return graph.derive(nodes, graph.outputs, types, inputs=inputs, parameters=parameters, state=state)
