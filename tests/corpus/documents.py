"""The valid documents that malformed ones are made from."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

HEAD: Json = {"format": "graphengine.model", "format_version": 1, "opset_imports": {"core": 1}}

LINREG: Json = {
    **HEAD,
    "name": "linreg",
    "description": "y_hat = theta * x",
    "metadata": {"source": ["a", 1]},
    "dtype": "float64",
    "inputs": {"x": {"shape": ["N"], "description": "in"}, "y": {"shape": ["N"], "dtype": "float64"}},
    "parameters": {
        "theta": {
            "shape": [],
            "initializer": {"type": "constant", "value": 0.5},
            "value": 0.25,
            "trainable": True,
            "learning_rate_multiplier": 1.0,
        }
    },
    "nodes": [
        {"id": "y_hat", "op": "mul", "inputs": ["theta", "x"]},
        {"id": "error", "op": "sub", "inputs": {"x": "y", "y": "y_hat"}, "description": "what is left"},
        {"id": "sq", "op": "square", "inputs": ["error"]},
        {"id": "loss", "op": "mean", "inputs": ["sq"], "attributes": {"axis": 0, "keepdims": False}},
    ],
    "outputs": {"prediction": "y_hat", "loss": "loss"},
    "data": {
        "train": {"type": "csv", "path": "data.csv", "columns": {"x": "a", "y": "b"}},
        "rows": {"type": "inline", "values": {"x": [1.0, 2.0], "y": [2.0, 4.0]}},
        "packed": {"type": "npz", "path": "data.npz", "arrays": {"x": "x", "y": "y"}},
    },
    "training": {
        "loss": "loss",
        "data": "rows",
        "optimizer": {"type": "momentum", "learning_rate": 0.1, "momentum": 0.9},
        "batch_size": 1,
        "shuffle": True,
        "seed": 3,
        "epochs": 2,
        "gradient_clipping": {"type": "norm", "limit": 1.0},
    },
}
"""Linear regression with every section that a file may have but state and functions."""

COUNTER: Json = {
    **HEAD,
    "name": "counter",
    "inputs": {"x": {"shape": ["N", 3]}, "labels": {"shape": ["N"], "dtype": "int64"}},
    "parameters": {"w": {"shape": [3, 2], "initializer": {"type": "glorot_uniform", "seed": 1}}},
    "state": {"seen": {"shape": [], "initializer": {"type": "zeros"}, "update": "more"}},
    "functions": {
        "layer": {
            "inputs": {"x": {"shape": ["N", 3]}, "w": {}},
            "attributes": {"slope": {"default": 1.0}},
            "nodes": [
                {"id": "z", "op": "matmul", "inputs": ["x", "w"]},
                {"id": "out", "op": "mul", "inputs": ["z", "slope"]},
            ],
            "outputs": {"out": "out"},
        }
    },
    "nodes": [
        {"id": "more", "op": "add", "inputs": ["seen", 1]},
        {"id": "logits", "op": "layer", "inputs": ["x", "w"], "attributes": {"slope": 2.0}},
        {"id": "loss", "op": "softmax_cross_entropy", "inputs": ["logits", "labels"]},
    ],
    "outputs": {"logits": "logits", "loss": "loss"},
}
"""A file with state and a function."""
