"""What a user holds: Model, Run and the mapping of parameters."""

import inspect

import numpy as np
import pytest
from documents import MODELS, document, linreg, model, parameter, training

import graphengine as ge
from graphengine.backends.numpy.plan import Plan
from graphengine.traces.flow import explain_gradient
from graphengine.traces.traced_models import trace


@pytest.fixture(name="regression")
def _regression():
    return ge.Model.from_dict(linreg(theta=2.0, training=training()))


# ---------------------------------------------------------------- forward and Run


def test_forward_takes_keywords_or_a_mapping_or_both(regression):
    for run in (
        regression.forward(x=[1.0], y=[3.0]),
        regression.forward({"x": [1.0], "y": [3.0]}),
        regression.forward({"x": [1.0]}, y=[3.0]),
    ):
        assert run["loss"] == 1.0


def test_a_run_gives_outputs_by_public_name_and_values_by_id(regression):
    run = regression.forward(x=[1.0, 2.0], y=[2.0, 4.0])
    assert run["prediction"].tolist() == [2.0, 4.0]
    assert run["loss"] == 0.0
    assert run.value("error").tolist() == [0.0, 0.0]
    assert run.value("x").tolist() == [1.0, 2.0]
    assert run.value("theta") == 2.0
    assert {name: value.tolist() for name, value in run.outputs.items()} == {"prediction": [2.0, 4.0], "loss": 0.0}


def test_an_unknown_output_of_a_run_is_a_key_error_with_a_hint(regression):
    with pytest.raises(KeyError, match="did you mean 'loss'"):
        regression.forward(x=[1.0], y=[3.0])["los"]


def test_an_unknown_value_of_a_run_is_an_error_with_a_hint(regression):
    with pytest.raises(ge.errors.UsageError, match=r"GE402: .*no value 'eror'; did you mean 'error'"):
        regression.forward(x=[1.0], y=[3.0]).value("eror")


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ({"x": [1.0]}, "GE401", "input 'y' float64(N,) is missing"),
        ({}, "GE401", "'x' float64(N,), 'y' float64(N,)"),
        ({"x": [1.0], "y": [1.0], "X": [1.0]}, "GE402", "no input 'X'"),
        ({"x": [1.0], "y": [1.0, 2.0]}, "GE405", "input 'y' has size 2 in dimension 0 (N), but input 'x' makes N 1"),
        ({"x": 1.0, "y": [1.0]}, "GE403", "input 'x' has shape ()"),
        ({"x": ["1"], "y": [1.0]}, "GE404", "input 'x' must be float64"),
    ],
)
def test_wrong_inputs_are_an_input_error_that_says_which(regression, given, code, said):
    with pytest.raises(ge.errors.InputError) as caught:
        regression.forward(given)
    assert caught.value.problems[0].code == code
    assert said in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_an_input_may_be_called_like_an_argument_of_python():
    assert model({"z": ("neg", ["self"])}, inputs={"self": []}).forward({"self": 1.0})["out"] == -1.0
    assert model({"z": ("neg", ["inputs"])}, inputs={"inputs": []}).forward(inputs=1.0)["out"] == -1.0


def test_results_are_read_only(regression):
    run = regression.forward(x=[1.0, 2.0], y=[3.0, 4.0])
    with pytest.raises(ValueError, match="read-only"):
        run.value("error")[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        run.value("x")[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        run.backward(wrt="x")["x"][0] = 1.0


def test_a_run_does_not_change_when_the_parameters_do(regression):
    run = regression.forward(x=[1.0], y=[3.0])
    regression.parameters["theta"] = 5.0
    assert run.value("theta") == 2.0
    assert run.backward() == {"theta": -2.0}
    assert regression.forward(x=[1.0], y=[3.0])["loss"] == 4.0


def test_inputs_are_not_changed(regression):
    x, y = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    regression.forward(x=x, y=y).backward(wrt=["theta", "x", "y"])
    assert (x.tolist(), y.tolist()) == ([1.0, 2.0], [3.0, 4.0])
    assert x.flags.writeable


# ---------------------------------------------------------------- backward


def test_backward_is_of_the_declared_loss_toward_the_trainable_parameters(regression):
    assert regression.forward(x=[1.0], y=[3.0]).backward() == {"theta": -2.0}


def test_a_parameter_that_is_not_trainable_is_asked_for_by_name():
    frozen = parameter(3.0, trainable=False)
    run = model({"z": ("mul", ["a", "b"])}, parameters={"a": 2.0, "b": frozen}).forward()
    assert run.backward() == {"a": 3.0}
    assert run.backward(wrt="b") == {"b": 2.0}


def test_backward_takes_public_names_and_ids(regression):
    run = regression.forward(x=[1.0, 2.0], y=[3.0, 3.0])
    assert run.backward(of="loss", wrt=["prediction"])["prediction"].tolist() == [-1.0, 1.0]
    assert run.backward(of="loss", wrt="y_hat")["y_hat"].tolist() == [-1.0, 1.0]


def test_one_name_may_stand_for_a_list_of_one_wherever_names_are_asked_for(regression):
    given = {"x": [1.0, 2.0], "y": [3.0, 3.0]}
    assert regression.predict(given, outputs="loss") == regression.predict(given, outputs=["loss"])
    assert regression.forward(given).backward(wrt="theta") == regression.forward(given).backward(wrt=["theta"])
    for graph in (regression.gradient(wrt="theta"), ge.gradient(regression.graph, wrt="theta")):
        assert list(graph.outputs) == ["d_loss/d_theta"]
    assert trace(regression, given, wrt="theta").wrt == ("theta",)
    assert [flow.toward for flow in explain_gradient(regression.graph, "loss", "theta")] == ["theta"]


def test_backward_gives_the_same_with_and_without_a_plan_whatever_is_asked_and_outputs_are_called():
    nodes = {
        "cut": ("split", ["t"], {"indices_or_sections": 2}),
        "cut.part_1": ("mul", ["cut:part_1", 3.0]),
        "loss": ("sum", ["cut.part_1"]),
    }
    outputs = {"loss": "loss", "d_loss/d_t": "cut.part_1", "d_loss/d_cut.part_1": "cut:part_1"}
    built = model(nodes, outputs, parameters={"t": [1.0, 2.0]})
    wrt = ["t", "cut:part_1", "t", "cut.part_1"]
    for _ in range(3):
        run = built.forward()
        found = {name: value.tolist() for name, value in run.backward(of="loss", wrt=wrt).items()}
        assert found == {"t": [0.0, 3.0], "cut:part_1": [3.0], "cut.part_1": [1.0]}
        assert {name: value.tolist() for name, value in run.outputs.items()} == {
            "loss": 6.0,
            "d_loss/d_t": [6.0],
            "d_loss/d_cut.part_1": [2.0],
        }


def test_outputs_and_a_gradient_that_are_asked_for_in_turn_are_computed_together(regression, monkeypatch):
    given, ran = {"x": [1.0, 2.0], "y": [2.0, 5.0]}, []
    monkeypatch.setattr(Plan, "run", lambda self, values, run=Plan.run: [ran.append(self), run(self, values)][1])
    gradient = {"theta": pytest.approx(-0.5 * (2 * 0 * 1 + 2 * 1 * 2))}
    for count in (0, 2, 1, 1):  # without a plan, with one each, with one for both
        ran.clear()
        run = regression.forward(given)
        assert float(run["loss"]) == 0.5
        assert run.backward() == gradient
        assert len(ran) == count
    assert run.backward() == gradient
    ran.clear()
    for _ in range(3):
        assert float(regression.forward(given)["loss"]) == 0.5
    assert len({id(plan) for plan in ran}) == 2  # the gradient is computed beforehand once more, and then no longer
    assert ran[1] is ran[2]


def test_an_error_of_a_gradient_that_nobody_asks_for_is_none_of_the_outputs(regression, monkeypatch):
    given = {"x": [1.0, 2.0], "y": [2.0, 5.0]}
    for _ in range(3):
        run = regression.forward(given)
        assert float(run["loss"]) == 0.5
        run.backward()

    def failing(self, values, run=Plan.run):
        if len(self.outputs) > len(regression.graph.outputs):
            raise MemoryError
        return run(self, values)

    monkeypatch.setattr(Plan, "run", failing)
    assert float(regression.forward(given)["loss"]) == 0.5


def test_backward_without_a_declared_loss_is_of_the_only_output():
    assert model({"z": ("square", ["a"])}, parameters={"a": 3.0}).forward().backward() == {"a": 6.0}


def test_backward_without_a_declared_loss_asks_which_of_several_outputs():
    run = ge.Model.from_dict(linreg()).forward(x=[1.0], y=[3.0])
    with pytest.raises(ge.errors.UsageError, match=r"which value\?.*outputs: prediction, loss"):
        run.backward()


@pytest.mark.parametrize("asked", [{"of": "lss"}, {"wrt": "thta"}, {"wrt": ["theta", "thta"]}])
def test_an_unknown_name_in_backward_is_an_error_with_a_hint(regression, asked):
    with pytest.raises(ge.errors.UsageError, match=r"GE402.*did you mean"):
        regression.forward(x=[1.0], y=[3.0]).backward(**asked)


# ---------------------------------------------------------------- predict


def test_predict_without_outputs_gives_what_the_inputs_allow(regression):
    assert regression.predict(x=[3.0])["prediction"].tolist() == [6.0]
    assert set(regression.predict(x=[3.0])) == {"prediction"}
    assert set(regression.predict(x=[3.0], y=[1.0])) == {"prediction", "loss"}


def test_what_is_predicted_follows_from_what_is_given_in_each_call(regression):
    for _ in range(3):  # by the reference, then by a plan
        assert set(regression.predict(x=[3.0])) == {"prediction"}
        assert set(regression.predict(x=[3.0], y=[1.0])) == {"prediction", "loss"}


def test_predict_gives_the_outputs_that_are_asked_for(regression):
    assert regression.predict(x=[3.0], y=[6.0], outputs=["loss"]) == {"loss": 0.0}


def test_predict_names_what_is_missing(regression):
    with pytest.raises(ge.errors.InputError, match="GE401: input 'y'"):
        regression.predict(x=[3.0], outputs=["loss"])
    with pytest.raises(ge.errors.InputError, match=r"GE401: no output can be computed.*'prediction' needs 'x'"):
        regression.predict(y=[3.0])


def test_predict_refuses_an_unknown_output_and_an_unknown_input(regression):
    with pytest.raises(ge.errors.UsageError, match=r"GE402: .*no output 'predict'; did you mean 'prediction'"):
        regression.predict(x=[3.0], outputs=["predict"])
    with pytest.raises(ge.errors.InputError, match=r"GE402: .*no input 'z'"):
        regression.predict(x=[3.0], z=[3.0])


def test_predict_equals_forward(regression):
    x, y = [1.0, 2.0], [0.5, 0.25]
    run, predicted = regression.forward(x=x, y=y), regression.predict(x=x, y=y)
    assert {name: value.tolist() for name, value in predicted.items()} == {
        name: value.tolist() for name, value in run.outputs.items()
    }


# ---------------------------------------------------------------- parameters


def test_parameters_are_a_mapping(regression):
    assert list(regression.parameters) == ["theta"]
    assert len(regression.parameters) == 1
    assert "theta" in regression.parameters
    assert "x" not in regression.parameters
    assert dict(regression.parameters) == {"theta": 2.0}
    assert repr(regression.parameters).startswith("{'theta'")


def test_assigning_a_parameter_converts_it_to_its_dtype():
    made = model({"z": ("neg", ["p"])}, parameters={"p": [1.0, 2.0]}, dtype="float32")
    made.parameters["p"] = [3, 4]
    assert made.parameters["p"].dtype == np.float32
    assert made.forward()["out"].tolist() == [-3.0, -4.0]


def test_assigning_takes_no_hold_of_the_callers_array():
    made, mine = model({"z": ("neg", ["p"])}, parameters={"p": [1.0, 2.0]}), np.array([3.0, 4.0])
    made.parameters["p"] = mine
    mine[0] = 100.0
    assert made.parameters["p"].tolist() == [3.0, 4.0]


@pytest.mark.parametrize(
    ("value", "said"),
    [([1.0], "has shape ()"), ([[1.0], 2.0], "not a regular array"), ("x", "not a number"), (1j, "do not fit dtype")],
)
def test_a_value_that_does_not_fit_a_parameter_is_refused(regression, value, said):
    with pytest.raises(ge.errors.InputError, match="parameter 'theta'") as caught:
        regression.parameters["theta"] = value
    assert said in str(caught.value)
    assert regression.parameters["theta"] == 2.0


def test_an_unknown_parameter_is_a_key_error_with_a_hint(regression):
    with pytest.raises(KeyError, match="did you mean 'theta'"):
        regression.parameters["thta"]
    with pytest.raises(KeyError, match="did you mean 'theta'"):
        regression.parameters["thta"] = 1.0


def test_a_parameter_cannot_be_deleted_or_changed_in_place(regression):
    with pytest.raises(TypeError, match="cannot be deleted"):
        del regression.parameters["theta"]
    with pytest.raises(ValueError, match="read-only"):
        regression.parameters["theta"][()] = 3.0


# ---------------------------------------------------------------- initial values


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ({"type": "zeros"}, [[0.0] * 3] * 2),
        ({"type": "ones"}, [[1.0] * 3] * 2),
        ({"type": "constant", "value": 2.5}, [[2.5] * 3] * 2),
    ],
)
def test_initializers_without_chance(recipe, expected):
    made = model({"z": ("neg", ["w"])}, parameters={"w": {"shape": [2, 3], "initializer": recipe}})
    assert made.parameters["w"].tolist() == expected


def drawn(recipe, shape=(100, 200), name="w"):
    return model({"z": ("neg", [name])}, parameters={name: {"shape": list(shape), "initializer": recipe}}).parameters[
        name
    ]


@pytest.mark.parametrize(
    ("recipe", "deviation"),
    [
        ({"type": "uniform", "low": -1.0, "high": 1.0}, 3**-0.5),
        ({"type": "normal", "std": 0.5}, 0.5),
        ({"type": "glorot_uniform"}, (2 / 300) ** 0.5),
        ({"type": "glorot_normal"}, (2 / 300) ** 0.5),
        ({"type": "he_uniform"}, (2 / 100) ** 0.5),
        ({"type": "he_normal"}, (2 / 100) ** 0.5),
    ],
)
def test_random_initializers_have_their_moments_and_depend_on_seed_and_name_alone(recipe, deviation):
    values = drawn(recipe)
    assert np.std(values) == pytest.approx(deviation, rel=0.02)
    assert abs(np.mean(values)) < 0.02 * deviation
    np.testing.assert_array_equal(drawn(recipe), values)
    assert not np.array_equal(drawn(recipe, name="v"), values)
    assert not np.array_equal(drawn({**recipe, "seed": 1}), values)


def test_another_parameter_does_not_change_the_first_draw():
    declaration = {"shape": [4], "initializer": {"type": "normal"}}
    both = model({"z": ("neg", ["w"])}, parameters={"v": declaration, "w": declaration})
    np.testing.assert_array_equal(both.parameters["w"], drawn({"type": "normal"}, (4,)))


def test_a_value_in_the_file_wins_over_the_initializer():
    declaration = {"shape": [], "initializer": {"type": "ones"}, "value": 7}
    assert model({"z": ("neg", ["p"])}, parameters={"p": declaration}).parameters["p"] == 7.0


# ---------------------------------------------------------------- load and save


def test_load_takes_a_path_or_a_string():
    assert ge.load(MODELS / "linreg.json").graph.name == ge.load(str(MODELS / "linreg.json")).graph.name == "linreg"


def test_saving_keeps_the_current_values_and_everything_else(tmp_path):
    first = ge.load(MODELS / "linreg.json")
    first.parameters["theta"] = 0.1 + 0.2
    first.save(tmp_path / "trained.json")
    again = ge.load(tmp_path / "trained.json")
    assert again.parameters["theta"] == 0.1 + 0.2
    assert again.document.training == first.document.training
    assert again.document.description == first.document.description
    assert again.graph.nodes == first.graph.nodes


def test_saving_does_not_change_the_model(tmp_path, regression):
    before = regression.fingerprint
    regression.parameters["theta"] = 3.0
    regression.save(tmp_path / "m.json")
    assert regression.fingerprint == before


def test_a_model_and_a_run_say_what_they_are(regression):
    assert repr(regression) == "<Model 'test': 2 inputs, 1 parameter, 4 nodes, 2 outputs>"
    assert repr(regression.graph) == "<Graph 'test': 2 inputs, 1 parameter, 4 nodes, 2 outputs>"
    assert repr(regression.forward(x=[1.0], y=[1.0])) == "<Run of 'test': prediction, loss>"


@pytest.mark.parametrize("name", [name for name in ge.__all__ if name not in ("errors", "nodes")])
def test_everything_public_has_a_docstring(name):
    assert inspect.getdoc(getattr(ge, name))


def test_two_models_of_one_document_do_not_share_values():
    content = document({"z": ("square", ["p"])}, parameters={"p": 1.0})
    first, second = ge.Model.from_dict(content), ge.Model.from_dict(content)
    first.parameters["p"] = 5.0
    assert second.parameters["p"] == 1.0


def test_a_copy_has_values_of_its_own_and_shares_what_is_compiled():
    model = ge.Model.from_dict(linreg(theta=2.0))
    other = model.copy()
    other.parameters["theta"] = 3.0
    assert (model.parameters["theta"], other.parameters["theta"]) == (2.0, 3.0)
    for _ in range(3):
        assert model.predict(x=[1.0], outputs="prediction")["prediction"] == [2.0]
        assert other.predict(x=[1.0], outputs="prediction")["prediction"] == [3.0]
    assert other.evaluator.programs is model.evaluator.programs
    assert other.fingerprint == model.fingerprint


def test_a_shipped_model_is_loaded_by_name_and_a_file_comes_first(tmp_path, monkeypatch):
    assert ge.load("linreg").fingerprint == ge.load(ge.models()["linreg"]).fingerprint
    monkeypatch.chdir(tmp_path)
    ge.Model.from_dict(linreg(theta=7.0)).save(tmp_path / "linreg")
    assert ge.load("linreg").parameters["theta"] == 7.0


def test_a_name_that_is_neither_a_file_nor_a_shipped_model_is_refused():
    with pytest.raises(ge.errors.GraphEngineError, match="GE101"):
        ge.load("no_such_model")


class Failing:
    """What NumPy asks for an array, and has none."""

    def __init__(self, error):
        self.error = error

    def __array__(self, dtype=None, copy=None):
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("no array"), TypeError("no array"), KeyError("no array")])
@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: [value]], ids=["object", "list"])
def test_an_object_whose_array_fails_is_an_input_error(error, wrap):
    model = ge.Model.from_dict(linreg(training=training()))
    value = wrap(Failing(error))

    def assign():
        model.parameters["theta"] = value

    uses = [
        lambda: model.forward(x=value, y=[1.0]),
        lambda: model.predict(x=value),
        lambda: model.train({"x": value, "y": [1.0]}),
        assign,
    ]
    for use in uses:
        with pytest.raises(ge.errors.InputError, match="GE404: ") as caught:
            use()
        assert "no array" in str(caught.value) or "is not a number" in str(caught.value)


def test_only_the_inputs_that_lack_are_reported():
    model = ge.Model.from_dict(
        {
            "format": "graphengine.model",
            "format_version": 1,
            "opset_imports": {"core": 1},
            "name": "m",
            "inputs": {"x": {"shape": ["N"]}, "z": {"shape": ["N"]}},
            "nodes": [{"id": "sum", "op": "add", "inputs": ["x", "z"]}],
            "outputs": {"total": "sum"},
        }
    )
    with pytest.raises(ge.errors.InputError, match=r"GE401: .*: 'total' needs 'z'$"):
        model.predict(x=[1.0])
