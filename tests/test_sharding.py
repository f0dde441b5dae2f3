"""Sharded training: the bits do not depend on who computes which shard, and the step is that of the whole batch."""

import itertools
import math

import numpy as np
import pytest
from documents import linreg, training

import graphengine as ge
from graphengine.backends.totals import Tree
from graphengine.training.sharding import subtotals

RNG = np.random.default_rng(3)


def _tree(numbers):
    """The sum of some numbers as the largest power of two of them, and the rest."""
    if len(numbers) == 1:
        return numbers[0]
    half = 2 ** (math.ceil(math.log2(len(numbers))) - 1)
    return _tree(numbers[:half]) + _tree(numbers[half:])


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 8, 13])
def test_a_tree_is_one_sum_however_the_parts_are_dealt(count):
    numbers = (10.0 ** RNG.integers(-8, 8, count) * RNG.normal(size=count)).tolist()
    for cuts in itertools.combinations(range(1, count), min(count - 1, 2)):
        whole = Tree("add", dtype=np.dtype(float))
        for start, stop in itertools.pairwise([0, *cuts, count]):
            piece = Tree("add", dtype=np.dtype(float))
            for number in range(start, stop):
                piece.add(number, np.array(numbers[number]))
            whole.take(piece.subtotals)
        assert float(whole.result()) == _tree(numbers)


def test_rows_are_put_in_the_order_of_the_parts():
    tree = Tree("rows", dtype=np.dtype(float))
    for number in range(5):
        tree.add(number, np.arange(2.0) + 2 * number)
    np.testing.assert_array_equal(tree.result(), np.arange(10.0))


X = RNG.normal(size=101)
DATA = {"x": X, "y": 3 * X + RNG.normal(size=101)}


def regression(**keys):
    return ge.Model.from_dict(linreg(training=training(learning_rate=0.02, **keys)))


class Dealt:
    """Workers in this process, each with data of its own: the shards are dealt in `count` pieces."""

    def __init__(self, trainer, count):
        self._sharding, self._batches, self._count = trainer.stepper.sharding, trainer.batches, count

    def subtotals(self, request):
        ends = [request.shards * place // self._count for place in range(self._count + 1)]
        for first, stop in itertools.pairwise(ends):
            if first < stop:
                parts = self._batches.parts_of(request.iteration, first, stop)
                yield self._sharding.subtotals_of(request, parts, first)


def trained(model, workers, data=DATA, **keys):
    trainer = model.trainer(data, **keys)
    if workers:
        trainer.stepper.sharding.workers = Dealt(trainer, workers)
    for _ in trainer.chunks():
        pass
    return dict(model.values), trainer.history


@pytest.mark.parametrize("keys", [{}, {"shuffle": True}, {"batch_size": 40}, {"batch_size": 40, "shuffle": True}])
@pytest.mark.parametrize("shard_rows", [7, 16, 1000])
def test_any_number_of_workers_gives_the_same_bits(keys, shard_rows):
    keys = {**keys, "shard_rows": shard_rows, "epochs": 3, "optimizer": {"type": "adam", "learning_rate": 0.02}}
    found = [trained(regression(), workers, **keys) for workers in (0, 1, 2, 3, 4)]
    assert {values["theta"].tobytes() for values, _ in found} == {found[0][0]["theta"].tobytes()}
    assert len({repr(list(history)) for _, history in found}) == 1


@pytest.mark.parametrize("batch_size", [None, 40])
def test_a_sharded_step_is_that_of_the_whole_batch(batch_size):
    sharded, whole = regression(), regression()
    sharded.train(DATA, batch_size=batch_size, shard_rows=7, epochs=3, shuffle=True)
    whole.train(DATA, batch_size=batch_size, epochs=3, shuffle=True)
    assert sharded.parameters["theta"] == pytest.approx(whole.parameters["theta"], rel=1e-12)


@pytest.mark.parametrize(("name", "batch_size"), [("mlp_digits", 500), ("lstm_sums", None)])
def test_networks_have_the_same_bits_from_any_number_of_workers(name, batch_size):
    keys = {"shard_rows": 64, "batch_size": batch_size, "max_iterations": 3, "epochs": None, "validation": None}
    found = [trained(ge.load(name), workers, None, **keys, early_stopping=None)[0] for workers in (0, 2, 3)]
    for each in found[1:]:
        assert {name: value.tobytes() for name, value in each.items()} == {
            name: value.tobytes() for name, value in found[0].items()
        }


def test_a_sharded_training_resumes_to_the_same_bits(tmp_path):
    keys = {"shard_rows": 16, "batch_size": 40, "shuffle": True}
    whole, part = regression(), regression()
    whole.train(DATA, epochs=4, **keys)
    part.train(DATA, epochs=2, checkpoints=tmp_path / "c", **keys)
    again = regression()
    again.train(DATA, epochs=4, checkpoints=tmp_path / "c", resume=True, **keys)
    assert again.parameters["theta"].tobytes() == whole.parameters["theta"].tobytes()


def test_a_sample_at_a_time_has_no_shards():
    single = ge.Model.from_dict(linreg(shape=(), training=training()))
    with pytest.raises(ge.errors.DataError, match="takes one sample at a time, and shards have several"):
        single.train(DATA, batch_size=1, shard_rows=4)


def test_a_product_of_matrices_runs_in_one_thread(monkeypatch):
    import threadpoolctl

    seen = []

    class Staged:
        def subtotals(self, *arguments):
            seen.extend(pool["num_threads"] for pool in threadpoolctl.threadpool_info())
            return {}

    subtotals(Staged(), 0, {}, [])
    assert seen
    assert set(seen) == {1}
