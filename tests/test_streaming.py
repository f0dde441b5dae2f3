"""Data larger than memory may hold: the same bits, faults and hash from every kind of file, in bounded memory."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import orjson
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet
import pytest
from documents import PEAK, document, linreg, training, write
from typer.testing import CliRunner

import graphengine as ge
from graphengine.cli.app import app
from graphengine.data.chosen import Chosen
from graphengine.data.order import Order, epoch_order
from graphengine.data.sources import data_hash
from graphengine.data.stored import Memory, Stored, StoredFile
from graphengine.limits import DEFAULT, Limits

N = 400
LARGE = {"x": np.linspace(0.1, 2, N), "y": np.linspace(0.1, 2, N) * 3 + 1}
TINY = Limits(data_bytes=10_000)
"""LARGE has 6,400 bytes, which is more than a quarter; blocks have some 20 rows, an order has pieces of some 60."""


def write_parquet(table, path, row_group_size):
    pyarrow.parquet.write_table(table, path, row_group_size=row_group_size)


def write_arrow(table, path, make, **options):
    with make(str(path), table.schema, options=pyarrow.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)


def write_jsonl(arrays, path):
    rows = (dict(zip(arrays, row, strict=True)) for row in zip(*arrays.values(), strict=True))
    path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n" for row in rows))


def table(arrays):
    """A table of Arrow, with the columns of a matrix named x, x1, x2, ..."""
    columns = {}
    for name, array in arrays.items():
        wide = array if array.ndim > 1 else array[:, np.newaxis]
        columns |= {f"{name}{index or ''}": wide[:, index] for index in range(wide.shape[1])}
    return pyarrow.table(columns)


FILES = {
    "csv": lambda arrays, path: pyarrow.csv.write_csv(table(arrays), path),
    "jsonl": write_jsonl,
    "npz": lambda arrays, path: np.savez(path, **arrays),
    "npz compressed": lambda arrays, path: np.savez_compressed(path, **arrays),
    "parquet": lambda arrays, path: write_parquet(table(arrays), path, table(arrays).num_rows // 12),
    "parquet in one row group": lambda arrays, path: write_parquet(table(arrays), path, 2**20),
    "arrow": lambda arrays, path: write_arrow(table(arrays), path, pyarrow.ipc.new_file),
    "arrow compressed": lambda arrays, path: write_arrow(table(arrays), path, pyarrow.ipc.new_file, compression="lz4"),
    "arrow stream": lambda arrays, path: write_arrow(table(arrays), path, pyarrow.ipc.new_stream),
}
KINDS = ["npy", *FILES]


def source_of(folder, kind, arrays):
    """Write arrays into a kind of file; gives the source of data that names it."""
    if kind == "npy":
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        return {"type": "npy", "paths": {name: f"{name}.npy" for name in arrays}}
    suffix = kind.split(" ", maxsplit=1)[0]
    FILES[kind](arrays, folder / f"d.{suffix}")
    names = {
        name: name if array.ndim == 1 else [f"{name}{index or ''}" for index in range(array.shape[1])]
        for name, array in arrays.items()
    }
    columns = {} if suffix in ("npz", "jsonl") else {"columns": names}
    return {"type": suffix, "path": f"d.{suffix}", **columns}


def model_of(folder, kind, arrays=LARGE, limits=TINY, **keys):
    """A regression on arrays in a file."""
    source = source_of(folder, kind, arrays)
    content = linreg(data={"d": source}, training=training(data="d", learning_rate=0.05, batch_size=10, **keys))
    return ge.load(write(folder / "m.json", content), limits=limits)


def refused(load):
    with pytest.raises(ge.errors.DataError) as caught:
        load()
    (found,) = caught.value.problems
    return found


# ---------------------------------------------------------------- the same as in memory


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keys", [{"batch_size": 7}, {"batch_size": 50, "shuffle": True}])
def test_training_from_disk_gives_the_bits_of_training_in_memory(tmp_path, kind, keys):
    model, expected = model_of(tmp_path, kind), model_of(tmp_path, kind, limits=DEFAULT)
    trainers = [each.trainer(epochs=3, **keys) for each in (model, expected)]
    assert [trainer.batches.is_stored for trainer in trainers] == [True, False]
    for trainer in trainers:
        for _ in trainer.chunks():
            pass
    assert trainers[0].history.losses == trainers[1].history.losses
    assert model.parameters["theta"] == expected.parameters["theta"]


TYPED = {"f": {"shape": ["N"]}, "i": {"shape": ["N"], "dtype": "int64"}, "b": {"shape": ["N"], "dtype": "bool"}}


@pytest.mark.parametrize("kind", KINDS)
def test_matrices_integers_and_truth_values_keep_their_numbers_on_disk(tmp_path, kind):
    wide = kind != "jsonl"
    arrays = {
        "f": np.random.default_rng(0).normal(size=(N, 3) if wide else N),
        "i": np.arange(N) - 2**53,
        "b": np.arange(N) % 3 == 0,
    }
    inputs = {**TYPED, "f": {"shape": ["N", 3] if wide else ["N"]}}
    nodes = {f"minus_{name}": ("cast", [name], {"dtype": "float64"}) for name in inputs}
    content = document(nodes, inputs=inputs, data={"d": source_of(tmp_path, kind, arrays)})
    path = write(tmp_path / "m.json", content)
    for limits, stored in ((TINY, True), (DEFAULT, False)):
        data = ge.load(path, limits=limits).load_data()
        for name, array in arrays.items():
            assert isinstance(data[name], Stored) is stored
            assert data[name].dtype == array.dtype
            np.testing.assert_array_equal(data[name][:], array)


@pytest.mark.parametrize("kind", KINDS)
def test_the_hash_of_data_does_not_depend_on_where_it_lies(tmp_path, kind):
    assert data_hash(model_of(tmp_path, kind).load_data()) == data_hash(LARGE)


def test_the_hash_of_data_depends_on_numbers_and_names():
    assert data_hash({**LARGE, "y": LARGE["y"] + 1}) != data_hash(LARGE)
    assert data_hash({"x": LARGE["y"], "y": LARGE["x"]}) != data_hash(LARGE)


BLOCKS = """
import json
import numpy as np
from graphengine import Model
from graphengine.data.stored import Memory, spooled

graph, blocks = Model.from_dict(json.loads(sys.argv[1])).graph, 64
spooled([{"x": np.ones((2, 8))}], graph, Memory(2**30))
before = peak()
found = spooled(({"x": np.full((20_000, 8), number, float)} for number in range(blocks)), graph, Memory(2**30))["x"]
taken = peak() - before
assert (found == np.repeat(np.arange(blocks), 20_000)[:, None]).all()
print(taken / found.nbytes)
"""


def test_blocks_that_stay_in_memory_take_little_more_than_their_rows():
    # by the system's figures: Python counts an array that grows in place twice, from version 3.12 on
    content = json.dumps(document({"total": ("sum", ["x"])}, inputs={"x": ["N", 8]}))
    command = [sys.executable, "-c", PEAK + BLOCKS, content]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 0.9 < float(found.stdout) < 1.25


def test_an_epoch_can_begin_at_any_batch(tmp_path):
    for limits in (TINY, DEFAULT):
        batches = model_of(tmp_path, "npy", limits=limits).trainer(shuffle=True).batches
        whole = [s.batch(i)["x"].tolist() for s in batches.epoch(2) for i in range(s.count)]
        for first in (0, 5, 38, 39):
            part = [s.batch(i)["x"].tolist() for s in batches.epoch(2, first) for i in range(s.count)]
            assert part == whole[first:]


@pytest.mark.parametrize(("samples", "most"), [(1, 1), (10, 3), (1000, 64), (200_000, 30_000), (100, 100)])
def test_an_order_in_pieces_is_the_order_of_the_epoch(samples, most):
    order, expected = Order(3, 2, samples, most), epoch_order(3, 2, samples)
    step = max(1, samples // 7)
    pieces = [order.places(start, min(start + step, samples)) for start in range(0, samples, step)]
    np.testing.assert_array_equal(np.concatenate(pieces), expected)


def test_chosen_rows_are_those_of_an_array_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("graphengine.data.chosen.MASKED", 16)
    mask = (np.arange(N) % 3 > 0) & (np.arange(N) // 40 != 5)
    found, expected = model_of(tmp_path, "npy").load_data()["x"].chosen(Chosen(mask)), LARGE["x"][mask]
    rows = epoch_order(0, 1, len(expected))
    np.testing.assert_array_equal(found[:], expected)
    np.testing.assert_array_equal(found[rows], expected[rows])
    np.testing.assert_array_equal(found[5:90], expected[5:90])


def test_validation_on_a_fraction_of_data_on_disk_is_that_of_data_in_memory(tmp_path):
    histories = [
        model_of(tmp_path, "parquet", limits=limits).train(shuffle=True, validation={"fraction": 0.25})
        for limits in (TINY, DEFAULT)
    ]
    assert histories[0].losses == histories[1].losses
    found, expected = ([check.values["validation_loss"] for check in history.checks] for history in histories)
    assert found == pytest.approx(expected, rel=1e-14)


def test_loaded_data_can_be_handed_over_to_a_training_without_being_read_into_memory(tmp_path):
    model = model_of(tmp_path, "csv")
    assert model.trainer(model.load_data()).batches.is_stored


def test_numbers_on_disk_take_the_dtype_of_their_input(tmp_path):
    data = model_of(tmp_path, "npy", {name: array.astype(np.float32) for name, array in LARGE.items()}).load_data()
    assert data["x"][3:5].dtype == np.float64
    np.testing.assert_array_equal(data["x"][:], LARGE["x"].astype(np.float32))


# ---------------------------------------------------------------- what is refused


def test_a_large_npy_file_that_ends_early_or_does_not_fit_is_refused(tmp_path):
    model = model_of(tmp_path, "npy")
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-1])
    assert "ends before its array" in refused(model.load_data).message
    assert refused(model_of(tmp_path, "npy", {**LARGE, "x": LARGE["x"] + 1j}).load_data).code == "GE505"


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_a_large_array_in_fortran_order_is_refused_with_what_to_do(tmp_path, kind):
    source = source_of(tmp_path, kind, {"x": np.asfortranarray(np.ones((N, 3)))})
    content = document({"z": ("neg", ["x"])}, inputs={"x": ["N", 3]}, data={"d": source})
    found = refused(ge.load(write(tmp_path / "m.json", content), limits=TINY).load_data)
    assert found.code == "GE133"
    assert "Fortran order" in found.message
    assert "data_bytes" in found.hint


@pytest.mark.parametrize("kind", ["csv", "jsonl", "npz compressed", "parquet", "arrow"])
def test_temporary_files_have_a_limit(tmp_path, kind):
    found = refused(model_of(tmp_path, kind, limits=replace(TINY, disk_bytes=LARGE["x"].nbytes)).load_data)
    assert found.code == "GE133"
    assert found.hint == "raise the limit disk_bytes"


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "arrow"])
def test_a_fault_far_down_a_large_file_is_reported_with_its_row(tmp_path, kind):
    path = tmp_path / f"d.{kind}"
    model = model_of(tmp_path, kind)
    if kind in ("csv", "jsonl"):
        lines = path.read_text().splitlines()
        lines[300] = {"csv": "1.5,", "jsonl": '{"x": 1.5}'}[kind]
        path.write_text("\n".join(lines))
        reported = {"csv": "d.csv:301: column 'y' is empty", "jsonl": "d.jsonl:301: key 'y' is missing"}[kind]
    else:
        missing = pyarrow.array(LARGE["y"], mask=np.arange(N) == 300)
        data = pyarrow.table({"x": LARGE["x"], "y": missing})
        write_parquet(data, path, 64) if kind == "parquet" else write_arrow(data, path, pyarrow.ipc.new_file)
        reported = "column 'y' has no value in row 301"
    found = refused(model.load_data)
    assert (found.code, reported in found.message) == ("GE503", True)


def test_a_value_on_disk_that_is_not_finite_is_reported_with_its_row(tmp_path):
    y = np.where(np.arange(N) == 77, np.inf, LARGE["y"])
    assert "'y' has the value inf in row 78" in refused(model_of(tmp_path, "npy", {**LARGE, "y": y}).train).message


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_line_that_is_too_long_for_memory_is_refused(tmp_path, kind):
    model = model_of(tmp_path, kind)
    with (tmp_path / f"d.{kind}").open("a") as file:
        file.write(" " * TINY.data_bytes)
    last = {"csv": N + 2, "jsonl": N + 1}[kind]
    found = refused(model.load_data)
    assert found.code == "GE501"
    assert f"d.{kind}:{last}: the line has more than 312 characters" in found.message


def test_batches_that_memory_has_no_room_for_are_refused_with_the_largest_possible(tmp_path):
    found = refused(lambda: model_of(tmp_path, "npy").trainer(batch_size=None))
    assert found.code == "GE133"
    assert "a batch of 400 samples takes 18.75 KiB" in found.message
    assert "set batch_size to 52 at most, or raise the limit data_bytes" in found.hint
    assert model_of(tmp_path, "npy").trainer(batch_size=52).batches.is_stored


def test_a_solver_does_not_take_data_on_disk_and_says_what_to_raise(tmp_path):
    with pytest.raises(ge.errors.TrainingError, match="all samples as one batch in memory; raise the limit data_bytes"):
        model_of(tmp_path, "npy").train(optimizer={"type": "lbfgs"}, epochs=None, batch_size=None)


def test_what_would_read_data_on_disk_as_a_whole_refuses_it(tmp_path):
    model = model_of(tmp_path, "csv")
    for attempt in (model.forward, model.predict):
        found = refused(lambda attempt=attempt: attempt(model.load_data()))
        assert (found.code, found.message.startswith(f"an array of shape ({N},) is on disk")) == ("GE133", True)
    content = json.loads(model.path.read_text())
    del content["training"]
    write(model.path, content)
    command = ["--limit", f"data_bytes={TINY.data_bytes}", "trace", str(model.path), "--format", "json"]
    (error,) = json.loads(CliRunner().invoke(app, command, catch_exceptions=False).output)["errors"]
    assert (error["code"], error["hint"]) == ("GE133", found.hint)
    one = json.loads(CliRunner().invoke(app, [*command, "--sample", "3"], catch_exceptions=False).output)
    assert "errors" not in one


@pytest.fixture
def full_disk(tmp_path, monkeypatch):
    """No file of this process may grow beyond a kilobyte; gives the folder for temporary files."""
    resource = pytest.importorskip("resource")
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
        return folder

    yield fill
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "npz", "parquet", "parquet in one row group", "arrow"])
def test_a_full_disk_is_reported_and_nothing_is_left_on_it(tmp_path, full_disk, kind):
    model = model_of(tmp_path, kind)
    folder = full_disk()
    found = refused(model.load_data)
    assert found.code == "GE101"
    assert "TMPDIR" in found.hint
    assert list(folder.iterdir()) == []


# ---------------------------------------------------------------- run


@pytest.mark.parametrize("options", [[], ["--check-finite"], ["--data", "d"]])
def test_run_computes_the_outputs_on_data_on_disk_without_reading_it_as_a_whole(tmp_path, options):
    path = model_of(tmp_path, "npy").path
    command = ["--limit", "data_bytes=10000", "run", str(path), *options, "--format", "json"]
    trained = json.loads(CliRunner().invoke(app, command, catch_exceptions=False).output)
    content = json.loads(path.read_text())
    del content["training"]
    content["parameters"]["theta"]["value"] = trained["parameters"]["theta"]
    write(path, content)
    evaluated = json.loads(CliRunner().invoke(app, command, catch_exceptions=False).output)
    loss = np.mean((LARGE["y"] - trained["parameters"]["theta"] * LARGE["x"]) ** 2)
    assert trained["outputs"] == {"loss": pytest.approx(loss, rel=1e-13)}
    assert evaluated["outputs"] == {"loss": pytest.approx(loss, rel=1e-13)}


# ---------------------------------------------------------------- a file that is truncated meanwhile

CUT = """
import os, sys
import graphengine as ge
from graphengine.data import columnar
from graphengine.limits import Limits

path, left, cut = sys.argv[1], int(sys.argv[2]), sys.argv[3]
real = columnar.sliced

def slices(*arguments):
    for index, batch in enumerate(real(*arguments)):
        if index == 2:
            os.truncate(cut, left)
        yield batch

columnar.sliced = slices
try:
    rows = ge.load(path, limits=Limits(data_bytes=200_000)).iterate()
    next(rows)
    os.truncate(cut, left)
    for row in rows:
        pass
except ge.errors.DataError as error:
    print(error)
"""


@pytest.mark.parametrize("left", [0, 5000])
@pytest.mark.parametrize(
    ("kind", "keys"),
    [("npy", {}), ("npy", {"shuffle": True}), ("npy", {"validation": {"fraction": 0.5}}), ("arrow", {})],
)
def test_a_file_that_is_truncated_while_it_is_in_use_ends_the_training_and_not_the_process(tmp_path, kind, keys, left):
    """Pages of a map behind the end of its file are a signal, SIGBUS, that no program outlives."""
    long = {"x": np.linspace(1, 2, 50_000), "y": np.linspace(3, 6, 50_000)}
    path = model_of(tmp_path, kind, long, limits=DEFAULT, epochs=3, **keys).path
    cut = tmp_path / ("x.npy" if kind == "npy" else "d.arrow")
    command = [sys.executable, "-c", CUT, str(path), str(left), str(cut)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    size = "4.883 KiB" if left else "0 bytes"
    assert f"the file was truncated while it was in use: {size} are left of" in done.stdout
    assert (
        done.stdout.count("GE501: ") == done.stdout.count(f"{cut}: ") == 1
    )  # the model that names the file comes first


def test_a_file_that_is_truncated_after_a_look_at_its_size_does_no_harm_in_its_own_order(tmp_path, monkeypatch):
    """Rows that follow each other are read and not mapped: nothing can happen between a look and the reading."""
    x, path = np.linspace(1, 2, 3000), tmp_path / "x.npy"
    np.save(path, x)
    with path.open("rb") as file:
        stored = Stored(StoredFile(file, "x.npy"), path.stat().st_size - x.nbytes, x.shape, x.dtype, Memory(100_000))
    halves = stored.astype(np.dtype(np.float32))
    np.testing.assert_array_equal(stored[3:2700], x[3:2700])
    np.testing.assert_array_equal(halves[3:2700], x[3:2700].astype(np.float32))
    monkeypatch.setattr("graphengine.data.stored.require_whole", lambda *_: None)
    os.truncate(path, 5000)
    for array in (stored, halves):
        with pytest.raises(
            ge.errors.DataError, match=r"the file was truncated while it was in use: 4\.883 KiB are left"
        ):
            _ = array[:]


# ---------------------------------------------------------------- measured memory

STREAMING = f"""{PEAK}
import graphengine as ge
from graphengine.limits import Limits

ge.load(sys.argv[1]).train()  # what is imported late is in memory now
model = ge.load(sys.argv[2], limits=Limits(data_bytes=int(sys.argv[3])))
before = peak()
history = model.train()
print(len(history), peak() - before)
"""


def regression_on(folder, kind, rows, width, **keys):
    """A regression on a matrix and a vector in a file, one batch of 256 samples after the other."""
    folder.mkdir()
    text = kind in ("csv", "jsonl")
    x = np.random.default_rng(0).integers(-9, 9, (rows, width)) / (1 if text else 7)
    x = x.astype(np.int8) if text else x
    arrays = {"x": x, "y": np.ones(rows, x.dtype)}
    content = document(
        {"p": ("matmul", ["x", "w"]), "e": ("sub", ["p", "y"]), "s": ("square", ["e"]), "loss": ("mean", ["s"])},
        inputs={"x": ["N", width], "y": ["N"]},
        parameters={"w": [0.0] * width},
        data={"d": source_of(folder, kind, arrays)},
        training=training(data="d", learning_rate=1e-4, batch_size=256, **keys),
    )
    return write(folder / "m.json", content)


MEASURED = [
    ("npy", 16, 64, {"shuffle": True, "validation": {"fraction": 0.2}, "metrics": {"mean_square": "loss"}}),
    ("npy", 16, 1, {"shuffle": True, "validation": {"fraction": 0.2}}),
    ("npz", 8, 64, {}),
    ("parquet", 16, 64, {"shuffle": True}),
    ("parquet in one row group", 16, 64, {"shuffle": True}),
    ("arrow", 8, 64, {"shuffle": True}),
    ("csv", 4, 64, {}),
    ("jsonl", 4, 64, {}),
]


@pytest.mark.parametrize(("kind", "mebibytes", "width", "keys"), MEASURED)
def test_training_on_five_times_the_allowed_memory_stays_within_it(tmp_path, kind, mebibytes, width, keys):
    allowed = mebibytes * 2**20
    small = regression_on(tmp_path / "small", kind, 300, width, **keys)
    rows = 5 * allowed // (8 * (width + 1))
    large = regression_on(tmp_path / "large", kind, rows, width, **keys)
    command = [sys.executable, "-c", STREAMING, str(small), str(large), str(allowed)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    iterations, grown = map(int, output.split())
    assert iterations >= 0.8 * rows // 256
    assert grown < allowed, f"{grown / 2**20:.1f} MiB"


def test_a_worker_sorts_the_samples_of_an_epoch_once_and_again_for_an_iteration_that_is_repeated(tmp_path, monkeypatch):
    sizes = {"shuffle": True, "shard_rows": 4}
    batches = model_of(tmp_path, "npy", **sizes).trainer().batches
    expected = model_of(tmp_path, "npy", limits=DEFAULT, **sizes).trainer().batches
    assert batches.is_stored
    assert not expected.is_stored
    sorted_epochs = []
    order = batches.order
    monkeypatch.setattr(batches, "order", lambda epoch: sorted_epochs.append(epoch) or order(epoch))
    for iteration in (1, 2, 30, 40, 2, 41, 42):  # an epoch has 40 iterations
        found = list(batches.parts_of(iteration, 1, 3))
        assert [part["x"].tobytes() for part in found] == [
            part["x"].tobytes() for part in expected.parts_of(iteration, 1, 3)
        ]
    assert sorted_epochs == [1, 1, 2]
