"""The op set: one module for each family, every op a node class in plain NumPy.

The set is closed under differentiation: what a `backward` calls is an op of the set, too. An op that does what a NumPy
function does says so when it is registered (`numpy=np.subtract`); one that NumPy has not is called as a node,
`OneHot(depth=10)(targets)`. The registry imports a family when one of its ops is looked up.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphengine.ops.families import (
        activations,
        arithmetic,
        attention,
        comparison,
        constants,
        contraction,
        convolution,
        elementary,
        interpolation,
        linear,
        loops,
        losses,
        metrics,
        normalization,
        opaque,
        padding,
        patches,
        pooling,
        probability,
        random,
        reductions,
        scattering,
        segments,
        selection,
        shaping,
        sorting,
    )

__all__ = [
    "activations",
    "arithmetic",
    "attention",
    "comparison",
    "constants",
    "contraction",
    "convolution",
    "elementary",
    "interpolation",
    "linear",
    "loops",
    "losses",
    "metrics",
    "normalization",
    "opaque",
    "padding",
    "patches",
    "pooling",
    "probability",
    "random",
    "reductions",
    "scattering",
    "segments",
    "selection",
    "shaping",
    "sorting",
]


def __getattr__(name: str) -> Any:
    """Import a family when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'graphengine.ops.families' has no attribute '{name}'")
    return import_module(f"graphengine.ops.families.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
