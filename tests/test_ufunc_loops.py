"""NumPy's own loops, found by their addresses and called by compiled loops: NumPy's bits, or no address."""

import math

import numpy as np
import pytest
from documents import document
from test_numba_rows import assert_close, fused, gradient_of
from test_same_bits import bits

import graphengine as ge
from graphengine.backends.numba import groups, ufunc_loops
from graphengine.backends.numba.ufunc_loops import address_of
from graphengine.backends.numpy.plan import Plan

UFUNCS = [each for each in vars(np).values() if isinstance(each, np.ufunc)]
SPECIAL = [0.0, -0.0, 1.0, -1.5, math.inf, -math.inf, math.nan, 1e-40, 88.0, -104.0, 1e30]


@pytest.fixture(autouse=True)
def _every_group(cache_folder, monkeypatch):
    """Groups of any size become loops."""
    monkeypatch.setattr(groups, "FEWEST_NUMBERS", 0)


def called(address, x):
    """What the function at an address gives for an array."""
    import ctypes

    pointers = ctypes.POINTER(ctypes.c_void_p), *[ctypes.POINTER(ctypes.c_ssize_t)] * 2, ctypes.c_void_p
    z = np.empty_like(x)
    operands = (ctypes.c_void_p * 2)(x.ctypes.data, z.ctypes.data)
    strides = (ctypes.c_ssize_t * 2)(x.itemsize, x.itemsize)
    ctypes.CFUNCTYPE(None, *pointers)(address)(operands, ctypes.c_ssize_t(x.size), strides, None)
    return z


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["single", "double"])
def test_every_address_is_that_of_the_ufunc(dtype):
    x, count = np.concatenate([SPECIAL, np.linspace(-3, 3, 91)]).astype(dtype), 0
    for ufunc in UFUNCS:
        address = address_of(ufunc, np.dtype(dtype))
        if address is not None:
            with np.errstate(all="ignore"):
                assert bits(called(address, x)) == bits(ufunc(x)), ufunc
            count += 1
    assert count == 0 or count > 20


def test_what_is_not_as_python_says_has_no_address(monkeypatch):
    assert address_of(np.add, np.dtype(np.float64)) is None
    assert address_of(np.exp, np.dtype(np.int64)) is None
    assert address_of(np.frompyfunc(math.exp, 1, 1), np.dtype(np.float64)) is None
    monkeypatch.setattr(ufunc_loops.sys.implementation, "name", "another")
    assert address_of.__wrapped__(np.exp, np.dtype(np.float64)) is None


APPLIED = ["exp", "log", "sin", "cos", "tanh", "log1p", "expm1", "arctan"]


@pytest.mark.extra("numba")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_on_rows_have_the_bits_of_the_numpy_backend(dtype):
    x = np.random.default_rng(3).uniform(-4, 4, (9, 71)).astype(dtype)
    x.flat[: len(SPECIAL)] = SPECIAL
    nodes = {"a": ("max", ["x"], {"axis": 1, "keepdims": True}), "moved": ("sub", ["x", "a"])}
    for op in APPLIED:
        nodes |= {f"{op}_of_x": (op, ["x"]), f"{op}_of_moved": (op, ["moved"]), f"{op}_twice": (op, [f"{op}_of_moved"])}
        nodes[f"{op}_changed"] = ("mul", [f"{op}_twice", f"{op}_of_x"])
    inputs = {"x": {"shape": list(x.shape), "dtype": dtype}}
    graph = ge.Model.from_dict(document(nodes, {name: name for name in nodes}, inputs=inputs, dtype=dtype)).graph
    found, loops = fused(graph, {"x": x})
    there = [op for op in APPLIED if address_of(getattr(np, op), np.dtype(dtype))]
    assert sum(each.applied > 0 for each in loops[0].rows.group.members) == 3 * len(there)
    expected = Plan(graph).run({"x": x})
    assert {name: bits(value) for name, value in found.items()} == {
        name: bits(value) for name, value in expected.items()
    }


@pytest.mark.extra("numba")
@pytest.mark.parametrize("size", [70, 7])
def test_without_an_address_and_on_short_rows_numpy_is_called(size, monkeypatch):
    if size > 7:
        monkeypatch.setattr(groups, "applied_function", lambda instruction: None)
    graph, values = gradient_of("softmax", {"x": (33, size)}, "float64")
    found, loops = fused(graph, values)
    assert len(loops) == 2
    assert_close(found, Plan(graph).run(values), values)


@pytest.mark.extra("numba")
def test_softmax_is_one_loop():
    graph, values = gradient_of("softmax", {"x": (33, 70)}, "float32")
    found, loops = fused(graph, values)
    assert len(loops) == (1 if address_of(np.exp, np.dtype(np.float32)) else 2)
    assert_close(found, Plan(graph).run(values), values)
