"""External data beside an ONNX file, read by the checker, onnxruntime, the safetensors library and our import."""

import json

import numpy as np
import pytest
import safetensors.numpy
from selection import missing

import graphengine as ge
from graphengine.cli import main
from graphengine.format.paths import is_plain

pytestmark = pytest.mark.extra("onnx", "onnxruntime")
if not missing(["onnx", "onnxruntime"]):
    import onnx
    import onnxruntime


@pytest.fixture
def digits():
    model = ge.load("mlp_digits")
    model.initialize()
    return model


def session_of(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def beside(path):
    return [each.name for each in path.parent.iterdir() if each.suffix == ".safetensors"]


@pytest.mark.parametrize("kind", ["forward", "gradient", "step", "start"])
def test_the_checker_and_the_runtime_read_external_data(digits, tmp_path, kind):
    inline, external = tmp_path / "inline.onnx", tmp_path / "external.onnx"
    ge.onnx.export(digits, inline, graph=kind)
    ge.onnx.export(digits, external, graph=kind, external=True)
    onnx.checker.check_model(str(external), full_check=True)
    assert external.stat().st_size < inline.stat().st_size - digits.parameters["W1"].nbytes
    rows = {name: np.asarray(value[:5]) for name, value in digits.load_data("train").items()}
    given = {**rows, "iteration": np.array(1.0)}
    one, two = session_of(inline), session_of(external)
    given = {each.name: given[each.name] for each in one.get_inputs()}
    assert [each.name for each in one.get_inputs()] == [each.name for each in two.get_inputs()]
    overridable = [{each.name for each in session.get_overridable_initializers()} for session in (one, two)]
    assert overridable[0] == overridable[1]
    for a, b in zip(one.run(None, given), two.run(None, given), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_file_beside_is_one_of_safetensors_with_a_plain_name(digits, tmp_path):
    path = tmp_path / "a:b.onnx"
    ge.onnx.export(digits, path, external=True)
    (name,) = beside(path)
    assert is_plain(name)
    stored = safetensors.numpy.load_file(tmp_path / name)
    tensors = {each.name: each for each in onnx.load(path, load_external_data=False).graph.initializer}
    assert set(stored) == {"W1", "W2", "b1"}
    for key, value in stored.items():
        np.testing.assert_array_equal(value, digits.parameters[key])
        entries = {each.key: each.value for each in tensors[key].external_data}
        assert (entries["location"], int(entries["length"])) == (name, value.nbytes)
    assert not tensors["b2"].external_data
    for each in onnx.load(path).graph.initializer:
        if each.name in digits.parameters:
            np.testing.assert_array_equal(onnx.numpy_helper.to_array(each), digits.parameters[each.name])


def test_a_model_with_external_data_comes_back_and_trains(digits, tmp_path):
    ge.onnx.export(digits, tmp_path / "m.onnx", external=True)
    back = ge.onnx.load(tmp_path / "m.onnx")
    assert back.fingerprint == digits.fingerprint
    for name, value in digits.parameters.items():
        np.testing.assert_array_equal(back.parameters[name], value)
    odd = ge.onnx.load(tmp_path / "m.onnx", head="hidden", classes=2)
    assert set(odd.parameters) > {"W1", "b1"}
    np.testing.assert_array_equal(odd.parameters["W1"], digits.parameters["W1"])


def test_a_new_version_replaces_the_old_one_and_its_values(digits, tmp_path):
    path = tmp_path / "m.onnx"
    ge.onnx.export(digits, path, external=True)
    (first,) = beside(path)
    digits.parameters["b1"] = digits.parameters["b1"] + 1
    ge.onnx.export(digits, path, external=True)
    (second,) = beside(path)
    assert first != second
    ge.onnx.export(digits, path)
    assert [each.name for each in tmp_path.iterdir()] == ["m.onnx"]


def test_an_export_that_fails_leaves_the_old_version(digits, tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    ge.onnx.export(digits, path, external=True)
    old, content = beside(path), path.read_bytes()
    digits.parameters["b1"] = digits.parameters["b1"] + 1
    failing = "graphengine.format.onnx.external_data.write_bytes"
    monkeypatch.setattr(failing, lambda *_: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        ge.onnx.export(digits, path, external=True)
    assert (beside(path), path.read_bytes()) == (old, content)


def test_a_model_file_leaves_the_values_that_an_onnx_file_names(tmp_path, monkeypatch):
    monkeypatch.setattr("graphengine.format.tensors.EXTERNAL_FROM", 1)
    model = ge.load("linreg")
    model.initialize()
    model.save(tmp_path / "m.json")
    (name,) = beside(tmp_path / "m.json")
    proto = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []))
    proto.graph.initializer.add(name="theta").external_data.add(key="location", value=name)
    (tmp_path / "other.onnx").write_bytes(proto.SerializeToString())
    model.parameters["theta"] = np.array(1.0)
    model.save(tmp_path / "m.json")
    assert len(beside(tmp_path / "m.json")) == 2


def test_values_that_no_file_can_hold_are_external_by_default(digits, tmp_path, monkeypatch):
    monkeypatch.setattr("graphengine.format.onnx.exporting.LARGEST", 10_000)
    ge.onnx.export(digits, tmp_path / "m.onnx")
    assert len(beside(tmp_path / "m.onnx")) == 1
    assert ge.onnx.load(tmp_path / "m.onnx").fingerprint == digits.fingerprint
    with pytest.raises(ge.errors.UsageError, match="at most 10,000"):
        ge.onnx.export(digits, tmp_path / "m.onnx", external=False)


def test_numbers_of_external_data_count_once(digits, tmp_path):
    ge.onnx.export(digits, tmp_path / "m.onnx", external=True)
    proto = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    del proto.metadata_props[:]
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    size = sum(value.nbytes for value in digits.parameters.values())
    ge.onnx.load(tmp_path / "m.onnx", head="hidden", limits=ge.Limits(array_bytes=size + 2**16))


def test_the_command_writes_external_data(tmp_path, monkeypatch, capsys):
    path = tmp_path / "m.onnx"
    arguments = ["export", "mlp_digits", "-o", str(path), "--graph", "start", "--external"]
    monkeypatch.setattr("sys.argv", ["graphengine", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None), capsys.readouterr().err
    metadata = session_of(path).get_modelmeta().custom_metadata_map
    assert json.loads(metadata["graphengine.carried"])
    assert len(beside(path)) == 1
