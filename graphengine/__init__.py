"""graphengine: a model is a JSON file that can be read, checked, differentiated and trained, and that never runs code.

    import graphengine as ge

    model = ge.load("models/linreg.json")
    history = model.train()
    model.predict(x=[1.5])

Each name is imported when it is first asked for, so that `graphengine --help` answers without the engine.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphengine import hooks
from graphengine.ops.index import FAMILIES
from graphengine.version import __version__ as __version__

if TYPE_CHECKING:
    from graphengine import errors, nll, nn, ode, ops, shape
    from graphengine.data.readers import Reader
    from graphengine.fit.solvers import Solver
    from graphengine.format.initializers import Initializer
    from graphengine.format.kinds import register_initializer, register_reader, register_schedule, register_solver
    from graphengine.ir.graph import Graph
    from graphengine.library import models
    from graphengine.limits import Limits
    from graphengine.model import onnx_files as onnx
    from graphengine.model.builder import Builder
    from graphengine.model.gradcheck import check_gradients
    from graphengine.model.model import Model, load
    from graphengine.model.run import Run
    from graphengine.model.search import search
    from graphengine.ops import families as nodes
    from graphengine.ops import inference as infer
    from graphengine.ops.node import Node
    from graphengine.ops.registry import register
    from graphengine.ops.shapes import ArrayType
    from graphengine.scale.batch_scoring import score_batches
    from graphengine.traces.traced_models import trace
    from graphengine.training.history import History
    from graphengine.training.schedules import Schedule
    from graphengine.transform.gradient import gradient

hooks.shipped_ops.update(FAMILIES)
hooks.shipped_kinds.update(
    {
        "a reader of data": ("graphengine.data.readers", "inline npy csv npz jsonl parquet arrow"),
        "an initializer": (
            "graphengine.format.initializers",
            "constant zeros ones uniform normal glorot_uniform glorot_normal he_uniform he_normal from_data",
        ),
        "a learning-rate schedule": (
            "graphengine.training.schedules",
            "constant step exponential cosine linear inverse_time one_cycle",
        ),
        "a solver": ("graphengine.fit.solvers", "least_squares newton lbfgs trust-constr"),
    }
)
hooks.save_graph.provider = "graphengine.format.saving:save_graph"
hooks.graph_as_dict.provider = "graphengine.format.saving:graph_as_dict"
hooks.branch_gradient.provider = "graphengine.transform.reversal:branch_gradient"
hooks.loop_gradient.provider = "graphengine.transform.reversal:loop_gradient"
hooks.over_workers.provider = "graphengine.scale.workers:over_workers"
hooks.trainer_over.provider = "graphengine.scale.local_training:trainer_over"
hooks.starts_over.provider = "graphengine.scale.fit_starts:starts_over"
hooks.picture_svg.provider = "graphengine.draw.drawing:svg"
hooks.picture_html.provider = "graphengine.draw.drawing:html"

__all__ = [
    "ArrayType",
    "Builder",
    "Graph",
    "History",
    "Initializer",
    "Limits",
    "Model",
    "Node",
    "Reader",
    "Run",
    "Schedule",
    "Solver",
    "check_gradients",
    "errors",
    "gradient",
    "infer",
    "load",
    "models",
    "nll",
    "nn",
    "nodes",
    "ode",
    "onnx",
    "ops",
    "register",
    "register_initializer",
    "register_reader",
    "register_schedule",
    "register_solver",
    "score_batches",
    "search",
    "shape",
    "trace",
]

_HOME = {
    "ArrayType": "ops.shapes",
    "Limits": "limits",
    "models": "library",
    "trace": "traces.traced_models",
    "Builder": "model.builder",
    "gradient": "transform.gradient",
    "check_gradients": "model.gradcheck",
    "Graph": "ir.graph",
    "Model": "model.model",
    "Run": "model.run",
    "load": "model.model",
    "search": "model.search",
    "score_batches": "scale.batch_scoring",
    "Node": "ops.node",
    "register": "ops.registry",
    "History": "training.history",
    "Initializer": "format.initializers",
    "Reader": "data.readers",
    "Schedule": "training.schedules",
    "Solver": "fit.solvers",
    "register_initializer": "format.kinds",
    "register_reader": "format.kinds",
    "register_schedule": "format.kinds",
    "register_solver": "format.kinds",
}
"""The module of each public name."""

_MODULES = {
    "errors": "errors",
    "infer": "ops.inference",
    "nll": "nll",
    "ode": "ode",
    "nn": "nn",
    "nodes": "ops.families",
    "onnx": "model.onnx_files",
    "ops": "ops",
    "shape": "shape",
}
"""Public names that are modules."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'graphengine' has no attribute '{name}'")
    if name in _MODULES:
        value: Any = import_module(f"graphengine.{_MODULES[name]}")
    else:
        value = getattr(import_module(f"graphengine.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
