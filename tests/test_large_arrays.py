"""Large arrays are in no buffer of a plan: made anew, written over one another, forgotten, and never the caller's."""

import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from documents import PEAK, SHIPPED, document
from sweeping import for_each_row
from test_compile import ROWS, differentiable_inputs, one_op, reference, same_bits

import graphengine as ge
from graphengine.backends import protocol
from graphengine.backends.numpy import plan as plan_module
from graphengine.backends.numpy import tiles
from graphengine.backends.numpy.plan import Plan
from graphengine.ops.registry import OPS
from graphengine.transform.gradient import gradient


@for_each_row(ROWS)
def test_a_plan_of_large_arrays_gives_the_bits_of_the_reference(op, attributes, arrays, monkeypatch):
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


def test_a_large_vector_and_its_gradient_share_memory_with_the_update(monkeypatch):
    monkeypatch.setattr(protocol, "LARGE", 2**20)
    size, rate = 600_000, 6e4
    assert size > tiles.SHORTEST
    nodes = {"product": ("mul", ["w", "x"]), "squares": ("square", ["product"]), "loss": ("mean", ["squares"])}
    peaks = []
    for count in (size // 100, size):  # what is imported once is imported
        zeros = {"shape": [count], "initializer": {"type": "zeros"}}
        model = ge.Model.from_dict(document(nodes, {"loss": "loss"}, inputs={"x": []}, parameters={"w": zeros}))
        tracemalloc.start()
        model.values["w"] = np.ones(count)
        sgd = {"type": "sgd", "learning_rate": rate}
        model.train({"x": np.array(0.5)}, loss="loss", optimizer=sgd, max_iterations=4)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2.6 * 8 * size
    expected = (1 - rate * 2 * 0.5**2 / size) ** 4  # of w - rate * 2 x^2 w / size
    np.testing.assert_allclose(model.parameters["w"], expected, rtol=1e-13)


MEASURED = f"""{PEAK}
import gc, json, os
import numpy as np
import graphengine as ge
from graphengine.format import tensors

content, size, path = json.loads(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
x, y = np.ones((2, size)), np.ones((2, size))
tensors.EXTERNAL_FROM = 1

def resident():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024

def train(content, folder, size):
    model = ge.Model.from_dict(content)
    model.train({{"x": x[:, :size], "y": y[:, :size]}}, checkpoints=path / f"{{folder}}-{{os.getpid()}}")
    return model

def save(content, folder, size):
    model = ge.Model.from_dict(content)
    model.save(path / folder / "m.json")
    return model

def load(content, folder, size):
    return ge.load(path / folder / "m.json")

def measure(work):
    # the peak while some work is done and what is held after it, in sizes of the parameter
    (path / "small").mkdir(exist_ok=True)
    small = json.loads(sys.argv[1].replace(str(size), "3"))
    for each in (save, load, train):  # what is imported once is imported
        each(small, "small", 3)
    before = resident()
    model = work(content, "large", size)
    gc.collect()
    print((peak() - before) / (8 * size**2), (resident() - before) / (8 * size**2))

(path / "large").mkdir(exist_ok=True)
measure(globals()[sys.argv[4]])
"""


def measured(tmp_path, optimizer, work, size=2345):
    """The peak of some work on a parameter of 42 MiB, which is large, and what it holds afterwards, in such sizes."""
    command = [sys.executable, "-c", MEASURED, json.dumps(matrices(size, optimizer)), str(size), str(tmp_path), work]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return tuple(map(float, output.split()))


@pytest.mark.skipif(sys.platform != "linux", reason="the memory that a process holds is read as Linux shows it")
@pytest.mark.parametrize(
    ("optimizer", "work", "peak", "held"),
    [("sgd", "train", 2.6, 1.3), ("adam", "train", 7.5, 1.3), ("sgd", "save", 1.3, 1.3), ("sgd", "load", 1.3, 1.3)],
)
def test_a_large_parameter_takes_little_memory(tmp_path, optimizer, work, peak, held):
    if work == "load":
        measured(tmp_path, optimizer, "save")
    most, after = measured(tmp_path, optimizer, work)
    assert most < peak
    assert 0.9 < after < held
