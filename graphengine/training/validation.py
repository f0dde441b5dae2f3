"""How good a model is while it is trained: loss and metrics on data set apart, and when they no longer improve.

Checks, and checkpoints, are due after a number of iterations or epochs (`Every`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphengine.backends.protocol import Backend
from graphengine.errors import Problem, did_you_mean
from graphengine.format.documents import EarlyStoppingDocument, TrainingDocument, ValidationDocument
from graphengine.ir.declarations import Input
from graphengine.ir.graph import Graph
from graphengine.mappings import without_none
from graphengine.training.history import LOSS, VALIDATION_LOSS, History

if TYPE_CHECKING:  # imported where there is something to compute
    from graphengine.training.evaluation import Evaluation


class Every:
    """Due after every so many iterations, or epochs of a number of iterations, whichever comes first; may be never."""

    def __init__(self, epochs: int | None, iterations: int | None, per_epoch: int) -> None:
        self._periods = [*([epochs * per_epoch] if epochs else []), *([iterations] if iterations else [])]

    def next(self, done: int) -> float:
        """The first iteration after `done` at whose end it is due."""
        return min(((done // period + 1) * period for period in self._periods), default=math.inf)

    def is_due(self, done: int) -> bool:
        """Whether it is due at the end of an iteration."""
        return any(done % period == 0 for period in self._periods)


class Checks:
    """The checks of a training: when they are due, what they compute, and whether to stop early.

    They are on `validation`, data set apart, or without it on the data that is trained on.
    """

    def __init__(
        self,
        graph: Graph,
        training: TrainingDocument,
        data: Mapping[str, Any],
        validation: Mapping[str, Any] | None,
        per_epoch: int,
        backend: Backend,
    ) -> None:
        self.apart: bool = validation is not None
        """Whether there is data to check on that is not trained on."""
        self.every: Every = _due(training.validation or ValidationDocument(), per_epoch)
        self._evaluation: Evaluation | None = None
        if outputs := checked_outputs(training, apart=self.apart):
            from graphengine.training.evaluation import Evaluation

            self._evaluation = Evaluation(graph, data if validation is None else validation, outputs, backend)
        self.early: EarlyStopping | None = EarlyStopping(training.early_stopping) if training.early_stopping else None

    @property
    def samples(self) -> int:
        """How many samples each check is on; 0 if nothing is computed."""
        return self._evaluation.samples if self._evaluation else 0

    @property
    def axes(self) -> Mapping[str, int]:
        """The numbers of axes of what is computed, by name."""
        return self._evaluation.axes if self._evaluation else {}

    def run(self, history: History, values: Mapping[str, Any]) -> None:
        """Compute loss and metrics, and stop if what is monitored no longer improves."""
        found = self._evaluation(values) if self._evaluation else {}
        history.add_check(found)
        if self.early:
            self._see_monitored(self.early, history, values, found)

    @staticmethod
    def _see_monitored(
        early: EarlyStopping, history: History, values: Mapping[str, Any], found: Mapping[str, Any]
    ) -> None:
        monitor = early.document.monitor
        value = history.last_epoch_loss if monitor == LOSS else found.get(monitor)
        if value is not None:
            early.see(float(value), len(history), values, found)
        if early.is_over:
            history.stopped = early.reason

    def restore_best(self, history: History, values: dict[str, Any]) -> None:
        """Put back the values of the best check, if they are to be restored."""
        if self.early and self.early.values:
            values.update(self.early.values)
            history.restore(self.early.iteration, self.early.check)


class EarlyStopping:
    """Remembers the best check, with the parameters and state of that time, and how long nothing has improved.

    An improvement is one by more than `min_delta` over the last improvement; the best check is the best of all.
    """

    def __init__(self, document: EarlyStoppingDocument) -> None:
        self.document = document
        self.best: float | None = None
        self.improved: float | None = None
        """The monitored value of the last improvement, from which the next one is measured."""
        self.iteration: int = 0
        self.waited: int = 0
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
    """What does not fit together in a training section; `has_validation` says that a caller hands data over.

    A section that has no checks, and does not accumulate, is not looked at.
    """
    problems, validation = metric_problems(training), training.validation
    if training.accumulate > 1 and training.batch_size is None:
        message = "'accumulate' needs a 'batch_size': it sets how many batches make an iteration"
        problems.append(Problem("GE112", message, None, "/training/accumulate"))
    if validation:
        problems += _validation_problems(validation, graph, has_validation=has_validation)
    if training.early_stopping:
        names = [LOSS, *checked_outputs(training, apart=has_validation or validation is not None)]
        problems += _monitor_problems(training.early_stopping.monitor, training, graph, names)
    return problems


def _monitor_problems(
    monitor: str, training: TrainingDocument, graph: Graph, names: Sequence[str]
) -> Iterator[Problem]:
    """What is wrong with what early stopping monitors; `names` are those that a check computes."""
    pointer = "/training/early_stopping/monitor"
    kind = graph.types.get(graph.meaning(training.metrics.get(monitor, "")))
    if monitor not in names:
        message = f"early stopping monitors '{monitor}', which no check computes"
        yield Problem("GE210", message, did_you_mean(monitor, names, "computed"), pointer)
    elif kind is not None and kind.shape != ():
        yield Problem("GE112", f"'{monitor}' is {kind}, and only a single number can be monitored", None, pointer)


def _validation_problems(section: ValidationDocument, graph: Graph, *, has_validation: bool) -> Iterator[Problem]:
    """The errors in the data that a section sets apart."""
    if not has_validation and (section.data is None) == (section.fraction is None):
        yield Problem("GE112", "give either 'data' or 'fraction'", None, "/training/validation")
    yield from _label_problems(section, graph)


def _label_problems(section: ValidationDocument, graph: Graph) -> Iterator[Problem]:
    """The errors in the inputs that a fraction is drawn by."""
    given = without_none({"stratify": section.stratify, "group": section.group})
    for key, name in given.items():
        pointer = f"/training/validation/{key}"
        if section.fraction is None:
            message = f"'{key}' needs a 'fraction': it sets how its samples are drawn"
            yield Problem("GE112", message, None, pointer, at_key=True)
        elif len(given) > 1:
            yield Problem("GE112", "give either 'stratify' or 'group'", None, pointer, at_key=True)
        elif _is_no_label(name, graph):
            yield Problem("GE112", f"{key}: {not_a_label(name, graph)}", None, pointer)


def _is_no_label(name: str, graph: Graph) -> bool:
    """Whether there is an input of that name, and samples cannot be split by it."""
    return name in graph.inputs and not is_label(graph.inputs[name])


def is_label(declared: Input) -> bool:
    """Whether an input has one integer, truth value or category for each sample."""
    shape, dtype = declared.type.shape, declared.type.array_dtype
    is_one = not shape or (len(shape) == 1 and isinstance(shape[0], str))
    return is_one and bool(declared.categories or dtype.kind in "iub")


def not_a_label(name: str, graph: Graph) -> str:
    """Return why samples cannot be split by an input."""
    return f"input '{name}' is {graph.types[name]}; a split is by integers or categories, one for each sample"


def metric_problems(training: TrainingDocument) -> list[Problem]:
    """Metrics that a history, or early stopping, could not distinguish from the loss."""
    message = "every training reports '{0}'; rename the metric"
    taken = [name for name in (LOSS, VALIDATION_LOSS) if name in training.metrics]
    return [Problem("GE112", message.format(name), None, f"/training/metrics/{name}") for name in taken]


def checked_outputs(training: TrainingDocument, *, apart: bool) -> dict[str, str]:
    """What each check computes, by the name it is reported under; `apart` says whether data is set apart."""
    return {**({VALIDATION_LOSS: training.loss} if apart else {}), **training.metrics}


def _due(section: ValidationDocument, per_epoch: int) -> Every:
    """When there are checks: as the section says, else after each epoch."""
    if section.every_epochs or section.every_iterations:
        return Every(section.every_epochs, section.every_iterations, per_epoch)
    return Every(1, None, per_epoch)
