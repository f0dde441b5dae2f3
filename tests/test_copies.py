"""A model is data, so it is the easiest object to copy: by `copy`, by `pickle`, as a dictionary, in other processes."""

import copy
import pickle
import pickletools
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import orjson
import pytest
from documents import SHIPPED, document, linreg, parameter, training, write
from samples import SAMPLES

import graphengine as ge
from graphengine.errors import Problem
from graphengine.fit.turns import LeftError
from graphengine.format.documents import ModelDocument
from graphengine.ir.origins import node_text
from graphengine.limits import Limits
from graphengine.ops.numbers import ElementError
from graphengine.ops.registry import OPS
from graphengine.training.interrupting import Terminated
from graphengine.training.resuming import different
from graphengine.training.rules import find_rule

X = np.arange(1.0, 11.0) / 5
DATA = {"x": X, "y": 3 * X + np.resize([0.5, -0.5], 10)}


def pickled(value, protocol=pickle.DEFAULT_PROTOCOL):
    return pickle.loads(pickle.dumps(value, protocol))


WAYS = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": pickled, "method": lambda model: model.copy()}
every_way = pytest.mark.parametrize("way", list(WAYS.values()), ids=list(WAYS))


def regression(**keys):
    return ge.Model.from_dict(linreg(training=training(learning_rate=0.01, epochs=5)), **keys)


# ---------------------------------------------------------------- models


@every_way
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_copy_of_a_shipped_model_is_the_same_model(path, way, tmp_path):
    model = ge.load(path)
    found = way(model)
    assert type(found) is ge.Model
    assert found.fingerprint == model.fingerprint
    assert (found.path, found.limits, found.backend.name) == (model.path, model.limits, model.backend.name)
    model.save(tmp_path / "one.json")
    found.save(tmp_path / "other.json")
    assert (tmp_path / "one.json").read_bytes().replace(b"one-", b"other-") == (tmp_path / "other.json").read_bytes()
    for name, value in model.values.items():
        assert found.values[name] is not value or np.ndim(value) == 0
        np.testing.assert_array_equal(found.values[name], value, strict=True)


@every_way
def test_a_copy_computes_and_trains_to_the_same_bits_and_on_its_own(way):
    model = regression()
    model.train(DATA)
    found, before = way(model), float(model.parameters["theta"])
    for name in ("prediction", "loss"):
        np.testing.assert_array_equal(found.forward(DATA)[name], model.forward(DATA)[name])
    assert found.forward(DATA).backward() == model.forward(DATA).backward()
    history = found.train(DATA)
    assert model.parameters["theta"] == before != found.parameters["theta"]
    assert not list(different(history.state, model.train(DATA).state))
    assert model.parameters["theta"] == found.parameters["theta"]
    found.parameters["theta"] = 7.0
    assert model.parameters["theta"] != 7


@every_way
def test_a_copy_of_a_trained_model_says_where_its_values_come_from(way):
    model = regression()
    model.train(DATA)
    provenance = model.to_dict()["metadata"]["provenance"]
    found = way(way(model))
    assert found.to_dict()["metadata"]["provenance"] == provenance
    assert provenance["iterations"] == 5
    model.train(DATA, epochs=7)
    assert found.to_dict()["metadata"]["provenance"] == provenance
    found.parameters["theta"] = 1.0
    assert "metadata" not in found.to_dict()


@every_way
def test_a_copy_has_what_the_caller_chose(way, tmp_path):
    rule = tmp_path / "rule.json"
    rule.write_bytes(orjson.dumps(find_rule("momentum").model_dump(exclude_defaults=True, by_alias=True)))
    path = write(tmp_path / "m.json", linreg(training=training(learning_rate=0.01, epochs=5)))
    model = ge.load(path, update_rule=rule, limits=Limits(array_bytes=2**20), backend="reference")
    rule.unlink()
    found = way(model)
    assert (found.path, found.limits, found.backend.name) == (path, Limits(array_bytes=2**20), "reference")
    assert not list(different(found.train(DATA).state, model.train(DATA).state))
    assert found.parameters["theta"] != regression().train(DATA).last.parameters["theta"]


@every_way
def test_a_copy_does_not_need_the_tensors_beside_the_file(way, tmp_path, monkeypatch):
    monkeypatch.setattr("graphengine.format.tensors.EXTERNAL_FROM", 1)
    model = ge.Model.from_dict(document({"z": ("neg", ["w"])}, parameters={"w": [1.0, -0.0, np.inf]}))
    model.save(tmp_path / "m.json")
    loaded = ge.load(tmp_path / "m.json")
    data = pickle.dumps(loaded)
    next(tmp_path.glob("*.safetensors")).unlink()
    found = pickle.loads(data) if way is pickled else way(loaded)
    np.testing.assert_array_equal(found.parameters["w"], [1.0, -0.0, np.inf])
    assert np.signbit(found.parameters["w"][1])
    assert found.fingerprint == loaded.fingerprint


def test_values_that_are_handed_over_are_checked():
    model = regression()
    for wrong, said in ((np.zeros(3), "shape"), (np.float32(1), "float32")):
        with pytest.raises(ge.errors.InvalidModelError, match=f"GE302: .*{said}"):
            ge.Model(model.document, values={"theta": wrong})
    assert ge.Model(model.document, values={"theta": np.float64(2)}).parameters["theta"] == 2


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_dictionary_is_the_content_of_the_file(path):
    model = ge.load(path)
    content = model.to_dict()
    assert ge.Model.from_dict(orjson.loads(orjson.dumps(content)), path).to_dict() == content
    assert content.keys() >= {"format", "format_version", "opset_imports", "name", "nodes", "outputs"}
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(content["parameters"][name]["value"], value)


@pytest.mark.parametrize("path", SHIPPED[::5], ids=lambda path: path.stem)
def test_a_dictionary_of_a_graph_is_the_content_of_its_file(path, tmp_path):
    graph = ge.load(path).graph
    graph.save(tmp_path / "graph.json")
    assert orjson.loads((tmp_path / "graph.json").read_bytes()) == orjson.loads(orjson.dumps(graph.to_dict()))


def test_runs_histories_and_errors_are_json_values_as_dictionaries():
    model = regression()
    history = model.train(DATA)
    run = model.forward(DATA)
    found = orjson.loads(orjson.dumps({"run": run.to_dict(), "history": history.to_dict()}))
    assert found["run"] == {"prediction": (model.values["theta"] * X).tolist(), "loss": float(run["loss"])}
    losses = [row["loss"] for row in found["history"]["iterations"]]
    assert losses == history.losses
    assert found["history"]["iterations"][-1]["parameters"] == {"theta": float(model.parameters["theta"])}
    with pytest.raises(ge.errors.GraphEngineError) as caught:
        model.forward(x=X)
    (problem,) = orjson.loads(orjson.dumps(caught.value.to_dict()))["errors"]
    assert problem["code"] == caught.value.problems[0].code


def test_numbers_that_json_lacks_are_in_a_dictionary_as_in_a_file():
    model = ge.Model.from_dict(document({"z": ("neg", ["w"])}, parameters={"w": parameter([1.0, np.nan, -np.inf])}))
    assert model.to_dict()["parameters"]["w"]["value"] == [1.0, "NaN", "-Infinity"]


def test_a_pickle_of_a_model_is_a_file_and_arrays_and_names_no_class_of_a_node():
    model = regression()
    model.train(DATA)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps(model, protocol)
        assert pickled(model, protocol).parameters["theta"] == model.parameters["theta"]
    named = {argument for opcode, argument, _ in pickletools.genops(data) if "UNICODE" in opcode.name}
    assert {name for name in named if name.startswith("graphengine.")} == {
        "graphengine.limits",
        "graphengine.model.model",
        "graphengine.model.portable",
    }
    assert b"Mul" not in data


# ---------------------------------------------------------------- what models give


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickled])
@pytest.mark.parametrize("warm", [False, True])
def test_a_copy_of_a_run_has_the_values_of_then(way, warm):
    model = regression()
    model.parameters["theta"] = 2.0
    if warm:  # then a run is a compiled one
        model.forward(DATA)
    run = model.forward(DATA)
    model.parameters["theta"] = 5.0
    found = way(run)
    for name in ("prediction", "loss"):
        np.testing.assert_array_equal(found[name], run[name], strict=True)
    np.testing.assert_array_equal(found.value("error"), DATA["y"] - 2 * X)
    assert found.backward() == run.backward()
    assert found.graph.outputs == run.graph.outputs


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_of_a_history_is_the_same_history(way):
    history = regression().train(DATA, batch_size=3, metrics={"m": "loss"}, epochs=3)
    found = way(history)
    assert not list(different(found.state, history.state))
    assert found.iterations == history.iterations
    assert repr(found) == repr(history)


def test_parameters_are_copied_with_what_is_declared_of_them():
    model = regression()
    model.train(DATA)
    parameters, trained = model.parameters, float(model.parameters["theta"])
    for way in (pickled, copy.deepcopy):
        found = way(parameters)
        assert dict(found) == dict(parameters)
        found["theta"] = 3.0
        assert parameters["theta"] == trained
        with pytest.raises(ge.errors.InputError, match="GE403: parameter 'theta' has shape"):
            found["theta"] = [1.0]
    assert "provenance" in model.to_dict()["metadata"]
    copy.copy(parameters)["theta"] = 4.0  # a shallow copy looks at the same model
    assert parameters["theta"] == 4
    assert "metadata" not in model.to_dict()


def test_a_fit_and_rows_are_pickled():
    fit = ge.load(next(path for path in SHIPPED if path.stem == "misra1a")).fit()
    assert pickled(fit).parameters == fit.parameters
    assert pickled(fit.history.last) == fit.history.last


# ---------------------------------------------------------------- graphs and nodes


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_graphs_come_back_whatever_they_were_made_of(path, tmp_path):
    model = ge.load(path)
    graphs = [model.graph]
    if model.document.training and model.graph.trainable:
        graphs.append(ge.gradient(model.graph, of=model.document.training.loss, wrt=model.graph.trainable[:1]))
        if not model.document.training.optimizer.is_solver:
            graphs.append(model.training_step().graph)
    for graph in graphs:
        found = pickled(graph)
        assert (found.types, found.outputs, found.aliases) == (graph.types, graph.outputs, graph.aliases)
        assert found.nodes == graph.nodes
        assert [found.inputs, found.parameters, found.state] == [graph.inputs, graph.parameters, graph.state]
        graph.save(tmp_path / "one.json")
        found.save(tmp_path / "other.json")
        assert (tmp_path / "one.json").read_bytes() == (tmp_path / "other.json").read_bytes()
        assert copy.copy(graph) is copy.deepcopy(graph) is graph


@pytest.mark.parametrize("name", list(SAMPLES))
def test_nodes_come_back_as_their_op_with_their_attributes(name):
    for attributes, _ in SAMPLES[name]:
        node = OPS[name].cls.model_validate(attributes)
        found = pickled(node)
        assert (found, type(found)) == (node, type(node))
        assert copy.deepcopy(node) == node
        assert type(node).__name__.encode() not in pickle.dumps(node).replace(name.encode(), b"")


# ---------------------------------------------------------------- errors


def errors():
    """An error of each class of this package."""
    for cls in vars(ge.errors).values():
        if isinstance(cls, type) and issubclass(cls, ge.errors.GraphEngineError):
            numbers = {"iteration": 3, "epoch": 2} if cls is ge.errors.DivergenceError else {}
            yield cls("what is wrong", hint="what to do", file="m.json", line=3, column=4, **numbers)
    yield ge.errors.InvalidModelError([Problem("GE210", "one", pointer="/nodes/0"), Problem("GE211", "two")])
    yield ElementError("no number", [1, 2])
    yield Terminated(15)
    yield LeftError()


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickled])
@pytest.mark.parametrize("error", list(errors()), ids=lambda error: type(error).__name__)
def test_an_error_comes_back_with_its_text_and_all_it_has(error, way):
    error.add_note("a note")
    found = way(error)
    assert type(found) is type(error)
    assert (str(found), repr(found), found.args) == (str(error), repr(error), error.args)
    assert vars(found) == vars(error)


def test_an_error_of_a_file_comes_back_with_its_places():
    content = document({"z": ("neg", ["nothing"]), "w": ("nope", [])})
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.Model.from_dict(content)
    found = pickled(caught.value)
    assert found.problems == caught.value.problems
    assert len(found.problems) == 2
    assert str(found) == str(caught.value)


# ---------------------------------------------------------------- threads and other processes


def test_copies_are_trained_in_threads_at_the_same_time_to_the_bits_of_one_after_the_other():
    """They share compiled steps, which are compiled while others already use them."""
    model = ge.Model.from_dict(linreg(training=training(learning_rate=0.01, epochs=40)))
    sizes = [1, 2, 3, 4, 5] * 8

    def trained(size):
        made = model.copy()
        return made.train(DATA, batch_size=size, shuffle=True, seed=size).state, made.parameters["theta"]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(trained, sizes))
    fresh = {size: ge.Model.from_dict(model.to_dict()) for size in set(sizes)}
    for size, expected in fresh.items():
        history = expected.train(DATA, batch_size=size, shuffle=True, seed=size)
        for state, theta in (each for each, used in zip(found, sizes, strict=True) if used == size):
            assert not list(different(state, history.state))
            assert theta == expected.parameters["theta"]


POOL = """
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import graphengine as ge

@ge.register("my.double")
class Double(ge.Node):
    factor: float = 2.0

    def forward(self, x):
        return self.factor * x

    def backward(self, grad):
        return self.factor * grad

def trained(model, rate):
    model.train(learning_rate=rate)
    return model

def failing(model):
    model.predict(outputs="wrong", x=[1.0])

if __name__ == "__main__":
    model = ge.load(sys.argv[1])
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        models = list(pool.map(trained, [model] * 3, [0.0, 0.01, 0.02]))
        losses = [float(each.forward(each.load_data())["loss"]) for each in models]
        assert losses[0] > losses[1] > losses[2], losses
        assert [type(each) for each in models] == [ge.Model] * 3
        assert pool.submit(repr, model.graph).result() == repr(model.graph)
        try:
            failing(model)
        except ge.errors.UsageError as error:
            here = error
        try:
            pool.submit(failing, model).result()
        except ge.errors.UsageError as error:
            assert str(error) == str(here)
            assert error.problems == here.problems
            print("done")
"""


def pool_model(tmp_path):
    content = document(
        {"d": ("my.double", ["w"]), "p": ("mul", ["d", "x"]), "e": ("sub", ["p", "y"]), "s": ("square", ["e"])},
        {"loss": "loss"},
        inputs={"x": ["N"], "y": ["N"]},
        parameters={"w": 0.0},
        training=training(epochs=3),
        data={"d": {"type": "inline", "values": {name: array.tolist() for name, array in DATA.items()}}},
    )
    content["nodes"].append({"id": "loss", "op": "mean", "inputs": ["s"]})
    content["opset_imports"]["my"] = 1
    return write(tmp_path / "m.json", content)


def test_models_with_nodes_of_ones_own_go_through_a_pool_of_processes(tmp_path):
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    command = [sys.executable, "-W", "error", script, pool_model(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout, done.returncode) == ("", "done\n", 0)


def test_models_go_through_joblib(tmp_path):
    joblib = pytest.importorskip("joblib")
    model = regression()
    models = joblib.Parallel(n_jobs=2)(joblib.delayed(_trained)(model, rate) for rate in (0.0, 0.01))
    assert models[0].parameters["theta"] == 0 != models[1].parameters["theta"]
    joblib.dump(models[1], tmp_path / "model.joblib")
    assert joblib.load(tmp_path / "model.joblib").parameters["theta"] == models[1].parameters["theta"]


def _trained(model, rate):
    model.train(DATA, learning_rate=rate)
    return model


def test_a_process_without_the_op_says_so(tmp_path):
    @ge.register("my.double")
    class Double(ge.Node):
        def forward(self, x):
            return 2 * x

    model = ge.load(pool_model(tmp_path).with_name("m.json"), update_rule=None)
    for name, value in {"model": model, "graph": model.graph}.items():
        (tmp_path / name).write_bytes(pickle.dumps(value))
    code = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))"
    for name in ("model", "graph"):
        command = [sys.executable, "-c", code, tmp_path / name]
        reported = subprocess.run(command, capture_output=True, text=True, check=False).stderr
        assert re.search(r"GE211: .*my\.double", reported)
    assert ModelDocument.__module__ not in (tmp_path / "model").read_bytes().decode("latin-1")


def test_a_graph_of_a_pickle_knows_the_places_of_its_nodes():
    graph = ge.load("lstm_sums").graph
    copied = pickle.loads(pickle.dumps(graph))
    places = [node_text(graph, node) for node in graph.nodes]
    assert [node_text(copied, node) for node in copied.nodes] == places
    assert any(place.startswith("call 'lstm' of 'nn.lstm', node ") for place in places)
