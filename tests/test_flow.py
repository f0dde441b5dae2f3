"""explain-gradient: paths and blocks, against the gradients of the engine and against networkx."""

import networkx as nx
import numpy as np
import pytest
from documents import MODELS, SHIPPED, document, model, parameter, write
from test_cli import cli, cli_json

import graphengine as ge
from graphengine.traces.flow import explain_gradient


def flow_of(built, name="w", of="out"):
    (flow,) = explain_gradient(built.graph, of, [name])
    return flow


def test_the_path_of_the_lesson():
    built = ge.load(MODELS / "linreg.json")
    (flow,) = explain_gradient(built.graph, "loss")
    assert flow.paths == (("theta", "y_hat", "error", "sq", "loss"),)
    assert flow.text == "theta gets a gradient from loss along one path"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_is_trained_in_the_shipped_models_gets_a_gradient(path):
    graph = ge.load(path).graph
    loss = ge.load(path).default_loss()
    for flow in explain_gradient(graph, loss):
        assert flow.count > 0 or not flow.trainable
        lengths = [len(stops) for stops in flow.paths]
        assert lengths == sorted(lengths)


def test_the_number_of_paths_is_that_of_networkx():
    nodes = {
        "n0": ("mul", ["w", 2.0]),
        "n1": ("add", ["n0", "w"]),
        "n2": ("mul", ["n1", "n0"]),
        "n3": ("add", ["n2", "n1"]),
    }
    nodes |= {"n4": ("mul", ["n3", "n2"]), "out": ("add", ["n4", "n0"])}
    flow = flow_of(model(nodes, parameters={"w": 1.0}))
    edges = [(ref, name) for name, (_, refs) in nodes.items() for ref in refs if isinstance(ref, str)]
    paths = sorted(nx.all_simple_paths(nx.DiGraph(edges), "w", "out"), key=len)
    assert flow.count == len(paths)
    assert {len(path) for path in flow.paths} == {len(path) for path in paths[:5]}
    assert all(list(path) in paths for path in flow.paths)


@pytest.mark.parametrize(
    ("nodes", "block", "reason"),
    [
        ({"c": ("cast", ["w"], {"dtype": "int64"}), "out": ("mul", ["c", 2.0])}, ("c", "w"), "'c' is int64"),
        ({"c": ("sign", ["w"]), "out": ("mul", ["c", 2.0])}, ("c", "w"), "derivative is 0 everywhere"),
        ({"c": ("greater", ["w", 0.0]), "out": ("where", ["c", 1.0, 2.0])}, ("c", "w"), "'c' is bool"),
    ],
)
def test_what_blocks_a_gradient_is_named_with_the_reason(nodes, block, reason):
    flow = flow_of(model(nodes, parameters={"w": 1.5}))
    assert (flow.count, flow.paths) == (0, ())
    (found,) = flow.blocks
    assert (found.node, found.operand) == block
    assert reason in found.reason


def test_ops_without_backward_and_inputs_without_gradient_block():
    @ge.register("lesson.floor")
    class Floor(ge.Node):
        """Largest integer below x."""

        def forward(self, x):
            return np.floor(x)

    @ge.register("lesson.first")
    class First(ge.Node):
        """x; y is only looked at."""

        def forward(self, x, y):
            return x + 0 * y

        def backward(self, grad):
            return grad, None

    nodes = {"f": ("lesson.floor", ["a"]), "out": ("lesson.first", ["f", "b"])}
    imports = {"core": 1, "lesson": 1}
    built = ge.Model.from_dict(document(nodes, parameters={"a": 1.5, "b": 1.0}, opset_imports=imports))
    reasons = {flow.toward: [block.reason for block in flow.blocks] for flow in explain_gradient(built.graph, "out")}
    assert reasons == {"a": ["the op has no backward"], "b": ["its backward gives no gradient here"]}


def test_one_open_path_is_enough():
    nodes = {"s": ("sign", ["w"]), "out": ("mul", ["s", "w"])}
    flow = flow_of(model(nodes, parameters={"w": 1.5}))
    assert (flow.count, flow.blocks) == (1, ())


def test_a_value_that_the_loss_does_not_depend_on_and_one_that_is_kept():
    nodes = {"aside": ("neg", ["w"]), "out": ("mul", ["k", 2.0])}
    built = model(nodes, {"out": "out"}, parameters={"w": 1.0, "k": parameter(2.0, trainable=False)})
    reported = [flow.text for flow in explain_gradient(built.graph, "out")]
    assert reported == [
        "w gets no gradient from out, which does not depend on it",
        "k gets a gradient from out along one path; it is not trainable, so no update uses it",
    ]


def test_a_graph_with_very_many_paths_is_counted():
    nodes = {"n0": ("add", ["w", "w"])}
    nodes |= {f"a{i}": ("neg", [f"n{i}"]) for i in range(100)} | {f"b{i}": ("tanh", [f"n{i}"]) for i in range(100)}
    nodes |= {f"n{i + 1}": ("add", [f"a{i}", f"b{i}"]) for i in range(100)}
    assert flow_of(model(nodes, {"out": "n100"}, parameters={"w": 1.0})).count == 2**100


def test_the_command_reports_paths_and_blocks(tmp_path):
    assert cli("explain-gradient", "linreg", "--wrt", "theta").stdout == (
        "theta gets a gradient from loss along one path\n  theta -> y_hat -> error -> sq -> loss\n"
    )
    content = document({"s": ("sign", ["w"]), "out": ("mul", ["s", 2.0])}, parameters={"w": 1.0})
    reported = cli("explain-gradient", write(tmp_path / "m.json", content)).stdout
    assert "  blocked at node 's' (sign), after 'w': its derivative is 0 everywhere\n" in reported
    assert cli_json("explain-gradient", tmp_path / "m.json")["gradients"][0]["blocks"][0]["node"] == "s"


def test_a_value_that_is_not_there_is_an_error():
    assert "GE402" in cli("explain-gradient", "linreg", "--wrt", "thta", code=2).stderr
    assert "GE411" in cli("explain-gradient", "linreg", "--of", "prediction", code=1).stderr
