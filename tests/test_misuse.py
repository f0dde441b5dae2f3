"""Misuse of the command line, drawn at random and chosen: no traceback, an exit code, a message with a code."""

import random

import pytest
from documents import document, linreg, training, write
from typer.testing import CliRunner

from graphengine.cli.app import app

MODELS = ["good.json", "lnreg", "missing.json", "broken.json", "empty.json", "list.json", "folder", "zeros.json"]
DATA = ["good.csv", "empty.csv", "head.csv", "text.csv", "ragged.csv", "bad.jsonl", "missing.csv", "folder", "trian"]
DATA += ["missing.npz", "good.png", "-", ""]
SETTINGS = ["training.epochs=two", "training.epochs=-1", "training.epoch=2", "training.optimizer={}", "training=3"]
SETTINGS += ["training.optimizer.learning_rate=1e999", "training.optimizer.type=adm", "dtype=float31", "nodes=[]", "="]
SETTINGS += ["training.batch_size=true", "training.loss=los", "parameters=[1, 2]", "inputs=[[1], {}]", "nodes.9.op=mul"]
SETTINGS += ["a", "..=1", "training.", "name=my model", "outputs.z=nope", "format_version=9", "training.seed=-1", "x=["]
SETTINGS += ["data=[[], {}]", "data.rows.values.x=3", "functions=[1, 2]", "state=[{}, {}]", "training.metrics=[1]"]
OPTIONS = {
    "run": ["--seed x", "--format xml"],
    "train": ["--epochs x", "--epochs 0", "--checkpoint good.csv", "--resume", "--save folder", "--log no/l"],
    "predict": ["--output nope", "--input x=abc", "--input z=1", "--input x", "--input x=[[1]]", "-o no/p.csv"],
    "validate": ["--format xml", "--strict"],
    "fit": ["--max-iterations 0", "--starts 0"],
    "evaluate": ["--format xml"],
    "trace": ["--input x=1"],
    "gradcheck": ["--of nope"],
    "grad": ["--of los", "--wrt nope"],
    "show": ["--format xml"],
    "diff": ["missing.json"],
    "upgrade": [],
    "explain": [],
    "frobnicate": [],
}
TAKE_DATA = {"run", "train", "predict", "fit", "evaluate"}
TAKE_SETTINGS = {*TAKE_DATA, "trace", "gradcheck"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with files, good and bad, that is the current one."""
    rows = {"rows": {"type": "inline", "values": {"x": [1.0, 2.0], "y": [2.0, 4.5]}}}
    write(tmp_path / "good.json", linreg(training=training(epochs=2), data=rows))
    texts = {"broken.json": '{"format": [', "empty.json": "", "list.json": "[1]", "zeros.json": "\0\0"}
    texts |= {"good.csv": "x,y\n1,2\n2,4.5\n", "empty.csv": "", "head.csv": "x,y\n", "text.csv": "x,y\na,b\n"}
    texts |= {"ragged.csv": "x,y\n1,2\n3\n", "bad.jsonl": '{"x": 1\n', "good.png": "\x89PNG"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoked(*arguments):
    result = CliRunner().invoke(app, list(arguments), prog_name="graphengine")
    assert isinstance(result.exception, SystemExit | None), (arguments, result.exception)
    assert "Traceback" not in result.output
    assert result.exit_code in (0, 1, 2), (arguments, result.output)
    if result.exit_code:
        assert "GE" in result.output, (arguments, result.output)
    return result


def drawn(rng):
    """A command of a few parts, most of them wrong."""
    command = rng.choice(list(OPTIONS))
    arguments = [command, rng.choice(MODELS[: rng.choice([1, 1, len(MODELS)])])]
    if OPTIONS[command] and rng.random() < 0.5:
        arguments += rng.choice(OPTIONS[command]).split()
    if command in TAKE_DATA and rng.random() < 0.4:
        arguments += ["--data", rng.choice(DATA)]
    if command in TAKE_SETTINGS:
        for _ in range(rng.choice([0, 1, 1, 2])):
            arguments += ["--set", rng.choice(SETTINGS)]
    return arguments


@pytest.mark.parametrize("seed", range(20))
def test_commands_drawn_at_random_end_in_messages(folder, seed):
    rng = random.Random(seed)
    for _ in range(10):
        invoked(*drawn(rng))


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_wrong_setting_is_refused(folder, setting):
    assert invoked("run", "good.json", "--set", setting).exit_code == 2


@pytest.mark.parametrize("data", DATA[1:])
@pytest.mark.parametrize("command", sorted(TAKE_DATA))
def test_wrong_data_is_refused_by_every_command(folder, command, data):
    assert invoked(command, "good.json", "--data", data).exit_code == 2


def test_text_that_is_no_json_is_shown_how_to_write_it(folder):
    output = invoked("run", "good.json", "--set", "name=my model").output
    assert """write it like 2.5, '[1, 2.5]' or '"a text"'""" in output
    assert invoked("run", "good.json", "--set", 'name="my model"').exit_code == 0


def test_a_data_file_that_is_missing_is_said_to_be_missing(folder):
    for name in ("missing.csv", "missing.npz", "missing.jsonl"):
        output = invoked("run", "good.json", "--data", name).output
        assert f"{name}: GE501: cannot read the file: No such file or directory" in output
        assert "Errno" not in output


def test_an_empty_name_of_a_folder_is_not_the_current_folder(folder):
    before = set(folder.iterdir())
    assert "GE801: the path of a folder is empty" in invoked("train", "good.json", "--checkpoint", "").output
    assert set(folder.iterdir()) == before


def test_a_model_without_inputs_is_trained_without_data(folder):
    content = document(
        {"loss": ("square", ["a"])}, {"loss": "loss"}, parameters={"a": 1.0}, training=training(epochs=3)
    )
    write(folder / "free.json", content)
    assert invoked("train", "free.json").exit_code == 0
    write(folder / "bound.json", linreg(training=training(epochs=3)))
    assert "--data FILE" in invoked("train", "bound.json").output
