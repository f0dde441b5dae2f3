"""One step of a classifier 784-256-10: relu, softmax cross-entropy, batch 64, float32, plain gradient descent."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from benchmarks.graphs import perceptron
from benchmarks.harness import (
    Contender,
    Goal,
    Options,
    SkipContenderError,
    Table,
    Work,
    compare,
    on_one_blas_thread,
    require_ops,
)

SIZES = (784, 256, 10)
BATCH, BATCHES = 64, 10
RATE = 0.1
OPS = ("matmul", "add", "relu", "softmax_cross_entropy")

Weights = dict[str, np.ndarray[Any, Any]]


class Data(NamedTuple):
    """Samples, their classes, and the weights everyone starts from."""

    x: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]
    weights: Weights


def make_data() -> Data:
    """Random images in [0, 1), random classes, weights of He's variance."""
    generator = np.random.default_rng(0)
    inputs, hidden, classes = SIZES
    x = generator.random((BATCH * BATCHES, inputs), dtype=np.float32)
    shapes = {"w1": (inputs, hidden), "b1": (hidden,), "w2": (hidden, classes), "b2": (classes,)}
    weights = {
        name: (generator.standard_normal(shape) * np.sqrt(2 / shape[0])).astype(np.float32) if len(shape) > 1
        else np.zeros(shape, np.float32)
        for name, shape in shapes.items()
    }  # fmt: skip
    return Data(x, generator.integers(0, classes, len(x)), weights)


def run(options: Options) -> list[Table]:
    """us per step."""
    table = compare(
        "MLP 784-256-10, batch 64, float32, one step",
        CONTENDERS,
        make_data(),
        options,
        per="step",
        unit="us",
        check=BATCHES,
        tolerance=1e-4,  # of the sum of ten updates, in single precision
        round_seconds=0.1,
        goals=[
            Goal("graphengine", 1.15),
            Goal("graphengine", 1.0, against="peer"),
            Goal("graphengine", 0.95, against="jax scan"),
            Goal("graphengine --backend jax", 0.95, against="jax scan"),
            Goal("graphengine --backend numba", 0.95, against="jax scan"),
        ],
    )
    return [table]


def updates(weights: Any, data: Data) -> tuple[Any, ...]:
    """What all contenders must agree on: how far each weight has moved."""
    return tuple(np.asarray(weights[name]) - start for name, start in data.weights.items())


def starts(steps: int) -> list[int]:
    """Where the batch of each step begins."""
    return [step % BATCHES * BATCH for step in range(steps)]


def numpy_out(data: Data) -> Work:
    def work(steps: int) -> Any:
        weights = {name: start.copy() for name, start in data.weights.items()}
        step, losses = numpy_step(weights), []
        for start in starts(steps):
            batch = slice(start, start + BATCH)
            losses.append(step(data.x[batch], data.labels[batch]))
        return updates(weights, data)

    return work


def numpy_step(weights: Weights) -> Any:
    """The step as a careful programmer writes it: no array is allocated in it but the mask and those of one row."""
    w1, b1, w2, b2 = weights.values()
    hidden, logits, slope_hidden = (np.empty((BATCH, size), np.float32) for size in (SIZES[1], SIZES[2], SIZES[1]))
    g1, g2 = np.empty_like(w1), np.empty_like(w2)
    rows, scale = np.arange(BATCH), np.float32(RATE / BATCH)

    def step(x: Any, labels: Any) -> float:
        np.dot(x, w1, out=hidden)
        np.add(hidden, b1, out=hidden)
        np.maximum(hidden, 0, out=hidden)
        np.dot(hidden, w2, out=logits)
        np.add(logits, b2, out=logits)
        np.subtract(logits, logits.max(1, keepdims=True), out=logits)
        chosen = logits[rows, labels]
        np.exp(logits, out=logits)
        total = logits.sum(1, keepdims=True)
        loss = float((np.log(total[:, 0]) - chosen).sum()) / BATCH
        np.divide(logits, total, out=logits)
        logits[rows, labels] -= 1
        np.multiply(logits, scale, out=logits)  # the learning rate goes through the small array
        np.dot(logits, w2.T, out=slope_hidden)
        np.multiply(slope_hidden, hidden > 0, out=slope_hidden)
        np.dot(hidden.T, logits, out=g2)
        np.dot(x.T, slope_hidden, out=g1)
        np.subtract(w1, g1, out=w1)
        np.subtract(w2, g2, out=w2)
        np.subtract(b1, slope_hidden.sum(0), out=b1)
        np.subtract(b2, logits.sum(0), out=b2)
        return loss

    return step


def graphengine(data: Data, backend: str = "numpy") -> Work:
    import graphengine as ge

    require_ops(*OPS)
    try:
        model = ge.Model.from_dict(perceptron(SIZES), backend=backend)
    except ge.errors.UsageError as error:
        raise SkipContenderError(str(error)) from error
    arrays = {"x": data.x, "labels": data.labels}

    def work(steps: int) -> Any:
        for name, start in data.weights.items():
            model.parameters[name] = start.copy()
        model.train(arrays, loss="loss", batch_size=BATCH, max_iterations=steps, learning_rate=RATE, shuffle=False)
        return updates(model.parameters, data)

    return work


def torch_eager(data: Data) -> Work:
    import torch

    x, labels = torch.from_numpy(data.x), torch.from_numpy(data.labels)

    def work(steps: int) -> Any:
        weights = {name: torch.tensor(start, requires_grad=True) for name, start in data.weights.items()}
        w1, b1, w2, b2 = weights.values()
        losses = []
        for start in starts(steps):
            hidden = torch.relu(torch.addmm(b1, x[start : start + BATCH], w1))
            logits = torch.addmm(b2, hidden, w2)
            loss = torch.nn.functional.cross_entropy(logits, labels[start : start + BATCH])
            gradients = torch.autograd.grad(loss, (w1, b1, w2, b2))
            losses.append(loss.detach())
            with torch.no_grad():
                for weight, gradient in zip((w1, b1, w2, b2), gradients, strict=True):
                    weight.sub_(gradient, alpha=RATE)
        return updates({name: weight.detach() for name, weight in weights.items()}, data)

    return work


def jax_jit(data: Data) -> Work:
    import jax

    step = jax.jit(jax_step(jax), donate_argnums=0)
    batches = [
        (jax.numpy.asarray(data.x[start : start + BATCH]), jax.numpy.asarray(data.labels[start : start + BATCH]))
        for start in starts(BATCHES)
    ]

    def work(steps: int) -> Any:
        weights = {name: jax.numpy.array(start) for name, start in data.weights.items()}
        losses = []
        for number in range(steps):
            weights, loss = step(weights, *batches[number % BATCHES])
            losses.append(loss)
        jax.block_until_ready(weights)
        return updates(weights, data)

    return work


def jax_scan(data: Data) -> Work:
    """The steps of an epoch as one function, as a careful user of jax writes it."""
    import jax

    step = jax_step(jax)
    rows = data.x.reshape(BATCHES, BATCH, -1), data.labels.reshape(BATCHES, BATCH)
    epoch = jax.jit(lambda weights, rows: jax.lax.scan(lambda each, batch: step(each, *batch), weights, rows))
    rows = jax.device_put(rows)

    def work(steps: int) -> Any:
        weights = {name: jax.numpy.array(start) for name, start in data.weights.items()}
        for number in range(0, steps, BATCHES):
            chosen = rows if number + BATCHES <= steps else jax.tree.map(lambda each: each[: steps % BATCHES], rows)
            weights, _ = epoch(weights, chosen)
        jax.block_until_ready(weights)
        return updates(weights, data)

    return work


def jax_step(jax: Any) -> Any:
    """The step as a pure function from weights to weights and loss."""

    def loss_of(weights: Any, x: Any, labels: Any) -> Any:
        hidden = jax.nn.relu(x @ weights["w1"] + weights["b1"])
        scores = jax.nn.log_softmax(hidden @ weights["w2"] + weights["b2"])
        return -jax.numpy.mean(jax.numpy.take_along_axis(scores, labels[:, None], 1))

    def step(weights: Any, x: Any, labels: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(weights, x, labels)
        return {name: weight - RATE * gradients[name] for name, weight in weights.items()}, loss

    return step


CONTENDERS = [
    Contender("NumPy out=", numpy_out, "hand", reference=True),
    Contender("NumPy out=, 1 BLAS thread", on_one_blas_thread(numpy_out), "hand", reference=True),
    Contender("graphengine", graphengine, "ours"),
    Contender("graphengine --backend jax", lambda data: graphengine(data, "jax"), "ours"),
    Contender("graphengine --backend numba", lambda data: graphengine(data, "numba"), "ours"),
    Contender("torch eager", torch_eager),
    Contender("jax jit", jax_jit),
    Contender("jax scan", jax_scan),
]
