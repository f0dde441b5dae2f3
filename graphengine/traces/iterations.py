"""The iterations of a training, each as a trace that ends with the update.

The training runs on a copy of the model's values; the model itself stays as it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import starmap
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from graphengine.backends.reference.executor import Executor
from graphengine.data.batches import Batches
from graphengine.errors import UsageError
from graphengine.fit.solver_trainer import SolverTrainer
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, reachable
from graphengine.mappings import picked
from graphengine.model.model import Model
from graphengine.traces.summary import ShownValue
from graphengine.traces.trace import Show, evaluation, trace_graph
from graphengine.traces.trace_parts import GraphTrace, TracedUpdate, TrainingStep
from graphengine.traces.unrolling import FIRST_AND_LAST, Opened
from graphengine.traces.why import why_moved
from graphengine.transform.mode import in_training_mode, with_iteration
from graphengine.transform.step import GRADIENT_NORM, ITERATION, LEARNING_RATE

Why: TypeAlias = Callable[[GraphTrace, str, Any, Any, ShownValue], str]
"""Gives the reason of an update, as `why_moved`."""


class Moment(NamedTuple):
    """What an iteration starts from: its number and epoch, its batch, and the values of all that changes."""

    iteration: int
    epoch: int | None
    batch: Mapping[str, Any]
    values: Mapping[str, Any]
    learning_rate: float


class Iterations:
    """The iterations of the training that `Model.train` would run, one after the other."""

    def __init__(self, model: Model, data: Any = None, **overrides: Any) -> None:
        self.model = model.copy()
        trainer = self.model.trainer(data, **overrides)
        if isinstance(trainer, SolverTrainer):
            raise UsageError(
                f"'{trainer.training.optimizer.type}' is a solver: its iterations have no update rule to show"
            )
        if trainer.training.is_in_parts:
            raise UsageError("an iteration whose gradients are accumulated has no batch of its own to show")
        self.trainer, self.step = trainer, trainer.stepper.unpacked

    @classmethod
    def declared(cls, model: Model) -> Iterations:
        """Return those on the data that the file declares, on none for a model without inputs."""
        return cls(model, None if model.graph.inputs else {})

    def __iter__(self) -> Iterator[Moment]:
        """Train; each moment is that before its update.

        Raises
        ------
        DivergenceError
            GE601, as the training itself.
        """
        rows, before = self.trainer.iterate(), self.trainer.stepper.carried
        for epoch, batch in _batches(self.trainer.batches):
            rate = self.trainer.learning_rate
            row = next(rows, None)
            if row is None:
                return
            yield Moment(row.iteration, epoch, batch, before, rate)
            before = self.trainer.stepper.carried

    def at(self, iteration: int) -> Moment:
        """The moment before an iteration, counted from 1.

        Raises
        ------
        UsageError
            GE402 if the training ends before it.
        """
        found = next(itertools.islice(self, iteration - 1, None), None) if iteration > 0 else None
        if found is None:
            raise UsageError(
                f"there is no iteration {iteration}", code="GE402", hint=f"1 to {self.trainer.total_iterations}"
            )
        return found

    def trace(self, moment: Moment, show: Show = ShownValue.of, opened: Opened = FIRST_AND_LAST) -> GraphTrace:
        """Forward, backward and update of one iteration."""
        graph, given = self.graph_at(moment.iteration), self.given(moment)
        values = {name: given[name] for name in graph.sources if name in given}
        traced = trace_graph(graph, values, of=self.step.loss, show=show, opened=opened)
        updates = self.updates(traced, self._computed(given), show)
        step = TrainingStep(
            moment.iteration, moment.epoch, self.trainer.training.optimizer.type, moment.learning_rate, updates
        )
        return replace(traced, training=step)

    def _computed(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All values of the step graph."""
        slots = self._executor.forward(picked(given, self.step.graph.sources))
        return {name: slots[slot] for name, slot in self._executor.slot_of.items()}

    @property
    def has_one_batch(self) -> bool:
        """Whether all iterations of an epoch, and so of a training, have the same rows."""
        return self.trainer.batches.per_epoch <= 1

    def graph_at(self, iteration: int) -> Graph:
        """The graph of the model as this iteration evaluates it."""
        return with_iteration(in_training_mode(self.model.graph), iteration, self.trainer.training.seed)

    def given(self, moment: Moment) -> dict[str, Any]:
        """What an iteration computes from, by name: all that the model and the step do not compute."""
        types = self.step.graph.types
        scalars = {ITERATION: moment.iteration, LEARNING_RATE: moment.learning_rate}
        typed = {name: types[name].array_dtype.type(value) for name, value in scalars.items() if name in types}
        return {**self.model.values, **moment.values, **moment.batch, **typed}

    def updates(
        self, traced: GraphTrace, computed: Mapping[str, Any], show: Show = ShownValue.of, why: Why = why_moved
    ) -> tuple[TracedUpdate, ...]:
        """What a step does to each parameter and state, given all its values; they may be symbols, as in a trace."""
        shown = {name: show(value) for name, value in computed.items()}
        totals = {gradient.value: gradient.total for gradient in traced.gradients}

        def new(name: str) -> Any:
            return computed[self.step.graph.outputs[f"new_{name}"]]

        def of_parameter(name: str) -> TracedUpdate:
            lines = tuple(evaluation(node, shown) for node in self._rule_nodes[name])
            reason = why(traced, name, computed[name], new(name), totals[name])
            return TracedUpdate(name, shown[name], show(new(name)), lines, reason)

        def of_state(name: str, update: str) -> TracedUpdate:
            return TracedUpdate(name, shown[name], show(new(name)), (), f"{name} becomes {update}.")

        graph = self.model.graph
        return (*map(of_parameter, graph.trainable), *starmap(of_state, graph.updates.items()))

    @cached_property
    def _executor(self) -> Executor:
        return Executor(self.step.graph)

    @cached_property
    def _rule_nodes(self) -> dict[str, list[GraphNode]]:
        """For each trainable parameter the nodes of the step graph between its gradient and its new value."""
        graph, before = self.step.graph, self._before_updates()
        late = [node for node in graph.nodes if node.id not in before]
        return {name: reachable(late, [graph.outputs[f"new_{name}"]]) for name in self.model.graph.trainable}

    def _before_updates(self) -> set[str]:
        """The nodes of the model, and those of the gradients and their norm."""
        graph = self.step.graph
        gradients = reachable(graph.nodes, [graph.outputs[GRADIENT_NORM]])
        return {node.id for node in (*gradients, *self.model.graph.nodes)}


def _batches(batches: Batches) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The batches of one epoch after the other, each with the number of its epoch."""
    for epoch in itertools.count(1):
        for segment in batches.epoch(epoch):
            for index in range(segment.count):
                yield epoch, segment.batch(index)


def whole_data(batches: Batches, most: int) -> list[Mapping[str, Any]]:
    """All samples as one batch, or as the batches of an epoch where an input takes one sample at a time.

    Nothing if those are more than `most`, or if the data stays on disk.
    """
    whole = batches.whole()
    if whole is not None:
        return [whole]
    if batches.per_epoch > most or batches.is_stored:
        return []
    return [batch for _, batch in itertools.islice(_batches(batches), batches.per_epoch)]


def one_sample(arrays: Mapping[str, Any], model: Model, number: int) -> dict[str, Any]:
    """One sample of a data set, counted from 1: for an input of many samples an array of one.

    Raises
    ------
    UsageError
        GE402 if there is no such sample.
    """
    batches = Batches(arrays, model.graph, batch_size=1)
    if not 0 < number <= batches.samples:
        raise UsageError(f"there is no sample {number}", code="GE402", hint=f"1 to {batches.samples}")
    _, batch = next(itertools.islice(_batches(batches), number - 1, None))
    return {name: np.asarray(value) for name, value in batch.items()}
