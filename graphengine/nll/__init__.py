"""The shipped negative log-likelihoods: `ge.nll.poisson(y, rate)` computes on arrays and records a call on symbols.

Each is a function file of this folder. Its first result is the sum over all data, the second has the terms.
"""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return import_module("graphengine.nn.shipped").shipped_function("nll", name)


def __dir__() -> list[str]:
    names: list[str] = import_module("graphengine.nn.shipped").shipped_names("nll")
    return names
