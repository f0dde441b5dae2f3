"""The op set and its contract: node classes, the registry, inference of shapes and dtypes.

Each op is also a function of this module: `ge.ops.softmax(z, axis=-1)` computes on arrays and records on symbols.
"""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return import_module("graphengine.ops.calling").function_named(name)


def __dir__() -> list[str]:
    names: list[str] = import_module("graphengine.ops.calling").names_in("core")
    return names
