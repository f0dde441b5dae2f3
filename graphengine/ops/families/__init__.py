"""The op set: one module for each family, every op a node class in plain NumPy.

The set is closed under differentiation: what a `backward` calls is an op of the set, too. An op that does what a NumPy
function does says so when it is registered (`numpy=np.subtract`); one that NumPy has not is called as a node,
`OneHot(depth=10)(targets)`.
"""

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
    selection,
    shaping,
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
    "selection",
    "shaping",
]
