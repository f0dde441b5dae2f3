"""The latency of a prediction for one row by the classifier of `mlp`: from one array of 784 numbers to 10 logits."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.graphs import perceptron
from benchmarks.harness import Contender, Goal, Options, Table, Work, compare, require_ops
from benchmarks.mlp import OPS, SIZES, Data, make_data


def run(options: Options) -> list[Table]:
    """us per call."""
    table = compare(
        "MLP 784-256-10, float32, one-row predict",
        CONTENDERS,
        make_data(),
        options,
        per="call",
        unit="us",
        tolerance=1e-5,
        goals=[Goal("graphengine", 1.0, against="peer")],
    )
    return [table]


def numpy_out(data: Data) -> Work:
    w1, b1, w2, b2 = data.weights.values()
    hidden, logits = np.empty((1, SIZES[1]), np.float32), np.empty((1, SIZES[2]), np.float32)

    def predict(row: Any) -> Any:
        np.dot(row, w1, out=hidden)
        np.add(hidden, b1, out=hidden)
        np.maximum(hidden, 0, out=hidden)
        np.dot(hidden, w2, out=logits)
        return logits + b2

    return repeat(predict, data.x[:1])


def repeat(predict: Any, row: Any) -> Work:
    """Call `predict` n times on the row; the result of the last call counts."""

    def work(calls: int) -> Any:
        for _ in range(calls):
            logits = predict(row)
        return (np.asarray(logits),)

    return work


def graphengine(data: Data) -> Work:
    import graphengine as ge

    require_ops(*OPS)
    model = ge.Model.from_dict(perceptron(SIZES))
    for name, weight in data.weights.items():
        model.parameters[name] = weight
    return repeat(lambda row: model.predict(x=row, outputs=["logits"])["logits"], data.x[:1])


def torch_eager(data: Data) -> Work:
    import torch

    w1, b1, w2, b2 = (torch.from_numpy(weight) for weight in data.weights.values())

    def predict(row: Any) -> Any:
        with torch.inference_mode():
            hidden = torch.relu(torch.addmm(b1, torch.from_numpy(row), w1))
            return torch.addmm(b2, hidden, w2).numpy()

    return repeat(predict, data.x[:1])


def jax_jit(data: Data) -> Work:
    import jax

    weights = tuple(jax.numpy.asarray(weight) for weight in data.weights.values())

    @jax.jit
    def logits(row: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
        return jax.nn.relu(row @ w1 + b1) @ w2 + b2

    return repeat(lambda row: np.asarray(logits(row, *weights)), data.x[:1])


CONTENDERS = [
    Contender("NumPy out=", numpy_out, "hand", reference=True),
    Contender("graphengine", graphengine, "ours"),
    Contender("torch eager", torch_eager),
    Contender("jax jit", jax_jit),
]
