"""The trace: numbers of the hand derivation, laws over all ops, reasons and sentences, reports."""

import json

import numpy as np
import pytest
from documents import MODELS, document, linreg, model, parameter, training, write
from samples import SAMPLES
from scipy import special
from test_cli import cli, cli_json

import graphengine as ge
from graphengine.ops.registry import OPS
from graphengine.traces.iterations import Iterations
from graphengine.traces.report import markdown_report, text_report
from graphengine.traces.trace import trace_graph
from graphengine.traces.traced_models import as_json, trace, trace_run

SINGLE = MODELS / "linreg_single_sample.json"

DERIVATION = """\
linreg_single_sample, iteration 1 on given values
given:
  x      3   input
  y      10  input
  theta  2   parameter
forward:
  y_hat = theta * x = 2 * 3 = 6
  error = y - y_hat = 10 - 6 = 4
  loss = error * error = 4 * 4 = 16
backward, from loss:
  loss: d_loss/d_loss = 1
      d_loss/d_error = 2 * error = 2 * 4 = 8  1 * 8 = 8
  error: d_loss/d_error = 8
      d_error/d_y = 1                         skipped: an input is data, not a parameter
      d_error/d_y_hat = -1                    8 * (-1) = -8
  y_hat: d_loss/d_y_hat = -8
      d_y_hat/d_theta = x = 3                 -8 * 3 = -24
      d_y_hat/d_x = theta = 2                 skipped: an input is data, not a parameter
gradients:
  d_loss/d_theta = -24
update by sgd, learning rate 0.01:
  theta/step = learning_rate * d_theta = 0.01 * (-24) = -0.24
  theta/new_parameter = theta - theta/step = 2 - (-0.24) = 2.24
  theta <- 2.24
  theta rises from 2 to 2.24: y_hat (6) is below y (10) and grows with theta (x = 3), so y_hat rises toward y.
"""


def single(**inputs):
    return trace(ge.load(SINGLE), inputs)


def edge_of(traced, node, operand):
    (walk,) = [walk for walk in traced.backward if walk.node == node]
    return next(edge for edge in walk.edges if edge.operand == operand)


def total_of(traced, name):
    return next(gradient.total.numbers for gradient in traced.gradients if gradient.value == name)


# ---------------------------------------------------------------- the lesson


def test_every_number_is_that_of_the_hand_derivation():
    traced = single(x=3.0, y=10.0)
    assert {name: value.numbers for name, value in traced.values.items()} == {
        "x": 3.0,
        "y": 10.0,
        "theta": 2.0,
        "y_hat": 6.0,
        "error": 4.0,
        "loss": 16.0,
    }
    assert {name: total_of(traced, name) for name in ("error", "y_hat", "theta")} == {
        "error": 8.0,
        "y_hat": -8.0,
        "theta": -24.0,
    }
    (update,) = traced.training.updates
    assert (update.old.numbers, update.new.numbers) == (2.0, 2.24)


def test_the_report_reads_like_the_hand_derivation():
    assert text_report(single(x=3.0, y=10.0)) == DERIVATION


@pytest.mark.parametrize(
    ("x", "y", "sentence"),
    [
        (3, 10, "theta rises from 2 to 2.24: y_hat (6) is below y (10) and grows with theta (x = 3), so y_hat rises"),
        (
            -3,
            -5,
            "theta falls from 2 to 1.94: y_hat (-6) is below y (-5) and falls as theta grows (x = -3), so y_hat ri",
        ),
        (3, 5, "theta falls from 2 to 1.94: y_hat (6) is above y (5) and grows with theta (x = 3), so y_hat falls"),
        (
            -3,
            -10,
            "theta rises from 2 to 2.24: y_hat (-6) is above y (-10) and falls as theta grows (x = -3), so y_hat f",
        ),
        (3, 6, "theta stays 2: its gradient is 0."),
    ],
)
def test_the_sentence_says_which_of_the_four_cases_it_is(x, y, sentence):
    assert single(x=x, y=y).training.updates[0].why.startswith(sentence)


def test_each_of_five_values_gets_a_fifth_of_the_gradient_of_a_mean():
    content = document({"m": ("mean", ["x"]), "out": ("mul", ["m", 2.0])}, parameters={"x": [1.0, 2.0, 3.0, 4.0, 5.0]})
    traced = trace(ge.Model.from_dict(content))
    assert edge_of(traced, "m", "x").partial.numbers == [0.2] * 5
    assert edge_of(traced, "m", "x").numbers == "1/5"
    assert total_of(traced, "x") == [0.4] * 5
    assert "m = mean(x) = (1 + 2 + 3 + 4 + 5) / 5 = 3" in text_report(traced)


# ---------------------------------------------------------------- laws


def traced_sample(name, attributes, arrays):
    names = [f"x{index}" for index in range(len(arrays))]
    kinds = {
        key: {"shape": list(array.shape), "dtype": array.dtype.name} for key, array in zip(names, arrays, strict=True)
    }
    outputs = {"out": "loss", "z": "z"}
    nodes = {"z": (name, names, attributes), "sum": ("sum", ["z"]), "loss": ("mul", ["sum", 1.5])}
    built = model(nodes, outputs, inputs=kinds)
    inputs = dict(zip(names, arrays, strict=True))
    wrt = [key for key in names if built.graph.types[key].is_differentiable]
    return built.forward(inputs), trace_graph(built.graph, inputs, "loss", wrt), wrt


@pytest.mark.parametrize("name", sorted(name for name, rows in SAMPLES.items() if OPS[name].signature.saved and rows))
def test_a_trace_of_any_op_has_the_gradients_of_the_engine_and_edges_that_multiply(name):
    for attributes, arrays in SAMPLES[name][:3]:
        try:
            run, traced, wrt = traced_sample(name, attributes, arrays)
        except ge.errors.GraphEngineError:
            continue  # a result that no sum makes a loss of
        gradients = run.backward(of="loss", wrt=wrt)
        for key in wrt:
            if np.size(gradients[key]) <= 8:
                shown = np.array(total_of(traced, key), float).reshape(gradients[key].shape)
                np.testing.assert_array_equal(shown, gradients[key])
        for walk in traced.backward:
            for edge in walk.edges:
                shown = [next(iter(walk.incoming.values())), edge.partial, edge.product]
                if all(value is not None and value.numbers is not None for value in shown):
                    incoming, partial, product = (np.array(value.numbers, float) for value in shown)
                    bound = 1e-12 * np.sum(np.abs(product))  # what is added may cancel
                    np.testing.assert_allclose(np.sum(incoming * partial), np.sum(product), rtol=0, atol=bound)
        assert text_report(traced)
        assert json.loads(json.dumps(as_json(traced)))


SPECIAL = {
    **{name: getattr(special, name) for name in ("erf", "erfc", "erfcx", "digamma", "log_ndtr")},
    "lgamma": special.gammaln,
    "polygamma": lambda x, order: special.polygamma(order, x),
    "log_erfc": lambda x: np.log(special.erfc(x)),
    "w": special.wofz,
}
"""Functions of formulas that NumPy does not have."""


def test_a_formula_with_numbers_is_true():
    for name, rows in SAMPLES.items():
        for attributes, arrays in rows:
            if arrays and all(array.ndim == 0 and array.dtype.kind == "f" for array in arrays):
                names = [f"x{index}" for index in range(len(arrays))]
                built = model({"z": (name, names, attributes)}, inputs={key: [] for key in names})
                (line,) = trace_graph(built.graph, dict(zip(names, arrays, strict=True))).forward
                if line.numbers and " if " not in line.numbers:
                    computed = eval(line.numbers, {**vars(np), **SPECIAL})
                    np.testing.assert_allclose(
                        np.asarray(computed, float), line.results["z"].numbers, rtol=1e-4, err_msg=name
                    )


def evaluated(text):
    """The value of a formula with numbers, whose outermost lists are arrays."""
    parts, depth = [], 0
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        opens, closes = letter == "[" and depth == 1, letter == "]" and depth == 0
        parts.append("array([" if opens else "])" if closes else letter)
    return eval("".join(parts), {**vars(np), "array": np.array})


@pytest.mark.parametrize(
    ("op", "attributes", "shapes"),
    [
        ("matmul", {}, [(2, 2), (2, 2)]),
        ("matmul", {}, [(1, 3), (3, 2)]),
        ("matmul", {}, [(2, 3), (3,)]),
        ("matmul", {}, [(3,), (3, 2)]),
        ("einsum", {"equation": "ij,jk->ik"}, [(2, 2), (2, 3)]),
        ("einsum", {"equation": "ij, kj -> ki"}, [(2, 3), (2, 3)]),
        ("einsum", {"equation": "i,j,k->ikj"}, [(2,), (2,), (2,)]),
        ("softmax", {}, [(4,)]),
        ("log_softmax", {}, [(4,)]),
    ],
)
def test_the_rule_of_a_gradient_is_true_with_its_numbers(op, attributes, shapes):
    chance = np.random.default_rng(1)
    arrays = {f"x{place}": chance.standard_normal(shape).round(2) for place, shape in enumerate(shapes)}
    nodes = {"z": (op, list(arrays), attributes), "s": ("square", ["z"]), "loss": ("sum", ["s"])}
    parameters = {name: parameter(value) for name, value in arrays.items()}
    traced = trace(model(nodes, {"loss": "loss"}, parameters=parameters))
    for name in arrays:
        edge = edge_of(traced, "z", name)
        assert "d_loss/d_z" in edge.rule.names
        np.testing.assert_allclose(evaluated(edge.rule.numbers), edge.product.numbers, rtol=1e-3, atol=1e-3)
        assert f"d_loss/d_{name} (from z) = {edge.rule.names} = {edge.rule.numbers}" in text_report(traced)
    (line, *_) = traced.forward
    if line.numbers:
        np.testing.assert_allclose(evaluated(line.numbers), line.results["z"].numbers, rtol=1e-3, atol=1e-3)


def test_a_convolution_has_its_rule_with_numbers():
    nodes = {"h": ("conv1d", ["x", "w", "b"]), "loss": ("sum", ["h"])}
    arrays = {"x": [[[1.0, 2.0, 3.0, 4.0]]], "w": [[[0.5, 1.0]]], "b": [0.25]}
    parameters = {name: parameter(np.array(value)) for name, value in arrays.items()}
    report = text_report(trace(model(nodes, {"loss": "loss"}, parameters=parameters)))
    assert "h = w @ unfold(x) + b = [[[0.5, 1]]] @ unfold([[[1, 2, 3, 4]]]) + [0.25] = [[[2.75, 4.25, 5.75]]]" in report
    assert "d_loss/d_x (from h) = fold(w.T @ d_loss/d_h) = fold([[[0.5, 1]]].T @ [[[1, 1, 1]]])" in report
    assert "d_loss/d_w (from h) = sum(d_loss/d_h @ unfold(x).T)" in report


@pytest.mark.parametrize("op", ["sum", "mean", "max", "min", "prod"])
@pytest.mark.parametrize("axis", [None, 0, 1, -1, [0, 2]])
def test_a_reduction_along_axes_is_written_out_with_its_numbers(op, axis):
    x = np.array([[[1.0, -2.0], [3.0, 4.5]], [[0.5, 6.0], [-7.0, 8.0]]])
    x = x[0] if axis is None else x
    nodes = {"z": (op, ["x"], {"axis": axis}), "loss": ("sum", ["z"])}
    traced = trace(model(nodes, {"loss": "loss"}, parameters={"x": parameter(x)}))
    (line, *_) = traced.forward
    written = eval(line.numbers, {"max": max, "min": min})
    np.testing.assert_allclose(np.ravel(written), np.ravel(line.results["z"].numbers))
    assert edge_of(traced, "z", "x").partial is not None
    if op == "mean":
        assert edge_of(traced, "z", "x").numbers == f"1/{x.size // np.size(line.results['z'].numbers)}"


def test_all_numbers_are_printed_in_full():
    nodes = {"h": ("mul", ["x", 2.0]), "loss": ("sum", ["h"])}
    built = model(nodes, {"loss": "loss"}, parameters={"x": parameter(np.arange(12) / 2)})
    assert "min 0, mean 5.5, max 11" in text_report(trace(built))
    report = text_report(trace(built, full=True))
    assert "h = x * 2 = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]" in report
    assert "min" not in report
    assert total_of(trace(built, full=True), "x") == [2.0] * 12


def test_the_option_full_prints_large_arrays_of_a_training(tmp_path):
    assert "float64(24,): min" in cli("trace", "linreg").stdout
    reported = cli("trace", "linreg", "--full").stdout
    assert "float64(24,)" not in reported
    assert "  x      [0.032, 0.034, 0.214," in reported
    values = cli_json("trace", "linreg", "--full", "--format", "json")["forward"][0]["results"]["y_hat"]["numbers"]
    assert len(values) == 24


def test_a_value_that_is_used_twice_gets_the_sum():
    content = document(
        {"a": ("mul", ["x", 3.0]), "b": ("square", ["x"]), "out": ("add", ["a", "b"])}, parameters={"x": 2.0}
    )
    traced = trace(ge.Model.from_dict(content))
    assert "sums of gradients:\n  d_out/d_x = 4 (from b) + 3 (from a) = 7" in text_report(traced)


def test_a_class_of_a_user_is_traced_by_its_docstring_and_its_backward():
    @ge.register("lesson.cube")
    class Cube(ge.Node):
        """Cube, z = x ** 3; dz/dx = 3 * x ** 2."""

        def forward(self, x):
            return x**3

        def backward(self, grad, x):
            return grad * 3 * x**2

    content = document({"out": ("lesson.cube", ["x"])}, parameters={"x": -2.0}, opset_imports={"core": 1, "lesson": 1})
    report = text_report(trace(ge.Model.from_dict(content)))
    assert "out = x ** 3 = (-2) ** 3 = -8" in report
    assert "d_out/d_x = 3 * x ** 2 = 3 * (-2) ** 2 = 12" in report


@pytest.mark.parametrize(
    ("op", "attributes", "shown"),
    [
        ("gelu", {}, "z = x * (1 + erf(x / sqrt(2))) / 2"),
        ("gelu", {"approximate": "tanh"}, "z = gelu(x, approximate=tanh)"),
        ("elu", {"alpha": 0.5}, "z = where(x > 0, x, 0.5 * expm1(x))"),
        ("maximum", {}, "z = maximum(x, x)"),
    ],
)
def test_a_formula_that_does_not_tell_of_an_attribute_is_not_that_of_a_node_which_sets_it(op, attributes, shown):
    content = document({"z": (op, ["x"] * (1 + (op == "maximum")), attributes)}, {"out": "z"}, parameters={"x": 2.0})
    assert shown in text_report(trace(ge.Model.from_dict(content)))


def test_a_limit_that_is_left_out_is_in_no_formula():
    content = document({"z": ("clip", {"x": "x", "max": 1.0})}, {"out": "z"}, parameters={"x": 2.0})
    assert "z = clip(x=x, max=1.0)" in text_report(trace(ge.Model.from_dict(content)))


def test_a_node_with_several_results_is_traced():
    @ge.register("lesson.halves")
    class Halves(ge.Node):
        """x in two halves."""

        outputs = ("first", "second")

        def forward(self, x):
            return x / 2, x / 2

        def backward(self, grad_first, grad_second):
            return (grad_first + grad_second) / 2

    nodes = {"h": ("lesson.halves", ["x"]), "out": ("mul", ["h:second", 4.0])}
    traced = trace(ge.Model.from_dict(document(nodes, parameters={"x": 3.0}, opset_imports={"core": 1, "lesson": 1})))
    assert total_of(traced, "x") == 2.0
    assert "h, h:second = lesson.halves(x): h = 1.5; h:second = 1.5" in text_report(traced)


# ---------------------------------------------------------------- what is not walked


def test_each_edge_that_is_not_walked_has_its_reason():
    content = document(
        {
            "a": ("mul", ["x", "w"]),
            "fixed": ("mul", ["k", 2.0]),
            "b": ("mul", ["a", "fixed"]),
            "c": ("mul", ["b", 3]),
            "loss": ("mul", ["c", "k"]),
            "aside": ("mul", ["w", 5.0]),
        },
        {"loss": "loss"},
        inputs={"x": []},
        parameters={"w": 1.0, "k": parameter(2.0, trainable=False)},
    )
    traced = trace(ge.Model.from_dict(content), {"x": 1.0}, of="loss")
    assert edge_of(traced, "a", "x").reason == "an input is data, not a parameter"
    assert edge_of(traced, "b", "fixed").reason == "it depends on no trainable value"
    assert edge_of(traced, "c", "3").reason == "a number in the file is constant"
    assert edge_of(traced, "loss", "k").reason == "the parameter is not trainable"
    assert dict(traced.left_out) == {
        "fixed": "it depends on no trainable value",
        "aside": "loss does not depend on it",
    }


def test_what_cannot_be_computed_from_the_given_inputs_is_left_out():
    traced = single(x=3.0)
    assert [line.node for line in traced.forward] == ["y_hat"]
    assert traced.backward == ()


def test_a_gradient_toward_data_can_be_asked_for():
    traced = trace(ge.load(SINGLE), {"x": 3.0, "y": 10.0}, wrt=["x", "y"])
    assert (total_of(traced, "x"), total_of(traced, "y")) == (-16.0, 8.0)
    assert traced.training is None


# ---------------------------------------------------------------- trainings


@pytest.mark.parametrize("rule", ["sgd", "momentum", "adam"])
def test_an_iteration_starts_where_the_training_before_it_ended(rule):
    section = training(optimizer={"type": rule, "learning_rate": 0.05}, batch_size=2, shuffle=True, epochs=4)
    content = linreg(theta=0.5, training=section)
    data = {"x": np.arange(1.0, 6.0), "y": np.arange(1.0, 6.0) * 3}
    for iteration in (1, 4, 7):
        before, after = ge.Model.from_dict(content), ge.Model.from_dict(content)
        if iteration > 1:
            before.train(data, max_iterations=iteration - 1)
        after.train(data, max_iterations=iteration)
        iterations = Iterations(ge.Model.from_dict(content), data)
        traced = iterations.trace(iterations.at(iteration))
        (update,) = traced.training.updates
        assert traced.values["theta"].numbers == pytest.approx(before.parameters["theta"].item(), rel=1e-12)
        assert update.new.numbers == pytest.approx(after.parameters["theta"].item(), rel=1e-12)
        assert (traced.training.iteration, traced.training.epoch) == (iteration, (iteration + 2) // 3)


def test_a_trace_does_not_train_the_model():
    loaded = ge.load(SINGLE)
    trace(loaded, iteration=5)
    assert loaded.parameters["theta"] == 2.0


def test_a_rule_that_moves_with_the_gradient_says_so():
    content = linreg(
        shape=(), theta=2.0, training=training(optimizer={"type": "momentum", "learning_rate": 0.5}, epochs=9)
    )
    iterations = Iterations(ge.Model.from_dict(content), {"x": 1.0, "y": 3.0})
    sentences = [iterations.trace(moment).training.updates[0].why for moment in iterations]
    assert any("not against its gradient" in sentence for sentence in sentences)


def test_an_array_says_how_many_numbers_rise_and_fall():
    content = document(
        {"d": ("sub", ["w", [0][0]]), "s": ("square", ["d"]), "loss": ("sum", ["s"])},
        {"loss": "loss"},
        parameters={"w": [1.0, -1.0, 0.0]},
        training=training(),
    )
    (update,) = trace(ge.Model.from_dict(content)).training.updates
    assert update.why == "Numbers of w: 1 rises, 1 falls, 1 stays."


# ---------------------------------------------------------------- for people, for machines


def test_a_large_array_is_reported_by_its_type_and_range():
    report = text_report(trace(ge.load(MODELS / "linreg.json")))
    assert "x      float64(24,): min 0.032, mean 0.911375, max 2" in report
    assert "theta rises from 0 to 104.281: its gradient is negative (-1042.81), so a larger theta makes loss" in report


def test_numbers_that_are_not_finite_are_reported():
    run = ge.Model.from_dict(document({"out": ("log", ["x"])}, parameters={"x": 0.0})).forward()
    traced = trace_run(run)
    assert "out = log(x) = log(0) = -Infinity" in text_report(traced)
    assert as_json(traced)["forward"][0]["results"]["out"]["numbers"] == "-Infinity"


def test_a_name_with_markup_and_control_characters_stays_text():
    content = linreg(shape=(), theta=1.0) | {"name": "<b>*x*</b>\x1b[31m\u202e"}
    traced = trace(ge.Model.from_dict(content), {"x": 1.0, "y": 1.0}, of="loss")
    assert text_report(traced).splitlines()[0] == r"<b>*x*</b>\x1b[31m\u202e"
    assert markdown_report(traced).startswith(r"# \<b\>\*x\*\</b\>\\x1b\[31m\\u202e")


def test_the_command_prints_the_report():
    assert cli("trace", SINGLE, "--input", "x=3", "--input", "y=10").stdout == DERIVATION


def test_the_command_prints_one_json_object():
    reported = cli_json("trace", SINGLE, "--iteration", "2")
    assert reported["training"]["iteration"] == 2
    assert reported["training"]["updates"][0]["old"] == {"shape": [], "dtype": "float64", "numbers": 2.24}


def test_the_command_takes_one_sample_of_the_data():
    report = cli("trace", "linreg", "--sample", "24", "--format", "markdown").stdout
    assert "- `x`, `[2]`, `input`" in report


@pytest.mark.parametrize(
    "options", [["--sample", "0"], ["--sample", "7"], ["--iteration", "0"], ["--iteration", "301"], ["--of", "nothing"]]
)
def test_what_is_not_there_is_an_error(options):
    assert "GE402" in cli("trace", SINGLE, *options, code=2).stderr


def test_an_iteration_without_a_training_is_an_error(tmp_path):
    assert "GE801" in cli("trace", write(tmp_path / "m.json", linreg()), "--iteration", "1", code=2).stderr


def test_a_training_by_a_solver_is_traced_without_an_update():
    traced = trace(ge.load(MODELS / "misra1a.json"))
    assert traced.training is None
    assert {"b1", "b2"} <= {gradient.value for gradient in traced.gradients}
    with pytest.raises(ge.errors.UsageError, match="'least_squares' is a solver"):
        trace(ge.load(MODELS / "misra1a.json"), iteration=1)


def test_a_report_can_be_written_to_a_file(tmp_path):
    for form, begins in {
        "text": "linreg,",
        "markdown": "# linreg,",
        "json": '{"model":"linreg"',
        "svg": "<svg ",
    }.items():
        reported = cli("trace", "linreg", "--format", form, "-o", tmp_path / "out")
        assert reported.stdout == ""
        assert (tmp_path / "out").read_text(encoding="utf-8").startswith(begins)


def test_parameters_that_a_training_packs_are_updated_each_by_itself():
    names = [f"w{index}" for index in range(40)]
    nodes = {f"s{name}": ("mul", [name, 1.0 + index]) for index, name in enumerate(names)}
    nodes["all"] = ("stack", list(nodes))
    nodes["loss"] = ("sum", ["all"])
    content = document(nodes, {"loss": "loss"}, parameters=dict.fromkeys(names, 1.0), training=training())
    loaded = ge.Model.from_dict(content)
    assert loaded.trainer().stepper.step.graph.parameters.keys() != set(names), "they are packed"
    updates = trace(loaded).training.updates
    assert [update.new.numbers for update in updates] == pytest.approx([1 - 0.1 * (1 + index) for index in range(40)])


def test_the_state_that_a_training_keeps_is_reported_with_its_new_value():
    content = document(
        {"m": ("mul", ["w", 2.0]), "total": ("add", ["seen", 1.0]), "loss": ("square", ["m"])},
        {"loss": "loss"},
        parameters={"w": 1.5},
        state={"seen": {"shape": [], "initializer": {"type": "zeros"}, "update": "total"}},
        training=training(),
    )
    updates = {update.parameter: update for update in trace(ge.Model.from_dict(content)).training.updates}
    assert updates["seen"].new.numbers == 1.0
    assert updates["seen"].why == "seen becomes total."
