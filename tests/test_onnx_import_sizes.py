"""Imported convolution and pooling of any size: one model for all sizes, each as onnxruntime computes it."""

import numpy as np
import pytest
from selection import missing

import graphengine as ge

pytestmark = pytest.mark.extra("onnx", "onnxruntime")
if not missing(["onnx", "onnxruntime"]):
    import onnxruntime
    from onnx import numpy_helper, parser

    from graphengine.model.onnx_files import from_proto

RNG = np.random.default_rng(0)
SYMBOLS = ["A", "B", "C"]
LINE, IMAGE, VOLUME = [(9,), (12,), (7,)], [(6, 9), (8, 7), (9, 5)], [(5, 6, 7), (7, 5, 6)]
TWO, THREE, PADS = "kernel_shape = [2, 2]", "kernel_shape = [3, 3]", "pads = [1, 0, 1, 1]"
INDICES = f"y, i = MaxPool<{THREE}, strides = [2, 2], {PADS}, ceil_mode = 1"
CASES = {
    "indices": (f"{INDICES}>(x)", IMAGE, None),
    "indices by column": (f"{INDICES}, storage_order = 1>(x)", IMAGE, None),
    "indices in a volume": ("y, i = MaxPool<kernel_shape = [2, 2, 2], storage_order = 1>(x)", VOLUME, None),
    "indices along a line": ("y, i = MaxPool<kernel_shape = [3], strides = [2]>(x)", LINE, None),
    "MaxPool along a line": ("y = MaxPool<kernel_shape = [3], strides = [2], ceil_mode = 1>(x)", LINE, None),
    "MaxPool in a volume": ("y = MaxPool<kernel_shape = [2, 2, 2], auto_pad = 'SAME_UPPER'>(x)", VOLUME, None),
    "MaxPool, same": (f"y = MaxPool<{THREE}, strides = [2, 3], auto_pad = 'SAME_UPPER'>(x)", IMAGE, None),
    "MaxPool, same below": (f"y = MaxPool<{TWO}, auto_pad = 'SAME_LOWER'>(x)", IMAGE, None),
    "means along a line": ("y = AveragePool<kernel_shape=[3], strides=[2], pads=[1, 0], ceil_mode=1>(x)", LINE, None),
    "means with margins": ("y = AveragePool<kernel_shape = [3], pads = [1, 1], count_include_pad = 1>(x)", LINE, None),
    "means, same": ("y = AveragePool<kernel_shape = [3], strides = [2], auto_pad = 'SAME_UPPER'>(x)", LINE, None),
    "means far apart": (f"y = AveragePool<{TWO}, dilations = [2, 2], {PADS}>(x)", IMAGE, None),
    "lengths": (f"y = LpPool<{TWO}, strides = [2, 1]>(x)", IMAGE, None),
    "Conv, same": (f"y = Conv<{THREE}, strides = [2, 1], auto_pad = 'SAME_UPPER'>(x, w)", IMAGE, (4, 2, 3, 3)),
    "Conv, same along a line": ("y = Conv<strides = [3], auto_pad = 'SAME_UPPER'>(x, w)", LINE, (4, 2, 3)),
    "Conv in a volume": ("y = Conv<strides = [2, 1, 2], pads = [1, 0, 1, 0, 1, 1]>(x, w)", VOLUME, (4, 2, 2, 3, 2)),
    "ConvTranspose": (
        f"y = ConvTranspose<{TWO}, strides = [2, 3], {PADS}, output_padding = [1, 2]>(x, w)", IMAGE, (2, 3, 2, 2)
    ),
}  # fmt: skip


def model_of(text, axes, weight):
    """A model of one node that reads x, of any size, and a weight."""
    outputs = "float[N, C, ...] y" + ", int64[N, C, ...] i" * ("y, i" in text)
    outputs = outputs.replace("...", ", ".join(f"{each}2" for each in SYMBOLS[:axes]))
    head = f"m (float[N, 2, {', '.join(SYMBOLS[:axes])}] x) => ({outputs})"
    text = f'<ir_version: 10, opset_import: ["" : 21]>\n{head} {{ {text} }}'.replace("'", '"')
    proto = parser.parse_model(text)
    if weight is not None:
        proto.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    return proto


@pytest.mark.parametrize(("text", "sizes", "filters"), CASES.values(), ids=CASES.keys())
def test_one_import_is_right_for_every_size(text, sizes, filters):
    weight = None if filters is None else RNG.normal(size=filters).astype("f4")
    proto = model_of(text, len(sizes[0]), weight)
    imported = from_proto(proto)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for count, each in enumerate(sizes, 1):
        x = RNG.normal(size=(count, 2, *each)).astype("f4")
        found = imported.predict(x=x)
        for output, value in zip(session.get_outputs(), session.run(None, {"x": x}), strict=True):
            assert (found[output.name].dtype, found[output.name].shape) == (value.dtype, value.shape)
            np.testing.assert_allclose(found[output.name], value, rtol=1e-5, atol=1e-5)


def test_a_transposed_convolution_of_images_is_one_node():
    proto = model_of(*CASES["ConvTranspose"][:1], 2, RNG.normal(size=(2, 3, 2, 2)).astype("f4"))
    assert [node.op for node in from_proto(proto).graph.nodes] == ["conv_transpose2d"]


def test_what_depends_on_sizes_in_other_ways_is_refused_with_the_reason():
    proto = model_of(f"y = MaxPool<{THREE}, strides = [2, 2], auto_pad = 'SAME_LOWER'>(x)", 2, None)
    with pytest.raises(ge.errors.InvalidModelError, match=r"GE306.*known only at run time"):
        from_proto(proto)
    assert from_proto(proto, sizes={"A": 6, "B": 7}).graph.types["y"].shape == ("N", 2, 3, 4)
