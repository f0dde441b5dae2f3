"""Loops over rows in parts that threads share: the bits are those of one thread, whoever computes what."""

import os
from concurrent.futures import Future

import numpy as np
import pytest
from test_numba_rows import NORMALIZED, assert_close, fused, gradient_of, interpreted
from test_same_bits import bits

from graphengine.backends import threads as pool
from graphengine.backends.numba import row_loops, row_parts
from graphengine.backends.numba.row_parts import MOST_PARTS, PART, WORTH_SHARING, parts_of, thread_count
from graphengine.backends.numpy.plan import Plan
from graphengine.backends.one_thread import one_blas_thread

pytestmark = [pytest.mark.extra("numba"), pytest.mark.usefixtures("cache_folder")]
CASES = {
    **NORMALIZED,
    "few rows": ("layer_norm", {"x": (3, 200), "scale": (200,), "bias": (200,)}),
    "rows in the middle": ("batch_norm", {"x": (4, 7, 33), **dict.fromkeys(["scale", "bias", "mean", "var"], (7,))}),
}


class Helper:
    """In place of threads: helps at once, or comes too late."""

    def __init__(self, in_time):
        self.in_time, self.parts = in_time, []

    def submit(self, function, claims, operands):
        task = Future()
        if self.in_time:
            task.set_running_or_notify_cancel()
            task.set_result(function(claims, operands))
            self.parts.append(int(claims[0]))
        return task


@pytest.fixture
def small_parts(monkeypatch):
    """Every loop over rows has parts."""
    monkeypatch.setattr(row_loops.protocol, "LARGE", row_loops.protocol.LARGE)
    for name, value in {"WORTH_SHARING": 0, "PART": 128}.items():
        monkeypatch.setattr(row_parts, name, value)


def shared(graph):
    """The plan of a graph, and its loops that threads share."""
    plan = Plan(graph, fuse=row_loops.fuse)
    loops = [each.function for each in plan.instructions if isinstance(each.function, row_loops.RowLoop)]
    return plan, [each for each in loops if each.rows.parts]


def bits_of(results):
    return {name: bits(value) for name, value in results.items()}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("op", "shapes"), CASES.values(), ids=CASES)
def test_bits_do_not_depend_on_the_number_of_threads(op, shapes, dtype, small_parts, monkeypatch):
    graph, values = gradient_of(op, shapes, dtype)
    plan, loops = shared(graph)
    assert loops
    found = []
    for count in (1, 2, 4, 4):
        monkeypatch.setattr(row_parts, "thread_count", lambda count=count: count)
        found.append(bits_of(plan.run(values)))
    for in_time in (True, False):
        helper = Helper(in_time)
        monkeypatch.setattr(row_parts, "threads", lambda count, helper=helper: helper)
        found.append(bits_of(plan.run(values)))
        assert bool(helper.parts) == in_time
    assert all(each == found[0] for each in found)
    assert_close(plan.run(values), Plan(graph).run(values), values)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("op", "shapes"), [CASES["rows"], CASES["rows in the middle"]], ids=["rows", "channels"])
def test_machine_code_of_parts_has_the_bits_of_the_text(op, shapes, dtype, small_parts, monkeypatch):
    graph, values = gradient_of(op, shapes, dtype)
    found, _ = fused(graph, values)
    monkeypatch.setattr(row_loops, "compiled", interpreted)
    text, _ = fused(graph, values)
    assert bits_of(found) == bits_of(text)


def test_memory_of_results_is_used_again_though_threads_had_it(small_parts, monkeypatch):
    monkeypatch.setattr(row_parts, "thread_count", lambda: 2)
    monkeypatch.setattr(row_parts, "threads", lambda count: Helper(in_time=False))
    graph, values = gradient_of(*NORMALIZED["rows"], "float64")
    plan, _ = shared(graph)
    first = {name: value.ctypes.data for name, value in plan.run(values).items()}
    assert {name: value.ctypes.data for name, value in plan.run(values).items()} == first


class Ended:
    """In place of threads, when the process ends or may have no more of them."""

    def submit(self, *_):
        raise RuntimeError("cannot schedule new futures after shutdown")


def test_where_no_thread_can_be_started_one_computes_all_parts(small_parts, monkeypatch):
    monkeypatch.setattr(row_parts, "thread_count", lambda: 2)
    graph, values = gradient_of(*NORMALIZED["rows"], "float64")
    plan, _ = shared(graph)
    expected = bits_of(plan.run(values))
    monkeypatch.setattr(row_parts, "threads", lambda count: Ended())
    assert bits_of(plan.run(values)) == expected


def test_operands_in_another_order_of_memory_are_copied_and_no_thread_is_left(small_parts, monkeypatch):
    monkeypatch.setattr(row_parts, "thread_count", lambda: 3)
    graph, values = gradient_of(*NORMALIZED["rows"], "float64")
    plan, _ = shared(graph)
    expected = bits_of(plan.run(values))
    assert bits_of(plan.run({name: np.asfortranarray(value) for name, value in values.items()})) == expected


@pytest.mark.parametrize(("rows", "numbers"), [(2, 2**20), (1024, 2**18), (3, 2**15), (10**7, 10**8), (1, 2**22)])
def test_parts_cover_all_rows_and_are_few_and_not_small(rows, numbers):
    parts = parts_of(rows, numbers, WORTH_SHARING)
    if parts is None:
        assert rows == 1
        return
    assert 1 < parts.number <= min(rows, MOST_PARTS)
    assert (parts.number - 1) * parts.length < rows <= parts.number * parts.length
    assert parts.length * numbers // rows >= min(PART, numbers // 2) // 2
    assert parts_of(rows, numbers, WORTH_SHARING - 1) is None


def test_there_are_as_many_threads_as_numba_has_and_one_where_blas_has_one(monkeypatch):
    import numba

    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 5)
    assert thread_count() == 5
    with one_blas_thread():
        assert thread_count() == 1
    assert thread_count() == 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    assert pool.threads(2).submit(sum, [1, 2]).result() == 3
    child = os.fork()
    if not child:
        try:
            os._exit(pool.threads(2).submit(sum, [40, 2]).result(timeout=30))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
