"""The keywords of a training, its logger and its progress bar."""

import logging
import subprocess
import sys
from typing import get_type_hints

import numpy as np
import pytest
from documents import linreg, training
from rich.console import Console

import graphengine as ge
from graphengine.format.documents import TrainingDocument
from graphengine.model.training_options import TrainingKeys
from graphengine.training.progress_bar import progress_bar

LINE = {"x": np.arange(1.0, 9.0), "y": 2 * np.arange(1.0, 9.0)}
TYPED = """
import graphengine as ge

model = ge.load("linreg")
model.train(epochs=3, learning_rate={"type": "constant", "learning_rate": 0.1}, shuffle=True, progress=False)
model.trainer(batch_size=None, checkpoints="folder", resume=True)
"""


def small(**keys):
    return ge.Model.from_dict(linreg(training=training(learning_rate=0.01, **keys)))


def test_the_keywords_are_the_keys_of_a_training_section():
    assert get_type_hints(TrainingKeys).keys() == {*TrainingDocument.model_fields, "learning_rate"} - {"data"}


def test_a_type_checker_knows_the_keywords(tmp_path):
    pytest.importorskip("pyright")
    path = tmp_path / "typed.py"

    def checked(text):
        path.write_text(text)
        command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, path]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path).stdout

    assert checked(TYPED).splitlines()[-1] == "0 errors, 0 warnings, 0 informations"
    wrong = checked(TYPED.replace("epochs=3", 'epochs="3"').replace("batch_size", "batchsize"))
    assert 'No parameter named "batchsize"' in wrong
    assert wrong.splitlines()[-1].startswith("2 errors")


def test_each_epoch_and_each_check_is_logged(caplog):
    caplog.set_level(logging.INFO, "graphengine")
    model = small(epochs=3, batch_size=4)
    history = model.train(LINE, validation_data=LINE, validation={"every_epochs": 2})
    said = [record.getMessage() for record in caplog.records if record.name == "graphengine"]
    losses = [f"epoch {number}: loss {epoch.loss:.6g}" for number, epoch in enumerate(history.epochs, 1)]
    assert [each for each in said if each.startswith("epoch")] == losses
    checks = [
        f"check after iteration {each.iteration}: validation_loss {each.values['validation_loss']:.6g}"
        for each in history.checks
    ]
    assert [each for each in said if each.startswith("check")] == checks
    assert {record.levelno for record in caplog.records} == {logging.INFO}


def test_details_are_logged_for_debugging(caplog, tmp_path):
    caplog.set_level(logging.DEBUG, "graphengine")
    small(epochs=2).train(LINE, checkpoints=tmp_path)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.DEBUG]
    assert any(each.startswith("iterations 1 to") for each in said)
    assert any(each.startswith("checkpoint ") for each in said)


def test_the_steps_of_a_solver_are_logged(caplog):
    caplog.set_level(logging.INFO, "graphengine")
    model = ge.Model.from_dict(linreg(training={"loss": "loss", "optimizer": {"type": "newton"}}))
    history = model.train(LINE)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        f"step {number}" for number in range(1, len(history) + 1)
    ]


def test_the_logger_has_no_handlers_and_no_level():
    logger = logging.getLogger("graphengine")
    assert (logger.handlers, logger.level) == ([], logging.NOTSET)


def test_a_progress_bar_shows_iterations_and_the_loss():
    trainer = small(epochs=2).trainer(LINE)
    console = Console(record=True, width=120, force_terminal=True, file=sys.stderr)
    with progress_bar(trainer, console) as see:
        for row in trainer.chunks():
            see(row)
    shown = console.export_text()
    assert "2/2" in shown
    assert f"loss {trainer.history.last.loss:.6g}" in shown


def test_progress_is_opt_in(capsys):
    small(epochs=2).train(LINE)
    assert capsys.readouterr() == ("", "")
    one, other = small(epochs=2), small(epochs=2)
    one.train(LINE, progress=True)
    other.train(LINE)
    assert one.parameters["theta"] == other.parameters["theta"]
    assert capsys.readouterr().out == ""
