"""The trace of a loop: its first and last step with their numbers, in reports and on pages."""

import json

import numpy as np
import pytest
from documents import document
from typer.testing import CliRunner

import graphengine as ge
from graphengine.cli.app import app
from graphengine.page.film import film_of, steps_of, texts_of
from graphengine.traces.flow import explain_gradient
from graphengine.traces.report import markdown_report, text_report
from graphengine.traces.trace import trace_graph

YEAR = {
    "inputs": {"balance": {}, "paid": {}, "rate": {}},
    "nodes": [
        {"id": "interest", "op": "mul", "inputs": ["balance", "rate"]},
        {"id": "grown", "op": "add", "inputs": ["balance", "interest"]},
        {"id": "new", "op": "add", "inputs": ["grown", "paid"]},
    ],
    "outputs": {"balance": "new", "each": "new"},
}
PAID = np.array([100.0, 70, 30, 50])
RATE = 0.02


def savings(**attributes):
    run = {"function": "year", "carry": ["balance"], "sequences": ["paid"], **attributes}
    nodes = {
        "years": ("scan", {"balance": 10.0, "paid": "paid", "rate": "rate"}, run),
        "mean": ("mean", ["years:each"]),
        "loss": ("add", ["mean", "years"]),
    }
    parameters = {"rate": RATE}
    content = document(nodes, {"loss": "loss"}, inputs={"paid": ["T"]}, parameters=parameters, functions={"year": YEAR})
    return ge.Model.from_dict(content)


def traced(model, paid=PAID):
    return trace_graph(model.graph, {"paid": paid, "rate": RATE}, "loss", ["rate", "paid"])


def by_hand(paid):
    """Balances before each step, and the gradient of the loss with respect to the balance after each step."""
    before, after = [10.0], []
    for each in paid:
        before.append(before[-1] * (1 + RATE) + each)
    for step in reversed(range(len(paid))):
        later = after[0] * (1 + RATE) if after else 1.0
        after.insert(0, later + (1 / len(paid) if step < len(paid) else 0))
    return before, after


@pytest.mark.parametrize("reverse", [False, True])
def test_the_first_and_the_last_step_have_the_values_and_gradients_of_the_unrolled_loop(reverse):
    (loop,) = traced(savings(reverse=reverse)).loops
    paid = PAID[::-1] if reverse else PAID
    before, after = by_hand(paid)
    assert (loop.node, loop.function, loop.steps) == ("years", "year", 4)
    assert [number for number, _ in loop.opened] == [1, 4]
    for number, step in loop.opened:
        given = {each.name: each.value.numbers for each in step.given}
        assert given == pytest.approx({"balance": before[number - 1], "paid": paid[number - 1], "rate": RATE})
        assert step.values["new"].numbers == pytest.approx(before[number])
        gradients = {each.value: each.total.numbers for each in step.gradients}
        assert gradients["new"] == pytest.approx(after[number - 1])
        assert gradients["balance"] == pytest.approx(after[number - 1] * (1 + RATE))
        assert gradients["rate"] == pytest.approx(after[number - 1] * before[number - 1])
        assert step.of == "loss"
        assert {walk.node for walk in step.backward} == {"interest", "grown", "new"}


@pytest.mark.parametrize(("count", "opened"), [(0, []), (1, [1]), (2, [1, 2]), (3, [1, 3])])
def test_a_loop_of_few_steps_has_no_more_than_these(count, opened):
    (loop,) = (
        traced(savings(), np.ones(count)).loops
        if count
        else trace_graph(savings().graph, {"paid": np.ones(0), "rate": RATE}).loops
    )
    assert (loop.steps, [number for number, _ in loop.opened]) == (count, opened)


def test_a_report_opens_the_first_and_the_last_step_and_folds_the_others():
    found = traced(savings())
    text, page = text_report(found), markdown_report(found)
    assert "years, step 1 of 4, forward:\n  interest = balance * rate = 10 * 0.02 = 0.2\n" in text
    assert "years, steps 2 to 3 of 4:\n  year: folded.\n" in text
    assert "## Years, step 4 of 4, backward, from loss" in page
    folded = text_report(traced(savings(), PAID[:3]))
    assert "years, step 2 of 3:\n" in folded


def test_steps_of_a_loop_within_a_loop_are_traced_as_well():
    outer = {
        "inputs": {"balance": {}, "paid": {}, "rate": {}},
        "nodes": [
            {
                "id": "months",
                "op": "scan",
                "inputs": ["balance", "paid", "rate"],
                "attributes": {"function": "year", "carry": ["balance"], "length": 3},
            }
        ],
        "outputs": {"balance": "months"},
    }
    inner = {**YEAR, "outputs": {"balance": "new"}}
    run = {"function": "outer", "carry": ["balance"], "sequences": ["paid"]}
    nodes = {"loss": ("scan", {"balance": 10.0, "paid": "paid", "rate": "rate"}, run)}
    functions = {"year": inner, "outer": outer}
    content = document(nodes, {"loss": "loss"}, inputs={"paid": ["T"]}, parameters={"rate": RATE}, functions=functions)
    (loop,) = traced(ge.Model.from_dict(content)).loops
    (first,) = loop.opened[0][1].loops
    paid = np.repeat(PAID, 3)
    before, _ = by_hand(paid)
    assert (first.node, first.steps) == ("months", 3)
    last = first.opened[-1][1]
    assert last.values["new"].numbers == pytest.approx(before[3])
    (total,) = [each.total.numbers for each in last.gradients if each.value == "new"]
    assert total == pytest.approx((1 + RATE) ** 9)  # nine steps follow


def test_the_command_gives_the_steps_to_machines_too(tmp_path):
    path = tmp_path / "savings.json"
    savings().save(path)
    result = CliRunner().invoke(app, ["trace", str(path), "--input", "paid=[1,2,3]", "--format", "json"])
    (loop,) = json.loads(result.stdout)["loops"]
    assert [number for number, _ in loop["opened"]] == [1, 3]
    assert loop["opened"][1][1]["forward"][0]["node"] == "interest"


def test_a_page_plays_the_steps_of_a_loop_before_its_results():
    model = savings()
    film = film_of(model, {"paid": PAID})
    steps, texts = steps_of(film.frames[0].trace), texts_of(film.frames[0].trace)
    assert len(steps) == len(texts)
    of_loop = [text for step, text in zip(steps, texts, strict=True) if step == ("forward", "years")]
    assert [text.split("\n")[0] for text in of_loop[:2]] == ["years: step 1 of 4", "2 steps are folded"]
    assert "new = grown + paid = 10.2 + 100 = 110.2" in of_loop[0]
    assert of_loop[2].startswith("years, years:each = scan(")


def test_a_gradient_is_explained_through_a_loop():
    (flow,) = explain_gradient(savings().graph, "loss", "rate")
    assert flow.paths == (("rate", "years", "loss"), ("rate", "years:each", "mean", "loss"))
    flat = {**YEAR, "nodes": [{"id": "whole", "op": "floor", "inputs": ["rate"]}, *YEAR["nodes"][1:]]}
    flat["nodes"][1] = {"id": "grown", "op": "add", "inputs": ["balance", "whole"]}
    run = {"function": "year", "carry": ["balance"], "sequences": ["paid"]}
    nodes = {"loss": ("scan", {"balance": 10.0, "paid": "paid", "rate": "rate"}, run)}
    content = document(
        nodes, {"loss": "loss"}, inputs={"paid": ["T"]}, parameters={"rate": RATE}, functions={"year": flat}
    )
    (flow,) = explain_gradient(ge.Model.from_dict(content).graph, "loss", "rate")
    (block,) = flow.blocks
    assert (flow.count, block.node) == (0, "loss")
    assert block.reason == "in its function 'year', node 'whole' (floor): its derivative is 0 everywhere"


def test_a_gradient_is_explained_through_the_functions_of_a_choice():
    def half(op):
        return {"inputs": {"x": {}, "y": {}}, "nodes": [{"id": "z", "op": op, "inputs": ["x"]}], "outputs": {"z": "z"}}

    nodes = {"p": ("greater", ["y", 0]), "loss": ("cond", ["p", "x", "y"], {"then": "root", "otherwise": "whole"})}
    functions = {"root": half("sqrt"), "whole": half("floor")}
    content = document(nodes, {"loss": "loss"}, parameters={"x": 4.0, "y": 1.0}, functions=functions)
    x, y = explain_gradient(ge.Model.from_dict(content).graph, "loss", ["x", "y"])
    assert x.paths == (("x", "loss"),)
    assert y.count == 0
