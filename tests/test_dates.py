"""Dates as numbers: the same from files, frames and calls, checked against datetime64 of NumPy and pandas."""

import datetime
import json
import random

import numpy as np
import pytest

import graphengine as ge

TEXTS = [
    "1970-01-02",
    "2024-02-29T12:30:00Z",
    "1969-07-20T20:17:40+00:00",
    "2000-01-01 00:00:00",
    "2024-02-29T12:30:00+05:30",
]
UTC = ["1970-01-02", "2024-02-29T12:30:00", "1969-07-20T20:17:40", "2000-01-01T00:00:00", "2024-02-29T07:00:00"]
UNITS = {"days": "D", "hours": "h", "minutes": "m", "seconds": "s"}


def since(texts, unit):
    """Numbers of dates in UTC by NumPy."""
    return (np.array(texts, "datetime64[us]") - np.datetime64(0, "us")) / np.timedelta64(1, unit)


def model(tmp_path=None, unit="days", data=None, **declared):
    content = {
        "format": "graphengine.model",
        "format_version": 1,
        "opset_imports": {"core": 1},
        "name": "dates",
        "inputs": {"time": {"shape": ["N"], "units": f"{unit} since 1970-01-01", **declared}},
        "nodes": [{"id": "z", "op": "mul", "inputs": ["time", 1]}],
        "outputs": {"z": "z"},
        "data": {"d": data} if data else {},
    }
    if tmp_path is None:
        return ge.Model.from_dict(content)
    (tmp_path / "m.json").write_text(json.dumps(content))
    return ge.load(tmp_path / "m.json")


@pytest.mark.parametrize("unit", UNITS)
def test_dates_of_a_call_are_those_of_numpy(unit):
    expected = since(UTC, UNITS[unit])
    dates = [datetime.datetime.fromisoformat(text) for text in TEXTS]
    for given in (TEXTS, dates, np.array(UTC, "datetime64[ns]"), np.array(UTC, "datetime64[s]"), expected):
        np.testing.assert_allclose(model(unit=unit).predict(time=given)["z"], expected, rtol=1e-15)
    assert model().predict(time=[datetime.date(1970, 1, 3)])["z"].tolist() == [2.0]


def test_a_date_that_only_its_time_zone_puts_before_the_first_year():
    expected = since(["0000-12-31T19:00:00"], "s")
    assert model(unit="seconds").predict(time=["0001-01-01T00:00:00+05:00"])["z"].tolist() == expected.tolist()


def test_whole_numbers_are_exact_and_others_are_refused_for_integers():
    generator = random.Random(0)
    seconds = np.array([generator.randrange(-(10**11), 10**11) for _ in range(200)])
    texts = np.datetime_as_string(seconds.astype("datetime64[s]")).tolist()
    whole = [text for text in texts if "0001" <= text < "9999"]
    found = model(unit="seconds", dtype="int64").predict(time=whole)["z"]
    np.testing.assert_array_equal(found, np.array(whole, "datetime64[s]").astype(np.int64))
    with pytest.raises(ge.errors.InputError, match="is not a whole number of days since 1970-01-01"):
        model(dtype="int64").predict(time=["2024-02-29T12:30:00"])


@pytest.mark.parametrize("library", ["pandas", "pandas UTC", "polars", "polars UTC", "polars dates", "pyarrow"])
def test_frames_with_dates(library):
    name, _, kind = library.partition(" ")
    package = pytest.importorskip(name, reason="a library of frames")
    moments = [datetime.datetime.fromisoformat(text) for text in UTC]
    if kind == "dates":
        moments = [each.date() for each in moments]
    frame = package.table({"time": moments}) if name == "pyarrow" else package.DataFrame({"time": moments})
    if library == "polars UTC":
        column = package.col("time").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Kolkata")
        frame = frame.with_columns(column)
    elif kind == "UTC":
        frame["time"] = frame["time"].dt.tz_localize("UTC").dt.tz_convert("Asia/Kolkata")
    texts = [str(each) for each in moments]
    np.testing.assert_allclose(model(unit="hours").predict(frame)["z"], since(texts, "h"), rtol=1e-15)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "arrow", "texts"])
def test_files_with_dates_and_gaps(tmp_path, kind):
    expected = np.append(since(UTC, "D"), np.nan)
    rows = [*TEXTS, None]
    path = tmp_path / f"d.{'parquet' if kind == 'texts' else kind}"
    if kind == "csv":
        path.write_text("n,time\n" + "".join(f"1,{row or ''}\n" for row in rows))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps({"time": row}) + "\n" for row in rows))
    else:
        pa = pytest.importorskip("pyarrow", reason="the extra 'data'")
        from pyarrow import feather, parquet

        moments = pa.array([*map(datetime.datetime.fromisoformat, UTC), None], pa.timestamp("ms"))
        table = pa.table({"time": rows if kind == "texts" else moments})
        (feather.write_feather if kind == "arrow" else parquet.write_table)(table, path)
    data = {"type": path.suffix[1:], "path": path.name}
    arrays = model(tmp_path, data=data, missing="nan").load_data("d")
    np.testing.assert_allclose(arrays["time"], expected, rtol=1e-15)
    assert arrays["time"].dtype == np.float64
    with pytest.raises(ge.errors.DataError, match="GE503"):
        model(tmp_path, data=data).load_data("d")


def test_days_of_parquet_are_whole_numbers(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="the extra 'data'")
    from pyarrow import parquet

    days = [datetime.date(2024, 2, 29), datetime.date(1900, 1, 1)]
    parquet.write_table(pa.table({"time": pa.array(days, pa.date32())}), tmp_path / "d.parquet")
    arrays = model(tmp_path, data={"type": "parquet", "path": "d.parquet"}, dtype="int64").load_data("d")
    assert arrays["time"].tolist() == np.array(days, "datetime64[D]").astype(np.int64).tolist()


def test_a_csv_file_may_have_a_format_of_its_own_which_an_error_names(tmp_path):
    (tmp_path / "d.csv").write_text("time\n29.02.2024\n01.03.2024\n")
    data = {"type": "csv", "path": "d.csv"}
    with pytest.raises(
        ge.errors.DataError, match=r"d.csv:2: column 'time': '29.02.2024' is not an ISO 8601 date"
    ) as caught:
        model(tmp_path, data=data).load_data("d")
    assert caught.value.problems[0].hint == 'write "date_format": "%d.%m.%Y" in the data source'
    found = model(tmp_path, data={**data, "date_format": "%d.%m.%Y"}).load_data("d")["time"]
    assert found.tolist() == since(["2024-02-29", "2024-03-01"], "D").tolist()
    with pytest.raises(ge.errors.InvalidModelError, match="must be a format of strptime"):
        model(tmp_path, data={**data, "date_format": "%d%d"})


def test_days_without_a_year_are_in_january_1900_as_strptime_has_them(tmp_path):
    (tmp_path / "d.csv").write_text("time\n28 12:30\n29 00:00\n")
    found = model(tmp_path, data={"type": "csv", "path": "d.csv", "date_format": "%d %H:%M"}).load_data("d")["time"]
    assert found.tolist() == since(["1900-01-28T12:30", "1900-01-29"], "D").tolist()


def test_a_number_is_no_date_in_a_csv_file_and_one_in_a_call(tmp_path):
    (tmp_path / "d.csv").write_text("time\n20240229\n")
    with pytest.raises(ge.errors.DataError, match="'20240229' is not an ISO 8601 date"):
        model(tmp_path, data={"type": "csv", "path": "d.csv"}).load_data("d")
    assert model().predict(time=[19_782, 0.5])["z"].tolist() == [19_782.0, 0.5]


def test_a_masked_array_of_dates_has_gaps():
    days = np.ma.masked_array(np.array(["2024-02-29", "2024-03-01"], "datetime64[D]"), [False, True])
    np.testing.assert_array_equal(model(missing="nan").predict(time=days)["z"], [since(["2024-02-29"], "D")[0], np.nan])


def test_wrong_dates_and_missing_ones_are_reported():
    with pytest.raises(
        ge.errors.InputError, match="GE404: input 'time' is not a regular array of dates: 'soon' is not"
    ):
        model().predict(time=["soon"])
    with pytest.raises(ge.errors.InputError, match="GE404: input 'time' has no value at position 1"):
        model().predict(time=["2024-02-29", None])
    assert np.isnan(model(missing="nan").predict(time=["2024-02-29", None])["z"][1])


@pytest.mark.parametrize("declared", [{"dtype": "bool"}, {"dtype": "int64", "categories": ["a"]}])
def test_units_are_of_numbers_without_categories(declared):
    with pytest.raises(ge.errors.InvalidModelError, match="GE112: input 'time' has units of dates"):
        model(**declared)


def test_units_are_kept_and_count_for_the_fingerprint(tmp_path):
    loaded = model()
    loaded.save(tmp_path / "saved.json")
    again = ge.load(tmp_path / "saved.json")
    assert again.document.inputs["time"].units == "days since 1970-01-01"
    assert again.fingerprint == loaded.fingerprint != model(unit="hours").fingerprint
