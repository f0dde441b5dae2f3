"""A plan and the reference executor give the same bits and dtypes, whatever the dtypes of a graph and its literals."""

import random
from contextlib import suppress

import numpy as np
import pytest
from documents import document
from samples import SAMPLES

import graphengine as ge
from graphengine.backends.numpy.plan import Plan
from graphengine.backends.reference.executor import Executor
from graphengine.ops.registry import OPS
from graphengine.ops.shapes import type_of
from graphengine.transform.gradient import gradient


def bits(value):
    """Dtype, shape and bytes of a value, with one NaN for all: whose own bits are not promised."""
    array = np.array(value)
    if array.dtype.kind == "f":
        array[np.isnan(array)] = np.nan
    return array.dtype, array.shape, array.tobytes()


def reference(model, values):
    executor = Executor(model.graph)
    slots = executor.forward({**model.values, **values})
    return {name: bits(slots[executor.slot_of[value]]) for name, value in model.graph.outputs.items()}


def compiled(model, values):
    return {name: bits(value) for name, value in Plan(model.graph).run({**model.values, **values}).items()}


def model_of(nodes, values):
    """A model of nodes, each of them an output, with inputs for values."""
    inputs = {name: {"shape": list(value.shape), "dtype": value.dtype.name} for name, value in values.items()}
    return ge.Model.from_dict(document(nodes, {name: name for name in nodes}, inputs=inputs))


X = {"x": np.array(0.5)}
NUMBER = {"n": np.array(4, np.int8)}
BYTES = {"b": np.array([5, 0, 255], np.uint8), "y": np.array([0.0, 1.0, 2.0])}
TRUTHS = {"t": np.array(True), "f": np.array(False), **X}

CASES = {
    "an omitted operand of a folded node": ({"c": ("clip", {"x": 2.5, "max": 1.0}), "z": ("add", ["c", "x"])}, X),
    "a negative zero of literals": ({"a": ("neg", [0.0]), "z": ("mul", ["a", "x"])}, X),
    "an integer of literals beyond 2^53": ({"a": ("mul", [94906267, 94906267]), "z": ("sub", ["a", 1])}, X),
    "ones like a float16": ({"r": ("sqrt", ["n"]), "a": ("ones_like", ["r"]), "z": ("zeros_like", ["r"])}, NUMBER),
    "a division of literals by zero": ({"a": ("div", [1, 0]), "b": ("div", [0.0, 0.0]), "z": ("add", ["a", "x"])}, X),
    "arithmetic of truth values": (
        {
            "a": ("greater", ["x", 0]),
            "b": ("less", ["x", 1.0]),
            "sum": ("add", ["a", "b"]),
            "product": ("mul", ["sum", "t"]),
            "size": ("abs", ["a"]),
            "same": ("transpose", ["b"]),
            "total": ("sum", ["a"]),
            "count": ("add_n", ["a", "b", "a"]),
            "quotient": ("div", ["t", "f"]),
            "mixed": ("mul", ["t", "x"]),
            "one": ("equal", ["sum", 1.0]),
        },
        TRUTHS,
    ),
    "a choice between a number and a truth value": (
        {
            "p": ("where", ["t", "f", "x"]),
            "q": ("where", ["x", "t", 2]),
            "r": ("where", ["t", "t", "f"]),
            "s": ("where", ["f", 1.0, "t"]),
        },
        TRUTHS,
    ),
    "the negative of an unsigned integer": (
        {
            "n": ("neg", ["b"]),
            "p": ("add", ["n", "y"]),
            "q": ("mul", ["n", "y"]),
            "g": ("gelu", ["n"]),
            "s": ("silu", ["n"]),
        },
        BYTES,
    ),
    "an omitted operand beside a value named None": (
        {
            "None": ("square", ["x"]),
            "p": ("clip", {"x": "x", "max": 0.3}),
            "q": ("clip", {"x": "x", "min": "None", "max": 0.3}),
        },
        X,
    ),
    "arrays made of literals": (
        {
            "a": ("reshape", [2.0], {"shape": []}),
            "b": ("flatten", [2]),
            "c": ("flatten", ["b"]),
            "d": ("expand_dims", [0.5], {"axis": 0}),
            "e": ("tile", [3], {"reps": [2]}),
            "f": ("mul", ["s", "a"]),
            "g": ("mul", ["s", "c"]),
            "h": ("where", ["s", "n", "e"]),
        },
        {"s": np.array([0.5, 1.5], np.float32), **NUMBER},
    ),
    "literals given as they are": (
        {
            "a": ("sum_to", [0.5], {"shape": []}),
            "b": ("dropout", [0.1]),
            "c": ("mul", ["s", "a"]),
            "d": ("mul", ["s", "b"]),
            "e": ("stop_gradient", [0.1]),
            "f": ("mul", ["s", "e"]),
        },
        {"s": np.array([0.5, 1.5], np.float32)},
    ),
    "integers of literals beyond 2^53": (
        {
            "a": ("mul", [2**53, 64]),
            "b": ("add", ["a", 1]),
            "c": ("less", ["a", "b"]),
            "d": ("mul", ["s", "b"]),
            "e": ("sub", ["b", "a"]),
        },
        {"s": np.array([0.5, 1.5], np.float32)},
    ),
    "arithmetic of a size that is known only when it runs": (
        {
            "wide": ("broadcast_to", {"x": "s", "sizes": "n"}),
            "a": ("size", ["wide"]),
            "b": ("mul", ["a", 2]),
            "c": ("mul", ["s", "b"]),
            "d": ("add", ["b", 0.5]),
            "e": ("mul", ["s", "d"]),
        },
        {"s": np.array([0.5], np.float32), "n": np.array([3])},
    ),
    "places along an empty axis": (
        {"a": ("take_along_axis", ["e", "i"])},
        {"e": np.zeros((2, 0)), "i": np.zeros((2, 0), np.int64)},
    ),
}


@pytest.mark.parametrize(("nodes", "values"), CASES.values(), ids=CASES)
def test_a_plan_gives_the_bits_of_the_reference(nodes, values):
    model = model_of(nodes, values)
    assert compiled(model, values) == reference(model, values)


@pytest.mark.parametrize("outputs", [{"p": "p"}, {"z": "z"}])
def test_a_node_that_fails_on_literals_is_reported_of_at_every_call(outputs):
    nodes = {"p": ("pow", [2, -1]), "z": ("mul", ["p", "x"])}
    model = ge.Model.from_dict(document(nodes, outputs, inputs={"x": []}))
    for _ in range(3):
        with pytest.raises(ge.errors.ExecutionError, match=r"node 'p' \(pow\): Integers to negative"):
            model.predict(x=0.5)


def test_the_type_of_a_result_is_inferred_from_every_kind_of_operand():
    """Also whether it is a Python number, which has less weight in promotion than an array of one."""
    for op, rows in SAMPLES.items():
        attributes, arrays = rows[0]
        for operands in _varied(arrays) if op != "opaque_backward" else ():
            values = {f"x{place}": each for place, each in enumerate(operands) if isinstance(each, np.ndarray)}
            names = [f"x{place}" if isinstance(each, np.ndarray) else each for place, each in enumerate(operands)]
            try:
                model = model_of({"z": (op, names, attributes)}, values)
            except ge.errors.InvalidModelError:
                continue
            graph, executor = model.graph, Executor(model.graph)
            found = executor.forward(values)[executor.slot_of["z"]]
            (shape, dtype), (declared, expected) = type_of(found)[:2], graph.types["z"][:2]
            assert dtype == expected, (op, operands)
            sizes = zip(shape, declared, strict=True)  # a size may be known only at run time
            assert all(known in (None, size) for size, known in sizes), (op, operands)
            assert compiled(model, values) == reference(model, values), (op, operands)


def _varied(arrays):
    """Operands with one of them a literal, and with all those of floating-point numbers in another dtype."""
    arrays = [np.asarray(array) for array in arrays]
    for place in range(len(arrays)):
        for literal in (2, 0.5):
            yield [*arrays[:place], literal, *arrays[place + 1 :]]
    for dtype in ("int8", "uint8", "bool", "int64"):
        yield [array.astype(dtype) if array.dtype.kind == "f" else array for array in arrays]


class Shifted(ge.Node):
    def forward(self, x):
        return 1 + x


class Average(ge.Node):
    def forward(self, x, y):
        return (x + y) / 2


@pytest.mark.parametrize(("op", "other"), [("neg", Shifted), ("sub", Average), ("mul", Average)])
def test_an_op_that_a_user_replaced_is_neither_seen_through_nor_inserted(op, other):
    nodes = {
        "n": ("neg", ["x"]),
        "nn": ("neg", ["n"]),
        "p": ("add", ["y", "n"]),
        "q": ("mul", ["n", "y"]),
        "r": ("abs", ["n"]),
        "s": ("sub", ["y", "n"]),
    }
    values = {"x": np.array([0.5, -1.0, 2.0]), "y": np.array([1.0, 2.0, 3.0])}
    shipped = model_of(nodes, values)
    expected = reference(shipped, values)
    ge.register(op, replace=True)(other)
    replaced = model_of(nodes, values)
    assert compiled(shipped, values) == expected
    assert compiled(replaced, values) == reference(replaced, values) != expected


def test_a_node_of_several_outputs_gets_and_gives_scalars_as_the_reference_does():
    @ge.register("sum_and_difference")
    class SumAndDifference(ge.Node):
        outputs = ("sum", "difference")

        def forward(self, x, y):
            assert np.array(x).dtype == x.dtype == np.float64  # not recorded, so that a plan calls it
            return x + y, x - y

    single = np.array([1.5], np.float32)
    values = {"x": np.array(1 / 3), "single": single, "y": np.array(0.0)}
    nodes = {
        "wide": ("sum_and_difference", ["x", "single"]),
        "alone": ("sum_and_difference", ["x", "y"]),
        "z": ("mul", ["alone:difference", "single"]),
        "q": ("div", ["alone", "y"]),
    }
    model = model_of(nodes, values)
    assert compiled(model, values) == reference(model, values)


@pytest.mark.parametrize("count", [2, 8, 40])
def test_digits_of_literals_do_not_double_at_each_node(count):
    nodes = {"p0": ("mul", [2**53, 2**53])}
    nodes |= {f"p{place}": ("mul", [f"p{place - 1}"] * 2) for place in range(1, count)}
    nodes |= {"small": ("less", [f"p{count - 1}", 1]), "y": ("where", ["small", "x", 0])}
    model = ge.Model.from_dict(document(nodes, inputs={"x": []}))
    for _ in range(3):
        with pytest.raises(ge.errors.ExecutionError, match=r"node 'p0' \(mul\): .* 107 bits does not fit int64"):
            model.predict(x=0.5)
    with pytest.raises(OverflowError, match="107 bits"):
        Plan(model.graph).run({"x": 0.5})


def trained(content, data, *, by_reference=False):
    """The values that a model has after five iterations."""
    model = ge.Model.from_dict(content)
    trainer = model.trainer(data)
    trainer.stepper.reference = by_reference
    list(trainer.chunks())
    return {name: bits(value) for name, value in model.values.items()}


@pytest.mark.parametrize("seen", ["v", "seen"])
def test_states_that_one_value_replaces_do_not_write_over_each_other(seen):
    state = {"a": seen, "b": "v", "c": "w"}
    nodes = {
        "v": ("add", ["b", "x"]),
        "seen": ("flip", ["v"]),
        "w": ("mul", ["a", 2.0]),
        "q": ("mul", ["t", "x"]),
        "loss": ("mean", ["q"]),
    }
    content = document(
        nodes,
        inputs={"x": [3]},
        parameters={"t": 1.0},
        state={
            name: {"shape": [3], "initializer": {"type": "zeros"}, "update": update} for name, update in state.items()
        },
        training={"loss": "loss", "optimizer": {"type": "sgd", "learning_rate": 0.0}, "epochs": 5},
    )
    data = {"x": np.arange(3.0)}
    assert trained(content, data) == trained(content, data, by_reference=True)


# ---------------------------------------------------------------- random graphs

FAMILIES = {
    "arithmetic": ["add", "sub", "mul", "neg", "abs", "less", "where", "transpose", "clip", "sum"],
    "functions": ["add", "mul", "neg", "sqrt", "ones_like", "zeros_like", "gelu", "silu", "pow", "maximum"],
    "shapes": ["mul", "add", "reshape", "flatten", "broadcast_to", "sum_to", "size", "expand_dims", "squeeze", "cast"],
}
LITERALS = [1, 2, 0, 1.0, 0.5, 0.0, -0.0, -1, 94906267, 2**53]
NUMBERS = [1.5, 0.0, 2.0, [2, 0, 3], [[1], [5]], [1.0], []]
DTYPES = ["float64", "uint8", "bool", "int8", "float32", "int64"]


def mixed_graph(chance, ops):
    """A model of a few nodes on values of any dtype and on literals, all of them outputs, and values for its inputs."""
    values = {
        f"x{place}": np.array(chance.choice(NUMBERS)).astype(chance.choice(DTYPES))
        for place in range(chance.randint(2, 4))
    }
    nodes, model = {}, None
    for index in range(chance.randint(2, 7)):
        op = chance.choice(ops)
        attributes, _ = chance.choice(SAMPLES[op])
        first, *others = [name for name in OPS[op].signature.inputs if name != "sizes"]
        count = chance.randint(OPS[op].signature.required - 1, len(others))
        known = chance.choice([[*values, *nodes], [*values, *nodes, *LITERALS], LITERALS])
        operands = {name: chance.choice(known) for name in [first, *chance.sample(others, count)]}
        wanted = {**nodes, f"n{index}": (op, operands, attributes)}
        with suppress(ge.errors.InvalidModelError):
            model, nodes = model_of(wanted, values), wanted
    return (model, values) if model else mixed_graph(chance, ops)


@pytest.mark.parametrize("family", FAMILIES)
def test_random_graphs_of_any_dtypes_have_the_bits_and_the_types_of_the_reference(family):
    """Seeded, and not drawn by hypothesis, which tries far fewer in the same time and finds less."""
    chance = random.Random(family)
    for _ in range(500):
        model, values = mixed_graph(chance, FAMILIES[family])
        executor, plan, shown = Executor(model.graph), Plan(model.graph), (model.graph.nodes, values)
        try:
            slots = executor.forward(values)
        except ge.errors.ExecutionError:  # such as an integer to a negative power
            with pytest.raises((ValueError, OverflowError)):
                plan.run(values)
            continue
        types = {name: type_of(slots[place])[:2] for name, place in executor.slot_of.items()}
        assert types == {name: kind[:2] for name, kind in model.graph.types.items()}, shown
        assert compiled(model, values) == reference(model, values), shown
        scalars = [node.id for node in model.graph.nodes if types[node.id] == ((), np.float64)]
        wrt = [name for name in values if model.graph.types[name].is_differentiable]
        if scalars and wrt:
            of = scalars[-1]
            called = executor.backward(slots, of, wrt)
            found = Plan(gradient(model.graph, of, wrt)).run(values)
            assert {name: bits(found[f"d_{of}/d_{name}"]) for name in wrt} == {
                name: bits(called[name]) for name in wrt
            }, shown
