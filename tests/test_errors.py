"""What is said of an error: its code explained, its place in the file shown, the node and the numbers that failed."""

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from documents import document, linreg, node, parameter, training
from rich.cells import cell_len
from typer.testing import CliRunner

import graphengine as ge
from graphengine.cli import app
from graphengine.cli.excerpts import excerpt
from graphengine.errors import CODES, DivergenceError, ExecutionError, GraphEngineError, Problem, did_you_mean
from graphengine.explanations import EXPLANATIONS, explained
from graphengine.format.reading import parse_model
from graphengine.limits import Limits
from graphengine.ops.registry import OPS


def cli(*arguments, code=0):
    result = CliRunner().invoke(app.app, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


# ---------------------------------------------------------------- codes


def test_every_code_is_explained_in_the_order_of_the_codes():
    assert list(EXPLANATIONS) == list(CODES)
    assert all(each.cause.endswith(".") and each.remedy.endswith(".") for each in EXPLANATIONS.values())


EXAMPLES = {code: each.example for code, each in EXPLANATIONS.items() if each.example.startswith(("{", "[", "\ufeff"))}


@pytest.mark.parametrize("code", EXAMPLES)
def test_an_example_in_json_has_the_error_it_is_an_example_of(code, tmp_path):
    (tmp_path / "d.csv").write_text("x\n1\n")
    text = whole(EXAMPLES[code]).encode()
    with pytest.raises(GraphEngineError) as caught:
        ge.Model(*parse_model(text, "m.json"), tmp_path / "m.json").load_data()
    assert code in {problem.code for problem in caught.value.problems}


def test_explanations_name_ops_that_there_are():
    named = re.findall(r"\bop `([^`]+)`(?: or `([^`]+)`)?", " ".join(str(each) for each in EXPLANATIONS.values()))
    names = {name for pair in named for name in pair if name}
    assert names >= {"mean", "sum", "gather"}
    assert names <= set(OPS)


def test_the_example_of_a_node_that_fails_fails():
    gather = document({"z": ("gather", ["x", 5], {"axis": 0})}, {"z": "z"}, inputs={"x": [2]})
    with pytest.raises(ExecutionError, match=r"GE410: node 'z' \(gather\): IndexError: index 5 is out of bounds"):
        ge.Model.from_dict(gather).forward(x=[1.0, 2.0])


def test_the_example_of_a_file_that_is_too_large_says_how_large_it_may_be(monkeypatch):
    assert "Limits(file_bytes=100)" in EXPLANATIONS["GE103"].example
    monkeypatch.chdir(Path(__file__).parents[1])
    with pytest.raises(GraphEngineError, match=r"GE103: the file is larger than 100 bytes"):
        ge.load("models/linreg.json", limits=Limits(file_bytes=100))


WHOLE = document({"z": ("neg", ["x"])}, {"z": "z"}, inputs={"x": ["N"]})


def whole(example):
    """The model file of which an example is a part; a text that cannot be a part of one stands alone."""
    try:
        part = json.loads(example, object_pairs_hook=once)
        return json.dumps({**WHOLE, **part}, allow_nan=False)
    except (ValueError, TypeError):
        return example


def once(pairs):
    """An object without double keys."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError
    return dict(pairs)


def test_explain_prints_cause_remedy_and_example():
    lines = cli("explain", "ge122").stdout.splitlines()
    assert lines[0] == "GE122: duplicate key in an object"
    assert '  {"name": "a", "name": "b"}' in lines
    assert json.loads(cli("explain", "GE122", "--format", "json").stdout) == {**explained("GE122"), "warnings": []}
    assert [each["code"] for each in json.loads(cli("explain", "--format", "json").stdout)["codes"]] == list(CODES)
    assert cli("explain").stdout.count("GE") == len(CODES)


def test_explain_of_no_code_names_the_nearest():
    assert "did you mean 'GE210'?" in cli("explain", "GE2100", code=2).stderr


# ---------------------------------------------------------------- the place in the file


def excerpt_of(tmp_path, line, column):
    (tmp_path / "m.json").write_text(f"first\n{line}\nlast", encoding="utf-8")
    return excerpt(Problem("GE112", "", file=str(tmp_path / "m.json"), line=2, column=column))


@pytest.mark.parametrize(
    ("line", "column", "below"),
    [
        ('"a": "bc",', 6, '"bc"'),
        ('"a": 12.5,', 6, "12.5"),
        ('"a": [1, 2]', 6, "["),
        ('{"a" 1}', 6, "1"),
        ("[1", 3, " "),
        ('"é漢": "x"', 7, '"x"'),
    ],
)
def test_carets_stand_below_what_is_wrong(tmp_path, line, column, below):
    text, carets = excerpt_of(tmp_path, line, column)
    assert text.startswith("  2 | ")
    start = carets.index("^")
    assert cell_len(text[: text.index(line[column - 1 :]) if below.strip() else len(text)]) == start
    assert carets.count("^") == cell_len(below)


@pytest.mark.parametrize(
    ("text", "pointer", "shown"),
    [
        ('"nodez":\n  []', "/nodez", '"nodez":'),
        ('"inputs": {"a b":\n  {"shape": []}}', "/inputs/a b", '"a b":'),
        ('"opset_imports": {"core":\n 99}', "/opset_imports/core", "99}"),
    ],
)
def test_of_a_wrong_key_the_line_of_the_key_is_reported_and_shown(tmp_path, text, pointer, shown):
    content = document({"z": ("neg", [1.0])})
    content.pop(pointer.split("/")[1], None)
    path = tmp_path / "m.json"
    path.write_text(json.dumps(content).replace("{", f"{{{text},\n", 1))
    with pytest.raises(GraphEngineError) as caught:
        ge.load(path)
    (problem,) = [each for each in caught.value.problems if each.pointer == pointer]
    line, below = excerpt(problem)
    start = below.index("^")
    assert line[start:].startswith(shown)
    assert below[start:] == "^" * len(shown.rstrip(":}"))


def test_a_long_line_is_shown_around_the_place(tmp_path):
    line = '{"a": [' + "1, " * 500 + '"here", ' + "2, " * 500 + "3]}"
    text, carets = excerpt_of(tmp_path, line, line.index('"here"') + 1)
    assert len(text) < 120
    assert text[carets.index("^") :].startswith('"here"')


def test_what_a_terminal_would_obey_is_escaped_in_an_excerpt(tmp_path):
    text, carets = excerpt_of(tmp_path, '"\x1b[31m\u202e": "x"', 11)
    assert text.isprintable()
    assert text[carets.index("^") :].startswith('"x"')


@pytest.mark.parametrize(
    "place",
    [{}, {"line": 99, "column": 1}, {"line": 1, "column": 99}, {"file": "/nowhere", "line": 1, "column": 1}],
)
def test_without_a_line_there_is_no_excerpt(tmp_path, place):
    (tmp_path / "m.json").write_text("{}")
    assert excerpt(Problem("GE112", "", **{"file": str(tmp_path / "m.json"), **place})) == []


def test_a_pipe_is_not_read_again_for_an_excerpt(tmp_path):
    os.mkfifo(tmp_path / "m.json")
    assert excerpt(Problem("GE112", "", file=str(tmp_path / "m.json"), line=1, column=1)) == []


def test_excerpts_are_for_terminals_only(tmp_path, monkeypatch, capsys):
    path = tmp_path / "m.json"
    path.write_text("[1,]")
    assert len(cli("validate", path, code=2).stderr.splitlines()) == 1
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with pytest.raises(SystemExit):
        app.app(["validate", str(path)])
    assert capsys.readouterr().err.splitlines()[1:] == ["  1 | [1,]", "    |   ^"]


def test_of_many_names_those_of_about_the_same_length_are_looked_at():
    names = [f"node{index:05}" for index in range(100_000)] + ["predicted"]
    assert did_you_mean("predictd", names) == "did you mean 'predicted'?"


# ---------------------------------------------------------------- what failed while it ran


@pytest.mark.parametrize("times", [1, 5])
def test_a_node_that_fails_is_named_in_a_plan_as_in_the_reference(times):
    inputs = {"w": ["N", 1], "i": {"shape": ["M"], "dtype": "int64"}}
    content = document({"z": ("embedding", ["i", "w"])}, inputs=inputs)
    model = ge.Model.from_dict(content)
    for _ in range(times):
        model.predict(w=[[1.0], [2.0]], i=[0, 1])
    with pytest.raises(ExecutionError, match=r"GE410: node 'z' \(embedding\)"):
        model.predict(w=[[1.0], [2.0]], i=[0, 5])


LOGS = document({"s": ("sub", ["x", 1.0]), "l": ("log", ["s"]), "loss": ("mean", ["l"])}, inputs={"x": ["N"]})


def test_the_first_value_that_is_not_finite_is_reported_with_its_row_and_inputs():
    run = ge.Model.from_dict(LOGS).forward(x=[2.0, 3.0, 1.0])
    with pytest.raises(ExecutionError) as caught:
        run.check_finite()
    (found,) = caught.value.problems
    assert (found.code, found.node) == ("GE413", "l")
    assert found.message == "node 'l' (log) is the first value that is not finite: -inf in row 3, from s = 0.0"
    ge.Model.from_dict(LOGS).forward(x=[2.0]).check_finite()


def test_an_input_that_is_not_finite_is_reported_first():
    with pytest.raises(ExecutionError, match="input 'x' is the first value that is not finite: nan in row 2"):
        ge.Model.from_dict(LOGS).forward(x=[2.0, np.nan]).check_finite()


def test_many_inputs_are_reported_by_their_range_and_literals_as_they_are():
    content = document({"d": ("div", ["x", 0.0]), "loss": ("mean", ["d"])}, inputs={"x": ["N", 6]})
    with pytest.raises(ExecutionError, match=r"inf in row 1, from x = 1 to 6, 0.0"):
        ge.Model.from_dict(content).forward(x=[[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]).check_finite()


@pytest.mark.parametrize(
    ("op", "attributes", "inputs", "values", "said"),
    [
        (
            "matmul",
            {},
            {"x": ["N", 2], "w": [2, 2]},
            ([[1.0, 2.0], [1e200, 1e200]], [[1.0, 2.0], [1e200, 0.0]]),
            "inf in row 2, from x = [1e+200, 1e+200], w = [[1.0, 2.0], [1e+200, 0.0]]",
        ),
        (
            "matmul",
            {},
            {"x": ["N", "N"], "w": ["N", 1]},
            ([[1.0, 1e200], [1.0, 2.0]], [[1.0], [1e200]]),
            "inf in row 1, from x = [[1.0, 1e+200], [1.0, 2.0]], w = [[1.0], [1e+200]]",
        ),
        ("cumsum", {"axis": 0}, {"x": ["N"]}, ([1e308, 1e308],), "inf in row 2, from x = [1e+308, 1e+308]"),
        (
            "add",
            {},
            {"x": [2], "w": ["N", 2]},
            ([1e308, 0], [[0, 0], [1e308, 1]]),
            "inf in row 2, from x = [1e+308, 0.0], w = [1e+308, 1.0]",
        ),
        ("mul", {}, {"x": [2], "w": [2]}, ([1, 1e200], [1, 1e200]), "inf in row 2, from x = 1e+200, w = 1e+200"),
    ],
)
def test_a_row_of_an_operand_is_reported_only_where_it_makes_the_row_of_the_result(
    op, attributes, inputs, values, said
):
    built = ge.Model.from_dict(document({"z": (op, list(inputs), attributes)}, inputs=inputs))
    with pytest.raises(ExecutionError) as caught:
        built.forward(dict(zip(inputs, values, strict=True))).check_finite()
    assert caught.value.problems[0].message.endswith(f": {said}")


def in_functions(op, attributes=None, *, inputs=None):
    """A node `z` that calls `g`, which calls `f`, whose result is that of a node `s`; and the same as no result."""
    inputs = inputs or {"x": ["N"]}
    names = list(inputs)
    declared = {name: {} for name in names}
    inner = {"inputs": declared, "nodes": [node("s", op, names, attributes)], "outputs": {"out": "s"}}
    outer = {"inputs": declared, "nodes": [node("k", "f", names)], "outputs": {"out": "k"}}
    last = {"inputs": declared, "nodes": [*outer["nodes"], node("last", "neg", ["k"])], "outputs": {"out": "last"}}
    functions = {"f": inner, "g": outer, "h": last}
    return document({"z": ("g", names), "q": ("h", names)}, {"z": "z", "q": "q"}, inputs=inputs, functions=functions)


@pytest.mark.parametrize(("output", "call"), [("z", "call 'z' of 'g'"), ("q", "call 'q' of 'h'")])
def test_a_node_of_a_function_is_reported_with_the_calls_that_lead_to_it_also_when_it_runs(output, call):
    reshape = ge.Model.from_dict(in_functions("reshape", {"shape": [2, -1]}))
    with pytest.raises(ExecutionError) as caught:
        reshape.predict(x=[1.0, 2.0, 3.0], outputs=[output])
    (found,) = caught.value.problems
    where = f"{call}, call 'k' of 'f', node 's'"
    assert found.message == f"{where} (reshape): shape (3,) cannot be reshaped to (2, -1) (shapes x (3,))"
    with pytest.raises(ExecutionError) as caught:
        ge.Model.from_dict(in_functions("log")).predict(x=[-1.0], outputs=[output], check_finite=True)
    assert caught.value.problems[0].message.startswith(f"{where} (log) is the first value that is not finite: nan")
    sizes = {"x": ["N"], "n": {"shape": [1], "dtype": "int64"}}
    large = ge.Model.from_dict(in_functions("broadcast_to", inputs=sizes))
    with pytest.raises(ge.errors.InputError, match=f"GE133: {where} \\(broadcast_to\\) asks for"):
        large.predict(x=[1.0], n=[10**12], outputs=[output])


def test_a_training_that_diverges_names_the_node_in_the_function_and_its_operand():
    function = {"inputs": {"a": {}}, "nodes": [node("s", "log", ["a"])], "outputs": {"out": "s"}}
    nodes = {"p": ("mul", ["w", "x"]), "z": ("f", ["p"]), "loss": ("mean", ["z"])}
    sections = {"parameters": {"w": -1.0}, "functions": {"f": function}, "training": training()}
    content = document(nodes, {"loss": "loss"}, inputs={"x": ["N"]}, **sections)
    with pytest.raises(DivergenceError) as caught:
        ge.Model.from_dict(content).train({"x": np.array([2.0])})
    (found,) = caught.value.problems
    assert found.node == "z"
    assert "call 'z' of 'f', node 's' (log) became non-finite first, nan in row 1, from p = -2.0" in found.message


def test_a_parameter_that_is_not_finite_is_named():
    content = document({"z": ("neg", ["p"])}, parameters={"p": parameter([0.0, 0.0]) | {"value": [0.0, "NaN"]}})
    with pytest.raises(ExecutionError, match="parameter 'p' is the first value that is not finite: nan in row 2"):
        ge.Model.from_dict(content).forward().check_finite()


def test_a_training_can_stop_at_a_value_that_does_not_reach_the_loss(tmp_path):
    nodes = {"l": ("log", ["x"]), "safe": ("maximum", ["l", 0.0]), "p": ("mul", ["safe", "w"]), "loss": ("mean", ["p"])}
    content = document(nodes, {"loss": "loss"}, inputs={"x": ["N"]}, parameters={"w": 1.0}, training=training(epochs=2))
    data = {"x": np.array([1.0, 2.0, 0.0])}
    assert len(ge.Model.from_dict(content).train(data)) == 2
    trainer = ge.Model.from_dict(content).trainer(data)
    trainer.check_finite()
    with pytest.raises(DivergenceError, match=r"iteration 1 .*node 'l' \(log\) .*-inf in row 3, from x = 0.0"):
        list(trainer.iterate())
    path = tmp_path / "m.json"
    path.write_text(json.dumps(content))
    assert "GE601" in cli("train", path, "--input", "x=[1, 2, 0]", "--check-finite", code=1).stderr


def test_the_command_line_checks_an_evaluation(tmp_path):
    path = tmp_path / "m.json"
    path.write_text(json.dumps(LOGS))
    assert cli("run", path, "--input", "x=[2, 1]").exit_code == 0
    assert "GE413: node 'l' (log)" in cli("run", path, "--input", "x=[2, 1]", "--check-finite", code=1).stderr


def test_a_prediction_is_checked_as_far_as_it_is_asked_for(tmp_path):
    nodes = {"l": ("log", ["x"]), "s": ("sum", ["l"]), "d": ("add", ["x", "w"])}
    content = document(
        nodes, {"s": "s", "x": "l", "d": "d"}, inputs={"x": ["N"]},
        parameters={"w": parameter([0.0]) | {"value": ["NaN"]}},
    )  # fmt: skip
    model = ge.Model.from_dict(content)
    assert model.predict({"x": [1.0, 2.0]}, outputs=["s"], check_finite=True) == model.predict(
        x=[1.0, 2.0], outputs=["s"]
    )
    with pytest.raises(ExecutionError, match=r"GE413: node 'l' \(log\) .*: -inf in row 2, from x = 0.0"):
        model.predict({"x": [1.0, 0.0]}, outputs=["s"], check_finite=True)
    with pytest.raises(ExecutionError, match=r"GE413: parameter 'w' .*: nan in row 1"):
        model.predict({"x": [1.0]}, check_finite=True)
    path = tmp_path / "m.json"
    path.write_text(json.dumps(content))
    asked = ("predict", path, "--input", "x=[1, 0]", "--output", "s")
    assert cli(*asked).stdout == "s\n-Infinity\n"
    assert "GE413: node 'l' (log)" in cli(*asked, "--check-finite", code=1).stderr


def test_rows_that_are_computed_one_by_one_are_reported_by_their_number(tmp_path):
    path, rows = tmp_path / "m.json", tmp_path / "rows.csv"
    path.write_text(json.dumps(document({"l": ("log", ["x"])}, inputs={"x": []})))
    rows.write_text("x\n1\n2\n0\n")
    assert cli("predict", path, "--data", rows).exit_code == 0
    assert "GE413: row 3: node 'l' (log)" in cli("predict", path, "--data", rows, "--check-finite", code=1).stderr


def test_many_problems_are_cut_off_with_a_word():
    content = linreg()
    content["nodes"] += [{"id": f"n{index}", "op": "neg", "inputs": ["nothing"]} for index in range(1000)]
    with pytest.raises(GraphEngineError) as caught:
        ge.Model.from_dict(content)
    assert [problem.code for problem in caught.value.problems] == ["GE210"] * 100 + ["GE140"]
    assert caught.value.problems[-1].message == "only the first 100 problems are reported; the file has at least 101"


def long_names(where):
    name = "k" * 100_000
    wrong = {
        "a key": {name: 1},
        "a key within": {"outputs": {"out": "z", name: 1}},
        "a choice": {"dtype": name},
        "a reference": {"nodes": [{"id": "z", "op": "neg", "inputs": [name]}]},
        "an op": {"nodes": [{"id": "z", "op": name, "inputs": ["x"]}]},
        "an attribute": {"nodes": [{"id": "z", "op": "sum", "inputs": ["x"], "attributes": {"axis": [0] * 10_000}}]},
    }
    return {**document({"z": ("neg", ["x"])}, inputs={"x": [1]}), **wrong[where]}


@pytest.mark.parametrize(
    ("where", "pointer"),
    [
        ("a key", ""),
        ("a key within", "/outputs"),
        ("a choice", "/dtype"),
        ("a reference", "/nodes/0/inputs/0"),
        ("an op", "/nodes/0/op"),
        ("an attribute", "/nodes/0"),
    ],
)
def test_what_is_reported_is_of_bounded_length_and_its_pointer_leads_into_the_file(tmp_path, where, pointer):
    path = tmp_path / "m.json"
    path.write_text(json.dumps(long_names(where)))
    assert len(cli("validate", path, code=2).stderr) < 3000
    printed = json.loads(cli("validate", path, "--format", "json", code=2).stdout)["errors"]
    assert all(len(each["message"]) <= 1000 and len(each["hint"] or "") <= 1000 for each in printed)
    assert pointer in [each["pointer"] for each in printed]


def test_the_middle_of_a_long_message_is_left_out():
    printed = Problem("GE110", f"unknown key '{'k' * 2000}'", pointer=f"/a/{'b' * 990}/{'c' * 100}").as_dict()
    assert re.fullmatch("unknown key 'k+ ... k+'", printed["message"])
    assert len(printed["message"]) == 1000
    assert printed["pointer"] == f"/a/{'b' * 990}"


def test_the_end_of_many_problems_is_reported_to_people_and_to_machines(tmp_path):
    content = linreg()
    content["nodes"] += [{"id": f"n{index}", "op": "neg", "input": []} for index in range(70)]
    content["outputs"] |= {f"o{index}": "nothing" for index in range(70)}
    path = tmp_path / "m.json"
    path.write_text(json.dumps(content))
    *_, last = cli("validate", path, code=2).stderr.splitlines()
    assert last == f"error: {path}: GE140: only the first 100 problems are reported; the file has at least 140"
    *_, end = json.loads(cli("validate", path, "--format", "json", code=2).stdout)["errors"]
    assert (end["code"], end["line"]) == ("GE140", None)
