"""A branch that is not taken passes no gradient, even at a pole of its derivative, in every order, alike everywhere."""

import numpy as np
import pytest
from documents import document
from scipy.special import expit

import graphengine as ge
from graphengine.backends.numpy.plan import Plan
from graphengine.backends.reference.executor import Executor
from graphengine.ops.inference import elementwise
from graphengine.transform.directional import curvature
from graphengine.transform.gradient import gradient

X = np.array([-1.0, 0.0, 0.25, 4.0])
SAFE = np.array([1.0, 1.0, 0.25, 4.0])
"""X with a number inside of the domain where the condition does not hold."""


def chosen(nodes, other=0):
    """where(x > 0, f, other), weighted, so that each place has a gradient of its own; f is the last node."""
    last = list(nodes)[-1]
    return {
        "positive": ("greater", ["x", 0]),
        **nodes,
        "z": ("where", ["positive", last, other]),
        "weighted": ("mul", ["z", "w"]),
        "loss": ("sum", ["weighted"]),
    }


W = np.array([2.0, 3.0, 5.0, 7.0])
CASES = {
    "a root": ({"f": ("sqrt", ["x"])}, lambda x: x**-0.5 / 2, lambda x: -(x**-1.5) / 4),
    "a logarithm": ({"f": ("log", ["x"])}, lambda x: 1 / x, lambda x: -1 / x**2),
    "a reciprocal": ({"f": ("reciprocal", ["x"])}, lambda x: -1 / x**2, lambda x: 2 / x**3),
    "a quotient": (
        {"s": ("sin", ["x"]), "f": ("div", ["s", "x"])},
        lambda x: np.cos(x) / x - np.sin(x) / x**2,
        lambda x: -np.sin(x) / x - 2 * np.cos(x) / x**2 + 2 * np.sin(x) / x**3,
    ),
    "a power": ({"f": ("pow", ["x", 0.5])}, lambda x: x**-0.5 / 2, lambda x: -(x**-1.5) / 4),
    "x log(x)": ({"l": ("log", ["x"]), "f": ("mul", ["x", "l"])}, lambda x: np.log(x) + 1, lambda x: 1 / x),
    "an overflow": (
        {"n": ("div", [1, "x"]), "u": ("exp", ["n"]), "f": ("log1p", ["u"])},
        lambda x: -expit(1 / x) / x**2,
        lambda x: expit(1 / x) * expit(-1 / x) / x**4 + 2 * expit(1 / x) / x**3,
    ),
    "a root of a root": (
        {"r": ("sqrt", ["x"]), "f": ("sqrt", ["r"])},
        lambda x: x**-0.75 / 4,
        lambda x: -3 / 16 * x**-1.75,
    ),
    "a root used twice": (  # sqrt(x) log(x) / 2
        {"r": ("sqrt", ["x"]), "l": ("log", ["r"]), "f": ("mul", ["r", "l"])},
        lambda x: (np.log(x) + 2) / 4 / np.sqrt(x),
        lambda x: -np.log(x) / 8 * x**-1.5,
    ),
    "a clipped value": (
        {"c": ("clip", ["x", -5, 5]), "f": ("rsqrt", ["c"])},
        lambda x: -(x**-1.5) / 2,
        lambda x: 3 / 4 * x**-2.5,
    ),
}
"""The nodes of a branch, and its first and second derivative."""


def model_of(nodes, **inputs):
    return ge.Model.from_dict(document(nodes, inputs={"x": ["N"], "w": ["N"], **inputs}, outputs={"loss": "loss"}))


def evaluated(graph, values):
    """The only output, by the reference executor and by a plan."""
    executor = Executor(graph)
    (output,) = graph.outputs.values()
    called = executor.forward(values)[executor.slot_of[output]]
    (planned,) = Plan(graph.with_sizes({"N": len(X)})).run(values).values()
    return called, planned


def gradients(nodes, wrt=("x",), **values):
    """Called and recorded, which must agree."""
    model = model_of(nodes, **{name: list(np.shape(value)) for name, value in values.items()})
    values = {"x": X, "w": W, **values}
    called = model.forward(**values).backward("loss", list(wrt))
    recorded = Plan(gradient(model.graph, "loss", list(wrt)).with_sizes({"N": len(X)})).run(values)
    for name in wrt:
        np.testing.assert_array_equal(recorded[f"d_loss/d_{name}"], called[name])
    return [called[name] for name in wrt]


@pytest.mark.parametrize("case", CASES)
def test_a_branch_that_is_not_taken_passes_nothing(case):
    nodes, slope, _ = CASES[case]
    model = model_of(chosen(nodes))
    expected = np.where(X > 0, W * slope(SAFE), 0)
    for _ in range(3):  # called, then by plans
        found = model.forward(x=X, w=W).backward("loss", ["x"])["x"]
        np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize("case", CASES)
def test_the_second_derivative_passes_nothing_either(case):
    nodes, _, second = CASES[case]
    graph = curvature(model_of(chosen(nodes)).graph, "loss", ["x"], ["v"])
    values = {"x": X, "w": W, "v": np.ones(4)}
    called, planned = evaluated(graph, values)
    expected = np.where(X > 0, W * second(SAFE), 0)
    np.testing.assert_allclose(called, expected, rtol=1e-12)
    np.testing.assert_allclose(planned, expected, rtol=1e-12)


ROOT = np.where(X > 0, W / (2 * np.sqrt(SAFE)), 0)


def test_the_other_branch_may_be_the_one():
    nodes = {"c": ("less_equal", ["x", 0]), "r": ("sqrt", ["x"]), "z": ("where", ["c", "x", "r"])}
    (found,) = gradients({**nodes, "t": ("mul", ["z", "w"]), "loss": ("sum", ["t"])})
    np.testing.assert_allclose(found, np.where(X > 0, ROOT, W), rtol=1e-15)


def test_choices_within_choices():
    """where(x > 0, where(x < 1, log(x), sqrt(1 - 1 / x)), 0): each place has the derivative of its own formula."""
    nodes = {
        "below": ("less", ["x", 1]),
        "logarithm": ("log", ["x"]),
        "inverse": ("div", [1, "x"]),
        "rest": ("sub", [1, "inverse"]),
        "root": ("sqrt", ["rest"]),
        "f": ("where", ["below", "logarithm", "root"]),
    }
    (found,) = gradients(chosen(nodes))
    with np.errstate(all="ignore"):
        expected = np.where(X < 1, 1 / SAFE, 1 / (2 * np.sqrt(1 - 1 / SAFE) * SAFE**2))
    np.testing.assert_allclose(found, np.where(X > 0, W * expected, 0), rtol=1e-14)


def test_a_value_that_is_used_elsewhere_gets_the_gradients_of_both():
    nodes = chosen({"f": ("sqrt", ["x"])}) | {
        "square": ("square", ["x"]),
        "both": ("add", ["weighted", "square"]),
        "loss": ("sum", ["both"]),
    }
    (found,) = gradients(nodes)
    np.testing.assert_allclose(found, ROOT + 2 * X, rtol=1e-15)


def test_a_number_that_is_broadcast_into_a_branch():
    """Of where(x > 0, sqrt(a * x), 0) with respect to a, a sum over the places that are taken."""
    nodes = {"m": ("mul", ["a", "x"]), "f": ("sqrt", ["m"])}
    found, slope = gradients(chosen(nodes), ("x", "a"), a=np.array(9.0))
    np.testing.assert_allclose(found, 3 * ROOT, rtol=1e-14)
    taken = X > 0
    np.testing.assert_allclose(slope, np.sum((W * np.sqrt(SAFE))[taken]) / 6, rtol=1e-14)


def test_a_condition_of_another_shape():
    """A condition with a row for each sample, which broadcasts against the branch."""
    nodes = {"f": ("log", ["x"]), "z": ("where", ["c", "f", 0]), "loss": ("sum", ["z"])}
    shapes = {"x": [2, 2], "c": {"shape": [2, 1], "dtype": "bool"}}
    model = ge.Model.from_dict(document(nodes, inputs=shapes, outputs={"loss": "loss"}))
    found = model.forward(x=[[0.0, 0.0], [2.0, 4.0]], c=[[False], [True]]).backward("loss", ["x"])["x"]
    np.testing.assert_array_equal(found, [[0, 0], [0.5, 0.25]])


def test_a_gradient_of_0_is_not_a_branch_that_was_not_taken():
    """The derivative of sqrt(x)**2 is 1 at 0; the chain rule has 0 * infinity there, and that is not made a 0."""
    nodes = {
        "c": ("greater_equal", ["x", 0]),
        "r": ("sqrt", ["x"]),
        "s": ("square", ["r"]),
        "z": ("where", ["c", "s", 0]),
    }
    (found,) = gradients({**nodes, "t": ("mul", ["z", "w"]), "loss": ("sum", ["t"])})
    np.testing.assert_array_equal(np.isnan(found), [False, True, False, False])
    np.testing.assert_allclose(found[[0, 2, 3]], [0, *W[2:]])


def test_a_graph_without_poles_gets_no_choices():
    nodes = {"h": ("tanh", ["x"]), "f": ("mul", ["h", "x"])}
    graph = gradient(model_of(chosen(nodes)).graph, "loss", ["x"])
    assert [node.op for node in graph.nodes].count("where") == 2  # the choice and its gradient


def test_a_node_of_a_user_is_taken_for_one_with_poles():
    @ge.register("branches.root")
    class Root(ge.Node):
        """Square root, z = sqrt(x); dz/dx = 1 / (2 * z)."""

        infer = elementwise

        def forward(self, x):
            return np.sqrt(x)

        def backward(self, grad, out):
            return grad / (2 * out)

    made = document(chosen({"f": ("branches.root", ["x"])}), inputs={"x": ["N"], "w": ["N"]}, outputs={"loss": "loss"})
    model = ge.Model.from_dict({**made, "opset_imports": {"core": 1, "branches": 1}})
    found = model.forward(x=X, w=W).backward("loss", ["x"])["x"]
    np.testing.assert_allclose(found, ROOT, rtol=1e-15)


@pytest.mark.parametrize(("traits", "kept"), [((), 1), (("finite",), 0)])
def test_a_node_of_a_user_may_declare_that_it_has_no_poles(traits, kept):
    @ge.register("branches.cube", replace=True, traits=traits)
    class Cube(ge.Node):
        """Third power, z = x * x * x; dz/dx = 3 * x * x."""

        infer = elementwise

        def forward(self, x):
            return x * x * x

        def backward(self, grad, x):
            return 3 * grad * x * x

    made = document(chosen({"f": ("branches.cube", ["x"])}), inputs={"x": ["N"], "w": ["N"]}, outputs={"loss": "loss"})
    graph = ge.Model.from_dict({**made, "opset_imports": {"core": 1, "branches": 1}}).graph
    assert [node.op for node in gradient(graph, "loss", ["x"]).nodes].count("where") == 2 + kept


def test_such_a_model_trains():
    """Rows at the pole of the branch that they do not take do not end a training."""
    nodes = {
        "positive": ("greater", ["x", 0]),
        "u": ("mul", ["a", "x"]),
        "f": ("sqrt", ["u"]),
        "z": ("where", ["positive", "f", 0]),
        "loss": ("mse", ["z", "y"]),
    }
    made = document(nodes, inputs={"x": ["N"], "y": ["N"]}, parameters={"a": 1.0}, outputs={"loss": "loss"})
    optimizer = {"type": "sgd", "learning_rate": 1.0}
    model = ge.Model.from_dict({**made, "training": {"loss": "loss", "optimizer": optimizer, "epochs": 200}})
    model.train(data={"x": [0.0, 0.0, 1.0, 4.0], "y": [0.0, 0.0, 2.0, 4.0]})
    assert model.parameters["a"] == pytest.approx(4.0, rel=1e-6)


# ---------------------------------------------------------------- ops that choose by their values

BY_VALUE = {  # the nodes up to z, and dz/dx where x is taken; at a tie of sqrt(maximum(x, 0)) the slope is infinite
    "log(relu(x))": ({"r": ("relu", ["x"]), "z": ("log", ["r"])}, [0, 0, 4, 0.25]),
    "sqrt(relu(x))": ({"r": ("relu", ["x"]), "z": ("sqrt", ["r"])}, [0, 0, 1, 0.25]),
    "relu(x)**0.5": ({"r": ("relu", ["x"]), "z": ("pow", ["r", 0.5])}, [0, 0, 1, 0.25]),
    "1 / (2 * relu(x))": (
        {"r": ("relu", ["x"]), "s": ("mul", [2, "r"]), "z": ("reciprocal", ["s"])},
        [0, 0, -8, -1 / 32],
    ),
    "sqrt(maximum(x, 0))": ({"r": ("maximum", ["x", 0]), "z": ("sqrt", ["r"])}, [0, np.inf, 1, 0.25]),
    "sqrt(maximum(0, x))": ({"r": ("maximum", [0, "x"]), "z": ("sqrt", ["r"])}, [0, np.inf, 1, 0.25]),
    "log(minimum(x, 0) + 1)": (
        {"r": ("minimum", ["x", 0]), "s": ("add", ["r", 1]), "z": ("log", ["s"])},
        [np.inf, 0.5, 0, 0],
    ),
    "sqrt(clip(x, 0, 1))": ({"r": ("clip", ["x", 0, 1]), "z": ("sqrt", ["r"])}, [0, np.inf, 1, 0]),
    "rsqrt(clip(x, 0))": ({"r": ("clip", ["x", 0]), "z": ("rsqrt", ["r"])}, [0, -np.inf, -4, -1 / 16]),
}


@pytest.mark.parametrize("case", BY_VALUE)
def test_what_a_choice_by_value_does_not_take_gets_nothing_of_an_infinite_gradient(case):
    """As in PyTorch; called, recorded and compiled. NaN stays NaN."""
    nodes, expected = BY_VALUE[case]
    model = model_of({**nodes, "weighted": ("mul", ["z", "w"]), "loss": ("sum", ["weighted"])})
    for _ in range(3):
        with np.errstate(all="ignore"):
            found = model.forward(x=X, w=W).backward("loss", ["x"])["x"]
        np.testing.assert_allclose(found, W * expected, rtol=1e-15)
    with np.errstate(all="ignore"):
        for found in evaluated(gradient(model.graph, "loss", ["x"]), {"x": X, "w": W}):
            np.testing.assert_allclose(found, W * expected, rtol=1e-15)
        nan = model.forward(x=np.full(4, np.nan), w=W).backward("loss", ["x"])["x"]
    assert np.isnan(nan).all()


@pytest.mark.parametrize(
    ("case", "second"),
    [
        ("log(relu(x))", [0, 0, -16, -1 / 16]),
        ("sqrt(relu(x))", [0, 0, -2, -1 / 32]),
        ("relu(x)**0.5", [0, 0, -2, -1 / 32]),
    ],
)
def test_the_second_derivative_of_a_choice_by_value(case, second):
    model = model_of({**BY_VALUE[case][0], "weighted": ("mul", ["z", "w"]), "loss": ("sum", ["weighted"])})
    graph = curvature(model.graph, "loss", ["x"], ["v"])
    with np.errstate(all="ignore"):
        for found in evaluated(graph, {"x": X, "w": W, "v": np.ones(4)}):
            np.testing.assert_allclose(found, W * second, rtol=1e-14)


def test_a_choice_by_value_without_a_pole_after_it_multiplies():
    nodes = {"r": ("relu", ["x"]), "h": ("div", ["r", 2]), "e": ("exp", ["h"])}
    nodes |= {"m": ("mean", ["e"]), "loss": ("log", ["m"])}
    graph = gradient(model_of(nodes).graph, "loss", ["x"])
    assert "where" not in [node.op for node in graph.nodes]
