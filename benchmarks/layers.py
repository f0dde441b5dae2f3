"""Forward and backward of one op, float32: conv2d, layer_norm, batch_norm, softmax, dropout.

Everyone gets the arrays and the gradient of the result, and gives new arrays: the result, and the gradients of all that
is trained or comes from a layer before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from benchmarks.graphs import HEAD, Json
from benchmarks.harness import Contender, Goal, Options, SkipContenderError, Table, Work, compare

Array: TypeAlias = np.ndarray[Any, Any]
Call: TypeAlias = Callable[[], Sequence[Any]]
EPSILON = 1e-5
ROWS = (1024, 256)
IMAGES = (32, 16, 16, 16)


COMPILED = {"conv2d": 1.1, "layer_norm": 1.3, "softmax": 1.3, "batch_norm": 1.0}
"""How long the numba backend may take beside torch."""


class Problem(NamedTuple):
    """An op with its input arrays by name, which of them get a gradient, and the gradient of its result."""

    op: str
    arrays: dict[str, Array]
    wanted: tuple[str, ...]
    slope: Array


def run(options: Options) -> list[Table]:
    """ms per forward and backward."""
    random = np.random.default_rng(0)

    def normal(*shape: int) -> Array:
        return random.standard_normal(shape, dtype=np.float32)

    def vectors(size: int, *names: str) -> dict[str, Array]:
        return {name: np.abs(normal(size)) for name in names}

    filters = {"x": normal(32, 3, 32, 32), "weight": normal(16, 3, 3, 3), "bias": normal(16)}
    moments = vectors(IMAGES[1], "scale", "bias", "running_mean", "running_var")
    affine, key = ("x", "scale", "bias"), np.array([1, 2], np.uint64)
    problems = [
        (Problem("conv2d", filters, tuple(filters), normal(32, 16, 30, 30)), numpy_conv2d, 2.0),
        (Problem("layer_norm", {"x": normal(*ROWS), **vectors(ROWS[1], "scale", "bias")}, affine, normal(*ROWS)),
         numpy_layer_norm, 1.2),
        (Problem("batch_norm", {"x": normal(*IMAGES), **moments}, affine, normal(*IMAGES)), numpy_batch_norm, 1.2),
        (Problem("softmax", {"x": normal(*ROWS)}, ("x",), normal(*ROWS)), numpy_softmax, 1.2),
        (Problem("dropout", {"x": normal(*ROWS), "key": key}, ("x",), normal(*ROWS)), numpy_dropout, 1.2),
    ]  # fmt: skip
    return [at(problem, by_hand, at_most, options) for problem, by_hand, at_most in problems]


def at(problem: Problem, by_hand: Callable[[Problem], Call], at_most: float, options: Options) -> Table:
    """The table of one op."""
    contenders = [
        Contender("NumPy", repeated(by_hand), "hand", reference=True),
        Contender("graphengine", repeated(graphengine), "ours"),
        Contender("graphengine, numba", repeated(partial(graphengine, backend="numba")), "ours"),
        *[Contender("torch eager", repeated(torch_eager))] * (problem.op != "dropout"),  # whose bits are others
    ]
    shape = " x ".join(map(str, problem.arrays["x"].shape))
    goals = [Goal("graphengine", at_most)]
    if problem.op in COMPILED:
        goals.append(Goal("graphengine, numba", COMPILED[problem.op], against="torch eager"))
    return compare(
        f"{problem.op}, {shape}, forward and backward",
        contenders,
        problem,
        options,
        per="call",
        unit="ms",
        tolerance=1e-4,
        goals=goals,
    )


def repeated(make: Callable[[Problem], Call]) -> Callable[[Problem], Work]:
    """The work of calling what `make` gives n times; the results of the last call count."""

    def build(problem: Problem) -> Work:
        call = make(problem)

        def work(calls: int) -> Any:
            for _ in range(calls):
                results = call()
            return results

        return work

    return build


def graphengine(problem: Problem, backend: str = "numpy") -> Call:
    """The program of the graph of result and gradients, in training mode."""
    import graphengine as ge
    from graphengine.backends.protocol import backend_named
    from graphengine.transform.mode import in_training_mode

    values = {**problem.arrays, "slope": problem.slope}
    graph = in_training_mode(ge.Model.from_dict(graph_of(problem.op, list(problem.arrays), values)).graph)
    try:
        program = backend_named(backend).compile(ge.gradient(graph, "loss", problem.wanted, also=["z"]))
    except ge.errors.UsageError as error:
        raise SkipContenderError(str(error)) from error

    def call() -> Sequence[Any]:
        return list(program.run(values).values())

    return call


def graph_of(op: str, names: list[str], values: dict[str, Array]) -> Json:
    """The op, and as a loss the sum of its result times a slope: the gradient of the result is the slope."""
    nodes = [
        {"id": "z", "op": op, "inputs": names},
        {"id": "product", "op": "mul", "inputs": ["z", "slope"]},
        {"id": "loss", "op": "sum", "inputs": ["product"]},
    ]
    inputs = {name: {"shape": list(array.shape), "dtype": array.dtype.name} for name, array in values.items()}
    return {**HEAD, "name": op, "inputs": inputs, "nodes": nodes, "outputs": {"z": "z", "loss": "loss"}}


# ---------------------------------------------------------------- by hand


def numpy_conv2d(problem: Problem) -> Call:
    """Patches by nine copies, products by BLAS, the gradient of the input by nine additions."""
    x, weight, bias = problem.arrays.values()
    (n, channels, height, width), (filters, _, rows, columns) = x.shape, weight.shape
    size = height - rows + 1, width - columns + 1
    offsets = [(i, j) for i in range(rows) for j in range(columns)]
    patches = np.empty((n, channels, rows, columns, *size), x.dtype)
    products = np.empty((n, channels * rows * columns, size[0] * size[1]), x.dtype)
    slope, matrix = problem.slope.reshape(n, filters, -1), weight.reshape(filters, -1)

    def call() -> Sequence[Any]:
        for i, j in offsets:
            patches[:, :, i, j] = x[:, :, i : i + size[0], j : j + size[1]]
        flat = patches.reshape(products.shape)
        z = np.matmul(matrix, flat)
        z += bias[:, None]
        dweight = np.matmul(slope, flat.transpose(0, 2, 1)).sum(axis=0)
        np.matmul(matrix.T, slope, out=products)
        dx, parts = np.zeros_like(x), products.reshape(patches.shape)
        for i, j in offsets:
            dx[:, :, i : i + size[0], j : j + size[1]] += parts[:, :, i, j]
        return z.reshape(n, filters, *size), dx, dweight.reshape(weight.shape), slope.sum(axis=(0, 2))

    return call


def numpy_layer_norm(problem: Problem) -> Call:
    x, scale, bias = problem.arrays.values()
    size, slope, unit, scratch = x.shape[1], problem.slope, np.empty_like(x), np.empty_like(x)

    def call() -> Sequence[Any]:
        np.subtract(x, x.sum(axis=1, keepdims=True) / size, out=unit)
        inverse = 1 / np.sqrt(np.vecdot(unit, unit)[:, None] / size + np.float32(EPSILON))
        np.multiply(unit, inverse, out=unit)
        z = unit * scale
        z += bias
        dx = slope * scale
        along = np.vecdot(dx, unit)[:, None] / size
        dx -= dx.sum(axis=1, keepdims=True) / size
        dx -= np.multiply(unit, along, out=scratch)
        dx *= inverse
        return z, dx, np.multiply(slope, unit, out=scratch).sum(axis=0), slope.sum(axis=0)

    return call


def numpy_batch_norm(problem: Problem) -> Call:
    x, scale, bias, _, _ = problem.arrays.values()
    axes, size, slope, rest, scratch = (
        (0, 2, 3),
        x.size // x.shape[1],
        problem.slope,
        np.empty_like(x),
        np.empty_like(x),
    )

    def wide(value: Array) -> Array:
        return value[:, None, None]

    def call() -> Sequence[Any]:
        np.subtract(x, wide(x.sum(axis=axes) / size), out=rest)
        variance = np.multiply(rest, rest, out=scratch).sum(axis=axes) / size
        inverse = 1 / np.sqrt(variance + np.float32(EPSILON))
        factor = scale * inverse
        z = rest * wide(factor)
        z += wide(bias)
        dbias = slope.sum(axis=axes)
        dscale = np.multiply(slope, rest, out=scratch).sum(axis=axes) * inverse
        dx = slope * wide(factor)
        dx -= np.multiply(rest, wide(factor * inverse * dscale / size), out=scratch)
        dx -= wide(factor * dbias / size)
        return z, dx, dscale, dbias

    return call


def numpy_softmax(problem: Problem) -> Call:
    x, slope = problem.arrays["x"], problem.slope

    def call() -> Sequence[Any]:
        z = x - x.max(axis=1, keepdims=True)
        np.exp(z, out=z)
        z /= z.sum(axis=1, keepdims=True)
        dx = slope - np.vecdot(z, slope)[:, None]
        dx *= z
        return z, dx

    return call


def numpy_dropout(problem: Problem) -> Call:
    """The bits of Philox, because results are compared; those of PCG64 take as long."""
    x, key = problem.arrays.values()
    slope, factors = problem.slope, np.empty_like(x)

    def call() -> Sequence[Any]:
        bits = np.random.Philox(key=key).random_raw(x.size // 2).view(np.uint32)
        np.multiply(bits.reshape(x.shape) < 2**31, np.float32(2), out=factors)
        return x * factors, slope * factors

    return call


# ---------------------------------------------------------------- peers


def torch_eager(problem: Problem) -> Call:
    import torch

    functions: dict[str, Callable[..., Any]] = {
        "conv2d": torch.nn.functional.conv2d,
        "layer_norm": lambda x, scale, bias: torch.nn.functional.layer_norm(x, x.shape[1:], scale, bias, EPSILON),
        "batch_norm": lambda x, scale, bias, mean, var: torch.nn.functional.batch_norm(
            x, mean, var, scale, bias, True, 0.1, EPSILON
        ),
        "softmax": lambda x: torch.softmax(x, -1),
    }
    tensors = {name: torch.from_numpy(array.copy()) for name, array in problem.arrays.items()}
    for name in problem.wanted:
        tensors[name].requires_grad_()
    function, slope = functions[problem.op], torch.from_numpy(problem.slope)
    wanted = [tensors[name] for name in problem.wanted]

    def call() -> Sequence[Any]:
        z = function(*tensors.values())
        return [result.detach().numpy() for result in (z, *torch.autograd.grad(z, wanted, slope))]

    return call
