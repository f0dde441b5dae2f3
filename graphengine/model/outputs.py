"""The outputs of a model for given inputs, or on all samples of its data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from graphengine.data.batches import Batches
from graphengine.data.stored import Stored
from graphengine.errors import InputError
from graphengine.ir.cells import as_encoded
from graphengine.model.model import Model, outputs_on
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
    return Outputs(outputs_on(model, batches), batches.samples)
