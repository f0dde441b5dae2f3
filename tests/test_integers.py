"""Integers of 64 bits through every door: exact to the last bit, or refused with a code."""

import json
import re
from contextlib import suppress

import numpy as np
import pandas
import polars
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest
from documents import document
from typer.testing import CliRunner

import graphengine as ge
from graphengine.cli.app import app
from graphengine.format.tensors import write_tensors

BEYOND = 2**53 + 1
SIGNED = [[BEYOND, -BEYOND], [2**63 - 1, -(2**63)], [3, 2**62 + 1], [-1, 2**53 + 3]]
UNSIGNED = [[2**64 - 1, 1], [2**63, 0], [BEYOND, 2**63 + 1]]
CASES = [("int64", pair) for pair in SIGNED] + [("uint64", pair) for pair in UNSIGNED]
UNFIT = [
    ("int64", [2**63, 1]),
    ("int64", [2**63, -1]),
    ("int64", [-(2**63) - 1, 1]),
    ("uint64", [-1, 2**63]),
    ("uint64", [2**64, 1]),
    ("int64", [10**30, 1]),
    ("uint64", [-1, 1]),
    ("int32", [2**31, 1]),
]
INEXACT = [
    (dtype, numbers)
    for dtype in ("float64", "float32")
    for numbers in ([BEYOND, 1], [2**63 - 1, 1], [2**64 - 1, 1], [-BEYOND, 1], [BEYOND, 0.5], [0.5, -(2**63) + 1])
]


def model_of(dtype, shape=("N",), **sections):
    """A model that gives out what it was given."""
    inputs = {"k": {"shape": list(shape), "dtype": dtype}}
    return document({"z": ("reshape", ["k"], {"shape": [-1]})}, {"z": "z"}, inputs=inputs, **sections)


def given(convert):
    """A door for what a caller passes to `predict`."""

    def through(numbers, dtype, folder):
        return ge.Model.from_dict(model_of(dtype)).predict(k=convert(numbers, dtype))["z"]

    return through


def held(convert=list):
    """A door for the value of a parameter in a file."""

    def through(numbers, dtype, folder):
        declared = {"shape": [len(numbers)], "dtype": dtype, "trainable": False, "initializer": {"type": "zeros"}}
        declared["value"] = convert(numbers)
        return ge.Model.from_dict(document({"z": ("neg", ["p"])}, parameters={"p": declared})).parameters["p"]

    return through


def read(kind, write, names="k", shape=("N",)):
    """A door for a file of data."""

    def through(numbers, dtype, folder):
        path = folder / f"data.{kind}"
        write(path, numbers, dtype)
        key = {"jsonl": "keys", "npz": "arrays"}.get(kind, "columns")
        source = {"type": kind, "path": path.name, key: {"k": names}}
        if kind == "npy":
            source = {"type": "npy", "paths": {"k": path.name}}
        (folder / "m.json").write_text(json.dumps(model_of(dtype, shape, data={"train": source})))
        found = ge.load(folder / "m.json").load_data("train")["k"]
        return found if found.ndim == 1 else found[:, 0]

    return through


def csv(form):
    return read("csv", lambda path, numbers, dtype: path.write_text("\n".join(["k", *map(form, numbers)]) + "\n"))


def jsonl(form):
    return lambda path, numbers, dtype: path.write_text(
        "".join(json.dumps({"k": form(each)}) + "\n" for each in numbers)
    )


def shifted(number):
    """The same number with a point behind its first digit and an exponent."""
    sign, digits = "-" * (number < 0), str(abs(number))
    return f"{sign}{digits[0]}.{digits[1:] or '0'}e{len(digits) - 1}"


def inline(numbers, dtype, folder):
    source = {"type": "inline", "values": {"k": numbers}}
    return ge.Model.from_dict(model_of(dtype, data={"train": source})).load_data("train")["k"]


def constants(numbers, dtype, folder):
    nodes = {f"c{place}": ("constant", [], {"value": each, "dtype": dtype}) for place, each in enumerate(numbers)}
    found = ge.Model.from_dict(document({**nodes, "z": ("stack", list(nodes), None)}, {"z": "z"})).predict()
    return found["z"]


def built(numbers, dtype, folder):
    builder = ge.Builder("t")
    p = builder.parameter("p", [len(numbers)], dtype=dtype, trainable=False, value=numbers)
    builder.output(z=-p)
    return builder.model().parameters["p"]


def assigned(numbers, dtype, folder):
    model = ge.Model.from_dict(
        document({"z": ("neg", ["p"])}, parameters={"p": {"shape": [len(numbers)], "dtype": dtype, **ZEROS}})
    )
    model.parameters["p"] = numbers
    return model.parameters["p"]


STARTED = {"initializer": {"type": "zeros"}}
ZEROS = {"trainable": False, **STARTED}


def saved(numbers, dtype, folder):
    model = ge.Model.from_dict(
        document({"z": ("neg", ["p"])}, parameters={"p": {"shape": [len(numbers)], "dtype": dtype, **ZEROS}})
    )
    model.parameters["p"] = array_of(numbers)
    model.save(folder / "saved.json")
    return ge.load(folder / "saved.json").parameters["p"]


def tensors(numbers, dtype, folder):
    (value,) = write_tensors(folder, "m", {"p": array_of(numbers)}).values()
    declared = {"shape": [len(numbers)], "dtype": dtype, **ZEROS, "value": value.model_dump()}
    content = document({"z": ("neg", ["p"])}, parameters={"p": declared})
    (folder / "m.json").write_text(json.dumps(content))
    return ge.load(folder / "m.json").parameters["p"]


def checkpointed(numbers, dtype, folder):
    """The integers as a state that a training keeps, saves in a checkpoint, and resumes from."""
    state = {"k": {"shape": [len(numbers)], "dtype": dtype, **STARTED, "value": numbers, "update": "same"}}
    content = document(
        {"error": ("mul", ["w", "x"]), "loss": ("sum", ["error"]), "same": ("reshape", ["k"], {"shape": [-1]})},
        {"loss": "loss"},
        inputs={"x": ["N"]},
        parameters={"w": [1.0]},
        state=state,
        training={"loss": "loss", "optimizer": {"type": "sgd", "learning_rate": 0.0}},
    )
    data = {"x": [1.0, 2.0]}
    ge.Model.from_dict(content).train(data, epochs=1, checkpoints=folder / "saved")
    resumed = ge.Model.from_dict(content)
    resumed.values["k"] = np.zeros(len(numbers), dtype)
    resumed.train(data, epochs=1, checkpoints=folder / "saved", resume=True)
    return resumed.values["k"]


def command(option, text):
    """A door of the command line, with the numbers that it prints in two forms."""

    def through(numbers, dtype, folder):
        (folder / "m.json").write_text(json.dumps(model_of(dtype)))
        words = ["predict", str(folder / "m.json"), option, f"k={text(numbers)}"]
        if option == "--set":
            words[-1] = f"inputs.{words[-1]}"
        result = CliRunner().invoke(app, [*words, "--format", "json"])
        if result.exit_code:
            code = json.loads(result.stdout)["errors"][0]["code"]
            raise ge.errors.GraphEngineError("refused", code=code)
        as_text = CliRunner().invoke(app, [*words, "--format", "csv"]).stdout.splitlines()[1:]
        found = json.loads(result.stdout)["outputs"]["z"]
        assert [type(each)(line) for each, line in zip(found, as_text, strict=True)] == found
        return found

    return through


def array_of(numbers):
    """The array of exactly these numbers, in the first dtype of 64 bits that has them."""
    for dtype in (np.int64, np.uint64):
        with suppress(OverflowError):
            if all(isinstance(number, int) for number in numbers):
                return np.array(numbers, dtype)
    raise AssertionError(f"{numbers} are no array of integers")


def series(numbers):
    return pandas.Series(array_of(numbers))


def swapped(array):
    return array.astype(array.dtype.newbyteorder(">"))


def nullable(numbers, missing=()):
    column = series(numbers)
    column = column.astype({"int64": "Int64", "uint64": "UInt64"}[column.dtype.name])
    return pandas.concat([column, pandas.Series([None] * len(missing), dtype=column.dtype)]) if missing else column


def table(numbers):
    """A table of Arrow with a column of these integers and one of another dtype."""
    column = array_of(numbers)
    other = "uint64" if column.dtype == np.int64 else "int64"
    return pyarrow.table({"k": column, "other": np.ones(len(numbers), other)})


def frame(library):
    """A door for a frame with a column of integers and one of another dtype, as the value of one input."""

    def through(numbers, dtype, folder):
        columns = {"k": array_of(numbers), "other": np.ones(len(numbers), "uint8" if dtype[0] in "iu" else "float64")}
        given = library.DataFrame(columns) if library is not pyarrow else pyarrow.table(columns)
        return ge.Model.from_dict(model_of(dtype, ("N", 2))).predict(k=given)["z"][::2]

    return through


DOORS = {
    "list": given(lambda numbers, dtype: numbers),
    "tuple": given(lambda numbers, dtype: tuple(numbers)),
    "scalars of NumPy": given(lambda numbers, dtype: [np.array(each)[()] for each in numbers]),
    "arrays without axes": given(lambda numbers, dtype: [np.array(each) for each in numbers]),
    "array": given(lambda numbers, dtype: array_of(numbers)),
    "big-endian array": given(lambda numbers, dtype: swapped(array_of(numbers))),
    "Series of pandas": given(lambda numbers, dtype: series(numbers)),
    "Series of polars": given(lambda numbers, dtype: polars.Series(array_of(numbers))),
    "nullable Series": given(lambda numbers, dtype: nullable(numbers)),
    "frame of pandas": frame(pandas),
    "frame of polars": frame(polars),
    "table of Arrow": frame(pyarrow),
    "array of Arrow": given(lambda numbers, dtype: pyarrow.chunked_array([array_of(numbers)])),
    "value": held(),
    "assignment": assigned,
    "builder": built,
    "constant": constants,
    "saved": saved,
    "safetensors": tensors,
    "checkpoint": checkpointed,
    "inline": inline,
    "csv": csv(str),
    "csv with a point": csv(lambda number: f"{number}.0"),
    "csv with an exponent": csv(lambda number: f"{number}0E-1"),
    "csv with both": csv(shifted),
    "csv with spaces": csv(lambda number: f" {number} "),
    "jsonl": read("jsonl", jsonl(lambda number: number)),
    "jsonl with rows": read("jsonl", jsonl(lambda number: [number, 0]), shape=("N", 2)),
    "npz": read("npz", lambda path, numbers, dtype: np.savez(path, k=array_of(numbers))),
    "npy": read("npy", lambda path, numbers, dtype: np.save(path, array_of(numbers))),
    "parquet": read("parquet", lambda path, numbers, dtype: pyarrow.parquet.write_table(table(numbers), path)),
    "parquet, columns of two dtypes": read(
        "parquet",
        lambda path, numbers, dtype: pyarrow.parquet.write_table(table(numbers), path),
        names=["k", "other"],
        shape=("N", 2),
    ),
    "arrow": read("arrow", lambda path, numbers, dtype: pyarrow.feather.write_feather(table(numbers), path)),
    "--input": command("--input", json.dumps),
    "--set": command("--set", json.dumps),
}


OF_ARRAYS = {
    "array",
    "big-endian array",
    "Series of pandas",
    "Series of polars",
    "nullable Series",
    "frame of pandas",
    "frame of polars",
    "table of Arrow",
    "array of Arrow",
    "saved",
    "safetensors",
    "npz",
    "npy",
    "parquet",
    "parquet, columns of two dtypes",
    "arrow",
}
"""Doors of what is an array of integers already: some lists of numbers cannot come through them."""
ROUNDED = {"csv with a point", "csv with an exponent", "csv with both"}
"""Doors of decimal numbers, which are rounded to floating-point numbers as everywhere."""


def through(cases, doors=frozenset(DOORS)):
    """Parameters of a test: every case through every door that can take it."""
    return pytest.mark.parametrize(
        ("door", "dtype", "numbers"),
        [
            pytest.param(door, dtype, numbers, id=f"{door}-{dtype}-{numbers}")
            for dtype, numbers in cases
            for door in DOORS
            if door in doors and (door not in OF_ARRAYS or is_array(numbers))
        ],
    )


def is_array(numbers):
    whole = all(isinstance(number, int) for number in numbers)
    return whole and (-(2**63) <= min(numbers) <= max(numbers) < 2**63 or 0 <= min(numbers) <= max(numbers) < 2**64)


def numbers_of(found):
    return [each.item() if isinstance(each, np.generic) else each for each in np.asarray(found, dtype=object).ravel()]


@through(CASES)
def test_an_integer_that_fits_is_exact_to_the_last_bit(door, dtype, numbers, tmp_path):
    assert numbers_of(DOORS[door](numbers, dtype, tmp_path)) == numbers


def assert_refused(door, dtype, numbers, folder):
    with pytest.raises(ge.errors.GraphEngineError) as caught:
        DOORS[door](numbers, dtype, folder)
    assert re.fullmatch(r"GE\d{3}", caught.value.problems[0].code)


@through(UNFIT)
def test_an_integer_that_does_not_fit_is_refused_with_a_code(door, dtype, numbers, tmp_path):
    assert_refused(door, dtype, numbers, tmp_path)


@through(INEXACT, DOORS.keys() - ROUNDED)
def test_an_integer_that_is_no_floating_point_number_is_refused_where_one_is_meant(door, dtype, numbers, tmp_path):
    assert_refused(door, dtype, numbers, tmp_path)


@pytest.mark.parametrize(
    "column",
    [
        pandas.Series([BEYOND, None], dtype="Int64"),
        polars.Series([BEYOND, None]),
        pyarrow.chunked_array([[BEYOND, None]]),
    ],
    ids=["pandas", "polars", "Arrow"],
)
def test_an_integer_beside_a_missing_value_is_not_rounded(column):
    with pytest.raises(ge.errors.InputError):
        ge.Model.from_dict(model_of("float64")).predict(k=column)


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("3.0", 3),
        ("-25e-1e", None),
        ("1.50e1", 15),
        ("2.5", None),
        ("1e-1", None),
        ("0e999999999999", 0),
        ("0e-99", 0),
        ("1e999999999", None),
        ("1e-999999999", None),
        ("1e99999999999999999999", None),
        ("9" * 5000, None),
        ("1." + "0" * 5000, 1),
        ("9223372036854775807.5", None),
        ("nan", None),
        ("snan", None),
        ("inf", None),
        ("1_0.0", None),
    ],
)
def test_a_decimal_number_is_an_integer_if_it_is_whole(cell, number, tmp_path):
    door = csv(lambda each: each)
    if number is None:
        with pytest.raises(ge.errors.DataError, match="is not an integer of dtype int64"):
            door([cell], "int64", tmp_path)
    else:
        assert door([cell], "int64", tmp_path).tolist() == [number]


@pytest.mark.parametrize(
    "cell", ["9007199254740992", "1152921504606846976", "10000000000000000", "1e300", "-1e16", " 7 "]
)
def test_an_integer_of_csv_that_a_floating_point_number_equals_is_read(cell, tmp_path):
    assert csv(lambda each: each)([cell], "float64", tmp_path).tolist() == [float(cell)]


def test_a_saved_model_says_the_same_integers(tmp_path):
    numbers = [2**64 - 1, 1, BEYOND]
    saved(numbers, "uint64", tmp_path)
    assert json.loads((tmp_path / "saved.json").read_text())["parameters"]["p"]["value"] == numbers


def test_an_attribute_that_is_a_floating_point_number_takes_no_integer_that_it_would_round():
    nodes = {"z": ("pad", ["k"], {"pad_width": [[1, 1]], "constant_values": BEYOND})}
    with pytest.raises(ge.errors.InvalidModelError, match="beyond 2\\^53") as caught:
        ge.Model.from_dict(document(nodes, {"z": "z"}, inputs={"k": ["N"]}))
    assert caught.value.problems[0].pointer == "/nodes/0/attributes/constant_values"


@pytest.mark.parametrize("batch_size", [None, 1, 2])
@pytest.mark.parametrize("reference", [True, False])
def test_a_state_of_integers_is_exact_in_a_training(batch_size, reference):
    content = document(
        {"error": ("mul", ["w", "x"]), "loss": ("sum", ["error"]), "next": ("add", ["count", 2])},
        {"loss": "loss"},
        inputs={"x": ["N"]},
        parameters={"w": [1.0]},
        state={"count": {"shape": [], "dtype": "int64", "value": BEYOND, "update": "next", **STARTED}},
        training={"loss": "loss", "optimizer": {"type": "sgd", "learning_rate": 0.0}},
    )
    model = ge.Model.from_dict(content)
    trainer = model.trainer({"x": [1.0, 2.0, 3.0, 4.0]}, batch_size=batch_size, epochs=3)
    trainer.stepper.reference = reference
    list(trainer.iterate())
    iterations = 3 * (4 // (batch_size or 4))
    assert model.values["count"] == BEYOND + 2 * iterations
