"""The gradient as a graph: what it says, that it stays generic, and that it is differentiated again."""

import math

import numpy as np
import pytest
from documents import SHIPPED, document, training
from samples import SAMPLES
from sweeping import for_each_row

import graphengine as ge
from graphengine.backends.reference.executor import Executor
from graphengine.ir.declarations import Input
from graphengine.ir.nodes import GraphNode
from graphengine.ops.families.selection import Split, SplitLike
from graphengine.ops.registry import OPS
from graphengine.transform.gradient import gradient

RNG = np.random.default_rng(1)


def evaluate(graph, values):
    executor = Executor(graph)
    slots = executor.forward({name: value for name, value in values.items() if name in graph.sources})
    return {name: slots[executor.slot_of[value]] for name, value in graph.outputs.items()}


# ---------------------------------------------------------------- the regression


def test_the_gradient_of_the_regression_reads_like_the_chain_rule():
    graph = gradient(ge.load("models/linreg.json").graph, of="loss", wrt=["theta"])
    assert dict(graph.outputs) == {"d_loss/d_theta": "d_theta"}
    lines = {node.id: (node.op, node.inputs) for node in graph.nodes}
    assert lines["d_sq/d_error"] == ("mul", (2, "error"))
    assert lines["d_error"] == ("mul", ("d_sq/d_error", "d_sq"))
    assert lines["d_y_hat"] == ("neg", ("d_error",))
    assert lines["d_theta.1"] == ("mul", ("d_y_hat", "x"))
    assert lines["d_theta"] == ("sum_to", ("d_theta.1", None))
    assert not [name for name in lines if name in ("d_x", "d_y")]


def test_the_gradient_of_a_value_has_its_name_and_contributions_are_numbered():
    nodes = {"a": ("mul", ["p", "p"]), "b": ("tanh", ["p"]), "c": ("add", ["a", "b"]), "loss": ("mul", ["c", "p"])}
    content = document(nodes, {"loss": "loss"}, parameters={"p": 2.0})
    lines = {node.id: (node.op, node.inputs) for node in gradient(ge.Model.from_dict(content).graph).nodes}
    assert lines["d_c"] == ("mul", ("d_loss", "p"))
    assert lines["d_p"] == ("add", ("d_p.5", "d_p.4"))
    contributions = {lines[name] for name in lines if name.startswith("d_p.") and lines[name][0] == "mul"}
    assert contributions == {("mul", ("d_loss", "c")), ("mul", ("d_c", "p")), ("mul", ("d_c", "d_b/d_p"))}


def test_nodes_alike_are_recorded_once_and_differentiated_each():
    calls = []

    @ge.register("counted")
    class Counted(ge.Node):
        def forward(self, x, y):
            return x * y

        def backward(self, grad, x, y):
            calls.append(y)
            return grad * y, grad * x

    nodes = {f"n{i}": ("counted", [f"n{i - 1}" if i else "p", "p"]) for i in range(40)}
    model = ge.Model.from_dict(document(nodes, {"loss": "n39"}, parameters={"p": 1.5}))
    graph = gradient(model.graph)
    assert len(calls) == 3  # for the last one, the first, which reads one value twice, and all others
    assert evaluate(graph, {"p": np.array(1.5)})["d_loss/d_p"] == pytest.approx(41 * 1.5**40, rel=1e-14)


def test_what_a_backward_can_tell_apart_is_not_alike():
    """Literals, the same value twice, values that need no gradient, values that have one already."""
    powers = {f"p{i}": ("pow", ["w", i]) for i in range(5)} | {"h": ("pow", ["w", 0.5]), "n": ("pow", ["w", -0.0])}
    products = {
        "ww": ("mul", ["w", "w"]),
        "wx": ("mul", ["w", "x"]),
        "xw": ("mul", ["x", "w"]),
        "wv": ("mul", ["w", "v"]),
    }
    terms = {**powers, **products, "vw": ("mul", ["v", "w"])}
    nodes = {**terms, "loss": ("add_n", [*terms])}
    content = document(nodes, {"loss": "loss"}, inputs={"x": []}, parameters={"w": 0.3, "v": 0.7})
    values = {"w": np.array(0.3), "v": np.array(0.7), "x": np.array(2.0)}
    found = evaluate(gradient(ge.Model.from_dict(content).graph), values)
    slope = sum(i * 0.3 ** (i - 1) for i in range(1, 5)) + 0.5 / np.sqrt(0.3) + 2 * 0.3 + 2 * 2.0 + 2 * 0.7
    assert found["d_loss/d_w"] == pytest.approx(slope, rel=1e-14)
    assert found["d_loss/d_v"] == pytest.approx(2 * 0.3, rel=1e-14)


@pytest.mark.parametrize(
    ("sizes", "op", "inputs"),
    [
        ([2, 3, 1], ("split", Split(indices_or_sections=(2, 5))), ("d_z",)),
        (["N", "M", 1], ("split_like", SplitLike(parts=3)), ("d_z", "a", "b", "c")),
    ],
)
def test_the_gradient_of_a_concat_is_one_node(sizes, op, inputs):
    shapes = dict(zip("abc", [[size] for size in sizes], strict=True))
    nodes = {"z": ("concat", [*"abc"]), "loss": ("vecdot", ["z", "z"])}
    graph = gradient(ge.Model.from_dict(document(nodes, {"loss": "loss"}, inputs=shapes)).graph, "loss", [*"abc"])
    (cut,) = [node for node in graph.nodes if node.id == "d_z.split" + "_like" * (op[0] == "split_like")]
    assert (cut.op, cut.node, cut.inputs) == (*op, inputs)
    assert [*graph.outputs.values()] == [*cut.outputs]
    values = {"a": np.array([1.0, 2]), "b": np.array([3.0, 4, 5]), "c": np.array([6.0])}
    for name, found in evaluate(graph, values).items():
        np.testing.assert_array_equal(found, 2 * values[name[-1]])


def test_a_gradient_is_derived_once_and_has_the_values_of_the_moment():
    model = ge.Model.from_dict(document({"loss": ("square", ["p"])}, {"loss": "loss"}, parameters={"p": 2.0}))
    first = model.gradient()
    model.parameters["p"] = 3.0
    second = model.gradient()
    assert first.nodes is second.nodes
    assert [graph.parameters["p"].value for graph in (first, second)] == [2.0, 3.0]
    assert [*model.gradient(wrt="p").outputs] == ["d_loss/d_p"]


def test_pieces_are_named_after_the_operand_they_are_for():
    content = document({"loss": ("div", ["p", "q"])}, {"loss": "loss"}, parameters={"p": 2.0, "q": 3.0})
    names = [node.id for node in gradient(ge.Model.from_dict(content).graph).nodes if node.id != "loss"]
    assert names == ["d_loss", "d_p", "d_q.1", "d_q.2", "d_q"]


def test_a_value_computed_from_the_gradient_is_not_called_a_partial_derivative():
    @ge.register("feedback")
    class Feedback(ge.Node):
        def forward(self, x):
            return x * 1.0

        def backward(self, grad, x):
            return grad * np.exp(grad)

    content = document({"loss": ("feedback", ["p"])}, {"loss": "loss"}, parameters={"p": 2.0})
    assert not [name for name in gradient(ge.Model.from_dict(content).graph).types if "/" in name]


def test_a_further_output_and_names_that_are_taken_give_valid_ids(tmp_path):
    ge.register("pair")(Pair)
    nodes = {
        "p2": ("pair", ["p"]),
        "d_p": ("exp", ["p"]),
        "s": ("mul", ["p2:second", "d_p"]),
        "loss": ("add", ["s", "p2"]),
    }
    model = ge.Model.from_dict(document(nodes, {"loss": "loss"}, parameters={"p": 0.5}))
    model.gradient().save(tmp_path / "gradient.json")
    found = ge.load(tmp_path / "gradient.json").forward()["d_loss/d_p"]
    assert found == model.forward().backward()["p"]


@pytest.mark.parametrize("size", [1, 2, 24])
def test_one_gradient_graph_serves_every_size(size):
    graph = gradient(ge.load("models/linreg.json").graph)
    x, y, theta = RNG.normal(size=size), RNG.normal(size=size), 1.5
    found = evaluate(graph, {"x": x, "y": y, "theta": np.float64(theta)})["d_loss/d_theta"]
    assert found == pytest.approx(np.mean(-2 * x * (y - theta * x)), rel=1e-13)


def test_the_second_derivative_of_the_regression_is_twice_the_mean_square():
    first = gradient(ge.load("models/linreg.json").graph)
    second = gradient(first, of="d_loss/d_theta", wrt="theta")
    x, y = RNG.normal(size=9), RNG.normal(size=9)
    found = evaluate(second, {"x": x, "y": y, "theta": np.float64(0.3)})
    assert found["d_d_loss/d_theta/d_theta"] == pytest.approx(2 * np.mean(x * x), rel=1e-13)


def test_what_the_graph_computes_already_is_not_computed_again_by_its_gradient():
    first = gradient(ge.load("models/linreg.json").graph)
    second = gradient(first, of="d_loss/d_theta", wrt="theta")
    applications = [(node.op, repr(node.node), node.inputs) for node in second.nodes]
    assert len(set(applications)) == len(applications)
    assert not [node for node in second.nodes if node.op == "zeros_like"]


def test_where_a_gradient_stops_nothing_before_it_is_walked():
    nodes = {"a": ("square", ["p"]), "b": ("stop_gradient", ["a"]), "loss": ("add", ["b", "p"])}
    model = ge.Model.from_dict(document(nodes, {"loss": "loss"}, parameters={"p": 3.0}))
    assert [node.id for node in model.gradient().nodes if node.id.startswith("d_")] == ["d_loss"]
    for _ in range(3):  # by the reference executor, then by the plan
        assert model.forward().backward()["p"] == 1
    content = document(nodes, {"loss": "b"}, parameters={"p": 3.0})
    assert ge.Model.from_dict(content).forward().backward(of="b")["p"] == 0


def test_only_what_is_asked_for_is_in_the_graph():
    model = ge.load("models/linreg.json")
    assert set(gradient(model.graph, wrt="theta").outputs) == {"d_loss/d_theta"}
    both = gradient(model.graph, wrt=["theta", "x"])
    assert set(both.outputs) == {"d_loss/d_theta", "d_loss/d_x"}
    assert set(gradient(model.graph, also=["loss"]).outputs) == {"loss", "d_loss/d_theta"}


def test_a_value_the_loss_does_not_depend_on_has_the_gradient_zero():
    content = document({"loss": ("square", ["a"])}, {"loss": "loss"}, parameters={"a": 2.0, "b": [1.0, 2.0]})
    graph = gradient(ge.Model.from_dict(content).graph)
    values = evaluate(graph, {"a": np.float64(2.0), "b": np.array([1.0, 2.0])})
    assert values["d_loss/d_a"] == 4
    assert values["d_loss/d_b"].tolist() == [0, 0]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_saved_gradient_graph_is_a_model_with_the_same_bits(path, tmp_path):
    model = ge.load(path)
    training = model.document.training
    data = model.load_data(training.data) if training else {}
    if training:
        model.initialize()
    if training and training.batch_size == 1:
        data = {name: values[0] for name, values in data.items()}
    model.gradient().save(tmp_path / "gradient.json")
    saved = ge.load(tmp_path / "gradient.json")
    inputs = {name: values for name, values in data.items() if name in saved.graph.inputs}
    for _ in range(2):  # by the reference executor, then by the plan
        expected = model.forward(data).backward()
        found = saved.forward(inputs)
        assert {name: found[f"d_{model.default_loss()}/d_{name}"].tobytes() for name in expected} == {
            name: value.tobytes() for name, value in expected.items()
        }


# ---------------------------------------------------------------- what cannot be recorded


class Pair(ge.Node):
    """Twice and three times x."""

    outputs = ("first", "second")

    def forward(self, x):
        return x * 2.0, x * 3.0

    def backward(self, grad_first, grad_second):
        return grad_first * 2.0 + grad_second * 3.0


class Branching(ge.Node):
    """Looks at values: z = x * x where the sum is positive, else x."""

    def forward(self, x):
        return x * x if x.sum() > 0 else x + 0

    def backward(self, grad, x):
        return 2 * x * grad if float(np.sum(x)) > 0 else grad


def branching_model():
    ge.register("branching")(Branching)
    content = document(
        {"z": ("branching", ["w"]), "loss": ("sum", ["z"])},
        {"loss": "loss"},
        parameters={"w": [3.0, -1.0]},
    )
    return ge.Model.from_dict(content)


def test_a_backward_that_looks_at_values_is_one_opaque_node_that_names_its_op():
    model = branching_model()
    graph = gradient(model.graph)
    (opaque,) = [node for node in graph.nodes if node.op == "opaque_backward"]
    assert opaque.node.of == "branching"
    values = {"w": np.array([3.0, -1.0])}
    assert evaluate(graph, values)["d_loss/d_w"].tolist() == [6, -2]
    for _ in range(3):
        assert model.forward().backward()["w"].tolist() == [6, -2]


def test_what_a_failed_recording_leaves_is_taken_back_whole():
    @ge.register("looking")
    class Looking(ge.Node):
        def infer(self, x):
            return x._replace(shape=())

        def forward(self, x):
            return np.sum(x)

        def backward(self, grad, x):
            ones = np.ones(x.shape)  # makes a node for N, and finds one for M
            return grad * ones if grad else ones

    @ge.register("times_rows")
    class TimesRows(ge.Node):
        def forward(self, x):
            return x * x.shape[0]

        def backward(self, grad, x):
            return grad * x.shape[0]

    nodes = {"m": ("size", ["x"], {"axis": 1}), "y": ("mul", ["w", "x"]), "z": ("times_rows", ["y"])}
    nodes |= {"zm": ("mul", ["z", "m"]), "loss": ("looking", ["zm"])}
    content = document(nodes, {"loss": "loss"}, inputs={"x": ["N", "M"]}, parameters={"w": 1.0})
    graph = gradient(ge.Model.from_dict(content).graph)
    assert [node.node.of for node in graph.nodes if node.op == "opaque_backward"] == ["looking"]
    assert evaluate(graph, {"w": np.array(1.0), "x": np.ones((2, 3))}) == {"d_loss/d_w": 36.0}


def test_an_opaque_node_leaves_out_what_its_node_leaves_out(tmp_path):
    @ge.register("looking")
    class Looking(ge.Node):
        def forward(self, x, low=None, factor=None):
            return x * factor

        def backward(self, grad, x, factor):
            return (grad * factor, None, grad * x) if float(np.sum(x)) > 0 else (grad * factor, None, 0 * grad)

    nodes = {"z": ("looking", {"x": "w", "factor": "f"}), "loss": ("sum", ["z"])}
    model = ge.Model.from_dict(document(nodes, {"loss": "loss"}, parameters={"w": [3.0, -1.0], "f": [2.0, 5.0]}))
    for _ in range(3):
        assert {name: grad.tolist() for name, grad in model.forward().backward().items()} == {
            "w": [2, 5],
            "f": [3, -1],
        }
    model.gradient().save(tmp_path / "gradient.json")
    assert ge.load(tmp_path / "gradient.json").forward()["d_loss/d_f"].tolist() == [3, -1]


def test_there_is_no_second_derivative_through_an_opaque_node():
    first = gradient(branching_model().graph)
    nodes = [*first.nodes, GraphNode("total", "sum", OPS["sum"].cls(), (first.outputs["d_loss/d_w"],))]
    with pytest.raises(ge.errors.DifferentiationError, match=r"opaque_backward\) has no backward"):
        gradient(first.derive(nodes, {"total": "total"}), of="total", wrt="w")


@pytest.mark.parametrize(
    "use", [bool, len, iter, float, int, np.array, lambda symbol: symbol[0], lambda symbol: np.sort(symbol)]
)
def test_what_needs_a_value_is_refused_while_recording(use):
    seen = []

    @ge.register("using")
    class Using(ge.Node):
        def forward(self, x):
            return x * 1.0

        def backward(self, grad, x):
            try:
                use(x)
            except Exception as error:
                seen.append(type(error).__name__)
                raise
            return grad

    content = document({"z": ("using", ["w"]), "loss": ("sum", ["z"])}, {"loss": "loss"}, parameters={"w": [1.0, 2.0]})
    graph = gradient(ge.Model.from_dict(content).graph)
    assert seen == ["UnrecordableError"]
    assert "opaque_backward" in [node.op for node in graph.nodes]


@pytest.mark.parametrize(
    ("call", "ops"),
    [
        (lambda g, x: np.concatenate((g, x))[:0], None),
        (lambda g, x: np.sum(np.concatenate((g, x), axis=0)) * g, ["concat", "sum", "mul"]),
        (lambda g, x: np.sum(np.stack([g, x], 1), axis=1), ["stack", "sum"]),
        (lambda g, x: np.take(np.pad(g, ((1, 1),)), 1, axis=0) * x, ["pad", "gather", "mul"]),
        (lambda g, x: np.take(g, 1) * x, None),
    ],
)
def test_numpy_calls_are_recorded_as_they_are_written_or_not_at_all(call, ops):
    @ge.register("calling")
    class Calling(ge.Node):
        def forward(self, x):
            return x * 1.0

        def backward(self, grad, x):
            return call(grad, x)

    content = document(
        {"z": ("calling", ["w"]), "loss": ("sum", ["z"])}, {"loss": "loss"}, parameters={"w": [1.0, 2.0]}
    )
    graph = gradient(ge.Model.from_dict(content).graph)
    recorded = [node.op for node in graph.nodes if node.id.startswith(("d_z.", "d_w"))]
    assert recorded == (ops or ["opaque_backward"])


# ---------------------------------------------------------------- second derivatives of every op

ROWS = [
    pytest.param(op, attributes, arrays, id=f"{op}-{index}")
    for op, rows in SAMPLES.items()
    for index, (attributes, arrays) in enumerate(rows)
    if OPS[op].signature.saved is not None and op != "opaque_backward" and all(np.size(array) for array in arrays)
]


SYMBOLS = {2: "M", 3: "N", 4: "K"}


@pytest.mark.parametrize("symbols", [{}, SYMBOLS], ids=["numbers", "symbols"])
@for_each_row(ROWS)
def test_the_gradient_of_the_gradient_is_the_slope_of_the_gradient(op, attributes, arrays, symbols):
    names = [f"x{index}" for index in range(len(arrays))]
    values = {name: np.asarray(array) for name, array in zip(names, arrays, strict=True)}
    shapes = {name: [symbols.get(size, size) for size in array.shape] for name, array in values.items()}
    if symbols and all(shapes[name] == [*array.shape] for name, array in values.items()):
        return
    inputs = {name: {"shape": shape, "dtype": values[name].dtype.name} for name, shape in shapes.items()}
    nodes = {"z": (op, names, attributes), "bent": ("tanh", ["z"]), "loss": ("sum", ["bent"])}
    try:
        model = ge.Model.from_dict(document(nodes, {"loss": "loss"}, inputs=inputs))
    except ge.errors.InvalidModelError:
        return  # its result has no tangent hyperbolic: shapes, truth values; or it needs numbers for sizes
    graph = model.graph
    tied = op in ("maximum", "minimum") and np.equal(*arrays).any()  # the slope jumps where both are equal
    if graph.types["z"].dtype != np.float64 or tied:
        return
    for name in names:
        if graph.types[name].is_differentiable:
            first = gradient(graph, "loss", name)
            assert "opaque_backward" not in [node.op for node in first.nodes]
            check_second_derivative(first, name, values)


def check_second_derivative(first, name, values):
    """d/dx of the projection v . d_loss/dx, in a random direction u, against central differences."""
    shape = values[name].shape
    v, u = RNG.normal(size=shape), RNG.normal(size=shape)
    nodes = [
        *first.nodes,
        GraphNode("projected", "mul", OPS["mul"].cls(), (first.outputs[f"d_loss/d_{name}"], "v")),
        GraphNode("total", "sum", OPS["sum"].cls(), ("projected",)),
    ]
    if name not in first.inputs:
        return  # the gradient is the same everywhere
    inputs = {**first.inputs, "v": Input(first.inputs[name].type)}
    projected = first.derive(nodes, {"total": "total"}, inputs=inputs)
    second = gradient(projected, "total", name)
    assert "opaque_backward" not in [node.op for node in second.nodes]

    def slope(step):
        moved = {**values, name: values[name] + step * u, "v": v}
        return float(evaluate(projected, moved)["total"])

    found = float(np.sum(evaluate(second, {**values, "v": v})[f"d_total/d_{name}"] * u))
    h = 1e-5
    expected = (slope(h) - slope(-h)) / (2 * h)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-7)


LITERAL = [
    pytest.param(op, attributes, arrays, place, id=f"{op}-{place}")
    for op, rows in SAMPLES.items()
    for attributes, arrays in rows
    for place, array in enumerate(arrays)
    if OPS[op].signature.saved is not None and 1 < len(arrays) != np.ndim(array) == 0 and array.dtype.kind == "f"
]


@pytest.mark.parametrize(("op", "attributes", "arrays", "place"), LITERAL)
def test_beside_a_literal_too_nothing_is_opaque(op, attributes, arrays, place):
    names = [f"x{index}" for index in range(len(arrays))]
    values = {name: array for index, (name, array) in enumerate(zip(names, arrays, strict=True)) if index != place}
    inputs = {name: {"shape": list(array.shape), "dtype": array.dtype.name} for name, array in values.items()}
    operands = [*names[:place], float(arrays[place]), *names[place + 1 :]]
    nodes = {"z": (op, operands, attributes), "bent": ("tanh", ["z"]), "loss": ("sum", ["bent"])}
    graph = ge.Model.from_dict(document(nodes, {"loss": "loss"}, inputs=inputs)).graph
    for name in [name for name in values if graph.types[name].is_differentiable]:
        first = gradient(graph, "loss", name)
        assert "opaque_backward" not in [node.op for node in first.nodes]
        if values[name].size:
            check_second_derivative(first, name, values)


@pytest.mark.parametrize("power", [0, 1, 2, 3, 3.0])
def test_a_power_has_derivatives_of_every_order(power):
    graph = ge.Model.from_dict(document({"z": ("pow", ["x", power])}, {"z": "z"}, parameters={"x": 0.0})).graph
    of, expected = "z", np.polynomial.Polynomial.basis(int(power))
    for _ in range(4):
        graph = gradient(graph, of, "x")
        (of,) = graph.outputs
        expected = expected.deriv()
        for x in (-1.5, 0.0, 2.0):
            assert evaluate(graph, {"x": np.float64(x)})[of] == expected(x)


@pytest.mark.parametrize("attributes", [{}, {"axis": [1, 0]}])
@pytest.mark.parametrize("zeros", [0, 1, 2, 3, 4])
def test_a_product_has_its_first_three_derivatives_however_many_values_are_zero(attributes, zeros):
    nodes = {"product": ("prod", ["x"], attributes)}
    graph = ge.Model.from_dict(document(nodes, {"product": "product"}, inputs={"x": ["N", "M"]})).graph
    x = RNG.uniform(1, 2, (2, 2))
    x.flat[RNG.permutation(4)[:zeros]] = 0
    for first in range(4):
        graph_of_one = partial_derivative(graph, "product", first)
        for second in range(4):
            graph_of_two = partial_derivative(graph_of_one, "partial", second)
            third = gradient(graph_of_two, "partial", "x")
            for derived, taken in [(graph_of_one, [first]), (graph_of_two, [first, second])]:
                assert evaluate(derived, {"x": x})["partial"] == pytest.approx(product_without(x, taken), rel=1e-13)
            expected = [product_without(x, [first, second, last]) for last in range(4)]
            found = evaluate(third, {"x": x})["d_partial/d_x"]
            np.testing.assert_allclose(np.ravel(found), expected, rtol=1e-13)


def product_without(x, taken):
    """A partial derivative of a product: that of the other factors; the second with respect to one factor is 0."""
    return np.prod(np.delete(x, taken)) if len(set(taken)) == len(taken) else 0.0


def partial_derivative(graph, of, place):
    """The graph whose output "partial" is the derivative with respect to one place of x."""
    first = gradient(graph, of, "x")
    names = [f"{of}_flat", f"{of}_{place}"]
    nodes = [
        GraphNode(names[0], "flatten", OPS["flatten"].cls(), (first.outputs[f"d_{of}/d_x"],)),
        GraphNode(names[1], "gather", OPS["gather"].cls(axis=0), (names[0], place)),
    ]
    return first.derive([*first.nodes, *nodes], {"partial": names[1]})


LITERALS = [0.0, -0.0, 1.0, -1.0, 2.0, 2.0, 0.5, 3.25, 1e300, 2, 0, 1, -7, 1e-9]
"""What a template of one must not do to another."""


@pytest.mark.parametrize(
    ("op", "places", "partial"),
    [
        ("mul", ["theta", None], lambda theta, c: c),
        ("mul", [None, "theta"], lambda theta, c: c),
        ("add", ["theta", None], lambda theta, c: 1),
        ("sub", [None, "theta"], lambda theta, c: -1),
        ("div", ["theta", None], lambda theta, c: 1 / c),
        ("div", [None, "theta"], lambda theta, c: -c / theta**2),
    ],
)
def test_every_literal_of_an_arithmetic_op_has_its_own_derivative(op, places, partial):
    literals = [c for c in LITERALS if c != 0 or op != "div" or places[0] is None]
    nodes = {f"n{i}": (op, [c if place is None else place for place in places]) for i, c in enumerate(literals)}
    outputs = {name: name for name in nodes} | {"loss": "loss"}
    nodes |= {"loss": ("add_n", list(nodes))}
    content = document(
        nodes, outputs, parameters={"theta": 0.7}, training=training(learning_rate=0.25, max_iterations=1)
    )
    model = ge.Model.from_dict(content)
    slopes = [partial(0.7, c) for c in literals]
    for name, slope in zip(nodes, slopes, strict=False):
        assert model.forward().backward(of=name)["theta"] == pytest.approx(slope, rel=1e-15)
    model.train(data={})
    assert model.parameters["theta"] == pytest.approx(0.7 - 0.25 * math.fsum(slopes), rel=1e-14)


def test_the_types_of_a_gradient_are_in_the_order_of_its_values():
    graph = gradient(ge.load("models/mlp_digits.json").graph, of="loss", wrt=["W1", "W2"])
    assert list(graph.types) == [*graph.sources, *[name for node in graph.nodes for name in node.outputs]]
