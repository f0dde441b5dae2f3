"""The jax backend: XLA computes what the numpy backend does, to 1e-12 in double precision."""

import random
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import test_same_bits
from documents import MODELS, document, linreg, training
from test_compile import ROWS, one_op
from test_same_bits import FAMILIES, bits, mixed_graph
from typer.testing import CliRunner

import graphengine as ge
from graphengine.backends.protocol import _made, backend_named
from graphengine.cli import app as application
from graphengine.errors import UsageError

pytestmark = pytest.mark.filterwarnings("default")  # jax warns of its own use of NumPy
WITH_JAX = pytest.mark.extra("jax")
X = np.random.default_rng(0).standard_normal(40)
DATA = {"x": X, "y": 3 * X + 0.1}


def rows(most=1):
    """Samples of all ops: the first ones of each."""
    counts = Counter()
    for row in ROWS:
        counts[row.values[0]] += 1
        if counts[row.values[0]] <= most:
            yield row


def assert_close(found, expected, tolerance):
    """Equal up to a tolerance relative to each number, NaN and infinities in the same places."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=0 if expected.dtype.kind != "f" else 1e-300)


@WITH_JAX
@pytest.mark.parametrize(("op", "attributes", "arrays"), list(rows()))
def test_every_op_gives_what_the_numpy_backend_gives(op, attributes, arrays):
    model, values = one_op(op, attributes, arrays)
    expected = backend_named("numpy").compile(model.graph).run(values)
    found = backend_named("jax").compile(model.graph).run(values)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert_close(found[name], value, 1e-12)


@pytest.fixture
def op_by_op(monkeypatch):
    """Graphs run op by op: what XLA compiles of an op serves all graphs, so many graphs take seconds and no minutes."""
    import jax

    monkeypatch.setattr(jax, "jit", lambda function: function)


def of_few_types(monkeypatch):
    """Random graphs have values of two types in two shapes."""
    monkeypatch.setattr(test_same_bits, "NUMBERS", [1.5, [2, 0, 3]])
    monkeypatch.setattr(test_same_bits, "DTYPES", ["float64", "int64"])


@WITH_JAX
@pytest.mark.parametrize("family", FAMILIES)
def test_random_graphs_give_what_the_numpy_backend_gives(family, op_by_op, monkeypatch):
    chance, count = random.Random(f"jax {family}"), 0
    for number in range(520):
        if number == 15:
            of_few_types(monkeypatch)
        model, values = mixed_graph(chance, FAMILIES[family])
        try:
            expected = backend_named("numpy").compile(model.graph).run(values)
        except (ge.errors.ExecutionError, OverflowError, ValueError):
            continue
        found, count = backend_named("jax").compile(model.graph).run(values), count + 1
        assert list(found) == list(expected)
        is_single = any(kind.dtype == np.float32 for kind in model.graph.types.values())
        for name, value in expected.items():
            assert_close(found[name], value, 1e-5 if is_single else 1e-12)
    assert count >= 500


def trained(path, backend, iterations=20, **options):
    model = ge.load(path, backend=backend)
    chosen = {"max_iterations": iterations, "epochs": None, "validation": None, "early_stopping": None}
    return model, model.train(**chosen, **options)


TRAINED = ["autoencoder_digits", "cnn_digits", "linreg", "linreg_single_sample", "lstm_sums", "mlp_digits", "noint1"]


@WITH_JAX
@pytest.mark.parametrize("name", TRAINED)
def test_a_shipped_model_is_trained_as_by_the_numpy_backend(name):
    (one, expected), (other, found) = [trained(MODELS / f"{name}.json", backend) for backend in ("numpy", "jax")]
    for parameter, value in one.parameters.items():
        scale = np.abs(value).max(initial=0) or 1
        np.testing.assert_allclose(other.parameters[parameter], value, rtol=0, atol=1e-12 * scale)
    assert len(found) == len(expected)
    assert found.last.loss == pytest.approx(expected.last.loss, rel=1e-12)
    assert found.last.gradient_norm == pytest.approx(expected.last.gradient_norm, rel=1e-10)


@WITH_JAX
@pytest.mark.parametrize("name", sorted(path.stem for path in MODELS.glob("*.json")))
def test_a_shipped_model_predicts_as_with_the_numpy_backend(name):
    model = ge.load(MODELS / f"{name}.json")
    if model.untrained():
        model.initialize()
    given = model.load_data("train" if "train" in model.document.data else None) if model.document.data else {}
    graph = model.graph.with_sizes(dict.fromkeys(symbols(model.graph), 5))
    values = {**model.values}
    for input, of in graph.inputs.items():
        data, shape = given.get(input), of.type.shape
        values[input] = np.ones(shape, of.type.array_dtype) if data is None else np.resize(data, shape)
    expected = backend_named("numpy").compile(graph).run(values)
    found = backend_named("jax").compile(graph).run(values)
    for output, value in expected.items():
        scale = np.abs(value).max(initial=0) or 1
        np.testing.assert_allclose(found[output], value, rtol=1e-12, atol=1e-12 * scale)


def symbols(graph):
    return {size for of in graph.inputs.values() for size in of.type.shape if isinstance(size, str)}


@WITH_JAX
def test_each_row_of_a_history_is_that_of_the_numpy_backend():
    histories = []
    for backend in ("numpy", "jax"):
        model = ge.Model.from_dict(linreg(training=training()), backend=backend)
        rows = list(model.iterate(DATA, batch_size=8, epochs=9, learning_rate=0.05))
        histories.append([(row.iteration, row.loss, row.gradient_norm, float(row.parameters["theta"])) for row in rows])
    assert len(histories[0]) == 45
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-12)


@WITH_JAX
def test_single_precision_stays_single():
    found = []
    for backend in ("numpy", "jax"):
        model = ge.Model.from_dict(linreg(training=training(), dtype="float32"), backend=backend)
        model.train(DATA, epochs=5, batch_size=8)
        found.append(model.parameters["theta"])
    assert found[1].dtype == np.float32
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


@WITH_JAX
def test_resuming_has_the_bits_of_a_training_without_a_break(tmp_path):
    whole, _ = trained(MODELS / "linreg.json", "jax", 30)
    for iterations in (7, 19, 30):
        part, _ = trained(MODELS / "linreg.json", "jax", iterations, checkpoints=tmp_path, resume=True)
    assert bits(part.parameters["theta"]) == bits(whole.parameters["theta"])


@WITH_JAX
def test_a_training_that_diverges_ends_at_the_same_iteration():
    found = []
    for backend in ("numpy", "jax"):
        with pytest.raises(ge.errors.DivergenceError) as raised:
            ge.Model.from_dict(linreg(training=training()), backend=backend).train(DATA, epochs=900, learning_rate=90.0)
        found.append(raised.value.iteration)
    assert found[0] == found[1]


# ---------------------------------------------------------------- what the table lacks


def with_noise():
    nodes = {
        "key": ("random_key", [], {"stream": "noise"}),
        "noise": ("normal", ["key"], {"shape": [3]}),
        "moved": ("add", ["theta", "noise"]),
        "sq": ("square", ["moved"]),
        "loss": ("mean", ["sq"]),
    }
    section = {"loss": "loss", "optimizer": {"type": "sgd", "learning_rate": 0.1}, "max_iterations": 5}
    return document(nodes, {"loss": "loss"}, parameters={"theta": [1.0, 2.0, 3.0]}, training=section)


@WITH_JAX
def test_ops_that_the_table_lacks_run_in_numpy_around_it():
    found = []
    for backend in ("numpy", "jax"):
        model = ge.Model.from_dict(with_noise(), backend=backend)
        history = model.train({})
        found.append([*model.parameters["theta"], history.last.loss])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12)


@WITH_JAX
def test_a_plan_names_what_runs_in_numpy(tmp_path):
    path = tmp_path / "noise.json"
    ge.Model.from_dict(with_noise()).save(path)
    shown = [run("show", "--plan", "--backend", "jax", each).output for each in (path, MODELS / "linreg.json")]
    assert "# XLA compiles this, except for ops that run in NumPy: normal, random_key" in shown[0]
    assert re.search(r"v\d+ = normal\(v\d+.*\)  # runs in NumPy", shown[0])
    assert "# XLA compiles this as one" in shown[1]


def run(*arguments):
    return CliRunner().invoke(application.app, [str(each) for each in arguments])


class Cube(ge.Node):
    """The cube, z = x**3; dx = 3 * x**2 * dz."""

    infer = ge.infer.elementwise

    def forward(self, x):
        return x * x * x

    def backward(self, grad, x):
        return 3 * x * x * grad


class JaxOpaque(ge.Node):
    """The square, z = x**2; dx = 2 * x * dz, which looks at the values."""

    infer = ge.infer.elementwise

    def forward(self, x):
        return x * x

    def backward(self, grad, x):
        return 2 * x * grad if float(np.sum(x)) else 0 * grad


def of_custom_node(op, backend):
    nodes = {"z": (op, ["theta"]), "loss": ("sum", ["z"])}
    section = {"loss": "loss", "optimizer": {"type": "sgd", "learning_rate": 0.01}, "max_iterations": 5}
    content = document(nodes, {"loss": "loss"}, parameters={"theta": [1.0, 2.0]}, training=section)
    return ge.Model.from_dict({**content, "opset_imports": {"core": 1, "jaxtest": 1}}, backend=backend)


@WITH_JAX
def test_a_custom_node_is_compiled():
    ge.register("jaxtest.cube")(Cube)
    models = [of_custom_node("jaxtest.cube", backend) for backend in ("numpy", "jax")]
    for model in models:
        model.train({})
    np.testing.assert_allclose(models[1].parameters["theta"], models[0].parameters["theta"], rtol=1e-12)
    assert not backend_named("jax").compile(models[1].training_step().graph).lacking


@WITH_JAX
def test_a_node_that_only_python_runs_is_refused_in_a_loop():
    ge.register("jaxtest.opaque")(JaxOpaque)
    with pytest.raises(ge.errors.ExecutionError, match=r"has code that only Python runs") as raised:
        of_custom_node("jaxtest.opaque", "jax").train({})
    assert raised.value.problems[0].code == "GE416"


# ---------------------------------------------------------------- devices, and jax as an extra


@WITH_JAX
def test_a_device_is_chosen_by_its_name():
    model = ge.load(MODELS / "linreg.json", backend="jax:cpu")
    assert model.backend.name == "jax:cpu"
    model.train(max_iterations=3, epochs=None)
    found = run("run", MODELS / "linreg.json", "--backend", "jax", "--device", "cpu", "--format", "json")
    assert found.exit_code == 0, found.output


@WITH_JAX
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="jax has no device 'abacus'; it has cpu:0"):
        backend_named("jax:abacus")


def test_a_device_of_another_backend_is_refused():
    with pytest.raises(UsageError, match="the numpy backend has no device to choose"):
        backend_named("numpy:gpu")


@WITH_JAX
def test_double_precision_is_switched_on_for_this_backend_alone():
    code = (
        "import jax, numpy as np, graphengine as ge\n"
        f"ge.load({str(MODELS / 'linreg.json')!r}, backend='jax').train(epochs=2)\n"
        "assert jax.numpy.asarray(np.ones(3)).dtype == np.float32\n"
        "assert not jax.config.jax_enable_x64\n"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False).returncode == 0


@WITH_JAX
def test_what_a_chunk_leaves_on_the_device_is_used_by_the_next():
    model = ge.load(MODELS / "linreg.json", backend="jax")
    program = model.trainer().stepper._compiled.plan({"N": 24})
    values = {name: np.float64(1) for name in program.sources}
    values |= {"x": np.ones(24), "y": np.ones(24)}
    first = program.loop([], values, ["x", "y"], ["loss"], print, print)
    _, kept = program._kept["theta"]
    assert program._placed("theta", first["theta"]) is kept
    assert program._placed("theta", np.float64(1)) is not kept


@WITH_JAX
def test_data_goes_to_the_device_once_for_a_training_and_again_for_the_next(monkeypatch):
    from graphengine.backends.jax.xla_program import JaxProgram

    put = []
    monkeypatch.setattr(
        JaxProgram,
        "_put",
        lambda self, name, value, put_=JaxProgram._put: [put.append(name), put_(self, name, value)][1],
    )
    data = {name: array.copy() for name, array in DATA.items()}
    models = [ge.Model.from_dict(linreg(training=training()), backend=backend) for backend in ("numpy", "jax")]
    for times in (1, 2):
        for model in models:
            model.train(data, batch_size=8, epochs=30, learning_rate=0.01)
        assert put.count("x") == put.count("y") == times
        data["x"] *= 2  # the same array with other numbers
    np.testing.assert_allclose(models[1].parameters["theta"], models[0].parameters["theta"], rtol=1e-12)


@WITH_JAX
@pytest.mark.parametrize("shuffle", [False, True])
def test_more_data_than_stays_on_the_device_goes_there_in_blocks(shuffle, monkeypatch):
    from graphengine.backends.jax import xla_loops

    monkeypatch.setattr(xla_loops, "TABLE_BYTES", 0)
    monkeypatch.setattr(xla_loops, "BLOCK_BYTES", 500)
    models = [ge.Model.from_dict(linreg(training=training()), backend=backend) for backend in ("numpy", "jax")]
    for model in models:
        model.train(DATA, batch_size=7, epochs=9, learning_rate=0.01, shuffle=shuffle)
    np.testing.assert_allclose(models[1].parameters["theta"], models[0].parameters["theta"], rtol=1e-12)


@WITH_JAX
def test_what_only_a_record_needs_is_computed_for_none_but_records():
    model = ge.Model.from_dict(linreg(training=training()), backend="jax")
    compiled = model.trainer(DATA).stepper._compiled
    program = compiled.plan({"N": 40})
    values = [program.outputs[name] for name in (compiled.step.loss, *program.carried)]
    always, sometimes = program._parts[0].split(values)
    assert {*values}.isdisjoint([name for _, each in sometimes for name in each.outputs])
    assert program.outputs["gradient_norm"] in [name for _, each in sometimes for name in each.outputs]
    assert len(always) + len(sometimes) == len(program._parts[0].steps)


def test_without_jax_the_backend_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.delitem(_made, "jax", raising=False)
    monkeypatch.setattr("graphengine.extras.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs the package 'jax'.*pip install 'graphengine\[jax\]'") as raised:
        ge.load(MODELS / "linreg.json", backend="jax")
    assert raised.value.problems[0].code == "GE803"
