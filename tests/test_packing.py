"""Many small parameters lie in vectors while a compiled step updates them: each number gets the bits it had alone."""

import numpy as np
import pytest
from documents import MODELS, document

import graphengine as ge
from graphengine.cli.planning import describe_plans
from graphengine.format.reading import parse_function
from graphengine.ops.registry import OPS
from graphengine.ops.traits import OpTrait
from graphengine.training import compiled, packable
from graphengine.training.rules import shipped_rules

COUNT = 40
SHAPES = [[], [3], [2, 3], [1], [3]]
GENERATOR = np.random.default_rng(0)
BATCH = {name: GENERATOR.normal(size=(7, 2, 3)) for name in ("x", "y")}

SCHEDULE = {"type": "cosine", "learning_rate": 0.1, "iterations": 4}


def many(optimizer=None, *, dtype="float64", parameters=(), **keys):
    """A regression on forty parameters of several shapes; the last one has the gradient 0."""
    declared = {
        f"p{number}": {
            "shape": SHAPES[number % len(SHAPES)],
            "initializer": {"type": "normal", "mean": 0.0, "std": 0.1, "seed": number},
        }
        for number in range(COUNT)
    }
    declared = {name: {**each, **dict(parameters).get(name, {})} for name, each in declared.items()}
    nodes = {"sum0": ("mul", ["p0", "x"])}
    for number in range(1, COUNT):
        nodes[f"term{number}"] = ("mul", [f"p{number}", "x" if number < COUNT - 1 else 0.0])
        nodes[f"sum{number}"] = ("add", [f"sum{number - 1}", f"term{number}"])
    nodes |= {"e": ("sub", [f"sum{COUNT - 1}", "y"]), "squares": ("square", ["e"]), "loss": ("mean", ["squares"])}
    training = {"loss": "loss", "optimizer": optimizer or {"type": "sgd", "learning_rate": 0.01}, "epochs": 4, **keys}
    return document(
        nodes,
        {"loss": "loss", "p1": "p1"},
        inputs={"x": ["N", 2, 3], "y": ["N", 2, 3]},
        parameters=declared,
        training=training,
        dtype=dtype,
    )


@pytest.fixture
def alone(monkeypatch):
    """Trains a model with each parameter by itself."""

    def trained_alone(content, **keys):
        with monkeypatch.context() as patch:
            patch.setattr(compiled, "FEWEST_PACKED", 10**9)
            return trained(content, **keys)

    return trained_alone


def trained(content, **keys):
    model = ge.Model.from_dict(content)
    trainer = model.trainer(BATCH, **keys)
    list(trainer.chunks())
    assert model.values.keys() == model.graph.parameters.keys() | model.graph.state.keys()
    return {**bits(model.values), **bits(trainer.stepper.carried)}, trainer


def bits(values):
    return {
        name: (np.asarray(value).dtype, np.shape(value), np.asarray(value).tobytes()) for name, value in values.items()
    }


def test_iterations_ahead_give_each_parameter_its_value_after_each_of_them():
    ahead, singly = (ge.Model.from_dict(many({"type": "adam", "learning_rate": 0.01}, epochs=20)) for _ in range(2))
    rows = singly.trainer(BATCH, batch_size=1).iterate()
    for row in ahead.iterate(BATCH, batch_size=1):
        assert row.loss == next(rows).loss
        assert all(np.array_equal(ahead.parameters[name], singly.parameters[name]) for name in ahead.parameters)
    assert row.iteration == 20 * len(BATCH["x"])


def packs(trainer):
    packing = trainer.stepper._compiled.packing
    return [list(pack.shapes) for pack in packing.packs] if packing else []


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rule", sorted(shipped_rules()))
def test_every_shipped_rule_gives_packed_parameters_and_slots_the_bits_that_they_have_alone(alone, rule, dtype):
    content = many({"type": rule, "learning_rate": 0.01}, dtype=dtype)
    (found, trainer), (expected, plain) = trained(content), alone(content)
    assert packs(trainer) == [[f"p{number}" for number in range(COUNT)]]
    assert packs(plain) == []
    assert found == expected


@pytest.mark.parametrize(
    "keys",
    [
        {"accumulate": 2, "batch_size": 2},
        {"batch_size": 3, "shuffle": True},
        {"gradient_clipping": {"type": "value", "limit": 0.01}},
        {"gradient_clipping": {"type": "norm", "limit": 0.01}},
        {"optimizer": {"type": "adam", "learning_rate": SCHEDULE}},
    ],
)
def test_packing_changes_no_bit_of_a_training(alone, keys):
    assert trained(many(**keys))[0] == alone(many(**keys))[0]


def test_the_norm_of_all_gradients_is_summed_in_another_order(alone):
    keys = {"gradient_clipping": {"type": "global_norm", "limit": 0.01}}
    (found, trainer), (expected, plain) = trained(many(**keys)), alone(many(**keys))
    assert packs(trainer)
    for name, (dtype, _, data) in found.items():
        np.testing.assert_allclose(np.frombuffer(data, dtype), np.frombuffer(expected[name][2], dtype), rtol=1e-12)
    norms = [[row.gradient_norm for row in each.history] for each in (trainer, plain)]
    np.testing.assert_allclose(*norms, rtol=1e-14)


def test_clipping_of_each_gradient_needs_each_norm():
    assert packs(trained(many(gradient_clipping={"type": "norm", "limit": 0.01}))[1]) == []


def test_parameters_with_other_multipliers_lie_in_other_vectors(alone):
    multipliers = ({"learning_rate_multiplier": 0.5}, {"weight_decay_multiplier": 0.0}, {"trainable": False}, {})
    content = many(
        {"type": "adamw", "learning_rate": 0.01, "weight_decay": 0.1},
        parameters={f"p{number}": multipliers[number % 4] for number in range(COUNT)},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "FEWEST_PACKED", 10)
        found, trainer = trained(content)
    assert packs(trainer) == [[f"p{number}" for number in range(first, COUNT, 4)] for first in (0, 1, 3)]
    assert found == alone(content)[0]


def test_large_parameters_stay_alone(monkeypatch):
    monkeypatch.setattr(packable, "LARGEST", 1)
    assert packs(trained(many())[1]) == []  # fewer than the fewest are small enough
    monkeypatch.setattr(packable, "LARGEST", 3)
    small = [f"p{number}" for number in range(COUNT) if number % len(SHAPES) != 2]
    assert packs(trained(many())[1]) == [small]


def test_a_few_parameters_stay_alone():
    model = ge.load(MODELS / "mlp_digits.json")
    assert model.trainer().stepper._compiled.packing is None


RULE = {
    "format": "graphengine.function",
    "format_version": 1,
    "opset_imports": {"core": 1},
    "name": "mine",
    "inputs": {"parameter": {}, "gradient": {}, "learning_rate": {}},
    "nodes": [
        {"id": "scaled", "op": "mul", "inputs": ["learning_rate", "gradient"]},
        {"id": "new", "op": "sub", "inputs": ["parameter", "scaled"]},
    ],
    "outputs": {"parameter": "new"},
}
NOT_ELEMENTWISE = {
    "a norm of the gradient": [
        {"id": "length", "op": "norm", "inputs": ["gradient"]},
        {"id": "far", "op": "add", "inputs": ["length", 1e-3]},
        {"id": "direction", "op": "div", "inputs": ["gradient", "far"]},
        {"id": "scaled", "op": "mul", "inputs": ["learning_rate", "direction"]},
        {"id": "new", "op": "sub", "inputs": ["parameter", "scaled"]},
    ],
    "a function whose bits depend on where a number lies": [
        {"id": "curbed", "op": "tanh", "inputs": ["gradient"]},
        {"id": "scaled", "op": "mul", "inputs": ["learning_rate", "curbed"]},
        {"id": "new", "op": "sub", "inputs": ["parameter", "scaled"]},
    ],
    "a random number for each": [
        {"id": "noise", "op": "uniform", "inputs": [], "attributes": {"shape": []}},
        {"id": "rate", "op": "mul", "inputs": ["learning_rate", "noise"]},
        {"id": "scaled", "op": "mul", "inputs": ["rate", "gradient"]},
        {"id": "new", "op": "sub", "inputs": ["parameter", "scaled"]},
    ],
}


@pytest.mark.parametrize("nodes", NOT_ELEMENTWISE.values(), ids=NOT_ELEMENTWISE)
def test_a_rule_that_is_not_elementwise_gets_each_parameter_by_itself(tmp_path, alone, nodes):
    rule = tmp_path / "mine.json"
    rule.write_text(str({**RULE, "nodes": nodes}).replace("'", '"'))
    found, trainer = trained(many(), update_rule=rule)
    assert packs(trainer) == []
    assert found == alone(many(), update_rule=rule)[0]


@pytest.mark.parametrize(
    "inputs",
    [{"parameter": {"shape": ["N"]}, "gradient": {}}, {"slot": {"initializer": {"type": "normal", "std": 1.0}}}],
)
def test_a_rule_that_asks_for_shapes_or_draws_its_slots_is_not_packed(inputs):
    outputs = {"parameter": "new", **{name: name for name in inputs if name == "slot"}}
    content = {**RULE, "inputs": {**RULE["inputs"], **inputs}, "outputs": outputs}
    rule, _ = parse_function(str(content).replace("'", '"').encode(), "mine.json")
    model = ge.Model.from_dict(many())
    assert packable.packing_of(model.graph, model.document.training, rule, fewest=2) is None


@pytest.mark.parametrize("optimizer", ["nadam", "momentum"])
def test_a_packed_training_resumes_to_the_last_bit(tmp_path, optimizer):
    content = many({"type": optimizer, "learning_rate": 0.01})
    whole, _ = trained(content, max_iterations=6, epochs=None)
    trained(content, max_iterations=3, epochs=None, checkpoints=tmp_path)
    resumed, _ = trained(content, max_iterations=6, epochs=None, checkpoints=tmp_path, resume=True)
    assert resumed == whole


def test_checkpoints_have_the_names_of_the_parameters(tmp_path, alone):
    content = many({"type": "momentum", "learning_rate": 0.01})
    alone(content, max_iterations=3, epochs=None, checkpoints=tmp_path)
    resumed, trainer = trained(content, max_iterations=6, epochs=None, checkpoints=tmp_path, resume=True)
    assert packs(trainer)
    assert resumed == trained(content, max_iterations=6, epochs=None)[0]
    assert {f"p{number}{slot}" for number in range(COUNT) for slot in ("", "/velocity")} == resumed.keys()


@pytest.mark.parametrize("keys", [{}, {"accumulate": 2, "batch_size": 2}])
def test_a_divergence_is_reported_with_the_parameter(keys):
    huge = {"type": "constant", "value": 1.5e308}
    optimizer = {"type": "adamw", "learning_rate": 0.5, "weight_decay": -4.0}
    content = many(optimizer, parameters={"p39": {"initializer": huge}})
    model = ge.Model.from_dict({**content, "training": {**content["training"], **keys}})
    before = bits(model.values)
    with pytest.raises(ge.errors.DivergenceError, match="p39"):
        model.train(BATCH)
    assert bits(model.values) == before


def test_values_that_are_checked_one_by_one_are_those_of_the_same_training():
    (expected, _), model = trained(many()), ge.Model.from_dict(many())
    trainer = model.trainer(BATCH)
    trainer.check_finite()
    list(trainer.chunks())
    for name, value in model.values.items():
        dtype, shape, data = expected[name]
        np.testing.assert_allclose(value, np.frombuffer(data, dtype).reshape(shape), rtol=1e-12)


def test_the_step_that_is_shown_has_each_parameter_and_the_plan_the_vector():
    model = ge.Model.from_dict(many())
    assert {f"new_p{number}" for number in range(COUNT)} < model.training_step().graph.outputs.keys()
    assert "new_packed.1" in model.compiled_step().graph.outputs
    names = describe_plans(model, {"N": 7})["plans"]["training step"]["names"].values()
    assert any(name.startswith("packed.1") for name in names)


def test_names_of_the_model_are_not_taken():
    content = many()
    content["nodes"].append({"id": "packed.1", "op": "neg", "inputs": ["loss"]})
    content["outputs"]["opposite"] = "packed.1"
    model = ge.Model.from_dict(content)
    assert "new_packed.1_" in model.compiled_step().graph.outputs
    assert len(model.train(BATCH)) == 4


@pytest.mark.parametrize("taken", ["new_p3", "new_packed.1"])
def test_a_loss_that_has_the_name_of_something_else_in_the_step_is_refused(taken):
    content = many()
    content["outputs"] = {taken: "loss"}
    content["training"]["loss"] = taken
    with pytest.raises(ge.errors.InvalidModelError, match=f"GE201: .*'{taken}'"):
        ge.Model.from_dict(content).train(BATCH)


NUMBERS = [0.0, -0.0, 1.0, -2.5, 3.3, 1e-310, 1e300, np.inf, -np.inf, np.nan, 0.1, -7.0]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("op", [name for name in OPS if OpTrait.CORRECTLY_ROUNDED in OPS[name].cls.traits])
def test_an_exact_op_gives_a_number_the_same_bits_wherever_it_lies(op, dtype):
    node = OPS[op].cls(**({"dtype": "float32"} if op == "cast" else {}))
    count = len(OPS[op].signature.inputs)
    numbers = np.resize([number for number in NUMBERS if abs(number) != 1e300 or dtype == "float64"], 60).astype(dtype)
    columns = [np.random.default_rng(place).permuted(numbers) for place in range(count)]
    if op == "where":
        columns[0] = columns[0] > 0
    with np.errstate(all="ignore"):
        together = node.forward(*columns)
        for place in range(len(columns[0])):
            one = node.forward(*[column[place] for column in columns])
            np.testing.assert_array_equal(np.asarray(one), together[place], strict=False)
            assert np.isnan(one) or np.signbit(np.float64(one)) == np.signbit(np.float64(together[place]))


class WalkedValues(dict):
    """Values that count how often all of them are looked at."""

    walks = 0

    def __iter__(self):  # a dictionary without its own iterator is copied without a look at `keys`
        return super().__iter__()

    def keys(self):
        self.walks += 1
        return super().keys()


def test_no_parameter_costs_a_look_at_all_values():
    model = ge.Model.from_dict(many())
    values = WalkedValues(model.values)
    model._declared.trainer(values, BATCH, {})
    assert 0 < values.walks < COUNT // 2
