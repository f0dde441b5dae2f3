"""The shipped steps of differential equations, for the function of a loop: `ode.euler_step` and `ode.rk4_step`.

Each is a function file of this folder. The right-hand side is a function of the model file, named by an attribute.
"""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return import_module("graphengine.nn.shipped").shipped_function("ode", name)


def __dir__() -> list[str]:
    names: list[str] = import_module("graphengine.nn.shipped").shipped_names("ode")
    return names
