"""Data files that the command line names with `--data`: each kind, and what of it is which input."""

import numpy as np
import pandas
import pyarrow.ipc
import pytest
from test_cli import cli_json

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


def test_given_inputs_take_the_place_of_those_of_the_file(tmp_path):
    path = data_file(tmp_path / "t.csv")
    given = ("--data", path, "--input", "y=[4, 8, 12]")
    assert cli_json("fit", "linreg", *given)["parameters"]["theta"] == pytest.approx(4, rel=1e-14)
