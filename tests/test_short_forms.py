"""What a file may leave out: an initializer where there is a value, inputs where an op takes none."""

import json

import numpy as np
import orjson
import pytest
from documents import MODELS, document, linreg, parameter, problem_of, write
from jsonschema import Draft202012Validator
from test_cli import cli, cli_json

import graphengine as ge
from graphengine.format.pieces import Pieces

SCHEMA = Draft202012Validator(orjson.loads((MODELS.parent / "schemas" / "model-1.schema.json").read_bytes()))


def started(**keys):
    """A parameter and a state with what is given of initializer and value."""
    content = document({"z": ("add", ["w", "s"])}, parameters={"w": {"shape": [2], **keys}})
    content["state"] = {"s": {"shape": [2], **keys}}
    return content


ZEROS, VALUE = {"initializer": {"type": "zeros"}}, {"value": [1.5, 2.5]}


def test_a_value_needs_no_initializer(tmp_path):
    content = started(**VALUE)
    SCHEMA.validate(content)
    model = ge.Model.from_dict(content)
    np.testing.assert_array_equal(model.predict()["out"], [3.0, 5.0])
    model.save(tmp_path / "m.json")
    saved = orjson.loads((tmp_path / "m.json").read_bytes())
    assert saved["parameters"]["w"] == {"shape": [2], **VALUE}
    assert ge.load(tmp_path / "m.json").fingerprint == model.fingerprint
    model.graph.save(tmp_path / "g.json")
    assert ge.load(tmp_path / "g.json").graph.parameters == model.graph.parameters
    table = cli("show", tmp_path / "m.json").stdout
    assert "[1.5, 2.5]" in table
    assert cli_json("show", tmp_path / "m.json")["parameters"][0]["initializer"] is None
    code = cli("show", tmp_path / "m.json", "--format", "python").stdout
    assert "initializer" not in code


def test_what_has_neither_lacks_an_initializer():
    content = started()
    del content["state"]
    found = problem_of({**content, "nodes": [{"id": "z", "op": "neg", "inputs": ["w"]}]})
    assert (found.code, found.message, found.pointer) == ("GE111", "key 'initializer' is missing", "/parameters/w")
    assert not SCHEMA.is_valid(started())
    assert SCHEMA.is_valid(started(**ZEROS))
    assert SCHEMA.is_valid(started(**ZEROS, **VALUE))


def test_a_wrong_value_without_initializer_hides_nothing_else():
    content = started(value={"file": 3})
    content["nodes"].append({"id": "y", "op": "nope", "inputs": []})
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.Model.from_dict(content)
    assert {problem.code for problem in caught.value.problems} == {"GE111", "GE112", "GE211"}


def test_a_builder_writes_a_value_and_no_initializer():
    b = ge.Builder("b")
    b.output(out=b.parameter("w", [2], value=[1.0, 2.0]) + b.parameter("v", [2]))
    parameters = b.to_dict()["parameters"]
    assert parameters["w"] == {"shape": [2], "value": [1.0, 2.0]}
    assert parameters["v"] == {"shape": [2], "initializer": {"type": "zeros"}}


def constants(count=1, **keys):
    content = document({"z": ("add_n", [f"c{index}" for index in range(count)])})
    attributes = {"value": 1.5, "dtype": "float64"}
    nodes = [{"id": f"c{index}", "op": "constant", **keys, "attributes": attributes} for index in range(count)]
    return {**content, "nodes": [*nodes, *content["nodes"]]}


def test_a_node_without_inputs_needs_no_list_of_them(tmp_path):
    short, long = (ge.Model.from_dict(constants(**keys)) for keys in ({}, {"inputs": []}))
    assert short.predict()["out"] == 1.5
    assert short.fingerprint == long.fingerprint
    assert short.to_dict() == long.to_dict()
    SCHEMA.validate(constants())
    path = write(tmp_path / "m.json", constants())
    assert json.loads(cli("validate", path, "--format", "json").stdout)["valid"]
    assert "b.node('constant', value=1.5, dtype='float64')" in cli("show", path, "--format", "python").stdout
    cli("show", path, "--format", "svg")
    cli("upgrade", path)


def test_so_it_is_in_a_function_and_in_a_large_file(tmp_path):
    body = {"inputs": {"x": {}}, "nodes": constants()["nodes"][:1], "outputs": {"out": "y"}}
    body["nodes"].append({"id": "y", "op": "mul", "inputs": ["x", "c0"]})
    called = document({"z": ("f", ["x"])}, inputs={"x": [2]}, functions={"f": body})
    np.testing.assert_array_equal(ge.Model.from_dict(called).predict(x=[3.0, 4.0])["out"], [4.5, 6.0])
    path = tmp_path / "large.json"
    path.write_bytes(orjson.dumps(constants(20_000)))
    model = ge.load(path)
    assert isinstance(model.document.nodes, Pieces)
    assert model.predict()["out"] == 30_000


def test_an_op_that_takes_inputs_says_so():
    content = linreg()
    del content["nodes"][1]["inputs"]
    found = problem_of(content)
    assert (found.code, found.message) == ("GE212", "node 'error': op 'sub' takes 2 inputs (x, y), not 0")
    assert not SCHEMA.is_valid(content)
    assert SCHEMA.is_valid(linreg())


def test_misspelled_inputs_are_still_known():
    content = linreg()
    content["nodes"][1]["input"] = content["nodes"][1].pop("inputs")
    assert "did you mean 'inputs'?" in "".join(str(each) for each in _problems(content))


def _problems(content):
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.Model.from_dict(content)
    return caught.value.problems


def test_a_shipped_model_may_leave_out_what_it_has():
    content = orjson.loads((MODELS / "linreg.json").read_bytes())
    content["parameters"]["theta"] = {key: value for key, value in parameter(2.0).items() if key != "initializer"}
    assert ge.Model.from_dict(content).parameters["theta"] == 2
