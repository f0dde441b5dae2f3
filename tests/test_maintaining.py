"""`copy` and `doctor`."""

import json
import platform
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import graphengine as ge
from graphengine.cli.app import app


def graphengine(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.mark.parametrize("name", sorted(ge.models()))
def test_a_copied_model_has_all_that_it_is_trained_on(name, tmp_path):
    result = graphengine("copy", name, tmp_path / "here", "--format", "json")
    assert result.exit_code == 0, result.output
    copied = ge.load(tmp_path / "here" / f"{name}.json")
    assert copied.fingerprint == ge.load(name).fingerprint
    written = {path for path in (tmp_path / "here").rglob("*") if path.is_file()}
    assert sorted(map(str, written)) == sorted(json.loads(result.stdout)["files"])
    if name == "linreg":
        copied.train(epochs=1)


def test_copying_overwrites_nothing_unless_asked(tmp_path):
    (tmp_path / "linreg.json").write_text("mine", encoding="utf-8")
    refused = graphengine("copy", "linreg", tmp_path)
    assert refused.exit_code == 2
    assert "linreg.json already exists" in refused.output
    assert (tmp_path / "linreg.json").read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "data").exists()
    assert graphengine("copy", "linreg", tmp_path, "--force").exit_code == 0
    assert ge.load(tmp_path / "linreg.json").fingerprint == ge.load("linreg").fingerprint


def test_copying_knows_shipped_models_only(tmp_path):
    result = graphengine("copy", "linrg", tmp_path)
    assert result.exit_code == 2
    assert "no shipped model 'linrg'; did you mean 'linreg'?" in result.output


def test_the_doctor_reports_what_is_installed():
    found = json.loads(graphengine("doctor", "--format", "json").stdout)
    assert found["versions"]["numpy"] == np.__version__
    assert found["versions"]["graphengine"] == ge.__version__
    assert found["versions"]["python"] == platform.python_version()
    assert found["extras"]["fit"].keys() == {"scipy"}
    assert found["backends"]["numpy"] == "ready"
    assert all(each["threads"] >= 1 for each in found["blas"].values())


def test_the_doctor_says_what_a_backend_needs(monkeypatch):
    monkeypatch.setattr("graphengine.backends.protocol._made", {})
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr("graphengine.extras.find_spec", lambda name: None)
    backends = json.loads(graphengine("doctor", "--format", "json").stdout)["backends"]
    assert backends["numpy"] == "ready"
    assert backends["numba"].endswith("pip install 'graphengine[jit]'")


def test_the_version_is_the_same_wherever_it_is_written():
    root = Path(__file__).parents[1]
    declared = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    cited = re.search(r"^version: (.*)$", (root / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)[1]
    released = re.search(r"^## \[(.*?)\]", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert declared == cited == ge.__version__
    assert released in (ge.__version__, "Unreleased")
