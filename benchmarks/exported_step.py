"""A training step of each shipped model that has an update rule: exported, in onnxruntime, beside our own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from benchmarks.harness import Contender, Options, SkipContenderError, Table, Work, compare

ROWS, RATE = 64, 1e-4
STEPS = {"cnn_digits": 2, "lstm_sums": 10}
"""Steps of one repetition, so that what a training takes to begin counts little; 500 of the other models."""


def run(options: Options) -> list[Table]:
    """us per iteration over the same rows, on one thread, parameters and slots carried from one to the next."""
    fixed = {"per": "step", "unit": "us", "tolerance": 1e-9}
    return [
        compare(f"step of {name}, {ROWS} rows", CONTENDERS, name, options, units=steps_of(name), **fixed)
        for name in trained()
    ]


def steps_of(name: str) -> int:
    """The steps of one repetition."""
    return STEPS.get(name, 500)


def trained() -> Iterator[str]:
    """The shipped models that train by an update rule on data of their own."""
    import graphengine as ge

    for name in ge.models():
        model = ge.load(name)
        with suppress(ge.errors.TrainingError):
            model.training_step()
            if model.document.data:
                yield name


def start(name: str) -> Any:
    """A model at its initial values and the first rows of its data."""
    import graphengine as ge

    model = ge.load(name)
    source = model.load_data("train" if "train" in model.document.data else None)
    kinds = {name: each.type for name, each in model.graph.inputs.items()}
    rows = {
        name: np.asarray(value[:ROWS] if kinds[name].shape else value[0], kinds[name].array_dtype)
        for name, value in source.items()
        if name in kinds
    }
    model.initialize()
    return model, rows


def graphengine(name: str) -> Work:
    try:
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise SkipContenderError(str(error)) from error
    model, rows = start(name)

    samples = {name: np.atleast_1d(value) for name, value in rows.items()}
    size = min(map(len, samples.values()))

    def work(rounds: int) -> Any:
        steps = rounds * steps_of(name)
        trained = model.copy()
        repeated = {name: np.tile(value, [steps] + [1] * (value.ndim - 1)) for name, value in samples.items()}
        with threadpool_limits(1):
            trained.train(repeated, epochs=1, batch_size=size, shuffle=False, learning_rate=RATE)
        return [np.asarray(trained.parameters[name]) for name in model.graph.trainable]

    return work


def onnx_runtime(name: str) -> Work:
    try:
        import onnxruntime

        from graphengine.model.to_onnx import onnx_proto
    except ImportError as error:
        raise SkipContenderError(str(error)) from error
    model, rows = start(name)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    text = onnx_proto(model, graph="step").SerializeToString()
    session = onnxruntime.InferenceSession(text, options, providers=["CPUExecutionProvider"])
    carried = json.loads(session.get_modelmeta().custom_metadata_map["graphengine.carried"])
    places, names = list(carried.values()), list(carried)
    given = {**rows, "learning_rate": np.array(RATE)}

    def work(rounds: int) -> Any:
        state: dict[str, Any] = {}
        for iteration in range(1, rounds * steps_of(name) + 1):
            feed = {**given, **state, "iteration": np.array(float(iteration))}
            state = dict(zip(places, session.run(names, feed), strict=True))
        return [state[name] for name in model.graph.trainable]

    return work


CONTENDERS = (
    Contender("graphengine", graphengine, "ours"),
    Contender("onnxruntime", onnx_runtime, reference=True),
)
