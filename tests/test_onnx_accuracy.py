"""The table of decompositions on the page about ONNX: complete, and each as accurate as it says, by mpmath."""

import re
from pathlib import Path

import mpmath
import numpy as np
import pytest
from samples import SAMPLES
from selection import missing
from test_activation_ends import CASES
from test_onnx_ops import graph_of, in_runtime, results_of

from graphengine.ops.inference import elementwise
from graphengine.ops.registry import OPS

pytestmark = pytest.mark.extra("onnx", "onnxruntime")
if not missing(["onnx", "onnxruntime"]):
    from graphengine.errors import InvalidModelError
    from graphengine.format.onnx.exporting import ExportRequest, onnx_model

PAGE = Path(__file__).parents[1] / "docs" / "onnx.md"
TABLE = PAGE.read_text(encoding="utf-8").partition("### Decompositions")[2].partition("\n##")[0]
ROWS = [
    (re.findall(r"`(\w+)`", cells[1]), cells[3].strip())
    for cells in (re.split(r"(?<!\\)\|", line) for line in TABLE.splitlines() if line.startswith("| `"))
]
BOUNDS = {op: bound for ops, bound in ROWS for op in ops}
LARGEST = {"tan": 8, "cosh": 700, "sinh": 700}
"""The largest magnitude that a bound is for."""
ONE = {
    "arccos": mpmath.acos,
    "arccosh": mpmath.acosh,
    "arcsin": mpmath.asin,
    "arcsinh": mpmath.asinh,
    "arctan": mpmath.atan,
    "arctanh": mpmath.atanh,
    "cosh": mpmath.cosh,
    "erf": mpmath.erf,
    "expm1": mpmath.expm1,
    "lgamma": mpmath.loggamma,
    "log10": mpmath.log10,
    "log1p": mpmath.log1p,
    "log2": lambda x: mpmath.log(x, 2),
    "rsqrt": lambda x: 1 / mpmath.sqrt(x),
    "sinh": mpmath.sinh,
    "tan": mpmath.tan,
    "celu": lambda x: x if x > 0 else mpmath.expm1(x),
    **{op: function for op, (attributes, function) in CASES.items() if not attributes and op in BOUNDS},
}
TWO = {
    "arctan2": mpmath.atan2,
    "hypot": mpmath.hypot,
    "mod": lambda x, y: x - y * mpmath.floor(x / y),
    "prelu": lambda x, slope: x if x > 0 else slope * x,
    "xlogy": lambda x, y: x * mpmath.log(y) if x else mpmath.mpf(0),
}
SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan])
SPREAD = np.concatenate(
    [
        np.linspace(-8, 8, 203),
        np.linspace(-1, 1, 101),
        np.linspace(-40, 40, 81),
        *(sign * np.geomspace(1e-300, 1e300, 61) for sign in (1, -1)),
        [5e-324, 0.66, 0.999, 1.001, 2.5, 21.0, 23.0, 300.0, 699.0, 1e5, 1e9],
    ]
)


def room(op, inputs, wanted):
    """The error that the page allows."""
    count, _, of = BOUNDS[op].partition(" ulp")
    unit = {"": wanted, " of x": inputs[0], " of 1": 1.0}[of]
    return float(count) * abs(float(np.spacing(abs(unit))))


def differing(op, function, inputs, found):
    """The inputs at which a result is not near enough to the exact one, as far as that is a finite number."""
    for *given, z in zip(*inputs, found, strict=True):
        if max(map(abs, given)) > LARGEST.get(op, np.inf):
            continue
        try:
            exact = function(*[mpmath.mpf(float(each)) for each in given])
        except (ValueError, ZeroDivisionError):  # a pole, or outside of the domain
            continue
        if isinstance(exact, mpmath.mpc) or not mpmath.isfinite(exact) or not np.isfinite(float(exact)):
            continue
        if not abs(exact - mpmath.mpf(float(z))) <= room(op, given, float(exact)) + 5e-324:
            yield *given, float(z), float(exact)


def assert_near(op, function, inputs):
    graph, given = graph_of(op, {}, inputs, {})
    (found,) = in_runtime(graph, given)
    with mpmath.workdps(700 if op == "mod" else 50):
        assert list(differing(op, function, inputs, found))[:5] == []


@pytest.mark.parametrize("op", ONE)
def test_a_decomposition_is_as_accurate_as_the_page_says(op):
    assert_near(op, ONE[op], (SPREAD[SPREAD > 0] if op == "lgamma" else SPREAD,))


@pytest.mark.parametrize("op", TWO)
def test_a_decomposition_of_two_numbers_is_as_accurate_as_the_page_says(op):
    numbers = np.concatenate([SPREAD[::37], [5e-324, -1.0, 0.3, 3.0, 1e160, -1e300]])
    assert_near(op, TWO[op], tuple(each.ravel() for each in np.meshgrid(numbers, numbers)))


@pytest.mark.parametrize("op", [op for op in BOUNDS if op != "add_n"])
def test_a_decomposition_takes_infinity_and_nan_and_zeros_as_the_op_does(op):
    two = len(OPS[op].signature.inputs) == 2
    inputs = tuple(each.ravel() for each in np.meshgrid(SPECIAL, SPECIAL)) if two else (SPECIAL,)
    graph, given = graph_of(op, {}, inputs, {})
    (found,), (wanted,) = in_runtime(graph, given), results_of(op, {}, inputs)
    if op not in ("arctan2", "lgamma"):  # which may differ in the last bits
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_allclose(found, wanted, rtol=1e-15)


def is_decomposed(op):
    """Whether an op that works number by number becomes several in ONNX."""
    if OPS[op].cls.infer is not elementwise or {"ones", "zeros"} & set(OPS[op].cls.traits):
        return False
    for attributes, arrays in SAMPLES[op]:
        if any(np.asarray(each).dtype == np.float64 for each in arrays if each is not None):
            graph, _ = graph_of(op, attributes, arrays, {})
            try:
                nodes = onnx_model(graph, {}, ExportRequest()).proto.graph.node
            except InvalidModelError:
                return False
            if len([each for each in nodes if each.op_type != "Identity"]) > 1:
                return True
    return False


def test_all_decompositions_are_in_the_table():
    assert {op for op in SAMPLES if is_decomposed(op)} == set(BOUNDS)
    assert set(BOUNDS) == {*ONE, *TWO, "add_n", "isfinite", "not_equal", "sign"}
