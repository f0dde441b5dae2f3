"""Parameters with bounds: what a file may say, update rules that keep to them, and minima that lie on them."""

import json

import numpy as np
import pytest
from documents import MODELS, document, linreg, parameter, problem_of, training
from documents import model as make
from scipy.optimize import least_squares, lsq_linear

import graphengine as ge
from graphengine.format.writing import dump_model

METHODS = ["least_squares", "lbfgs", "trust-constr"]


def bounded(value, low, high, **keys):
    return parameter(value, bounds=[low, high], **keys)


# ---------------------------------------------------------------- the file


@pytest.mark.parametrize(
    ("keys", "pointer", "message"),
    [
        ({"bounds": [1, 0]}, "/parameters/theta/bounds", "the first bound must be less than the second"),
        ({"bounds": [1, 1.0]}, "/parameters/theta/bounds", "the first bound must be less than the second"),
        ({"bounds": [0]}, "/parameters/theta/bounds", "at least 2 elements"),
        ({"bounds": [0, 1, 2]}, "/parameters/theta/bounds", "at most 2 elements"),
        ({"bounds": [0, "Infinity"]}, "/parameters/theta/bounds/1", "number"),
        ({"scale": 0}, "/parameters/theta/scale", "greater than 0"),
    ],
)
def test_wrong_bounds_are_reported_with_their_place(keys, pointer, message):
    problem = problem_of({**linreg(), "parameters": {"theta": parameter(0.5, **keys)}})
    assert (problem.code, problem.pointer) == ("GE112", pointer)
    assert message in problem.message


def test_an_initial_value_outside_of_its_bounds_is_refused():
    problem = problem_of({**linreg(), "parameters": {"theta": bounded(1.5, 0, 1)}})
    assert (problem.code, problem.pointer) == ("GE112", "/parameters/theta/value")
    assert problem.message == "parameter 'theta': 1.5 is outside of its bounds, from 0 to 1"
    declared = {"shape": [], "initializer": {"type": "constant", "value": -1.0}, "bounds": [0, None]}
    problem = problem_of({**linreg(), "parameters": {"theta": declared}})
    assert (problem.code, problem.pointer) == ("GE112", "/parameters/theta/initializer")
    assert problem.message.endswith("-1 is outside of its bounds, at least 0")


def test_a_value_outside_of_its_bounds_is_not_assigned():
    model = ge.Model.from_dict({**linreg(), "parameters": {"theta": bounded(0.5, None, 1)}})
    model.parameters["theta"] = 1.0
    with pytest.raises(ge.errors.InputError, match=r"GE112: parameter 'theta': 1\.5 is outside .* at most 1"):
        model.parameters["theta"] = 1.5
    with pytest.raises(ge.errors.InputError, match="nan is outside"):
        model.parameters["theta"] = np.nan
    assert model.parameters["theta"] == 1.0


def test_bounds_survive_saving_and_count_in_the_fingerprint():
    content = {**linreg(), "parameters": {"theta": bounded(0.5, 0, None, scale=2.0)}}
    model = ge.Model.from_dict(content)
    written = json.loads(dump_model(model.as_document()))
    assert (written["parameters"]["theta"]["bounds"], written["parameters"]["theta"]["scale"]) == ([0.0, None], 2.0)
    assert ge.Model.from_dict(written).fingerprint == model.fingerprint
    content["parameters"]["theta"]["bounds"] = [0.25, None]
    assert ge.Model.from_dict(content).fingerprint != model.fingerprint
    assert ge.Model.from_dict(linreg()).fingerprint != model.fingerprint


# ---------------------------------------------------------------- update rules


def test_an_update_beyond_a_bound_ends_on_it():
    """theta <- min(theta + 2 * rate * x * (y - theta * x), 0.7), by hand."""
    content = {**linreg(training=training(epochs=4)), "parameters": {"theta": bounded(0.0, None, 0.7)}}
    rows = list(ge.Model.from_dict(content).iterate({"x": [1.0], "y": [1.0]}))
    by_hand = [0.2, 0.36, 0.488, 0.5904]
    assert [float(row.parameters["theta"]) for row in rows] == pytest.approx(by_hand, rel=1e-14)
    model = ge.Model.from_dict(content)
    model.train({"x": [1.0], "y": [1.0]}, epochs=50)
    assert model.parameters["theta"] == 0.7
    step = model.training_step().graph
    assert [node.op for node in step.nodes if node.id.startswith("theta/bounded")] == ["minimum"]


def test_bounds_are_those_of_the_dtype():
    content = {**linreg(training=training()), "dtype": "float32", "parameters": {"theta": bounded(0.0, None, 0.1)}}
    model = ge.Model.from_dict(content)
    model.train({"x": [1.0], "y": [9.0]}, epochs=3)
    assert model.parameters["theta"] == np.float32(0.1)
    model.parameters["theta"] = model.parameters["theta"]


def test_many_small_parameters_keep_each_their_own_bounds():
    count = 40
    names = [f"p{index}" for index in range(count)]
    highs = [0.1, 0.3]
    nodes = {f"d{name}": ("sub", [name, 1.0]) for name in names}
    nodes |= {f"s{name}": ("square", [f"d{name}"]) for name in names}
    nodes |= {"loss": ("add_n", [f"s{name}" for name in names])}
    parameters = {name: bounded(0.0, None, highs[index % 2]) for index, name in enumerate(names)}
    model = ge.Model.from_dict(document(nodes, parameters=parameters, training=training(epochs=20)))
    model.train({})
    assert [float(model.parameters[name]) for name in names] == [highs[index % 2] for index in range(count)]


# ---------------------------------------------------------------- solvers


def solved(model, data, method, residual="error", **overrides):
    optimizer = {"type": method, **({"residual": residual} if method == "least_squares" else {})}
    solver = model.trainer(data, optimizer=optimizer, **overrides)
    for row in solver.iterate():
        for name, value in row.parameters.items():
            assert model.graph.parameters[name].outside(value) is None
    return solver


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(4))
def test_a_bounded_linear_regression_is_the_one_of_an_active_set_method(method, seed):
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(20, 6)), random.normal(size=20) * 3
    nodes = {"p": ("matmul", ["x", "w"]), "error": ("sub", ["y", "p"]), "s": ("square", ["error"])}
    nodes |= {"loss": ("sum", ["s"])}
    start = random.uniform(-0.3, 0.5, 6)
    model = make(nodes, inputs={"x": ["N", 6], "y": ["N"]}, parameters={"w": bounded(start, -0.3, 0.5)})
    solver = solved(model, {"x": x, "y": y}, method, loss="loss")
    best = lsq_linear(x, y, (-0.3, 0.5), method="bvls", tol=1e-15)
    assert np.count_nonzero(best.active_mask) >= 1
    np.testing.assert_allclose(model.parameters["w"], best.x, atol=1e-9)
    assert solver.converged


@pytest.mark.parametrize("method", METHODS)
def test_a_bound_that_is_active_at_the_solution_of_misra1a(method):
    """With b2 <= 0.0005 the best b2 is 0.0005, and b1 then a linear regression without intercept."""
    content = json.loads((MODELS / "misra1a.json").read_text(encoding="utf-8"))
    content["parameters"]["b2"] |= {"bounds": [0, 0.0005]}
    model = ge.Model.from_dict(content, path=MODELS / "misra1a.json")
    solver = solved(model, None, method, loss="loss")
    data = model.load_data()
    rise = 1 - np.exp(-0.0005 * data["x"])
    assert model.parameters["b2"] == 0.0005
    assert model.parameters["b1"] == pytest.approx(rise @ data["y"] / (rise @ rise), rel=1e-10)
    assert solver.converged


THURBER = {"b1": (1290, 1295), "b3": (400, 560), "b6": (0.1, 0.38)}


def test_several_active_bounds_of_a_nonlinear_problem():
    """NIST's Thurber in a box that its solution is not in, against SciPy's method with bounds, polished by itself."""
    content = json.loads((MODELS / "thurber.json").read_text(encoding="utf-8"))
    start = {name: each["initializer"]["value"] for name, each in content["parameters"].items()}
    for name, (low, high) in THURBER.items():
        value = float(np.clip(start[name], low, high))
        content["parameters"][name] |= {"bounds": [low, high], "initializer": {"type": "constant", "value": value}}
    model = ge.Model.from_dict(content, path=MODELS / "thurber.json")
    fit = model.fit()
    found = np.array([fit.parameters[name] for name in start])
    x, y = model.load_data()["x"], model.load_data()["y"]

    def residuals(b):
        return y - np.polyval(b[3::-1], x) / (1 + x * np.polyval(b[:3:-1], x))

    box = np.array([THURBER.get(name, (-np.inf, np.inf)) for name in start]).T
    best = least_squares(
        residuals,
        np.clip(found * 1.01, *box),
        bounds=box,
        x_scale=np.abs(found),
        jac="cs",
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
    )
    assert fit.converged
    assert fit.residual_sum_of_squares <= 2 * best.cost * (1 + 1e-12)
    np.testing.assert_allclose(found, best.x, rtol=1e-5)
    held = [place for place, name in enumerate(start) if name in THURBER and found[place] in THURBER[name]]
    assert len(held) >= 2
    free = [place for place in range(len(found)) if place not in held]
    jacobian = np.stack([np.imag(residuals(found + 1e-30j * unit)) / 1e-30 for unit in np.eye(len(found))], axis=1)
    slope, size = jacobian.T @ residuals(found), np.abs(jacobian).T @ np.abs(residuals(found))
    assert np.max(np.abs(slope / size)[free]) < 1e-8
    for place in held:
        low, _ = list(THURBER.values())[[*THURBER].index([*start][place])]
        assert slope[place] > 0 if found[place] == low else slope[place] < 0


@pytest.mark.parametrize("method", METHODS)
def test_a_start_on_a_bound_leaves_it_where_the_loss_falls_inward(method):
    model = ge.Model.from_dict({**linreg(), "parameters": {"theta": bounded(0.0, 0, 5)}})
    solved(model, {"x": [1.0, 2.0], "y": [3.0, 6.0]}, method, loss="loss")
    assert model.parameters["theta"] == pytest.approx(3.0, rel=1e-9)


def test_a_scale_is_where_a_fit_from_zero_begins_to_look():
    """exp(-(k - 1000)**2 / 200) is flat at k = 0 in steps of 1, and not in steps of 1000."""
    nodes = {"d": ("sub", ["k", 1000.0]), "dd": ("square", ["d"]), "e": ("div", ["dd", -200.0]), "g": ("exp", ["e"])}
    nodes |= {"r": ("sub", [1.0, "g"])}

    def fitted(**keys):
        return make(nodes, parameters={"k": parameter(0.0, **keys)}).fit({}, residual="r")

    assert fitted(scale=1000.0).parameters["k"] == pytest.approx(1000.0, rel=1e-6)
    assert fitted(scale=1000.0).converged
    assert [part.parameters for part in fitted().undetermined] == [("k",)]
