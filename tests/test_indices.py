"""Counting, choosing the first and putting at indices: `arange`, `topk` and `scatter`, compared with PyTorch."""

import numpy as np
import pytest
from documents import document, training

import graphengine as ge
from graphengine.backends.numpy.plan import Plan
from graphengine.limits import Limits
from graphengine.transform.directional import curvature


def counting(limits, **options):
    nodes = {"n": ("size", ["x"], {"axis": 0}), "z": ("arange", limits)}
    return ge.Model.from_dict(document(nodes, {"z": "z"}, inputs={"x": ["T"]}), **options)


@pytest.mark.parametrize(
    ("limits", "shape"),
    [
        (["n"], ("T",)),
        ([0, "n"], ("T",)),
        ({"stop": "n"}, ("T",)),
        ([1, "n"], (None,)),
        (["n", 0, -1], (None,)),
        ([2, 11, 3], (3,)),
    ],
)
def test_integers_are_counted_up_to_the_size_of_an_array(limits, shape):
    model = counting(limits)
    assert model.graph.types["z"].shape == shape
    given = list(limits.values()) if isinstance(limits, dict) else limits
    for size in (4, 7):
        expected = np.arange(*[size if each == "n" else each for each in given])
        found = model.predict(x=np.zeros(size))["z"]
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.int64


@pytest.mark.parametrize(
    ("limits", "reason"), [([2, 5, 0], "must not be 0"), ([1.5], "single integer"), (["x"], "single integer")]
)
def test_limits_that_are_no_integers_and_a_step_of_0_are_refused(limits, reason):
    with pytest.raises(ge.errors.InvalidModelError, match=rf"GE301.*{reason}"):
        counting(limits)


def test_a_number_of_integers_that_is_a_value_is_counted_before_it_is_made():
    content = document({"z": ("arange", ["n"])}, {"z": "z"}, inputs={"n": {"shape": [], "dtype": "int64"}})
    model = ge.Model.from_dict(content, limits=Limits(array_bytes=2**20))
    assert model.predict(n=1000)["z"].sum() == 499_500
    for size in (2**18, 2**62):
        with pytest.raises(ge.errors.InputError, match="GE133: node 'z"):
            model.predict(n=size)


def test_numbers_of_samples_are_those_of_all_samples_in_batches_and_parts():
    nodes = {
        "n": ("size", ["x"], {"axis": 0}),
        "number": ("arange", ["n"]),
        "scaled": ("mul", ["w", "x"]),
        "product": ("mul", ["scaled", "number"]),
        "loss": ("mean", ["product"]),
    }
    settings = training(batch_size=4, accumulate=2, shuffle=False)
    content = document(nodes, {"loss": "loss"}, inputs={"x": ["N"]}, parameters={"w": 2.0}, training=settings)
    model, x = ge.Model.from_dict(content), np.array([1.0, 4, 9, 16])
    assert model.evaluate({"x": x}).loss == pytest.approx(np.mean(2 * x * np.arange(4)))
    assert model.train({"x": x}).losses == pytest.approx([np.mean(2 * x * np.arange(4))])


def test_a_state_that_counts_is_no_size_within_its_loop():
    body = {
        "inputs": {"count": {}, "x": {}},
        "nodes": [
            {"id": "next", "op": "add", "inputs": ["count", 1]},
            {"id": "numbers", "op": "arange", "inputs": ["count"]},
            {"id": "total", "op": "sum", "inputs": ["numbers"]},
        ],
        "outputs": {"count": "next", "total": "total"},
    }
    nodes = {
        "one": ("constant", [], {"value": 1, "dtype": "int64"}),
        "z": ("scan", ["one", "x"], {"function": "step", "carry": ["count"], "sequences": ["x"]}),
    }
    content = document(nodes, {"z": "z:total"}, inputs={"x": ["T"]}, functions={"step": body})
    assert ge.Model.from_dict(content).predict(x=np.zeros(4))["z"].tolist() == [0, 1, 3, 6]


def test_more_values_than_there_are_cannot_be_taken():
    with pytest.raises(ge.errors.InvalidModelError, match=r"GE301.*size 3 has no 4 values"):
        ge.Model.from_dict(document({"z": ("topk", ["x"], {"k": 4})}, {"z": "z"}, inputs={"x": [3]}))
    model = ge.Model.from_dict(document({"z": ("topk", ["x"], {"k": 4})}, {"z": "z"}, inputs={"x": ["N"]}))
    with pytest.raises(ge.errors.GraphEngineError, match="size 3 has no 4 values"):
        model.forward(x=np.zeros(3))


def test_of_equal_values_the_first_come_first():
    x = np.array([2.0, 5, 2, 5, 1])
    for largest, expected in ((True, [1, 3, 0]), (False, [4, 0, 2])):
        _, places = ge.ops.topk(x, k=3, largest=largest)
        assert places.tolist() == expected


def scattering(reduction):
    nodes = {
        "z": ("scatter", ["x", "at", "updates"], {"axis": 1, "reduction": reduction}),
        "weighted": ("mul", ["z", "w"]),
        "loss": ("sum", ["weighted"]),
    }
    inputs = {"x": ["N", "K"], "at": {"shape": ["N", "M"], "dtype": "int64"}, "updates": ["N", "M"], "w": ["N", "K"]}
    return ge.Model.from_dict(document(nodes, {"z": "z", "loss": "loss"}, inputs=inputs))


def given(generator, *, repeated):
    at = generator.integers(0, 4, (3, 6)) if repeated else np.argsort(generator.random((3, 6)), axis=1)[:, :4]
    numbers = {"x": generator.normal(size=(3, 6)), "w": generator.normal(size=(3, 6))}
    return {**numbers, "updates": generator.normal(size=at.shape), "at": at}


@pytest.mark.extra("torch")
@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
def test_values_and_gradients_of_a_scatter_are_those_of_pytorch(reduction):
    import torch

    values = given(np.random.default_rng(5), repeated=reduction != "none")
    if reduction in ("max", "min"):
        values["updates"][1, :3] = values["x"][1, values["at"][1, :3]]  # equal values share
    tensors = {name: torch.tensor(value, requires_grad=value.dtype.kind == "f") for name, value in values.items()}
    x, at, updates = tensors["x"], tensors["at"], tensors["updates"]
    if reduction == "none":
        z = x.scatter(1, at, updates)
    else:
        name = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}[reduction]
        z = x.scatter_reduce(1, at, updates, reduce=name, include_self=True)
    (z * tensors["w"]).sum().backward()
    run = scattering(reduction).forward(values)
    np.testing.assert_allclose(run["z"], z.detach().numpy(), rtol=1e-12, atol=1e-14)
    found = run.backward(of="loss", wrt=["x", "updates"])
    for name, slope in found.items():
        np.testing.assert_allclose(slope, tensors[name].grad.numpy(), rtol=1e-12, atol=1e-14)


def test_the_last_of_several_values_put_at_one_place_counts_and_has_the_gradient():
    values = {"x": np.zeros((1, 3)), "at": np.array([[1, 2, 1, -1]]), "updates": np.array([[1.0, 2, 3, 4]])}
    run = scattering("none").forward(values | {"w": np.array([[5.0, 6, 7]])})
    assert run["z"].tolist() == [[0, 3, 4]]
    found = run.backward(of="loss", wrt=["x", "updates"])
    assert found["x"].tolist() == [[5, 0, 0]]
    assert found["updates"].tolist() == [[0, 0, 6, 7]]


def test_factors_that_are_0_have_the_product_of_the_others_as_their_slope_in_every_order():
    values = {"x": np.array([[2.0, 5, 7]]), "at": np.array([[0, 1, 0, 0]]), "updates": np.array([[0.0, 0, 3, 0]])}
    values["w"] = np.ones((1, 3))
    model = scattering("mul")
    found = model.forward(values).backward(of="loss", wrt=["x", "updates"])
    assert found["x"].tolist() == [[0, 0, 1]]
    assert found["updates"].tolist() == [[0, 5, 0, 0]]
    product = curvature(model.graph, "loss", ["updates"], ["along"])
    sizes = {"N": 1, "K": 3, "M": 4}
    (column,) = Plan(product.with_sizes(sizes)).run({**values, "along": np.array([[1.0, 0, 0, 0]])}).values()
    assert column.tolist() == [[0, 0, 0, 6]]  # x0 times the third factor
