"""Accumulated gradients: an iteration whose batch is worked on in parts, each small enough for memory.

The step falls in two: a graph of loss and gradients, run once for each part, and a graph of the update, run with the
mean of the gradients over all samples. Of a loss that is a mean over samples, that is the step of the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from graphengine.backends.numpy.plan import Plan
from graphengine.format.documents import FunctionFile
from graphengine.format.training_documents import TrainingDocument
from graphengine.ir.binding import bind_sizes
from graphengine.ir.declarations import Input
from graphengine.ir.graph import Graph
from graphengine.ir.recording import Recorder
from graphengine.transform.gradient import pruned
from graphengine.transform.mode import in_training_mode, with_iteration
from graphengine.transform.packing import Packing
from graphengine.transform.step import (
    ITERATION,
    LEARNING_RATE,
    record_gradients,
    record_updates,
    rules_of,
    with_declarations,
    with_loss,
)

Part = tuple[dict[str, Any], int]


class Accumulation:
    """The two halves of a step; `run` does one iteration, values in, values out."""

    def __init__(self, graph: Graph, training: TrainingDocument, rule: FunctionFile, packing: Packing) -> None:
        self._graph, self._training, self._rule, self._packing = packing.packed(graph), training, rule, packing
        self._types = self._graph.types
        self._plans: dict[Any, Plan] = {}

    @cached_property
    def gradients(self) -> Graph:
        """Loss, gradients and new state of a part."""
        graph, loss = self._graph, self._graph.value_name(self._training.loss)
        rules = rules_of(graph, self._training.optimizer, self._rule)
        whole = with_iteration(with_declarations(in_training_mode(graph), rules), ITERATION, self._training.seed)
        recorder = Recorder(whole)
        found = record_gradients(recorder, loss, list(rules), self._packing)
        others = {_gradient(name): symbol.name for name, symbol in found.items()}
        others |= {f"new_{name}": update for name, update in graph.updates.items()}
        outputs = with_loss(self._training.loss, loss, others)
        return pruned(recorder, outputs, f"loss and gradients of {graph.name}", keep=(ITERATION,))

    @cached_property
    def update(self) -> Graph:
        """The update of all parameters by gradients that are given."""
        graph, rules = self._graph, rules_of(self._graph, self._training.optimizer, self._rule)
        declared = with_declarations(graph, rules)
        kinds = {_gradient(name): graph.types[name] for name in rules}
        inputs = {name: Input(kind) for name, kind in kinds.items()}
        inputs |= {name: declared.inputs[name] for name in (LEARNING_RATE, ITERATION)}
        sources = {name: declared.types[name] for name in (*declared.parameters, *declared.state)}
        types = {**kinds, **{name: declared.types[name] for name in (LEARNING_RATE, ITERATION)}, **sources}
        recorder = Recorder(declared.derive([], {}, types, inputs=inputs))
        given = {name: recorder.symbol(_gradient(name)) for name in rules}
        outputs, carried = record_updates(recorder, given, rules, self._training.gradient_clipping)
        return pruned(recorder, outputs, f"update of {graph.name}", keep=(LEARNING_RATE, ITERATION, *carried.values()))

    def run(
        self, parts: Iterator[Part], values: Mapping[str, Any], iteration: int, rate: float
    ) -> tuple[float, dict[str, Any]]:
        """One iteration; gives the loss of its batch, and the new values and the gradient's norm as a step names them.

        Random ops draw for each part anew.
        """
        values, seen, loss = dict(values), 0, 0.0
        sums: dict[str, Any] = {}
        new: dict[str, Any] = {}
        for index, (batch, size) in enumerate(parts):
            number = (iteration - 1) * self._training.accumulate + index + 1
            found = self._plan(self.gradients, batch).run({**values, **batch, **self._numbers(self.gradients, number)})
            loss += float(found.pop(self._training.loss)) * size
            for name in self._graph.trainable:
                gradient = found.pop(_gradient(name)) * size
                sums[name] = sums[name] + gradient if index else gradient
            new |= {name: np.array(value)[()] for name, value in found.items()}
            values |= {name.removeprefix("new_"): value for name, value in new.items()}
            seen += size
        means = {_gradient(name): self._typed(name, total / seen) for name, total in sums.items()}
        numbers = self._numbers(self.update, iteration, rate)
        return loss / seen, {**new, **self._plan(self.update, {}).run({**values, **means, **numbers})}

    def _typed(self, name: str, value: Any) -> Any:
        return np.asarray(value, self._types[name].array_dtype)[()]

    def _numbers(self, graph: Graph, iteration: int, rate: float = 0.0) -> dict[str, Any]:
        numbers = {ITERATION: iteration, LEARNING_RATE: rate}
        return {name: graph.types[name].array_dtype.type(each) for name, each in numbers.items() if name in graph.types}

    def _plan(self, graph: Graph, batch: Mapping[str, Any]) -> Plan:
        shapes = {name: np.shape(value) for name, value in batch.items()}
        key = (graph is self.update, *sorted(shapes.items()))
        if key not in self._plans:
            sized = graph.with_sizes(bind_sizes(shapes, self._types)) if shapes else graph
            self._plans[key] = Plan(sized, exact=False)
        return self._plans[key]


def _gradient(name: str) -> str:
    return f"gradient/{name}"
