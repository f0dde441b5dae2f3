"""A chain of 10,000 scalar nodes, mul, add, sin in turn with one parameter: forward and backward, ns per node.

There is no arithmetic to speak of, so this is the overhead of an engine for each node. Building is timed separately.
"""

from __future__ import annotations

import math
import sys
from functools import partial
from typing import Any

import numpy as np

from benchmarks.graphs import scalar_chain
from benchmarks.harness import Contender, Goal, Options, SkipContenderError, Table, Work, compare, require_ops
from benchmarks.loading import stage_table

LENGTH = 9_999  # whole turns of mul, add, sin
X, THETA = 0.3, 0.7
WARM_UP = 100
"""Evaluations before the clock starts, as for a library that compiles: the reference executor runs the first, then a
list of steps, then a compiled function."""


def run(options: Options) -> list[Table]:
    """ns per node, and the seconds from the file to the first gradient."""
    contenders = CONTENDERS if options.full else [c for c in CONTENDERS if c.name != "jax jit"]
    table = compare(
        f"chain of {LENGTH:,} scalar nodes, forward and backward",
        contenders,
        None,
        options,
        per="node",
        unit="ns",
        units=LENGTH,
        round_seconds=0.05,
        goals=[Goal("graphengine", 2.0), Goal("graphengine, numba", 0.25, against="Python floats")],
    )
    if not options.full:
        table.skipped["jax jit"] = "compiles for half a minute (--full)"
    if "graphengine" in table.skipped:
        return [table]
    build = stage_table("the chain from file to first gradient", scalar_chain(LENGTH), options, gradient=True)
    build.goals = [Goal("total", 0.5, against="second")]
    return [table, build]


def python_floats(_: None) -> Work:
    return repeat(lambda: hand_written(X, THETA, math.sin, math.cos))


def numpy_scalars(_: None) -> Work:
    return repeat(lambda: hand_written(np.float64(X), np.float64(THETA), np.sin, np.cos))


def hand_written(value: Any, theta: Any, sin: Any, cos: Any) -> tuple[Any, Any]:
    """The chain and its derivative as a loop: what the backward pass needs is kept in two lists."""
    factors, angles = [], []
    for _ in range(LENGTH // 3):
        factors.append(value)
        value = value * theta + theta
        angles.append(value)
        value = sin(value)
    gradient, slope = 1.0, 0.0
    for factor, angle in zip(reversed(factors), reversed(angles), strict=True):
        gradient = gradient * cos(angle)
        slope = slope + gradient + gradient * factor
        gradient = gradient * theta
    return value, slope


def repeat(once: Any) -> Work:
    """Do it n times; the last result counts."""

    def work(times: int) -> Any:
        for _ in range(times):
            result = once()
        return tuple(map(float, result))

    return work


def graphengine(_: None, backend: str = "numpy") -> Work:
    import graphengine as ge

    require_ops("mul", "add", "sin")
    try:
        model = ge.Model.from_dict(scalar_chain(LENGTH), backend=backend)
    except ge.errors.UsageError as error:
        raise SkipContenderError(str(error)) from error
    model.parameters["theta"] = THETA

    def once() -> Any:
        run = model.forward(x=X)
        return run["out"], run.backward(of="out")["theta"]

    for _ in range(WARM_UP):
        once()
    return repeat(once)


def through(value: Any, theta: Any, sin: Any) -> Any:
    """The chain for libraries that record what is done to their values."""
    for _ in range(LENGTH // 3):
        value = sin(value * theta + theta)
    return value


def micrograd(_: None) -> Work:
    from micrograd.engine import Value

    def sin(angle: Any) -> Any:
        out = Value(math.sin(angle.data), (angle,), "sin")

        def backward() -> None:
            angle.grad += math.cos(angle.data) * out.grad

        out._backward = backward
        return out

    def once() -> Any:
        theta = Value(THETA)
        out = through(Value(X), theta, sin)
        out.backward()
        return out.data, theta.grad

    sys.setrecursionlimit(10 * LENGTH)  # its sort is recursive
    return repeat(once)


def autograd(_: None) -> Work:
    import autograd.numpy as anp
    from autograd import value_and_grad

    gradient = value_and_grad(lambda theta: through(X, theta, anp.sin))
    return repeat(lambda: gradient(THETA))


def torch_eager(_: None) -> Work:
    import torch

    def once() -> Any:
        theta = torch.tensor(THETA, dtype=torch.float64, requires_grad=True)
        out = through(torch.tensor(X, dtype=torch.float64), theta, torch.sin)
        return out.detach(), torch.autograd.grad(out, theta)[0]

    return repeat(once)


def jax_jit(_: None) -> Work:
    import jax

    jax.config.update("jax_enable_x64", True)
    gradient = jax.jit(jax.value_and_grad(lambda theta: through(X, theta, jax.numpy.sin)))
    sys.setrecursionlimit(10 * LENGTH)
    return repeat(lambda: gradient(THETA))


CONTENDERS = [
    Contender("Python floats", python_floats, "hand"),
    Contender("NumPy scalars", numpy_scalars, "hand", reference=True),
    Contender("graphengine", graphengine, "ours"),
    Contender("graphengine, numba", partial(graphengine, backend="numba"), "ours"),
    Contender("micrograd", micrograd),
    Contender("autograd", autograd),
    Contender("torch eager", torch_eager),
    Contender("jax jit", jax_jit),
]
