"""Warnings as data: what is valid and probably not meant, with its code, its place and a remedy."""

import json
import pickle
import warnings
from importlib import import_module

import numpy as np
import pytest
from documents import SHIPPED, document, linreg, training, write
from typer.testing import CliRunner

import graphengine as ge
from graphengine.cli.app import app
from graphengine.errors import ModelWarning
from graphengine.ir.memory import memory_of
from graphengine.limits import Limits
from graphengine.model.linting import CHECKS, step_bytes

X = np.array([1.0, 2.0, 4.0])
REDUCED = {"sq": ("square", ["e"]), "loss": ("mean", ["sq"])}


def quietly(content, **keys):
    """The model of a document, whatever it warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)
        return ge.Model.from_dict(content, **keys)


def found(content, **keys):
    """Codes and pointers of the warnings of a document."""
    return [(each.code, each.pointer) for each in quietly(content, **keys).warnings]


def cli(*arguments, code=0):
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def machine(*arguments, code=0):
    return json.loads(cli(*arguments, "--format", "json", code=code).stdout)


# ---------------------------------------------------------------- crosswise broadcasting


def crossed(x, y, nodes, **sections):
    return document({**nodes, **REDUCED}, {"loss": "loss"}, inputs={"x": x, "y": y}, **sections)


DIFFERENCE = {"e": ("sub", ["y", "p"])}
MEANT_BY_NOBODY = {
    "a product with a number": crossed(
        ["N", 1], ["N"], {"p": ("mul", ["x", "w"]), **DIFFERENCE}, parameters={"w": 2.0}
    ),
    "a product of matrices": crossed(
        ["N", 2], ["N"], {"p": ("matmul", ["x", "w"]), **DIFFERENCE}, parameters={"w": [[1.0], [2.0]]}
    ),
    "the other way round": crossed(["N"], ["N", 1], {"p": ("neg", ["x"]), **DIFFERENCE}),
    "sizes in numbers": crossed([3, 1], [3], {"p": ("exp", ["x"]), **DIFFERENCE}),
    "a column that is sliced": crossed(
        ["N", 2], ["N"], {"p": ("slice", ["x"], {"axis": 1, "start": 0, "stop": 1}), **DIFFERENCE}
    ),
    "a cast": crossed(["N", 1], ["N"], {"p": ("cast", ["x"], {"dtype": "float64"}), **DIFFERENCE}),
}
MEANT = {
    "one shape": crossed(["N", 1], ["N", 1], {"p": ("neg", ["x"]), **DIFFERENCE}),
    "expand_dims": crossed(["N"], ["N"], {"p": ("expand_dims", ["x"], {"axis": 1}), **DIFFERENCE}),
    "expand_dims, then other ops": crossed(
        ["N"], ["N"], {"q": ("expand_dims", ["x"], {"axis": 1}), "p": ("exp", ["q"]), **DIFFERENCE}
    ),
    "distances of vectors": crossed(
        ["N", "D"],
        ["N", "D"],
        {
            "p": ("expand_dims", ["x"], {"axis": 1}),
            "q": ("expand_dims", ["y"], {"axis": 0}),
            "e": ("sub", ["p", "q"]),
        },
    ),
    "squares of norms": crossed(
        ["N", "D"],
        ["N", "D"],
        {
            "xx": ("mul", ["x", "x"]),
            "yy": ("mul", ["y", "y"]),
            "p": ("sum", ["xx"], {"axis": 1, "keepdims": True}),
            "q": ("sum", ["yy"], {"axis": 1}),
            "e": ("add", ["p", "q"]),
        },
    ),
    "a row": crossed([1, "N"], ["N", 1], {"p": ("neg", ["x"]), **DIFFERENCE}),
    "two sizes": crossed(["N", 1], ["M"], {"p": ("neg", ["x"]), **DIFFERENCE}),
    "numbers that are equal by chance": crossed(
        ["N"],
        ["N"],
        {"a": ("mul", ["u", "v"]), "b": ("mean", ["a"]), "p": ("mul", ["b", "x"]), **DIFFERENCE},
        parameters={"u": [[1.0], [2.0], [3.0]], "v": [1.0, 2.0, 3.0]},
    ),
    "a table that nothing adds up": document(
        {"e": ("mul", ["x", "y"])}, {"table": "e"}, inputs={"x": ["N", 1], "y": ["N"]}
    ),
    "samples of size 1": crossed([1, 1], [1], {"p": ("neg", ["x"]), **DIFFERENCE}),
}


@pytest.mark.parametrize("name", MEANT_BY_NOBODY)
def test_sizes_that_meet_crosswise_are_found_where_they_meet(name):
    content = MEANT_BY_NOBODY[name]
    place = [node["id"] for node in content["nodes"]].index("e")
    assert found(content) == [("GE901", f"/nodes/{place}")]


@pytest.mark.parametrize("name", MEANT)
def test_pairs_that_are_meant_give_no_warning(name):
    assert found(MEANT[name]) == []


def test_the_loss_of_a_crosswise_difference_is_that_of_all_pairs():
    model = quietly(MEANT_BY_NOBODY["a product with a number"])
    y = 3 * X
    loss = model.forward(x=X[:, None], y=y)["loss"]
    np.testing.assert_allclose(loss, np.mean((y[None, :] - 2 * X[:, None]) ** 2), rtol=1e-14)
    assert abs(loss - np.mean((y - 2 * X) ** 2)) > 1


def test_a_metric_that_meets_crosswise_is_found():
    nodes = {"p": ("mul", ["x", "w"]), "q": ("squeeze", ["p"], {"axis": 1}), "e": ("sub", ["y", "q"])}
    others = {"d": ("sub", ["y", "p"]), "a": ("abs", ["d"]), "mae": ("mean", ["a"])}
    section = training(metrics={"mae": "mae"})
    inputs, outputs = {"x": ["N", 1], "y": ["N"]}, {"q": "q"}
    content = document({**nodes, **REDUCED, **others}, outputs, inputs=inputs, parameters={"w": 1.0}, training=section)
    assert found(content) == [("GE901", "/nodes/5")]


def test_a_crossing_inside_of_a_function_is_found_at_its_call():
    body = {"inputs": {"a": {}, "b": {}}, "nodes": document({"d": ("sub", ["a", "b"])})["nodes"], "outputs": {"d": "d"}}
    content = crossed(["N", 1], ["N"], {"e": ("difference", ["x", "y"])}, functions={"difference": body})
    (warning,) = quietly(content).warnings
    assert (warning.code, warning.pointer) == ("GE901", "/nodes/0")
    assert warning.message.startswith("call 'e' of 'difference', node 'd' (sub): 'x' (N, 1) and 'y' (N,)")


def test_a_node_of_a_user_that_broadcasts_is_seen():
    @ge.register("distance")
    class Distance(ge.Node):
        """Squared distance, z = (x - y)^2."""

        def forward(self, x, y):
            return (x - y) ** 2

    nodes = {"sq": ("distance", ["x", "y"]), "loss": ("mean", ["sq"])}
    content = document(
        nodes, {"loss": "loss"}, inputs={"x": ["N", 1], "y": ["N"]}, opset_imports={"core": 1, "mine": 1}
    )
    assert found(content) == [("GE901", "/nodes/0")]


# ---------------------------------------------------------------- parameters that the loss does not reach


def with_idle(**keys):
    """Linear regression with a parameter that no node reads."""
    section = training(optimizer={"type": "adamw", "learning_rate": 0.1, "weight_decay": 0.5}, epochs=3)
    content = linreg(theta=1.0, training=section)
    content["parameters"]["idle"] = {"shape": [], "initializer": {"type": "constant", "value": 2.0}, **keys}
    return content


def test_a_parameter_that_the_loss_does_not_reach_is_found():
    assert found(with_idle()) == [("GE902", "/parameters/idle")]
    assert found(with_idle(trainable=False)) == []
    behind = with_idle()
    behind["nodes"] += document({"n": ("neg", ["idle"]), "c": ("stop_gradient", ["n"]), "b": ("add", ["loss", "c"])})[
        "nodes"
    ]
    behind["outputs"]["loss"] = "b"
    assert found(behind) == [("GE902", "/parameters/idle")]


@pytest.mark.extra("torch")
@pytest.mark.parametrize("keys", [{}, {"batch_size": 2, "accumulate": 2}])
def test_a_parameter_without_influence_is_not_decayed_as_in_torch(keys):
    torch = import_module("torch")
    x = np.array([1.0, 2.0, 3.0, 4.0])
    model = quietly(with_idle())
    model.train({"x": x, "y": 2 * x}, **keys)
    theta, idle = (torch.nn.Parameter(torch.tensor(start, dtype=torch.float64)) for start in (1.0, 2.0))
    optimizer = torch.optim.AdamW([theta, idle], lr=0.1, weight_decay=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        torch.mean((torch.tensor(2 * x) - theta * torch.tensor(x)) ** 2).backward()
        optimizer.step()
    assert model.parameters["theta"] == pytest.approx(theta.item(), rel=1e-12)
    assert model.parameters["idle"] == idle.item() == 2.0


def test_one_of_many_small_parameters_without_influence_keeps_its_value():
    count = 40
    nodes = {f"t{index}": ("mul", [f"p{index}", "x"]) for index in range(count)}
    nodes |= {"p": ("add_n", list(nodes)), **DIFFERENCE, **REDUCED}
    values = {f"p{index}": 1.0 for index in range(count)} | {"idle": 2.0}
    section = training(optimizer={"type": "adamw", "learning_rate": 0.1, "weight_decay": 0.5})
    content = document(nodes, {"loss": "loss"}, inputs={"x": ["N"], "y": ["N"]}, parameters=values, training=section)
    model = quietly(content)
    trainer = model.trainer({"x": X, "y": X})
    assert "idle" in trainer.stepper.step.graph.parameters  # beside the vector of all others
    list(trainer.chunks())
    assert model.parameters["idle"] == 2.0
    assert model.parameters["p0"] != 1.0


def test_a_training_of_what_depends_on_no_parameter_cannot_start():
    content = document({"loss": ("mean", ["x"])}, inputs={"x": ["N"]}, parameters={"w": 1.0}, training=training())
    with pytest.raises(ge.errors.TrainingError, match="GE602: the loss 'loss' depends on no trainable parameter"):
        quietly(content).train({"x": X})


# ---------------------------------------------------------------- values that were never trained


def raw(**sections):
    """Linear regression whose parameter has an initializer and no value."""
    content = linreg(**sections)
    content["parameters"]["theta"] = {"shape": [], "initializer": {"type": "constant", "value": 0.5}}
    return content


def test_a_prediction_with_values_that_were_never_trained_warns_once():
    model = ge.Model.from_dict(raw(training=training()))
    with pytest.warns(ModelWarning, match="GE903: parameter 'theta': never trained") as caught:
        model.predict(x=X)
    assert caught[0].message.problem.pointer == "/parameters/theta"
    model.predict(x=X)  # warnings are errors in the tests


def test_trained_saved_and_assigned_values_give_no_warning(tmp_path):
    model = ge.Model.from_dict(raw(training=training()))
    model.train({"x": X, "y": 2 * X})
    model.copy().predict(x=X)
    pickle.loads(pickle.dumps(model)).predict(x=X)
    model.predict(x=X)
    model.save(tmp_path / "m.json")
    ge.load(tmp_path / "m.json").predict(x=X)
    other = ge.Model.from_dict(raw(training=training()))
    other.parameters["theta"] = 2.0
    other.predict(x=X)


def test_a_formula_with_constants_is_not_untrained_but_random_numbers_are():
    ge.Model.from_dict(raw()).predict(x=X)
    content = raw()
    content["parameters"]["theta"]["initializer"] = {"type": "normal"}
    with pytest.warns(ModelWarning, match="GE903"):
        ge.Model.from_dict(content).predict(x=X)


def test_only_parameters_that_the_outputs_depend_on_count():
    content = raw(training=training())
    content["nodes"] += document({"double": ("mul", [2, "x"])})["nodes"]
    content["outputs"]["double"] = "double"
    ge.Model.from_dict(content).predict(x=X, outputs="double")


def test_a_parameter_added_to_a_trained_file_was_never_trained(tmp_path):
    model = ge.Model.from_dict(raw(training=training()))
    model.train({"x": X, "y": 2 * X})
    content = model.to_dict()
    assert found(content) == []
    content["nodes"][:1] = document({"wx": ("mul", ["theta", "x"]), "y_hat": ("add", ["wx", "bias"])})["nodes"]
    content["parameters"]["bias"] = {"shape": [], "initializer": {"type": "zeros"}}
    assert found(content) == [("GE903", "/parameters/bias")]


# ---------------------------------------------------------------- sizes that will not fit


def heavy(**keys):
    nodes = {"h": ("matmul", ["x", "w"]), "sq": ("square", ["h"]), "loss": ("mean", ["sq"])}
    weights = {"w": {"shape": [100, 50], "initializer": {"type": "zeros"}}}
    return document(nodes, {"loss": "loss"}, inputs={"x": ["N", 100]}, parameters=weights, training=training(**keys))


def test_a_step_that_will_not_fit_is_found_by_batch_size_data_and_fixed_sizes():
    limits = Limits(array_bytes=1_000_000)
    assert found(heavy(), limits=limits) == []
    assert found(heavy(batch_size=1000), limits=limits) == [("GE904", "/training")]
    assert found(heavy(batch_size=1000, accumulate=20), limits=limits) == []
    rows = {"d": {"type": "inline", "values": {"x": np.zeros((1000, 100)).tolist()}}}
    assert found({**heavy(data="d"), "data": rows}, limits=limits) == [("GE904", "/training")]
    adam = {"type": "adam", "learning_rate": 0.1}
    assert found(heavy(optimizer=adam), limits=Limits(array_bytes=200_000)) == [("GE904", "/training")]
    model = quietly(heavy(batch_size=1000), limits=limits)
    with pytest.raises(ge.errors.InputError, match="GE133"):
        model.train({"x": np.zeros((1000, 100))})


@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_the_warning_is_true_at_every_limit(rule):
    """A training runs at a limit where there is no warning, and is refused at one byte less, where there is one."""
    keys = {"batch_size": 20, "optimizer": {"type": rule, "learning_rate": 0.1}}
    step = quietly(heavy(**keys)).training_step().graph
    exact = memory_of(step, {"N": 20})
    x = np.zeros((20, 100))
    assert found(heavy(**keys), limits=Limits(array_bytes=exact)) == []
    quietly(heavy(**keys), limits=Limits(array_bytes=exact)).train({"x": x}, max_iterations=1)
    refused = quietly(heavy(**keys), limits=Limits(array_bytes=exact - 1))
    assert [each.code for each in refused.warnings] == ["GE904"]
    with pytest.raises(ge.errors.InputError, match="GE133"):
        refused.train({"x": x}, max_iterations=1)


STEPPED = [path for path in SHIPPED if "learning_rate" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", STEPPED, ids=lambda path: path.stem)
def test_the_estimate_gives_no_false_alarm(path):
    """It is at most the bytes that the step graph has, up to a tenth."""
    model = ge.load(path)
    section, rule = model.document.training, model._declared.declared_rule()
    shapes = [model.graph.types[name].shape for name in model.graph.inputs]
    sizes = {size: 512 for shape in shapes for size in shape if isinstance(size, str)}
    exact = memory_of(model.training_step().graph, sizes)
    assert 0.2 * exact < step_bytes(model.graph, section, rule, sizes) < 1.1 * exact


# ---------------------------------------------------------------- Python


def test_load_and_from_dict_warn_through_python(tmp_path):
    path = write(tmp_path / "m.json", MEANT_BY_NOBODY["a product with a number"])
    with pytest.warns(ModelWarning, match=r"m\.json:\d+:\d+: GE901: node 'e' \(sub\)") as caught:
        model = ge.load(path)
    assert caught[0].filename == __file__
    assert caught[0].message.problem == model.warnings[0]
    assert (model.warnings[0].line, model.warnings[0].node) == (line_of(path, '"id": "e"') - 1, "e")
    with pytest.warns(ModelWarning, match="GE901"):
        ge.Model.from_dict(json.loads(path.read_text()))


def line_of(path, text):
    return 1 + path.read_text().partition(text)[0].count("\n")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_models_give_no_warning(path):
    assert ge.load(path).warnings == ()


def test_each_check_has_a_code_of_its_own():
    codes = [check.__doc__.partition(":")[0] for check in CHECKS]
    assert len(set(codes)) == len(codes)
    assert set(codes) <= set(ge.errors.CODES)


# ---------------------------------------------------------------- the command line


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A file that trains on all pairs, with a parameter that the loss does not reach."""
    content = crossed(["N", 1], ["N"], {"p": ("mul", ["x", "w"]), **DIFFERENCE}, parameters={"w": 2.0})
    content["parameters"]["idle"] = {"shape": [], "initializer": {"type": "zeros"}}
    content["outputs"]["p"] = "p"
    content["data"] = {"d": {"type": "inline", "values": {"x": X[:, None].tolist(), "y": (3 * X).tolist()}}}
    content["training"] = training(data="d", learning_rate=0.001, epochs=2)
    monkeypatch.chdir(tmp_path)
    return write(tmp_path / "m.json", content)


COMMANDS = {
    "validate": [],
    "show": [],
    "run": [],
    "train": [],
    "predict": ["--input", "x=[[1]]", "--output", "p"],
    "trace": [],
    "explain-gradient": [],
    "gradcheck": [],
    "view": [],
    "resume-check": [],
    "fit": [],
    "search": ["--set", "training.epochs=1,2", "--folds", "2"],
}
WITH_MODEL_FILES = {"grad": [], "step": []}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_gives_machines_the_warnings(file, command):
    reported = machine(command, file, *COMMANDS[command])["warnings"]
    assert [each["code"] for each in reported][:2] == ["GE902", "GE901"]
    assert all(each["file"] == str(file) and each["line"] and each["column"] and each["hint"] for each in reported[:2])


@pytest.mark.parametrize("command", [*COMMANDS, *WITH_MODEL_FILES])
def test_every_command_gives_people_the_warnings_as_it_gives_errors(file, command):
    arguments = {**COMMANDS, **WITH_MODEL_FILES}[command]
    lines = cli(command, file, *arguments).stderr.splitlines()
    shown = [line for line in lines if line.startswith("warning: ")]
    place = line_of(file, '"idle"')
    assert shown[0].startswith(f"warning: {file}:{place}:")
    assert ": GE902: " in shown[0]
    assert ": GE901: " in shown[1]


@pytest.mark.parametrize("command", [*COMMANDS, *WITH_MODEL_FILES])
def test_strict_makes_errors_of_warnings_before_any_work(file, command):
    arguments = [command, file, *{**COMMANDS, **WITH_MODEL_FILES}[command], "--strict"]
    before = sorted(file.parent.iterdir())
    reported = machine(*arguments, code=2)
    assert [each["code"] for each in reported["errors"]] == ["GE902", "GE901"]
    assert reported["warnings"] == []
    assert ": GE901: " in cli(*arguments, code=2).stderr
    assert sorted(file.parent.iterdir()) == before


def test_strict_changes_nothing_for_a_sound_model():
    assert machine("validate", *SHIPPED, "--strict") == {"valid": True, "errors": [], "warnings": []}


def test_predict_warns_of_values_that_were_never_trained_and_run_does_not(tmp_path):
    data = {"d": {"type": "inline", "values": {"x": X.tolist(), "y": (2 * X).tolist()}}}
    path = write(tmp_path / "m.json", raw(data=data, training=training(data="d", learning_rate=0.01)))
    (warning,) = machine("predict", path, "--input", "x=[1]")["warnings"]
    assert (warning["code"], warning["line"]) == ("GE903", line_of(path, '"theta"'))
    reported = machine("predict", path, "--input", "x=[1]", "--strict", code=2)
    assert [each["code"] for each in reported["errors"]] == ["GE903"]
    for command in ("run", "train", "validate"):
        assert machine(command, path)["warnings"] == []
    cli("run", path, "--save", tmp_path / "trained.json")
    assert machine("predict", tmp_path / "trained.json", "--input", "x=[1]")["warnings"] == []


def test_a_warning_after_the_work_is_an_error_that_keeps_the_result(tmp_path):
    data = {"d": {"type": "inline", "values": {"x": X.tolist(), "y": (2 * X).tolist()}}}
    path = write(tmp_path / "m.json", linreg(data=data, training=training(data="d", epochs=3, learning_rate=1.0)))
    reported = machine("train", path, "--strict", "--save", tmp_path / "worse.json", code=1)
    assert [each["code"] for each in reported["errors"]] == ["GE605"]
    assert (tmp_path / "worse.json").exists()


@pytest.mark.parametrize("command", ["ops", "models", "explain"])
def test_commands_without_a_model_have_no_warnings(command):
    assert machine(command)["warnings"] == []
