"""Which rows are set apart: shares of classes, whole groups, folds; the same whatever the memory and the hash seed."""

import hashlib
import os
import subprocess
import sys
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from documents import document, write
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, StratifiedKFold

import graphengine as ge
from graphengine.data.stored import Stored
from graphengine.format.documents import ValidationDocument
from graphengine.training.splitting import SplitKind, divided, folds_of, fraction_of, shares, split

CODES = st.lists(st.integers(-3, 5), min_size=2, max_size=80).map(np.array)
KINDS = {"alike": SplitKind(), "classes": SplitKind(stratify="kind"), "groups": SplitKind(group="kind")}


def labeled(**section):
    """A line over rows that have a kind, which nothing of the loss reads."""
    nodes = {"p": ("mul", ["theta", "x"]), "e": ("sub", ["y", "p"]), "s": ("square", ["e"]), "loss": ("mean", ["s"])}
    content = document(
        nodes,
        {"loss": "loss"},
        inputs={"x": ["N"], "y": ["N"], "kind": {"shape": ["N"], "dtype": "int64"}},
        parameters={"theta": 0.5},
        training={"loss": "loss", "optimizer": {"type": "sgd", "learning_rate": 0.01}, "epochs": 3, **section},
    )
    return ge.Model.from_dict(content)


GRAPH = labeled().graph


def rows(kinds):
    x = np.arange(len(kinds), dtype=float)
    return {"x": x, "y": 2 * x, "kind": np.asarray(kinds)}


# ---------------------------------------------------------------- a fraction


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.data())
def test_shares_are_rounded_by_the_largest_remainder(counts, data):
    wanted = data.draw(st.integers(0, sum(counts)))
    exact = [Fraction(count * wanted, sum(counts)) for count in counts]
    found = shares(np.array(counts), wanted).tolist()
    assert sum(found) == wanted
    assert all(share // 1 <= each <= -(-share // 1) for each, share in zip(found, exact, strict=True))
    up = [share % 1 for each, share in zip(found, exact, strict=True) if each > share]
    down = [share % 1 for each, share in zip(found, exact, strict=True) if each < share]
    assert min(up, default=1) >= max(down, default=0)


@given(CODES, st.floats(0.01, 0.99), st.integers(0, 9))
def test_each_class_keeps_its_share(kinds, fraction, seed):
    apart = fraction_of(rows(kinds), GRAPH, fraction, seed, KINDS["classes"])
    wanted = min(max(round(fraction * len(kinds)), 1), len(kinds) - 1)
    assert apart.sum() == wanted
    for kind in np.unique(kinds):
        assert abs(apart[kinds == kind].sum() - np.sum(kinds == kind) * wanted / len(kinds)) < 1


@given(CODES.filter(lambda kinds: len(set(kinds)) > 1), st.floats(0.01, 0.99), st.integers(0, 9))
def test_no_group_is_on_both_sides(kinds, fraction, seed):
    apart = fraction_of(rows(kinds), GRAPH, fraction, seed, KINDS["groups"])
    assert set(kinds[apart]).isdisjoint(kinds[~apart])
    assert 0 < apart.sum() < len(kinds)
    largest = np.unique(kinds, return_counts=True)[1].max()
    assert abs(apart.sum() - fraction * len(kinds)) <= largest + 1


@pytest.mark.parametrize("name", KINDS)
def test_another_seed_sets_other_rows_apart(name):
    data = rows(np.repeat(np.arange(20), 5))
    masks = [fraction_of(data, GRAPH, 0.3, seed, KINDS[name]).tobytes() for seed in (1, 1, 2)]
    assert masks[0] == masks[1] != masks[2]


@pytest.mark.parametrize("name", ["stratify", "group"])
def test_a_training_trains_on_one_side_and_is_checked_on_the_other(name):
    kinds = np.array([3, 3, 3, 7, 7, 7, 7, 7, 7, 9])
    data = rows(kinds)
    section = {"fraction": 0.4, name: "kind"}
    kept, apart = split(data, GRAPH, ValidationDocument(**section), 5)
    for batch_size in (None, 2, 3):
        model, by_hand = (labeled(validation=each, seed=5) for each in (section, None))
        history = model.train(data, batch_size=batch_size)
        expected = by_hand.train(kept, batch_size=batch_size, validation_data=apart)
        assert history.checks == expected.checks
        assert model.parameters["theta"] == by_hand.parameters["theta"]


def test_statistics_are_of_the_rows_trained_on():
    content = labeled(validation={"fraction": 0.4, "group": "kind"}).to_dict()
    recipe = {"type": "from_data", "statistic": "mean", "of": "x"}
    content["parameters"]["theta"] = {"shape": [], "initializer": recipe, "trainable": True}
    data = rows(np.arange(30) % 6)
    kept, apart = split(data, GRAPH, ValidationDocument(fraction=0.4, group="kind"), 0)
    changed = {**data, "x": np.where(np.isin(data["kind"], apart["kind"]), 1e6, data["x"])}
    for each in (data, changed):
        model = ge.Model.from_dict(content)
        model.initialize(each)
        assert model.parameters["theta"] == pytest.approx(np.mean(kept["x"]), rel=1e-14)


def test_a_training_resumes_with_the_same_rows_apart(tmp_path):
    data, section = rows(np.arange(30) % 4), {"fraction": 0.3, "stratify": "kind"}
    whole, parts = labeled(validation=section), labeled(validation=section)
    history = whole.train(data, batch_size=4, epochs=6)
    parts.train(data, batch_size=4, epochs=2, checkpoints=tmp_path)
    resumed = parts.train(data, batch_size=4, epochs=6, checkpoints=tmp_path, resume=True)
    assert resumed.checks == history.checks
    assert whole.parameters["theta"] == parts.parameters["theta"]


# ---------------------------------------------------------------- folds


@given(CODES, st.integers(2, 6), st.integers(0, 9))
def test_each_row_is_in_one_fold_and_folds_are_of_one_size(kinds, count, seed):
    count = min(count, len(kinds))
    for kind in (KINDS["alike"], KINDS["classes"]):
        folds = folds_of(rows(kinds), GRAPH, count, seed, kind)
        sizes = np.bincount(folds, minlength=count)
        assert len(folds) == len(kinds)
        assert len(sizes) == count
        assert sizes.max() - sizes.min() <= 1


@pytest.mark.filterwarnings("ignore:The least populated class")
@given(CODES, st.integers(2, 4), st.integers(0, 9))
def test_stratified_folds_have_as_many_of_a_class_as_in_scikit_learn_up_to_one_row(kinds, count, seed):
    if np.unique(kinds, return_counts=True)[1].max() < count:
        return
    folds = folds_of(rows(kinds), GRAPH, count, seed, KINDS["classes"])
    theirs = [kinds[test] for _, test in StratifiedKFold(count).split(kinds, kinds)]
    for kind in np.unique(kinds):
        ours = [int(np.sum(kinds[folds == fold] == kind)) for fold in range(count)]
        assert max(ours) - min(ours) <= 1
        assert sorted(ours) == sorted(int(np.sum(each == kind)) for each in theirs)


@given(CODES, st.integers(2, 4), st.integers(0, 9))
def test_folds_of_groups_are_as_even_as_those_of_scikit_learn(kinds, count, seed):
    if len(set(kinds)) < count:
        return
    folds = folds_of(rows(kinds), GRAPH, count, seed, KINDS["groups"])
    assert all(len(set(folds[kinds == kind])) == 1 for kind in kinds)
    theirs = [len(test) for _, test in GroupKFold(count).split(kinds, groups=kinds)]
    assert sorted(np.bincount(folds, minlength=count)) == sorted(theirs)


# ---------------------------------------------------------------- memory and processes


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory):
    """Rows in a file, and the same as arrays that stay there."""
    folder = tmp_path_factory.mktemp("rows")
    rng = np.random.default_rng(3)
    data = rows(rng.integers(0, 700, 100_000))
    np.savez(folder / "rows.npz", **data)
    content = labeled().to_dict()
    content["data"] = {"rows": {"type": "npz", "path": "rows.npz", "arrays": {name: name for name in data}}}
    path = write(folder / "m.json", content)
    stored = ge.load(path, limits=ge.Limits(data_bytes=2**20)).load_data("rows")
    assert all(isinstance(each, Stored) for each in stored.values())
    return data, stored


@pytest.mark.parametrize("name", KINDS)
def test_rows_on_disk_are_split_as_in_memory(on_disk, name):
    data, stored = on_disk
    mask = fraction_of(data, GRAPH, 0.3, 1, KINDS[name])
    np.testing.assert_array_equal(mask, fraction_of(stored, GRAPH, 0.3, 1, KINDS[name]))
    np.testing.assert_array_equal(folds_of(data, GRAPH, 7, 1, KINDS[name]), folds_of(stored, GRAPH, 7, 1, KINDS[name]))
    for ours, theirs in zip(divided(data, GRAPH, mask), divided(stored, GRAPH, mask), strict=True):
        for each in data:
            np.testing.assert_array_equal(ours[each], theirs[each][:])


def test_rows_that_are_chosen_are_divided_again(on_disk):
    data, stored = on_disk
    for seed in (1, 2, 3):
        masks = [fraction_of(each, GRAPH, 0.4, seed, KINDS["classes"]) for each in (data, stored)]
        np.testing.assert_array_equal(*masks)
        data, stored = divided(data, GRAPH, masks[0])[seed % 2], divided(stored, GRAPH, masks[0])[seed % 2]
        np.testing.assert_array_equal(data["kind"], stored["kind"][:])
        np.testing.assert_array_equal(data["x"][[5, 2, 900]], stored["x"][np.array([5, 2, 900])])


@pytest.mark.parametrize("name", KINDS)
def test_a_split_of_rows_on_disk_takes_few_bytes_a_row(tmp_path, name):
    count = 1_000_000
    np.save(tmp_path / "x.npy", np.arange(count, dtype=float))
    np.save(tmp_path / "kind.npy", np.arange(count) % 11)
    content = labeled().to_dict()
    content["data"] = {"rows": {"type": "npy", "paths": {"x": "x.npy", "y": "x.npy", "kind": "kind.npy"}}}
    path = write(tmp_path / "m.json", content)
    stored = ge.load(path, limits=ge.Limits(data_bytes=2**24)).load_data("rows")
    tracemalloc.start()
    section = ValidationDocument(fraction=0.3, stratify=KINDS[name].stratify, group=KINDS[name].group)
    split(stored, GRAPH, section, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * count + 2**22  # a mask, its inverse and a number of one byte; a block and a part of the order


CODE = """if True:
    import hashlib, sys
    sys.path.insert(0, sys.argv[1])
    from test_splitting import digest
    print(digest())
"""


def digest():
    """A hash of all kinds of splits of some rows."""
    data, found = rows(np.arange(500) ** 2 % 37), hashlib.sha256()
    for kind in KINDS.values():
        found.update(fraction_of(data, GRAPH, 0.3, 2, kind).tobytes())
        found.update(folds_of(data, GRAPH, 5, 2, kind).tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("seed", ["0", "4321"])
def test_no_hash_seed_changes_a_split(seed):
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", CODE, here],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": seed},
    )
    assert done.stdout.strip() == digest()


# ---------------------------------------------------------------- what cannot be split


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"fraction": 0.5, "stratify": "kin"},
            r"GE210: validation stratify 'kin' is not defined \(.*did you mean 'kind'\?",
        ),
        ({"fraction": 0.5, "group": "x"}, r"GE112: group: input 'x' is float64\(N,\); a split is by integers"),
        ({"fraction": 0.5, "group": "kind", "stratify": "kind"}, "GE112: give either 'stratify' or 'group'"),
        ({"data": "train", "group": "kind"}, "GE112: 'group' needs a 'fraction'"),
    ],
)
def test_a_section_that_cannot_be_followed_is_refused(section, message):
    with pytest.raises(ge.errors.InvalidModelError, match=message):
        labeled(validation=section)


def test_data_that_cannot_be_split_is_refused():
    section = {"fraction": 0.5, "group": "kind"}
    with pytest.raises(
        ge.errors.DataError, match="GE505: there is only one group, by the values of input 'kind', so none"
    ):
        labeled(validation=section).train(rows([1, 1, 1]))
    with pytest.raises(ge.errors.InputError, match="GE401: the data has no values for input 'kind'"):
        labeled(validation=section).train({"x": [1.0, 2.0], "y": [1.0, 2.0]})
    with pytest.raises(ge.errors.DataError, match="GE505: 5 folds of only 3 samples"):
        folds_of(rows([1, 1, 2]), GRAPH, 5, 0, KINDS["classes"])
    with pytest.raises(ge.errors.DataError, match="GE505: 3 folds of only 2 groups, by the values of input 'kind'"):
        folds_of(rows([1, 1, 2]), GRAPH, 3, 0, KINDS["groups"])
