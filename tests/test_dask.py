"""Trainings on the workers of Dask: the bits of one process, whatever workers there are and whichever are lost."""

import contextlib
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Client
from types import SimpleNamespace

import numpy as np
import pytest
from tasks import DEFECTS, breaks, look
from typer.testing import CliRunner

import graphengine as ge
from graphengine import dask
from graphengine.backends import one_thread
from graphengine.cli.app import app_of
from graphengine.cli.clustering import warnings_as_notes
from graphengine.model import dask_workers, shard_tasks
from graphengine.model.shard_tasks import PipedActor, training_task
from graphengine.training.loop import run_to_end

pytestmark = pytest.mark.extra("dask")

KEYS = {
    "linreg": {"shard_rows": 5, "epochs": 5, "learning_rate": 0.1},
    "mlp_digits": {"shard_rows": 128, "batch_size": 700, "epochs": 2, "shuffle": True},
    "lstm_sums": {"shard_rows": 64, "max_iterations": 3, "epochs": None},
}


@pytest.fixture(scope="module")
def client():
    with dask.connected(2) as found:
        yield found


def trained(name, **keys):
    model = ge.load(name)
    return model, model.train(**{**KEYS[name], **keys})


def bits(model):
    return {name: np.asarray(value).tobytes() for name, value in model.values.items()}


@pytest.mark.parametrize("name", KEYS)
def test_two_workers_train_to_the_bits_of_one_process(client, name):
    alone, history = trained(name)
    model = ge.load(name)
    shared = dask.train(model, client, **KEYS[name])
    assert bits(model) == bits(alone)
    assert repr(list(shared)) == repr(list(history))
    assert repr(shared.checks) == repr(history.checks)


def run(trainer, iterations, act):
    """Run a training to its end, and act after each of some iterations."""
    for row in trainer.chunks():
        if row.iteration in iterations:
            act()


def kill_a_worker(client):
    client.wait_for_workers(2, timeout=60)
    os.kill([*client.run(os.getpid).values()][-1], signal.SIGKILL)


def test_a_worker_that_is_killed_is_replaced_and_the_bits_stay(client):
    keys = {**KEYS["mlp_digits"], "epochs": 6}
    model = ge.load("mlp_digits")
    trainer = dask.with_workers(model.trainer(**keys), model, client)
    run(trainer, (2, 7), lambda: kill_a_worker(client))
    assert bits(model) == bits(trained("mlp_digits", **keys)[0])


class FakeClient:
    """A client of workers that compute in this process; the training loses those that are taken from `alive`."""

    status = "running"

    def __init__(self, *alive):
        self.alive = list(alive)

    def scheduler_info(self, n_workers):
        return {"workers": {address: {} for address in self.alive}}

    def as_current(self):
        return contextlib.nullcontext()

    def submit(self, _, task, *, actor, pure, workers):
        return FakeFuture(lambda: FakeActor(self, task, *workers))


class FakeFuture:
    def __init__(self, find):
        self.find = find

    def result(self, timeout):
        return self.find()


class FakeActor:
    def __init__(self, client, task, address):
        self.client, self.address, self.shards = client, address, PipedActor(task)

    def listen(self, name, key, host):
        return FakeFuture(lambda: False)

    def subtotals(self, *asked):
        def find():
            if self.address not in self.client.alive:
                raise ConnectionResetError
            return self.shards.subtotals(*asked)

        return FakeFuture(find)


def test_a_training_says_when_it_has_fewer_workers_and_takes_new_ones(monkeypatch, capsys):
    monkeypatch.setattr(dask_workers, "LOOK_AGAIN", 0.0)
    client, model = FakeClient("a", "b"), ge.load("mlp_digits")
    trainer = dask.with_workers(model.trainer(**KEYS["mlp_digits"]), model, client)
    asked = trainer.stepper.sharding.workers.subtotals
    changes = {2: ["b"], 4: ["b", "c"], 6: ["c", "d"]}

    def subtotals(request):
        client.alive = changes.get(request.iteration, client.alive)
        return asked(request)

    trainer.stepper.sharding.workers.subtotals = subtotals
    with warnings_as_notes():
        run_to_end(trainer)
    assert capsys.readouterr().err.splitlines() == [
        "warning: iteration 2 was computed by 1 of 2 workers",
        "warning: iteration 4 was computed by 2 of 2 workers",
    ]
    assert bits(model) == bits(trained("mlp_digits")[0])


class ClosingClient(FakeClient):
    """A client that notices in a call, when `is_due`, that its scheduler is gone; what it raises may be anything."""

    is_due = False

    def __init__(self, call):
        super().__init__("a")
        self.call = call

    def notice(self, call):
        if self.is_due and call == self.call:
            self.status = "closed"
            raise AttributeError("'NoneType' object has no attribute 'send'")

    def scheduler_info(self, n_workers):
        self.notice("scheduler_info")
        return super().scheduler_info(n_workers)

    def submit(self, *arguments, **keys):
        self.notice("submit")
        return super().submit(*arguments, **keys)


@pytest.mark.parametrize("call", ["scheduler_info", "submit"])
def test_a_scheduler_that_goes_during_a_call_ends_a_training_in_a_checkpoint(call, tmp_path):
    client, model = ClosingClient(call), ge.load("linreg")

    def lose():
        client.is_due, client.alive = True, ["b"]

    trainer = dask.with_workers(model.trainer(**KEYS["linreg"], checkpoints=tmp_path), model, client)
    with pytest.raises(ge.errors.WorkersError, match="the scheduler is gone"):
        run(trainer, [3], lose)
    again = ge.load("linreg")
    again.train(**KEYS["linreg"], checkpoints=tmp_path, resume=True)
    assert bits(again) == bits(trained("linreg")[0])


def test_a_training_without_a_worker_is_a_coded_error(monkeypatch):
    monkeypatch.setattr(dask_workers, "PATIENCE", 0.0)
    model = ge.load("linreg")
    with pytest.raises(ge.errors.WorkersError, match="GE607: there has been no worker for 0 s"):
        dask.with_workers(model.trainer(**KEYS["linreg"]), model, FakeClient())


def break_shards(defect):
    """Let the actors of a process break, or work again."""

    def subtotals(self, *asked):
        breaks(None, defect)

    working = shard_tasks.__dict__.setdefault("WORKING", shard_tasks.ShardActor.subtotals)
    shard_tasks.ShardActor.subtotals = subtotals if defect else working


@pytest.mark.parametrize("host", ["this", "elsewhere"])
@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_in_a_worker_is_raised_at_once_as_what_it_is(client, defect, host, monkeypatch):
    if host == "elsewhere":
        monkeypatch.setattr("socket.gethostname", lambda: host)
    client.run(break_shards, defect)
    try:
        with pytest.raises(ge.errors.ExecutionError, match=r"GE410: .* dice") as caught:
            dask.train(ge.load("linreg"), client, **KEYS["linreg"])
    finally:
        client.run(break_shards, None)
    assert look(caught.value.__cause__) == defect


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_in_a_task_is_raised_as_what_it_is(client, defect):
    with pytest.raises(Exception, match="dice") as caught:
        list(dask.in_cluster(breaks, None, [defect], client.scheduler.address))
    assert look(caught.value) == defect


def eventually(is_so):
    end = time.monotonic() + 30
    while not (found := is_so()) and time.monotonic() < end:
        time.sleep(0.01)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="workers have pipes on Linux")
def test_blas_has_one_thread_as_long_as_a_worker_has_a_pipe():
    model = ge.load("linreg")
    actor = PipedActor(training_task(model.trainer(**KEYS["linreg"]), model))
    before = one_thread._USERS.count
    name, key = f"\0test-{secrets.token_hex(16)}", secrets.token_bytes(32)
    assert actor.listen(name, key, socket.gethostname())
    with Client(name, "AF_UNIX", authkey=key):
        assert eventually(lambda: one_thread._USERS.count == before + 1)
        assert one_thread.is_limited()
    assert eventually(lambda: one_thread._USERS.count == before)


def test_workers_of_another_host_are_asked_through_dask(client, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")  # here, and not in the workers
    model = ge.load("linreg")
    trainer = dask.with_workers(model.trainer(**KEYS["linreg"]), model, client)
    run(trainer, (), lambda: None)
    made = filter(None, trainer.stepper.sharding.workers._actors)
    assert {type(actor).__name__ for _, actor in made} == {"Actor"}
    assert bits(model) == bits(trained("linreg", **KEYS["linreg"])[0])


def test_without_a_scheduler_a_training_ends_in_a_checkpoint_and_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr(dask, "WAITING", 300.0)  # however busy the machine is
    keys = {**KEYS["linreg"], "epochs": 50}
    command = [sys.executable, "-m", "graphengine", "cluster", "--workers", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as started:
        address = started.stdout.readline().split()[1]
        model = ge.load("linreg")
        with dask.connected(address) as client:
            trainer = dask.with_workers(model.trainer(**keys, checkpoints=tmp_path / "c"), model, client)
            with pytest.raises(ge.errors.WorkersError) as caught:
                run(trainer, [3], lambda: os.killpg(started.pid, signal.SIGKILL))
    assert [problem.code for problem in caught.value.problems] == ["GE607"]
    again = ge.load("linreg")
    history = again.train(**keys, checkpoints=tmp_path / "c", resume=True)
    assert len(history) == 50
    assert bits(again) == bits(trained("linreg", **keys)[0])


def test_the_command_gives_the_bits_of_one_process(client, tmp_path):
    for name, options in {"one": ["--workers", "1"], "two": ["--dask", client.scheduler.address]}.items():
        command = ["train", "linreg", "--shard-rows", "5", *options, "--save", str(tmp_path / f"{name}.json")]
        assert CliRunner().invoke(app_of(["train"]), command).exit_code == 0
    assert bits(ge.load(tmp_path / "one.json")) == bits(ge.load(tmp_path / "two.json"))


def test_workers_open_no_other_model_than_the_one_that_is_trained(client, tmp_path):
    model = ge.Model.from_dict({**ge.load("linreg").to_dict(), "dtype": "float32"}, ge.models()["linreg"])
    with pytest.raises(ge.errors.TrainingError, match="which is not the model that is used here"):
        dask.train(model, client, shard_rows=5)


def test_a_model_without_a_file_has_no_workers(client):
    model = ge.Model.from_dict(ge.load("linreg").to_dict())
    with pytest.raises(ge.errors.UsageError, match="this one has none"):
        dask.train(model, client, data={"x": [1.0], "y": [1.0]})


@contextlib.contextmanager
def no_failures_allowed(client):
    """Let Dask give up a task when one worker died that had it, not four."""

    def allow(count, dask_scheduler):
        before, dask_scheduler.allowed_failures = dask_scheduler.allowed_failures, count
        return before

    before = client.run_on_scheduler(allow, 0)
    try:
        yield
    finally:
        client.run_on_scheduler(allow, before)


def test_a_task_that_dask_gives_up_because_workers_died_is_submitted_again(client, tmp_path, monkeypatch):
    def work(folder, task):
        if task == 1 and not (folder / "killed").exists():
            (folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return -task

    def results():
        return sorted(dask.in_cluster(work, tmp_path, [0, 1, 2], client.scheduler.address))

    with no_failures_allowed(client):
        assert results() == [(0, 0), (1, -1), (2, -2)]
        (tmp_path / "killed").unlink()
        monkeypatch.setattr(dask, "REPEATS", 0)
        with pytest.raises(ge.errors.GraphEngineError, match="GE418"):
            results()


def test_dask_logs_nothing_while_its_errors_are_reported_here(client):
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]
    levels = {name: logging.getLogger(name).level for name in names}
    with dask.connected(client.scheduler.address):
        assert [name for name in names if logging.getLogger(name).isEnabledFor(logging.CRITICAL)] == []
    assert {name: logging.getLogger(name).level for name in names} == levels


def test_dask_logs_again_when_the_last_thread_leaves_whatever_the_order(monkeypatch):
    monkeypatch.setattr(dask, "_SILENCE", dask._Silence())  # without the client of the other tests
    logger = logging.getLogger("distributed.test")
    monkeypatch.setattr(logger, "level", logging.INFO)
    first, second = dask._quiet(), dask._quiet()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not logger.isEnabledFor(logging.CRITICAL)
    second.__exit__(None, None, None)
    assert logger.level == logging.INFO


def test_no_scheduler_at_an_address_is_one_line():
    with pytest.raises(ge.errors.GraphEngineError, match="GE418"), dask.connected("tcp://127.0.0.1:1"):
        pass


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_a_port_that_accepts_but_is_no_scheduler_is_one_line_before_long(answer, monkeypatch):
    monkeypatch.setattr(dask, "WAITING", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept = []
        accepting = threading.Thread(target=lambda: accept(server, answer, kept), daemon=True)
        accepting.start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with (
            pytest.raises(ge.errors.GraphEngineError, match=r"GE418: .* (no answer|not belong to a Dask scheduler)"),
            dask.connected(address),
        ):
            pass
        for connection in kept:
            connection.close()


def accept(server, answer, kept):
    """Accept connections, say something, and keep them open, until the server is closed."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            kept.append(connection)
            connection.sendall(answer)


def test_searches_and_starts_have_the_bits_of_one_process(client):
    grid, address = {"training.optimizer.learning_rate": [0.1, 0.05]}, client.scheduler.address
    found = [ge.search(ge.load("linreg"), grid, folds=2, workers=workers).trials for workers in (1, address)]
    assert found[0] == found[1]
    fits = [repr(ge.load("two_decays").fit(starts=3, workers=workers).starts) for workers in (1, address)]
    assert fits[0] == fits[1]


class Failing:
    """A cluster none of whose workers can start."""

    def __init__(self):
        self.workers, self.starts = {}, 0

    def scale(self, count):
        for name in range(count):
            if name not in self.workers:
                self.starts += 1
                self.workers[name] = SimpleNamespace(status=SimpleNamespace(name="failed"))


def test_workers_that_cannot_start_are_tried_less_and_less_often_with_a_warning(caplog):
    cluster = Failing()
    refill = dask._Refill(cluster, 2)
    for _ in range(1000):
        refill()
    assert 2 * dask.FAILURES < cluster.starts < 2 * (dask.FAILURES + 10 + 1000 / dask.LONGEST_REST)
    assert caplog.messages[0] == "workers end while starting; new ones start in 3 s"
    caplog.clear()
    cluster.workers[0].status.name = "running"
    for _ in range(dask.LONGEST_REST + 10):
        refill()
        cluster.workers[0].status.name = "running"
    assert not caplog.messages
