"""`Model.evaluate`: the loss, every metric, and scores of what a model predicts for a target, over any number of rows.

What is compared with what follows from the graph: a target is an input that the loss depends on and some output does
not; its prediction is the output that has its categories, or its type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from graphengine.data.batches import Batches
from graphengine.errors import GraphEngineError, UsageError
from graphengine.format.documents import ModelDocument, TrainingDocument, ValidationDocument
from graphengine.ir.graph import Graph
from graphengine.model.evaluator import Evaluator, not_computable
from graphengine.model.scores import ClassCounts, ClassScores, Errors
from graphengine.ops.families.activations import Sigmoid
from graphengine.ops.shapes import ArrayType, Shape, Size
from graphengine.training.evaluation import Evaluation, largest_part
from graphengine.training.splitting import split

APART = " held out for validation"
"""Follows a number of rows."""
LOSS = "loss"
HALF = 0.5
"""A probability above it means the second of two classes."""


@dataclass(frozen=True)
class Scores:
    """How a model does on data: `rows`, `loss` (None without one), `metrics` by name.

    For a target of classes, `classes` has the scores of each, and `confusion` counts rows by class and predicted class.
    """

    rows: int
    loss: float | None
    metrics: dict[str, float]
    classes: tuple[ClassScores, ...] = ()
    confusion: np.ndarray[Any, np.dtype[np.int64]] | None = None


class EvaluationSubject(NamedTuple):
    """What is evaluated: a graph with its values, and the document that says what its outputs mean."""

    evaluator: Evaluator
    document: ModelDocument


class DefaultRows(NamedTuple):
    """Rows of a data source of the file; with `validation`, the fraction of them that a training sets apart by a seed.

    Without a name the source is the only one.
    """

    source: str | None
    validation: ValidationDocument | None = None
    seed: int = 0

    def of(self, data: Mapping[str, Any], graph: Graph) -> Mapping[str, Any]:
        """Return the rows of what the source gives; raises as `split`."""
        return data if self.validation is None else split(data, graph, self.validation, self.seed)[1]

    @property
    def text(self) -> str:
        """What they are of, in words after a number of rows."""
        return (f" of '{self.source}'" if self.source else "") + (APART if self.validation else "")


class Compared(NamedTuple):
    """A target and the output that predicts it; `classes` are names, or the number of them."""

    target: str
    output: str
    classes: tuple[str | float, ...] = ()


def evaluate(model: EvaluationSubject, data: Mapping[str, Any]) -> Scores:
    """Return the scores of a model on data by input.

    Raises
    ------
    DataError
        GE505 if the data does not fit the inputs.
    InputError
        GE401 if every score needs an input that the data lacks.
    ExecutionError
        GE414 if a metric needs all rows at once, and they take more memory than the limit.
    UsageError
        GE801 if the model has neither a loss nor an output that is one number; GE415 if it needs a value that a
        training has yet to compute.
    """
    batches = Batches(data, model.evaluator.graph, batch_size=1)
    found = _numbers(model, batches)
    counts = _compared_rows(model, batches)
    if counts is None:
        if not found:
            raise _no_score(model, data)
        return Scores(batches.samples, found.pop("", None), found)
    loss = found.pop("", None)
    metrics = {**counts.metrics, **found}
    if not isinstance(counts, ClassCounts):
        return Scores(batches.samples, loss, metrics)
    return Scores(batches.samples, loss, metrics, tuple(counts.scores()), counts.matrix)


def _no_score(model: EvaluationSubject, data: Mapping[str, Any]) -> GraphEngineError:
    """The error of a model that has nothing to evaluate, or nothing that the data is enough for."""
    if wanted := _wanted(model):
        needs = {name or LOSS: model.evaluator.executor.inputs_of([of]) for name, of in wanted.items()}
        return not_computable("score", needs, data)
    hint = "declare a loss or a metric as an output, or give an output the categories of an input"
    return UsageError(f"model '{model.evaluator.graph.name}' has nothing to evaluate", hint=hint)


def default_rows(document: ModelDocument) -> DefaultRows:
    """Return the rows that a model is evaluated on by default: those of its validation, else of its training."""
    section = document.training
    if section is None:
        return DefaultRows(None)
    validation = section.validation
    if validation and validation.data:
        return DefaultRows(validation.data)
    return DefaultRows(section.data, validation if validation and validation.fraction else None, section.seed)


def score_names(model: EvaluationSubject) -> list[str]:
    """Return the loss, the metrics and the scores that data with all inputs gives."""
    compared = comparison(model)
    of_rows = _counts_of(compared).metrics if compared else {}
    return list(dict.fromkeys([*(name or LOSS for name in _wanted(model)), *of_rows]))


def _wanted(model: EvaluationSubject) -> dict[str, str]:
    """The values of the scores that are numbers, by their names."""
    graph, section = model.evaluator.graph, model.document.training
    values = _scores(graph, section) if section else graph.outputs
    return {name: value for name, value in values.items() if _is_number(graph.types[value])}


def _is_number(kind: ArrayType) -> bool:
    return kind.shape == () and kind.array_dtype.kind in "fiub"


def _scores(graph: Graph, section: TrainingDocument) -> dict[str, str]:
    """The values of the loss, under an empty name, the other outputs, and the metrics."""
    loss = graph.value_name(section.loss)
    others = {name: value for name, value in graph.outputs.items() if value != loss}
    return {"": loss, **others, **{name: graph.value_name(of) for name, of in section.metrics.items()}}


def _numbers(model: EvaluationSubject, batches: Batches) -> dict[str, float]:
    """The numbers of the wanted values that the data has the inputs for."""
    graph = model.evaluator.graph
    ready = {name: of for name, of in _wanted(model).items() if _is_ready(model, of, batches)}
    if not ready:
        return {}
    model.evaluator.require_values(list(ready.values()))
    found = Evaluation(graph, batches.arrays, ready, model.evaluator.backend)(model.evaluator.values)
    return {name: float(value) for name, value in found.items()}


def _is_ready(model: EvaluationSubject, of: str, batches: Batches) -> bool:
    return set(model.evaluator.executor.inputs_of([model.evaluator.graph.value_name(of)])) <= set(batches.inputs)


def _compared_rows(model: EvaluationSubject, batches: Batches) -> ClassCounts | Errors | None:
    """The counts or errors of the rows of what is compared; None if nothing is."""
    compared = comparison(model)
    if compared is None or compared.target not in batches.inputs or not _is_ready(model, compared.output, batches):
        return None
    counts = _counts_of(compared)
    for batch in _large_batches(model, batches):
        target = np.asarray(batch[compared.target])
        predicted = model.evaluator.predict(batch, (compared.output,))[compared.output]
        counts.add(target, _as_classes(predicted, target) if compared.classes else predicted)
    return counts


def _large_batches(model: EvaluationSubject, batches: Batches) -> Iterator[Mapping[str, Any]]:
    """All rows in as few batches as memory allows."""
    part = largest_part(batches, [model.evaluator.graph])
    for segment in Batches(batches.arrays, model.evaluator.graph, batch_size=part).epoch(1):
        yield from map(segment.batch, range(segment.count))


def _counts_of(compared: Compared) -> ClassCounts | Errors:
    return ClassCounts(compared.classes) if compared.classes else Errors()


def _as_classes(predicted: Any, target: Any) -> Any:
    """Indices of classes; a model may give a number for each on the last axis, or the probability of the second."""
    if predicted.dtype.kind in "iub":
        return predicted
    return predicted > HALF if predicted.ndim == target.ndim else predicted.argmax(-1)


def comparison(model: EvaluationSubject) -> Compared | None:
    """Return what is compared with what, None if nothing is, or if it does not follow from the graph."""
    graph, section = model.evaluator.graph, model.document.training
    if section is None:
        return None
    inputs_of = model.evaluator.executor.inputs_of
    read = {name: set(inputs_of([value])) for name, value in graph.outputs.items()}
    targets = inputs_of([graph.value_name(section.loss)])
    return next(filter(None, (_best_for(model, target, read) for target in targets)), None)


def _best_for(model: EvaluationSubject, target: str, read: Mapping[str, set[str]]) -> Compared | None:
    """The output that is compared with a target: one that speaks its categories, or has classes, if there is one."""
    others = [name for name, inputs in read.items() if inputs and target not in inputs]
    found = filter(None, [_compared(model, target, name) for name in others])
    return max(found, key=lambda each: (each.output in model.document.speaking, bool(each.classes)), default=None)


def _compared(model: EvaluationSubject, target: str, output: str) -> Compared | None:
    """A target beside an output, if their types fit: as classes if the target has categories or is of integers."""
    graph = model.evaluator.graph
    classes = _classes_beside(model, target, output)
    if classes is not None:
        return Compared(target, output, classes)
    given = graph.types[graph.outputs[output]]
    is_number = not graph.inputs[target].categories and given.is_differentiable
    return Compared(target, output) if is_number and given.shape == graph.types[target].shape else None


def _classes_beside(model: EvaluationSubject, target: str, output: str) -> tuple[Any, ...] | None:
    """The classes that a target and an output are both of; None if they are not."""
    graph, categories = model.evaluator.graph, model.evaluator.graph.inputs[target].categories
    if categories and model.document.speaking.get(output) == target:
        return categories
    wanted = graph.types[target]
    return _classes(graph, output, wanted.shape, categories) if wanted.array_dtype.kind in "iub" else None


def _classes(graph: Graph, output: str, wanted: Shape, categories: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    """The classes that the numbers of an output are of, beside a target of some shape; None if it has none."""
    given = graph.types[graph.outputs[output]].shape
    if given == wanted:
        return (categories or (0, 1)) if _is_probability(graph, output) else None
    return _classes_along(given[-1], categories) if given[:-1] == wanted else None


def _classes_along(size: Size, categories: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    """The classes along an axis that has one number for each; None if they are not as many."""
    if not isinstance(size, int):
        return None
    classes = categories or tuple(range(size))
    return classes if len(classes) == size else None


def _is_probability(graph: Graph, output: str) -> bool:
    node = next((node for node in graph.nodes if node.id == graph.outputs[output]), None)
    return node is not None and isinstance(node.node, Sigmoid)
