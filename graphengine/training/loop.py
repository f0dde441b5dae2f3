"""The training loop: batch, forward, backward, update, again; one iteration is one update of the parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import numpy as np

from graphengine.errors import DivergenceError, TrainingError, UnsupportedError
from graphengine.executor import Executor
from graphengine.format.documents import TrainingDocument
from graphengine.training.batches import Batches
from graphengine.training.history import Epoch, History, Iteration
from graphengine.training.rules import UpdateRule, find_rule

SMALL = 16
"""Parameters with at most this many numbers in all are recorded in the history."""


class Trainer:
    """Trains parameters as a training section says, on given arrays.

    `values` holds parameters and state by name; each update replaces the arrays in it.

    Raises
    ------
    TrainingError
        GE602 if nothing is trainable or no limit says when to stop.
    DataError
        GE505 if the data does not fit the inputs.
    """

    def __init__(
        self, executor: Executor, values: dict[str, Any], training: TrainingDocument, data: Mapping[str, Any]
    ) -> None:
        graph = executor.graph
        self.executor, self.values, self.training = executor, values, training
        self.loss = graph.value_name(training.loss)
        self.parameters = graph.trainable
        if not self.parameters:
            raise TrainingError(f"model '{graph.name}' has no trainable parameter")
        if training.epochs is None and training.max_iterations is None:
            raise TrainingError("nothing says when to stop", hint="give 'epochs' or 'max_iterations'")
        self.batches = Batches(
            data,
            graph,
            batch_size=training.batch_size,
            drop_last=training.drop_last,
            shuffle=training.shuffle,
            seed=training.seed,
        )
        if self.batches.per_epoch == 0:
            raise TrainingError("drop_last leaves no batch: there are fewer samples than batch_size")
        rule = find_rule(training.optimizer.type)
        self.rules = {
            name: UpdateRule(rule, training.optimizer.attributes, graph.types[name]) for name in self.parameters
        }
        self.slots = {name: self.rules[name].initial_slots() for name in self.parameters}
        self.learning_rate = _constant_rate(training)
        self.history = History()
        backward = executor.backward_schedule(self.loss, self.parameters)
        self._schedule = executor.forward_schedule([self.loss], backward.reads)

    def iterate(self) -> Iterator[Iteration]:
        """Train, giving a row after each update.

        Raises
        ------
        DivergenceError
            GE601 when a loss, gradient or parameter is not finite; the parameters keep their last finite values.
        """
        iteration, limit = 0, self.training.max_iterations or math.inf
        for epoch in range(1, (self.training.epochs or 2**62) + 1):
            samples, total = 0, 0.0
            for size, batch in self.batches.epoch(epoch):
                iteration += 1
                row = self._iteration(epoch, iteration, batch)
                samples, total = samples + size, total + size * row.loss
                self.history.iterations.add(row)
                last = iteration % self.batches.per_epoch == 0
                if last:
                    self.history.epochs.add(Epoch(epoch, self.batches.per_epoch, total / samples))
                yield row
                if iteration >= limit:
                    return

    def _iteration(self, epoch: int, iteration: int, batch: Mapping[str, Any]) -> Iteration:
        executor, values = self.executor, {**self.values, **batch}
        slots = executor.forward(values, self._schedule)
        loss = float(slots[executor.slot_of[self.loss]])
        if not math.isfinite(loss):
            self._diverged(epoch, iteration, self._first_non_finite(values))
        gradients = executor.backward(slots, self.loss, self.parameters)
        updated = {name: self._update(name, gradients[name], iteration) for name in self.parameters}
        for name in self.parameters:
            if not np.isfinite(updated[name]).all():
                what = "parameter" if np.isfinite(gradients[name]).all() else "gradient toward parameter"
                self._diverged(epoch, iteration, f"{what} '{name}'")
        self.values.update(updated)
        return Iteration(epoch, iteration, loss, _norm(gradients), self._recorded())

    def _update(self, name: str, gradient: Any, iteration: int) -> Any:
        rate = self.learning_rate * self.executor.graph.parameters[name].learning_rate_multiplier
        parameter = self.values[name]
        new, self.slots[name] = self.rules[name].update(parameter, gradient, rate, iteration, self.slots[name])
        return new

    def _recorded(self) -> dict[str, Any] | None:
        values = {name: self.values[name] for name in self.parameters}
        return values if sum(np.size(value) for value in values.values()) <= SMALL else None

    def _first_non_finite(self, values: Mapping[str, Any]) -> str:
        """The value that is not finite although all that it is computed from are."""
        executor = self.executor
        slots = executor.forward(values)
        for name in values:
            if not _finite(values[name]):
                return f"{'parameter' if name in self.parameters else 'input'} '{name}'"
        for node in self.executor.graph.nodes:
            if not all(_finite(slots[executor.slot_of[name]]) for name in node.outputs):
                return f"node '{node.id}' ({node.op})"
        return f"the loss '{self.loss}'"

    def _diverged(self, epoch: int, iteration: int, what: str) -> NoReturn:
        raise DivergenceError(
            f"training diverged at iteration {iteration} (epoch {epoch}): {what} became non-finite first",
            iteration=iteration,
            epoch=epoch,
            hint=f"a smaller learning rate may help (it is {self.learning_rate}), or inputs scaled to about 1",
        )


def _constant_rate(training: TrainingDocument) -> float:
    rate = training.optimizer.learning_rate
    if not isinstance(rate, (int, float)):
        raise UnsupportedError("a learning-rate schedule is not supported yet")
    return rate


def _finite(value: Any) -> bool:
    return bool(np.isfinite(value).all())


def _norm(gradients: Mapping[str, Any]) -> float:
    """The Euclidean norm of all gradients together."""
    with np.errstate(over="ignore"):
        return math.sqrt(sum(float(np.sum(np.square(gradient))) for gradient in gradients.values()))
