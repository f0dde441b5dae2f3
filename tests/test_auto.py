"""The backend `auto`: numba where a training gains more from it than it takes to start."""

import sys

import numpy as np
import pytest
from documents import MODELS
from test_backends import TRAINED

import graphengine as ge
from graphengine.backends.protocol import _made, backend_named

WITH_NUMBA = pytest.mark.extra("numba")
LINREG = MODELS / "linreg.json"
X = np.random.default_rng(0).standard_normal(500)
DATA = {"x": X, "y": 3 * X}


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: path.stem)
def test_no_shipped_model_is_large_enough_for_numba(path):
    assert ge.load(path, backend="auto").trainer().backend.name == "numpy"


@WITH_NUMBA
def test_a_long_training_on_single_samples_runs_with_numba():
    model = ge.load(LINREG, backend="auto")
    long, short = (model.trainer(DATA, epochs=epochs, batch_size=1) for epochs in (10**6, 10))
    assert (long.backend.name, short.backend.name) == ("numba", "numpy")


@WITH_NUMBA
def test_many_large_batches_run_with_numba():
    x = np.zeros(10**6)
    model = ge.load(LINREG, backend="auto")
    assert model.trainer({"x": x, "y": x}, epochs=10**4).backend.name == "numba"


def test_without_numba_all_trainings_run_with_numpy(monkeypatch):
    monkeypatch.delitem(_made, "numba", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    trainer = ge.load(LINREG, backend="auto").trainer(DATA, epochs=10**7, batch_size=1)
    assert trainer.backend.name == "numpy"


def test_a_backend_that_was_asked_for_stays():
    trainer = ge.load(LINREG, backend="reference").trainer(DATA, epochs=10**9)
    assert trainer.backend is backend_named("reference")


def test_predictions_and_trainings_have_the_bits_of_the_backend_that_is_chosen(tmp_path):
    found = []
    for backend in ("auto", "numpy"):
        model = ge.load(LINREG, backend=backend)
        model.train(DATA, epochs=20, learning_rate=0.1, checkpoints=tmp_path / backend)
        prediction = model.predict(x=X)
        found.append((float(model.parameters["theta"]).hex(), prediction["prediction"].tobytes()))
    assert found[0] == found[1]


def test_a_checkpoint_names_the_backend_that_was_chosen(tmp_path):
    ge.load(LINREG, backend="auto").train(DATA, epochs=5, checkpoints=tmp_path)
    resumed = ge.load(LINREG, backend="numpy").trainer(DATA, epochs=9, checkpoints=tmp_path, resume=True)
    assert resumed.checkpoints.note == ""
