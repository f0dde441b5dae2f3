"""The garbage collector is paused while something large is built, and is as it was afterwards, whatever happens."""

import gc

import pytest
from documents import document

import graphengine as ge
from graphengine import gc_pause


@pytest.fixture(autouse=True)
def _collector_runs():
    gc.unfreeze()
    gc.enable()
    yield
    gc.unfreeze()
    gc.enable()


def test_it_is_off_inside_and_on_again_after_an_error():
    def fail():
        assert not gc.isenabled()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        gc_pause.paused()(fail)()
    assert gc.isenabled()


def test_who_switched_it_off_finds_it_off():
    gc.disable()
    with gc_pause.paused(), gc_pause.paused():
        pass
    assert not gc.isenabled()


def test_many_new_objects_are_called_old_and_stay_collectable():
    gc.collect()
    with gc_pause.paused():
        kept = [[] for _ in range(2 * gc_pause.MANY)]
        circle: list[object] = []
        circle.append(circle)
    assert gc.get_count()[0] < gc_pause.MANY
    assert gc.get_freeze_count() == 0  # where Python had frozen objects of its own, the next collection does so again
    del circle
    assert gc.collect() == 1
    assert gc.get_freeze_count() == gc_pause.FROZEN_BY_PYTHON
    assert len(kept) == 2 * gc_pause.MANY


def test_what_a_caller_has_frozen_stays_frozen():
    gc.freeze()
    frozen = gc.get_freeze_count()
    with gc_pause.paused():
        kept = [[] for _ in range(2 * gc_pause.MANY)]
    assert gc.get_freeze_count() == frozen
    assert kept


def test_loading_leaves_no_circles_of_nodes():
    nodes = {f"n{index:04}": ("neg", [f"n{index - 1:04}" if index else "x"]) for index in range(1000)}
    content = document(nodes, inputs={"x": []})
    gc.collect()
    gc.disable()
    ge.Model.from_dict(content)
    assert gc.collect() < 100
