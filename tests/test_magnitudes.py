"""Sums of squares near the ends of single and double precision: right, or refused with a word, never a silent 0."""

import math
from fractions import Fraction
from itertools import chain, product
from pathlib import Path

import mpmath
import numpy as np
import pytest
from documents import document
from sklearn.metrics import r2_score
from test_not_finite import ROWS, evaluated, instance

import graphengine as ge
from graphengine.errors import DivergenceError
from graphengine.ops.registry import OPS

RULES = sorted(path.stem for path in (Path(ge.__file__).parent / "training" / "rules").glob("*.json"))
DTYPES = ["float32", "float64"]
ENDS = {
    "float32": [-44, -42, -38, -30, -20, -10, 0, 10, 19, 30, 37],
    "float64": [-320, -300, -200, -155, 0, 153, 200, 307],
}
"""Powers of ten, from those without all their digits to the last ones."""
PATTERN = np.array([[1.0, -2.0, 0.5], [3.0, 1.0, 0.25]])


def exactly(function, x, *others):
    """What a function of mpmath numbers gives for the rows of an array, to 60 digits."""
    with mpmath.workdps(60):
        rows = [[mpmath.mpf(float(number)) for number in row] for row in x]
        return np.array([function(row, *others) for row in rows])


def length(row):
    return mpmath.sqrt(mpmath.fsum(number**2 for number in row))


def deviation(row, ddof=0):
    mean = mpmath.fsum(row) / len(row)
    return mpmath.sqrt(mpmath.fsum((number - mean) ** 2 for number in row) / (len(row) - ddof))


def unit(row, epsilon):
    mean = mpmath.fsum(row) / len(row)
    scale = mpmath.sqrt(deviation(row) ** 2 + mpmath.mpf(epsilon))
    return [(number - mean) / scale for number in row]


def rms_unit(row, epsilon):
    scale = mpmath.sqrt(length(row) ** 2 / len(row) + mpmath.mpf(epsilon))
    return [number / scale for number in row]


def slopes_of(function):
    """The derivatives, by each number of a row, of the sum of what a function of degree 1 or 0 gives.

    They do not depend on a common factor, so differences are taken of a row of about 1.
    """

    def slopes(row):
        size = max(map(abs, row))
        row = [number / size for number in row]

        def moved(place, by):
            return function([number + by * (other == place) for other, number in enumerate(row)])

        step = mpmath.mpf(10) ** -20
        return [(moved(place, step) - moved(place, -step)) / (2 * step) for place in range(len(row))]

    return slopes


CASES = {
    "norm": ({"axis": -1}, length),
    "std": ({"axis": -1}, deviation),
    "std of a sample": ({"axis": -1, "ddof": 1}, lambda row: deviation(row, 1)),
    "layer_norm": ({}, lambda row: unit(row, 1e-5)),
    "layer_norm without epsilon": ({"epsilon": 0}, lambda row: unit(row, 0)),
    "rms_norm": ({}, lambda row: rms_unit(row, 1e-5)),
    "rms_norm without epsilon": ({"epsilon": 0}, lambda row: rms_unit(row, 0)),
}


def points():
    return [(dtype, power) for dtype in DTYPES for power in ENDS[dtype]]


def scaled(dtype, power):
    return (PATTERN * float(f"1e{power}")).astype(dtype)


def smallest(dtype):
    """Half of what numbers without all their digits are rounded to, a few times."""
    return 4 * float(np.finfo(dtype).smallest_subnormal)


@pytest.mark.parametrize(("dtype", "power"), points())
@pytest.mark.parametrize("case", CASES)
def test_values_near_the_ends_are_right(case, dtype, power):
    op, (attributes, exact) = case.split()[0], CASES[case]
    x = scaled(dtype, power)
    with np.errstate(all="ignore"):
        found = OPS[op].cls(**attributes).forward(x)
    expected = np.array(exactly(exact, x), dtype=float)
    if not np.all(np.isfinite(found)):
        assert "epsilon" in case  # the reciprocal of a root is no number, and says so
        assert power < -37
        return
    tolerance = 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(
        found, expected, rtol=tolerance, atol=max(smallest(dtype), tolerance * (op[-5:] == "_norm"))
    )


@pytest.mark.parametrize(("dtype", "power"), points())
@pytest.mark.parametrize("case", ["norm", "std", "std of a sample"])
def test_gradients_near_the_ends_are_right(case, dtype, power):
    """Called, recorded and compiled."""
    op, (attributes, exact) = case.split()[0], CASES[case]
    x = scaled(dtype, power)
    nodes = {"z": (op, ["x"], attributes), "loss": ("sum", ["z"])}
    model = ge.Model.from_dict(document(nodes, inputs={"x": [2, 3]}, dtype=dtype, outputs={"loss": "loss"}))
    expected = np.array(exactly(slopes_of(exact), x), dtype=float)
    for _ in range(3):
        found = model.forward(x=x).backward("loss", ["x"])["x"]
        rounded = smallest(dtype) / 2 / float(f"1e{power}")  # a norm of 1e-320 has few digits
        np.testing.assert_allclose(found, expected, rtol=0, atol=16 * np.finfo(dtype).eps + rounded)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_norm_of_rows_scales_only_the_rows_that_need_it(dtype):
    info = np.finfo(dtype)
    x = np.array(
        [[3.0, 4.0], [info.max / 2, 0], [info.tiny, 0], [0.0, 0], [np.inf, 1], [np.nan, 1], [info.max, info.max]], dtype
    )
    with np.errstate(all="ignore"):
        found = OPS["norm"].cls(axis=1).forward(x)
        turned = OPS["norm"].cls(axis=0, keepdims=True).forward(np.ascontiguousarray(x.T))
    expected = np.array([5.0, info.max / 2, info.tiny, 0, np.inf, np.nan, np.inf], dtype)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(turned, expected[None])


def test_a_norm_is_that_of_whole_numbers_too():
    np.testing.assert_array_equal(OPS["norm"].cls().forward(np.array([100, 100, 100, 100], np.int8)), 200.0)
    assert OPS["norm"].cls().forward(np.array([3 * 2**40, 4 * 2**40])) == 5 * 2.0**40


@pytest.mark.parametrize(("dtype", "x"), [("float64", -1.5e154), ("float64", -1.8e154), ("float32", -2e19)])
def test_the_logarithm_of_a_probability_whose_square_overflows(dtype, x):
    """It is -(x**2) / 2 - log(-x * sqrt(2 * pi)), and half of a square may be a number where the square is none."""
    x = np.dtype(dtype).type(x)
    found = OPS["log_ndtr"].cls().forward(x[None])[0]
    assert found == pytest.approx(float(-(mpmath.mpf(float(x)) ** 2) / 2), rel=4 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("power", [-320, -200, 0, 200, 307])
def test_the_length_of_two_numbers(power):
    x, y = 3 * float(f"1e{power}"), 4 * float(f"1e{power}")
    node = OPS["hypot"].cls()
    z = node.forward(np.array(x), np.array(y))
    assert z == pytest.approx(math.hypot(x, y), rel=1e-15)
    slopes = node.backward(np.array(1.0), np.array(x), np.array(y), np.array(z))
    exact = [Fraction(each) / Fraction(float(z)) for each in (x, y)]
    np.testing.assert_allclose(slopes, np.array(exact, dtype=float), rtol=1e-14)


@pytest.mark.parametrize(("dtype", "power"), points())
@pytest.mark.parametrize("op", ["var", "mse"])
def test_a_mean_of_squares_is_right_or_what_the_dtype_makes_of_it(op, dtype, power):
    """Where the sum leaves the range it is infinite or 0; the derivative has all its digits everywhere."""
    x = scaled(dtype, power)
    inputs = {"x": x} | ({"y": np.zeros_like(x)} if op == "mse" else {})
    nodes = {"loss": (op, list(inputs))}
    shapes = {name: [2, 3] for name in inputs}
    model = ge.Model.from_dict(document(nodes, inputs=shapes, dtype=dtype, outputs={"loss": "loss"}))
    numbers = [mpmath.mpf(float(number)) for number in x.ravel()]
    with mpmath.workdps(60):
        mean = mpmath.fsum(numbers) / 6 if op == "var" else mpmath.mpf(0)
        value = mpmath.fsum((number - mean) ** 2 for number in numbers) / 6
        slopes = np.array([2 * (number - mean) / 6 for number in numbers], dtype=float).reshape(2, 3)
    with np.errstate(all="ignore"):
        expected = np.array(float(6 * value)).astype(dtype) / 6
    for _ in range(2):
        run = model.forward(**inputs)
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(run["loss"], expected, rtol=16 * eps, atol=16 * smallest(dtype))
        np.testing.assert_allclose(run.backward("loss", ["x"])["x"], slopes, rtol=32 * eps, atol=4 * smallest(dtype))


@pytest.mark.parametrize(("dtype", "power"), [("float32", 25), ("float64", 200)])
def test_a_batch_whose_variance_overflows_is_no_number(dtype, power):
    """Its running variance is infinite; a result of 0 would hide it."""
    x = scaled(dtype, power)
    channels = np.ones(3, dtype)
    node = OPS["batch_norm"].cls(axis=-1, training=True)
    with np.errstate(all="ignore"):
        z, _, new_var = node.forward(x, channels, channels, channels, channels)
    assert np.isposinf(new_var).all()
    assert np.isnan(z).all()


# ---------------------------------------------------------------- training


def linear(dtype, power, **training):
    """A loss whose gradient with respect to two parameters is 3 and -4 times a power of ten, as large as may be."""
    factor = float(f"1e{power}")
    nodes = {
        "p": ("mul", ["v", 3 * factor]),
        "q": ("mul", ["w", -4 * factor]),
        "r": ("add", ["p", "q"]),
        "s": ("sum", ["r"]),
        "loss": ("mul", ["s", "x"]),
    }
    start = {"shape": [1], "initializer": {"type": "zeros"}}
    made = document(nodes, inputs={"x": []}, parameters={"v": start, "w": start}, dtype=dtype, outputs={"loss": "loss"})
    section = {"loss": "loss", "epochs": 1, "optimizer": {"type": "sgd", "learning_rate": 1.0}, **training}
    return ge.Model.from_dict({**made, "training": section})


@pytest.mark.parametrize("kind", ["norm", "global_norm", "value"])
@pytest.mark.parametrize(("dtype", "power"), [("float32", 30), ("float32", 19), ("float64", 200), ("float64", 306)])
def test_a_huge_gradient_is_clipped_and_not_dropped(kind, dtype, power):
    """A norm that overflows would make the factor 0, and the step, too."""
    model = linear(dtype, power, gradient_clipping={"type": kind, "limit": 5.0})
    history = model.train(data={"x": np.ones(1)})
    expected = {"norm": (-5.0, 5.0), "global_norm": (-3.0, 4.0), "value": (-5.0, 5.0)}[kind]
    found = [float(model.parameters[name][0]) for name in ("v", "w")]
    np.testing.assert_allclose(found, expected, rtol=1e-5 if dtype == "float32" else 1e-12)
    assert history.iterations[0].gradient_norm == pytest.approx(5 * float(f"1e{power}"), rel=1e-5)


def test_a_clipped_gradient_that_would_be_0_is_refused():
    model = linear("float64", 306, gradient_clipping={"type": "global_norm", "limit": 1e-20})
    with pytest.raises(DivergenceError, match=r"GE601.*clipped.* became non-finite first"):
        model.train(data={"x": np.ones(1)})


def first_step(rule, g, eps):
    """The first step of a rule from 0 with a gradient, by its published formula, with a learning rate of 0.5."""
    size, sign = abs(g), (1 if g > 0 else -1)
    with mpmath.workdps(60):
        return {
            "sgd": lambda: g,
            "momentum": lambda: g,
            "nesterov": lambda: g * mpmath.mpf("1.9"),
            "adagrad": lambda: g / (size + eps),
            "rmsprop": lambda: g / (size / 10 + eps),
            "adam": lambda: g / (size + eps),
            "adamw": lambda: g / (size + eps),
            "nadam": None,
            "adadelta": lambda: g * mpmath.sqrt(eps) / mpmath.sqrt(g**2 / 10 + eps),
            "lion": lambda: mpmath.mpf(sign),
        }[rule]


SQUARING = {"adadelta", "adagrad", "adam", "adamw", "nadam", "rmsprop"}
EPSILON = {"adagrad": 1e-10, "adadelta": 1e-6}


@pytest.mark.parametrize(("dtype", "power"), points())
@pytest.mark.parametrize("rule", RULES)
def test_an_update_is_right_or_refused(rule, dtype, power):
    """A first step by the published formula, or GE601 with the value that left the range: never a silent 0."""
    model = linear(dtype, power, optimizer={"type": rule, "learning_rate": 0.5})
    overflows = rule in SQUARING and 2 * (power + math.log10(3)) > math.log10(np.finfo(dtype).max)
    if overflows:
        with pytest.raises(DivergenceError, match=r"GE601.*\(square\).* became non-finite first.*gradient_clipping"):
            model.train(data={"x": np.ones(1)})
        return
    model.train(data={"x": np.ones(1)})
    for name, factor in (("v", 3.0), ("w", -4.0)):
        g = mpmath.mpf(float(np.dtype(dtype).type(factor * float(f"1e{power}"))))
        step = first_step(rule, g, mpmath.mpf(EPSILON.get(rule, 1e-8)))
        found = float(model.parameters[name][0])
        if step is None:
            assert abs(found) > 0 or power < -20
            continue
        limits = np.finfo(dtype)
        assert found == pytest.approx(
            -0.5 * float(step()), rel=0.1 if power < -40 else 64 * float(limits.eps), abs=float(limits.tiny) * 2
        )


# ---------------------------------------------------------------- metrics


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float32", "float64"])
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_a_coefficient_of_determination_does_not_depend_on_the_unit(dtype, scale):
    """Whatever its squares are: too small or too large for the dtype, or differences that unsigned numbers lack."""
    prediction, target = np.array([3, 10, 70, 40]), np.array([1, 100, 90, 0])
    expected = r2_score(target, prediction)
    if dtype.startswith("float"):
        prediction, target = scale * prediction, scale * target
    found = OPS["r2"].cls().forward(prediction.astype(dtype), target.astype(dtype))
    assert found == pytest.approx(expected, rel=1e-6)


# ---------------------------------------------------------------- fits


def fitted(scale):
    nodes = {"p": ("mul", ["a", "x"]), "e": ("sub", ["y", "p"]), "q": ("square", ["e"]), "loss": ("sum", ["q"])}
    made = document(nodes, inputs={"x": ["N"], "y": ["N"]}, parameters={"a": 0.0}, outputs={"loss": "loss"})
    x = np.array([1.0, 2.0, 3.0, 4.0])
    y = scale * (2 * x + np.array([0.1, -0.1, 0.05, 0.0]))
    return ge.Model.from_dict(made).fit(data={"x": x, "y": y}, residual="e")


@pytest.mark.parametrize("scale", [1e-150, 1e-140, 1.0, 1e150])
def test_a_fit_does_not_depend_on_the_unit(scale):
    fit, one = fitted(scale), fitted(1.0)
    assert fit.converged
    assert fit.parameters["a"] / scale == pytest.approx(one.parameters["a"], rel=1e-12)
    assert fit.standard_errors["a"] / scale == pytest.approx(one.standard_errors["a"], rel=1e-6)


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e-160, 1e160, 1e200])
def test_residuals_whose_squares_are_no_numbers_are_refused(scale):
    """Squares that vanish look like a perfect fit."""
    with pytest.raises(DivergenceError, match=r"GE601.*no solver can start here"):
        fitted(scale)


# ---------------------------------------------------------------- all ops

CANCELS = {
    "batch_norm": "where the variance overflows the values are NaN, and the slope of the scale is 0",
    "cofactor": "products of three numbers that underflow",
    "faddeeva_imag": "far out the slope is the difference of two numbers of about 1",
    "faddeeva_real": "far out the slope is the difference of two numbers of about 1",
    "negative_log_likelihood": "weights whose products with the terms underflow",
    "softmax_cross_entropy": "the slope toward weights is the difference of losses over the sum of the weights",
}
"""Ops with rows where single precision may have another finite number, and why."""


@pytest.mark.parametrize("name", sorted({name for name, *_ in ROWS} - {*CANCELS}))
def test_an_op_near_the_ends_of_single_precision_is_right_or_no_number(name):
    """The judge is double precision, in which the same numbers are far from its ends."""
    rows = [row for row in ROWS if row[0] == name]
    for power, (_, attributes, arrays) in product((-30, -22, 22, 30), rows):
        given = [(each * float(f"1e{power}")).astype("f4") if each.dtype.kind == "f" else each for each in arrays]
        doubles = [each.astype("f8") if each.dtype.kind == "f" else each for each in given]
        found, exact = (evaluated(instance(name, attributes), name, each) for each in (given, doubles))
        for one, other in zip(chain(*found), chain(*exact), strict=True):
            agree(np.asarray(one), np.asarray(other))


def agree(found, exact):
    """Numbers are equal up to the rounding of the largest, or no numbers; no number is no number in both."""
    assert found.dtype.kind == "f" or np.array_equal(found, exact)
    is_number = np.isfinite(found)
    assert np.isfinite(exact)[is_number].all()
    size = np.abs(exact[np.isfinite(exact)]).max(initial=0.0)
    np.testing.assert_allclose(found[is_number], exact[is_number], rtol=0, atol=1e-4 * size + 1e-43)
