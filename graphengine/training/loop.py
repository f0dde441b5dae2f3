"""The training loop: chunks of iterations, and between them what else is to happen.

A chunk is one call of a loop that knows nothing but numbers. It ends where something is due: a check on validation
data, a checkpoint, a limit. Between chunks the history is written and the model gets its values.
"""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphengine.backends.protocol import Backend
from graphengine.data.batches import Batches
from graphengine.errors import DivergenceError, TrainingError, WorkersError
from graphengine.format.documents import TrainingDocument
from graphengine.gc_pause import paused
from graphengine.ir.binding import bind_sizes
from graphengine.ir.graph import Graph
from graphengine.mappings import only
from graphengine.training.compiled import CompiledStep
from graphengine.training.course import Chunk, Course, Piece
from graphengine.training.history import LOG, History, Iteration, items_of, recorded_of, records
from graphengine.training.stepping import LossSum, Stepper

if TYPE_CHECKING:  # imported where something is checked or a checkpoint written, and not at each start
    from graphengine.training.checkpoint import Checkpoints
    from graphengine.training.states import StateLayout
    from graphengine.training.underway import Running
    from graphengine.training.validation import Checks, EarlyStopping

CHUNK_SECONDS, GROWTH = 0.1, 16
"""About how long a chunk takes, so that progress shows and an interrupt is heard; how much longer than the last one."""


class Trainer:
    """Trains parameters as a training section says, on given arrays.

    `values` holds parameters and state by name; after each chunk the new arrays are put into it. `validation` is data
    to check on; without it a fraction of `data` may be set apart for that, or `data` itself is checked.

    Raises
    ------
    TrainingError
        GE602 if nothing is trainable or no limit says when to stop.
    DataError
        GE505 if the data does not fit the inputs.
    """

    graph: Graph
    values: dict[str, Any]
    training: TrainingDocument
    data: Mapping[str, Any]
    batches: Batches
    stepper: Stepper
    history: History
    backend: Backend

    def __init__(
        self,
        graph: Graph,
        values: dict[str, Any],
        training: TrainingDocument,
        data: Mapping[str, Any],
        compiled: CompiledStep,
        validation: Mapping[str, Any] | None = None,
    ) -> None:
        self.graph, self.values, self.training, self.data = graph, values, training, data
        _require_an_end(graph, training)
        if validation is None and training.validation and training.validation.fraction:
            data, validation = _split(data, graph, training.validation, training.seed)
        self.batches = Batches(
            data,
            graph,
            batch_size=training.batch_size,
            accumulate=training.accumulate,
            shard_rows=training.shard_rows,
            drop_last=training.drop_last,
            shuffle=training.shuffle,
            seed=training.seed,
        )
        self.batches.require_room()
        compiled = compiled.for_iterations(
            self.total_iterations, bind_sizes(self.batches.shapes_of(self.batches.batch_size), graph.types)
        )
        self.backend = compiled.backend
        """What compiles the steps."""
        has_all = values.keys() >= {*graph.parameters, *graph.state}
        started = {} if has_all else _initialized(graph, values, data)
        begun = {**values, **started}
        self._recorded = recorded_of(graph.trainable, begun)
        self.stepper = Stepper(graph, begun, training, compiled, self.batches, self._recorded)
        self.history = History(self.batches.per_epoch, self._recorded)
        self.checks: Checks | None = None
        """What is computed now and then to see how good the model is."""
        if validation is not None or training.has_checks:
            self.checks = _checks(graph, training, data, validation, self.batches.per_epoch, compiled.backend)
        self.checkpoints: Checkpoints | None = None
        """Where the training is saved as it goes."""
        self._epoch: list[float] = []
        """Sums of the losses of the samples of the current epoch, one for each size of batches that is complete."""
        self._total = 0.0
        """The sum of the losses of the batches of the current size."""
        self._uncounted = 0
        """How many samples of the current epoch were in batches without a loss."""
        values.update(started)

    def check_finite(self) -> None:
        """Stop at the first value of any node that is NaN or infinite; each iteration is then run by the reference."""
        if self.training.is_in_parts:
            raise TrainingError("values are not checked one by one where gradients are accumulated")
        self.stepper.check_finite = True

    @property
    def total_iterations(self) -> int:
        """How many iterations the training has if nothing stops it; `sys.maxsize` if only time does."""
        by_epochs = (self.training.epochs or math.inf) * self.batches.per_epoch
        return int(min(by_epochs, self.training.max_iterations or math.inf, sys.maxsize))

    @property
    def learning_rate(self) -> float:
        """The rate of the next iteration."""
        return self.stepper.rate(len(self.history) + 1)

    def iterate(self, *, ahead: bool = False) -> Iterator[Iteration]:
        """Train, giving a row after each update, with the model's values those after it.

        With `ahead` the stepper may be some iterations further, which costs less.

        Raises
        ------
        DivergenceError
            GE601 when a loss, gradient or parameter is not finite; the parameters keep their last finite values.
        TrainingError
            GE603 if another training uses the folder for checkpoints.
        """
        longest = self.stepper.longest_ahead if ahead and self.training.max_seconds is None else 1
        return self.chunks(longest, each=True)

    def chunks(self, longest: int | None = None, *, each: bool = False) -> Generator[Iteration, None, None]:
        """Train, giving a row now and then, or that of `each` iteration; raises as `iterate`.

        The folder for checkpoints is this training's until the generator ends or is closed.
        """
        rows = self._chunks(longest, each)
        return rows if self.checkpoints is None else self._alone(self.checkpoints, rows)

    @staticmethod
    def _alone(checkpoints: Checkpoints, rows: Iterator[Iteration]) -> Generator[Iteration, None, None]:
        with checkpoints.alone():
            checkpoints.require_own()
            for row in rows:
                with checkpoints.idle():
                    yield row

    def _chunks(self, longest: int | None, each: bool) -> Generator[Iteration, None, None]:
        started = time.monotonic()
        longest = longest or self.stepper.longest_chunk
        length, course = 1, Course(self.batches, self.total_iterations, len(self.history))
        while course.done < course.total and not self.history.stopped:
            chunk = course.take(int(min(longest or length, length, self._next_event(course.done) - course.done)))
            if each and chunk.count > 1:
                yield from self._run_ahead(chunk)
            else:
                self._run(chunk)
            LOG.debug("iterations %d to %d are done", chunk.done + 1, course.done)
            self._do_what_is_due(course.done, started)
            seconds = max(time.perf_counter() - self.stepper.began, 1e-9)
            length = max(1, min(GROWTH * length, int(chunk.count * CHUNK_SECONDS / seconds)))
            del chunk  # and its batches, before the next ones are read
            if self.history.stopped or course.done == course.total:
                self._finish()
            yield self.history.last

    def _do_what_is_due(self, done: int, started: float) -> None:
        """Check, stop a training whose time is up, and write a checkpoint, as far as it is due."""
        if self.checks and self.checks.every.is_due(done):
            self.checks.run(self.history, self.values)
        if time.monotonic() - started >= (self.training.max_seconds or math.inf):
            self.history.stopped = f"the time is up ({self.training.max_seconds:g} s)"
        if self.checkpoints and self.checkpoints.is_due(done):
            self.save_checkpoint()

    def _next_event(self, done: int) -> float:
        """The iteration at whose end something else is due."""
        events = (each.every.next(done) for each in (self.checks, self.checkpoints) if each)
        return min(events, default=math.inf)

    def _finish(self) -> None:
        """Write the last checkpoint, from which a longer training resumes, and give the model its best values."""
        self.save_checkpoint()
        if self.checks:
            self.checks.restore_best(self.history, self.values)

    def _run(self, chunk: Chunk) -> None:
        """Run the iterations of a chunk, write the history and give the model its new values."""
        rows: list[tuple[Any, ...]] = []
        flags = self.history.flags(chunk.count)
        try:
            sums, new = self.stepper.run(chunk, flags, rows, self._total)
        except DivergenceError:
            self._take(self.stepper.carried)
            raise
        except WorkersError:
            self.save_checkpoint()  # of the iterations before
            raise
        self.history.extend(rows, chunk.count)
        self._add_epochs(chunk, sums)
        self._take(new)

    def _run_ahead(self, chunk: Chunk) -> Iterator[Iteration]:
        """Run a chunk, and give the row of each iteration but the last one."""
        try:
            sums, rows, values = self.stepper.run_ahead(chunk, self._total)
        except DivergenceError:
            yield from self._run_singly(chunk)  # the rows up to the iteration that diverges
            return
        add = self.history.append
        with paused():  # many rows are made, and each is gone soon
            take, after = self._taking(only(values, self.values))
            given = zip(self.history.following(rows), rows, after, strict=True)
        for piece, found in zip(chunk.pieces, sums, strict=True):
            for iteration, row, new in itertools.islice(given, piece.stop - piece.start - 1):
                add(row)
                take(new)
                yield iteration
            iteration, row, new = next(given)
            add(row)
            take(new)
            self._add_piece(chunk, piece, found, len(self.history))
            if piece is not chunk.pieces[-1]:
                yield iteration

    def _taking(self, values: Mapping[str, Iterable[Any]]) -> tuple[Callable[[Any], None], Iterable[Any]]:
        """A function that gives the model its values after an iteration, and what it takes for each of them."""
        if len(values) == 1:  # without a dictionary for each of a million iterations
            [(name, column)] = values.items()
            return partial(self.values.__setitem__, name), column
        return self.values.update, records(list(values), list(values.values()))

    def _run_singly(self, chunk: Chunk) -> Iterator[Iteration]:
        """As `_run_ahead`, an iteration at a time: an error comes after the rows before it."""
        for single in chunk.singles():
            self._run(single)
            if single.done + 1 < chunk.done + chunk.count:
                yield self.history.last

    def _take(self, new: Mapping[str, Any]) -> None:
        for name, value in new.items():
            if name in self.values:
                self.values[name] = value

    def _add_epochs(self, chunk: Chunk, sums: Sequence[LossSum]) -> None:
        """Write the mean loss of each epoch once all its samples were used; batches without a loss do not count."""
        done = chunk.done
        for piece, found in zip(chunk.pieces, sums, strict=True):
            done += piece.stop - piece.start
            self._add_piece(chunk, piece, found, done)

    def _add_piece(self, chunk: Chunk, piece: Piece, found: LossSum, done: int) -> None:
        self._total = 0.0 if piece.ends_epoch else found.total
        self._uncounted += chunk.size * found.uncounted
        if piece.last:
            self._epoch.append(chunk.size * found.total)
        if piece.ends_epoch:
            samples = self.batches.samples_per_epoch - self._uncounted
            self.history.add_epoch(loss := sum(self._epoch) / samples if samples else math.nan)
            LOG.info("epoch %d: loss %.6g", done // self.batches.per_epoch, loss)
            self._epoch.clear()
            self._uncounted = 0

    # ------------------------------------------------------------ checkpoints

    @property
    def _early(self) -> EarlyStopping | None:
        return self.checks.early if self.checks else None

    @property
    def layout(self) -> StateLayout:
        """What all states of this training have in common."""
        from graphengine.training.states import StateLayout, types_of

        return StateLayout(
            types_of(self.stepper.carried),
            types_of(self.values),
            self._recorded,
            self.checks.axes if self.checks else {},
            self.batches.per_epoch,
            self.batches.samples_per_epoch,
            self._early is not None,
        )

    @property
    def state(self) -> dict[str, Any]:
        """All that is needed to resume from here, to the last bit."""
        return {
            "iteration": len(self.history),
            "carried": self.stepper.carried,
            "total": np.asarray(self._total),
            "epoch": np.array(self._epoch),
            "uncounted": self._uncounted,
            "history": self.history.state,
            "early": self._early.state if self._early else None,
        }

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        self.stepper.carried = state["carried"]
        self._take(self.stepper.carried)
        (self._total,), self._epoch = items_of(np.reshape(state["total"], 1)), items_of(state["epoch"])
        self._uncounted = state["uncounted"]
        self.history.state = state["history"]
        if self._early:
            self._early.state = state["early"]
            self.history.stopped = self._early.reason if self._early.is_over else None
        if self.history.stopped or len(self.history) >= self.total_iterations:
            self._finish()

    def save_checkpoint(self) -> Path | None:
        """Write a checkpoint of this moment, if there is a folder for them and it is not there yet.

        Raises
        ------
        GraphEngineError
            GE101 if it cannot be written.
        """
        if self.checkpoints is None or len(self.history) in (0, self.checkpoints.written):
            return None
        return self.checkpoints.write(self.state)


def run_to_end(trainer: Running, see: Callable[[Iteration], None] = lambda row: None) -> None:
    """Run a training, showing each row; a signal ends one that has a folder for checkpoints with a checkpoint.

    Raises
    ------
    KeyboardInterrupt
        If there was a Ctrl-C.
    Terminated
        If there was a SIGTERM or a SIGHUP, and there is a folder for checkpoints.
    """
    if trainer.checkpoints is not None:
        from graphengine.training.interrupting import run_saved

        run_saved(trainer, see)
        return
    with closing(trainer.chunks()) as chunks:  # at once, because a solver may hold a thread
        for row in chunks:
            see(row)


def _require_an_end(graph: Graph, training: TrainingDocument) -> None:
    if not graph.trainable:
        raise TrainingError(f"model '{graph.name}' has no trainable parameter")
    if training.epochs is None and training.max_iterations is None and training.max_seconds is None:
        raise TrainingError("the training has no limit", hint="give 'epochs', 'max_iterations' or 'max_seconds'")


def _split(*arguments: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    from graphengine.training.splitting import split

    return split(*arguments)


def _checks(*arguments: Any) -> Checks:
    from graphengine.training.validation import Checks

    return Checks(*arguments)


def _initialized(graph: Graph, values: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    from graphengine.training.initializing import initialized

    return initialized(graph, values, data)
