"""Searches and starts of fits over processes: one table and the same bits, however many there are."""

import os
import signal

import pytest
from tasks import DEFECTS, breaks, look
from typer.testing import CliRunner

import graphengine as ge
from graphengine.cli.app import app_of
from graphengine.scale.processes import in_processes
from graphengine.scale.workers import over_workers

GRID = {"training.optimizer.learning_rate": [0.1, 0.05], "training.epochs": [2, 3]}


def searched(workers):
    found = ge.search(ge.load("mlp_digits"), GRID, folds=2, metric="accuracy", test=0.2, workers=workers)
    trials = [(trial.settings, trial.scores) for trial in found.trials]
    return trials, {name: value.tobytes() for name, value in found.model.values.items()}, found.test.metrics


def test_a_search_is_the_same_with_any_number_of_processes():
    assert searched(1) == searched(2)


def fitted(workers):
    fit = ge.load("two_decays").fit(starts=7, seed=3, intervals=(), workers=workers)
    return repr(fit.parameters), repr(fit.standard_errors), repr(fit.starts), repr(list(fit.history))


def test_a_fit_from_several_starts_is_the_same_with_any_number_of_processes():
    assert fitted(1) == fitted(2) == fitted(3)


def test_the_commands_take_workers():
    commands = {
        "search": ["linreg", "--set", "training.optimizer.learning_rate=0.1,0.2", "--folds", "2"],
        "fit": ["two_decays", "--starts", "3"],
    }
    for name, options in commands.items():
        results = [
            CliRunner().invoke(app_of([name]), [name, *options, "--format", "json", "--workers", workers])
            for workers in ("1", "2")
        ]
        assert [each.exit_code for each in results] == [0, 0]
        assert results[0].stdout == results[1].stdout


@pytest.mark.parametrize(
    ("has_file", "data", "message"),
    [
        (False, None, "this one has none"),
        (True, {"x": [1.0, 2.0], "y": [1.0, 2.0]}, "workers read a data source of the model file"),
    ],
)
def test_what_workers_could_not_open_is_refused(has_file, data, message):
    model = ge.load("linreg")
    if not has_file:
        model = ge.Model.from_dict(model.to_dict())
        data = {"x": [1.0, 2.0, 3.0], "y": [1.0, 2.0, 3.0]}
    with pytest.raises(ge.errors.UsageError, match=message):
        ge.search(model, {"training.epochs": [2, 3]}, data, folds=2, workers=2)
    with pytest.raises(ge.errors.UsageError, match=message):
        model.fit(data, starts=2, workers=2)


def test_a_model_that_was_changed_is_not_the_file_that_workers_open():
    linreg = ge.load("linreg")
    changed = ge.Model.from_dict({**linreg.to_dict(), "dtype": "float32"}, linreg.path)
    with pytest.raises(ge.errors.TrainingError, match="is not the model that is used here"):
        changed.fit(starts=2, workers=1)


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "a", ""])
def test_no_number_of_workers_is_refused(workers):
    with pytest.raises(ge.errors.UsageError, match="at least 1"):
        ge.load("linreg").fit(starts=1, workers=workers)
    with pytest.raises(ge.errors.UsageError, match="at least 1"):
        ge.search(ge.load("linreg"), {"training.epochs": [1, 2]}, folds=2, workers=workers)


def end_yourself(common, task):
    if task == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


@pytest.mark.filterwarnings("ignore")
def test_a_process_that_is_killed_ends_the_work_with_a_coded_error():
    with pytest.raises(ge.errors.GraphEngineError, match="a process ended before its work was done"):
        list(over_workers(end_yourself, None, [1, 2, 3], 2))


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_in_a_process_is_raised_as_what_it_is(defect):
    for results in (over_workers(breaks, None, [defect, defect], 2), in_processes(breaks, None, [defect], 1)):
        with pytest.raises(Exception, match="dice") as caught:
            list(results)
        assert look(caught.value) == defect
