import os
import signal

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a worker for each core is enough: more threads wait for each other

import pytest
from browsing import browser, opened  # noqa: F401 (fixtures)
from hypothesis import HealthCheck, settings
from selection import marks, missing

import graphengine.ops.families  # noqa: F401 (registers the ops)
from graphengine import plugins
from graphengine.format.kinds import INITIALIZERS, READERS, SCHEDULES, SOLVERS
from graphengine.ops.registry import OPS

# the same examples in each run, however busy the machine is; --hypothesis-profile=default draws others
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts something in the background ignores it
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it, and so would each process that a test starts


def pytest_collection_modifyitems(items):
    by_module = {}
    for item in items:
        if item.path not in by_module:
            by_module[item.path] = [getattr(pytest.mark, name) for name in marks(item.path)]
        for mark in by_module[item.path]:
            item.add_marker(mark)


def pytest_runtest_setup(item):
    for mark in item.iter_markers("extra"):
        if absent := missing(mark.args):
            pytest.skip(f"{', '.join(absent)} is not installed")


@pytest.fixture(autouse=True)
def _same_kinds_after_a_test():
    """A test may register readers, initializers, schedules and solvers; the next test does not find them."""
    before = {kinds: dict(kinds) for kinds in (READERS, INITIALIZERS, SCHEDULES, SOLVERS)}
    yield
    for kinds, classes in before.items():
        for name in [name for name in kinds if kinds[name] is not classes.get(name)]:
            if name in classes:
                kinds.register(classes[name], replace=True)  # in its old place
            else:
                kinds.remove(name)


@pytest.fixture(autouse=True)
def _same_plugins_after_a_test():
    """A test may load plugins; workers of the next test do not look for them."""
    before = dict(plugins.LOADED)
    yield
    plugins.LOADED.clear()
    plugins.LOADED.update(before)


@pytest.fixture(autouse=True)
def _same_ops_after_a_test():
    """A test may register and replace ops; the next test finds the table as it was."""
    before = dict(OPS)
    yield
    for name in set(OPS) - set(before):
        OPS.remove(name)
    for name, op in before.items():
        if OPS.get(name) is not op:
            OPS.enter(name, op.cls, replace=True, numpy=op.numpy)
