"""Every number that a command prints about a shipped model, computed by a second way.

The ways: other batches, another limit of memory, the methods of a model instead of the command, the reference executor
instead of a plan, NumPy instead of the package.
"""

import json

import numpy as np
import pytest
from documents import SHIPPED
from typer.testing import CliRunner

import graphengine as ge
from graphengine.backends.in_parts import InParts
from graphengine.backends.protocol import backend_named
from graphengine.backends.reference.executor import Executor
from graphengine.cli.app import app
from graphengine.data.batches import Batches
from graphengine.format.initializers import FromDataInitializer
from graphengine.ir.binding import bind_sizes
from graphengine.limits import Limits
from graphengine.training.evaluation import Evaluation
from graphengine.transform.gradient import gradient
from graphengine.transform.stages import stages_of

pytestmark = pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")  # untrained; small limits
ROOM = 300
"""Samples of a large data set that the slow ways work on."""
MODELS = {path.stem: path for path in SHIPPED}
WITH_DATA = sorted(name for name, path in MODELS.items() if ge.load(path).document.data)
RULES = [name for name in WITH_DATA if not ge.load(MODELS[name]).document.training.optimizer.is_solver]
BATCHED = [name for name in WITH_DATA if name != "linreg_single_sample"]
DYNAMIC = {"lotka_volterra", "sir"}
"""Models whose rows are steps of time, so that one alone is another model; tests/test_dynamics.py has their fits."""
FITTED = [name for name in WITH_DATA if ge.load(MODELS[name]).document.training.optimizer.type == "least_squares"]
FITTED = [name for name in FITTED if name not in DYNAMIC]


def cli(*arguments):
    result = CliRunner().invoke(app, [*map(str, arguments), "--format", "json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def model_and_data(name, samples=None):
    """A shipped model, with the statistics of its data, and the data that it is trained on, or the first samples."""
    model = ge.load(MODELS[name])
    model.initialize()
    data = model.load_data(model.document.training.data)
    return model, {key: np.asarray(array)[:samples] for key, array in data.items()}


def statistics(model):
    """The values that a model takes from its data, as a file has them."""
    names = [name for name, each in model.graph.parameters.items() if isinstance(each.initializer, FromDataInitializer)]
    return {name: model.values[name].tolist() for name in names}


def settings(model):
    """Options that give a command the statistics of a model that is not trained."""
    values = statistics(model).items()
    return [part for name, value in values for part in ("--set", f"parameters.{name}.value={json.dumps(value)}")]


def assert_close(found, expected, tolerance=1e-10):
    """Floating-point numbers agree relative to the largest of them, unless all cancel out; all others exactly."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected)
        return
    scale = max(np.max(np.abs(expected), initial=0), 1e-3)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale)


def by_reference(model, data, graph=None):
    """All values of the graph of a model, or of another one of the same sources, by the reference executor."""
    executor = Executor(graph or model.graph)
    given = {**model.values, **data}
    slots = executor.forward({name: value for name, value in given.items() if name in executor.slot_of})
    return {name: slots[slot] for name, slot in executor.slot_of.items()}


# ---------------------------------------------------------------- in parts


@pytest.mark.parametrize("name", BATCHED)
@pytest.mark.parametrize("part", [1, 7, 100])
def test_every_value_and_gradient_of_a_model_in_parts_is_that_of_the_whole(name, part):
    model, data = model_and_data(name, 40 if part == 1 else ROOM)
    graph, samples = model.graph, len(next(iter(data.values())))
    every = {value: value for node in graph.nodes for value in node.outputs}
    for each in (graph.derive(graph.nodes, every, graph.types), gradient(graph, of=model.default_loss())):
        right = by_reference(model, data, each)
        given = {key: array for key, array in data.items() if key in each.inputs}
        sizes = bind_sizes({key: array.shape for key, array in given.items()}, each.types)
        found = InParts(stages_of(each, sizes, given), backend_named("numpy")).run(
            model.values,
            lambda given=given: (
                {key: array[start : start + part] for key, array in given.items()} for start in range(0, samples, part)
            ),
        )
        for output, value in each.outputs.items():
            assert_close(found[output], right[value])


# ---------------------------------------------------------------- train and run


@pytest.mark.parametrize("name", WITH_DATA)
def test_what_a_training_prints_is_what_the_methods_of_the_saved_model_give(name, tmp_path):
    (tmp_path / "data").symlink_to(MODELS["linreg"].parent / "data")
    saved = tmp_path / f"{name}.json"
    options = ["--epochs", 2] if name in RULES else ["--max-iterations", 3]
    found = cli("train", MODELS[name], *options, "--save", saved)
    model, data = model_and_data(name)
    trained = {key: ge.load(saved).parameters[key] for key in found["parameters"]}
    for key, value in trained.items():
        assert_close(found["parameters"][key], value, 0)
    model.values.update(trained)
    expected = by_reference(model, data) if name in BATCHED else {}
    assert set(found["outputs"]) == (set(model.graph.outputs) if name in BATCHED else set())
    for output, value in found["outputs"].items():
        assert_close(value, expected[model.graph.outputs[output]])
    training = model.document.training
    if training.validation:
        test = {key: np.asarray(array) for key, array in model.load_data(training.validation.data).items()}
        expected = by_reference(model, test)
        wanted = {"validation_loss": training.loss, **training.metrics}
        if "checks" in found:
            last = {key: float(expected[model.graph.value_name(value)]) for key, value in wanted.items()}
            assert found["checks"] == pytest.approx(last, rel=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_the_first_loss_of_a_training_is_that_of_its_first_batch(name):
    model, data = model_and_data(name)
    training = model.document.training
    batches = Batches(data, model.graph, batch_size=training.batch_size, shuffle=training.shuffle, seed=training.seed)
    batch = next(iter(batches.epoch(1))).batch(0)
    expected = by_reference(model, batch)[model.graph.value_name(training.loss)]
    found = cli("train", MODELS[name], "--max-iterations", 1)["loss"]
    assert found["first"] == found["last"] == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("name", BATCHED)
def test_the_outputs_of_run_do_not_depend_on_the_limit(name, tmp_path):
    model, data = model_and_data(name, ROOM)
    np.savez(tmp_path / "d.npz", **data)
    content = json.loads(MODELS[name].read_text())
    content["data"] = {"d": {"type": "npz", "path": "d.npz", "arrays": {key: key for key in data}}}
    del content["training"]
    for key, value in statistics(model).items():
        content["parameters"][key] |= {"value": value}
    (tmp_path / "m.json").write_text(json.dumps(content))
    small = sum(array.nbytes for array in data.values())
    expected = by_reference(model, data)
    whole, parts = (cli(*limit, "run", tmp_path / "m.json") for limit in ((), ("--limit", f"data_bytes={2 * small}")))
    for found in (whole, parts):
        assert found["outputs_on"]["rows"] == len(next(iter(data.values())))
        for output, value in found["outputs"].items():
            assert_close(value, expected[model.graph.outputs[output]])
    sampled = {key for key, value in model.graph.outputs.items() if model.graph.types[value].shape[:1] == ("N",)}
    assert set(whole["outputs"]) == set(model.graph.outputs)
    assert set(parts["outputs"]) == set(model.graph.outputs) - sampled


@pytest.mark.parametrize("name", [name for name in RULES if name in BATCHED])
@pytest.mark.parametrize("batch_size", [5, 16])
def test_a_step_in_parts_is_the_step_of_the_whole_batch(name, batch_size):
    keys = {"epochs": None, "max_iterations": 2, "validation": None, "metrics": {}, "shuffle": True}
    keys["optimizer"] = {"type": "sgd", "learning_rate": 0.01}
    (parts, data), (whole, _) = model_and_data(name, 64), model_and_data(name, 64)
    history = parts.train(data, batch_size=batch_size, accumulate=4, **keys)
    expected = whole.train(data, batch_size=4 * batch_size, **keys)
    assert history.losses == pytest.approx(expected.losses, rel=1e-10)
    for key, value in whole.values.items():
        assert_close(parts.values[key], value)


@pytest.mark.parametrize("name", [name for name in RULES if name in BATCHED])
def test_a_check_is_the_same_number_at_any_limit(name):
    model, data = model_and_data(name, ROOM)
    outputs = {key: value for key, value in model.graph.outputs.items() if model.graph.types[value].shape == ()}
    whole = Evaluation(model.graph, data, outputs, model.backend)
    shapes = [kind.shape for kind in model.graph.types.values()]
    numbers = sum(int(np.prod([size if isinstance(size, int) else 40 for size in shape])) for shape in shapes)
    limited = ge.load(MODELS[name], limits=Limits(array_bytes=8 * numbers + 200_000))
    parts = Evaluation(limited.graph, data, outputs, limited.backend)
    expected = by_reference(model, data)
    for evaluation in (whole, parts):
        for key, value in evaluation(model.values).items():
            assert_close(value, expected[outputs[key]])


# ---------------------------------------------------------------- predict


@pytest.mark.parametrize("name", [name for name in BATCHED if name not in DYNAMIC])
def test_predictions_of_rows_are_those_of_each_row_alone(name, tmp_path):
    model, data = model_and_data(name, 12)
    output = next(key for key, value in model.graph.outputs.items() if model.graph.types[value].shape[:1] == ("N",))
    np.savez(tmp_path / "d.npz", **data)
    read = model.executor.inputs_of([model.graph.outputs[output]])
    needed = {key: array for key, array in data.items() if key in read}
    found = cli(
        "predict", MODELS[name], "--data", tmp_path / "d.npz", "--output", output, *columns(data), *settings(model)
    )
    whole = model.predict(needed, outputs=output)[output]
    rows = [
        model.predict({key: array[row : row + 1] for key, array in needed.items()}, outputs=output)[output][0]
        for row in range(12)
        if row < len(whole)
    ]
    assert_close(found["outputs"][output], whole, 0)
    assert_close(rows, whole)


def columns(data):
    return [option for key in data for option in ("--columns", f"{key}={key}")]


# ---------------------------------------------------------------- fit


@pytest.mark.parametrize("name", FITTED)
def test_a_fit_is_described_by_numbers_that_numpy_gives_of_its_residuals(name):
    found = cli("fit", MODELS[name])
    model, data = model_and_data(name)
    for key, value in found["parameters"].items():
        model.parameters[key] = value
    residual = model.document.training.optimizer.attributes["residual"]
    residuals = by_reference(model, data)[model.graph.value_name(residual)]
    count, free = len(residuals), len(residuals) - len(found["parameters"]) + len(found["at_bounds"])
    squares = float(np.sum(np.square(residuals)))
    assert (found["observations"], found["degrees_of_freedom"]) == (count, free)
    assert found["residual_sum_of_squares"] == pytest.approx(squares, rel=1e-9)
    assert found["residual_standard_deviation"] == pytest.approx(np.sqrt(squares / free), rel=1e-9)
    target = data["response" if name == "dose_response" else "y"]
    about = target - target.mean() if found["r2_is_centered"] else target
    assert found["r2"] == pytest.approx(1 - squares / np.sum(np.square(about)), rel=1e-9)
    errors = np.sqrt(np.diag(np.array(found["covariance"], np.float64)))
    for key, error in zip(found["coordinates"], errors, strict=True):
        assert float(found["standard_errors"][key]) == pytest.approx(error, rel=1e-9, nan_ok=True)


# ---------------------------------------------------------------- trace and gradcheck


@pytest.mark.parametrize("name", WITH_DATA)
def test_a_trace_shows_the_values_and_gradients_that_the_methods_give(name, tmp_path):
    model, data = model_and_data(name, 3)
    single = name not in BATCHED
    sample = {key: array[0] if single else array for key, array in data.items()}
    inputs = [part for key, array in sample.items() for part in ("--input", f"{key}={json.dumps(array.tolist())}")]
    found = cli("trace", MODELS[name], *inputs, *settings(model))
    run = model.forward(sample)
    for step in found["forward"]:
        for key, value in step["results"].items():
            if "numbers" in value:
                assert_close(np.reshape(value["numbers"], value["shape"]), np.asarray(run.value(key), np.float64))
    slopes = run.backward()
    for each in found["gradients"]:
        if "numbers" in each["value"]:
            assert_close(np.reshape(each["value"]["numbers"], each["value"]["shape"]), slopes[each["name"]])


@pytest.mark.parametrize("name", WITH_DATA)
def test_the_gradients_that_gradcheck_compares_are_those_of_the_data(name):
    found = cli("gradcheck", MODELS[name])
    assert found["correct"]
    for each in found["gradients"]:
        assert each["got"] == pytest.approx(each["expected"], abs=each["tolerance"])
