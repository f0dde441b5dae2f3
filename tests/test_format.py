"""The file format: what is refused and where it is located, the canonical form, the fingerprint, the JSON Schema."""

import copy
import json
import math
import os
import random

import jsonschema
import numpy as np
import orjson
import pytest
from documents import (
    MODELS,
    SHIPPED,
    changed,
    codes_of,
    document,
    linreg,
    parameter,
    problem_of,
    problems_of,
    training,
    write,
)

import graphengine as ge
from graphengine.format.files import write_bytes
from graphengine.format.functions import shipped_functions
from graphengine.format.meaning import fingerprint
from graphengine.format.reading import parse_model
from graphengine.format.schema import model_schema
from graphengine.format.writing import dump_json, dump_model
from graphengine.limits import Limits
from graphengine.training.rules import shipped_rules

SCHEMA_FILE = MODELS.parent / "schemas" / "model-1.schema.json"


def problem_in(data, name="model.json"):
    """The one problem that parsing bytes finds."""
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        parse_model(data, name)
    (found,) = caught.value.problems
    return found


def place(found):
    return found.code, found.line, found.column


def whole():
    """A document that has every section that this version runs."""
    data = {"inline": {"type": "inline", "values": {"x": [1.0], "y": [2.0]}}, "csv": {"type": "csv", "path": "a.csv"}}
    return linreg(data=data, training=training(data="inline"), description="d", metadata={"anything": [1, {}]})


# ---------------------------------------------------------------- not JSON, not a model


@pytest.mark.parametrize(
    ("data", "line", "column"),
    [
        (b"", 1, 1),
        (b"{", 1, 2),
        (b'{\n  "a": 1,\n}', 2, 9),
        (b"{'a': 1}", 1, 2),
        (b'{"a": nan}', 1, 7),
    ],
)
def test_what_is_not_json_is_located(data, line, column):
    found = problem_in(data)
    assert place(found) == ("GE102", line, column)
    assert str(found).startswith(f"model.json:{line}:{column}: GE102: not JSON: ")


def test_an_empty_file_is_called_empty():
    assert "the file is empty" in problem_in(b"").message


@pytest.mark.parametrize("data", [b"[]", b"null", b"3", b'"graphengine.model"', b"{}", b'{"format": null}'])
def test_json_that_is_no_model_is_shown_what_a_model_begins_with(data):
    found = problem_in(data)
    assert found.code == "GE104"
    assert '"format": "graphengine.model"' in found.hint


def test_another_format_is_located_at_its_name():
    found = problem_in(b'{\n  "format": "other",\n  "nodes": 3}')
    assert place(found) == ("GE104", 2, 13)
    assert found.pointer == "/format"


def test_a_newer_format_version_says_to_upgrade():
    found = problem_of(changed(linreg(), ("format_version",), 2))
    assert (found.code, found.pointer, found.hint) == ("GE104", "/format_version", "upgrade graphengine")


@pytest.mark.parametrize("version", [0, -1, "1", 1.0, 1.5, None, True])
def test_a_format_version_that_never_was_is_refused(version):
    assert problem_of(changed(linreg(), ("format_version",), version)).pointer == "/format_version"


def test_a_newer_opset_says_to_upgrade():
    found = problem_of(linreg(opset_imports={"core": 2}))
    assert (found.code, found.pointer, found.hint) == ("GE105", "/opset_imports/core", "upgrade graphengine")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ge.errors.InvalidModelError, match=r"nowhere\.json: GE101: cannot read the file: No such file"):
        ge.load(tmp_path / "nowhere.json")


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(ge.errors.InvalidModelError, match="GE101"):
        ge.load(tmp_path)


def test_a_file_beyond_the_limit_is_refused(tmp_path):
    path = tmp_path / "large.json"
    path.write_bytes(b" " * (2**20 + 1))
    with pytest.raises(ge.errors.InvalidModelError, match="GE103: the file is larger than 1 MiB"):
        ge.load(path, limits=Limits(file_bytes=2**20))


# ---------------------------------------------------------------- the form of each section

SECTIONS = [
    (),
    ("inputs", "x"),
    ("parameters", "theta"),
    ("parameters", "theta", "initializer"),
    ("nodes", 0),
    ("data", "inline"),
    ("data", "csv"),
    ("training",),
]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: "/".join(map(str, section)) or "file")
def test_an_unknown_key_is_refused_in_every_section(section):
    found = problem_of(changed(whole(), (*section, "surprise"), 1))
    assert (found.code, found.message) == ("GE110", "unknown key 'surprise'")
    assert found.pointer == "".join(f"/{part}" for part in (*section, "surprise"))
    assert found.hint


ONE = {"inputs": {}, "nodes": [{"id": "n", "op": "neg", "inputs": [1]}], "outputs": {"out": "n"}}


@pytest.mark.parametrize(
    ("section", "key"),
    [
        (("state",), {"s": {"shape": [], "initializer": {"type": "zeros"}, "surprise": 1}}),
        (("functions",), {"f": {**ONE, "surprise": 1}}),
        (("training", "validation"), {"fraction": 0.5, "surprise": 1}),
        (("training", "checkpoint"), {"surprise": 1}),
        (("training", "early_stopping"), {"monitor": "loss", "surprise": 1}),
    ],
)
def test_an_unknown_key_is_refused_where_nothing_runs_yet(section, key):
    found = problem_of(changed(whole(), section, key))
    assert found.code == "GE110"
    assert found.pointer.endswith("/surprise")


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        (("node",), "nodes"),
        (("inputs", "x", "shpe"), "shape"),
        (("parameters", "theta", "trainabel"), "trainable"),
        (("nodes", 0, "input"), "inputs"),
        (("nodes", 1, "attribute"), "attributes"),
        (("data", "csv", "column"), "columns"),
        (("training", "epoch"), "epochs"),
        (("training", "batchsize"), "batch_size"),
    ],
)
def test_a_misspelled_key_gets_the_key_that_was_meant(path, meant):
    assert problem_of(changed(whole(), path, 1)).hint == f"did you mean '{meant}'?"


def test_metadata_may_hold_anything():
    content = linreg(metadata={"anything": {"at": ["all", None, 1.5]}})
    assert ge.Model.from_dict(content).document.metadata == content["metadata"]


def test_an_unknown_attribute_of_the_optimizer_is_refused():
    found = problem_of(changed(whole(), ("training", "optimizer", "momentum"), 0.9))
    assert (found.code, found.pointer) == ("GE110", "/training/optimizer/momentum")


def test_an_unknown_optimizer_is_refused():
    found = problem_of(changed(whole(), ("training", "optimizer", "type"), "sdg"))
    assert (found.code, found.pointer) == ("GE210", "/training/optimizer/type")
    assert "sgd" in found.hint


@pytest.mark.parametrize("key", ["opset_imports", "name", "nodes", "outputs"])
def test_a_missing_key_is_named(key):
    content = linreg()
    del content[key]
    found = problem_of(content)
    assert (found.code, found.message) == ("GE111", f"key '{key}' is missing")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("name",), 3, "must be a string, not 3"),
        (("name",), "", "at least 1 character"),
        (("dtype",), "float63", "did you mean 'float64'?"),
        (("dtype",), "object", "is not possible here"),
        (("inputs",), [], "must be an object, not []"),
        (("inputs", "x", "shape"), "N", 'must be an array, not "N"'),
        (("inputs", "x", "shape"), [-1], "must be greater than or equal to 0, not -1"),
        (("inputs", "x", "shape"), [1.5], "must be an integer or a string, not 1.5"),
        (("inputs", "x", "shape"), ["N*2"], 'a product such as "2*N" or "M*N^2", not "N*2"'),
        (("inputs", "x", "shape"), [1] * 33, "at most 32 elements"),
        (("parameters", "theta", "initializer"), {}, "key 'type' is missing"),
        (("parameters", "theta", "initializer", "type"), "zeroes", "did you mean 'zeros'?"),
        (("parameters", "theta", "trainable"), 1, "must be true or false, not 1"),
        (("nodes",), {}, "must be an array, not {}"),
        (("nodes", 0), "mul", 'must be an object, not "mul"'),
        (("nodes", 0, "id"), "a b", '"a b" is not a name'),
        (("nodes", 0, "id"), "a\u0000", "is not a name"),
        (("nodes", 0, "inputs"), "theta", "must be an array or an object"),
        (("nodes", 0, "inputs"), ["theta", None], "must be a string or a number, not null"),
        (("nodes", 0, "inputs"), ["theta", True], "must be a string or a number, not true"),
        (("outputs",), {}, "at least 1 key"),
        (("outputs", "prediction"), 3, "must be a string, not 3"),
        (("data", "csv", "type"), "cvs", "did you mean 'csv'?"),
        (("training", "epochs"), 0, "greater than or equal to 1, not 0"),
        (("training", "epochs"), 1.0, "must be an integer, not 1.0"),
        (("training", "batch_size"), 0, "greater than or equal to 1"),
        (("training", "seed"), -1, "greater than or equal to 0"),
        (("training", "optimizer", "learning_rate"), -0.1, "greater than or equal to 0"),
        (("training", "optimizer", "learning_rate"), "fast", 'not "fast"'),
    ],
)
def test_a_wrong_value_is_located_and_reported(path, value, said):
    found = problem_of(changed(whole(), path, value))
    assert found.code in ("GE111", "GE112")
    assert found.pointer.startswith("".join(f"/{part}" for part in path))
    assert said in f"{found.message}; {found.hint}"


def test_line_and_column_point_at_the_value(tmp_path):
    path = write(tmp_path / "bad.json", changed(linreg(), ("nodes", 1, "inputs", 1), "y_hut"))
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.load(path)
    (found,) = caught.value.problems
    line = path.read_text().splitlines()[found.line - 1]
    assert line[found.column - 1 :] == '"y_hut"'
    assert str(found) == (
        f"{path}:{found.line}:{found.column}: GE210: node 'error': input 'y_hut' is not defined "
        "(/nodes/1/inputs/1); did you mean 'y_hat'?"
    )


def test_pointers_are_located_behind_strings_with_quotes_and_brackets(tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(
        '{"format": "graphengine.model", "name": "a\\"]}{[,:\\\\", "metadata": {"a/b~": {"]": 1}},\n "dtype": 3}'
    )
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.load(path)
    (found,) = [problem for problem in caught.value.problems if problem.pointer == "/dtype"]
    assert (found.line, found.column) == (2, 11)


def test_all_problems_of_form_come_in_one_run():
    content = changed(changed(whole(), ("inputs", "x", "shpe"), 1), ("training", "epochs"), 0)
    content["nodes"][2]["id"] = "1"
    del content["name"]
    assert {(found.code, found.pointer) for found in problems_of(content)} == {
        ("GE110", "/inputs/x/shpe"),
        ("GE112", "/training/epochs"),
        ("GE112", "/nodes/2/id"),
        ("GE111", ""),
    }


def test_all_wrong_names_come_in_one_run():
    content = whole()
    content["nodes"][0]["inputs"][1] = "z"
    content["nodes"][1]["op"] = "subtract"
    content["nodes"][2]["id"] = "x"
    content["outputs"]["prediction"] = "nothing"
    content["training"]["data"] = "test"
    content["data"]["csv"]["columns"] = {"q": "q"}
    assert {(found.code, found.pointer) for found in problems_of(content)} == {
        ("GE210", "/nodes/0/inputs/1"),
        ("GE211", "/nodes/1/op"),
        ("GE201", "/nodes/2/id"),
        ("GE210", "/nodes/3/inputs/0"),
        ("GE210", "/outputs/prediction"),
        ("GE210", "/training/data"),
        ("GE210", "/data/csv/columns/q"),
    }


def test_every_problem_is_an_object_for_machines():
    (found,) = problems_of(changed(linreg(), ("surprise",), 1))
    assert set(found.as_dict()) == {"code", "message", "hint", "pointer", "node", "file", "line", "column"}
    assert orjson.loads(orjson.dumps(found.as_dict()))["pointer"] == "/surprise"


@pytest.mark.parametrize("text", ["\x1b[31m", "\u202e", "a\nb"])
def test_control_characters_of_a_file_do_not_reach_the_message(text):
    message = str(problem_of(changed(linreg(), ("dtype",), text)))
    assert message.isprintable()


# ---------------------------------------------------------------- the canonical form


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_saving_what_was_saved_gives_the_same_bytes(path, tmp_path):
    first = ge.load(path)
    first.save(tmp_path / "first.json")
    ge.load(tmp_path / "first.json").save(tmp_path / "second.json")
    assert (tmp_path / "second.json").read_bytes() == (tmp_path / "first.json").read_bytes()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_canonical_form_says_the_same_as_the_file(path):
    document_, _ = parse_model(path.read_bytes())
    again, _ = parse_model(dump_model(document_))
    assert again == document_


def test_the_canonical_form_writes_keys_in_the_order_of_the_format_and_leaves_defaults_out():
    content = whole()
    content["nodes"][3]["attributes"] = {}
    content["training"]["shuffle"] = False
    shuffled = dict(reversed(content.items()))
    written = json.loads(dump_model(parse_model(orjson.dumps(shuffled))[0]))
    expected = ["format", "format_version", "opset_imports", "name", "description", "metadata", "inputs", "parameters"]
    assert list(written) == [*expected, "nodes", "outputs", "data", "training"]
    assert "shuffle" not in written["training"]


def test_the_canonical_form_is_independent_of_whitespace():
    content = whole()
    compact, wide = orjson.dumps(content), json.dumps(content, indent=7).encode()
    assert dump_model(parse_model(compact)[0]) == dump_model(parse_model(wide)[0])


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        [[]],
        {"a": list(range(200))},
        [[0.1] * 50] * 3,
        {"k" * 120: "v" * 120},
        {"a": [{"b": [1, "x" * 150, {"c": None}]}, True, '\u00e9\n"\\']},
    ],
)
def test_json_for_people_is_json_and_has_short_lines_where_it_can(value):
    text = dump_json(value).decode()
    assert json.loads(text) == value
    assert text.endswith("\n")
    assert all(len(line) <= 110 for line in text.splitlines() if '"' not in line)


def test_saving_keeps_symbols_literals_and_names(tmp_path):
    content = document(
        {"z": ("mul", {"y": 2, "x": "v"}, None), "s": ("sum", ["z"], {"axis": [0]})}, inputs={"v": ["2*N"]}, name="ä β"
    )
    ge.Model.from_dict(content).save(tmp_path / "m.json")
    saved = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    assert saved["nodes"] == content["nodes"]
    assert saved["inputs"] == content["inputs"]
    assert saved["name"] == "ä β"


# ---------------------------------------------------------------- numbers that JSON does not have


def test_non_finite_values_are_strings_and_come_back(tmp_path):
    value = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308]
    model = ge.Model.from_dict(document({"z": ("neg", ["p"])}, parameters={"p": [0.0] * 6}))
    model.parameters["p"] = value
    model.save(tmp_path / "m.json")
    saved = json.loads((tmp_path / "m.json").read_text())["parameters"]["p"]["value"]
    assert saved[:3] == ["NaN", "Infinity", "-Infinity"]
    np.testing.assert_array_equal(ge.load(tmp_path / "m.json").parameters["p"], value)
    assert np.signbit(ge.load(tmp_path / "m.json").parameters["p"][3])


def test_a_non_finite_initializer_is_a_string_and_comes_back(tmp_path):
    declaration = {"shape": [2], "initializer": {"type": "constant", "value": "-Infinity"}}
    model = ge.Model.from_dict(document({"z": ("neg", ["p"])}, parameters={"p": declaration}))
    assert model.parameters["p"].tolist() == [-math.inf, -math.inf]
    again, _ = parse_model(dump_model(model.document))
    assert again == model.document


@pytest.mark.parametrize("text", ["nan", "inf", "1.0", "-infinity", ""])
def test_other_strings_are_not_numbers(text):
    found = problem_of(changed(linreg(), ("parameters", "theta", "value"), text))
    assert (found.code, found.pointer) == ("GE302", "/parameters/theta/value")
    assert "is not a number" in found.message


@pytest.mark.parametrize("value", [[1.0, [2.0]], [[1.0], [2.0, 3.0]], [1.0, "x"], [None], [{}], [True, "NaN", {}]])
def test_a_ragged_or_mixed_value_is_refused(value):
    content = document({"z": ("neg", ["p"])}, parameters={"p": {**parameter([0.0, 0.0]), "value": value}})
    assert codes_of(content) == ["GE302"]


@pytest.mark.parametrize("value", [1, [1, 2, 3], [[1.0, 2.0]]])
def test_a_value_of_another_shape_is_refused(value):
    content = document({"z": ("neg", ["p"])}, parameters={"p": {**parameter([0.0, 0.0]), "value": value}})
    found = problem_of(content)
    assert (found.code, found.pointer) == ("GE302", "/parameters/p/value")
    assert "but (2,) is declared" in found.message


@pytest.mark.parametrize(("value", "dtype"), [(1.5, "int64"), (300, "int8"), (-1, "uint8"), (2**63, "int64")])
def test_a_value_that_does_not_fit_its_dtype_is_refused(value, dtype):
    content = document({"z": ("neg", ["p"])}, parameters={"p": parameter(value, dtype=dtype)})
    assert codes_of(content) == ["GE302"]


def test_every_float64_survives_the_file(tmp_path):
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**64, 500, dtype=np.uint64).view(np.float64)
    model = ge.Model.from_dict(document({"z": ("neg", ["p"])}, parameters={"p": [0.0] * 500}))
    model.parameters["p"] = bits
    model.save(tmp_path / "m.json")
    np.testing.assert_array_equal(ge.load(tmp_path / "m.json").parameters["p"], bits)


@pytest.mark.parametrize("value", [[1], None, {"a": 1}])
def test_where_a_number_is_meant_the_words_for_those_that_are_not_finite_are_no_hint(value):
    content = document({"z": ("neg", ["p"])}, parameters={"p": 0.0})
    content["parameters"]["p"]["initializer"] = {"type": "constant", "value": value}
    found = problem_of(content)
    assert found.message.startswith("must be a number, not ")
    assert "Infinity" not in (found.hint or "")


# ---------------------------------------------------------------- the fingerprint


def fingerprint_of(content):
    return fingerprint(parse_model(orjson.dumps(content))[0])


def described(content):
    content = copy.deepcopy(content)
    content |= {"description": "other", "metadata": {"other": 1}, "name": "other", "$schema": "other.json"}
    for part in (*content["nodes"], *content["inputs"].values(), *content["parameters"].values()):
        part["description"] = "other"
    return content


def reordered(content):
    content = copy.deepcopy(content)
    random.Random(1).shuffle(content["nodes"])
    content["inputs"] = dict(reversed(content["inputs"].items()))
    return dict(reversed(content.items()))


def with_empty_attributes(content):
    content = copy.deepcopy(content)
    for node in content["nodes"]:
        node.setdefault("attributes", {})
    return content


@pytest.mark.parametrize(
    "change", [described, reordered, with_empty_attributes, lambda content: content | {"dtype": "float64"}]
)
def test_the_fingerprint_does_not_see_what_means_nothing(change):
    assert fingerprint_of(change(whole())) == fingerprint_of(whole())


def test_the_fingerprint_does_not_see_formatting():
    pretty = json.dumps(whole(), indent=4).encode()
    assert fingerprint(parse_model(pretty)[0]) == fingerprint_of(whole())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("nodes", 3, "attributes"), {"keepdims": True}),
        (("nodes", 3, "op"), "sum"),
        (("nodes", 1, "inputs"), ["y_hat", "y"]),
        (("parameters", "theta", "value"), 1.0),
        (("parameters", "theta", "trainable"), False),
        (("inputs", "x", "shape"), ["M"]),
        (("outputs", "loss"), "sq"),
        (("dtype",), "float32"),
        (("training", "epochs"), 2),
        (("data", "csv", "path"), "b.csv"),
    ],
)
def test_the_fingerprint_sees_what_means_something(path, value):
    assert fingerprint_of(changed(whole(), path, value)) != fingerprint_of(whole())


def test_the_fingerprint_is_a_sha256_and_leaves_the_document_alone():
    model = ge.Model.from_dict(described(whole()))
    assert len(bytes.fromhex(model.fingerprint)) == 32
    assert model.document.nodes[0]["description"] == "other"


# ---------------------------------------------------------------- writing files


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "m.json"
    path.write_bytes(b"old")

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ge.errors.GraphEngineError, match="GE101: cannot write the file: No space left on device"):
        ge.Model.from_dict(linreg()).save(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_into_a_folder_that_is_not_there_is_a_located_error(tmp_path):
    with pytest.raises(ge.errors.GraphEngineError, match=r"m\.json: GE101: cannot write the file"):
        write_bytes(tmp_path / "nowhere" / "m.json", b"")


def test_writing_replaces_the_file_and_keeps_its_permissions(tmp_path):
    path = tmp_path / "m.json"
    path.write_bytes(b"old")
    path.chmod(0o640)
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_new_file_gets_the_permissions_that_the_user_asked_for(tmp_path):
    mask = os.umask(0o027)
    try:
        write_bytes(tmp_path / "m.json", b"")
    finally:
        os.umask(mask)
    assert (tmp_path / "m.json").stat().st_mode & 0o777 == 0o640


# ---------------------------------------------------------------- the JSON Schema

VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_bytes()))


def test_the_schema_file_is_what_the_registry_says():
    functions = {name: function.document for name, function in shipped_functions().items()}
    expected = orjson.dumps(model_schema(shipped_rules(), functions), option=orjson.OPT_INDENT_2) + b"\n"
    assert SCHEMA_FILE.read_bytes() == expected, "the schema drifted: write it again with `graphengine schema`"


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(VALIDATOR.schema)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_model_is_valid_under_the_schema(path):
    VALIDATOR.validate(json.loads(path.read_bytes()))


@pytest.mark.parametrize("content", [linreg(), whole()])
def test_a_saved_model_is_valid_under_the_schema(content, tmp_path):
    model = ge.Model.from_dict(content)
    model.save(tmp_path / "m.json")
    VALIDATOR.validate(json.loads((tmp_path / "m.json").read_bytes()))


def test_calls_and_references_to_attributes_are_valid_under_the_schema():
    nodes = [{"id": "s", "op": "sum", "inputs": ["x"], "attributes": {"axis": {"attribute": "axis"}}}]
    own = {"inputs": {"x": {}}, "attributes": {"axis": {}}, "nodes": nodes, "outputs": {"s": "s"}}
    content = document({"z": ("own", ["x"], {"axis": 0})}, inputs={"x": ["N", "M"]}, functions={"own": own})
    VALIDATOR.validate(content)
    ge.Model.from_dict(content)
    shipped = document({"z": ("nn.dense", ["x", "w", "b"])}, opset_imports={"core": 1, "nn": 1})
    VALIDATOR.validate(shipped)
    assert not VALIDATOR.is_valid(changed(shipped, ("nodes", 0, "inputs"), ["x"]))
    assert not VALIDATOR.is_valid(changed(shipped, ("nodes", 0, "op"), "nn.dens"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("surprise",), 1),
        (("format",), "other"),
        (("format_version",), 2),
        (("dtype",), "float63"),
        (("nodes", 0, "op"), "mull"),
        (("nodes", 0, "inputs"), ["x"]),
        (("nodes", 0, "inputs"), ["x", "y", "theta"]),
        (("nodes", 0, "inputs"), {"x": "x"}),
        (("nodes", 0, "inputs"), {"x": "x", "z": "y"}),
        (("nodes", 3, "attributes"), {"axes": 0}),
        (("nodes", 3, "attributes"), {"axis": "0"}),
        (("nodes", 0, "attributes"), {"axis": 0}),
        (("inputs", "x", "shape"), ["N*2"]),
        (("data", "csv", "type"), "cvs"),
        (("training", "optimizer", "momentum"), 0.9),
        (("training", "epochs"), 0),
    ],
)
def test_a_wrong_file_is_invalid_under_the_schema_and_for_the_engine(path, value):
    content = changed(whole(), path, value)
    assert not VALIDATOR.is_valid(content)
    assert problems_of(content)
