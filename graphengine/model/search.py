"""Search over settings of a file: each is trained and scored on the same folds, and the best is trained again.

A fold is a function of the seed and the rows. Every training starts from the initializers, so what was learned from a
row is never scored on it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from graphengine.data.readers import declared_columns
from graphengine.data.sources import given_data
from graphengine.data.stored import Arrays
from graphengine.errors import DivergenceError, ExecutionError, Problem, UsageError, did_you_mean
from graphengine.format.building import sound_graph
from graphengine.format.documents import ModelDocument, ParameterDocument
from graphengine.format.salvage import Gaps
from graphengine.format.saving import with_made_parameters
from graphengine.format.settings import keys_of, with_value
from graphengine.format.writing import model_as_dict
from graphengine.ir.cells import as_encoded
from graphengine.ir.graph import Graph
from graphengine.mappings import without
from graphengine.model.estimators import untrained
from graphengine.model.evaluating import LOSS, EvaluationSubject, Scores, score_names
from graphengine.model.model import Model
from graphengine.model.tasks import ModelTask, Workers, over_workers, task_of
from graphengine.ops.index import FAMILIES
from graphengine.ops.numbers import encode_number
from graphengine.training.provenance import FIT, PROVENANCE
from graphengine.training.splitting import SplitKind, divided, folds_of, fraction_of
from graphengine.training.validation import is_label, not_a_label
from graphengine.wording import counted

LARGER, SMALLER = {"accuracy", "r2"}, {LOSS, "mae", "rmse"}
"""Scores of which the larger, or the smaller, is better."""
EXAMPLE = '{"training.optimizer.learning_rate": [0.1, 0.01]}'
MOST_TRIALS = 10_000
"""Combinations of values that are tried."""
DATA = (("data",), ("inputs",), ("training", "data"))
"""Places of the data of all trials, which is read once."""


@dataclass(frozen=True)
class Trial:
    """One combination of settings, by path: its score on each fold, and the problem that ended it, if any.

    `std` is the standard deviation of the scores (of the folds there are, as in scikit-learn). Both numbers are NaN
    where there is a problem.
    """

    settings: dict[str, Any]
    scores: tuple[float, ...]
    problem: Problem | None = None

    @property
    def mean(self) -> float:
        """The mean of the scores."""
        return math.nan if self.problem else float(np.mean(self.scores))

    @property
    def std(self) -> float:
        """The standard deviation of the scores."""
        return math.nan if self.problem else float(np.std(self.scores))

    def as_dict(self) -> dict[str, Any]:
        """Return the trial as JSON has it."""
        found: dict[str, Any] = {"settings": self.settings, "scores": [encode_number(each) for each in self.scores]}
        found |= {"mean": encode_number(self.mean), "std": encode_number(self.std)}
        return {**found, "problem": self.problem.as_dict()} if self.problem else found


@dataclass(frozen=True)
class Search:
    """What a search found: `trials`, the best first; `model`, of the best settings, trained on all `rows`.

    `test` has its scores on the rows held out, if any: neither a fold nor `model` was trained on them.
    """

    model: Model
    trials: tuple[Trial, ...]
    metric: str
    mode: Literal["min", "max"]
    folds: int
    seed: int
    rows: int
    test: Scores | None = None

    @property
    def best(self) -> Trial:
        """The trial with the best mean; of equal ones the first in the order of the grid."""
        return self.trials[0]


def search(
    model: Model,
    settings: Mapping[str, Sequence[Any]],
    data: Any = None,
    *,
    folds: int = 5,
    seed: int = 0,
    stratify: str | None = None,
    group: str | None = None,
    test: Any = None,
    metric: str = LOSS,
    mode: Literal["min", "max"] | None = None,
    seen: Callable[[Trial], object] | None = None,
    workers: Workers | None = None,
) -> Search:
    """Try all combinations of settings by cross-validation, and train the best one again on all rows.

    A setting is a path into the file, such as "training.optimizer.learning_rate", with the values to try. Each
    combination is trained on the rows of all folds but one and scored on that one. A validation section applies within
    the training rows. Trainings start from the initializers, not from trained values.

    Parameters
    ----------
    data : optional
        As for `Model.train`: the name of a data source of the file, arrays by input, or a table.
    folds, seed : int, optional
        The number of folds, and the seed for assigning rows to them; the folds depend only on these and the rows.
    stratify, group : str, optional
        An input of integers or categories: each of its values is spread evenly over the folds, or kept in one fold.
    test : float or data, optional
        Rows to evaluate the result on: a fraction of the data, drawn like the folds, or separate data.
    metric : str, optional
        The score to compare: "loss", or a name among the metrics of `Model.evaluate`.
    mode : {"min", "max"}, optional
        Whether a smaller or a larger score is better, if the metric does not determine it.
    seen : callable, optional
        Called with each trial when it is done.
    workers : int or str, optional
        The number of processes that run the trials, or the address of a Dask scheduler. The result is the same for any
        of them. They open the model file and the data source that the training section, or `data`, names.

    Raises
    ------
    UsageError
        GE801 if the settings, the metric or the folds do not make sense.
    InvalidModelError
        If a combination does not make a valid file.
    DataError, InputError
        If the data cannot be read, does not fit, or has fewer rows or groups than folds.
    TrainingError
        If a training cannot start.
    ExecutionError
        GE601 if no combination has a finite score on all folds.
    """
    grid, dealing = _grid(settings), Dealing(folds, seed, stratify, group, test)
    experiment = Experiment(model, data, dealing, metric)
    for each in grid:
        experiment.changed(each)  # all are valid before one is trained
    mode = mode or mode_of(model, metric)
    trials = []
    for trial in map(experiment.run, grid) if workers is None else _over(workers, experiment, data, grid):
        trials.append(trial)
        if seen:
            seen(trial)
    ranked = tuple(sorted(trials, key=lambda trial: _rank(trial, mode)))
    _require_finite(ranked[0])
    best = experiment.changed(ranked[0].settings)
    best.train(experiment.rows)
    scores = None if experiment.held is None else best.evaluate(experiment.held)
    return Search(best, ranked, metric, mode, folds, seed, len(experiment.dealt), scores)


@dataclass(frozen=True)
class Dealing:
    """How the rows are dealt to folds, and which are held out; the same rows always give the same folds."""

    folds: int
    seed: int
    stratify: str | None
    group: str | None
    test: Any


class Experiment:
    """What all trials have in common: a model, its rows, and the fold of each row."""

    def __init__(self, model: Model, data: Any, dealing: Dealing, metric: str) -> None:
        kind = _kind(model, dealing.stratify, dealing.group, dealing.folds)
        self.model, self.dealing, self.metric, self._content = model, dealing, metric, _content(model)
        self.rows, self.held = _held_out(model, _arrays(model, data), dealing.test, dealing.seed, kind)
        self.dealt = folds_of(self.rows, model.graph, dealing.folds, dealing.seed, kind)

    def changed(self, settings: Mapping[str, Any]) -> Model:
        """The model with other settings, before a training."""
        return _changed(self.model, self._content, settings)

    @property
    def folds(self) -> range:
        """The numbers of the folds."""
        return range(int(self.dealt.max()) + 1)

    def run(self, settings: dict[str, Any]) -> Trial:
        """Train and score one combination on each fold, until one has a problem."""
        model = self.changed(settings)
        return _trial(settings, (self.outcome(model, fold) for fold in self.folds))

    def outcome(self, model: Model, fold: int) -> float | Problem:
        """Train a copy of a model on all folds but one; its score on that one, or what ends the trial."""
        kept, apart = divided(self.rows, model.graph, self.dealt == fold)
        copy = model.copy()
        try:
            copy.train(kept)
            score = _score(copy.evaluate(apart), self.metric)
        except (DivergenceError, ExecutionError) as error:
            return error.problems[0]
        if not math.isfinite(score):
            return Problem("GE413", f"'{self.metric}' is {score} on fold {fold + 1} of {len(self.folds)}")
        return score


@dataclass(frozen=True)
class ExperimentTask:
    """An experiment as another process opens it."""

    model: ModelTask
    dealing: Dealing
    metric: str


@lru_cache(maxsize=1)
def _experiment_of(task: ExperimentTask) -> Experiment:
    return Experiment(task.model.open(), task.model.source, task.dealing, task.metric)


def _run_fold(task: ExperimentTask, part: tuple[dict[str, Any], int]) -> float | Problem:
    experiment, (settings, fold) = _experiment_of(task), part
    return experiment.outcome(experiment.changed(settings), fold)


def _over(workers: Workers, experiment: Experiment, data: Any, grid: Sequence[dict[str, Any]]) -> Iterator[Trial]:
    """The trials of a grid, whose folds workers run; rows that are evaluated at the end stay here."""
    held = experiment.dealing.test if isinstance(experiment.dealing.test, float) else None
    dealing = replace(experiment.dealing, test=held)
    task = ExperimentTask(task_of(experiment.model, data), dealing, experiment.metric)
    parts = list(itertools.product(grid, experiment.folds))
    found = over_workers(_run_fold, task, parts, workers)
    for settings in grid:
        yield _trial(settings, list(itertools.islice(found, len(experiment.folds))))


def _held_out(model: Model, rows: Arrays, test: Any, seed: int, kind: SplitKind) -> tuple[Arrays, Arrays | None]:
    """The rows that are dealt to folds, and those that only the result is evaluated on."""
    if not isinstance(test, float):
        return rows, None if test is None else _arrays(model, test)
    if not 0 < test < 1:
        raise UsageError(f"the test fraction is {test}: it must lie between 0 and 1")
    return divided(rows, model.graph, fraction_of(rows, model.graph, test, seed, kind))


def _trial(settings: dict[str, Any], outcomes: Iterable[float | Problem]) -> Trial:
    """The scores of one combination, up to the first fold that has a problem."""
    scores: list[float] = []
    for outcome in outcomes:
        if isinstance(outcome, Problem):
            return Trial(settings, tuple(scores), outcome)
        scores.append(outcome)
    return Trial(settings, tuple(scores))


def _score(scores: Scores, metric: str) -> float:
    found = {**({} if scores.loss is None else {LOSS: scores.loss}), **scores.metrics}
    if metric not in found:
        raise _no_metric(metric, found)
    return found[metric]


def _no_metric(metric: str, known: Iterable[str]) -> UsageError:
    return UsageError(f"there is no metric '{metric}'", hint=did_you_mean(metric, known, "metrics"))


def _rank(trial: Trial, mode: Literal["min", "max"]) -> tuple[bool, float]:
    return bool(trial.problem), 0.0 if trial.problem else trial.mean if mode == "min" else -trial.mean


def _require_finite(best: Trial) -> None:
    if best.problem:
        first = ", ".join(f"{path}={value}" for path, value in best.settings.items())
        message = f"no setting has a finite score on all folds; {first}: {best.problem.message}"
        raise ExecutionError(message, code="GE601")


def _op_of(graph: Graph, value: str) -> str | None:
    """Return the op that gives a value."""
    return next((node.op for node in graph.nodes if value in node.outputs), None)


def mode_of(model: Model, metric: str) -> Literal["min", "max"]:
    """Return whether the smaller or the larger score is better.

    Raises
    ------
    UsageError
        GE801 if there is no such metric, or if that does not follow from its name, its op, or what early stopping says.
    """
    section = model.document.training
    early = section.early_stopping if section else None
    if early and early.monitor == metric:
        return early.mode
    mode = _mode_of_op(_meaning_of(metric, model))
    if mode is None:
        raise _unknown_mode(model, metric)
    return mode


def _mode_of_op(op: str) -> Literal["min", "max"] | None:
    """Whether a smaller or a larger result of an op is better; None if that is not known."""
    if op in LARGER:
        return "max"
    return "min" if op in SMALLER or FAMILIES.get(op, "").endswith(".losses") else None


def _unknown_mode(model: Model, metric: str) -> UsageError:
    known = score_names(EvaluationSubject(model.evaluator, model.document))
    if metric not in known:
        return _no_metric(metric, known)
    hint = "set mode='min' or mode='max' (--mode)"
    return UsageError(f"it is not known whether a larger or a smaller '{metric}' is better", hint=hint)


def _meaning_of(metric: str, model: Model) -> str:
    """The op that computes a metric, or its name if that is a word for a score."""
    graph, section = model.graph, model.document.training
    declared = section.metrics.get(metric, metric) if section else metric
    return metric if metric == LOSS else _op_of(graph, graph.meaning(declared)) or metric


# ---------------------------------------------------------------- what is tried


def _grid(settings: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """All combinations, the last setting changing fastest."""
    if not settings:
        raise UsageError("there is no setting to try", hint=f"give paths and values: {EXAMPLE}")
    for path, values in settings.items():
        _check_setting(path, values)
    count = math.prod(map(len, settings.values()))
    if count > MOST_TRIALS:
        raise UsageError(f"the settings have {count:,} combinations; at most {MOST_TRIALS:,} are tried")
    return [dict(zip(settings, values, strict=True)) for values in itertools.product(*settings.values())]


def _check_setting(path: str, values: Any) -> None:
    is_list = isinstance(values, Sequence) and not isinstance(values, str)
    if not is_list or not values:
        raise UsageError(f"setting '{path}' takes a list of values to try, not {values!r}")
    if any(tuple(keys_of(path)[: len(place)]) == place for place in DATA):
        raise UsageError(f"setting '{path}' changes the data, which is the same for all trials")


def _kind(model: Model, stratify: str | None, group: str | None, folds: int) -> SplitKind:
    if stratify is not None and group is not None:
        raise UsageError("folds are stratified or made of groups, not both")
    if folds < 2:
        raise UsageError(f"the number of folds is {folds}; at least 2 are needed")
    for name in filter(None, (stratify, group)):
        _require_label(model, name)
    return SplitKind(stratify, group)


def _require_label(model: Model, name: str) -> None:
    inputs = model.graph.inputs
    if name not in inputs:
        hint = did_you_mean(name, inputs, "inputs")
        raise UsageError(f"model '{model.graph.name}' has no input '{name}'", code="GE402", hint=hint)
    if not is_label(inputs[name]):
        raise UsageError(not_a_label(name, model.graph))


def _arrays(model: Model, data: Any) -> Arrays:
    """The rows by input, once and for all: a training or an evaluation does not encode categories again."""
    if data is None or isinstance(data, str):
        return model.load_data(data or model.document.training_data)
    return as_encoded(given_data(data, model.graph, declared_columns(model.document)), model.graph.inputs)


def _changed(model: Model, content: dict[str, Any], settings: Mapping[str, Any]) -> Model:
    for path, value in settings.items():
        content = with_value(content, keys_of(path), value, f"setting '{path}'")
    rule = model.given_rule
    return Model.from_dict(content, model.path, update_rule=rule, limits=model.limits, backend=model.backend.name)


def _content(model: Model) -> dict[str, Any]:
    """The content of the file before a training; parameters that calls make are left to the calls."""
    _require_initializers(model)
    document = untrained(model.document, None)
    metadata = without(document.metadata or {}, (PROVENANCE, FIT))
    parameters = without(document.parameters, dict(_made(document, model)))
    return model_as_dict(document.model_copy(update={"parameters": parameters, "metadata": metadata or None}))


def _made(document: ModelDocument, model: Model) -> Iterator[tuple[str, ParameterDocument]]:
    """The parameters that the calls of a document would make as they are declared."""
    own = {name: each for name, each in document.parameters.items() if "/" not in name}
    if len(own) == len(document.parameters):
        return
    bare = document.model_copy(update={"parameters": own})
    graph, _ = sound_graph(bare, model.limits, Gaps())
    for name, made in without(with_made_parameters(bare, graph).parameters, own).items():
        declared = document.parameters.get(name)
        if declared and _said(declared) == _said(made):
            yield name, made


def _said(declared: ParameterDocument) -> dict[str, Any]:
    return declared.model_dump(mode="json", exclude_defaults=True)


def _require_initializers(model: Model) -> None:
    """Refuse a trained file with parameters that cannot start anew: they have learned from rows of every fold."""
    if PROVENANCE not in (model.document.metadata or {}):
        return
    parameters = model.document.parameters
    kept = [repr(name) for name in model.graph.trainable if parameters[name].initializer is None]
    if kept:
        what = f"{counted(len(kept), 'parameter')} without an initializer: {', '.join(kept[:8])}"
        message = f"the file is trained, and {what}: the folds would be scored on rows that they were trained on"
        raise UsageError(message, hint="search with the file before the training, or declare initializers")
