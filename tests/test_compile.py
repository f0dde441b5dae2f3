"""The compiled forms against the reference executor: every pass, the plan, its loop, tiles and threads."""

import threading

import numpy as np
import pytest
from documents import document
from samples import SAMPLES
from sweeping import for_each_row

import graphengine as ge
from graphengine.backends.numpy import calls, tiles
from graphengine.backends.numpy import plan as plan_module
from graphengine.backends.numpy.plan import Plan
from graphengine.backends.reference.executor import Executor
from graphengine.ir.binding import bind_sizes
from graphengine.ir.recording import Recorder, StandIn, UnrecordableError
from graphengine.ops import sums
from graphengine.ops.registry import OPS
from graphengine.ops.shapes import type_of
from graphengine.ops.traits import OpTrait
from graphengine.transform.gradient import gradient
from graphengine.transform.passes import (
    IDENTITIES,
    SHAPES,
    SIGNS,
    broadcast_late,
    dead_code,
    expand,
    factor_sums,
    fold_constants,
    optimize,
    unexpanded,
)
from graphengine.transform.rewriting import Rewriter

RNG = np.random.default_rng(0)


def same_bits(first, second):
    first, second = np.asarray(first), np.asarray(second)
    return first.shape == second.shape and first.dtype == second.dtype and first.tobytes() == second.tobytes()


def one_op(op, attributes, arrays, dtype="float64"):
    """A model of one op and the values of its inputs; with a scalar loss if the op's result is differentiable."""
    arrays = [np.asarray(array) for array in arrays]
    arrays = [array.astype(dtype) if array.dtype.kind == "f" else array for array in arrays]
    names = [f"x{index}" for index in range(len(arrays))]
    inputs = {
        name: {"shape": list(array.shape), "dtype": array.dtype.name} for name, array in zip(names, arrays, strict=True)
    }
    nodes = {"z": (op, names, attributes)}
    model = ge.Model.from_dict(document(nodes, {"z": "z"}, inputs=inputs, dtype=dtype))
    if model.graph.types["z"].is_differentiable:
        nodes |= {"bent": ("tanh", ["z"]), "loss": ("sum", ["bent"])}
        outputs = {"z": "z", "loss": "loss"}
        model = ge.Model.from_dict(document(nodes, outputs, inputs=inputs, dtype=dtype))
    return model, dict(zip(names, arrays, strict=True))


ROWS = [
    pytest.param(op, attributes, arrays, id=f"{op}-{index}")
    for op, rows in SAMPLES.items()
    for index, (attributes, arrays) in enumerate(rows)
    if op != "opaque_backward"
]


def reference(graph, values):
    executor = Executor(graph)
    slots = executor.forward({name: value for name, value in values.items() if name in graph.sources})
    return {name: slots[executor.slot_of[value]] for name, value in graph.outputs.items()}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@for_each_row(ROWS)
def test_a_plan_gives_the_bits_of_the_reference_executor(op, attributes, arrays, dtype):
    model, values = one_op(op, attributes, arrays, dtype)
    expected, found = reference(model.graph, values), Plan(model.graph).run(values)
    for name, value in expected.items():
        assert same_bits(value, found[name]), name


def differentiable_inputs(model):
    if "loss" not in model.graph.outputs:
        return []
    return [name for name in model.graph.inputs if model.graph.types[name].is_differentiable]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@for_each_row(ROWS)
def test_recorded_called_and_compiled_gradients_have_the_same_bits(op, attributes, arrays, dtype):
    model, values = one_op(op, attributes, arrays, dtype)
    wrt = differentiable_inputs(model)
    if not wrt or OPS[op].signature.saved is None:
        return
    called = model.forward(values).backward("loss", wrt)
    graph = gradient(model.graph, "loss", wrt)
    assert not [node.op for node in graph.nodes if node.op == "opaque_backward"]
    recorded, compiled = reference(graph, values), Plan(graph).run(values)
    factored = Plan(graph, exact=False).run(values)
    for name in wrt:
        output = f"d_loss/d_{name}"
        assert same_bits(called[name], recorded[output])
        assert same_bits(called[name], compiled[output])
        np.testing.assert_allclose(
            factored[output], called[name], rtol=1e-5 if dtype == "float32" else 1e-11, atol=1e-6
        )


# ---------------------------------------------------------------- passes


def graph_of(nodes, outputs, **inputs):
    specs = {node["id"]: (node["op"], node["inputs"], node.get("attributes")) for node in nodes}
    return ge.Model.from_dict(document(specs, outputs, inputs=inputs)).graph


def ops(graph):
    return [node.op for node in graph.nodes]


def test_dead_code_is_what_no_output_needs():
    nodes = [{"id": "a", "op": "neg", "inputs": ["x"]}, {"id": "b", "op": "exp", "inputs": ["x"]}]
    assert ops(dead_code(graph_of(nodes, {"a": "a"}, x=[3]))) == ["neg"]


def test_common_subexpressions_are_computed_once():
    nodes = [
        {"id": "a", "op": "mul", "inputs": ["x", 2.0]},
        {"id": "b", "op": "mul", "inputs": ["x", 2.0]},
        {"id": "c", "op": "mul", "inputs": ["x", 2]},
        {"id": "d", "op": "add", "inputs": ["a", "b"]},
    ]
    graph = Rewriter(graph_of(nodes, {"d": "d", "c": "c"}, x=[3])).run(merge=True)
    assert sorted(ops(graph)) == ["add", "mul", "mul"]


def test_constants_are_folded_with_numpys_results():
    nodes = [{"id": "a", "op": "div", "inputs": [1.0, 3.0]}, {"id": "b", "op": "mul", "inputs": ["x", "a"]}]
    graph = dead_code(Rewriter(graph_of(nodes, {"b": "b"}, x=[3])).run([fold_constants]))
    assert ops(graph) == ["constant", "mul"]
    assert graph.nodes[0].node.value == 1 / 3


def test_folding_keeps_division_by_zero_infinite():
    nodes = [{"id": "a", "op": "div", "inputs": [1.0, 0.0]}, {"id": "b", "op": "mul", "inputs": ["x", "a"]}]
    graph = graph_of(nodes, {"b": "b"}, x=[1])
    assert Plan(graph).run({"x": np.array([2.0])})["b"] == np.inf


SPECIAL = np.array([0.0, -0.0, 1.5, -2.0, np.inf, -np.inf, 5e-324, 1e308])


@pytest.mark.parametrize(
    ("op", "inputs", "stays"),
    [
        ("mul", ["x", 1], False),
        ("mul", [1.0, "x"], False),
        ("div", ["x", 1], False),
        ("sub", ["x", 0], False),
        ("sub", ["x", 0.0], False),
        ("add", ["x", 0], True),
        ("sub", ["x", -0.0], True),
        ("mul", ["x", 0], True),
    ],
)
def test_identities_are_only_those_that_are_exact_for_every_number(op, inputs, stays):
    graph = graph_of([{"id": "a", "op": op, "inputs": inputs}], {"a": "a"}, x=[8])
    rewritten = Rewriter(graph).run(IDENTITIES)
    assert (ops(rewritten) == [op]) is stays
    assert same_bits(reference(rewritten, {"x": SPECIAL})["a"], reference(graph, {"x": SPECIAL})["a"])


@pytest.mark.parametrize("op", ["add", "sub", "mul"])
@pytest.mark.parametrize("negated", [(True, False), (False, True), (True, True)])
def test_a_sign_moves_without_changing_a_bit(op, negated):
    nodes = [
        {"id": "p", "op": "neg", "inputs": ["x"]},
        {"id": "q", "op": "neg", "inputs": ["y"]},
        {"id": "a", "op": op, "inputs": ["p" if negated[0] else "x", "q" if negated[1] else "y"]},
        {"id": "b", "op": "abs", "inputs": ["p"]},
        {"id": "c", "op": "square", "inputs": ["q"]},
    ]
    graph = graph_of(nodes, {"a": "a", "b": "b", "c": "c"}, x=[8], y=[8])
    values = {"x": SPECIAL, "y": SPECIAL[::-1].copy()}
    before, after = reference(graph, values), reference(dead_code(Rewriter(graph).run(SIGNS)), values)
    for name, value in before.items():
        finite = ~np.isnan(value)
        assert same_bits(value[finite], after[name][finite])
        assert (np.isnan(value) == np.isnan(after[name])).all()


def test_no_array_is_made_where_a_scalar_does():
    nodes = [
        {"id": "wide", "op": "broadcast_to", "inputs": ["s"], "attributes": {"shape": [4]}},
        {"id": "a", "op": "mul", "inputs": ["x", "wide"]},
        {"id": "b", "op": "exp", "inputs": ["wide"]},
        {"id": "c", "op": "add", "inputs": ["a", "b"]},
    ]
    graph = graph_of(nodes, {"c": "c"}, x=[4], s=[])
    rewritten = dead_code(Rewriter(graph).run([unexpanded, broadcast_late]))
    assert "broadcast_to" not in ops(rewritten)
    values = {"x": RNG.normal(size=4), "s": np.float64(0.3)}
    assert same_bits(reference(graph, values)["c"], reference(rewritten, values)["c"])


@pytest.mark.parametrize("op", ["exp", "mul", "less", "cast"])
@pytest.mark.parametrize("axes", [None, [1, 0]])
def test_sums_over_a_transposed_array_have_the_bits_of_the_reference(op, axes):
    attributes = {"dtype": "float32"} if op == "cast" else {}
    nodes = [
        {"id": "t", "op": "transpose", "inputs": ["x"], "attributes": {"axes": axes}},
        {"id": "e", "op": op, "inputs": ["t", "t"] if op in ("mul", "less") else ["t"], "attributes": attributes},
        {"id": "f", "op": "cast", "inputs": ["e"], "attributes": {"dtype": "float32"}},
        {"id": "g", "op": "square", "inputs": ["f"]},
        {"id": "total", "op": "sum", "inputs": ["g"]},
        {"id": "sine", "op": "sin", "inputs": ["t"]},
        {"id": "wave", "op": "sum", "inputs": ["sine"]},
    ]
    graph = graph_of(nodes, {"total": "total", "wave": "wave"}, x=[200, 300])
    values = {"x": RNG.normal(size=(200, 300))}
    expected, found = reference(graph, values), Plan(graph).run(values)
    assert all(same_bits(expected[name], found[name]) for name in expected)


def test_sums_over_what_was_broadcast_have_the_bits_of_the_reference():
    nodes = [
        {"id": "wide", "op": "broadcast_to", "inputs": ["x"], "attributes": {"shape": [200, 300]}},
        {"id": "sine", "op": "sin", "inputs": ["wide"]},
        {"id": "product", "op": "mul", "inputs": ["sine", "wide"]},
        {"id": "total", "op": "sum", "inputs": ["product"]},
    ]
    graph = graph_of(nodes, {"total": "total"}, x=[200, 1])
    for seed in range(6):
        values = {"x": np.random.default_rng(seed).normal(size=(200, 1))}
        assert same_bits(reference(graph, values)["total"], Plan(graph).run(values)["total"])


def test_the_order_of_an_input_in_memory_changes_no_bit():
    nodes = {"sine": ("sin", ["x"]), "total": ("sum", ["sine"])}
    wave = ge.Model.from_dict(document(nodes, inputs={"x": ["N", "M"]}))
    x = np.random.default_rng(1).normal(size=(200, 300))
    results = [wave.forward(x=given)["out"] for given in (x, x, x, np.asfortranarray(x))]
    assert len({float(result) for result in results}) == 1


def test_known_sizes_become_numbers_and_shapes_attributes():
    model = ge.load("models/linreg.json")
    graph = gradient(model.graph).with_sizes({"N": 24})
    rewritten = dead_code(Rewriter(graph).run(SHAPES))
    assert not {"size", "shape"} & set(ops(rewritten))


def test_an_op_made_of_others_is_expanded_and_others_are_not():
    nodes = [{"id": "a", "op": "mean", "inputs": ["x"]}, {"id": "b", "op": "exp", "inputs": ["a"]}]
    assert ops(expand(graph_of(nodes, {"b": "b"}, x=[4]))) == ["sum", "div", "exp"]


COUNTERPARTS = [op for op in SAMPLES if OPS[op].numpy and OpTrait.SIZES_ONLY not in OPS[op].cls.traits]


@pytest.mark.parametrize("op", COUNTERPARTS)
def test_an_op_whose_forward_records_itself_is_primitive_so_nobody_records_it(op):
    recorded = set()
    for attributes, arrays in SAMPLES[op]:
        forward = OPS[op].cls(**attributes).forward
        recorder = Recorder(ge.Graph("empty", {}, {}, {}, [], {}))
        try:
            sample = recorder.sample([StandIn(type_of(array)) for array in arrays], lambda given: forward(*given))  # noqa: B023
        except (ValueError, UnrecordableError, AttributeError):
            continue
        recorded.add(tuple([node.op for node in sample.nodes]))
    assert not recorded or (recorded == {(op,)}) is (OpTrait.PRIMITIVE in OPS[op].cls.traits)


def test_factored_sums_stay_within_their_bound():
    nodes = [
        {"id": "p", "op": "mul", "inputs": [3.0, "x"]},
        {"id": "q", "op": "neg", "inputs": ["p"]},
        {"id": "r", "op": "mul", "inputs": ["q", "y"]},
        {"id": "s", "op": "sum", "inputs": ["r"]},
    ]
    graph = graph_of(nodes, {"s": "s"}, x=[1000], y=[1000])
    rewritten = dead_code(Rewriter(graph).run([factor_sums]))
    assert "matmul" in ops(rewritten)
    assert "sum" not in ops(rewritten)
    values = {"x": RNG.normal(size=1000), "y": RNG.normal(size=1000)}
    bound = 2 * 1002 * np.finfo(float).eps * np.abs(3 * values["x"] * values["y"]).sum()
    assert abs(reference(graph, values)["s"] - reference(rewritten, values)["s"]) <= bound


def test_the_gradient_of_the_regression_needs_no_array_beyond_the_error():
    graph = optimize(gradient(ge.load("models/linreg.json").graph).with_sizes({"N": 24}), exact=False)
    arrays = [node.id for node in graph.nodes if graph.types[node.id].shape != ()]
    assert arrays == ["y_hat", "error"]


def test_an_op_that_a_user_replaced_is_not_mistaken_for_the_shipped_one():
    @ge.register("square", replace=True)
    class Shifted(ge.Node):
        def forward(self, x):
            return x * x + 1

    graph = graph_of([{"id": "a", "op": "square", "inputs": ["x"]}], {"a": "a"}, x=[])
    assert Plan(graph).run({"x": 3.0})["a"] == 10.0


# ---------------------------------------------------------------- plan


@pytest.mark.parametrize("op", ["sin", "cos", "sqrt"])
@pytest.mark.parametrize("longest", [0, 400])
def test_a_scalar_function_gives_the_bits_of_numpys_in_its_whole_domain(op, longest, monkeypatch):
    monkeypatch.setattr(plan_module, "LONGEST_FUNCTION", longest)
    plan = Plan(graph_of([{"id": "a", "op": op, "inputs": ["x"]}], {"a": "a"}, x=[]))
    numbers = np.concatenate([SPECIAL, [np.nan], RNG.normal(size=300), 10.0 ** RNG.uniform(-300, 300, 300)])
    with np.errstate(invalid="ignore"):
        expected = getattr(np, op)(numbers)
    found = np.array([plan.run({"x": number})["a"] for number in numbers])
    assert (np.isnan(found) == np.isnan(expected)).all()  # a NaN's own bits are not promised
    assert same_bits(found[~np.isnan(found)], expected[~np.isnan(found)])


def test_a_long_plan_is_flat_and_gives_the_same(monkeypatch):
    model = ge.load("models/linreg.json")
    graph = gradient(model.graph).with_sizes({"N": 24})
    values = {**model.values, **model.load_data()}
    short = Plan(graph).run(values)
    monkeypatch.setattr(plan_module, "LONGEST_FUNCTION", 0)
    long = Plan(graph)
    assert not long.is_function
    assert same_bits(short["d_loss/d_theta"], long.run(values)["d_loss/d_theta"])


@pytest.mark.parametrize("name", ["linreg", "linreg_single_sample", "noint1", "noint2"])
def test_training_by_flat_plan_function_and_reference_agree(name, monkeypatch):
    by_function = ge.load(f"models/{name}.json")
    by_function.train()
    by_reference = ge.load(f"models/{name}.json")
    trainer = by_reference.trainer()
    trainer.stepper.reference = True
    for _ in trainer.chunks():
        pass
    monkeypatch.setattr(plan_module, "LONGEST_FUNCTION", 0)
    flat = ge.load(f"models/{name}.json")
    flat.train()
    assert same_bits(by_function.parameters["theta"], flat.parameters["theta"])
    np.testing.assert_allclose(by_function.parameters["theta"], by_reference.parameters["theta"], rtol=1e-13)


def test_generated_text_holds_nothing_of_the_file():
    nodes = [{"id": "evil_name", "op": "exp", "inputs": ["secret"]}]
    text = str(Plan(graph_of(nodes, {"shown": "evil_name"}, secret=[3])))
    assert not [word for word in ("evil", "secret", "shown") if word in text]


def test_results_are_not_overwritten_by_the_next_run():
    graph = graph_of(
        [
            {"id": "a", "op": "exp", "inputs": ["x"]},
            {"id": "b", "op": "reshape", "inputs": ["a"], "attributes": {"shape": [2, 2]}},
        ],
        {"b": "b"},
        x=[4],
    )
    plan = Plan(graph)
    first = plan.run({"x": np.zeros(4)})["b"]
    plan.run({"x": np.ones(4)})
    assert (first == 1).all()


def test_a_view_that_a_node_gives_is_not_overwritten_while_it_is_read():
    @ge.register("reversed")
    class Reversed(ge.Node):
        outputs = ("first", "second")

        def forward(self, x, y):
            return x[::-1], y[::-1]

    nodes = [
        {"id": "a", "op": "exp", "inputs": ["x"]},
        {"id": "b", "op": "reversed", "inputs": ["x", "a"]},
        {"id": "c", "op": "sin", "inputs": ["b:second"]},
        {"id": "d", "op": "mul", "inputs": ["c", "b:second"]},
        {"id": "e", "op": "sum", "inputs": ["d"]},
    ]
    graph = graph_of(nodes, {"e": "e"}, x=[4])
    values = {"x": RNG.normal(size=4)}
    assert Plan(graph).run(values) == reference(graph, values)


def test_many_threads_share_a_plan():
    model = ge.load("models/linreg.json")
    plan = Plan(gradient(model.graph).with_sizes({"N": 1000}))
    inputs = [{"theta": 2.0, "x": RNG.normal(size=1000), "y": RNG.normal(size=1000)} for _ in range(8)]
    expected = [plan.run(values)["d_loss/d_theta"] for values in inputs]
    wrong = []

    def work(index):
        for _ in range(200):
            if plan.run(inputs[index])["d_loss/d_theta"] != expected[index]:
                wrong.append(index)  # noqa: PERF401 - a loop that a reader sees at once

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_model_keeps_a_bounded_number_of_plans():
    model = ge.load("models/linreg.json")
    model.parameters["theta"] = 2.0
    for size in range(1, 60):
        for _ in range(2):
            model.predict(x=np.ones(size))
    assert len(model.evaluator.programs._programs) <= 32


# ---------------------------------------------------------------- tiles


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(tiles, "TILE", 64)
    for module in (plan_module, tiles):
        monkeypatch.setattr(module, "LINE", 16)
    monkeypatch.setattr(tiles, "SHORTEST", 128)


@pytest.mark.parametrize("size", [128, 129, 640, 1000])
def test_tiles_give_what_the_whole_gives(small_tiles, size):
    model = ge.load("models/linreg.json")
    graph = gradient(model.graph, also=["loss", "prediction"]).with_sizes({"N": size})
    values = {"theta": 2.0, "x": RNG.normal(size=size), "y": RNG.normal(size=size)}
    plan = Plan(graph, exact=False)
    assert any(isinstance(each.function, tiles.Region) for each in plan.instructions)
    expected = reference(graph, values)
    for name, value in plan.run(values).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-12)


def test_the_bits_do_not_depend_on_the_number_of_threads(small_tiles, monkeypatch):
    model = ge.load("models/linreg.json")
    graph = gradient(model.graph, also=["loss"]).with_sizes({"N": 5000})
    values = {"theta": 2.0, "x": RNG.normal(size=5000), "y": RNG.normal(size=5000)}
    results = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(tiles, "THREADS", threads)
        results.append(Plan(graph, exact=False).run(values))
    assert results[0] == results[1] == results[2]


def test_a_value_computed_from_a_sum_over_the_tiles_waits_for_it(small_tiles):
    nodes = [
        {"id": "m", "op": "mean", "inputs": ["x"]},
        {"id": "c", "op": "sub", "inputs": ["x", "m"]},
        {"id": "s", "op": "square", "inputs": ["c"]},
        {"id": "v", "op": "mean", "inputs": ["s"]},
        {"id": "n", "op": "div", "inputs": ["c", "v"]},
    ]
    graph = graph_of(nodes, {"v": "v", "n": "n"}, x=[1000])
    values = {"x": RNG.normal(size=1000)}
    expected, found = reference(graph, values), Plan(graph, exact=False).run(values)
    np.testing.assert_allclose(found["v"], expected["v"], rtol=1e-12)
    np.testing.assert_allclose(found["n"], expected["n"], rtol=1e-12)


def test_sizes_of_inputs_are_bound_before_a_plan_is_made():
    model = ge.load("models/linreg.json")
    assert bind_sizes({"x": (5,), "y": (5,)}, model.graph.types) == {"N": 5}


def test_values_are_carried_all_at_once():
    """A slot that keeps the old parameter gets the old one, not the one that replaces it."""
    rule = {
        "inputs": {
            "parameter": {},
            "gradient": {},
            "learning_rate": {"shape": []},
            "previous": {"initializer": {"type": "zeros"}},
            "unread": {"initializer": {"type": "zeros"}},
        },
        "nodes": [
            {"id": "step", "op": "mul", "inputs": ["learning_rate", "gradient"]},
            {"id": "drift", "op": "mul", "inputs": [0.1, "previous"]},
            {"id": "moved", "op": "sub", "inputs": ["parameter", "step"]},
            {"id": "new", "op": "sub", "inputs": ["moved", "drift"]},
        ],
        "outputs": {"parameter": "new", "previous": "parameter", "unread": "step"},
    }
    for shape in ([], [3]):
        content = document(
            {"e": ("sub", ["x", "w"]), "s": ("square", ["e"]), "loss": ("mean", ["s"])},
            {"loss": "loss"},
            inputs={"x": ["N"] if not shape else ["N", 3]},
            parameters={"w": {"shape": shape, "initializer": {"type": "zeros"}}},
            functions={"rule": rule},
            training={"loss": "loss", "optimizer": {"type": "rule", "learning_rate": 0.3}, "epochs": 5},
        )
        data = {"x": RNG.normal(size=(4, *shape))}
        compiled, called = ge.Model.from_dict(content), ge.Model.from_dict(content)
        compiled.train(data=data)
        trainer = called.trainer(data=data)
        trainer.stepper.reference = True
        list(trainer.chunks())
        np.testing.assert_allclose(compiled.parameters["w"], called.parameters["w"], rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("size", [10_000, 10_001, 65_536, 100_003])
def test_a_long_dot_product_of_a_training_is_computed_by_lines(size, dtype):
    x, y = RNG.normal(size=(2, size)).astype(dtype)
    nodes = {"p": ("mul", ["x", "y"]), "s": ("sum", ["p"])}
    graph = ge.Model.from_dict(document(nodes, {"s": "s"}, inputs={"x": [size], "y": [size]}, dtype=dtype)).graph
    plan, products = Plan(graph, exact=False), x.astype(float) * y.astype(float)
    result = plan.run({"x": x, "y": y})["s"]
    assert abs(result - products.sum()) <= 2 * (size + 2) * np.finfo(dtype).eps * np.abs(products).sum()
    assert np.asarray(result).dtype == dtype
    functions = [each.function for each in plan.instructions]
    assert (calls.dot in functions) == (size <= tiles.LINE and dtype == "float64")
    assert (sums.multiply in functions) == (dtype == "float32")
