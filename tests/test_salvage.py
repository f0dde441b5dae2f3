"""Beside errors in the form of a file all other errors are reported, and nothing that only follows from them."""

import copy

import orjson
import pytest
from documents import changed, document, linreg, parameter, training

import graphengine as ge
from graphengine.format.reading import parse_model


def reported(content):
    """Codes and pointers of what is wrong with a model, and the problems by pointer."""
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.Model.from_dict(content)
    return {problem.pointer.removeprefix("/training"): problem for problem in caught.value.problems}


def trained(**changes):
    """The training section of linear regression with a check of everything, changed."""
    section = {
        "data": "train",
        "batch_size": 2,
        "accumulate": 2,
        "gradient_clipping": {"type": "norm", "limit": 1.0},
        "validation": {"fraction": 0.25, "every_epochs": 1},
        "metrics": {"mse": "loss"},
        "early_stopping": {"monitor": "mse", "patience": 3},
        **changes,
    }
    data = {"train": {"type": "inline", "values": {"x": [1.0], "y": [2.0]}}}
    return linreg(training=training(**section), data=data)


BESIDE = {
    "the share and the rhythm of a validation, and what is monitored": (
        {
            "validation": {"fraction": 1.5, "data": "vaild", "every_epochs": 0},
            "early_stopping": {"monitor": "validation_los", "patience": 0},
        },
        {
            "/validation": "GE112",
            "/validation/fraction": "GE112",
            "/validation/data": "GE210",
            "/validation/every_epochs": "GE112",
            "/early_stopping/monitor": "GE210",
            "/early_stopping/patience": "GE112",
        },
    ),
    "a misspelled share is there all the same": (
        {"validation": {"fration": 0.25}},
        {"/validation/fration": "GE110"},
    ),
    "a validation that is none, and its loss": (
        {"validation": 0.25, "early_stopping": {"monitor": "validation_loss"}},
        {"/validation": "GE112"},
    ),
    "data of a validation that are no name": (
        {"validation": {"data": 3}, "early_stopping": {"monitor": "mes"}},
        {"/validation/data": "GE112", "/early_stopping/monitor": "GE210"},
    ),
    "a metric whose value is none can be monitored": (
        {"metrics": {"mse": 3, "other": "lss"}},
        {"/metrics/mse": "GE112", "/metrics/other": "GE210"},
    ),
    "a metric whose name is none may be what is monitored": (
        {"metrics": {"m s e": "loss", "other": "lss"}},
        {"/metrics/m s e": "GE112", "/metrics/other": "GE210"},
    ),
    "metrics that are none may be what is monitored": ({"metrics": ["mse"]}, {"/metrics": "GE112"}),
    "metrics that are none, and nothing is monitored": (
        {"metrics": ["mse"], "early_stopping": None, "data": "tran"},
        {"/metrics": "GE112", "/data": "GE210"},
    ),
    "what is monitored is no name": (
        {"early_stopping": {"monitor": 3, "mode": "least"}},
        {"/early_stopping/monitor": "GE112", "/early_stopping/mode": "GE112"},
    ),
    "a clipping of no kind, and a batch of no size": (
        {"gradient_clipping": {"type": "norms"}, "batch_size": 0, "data": "tran"},
        {
            "/gradient_clipping": "GE111",
            "/gradient_clipping/type": "GE112",
            "/batch_size": "GE112",
            "/data": "GE210",
        },
    ),
}


@pytest.mark.parametrize(("changes", "expected"), BESIDE.values(), ids=BESIDE)
def test_a_broken_part_of_the_training_hides_no_other(changes, expected):
    assert {pointer: problem.code for pointer, problem in reported(trained(**changes)).items()} == expected


def test_a_format_that_stands_twice_hides_nothing():
    text = orjson.dumps(linreg()).replace(b'"mul"', b'"mull"').replace(b"{", b'{"format": "graphengine.model", ', 1)
    document, source = parse_model(text, salvage=True)
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.Model(document, source)
    assert {(problem.pointer, problem.code) for problem in caught.value.problems} == {
        ("/format", "GE122"),
        ("/nodes/0/op", "GE211"),
    }


def test_of_a_broken_function_it_is_not_known_what_outputs_it_has():
    function = {
        "inputs": {"a": {}},
        "nodes": [{"id": "o", "op": "neg", "inputs": ["a"]}],
        "outputs": {"o": "o", "b": 3},
    }
    nodes = {"c": ("f", ["x"]), "z": ("neg", ["c:b"]), "y": ("neg", ["d"])}
    problems = reported(document(nodes, inputs={"x": ["N"]}, functions={"f": function}))
    assert set(problems) == {"/functions/f/outputs/b", "/nodes/2/inputs/0"}
    assert problems["/nodes/2/inputs/0"].hint == "defined: x, c, z, y"


def test_a_hint_reports_names_of_which_nothing_else_is_known():
    content = linreg(dtype="float46")
    content["nodes"][0]["inputs"] = ["theta", "xx"]
    content["outputs"]["error"] = "theta0"
    problems = reported(content)
    assert problems["/nodes/0/inputs/1"].hint == "did you mean 'x'?"
    assert problems["/outputs/error"].hint == "did you mean 'theta'?"


# ---------------------------------------------------------------- update rules

RULE = {
    "format": "graphengine.function",
    "format_version": 1,
    "opset_imports": {"core": 1},
    "name": "mine",
    "inputs": {
        "parameter": {"shape": ["N"]},
        "gradient": {"shape": ["N"]},
        "learning_rate": {},
        "speed": {"shape": ["N"], "initializer": {"type": "zeros"}},
        "count": {"shape": [], "initializer": {"type": "zeros"}},
    },
    "attributes": {"axis": {"default": 0}, "friction": {"default": 0.5}},
    "functions": {
        "slowed": {
            "inputs": {"x": {}, "by": {}},
            "nodes": [{"id": "z", "op": "mul", "inputs": ["x", "by"]}],
            "outputs": {"z": "z"},
        },
    },
    "nodes": [
        {"id": "kept", "op": "slowed", "inputs": ["speed", "friction"]},
        {"id": "faster", "op": "add", "inputs": ["kept", "gradient"]},
        {"id": "largest", "op": "max", "inputs": ["gradient"], "attributes": {"axis": {"attribute": "axis"}}},
        {"id": "counted", "op": "add", "inputs": ["count", "largest"]},
        {"id": "step", "op": "mul", "inputs": ["learning_rate", "faster"]},
        {"id": "new", "op": "sub", "inputs": ["parameter", "step"]},
    ],
    "outputs": {"parameter": "new", "speed": "faster", "count": "counted"},
}
LINE = document(
    {"h": ("mul", ["w", "x"]), "loss": ("mean", ["h"])},
    inputs={"x": [3]},
    parameters={"w": parameter([0.0, 0.0, 0.0])},
)

WRONG_RULES = {
    "form and names": (
        {
            ("nodes", 1, "note"): "faster",
            ("nodes", 3, "op"): "ad",
            ("nodes", 4, "inputs"): ["learning_rat", "faster"],
            ("outputs", "spead"): "faster",
        },
        {
            "/nodes/1/note": "GE110",
            "/nodes/3/op": "GE211",
            "/nodes/4/inputs/0": "GE210",
            "/outputs/spead": "GE210",
        },
    ),
    "a shape that says what a size is": (
        {("inputs", "parameter", "shape"): "N", ("nodes", 0, "op"): "slow"},
        {"/inputs/parameter/shape": "GE112", "/nodes/0/op": "GE211"},
    ),
    "all shapes that say what a size is": (
        {("inputs", "parameter", "shape"): "N", ("inputs", "gradient", "shape"): "N"},
        {"/inputs/parameter/shape": "GE112", "/inputs/gradient/shape": "GE112"},
    ),
    "defaults that none can have": (
        {("attributes", "axis", "default"): {"a": 1}, ("attributes", "friction", "default"): {}, ("nodes", 5, "op"): 1},
        {"/attributes/axis/default": "GE112", "/attributes/friction/default": "GE112", "/nodes/5/op": "GE112"},
    ),
    "defaults that are misspelled": (
        {
            ("attributes", "axis"): {"defualt": 0},
            ("attributes", "friction"): {"defualt": 0.5},
            ("nodes", 5, "op"): "su",
        },
        {"/attributes/axis/defualt": "GE110", "/attributes/friction/defualt": "GE110", "/nodes/5/op": "GE211"},
    ),
    "a slot and an output that are none": (
        {("inputs", "speed", "shape"): "N", ("outputs", "count"): 3, ("nodes", 4, "op"): "mull"},
        {"/inputs/speed/shape": "GE112", "/outputs/count": "GE112", "/nodes/4/op": "GE211"},
    ),
    "a name that is none, and a function": (
        {("name",): "", ("functions", "slowed", "nodes", 0, "op"): "mull", ("nodes", 1, "op"): "matmull"},
        {"/name": "GE112", "/functions/slowed/nodes/0/op": "GE211", "/nodes/1/op": "GE211"},
    ),
    "a node without an id": (
        {("nodes", 2): {"op": "max", "inputs": ["gradient"], "attributes": {"axis": {"attribute": "ax"}}}},
        {"/nodes/2": "GE111", "/nodes/2/attributes/axis": "GE210"},
    ),
    "only the form": ({("version",): 2}, {"/version": "GE110"}),
}


def with_changes(content, changes):
    for path, value in changes.items():
        content = changed(content, path, value)
    return content


@pytest.mark.parametrize(("changes", "expected"), WRONG_RULES.values(), ids=WRONG_RULES)
def test_all_that_is_wrong_with_a_rule_file_is_reported_in_one_run(tmp_path, changes, expected):
    path = tmp_path / "mine.json"
    path.write_bytes(orjson.dumps(with_changes(RULE, changes), option=orjson.OPT_INDENT_2))
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.Model.from_dict(LINE, update_rule=path)
    assert {problem.pointer: problem.code for problem in caught.value.problems} == expected
    assert all(problem.file == str(path) and problem.line for problem in caught.value.problems)
    assert "__" not in str(caught.value), "what stands for a missing name is not reported"


def test_what_is_wrong_with_a_rule_file_is_reported_beside_what_is_wrong_with_the_model(tmp_path):
    path = tmp_path / "mine.json"
    path.write_bytes(orjson.dumps(with_changes(RULE, {("nodes", 0, "op"): "slow", ("nodes", 0, "note"): 1})))
    content = with_changes(LINE, {("nodes", 0, "op"): 3, ("nodes", 1, "op"): "maen"})
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.Model.from_dict(content, update_rule=path)
    reported = [(problem.file and "rule", problem.pointer, problem.code) for problem in caught.value.problems]
    assert reported == [
        (None, "/nodes/0/op", "GE112"),
        (None, "/nodes/1/op", "GE211"),
        ("rule", "/nodes/0/op", "GE211"),
        ("rule", "/nodes/0/note", "GE110"),
    ]


WRONG_IN_A_MODEL = {
    "what a rule calls is reported once": (
        {("slowed", "nodes", 0, "op"): "mull"},
        {"/functions/slowed/nodes/0/op": "GE211"},
    ),
    "what a rule calls has its place in the model where it does not fit": (
        {("slowed", "nodes", 0, "op"): "matmul", ("mine", "nodes", 0, "inputs"): ["friction", "speed"]},
        {"/functions/slowed/nodes/0": "GE301"},
    ),
    "what a rule calls is not judged where its form is broken": (
        {("slowed", "inputs", "by"): 3, ("mine", "nodes", 5, "op"): "subb"},
        {"/functions/slowed/inputs/by": "GE112", "/functions/mine/nodes/5/op": "GE211"},
    ),
    "a broken rule": (
        {("mine", "inputs", "speed", "shape"): "N", ("mine", "nodes", 5, "op"): "subb"},
        {"/functions/mine/inputs/speed/shape": "GE112", "/functions/mine/nodes/5/op": "GE211"},
    ),
    "a rule that is none": ({("mine",): 3}, {"/functions/mine": "GE112"}),
}


@pytest.mark.parametrize(("changes", "expected"), WRONG_IN_A_MODEL.values(), ids=WRONG_IN_A_MODEL)
def test_all_that_is_wrong_with_a_rule_in_a_model_is_reported_in_one_run(changes, expected):
    rule = {key: RULE[key] for key in ("inputs", "attributes", "nodes", "outputs")}
    functions = with_changes(copy.deepcopy({"mine": rule, **RULE["functions"]}), changes)
    section = training(optimizer={"type": "mine", "learning_rate": 0.1})
    problems = reported({**LINE, "functions": functions, "training": section})
    assert {pointer: problem.code for pointer, problem in problems.items()} == expected


def test_the_rule_of_these_tests_is_sound(tmp_path):
    path = tmp_path / "mine.json"
    path.write_bytes(orjson.dumps(RULE))
    model = ge.Model.from_dict({**LINE, "training": training()}, update_rule=path)
    model.train({"x": [[1.0, 2.0, 3.0]]}, max_iterations=1)
    assert model.parameters["w"].any()


def test_beside_a_value_of_unknown_shape_a_residual_that_does_not_depend_on_it_is_judged():
    nodes = {
        "u": ("mul", ["a", "x"]),
        "error": ("sub", ["y", "x"]),
        "sq": ("square", ["error"]),
        "loss": ("sum", ["sq"]),
    }
    content = document(nodes, {"loss": "loss", "u": "u"}, inputs={"x": ["N"], "y": ["N"]}, parameters={"a": 1.0})
    content["parameters"]["a"]["shape"] = [[2, 3]]
    section = {"loss": "loss", "optimizer": {"type": "least_squares", "residual": "error", "sigma": "y"}}
    found = reported({**content, "training": section})
    assert {pointer: problem.code for pointer, problem in found.items()} == {"/parameters/a/shape/0": "GE112"}


def test_the_steps_of_a_loop_over_a_value_of_unknown_shape_are_not_counted():
    content = ge.load("lstm_sums").to_dict()
    name = next(iter(content["inputs"]))
    content["inputs"][name]["shape"] = 5
    assert {pointer: problem.code for pointer, problem in reported(content).items()} == {
        f"/inputs/{name}/shape": "GE112"
    }
