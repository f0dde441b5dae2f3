"""Imported ONNX files against onnxruntime; round trips; what is refused, in full and without a traceback."""

import json
import random
from contextlib import suppress

import numpy as np
import pytest
from selection import missing

import graphengine as ge
from graphengine.cli import main
from graphengine.errors import GraphEngineError, InvalidModelError, UsageError

pytestmark = pytest.mark.extra("onnx", "onnxruntime")
if not missing(["onnx", "onnxruntime"]):
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper, parser

    from graphengine.model.onnx_files import from_proto, onnx_proto

MODELS = list(ge.models())


def parsed(text, **initial):
    """A model in ONNX's own text form, with initializers."""
    model = parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21, "own" : 1]>\n{text}')
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in initial.items())
    return model


def run(model, **given):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([each.name for each in session.get_outputs()], session.run(None, given), strict=True))


def floats(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def assert_same(model, **given):
    """The import predicts what onnxruntime computes, and so does its saved file."""
    imported, wanted = from_proto(model), run(model, **given)
    found = imported.predict({name: value for name, value in given.items() if name in imported.graph.inputs})
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6)
    return imported


DENSE = """dense (float[N, 4] x) => (float[N, 3] y) {
    h = MatMul(x, w)
    z = Add(h, b)
    y = Relu(z)
}"""
WEIGHTS = {"w": floats(4, 3), "b": floats(3, seed=1)}


def test_weights_are_parameters_that_train():
    model = assert_same(parsed(DENSE, **WEIGHTS), x=floats(5, 4))
    assert model.graph.trainable == ("w", "b")
    assert model.graph.inputs["x"].type.shape == ("N", 4)
    np.testing.assert_array_equal(model.parameters["w"], WEIGHTS["w"])


def test_what_is_imported_can_be_saved_and_loaded(tmp_path):
    model = from_proto(parsed(DENSE, **WEIGHTS))
    model.save(tmp_path / "m.json")
    x = floats(5, 4)
    np.testing.assert_array_equal(ge.load(tmp_path / "m.json").predict(x=x)["y"], model.predict(x=x)["y"])


def test_large_weights_are_saved_beside_the_model(tmp_path):
    w = floats(1000, 1001)
    model = from_proto(parsed("wide (float[N, 1000] x) => (float[N, 1001] y) { y = MatMul(x, w) }", w=w))
    model.save(tmp_path / "m.json")
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    np.testing.assert_array_equal(ge.load(tmp_path / "m.json").parameters["w"], w)


def test_shapes_that_are_computed_from_sizes_fold():
    model = parsed(
        """heads (float[N, T, 12] x) => (float[N, T, 12] y) {
            sizes = Shape(x)
            zero = Constant<value_int = 0>()
            one = Constant<value_int = 1>()
            n = Gather(sizes, zero)
            t = Gather(sizes, one)
            axis = Constant<value_ints = [0]>()
            n1 = Unsqueeze(n, axis)
            t1 = Unsqueeze(t, axis)
            rest = Constant<value_ints = [3, 4]>()
            split = Concat<axis = 0>(n1, t1, rest)
            heads = Reshape(x, split)
            turned = Transpose<perm = [0, 2, 1, 3]>(heads)
            back = Transpose<perm = [0, 2, 1, 3]>(turned)
            joined = Constant<value_ints = [-1]>()
            whole = Concat<axis = 0>(n1, t1, joined)
            y = Reshape(back, whole)
        }"""
    )
    imported = assert_same(model, x=floats(2, 5, 12))
    assert imported.graph.types["turned"].shape == ("N", 3, "T", 4)
    assert imported.graph.types[imported.graph.outputs["y"]].shape == ("N", "T", 12)


@pytest.mark.parametrize("length", ["T", 20, 3])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "GRU_reset", "LSTM", "LSTM_two"])
def test_recurrent_layers_of_any_length_are_imported(kind, length, tmp_path):
    op, gates = kind.partition("_")[0], {"R": 1, "G": 3, "L": 4}[kind[0]]
    directions = 2 if kind == "LSTM_two" else 1
    attributes = {"hidden_size": 3, "direction": "bidirectional" if directions == 2 else "forward"}
    if kind == "GRU_reset":
        attributes["linear_before_reset"] = 1
    node = helper.make_node(op, ["x", "w", "r", "b"], ["y", "last"], **attributes)
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [length, "N", 2])
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "last")]
    shapes = {"w": (directions, 3 * gates, 2), "r": (directions, 3 * gates, 3), "b": (directions, 6 * gates)}
    weights = [numpy_helper.from_array(floats(*shape), name) for name, shape in shapes.items()]
    graph = helper.make_graph([node], "recurrent", [value], results, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    x = floats(length if isinstance(length, int) else 7, 4, 2, seed=2)
    imported = assert_same(model, x=x)
    assert any(each.op == "scan" for each in imported.graph.nodes) == (length != 3)
    imported.save(tmp_path / "m.json")
    np.testing.assert_array_equal(ge.load(tmp_path / "m.json").predict(x=x)["y"], imported.predict(x=x)["y"])


def test_images_of_any_size_go_through_convolution_and_pooling():
    model = parsed(
        """images (float[N, 2, H, W] x) => (float[N, 3, A, B] y, float[N, 3, 1, 1] z) {
            h = Conv<pads = [1, 1, 1, 1]>(x, w, b)
            m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(h)
            y = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(m)
            z = GlobalAveragePool(y)
        }""",
        w=floats(3, 2, 3, 3),
        b=floats(3, seed=1),
    )
    assert_same(model, x=floats(2, 2, 9, 12, seed=3))
    assert_same(model, x=floats(1, 2, 6, 7, seed=4))


def test_functions_of_the_file_are_inlined():
    model = parsed(
        """main (float[N, 4] x) => (float[N, 4] y) { y = own.twice<factor = 3.0>(x) }
        <domain: "own", opset_import: ["" : 21, "own" : 1]>
        twice<factor> (a) => (b) {
            f = Constant<value_float : float = @factor>()
            c = own.shifted(a)
            b = Mul(c, f)
        }
        <domain: "own", opset_import: ["" : 21]>
        shifted (a) => (b) { b = Add(a, a) }"""
    )
    imported = assert_same(model, x=floats(3, 4))
    assert {node.op for node in imported.graph.nodes} == {"add", "mul"}


def test_names_that_are_no_ids_are_changed_and_kept_in_a_table():
    node = helper.make_node("Relu", ["layer/0:0"], ["1"], name="n")
    value = helper.make_tensor_value_info("layer/0:0", TensorProto.FLOAT, ["batch size", 2])
    result = helper.make_tensor_value_info("1", TensorProto.FLOAT, None)
    imported = from_proto(helper.make_model(helper.make_graph([node], "g", [value], [result])))
    assert imported.document.metadata["onnx"]["names"] == {"layer/0_0": "layer/0:0", "_1": "1"}
    np.testing.assert_array_equal(imported.predict({"layer/0_0": [[1.0, -1.0]]})["_1"], [[1.0, 0.0]])


def test_half_precision_is_computed_in_single_and_said():
    model = parsed(
        "half (float16[N, 4] x) => (float16[N, 3] y) { y = MatMul(x, w) }", w=WEIGHTS["w"].astype(np.float16)
    )
    imported = from_proto(model)
    assert imported.parameters["w"].dtype == np.float32
    (note,) = [note for note in imported.document.metadata["onnx"]["notes"] if "FLOAT16" in note]
    assert "computed in float32" in note
    x = floats(5, 4).astype(np.float16)
    np.testing.assert_allclose(
        imported.predict(x=x.astype(np.float32))["y"], run(model, x=x)["y"], rtol=1e-2, atol=1e-2
    )


def test_running_statistics_and_constants_are_not_trained():
    text = """norm (float[N, 3] x) => (float[N, 3] y) {
        h = BatchNormalization(x, scale, bias, mean, var)
        y = Mul(h, factor)
    }"""
    one = np.ones(3, np.float32)
    initial = {"scale": one * 2, "bias": one, "mean": one * 3, "var": one * 4, "factor": np.float32(0.5)}
    imported = assert_same(parsed(text, **initial), x=floats(5, 3))
    assert imported.graph.trainable == ("scale", "bias")


def test_frozen_parameters_are_named_by_a_pattern():
    assert from_proto(parsed(DENSE, **WEIGHTS), freeze="w*").graph.trainable == ("b",)
    with pytest.raises(UsageError, match="no parameter fits 'v'"):
        from_proto(parsed(DENSE, **WEIGHTS), freeze=["v"])


def test_a_new_head_replaces_what_follows_a_value():
    model = from_proto(parsed(DENSE, **WEIGHTS), head="h")
    assert list(model.graph.outputs) == ["h"]
    assert set(model.parameters) == {"w"}
    x = floats(5, 4)
    np.testing.assert_allclose(model.predict(x=x)["h"], x @ WEIGHTS["w"], rtol=1e-5)
    with pytest.raises(UsageError, match="no value 'hh'"):
        from_proto(parsed(DENSE, **WEIGHTS), head="hh")


@pytest.mark.parametrize("kind", ["classes", "targets"])
def test_a_new_head_is_trained(kind):
    model = from_proto(parsed(DENSE, **WEIGHTS), head="h", **{kind: 2})
    x = floats(60, 4)
    target = (x[:, 0] > 0).astype(np.int64) if kind == "classes" else np.stack([x[:, 0], x[:, 1]], axis=1)
    history = model.train(data={"x": x, "target": target}, epochs=60, learning_rate=0.02)
    assert history.epochs[-1].loss < history.epochs[0].loss / 2
    assert not np.array_equal(model.parameters["w"], WEIGHTS["w"])


def test_ops_behind_a_head_need_no_counterpart():
    model = parsed("m (float[N, 4] x) => (int64[M, 2] y) { h = Relu(x)\n y = NonZero(h) }")
    assert list(from_proto(model, head="h").graph.outputs) == ["h"]


def test_all_ops_that_lack_are_reported_in_one_run():
    model = parsed(
        """m (float[N, 4] x, int64[2] shape) => (float[A, B] y, float[N, 4] z) {
            a = own.magic(x)
            b = own.magic(a)
            c = Reshape(x, shape)
            d = NonZero(x)
            y = Mul(c, c)
            e = Cast<to = 1>(d)
            z = own.other(b, e)
        }"""
    )
    with pytest.raises(InvalidModelError) as caught:
        from_proto(model)
    found = [(each.code, each.message, each.hint) for each in caught.value.problems]
    assert {code for code, _, _ in found} == {"GE306"}
    assert [message for _, message, _ in found] == [
        "op 'magic' cannot be imported: the op has no counterpart: 2 nodes (a and b)",
        "op 'Reshape' cannot be imported: its input 'shape' is computed at run time: 1 node (c)",
        "op 'NonZero' cannot be imported: its input 'X' is computed at run time: 1 node (d)",
        "op 'other' cannot be imported: the op has no counterpart: 1 node (z)",
    ]
    assert "give the value of shape" in found[1][2]


def messages_of(text):
    with pytest.raises(InvalidModelError) as caught:
        from_proto(parsed(text))
    return [each.message.replace(" cannot be imported", "") for each in caught.value.problems]


BRANCHES = (
    "If(c) <then_branch = t () => (float[4] p) { p = own.one(x) },"
    " else_branch = e () => (float[4] q) { q = own.two(x) }>"
)
TRAINING = "BatchNormalization <training_mode = 1>(a, s, s, s, s)"
LACKING = {
    "below an unknown op whose type the file states": (
        f"m (float[N, 3, 4, 4] x, float[3] s) => (float[N, 3, 4, 4] y) <float[N, 3, 4, 4] a> {{ a = own.magic(x)\n"
        f" b, m, v = {TRAINING}\n y = own.other(b) }}",
        [
            "op 'magic': the op has no counterpart: 1 node (a)",
            "op 'BatchNormalization': it is in training mode: 1 node (b)",
            "op 'other': the op has no counterpart: 1 node (y)",
        ],
    ),
    "below an op of ONNX whose type follows": (
        "m (float[N, 3, 4, 4] x, float[N, 4, 4, 2] g) => (float[N, 3, 2, 2] y) { a = GridSample(x, g)\n"
        " y = MaxPool<kernel_shape = [9, 9]>(a) }",
        ["op 'GridSample': the op has no counterpart: 1 node (a)", "op 'MaxPool': no patch of (9, 9) fits"],
    ),
    "in a function that reads a gap": (
        "m (float[4] x) => (float[4] y) { a = own.magic(x)\n y = own.f(a) }"
        '<domain: "own", opset_import: ["" : 21]> f (u) => (v) { w = own.lost(u)\n v = own.lost(w) }',
        [
            "op 'magic': the op has no counterpart: 1 node (a)",
            "op 'lost': the op has no counterpart: 2 nodes (y/w and y/v)",
        ],
    ),
    "in both branches": (
        "m (bool c, float[4] x) => (float[4] y) { y = " + BRANCHES + " }",
        [
            "op 'one': the op has no counterpart: 1 node (y/p)",
            "op 'two': the op has no counterpart: 1 node (y/q)",
        ],
    ),
    "in branches below a gap": (
        "m (float[4] x) => (float[4] y) { c = own.magic(x)\n y = " + BRANCHES + " }",
        [
            "op 'magic': the op has no counterpart: 1 node (c)",
            "op 'one': the op has no counterpart: 1 node (y/p)",
            "op 'two': the op has no counterpart: 1 node (y/q)",
        ],
    ),
    "in a loop, once however often it runs": (
        "m (float[4] x) => (float[4] y) { k = Constant<value_int = 3>()\n y = Loop(k, , x) <body = b "
        "(int64 i, bool go, float[4] v) => (bool more, float[4] w) { more = Identity(go)\n w = own.one(v) }> }",
        ["op 'one': the op has no counterpart: 1 node (y/w)"],
    ),
    "in what an op of ONNX is made of": (
        "m (float[4] x) => (float[4] y) { y = Bernoulli(x) }",
        [
            "op 'Bernoulli': it is made of other ops, of which 'RandomUniformLike' cannot be: the op has no "
            "counterpart: 1 node (y)"
        ],
    ),
    "but nothing that follows": (
        "m (float[N, 4] x) => (float[A, B] y) <int64[2] s, float[P, Q] a> { s = own.sizes(x)\n a = own.magic(x)\n"
        " b = Reshape(x, s)\n c = Add(a, x)\n y = Add(b, c) }",
        [
            "op 'sizes': the op has no counterpart: 1 node (s)",
            "op 'magic': the op has no counterpart: 1 node (a)",
        ],
    ),
}


@pytest.mark.parametrize(("text", "wanted"), LACKING.values(), ids=LACKING.keys())
def test_what_lacks_is_reported_in_one_run(text, wanted):
    found = messages_of(text)
    assert len(found) == len(wanted), found
    assert all(each.startswith(start) for each, start in zip(found, wanted, strict=True)), found


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("shape", [[8], [6, 4], [4, 2, 6]])
def test_places_of_the_largest_values_are_imported(shape, order):
    sizes, twos = ", ".join(map(str, shape)), [2] * len(shape)
    model = parsed(
        f"""m (float[N, 2, {sizes}] x) => (float[] y, int64[] i, float[] z) {{
            y, i = MaxPool<kernel_shape = {twos}, strides = {twos}, storage_order = {order}>(x)
            z = MaxUnpool<kernel_shape = {twos}, strides = {twos}>(y, i)
        }}"""
    )
    for each in model.graph.output:
        each.type.tensor_type.ClearField("shape")
    assert_same(model, x=floats(3, 2, *shape))


def test_inputs_can_be_fixed_and_sizes_given():
    text = "m (float[N, 4] x, int64[2] shape) => (float[A, B] y) { y = Reshape(x, shape) }"
    imported = from_proto(parsed(text), fixed={"shape": [2, 4]}, sizes={"N": 2})
    assert list(imported.graph.inputs) == ["x"]
    assert imported.graph.inputs["x"].type.shape == (2, 4)
    np.testing.assert_array_equal(imported.predict(x=np.ones((2, 4)))["y"], np.ones((2, 4)))


# ------------------------------------------------------------ round trips


@pytest.mark.parametrize("name", MODELS)
def test_an_exported_model_comes_back_as_it_was(name, tmp_path):
    model = ge.load(name)
    model.initialize()
    ge.onnx.export(model, tmp_path / "m.onnx")
    back = ge.onnx.load(tmp_path / "m.onnx")
    assert back.fingerprint == model.fingerprint
    assert back.document.training == model.document.training
    assert back.values.keys() == model.values.keys()
    assert all(np.array_equal(back.values[each], value) for each, value in model.values.items())


def with_values(name):
    """A shipped model whose values are assigned, so that nothing warns of them."""
    model = ge.load(name)
    model.initialize()
    for key, value in model.parameters.items():
        model.parameters[key] = value
    return model


def small_batch(model):
    sizes = {"N": 4, "T": 5, "M": 4}
    generator = np.random.default_rng(0)
    kinds = {name: each.type for name, each in model.graph.inputs.items()}
    shapes = {name: [sizes.get(size, size) for size in kind.shape] for name, kind in kinds.items()}
    return {
        name: generator.integers(0, 2, shapes[name])
        if kind.dtype.kind in "iu"
        else generator.uniform(0.3, 0.9, shapes[name])
        for name, kind in kinds.items()
    }


def test_a_trained_model_comes_back_with_its_values(tmp_path):
    model = ge.load("linreg")
    model.train()
    model.save(tmp_path / "m.json")
    trained = ge.Model.from_dict(json.loads((tmp_path / "m.json").read_text()), "models/linreg.json")
    ge.onnx.export(trained, tmp_path / "m.onnx")
    back = ge.onnx.load(tmp_path / "m.onnx")
    assert back.fingerprint == trained.fingerprint
    np.testing.assert_array_equal(back.parameters["theta"], model.parameters["theta"])


@pytest.mark.parametrize("name", MODELS)
def test_the_graph_of_an_export_is_imported_like_any_other(name):
    model = with_values(name)
    proto = onnx_proto(model)
    del proto.metadata_props[:]
    imported, batch = from_proto(proto), small_batch(model)
    found, wanted = imported.predict(batch), model.predict(batch)
    names = {old: new for new, old in imported.document.metadata["onnx"].get("names", {}).items()}
    for each, value in wanted.items():
        np.testing.assert_allclose(found[names.get(each, each)], value, rtol=1e-11, atol=1e-13, err_msg=each)


def test_an_export_that_was_changed_is_imported_as_it_is(tmp_path):
    proto = onnx_proto(with_values("sigmoid_neuron"))
    before = from_proto(proto)
    node = next(each for each in proto.graph.node if each.op_type == "Exp")
    node.op_type = "Abs"
    after, batch = from_proto(proto), small_batch(before)
    assert after.fingerprint != before.fingerprint
    assert any(not np.allclose(after.predict(batch)[name], value) for name, value in before.predict(batch).items())


# ------------------------------------------------------------ hostile files


def external(location, **entries):
    model = parsed("m (float[N, 4] x) => (float[N, 3] y) { y = MatMul(x, w) }", w=WEIGHTS["w"])
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return model


def test_external_data_is_read_beside_the_file(tmp_path):
    (tmp_path / "w.bin").write_bytes(b"1234" + WEIGHTS["w"].tobytes())
    onnx_file = tmp_path / "m.onnx"
    onnx_file.write_bytes(external("w.bin", offset="4", length="48").SerializeToString())
    np.testing.assert_array_equal(ge.onnx.load(onnx_file).parameters["w"], WEIGHTS["w"])


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "link.bin", "nowhere.bin", "", "a\\..\\w.bin", "~/w"])
def test_external_data_elsewhere_is_refused(tmp_path, location):
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(WEIGHTS["w"].tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    (folder / "m.onnx").write_bytes(external(location).SerializeToString())
    with pytest.raises(InvalidModelError, match="initializer cannot be imported"):
        ge.onnx.load(folder / "m.onnx")


@pytest.mark.parametrize("entries", [{"offset": "-1"}, {"offset": "40"}, {"length": "x"}, {"length": str(2**60)}])
def test_external_data_of_the_wrong_length_is_refused(tmp_path, entries):
    (tmp_path / "w.bin").write_bytes(WEIGHTS["w"].tobytes())
    (tmp_path / "m.onnx").write_bytes(external("w.bin", **entries).SerializeToString())
    with pytest.raises(GraphEngineError):
        ge.onnx.load(tmp_path / "m.onnx")


HOSTILE = {
    "a large constant": """m () => (float[A] y) {
        s = Constant<value_ints = [9000000000000]>()
        y = ConstantOfShape(s)
    }""",
    "a loop without end": """m (float[4] x) => (float[4] y) {
        c = Constant<value = bool {1}>()
        y = Loop(, c, x) <body = b (int64 i, bool go, float[4] v) => (bool more, float[4] w) {
            more = Identity(go)
            w = Add(v, v)
        }>
    }""",
    "a cycle": "m (float[4] x) => (float[4] y) { a = Add(x, b)\n b = Relu(a)\n y = Relu(b) }",
    "a name twice": "m (float[4] x) => (float[4] y) { a = Relu(x)\n a = Abs(x)\n y = Relu(a) }",
    "an unknown opset": "m (float[4] x) => (float[4] y) { y = elsewhere.Relu(x) }",
    "a function that calls itself": """m (float[4] x) => (float[4] y) { y = own.f(x) }
        <domain: "own", opset_import: ["" : 21]> f (a) => (b) { b = own.f(a) }""",
    "functions that double": "m (float[4] x) => (float[4] y) { y = own.f0(x) }"
    + "".join(
        f'<domain: "own", opset_import: ["" : 21]> f{n} (a) => (b) {{ c = own.f{n + 1}(a)\n b = own.f{n + 1}(c) }}'
        for n in range(25)
    )
    + '<domain: "own", opset_import: ["" : 21]> f25 (a) => (b) { b = Abs(a) }',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_graphs_are_refused_with_a_code(text):
    with pytest.raises(InvalidModelError) as caught:
        from_proto(parsed(text))
    assert {each.code for each in caught.value.problems} <= {"GE306", "GE132"}


def test_tensors_beyond_the_limit_are_refused():
    with pytest.raises(InvalidModelError, match="GE133"):
        from_proto(parsed(DENSE, **WEIGHTS), limits=ge.Limits(array_bytes=40))


def test_files_beyond_the_limit_are_refused(tmp_path):
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:
        file.truncate(2**28)
    with pytest.raises(InvalidModelError, match="GE103"):
        ge.onnx.load(path, limits=ge.Limits(array_bytes=2**20))


def test_changed_bytes_give_a_model_or_a_code(tmp_path):
    whole = parsed(DENSE, **WEIGHTS).SerializeToString()
    chance = random.Random(0)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 2, 5])):
            data[chance.randrange(len(data))] = chance.randrange(256)
        (tmp_path / "m.onnx").write_bytes(data)
        with suppress(GraphEngineError):
            ge.onnx.load(tmp_path / "m.onnx", limits=ge.Limits(array_bytes=2**24))


# ------------------------------------------------------------ the command


def command(capsys, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["graphengine", "import", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    return ended.value.code, printed.out + printed.err


def test_the_command_writes_a_model(tmp_path, capsys, monkeypatch):
    (tmp_path / "m.onnx").write_bytes(parsed(DENSE, **WEIGHTS).SerializeToString())
    code, printed = command(capsys, monkeypatch, tmp_path / "m.onnx", "-o", tmp_path / "m.json", "--freeze", "b")
    assert not code
    assert "1 of 2 parameters from the file will not be trained" in printed
    assert json.loads((tmp_path / "m.json").read_text())["parameters"]["b"]["trainable"] is False


def test_the_command_reports_what_cannot_be_imported(tmp_path, capsys, monkeypatch):
    (tmp_path / "m.onnx").write_bytes(parsed("m (float[4] x) => (float[4] y) { y = own.f(x) }").SerializeToString())
    code, printed = command(capsys, monkeypatch, tmp_path / "m.onnx", "-o", tmp_path / "m.json")
    assert code == 2
    assert "GE306" in printed
    assert not (tmp_path / "m.json").exists()


@pytest.mark.parametrize("given", [["--fix", "x"], ["--size", "N=a"], ["--size", "N=-1"], ["--classes", "3"]])
def test_the_command_refuses_wrong_options(tmp_path, capsys, monkeypatch, given):
    (tmp_path / "m.onnx").write_bytes(parsed(DENSE, **WEIGHTS).SerializeToString())
    code, printed = command(capsys, monkeypatch, tmp_path / "m.onnx", "-o", tmp_path / "m.json", *given)
    assert code == 2
    assert "Traceback" not in printed
