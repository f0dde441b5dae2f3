"""Facts about single ops that no law covers: their edges, their size in lines, what they refuse."""

import ast
import inspect
import statistics
import textwrap

import numpy as np
import pytest
from documents import document, model, problem_of, problems_of
from samples import SAMPLES
from samples.linear import cofactors
from scipy import special

import graphengine as ge
from graphengine.ops.families.special import erf
from graphengine.ops.registry import OPS


def forward(op, *inputs, **attributes):
    return OPS[op].cls(**attributes)(*inputs)


def gradients(op, *arrays, **attributes):
    """The gradients of the sum of an op's result with respect to all its inputs."""
    names = [f"x{index}" for index in range(len(arrays))]
    nodes = {"z": (op, names, attributes), "loss": ("sum", ["z"])}
    content = model(nodes, {"loss": "loss"}, parameters=dict(zip(names, arrays, strict=True)))
    return list(content.forward().backward().values())


def lines_of_code(cls):
    """The lines of a class without its docstring and without blank ones."""
    source = textwrap.dedent(inspect.getsource(cls))
    docstring = ast.parse(source).body[0].body[0]
    kept = source.splitlines()
    del kept[docstring.lineno - 1 : docstring.end_lineno]
    return sum(bool(line.strip()) for line in kept)


def test_the_median_op_costs_at_most_8_lines():
    sizes = {name: lines_of_code(OPS[name].cls) for name in SAMPLES}
    assert statistics.median(sizes.values()) <= 8


def test_erf_has_a_relative_error_of_at_most_1e_15_everywhere():
    x = np.concatenate([np.linspace(-7, 7, 20_001), np.logspace(-307, 0, 2_000)])
    np.testing.assert_allclose(erf(x), special.erf(x), rtol=1e-15, atol=0)
    assert np.signbit(erf(-0.0))
    assert np.isnan(erf(np.nan))


def test_halves_are_rounded_to_even_numbers():
    assert forward("round", np.array([0.5, 1.5, -2.5])).tolist() == [0, 2, -2]


@pytest.mark.parametrize("x", [-3.0, -1.0, 0.5, 2.0, 4.0])
def test_a_clip_with_one_limit_is_a_maximum_or_a_minimum(x):
    nodes = {"low": ("clip", ["x", -1]), "high": ("clip", {"x": "x", "max": 2.0}), "z": ("mul", ["low", "high"])}
    run = model(nodes, parameters={"x": x}).forward()
    assert run["out"] == max(x, -1) * min(x, 2)
    slope = (x >= -1) * min(x, 2) + (x <= 2) * max(x, -1)
    assert run.backward(of="out")["x"] == slope


def test_a_clip_needs_a_limit():
    problem = problem_of(document({"z": ("clip", ["x"])}, inputs={"x": ["N"]}))
    assert "one limit or both" in problem.message


@pytest.mark.parametrize("op", ["std", "norm"])
def test_where_there_is_no_spread_the_derivative_is_zero_and_not_nan(op):
    (slope,) = gradients(op, np.zeros(3))
    assert slope.tolist() == [0, 0, 0]


LEVEL = np.array([2.0, 1.0, 2.0])
KINK = np.array([0.0])


@pytest.mark.parametrize(
    ("op", "arrays", "attributes", "expected"),
    [
        ("max", [LEVEL], {}, [[0.5, 0, 0.5]]),
        ("min", [-LEVEL], {}, [[0.5, 0, 0.5]]),
        ("max_pool2d", [np.array([[[[3.0, 3, 1, 3]]]])], {"kernel_size": [1, 4]}, [[[[[1 / 3, 1 / 3, 0, 1 / 3]]]]]),
        ("maximum", [LEVEL, np.array([2.0, 2, 1])], {}, [[0.5, 0, 1], [0.5, 1, 0]]),
        ("minimum", [LEVEL, np.array([2.0, 2, 1])], {}, [[0.5, 1, 0], [0.5, 0, 1]]),
        ("clip", [KINK, KINK, KINK], {}, [[1.0], [0.0], [0.0]]),
        ("arctan2", [KINK, KINK], {}, [[0.0], [0.0]]),
        ("arctan2", [-KINK, -KINK], {}, [[0.0], [0.0]]),
        ("abs", [KINK], {}, [[0.0]]),
        ("mae", [KINK, KINK], {}, [[0.0], [0.0]]),
        ("hinge", [np.array([1.0]), np.array([1.0])], {}, [[0.0], [0.0]]),
        ("relu", [KINK], {}, [[0.0]]),
        ("leaky_relu", [KINK], {}, [[0.01]]),
        ("prelu", [KINK, np.array([0.25])], {}, [[0.25], [0.0]]),
        ("elu", [KINK], {"alpha": 2.0}, [[2.0]]),
        ("hard_sigmoid", [np.array([-3.0, 3.0])], {}, [[0.0, 0.0]]),
        ("pow", [KINK, KINK], {}, [[0.0], [0.0]]),
        ("pow", [KINK, np.array([1.0])], {}, [[1.0], [0.0]]),
    ],
)
def test_where_the_slope_jumps_the_derivative_is_the_one_that_is_promised(op, arrays, attributes, expected):
    for found, wanted in zip(gradients(op, *arrays, **attributes), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_the_derivative_of_the_angle_neither_overflows_nor_vanishes():
    dy, dx = gradients("arctan2", np.array([3e200, 3e-200]), np.array([4e200, 4e-200]))
    np.testing.assert_allclose(dy, [4 / 25 * 1e-200, 4 / 25 * 1e200], rtol=1e-14)
    np.testing.assert_allclose(dx, [-3 / 25 * 1e-200, -3 / 25 * 1e200], rtol=1e-14)


def test_the_derivative_of_the_inverse_hyperbolic_sine_does_not_overflow():
    (slope,) = gradients("arcsinh", np.array([1e200, -1e300]))
    np.testing.assert_allclose(slope, [1e-200, 1e-300], rtol=1e-12)


def test_logsumexp_of_extreme_numbers_is_finite_and_of_nothing_minus_infinity():
    assert forward("logsumexp", np.array([1000.0, 1000.0])) == 1000 + np.log(2)
    assert forward("logsumexp", np.array([-1000.0, -1000.0])) == -1000 + np.log(2)
    (slope,) = gradients("logsumexp", np.array([1000.0, -1000.0]))
    assert slope.tolist() == [1, 0]
    nothing, node = np.full(2, -np.inf), OPS["logsumexp"].cls()
    with np.errstate(divide="ignore"):
        result = node.forward(nothing)
    assert (result, node.backward(1.0, nothing, result).tolist()) == (-np.inf, [0, 0])


@pytest.mark.parametrize("rank", range(5))
def test_a_determinant_has_its_first_and_second_derivative_whatever_the_rank(rank):
    random = np.random.default_rng(rank)
    x, direction = random.normal(size=(4, rank)) @ random.normal(size=(rank, 4)), random.normal(size=(4, 4))
    nodes = {"det": ("det", ["x"]), "cofactors": ("cofactor", ["x"]), "along": ("mul", ["cofactors", "h"])}
    nodes["slope"] = ("sum", ["along"])
    graph = model(nodes, inputs={"x": ["N", "N"], "h": ["N", "N"]})
    for _ in range(3):
        run = graph.forward(x=x, h=direction)
        np.testing.assert_allclose(run.backward(of="det", wrt=["x"])["x"], cofactors(x), atol=1e-12)
        np.testing.assert_allclose(run.backward(of="slope", wrt=["x"])["x"], cofactors(x, direction), atol=1e-12)


def test_what_is_not_finite_spoils_only_its_own_cofactors():
    x = np.stack([np.eye(2), np.full((2, 2), np.nan), 2 * np.eye(2)])
    found = forward("cofactor", x)
    assert found[[0, 2]].tolist() == [[[1, 0], [0, 1]], [[2, 0], [0, 2]]]
    assert np.isnan(found[1]).all()


def test_an_index_that_occurs_twice_adds_twice():
    x, indices, updates = np.zeros(3), np.array([2, 0, 2, -1]), np.array([1.0, 2.0, 3.0, 4.0])
    assert forward("index_add", x, indices, updates, axis=0).tolist() == [2, 0, 8]
    assert forward("scatter_add", x, indices, updates, axis=0).tolist() == [2, 0, 8]
    assert x.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("nodes", "inputs", "reason"),
    [
        ({"z": ("cofactor", ["a", "b"])}, {"a": [2, 2], "b": ["N", "N"]}, "a direction has the shape of x, (2, 2)"),
        ({"z": ("concat", ["a", "b"])}, {"a": [2, 3], "b": [2, 4]}, "do not fit together"),
        ({"z": ("concat", ["a", "b"])}, {"a": ["N", 3], "b": ["N"]}, "do not fit together"),
        ({"z": ("stack", ["a", "b"])}, {"a": [2], "b": ["N"]}, "do not fit together"),
        ({"z": ("slice", ["a"], {"step": 0})}, {"a": [3]}, "must not be 0"),
        ({"z": ("slice", ["a"], {"axis": 1})}, {"a": [3]}, "axis 1 is out of range"),
        ({"z": ("slice", ["a"], {"start": [1, 2]})}, {"a": [3, 4]}, "start (1, 2) has not one number for each axis"),
        ({"z": ("slice", ["a"], {"step": [1], "axis": [0, 1]})}, {"a": [3, 4]}, "step (1,) has not one number"),
        ({"z": ("slice", ["a"], {"axis": [0, -2]})}, {"a": [3, 4]}, "names an axis twice"),
        ({"z": ("gather", ["a", "b"], {"axis": 0})}, {"a": [3], "b": [2]}, "indices must be integers"),
        ({"z": ("layer_norm", ["a", "b"])}, {"a": [1, 3], "b": [2, 3]}, "shapes (2, 3) do not broadcast to (1, 3)"),
        ({"z": ("squeeze", ["a"], {"axis": 0})}, {"a": ["N"]}, "not of size 1"),
        ({"z": ("pad", ["a"], {"pad_width": [[1, 1]]})}, {"a": [2, 2]}, "a pair for each of 2 axes"),
        ({"z": ("pad", ["a"], {"pad_width": [[1, 0]], "mode": "wrap"})}, {"a": [0]}, "has no values to fill a margin"),
        (
            {"z": ("pad", ["a"], {"pad_width": [[1, 0]], "mode": "edge", "constant_values": 1.0})},
            {"a": [2]},
            "constant_values are for mode 'constant', not 'edge'",
        ),
        ({"z": ("unpad", ["a"], {"pad_width": [[1, 1]], "mode": "edge"})}, {"a": [2]}, "too wide for shape (2,)"),
        (
            {"z": ("pad", ["a"], {"pad_width": [[1, 0]], "constant_values": 0.5})},
            {"a": {"shape": [2], "dtype": "int64"}},
            "dtype int64 cannot hold the number 0.5",
        ),
        (
            {"z": ("pad", ["a"], {"pad_width": [[1, 0]], "constant_values": "NaN"})},
            {"a": {"shape": [2], "dtype": "uint8"}},
            "dtype uint8 cannot hold the number nan",
        ),
        (
            {"z": ("unfold", ["a"], {"kernel_size": [2], "fill": 1e300})},
            {"a": {"shape": ["N", 1, 3], "dtype": "float32"}},
            "dtype float32 cannot hold the number 1e+300",
        ),
        ({"z": ("split_like", ["a", "b"], {"parts": 2})}, {"a": [2], "b": [2]}, "(2,) has no 2 parts of shapes (2,)"),
        ({"z": ("split_like", ["a", "b", "b"], {"parts": 2})}, {"a": [3], "b": [2]}, "no 2 parts of shapes (2,), (2,)"),
        ({"z": ("untile", ["a"], {"reps": [2]})}, {"a": [3]}, "shape (3,) has no (2,) tiles"),
        ({"z": ("tile", ["a"], {"reps": [-1]})}, {"a": [2]}, "greater than or equal to 0"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(nodes, inputs, reason):
    assert reason in problem_of(document(nodes, inputs=inputs)).message


def test_sizes_that_are_sums_of_symbols_are_known_when_the_plan_is_made():
    nodes = {
        "both": ("concat", ["a", "b"]),
        "middle": ("slice", ["both"], {"start": 1, "stop": -1}),
        "wide": ("pad", ["middle"], {"pad_width": [[2, 0]]}),
        "sq": ("square", ["wide"]),
        "loss": ("sum", ["sq"]),
    }
    graph = model(nodes, {"loss": "loss"}, inputs={"a": ["N"], "b": ["M"]})
    assert "opaque_backward" not in [node.op for node in graph.gradient(wrt=["a", "b"]).nodes]
    a, b = np.array([1.0, 2.0]), np.array([3.0, 4.0, 5.0])
    for _ in range(3):
        run = graph.forward(a=a, b=b)
        assert run["loss"] == 4 + 9 + 16
        assert [each.tolist() for each in run.backward(wrt=["a", "b"]).values()] == [[0, 4], [6, 8, 0]]


@pytest.mark.parametrize(
    ("equation", "shapes", "reason"),
    [
        ("ij,jk->ik", [[2, 3]], "letters for 2 inputs, not for 1"),
        ("ij,jk->ik", [[2, 3], [4, 5]], "'j' has two sizes, 3 and 4, in shapes (2, 3) and (4, 5)"),
        ("ij,jk->ik", [["M", 3], [3]], "'jk' does not name the 1 axes"),
        ("ij->i", [[2, 3, 4]], "'ij' does not name the 3 axes"),
        ("ij->ii", [[2, 3]], "each once"),
        ("ij->k", [[2, 3]], "letters of the inputs"),
        ("..i->i", [[2, 3, 4]], "'...' only"),
        ("i;j", [[2]], "'...' only"),
        ("ii->i", [[1, 3]], "a diagonal needs equal sizes: 'i' in 'ii', shape (1, 3)"),
        ("iji,i->j", [["N", 2, 1], ["N"]], "a diagonal needs equal sizes: 'i' in 'iji'"),
    ],
)
def test_an_equation_that_does_not_fit_its_inputs_is_refused(equation, shapes, reason):
    inputs = {f"x{index}": shape for index, shape in enumerate(shapes)}
    assert reason in problem_of(document({"z": ("einsum", [*inputs], {"equation": equation})}, inputs=inputs)).message


@pytest.mark.parametrize("size", ["N", 3])
def test_an_axis_of_size_1_under_a_summed_letter_gets_the_sum_of_its_gradients(size):
    """The loss is sum(x) * sum(y) for each row; the plan, the reference and the second derivative agree."""
    nodes = {"z": ("einsum", ["x", "y"], {"equation": "ij,ij->i"}), "loss": ("sum", ["z"])}
    graph = model(nodes, {"loss": "loss"}, inputs={"x": [2, 1], "y": [2, size]})
    x, y = np.array([[2.0], [-1.0]]), np.array([[1.0, 2.0, 4.0], [0.5, 0.25, 0.125]])
    for _ in range(3):
        run = graph.forward(x=x, y=y)
        assert run["loss"] == 2 * 7 - 0.875
        dx, dy = run.backward(wrt=["x", "y"]).values()
        assert (dx.tolist(), dy.tolist()) == ([[7], [0.875]], [[2] * 3, [-1] * 3])


def test_the_gradient_of_a_cholesky_factor_is_symmetric_and_that_of_a_log_determinant():
    """log(det(x)) = 2 * sum(log(diag(z))), whose gradient with respect to a symmetric x is inv(x)."""
    x = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, -1.0], [0.5, -1.0, 2.0]])
    nodes = {"z": ("cholesky", ["x"]), "eye": ("eye_like", ["x"]), "d": ("mul", ["z", "eye"]), "s": ("sum", ["d"])}
    nodes |= {"rows": ("sum", ["d"], {"axis": -1}), "log": ("log", ["rows"]), "half": ("sum", ["log"])}
    graph = model({**nodes, "loss": ("mul", [2.0, "half"])}, {"loss": "loss"}, parameters={"x": x})
    for _ in range(3):
        run = graph.forward()
        np.testing.assert_allclose(run["loss"], np.log(np.linalg.det(x)), rtol=1e-14)
        dx = run.backward(of="loss")["x"]
        np.testing.assert_allclose(dx, np.linalg.inv(x), rtol=1e-13)
        np.testing.assert_array_equal(dx, dx.T)


def test_both_triangles_count_for_a_cholesky_factor_and_equal_ones_keep_their_bits():
    lower, upper = np.array([[4.0, 0.0], [2.0, 3.0]]), np.array([[4.0, 2.0], [0.0, 3.0]])
    half = np.linalg.cholesky((lower + upper) / 2)
    np.testing.assert_array_equal(forward("cholesky", lower), half)
    np.testing.assert_array_equal(forward("cholesky", upper), half)
    np.testing.assert_array_equal(forward("cholesky", np.array([[1.6e308]])), [[np.sqrt(1.6e308)]])
    np.testing.assert_array_equal(forward("cholesky", np.array([[5e-324]])), [[np.sqrt(5e-324)]])


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_margin_may_be_of_numbers_that_are_not_finite(number):
    nodes = {"z": ("pad", ["x"], {"pad_width": [[1, 2]], "constant_values": number}), "total": ("sum", ["x"])}
    graph = model(nodes, {"z": "z", "total": "total"}, inputs={"x": ["N"]})
    margin = float(number)
    for _ in range(3):
        run = graph.forward(x=[1.0, 2.0])
        np.testing.assert_array_equal(run["z"], [margin, 1, 2, margin, margin])
        assert run.backward(of="total", wrt=["x"])["x"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("op", "dtype", "expected"),
    [
        ("max", "float32", -np.inf),
        ("min", "float64", np.inf),
        ("max", "int8", -128),
        ("min", "uint64", 2**64 - 1),
        ("max", "bool", False),
        ("min", "bool", True),
    ],
)
def test_an_extremum_of_nothing_is_the_neutral_element_of_its_dtype(op, dtype, expected):
    """As ReduceMax and ReduceMin of ONNX from opset 20 on."""
    nodes = {"z": (op, ["x"], {"axis": 1}), "all": (op, ["x"])}
    graph = model(nodes, {"z": "z", "all": "all"}, inputs={"x": {"shape": ["N", "M"], "dtype": dtype}})
    for _ in range(3):
        run = graph.forward(x=np.zeros((2, 0), dtype))
        assert (run["z"].tolist(), run["all"].item()) == ([expected] * 2, expected)
        assert run["z"].dtype == run["all"].dtype == dtype


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_a_softmax_along_an_empty_axis_is_empty(name):
    graph = model({"z": (name, ["x"])}, inputs={"x": ["N", "M"]})
    for _ in range(3):
        assert graph.forward(x=np.zeros((2, 0)))["out"].shape == (2, 0)


def test_einsum_keeps_symbolic_sizes():
    nodes = {"z": ("einsum", ["x", "y"], {"equation": "...ij,jk->...ki"})}
    graph = model(nodes, inputs={"x": ["B", "N", 3], "y": [3, "M"]}).graph
    assert graph.types["z"].shape == ("B", "M", "N")


def test_the_parts_of_a_split_are_named_by_number():
    nodes = {
        "parts": ("split", ["x"], {"indices_or_sections": 2}),
        "z": ("mul", ["parts", "parts:part_1"]),
        "loss": ("sum", ["z"]),
    }
    graph = model(nodes, {"loss": "loss"}, parameters={"x": [1.0, 2.0, 3.0, 4.0]})
    for _ in range(3):
        run = graph.forward()
        assert run["loss"] == 11
        assert run.backward()["x"].tolist() == [3, 4, 1, 2]


def test_a_part_without_a_gradient_gets_zeros():
    nodes = {"parts": ("split", ["x"], {"indices_or_sections": [1, 2]}), "loss": ("sum", ["parts:part_2"])}
    run = model(nodes, {"loss": "loss"}, parameters={"x": [1.0, 2.0, 3.0, 4.0]}).forward()
    assert run.backward()["x"].tolist() == [0, 0, 1, 1]


def test_parts_of_a_multiple_of_a_symbol_have_symbolic_sizes():
    graph = model({"parts": ("split", ["x"], {"indices_or_sections": 2})}, inputs={"x": ["2*N", 3]}).graph
    assert [graph.types[name].shape for name in ("parts", "parts:part_1")] == [("N", 3), ("N", 3)]


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"indices_or_sections": 2}, "size 3 cannot be cut into 2 equal parts"),
        ({"indices_or_sections": 1000}, "256"),
        ({"indices_or_sections": 1}, "2"),
    ],
)
def test_a_split_that_is_none_is_refused(attributes, reason):
    problems = problems_of(document({"z": ("split", ["x"], attributes)}, inputs={"x": [3]}))
    assert reason in " ".join(problem.message for problem in problems)


@pytest.mark.parametrize("index", [0, 3, -1])
@pytest.mark.parametrize("rows", [4, "V"])
def test_a_row_that_fills_up_is_taken_but_has_no_gradient(index, rows):
    nodes = {
        "z": ("embedding", ["indices", "weight"], {"padding_index": index}),
        "cube": ("pow", ["z", 3.0]),
        "loss": ("sum", ["cube"]),
    }
    inputs = {"indices": {"shape": ["N"], "dtype": "int8"}, "weight": [rows, 2]}
    graph = model(nodes, {"loss": "loss"}, inputs=inputs)
    weight, indices = np.arange(1.0, 9).reshape(4, 2), [0, 3, 0, -1, 1]
    times = np.array([[2.0], [1], [0], [2]])
    times[index] = 0
    for _ in range(3):
        run = graph.forward(indices=indices, weight=weight)
        assert run["loss"] == np.sum(weight[indices] ** 3)
        np.testing.assert_array_equal(run.backward(wrt=["weight"])["weight"], 3 * weight**2 * times)
    assert "opaque_backward" not in [node.op for node in graph.gradient(wrt=["weight"]).nodes]


def test_a_row_that_fills_up_must_be_there():
    inputs = {"indices": {"shape": ["N"], "dtype": "int64"}, "weight": [4, 2]}
    problem = problem_of(document({"z": ("embedding", [*inputs], {"padding_index": 4})}, inputs=inputs))
    assert "padding_index 4 is out of range for 4 rows" in problem.message


@pytest.mark.parametrize("index", [-4, 3])
def test_an_index_beyond_the_axis_is_refused(index):
    nodes = {"z": ("index_add", ["x", "i", "y"], {"axis": 1})}
    added = model(nodes, inputs={"x": [2, 3], "i": {"shape": [1], "dtype": "int64"}, "y": [2, 1]})
    with pytest.raises(ge.errors.ExecutionError, match="out of bounds for axis 1 with size 3"):
        added.forward(x=np.zeros((2, 3)), i=[index], y=np.ones((2, 1)))


CLASSES = ["negative_log_likelihood", "softmax_cross_entropy"]


@pytest.mark.parametrize("label", [-4, 3])
@pytest.mark.parametrize("more", [{}, {"ignore_index": 1}, {"weights": [1.0, 2.0, 0.5]}])
@pytest.mark.parametrize("name", CLASSES)
def test_a_label_that_is_no_class_is_refused_whatever_else_a_loss_takes(name, more, label):
    attributes = {key: value for key, value in more.items() if key == "ignore_index"}
    weights = {key: value for key, value in more.items() if key == "weights"}
    nodes = {"loss": (name, ["x", "labels", *weights], attributes)}
    inputs = {"x": ["N", 3], "labels": {"shape": ["N"], "dtype": "int64"}}
    loss = model(nodes, {"loss": "loss"}, inputs=inputs, parameters=weights)
    for _ in range(3):
        with pytest.raises(ge.errors.ExecutionError, match=f"GE410.*index {label} is out of bounds"):
            loss.forward(x=np.zeros((2, 3)), labels=[label, 1])["loss"]


@pytest.mark.parametrize(("reduction", "value"), [("mean", np.nan), ("sum", 0), ("none", [0, 0])])
@pytest.mark.parametrize("name", CLASSES)
def test_where_every_sample_is_ignored_the_mean_is_nan_and_the_gradient_zero(name, reduction, value):
    nodes = {"losses": (name, ["x", "labels"], {"ignore_index": -100, "reduction": reduction})}
    nodes["loss"] = ("sum", ["losses"])
    inputs = {"x": ["N", 3], "labels": {"shape": ["N"], "dtype": "int64"}}
    loss = model(nodes, {"loss": "loss", "losses": "losses"}, inputs=inputs)
    for _ in range(3):
        run = loss.forward(x=np.ones((2, 3)), labels=[-100, -100])
        np.testing.assert_array_equal(run["losses"], value)
        assert not run.backward(of="loss", wrt=["x"])["x"].any()


def test_no_module_of_the_tests_registers_an_op_while_it_is_collected():
    """A test registers the node that it uses; otherwise the schema and the listings of other tests have it, too."""
    assert {op.cls.__module__.partition(".")[0] for op in OPS.values()} == {"graphengine"}
