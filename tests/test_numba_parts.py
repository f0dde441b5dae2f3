"""Loops over rows in parts that threads share: the bits are those of one thread, whoever computes what."""

import ctypes
import os
import platform
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from test_numba_rows import FUNCTIONS, NORMALIZED, assert_close, claimed, fused, gradient_of, interpreted, offer_call
from test_same_bits import bits

from graphengine.backends import threads as pool
from graphengine.backends.numba import row_loops, row_parts, teams
from graphengine.backends.numba.compiling import compiled
from graphengine.backends.numba.row_parts import (
    MOST_PARTS,
    PART,
    WORTH_SHARING,
    SharedLoop,
    parts_of,
    rows_apart,
    thread_count,
)
from graphengine.backends.numba.team_words import CALL, INSIDE
from graphengine.backends.numba.teams import MEMBER_AND_TEAM, Team, team_of
from graphengine.backends.numpy.plan import Plan
from graphengine.backends.one_thread import one_blas_thread
from graphengine.ops.shapes import ArrayType

pytestmark = [pytest.mark.extra("numba"), pytest.mark.usefixtures("cache_folder")]
CASES = {
    **NORMALIZED,
    "few rows": ("layer_norm", {"x": (3, 200), "scale": (200,), "bias": (200,)}),
    "rows in the middle": ("batch_norm", {"x": (4, 7, 33), **dict.fromkeys(["scale", "bias", "mean", "var"], (7,))}),
}


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


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.setattr(row_parts, "thread_count", lambda: 2)


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
    assert all(each == found[0] for each in found)
    assert_close(plan.run(values), Plan(graph).run(values), values)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("op", "shapes"), CASES.values(), ids=CASES)
def test_bits_do_not_depend_on_who_computes_which_part(op, shapes, dtype, small_parts, two_threads, monkeypatch):
    monkeypatch.setattr(row_parts, "team_of", lambda helpers: Team(0))
    monkeypatch.setattr(row_loops, "compiled", interpreted)
    graph, values = gradient_of(op, shapes, dtype)
    found = []
    for most in (0, 1, 10**6):
        helper = Helper(most)
        for name in ("offer_call", "claimed"):
            monkeypatch.setitem(FUNCTIONS, name, getattr(helper, name))
        plan, _ = shared(graph)
        found.append(bits_of(plan.run(values)))
        assert bool(helper.parts) == bool(most)
    assert all(each == found[0] for each in found)


class Helper:
    """Computes some parts of a call that is offered, before the caller computes any; the text is run by Python."""

    def __init__(self, most):
        self.most, self.parts, self.is_working = most, [], False

    def offer_call(self, member, team):
        offer_call(member, team)
        if member == 0:
            caller = sys._getframe(1)
            names = caller.f_code.co_varnames[2 : caller.f_code.co_argcount]
            self.is_working, self.left = True, self.most
            caller.f_globals["loop"](1, team, *(caller.f_locals[name] for name in names))
            self.is_working = False

    def claimed(self, member, team, count):
        if not self.is_working:
            return claimed(member, team, count)
        self.left -= 1
        if self.left < 0:
            return count
        self.parts.append(claimed(member, team, count))
        return self.parts[-1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("op", "shapes"), [CASES["rows"], CASES["rows in the middle"]], ids=["rows", "channels"])
def test_machine_code_of_parts_has_the_bits_of_the_text(op, shapes, dtype, small_parts, monkeypatch):
    graph, values = gradient_of(op, shapes, dtype)
    found, _ = fused(graph, values)
    monkeypatch.setattr(row_parts, "thread_count", lambda: 1)
    monkeypatch.setattr(row_loops, "compiled", interpreted)
    text, _ = fused(graph, values)
    assert bits_of(found) == bits_of(text)


@pytest.mark.skipif(os.cpu_count() == 1, reason="a helper needs a processor")
def test_a_helper_computes_parts_in_memory_of_its_own(two_threads, monkeypatch):
    """Until one has been in time: its row of scratch memory has numbers then."""
    graph, values = gradient_of("layer_norm", {"x": (4096, 256), "scale": (256,), "bias": (256,)}, "float64")
    plan, _ = shared(graph)
    with monkeypatch.context() as context:
        context.setattr(row_parts, "thread_count", lambda: 1)
        expected = bits_of(plan.run(values))
    given, own = [], SharedLoop._own

    def marked(loop, operands, count):
        found = own(loop, operands, count)
        given[:] = [found[place] for place in loop._scratch]
        for each in given:
            each[rows_apart(each[0].nbytes)] = np.nan
        return found

    monkeypatch.setattr(SharedLoop, "_own", marked)
    for _ in range(10_000):
        assert bits_of(plan.run(values)) == expected
        if not np.isnan([each[rows_apart(each[0].nbytes)] for each in given]).any():
            return
    raise AssertionError("no helper took part in any call")


DIVIDE = """def loop(member, team, x, z):
    offer_call(member, team)
    z[member] = x[0] / x[1]
    while member == 0 and z[1] == 0.0:
        yield_processor(team)
    withdraw_call(member, team)
"""
UPWARD = 0x400000 if platform.machine() in {"aarch64", "arm64"} else 0x800


@pytest.mark.skipif(sys.platform == "win32", reason="the constant is another one")
def test_a_helper_rounds_as_its_caller_does():
    vector = ArrayType((2,), np.dtype(np.float64))
    loop = compiled(DIVIDE, "loop", [*MEMBER_AND_TEAM, (vector, True), (vector, False)], {}, is_shared=True)
    team, x, z = Team(1), np.array([1.0, 3.0]), np.zeros(2)
    x.flags.writeable = False

    def called():
        assert ctypes.CDLL(None).fesetround(UPWARD) == 0  # in this thread, which ends with the pool
        loop(0, team.words, x, z)

    team.wake()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(called)
        while not call.done():
            team.wake()
    call.result()
    assert z[0] == z[1] == np.nextafter(1 / 3, 1)


def test_memory_of_results_is_used_again_though_threads_had_it(small_parts, two_threads):
    graph, values = gradient_of(*NORMALIZED["rows"], "float64")
    plan, _ = shared(graph)
    first = {name: value.ctypes.data for name, value in plan.run(values).items()}
    for _ in range(20):
        assert {name: value.ctypes.data for name, value in plan.run(values).items()} == first


class Unstartable:
    """In place of a thread, when the process ends or may have no more of them."""

    def __init__(self, **_):
        pass

    def start(self):
        raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("why", ["no thread starts", "the team has another call"])
def test_where_nobody_helps_one_computes_all_parts(why, small_parts, two_threads, monkeypatch):
    graph, values = gradient_of(*NORMALIZED["rows"], "float64")
    plan, _ = shared(graph)
    expected = bits_of(plan.run(values))
    monkeypatch.setattr(teams, "Thread", Unstartable)
    team = Team(1)
    monkeypatch.setattr(row_parts, "team_of", lambda helpers: team)
    if why == "the team has another call":
        team.is_free.acquire()
    assert bits_of(plan.run(values)) == expected
    assert team.is_free.locked() == (why == "the team has another call")


def test_operands_in_another_order_of_memory_are_copied_and_the_team_is_free_again(small_parts, monkeypatch):
    monkeypatch.setattr(row_parts, "thread_count", lambda: 3)
    graph, values = gradient_of(*NORMALIZED["rows"], "float64")
    plan, _ = shared(graph)
    expected = bits_of(plan.run(values))
    assert bits_of(plan.run({name: np.asfortranarray(value) for name, value in values.items()})) == expected
    team = team_of(2)
    assert not team.is_free.locked()
    assert team.words[CALL] == team.words[INSIDE] == 0


def test_several_threads_may_call_at_once(small_parts, two_threads):
    graph, values = gradient_of(*NORMALIZED["rows"], "float64")
    plans = [shared(graph)[0] for _ in range(4)]
    expected = bits_of(plans[0].run(values))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda plan: [bits_of(plan.run(values)) for _ in range(50)], plans))
    assert all(each == expected for results in found for each in results)


def test_callers_that_are_the_first_at_once_have_one_team(monkeypatch):
    both = Barrier(2, timeout=60)

    class Slow(Team):
        def __init__(self, helpers):
            both.wait()
            super().__init__(helpers)

    monkeypatch.setattr(teams, "TEAMS", {})
    monkeypatch.setattr(teams, "Team", Slow)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(team_of, [1, 1])
    assert one is other


def test_an_interrupted_call_leaves_the_team_free(small_parts, two_threads):
    """An interrupt is raised where a function in C returns: here the first one after the call has the team."""
    graph, values = gradient_of(*NORMALIZED["rows"], "float64")
    plan, _ = shared(graph)
    expected, team = bits_of(plan.run(values)), team_of(1)

    def interrupted(frame, event, function):
        if event == "c_return" and team.is_free.locked():
            raise KeyboardInterrupt

    before = sys.getprofile()
    sys.setprofile(interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            plan.run(values)
    finally:
        sys.setprofile(before)
    assert not team.is_free.locked()
    assert bits_of(plan.run(values)) == expected


def test_an_interrupt_waits_until_a_loop_is_compiled(monkeypatch):
    """Raised in one of numba's callbacks it is lost, and the process crashes."""
    from numba.core.dispatcher import Dispatcher

    found, compiling = [], Dispatcher.compile

    def interrupted(loop, signature):
        signal.raise_signal(signal.SIGINT)
        found.append(compiling(loop, signature))

    monkeypatch.setattr(Dispatcher, "compile", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        compiled("def loop(x):\n    return x\n", "loop", [(ArrayType((), np.dtype(np.float64)), False)], {})
    assert found
    assert signal.getsignal(signal.SIGINT) is handler


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


def forked(work):
    """The exit code of a forked process that does some work."""
    child = os.fork()
    if not child:
        try:
            os._exit(work())
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*fork.*:RuntimeWarning")  # of jax, where another test has imported it
def test_a_forked_process_has_threads_of_its_own(small_parts, two_threads):
    assert pool.threads(2).submit(sum, [1, 2]).result() == 3
    assert forked(lambda: pool.threads(2).submit(sum, [40, 2]).result(timeout=30)) == 42
    graph, values = gradient_of(*NORMALIZED["rows"], "float64")
    plan, _ = shared(graph)
    expected, team = bits_of(plan.run(values)), team_of(1)
    with team.is_free:  # as if another thread called when the process was forked
        assert forked(lambda: 42 * (bits_of(plan.run(values)) == expected and team_of(1) is not team)) == 42
