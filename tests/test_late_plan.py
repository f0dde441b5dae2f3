"""A long training step on numbers is walked before it has a plan, and nodes that differ in literals share their code.

Neither shows in a bit: the results are those of Python's floats, of NumPy, and of the reference executor.
"""

import itertools
import math

import numpy as np
import pytest
from documents import document
from hypothesis import given
from hypothesis import strategies as st

import graphengine as ge
from graphengine.backends.numpy.late import WALKS, LatePlan
from graphengine.backends.numpy.plan import Plan

ROUNDS = 2 * WALKS + 3
LENGTH = 150


def recurrence(length=LENGTH):
    """v -> 0.99 v + theta, `length` times from x, and the squared distance to y."""
    nodes, value = {}, "x"
    for index in range(length):
        nodes[f"m{index}"] = ("mul", [value, 0.99])
        nodes[f"a{index}"] = ("add", [f"m{index}", "theta"])
        value = f"a{index}"
    nodes |= {"error": ("sub", [value, "y"]), "loss": ("square", ["error"])}
    return document(nodes, {"loss": "loss"}, inputs={"x": [], "y": []}, parameters={"theta": 0.5})


def train(model, iterations=ROUNDS, reference=False):
    data = {"x": np.array(1.0), "y": np.array(3.0)}
    trainer = model.trainer(data, loss="loss", optimizer={"type": "sgd", "learning_rate": 1e-5}, epochs=iterations)
    trainer.stepper.reference = reference
    return [row.loss for row in trainer.iterate()], trainer


def by_hand(iterations=ROUNDS, x=1.0, y=3.0, theta=0.5, rate=1e-5):
    losses = []
    for _ in range(iterations):
        value, slope = x, 0.0
        for _ in range(LENGTH):
            value, slope = 0.99 * value + theta, 0.99 * slope + 1
        losses.append((value - y) ** 2)
        theta -= rate * 2 * (value - y) * slope
    return losses, theta


def test_a_long_step_on_numbers_trains_as_by_hand_before_and_after_it_has_a_plan():
    model = ge.Model.from_dict(recurrence())
    losses, trainer = train(model)
    (program,) = trainer.stepper._plans.values()
    assert isinstance(program, LatePlan)
    assert isinstance(vars(program)["plan"], Plan)
    expected, theta = by_hand()
    np.testing.assert_allclose(losses, expected, rtol=1e-9)
    np.testing.assert_allclose(model.parameters["theta"], theta, rtol=1e-11)


@pytest.mark.parametrize("iterations", [1, WALKS, WALKS + 1, ROUNDS])
def test_the_bits_of_a_training_do_not_depend_on_who_runs_it(iterations):
    walked, referred = ge.Model.from_dict(recurrence()), ge.Model.from_dict(recurrence())
    assert train(walked, iterations)[0] == train(referred, iterations, reference=True)[0]
    assert walked.parameters["theta"].tobytes() == referred.parameters["theta"].tobytes()
    assert type(walked.parameters["theta"]) is type(referred.parameters["theta"])


def test_a_training_that_is_resumed_without_a_plan_has_the_bits_of_one_that_had_it():
    whole, parts = ge.Model.from_dict(recurrence()), ge.Model.from_dict(recurrence())
    losses, _ = train(whole)
    again = [train(parts, WALKS + 2)[0], train(parts, ROUNDS - WALKS - 2)[0]]
    assert losses == list(itertools.chain(*again))


def test_a_graph_with_an_array_or_another_dtype_has_a_plan_at_once():
    for change in ({"x": {"shape": [2]}}, {"x": {"shape": [], "dtype": "float32"}}):
        content = recurrence()
        content["inputs"] |= change
        content["nodes"] += [{"id": "mean", "op": "mean", "inputs": ["loss"]}]
        model = ge.Model.from_dict({**content, "outputs": {"loss": "mean"}})
        x = np.ones(change["x"]["shape"], change["x"].get("dtype", "float64"))
        trainer = model.trainer(
            {"x": x, "y": 3.0}, loss="loss", optimizer={"type": "sgd", "learning_rate": 1e-9}, epochs=1
        )
        list(trainer.iterate())
        (program,) = trainer.stepper._plans.values()
        assert isinstance(program, Plan)


# ---------------------------------------------------------------- literals and known numbers

NUMBERS = [0.0, -0.0, 1.0, -1.0, 0, 1, 2, 0.5, 2.5, 1e308, -1e308, 5e-324, 3.0]
FUNCTIONS = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}


def bits(values):
    """The bits, with one for all that is no number."""
    return [None if math.isnan(value) else np.float64(value).tobytes() for value in values]


@given(st.lists(st.tuples(st.sampled_from(sorted(FUNCTIONS)), st.sampled_from(NUMBERS), st.booleans()), min_size=1))
def test_literals_of_nodes_alike_are_not_mixed_up(drawn):
    operands = [[number, "x"] if first else ["x", number] for _, number, first in drawn]
    nodes = {f"n{place}": (op, operands[place]) for place, (op, _, _) in enumerate(drawn)}
    model = ge.Model.from_dict(document(nodes, {name: name for name in nodes}, inputs={"x": []}))
    for x in (0.1, -0.0, math.inf):
        found = Plan(model.graph).run({"x": np.float64(x)})
        with np.errstate(all="ignore"):
            expected = [
                FUNCTIONS[op](*[np.float64(x) if each == "x" else float(each) for each in pair])
                for (op, _, _), pair in zip(drawn, operands, strict=True)
            ]
        assert bits(found[name] for name in nodes) == bits(expected)


@given(
    st.lists(
        st.tuples(*[st.sampled_from(sorted(FUNCTIONS))] * 2, *[st.sampled_from([float(x) for x in NUMBERS])] * 2),
        min_size=1,
        max_size=12,
    )
)
def test_numbers_that_are_known_are_computed_as_numpy_does(drawn):
    nodes, expected = {}, []
    for place, (inner, outer, one, two) in enumerate(drawn):
        nodes[f"a{place}"] = ("constant", [], {"value": one})
        nodes[f"b{place}"] = (inner, [f"a{place}", two])
        nodes[f"c{place}"] = (outer, ["x", f"b{place}"])
        with np.errstate(all="ignore"):
            expected.append(FUNCTIONS[outer](np.float64(0.1), FUNCTIONS[inner](np.float64(one), two)))
    outputs = {name: name for name in nodes if name[0] == "c"}
    graph = ge.Model.from_dict(document(nodes, outputs, inputs={"x": []})).graph
    plan = Plan(graph)
    assert bits(plan.run({"x": np.float64(0.1)}).values()) == bits(expected)
    assert not {call.output for call in plan.instructions} & {name for name in nodes if name[0] in "ab"}


def test_a_known_number_that_nothing_reads_takes_no_node():
    nodes = {f"n{place}": ("mul", ["c" if not place else f"n{place - 1}", 1.5]) for place in range(20)}
    nodes = {"c": ("constant", [], {"value": 2.0}), **nodes, "out": ("add", ["x", "n19"])}
    graph = ge.Model.from_dict(document(nodes, {"out": "out"}, inputs={"x": []})).graph
    optimized = Plan(graph).graph
    assert [node.op for node in optimized.nodes] == ["constant", "add"]
    assert optimized.nodes[0].node.value == 2 * 1.5**20
