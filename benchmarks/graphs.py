"""The graphs of the benchmarks as model files: what graphengine loads, nothing but JSON values."""

from __future__ import annotations

import random
from typing import Any

Json = dict[str, Any]

HEAD: Json = {"format": "graphengine.model", "format_version": 1, "opset_imports": {"core": 1}}


def node(identifier: str, op: str, *inputs: str | float) -> Json:
    """One node."""
    return {"id": identifier, "op": op, "inputs": list(inputs)}


def parameter(*shape: int) -> Json:
    """A parameter that starts from zeros; the benchmarks assign its value."""
    return {"shape": list(shape), "initializer": {"type": "zeros"}}


def linear_regression(*, single: bool) -> Json:
    """loss = (y - theta*x)^2 of one sample, or its mean over N."""
    shape = [] if single else ["N"]
    nodes = [node("y_hat", "mul", "theta", "x"), node("error", "sub", "y", "y_hat"), node("sq", "square", "error")]
    if not single:
        nodes.append(node("loss", "mean", "sq"))
    return {
        **HEAD,
        "name": "linreg",
        "inputs": {"x": {"shape": shape}, "y": {"shape": shape}},
        "parameters": {"theta": parameter()},
        "nodes": nodes,
        "outputs": {"loss": nodes[-1]["id"]},
    }


def perceptron(sizes: tuple[int, int, int]) -> Json:
    """A classifier with one hidden layer: matmul, add, relu, matmul, add, softmax cross-entropy; float32."""
    inputs, hidden, classes = sizes
    return {
        **HEAD,
        "name": "mlp",
        "dtype": "float32",
        "inputs": {"x": {"shape": ["N", inputs]}, "labels": {"shape": ["N"], "dtype": "int64"}},
        "parameters": {
            "w1": parameter(inputs, hidden),
            "b1": parameter(hidden),
            "w2": parameter(hidden, classes),
            "b2": parameter(classes),
        },
        "nodes": [
            node("xw1", "matmul", "x", "w1"),
            node("z1", "add", "xw1", "b1"),
            node("h", "relu", "z1"),
            node("hw2", "matmul", "h", "w2"),
            node("logits", "add", "hw2", "b2"),
            node("loss", "softmax_cross_entropy", "logits", "labels"),
        ],
        "outputs": {"logits": "logits", "loss": "loss"},
    }


def scalar_chain(count: int) -> Json:
    """v -> v * theta -> v + theta -> sin(v), again and again: `count` scalar nodes, one parameter."""
    nodes, value = [], "x"
    for index in range(count):
        op = ("mul", "add", "sin")[index % 3]
        operands = (value,) if op == "sin" else (value, "theta")
        value = f"n{index:07}"
        nodes.append(node(value, op, *operands))
    return {
        **HEAD,
        "name": "chain",
        "inputs": {"x": {"shape": []}},
        "parameters": {"theta": parameter()},
        "nodes": nodes,
        "outputs": {"out": value},
    }


def elementwise_graph(count: int) -> Json:
    """Add, sub, mul and neg over arrays of size N; a node reads the one before and an earlier one or theta."""
    nodes = []
    for index in range(count):
        op = ("add", "sub", "mul", "neg")[index % 4]
        before = f"n{index - 1:07}" if index else "x"
        earlier = f"n{index - 9:07}" if index >= 9 and index % 3 else "theta"
        nodes.append(node(f"n{index:07}", op, *((before,) if op == "neg" else (before, earlier))))
    return {
        **HEAD,
        "name": "elementwise",
        "inputs": {"x": {"shape": ["N"]}},
        "parameters": {"theta": parameter()},
        "nodes": nodes,
        "outputs": {"out": nodes[-1]["id"]},
    }


def scalar_model(name: str, nodes: list[Json]) -> Json:
    """Scalar nodes of an input x and a parameter theta; the last one is the output."""
    return {
        **HEAD,
        "name": name,
        "inputs": {"x": {"shape": []}},
        "parameters": {"theta": parameter()},
        "nodes": nodes,
        "outputs": {"out": nodes[-1]["id"]},
    }


def wide_sum(count: int) -> Json:
    """theta times, plus and minus as many numbers as there are nodes, all added up by one node of op add_n."""
    parts = [node(f"n{index:07}", ("mul", "add", "sub")[index % 3], "theta", index + 0.5) for index in range(count - 1)]
    return scalar_model("wide", [*parts, node("out", "add_n", *[part["id"] for part in parts])])


def random_graph(count: int) -> Json:
    """Scalar nodes of six ops; each reads the one before and, if it takes two operands, one of 1,000 earlier values."""
    draw = random.Random(0)
    names, nodes = ["theta", "x"], []
    for index in range(count):
        op = draw.choice(("mul", "add", "sub", "sin", "tanh", "maximum"))
        other = draw.choice(names[-1000:])
        operands = {"mul": (names[-1], "theta"), "sin": names[-1:], "tanh": names[-1:]}.get(op, (names[-1], other))
        names.append(f"n{index:07}")
        nodes.append(node(names[-1], op, *operands))
    return scalar_model("random", nodes)


def shared_value(count: int) -> Json:
    """A product of `count` factors, each of which is theta."""
    nodes = [node(f"n{i:07}", "mul", f"n{i - 1:07}" if i else "x", "theta") for i in range(count)]
    return scalar_model("shared", nodes)


def wide_concat(count: int) -> Json:
    """The mean of `count` products of theta and a vector, one behind the other."""
    parts = [node(f"n{index:07}", "mul", "theta", "x") for index in range(count)]
    joined = node("joined", "concat", *[part["id"] for part in parts])
    model = scalar_model("concat", [*parts, joined, node("out", "mean", "joined")])
    return {**model, "inputs": {"x": {"shape": [3]}}}


def many_parameters(count: int, size: int = 4) -> Json:
    """The mean square of the sum of `count` vectors, each a parameter times x."""
    names = [f"p{index:07}" for index in range(count)]
    nodes = [node("s0000000", "mul", names[0], "x")]
    for index, name in enumerate(names[1:], 1):
        nodes += [node(f"t{index:07}", "mul", name, "x"), node(f"s{index:07}", "add", nodes[-1]["id"], f"t{index:07}")]
    nodes += [node("squares", "square", nodes[-1]["id"]), node("out", "mean", "squares")]
    return {
        **HEAD,
        "name": "many",
        "inputs": {"x": {"shape": [size]}},
        "parameters": {name: parameter(size) for name in names},
        "nodes": nodes,
        "outputs": {"out": "out"},
    }
