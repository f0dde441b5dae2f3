"""Loops over few numbers on Python floats: the bits of the reference executor, and where they are used."""

import random

import numpy as np
import pytest
from documents import document
from hypothesis import given, settings
from hypothesis import strategies as st
from test_numba_scans import BODIES, loops_of, values_of
from test_numba_scans import looped as looped_body
from test_same_bits import bits

import graphengine as ge
from graphengine.backends.numpy.plan import Plan
from graphengine.backends.reference.executor import Executor


def referred(graph, values):
    executor = Executor(graph)
    slots = executor.forward(values)
    return {name: bits(slots[executor.slot_of[value]]) for name, value in graph.outputs.items()}


def checked(graph, values):
    """The loops of a plan, which has the bits of the reference executor."""
    plan = Plan(graph)
    for _ in range(2):
        found = {name: bits(value) for name, value in plan.run(values).items()}
        assert found == referred(graph, values)
    return [each for each in plan.instructions if each.function in loops_of(plan)]


def on_floats(graph, values):
    """Whether each of the outer loops runs on Python floats."""
    return [each.function.on_floats is not None for each in checked(graph, values)]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", BODIES)
def test_a_loop_on_floats_has_the_bits_of_the_reference(name, reverse):
    graph = looped_body(name, reverse=reverse)
    gradient = ge.gradient(graph, of="loss", wrt=["h", "x", "a"], also=["y"])
    has_arrays = BODIES[name][0] != ()
    for each in (graph, gradient):
        assert on_floats(each, values_of(graph)) == [has_arrays] * (1 if each is graph else 2)


# ---------------------------------------------------------------- loops within loops

DAYS, PARTS = 5, 3
SCAN = {"function": "part", "carry": ["h"], "axis": 0}


def function(inputs, nodes, outputs):
    made = [
        {"id": name, "op": op, "inputs": of, **({"attributes": given[0]} if given else {})}
        for name, (op, of, *given) in nodes.items()
    ]
    return {"inputs": {name: {} for name in inputs}, "nodes": made, "outputs": outputs}


PART = function(
    ["h", "x", "a"],
    {
        "still": ("square", ["a"]),
        "p": ("mul", ["h", "still"]),
        "q": ("mul", ["p", "x"]),
        "new": ("add", ["q", "x"]),
    },
    {"h": "new", "y": "q"},
)
TWICE = function(
    ["h", "x", "a"],
    {"t": ("mul", ["x", "h"]), "new": ("sub", ["t", "a"])},
    {"h": "new", "y": "t"},
)
DAY_NODES = {
    "a row for each part": {
        "all": ("scan", ["h", "x", "a"], {**SCAN, "sequences": ["x"]}),
        "y": ("neg", ["all"]),
    },
    "reversed parts": {
        "all": ("scan", ["h", "x", "a"], {**SCAN, "sequences": ["x"], "reverse": True}),
        "y": ("square", ["all:y"]),
    },
    "a list of all parts": {
        "all": ("scan", ["h", "x", "a"], {**SCAN, "sequences": ["x"]}),
        "y": ("reshape", ["all:y"], {"shape": [PARTS, 2, 1]}),
    },
    "no sequence": {
        "first": ("slice", ["x"], {"axis": 0, "start": 0, "stop": 1}),
        "one": ("squeeze", ["first"], {"axis": 0}),
        "all": ("scan", ["h", "one", "a"], {**SCAN, "length": PARTS}),
        "y": ("add", ["all", "one"]),
    },
    "one loop after the other": {
        "before": ("scan", ["h", "x", "a"], {**SCAN, "sequences": ["x"], "reverse": True}),
        "all": ("scan", ["before", "before:y", "a"], {**SCAN, "function": "twice", "sequences": ["x"]}),
        "y": ("add", ["all", "h"]),
    },
}


def nested(name, *, reverse, days=DAYS):
    """A graph with a loop within a loop, with the slopes of a sum of its results."""
    outputs = {"h": "all", "y": "y", "rows": "all:y"}
    functions = {
        "part": PART,
        "twice": TWICE,
        "day": function(["h", "x", "a"], DAY_NODES[name], outputs),
    }
    attributes = {"function": "day", "carry": ["h"], "sequences": ["x"], "axis": 0, "reverse": reverse}
    nodes = {
        "loop": ("scan", ["h", "x", "a"], attributes),
        "squares": ("square", ["loop:y"]),
        "cubes": ("mul", ["loop:rows", "loop:rows"]),
        "one": ("sum", ["squares"]),
        "two": ("sum", ["cubes"]),
        "last": ("sum", ["loop"]),
        "some": ("add", ["one", "two"]),
        "loss": ("add", ["some", "last"]),
    }
    inputs = {"h": [2], "x": [days, PARTS, 2], "a": []}
    outputs = {"loss": "loss", "y": "loop:y", "rows": "loop:rows"}
    return ge.Model.from_dict({**document(nodes, outputs, inputs=inputs), "functions": functions}).graph


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", DAY_NODES)
def test_loops_within_loops_have_the_bits_of_the_reference(name, reverse):
    graph = nested(name, reverse=reverse)
    values = values_of(graph)
    gradient = ge.gradient(graph, of="loss", wrt=["h", "x", "a"], also=["y", "rows"])
    assert on_floats(graph, values) == [True]
    assert on_floats(gradient, values) == [True, True]
    second = ge.gradient(gradient, of="d_loss/d_a", wrt=["h", "a"])
    assert all(on_floats(second, values))


def test_a_loop_of_no_steps_gives_what_it_got():
    graph = nested("a row for each part", reverse=True, days=0)
    values = values_of(graph)
    assert on_floats(ge.gradient(graph, of="loss", wrt=["h", "x"], also=["y", "rows"]), values) == [True, True]


@pytest.mark.parametrize(
    ("kind", "nodes"),
    [
        ({"shape": [40]}, {"p": ("mul", ["h", "a"]), "new": ("add", ["p", "x"])}),
        ({"shape": [20]}, {"p": ("mul", ["h", "a"]), "new": ("add", ["p", "x"])}),
        ({"shape": [2], "dtype": "float32"}, {"p": ("mul", ["h", "a"]), "new": ("add", ["p", "x"])}),
        ({"shape": [2, 2]}, {"p": ("matmul", ["h", "x"]), "new": ("mul", ["p", "a"])}),
        ({"shape": [9]}, {"p": ("sum", ["h"]), "new": ("add", ["p", "x"])}),
    ],
)
def test_what_has_other_bits_or_many_numbers_stays_with_numpy(kind, nodes):
    made = function(["h", "x", "a"], nodes, {"h": "new", "y": "p"})
    scan = {"function": "step", "carry": ["h"], "sequences": ["x"], "axis": 0}
    nodes = {"loop": ("scan", ["h", "x", "a"], scan)}
    inputs = {"h": kind, "x": {**kind, "shape": [DAYS, *kind["shape"]]}, "a": {**kind, "shape": []}}
    content = document(nodes, {"h": "loop", "y": "loop:y"}, inputs=inputs)
    graph = ge.Model.from_dict({**content, "functions": {"step": made}}).graph
    values = {name: value.astype(graph.types[name].dtype) for name, value in values_of(graph).items()}
    assert on_floats(graph, values) == [False]


# ---------------------------------------------------------------- loops of any kind

OPS = {"add": 2, "sub": 2, "mul": 2, "div": 2, "neg": 1, "square": 1, "sqrt": 1, "abs": 1, "where": 3, "stack": 2}


def any_nodes(choose, names, count):
    """Nodes on numbers and pairs, the last of them a pair for the next step."""
    shapes, nodes = dict(names), {}
    for number in range(count):
        op = choose.choice(list(OPS))
        scalars = [name for name, shape in shapes.items() if shape == ()]
        pool = scalars if op == "stack" else list(shapes)
        operands = [choose.choice(pool) for _ in range(min(OPS[op], 2))]
        shape = (2,) if op == "stack" else max((shapes[name] for name in operands), key=len)
        if op == "where":
            nodes[f"is{number}"] = ("less", operands)
            operands = [f"is{number}", *operands]
        nodes[f"n{number}"] = (op, operands)
        shapes[f"n{number}"] = shape
    pair = choose.choice([name for name, shape in shapes.items() if shape == (2,) and name != "x"])
    return {**nodes, "end": ("add", [pair, "x"])}


def random_graph(seed):
    """A loop with another inside, of random nodes, and a sum of what they give."""
    choose = random.Random(seed)
    sequences = choose.choice([["x"], []])
    scan = {"carry": ["h"], "axis": 0, "reverse": choose.random() < 0.5}
    inner = {**scan, "function": "part", **({"sequences": sequences} if sequences else {"length": PARTS})}
    part = any_nodes(choose, {"h": (2,), "x": (2,), "a": (), "b": (2,)}, choose.randint(2, 8))
    day = {
        "one": ("slice", ["x"], {"axis": 0, "start": 1, "stop": 2}),
        "first": ("squeeze", ["one"], {"axis": 0}),
        "loop": ("scan", ["h", "x" if sequences else "first", "a", "first"], inner),
        "both": ("mul", ["loop", "first"]),
    }
    functions = {
        "part": function(["h", "x", "a", "b"], part, {"h": "end", "y": choose.choice([*part])}),
        "day": function(["h", "x", "a"], day, {"h": "both", "rows": "loop:y"}),
    }
    outer = {**scan, "function": "day", "sequences": ["x"]}
    nodes = {"days": ("scan", ["h", "x", "a"], outer), "loss": ("sum", ["days"])}
    inputs = {"h": [2], "x": [DAYS, PARTS, 2], "a": []}
    content = document(nodes, {"loss": "loss", "rows": "days:rows"}, inputs=inputs)
    return ge.Model.from_dict({**content, "functions": functions}).graph


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_random_loops_have_the_bits_of_the_reference(seed):
    graph = random_graph(seed)
    values = values_of(graph, seed)
    with np.errstate(all="ignore"):
        checked(graph, values)
        checked(ge.gradient(graph, of="loss", wrt=["h", "x", "a"], also=["rows"]), values)
