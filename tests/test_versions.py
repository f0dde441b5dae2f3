"""Files over time: what is different between two, and files of every released version, which load forever."""

import copy
import json
import random
from pathlib import Path

import numpy as np
import orjson
import pytest
from documents import MODELS, document, linreg, training
from fuzzing import mutations
from typer.testing import CliRunner

import graphengine as ge
from graphengine.cli import app
from graphengine.format import reading, upgrading
from graphengine.format.differences import Difference, differences
from graphengine.format.documents import FORMAT_VERSION
from graphengine.format.meaning import fingerprint
from graphengine.format.reading import parse_model
from graphengine.format.writing import dump_model

RELEASED = Path(__file__).parent / "released"


def parsed(content):
    return parse_model(orjson.dumps(content))[0]


def reported(before, after):
    """Differences as kind and path, those that change the meaning without a mark, the others with one."""
    found = differences(parsed(before), parsed(after))
    return [(each.kind, ".".join(each.path) + "?" * (not each.changes_meaning)) for each in found]


def cli(*arguments, code=0):
    result = CliRunner().invoke(app.app, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def changed(content, change):
    content = copy.deepcopy(content)
    change(content)
    return content


# ---------------------------------------------------------------- released versions


def test_there_is_a_file_of_every_version_of_the_format():
    assert sorted(path.name for path in RELEASED.iterdir()) == [
        f"format_{v}.json" for v in range(1, FORMAT_VERSION + 1)
    ]


def test_a_file_of_version_1_loads_and_means_what_it_meant():
    model = ge.load(RELEASED / "format_1.json")
    run = model.forward(x=[[1.0, 0.0], [0.0, 1.0]], y=[4.5, 1.5])
    np.testing.assert_array_equal(run["prediction"], [4.0, 1.0])
    assert run["loss"] == 0.25
    np.testing.assert_array_equal(run.backward()["w"], [-0.5, -0.5])
    assert len(model.train()) == 6
    assert fingerprint(parsed(json.loads((RELEASED / "format_1.json").read_bytes()))) == FINGERPRINT


FINGERPRINT = "b3a26438a0c3b6ef88650f5f6afc61013d1a1ce36e575c3ceff4c6e2ae02fa69"


def test_adapters_bring_a_file_up_to_the_newest_version_step_by_step(monkeypatch):
    """As if there had been versions before the first: `dtype` was called "kind", and `mean` "average"."""
    old = linreg(format_version=1, kind="float32", training=training())
    old["nodes"][3]["op"] = "average"
    monkeypatch.setitem(upgrading.FORMATS, -1, lambda content: content)
    monkeypatch.setitem(upgrading.FORMATS, 0, with_dtype)
    monkeypatch.setitem(upgrading.OPSETS, ("core", 0), with_mean)
    model = ge.Model.from_dict(old | {"format_version": -1, "opset_imports": {"core": 0}})
    found = model.document
    assert (found.format_version, found.opset_imports, found.dtype) == (1, {"core": 1}, "float32")
    assert "mean" in {node.op for node in model.graph.nodes}


def with_dtype(content):
    return {**{key: value for key, value in content.items() if key != "kind"}, "dtype": content["kind"]}


def with_mean(node):
    return {**node, "op": "mean"} if node["op"] == "average" else node


@pytest.mark.parametrize("content", [{}, {"format_version": "1"}, {"format_version": 1, "opset_imports": []}])
def test_what_has_no_version_is_left_to_the_checks(content, monkeypatch):
    monkeypatch.setitem(upgrading.OPSETS, ("core", 0), lambda node: node)
    assert upgrading.upgraded(content) is content


def test_adapters_leave_what_is_no_node_to_the_checks(monkeypatch):
    monkeypatch.setitem(upgrading.OPSETS, ("core", 0), lambda node: {**node, "seen": True})
    head = {"format_version": 1, "opset_imports": {"core": 0}}
    assert upgrading.upgraded({**head, "nodes": 3})["nodes"] == 3
    assert upgrading.upgraded({**head, "nodes": [1, {}]})["nodes"] == [1, {"seen": True}]
    assert reading.FORMAT_VERSION == 1


def test_upgrade_writes_the_canonical_form_once(tmp_path):
    path = tmp_path / "m.json"
    path.write_bytes((MODELS / "linreg.json").read_bytes())
    before = ge.load(path).fingerprint
    assert "written in format version 1" in cli("upgrade", path).stdout
    again = json.loads(cli("upgrade", path, "--format", "json").stdout)
    assert (again["changed"], again["fingerprint"], again["format_version"]) == (False, before, 1)
    assert path.read_bytes() == dump_model(ge.load(path).document)
    assert ge.load(path).fingerprint == before
    cli("upgrade", path, "-o", tmp_path / "n.json")
    assert (tmp_path / "n.json").read_bytes() == path.read_bytes()


def test_upgrade_takes_a_file_and_writes_no_shipped_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("nowhere.json", "linreg"):
        assert cli("upgrade", name, code=2).stderr.startswith(f"error: {name}: GE101: cannot read the file: No such")
    assert list(tmp_path.iterdir()) == []


def test_upgrade_writes_over_no_link(tmp_path):
    (tmp_path / "m.json").write_bytes((MODELS / "linreg.json").read_bytes())
    (tmp_path / "link.json").symlink_to("m.json")
    assert "GE504: the path is a symbolic link" in cli("upgrade", tmp_path / "link.json", code=1).stderr
    assert (tmp_path / "m.json").read_bytes() == (MODELS / "linreg.json").read_bytes()


# ---------------------------------------------------------------- differences

WHOLE = linreg(training=training(), description="d", data={"d": {"type": "inline", "values": {"x": [1.0], "y": [2.0]}}})


def reordered(content):
    content["nodes"].reverse()
    content["inputs"] = dict(reversed(content["inputs"].items()))


def by_name(content):
    content["nodes"][0]["inputs"] = {"y": "x", "x": "theta"}


def default_written(content):
    content["nodes"][3]["attributes"] = {"keepdims": False}
    content["training"]["shuffle"] = False


@pytest.mark.parametrize("change", [reordered, by_name, default_written])
def test_what_means_the_same_is_no_difference(change):
    assert reported(WHOLE, changed(WHOLE, change)) == []


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("nodes", 0, "inputs", 1), "y", ("rewired", "nodes.y_hat.inputs.y")),
        (("nodes", 0, "inputs", 1), 2.0, ("rewired", "nodes.y_hat.inputs.y")),
        (("nodes", 3, "op"), "sum", ("changed", "nodes.loss.op")),
        (("nodes", 3, "attributes"), {"axis": 0}, ("added", "nodes.loss.attributes.axis")),
        (("parameters", "theta", "value"), 1.0, ("changed", "parameters.theta.value")),
        (("parameters", "theta", "trainable"), False, ("added", "parameters.theta.trainable")),
        (("inputs", "x", "shape"), ["M"], ("changed", "inputs.x.shape")),
        (("outputs", "loss"), "sq", ("changed", "outputs.loss")),
        (("training", "epochs"), 2, ("changed", "training.epochs")),
        (("data", "d", "values", "x"), [1.5], ("changed", "data.d.values.x")),
        (("name",), "other", ("changed", "name?")),
        (("description",), "other", ("changed", "description?")),
        (("inputs", "x", "description"), "new", ("added", "inputs.x.description?")),
        (("dtype",), "float32", ("added", "dtype")),
    ],
)
def test_a_change_is_reported_at_its_place(path, value, expected):
    def change(content):
        for part in path[:-1]:
            content = content[part]
        content[path[-1]] = value

    assert reported(WHOLE, changed(WHOLE, change)) == [expected]


def test_nodes_that_come_and_go_are_reported_as_calls():
    after = changed(WHOLE, lambda content: content["nodes"].append({"id": "n", "op": "mul", "inputs": ["x", 2]}))
    (found,) = differences(parsed(WHOLE), parsed(after))
    assert str(found) == "+ nodes.n: mul(x=x, y=2)"
    (found,) = differences(parsed(after), parsed(WHOLE))
    assert str(found) == "- nodes.n: mul(x=x, y=2)"


def test_a_part_named_like_a_text_key_changes_the_meaning():
    after = changed(WHOLE, lambda content: content["nodes"].append({"id": "name", "op": "neg", "inputs": ["x"]}))
    assert reported(WHOLE, after) == [("added", "nodes.name")]


def test_arrays_are_reported_with_their_distance():
    before, after = (
        document({"z": ("neg", ["p"])}, parameters={"p": value}) for value in ([1.0] * 50, [1.0] * 49 + [3.5])
    )
    (found,) = differences(parsed(before), parsed(after))
    assert str(found).endswith("(by at most 2.5)")


@pytest.mark.parametrize(("value", "after"), [([[1.0], [2.0]], [1.0]), (["a"], ["b"])])
def test_arrays_that_cannot_be_compared_are_reported_without_a_distance(value, after):
    assert "by at most" not in str(Difference("changed", ("parameters", "p", "value"), value, after))


def test_the_nodes_of_functions_are_compared_too():
    before = json.loads((RELEASED / "format_1.json").read_bytes())
    body = before["functions"]["affine"]["nodes"]
    after = changed(before, lambda content: content["functions"]["affine"]["nodes"].reverse())
    assert reported(before, after) == []
    assert body[1]["inputs"] == ["product", "offset"]
    after["functions"]["affine"]["nodes"][0]["inputs"] = ["offset", "product"]
    assert len(reported(before, after)) == 2


def calling():
    """A model that calls a function, whose parts have names like those of the format's keys."""
    function = {
        "inputs": {"a": {}, "b": {}},
        "attributes": {"name": {"default": 2}, "k": {"default": None}},
        "nodes": [
            {"id": "metadata", "op": "add", "inputs": ["a", "b"]},
            {"id": "n", "op": "mul", "inputs": ["metadata", "name"]},
        ],
        "outputs": {"u": "n", "v": "metadata"},
    }
    nodes = {"data": ("f", ["x", 2], {"name": 1}), "z": ("sum", ["data"], {"axis": 0})}
    return document(nodes, inputs={"x": ["N"]}, functions={"f": function})


FUNCTION = ("functions", "f")


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("nodes", 0, "inputs", 1), 2.0, ("rewired", "nodes.data.inputs.1")),
        (("nodes", 1, "attributes", "axis"), True, ("changed", "nodes.z.attributes.axis")),
        (("nodes", 0, "attributes", "name"), None, ("changed", "nodes.data.attributes.name")),
        (("nodes", 0, "attributes"), {}, ("removed", "nodes.data.attributes.name")),
        (("nodes", 0, "description"), "d", ("added", "nodes.data.description?")),
        ((*FUNCTION, "description"), "d", ("added", "functions.f.description?")),
        ((*FUNCTION, "inputs"), {"b": {}, "a": {}}, ("changed", "functions.f.order.inputs")),
        ((*FUNCTION, "inputs", "a", "description"), "d", ("added", "functions.f.inputs.a.description?")),
        ((*FUNCTION, "outputs"), {"v": "metadata", "u": "n"}, ("changed", "functions.f.order.outputs")),
        ((*FUNCTION, "outputs"), {"u": "n"}, ("removed", "functions.f.outputs.v")),
        ((*FUNCTION, "attributes", "name", "default"), 3, ("changed", "functions.f.attributes.name.default")),
        ((*FUNCTION, "attributes", "name", "description"), "d", ("added", "functions.f.attributes.name.description?")),
        ((*FUNCTION, "attributes", "k"), {}, ("removed", "functions.f.attributes.k.default")),
        ((*FUNCTION, "nodes", 0, "op"), "sub", ("changed", "functions.f.nodes.metadata.op")),
        ((*FUNCTION, "nodes", 0, "description"), "d", ("added", "functions.f.nodes.metadata.description?")),
    ],
)
def test_a_change_of_a_function_or_its_call_is_reported_as_what_it_is(path, value, expected):
    def change(content):
        for part in path[:-1]:
            content = content[part]
        content[path[-1]] = value

    before, after = parsed(calling()), parsed(changed(calling(), change))
    assert reported(calling(), changed(calling(), change)) == [expected]
    assert (fingerprint(before) == fingerprint(after)) == expected[1].endswith("?")


@pytest.mark.parametrize("seed", range(120))
def test_two_files_have_no_difference_in_meaning_if_and_only_if_their_fingerprints_are_the_same(seed):
    rng = random.Random(seed)
    before = rng.choice([WHOLE, calling(), json.loads((RELEASED / "format_1.json").read_bytes())])
    after = copy.deepcopy(before)
    for _ in range(rng.randint(1, 3)):
        mutations.change_value(after, rng, [before])
    try:
        first, second = parsed(before), parsed(after)
    except ge.errors.GraphEngineError:
        return
    found = [each for each in differences(first, second) if each.changes_meaning]
    assert (found == []) == (fingerprint(first) == fingerprint(second))
    assert differences(second, second) == []


def test_a_fingerprint_does_not_depend_on_what_else_is_registered():
    content = document({"z": ("test_versions.twice", ["x"], {"by": 2})}, inputs={"x": ["N"]})
    before = fingerprint(parsed(content))

    @ge.register("test_versions.twice")
    class Twice(ge.Node):
        """z = 2 x."""

        by: int = 2

        def forward(self, x):
            return self.by * x

    assert fingerprint(parsed(content)) == before


@pytest.mark.parametrize("change", [reordered, by_name, default_written])
def test_what_means_the_same_has_one_fingerprint(change):
    assert fingerprint(parsed(WHOLE)) == fingerprint(parsed(changed(WHOLE, change)))


def test_the_command_reports_differences_and_exits_as_asked(tmp_path):
    path = tmp_path / "m.json"
    path.write_text((MODELS / "linreg.json").read_text().replace('"epochs": 100', '"epochs": 7'))
    assert cli("diff", "linreg", path).stdout == "~ training.epochs: 100 -> 7\n"
    assert cli("diff", "linreg", "linreg", "--exit-code").stdout == "no difference\n"
    cli("diff", "linreg", path, "--exit-code", code=1)
    machine = json.loads(cli("diff", "linreg", path, "--format", "json").stdout)
    assert machine["same"] is False
    assert machine["differences"][0]["path"] == ["training", "epochs"]
    path.write_text((MODELS / "linreg.json").read_text().replace('"name": "linreg"', '"name": "other"'))
    assert "(different text, same meaning)" in cli("diff", "linreg", path, "--exit-code").stdout
    assert "GE101" in cli("diff", "linreg", tmp_path / "nowhere.json", code=2).stderr


# ---------------------------------------------------------------- limits on the command line


def test_limits_are_set_for_a_command(tmp_path):
    path = tmp_path / "m.json"
    content = document({"z": ("neg", ["p"])}, parameters={"p": {"shape": [2**24], "initializer": {"type": "zeros"}}})
    path.write_text(json.dumps(content))
    assert "GE133" in cli("--limit", "array_bytes=1MiB", "validate", path, code=2).stderr
    assert cli("validate", path).exit_code == 0
    assert "GE132" in cli("--limit", "nodes=0", "diff", path, path, code=2).stderr
    assert "GE103" in cli("--limit", "file_bytes=10", "run", path, "--set", "name=a", code=2).stderr


@pytest.mark.parametrize(
    ("limit", "said"), [("nods=3", "did you mean 'nodes'?"), ("nodes=many", "4GiB"), ("nodes", "NAME=")]
)
def test_a_wrong_limit_is_reported(limit, said):
    assert said in cli("--limit", limit, "ops", code=2).stderr
