"""Large CSV files are read by pyarrow where that gives the same numbers, and by the package's own reader elsewhere."""

import gzip
import itertools

import numpy as np
import pytest

import graphengine as ge
from graphengine.data import csv_arrow, readers

H = {"format": "graphengine.model", "format_version": 1, "opset_imports": {"core": 1}, "name": "t"}
RNG = np.random.default_rng(5)
CORNERS = ["-0", "1.", ".5", " 7 ", "1e-320", "5e-324", "9007199254740991"]
NUMBERS = [*map(repr, (RNG.normal(size=40) * 10.0 ** RNG.integers(-20, 15, 40)).tolist()), *CORNERS]


@pytest.fixture(autouse=True)
def _any_file_is_large(monkeypatch):
    monkeypatch.setattr(readers, "LARGE", 1)


@pytest.fixture
def read_by(monkeypatch):
    """The readers that gave all of a file, in order."""
    found = []

    def by_arrow(*arguments):
        yield from blocks(*arguments)
        found.append("pyarrow")

    def by_cells(*arguments):
        found.append("cells")
        return own(*arguments)

    own, blocks = readers.csv_blocks, csv_arrow.arrow_csv_blocks
    monkeypatch.setattr(csv_arrow, "arrow_csv_blocks", by_arrow)
    monkeypatch.setattr(readers, "csv_blocks", by_cells)
    return found


def load(folder, text, inputs, name="t.csv", **options):
    content = text if isinstance(text, bytes) else text.encode()
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    nodes = [{"id": "z", "op": "shape", "inputs": [next(iter(inputs))]}]
    source = {"type": "csv", "path": name, **options}
    model = {**H, "inputs": inputs, "nodes": nodes, "outputs": {"z": "z"}, "data": {"t": source}}
    return ge.Model.from_dict(model, path=folder / "m.json").load_data("t")


def table(*columns):
    rows = itertools.zip_longest(*columns)
    return "x,y,k\n" + "".join(f"{x},{y},{k}\n" for x, y, k in rows)


PLAIN = table(NUMBERS, NUMBERS[::-1], range(len(NUMBERS)))
INPUTS = {"x": {"shape": ["N"]}, "k": {"shape": ["N"], "dtype": "int64"}}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_pyarrow_gives_the_bits_of_python(tmp_path, read_by, dtype, name):
    inputs = {"x": {"shape": ["N", 2], "dtype": dtype}, "k": INPUTS["k"]}
    found = load(tmp_path, PLAIN, inputs, name, columns={"x": ["y", "x"], "k": "k"})
    assert read_by == ["pyarrow"]
    expected = np.array([list(map(float, NUMBERS[::-1])), list(map(float, NUMBERS))]).T.astype(dtype)
    assert found["x"].dtype == dtype
    assert found["x"].tobytes() == expected.tobytes()
    np.testing.assert_array_equal(found["k"], np.arange(len(NUMBERS)))


@pytest.mark.parametrize("size", [50, 51, 57, 64])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_segments_end_with_a_row_wherever_the_bytes_do(tmp_path, read_by, monkeypatch, size, end):
    monkeypatch.setattr(csv_arrow, "SEGMENT", size)
    text = end.join(PLAIN.splitlines())  # the last row has no line end
    assert len(text) > 20 * size
    found = load(tmp_path, text, INPUTS, "t.csv.gz")
    assert read_by == ["pyarrow"]
    assert found["x"].tobytes() == np.array(list(map(float, NUMBERS))).tobytes()
    np.testing.assert_array_equal(found["k"], np.arange(len(NUMBERS)))


@pytest.mark.parametrize(
    "text",
    [
        "\n0,1\n1.5,2\n",
        "\r\n0,1\n1.5,2\n",
        "0,1\r1.5,2\n2.5,3\n",
        "0,1\r1.5,2\r",
        "\ufeff0,1\n1.5,2\n",
        "0,1\n1.5,2\n\n\n",
    ],
)
def test_the_header_is_the_line_that_the_own_reader_takes(tmp_path, monkeypatch, text):
    inputs, columns = {"x": {"shape": ["N"]}, "k": INPUTS["k"]}, {"x": "0", "k": "1"}
    found = load(tmp_path, text, inputs, columns=columns)
    monkeypatch.setattr(readers, "find_spec", lambda name: None)
    own = load(tmp_path, text, inputs, columns=columns)
    assert found["x"].tobytes() == own["x"].tobytes()
    assert found["x"][0] == 1.5


def test_marks_and_missing_texts_are_those_of_the_source(tmp_path, read_by):
    text = "x;k\n1,5;1\nNA;2\n;3\n"
    inputs = {"x": {"shape": ["N"], "missing": "nan"}, "k": INPUTS["k"]}
    found = load(tmp_path, text, inputs, separator=";", decimal=",", missing=["NA"])
    assert read_by == ["pyarrow"]
    np.testing.assert_array_equal(found["x"], [1.5, np.nan, np.nan])


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ('x,k\n"1.5",1\n', [1.5]),
        ("x,k\n1.5,1.0\n", [1.5]),
        ("x,k\n1.5,+1\n", [1.5]),
        ("x,k\n9007199254740994,1\n", [2.0**53 + 2]),
        ("x,k,\u00e9\n1.5,1,\u00e9\n", [1.5]),
    ],
)
def test_what_pyarrow_may_read_otherwise_gives_the_same(tmp_path, read_by, text, numbers):
    assert load(tmp_path, text, INPUTS)["x"].tolist() == numbers
    assert read_by in (["cells"], ["pyarrow"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1.5,0x10", "column 'k' is not an integer"),
        ("1e400,1", "column 'x' has a number larger than any float64"),
        ("9007199254740993,1", "column 'x'"),
        ("1_0,1", "column 'x' is not a number"),
        (",1", "column 'x' is empty"),
        ("1.5,9223372036854775808", "column 'k'"),
        ("1.5,1,2", "the row has 3 cells, the header has 2"),
    ],
)
def test_an_error_has_the_place_that_only_the_own_reader_knows(tmp_path, read_by, row, message):
    with pytest.raises(ge.errors.DataError) as caught:
        load(tmp_path, f"x,k\n2.5,2\n{row}\n", INPUTS)
    assert f"t.csv:3: {message}" in str(caught.value)
    assert read_by == ["cells"]


def test_what_is_not_utf8_is_refused_in_any_column(tmp_path, read_by):
    with pytest.raises(ge.errors.DataError, match="utf-8"):
        load(tmp_path, b"x,k,name\n1.5,1,\xff\n", INPUTS)
    assert read_by == ["cells"]


def test_a_small_file_and_a_table_of_words_need_no_pyarrow(tmp_path, read_by, monkeypatch):
    words = {**INPUTS, "y": {"shape": ["N"], "dtype": "int64", "categories": ["a", "b"]}}
    load(tmp_path, "x,y,k\n1.5,a,1\n", words)
    monkeypatch.setattr(readers, "LARGE", 1000)
    load(tmp_path, "x,k\n1.5,1\n", INPUTS)
    assert read_by == ["cells", "cells"]


def test_without_pyarrow_the_numbers_are_the_same(tmp_path, read_by, monkeypatch):
    inputs = {"x": {"shape": ["N"]}, "k": INPUTS["k"]}
    with_arrow = load(tmp_path, PLAIN, inputs)
    monkeypatch.setattr(readers, "find_spec", lambda name: None)
    without = load(tmp_path, PLAIN, inputs)
    assert read_by == ["pyarrow", "cells"]
    assert with_arrow["x"].tobytes() == without["x"].tobytes()


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_threads_keep_the_order_and_read_little_ahead(threads):
    taken = 0

    def items():
        nonlocal taken
        for number in range(20):
            taken += 1
            yield number

    for place, made in enumerate(
        csv_arrow._in_threads(lambda number: {"square": np.array(number**2)}, items(), threads)
    ):
        assert made["square"] == place**2
        assert taken <= place + threads + 1
    assert place == 19


def test_memory_bounds_the_threads(tmp_path, read_by, monkeypatch):
    asked = []
    in_threads = csv_arrow._in_threads

    def counted(function, items, threads):
        asked.append(threads)
        return in_threads(function, items, threads)

    monkeypatch.setattr(csv_arrow, "_in_threads", counted)
    monkeypatch.setattr("pyarrow.cpu_count", lambda: 1000)
    load(tmp_path, PLAIN, INPUTS)
    assert read_by == ["pyarrow"]
    assert asked == [2**30 // 32 // csv_arrow.SEGMENT]
