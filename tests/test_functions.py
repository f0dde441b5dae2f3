"""Functions: calls become nodes in the scope of the call, and errors are reported with the calls that lead to them."""

import copy
import itertools
import json

import numpy as np
import pytest
from documents import codes_of, document, model, problem_of, problems_of, training, write

import graphengine as ge
from graphengine.format.functions import shipped_functions
from graphengine.format.writing import dump_model
from graphengine.limits import DEFAULT, Limits


def function(nodes, outputs, *inputs, **sections):
    """A function whose inputs are names, or (name, declaration)."""
    declared = dict(each if isinstance(each, tuple) else (each, {}) for each in inputs)
    specs = document(nodes)["nodes"]
    return {"inputs": declared, "nodes": specs, "outputs": outputs, **sections}


SCALED = function(
    {
        "product": ("mul", ["factor", "x"]),
        "total": ("sum", ["product"], {"axis": {"attribute": "axis"}}),
    },
    {"total": "total", "scaled": "product"},
    "x",
    attributes={"factor": {"default": 2}, "axis": {}},
)
LAYER = function(
    {"affine": ("affine", ["x", "w"]), "out": ("relu", ["affine"])}, {"out": "out"}, "x", ("w", {"shape": ["I", "O"]})
)
AFFINE = function({"product": ("matmul", ["x", "w"])}, {"out": "product"}, "x", ("w", {"shape": ["I", "O"]}))


def calls(nodes, functions, **sections):
    return document(nodes, functions=functions, inputs={"x": ["N", 3]}, **sections)


def scaled(attributes=None, **sections):
    nodes = {"s": ("scaled", ["x"], {"axis": 0, **(attributes or {})}), "loss": ("mean", ["s"])}
    return calls(nodes, {"scaled": copy.deepcopy(SCALED)}, **sections)


def layers(*sizes):
    """A chain of layers, each a function that calls a function."""
    weights = {f"w{index}": np.ones(shape) for index, shape in enumerate(itertools.pairwise(sizes))}
    nodes = {f"l{index}": ("layer", [f"l{index - 1}" if index else "x", f"w{index}"]) for index in range(len(weights))}
    functions = {"layer": copy.deepcopy(LAYER), "affine": copy.deepcopy(AFFINE)}
    return calls(nodes, functions, parameters=weights)


def nodes_of(content):
    return {node.id: (node.op, node.inputs) for node in ge.Model.from_dict(content).graph.nodes}


CLIPPED = function(
    {
        "low": ("clip", ["x", "least"]),
        "sum": ("add_n", ["low", "more", "most"]),
        "out": ("mean", ["sum"], {"axis": {"attribute": "axis"}, "keepdims": {"attribute": "keep"}}),
    },
    {"out": "out"},
    "x",
    "least",
    ("more", {"optional": True}),
    ("most", {"optional": True}),
    attributes={"axis": {"default": None}, "keep": {"default": False}},
)
"""A function with inputs that a call may omit, and with a default of null."""

# ---------------------------------------------------------------- what a call becomes


def test_nodes_are_in_the_scope_of_the_call_and_the_first_output_is_the_call_itself():
    assert nodes_of(scaled()) == {
        "s/product": ("mul", (2, "x")),
        "s": ("sum", ("s/product",)),
        "loss": ("mean", ("s",)),
    }


def test_calls_within_calls_are_scopes_within_scopes():
    found = nodes_of(layers(3, 4, 2))
    assert found == {
        "l0/affine": ("matmul", ("x", "w0")),
        "l0": ("relu", ("l0/affine",)),
        "l1/affine": ("matmul", ("l0", "w1")),
        "l1": ("relu", ("l1/affine",)),
    }


def test_a_call_computes_what_its_nodes_compute():
    x = np.arange(6.0).reshape(2, 3) - 2
    run = ge.Model.from_dict(layers(3, 4, 2)).forward(x=x)
    expected = np.maximum(np.maximum(x @ np.ones((3, 4)), 0) @ np.ones((4, 2)), 0)
    np.testing.assert_array_equal(run["out"], expected)


@pytest.mark.parametrize(("attributes", "total"), [({}, 6.0), ({"factor": 5}, 15.0), ({"factor": -0.5}, -1.5)])
def test_an_attribute_of_a_call_stands_before_its_default(attributes, total):
    run = ge.Model.from_dict(scaled(attributes)).forward(x=np.ones((3, 3)))
    assert run.value("s").tolist() == [total] * 3


def test_an_attribute_may_be_an_element_of_an_attribute():
    axes = function(
        {"s": ("sum", ["x"], {"axis": [0, {"attribute": "other"}]})}, {"s": "s"}, "x", attributes={"other": {}}
    )
    content = calls({"z": ("total", ["x"], {"other": 1})}, {"total": axes})
    assert ge.Model.from_dict(content).forward(x=np.ones((2, 3)))["out"] == 6


def test_an_attribute_is_handed_on_to_a_call_within():
    outer = function(
        {"s": ("scaled", ["x"], {"axis": {"attribute": "along"}, "factor": {"attribute": "by"}})},
        {"s": "s"},
        "x",
        attributes={"along": {}, "by": {"default": 10}},
    )
    content = calls({"z": ("outer", ["x"], {"along": 1})}, {"outer": outer, "scaled": SCALED})
    assert ge.Model.from_dict(content).forward(x=np.ones((2, 3)))["out"].tolist() == [30, 30]


def test_further_outputs_are_referred_to_by_port_everywhere():
    nodes = {"s": ("scaled", {"x": "x"}, {"axis": 0}), "loss": ("mean", ["s:scaled"])}
    state = {"last": {"shape": [3], "initializer": {"type": "zeros"}, "update": "s"}}
    run = model(
        nodes,
        {"loss": "loss", "scaled": "s:scaled"},
        inputs={"x": ["N", 3]},
        functions={"scaled": SCALED},
        state=state,
    ).forward(x=np.ones((2, 3)))
    assert run["scaled"].tolist() == [[2] * 3] * 2
    assert run.value("s:scaled").tolist() == run.value("s/product").tolist()
    assert run.backward(of="loss", wrt=["s:scaled"])["s:scaled"].tolist() == [[1 / 6] * 3] * 2


def test_an_output_of_a_call_within_a_call_is_followed_to_its_node():
    inner = function({"a": ("neg", ["x"]), "b": ("square", ["x"])}, {"a": "a", "b": "b"}, "x")
    outer = function({"i": ("inner", ["x"]), "z": ("add", ["i", "i:b"])}, {"b": "i:b", "z": "z", "a": "i"}, "x")
    nodes = {"o": ("outer", ["x"]), "sum": ("add", ["o", "o:a"]), "all": ("add", ["sum", "o:z"])}
    functions = {"outer": outer, "inner": inner}
    content = document(nodes, {"all": "all"}, inputs={"x": []}, functions=functions)
    assert ge.Model.from_dict(content).forward(x=3.0)["all"] == 9 - 3 + (9 - 3)
    assert nodes_of(content)["all"] == ("add", ("sum", "o/z"))


def test_a_function_of_the_file_stands_before_an_op_of_its_name():
    twice = function({"z": ("add", ["x", "x"])}, {"z": "z"}, "x")
    assert model({"z": ("neg", ["x"])}, inputs={"x": []}, functions={"neg": twice}).forward(x=3.0)["out"] == 6


def test_random_nodes_of_two_calls_draw_different_numbers():
    @ge.register("test.draw")
    class Draw(ge.Node):
        random = True

        def forward(self, key=None):
            return key

    draw = function({"d": ("test.draw", [])}, {"d": "d"})
    content = document({"a": ("draw", []), "b": ("draw", [])}, {"a": "a", "b": "b"}, functions={"draw": draw})
    content["opset_imports"]["test"] = 1
    drawn = ge.Model.from_dict(content).predict()
    assert drawn["a"].tolist() != drawn["b"].tolist()


def test_a_model_with_calls_trains_by_plan_as_the_graph_without_them_does():
    section = {"training": training(loss="loss", learning_rate=0.01, epochs=5)}
    nodes = {"y": ("affine", ["x", "w"]), "squares": ("square", ["y"]), "loss": ("mean", ["squares"])}
    inline = {**nodes, "y": ("matmul", ["x", "w"])}
    data = {"x": np.arange(12.0).reshape(4, 3) / 10}
    trained = []
    for spec, functions in ((nodes, {"affine": AFFINE}), (inline, {})):
        content = calls(spec, functions, parameters={"w": np.ones((3, 2))}, **section)
        made = ge.Model.from_dict(content)
        made.train(data=data)
        trained.append(made.parameters["w"].tolist())
    assert trained[0] == trained[1]


def test_a_loss_may_be_a_further_output():
    function_ = function({"m": ("mean", ["x"]), "s": ("square", ["m"])}, {"m": "m", "s": "s"}, "x")
    nodes = {"p": ("mul", ["x", "w"]), "f": ("f", ["p"])}
    content = calls(nodes, {"f": function_}, parameters={"w": 1.0}, training=training(loss="f:s"))
    made = ge.Model.from_dict(content)
    assert made.train(data={"x": np.ones((2, 3))}).last.loss == 1.0
    assert made.forward(x=np.ones((2, 3))).backward().keys() == {"w"}


def test_state_is_updated_by_a_node_of_a_function_in_training_mode():
    normed = function(
        {"n": ("batch_norm", ["x", "s", "b", "mean", "var"]), "d": ("dropout", ["n"])},
        {"out": "d", "mean": "n:new_mean", "var": "n:new_var"},
        *("x", "s", "b", "mean", "var"),
    )
    parts = {"n/n": ("batch_norm", ["x", "s", "b", "mean", "var"]), "n": ("dropout", ["n/n"])}
    rest = {"p": ("mul", ["n", "w"]), "loss": ("mean", ["p"])}
    trained = []
    for nodes, functions, port in (
        ({"n": ("normed", ["x", "s", "b", "mean", "var"])}, {"normed": normed}, "n:{}"),
        (parts, {}, "n/n:new_{}"),
    ):
        state = {
            name: {"shape": [3], "initializer": {"type": "ones"}, "update": port.format(name)}
            for name in ("mean", "var")
        }
        parameters = {"s": np.ones(3), "b": np.zeros(3), "w": np.ones(3)}
        section = training(epochs=3)
        content = calls({**nodes, **rest}, functions, parameters=parameters, state=state, training=section)
        made = ge.Model.from_dict(content)
        made.train(data={"x": np.arange(12.0).reshape(4, 3)})
        trained.append({name: value.tolist() for name, value in made.values.items()})
    assert trained[0] == trained[1]
    assert trained[0]["mean"] != [1, 1, 1]


# ---------------------------------------------------------------- what is saved


def test_a_saved_model_keeps_its_functions_and_calls(tmp_path):
    path = tmp_path / "m.json"
    made = ge.Model.from_dict(layers(3, 4))
    made.save(path)
    again = json.loads(path.read_bytes())
    assert again["nodes"] == [{"id": "l0", "op": "layer", "inputs": ["x", "w0"]}]
    assert again["functions"].keys() == {"layer", "affine"}
    assert path.read_bytes() == dump_model(ge.load(path).document)


def test_the_fingerprint_ignores_descriptions_and_order_of_nodes_in_functions_and_nothing_else():
    content = scaled()
    same = copy.deepcopy(content)
    inner = same["functions"]["scaled"]
    inner["nodes"].reverse()
    inner |= {"description": "d", "inputs": {"x": {"description": "d"}}}
    inner["nodes"][0]["description"] = inner["attributes"]["axis"]["description"] = "d"
    other = copy.deepcopy(content)
    other["functions"]["scaled"]["outputs"] = dict(reversed(SCALED["outputs"].items()))
    prints = [ge.Model.from_dict(each).fingerprint for each in (content, same, other)]
    assert prints[0] == prints[1] != prints[2]


def test_a_derived_graph_has_no_calls_and_loads_without_the_functions(tmp_path):
    nodes = {"l": ("layer", ["x", "w"]), "loss": ("mean", ["l"])}
    content = calls(nodes, {"layer": LAYER, "affine": AFFINE}, parameters={"w": np.ones((3, 2))})
    made = ge.Model.from_dict(content)
    made.gradient("loss").save(tmp_path / "g.json")
    gradient = ge.load(tmp_path / "g.json")
    assert gradient.document.functions == {}
    x = np.ones((2, 3))
    expected = made.forward(x=x).backward()["w"]
    np.testing.assert_array_equal(gradient.forward(x=x)["d_loss/d_w"], expected)


# ---------------------------------------------------------------- what is wrong with a call


@pytest.mark.parametrize(
    ("attributes", "pointer", "said"),
    [
        ({"factr": 1}, "/nodes/0/attributes/factr", "unknown key 'factr'"),
        ({"factor": "mean"}, "/nodes/0/attributes/factor", "'factor' must be a finite number, not 'mean'"),
        ({"factor": [1]}, "/nodes/0/attributes/factor", "must be a finite number"),
    ],
)
def test_wrong_attributes_of_a_call(attributes, pointer, said):
    found = problem_of(scaled(attributes))
    assert (found.code, found.pointer) == ("GE213", pointer)
    assert said in found.message


def test_a_missing_attribute_of_a_call():
    content = scaled()
    del content["nodes"][0]["attributes"]
    found = problem_of(content)
    assert (found.code, found.pointer) == ("GE213", "/nodes/0")
    assert "attribute of function 'scaled': 'axis' is missing" in found.message


def test_missing_attributes_of_a_call_are_reported_in_the_order_of_the_function():
    content = scaled()
    del content["nodes"][0]["attributes"]
    (function,) = content["functions"].values()
    names = ["t", "r", "axis", "s", "q", "v"]
    function["attributes"] = {name: {} for name in names}
    found = [problem.message for problem in problems_of(content) if "is missing" in problem.message]
    assert found == [f"node 's': attribute of function 'scaled': '{name}' is missing" for name in names]


@pytest.mark.parametrize("inputs", [[], ["x", "x"], {"y": "x"}, {}])
def test_wrong_inputs_of_a_call_are_those_of_an_op(inputs):
    content = scaled()
    content["nodes"][0]["inputs"] = inputs
    assert set(codes_of(content)) == {"GE212"}


def test_a_wrong_shape_is_reported_at_the_call_and_no_consequence():
    found = problem_of(layers(3, 4) | {"parameters": {"w0": {"shape": [3], "initializer": {"type": "ones"}}}})
    assert (found.code, found.pointer, found.node) == ("GE301", "/nodes/0", "l0")
    assert found.message == "call 'l0' of 'layer': input 'w' has shape (3,); the declared shape is (I, O)"


def test_one_symbol_of_a_function_is_one_size_in_a_call():
    pair = function({"z": ("matmul", ["a", "b"])}, {"z": "z"}, ("a", {"shape": ["M", "K"]}), ("b", {"shape": ["K", 2]}))
    nodes = {"z": ("pair", ["a", "b"])}
    shapes = {"a": [5, "N"], "b": ["P", 2]}
    found = problem_of(document(nodes, inputs=shapes, functions={"pair": pair}))
    assert found.message == "call 'z' of 'pair': input 'b' has size P in dimension 0 (K), but input 'a' makes K N"
    model(nodes, inputs={**shapes, "b": ["N", 2]}, functions={"pair": pair})
    found = problem_of(document(nodes, inputs={"a": [5, 4], "b": [4, 3]}, functions={"pair": pair}))
    assert found.message.endswith("input 'b' has size 3 in dimension 1; the declared size is 2")


def test_a_product_of_symbols_is_checked_once_its_symbols_are_known():
    gates = function({"z": ("add", ["a", "b"])}, {"z": "z"}, ("a", {"shape": ["4*H"]}), ("b", {"shape": ["H"]}))
    content = document({"z": ("gates", ["a", "b"])}, inputs={"a": [9], "b": [2]}, functions={"gates": gates})
    assert "has size 9 in dimension 0 (4*H), but input 'b' makes 4*H 8" in problem_of(content).message


def test_a_declared_dtype_is_checked_at_the_call():
    index = function({"z": ("neg", ["i"])}, {"z": "z"}, ("i", {"dtype": "int64"}))
    content = document({"z": ("index", ["x"])}, inputs={"x": []}, functions={"index": index})
    assert problem_of(content).message == "call 'z' of 'index': input 'i' must be int64, not float64"


def test_an_error_inside_names_the_calls_and_the_node():
    content = scaled({"axis": 7})
    found = problem_of(content)
    assert (found.code, found.pointer, found.node) == ("GE301", "/functions/scaled/nodes/1", "s")
    assert found.message.startswith("call 's' of 'scaled', node 'total' (sum): axis 7 is out of range")
    content = scaled({"axis": "first"})
    found = problem_of(content)
    assert (found.code, found.pointer) == ("GE213", "/functions/scaled/nodes/1/attributes/axis")
    assert found.message.startswith("call 's' of 'scaled', node 'total': attribute of op 'sum'")


def test_an_error_deep_inside_names_every_call_on_the_way():
    content = layers(3, 4)
    content["functions"]["affine"]["inputs"]["w"] = {}
    content["functions"]["layer"]["inputs"]["w"] = {}
    content["parameters"] = {"w0": {"shape": [5, 4], "initializer": {"type": "ones"}}}
    found = problem_of(content)
    assert found.message.startswith("call 'l0' of 'layer', call 'affine' of 'affine', node 'product' (matmul): ")
    assert found.pointer == "/functions/affine/nodes/0"


def test_the_same_error_of_a_function_is_reported_once_for_all_calls():
    content = layers(3, 3, 3, 3)
    content["functions"]["layer"]["nodes"][1]["op"] = "reluu"
    assert problem_of(content).message == "function 'layer': node 'out': unknown op 'reluu'"


def test_an_error_of_a_shipped_function_has_the_place_of_the_call():
    content = document({"z": ("nn.dense", ["x", "w", "b"])}, inputs={"x": ["N", 2], "w": [3, 4], "b": [4]})
    content["opset_imports"]["nn"] = 1
    found = problem_of(content)
    assert (found.code, found.pointer) == ("GE301", "/nodes/0")
    assert found.message.startswith("call 'z' of 'nn.dense': input 'weight' has size 3 in dimension 0 (I)")


def test_a_failing_node_names_call_and_node():
    @ge.register("test.fails")
    class Fails(ge.Node):
        def infer(self, x):
            return x

        def forward(self, x):
            raise ValueError("no")

    inner = function({"bad": ("test.fails", ["x"]), "z": ("neg", ["bad"])}, {"z": "z"}, "x")
    made = model(
        {"z": ("inner", ["x"])}, inputs={"x": []}, functions={"inner": inner}, opset_imports={"core": 1, "test": 1}
    )
    with pytest.raises(ge.errors.ExecutionError, match=r"call 'z' of 'inner', node 'bad' \(test\.fails\): no"):
        made.forward(x=1.0)["out"]


# ---------------------------------------------------------------- what is wrong with a function


def broken(**changes):
    """A file that calls nothing, with a function that has something wrong."""
    return calls({"z": ("neg", ["x"])}, {"f": {**copy.deepcopy(SCALED), **changes}})


@pytest.mark.parametrize(
    ("changes", "code", "pointer", "said"),
    [
        ({"outputs": {}}, "GE111", "/functions/f/outputs", "it has no output"),
        ({"outputs": {"y": "y"}}, "GE210", "/functions/f/outputs/y", "no node gives the value 'y'"),
        ({"outputs": {"y": "totl"}}, "GE210", "/functions/f/outputs/y", "no node gives the value 'totl'"),
        ({"outputs": {"y": "total:b"}}, "GE210", "/functions/f/outputs/y", "'total:b' is not defined"),
        ({"inputs": {}}, "GE210", "/functions/f/nodes/0/inputs/1", "node 'product': input 'x' is not defined"),
        ({"inputs": {"x": {}, "axis": {}}}, "GE201", "/functions/f/attributes/axis", "the name of a node or an input"),
        ({"inputs": {"x": {}, "total": {}}}, "GE201", "/functions/f/nodes/1/id", "duplicate name 'total'"),
        (
            {"attributes": {"factor": {"default": "a"}, "axis": {}}},
            "GE112",
            "/functions/f/attributes/factor/default",
            "",
        ),
        ({"attributes": {"factor": {"default": 1}}}, "GE210", "/functions/f/nodes/1/attributes/axis", "'axis'"),
    ],
)
def test_a_wrong_function_is_reported_even_if_nothing_calls_it(changes, code, pointer, said):
    found = problem_of(broken(**changes))
    assert (found.code, found.pointer) == (code, pointer)
    assert said in found.message


def test_all_independent_errors_of_functions_and_nodes_are_reported_at_once():
    content = scaled({"factr": 1})
    content["functions"]["scaled"]["nodes"][0]["op"] = "mull"
    content["functions"]["g"] = function({"a": ("neg", ["b"])}, {"a": "a"})
    content["nodes"].append({"id": "w", "op": "neg", "inputs": ["nothing"]})
    assert sorted(codes_of(content)) == ["GE210", "GE210", "GE211", "GE213"]


def test_a_required_attribute_is_no_error_of_the_function():
    model({"z": ("neg", ["x"])}, inputs={"x": []}, functions={"scaled": SCALED})


def test_an_update_rule_cannot_be_called():
    rule = function({"z": ("add", ["x", "v"])}, {"z": "z"}, "x", ("v", {"initializer": {"type": "zeros"}}))
    found = problem_of(document({"z": ("rule", ["x", "x"])}, inputs={"x": []}, functions={"rule": rule}))
    assert (found.code, found.pointer) == ("GE212", "/nodes/0/op")


def test_a_function_that_gives_back_its_input_cannot_be_called():
    same = function({"n": ("neg", ["x"])}, {"y": "x", "n": "n"}, "x")
    found = problem_of(document({"z": ("same", ["x"])}, inputs={"x": []}, functions={"same": same}))
    assert (found.code, found.pointer) == ("GE212", "/nodes/0/op")
    assert "its output 'y' is its input 'x'" in found.message
    model({"z": ("neg", ["x"])}, inputs={"x": []}, functions={"same": same})


def test_a_called_function_is_checked_even_if_the_optimizer_names_it():
    content = scaled(training=training(optimizer={"type": "scaled", "learning_rate": 0.1}))
    content["functions"]["scaled"]["outputs"] = {}
    assert "GE111" in codes_of(content)


def test_recursion_is_refused_with_the_cycle():
    functions = {
        name: function({"z": (called, ["x"])}, {"z": "z"}, "x") for name, called in zip("abc", "bca", strict=True)
    }
    found = problem_of(document({"z": ("a", ["x"])}, inputs={"x": []}, functions=functions))
    assert (found.code, found.message.split(": ", 1)[1]) in {
        ("GE215", cycle) for cycle in ("a -> b -> c -> a", "b -> c -> a -> b", "c -> a -> b -> c")
    }
    assert problem_of(document({"z": ("neg", ["x"])}, inputs={"x": []}, functions=functions)).code == "GE215"


def tower(levels, calls_each, leaf="neg"):
    """Functions that each call the next one several times, and a call of the first."""
    functions = {}
    for level in range(levels):
        op = f"f{level + 1}" if level + 1 < levels else leaf
        nodes = {f"n{index}": (op, [f"n{index - 1}" if index else "x"]) for index in range(calls_each)}
        functions[f"f{level}"] = function(nodes, {"z": f"n{calls_each - 1}"}, "x")
    return document({"z": ("f0", ["x"])}, inputs={"x": []}, functions=functions)


def test_an_expansion_is_counted_before_it_is_made():
    found = problem_of(tower(30, 2))
    assert found.code == "GE216"
    assert "1,073,741,824 nodes" in found.message
    found = problem_of(tower(90, 40))
    assert "more than 1,000,000,000,000,000 nodes" in found.message
    assert len(ge.Model.from_dict(tower(10, 2)).graph.nodes) == 2**10


def test_calls_within_calls_have_a_limit():
    assert len(ge.Model.from_dict(tower(DEFAULT.function_depth, 1)).graph.nodes) == 1
    assert f"{DEFAULT.function_depth + 1} levels of calls" in problem_of(tower(DEFAULT.function_depth + 1, 1)).message


def test_a_caller_may_raise_and_lower_the_limits():
    content = tower(5, 2)
    for limits in (Limits(nodes=31), Limits(function_depth=4), Limits(function_bytes=1000)):
        with pytest.raises(ge.errors.InvalidModelError, match="GE216"):
            ge.Model.from_dict(content, limits=limits)
    deeper = tower(DEFAULT.function_depth + 1, 1)
    assert ge.Model.from_dict(deeper, limits=Limits(function_depth=200)).graph.nodes


def wide(calls, nodes):
    """So many calls of a function with so many nodes."""
    inner = function({f"n{index}": ("neg", ["x"]) for index in range(nodes)}, {"z": "n0"}, "x")
    return document({f"z{i}": ("f", ["x"]) for i in range(calls)}, inputs={"x": []}, functions={"f": inner})


def test_a_small_file_does_not_become_a_large_graph():
    assert len(ge.Model.from_dict(wide(190, 200)).graph.nodes) == 38_000
    found = problem_of(wide(400, 400))
    assert (found.code, found.pointer) == ("GE216", "/functions")
    assert "bytes of text; the limit is 4,194,304" in found.message
    assert found.hint == "a file may become 64 times as long; raise the limit function_growth"
    assert len(ge.Model.from_dict(wide(400, 400), limits=Limits(function_growth=10_000)).graph.nodes) == 160_000


def test_a_long_file_may_become_a_longer_one():
    assert len(ge.Model.from_dict(wide(4000, 20)).graph.nodes) == 80_000  # 8 MB of what was 200 kB


def test_an_unrolled_recurrent_network_is_no_bomb():
    names = ("x", "h", "w", "u", "b", "v")
    steps = {f"step{i}": ("nn.gru_cell", list(names)) for i in range(2000)}
    content = document(
        steps, inputs={"x": ["N", 1], "h": ["N", 2], "w": [3, 1, 2], "u": [3, 2, 2], "b": [3, 2], "v": [3, 2]}
    )
    content["opset_imports"]["nn"] = 1
    assert len(ge.Model.from_dict(content).graph.nodes) == 29 * 2000


@pytest.mark.parametrize(("count", "sections"), [(513, 256), (512, 256)])
def test_outputs_of_nodes_are_bounded_together(count, sections):
    nodes = {f"s{i}": ("split", ["x"], {"indices_or_sections": sections}) for i in range(count)}
    content = document({**nodes, "z": ("neg", ["s0"])}, inputs={"x": [sections]})
    if count * sections > 2**17:
        found = problem_of(content)
        assert (found.code, found.node, found.hint) == ("GE132", "s512", "raise the limit node_outputs")
        assert ge.Model.from_dict(content, limits=Limits(node_outputs=256)).graph.types["s512:part_255"]
    else:
        assert ge.Model.from_dict(content).graph.types["s511:part_255"]


def test_outputs_of_inlined_nodes_are_bounded_together():
    nodes = {f"s{i}": ("split", ["x"], {"indices_or_sections": 256}) for i in range(10)}
    inner = function({**nodes, "out": ("neg", ["x"])}, {"z": "out"}, "x")
    calls = {f"z{i}": ("f", ["x"]) for i in range(60)}
    content = document(calls, inputs={"x": [256]}, functions={"f": inner})
    found = problem_of(content)
    assert (found.code, found.pointer, found.node) == ("GE216", "/nodes/51", "z51")
    assert "call 'z51' of 'f': up to here the inlined nodes have more than 131,072 outputs" in found.message
    assert ge.Model.from_dict(content, limits=Limits(node_outputs=300)).graph.types["z59/s9:part_255"]


def test_an_attribute_counts_only_where_a_call_can_hand_it_over():
    nodes = {f"a{i}": ("sum", ["x"], {"axis": {"attribute": "axis"}}) for i in range(50)}
    nodes["key"] = ("random_key", [], {"stream": "s" * 100_000})
    inner = function(nodes, {"z": "a0"}, "x", attributes={"axis": {"default": 0}})
    content = document({f"z{i}": ("f", ["x"]) for i in range(10)}, inputs={"x": [1]}, functions={"f": inner})
    assert len(ge.Model.from_dict(content).graph.nodes) == 510


def test_text_that_grows_with_the_depth_is_counted_too():
    content = tower(17, 2)
    names = {f"f{level}": f"f{level}" for level in range(17)}
    for name in names:
        for node in content["functions"][name]["nodes"]:
            node["id"] = node["id"] + "x" * 190
            node["inputs"] = [ref + "x" * 190 if ref != "x" else ref for ref in node["inputs"]]
        content["functions"][name]["outputs"]["z"] += "x" * 190
    found = problem_of(content)
    assert (found.code, "bytes of text" in found.message) == ("GE216", True)


def test_an_id_that_a_call_makes_must_be_free():
    content = scaled()
    content["nodes"].append({"id": "s/product", "op": "neg", "inputs": ["x"]})
    found = problem_of(content)
    assert (found.code, found.pointer) == ("GE201", "/nodes/0")


def test_a_cycle_through_a_call_is_reported_with_the_ids_of_the_file():
    content = scaled()
    content["nodes"][0]["inputs"] = ["loss"]
    found = problem_of(content)
    assert (found.code, found.message) == ("GE214", "nodes form a cycle: loss -> s -> loss")


def test_a_cycle_in_a_function_is_reported_with_its_own_ids_whether_it_is_called_or_not():
    cyclic = function({"n": ("neg", ["m"]), "m": ("neg", ["n"])}, {"out": "n"}, "x")
    around = function({"n": ("one", ["x", "k"]), "k": ("one", ["x", "n"])}, {"out": "n"}, "x")
    functions = {"f": cyclic, "g": around, "one": function({"n": ("add", ["x", "y"])}, {"out": "n"}, "x", "y")}
    caller = {
        "a": function({"n": ("b", ["x"])}, {"out": "n"}, "x"),
        "b": function({"n": ("a", ["x"])}, {"out": "n"}, "x"),
    }
    for nodes in ({"z": ("neg", ["x"])}, {"z": ("f", ["x"]), "y": ("g", ["x"])}):
        assert [(each.message, each.pointer) for each in problems_of(calls(nodes, {**functions, **caller}))] == [
            ("function 'f': nodes form a cycle: m -> n -> m", "/functions/f/nodes/1"),
            ("function 'g': nodes form a cycle: k -> n -> k", "/functions/g/nodes/1"),
            ("functions call each other in a cycle: a -> b -> a", "/functions/a"),
        ]


def test_an_undefined_op_of_the_shipped_domain_names_the_near_one_and_the_import():
    content = document({"z": ("nn.dens", ["x"])}, inputs={"x": []})
    assert problem_of(content).hint == "did you mean 'nn.dense'?"
    content["nodes"][0]["op"] = "Linear"
    assert problem_of(content).hint == "did you mean 'nn.dense'?"
    content["nodes"][0]["op"] = "nn.dense"
    found = problem_of(content)
    assert (found.code, found.hint) == ("GE105", 'add "nn": 1 to opset_imports')


@pytest.mark.parametrize(
    ("op", "hint"),
    [
        ("acme.cubic", "no op of the domain 'acme' is registered; name a module that registers it: --plugin FILE"),
        ("test.cubee", "did you mean 'test.cube'?"),
        ("tests.cube", "did you mean 'test.cube'? no op of the domain 'tests' is registered; name a module"),
    ],
)
def test_an_unknown_op_says_which_domain_which_near_name_and_how_to_supply_it(op, hint):
    @ge.register("test.cube")
    class Cube(ge.Node):
        def forward(self, x):
            return x**3

    found = problem_of(document({"z": (op, ["x"])}, inputs={"x": []}))
    assert found.code == "GE211"
    assert found.hint.startswith(hint)


def test_problems_of_a_function_have_line_and_column(tmp_path):
    content = scaled({"axis": 7})
    path = write(tmp_path / "m.json", content)
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.load(path)
    (found,) = caught.value.problems
    assert '"id": "total"' in path.read_text().splitlines()[found.line]


def test_many_problems_of_calls_are_each_reported():
    content = layers(3, 4, 5)
    content["parameters"] = {name: {"shape": [1], "initializer": {"type": "ones"}} for name in ("w0", "w1")}
    assert [found.node for found in problems_of(content)] == ["l0", "l1"]


# ---------------------------------------------------------------- the functions of the package


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rnn_cell(x, h, w, u, b, v):
    return (np.tanh(x @ w + b + h @ u + v),)


def gru_cell(x, h, w, u, b, v):
    r = sigmoid(x @ w[0] + b[0] + h @ u[0] + v[0])
    z = sigmoid(x @ w[1] + b[1] + h @ u[1] + v[1])
    n = np.tanh(x @ w[2] + b[2] + r * (h @ u[2] + v[2]))
    return ((1 - z) * n + z * h,)


def lstm_cell(x, h, c, w, u, b, v):
    i, f, g, o = (x @ w[gate] + b[gate] + h @ u[gate] + v[gate] for gate in range(4))
    new = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(new), new


def dense(x, w, b=0):
    return (x @ w + b,)


def mlp(x, w1, b1, w2, b2):
    return (np.maximum(x @ w1 + b1, 0) @ w2 + b2,)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["x", 1], 2.5),
        (["x", 1, "x"], 5),
        (["x", 1, "x", 10], 15),
        ({"x": "x", "least": 3}, 3.25),
        ({"x": "x", "least": 1, "most": 10}, 12.5),
    ],
)
def test_an_optional_input_that_a_call_omits_is_omitted_where_it_is_used(given, expected):
    content = document({"z": ("clipped", given)}, functions={"clipped": CLIPPED}, inputs={"x": ["N"]})
    loaded = ge.Model.from_dict(content)
    for _ in range(3):
        run = loaded.forward(x=[1.0, 2.0, 3.0, 4.0])
        assert run["out"] == expected
    assert dump_model(ge.Model.from_dict(json.loads(dump_model(loaded.document))).document) == dump_model(
        loaded.document
    )


def test_an_omitted_input_goes_through_calls_within_calls():
    outer = function({"out": ("clipped", {"x": "x", "least": 1, "most": "more"})}, {"out": "out"}, "x", MORE)
    functions = {"clipped": CLIPPED, "outer": outer}
    for given, inputs in ((["x", 10], ("z/out/low", 10)), (["x"], ("z/out/low",))):
        nodes = nodes_of(document({"z": ("outer", given)}, functions=functions, inputs={"x": ["N"]}))
        assert nodes["z/out/sum"] == ("add_n", inputs)


def test_a_default_of_null_is_a_value_and_is_saved():
    content = calls({"a": ("clipped", ["x", 0]), "b": ("clipped", ["x", 0], {"axis": 1})}, {"clipped": CLIPPED})
    loaded = ge.Model.from_dict(content)
    assert [loaded.graph.types[name].shape for name in "ab"] == [(), ("N",)]
    attributes = json.loads(dump_model(loaded.document))["functions"]["clipped"]["attributes"]
    assert attributes == {"axis": {"default": None}, "keep": {"default": False}}


MORE = ("more", {"optional": True})


@pytest.mark.parametrize(
    ("changed", "code", "message", "pointer"),
    [
        (
            function({"out": ("add", ["x", "more"])}, {"out": "out"}, "x", MORE),
            "GE212",
            "function 'f': node 'out' (add) needs its input 'y', but 'more' is optional",
            "/functions/f/nodes/0/inputs/1",
        ),
        (
            function({"out": ("clip", {"x": "more", "min": 0})}, {"out": "out"}, MORE),
            "GE212",
            "function 'f': node 'out' (clip) needs its input 'x', but 'more' is optional",
            "/functions/f/nodes/0/inputs/x",
        ),
        (
            function({"out": ("nn.dense", ["x", "more"])}, {"out": "out"}, "x", MORE),
            "GE212",
            "function 'f': node 'out' (nn.dense) needs its input 'weight', but 'more' is optional",
            "/functions/f/nodes/0/inputs/1",
        ),
        (
            function({"out": ("add_n", ["x", "more"])}, {"out": "out"}, MORE, "x"),
            "GE112",
            "function 'f': input 'x' is not optional but comes after 'more', which is",
            "/functions/f/inputs/x",
        ),
    ],
)
def test_an_optional_input_where_one_is_needed_is_reported_at_the_function(changed, code, message, pointer):
    content = calls({"z": ("abs", ["x"])}, {"f": changed}, opset_imports={"core": 1, "nn": 1})
    found = problem_of(content)
    assert (found.code, found.message, found.pointer) == (code, message, pointer)


def test_a_call_reports_which_inputs_it_must_have():
    problem = problem_of(calls({"z": ("clipped", ["x"])}, {"clipped": CLIPPED}))
    assert problem.message.endswith("takes 2 to 4 inputs (x, least, more=None, most=None), not 1")


def test_a_layer_may_have_no_bias():
    content = document(
        {"z": ("nn.dense", ["x", "w"])}, inputs={"x": ["N", 2], "w": [2, 3]}, opset_imports={"core": 1, "nn": 1}
    )
    x, w = np.arange(4.0).reshape(2, 2), np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(ge.Model.from_dict(content).forward(x=x, w=w)["out"], dense(x, w)[0])


SHIPPED = {
    "dense": dense,
    "mlp": mlp,
    "rnn_cell": rnn_cell,
    "gru_cell": gru_cell,
    "lstm_cell": lstm_cell,
    "standardize": lambda x, mean, std: [(x - mean) / std],
    "unstandardize": lambda scaled, mean, std: [scaled * std + mean],
    "min_max": lambda x, low, high: [(x - low) / (high - low)],
    "un_min_max": lambda scaled, low, high: [scaled * (high - low) + low],
    "impute": lambda x, value: [x + 0 * value],  # nothing is missing: tests/test_from_data.py has gaps
}
RECURRENT = [f"{cell}{what}" for cell in ("rnn", "gru", "lstm") for what in ("", "_step", "_masked_step")]
"""Loops over the cells: tests/test_sequences.py compares them with PyTorch."""
OVER_STEPS = ["attention", "transformer_block", "length_mask", "masked_mean"]
OVER_STEPS += ["sinusoidal_positions", "learned_positions"]
"""Attention, positions and masks: so does tests/test_attention.py."""
SIZES = {"N": 3, "I": 4, "H": 5, "O": 2}


def test_every_shipped_function_is_compared_with_a_transcription():
    compared = {f"nn.{name}" for name in (*SHIPPED, *RECURRENT, *OVER_STEPS)}
    assert compared == {name for name, each in shipped_functions().items() if each.domain == "nn"}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_function_is_its_formula_and_has_its_gradient(name):
    shipped = shipped_functions()[f"nn.{name}"]
    generator = np.random.default_rng(0)
    shapes = {key: each.shape or ["N", "I"] for key, each in shipped.document.inputs.items()}
    given = {key: generator.normal(size=[SIZES.get(size, size) for size in shape]) for key, shape in shapes.items()}
    first, *others = shipped.signature.outputs
    results = {f"new_{first}": "z", **{f"new_{port}": f"z:{port}" for port in others}}
    nodes = {"z": (f"nn.{name}", list(given))}
    for port, value in results.items():
        nodes |= {f"{port}.square": ("square", [value]), f"{port}.sum": ("sum", [f"{port}.square"])}
    nodes["loss"] = ("add", [*(f"{port}.sum" for port in results), 0.0][:2])
    imports = {"core": 1, "nn": 1}
    run = model(nodes, {**results, "loss": "loss"}, inputs=shapes, opset_imports=imports).forward(given)
    expected = SHIPPED[name](*given.values())
    for port, result in zip(results, expected, strict=True):
        np.testing.assert_allclose(run[port], result, rtol=1e-13)
    gradients = run.backward(of="loss", wrt=list(given))
    step = 1e-6
    for key, value in given.items():
        direction = generator.normal(size=value.shape)
        shifted = (SHIPPED[name](*{**given, key: value + sign * step * direction}.values()) for sign in (1, -1))
        above, below = (sum(np.sum(np.square(result)) for result in results) for results in shifted)
        np.testing.assert_allclose(np.sum(gradients[key] * direction), (above - below) / (2 * step), rtol=1e-7)
