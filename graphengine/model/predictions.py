"""The predictions of a model for all rows of its data: at once where they fit into memory, else in parts.

In parts an output is computed part by part if a row of it depends on no other row. All others are worked on in passes
over the data, as a check does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from graphengine.data.batches import Batches, takes_single_samples
from graphengine.data.carried import Carried
from graphengine.data.table_files import Rows, row_count
from graphengine.errors import DataError, ExecutionError, UsageError
from graphengine.ir.binding import bind_sizes
from graphengine.ir.graph import part_for
from graphengine.ir.memory import memory_problem
from graphengine.mappings import absent, only, picked
from graphengine.model.categories import labeled
from graphengine.model.model import Model
from graphengine.model.output_columns import as_columns, has_rows
from graphengine.training.evaluation import Evaluation, largest_part
from graphengine.transform.sample_walk import with_part_for_each
from graphengine.wording import counted

Outputs = dict[str, Any]
"""Outputs by name."""


@dataclass(frozen=True)
class Predictions:
    """Outputs of a model: those of `names`, of which `of_rows` have a row for each sample.

    `whole` gives all of them, `parts` those of rows, for consecutive rows. Both raise ExecutionError if a node fails,
    with the number of the row where rows are computed one at a time, and with GE414 if an output needs all rows at
    once, and they take more memory than the limit.
    """

    model: Model
    names: tuple[str, ...]
    of_rows: tuple[str, ...]
    whole: Callable[[], Outputs]
    parts: Callable[[], Iterator[Outputs]]

    @property
    def left_out(self) -> tuple[str, ...]:
        """The outputs that a table with a row for each sample does not have."""
        return tuple(absent(self.names, self.of_rows)) if self.of_rows else ()

    def columns(self, kept: Iterable[Carried] | None = None) -> Iterator[Rows]:
        """Yield the outputs of rows as columns of one table, after columns that are `kept` from the data.

        A column of outputs that has the name of one that is kept is called `predicted_...`.

        Raises
        ------
        DataError
            GE505 if the kept columns have another number of rows.
        ExecutionError
            As `parts`.
        """
        speaking, graph = self.model.document.speaking, self.model.graph
        found = (as_columns(part, speaking, graph) for part in self.parts())
        return found if kept is None else beside(kept, found)


def predictions_at_once(
    model: Model, given: Mapping[str, Any], outputs: Iterable[str] | None = None, **options: Any
) -> Predictions:
    """Return the outputs for inputs and options as of `Model.predict`, which raises what may be wrong."""
    found = model.predict(given, outputs=outputs, **options)
    of_rows = tuple(name for name in found if has_rows(name, model.graph))
    return Predictions(model, tuple(found), of_rows, lambda: found, lambda: iter([picked(found, of_rows or found)]))


def predictions_for_rows(
    model: Model, arrays: Mapping[str, Any], outputs: Iterable[str] | None = None, **options: bool
) -> Predictions:
    """Return the outputs for data by input, by default all that depend on these inputs only.

    `options` are `check_finite` and `row_stable`, as of `Model.predict`.

    Raises
    ------
    DataError
        GE505 if the data does not fit the inputs.
    InputError
        GE401 if an input is missing.
    UsageError
        GE402 if there is no such output; GE417 for one that is not row-stable, with `row_stable`.
    """
    targets = model.evaluator.targets(None if outputs is None else tuple(outputs), arrays)
    if options.get("row_stable") and not takes_single_samples(arrays, model.graph):
        own, still = model.evaluator.stability.split(targets, arrays, asked=outputs is not None)
        targets = only(targets, own | still)
    work = _Work(model, arrays, targets, options)
    if work.fits:
        return predictions_at_once(model, arrays, targets, **options)
    return Predictions(model, work.names, work.of_rows, work.whole, work.parts)


class _Work:
    """Computes outputs in parts of the rows."""

    def __init__(
        self, model: Model, arrays: Mapping[str, Any], targets: Mapping[str, str], options: Mapping[str, Any]
    ) -> None:
        self._model, self._options = model, options
        self._batches = Batches(arrays, model.graph, batch_size=1)
        self._asked = part_for(model.graph, targets)
        self.names = tuple(targets)
        single = self._batches.takes_single_samples
        self.of_rows = tuple(name for name in self.names if single or has_rows(name, model.graph))

    @property
    def fits(self) -> bool:
        """Whether all rows fit into memory together; a single one has to."""
        if self._batches.whole() is None:
            return False
        shapes, graph = self._batches.shapes_of(self._batches.samples), self._asked
        sizes = bind_sizes(picked(shapes, graph.inputs), graph.types)
        return self._batches.samples == 1 or memory_problem(graph, sizes) is None

    def whole(self) -> Outputs:
        """Return all outputs for all rows."""
        parts = list(self.parts()) if self.of_rows else []
        found = {name: np.concatenate([part[name] for part in parts]) for name in self.of_rows}
        found |= self._merged(absent(self.names, found))
        return picked(found, self.names)

    def parts(self) -> Iterator[Outputs]:
        """Yield the outputs of rows or, without any, all others."""
        if self._batches.takes_single_samples:
            yield from self._one_by_one()
        elif self.of_rows:
            yield from self._in_parts()
        else:
            yield self._merged(self.names)

    def _one_by_one(self) -> Iterator[Outputs]:
        number = 0
        for segment in self._batches.epoch(1):
            rows = []
            for index in range(segment.count):
                number += 1
                rows.append(self._row(number, segment.batch(index)))
            yield {name: np.stack([row[name] for row in rows]) for name in self.names}

    def _row(self, number: int, sample: Mapping[str, Any]) -> Outputs:
        try:
            found: Outputs = self._model.predict(sample, outputs=self.names, **self._options)
        except ExecutionError as error:
            problems = (replace(each, message=f"row {number}: {each.message}") for each in error.problems)
            raise ExecutionError(problems) from error
        return found

    def _in_parts(self) -> Iterator[Outputs]:
        merged = self._merged(absent(self.of_rows, self._of_own_row))
        start = 0
        for batch, count in self._large_batches():
            stop = start + count
            part = {name: value[start:stop] for name, value in merged.items()}
            if self._of_own_row:
                part |= self._model.predict(batch(), outputs=self._of_own_row, **self._options)
            yield picked(part, self.of_rows)
            start = stop

    def _large_batches(self) -> Iterator[tuple[Callable[[], Any], int]]:
        """All rows in as few batches as memory allows, each as what reads it, with its number of rows."""
        size = largest_part(self._batches, [self._asked])
        for segment in Batches(self._batches.arrays, self._model.graph, batch_size=size).epoch(1):
            yield from ((partial(segment.batch, index), segment.size) for index in range(segment.count))

    @cached_property
    def _of_own_row(self) -> tuple[str, ...]:
        """The outputs of rows of which each depends on its own row only."""
        graph, batches = self._model.graph, self._batches
        sizes = bind_sizes(batches.shapes_of(batches.samples), graph.types)
        own = with_part_for_each(graph, sizes, batches.batched_inputs)
        return tuple(name for name in self.of_rows if graph.outputs[name] in own)

    def _merged(self, names: Sequence[str]) -> Outputs:
        """Outputs that depend on more than one row, for all rows together."""
        if not names:
            return {}
        model = self._model
        found = Evaluation(model.graph, self._batches.arrays, {name: name for name in names}, model.backend)
        arrays = {name: np.asarray(value) for name, value in found(model.values).items()}
        return labeled(arrays, model.document.speaking, model.graph)


def beside(kept: Iterable[Carried], found: Iterable[Rows]) -> Iterator[Rows]:
    """Yield the rows of two tables side by side, in blocks that both have; raises as `Predictions.columns`."""
    left, right = _Blocks(kept), _Blocks(found)
    while rows := min(left.rows, right.rows):
        yield _joined(left.take(rows), right.take(rows))
    if left.rows or right.rows:
        message = f"the kept columns have {counted(left.count(), 'row')}, the outputs {counted(right.count(), 'row')}"
        raise DataError(message, code="GE505", hint="keep columns of a file that has a row for each prediction")


def _joined(columns: Rows, outputs: Rows) -> Rows:
    """The columns and the outputs, whose names say what they are where a column has the same."""
    named = {f"predicted_{name}" if name in columns else name: values for name, values in outputs.items()}
    if twice := columns.keys() & named.keys():
        hint = "leave it out of the columns to keep"
        raise UsageError(f"a kept column and an output have the name '{min(twice)}'", hint=hint)
    return {**columns, **named}


class _Blocks:
    """Blocks of rows that are taken in other numbers than they come in."""

    def __init__(self, blocks: Iterable[Rows]) -> None:
        self._blocks, self._taken = iter(blocks), 0
        self._rest: Rows = {}

    @property
    def rows(self) -> int:
        """How many rows can be taken at once; 0 at the end."""
        while not row_count(self._rest):
            following = next(self._blocks, None)
            if following is None:
                return 0
            self._rest = following
        return row_count(self._rest)

    def take(self, rows: int) -> Rows:
        """Return the next rows."""
        taken = {name: column[:rows] for name, column in self._rest.items()}
        self._rest = {name: column[rows:] for name, column in self._rest.items()}
        self._taken += rows
        return taken

    def count(self) -> int:
        """Return how many rows there are in all, and take them."""
        while rows := self.rows:
            self.take(rows)
        return self._taken
