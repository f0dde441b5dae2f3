"""An input may take all columns of a table but some, from every kind of table."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import graphengine as ge
from graphengine.cli.app import app

TABLE = {"id": [7, 8], "a": [1.0, 2.0], "y": [0.5, 1.5], "b": [3.0, 4.0]}
EXPECTED = [[1.0, 3.0], [2.0, 4.0]]
MODEL = {
    "format": "graphengine.model",
    "format_version": 1,
    "opset_imports": {"core": 1},
    "name": "t",
    "inputs": {"x": {"shape": ["N", 2]}, "y": {"shape": ["N"]}},
    "parameters": {"w": {"shape": [2], "value": [1.0, 10.0]}},
    "nodes": [
        {"id": "z", "op": "matmul", "inputs": ["x", "w"]},
        {"id": "e", "op": "sub", "inputs": ["z", "y"]},
        {"id": "s", "op": "square", "inputs": ["e"]},
        {"id": "loss", "op": "mean", "inputs": ["s"]},
    ],
    "outputs": {"z": "z", "loss": "loss"},
    "training": {"loss": "loss", "data": "t", "optimizer": {"type": "sgd", "learning_rate": 0.01}, "epochs": 1},
}


def content(kind="csv", left_out=("id", "y")):
    columns = {"x": {"all_but": list(left_out)}, "y": "y"}
    return {**MODEL, "data": {"t": {"type": kind, "path": f"t.{kind}", "columns": columns}}}


@pytest.fixture
def folder(tmp_path):
    pd.DataFrame(TABLE).to_csv(tmp_path / "t.csv", index=False)
    pq.write_table(pa.table(TABLE), tmp_path / "t.parquet")
    with pa.ipc.new_file(tmp_path / "t.arrow", pa.table(TABLE).schema) as file:
        file.write_table(pa.table(TABLE))
    (tmp_path / "m.json").write_text(json.dumps(content()))
    return tmp_path


@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow"])
def test_files_give_the_other_columns_in_their_order(folder, kind):
    found = ge.Model.from_dict(content(kind), path=folder / "m.json").load_data("t")
    np.testing.assert_array_equal(found["x"], EXPECTED)
    np.testing.assert_array_equal(found["y"], TABLE["y"])


def test_columns_may_be_left_out_by_number(folder):
    found = ge.Model.from_dict(content(left_out=(0, 2)), path=folder / "m.json").load_data("t")
    np.testing.assert_array_equal(found["x"], EXPECTED)


MAPPING = {name: TABLE[name] for name in ("a", "b", "y")}
CALLERS = {"pandas": pd.DataFrame(TABLE), "polars": pl.DataFrame(TABLE), "Arrow": pa.table(TABLE), "mapping": MAPPING}


@pytest.mark.parametrize("table", CALLERS.values(), ids=CALLERS)
def test_tables_of_the_caller_give_the_same(folder, table):
    model = ge.load(folder / "m.json")
    np.testing.assert_array_equal(model.predict(table, outputs="z")["z"], np.array(EXPECTED) @ [1.0, 10.0])


def test_the_command_line_reads_another_file_that_lacks_what_is_left_out(folder):
    pd.DataFrame({"b": [5.0], "a": [6.0]}).to_csv(folder / "new.csv", index=False)
    command = [
        "predict",
        str(folder / "m.json"),
        "--data",
        str(folder / "new.csv"),
        "--output",
        "z",
        "--format",
        "json",
    ]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["outputs"]["z"] == [65.0]


def test_the_file_keeps_it(folder):
    model = ge.load(folder / "m.json")
    model.save(folder / "again.json")
    again = ge.load(folder / "again.json")
    assert again.to_dict()["data"]["t"]["columns"] == {"x": {"all_but": ["id", "y"]}, "y": "y"}
    assert again.fingerprint == model.fingerprint
    model.train()
    assert model.copy().fingerprint == model.fingerprint


def test_a_wrong_form_has_a_place(folder):
    wrong = content()
    wrong["data"]["t"]["columns"]["x"] = {"all_but": ["id"], "also": 1}
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.Model.from_dict(wrong, path=folder / "m.json")
    assert caught.value.problems[0].pointer.startswith("/data/t/columns/x")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_misspelled_name_to_leave_out_is_reported_with_the_nearest(folder, kind):
    model = ge.Model.from_dict(content(kind, left_out=("id", "Y")), path=folder / "m.json")
    with pytest.raises(ge.errors.DataError) as caught:
        model.load_data("t")
    (problem,) = caught.value.problems
    assert "without those left out there are 3; there is no column 'Y' to leave out" in problem.message
    assert (problem.pointer, problem.hint) == ("/data/t", "did you mean 'y'?")


@pytest.mark.parametrize("table", [CALLERS[name] for name in ("pandas", "polars", "Arrow")])
def test_tables_of_the_caller_with_a_column_too_many_are_refused(folder, table):
    model = ge.Model.from_dict(content(left_out=("id", "yy")), path=folder / "m.json")
    with pytest.raises(ge.errors.InputError, match=r"GE403: .* no column 'yy' to leave out; did you mean 'y'\?"):
        model.predict(table, outputs="z")
