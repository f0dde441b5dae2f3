"""The result of a fit in the metadata of a model file: kept, shown, read again, and only data."""

import copy
import json
import pickle

import numpy as np
import orjson
import pytest
from documents import linreg, training
from test_cli import cli, cli_json
from test_fits import DECAY, decay_model
from test_solvers import write

import graphengine as ge
from graphengine.fit import encoding
from graphengine.fit.encoding import fit_as_json
from graphengine.fit.requests import Request
from graphengine.fit.statistics import is_of_data


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A file that `graphengine fit` has saved, with intervals."""
    path = tmp_path_factory.mktemp("fits") / "fitted.json"
    cli("fit", "misra1a", "--intervals", "0.68,0.95", "--save", path)
    return path


def changed(path, tmp_path, change):
    """The file with the result of its fit changed in place."""
    content = json.loads(path.read_text())
    content["data"]["train"] = {"type": "inline", "values": {"x": [1.0], "y": [1.0]}}
    change(content["metadata"]["fit"])
    return write(tmp_path / "changed.json", content)


def test_a_saved_fit_has_the_result_and_where_it_comes_from(fitted):
    metadata = json.loads(fitted.read_text())["metadata"]
    said = cli_json("fit", "misra1a", "--intervals", "0.68,0.95")
    assert metadata["fit"] == {key: said[key] for key in metadata["fit"]}
    wanted = {"parameters", "standard_errors", "covariance", "correlation", "intervals", "at_bounds", "undetermined"}
    wanted |= {"objective", "loss", "degrees_of_freedom", "aic", "bic", "settings"}
    assert wanted <= metadata["fit"].keys()
    assert metadata["provenance"].keys() >= {"data_sha256", "versions"}
    assert metadata["provenance"]["data"] == "train"
    assert metadata["certified"]  # what was there stays
    np.testing.assert_allclose(
        metadata["fit"]["standard_errors"]["b1"], metadata["certified"]["standard_errors"]["b1"], rtol=1e-9
    )


def test_chi_square_is_kept_where_sigma_is_absolute():
    model = decay_model()
    fit = model.fit(DECAY, residual="r", sigma="s", absolute_sigma=True)
    kept = model.to_dict()["metadata"]["fit"]
    a, b, c = (float(fit.parameters[name]) for name in "abc")
    expected = np.sum(((DECAY["y"] - a * np.exp(-b * DECAY["x"]) - c) / DECAY["s"]) ** 2)
    assert kept["chi_square"] == pytest.approx(expected, rel=1e-12)
    assert kept["settings"] == {"residual": "r", "sigma": "s", "absolute_sigma": True}
    assert model.fit(DECAY, residual="r", sigma="s").chi_square is None


def test_a_stored_fit_is_the_fit(fitted):
    model, stored = ge.load("misra1a"), ge.load(fitted).last_fit
    fit = model.fit(intervals=[0.68, 0.95])
    assert {**fit_as_json(stored), "iterations": 0} == {**fit_as_json(fit), "iterations": 0}
    assert model.last_fit is fit
    assert ge.load("misra1a").last_fit is None


def test_the_fingerprint_does_not_count_the_fit(fitted, tmp_path):
    without = json.loads(fitted.read_text())
    del without["metadata"]["fit"]
    without["data"]["train"]["path"] = "elsewhere.csv"
    content = json.loads(fitted.read_text()) | {"data": without["data"]}
    assert ge.Model.from_dict(without).fingerprint == ge.Model.from_dict(content).fingerprint


def test_show_displays_a_stored_fit(fitted):
    lines = cli("show", fitted).stdout.splitlines()
    after = lines[lines.index("fit of 'train', converged") + 1 :]
    said = cli("fit", "misra1a", "--intervals", "0.68,0.95").stdout.splitlines()
    assert [line.removeprefix("  ") for line in after] == said[1:]
    assert cli_json("show", fitted)["fit"] == json.loads(fitted.read_text())["metadata"]["fit"]
    assert "fit" not in cli_json("show", "misra1a")


def test_a_fit_of_other_data_than_the_files_says_of_which(tmp_path):
    path, other = tmp_path / "fitted.json", tmp_path / "mine.csv"
    x = np.linspace(100.0, 700.0, 9)
    y = 200.0 * (1 - np.exp(-0.0006 * x)) + 0.1 * np.sin(x)
    np.savetxt(other, np.column_stack([x, y]), delimiter=",", header="x,y", comments="")
    cli("fit", "misra1a", "--data", other, "--save", path)
    assert json.loads(path.read_text())["metadata"]["provenance"]["data"] == "mine.csv"
    assert "fit of 'mine.csv', converged" in cli("show", path).stdout.splitlines()
    refused = cli("report", path, "-o", tmp_path / "r.md", code=2).stderr
    assert "GE801: this is not the data that the model was fitted to" in refused
    assert "the fit is of 'mine.csv'; give it with --data" in refused
    cli("report", path, "-o", tmp_path / "r.md", "--data", other, "--no-profiles")
    assert "| data | mine.csv |" in (tmp_path / "r.md").read_text()


@pytest.mark.parametrize("kind", ["squares", "robust", "perfect"])
def test_a_stored_fit_is_recognized_as_one_of_its_data(kind):
    model = decay_model()
    data = dict(DECAY) if kind != "perfect" else {**DECAY, "y": 2.0 * np.exp(-0.5 * np.asarray(DECAY["x"])) + 1.0}
    fit = model.fit(data, residual="r", **({"robust": "cauchy"} if kind == "robust" else {}))
    found = model.fitting(data, Request.of_settings(fit.settings))
    assert is_of_data(found, fit)
    data["y"] = np.asarray(data["y"]) * 1.001
    assert not is_of_data(model.fitting(data, Request.of_settings(fit.settings)), fit)


@pytest.mark.parametrize(
    "way", [copy.copy, copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))], ids=["copy", "deepcopy", "pickle"]
)
def test_a_copy_of_a_fitted_model_has_its_fit(way):
    model = decay_model()
    fit = model.fit(DECAY, residual="r")
    found = way(way(model))
    np.testing.assert_array_equal(found.last_fit.covariance, fit.covariance)
    assert found.to_dict()["metadata"] == model.to_dict()["metadata"]
    found.parameters["a"] = 1.0
    assert "fit" not in found.to_dict().get("metadata", {})
    assert found.last_fit is None


@pytest.mark.parametrize("change", ["assigned", "trained"])
def test_a_fit_of_other_values_is_not_saved(fitted, change):
    model = ge.load(fitted)
    assert model.to_dict()["metadata"]["fit"]
    if change == "assigned":
        model.parameters["b1"] = 200.0
    else:
        model.train({"x": [1.0, 2.0, 4.0], "y": [0.5, 1.5, 2.5]})
    assert "fit" not in model.to_dict()["metadata"]
    assert model.to_dict()["metadata"]["certified"]
    assert model.last_fit is None


def test_a_training_after_a_fit_forgets_it():
    model = ge.Model.from_dict(linreg(training=training(learning_rate=0.01, epochs=2)))
    data = {"x": [1.0, 2.0, 3.0], "y": [2.1, 3.9, 6.2]}
    model.fit(data)
    assert model.last_fit.observations == 3
    model.train(data)
    assert model.last_fit is None
    assert model.to_dict()["metadata"].keys() == {"provenance"}


def test_a_fit_that_did_not_converge_says_so(tmp_path):
    path = tmp_path / "m.json"
    cli("fit", "misra1a", "--max-iterations", "1", "--save", path, code=1)
    kept = json.loads(path.read_text())["metadata"]["fit"]
    assert (kept["converged"], kept["iterations"]) == (False, 1)
    assert "fit of 'train', not converged" in cli("show", path).stdout


HOSTILE = {
    "a text": lambda fit: "fit",
    "a list": lambda fit: [fit],
    "nothing": lambda fit: {},
    "null": lambda fit: None,
    "another objective": lambda fit: fit | {"objective": "best"},
    "no covariance of that size": lambda fit: fit | {"covariance": [[1.0]]},
    "a ragged covariance": lambda fit: fit | {"covariance": [[1.0], [1.0, 2.0]]},
    "texts in the covariance": lambda fit: fit | {"covariance": [["a", "b"], ["c", "d"]]},
    "other parameters": lambda fit: fit | {"parameters": {"b1": 1.0}},
    "other shapes": lambda fit: fit | {"parameters": {"b1": [1.0], "b2": 1.0}},
    "errors of others": lambda fit: fit | {"standard_errors": {"\x1b[31m": 1.0}},
    "more coordinates": lambda fit: fit | {"coordinates": ["b1"] * 1000},
    "intervals without ends": lambda fit: fit | {"intervals": {"0.95": {"b1": [1.0]}}},
    "levels that are none": lambda fit: fit | {"intervals": {"all": {"b1": [1.0, 2.0]}}},
    "a loss that is a text": lambda fit: fit | {"loss": "small"},
    "a bound of no parameter": lambda fit: fit | {"at_bounds": [1]},
}
"""Results of a fit that are none, from one that is."""


@pytest.mark.parametrize("name", HOSTILE)
def test_metadata_that_is_no_fit_is_data_and_breaks_nothing(name, fitted, tmp_path):
    content = json.loads(fitted.read_text())
    content["metadata"]["fit"] = HOSTILE[name](content["metadata"]["fit"])
    path = write(tmp_path / "m.json", content)
    model = ge.load(path)
    assert model.to_dict()["metadata"]["fit"] == content["metadata"]["fit"]  # not ours, so it stays
    with pytest.raises(ge.errors.UsageError, match=r"GE801: metadata\.fit is not the result of a fit"):
        model.last_fit  # noqa: B018
    shown = cli("show", path).stdout
    assert "metadata.fit is not the result of a fit of this model: " in shown
    assert "\x1b" not in shown
    assert cli_json("show", path)["fit"] == content["metadata"]["fit"]


def test_a_fit_that_was_edited_is_shown_as_one_of_other_values(fitted, tmp_path):
    path = changed(fitted, tmp_path, lambda fit: fit["parameters"].update(b1=1.0))
    assert "metadata.fit is the fit of other values than those in the file" in cli("show", path).stdout
    path = changed(fitted, tmp_path, lambda fit: fit.update(aic=None))
    assert "log-likelihood" not in cli("show", path).stdout
    path = changed(fitted, tmp_path, lambda fit: fit.update(undetermined=[[["b1"], "\x1b[31m"]]))
    assert "\\x1b[31m" in cli("show", path).stdout


def test_a_file_keeps_no_matrices_of_very_many_numbers(monkeypatch):
    monkeypatch.setattr(encoding, "MOST_PAIRED", 2)
    model = decay_model()
    fit = model.fit(DECAY, residual="r")
    kept = model.to_dict()["metadata"]["fit"]
    assert not {"covariance", "correlation"} & kept.keys()
    stored = ge.Model.from_dict(orjson.loads(orjson.dumps(model.to_dict()))).last_fit
    assert stored.standard_errors == fit.standard_errors
    assert np.isnan(stored.covariance).all()
