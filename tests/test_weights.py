"""Values in safetensors files: what is written, what is read, what is refused."""

import hashlib
import subprocess
import sys

import numpy as np
import orjson
import pytest
import safetensors.numpy
from documents import KILLED_AT, document, parameter, write

import graphengine as ge
from graphengine.format.safetensors import decoded, encoded
from graphengine.limits import Limits

WEIGHTS = np.arange(6.0).reshape(2, 3) / 7


@pytest.fixture
def external(monkeypatch):
    """Models of any size are written with a file of tensors."""
    monkeypatch.setattr("graphengine.format.tensors.EXTERNAL_FROM", 1)


def model(**declared):
    parameters = {"w": parameter(WEIGHTS), "k": {"shape": [2], "dtype": "float32", "initializer": {"type": "ones"}}}
    content = document({"z": ("mul", ["w", 2])}, parameters={**parameters, **declared})
    content["state"] = {"n": {"shape": [], "dtype": "int64", "initializer": {"type": "zeros"}}}
    return ge.Model.from_dict(content)


def test_values_are_written_beside_the_model_and_read_again(tmp_path, external):
    model().save(tmp_path / "m.json")
    content = orjson.loads((tmp_path / "m.json").read_bytes())
    stored = content["parameters"]["w"]["value"]
    assert stored == {"file": stored["file"], "tensor": "w", "sha256": stored["sha256"]}
    data = (tmp_path / stored["file"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == stored["sha256"]
    assert stored["file"] == f"m-{stored['sha256'][:12]}.safetensors"
    np.testing.assert_array_equal(safetensors.numpy.load(data)["w"], WEIGHTS)
    loaded = ge.load(tmp_path / "m.json")
    np.testing.assert_array_equal(loaded.parameters["w"], WEIGHTS)
    assert {name: np.asarray(value).dtype.name for name, value in loaded.values.items()} == {
        "w": "float64",
        "k": "float32",
        "n": "int64",
    }


def test_a_model_of_few_numbers_is_one_file(tmp_path):
    model().save(tmp_path / "m.json")
    assert [path.name for path in tmp_path.iterdir()] == ["m.json"]


# ---------------------------------------------------------------- the files of earlier versions


def save(path, factor):
    """Save the model with weights of its own; gives the file of tensors that it then has."""
    other = model()
    other.parameters["w"] = factor * WEIGHTS
    other.save(path)
    (name,) = {value["file"] for value in stored_values(path)}
    return path.parent / name


def stored_values(path):
    content = orjson.loads(path.read_bytes())
    return [each["value"] for section in ("parameters", "state") for each in content[section].values()]


def test_the_tensors_of_the_version_that_is_replaced_are_removed(tmp_path, external):
    path = tmp_path / "m.json"
    first, again, second = save(path, 1), save(path, 1), save(path, 2)
    assert first == again
    assert set(tmp_path.iterdir()) == {path, second}


def test_a_model_that_becomes_small_leaves_no_tensors(tmp_path, external, monkeypatch):
    save(tmp_path / "m.json", 1)
    monkeypatch.undo()
    model().save(tmp_path / "m.json")
    assert [path.name for path in tmp_path.iterdir()] == ["m.json"]


@pytest.mark.parametrize("room", [2**20, 29])
def test_tensors_that_another_file_names_stay(tmp_path, external, monkeypatch, room):
    monkeypatch.setattr("graphengine.format.tensors.SEARCHED_BYTES", room)
    path = tmp_path / "m.json"
    first = save(path, 1)
    (tmp_path / "kept").write_bytes(b"\n \n" + path.read_bytes())
    second = save(path, 2)
    assert set(tmp_path.iterdir()) == {path, tmp_path / "kept", first, second}
    np.testing.assert_array_equal(ge.load(tmp_path / "kept").parameters["w"], WEIGHTS)
    (tmp_path / "kept").unlink()
    third = save(path, 3)  # the last version did not name the first file, so it is not this model's to remove
    assert set(tmp_path.iterdir()) == {path, first, third}


def test_files_that_were_not_written_for_this_model_stay(tmp_path, external):
    path = tmp_path / "m.json"
    theirs = [save(tmp_path / name, 1) for name in ("mm.json", "m-2.json")]
    own = save(path, 1)
    named = own.rename(tmp_path / "named.safetensors")
    path.write_bytes(path.read_bytes().replace(own.name.encode(), named.name.encode()))
    (tmp_path / "data.csv").write_text(f"x\n{named.name}\n")
    save(path, 2)
    assert {named, *theirs} < set(tmp_path.iterdir())


def test_a_save_that_fails_leaves_the_last_version_and_nothing_new(tmp_path, external, monkeypatch):
    path = tmp_path / "m.json"
    first = save(path, 1)
    content = path.read_bytes()
    monkeypatch.setattr("graphengine.model.keeping.write_bytes", lambda *_: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        save(path, 2)
    assert (set(tmp_path.iterdir()), path.read_bytes()) == ({path, first}, content)


KILLED = """
import sys
from pathlib import Path
import numpy as np
import graphengine.format.tensors

steps, path = sys.argv[2].split(","), Path(sys.argv[1])
graphengine.format.tensors.EXTERNAL_FROM = 1
model = graphengine.load(path)

def save(value):
    model.parameters["w"] = np.full((2, 3), value)
    model.save(path)

for last in range(100):
    save(1.0)
    killed = killed_child(lambda: save(2.0), last, steps)
    print(float(graphengine.load(path).parameters["w"][0, 0]), killed)
    if not killed:
        break
"""


def test_a_save_that_is_killed_at_any_step_leaves_one_version_whole(tmp_path):
    path = write(tmp_path / "m.json", document({"z": ("neg", ["w"])}, parameters={"w": [[0.0] * 3] * 2}))
    command = [sys.executable, "-c", KILLED_AT + KILLED, str(path), "open,stat,write,fsync,replace,unlink"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert set(lines[:-1]) == {"1.0 True", "2.0 True"}
    assert lines == [*sorted(lines[:-1]), "2.0 False"]
    assert len(lines) > 10
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


# ---------------------------------------------------------------- what is read


def changed(tmp_path, **keys):
    """The problem of a saved model whose reference to a tensor is changed."""
    content = orjson.loads((tmp_path / "m.json").read_bytes())
    content["parameters"]["w"]["value"] |= keys
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.load(write(tmp_path / "m.json", content))
    (problem,) = caught.value.problems
    assert problem.pointer.startswith("/parameters/w/value")
    assert problem.line
    return problem


@pytest.mark.parametrize(
    ("keys", "code", "said"),
    [
        ({"tensor": "v"}, "GE502", "has no tensor 'v'"),
        ({"file": "gone.safetensors"}, "GE501", "cannot read 'gone.safetensors'"),
        ({"file": "../m.safetensors"}, "GE504", "not a plain relative path"),
        ({"sha256": "0" * 64}, "GE506", "is not the file that the model was written with"),
    ],
)
def test_a_reference_that_leads_nowhere_is_reported_with_its_place(tmp_path, external, keys, code, said):
    model().save(tmp_path / "m.json")
    problem = changed(tmp_path, **keys)
    assert problem.code == code
    assert said in problem.message


def test_a_file_of_tensors_that_was_changed_is_refused(tmp_path, external):
    model().save(tmp_path / "m.json")
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.load(tmp_path / "m.json")
    assert [problem.code for problem in caught.value.problems] == ["GE506"] * 3


@pytest.mark.parametrize("array", [WEIGHTS.astype(np.float32), WEIGHTS.T])
def test_a_tensor_of_another_type_is_refused(tmp_path, external, array):
    model().save(tmp_path / "m.json")
    data = safetensors.numpy.save({"w": np.ascontiguousarray(array)})
    (tmp_path / "other.safetensors").write_bytes(data)
    problem = changed(tmp_path, file="other.safetensors", sha256=hashlib.sha256(data).hexdigest())
    assert problem.code == "GE302"


def test_what_is_no_file_of_tensors_is_refused(tmp_path, external):
    model().save(tmp_path / "m.json")
    (tmp_path / "x.safetensors").write_bytes(b"\xff" * 20)
    sha256 = hashlib.sha256(b"\xff" * 20).hexdigest()
    assert "cannot be read as safetensors" in changed(tmp_path, file="x.safetensors", sha256=sha256).message


def header_of(entries, padding=b""):
    text = entries if isinstance(entries, bytes) else orjson.dumps(entries)
    return len(text + padding).to_bytes(8, "little") + text + padding


def entry(start, stop, shape, dtype="F64"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


WRONG = {
    "an empty file": (b"", "its header has 0 bytes, the file 0"),
    "a length beyond the file": ((99).to_bytes(8, "little") + b"{}", "its header has 99 bytes, the file 10"),
    "a length of no computer": (b"\xff" * 20, "its header has 18446744073709551615 bytes"),
    "no JSON": (header_of(b"{,}"), "its header is not JSON"),
    "a list": (header_of([]), "its header is not a JSON object"),
    "a key twice": (header_of(b'{"w": {}, "w": {}}'), 'its header is not JSON: .*"w"'),
    "no entry": (header_of({"w": 1}), "tensor 'w' has no dtype, shape and data_offsets that fit together"),
    "no offsets": (header_of({"w": {"dtype": "F64", "shape": [1]}}) + bytes(8), "tensor 'w' has no dtype"),
    "a negative size": (header_of({"w": entry(0, 8, [-1])}) + bytes(8), "that fit together"),
    "a negative place": (header_of({"w": entry(-8, 0, [1])}), "that fit together"),
    "a truth value": (header_of({"w": entry(False, 8, [1])}) + bytes(8), "that fit together"),
    "another size": (header_of({"w": entry(0, 8, [2])}) + bytes(8), "that fit together"),
    "a huge shape": (header_of({"w": entry(0, 8, [2**40, 2**40])}) + bytes(8), "that fit together"),
    "a dtype of no array": (
        header_of({"w": entry(0, 1, [1], "F8_E4M3")}) + bytes(1),
        "dtype F8_E4M3; the known dtypes are F64",
    ),
    "a hole": (header_of({"w": entry(8, 16, [1])}) + bytes(16), "begins at byte 8, the one before it ends at 0"),
    "an overlap": (
        header_of({"v": entry(0, 16, [2]), "w": entry(8, 16, [1])}) + bytes(16),
        "tensor 'w' begins at byte 8, the one before it ends at 16",
    ),
    "too few numbers": (header_of({"w": entry(0, 16, [2])}) + bytes(8), "its tensors have 16 bytes, the file has 8"),
    "too many numbers": (header_of({"w": entry(0, 8, [1])}) + bytes(9), "its tensors have 8 bytes, the file has 9"),
    "a truth value of 2": (header_of({"w": entry(0, 1, [1], "BOOL")}) + b"\2", "neither 0 nor 1"),
}


@pytest.mark.parametrize(("data", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_file_of_tensors_is_reported(tmp_path, data, said):
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with path.open("rb") as file, pytest.raises(ValueError, match=said):
        decoded(file, len(data))
    # the library takes any byte for a truth value, and numbers of 8 bits only where NumPy is taught them
    if said not in ("neither 0 nor 1", "dtype F8_E4M3; the known dtypes are F64"):
        with pytest.raises(safetensors.SafetensorError):
            safetensors.numpy.load(data)


ARRAYS = {
    "w": WEIGHTS,
    "transposed": WEIGHTS.T,
    "big": WEIGHTS.astype(">f4"),
    "scalar": np.float32(1.5),
    "empty": np.empty((0, 3), np.int16),
    "truths": np.array([True, False]),
    **{name: np.arange(5, dtype=name) for name in ("float16", "int64", "int32", "int8", "uint64", "uint32", "uint16")},
    "bytes": np.arange(5, dtype=np.uint8),
}


def test_the_library_reads_what_is_written():
    found = safetensors.numpy.load(b"".join(encoded(ARRAYS)))
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == np.asarray(array).dtype.newbyteorder("=")
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("metadata", [None, {"made": "by hand"}])
def test_what_the_library_writes_is_read(tmp_path, metadata):
    given = {name: np.ascontiguousarray(array) for name, array in ARRAYS.items() if name != "big"}
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file(given, path, metadata)
    with path.open("rb") as file:
        found = decoded(file, path.stat().st_size)
    assert found.keys() == given.keys()
    for name, array in given.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


def test_a_folder_that_is_not_there_is_reported_of_when_tensors_are_written(tmp_path, external):
    with pytest.raises(ge.errors.GraphEngineError, match=r"GE101: cannot write the file"):
        model().save(tmp_path / "gone" / "m.json")


def test_a_model_without_a_folder_has_no_files_of_tensors():
    stored = {"file": "w.safetensors", "tensor": "w", "sha256": "0" * 64}
    with pytest.raises(ge.errors.GraphEngineError, match=r"there is no folder to look for 'w.safetensors' in"):
        model(w=parameter(WEIGHTS) | {"value": stored})


def test_a_file_of_tensors_beyond_the_limit_is_not_read_whole(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(bytes(2**21))
    stored = {"file": "w.safetensors", "tensor": "w", "sha256": "0" * 64}
    content = document({"z": ("neg", ["w"])}, parameters={"w": parameter(WEIGHTS) | {"value": stored}})
    path = write(tmp_path / "m.json", content)
    with pytest.raises(ge.errors.GraphEngineError, match=r"'w.safetensors' has more than 1000 bytes"):
        ge.load(path, limits=Limits(array_bytes=1000))
