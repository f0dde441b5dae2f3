"""How much memory a graph may ask for: by its shapes, and by sizes that are values and show only when it runs."""

import tracemalloc

import numpy as np
import pytest
from documents import document, training

import graphengine as ge
from graphengine.compile import Plan
from graphengine.limits import Limits
from graphengine.registry import OPS

MEGABYTE = Limits(array_bytes=2**20)
WITH_SIZES = sorted(name for name, op in OPS.items() if "sizes" in op.signature.inputs)
SIZES = {"shape": [2], "dtype": "int64"}


def one_of_sizes(op):
    """A model of one node whose shape is the input n."""
    reference = {"reshape": "xs", "sum_to": "xs"}.get(op, "x")
    inputs = {"key": "key", "sizes": "n"} if OPS[op].cls.random else {"x": reference, "sizes": "n"}
    nodes = {"key": ("random_key", [], {"stream": "s"}), "xs": ("broadcast_to", ["x", "n"]), "z": (op, inputs)}
    return ge.Model.from_dict(document(nodes, inputs={"x": [], "n": SIZES}), limits=MEGABYTE)


@pytest.mark.parametrize("op", WITH_SIZES)
def test_sizes_that_are_values_are_refused_before_anything_of_them_is_made(op):
    model = one_of_sizes(op)
    for _ in range(3):  # by the reference, then by a plan
        assert model.forward(x=1.0, n=[3, 4])["out"].shape == (3, 4)
    for n in ([2**10, 2**10], [2**40, 2**40]):
        for bound in (model, one_of_sizes(op)):
            tracemalloc.start()
            with pytest.raises(ge.errors.InputError, match=r"GE133: node '\w+' \(\w+\) asks for float64\(") as caught:
                bound.forward(x=1.0, n=n)["out"]
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert caught.value.problems[0].node in ("z", "xs")
            assert peak < 2**18


def doubling(count):
    """Sums of a vector of n ones, which is made anew for each."""
    nodes = {"x0": ("broadcast_to", [1.0, "n"])}
    nodes |= {f"x{i}": ("add", [f"x{i - 1}", 1.0]) for i in range(1, count)}
    return document({**nodes, "z": ("sum", [f"x{count - 1}"])}, inputs={"n": {**SIZES, "shape": [1]}})


def test_nodes_are_counted_together_anew_in_each_run():
    model = ge.Model.from_dict(doubling(10), limits=MEGABYTE)
    for _ in range(100):
        assert model.forward(n=[10_000])["out"] == 100_000.0  # 800 kB
    with pytest.raises(
        ge.errors.InputError, match=r"node 'x6' \(add\) asks for float64\(20000,\): 156.2 KiB; with that"
    ):
        model.forward(n=[20_000])["out"]
    assert model.forward(n=[10_000])["out"] == 100_000.0
    assert model.predict(n=[10_000]) == {"out": 100_000.0}
    larger = ge.Model.from_dict(doubling(10), limits=Limits(array_bytes=2**21))
    assert larger.forward(n=[20_000])["out"] == 200_000.0


def test_a_prediction_counts_only_what_it_computes():
    nodes = {"large": ("broadcast_to", ["x", "n"]), "z": ("neg", ["x"])}
    content = document(nodes, {"large": "large", "z": "z"}, inputs={"x": [], "n": {**SIZES, "shape": [1]}})
    model = ge.Model.from_dict(content, limits=MEGABYTE)
    for _ in range(3):
        assert model.predict(x=1.0, n=[2**20], outputs=["z"])["z"] == -1.0
        with pytest.raises(ge.errors.InputError, match="GE133: node 'large'"):
            model.predict(x=1.0, n=[2**20])


def test_a_shape_that_a_rule_refuses_is_refused_when_it_shows():
    nodes = {"a": ("broadcast_to", ["x", "n"]), "z": ("slice_add", ["y", "a"])}
    model = ge.Model.from_dict(document(nodes, inputs={"x": [], "y": [3], "n": {**SIZES, "shape": [1]}}))
    message = r"GE410: node 'z' \(slice_add\): updates must have the shape .* \(shapes x \(3,\), updates \(1,\)\)"
    for _ in range(3):
        assert model.forward(x=1.0, y=[1.0, 2.0, 3.0], n=[3])["out"].tolist() == [2.0, 3.0, 4.0]
        with pytest.raises(ge.errors.ExecutionError, match=message):
            model.forward(x=1.0, y=[1.0, 2.0, 3.0], n=[1])["out"]


def trained(n, **limits):
    """Ten iterations toward the mean of y with n equal parameters, which have a node each."""
    nodes = {
        "many": ("broadcast_to", ["theta", "n"]),
        "mean": ("mean", ["many"]),
        "error": ("sub", ["y", "mean"]),
        "squares": ("square", ["error"]),
        "loss": ("mean", ["squares"]),
        "spread": ("std", ["many"]),
    }
    content = document(
        nodes,
        {"loss": "loss", "spread": "spread"},
        inputs={"y": ["N"]},
        parameters={"theta": 0.0, "n": {**SIZES, "initializer": {"type": "zeros"}, "value": n, "trainable": False}},
        training=training(epochs=10, metrics={"spread": "spread"}),
    )
    return ge.Model.from_dict(content, limits=Limits(**limits))


def test_a_training_with_sizes_that_are_values_counts_each_iteration_and_gives_what_the_reference_gives():
    data = {"y": np.array([1.0, 2.0])}
    model, reference = trained([50, 100], array_bytes=2**20), trained([50, 100])
    losses = [row.loss for row in model.iterate(data)]
    trainer = reference.trainer(data)
    trainer.stepper.reference = True
    assert losses == pytest.approx([row.loss for row in trainer.iterate()], rel=1e-12)
    assert len(losses) == 10
    with pytest.raises(ge.errors.InputError, match="GE133: node 'many"):
        trained([500, 1000], array_bytes=2**20).train(data)


def test_a_graph_whose_sizes_are_known_claims_nothing_while_it_runs():
    nodes = {"s": ("shape", ["y"]), "a": ("broadcast_to", ["x", "s"]), "z": ("sum", ["a"])}
    model = ge.Model.from_dict(document(nodes, inputs={"x": [], "y": ["N", 3]}))
    plan = Plan(model.graph.with_sizes({"N": 4}))
    assert len(plan.instructions) == 2
    assert len(model.executor.forward_schedule(["z"]).steps) == len(model.graph.nodes)
