"""Runs the iterations of a chunk: compiled, or by the reference executor, which also says where numbers went astray.

A `Stepper` holds what is carried from one iteration to the next: parameters, state, and what the update rule keeps.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias

import numpy as np

from graphengine.backends import protocol
from graphengine.backends.protocol import Program, Rounds
from graphengine.backends.reference.diagnosis import plan_failure
from graphengine.backends.reference.executor import Executor
from graphengine.data.batches import Batches
from graphengine.errors import DivergenceError, GraphEngineError
from graphengine.format.documents import TrainingDocument
from graphengine.format.initializers import initial_value
from graphengine.gc_pause import paused
from graphengine.ir.binding import bind_sizes, shapes_of
from graphengine.ir.graph import Graph
from graphengine.mappings import absent, only, without
from graphengine.ops.numbers import all_finite
from graphengine.training.compiled import CompiledStep
from graphengine.training.course import Chunk
from graphengine.training.history import columns_of
from graphengine.transform.step import GRADIENT_NORM, ITERATION, LEARNING_RATE, Step

if TYPE_CHECKING:
    from graphengine.training.accumulation import Accumulation
    from graphengine.training.sharding import Sharding
    from graphengine.training.uncounted import Denominators

Row: TypeAlias = tuple[Any, ...]
"""What is recorded of an iteration: loss, gradient norm, recorded parameters."""

MOST_AHEAD, AHEAD_BYTES = 1024, 2**20
"""How many iterations are run ahead of their rows at most, and the bytes of the values that are kept for that."""


class LossSum(NamedTuple):
    """The sum of the losses of some batches, and how many of them have none because no sample of theirs counts."""

    total: float
    uncounted: int = 0


class Stepper:
    """The steps of a training from given values; `recorded` are the parameters that a row of the history has.

    With `reference` set every iteration is run by the reference executor. With `check_finite` set it also stops at the
    first value of any node that is not finite, even if the loss is.
    """

    graph: Graph
    batches: Batches
    reference: bool
    check_finite: bool
    began: float
    schedule: Any
    step: Step
    fixed: dict[str, Any]

    def __init__(
        self,
        graph: Graph,
        values: Mapping[str, Any],
        training: TrainingDocument,
        compiled: CompiledStep,
        batches: Batches,
        recorded: Sequence[str],
    ) -> None:
        self.graph, self.batches, self.reference = graph, batches, False
        self.check_finite = False
        self._gives_values = False
        rate = training.optimizer.learning_rate
        self.schedule = float(rate or 0) if isinstance(rate, (int, float, NoneType)) else rate
        self._compiled, self.step, self._packing = compiled, compiled.step, compiled.packing
        self._recorded = (self.step.loss, GRADIENT_NORM, *(f"new_{name}" for name in recorded))
        values = self._packed(values)
        self.fixed = without(values, self.step.carried.values())
        self._carried = self._at_start(values)
        self._last = _copies(self._carried)
        self._plans: dict[int, Program] = {}
        self.began = 0.0
        """When the first iteration of the last chunk began."""
        self._accumulation: Accumulation | None = None
        self.sharding: Sharding | None = None
        """What computes gradients in shards, for which there may be workers."""
        if training.is_in_parts:
            self._divide(training)

    def _divide(self, training: TrainingDocument) -> None:
        """Prepare gradients of parts of the batches, as few trainings need them."""
        if training.shard_rows is None:
            from graphengine.training.accumulation import Accumulation

            self._accumulation = Accumulation(self.graph, training, self._compiled, self.batches)
        else:
            from graphengine.training.sharding import Sharding

            self._accumulation = self.sharding = Sharding(self.graph, training, self._compiled, self.batches)

    def _at_start(self, values: Mapping[str, Any]) -> dict[str, Any]:
        carried = _copies({name: values[name] for name in self.step.carried.values() if name in values})
        for name, slot in self.step.graph.state.items():
            if name not in values:
                carried[name] = initial_value(name, slot)[()]
        return carried

    @property
    def unpacked(self) -> Step:
        """The step with each parameter by itself."""
        return self._compiled.reference

    def forget(self) -> None:
        """Drop what only a further iteration needs: the slots of the update rule."""
        self._carried = self._last = {}

    @property
    def longest_chunk(self) -> int | None:
        """How many iterations are run at a time: one with large arrays, because the values before a chunk are kept.

        One with workers, too: where they are lost, all iterations before are in the history.
        """
        return 1 if self.sharding or any(map(_is_large, self._carried.values())) else None

    @property
    def longest_ahead(self) -> int:
        """How many iterations `run_ahead` may take at a time, 1 where it may not be used."""
        if self.reference or self.check_finite or self._accumulation:
            return 1
        size = sum(np.asarray(value).nbytes for value in self._carried.values())
        return max(1, min(MOST_AHEAD, AHEAD_BYTES // max(size, 1)))

    def _packed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values of parameters and slots by the names of the step."""
        return self._packing.pack(values) if self._packing else dict(values)

    def _unpacked(self, values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        """Values by the names of the model's graph; all names have the prefix."""
        return self._packing.unpack(values, prefix) if self._packing else dict(values)

    @property
    def carried(self) -> dict[str, Any]:
        """What the next iteration starts from, by name; copies."""
        return self._unpacked(_copies(self._carried))

    @carried.setter
    def carried(self, values: Mapping[str, Any]) -> None:
        self._carried = _copies(self._packed(values))
        self._last = _copies(self._carried)

    def run(
        self, chunk: Chunk, flags: Sequence[int], rows: list[tuple[Any, ...]], total: float
    ) -> tuple[list[LossSum], dict[str, Any]]:
        """Run a chunk, adding to `rows` those that are flagged; gives the sums of the losses and the new values.

        There is one sum for each piece of the chunk; the first one continues from `total` if its batches do. A batch of
        which no sample counts has no loss, NaN, and is in no sum.

        Raises
        ------
        DivergenceError
            GE601 when a loss, gradient, parameter or slot is not finite; `carried` then has the last finite values.
        """
        self.began = time.perf_counter()
        try:
            sums = self._sums(chunk, flags, rows, total)
        except BaseException as error:  # an interruption also leaves values that belong to no iteration
            self._carried = _copies(self._last)
            if isinstance(error, GraphEngineError) or not isinstance(error, Exception):
                raise
            raise plan_failure(error, lambda: self._run_reference(chunk, flags, [], total)) from error
        if self._has_no_number(sums) or not all(all_finite(self._carried[name]) for name in self._learned):
            self._replay(chunk)
        self._last = _copies(self._carried)
        return sums, self._unpacked(self._last)

    def _sums(self, chunk: Chunk, flags: Sequence[int], rows: list[Row], total: float) -> list[LossSum]:
        """The sums of the losses, by the way in which this training runs."""
        if self.reference or self.check_finite:
            return self._run_reference(chunk, flags, rows, total)
        run = self._run_parts if self._accumulation else self._run_plan
        return run(chunk, flags, rows, total)

    @cached_property
    def _learned(self) -> list[str]:
        """The parameters and their slots: one that has overflowed makes all further steps 0."""
        return absent(self.step.carried.values(), self.graph.state)

    def run_ahead(self, chunk: Chunk, total: float) -> tuple[list[LossSum], list[Row], dict[str, Iterable[Any]]]:
        """As `run`, with the rows of all iterations and the values after each, by name; an error leaves `carried`."""
        rows: list[Row] = []
        before, self._gives_values = self._last, True
        try:
            sums, _ = self.run(chunk, [True] * chunk.count, rows, total)
        except DivergenceError:
            self._carried = _copies(before)
            raise
        finally:
            self._gives_values = False
        with paused():
            return sums, *self._ahead(rows)

    def _ahead(self, rows: list[Row]) -> tuple[list[Row], dict[str, Iterable[Any]]]:
        """The rows of the history, and the values after each iteration, by name."""
        width, columns = len(self._recorded), columns_of(rows)
        after = dict(zip(self.step.carried.values(), map(_scalars, columns[width:]), strict=True))
        if self._packing:
            packed = [dict(zip(after, values, strict=True)) for values in zip(*after.values(), strict=True)]
            each = list(map(self._unpacked, packed))
            after = {name: [values[name] for values in each] for name in each[0]}
        return list(zip(*columns[:width], strict=True)), after

    @staticmethod
    def _has_no_number(sums: Iterable[LossSum]) -> bool:
        return not all(math.isfinite(each.total) for each in sums)

    def _added(self, chunk: Chunk, losses: Iterator[float], total: float) -> list[LossSum]:
        """The sum of the losses of each piece; NaN means a batch without a loss."""
        sums: list[LossSum] = []
        for piece in chunk.pieces:
            start, uncounted = 0.0 if piece.first else total, 0
            for loss in itertools.islice(losses, piece.stop - piece.start):
                start, uncounted = (start, uncounted + 1) if math.isnan(loss) else (start + loss, uncounted)
            sums.append(LossSum(start, uncounted))
            total = start
        return sums

    @cached_property
    def _denominators(self) -> Denominators:
        from graphengine.training.uncounted import Denominators

        return Denominators(self.graph, self.step.loss)

    def _counts_nothing(self, loss: float, found: Mapping[str, Any], batches: Iterable[Mapping[str, Any]]) -> bool:
        """Whether a loss is NaN because no sample of the batch, or of its parts, counts; all else is finite then."""
        others = (value for name, value in found.items() if name != self.step.loss)
        if not (math.isnan(loss) and all(map(all_finite, others))):
            return False
        values = {**self.fixed, **self._unpacked(self._last)}
        return all(self._denominators.are_zero({**values, **batch}) for batch in batches)

    @cached_property
    def _typed(self) -> dict[str, Callable[[Any], Any]]:
        """What makes a number of the step's type, of the iteration and of the learning rate."""
        types = self.step.graph.types
        known = {name: types[name].array_dtype.type for name in (ITERATION, LEARNING_RATE) if name in types}
        return {ITERATION: int, LEARNING_RATE: float, **known}

    def _numbered(self, iteration: int) -> dict[str, Any]:
        """What the step reads that depends on the number of the iteration alone."""
        numbers = {ITERATION: iteration, LEARNING_RATE: self.rate(iteration)}
        return {name: self._typed[name](number) for name, number in numbers.items()}

    # ------------------------------------------------------------ compiled

    def _run_plan(self, chunk: Chunk, flags: Sequence[int], rows: list[tuple[Any, ...]], total: float) -> list[LossSum]:
        recorded = (*self._recorded, *self.step.carried) if self._gives_values else self._recorded
        sums = [LossSum(each) for each in self._loop(chunk, flags, recorded, rows, total)]
        return self._run_again(chunk, total) if self._has_no_number(sums) else sums

    def _run_again(self, chunk: Chunk, total: float) -> list[LossSum]:
        """The sums of a chunk in which a loss is not a number, by another run of it that gives each loss."""
        rows: list[tuple[Any, ...]] = []
        self._carried = _copies(self._last)
        self._loop(chunk, [True] * chunk.count, self._recorded[:2], rows, total)
        losses = []
        for (loss, norm), batch in zip(rows, chunk.batches(), strict=True):
            nothing = math.isnan(loss) and self._counts_nothing(loss, {GRADIENT_NORM: norm}, [batch])
            losses.append(loss if nothing or math.isfinite(loss) else math.inf)
        return self._added(chunk, iter(losses), total)

    def _loop(
        self, chunk: Chunk, flags: Sequence[int], recorded: Sequence[str], rows: list[tuple[Any, ...]], total: float
    ) -> list[float]:
        plan = self._plan(chunk)
        totals = [total]
        numbered = self._functions(plan)
        fed = [name for name in plan.sources if name in self.batches.inputs or name in numbered]
        groups = self._timed(chunk.groups(fed, numbered, flags, totals, plan.floats))
        values = {**self.fixed, **self._numbered(chunk.done + 1), **self._carried}
        self._carried.update(plan.loop(groups, values, fed, recorded, rows.append, totals.append))
        return totals[1:]

    def _timed(self, groups: Iterator[tuple[float, Rounds]]) -> Iterator[tuple[float, Rounds]]:
        """The same groups; the clock begins when the first is requested, after all that is compiled."""
        self.began = time.perf_counter()
        yield from groups

    def rate(self, iteration: int) -> float:
        """The learning rate of an iteration, counted from 1."""
        rate: float = self.schedule if isinstance(self.schedule, float) else self.schedule.at(iteration)
        return rate

    def _functions(self, plan: Program) -> dict[str, Callable[[int], Any]]:
        """What changes with the iteration as functions of it, giving numbers as the plan holds them."""
        functions: dict[str, Callable[[Any], Any]] = {
            name: float if name in plan.floats else self._typed[name]
            for name in (ITERATION, LEARNING_RATE)
            if name in plan.sources
        }
        rate, schedule = functions.pop(LEARNING_RATE, None), self.schedule
        if rate is None or isinstance(schedule, float):
            return functions
        return {**functions, LEARNING_RATE: lambda iteration: rate(schedule.at(iteration))}

    def _plan(self, chunk: Chunk) -> Program:
        """The compiled step for batches of one shape."""
        if chunk.size not in self._plans:
            batch = next(chunk.batches())
            sizes = bind_sizes(shapes_of(batch), self.graph.types)
            self._plans[chunk.size] = self._compiled.plan(sizes)
        return self._plans[chunk.size]

    # ------------------------------------------------------------ in parts

    def _run_parts(
        self, chunk: Chunk, flags: Sequence[int], rows: list[tuple[Any, ...]], total: float
    ) -> list[LossSum]:
        """As `_run_plan`, with each batch in parts; a batch that diverges is reported at once."""
        return self._added(chunk, self._losses_in_parts(chunk, flags, rows), total)

    def _losses_in_parts(self, chunk: Chunk, flags: Sequence[int], rows: list[tuple[Any, ...]]) -> Iterator[float]:
        assert self._accumulation is not None
        for iteration, (parts, keep) in enumerate(zip(chunk.parts(), flags, strict=True), chunk.done + 1):
            rate, batches = self.rate(iteration), list(parts)
            loss, found = self._accumulation.run(batches, {**self.fixed, **self._carried}, iteration, rate)
            self._require_finite(iteration, loss, found, (batch for batch, _ in batches))
            found[self.step.loss] = loss
            self._carried.update({source: found[name] for name, source in self.step.carried.items()})
            self._last = self.carried
            if keep:
                rows.append(self._row(found))
            yield loss

    def _row(self, outputs: Mapping[str, Any]) -> Row:
        return tuple([_plain(outputs[name]) for name in self._recorded])

    def _require_finite(
        self, iteration: int, loss: float, found: Mapping[str, Any], batches: Iterable[Mapping[str, Any]]
    ) -> None:
        """Refuse numbers that are not finite, except for a loss of parts of which no sample counts."""
        is_finite = math.isfinite(loss) and all(map(all_finite, found.values()))
        if not is_finite and not self._counts_nothing(loss, found, batches):
            values = self._unpacked(found, "new_")
            first = next((name for name, value in values.items() if not all_finite(value)), self.step.loss)
            raise self._diverged(iteration, f"'{first}' became non-finite first")

    # ------------------------------------------------------------ reference

    @cached_property
    def _executor(self) -> Executor:
        return Executor(self._compiled.reference.graph)

    def _run_reference(
        self, chunk: Chunk, flags: Sequence[int], rows: list[tuple[Any, ...]], total: float
    ) -> list[LossSum]:
        return self._added(chunk, self._reference_losses(chunk, flags, rows), total)

    def _reference_losses(self, chunk: Chunk, flags: Sequence[int], rows: list[tuple[Any, ...]]) -> Iterator[float]:
        from graphengine.ir.finite import first_non_finite

        for number, (batch, keep) in enumerate(zip(chunk.batches(), flags, strict=True), chunk.done + 1):
            slots = self._executor.forward(self._reference_values(batch, number))
            if self.check_finite and first_non_finite(self._executor.graph, self._named(slots)):
                raise self._diverged(number, *self._first_non_finite(slots))
            outputs = self._outputs(slots)
            if keep:
                rows.append(self._row(outputs))
            self._carried = self._next(outputs)
            loss = float(outputs[self.step.loss])
            yield loss if not math.isnan(loss) or self._counts_nothing(loss, outputs, [batch]) else math.inf

    def _next(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """What is carried into the next iteration, from the outputs of the reference."""
        carried = self._compiled.reference.carried
        return self._packed({source: outputs[name] for name, source in carried.items()})

    def _named(self, slots: list[Any]) -> dict[str, Any]:
        return {name: slots[slot] for name, slot in self._executor.slot_of.items()}

    def _outputs(self, slots: list[Any]) -> dict[str, Any]:
        return {name: slots[self._executor.slot_of[of]] for name, of in self._executor.graph.outputs.items()}

    def _reference_values(self, batch: Mapping[str, Any], iteration: int) -> dict[str, Any]:
        carried = self._unpacked(self._carried)
        values = {**self.fixed, **carried, **batch, **self._numbered(iteration)}
        return only(values, self._executor.slot_of)

    # ------------------------------------------------------------ divergence

    def _replay(self, chunk: Chunk) -> NoReturn:
        """Find the iteration and the value that became non-finite first; what was carried into it is kept."""
        self._carried = self._last
        for iteration, batch in enumerate(chunk.batches(), chunk.done + 1):
            values = self._reference_values(batch, iteration)
            slots = self._executor.forward(values)
            outputs = self._outputs(slots)
            loss = float(outputs[self.step.loss])
            if not (all(map(all_finite, outputs.values())) or self._counts_nothing(loss, outputs, [batch])):
                break
            self._carried = self._next(outputs)
        raise self._diverged(iteration, *self._first_non_finite(slots))

    def _diverged(self, iteration: int, what: str, node: str | None = None) -> DivergenceError:
        epoch = (iteration - 1) // self.batches.per_epoch + 1
        return DivergenceError(
            f"training diverged at iteration {iteration} (epoch {epoch}): {what}",
            iteration=iteration,
            epoch=epoch,
            node=node,
            hint=f"a smaller learning rate may help (it is {self.rate(iteration)}), inputs scaled to "
            "about 1, or gradient_clipping",
        )

    def _first_non_finite(self, slots: list[Any]) -> tuple[str, str | None]:
        """The value that is not finite although all that it is computed from are, in words, and its node."""
        from graphengine.ir.finite import first_non_finite

        found = first_non_finite(self._executor.graph, self._named(slots))
        if not found:
            return "a sum of losses overflowed", None
        return f"{found.what} became non-finite first, {found.how}", found.node


def _copies(values: Mapping[str, Any]) -> dict[str, Any]:
    """Copies of what a plan may write over, which large arrays are not."""
    return {name: value if _is_large(value) else np.array(value)[()] for name, value in values.items()}


def _scalars(column: list[Any]) -> Iterable[Any]:
    """Scalars of NumPy instead of the Python floats of a plan; arrays as they are."""
    return np.array(column) if type(column[0]) is float else column


def _is_large(value: Any) -> bool:
    return getattr(value, "nbytes", 0) >= protocol.LARGE


def _plain(value: Any) -> Any:
    """A double scalar as a Python float, as a plan gives it."""
    return float(value) if np.shape(value) == () else value
