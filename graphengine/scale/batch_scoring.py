"""Scores record batches of Arrow: the outputs of a model beside columns that are carried along, row by row.

Whatever runs batches through a function, such as Dask, Spark or Ray, can run this one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from graphengine.data.arrow_arrays import Mask, as_arrow
from graphengine.data.batches import takes_single_samples
from graphengine.data.carried import columns_to_keep
from graphengine.data.columnar import batch_by_input
from graphengine.data.readers import declared_columns
from graphengine.errors import ExecutionError, InputError, Problem
from graphengine.extras import optional
from graphengine.ir.binding import Columns, is_in, listed, meant_by, names_in
from graphengine.ir.cells import BadCells, as_encoded
from graphengine.ir.graph import names_of
from graphengine.mappings import picked, present
from graphengine.model.model import Model
from graphengine.model.predictions import predictions_for_rows
from graphengine.model.row_stability import require_rows, with_own_rows
from graphengine.ops.shapes import ArrayType
from graphengine.wording import enumerated, shown

Batch = Any
"""A record batch of Arrow."""
MOST_FAILING = 100
"""Rows of a batch that may fail one by one; with more the model fails, and not the rows."""
FIRST_ROWS = 5
"""Rows that a summary names for each reason."""


@dataclass
class Refusals:
    """Rows without outputs, counted by the reason, with the first of them from 0."""

    reasons: dict[str, int] = field(default_factory=dict)
    first: dict[str, list[int]] = field(default_factory=dict)

    def add(self, row: int, reason: str) -> None:
        """Count one row."""
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        rows = self.first.setdefault(reason, [])
        if len(rows) < FIRST_ROWS:
            rows.append(row)

    def add_all(self, reasons: Mapping[int, str], start: int) -> None:
        """Count the rows of a batch, which are numbered from `start`, in their order."""
        for row, reason in sorted(reasons.items()):
            self.add(start + row, reason)

    @property
    def count(self) -> int:
        """The number of rows."""
        return sum(self.reasons.values())


def score_batches(
    model: Model,
    batches: Iterable[Batch],
    *,
    outputs: str | Iterable[str] | None = None,
    keep: str | Iterable[str] = (),
    columns: Columns | None = None,
    row_stable: bool = True,
    refusals: Refusals | None = None,
) -> Iterator[Batch]:
    """Yield an Arrow record batch for each given one: the columns to `keep` and the outputs of `model`, row by row.

    Inputs take the columns that `columns` names, else those that the model's own data names, else those with their
    names; a column of lists of one length is an input with further axes. `outputs` are by default all that have a row
    for each sample and can be computed from the columns. `keep` names columns, "all" all of them; an output with the
    name of one is called `predicted_...`. With `row_stable` a row has the same bits in any batch.

    A row that lacks a value, has an unknown category, or fails alone has null for each output; `refusals` counts them.
    The first batch decides which columns there are, and all others have the same.

    Raises
    ------
    DataError
        GE502, GE503 for columns that are missing or of another kind.
    ExecutionError
        If more than a hundred rows of a batch fail.
    InputError
        GE401 if an input of a requested output has no column.
    UsageError
        GE402 if there is no such output, GE417 if one is not row-stable; GE803 without pyarrow.
    """
    scorer: BatchScorer | None = None
    asked = None if outputs is None else tuple(names_of(outputs))
    seen = Refusals() if refusals is None else refusals
    done = 0
    for batch in batches:
        if scorer is None:
            kept = tuple(names_of(keep))
            scorer = BatchScorer(model, batch, columns=columns or {}, outputs=asked, keep=kept, row_stable=row_stable)
        yield scorer.score(batch, seen, done)
        done += batch.num_rows


class BatchScorer:
    """Scores batches that have the columns of the first one; raises as `score_batches`."""

    def __init__(
        self,
        model: Model,
        first: Batch,
        *,
        columns: Columns,
        outputs: tuple[str, ...] | None,
        keep: Sequence[str],
        row_stable: bool,
    ) -> None:
        self._model, self._row_stable = model, row_stable
        self._pa = optional("pyarrow", "data")
        there: list[str] = first.schema.names
        meant = {name: _meant(model, name, there, columns) for name in model.graph.inputs}
        possible = _possible(model, meant, outputs, there)
        needed = model.executor.inputs_of([model.graph.outputs[name] for name in possible])
        self.columns = picked(meant, needed)
        self.kept = columns_to_keep("the batch", None if "all" in keep else keep, there, "column")
        self.outputs = self._with_own_rows(first, possible, asked=outputs is not None)

    def _with_own_rows(self, first: Batch, names: Sequence[str], *, asked: bool) -> tuple[str, ...]:
        """The outputs of which each row depends on its own sample alone."""
        arrays, graph = batch_by_input(first, self.columns, self._model.graph, BadCells()), self._model.graph
        targets = picked(graph.outputs, names)
        own = targets if takes_single_samples(arrays, graph) else with_own_rows(targets, graph, arrays)
        if asked or not own:
            require_rows(targets, own)
        return tuple(own)

    @property
    def read(self) -> list[str]:
        """The columns that are read or kept, each once."""
        wanted = [str(each) for what in self.columns.values() for each in names_in(what)]
        return list(dict.fromkeys([*self.kept, *wanted]))

    @property
    def row_bytes(self) -> int:
        """What the inputs of a row take; a size of a further axis that is not known counts as 1."""
        kinds = [self._model.graph.types[name] for name in self.columns]
        numbers = [math.prod(size for size in kind.shape[1:] if isinstance(size, int)) for kind in kinds]
        return sum(each * kind.array_dtype.itemsize for each, kind in zip(numbers, kinds, strict=True))

    def score(self, batch: Batch, refusals: Refusals, start: int = 0) -> Batch:
        """Return the kept columns and the outputs of a batch; its rows count from `start` in `refusals`."""
        bad = _BadRows()
        arrays = batch_by_input(batch, self.columns, self._model.graph, bad)
        valid = np.ones(batch.num_rows, bool)
        valid[list(bad.reasons)] = False
        rows = np.flatnonzero(valid)
        given = arrays if valid.all() else {name: array[valid] for name, array in arrays.items()}
        found, failed = self._predicted(given)
        if failed:
            valid[rows[list(failed)]] = False
        refusals.add_all({**bad.reasons, **{int(rows[n]): text for n, text in failed.items()}}, start)
        kept = {name: batch.column(name) for name in self.kept}
        return self._pa.RecordBatch.from_pydict(
            {**kept, **{_free(name, kept): self._column(values, valid) for name, values in found.items()}}
        )

    def _predicted(self, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[int, str]]:
        """The columns of the outputs for rows that do not fail, and why others do, by their places."""
        count = len(next(iter(given.values()), ()))
        failed: dict[int, str] = {}
        parts: list[dict[str, Any]] = []
        pending = [(0, count)] if count else []
        while pending:
            start, stop = pending.pop()
            try:
                parts.append(self._columns({name: array[start:stop] for name, array in given.items()}))
            except ExecutionError as error:
                if stop - start == 1:
                    failed[start] = error.problems[0].message
                    if len(failed) > MOST_FAILING:
                        raise
                else:
                    middle = (start + stop) // 2
                    pending += [(middle, stop), (start, middle)]
        columns = _joined(parts) if parts else self._no_rows
        return columns, failed

    def _columns(self, given: Mapping[str, Any]) -> dict[str, Any]:
        found = predictions_for_rows(self._model, given, self.outputs, row_stable=self._row_stable)
        return _joined(list(found.columns()))

    @cached_property
    def _no_rows(self) -> dict[str, Any]:
        """The columns of the outputs without rows: those for a row of zeros, cut off."""
        graph = self._model.graph
        kinds = picked(graph.types, self.columns)
        zeros = {name: _zero_row(kind) for name, kind in kinds.items()}
        return {name: np.asarray(column)[:0] for name, column in self._columns(as_encoded(zeros, graph.inputs)).items()}

    def _column(self, values: Any, valid: Mask) -> Any:
        """A column of Arrow with null in the rows that are not valid."""
        if valid.all():
            return as_arrow(values)
        full = np.zeros(len(valid), np.asarray(values).dtype)
        full[valid] = values
        return as_arrow(full, valid=valid)


def _meant(model: Model, name: str, there: Sequence[str], columns: Columns) -> Any:
    """The columns that an input takes, by name."""
    declared = listed(declared_columns(model.document, "columns"), lambda: there, model.graph.inputs)
    wanted = columns.get(name) or meant_by(name, declared, there)
    names = [there[each] if isinstance(each, int) and each < len(there) else each for each in names_in(wanted)]
    return names[0] if isinstance(wanted, (str, int)) else names


def _possible(
    model: Model, meant: Mapping[str, Any], outputs: tuple[str, ...] | None, there: Sequence[str]
) -> list[str]:
    """The outputs whose inputs have columns: those that are requested, or all."""
    needs, absent = _needs(model, outputs), _without_columns(meant, there)
    ready = [name for name, inputs in needs.items() if inputs and absent.isdisjoint(inputs)]
    fewest = _fewest(needs.values(), absent)
    if fewest and (outputs is not None or not ready):
        raise InputError([_without_column(name, meant[name], there) for name in fewest])
    return ready


def _without_columns(meant: Mapping[str, Any], there: Sequence[str]) -> set[str]:
    """The inputs of which a column is not there."""
    return {name for name, wanted in meant.items() if not is_in(wanted, there)}


def _fewest(needs: Iterable[Sequence[str]], absent: Collection[str]) -> list[str]:
    """The absent inputs of the output that lacks the fewest; none if no output lacks any."""
    lacking = [present(inputs, absent) for inputs in needs]
    return min(filter(None, lacking), key=len, default=[])


def _needs(model: Model, outputs: tuple[str, ...] | None) -> dict[str, list[str]]:
    """The inputs that each of the outputs depends on; None for all outputs."""
    targets = dict(model.graph.outputs) if outputs is None else model.evaluator.targets(outputs, model.graph.inputs)
    return {name: list(model.executor.inputs_of([value])) for name, value in targets.items()}


def _without_column(name: str, wanted: Any, there: Sequence[str]) -> Problem:
    columns = [repr(each) for each in names_in(wanted) if not is_in(each, there)]
    noun = "column" if len(columns) == 1 else "columns"
    message = f"input '{name}' takes the {noun} {enumerated(columns)}; there are {enumerated(there)}"
    return Problem("GE401", message, "name other columns for the input")


def _free(name: str, kept: Mapping[str, Any]) -> str:
    return f"predicted_{name}" if name in kept else name


def _joined(blocks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The columns of blocks of rows, one below the other."""
    if len(blocks) == 1:
        return dict(blocks[0])
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _zero_row(kind: ArrayType) -> Any:
    """A row of zeros of a type; a size that is not known counts as 1."""
    return np.zeros([size if isinstance(size, int) else 1 for size in kind.shape] or [1], kind.array_dtype)


class _BadRows(BadCells):
    """The rows with cells that have no number, from 0, each with the first reason."""

    def __init__(self) -> None:
        super().__init__()
        self.reasons: dict[int, str] = {}

    def add_missing(self, name: str, column: str, places: Iterable[int]) -> None:
        """Note rows without a value."""
        for place in places:
            self.reasons.setdefault(int(place) - 1, f"column '{column}' has no value")

    def add_unseen(self, name: str, column: str, places: Iterable[int], values: Iterable[Any]) -> None:
        """Note rows with an unknown category."""
        for place, value in zip(places, values, strict=True):
            reason = f"column '{column}' has {shown(value)}: not among the categories of input '{name}'"
            self.reasons.setdefault(int(place) - 1, reason)
