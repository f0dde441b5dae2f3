"""The latency of a prediction for one row by the classifier of `mlp`: from one array of 784 numbers to 10 logits."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.graphs import perceptron
from benchmarks.harness import Contender, Goal, Options, SkipContenderError, Table, Work, compare, require_ops
from benchmarks.mlp import OPS, SIZES, Data, make_data

FLOAT = 1
"""ONNX's number for single precision."""


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
        goals=[Goal("graphengine", 1.0, against="peer"), Goal("graphengine, numba", 1.0, against="onnxruntime")],
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


def graphengine(data: Data, backend: str = "numpy") -> Work:
    import graphengine as ge

    require_ops(*OPS)
    try:
        model = ge.Model.from_dict(perceptron(SIZES), backend=backend)
    except ge.errors.UsageError as error:
        raise SkipContenderError(str(error)) from error
    for name, weight in data.weights.items():
        model.parameters[name] = weight
    return repeat(lambda row: model.predict(x=row, outputs=["logits"])["logits"], data.x[:1])


def onnx_runtime(data: Data) -> Work:
    import onnxruntime
    from onnx import helper, numpy_helper

    shapes = [
        helper.make_tensor_value_info(*each) for each in (("x", FLOAT, [1, SIZES[0]]), ("logits", FLOAT, [1, SIZES[2]]))
    ]
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["sums"]),
        helper.make_node("Relu", ["sums"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "w2", "b2"], ["logits"]),
    ]
    weights = [numpy_helper.from_array(weight, name) for name, weight in data.weights.items()]
    graph = helper.make_graph(nodes, "mlp", shapes[:1], shapes[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return repeat(lambda row: session.run(["logits"], {"x": row})[0], data.x[:1])


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
    Contender("graphengine, numba", partial(graphengine, backend="numba"), "ours"),
    Contender("onnxruntime", onnx_runtime),
    Contender("torch eager", torch_eager),
    Contender("jax jit", jax_jit),
]
