"""The loops over rows of the numba backend: their text run by Python, and as machine code, beside the numpy backend."""

import math
import random
from contextlib import suppress

import numpy as np
import pytest
from documents import MODELS, document
from sweeping import for_each_row
from test_backends import TRAINED, trained
from test_compile import ROWS, one_op
from test_same_bits import FAMILIES, bits, mixed_graph

import graphengine as ge
from graphengine.backends.numba import groups, row_loops, row_parts
from graphengine.backends.numba.row_loops import IS_LOCKED, RowLoop, fuse, unused
from graphengine.backends.numba.team_words import CLAIMS, FIRST, LAST
from graphengine.backends.numba.ufunc_loops import address_of
from graphengine.backends.numpy.plan import Plan
from graphengine.backends.protocol import Rounds
from graphengine.training import history
from graphengine.transform.mode import in_training_mode

pytestmark = pytest.mark.usefixtures("cache_folder")
WITH_NUMBA = pytest.mark.extra("numba")
LINREG = MODELS / "linreg.json"


def in_lanes(numbers, combine, neutral):
    """The documented order: 32 lanes, halved until one is left."""
    lanes = [neutral] * 32
    for place, number in enumerate(numbers):
        lanes[place % 32] = combine(lanes[place % 32], number)
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = [combine(lanes[place], lanes[place + half]) for place in range(half)]
    return lanes[0]


def added(x, y):
    return x + y


def larger(x, y):
    return y if y > x or y != y else x


def smaller(x, y):
    return y if y < x or y != y else x


def doubles(x):
    return x.astype(np.float64)


def claimed(member, team, count):
    """The caller claims the first parts, helpers the last ones."""
    team[CLAIMS] += 1
    if team[CLAIMS] > count:
        return count
    team[LAST if member else FIRST] += 1
    return count - team[LAST] if member else team[FIRST] - 1


def offer_call(member, team):
    """Nobody takes part, and so there is nobody to wait for."""
    if member == 0:
        team[[CLAIMS, FIRST, LAST]] = 0


def applied(address, x, z):
    (ufunc,) = (each for each in UFUNCS if address_of(each, x.dtype) == address)
    z[:] = ufunc(x)


UFUNCS = {each for each in vars(np).values() if isinstance(each, np.ufunc)}
FUNCTIONS = {
    "applied": applied,
    "flat": np.ravel,
    "added": lambda x, start: start + in_lanes(doubles(x), added, np.float64(0)),
    "products": lambda x, y, start: start + in_lanes(doubles(x) * doubles(y), added, np.float64(0)),
    "highest": lambda x, start: larger(start, in_lanes(doubles(x), larger, -math.inf)),
    "claimed": claimed,
    "offer_call": offer_call,
    "withdraw_call": lambda member, team: None,
    "lowest": lambda x, start: smaller(start, in_lanes(doubles(x), smaller, math.inf)),
}


def interpreted(text, name, parameters, names, *, is_shared=False):
    """The function of a text, run by Python."""
    namespace = {**names, **FUNCTIONS}
    exec(text, namespace)

    def call(*values):
        with np.errstate(all="ignore"):
            return namespace[name](*values)

    return call


@pytest.fixture
def every_group(monkeypatch):
    """Groups of any size become loops."""
    monkeypatch.setattr(groups, "FEWEST_NUMBERS", 0)


@pytest.fixture
def by_python(every_group, monkeypatch):
    """Loops of any size, whose text Python runs."""
    monkeypatch.setattr(row_loops, "compiled", interpreted)


def fused(graph, values, **options):
    """The outputs of a graph and the loops that its plan has."""
    plan = Plan(graph, fuse=fuse, **options)
    return plan.run(values), [each.function for each in plan.instructions if isinstance(each.function, RowLoop)]


def assert_close(found, expected, values):
    """Results agree up to the rounding of sums of what was given."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        one, other = np.asarray(found[name]), np.asarray(value)
        assert one.dtype == other.dtype, name
        assert one.shape == other.shape, name
        tolerance = 3e-4 if other.dtype == np.float32 else 1e-11
        scale = np.abs(other[np.isfinite(other)]).max(initial=1) if other.dtype.kind == "f" else 0
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * scale, err_msg=name)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@for_each_row(ROWS)
def test_loops_give_the_gradients_of_every_op(op, attributes, arrays, dtype, by_python):
    model, values = one_op(op, attributes, arrays, dtype)
    graph = model.graph
    wanted = [name for name in graph.inputs if graph.types[name].is_differentiable]
    with suppress(ge.errors.DifferentiationError, ge.errors.UsageError):
        graph = ge.gradient(graph, "loss", wanted, also=["z"])
    expected = Plan(graph).run(values)
    found, _ = fused(graph, values)
    assert_close(found, expected, values)


@pytest.mark.parametrize("family", FAMILIES)
def test_loops_give_what_random_graphs_give(family, by_python):
    chance = random.Random(f"rows {family}")
    for _ in range(330):
        model, values = mixed_graph(chance, FAMILIES[family])
        try:
            expected = Plan(model.graph).run(values)
        except (ge.errors.ExecutionError, OverflowError, ValueError):
            continue
        found, _ = fused(model.graph, values)
        assert_close(found, expected, values)


@pytest.mark.parametrize("family", FAMILIES)
def test_loops_give_the_gradients_of_random_graphs_in_another_order_of_sums(family, by_python):
    chance = random.Random(f"rows and gradients {family}")
    for _ in range(15):
        model, values = mixed_graph(chance, FAMILIES[family])
        options = {"exact": False}
        try:
            expected = Plan(model.graph, **options).run(values)
        except (ge.errors.ExecutionError, OverflowError, ValueError):
            continue
        found, _ = fused(model.graph, values, **options)
        assert_close(found, expected, values)


SPACES = [(7,), (130,), (5, 6), (4, 1), (3, 40), (2, 3, 5), (3, 1, 4), (6, 6)]
"""Shapes of the largest arrays: short and longer than a tile, with axes of size 1, and with two that are alike."""
UNARY, BINARY, FOLDED = (
    ("neg", "abs", "square", "sign"),
    ("add", "sub", "mul", "maximum", "minimum"),
    ("sum", "max", "min"),
)


def rows_and_columns(chance):
    """Nodes that mix arrays of a space with rows, columns and numbers, the shapes of all values, and the space."""
    space = chance.choice(SPACES)
    narrow = [tuple(size if chance.random() < 0.5 else 1 for size in space), space[-1:], ()]
    shapes = {"x": space, "y": space, **{f"p{place}": shape for place, shape in enumerate(narrow)}}
    nodes = {}
    for place in range(chance.randint(3, 14)):
        names, name = list(shapes), f"n{place}"
        one = chance.choice(names[-4:])
        kind = chance.choice(["unary", "binary", "binary", "fold"])
        if kind == "fold" and shapes[one]:
            axes = sorted(chance.sample(range(len(shapes[one])), chance.randint(1, len(shapes[one]))))
            keepdims = chance.random() < 0.7
            nodes[name] = (chance.choice(FOLDED), [one], {"axis": axes, "keepdims": keepdims})
            kept = [1 if axis in axes else size for axis, size in enumerate(shapes[one])]
            shapes[name] = tuple(size for axis, size in enumerate(kept) if keepdims or axis not in axes)
        elif kind == "binary":
            fitting = [each for each in names if fits(shapes[each], shapes[one])]
            other = chance.choice(fitting)
            nodes[name] = (chance.choice(BINARY), [one, other])
            shapes[name] = np.broadcast_shapes(shapes[one], shapes[other])
        else:
            nodes[name] = (chance.choice(UNARY), [one])
            shapes[name] = shapes[one]
    return nodes, shapes


def fits(one, other):
    try:
        np.broadcast_shapes(one, other)
    except ValueError:
        return False
    return True


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")
@pytest.mark.parametrize("part", [None, 8])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_loops_give_what_random_graphs_over_rows_and_columns_give(dtype, part, by_python, monkeypatch):
    if part:
        monkeypatch.setattr(row_parts, "WORTH_SHARING", 0)
        monkeypatch.setattr(row_parts, "PART", part)
        monkeypatch.setattr(row_parts, "thread_count", lambda: 1)  # numba, which knows it, may not be installed
    chance, count, parted = random.Random(f"rows and columns {dtype}"), 0, 0
    for _ in range(300):
        nodes, shapes = rows_and_columns(chance)
        given = {name: shape for name, shape in shapes.items() if name not in nodes}
        numbers = np.random.default_rng(chance.randrange(2**32))
        values = {name: numbers.uniform(-1, 1, shape).astype(dtype)[()] for name, shape in given.items()}
        inputs = {name: {"shape": list(shape), "dtype": dtype} for name, shape in given.items()}
        every = {name: name for name in nodes}
        some = dict(list(every.items())[-2:])
        model, whole = (
            ge.Model.from_dict(document(nodes, outputs, inputs=inputs, dtype=dtype)) for outputs in (some, every)
        )
        expected = Plan(whole.graph).run(values)
        scale = max(float(np.abs(value).max()) for value in expected.values())
        found, loops = fused(model.graph, values)
        count += len(loops)
        parted += sum(bool(each.rows.parts) for each in loops)
        for name, value in found.items():
            assert np.shape(value) == shapes[name]
            tolerance = (1e-12 if dtype == "float64" else 1e-5) * max(scale, 1)
            np.testing.assert_allclose(value, expected[name], rtol=0, atol=tolerance, err_msg=name)
    assert count > 150
    assert parted > 10 if part else parted == 0, parted


# ---------------------------------------------------------------- as machine code

RNG = np.random.default_rng(5)
NORMALIZED = {
    "rows": ("layer_norm", {"x": (40, 67), "scale": (67,), "bias": (67,)}),
    "rows of rows": ("layer_norm", {"x": (3, 5, 67), "scale": (67,), "bias": (67,)}),
    "channels": ("batch_norm", {"x": (5, 3, 4, 9), **dict.fromkeys(["scale", "bias", "mean", "var"], (3,))}),
    "exponentials": ("softmax", {"x": (33, 70)}),
    "root mean squares": ("rms_norm", {"x": (9, 130), "scale": (130,)}),
}


def gradient_of(op, shapes, dtype):
    """The graph of a result and the gradients of its weighted sum, in training mode, and values for its inputs."""
    values = {name: np.abs(RNG.standard_normal(shape)).astype(dtype) for name, shape in shapes.items()}
    values["slope"] = RNG.standard_normal(shapes["x"]).astype(dtype)
    inputs = {name: {"shape": list(value.shape), "dtype": dtype} for name, value in values.items()}
    nodes = {"z": (op, list(shapes)), "product": ("mul", ["z", "slope"]), "loss": ("sum", ["product"])}
    model = ge.Model.from_dict(document(nodes, {"z": "z", "loss": "loss"}, inputs=inputs, dtype=dtype))
    wanted = [name for name in ("x", "scale", "bias") if name in shapes]
    return ge.gradient(in_training_mode(model.graph), "loss", wanted, also=["z"]), values


@WITH_NUMBA
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("op", "shapes"), NORMALIZED.values(), ids=NORMALIZED)
def test_machine_code_has_the_bits_of_the_text_and_agrees_with_the_numpy_backend(op, shapes, dtype, every_group):
    graph, values = gradient_of(op, shapes, dtype)
    found, loops = fused(graph, values)
    assert loops
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_loops, "compiled", interpreted)
        text, _ = fused(graph, values)
    assert {name: bits(value) for name, value in found.items()} == {name: bits(value) for name, value in text.items()}
    assert_close(found, Plan(graph).run(values), values)


@WITH_NUMBA
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_elementwise_results_have_the_bits_of_the_numpy_backend(dtype, every_group):
    special = [0.0, -0.0, 1.0, -1.5, math.inf, -math.inf, math.nan, 1e-40, 3e38]
    grid = np.array([(x, y) for x in special for y in special] + [*RNG.uniform(-9, 9, (300, 2))]).astype(dtype)
    nodes = {
        "sum": ("add", ["x", "y"]),
        "difference": ("sub", ["x", "y"]),
        "product": ("mul", ["x", 0.1]),
        "quotient": ("div", ["x", "y"]),
        "negative": ("neg", ["x"]),
        "size": ("abs", ["x"]),
        "square": ("square", ["x"]),
        "root": ("sqrt", ["x"]),
        "sign": ("sign", ["x"]),
        "is_less": ("less", ["x", "y"]),
        "is_equal": ("equal", ["x", 1.0]),
        "choice": ("where", ["is_less", "x", "quotient"]),
        "converted": ("cast", ["x"], {"dtype": "float64" if dtype == "float32" else "float32"}),
        "row": ("mul", ["x", "one"]),
    }
    values = {"x": grid[:, 0], "y": grid[:, 1], "one": grid[3, :1]}
    inputs = {name: {"shape": list(value.shape), "dtype": dtype} for name, value in values.items()}
    graph = ge.Model.from_dict(document(nodes, {name: name for name in nodes}, inputs=inputs, dtype=dtype)).graph
    found, loops = fused(graph, values)
    assert len(loops) == 1
    expected = Plan(graph).run(values)
    assert {name: bits(value) for name, value in found.items()} == {
        name: bits(value) for name, value in expected.items()
    }


@WITH_NUMBA
def test_arrays_in_any_order_of_memory_that_nothing_may_write_are_read(every_group):
    graph, values = gradient_of(*NORMALIZED["rows"], "float64")
    plan = Plan(graph, fuse=fuse)
    expected = {name: bits(value) for name, value in plan.run(values).items()}
    turned = {name: np.asfortranarray(value) for name, value in values.items()}
    for value in turned.values():
        value.flags.writeable = False
    assert {name: bits(value) for name, value in plan.run(turned).items()} == expected


@WITH_NUMBA
def test_full_batches_are_one_compiled_loop_with_the_losses_of_the_numpy_backend():
    x = RNG.standard_normal(1000)
    data, found = {"x": x, "y": 3 * x + RNG.standard_normal(1000)}, []
    for backend in ("numpy", "numba"):
        model = ge.load(LINREG, backend=backend)
        trainer = model.trainer(data, epochs=20, learning_rate=0.1, batch_size=None)
        list(trainer.chunks())
        found.append([float(model.parameters["theta"]), *(row.loss for row in trainer.history.epochs)])
        programs = list(trainer.stepper._plans.values())
    assert [bool(each._loops) for each in programs] == [True]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-13)


@WITH_NUMBA
def test_batches_of_several_samples_are_read_in_their_order():
    x = RNG.standard_normal(103)
    data, found = {"x": x, "y": 3 * x}, []
    for backend in ("numpy", "numba"):
        model = ge.load(LINREG, backend=backend)
        model.train(data, epochs=3, learning_rate=0.1, batch_size=10, shuffle=True)
        found.append(float(model.parameters["theta"]))
    assert found[1] == pytest.approx(found[0], rel=1e-13)


@WITH_NUMBA
@pytest.mark.parametrize("path", TRAINED, ids=lambda path: path.stem)
def test_a_shipped_model_is_trained_like_with_the_numpy_backend(path):
    (one, _), (other, _) = trained(path, "numpy", 3), trained(path, "numba", 3)
    for name, value in one.parameters.items():
        scale = np.abs(value).max(initial=0) or 1
        tolerance = 1e-12 if value.dtype == np.float64 else 1e-5
        np.testing.assert_allclose(other.parameters[name], value, rtol=0, atol=tolerance * scale)


@WITH_NUMBA
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
def test_parameters_are_updated_in_iterations_that_the_history_leaves_out(optimizer, dtype, every_group, monkeypatch):
    monkeypatch.setattr(history, "CAPACITY", 4)
    x = RNG.standard_normal((30, 8))
    data, found = {"x": x.astype(dtype), "y": (x @ RNG.standard_normal((8, 3))).astype(dtype)}, []
    nodes = {
        "z": ("matmul", ["x", "w"]),
        "error": ("mse", ["z", "y"]),
        "squares": ("square", ["w"]),
        "penalty": ("sum", ["squares"]),
        "loss": ("add", ["error", "penalty"]),
    }
    inputs = {"x": {"shape": ["N", 8]}, "y": {"shape": ["N", 3]}}
    section = {"loss": "loss", "optimizer": {"type": optimizer, "learning_rate": 0.05}, "epochs": 25}
    content = document(
        nodes, {"loss": "loss"}, inputs=inputs, parameters={"w": np.zeros((8, 3))}, dtype=dtype, training=section
    )
    for backend in ("numpy", "numba"):
        model = ge.Model.from_dict(content, backend=backend)
        history_of = model.train(data)
        found.append([*model.parameters["w"].ravel(), history_of.last.loss])
        assert len(history_of.iterations) < 25
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12 if dtype == "float64" else 1e-4)


@WITH_NUMBA
@pytest.mark.parametrize("reader", [("tanh", ["x"]), ("sum", ["x"], {"axis": 1}), ("neg", ["x"])])
def test_no_value_is_written_over_before_all_have_read_it(reader):
    """A function of NumPy and a sum read `x` after all expressions, and `new` replaces it."""
    nodes = {
        "s": ("sum", ["w"], {"axis": 1, "keepdims": True}),
        "t": reader,
        "q1": ("add", ["w", 1.0]),
        "q2": ("mul", ["q1", "w"]),
        "q3": ("add", ["q2", 3.0]),
        "q4": ("mul", ["q3", "w"]),
        "new": ("mul", ["x", "q4"]),
    }
    inputs = {name: {"shape": [64, 71]} for name in "xw"}
    graph = ge.Model.from_dict(document(nodes, {name: name for name in ("s", "t", "new")}, inputs=inputs)).graph
    values, found = {name: RNG.standard_normal((64, 71)) for name in inputs}, []
    for options in ({}, {"fuse": fuse}):
        rows = []
        rounds = Rounds([1, 1, 1], list, lambda names: [], lambda name: None, 0)
        given = {name: value.copy() for name, value in values.items()}
        plan = Plan(graph, carried={"new": "x"}, **options)
        plan.loop([(0.0, rounds)], given, (), ("s", "t"), rows.append, lambda total: None)
        found.append([np.array(row[1]) for row in rows])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12)
    assert len(found[0]) == 3


@WITH_NUMBA
def test_memory_of_results_is_used_again_once_nobody_has_them(every_group):
    graph, values = gradient_of(*NORMALIZED["rows"], "float64")
    plan = Plan(graph, fuse=fuse)
    first = plan.run(values)
    copies = {name: bits(value) for name, value in first.items()}
    part = first.pop("z")[1:]  # a view keeps the memory of the whole
    expected = bits(part)
    for scale in (2.0, 3.0, 4.0):
        others = plan.run({**values, "x": scale * values["x"]})
        assert not any(np.shares_memory(part, other) for other in others.values())
    assert bits(part) == expected
    assert {name: bits(value) for name, value in first.items()} == {name: copies[name] for name in first}


@pytest.mark.skipif(not IS_LOCKED, reason="references of other threads may not be counted")
def test_an_array_is_unused_as_long_as_no_name_no_view_and_no_container_has_it():
    arrays = [np.zeros(3)]
    assert unused(arrays) is arrays[0]
    view = arrays[0][1:]
    assert unused(arrays) is None
    del view
    holder = {"x": arrays[0]}
    assert unused(arrays) is None
    holder.clear()
    assert unused(arrays) is arrays[0]
    arrays.insert(0, arrays[0])
    assert unused(arrays) is None
