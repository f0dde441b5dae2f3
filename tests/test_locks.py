"""Several processes at one folder: one trains there, saves wait for each other, and readers meet whole models."""

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import orjson
import pytest
from documents import document, linreg, training, write
from test_checkpoints import DATA, endless, iterations_of, started
from test_cli import cli_json

import graphengine as ge
from graphengine.format.locks import Lock
from graphengine.training.loop import Trainer, run_to_end
from graphengine.training.resuming import different


@pytest.fixture
def python():
    """Starts processes that run some code, and ends those that a test leaves."""
    children = []

    def start(code, *arguments):
        command = [sys.executable, "-c", code, *map(str, arguments)]
        children.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return children[-1]

    yield start
    for child in children:
        with child:
            child.kill()


HOLDING = """
import sys, time
from pathlib import Path
from graphengine.format.locks import Lock
lock = Lock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
time.sleep(600)
"""


def test_a_lock_keeps_other_processes_out_and_dies_with_its_own(tmp_path, python):
    path = tmp_path / "lock"
    child = python(HOLDING, path)
    assert child.stdout.readline() == "True\n"
    lock = Lock(path)
    assert not lock.acquire()
    child.kill()
    child.wait()
    assert path.exists()
    assert lock.acquire()
    assert not Lock(path).acquire()
    lock.release()
    assert not path.exists()
    lock.release()  # once more does nothing
    assert lock.acquire()


def test_what_is_no_lock_file_is_not_taken_for_one(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "folder").mkdir()
    for name in ("link", "folder", "no/lock"):
        with pytest.raises(OSError):  # noqa: PT011 - each system has its own words
            Lock(tmp_path / name).acquire()
    assert not (tmp_path / "target").exists()


COUNTING = """
import sys
from pathlib import Path
from graphengine.format.locks import Lock
folder = Path(sys.argv[1])
for _ in range(int(sys.argv[2])):
    lock = Lock(folder / "lock")
    lock.acquire(wait=True)
    number = int((folder / "number").read_text())
    (folder / "number").write_text(str(number + 1))
    lock.release()
"""


def test_no_update_is_lost_between_processes_that_wait(tmp_path, python):
    (tmp_path / "number").write_text("0")
    children = [python(COUNTING, tmp_path, 200) for _ in range(4)]
    assert [child.wait() for child in children] == [0] * 4
    assert (tmp_path / "number").read_text() == "800"
    assert not (tmp_path / "lock").exists()


# ---------------------------------------------------------------- checkpoints


def test_a_second_training_in_a_folder_is_refused_and_the_first_goes_on(tmp_path):
    path, folder = endless(tmp_path), tmp_path / "folder"
    child = started(["-m", "graphengine", "train", path, "--checkpoint", folder], folder)
    for arguments in ((), ("--resume",)):
        error = cli_json("train", path, "--checkpoint", folder, *arguments, code=2)["errors"][0]
        assert (error["code"], error["message"]) == ("GE603", f"another training uses {folder}")
    before = max(iterations_of(folder))
    while child.poll() is None and max(iterations_of(folder), default=0) < before + 5:
        time.sleep(0.02)
    child.kill()
    child.communicate()
    done = max(iterations_of(folder))
    assert cli_json("train", path, "--checkpoint", folder, "--resume", "--max-iterations", done + 1)
    assert not (folder / "checkpoint.lock").exists()


def test_of_trainings_that_start_together_one_gets_the_folder(tmp_path):
    path, folder = endless(tmp_path), tmp_path / "folder"
    command = [sys.executable, "-m", "graphengine", "train", path, "--checkpoint", folder, "--max-iterations", "300"]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    ends = [(child.communicate()[1], child.returncode) for child in children]
    assert sorted(code for _, code in ends) == [0, 2, 2, 2]
    assert all("GE603: " in reported for reported, code in ends if code)
    assert iterations_of(folder) == [300]


def regression():
    return ge.Model.from_dict(linreg(training=training(learning_rate=0.01)))


def test_trainings_in_two_threads_do_not_share_a_folder(tmp_path, monkeypatch):
    """The first one waits at work, within an iteration, until the second one was refused."""
    refused, inside, real = threading.Event(), threading.Event(), Trainer._run

    def waiting(self, chunk):
        inside.set()
        refused.wait(60)
        real(self, chunk)

    monkeypatch.setattr(Trainer, "_run", waiting)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(regression().train, DATA, epochs=3, checkpoints=tmp_path)
        assert inside.wait(60)
        try:
            with pytest.raises(ge.errors.TrainingError, match="GE603: another training uses"):
                regression().train(DATA, epochs=3, checkpoints=tmp_path)
        finally:
            refused.set()
        assert len(first.result()) == 3


def test_a_training_that_was_left_does_not_keep_its_folder(tmp_path):
    """A notebook keeps the traceback of a loop that failed, and with it the generator."""
    rows = regression().iterate(DATA, epochs=9, checkpoints=tmp_path, checkpoint={"every_iterations": 1})
    next(rows)
    whole, resumed = regression(), regression()
    histories = whole.train(DATA, epochs=9), resumed.train(DATA, epochs=9, checkpoints=tmp_path, resume=True)
    assert not list(different(*(history.state for history in histories)))
    assert resumed.parameters["theta"] == whole.parameters["theta"]
    with pytest.raises(ge.errors.TrainingError, match="GE603: another training of this process has taken over"):
        next(rows)
    assert iterations_of(tmp_path) == [9]


def test_an_interrupted_training_does_not_keep_its_folder(tmp_path):
    model = regression()
    trainer = model.trainer(DATA, epochs=9, checkpoints=tmp_path, checkpoint={"every_iterations": 1})
    real = trainer.save_checkpoint
    trainer.save_checkpoint = lambda: (real(), signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):  # its traceback is kept here
        run_to_end(trainer)
    assert len(regression().train(DATA, epochs=9, checkpoints=tmp_path, resume=True)) == 9


def test_a_training_that_began_elsewhere_meanwhile_is_not_written_over(tmp_path):
    first = regression().trainer(DATA, epochs=9, checkpoints=tmp_path)
    regression().train(DATA, epochs=4, checkpoints=tmp_path)
    with pytest.raises(ge.errors.TrainingError, match=r"GE603: another training has written to .* in the meantime"):
        next(first.chunks())
    assert iterations_of(tmp_path) == [4]


# ---------------------------------------------------------------- models

LARGE = """
import sys
from pathlib import Path
import numpy as np
import graphengine.format.tensors
import graphengine as ge
graphengine.format.tensors.EXTERNAL_FROM = 1
"""
SAVING = (
    LARGE
    + """
model, value = ge.load(sys.argv[1]), float(sys.argv[2])
while not Path(sys.argv[3]).exists():
    value += 1
    model.parameters["w"] = np.full((2, 3), value)
    model.save(sys.argv[1])
"""
)
READING = (
    LARGE
    + """
seen = set()
while len(seen) < 40:
    value = ge.load(sys.argv[1]).parameters["w"]
    assert (value == value[0, 0]).all()
    seen.add(float(value[0, 0]))
"""
)


def test_readers_of_a_model_that_is_being_saved_always_get_a_whole_one(tmp_path, python):
    path = write(tmp_path / "m.json", document({"z": ("neg", ["w"])}, parameters={"w": [[0.0] * 3] * 2}))
    enough = tmp_path / "enough"
    writers = [python(SAVING, path, start, enough) for start in (0, 10**6)]
    assert python(READING, path).wait() == 0
    enough.touch()
    assert [child.wait() for child in writers] == [0, 0]
    enough.unlink()
    assert sorted(each.suffix for each in tmp_path.iterdir()) == [".json", ".safetensors"]
    content = orjson.loads(path.read_bytes())
    assert (tmp_path / content["parameters"]["w"]["value"]["file"]).exists()
    assert np.ptp(ge.load(path).parameters["w"]) == 0


def test_a_model_whose_tensors_are_gone_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("graphengine.format.tensors.EXTERNAL_FROM", 1)
    model = ge.Model.from_dict(document({"z": ("neg", ["w"])}, parameters={"w": [1.0]}))
    model.save(tmp_path / "m.json")
    next(tmp_path.glob("*.safetensors")).unlink()
    with pytest.raises(ge.errors.InvalidModelError, match="GE501: "):
        ge.load(tmp_path / "m.json")
