"""`graphengine new`: from a messy table to an evaluated model in three commands, and templates that train."""

import csv
import json

import numpy as np
import pytest
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
    assert found["layout"] | {"missing": 0} == {
        "separator": ";",
        "decimal": ",",
        "thousands": None,
        "header": True,
        "missing": 0,
    }
    assert sorted(found["layout"]["missing"]) == ["NA", "n/a"]
    columns = {each["column"]: each for each in found["columns"]}
    assert {name: (each["kind"], each["used"]) for name, each in columns.items()} == {
        "id": ("number", False),
        "name": ("text", False),
        "age": ("number", True),
        "income": ("number", True),
        "city": ("category", True),
        "joined": ("date", False),
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
    assert "dates" in reasons["joined"]
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
        ("a,y\n1,u\n2,v\n3,w\n", "y", [], "GE505", "too many for classes"),
        ("a,y\n1,u\n2,v\n3,u\n", "y", ["linear"], "GE801", "choose logistic or mlp"),
        ("a,y\n1,2\n2,3\n", "y", ["linaer"], "GE801", "did you mean 'linear'?"),
        ("a,y\n1,2\n2,3,4\n", "y", [], "GE503", "t.csv:3"),
        ("a,y,y\n1,2,3\n2,3,4\n", "y", [], "GE502", "2 times"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(tmp_path, text, target, kind, code, message):
    done = run("new", *kind, "--data", table(tmp_path, text), "--target", target, "-o", tmp_path / "m.json", code=2)
    assert code in done.output
    assert message in done.output
    assert not (tmp_path / "m.json").exists()


def test_without_a_target_the_columns_are_listed(tmp_path):
    done = run("new", "--data", table(tmp_path, "a,b\n1,2\n3,4\n"), "-o", tmp_path / "m.json", code=2)
    assert 'columns: "a", "b"' in done.output
