"""ONNX files that ask for too much: each is refused with a code, before memory is taken for what it asks for."""

import tracemalloc

import numpy as np
import pytest
from selection import missing

import graphengine as ge
from graphengine.errors import GraphEngineError

pytestmark = pytest.mark.extra("onnx")
if not missing(["onnx"]):
    from onnx import ModelProto, TensorProto, helper, numpy_helper

    from graphengine.model.onnx_files import from_proto

MOST_BYTES = 2**26
"""What an import that is refused may take at its peak; each of these files asks for gigabytes."""
HUGE = 2**40


def value(name, shape, kind=1):
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes, stored=(), inputs=None, opsets=(("", 21),)):
    """A model of nodes whose input is x, float[1, 1, 4, 4], and whose output is y."""
    graph = helper.make_graph(
        [helper.make_node(op, read, given, **attributes) for op, read, given, attributes in nodes],
        "hostile",
        inputs or [value("x", [1, 1, 4, 4])],
        [value("y", None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in dict(stored).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(*each) for each in opsets])


def one(op, *more, inputs=None, stored=(), opsets=(("", 21),), **attributes):
    """A model of one node that reads x and what is stored."""
    return model([(op, ["x", *more], ["y"], attributes)], stored, inputs, opsets)


def folded(op, **stored):
    """A node that reads constants of integers, before it is added to x."""
    cast = ("Cast", ["z"], ["w"], {"to": 1})
    return model([(op, list(stored), ["z"], {}), cast, ("Add", ["x", "w"], ["y"], {})], stored)


def tree(targets):
    """An ensemble of one tree with one split."""
    return one(
        "TreeEnsemble",
        inputs=[value("x", [3, 2])],
        opsets=[("", 21), ("ai.onnx.ml", 5)],
        n_targets=targets,
        tree_roots=[0],
        nodes_featureids=[0],
        nodes_splits=numpy_helper.from_array(np.ones(1, "f4")),
        nodes_modes=helper.make_tensor("modes", TensorProto.UINT8, [1], [0]),
        nodes_truenodeids=[0],
        nodes_falsenodeids=[0],
        nodes_trueleafs=[1],
        nodes_falseleafs=[1],
        leaf_targetids=[0],
        leaf_weights=numpy_helper.from_array(np.ones(1, "f4")),
        domain="ai.onnx.ml",
    )


LINE, COLUMN = np.ones((1, 60000), np.int64), np.ones((60000, 1), np.int64)
ASKING = {
    "sizes of an input": lambda: one("Relu", inputs=[value("x", [HUGE])]),
    "sizes that no array has": lambda: one("Relu", inputs=[value("x", [HUGE, HUGE])]),
    "many dimensions": lambda: one("Relu", inputs=[value("x", [1] * 1000)]),
    "Expand": lambda: one("Expand", "s", stored={"s": [HUGE, 1, 4, 4]}),
    "Tile": lambda: one("Tile", "s", stored={"s": [HUGE, 1, 1, 1]}),
    "Pad": lambda: one("Pad", "s", stored={"s": [HUGE] * 8}),
    "Resize": lambda: one("Resize", "", "s", stored={"s": np.array([1, 1, 1e9, 1e9], "f4")}),
    "MaxPool": lambda: one("MaxPool", kernel_shape=[2**30] * 2, pads=[2**30 - 1] * 4),
    "AveragePool": lambda: one("AveragePool", kernel_shape=[2] * 3, pads=[HUGE] * 6, inputs=[value("x", [1] * 5)]),
    "ConvTranspose": lambda: one("ConvTranspose", "w", stored={"w": np.ones((1, 1, 2, 2), "f4")}, strides=[2**30] * 2),
    "TreeEnsemble": lambda: tree(2**33),
    "LSTM": lambda: model(
        [("LSTM", ["x", "w", "r"], ["y"], {"hidden_size": 2**30})],
        {"w": np.ones((1, 4, 2), "f4"), "r": np.ones((1, 4, 1), "f4")},
        [value("x", [3, 1, 2])],
    ),
    "a constant by Expand": lambda: folded("Expand", k=np.array([1]), s=np.array([2**33])),
    "a constant by Tile": lambda: folded("Tile", k=np.ones(4, int), s=np.array([2**33])),
    "a constant by Pad": lambda: folded("Pad", k=np.ones(4, int), s=np.array([2**33, 2**33])),
    "a constant by OneHot": lambda: folded("OneHot", k=np.ones(4, int), s=np.array(2**33), v=np.array([0, 1])),
    "a constant by Range": lambda: folded("Range", k=np.array(0), s=np.array(HUGE), v=np.array(1)),
    "a constant by Add": lambda: folded("Add", k=LINE, s=COLUMN),
    "a constant by MatMul": lambda: folded("MatMul", k=COLUMN, s=LINE),
    "a constant by Gather": lambda: folded("Gather", k=np.ones((2, 30000), int), s=np.zeros(60000, int)),
    "a constant by Where": lambda: folded(
        "Where", k=np.ones((3000, 1, 1), bool), s=np.ones((3000, 1), int), v=np.ones((1, 3000), int)
    ),
    "a constant by Sum": lambda: folded("Sum", **{f"k{n}": np.ones([4] + [1] * n, int) for n in range(20)}),
    "a constant by Concat": lambda: model(
        [("Concat", ["k"] * 5000, ["y"], {"axis": 0})], {"k": np.ones(60000, int), "x": np.ones(1, "f4")}, []
    ),
    "a window": lambda: model([("HannWindow", ["k"], ["y"], {})], {"k": np.array(HUGE)}),
}


@pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING.keys())
def test_what_asks_for_too_much_is_refused_before_memory_is_taken(ask):
    proto = ask()
    from_proto(one("Relu"))  # what is imported once
    tracemalloc.start()
    try:
        with pytest.raises(GraphEngineError) as caught:
            from_proto(proto)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()
    assert {each.code for each in caught.value.problems} <= {"GE132", "GE133", "GE134", "GE306"}


def wrapped(field, content):
    """A message of Protocol Buffers as a field of another."""
    count, length = len(content), b""
    while count > 127:
        length, count = length + bytes([count % 128 + 128]), count // 128
    return bytes([8 * field + 2]) + length + bytes([count]) + content


def test_subgraphs_that_lie_deep_in_each_other_are_refused(tmp_path):
    graph = b""
    for _ in range(3000):
        graph = wrapped(1, wrapped(5, wrapped(6, graph)))  # the node of a graph, its attribute, the graph of that
    (tmp_path / "m.onnx").write_bytes(b"\x08\x0a" + wrapped(7, graph) + wrapped(8, b"\x10\x15"))
    with pytest.raises(GraphEngineError, match="GE307"):
        ge.onnx.load(tmp_path / "m.onnx")


def test_functions_that_call_each_other_in_a_cycle_are_refused():
    proto = one("f", domain="own", opsets=[("", 21), ("own", 1)])
    for name, other in (("f", "g"), ("g", "f")):
        call = helper.make_node(other, ["a"], ["b"], domain="own")
        proto.functions.append(helper.make_function("own", name, ["a"], ["b"], [call], [helper.make_opsetid("own", 1)]))
    with pytest.raises(GraphEngineError, match="more than 32 deep"):
        from_proto(ModelProto.FromString(proto.SerializeToString()))


def test_a_rule_that_records_too_many_nodes_is_stopped():
    proto = one("LRN", size=2001, inputs=[value("x", [1, 1000, 4])])
    with pytest.raises(GraphEngineError, match="GE132"):
        from_proto(proto, limits=ge.Limits(nodes=100))


def test_tensors_with_other_data_than_their_sizes_say_are_refused():
    for tensor in (
        TensorProto(name="w", data_type=1, dims=[2**31, 2**31, 4], raw_data=b"1234"),
        TensorProto(name="w", data_type=1, dims=[0, 2**62, 4]),
        TensorProto(name="w", data_type=1, dims=[4], int32_data=[1, 2, 3, 4]),
        TensorProto(name="w", data_type=1, dims=[-1], raw_data=b"1234"),
    ):
        proto = one("Add", "w")
        proto.graph.initializer.append(tensor)
        with pytest.raises(GraphEngineError, match=r"GE306|GE133"):
            from_proto(proto)
