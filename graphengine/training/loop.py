"""The training loop: batch after batch through the compiled step, in chunks of many iterations.

A chunk is one call of a loop that knows nothing but numbers; between chunks the history is written, the model gets its
values and everything is checked for being finite. A chunk that is not is run again, iteration by iteration, by the
reference executor, to say what became non-finite first.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from types import NoneType
from typing import Any, NoReturn

import numpy as np

from graphengine.binding import bind_sizes
from graphengine.compile import Plan
from graphengine.errors import DivergenceError, GraphEngineError, TrainingError
from graphengine.executor import Executor, plan_failure
from graphengine.format.documents import FunctionFile, TrainingDocument
from graphengine.graph import Graph
from graphengine.training.batches import Batches
from graphengine.training.course import Chunk, Course
from graphengine.training.history import SMALL, History, Iteration
from graphengine.training.schedules import rate_at
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
        rate = training.optimizer.learning_rate
        self._schedule = float(rate or 0) if isinstance(rate, (int, float, NoneType)) else rate
        self.step = step_graph(graph, training, rule)
        self._carried = {name: np.array(values[name])[()] for name in self.step.carried.values() if name in values}
        for name, slot in self.step.graph.state.items():
            if name not in values:
                self._carried[name] = initial_value(name, slot, self.step.graph.types[name].array_dtype)[()]
        self._last = {name: np.array(value)[()] for name, value in self._carried.items()}
        small = sum(np.size(values[name]) for name in graph.trainable) <= SMALL
        self._recorded = (self.step.loss, GRADIENT_NORM, *(f"new_{name}" for name in graph.trainable if small))
        self.history = History(self.batches.per_epoch, graph.trainable if small else ())
        self._plans: dict[int, Plan] = {}
        self._epoch: list[float] = []
        """Sums of the losses of the samples of the current epoch, one for each size of batches that is complete."""
        self._total = 0.0
        """The sum of the losses of the batches of the current size."""

    @property
    def total_iterations(self) -> int:
        """How many iterations the training has if nothing stops it."""
        by_epochs = (self.training.epochs or math.inf) * self.batches.per_epoch
        return int(min(by_epochs, self.training.max_iterations or math.inf))

    @property
    def learning_rate(self) -> float:
        """The rate of the next iteration."""
        return rate_at(self._schedule, len(self.history) + 1)

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
        length, course = 1, Course(self.batches, self.total_iterations)
        while course.done < course.total:
            began = time.perf_counter()
            chunk = course.take(longest or length)
            self._run(chunk)
            seconds = max(time.perf_counter() - began, 1e-9)
            length = max(1, min(4 * length, int(chunk.count * CHUNK_SECONDS / seconds)))
            yield self.history.last

    def _run(self, chunk: Chunk) -> None:
        """Run the iterations of a chunk, write the history and give the model its new values."""
        rows: list[tuple[Any, ...]] = []
        flags = self.history.flags(chunk.count)
        run = self._run_reference if self.reference else self._run_plan
        try:
            totals = run(chunk, flags, rows)
        except GraphEngineError:
            raise
        except Exception as error:
            self._carried = self._last
            raise plan_failure(error, lambda: self._run_reference(chunk, flags, [])) from error
        if not self._is_finite(totals):
            self._replay(chunk)
        self.history.extend(rows, chunk.count)
        self._add_epochs(chunk, totals)
        self._last = {name: np.array(value)[()] for name, value in self._carried.items()}
        self.values.update({name: value for name, value in self._last.items() if name in self.values})

    def _add_epochs(self, chunk: Chunk, totals: Sequence[float]) -> None:
        """Write the mean loss of each epoch once all its samples were used."""
        for piece, total in zip(chunk.pieces, totals, strict=True):
            self._total = total
            if piece.last:
                self._epoch.append(chunk.size * total)
            if piece.ends_epoch:
                self.history.add_epoch(sum(self._epoch) / self.batches.samples_per_epoch)
                self._epoch.clear()

    def _is_finite(self, totals: Sequence[float]) -> bool:
        return all(map(math.isfinite, totals)) and all(_finite(self._carried[name]) for name in self.graph.trainable)

    def _typed(self, name: str, number: float) -> Any:
        kind = self.step.graph.types.get(name)
        return number if kind is None else kind.array_dtype.type(number)

    def _numbered(self, iteration: int) -> dict[str, Any]:
        """What the step reads that depends on the number of the iteration alone."""
        numbers = {ITERATION: iteration, LEARNING_RATE: rate_at(self._schedule, iteration)}
        return {name: self._typed(name, number) for name, number in numbers.items()}

    # ------------------------------------------------------------ compiled

    def _run_plan(self, chunk: Chunk, flags: list[bool], rows: list[tuple[Any, ...]]) -> list[float]:
        plan = self._plan(chunk)
        totals = [self._total]
        numbered = self._functions(plan)
        fed = [name for name in plan.sources if name in self.batches.inputs or name in numbered]
        groups = chunk.groups(fed, numbered, flags, totals)
        values = {**self.values, **self._numbered(chunk.done + 1), **self._carried}
        self._carried.update(plan.loop(groups, values, fed, self._recorded, rows.append, totals.append))
        return totals[1:]

    def _functions(self, plan: Plan) -> dict[str, Callable[[int], Any]]:
        """What changes with the iteration as functions of it, giving numbers as the plan holds them."""
        kinds = {
            name: float if name in plan.floats else self.step.graph.types[name].array_dtype.type
            for name in (ITERATION, LEARNING_RATE)
            if name in plan.sources
        }
        schedule = self._schedule
        if isinstance(schedule, float) or LEARNING_RATE not in kinds:
            return {ITERATION: kinds[ITERATION]} if ITERATION in kinds else {}
        rate = kinds.pop(LEARNING_RATE)
        return {**kinds, LEARNING_RATE: lambda iteration: rate(rate_at(schedule, iteration))}

    def _plan(self, chunk: Chunk) -> Plan:
        """The compiled step for batches of one shape."""
        if chunk.size not in self._plans:
            batch = next(chunk.batches())
            sizes = bind_sizes({name: np.shape(value) for name, value in batch.items()}, self.graph.types)
            self._plans[chunk.size] = Plan(self.step.graph.with_sizes(sizes), exact=False, carried=self.step.carried)
        return self._plans[chunk.size]

    # ------------------------------------------------------------ reference

    @cached_property
    def _executor(self) -> Executor:
        return Executor(self.step.graph)

    def _run_reference(self, chunk: Chunk, flags: list[bool], rows: list[tuple[Any, ...]]) -> list[float]:
        totals, losses = [self._total], iter(self._reference_losses(chunk, flags, rows))
        for piece in chunk.pieces:
            start = 0.0 if piece.first else totals[-1]
            totals.append(sum(itertools.islice(losses, piece.stop - piece.start), start))
        return totals[1:]

    def _reference_losses(self, chunk: Chunk, flags: list[bool], rows: list[tuple[Any, ...]]) -> Iterator[float]:
        for number, (batch, keep) in enumerate(zip(chunk.batches(), flags, strict=True), chunk.done + 1):
            slots = self._executor.forward(self._reference_values(batch, number))
            outputs = {name: slots[self._executor.slot_of[of]] for name, of in self.step.graph.outputs.items()}
            if keep:
                rows.append(tuple(_plain(outputs[name]) for name in self._recorded))
            self._carried.update({source: outputs[name] for name, source in self.step.carried.items()})
            yield float(outputs[self.step.loss])

    def _reference_values(self, batch: Mapping[str, Any], iteration: int) -> dict[str, Any]:
        values = {**self.values, **self._carried, **batch, **self._numbered(iteration)}
        return {name: value for name, value in values.items() if name in self._executor.slot_of}

    # ------------------------------------------------------------ divergence

    def _replay(self, chunk: Chunk) -> NoReturn:
        """Find the iteration and the value that became non-finite first; the model keeps what was before it."""
        self._carried = self._last
        for iteration, batch in enumerate(chunk.batches(), chunk.done + 1):
            values = self._reference_values(batch, iteration)
            slots = self._executor.forward(values)
            outputs = {name: slots[self._executor.slot_of[of]] for name, of in self.step.graph.outputs.items()}
            if not all(_finite(value) for value in outputs.values()):
                break
            self._carried = {source: outputs[name] for name, source in self.step.carried.items()}
            self.values.update({name: value for name, value in self._carried.items() if name in self.values})
        epoch = (iteration - 1) // self.batches.per_epoch + 1
        raise DivergenceError(
            f"training diverged at iteration {iteration} (epoch {epoch}): {self._first_non_finite(values, slots)} "
            "became non-finite first",
            iteration=iteration,
            epoch=epoch,
            hint=f"a smaller learning rate may help (it is {rate_at(self._schedule, iteration)}), or inputs scaled to "
            "about 1",
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


def _plain(value: Any) -> Any:
    """A double scalar as a Python float, as a plan gives it."""
    return float(value) if np.shape(value) == () else value


def _finite(value: Any) -> bool:
    return bool(np.isfinite(value).all())
