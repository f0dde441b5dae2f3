"""Loops: a `scan` has the values and the gradients of the unrolled graph, to the last bit, and refuses what misfits."""

import numpy as np
import pytest
from documents import document

import graphengine as ge
from graphengine.backends.numpy.plan import Plan
from graphengine.backends.reference.executor import Executor
from graphengine.format.building import build_graph
from graphengine.format.documents import ModelDocument
from graphengine.transform.directional import curvature

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


def looped(name, steps, reverse=False):
    """A model with a loop over the cell, and how its outputs are called."""
    nodes, outputs, weights = CELLS[name]
    states = states_of(name)
    inputs = ["x", *states, *weights]
    attributes = {"function": "step", "carry": states, "sequences": ["x"], "axis": 1, "reverse": reverse}
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
