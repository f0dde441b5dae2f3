"""Checkpoints: a training that is interrupted anywhere goes on to the same bits, whatever kills it."""

import errno
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import orjson
import pytest
from documents import SHIPPED, document, linreg, parameter, training, write
from test_cli import cli, cli_json, process

import graphengine as ge
from graphengine.format.kinds import SOLVERS
from graphengine.format.writing import dump_model
from graphengine.limits import DEFAULT, Limits
from graphengine.training.checkpoint import OWN_FILES, Checkpoints
from graphengine.training.interrupting import ENDING
from graphengine.training.loop import Trainer, run_to_end
from graphengine.training.machine import arithmetic
from graphengine.training.resuming import different, stops
from graphengine.training.rules import shipped_rules
from graphengine.training.validation import Checks

X = np.arange(1.0, 11.0) / 5
DATA = {"x": X, "y": 3 * X + np.resize([0.5, -0.5], 10)}


ONE_CYCLE = {"type": "one_cycle", "learning_rate": 0.02, "iterations": 30}


def busy(rule="adam", dtype="float64", path=None, data=None, limits=DEFAULT, **keys):
    """A model with all that a training may have: noise, running statistics, a schedule, clipping, checks."""
    nodes = {
        "xs": ("reshape", ["x"], {"shape": [-1, 1]}),
        "h": ("matmul", ["xs", "w"]),
        "bn": ("batch_norm", ["h", "scale", "shift", "mean", "variance"]),
        "t": ("tanh", ["bn"]),
        "d": ("dropout", ["t"], {"p": 0.25}),
        "p": ("matmul", ["d", "v"]),
        "e": ("sub", ["p", "y"]),
        "s": ("square", ["e"]),
        "loss": ("mean", ["s"]),
    }
    section = {
        "loss": "loss",
        "optimizer": {
            "type": rule,
            "learning_rate": {
                "type": "cosine",
                "learning_rate": 0.01,
                "iterations": 150,
                "warmup": {"iterations": 20},
            },
        },
        "batch_size": 3,
        "shuffle": True,
        "seed": 5,
        "max_iterations": 200,
        "gradient_clipping": {"type": "global_norm", "limit": 0.5},
        "validation": {"fraction": 0.2, "every_iterations": 7},
        "metrics": {"mse": "loss"},
        "early_stopping": {"monitor": "mse", "patience": 1000},
        **keys,
    }
    content = document(
        nodes,
        {"loss": "loss"},
        inputs={"x": ["N"], "y": ["N"]},
        parameters={
            "w": parameter([[0.3, -0.4, 0.5, 0.1]], weight_decay_multiplier=0.5),
            "v": parameter([0.5, 0.2, -0.3, 0.7], learning_rate_multiplier=2.0),
            "scale": [1.0] * 4,
            "shift": [0.0] * 4,
        },
        training=section,
        dtype=dtype,
        data=data or {},
    )
    content["state"] = {
        "mean": {"shape": [4], "initializer": {"type": "zeros"}, "update": "bn:new_mean"},
        "variance": {"shape": [4], "initializer": {"type": "ones"}, "update": "bn:new_var"},
    }
    return ge.Model.from_dict(content, path, limits=limits)


def run(trainer, longest=None):
    for _ in trainer.chunks(longest):
        pass
    return trainer


def check_each_step(make, folder, iterations, data=DATA, **keys):
    """Each checkpoint of a training leads to the next one: so each of them leads to the end."""
    keys = {"max_iterations": iterations, **keys}
    every = {"every_iterations": 1, "keep": iterations}
    whole = run(make().trainer(data, **keys))
    kept = run(make().trainer(data, checkpoint=every, checkpoints=folder, **keys))
    assert not list(different(whole.state, kept.state))
    again = make().trainer(data, **keys)
    paths = sorted(folder.glob("*.json"))
    assert len(paths) == iterations
    for before, after in itertools.pairwise(map(kept.checkpoints.read, paths)):
        again.state = before
        next(again.chunks(longest=1))
        assert not list(different(again.state, after)), after["iteration"]


@pytest.fixture
def _not_synced(monkeypatch):
    """Writes that wait for no disk, where nothing is killed."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.mark.usefixtures("_not_synced")
@pytest.mark.parametrize("rule", sorted(shipped_rules()))
def test_going_on_from_every_iteration_gives_the_same_bits(tmp_path, rule):
    check_each_step(lambda: busy(rule), tmp_path, 200)


@pytest.mark.usefixtures("_not_synced")
@pytest.mark.parametrize(
    "keys",
    [
        {"accumulate": 2},
        {"drop_last": True},
        {"batch_size": None},
        {"batch_size": None, "shuffle": False},
        {"dtype": "float32"},
        {"max_seconds": 3600.0},
        {"gradient_clipping": {"type": "value", "limit": 0.1}},
        {"gradient_clipping": {"type": "norm", "limit": 0.1}},
        {"optimizer": {"type": "nadam", "learning_rate": ONE_CYCLE}},
        {"validation_data": DATA},
        {"early_stopping": {"monitor": "loss", "patience": 1000, "restore_best": False}},
        {"validation": None, "metrics": {}, "early_stopping": None},
    ],
    ids=lambda keys: ",".join(keys),
)
def test_so_does_going_on_with_other_settings(tmp_path, keys):
    dtype = keys.get("dtype", "float64")
    check_each_step(lambda: busy(dtype=dtype), tmp_path, 40, **{k: v for k, v in keys.items() if k != "dtype"})


@pytest.mark.usefixtures("_not_synced")
@pytest.mark.parametrize("bound", ["graphengine.format.tensors.EXTERNAL_FROM", "graphengine.training.history.CAPACITY"])
def test_so_does_going_on_from_tensors_and_with_a_long_history(tmp_path, monkeypatch, bound):
    monkeypatch.setattr(bound, 8)
    check_each_step(busy, tmp_path, 40)


@pytest.mark.usefixtures("_not_synced")
@pytest.mark.parametrize("keys", [{}, {"accumulate": 2}, {"shuffle": False, "drop_last": True}])
def test_so_does_going_on_with_data_on_disk(tmp_path, keys):
    long = {"x": np.linspace(0.2, 2, 41), "y": np.linspace(0.2, 2, 41) * 3 + 1}
    for name, array in long.items():
        np.save(tmp_path / f"{name}.npy", array)
    source = {"stored": {"type": "npy", "paths": {name: f"{name}.npy" for name in long}}}

    def stored():
        return busy(path=tmp_path / "m.json", data=source, limits=Limits(data_bytes=2048))

    assert stored().trainer("stored").batches.is_stored
    check_each_step(stored, tmp_path / "folder", 40, "stored", **keys)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("keys", [{}, {"batch_size": 3}, {"batch_size": 3, "shuffle": True, "drop_last": True}])
def test_an_interrupted_training_ends_as_one_that_was_not(tmp_path, dtype, keys):
    def regression():
        return ge.Model.from_dict(linreg(training=training(learning_rate=0.01, **keys), dtype=dtype))

    whole = run(regression().trainer(DATA, epochs=9))
    for place in (1, 4, 7):
        folder = tmp_path / str(place)
        regression().train(DATA, max_iterations=place, epochs=9, checkpoints=folder)
        resumed = run(regression().trainer(DATA, epochs=9, checkpoints=folder, resume=True))
        assert not list(different(whole.state, resumed.state))
        assert resumed.history.losses == whole.history.losses
        assert [row.epoch for row in resumed.history] == [row.epoch for row in whole.history]


def test_a_training_that_stopped_early_stays_stopped_and_keeps_its_best_values(tmp_path):
    keys = {"early_stopping": {"monitor": "mse", "patience": 2}, "validation": {"fraction": 0.2, "every_iterations": 3}}
    model = busy("sgd", **keys)
    whole = run(model.trainer(DATA, checkpoints=tmp_path))
    assert whole.history.stopped
    again = busy("sgd", **keys)
    resumed = run(again.trainer(DATA, checkpoints=tmp_path, resume=True))
    assert resumed.history.stopped == whole.history.stopped
    assert len(resumed.history) == len(whole.history) < 200
    assert not list(different(dict(again.parameters), dict(model.parameters)))


def test_resuming_where_there_is_nothing_begins(tmp_path):
    model = ge.Model.from_dict(linreg(training=training(learning_rate=0.01)))
    assert len(model.train(DATA, epochs=5, checkpoints=tmp_path / "new", resume=True)) == 5


def test_a_finished_training_may_be_made_longer(tmp_path):
    def trained(epochs, **keys):
        model = ge.Model.from_dict(linreg(training=training(learning_rate=0.01)))
        model.train(DATA, epochs=epochs, **keys)
        return model.parameters["theta"]

    trained(5, checkpoints=tmp_path)
    assert trained(8, checkpoints=tmp_path, resume=True) == trained(8)


@pytest.mark.parametrize("limit", [{"epochs": 4}, {"epochs": 9, "max_iterations": 4}])
def test_a_training_that_is_beyond_a_new_limit_is_not_taken_for_finished(tmp_path, limit):
    saved(tmp_path, epochs=5)
    with pytest.raises(ge.errors.TrainingError, match=r"GE603: .* is at iteration 5; this one ends at iteration 4"):
        saved(tmp_path, resume=True, **limit)
    assert len(saved(tmp_path, resume=True, epochs=5)) == 5


@pytest.mark.parametrize(
    ("section", "written"),
    [
        ({"every_iterations": 4, "keep": 3}, [8, 12, 14]),
        ({"every_epochs": 2, "keep": 2}, [12, 14]),
        ({"every_iterations": 5}, [14]),
        ({"every_seconds": 1e-9, "keep": 99}, list(range(1, 15))),
        ({"keep": 9}, [14]),
    ],
)
def test_checkpoints_come_when_the_section_says_and_the_last_ones_are_kept(tmp_path, section, written):
    content = linreg(training=training(learning_rate=0.01, batch_size=5, checkpoint=section))
    trainer = ge.Model.from_dict(content).trainer(DATA, epochs=7, checkpoints=tmp_path)
    run(trainer, longest=1)
    assert [int(path.stem.split("-")[1]) for path in sorted(tmp_path.iterdir())] == written


def test_a_large_state_lies_in_a_file_of_tensors(tmp_path, monkeypatch):
    monkeypatch.setattr("graphengine.format.tensors.EXTERNAL_FROM", 1)
    whole = run(busy().trainer(DATA))
    run(busy().trainer(DATA, max_iterations=100, checkpoints=tmp_path))
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]
    resumed = run(busy().trainer(DATA, checkpoints=tmp_path, resume=True))
    assert not list(different(whole.state, resumed.state))
    assert len(list(tmp_path.iterdir())) == 2


# ---------------------------------------------------------------- limits


LIMITED = {"max_iterations": 20, "early_stopping": {"monitor": "mse", "patience": 1000}}


@pytest.mark.parametrize(
    "other",
    [
        {"max_iterations": 40},
        {"max_iterations": 40, "epochs": 20},
        {"max_iterations": 40, "max_seconds": 3600.0},
        {"max_iterations": 40, "checkpoint": {"every_iterations": 7, "keep": 3}},
        {"max_iterations": 40, "early_stopping": {"monitor": "mse", "patience": 2000}},
    ],
    ids=lambda other: ",".join(other),
)
@pytest.mark.parametrize("in_file", [True, False])
def test_a_training_resumes_with_other_limits_in_the_file_or_as_overrides(tmp_path, other, in_file):
    run(busy(**LIMITED).trainer(DATA, checkpoints=tmp_path))
    model, keys = (busy(**{**LIMITED, **other}), {}) if in_file else (busy(**LIMITED), other)
    resumed = run(model.trainer(DATA, checkpoints=tmp_path, resume=True, **keys))
    assert len(resumed.history) == 40
    whole = run(busy(**{**LIMITED, **other}).trainer(DATA))
    assert not list(different(whole.state, resumed.state))


@pytest.mark.parametrize("option", ["--epochs=60", "--set=training.epochs=60"])
def test_limits_are_raised_on_the_command_line(tmp_path, option):
    folder = tmp_path / "folder"
    cli("train", "linreg", "--set", "training.epochs=40", "--checkpoint", folder)
    resumed = cli_json("train", "linreg", option, "--checkpoint", folder, "--resume")
    assert resumed == cli_json("train", "linreg", option)
    extra = ["--set", "training.max_seconds=3600", "--set", "training.epochs=70"]
    assert cli_json("train", "linreg", *extra, "--checkpoint", folder, "--resume")["iterations"] == 70


def test_a_patience_that_is_raised_lets_a_training_that_stopped_go_on(tmp_path):
    def keys(patience):
        early = {"monitor": "mse", "patience": patience}
        return {"early_stopping": early, "validation": {"fraction": 0.2, "every_iterations": 3}, "max_iterations": 90}

    assert run(busy("sgd", **keys(2)).trainer(DATA, checkpoints=tmp_path)).history.stopped
    resumed = run(busy("sgd", **keys(12)).trainer(DATA, checkpoints=tmp_path, resume=True))
    assert not list(different(run(busy("sgd", **keys(12)).trainer(DATA)).state, resumed.state))


def test_data_is_compared_by_its_numbers_wherever_it_comes_from(tmp_path):
    values = {name: array.tolist() for name, array in DATA.items()}
    sources = {name: {"type": "inline", "values": values} for name in ("one", "other")}

    def trained(epochs, **keys):
        content = linreg(
            training=training(learning_rate=0.01, **keys), data={key: sources[key] for key in keys.values()}
        )
        model = ge.Model.from_dict(content)
        return run(model.trainer(None if keys else DATA, epochs=epochs, checkpoints=tmp_path, resume=True))

    trained(3, data="one")
    assert len(trained(4, data="other").history) == 4
    assert len(trained(5).history) == 5


def test_a_value_that_is_not_trained_is_compared_too(tmp_path):
    def trained(fixed, epochs):
        nodes = {"p": ("mul", ["theta", "fixed"]), "loss": ("square", ["p"])}
        parameters = {"theta": 1.0, "fixed": parameter(2.0, trainable=False)}
        section = training(learning_rate=0.01)
        model = ge.Model.from_dict(document(nodes, {"loss": "loss"}, parameters=parameters, training=section))
        model.parameters["fixed"] = fixed
        model.train({}, epochs=epochs, checkpoints=tmp_path, resume=True)

    trained(3.0, 2)
    with pytest.raises(ge.errors.TrainingError, match="another training: a value that is not trained is not the same"):
        trained(2.0, 3)
    trained(3.0, 3)


# ---------------------------------------------------------------- what is refused


def saved(tmp_path, **keys):
    model = ge.Model.from_dict(linreg(training=training(learning_rate=0.01)))
    return model.train(**{"data": DATA, "epochs": 3, **keys}, checkpoints=tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"learning_rate": 0.02}, "'optimizer' is not the same"),
        ({"batch_size": 2, "seed": 1}, "'batch_size', 'seed' are not the same"),
        ({"data": {"x": X, "y": X}}, "the data is not the same"),
        ({"model": {"theta": 1.0}}, "the model is not the same"),
        ({"optimizer": {"type": "adam", "learning_rate": 0.01}}, "the update rule, 'optimizer' are not the same"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused_with_the_difference(tmp_path, change, said):
    saved(tmp_path)
    model = ge.Model.from_dict(linreg(training=training(learning_rate=0.01), **change.pop("model", {})))
    with pytest.raises(ge.errors.TrainingError, match=r"GE603: it belongs to another training") as caught:
        model.train(**{"data": DATA, **change}, checkpoints=tmp_path, resume=True)
    assert said in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{}", b"not JSON", b'{"format": "graphengine.model", "format_version": 1}'])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    saved(tmp_path)
    next(tmp_path.iterdir()).write_bytes(content)
    with pytest.raises(ge.errors.TrainingError, match=r"GE603: .*cannot be read as a checkpoint"):
        saved(tmp_path, resume=True)


def test_a_folder_with_checkpoints_is_not_written_over(tmp_path):
    saved(tmp_path)
    with pytest.raises(ge.errors.TrainingError, match=r"GE603: .*has checkpoints already; resume from there"):
        saved(tmp_path)


def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ge.errors.UsageError, match=r"GE101: cannot make the folder .*there is a file of that name"):
            saved(place)
    error = cli_json("train", "linreg", "--checkpoint", tmp_path / "file", code=2)["errors"][0]
    assert (error["code"], error["file"]) == ("GE101", str(tmp_path / "file"))


def test_a_pipe_is_no_checkpoint_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "checkpoint-0000000004.json")
    error = cli_json("train", "linreg", "--checkpoint", tmp_path, "--resume", code=2)["errors"][0]
    assert (error["code"], "it is not a plain file" in error["message"]) == ("GE603", True)


def test_a_folder_in_which_nothing_can_be_written_is_reported_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (tmp_path, os.W_OK))
    error = cli_json("train", "linreg", "--epochs", 10**9, "--checkpoint", tmp_path, code=1)["errors"][0]
    assert (error["code"], error["message"]) == ("GE101", "cannot write the file: Permission denied")


def test_what_cannot_be_removed_or_listed_stays(tmp_path, monkeypatch):
    for name in ("unlink", "iterdir"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, name, lambda *_, **__: (_ for _ in ()).throw(PermissionError))
            cli("train", "linreg", "--set", 'training.checkpoint={"every_epochs": 50}', "--checkpoint", tmp_path / name)
    assert [len(list(tmp_path.glob(f"{name}/checkpoint-*"))) for name in ("unlink", "iterdir")] == [2, 1]
    assert [path.name for path in tmp_path.glob("*/*.lock")] == ["checkpoint.lock"]  # locked by nobody any more
    cli(
        "train",
        "linreg",
        "--set",
        'training.checkpoint={"every_epochs": 50}',
        "--checkpoint",
        tmp_path / "unlink",
        "--resume",
    )


def test_resume_needs_a_folder_and_solvers_need_none():
    model = ge.Model.from_dict(linreg(training=training()))
    with pytest.raises(ge.errors.UsageError, match="the folder of the checkpoints"):
        model.train(DATA, resume=True)
    with pytest.raises(ge.errors.TrainingError, match="writes no checkpoints"):
        model.train(DATA, optimizer={"type": "lbfgs"}, epochs=None, checkpoints="folder")


def test_files_of_others_stay_and_what_was_left_behind_goes(tmp_path):
    theirs = [tmp_path / name for name in ("notes.txt", ".notes.tmp", "checkpoint.json", "m-0123456789ab.safetensors")]
    ours = [
        tmp_path / name
        for name in (".checkpoint-0000000007.json.0a1b.tmp", "checkpoint-0000000007-0123456789ab.safetensors")
    ]
    for path in (*theirs, *ours):
        path.write_text("")
    saved(tmp_path)
    assert all(path.exists() for path in theirs)
    assert not any(path.exists() for path in ours)


# ---------------------------------------------------------------- killed


def endless(tmp_path):
    """A model file whose training takes longer than anybody waits, and writes a checkpoint after each iteration."""
    values = {name: array.tolist() for name, array in DATA.items()}
    section = training(learning_rate=1e-4, batch_size=3, shuffle=True, epochs=10**6, checkpoint={"every_iterations": 1})
    return write(tmp_path / "m.json", linreg(data={"d": {"type": "inline", "values": values}}, training=section))


def iterations_of(folder):
    return [int(path.stem.split("-")[1]) for path in folder.glob("checkpoint-*.json")]


KILLS = int(os.environ.get("GRAPHENGINE_KILLS", "4"))
SEEDS = range(0, 21, int(os.environ.get("GRAPHENGINE_SEED_STEP", "20")))
"""How often a process is killed, and which hash seeds are tried; a release is checked with 200, and with 0 to 20."""
KILLED = """
import sys
import graphengine as ge
trainer = ge.load(sys.argv[1], backend=sys.argv[3]).trainer(checkpoints=sys.argv[2], resume=True)
for row in trainer.chunks(longest=1):
    print(row.iteration, flush=True)  # acknowledged: the checkpoint is safe
"""


@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.extra("numba"))])
def test_a_training_that_is_killed_at_any_time_loses_no_step_that_was_reported(tmp_path, backend):
    path, folder, drawn = endless(tmp_path), tmp_path / "folder", random.Random(0)
    done = 0
    for _ in range(KILLS):
        command = [sys.executable, "-c", KILLED, str(path), str(folder), backend]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        first = int(child.stdout.readline())
        assert first == done + 1
        time.sleep(drawn.uniform(0, 0.05))
        child.send_signal(signal.SIGKILL)
        reported = [first, *map(int, child.communicate()[0].split())]
        (kept,) = {max(iterations_of(folder))}
        assert kept >= reported[-1]
        done = kept
    trainer = ge.load(path, backend=backend).trainer(checkpoints=folder, resume=True, max_iterations=done + 1)
    assert all(OWN_FILES.fullmatch(found.name) and found.suffix == ".json" for found in folder.iterdir())
    run(trainer)
    whole = run(ge.load(path, backend=backend).trainer(max_iterations=done + 1))
    assert not list(different(whole.state, trainer.state))


def started(command, folder, **keys):
    """A process that trains and has written a checkpoint."""
    child = subprocess.Popen([sys.executable, *map(str, command)], stderr=subprocess.PIPE, text=True, **keys)
    while child.poll() is None and not (folder.exists() and iterations_of(folder)):
        time.sleep(0.02)
    return child


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_saves_and_says_how_to_resume(tmp_path, name):
    path, folder, number = endless(tmp_path), tmp_path / "folder", getattr(signal, name)
    child = started(["-m", "graphengine", "train", path, "--checkpoint", folder], folder)
    child.send_signal(number)
    reported = child.communicate()[1]
    assert child.returncode == 128 + number
    (done,) = iterations_of(folder)
    said = f"interrupted after iteration {done}; resume with --checkpoint {folder} --resume\n"
    assert reported == (f"{said}error: interrupted\n" if name == "SIGINT" else f"{name}: {said}")
    resumed, whole = ge.load(path), ge.load(path)
    history = resumed.train(checkpoints=folder, resume=True, max_iterations=done + 5)
    assert history.state["iterations"]["seen"] == done + 5
    assert not list(different(history.state, whole.train(max_iterations=done + 5).state))
    assert resumed.parameters["theta"] == whole.parameters["theta"]


TRAINED = """
import sys
import graphengine as ge
try:
    ge.load(sys.argv[1]).train(checkpoints=sys.argv[2])
finally:
    print("ended in order", file=sys.stderr)
"""


def test_a_program_that_trains_ends_in_order_on_sigterm(tmp_path):
    path, folder = endless(tmp_path), tmp_path / "folder"
    child = started(["-c", TRAINED, path, folder], folder)
    child.send_signal(signal.SIGTERM)
    assert child.communicate()[1] == "ended in order\n"
    assert child.returncode == 143


def test_a_signal_that_is_ignored_stays_ignored(tmp_path):
    """As nohup has it for SIGHUP."""
    path, folder = endless(tmp_path), tmp_path / "folder"
    ignoring = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{TRAINED}"
    child = started(["-c", ignoring, path, folder], folder)
    child.send_signal(signal.SIGHUP)
    before = max(iterations_of(folder))
    while child.poll() is None and max(iterations_of(folder), default=0) < before + 50:
        time.sleep(0.02)
    assert child.poll() is None
    child.send_signal(signal.SIGTERM)
    child.communicate()
    assert child.returncode == 143


def interrupting(monkeypatch, at, times=1, number=signal.SIGINT):
    """Lets a signal come while a training is half done with bringing its history up to date, after iteration `at`."""
    real = Trainer._add_epochs

    def interrupted(self, *rest):
        if len(self.history) == at:
            for _ in range(times):
                signal.raise_signal(number)
        real(self, *rest)

    monkeypatch.setattr(Trainer, "_add_epochs", interrupted)


@pytest.mark.parametrize("at", [1, 7, 14, 40])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_waits_until_nothing_is_half_done(tmp_path, monkeypatch, at, name):
    """Fourteen iterations are the first at whose end an epoch, a check and a checkpoint come together."""
    keys = {"max_iterations": 40, "batch_size": 4, "checkpoint": {"every_iterations": 7}}
    whole = run(busy(**keys).trainer(DATA))
    number = getattr(signal, name)
    before = [signal.getsignal(each) for each in ENDING]
    with monkeypatch.context() as patch:
        interrupting(patch, at, times=1 if name == "SIGINT" else 2, number=number)
        with pytest.raises(KeyboardInterrupt if name == "SIGINT" else SystemExit) as caught:
            busy(**keys).train(DATA, checkpoints=tmp_path)
    assert name == "SIGINT" or caught.value.code == 128 + number
    assert iterations_of(tmp_path) == [at]
    resumed = run(busy(**keys).trainer(DATA, checkpoints=tmp_path, resume=True))
    assert not list(different(whole.state, resumed.state))
    assert [signal.getsignal(each) for each in ENDING] == before


def test_a_signal_is_not_lost_if_the_training_fails(tmp_path, monkeypatch):
    interrupting(monkeypatch, 7, number=signal.SIGTERM)
    monkeypatch.setattr(Checks, "run", lambda *_: 1 / 0)  # due at iteration 7
    with pytest.raises(SystemExit) as caught:
        busy().train(DATA, checkpoints=tmp_path)
    assert isinstance(caught.value.__context__, ZeroDivisionError)


def test_a_handler_of_the_caller_is_kept(tmp_path, monkeypatch):
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append("SIGTERM"))
    try:
        interrupting(monkeypatch, 7, number=signal.SIGTERM)
        assert len(busy(max_iterations=20).train(DATA, checkpoints=tmp_path)) == 20
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == ["SIGTERM"]


def test_a_second_interrupt_does_not_wait_and_saves_nothing(tmp_path, monkeypatch):
    interrupting(monkeypatch, 7, times=2)
    with pytest.raises(KeyboardInterrupt):
        busy().train(DATA, checkpoints=tmp_path)
    assert iterations_of(tmp_path) == []


def test_an_interrupt_of_a_training_that_is_not_saved_does_not_wait(monkeypatch):
    interrupting(monkeypatch, 7)
    trainer = busy().trainer(DATA)
    with pytest.raises(KeyboardInterrupt):
        run_to_end(trainer)
    assert len(trainer.history) == 7


# ---------------------------------------------------------------- the same seed, the same bits

BITS = """
import hashlib, sys
import numpy as np
import graphengine as ge
model = ge.load(sys.argv[1])
model.train()
print(hashlib.sha256(b"".join(np.asarray(value).tobytes() for value in model.values.values())).hexdigest())
"""


def as_content(model):
    content = orjson.loads(orjson.dumps(model.document.model_dump(exclude_defaults=True, by_alias=True)))
    return content | {"format": "graphengine.model", "format_version": 1}


def test_the_hash_seed_of_python_changes_no_bit(tmp_path):
    values = {name: array.tolist() for name, array in DATA.items()}
    path = write(tmp_path / "m.json", as_content(busy()) | {"data": {"d": {"type": "inline", "values": values}}})

    def digest(seed):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        command = [sys.executable, "-c", BITS, str(path)]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    assert len({digest(seed) for seed in SEEDS}) == 1


def test_the_order_of_the_nodes_in_the_file_changes_no_bit():
    expected = run(busy().trainer(DATA)).state
    for seed in range(5):
        content = as_content(busy())
        random.Random(seed).shuffle(content["nodes"])
        assert not list(different(expected, run(ge.Model.from_dict(content).trainer(DATA)).state))


# ---------------------------------------------------------------- resume-check


def test_stops_are_spread_and_at_the_ends_of_epochs():
    assert stops(5, 1) == [1, 2, 3, 4]
    assert {1, 19, 20, 21, 39, 40, 41, 99} <= set(stops(100, 20))


def test_resume_check_finds_no_difference():
    reported = cli_json("resume-check", "linreg_single_sample", "--at", "3", "--at", "7")
    assert reported == {"model": "linreg_single_sample", "interrupted_after": [3, 7], "different": {}, "warnings": []}
    assert "the same to the last bit" in cli("resume-check", "linreg", "--iterations", "4").stdout
    assert cli_json("resume-check", "misra1a", code=2)["errors"][0]["code"] == "GE602"


TRAININGS = {path.stem: orjson.loads(path.read_bytes()).get("training") for path in SHIPPED}
UPDATED = [name for name, section in TRAININGS.items() if section and section["optimizer"]["type"] not in SOLVERS]


@pytest.mark.parametrize("name", UPDATED)
def test_each_shipped_model_that_an_update_rule_trains_passes(name):
    assert cli_json("resume-check", name, "--at", "3", "--iterations", "6")["different"] == {}


def test_resume_check_finds_a_difference(monkeypatch):
    original = Checkpoints.read

    def forgetful(self, path):
        state = original(self, path)
        return {**state, "carried": {name: value + 1e-12 for name, value in state["carried"].items()}}

    monkeypatch.setattr(Checkpoints, "read", forgetful)
    reported = cli("resume-check", "linreg", "--at", "3", "--iterations", "5", code=1).stdout
    assert "not the same to the last bit" in reported
    assert "after 3: carried/theta" in reported


def test_a_metric_that_is_no_number_comes_back_as_it_was(tmp_path):
    nodes = {"sq": ("square", ["p"]), "loss": ("mean", ["sq"]), "minus": ("neg", ["sq"]), "bad": ("log", ["minus"])}
    section = training(learning_rate=0.1, metrics={"bad": "bad"})
    model = ge.Model.from_dict(document(nodes, {"loss": "loss"}, parameters={"p": 1.0}, training=section))
    trainer = run(model.trainer({}, epochs=3, checkpoints=tmp_path))
    assert np.isnan(trainer.history.checks[-1].values["bad"])
    rows = trainer.checkpoints.newest()["history"]["checks"]["rows"]
    assert all(np.isnan(row["values"]["bad"]) for row in rows)  # of a NaN neither sign nor payload is promised


def test_differences_are_named():
    one = {"a": [1.0, np.arange(3)], "b": None}
    assert not list(different(one, {"a": (1.0, np.arange(3)), "b": None}))
    assert list(different(one, {"a": [1.0, np.arange(3.0)], "b": 1})) == ["a/1", "b"]
    assert list(different({"x": 0.0}, {"x": -0.0})) == ["x"]
    assert not list(different(float("nan"), float("nan")))


def test_a_checkpoint_says_with_what_it_was_written(tmp_path):
    saved(tmp_path)
    content = orjson.loads(next(tmp_path.iterdir()).read_bytes())
    assert content["versions"] == arithmetic()
    assert content["state"]["carried"]["theta"].keys() == {"dtype", "shape", "values"}


def test_going_on_with_another_backend_is_said(tmp_path):
    def trained(epochs, backend):
        content = linreg(training=training(learning_rate=0.01))
        model = ge.Model.from_dict(content, backend=backend)
        return model.trainer(DATA, epochs=epochs, checkpoints=tmp_path, resume=True)

    run(trained(2, "numpy"))
    note = trained(4, "reference").checkpoints.note
    assert note.endswith(f"was written with backend numpy {np.__version__} (now reference): the last bits may differ")


@pytest.mark.parametrize("resumed", ["train", "iterate"])
def test_going_on_with_another_backend_warns_in_python(tmp_path, resumed):
    def model(backend):
        return ge.Model.from_dict(linreg(training=training(learning_rate=0.01)), backend=backend)

    model("numpy").train(DATA, epochs=2, checkpoints=tmp_path)
    keys = {"epochs": 4, "checkpoints": tmp_path, "resume": True}
    with pytest.warns(
        UserWarning, match=r"with backend numpy .* \(now reference\): the last bits may differ"
    ) as reported:
        rows = list(getattr(model("reference"), resumed)(DATA, **keys))
    assert [each.filename for each in reported] == [__file__]
    assert rows[-1].iteration == 4


def test_going_on_with_another_version_is_said(tmp_path):
    cli("train", "linreg", "--epochs", "4", "--checkpoint", tmp_path)
    (path,) = tmp_path.iterdir()
    content = orjson.loads(path.read_bytes())
    content["versions"] |= {"numpy": "1.0", "blas": "openblas 0.3.0 Haswell, threads: 9"}
    path.write_bytes(orjson.dumps(content))
    again = ("train", "linreg", "--epochs", "6", "--checkpoint", tmp_path, "--resume")
    strict = cli(*again, "--strict", code=2).stderr
    reported = cli(*again).stderr
    now = arithmetic()
    found = (
        f"GE606: {path.name} was written with numpy 1.0 (now {now['numpy']}), "
        f"blas openblas 0.3.0 Haswell, threads: 9 (now {now['blas']}): the last bits may differ"
    )
    assert reported.startswith(f"warning: {found}; ")
    assert strict.startswith(f"error: {found}; ")


RECORDED = """
import json
import numpy as np
from graphengine.training.machine import arithmetic
print(json.dumps({**arithmetic(), "dispatched": np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])}))
"""


def recorded(**environment):
    """What another process records of how it computes."""
    command = [sys.executable, "-c", RECORDED]
    return orjson.loads(
        subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True).stdout
    )


def test_threads_of_the_matrix_library_and_simd_groups_are_recorded():
    """Both change bits: the sum of a matrix product is split among threads, and NumPy's loops differ by group."""
    one, two = recorded(OPENBLAS_NUM_THREADS="1"), recorded(OPENBLAS_NUM_THREADS="2")
    if "openblas" not in one["blas"]:
        pytest.skip("NumPy's matrix library is not OpenBLAS")
    if not one["dispatched"]:
        pytest.skip("this processor has no more SIMD groups than NumPy needs")
    assert one["blas"].endswith("threads: 1")
    assert two["blas"].endswith("threads: 2") or os.cpu_count() == 1
    plain = recorded(NPY_DISABLE_CPU_FEATURES=" ".join(one["dispatched"]))
    assert set(one["dispatched"]) <= set(one["simd"].split())
    assert not set(one["dispatched"]) & set(plain["simd"].split())
    assert {name for name in one if one[name] != plain[name]} == {"simd", "dispatched"}


def test_the_matrix_library_of_scipy_changes_nothing():
    """SciPy brings a copy of its own, which is loaded with it."""
    code = f"import scipy.linalg\n{RECORDED}"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
    assert orjson.loads(found)["blas"] == recorded()["blas"]


# ---------------------------------------------------------------- progress


def test_a_log_has_a_line_of_json_now_and_then_and_for_each_check(tmp_path):
    log = tmp_path / "log.jsonl"
    section = 'training.validation={"fraction": 0.25, "every_iterations": 40}'
    cli("train", "linreg", "--log", log, "--set", section)
    rows = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    assert rows[-1].keys() == {"iteration", "epoch", "loss", "gradient_norm", "learning_rate", "seconds"}
    assert rows[-1]["iteration"] == 100
    assert [row["iteration"] for row in rows if "check" in row] == [40, 80]


def test_a_log_is_added_to_a_log_and_to_nothing_else(tmp_path):
    log, model = tmp_path / "log.jsonl", tmp_path / "model.json"
    model.write_bytes(dump_model(ge.Model.from_dict(linreg()).document))
    write(tmp_path / "line.json", linreg())
    (tmp_path / "numbers.json").write_text("[1, 2]\n")
    (tmp_path / "link").symlink_to(log)
    os.mkfifo(tmp_path / "pipe")
    cli("train", "linreg", "--log", log)
    lines = log.read_bytes()
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    for path in (*sorted(tmp_path.iterdir()), tmp_path, "/dev/full", "no/log", "n" * 300):
        if path != log:
            error = cli("train", "linreg", "--log", path, "--epochs", 10**9, code=2).stderr
            code = "GE101" if str(path).startswith("n") else "GE504"
            assert error.startswith(f"error: {path}: {code}: ")
            assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    cli("train", "linreg", "--log", log)
    assert log.read_bytes().startswith(lines)
    numbers = [orjson.loads(line)["iteration"] for line in log.read_bytes().splitlines()]
    assert numbers.count(1) == numbers.count(100) == 2


def test_a_training_whose_log_meets_a_full_disk_ends_as_without_a_log(tmp_path, monkeypatch):
    reported, as_json = cli("train", "linreg").stdout, cli_json("train", "linreg")
    log, saved, real = tmp_path / "log.jsonl", tmp_path / "m.json", os.write
    lines = []

    def full(descriptor, data):
        line = bytes(data).removesuffix(b"\n")
        if line.startswith(b'{"iteration":'):
            lines.append(line)
        if lines[2:] == [line]:
            real(descriptor, data[:20])
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    result = cli("train", "linreg", "--log", log, "--save", saved, code=1)
    assert result.stdout == f"{reported}saved to {saved}\n"
    assert result.stderr == f"error: {log}: GE101: cannot write the file: No space left on device\n"
    assert log.read_bytes().splitlines() == lines[:2]
    assert orjson.loads(lines[0])["iteration"] == 1
    lines.clear()
    result = cli_json("train", "linreg", "--log", log, code=1)
    (error,) = result.pop("errors")
    assert (error["code"], error["file"]) == ("GE101", str(log))
    assert result == as_json


def test_a_result_is_not_written_over_the_data_it_is_made_of(tmp_path):
    data = tmp_path / "x.csv"
    data.write_text("x,y\n1,2\n")
    for command in ("train", "fit"):
        error = cli(command, "linreg", "--data", data, "--save", data, code=2).stderr
        assert error == "error: GE801: --data and --save name the same file; name two files\n"
    assert data.read_text() == "x,y\n1,2\n"


def test_a_link_to_itself_is_one_line_of_error(tmp_path):
    loop = tmp_path / "loop.py"
    loop.symlink_to(loop)
    for option in ("--log", "--save", "--plugin", "--update-rule", "--checkpoint", "--data"):
        error = cli("train", "linreg", option, loop, code=2).stderr
        assert error.startswith("error: ")
        assert error.count("\n") == 1


def test_one_file_is_not_taken_for_two_results(tmp_path):
    for first, second in itertools.combinations(("--save", "--log", "--plot"), 2):
        error = cli("train", "linreg", first, tmp_path / "x.svg", second, f"{tmp_path}/./x.svg", code=2).stderr
        assert error == f"error: GE801: {first} and {second} name the same file; name two files\n"


@pytest.mark.parametrize("name", ["curve.png", "curve.svg"])
def test_the_loss_curve_is_drawn(tmp_path, name):
    cli("train", "linreg", "--plot", tmp_path / name, "--quiet")
    head = (tmp_path / name).read_bytes()[:200]
    assert head.startswith(b"\x89PNG") if name.endswith("png") else b"<svg" in head or b"<?xml" in head
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_a_curve_of_another_kind_is_refused_before_the_training(tmp_path):
    error = cli_json("train", "linreg", "--plot", tmp_path / "curve.gif", code=2)["errors"][0]
    assert (error["code"], "curve is written as .png" in error["message"]) == ("GE801", True)


def test_the_loss_curve_in_the_terminal_falls():
    lines = cli("train", "linreg", "--curve").stdout.splitlines()[-8:]
    assert [line.count("█") for line in lines] == sorted(line.count("█") for line in lines)
    assert lines[0].split(" |")[0].strip() == "2.713e+05"


def test_resume_on_the_command_line(tmp_path):
    folder = tmp_path / "folder"
    cli("train", "linreg", "--epochs", "40", "--checkpoint", folder)
    assert cli_json("train", "linreg", "--checkpoint", folder, code=2)["errors"][0]["code"] == "GE603"
    resumed = cli_json("train", "linreg", "--checkpoint", folder, "--resume")
    assert resumed == cli_json("train", "linreg")
    assert process("train", "linreg", "--resume").returncode == 2
