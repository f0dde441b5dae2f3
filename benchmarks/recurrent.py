"""Training an LSTM over sequences of 20, 400 and 2,000 steps, beside Keras on JAX: epochs, and what the first one adds.

All have the same weights, batches and update, in single precision, and must come to the same losses.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.graphs import HEAD
from benchmarks.harness import Contender, Goal, Options, Table, Work, compare

FEATURES, UNITS, BATCH, BATCHES = 4, 32, 32, 4
RATE = 0.05


def run(options: Options) -> list[Table]:
    """Milliseconds per epoch of 4 batches, for each length."""
    lengths = (20, 400) if options.quick else (20, 400, 2_000)
    return [epochs(steps, options) for steps in lengths]


def epochs(steps: int, options: Options) -> Table:
    """A table for sequences of so many steps."""
    return compare(
        f"LSTM {FEATURES} -> {UNITS}, {steps:,} steps, {BATCHES} batches of {BATCH}",
        [
            Contender("Keras on JAX", keras_on_jax, "peer", reference=True),
            Contender("graphengine, jax", ours("jax"), "ours"),
            Contender("graphengine, numpy", ours("numpy"), "ours"),
        ],
        steps,
        options,
        per="epoch",
        unit="ms",
        tolerance=1e-3,
        round_seconds=0.1,
        goals=[Goal("graphengine, jax", 1.5), Goal("graphengine, numpy", 3.0)] if steps == 400 else (),
    )


def model_file() -> dict[str, Any]:
    """An LSTM and a layer over its last state."""
    single = "float32"
    return {
        **HEAD,
        "opset_imports": {"core": 1, "nn": 1},
        "name": "lstm",
        "inputs": {
            "x": {"shape": ["N", "T", FEATURES], "dtype": single},
            "y": {"shape": ["N", 1], "dtype": single},
        },
        "parameters": {
            name: {"shape": list(value.shape), "dtype": single, "initializer": {"type": "zeros"}}
            for name, value in weights().items()
        },
        "nodes": [
            {"id": "lstm", "op": "nn.lstm", "inputs": ["x", "weight_ih", "weight_hh", "bias_ih", "bias_hh"]},
            {"id": "z", "op": "nn.dense", "inputs": ["lstm:h", "weight", "bias"]},
            {"id": "loss", "op": "mse", "inputs": ["z", "y"]},
        ],
        "outputs": {"loss": "loss"},
        "training": {
            "loss": "loss",
            "optimizer": {"type": "sgd", "learning_rate": RATE},
            "batch_size": BATCH,
            "shuffle": False,
            "epochs": 1,
        },
    }


def weights() -> dict[str, Any]:
    """Initial values; the second bias is 0 and is not trained, because Keras has one."""
    generator = np.random.default_rng(0)
    shapes = {
        "weight_ih": (4, FEATURES, UNITS),
        "weight_hh": (4, UNITS, UNITS),
        "bias_ih": (4, UNITS),
        "weight": (UNITS, 1),
        "bias": (1,),
    }
    values = {name: generator.uniform(-0.2, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}
    return {**values, "bias_hh": np.zeros((4, UNITS), np.float32)}


def data(steps: int) -> tuple[Any, Any]:
    """Sequences and the mean of their first feature."""
    x = np.random.default_rng(1).normal(size=(BATCH * BATCHES, steps, FEATURES)).astype(np.float32)
    return x, x[:, -20:, 0].mean(axis=1, keepdims=True)


def ours(backend: str) -> Callable[[int], Work]:
    """A contender that trains with a backend from the same values."""

    def build(steps: int) -> Work:
        import graphengine as ge

        if backend == "jax":
            import jax  # noqa: F401 - skipped where it is not installed

        content = model_file()
        content["parameters"]["bias_hh"]["trainable"] = False
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "lstm.json")
            path.write_text(json.dumps(content))
            model = ge.load(path, backend=backend)
        x, y = data(steps)
        start = weights()

        def work(count: int) -> Any:
            model.parameters.update(start)
            history = model.train(data={"x": x, "y": y}, epochs=count)
            return (np.mean(history.losses[-BATCHES:]),)

        return work

    return build


def keras_on_jax(steps: int) -> Work:
    """Keras's layer with its backend JAX, trained by `fit`."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    model = keras.Sequential([keras.Input((None, FEATURES)), keras.layers.LSTM(UNITS), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(RATE), loss="mse")
    start, (x, y) = keras_weights(), data(steps)

    def work(count: int) -> Any:
        model.set_weights(start)
        history = model.fit(x, y, batch_size=BATCH, epochs=count, shuffle=False, verbose=0)
        return (np.array(history.history["loss"][-1]),)

    return work


def keras_weights() -> Sequence[Any]:
    """The weights as Keras lays them out: the gates side by side."""
    own = weights()
    return [
        np.concatenate(own["weight_ih"], axis=1),
        np.concatenate(own["weight_hh"], axis=1),
        np.concatenate(own["bias_ih"]),
        own["weight"],
        own["bias"],
    ]
