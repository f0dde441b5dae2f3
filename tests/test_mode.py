"""State, mode and keys: what differs between training and inference, and that it is the same again on every run."""

import hashlib

import numpy as np
import pytest
from documents import document, training

import graphengine as ge
from graphengine.format.saving import graph_document
from graphengine.ops.shapes import ArrayType
from graphengine.training.loop import Trainer


@pytest.fixture(autouse=True)
def _nodes():
    """A random op that is off in inference, and one that keeps a running mean: dropout and batch_norm in small."""

    @ge.register("test.noisy")
    class Noisy(ge.Node):
        """x times a number from the key in training, else x."""

        random = True
        training: bool = False

        def infer(self, x, key=None):
            return ArrayType(x.shape, x.dtype)

        def forward(self, x, key=None):
            return x * factor(key) if self.training else x

        def backward(self, grad, key):
            return (grad * factor(key) if self.training else grad), None

    @ge.register("test.draw")
    class Draw(ge.Node):
        """The two numbers of the key."""

        random = True

        def forward(self, key=None):
            return key

    @ge.register("test.running")
    class Running(ge.Node):
        """x minus its mean in training, minus the running mean in inference; and the new running mean."""

        training: bool = False
        outputs = ("out", "new_mean")

        def forward(self, x, running_mean):
            new = 0.5 * running_mean + 0.5 * np.mean(x)
            return x - (np.mean(x) if self.training else running_mean), new

        def backward(self, grad_out):
            return grad_out, None


def factor(key):
    return 1.0 + float(key[1]) / 8


def noise(section="training", **more):
    """loss = (noisy(theta) - x)^2; the state `last` keeps the key of the last iteration."""
    nodes = {
        "noisy": ("test.noisy", ["theta"]),
        "key": ("test.draw", []),
        "loss_": ("sub", ["noisy", "x"]),
        "loss": ("square", ["loss_"]),
    }
    return document(
        nodes,
        {"loss": "loss", "key": "key"},
        inputs={"x": []},
        parameters={"theta": 1.0},
        opset_imports={"core": 1, "test": 1},
        state={"last": {"shape": [2], "dtype": "uint64", "initializer": {"type": "zeros"}, "update": "key"}},
        training=training(epochs=3, data="d", **more),
        data={"d": {"type": "inline", "values": {"x": 2.0}}},
    )


def ids(node):
    return node.id


def first(seed, stream):
    return int.from_bytes(hashlib.sha256(f"{seed}/{stream}".encode()).digest()[:8], "little")


def test_a_key_outside_training_is_that_of_seed_and_iteration_0():
    model = ge.Model.from_dict(noise(seed=7))
    for _ in range(3):  # the reference executor, then a plan
        assert model.forward(x=2.0)["key"].tolist() == [first(0, "key"), 0]
    assert model.predict(x=2.0, outputs=["key"])["key"].dtype == np.uint64


def test_a_key_in_training_is_that_of_seed_iteration_and_node():
    model = ge.Model.from_dict(noise(seed=7))
    seen = [(it.iteration, model.values["last"].tolist()) for it in model.iterate()]
    assert seen == [(number, [first(7, "key"), number]) for number in (1, 2, 3)]
    model.train(seed=8, epochs=1)
    assert model.values["last"].tolist() == [first(8, "key"), 1]


def test_two_random_nodes_have_two_keys_and_every_run_the_same_ones():
    nodes = {"a": ("test.draw", []), "b": ("test.draw", [])}
    content = document(nodes, {"a": "a", "b": "b"}, opset_imports={"core": 1, "test": 1})
    one, two = (ge.Model.from_dict(content).predict() for _ in range(2))
    assert one["a"].tolist() != one["b"].tolist()
    assert {name: value.tolist() for name, value in one.items()} == {
        name: value.tolist() for name, value in two.items()
    }


def test_the_order_and_number_of_other_nodes_change_no_key():
    nodes = {"a": ("test.draw", []), "b": ("test.draw", [])}
    imports = {"core": 1, "test": 1}
    alone = ge.Model.from_dict(document({"a": nodes["a"]}, {"a": "a"}, opset_imports=imports)).predict()["a"]
    among = ge.Model.from_dict(document(dict(reversed(nodes.items())), {"a": "a"}, opset_imports=imports)).predict()[
        "a"
    ]
    assert alone.tolist() == among.tolist()


def test_a_key_of_the_file_keeps_its_seed_and_gets_the_iteration():
    content = noise()
    content["nodes"].append({"id": "own", "op": "random_key", "inputs": [], "attributes": {"stream": "s", "seed": 5}})
    content["nodes"][1]["inputs"] = ["own"]
    model = ge.Model.from_dict(content)
    assert model.predict(x=2.0)["key"].tolist() == [first(5, "s"), 0]
    model.train()
    assert model.values["last"].tolist() == [first(5, "s"), 3]


def test_training_mode_is_in_the_step_and_nowhere_else():
    model = ge.Model.from_dict(noise(learning_rate=0.0))
    losses = [float(it.loss) for it in model.iterate()]
    assert losses == [(1 + number / 8 - 2) ** 2 for number in (1, 2, 3)]
    assert model.forward(x=2.0)["loss"] == 1.0
    assert model.forward(x=2.0).backward() == {"theta": -2.0}
    modes = {node.node.training for node in model.training_step().graph.nodes if node.op == "test.noisy"}
    assert modes == {True}
    assert [node.node.training for node in model.graph.nodes if node.op == "test.noisy"] == [False]


@pytest.mark.parametrize("reference", [False, True])
def test_a_training_with_keys_and_state_is_the_same_by_plan_and_by_reference(reference):
    model = ge.Model.from_dict(noise(learning_rate=0.01))
    trainer = model.trainer()
    assert isinstance(trainer, Trainer)
    trainer.stepper.reference = reference
    for _ in trainer.chunks():
        pass
    theta = 1.0
    for number in (1, 2, 3):
        slope = 1 + number / 8
        theta -= 0.01 * 2 * (slope * theta - 2) * slope
    assert float(model.parameters["theta"]) == pytest.approx(theta, rel=1e-14)


def test_a_running_statistic_is_updated_by_training_and_used_by_inference():
    nodes = {"centred": ("test.running", ["x", "mean"]), "p": ("mul", ["theta", "centred"]), "loss": ("mean", ["p"])}
    content = document(
        nodes,
        {"centred": "centred", "loss": "loss"},
        inputs={"x": ["N"]},
        parameters={"theta": 1.0},
        opset_imports={"core": 1, "test": 1},
        state={"mean": {"shape": [], "initializer": {"type": "zeros"}, "update": "centred:new_mean"}},
        training=training(epochs=2, data="d"),
        data={"d": {"type": "inline", "values": {"x": [1.0, 3.0]}}},
    )
    model = ge.Model.from_dict(content)
    assert model.predict(x=[1.0, 3.0])["centred"].tolist() == [1.0, 3.0]
    model.train()
    assert model.values["mean"] == 1.5  # 0 -> 1 -> 1.5
    assert model.predict(x=[1.0, 3.0])["centred"].tolist() == [-0.5, 1.5]
    assert model.as_document().state["mean"].value == 1.5


def test_a_saved_step_with_modes_and_keys_is_the_same_graph(tmp_path):
    step = ge.Model.from_dict(noise(seed=7)).training_step().graph
    step.save(tmp_path / "step.json")
    again = ge.load(tmp_path / "step.json")
    assert sorted(again.graph.nodes, key=ids) == sorted(step.nodes, key=ids)
    run = again.forward(x=2.0, learning_rate=0.0, iteration=4)
    assert run["new_last"].tolist() == [first(7, "key"), 4]


def test_a_supplied_key_takes_no_name_of_the_file():
    nodes = {"a": ("test.draw", []), "a.key": ("neg", [1.0])}
    model = ge.Model.from_dict(document(nodes, {"a": "a", "n": "a.key"}, opset_imports={"core": 1, "test": 1}))
    assert model.predict()["n"] == -1.0
    assert model.predict()["a"].tolist() == [first(0, "a"), 0]


def test_the_iteration_is_exact_where_single_precision_counts_no_further():
    content = noise() | {"dtype": "float32"}
    step = ge.Model.from_dict(content).training_step().graph
    assert step.types["iteration"] == ArrayType((), np.dtype(np.float64))
    number = 2**24 + 1
    executor = ge.Model(graph_document(step))
    assert executor.forward(x=2.0, learning_rate=0.0, iteration=number)["new_last"].tolist()[1] == number
