"""Exported graphs against onnxruntime and our reference executor; what cannot be exported is reported in full."""

import json

import numpy as np
import pytest
from selection import missing

import graphengine as ge
from graphengine.backends.reference.executor import Executor
from graphengine.cli import main
from graphengine.format.initializers import initial_value

MODELS = list(ge.models())
TRAINED = [
    "autoencoder_digits",
    "cnn_digits",
    "linreg",
    "linreg_single_sample",
    "lstm_sums",
    "mlp_digits",
    "noint1",
    "noint2",
]
"""The shipped models that train by an update rule."""
ROWS = 8
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}

in_runtime = pytest.mark.extra("onnx", "onnxruntime")
if not missing(["onnx", "onnxruntime"]):
    import onnx
    import onnxruntime

    from graphengine.format.onnx.protos import read_by
    from graphengine.model.onnx_files import onnx_proto


def session_of(model, **options):
    return onnxruntime.InferenceSession(
        onnx_proto(model, **options).SerializeToString(), providers=["CPUExecutionProvider"]
    )


def batch_of(model):
    """Rows of the model's own data, or random ones where it has none."""
    generator = np.random.default_rng(0)
    inputs = model.graph.inputs
    if model.document.data:
        source = "train" if "train" in model.document.data else None
        rows = {name: np.asarray(value) for name, value in model.load_data(source).items() if name in inputs}
        return {
            name: np.asarray(value[:: max(1, len(value) // ROWS)][:ROWS], inputs[name].type.dtype)
            for name, value in rows.items()
        }
    sizes = {name: [4 if isinstance(size, str) else size for size in each.type.shape] for name, each in inputs.items()}
    return {name: np.asarray(generator.uniform(0.3, 0.9, shape)) for name, shape in sizes.items()}


def moved(name):
    """A shipped model whose parameters are not at a point where gradients vanish."""
    model = ge.load(name)
    model.initialize()
    generator = np.random.default_rng(1)
    for key, value in model.parameters.items():
        model.parameters[key] = value * (1 + 0.1 * generator.random(np.shape(value))) + 0.01 * generator.random()
    return model


def expected(graph, given):
    executor = Executor(graph)
    slots = executor.forward({name: given[name] for name in graph.sources if name in given})
    return {name: slots[executor.slot_of[value]] for name, value in graph.outputs.items()}


def converted(values, dtype):
    arrays = {name: np.asarray(value) for name, value in values.items()}
    return {name: each.astype(dtype) if each.dtype == np.float64 else each for name, each in arrays.items()}


def run(session, given):
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(None, given), strict=True))


def assert_near(found, wanted, tolerance):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].shape == np.shape(value), name
        assert np.isfinite(value).all(), name
        scale = np.max(np.abs(value), initial=0)
        np.testing.assert_allclose(found[name], value, rtol=0, atol=tolerance * scale, err_msg=name)


@in_runtime
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", ["forward", "gradient"])
@pytest.mark.parametrize("name", MODELS)
def test_shipped_models_give_the_same_in_onnxruntime(name, kind, dtype):
    model = moved(name)
    graph = model.graph if kind == "forward" else model.gradient()
    proto = onnx_proto(model, graph=kind, dtype=None if dtype == "float64" else dtype)
    read = {each.name for each in proto.graph.output}.union(*map(read_by, proto.graph.node))
    assert {each.name for each in proto.graph.initializer} <= read  # the runtime would warn of others
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    batch = batch_of(model)
    declared = {each.name for each in session.get_inputs()}
    assert declared == set(graph.inputs)
    wanted = expected(graph, {**model.values, **batch})
    assert_near(run(session, converted(batch, dtype)), wanted, TOLERANCE[dtype])


def test_the_models_that_train_by_an_update_rule_are_these():
    def trains(name):
        try:
            return bool(ge.load(name).training_step())
        except ge.errors.TrainingError:
            return False

    assert [name for name in MODELS if trains(name)] == TRAINED


@in_runtime
@pytest.mark.parametrize("name", TRAINED)
def test_a_hundred_iterations_in_onnxruntime_are_ours(name):
    model = ge.load(name)
    model.initialize()
    step = model.training_step()
    session = session_of(model, graph="step")
    carried = json.loads(session.get_modelmeta().custom_metadata_map["graphengine.carried"])
    assert carried == dict(step.carried)
    batch, rate = batch_of(model), {"learning_rate": np.float64(0.001)}
    executor = Executor(step.graph)
    sources = {**step.graph.parameters, **step.graph.state}
    ours = {name: initial_value(name, source) for name, source in sources.items()}
    theirs = {}  # the first iteration starts from the defaults
    for iteration in range(1, 101):
        scalars = {**rate, "iteration": np.float64(iteration)}
        slots = executor.forward({**ours, **batch, **scalars})
        outputs = {name: slots[executor.slot_of[value]] for name, value in step.graph.outputs.items()}
        ours |= {source: outputs[name] for name, source in carried.items()}
        found = run(session, {**theirs, **converted({**batch, **scalars}, "float64")})
        theirs = {source: found[name] for name, source in carried.items()}
    assert_near(found, outputs, 1e-10)


@in_runtime
def test_a_constant_learning_rate_needs_not_be_given():
    model = ge.load("linreg")
    session, step = session_of(model, graph="step"), model.training_step().graph
    given = {**batch_of(model), "iteration": np.float64(1)}
    rate = {"learning_rate": np.float64(model.document.training.optimizer.learning_rate)}
    wanted = expected(step, {**model.values, **given, **rate})
    assert_near(run(session, converted(given, "float64")), wanted, 1e-12)


@in_runtime
@pytest.mark.parametrize("name", TRAINED)
def test_a_step_without_defaults_begins_with_the_values_of_the_start(name):
    model = ge.load(name)
    model.initialize()
    start, step = session_of(model, graph="start"), session_of(model, graph="step", defaults=False)
    optional = session_of(model, graph="step")
    assert not start.get_inputs()
    assert not step.get_overridable_initializers()
    begun = run(start, {})
    assert begun.keys() == {each.name for each in optional.get_overridable_initializers()} - {"learning_rate"}
    given = converted({**batch_of(model), "iteration": 1.0, "learning_rate": 0.01}, "float64")
    found, wanted = run(step, {**begun, **given}), run(optional, given)
    assert_near(found, wanted, 1e-12)


LARGE = [
    {"id": "e", "op": "exp", "inputs": ["w"]},
    {"id": "m", "op": "mul", "inputs": ["e", "x"]},
    {"id": "l", "op": "sub", "inputs": ["m", "b"]},
]
SMALL = [{"id": "t", "op": "tanh", "inputs": ["x"]}, {"id": "s", "op": "mul", "inputs": ["t", "b"]}]
NORMALIZED = {
    "format": "graphengine.model",
    "format_version": 1,
    "opset_imports": {"core": 1},
    "name": "normalized",
    "inputs": {"x": {"shape": ["N", 3]}, "y": {"shape": ["N"]}},
    "parameters": {
        "scale": {"shape": [3], "initializer": {"type": "constant", "value": 1.0}},
        "bias": {"shape": [3], "initializer": {"type": "zeros"}},
        "w": {"shape": [3], "initializer": {"type": "constant", "value": 0.5}},
    },
    "state": {
        "mean": {"shape": [3], "initializer": {"type": "zeros"}, "update": "h:new_mean"},
        "var": {"shape": [3], "initializer": {"type": "constant", "value": 1.0}, "update": "h:new_var"},
    },
    "nodes": [
        {"id": "h", "op": "batch_norm", "inputs": ["x", "scale", "bias", "mean", "var"]},
        {"id": "p", "op": "matmul", "inputs": ["h", "w"]},
        {"id": "loss", "op": "mse", "inputs": ["p", "y"]},
    ],
    "outputs": {"loss": "loss"},
    "training": {
        "loss": "loss",
        "optimizer": {
            "type": "momentum",
            "learning_rate": {"type": "step", "learning_rate": 0.1, "every": 10, "factor": 0.5},
        },
        "epochs": 1,
    },
}


CHOOSING = {
    **{key: NORMALIZED[key] for key in ("format", "format_version", "opset_imports", "name")},
    "inputs": {"x": {"shape": ["N"]}},
    "parameters": {"w": {"shape": [], "value": 0.7}, "b": {"shape": [], "value": 0.2}},
    "functions": {
        "large": {"inputs": {"x": {}, "w": {}, "b": {}}, "nodes": LARGE, "outputs": {"out": "l"}},
        "small": {"inputs": {"x": {}, "w": {}, "b": {}}, "nodes": SMALL, "outputs": {"out": "s"}},
    },
    "nodes": [
        {"id": "total", "op": "sum", "inputs": ["x"]},
        {"id": "is_large", "op": "greater", "inputs": ["total", 1]},
        {"id": "double", "op": "mul", "inputs": ["x", 2]},
        {
            "id": "z",
            "op": "cond",
            "inputs": ["is_large", "double", "w", "b"],
            "attributes": {"then": "large", "otherwise": "small"},
        },
        {"id": "loss", "op": "mean", "inputs": ["z"]},
    ],
    "outputs": {"z": "z", "loss": "loss"},
    "training": {"loss": "loss", "optimizer": {"type": "adam", "learning_rate": 0.05}, "epochs": 1},
}


@in_runtime
@pytest.mark.parametrize("x", [[0.5, 2.0], [0.5, -2.0]])
@pytest.mark.parametrize("kind", ["forward", "gradient", "step"])
def test_a_choice_between_functions_is_exported(kind, x):
    model = ge.Model.from_dict(CHOOSING)
    graph = {"forward": model.graph, "gradient": model.gradient(), "step": model.training_step().graph}[kind]
    scalars = {"learning_rate": np.float64(0.05), "iteration": np.float64(1)} if kind == "step" else {}
    start = {name: initial_value(name, source) for name, source in {**graph.parameters, **graph.state}.items()}
    wanted = expected(graph, {**start, **scalars, "x": np.array(x)})
    session = session_of(model, graph=kind)
    assert_near(run(session, {**converted(scalars, "float64"), "x": np.array(x)}), wanted, 1e-12)


@in_runtime
def test_a_step_carries_state_and_takes_the_rate_of_a_schedule():
    model = ge.Model.from_dict(NORMALIZED)
    step, session = model.training_step(), session_of(model, graph="step")
    assert {each.name for each in session.get_inputs()} == {"x", "y", "learning_rate", "iteration"}
    assert {each.name for each in session.get_overridable_initializers()} == set(step.carried.values())
    assert {"mean", "var", "w/velocity"} <= set(step.carried.values())
    generator = np.random.default_rng(2)
    batch = {"x": 3 + generator.normal(size=(5, 3)), "y": generator.normal(size=5)}
    given = {**batch, "learning_rate": np.float64(0.1), "iteration": np.float64(1)}
    sources = {**step.graph.parameters, **step.graph.state}
    ours = {name: initial_value(name, source) for name, source in sources.items()}
    theirs = {}
    for _ in range(5):
        outputs = expected(step.graph, {**ours, **given})
        ours |= {source: outputs[name] for name, source in step.carried.items()}
        found = run(session, {**converted(given, "float64"), **theirs})
        theirs = {source: found[name] for name, source in step.carried.items()}
        assert_near(found, outputs, 1e-10)


@in_runtime
def test_a_node_of_a_plugin_is_exported_as_what_its_forward_does():
    @ge.register("acme.cube")
    class Cube(ge.Node):
        """x * x * x."""

        infer = ge.infer.elementwise

        def forward(self, x):
            return x * x * x

        def backward(self, grad, x):
            return 3 * grad * x * x

    @ge.register("acme.root")
    class Root(ge.Node):
        """The cubic root, which is no op."""

        infer = ge.infer.elementwise

        def forward(self, x):
            return np.cbrt(x)

        def backward(self, grad, x):
            return grad / (3 * np.square(np.cbrt(x)))

    def using(op):
        content = model_of([{"id": "z", "op": "neg", "inputs": ["x"]}], {"z": "z"}, x=["N"]).to_dict()
        nodes = [{"id": "z", "op": op, "inputs": ["x"]}]
        return ge.Model.from_dict({**content, "opset_imports": {"core": 1, "acme": 1}, "nodes": nodes})

    found = run(session_of(using("acme.cube")), {"x": np.array([1.0, -2.0])})
    np.testing.assert_array_equal(found["z"], [1, -8])
    with pytest.raises(ge.errors.InvalidModelError, match="it is an op of a plugin"):
        onnx_proto(using("acme.root"))


@in_runtime
def test_a_step_with_some_outputs_carries_these_alone():
    model = moved("linreg")
    session = session_of(model, graph="step", outputs=["loss", "gradient_norm"])
    assert [each.name for each in session.get_outputs()] == ["loss", "gradient_norm"]
    assert {each.name for each in session.get_inputs()} == {"x", "y"}
    assert "graphengine.carried" not in session.get_modelmeta().custom_metadata_map
    assert [each.name for each in session.get_overridable_initializers()] == ["theta"]
    batch = batch_of(model)
    (loss, _) = session.run(None, {**batch, "theta": np.array(400.0)})
    model.parameters["theta"] = 400.0
    np.testing.assert_allclose(loss, model.forward(batch)["loss"], rtol=1e-12)


@in_runtime
def test_a_step_predicts_with_parameters_that_it_is_given():
    model = ge.load("mlp_digits")
    session = session_of(model, graph="step", outputs="probabilities")
    assert {each.name for each in session.get_overridable_initializers()} == {"W1", "b1", "W2", "b2"}
    model.initialize()
    trained = {name: 1.1 * model.parameters[name] for name in ("W1", "b1", "W2", "b2")}
    for name, value in trained.items():
        model.parameters[name] = value
    x = batch_of(model)["x"]
    (found,) = session.run(None, {"x": x, **trained})
    np.testing.assert_allclose(found, model.predict(x=x)["probabilities"], rtol=1e-12)


@in_runtime
def test_values_that_no_file_can_hold_are_refused(monkeypatch):
    from graphengine.format.onnx import exporting

    monkeypatch.setattr(exporting, "LARGEST", 100)
    with pytest.raises(ge.errors.UsageError, match="an ONNX file holds at most 100"):
        onnx_proto(moved("mlp_digits"))


@in_runtime
def test_every_opset_from_the_oldest_on_can_be_written():
    for opset in range(18, onnx.defs.onnx_opset_version() + 1):
        made = onnx_proto(ge.load("cnn_digits"), graph="step", opset=opset)
        assert [each.version for each in made.opset_import] == [opset]


@in_runtime
def test_names_sizes_and_the_rest_of_the_file_are_kept():
    model = moved("mlp_digits")
    made = onnx_proto(model)
    declared = {each.name: each for each in made.graph.input}
    sizes = [each.dim_param or each.dim_value for each in declared["x"].type.tensor_type.shape.dim]
    assert sizes == ["N", 64]
    assert {each.name for each in made.graph.output} == set(model.graph.outputs)
    assert set(model.parameters) <= {each.name for each in made.graph.initializer}
    stored = {each.name: onnx.numpy_helper.to_array(each) for each in made.graph.initializer}
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(stored[name], value)
    assert made.doc_string == model.document.description
    kept = json.loads({each.key: each.value for each in made.metadata_props}["graphengine.model"])
    again = ge.Model.from_dict(kept)
    assert again.document.training == model.document.training
    assert again.fingerprint == ge.Model.from_dict(ge.load("mlp_digits").document.model_dump(by_alias=True)).fingerprint


@in_runtime
def test_only_the_wanted_outputs_are_exported():
    model = moved("mlp_digits")
    session = session_of(model, outputs="probabilities")
    assert [each.name for each in session.get_inputs()] == ["x"]
    assert [each.name for each in session.get_outputs()] == ["probabilities"]


@in_runtime
def test_all_nodes_that_cannot_be_exported_are_reported_at_once(tmp_path):
    nodes = [
        {"id": "a", "op": "cholesky", "inputs": ["x"]},
        {"id": "b", "op": "inv", "inputs": ["x"]},
        {"id": "c", "op": "add", "inputs": ["a", "b"]},
    ]
    model = model_of(nodes, {"c": "c"}, x=[3, 3])
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.onnx.export(model, tmp_path / "wrong.onnx")
    problems = caught.value.problems
    assert [(each.code, each.node) for each in problems] == [("GE305", "a"), ("GE305", "b")]
    assert "node 'a' (cholesky)" in problems[0].message
    assert not list(tmp_path.iterdir())


def model_of(nodes, outputs, **inputs):
    """A model without parameters."""
    return ge.Model.from_dict(
        {
            "format": "graphengine.model",
            "format_version": 1,
            "opset_imports": {"core": 1},
            "name": "m",
            "inputs": {name: {"shape": shape} for name, shape in inputs.items()},
            "nodes": nodes,
            "outputs": outputs,
        }
    )


@in_runtime
def test_an_output_with_the_name_of_another_value_gets_it():
    nodes = [{"id": "a", "op": "exp", "inputs": ["x"]}, {"id": "b", "op": "neg", "inputs": ["a"]}]
    session = session_of(model_of(nodes, {"a": "b", "b": "a"}, x=["N"]))
    found = run(session, {"x": np.array([0.0, 1.0])})
    np.testing.assert_allclose(found["a"], [-1, -np.e], rtol=1e-15)
    np.testing.assert_allclose(found["b"], [1, np.e], rtol=1e-15)


@in_runtime
def test_an_output_with_the_name_of_an_input_is_refused():
    model = model_of([{"id": "a", "op": "exp", "inputs": ["x"]}], {"x": "a"}, x=["N"])
    with pytest.raises(ge.errors.InvalidModelError, match="GE201: an input and an output have the name 'x'"):
        onnx_proto(model)


@in_runtime
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float16"}, "dtype 'float16'"),
        ({"graph": "backward"}, "no graph 'backward'"),
        ({"opset": 12}, "opset 12"),
        ({"opset": 999}, "opset 999"),
        ({"outputs": "nowhere"}, "no value 'nowhere'"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(options, message, tmp_path):
    with pytest.raises(ge.errors.UsageError, match=message):
        ge.onnx.export(ge.load("linreg"), tmp_path / "m.onnx", **options)


@in_runtime
def test_the_command_writes_what_the_function_writes(tmp_path, monkeypatch, capsys):
    path = tmp_path / "m.onnx"
    monkeypatch.setattr("sys.argv", ["graphengine", "export", "linreg", "-o", str(path), "--graph", "step"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None), capsys.readouterr().err
    onnx.checker.check_model(str(path), full_check=True)
    assert path.read_bytes() == onnx_proto(ge.load("linreg"), graph="step").SerializeToString()


def test_without_the_package_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ge.errors.UsageError) as caught:
        ge.onnx.export(ge.load("linreg"), tmp_path / "m.onnx")
    (problem,) = caught.value.problems
    assert (problem.code, problem.hint) == ("GE803", "pip install 'graphengine[onnx]'")


DROPPED = {
    "format": "graphengine.model",
    "format_version": 1,
    "opset_imports": {"core": 1, "nn": 1},
    "name": "dropped",
    "inputs": {"x": {"shape": ["N", 3]}, "y": {"shape": ["N", 1]}},
    "parameters": {},
    "nodes": [
        {"id": "h", "op": "nn.dense", "inputs": ["x"], "attributes": {"units": 8, "activation": "relu"}},
        {"id": "d", "op": "dropout", "inputs": ["h"], "attributes": {"p": 0.25}},
        {"id": "p", "op": "nn.dense", "inputs": ["d"], "attributes": {"units": 1}},
        {"id": "loss", "op": "mse", "inputs": ["p", "y"]},
    ],
    "outputs": {"loss": "loss"},
    "training": {"loss": "loss", "optimizer": {"type": "sgd", "learning_rate": 0.05}, "epochs": 100, "seed": 3},
}


@in_runtime
def test_dropout_trains_in_the_runtime_as_here():
    model = ge.Model.from_dict(DROPPED)
    session = session_of(model, graph="step")
    carried = json.loads(session.get_modelmeta().custom_metadata_map["graphengine.carried"])
    generator = np.random.default_rng(4)
    batch = {"x": generator.normal(size=(7, 3)), "y": generator.normal(size=(7, 1))}
    history = model.train(data=batch)
    state = {}
    for iteration in range(1, 101):
        found = run(session, {**batch, **state, "iteration": np.array(float(iteration))})
        state = {source: found[name] for name, source in carried.items()}
    assert state.pop("d.key").dtype == np.uint64
    assert_near(state, {name: np.asarray(model.parameters[name]) for name in model.parameters}, 1e-10)
    assert len(history) == 100


@in_runtime
def test_other_keys_drop_other_units():
    model = ge.Model.from_dict(DROPPED)
    session, start = session_of(model, graph="step"), run(session_of(model, graph="start"), {})
    batch = {"x": np.ones((7, 3)), "y": np.ones((7, 1)), "iteration": np.array(1.0)}
    assert start["d.key"].shape == ()
    same = run(session, {**batch, "d.key": start["d.key"]})
    np.testing.assert_array_equal(same["loss"], run(session, batch)["loss"])
    other = run(session, {**batch, "d.key": np.asarray(start["d.key"] + np.uint64(1))})
    assert other["loss"] != same["loss"]
    seeded = ge.Model.from_dict({**DROPPED, "training": {**DROPPED["training"], "seed": 4}})
    key = run(session_of(seeded, graph="start"), {})["d.key"]
    of_seed = run(session_of(seeded, graph="step"), {**batch, **start, "d.key": key})["loss"]
    np.testing.assert_array_equal(run(session, {**batch, "d.key": key})["loss"], of_seed)


@in_runtime
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("op", ["uniform", "normal", "bernoulli"])
def test_random_numbers_are_those_of_the_key(op, dtype):
    content = {
        **{key: NORMALIZED[key] for key in ("format", "format_version", "opset_imports", "name")},
        "inputs": {"x": {"shape": ["N", 3]}},
        "nodes": [
            {"id": "key", "op": "random_key", "attributes": {"stream": "s", "seed": 5}},
            {"id": "sizes", "op": "shape", "inputs": ["x"]},
            {"id": "z", "op": op, "inputs": {"key": "key", "sizes": "sizes"}, "attributes": {"dtype": dtype}},
        ],
        "outputs": {"z": "z"},
    }
    model = ge.Model.from_dict(content)
    session = session_of(model)
    for rows in (0, 1, 2, 7, 300):
        x = np.zeros((rows, 3))
        wanted = model.predict(x=x)["z"]
        (found,) = session.run(None, {"x": x})
        assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13 if dtype == "float64" else 1e-5)
