"""The shipped layers: `ge.nn.dense(x, weight, bias)` computes on arrays and records a call on symbols.

Each is a function file of this folder, a named subgraph that is inlined where a model calls it.
"""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return import_module("graphengine.nn.shipped").shipped_function("nn", name)


def __dir__() -> list[str]:
    names: list[str] = import_module("graphengine.nn.shipped").shipped_names("nn")
    return names
