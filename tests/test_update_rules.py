"""Update rules: each shipped graph file against the published formula in plain NumPy, and against PyTorch.

A reference is `(parameter, gradient, learning rate, iteration, kept, attributes) -> parameter`; what it keeps between
iterations is in the dictionary `kept`, where everything starts at 0. It is written from the paper, not from the file.
"""

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import orjson
import pytest
from documents import document, parameter, problem_of

import graphengine as ge
from graphengine.format.reading import parse_function
from graphengine.format.writing import dump_json
from graphengine.limits import Limits
from graphengine.ops.shapes import ArrayType
from graphengine.training.rules import ARGUMENTS, UpdateRule, find_rule, given_rule, shipped_rules

ROOT = Path(__file__).parent.parent
RULE_FILES = sorted((ROOT / "graphengine" / "training" / "rules").glob("*.json"))
PAGE = (ROOT / "docs" / "update_rules.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```json[^\n]*\n(.*?)```", PAGE, re.DOTALL)
STEPS = 20
SHAPES = {"scalar": (), "vector": (5,), "matrix": (3, 4)}


# ---------------------------------------------------------------- the published formulas


def sgd(p, g, lr, t, kept):
    return p - lr * g


def momentum(p, g, lr, t, kept, momentum=0.9):
    v = kept["v"] = momentum * kept["v"] + g
    return p - lr * v


def nesterov(p, g, lr, t, kept, momentum=0.9):
    v = kept["v"] = momentum * kept["v"] + g
    return p - lr * (g + momentum * v)


def adagrad(p, g, lr, t, kept, initial_accumulator_value=0.0, epsilon=1e-10):
    total = kept["sum"] = kept.get("sum", initial_accumulator_value) + g**2
    return p - lr * g / (np.sqrt(total) + epsilon)


def rmsprop(p, g, lr, t, kept, alpha=0.99, epsilon=1e-8):
    v = kept["v"] = alpha * kept["v"] + (1 - alpha) * g**2
    return p - lr * g / (np.sqrt(v) + epsilon)


def adadelta(p, g, lr, t, kept, rho=0.9, epsilon=1e-6):
    v = kept["v"] = kept["v"] * rho + g**2 * (1 - rho)
    change = np.sqrt(kept["u"] + epsilon) / np.sqrt(v + epsilon) * g
    kept["u"] = kept["u"] * rho + change**2 * (1 - rho)
    return p - lr * change


def moments(g, kept, beta1, beta2):
    m = kept["m"] = beta1 * kept["m"] + (1 - beta1) * g
    v = kept["v"] = beta2 * kept["v"] + (1 - beta2) * g**2
    return m, v


def adam(p, g, lr, t, kept, beta1=0.9, beta2=0.999, epsilon=1e-8):
    m, v = moments(g, kept, beta1, beta2)
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return p - lr * m_hat / (np.sqrt(v_hat) + epsilon)


def adamw(p, g, lr, t, kept, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.01):
    return adam(p - lr * weight_decay * p, g, lr, t, kept, beta1, beta2, epsilon)


def nadam(p, g, lr, t, kept, beta1=0.9, beta2=0.999, epsilon=1e-8, momentum_decay=0.004):
    m, v = moments(g, kept, beta1, beta2)
    mu = [beta1 * (1 - 0.5 * 0.96 ** (i * momentum_decay)) for i in range(1, t + 2)]
    m_hat = mu[t] * m / (1 - np.prod(mu)) + (1 - mu[t - 1]) * g / (1 - np.prod(mu[:t]))
    return p - lr * m_hat / (np.sqrt(v / (1 - beta2**t)) + epsilon)


def lion(p, g, lr, t, kept, beta1=0.9, beta2=0.99, weight_decay=0.0):
    update = np.sign(beta1 * kept["m"] + (1 - beta1) * g)
    kept["m"] = beta2 * kept["m"] + (1 - beta2) * g
    return p - lr * (update + weight_decay * p)


REFERENCES = {
    function.__name__: function
    for function in (sgd, momentum, nesterov, adagrad, rmsprop, adadelta, adam, adamw, nadam, lion)
}

OTHER_ATTRIBUTES = {
    "momentum": {"momentum": 0.5},
    "nesterov": {"momentum": 0.5},
    "adagrad": {"initial_accumulator_value": 0.1, "epsilon": 1e-3},
    "rmsprop": {"alpha": 0.8, "epsilon": 1e-3},
    "adadelta": {"rho": 0.7, "epsilon": 1e-3},
    "adam": {"beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3},
    "adamw": {"beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3, "weight_decay": 0.3},
    "nadam": {"beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3, "momentum_decay": 0.2},
    "lion": {"beta1": 0.8, "beta2": 0.9, "weight_decay": 0.3},
}
"""For each rule a value of every attribute that is not its default."""

CASES = [
    pytest.param(name, attributes, id=f"{name}-{label}")
    for name in REFERENCES
    for label, attributes in (("defaults", {}), ("others", OTHER_ATTRIBUTES.get(name, {})))
    if label == "defaults" or attributes
]


def start_and_gradients(shape, dtype=np.float64):
    """A parameter and a gradient for each step; one gradient is zero, as those of unused weights are."""
    random = np.random.default_rng(20)
    gradients = random.normal(size=(STEPS, *shape)) * 10 ** random.uniform(-2, 2, (STEPS, *shape))
    gradients[7] = 0
    return random.normal(size=shape).astype(dtype)[()], [gradient[()] for gradient in gradients.astype(dtype)]


def training_by(rule, attributes, start, gradients, learning_rate):
    """A model with the parameter p, and a training by a rule in which p gets one of the gradients in each iteration."""
    nodes = {"each": ("mul", ["p", "g"]), "loss": ("sum", ["each"])}
    declared = {"inputs": {"g": list(np.shape(start))}, "parameters": {"p": parameter(start)}}
    model = ge.Model.from_dict(document(nodes, {"loss": "loss"}, **declared, dtype=start.dtype.name))
    optimizer = {"type": rule.name, "learning_rate": learning_rate, **attributes}
    section = {"loss": "loss", "optimizer": optimizer, "batch_size": 1, "epochs": 1}
    return model, model.trainer({"g": np.array(gradients)}, update_rule=rule, **section)


def slots_of(trainer):
    """What the rule keeps for the parameter p at this moment."""
    return {name.removeprefix("p/"): value for name, value in trainer.stepper.carried.items() if name != "p"}


def trace(rule, attributes, start, gradients, learning_rate):
    """The parameter after each step of a training by a rule, and the slots after the last."""
    model, trainer = training_by(rule, attributes, start, gradients, learning_rate)
    values = [model.parameters["p"] for _ in trainer.iterate()]
    return values, slots_of(trainer)


def reference_trace(name, attributes, start, gradients, learning_rate):
    value, kept, values = start, defaultdict(float), []
    for iteration, gradient in enumerate(gradients, 1):
        value = REFERENCES[name](value, gradient, learning_rate, iteration, kept, **attributes)
        values.append(value)
    return values


def test_every_shipped_rule_has_a_reference_and_other_attributes():
    rules = shipped_rules()
    assert set(rules) == set(REFERENCES)
    assert {name: set(rule.attributes) for name, rule in rules.items() if rule.attributes} == {
        name: set(attributes) for name, attributes in OTHER_ATTRIBUTES.items()
    }


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(("name", "attributes"), CASES)
def test_each_step_equals_the_published_formula(name, attributes, shape):
    start, gradients = start_and_gradients(shape)
    values, _ = trace(find_rule(name), attributes, start, gradients, 0.03)
    for value, expected in zip(values, reference_trace(name, attributes, start, gradients, 0.03), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-14)
        assert value.dtype == np.float64


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(("name", "attributes"), CASES)
def test_float32_stays_float32(name, attributes, shape):
    start, gradients = start_and_gradients(shape, np.float32)
    values, slots = trace(find_rule(name), attributes, start, gradients, 0.03)
    exact = reference_trace(name, attributes, start.astype(np.float64), np.float64(gradients), 0.03)
    for value, expected in zip(values, exact, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)
    assert {value.dtype for value in [*values, *slots.values()]} == {np.dtype(np.float32)}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", REFERENCES)
def test_a_weight_that_never_gets_a_gradient_stays(name, dtype):
    attributes = {"weight_decay": 0.0} if "weight_decay" in find_rule(name).attributes else {}
    start = np.array([1.0, -2.0, 0.0], dtype)
    values, _ = trace(find_rule(name), attributes, start, [np.zeros(3, dtype)] * STEPS, 0.03)
    np.testing.assert_array_equal(values[-1], start, strict=True)


@pytest.mark.parametrize("name", REFERENCES)
def test_slots_start_from_their_initializer(name):
    rule, start = find_rule(name), np.zeros((2, 3), np.float32)
    slots = slots_of(training_by(rule, {}, start, [start], 0.1)[1])
    assert set(slots) == set(rule.inputs) - set(ARGUMENTS)
    for slot, value in slots.items():
        shape, start = ((), 1) if slot == "mu_product" else ((2, 3), 0)
        np.testing.assert_array_equal(value, np.full(shape, start, np.float32), strict=True)


TORCH = {
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": "momentum"}),
    "nesterov": ("SGD", {"momentum": "momentum", "nesterov": True}),
    "adagrad": ("Adagrad", {"initial_accumulator_value": "initial_accumulator_value", "eps": "epsilon"}),
    "rmsprop": ("RMSprop", {"alpha": "alpha", "eps": "epsilon"}),
    "adadelta": ("Adadelta", {"rho": "rho", "eps": "epsilon"}),
    "adam": ("Adam", {"betas": ("beta1", "beta2"), "eps": "epsilon"}),
    "adamw": ("AdamW", {"betas": ("beta1", "beta2"), "eps": "epsilon", "weight_decay": "weight_decay"}),
    "nadam": ("NAdam", {"betas": ("beta1", "beta2"), "eps": "epsilon", "momentum_decay": "momentum_decay"}),
}
"""The optimizer of PyTorch that is the same rule, and its arguments as ours; it has no Lion."""


@pytest.fixture
def torch():
    """PyTorch in float64 throughout: NAdam keeps the product of its momenta in the default dtype."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(before)


def torch_trace(torch, name, attributes, start, gradients, learning_rate):
    """The parameter after each step of PyTorch's optimizer, with all attributes of the rule given."""
    values = {key: attribute.default for key, attribute in find_rule(name).attributes.items()} | attributes

    def given(ours):
        return tuple(map(given, ours)) if isinstance(ours, tuple) else values[ours] if isinstance(ours, str) else ours

    cls, arguments = TORCH[name]
    weight = torch.nn.Parameter(torch.tensor(start))
    optimizer = getattr(torch.optim, cls)(
        [weight], lr=learning_rate, **{argument: given(ours) for argument, ours in arguments.items()}
    )
    for gradient in gradients:
        weight.grad = torch.tensor(gradient)
        optimizer.step()
        yield weight.detach().numpy().copy()


@pytest.mark.extra("torch")
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(("name", "attributes"), [case for case in CASES if case.values[0] in TORCH])
def test_each_step_equals_pytorch(torch, name, attributes, shape):
    start, gradients = start_and_gradients(shape)
    values, _ = trace(find_rule(name), attributes, start, gradients, 0.03)
    for value, expected in zip(values, torch_trace(torch, name, attributes, start, gradients, 0.03), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-14)


# ---------------------------------------------------------------- in a model's training section


def regression(optimizer, dtype="float64"):
    """Least squares in two parameters, a vector of slopes and a scalar intercept, with its data."""
    random = np.random.default_rng(5)
    x = random.normal(size=(30, 2))
    y = x @ [1.5, -0.7] + 0.3 + 0.1 * random.normal(size=30)
    nodes = {
        "product": ("mul", ["x", "slopes"]),
        "lines": ("sum", ["product"], {"axis": 1}),
        "y_hat": ("add", ["lines", "intercept"]),
        "error": ("sub", ["y_hat", "y"]),
        "sq": ("square", ["error"]),
        "loss": ("mean", ["sq"]),
    }
    return document(
        nodes,
        {"loss": "loss"},
        inputs={"x": ["N", 2], "y": ["N"]},
        parameters={"slopes": parameter([0.2, 0.1]), "intercept": parameter(-0.1)},
        dtype=dtype,
        data={"train": {"type": "inline", "values": {"x": x.tolist(), "y": y.tolist()}}},
        training={"loss": "loss", "data": "train", "optimizer": optimizer, "epochs": STEPS},
    )


def trained(content, **overrides):
    model = ge.Model.from_dict(content)
    model.train(**overrides)
    return model.parameters


@pytest.mark.parametrize(("name", "attributes"), CASES)
def test_training_with_a_rule_equals_the_formula(name, attributes):
    content = regression({"type": name, "learning_rate": 0.05, **attributes})
    parameters = trained(content)
    x, y = (np.array(content["data"]["train"]["values"][key]) for key in ("x", "y"))
    slopes, intercept = np.array([0.2, 0.1]), np.float64(-0.1)
    kept = defaultdict(float), defaultdict(float)
    for t in range(1, STEPS + 1):
        error = x @ slopes + intercept - y
        slopes = REFERENCES[name](slopes, 2 * error @ x / len(y), 0.05, t, kept[0], **attributes)
        intercept = REFERENCES[name](intercept, 2 * error.mean(), 0.05, t, kept[1], **attributes)
    np.testing.assert_allclose(parameters["slopes"], slopes, rtol=1e-11)
    np.testing.assert_allclose(parameters["intercept"], intercept, rtol=1e-11)


@pytest.mark.parametrize("name", REFERENCES)
def test_training_in_float32_stays_float32(name):
    parameters = trained(regression({"type": name, "learning_rate": 0.05}, "float32"))
    exact = trained(regression({"type": name, "learning_rate": 0.05}))
    for key, value in parameters.items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, exact[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", REFERENCES)
def test_training_lowers_the_loss(name):
    learning_rate = 10.0 if name == "adadelta" else 0.05
    model = ge.Model.from_dict(regression({"type": name, "learning_rate": learning_rate}))
    losses = [row.loss for row in model.iterate(epochs=200)]
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize(
    ("name", "attribute", "value"),
    [(name, attribute, value) for name, values in OTHER_ATTRIBUTES.items() for attribute, value in values.items()],
)
def test_each_attribute_takes_effect(name, attribute, value):
    rules = [{"type": name, "learning_rate": 0.05}, {"type": name, "learning_rate": 0.05, attribute: value}]
    models = [ge.Model.from_dict(regression(rule)) for rule in rules]
    courses = [[row.parameters["slopes"] for row in model.iterate(epochs=100)] for model in models]
    assert not np.allclose(*courses, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", OTHER_ATTRIBUTES)
def test_a_default_may_be_written_out(name):
    defaults = {key: attribute.default for key, attribute in find_rule(name).attributes.items()}
    short = trained(regression({"type": name, "learning_rate": 0.05}))
    written = trained(regression({"type": name, "learning_rate": 0.05, **defaults}))
    for key in short:
        np.testing.assert_array_equal(short[key], written[key], strict=True)


def optimizer_problem(**optimizer):
    return problem_of(regression({"learning_rate": 0.05, **optimizer}))


def test_an_unknown_attribute_is_an_error_with_the_nearest_name():
    problem = optimizer_problem(type="adam", beta_1=0.9)
    assert (problem.code, problem.pointer) == ("GE110", "/training/optimizer/beta_1")
    assert problem.hint == "did you mean 'beta1'?"


def test_a_misspelled_key_of_any_optimizer_has_a_hint_too():
    assert optimizer_problem(type="adam", learning_rat=0.1).hint == "did you mean 'learning_rate'?"


def test_an_attribute_of_another_rule_is_an_error_that_lists_the_own():
    problem = optimizer_problem(type="rmsprop", weight_decay=0.1)
    assert (problem.code, problem.pointer) == ("GE110", "/training/optimizer/weight_decay")
    assert "alpha, epsilon" in problem.hint


@pytest.mark.parametrize("value", ["0.9", True, [0.9], {"value": 0.9}])
def test_an_attribute_that_is_not_a_number_is_an_error(value):
    problem = optimizer_problem(type="adam", beta1=value)
    assert (problem.code, problem.pointer) == ("GE112", "/training/optimizer/beta1")


@pytest.mark.parametrize(("name", "meant"), [("adamm", "adam"), ("nestrov", "nesterov"), ("rms_prop", "rmsprop")])
def test_an_unknown_rule_is_an_error_with_the_nearest_name(name, meant):
    problem = optimizer_problem(type=name)
    assert (problem.code, problem.pointer) == ("GE210", "/training/optimizer/type")
    assert problem.hint == f"did you mean '{meant}'?"


# ---------------------------------------------------------------- the files and their page


@pytest.mark.parametrize("path", RULE_FILES, ids=lambda path: path.stem)
def test_a_rule_file_is_complete_and_canonical(path):
    rule = find_rule(path.stem)
    slots = [name for name, declared in rule.inputs.items() if declared.initializer]
    assert path.read_bytes() == dump_json(orjson.loads(path.read_bytes()))
    assert rule.name == path.stem
    assert tuple(rule.inputs) == (*ARGUMENTS, *slots)
    assert list(rule.outputs) == ["parameter", *slots]
    assert all(rule.inputs[name].description for name in slots)
    assert all(attribute.description and attribute.default is not None for attribute in rule.attributes.values())
    assert rule.name == "sgd" or "Convention: " in rule.description


def table_of(page):
    """The rows of the page's table: for each rule its attributes with defaults, and its slots."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| .+ \|$", page, re.MULTILINE)
    return {
        name: (
            {key: float(value) for key, value in re.findall(r"`(\w+)` ([\d.e-]+)", attributes)},
            re.findall(r"`(\w+)`", slots),
        )
        for name, attributes, slots in rows
    }


@pytest.mark.parametrize("path", RULE_FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_shipped_rule_is_sound_like_one_of_a_user(path, dtype):
    """One of a user is looked at when a training begins, and a shipped one only here."""
    kinds = [ArrayType(shape, np.dtype(dtype)) for shape in SHAPES.values()]
    assert given_rule(path).problems({}, kinds) == []


def test_the_table_of_the_page_agrees_with_the_files():
    assert table_of(PAGE) == {
        name: (
            {key: attribute.default for key, attribute in rule.attributes.items()},
            [slot for slot, declared in rule.inputs.items() if declared.initializer],
        )
        for name, rule in shipped_rules().items()
    }


def test_the_example_of_the_page_is_a_rule_that_works():
    text, optimizer = EXAMPLES
    rule, _ = parse_function(text.encode())
    settings = orjson.loads(optimizer)["optimizer"]
    assert settings.pop("type") == rule.name
    learning_rate, fading = settings.pop("learning_rate"), settings["fading"]
    (expected, gradients), mean = start_and_gradients((5,)), 0.0
    values, slots = trace(rule, settings, expected, gradients, learning_rate)
    for value, gradient in zip(values, gradients, strict=True):
        mean = fading * mean + (1 - fading) * gradient
        expected = expected - learning_rate * mean
        np.testing.assert_allclose(value, expected, rtol=1e-12)
    assert set(slots) == {"mean_gradient"}


def test_the_example_of_the_page_needs_its_attribute():
    rule, _ = parse_function(EXAMPLES[0].encode())
    with pytest.raises(ge.errors.InvalidModelError, match=r"GE111: .*'fading'"):
        UpdateRule(rule, {}, ArrayType((), np.dtype(np.float64)))


# ---------------------------------------------------------------- rules of users: given at the call, and checked

STEP = [
    {"id": "step", "op": "mul", "inputs": ["learning_rate", "gradient"]},
    {"id": "new", "op": "sub", "inputs": ["parameter", "step"]},
]
SLOT = {"initializer": {"type": "zeros"}}
LINE = {"slopes": 2, "intercept": 0}
"""The parameters of `regression`, with their number of sizes."""


def rule_content(**changes):
    """Plain gradient descent as the content of a rule file, with sections changed."""
    content = {
        "format": "graphengine.function",
        "format_version": 1,
        "opset_imports": {"core": 1},
        "name": "mine",
        "inputs": {"parameter": {}, "gradient": {}, "learning_rate": {}},
        "nodes": STEP,
        "outputs": {"parameter": "new"},
    }
    return {**content, **changes}


def written(path, content):
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    return path


@pytest.fixture
def rule_file(tmp_path):
    return lambda **changes: written(tmp_path / "mine.json", rule_content(**changes))


EXAMPLE_RULE = orjson.loads(EXAMPLES[0])


def test_a_rule_file_stands_in_for_the_rule_of_the_optimizer(rule_file):
    sgd = trained(regression({"type": "sgd", "learning_rate": 0.05}))
    for content in (regression({"type": "adam", "learning_rate": 0.05}),):
        given = trained(content, update_rule=rule_file())
        read = trained(content, update_rule=parse_function(rule_file().read_bytes())[0])
        for name in LINE:
            np.testing.assert_array_equal(given[name], sgd[name], strict=True)
            np.testing.assert_array_equal(read[name], sgd[name], strict=True)


def test_a_rule_given_when_loading_takes_the_attributes_of_the_file(tmp_path):
    path = written(tmp_path / "mean_descent.json", EXAMPLE_RULE)
    optimizer = {"type": "mean_descent", "learning_rate": 0.05, "fading": 0.5}
    model = written(tmp_path / "model.json", regression(optimizer))
    with pytest.raises(ge.errors.InvalidModelError, match="GE210: update rule 'mean_descent' is not defined"):
        ge.load(model)
    loaded = ge.load(model, update_rule=path)
    loaded.train()
    function = {key: EXAMPLE_RULE[key] for key in ("inputs", "attributes", "nodes", "outputs")}
    inside = trained({**regression(optimizer), "functions": {"mean_descent": function}})
    for name in LINE:
        np.testing.assert_array_equal(loaded.parameters[name], inside[name], strict=True)


def test_iterate_and_the_step_graph_take_a_rule_too(rule_file):
    model = ge.Model.from_dict(regression({"type": "adam", "learning_rate": 0.05}))
    assert "slopes/first_moment" in model.training_step().graph.state
    assert not model.training_step(update_rule=rule_file()).graph.state
    assert next(model.iterate(update_rule=rule_file())).iteration == 1


def rule_error(content, **inputs):
    """The problems that a rule has for the parameters of a model, in a model and as a file read before."""
    rule, _ = parse_function(orjson.dumps(content))
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        trained(regression({"type": "sgd", "learning_rate": 0.05, **inputs}), update_rule=rule)
    return caught.value.problems


WRONG_RULES = {
    "no output parameter": ({"outputs": {}}, "GE111", "/outputs", "output 'parameter' is missing"),
    "an output that replaces nothing": (
        {"outputs": {"parameter": "new", "velocty": "step"}, "inputs": {**rule_content()["inputs"]}},
        "GE210",
        "/outputs/velocty",
        "output 'velocty' is neither the parameter nor a slot",
    ),
    "an input without a value": (
        {"inputs": {**rule_content()["inputs"], "gradint": {}}},
        "GE210",
        "/inputs/gradint",
        "nothing gives input 'gradint' a value",
    ),
    "an initializer for the gradient": (
        {"inputs": {**rule_content()["inputs"], "gradient": SLOT}},
        "GE112",
        "/inputs/gradient",
        "input 'gradient' is given to the rule",
    ),
    "a slot that nothing replaces": (
        {"inputs": {**rule_content()["inputs"], "velocity": SLOT}},
        "GE111",
        "/outputs",
        "output 'velocity' is missing",
    ),
    "an attribute named as a node": ({"attributes": {"step": {"default": 1}}}, "GE201", "/attributes/step", "'step'"),
    "an attribute named as an input": (
        {"attributes": {"gradient": {"default": 1}}},
        "GE201",
        "/attributes/gradient",
        "'gradient'",
    ),
    "a default that is a string": (
        {"attributes": {"beta": {"default": "0.9"}}},
        "GE112",
        "/attributes/beta/default",
        "the default of attribute 'beta' must be a finite number, not '0.9'",
    ),
    "a default that is not finite": (
        {"attributes": {"beta": {"default": "NaN"}}},
        "GE112",
        "/attributes/beta/default",
        "not 'NaN'",
    ),
    "a default that is true": (
        {"attributes": {"beta": {"default": True}}},
        "GE112",
        "/attributes/beta/default",
        "True",
    ),
    "a parameter of another shape": (
        {"outputs": {"parameter": "learning_rate"}},
        "GE302",
        "/outputs/parameter",
        "output 'parameter' is float64(), the parameter is float64(2,)",
    ),
    "a slot of another shape": (
        {
            "inputs": {**rule_content()["inputs"], "count": {**SLOT, "shape": []}},
            "outputs": {"parameter": "new", "count": "gradient"},
        },
        "GE302",
        "/outputs/count",
        "output 'count' is float64(2,), its slot is float64()",
    ),
    "a slot of another dtype": (
        {
            "inputs": {**rule_content()["inputs"], "kept": {**SLOT, "dtype": "float32"}},
            "outputs": {"parameter": "new", "kept": "gradient"},
        },
        "GE302",
        "/outputs/kept",
        "output 'kept' is float64(2,), its slot is float32(2,)",
    ),
    "a slot of unknown size": (
        {
            "inputs": {**rule_content()["inputs"], "kept": {**SLOT, "shape": ["K"]}},
            "outputs": {"parameter": "new", "kept": "gradient"},
        },
        "GE302",
        "/inputs/kept/shape",
        "the size 'K' of slot 'kept'",
    ),
    "a slot that is too large": (
        {
            "inputs": {**rule_content()["inputs"], "kept": {**SLOT, "shape": [10**6, 10**6]}},
            "outputs": {"parameter": "new", "kept": "kept"},
        },
        "GE302",
        "/inputs/kept/shape",
        "slot 'kept' takes more than 1 GiB",
    ),
    "a rate that is no scalar": (
        {"inputs": {**rule_content()["inputs"], "learning_rate": {"shape": ["N"]}}},
        "GE302",
        "/inputs/learning_rate/shape",
        "input 'learning_rate' has shape ()",
    ),
    "an undefined reference": (
        {"nodes": [*STEP[:1], {"id": "new", "op": "sub", "inputs": ["parameter", "stp"]}]},
        "GE210",
        "/nodes/1/inputs/1",
        "node 'new': input 'stp' is not defined",
    ),
    "an unknown op": ({"nodes": [{**STEP[0], "op": "mull"}, STEP[1]]}, "GE211", "/nodes/0/op", "op 'mull'"),
    "an op that does not fit": ({"nodes": [{**STEP[0], "op": "matmul"}, STEP[1]]}, "GE301", "/nodes/0", "node 'step'"),
}


@pytest.mark.parametrize(("changes", "code", "pointer", "said"), WRONG_RULES.values(), ids=WRONG_RULES)
def test_a_wrong_rule_is_one_problem_that_names_the_rule(changes, code, pointer, said):
    (problem,) = rule_error(rule_content(**changes))
    assert (problem.code, problem.pointer) == (code, pointer)
    assert problem.message.startswith("update rule 'mine': ")
    assert said in problem.message


@pytest.mark.parametrize(("changes", "code", "pointer", "said"), WRONG_RULES.values(), ids=WRONG_RULES)
def test_a_wrong_rule_file_is_reported_with_file_line_and_column(rule_file, changes, code, pointer, said):
    path = rule_file(**changes)
    content = regression({"type": "sgd", "learning_rate": 0.05})
    for use in (
        lambda: ge.Model.from_dict(content, update_rule=path),
        lambda: ge.Model.from_dict(content).train(update_rule=path),
        lambda: ge.Model.from_dict(content).training_step(update_rule=path),
    ):
        with pytest.raises(ge.errors.InvalidModelError) as caught:
            use()
        (problem,) = caught.value.problems
        assert (problem.code, problem.pointer, problem.file) == (code, pointer, str(path))
        key = [part for part in pointer.split("/") if not part.isdigit()][-1]
        assert f'"{key}"' in path.read_text().splitlines()[problem.line - 1] or key in ("inputs", "nodes")
        assert problem.column > 0


@pytest.mark.parametrize(("changes", "code", "pointer", "said"), WRONG_RULES.values(), ids=WRONG_RULES)
def test_a_wrong_rule_in_the_model_is_reported_with_its_place_there(tmp_path, changes, code, pointer, said):
    content = rule_content(**changes)
    function = {key: content[key] for key in ("inputs", "attributes", "nodes", "outputs") if key in content}
    model = {**regression({"type": "mine", "learning_rate": 0.05}), "functions": {"mine": function}}
    path = written(tmp_path / "model.json", model)
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.load(path)
    (problem,) = caught.value.problems
    assert (problem.code, problem.pointer, problem.file) == (code, f"/functions/mine{pointer}", str(path))
    assert problem.line > 1


def test_all_problems_of_a_rule_are_reported_together():
    inputs = {**rule_content()["inputs"], "velocity": SLOT, "gradint": {}}
    found = rule_error(
        rule_content(inputs=inputs, attributes={"step": {"default": "x"}}, nodes=[*STEP[:1], STEP[1] | {"op": "sbu"}])
    )
    assert [problem.code for problem in found] == ["GE210", "GE111", "GE201", "GE112", "GE211"]


def test_a_rule_is_checked_for_every_type_of_parameter():
    nodes = [{"id": "new", "op": "sum", "inputs": ["gradient"]}]
    (problem,) = rule_error(rule_content(nodes=nodes))
    assert problem.message.endswith("output 'parameter' is float64(), the parameter is float64(2,)")


def test_a_rule_may_declare_the_shape_of_its_parameter():
    inputs = {**rule_content()["inputs"], "parameter": {"shape": ["N"]}, "scale": {**SLOT, "shape": ["N"]}}
    rule, _ = parse_function(
        orjson.dumps(rule_content(inputs=inputs, outputs={"parameter": "new", "scale": "gradient"}))
    )
    assert slots_of(training_by(rule, {}, np.zeros(5), [np.ones(5)], 0.1)[1])["scale"].shape == (5,)
    with pytest.raises(ge.errors.InvalidModelError, match=r"'parameter' has shape \(\); the declared shape is \(N,\)"):
        UpdateRule(rule, {}, ArrayType((), np.dtype(np.float64)))


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), 10**400])
def test_an_attribute_that_is_no_finite_number_is_one_problem(value):
    rule = find_rule("momentum")
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        UpdateRule(rule, {"momentum": value}, ArrayType((), np.dtype(np.float64)))
    (problem,) = caught.value.problems
    assert (problem.code, problem.pointer) == ("GE112", "/training/optimizer/momentum")
    model = ge.Model.from_dict(regression({"type": "momentum", "learning_rate": 0.05}))
    optimizer = {"type": "momentum", "learning_rate": 0.05, "momentum": value}
    with pytest.raises(ge.errors.TrainingError, match="GE112: must be a finite number"):
        model.train(optimizer=optimizer)


def test_null_in_a_file_is_one_problem():
    problem = optimizer_problem(type="momentum", momentum=None)
    assert (problem.code, problem.pointer) == ("GE112", "/training/optimizer/momentum")


def test_a_numpy_float_is_a_number():
    optimizer = {"type": "momentum", "learning_rate": 0.05, "momentum": np.float64(0.5)}
    plain = trained(regression({**optimizer, "momentum": 0.5}))
    given = trained(regression({"type": "sgd", "learning_rate": 0.05}), optimizer=optimizer)
    np.testing.assert_array_equal(given["slopes"], plain["slopes"], strict=True)


@pytest.mark.parametrize("name", ["iteration", "learning_rate", "slopes/velocity"])
def test_a_model_that_uses_a_name_of_the_step_is_refused(name):
    content = regression({"type": "momentum", "learning_rate": 0.05})
    content["nodes"].append({"id": name, "op": "neg", "inputs": ["loss"]})
    with pytest.raises(ge.errors.InvalidModelError, match=f"GE201: the training step needs the id '{name}' itself"):
        ge.Model.from_dict(content).train()


@pytest.mark.parametrize(
    ("name", "keys"),
    [("gradient_norm", {}), ("new_slopes", {}), ("gradient/slopes", {"batch_size": 1, "accumulate": 2})],
)
def test_a_loss_that_has_the_name_of_something_else_in_the_step_is_refused(name, keys):
    content = regression({"type": "momentum", "learning_rate": 0.05})
    content["nodes"].append({"id": name, "op": "neg", "inputs": ["loss"]})
    with pytest.raises(ge.errors.InvalidModelError, match=f"GE201: the training step needs the name '{name}' itself"):
        ge.Model.from_dict(content).train(loss=name, **keys)


@pytest.mark.parametrize(
    ("rule", "given"), [("adamw", {}), ("adamw", {"weight_decay": 0.5}), ("lion", {"weight_decay": 0.5})]
)
def test_a_weight_decay_multiplier_scales_the_decay_of_its_parameter(rule, given):
    content = document(
        {"s": ("mul", ["a", 0.0]), "t": ("mul", ["b", 0.0]), "loss": ("add", ["s", "t"])},
        parameters={"a": 1.0, "b": parameter(1.0, weight_decay_multiplier=0.25)},
    )
    model = ge.Model.from_dict(content)
    model.train({}, loss="loss", optimizer={"type": rule, "learning_rate": 0.1, **given}, max_iterations=1)
    lost = {name: 1 - float(value) for name, value in model.parameters.items()}
    assert lost["a"] > 0
    assert lost["b"] == pytest.approx(lost["a"] / 4, rel=1e-9)


def test_a_rule_may_call_functions_of_its_model_or_of_its_file(rule_file):
    moved = {
        "inputs": {"x": {}, "by": {}},
        "attributes": {"times": {"default": -1}},
        "nodes": [
            {"id": "part", "op": "mul", "inputs": ["times", "by"]},
            {"id": "z", "op": "add", "inputs": ["x", "part"]},
        ],
        "outputs": {"z": "z"},
    }
    nodes = [STEP[0], {"id": "new", "op": "moved", "inputs": ["parameter", "step"], "attributes": {"times": -2}}]
    rule = {"inputs": rule_content()["inputs"], "nodes": nodes, "outputs": {"parameter": "new"}}
    content = regression({"type": "sgd", "learning_rate": 0.02})
    plain = ge.Model.from_dict(content)
    plain.train()
    own = {**regression({"type": "mine", "learning_rate": 0.01}), "functions": {"mine": rule, "moved": moved}}
    from_model = ge.Model.from_dict(own)
    from_model.train()
    from_file = ge.Model.from_dict(regression({"type": "sgd", "learning_rate": 0.01}))
    from_file.train(update_rule=rule_file(**rule, functions={"moved": moved}))
    for model in (from_model, from_file):
        for name, expected in plain.parameters.items():
            np.testing.assert_allclose(model.parameters[name], expected, rtol=1e-14)


# ---------------------------------------------------------------- limits


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")
@pytest.mark.parametrize("written", ["named", "given", "of the model"])
def test_the_limits_of_the_caller_hold_for_the_graph_of_a_rule(written):
    """Adam's graph has some 15 values of a parameter's size: 12 kB for 100 numbers."""
    rule = find_rule("adam")
    section = {"loss": "loss", "optimizer": {"type": "adam", "learning_rate": 0.1}, "epochs": 1}
    nodes = {"y": ("mul", ["w", "x"]), "loss": ("mean", ["y"])}
    content = document(nodes, {"loss": "loss"}, inputs={"x": []}, parameters={"w": [1.0] * 100}, training=section)
    if written == "of the model":
        own = rule.model_dump(exclude_defaults=True, include={"inputs", "attributes", "nodes", "outputs"})
        content |= {
            "functions": {"own": own},
            "training": {**section, "optimizer": {"type": "own", "learning_rate": 1}},
        }
    keys = {"update_rule": rule} if written == "given" else {}

    def trained(**limits):
        return ge.Model.from_dict(content, **keys, limits=Limits(**limits)).train({"x": 1.0})

    with pytest.raises(ge.errors.InvalidModelError, match=r"GE133: .*the limit is 4.883 KiB"):
        trained(array_bytes=5000)
    assert len(trained(array_bytes=40_000)) == 1


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")  # GE904: it says what the error says
def test_a_raised_limit_reaches_the_update_rule():
    """1.02 GB in the rule's graph alone, which is more than the default limit of a GiB with what the step adds."""
    section = {"loss": "loss", "optimizer": {"type": "adam", "learning_rate": 0.1}, "epochs": 1}
    weights = {"shape": [9_000_000], "initializer": {"type": "zeros"}}
    nodes = {"y": ("mul", ["w", "x"]), "loss": ("mean", ["y"])}
    content = document(nodes, {"loss": "loss"}, inputs={"x": []}, parameters={"w": weights}, training=section)
    with pytest.raises(ge.errors.InvalidModelError, match=r"GE133: update rule 'adam': .*raise the limit array_bytes"):
        ge.Model.from_dict(content).training_step()
    step = ge.Model.from_dict(content, limits=Limits(array_bytes=2**33)).training_step()
    assert step.graph.limits.array_bytes == 2**33
