"""How much memory a graph may ask for: by its shapes, by sizes that are values, by what nodes make on the way."""

import hashlib
import math
import tracemalloc
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from documents import document, training
from samples import SAMPLES, TABLE

import graphengine as ge
from graphengine.backends.numpy.plan import Plan
from graphengine.format.documents import ParameterDocument
from graphengine.format.initializers import initial_value
from graphengine.ir.declarations import Parameter
from graphengine.ir.memory import may_grow, memory_of
from graphengine.limits import Limits
from graphengine.model.gradcheck import graph_checks
from graphengine.ops.inference import elementwise
from graphengine.ops.registry import OPS
from graphengine.ops.shapes import array_type
from graphengine.traces.trace import trace_graph
from graphengine.transform.own_backward import gradient_bound

MEGABYTE = Limits(array_bytes=2**20)
WITH_SIZES = sorted(name for name, op in OPS.items() if "sizes" in op.signature.inputs)
SIZES = {"shape": [2], "dtype": "int64"}


@contextmanager
def traced():
    """A function that reports the most memory that Python and NumPy took so far, in bytes."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def one_of_sizes(op):
    """A model of one node whose shape is the input n."""
    reference = {"reshape": "xs", "sum_to": "xs"}.get(op, "x")
    inputs = {"key": "key", "sizes": "n"} if OPS[op].cls.random else {"x": reference, "sizes": "n"}
    nodes = {"key": ("random_key", [], {"stream": "s"}), "xs": ("broadcast_to", ["x", "n"]), "z": (op, inputs)}
    return ge.Model.from_dict(document(nodes, inputs={"x": [], "n": SIZES}), limits=MEGABYTE)


@pytest.mark.parametrize("op", WITH_SIZES)
def test_sizes_that_are_values_are_refused_before_anything_of_them_is_made(op):
    model = one_of_sizes(op)
    for _ in range(3):  # by the reference, then by a plan
        assert model.forward(x=1.0, n=[3, 4])["out"].shape == (3, 4)
    beyond = r"GE134: node '\w+' \(\w+\): an array has at most 2\^63 - 1 elements, not 1208925819614629174706176"
    for n, said in {
        (2**10, 2**10): r"GE133: node '\w+' \(\w+\) asks for float64\(",
        (2**30, 2**30): r"GE133: node '\w+' \(\w+\) asks for float64\(",
        (2**40, 2**40): beyond,
    }.items():
        for bound in (model, one_of_sizes(op)):
            with traced() as peak:
                with pytest.raises(ge.errors.InputError, match=said) as caught:
                    bound.forward(x=1.0, n=n)["out"]
                assert peak() < 2**18
            assert caught.value.problems[0].node in ("z", "xs")


def doubling(count):
    """Sums of a vector of n ones, which is made anew for each."""
    nodes = {"x0": ("broadcast_to", [1.0, "n"])}
    nodes |= {f"x{i}": ("add", [f"x{i - 1}", 1.0]) for i in range(1, count)}
    return document({**nodes, "z": ("sum", [f"x{count - 1}"])}, inputs={"n": {**SIZES, "shape": [1]}})


def test_nodes_are_counted_together_anew_in_each_run():
    model = ge.Model.from_dict(doubling(10), limits=MEGABYTE)
    for _ in range(100):
        assert model.forward(n=[10_000])["out"] == 100_000.0  # 800 kB
    with pytest.raises(
        ge.errors.InputError, match=r"node 'x6' \(add\) asks for float64\(20000,\): 156.2 KiB; with that"
    ):
        model.forward(n=[20_000])["out"]
    assert model.forward(n=[10_000])["out"] == 100_000.0
    assert model.predict(n=[10_000]) == {"out": 100_000.0}
    larger = ge.Model.from_dict(doubling(10), limits=Limits(array_bytes=2**21))
    assert larger.forward(n=[20_000])["out"] == 200_000.0


def test_a_prediction_counts_only_what_it_computes():
    nodes = {"large": ("broadcast_to", ["x", "n"]), "z": ("neg", ["x"])}
    content = document(nodes, {"large": "large", "z": "z"}, inputs={"x": [], "n": {**SIZES, "shape": [1]}})
    model = ge.Model.from_dict(content, limits=MEGABYTE)
    for _ in range(3):
        assert model.predict(x=1.0, n=[2**20], outputs=["z"])["z"] == -1.0
        with pytest.raises(ge.errors.InputError, match="GE133: node 'large'"):
            model.predict(x=1.0, n=[2**20])


def test_a_shape_that_a_rule_refuses_is_refused_when_it_shows():
    nodes = {"a": ("broadcast_to", ["x", "n"]), "z": ("slice_add", ["y", "a"])}
    model = ge.Model.from_dict(document(nodes, inputs={"x": [], "y": [3], "n": {**SIZES, "shape": [1]}}))
    message = r"GE410: node 'z' \(slice_add\): updates must have the shape .* \(shapes x \(3,\), updates \(1,\)\)"
    for _ in range(3):
        assert model.forward(x=1.0, y=[1.0, 2.0, 3.0], n=[3])["out"].tolist() == [2.0, 3.0, 4.0]
        with pytest.raises(ge.errors.ExecutionError, match=message):
            model.forward(x=1.0, y=[1.0, 2.0, 3.0], n=[1])["out"]


def trained(n, **limits):
    """Ten iterations with respect to the mean of y with n equal parameters, which have a node each."""
    nodes = {
        "many": ("broadcast_to", ["theta", "n"]),
        "mean": ("mean", ["many"]),
        "error": ("sub", ["y", "mean"]),
        "squares": ("square", ["error"]),
        "loss": ("mean", ["squares"]),
        "spread": ("std", ["many"]),
    }
    content = document(
        nodes,
        {"loss": "loss", "spread": "spread"},
        inputs={"y": ["N"]},
        parameters={"theta": 0.0, "n": {**SIZES, "initializer": {"type": "zeros"}, "value": n, "trainable": False}},
        training=training(epochs=10, metrics={"spread": "spread"}),
    )
    return ge.Model.from_dict(content, limits=Limits(**limits))


def test_a_training_with_sizes_that_are_values_counts_each_iteration_and_gives_what_the_reference_gives():
    data = {"y": np.array([1.0, 2.0])}
    model, reference = trained([50, 100], array_bytes=2**20), trained([50, 100])
    losses = [row.loss for row in model.iterate(data)]
    trainer = reference.trainer(data)
    trainer.stepper.reference = True
    assert losses == pytest.approx([row.loss for row in trainer.iterate()], rel=1e-12)
    assert len(losses) == 10
    with pytest.raises(ge.errors.InputError, match="GE133: node 'many"):
        trained([500, 1000], array_bytes=2**20).train(data)


def test_a_graph_whose_sizes_are_known_claims_nothing_while_it_runs():
    nodes = {"s": ("shape", ["y"]), "a": ("broadcast_to", ["x", "s"]), "z": ("sum", ["a"])}
    model = ge.Model.from_dict(document(nodes, inputs={"x": [], "y": ["N", 3]}))
    plan = Plan(model.graph.with_sizes({"N": 4}))
    assert len(plan.instructions) == 2
    assert len(model.executor.forward_schedule(["z"]).steps) == len(model.graph.nodes)


# ---------------------------------------------------------------- what an op makes on the way


def graph_of(name, attributes, arrays, **more):
    """The graph of one node z, and of further ones, that reads x0, x1, ..."""
    given = {OPS[name].signature.input_name(place): x for place, x in enumerate(arrays) if x is not None}
    named = {f"x{place}": x for place, x in enumerate(given.values())}
    inputs = dict(zip(given, named, strict=True)) if len(given) < len(arrays) else list(named)
    shapes = {key: {"shape": list(x.shape), "dtype": str(x.dtype)} for key, x in named.items()}
    return ge.Model.from_dict(document({"z": (name, inputs, attributes), **more}, inputs=shapes)).graph


def budget_of(name, attributes, arrays):
    """The bytes of inputs and results of a node, and of its workspace, as they count for a graph."""
    graph = graph_of(name, attributes, arrays)
    values = sum(kind.array_dtype.itemsize * math.prod(kind.shape) for kind in graph.types.values())
    return values, memory_of(graph) - values


def peak_of(name, attributes, arrays):
    """The memory that `forward` takes, its results included."""
    node = OPS[name].cls.model_validate(attributes)
    with np.errstate(all="ignore"), traced() as peak:
        node.forward(*arrays)
        return peak()


def enlarged(name, attributes, arrays):
    """A row of samples with axes that are longer, all of them or one; None if the op has no such row."""
    largest = max((x.size for x in arrays if x is not None), default=0)
    has_sizes = name in WITH_SIZES and len(arrays) == len(OPS[name].signature.inputs)
    if not largest or has_sizes or TABLE[name].sizes_of_values:
        return None
    for axes in (slice(None), slice(0, 1), slice(-1, None), slice(1, 2)):
        ranks = [sum(size > 1 for size in x.shape[axes]) for x in arrays if x is not None]
        times = int((WANTED / largest) ** (1 / max(1, *ranks)))
        larger = [x if x is None else longer(x, axes, times) for x in arrays]
        with suppress(ge.errors.InvalidModelError):  # the attributes are for these sizes only
            values, workspace = budget_of(name, attributes, larger)
            if values >= WANTED and values + workspace < 1000 * WANTED:
                return larger
    return None


def longer(x, axes, times):
    """An array with copies of itself along some of its axes."""
    factors = np.ones(x.ndim, int)
    factors[axes] = np.where(np.array(x.shape[axes]) > 1, times, 1)
    return np.tile(x, factors) if x.ndim else x


WANTED = 30_000
"""Numbers in the largest array of an enlarged sample."""

SMALL = {"arange", "broadcast_to", "constant", "random_key"}
"""Ops whose samples have no inputs that could be larger, besides those that draw numbers."""


@pytest.mark.parametrize("name", SAMPLES)
def test_an_op_takes_at_most_four_times_what_it_reads_and_gives_and_the_workspace_it_reports_of(name):
    rows = [(attributes, enlarged(name, attributes, arrays)) for attributes, arrays in SAMPLES[name]]
    found = [(attributes, arrays) for attributes, arrays in rows if arrays]
    assert found or name in SMALL or OPS[name].cls.random
    for attributes, arrays in found:
        values, workspace = budget_of(name, attributes, arrays)
        assert peak_of(name, attributes, arrays) < 4 * values + workspace + 2**14  # for Python's objects


def normal(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape)


KEY = np.array([1, 2], np.uint64)
QUERIES = [normal(800, 4), normal(700, 4), normal(700, 2)]
LARGE_ON_THE_WAY = [
    ("scaled_dot_product_attention", {}, QUERIES),
    ("scaled_dot_product_attention", {"causal": True}, QUERIES),
    ("scaled_dot_product_attention", {}, [*QUERIES, normal(700) > 0]),
    ("scaled_dot_product_attention", {"causal": True}, [*QUERIES, normal(700)]),
    ("scaled_dot_product_attention", {}, [normal(3, 1, 90, 4), normal(5, 300, 4), normal(300, 2)]),
    ("conv1d", {}, [normal(2, 4, 2000), normal(1, 4, 300)]),
    ("conv2d", {"groups": 2}, [normal(1, 4, 64, 64), normal(2, 2, 15, 15), normal(2)]),
    ("conv_transpose2d", {}, [normal(2, 3, 40, 40), normal(3, 2, 11, 11)]),
    ("max_pool2d", {"kernel_size": 15, "stride": 1, "dilation": 2}, [normal(1, 4, 64, 64)]),
    ("avg_pool2d", {"kernel_size": 15, "stride": 1}, [normal(1, 4, 64, 64)]),
    ("avg_pool2d", {"kernel_size": 15, "stride": 2, "ceil_mode": True, "padding": 7}, [normal(1, 4, 64, 65)]),
    ("normal", {"shape": [200, 300]}, [KEY]),
    ("normal", {"shape": [200, 300], "dtype": "float32"}, [KEY]),
]


@pytest.mark.parametrize(("name", "attributes", "arrays"), LARGE_ON_THE_WAY)
def test_a_workspace_is_what_an_op_takes_on_the_way(name, attributes, arrays):
    values, workspace = budget_of(name, attributes, arrays)
    peak = peak_of(name, attributes, arrays)
    assert peak < 4 * values + workspace + 2**14
    assert workspace < 1.5 * peak


@pytest.mark.parametrize("name", ["uniform", "bernoulli"])
def test_an_op_that_draws_numbers_takes_at_most_four_times_what_it_gives(name):
    values, workspace = budget_of(name, {"shape": [300, 200]}, [KEY])
    assert workspace == 0
    assert peak_of(name, {"shape": [300, 200]}, [KEY]) < 4 * values


def test_products_of_many_factors_take_on_the_way_what_the_largest_of_them_takes():
    arrays = [normal(30, 40), normal(50, 40), normal(60, 40), normal(70, 40)]
    values, workspace = budget_of("einsum", {"equation": "ai,bj,ck,dl->"}, arrays)
    assert workspace == 0
    assert peak_of("einsum", {"equation": "ai,bj,ck,dl->"}, arrays) < 4 * values + 2**14


HIDDEN = {
    "scores": ({"z": ("scaled_dot_product_attention", ["x", "x", "x"])}, [16_000, 4]),
    "patches": ({"z": ("conv2d", ["y", "w"])}, [4]),
    "patches of a pooling": ({"z": ("max_pool2d", ["y"], {"kernel_size": 100, "stride": 1})}, [4]),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_large_arrays_on_the_way_are_refused_when_a_model_is_loaded(name):
    nodes, shape = HIDDEN[name]
    content = document(nodes, inputs={"x": shape, "y": [1, 16, 512, 512], "w": [1, 16, 31, 31]})
    with pytest.raises(
        ge.errors.InvalidModelError, match=r"GE133: .* most goes to node 'z' .*, on the way to its result: "
    ):
        ge.Model.from_dict(content)


def test_large_arrays_on_the_way_are_refused_with_the_sizes_of_a_batch_and_where_sizes_are_values():
    nodes = {"z": ("scaled_dot_product_attention", ["x", "x", "x"])}
    model = ge.Model.from_dict(document(nodes, inputs={"x": ["N", 2]}), limits=MEGABYTE)
    assert model.predict(x=np.ones((100, 2)))["out"].shape == (100, 2)
    with pytest.raises(
        ge.errors.InputError, match=r"take 5.737 MiB for N = 500, .* on the way to its result: 5.722 MiB"
    ):
        model.predict(x=np.ones((500, 2)))
    nodes = {"x": ("broadcast_to", ["one", "n"]), "z": (*nodes["z"], {"scale": 1.0})}
    model = ge.Model.from_dict(document(nodes, inputs={"one": [], "n": SIZES}), limits=MEGABYTE)
    for _ in range(3):
        assert model.predict(one=1.0, n=[100, 2])["out"].shape == (100, 2)
        with pytest.raises(
            ge.errors.InputError, match=r"GE133: node 'z' .*, and 5.722 MiB on the way to it; with that"
        ):
            model.predict(one=1.0, n=[500, 2])


def test_a_workspace_that_fails_is_reported_with_its_class():
    @ge.register("test.wrong")
    class Wrong(ge.Node):
        infer = elementwise

        def workspace(self, x):
            return x.dtype

        def forward(self, x):
            return x

    content = document({"z": ("test.wrong", ["x"])}, inputs={"x": [3]}, opset_imports={"core": 1, "test": 1})
    with pytest.raises(
        ge.errors.RegistrationError, match=r"GE701: Wrong\.workspace fails, it must give a list of types: "
    ):
        ge.Model.from_dict(content)


INITIALIZERS = [
    {"type": "normal", "mean": 1.0, "std": 2.0, "seed": 3},
    {"type": "uniform", "low": -1.0, "high": 2.0, "seed": 3},
    {"type": "he_normal", "seed": 3},
    {"type": "glorot_uniform", "seed": 3},
    {"type": "constant", "value": 1.5},
    {"type": "ones"},
]


@pytest.mark.parametrize("initializer", INITIALIZERS, ids=lambda initializer: initializer["type"])
def test_an_initial_value_takes_no_more_memory_than_it_counts_for(initializer):
    shape = (600, 700)
    document = ParameterDocument(shape=list(shape), initializer=initializer)
    source = Parameter(array_type(shape, "float32"), document.initializer)
    initial_value("p", source)  # what is imported once, is
    with traced() as peak:
        value = initial_value("p", source)
        assert peak() < value.nbytes + 2**21
    drawn = np.random.Generator(np.random.Philox(key=int.from_bytes(hashlib.sha256(b"3/p").digest()[:16], "little")))
    limit = math.sqrt(3 / ((600 + 700) / 2))
    whole = {
        "normal": lambda: drawn.normal(1.0, 2.0, shape),
        "uniform": lambda: drawn.uniform(-1.0, 2.0, shape),
        "he_normal": lambda: drawn.normal(0.0, math.sqrt(2 / 600), shape),
        "glorot_uniform": lambda: drawn.uniform(-limit, limit, shape),
        "constant": lambda: np.full(shape, 1.5),
        "ones": lambda: np.ones(shape),
    }
    assert np.array_equal(value, whole[initializer["type"]]().astype(np.float32))


# ---------------------------------------------------------------- gradients


def products(**limits):
    """A product of B rows with a matrix; for its gradient each row has a product of its own before they are summed."""
    nodes = {"rows": ("matmul", ["x", "y"]), "z": ("sum", ["rows"])}
    return ge.Model.from_dict(document(nodes, inputs={"x": ["B", 1, "M"], "y": ["M", "K"]}), limits=Limits(**limits))


@contextmanager
def derived(module, monkeypatch):
    """The graphs whose gradients a module derives meanwhile."""
    graphs = []
    with monkeypatch.context() as patch:
        patch.setattr(
            f"graphengine.{module}.gradient", lambda graph, **of: graphs.append(graph) or ge.gradient(graph, **of)
        )
        yield graphs


def test_a_gradient_that_asks_for_more_than_its_graph_is_refused_from_the_first_use_on():
    model, given = products(array_bytes=2**22), {"x": np.ones((400, 1, 50)), "y": np.ones((50, 60))}
    for _ in range(3):
        run = model.forward(given)
        assert run["out"] == 400 * 50 * 60
        with traced() as peak:
            with pytest.raises(
                ge.errors.InputError, match=r"9\.\d+ MiB for B = 400, .* most goes to node 'd_y\.1' \(matmul\)"
            ):
                run.backward(wrt=["y"])
            assert peak() < 2**20
        assert run.backward(wrt=["x"])["x"].shape == (400, 1, 50)
    assert products().forward(given).backward(wrt=["y"])["y"].tolist() == [[400.0] * 60] * 50


def test_a_trace_and_a_check_are_refused_likewise():
    model, given = products(array_bytes=2**22), {"x": np.ones((400, 1, 50)), "y": np.ones((50, 60))}
    with pytest.raises(ge.errors.InputError, match=r"GE133: .* 'd_y\.1' \(matmul\)"):
        trace_graph(model.graph, given, "out", ["y"])
    with pytest.raises(ge.errors.InputError, match=r"GE133: .* 'd_y\.1' \(matmul\)"):
        next(graph_checks(model.graph, given, "out", ["y"], np.random.default_rng(0)))
    with pytest.raises(ge.errors.InputError, match=r"GE133: .* for B = 9000, "):
        trace_graph(model.graph, {"x": np.ones((9000, 1, 50)), "y": np.ones((50, 60))})


def test_a_gradient_is_derived_for_its_memory_only_where_that_may_be_too_much_and_once_for_all_sizes(monkeypatch):
    model = products(array_bytes=16_100_000)
    with derived("model.evaluator", monkeypatch) as graphs:
        model.forward(x=np.ones((2, 1, 3)), y=np.ones((3, 4))).backward(wrt=["y"])
        assert not graphs
        for count in (590, 600, 600, 610, 610):
            model.forward(x=np.ones((count, 1, 50)), y=np.ones((50, 60))).backward(wrt=["y"])
        assert len(graphs) == 1


def test_the_gradients_of_many_products_are_bounded_by_that_of_one(monkeypatch):
    """Pairs of their numbers would be eight times the limit, and their gradients are an eighth of it."""
    nodes = {"n0": ("matmul", ["x", "p"])} | {f"n{i}": ("matmul", [f"n{i - 1}", "p"]) for i in range(1, 100)}
    inputs = {"x": ["N", 40]}
    content = document({**nodes, "z": ("sum", ["n99"])}, inputs=inputs, parameters={"p": np.eye(40).tolist()})
    model = ge.Model.from_dict(content, limits=Limits(array_bytes=2**24))
    assert may_grow(model.graph, {"N": 2})
    with derived("model.evaluator", monkeypatch) as graphs:
        assert model.forward(x=np.ones((2, 40))).backward(of="z")["p"].tolist() == [[200.0] * 40] * 40
    assert not graphs
    exact = memory_of(ge.gradient(model.graph, of="z"), {"N": 2})
    assert exact <= gradient_bound(model.graph, {"N": 2}) < 3 * exact < 2**24


def test_the_numbers_of_a_wide_sum_are_not_multiplied_with_each_other(monkeypatch):
    """The gradient of 1,000 scalars takes as many; their squares would be beyond the limit."""
    nodes = {f"n{index}": ("mul", ["p", float(index)]) for index in range(1000)}
    content = document({**nodes, "z": ("add_n", [*nodes])}, parameters={"p": 1.0})
    model = ge.Model.from_dict(content, limits=Limits(array_bytes=2**20))
    with derived("model.evaluator", monkeypatch) as graphs:
        assert model.forward().backward()["p"] == sum(range(1000))
    assert not graphs


def backward_peak_of(name, attributes, arrays):
    """The memory that `backward` takes for all results and with respect to all inputs, what it gives included."""
    node, signature = OPS[name].cls.model_validate(attributes), OPS[name].signature
    if not signature.variadic:
        arrays = [*arrays, *[None] * (len(signature.inputs) - len(arrays))]
    needs = tuple(x is not None and x.dtype.kind == "f" for x in arrays)
    with np.errstate(all="ignore"):
        results = node.forward(*arrays)
        results = results if isinstance(results, tuple) else (results,)
        incoming = [np.ones_like(result) for result in results]
        with traced() as peak:
            signature.gradients(node, incoming, arrays, results, needs)
            return peak()


def gradient_budget_of(name, attributes, arrays):
    """The bytes of the graph that has the gradients of the sum of all results."""
    outputs = ["z", *(f"z:{port}" for port in OPS[name].cls.model_validate(attributes).outputs[1:])]
    sums = {f"s{place}": ("sum", [output]) for place, output in enumerate(outputs)}
    graph = graph_of(name, attributes, arrays, **sums, all=("add_n", list(sums)))
    wrt = [key for key in graph.inputs if graph.types[key].is_differentiable]
    return memory_of(ge.gradient(graph, of="all", wrt=wrt, also=["out"]))


@pytest.mark.parametrize("name", [name for name in SAMPLES if OPS[name].signature.saved is not None])
def test_a_backward_takes_what_its_graph_counts_besides_four_times_what_the_op_reads_and_gives(name):
    for attributes, row in SAMPLES[name]:
        arrays = enlarged(name, attributes, row)
        if arrays:
            allowed = 4 * budget_of(name, attributes, arrays)[0] + gradient_budget_of(name, attributes, arrays)
            assert backward_peak_of(name, attributes, arrays) < allowed + 2**14
