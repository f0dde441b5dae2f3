"""The outputs of a model on all samples of its data: at once where they fit into memory, else in parts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Any, NamedTuple

import numpy as np

from graphengine.data.batches import Batches
from graphengine.data.stored import Stored
from graphengine.errors import ExecutionError, GraphEngineError, InputError, Problem
from graphengine.ir.cells import as_encoded
from graphengine.model.model import Model
from graphengine.ops.shapes import ArrayType


class Outputs(NamedTuple):
    """Outputs by name, and the number of samples that they are of; None if no input has a symbol for them."""

    values: Mapping[str, Any]
    rows: int | None


def evaluate(model: Model, given: Mapping[str, Any], *, check_finite: bool = False) -> Outputs:
    """Return all outputs, for given inputs or, without any, for the data of the training or the only data source.

    Raises
    ------
    InputError
        If inputs are missing or do not fit.
    ExecutionError
        If a node fails, or, with `check_finite`, if the value of a node is not finite.
    """
    given = given or _data_of(model)
    if any(isinstance(array, Stored) for array in given.values()):
        return _in_parts(model, given, check_finite=check_finite)
    try:
        run = model.forward(given)
    except InputError as error:
        if not _is_too_large(error):
            raise
        return _in_parts(model, given, check_finite=check_finite)
    if check_finite:
        run.check_finite()
    return Outputs(run.outputs, _samples_of(model, given))


def _is_too_large(error: InputError) -> bool:
    """Whether values take more memory than the limit, and nothing else is wrong."""
    return [problem.code for problem in error.problems] == ["GE133"]


def _data_of(model: Model) -> Mapping[str, Any]:
    """The data of the training or the only data source, if there is one and the model has inputs."""
    declared = model.document.training_data
    has_data = model.graph.inputs and (declared or len(model.document.data) == 1)
    return model.load_data(declared) if has_data else {}


def _samples_of(model: Model, given: Mapping[str, Any]) -> int | None:
    """How many samples inputs have; None if no shape begins with a symbol for them."""
    sampled = [name for name, source in model.graph.inputs.items() if name in given and _has_samples(source.type)]
    return len(given[sampled[0]]) if sampled else None


def _has_samples(kind: ArrayType) -> bool:
    return kind.shape != () and isinstance(kind.shape[0], str)


def _in_parts(model: Model, data: Mapping[str, Any], *, check_finite: bool) -> Outputs:
    batches = Batches(data, model.graph, batch_size=1)
    if check_finite:
        from graphengine.training.evaluation import largest_part  # which most data do not need

        part = largest_part(batches, [model.graph])
        for segment in Batches(data, model.graph, batch_size=part).epoch(1):
            for index in range(segment.count):
                model.forward(as_encoded(segment.batch(index), model.graph.inputs)).check_finite()
    ready = model.evaluator.ready_at_once(batches)
    outputs = outputs_in_parts(model, batches) if ready is None else model.predict(batches.whole(), outputs=ready)
    return Outputs(outputs, batches.samples)


def outputs_in_parts(model: Model, batches: Batches, warnings: list[Problem] | None = None) -> dict[str, Any]:
    """The outputs without a part for each sample, worked on in parts; none if the model takes samples one by one.

    With `warnings` an output that needs all samples at once, where they do not fit, is left out with a warning, and no
    error.
    """
    if batches.takes_single_samples:
        return {}
    graph = model.graph
    fixed = [name for name in model.evaluator.ready(batches.inputs) if graph.types[graph.outputs[name]].is_sized]
    model.evaluator.require_values([graph.outputs[name] for name in fixed])
    return _evaluated(model, batches, fixed, warnings)


def _evaluated(model: Model, batches: Batches, names: list[str], warnings: list[Problem] | None) -> dict[str, Any]:
    """Outputs worked on in parts of the samples; where one of them does not work, each alone."""
    from graphengine.training.evaluation import Evaluation

    targets = dict(zip(names, names, strict=True))
    try:
        found = Evaluation(model.graph, batches.arrays, targets, model.backend)(model.values)
    except (ExecutionError, InputError) as error:
        if warnings is None:
            raise
        if len(names) > 1:
            return reduce(or_, [_evaluated(model, batches, [name], warnings) for name in names])
        warnings += _left_out(names[0], error)
        return {}
    return {name: np.asarray(value) for name, value in found.items()}


def _left_out(name: str, error: GraphEngineError) -> list[Problem]:
    """Warnings that an output is not there, with the reasons."""
    return [Problem(each.code, f"output '{name}' is left out: {each.message}", each.hint) for each in error.problems]
