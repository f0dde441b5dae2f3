"""The page "The life of a training step" against the calls of the real command, and how long the way is."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest
from walking import calls_of

import graphengine as ge
from graphengine.backends.numpy.source import PlanText

PAGE = (Path(__file__).parents[1] / "docs" / "life_of_a_step.md").read_text(encoding="utf-8")
NAMED = re.findall(r"^\| `([\w.]+)` \|", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def calls():
    return calls_of("run", "models/linreg.json")


def test_the_functions_of_the_page_are_called_in_its_order(calls):
    assert len(NAMED) > 40
    calls, position = [name.replace(":", ".") for name in calls], -1
    for name in NAMED:
        assert name in calls[position + 1 :], f"{name} is not called after {calls[position]}"
        position = calls.index(name, position + 1)


def test_the_page_visits_each_room_that_takes_part(calls):
    visited = Counter(name.partition(".")[0].partition(":")[0] for name in calls)
    assert {name.partition(".")[0] for name in NAMED} == {room for room, count in visited.items() if count > 20}


def test_the_loop_of_the_page_is_the_one_that_runs(monkeypatch):
    texts, compiled = [], PlanText.compile

    def keep(self, text, name):
        texts.append(text)
        return compiled(self, text, name)

    monkeypatch.setattr(PlanText, "compile", keep)
    ge.load("linreg").train()
    (shown,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (ran,) = texts
    assert ast.dump(ast.parse(ran)) == ast.dump(ast.parse(shown))  # the page is formatted
    assert "s3 = s17" in shown


def test_a_run_of_the_smallest_model_is_a_short_walk(calls):
    """The bounds only get smaller: the aim is 55 files."""
    files = {name.partition(":")[0] for name in calls}
    assert len(files) <= 63
    assert len(calls) <= 3000
