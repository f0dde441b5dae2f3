"""Functions that make their own parameters: shapes, starting values, files, and what is wrong."""

import copy

import numpy as np
import pytest
from documents import document, problem_of, problems_of, write

import graphengine as ge
from graphengine.format.building import completed
from graphengine.format.differences import differences
from graphengine.format.reading import as_json, parse_model


def network(*, inputs=None, parameters=None, **attributes):
    """A layer and a network of three more, trained toward y."""
    return document(
        {
            "h": ("nn.dense", ["x"], {"units": 5, "activation": "relu", **attributes}),
            "net": ("nn.mlp", ["h"], {"units": [4, 3, 2], "activation": "tanh"}),
            "loss": ("mse", ["net", "y"]),
        },
        {"net": "net", "loss": "loss"},
        inputs={"x": ["N", 3], "y": ["N", 2], **(inputs or {})},
        parameters=parameters or {},
        opset_imports={"core": 1, "nn": 1},
        training={
            "loss": "loss",
            "optimizer": {"type": "adam", "learning_rate": 0.01},
            "batch_size": 4,
            "shuffle": True,
            "epochs": 3,
        },
    )


SHAPES = {
    "h/weight": (3, 5),
    "h/bias": (5,),
    "net/layer_1/weight": (5, 4),
    "net/layer_1/bias": (4,),
    "net/layer_2/weight": (4, 3),
    "net/layer_2/bias": (3,),
    "net/out/weight": (3, 2),
    "net/out/bias": (2,),
}

GATED = {
    "inputs": {"x": {"shape": ["N", "F"]}, "gain": {"shape": ["width"]}},
    "attributes": {"width": {}, "rank": {"default": 2}},
    "parameters": {
        "left": {"shape": ["F", "rank"], "initializer": {"type": "normal"}},
        "right": {"shape": ["rank", "2*width"], "initializer": {"type": "glorot_uniform"}},
        "gain": {"shape": ["width"], "initializer": {"type": "ones"}, "weight_decay_multiplier": 0.0},
    },
    "nodes": document(
        {
            "narrow": ("matmul", ["x", "left"]),
            "wide": ("matmul", ["narrow", "right"]),
            "halves": ("split", ["wide"], {"indices_or_sections": 2, "axis": 1}),
            "gate": ("sigmoid", ["halves:part_1"]),
            "open": ("mul", ["halves", "gate"]),
            "out": ("mul", ["open", "gain"]),
        }
    )["nodes"],
    "outputs": {"out": "out"},
}
"""A user's layer: a factorized matrix, two halves of which one gates the other."""


def data(rows=12):
    random = np.random.default_rng(3)
    return {"x": random.normal(size=(rows, 3)), "y": random.normal(size=(rows, 2))}


def activated(z, name):
    return {"relu": lambda: np.maximum(z, 0), "tanh": lambda: np.tanh(z), None: lambda: z}[name]()


def by_numpy(values, x):
    h = activated(x @ values["h/weight"] + values["h/bias"], "relu")
    for layer, activation in (("layer_1", "tanh"), ("layer_2", "tanh"), ("out", None)):
        h = activated(h @ values[f"net/{layer}/weight"] + values[f"net/{layer}/bias"], activation)
    return h


def parsed(content):
    return parse_model(as_json(content))[0]


# ---------------------------------------------------------------- what a call makes


def test_a_call_makes_parameters_in_its_scope_from_attributes_and_sizes_of_operands():
    model = ge.Model.from_dict(network())
    assert {name: value.shape for name, value in model.parameters.items()} == SHAPES
    assert list(model.parameters) == list(SHAPES)
    given = data()
    assert np.allclose(model.forward(**given).value("net"), by_numpy(model.parameters, given["x"]), rtol=1e-12)


def test_the_last_axis_counts_whatever_comes_before_it():
    content = network(inputs={"x": ["N", "T", 3], "y": ["N", "T", 2]})
    model = ge.Model.from_dict(content)
    x = np.random.default_rng(0).normal(size=(2, 4, 3))
    assert model.parameters["h/weight"].shape == (3, 5)
    assert np.allclose(
        model.forward(x=x, y=np.zeros((2, 4, 2))).value("net"), by_numpy(model.parameters, x), rtol=1e-12
    )


@pytest.mark.parametrize(
    ("activation", "variance"),
    [("relu", 2 / 200), ("gelu", 2 / 200), (None, 2 / 500), ("tanh", 2 / 500), ("softmax", 2 / 500)],
)
def test_weights_start_as_he_after_rectifiers_and_as_glorot_otherwise(activation, variance):
    nodes = {"h": ("nn.dense", ["x"], {"units": 300, "activation": activation})}
    content = document(nodes, inputs={"x": ["N", 200]}, opset_imports={"core": 1, "nn": 1})
    model = ge.Model.from_dict(content)
    weight = model.parameters["h/weight"]
    assert abs(weight.var() / variance - 1) < 0.03  # the variance of 60,000 uniform numbers is within 0.4 % of that
    assert np.abs(weight).max() <= np.sqrt(3 * variance)
    assert not model.parameters["h/bias"].any()


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_may_have_no_bias(bias):
    found = ge.Model.from_dict(network(use_bias=bias)).parameters
    assert ("h/bias" in found) is bias


def test_layers_by_hand_may_have_an_activation():
    random = np.random.default_rng(1)
    x, w1, b1, w2, b2 = (random.normal(size=shape) for shape in ((6, 3), (3, 4), (4,), (4, 2), (2,)))
    assert np.allclose(ge.nn.dense(x, w1, b1, activation="tanh"), np.tanh(x @ w1 + b1), rtol=1e-14)
    expected = np.tanh(np.tanh(x @ w1 + b1) @ w2 + b2)
    assert np.allclose(ge.nn.mlp(x, w1, b1, w2, b2, activation="tanh", output_activation="tanh"), expected, rtol=1e-14)
    linear = (x @ w1 + b1) @ w2 + b2
    assert np.allclose(ge.nn.mlp(x, w1, b1, w2, b2, activation=None), linear, rtol=1e-13)


def test_what_a_call_is_given_it_does_not_make():
    content = network()
    content["parameters"]["shared"] = {"shape": [3, 5], "initializer": {"type": "ones"}}
    content["nodes"][0]["inputs"] = ["x", "shared"]
    model = ge.Model.from_dict(content)
    assert "h/weight" not in model.parameters
    assert model.parameters["h/bias"].shape == (5,)


def test_a_function_of_the_file_makes_parameters_too_and_calls_layers():
    nodes = {"g": ("gated", ["x"], {"width": 4}), "again": ("gated", ["g"], {"width": 4, "rank": 3})}
    content = document(nodes, inputs={"x": ["N", 6]}, functions={"gated": GATED})
    model = ge.Model.from_dict(content)
    assert {name: value.shape for name, value in model.parameters.items()} == {
        "g/left": (6, 2),
        "g/right": (2, 8),
        "g/gain": (4,),
        "again/left": (4, 3),
        "again/right": (3, 8),
        "again/gain": (4,),
    }
    assert model.graph.parameters["g/gain"].weight_decay_multiplier == 0
    x, values = np.random.default_rng(2).normal(size=(5, 6)), model.parameters
    wide = x @ values["g/left"] @ values["g/right"]
    assert np.allclose(model.forward(x=x).value("g"), wide[:, :4] / (1 + np.exp(-wide[:, 4:])), rtol=1e-12)


def test_parameters_of_calls_in_calls_are_in_scopes_in_scopes():
    block = {
        "inputs": {"x": {}},
        "attributes": {"units": {"default": [7, 2]}},
        "nodes": [{"id": "inner", "op": "nn.mlp", "inputs": ["x"], "attributes": {"units": {"attribute": "units"}}}],
        "outputs": {"out": "inner"},
    }
    content = document(
        {"a": ("block", ["x"]), "b": ("block", ["a"], {"units": [1]})},
        inputs={"x": ["N", 3]},
        functions={"block": block},
        opset_imports={"core": 1, "nn": 1},
    )
    shapes = {name: value.shape for name, value in ge.Model.from_dict(content).parameters.items()}
    weights = {name: shape for name, shape in shapes.items() if name.endswith("weight")}
    assert weights == {"a/inner/layer_1/weight": (3, 7), "a/inner/out/weight": (7, 2), "b/inner/out/weight": (2, 1)}


# ---------------------------------------------------------------- files


def test_a_trained_model_is_saved_with_its_short_calls_and_loads_again(tmp_path):
    content = network()
    model = ge.Model.from_dict(content)
    model.train(data=data())
    model.save(tmp_path / "one.json")
    again = ge.load(tmp_path / "one.json")
    assert [dict(node) for node in again.document.nodes] == [dict(node) for node in parsed(content).nodes]
    for name, value in model.parameters.items():
        assert np.array_equal(again.parameters[name], value)
    again.save(tmp_path / "two.json")
    assert (tmp_path / "two.json").read_bytes() == (tmp_path / "one.json").read_bytes()
    assert again.fingerprint == ge.Model(model.as_document()).fingerprint
    assert np.array_equal(again.predict(x=data()["x"])["net"], model.predict(x=data()["x"])["net"])


def test_the_short_form_and_what_it_means_are_the_same_model():
    content = network()
    model = ge.Model.from_dict(content)
    full = completed(parsed(content))
    assert set(full.parameters) == set(SHAPES)
    assert differences(full, model.document) == []
    written = ge.Model.from_dict({**content, "parameters": model.to_dict()["parameters"]})
    assert [(node.id, node.inputs) for node in written.graph.nodes] == [(n.id, n.inputs) for n in model.graph.nodes]
    assert ge.Model(full).fingerprint == model.fingerprint
    short, long = ge.Model.from_dict(content), ge.Model(full)
    short.train(data=data())
    long.train(data=data())
    for name, value in short.parameters.items():
        assert np.array_equal(long.parameters[name], value)


def test_training_resumes_from_the_short_form_to_the_last_bit(tmp_path):
    whole = ge.Model.from_dict(network())
    whole.train(data=data(), epochs=6)
    ge.Model.from_dict(network()).train(data=data(), epochs=3, checkpoints=tmp_path)
    resumed = ge.Model.from_dict(network())
    resumed.train(data=data(), epochs=6, checkpoints=tmp_path, resume=True)
    for name, value in whole.parameters.items():
        assert np.array_equal(resumed.parameters[name], value)


def test_a_declared_parameter_of_the_name_takes_the_place_of_the_one_that_would_be_made():
    declared = {"shape": [3, 5], "initializer": {"type": "constant", "value": 0.5}, "trainable": False}
    content = network()
    content["parameters"]["h/weight"] = declared
    content["nodes"].append({"id": "penalty", "op": "sum", "inputs": ["h/weight"]})
    model = ge.Model.from_dict(content)
    assert (model.parameters["h/weight"] == 0.5).all()
    assert "h/weight" not in model.graph.trainable
    assert model.forward(**data()).value("penalty") == 7.5


def test_layers_by_hand_keep_their_fingerprint():
    content = document(
        {"z": ("nn.dense", ["x", "w", "b"])},
        inputs={"x": ["N", 2]},
        parameters={"w": np.ones((2, 3)), "b": np.zeros(3)},
        opset_imports={"core": 1, "nn": 1},
    )
    before = ge.Model.from_dict(content)
    assert list(before.parameters) == ["w", "b"]
    assert [node.id for node in before.graph.nodes] == ["z/product", "z"]
    assert before.fingerprint == "e22d3768af2b7c3f515ac9873c9fc2994ab9a27a87cd6d077a801bda86672ac4"


def test_builder_and_python_code_write_short_calls():
    b = ge.Builder("net")
    x = b.input("x", ["N", 3])
    h = b.name("h", ge.nn.dense(x, units=5, activation="relu"))
    b.output(net=b.name("net", ge.nn.mlp(h, units=[4, 3, 2], activation="tanh")))
    assert h.shape == ("N", 5)
    assert [node["inputs"] for node in b.to_dict()["nodes"]] == [["x"], ["h"]]
    assert {name: value.shape for name, value in b.model().parameters.items()} == SHAPES
    from graphengine.model.python_code import python_code

    model, scope = b.model(), {}
    exec(python_code(model.document), scope)
    assert scope["model"].fingerprint == model.fingerprint


def test_arrays_need_arrays():
    with pytest.raises(ge.errors.InputError, match="on arrays it needs weight, bias"):
        ge.nn.dense(np.ones((2, 3)), units=4)


# ---------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"units": 2.5}, "attribute of function 'nn.dense': must be an integer, not 2.5"),
        ({"units": 0}, "must be greater than or equal to 1, not 0"),
        ({"activation": "rellu"}, '"rellu" is not possible here'),
        ({"use_bias": 1}, "must be true or false, not 1"),
    ],
)
def test_wrong_attributes_of_a_layer_are_reported_at_their_place(attributes, said):
    found = problem_of(network(**attributes))
    assert (found.code, found.pointer) == ("GE213", f"/nodes/0/attributes/{next(iter(attributes))}")
    assert said in found.message


@pytest.mark.parametrize(("word", "meant"), [("rellu", "relu"), ("tnah", "tanh"), ("sigmiod", "sigmoid")])
def test_the_activation_that_was_meant_is_proposed(word, meant):
    assert problem_of(network(activation=word)).hint == f"did you mean '{meant}'?"


def test_a_size_that_only_the_data_gives_is_refused_with_the_call():
    found = problem_of(network(inputs={"x": ["N", "F"]}))
    assert (found.code, found.pointer, found.node) == ("GE302", "/nodes/0", "h")
    assert found.message.startswith("call 'h' of 'nn.dense': its parameter 'weight' would have the shape (F, 5)")


def test_the_calls_that_lead_to_a_parameter_are_named():
    nodes = {"g": ("gated", ["x"], {"width": 4})}
    gated = copy.deepcopy(GATED)
    gated["nodes"].append({"id": "more", "op": "nn.dense", "inputs": ["out"], "attributes": {"units": 2}})
    gated["inputs"]["x"] = {}
    gated["parameters"]["left"]["shape"] = [6, "rank"]
    content = document(nodes, inputs={"x": ["N", "M"]}, functions={"gated": gated}, opset_imports={"core": 1, "nn": 1})
    (found,) = problems_of(content)
    assert found.message.startswith("call 'g' of 'gated', node 'narrow' (matmul)")


def test_a_declared_parameter_has_the_shape_that_the_call_needs():
    found = problem_of(network(parameters={"h/weight": np.ones((3, 4))}))
    assert (found.code, found.pointer) == ("GE301", "/parameters/h~1weight/shape")
    assert "has the shape (3, 4), but call 'h' of 'nn.dense' needs (3, 5)" in found.message


@pytest.mark.parametrize("value", [2.5, -1, "wide", True, None])
def test_an_attribute_that_is_a_size_is_an_integer(value):
    content = document({"g": ("gated", ["x"], {"width": value})}, inputs={"x": ["N", 6]}, functions={"gated": GATED})
    found = problem_of(content)
    assert (found.code, found.pointer) == ("GE213", "/nodes/0")
    assert "attribute 'width' is a size of its parameter" in found.message


@pytest.mark.parametrize(
    ("changes", "code", "pointer"),
    [
        (
            {"parameters": {"out": {"shape": [], "initializer": {"type": "ones"}}}},
            "GE201",
            "/functions/gated/parameters/out",
        ),
        ({"parameters": {"left": {"shape": ["F", "rank"]}}}, "GE111", "/functions/gated/parameters/left"),
        (
            {"parameters": {"left": {"shape": ["G"], "initializer": {"type": "ones"}}}},
            "GE210",
            "/functions/gated/parameters/left/shape",
        ),
    ],
)
def test_wrong_parameters_of_a_function_are_reported_at_their_place(changes, code, pointer):
    gated = copy.deepcopy(GATED)
    gated["parameters"] = {**gated["parameters"], **changes["parameters"]}
    content = document({"y": ("square", ["x"])}, inputs={"x": ["N", 6]}, functions={"gated": gated})
    assert (code, pointer) in [(each.code, each.pointer) for each in problems_of(content)]


def test_an_input_of_a_function_has_one_shape():
    gated = copy.deepcopy(GATED)
    gated["inputs"]["x"]["trailing_shape"] = ["F"]
    content = document({"y": ("square", ["x"])}, inputs={"x": ["N", 6]}, functions={"gated": gated})
    found = problem_of(content)
    assert (found.code, found.pointer) == ("GE112", "/functions/gated/inputs/x")
    assert "an input has a 'shape' or a 'trailing_shape', not both" in found.message


def test_an_update_rule_makes_no_parameters():
    rule = {
        "inputs": {"parameter": {}, "gradient": {"trailing_shape": ["N"]}, "learning_rate": {}},
        "parameters": {"more": {"shape": [], "initializer": {"type": "zeros"}}},
        "nodes": document({"step": ("mul", ["learning_rate", "gradient"]), "new": ("sub", ["parameter", "step"])})[
            "nodes"
        ],
        "outputs": {"parameter": "new"},
    }
    content = network()
    content["functions"] = {"rule": rule}
    content["training"] = {"loss": "loss", "optimizer": {"type": "rule", "learning_rate": 0.1}, "epochs": 1}
    found = {each.pointer: each.message for each in problems_of(content)}
    assert "it cannot make parameter 'more'" in found["/functions/rule/parameters/more"]
    assert "has no trailing_shape" in found["/functions/rule/inputs/gradient"]


def test_an_id_that_a_parameter_takes_must_be_free():
    content = network()
    content["nodes"].append({"id": "h/weight", "op": "square", "inputs": ["x"]})
    found = problem_of(content)
    assert (found.code, found.pointer) == ("GE201", "/nodes/0")


def test_a_small_file_makes_no_large_parameter(tmp_path):
    found = problem_of(network(units=2**60))
    assert found.code in ("GE133", "GE134")
    path = write(tmp_path / "chain.json", network())
    assert ge.load(path).fingerprint == ge.Model.from_dict(network()).fingerprint


def test_the_layers_of_a_chain_are_counted_before_they_are_made():
    content = network()
    content["nodes"][1]["attributes"]["units"] = [1] * 400_000
    content["nodes"][1]["attributes"]["units"][-1] = 2
    assert problem_of(content).code == "GE216"


# ---------------------------------------------------------------- statistics that a call makes


def of_data(statistic, of):
    start = {"type": "from_data", "statistic": statistic, "of": of}
    return {"shape": [3], "initializer": start, "trainable": False}


def scaled(nodes, parameters=None, functions=None, shape=("N", 3)):
    return document(
        nodes,
        inputs={"x": {"shape": list(shape), "missing": "nan"}},
        parameters=parameters or {},
        functions=functions or {},
        opset_imports={"core": 1, "nn": 1},
    )


ROWS = np.random.default_rng(5).normal(size=(30, 3)) * [1, 20, 300] + [0, 50, -7]
ROWS[[3, 8], [1, 2]] = np.nan


def test_a_call_makes_the_statistics_that_it_is_not_given():
    made = ge.Model.from_dict(
        scaled({"full": ("nn.impute", ["x"]), "z": ("nn.standardize", ["full"]), "u": ("nn.min_max", ["z"])})
    )
    given = ge.Model.from_dict(
        scaled(
            {
                "full": ("nn.impute", ["x", "usual"]),
                "z": ("nn.standardize", ["full", "mean", "std"]),
                "u": ("nn.min_max", ["z", "low", "high"]),
            },
            {
                "usual": of_data("median", "x"),
                "mean": of_data("mean", "full"),
                "std": of_data("std", "full"),
                "low": of_data("min", "z"),
                "high": of_data("max", "z"),
            },
        )
    )
    for model in (made, given):
        model.initialize({"x": ROWS})
    assert list(made.parameters) == ["full/value", "z/mean", "z/std", "u/min", "u/max"]
    assert not any(each.trainable for each in made.graph.parameters.values())
    np.testing.assert_array_equal(made.predict(x=ROWS)["out"], given.predict(x=ROWS)["out"])
    np.testing.assert_allclose(made.parameters["full/value"], np.nanmedian(ROWS, axis=0), rtol=1e-15)


def test_statistics_of_a_vector_are_numbers_and_are_written_into_the_file(tmp_path):
    model = ge.Model.from_dict(scaled({"z": ("nn.standardize", ["x"])}, shape=["N"]))
    model.initialize({"x": [1.0, 3.0, 8.0]})
    model.save(tmp_path / "m.json")
    again = ge.load(tmp_path / "m.json")
    assert (again.parameters["z/mean"], again.parameters["z/std"].shape) == (4.0, ())
    np.testing.assert_allclose(again.predict(x=[4.0, 8.0])["out"], [0, 4 / np.std([1, 3, 8])], rtol=1e-15)


def test_a_statistic_in_a_function_is_of_what_the_call_gives_its_input():
    inner = document({"tenfold": ("mul", ["x", 10.0]), "out": ("nn.standardize", ["tenfold"])}, inputs={"x": []})
    function = {"inputs": {"x": {}}, "nodes": inner["nodes"], "outputs": {"out": "out"}}
    top = {
        "inputs": {"x": {"shape": ["N", "F"]}},
        "parameters": {"top": {**of_data("max", "x"), "shape": ["F"]}},
        "nodes": document({"out": ("div", ["x", "top"])}, inputs={"x": []})["nodes"],
        "outputs": {"out": "out"},
    }
    model = ge.Model.from_dict(scaled({"g": ("f", ["x"]), "h": ("t", ["g"])}, functions={"f": function, "t": top}))
    x = np.arange(12.0).reshape(4, 3)
    model.initialize({"x": x})
    np.testing.assert_allclose(model.parameters["g/out/mean"], 10 * x.mean(axis=0), rtol=1e-15)
    np.testing.assert_allclose(model.predict(x=x)["out"].max(axis=0), 1, rtol=1e-15)


@pytest.mark.parametrize(
    ("shape", "code", "message"),
    [
        ([3], "GE304", "is a statistic of the rows of 'x', which is float64(3,)"),
        (["N", "F"], "GE302", "must be integers"),
    ],
)
def test_a_statistic_needs_rows_of_a_known_size(shape, code, message):
    problem = problem_of(scaled({"z": ("nn.standardize", ["x"])}, shape=shape))
    assert (problem.code, problem.pointer) == (code, "/nodes/0")
    assert message in problem.message


def test_what_a_function_says_wrongly_of_a_statistic_has_its_place():
    function = {
        "inputs": {"x": {}},
        "parameters": {"top": {"initializer": {"type": "from_data", "statistic": "max", "of": "xx"}}},
        "nodes": document({"out": ("div", ["x", "top"])}, inputs={"x": []})["nodes"],
        "outputs": {"out": "out"},
    }
    problem = problem_of(scaled({"g": ("f", ["x"])}, functions={"f": function}))
    assert (problem.code, problem.pointer) == ("GE210", "/functions/f/parameters/top/initializer/of")
    assert problem.hint == "did you mean 'x'?"
    function["parameters"]["top"]["initializer"] = {"type": "ones"}
    assert (
        "a 'shape' may be omitted only where"
        in problem_of(scaled({"g": ("f", ["x"])}, functions={"f": function})).message
    )
