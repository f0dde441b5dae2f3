"""Scoring of record batches: the outputs of each row beside columns that are kept, and rows that have none."""

import numpy as np
import pyarrow as pa
import pytest
from documents import document

import graphengine as ge
from graphengine.scale import batch_scoring
from graphengine.scale.batch_scoring import Refusals, score_batches

COLORS = ["red", "green", "blue"]
pytestmark = pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")


def model():
    """Two outputs of numbers and categories, and one of all rows."""
    content = document(
        {
            "weighted": ("matmul", ["x", "w"]),
            "shade": ("gather", ["shades", "color"], {"axis": 0}),
            "z": ("mul", ["weighted", "shade"]),
            "middle": ("mean", ["z"]),
            "far": ("sub", ["z", "middle"]),
        },
        {"z": "z", "middle": "middle", "far": "far", "color": {"value": "color", "categories": "color"}},
        inputs={
            "x": {"shape": ["N", 2]},
            "color": {"shape": ["N"], "dtype": "int64", "categories": COLORS},
        },
        parameters={"w": {"shape": [2], "value": [0.3, -0.7]}, "shades": {"shape": [3], "value": [1.0, 2.0, 4.0]}},
    )
    return ge.Model.from_dict(content)


def table(rows=500, seed=1):
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "id": np.arange(rows),
            "a": random.standard_normal(rows),
            "b": random.standard_normal(rows),
            "color": [COLORS[n] for n in random.integers(0, 3, rows)],
        }
    )


COLUMNS = {"x": ["a", "b"]}


def scored(data, rows, subject=None, **options):
    batches = score_batches(subject or model(), data.to_batches(rows), columns=COLUMNS, **options)
    return pa.Table.from_batches(list(batches))


def test_batches_have_the_kept_columns_and_the_outputs_of_their_rows():
    data = table()
    found = scored(data, 100, keep=["id", "color"])
    assert found.schema.names == ["id", "color", "z", "predicted_color"]
    assert found["id"].equals(data["id"])
    assert found["color"].to_pylist() == data["color"].to_pylist() == found["predicted_color"].to_pylist()
    shades = dict(zip(COLORS, [1.0, 2.0, 4.0], strict=True))
    x = np.column_stack([data["a"], data["b"]])
    expected = x @ [0.3, -0.7] * [shades[each] for each in data["color"].to_pylist()]
    np.testing.assert_allclose(found["z"], expected, rtol=1e-14, atol=1e-15)


def test_the_bits_do_not_depend_on_how_rows_are_divided():
    data = table()
    found = [scored(data, rows, keep="all") for rows in (1, 7, 192, 1000)]
    assert all(each.equals(found[0]) for each in found)
    given = {"x": np.column_stack([data["a"], data["b"]]), "color": data["color"].to_pylist()}
    assert found[0]["z"].to_numpy().tobytes() == model().predict(given, outputs="z", row_stable=True)["z"].tobytes()


def test_outputs_of_several_rows_are_left_out_or_refused():
    assert scored(table(), 100, outputs="z").schema.names == ["z"]
    for stable in (True, False):
        with pytest.raises(ge.errors.UsageError, match=r"GE417: .*'far'"):
            scored(table(), 100, outputs=["z", "far"], row_stable=stable)


def with_nulls(data, column, rows):
    place = data.schema.get_field_index(column)
    values = data[column].to_pylist()
    return data.set_column(place, column, pa.array([None if n in rows else value for n, value in enumerate(values)]))


def test_rows_without_values_have_no_outputs_and_are_counted():
    data = with_nulls(with_nulls(table(), "a", {3, 250}), "color", {3, 4})
    values = data["color"].to_pylist()
    data = data.set_column(3, "color", pa.array(["pink" if n == 499 else value for n, value in enumerate(values)]))
    refusals = Refusals()
    found = scored(data, 100, keep="id", refusals=refusals)
    assert refusals.reasons == {
        "column 'a' has no value": 2,
        "column 'color' has no value": 1,
        "column 'color' has \"pink\": not among the categories of input 'color'": 1,
    }
    assert refusals.count == 4
    assert refusals.first["column 'a' has no value"] == [3, 250]
    bad = {3, 4, 250, 499}
    assert [n for n, value in enumerate(found["z"].to_pylist()) if value is None] == sorted(bad)
    assert found["id"].to_pylist() == list(range(500))
    good = [n for n in range(500) if n not in bad]
    assert found["z"].take(good).equals(scored(table(), 100)["z"].take(good))


def test_a_batch_of_bad_rows_alone_has_the_columns_of_the_others():
    data = with_nulls(table(200), "a", set(range(100)))
    found = list(score_batches(model(), data.to_batches(100), columns=COLUMNS))
    assert found[0].schema == found[1].schema
    assert found[0]["z"].null_count == 100
    assert found[1]["z"].null_count == 0


def picking_model():
    """Fails for rows whose index is not in a table of four numbers."""
    nodes = {"z": ("gather", ["numbers", "n"], {"axis": 0})}
    inputs = {"n": {"shape": ["N"], "dtype": "int64"}}
    parameters = {"numbers": {"shape": [4], "value": [1.0, 2.0, 3.0, 4.0]}}
    return ge.Model.from_dict(document(nodes, {"z": "z"}, inputs=inputs, parameters=parameters))


def test_a_row_that_fails_alone_is_refused_and_a_model_that_fails_is_an_error(monkeypatch):
    data = pa.table({"n": np.arange(1000) % 4})
    data = data.set_column(0, "n", pa.array([77 if n in (5, 600) else n % 4 for n in range(1000)]))
    refusals = Refusals()
    found = pa.Table.from_batches(list(score_batches(picking_model(), data.to_batches(500), refusals=refusals)))
    assert found["z"].to_pylist() == [None if n in (5, 600) else float(n % 4 + 1) for n in range(1000)]
    ((reason, count),) = refusals.reasons.items()
    assert count == 2
    assert "'z' (gather)" in reason
    monkeypatch.setattr(batch_scoring, "MOST_FAILING", 3)
    broken = pa.table({"n": np.full(10, 9)})
    with pytest.raises(ge.errors.ExecutionError, match="gather"):
        list(score_batches(picking_model(), broken.to_batches()))


def test_single_samples_are_scored_one_by_one():
    single = ge.load("linreg_single_sample")
    single.parameters["theta"] = 2.0
    data = pa.table({"x": [1.0, 2.5, -3.0]})
    (found,) = score_batches(single, data.to_batches(), columns={"x": "x"})
    assert found.to_pydict() == {"prediction": [2.0, 5.0, -6.0]}


def test_lists_are_inputs_with_further_axes():
    lstm = ge.load("lstm_sums")
    name, declared = next((name, each) for name, each in lstm.graph.inputs.items() if len(each.type.shape) == 3)
    steps, width = 6, declared.type.shape[2]
    values = np.random.default_rng(3).standard_normal((300, steps, width))
    flat = pa.array(values.reshape(-1))
    columns = {
        "fixed": pa.FixedSizeListArray.from_arrays(flat, steps * width),
        "lists": pa.array(values.reshape(300, -1).tolist()),
    }
    expected = None
    for column in columns.values():
        found = pa.Table.from_batches(list(score_batches(lstm, pa.table({name: column}).to_batches(90))))
        whole = lstm.predict({name: values}, row_stable=True)
        expected = next(iter(whole.values()))
        assert found[0].to_numpy().tobytes() == np.ascontiguousarray(expected.reshape(300, -1)[:, 0]).tobytes()
    assert len(expected) == 300
    with pytest.raises(ge.errors.DataError, match="GE505"):
        list(score_batches(lstm, pa.table({name: pa.array([[1.0], [1.0, 2.0]])}).to_batches()))
    for lists in (pa.array([["a"]]), pa.array([["a"]], pa.list_(pa.dictionary(pa.int8(), pa.string())))):
        with pytest.raises(ge.errors.DataError, match="GE503: the lists of column 'x' hold "):
            list(score_batches(lstm, pa.table({name: lists}).to_batches()))


@pytest.mark.parametrize(
    ("options", "error", "code"),
    [
        ({"keep": "idd"}, ge.errors.DataError, "GE502"),
        ({"outputs": "nothing"}, ge.errors.UsageError, "GE402"),
        ({"columns": {"x": ["a", "c"]}, "outputs": "z"}, ge.errors.InputError, "GE401"),
        ({"columns": {"x": ["a", "color"]}}, ge.errors.DataError, "GE503"),
    ],
)
def test_what_does_not_fit_the_batches_is_an_error(options, error, code):
    with pytest.raises(error, match=code):
        list(score_batches(model(), table().to_batches(), **{"columns": COLUMNS, **options}))
