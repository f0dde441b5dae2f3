"""One full-batch gradient step of the linear regression over N samples: loss, gradient, update.

At N = 1e3 the calls count, at 1e5 the passes over the cache, at 1e7 those over the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from benchmarks.graphs import linear_regression
from benchmarks.harness import Contender, Goal, Options, SkipContenderError, Table, Work, compare, on_one_blas_thread

RATE = 0.1
TILE = 65_536
TILED = "NumPy tiled, 1 thread"
TWO_THREADS = "graphengine, 2 threads"
NUMBA, FUSED = "graphengine, numba", "numba fused, 1 thread"

Slope: TypeAlias = Callable[[float], tuple[float, float]]


class Data(NamedTuple):
    """The samples, y = 3 x and noise."""

    x: np.ndarray[Any, Any]
    y: np.ndarray[Any, Any]


def run(options: Options) -> list[Table]:
    """us per step at each N."""
    return [at_size(size, options) for size in ((10**3, 10**5) if options.quick else (10**3, 10**5, 10**7))]


def at_size(size: int, options: Options) -> Table:
    """All contenders on N = `size` samples; beyond the cache one thread is compared with one thread."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal(size)
    data = Data(x, 3.0 * x + 0.1 * generator.standard_normal(size))
    goals = [Goal("graphengine", 1.25), Goal(NUMBA, 1.2, against=FUSED)]
    if size > 10**6:
        goals.append(Goal(TWO_THREADS, 1.0, against="jax jit"))
    return compare(
        f"full-batch step, N = {size:,}",
        CONTENDERS,
        data,
        options,
        per="step",
        unit="us",
        check=3,
        round_seconds=0.02,
        goals=goals,
    )


def descend(slope: Slope, steps: int) -> tuple[float, float]:
    """Gradient descent with a function from theta to loss and gradient: what every hand-written contender does."""
    theta, losses = 0.0, []
    for _ in range(steps):
        loss, gradient = slope(theta)
        losses.append(loss)
        theta -= RATE * gradient
    return theta, losses[-1]


def numpy_naive(data: Data) -> Work:
    x, y = data

    def slope(theta: float) -> tuple[float, float]:
        error = y - theta * x
        return float(np.mean(error**2)), float(np.mean(-2 * x * error))

    return lambda steps: descend(slope, steps)


def numpy_out(data: Data) -> Work:
    x, y = data
    error, count = np.empty_like(x), len(x)
    multiply, subtract, dot = np.multiply, np.subtract, error.dot

    def work(steps: int) -> Any:
        theta, losses, factor = 0.0, [], 2.0 * RATE / count
        for _ in range(steps):
            multiply(x, theta, error)
            subtract(y, error, error)
            losses.append(float(dot(error)) / count)
            theta += factor * float(dot(x))
        return theta, losses[-1]

    return work


def buffered(x: Any, y: Any, error: Any) -> Slope:
    """Two passes that write one buffer and two that read it: the sums of error^2 and error*x."""
    multiply, subtract, dot = np.multiply, np.subtract, error.dot

    def slope(theta: float) -> tuple[float, float]:
        multiply(x, theta, error)
        subtract(y, error, error)
        return float(dot(error)), float(dot(x))

    return slope


def tiled(threads: int) -> Callable[[Data], Work]:
    """The same in tiles that stay in the cache; each thread takes a fixed share of them."""

    def build(data: Data) -> Work:
        starts = range(0, len(data.x), TILE)
        if len(starts) <= 1:
            raise SkipContenderError("one tile holds all")
        jobs = [share_of(data, starts[number::threads]) for number in range(threads)]
        spread: Any = map if threads == 1 else ThreadPoolExecutor(threads).map

        def slope(theta: float) -> tuple[float, float]:
            sums = list(spread(lambda job: job(theta), jobs))
            return sum(s for s, _ in sums) / len(data.x), -2.0 * sum(p for _, p in sums) / len(data.x)

        return lambda steps: descend(slope, steps)

    return on_one_blas_thread(build)


def share_of(data: Data, starts: Sequence[int]) -> Slope:
    """The sums over some tiles, one after the other, in one buffer."""
    buffer = np.empty(TILE)
    tiles = [(data.x[start : start + TILE], data.y[start : start + TILE]) for start in starts]
    slopes = [buffered(x, y, buffer[: len(x)]) for x, y in tiles]

    def total(theta: float) -> tuple[float, float]:
        squares = products = 0.0
        for slope in slopes:
            square, product = slope(theta)
            squares += square
            products += product
        return squares, products

    return total


def numba_fused(data: Data) -> Work:
    import numba

    @numba.njit(fastmath=True)
    def slope(x: Any, y: Any, theta: float) -> tuple[float, float]:
        squares = products = 0.0
        for i in range(len(x)):
            error = y[i] - theta * x[i]
            squares += error * error
            products += error * x[i]
        return squares / len(x), -2.0 * products / len(x)

    return lambda steps: descend(lambda theta: slope(data.x, data.y, theta), steps)


def numba_in_two_threads(data: Data) -> Work:
    """What loops over tiles could gain from a second thread: the fused loop over two halves, without Python's lock."""
    import numba

    @numba.njit(fastmath=True, nogil=True)
    def sums(x: Any, y: Any, theta: float) -> tuple[float, float]:
        squares = products = 0.0
        for i in range(len(x)):
            error = y[i] - theta * x[i]
            squares += error * error
            products += error * x[i]
        return squares, products

    half, pool = len(data.x) // 2, ThreadPoolExecutor(1)

    def slope(theta: float) -> tuple[float, float]:
        other = pool.submit(sums, data.x[half:], data.y[half:], theta)
        one = sums(data.x[:half], data.y[:half], theta)
        squares, products = (sum(pair) for pair in zip(one, other.result(), strict=True))
        return squares / len(data.x), -2.0 * products / len(data.x)

    return lambda steps: descend(slope, steps)


def graphengine(data: Data, backend: str = "numpy") -> Work:
    import graphengine as ge

    try:
        model = ge.Model.from_dict(linear_regression(single=False), backend=backend)
    except ge.errors.UsageError as error:
        raise SkipContenderError(str(error)) from error
    arrays = data._asdict()

    def work(steps: int) -> Any:
        model.parameters["theta"] = 0.0
        history = model.train(arrays, loss="loss", epochs=steps, learning_rate=RATE, batch_size=None)
        return float(model.parameters["theta"]), history.last_loss

    return work


def graphengine_in_two_threads(data: Data) -> Work:
    from graphengine.backends.numpy import tiles

    if len(data.x) < tiles.SHORTEST:
        raise SkipContenderError("not long enough for tiles")
    work = graphengine(data)

    def in_two_threads(steps: int) -> Any:
        before, tiles.THREADS = tiles.THREADS, 2
        try:
            return work(steps)
        finally:
            tiles.THREADS = before

    return in_two_threads


def torch_eager(data: Data) -> Work:
    import torch

    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)

    def work(steps: int) -> Any:
        theta, losses = torch.zeros((), dtype=torch.float64, requires_grad=True), []
        for _ in range(steps):
            loss = (y - theta * x).square().mean()
            (gradient,) = torch.autograd.grad(loss, theta)
            losses.append(loss.detach())
            with torch.no_grad():
                theta.sub_(gradient, alpha=RATE)
        return float(theta.detach()), float(losses[-1])

    return work


def jax_jit(data: Data) -> Work:
    import jax

    jax.config.update("jax_enable_x64", True)
    gradient = jax.value_and_grad(lambda theta, x, y: jax.numpy.mean((y - theta * x) ** 2))

    @jax.jit
    def step(theta: Any, x: Any, y: Any) -> Any:
        loss, slope = gradient(theta, x, y)
        return theta - RATE * slope, loss

    x, y = jax.numpy.asarray(data.x), jax.numpy.asarray(data.y)

    def work(steps: int) -> Any:
        theta, losses = jax.numpy.zeros(()), []
        for _ in range(steps):
            theta, loss = step(theta, x, y)
            losses.append(loss)
        return float(theta), float(losses[-1])

    return work


def pytensor(data: Data) -> Work:
    import pytensor
    import pytensor.tensor as pt

    x, y, theta = pytensor.shared(data.x), pytensor.shared(data.y), pytensor.shared(np.asarray(0.0))
    loss = pt.mean((y - theta * x) ** 2)
    updates = [(theta, theta - RATE * pytensor.grad(loss, theta))]
    step = pytensor.function([], loss, updates=updates, mode="CVM")

    def work(steps: int) -> Any:
        theta.set_value(np.asarray(0.0))
        losses = [step() for _ in range(steps)]
        return float(theta.get_value()), float(losses[-1])

    return work


CONTENDERS = [
    Contender("NumPy naive", numpy_naive, "hand"),
    Contender("NumPy out=", numpy_out, "hand", reference=True),
    Contender("NumPy out=, 1 BLAS thread", on_one_blas_thread(numpy_out), "hand", reference=True),
    Contender(TILED, tiled(1), "hand", reference=True),
    Contender("NumPy tiled, 2 threads", tiled(2), "hand"),
    Contender(FUSED, numba_fused, "limit"),
    Contender("numba fused, 2 threads", numba_in_two_threads, "limit"),
    Contender("graphengine", graphengine, "ours"),
    Contender(NUMBA, partial(graphengine, backend="numba"), "ours"),
    Contender(TWO_THREADS, graphengine_in_two_threads, "ours"),
    Contender("torch eager", torch_eager),
    Contender("jax jit", jax_jit),
    Contender("pytensor", pytensor),
]
