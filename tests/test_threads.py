"""Threads that use something for the first time at once."""

import subprocess
import sys
import threading
import time

from graphengine import hooks
from graphengine.format import kinds

SLOW = """
import time
from typing import Literal

from graphengine.format.kinds import _TABLES, Kind

time.sleep(0.3)


class Slow(Kind):
    type: Literal["slow"]

    def value(self):
        return 1


_TABLES["a slow thing"].register(Slow)
"""


LOADING = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import graphengine as ge

sys.setswitchinterval(1e-6)
names = ["mlp_digits", "linreg", "cnn_digits", "sir", "linreg", "logistic_iris", "mlp_digits", "lstm_sums"]
together = Barrier(len(names))


def fingerprint(name):
    together.wait()
    return ge.load(name).fingerprint


with ThreadPoolExecutor(len(names)) as pool:
    found = list(pool.map(fingerprint, names))
assert found == [ge.load(name).fingerprint for name in names]
"""


def test_threads_load_the_first_models_of_a_process():
    ended = subprocess.run([sys.executable, "-c", LOADING], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_a_class_is_there_while_another_thread_imports_its_module(tmp_path, monkeypatch):
    (tmp_path / "slow_kinds.py").write_text(SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(kinds, "_TABLES", {})
    monkeypatch.setitem(hooks.shipped_kinds, "a slow thing", ("slow_kinds", "slow"))
    table = kinds.Kinds("a slow thing", "value")
    importing = threading.Thread(target=lambda: table["slow"])
    importing.start()
    while "slow_kinds" not in sys.modules:
        time.sleep(0.001)
    assert "slow" in table
    assert "fast" not in table
    importing.join()
    table.remove("slow")
    assert "slow" not in table
    monkeypatch.delitem(sys.modules, "slow_kinds")
