"""The builder writes the same files as an editor does, and its code form is another spelling of a file."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from documents import document, linreg, parameter
from hypothesis import given
from samples import SAMPLES
from test_properties import few, graphs
from typer.testing import CliRunner

import graphengine as ge
from graphengine.backends.reference.executor import Executor
from graphengine.cli.app import app
from graphengine.errors import InputError, InvalidModelError, UsageError
from graphengine.ir.recording import UnrecordableError
from graphengine.model.python_code import python_code
from graphengine.nn.shipped import shipped_names
from graphengine.ops.registry import OPS

MODELS = sorted(Path(__file__).parents[1].joinpath("models").glob("*.json"))
BODY = {
    "inputs": {"x": {}, "shift": {"optional": True}},
    "attributes": {"factor": {"default": 2.0}},
    "nodes": [
        {"id": "scaled", "op": "mul", "inputs": ["x", "factor"]},
        {"id": "moved", "op": "add_n", "inputs": ["scaled", "shift"]},
    ],
    "outputs": {"out": "moved", "scaled": "scaled"},
}


def linear():
    b = ge.Builder("linreg")
    x, y = b.input("x", ["N"]), b.input("y", ["N"])
    theta = b.parameter("theta", [], initializer=0.0)
    y_hat = b.name("y_hat", theta * x)
    error = b.name("error", y - y_hat)
    loss = b.name("loss", np.mean(b.name("sq", np.square(error))))
    b.output(prediction=y_hat, loss=loss)
    return b


def built(content, path=None):
    """The model that the code of a model makes."""
    model = ge.Model.from_dict(content, path)
    namespace = {}
    exec(python_code(model.document).replace("b.model()", f"b.model({str(path) if path else None!r})"), namespace)
    return model, namespace["model"]


def test_the_builder_writes_the_shipped_regression():
    b = linear()
    b.data(
        "train", {"type": "csv", "path": "data/hubble_1929.csv", "columns": {"x": "distance_mpc", "y": "velocity_km_s"}}
    )
    b.training(
        loss="loss",
        data="train",
        optimizer={"type": "sgd", "learning_rate": 0.1},
        batch_size=None,
        shuffle=False,
        seed=0,
        epochs=100,
    )
    shipped = ge.load(MODELS[0].parent / "linreg.json")
    assert b.model().fingerprint == shipped.fingerprint


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_the_code_of_a_shipped_model_builds_the_same_model(path):
    shipped, namespace = ge.load(path), {}
    exec(python_code(shipped.document).replace("b.model()", f"b.model({str(path)!r})"), namespace)
    made = namespace["model"]
    assert made.fingerprint == shipped.fingerprint
    assert {name: value.tobytes() for name, value in made.parameters.items()} == {
        name: value.tobytes() for name, value in shipped.parameters.items()
    }


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_a_file_that_the_printed_code_writes_has_the_fingerprint_of_the_first(path, tmp_path):
    code, namespace = tmp_path / "code.py", {}
    shown = CliRunner().invoke(app, ["show", str(path), "--format", "python", "-o", str(code)], catch_exceptions=False)
    assert shown.exit_code == 0
    exec(code.read_text(encoding="utf-8").replace("b.model()", f"b.model({str(path)!r})"), namespace)
    namespace["b"].save(tmp_path / "again.json")
    again = json.loads((tmp_path / "again.json").read_bytes())
    assert ge.Model.from_dict(again, path).fingerprint == ge.load(path).fingerprint


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")  # random shapes broadcast crosswise
@few
@given(graphs())
def test_the_code_of_a_random_graph_builds_the_same_graph(graph):
    content, values = graph
    model, made = built(content)
    assert made.fingerprint == model.fingerprint
    assert made.forward(values)["loss"].tobytes() == model.forward(values)["loss"].tobytes()


def test_functions_state_omitted_inputs_and_awkward_names_survive_the_code():
    nodes = {
        "class": ("double", {"x": "x"}, {"factor": 3.0}),
        "a-b/c.d": ("double", ["class", "x"]),
        "np": ("clip", {"x": "a-b/c.d:scaled", "max": 5.0}),
        "new": ("add", ["mean", 1]),
        "two": ("constant", [], {"value": 2.0}),
        "loss": ("mul", ["two", "b"]),
    }
    content = document(
        nodes,
        {"out 1".replace(" ", "-"): "np", "loss": "loss"},
        inputs={"x": ["N"]},
        parameters={"b": parameter(1.5, trainable=False)},
        state={"mean": {"shape": [], "initializer": {"type": "zeros"}, "update": "new"}},
        functions={"double": BODY},
    )
    model, made = built(content)
    assert made.fingerprint == model.fingerprint
    assert made.graph.updates == {"mean": "new"}


def test_text_of_a_file_is_only_ever_a_literal_in_the_code():
    content = linreg() | {"description": "'''\"\"\"\\\n__import__('os')", "metadata": {"'); boom(": ["\\", "'"]}}
    model, made = built(content)
    assert made.document.description == model.document.description
    assert made.document.metadata == model.document.metadata


def test_nodes_without_a_name_are_named_after_their_op():
    b = ge.Builder("names")
    x = b.input("x", [])
    square = b.name("mul_2", x * x)
    b.output(out=(x * x + square) * x)
    assert [node["id"] for node in b.to_dict()["nodes"]] == ["mul_2", "mul", "add", "mul_3"]


def test_what_is_written_twice_stays_twice():
    b = ge.Builder("twice")
    x = b.input("x", [])
    b.output(first=x + 1, second=x + 1)
    assert len(b.model().graph.nodes) == 2


def test_a_node_of_several_outputs_gives_a_tuple_and_one_name():
    b = ge.Builder("parts")
    x = b.input("x", [4])
    low, high = b.name("half", ge.ops.split(x, indices_or_sections=2))
    b.output(difference=high - low)
    assert b.model().predict(x=[1.0, 2.0, 5.0, 7.0])["difference"].tolist() == [4.0, 5.0]


def test_an_error_names_the_line_that_made_the_value():
    b = ge.Builder("misfit")
    x, y = b.input("x", [3]), b.input("y", [4])
    with pytest.raises(InvalidModelError) as caught:
        x + y
    here = inspect.currentframe().f_lineno - 1
    assert f"{__file__}:{here}: op 'add': shapes (3,) and (4,) do not broadcast" in str(caught.value)


def test_a_problem_of_the_whole_model_names_the_line_of_its_node():
    b = ge.Builder("loss")
    x = b.input("x", ["N"])
    loss = b.name("loss", ge.ops.square(x))
    b.output(loss=loss)
    b.parameter("theta", [])
    b.training(loss=loss, optimizer={"type": "sgd", "learning_rate": 0.1}, epochs=1)
    with pytest.raises(InvalidModelError, match="GE303"):
        b.model()


@pytest.mark.parametrize(
    ("misuse", "expected"),
    [
        (lambda b, x: b.input("x", []), "'x' is already declared"),
        (lambda b, x: b.name("z", x), "not the result of a node"),
        (lambda b, x: b.name("z", 3.0), "not a value of this builder"),
        (lambda b, x: b.name("second", b.name("first", x + 1)), "is named 'first'"),
        (lambda b, x: b.output(out=ge.Builder("other").input("x", [])), "a value of another builder"),
        (lambda b, x: b.update(mean=x), "there is no state 'mean'"),
        (lambda b, x: b.node("nope", x), "there is no op 'nope'"),
    ],
)
def test_misuse_is_refused(misuse, expected):
    b = ge.Builder("misuse")
    with pytest.raises(UsageError, match=expected):
        misuse(b, b.input("x", []))


def test_what_numpy_has_a_default_for_and_an_op_has_not_is_named():
    x = ge.Builder("defaults").input("x", ["N", 3])
    for call, message in [
        (lambda: np.cumsum(x), "numpy.cumsum as op 'cumsum': attribute 'axis'"),
        (lambda: np.take(x, 1), "numpy.take as op 'gather': attribute 'axis'"),
        (lambda: np.sort(x), "numpy.sort is not the counterpart of an op"),
    ]:
        with pytest.raises(UnrecordableError, match=message):
            call()


def test_a_saved_builder_is_a_file_with_the_same_meaning(tmp_path):
    linear().save(tmp_path / "linreg.json")
    assert ge.load(tmp_path / "linreg.json").fingerprint == linear().model().fingerprint


def test_an_invalid_builder_writes_nothing(tmp_path):
    b = ge.Builder("empty")
    with pytest.raises(InvalidModelError, match="GE112"):
        b.save(tmp_path / "empty.json")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- ops and functions


@pytest.mark.parametrize("name", sorted(name for name in SAMPLES if "." not in name))
def test_an_op_as_a_function_computes_what_its_node_does(name):
    for attributes, arrays in SAMPLES[name][:3]:
        expected = OPS[name].cls(**attributes).forward(*arrays)
        found = getattr(ge.ops, name)(*arrays, **attributes)
        pairs = zip(found, expected, strict=True) if isinstance(expected, tuple) else [(found, expected)]
        for one, other in pairs:
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def test_an_op_as_a_function_has_a_signature_and_a_docstring():
    assert str(inspect.signature(ge.ops.softmax)) == "(x, *, axis: int = -1)"
    assert inspect.getdoc(ge.ops.softmax).startswith("Softmax")
    assert {"add", "softmax"} <= set(dir(ge.ops))


def test_ops_of_a_domain_are_in_a_namespace():
    @ge.register("acme.twice")
    class Twice(ge.Node):
        """Twice the value, z = 2 x."""

        def forward(self, x):
            return 2 * x

    assert ge.ops.acme.twice([1.0, 2.0]).tolist() == [2.0, 4.0]


def test_ops_in_a_forward_take_the_complex_numbers_of_a_gradient_check():
    @ge.register("doubled")
    class Doubled(ge.Node):
        """z = 2 x exp(x)"""

        def forward(self, x):
            return ge.ops.mul(ge.ops.add(x, x), ge.ops.exp(x))

        def backward(self, grad, x):
            return grad * 2 * np.exp(x) * (1 + x)

    ge.check_gradients(Doubled(), np.array([0.5, 1.0]))


@pytest.mark.parametrize(
    ("call", "error", "expected"),
    [
        (lambda: ge.ops.sofmax, AttributeError, "did you mean 'softmax'"),
        (lambda: ge.ops.add(1.0), TypeError, r"add\(x, y\): missing a required argument: 'y'"),
        (
            lambda: ge.ops.softmax([1.0], axes=1),
            InputError,
            "op 'softmax' has no attribute 'axes'; did you mean 'axis'",
        ),
        (lambda: ge.ops.softmax([1.0], axis="x"), InputError, "op 'softmax': attribute 'axis'"),
        (
            lambda: ge.ops.huber(np.zeros((3, 1)), np.ones(3)),
            InputError,
            r"GE301: op 'huber': .*same shape, not \(3, 1\) and \(3,\)",
        ),
        (
            lambda: ge.ops.pad(np.array([1, 2]), pad_width=[[1, 1]], constant_values="NaN"),
            InputError,
            "GE301: op 'pad': dtype int64 cannot hold the number nan; choose another number",
        ),
        (lambda: ge.ops.sum(np.ones(3), axis=4), InputError, "GE301: op 'sum': axis 4 is out of range"),
        (lambda: ge.nn.dens, AttributeError, "did you mean 'dense'"),
        (lambda: ge.nn.dense([1.0]), TypeError, "missing a required argument: 'weight'"),
        (lambda: ge.nn.dense([[1.0]], [[1.0]], bia=1), InputError, "has no attribute 'bia'"),
    ],
)
def test_a_wrong_call_says_what_is_possible(call, error, expected):
    with pytest.raises(error, match=expected):
        call()


class Unreadable:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("nothing here")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", 'must be numbers, not "a"'),
        ([None], r"must be numbers, not \[null\]"),
        (None, "must be numbers, not null"),
        (object(), "must be numbers, not <object"),
        (10**400, "must be numbers, not 1000"),
        (np.datetime64("2020-01-01"), "must be numbers, not np.datetime64"),
        ([1.0, [2.0, 3.0]], "is not a regular array of numbers: ValueError"),
        (Unreadable(), "is not a regular array of numbers: RuntimeError: nothing here"),
    ],
    ids=["text", "none_in_a_list", "none", "object", "huge", "date", "ragged", "unreadable"],
)
def test_what_is_no_array_of_numbers_is_refused_at_each_input(value, expected):
    number = [[1.0]]
    calls = {
        "op 'exp': input 'x'": lambda: ge.ops.exp(value),
        "op 'matmul': input 'y'": lambda: ge.ops.matmul(number, value),
        "op 'add_n': input 'xs'": lambda: ge.ops.add_n(number, number, value),
        "function 'nn.dense': input 'weight'": lambda: ge.nn.dense(number, value),
    }
    for place, call in calls.items():
        if value is None and "nn.dense" in place:
            continue  # an optional input: the layer makes it
        with pytest.raises(InputError, match=f"GE404: {place} {expected}"):
            call()


def test_every_shipped_function_is_a_python_function():
    assert all(inspect.signature(getattr(ge.nn, name)).parameters for name in shipped_names())


def test_a_function_of_the_package_computes_on_arrays():
    x, weight, bias = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4), np.arange(4.0)
    assert np.array_equal(ge.nn.dense(x, weight, bias), x @ weight + bias)
    assert np.array_equal(ge.nn.dense(x, weight), x @ weight)


def test_a_function_on_symbols_is_a_call_in_the_file():
    b = ge.Builder("dense")
    x = b.input("x", ["N", 3])
    weight = b.parameter("weight", [3, 2], value=np.ones((3, 2)))
    z = b.name("z", ge.nn.dense(x, weight))
    assert z.shape == ("N", 2)
    b.output(z=z)
    assert b.to_dict()["nodes"] == [{"id": "z", "op": "nn.dense", "inputs": ["x", "weight"]}]
    assert Executor(b.model().graph).graph.nodes[-1].op == "add_n"
    assert b.model().predict(x=[[1.0, 2.0, 3.0]])["z"].tolist() == [[6.0, 6.0]]


def test_a_call_that_does_not_fit_names_its_line():
    b = ge.Builder("dense")
    with pytest.raises(InvalidModelError, match=rf"{Path(__file__).name}:\d+: "):
        ge.nn.dense(b.input("x", ["N", 3]), b.parameter("weight", [4, 2]))
