"""The gallery: every shipped model that learns from real data, held to the reference result it names."""

import re

import numpy as np
import pytest
from documents import MODELS, SHIPPED

import graphengine as ge


def trained(name, **overrides):
    """A shipped model after its training, with its outputs on the data it was trained on."""
    model = ge.load(MODELS / f"{name}.json")
    model.train(**overrides)
    return model, model.predict(model.load_data(model.document.training.data))


@pytest.mark.parametrize(("name", "accuracy"), [("softmax_digits", 0.98497), ("softmax_iris", 0.97333)])
def test_softmax_regression_reaches_the_reference_minimum(name, accuracy):
    model, outputs = trained(name)
    assert outputs["loss"] == pytest.approx(model.document.metadata["minimum"], rel=1e-9)
    assert outputs["accuracy"] == pytest.approx(accuracy, abs=1e-5)


def test_logistic_regression_is_what_iteratively_reweighted_least_squares_gives():
    model, outputs = trained("logistic_iris")
    data = model.load_data()
    x, y = np.column_stack([data["x"], np.ones(150)]), data["y"] == 2
    theta = np.zeros(5)
    for _ in range(30):  # Newton's method
        chance = 1 / (1 + np.exp(-x @ theta))
        theta += np.linalg.solve(x.T @ (x * (chance * (1 - chance))[:, None]), x.T @ (y - chance))
    chance = 1 / (1 + np.exp(-x @ theta))
    minimum = -np.mean(np.where(y, np.log(chance), np.log(1 - chance)))
    assert outputs["loss"] == pytest.approx(minimum, rel=1e-9)
    np.testing.assert_allclose(model.parameters["w"], theta[:4], rtol=1e-4)


def test_polynomial_regression_has_the_certified_values():
    model = ge.load(MODELS / "polynomial.json")
    certified = model.document.metadata["certified"]["parameters"]
    assert model.fit().parameters == pytest.approx(certified, rel=1e-9)


def test_the_perceptron_recognises_digits_it_has_not_seen():
    model, outputs = trained("mlp_digits")
    assert outputs["accuracy"] > 0.999
    assert model.forward(model.load_data("test"))["accuracy"] >= 0.975


def test_the_autoencoder_keeps_more_than_as_many_principal_components():
    model, outputs = trained("autoencoder_digits")
    pixels = model.load_data()["x"] / 16
    spread = np.linalg.svd(pixels - pixels.mean(axis=0), compute_uv=False)
    assert outputs["code"].shape == (1797, 8)
    assert outputs["loss"] < 0.95 * np.sum(spread[8:] ** 2) / pixels.size


def test_the_convolutional_network_recognises_digits_it_has_not_seen():
    model, _ = trained("cnn_digits")
    assert model.forward(model.load_data("test"))["accuracy"] >= 0.975


def test_long_short_term_memory_solves_the_adding_problem():
    """Hochreiter and Schmidhuber call a sequence right if its error is below 0.04."""
    model, _ = trained("lstm_sums")
    data = model.load_data("test")
    errors = np.abs(model.predict(data)["prediction"] - data["y"])
    assert np.mean(errors < 0.04) > 0.98
    assert np.mean(errors**2) < 0.01 * np.var(data["y"])


def test_every_shipped_model_stands_on_the_page_of_models():
    reported = set(re.findall(r"`(\w+)`", (MODELS.parent / "docs" / "models.md").read_text(encoding="utf-8")))
    assert {path.stem for path in SHIPPED} <= reported
