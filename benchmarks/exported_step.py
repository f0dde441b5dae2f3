"""A training step of the shipped classifier of digits, exported to ONNX and run in onnxruntime, beside our own."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from benchmarks.harness import Contender, Options, SkipContenderError, Table, Work, compare

ROWS = 64


def run(options: Options) -> list[Table]:
    """us per iteration over the same rows, on one thread, parameters and slots carried from one to the next."""
    title = f"step of mlp_digits, float64, {ROWS} rows"
    return [compare(title, CONTENDERS, None, options, per="step", unit="us", tolerance=1e-9)]


def start() -> Any:
    """The model at its initial values and the rows."""
    import graphengine as ge

    model = ge.load("mlp_digits")
    rows = {name: np.asarray(value[:ROWS]) for name, value in model.load_data("train").items()}
    model.initialize()
    return model, rows


def graphengine(_: None) -> Work:
    try:
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise SkipContenderError(str(error)) from error
    model, rows = start()

    def work(steps: int) -> Any:
        trained = model.copy()
        repeated = {name: np.tile(value, [steps] + [1] * (value.ndim - 1)) for name, value in rows.items()}
        with threadpool_limits(1):
            trained.train(repeated, epochs=1, batch_size=ROWS, shuffle=False, learning_rate=0.001)
        return [np.asarray(trained.parameters[name]) for name in ("W1", "W2")]

    return work


def onnx_runtime(_: None) -> Work:
    try:
        import onnxruntime

        from graphengine.model.to_onnx import onnx_proto
    except ImportError as error:
        raise SkipContenderError(str(error)) from error
    model, rows = start()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    text = onnx_proto(model, graph="step").SerializeToString()
    session = onnxruntime.InferenceSession(text, options, providers=["CPUExecutionProvider"])
    carried = json.loads(session.get_modelmeta().custom_metadata_map["graphengine.carried"])
    places, names = list(carried.values()), list(carried)
    given = {**rows, "learning_rate": np.array(0.001)}

    def work(steps: int) -> Any:
        state: dict[str, Any] = {}
        for iteration in range(1, steps + 1):
            feed = {**given, **state, "iteration": np.array(float(iteration))}
            state = dict(zip(places, session.run(names, feed), strict=True))
        return [state["W1"], state["W2"]]

    return work


CONTENDERS = (
    Contender("graphengine", graphengine, "ours"),
    Contender("onnxruntime", onnx_runtime, reference=True),
)
