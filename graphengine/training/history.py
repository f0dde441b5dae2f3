"""What happened in a training: one row an iteration, one an epoch, in bounded memory.

Once a history has `CAPACITY` iterations it keeps every second one, then every fourth, and so on; the first and the
last iteration are always there. A training of any length therefore takes a fixed amount of memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

CAPACITY = 4096


class Iteration(NamedTuple):
    """One update: `loss` is that of its batch before the update, `parameters` are those after it, when small."""

    epoch: int
    iteration: int
    loss: float
    gradient_norm: float
    parameters: dict[str, Any] | None = None


class Epoch(NamedTuple):
    """One pass over the data: `loss` is the mean over its samples, each measured before its update."""

    epoch: int
    iterations: int
    loss: float


class Thinned(list[Any]):
    """A list that halves itself when it is full: it keeps rows 0, stride, 2 * stride, ... and always the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.stride = 1

    def add(self, row: Any) -> None:
        """Append a row; drop every second one when there are too many."""
        if self and (self.seen - 1) % self.stride:
            self.pop()  # the last row was kept only for being last
        self.append(row)
        self.seen += 1
        if len(self) >= CAPACITY and (self.seen - 1) % self.stride == 0:
            self.stride *= 2
            self[:] = [kept for index, kept in enumerate(self) if index % 2 == 0 or index == len(self) - 1]


class History:
    """The record of a training: `iterations` and `epochs` are lists of rows; iterate it for the iterations."""

    def __init__(self) -> None:
        self.iterations: Thinned = Thinned()
        self.epochs: Thinned = Thinned()

    def __iter__(self) -> Iterator[Iteration]:
        return iter(self.iterations)

    def __len__(self) -> int:
        """The number of iterations trained, thinned or not."""
        return self.iterations.seen

    def __repr__(self) -> str:
        if not self.iterations:
            return "<History: nothing trained>"
        size = f"{len(self)} iterations, {self.epochs.seen} epochs"
        return f"<History: {size}, loss {self.first_loss:.6g} -> {self.last_loss:.6g}>"

    @property
    def losses(self) -> list[float]:
        """The loss of each recorded iteration."""
        return [row.loss for row in self.iterations]

    @property
    def first_loss(self) -> float:
        """The loss before the first update."""
        return float(self.iterations[0].loss)

    @property
    def last_loss(self) -> float:
        """The loss before the last update."""
        return float(self.iterations[-1].loss)
