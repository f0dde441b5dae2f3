"""What happened in a training: one row an iteration, one an epoch, in bounded memory.

Once a history has `CAPACITY` rows it keeps every second one, then every fourth, and so on; the first and the last row
are always there. A training of any length therefore takes a fixed amount of memory.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count, repeat
from operator import floordiv, itemgetter
from typing import Any, NamedTuple

import numpy as np

from graphengine.format.writing import encode_array
from graphengine.notebook import Pictured
from graphengine.wording import counted

LOG = logging.getLogger("graphengine")
"""Epochs and checks at the level INFO, details at DEBUG; a program that uses the package decides what is shown."""

LOSS, VALIDATION_LOSS = "loss", "validation_loss"
"""Names that every history has for losses."""
CAPACITY = 2048
SMALL = 16
"""Parameters with at most this many numbers in all are recorded in each row."""


def _in_short(value: Any) -> str:
    """A checked value for the log: a number in digits, of an array its shape."""
    return f"{value:.6g}" if np.ndim(value) == 0 else f"of shape {np.shape(value)}"


class Iteration(NamedTuple):
    """One update: `loss` is that of its batch before the update, `parameters` are those after it, when small."""

    epoch: int
    iteration: int
    loss: float
    gradient_norm: float
    parameters: dict[str, Any] | None = None


_ITERATION = partial(tuple.__new__, Iteration)
"""Make a row of all its fields, as `Iteration._make` does, without a frame of Python."""


class Epoch(NamedTuple):
    """One pass over the data: `loss` is the mean over its samples, each measured before its update."""

    epoch: int
    loss: float


class Check(NamedTuple):
    """What was computed to see how good the model is: "validation_loss" and metrics by name, after an iteration."""

    epoch: int
    iteration: int
    values: dict[str, Any]


class Thinned:
    """Keeps rows 0, stride, 2 * stride, ... of all rows it is given, and the last one; doubles the stride when full."""

    def __init__(self) -> None:
        self._seen = 0
        self.stride = 1
        self._rows: list[Any] = []
        self._last: Any = None
        self._new: list[Any] = []

    def add(self, row: Any) -> None:
        """Add one row."""
        self._new.append(row)
        self._settle()

    @property
    def append(self) -> Callable[[Any], None]:
        """A function that adds a row, to be thinned at the next look at any: at the least cost for many rows."""
        return self._new.append

    def _settle(self) -> None:
        """Thin the rows that were appended."""
        if new := self._new:
            self._make_room(len(new))
            self._rows += new[-self._seen % self.stride :: self.stride]
            self._seen += len(new)
            self._last = new[-1]
            new.clear()

    @property
    def seen(self) -> int:
        """The number of rows it was given."""
        if self._new:
            self._settle()
        return self._seen

    @property
    def last(self) -> Any:
        """The last row, None before the first one."""
        self._settle()
        return self._last

    @property
    def newest(self) -> tuple[int, Any]:
        """The number of the last row, and the row."""
        self._settle()
        return self._seen - 1, self._last

    def flags(self, count: int) -> bytearray:
        """For the next `count` rows, whether each is kept once all of them are there; the last one always is."""
        self._settle()
        self._make_room(count)
        first = -self._seen % self.stride
        flags = bytearray(count)
        flags[first :: self.stride] = b"\1" * len(range(first, count, self.stride))
        flags[-1] = True
        return flags

    def extend(self, rows: Sequence[Any], count: int) -> None:
        """Add `count` rows, of which those are given that `flags` keeps."""
        self._seen += count
        self._last = rows[-1]
        self._rows += rows[:-1] if (self._seen - 1) % self.stride else rows

    def _make_room(self, count: int) -> None:
        while self._seen + count > self.stride * CAPACITY:
            self._rows = self._rows[::2]
            self.stride *= 2

    @property
    def counts(self) -> dict[str, int]:
        """How many rows there were, and which of them are kept, for a checkpoint."""
        return {"seen": self.seen, "stride": self.stride}

    @property
    def rows(self) -> list[Any]:
        """The kept rows and the last one, which may be among them, for a checkpoint; empty if there is none."""
        return [*self._rows, self._last] if self.seen else []

    def restore(self, counts: Mapping[str, int], rows: Sequence[Any]) -> None:
        """Become what had these counts and rows."""
        self._seen, self.stride = counts["seen"], counts["stride"]
        *self._rows, self._last = rows or [None]

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """The kept rows with their numbers, from 0."""
        last = self.seen - 1
        for place, row in enumerate(self._rows):
            yield place * self.stride, row
        if self._seen and last % self.stride:
            yield last, self._last


class History(Pictured):
    """The record of a training; iterating it yields its iterations.

    `per_epoch` is the number of iterations of an epoch, `names` are the parameters that the rows record.
    """

    def __init__(self, per_epoch: int = 1, names: Sequence[str] = ()) -> None:
        self._per_epoch, self._names = per_epoch, tuple(names)
        self._iterations, self._epochs, self._checks = Thinned(), Thinned(), Thinned()
        self.stopped: str | None = None
        """Why the training ended before its last iteration, in words."""
        self.restored: Check | None = None
        """The check that the values of the model belong to, if they are not those after the last iteration."""

    @property
    def state(self) -> dict[str, Any]:
        """The complete record for a checkpoint, as numbers and arrays."""
        columns = list(map(np.array, zip(*self._iterations.rows, strict=True)))
        checks = [
            {"iteration": done, "values": {name: np.asarray(value) for name, value in values.items()}}
            for done, values in self._checks.rows
        ]
        return {
            "iterations": {**self._iterations.counts, "columns": columns},
            "epochs": {**self._epochs.counts, "losses": np.array(self._epochs.rows)},
            "checks": {**self._checks.counts, "rows": checks},
        }

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        iterations, epochs, checks = state["iterations"], state["epochs"], state["checks"]
        self._iterations.restore(iterations, list(zip(*map(items_of, iterations["columns"]), strict=True)))
        self._epochs.restore(epochs, items_of(epochs["losses"]))
        self._checks.restore(checks, [(row["iteration"], row["values"]) for row in checks["rows"]])

    def flags(self, count: int) -> bytearray:
        """For the next `count` iterations, whether each is to be recorded."""
        return self._iterations.flags(count)

    def extend(self, rows: Sequence[tuple[Any, ...]], count: int) -> None:
        """Add `count` iterations; the flagged ones as raw rows: loss, gradient norm, recorded parameters."""
        self._iterations.extend(rows, count)

    def add(self, row: tuple[Any, ...]) -> None:
        """Add one iteration."""
        self._iterations.add(row)

    @property
    def append(self) -> Callable[[tuple[Any, ...]], None]:
        """A function that adds an iteration; after a thousand of them the history must be read once."""
        return self._iterations.append

    def add_epoch(self, loss: float) -> None:
        """Add a completed epoch with its mean loss; an epoch of one iteration is recorded already."""
        if self._per_epoch > 1:
            self._epochs.add(loss)

    def add_check(self, values: dict[str, Any]) -> None:
        """Add the results of a check after the last iteration."""
        self._checks.add((len(self), values))
        if values and LOG.isEnabledFor(logging.INFO):
            shown = ", ".join(f"{name} {_in_short(value)}" for name, value in values.items())
            LOG.info("check after iteration %d: %s", len(self), shown)

    def restore(self, iteration: int, values: dict[str, Any]) -> None:
        """Record that the values of a check were restored in the model."""
        self.restored = self._check(iteration, values) if iteration < len(self) else None

    @property
    def checks(self) -> list[Check]:
        """The recorded checks, in order."""
        return [self._check(done, values) for _, (done, values) in self._checks]

    @property
    def check(self) -> Check | None:
        """The check that the values of the model belong to: the restored one, or the last."""
        return self.restored or (self.checks[-1] if self._checks.seen else None)

    def _check(self, iteration: int, values: dict[str, Any]) -> Check:
        return Check((iteration - 1) // self._per_epoch + 1, iteration, values)

    @property
    def iterations(self) -> list[Iteration]:
        """The recorded iterations, in order."""
        return [self._iteration(index, row) for index, row in self._iterations]

    @property
    def epochs(self) -> list[Epoch]:
        """The recorded epochs, in order."""
        if self._per_epoch == 1:
            return [Epoch(index + 1, float(row[0])) for index, row in self._iterations]
        return [Epoch(index + 1, float(loss)) for index, loss in self._epochs]

    def following(self, rows: Sequence[tuple[Any, ...]]) -> Iterator[Iteration]:
        """The iterations that raw rows will be once they are added one after the other."""
        return self._named(len(self), rows)

    def _named(self, first: int, rows: Sequence[tuple[Any, ...]]) -> Iterator[Iteration]:
        """Consecutive raw rows as iterations, `first` of them before; no Python code runs for each of them."""
        losses, norms, *parameters = columns_of(rows)
        named = records(self._names, parameters) if self._names else repeat(None)
        epochs = map(floordiv, count(first + self._per_epoch), repeat(self._per_epoch))
        return map(_ITERATION, zip(epochs, count(first + 1), _floats(losses), _floats(norms), named))

    def _iteration(self, index: int, row: tuple[Any, ...]) -> Iteration:
        return next(self._named(index, [row]))

    @property
    def last(self) -> Iteration:
        """The last iteration."""
        return self._iteration(*self._iterations.newest)

    def __iter__(self) -> Iterator[Iteration]:
        return iter(self.iterations)

    def __len__(self) -> int:
        """The number of iterations trained, thinned or not."""
        return self._iterations.seen

    def __repr__(self) -> str:
        if not len(self):
            return "<History: nothing trained>"
        size = f"{counted(len(self), 'iteration')}, {counted(self.epochs_trained, 'epoch')}"
        return f"<History: {size}, loss {self.first_loss:.6g} -> {self.last_loss:.6g}>"

    def to_frame(self) -> Any:
        """The recorded iterations and checks as a pandas data frame, a column for each number; missing ones are NaN.

        A row is an iteration. The results of a check have their own names, or "check NAME" if another column has that
        name. The extra `frame` installs pandas.

        Raises
        ------
        UsageError
            GE803 if pandas is not installed.
        """
        from graphengine.extras import optional

        pandas = optional("pandas", "frame")
        rows = {row.iteration: _row_of_frame(row) for row in self.iterations}
        taken = set(next(iter(rows.values()), {}))
        for check in self.checks:
            found = {f"check {name}" if name in taken else name: n for name, n in _numbers(check.values).items()}
            rows.setdefault(check.iteration, {"epoch": check.epoch, "iteration": check.iteration}).update(found)
        return pandas.DataFrame([rows[iteration] for iteration in sorted(rows)])

    def to_dict(self) -> dict[str, Any]:
        """Return the recorded iterations and checks as JSON values, with the parameters where they are recorded."""
        return {
            "iterations": [_as_json(row, "parameters", row.parameters or {}) for row in self.iterations],
            "checks": [_as_json(check, "values", check.values) for check in self.checks],
        }

    def plot(self, axes: Any = None) -> Any:
        """Draw the loss of each recorded iteration and check with matplotlib, and return the axes.

        The extra `plot` installs matplotlib.

        Raises
        ------
        UsageError
            GE803 if matplotlib is not installed.
        """
        from graphengine.extras import optional

        pyplot = optional("matplotlib.pyplot", "plot")
        axes = pyplot.subplots()[1] if axes is None else axes
        axes.plot([row.iteration for row in self.iterations], self.losses, label="loss")
        validation = self._plot_validation(axes)
        positive = min(self._numbers_of([*self.losses, *validation]), default=0) > 0
        axes.set(xlabel="iteration", ylabel="loss", yscale="log" if positive else "linear")
        return axes

    def _plot_validation(self, axes: Any) -> list[float]:
        """Draw the losses of the checks, if there are any, and return them."""
        checks = [check for check in self.checks if VALIDATION_LOSS in check.values]
        losses = [float(check.values[VALIDATION_LOSS]) for check in checks]
        if checks:
            axes.plot([check.iteration for check in checks], losses, label="validation loss")
            axes.legend()
        return losses

    @property
    def epochs_trained(self) -> int:
        """The number of completed epochs, thinned or not."""
        return (self._iterations if self._per_epoch == 1 else self._epochs).seen

    @property
    def last_epoch_loss(self) -> float | None:
        """The mean loss of the last completed epoch."""
        row = self._iterations.last[0] if self._per_epoch == 1 and len(self) else self._epochs.last
        return None if row is None else float(row)

    @property
    def losses(self) -> list[float]:
        """The loss of each recorded iteration."""
        return [float(row[0]) for _, row in self._iterations]

    @property
    def first_loss(self) -> float:
        """The loss before the first update; batches in which no sample counts are skipped."""
        return next(self._numbers_of(self.losses), math.nan)

    @property
    def last_loss(self) -> float:
        """The loss before the last update; batches in which no sample counts are skipped."""
        return next(self._numbers_of(self.losses[::-1]), math.nan)

    @staticmethod
    def _numbers_of(losses: Sequence[float]) -> Iterator[float]:
        return (loss for loss in losses if not math.isnan(loss))


def _as_json(row: Any, key: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its numbers, and its arrays by name under a key, as JSON values."""
    numbers = {name: encode_array(number) for name, number in row._asdict().items() if name != key}
    return {**numbers, key: {name: encode_array(array) for name, array in arrays.items()}}


def _numbers(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of arrays by name and, where there are several, index: `theta`, `w[0,1]`."""
    return {
        f"{name}[{','.join(map(str, place))}]" if place else name: np.asarray(array)[place]
        for name, array in arrays.items()
        for place in np.ndindex(np.shape(array))
    }


def _floats(column: Sequence[Any]) -> Iterable[float]:
    """A column of a plan, whose numbers have one type, as Python floats."""
    return column if type(column[0]) is float else map(float, column)


def _row_of_frame(row: Iteration) -> dict[str, Any]:
    numbers = {"epoch": row.epoch, "iteration": row.iteration, "loss": row.loss}
    return numbers | {"gradient_norm": row.gradient_norm} | _numbers(row.parameters or {})


def recorded_of(parameters: Sequence[str], values: Mapping[str, Any]) -> Sequence[str]:
    """The parameters whose values a history holds: all of them, if they are few numbers."""
    return parameters if sum(np.size(values[name]) for name in parameters) <= SMALL else ()


def columns_of(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """The columns of rows; `zip` would make an iterator for each row, which the collector then looks at."""
    return [list(map(itemgetter(place), rows)) for place in range(len(rows[0]))]


def records(names: Sequence[str], columns: Sequence[Iterable[Any]]) -> Iterable[dict[str, Any]]:
    """The rows of columns as dictionaries."""
    if len(names) == 1:  # a dictionary for each of a million iterations: written out it takes a third of the time
        [name], [column] = names, columns
        return [{name: value} for value in column]
    return map(dict, map(zip, repeat(names), zip(*columns, strict=True)))


def items_of(column: np.ndarray[Any, Any]) -> list[Any]:
    """Return the items of a column of rows; double scalars as Python floats, as a plan gives them."""
    return column.tolist() if column.ndim == 1 and column.dtype == np.float64 else list(column)
