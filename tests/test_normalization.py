"""Batch normalization and dropout in a file: training moves the statistics and drops values, inference does neither."""

import numpy as np
import pytest
from documents import document, problem_of, training

import graphengine as ge

RNG = np.random.default_rng(0)
X = 3 + 2 * RNG.normal(size=(64, 2))
Y = X @ [1.0, -2.0] + 0.5

NODES = {
    "norm": ("batch_norm", ["x", "scale", "bias", "mean", "var"]),
    "kept": ("dropout", ["norm"], {"p": 0.25}),
    "y_hat": ("matmul", ["kept", "w"]),
    "loss": ("mse", ["y_hat", "y"]),
}
STATE = {
    "mean": {"shape": [2], "initializer": {"type": "zeros"}, "update": "norm:new_mean"},
    "var": {"shape": [2], "initializer": {"type": "ones"}, "update": "norm:new_var"},
}


def normalized_regression():
    return ge.Model.from_dict(
        document(
            NODES,
            {"loss": "loss", "prediction": "y_hat"},
            inputs={"x": ["N", 2], "y": ["N"]},
            parameters={"scale": np.ones(2), "bias": np.zeros(2), "w": np.array([0.5, 0.5])},
            state=STATE,
            training=training(learning_rate=0.05),
        )
    )


def trained(**keys):
    model = normalized_regression()
    model.train(data={"x": X, "y": Y}, **keys)
    return model


def test_training_moves_the_statistics_to_those_of_the_data():
    state = trained(epochs=200).values
    np.testing.assert_allclose(state["mean"], X.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(state["var"], X.var(axis=0), rtol=1e-6)


def test_inference_normalises_with_the_statistics_and_drops_nothing():
    model = trained(epochs=200)
    scale, bias, w = (model.parameters[name] for name in ("scale", "bias", "w"))
    unit = (X[:1] - model.values["mean"]) / np.sqrt(model.values["var"] + 1e-5)
    np.testing.assert_allclose(model.predict(x=X[:1])["prediction"], (unit * scale + bias) @ w, rtol=1e-12)


def test_every_iteration_drops_other_values_and_every_training_with_the_seed_the_same():
    one, two = trained(epochs=2), trained(epochs=2)
    np.testing.assert_array_equal(one.parameters["w"], two.parameters["w"])
    other = trained(epochs=2, seed=1)
    assert not np.array_equal(one.parameters["w"], other.parameters["w"])


@pytest.mark.parametrize(
    ("declared", "said"),
    [({"shape": [3]}, "mean must be float64(2,)"), ({"shape": [2], "dtype": "float32"}, "mean must be float64(2,)")],
)
def test_statistics_of_another_shape_or_dtype_are_refused(declared, said):
    nodes = {"norm": ("batch_norm", ["x", "v", "v", "mean", "v"])}
    problem = problem_of(document(nodes, inputs={"x": ["N", 2], "v": [2], "mean": declared}))
    assert problem.code == "GE301"
    assert said in problem.message


@pytest.mark.parametrize("declared", [{"shape": [2]}, {"shape": [3], "dtype": "uint64"}])
def test_a_key_that_is_none_is_refused(declared):
    problem = problem_of(document({"kept": ("dropout", ["x", "key"])}, inputs={"x": ["N"], "key": declared}))
    assert problem.code == "GE301"
    assert "a key must have type uint64(2,)" in problem.message
