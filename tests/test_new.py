"""`graphengine new`: from a messy table to an evaluated model in three commands, and templates that train."""

import contextlib
import csv
import gzip
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pandas
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from typer.testing import CliRunner

import graphengine as ge
from graphengine.cli.app import app
from graphengine.format.documents import ModelDocument
from graphengine.format.writing import dump_model
from graphengine.training.splitting import split

CITIES = ["Basel, Stadt", "Bern", "Genf", "Zürich"]


def run(*arguments, code=0):
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == code, done.output
    return done


def messy_rows(seed, count):
    """Rows with gaps, decimal commas, texts, dates, an identifier, a constant; `price` and `bought` follow."""
    random = np.random.default_rng(seed)
    for number in range(count):
        age, income, city = int(random.integers(18, 80)), random.normal(5000, 1500), int(random.integers(4))
        price = 0.3 * income + 10 * age + 200 * city + random.normal(0, 30)
        bought = income / 1500 + city + random.normal(0, 0.3) > 4.8
        yield {
            "id": number + 1,
            "name": f"u{random.integers(10**9)}-{number}",
            "age": ["NA", "", age][min(int(random.integers(12)), 2)],
            "income": "n/a" if random.random() < 0.05 else f"{income:.2f}".replace(".", ","),
            "city": CITIES[city] if number % 40 else "",
            "joined": f"{random.integers(1, 28):02d}.03.2020",
            "unit": "CHF",
            "price": f"{price:.2f}".replace(".", ","),
            "bought": "yes" if bought else "no",
        }


def write_csv(path, rows, delimiter=";"):
    rows = list(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def rows_of(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines(), delimiter=";"))


@pytest.fixture
def messy(tmp_path):
    write_csv(tmp_path / "train.csv", messy_rows(0, 300))
    write_csv(tmp_path / "test.csv", messy_rows(1, 100))
    return tmp_path


def three_commands(folder, target, *kind):
    run("new", *kind, "--data", folder / "train.csv", "--target", target, "-o", folder / "m.json")
    run("train", folder / "m.json", "--save", folder / "trained.json")
    found = run("evaluate", folder / "trained.json", "--data", folder / "test.csv", "--format", "json")
    return json.loads(found.stdout)


@pytest.mark.parametrize("kind", [[], ["logistic"], ["mlp"]])
def test_three_commands_classify_a_messy_table(messy, kind):
    found = three_commands(messy, "bought", *kind)
    rows = rows_of(messy / "test.csv")
    assert found["rows"] == len(rows)
    assert found["metrics"]["accuracy"] > 0.8
    counts = {each["name"]: each["support"] for each in found["classes"]}
    assert counts == {name: sum(row["bought"] == name for row in rows) for name in ("no", "yes")}


@pytest.mark.parametrize("kind", [[], ["linear"], ["mlp"]])
def test_three_commands_predict_numbers_of_a_messy_table(messy, kind):
    found = three_commands(messy, "price", *kind)
    assert found["metrics"]["r2"] > 0.8
    assert found["metrics"]["rmse"] < 250


def inferred(path, target, *options):
    done = run("new", *options, "--data", path, "--target", target, "-o", path.parent / "m.json", "--format", "json")
    return json.loads(done.stdout)


def test_what_is_inferred_is_in_the_json(messy):
    found = inferred(messy / "train.csv", "bought")
    assert (found["rows"], found["data"], found["file"]) == (300, "train.csv", str(messy / "m.json"))
    assert {key: found["layout"][key] for key in ("separator", "decimal", "header")} == {
        "separator": ";",
        "decimal": ",",
        "header": True,
    }
    assert sorted(found["layout"]["missing"]) == ["NA", "n/a"]
    columns = {each["column"]: each for each in found["columns"]}
    assert {name: (each["kind"], each["used"]) for name, each in columns.items()} == {
        "id": ("number", False),
        "name": ("text", False),
        "age": ("number", True),
        "income": ("number", True),
        "city": ("category", True),
        "joined": ("date", True),
        "unit": ("category", False),
        "price": ("number", True),
        "bought": ("category", "target"),
    }
    rows = rows_of(messy / "train.csv")
    assert columns["age"]["gaps"] == sum(row["age"] in ("", "NA") for row in rows)
    assert columns["city"]["categories"] == CITIES
    reasons = {name: columns[name]["why"] for name in ("id", "name", "joined", "unit")}
    assert "counts the rows" in reasons["id"]
    assert "identifier" in reasons["name"]
    assert reasons["joined"] == 'dates from 2020-03-01 to 2020-03-27, written "%d.%m.%Y"'
    assert "constant" in reasons["unit"]


@pytest.mark.parametrize(("kind", "target"), [("linear", "price"), ("logistic", "bought"), ("mlp", "bought")])
def test_the_file_is_canonical_described_and_without_warnings(messy, kind, target):
    run("new", kind, "--data", messy / "train.csv", "--target", target, "-o", messy / "m.json")
    model = ge.load(messy / "m.json")
    assert not model.warnings
    written = (messy / "m.json").read_bytes()
    assert dump_model(ModelDocument.model_validate_json(written)) == written
    assert "valid" in run("validate", messy / "m.json", "--strict").output
    content = json.loads((messy / "m.json").read_text())
    parts = [*content["inputs"].values(), *content["parameters"].values(), *content["nodes"]]
    assert all(part["description"] for part in parts)


def test_outputs_after_a_training_with_an_unknown_category_are_those_of_its_rows(messy):
    """Indices of categories that were read once are not taken for categories again."""
    run("new", "--data", messy / "train.csv", "--target", "price", "-o", messy / "m.json")
    done = run("train", messy / "m.json", "--save", messy / "t.json", "--set", 'outputs.r2="r2"', "--format", "json")
    model = ge.load(messy / "t.json")
    trained = model.document.training
    kept, _ = split(model.load_data("train"), model.graph, trained.validation, trained.seed)
    assert np.isclose(json.loads(done.stdout)["outputs"]["r2"], model.predict(kept)["r2"], rtol=1e-9)


def test_texts_that_are_asked_for_mean_a_missing_value(tmp_path):
    """Pandas reads the same gaps with `na_values`."""
    cells = ["1.5", "?", "2.5", "-999", " ? ", "4.5", "-999", "0.5"]
    rows = [f"{cell},{'none' if number == 2 else 'ab'[number % 2]},{number}" for number, cell in enumerate(cells)]
    (tmp_path / "t.csv").write_text("x,c,y\n" + "\n".join(rows) + "\n")
    asked = ("--data", tmp_path / "t.csv", "--target", "y", "-o", tmp_path / "m.json", "--format", "json")
    found = json.loads(run("new", *asked, "--missing", "?", "--missing", "-999", "--missing", "none").stdout)
    frame = pandas.read_csv(tmp_path / "t.csv", na_values=["?", "-999", " ? ", "none"])
    gaps = {column["column"]: column["gaps"] for column in found["columns"]}
    assert gaps == frame.isna().sum().to_dict()
    model = ge.load(tmp_path / "m.json")
    missing = model.document.data["train"].missing
    assert {"?", "-999", " ? ", "none"} <= set(missing)
    history = model.train(epochs=1)
    assert np.isfinite(history.last_loss)
    run("new", *asked, "--force", "--missing", "nothing")
    assert "nothing" in ge.load(tmp_path / "m.json").document.data["train"].missing
    assert "--missing needs --data FILE" in run("new", "linear", "--missing", "?", code=2).output


def test_a_file_is_not_overwritten_without_force(messy):
    target = messy / "m.json"
    target.write_text("mine")
    arguments = ["new", "--data", messy / "train.csv", "--target", "price", "-o", target]
    done = run(*arguments, code=2)
    assert "--force" in done.output
    assert target.read_text() == "mine"
    run(*arguments, "--force")
    assert ge.load(target).graph.name == "m"


def test_the_data_must_lie_in_the_folder_of_the_model(messy):
    (messy / "models").mkdir()
    done = run("new", "--data", messy / "train.csv", "--target", "price", "-o", messy / "models" / "m.json", code=2)
    assert "write the model beside its data" in done.output
    (messy / "data").mkdir()
    (messy / "train.csv").rename(messy / "data" / "train.csv")
    run("new", "--data", messy / "data" / "train.csv", "--target", "price", "-o", messy / "m.json")
    assert json.loads((messy / "m.json").read_text())["data"]["train"]["path"] == "data/train.csv"


def table(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "target", "kind", "code", "message"),
    [
        ("a,price\n1,2\n3,5\n", "prise", [], "GE502", "did you mean 'price'?"),
        ("a,y\n1,no\n2,no\n", "y", [], "GE505", "one class"),
        ("a,y\n1,5\n2,5\n", "y", [], "GE505", "constant"),
        ("", "y", [], "GE501", "no rows"),
        ("a,y\n", "y", [], "GE501", "no rows"),
        ("a,b,y\n7,u,1\n7,v,2\n7,w,4\n", "y", [], "GE505", "'a' is left out: it is constant"),
        ("a,y\n1,no\n2,\n3,yes\n4,yes\n", "y", [], "GE503", "line 3"),
        ("a,y\n1,no\n2,\n3,yes\n4,NA\n5,no\n", "y", [], "GE503", "no value in 2 rows, lines 3, 5"),
        ("a,y\n1,u\n2,v\n3,w\n", "y", [], "GE505", "too many for classes"),
        ("1,u\n2,v\n3,w\n", "1", ["--exclude", "0"], "GE502", "add --no-header"),
        ('a,y\n"u",1\n"v" ,2\n', "y", [], "t.csv:3: GE501", "cannot be read as CSV"),
        ("a,y\n1,u\n2,v\n3,u\n", "y", ["linear"], "GE801", "choose logistic or mlp"),
        ("a,y\n1,2\n2,3\n", "y", ["linaer"], "GE801", "did you mean 'linear'?"),
        ("a,y\n1,2\n2,3\n5,4\n6,5O\n", "y", [], "GE503", 'one is not, in line 5: "5O"'),
        ("a,y\n1,2020-01-02\n2,2020-03-04\n", "y", [], "GE505", "has dates"),
        ("a;y\n1;2,5\n2;3;4,5\n5;6\n1;2\n", "y", [], "t.csv:3: GE503", "the row has 3 cells, the first row has 2"),
        ("a,y\n1,2\n2,3,4\n", "y", [], "GE503", "t.csv:3"),
        ("a,y,y\n1,2,3\n2,3,4\n", "y", [], "GE502", "2 times"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(tmp_path, text, target, kind, code, message):
    done = run("new", *kind, "--data", table(tmp_path, text), "--target", target, "-o", tmp_path / "m.json", code=2)
    assert code in done.output
    assert message in done.output
    assert not (tmp_path / "m.json").exists()


@pytest.mark.parametrize(
    ("cells", "written", "days"),
    [
        (["2024-01-02", "2024-02-29", ""], None, [19724, 19782, np.nan]),
        (["2.1.2024", "29.2.2024", "?"], "%d.%m.%Y", [19724, 19782, np.nan]),
        (["02/01/2024", "13/01/2024", ""], "%d/%m/%Y", [19724, 19735, np.nan]),
        (["01/02/2024", "01/31/2024", ""], "%m/%d/%Y", [19724, 19753, np.nan]),
        (["1/2/24", "1/31/24", "n/a"], "%m/%d/%y", [19724, 19753, np.nan]),
        (["2-Jan-2024", "29-Feb-2024", ""], "%d-%b-%Y", [19724, 19782, np.nan]),
        (["2024-01-02T12:00Z", "2024-01-03T12:00+12:00", ""], None, [19724.5, 19725, np.nan]),
        (["02.01.2024 06:00", "03.01.2024 18:00", ""], "%d.%m.%Y %H:%M", [19724.25, 19725.75, np.nan]),
    ],
)
def test_dates_become_days_since_1970(tmp_path, cells, written, days):
    rows = "".join(f"{cells[row % 3]};{row * 7 % 5};{row % 4}\n" for row in range(30))
    (tmp_path / "t.csv").write_text(f"day;x;y\n{rows}")
    document, inferred = drafted_in(tmp_path, "t.csv", "y")
    assert document["data"]["train"].get("date_format") == written
    assert {each["column"]: each["used"] for each in inferred["columns"]}["day"]
    model = ge.Model.from_dict(document, tmp_path / "m.json")
    np.testing.assert_array_equal(model.load_data("train")["dates"][:3, 0], days)


def test_texts_that_are_numbers_of_another_decimal_mark_say_so(tmp_path):
    rows = "".join(f"{row % 7},5;{row % 5}.5;{row % 3}.25;{row % 4}\n" for row in range(30))
    _, inferred = drafted_in(tmp_path, table(tmp_path, f"a;b;c;y\n{rows}").name, "y")
    assert inferred["columns"][0]["why"].endswith('; numbers with the decimal mark ",", unlike other columns')
    assert [each["kind"] for each in inferred["columns"]] == ["category", "number", "number", "number"]


@pytest.mark.parametrize(("different", "kind"), [(9, "category"), (31, "text")])
def test_a_column_that_is_mostly_numbers_says_which_cells_are_none(tmp_path, different, kind):
    rows = "".join(f"1.{row % different:03},5;{row % 5};{row % 4}\n" for row in range(30))
    _, inferred = drafted_in(tmp_path, table(tmp_path, f"a;x;y\n{rows}tba;1;2\n").name, "y")
    found = inferred["columns"][0]
    assert (found["kind"], found["used"]) == (kind, kind == "category")
    assert 'most of its cells are numbers, one is not, in line 32: "tba"' in found["why"]


def test_a_day_that_may_be_a_month_is_the_first_number_which_is_printed(tmp_path):
    rows = "".join(f"{row % 12 + 1}/{row % 10 + 1}/2024,{row % 4}\n" for row in range(30))
    _, inferred = drafted_in(tmp_path, table(tmp_path, f"day,y\n{rows}").name, "y")
    assert inferred["columns"][0]["why"].endswith('written "%d/%m/%Y"; "%m/%d/%Y" would fit, too')


def test_of_dates_written_in_two_forms_the_columns_of_one_are_used(tmp_path):
    forms = [f"{row % 28 + 1}.1.2024,{row % 27 + 1}.2.2024,2024-01-{row % 9 + 10},{row % 4}\n" for row in range(60)]
    document, inferred = drafted_in(tmp_path, table(tmp_path, f"a,b,c,y\n{''.join(forms)}").name, "y")
    assert document["data"]["train"]["columns"]["dates"] == ["a", "b"]
    assert inferred["columns"][2]["why"] == 'its dates are not "%d.%m.%Y", as those of other columns are'


TYPED = pandas.DataFrame(
    {
        "id": [f"k{row}" for row in range(60)],
        "when": pandas.date_range("2020-01-01", periods=60, freq="7D", tz="Europe/Zurich").as_unit("us"),
        "size": [None if row % 7 == 3 else row * 37 % 11 / 4 for row in range(60)],
        "count": pandas.array([None if row % 9 == 0 else row * 5 % 8 for row in range(60)], dtype="Int64"),
        "city": [["Bern", "Genf", None][row * 11 % 3] for row in range(60)],
        "code": [["01", "02"][row % 2] for row in range(60)],
        "is_new": [row * 7 % 5 < 2 for row in range(60)],
        "part": [[1, 2]] * 60,
        "price": [100.0 + row * 13 % 17 for row in range(60)],
    }
)


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_table_with_types_is_learned_from(tmp_path, suffix):
    if suffix == "parquet":
        TYPED.to_parquet(tmp_path / "t.parquet")
    else:
        TYPED.to_feather(tmp_path / "t.arrow", compression="uncompressed")
    document, inferred = drafted_in(tmp_path, f"t.{suffix}", "price")
    assert {each["column"]: each["kind"] for each in inferred["columns"] if each["used"]} == {
        "when": "date",
        "size": "number",
        "count": "number",
        "city": "category",
        "code": "category",
        "is_new": "number",
        "price": "number",
    }
    assert "layout" not in inferred
    assert "its type is list" in inferred["columns"][7]["why"]
    model = ge.Model.from_dict(document, tmp_path / "m.json")
    data = model.load_data("train")
    np.testing.assert_array_equal(data["numbers"], TYPED[["size", "count", "is_new"]].to_numpy(float, na_value=np.nan))
    days = [when.timestamp() / 86400 for when in TYPED["when"]]
    np.testing.assert_allclose(data["dates"][:, 0], days, rtol=1e-15)
    assert data["city"].tolist() == [row * 11 % 3 for row in range(60)]
    assert model.train().check.values["validation_loss"] < 3


def test_truth_values_are_classes(tmp_path):
    TYPED.drop(columns="part").to_parquet(tmp_path / "t.parquet")
    document, _ = drafted_in(tmp_path, "t.parquet", "is_new")
    assert document["inputs"]["is_new"]["categories"] == [0, 1]
    data = ge.Model.from_dict(document, tmp_path / "m.json").load_data("train")
    assert data["is_new"].tolist() == TYPED["is_new"].astype(int).tolist()


def test_without_a_target_the_columns_are_listed(tmp_path):
    done = run("new", "--data", table(tmp_path, "a,b\n1,2\n3,4\n"), "-o", tmp_path / "m.json", code=2)
    assert 'columns: "a", "b"' in done.output


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (["10", "9"], [9, 10]),
        (["-1", "1"], [-1, 1]),
        (["01", "1"], ["01", "1"]),
        (["12345678901234567890", "12345678901234567891"], ["12345678901234567890", "12345678901234567891"]),
    ],
)
def test_classes_that_are_numbers(tmp_path, monkeypatch, classes, expected):
    monkeypatch.chdir(tmp_path)
    rows = [{"a": row % 7, "y": classes[row % 2]} for row in range(30)]
    write_csv(tmp_path / "t.csv", rows, ",")
    document, _ = drafted("t.csv", "y", "logistic")
    assert document["inputs"]["y"]["categories"] == expected
    data = ge.Model.from_dict(document, tmp_path / "m.json").load_data("train")
    assert [str(expected[index]) for index in data["y"]] == [row["y"] for row in rows]


@pytest.mark.parametrize("options", [(), ("--exclude", "price")])
def test_excluded_columns_are_not_used(messy, options):
    found = inferred(messy / "train.csv", "bought", *options)
    price = next(each for each in found["columns"] if each["column"] == "price")
    assert price["used"] is not bool(options)
    assert ("excluded" in price["why"]) is bool(options)
    arguments = ["new", "--data", messy / "train.csv", "--target", "bought", "--exclude", "prize"]
    done = run(*arguments, "-o", messy / "other.json", code=2)
    assert "did you mean 'price'?" in done.output


def drafted(path, target, *options):
    """The document of a model for a table, and what was inferred."""
    found = json.loads(run("new", *options, "--data", path, "--target", target, "--format", "json").stdout)
    return found.pop("model"), found


def layout_of(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode("utf-8-sig"))
    return path


GERMAN = {"separator": ";", "decimal": ",", "thousands": "."}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\tb\ty\n1\tu v\t2\n3\tu v\t5\n4\tw\t9\n", {"separator": "\t"}),
        ("a|b|y\n1|u, v; w|2\n3|u|5\n4|u|9\n", {"separator": "|"}),
        ('a,b,y\n"1,234.5",u,2\n"3,000",u,5\n7,w,"1,000,000"\n', {"thousands": ","}),
        ("a;y\n1.234,5;2\n3.000,25;5\n7;9\n", {"separator": ";", "decimal": ",", "thousands": "."}),
        ("1,2,3\n4,5,6\n7,5,8\n", {"header": False}),
        ("a,b,y\n1,NA,2\n3,?,5\n4,7,9\n5,8,1\n", {"missing": ["NA", "?"]}),
        ("a;b;y\n1;k.A.;2,5\n3;2.000,5;5\n#NV;7;9\n5;.;1\n", GERMAN | {"missing": ["#NV", "k.A.", "."]}),
        ("# made by hand\na,b,y\n1,u,2\n# odd, but true\n3,u,5\n4,w,9\n", {"comment": "#"}),
        ('a,b,y\n1,"u\nv",2\n3,"u\nv",5\n4,w,9\n', {}),
    ],
)
def test_layouts_are_found(tmp_path, monkeypatch, text, expected):
    monkeypatch.chdir(tmp_path)
    layout_of(tmp_path, text)
    document, found = drafted("t.csv", "2" if "header" in expected else "y")
    default = {"separator": ",", "decimal": ".", "thousands": None, "header": True, "missing": [], "comment": None}
    assert found["layout"] == default | {"date_format": None} | expected
    assert not any(each["why"].startswith("all its texts") for each in found["columns"])
    model = ge.Model.from_dict(document, tmp_path / "m.json")
    model.train(epochs=2)
    assert model.evaluate(model.document.training.data).rows == found["rows"]


def test_numbers_are_those_of_pandas(messy):
    document, found = drafted_in(messy, "train.csv", "price")
    frame = pandas.read_csv(messy / "train.csv", sep=";", decimal=",")
    data = ge.Model.from_dict(document, messy / "m.json").load_data("train")
    np.testing.assert_array_equal(data["numbers"], frame[document["data"]["train"]["columns"]["numbers"]])
    np.testing.assert_array_equal(data["price"], frame["price"])
    gaps = {each["column"]: each["gaps"] for each in found["columns"]}
    assert gaps == frame.isna().sum().to_dict()


def drafted_in(folder, *arguments):
    with contextlib.chdir(folder):
        return drafted(*arguments)


NAMES = ["loss", "mean", "N", "numbers", "columns", "weight", "a b", "a_b", "1st", "x/y", "²", "class", "_u", "", "Ω"]


@settings(max_examples=settings.default.max_examples // 4, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True), st.integers(0, 10**6), st.booleans())
def test_any_table_is_trained_on_or_refused_with_a_code(tmp_path, names, seed, has_classes):
    random = np.random.default_rng(seed)
    rows = int(random.integers(2, 30))
    pools = [["1", "2", "7.5", "NA"], ["u", "v", "w, x"], ["2020-01-02", "2021-01-02"], ["", "5"], ["x9", "1", "-"]]
    columns = [random.choice(pools[random.integers(len(pools))], rows) for _ in names]
    columns.append(random.choice(["yes", "no"], rows) if has_classes else random.integers(0, 50, rows))
    write_csv(
        tmp_path / "t.csv", [dict(zip([*names, "y"], row, strict=True)) for row in zip(*columns, strict=True)], ","
    )
    with contextlib.chdir(tmp_path):
        done = CliRunner().invoke(app, ["new", "--data", "t.csv", "--target", "y", "--format", "json"])
    if done.exit_code:
        assert done.exit_code == 2
        assert re.search(r"GE50[135]", done.output)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = ge.Model.from_dict(json.loads(done.stdout)["model"], tmp_path / "m.json")
    model.train(epochs=2)
    assert all(np.isfinite(value).all() for value in model.parameters.values())
    assert model.evaluate(model.document.training.data).rows == rows


@pytest.mark.parametrize("target", ["price", "bought", "city"])
def test_linear_models_are_those_of_scikit_learn(messy, target):
    """On the rows trained on, with the same columns: Ridge(alpha=1) and LogisticRegression(C=1)."""
    document, _ = drafted_in(full_rows(messy), "full.csv", target)
    model = ge.Model.from_dict(document, messy / "m.json")
    kept, _ = split(model.load_data("train"), model.graph, model.document.training.validation, 0)
    exact = {"loss": "loss", "optimizer": {"type": "lbfgs"}}
    model = ge.Model.from_dict({**document, "training": exact}, messy / "m.json")
    model.train(kept)
    columns = encoded_by_scikit_learn(model, kept, target)
    if target == "price":
        expected = Ridge(alpha=1).fit(columns, kept[target]).predict(columns)
        np.testing.assert_allclose(model.predict(kept)["prediction"], expected, rtol=1e-7)
    else:
        peer = LogisticRegression(C=1, tol=1e-10, max_iter=10_000).fit(columns, kept[target])
        np.testing.assert_allclose(model.predict(kept)["probabilities"], peer.predict_proba(columns), atol=1e-5)


def full_rows(folder):
    write_csv(folder / "full.csv", [row for row in messy_rows(2, 300) if row["city"]])
    return folder


def encoded_by_scikit_learn(model, data, target):
    numbers = SimpleImputer(strategy="median").fit_transform(np.hstack([data["numbers"], data["dates"]]))
    others = [name for name in model.document.inputs if name not in ("numbers", "dates", target)]
    texts = [np.asarray(data[name])[:, None] for name in others]
    encoded = [OneHotEncoder(sparse_output=False).fit_transform(each) for each in texts]
    return np.hstack([StandardScaler().fit_transform(numbers), *encoded])


KINDS = ["linear", "logistic", "mlp", "cnn", "lstm"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_template_trains_at_once_and_is_described(tmp_path, kind):
    path = tmp_path / "m.json"
    done = run("new", kind, "-o", path)
    assert f"next: graphengine train {path}" in done.stderr
    assert "valid" in run("validate", path, "--strict").output
    written = path.read_bytes()
    content = json.loads(written)
    assert dump_model(ModelDocument.model_validate(content)) == written
    parts = [*content["inputs"].values(), *content["parameters"].values(), *content["nodes"]]
    assert all(part["description"] for part in parts)
    model = ge.load(path)
    history = model.train()
    assert history.check.values["validation_loss"] < 0.75 * next(iter(history)).loss
    (metric,) = content["training"]["metrics"]
    assert history.check.values[metric] > 0.8


def ordered_columns(path, columns):
    """A table of numbers whose columns have an order, of small differences and one constant; `y` follows from two."""
    numbers = np.random.default_rng(0).normal(size=(200, columns)).cumsum(axis=1)
    numbers[:, 1] = 2.5
    y = 0.8 * numbers[:, -1] - 0.3 * numbers[:, -2]
    header = [*(f"c{place}" for place in range(columns)), "y", "up", "town"]
    rows = [[*row, end, int(end > 0), "ab"[place % 2]] for place, (row, end) in enumerate(zip(numbers, y, strict=True))]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.mark.parametrize(("kind", "target"), [("cnn", "up"), ("cnn", "y"), ("lstm", "up"), ("lstm", "y")])
def test_columns_with_an_order_are_an_image_or_a_series(tmp_path, kind, target):
    data, path = ordered_columns(tmp_path / "t.csv", 16), tmp_path / "m.json"
    left_out = ["--exclude", "town", "--exclude", "up" if target == "y" else "y"]
    run("new", kind, "--data", data, "--target", target, *left_out, "-o", path)
    model = ge.load(path)
    assert model.graph.inputs["numbers"].type.shape[1] == 16, "a constant column keeps its place"
    history = model.train(epochs=30)
    assert history.check.values["accuracy" if target == "up" else "r2"] > 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cnn", "--target", "y"], "the pixels of a square image, row by row, and 'town' is a category"),
        (["lstm", "--target", "y"], "the steps of a series, and 'town' is a category"),
        (["cnn", "--target", "y", "--exclude", "town"], "6 columns of numbers do not form a square image"),
        (["linear", "--target", "up", "--task", "classification"], "'linear' does no classification; choose logistic"),
        (["logistic", "--target", "up", "--task", "regression"], "'logistic' does no regression; choose linear"),
        (["mlp", "--target", "town", "--task", "regression"], "has texts, and a regression predicts numbers"),
    ],
)
def test_what_a_kind_of_model_does_not_learn_is_refused(tmp_path, arguments, message):
    data = ordered_columns(tmp_path / "t.csv", 5)
    assert message in run("new", *arguments, "--data", data, "-o", tmp_path / "m.json", code=2).output


def test_integers_are_classes_or_numbers_as_asked_for(tmp_path):
    data = ordered_columns(tmp_path / "t.csv", 5)
    outputs = {}
    for task in ("classification", "regression"):
        path = tmp_path / f"{task}.json"
        run("new", "mlp", "--data", data, "--target", "up", "--task", task, "-o", path)
        outputs[task] = set(ge.load(path).graph.outputs)
    assert outputs == {"classification": {"class", "probabilities"}, "regression": {"prediction"}}


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_is_printed_without_a_file(kind):
    printed = json.loads(run("new", kind).stdout)
    assert printed["name"] == kind
    assert json.loads(run("new", kind, "--format", "json").stdout)["model"] == printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "kinds: linear, logistic, mlp, cnn, lstm"),
        (["lsmt"], "did you mean 'lstm'?"),
        (["linear", "--target", "y"], "--target needs --data"),
        (["cnm", "--data", "t.csv", "--target", "y"], "did you mean 'cnn'?"),
        (["linear", "--task", "regression"], "--task needs --data"),
        (["--data", "t.jsonl", "--target", "y"], "save the table as .csv"),
        (["--data", "nowhere.csv", "--target", "y"], "cannot read 'nowhere.csv'"),
    ],
)
def test_wrong_command_lines_say_what_to_do(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in run("new", *arguments, code=2).output


def test_a_table_of_texts_without_a_header(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{'uvw'[row % 3]},{row % 5},{'yes' if row % 3 else 'no'}\n" for row in range(60))
    for name in ("t.csv", "test.csv"):
        Path(name).write_text(rows)
    run("new", "--data", "t.csv", "--no-header", "--target", "2", "-o", "m.json")
    assert "--no-header" not in run("new", "--data", "t.csv", "--no-header", "--target", "y", code=2).output
    run("train", "m.json", "--save", "trained.json")
    found = json.loads(run("evaluate", "trained.json", "--data", "test.csv", "--format", "json").stdout)
    assert (found["rows"], found["metrics"]["accuracy"]) == (60, 1.0)


def test_a_file_that_is_not_utf_8_says_so(tmp_path):
    (tmp_path / "t.csv").write_bytes("a,y\né,1\n".encode("latin-1"))
    assert (
        "save it again, in UTF-8" in run("new", "--data", tmp_path / "t.csv", "-o", tmp_path / "m.json", code=2).output
    )


def test_the_trained_file_predicts_alone(messy, monkeypatch):
    """In another folder, on a table that has no target, and texts and gaps that were never seen."""
    run("new", "--data", messy / "train.csv", "--target", "bought", "-o", messy / "m.json")
    run("train", messy / "m.json", "--save", messy / "trained.json")
    (messy / "far").mkdir()
    (messy / "trained.json").rename(messy / "far" / "trained.json")
    rows = [{**row, "city": "Paris" if row["id"] == 1 else row["city"]} for row in messy_rows(5, 20)]
    write_csv(messy / "far" / "new.csv", [{name: row[name] for name in row if name != "bought"} for row in rows])
    monkeypatch.chdir(messy / "far")
    found = csv.DictReader(run("predict", "trained.json", "--data", "new.csv", "--output", "class").stdout.splitlines())
    classes = [row["class"] for row in found]
    assert len(classes) == 20
    assert np.mean([one == row["bought"] for one, row in zip(classes, rows, strict=True)]) > 0.7


@pytest.mark.parametrize("start", [0, 1, 1001])
def test_what_counts_the_rows_is_used_only_where_nothing_else_can_be(tmp_path, start):
    rows = [{"id": start + row, "a": row * row % 7, "y": row % 5 / 2} for row in range(30)]
    write_csv(tmp_path / "t.csv", rows)
    both = {each["column"]: each for each in inferred(tmp_path / "t.csv", "y")["columns"]}
    assert (both["id"]["used"], both["a"]["used"]) == (False, True)
    assert both["id"]["why"] == f"it counts the rows: integers from {start} to {start + 29}"
    alone = inferred(tmp_path / "t.csv", "y", "--exclude", "a", "--force")["columns"]
    assert next(each for each in alone if each["column"] == "id")["used"] is True


def test_integers_with_a_step_or_a_gap_are_used(tmp_path):
    rows = [{"step": 2 * row, "gap": row if row != 7 else "", "y": row % 5 / 2} for row in range(30)]
    write_csv(tmp_path / "t.csv", rows)
    found = {each["column"]: each["used"] for each in inferred(tmp_path / "t.csv", "y")["columns"]}
    assert (found["step"], found["gap"]) == (True, True)


@pytest.mark.parametrize("name", ["test.tsv", "test.txt", "test.tsv.gz"])
def test_a_table_of_another_ending_is_evaluated_and_predicted(messy, name):
    three_commands(messy, "price")
    content = (messy / "test.csv").read_bytes()
    (messy / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    for command in ("evaluate", "predict"):
        found = [
            run(command, messy / "trained.json", "--data", messy / each, "--format", "json").stdout
            for each in ("test.csv", name)
        ]
        assert found[0] == found[1]


def test_numbers_near_the_end_of_the_range_are_named_for_what_they_are(tmp_path):
    large = [f"{39 + row}{'0' * 197}" for row in range(8)]
    beyond = ["1e400", *"2345678"]
    rows = "".join(f"{large[row]},{beyond[row]},{row % 5 + 0.5}\n" for row in range(8))
    done = run("new", "--data", table(tmp_path, f"a,b,y\n{rows}"), "--target", "y", "-o", tmp_path / "m.json")
    assert "numbers from 3.9e+198 to 4.6e+198" in done.output
    assert 'most of its cells are numbers, one is not, in line 2: "1e400", larger than any double' in done.output
