"""Sums over many numbers of single precision: near those of double, and of the same bits in a plan and without."""

import ast
import itertools
from pathlib import Path

import numpy as np
import pytest
from documents import document
from samples import SAMPLES
from test_compile import one_op, reference, same_bits

import graphengine as ge
from graphengine.backends.numpy.plan import Plan
from graphengine.ops import families, sums
from graphengine.ops.registry import OPS
from graphengine.transform.gradient import gradient
from graphengine.transform.mode import in_training_mode

ROWS = 1_000_000
UNIFORM = np.random.default_rng(0)
DATA = {
    "a tenth": np.full((ROWS, 3), 0.1, np.float32),
    "100 to 101": (100 + UNIFORM.random((ROWS, 3))).astype(np.float32),
    "0 to 1": UNIFORM.random((ROWS, 3), np.float32),
}
"""Numbers of single precision, which double precision has, too."""


def runs_of(nodes, values, wrt=(), **more):
    """Outputs and gradients of the sum of the loss in single precision: by the reference, then by a plan."""
    inputs = {name: {"shape": list(value.shape), "dtype": value.dtype.name} for name, value in values.items()}
    outputs = {name: name for name in nodes}
    graph = ge.Model.from_dict(document(nodes, outputs, inputs=inputs, dtype="float32", **more)).graph
    graph = in_training_mode(graph)
    if wrt:
        graph = gradient(graph, "loss", wrt, also=[name for name in outputs if name != "loss"])
    yield reference(graph, values)
    yield Plan(graph).run(values)
    yield Plan(graph, exact=False).run(values)


def assert_near(found, expected, tolerance=1e-6):
    """Numbers of single precision, relative to the largest of those expected."""
    assert np.asarray(found).dtype == np.float32
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.max(np.abs(expected)))


# ---------------------------------------------------------------- a million rows


@pytest.mark.parametrize("name", DATA)
def test_reductions_of_a_million_rows_are_those_of_double_precision(name):
    x, wide = DATA[name], DATA[name].astype(np.float64)
    along = {"axis": 0}
    nodes = {op: (op, ["x"], along) for op in ("sum", "mean", "var", "std", "norm", "logsumexp")}
    nodes |= {"one": ("norm", ["x"], {**along, "ord": 1}), "kept": ("mean", ["x"], {**along, "keepdims": True})}
    nodes |= {"running": ("cumsum", ["x"], along), "all": ("mean", ["x"])}
    largest = wide.max(axis=0)
    expected = {
        "sum": wide.sum(axis=0),
        "mean": wide.mean(axis=0),
        "norm": np.sqrt(np.square(wide).sum(axis=0)),
        "one": wide.sum(axis=0),
        "kept": wide.mean(axis=0, keepdims=True),
        "logsumexp": largest + np.log(np.exp(wide - largest).sum(axis=0)),
        "running": np.cumsum(wide, axis=0),
        "all": wide.mean(),
    }
    if name != "a tenth":  # whose variance is 0
        expected |= {"var": wide.var(axis=0), "std": wide.std(axis=0)}
    for found in runs_of(nodes, {"x": x}):
        for output, wanted in expected.items():
            assert_near(found[output], wanted)
        if name == "a tenth":
            assert np.all(found["std"] <= 2**-24)  # the mean is rounded


@pytest.mark.parametrize("name", DATA)
def test_the_gradient_of_a_bias_of_a_million_rows_is_that_of_double_precision(name):
    """Of a bias that broadcasts, of one for each channel of an image, and of a number alone."""
    slope, bias = DATA[name], np.zeros(3, np.float32)
    nodes = {"z": ("add", ["x", "bias"]), "p": ("mul", ["z", "w"]), "loss": ("sum", ["p"])}
    for found in runs_of(nodes, {"x": slope, "w": slope, "bias": bias}, ["bias"]):
        assert_near(found["d_loss/d_bias"], slope.astype(np.float64).sum(axis=0))
    images = slope.reshape(-1, 3, 5, 4)
    for found in runs_of(nodes, {"x": images, "w": images, "bias": bias[:, None, None]}, ["bias"]):
        assert_near(found["d_loss/d_bias"][:, 0, 0], images.astype(np.float64).sum(axis=(0, 2, 3)))
    for found in runs_of(nodes, {"x": slope, "w": slope, "bias": np.float32(0)}, ["bias"]):
        assert_near(found["d_loss/d_bias"], slope.astype(np.float64).sum())


def batch_norm(x, scale, bias, slope, epsilon):
    """Result, moments and gradients with respect to x, scale and bias, by the formulas of Ioffe and Szegedy."""
    mean, var = x.mean(axis=0), x.var(axis=0)
    unit = (x - mean) / np.sqrt(var + epsilon)
    du = slope * scale
    dx = (du - du.mean(axis=0) - unit * (du * unit).mean(axis=0)) / np.sqrt(var + epsilon)
    return unit * scale + bias, mean, var, dx, (slope * unit).sum(axis=0), slope.sum(axis=0)


@pytest.mark.parametrize("name", DATA)
def test_a_batch_norm_of_a_million_rows_is_that_of_double_precision(name):
    x = DATA[name]
    scale, bias = np.array([1, 2, 0.5], np.float32), np.array([0, 1, -1], np.float32)
    slope = UNIFORM.random((ROWS, 3), np.float32)
    values = {"x": x, "scale": scale, "bias": bias, "m": np.zeros(3, np.float32), "v": np.ones(3, np.float32)}
    nodes = {
        "z": ("batch_norm", [*values], {"axis": 1, "momentum": 0.0}),
        "p": ("mul", ["z", "slope"]),
        "loss": ("sum", ["p"]),
        "mean": ("stop_gradient", ["z:new_mean"]),
        "var": ("stop_gradient", ["z:new_var"]),
    }
    given = (each.astype(np.float64) for each in (x, scale, bias, slope))
    z, mean, var, dx, dscale, dbias = batch_norm(*given, 1e-5)
    for found in runs_of(nodes, {**values, "slope": slope}, ["x", "scale", "bias"]):
        assert_near(found["z"], z)
        assert_near(found["mean"], mean)
        assert_near(found["d_loss/d_bias"], dbias)
        if name != "a tenth":  # where the variance is 0, and digits of x are all that is left
            assert_near(found["var"], var)
            assert_near(found["d_loss/d_x"], dx)
            assert_near(found["d_loss/d_scale"], dscale, 1e-5)  # a sum of a million numbers of both signs


def test_products_of_a_million_rows_are_near_those_of_double_precision():
    """A dense layer: the gradient of its weight is a product whose sums are over the rows."""
    x, slope = DATA["a tenth"], np.full((ROWS, 2), 0.1, np.float32)
    expected = np.full((3, 2), ROWS * float(np.float32(0.1)) ** 2)
    nodes = {"z": ("matmul", ["x", "weight"]), "p": ("mul", ["z", "slope"]), "loss": ("sum", ["p"])}
    for found in runs_of(nodes, {"x": x, "slope": slope, "weight": np.zeros((3, 2), np.float32)}, ["weight"]):
        assert_near(found["d_loss/d_weight"], expected, 1e-5)
    nodes |= {"z": ("einsum", ["x", "weight"], {"equation": "ni,io->no"})}
    for found in runs_of(nodes, {"x": x, "slope": slope, "weight": np.zeros((3, 2), np.float32)}, ["weight"]):
        assert_near(found["d_loss/d_weight"], expected)
    ones = np.ones(ROWS, np.float32)
    nodes = {
        "columns": ("matmul", ["ones", "x"]),
        "rows": ("matmul", ["t", "ones"]),
        "dot": ("matmul", ["ones", "ones"]),
        "vecdot": ("vecdot", ["t", "ones"]),
        "einsum": ("einsum", ["x"], {"equation": "ij->j"}),
        "pair": ("einsum", ["ones", "x"], {"equation": "i,ij->j"}),
    }
    column = np.full(3, ROWS * float(np.float32(0.1)))
    for found in runs_of(nodes, {"x": x, "t": np.ascontiguousarray(x.T), "ones": ones}):
        for output in ("columns", "rows", "vecdot"):
            assert_near(found[output], column, 1e-5)
        for output in ("einsum", "pair"):
            assert_near(found[output], column)
        assert found["dot"] == ROWS


def test_a_row_that_is_used_a_million_times_gets_the_sum_of_its_gradients():
    slope, indices = np.full((ROWS, 3), 0.1, np.float32), np.zeros(ROWS, np.int64)
    values = {"indices": indices, "weight": np.zeros((2, 3), np.float32), "slope": slope}
    nodes = {"z": ("embedding", ["indices", "weight"]), "p": ("mul", ["z", "slope"]), "loss": ("sum", ["p"])}
    for found in runs_of(nodes, values, ["weight"]):
        assert_near(found["d_loss/d_weight"][0], np.full(3, ROWS * float(np.float32(0.1))))
        assert found["d_loss/d_weight"][1].tolist() == [0, 0, 0]
    values = {"x": np.zeros((2, 3), np.float32), "i": np.zeros((ROWS, 3), np.int64), "u": slope}
    nodes = {"z": ("scatter_add", [*values], {"axis": 0})}
    for found in runs_of(nodes, values):
        assert_near(found["z"][0], np.full(3, ROWS * float(np.float32(0.1))))


@pytest.mark.parametrize("rows", [100, 256, 257, 1000, 1025, 30_000])
def test_a_sum_keeps_to_its_bound_whatever_the_layout(rows):
    """Of arrays in all orders of memory, with gaps, turned around and broadcast, over all subsets of axes."""
    whole = (0.1 + UNIFORM.random((rows, 2, 3))).astype(np.float32)
    layouts = [whole, np.asfortranarray(whole), np.moveaxis(whole, 0, 1), np.repeat(whole, 2, -1)[..., ::2]]
    layouts += [whole[::-1], np.broadcast_to(whole[:1], whole.shape), np.broadcast_to(whole[..., :1], whole.shape)]
    unit = 2.0**-24
    for x, size in itertools.product(layouts, range(4)):
        for axes in itertools.combinations(range(3), size):
            exact, absolute = (np.sum(each.astype(np.float64), axis=axes) for each in (x, np.abs(x)))
            for keepdims in (False, True):
                found = sums.sum_over(x, axes, keepdims)
                assert found.dtype == np.float32
                assert np.shape(found) == np.sum(x, axis=axes, keepdims=keepdims).shape
                in_blocks = sums.sums_in_blocks(x, axes)
                bound = (66 if in_blocks else max(1, rows * 6)) * unit * absolute
                assert np.all(np.abs(np.reshape(found, exact.shape) - exact) <= bound)
                if in_blocks:
                    np.testing.assert_array_equal(sums.add_up(x, axes, keepdims, np.empty_like(found)), found)


def test_double_precision_integers_and_short_sums_are_numpys_own():
    for x in (UNIFORM.random((2000, 3)), UNIFORM.integers(0, 9, (2000, 3)), UNIFORM.random((250, 3), np.float32)):
        for axis in (None, 0, (0, 1), 1):
            np.testing.assert_array_equal(sums.sum_over(x, axis), np.sum(x, axis=axis))


# ---------------------------------------------------------------- the same bits everywhere


@pytest.fixture
def tiny_blocks(monkeypatch):
    """Blocks of two numbers, so that the arrays of samples have many of them."""
    for name, value in {"BLOCK": 2, "LONGEST": 1, "WIDE": 1000, "PRODUCTS": 2, "LONGEST_PRODUCT": 1}.items():
        monkeypatch.setattr(sums, name, value)


@pytest.mark.parametrize("op", SAMPLES)
def test_an_op_gives_the_bits_of_its_plan_where_sums_are_in_blocks(op, tiny_blocks):
    """A sum of NumPy's own in an op would be in another order than in its plan."""
    for attributes, arrays in SAMPLES[op]:
        model, values = one_op(op, attributes, arrays, "float32")
        run, plan = model.forward(values), Plan(model.graph).run(values)
        assert all(same_bits(run[name], value) for name, value in plan.items())
        wrt = [name for name in model.graph.inputs if model.graph.types[name].is_differentiable]
        if "loss" not in model.graph.outputs or OPS[op].signature.saved is None or not wrt:
            continue
        called, graph = run.backward("loss", wrt), gradient(model.graph, "loss", wrt)
        recorded, compiled = reference(graph, values), Plan(graph).run(values)
        for name in wrt:
            output = f"d_loss/d_{name}"
            assert same_bits(called[name], recorded[output]), name
            assert same_bits(called[name], compiled[output]), name


BY_NUMPY = {"sum", "mean", "matmul", "vecdot", "cumsum", "dot", "einsum", "reduce", "var", "std", "average", "at"}
CHOSEN = {
    ("loops", "reduce"),  # of functools
    ("contraction", "einsum"),  # in double precision where it is long
    ("selection", "at"),  # likewise
    ("contraction", "cumsum"),  # of ones
    ("scattering", "cumsum"),  # likewise
    ("scattering", "at"),  # products, largest and smallest values
    ("linear", "sum"),  # for its dtype
    ("linear", "matmul"),  # likewise, and of square matrices
    ("reductions", "sum"),  # for its shape
    ("special", "sum"),  # of coefficients in double precision, once
    ("pooling", "sum"),  # of zeros
    ("pooling", "cumsum"),  # of ones
    ("metrics", "mean"),  # of all values
    ("metrics", "sum"),  # of truth values
}


def test_ops_leave_sums_to_the_functions_that_make_blocks():
    """What the laws may miss: samples are short, and some sums of theirs are exact in any order."""
    found = set()
    for path in Path(families.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in BY_NUMPY:
                found.add((path.stem, node.func.attr))
    assert found == CHOSEN
