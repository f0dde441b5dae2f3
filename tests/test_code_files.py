"""Models as source files. Python files run in a process without graphengine and give the bits of the numpy backend."""

import ast
import gc
import itertools
import json
import pickle
import subprocess
import sys
from collections import Counter
from typing import ClassVar

import numpy as np
import pytest
from documents import MODELS, document, linreg, training
from test_compile import ROWS, one_op
from test_same_bits import bits
from typer.testing import CliRunner

import graphengine as ge
from graphengine.cli import app as application
from graphengine.errors import InvalidModelError
from graphengine.model.code_files import python_file
from graphengine.training.schedules import rate_at

APART = """
import pickle, sys

sys.modules["graphengine"] = None  # importing it raises
results = []
for text, calls in pickle.load(sys.stdin.buffer):
    module = {"__name__": "exported"}
    exec(compile(text, "<exported>", "exec"), module)
    found, parameters = [], None
    for name, inputs, given, further in calls:
        parameters = given if given is not None else parameters if parameters is not None else module["start"]()
        result = module[name](inputs, parameters, *further)
        if name == "step":
            result, parameters = result
            result = {**result, **parameters}
        found.append(result)
    results.append(found)
pickle.dump(results, sys.stdout.buffer)
"""
"""Runs texts of files and calls of their functions, in a process that cannot import graphengine."""


def apart(texts_and_calls):
    """What the functions of Python files return in a process of their own; a call is (name, inputs, values, more)."""
    done = subprocess.run([sys.executable, "-c", APART], input=pickle.dumps(texts_and_calls), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return pickle.loads(done.stdout)


def all_bits(values):
    return {name: bits(np.asarray(value)) for name, value in values.items()}


def assert_same(found, expected):
    assert all_bits({name: found[name] for name in expected}) == all_bits(expected)


def first_batches(model, count):
    """Batches of a training in its own order; from the samples where no update rule trains."""
    for epoch in itertools.count(1):
        for segment in model.trainer().batches.epoch(epoch):
            for index in range(segment.count):
                yield segment.batch(index)
                count -= 1
                if not count:
                    return


def is_trained_by_a_rule(model):
    return model.document.training is not None and not model.document.training.optimizer.is_solver


def some_inputs(model):
    given = model.load_data() if model.document.data else None
    if given:
        return given
    shapes = {
        name: [size if isinstance(size, int) else 3 for size in of.type.shape]
        for name, of in model.graph.inputs.items()
    }
    return {name: np.random.default_rng(0).uniform(0.5, 1, shape) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def exported():
    """For each shipped model: the model with values, its file, what its functions are called with and gave."""
    models, tasks = {}, []
    for path in sorted(MODELS.glob("*.json")):
        model = ge.load(path)
        if model.untrained():
            model.initialize()
        rule = is_trained_by_a_rule(model)
        steps = min(60, max(3, model.trainer().batches.per_epoch + 1)) if rule else 0
        batches = list(first_batches(model, steps)) if rule else [some_inputs(model)]
        values = dict(model.values)
        calls = [("forward", batches[0], values, ()), ("gradient", batches[0], values, ())]
        if rule:
            schedule = model.document.training.optimizer.learning_rate
            rates = [rate_at(schedule, number) for number in range(1, steps + 1)]
            for number, (batch, rate) in enumerate(zip(batches, rates, strict=True), 1):
                calls.append(("step", batch, start_of(model) if number == 1 else None, (number, rate)))
        tasks.append((python_file(model), calls))
        models[path.stem] = (model, batches, steps)
    return {name: (*kept, found) for (name, kept), found in zip(models.items(), apart(tasks), strict=True)}


def start_of(model):
    """What a file starts from: parameters, state and slots."""
    module = {"__name__": "exported"}
    exec(python_file(model), module)
    return module["start"]()


NAMES = [path.stem for path in sorted(MODELS.glob("*.json"))]


@pytest.mark.parametrize("name", NAMES)
def test_a_python_file_predicts_and_differentiates_with_the_bits_of_the_numpy_backend(exported, name):
    model, batches, _, (forward, gradient, *_) = exported[name]
    run = model.forward(batches[0])
    assert_same(forward, {output: run[output] for output in model.graph.outputs})
    slopes = run.backward()
    assert set(gradient) == {f"d_{model.default_loss()}/d_{name}" for name in slopes}
    assert_same(gradient, {f"d_{model.default_loss()}/d_{name}": value for name, value in slopes.items()})


@pytest.mark.parametrize("name", [name for name in NAMES if is_trained_by_a_rule(ge.load(MODELS / f"{name}.json"))])
def test_a_python_file_trains_with_the_bits_of_the_numpy_backend(exported, name):
    model, _, steps, (_, _, *results) = exported[name]
    history = model.train(max_iterations=steps, epochs=None, validation=None, early_stopping=None)
    assert len(results) == steps
    assert_same(results[-1], dict(model.parameters))
    assert_same({"loss": results[-1][model.document.training.loss]}, {"loss": np.float64(history.last.loss)})


def rows(most):
    """Rows of the samples, at most so many for each op."""
    counts = Counter()
    for row in ROWS:
        counts[row.values[0]] += 1
        if counts[row.values[0]] <= most:
            yield row.values


@pytest.mark.parametrize(("dtype", "most"), [("float64", 100), ("float32", 1)])
def test_python_files_of_all_ops_have_the_bits_of_the_reference(dtype, most):
    tasks, expected = [], []
    for op, attributes, arrays in rows(most):
        model, values = one_op(op, attributes, arrays, dtype)
        tasks.append((python_file(model), [("forward", values, {}, ())]))
        run = model.forward(values)
        expected.append(({name: run[name] for name in model.graph.outputs}, op))
    for (found,), (outputs, op) in zip(apart(tasks), expected, strict=True):
        assert all_bits({name: found[name] for name in outputs}) == all_bits(outputs), op


def with_a_gradient(op, attributes, arrays):
    """A model whose parameters are the differentiable operands of an op, None if it has no loss."""
    arrays = [np.asarray(array) for array in arrays]
    names = [f"x{place}" for place in range(len(arrays))]
    given = dict(zip(names, arrays, strict=True))
    learned = {name: each.tolist() for name, each in given.items() if each.dtype.kind == "f" and each.size}
    inputs = {name: {"shape": list(each.shape), "dtype": each.dtype.name} for name, each in given.items()}
    inputs = {name: each for name, each in inputs.items() if name not in learned}
    nodes = {"z": (op, names, attributes), "bent": ("tanh", ["z"]), "loss": ("sum", ["bent"])}
    try:
        model = ge.Model.from_dict(document(nodes, {"loss": "loss"}, inputs=inputs, parameters=learned))
        model.gradient()
    except ge.errors.GraphEngineError:
        return None, {}
    return model, {name: given[name] for name in inputs}


def test_gradients_of_all_ops_in_python_files_have_the_bits_of_the_reference():
    tasks, expected, refused = [], [], set()
    for op, attributes, arrays in rows(2):
        model, inputs = with_a_gradient(op, attributes, arrays)
        if model is None:
            continue
        try:
            tasks.append((python_file(model), [("gradient", inputs, dict(model.values), ())]))
        except InvalidModelError:
            refused.add(op)
            continue
        expected.append((op, model.forward(inputs).backward()))
    assert refused == set()
    assert len(expected) > 150
    for (found,), (op, slopes) in zip(apart(tasks), expected, strict=True):
        assert all_bits(found) == {f"d_loss/d_{name}": bits(np.asarray(each)) for name, each in slopes.items()}, op


# ---------------------------------------------------------------- what a file may hold


def test_a_step_takes_batches_of_any_size():
    model = ge.load(MODELS / "linreg.json")
    x = np.random.default_rng(1).standard_normal(7)
    inputs = {"x": x, "y": 3 * x}
    ((first, found),) = apart([(python_file(model), [("step", inputs, None, (1,)), ("step", inputs, None, (2,))])])
    model.train(inputs, max_iterations=2, epochs=None)
    assert first["theta"] != found["theta"]
    np.testing.assert_allclose(found["theta"], model.parameters["theta"], rtol=1e-14)


HOSTILE = "end \"\"\" \\ \n\r\x0b\x0c\u2028\x00 raise SystemExit # {x} ''' \u202e"
NAMES_OF_PYTHON = ["import", "np", "x__y", "v__0", "inputs", "list", "sum_to", "µ", "start"]


@pytest.mark.parametrize("name", NAMES_OF_PYTHON)
def test_names_and_descriptions_of_a_model_are_no_code(name):
    content = linreg(training=training())
    text = json.dumps(content).replace('"y_hat"', json.dumps(name))
    content = json.loads(text) | {"description": HOSTILE}
    content["inputs"]["x"]["description"] = HOSTILE
    content["nodes"][0]["description"] = HOSTILE
    model = ge.Model.from_dict(content)
    inputs = {"x": np.arange(4.0), "y": np.ones(4)}
    ((found, slopes, _),) = apart(
        [
            (
                python_file(model),
                [(of, inputs, None, ()) for of in ("forward", "gradient")] + [("step", inputs, None, (1,))],
            )
        ]
    )
    run = model.forward(inputs)
    assert bits(np.asarray(found["loss"])) == bits(np.asarray(run["loss"]))
    assert bits(np.asarray(slopes["d_loss/d_theta"])) == bits(np.asarray(run.backward()["theta"]))


class Scaled(ge.Node):
    """x times the attribute, z = factor * x; dx = factor * dz."""

    LARGEST: ClassVar[float] = 1e9
    factor: float = 2.0

    infer = ge.infer.elementwise

    def forward(self, x):
        limited = self.limited(x)
        return self.factor * limited

    def limited(self, x):
        return np.minimum(x, self.LARGEST)

    def backward(self, grad):
        return self.factor * grad


class Opaque(ge.Node):
    """The square, z = x**2; dx = 2 * x * dz, which looks at the values."""

    infer = ge.infer.elementwise

    def forward(self, x):
        return x * x

    def backward(self, grad, x):
        return 2 * x * grad if float(np.sum(x)) else 0 * grad


def of_one_node(op, cls):
    ge.register(op)(cls)
    nodes = {"z": (op, ["theta"]), "loss": ("sum", ["z"])}
    return ge.Model.from_dict(
        document(nodes, {"loss": "loss"}, parameters={"theta": [1.0, 2.0]}, opset_imports={"core": 1, "codefiles": 1})
    )


def test_a_custom_node_is_written_with_its_own_source():
    model = of_one_node("codefiles.scaled", Scaled)
    ((found, slopes),) = apart([(python_file(model), [(of, {}, None, ()) for of in ("forward", "gradient")])])
    assert found["loss"] == 6
    assert slopes["d_loss/d_theta"].tolist() == [2.0, 2.0]


def test_a_backward_that_cannot_be_recorded_is_refused_with_its_node():
    with pytest.raises(InvalidModelError, match=r"\(opaque_backward\) cannot be exported to Python") as raised:
        python_file(of_one_node("codefiles.opaque", Opaque))
    assert [each.code for each in raised.value.problems] == ["GE305"]


def scaled_often(shift):
    """A model of many nodes, each with its own number."""
    builder = ge.Builder("often")
    value = builder.input("x", ["N"])
    for place in range(50):
        value = value * (place + shift)
    builder.output(y=value)
    return builder.model()


def test_a_file_leaves_no_statements_in_memory():
    def statements():
        gc.collect()
        return sum(issubclass(type(each), ast.AST) for each in gc.get_objects())  # a weak proxy may be dead

    python_file(scaled_often(0.25))  # reads the sources of the ops, which are kept
    before = statements()
    python_file(scaled_often(0.75))
    assert statements() == before


def run(*arguments):
    return CliRunner().invoke(application.app, [str(each) for each in arguments])


def test_the_command_writes_a_file_that_runs(tmp_path):
    path = tmp_path / "model.py"
    done = run("export", "linreg", "--format", "python", "-o", path)
    assert done.exit_code == 0, done.output
    found = subprocess.run([sys.executable, path], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert found.stdout.splitlines()[1].startswith("1 {'loss': np.float64(")


def test_options_of_onnx_are_refused(tmp_path):
    done = run("export", "linreg", "--format", "python", "-o", tmp_path / "model.py", "--graph", "step")
    assert done.exit_code == 2
    assert "--graph is for ONNX files" in done.output
