"""Large arrays are in no buffer of a plan: made anew, written over one another, forgotten, and never the caller's."""

import json
import subprocess
import sys

import numpy as np
import pytest
from documents import PEAK, SHIPPED
from test_compile import ROWS, differentiable_inputs, one_op, reference, same_bits

import graphengine as ge
from graphengine.backends import protocol
from graphengine.backends.numpy import plan as plan_module
from graphengine.backends.numpy.plan import Plan
from graphengine.ops.registry import OPS
from graphengine.transform.gradient import gradient


@pytest.mark.parametrize(("op", "attributes", "arrays"), ROWS)
def test_a_plan_of_large_arrays_gives_the_bits_of_the_reference(monkeypatch, op, attributes, arrays):
    monkeypatch.setattr(protocol, "LARGE", 0)
    model, values = one_op(op, attributes, arrays)
    graphs = [model.graph]
    if (wrt := differentiable_inputs(model)) and OPS[op].signature.saved is not None:
        graphs.append(gradient(model.graph, "loss", wrt, also=model.graph.outputs))
    given = {name: value.copy() for name, value in values.items()}
    for graph in graphs:
        expected = reference(graph, values)
        for longest in (plan_module.LONGEST_FUNCTION, 0):
            with monkeypatch.context() as patch:
                patch.setattr(plan_module, "LONGEST_FUNCTION", longest)
                plan = Plan(graph)
                results = [plan.run(values), plan.run(values)]
            assert all(same_bits(value, each[name]) for name, value in expected.items() for each in results)
            assert not plan._buffers.kinds
    assert all(same_bits(value, values[name]) for name, value in given.items())


TRAINED = [path for path in SHIPPED if '"epochs"' in path.read_text()]


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: path.stem)
def test_a_training_of_large_arrays_is_the_same_training(monkeypatch, path):
    results = []
    for large in (protocol.LARGE, 1):
        monkeypatch.setattr(protocol, "LARGE", large)
        model = ge.load(path)
        before = dict(model.values)
        started = {name: np.copy(value) for name, value in before.items()}
        model.train(max_iterations=20, epochs=None)
        assert all(same_bits(value, before[name]) for name, value in started.items())  # what a caller holds
        results.append(model.values)
    assert all(same_bits(value, results[1][name]) for name, value in results[0].items())


def matrices(size, optimizer):
    """A regression on one square matrix of parameters."""
    return {
        "format": "graphengine.model",
        "format_version": 1,
        "opset_imports": {"core": 1},
        "name": "large",
        "inputs": {"x": {"shape": ["N", size]}, "y": {"shape": ["N", size]}},
        "parameters": {"w": {"shape": [size, size], "initializer": {"type": "constant", "value": 0.01}}},
        "nodes": [
            {"id": "z", "op": "matmul", "inputs": ["x", "w"]},
            {"id": "e", "op": "sub", "inputs": ["z", "y"]},
            {"id": "squares", "op": "square", "inputs": ["e"]},
            {"id": "loss", "op": "mean", "inputs": ["squares"]},
        ],
        "outputs": {"loss": "loss"},
        "training": {"loss": "loss", "optimizer": {"type": optimizer, "learning_rate": 0.01}, "max_iterations": 4},
    }


def test_a_diverging_training_of_large_arrays_keeps_the_last_finite_values(monkeypatch):
    monkeypatch.setattr(protocol, "LARGE", 1)
    content, data = matrices(3, "sgd"), {"x": np.full((2, 3), 1e60), "y": np.zeros((2, 3))}
    content["training"] |= {"optimizer": {"type": "sgd", "learning_rate": 1e10}, "max_iterations": 50}
    model = ge.Model.from_dict(content)
    rows = []
    with pytest.raises(ge.errors.DivergenceError) as caught:
        rows.extend(np.copy(model.parameters["w"]) for _ in model.iterate(data))
    assert caught.value.iteration == len(rows) + 1
    assert same_bits(model.parameters["w"], rows[-1])
    assert np.isfinite(model.parameters["w"]).all()


def test_iterating_gives_values_that_no_later_iteration_changes(monkeypatch):
    monkeypatch.setattr(protocol, "LARGE", 1)
    data = {"x": np.eye(3), "y": np.ones((3, 3))}
    model = ge.Model.from_dict(matrices(3, "adam"))
    seen = [(model.parameters["w"], np.copy(model.parameters["w"])) for _ in model.iterate(data)]
    assert all(same_bits(*pair) for pair in seen)
    assert not same_bits(seen[0][1], seen[1][1])


TRAINING = f"""{PEAK}
import gc, json
import numpy as np
import graphengine as ge

content, size = json.loads(sys.argv[1]), int(sys.argv[2])
x, y = np.ones((2, size)), np.ones((2, size))

def resident():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024

small = json.loads(sys.argv[1].replace(str(size), "3"))
ge.Model.from_dict(small).train({{"x": x[:, :3], "y": y[:, :3]}})  # what is imported once is imported
before = resident()
model = ge.Model.from_dict(content)
model.train({{"x": x, "y": y}})
gc.collect()
print((peak() - before) / (8 * size**2), (resident() - before) / (8 * size**2))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the memory that a process holds is read as Linux shows it")
@pytest.mark.parametrize(("optimizer", "peak", "held"), [("sgd", 2.6, 1.3), ("adam", 7.5, 1.3)])
def test_a_large_parameter_is_trained_in_little_memory(optimizer, peak, held):
    size = 2345  # 42 MiB, which is large
    command = [sys.executable, "-c", TRAINING, json.dumps(matrices(size, optimizer)), str(size)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    most, after = map(float, output.split())
    assert most < peak
    assert after < held
