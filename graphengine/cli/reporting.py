"""The end of `run` and `train`: what came out, on which rows, and what a reader should know about it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from graphengine.cli.output import json_values, print_line, print_values
from graphengine.errors import Problem
from graphengine.wording import counted

if TYPE_CHECKING:
    from graphengine.model.model import Model
    from graphengine.training.history import Check, History

NOISE = 1e-6
"""A loss that is larger by less than this part of itself is the same."""


class CheckedRows(NamedTuple):
    """The rows of the checks of a training: a data source, a fraction that is held out, or the training rows."""

    rows: int
    apart: bool
    source: str | None = None

    @property
    def text(self) -> str:
        """The rows in words."""
        if not self.apart:
            return f"the {counted(self.rows, 'training row')}"
        rows = counted(self.rows, "row")
        return f"{rows} of '{self.source}'" if self.source else f"{rows} held out"

    def as_json(self) -> dict[str, Any]:
        """The rows as an object of JSON."""
        return {"data": "validation" if self.apart else "training", "rows": self.rows}


class TrainedRows(NamedTuple):
    """The rows that the loss of an iteration is computed on: all training rows, or batches of them."""

    rows: int
    batch: int

    @property
    def text(self) -> str:
        """The rows in words."""
        rows = f"the {counted(self.rows, 'training row')}"
        return rows if self.batch == self.rows else f"batches of {self.batch} of {rows}"

    def as_json(self) -> dict[str, Any]:
        """The rows as an object of JSON."""
        return {"data": "training", "rows": self.rows, "batch": self.batch}


@dataclass
class Report:
    """What came out of a model; `history` is that of its training, `rows` the number of samples of the outputs.

    `trained` says what the losses of a training are on, `checked` what its checks are on, `warnings` what a reader
    should know.
    """

    model: Model
    outputs: Mapping[str, Any]
    rows: int | None = None
    history: History | None = None
    trained: TrainedRows | None = None
    checked: CheckedRows | None = None
    warnings: list[Problem] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The report as a JSON object, for machines."""
        trained: dict[str, Any] = {"iterations": 0, "epochs": 0, "loss": {"first": None, "last": None}}
        if self.history:
            trained = self._training_as_json(self.history)
        data = "training" if self.history else "evaluation"
        return {
            "model": self.model.graph.name,
            **trained,
            "parameters": json_values(self.model.parameters),
            "outputs": json_values(self.outputs),
            **({"outputs_on": {"data": data, "rows": self.rows}} if self.rows is not None else {}),
        }

    def _training_as_json(self, history: History) -> dict[str, Any]:
        from graphengine.ops.numbers import encode_number

        restored = history.restored
        return {
            "iterations": len(history),
            "epochs": history.epochs_trained,
            "loss": {"first": encode_number(history.first_loss), "last": encode_number(history.last_loss)},
            **({"loss_on": self.trained.as_json()} if self.trained else {}),
            **({"stopped": history.stopped} if history.stopped else {}),
            **self._check_as_json(history.check),
            **({"restored": {"epoch": restored.epoch, "iteration": restored.iteration}} if restored else {}),
        }

    def _check_as_json(self, check: Check | None) -> dict[str, Any]:
        if check is None:
            return {}
        rows = {"checks_on": self.checked.as_json()} if self.checked else {}
        return {"checks": json_values(check.values), **rows}

    def print(self, saved: Mapping[str, str]) -> None:
        """Print the report for people."""
        if self.history is None:
            print_line(f"{self.model.graph.name}: {self.model.graph.summary}")
            print_values("outputs", self.outputs)
        else:
            self._print_training(self.history)
        for path in saved.values():
            print_line(f"saved to {path}")

    def _print_training(self, history: History) -> None:
        iterations, epochs = counted(len(history), "iteration"), counted(history.epochs_trained, "epoch")
        print_line(f"{self.model.graph.name}: {iterations}, {epochs}")
        print_line(f"loss{_on(self.trained)}: {history.first_loss:.10g} -> {history.last_loss:.10g}")
        if history.stopped:
            print_line(f"stopped: {history.stopped}")
        if history.check:
            self._print_check(history.check, is_best=bool(history.restored))
        print_values("parameters", self.model.parameters)
        scalars = {name: value for name, value in self.outputs.items() if value.shape == ()}
        print_values(f"outputs{self._origin}", scalars)

    @property
    def _origin(self) -> str:
        """What the outputs are on, where rows are kept apart for validation."""
        is_apart = self.checked is not None and self.checked.apart
        return f" on the {counted(self.rows or 0, 'training row')}" if is_apart else ""

    def _print_check(self, check: Check, *, is_best: bool) -> None:
        best = ", the best one, whose values the model has" * is_best
        print_values(f"check after iteration {check.iteration}{_on(self.checked)}{best}", check.values)


def _on(rows: TrainedRows | CheckedRows | None) -> str:
    return f" on {rows.text}" if rows else ""


def training_warnings(history: History) -> list[Problem]:
    """What a training ended with that it should not: a larger loss than it began with, by epochs."""
    losses = [epoch.loss for epoch in history.epochs if not math.isnan(epoch.loss)]
    if history.restored or not _has_grown(losses):
        return []
    of = "the mean loss of an epoch" if len(history) > history.epochs_trained else "the loss"
    message = f"{of} is larger at the end than at the beginning: {losses[0]:.6g} -> {losses[-1]:.6g}"
    hint = "lower the learning rate, scale the inputs to about 1, or look for shapes that broadcast by mistake"
    return [Problem("GE605", message, hint)]


def _has_grown(losses: Sequence[float]) -> bool:
    """Whether the last loss is larger than the first one by more than rounding."""
    return len(losses) > 1 and losses[-1] - losses[0] > NOISE * abs(losses[0])
