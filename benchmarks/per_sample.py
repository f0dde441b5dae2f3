"""Per-sample gradient descent of the linear regression: the whole loop, with data feed and history of the loss.

Every contender updates theta once for each sample, sample after sample, and keeps the loss of each step.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness import Contender, Goal, Options, SkipContenderError, Table, Work, compare

RATE = 0.01
MODELS = Path(__file__).parents[1] / "models"
WARM_UP = 5_000_000
"""Steps after which the numba backend has compiled its loop."""
NAMES = ("linreg_single_sample", "linreg")


class Data(NamedTuple):
    """The samples, y = 3 x and noise."""

    x: np.ndarray[Any, Any]
    y: np.ndarray[Any, Any]


def run(options: Options) -> list[Table]:
    """ns per step."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal(1000)
    data = Data(x, 3.0 * x + 0.1 * generator.standard_normal(len(x)))
    goals = [goal for name in NAMES for goal in (Goal(name, 2.0), Goal(name, 0.25, against="peer"))]
    goals.append(Goal("linreg, iterate", 10.0, against="linreg"))
    table = compare(
        "per-sample gradient descent",
        CONTENDERS,
        data,
        options,
        per="step",
        unit="ns",
        units=len(x),
        check=2,
        goals=goals,
    )
    return [table, long_epochs(options)]


def long_epochs(options: Options) -> Table:
    """The compiled loops over 100,000 samples, whose epochs are long beside the work between two of them."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal(10**5)
    data = Data(x, 3.0 * x + 0.1 * generator.standard_normal(len(x)))
    return compare(
        "per-sample gradient descent, compiled, 100,000 samples",
        COMPILED,
        data,
        options,
        per="step",
        unit="ns",
        units=len(x),
        check=1,
        goals=[Goal(f"{name}, numba", 1.5, against="numba, whole epoch") for name in NAMES],
    )


def summary(theta: Any, losses: Any, data: Data) -> tuple[float, float]:
    """What all contenders must agree on: the learned parameter and the mean loss of the last epoch."""
    return float(theta), sum(map(float, losses[-len(data.x) :])) / len(data.x)


def python_floats(data: Data) -> Work:
    xs, ys = data.x.tolist(), data.y.tolist()

    def work(epochs: int) -> Any:
        theta, losses, factor = 0.0, [], 2.0 * RATE
        append = losses.append
        for _ in range(epochs):
            for x, y in zip(xs, ys, strict=True):
                error = y - theta * x
                append(error * error)
                theta += factor * error * x
        return summary(theta, losses, data)

    return work


def numpy_scalars(data: Data) -> Work:
    def work(epochs: int) -> Any:
        theta, losses, factor = np.float64(0.0), [], np.float64(2.0 * RATE)
        for _ in range(epochs):
            for x, y in zip(data.x, data.y, strict=True):
                error = y - theta * x
                losses.append(error * error)
                theta = theta + factor * error * x
        return summary(theta, losses, data)

    return work


def numba_epoch(data: Data) -> Work:
    import numba

    @numba.njit
    def train(x: Any, y: Any, epochs: int, losses: Any) -> float:
        theta, step = 0.0, 0
        for _ in range(epochs):
            for i in range(len(x)):
                error = y[i] - theta * x[i]
                losses[step] = error * error
                theta += 2.0 * RATE * error * x[i]
                step += 1
        return theta

    def work(epochs: int) -> Any:
        losses = np.empty(epochs * len(data.x))
        return summary(train(data.x, data.y, epochs, losses), losses, data)

    return work


def iterated(data: Data) -> Work:
    """The training of `linreg` as a generator, which gives a row and the values after each step."""
    import graphengine as ge

    model = ge.load(MODELS / "linreg.json")
    arrays = data._asdict()

    def work(epochs: int) -> Any:
        model.parameters["theta"] = 0.0
        losses = []
        for row in model.iterate(arrays, batch_size=1, epochs=epochs, learning_rate=RATE, shuffle=False):
            losses.append(row.loss)  # noqa: PERF401 - as a user who looks at each step
        return summary(model.parameters["theta"], losses, data)

    return work


def shipped(name: str, backend: str = "numpy") -> Callable[[Data], Work]:
    """A shipped model, with a batch size of 1."""

    def contender(data: Data) -> Work:
        import graphengine as ge

        try:
            model = ge.load(MODELS / f"{name}.json", backend=backend)
        except ge.errors.UsageError as error:
            raise SkipContenderError(str(error)) from error
        arrays = data._asdict()

        def work(epochs: int) -> Any:
            model.parameters["theta"] = 0.0
            history = model.train(arrays, loss="loss", batch_size=1, epochs=epochs, learning_rate=RATE, shuffle=False)
            return float(model.parameters["theta"]), history.epochs[-1].loss

        if backend == "numba":
            work(WARM_UP // len(data.x))
        return work

    return contender


def micrograd(data: Data) -> Work:
    from micrograd.engine import Value

    xs, ys = data.x.tolist(), data.y.tolist()

    def work(epochs: int) -> Any:
        theta, losses = Value(0.0), []
        for _ in range(epochs):
            for x, y in zip(xs, ys, strict=True):
                loss = (y - theta * x) ** 2
                theta.grad = 0.0
                loss.backward()
                losses.append(loss.data)
                theta.data -= RATE * theta.grad
        return summary(theta.data, losses, data)

    return work


def autograd(data: Data) -> Work:
    from autograd import value_and_grad

    gradient = value_and_grad(lambda theta, x, y: (y - theta * x) ** 2)
    xs, ys = data.x.tolist(), data.y.tolist()

    def work(epochs: int) -> Any:
        theta, losses = 0.0, []
        for _ in range(epochs):
            for x, y in zip(xs, ys, strict=True):
                loss, slope = gradient(theta, x, y)
                losses.append(loss)
                theta = theta - RATE * slope
        return summary(theta, losses, data)

    return work


def torch_eager(data: Data) -> Work:
    import torch

    xs, ys = list(torch.tensor(data.x)), list(torch.tensor(data.y))

    def work(epochs: int) -> Any:
        theta, losses = torch.zeros((), dtype=torch.float64, requires_grad=True), []
        for _ in range(epochs):
            for x, y in zip(xs, ys, strict=True):
                loss = (y - theta * x).square()
                (slope,) = torch.autograd.grad(loss, theta)
                losses.append(loss.detach())
                with torch.no_grad():
                    theta.sub_(slope, alpha=RATE)
        return summary(theta.detach(), losses, data)

    return work


def jax_jit(data: Data) -> Work:
    import jax

    jax.config.update("jax_enable_x64", True)
    gradient = jax.value_and_grad(lambda theta, x, y: (y - theta * x) ** 2)

    @jax.jit
    def step(theta: Any, x: Any, y: Any) -> Any:
        loss, slope = gradient(theta, x, y)
        return theta - RATE * slope, loss

    xs, ys = list(jax.numpy.asarray(data.x)), list(jax.numpy.asarray(data.y))

    def work(epochs: int) -> Any:
        theta, losses = jax.numpy.zeros(()), []
        for _ in range(epochs):
            for x, y in zip(xs, ys, strict=True):
                theta, loss = step(theta, x, y)
                losses.append(loss)
        return summary(theta, losses, data)

    return work


def pytensor(data: Data) -> Work:
    import pytensor
    import pytensor.tensor as pt

    x, y, theta = pt.dscalar(), pt.dscalar(), pytensor.shared(np.asarray(0.0))
    loss = (y - theta * x) ** 2
    updates = [(theta, theta - RATE * pytensor.grad(loss, theta))]
    step = pytensor.function([x, y], loss, updates=updates, mode="CVM")  # C; numba takes twice as long for each call
    step.trust_input = True
    xs, ys = [np.asarray(value) for value in data.x], [np.asarray(value) for value in data.y]

    def work(epochs: int) -> Any:
        theta.set_value(np.asarray(0.0))
        losses = [step(x, y) for _ in range(epochs) for x, y in zip(xs, ys, strict=True)]
        return summary(theta.get_value(), losses, data)

    return work


COMPILED = [
    Contender("numba, whole epoch", numba_epoch, "limit"),
    *(Contender(f"{name}, numba", shipped(name, "numba"), "ours") for name in NAMES),
]
CONTENDERS = [
    Contender("Python floats", python_floats, "hand", reference=True),
    Contender("NumPy scalars", numpy_scalars, "hand"),
    Contender("linreg_single_sample", shipped("linreg_single_sample"), "ours"),
    Contender("linreg", shipped("linreg"), "ours"),
    Contender("linreg, iterate", iterated, "ours"),
    COMPILED[0],
    Contender("micrograd", micrograd),
    Contender("autograd", autograd),
    Contender("torch eager", torch_eager),
    Contender("jax jit", jax_jit),
    Contender("pytensor", pytensor),
]
