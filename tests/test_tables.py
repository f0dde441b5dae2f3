"""Tables: categories and missing values at the boundary, the same for files, frames and calls."""

import csv
import json

import numpy as np
import pytest

import graphengine as ge

SPECIES = ["setosa", "versicolor", "virginica"]
ROWS = [("setosa", 1.5, 7), ("virginica", None, 9), ("setosa", 2.5, 7), ("versicolor", 4.0, 8)]


def model(tmp_path=None, *, species=None, size=None, code=None, data=None, label="species"):
    """A model that gives back what its inputs become."""
    content = {
        "format": "graphengine.model",
        "format_version": 1,
        "opset_imports": {"core": 1},
        "name": "table",
        "inputs": {
            "species": {"shape": ["N"], "dtype": "int64", "categories": SPECIES, **(species or {})},
            "size": {"shape": ["N"], "missing": "nan", **(size or {})},
            "code": {"shape": ["N"], "dtype": "int64", "categories": [7, 8, 9], **(code or {})},
        },
        "nodes": [
            {"id": "s", "op": "mul", "inputs": ["species", 1]},
            {"id": "f", "op": "mul", "inputs": ["size", 2.0]},
            {"id": "c", "op": "mul", "inputs": ["code", 1]},
        ],
        "outputs": {"index": "s", "double": "f", "code": "c", "label": {"value": "s", "categories": label}},
        "data": {"d": data} if data else {},
    }
    if tmp_path is None:
        return ge.Model.from_dict(content)
    path = tmp_path / "model.json"
    path.write_text(json.dumps(content))
    return ge.load(path)


def written(folder, kind, rows=ROWS):
    """A file of the rows, and what a model says of it."""
    path = folder / f"d.{kind}"
    columns = dict(zip(("species", "size", "code"), zip(*rows, strict=True), strict=True))
    if kind == "csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([columns, *[["" if each is None else each for each in row] for row in rows]])
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows))
    elif kind == "npz":
        arrays = {
            name: np.array([np.nan if each is None else each for each in cells]) for name, cells in columns.items()
        }
        np.savez(path, **arrays)
    else:
        pa = pytest.importorskip("pyarrow", reason="the extra 'data'")
        import pyarrow.feather
        import pyarrow.parquet

        table = pa.table({name: list(cells) for name, cells in columns.items()})
        (pyarrow.parquet.write_table if kind == "parquet" else pyarrow.feather.write_feather)(table, path)
    return {"type": kind, "path": path.name}


def expect(found):
    assert found["index"].tolist() == [0, 2, 0, 1]
    assert found["code"].tolist() == [0, 2, 0, 1]
    np.testing.assert_array_equal(found["double"], [3.0, np.nan, 5.0, 8.0])
    assert found["label"].tolist() == ["setosa", "virginica", "setosa", "versicolor"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "npz", "parquet", "arrow"])
@pytest.mark.parametrize("many", [1, 500])
def test_a_file_gives_indices_and_nan_in_memory_and_on_disk(tmp_path, kind, many):
    model(tmp_path, data=written(tmp_path, kind, ROWS * many))
    arrays = ge.load(tmp_path / "model.json", limits=ge.Limits(data_bytes=20_000)).load_data("d")
    assert (type(arrays["size"]) is np.ndarray) == (many == 1)
    rows = {name: array[:4] for name, array in arrays.items()}
    expect(ge.load(tmp_path / "model.json").predict(rows))
    assert all(array.shape == (4 * many,) for array in arrays.values())
    np.testing.assert_array_equal(arrays["species"][:], [0, 2, 0, 1] * many)


def test_inline_data_and_calls_take_categories_and_null(tmp_path):
    columns = dict(zip(("species", "size", "code"), map(list, zip(*ROWS, strict=True)), strict=True))
    loaded = model(tmp_path, data={"type": "inline", "values": columns})
    expect(loaded.predict(loaded.load_data("d")))
    expect(loaded.predict(columns))
    masked = np.ma.masked_invalid([1.5, np.nan, 2.5, 4.0])
    expect(loaded.predict({**columns, "size": masked}))
    assert loaded.predict(species=["versicolor"])["label"].tolist() == ["versicolor"]


@pytest.mark.parametrize("library", ["pandas", "pandas nullable", "pandas category", "polars", "pyarrow"])
def test_frames_cross_the_same_boundary(library):
    name, _, kind = library.partition(" ")
    package = pytest.importorskip(name, reason="a library of frames")
    columns = dict(zip(("species", "size", "code"), map(list, zip(*ROWS, strict=True)), strict=True))
    frame = package.table(columns) if name == "pyarrow" else package.DataFrame(columns)
    if kind == "nullable":
        frame = frame.convert_dtypes()
    elif kind == "category":
        frame = frame.astype({"species": "category"})
    expect(model().predict(frame))


def test_indices_that_were_read_are_not_encoded_again(tmp_path):
    loaded = model(tmp_path, data=written(tmp_path, "npz"), code={"categories": [1, 0, 2, 7, 8, 9]})
    arrays = loaded.load_data("d")
    assert arrays["code"].tolist() == [3, 5, 3, 4]
    assert loaded.predict(arrays)["code"].tolist() == [3, 5, 3, 4]
    assert loaded.predict(code=np.array([1, 0, 7]))["code"].tolist() == [0, 1, 3]


def test_an_unknown_category_gives_the_index_that_is_declared():
    loaded = model(species={"unknown": 3}, code={"unknown": 0})
    found = loaded.predict({"species": ["x", "setosa", None], "code": [5, 9, 8]}, outputs=["index", "code"])
    assert found["index"].tolist() == [3, 0, 3]
    assert found["code"].tolist() == [0, 2, 1]
    with pytest.raises(ge.errors.ExecutionError, match="GE406: output 'label' has the index 3, input 'species' has"):
        loaded.predict(species=["x"], outputs="label")


def test_the_empty_text_may_be_a_category_of_its_own():
    loaded = model(species={"categories": ["", "a"]})
    assert loaded.predict(species=["a", "", None])["index"].tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [
        ("csv", "GE503", "d.csv:2: column 'size' is empty (3 cells, in lines 2, 3, 5)"),
        ("csv", "GE406", 'd.csv:3: column \'species\' has "x", "setossa" (2 cells, in lines 3, 5): not among'),
        ("jsonl", "GE503", "d.jsonl:1: key 'size' is missing (3 cells, in lines 1, 2, 4)"),
        ("jsonl", "GE406", 'd.jsonl:2: key \'species\' has "x", "setossa" (2 cells, in lines 2, 4): not among'),
        ("parquet", "GE503", "d.parquet: column 'size' has no value in row 1 (3 cells, in rows 1, 2, 4)"),
        ("parquet", "GE406", 'column \'species\' has "x", "setossa" in row 2 (2 cells, in rows 2, 4): not among'),
    ],
)
def test_all_bad_cells_of_a_file_are_counted(tmp_path, kind, code, message):
    rows = [("setosa", None, 7), ("x", None, 8), ("setosa", 1.0, 9), ("setossa", None, 7)]
    loaded = model(tmp_path, size={"missing": "error"}, data=written(tmp_path, kind, rows))
    with pytest.raises(ge.errors.DataError) as caught:
        loaded.load_data("d")
    found = {problem.code: problem for problem in caught.value.problems}
    assert message in found[code].message
    assert ("nn.impute" if code == "GE503" else '"unknown"') in found[code].hint


def test_bad_cells_are_reported_beside_what_ended_the_reading(tmp_path):
    (tmp_path / "d.csv").write_text("species,size,code\nsetosa,,7\nsetosa,1,7\nsetosa,z,7\n")
    loaded = model(tmp_path, size={"missing": "error"}, data={"type": "csv", "path": "d.csv"})
    with pytest.raises(ge.errors.DataError) as caught:
        loaded.load_data("d")
    assert [problem.message.partition(": ")[2] for problem in caught.value.problems] == [
        "column 'size' is empty",
        "column 'size' is not a number: 'z'",
    ]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"species": ["setosa", "sentosa"]}, "GE406: input 'species' has \"sentosa\" at position 1: not among"),
        ({"species": [0, 1]}, "GE406: input 'species' has 0, 1 at position 0 (2 cells, in positions 0, 1)"),
        ({"species": [None, "setosa"]}, "GE404: input 'species' has no value at position 0"),
        ({"code": [7, 7.5]}, "GE406: input 'code' has 7.5 at position 1"),
        (
            {"species": [["setosa"], ["setosa", "setosa"]]},
            "GE404: input 'species' is not a regular array of categories",
        ),
    ],
)
def test_a_call_with_bad_cells(inputs, message):
    with pytest.raises(ge.errors.InputError) as caught:
        model().predict(inputs)
    assert message in str(caught.value)


def test_missing_values_of_a_call_are_counted_where_they_are_not_declared():
    loaded = model(size={"missing": "error"})
    with pytest.raises(ge.errors.InputError) as caught:
        loaded.predict(size=[None, 1.0, None])
    assert "GE404: input 'size' has no value at position 0 (2 cells, in positions 0, 2)" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "pointer", "message"),
    [
        ({"species": {"categories": ["a", "b", "a"]}}, "/inputs/species/categories", "duplicate category 'a'"),
        ({"species": {"categories": []}}, "/inputs/species/categories", ""),
        ({"species": {"categories": ["a", 1]}}, "/inputs/species/categories", ""),
        ({"species": {"unknown": 4}}, "/inputs/species", "an index from 0 to 3"),
        ({"size": {"unknown": 0}}, "/inputs/size", "'unknown' needs 'categories'"),
        ({"species": {"missing": "nan"}}, "/inputs/species/missing", "has no NaN for missing values"),
        ({"label": "size"}, "/outputs/label/categories", "input 'size' has no categories"),
        ({"label": "specis"}, "/outputs/label/categories", "'specis' is not defined"),
    ],
)
def test_what_a_file_may_not_say(changes, pointer, message):
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        model(**changes)
    assert [(each.pointer.startswith(pointer), message in each.message) for each in caught.value.problems][:1] == [
        (True, True)
    ]


def test_a_table_survives_saving_and_python_code(tmp_path):
    loaded = model(tmp_path, species={"unknown": 1})
    loaded.save(tmp_path / "again.json")
    assert ge.load(tmp_path / "again.json").fingerprint == loaded.fingerprint
    assert loaded.fingerprint != model(species={"unknown": 2}).fingerprint
    from graphengine.model.python_code import python_code

    names = {}
    exec(python_code(loaded.document), names)
    assert names["model"].fingerprint == loaded.fingerprint
