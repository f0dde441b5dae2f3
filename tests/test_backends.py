"""Laws of backends: whatever compiles a graph, it computes what the reference executor does."""

import random
from pathlib import Path

import numpy as np
import pytest
from documents import linreg, training
from sweeping import for_each_row
from test_compile import ROWS, one_op
from test_same_bits import FAMILIES, bits, mixed_graph

import graphengine as ge
from graphengine.backends import program_cache, protocol
from graphengine.backends.protocol import BACKENDS, backend_named
from graphengine.errors import UsageError
from graphengine.fit.solver_trainer import SolverTrainer
from graphengine.limits import Limits

MODELS = sorted(Path(__file__).parents[1].joinpath("models").glob("*.json"))
EXACT = [
    pytest.param(name, marks=[pytest.mark.extra("numba")] if name == "numba" else [])
    for name in sorted(BACKENDS.keys() - {"jax"})  # see test_jax.py
]
JAX_WARNS = pytest.mark.filterwarnings("default")


def trained(path, backend, iterations):
    model = ge.load(path, backend=backend)
    history = model.train(max_iterations=iterations, epochs=None, validation=None, early_stopping=None, shuffle=False)
    return model, history


def is_trained_by_a_rule(path):
    model = ge.load(path)
    return model.document.training is not None and not model.document.training.optimizer.is_solver


TRAINED = [path for path in MODELS if is_trained_by_a_rule(path)]


@pytest.mark.parametrize("backend", [each for each in EXACT if each.values != ("numpy",)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@for_each_row(ROWS)
def test_a_backend_gives_the_bits_of_the_numpy_backend_for_every_op(op, attributes, arrays, dtype, backend):
    model, values = one_op(op, attributes, arrays, dtype)
    expected = backend_named("numpy").compile(model.graph).run(values)
    found = backend_named(backend).compile(model.graph).run(values)
    assert {name: bits(value) for name, value in found.items()} == {
        name: bits(value) for name, value in expected.items()
    }


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("backend", EXACT)
def test_a_backend_gives_the_same_bits_for_random_graphs(backend, family):
    chance = random.Random(f"backend {family}")
    for _ in range(50):
        model, values = mixed_graph(chance, FAMILIES[family])
        try:
            expected = backend_named("reference").compile(model.graph).run(values)
        except ge.errors.ExecutionError:
            continue
        found = backend_named(backend).compile(model.graph).run(values)
        assert {name: bits(value) for name, value in found.items()} == {
            name: bits(value) for name, value in expected.items()
        }


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: path.stem)
def test_the_reference_backend_trains_a_shipped_model_like_the_numpy_backend(path):
    (one, _), (other, _) = trained(path, "numpy", 3), trained(path, "reference", 3)
    for name, value in one.parameters.items():
        scale = np.abs(value).max(initial=0) or 1
        tolerance = 1e-12 if value.dtype == np.float64 else 1e-5
        np.testing.assert_allclose(other.parameters[name], value, rtol=0, atol=tolerance * scale)


@pytest.mark.extra("jax")
@JAX_WARNS
@pytest.mark.parametrize("path", TRAINED, ids=lambda path: path.stem)
def test_a_backend_of_one_table_runs_the_step_of_a_shipped_model(path, monkeypatch):
    monkeypatch.setitem(BACKENDS, "jax-as-a-test", "jax_backend:JaxBackend")
    (one, _), (other, _) = trained(path, "numpy", 3), trained(path, "jax-as-a-test", 3)
    monkeypatch.delitem(protocol._made, "jax-as-a-test")
    for name, value in one.parameters.items():
        scale = np.abs(value).max(initial=0) or 1
        tolerance = 1e-12 if value.dtype == np.float64 else 1e-5
        np.testing.assert_allclose(other.parameters[name], value, rtol=0, atol=tolerance * scale)


def test_the_backend_written_as_a_test_is_short():
    lines = Path(__file__).with_name("jax_backend.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150


class Recording:
    """The numpy backend, and the outputs of the graphs that it compiled."""

    name = "recording"

    def __init__(self):
        self.compiled = []

    def is_exact(self, graph):
        return True

    def compile(self, graph, **options):
        self.compiled.append(set(graph.outputs))
        return backend_named("numpy").compile(graph, **options)


def recorded(monkeypatch):
    """A recording backend under its name, with linear regression on it."""
    backend = Recording()
    monkeypatch.setitem(BACKENDS, "recording", "")
    monkeypatch.setitem(protocol._made, "recording", backend)
    return backend, ge.Model.from_dict(linreg(training=training()), backend="recording")


LINE = {"x": np.arange(1.0, 9.0), "y": 2 * np.arange(1.0, 9.0)}


def test_validation_and_accumulation_run_on_the_chosen_backend(monkeypatch):
    backend, model = recorded(monkeypatch)
    chosen = {"validation": {"every_epochs": 1}, "learning_rate": 0.01}
    model.train(LINE, validation_data=LINE, epochs=2, batch_size=4, accumulate=2, **chosen)
    found = set().union(*backend.compiled)
    assert {"validation_loss", "loss", "gradient/theta", "new_theta"} <= found


def test_a_fit_runs_on_the_chosen_backend(monkeypatch):
    backend, model = recorded(monkeypatch)
    fit = model.fit(LINE, residual="error")
    assert fit.parameters["theta"] == pytest.approx(2.0, rel=1e-12)
    residual_and_jacobian, hessian = {"/value", "d_weighted/d_theta"}, {"theta theta"}
    assert {frozenset(residual_and_jacobian), frozenset(hessian)} <= set(map(frozenset, backend.compiled))


@pytest.mark.parametrize(
    "backend", ["reference", pytest.param("jax-as-a-test", marks=[pytest.mark.extra("jax"), JAX_WARNS])]
)
def test_evaluation_accumulation_and_fits_agree_on_any_backend(backend, monkeypatch):
    monkeypatch.setitem(BACKENDS, "jax-as-a-test", "jax_backend:JaxBackend")
    chosen = {"validation": {"every_epochs": 1}, "epochs": 3, "batch_size": 4, "learning_rate": 0.01}
    results = []
    for name in ("numpy", backend):
        model = ge.Model.from_dict(linreg(training=training()), backend=name)
        history = model.train(LINE, validation_data=LINE, accumulate=2, **chosen)
        fit = model.fit(LINE, residual="error")
        results.append([history.check.values["validation_loss"], fit.parameters["theta"], *fit.covariance.ravel()])
    monkeypatch.delitem(protocol._made, "jax-as-a-test", raising=False)
    np.testing.assert_allclose(results[1], results[0], rtol=1e-12, atol=1e-12)


def test_an_unknown_backend_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match="there is no backend 'nunpy'; did you mean 'numpy'"):
        ge.Model.from_dict(linreg(), backend="nunpy")


def test_a_model_says_which_backend_it_has():
    assert ge.Model.from_dict(linreg()).backend.name == "numpy"
    assert ge.Model.from_dict(linreg(), backend="reference").backend.name == "reference"


def test_solvers_are_not_trained_by_a_rule():
    models = [ge.load(path) for path in MODELS if path not in TRAINED]
    assert all(model.document.training is None or isinstance(model.trainer(), SolverTrainer) for model in models)


# ---------------------------------------------------------------- the cache of programs


def rows(count):
    return {"x": np.ones(count), "y": np.ones(count)}


def test_large_arrays_are_compiled_at_their_first_use():
    model = ge.Model.from_dict(linreg())
    model.predict(rows(4))
    model.predict(rows(1_000_000))
    kept = {shapes[0][1][0]: program for (_, shapes), program in model.evaluator.programs._programs.items()}
    assert kept[4] == 1
    assert not isinstance(kept[1_000_000], int)


def test_what_the_cache_keeps_is_bounded_in_bytes():
    model = ge.Model.from_dict(linreg(), limits=Limits(plan_bytes=2**20))
    for count in range(20_000, 20_050):
        for _ in range(2):
            model.forward(rows(count))["loss"]
    assert 0 < model.evaluator.programs._nbytes() <= 2**20


def test_the_program_that_was_found_last_is_forgotten_with_the_others(monkeypatch):
    monkeypatch.setattr(program_cache, "CAPACITY", 1)
    model, short, long = ge.load("models/linreg.json", backend="numpy"), np.ones(3), np.ones(4)
    model.parameters["theta"] = 2.0
    programs = model.evaluator.programs
    for x in (short, short, short, long):
        model.predict(x=x, outputs="prediction")
    assert programs.find(("outputs", ("prediction",)), {"x": short}) is None
    model.predict(x=long, outputs="prediction")
    found = programs.find(("outputs", ("prediction",)), {"x": long})
    assert found is programs.find(("outputs", ("prediction",)), {"x": long})
    assert found is not None
    assert programs.find(("outputs", ("prediction",)), {"x": long.astype(np.float32)}) is None
