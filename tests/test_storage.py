"""Numbers of 16 bits: float16 and bfloat16 in files of tensors, in models from ONNX and in exports, computed wider."""

import numpy as np
import pytest
import safetensors
from documents import document
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from selection import missing

import graphengine as ge
from graphengine.format.narrow import narrowed, widened_bits

KINDS = ["float16", "bfloat16"]
HALVES = np.linspace(-3, 3, 8).reshape(4, 2)

pytestmark = pytest.mark.extra("onnx", "onnxruntime")
if not missing(["onnx", "onnxruntime"]):
    import ml_dtypes
    import onnx
    import onnxruntime

    from graphengine.model.onnx_files import from_proto, onnx_proto

    LIBRARY = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


@pytest.fixture
def external(monkeypatch):
    """Models of any size are written with a file of tensors."""
    monkeypatch.setattr("graphengine.format.tensors.EXTERNAL_FROM", 1)


def model(storage, dtype="float32", **declared):
    values = HALVES.astype(LIBRARY[storage]).astype(dtype)
    content = document(
        {"z": ("matmul", ["x", "w"]), "loss": ("mean", ["z"])},
        inputs={"x": {"shape": ["N", 4], "storage": storage}},
        parameters={"w": {"shape": [4, 2], "value": values.tolist(), "storage": storage, **declared}},
    )
    return ge.Model.from_dict({**content, "dtype": dtype, "outputs": {"z": "z", "loss": "loss"}})


def tensors_beside(path):
    (found,) = path.parent.glob("*.safetensors")
    kinds = {"F16": np.float16, "BF16": ml_dtypes.bfloat16, "F32": np.float32, "F64": np.float64}
    return {
        name: np.frombuffer(each["data"], kinds[each["dtype"]]).reshape(each["shape"])
        for name, each in safetensors.deserialize(found.read_bytes())
    }


@given(arrays(np.uint16, 20, elements=st.integers(0, 2**16 - 1)))
def test_bits_of_bfloat16_are_those_of_ml_dtypes(bits):
    theirs = bits.view(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(widened_bits(bits), theirs)
    np.testing.assert_array_equal(narrowed(widened_bits(bits), "bfloat16"), bits)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
@given(number=st.floats(width=32))
def test_numbers_are_narrowed_only_where_no_bit_is_lost(kind, dtype, number):
    array = np.array([number], dtype)
    with np.errstate(all="ignore"):
        theirs = array.astype(LIBRARY[kind]).astype(dtype)
    found = narrowed(array, kind)
    if np.isfinite(array).all():
        assert (found is not None) == (theirs.tobytes() == array.tobytes())
    if found is not None:
        again = widened_bits(found) if kind == "bfloat16" else found
        assert again.astype(dtype).tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("storage", KINDS)
def test_a_file_of_tensors_has_numbers_of_16_bits(tmp_path, external, storage, dtype):
    one = model(storage, dtype)
    one.save(tmp_path / "m.json")
    found = tensors_beside(tmp_path / "m.json")["w"]
    assert found.dtype == LIBRARY[storage]
    np.testing.assert_array_equal(found.astype(dtype), one.parameters["w"])
    again = ge.load(tmp_path / "m.json")
    assert again.parameters["w"].dtype == dtype
    np.testing.assert_array_equal(again.parameters["w"], one.parameters["w"])
    written = (tmp_path / "m.json").read_bytes()
    again.save(tmp_path / "m.json")
    assert (tmp_path / "m.json").read_bytes() == written


@pytest.mark.parametrize("storage", KINDS)
def test_a_trained_parameter_is_stored_in_full(tmp_path, external, storage):
    one = model(storage)
    one.train({"x": np.ones((3, 4))}, loss="loss", optimizer={"type": "sgd", "learning_rate": 0.0123}, epochs=3)
    one.save(tmp_path / "m.json")
    assert tensors_beside(tmp_path / "m.json")["w"].dtype == np.float32
    again = ge.load(tmp_path / "m.json")
    np.testing.assert_array_equal(again.parameters["w"], one.parameters["w"])
    assert again.document.parameters["w"].storage == storage
    again.parameters["w"] = again.parameters["w"].astype(LIBRARY[storage]).astype("float32")
    again.save(tmp_path / "m.json")
    assert tensors_beside(tmp_path / "m.json")["w"].dtype == LIBRARY[storage]


@pytest.mark.parametrize("storage", KINDS)
def test_inputs_of_16_bits_are_widened(storage):
    x = np.linspace(0, 1, 12).reshape(3, 4).astype(LIBRARY[storage])
    one = model(storage)
    np.testing.assert_array_equal(one.predict(x=x)["z"], one.predict(x=x.astype("float32"))["z"])


def test_storage_of_integers_is_refused():
    content = document({"z": ("neg", ["x"])}, inputs={"x": {"shape": [], "dtype": "int64", "storage": "float16"}})
    with pytest.raises(ge.errors.InvalidModelError, match=r"GE112: 'x' is int64.*float16 stores floating-point"):
        ge.Model.from_dict(content)


@pytest.mark.parametrize("external_data", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("storage", KINDS)
def test_an_export_has_16_bits_and_comes_back(tmp_path, monkeypatch, storage, dtype, external_data):
    monkeypatch.setattr("graphengine.format.onnx.exporting.SMALLEST", 1)
    one = model(storage, dtype)
    ge.onnx.export(one, tmp_path / "m.onnx", external=external_data)
    onnx.checker.check_model(str(tmp_path / "m.onnx"), full_check=True)
    proto = onnx.load(tmp_path / "m.onnx")
    kinds = {each.name: onnx.TensorProto.DataType.Name(each.data_type) for each in proto.graph.initializer}
    assert kinds["w"] == storage.upper()
    assert proto.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.DataType.Value(storage.upper())
    x = np.linspace(0, 1, 12).reshape(3, 4).astype(LIBRARY[storage])
    if storage == "float16":  # onnxruntime takes no arrays of bfloat16
        session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
        (found,) = session.run(["z"], {"x": x})
        np.testing.assert_allclose(found, one.predict(x=x)["z"], rtol=1e-6)
    again = ge.onnx.load(tmp_path / "m.onnx")
    assert again.fingerprint == one.fingerprint
    np.testing.assert_array_equal(again.parameters["w"], one.parameters["w"])
    del proto.metadata_props[:]
    other = from_proto(proto)
    assert other.document.parameters["w"].storage == other.document.inputs["x"].storage == storage
    np.testing.assert_array_equal(other.predict(x=x)["z"], one.predict(x=x)["z"])


def test_a_step_and_a_trained_parameter_are_exported_in_full():
    one = model("float16")
    one.parameters["w"] = one.parameters["w"] / np.float32(3)
    (w,) = (each for each in onnx_proto(one).graph.initializer if each.name == "w")
    assert w.data_type == onnx.TensorProto.FLOAT


def test_a_model_of_halves_is_imported_saved_and_trained(tmp_path, external):
    text = "half (float16[N, 4] x) => (float16 y) { z = MatMul(x, w)\n y = ReduceMean<keepdims = 0>(z) }"
    proto = onnx.helper.make_model(onnx.parser.parse_graph(text), opset_imports=[onnx.helper.make_opsetid("", 21)])
    proto.graph.initializer.append(onnx.numpy_helper.from_array(HALVES.astype(np.float16), "w"))
    one = from_proto(proto)
    one.save(tmp_path / "m.json")
    assert tensors_beside(tmp_path / "m.json")["w"].dtype == np.float16
    assert one.document.parameters["w"].trainable
    gradient = one.forward(x=np.ones((2, 4), np.float16)).backward(of="y")
    assert gradient["w"].dtype == np.float32
