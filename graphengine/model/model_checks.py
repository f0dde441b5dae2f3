"""The gradients of a whole model against the slopes of its loss: on which inputs, and in which modes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from graphengine.data.batches import Batches
from graphengine.ir.binding import bind_inputs
from graphengine.ir.graph import Graph
from graphengine.model.gradcheck import GradientCheck, graph_checks
from graphengine.model.model import Model
from graphengine.ops.shapes import size_value, symbols_of
from graphengine.transform.mode import in_training_mode

SAMPLES = 32
"""At most this many samples of the data are used."""
SIZE = 3
"""What a symbolic size is where inputs are made up."""


def inputs_for_a_check(model: Model, given: Mapping[str, Any], loss: str, seed: int) -> tuple[dict[str, Any], str]:
    """Return values of the inputs that the loss needs, and where they are from: given, data, random or none.

    Raises
    ------
    InputError, DataError
        If inputs are missing or do not fit, or the data of the model cannot be read.
    """
    needed = model.executor.inputs_of([model.graph.value_name(loss)])
    if given or not needed:
        return bind_inputs(model.graph, given, needed), "given" if given else "none"
    if model.document.data:
        return _first_samples(model, model.document.training_data), "data"
    return _made_up(model.graph, needed, seed), "random"


def _first_samples(model: Model, data: str | None) -> dict[str, Any]:
    training = model.document.training
    size = training.batch_size if training else None
    batches = Batches(model.load_data(data), model.graph, batch_size=min(size or SAMPLES, SAMPLES))
    return next(iter(batches.epoch(1))).batch(0)


def _made_up(graph: Graph, names: list[str], seed: int) -> dict[str, Any]:
    """Normal numbers, for integers and truth values 0 and 1; each symbolic size is the same small number."""
    generator, values = np.random.default_rng(seed), {}
    for name in names:
        kind = graph.types[name]
        shape = [size_value(size, dict.fromkeys(symbols_of(kind.shape), SIZE)) or 0 for size in kind.shape]
        floating = kind.is_differentiable
        made = generator.normal(size=shape) if floating else generator.integers(0, 2, size=shape)
        values[name] = np.asarray(made, kind.array_dtype)[()]
    return values


def checks_of_model(
    model: Model, inputs: Mapping[str, Any], loss: str, names: Sequence[str], seed: int
) -> Iterator[tuple[str, GradientCheck]]:
    """Yield the checks of the graph as it is used in inference and, where it differs, in training, with the mode."""
    if model.document.data:
        model.initialize()
    model.evaluator.require_values([model.graph.value_name(loss)])
    graphs = {"inference": model.graph, "training": in_training_mode(model.graph)}
    if graphs["training"] is model.graph:
        del graphs["training"]
    for mode, graph in graphs.items():
        checks = graph_checks(graph, {**model.values, **inputs}, loss, list(names), np.random.default_rng(seed))
        yield from ((mode, check) for check in checks)
