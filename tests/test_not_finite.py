"""Laws for NaN and infinity: what depends on NaN is NaN, and an infinite input gives the limit, in values and slopes.

What counts as right is found without the code under test: what a result depends on by changing one number, a limit from
larger and larger finite numbers and the differences of `forward` between them, and for elementwise ops from a table.
"""

import math
from importlib import import_module

import numpy as np
import pytest
from documents import document
from samples import TABLE
from scipy import special

import graphengine as ge
from graphengine.ops.inference import elementwise
from graphengine.ops.registry import OPS


def is_real(arrays):
    return any(array.dtype.kind == "f" and array.size for array in arrays)


def size(arrays):
    return sum(map(np.size, arrays))


def rows_of(name):
    """The rows of an op with real numbers that are not many, at least the smallest; those of few numbers first."""
    rows = sorted((row for row in TABLE[name].rows if is_real(row[1])), key=lambda row: size(row[1]))
    return [row for number, row in enumerate(rows) if not number or size(row[1]) <= 80]


ROWS = [(name, *row) for name in TABLE for row in rows_of(name)]
OTHERS = (-2.7, -0.31, 0.0472, 0.63, 1.9, 5.3)
"""Numbers that an element is replaced with to see what depends on it."""
SIZES = 20.0 * 8.0 ** np.arange(6)
"""Numbers on the way to infinity."""
NOT_NAN = {
    "confusion_matrix": "counts are integers: NaN counts as the largest score",
    "opaque_backward": "it is given a result that its inputs do not have",
    **dict.fromkeys(
        ("max_pool_with_indices", "sort", "topk"), "NaN counts as the largest value, and only its place is NaN"
    ),
}
"""Ops that give a number where an input is NaN, and why."""
INF, NAN = math.inf, math.nan


def instance(name, attributes):
    return OPS[name].cls.model_validate(attributes)


def evaluated(node, name, arrays):
    """Results and gradients as two lists, the gradients of a weighted sum of the results for each float input."""
    with np.errstate(all="ignore"):
        results = node.forward(*[array[()] for array in arrays])
        results = results if isinstance(results, tuple) else (results,)
        signature = OPS[name].signature
        if signature.saved is None:
            return list(map(np.asarray, results)), []
        inputs = [array[()] for array in arrays] + [None] * (len(signature.inputs) - signature.variadic - len(arrays))
        needs = tuple(array is not None and array.dtype.kind == "f" for array in inputs)
        gradients = signature.gradients(node, weights(results), inputs, results, needs)
        floats = [index for index, needed in enumerate(needs) if needed]
        return list(map(np.asarray, results)), [summed(gradients[index], arrays[index]) for index in floats]


def weights(results):
    return [np.resize([0.7, -1.3, 1.1, 0.9], np.shape(result)).astype(result.dtype)[()] for result in results]


def summed(gradient, array):
    """A gradient in the shape of its input, as the engine sums it where the input was broadcast."""
    gradient = np.zeros(array.shape) if gradient is None else np.asarray(gradient)
    gradient = gradient.sum(tuple(range(gradient.ndim - array.ndim)))
    sizes = zip(array.shape[-gradient.ndim :], gradient.shape, strict=True) if gradient.ndim else ()
    broadcast = tuple(axis for axis, (size, found) in enumerate(sizes) if size == 1 != found)
    return np.broadcast_to(gradient.sum(broadcast, keepdims=True), array.shape)


def with_value(arrays, index, place, value):
    changed = [array.copy() for array in arrays]
    changed[index].reshape(-1)[place] = value
    return changed


def places(arrays):
    """An input and a place in it, for a first, a middle and a last number of each."""
    for index, array in enumerate(arrays):
        if array.dtype.kind == "f":
            yield from ((index, place) for place in sorted({0, array.size // 2, array.size - 1} & {*range(array.size)}))


def differs(one, other):
    return (one != other) & ~(np.isnan(one) & np.isnan(other))


@pytest.mark.parametrize("name", sorted({name for name, *_ in ROWS} - {*NOT_NAN}))
def test_what_depends_on_nan_is_nan(name):
    for attributes, arrays in rows_of(name):
        node = instance(name, attributes)
        before = evaluated(node, name, arrays)
        for index, place in places(arrays):
            others = [evaluated(node, name, with_value(arrays, index, place, value)) for value in OTHERS]
            spoiled = evaluated(node, name, with_value(arrays, index, place, NAN))
            for part in (0, 1):
                for output, found in enumerate(spoiled[part]):
                    # a place that is NaN lies nowhere in a table: only one interval gets NaN
                    if found.dtype.kind != "f" or (name == "interp" and part == 1 and output > 0 and index < 2):
                        continue
                    depends = np.any([differs(each[part][output], before[part][output]) for each in others], axis=0)
                    assert np.isnan(found[depends]).all(), (attributes, index, place, ("value", "slope")[part], output)


def few_rows(name):
    """Two small rows of an op with different attributes, or the smallest."""
    several = [row for row in rows_of(name) if max(map(np.size, row[1])) > 1] or rows_of(name)
    return [several[0], *[row for row in several if row[0] != several[0][0] and size(row[1]) <= 24][:1]]


def limit(numbers):
    """Where a sequence tends to: a number, an infinity, NaN where it has no limit, None where that cannot be seen."""
    known = [number for number in numbers if math.isfinite(number)]
    if len(known) < 3 or known != list(numbers[: len(known)]):
        return None
    first, second, last = known[-3:]
    if abs(last - second) <= 1e-3 * abs(last) + 1e-6 and abs(second - first) <= 1e-2 * abs(last) + 1e-4:
        return last
    shrinks = (last - second) / (second - first) if second != first else 1.0
    if 0 <= shrinks < 0.6:
        return last + (last - second) * shrinks / (1 - shrinks)  # Aitken's extrapolation
    if first * second > 0 and second * last > 0 and abs(last) > 1.1 * abs(second) > 1.21 * abs(first):
        return math.copysign(INF, last)
    return 0.0 if abs(last) < 0.9 * abs(second) < 0.81 * abs(first) else NAN


def is_limit(name, found, wanted):
    if wanted is None or (name in NAN_INSTEAD and math.isnan(found)):
        return True
    if math.isfinite(wanted):
        return abs(found - wanted) <= 5e-3 * abs(wanted) + 2e-3
    return math.isnan(found) if math.isnan(wanted) else found == wanted


def slope(node, arrays, index, place):
    """The central difference of the weighted sum of the results, result by result."""
    at = arrays[index].reshape(-1)[place]
    step = max(abs(at), 0.3) / 2048
    with np.errstate(all="ignore"):
        ahead, back = (forward(node, with_value(arrays, index, place, at + sign * step)) for sign in (1, -1))
        ratios = [w * (a - b) / (2 * step) for w, a, b in zip(weights(ahead), ahead, back, strict=True)]
        noise = max(1e-16 * np.max(np.abs(each), initial=0) / step for each in ahead)
    total = float(sum(map(np.sum, ratios)))
    return total if noise < 1e-4 * max(abs(total), 1e-2) else NAN


def forward(node, arrays):
    results = node.forward(*[array[()] for array in arrays])
    return list(map(np.asarray, results if isinstance(results, tuple) else (results,)))


BY_SOFTMAX = ("log_softmax", "scaled_dot_product_attention", "softmax", "softmax_cross_entropy")
NAN_INSTEAD = {
    **dict.fromkeys(BY_SOFTMAX, "infinity - infinity, as in SciPy and PyTorch"),
    **dict.fromkeys(("cholesky", "cofactor", "det", "inv", "solve"), "a matrix that is not finite has no inverse"),
    **dict.fromkeys(("cumprod", "linear_recurrence", "r2", "std", "var"), "infinity - infinity, as in NumPy"),
    **dict.fromkeys(("layer_norm", "norm", "rms_norm"), "infinity / infinity, as in PyTorch"),
    **dict.fromkeys(("batch_norm", "conv_transpose2d"), "0 * infinity, as in PyTorch"),
    "hinge": "0 * infinity, of a target that is neither -1 nor 1",
    "logsumexp": "infinity - infinity, as in PyTorch",
    **dict.fromkeys(("betaln", "digamma", "lgamma", "polygamma"), "poles without end on the way to -infinity"),
    **dict.fromkeys(("cos", "sin", "tan", "mod"), "periods without end on the way"),
}
"""Ops that may give NaN where large numbers seem to have a limit, and why; another number they must not give."""
WITHOUT_SLOPE = {"ceil", "floor", "mod", "round"} | {name for name, entry in TABLE.items() if not entry.slope}
"""Ops whose differences are not their slopes."""
LIMITS = sorted({name for name, *_ in ROWS} - {*NOT_NAN})


@pytest.mark.parametrize("name", LIMITS)
def test_an_infinite_number_gives_the_limit_of_large_ones(name):
    for attributes, arrays in few_rows(name):
        node = instance(name, attributes)
        for index, place in places(arrays):
            for sign in (1, -1):
                found, gradients = evaluated(node, name, with_value(arrays, index, place, sign * INF))
                large = [with_value(arrays, index, place, sign * size) for size in SIZES]
                values = [evaluated(node, name, each)[0] for each in large]
                for output, result in enumerate(found):
                    if result.dtype.kind == "f":
                        for spot in np.ndindex(result.shape):
                            wanted = limit([float(value[output][spot]) for value in values])
                            case = (attributes, index, place, sign, spot, result[spot], wanted)
                            assert is_limit(name, result[spot], wanted), case
                floats = [number for number, array in enumerate(arrays) if array.dtype.kind == "f"]
                for number, gradient in [] if name in WITHOUT_SLOPE else zip(floats, gradients, strict=False):
                    for spot in sorted({0, place % gradient.size, gradient.size - 1}) if gradient.size else ():
                        wanted = limit([slope(node, each, number, spot) for each in large])
                        case = (attributes, (index, place, sign), (number, spot), gradient.ravel()[spot], wanted)
                        assert is_limit(name, gradient.ravel()[spot], wanted), case


SELU = 1.0507009873554805 * 1.6732632423543772
ENDS = {
    "abs": (INF, INF, -1, 1),
    "arccos": (NAN, NAN, NAN, NAN),
    "arccosh": (NAN, INF, NAN, 0),
    "arcsin": (NAN, NAN, NAN, NAN),
    "arcsinh": (-INF, INF, 0, 0),
    "arctan": (-math.pi / 2, math.pi / 2, 0, 0),
    "arctanh": (NAN, NAN, NAN, NAN),
    "ceil": (-INF, INF, 0, 0),
    "celu": (-1, INF, 0, 1),
    "cos": (NAN, NAN, NAN, NAN),
    "cosh": (INF, INF, -INF, INF),
    "digamma": (NAN, INF, NAN, 0),
    "elu": (-1, INF, 0, 1),
    "erf": (-1, 1, 0, 0),
    "erfc": (2, 0, 0, 0),
    "erfcx": (INF, 0, -INF, 0),
    "exp": (0, INF, 0, INF),
    "expm1": (-1, INF, 0, INF),
    "floor": (-INF, INF, 0, 0),
    "gelu": (0, INF, 0, 1),
    "hard_sigmoid": (0, 1, 0, 0),
    "inverse_mills": (INF, 0, -1, 0),
    "leaky_relu": (-INF, INF, 0.01, 1),
    "lgamma": (NAN, INF, NAN, INF),
    "log": (NAN, INF, NAN, 0),
    "log10": (NAN, INF, NAN, 0),
    "log1p": (NAN, INF, NAN, 0),
    "log2": (NAN, INF, NAN, 0),
    "log_erfc": (math.log(2), -INF, 0, -INF),
    "log_ndtr": (-INF, 0, INF, 0),
    "mish": (0, INF, 0, 1),
    "neg": (INF, -INF, -1, -1),
    "ones_like": (1, 1, 0, 0),
    "polygamma": (NAN, 0, NAN, 0),
    "reciprocal": (0, 0, 0, 0),
    "relu": (0, INF, 0, 1),
    "round": (-INF, INF, 0, 0),
    "rsqrt": (NAN, 0, NAN, 0),
    "selu": (-SELU, INF, 0, 1.0507009873554805),
    "sigmoid": (0, 1, 0, 0),
    "sign": (-1, 1, 0, 0),
    "silu": (0, INF, 0, 1),
    "sin": (NAN, NAN, NAN, NAN),
    "sinh": (-INF, INF, INF, INF),
    "softplus": (0, INF, 0, 1),
    "softsign": (-1, 1, 0, 0),
    "sqrt": (NAN, INF, NAN, 0),
    "square": (INF, INF, -INF, INF),
    "stop_gradient": (-INF, INF, 0, 0),
    "tan": (NAN, NAN, NAN, NAN),
    "tanh": (-1, 1, 0, 0),
    "zeros_like": (0, 0, 0, 0),
}
"""For each function of one real number what it tends to at -infinity and infinity, and what its slope tends to."""


def test_every_function_of_one_number_has_its_limits_in_the_table():
    unary = {
        name
        for name, op in OPS.items()
        if vars(op.cls).get("infer") is elementwise and len(op.signature.inputs) == 1 and op.domain == "core"
    }
    assert unary - {"isfinite", "logical_not"} == {*ENDS}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", sorted(ENDS))
def test_a_function_of_one_number_tends_to_its_limits(name, dtype):
    attributes = {"order": 1} if name == "polygamma" else {}
    for sign in (0, 1) if name == "gelu" else (0,):
        node = instance(name, {"approximate": "tanh"} if sign else attributes)
        results, gradients = evaluated(node, name, [np.array([-INF, INF], dtype)])
        found = [*results[0], *gradients[0] / weights(results)[0]]
        np.testing.assert_allclose(found, ENDS[name], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("log", [0.5, INF], [-0.5, -INF]),
        ("log2", [0.5, INF], [-0.5, -INF]),
        ("log10", [0.5, INF], [-0.5, -INF]),
        ("log1p", [-0.5, INF], [-1.5, -INF]),
        ("sqrt", [0.5, INF], [-0.5, -INF]),
        ("rsqrt", [0.5, INF], [-0.5, -INF]),
        ("arcsin", [0.5, -0.5], [1.5, -1.5]),
        ("arccos", [0.5, -0.5], [1.5, -1.5]),
        ("arctanh", [0.5, -0.5], [1.5, -1.5]),
        ("arccosh", [1.5, INF], [0.5, -1.5]),
    ],
)
def test_outside_of_its_domain_a_function_has_neither_value_nor_slope(name, inside, outside):
    (value,), (gradient,) = evaluated(instance(name, {}), name, [np.array([*inside, *outside])])
    for found in (value, gradient):
        np.testing.assert_array_equal(np.isnan(found), [False, False, True, True])


GRID = [-INF, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, INF, NAN]
X, Y = (np.ravel(each) for each in np.meshgrid(GRID, GRID, indexing="ij"))
CORNERS = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "pow": np.power,
    "mod": np.mod,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "arctan2": np.arctan2,
    "xlogy": special.xlogy,
    "prelu": lambda x, slope: np.where(x > 0, x, slope * x),
}


@pytest.mark.parametrize("name", CORNERS)
def test_two_numbers_meet_in_every_corner_as_in_numpy_and_scipy(name):
    with np.errstate(all="ignore"):
        expected = CORNERS[name](X, Y)
    (found,), _ = evaluated(instance(name, {}), name, [X, Y])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("name", "x", "y", "toward_x", "toward_y"),
    [
        ("maximum", INF, INF, 0.5, 0.5),
        ("maximum", -INF, 1.0, 0, 1),
        ("minimum", -INF, -INF, 0.5, 0.5),
        ("minimum", 3.0, INF, 1, 0),
        ("pow", 0.5, INF, 0, 0),
        ("pow", 2.0, -INF, 0, 0),
        ("pow", INF, -2.0, 0, 0),
        ("pow", INF, 2.0, INF, INF),
        ("pow", 0.0, 0.0, 0, 0),
        ("pow", 0.0, 2.0, 0, 0),
        ("pow", -2.0, 0.5, NAN, NAN),
        ("arctan2", INF, -INF, 0, 0),
        ("arctan2", 2.0, INF, 0, 0),
        ("arctan2", -INF, 2.0, 0, 0),
        ("arctan2", NAN, INF, NAN, NAN),
        ("prelu", 2.0, INF, 1, 0),
        ("prelu", 2.0, NAN, 1, 0),
        ("prelu", -INF, 2.0, 2, -INF),
        ("mod", INF, 2.0, NAN, NAN),
        ("mod", 2.0, 0.0, NAN, NAN),
        ("xlogy", 0.0, INF, INF, 0),
        ("xlogy", 2.0, -1.0, NAN, NAN),
        ("xlogy", 0.0, NAN, NAN, NAN),
        ("betaln", 0.5, INF, -INF, 0),
        ("faddeeva_real", INF, 0.5, 0, 0),
        ("faddeeva_real", 0.5, INF, 0, 0),
        ("faddeeva_imag", -INF, 0.5, 0, 0),
    ],
)
def test_slopes_in_corners_are_limits(name, x, y, toward_x, toward_y):
    results, gradients = evaluated(instance(name, {}), name, [np.array([x]), np.array([y])])
    found = [gradient[0] / weights(results)[0][0] for gradient in gradients]
    np.testing.assert_allclose(found, [toward_x, toward_y], rtol=1e-12)


@pytest.mark.extra("torch")
def test_torch_agrees_where_it_has_a_slope_at_infinity():
    torch = import_module("torch")
    functional = torch.nn.functional
    same = {
        "relu": functional.relu,
        "leaky_relu": functional.leaky_relu,
        "elu": functional.elu,
        "celu": functional.celu,
        "selu": functional.selu,
        "hard_sigmoid": functional.hardsigmoid,
        "sigmoid": torch.sigmoid,
        "softplus": functional.softplus,
        "tanh": torch.tanh,
        "erf": torch.erf,
        "log": torch.log,
    }
    for name, function in same.items():
        x = torch.tensor([-INF, -2.0, 0.25, 2.0, INF], dtype=torch.float64, requires_grad=True)
        expected = function(x)
        expected.sum().backward()
        results, gradients = evaluated(instance(name, {}), name, [x.detach().numpy()])
        known = np.isfinite(x.grad.numpy()) & np.isfinite(expected.detach().numpy())
        np.testing.assert_allclose(results[0][known], expected.detach().numpy()[known], rtol=1e-6)
        found = gradients[0] / weights(results)[0]
        np.testing.assert_allclose(found[known & ~np.isnan(results[0])], x.grad.numpy()[known], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("x", [1e3, 1e8, 1e12, 1e150])
def test_slopes_of_scaled_error_functions_keep_their_digits_far_out(x):
    """Their asymptotic series, of which two terms are exact to x**-4 (Abramowitz and Stegun 1964, 7.1.23, 26.2.12)."""
    tolerance = 1e-11 + 10 / x**4 if x < 1e50 else 1e-11
    inverse_square = x**-2
    for name, at, expected in (
        ("erfcx", x, -inverse_square / math.sqrt(math.pi) * (1 - 1.5 * inverse_square)),
        ("inverse_mills", -x, -1 + inverse_square),
        ("inverse_mills", x, 0.0),
    ):
        results, (gradient,) = evaluated(instance(name, {}), name, [np.array([at])])
        np.testing.assert_allclose(gradient / weights(results)[0], [expected], rtol=tolerance)


def evaluate(name, *arrays, **attributes):
    """Results and gradients of an op, the gradients over the weight of the first result."""
    results, gradients = evaluated(instance(name, attributes), name, [np.asarray(array) for array in arrays])
    return results[0], [gradient / np.ravel(weights(results)[0])[0] for gradient in gradients]


def test_cross_entropy_of_infinite_logits_is_a_limit():
    logits, targets = np.array([INF, -INF, INF, -INF, INF, NAN]), np.array([1.0, 0.0, 0.0, 1.0, 0.5, 1.0])
    losses, _ = evaluate("binary_cross_entropy", logits, targets, reduction="none")
    np.testing.assert_array_equal(losses, [0, 0, INF, INF, INF, NAN])
    for place, wanted in enumerate([0, 0, 1, -1, 0.5, NAN]):
        _, gradients = evaluate("binary_cross_entropy", logits[place], targets[place], reduction="none")
        np.testing.assert_array_equal(gradients[0], wanted)
    loss, (slope, *_) = evaluate("softmax_cross_entropy", [[1.0, -INF, 2.0]], [2])
    assert math.isclose(loss, math.log1p(math.exp(-1)))
    np.testing.assert_allclose(slope, [[special.expit(-1), 0, -special.expit(-1)]])


def test_masked_entries_have_weight_0_and_slope_0():
    x = np.array([[1.0, -INF, 2.0], [-INF, -INF, -INF]])
    for name, value, attributes in (("softmax", special.softmax, {}), ("log_softmax", special.log_softmax, {})):
        found, (slope,) = evaluate(name, x, **attributes)
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(found, value(x, axis=-1), rtol=1e-12)
        np.testing.assert_array_equal(np.isnan(slope), [[False] * 3, [True] * 3])
        assert name == "log_softmax" or slope[0, 1] == 0
    found, (slope,) = evaluate("logsumexp", np.array([[1.0, -INF], [-INF, -INF], [INF, 1.0]]), axis=1)
    np.testing.assert_allclose(found, [1, -INF, INF])
    np.testing.assert_array_equal(np.sign(slope), [[1, 0], [0, 0], [NAN, 0]])


@pytest.mark.parametrize("spoiled", [NAN, INF, -INF])
def test_samples_that_do_not_count_change_nothing_whatever_their_scores(spoiled):
    scores, labels = np.array([[spoiled, 1.0, 2.0], [1.0, 2.0, 3.0]]), np.array([0, 1])
    for name in ("softmax_cross_entropy", "negative_log_likelihood"):
        for weight, attributes in ((None, {"ignore_index": 0}), (np.array([0.0, 1.0, 1.0]), {})):
            for reduction in ("mean", "sum"):
                rest = [] if weight is None else [weight]
                loss, (slope, *_) = evaluate(name, scores, labels, *rest, reduction=reduction, **attributes)
                alone, (wanted, *_) = evaluate(name, scores[1:], labels[1:], *rest, reduction=reduction, **attributes)
                np.testing.assert_array_equal(loss, alone)
                np.testing.assert_array_equal(slope, [[0, 0, 0], wanted[0]])


def test_attention_of_what_is_not_seen():
    q, k, v = (
        np.array([[-INF, 1.0], [1.0, 1.0]]),
        np.array([[1.0, 0.0], [1.0, 1.0]]),
        np.array([[1.0, 2.0], [3.0, 4.0]]),
    )
    for attributes in ({}, {"causal": True}):
        found, _ = evaluate("scaled_dot_product_attention", q, k, v, **attributes)
        np.testing.assert_array_equal(np.isnan(found), [[True, True], [False, False]])
    unseen = np.array([[False, False], [True, False]])
    found, gradients = evaluate("scaled_dot_product_attention", np.abs(k), k, v, unseen)
    np.testing.assert_array_equal(found, [[0, 0], v[0]])
    assert all(np.isfinite(each).all() for each in gradients)
    spoiled = np.where([[True], [False]], k, NAN)  # a key that nobody sees may be anything in its scores
    with np.errstate(all="ignore"):
        weights_only = ge.ops.scaled_dot_product_attention(np.abs(k), spoiled, v, unseen)
    np.testing.assert_array_equal(weights_only, found)


def test_metrics_of_nan_scores():
    scores, labels = np.array([[1.0, NAN], [2.0, 3.0]]), np.array([0, 1])
    assert np.isnan(evaluate("accuracy", scores, labels)[0])
    assert np.isnan(evaluate("r2", scores[0], scores[1])[0])
    assert evaluate("confusion_matrix", scores, labels)[0].tolist() == [[0, 1], [0, 1]]


def test_every_op_with_real_inputs_is_under_a_law():
    ops = {name for name, op in OPS.items() if op.domain == "core"}
    real = {name for name in ops if any(is_real(arrays) for _, arrays in TABLE[name].rows)}
    assert real == {name for name, *_ in ROWS} == {*LIMITS, *NOT_NAN}
    assert {*NAN_INSTEAD, *NOT_NAN} <= real
    discrete = {"arange", "all", "any", "constant", "logical_and", "logical_not", "logical_or", "one_hot"}
    assert ops - real == discrete | {"bernoulli", "normal", "random_key", "uniform"}


SMOOTH = [name for name in LIMITS if OPS[name].signature.saved is not None and OPS[name].signature.outputs == ("out",)]


@pytest.mark.parametrize("name", SMOOTH)
def test_a_plan_gives_what_the_executor_gives(name):
    attributes, arrays = few_rows(name)[0]
    names = [f"x{index}" for index in range(len(arrays))]
    nodes = {"z": (name, names, attributes), "loss": ("sum", ["z"])}
    shapes = {
        key: {"shape": list(array.shape), "dtype": str(array.dtype)} for key, array in zip(names, arrays, strict=True)
    }
    model = ge.Model.from_dict(document(nodes, inputs=shapes))
    index = next(index for index, array in enumerate(arrays) if array.dtype.kind == "f" and array.size)
    wrt = [key for key in names if shapes[key]["dtype"].startswith("float")]
    for value in (NAN, INF, -INF):  # the first time the executor runs, then a plan
        given = dict(zip(names, with_value(arrays, index, 0, value), strict=True))
        planned = [model.forward(given).backward(of="out", wrt=wrt) for _ in range(2)][-1]
        fresh = ge.Model.from_dict(document(nodes, inputs=shapes)).forward(given).backward(of="out", wrt=wrt)
        for key in wrt:
            np.testing.assert_array_equal(planned[key], fresh[key])
