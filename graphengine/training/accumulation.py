"""Accumulated gradients: an iteration whose batch is worked on in parts, each small enough for memory.

The step falls in two: a graph of loss and gradients, run in parts (`transform.stages`), and a graph of the update. What
is a sum over the samples is added over the parts, and what follows from it is computed once, so the gradients are those
of the whole batch, whatever the loss is. A loss that needs the sum of the weights first, or a mean to compare with,
takes a further pass over the parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from graphengine.backends.in_parts import InParts
from graphengine.backends.protocol import Program
from graphengine.data.batches import Batches
from graphengine.format.documents import TrainingDocument
from graphengine.ir.declarations import plain_inputs
from graphengine.ir.graph import Graph
from graphengine.ir.recording import Recorder
from graphengine.mappings import picked, present
from graphengine.training.compiled import CompiledStep, rules_of
from graphengine.training.evaluation import require_merging
from graphengine.transform.backward import pruned
from graphengine.transform.stages import stages_of
from graphengine.transform.step import (
    ITERATION,
    LEARNING_RATE,
    in_training,
    record_gradients,
    record_updates,
    with_declarations,
    with_loss,
)

Part = tuple[dict[str, Any], int]


class Accumulation:
    """The two halves of a step; `run` does one iteration, values in, values out.

    Raises
    ------
    ExecutionError
        GE414 if the loss needs all samples of a batch at once, and they take more memory than the limit.
    """

    def __init__(self, graph: Graph, training: TrainingDocument, compiled: CompiledStep, batches: Batches) -> None:
        self._graph = compiled.packing.packed(graph) if compiled.packing else graph
        self._training, self._batches = training, batches
        self._rule, self._backend = compiled.rule, compiled.backend
        self._in_parts: dict[int, InParts] = {}
        require_merging(graph, self.staged(batches.batch_size).stages, batches.batch_size)

    @cached_property
    def gradients(self) -> Graph:
        """Loss, gradients and new state."""
        graph, loss = self._graph, self._graph.value_name(self._training.loss)
        rules = rules_of(graph, self._training, self._rule)
        recorder = Recorder(in_training(graph, rules, self._training.seed))
        found = record_gradients(recorder, loss, rules)
        others = {_gradient(name): symbol.name for name, symbol in found.items()}
        others |= {f"new_{name}": update for name, update in graph.updates.items()}
        outputs = with_loss(self._training.loss, loss, others)
        return pruned(recorder, outputs, f"loss and gradients of {graph.name}", keep=(ITERATION,))

    @cached_property
    def update(self) -> Graph:
        """The update of all parameters by gradients that are given."""
        graph, rules = self._graph, rules_of(self._graph, self._training, self._rule)
        declared = with_declarations(graph, rules)
        kinds = {_gradient(name): graph.types[name] for name in rules}
        inputs = {**plain_inputs(kinds), **picked(declared.inputs, (LEARNING_RATE, ITERATION))}
        types = {**kinds, **picked(declared.types, (LEARNING_RATE, ITERATION, *declared.parameters, *declared.state))}
        recorder = Recorder(declared.derive([], {}, types, inputs=inputs))
        given = {name: recorder.symbol(_gradient(name)) for name in rules}
        outputs, carried = record_updates(recorder, given, rules, self._training.gradient_clipping)
        return pruned(recorder, outputs, f"update of {graph.name}", keep=(LEARNING_RATE, ITERATION, *carried.values()))

    def run(
        self, parts: Iterable[Part], values: Mapping[str, Any], iteration: int, rate: float
    ) -> tuple[float, dict[str, Any]]:
        """One iteration; gives the loss of its batch, and the new values and the gradient's norm as a step names them.

        What is random for each sample is drawn anew in each part.
        """
        batches, sizes = zip(*parts, strict=True)
        values = {**values, **self._numbers(self.gradients, iteration)}
        updates = {f"new_{name}": name for name in self._graph.updates}
        found = self._run(values, batches, sum(sizes), updates, iteration)
        loss = float(found.pop(self._training.loss))
        new = {name: np.array(found[name])[()] for name in updates}
        return loss, {**new, **self._update.run({**values, **found, **self._numbers(self.update, iteration, rate)})}

    def _run(
        self,
        values: Mapping[str, Any],
        batches: Sequence[Mapping[str, Any]],
        samples: int,
        updates: Mapping[str, str],
        iteration: int,
    ) -> dict[str, Any]:
        """Loss and gradients of an iteration whose batch has these parts."""
        return self.staged(samples).run(values, lambda: batches, updates)

    def _numbers(self, graph: Graph, iteration: int, rate: float = 0.0) -> dict[str, Any]:
        numbers = {ITERATION: iteration, LEARNING_RATE: rate}
        return {name: graph.types[name].array_dtype.type(each) for name, each in numbers.items() if name in graph.types}

    @cached_property
    def _update(self) -> Program:
        return self._backend.compile(self.update, exact=False)

    def staged(self, samples: int) -> InParts:
        """Loss and gradients of a batch of some samples, in parts."""
        if samples not in self._in_parts:
            graph, batches = self.gradients, self._batches
            single = present(batches.single_inputs, graph.inputs)
            rows = present(batches.batched_inputs, graph.inputs)
            sizes = batches.sizes_in(graph, 1 if batches.takes_single_samples else samples)
            last = [f"new_{name}" for name in self._graph.updates]
            stages = stages_of(graph, sizes, rows, single, last=last, redraws=True)
            self._in_parts[samples] = InParts(stages, self._backend, exact=False)
        return self._in_parts[samples]


def _gradient(name: str) -> str:
    return f"gradient/{name}"
