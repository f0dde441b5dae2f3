"""A training on one sample at a time computes with numbers, and gives the bits of arrays of one number."""

import numpy as np
import pytest
from documents import document, linreg, parameter, training

import graphengine as ge
from graphengine.backends.numpy.plan import Plan
from graphengine.transform.passes import optimize
from graphengine.transform.single import with_single_numbers

GENERATOR = np.random.default_rng(4)
X = GENERATOR.normal(size=40)
DATA = {"x": X, "y": 3 * X + GENERATOR.normal(size=40)}


def step_of(model, size):
    return optimize(model.training_step(batch_size=1).graph.with_sizes({"N": size}), exact=False)


def trained(content, data, *, reference=False, **keys):
    model = ge.Model.from_dict(content)
    trainer = model.trainer(data, **keys)
    trainer.stepper.reference = reference
    for _ in trainer.chunks():
        pass
    return {name: value.tobytes() for name, value in model.parameters.items()}, [
        row.loss for row in trainer.history.epochs
    ]


def test_the_step_of_a_regression_on_one_sample_has_no_arrays():
    model = ge.Model.from_dict(linreg(training=training()))
    graph = with_single_numbers(step_of(model, 1))
    assert {graph.types[node.id].shape for node in graph.nodes} == {()}
    assert graph.inputs["x"].type.shape == ()
    assert "matmul" not in {node.op for node in graph.nodes}


def test_a_batch_of_two_stays_as_it_is():
    graph = step_of(ge.Model.from_dict(linreg(training=training())), 2)
    assert with_single_numbers(graph) is graph


def test_one_sample_at_a_time_is_the_textbook_loop_to_the_last_bit():
    theta, rate = 0.0, 0.05
    for _ in range(3):
        for x, y in zip(DATA["x"].tolist(), DATA["y"].tolist(), strict=True):
            theta -= rate * (-2 * x * (y - theta * x))
    content = linreg(training=training(learning_rate=rate, epochs=3))
    values, _ = trained(content, DATA, batch_size=1)
    assert np.frombuffer(values["theta"])[0] == pytest.approx(theta, rel=1e-14)


@pytest.mark.parametrize("size", [1, 3, 13])
@pytest.mark.parametrize("shuffle", [False, True])
def test_numbers_give_the_bits_of_the_reference(size, shuffle):
    """40 samples in batches of 3 and 13 leave a last batch of one sample."""
    content = linreg(training=training(epochs=4))
    keys = {"batch_size": size, "shuffle": shuffle}
    (found, losses), (expected, means) = trained(content, DATA, **keys), trained(content, DATA, reference=True, **keys)
    np.testing.assert_allclose(np.frombuffer(found["theta"]), np.frombuffer(expected["theta"]), rtol=1e-13)
    np.testing.assert_allclose(losses, means, rtol=1e-13)
    if size == 1:
        assert found == expected


def test_data_of_one_sample_is_trained_on():
    one = {"x": np.array([2.0]), "y": np.array([6.0])}
    values, losses = trained(linreg(training=training(epochs=2)), one)
    theta = 0.0
    for _ in range(2):
        theta += 0.1 * 2 * 2.0 * (6.0 - theta * 2.0)
    assert np.frombuffer(values["theta"])[0] == theta
    assert losses[0] == 36.0


CASES = {
    "a parameter that is a vector of one number": (
        document(
            {"wx": ("mul", ["w", "x"]), "e": ("sub", ["y", "wx"]), "s": ("square", ["e"]), "loss": ("mean", ["s"])},
            inputs={"x": ["N"], "y": ["N"]},
            parameters={"w": parameter([1.0])},
            training=training(),
        )
        | {"parameters": {"w": {"shape": [1], "initializer": {"type": "ones"}}}},
        DATA,
    ),
    "a step that looks at more than numbers": (
        document(
            {
                "column": ("expand_dims", ["x"], {"axis": 1}),
                "row": ("expand_dims", ["y"], {"axis": 0}),
                "outer": ("matmul", ["column", "row"]),
                "scaled": ("mul", ["theta", "outer"]),
                "s": ("square", ["scaled"]),
                "loss": ("mean", ["s"]),
            },
            inputs={"x": ["N"], "y": ["N"]},
            parameters={"theta": parameter(1.0)},
            training=training(),
        ),
        DATA,
    ),
    "labels that are integers": (
        document(
            {"ax": ("mul", ["theta", "x"]), "e": ("sub", ["ax", "k"]), "s": ("square", ["e"]), "loss": ("mean", ["s"])},
            inputs={"x": ["N"], "k": {"shape": ["N"], "dtype": "int64"}},
            parameters={"theta": parameter(1.0)},
            training=training(),
        ),
        {"x": X, "k": np.arange(40)},
    ),
    "a function that Python has": (
        document(
            {
                "ax": ("mul", ["theta", "x"]),
                "t": ("tanh", ["ax"]),
                "e": ("sub", ["t", "y"]),
                "a": ("abs", ["e"]),
                "loss": ("mean", ["a"]),
            },
            inputs={"x": ["N"], "y": ["N"]},
            parameters={"theta": parameter(0.5)},
            training=training(),
        ),
        DATA,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_has_no_such_form_trains_as_before(case):
    content, data = CASES[case]
    keys = {"batch_size": 1, "epochs": 2}
    (found, _), (expected, _) = trained(content, data, **keys), trained(content, data, reference=True, **keys)
    for name, value in expected.items():
        np.testing.assert_allclose(np.frombuffer(found[name]), np.frombuffer(value), rtol=1e-12)


def test_a_plan_takes_arrays_of_one_number_for_its_numbers():
    model = ge.Model.from_dict(linreg(training=training()))
    step = model.training_step(batch_size=1)
    plan = Plan(step.graph.with_sizes({"N": 1}), exact=False, carried=step.carried)
    assert plan.floats >= {"x", "y"}
    values = {"x": np.array([2.0]), "y": np.array([6.0]), "theta": np.float64(0.0), "learning_rate": 0.1}
    assert plan.run(values)["loss"] == 36.0


def test_an_input_that_is_a_vector_of_one_number_is_trained_on_sample_by_sample():
    content = document(
        {"ax": ("mul", ["theta", "x"]), "e": ("sub", ["ax", 3.0]), "s": ("square", ["e"]), "loss": ("sum", ["s"])},
        inputs={"x": [1]},
        parameters={"theta": parameter(1.0)},
        training=training(epochs=2),
    )
    data = {"x": X[:, None]}
    found, losses = trained(content, data, batch_size=1)
    expected, means = trained(content, data, batch_size=1, reference=True)
    assert found == expected
    np.testing.assert_allclose(losses, means, rtol=1e-13)
