"""A checkpoint is input like any other file: whatever is in it, a training resumes or there is a coded error."""

import copy
import functools
import os

import numpy as np
import orjson
import pytest
from documents import linreg, training
from hypothesis import given, settings
from hypothesis import strategies as st
from test_checkpoints import DATA, run

import graphengine as ge
from graphengine.limits import DEFAULT, Limits

INSTEAD = [None, True, 0, -1, 3, 2**63, 0.5, "NaN", [], [[1]], {}, {"file": "x"}]
"""What is put in the place of each value of a checkpoint."""
NAMED = ("carried", "values", "training", "versions")
"""Keys of objects whose keys are names: one member stands for all."""


def model(limits=DEFAULT):
    """A small model with all that a checkpoint may have; its step is compiled once."""
    return untrained(limits).copy()


@functools.cache
def untrained(limits):
    section = training(
        learning_rate=0.01,
        optimizer={"type": "momentum", "learning_rate": 0.01},
        batch_size=3,
        shuffle=True,
        epochs=None,
        max_iterations=14,
        validation={"fraction": 0.2, "every_iterations": 2},
        early_stopping={"patience": 100},
        metrics={"mse": "loss"},
    )
    return ge.Model.from_dict(linreg(training=section), limits=limits)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint in the middle of an epoch, as JSON values, and its name."""
    folder = tmp_path_factory.mktemp("checkpoint")
    run(model().trainer(DATA, max_iterations=10, checkpoints=folder))
    (path,) = folder.iterdir()
    return orjson.loads(path.read_bytes()), path.name


@pytest.fixture
def outcome(tmp_path, monkeypatch):
    """Says with what a checkpoint of some content is refused; None if the training resumes and ends."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)

    def tried(name, content, limits=DEFAULT):
        for old in tmp_path.iterdir():
            old.unlink()
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else orjson.dumps(content))
        error = refusal(lambda: run(model(limits).trainer(DATA, checkpoints=tmp_path, resume=True)))
        assert error is None or name in error
        return error

    return tried


def refusal(work):
    """With what a checkpoint is refused in some work; None if it is not."""
    try:
        work()
    except ge.errors.DivergenceError:  # from numbers that are not finite, or too large
        return None
    except ge.errors.TrainingError as error:
        found = error
    else:
        return None
    assert {problem.code for problem in found.problems} == {"GE603"}
    return str(found)


def at(content, path):
    for part in path:
        content = content[part]
    return content


def places(value, path=()):
    """The paths of the values in a JSON value, of which one element of an array stands for all."""
    if path:
        yield path
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, item in items[:1] if path and (path[-1] in NAMED or isinstance(value, list)) else items:
        yield from places(item, (*path, key))


def mutants(content):
    """The content with each value replaced or removed, and each array and object lengthened."""
    written = orjson.dumps(content)  # reading it again copies it ten times as fast as `copy.deepcopy`
    for path in places(content):
        value = at(content, path)
        longer = [{**value, "more": 1}] if isinstance(value, dict) else [[*value, 1]] if isinstance(value, list) else []
        for other in [*INSTEAD, *longer]:
            changed = orjson.loads(written)
            at(changed, path[:-1])[path[-1]] = other
            yield path, changed
        changed = orjson.loads(written)
        del at(changed, path[:-1])[path[-1]]
        yield path, changed


def test_whatever_stands_in_a_checkpoint_it_is_resumed_or_refused_with_a_code(checkpoint, outcome):
    content, name = checkpoint
    assert outcome(name, content) is None
    refused = {}
    for path, changed in mutants(content):
        refused.setdefault(path, []).append(outcome(name, changed) is not None)
    assert sum(map(len, refused.values())) > 500
    for path, found in refused.items():
        assert any(found), path
        if path[:2] != ("state", "early") and path[-1] != 0:
            assert found[-1] or path[0] == "versions", path  # what is missing is missed


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_so_it_is_whatever_bytes_are_in_it(checkpoint, tmp_path_factory, data):
    content, name = checkpoint
    text = bytearray(orjson.dumps(content))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place : place + data.draw(st.integers(0, 3))] = data.draw(
            st.sampled_from([b"", b"0", b"-", b'"', b"]", b"1e9", b"\xff"])
        )
    folder = tmp_path_factory.mktemp("bytes")
    (folder / name).write_bytes(bytes(text))
    refusal(lambda: run(model().trainer(DATA, checkpoints=folder, resume=True)))


def changed(content, value, *path):
    content = copy.deepcopy(content)
    at(content, path[:-1])[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("value", "path", "said"),
    [
        (0, "state/history/iterations/stride", "must be greater than or equal to 1, not 0"),
        (3, "state/history/iterations/stride", "a stride is a power of two, not 3"),
        (2, "state/history/iterations/stride", "it has 11 rows, of 10 with the stride 2 6 are kept"),
        (9, "state/history/iterations/seen", "after iteration 10 it must be 10"),
        (9, "state/iteration", "after iteration 9 it must be 9"),
        (1, "state/history/epochs/seen", "after iteration 10 it must be 3"),
        (11, "state/history/checks/rows/0/iteration", "a check after iteration 11, which was not reached"),
        ({}, "state/history/checks/rows/0/values", "a check computes validation_loss, mse"),
        ({}, "state/carried", "'theta' is missing"),
        ([2], "state/carried/theta/shape", "1 values in 1 dimensions do not make the shape [2]"),
        ([1], "state/carried/theta/shape", "'theta' is float64(1,), must be float64()"),
        ("float32", "state/carried/theta/dtype", "'theta' is float32(), must be float64()"),
        (["x"], "state/carried/theta/values", '"x" is not a number (/state/carried/theta/values/0)'),
        (None, "state/early", "the training stops early"),
        ([], "state/history/iterations/columns", "it has 0 columns, must have 3"),
        ("0" * 63, "fingerprint", "a sha256 is 64 hexadecimal digits"),
        (2, "format_version", "format version 2 is newer than this version of graphengine"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(checkpoint, outcome, value, path, said):
    content, name = checkpoint
    parts = [int(part) if part.isdigit() else part for part in path.split("/")]
    found = outcome(name, changed(content, value, *parts))
    assert found.startswith("/")
    assert "/checkpoint-0000000010.json:1:" in found
    assert "GE603: cannot be read as a checkpoint: " in found
    assert said in found


def test_a_checkpoint_is_read_within_the_limits_of_the_caller(checkpoint, outcome):
    content, name = checkpoint
    size = len(orjson.dumps(content))
    assert outcome(name, content, Limits(file_bytes=size)) is None
    assert "the file is larger than 1000 bytes" in outcome(name, content, Limits(file_bytes=1000))
    assert "more than 100 values" in outcome(name, content, Limits(values=100))


@pytest.mark.parametrize("text", [b"[" * 10**6, b'{"state":' * 10**5, b"1" * 10**6, b"\xef\xbb\xbf{}", b"\xff"])
def test_text_that_is_no_checkpoint_costs_little(checkpoint, outcome, text):
    assert "GE603: cannot be read as a checkpoint" in outcome(checkpoint[1], text)


def test_tensors_that_are_not_those_of_the_checkpoint_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("graphengine.format.tensors.EXTERNAL_FROM", 1)
    run(model().trainer(DATA, max_iterations=10, checkpoints=tmp_path))
    (tensors,), (path,) = tmp_path.glob("*.safetensors"), tmp_path.glob("*.json")
    content = orjson.loads(path.read_bytes())
    whole = tensors.read_bytes()

    def refused():
        with pytest.raises(ge.errors.TrainingError) as caught:
            model().trainer(DATA, checkpoints=tmp_path, resume=True)
        return str(caught.value)

    tensors.write_bytes(whole[:-1])
    assert "is not the file that the model was written with" in refused()
    tensors.unlink()
    assert "cannot read 'checkpoint-0000000010-" in refused()
    tensors.write_bytes(whole)
    path.write_bytes(orjson.dumps(changed(content, "../x", "state", "carried", "theta", "file")))
    assert "is not a plain relative path inside the model's folder" in refused()
    path.write_bytes(orjson.dumps(changed(content, "none", "state", "carried", "theta", "tensor")))
    assert "has no tensor 'none'" in refused()


def test_a_large_record_of_checks_lies_in_the_file_of_tensors(tmp_path):
    """A metric with many numbers, and many checks: 60 MB of JSON, more than what may be read."""
    nodes_and_more = linreg(training=training(learning_rate=1e-9))
    nodes_and_more["nodes"].append(
        {"id": "wide", "op": "broadcast_to", "inputs": ["loss"], "attributes": {"shape": [2000]}}
    )
    keys = {"metrics": {"wide": "wide"}, "validation": {"every_iterations": 1, "fraction": 0.5}, "max_iterations": 600}
    big = ge.Model.from_dict(nodes_and_more)
    run(big.trainer(DATA, **keys, checkpoints=tmp_path, epochs=None))
    (path,) = tmp_path.glob("*.json")
    assert path.stat().st_size < 10**6
    again = ge.Model.from_dict(nodes_and_more).trainer(DATA, **keys, checkpoints=tmp_path, resume=True, epochs=None)
    found, expected = again.history.checks[-1], big._trainer.history.checks[-1]
    np.testing.assert_array_equal(found.values["wide"], expected.values["wide"])
