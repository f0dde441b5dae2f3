"""The good files that hostile ones are made from: shipped models, and one for each op, with parts of every section."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from documents import document, linreg, training
from samples import SAMPLES

import graphengine.ops.families  # noqa: F401 - registers the ops
from graphengine.ops.registry import OPS
from graphengine.ops.shapes import dtype_name

MODELS = Path(__file__).parents[2] / "models"
LARGEST = 20_000
"""Bytes of the largest shipped file that is used: in a larger one most changes hit a number."""


def documents() -> list[Any]:
    """Contents of valid files."""
    shipped = [path for path in sorted(MODELS.glob("*.json")) if path.stat().st_size < LARGEST]
    return [*whole_documents(), *op_documents(), *(json.loads(path.read_bytes()) for path in shipped)]


def whole_documents() -> list[Any]:
    """Small files that together have every section."""
    data = {"rows": {"type": "inline", "values": {"x": [1.0, 2.0, 3.0], "y": [2.0, 4.0, 6.5]}}}
    keys = {
        "data": "rows",
        "batch_size": 2,
        "shuffle": True,
        "epochs": 2,
        "gradient_clipping": {"type": "norm", "limit": 1.0},
    }
    several = [
        linreg(data=data, training=training(**keys), description="d", metadata={"a": [1, {"b": None}]}),
        linreg(shape=(), data=data, training=training(data="rows", batch_size=1, optimizer=ADAM)),
        linreg(data={"file": {"type": "csv", "path": "a.csv", "columns": {"x": "a", "y": ["b"]}}}, theta=1.5),
        *functional_documents(),
    ]
    state = {"s": {"shape": [], "initializer": {"type": "zeros"}, "update": "t"}}
    several.append(document({"t": ("add", ["s", 1.0]), "z": ("mul", ["x", "t"])}, inputs={"x": ["N", 2]}, state=state))
    return several


ADAM = {"type": "adam", "learning_rate": 0.01}


def functional_documents() -> list[Any]:
    """Files that call functions, of their own and of the package."""
    function = {
        "inputs": {"x": {}},
        "attributes": {"axis": {"default": 0}},
        "nodes": [{"id": "s", "op": "sum", "inputs": ["x"], "attributes": {"axis": {"attribute": "axis"}}}],
        "outputs": {"out": "s"},
    }
    return [
        document({"z": ("f", ["x"]), "w": ("f", ["x"], {"axis": 1})}, inputs={"x": [2, 3]}, functions={"f": function}),
    ]


def op_documents() -> list[Any]:
    """A file for the first sample of each op, its inputs declared with the shapes and dtypes of the sample."""
    found = []
    for op, rows in SAMPLES.items():
        if "." in op or not rows:
            continue
        attributes, inputs = rows[0]
        arrays = {f"v{index}": np.asarray(value) for index, value in enumerate(inputs) if value is not None}
        declared = {name: {"shape": list(each.shape), "dtype": dtype_name(each.dtype)} for name, each in arrays.items()}
        signature = OPS[op].signature
        operands = {signature.input_name(place): f"v{place}" for place in range(len(inputs)) if f"v{place}" in declared}
        found.append(document({"z": (op, operands, attributes)}, inputs=declared))
    return found
