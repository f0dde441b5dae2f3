"""Laws that hold for every op and every row of samples; an op needs no test of its own for them."""

import itertools

import numpy as np
import pytest
from documents import document
from samples import FAMILIES, SAMPLES, TABLE
from samples.arrays import values
from sweeping import for_each_row

import graphengine as ge
from graphengine.ir.nodes import infer
from graphengine.ops.inference import elementwise, reduction
from graphengine.ops.registry import OPS
from graphengine.ops.shapes import ArrayType, size_value, type_of

SYMBOLS = {2: "M", 3: "N", 4: "K"}
BINDINGS = {symbol: size for size, symbol in SYMBOLS.items()}


def _label(name, attributes, arrays):
    shapes = "-".join("x".join(map(str, np.shape(array))) or "scalar" for array in arrays)
    settings = ",".join(f"{key}={value}" for key, value in attributes.items())
    return f"{name}({settings}):{shapes}"


ROWS = [
    pytest.param(name, attributes, arrays, id=_label(name, attributes, arrays))
    for name, rows in SAMPLES.items()
    for attributes, arrays in rows
]
every_row = for_each_row(ROWS)
DIFFERENTIABLE = [row for row in ROWS if OPS[row.values[0]].signature.saved is not None]
every_row_of_open_dtype = for_each_row([row for row in ROWS if "dtype" not in OPS[row.values[0]].cls.model_fields])
every_row_of_open_sizes = for_each_row([row for row in ROWS if "shape" not in OPS[row.values[0]].cls.model_fields])
every_row_without_sizes = for_each_row(
    [row for row in ROWS if "shape" not in OPS[row.values[0]].cls.model_fields or "shape" in row.values[1]]
)
every_differentiable_row = for_each_row(DIFFERENTIABLE)
RULES = {name: vars(OPS[name].cls).get("infer") for name in SAMPLES}


def instance(name, attributes):
    return OPS[name].cls.model_validate(attributes)


def in_precision(array, dtype):
    """A floating-point array in another dtype, any other as it is."""
    return np.asarray(array, dtype) if array.dtype.kind == "f" else array


def in_single_precision(array):
    return in_precision(array, np.float32)


def shrunk(arrays, seed):
    """Arrays with random numbers near those given: still in the domain of the op, and as far from its jumps."""
    factors = np.random.default_rng(seed)
    return [
        np.asarray(array * factors.uniform(0.9, 1, np.shape(array))) if array.dtype.kind == "f" else array
        for array in arrays
    ]


LAYOUTS = (
    np.asarray,
    lambda array: np.array(array, order="F"),
    lambda array: np.repeat(array[..., None], 2, axis=-1)[..., 1],
)
"""The same array as it comes, with its first axis contiguous in memory, and with gaps between its values."""


def results_of(name, attributes, arrays):
    """The outputs of one call, as a tuple."""
    with np.errstate(all="ignore"):
        results = instance(name, attributes).forward(*arrays)
    return results if isinstance(results, tuple) else (results,)


def has_values(row):
    """Whether the results are numbers: the mean of nothing is not, and has no slope."""
    return all(np.isfinite(result).all() for result in results_of(*row.values))


def weights_of(results):
    return [values(np.shape(result), seed).astype(np.asarray(result).dtype) for seed, result in enumerate(results, 5)]


def run_of(name, attributes, arrays):
    """A run of the graph sum(weight * output) over the outputs of one node, and the names of its float inputs."""
    given = given_to(name, attributes, arrays)
    return model_of(name, attributes, given, len(arrays)).forward(given), floats_of(given)


def given_to(name, attributes, arrays):
    """What is given to such a graph: the operands, and a weight for each output."""
    weights = weights_of(results_of(name, attributes, arrays))
    given = {f"x{index}": array for index, array in enumerate(arrays) if array is not None}
    return given | {f"w{index}": weight for index, weight in enumerate(weights)}


def floats_of(given):
    return [key for key, array in given.items() if key[0] == "x" and array.dtype.kind == "f"]


def model_of(name, attributes, given, count):
    """The graph of such a run; of this number of inputs not all need be given."""
    shapes = {key: {"shape": list(np.shape(array)), "dtype": str(array.dtype)} for key, array in given.items()}
    names = [OPS[name].signature.input_name(index) for index in range(count)]
    references = {key: f"x{index}" for index, key in enumerate(names) if f"x{index}" in shapes}
    inputs = references if len(references) < count else list(references.values())
    nodes = {"z": (name, inputs, attributes)}
    for index, port in enumerate(instance(name, attributes).outputs):
        nodes[f"p{index}"] = ("mul", [f"z:{port}" if index else "z", f"w{index}"])
        nodes[f"s{index}"] = ("sum", [f"p{index}"])
        nodes[f"loss{index}"] = ("add", [f"loss{index - 1}" if index else 0.0, f"s{index}"])
    return ge.Model.from_dict(document(nodes, inputs=shapes))


def gradients_of(name, attributes, arrays, wrt=None):
    run, differentiable = run_of(name, attributes, arrays)
    return run.backward(of="out", wrt=differentiable if wrt is None else wrt)


SLOPES = [row for row in DIFFERENTIABLE if TABLE[row.values[0]].slope and has_values(row)]
NUMERIC = sorted(
    name
    for name, rule in RULES.items()
    if rule in (elementwise, reduction)
    and name not in ("where", "zeros_like", "ones_like")  # of these not every input is a number that counts
    and np.asarray(results_of(name, *SAMPLES[name][0])[0]).dtype.kind == "f"
)
WITH_GAPS = [
    pytest.param(name, attributes, with_gap, id=_label(name, attributes, with_gap))
    for name, attributes, arrays in (row.values for row in ROWS)
    for place in range(OPS[name].signature.required, len(arrays) - 1)
    if not OPS[name].signature.variadic and place != OPS[name].signature.key
    for with_gap in [(*arrays[:place], None, *arrays[place + 1 :])]
]
"""Rows without an optional input in front of one that is given."""
every_slope = for_each_row(SLOPES)


def test_every_core_op_has_samples_in_the_module_of_its_family_and_every_sample_an_op():
    families = {name: family for family, entries in FAMILIES.items() for name in entries}
    assert families == {name: op.cls.__module__.rpartition(".")[2] for name, op in OPS.items() if op.domain == "core"}
    assert len(families) == sum(map(len, FAMILIES.values()))


@pytest.mark.parametrize("name", SAMPLES)
def test_every_optional_input_and_every_attribute_is_in_a_row_and_not_in_another(name):
    cls, signature = OPS[name].cls, OPS[name].signature
    rows = [*SAMPLES[name], *[row.values[1:] for row in WITH_GAPS if row.values[0] == name]]
    for place in range(signature.required, len(signature.inputs) - signature.variadic):
        given = {place < len(arrays) and arrays[place] is not None for _, arrays in rows}
        assert given == ({True} if place == signature.key and name != "dropout" else {True, False})
    for key, field in cls.model_json_schema().get("properties", {}).items():
        used = [getattr(instance(name, attributes), key) for attributes, _ in rows]
        if key != "dtype":
            assert [choice for choice in field.get("enum", ()) if choice not in used] == []
        if not cls.model_fields[key].is_required():
            default = cls.model_fields[key].get_default(call_default_factory=True)
            assert {value == default for value in used} == {True, False}, key


def test_every_op_has_a_row_with_more_than_one_value():
    for name, rows in SAMPLES.items():
        sizes = [np.size(array) for _, arrays in rows for array in arrays]
        assert max(sizes) > (not TABLE[name].of_scalars) if OPS[name].signature.inputs else not sizes


@every_row
def test_results_are_those_of_an_independent_oracle(name, attributes, arrays):
    given = {key: getattr(instance(name, attributes), key) for key in attributes}
    others = [[layout(array) for array in shrunk(arrays, seed)] for seed, layout in enumerate(LAYOUTS)]
    for inputs in (arrays, *others):
        for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-5)):
            rounded = [in_precision(array, dtype) for array in inputs]
            expected = TABLE[name].oracle(*[in_precision(array, np.float64) for array in rounded], **given)
            expected = expected if isinstance(expected, tuple) else (expected,)
            for result, wanted in zip(results_of(name, attributes, rounded), expected, strict=True):
                is_single = np.asarray(result).dtype == np.float32  # by an attribute
                assert_close(result, np.asarray(wanted), 1e-5 if is_single else tolerance)


def assert_close(found, expected, tolerance):
    """Numbers agree relative to the largest of them, truth values and integers exactly."""
    assert np.shape(found) == expected.shape
    if np.asarray(found).dtype.kind != "f":
        np.testing.assert_array_equal(found, expected)
    else:
        scale = np.max(np.abs(expected), initial=0) if np.isfinite(expected).all() else 0
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale)


def typed(name, inferred, real):
    """Shapes and dtypes as they were inferred; sizes that are values are those of the results."""
    own = [given if TABLE[name].sizes_of_values else kind for kind, given in zip(inferred, real, strict=True)]
    return [(given.shape, kind.dtype) for kind, given in zip(inferred, own, strict=True)]


@for_each_row(WITH_GAPS)
def test_an_optional_input_in_front_of_another_may_be_left_out(name, attributes, arrays):
    node = instance(name, attributes)
    (result,) = results_of(name, attributes, arrays)
    assert_close(result, np.asarray(TABLE[name].oracle(*arrays, **attributes)), 1e-12)
    (kind,) = infer(node, tuple(None if array is None else type_of(array) for array in arrays))
    assert typed(name, [kind], [result]) == [(result.shape, result.dtype)]
    assert node.signature.saved is None or ge.check_gradients(node, *arrays)


@every_slope
def test_backward_is_the_slope_of_forward_called_and_recorded(name, attributes, arrays):
    checks = ge.check_gradients(instance(name, attributes), *arrays)
    assert {check.law for check in checks} >= {"slope", "recording"}
    if TABLE[name].analytic:
        assert {check.method for check in checks if check.law == "slope"} == {"complex step"}


@every_differentiable_row
def test_gradient_has_the_shape_of_its_input(name, attributes, arrays):
    gradients = gradients_of(name, attributes, arrays)
    assert gradients
    assert {key: array.shape for key, array in gradients.items()} == {
        key: np.shape(arrays[int(key[1:])]) for key in gradients
    }


@every_row
def test_inputs_may_be_read_only_and_stay_as_they_are(name, attributes, arrays):
    guarded = [array.copy() for array in arrays]
    for array in guarded:
        array.flags.writeable = False
    if OPS[name].signature.saved is None:
        results_of(name, attributes, guarded)
    else:
        gradients_of(name, attributes, guarded)
    for array, before in zip(guarded, arrays, strict=True):
        np.testing.assert_array_equal(array, before)


@every_differentiable_row
def test_every_subset_of_the_wanted_gradients_equals_all_of_them(name, attributes, arrays):
    run, differentiable = run_of(name, attributes, arrays)
    every = run.backward(of="out", wrt=differentiable)
    for count in range(1, len(differentiable)):
        for subset in itertools.combinations(differentiable, count):
            for key, gradient in run.backward(of="out", wrt=subset).items():
                np.testing.assert_array_equal(gradient, every[key])


@every_row_of_open_dtype
def test_float32_stays_float32_forward(name, attributes, arrays):
    results = results_of(name, attributes, [in_single_precision(array) for array in arrays])
    in_double = results_of(name, attributes, arrays)
    expected = [
        np.float32 if np.asarray(result).dtype == np.float64 else np.asarray(result).dtype for result in in_double
    ]
    assert [np.asarray(result).dtype for result in results] == expected


@every_differentiable_row
def test_float32_stays_float32_backward(name, attributes, arrays):
    singles = [in_single_precision(array)[()] for array in arrays]
    results = results_of(name, attributes, singles)
    asked = arguments_of(OPS[name].signature, singles, results)
    with np.errstate(all="ignore"):
        gradients = instance(name, attributes).backward(*asked)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    signature = OPS[name].signature
    assert len(gradients) == (len(arrays) if signature.variadic else len(signature.inputs))
    if "dtype" not in OPS[name].cls.model_fields:
        assert {gradient.dtype for gradient in gradients if gradient is not None} <= {np.dtype(np.float32)}


@pytest.mark.parametrize("name", sorted({row.values[0] for row in DIFFERENTIABLE}))
def test_a_literal_in_any_place_gives_the_results_and_gradients_of_the_number_in_an_array(name):
    for (attributes, arrays), shape, literal in itertools.product(SAMPLES[name], [(), (3,)], [0.5, 2]):
        given = [np.full(shape, 0.7) if array.dtype.kind == "f" else array for array in arrays]
        for place in range(len(given)):
            taken = [_outcome(name, attributes, given, place, number) for number in (literal, np.asarray(literal))]
            is_loop = name in ("scan", "scan_gradient")  # a state may begin with 0, which is no array of integers
            is_weak = is_loop and taken[1] is None
            if taken[0] is not None and not is_weak:
                for found, expected in zip(*taken, strict=True):
                    np.testing.assert_allclose(found, expected, rtol=1e-14)


def _outcome(name, attributes, arrays, place, value):
    """Results and gradients with a value in place of one operand, but not its own gradient.

    None if it is refused, or if nothing else has a gradient.
    """
    arrays = [array[()] for array in arrays]
    arrays[place] = value
    if all(index == place or array.dtype.kind != "f" for index, array in enumerate(arrays)):
        return None
    try:
        infer(instance(name, attributes), tuple(map(type_of, arrays)))
    except ValueError:
        return None
    results = results_of(name, attributes, arrays)
    with np.errstate(all="ignore"):
        gradients = instance(name, attributes).backward(*arguments_of(OPS[name].signature, arrays, results))
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    others = [gradient for index, gradient in enumerate(gradients) if index != place and gradient is not None]
    return [*results, *others]


def arguments_of(signature, arrays, results):
    """What `backward` asks for, in its order; None for an optional input that is not there."""
    arrays = [*arrays, *[None] * (len(signature.inputs) - signature.variadic - len(arrays))]
    known = dict(zip(signature.inputs, arrays, strict=False)) | {"needs": (True,) * len(arrays)}
    if signature.variadic:
        known[signature.inputs[-1]] = tuple(arrays[len(signature.inputs) - 1 :])
    known |= dict.fromkeys(("grads", "arriving"), tuple(weights_of(results))) | {"outs": results}
    several = len(results) > 1
    for port, result, weight in zip(signature.outputs, results, weights_of(results), strict=False):
        known |= {port: result, f"grad_{port}" if several else "grad": weight[()]}
    return [known[asked] for asked in signature.saved]


@every_row_without_sizes
def test_inferred_types_are_the_real_ones(name, attributes, arrays):
    for given in (arrays, [in_single_precision(array) for array in arrays]):
        inferred = infer(instance(name, attributes), tuple(map(type_of, given)))
        real = [type_of(result) for result in results_of(name, attributes, given)]
        assert typed(name, inferred, real) == [(kind.shape, kind.dtype) for kind in real]


@every_row_without_sizes
def test_integers_and_truth_values_have_the_inferred_types_or_are_refused(name, attributes, arrays):
    for dtype in (np.int64, np.uint8, np.bool_):
        given = [
            np.where(np.isfinite(array), array, 0).astype(dtype) if array.dtype.kind == "f" else array
            for array in arrays
        ]
        try:
            inferred = infer(instance(name, attributes), tuple(map(type_of, given)))
        except ValueError:
            continue
        real = [type_of(result) for result in results_of(name, attributes, given)]
        assert typed(name, inferred, real) == [(kind.shape, kind.dtype) for kind in real]


@every_row_of_open_sizes
def test_inferred_symbolic_sizes_stand_for_the_real_ones(name, attributes, arrays):
    types = [ArrayType(tuple(SYMBOLS.get(size, size) for size in array.shape), array.dtype) for array in arrays]
    inferred = infer(instance(name, attributes), tuple(types))
    real = [np.shape(result) for result in results_of(name, attributes, arrays)]
    for kind, shape in zip(inferred, real, strict=True):
        sizes = [size_value(size, BINDINGS) for size in kind.shape]
        assert not TABLE[name].known_sizes or TABLE[name].sizes_of_values or None not in sizes
        assert [wanted if size is None else size for size, wanted in zip(sizes, shape, strict=True)] == [*shape]


@every_row
def test_extreme_values_pass_through_a_graph_without_exception_or_warning(name, attributes, arrays):
    model = None
    for special in (np.nan, np.inf, -np.inf, 0.0, 1e308):
        extreme = [np.full_like(array, special) if array.dtype.kind == "f" else array for array in arrays]
        given = given_to(name, attributes, extreme)
        model = model or model_of(name, attributes, given, len(arrays))
        run = model.forward(given)
        if OPS[name].signature.saved is not None:
            assert set(run.backward(of="out", wrt=floats_of(given))) == set(floats_of(given))


@pytest.mark.parametrize("name", NUMERIC)
def test_nan_in_any_input_reaches_the_result(name):
    attributes, arrays = next(row for row in SAMPLES[name] if all(array.shape == (3,) for array in row[1]))
    for index in range(len(arrays)):
        spoiled = [array.copy() for array in arrays]
        spoiled[index][0] = np.nan
        assert np.isnan(run_of(name, attributes, spoiled)[0].value("z").ravel()[0])
