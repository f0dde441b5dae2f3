"""One sha256 of parameters, history and predictions, whoever computes a training and whatever interrupts it."""

import hashlib
import os
import signal
from contextlib import closing, nullcontext

import numpy as np
import pytest

import graphengine as ge
from graphengine import dask
from graphengine.model.shard_tasks import ShardActor, training_task
from graphengine.scale.local_training import LocalWorkers, ThreadWorkers, working
from graphengine.scale.shard_processes import ProcessWorkers
from graphengine.training.sharding import ShardRequest

MODELS = {
    "linreg": {"learning_rate": 0.1, "epochs": 6},
    "mlp_digits": {"epochs": 2, "shuffle": True, "early_stopping": None},
    "lstm_sums": {"epochs": 3, "early_stopping": None},
}
"""A linear model, a network of layers and a recurrent one, each with the keywords of its training."""
SIZES = {
    "linreg": [(None, 5), (8, 3), (7, 2)],
    "mlp_digits": [(700, 128), (500, 250), (600, 64)],
    "lstm_sums": [(None, 64), (100, 32), (150, 50)],
}
"""Batch sizes, None for all rows, and rows of a shard."""


def digest(model, history, x):
    """The sha256 of the bits of parameters and history, and of predictions in batches of any size."""
    ((_, predicted),) = model.predict(x=x, row_stable=True).items()
    found = hashlib.sha256()
    for name, value in sorted(model.values.items()):
        found.update(name.encode() + np.asarray(value).tobytes())
    found.update(repr([list(history), history.checks]).encode())
    found.update(predicted.tobytes())
    return found.hexdigest()


def trainer_of(name, place, **options):
    """A shipped model and its training with a batch size and rows of a shard."""
    batch_size, shard_rows = SIZES[name][place]
    model = ge.load(name)
    keys = {**MODELS[name], "batch_size": batch_size, "shard_rows": shard_rows, "checkpoint": {"every_iterations": 1}}
    return model, model.trainer(**keys, **options)


def trained(name, place, over, *, act=lambda row: None, **options):
    """Train a model to the end, while `over` lets others compute, and act after each iteration."""
    model, trainer = trainer_of(name, place, **options)
    with over(trainer, model):
        for row in trainer.chunks():
            act(row)
    return digest(model, trainer.history, np.asarray(model.load_data("train")["x"][:50]))


class Interrupted(Exception):  # noqa: N818 - it is no error
    """What ends a training in a test, as Ctrl-C would."""


def interrupted(name, place, over, folder):
    """Begin a training that ends after two iterations, with a checkpoint."""

    def end(row):
        if row.iteration == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        trained(name, place, over, act=end, checkpoints=folder)


def serial(trainer, model):
    return nullcontext()


def local(kind, count):
    """Threads or processes of this machine."""
    return lambda trainer, model: working(trainer, model, None, count, kind)


def on_cluster(client, count):
    """So many workers of those of a scheduler."""

    def over(trainer, model):
        dask.with_workers(trainer, model, client)
        workers = trainer.stepper.sharding.workers
        workers._actors = workers._actors[:count]
        return nullcontext()

    return over


def all_digests(name, place, all_of_them, folder):
    """The digests of one training by each of some workers, alone, and begun by each and resumed by the next."""
    found = {trained(name, place, over) for over in all_of_them}
    for number, (first, second) in enumerate(zip(all_of_them, [*all_of_them[1:], all_of_them[0]], strict=True)):
        interrupted(name, place, first, folder / str(number))
        found.add(trained(name, place, second, checkpoints=folder / str(number), resume=True))
    return found


@pytest.mark.parametrize("name", MODELS)
def test_threads_train_to_the_bits_of_one_thread(name, tmp_path):
    assert len(all_digests(name, 1, [serial, local("threads", 3)], tmp_path)) == 1


def test_processes_train_to_the_bits_of_one_also_if_one_is_killed():
    killed = []

    def kill(workers):
        """End a process; the next iteration finds that out."""
        pid = workers._workers.pids[0]
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)

    model, trainer = trainer_of("mlp_digits", 0)
    with working(trainer, model, None, 2, "processes"):
        workers = trainer.stepper.sharding.workers
        for row in trainer.chunks():
            if row.iteration == 2:
                kill(workers)
        left = workers._workers.pids
    assert len(killed) == 1
    assert not set(killed) & set(left)
    x = np.asarray(model.load_data("train")["x"][:50])
    assert digest(model, trainer.history, x) == trained("mlp_digits", 0, serial)
    assert not any(map(exists, [*killed, *left]))


def exists(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def client():
    with dask.connected(4) as found:
        yield found


@pytest.mark.extra("dask", "joblib")
@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("name", MODELS)
def test_a_training_has_one_hash_whoever_computes_it(name, place, client, tmp_path):
    by_processes = [local("processes", 2)] if place == 0 else []  # they take seconds to start
    by_threads = [local("threads", count) for count in (2, 4)]
    by_dask = [on_cluster(client, count) for count in (1, 2, 4)]
    assert len(all_digests(name, place, [serial, *by_threads, *by_processes, *by_dask], tmp_path)) == 1


def test_data_of_python_is_trained_on_by_threads():
    data = {"x": np.arange(20.0), "y": 3 * np.arange(20.0)}
    found = []
    for workers in (None, 1, 2):
        model = ge.load("linreg")
        history = model.train(data, workers=workers, shard_rows=3, epochs=3, learning_rate=1e-3)
        found.append((model.parameters["theta"].tobytes(), repr(list(history))))
    assert len(set(found)) == 1


@pytest.mark.parametrize(("gain", "kind"), [(2.0, ThreadWorkers), (1.0, ProcessWorkers)])
def test_threads_are_used_where_they_gain(gain, kind, monkeypatch):
    monkeypatch.setattr(ThreadWorkers, "gain", lambda *_: gain)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    model, trainer = trainer_of("linreg", 0)
    task = training_task(trainer, model)
    with closing(LocalWorkers(trainer, task, 2)._chosen(ShardRequest(1, 0, 4, 20, {}))) as chosen:
        assert isinstance(chosen, kind)


def test_the_gain_of_threads_is_measured():
    _, trainer = trainer_of("mlp_digits", 0)
    threads, seen = ThreadWorkers(trainer, 2), []
    trainer.stepper.sharding.workers = threads
    asked = threads.subtotals
    threads.subtotals = lambda request: seen.append(threads.gain(request)) or asked(request)
    with closing(threads):
        next(trainer.chunks())
    assert 0 < seen[0] < 20


@pytest.mark.parametrize(("shuffle", "is_stored"), [(False, True), (True, False)])
def test_a_worker_keeps_the_rows_of_its_shards_alone(shuffle, is_stored, tmp_path):
    random = np.random.default_rng(0)
    np.savez(tmp_path / "rows.npz", x=random.standard_normal((20_000, 20)), y=random.standard_normal(20_000))
    builder = ge.Builder("wide")
    x, y = builder.input("x", ["N", 20]), builder.input("y", ["N"])
    w = builder.parameter("w", [20], value=np.zeros(20))
    loss = builder.name("loss", np.mean(np.square(y - x @ w)))
    builder.output(loss=loss)
    builder.data("rows", {"type": "npz", "path": "rows.npz"})
    optimizer = {"type": "sgd", "learning_rate": 0.1}
    builder.training(loss=loss, data="rows", optimizer=optimizer, epochs=2, batch_size=2_000, shard_rows=200)
    builder.save(tmp_path / "wide.json")
    model = ge.load(tmp_path / "wide.json", limits=ge.Limits(data_bytes=2**25))
    trainer = model.trainer(shuffle=shuffle)
    actor = ShardActor(training_task(trainer, model))
    found = []

    class Recorded:
        """The actor computes the first six shards, and this process the others."""

        def subtotals(self, request):
            parts = trainer.batches.parts_of(request.iteration, 6, request.shards)
            yield (own := actor.subtotals(request, 0, 6))
            found.append(own)
            yield trainer.stepper.sharding.twin().subtotals_of(request, parts, 6)

    trainer.stepper.sharding.workers = Recorded()
    for _ in trainer.chunks():
        pass
    alone = ge.load(tmp_path / "wide.json")
    alone.train(shuffle=shuffle)
    assert len(found) == 20
    assert alone.parameters["w"].tobytes() == model.parameters["w"].tobytes()
    assert actor._batches.is_stored is is_stored
    rows = sum(len(part["x"]) for parts in actor._kept.values() for part in parts)
    assert rows == (12_000 if is_stored else 0)


def test_workers_that_cannot_be_are_refused():
    with pytest.raises(ge.errors.UsageError, match="at least 1"):
        ge.load("linreg").train(workers=0)
    with pytest.raises(ge.errors.TrainingError, match="is a solver"):
        ge.load("two_decays").train(workers=2)
