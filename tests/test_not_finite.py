"""Laws for NaN and infinity: what depends on NaN is NaN, and an infinite input gives the limit, in values and slopes.

What counts as right is found without the code under test: what a result depends on by changing one number, a limit from
larger and larger finite numbers and the differences of `forward` between them, and for elementwise ops from a table.
"""

import math

import numpy as np
import pytest
from samples import TABLE
from scipy import special

import graphengine as ge
from graphengine.ops.inference import elementwise
from graphengine.ops.registry import OPS

ROWS = [
    (name, attributes, arrays)
    for name, entry in TABLE.items()
    for attributes, arrays in entry.rows
    if any(array.dtype.kind == "f" and array.size for array in arrays) and sum(map(np.size, arrays)) <= 80
]
OTHERS = (-2.7, -0.31, 0.0472, 0.63, 1.9, 5.3)
"""Numbers that an element is replaced with to see what depends on it."""
SIZES = 20.0 * 8.0 ** np.arange(6)
"""Numbers on the way to infinity."""
TO_TABLE = "a place without a number is no place in the table: its last interval gets NaN, the other points nothing"
NOT_NAN = {
    "confusion_matrix": "counts are integers: NaN counts as the largest score",
    "opaque_backward": "it is given a result that its inputs do not have",
}
"""Ops that give a number where an input is NaN, and why."""
INF, NAN = math.inf, math.nan


def instance(name, attributes):
    return OPS[name].cls.model_validate(attributes)


def evaluated(node, name, arrays):
    """Results and gradients as two lists, the gradients of a weighted sum of the results toward each float input."""
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
    for _, attributes, arrays in (row for row in ROWS if row[0] == name):
        node = instance(name, attributes)
        before = evaluated(node, name, arrays)
        for index, place in places(arrays):
            others = [evaluated(node, name, with_value(arrays, index, place, value)) for value in OTHERS]
            spoiled = evaluated(node, name, with_value(arrays, index, place, NAN))
            for part in (0, 1):
                for output, found in enumerate(spoiled[part]):
                    if found.dtype.kind != "f" or (name == "interp" and part == 1 and output > 0 and index < 2):
                        continue
                    depends = np.any([differs(each[part][output], before[part][output]) for each in others], axis=0)
                    assert np.isnan(found[depends]).all(), (attributes, index, place, ("value", "slope")[part], output)


def few_rows(name):
    """The two smallest rows of an op, of different attributes, whose arrays hold several numbers."""
    rows = [(attributes, arrays) for row_name, attributes, arrays in ROWS if row_name == name]
    rows = sorted(rows, key=lambda row: sum(map(np.size, row[1])))
    rows = [row for row in rows if max(map(np.size, row[1])) > 1 and sum(map(np.size, row[1])) <= 24]
    return rows[:1] + next(([row] for row in rows if row[0] != rows[0][0]), [])


def limit(numbers):
    """Where a sequence tends to: a number, an infinity, NaN where it has no limit, None where that cannot be seen."""
    known = [number for number in numbers if math.isfinite(number)]
    if len(known) < 3 or known != list(numbers[: len(known)]):
        return None
    first, second, last = known[-3:]
    if abs(last - second) <= 1e-3 * abs(last) + 1e-6 and abs(second - first) <= 1e-2 * abs(last) + 1e-4:
        return last
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


NAN_INSTEAD = {
    **dict.fromkeys(("softmax", "log_softmax", "softmax_cross_entropy"), "infinity - infinity, as in SciPy and PyTorch"),
    **dict.fromkeys(("cholesky", "cofactor", "det", "inv", "solve"), "a matrix that is not finite has no inverse"),
    **dict.fromkeys(("cumprod", "linear_recurrence", "r2", "std", "var"), "infinity - infinity, as in NumPy"),
    **dict.fromkeys(("layer_norm", "norm", "rms_norm"), "infinity / infinity, as in PyTorch"),
    **dict.fromkeys(("betaln", "digamma", "lgamma", "polygamma"), "poles without end on the way to -infinity"),
    **dict.fromkeys(("cos", "sin", "tan", "mod"), "periods without end on the way"),
}
"""Ops that may give NaN where large numbers seem to have a limit, and why; another number they must not give."""
WITHOUT_SLOPE = {"ceil", "floor", "mod", "round"} | {name for name, entry in TABLE.items() if not entry.slope}
"""Ops whose differences are not their slopes."""
LIMITS = sorted({name for name, *_ in ROWS if few_rows(name)} - {*NOT_NAN})


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
