"""Data files that the command line names with `--data`: each kind, and what of it is which input."""

import gzip

import numpy as np
import pandas
import pyarrow.ipc
import pytest
from documents import linreg, training, write
from test_cli import cli, cli_json

import graphengine as ge

TABLE = {"distance_mpc": [1.0, 2.0, 3.0], "velocity_km_s": [2.0, 4.0, 6.0], "name": ["a", "b", "c"]}


def data_file(path):
    """The table in a file of the kind that its suffix says."""
    frame = pandas.DataFrame(TABLE)
    match path.suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".jsonl":
            frame.to_json(path, orient="records", lines=True)
        case ".npz":
            np.savez(path, **{name: values for name, values in TABLE.items() if name != "name"})
        case ".parquet":
            frame.to_parquet(path)
        case ".feather":
            frame.to_feather(path)
        case ".arrow":
            table = pyarrow.table(TABLE)
            with pyarrow.ipc.new_stream(str(path), table.schema) as writer:
                writer.write_table(table)
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "npz", "parquet", "feather", "arrow"])
def test_each_kind_of_file_is_trained_on_fitted_and_predicted_from(tmp_path, kind):
    path = data_file(tmp_path / f"t.{kind}")
    columns = ("--columns", "x=distance_mpc", "--columns", "y=velocity_km_s")
    given = ("--data", path, *(columns if kind in ("jsonl", "npz") else ()))
    trained = cli_json("train", "linreg", *given, "--epochs", "200", "--learning-rate", "0.1")
    assert trained["parameters"]["theta"] == pytest.approx(2, rel=1e-12)
    assert cli_json("fit", "linreg", *given)["observations"] == 3
    predicted = cli_json("predict", "linreg", *given, "--set", "parameters.theta.value=2")
    assert predicted["outputs"] == {"prediction": [2.0, 4.0, 6.0], "loss": 0.0}
    evaluated = cli_json("run", "linreg", *given, "--set", "training=null", "--set", "parameters.theta.value=2")
    assert evaluated["outputs"] == predicted["outputs"]


@pytest.mark.parametrize("kind", ["CSV", "csv.GZ", "Jsonl", "NPZ", "PARQUET", "Arrow"])
def test_suffixes_count_in_any_case(tmp_path, kind):
    small = data_file(tmp_path / f"t.{kind.lower().removesuffix('.gz')}")
    path = tmp_path / f"T.{kind}"
    path.write_bytes(gzip.compress(small.read_bytes()) if kind.endswith("GZ") else small.read_bytes())
    columns = ("--columns", "x=distance_mpc", "--columns", "y=velocity_km_s") if kind in ("Jsonl", "NPZ") else ()
    asked = ("--data", path, *columns, "--set", "parameters.theta.value=2")
    assert cli_json("predict", "linreg", *asked)["outputs"] == {"prediction": [2.0, 4.0, 6.0], "loss": 0.0}
    if kind not in ("Jsonl", "NPZ"):
        cli("predict", "linreg", *asked, "--output", "prediction", "-o", tmp_path / "t.Parquet")
        assert pandas.read_parquet(tmp_path / "t.Parquet")["prediction"].tolist() == [2.0, 4.0, 6.0]
        cli("new", "--data", path, "--target", "velocity_km_s", "-o", tmp_path / "m.json")
        assert ge.load(tmp_path / "m.json").train(epochs=1)


def test_given_inputs_take_the_place_of_those_of_the_file(tmp_path):
    path = data_file(tmp_path / "t.csv")
    given = ("--data", path, "--input", "y=[4, 8, 12]")
    assert cli_json("fit", "linreg", *given)["parameters"]["theta"] == pytest.approx(4, rel=1e-14)


# ------------------------------------------------------------ saving in another folder


def saved_elsewhere(tmp_path, target, source):
    """A model with a data file in `project`, saved at another path; it is loaded from there."""
    (tmp_path / "project" / "data").mkdir(parents=True, exist_ok=True)
    (tmp_path / target).parent.mkdir(exist_ok=True)
    (tmp_path / "project" / "data" / "d.csv").write_text("x,y\n1,2\n2,4\n")
    np.save(tmp_path / "project" / "x.npy", [1.0, 2.0])
    np.save(tmp_path / "project" / "y.npy", [2.0, 4.0])
    path = write(tmp_path / "project" / "m.json", linreg(data={"train": source}, training=training(epochs=1)))
    model = ge.load(path)
    model.train()
    model.save(tmp_path / target)
    return ge.load(tmp_path / target)


CSV = {"type": "csv", "path": "data/d.csv"}
NPY = {"type": "npy", "paths": {"x": "x.npy", "y": "y.npy"}}


@pytest.mark.parametrize("source", [CSV, NPY], ids=["csv", "npy"])
@pytest.mark.parametrize("target", ["outside/a b~.json", "saved.json", "project/saved.json"])
def test_a_model_saved_anywhere_finds_its_data(target, source, tmp_path):
    model = saved_elsewhere(tmp_path, target, source)
    np.testing.assert_array_equal(model.load_data()["y"], [2.0, 4.0])
    assert model.train(epochs=1).epochs_trained == 1


def test_data_inside_the_new_folder_are_not_copied(tmp_path):
    model = saved_elsewhere(tmp_path, "saved.json", CSV)
    assert model.document.data["train"].path == "project/data/d.csv"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["project", "saved.json"]


def test_a_copy_overwrites_nothing_and_is_made_once(tmp_path):
    (tmp_path / "outside" / "data").mkdir(parents=True)
    (tmp_path / "outside" / "data" / "d.csv").write_text("x,y\n7,7\n")
    model = saved_elsewhere(tmp_path, "outside/saved.json", CSV)
    np.testing.assert_array_equal(model.load_data()["y"], [2.0, 4.0])
    assert (tmp_path / "outside" / "data" / "d.csv").read_text() == "x,y\n7,7\n"
    (copy,) = (tmp_path / "outside").glob("*.csv")
    assert copy.name == model.document.data["train"].path
    model.save(tmp_path / "outside" / "saved.json")
    saved_elsewhere(tmp_path, "outside/saved.json", CSV)
    assert [*(tmp_path / "outside").glob("*.csv")] == [copy]


def test_the_same_file_at_the_same_place_is_used(tmp_path):
    (tmp_path / "outside" / "data").mkdir(parents=True)
    (tmp_path / "outside" / "data" / "d.csv").write_text("x,y\n1,2\n2,4\n")
    model = saved_elsewhere(tmp_path, "outside/saved.json", CSV)
    assert model.document.data["train"].path == "data/d.csv"
    assert not [*(tmp_path / "outside").glob("*.csv")]


def test_data_that_are_too_large_to_be_copied_or_are_not_there_keep_their_path(tmp_path, monkeypatch):
    monkeypatch.setattr("graphengine.model.moving.MOST_COPIED", 5)
    assert saved_elsewhere(tmp_path, "outside/saved.json", CSV).document.data["train"].path == "data/d.csv"
    (tmp_path / "project" / "data" / "d.csv").unlink()
    model = ge.load(tmp_path / "project" / "m.json")
    model.save(tmp_path / "outside" / "again.json")
    assert ge.load(tmp_path / "outside" / "again.json").document.data["train"].path == "data/d.csv"
