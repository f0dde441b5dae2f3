"""The outputs of a model without a part for each sample, on samples that memory holds only in parts."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

import numpy as np

from graphengine.data.batches import Batches
from graphengine.errors import ExecutionError, GraphEngineError, InputError, Problem
from graphengine.model.evaluator import Evaluator
from graphengine.training.evaluation import Evaluation


def outputs_in_parts(evaluator: Evaluator, batches: Batches, warnings: list[Problem] | None) -> dict[str, Any]:
    """Return the outputs whose size no number of samples changes; none if the model takes samples one by one.

    With `warnings` an output that needs all samples at once, where they do not fit, is left out with a warning, and no
    error.
    """
    if batches.takes_single_samples:
        return {}
    graph = evaluator.graph
    fixed = [name for name in evaluator.ready(batches.inputs) if graph.types[graph.outputs[name]].is_sized]
    evaluator.require_values([graph.outputs[name] for name in fixed])
    return _evaluated(evaluator, batches, fixed, warnings)


def _evaluated(
    evaluator: Evaluator, batches: Batches, names: list[str], warnings: list[Problem] | None
) -> dict[str, Any]:
    """Outputs worked on in parts of the samples; where one of them does not work, each alone."""
    targets = dict(zip(names, names, strict=True))
    try:
        found = Evaluation(evaluator.graph, batches.arrays, targets, evaluator.backend)(evaluator.values)
    except (ExecutionError, InputError) as error:
        if warnings is None:
            raise
        if len(names) > 1:
            return reduce(or_, [_evaluated(evaluator, batches, [name], warnings) for name in names])
        warnings += _left_out(names[0], error)
        return {}
    return {name: np.asarray(value) for name, value in found.items()}


def _left_out(name: str, error: GraphEngineError) -> list[Problem]:
    """Warnings that an output is not there, with the reasons."""
    return [Problem(each.code, f"output '{name}' is left out: {each.message}", each.hint) for each in error.problems]
