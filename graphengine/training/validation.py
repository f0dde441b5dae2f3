"""How good a model is while it is trained: loss and metrics on data set apart, and when they no longer improve."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphengine.data.batches import Batches, is_whole, rows_of
from graphengine.data.order import DRAWN
from graphengine.data.stored import Chosen
from graphengine.errors import DataError, Problem, did_you_mean
from graphengine.format.training_documents import EarlyStoppingDocument, TrainingDocument, ValidationDocument
from graphengine.ir.graph import Graph
from graphengine.training.events import Every

VALIDATION_LOSS, LOSS = "validation_loss", "loss"
SPLIT_EPOCH = 0
"""The epoch, which no training has, whose order says which samples are set apart."""


def split(data: Mapping[str, Any], graph: Graph, fraction: float, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Training and validation data: a fraction of the samples, drawn by a seed, is set apart.

    Both keep the order of the samples; at least one sample is on either side.

    Raises
    ------
    DataError
        GE505 if there is only one sample.
    """
    whole = {name: array for name, array in data.items() if is_whole(name, array, graph)}
    sampled = {name: array for name, array in data.items() if name not in whole}
    batches = Batches(data, graph, batch_size=1, seed=seed)
    if batches.samples < 2:
        raise DataError("of a single sample none can be set apart for validation", code="GE505")
    count = min(max(round(fraction * batches.samples), 1), batches.samples - 1)
    mask, order = np.zeros(batches.samples, np.bool_), batches.order(SPLIT_EPOCH)
    for start in range(0, count, DRAWN):
        mask[order.places(start, min(start + DRAWN, count))] = True
    apart = Chosen(mask)
    kept = Chosen(np.logical_not(mask, out=mask))
    return (
        {**whole, **{name: rows_of(array, kept) for name, array in sampled.items()}},
        {**whole, **{name: rows_of(array, apart) for name, array in sampled.items()}},
    )


class EarlyStopping:
    """Remembers the best check, with the parameters and state of that time, and how long nothing has improved.

    An improvement is one by more than `min_delta` over the last improvement; the best check is the best of all.
    """

    def __init__(self, document: EarlyStoppingDocument) -> None:
        self.document = document
        self.best: float | None = None
        self.improved: float | None = None
        """The monitored value of the last improvement, from which the next one is measured."""
        self.iteration, self.waited = 0, 0
        self.check: dict[str, Any] = {}
        """What the best check found."""
        self.values: dict[str, Any] = {}

    def see(self, value: float, iteration: int, values: Mapping[str, Any], check: Mapping[str, Any]) -> None:
        """Take a check into account."""
        if self._is_better(value, self.best, 0.0):
            self.best, self.iteration, self.check = value, iteration, dict(check)
            if self.document.restore_best:
                self.values = dict(values)  # a training replaces values and changes none
        if self._is_better(value, self.improved, self.document.min_delta):
            self.improved, self.waited = value, 0
        else:
            self.waited += 1

    def _is_better(self, value: float, before: float | None, by: float) -> bool:
        sign = 1 if self.document.mode == "min" else -1
        return math.isfinite(value) and (before is None or sign * value < sign * before - by)

    @property
    def is_over(self) -> bool:
        """Whether it is time to stop."""
        return self.waited >= self.document.patience

    @property
    def state(self) -> dict[str, Any]:
        """All there is to remember, for a checkpoint."""
        check = {name: np.asarray(value) for name, value in self.check.items()}
        numbers = {"best": self.best, "improved": self.improved, "iteration": self.iteration, "waited": self.waited}
        return {**numbers, "check": check, "values": self.values}

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        self.best, self.improved = state["best"], state["improved"]
        self.iteration, self.waited = state["iteration"], state["waited"]
        self.check, self.values = dict(state["check"]), dict(state["values"])

    @property
    def reason(self) -> str:
        """Why the training stopped, in words."""
        best = f"{self.best:.6g} at iteration {self.iteration}" if self.best is not None else "never a number"
        by = f" by {self.document.min_delta:g}" if self.document.min_delta else ""
        return f"{self.document.monitor} has not improved{by} in {self.waited} checks (best: {best})"


def check_problems(training: TrainingDocument, graph: Graph, *, has_validation: bool = False) -> list[Problem]:
    """What does not fit together in a training section; `has_validation` says that a caller hands data over."""
    problems, validation, early = metric_problems(training), training.validation, training.early_stopping
    if training.accumulate > 1 and training.batch_size is None:
        message = "'accumulate' needs a 'batch_size': it says how many batches make an iteration"
        problems.append(Problem("GE112", message, None, "/training/accumulate"))
    if validation and not has_validation and (validation.data is None) == (validation.fraction is None):
        problems.append(Problem("GE112", "give either 'data' or 'fraction'", None, "/training/validation"))
    if early:
        names = [LOSS, *checked_outputs(training, apart=has_validation or validation is not None)]
        pointer = "/training/early_stopping/monitor"
        kind = graph.types.get(graph.meaning(training.metrics.get(early.monitor, "")))
        if early.monitor not in names:
            message = f"early stopping monitors '{early.monitor}', which no check computes"
            problems.append(Problem("GE210", message, did_you_mean(early.monitor, names, "computed"), pointer))
        elif kind is not None and kind.shape != ():
            problems.append(Problem("GE112", f"'{early.monitor}' is {kind}, and only a number improves", None, pointer))
    return problems


def metric_problems(training: TrainingDocument) -> list[Problem]:
    """Metrics that a history, or early stopping, could not tell from the loss."""
    message = "'{0}' is told of every training; call the metric otherwise"
    taken = [name for name in (LOSS, VALIDATION_LOSS) if name in training.metrics]
    return [Problem("GE112", message.format(name), None, f"/training/metrics/{name}") for name in taken]


def checked_outputs(training: TrainingDocument, *, apart: bool) -> dict[str, str]:
    """What each check computes, by the name it is told under; `apart` says whether data is set apart."""
    return {**({VALIDATION_LOSS: training.loss} if apart else {}), **training.metrics}


def checks_of(training: TrainingDocument, per_epoch: int, *, apart: bool) -> Every:
    """When there are checks: as the section says, else after each epoch; never, if there is nothing to check."""
    section = training.validation or ValidationDocument()
    if section.every_epochs or section.every_iterations:
        return Every(section.every_epochs, section.every_iterations, per_epoch)
    needed = apart or training.metrics or training.early_stopping
    return Every(1 if needed else None, None, per_epoch)
