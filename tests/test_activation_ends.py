"""Activations from the smallest to the largest numbers: values and two derivatives against mpmath."""

import mpmath
import numpy as np
import pytest
from documents import document

import graphengine as ge
from graphengine.backends.reference.executor import Executor

DTYPES = ["float32", "float64"]
SCALE, ALPHA = mpmath.mpf(1.0507009873554805), mpmath.mpf(1.6732632423543772)
SIXTH = mpmath.mpf(1 / 6)


def sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


def softplus(x):
    return max(x, 0) + mpmath.log1p(mpmath.exp(-abs(x)))


def normal(x):
    return mpmath.erfc(-x / mpmath.sqrt(2)) / 2 if abs(x) < 1e5 else mpmath.mpf(x > 0)


def gelu_by_tanh(x):
    return x * sigmoid(2 * mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf(0.044715) * x**3))


KINKED = {
    "relu": ({}, lambda x: max(x, 0)),
    "leaky_relu": ({}, lambda x: x if x > 0 else x * mpmath.mpf(0.01)),
    "elu": ({}, lambda x: x if x > 0 else mpmath.expm1(x)),
    "elu with alpha": ({"alpha": 0.25}, lambda x: x if x > 0 else mpmath.expm1(x) / 4),
    "celu": ({"alpha": 0.25}, lambda x: x if x > 0 else mpmath.expm1(4 * x) / 4),
    "selu": ({}, lambda x: SCALE * (x if x > 0 else ALPHA * mpmath.expm1(x))),
    "hard_sigmoid": ({}, lambda x: max(0, min(1, x * SIXTH + mpmath.mpf(0.5)))),
    "softsign": ({}, lambda x: x / (1 + abs(x))),
}
SMOOTH = {
    "gelu": ({}, lambda x: x * normal(x)),
    "gelu by tanh": ({"approximate": "tanh"}, gelu_by_tanh),
    "silu": ({}, lambda x: x * sigmoid(x)),
    "mish": ({}, lambda x: x * mpmath.tanh(softplus(x))),
    "sigmoid": ({}, sigmoid),
    "softplus": ({}, softplus),
    "tanh": ({}, mpmath.tanh),
}
CASES = {**KINKED, **SMOOTH}
MODERATE = [
    1e-12,
    1e-6,
    0.01,
    0.5,
    1,
    2,
    2.5,
    4,
    5,
    8,
    12,
    17,
    20,
    35,
    40,
    60,
    85,
    90,
    104,
    150,
    500,
    710,
    750,
    2e3,
    1e5,
]


def points(dtype):
    """Numbers of both signs; below the root of the largest number no square overflows, above it every one does."""
    info = np.finfo(dtype)
    ends = [float(info.smallest_subnormal), float(info.tiny), float(info.tiny) ** 0.5]
    ends += [float(info.max) ** power for power in (0.25, 1 / 3, 0.49, 0.51, 0.75)] + [float(info.max) / 2.1]
    x = np.array(sorted([*ends, *MODERATE]), dtype)
    return np.concatenate([-x[::-1], x])


def with_derivatives(case, x):
    """The value of a function and its derivatives, by differences of numbers of many digits."""
    function, x = CASES[case][1], mpmath.mpf(float(x))
    step = mpmath.mpf(10) ** -40 * (abs(x) if case in KINKED else max(abs(x), 1))
    before, here, after = (function(x + step * side) for side in (-1, 0, 1))
    return here, (after - before) / (2 * step), (after - 2 * here + before) / step**2


def evaluated(case, x):
    """The same by the engine: the graph, its gradient and the gradient of that."""
    node = {"z": (case.split()[0], ["x"], CASES[case][0])}
    graph = ge.Model.from_dict(document(node, {"z": "z"}, inputs={"x": []}, dtype=x.dtype.name)).graph
    found = []
    for order in range(3):
        executor, (output,) = Executor(graph), graph.outputs.values()
        with np.errstate(all="ignore"):
            found.append([executor.forward({"x": number})[executor.slot_of[output]] for number in x])
        if order < 2:
            graph = ge.gradient(graph, of=next(iter(graph.outputs)), wrt=["x"])
    return np.array(found, x.dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_an_activation_and_its_derivatives_are_right_at_all_magnitudes(case, dtype):
    """To rounding, of the value, of what an error of rounding in x makes of it, and of 1, the scale of a slope."""
    x, info = points(dtype), np.finfo(dtype)
    with mpmath.workdps(500):
        exact = np.array([with_derivatives(case, number) for number in x]).T
        slopes = np.array([*exact[1:], np.zeros_like(x)])
        tolerance = 64 * float(info.eps) * (abs(exact) + abs(slopes * [mpmath.mpf(float(each)) for each in x]) + 1)
        tolerance[2] *= 4
        found = evaluated(case, x)
        for order, (row, expected, allowed) in enumerate(zip(found, exact, tolerance, strict=True)):
            for number, value, right, most in zip(x, row, expected, allowed, strict=True):
                if abs(right) > float(info.max):
                    assert value == np.copysign(np.inf, float(mpmath.sign(right))), (order, number)
                else:
                    assert abs(mpmath.mpf(float(value)) - right) <= most, (order, number, value, right)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", ["relu", "elu", "gelu", "silu", "mish", "softplus", "leaky_relu"])
def test_an_activation_of_the_largest_number_is_that_number(op, dtype):
    largest = np.finfo(dtype).max
    node = {"z": (op, ["x"])}
    model = ge.Model.from_dict(document(node, {"z": "z"}, inputs={"x": ["N"]}, dtype=dtype))
    for _ in range(3):
        assert model.predict(x=[largest])["z"] == largest
        assert model.predict(x=[0.75 * largest])["z"] == 0.75 * largest
