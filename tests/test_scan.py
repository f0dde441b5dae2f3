"""Loops: a `scan` has the values and the gradients of the unrolled graph, to the last bit, and refuses what misfits."""

import copy
import json
import pickle
import tracemalloc

import numpy as np
import pytest
from documents import document
from typer.testing import CliRunner

import graphengine as ge
from graphengine.backends.numpy.plan import Plan
from graphengine.backends.reference.executor import Executor
from graphengine.cli.app import app
from graphengine.format.building import build_graph
from graphengine.format.differences import differences
from graphengine.format.documents import ModelDocument
from graphengine.limits import Limits
from graphengine.transform.directional import curvature, directional
from graphengine.transform.trimming import optimize_trimmed

CELLS = {
    "lstm": (
        {"cell": ("nn.lstm_cell", ["x", "h", "c", "a", "b", "u", "v"])},
        {"h": "cell", "c": "cell:c", "y": "cell"},
        {"a": (4, 3, 5), "b": (4, 5, 5), "u": (4, 5), "v": (4, 5)},
    ),
    "gru": (
        {"cell": ("nn.gru_cell", ["x", "h", "a", "b", "u", "v"])},
        {"h": "cell", "y": "cell"},
        {"a": (3, 3, 5), "b": (3, 5, 5), "u": (3, 5), "v": (3, 5)},
    ),
    "rnn": (
        {"cell": ("nn.rnn_cell", ["x", "h", "a", "b", "u", "v"])},
        {"h": "cell", "y": "cell"},
        {"a": (3, 5), "b": (5, 5), "u": (5,), "v": (5,)},
    ),
    "last only": (
        {"p": ("matmul", ["x", "a"]), "s": ("add", ["p", "h"]), "new": ("tanh", ["s"])},
        {"h": "new"},
        {"a": (3, 5)},
    ),
    "state read three times": (
        {
            "p": ("matmul", ["x", "a"]),
            "q": ("mul", ["h", "p"]),
            "r": ("mul", ["h", "u"]),
            "s": ("add_n", ["q", "r", "h"]),
            "new": ("tanh", ["s"]),
            "y": ("mul", ["new", "u"]),
        },
        {"h": "new", "y": "y", "same": "new"},
        {"a": (3, 5), "u": (5,)},
    ),
    "state of before as a result": (
        {"p": ("matmul", ["x", "a"]), "q": ("mul", ["h", "p"]), "new": ("sin", ["q"])},
        {"h": "new", "y": "h"},
        {"a": (3, 5)},
    ),
    "a state that stays": (
        {"p": ("matmul", ["x", "a"]), "q": ("mul", ["h", "p"]), "r": ("add", ["q", "c"]), "new": ("cos", ["r"])},
        {"h": "new", "c": "c", "y": "r"},
        {"a": (3, 5)},
    ),
    "a result that is another view of what is computed": (
        {
            "p": ("matmul", ["x", "a"]),
            "q": ("mul", ["h", "p"]),
            "y": ("flatten", ["q"]),
            "r": ("square", ["h"]),
            "s": ("sub", ["r", "p"]),
            "new": ("tanh", ["s"]),
        },
        {"h": "new", "y": "y"},
        {"a": (3, 5)},
    ),
    "no state": ({"p": ("matmul", ["x", "a"]), "y": ("tanh", ["p"])}, {"y": "y"}, {"a": (3, 5)}),
}
IN_ANOTHER_ORDER = ("state read three times", "a state that stays")
"""Of three or more numbers that are added up the order counts: in a loop it is that of the body, and what the steps
contribute comes before what a value outside of the loop does."""
STATES = {"h": (2, 5), "c": (2, 5)}


def function(nodes, outputs, inputs):
    return {
        "inputs": {name: {} for name in inputs},
        "nodes": [{"id": name, "op": op, "inputs": operands} for name, (op, operands) in nodes.items()],
        "outputs": outputs,
    }


def states_of(name):
    return [port for port in CELLS[name][1] if port in STATES]


def looped(name, steps, reverse=False, **further):
    """A model with a loop over the cell, and how its outputs are called."""
    nodes, outputs, weights = CELLS[name]
    states = states_of(name)
    inputs = ["x", *states, *weights]
    attributes = {"function": "step", "carry": states, "sequences": ["x"], "axis": 1, "reverse": reverse, **further}
    scan = {"id": "loop", "op": "scan", "inputs": inputs, "attributes": attributes}
    results = {port: "loop" if place == 0 else f"loop:{port}" for place, port in enumerate(outputs)}
    return _model(name, steps, {"step": function(nodes, outputs, inputs)}, [scan], results)


def unrolled(name, steps, reverse=False):
    """The same model with a call of the cell for each step."""
    nodes, outputs, _ = CELLS[name]
    states = states_of(name)
    made, before, results = [], {each: each for each in states}, {port: [] for port in outputs if port not in states}
    for number in range(steps):
        step = steps - 1 - number if reverse else number
        cut = {"axis": 1, "start": step, "stop": step + 1}
        made.append({"id": f"row{number:03}", "op": "slice", "inputs": ["x"], "attributes": cut})
        squeeze = {"op": "squeeze", "inputs": [f"row{number:03}"], "attributes": {"axis": 1}}
        made.append({"id": f"x{number:03}", **squeeze})
        own = {**before, "x": f"x{number:03}"}
        call = f"step{number:03}"
        made += [
            {"id": f"{call}/{node}", "op": op, "inputs": [_renamed(ref, own, call, nodes) for ref in operands]}
            for node, (op, operands) in nodes.items()
        ]
        values = {port: _renamed(value, own, call, nodes) for port, value in outputs.items()}
        before = {each: values[each] for each in states}
        for port, stacked in results.items():
            stacked.insert(0 if reverse else len(stacked), values[port])
    for port, stacked in results.items():
        made.append({"id": f"all_{port}", "op": "stack", "inputs": stacked, "attributes": {"axis": 1}})
    return _model(name, steps, {}, made, {**before, **{port: f"all_{port}" for port in results}})


def _renamed(ref, own, call, nodes):
    node, _, _ = ref.partition(":")
    if node in nodes:
        return f"{call}/{ref}"
    return own.get(ref, ref)


def _model(name, steps, functions, nodes, results):
    weights = {each: {"shape": list(shape)} for each, shape in CELLS[name][2].items()}
    inputs = {"x": {"shape": [2, steps, 3]}, **{each: {"shape": list(STATES[each])} for each in states_of(name)}}
    total = []
    for number, (port, value) in enumerate(results.items(), 2):
        nodes = [*nodes, {"id": f"zz{port}_sq", "op": "square", "inputs": [value]}]
        nodes.append({"id": f"zz{port}_m", "op": "mul", "inputs": [f"zz{port}_sq", number]})
        nodes.append({"id": f"zz{port}", "op": "sum", "inputs": [f"zz{port}_m"]})
        total.append(f"zz{port}")
    nodes = [*nodes, {"id": "loss", "op": "add_n", "inputs": total}]
    content = document(
        {}, {"loss": "loss", **{f"out_{port}": value for port, value in results.items()}}, inputs={**inputs, **weights}
    )
    content |= {"nodes": nodes, "functions": functions, "opset_imports": {"core": 1, "nn": 1}}
    return build_graph(ModelDocument.model_validate(content))


def values_for(name, steps, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"x": (2, steps, 3), **{each: STATES[each] for each in states_of(name)}, **CELLS[name][2]}
    return {each: rng.normal(size=shape) for each, shape in shapes.items()}


def bits(found):
    return {name: np.asarray(value).tobytes() for name, value in found.items()}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_a_loop_has_the_bits_of_the_unrolled_graph(name, reverse):
    values = values_for(name, 7)
    one, other = looped(name, 7, reverse), unrolled(name, 7, reverse)
    assert bits(Plan(one).run(values)) == bits(Plan(other).run(values))
    wanted = [each for each in values if each in one.types]
    gradients = [Plan(ge.gradient(graph, "loss", wanted)).run(values) for graph in (one, other)]
    if name in IN_ANOTHER_ORDER:
        for one, other in zip(*map(dict.values, gradients), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12 * np.abs(other).max())
    else:
        assert bits(gradients[0]) == bits(gradients[1])


@pytest.mark.parametrize("every", [1, 3, 7, 20])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_a_gradient_in_segments_has_the_bits_of_the_whole_one(name, reverse, every):
    values = values_for(name, 7)
    whole, cut = looped(name, 7, reverse), looped(name, 7, reverse, checkpoint_every=every)
    assert bits(Plan(cut).run(values)) == bits(Plan(whole).run(values))
    wanted = [each for each in values if each in whole.types]
    one, other = (Plan(ge.gradient(graph, "loss", wanted)).run(values) for graph in (whole, cut))
    assert bits(one) == bits(other)
    executor = Executor(cut)
    assert bits(executor.backward(executor.forward(values), "loss", wanted)) == bits(
        dict(zip(wanted, other.values(), strict=True))
    )


def trained(every, **limits):
    """A training of an LSTM over 400 steps, and its data."""
    generator, width = np.random.default_rng(0), 16
    shapes = {"a": (4, 3, width), "b": (4, width, width), "u": (4, width), "v": (4, width)}
    nodes = {
        "lstm": ("nn.lstm", ["x", *shapes], {"checkpoint_every": every}),
        "squares": ("square", ["lstm:h"]),
        "loss": ("mean", ["squares"]),
    }
    parameters = {name: generator.normal(size=shape).tolist() for name, shape in shapes.items()}
    settings = {"loss": "loss", "optimizer": {"type": "sgd", "learning_rate": 0.1}, "epochs": 3}
    imports = {"core": 1, "nn": 1}
    content = document(nodes, {"loss": "loss"}, inputs={"x": ["N", "T", 3]}, parameters=parameters, training=settings)
    model = ge.Model.from_dict({**content, "opset_imports": imports}, limits=Limits(**limits))
    return model, {"x": generator.normal(size=(32, 400, 3))}


def test_a_training_in_segments_has_the_same_bits_and_takes_a_fraction_of_the_memory():
    found, peaks = [], []
    for every in (None, 20):
        model, data = trained(every)
        history = model.train(data)
        found.append([*history.losses, *[value.tobytes() for value in model.parameters.values()]])
        tracemalloc.start()
        try:
            model.train(data)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert found[0] == found[1]
    assert peaks[1] < peaks[0] / 3


def test_a_training_that_would_not_fit_computes_values_again_in_segments():
    model, data = trained(None)
    expected = [*model.train(data).losses, *[value.tobytes() for value in model.parameters.values()]]
    limited, data = trained(None, array_bytes=8 * 2**20)
    tracemalloc.start()
    try:
        losses = limited.train(data).losses
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()
    assert [*losses, *[value.tobytes() for value in limited.parameters.values()]] == expected


@pytest.mark.parametrize("every", [None, 20])
def test_a_training_that_does_not_fit_in_segments_is_refused(every):
    model, data = trained(every, array_bytes=2**21)
    with pytest.raises(ge.errors.InputError, match="GE133"):
        model.train(data)


def test_memory_of_a_gradient_is_counted_and_says_how_to_take_less():
    for every, fits in ((None, False), (20, True)):
        model, data = trained(every, array_bytes=8 * 2**20)
        run = model.forward(data)
        if fits:
            run.backward()
        else:
            with pytest.raises(ge.errors.InputError, match=r"GE133.*give the loop 'checkpoint_every'"):
                run.backward()


@pytest.mark.parametrize("name", CELLS)
def test_second_derivatives_of_a_gradient_in_segments_are_those_of_the_whole_one(name):
    values, found = values_for(name, 5), []
    along = {"along_a": np.random.default_rng(1).normal(size=values["a"].shape), "along_x": np.cos(values["x"])}
    for further in ({}, {"checkpoint_every": 2}):
        product = curvature(looped(name, 5, **further), "loss", ["a", "x"], ["along_a", "along_x"])
        found.append(list(Plan(product).run({**values, **along}).values()))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12 * np.abs(other).max())


@pytest.mark.parametrize("name", CELLS)
def test_the_reference_has_the_bits_of_the_plan(name):
    values = values_for(name, 4)
    graph = looped(name, 4)
    executor = Executor(graph)
    slots = executor.forward(values)
    found = executor.backward(slots, "loss", list(values))
    planned = Plan(ge.gradient(graph, "loss", list(values), also=["loss"])).run(values)
    assert bits({"loss": slots[executor.slot_of["loss"]]}) == bits({"loss": planned.pop("loss")})
    assert bits(found) == bits(dict(zip(values, planned.values(), strict=True)))


@pytest.mark.parametrize("name", CELLS)
def test_second_derivatives_equal_those_of_the_unrolled_graph(name):
    values = values_for(name, 4)
    found = []
    for graph in (looped(name, 4), unrolled(name, 4)):
        weights = np.random.default_rng(1).normal(size=values["a"].shape)
        product = curvature(graph, "loss", ["a", "x"], ["along_a", "along_x"])
        along = {"along_a": weights, "along_x": np.cos(values["x"])}
        found.append(list(Plan(product).run({**values, **along}).values()))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12 * np.abs(other).max())


# ---------------------------------------------------------------- what is refused, and where

GROW = function({"p": ("mul", ["h", "w"]), "new": ("tanh", ["p"])}, {"h": "new"}, ["h", "w"])
ADD = function({"new": ("add", ["h", "x"])}, {"h": "new", "y": "new"}, ["h", "x"])


def content(nodes, functions, inputs, **sections):
    return document(nodes, inputs=inputs, functions=functions, **sections)


def problems_of(found, **options):
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.Model.from_dict(found, **options)
    return caught.value.problems


def growing(length, **changes):
    attributes = {"function": "grow", "carry": ["h"], "length": length, **changes}
    return content({"loop": ("scan", ["h", 0.5], attributes)}, {"grow": GROW}, {"h": []})


@pytest.mark.parametrize(
    ("attributes", "code", "message"),
    [
        (
            {"function": "gro"},
            "GE213",
            "node 'loop': attribute of op 'scan': 'function': function 'gro' is not defined",
        ),
        ({"function": None}, "GE213", "node 'loop': attribute of op 'scan': 'function' is missing"),
        (
            {"function": 3},
            "GE213",
            "node 'loop': attribute of op 'scan': 'function' must be the name of a function, not 3",
        ),
        ({"carry": ["g"]}, "GE301", "node 'loop' (scan): the function has no input 'g'; its inputs are h, w"),
        ({"carry": ["h", "h"]}, "GE301", "node 'loop' (scan): input 'h' has two roles; name it once"),
        ({"carry": ["h", "w"]}, "GE301", "node 'loop' (scan): 2 inputs are carried, but the function has 1 outputs"),
        ({"sequences": ["w"]}, "GE301", "node 'loop' (scan): a loop needs either sequences or a 'length'"),
        ({"length": None}, "GE301", "node 'loop' (scan): a loop needs either sequences or a 'length'"),
        ({"length": -1}, "GE213", "node 'loop': attribute of op 'scan': must be greater than or equal to 0, not -1"),
        ({"axes": 1}, "GE213", "node 'loop': attribute of op 'scan': unknown key 'axes'"),
    ],
)
def test_a_loop_that_does_not_fit_is_refused_in_words(attributes, code, message):
    found = growing(3)
    given = {**found["nodes"][0]["attributes"], **attributes}
    found["nodes"][0]["attributes"] = {key: value for key, value in given.items() if value is not None}
    (problem,) = problems_of(found)
    assert (problem.code, problem.node) == (code, "loop")
    assert problem.message.startswith(message)


def test_a_body_that_misfits_is_reported_with_the_function_and_its_node():
    wide = content(
        {"loop": ("scan", ["h", "x"], {"function": "plus", "carry": ["h"], "sequences": ["x"]})},
        {"plus": ADD},
        {"h": [3], "x": ["T", 4]},
    )
    (problem,) = problems_of(wide)
    assert (problem.code, problem.pointer) == ("GE301", "/nodes/0")
    assert problem.message.startswith("node 'loop' (scan): function 'plus': node 'new' (add): shapes (3,) and (4,)")
    grown = copy.deepcopy(wide)
    grown["inputs"]["h"]["shape"] = []
    (problem,) = problems_of(grown)
    expected = "node 'loop' (scan): carry 'h' is float64(), but the function gives float64(4,) for the next step"
    assert problem.message == expected


DECLARED = {
    "inputs": {"h": {"shape": ["N", "H"]}, "x": {"shape": ["N", 3]}, "w": {"trailing_shape": [3], "dtype": "float64"}},
    "nodes": [
        {"id": "y", "op": "mul", "inputs": ["x", "w"]},
        {"id": "new", "op": "add", "inputs": ["h", "y"]},
    ],
    "outputs": {"h": "new"},
}


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({"x": ["T", 2, 1]}, "input 'x' has size 1 in dimension 1; the declared size is 3"),
        ({"h": [3]}, "input 'h' has shape (3,); the declared shape is (N, H)"),
        ({"h": [4, 3]}, "input 'x' has size 2 in dimension 0 (N), but input 'h' makes N 4"),
        ({"w": {"shape": [3], "dtype": "float32"}}, "input 'w' must be float64, not float32"),
    ],
)
@pytest.mark.parametrize("depth", ["loop", "loop in a loop", "call in a loop"])
def test_what_a_function_declares_of_its_inputs_is_checked_where_it_runs(shapes, reason, depth):
    inputs = {"h": [2, 3], "x": ["T", 2, 3], "w": [3], **shapes}
    run = {"function": "inner", "carry": ["h"]}
    function, path = "inner", ""
    functions = {"inner": DECLARED}
    if depth != "loop":
        attributes = {"attributes": {**run, "length": 2}} if depth == "loop in a loop" else {}
        op = "scan" if attributes else "inner"
        node = {"id": "within", "op": op, "inputs": ["h", "x", "w"], **attributes}
        outer = {"inputs": {"h": {}, "x": {}, "w": {}}, "nodes": [node], "outputs": {"h": "within"}}
        functions["outer"], function = outer, "outer"
        path = "node 'within' (scan): function 'inner': " if attributes else "call 'within' of 'inner': "
    nodes = {"loop": ("scan", ["h", "x", "w"], {**run, "function": function, "sequences": ["x"]})}
    (problem,) = problems_of(content(nodes, functions, inputs))
    assert (problem.code, problem.pointer) == ("GE301", "/nodes/0")
    assert problem.message == f"node 'loop' (scan): function '{function}': {path}{reason}"


def test_sequences_of_different_lengths_are_refused():
    nodes = {"loop": ("scan", ["h", "x"], {"function": "plus", "sequences": ["h", "x"]})}
    (problem,) = problems_of(content(nodes, {"plus": ADD}, {"h": ["S"], "x": ["T"]}))
    assert "the sequences have different numbers of steps: 'h' has S, 'x' has T" in problem.message


def test_functions_that_run_each_other_in_a_cycle_are_refused():
    attributes = {"function": "again", "carry": ["h"], "length": 2}
    again = {
        "inputs": {"h": {}},
        "nodes": [{"id": "n", "op": "scan", "inputs": ["h"], "attributes": attributes}],
        "outputs": {"h": "n"},
    }
    problems = problems_of(content({"loop": ("scan", ["h"], attributes)}, {"again": again}, {"h": []}))
    assert [each.code for each in problems] == ["GE215"]


def test_a_function_handed_on_by_an_attribute_may_not_come_back():
    step = {"id": "n", "op": "ode.rk4_step", "inputs": ["y", "t", 0.1], "attributes": {"function": "rates"}}
    rates = {"inputs": {"t": {}, "y": {}}, "nodes": [step], "outputs": {"dy": "n"}}
    nodes = {"z": ("ode.euler_step", ["y", 0.0, 0.1], {"function": "rates"})}
    found = content(nodes, {"rates": rates}, {"y": []}, opset_imports={"core": 1, "ode": 1})
    assert [each.code for each in problems_of(found)] == ["GE215"]


def test_a_random_op_in_a_loop_needs_its_key():
    drop = function({"new": ("dropout", ["h"])}, {"h": "new"}, ["h"])
    nodes = {"loop": ("scan", ["h"], {"function": "drop", "carry": ["h"], "length": 2})}
    (problem,) = problems_of(content(nodes, {"drop": drop}, {"h": [3]}))
    assert problem.code == "GE212"
    assert "needs its 'key'" in problem.message


def test_steps_are_counted_before_anything_runs():
    (problem,) = problems_of(growing(10**12))
    assert (problem.code, problem.node) == ("GE135", "loop")
    assert ge.Model.from_dict(growing(11), limits=ge.Limits(steps=11)).forward(h=1.0)["out"] == pytest.approx(
        0.5**11, rel=0.1
    )
    assert problems_of(growing(12), limits=ge.Limits(steps=11))[0].code == "GE135"


def test_steps_of_loops_within_loops_are_multiplied():
    inner = {"function": "grow", "carry": ["h"], "length": 10**4}
    outer = {
        "inputs": {"h": {}},
        "nodes": [{"id": "n", "op": "scan", "inputs": ["h", 0.5], "attributes": inner}],
        "outputs": {"h": "n"},
    }
    nodes = {"loop": ("scan", ["h"], {"function": "outer", "carry": ["h"], "length": 10**4})}
    (problem,) = problems_of(content(nodes, {"outer": outer, "grow": GROW}, {"h": []}))
    assert "100,010,000 steps" in problem.message


def test_the_steps_of_a_batch_are_counted_when_it_comes():
    nodes = {"loop": ("scan", ["h", "x"], {"function": "plus", "carry": ["h"], "sequences": ["x"]})}
    model = ge.Model.from_dict(content(nodes, {"plus": ADD}, {"h": [], "x": ["T"]}), limits=ge.Limits(steps=100))
    assert model.forward(h=0.0, x=np.ones(100))["out"] == 100
    with pytest.raises(ge.errors.InputError) as caught:
        model.forward(h=0.0, x=np.ones(101))
    assert caught.value.problems[0].code == "GE135"


def test_memory_of_what_all_steps_give_is_counted():
    nodes = {"loop": ("scan", ["h", "x"], {"function": "plus", "carry": ["h"], "sequences": ["x"]})}
    model = ge.Model.from_dict(
        content(nodes, {"plus": ADD}, {"h": [1000], "x": ["T", 1]}), limits=ge.Limits(array_bytes=10**6)
    )
    model.forward(h=np.zeros(1000), x=np.ones((100, 1)))
    with pytest.raises(ge.errors.InputError) as caught:
        model.forward(h=np.zeros(1000), x=np.ones((200, 1)))
    assert caught.value.problems[0].code == "GE133"


def test_stacked_results_beyond_the_limit_are_reported_with_their_loop():
    row = {"p": ("mul", ["h", "x"]), "ones": ("ones_like", ["w"]), "y": ("mul", ["p", "ones"])}
    wide = function(row, {"h": "p", "y": "y"}, ["h", "x", "w"])
    nodes = {"loop": ("scan", [1.0, "x", "w"], {"function": "wide", "carry": ["h"], "length": 10**5})}
    (problem,) = problems_of(content(nodes, {"wide": wide}, {"x": [], "w": [10_000]}))
    assert (problem.code, problem.pointer) == ("GE133", "/nodes/0")
    assert "node 'loop' (scan), float64(100000, 10000)" in problem.message


def test_a_body_of_a_thousand_nodes_runs_ten_thousand_steps():
    nodes = {"n0": ("mul", ["h", 0.999])} | {
        f"n{k}": ("add", [f"n{k - 1}", "x" if k % 100 == 0 else 1e-6]) for k in range(1, 1000)
    }
    body = function(nodes, {"h": "n999"}, ["h", "x"])
    loop = {"loop": ("scan", ["h", "x"], {"function": "body", "carry": ["h"], "sequences": ["x"]})}
    model = ge.Model.from_dict(content(loop, {"body": body}, {"h": [], "x": ["T"]}))
    x = np.linspace(0, 1e-3, 10_000)
    expected = 0.0
    for each in x:
        expected = 0.999 * expected + 9 * each + 990e-6
    run = model.forward(h=0.0, x=x)
    assert run["out"] == pytest.approx(expected, rel=1e-9)
    assert run.backward(of="out", wrt=["x"])["x"][-1] == pytest.approx(9)


# ---------------------------------------------------------------- files, pickles, choices


def test_the_gradient_of_a_loop_is_a_file_like_any_other(tmp_path):
    graph = looped("lstm", 5)
    gradient = ge.gradient(graph, "loss", ["a", "x"], also=["loss"])
    assert [node.op for node in gradient.nodes].count("scan") == 2
    gradient.save(tmp_path / "g.json")
    loaded = ge.load(tmp_path / "g.json")
    loaded.save(tmp_path / "one.json")
    ge.load(tmp_path / "one.json").save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "one.json").read_bytes()
    values = values_for("lstm", 5)
    assert bits(Plan(gradient).run(values)) == bits(Plan(loaded.graph).run(values))
    assert len(json.loads((tmp_path / "g.json").read_text())["functions"]) == 2


def test_a_pickle_of_a_loop_is_the_loop():
    graph = ge.gradient(looped("gru", 3), "loss", ["a"])
    copied = pickle.loads(pickle.dumps(graph))
    assert [node.node for node in copied.nodes] == [node.node for node in graph.nodes]
    values = values_for("gru", 3)
    assert bits(Plan(copied).run(values)) == bits(Plan(graph).run(values))


def test_a_change_in_the_body_is_another_model():
    one, other = growing(3), copy.deepcopy(growing(3))
    other["functions"]["grow"]["nodes"][1]["op"] = "sin"
    models = [ge.Model.from_dict(each) for each in (one, other)]
    assert models[0].fingerprint != models[1].fingerprint
    (difference,) = differences(*[each.document for each in models])
    assert difference.path == ("functions", "grow", "nodes", "new", "op")


def test_only_the_chosen_function_of_a_choice_runs_and_passes_a_gradient():
    ran = []

    @ge.register("test.seen")
    class Seen(ge.Node):
        def forward(self, x):
            ran.append(float(x))
            return x * 1.0

        def infer(self, x):
            return x

        def backward(self, grad):
            return grad

    half = function({"s": ("test.seen", ["x"]), "z": ("mul", ["s", 0.5])}, {"z": "z"}, ["x"])
    root = function({"z": ("sqrt", ["x"])}, {"z": "z"}, ["x"])
    nodes = {"large": ("greater", ["x", 1.0]), "z": ("cond", ["large", "x"], {"then": "root", "otherwise": "half"})}
    model = ge.Model.from_dict(
        content(nodes, {"half": half, "root": root}, {"x": []}, opset_imports={"core": 1, "test": 1})
    )
    for _ in range(3):
        run = model.forward(x=4.0)
        assert run["out"] == 2.0
        assert run.backward(of="out", wrt=["x"])["x"] == 0.25
        assert not ran
        run = model.forward(x=-4.0)  # the square root of which does not exist
        assert run["out"] == -2.0
        assert run.backward(of="out", wrt=["x"])["x"] == 0.5
        assert ran
        ran.clear()


def test_functions_of_a_choice_that_give_other_types_are_refused():
    one = function({"z": ("sum", ["x"])}, {"z": "z"}, ["x"])
    other = function({"z": ("neg", ["x"])}, {"z": "z"}, ["x"])
    nodes = {"c": ("any", ["x"]), "z": ("cond", ["c", "x"], {"then": "one", "otherwise": "other"})}
    (problem,) = problems_of(content(nodes, {"one": one, "other": other}, {"x": [3]}))
    assert "both functions must return the same types, not float64() and float64(3,)" in problem.message


def test_show_has_the_function_of_a_loop_once():
    reported = json.loads(CliRunner().invoke(app, ["show", "lotka_volterra", "--format", "json"]).output)
    assert sorted(each["name"] for each in reported["functions"]) == ["step", "year"]
    text = CliRunner().invoke(app, ["show", "lotka_volterra"]).output
    assert text.count("function step(y, t, h, birth, hunt, feed, death) -> y=new_y, t=new_t") == 1
    assert text.count("function year(") == 1


def test_a_product_with_the_jacobian_of_a_loop_computes_no_gradient_that_it_does_not_read():
    body = function(
        {"product": ("mul", ["h", "w"]), "bent": ("tanh", ["product"]), "new": ("add", ["bent", "x"])},
        {"h": "new", "each": "new"},
        ["h", "x", "w"],
    )
    attributes = {"function": "step", "carry": ["h"], "sequences": ["x"]}
    nodes = {"loop": ("scan", ["h", "x", "w"], attributes)}
    inputs = {"h": [3], "x": ["T", 3], "w": [3]}
    model = ge.Model.from_dict(document(nodes, {"each": "loop:each"}, inputs=inputs, functions={"step": body}))
    graph = model.graph.with_sizes({"T": 5})
    tangent = directional(graph, "loop:each", ["w"], "weight", ["along"])
    plan = optimize_trimmed(tangent)
    loops = [node.node for node in plan.nodes if node.op == "scan"]
    assert [loop.carry for loop in loops] == [("h",), (), ("d_d_h", "d_sum_w")]  # the second one carries no gradient
    generator = np.random.default_rng(0)
    values = {name: generator.normal(size=[5 if size == "T" else size for size in inputs[name]]) for name in inputs}
    along, step = generator.normal(size=3), 1e-6
    (found,) = Plan(tangent).run({**values, "weight": np.zeros((5, 3)), "along": along}).values()
    sides = [model.forward({**values, "w": values["w"] + sign * step * along})["each"] for sign in (1, -1)]
    np.testing.assert_allclose(found, (sides[0] - sides[1]) / (2 * step), rtol=1e-7, atol=1e-9)
