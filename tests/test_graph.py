"""The graph: names, arity, cycles, order, shapes and dtypes; everything that is decided before anything runs."""

import itertools
import random
import sys
import tracemalloc

import networkx as nx
import numpy as np
import orjson
import pytest
from documents import codes_of, document, linreg, model, node, problem_of, problems_of, training
from hypothesis import given
from hypothesis import strategies as st

import graphengine as ge
from graphengine.ir.nodes import GraphNode, topologically_sorted
from graphengine.ops.families.arithmetic import AddN


def names(graph):
    return [node.id for node in graph.nodes]


def type_text(content, name):
    """The inferred type of a value, as text: float64(N, 3)."""
    return str(ge.Model.from_dict(content).graph.types[name])


def chain(count, op="neg"):
    """x -> n0 -> n1 -> ... in an order that is no order."""
    nodes = [{"id": f"n{i}", "op": op, "inputs": [f"n{i - 1}" if i else "x"]} for i in range(count)]
    random.Random(0).shuffle(nodes)
    content = document({"n": ("neg", ["x"])}, {"out": f"n{count - 1}"}, parameters={"x": 2.0})
    return {**content, "nodes": nodes}


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("taken", ["x", "p", "a"])
def test_an_id_is_used_once_across_inputs_parameters_and_nodes(taken):
    nodes = {"a": ("neg", ["x"]), "b": ("neg", ["y"])}
    content = document(nodes, {"out": "a"}, inputs={"x": [], "y": []}, parameters={"p": 1.0})
    content["nodes"][1]["id"] = taken
    found = problem_of(content)
    assert (found.code, found.pointer, found.node) == ("GE201", "/nodes/1/id", taken)
    assert f"duplicate name '{taken}'" in found.message


def test_an_input_and_a_parameter_do_not_share_a_name():
    found = problem_of(document({"z": ("neg", ["a"])}, inputs={"a": []}, parameters={"a": 1.0}))
    assert (found.code, found.pointer) == ("GE201", "/parameters/a")


def test_an_undefined_reference_names_node_pointer_and_near_name():
    found = problem_of(document({"z": ("add", ["alpha", "alhpa"])}, inputs={"alpha": []}))
    assert (found.code, found.node, found.pointer) == ("GE210", "z", "/nodes/0/inputs/1")
    assert found.message == "node 'z': input 'alhpa' is not defined"
    assert found.hint == "did you mean 'alpha'?"


def test_an_undefined_reference_with_nothing_near_lists_what_is_defined():
    assert problem_of(document({"z": ("neg", ["qqq"])}, inputs={"alpha": []})).hint == "defined: alpha, z"


def test_an_undefined_reference_by_argument_name_is_located():
    found = problem_of(document({"z": ("sub", {"y": "b", "x": "a"})}, inputs={"a": []}))
    assert (found.code, found.pointer) == ("GE210", "/nodes/0/inputs/y")


def test_an_unknown_op_gets_the_op_that_was_meant():
    found = problem_of(document({"z": ("sqaure", [1])}))
    assert (found.code, found.pointer, found.hint) == ("GE211", "/nodes/0/op", "did you mean 'square'?")


def test_an_unknown_op_of_an_unknown_domain_says_how_to_register_it():
    assert "--plugin" in problem_of(document({"z": ("acme.cube", [1])})).hint


@pytest.mark.parametrize("op", ["__import__", "graphengine.nodes", "os.system", "numpy.sin", "Add", "add ", ""])
def test_no_python_name_means_anything_as_an_op(op):
    assert problem_of(document({"z": (op, [1])})).code == "GE211"


def test_a_public_output_may_have_the_name_of_another_value():
    graph = model({"a": ("neg", ["x"]), "b": ("neg", ["a"])}, {"a": "b"}, inputs={"x": []}).graph
    assert (graph.value_name("a"), graph.value_name("b")) == ("b", "b")


def test_an_input_may_be_a_public_output():
    assert model({"z": ("neg", ["x"])}, {"same": "x"}, inputs={"x": []}).forward(x=3.0)["same"] == 3.0


def test_a_loss_that_is_not_defined_is_located():
    found = problem_of(linreg(training=training(loss="lost")))
    assert (found.code, found.pointer, found.hint) == ("GE210", "/training/loss", "did you mean 'loss'?")


# ---------------------------------------------------------------- inputs of nodes


@pytest.mark.parametrize(("op", "count"), [("add", 0), ("add", 1), ("add", 3), ("neg", 0), ("neg", 2), ("mean", 2)])
def test_a_wrong_number_of_inputs_is_refused(op, count):
    found = problem_of(document({"z": (op, ["x"] * count)}, inputs={"x": []}))
    assert (found.code, found.pointer, found.node) == ("GE212", "/nodes/0/inputs", "z")
    assert found.message.endswith(f"not {count}")


def test_arity_is_reported_with_the_names_of_the_inputs():
    assert "op 'sub' takes 2 inputs (x, y), not 1" in problem_of(document({"z": ("sub", [1])})).message


def test_inputs_by_name_mean_the_same_in_any_order():
    for inputs in (["a", "b"], {"x": "a", "y": "b"}, {"y": "b", "x": "a"}):
        assert model({"z": ("sub", inputs)}, inputs={"a": [], "b": []}).forward(a=5.0, b=3.0)["out"] == 2.0


def test_an_unknown_argument_name_is_located():
    found = problem_of(document({"z": ("sub", {"x": 1, "y": 2, "w": 3})}))
    assert (found.code, found.pointer, found.hint) == ("GE212", "/nodes/0/inputs/w", "its inputs: x, y")


def test_a_missing_argument_is_named():
    found = problem_of(document({"z": ("sub", {"x": 1})}))
    assert (found.code, found.pointer) == ("GE212", "/nodes/0/inputs")
    assert "needs the input 'y'" in found.message


@pytest.mark.parametrize(("literal", "expected"), [(2, 6.0), (2.5, 7.5), (-1e-3, -3e-3), (0, 0.0)])
def test_a_number_is_a_literal_input(literal, expected):
    assert model({"z": ("mul", [literal, "x"])}, inputs={"x": []}).forward(x=3.0)["out"] == expected


def test_a_literal_does_not_widen_float32():
    graph = model({"z": ("mul", [2.5, "x"])}, inputs={"x": ["N"]}, dtype="float32")
    assert graph.forward(x=[1.0])["out"].dtype == np.float32


def test_a_node_of_literals_alone_is_a_number():
    assert model({"z": ("add", [2, 3])}).forward()["out"] == 5


# ---------------------------------------------------------------- cycles


def test_a_cycle_names_its_nodes_in_order():
    content = document({"a": ("add", ["c", "x"]), "b": ("neg", ["a"]), "c": ("neg", ["b"])}, inputs={"x": []})
    found = problem_of(content)
    assert found.code == "GE214"
    assert found.message == "nodes form a cycle: a -> b -> c -> a"
    assert (found.node, found.pointer) == ("a", "/nodes/0")


def test_a_node_that_reads_itself_is_a_cycle():
    assert problem_of(document({"a": ("add", ["a", 1])})).message == "nodes form a cycle: a -> a"


@pytest.mark.parametrize(
    ("op", "hint"),
    [
        ("core.neg", "did you mean 'neg'?"),
        ("nn.Linear", "did you mean 'nn.dense'?"),
        ("nn.dens", "did you mean 'nn.dense'?"),
        ("torch.exp", "did you mean 'exp'? no op of the domain 'torch'"),
        ("foo.bar", "no op of the domain 'foo' is registered"),
    ],
)
def test_an_op_of_another_domain_is_reported_with_the_one_that_is_meant(op, hint):
    assert problem_of(document({"a": (op, [1.0])})).hint.startswith(hint)


def test_the_cycle_that_is_named_is_short():
    nodes = {"a": ("add", ["b", "z9"]), "b": ("neg", ["a"])}
    nodes |= {f"z{i}": ("neg", ["a" if i == 0 else f"z{i - 1}"]) for i in range(10)}
    assert problem_of(document(nodes)).message == "nodes form a cycle: a -> b -> a"


def test_every_independent_cycle_is_reported():
    nodes = {"a": ("neg", ["b"]), "b": ("neg", ["a"]), "c": ("neg", ["d"]), "d": ("neg", ["c"]), "e": ("neg", ["e"])}
    assert sorted(found.message for found in problems_of(document(nodes))) == [
        "nodes form a cycle: a -> b -> a",
        "nodes form a cycle: c -> d -> c",
        "nodes form a cycle: e -> e",
    ]


def test_an_undefined_input_is_reported_whatever_else_is_wrong_with_its_node():
    nodes = {"a": ("ngg", ["p"]), "b": ("neg", ["q", 1.0]), "c": ("add", {"x": "r", "yy": 1.0})}
    found = sorted((problem.code, problem.pointer) for problem in problems_of(document(nodes)))
    assert [pointer for code, pointer in found if code == "GE210"] == [
        "/nodes/0/inputs/0",
        "/nodes/1/inputs/0",
        "/nodes/2/inputs/x",
    ]
    assert {code for code, _ in found} == {"GE210", "GE211", "GE212"}


def test_a_cycle_is_reported_together_with_wrong_names():
    nodes = {"a": ("neg", ["b"]), "b": ("neg", ["a"]), "c": ("neg", ["nothing"])}
    assert sorted(codes_of(document(nodes))) == ["GE210", "GE214"]


def random_graph(seed):
    """A graph of networkx, and the content of a file of the same graph."""
    graph = nx.gnp_random_graph(30, 0.04, seed=seed, directed=True)
    graph.add_edges_from((node, node) for node in range(seed % 3))
    reads = {node: [f"n{other:02}" for other in graph.predecessors(node)] for node in graph}
    return graph, document({f"n{node:02}": ("add_n", names or [1.0]) for node, names in reads.items()})


@pytest.mark.parametrize("seed", range(20))
def test_one_shortest_cycle_of_each_group_is_reported(seed):
    graph, content = random_graph(seed)
    groups = [group for group in nx.strongly_connected_components(graph) if nx.number_of_edges(graph.subgraph(group))]
    found = [found.message.removeprefix("nodes form a cycle: ") for found in problems_of(content)] if groups else []
    cycles = {int(way[1:3]): [int(name[1:]) for name in way.split(" -> ")] for way in found if "..." not in way}
    assert len(found) == len(groups)
    for first, cycle in cycles.items():
        group = next(group for group in groups if first in group)
        assert first == min(group)
        back = [nx.shortest_path_length(graph, node, first) for node in graph[first] if nx.has_path(graph, node, first)]
        assert len(cycle) == min(back) + 2
        assert cycle[-1] == first
        assert all(graph.has_edge(*edge) for edge in itertools.pairwise(cycle))


def test_a_long_cycle_is_shortened():
    nodes = {f"n{i:04}": ("neg", [f"n{(i - 1) % 5000:04}"]) for i in range(5000)}
    message = problem_of(document(nodes)).message
    assert message.startswith("nodes form a cycle: n0000 -> n0001 -> ")
    assert "more ..." in message
    assert message.endswith(" -> n0000")
    assert len(message) < 200


# ---------------------------------------------------------------- order


def test_nodes_come_behind_what_they_read_in_any_order_of_the_file():
    content = linreg()
    first = ge.Model.from_dict(content)
    position = {name: index for index, name in enumerate(names(first.graph))}
    assert all(
        position[ref] < position[node.id] for node in first.graph.nodes for ref in node.inputs if ref in position
    )
    for seed in range(10):
        random.Random(seed).shuffle(content["nodes"])
        again = ge.Model.from_dict(content)
        assert names(again.graph) == names(first.graph)
        assert again.fingerprint == first.fingerprint


@given(st.lists(st.sets(st.integers(-5, 1), max_size=2), min_size=2, max_size=12))
def test_a_chain_is_sorted_as_networkx_sorts_it(further):
    """A chain with further edges, from its first node, and from its last one, which networkx sorts."""
    ids, nodes = [f"n{index * 7 % 13}" for index in range(len(further))], []
    for index, steps in enumerate(further):
        reads = [ids[index + step] for step in steps if 0 <= index + step < len(ids)]
        nodes.append(GraphNode(ids[index], "add_n", AddN(), ("x", *ids[max(index - 1, 0) : index], *reads)))
    assert topologically_sorted(nodes) == topologically_sorted(nodes[::-1])


def test_a_graph_summary_counts_its_parts():
    assert ge.Model.from_dict(linreg()).graph.summary == "2 inputs, 1 parameter, 4 nodes, 2 outputs"


@pytest.mark.parametrize("attribute", ["inputs", "parameters", "outputs", "types", "state"])
def test_a_graph_is_immutable(attribute):
    with pytest.raises(TypeError):
        getattr(ge.Model.from_dict(linreg()).graph, attribute)["new"] = None


def test_the_nodes_of_a_graph_are_immutable():
    graph = ge.Model.from_dict(linreg()).graph
    assert isinstance(graph.nodes, tuple)
    with pytest.raises(AttributeError):
        graph.nodes[0].inputs = ()


# ---------------------------------------------------------------- shapes


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([], [], "float64()"),
        (["N"], [], "float64(N,)"),
        (["N"], ["N"], "float64(N,)"),
        ([1], ["N"], "float64(N,)"),
        (["N", 1], ["M"], "float64(N, M)"),
        (["N", 3], [3], "float64(N, 3)"),
        (["2*N"], ["2*N"], "float64(2*N,)"),
        (["M*N"], ["N*M"], "float64(M*N,)"),
        ([0], [1], "float64(0,)"),
    ],
)
def test_broadcasting_is_inferred_for_symbols_and_numbers(first, second, expected):
    assert type_text(document({"z": ("add", ["a", "b"])}, inputs={"a": first, "b": second}), "z") == expected


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ([3], [4], "shapes (3,) and (4,) do not broadcast"),
        (["N"], ["M"], "shapes (N,) and (M,) do not broadcast for every M and N"),
        (["N"], [3], "shapes (N,) and (3,) do not broadcast for every N"),
        (["N"], ["2*N"], "do not broadcast for every"),
        ([0], [3], "shapes (0,) and (3,) do not broadcast"),
        (["N", 2], ["N"], "do not broadcast"),
    ],
)
def test_shapes_that_do_not_broadcast_are_refused_before_anything_runs(first, second, said):
    found = problem_of(document({"z": ("add", ["a", "b"])}, inputs={"a": first, "b": second}))
    assert (found.code, found.node, found.pointer) == ("GE301", "z", "/nodes/0")
    assert found.message.startswith("node 'z' (add): ")
    assert said in found.message


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, "float64()"),
        ({"axis": 0}, "float64(M, 3)"),
        ({"axis": -1}, "float64(N, M)"),
        ({"axis": [0, 2]}, "float64(M,)"),
        ({"axis": [0, 2], "keepdims": True}, "float64(1, M, 1)"),
        ({"keepdims": True}, "float64(1, 1, 1)"),
    ],
)
def test_reductions_drop_or_keep_axes(attributes, expected):
    assert type_text(document({"z": ("mean", ["x"], attributes)}, inputs={"x": ["N", "M", 3]}), "z") == expected


@pytest.mark.parametrize(
    ("axis", "said"), [(2, "out of range"), (-3, "out of range"), ([0, 0], "twice"), ([0, -2], "twice")]
)
def test_an_axis_out_of_range_or_named_twice_is_refused(axis, said):
    found = problem_of(document({"z": ("sum", ["x"], {"axis": axis})}, inputs={"x": ["N", 3]}))
    assert (found.code, found.node) == ("GE301", "z")
    assert said in found.message


def test_every_independent_shape_error_is_reported_and_no_consequence():
    nodes = {"z": ("add", ["a", "b"]), "w": ("mul", ["a", "b"]), "after": ("add", ["z", "w"])}
    assert [found.node for found in problems_of(document(nodes, inputs={"a": [3], "b": [4]}))] == ["z", "w"]


@pytest.mark.parametrize("shape", [["N"], [3, "N"]])
def test_a_parameter_needs_sizes_that_are_numbers(shape):
    declaration = {"shape": shape, "initializer": {"type": "zeros"}}
    found = problem_of(document({"z": ("neg", ["p"])}, parameters={"p": declaration}))
    assert (found.code, found.pointer) == ("GE302", "/parameters/p/shape")


def test_a_parameter_beyond_the_limit_of_memory_is_refused_before_it_is_made():
    declaration = {"shape": [10**6, 10**6], "initializer": {"type": "normal"}}
    found = problem_of(document({"z": ("neg", ["p"])}, parameters={"p": declaration}))
    assert (found.code, found.pointer) == ("GE133", "/parameters/p/shape")


def test_beside_what_takes_too_much_memory_the_values_of_a_file_are_looked_at_and_no_others_are_made():
    parameters = {
        "big": {"shape": [10**6, 10**6], "initializer": {"type": "normal"}},
        "drawn": {"shape": [10**6], "initializer": {"type": "normal"}},
        "short": {"shape": [3], "initializer": {"type": "zeros"}, "value": [1]},
    }
    tracemalloc.start()
    found = problems_of(document({"z": ("neg", ["big"])}, parameters=parameters))
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
    assert [(each.code, each.pointer) for each in found] == [
        ("GE133", "/parameters/big/shape"),
        ("GE302", "/parameters/short/value"),
    ]


# ---------------------------------------------------------------- dtypes


@pytest.mark.parametrize(
    ("op", "first", "second", "expected"),
    [
        ("add", "float64", "float64", "float64"),
        ("add", "float32", "float32", "float32"),
        ("add", "float32", "float64", "float64"),
        ("add", "int64", "float32", "float64"),
        ("mul", "int32", "int32", "int32"),
        ("div", "int64", "int64", "float64"),
        ("add", "bool", "int8", "int8"),
        ("add", "uint8", "int8", "int16"),
    ],
)
def test_dtypes_follow_numpy(op, first, second, expected):
    inputs = {"a": {"shape": [], "dtype": first}, "b": {"shape": [], "dtype": second}}
    assert type_text(document({"z": (op, ["a", "b"])}, inputs=inputs), "z") == f"{expected}()"


def test_the_dtype_of_the_file_is_the_default():
    graph = model({"z": ("neg", ["a"])}, inputs={"a": []}, parameters={"p": 1.0}, dtype="float32").graph
    assert [str(graph.types[name]) for name in ("a", "p", "z")] == ["float32()"] * 3


def test_the_mean_of_integers_is_a_float():
    assert (
        type_text(document({"z": ("mean", ["a"])}, inputs={"a": {"shape": ["N"], "dtype": "int32"}}), "z")
        == "float64()"
    )


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ({"loss": ("square", ["x"])}, "must be a floating-point scalar, not float64(N,)"),
        ({"loss": ("sum", ["i"])}, "must be a floating-point scalar, not int64()"),
    ],
)
def test_a_loss_that_is_no_floating_point_scalar_is_refused(nodes, said):
    inputs = {"x": ["N"], "i": {"shape": ["N"], "dtype": "int64"}}
    found = problem_of(document(nodes, inputs=inputs, parameters={"p": 1.0}, training=training()))
    assert (found.code, found.pointer) == ("GE303", "/training/loss")
    assert said in found.message


# ---------------------------------------------------------------- values handed in


@pytest.fixture(name="pair")
def _pair():
    inputs = {"x": ["N", "M"], "y": ["N"], "z": ["2*N"], "w": ["M*N"]}
    nodes = {"a": ("sum", ["x"]), "b": ("sum", ["y"]), "c": ("add", ["a", "b"])}
    return model(nodes, inputs=inputs)


def arrays(**shapes):
    whole = {"x": (3, 2), "y": (3,), "z": (6,), "w": (6,)} | shapes
    return {name: np.zeros(shape) for name, shape in whole.items()}


def test_symbolic_sizes_that_agree_are_accepted(pair):
    assert pair.forward(arrays())["out"] == 0.0
    assert pair.forward(arrays(x=(1, 0), y=(1,), z=(2,), w=(0,)))["out"] == 0.0


@pytest.mark.parametrize(
    ("shapes", "code", "said"),
    [
        ({"y": (4,)}, "GE405", "input 'y' has size 4 in dimension 0 (N), but input 'x' makes N 3"),
        ({"z": (7,)}, "GE405", "input 'z' has size 7 in dimension 0 (2*N), but input 'x' makes 2*N 6"),
        ({"w": (5,)}, "GE405", "input 'w' has size 5 in dimension 0 (M*N), but input 'x' makes M*N 6"),
        ({"y": (3, 1)}, "GE403", "input 'y' has shape (3, 1); the declared shape is (N,)"),
        ({"x": ()}, "GE403", "input 'x' has shape (); the declared shape is (N, M)"),
    ],
)
def test_sizes_that_disagree_name_input_dimension_and_both_sizes(pair, shapes, code, said):
    with pytest.raises(ge.errors.InputError) as caught:
        pair.forward(arrays(**shapes))
    (found,) = caught.value.problems
    assert found.code == code
    assert said in found.message


def test_a_fixed_size_that_is_wrong_names_both_sizes():
    with pytest.raises(ge.errors.InputError, match=r"input 'x' has size 4 in dimension 1; the declared size is 3"):
        model({"z": ("neg", ["x"])}, inputs={"x": ["N", 3]}).forward(x=np.zeros((2, 4)))


def test_a_product_alone_must_divide():
    graph = model({"z": ("neg", ["x"])}, inputs={"x": ["2*N"]})
    assert graph.forward(x=np.zeros(4))["out"].shape == (4,)
    with pytest.raises(
        ge.errors.InputError, match=r"GE405: input 'x' has size 3 in dimension 0, which '2\*N' cannot be"
    ):
        graph.forward(x=np.zeros(3))


def test_a_symbol_that_occurs_twice_in_one_input_must_agree():
    graph = model({"z": ("sum", ["x"])}, inputs={"x": ["N", "N"]})
    assert graph.forward(x=np.ones((2, 2)))["out"] == 4.0
    with pytest.raises(ge.errors.InputError, match="GE405"):
        graph.forward(x=np.ones((2, 3)))


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ("float64", np.float32(1.5)),
        ("float64", 3),
        ("float64", True),
        ("float32", np.float64(1.5)),
        ("int64", np.int8(3)),
        ("int64", True),
        ("bool", True),
    ],
)
def test_values_of_a_kind_that_fits_are_converted(declared, value):
    run = model({"z": ("mul", ["x", 1])}, inputs={"x": {"shape": [], "dtype": declared}}).forward(x=value)
    assert run.value("x").dtype == np.dtype(declared)
    assert run.value("x") == value


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ("int64", 1.5),
        ("int64", 1.0),
        ("bool", 1),
        ("float64", 1j),
        ("float64", "1"),
        ("float64", {}),
    ],
)
def test_values_of_another_kind_are_refused(declared, value):
    graph = model({"z": ("mul", ["x", 1])}, inputs={"x": {"shape": [], "dtype": declared}})
    with pytest.raises(ge.errors.InputError, match=f"GE404: input 'x' must be {declared}, not "):
        graph.forward(x=value)


def test_no_value_is_refused_as_an_empty_cell():
    graph = model({"z": ("mul", ["x", 1])}, inputs={"x": {"shape": []}})
    with pytest.raises(ge.errors.InputError, match="GE404: input 'x' has no value at position 0"):
        graph.forward(x=None)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("int8", 300), ("int64", 0.5), ("bool", 2), ("uint8", -1), ("int32", "NaN"), ("float32", 1e300)],
)
def test_a_constant_or_an_initial_value_that_its_dtype_does_not_have_is_a_problem_of_the_file(dtype, value):
    constant = {"c": ("constant", [], {"value": value, "dtype": dtype}), "z": ("mul", ["c", 1])}
    assert problem_of(document(constant)).code == "GE301"
    declared = {"shape": [], "dtype": dtype, "initializer": {"type": "constant", "value": value}}
    found = problem_of(document({"z": ("mul", ["s", 1])}, state={"s": declared}))
    assert (found.code, found.pointer) == ("GE302", "/state/s/initializer")


@pytest.mark.parametrize(
    ("declared", "update", "shown"),
    [
        ({"shape": [2]}, "total", "float64(2,), but its update is float64()"),
        ({"shape": [3]}, "x", "float64(3,), but its update is float64(N,)"),
        ({"shape": [], "dtype": "int64"}, "total", "int64(), but its update is float64()"),
        ({"shape": [], "dtype": "float32"}, "total", "float32(), but its update is float64()"),
        ({"shape": []}, "call", "float64(), but its update is float64(N,)"),
    ],
)
def test_a_state_whose_update_is_of_another_shape_or_dtype_is_a_problem_of_the_file(declared, update, shown):
    function = {"inputs": {"a": {}}, "nodes": [node("n", "neg", ["a"])], "outputs": {"out": "n"}}
    nodes = {"total": ("sum", ["x"]), "call": ("f", ["x"])}
    state = {"s": {**declared, "initializer": {"type": "zeros"}, "update": update}}
    found = problem_of(document(nodes, inputs={"x": ["N"]}, functions={"f": function}, state=state))
    assert (found.code, found.pointer) == ("GE301", "/state/s/update")
    assert f"state 's' is {shown}" in found.message


@pytest.mark.parametrize("shape", [[-1, -1], [-1, 2, -1], [0, -1], [1] * 65, [1] * 100_000])
def test_a_shape_that_no_array_can_have_is_a_problem_of_the_file(shape):
    for inputs in ({"x": ["N"]}, {"x": [1]}):
        assert problem_of(document({"z": ("reshape", ["x"], {"shape": shape})}, inputs=inputs)).code == "GE301"


def test_a_ragged_list_is_refused():
    with pytest.raises(ge.errors.InputError, match="GE404: input 'x' is not a regular array of numbers"):
        model({"z": ("neg", ["x"])}, inputs={"x": ["N", "M"]}).forward(x=[[1.0], [2.0, 3.0]])


def test_an_empty_list_is_an_empty_array():
    assert model({"z": ("neg", ["x"])}, inputs={"x": {"shape": ["N"], "dtype": "int64"}}).forward(x=[])[
        "out"
    ].shape == (0,)


# ---------------------------------------------------------------- a graph as a file


def test_a_graph_is_saved_and_loads_again_as_the_same_graph(tmp_path):
    nodes = {"m": ("mean", ["x"], {"axis": [0], "keepdims": True}), "z": ("sub", {"y": "m", "x": 2})}
    first = model(nodes, inputs={"x": ["N", 3]}, parameters={"p": [1.0, 2.0]}).graph
    first.save(tmp_path / "graph.json")
    again = ge.load(tmp_path / "graph.json").graph
    assert again.nodes == first.nodes
    assert again.types == first.types
    assert again.outputs == first.outputs


def test_a_chain_of_100000_nodes_loads_runs_and_differentiates_under_the_default_recursion_limit():
    assert sys.getrecursionlimit() <= 1000 + 100
    long = ge.Model.from_dict(chain(100_000))
    assert names(long.graph)[:3] == ["n0", "n1", "n2"]
    run = long.forward()
    assert run["out"] == 2.0
    assert run.backward() == {"x": 1.0}


def test_a_chain_is_saved_and_loaded_without_recursion(tmp_path):
    first = ge.Model.from_dict(chain(5_000))
    first.save(tmp_path / "chain.json")
    assert ge.load(tmp_path / "chain.json").fingerprint == first.fingerprint


def test_a_graph_of_one_wide_layer_is_summed(tmp_path):
    nodes = {f"n{i}": ("mul", ["x", float(i)]) for i in range(100)}
    nodes |= {f"s{i}": ("add", [f"s{i - 1}" if i else "x", f"n{i}"]) for i in range(100)}
    run = ge.Model.from_dict(orjson.loads(orjson.dumps(document(nodes, parameters={"x": 1.0})))).forward()
    assert run["out"] == 1 + sum(range(100))
    assert run.backward()["x"] == 1 + sum(range(100))
