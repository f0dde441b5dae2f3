"""Pipes that pass arrays through shared memory: what arrives is what pickle alone would give, and stays as it is."""

import contextlib
import gc
import multiprocessing
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from graphengine.model import shared_pipes
from graphengine.model.shard_tasks import Piped
from graphengine.model.shared_pipes import SharedPipe

DTYPES = st.sampled_from(["float64", "float32", "int64", "bool", "complex128", "U3", "datetime64[D]"])
ARRAYS = arrays.arrays(DTYPES, arrays.array_shapes(min_dims=0, min_side=0, max_side=9))
STRIDED = ARRAYS.map(np.transpose) | ARRAYS.map(lambda array: array[..., ::2] if array.ndim else array)
MESSAGES = st.recursive(
    st.none() | st.text(max_size=5) | ARRAYS | STRIDED,
    lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=8,
)


@pytest.fixture(params=[True, False], ids=["memory", "socket"])
def has_memory(request, monkeypatch):
    monkeypatch.setattr(shared_pipes, "HAS_MEMORY", request.param and shared_pipes.HAS_MEMORY)


def ends():
    """Two ends of a pipe."""
    return [SharedPipe(each) for each in multiprocessing.Pipe()]


def content(value):
    """What a message is made of, by value."""
    match value:
        case np.ndarray():
            return value.dtype, value.shape, value.tobytes()
        case dict():
            return {name: content(each) for name, each in value.items()}
        case tuple():
            return tuple(map(content, value))
    return value


def members(value):
    """The arrays in a message."""
    if isinstance(value, np.ndarray):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ()
    return [array for each in inner for array in members(each)]


@settings(max_examples=50)
@given(st.lists(MESSAGES, max_size=5))
def check_messages(messages):
    one, other = ends()
    received = []
    for place, message in enumerate(messages):
        sender, receiver = (one, other) if place % 2 == 0 else (other, one)
        sender.send(message)
        received.append(receiver.recv())
    assert list(map(content, received)) == list(map(content, messages))
    assert all(array.flags.writeable for array in members(tuple(received)))
    one.close()
    other.close()


@pytest.mark.usefixtures("has_memory")
def test_messages_of_any_sizes_arrive_and_are_not_overwritten():
    check_messages()


@pytest.mark.usefixtures("has_memory")
def test_an_end_that_is_gone_is_an_error_of_pipes():
    one, other = ends()
    other.close()
    with pytest.raises(BrokenPipeError):
        one.send(np.zeros(9))
    with pytest.raises((EOFError, OSError)):
        one.recv()


def open_memory():
    """The number of open files of shared memory."""
    found = 0
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # it is the one that lists them
            found += "memfd:graphengine" in str(path.readlink())
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not list open files")
def test_memory_that_grows_replaces_what_was_there():
    one, other = ends()
    gc.collect()
    before = open_memory()
    for size in (10, 1000, 100_000, 10):
        one.send(np.zeros(size))
        assert other.recv().shape == (size,)
    assert open_memory() == before + 2 * shared_pipes.HAS_MEMORY  # the memory of one end, as both see it
    one.close()
    other.close()


@pytest.mark.usefixtures("has_memory")
@pytest.mark.parametrize("timeout", [0.0, 30.0])
def test_a_pipe_blocks_whatever_the_default_timeout_of_sockets_is(timeout):
    socket.setdefaulttimeout(timeout)
    try:
        one, other = ends()
        late = threading.Timer(0.05, lambda: other.send(other.recv() + 1))
        one.send(np.zeros(9))
        late.start()
        assert content(one.recv()) == content(np.ones(9))
        late.join()
    finally:
        socket.setdefaulttimeout(None)
    one.close()
    other.close()


def test_the_answer_to_an_interrupted_question_is_not_that_to_the_next_one(monkeypatch):
    def interrupted(pipe):
        raise KeyboardInterrupt

    ours, theirs = multiprocessing.Pipe()
    piped = Piped(None, ours)
    piped.subtotals(1)
    theirs.send("something")
    monkeypatch.setattr(SharedPipe, "recv", interrupted)
    with pytest.raises(KeyboardInterrupt):
        piped.result(1.0)
    with pytest.raises(ConnectionAbortedError):
        piped.subtotals(2)
    ours.close()
    theirs.close()
