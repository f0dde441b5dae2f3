import gc
import os
import signal

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a worker for each core is enough: more threads wait for each other

import pytest
from browsing import browser, opened  # noqa: F401 (fixtures)
from hypothesis import HealthCheck, settings
from selection import marks, missing

from graphengine import plugins
from graphengine.format.kinds import INITIALIZERS, READERS, SCHEDULES, SOLVERS
from graphengine.ops.registry import OPS

gc.disable()  # until all tests are collected: they make no garbage, and to look for it takes a quarter of the time

# the same examples in each run, however busy the machine is; --hypothesis-profile=default draws others
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fewer", settings.get_profile("steady"), max_examples=20)  # where others run all of them
settings.load_profile("steady")

KINDS = (READERS, INITIALIZERS, SCHEDULES, SOLVERS)
for each in (OPS, *KINDS):
    len(each)  # registers what is shipped: it would look like an entry of the test that is the first to ask for it

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts something in the background ignores it
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it, and so would each process that a test starts


@pytest.fixture
def cache_folder(monkeypatch, tmp_path_factory):
    """The user's cache folder is one of the tests: they share the machine code that they compile."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(folder))
    return folder


def pytest_collection_finish():
    gc.enable()


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
def _same_tables_after_a_test():
    """A test may register ops and kinds, and load plugins; the next test finds the tables as they were."""
    kinds = [dict(table._classes) for table in KINDS]  # read as a mapping, a table looks up each name: 0.8 ms a test
    ops, loaded = dict(OPS._ops), dict(plugins.LOADED)
    yield
    for table, classes in zip(KINDS, kinds, strict=True):
        restore(table, table._classes, classes, lambda name, cls, table=table: table.register(cls, replace=True))
    restore(OPS, OPS._ops, ops, lambda name, op: OPS.enter(name, op.cls, replace=True, numpy=op.numpy))
    plugins.LOADED.clear()
    plugins.LOADED.update(loaded)


def restore(table, present, entries, enter):
    """Give a table the entries that it had, each in its old place, and no others."""
    if present == entries:
        return
    for name in table.keys() - entries.keys():
        table.remove(name)
    for name, entry in entries.items():
        if table.get(name) is not entry:
            enter(name, entry)
