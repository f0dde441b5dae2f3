"""The training loop: batch after batch through the compiled step, in chunks of many iterations.

A chunk is one call of a loop that knows nothing but numbers; between chunks the history is written, the model gets its
values and everything is checked for being finite. A chunk that is not is run again, iteration by iteration, by the
reference executor, to say what became non-finite first.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from graphengine.binding import bind_sizes
from graphengine.compile import Plan
from graphengine.errors import DivergenceError, TrainingError, UnsupportedError
from graphengine.executor import Executor
from graphengine.format.documents import FunctionFile, TrainingDocument
from graphengine.graph import Graph
from graphengine.training.batches import Batches, Segment
from graphengine.training.history import SMALL, History, Iteration
from graphengine.training.step import GRADIENT_NORM, ITERATION, LEARNING_RATE, step_graph
from graphengine.values import initial_value

CHUNK_SECONDS = 0.1
"""About how long a chunk takes, so that progress shows and an interrupt is heard."""


class Trainer:
    """Trains parameters as a training section says, on given arrays.

    `values` holds parameters and state by name; after each chunk the new arrays are put into it. With `reference` set
    every iteration is run by the reference executor.

    Raises
    ------
    TrainingError
        GE602 if nothing is trainable or no limit says when to stop.
    DataError
        GE505 if the data does not fit the inputs.
    """

    def __init__(
        self,
        graph: Graph,
        values: dict[str, Any],
        training: TrainingDocument,
        data: Mapping[str, Any],
        rule: FunctionFile,
    ) -> None:
        self.graph, self.values, self.training = graph, values, training
        self.reference = False
        if not graph.trainable:
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
        self.learning_rate = _constant_rate(training)
        self.step = step_graph(graph, training, rule)
        self._carried = {name: np.array(values[name])[()] for name in self.step.carried.values() if name in values}
        for name, slot in self.step.graph.state.items():
            if name not in values:
                self._carried[name] = initial_value(name, slot, self.step.graph.types[name].array_dtype)[()]
        small = sum(np.size(values[name]) for name in graph.trainable) <= SMALL
        self._recorded = (self.step.loss, GRADIENT_NORM, *(f"new_{name}" for name in graph.trainable if small))
        self.history = History(self.batches.per_epoch, graph.trainable if small else ())
        self._plans: dict[Any, Plan] = {}

    @property
    def total_iterations(self) -> int:
        """How many iterations the training has if nothing stops it."""
        by_epochs = (self.training.epochs or math.inf) * self.batches.per_epoch
        return int(min(by_epochs, self.training.max_iterations or math.inf))

    @property
    def carried(self) -> dict[str, Any]:
        """What the next iteration starts from: parameters, state and what the update rule keeps, by name; copies."""
        return {name: np.array(value)[()] for name, value in self._carried.items()}

    def iterate(self) -> Iterator[Iteration]:
        """Train, giving a row after each update, with the model's values those after it.

        Raises
        ------
        DivergenceError
            GE601 when a loss, gradient or parameter is not finite; the parameters keep their last finite values.
        """
        for _ in self.chunks(longest=1):
            yield self.history.last

    def chunks(self, longest: int | None = None) -> Iterator[Iteration]:
        """Train, giving a row now and then; raises as `iterate`."""
        length, total = 1, self.total_iterations
        for epoch in itertools.count(1):
            losses: list[tuple[int, float]] = []
            for segment in self.batches.epoch(epoch):
                start, count = 0, self._segment_length(segment, epoch)
                while start < count and len(self.history) < total:
                    began = time.perf_counter()
                    stop = min(start + (longest or length), count, start + total - len(self.history))
                    losses.append(((stop - start) * segment.size, self._chunk(segment, start, stop)))
                    length = max(1, int(length * min(4, CHUNK_SECONDS / max(time.perf_counter() - began, 1e-9))))
                    start = stop
                    if start == count:
                        self._end_epoch(losses)
                    yield self.history.last
            if len(self.history) >= total:
                return

    def _segment_length(self, segment: Segment, epoch: int) -> int:
        """How many iterations a segment has: where every batch is the same, all remaining epochs are one segment."""
        return self.total_iterations if self.batches.is_constant else segment.count

    def _end_epoch(self, losses: list[tuple[int, float]]) -> None:
        """Write the mean loss of an epoch once all its samples were used."""
        samples = sum(size for size, _ in losses)
        if not self.batches.is_constant and len(self.history) % self.batches.per_epoch == 0:
            self.history.add_epochs([sum(size * loss for size, loss in losses) / samples], 1)

    def _chunk(self, segment: Segment, start: int, stop: int) -> float:
        """Run the iterations of a segment from `start` to `stop`; gives their mean loss."""
        before = {name: np.array(value)[()] for name, value in self._carried.items()}
        rows: list[tuple[Any, ...]] = []
        done = len(self.history)
        feed = _Feed(segment, start, stop, done, self.history.flags(stop - start))
        run = self._run_reference if self.reference else self._run_plan
        total = run(feed, rows)
        if not self._is_finite(total):
            self._replay(feed, before)
        self.history.extend(rows, feed.count)
        if self.batches.is_constant:  # one iteration is one epoch
            self.history.add_epochs([row[0] for row in rows], feed.count)
        self.values.update({name: np.array(self._carried[name])[()] for name in self._carried if name in self.values})
        return total / feed.count

    def _is_finite(self, total: float) -> bool:
        return math.isfinite(total) and all(np.isfinite(self._carried[name]).all() for name in self.graph.trainable)

    def _constants(self) -> dict[str, Any]:
        """What the step reads and no iteration changes."""
        return {**self.values, LEARNING_RATE: self._typed(LEARNING_RATE, self.learning_rate)}

    def _typed(self, name: str, number: float) -> Any:
        kind = self.step.graph.types.get(name)
        return number if kind is None else kind.array_dtype.type(number)

    # ------------------------------------------------------------ compiled

    def _run_plan(self, feed: _Feed, rows: list[tuple[Any, ...]]) -> float:
        plan = self._plan(feed.segment)
        fed = [name for name in plan.sources if name in feed.names or name == ITERATION]
        values = {**self._constants(), **self._carried}
        number = self.step.graph.types[ITERATION].array_dtype.type if ITERATION in fed else float
        batches = feed.tuples(fed, float if ITERATION in plan.floats else number)
        new, total = plan.loop(batches, values, fed, self._recorded, rows.append)
        self._carried.update(new)
        return total

    def _plan(self, segment: Segment) -> Plan:
        """The compiled step for batches of one shape."""
        shapes = {name: np.shape(value) for name, value in segment.batch(0).items()}
        key = tuple(sorted(shapes.items()))
        if key not in self._plans:
            sizes = bind_sizes(shapes, self.graph.types)
            self._plans[key] = Plan(self.step.graph.with_sizes(sizes), exact=False, carried=self.step.carried)
        return self._plans[key]

    # ------------------------------------------------------------ reference

    @cached_property
    def _executor(self) -> Executor:
        return Executor(self.step.graph)

    def _run_reference(self, feed: _Feed, rows: list[tuple[Any, ...]]) -> float:
        total = 0.0
        for index, keep in enumerate(feed.flags):
            slots = self._executor.forward(self._reference_values(feed, index))
            outputs = {name: slots[self._executor.slot_of[of]] for name, of in self.step.graph.outputs.items()}
            if keep:
                rows.append(tuple(_plain(outputs[name]) for name in self._recorded))
            total += float(outputs[self.step.loss])
            self._carried.update({source: outputs[name] for name, source in self.step.carried.items()})
        return total

    def _reference_values(self, feed: _Feed, index: int) -> dict[str, Any]:
        values = {**self._constants(), **self._carried, **feed.batch(index)}
        values[ITERATION] = self._typed(ITERATION, feed.done + index + 1)
        return {name: value for name, value in values.items() if name in self._executor.slot_of}

    # ------------------------------------------------------------ divergence

    def _replay(self, feed: _Feed, before: dict[str, Any]) -> NoReturn:
        """Find the iteration and the value that became non-finite first; the model keeps what was before it."""
        self._carried = before
        for index in range(feed.count):
            values = self._reference_values(feed, index)
            slots = self._executor.forward(values)
            outputs = {name: slots[self._executor.slot_of[of]] for name, of in self.step.graph.outputs.items()}
            if not all(_finite(value) for value in outputs.values()):
                break
            self._carried = {source: outputs[name] for name, source in self.step.carried.items()}
            self.values.update({name: value for name, value in self._carried.items() if name in self.values})
        iteration = feed.done + index + 1
        epoch = (iteration - 1) // self.batches.per_epoch + 1
        raise DivergenceError(
            f"training diverged at iteration {iteration} (epoch {epoch}): {self._first_non_finite(values, slots)} "
            "became non-finite first",
            iteration=iteration,
            epoch=epoch,
            hint=f"a smaller learning rate may help (it is {self.learning_rate}), or inputs scaled to about 1",
        )

    def _first_non_finite(self, values: Mapping[str, Any], slots: list[Any]) -> str:
        """The value that is not finite although all that it is computed from are."""
        for name, value in values.items():
            if not _finite(value):
                return f"{'parameter' if name in self.graph.parameters else 'input'} '{name}'"
        for node in self.step.graph.nodes:
            if not all(_finite(slots[self._executor.slot_of[name]]) for name in node.outputs):
                return f"node '{node.id}' ({node.op})"
        return f"the loss '{self.step.loss}'"


class _Feed:
    """The batches of one chunk."""

    def __init__(self, segment: Segment, start: int, stop: int, done: int, flags: list[bool]) -> None:
        self.segment, self.done, self.count, self.flags = segment, done, stop - start, flags
        self._start = start
        self.names = {*segment.arrays, *segment.whole}

    def batch(self, index: int) -> dict[str, Any]:
        """One batch, by input; a segment of one batch gives it again and again."""
        return self.segment.batch((self._start + index) % self.segment.count)

    def tuples(self, names: list[str], number: type) -> Iterator[tuple[Any, ...]]:
        """For each batch whether to record it, then its values in the order of `names`; the iteration as a `number`."""
        again = self.segment.count == 1
        start, stop = (0, 1) if again else (self._start, self._start + self.count)
        columns: list[Any] = [self.flags]
        for name in names:
            if name == ITERATION:
                columns.append(map(number, itertools.count(self.done + 1)))
            else:
                column = self.segment.column(name, start, stop)
                columns.append(itertools.repeat(*column) if again else column)
        return zip(*columns, strict=False)


def _constant_rate(training: TrainingDocument) -> float:
    rate = training.optimizer.learning_rate
    if not isinstance(rate, (int, float)):
        raise UnsupportedError("a learning-rate schedule is not supported yet")
    return float(rate)


def _plain(value: Any) -> Any:
    """A double scalar as a Python float, as a plan gives it."""
    return float(value) if np.shape(value) == () else value


def _finite(value: Any) -> bool:
    return bool(np.isfinite(value).all())
