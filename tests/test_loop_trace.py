"""The trace of a loop: its first and last step with their numbers, in reports and on pages."""

import json

import numpy as np
import pytest
from browsing import until
from documents import document
from typer.testing import CliRunner

import graphengine as ge
from graphengine.cli.app import app
from graphengine.page.film import MAX_LOOP_STEPS, film_of, steps_of, texts_of
from graphengine.page.pages import page_of
from graphengine.traces.flow import explain_gradient
from graphengine.traces.report import markdown_report, text_report
from graphengine.traces.trace import trace_graph
from graphengine.traces.unrolling import Opened

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


def traced(model, paid=PAID, **options):
    return trace_graph(model.graph, {"paid": paid, "rate": RATE}, "loss", ["rate", "paid"], **options)


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
    assert (loop.node, loop.function, loop.steps) == ("years", "year", 4)
    assert [number for number, _ in loop.opened] == [1, 4]
    check_by_hand(loop, PAID[::-1] if reverse else PAID)


@pytest.mark.parametrize(("most", "numbers"), [(0, []), (1, [1]), (3, [1, 2, 6]), (4, [1, 2, 5, 6]), (9, range(1, 7))])
@pytest.mark.parametrize("reverse", [False, True])
def test_as_many_steps_as_wanted_have_the_values_and_gradients_of_the_unrolled_loop(most, numbers, reverse):
    paid = np.array([*PAID, 20, 90])
    (loop,) = traced(savings(reverse=reverse), paid, opened=Opened(most)).loops
    assert [number for number, _ in loop.opened] == [*numbers]
    check_by_hand(loop, paid[::-1] if reverse else paid)


def check_by_hand(loop, paid):
    before, after = by_hand(paid)
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
    assert first.opened[0][1].of == last.of == "loss"
    (total,) = [each.total.numbers for each in last.gradients if each.value == "new"]
    assert total == pytest.approx((1 + RATE) ** 9)  # nine steps follow


def test_gradients_within_a_step_are_those_of_the_loss():
    """Of a product of matrices a rule is shown, which names the gradient that arrives."""
    body = {
        "inputs": {"h": {}, "w": {}},
        "nodes": [{"id": "new", "op": "matmul", "inputs": ["h", "w"]}],
        "outputs": {"h": "new"},
    }
    nodes = {
        "loop": ("scan", ["h", "w"], {"function": "step", "carry": ["h"], "length": 3}),
        "loss": ("sum", ["loop"]),
    }
    content = document(nodes, {"loss": "loss"}, inputs={"h": [2], "w": [2, 2]}, functions={"step": body})
    values = {"h": np.ones(2), "w": np.eye(2)}
    report = text_report(trace_graph(ge.Model.from_dict(content).graph, values, "loss", ["w"]))
    assert "d_loss/d_w (from new) = outer(h, d_loss/d_new)" in report
    assert "weighted" not in report


def test_the_command_gives_the_steps_to_machines_too(tmp_path):
    path = tmp_path / "savings.json"
    savings().save(path)
    result = CliRunner().invoke(app, ["trace", str(path), "--input", "paid=[1,2,3]", "--format", "json"])
    (loop,) = json.loads(result.stdout)["loops"]
    assert [number for number, _ in loop["opened"]] == [1, 3]
    assert loop["opened"][1][1]["forward"][0]["node"] == "interest"


def played(paid):
    """The texts of the steps at the loop on a page, forward and backward."""
    film = film_of(savings(), {"paid": paid})
    steps, texts = steps_of(film.frames[0].trace), texts_of(film.frames[0].trace)
    found = [(step, text) for step, text in zip(steps, texts, strict=True) if step.at == "years"]
    return tuple([text for step, text in found if step.phase == phase] for phase in ("forward", "backward"))


def test_a_page_plays_all_steps_of_a_loop_before_its_results_and_back():
    forward, backward = played(PAID)
    assert [text.split("\n")[0] for text in forward[:-1]] == [f"years: step {number} of 4" for number in (1, 2, 3, 4)]
    assert [text.split("\n")[0] for text in backward[:-1]] == [f"years: step {number} of 4" for number in (4, 3, 2, 1)]
    assert "new = grown + paid = 10.2 + 100 = 110.2" in forward[0]
    assert "new = grown + paid = 112.404 + 70 = 182.404" in forward[1]
    assert forward[-1].startswith("years, years:each = scan(")
    assert backward[0].split("\n")[1] == "new: d_loss/d_new = 1.25"
    assert "d_loss/d_new = 1.525" in backward[1]  # 1.25 * 1.02 + 0.25


def test_a_page_folds_the_middle_of_a_long_loop():
    forward, backward = played(np.ones(MAX_LOOP_STEPS + 16))
    for texts, first in ((forward, 29), (backward, 12)):
        assert len(texts) == MAX_LOOP_STEPS + 1
        folded = [text.split("\n")[:2] for text in texts if "folded" in text]
        assert folded == [["16 steps are folded", f"years: step {first} of 40"]]


def said(page):
    return page.locator("#say p").all_inner_texts()


def test_a_page_plays_folds_and_chooses_the_steps_of_a_loop(opened):
    page = opened(page_of(savings(), {"paid": PAID}))
    assert said(page)[0] == "years: step 1 of 4"
    page.keyboard.press("ArrowRight")
    assert said(page)[0] == "years: step 2 of 4"
    assert page.locator("#turn").input_value() == "1"
    assert page.locator("#turn").get_attribute("aria-valuetext") == "years, 2 of 4"
    page.locator("#loops").click()
    assert page.locator("#loops").inner_text() == "unfold the loop"
    assert said(page)[:2] == ["2 steps are folded", "years: step 4 of 4"]
    page.keyboard.press("ArrowLeft")
    assert said(page)[0] == "years: step 1 of 4"
    page.keyboard.press("l")
    page.keyboard.press("ArrowRight")
    assert said(page)[0] == "years: step 2 of 4"
    page.locator("#turn").evaluate("(e) => {e.value = 2; e.dispatchEvent(new Event('input'))}")
    assert said(page)[0] == "years: step 3 of 4"
    page.locator("#play").click()
    until(page, lambda: said(page)[0] != "years: step 3 of 4")
    page.keyboard.press("End")
    seen = []
    while page.locator("#phase").inner_text() == "backward":
        seen.append(said(page)[:2])
        page.keyboard.press("ArrowLeft")
    back = [each for each in seen if each[0].startswith("years: step")]
    assert [first for first, _ in back] == [f"years: step {number} of 4" for number in (1, 2, 3, 4)]
    assert back[-1][1] == "new: d_loss/d_new = 1.25"


def test_a_page_without_a_loop_has_no_control_of_loops(opened):
    page = opened(page_of(ge.load("linreg_single_sample")))
    assert not page.locator("#loop").is_visible()


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
