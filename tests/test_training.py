"""Training: published results, iterations and epochs, data sources, batches, divergence, history."""

import copy
import math
from fractions import Fraction

import numpy as np
import orjson
import pytest
from documents import MODELS, document, linreg, parameter, training
from typer.testing import CliRunner

import graphengine as ge
from graphengine.cli.app import app
from graphengine.data.order import epoch_order
from graphengine.data.sources import data_hash
from graphengine.training.history import CAPACITY, History, Iteration
from graphengine.training.provenance import versions

X = np.arange(1.0, 11.0)
DATA = {"x": X, "y": 3 * X}


def regression(theta=0.0, **keys):
    return ge.Model.from_dict(linreg(theta=theta, training=training(learning_rate=0.001, **keys)))


def single(theta=2.0, **keys):
    return ge.Model.from_dict(linreg(shape=(), theta=theta, training=training(**{"batch_size": 1, **keys})))


# ---------------------------------------------------------------- published results


def test_hubbles_constant_of_1929():
    model = ge.load(MODELS / "linreg.json")
    assert model.parameters["theta"] == 0.0
    model.train()
    assert model.parameters["theta"] == pytest.approx(float(Fraction(2502739000, 5903559)), rel=1e-12)
    loss = model.forward(model.load_data())["loss"]
    assert loss == pytest.approx(1206402.6379629644 / 24, rel=1e-12)


@pytest.mark.parametrize(("name", "certified"), [("noint1", Fraction(251, 121)), ("noint2", Fraction(8, 11))])
def test_the_nist_regressions_without_intercept_to_13_digits(name, certified):
    model = ge.load(MODELS / f"{name}.json")
    model.train()
    assert model.parameters["theta"] == pytest.approx(float(certified), rel=1e-13)
    assert f"{model.parameters['theta']:.13g}" == f"{float(certified):.13g}"


def test_the_first_step_of_hubbles_regression_is_the_formula():
    model = ge.load(MODELS / "linreg.json")
    data = model.load_data()
    assert len(data["x"]) == 24
    (row,) = model.train(epochs=1)
    assert row.loss == pytest.approx(np.mean(data["y"] ** 2), rel=1e-14)
    assert row.parameters["theta"] == pytest.approx(0.1 * 2 * np.mean(data["x"] * data["y"]), rel=1e-14)


# ---------------------------------------------------------------- the four cases of the lesson


@pytest.mark.parametrize("x", [1.5, -1.5])
@pytest.mark.parametrize("above", [1.0, -1.0])
def test_a_single_sample_moves_theta_toward_the_better_fit(x, above):
    theta = 2.0
    y = theta * x + above
    model = single(theta)
    gradient = model.forward(x=x, y=y).backward()["theta"]
    assert gradient == pytest.approx(-2 * x * (y - theta * x), rel=1e-14)
    (row,) = model.train({"x": [x], "y": [y]})
    moved = float(model.parameters["theta"])
    assert moved == row.parameters["theta"] == pytest.approx(theta + 2 * 0.1 * x * above, rel=1e-14)
    assert math.copysign(1.0, moved - theta) == math.copysign(1.0, x * above)
    assert abs(y - moved * x) < abs(y - theta * x)


def test_the_single_sample_model_has_all_four_cases_and_learns():
    model = ge.load(MODELS / "linreg_single_sample.json")
    data, theta = model.load_data(), model.parameters["theta"]
    assert {(x > 0, y > theta * x) for x, y in zip(data["x"], data["y"], strict=True)} == {
        (True, True),
        (True, False),
        (False, True),
        (False, False),
    }
    history = model.train()
    assert len(history) == 50 * 6
    assert history.epochs[-1].loss < history.epochs[0].loss
    assert model.parameters["theta"] == pytest.approx(3, abs=0.05)


# ---------------------------------------------------------------- iterations and epochs


@pytest.mark.parametrize(
    ("batch_size", "drop_last", "per_epoch"),
    [
        (None, False, 1),
        (1, False, 10),
        (3, False, 4),
        (3, True, 3),
        (5, True, 2),
        (10, False, 1),
        (11, False, 1),
        (None, True, 1),
    ],
)
def test_iterations_of_an_epoch(batch_size, drop_last, per_epoch):
    history = regression().train(DATA, batch_size=batch_size, drop_last=drop_last, epochs=2)
    assert [(row.epoch, row.iteration) for row in history] == [
        (1 + index // per_epoch, 1 + index) for index in range(2 * per_epoch)
    ]
    assert [row.epoch for row in history.epochs] == [1, 2]


def batches_of(trainer, epoch):
    """The batches of one epoch, each a mapping from inputs to arrays."""
    segments = trainer.batches.epoch(epoch)
    return [segment.batch(index) for segment in segments for index in range(segment.count)]


def test_every_sample_is_used_once_an_epoch_with_the_last_batch_smaller():
    batches = batches_of(regression().trainer(DATA, batch_size=4), 1)
    assert [len(batch["x"]) for batch in batches] == [4, 4, 2]
    assert np.concatenate([batch["x"] for batch in batches]).tolist() == X.tolist()


def test_drop_last_leaves_the_smaller_batch_out():
    assert [len(batch["x"]) for batch in batches_of(regression().trainer(DATA, batch_size=4, drop_last=True), 1)] == [
        4,
        4,
    ]


def test_the_loss_of_an_epoch_is_the_mean_over_its_samples():
    history = regression().train(DATA, batch_size=4)
    expected = sum(size * row.loss for size, row in zip((4, 4, 2), history, strict=True)) / 10
    assert history.epochs[0].loss == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("limits", "iterations"),
    [
        ({"epochs": 3}, 12),
        ({"epochs": 3, "max_iterations": 5}, 5),
        ({"epochs": 1, "max_iterations": 50}, 4),
        ({"epochs": None, "max_iterations": 9}, 9),
    ],
)
def test_whichever_limit_comes_first_stops(limits, iterations):
    assert len(regression().train(DATA, batch_size=3, **limits)) == iterations


def test_an_update_is_the_rule_of_gradient_descent():
    model = regression(theta=1.0)
    gradient = model.forward(DATA).backward()["theta"]
    (row,) = model.train(DATA)
    assert model.parameters["theta"] == 1.0 - 0.001 * gradient
    assert row.gradient_norm == pytest.approx(abs(gradient), rel=1e-14)
    assert row.loss == np.mean((DATA["y"] - X) ** 2)


def test_batch_size_one_is_the_stochastic_gradient_of_each_sample():
    theta = 0.5
    for x, y in zip(X, DATA["y"], strict=True):
        theta -= 0.001 * -2 * x * (y - theta * x)
    model = regression(theta=0.5)
    model.train(DATA, batch_size=1)
    assert model.parameters["theta"] == pytest.approx(theta, rel=1e-13)


def test_a_parameter_that_is_not_trainable_stays():
    content = document(
        {"h": ("mul", ["a", "b"]), "e": ("sub", ["h", "x"]), "loss": ("square", ["e"])},
        inputs={"x": []},
        parameters={"a": 2.0, "b": parameter(3.0, trainable=False)},
        training=training(batch_size=1),
    )
    model = ge.Model.from_dict(content)
    model.train({"x": [1.0]})
    assert model.parameters["b"] == 3.0
    assert model.parameters["a"] != 2.0


def test_a_learning_rate_multiplier_scales_the_rate_of_its_parameter():
    content = document(
        {"s": ("add", ["a", "b"]), "loss": ("square", ["s"])},
        parameters={"a": 1.0, "b": parameter(1.0, learning_rate_multiplier=0.5)},
        training=training(),
    )
    model = ge.Model.from_dict(content)
    model.train({})
    assert model.parameters == {"a": pytest.approx(1 - 0.1 * 4), "b": pytest.approx(1 - 0.05 * 4)}


def test_data_without_a_sample_axis_is_the_same_in_every_batch():
    content = document(
        {"e": ("sub", ["p", "target"]), "w": ("mul", ["e", "x"]), "sq": ("square", ["w"]), "loss": ("mean", ["sq"])},
        inputs={"target": [], "x": ["N"]},
        parameters={"p": 0.0},
        training=training(),
    )
    data = {"target": 3.0, "x": [1.0, 2.0, 3.0]}
    batches = batches_of(ge.Model.from_dict(content).trainer(data, batch_size=2), 1)
    assert [(float(batch["target"]), batch["x"].tolist()) for batch in batches] == [(3.0, [1.0, 2.0]), (3.0, [3.0])]


def test_the_history_of_a_float32_model_has_python_numbers_and_is_written_as_json(tmp_path):
    """Gradient descent in float64 by hand, here and in every line of a log."""
    x, y = np.array(DATA["x"]), np.array(DATA["y"])
    theta, losses, norms = 0.0, [], []
    for _ in range(5):
        slope = -2 * np.mean(x * (y - theta * x))
        losses.append(np.mean((y - theta * x) ** 2))
        norms.append(abs(slope))
        theta -= 0.001 * slope
    content = linreg(shape=("N",), training=training(learning_rate=0.001, epochs=5), dtype="float32")
    history = ge.Model.from_dict(content).train(DATA)
    numbers = [*history.losses, *(row.loss for row in history.epochs), history.last.gradient_norm, history.last_loss]
    assert {type(number) for number in numbers} == {float}
    np.testing.assert_allclose(history.losses, losses, rtol=1e-5)
    data = {name: np.asarray(values).tolist() for name, values in DATA.items()}
    content["data"] = {"t": {"type": "inline", "values": data}}
    content["training"]["data"] = "t"
    (tmp_path / "m.json").write_bytes(orjson.dumps(content))
    command = ["train", str(tmp_path / "m.json"), "--log", str(tmp_path / "log.jsonl"), "--format", "json"]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    report = orjson.loads(result.stdout)
    assert [report["loss"]["first"], report["loss"]["last"]] == pytest.approx([losses[0], losses[-1]], rel=1e-5)
    last = orjson.loads((tmp_path / "log.jsonl").read_bytes().splitlines()[-1])
    assert [last["loss"], last["gradient_norm"]] == pytest.approx([losses[-1], norms[-1]], rel=1e-5)


def test_float32_models_stay_float32():
    content = linreg(shape=("N",), training=training(learning_rate=0.001, epochs=200), dtype="float32")
    model = ge.Model.from_dict(content)
    model.train(DATA)
    assert model.parameters["theta"].dtype == np.float32
    assert model.parameters["theta"] == pytest.approx(3.0, rel=1e-6)
    assert model.forward(DATA).value("sq").dtype == np.float32


# ---------------------------------------------------------------- the order of samples


def test_the_order_of_an_epoch_is_a_permutation():
    assert sorted(epoch_order(7, 1, 1000)) == list(range(1000))


def test_the_order_is_a_pure_function_of_seed_and_epoch():
    np.testing.assert_array_equal(epoch_order(7, 3, 100), epoch_order(7, 3, 100))
    assert not np.array_equal(epoch_order(7, 3, 100), epoch_order(7, 4, 100))
    assert not np.array_equal(epoch_order(7, 3, 100), epoch_order(8, 3, 100))


def test_the_order_stays_the_same_for_ever():
    assert epoch_order(0, 1, 8).tolist() == [7, 4, 2, 6, 5, 0, 1, 3]


def test_every_permutation_is_about_as_likely():
    first = np.array([epoch_order(0, epoch, 4)[0] for epoch in range(1, 2001)])
    np.testing.assert_allclose(np.bincount(first) / 2000, 0.25, atol=0.04)


def test_shuffled_batches_keep_samples_together_and_differ_between_epochs():
    trainer = regression().trainer(DATA, shuffle=True, batch_size=10)
    (first,), (second,), (again,) = [batches_of(trainer, epoch) for epoch in (1, 2, 1)]
    assert first["x"].tolist() == X[epoch_order(0, 1, 10)].tolist() == again["x"].tolist()
    assert first["y"].tolist() == (3 * first["x"]).tolist()
    assert first["x"].tolist() != second["x"].tolist()


def test_a_shuffled_training_is_the_same_over_runs_and_another_with_another_seed():
    def losses(seed):
        return regression().train(DATA, shuffle=True, seed=seed, batch_size=3, epochs=3).losses

    assert losses(1) == losses(1) != losses(2)


def test_without_shuffle_samples_come_in_order():
    assert batches_of(regression().trainer(DATA, batch_size=3), 5)[0]["x"].tolist() == [1.0, 2.0, 3.0]


# ---------------------------------------------------------------- overrides


def test_keywords_replace_keys_of_the_training_section_for_one_call():
    model = regression(epochs=3)
    assert len(model.train(DATA, epochs=1)) == 1
    assert len(model.train(DATA)) == 3
    assert model.document.training.epochs == 3


def test_the_learning_rate_is_replaced_in_the_optimizer():
    model = regression()
    (row,) = model.train(DATA, learning_rate=0.0)
    assert row.parameters["theta"] == 0.0


def test_another_loss_may_be_trained():
    content = linreg(training=training(learning_rate=0.001))
    content["nodes"].append({"id": "total", "op": "sum", "inputs": ["sq"]})
    content["outputs"]["total"] = "total"
    history = ge.Model.from_dict(content).train(DATA, loss="total")
    assert history.first_loss == np.sum(DATA["y"] ** 2)


def test_a_model_without_a_training_section_is_trained_by_keywords_alone():
    model = ge.Model.from_dict(linreg())
    model.train(DATA, loss="loss", learning_rate=0.01, epochs=50)
    assert model.parameters["theta"] == pytest.approx(3.0, rel=1e-6)


@pytest.mark.parametrize(
    ("keys", "code", "said"),
    [
        ({"epoch": 1}, "GE110", "did you mean 'epochs'?"),
        ({"epochs": 0}, "GE112", "greater than or equal to 1"),
        ({"batch_size": 0}, "GE112", "greater than or equal to 1"),
        ({"learning_rate": -1.0}, "GE112", "greater than or equal to 0"),
        ({"learning_rate": "0.1"}, "GE112", 'not "0.1"'),
        ({"loss": "lost"}, "GE210", "did you mean 'loss'?"),
        ({"loss": "prediction"}, "GE303", "must be a floating-point scalar"),
        ({"optimizer": {"type": "sdg", "learning_rate": 0.1}}, "GE210", "sgd"),
        ({"optimizer": "sgd", "learning_rate": 0.1}, "GE112", 'must be an object, not "sgd" (/training/optimizer)'),
        ({"metrics": {"mse": "lost"}}, "GE210", "did you mean 'loss'?"),
        ({"epochs": None}, "GE602", "the training has no limit"),
        ({"batch_size": 20, "data": DATA, "drop_last": True}, None, None),
    ],
)
def test_wrong_overrides_are_a_training_error(keys, code, said):
    model = regression()
    keys = {"data": DATA, **keys}
    if code is None:
        assert len(model.train(**keys)) == 1
        return
    with pytest.raises(ge.errors.TrainingError) as caught:
        model.train(**keys)
    assert caught.value.problems[0].code == code
    assert said in str(caught.value)


def test_a_model_without_a_training_section_says_what_to_pass():
    with pytest.raises(ge.errors.TrainingError, match=r"no training section; .*loss=.*data="):
        ge.Model.from_dict(linreg()).train(DATA)


def test_a_model_without_a_trainable_parameter_cannot_be_trained():
    content = linreg(training=training())
    content["parameters"]["theta"]["trainable"] = False
    with pytest.raises(ge.errors.TrainingError, match=r"GE602: .*no trainable parameter"):
        ge.Model.from_dict(content).train(DATA)


# ---------------------------------------------------------------- iterate


def test_iterate_gives_a_row_after_each_update():
    model = regression()
    for row in model.iterate(DATA, batch_size=5, epochs=2):
        assert row.parameters["theta"] == model.parameters["theta"]
    assert (row.epoch, row.iteration) == (2, 4)


def test_iterate_may_be_left_at_any_time():
    model, whole = regression(), regression()
    for row in model.iterate(DATA, batch_size=1, epochs=100):
        if row.iteration == 3:
            break
    whole.train(DATA, batch_size=1, max_iterations=3)
    assert model.parameters["theta"] == whole.parameters["theta"]


def test_iterate_is_the_loop_of_train():
    assert [row.loss for row in regression().iterate(DATA, batch_size=3)] == regression().train(
        DATA, batch_size=3
    ).losses


@pytest.mark.parametrize("keys", [{}, {"shuffle": True}, {"batch_size": 4}, {"batch_size": 4, "drop_last": True}])
def test_no_bit_depends_on_how_many_iterations_are_run_in_one_go(keys):
    together, singly = (regression(**{"batch_size": 1, "epochs": 30, **keys}).trainer(DATA) for _ in range(2))
    list(together.chunks())
    list(singly.iterate())
    assert together.history.iterations == singly.history.iterations
    assert together.history.epochs == singly.history.epochs


def rows_of(model, iterations):
    """Every row with the values, the counted iterations and the epochs of the model's history at that moment."""
    for row in iterations:
        history = model._trainer.history
        yield row, {n: v.tobytes() for n, v in model.values.items()}, len(history), history.epochs, history.checks


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"shuffle": True},
        {"batch_size": 4, "optimizer": {"type": "adam", "learning_rate": 0.1}},
        {"batch_size": 4, "drop_last": True, "shuffle": True},
        {"validation": {"fraction": 0.3, "every_epochs": 2}, "early_stopping": {"patience": 3}},
        {"max_iterations": 137},
    ],
)
def test_an_iteration_ahead_shows_in_no_row_and_no_value(keys):
    ahead, singly = (regression(**{"batch_size": 1, "epochs": 30, **keys}) for _ in range(2))
    found = list(rows_of(ahead, ahead.iterate(DATA)))
    trainer = singly.trainer(DATA)
    assert found == list(rows_of(singly, trainer.iterate()))
    assert ahead._trainer.stepper.longest_ahead > 1


def test_rows_that_are_thinned_late_are_those_thinned_at_once():
    histories = [History(per_epoch=3, names=("theta",)) for _ in range(2)]
    for number in range(5_000):
        for history, add in zip(histories, (histories[0].add, histories[1].append), strict=True):
            add((float(number), 0.5, number + 0.25))
            assert number % 997 or len(history) == number + 1
    at_once, late = histories
    assert copy.deepcopy(late).iterations == late.iterations == at_once.iterations
    assert [row.loss for row in late] == [row.parameters["theta"] - 0.25 for row in late] == late.losses
    assert (late.losses, late.losses[-1]) == ([*map(float, range(0, 5_000, 4)), 4_999.0], 4_999.0)
    assert late.last == Iteration(1_667, 5_000, 4_999.0, 0.5, {"theta": 4_999.25})


def test_the_rows_before_a_divergence_are_given_ahead_of_it():
    ahead, singly = (regression() for _ in range(2))
    keys = {"batch_size": 1, "learning_rate": 10.0, "epochs": 1000}
    found = []
    for model, rows in [(ahead, ahead.iterate(DATA, **keys)), (singly, singly.trainer(DATA, **keys).iterate())]:
        given = []
        with pytest.raises(ge.errors.DivergenceError) as caught:
            given.extend(rows_of(model, rows))
        found.append((len(given), str(caught.value), model.parameters["theta"]))
    assert found[0] == found[1]
    assert found[0][0] > 10


# ---------------------------------------------------------------- divergence


def test_noint1_diverges_above_its_critical_rate_and_says_when_what_and_how_to_go_on():
    model = ge.load(MODELS / "noint1.json")
    with pytest.raises(ge.errors.DivergenceError) as caught:
        model.train(learning_rate=1.5 / 4235, epochs=100_000)
    error, (found,) = caught.value, caught.value.problems
    assert found.code == "GE601"
    assert error.iteration == error.epoch > 1
    assert f"iteration {error.iteration} (epoch {error.epoch})" in found.message
    assert "node 'loss' (mean) became non-finite first" in found.message
    assert "smaller learning rate" in found.hint
    assert np.isfinite(model.parameters["theta"])


def test_noint1_converges_just_below_and_diverges_just_above_its_critical_rate():
    below, above = (ge.load(MODELS / "noint1.json") for _ in range(2))
    assert below.train(learning_rate=0.99 / 4235, epochs=1000).last_loss < 12
    history = above.train(learning_rate=1.01 / 4235)
    assert history.last_loss > history.first_loss


def test_divergence_in_one_step_names_the_parameter():
    model = regression(theta=1.0)
    with pytest.raises(
        ge.errors.DivergenceError, match=r"iteration 1 \(epoch 1\): .*'theta.* became non-finite first"
    ) as caught:
        model.train(DATA, learning_rate=1e308)
    assert (caught.value.iteration, caught.value.epoch) == (1, 1)
    assert model.parameters["theta"] == 1.0


def test_divergence_of_a_gradient_names_it():
    content = document(
        {"q": ("div", [0, "p"]), "loss": ("add", ["q", 1.0])}, parameters={"p": 1e-200}, training=training()
    )
    content["nodes"][0]["inputs"] = [1, "p"]
    with pytest.raises(ge.errors.DivergenceError, match=r"iteration 1 \(epoch 1\): .*p' .*became non-finite first"):
        ge.Model.from_dict(content).train({})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_data_that_is_not_finite_is_refused_with_input_and_row(value):
    model = regression()
    with pytest.raises(ge.errors.DataError, match=rf"GE503: .*'y' has the value {value} in row 2") as caught:
        model.train({"x": [1.0, 2.0], "y": [1.0, value]})
    assert caught.value.problems[0].code == "GE503"
    assert model.parameters["theta"] == 0.0


def test_inline_and_csv_data_that_is_not_finite_is_refused(tmp_path):
    sources = {
        "inline": {"type": "inline", "values": {"x": [1, "NaN"], "y": [1, 2]}},
        "csv": {"type": "csv", "path": "t.csv"},
    }
    (tmp_path / "t.csv").write_text("x,y\n1,2\n2,nan\n")
    content = linreg(data=sources, training=training())
    for source, name in (("inline", "x"), ("csv", "y")):
        model = ge.Model.from_dict(content, tmp_path / "m.json")
        with pytest.raises(ge.errors.DataError, match=f"'{name}' has the value nan in row 2"):
            model.train(source)


def test_inputs_that_the_loss_does_not_need_and_integers_may_be_anything():
    content = linreg(training=training())
    content["inputs"]["z"] = {"shape": ["N"]}
    content["inputs"]["k"] = {"shape": ["N"], "dtype": "int64"}
    content["nodes"] += [
        {"id": "w", "op": "mul", "inputs": ["z", 2]},
        {"id": "j", "op": "mul", "inputs": ["k", 2]},
    ]
    data = {name: DATA[name][:2] for name in DATA} | {"z": [np.nan, 1.0], "k": [1, 2]}
    assert len(ge.Model.from_dict(content).train(data)) == 1


def test_a_wrong_override_points_into_the_training_section():
    for keys, pointer in (
        ({"epochs": 0}, "/training/epochs"),
        ({"epoch": 1}, "/training/epoch"),
        ({"learning_rate": -1.0}, "/training/optimizer/learning_rate"),
    ):
        with pytest.raises(ge.errors.TrainingError) as caught:
            regression().train(DATA, **keys)
        assert caught.value.problems[0].pointer == pointer


def test_a_declared_gap_is_not_what_made_a_training_diverge():
    b = ge.Builder("gaps")
    x, y = b.input("x", ["N"], missing="nan"), b.input("y", ["N"])
    w = b.parameter("w", [], initializer=1.0)
    filled = b.name("filled", ge.nn.impute(x, 0.5))
    b.output(loss=b.name("loss", np.mean(np.square(b.name("z", w * filled) - y))), raw=b.name("raw", 2 * x))
    b.training(loss="loss", optimizer={"type": "sgd", "learning_rate": 1e300}, epochs=5)
    data = {"x": [np.nan, 1.0, 2.0], "y": [1.0, 2.0, 3.0]}
    with pytest.raises(ge.errors.DivergenceError, match=r"iteration 2 .*: node '[^']*' \(square\) became non-finite"):
        b.model().train(data)
    run = b.model().forward(data)
    with pytest.raises(ge.errors.ExecutionError, match="input 'x' is the first value that is not finite: nan in row 1"):
        run.check_finite()


def test_no_update_is_made_when_one_of_the_parameters_diverges():
    content = document(
        {"q": ("square", ["a"]), "r": ("mul", [1e200, "b"]), "t": ("mul", [1e200, "r"]), "loss": ("add", ["q", "t"])},
        parameters={"a": 1.0, "b": 0.0},
        training=training(),
    )
    model = ge.Model.from_dict(content)
    with pytest.raises(ge.errors.DivergenceError, match=r"iteration 1 \(epoch 1\): .*b' .*became non-finite first"):
        model.train({})
    assert dict(model.parameters) == {"a": 1.0, "b": 0.0}


# ---------------------------------------------------------------- history


def test_the_history_counts_all_iterations_and_reports_first_and_last_loss():
    history = regression().train(DATA, epochs=5)
    assert len(history) == 5
    assert history.first_loss == history.losses[0] > history.last_loss == history.losses[-1]
    assert (
        repr(history) == f"<History: 5 iterations, 5 epochs, loss {history.first_loss:.6g} -> {history.last_loss:.6g}>"
    )


def test_a_history_counts_one_iteration_in_the_singular():
    assert repr(regression().train(DATA, epochs=1)).startswith("<History: 1 iteration, 1 epoch, loss ")


def test_a_history_of_nothing_says_so():
    assert repr(ge.History()) == "<History: nothing trained>"


@pytest.mark.parametrize("count", [1, 2, CAPACITY - 1, CAPACITY, CAPACITY + 1, 2 * CAPACITY + 3])
def test_a_history_is_bounded_and_keeps_first_last_and_every_stride(count):
    history = regression(theta=3.0).train(DATA, epochs=count)
    kept = [row.iteration for row in history]
    stride = kept[1] - kept[0] if count > 2 else 1
    assert len(history) == count
    assert kept == sorted({*range(1, count + 1, stride), count})
    assert min(count, CAPACITY // 2) <= len(kept) <= CAPACITY + 1
    assert [row.epoch for row in history.epochs] == kept


def test_parameters_are_recorded_only_when_small():
    def recorded(size):
        content = document(
            {"sq": ("square", ["p"]), "loss": ("mean", ["sq"])}, parameters={"p": [1.0] * size}, training=training()
        )
        (row,) = ge.Model.from_dict(content).train({})
        return row.parameters

    assert recorded(16)["p"].shape == (16,)
    assert recorded(17) is None


def test_recorded_parameters_are_those_of_their_iteration():
    history = regression().train(DATA, epochs=3)
    thetas = [float(row.parameters["theta"]) for row in history]
    assert len(set(thetas)) == 3
    assert thetas == sorted(thetas)


def test_a_trained_model_is_saved_with_its_values_and_goes_on_from_there(tmp_path):
    first = regression()
    first.train(DATA, epochs=3)
    first.save(tmp_path / "m.json")
    again = ge.load(tmp_path / "m.json")
    first.train(DATA, epochs=2)
    again.train(DATA, epochs=2)
    assert again.parameters["theta"] == first.parameters["theta"]
    assert orjson.loads((tmp_path / "m.json").read_bytes())["parameters"]["theta"]["value"] != 0.0


def test_a_history_becomes_a_frame_with_a_column_for_each_number():
    model = ge.Model.from_dict(
        document(
            {"s": ("mul", ["w", "t"]), "q": ("square", ["s"]), "loss": ("sum", ["q"])},
            parameters={"w": [[1.0, 2.0]], "t": 1.0},
            training=training(learning_rate=0.01, epochs=3),
        )
    )
    history = model.train({})
    frame = history.to_frame()
    assert list(frame.columns) == ["epoch", "iteration", "loss", "gradient_norm", "w[0,0]", "w[0,1]", "t"]
    assert frame["loss"].tolist() == history.losses
    assert frame["w[0,1]"].iloc[-1] == model.parameters["w"][0, 1]


def test_the_checks_of_a_history_are_columns_of_its_frame():
    section = {"validation": {"fraction": 0.3}, "metrics": {"theta": "theta", "errors": "error"}}
    history = regression(**section).train(DATA, batch_size=4, epochs=2)
    frame = history.to_frame()
    columns = ["validation_loss", "check theta", "errors[0]", "errors[1]", "errors[2]"]
    assert list(frame.columns) == ["epoch", "iteration", "loss", "gradient_norm", "theta", *columns]
    assert frame["validation_loss"].isna().tolist() == [True, False, True, False]
    assert frame["validation_loss"][1] == history.checks[0].values["validation_loss"]
    assert frame["check theta"][3] == frame["theta"][3]


def test_checks_have_the_same_columns_if_there_is_one_after_the_first_iteration():
    section = {"validation": {"fraction": 0.3}, "metrics": {"theta": "theta"}}
    frame = regression(**section).train(DATA, epochs=3).to_frame()
    columns = ["epoch", "iteration", "loss", "gradient_norm", "theta", "validation_loss", "check theta"]
    assert list(frame.columns) == columns
    assert not frame.isna().any(axis=None)


def test_a_saved_model_says_what_it_was_trained_on(tmp_path):
    model = regression()
    model.save(tmp_path / "before.json")
    assert ge.load(tmp_path / "before.json").document.metadata is None
    model.train(DATA, epochs=3, batch_size=5)
    model.save(tmp_path / "m.json")
    loaded = ge.load(tmp_path / "m.json")
    reported = loaded.document.metadata["provenance"]
    assert reported == {
        "data_sha256": data_hash(DATA),
        "optimizer": "sgd",
        "iterations": 6,
        "epochs": 3,
        "versions": versions(),
    }
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "m.json").read_bytes()
    loaded.fit({"x": [1.0, 2.0], "y": [2.0, 4.5]})
    loaded.save(tmp_path / "m.json")
    assert ge.load(tmp_path / "m.json").document.metadata["provenance"]["optimizer"] == "least_squares"


def test_values_that_were_assigned_have_no_provenance(tmp_path):
    model = regression()
    model.train(DATA)
    model.parameters["theta"] = 1.0
    model.save(tmp_path / "m.json")
    assert ge.load(tmp_path / "m.json").document.metadata is None


def test_a_training_that_is_begun_again_finds_its_step_compiled():
    model = regression(epochs=2)
    step = model.trainer(DATA).stepper.step
    assert model.trainer({"x": X[:5], "y": X[:5]}, batch_size=2, learning_rate=0.5, epochs=7).stepper.step is step
    assert model.trainer(DATA, optimizer={"type": "momentum", "learning_rate": 0.001}).stepper.step is not step
    assert model.trainer(DATA, gradient_clipping={"type": "norm", "limit": 1.0}).stepper.step is not step


def test_a_model_without_inputs_is_trained_without_data():
    content = document(
        {"loss": ("square", ["a"])}, {"loss": "loss"}, parameters={"a": 1.0}, training=training(epochs=3)
    )
    model = ge.Model.from_dict(content)
    history = model.train()
    assert len(history.epochs) == 3
    rate = content["training"]["optimizer"]["learning_rate"]
    assert model.parameters["a"] == pytest.approx((1 - 2 * rate) ** 3, rel=1e-12)


def test_without_data_the_message_says_how_to_pass_some_in_python_and_on_the_command_line():
    model = ge.Model.from_dict(linreg(training=training(data=None)))
    with pytest.raises(ge.errors.TrainingError, match=r"GE602: .*which data to use; pass data=.*--data FILE"):
        model.train()
