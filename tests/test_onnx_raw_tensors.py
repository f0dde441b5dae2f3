"""Large tensors are read apart from the rest of an ONNX file: nothing that the library's parser reads is changed."""

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selection import missing

import graphengine as ge
from graphengine.format.onnx import raw_tensors
from graphengine.limits import DEFAULT

pytestmark = pytest.mark.extra("onnx")
if not missing(["onnx"]):
    from google.protobuf.message import DecodeError
    from onnx import ModelProto, TensorProto, helper, numpy_helper, save

    from graphengine.format.onnx.protos import OnnxFile, Tensors

MODELS = sorted((Path(__file__).parent / "onnx_models").rglob("*.onnx"))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Every tensor is large."""
    monkeypatch.setattr(raw_tensors, "LARGE", 1)


def joined(text):
    """What was read apart, put together again as a message, and how many tensors that are."""
    rest, apart = raw_tensors.read_apart(io.BytesIO(text), len(text))
    proto = ModelProto.FromString(rest)
    tensors = Tensors(OnnxFile(proto, None, apart), DEFAULT.array_bytes)
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(tensors.whole(tensor))
    return proto, len(apart)


def same(proto, text):
    return proto.SerializeToString(deterministic=True) == ModelProto.FromString(text).SerializeToString(
        deterministic=True
    )


def test_the_models_of_the_exporters_are_read_as_the_library_reads_them():
    count = 0
    for path in MODELS:
        text = path.read_bytes()
        proto, apart = joined(text)
        assert same(proto, text), path.name
        raw = [tensor for tensor in ModelProto.FromString(text).graph.initializer if tensor.raw_data]
        assert apart == len(raw), path.name
        count += apart
    assert count > 100


def dense(**more):
    """A product with a matrix, as bytes."""
    w = numpy_helper.from_array(np.arange(12, dtype="f4").reshape(4, 3), "w")
    declared = [helper.make_tensor_value_info(name, 1, shape) for name, shape in (("x", ["N", 4]), ("y", ["N", 3]))]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", declared[:1], declared[1:], [w])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], **more).SerializeToString()


@given(st.data())
@settings(max_examples=200)
def test_changed_bytes_mean_what_they_mean_to_the_library(data):
    text = bytearray(dense())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        kind = data.draw(st.sampled_from(["set", "cut", "double"]))
        if kind == "set":
            text[place] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del text[place : place + data.draw(st.integers(1, 8))]
        else:
            text[place:place] = text[place : place + data.draw(st.integers(1, 80))]
        if not text:
            return
    try:
        ModelProto.FromString(bytes(text))
    except DecodeError:
        return
    assert same(joined(bytes(text))[0], bytes(text))


def test_tensors_with_other_numbers_too_are_left_to_the_library():
    odd = [
        TensorProto(name="a", data_type=1, dims=[1], raw_data=b"1234", float_data=[1]),
        TensorProto(name="b", data_type=1, dims=[1], raw_data=b"1234", data_location=1),
    ]
    for tensor in odd:
        proto = ModelProto.FromString(dense())
        proto.graph.initializer.append(tensor)
        whole, apart = joined(proto.SerializeToString())
        assert apart == 1
        assert whole == proto


def test_two_parts_of_a_graph_are_one():
    one, two = ModelProto.FromString(dense()), ModelProto.FromString(dense())
    del one.graph.node[:], one.graph.input[:], one.graph.output[:]
    one.graph.initializer[0].name = "v"
    text = one.SerializeToString() + two.SerializeToString()
    proto, apart = joined(text)
    assert same(proto, text)
    assert (apart, [each.name for each in proto.graph.initializer]) == (2, ["v", "w"])


def test_a_file_of_too_many_fields_is_left_to_the_library(monkeypatch):
    monkeypatch.setattr(raw_tensors, "MOST_FIELDS", 8)
    proto, apart = joined(dense())
    assert apart == 0
    assert same(proto, dense())


def test_a_location_that_a_file_names_is_a_file(tmp_path):
    proto = ModelProto.FromString(dense())
    tensor = TensorProto(name="v", data_type=1, dims=[4, 3], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="0")
    proto.graph.initializer.append(tensor)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ge.errors.GraphEngineError, match="'0'"):
        ge.onnx.load(tmp_path / "m.onnx")


def test_weights_are_in_memory_once(tmp_path):
    values = np.random.default_rng(0).normal(size=(1500, 1500)).astype("f4")
    proto = ModelProto.FromString(dense())
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "w"))
    for declared in (proto.graph.input[0], proto.graph.output[0]):
        declared.type.tensor_type.shape.dim[1].dim_value = len(values)
    for name in ("small", "large"):
        save(proto if name == "large" else ModelProto.FromString(dense()), tmp_path / f"{name}.onnx")
    ge.onnx.load(tmp_path / "small.onnx")  # what is imported once
    tracemalloc.start()
    try:
        model = ge.onnx.load(tmp_path / "large.onnx")
        assert tracemalloc.get_traced_memory()[1] < 1.2 * values.nbytes
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(model.parameters["w"], values)
