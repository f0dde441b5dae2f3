"""Predictions as tables: files with columns carried along, frames, and data larger than memory."""

import csv
import datetime
import gzip
import json
import math
import re
import tracemalloc

import numpy as np
import pytest
from test_cli import cli, cli_json

import graphengine as ge
from graphengine.data.table_files import write_table
from graphengine.ir.cells import as_encoded
from graphengine.model.predictions import predictions_for_rows

SPECIES = ["setosa", "versicolor", "virginica"]
X = [[1.0, 0.0], [0.0, 2.0], [-1.0, 0.5], [3.0, 3.0]]
IDS = ["007", " 1.50", "a,b", 'say "x"\r\nand y']


def content():
    """A classifier of two columns whose probabilities NumPy computes in a line."""
    return {
        "format": "graphengine.model",
        "format_version": 1,
        "opset_imports": {"core": 1},
        "name": "classes",
        "inputs": {
            "x": {"shape": ["N", 2]},
            "species": {"shape": ["N"], "dtype": "int64", "categories": SPECIES},
        },
        "parameters": {"w": {"shape": [2, 3], "value": [[1.0, 0.5, -1.0], [-0.5, 0.25, 1.0]]}},
        "nodes": [
            {"id": "logits", "op": "matmul", "inputs": ["x", "w"]},
            {"id": "p", "op": "softmax", "inputs": ["logits"]},
            {"id": "index", "op": "argmax", "inputs": ["logits"], "attributes": {"axis": 1}},
            {"id": "largest", "op": "max", "inputs": ["logits"], "attributes": {"axis": 1}},
            {"id": "middle", "op": "mean", "inputs": ["largest"]},
            {"id": "centered", "op": "sub", "inputs": ["largest", "middle"]},
            {"id": "loss", "op": "softmax_cross_entropy", "inputs": ["logits", "species"]},
        ],
        "outputs": {
            "species": {"value": "index", "categories": "species"},
            "probability": {"value": "p", "categories": "species"},
            "logits": "logits",
            "centered": "centered",
            "loss": "loss",
        },
        "data": {"d": {"type": "csv", "path": "d.csv", "columns": {"x": ["a", "b"], "species": "species"}}},
    }


def expected(x=X):
    """The same by NumPy."""
    logits = np.asarray(x) @ np.array([[1.0, 0.5, -1.0], [-0.5, 0.25, 1.0]])
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    largest = logits.max(axis=1)
    return [SPECIES[k] for k in logits.argmax(axis=1)], exp / exp.sum(axis=1, keepdims=True), largest - largest.mean()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "m.json").write_text(json.dumps(content()))
    with (tmp_path / "d.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["id", "b", "a", "note"], *([n, b, a, ""] for n, (a, b) in zip(IDS, X, strict=True))]
        )
    return tmp_path


def predict(folder, *options, data="d.csv", file="out.csv"):
    """Run `predict` into a file."""
    result = cli("predict", folder / "m.json", "--data", folder / data, "-o", folder / file, *options)
    assert "predictions written to" in result.stderr
    return folder / file


def rows_of(path):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz"])
def test_a_csv_file_has_kept_texts_labels_and_probabilities_by_class(folder, name):
    path = predict(folder, "--keep", "id", "--output", "species", "--output", "probability", file=name)
    header, *rows = rows_of(path)
    assert header == ["id", "species", *(f"probability[{each}]" for each in SPECIES)]
    labels, probabilities, _ = expected()
    assert [row[0] for row in rows] == IDS
    assert [row[1] for row in rows] == labels
    np.testing.assert_allclose(np.array([row[2:] for row in rows], float), probabilities, rtol=1e-14)


def test_keep_may_be_repeated(folder):
    found, expected = (
        rows_of(predict(folder, *keep, "--output", "species"))
        for keep in (("--keep", "id", "--keep", "a"), ("--keep", "id,a"))
    )
    assert found == expected
    assert found[0] == ["id", "a", "species"]


def test_the_target_is_not_needed_and_all_columns_may_be_kept(folder):
    header, *rows = rows_of(predict(folder, "--keep", "all"))
    assert header[:4] == ["id", "b", "a", "note"]
    assert [row[:4] for row in rows] == [[n, str(b), str(a), ""] for n, (a, b) in zip(IDS, X, strict=True)]
    assert "loss" not in header
    assert [float(row[header.index("centered")]) for row in rows] == pytest.approx(list(expected()[2]))


def test_an_error_in_a_given_file_begins_with_the_file_as_one_in_a_model_does(tmp_path):
    (tmp_path / "new.csv").write_text("distance_mpc,velocity_km_s\n1,2\n,3\n")
    arguments = ("train", "linreg", "--data", tmp_path / "new.csv")
    assert re.match(r"error: .*new\.csv:3: GE503: column 'distance_mpc' is empty; ", cli(*arguments, code=2).stderr)
    (found,) = json.loads(cli(*arguments, "--format", "json", code=2).stdout)["errors"]
    assert (found["file"], found["line"], found["code"]) == (str(tmp_path / "new.csv"), 3, "GE503")


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_what_to_write_in_the_data_source_has_its_place(folder, command):
    (folder / "new.csv").write_text("a;b;species\n1;2;setosa\n")
    text = cli(command, folder / "m.json", "--data", folder / "new.csv", code=2).stderr
    assert re.search(r"m\.json:\d+:\d+: GE502: .*new\.csv: there is no column 'a'.*\(/data/d\)", text)
    assert 'write "separator": ";" in the data source' in text


def test_a_file_without_columns_for_any_output_is_refused_with_the_column(folder):
    (folder / "new.csv").write_text("a,bb,species\n1,2,setosa\n")
    text = cli("predict", folder / "m.json", "--data", folder / "new.csv", code=2).stderr
    assert "there is no column 'b' for input 'x'" in text
    assert "did you mean 'bb'?" in text


def test_what_no_output_of_the_table_depends_on_is_not_read(folder):
    pandas = pytest.importorskip("pandas", reason="the extra 'frame'")
    pandas.read_csv(folder / "d.csv").assign(species="never seen").to_csv(folder / "full.csv", index=False)
    asked = ("predict", folder / "m.json", "--data", folder / "full.csv")
    result = cli(*asked, "-o", folder / "out.csv")
    assert "left out of the table: 'loss'" in result.stderr
    assert rows_of(folder / "out.csv") == rows_of(predict(folder))
    assert cli_json(*asked, "--output", "centered")["outputs"].keys() == {"centered"}
    refused = cli(*asked, "--format", "json", code=2)
    assert "GE406" in refused.output
    assert "never seen" in refused.output


def test_an_output_without_rows_is_left_out_of_a_table_and_kept_in_json(folder):
    pandas = pytest.importorskip("pandas", reason="the extra 'frame'")
    table = pandas.read_csv(folder / "d.csv")
    table.assign(species=SPECIES[0]).to_csv(folder / "full.csv", index=False)
    asked = ("predict", folder / "m.json", "--data", folder / "full.csv")
    result = cli(*asked, "-o", folder / "out.csv")
    assert "left out of the table: 'loss'" in result.stderr
    found = cli_json(*asked, "--keep", "id")
    assert found["outputs"]["loss"] == pytest.approx(-np.log(expected()[1][:, 0]).mean())
    assert found["kept"]["id"] == [text.replace("\r\n", "\n") for text in IDS] or found["kept"]["id"] == IDS


def test_a_prediction_with_the_name_of_a_kept_column_gets_another(folder):
    (folder / "named.csv").write_text("a,b,species\n1,0,virginica\n")
    header, row = rows_of(predict(folder, "--keep", "species", "--output", "species", data="named.csv"))
    assert (header, row) == (["species", "predicted_species"], ["virginica", expected([[1.0, 0.0]])[0][0]])


def test_json_lines_and_parquet_keep_values_and_types(folder):
    pa = pytest.importorskip("pyarrow", reason="the extra 'data'")
    import pyarrow.parquet as parquet

    day = datetime.datetime(2024, 2, 29, 12, 30)
    columns = {"a": [x[0] for x in X], "b": [x[1] for x in X], "when": [day, None, day, day], "k": [1, 2, 3, 2**60]}
    parquet.write_table(pa.table(columns), folder / "d.parquet")
    columns_of_data = ("--columns", "x=a,b", "--keep", "k,when")
    found = parquet.read_table(predict(folder, *columns_of_data, data="d.parquet", file="o.parquet"))
    assert found.column("when").type == pa.timestamp("us")
    assert found.column("k").to_pylist() == columns["k"]
    assert found.column("species").to_pylist() == expected()[0]
    np.testing.assert_allclose(found.column("probability[virginica]"), expected()[1][:, 2], rtol=1e-14)
    lines = predict(folder, *columns_of_data, data="d.parquet", file="o.jsonl").read_text().splitlines()
    objects = [json.loads(line) for line in lines]
    assert [each["when"] for each in objects] == [day.isoformat(), None, day.isoformat(), day.isoformat()]
    assert [each["k"] for each in objects] == columns["k"]
    texts = rows_of(predict(folder, *columns_of_data, data="d.parquet"))
    assert [row[1] for row in texts[1:]] == [day.isoformat(), "", day.isoformat(), day.isoformat()]


@pytest.mark.parametrize("is_stream", [False, True])
def test_columns_of_an_arrow_file_are_kept(folder, is_stream):
    pa = pytest.importorskip("pyarrow", reason="the extra 'data'")
    table = pa.table({"a": [x[0] for x in X], "b": [x[1] for x in X], "id": IDS})
    with (pa.ipc.new_stream if is_stream else pa.ipc.new_file)(folder / "d.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    path = predict(folder, "--columns", "x=a,b", "--keep", "id", "--output", "species", data="d.arrow")
    assert rows_of(path)[1:] == [list(row) for row in zip(IDS, expected()[0], strict=True)]


def test_json_lines_are_kept_where_they_are_read_from(folder):
    content_of = json.loads((folder / "m.json").read_text())
    content_of["data"] = {}
    (folder / "m.json").write_text(json.dumps(content_of))
    lines = [{"x": x, "tags": ["u", {"v": k}], "n": k} for k, x in enumerate(X)]
    (folder / "d.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    path = predict(folder, "--keep", "tags,n", "--output", "species", data="d.jsonl", file="o.jsonl")
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(each["tags"], each["n"]) for each in found] == [(line["tags"], line["n"]) for line in lines]
    assert rows_of(predict(folder, "--keep", "tags", data="d.jsonl"))[1][0] == '["u",{"v":0}]'


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_data_larger_than_memory_is_predicted_in_parts(folder, kind):
    count = 3000
    x = np.random.default_rng(0).normal(size=(count, 2)).round(6)
    if kind == "csv":
        body = "".join(f"{n:05},{a},{b}\n" for n, (a, b) in enumerate(x.tolist()))
        (folder / "big.csv").write_text("id,a,b\n" + body)
    else:
        (folder / "big.jsonl").write_text(
            "".join(json.dumps({"x": row, "id": f"{n:05}"}) + "\n" for n, row in enumerate(x.tolist()))
        )
    asked = ("predict", folder / "m.json", "--data", folder / f"big.{kind}", "--keep", "id")
    limits = ("--limit", "data_bytes=60000", "--limit", "array_bytes=60000")
    cli(*limits, *asked, "-o", folder / "out.csv")
    header, *rows = rows_of(folder / "out.csv")
    labels, probabilities, centered = expected(x)
    assert [row[0] for row in rows] == [f"{n:05}" for n in range(count)]
    assert [row[header.index("species")] for row in rows] == labels
    found = np.array([row[2:5] for row in rows], float)
    np.testing.assert_allclose(found, probabilities, rtol=1e-12)
    at = header.index("centered")
    np.testing.assert_allclose([float(row[at]) for row in rows], centered, atol=1e-12)


def test_parts_are_bounded_by_the_limit_and_the_whole_is_put_together(folder):
    count = 2000
    x = np.random.default_rng(1).normal(size=(count, 2))
    model = ge.load(folder / "m.json", limits=ge.Limits(array_bytes=16_000))
    labels = np.array(SPECIES)[np.arange(count) % 3]
    arrays = as_encoded({"x": x, "species": np.arange(count) % 3}, model.graph.inputs)
    found = predictions_for_rows(model, arrays)
    parts = list(found.parts())
    assert len(parts) > 10
    assert sum(len(part["species"]) for part in parts) == count
    assert found.left_out == ("loss",)
    whole = found.whole()
    expected_labels, probabilities, _ = expected(x)
    assert whole["species"].tolist() == expected_labels
    chosen = probabilities[np.arange(count), [SPECIES.index(each) for each in labels]]
    assert whole["loss"] == pytest.approx(-np.log(chosen).mean(), rel=1e-12)


def test_a_failure_on_the_way_leaves_the_old_file_and_no_other(folder):
    path = folder / "out.csv"
    path.write_text("old")
    (folder / "short.csv").write_text("a,b\n1,2\n3\n")
    result = cli("predict", folder / "m.json", "--data", folder / "short.csv", "-o", path, code=2)
    assert "GE503" in result.stderr
    before = sorted(folder.iterdir())

    def blocks():
        yield {"z": np.zeros(3)}
        raise ge.errors.InputError("stop", code="GE404")

    with pytest.raises(ge.errors.InputError, match="stop"):
        write_table(path, blocks())
    assert path.read_text() == "old"
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["-o", "out.xlsx"], "GE801", "out.xlsx"),
        (["--keep", "idd"], "GE502", "no column 'idd' to keep"),
        (["--keep", "all", "--data", "x.npz"], "GE801", "cannot be kept from a file of the type 'npz'"),
    ],
)
def test_wrong_options_are_reported(folder, options, code, words):
    np.savez(folder / "x.npz", x=X)
    asked = ["--data", folder / "d.csv", "-o", folder / "o.csv"]
    options = [folder / each if each.endswith(("xlsx", "npz")) else each for each in options]
    error = cli_json("predict", folder / "m.json", *asked, *options, code=2)["errors"][0]
    assert error["code"] == code
    assert words in error["message"]
    assert not (folder / "o.csv").exists()


@pytest.mark.parametrize("name", ["d.csv", "m.json"])
def test_the_data_and_the_model_are_not_overwritten(folder, name):
    before = (folder / name).read_bytes()
    asked = ("predict", folder / "m.json", "--data", folder / "d.csv", "-o", folder / name)
    message = "a table cannot be written" if name == "m.json" else "--data and -o name the same file"
    assert message in cli(*asked, code=2).stderr
    assert (folder / name).read_bytes() == before


def test_columns_of_a_data_source_of_the_model_are_kept(folder):
    (folder / "d.csv").write_text("id,a,b,species\n07,1,0,setosa\n")
    result = cli("predict", folder / "m.json", "--data", "d", "--keep", "id,species", "--output", "species")
    assert result.stdout == "id,species,predicted_species\n07,setosa,setosa\n"


def test_a_table_larger_than_memory_may_hold_is_not_held(folder):
    count, allowed = 60_000, 2**18
    body = "".join(f"{n:06},{n % 97 / 8},{n % 89 / 8}\n" for n in range(count))
    (folder / "big.csv").write_text("id,a,b\n" + body)
    assert 16 * count > 3 * allowed
    assert len(body) > 3 * allowed
    asked = ("--limit", f"data_bytes={allowed}", "predict", folder / "m.json", "--output", "species", "--keep", "id")
    cli(*asked, "--data", folder / "d.csv", "-o", folder / "o.csv")  # what is imported once does not count
    tracemalloc.start()
    try:
        cli(*asked, "--data", folder / "big.csv", "-o", folder / "o.csv")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * 2**20
    assert (folder / "o.csv").read_text().count("\n") == count + 1


def test_keep_needs_a_file(folder):
    error = cli_json("predict", folder / "m.json", "--input", "x=[[1, 2]]", "--keep", "id", code=2)["errors"][0]
    assert (error["code"], "--keep needs --data" in error["message"]) == ("GE801", True)


def test_a_model_of_single_samples_writes_a_row_for_each(tmp_path):
    (tmp_path / "t.csv").write_text("x,name\n1,u\n-2,v\n")
    asked = ("predict", "linreg_single_sample", "--data", tmp_path / "t.csv", "--keep", "name")
    assert cli(*asked).stdout == "name,prediction\nu,2.0\nv,-4.0\n"


# ---------------------------------------------------------------- frames


def test_a_frame_of_pandas_keeps_its_index(folder):
    pandas = pytest.importorskip("pandas", reason="the extra 'frame'")
    frame = pandas.DataFrame(X, columns=["a", "b"], index=["r", "s", "t", "r"])
    found = ge.load(folder / "m.json").predict(frame, as_frame=True, outputs=["species", "probability"])
    assert list(found.columns) == ["species", *(f"probability[{each}]" for each in SPECIES)]
    assert found.index.tolist() == ["r", "s", "t", "r"]
    assert found["species"].tolist() == expected()[0]
    np.testing.assert_allclose(found.iloc[:, 1:].to_numpy(), expected()[1], rtol=1e-14)


def test_a_frame_of_polars_gives_one(folder):
    polars = pytest.importorskip("polars", reason="a library of frames")
    frame = polars.DataFrame(X, schema=["a", "b"], orient="row")
    found = ge.load(folder / "m.json").predict(frame, as_frame=True)
    assert isinstance(found, polars.DataFrame)
    assert found["species"].to_list() == expected()[0]
    assert "loss" not in found.columns
    np.testing.assert_allclose(found["centered"].to_numpy(), expected()[2], atol=1e-14)


def test_as_frame_needs_a_frame_and_outputs_of_its_rows(folder):
    pandas = pytest.importorskip("pandas", reason="the extra 'frame'")
    model = ge.load(folder / "m.json")
    with pytest.raises(
        ge.errors.UsageError, match="GE801: as_frame=True needs inputs that are a frame of pandas or polars, not dict"
    ):
        model.predict({"x": X}, as_frame=True)
    frame = pandas.DataFrame(X, columns=["a", "b"]).assign(species="setosa")
    with pytest.raises(
        ge.errors.UsageError, match="no requested output has a row for each sample, the frame has 4 rows"
    ):
        model.predict(frame, as_frame=True, outputs="loss")


def test_numbers_that_are_not_finite_are_written_as_in_a_model_file(tmp_path):
    rows = {"z": np.array([np.nan, np.inf, 0.5]), "b": np.array([True, False, True]), "t": [None, "x", "NaN"]}
    write_table(tmp_path / "t.csv", [rows])
    assert rows_of(tmp_path / "t.csv")[1:] == [["NaN", "True", ""], ["Infinity", "False", "x"], ["0.5", "True", "NaN"]]
    write_table(tmp_path / "t.jsonl", [rows])
    found = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert [each["z"] for each in found] == ["NaN", "Infinity", 0.5]
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra 'data'")
    write_table(tmp_path / "t.parquet", [rows, rows])
    table = parquet.read_table(tmp_path / "t.parquet")
    assert math.isnan(table.column("z")[3].as_py())
    assert table.column("t").to_pylist() == [None, "x", "NaN"] * 2
