"""Differential equations in loops: their steps, fits of their parameters, a network as a right-hand side."""

from functools import partial

import numpy as np
import pytest
from documents import document
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares

import graphengine as ge
from graphengine.fit.requests import Request

IMPORTS = {"core": 1, "nn": 1, "ode": 1}


def function(inputs, nodes, outputs):
    made = [
        {"id": name, "op": op, "inputs": operands, "attributes": rest[0] if rest else {}}
        for name, (op, operands, *rest) in nodes.items()
    ]
    return {"inputs": {name: {} for name in inputs}, "nodes": made, "outputs": outputs}


def solved(rates, method, inputs, constants, steps):
    """A model that solves dy/dt = rates(t, y, ...) from t = 0 in steps of the input h; its loss is the sum of y."""
    step = function(
        ["y", "t", "h", *constants],
        {"new": (f"ode.{method}", ["y", "t", "h", *constants], {"function": "rates"}), "later": ("add", ["t", "h"])},
        {"y": "new", "t": "later"},
    )
    loop = {"function": "step", "carry": ["y", "t"], "length": steps}
    nodes = {"z": ("scan", ["y", 0.0, "h", *constants], loop), "loss": ("sum", ["z"])}
    given = {"y": [2], "h": [], **inputs}
    return ge.Model.from_dict(
        document(
            nodes,
            {"out": "z", "loss": "loss"},
            inputs=given,
            functions={"rates": rates, "step": step},
            opset_imports=IMPORTS,
        )
    )


TURN = function(
    ["t", "y", "w"],
    {
        "x": ("slice", ["y"], {"start": 0, "stop": 1}),
        "v": ("slice", ["y"], {"start": 1, "stop": 2}),
        "a": ("mul", ["w", "x"]),
        "b": ("neg", ["a"]),
        "dy": ("concat", ["v", "b"]),
    },
    {"dy": "dy"},
)


@pytest.mark.parametrize(("method", "order"), [("euler_step", 1), ("rk4_step", 4)])
def test_the_error_of_a_method_falls_as_its_order_says(method, order):
    errors = []
    for steps in (40, 80):
        model = solved(TURN, method, {"w": []}, ["w"], steps)
        found = model.forward(y=[1.0, 0.0], h=1 / steps, w=4.0)["out"]
        errors.append(np.abs(found - [np.cos(2.0), -2 * np.sin(2.0)]).max())
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.1)


def test_a_right_hand_side_gets_the_time_and_as_many_inputs_as_it_has():
    rates = function(["t", "y"], {"dy": ("add_n", ["y", "t"])}, {"dy": "dy"})
    found = solved(rates, "rk4_step", {}, [], 50).forward(y=[1.0, 2.0], h=0.02)["out"]
    np.testing.assert_allclose(found, np.multiply([2.0, 3.0], np.e) - 2, rtol=1e-7)  # of y' = y + t


@pytest.mark.parametrize("constants", [[], ["w", "u"]])
def test_a_right_hand_side_that_gets_too_few_or_too_many_inputs_is_refused(constants):
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        solved(TURN, "euler_step", {key: [] for key in constants}, constants, 2)
    assert {each.code for each in caught.value.problems} == {"GE212"}
    assert "of 'rates': it takes 3 inputs (t, y, w), not" in caught.value.problems[0].message


def test_a_network_may_be_the_right_hand_side():
    network = function(
        ["t", "y", "a", "b", "c", "d"],
        {
            "hidden": ("nn.dense", ["y", "a", "b"]),
            "active": ("tanh", ["hidden"]),
            "dy": ("nn.dense", ["active", "c", "d"]),
        },
        {"dy": "dy"},
    )
    shapes = {"a": [2, 4], "b": [4], "c": [4, 2], "d": [2]}
    model = solved(network, "rk4_step", shapes, list(shapes), 20)
    generator = np.random.default_rng(0)
    weights = {name: generator.normal(size=shape) for name, shape in shapes.items()}
    y = np.array([0.5, -0.3])

    def rates(_, state):
        return np.tanh(state @ weights["a"] + weights["b"]) @ weights["c"] + weights["d"]

    run = model.forward(y=y, h=0.05, **weights)
    exact = solve_ivp(rates, (0, 1), y, method="DOP853", rtol=1e-11, atol=1e-13).y[:, -1]
    np.testing.assert_allclose(run["out"], exact, rtol=1e-5)
    gradients = run.backward(of="loss", wrt=list(weights))
    for name, weight in weights.items():
        along, step = generator.normal(size=weight.shape), 1e-6
        sides = [
            model.forward(y=y, h=0.05, **{**weights, name: weight + sign * step * along})["loss"] for sign in (1, -1)
        ]
        np.testing.assert_allclose(np.sum(gradients[name] * along), (sides[0] - sides[1]) / (2 * step), rtol=1e-6)


# ---------------------------------------------------------------- fits

TRUE = {
    "sir": {"beta": 0.5, "gamma": 0.2, "start": 0.002},
    "lotka_volterra": {"birth": 0.6, "hunt": 0.03, "feed": 0.02, "death": 0.8, "start": [30.0, 4.0]},
}


@pytest.mark.parametrize("name", TRUE)
def test_a_fit_without_errors_finds_the_parameters_that_made_the_data(name):
    model = ge.load(name)
    data = model.load_data("train")
    truth = ge.load(name)
    truth.parameters.update({key: np.asarray(value) for key, value in TRUE[name].items()})
    seen = "infected" if name == "sir" else "counted"
    found = model.fit(data={**data, seen: truth.predict(data)["prediction"]})
    for key, value in TRUE[name].items():
        np.testing.assert_allclose(found.parameters[key], value, rtol=1e-8)


def epidemic(data, p):
    def rates(_, y):
        return [-p[0] * y[0] * y[1], p[0] * y[0] * y[1] - p[1] * y[1]]

    return data["infected"] - states(rates, [1 - p[2], p[2]], data["day"])[1]


def animals(data, p):
    def rates(_, y):
        return [p[0] * y[0] - p[1] * y[0] * y[1], p[2] * y[0] * y[1] - p[3] * y[1]]

    return (data["counted"] - states(rates, p[4:], data["year"]).T).ravel()


def states(rates, start, times):
    return solve_ivp(rates, (0, times[-1]), start, method="DOP853", t_eval=times, rtol=1e-11, atol=1e-13).y


def slopes(residual, p):
    """The Jacobian by differences on both sides."""
    return np.transpose([(residual(p + step) - residual(p - step)) / (2 * step.sum()) for step in np.diag(1e-4 * p)])


@pytest.mark.parametrize(("name", "residual"), [("sir", epidemic), ("lotka_volterra", animals)])
def test_a_fit_with_errors_is_that_of_scipy(name, residual):
    model = ge.load(name)
    data = model.load_data("train")
    start = np.concatenate([np.ravel(each) for each in TRUE[name].values()])
    found = model.fit()
    exact = {"xtol": 1e-14, "ftol": 1e-14, "gtol": 1e-14, "x_scale": start}
    theirs = least_squares(
        lambda p: residual(data, p), start, jac=lambda p: slopes(partial(residual, data), p), **exact
    )
    ours = np.concatenate([np.ravel(each) for each in found.parameters.values()])
    np.testing.assert_allclose(ours, theirs.x, rtol=1e-6)
    covariance = np.linalg.inv(theirs.jac.T @ theirs.jac) * 2 * theirs.cost / (len(theirs.fun) - len(start))
    errors = np.concatenate([np.ravel(each) for each in found.standard_errors.values()])
    np.testing.assert_allclose(errors, np.sqrt(np.diag(covariance)), rtol=1e-4)


def residuals_of(model):
    solver = model.fitting(model.load_data("train"), Request())
    return solver.residuals, solver.objective


@pytest.mark.parametrize("name", TRUE)
def test_curvature_by_differences_is_that_of_the_second_derivatives(name):
    model = ge.load(name)
    residuals, objective = residuals_of(model)
    x = objective.vector(model.values)
    weights = residuals(x)
    exact = residuals._curvature.hessian(objective, x, **{residuals._weight: weights.reshape(residuals._shape)})
    found = residuals.curvature(x, weights, np.abs(x))
    sizes = np.abs(np.outer(x, x))
    np.testing.assert_allclose(found * sizes, exact * sizes, atol=1e-7 * np.max(np.abs(exact) * sizes))


def test_a_jacobian_toward_arrays_has_a_column_for_each_number():
    model = ge.load("lotka_volterra")
    residuals, objective = residuals_of(model)
    x = objective.vector(model.values)
    assert objective.size == len(x) == 6
    expected = slopes(partial(animals, model.load_data("train")), x)
    sizes = np.max(np.abs(expected), axis=0)
    np.testing.assert_allclose(residuals.jacobian(x) / sizes, expected / sizes, atol=1e-4)


def test_the_next_fit_of_a_model_compiles_nothing_and_is_that_of_a_new_model(monkeypatch):
    model, start = ge.load("sir"), ge.load("sir").parameters
    data = model.load_data("train")
    model.fit(data)
    other = {**data, "infected": data["infected"] * 1.01}
    expected = ge.load("sir").fit(other)
    model.parameters.update(start)
    made = []
    monkeypatch.setattr(type(model.backend), "compile", lambda self, graph, **_: made.append(graph))
    found = model.fit(other)
    assert made == []
    for name, value in expected.parameters.items():
        assert found.parameters[name] == value
        assert found.standard_errors[name] == expected.standard_errors[name]
