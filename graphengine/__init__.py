"""graphengine: a model is a JSON file that can be read, checked, differentiated and trained, and that never runs code.

    import graphengine as ge

    model = ge.load("models/linreg.json")
    history = model.train()
    model.predict(x=[1.5])

Each name is imported when it is first asked for, so that `graphengine --help` answers without the engine.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphengine.version import __version__ as __version__

if TYPE_CHECKING:
    from graphengine import errors, nodes
    from graphengine.autodiff import gradient
    from graphengine.checking import check_gradients
    from graphengine.graph import Graph
    from graphengine.model import Model, load
    from graphengine.node import Node
    from graphengine.registry import register
    from graphengine.run import Run
    from graphengine.training import History

__all__ = [
    "Graph",
    "History",
    "Model",
    "Node",
    "Run",
    "check_gradients",
    "errors",
    "gradient",
    "load",
    "nodes",
    "register",
]

_HOME = {
    "gradient": "graphengine.autodiff",
    "check_gradients": "graphengine.checking",
    "Graph": "graphengine.graph",
    "Model": "graphengine.model",
    "Run": "graphengine.run",
    "load": "graphengine.model",
    "Node": "graphengine.node",
    "register": "graphengine.registry",
    "History": "graphengine.training",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'graphengine' has no attribute '{name}'")
    import_module("graphengine.nodes")  # the ops are registered before anything can ask for one
    if name not in _HOME:
        return import_module(f"graphengine.{name}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
