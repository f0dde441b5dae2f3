"""Properties of random valid graphs: they hold whatever the graph is."""

import random

import numpy as np
import pytest
from documents import document
from hypothesis import given, settings
from hypothesis import strategies as st

import graphengine as ge
from graphengine.backends.numpy.plan import Plan
from graphengine.backends.reference.executor import Executor
from graphengine.format.reading import parse_model
from graphengine.format.saving import graph_document
from graphengine.format.writing import dump_model
from graphengine.ir.binding import bind_sizes
from graphengine.ir.memory import memory_of
from graphengine.ops.shapes import broadcast_shapes, size_value
from graphengine.transform.gradient import gradient
from graphengine.transform.own_backward import gradient_bound

N = 4
SHAPES = [(), (3,), ("N",), (2, 3), (2, 1), ("N", 3), (1,)]
PAIRS = ["add", "sub", "mul"]
SINGLES = ["neg", "square"]
REDUCTIONS = ["sum", "mean"]
NUMBERS = st.floats(-2, 2, allow_subnormal=False, width=32)
few = settings(deadline=None, derandomize=True)


def _fits(first, second):
    try:
        return broadcast_shapes([first, second])
    except ValueError:
        return None


@st.composite
def graphs(draw):
    """The content of a model file and values for its inputs: any dag of a few nodes, its loss a scalar."""
    shapes, content, values = {}, document({"loss": ("neg", ["loss"])}), {}
    for index, shape in enumerate(draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3))):
        shapes[f"x{index}"] = shape
        content["inputs"][f"x{index}"] = {"shape": list(shape)}
        sizes = [size_value(size, {"N": N}) for size in shape]
        numbers = draw(st.lists(NUMBERS, min_size=int(np.prod(sizes)), max_size=int(np.prod(sizes))))
        values[f"x{index}"] = np.reshape(numbers, sizes)
    nodes = {}
    for index in range(draw(st.integers(1, 6))):
        first = draw(st.sampled_from(sorted(shapes)))
        partners = [name for name in sorted(shapes) if _fits(shapes[first], shapes[name]) is not None]
        match draw(st.sampled_from(["pair", "single", "reduction", "literal"])):
            case "pair":
                second = draw(st.sampled_from(partners))
                nodes[f"n{index}"] = (draw(st.sampled_from(PAIRS)), [first, second])
                shapes[f"n{index}"] = _fits(shapes[first], shapes[second])
            case "single":
                nodes[f"n{index}"] = (draw(st.sampled_from(SINGLES)), [first])
                shapes[f"n{index}"] = shapes[first]
            case "literal":
                op, operands = draw(st.sampled_from([*PAIRS, "div"])), [first, draw(st.sampled_from([2, -0.5, 3.0]))]
                nodes[f"n{index}"] = (op, operands)
                shapes[f"n{index}"] = shapes[first]
            case "reduction":
                rank, keep = len(shapes[first]), draw(st.booleans())
                axis = draw(st.integers(-rank, rank - 1)) if rank else None
                nodes[f"n{index}"] = (draw(st.sampled_from(REDUCTIONS)), [first], {"axis": axis, "keepdims": keep})
                shapes[f"n{index}"] = _reduced(shapes[first], axis, keep)
    last = f"n{len(nodes) - 1}"
    nodes["loss"] = ("mean", [last])
    return document(nodes, {"loss": "loss", "last": last}, inputs=content["inputs"]), values


def _reduced(shape, axis, keep):
    axes = {axis % len(shape)} if shape else set()
    return tuple(1 if index in axes else size for index, size in enumerate(shape) if keep or index not in axes)


def evaluated(graph, values):
    """The loss, by calling the nodes one after another without the executor."""
    known = dict(values)
    for node in graph.nodes:
        known[node.id] = node.node.forward(*[known.get(ref, ref) for ref in node.inputs])
    return known["loss"]


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")  # random shapes broadcast crosswise
@few
@given(graphs(), st.randoms(use_true_random=False))
def test_any_order_of_the_nodes_gives_the_same_bits(graph, shuffler: random.Random):
    content, values = graph
    shuffled = {**content, "nodes": shuffler.sample(content["nodes"], len(content["nodes"]))}
    first, second = (ge.Model.from_dict(one) for one in (content, shuffled))
    assert first.fingerprint == second.fingerprint
    assert first.graph.nodes == second.graph.nodes
    one, two = first.forward(values), second.forward(values)
    for name in content["outputs"]:
        assert one[name].tobytes() == two[name].tobytes()
    for name, slope in one.backward(of="loss", wrt=list(values)).items():
        assert slope.tobytes() == two.backward(of="loss", wrt=list(values))[name].tobytes()


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")  # random shapes broadcast crosswise
@few
@given(graphs(), st.integers(1, 5))
def test_the_backward_passes_of_single_nodes_bound_the_memory_of_the_gradient(graph, size):
    content, values = graph
    model = ge.Model.from_dict(content)
    derived = gradient(model.graph, of="loss", wrt=list(values), also=model.graph.outputs)
    assert memory_of(derived, {"N": size}) <= gradient_bound(model.graph, {"N": size})


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")  # random shapes broadcast crosswise
@few
@given(graphs())
def test_the_gradient_is_the_slope_of_a_complex_step(graph):
    content, values = graph
    model = ge.Model.from_dict(content)
    gradients = model.forward(values).backward(of="loss", wrt=list(values))
    directions = {name: np.cos(np.arange(value.size)).reshape(value.shape) for name, value in values.items()}
    step = 1e-30
    slope = evaluated(model.graph, {n: v + 1j * step * directions[n] for n, v in values.items()}).imag / step
    terms = np.concatenate([np.ravel(gradients[name] * directions[name]) for name in values])
    np.testing.assert_allclose(np.sum(terms), slope, rtol=1e-9, atol=1e-9 * max(1.0, np.sum(np.abs(terms))))


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")  # random shapes broadcast crosswise
@few
@given(graphs())
def test_the_executor_gives_what_the_nodes_give(graph):
    content, values = graph
    model = ge.Model.from_dict(content)
    assert model.forward(values)["loss"].tobytes() == np.asarray(evaluated(model.graph, values)).tobytes()


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")  # random shapes broadcast crosswise
@few
@given(graphs())
def test_predict_gives_the_bits_of_forward(graph):
    content, values = graph
    model = ge.Model.from_dict(content)
    run, predicted = model.forward(values), model.predict(values)
    assert set(predicted) == {"loss", "last"}
    assert all(predicted[name].tobytes() == run[name].tobytes() for name in predicted)


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")  # random shapes broadcast crosswise
@few
@given(graphs())
def test_inferred_types_are_the_real_ones(graph):
    content, values = graph
    run = ge.Model.from_dict(content).forward(values)
    for name, kind in run.graph.types.items():
        value = run.value(name)
        assert (tuple(size_value(size, {"N": N}) for size in kind.shape), kind.dtype) == (value.shape, value.dtype)


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")  # random shapes broadcast crosswise
@few
@given(graphs())
def test_a_file_round_trip_keeps_fingerprint_bytes_and_values(graph):
    content, values = graph
    first = ge.Model.from_dict(content)
    saved = dump_model(first.as_document())
    second = ge.Model(*parse_model(saved))
    assert second.fingerprint == first.fingerprint
    assert dump_model(second.as_document()) == saved
    assert second.forward(values)["loss"].tobytes() == first.forward(values)["loss"].tobytes()


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")  # random shapes broadcast crosswise
@few
@given(graphs())
def test_a_saved_graph_is_the_same_graph(graph):
    content, _ = graph
    first = ge.Model.from_dict(content).graph
    second = ge.Model(*parse_model(dump_model(graph_document(first)))).graph
    assert (second.nodes, second.types, second.outputs) == (first.nodes, first.types, first.outputs)


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")  # random shapes broadcast crosswise
@few
@given(graphs())
def test_recorded_saved_and_compiled_gradients_have_the_bits_of_called_ones(graph):
    content, values = graph
    model = ge.Model.from_dict(content)
    wrt = list(model.graph.inputs)
    called = model.forward(values).backward("loss", wrt)
    recorded = gradient(model.graph, "loss", wrt, also=["loss"])
    sizes = bind_sizes({name: np.shape(value) for name, value in values.items()}, model.graph.types)
    known = {name: value for name, value in values.items() if name in recorded.inputs}
    compiled = Plan(recorded.with_sizes(sizes)).run(known)
    executor = Executor(recorded)
    slots = executor.forward(known)
    saved = ge.Model(*parse_model(dump_model(graph_document(recorded)))).predict(known)
    assert np.asarray(compiled["loss"]).tobytes() == model.predict(values)["loss"].tobytes()
    for name in wrt:
        output = f"d_loss/d_{name}"
        assert np.asarray(slots[executor.slot_of[recorded.outputs[output]]]).tobytes() == called[name].tobytes()
        assert np.asarray(compiled[output]).tobytes() == called[name].tobytes()
        assert saved[output].tobytes() == called[name].tobytes()
