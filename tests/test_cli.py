"""The command line: what each option does, each exit code, what machines and what people get."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import get_type_hints

import numpy as np
import pytest
import typer.main
from documents import SHIPPED, linreg, training
from typer.testing import CliRunner

import graphengine
from graphengine.backends.numpy.plan import Plan
from graphengine.cli import app as application
from graphengine.cli.opening import model_file
from graphengine.cli.output import array_text, make_streams_forgiving, print_line
from graphengine.errors import DivergenceError, ExecutionError, InputError, UsageError
from graphengine.format.functions import shipped_functions
from graphengine.format.writing import dump_model
from graphengine.library import models
from graphengine.limits import Limits
from graphengine.ops.registry import OPS
from graphengine.training.loop import Trainer
from graphengine.wording import escaped

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "models"
LINREG = str(MODELS / "linreg.json")
HUBBLE = str(MODELS / "data" / "hubble_1929.csv")
THETA = 2502739000 / 5903559

PLUGIN = """
import graphengine as ge

@ge.register("test_cli.cube")
class Cube(ge.Node):
    '''Cube, z = x**3; dz/dx = 3 * x**2.'''

    def forward(self, x):
        return x**3

    def backward(self, grad, x):
        return 3 * x**2 * grad
"""


def cli(*arguments, code=0):
    """Run a command in this process; what it printed."""
    result = CliRunner().invoke(application.app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def cli_json(*arguments, code=0):
    result = cli(*arguments, "--format", "json", code=code)
    assert result.stderr == ""
    return json.loads(result.stdout)


def process(*arguments, cwd=ROOT, **options):
    """Run `python -m graphengine` as users do."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-m", "graphengine", *map(str, arguments)]
    options = {"capture_output": True, **options}
    return subprocess.run(command, cwd=cwd, env=environment, text=True, check=False, **options)


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def model(**changes):
    """A small model without training: z = x * theta."""
    content = {
        "format": "graphengine.model",
        "format_version": 1,
        "opset_imports": {"core": 1},
        "name": "small",
        "inputs": {"x": {"shape": ["N"]}},
        "parameters": {"theta": {"shape": [], "initializer": {"type": "constant", "value": 2.0}}},
        "nodes": [{"id": "z", "op": "mul", "inputs": ["x", "theta"]}],
        "outputs": {"z": "z"},
    }
    return {**content, **changes}


@pytest.fixture
def small(tmp_path):
    return write(tmp_path / "small.json", model())


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "cube_nodes.py"
    path.write_text(PLUGIN)
    return path


# ---------------------------------------------------------------- as a process


def test_the_first_command_of_the_readme():
    done = process("run", "models/linreg.json")
    assert done.returncode == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "linreg: 100 iterations, 100 epochs"
    assert lines[1] == "loss on the 24 training rows: 271309.375 -> 50266.77658"
    name, value = lines[3].split()
    assert (lines[2], name) == ("parameters:", "theta")
    assert float(value) == pytest.approx(THETA, rel=1e-9)


def test_a_shipped_model_by_name_from_another_folder(tmp_path):
    done = process("run", "linreg", "--format", "json", "--epochs", 300, cwd=tmp_path)
    assert json.loads(done.stdout)["parameters"]["theta"] == pytest.approx(THETA, rel=1e-12)


def test_a_divergence_exits_with_1_without_a_traceback_and_saves_nothing(tmp_path):
    done = process("run", "noint1", "--learning-rate", 1.0, "--save", tmp_path / "never.json", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: GE601: training diverged at iteration ")
    assert "became non-finite first" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_with_one_line(tmp_path):
    (tmp_path / "interrupted.py").write_text("raise KeyboardInterrupt")
    done = process("ops", "--plugin", tmp_path / "interrupted.py")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted\n")


@pytest.mark.parametrize("asked", ["schema", "--help"])
def test_a_reader_that_goes_away_is_no_error(asked):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "graphengine", asked]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 141


@pytest.mark.parametrize(
    "command",
    [
        *(["--help"], ["--version"], ["schema"], ["validate", LINREG], ["run", LINREG, "--format", "json"]),
        *(["predict", "linreg", "--input", "x=[1]"], ["show", "nowhere", "--format", "json"]),
    ],
    ids=lambda command: " ".join(command).replace(LINREG, "linreg"),
)
def test_output_that_cannot_be_written_ends_with_one_line(command):
    with Path("/dev/full").open("w") as full:
        done = process(*command, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert last == "error: GE101: cannot write the output: No space left on device"


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "1>&- 2>&-", "2>/dev/full"])
@pytest.mark.parametrize(("name", "code"), [(LINREG, 0), ("nowhere", 2)])
def test_a_stream_that_was_closed_is_not_missed(closed, name, code):
    command = [sys.executable, "-W", "error", "-m", "graphengine", "run", name]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = ["sh", "-c", f'"$@" {closed}', "sh", *command]
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert "Traceback" not in done.stderr + done.stdout
    assert (done.stdout != "") == ("1" not in closed and code == 0)
    assert (done.stderr != "") == ("2" not in closed and code == 2)


def test_an_encoding_without_the_letters_is_no_error(monkeypatch):
    sent = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(sent, encoding="latin-1"))
    make_streams_forgiving()
    print_line("slope θ")
    sys.stdout.flush()
    assert sent.getvalue() == b"slope \\u03b8\n"


@pytest.mark.parametrize("command", ["show", "grad"])
def test_json_for_machines_is_utf8_whatever_the_terminal_has(tmp_path, command):
    path = write(tmp_path / "m.json", json.loads(Path(LINREG).read_bytes()) | {"name": "é-θ-😀"})
    command = [sys.executable, "-m", "graphengine", command, str(path), "--format", "json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
    reported = json.loads(done.stdout)
    assert "é-θ-😀" in reported.get("model", reported.get("name"))


def test_help_imports_no_rich_and_no_networkx():
    code = (
        "import sys; sys.argv = ['graphengine', '--help']\n"
        "from graphengine.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'rich', 'networkx'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def on_terminal(*arguments, cwd=ROOT, columns=120):
    """What a terminal is sent."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": str(columns)}
    command = [sys.executable, "-m", "graphengine", *map(str, arguments)]
    with subprocess.Popen(command, cwd=cwd, env=environment, stdout=theirs, stderr=theirs) as running:
        os.close(theirs)
        received = b""
        while chunk := _read(ours):
            received += chunk
    os.close(ours)
    return SimpleNamespace(code=running.returncode, text=received.decode())


def _read(handle):
    try:
        return os.read(handle, 65536)
    except OSError:  # the other end is closed
        return b""


def test_a_terminal_gets_a_progress_bar():
    shown = on_terminal("run", "linreg", "--epochs", 2000)
    assert shown.code == 0
    assert "training" in shown.text
    assert "/2000" in shown.text
    assert "/?" in on_terminal("train", "boxbod").text  # a solver ends by itself, nobody knows when


def test_a_terminal_gets_tables_and_no_markup_or_control_characters(tmp_path):
    hostile = {"x": {"shape": ["N"], "description": "[bold]\x1b[2J\u202e\n!"}}
    shown = on_terminal("show", write(tmp_path / "m.json", model(inputs=hostile, name="a\x07")))
    assert shown.code == 0
    assert "┏━" in shown.text
    assert "[bold]\\x1b[2J\\u202e\\n!" in shown.text
    assert not [part for part in ("\x1b[2J", "\u202e", "\x07") if part in shown.text]


@pytest.mark.parametrize("command", ["show", "grad"])
def test_json_for_machines_has_nothing_that_a_terminal_obeys_either(tmp_path, command):
    text = "a\x07\x7f\x9b31m\u202e\u2028\U000e0041 é😀"
    parameters = {"theta": {"shape": [], "initializer": {"type": "zeros"}, "description": text}}
    nodes = [{"id": "z", "op": "mul", "inputs": ["theta", 2]}]
    path = write(tmp_path / "m.json", model(name=text, parameters=parameters, nodes=nodes))
    printed = cli(command, path, "--format", "json").stdout
    assert all(line.isprintable() for line in printed.split("\n"))
    reported = json.loads(printed)
    assert text in (reported.get("model"), reported.get("name"))


def test_a_narrow_terminal_gets_the_names_of_the_ops_unbroken_and_their_formulas():
    narrow, wide = on_terminal("ops", columns=80).text, on_terminal("ops", columns=200).text
    assert re.search(r"│ scaled_dot_product_attention │ z = .+ │\r\n", narrow)
    assert ("derivatives" in narrow, "derivatives" in wide) == (False, True)


# ---------------------------------------------------------------- run and train


def test_run_prints_one_json_object_for_machines():
    reported = cli_json("run", LINREG, "--epochs", 2)
    keys = {"model", "iterations", "epochs", "loss", "loss_on", "parameters", "outputs", "outputs_on", "warnings"}
    assert reported.keys() == keys
    assert (reported["model"], reported["iterations"], reported["epochs"]) == ("linreg", 2, 2)
    assert reported["loss"] == {"first": 271309.375, "last": pytest.approx(175939.155518631)}
    assert reported["outputs"]["prediction"][0] == pytest.approx(0.032 * reported["parameters"]["theta"])
    assert reported["outputs"]["loss"] < reported["loss"]["last"]


def test_train_is_run_with_a_training_section(small):
    assert cli_json("train", LINREG) == cli_json("run", LINREG)
    error = cli_json("train", small, code=2)["errors"][0]
    assert (error["code"], error["message"]) == ("GE602", "model 'small' has no training section")


@pytest.mark.parametrize(
    ("options", "iterations", "epochs"),
    [
        (["--epochs", 3], 3, 3),
        (["--max-iterations", 7], 7, 7),
        (["--epochs", 2, "--batch-size", 10], 6, 2),
        (["--epochs", 2, "--batch-size", 1], 48, 2),
        (["--max-iterations", 4, "--batch-size", 10], 4, 1),
        (["--set", "training.epochs=5"], 5, 5),
        (["--set", "/training/epochs=6"], 6, 6),
        (["--set", "training.batch_size=12", "--epochs", 1], 2, 1),
    ],
)
def test_limits_and_batches(options, iterations, epochs):
    reported = cli_json("run", LINREG, *options)
    assert (reported["iterations"], reported["epochs"]) == (iterations, epochs)


def test_learning_rate_shuffle_and_seed_change_the_training():
    once = ("run", LINREG, "--epochs", 1, "--batch-size", 1)
    results = [
        cli_json(*once, *options)["parameters"]["theta"]
        for options in ([], ["--learning-rate", 0.01], ["--shuffle"], ["--shuffle", "--seed", 1], ["--no-shuffle"])
    ]
    assert len(set(results)) == 4
    assert results[0] == results[4]


def test_given_inputs_are_the_data_to_train_on():
    reported = cli_json("run", LINREG, "--input", "x=[1,2]", "--input", "y=[3,6]")
    assert reported["parameters"]["theta"] == pytest.approx(3)
    assert reported["outputs"]["prediction"] == pytest.approx([3, 6])
    error = cli_json("run", LINREG, "--input", "x=[1,2]", code=2)["errors"][0]
    assert (error["code"], error["message"]) == ("GE401", "the data has no values for input 'y'")


def test_one_sample_at_a_time_leaves_no_outputs():
    reported = cli_json("run", MODELS / "linreg_single_sample.json")
    assert (reported["iterations"], reported["epochs"], reported["outputs"]) == (300, 50, {})


def test_a_model_without_training_is_evaluated(small):
    reported = cli_json("run", small, "--input", "x=[1,2]")
    empty = {"iterations": 0, "epochs": 0, "loss": {"first": None, "last": None}}
    outputs = {"outputs": {"z": [2.0, 4.0]}, "outputs_on": {"data": "evaluation", "rows": 2}}
    assert reported == {"model": "small", **empty, "parameters": {"theta": 2.0}, **outputs, "warnings": []}
    text = cli("run", small, "--set", "inputs.x=[1,2]").stdout
    assert text == "small: 1 input, 1 parameter, 1 node, 1 output\noutputs:\n  z  [2.0, 4.0]\n"


def test_a_model_without_training_is_evaluated_on_its_only_data(tmp_path):
    data = {"d": {"type": "inline", "values": {"x": [5]}}}
    path = write(tmp_path / "m.json", model(data=data))
    assert cli_json("run", path)["outputs"] == {"z": [10.0]}
    assert cli_json("run", path, "--input", "x=[6]")["outputs"] == {"z": [12.0]}


def test_numbers_that_are_not_finite_are_strings(small):
    reported = cli_json("run", small, "--input", 'x=["NaN", "Infinity", "-Infinity", 1]')
    assert reported["outputs"]["z"] == ["NaN", "Infinity", "-Infinity", 2.0]


def test_overrides_need_a_training_section(small):
    assert cli_json("run", small, "--epochs", 3, code=2)["errors"][0]["code"] == "GE602"


def test_an_override_is_checked_like_the_file():
    (error,) = cli_json("run", LINREG, "--epochs", 0, code=2)["errors"]
    assert "must be greater than or equal to 1" in error["message"]
    assert error["pointer"] == "/training/epochs"


def test_save_writes_a_model_that_loads_with_its_values(tmp_path):
    saved = tmp_path / "trained.json"
    reported = cli_json("run", LINREG, "--save", saved)
    assert reported["saved"] == str(saved)
    assert graphengine.load(saved).parameters["theta"] == reported["parameters"]["theta"]
    assert cli("run", LINREG, "--save", saved).stdout.endswith(f"saved to {saved}\n")


ENDLESS = ("train", LINREG, "--epochs", "1000000000")


@pytest.mark.parametrize(
    "command",
    [
        (*ENDLESS, "--save"),
        (*ENDLESS, "--plot"),
        ("fit", "misra1a", "--save"),
        ("view", LINREG, "--set", "training.epochs=1000000000", "-o"),
        ("trace", LINREG, "-o"),
        ("show", LINREG, "--format", "svg", "-o"),
        ("grad", LINREG, "-o"),
        ("step", LINREG, "-o"),
        ("schema", "-o"),
        ("upgrade", LINREG, "-o"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_written_is_reported_before_the_work(tmp_path, command):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "target.png")
    os.mkfifo(tmp_path / "pipe.png")
    names = {"no/x.png": "GE101", "n" * 300 + ".png": "GE101"}
    names |= dict.fromkeys(["folder.png", "link.png", "pipe.png", "/dev/null"], "GE504")
    for name, code in names.items():
        error = cli(*command, tmp_path / name, code=2).stderr
        assert error.startswith(f"error: {tmp_path / name}: {code}: ")
        assert error.count("\n") == 1


@pytest.mark.parametrize("command", [("grad",), ("step",), ("trace",), ("view",), ("show", "--format", "svg")], ids=str)
def test_what_is_made_of_a_model_is_not_written_over_it(small, command):
    before = small.read_bytes()
    name, *options = command
    error = cli(name, small, *options, "-o", small, code=2).stderr
    assert error == "error: GE801: MODEL and --output name the same file; name two files\n"
    assert small.read_bytes() == before


@pytest.mark.parametrize("command", [("train", LINREG), ("fit", "misra1a"), ("run", "sigmoid_neuron")], ids=" ".join)
def test_a_result_that_cannot_be_saved_is_printed_all_the_same(tmp_path, monkeypatch, command):
    reported = cli(*command).stdout, cli_json(*command)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    save = ("--save", tmp_path / "m.json")
    problem = f"{tmp_path / 'm.json'}: GE101: cannot write the file: No space left on device"
    result = cli(*command, *save, code=1)
    assert (result.stdout, result.stderr) == (reported[0], f"error: {problem}\n")
    result = cli_json(*command, *save, code=1)
    (error,) = result.pop("errors")
    assert (error["code"], error["file"], "saved" in result) == ("GE101", str(tmp_path / "m.json"), False)
    assert result == reported[1]


def test_a_trained_model_is_saved_before_its_outputs_are_computed(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ExecutionError("out of memory")

    monkeypatch.setattr(graphengine.Model, "predict", fail)
    assert "out of memory" in cli("train", LINREG, "--save", tmp_path / "m.json", code=1).stderr
    assert graphengine.load(tmp_path / "m.json").parameters["theta"] == pytest.approx(THETA)


@pytest.fixture
def trained(tmp_path):
    """A trained linear regression, and other data than it was trained on."""
    path = tmp_path / "trained.json"
    shutil.copytree(MODELS / "data", tmp_path / "data")
    cli("train", LINREG, "--save", path)
    (tmp_path / "test.csv").write_text("x,y\n1,3\n2,5\n4,9\n")
    return path


def test_run_evaluates_a_model_that_has_trained_values(trained):
    x, y = np.array([1.0, 2.0, 4.0]), np.array([3.0, 5.0, 9.0])
    reported = cli_json("run", trained, "--data", trained.with_name("test.csv"), "--columns", "x=x", "--columns", "y=y")
    theta = graphengine.load(trained).parameters["theta"]
    assert reported["parameters"]["theta"] == theta == pytest.approx(THETA)
    assert reported["outputs"]["loss"] == pytest.approx(np.mean((y - theta * x) ** 2), rel=1e-14)
    assert reported["outputs"]["prediction"] == pytest.approx(theta * x, rel=1e-15)
    assert (reported["iterations"], reported["outputs_on"]) == (0, {"data": "evaluation", "rows": 3})


def test_run_evaluates_it_on_the_data_that_it_was_trained_on_and_says_so(trained):
    result = cli("run", trained)
    assert "the file has trained values and was evaluated; 'graphengine train' trains it further" in result.stderr
    expected = graphengine.load(trained).forward(graphengine.load(trained).load_data())["loss"]
    assert cli_json("run", trained)["outputs"]["loss"] == pytest.approx(float(expected), rel=1e-14)


def test_training_it_again_is_asked_for(trained):
    again = cli_json("train", trained, "--epochs", 3)
    assert (again["iterations"], again["loss"]["first"]) == (3, pytest.approx(again["outputs"]["loss"], rel=1e-3))


@pytest.mark.parametrize(
    "option",
    [
        ("--epochs", 3),
        ("--no-shuffle",),
        ("--curve",),
        ("--log", "l.jsonl"),
        ("--checkpoint", "folder"),
        ("--set", "training.epochs=3"),
    ],
    ids=lambda option: option[0],
)
def test_an_option_of_a_training_is_refused_with_a_trained_model(trained, option, monkeypatch):
    monkeypatch.chdir(trained.parent)
    (error,) = cli_json("run", trained, *option, code=2)["errors"]
    assert (error["code"], error["hint"]) == ("GE801", "train it further with 'graphengine train'")
    assert error["message"].startswith("the file has trained values, so 'run' evaluates it, and --")


def test_a_model_with_some_values_is_trained(tmp_path):
    content = linreg(training=training(epochs=2, learning_rate=0.01), theta=2.0)
    content["parameters"]["other"] = {"shape": [], "initializer": {"type": "zeros"}}
    inputs = ("--input", "x=[1,2]", "--input", "y=[3,6]")
    assert cli_json("run", write(tmp_path / "m.json", content), *inputs)["iterations"] == 2


def test_code_of_a_model_that_ends_the_process_is_no_interruption(monkeypatch):
    def ended(*_):
        raise SystemExit(3)

    monkeypatch.setattr(Trainer, "chunks", ended)
    assert cli("train", "linreg", code=3).stderr == ""


def test_quiet_prints_nothing():
    assert cli("run", LINREG, "--quiet").output == ""


# ---------------------------------------------------------------- --set


@pytest.mark.parametrize(
    ("setting", "theta"),
    [
        ("parameters.theta.initializer.value=1", 1.0),
        ("parameters.theta.value=-3", -3.0),
        ("/parameters/theta/value=0.5", 0.5),
        ('parameters.theta={"shape": [], "initializer": {"type": "ones"}}', 1.0),
        ("parameters.theta.initializer.type=ones", None),
    ],
)
def test_set_changes_the_document_before_it_is_checked(small, setting, theta):
    if theta is None:  # 'ones' has no value
        assert cli_json("run", small, "--set", setting, code=2)["errors"][0]["code"] == "GE110"
    else:
        reported = cli_json("run", small, "--input", "x=[1]", "--set", setting)
        assert reported["parameters"]["theta"] == theta


@pytest.mark.parametrize("place", ["nodes.z.op=add", "nodes.0.op=add", "/nodes/0/op=add", "/nodes/z/op=add"])
def test_set_reaches_nodes_by_index_and_by_id(small, place):
    assert cli_json("run", small, "--input", "x=[1]", "--set", place)["outputs"] == {"z": [3.0]}


def test_set_distinguishes_the_declaration_of_an_input_from_its_value(small):
    reported = cli_json("run", small, "--set", 'inputs.x={"shape": []}', "--set", "inputs.x=4")
    assert reported["outputs"] == {"z": 8.0}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.epochs", "--set takes NAME=VALUE, not 'training.epochs'"),
        ("=1", "--set takes NAME=VALUE, not '=1'"),
        ("dtype=[1", "--set: '[1' is not JSON"),
        ("dtype.x=1", "--set dtype.x: there is no 'x' inside a value that is neither object nor array"),
        ("nodes.zz.op=add", "--set nodes.zz.op: there is no element 'zz'; did you mean 'z'?"),
        ("outputs.z=1", "GE112"),
        ("traning.epochs=1", "unknown key 'traning' (/traning); did you mean 'training'?"),
        ("nodes.z.inputs.0=y", "GE210"),
    ],
)
def test_a_wrong_set_is_reported(tmp_path, setting, message):
    path = write(tmp_path / "m.json", model(dtype="float64"))
    error = cli("run", path, "--set", setting, code=2).stderr
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("value", "code", "message"),
    [
        ("[1, 123456789012345678901234567890]", "GE125", "the integer 123456789012345678901234567890 does not fit"),
        ('{"a": 1, "a": 2}', "GE122", 'duplicate key "a" in an object'),
        ('{"a": 1, "\\u0061": 2}', "GE122", 'duplicate key "\\u0061" in an object'),
        ("[1, NaN]", "GE123", "NaN is not JSON"),
        ("1e999", "GE124", "1e999 is larger than any double"),
        ('"\\ud800"', "GE126", "is half of a character"),
        ("[" * 100 + "]" * 100, "GE130", "nested deeper than 64 levels"),
        ("\ufeff1", "GE120", "it begins with a byte order mark"),
        ("\udcff", "GE121", "it is not UTF-8: byte 0xff is not allowed here"),
        ("1 2", "GE801", "'1 2' is not JSON: unexpected text after the JSON value"),
        ("", "GE801", "'' is not JSON: it is empty"),
    ],
)
def test_a_value_on_the_command_line_is_as_strict_as_one_in_a_file(small, value, code, message):
    for option in (("--set", f"parameters.theta.value={value}"), ("--input", f"x={value}")):
        error = cli_json("run", small, *option, code=2)["errors"][0]
        assert (error["code"], error["line"], error["pointer"]) == (code, None, None)
        assert error["message"].startswith(f"{option[0]}: '")
        assert message in error["message"]


def test_a_value_on_the_command_line_has_the_limits_of_the_command(small):
    deep = ("show", small, "--plan", "--size", "N=[[[[]]]]")
    assert cli_json("--limit", "depth=3", *deep, code=2)["errors"][0]["code"] == "GE130"


def test_positions_in_text_that_nobody_has_seen_are_not_reported(small):
    error = cli_json("run", small, "--set", "nodes.z.inputs.0=y", code=2)["errors"][0]
    assert (error["file"], error["line"], error["column"]) == (str(small), None, None)
    assert (error["pointer"], error["node"]) == ("/nodes/0/inputs/0", "z")


def test_set_does_not_hide_what_is_wrong_with_the_text(tmp_path):
    (tmp_path / "m.json").write_text("{\n  x")
    error = cli_json("run", tmp_path / "m.json", "--set", "dtype=float32", code=2)["errors"][0]
    assert (error["code"], error["line"]) == ("GE102", 2)


# ---------------------------------------------------------------- predict


def test_predict_needs_only_what_the_outputs_need():
    saved = ("--set", "parameters.theta.value=2")
    assert cli_json("predict", LINREG, *saved, "--input", "x=[1,2]")["outputs"] == {"prediction": [2.0, 4.0]}
    both = cli_json("predict", LINREG, *saved, "--input", "x=[1,2]", "--input", "y=[2,5]")
    assert both["outputs"] == {"prediction": [2.0, 4.0], "loss": 0.5}
    one = cli_json("predict", LINREG, *saved, "--input", "x=[1,2]", "--input", "y=[2,5]", "--output", "loss")
    assert one["outputs"] == {"loss": 0.5}


def test_predict_prints_csv_in_a_pipe_and_a_table_where_asked():
    asked = ("predict", LINREG, "--set", "parameters.theta.value=2", "--input", "x=[1,2.5]", "--input", "y=[2,5]")
    assert cli(*asked).stdout == "prediction\n2.0\n5.0\n"
    assert "left out of the table: 'loss'" in cli(*asked).stderr
    assert cli(*asked, "--output", "loss").stdout == "loss\n0.0\n"
    assert cli(*asked, "--format", "csv").stdout == cli(*asked).stdout
    assert cli(*asked, "--format", "table").stdout == "prediction\n2.0\n5.0\n"


def test_predict_from_csv_by_name_and_by_mapping(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("x,velocity\n1,10\n2,20\n")
    asked = ("predict", LINREG, "--set", "parameters.theta.value=2", "--data", table)
    assert cli_json(*asked)["outputs"] == {"prediction": [2.0, 4.0]}
    assert cli_json(*asked, "--columns", "x=velocity")["outputs"] == {"prediction": [20.0, 40.0]}
    assert cli_json(*asked, "--columns", "y=velocity")["outputs"].keys() == {"prediction", "loss"}
    assert cli_json(*asked, "--columns", "y=velocity", "--output", "prediction")["outputs"].keys() == {"prediction"}


def test_predict_from_the_hubble_table_takes_the_columns_of_the_models_own_data():
    asked = ("predict", "linreg", "--set", f"parameters.theta.value={THETA}", "--output", "prediction")
    rows = list(csv.reader(cli(*asked, "--data", HUBBLE).stdout.splitlines()))
    assert rows[0] == ["prediction"]
    assert len(rows) == 25
    assert float(rows[1][0]) == pytest.approx(THETA * 0.032)
    assert list(csv.reader(cli(*asked, "--data", "train").stdout.splitlines())) == rows


def test_what_the_command_line_says_of_columns_is_not_replaced_by_a_column_of_the_inputs_name(tmp_path):
    (tmp_path / "t.csv").write_text("x,velocity\n1,10\n")
    asked = ("predict", LINREG, "--data", tmp_path / "t.csv", "--columns", "x=velocty")
    assert "did you mean 'velocity'" in cli_json(*asked, code=2)["errors"][0]["hint"]


def test_predict_several_columns_make_a_matrix(tmp_path):
    path = write(tmp_path / "m.json", model(inputs={"x": {"shape": ["N", 2]}}))
    (tmp_path / "t.csv").write_text('a,"b,c"\n1,2\n3,4\n')
    reported = cli_json("predict", path, "--data", tmp_path / "t.csv", "--columns", 'x=["a", "b,c"]')
    assert reported["outputs"] == {"z": [[2.0, 4.0], [6.0, 8.0]]}
    shown = cli("predict", path, "--data", tmp_path / "t.csv", "--columns", 'x=["a", "b,c"]').stdout
    assert shown == "z[0],z[1]\n2.0,4.0\n6.0,8.0\n"
    (tmp_path / "u.csv").write_text("a,b\n1,2\n")
    reported = cli_json("predict", path, "--data", tmp_path / "u.csv", "--columns", "x=a,b")
    assert reported["outputs"] == {"z": [[2.0, 4.0]]}


def test_predict_a_row_at_a_time_where_an_input_is_one_sample(tmp_path):
    (tmp_path / "t.csv").write_text("x\n1\n-2\n")
    reported = cli_json("predict", "linreg_single_sample", "--data", tmp_path / "t.csv")
    assert reported["outputs"] == {"prediction": [2.0, -4.0]}


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ([], "GE401"),
        (["--input", "z=[1]"], "GE402"),
        (["--input", "x=[[1]]"], "GE403"),
        (["--input", "x=[[1],[2,3]]"], "GE404"),
        (["--input", "x=word"], "GE404"),
        (["--input", "x=[1"], "GE801"),
        (["--input", "x"], "GE801"),
        (["--input", "x=[1]", "--output", "predicton"], "GE402"),
        (["--data", "nowhere.csv"], "GE501"),
        (["--data", "nowhere.xlsx"], "GE801"),
        (["--data", HUBBLE, "--columns", "x=distance_mpc", "--columns", "x"], "GE801"),
        (["--columns", "x=distance_mpc"], "GE801"),
        (["--data", HUBBLE, "--columns", "x=distance"], "GE502"),
        (["--data", HUBBLE, "--columns", "x=object"], "GE503"),
        (["--data", HUBBLE, "--columns", "z=distance_mpc"], "GE402"),
        (["--data", HUBBLE, "--columns", "x=distance_mpc", "--output", "predicton"], "GE402"),
    ],
)
def test_a_wrong_input_to_predict_is_reported(options, code):
    error = cli_json("predict", LINREG, *options, code=2)["errors"][0]
    assert error["code"] == code


def test_outputs_of_different_lengths_make_no_table(tmp_path):
    inputs = {"x": {"shape": ["N"]}, "w": {"shape": ["M"]}}
    nodes = [{"id": "z", "op": "mul", "inputs": ["x", 2]}, {"id": "v", "op": "mul", "inputs": ["w", 2]}]
    path = write(tmp_path / "m.json", model(inputs=inputs, nodes=nodes, outputs={"z": "z", "v": "v"}, parameters={}))
    asked = ("predict", path, "--input", "x=[1]", "--input", "w=[1,2]")
    assert "outputs with different numbers of rows do not make a table: 'z' 1, 'v' 2" in cli(*asked, code=2).stderr
    assert cli_json(*asked)["outputs"] == {"z": [2.0], "v": [2.0, 4.0]}


# ---------------------------------------------------------------- validate, show, ops, schema


def test_validate_says_what_is_there(small):
    summary = "valid: 2 inputs, 1 parameter, 4 nodes, 2 outputs"
    assert cli("validate", LINREG).stdout == f"{LINREG}: {summary}\n"
    assert len(cli("validate", LINREG, small, "noint1").stdout.splitlines()) == 3
    assert cli_json("validate", LINREG, small) == {"valid": True, "errors": [], "warnings": []}


def test_validate_reports_all_errors_of_all_files(tmp_path, small):
    nodes = [{"id": "z", "op": "mull", "inputs": ["x", "theta"]}, {"id": "w", "op": "mul", "inputs": ["x", "thta"]}]
    bad = write(tmp_path / "bad.json", model(nodes=nodes))
    result = cli("validate", bad, small, tmp_path / "none.json", code=2)
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"error: {bad}:1:")
    assert "GE211: " in lines[0]
    assert lines[1].endswith("did you mean 'theta'?")
    assert "no such file" in lines[2]
    assert result.stdout == f"{small}: valid: 1 input, 1 parameter, 1 node, 1 output\n"
    reported = cli_json("validate", bad, small, code=2)
    assert reported["valid"] is False
    assert [error["code"] for error in reported["errors"]] == ["GE211", "GE210"]
    assert reported["errors"][0].keys() >= {"code", "message", "pointer", "line", "column", "node", "file"}
    assert (reported["errors"][1]["pointer"], reported["errors"][1]["node"]) == ("/nodes/1/inputs/1", "w")


def test_validate_with_a_wrong_command_line_is_not_valid():
    reported = cli_json("validate", LINREG, "--plugin", "no.such.module", code=2)
    assert reported["valid"] is False
    assert reported["errors"][0]["code"] == "GE802"


@pytest.mark.parametrize(
    "command",
    [
        *[("show", "--format", form) for form in ("svg", "mermaid", "dot")],
        *[("trace", "--format", form) for form in ("text", "markdown", "json", "svg")],
        *[(name,) for name in ("view", "grad", "step", "schema", "upgrade")],
        ("train", "--save"),
        ("train", "--log"),
        ("fit", "--save"),
    ],
    ids=" ".join,
)
def test_control_characters_of_a_file_name_never_reach_a_terminal(tmp_path, command):
    name, *options = command
    model = [] if name == "schema" else ["misra1a"] if name == "fit" else [LINREG]
    option = options if options[:1] in (["--save"], ["--log"]) else [*options, "-o"]
    result = cli(name, *model, *option, tmp_path / "o\x1b[31m\u202e.json")
    shown = (result.stdout + result.stderr).replace("\n", "")
    assert shown.isprintable()
    assert "--log" in options or r"o\x1b[31m\u202e.json" in shown


def test_control_characters_of_a_file_never_reach_a_terminal(tmp_path):
    path = write(tmp_path / "m.json", model(**{"k\x1b[2J\u202e\u2028": 1}))
    error = cli("validate", path, code=2).stderr
    assert error.count("\n") == 1
    assert error.rstrip("\n").isprintable()
    path = write(tmp_path / "n.json", model(description="a\x1b]0;title\x07\u2066\nb", name="n\u200b"))
    for command in ("show", "run"):
        shown = cli(command, path, *(["--input", "x=[1]"] if command == "run" else [])).stdout
        assert all(line.isprintable() for line in shown.split("\n"))
        assert "n\\u200b: 1 input" in shown


def test_show_reports_nodes_in_the_order_they_run(tmp_path):
    content = json.loads(Path(LINREG).read_text())
    content["nodes"].reverse()
    content["parameters"]["theta"]["value"] = 3.5
    reported = cli_json("show", write(tmp_path / "m.json", content))
    assert [node["id"] for node in reported["nodes"]] == ["y_hat", "error", "sq", "loss"]
    assert reported["nodes"][3] == {
        "id": "loss",
        "op": "mean",
        "inputs": ["sq"],
        "attributes": {},
        "outputs": [{"name": "loss", "dtype": "float64", "shape": []}],
    }
    assert reported["inputs"][0] == {"name": "x", "dtype": "float64", "shape": ["N"], "description": "distance in Mpc"}
    assert reported["parameters"][0]["value"] == 3.5
    assert reported["parameters"][0]["initializer"] == {"type": "constant", "value": 0.0}
    assert reported["outputs"][1] == {"name": "loss", "value": "loss", "dtype": "float64", "shape": []}


def test_show_prints_tables(tmp_path):
    nodes = [
        {"id": "z", "op": "mul", "inputs": {"x": "x", "y": 2}},
        {"id": "s", "op": "sum", "inputs": ["z"], "attributes": {"axis": 0}},
    ]
    frozen = {"theta": {"shape": [2], "trainable": False, "value": [1, 2], "initializer": {"type": "zeros"}}}
    shown = cli("show", write(tmp_path / "m.json", model(nodes=nodes, parameters=frozen))).stdout
    lines = [line.split() for line in shown.splitlines()]
    assert ["theta", "float64(2,)", "no", "[1.0,", "2.0]"] in lines
    assert ["z", "mul", "x,", "2", "float64(N,)"] in lines
    assert ["s", "sum", "z", "axis=0", "float64()"] in lines
    assert "constant(value=0.0)" in cli("show", LINREG).stdout


# ---------------------------------------------------------------- show --plan


def test_show_plan_prints_the_code_for_the_sizes_of_the_data():
    lines = cli("show", "--plan", LINREG).stdout.splitlines()
    assert lines[0] == "# forward of linreg for N=24"
    assert "# training step of linreg for N=24" in lines
    assert lines.count("def run(given, buffers):") == 2
    assert "# s0 = x" in lines
    assert any(line.endswith("= theta/new_parameter (output new_theta)") for line in lines)
    reported = cli_json("show", "--plan", LINREG)
    assert reported["model"] == "linreg"
    assert reported["plans"].keys() == {"forward", "training step"}
    plan = reported["plans"]["forward"]
    assert plan["sizes"] == {"N": 24}
    assert plan["code"] == str(Plan(graphengine.load(LINREG).graph.with_sizes({"N": 24})))
    assert set(re.findall(r"\b[sfb]\d+\b", plan["code"])) == plan["names"].keys()


def test_show_plan_takes_sizes(small):
    lines = cli("show", "--plan", LINREG, "--size", "N=7").stdout.splitlines()
    assert lines[0] == "# forward of linreg for N=7"
    assert cli_json("show", "--plan", small, "--size", "N=3")["plans"]["forward"]["sizes"] == {"N": 3}
    assert cli_json("show", "--plan", "linreg_single_sample")["plans"]["training step"]["sizes"] == {}


def test_show_plan_of_a_batch(tmp_path):
    content = json.loads(Path(LINREG).read_text())
    content["training"]["batch_size"] = 10
    content["data"]["train"]["path"] = "t.csv"
    (tmp_path / "t.csv").write_text(Path(HUBBLE).read_text())
    reported = cli_json("show", "--plan", write(tmp_path / "m.json", content))["plans"]
    assert [plan["sizes"] for plan in reported.values()] == [{"N": 24}, {"N": 10}]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--plan"], "GE801", "a plan needs numbers for the sizes N, and no data has them"),
        (["--plan", "--size", "M=3"], "GE402", "has no size 'M'"),
        (["--plan", "--size", "N=-1"], "GE801", "a size is an integer from 0, not -1"),
        (["--plan", "--size", "N=1.5"], "GE801", "not 1.5"),
        (["--plan", "--size", "N"], "GE801", "--size takes NAME=VALUE"),
        (["--size", "N=3"], "GE801", "--size is a size for --plan"),
    ],
)
def test_a_wrong_size_is_reported(small, options, code, message):
    (error,) = cli_json("show", small, *options, code=2)["errors"]
    assert error["code"] == code
    assert message in error["message"]


def test_a_format_that_is_none_is_reported_in_plain_words(small):
    said = "invalid value for '--format': 'yaml' is not one of 'text', 'json'"
    assert f"GE801: {said};" in cli("validate", small, "--format", "yaml", code=2).stderr


@pytest.mark.parametrize(("option", "kind"), [("--epochs", "integer"), ("--learning-rate", "number")])
def test_an_option_that_is_no_number_is_reported_in_plain_words(option, kind):
    assert "Input should be" not in (reported := cli("train", "linreg", option, "lots", code=2).stderr)
    assert f"'{option}'" in reported
    assert f"valid {kind}" in reported


def test_show_plan_puts_no_text_of_a_file_into_code(tmp_path):
    content = model(outputs={"import": "z"}, name="n\nimport os\x1b[2J")
    shown = cli("show", "--plan", write(tmp_path / "m.json", content), "--size", "N=2").stdout
    assert shown.startswith("# forward of n\\nimport os\\x1b[2J for N=2\n")
    assert [line for line in shown.splitlines() if "import" in line and not line.startswith("#")] == []
    code = cli_json("show", "--plan", tmp_path / "m.json", "--size", "N=2")["plans"]["forward"]["code"]
    assert "import" not in code


# ---------------------------------------------------------------- grad and step


def same_bits(given, expected):
    return np.asarray(given).tobytes() == np.asarray(expected).tobytes() and np.shape(given) == np.shape(expected)


def test_grad_prints_the_chain_rule():
    shown = cli("grad", "linreg_single_sample").stdout
    assert [line.rsplit("  ", 1)[0].strip() for line in shown.splitlines()] == [
        "gradient of loss with respect to theta in linreg_single_sample",
        "given:",
        "x",
        "y",
        "theta = 2.0",
        "forward:",
        "y_hat = mul(theta, x)",
        "error = sub(y, y_hat)",
        "loss = square(error)",
        "gradient:",
        "d_loss = ones_like(loss)",
        "d_loss/d_error = mul(2, error)",
        "d_error = mul(d_loss/d_error, d_loss)",
        "d_y_hat = neg(d_error)",
        "d_theta = mul(d_y_hat, x)",
        "outputs:",
        "d_loss/d_theta = d_theta",
    ]
    assert "float64(N,)" in cli("grad", LINREG).stdout


@pytest.mark.parametrize("name", sorted(name for name, path in models().items() if "training" in path.read_text()))
def test_a_saved_gradient_runs_and_equals_backward_bit_for_bit(tmp_path, name):
    trained, path = tmp_path / "trained.json", tmp_path / "grad.json"
    loaded = graphengine.load(models()[name])
    loaded.train(max_iterations=3)
    loaded.save(trained)
    parameter = next(iter(loaded.graph.trainable))
    assert cli("grad", trained, "-o", path).stdout == ""
    assert cli("grad", trained, "--format", "json").stdout.encode() == path.read_bytes()
    gradient = graphengine.load(path)
    assert dump_model(gradient.as_document()) == path.read_bytes()
    assert same_bits(gradient.parameters[parameter], loaded.parameters[parameter])
    data = loaded.load_data(loaded.document.training.data)
    if not loaded.graph.types[next(iter(loaded.graph.inputs))].shape:
        data = {key: value[1] for key, value in data.items()}
    expected = loaded.forward(data).backward()[parameter]
    assert same_bits(gradient.forward(data)[f"d_loss/d_{parameter}"], expected)
    inputs = [f"--input={key}={json.dumps(np.asarray(value).tolist())}" for key, value in data.items()]
    assert same_bits(cli_json("run", path, *inputs)["outputs"][f"d_loss/d_{parameter}"], expected)


def test_grad_of_what_and_toward_what(tmp_path):
    reported = cli_json("grad", LINREG, "--of", "loss", "--wrt", "x", "--wrt", "theta", "--wrt", "x")
    assert list(reported["outputs"]) == ["d_loss/d_x", "d_loss/d_theta"]
    assert reported["description"] == "gradient of loss with respect to x, theta in linreg"
    assert not {"metadata", "training", "data", "$schema"} & reported.keys()
    cli("grad", LINREG, "-o", tmp_path / "first.json")
    second = json.loads(cli("grad", tmp_path / "first.json", "--format", "json").stdout)
    assert list(second["outputs"]) == ["d_d_loss/d_theta/d_theta"]
    cli("grad", tmp_path / "first.json", "-o", tmp_path / "second.json")
    run = cli_json("run", tmp_path / "second.json", "--input", "x=[1,2]", "--input", "y=[0,0]")
    assert run["outputs"] == {"d_d_loss/d_theta/d_theta": 5.0}


def test_grad_takes_the_only_output_and_settings(tmp_path):
    nodes = [{"id": "z", "op": "square", "inputs": ["theta"]}]
    path = write(tmp_path / "m.json", model(inputs={}, nodes=nodes))
    assert cli_json("grad", path)["outputs"] == {"d_z/d_theta": "d_theta"}
    assert cli_json("grad", path, "--set", "parameters.theta.value=5")["parameters"]["theta"]["value"] == 5.0


@pytest.mark.parametrize(
    ("command", "options", "code", "message"),
    [
        ("grad", ["--of", "lost"], "GE402", "has no value 'lost'"),
        ("grad", ["--of", "y_hat"], "GE411", "only a floating-point scalar has a gradient"),
        ("grad", ["--wrt", "thta"], "GE402", "has no value 'thta'"),
        ("grad", ["--set", "inputs.x=[1]"], "GE801", "nothing is run here, so input 'x' takes no value"),
        ("step", ["--set", "training.optimizer.type=adm"], "GE210", "update rule 'adm' is not defined"),
        ("step", ["--set", "parameters.theta.trainable=false"], "GE602", "has no trainable parameter"),
        ("grad", ["--set", "parameters.theta.trainable=false"], "GE801", "with respect to which values?"),
        ("step", ["--set", "training=null"], "GE602", "has no training section"),
        ("grad", ["--set", "training=null"], "GE801", "which value?"),
    ],
)
def test_a_gradient_or_step_that_is_not_there_is_reported(command, options, code, message):
    expected = 1 if code == "GE411" else 2
    (error,) = cli_json(command, LINREG, *options, code=expected)["errors"]
    assert error["code"] == code
    assert message in error["message"]


def test_step_runs_and_equals_an_iteration(tmp_path):
    path = tmp_path / "step.json"
    assert cli("step", LINREG, "-o", path).stderr == f"graph written to {path}\n"
    content = json.loads(path.read_text())
    assert "training" not in content
    assert (
        content["description"] == "one training step of linreg: loss, gradient and the update of each parameter by sgd"
    )
    data = graphengine.load(LINREG).load_data()
    inputs = [f"--input={name}={json.dumps(value.tolist())}" for name, value in data.items()]
    rates = ("--input", "learning_rate=0.1", "--input", "iteration=1")
    outputs = cli_json("run", path, *inputs, *rates)["outputs"]
    (row,) = graphengine.load(LINREG).train(epochs=1)
    assert outputs["loss"] == row.loss
    assert outputs["new_theta"] == pytest.approx(row.parameters["theta"], rel=1e-14)


def test_step_shows_clipping_and_the_rule():
    settings = (
        "--set",
        "training.optimizer.type=adam",
        "--set",
        'training.gradient_clipping={"type":"value","limit":1}',
    )
    reported = cli_json("step", LINREG, *settings)
    assert list(reported["state"]) == ["theta/first_moment", "theta/second_moment"]
    assert list(reported["outputs"])[2:] == ["new_theta", "new_theta/first_moment", "new_theta/second_moment"]
    assert any(node["op"] == "minimum" for node in reported["nodes"])
    lines = [line.strip() for line in cli("step", LINREG, *settings).stdout.splitlines()]
    assert lines.index("forward:") < lines.index("gradient and its norm:") < lines.index("update:")
    assert any(line.startswith("theta/root = sqrt(theta/corrected_second_moment)") for line in lines)


def test_a_graph_of_a_model_with_functions_and_a_plugin_loads_again(tmp_path, plugin):
    content = model(
        opset_imports={"test_cli": 1},
        inputs={},
        nodes=[{"id": "z", "op": "test_cli.cube", "inputs": ["theta"]}],
        functions={"mine": RULE},
        training={"loss": "z", "optimizer": {"type": "mine", "learning_rate": 0.1}, "epochs": 1},
    )
    path, option = write(tmp_path / "m.json", content), ("--plugin", plugin)
    for command in ("grad", "step"):
        cli(command, path, *option, "-o", tmp_path / "derived.json")
        assert cli_json("validate", tmp_path / "derived.json", *option)["valid"]


# ---------------------------------------------------------------- gradcheck


def test_gradcheck_of_a_model_on_its_data():
    reported = cli_json("gradcheck", LINREG)
    assert (reported["of"], reported["inputs"], reported["correct"]) == ("loss", "data", True)
    slope, recording = reported["gradients"]
    assert (slope["parameter"], slope["law"], slope["method"]) == ("theta", "slope", "complex step")
    assert slope["got"] == pytest.approx(slope["expected"], rel=1e-12)
    assert (recording["law"], recording["correct"]) == ("recording", True)
    text = cli("gradcheck", LINREG).stdout
    assert text.startswith("linreg: gradients of 'loss' on the first samples of its data")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_gradients_of_every_shipped_model_are_right(path):
    assert cli_json("gradcheck", path)["correct"]


def test_gradcheck_makes_up_inputs_or_takes_those_given(tmp_path):
    nodes = [*model()["nodes"], {"id": "loss", "op": "sum", "inputs": ["z"]}]
    path = write(tmp_path / "m.json", model(nodes=nodes, outputs={"loss": "loss"}))
    reported = cli_json("gradcheck", path, "--seed", 3)
    assert (reported["inputs"], reported["correct"]) == ("random", True)
    assert reported["gradients"] != cli_json("gradcheck", path, "--seed", 4)["gradients"]
    assert cli_json("gradcheck", LINREG, "--input", "x=[1]", "--input", "y=[2]")["inputs"] == "given"
    assert cli_json("gradcheck", LINREG, "--wrt", "x")["gradients"][0]["parameter"] == "x"


@pytest.mark.parametrize(
    ("options", "code"), [(("--of", "y_hat"), "GE411"), (("--wrt", "y_hat"), "GE801"), (("--wrt", "thet"), "GE402")]
)
def test_a_gradient_that_cannot_be_checked_is_reported(options, code):
    result = cli_json("gradcheck", LINREG, *options, code=1 if code == "GE411" else 2)
    assert result["errors"][0]["code"] == code


def test_gradcheck_finds_a_wrong_gradient_and_exits_with_1(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text(PLUGIN.replace("3 * x**2", "2 * x**2"))
    nodes = [{"id": "c", "op": "test_cli.cube", "inputs": ["theta"]}, {"id": "loss", "op": "sum", "inputs": ["c"]}]
    content = model(inputs={}, nodes=nodes, outputs={"loss": "loss"}, opset_imports={"core": 1, "test_cli": 1})
    path = write(tmp_path / "m.json", content)
    reported = cli_json("gradcheck", path, "--plugin", wrong, code=1)
    assert reported["correct"] is False
    assert "the slope of forward is" in reported["gradients"][0]["message"]
    text = cli("gradcheck", path, "--plugin", wrong, code=1).stdout
    assert "wrong: with respect to 'theta' in inference: backward gives " in text


def test_gradcheck_checks_training_mode_too(tmp_path):
    nodes = [
        {"id": "d", "op": "dropout", "inputs": ["x"], "attributes": {"p": 0.5}},
        {"id": "p", "op": "mul", "inputs": ["theta", "d"]},
        {"id": "loss", "op": "mean", "inputs": ["p"]},
    ]
    path = write(tmp_path / "m.json", model(nodes=nodes, outputs={"loss": "loss"}))
    reported = cli_json("gradcheck", path)
    assert [row["mode"] for row in reported["gradients"]] == ["inference"] * 2 + ["training"] * 2
    assert reported["correct"]


# ---------------------------------------------------------------- --update-rule

RULE = {
    "inputs": {"parameter": {}, "gradient": {}},
    "nodes": [{"id": "new", "op": "sub", "inputs": ["parameter", "gradient"]}],
    "outputs": {"parameter": "new"},
}
RULE_FILE = {
    "format": "graphengine.function",
    "format_version": 1,
    "opset_imports": {"core": 1},
    "name": "plain",
    **RULE,
}


def test_an_update_rule_in_a_file(tmp_path, small):
    rule = write(tmp_path / "plain.json", RULE_FILE)
    options = ("--update-rule", rule, "--epochs", 1)
    reported = cli_json("run", LINREG, *options)
    by_rate_one = cli_json("run", LINREG, "--learning-rate", 1, "--epochs", 1)
    assert reported["parameters"] == by_rate_one["parameters"]
    assert cli_json("train", LINREG, *options) == reported
    named = ("--set", "training.optimizer.type=plain")  # a name that only the file gives a meaning
    assert cli_json("run", LINREG, *options, *named)["parameters"] == reported["parameters"]
    assert cli("run", LINREG, *named, code=2).stderr.startswith("error: ")
    step = cli_json("step", LINREG, "--update-rule", rule)
    assert step["description"].endswith("by plain")
    assert cli_json("run", small, "--update-rule", rule, code=2)["errors"][0]["code"] == "GE602"


def test_a_wrong_update_rule_is_reported_with_its_place(tmp_path):
    rule = write(tmp_path / "plain.json", RULE_FILE | {"outputs": {"parameter": "new", "velocity": "new"}})
    for settings in ((), ("--set", "training.epochs=3")):
        (error,) = cli_json("run", LINREG, "--update-rule", rule, *settings, code=2)["errors"]
        assert (error["code"], error["pointer"]) == ("GE210", "/outputs/velocity")
        assert (error["file"], error["line"]) == (str(rule), 1)
        assert error["column"] > 1
    (error,) = cli_json("run", LINREG, "--update-rule", tmp_path / "none.json", code=2)["errors"]
    assert (error["code"], error["file"]) == ("GE101", str(tmp_path / "none.json"))
    (error,) = cli_json("step", LINREG, "--update-rule", LINREG, code=2)["errors"]
    assert error["code"] == "GE104"


def test_data_that_is_not_finite_is_bad_input():
    (error,) = cli_json("run", LINREG, "--input", "x=[1,2]", "--input", 'y=[1,"NaN"]', code=2)["errors"]
    assert error["code"] == "GE503"
    assert error["message"] == "the data for input 'y' has the value nan in row 2; training needs finite numbers"


def test_ops_reports_formulas_and_derivatives():
    rows = {line.split()[0]: line for line in cli("ops").stdout.splitlines()}
    known = {*OPS, *shipped_functions()}
    assert rows.keys() == {"op", *known}
    assert "z = x * y" in rows["mul"]
    assert "dz/dx = y, dz/dy = x" in rows["mul"]
    assert rows["mean"].endswith("  axis, keepdims")
    reported = cli_json("ops")
    assert [op["op"] for op in reported["ops"]] == sorted(known)


def test_ops_reports_one_op_in_detail():
    text = cli("ops", "div").stdout
    assert "2 inputs (x, y)" in text
    assert "uses grad, y, out" in text
    reported = cli_json("ops", "div")
    assert (reported["op"], reported["inputs"], reported["differentiable"]) == ("div", ["x", "y"], True)
    rule = {"inputs": {"x": "int64", "y": "int64"}, "outputs": {"out": "float64"}, "attributes": {}}
    assert reported["dtypes"][2] == rule
    assert "dtypes      float64 -> float64, float32 -> float32" in text
    assert "dtypes      x float64, indices int64 -> float64\n" in cli("ops", "gather").stdout
    assert "dtypes      key uint64, sizes int64 -> attribute dtype\n" in cli("ops", "uniform").stdout
    assert "\n            logits float32, targets int64" in cli("ops", "softmax_cross_entropy").stdout
    assert "seed: int | None = None" in cli("ops", "random_key").stdout
    assert "stride: int | tuple[int, ...] = 1" in cli("ops", "conv1d").stdout
    assert "reduction: 'none' | 'mean' | 'sum' = 'mean'" in cli("ops", "mse").stdout
    assert cli_json("ops", "mean")["shape"].startswith("without the axes")
    error = cli_json("ops", "mull", code=2)["errors"][0]
    assert (error["code"], error["hint"]) == ("GE211", "did you mean 'mul'?")


def test_ops_reports_one_function_in_detail():
    text = cli("ops", "nn.lstm_cell").stdout
    assert "7 inputs (x, h, c, weight_ih, weight_hh, bias_ih, bias_hh)" in text
    assert "new_c = add(kept, added)" in text
    reported = cli_json("ops", "nn.lstm_cell")
    assert (reported["domain"], reported["outputs"], reported["shapes"]["bias_hh"]) == ("nn", ["h", "c"], [4, "H"])
    assert cli_json("ops", "nn.lstm_cel", code=2)["errors"][0]["hint"] == "did you mean 'nn.lstm_cell'?"


def test_schema_is_printed_or_written(tmp_path):
    printed = cli("schema", "--format", "json").stdout
    assert printed.endswith("}\n")
    assert json.loads(printed) == json.loads((ROOT / "schemas" / "model-1.schema.json").read_bytes())
    path = tmp_path / "s.json"
    assert cli("schema", "-o", path).stdout == ""
    assert path.read_text() == printed


# ---------------------------------------------------------------- plugins


def test_a_plugin_file_registers_nodes_for_every_command(tmp_path, plugin):
    nodes = [{"id": "z", "op": "test_cli.cube", "inputs": ["x"]}]
    path = write(tmp_path / "m.json", model(nodes=nodes, opset_imports={"core": 1, "test_cli": 1}))
    error = cli_json("validate", path, code=2)["errors"][0]
    assert error["code"] == "GE211"
    assert "--plugin" in error["hint"]
    option = ("--plugin", plugin)
    assert cli_json("run", path, "--input", "x=[3]", *option)["outputs"] == {"z": [27.0]}
    assert cli_json("predict", path, "--input", "x=[2]", *option)["outputs"] == {"z": [8.0]}
    assert cli_json("validate", path, *option, *option)["valid"]
    assert cli_json("show", path, *option)["nodes"][0]["op"] == "test_cli.cube"
    assert "z = x**3" in cli("ops", *option).stdout
    assert "test_cli.cube" in cli("schema", *option).stdout


def test_a_plugin_module_and_an_entry_point(tmp_path, monkeypatch):
    (tmp_path / "test_cli_module.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "acme-1.0.dist-info").mkdir()
    (tmp_path / "acme-1.0.dist-info" / "METADATA").write_text("Name: acme\nVersion: 1.0\n")
    entry_points = "[graphengine.nodes]\nacme = test_cli_module\n"
    (tmp_path / "acme-1.0.dist-info" / "entry_points.txt").write_text(entry_points)
    assert "test_cli.cube" not in cli("ops").stdout
    assert "test_cli_module" not in sys.modules  # what is installed is loaded when it is named, and not before
    for name in ("test_cli_module", "acme"):
        try:
            assert "test_cli.cube" in cli("ops", "--plugin", name).stdout
        finally:
            OPS.remove("test_cli.cube")
            del sys.modules["test_cli_module"]
    assert "installed: acme" in cli("ops", "--plugin", "acmee", code=2).stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 +", ":1: GE802: plugin '{path}' cannot be loaded: SyntaxError: "),
        ("\nimport no_such_module", ":2: GE802: plugin '{path}' cannot be loaded: ModuleNotFoundError: "),
        ("raise SystemError('no')", ":1: GE802: plugin '{path}' cannot be loaded: SystemError: no"),
        (PLUGIN.replace("test_cli.cube", "mul"), "op 'mul' is registered already"),
        (None, "cannot be loaded: No such file or directory"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_reported(tmp_path, text, message):
    path = tmp_path / "broken.py"
    if text is not None:
        path.write_text(text)
    error = cli("ops", "--plugin", path, code=2).stderr
    assert message.format(path=path) in error
    assert "Traceback" not in error
    assert cli_json("ops", "--plugin", path, code=2)["errors"][0]["code"] == "GE802"


# ---------------------------------------------------------------- the command line itself


def test_help_names_every_limit():
    reported = " ".join(cli("--help").output.split())
    assert ", ".join(field.name for field in fields(Limits)) in reported


def test_an_option_that_several_commands_have_is_written_once():
    written = {}
    for command in {each.callback for each in application.app.registered_commands}:
        for name, hint in get_type_hints(command, include_extras=True).items():
            for option in getattr(hint, "__metadata__", ()):
                known = written.setdefault((name, hint.__origin__, option.help), option)
                assert known is option, f"{command.__name__}: {name}"


def test_help_and_version():
    shown = cli("--help").stdout
    for command in ("run", "train", "predict", "validate", "show", "grad", "step", "ops", "schema"):
        assert f"\n  {command} " in shown
        assert "--format" in cli(command, "--help").stdout
    assert cli("--version").stdout == f"graphengine {graphengine.__version__}\n"
    assert "Train and use:" in cli(code=2).stderr


def test_the_help_has_each_command_once_in_a_whole_line():
    listed = [name for summaries in application.SUMMARIES.values() for name in summaries]
    assert sorted(listed) == sorted(application.COMMANDS)
    text = cli("--help").output
    for summaries in application.SUMMARIES.values():
        for name, summary in summaries.items():
            assert re.search(rf"^  {name} +{re.escape(summary)}$", text, re.MULTILINE)


def test_the_help_needs_no_command_for_its_table():
    runner = CliRunner()
    whole, alone = (
        runner.invoke(app, ["--help"], prog_name="graphengine").output
        for app in (application.app, application.app_for(["--help"]))
    )
    assert whole == alone
    assert not application.app_for(["--help"]).registered_commands


NEEDS_MORE = {"evaluate", "score", "upgrade", "export", "import", "view", "doctor", "cluster"}
"""Commands whose example needs a file, a package or a browser, or does not end."""


def test_the_help_of_each_command_has_an_example_that_works_in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = typer.main.get_command(application.app).commands
    assert application.EXAMPLES.keys() == application.COMMANDS.keys()
    for name, example in application.EXAMPLES.items():
        shown = " ".join(cli(name, "--help").stdout.split())
        assert shown.endswith(f"Example: graphengine {name} {example}".rstrip())
        commands[name].make_context(name, shlex.split(example))
    for name in sorted(application.COMMANDS.keys() - NEEDS_MORE, key=["train", "fit"].__contains__, reverse=True):
        cli(name, *shlex.split(application.EXAMPLES[name]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["valdate", "x"], "no such command 'valdate'. Did you mean 'validate', 'evaluate'?"),
        (["run", LINREG, "--epoch", "1"], "no such option"),
        (["run", LINREG, "--epochs", "many"], "invalid value for '--epochs'"),
        (["run", LINREG, "--format", "xml"], "invalid value for '--format'"),
        (["run"], "missing argument 'MODEL'"),
    ],
)
def test_a_wrong_command_line_is_one_line(arguments, message):
    error = cli(*arguments, code=2).stderr
    assert error.startswith(f"error: GE801: {message}")
    assert error.count("\n") == 1
    assert "--help'" in error


def test_a_wrong_command_line_is_reported_as_json_too():
    for option in (["--format", "json"], ["--format=json"]):
        result = cli("run", LINREG, "--epochs", "many", *option, code=2)
        assert json.loads(result.stdout)["errors"][0]["code"] == "GE801"
        assert result.stderr == ""


def test_a_model_that_is_not_there():
    error = cli_json("show", "lingreg", code=2)["errors"][0]
    assert (error["code"], error["hint"]) == ("GE101", "did you mean 'linreg'?")
    assert error["message"] == "no such file, and no shipped model of that name: 'lingreg'"
    assert "shipped models: autoencoder_digits, " in cli("show", "models/q.json", code=2).stderr
    assert "Is a directory" in cli("show", MODELS, code=2).stderr


LONG = "n" * 300


@pytest.mark.parametrize(
    "command",
    [
        *[(name, LONG) for name in ("validate", "show", "train", "upgrade", "gradcheck", "resume-check")],
        ("diff", LINREG, LONG),
        ("show", LINREG, "--plugin", f"{LONG}.py"),
        ("train", LINREG, "--update-rule", LONG),
        ("train", LINREG, "--checkpoint", LONG),
        ("train", LINREG, "--data", f"{LONG}.csv"),
    ],
    ids=lambda command: " ".join(command).replace(LINREG, "linreg").replace(LONG, "n..."),
)
def test_a_name_that_is_too_long_is_one_line(command):
    result = cli(*command, code=1 if "--checkpoint" in command else 2)
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_data_that_is_no_plain_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    for name in ("pipe.csv", "folder.csv"):
        error = cli_json("train", LINREG, "--data", tmp_path / name, code=2)["errors"][0]
        assert (error["code"], "is not a plain file" in error["message"]) == ("GE504", True)


def test_a_file_name_that_is_not_utf8():
    name = os.fsdecode(b"\xff.json")
    assert cli_json("show", name, code=2)["errors"][0]["message"].endswith(f"'{name}'")
    assert cli("show", name, code=2).stderr.isascii()


def test_file_names_that_are_not_utf8_are_as_good_as_others(tmp_path):
    data, saved, log, plugin, rule, folder = (
        str(tmp_path / os.fsdecode(b"\xff" + end))
        for end in (b".csv", b".json", b".jsonl", b".py", b".rule", b".folder")
    )
    Path(data).write_bytes(Path(HUBBLE).read_bytes())
    Path(plugin).write_text(PLUGIN)
    Path(rule).write_bytes((ROOT / "graphengine" / "training" / "rules" / "sgd.json").read_bytes())
    read = ("--data", data, "--plugin", plugin, "--update-rule", rule)
    reported = cli_json("train", LINREG, *read, "--save", saved, "--log", log, "--checkpoint", folder)
    assert reported["saved"] == saved
    assert cli_json("show", saved)["parameters"][0]["value"] == pytest.approx(THETA)
    written = [path for path in tmp_path.iterdir() if path.name != "__pycache__"]  # Python's own, of the plugin
    assert len(written) == 7  # with the data that the file names
    for command in (("grad", LINREG, "-o"), ("schema", "-o"), ("view", LINREG, "-o"), ("upgrade", LINREG, "-o")):
        result = cli(*command, saved)
        assert (result.stdout + result.stderr).isascii()


def test_a_file_in_reach_comes_before_a_shipped_model(tmp_path, monkeypatch):
    assert model_file("linreg") == MODELS / "linreg.json"
    assert models().keys() == {path.stem for path in MODELS.glob("*.json")}
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "linreg", model())
    assert cli_json("show", "linreg")["model"] == "small"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ExecutionError("a node failed"), 1),
        (DivergenceError("diverged", iteration=1, epoch=1), 1),
        (InputError("wrong shape"), 2),
        (UsageError("no such output"), 2),
    ],
)
def test_exit_codes_tell_failed_work_from_bad_input(monkeypatch, error, code):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(graphengine.Model, "predict", fail)
    cli("predict", LINREG, "--input", "x=[1]", code=code)


def test_a_node_that_fails_exits_with_1(tmp_path, plugin):
    plugin.write_text(PLUGIN.replace("return x**3", "return x**3 if x.ndim == 0 or x.size != 4 else 1 // 0"))
    nodes = [{"id": "z", "op": "test_cli.cube", "inputs": ["x"]}]
    path = write(tmp_path / "m.json", model(nodes=nodes, opset_imports={"core": 1, "test_cli": 1}))
    error = cli_json("run", path, "--input", "x=[1,2,3,4]", "--plugin", plugin, code=1)["errors"][0]
    assert (error["code"], error["node"]) == ("GE410", "z")


# ---------------------------------------------------------------- small parts


def test_large_arrays_are_reported_by_their_range():
    assert array_text(np.arange(3.0)) == "[0.0, 1.0, 2.0]"
    assert array_text(np.float64(1.5)) == "1.5"
    assert array_text(np.arange(9.0).reshape(3, 3)) == "float64(3, 3): min 0, mean 4, max 8"
    assert array_text(np.array([np.nan] * 9)) == "float64(9,): min nan, mean nan, max nan"


@pytest.mark.parametrize(
    ("text", "shown"), [("plain θ", "plain θ"), ("a\nb", "a\\nb"), ("\x1b[1m", "\\x1b[1m"), ("\ud800", "\\ud800")]
)
def test_escaped(text, shown):
    assert escaped(text) == shown


@pytest.mark.parametrize("size", ["\u0663", "1\u0660KiB", "\uff11"])
def test_a_size_has_digits_of_one_script(size):
    reported = cli("--limit", f"nodes={size}", "run", LINREG, code=2).stderr
    assert "GE801: --limit nodes: a size is an integer such as 1000 or 4GiB" in reported
