"""Predictions for one row by the numba backend as one function, and calls that need no check a second time."""

import random

import numpy as np
import pytest
from documents import document
from test_numba_rows import assert_close, interpreted

import graphengine as ge
from graphengine.backends.numba import one_row
from graphengine.backends.numpy.plan import Plan, optimized

pytestmark = [
    pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning"),
    pytest.mark.usefixtures("cache_folder"),
]
WITH_NUMBA = pytest.mark.extra("numba")
SIZES = {"w": [7, 5], "b": [5], "v": [5, 3], "c": [3]}


def classifier(dtype, shape=("N", 7), activation="relu", further=None, outputs=None):
    """Two layers; outputs are the scores and what the second layer multiplies."""
    nodes = {
        "p": ("matmul", ["x", "w"]),
        "s": ("add", ["p", "b"]),
        "h": (activation, ["s"]),
        "q": ("matmul", ["h", "v"]),
        "y": ("add", ["q", "c"]),
        **(further or {}),
    }
    parameters = {
        name: {"shape": size, "initializer": {"type": "normal", "seed": seed}}
        for seed, (name, size) in enumerate(SIZES.items())
    }
    content = document(nodes, outputs or {"scores": "y", "hidden": "h"}, inputs={"x": shape}, parameters=parameters)
    return {**content, "dtype": dtype}


def row_of(dtype, rows=1):
    return np.random.default_rng(3).standard_normal((rows, 7)).astype(dtype)


def function_of(model, shape):
    """The function of all outputs for a shape of x, as the backend makes it."""
    graph = optimized(model.graph.with_sizes({"N": shape[0]}), True, {})
    return one_row.one_row(graph, list(graph.sources))


def by_layers(model, x):
    """The same in doubles, by NumPy."""
    w, b, v, c = (np.asarray(model.parameters[name], np.float64) for name in ("w", "b", "v", "c"))
    hidden = np.maximum(x.astype(np.float64) @ w + b, 0)
    return {"scores": hidden @ v + c, "hidden": hidden}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape", [("N", 7), (7,)], ids=["a row", "a vector"])
def test_the_text_multiplies_a_row_four_numbers_at_a_time(dtype, shape, monkeypatch):
    monkeypatch.setattr(one_row, "compiled", interpreted)
    model = ge.Model.from_dict(classifier(dtype, shape))
    x = row_of(dtype) if shape[0] == "N" else row_of(dtype)[0]
    found = function_of(model, x.shape)({**model.values, "x": x})
    for name, expected in by_layers(model, x).items():
        assert found[name].dtype == dtype
        np.testing.assert_allclose(found[name], expected, rtol=1e-5 if dtype == "float32" else 1e-13, atol=1e-6)
    w, numbers = model.parameters["w"], x.reshape(-1)
    terms = [numbers[place] * w[place] for place in range(7)]
    total = (terms[0] + terms[1]) + (terms[2] + terms[3])
    for each in terms[4:]:
        total = total + each
    np.testing.assert_array_equal(found["hidden"].reshape(-1), np.maximum(total + model.parameters["b"], 0))


@WITH_NUMBA
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_machine_code_has_the_bits_of_the_text(dtype, monkeypatch):
    model, x = ge.Model.from_dict(classifier(dtype), backend="numba"), row_of(dtype)
    found = model.predict(x=x)
    monkeypatch.setattr(one_row, "compiled", interpreted)
    expected = function_of(model, x.shape)({**model.values, "x": x})
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def random_net(seed):
    """A graph of products of one row with matrices, of ops on elements, folds and functions, and its input."""
    choose, size = random.Random(seed), 5
    nodes, parameters, sizes = {}, {}, {"x": size}
    for number in range(choose.randint(2, 9)):
        source = choose.choice(list(sizes)[-4:])
        kind = choose.choice(["matmul", "matmul", "add", "maximum", "mul", "relu", "abs", "sub", "sum", "tanh"])
        name, other = f"n{number}", f"w{number}"
        width = choose.randint(1, 7) if kind == "matmul" else 1 if kind == "sum" else sizes[source]
        if kind in ("matmul", "add", "maximum"):
            shape = [sizes[source], width] if kind == "matmul" else [width]
            parameters[other] = {"shape": shape, "initializer": {"type": "normal", "seed": number}}
            nodes[name] = (kind, [source, other])
        elif kind in ("mul", "sub"):
            alike = [value for value in sizes if sizes[value] == width]
            nodes[name] = (kind, [source, choose.choice([*alike, 0.5])])
        else:
            nodes[name] = (kind, [source], *[{"axis": -1, "keepdims": True}] * (kind == "sum"))
        sizes[name] = width
    outputs = {f"{value}_out": value for value in choose.sample(list(nodes), min(2, len(nodes)))}
    content = document(nodes, outputs, inputs={"x": ["N", size]}, parameters=parameters)
    return {**content, "dtype": choose.choice(["float32", "float64"])}


def test_random_nets_for_one_row_agree_with_the_numpy_backend(monkeypatch):
    monkeypatch.setattr(one_row, "compiled", interpreted)
    made = 0
    for seed in range(80):
        model = ge.Model.from_dict(random_net(seed))
        graph = optimized(model.graph.with_sizes({"N": 1}), True, {})
        function = one_row.one_row(graph, list(graph.sources))
        if function is not None:
            made += 1
            x = np.random.default_rng(seed).standard_normal((1, 5)).astype(model.graph.types["x"].dtype)
            expected = Plan(graph).run({**model.values, "x": x})
            assert_close(function({**model.values, "x": x}), expected, None)
    assert made > 10


@WITH_NUMBA
def test_one_row_is_read_in_any_order_of_memory_and_several_rows_run_in_a_plan():
    model = ge.Model.from_dict(classifier("float32"), backend="numba")
    wide, one = np.zeros((1, 14), np.float32), row_of("float32")
    wide[:, ::2] = one
    np.testing.assert_array_equal(model.predict(x=wide[:, ::2])["scores"], model.predict(x=one)["scores"])
    model.parameters["w"] = np.asfortranarray(model.parameters["w"])
    three = row_of("float32", 3)
    for x in (one, three):
        np.testing.assert_allclose(model.predict(x=x)["scores"], by_layers(model, x)["scores"], rtol=1e-5, atol=1e-6)


@WITH_NUMBA
def test_the_listing_is_the_function():
    model = ge.Model.from_dict(classifier("float64"), backend="numba")
    graph = model.graph.with_sizes({"N": 1})
    listing = model.backend.compile(graph).listing((), ())
    assert listing.code.startswith("def row(y0, y1")
    assert "for i in range(0, 4, 4):" in listing.code
    assert listing.names["y0"] == "x"


@pytest.mark.parametrize(
    ("content", "shape"),
    [
        (classifier("float64"), (2, 7)),
        (classifier("float64", outputs={"scores": "y", "bias": "c"}), (1, 7)),
        (classifier("float64", activation="tanh"), (1, 7)),
        (classifier("float64", further={"t": ("sum", ["y"])}, outputs={"t": "t"}), (1, 7)),
        (classifier("float64", further={"t": ("greater", ["y", 0])}, outputs={"t": "t"}), (1, 7)),
    ],
    ids=["two rows", "a source", "a function of NumPy's", "a number", "truth values"],
)
def test_other_graphs_have_no_such_function(content, shape):
    assert function_of(ge.Model.from_dict(content), shape) is None


# ------------------------------------------------------------ a call like one before

BACKENDS = ["numpy", pytest.param("numba", marks=WITH_NUMBA)]


def asked_before(backend, dtype="float32"):
    """A model that has answered often enough to have a program."""
    model = ge.Model.from_dict(classifier(dtype), backend=backend)
    for _ in range(3):
        model.predict(x=row_of(dtype), outputs="scores")
    assert model.evaluator.known({"x": row_of(dtype)}, ("scores",)) is not None
    return model


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("given", "outputs", "code"),
    [
        ({"x": np.zeros((1, 6), np.float32)}, "scores", "GE403"),
        ({"x": np.zeros(7, np.float32)}, "scores", "GE403"),
        ({"x": np.zeros((1, 7), np.complex64)}, "scores", "GE404"),
        ({"x": np.array([["a"] * 7])}, "scores", "GE404"),
        ({}, "scores", "GE401"),
        ({"x": np.zeros((1, 7), np.float32), "u": np.zeros(1)}, "scores", "GE402"),
        ({"u": np.zeros((1, 7), np.float32)}, "scores", "GE402"),
        ({"x": np.zeros((1, 7), np.float32)}, "score", "GE402"),
    ],
)
def test_a_call_after_many_good_ones_is_checked_like_the_first(given, outputs, code, backend):
    with pytest.raises(ge.errors.GraphEngineError) as caught:
        asked_before(backend).predict(outputs=outputs, **given)
    assert [each.code for each in caught.value.problems] == [code]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.astype(np.float64),
        lambda x: x.astype(">f4"),
        lambda x: x.tolist(),
        lambda x: np.asfortranarray(np.repeat(x, 2, 0))[:1],
        lambda x: np.ma.masked_array(x),
    ],
    ids=["doubles", "big-endian", "a list", "strided", "masked"],
)
def test_arrays_of_other_kinds_are_converted_after_calls_without_a_check(convert, backend):
    model, x = asked_before(backend), row_of("float32")
    found = model.predict(x=convert(x), outputs="scores")["scores"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, model.predict(x=x, outputs="scores")["scores"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_results_of_two_calls_share_nothing_and_cannot_be_written(backend):
    model, x = asked_before(backend), row_of("float32")
    first = model.predict(x=x, outputs="scores")["scores"]
    kept = first.copy()
    second = model.predict(x=-x, outputs="scores")["scores"]
    np.testing.assert_array_equal(first, kept)
    assert not np.shares_memory(first, second)
    assert not np.shares_memory(first, x)
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 1


def test_a_node_of_others_never_gets_the_array_of_the_caller():
    seen = []

    @ge.register("looking_at_flags")
    class Looking(ge.Node):
        def forward(self, x):
            seen.append(x)
            return x + 1

        def backward(self, grad, x):
            return grad

    content = document({"y": ("looking_at_flags", ["x"])}, {"y": "y"}, inputs={"x": ["N"]})
    model, x = ge.Model.from_dict(content), np.zeros(3)
    for _ in range(4):
        model.predict(x=x)
    shared = [each for each in seen if isinstance(each, np.ndarray) and np.shares_memory(each, x)]
    assert shared
    assert not any(each.flags.writeable for each in shared)


def test_an_input_of_categories_is_encoded_in_each_call():
    inputs = {"k": {"shape": ["N"], "dtype": "int64", "categories": [3, 5]}, "x": ["N"]}
    nodes = {"t": ("equal", ["k", 1]), "y": ("where", ["t", "x", 0.0])}
    content = document(nodes, {"y": "y"}, inputs=inputs)
    model = ge.Model.from_dict(content)
    for _ in range(4):
        found = model.predict(k=np.array([3, 5]), x=np.array([1.0, 2.0]))["y"]
        np.testing.assert_array_equal(found, [0, 2])
    with pytest.raises(ge.errors.InputError, match="GE406"):
        model.predict(k=np.array([0, 1]), x=np.array([1.0, 2.0]))
