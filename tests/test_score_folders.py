"""Scoring of folders: what is written, what is computed again, and that it does not depend on who does the work."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tasks import dies, dies_once, fails
from test_cli import cli, cli_json

import graphengine as ge
from graphengine.data import table_files
from graphengine.errors import GraphEngineError
from graphengine.format.locks import Lock
from graphengine.scale import processes, score_parts
from graphengine.scale.processes import in_processes
from graphengine.scale.score_folders import LOCK

pytestmark = pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")


def write_model(folder, scale=1.0):
    """A small network with a row for each sample."""
    builder = ge.Builder("small")
    random = np.random.default_rng(5)
    x = builder.input("x", ["N", 3])
    hidden = np.tanh(x @ builder.parameter("w", [3, 8], value=scale * random.standard_normal((3, 8))))
    builder.output(z=hidden @ builder.parameter("v", [8], value=random.standard_normal(8)))
    builder.save(folder / "small.json")
    return folder / "small.json"


def write_data(folder, files=2, rows=400, group=150, bad=()):
    """Files with a number for each row and three columns, in groups of rows."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(7)
    for file in range(files):
        columns = {name: pa.array(random.standard_normal(rows)) for name in "abc"}
        columns["a"] = pa.array([None if n in bad else value for n, value in enumerate(columns["a"].to_pylist())])
        numbers = pa.array(np.arange(rows) + file * rows)
        pq.write_table(pa.table({"id": numbers, **columns}), folder / f"f{file}.parquet", row_group_size=group)
    return folder / "*.parquet"


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A model, data in parts of at least 150 rows, and the command that scores them into a folder."""
    monkeypatch.setattr(score_parts, "PART_ROWS", 150)
    model, data = write_model(tmp_path), write_data(tmp_path / "data", bad={7, 399})
    return partial(command, model, data)


def command(model, data, folder, *options):
    return ["score", model, "--data", data, "--columns", "x=a,b,c", "--keep", "id", "-o", folder, *options]


def hashes(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_each_group_of_rows_becomes_a_file_with_the_predictions(job, tmp_path):
    found = cli_json(*job(tmp_path / "out"))
    assert (found["files"], found["parts"], found["kept"], found["rows"]) == (2, 6, 0, 800)
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == [
        f"f{file}-0000{group}.parquet" for file in (0, 1) for group in (0, 1, 2)
    ]
    (reason,) = found["refused"]["reasons"]
    assert (reason["reason"], reason["count"]) == ("column 'a' has no value", 4)
    files = [str(tmp_path / "data" / f"f{n}.parquet") for n in (0, 1)]
    assert reason["first"] == [{"file": file, "row": row} for file in files for row in (8, 400)]
    table = pq.read_table(tmp_path / "out")
    assert table["id"].to_pylist() == list(range(800))
    rows = pq.read_table(tmp_path / "data")
    x = np.column_stack([rows[name].fill_null(0.0) for name in "abc"])
    expected = ge.load(tmp_path / "small.json").predict(x=x, row_stable=True)["z"]
    good = [n for n in range(800) if n % 400 not in (7, 399)]
    assert table["z"].take(good).to_numpy().tobytes() == expected[good].tobytes()
    assert table["z"].null_count == 4
    said = cli(*job(tmp_path / "out"))
    assert "800 rows in 2 files, 6 parts, 6 parts of them kept from before" in said.stdout
    assert "4 rows without outputs: column 'a' has no value, first in row 8 of" in said.stderr


def test_only_what_is_not_there_or_was_made_of_something_else_is_computed(job, tmp_path):
    out = tmp_path / "out"
    first = cli_json(*job(out))
    seen = {path.name: path.stat().st_ino for path in out.iterdir()}
    before = hashes(out)
    (out / "f0-00001.parquet").unlink()
    (out / f".f1-00002.parquet.{'0' * 16}.tmp").write_bytes(b"half")
    again = cli_json(*job(out))
    assert {**again, "kept": 0} == first
    assert again["kept"] == 5
    assert hashes(out) == before
    kept = {path.name for path in out.iterdir() if path.stat().st_ino == seen[path.name]}
    assert kept >= before.keys() - {"f0-00001.parquet"}
    os.utime(tmp_path / "data" / "f1.parquet", ns=(0, 0))
    assert cli_json(*job(out))["kept"] == 3
    assert cli_json(*job(out, "--fast"))["kept"] == 0
    write_model(tmp_path, scale=2.0)
    assert cli_json(*job(out, "--fast"))["kept"] == 0
    assert cli_json(*job(out, "--fast"))["kept"] == 6


def test_a_folder_of_other_files_is_left_alone(job, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    pq.write_table(pa.table({"a": [1]}), out / "mine.parquet")
    assert "mine.parquet" in cli(*job(out), code=2).stderr
    (out / "mine.parquet").rename(out / "f0-00000.parquet")
    assert "of another kind" in cli(*job(out), code=2).stderr
    assert pq.read_table(out / "f0-00000.parquet").to_pydict() == {"a": [1]}
    lock = Lock(tmp_path / LOCK)
    assert lock.acquire()
    assert "another process scores" in cli(*job(tmp_path), code=2).stderr
    lock.release()
    assert "GE501" in cli(*command(tmp_path / "small.json", tmp_path / "none*.parquet", out), code=2).stderr
    assert "give one of them" in cli(*job(out, "--workers", 2, "--dask", "tcp://x"), code=2).stderr


def test_data_or_a_model_that_changes_meanwhile_ends_the_work(job, tmp_path):
    (part, *_), scoring = planned_work(tmp_path)
    os.utime(part.source, ns=(0, 0))
    with pytest.raises(ge.errors.DataError, match="has changed since"):
        score_parts.score_part(scoring, part)
    (part, *_), scoring = planned_work(tmp_path)
    write_model(tmp_path, scale=3.0)
    score_parts._model_of.cache_clear()
    with pytest.raises(ge.errors.DataError, match="has changed since"):
        score_parts.score_part(scoring, part)
    assert [path.name for path in (tmp_path / "out").iterdir()] == []


def planned_work(tmp_path):
    parts = score_parts.planned(str(tmp_path / "data" / "*.parquet"), tmp_path / "out")
    path = tmp_path / "small.json"
    columns = (("x", ("a", "b", "c")),)
    return parts, score_parts.Scoring(str(path), ge.load(path).fingerprint, columns=columns)


def test_files_of_one_name_in_two_folders_stay_apart(tmp_path):
    model = write_model(tmp_path)
    for name in ("one", "two"):
        (tmp_path / "all" / name).mkdir(parents=True)
        write_data(tmp_path / "all" / name, files=1)
    found = cli_json(*command(model, tmp_path / "all" / "**" / "*.parquet", tmp_path / "out"))
    assert found["rows"] == 800
    written = sorted((tmp_path / "out").rglob("*.parquet"))
    assert written == [tmp_path / "out" / name / "f0-00000.parquet" for name in ("one", "two")]


# ---------------------------------------------------------------- who does the work


def test_processes_write_the_same_files_as_one(job, tmp_path):
    one, two = cli_json(*job(tmp_path / "one")), cli_json(*job(tmp_path / "two", "--workers", 2))
    assert {**two, "folder": one["folder"]} == one
    assert hashes(tmp_path / "two") == hashes(tmp_path / "one")


def test_a_process_that_dies_is_replaced_and_its_task_repeated(tmp_path, monkeypatch):
    deaths = []
    found = dict(in_processes(dies_once, tmp_path, [3, 5], 1, died=lambda: deaths.append(1)))
    assert found == {3: 9, 5: 25}
    assert len(deaths) == 2
    monkeypatch.setattr(processes, "MOST_DEATHS", 2)
    with pytest.raises(GraphEngineError, match="GE418"):
        list(in_processes(dies, tmp_path, [1], 1))
    with pytest.raises(ge.errors.DataError, match="GE503: task 0"):
        list(in_processes(fails, tmp_path, [0], 1))


START = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from tasks import sleeps
from graphengine.scale.processes import in_processes
if __name__ == "__main__":
    list(in_processes(sleeps, Path(sys.argv[1]), range(2), 2))
"""


def exists(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def within(seconds, is_so):
    end = time.monotonic() + seconds
    while not is_so() and time.monotonic() < end:
        time.sleep(0.05)
    return is_so()


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such signals")
@pytest.mark.parametrize("number", ["SIGKILL", "SIGINT"])
def test_no_process_outlives_the_one_that_started_it(tmp_path, number):
    script = tmp_path / "start.py"
    script.write_text(START.format(tests=str(Path(__file__).parent)))
    folder = tmp_path / "pids"
    folder.mkdir()
    with subprocess.Popen([sys.executable, script, folder], stderr=subprocess.DEVNULL) as started:
        assert within(120, lambda: len(list(folder.iterdir())) == 2)
        started.send_signal(getattr(signal, number))
        assert started.wait(60)
    pids = [int(path.stem) for path in folder.iterdir()]
    assert within(60, lambda: not any(map(exists, pids)))


@pytest.mark.extra("distributed")
def test_a_cluster_writes_the_same_files(job, tmp_path):
    distributed = pytest.importorskip("distributed")
    one = cli_json(*job(tmp_path / "one"))
    with distributed.LocalCluster(n_workers=2, processes=False, dashboard_address=":0") as cluster:
        two = cli_json(*job(tmp_path / "two", "--dask", cluster.scheduler_address))
        with pytest.raises(ge.errors.DataError, match="GE503: task 0"):
            list(ge_dask().in_cluster(fails, tmp_path, [0], cluster.scheduler_address))
    assert {**two, "folder": one["folder"]} == one
    assert hashes(tmp_path / "two") == hashes(tmp_path / "one")


def ge_dask():
    from graphengine import dask

    return dask


@pytest.mark.extra("distributed")
def test_a_cluster_that_does_not_answer_is_reported(job, tmp_path, monkeypatch):
    monkeypatch.setattr(ge_dask(), "WAITING", 1.0)
    said = cli(*job(tmp_path / "out", "--dask", "tcp://127.0.0.1:9"), code=1).stderr
    assert "GE418" in said
    assert "run the same command again" in said
    assert "is not the address of a scheduler" in cli(*job(tmp_path / "out", "--dask", "nonsense://x"), code=2).stderr


def test_a_file_without_rows_becomes_one_with_the_columns_of_the_others(job, tmp_path):
    pq.write_table(
        pq.read_table(next((tmp_path / "data").glob("*.parquet"))).slice(0, 0), tmp_path / "data" / "z.parquet"
    )
    cli(*job(tmp_path / "out"))
    schemas = {pq.read_schema(path).remove_metadata() for path in (tmp_path / "out").glob("*.parquet")}
    assert len(schemas) == 1
    assert pq.read_table(tmp_path / "out" / "z-00000.parquet").num_rows == 0


def test_a_file_is_no_folder_to_write_to(job, tmp_path):
    (tmp_path / "out").write_text("")
    assert "is a file; name a folder" in cli(*job(tmp_path / "out"), code=2).stderr


# ---------------------------------------------------------------- one number


def rows_for(name):
    """A shipped model with trained values, rows for it, and the same rows as a table."""
    model = ge.load(name)
    data = model.load_data("train")
    model.train(data, max_iterations=3)
    x = np.resize(np.asarray(data["x"][:], np.float64), (300, *np.shape(data["x"])[1:]))
    if x.ndim == 2:
        return model, x, pa.table({f"x{n}": x[:, n] for n in range(x.shape[1])})
    return model, x, pa.table({"x": x if x.ndim == 1 else pa.FixedSizeListArray.from_arrays(x.reshape(-1), x[0].size)})


def digest(values):
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


@pytest.mark.extra("distributed")
@pytest.mark.parametrize("name", ["linreg", "mlp_digits", "lstm_sums"])
def test_predictions_have_one_hash_whoever_computes_them(name, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    model, x, table = rows_for(name)
    model.save(tmp_path / "model.json")
    ((output, whole),) = model.predict(x=x, row_stable=True).items()
    found = {digest(whole), digest(np.concatenate([model.predict(x=row[None], row_stable=True)[output] for row in x]))}
    columns = [] if table.schema.names == ["x"] else ["--columns", f"x={','.join(table.schema.names)}"]
    work = ["score", tmp_path / "model.json", "--data", tmp_path / "rows.parquet", *columns]
    with distributed.LocalCluster(n_workers=2, processes=False, dashboard_address=":0") as cluster:
        for group, batch in ((300, 300), (128, 50), (60, 7)):
            monkeypatch.setattr(score_parts, "PART_ROWS", group)
            monkeypatch.setattr(score_parts, "BATCH_ROWS", batch)
            pq.write_table(table, tmp_path / "rows.parquet", row_group_size=group)
            for number, options in enumerate([(), ("--dask", cluster.scheduler_address)]):
                cli(*work, "-o", tmp_path / f"{group}-{number}", *options)
                scored = pq.read_table(tmp_path / f"{group}-{number}")
                found.add(digest(np.column_stack([column.to_numpy() for column in scored.columns])))
    assert len(found) == 1


def test_wide_rows_are_computed_fewer_at_a_time(job, tmp_path, monkeypatch):
    cli(*job(tmp_path / "whole"))
    monkeypatch.setattr(score_parts, "BATCH_BYTES", 60 * 3 * 8)
    monkeypatch.setattr(table_files, "GROUP_ROWS", 100)
    cli(*job(tmp_path / "out"))
    file = pq.ParquetFile(tmp_path / "out" / "f0-00000.parquet")
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [120, 30]
    assert pq.read_table(tmp_path / "out").equals(pq.read_table(tmp_path / "whole"))


def test_wide_rows_are_written_before_they_fill_the_memory(job, tmp_path, monkeypatch):
    monkeypatch.setattr(score_parts, "BATCH_BYTES", 60 * 3 * 8)
    monkeypatch.setattr(table_files, "GROUP_BYTES", 1)
    cli(*job(tmp_path / "out"))
    file = pq.ParquetFile(tmp_path / "out" / "f0-00000.parquet")
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [60, 60, 30]


WITHOUT_PANDAS = """
import sys
from graphengine.scale.score_folders import one_by_one, score_folder
from graphengine.scale.score_parts import Scoring
from pathlib import Path
model, fingerprint, data, folder = sys.argv[1:]
scoring = Scoring(model, fingerprint, keep=("id",), columns=(("x", ("a", "b", "c")),))
assert score_folder(scoring, data, Path(folder), one_by_one).rows == 800
assert "pandas" not in sys.modules
"""


def test_a_worker_does_not_import_pandas(tmp_path):
    model, data = write_model(tmp_path), write_data(tmp_path / "data", bad={7})
    arguments = [model, ge.load(model).fingerprint, data, tmp_path / "out"]
    subprocess.run([sys.executable, "-c", WITHOUT_PANDAS, *map(str, arguments)], check=True)
