"""CSV files as other programs write them: the numbers are those that pandas reads, and errors say what to write."""

import csv
import gzip
import io
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import graphengine as ge
from graphengine.cli.app import app
from graphengine.data.csv_dialect import Dialect

H = {"format": "graphengine.model", "format_version": 1, "opset_imports": {"core": 1}, "name": "t"}
TABLE = "when;price;kind\n1.234,5;-0,25;a\n2;1e3;b\n"
GERMAN = {"separator": ";", "decimal": ",", "thousands": "."}


def model(folder, text, columns, name="t.csv", **options):
    (folder / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    inputs = {key: {"shape": ["N"]} for key in columns if key != "kind"}
    if "kind" in columns:
        inputs["kind"] = {"shape": ["N"], "dtype": "int64", "categories": ["a", "b"]}
    nodes = [{"id": "z", "op": "neg", "inputs": [next(iter(inputs))]}]
    source = {"type": "csv", "path": name, "columns": columns, **options}
    return loaded(folder, {**H, "inputs": inputs, "nodes": nodes, "outputs": {"z": "z"}, "data": {"t": source}})


def loaded(folder, document):
    (folder / "m.json").write_text(json.dumps(document))
    return ge.load(folder / "m.json")


def read(*arguments, **options):
    return {name: array.tolist() for name, array in model(*arguments, **options).load_data("t").items()}


def refused(*arguments, **options):
    with pytest.raises(ge.errors.GraphEngineError) as caught:
        read(*arguments, **options)
    return caught.value.problems[0]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_a_table_with_decimal_commas(tmp_path, name):
    columns = {"x": "when", "y": "price", "kind": "kind"}
    found = read(tmp_path, TABLE, columns, name, **GERMAN)
    assert found == {"x": [1234.5, 2.0], "y": [-0.25, 1000.0], "kind": [0, 1]}


def test_columns_by_number_with_and_without_a_header(tmp_path):
    text = TABLE.split("\n", 1)[1]
    assert read(tmp_path, text, {"y": 1}, header=False, **GERMAN) == {"y": [-0.25, 1000.0]}
    assert read(tmp_path, TABLE, {"y": 1}, **GERMAN) == {"y": [-0.25, 1000.0]}
    assert refused(tmp_path, TABLE, {"y": 3}, **GERMAN).code == "GE502"


def test_comments_keep_the_line_numbers(tmp_path):
    text = "# made by hand\nx\n1\n# two\n2\nthree\n"
    assert read(tmp_path, text.replace("three\n", ""), {"x": "x"}, comment="#") == {"x": [1.0, 2.0]}
    assert "t.csv:6: column 'x'" in refused(tmp_path, text, {"x": "x"}, comment="#").message


def test_texts_for_a_missing_value_are_one(tmp_path):
    found = model(tmp_path, "x\n1\nNA\n?\n\n", {"x": "x"}, missing=["NA", "?"])
    problem = refused(tmp_path, "x\n1\nNA\n?\n", {"x": "x"}, missing=["NA", "?"])
    assert problem.code == "GE503"
    assert "t.csv:3" in problem.message
    document = found.to_dict()
    document["inputs"]["x"]["missing"] = "nan"
    numbers = loaded(tmp_path, document).load_data("t")["x"]
    np.testing.assert_array_equal(numbers, [1, np.nan, np.nan])


@pytest.mark.parametrize(
    ("text", "options", "hint"),
    [
        ("x;y\n1;2\n3;4\n", {}, '"separator": ";"'),
        ("x\ty\n1\t2\n3\t4\n", {}, '"separator": "\\t"'),
        ("y;x\n1;2,5\n", {"separator": ";"}, '"decimal": ","'),
        ("x\n1.234,5\n", {"separator": ";"}, '"decimal": ",", "thousands": "."'),
        ("x\nNA\n", {}, '"missing": ["NA"]'),
        (
            "x;y\n2,5;1\n12.5;1\n",
            GERMAN,
            'if all numbers are written so, write "decimal": "." and leave "thousands" out',
        ),
        (
            "x;y\n2.5;1\n12,5;1\n",
            {"separator": ";", "thousands": ","},
            'write "decimal": "," and leave "thousands" out',
        ),
    ],
)
def test_an_error_says_what_to_write(tmp_path, text, options, hint):
    assert hint in refused(tmp_path, text, {"x": "x"}, **options).hint


@pytest.mark.parametrize("cell", ["1_0", "0x10", "٣", "1.23,5", "12 000"])
def test_no_mark_is_proposed_for_a_cell_that_is_no_number_with_it(tmp_path, cell):
    assert refused(tmp_path, f"x;y\n{cell};0\n", {"x": "x"}, **GERMAN).hint is None


@pytest.mark.parametrize("cell", ["1.5", "9223372036854775808", "1e19"])
def test_no_mark_is_proposed_for_a_number_that_is_the_same_with_it(tmp_path, cell):
    (tmp_path / "t.csv").write_text(f"k\n{cell}\n")
    document = {**H, "inputs": {"k": {"shape": ["N"], "dtype": "int64"}}, "nodes": [], "outputs": {"k": "k"}}
    source = {"type": "csv", "path": "t.csv"}
    with pytest.raises(ge.errors.DataError) as caught:
        loaded(tmp_path, {**document, "data": {"t": source}}).load_data("t")
    assert caught.value.problems[0].code == "GE503"
    assert caught.value.problems[0].hint is None


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("1,23", {"separator": ";", "thousands": ","}),
        ("1.5", {"separator": ";", "decimal": ","}),
        (",123", {"separator": ";", "thousands": ","}),
    ],
)
def test_a_mark_in_another_place_is_no_number(tmp_path, cell, options):
    assert refused(tmp_path, f'x\n"{cell}"\n', {"x": "x"}, **options).code == "GE503"


@pytest.mark.parametrize(
    "options", [{"separator": ";;"}, {"separator": "\n"}, {"decimal": ","}, {"thousands": "."}, {"comment": ","}]
)
def test_marks_that_cannot_be_are_refused_at_load(tmp_path, options):
    assert refused(tmp_path, "x\n1\n", {"x": "x"}, **options).code == "GE112"


def test_groups_may_have_the_separator_as_their_mark_in_quotes(tmp_path):
    text = 'x,y\n"1,234.5",1\n"-2,000,000",2\n7,3\n'
    found = model(tmp_path, text, {"x": "x"}, thousands=",").load_data("t")["x"]
    np.testing.assert_array_equal(found, pd.read_csv(io.StringIO(text), thousands=",")["x"])


def test_a_default_is_not_written(tmp_path):
    source = model(tmp_path, "x\n1\n", {"x": "x"}, separator=",", header=True).to_dict()["data"]["t"]
    assert source == {"type": "csv", "path": "t.csv", "columns": {"x": "x"}}


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5),
    st.sampled_from([";", "\t", "|"]),
    st.sampled_from([None, ".", " ", "'"]),
)
def test_numbers_are_those_of_pandas(numbers, separator, thousands):
    texts = [
        f"{number:,.17g}".replace(",", thousands or "").replace(".", ",")
        if not thousands
        else _grouped(number, thousands)
        for number in numbers
    ]
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows([["x", "other"], *([each, "1"] for each in texts)])
    by_pandas = pd.read_csv(io.StringIO(text.getvalue()), sep=separator, decimal=",", thousands=thousands)["x"]
    cells = [row[0] for row in csv.reader(io.StringIO(text.getvalue()), delimiter=separator)][1:]
    found = [float(cell) for cell in Dialect(separator, ",", thousands).numbers(cells)]
    assert found == numbers
    np.testing.assert_allclose(by_pandas, numbers, rtol=1e-13, atol=1e-290)  # pandas may round another way


def _grouped(number, mark):
    whole, point, rest = f"{number:,.17g}".partition(".")
    return whole.replace(",", mark) + point.replace(".", ",") + rest


def test_the_command_line_reads_a_file_as_the_model_says(tmp_path, capsys):
    model(tmp_path, TABLE, {"x": "price"}, **GERMAN)
    (tmp_path / "new.csv").write_text("price;more\n7,5;1\n")
    command = ["predict", tmp_path / "m.json", "--data", tmp_path / "new.csv", "--format", "json"]
    done = CliRunner().invoke(app, list(map(str, command)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["outputs"] == {"z": [-7.5]}
