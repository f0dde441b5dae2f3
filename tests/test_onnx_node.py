"""The script of the page on ONNX in Node: a step trains there as it does here."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import graphengine as ge

ROOT = Path(__file__).parents[1]
NODE = shutil.which("node")


def environment():
    """Where Node finds its packages: NODE_PATH, and those that are installed globally."""
    npm = shutil.which("npm")
    found = (
        subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=False).stdout.strip() if npm else ""
    )
    return {**os.environ, "NODE_PATH": os.pathsep.join(filter(None, [os.environ.get("NODE_PATH"), found]))}


def has_runtime():
    """Whether Node has the package onnxruntime-web."""
    command = [NODE, "-e", 'require("onnxruntime-web")']
    return subprocess.run(command, env=environment(), capture_output=True, check=False).returncode == 0


@pytest.mark.extra("onnx")
def test_the_script_trains_in_node(tmp_path):
    if NODE is None:
        pytest.skip("node is not installed")
    if not has_runtime():
        pytest.skip("npm install -g onnxruntime-web")
    (script,) = re.findall(r"```js\n(.*?)```", (ROOT / "docs" / "onnx.md").read_text(encoding="utf-8"), re.DOTALL)
    model = ge.load("mlp_digits")
    ge.onnx.export(model, tmp_path / "step_js.onnx", graph="step", defaults=False)
    ge.onnx.export(model, tmp_path / "score_js.onnx", graph="step", defaults=False, outputs="probabilities")
    ge.onnx.export(model, tmp_path / "start.onnx", graph="start")
    for part in ("train", "test"):
        rows = model.load_data(part)
        np.asarray(rows["x"], np.float64).tofile(tmp_path / f"{part}_x")
        np.asarray(rows["y"], np.int64).tofile(tmp_path / f"{part}_y")
    (tmp_path / "train.js").write_text(script, encoding="utf-8")
    done = subprocess.run(
        [NODE, "train.js"], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "accuracy above 0.9: true"
