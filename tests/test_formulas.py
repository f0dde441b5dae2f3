"""What docstrings say of ops: all of them have a formula and derivatives, and these are true."""

import re

import numpy as np
import pytest
from equations import Names, compared, reported
from meanings import MEANINGS, plain
from samples import SAMPLES
from test_laws import RULES

from graphengine.ops.docstring import equations, read_docstring
from graphengine.ops.inference import elementwise
from graphengine.ops.registry import OPS

BY_ELEMENT = [name for name in SAMPLES if RULES[name] is elementwise or name in ("clip", "isfinite")]
"""What holds of each number; conditions (`x if condition else y`) are conditions only of one."""
NOT_COMPUTED = {
    "random_key": "a hash",
    "uniform": "u is random",
    "normal": "u and v are random",
    "bernoulli": "u is random",
    "constant": "value may be a name",
    "opaque_backward": "the code of another op",
    **dict.fromkeys(("call", "cond", "scan", "scan_gradient"), "functions of a file"),
}
UNWRITTEN = "z[n, c, j] = sum(x[n, (c, k), i]) over stride * i + dilation * k - padding == j"
"""The one equation that is not Python: of `fold`, whose derivative is."""
every_op = pytest.mark.parametrize("name", SAMPLES)


@every_op
def test_every_op_has_words_and_a_formula_and_derivatives_if_it_is_differentiable(name):
    words, formula, derivatives, _ = OPS[name].docstring
    assert words
    assert formula
    assert bool(derivatives) == (OPS[name].signature.saved is not None)


@pytest.mark.parametrize("name", [name for name in SAMPLES if OPS[name].signature.saved is not None])
def test_derivatives_are_reported_toward_every_input_of_floating_point_numbers(name):
    toward = set(re.findall(r"(?:^|, |/)\*?d(\w+?)i?\b(?=[^=]* = )", OPS[name].docstring.derivatives))
    for _, arrays in SAMPLES[name]:
        for place, array in enumerate(arrays):
            if array.dtype.kind == "f" and not (name == "einsum" and place):
                assert OPS[name].signature.input_name(place).partition("[")[0] in toward


@pytest.mark.parametrize("name", [name for name in SAMPLES if name not in NOT_COMPUTED])
def test_formula_and_derivatives_are_what_forward_and_backward_compute(name):
    asserted, defined = reported(OPS[name].docstring)
    asserted = [(left, right) for left, right in asserted if f"{left} = {right}" != UNWRITTEN]
    computed = set()
    for attributes, arrays in SAMPLES[name]:
        for known in cases(name, attributes, arrays):
            for left, right in asserted:
                if known.get(re.search(r"\w+", left.rpartition("/")[2])[0]) is None:
                    continue  # the gradient of integers or of an input that is left out
                computed.add(left)
                with np.errstate(all="ignore"):
                    for got, expected in compared(left, right, Names(known, defined)):
                        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14, err_msg=f"{left} = {right}")
    assert computed == {left for left, _ in asserted}


def cases(name, attributes, arrays):
    """What the names stand for in a row; of what holds of each number, for each place in arrays of one shape."""
    known = MEANINGS.get(name, plain)(name, attributes, arrays)
    if known is None or name not in BY_ELEMENT:
        return [known] if known else []
    shape = np.shape(arrays[0])
    if any(np.shape(array) != shape for array in arrays):
        return []
    return [{key: at(value, place, shape) for key, value in known.items()} for place in np.ndindex(shape)]


def at(value, place, shape):
    if isinstance(value, tuple):
        return tuple(at(each, place, shape) for each in value)
    return value[place] if isinstance(value, np.ndarray) and value.shape == shape else value


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Product, z = x * y; dz/dx = y, dz/dy = x.", ("Product", "z = x * y", "dz/dx = y, dz/dy = x", "")),
        ("Words.\n\n    z = f(x,\n    1); dx = dz.\n\n    More.", ("Words.", "z = f(x, 1)", "dx = dz", "More.")),
        ("Cube: z = x ** 3.", ("Cube", "z = x ** 3", "", "")),
        ("Both, low = x, high = 2 * x.", ("Both", "low = x, high = 2 * x", "", "")),
        ("x in halves.\n\nA remark, z = 1.", ("x in halves.", "", "", "A remark, z = 1.")),
        ("", ("", "", "", "")),
    ],
)
def test_a_docstring_is_taken_apart(text, parts):
    assert tuple(read_docstring(text, ("low", "high"))) == parts


def test_the_parts_of_a_docstring_make_one_sentence():
    assert read_docstring("Words.\n\nz = f(x); dx = dz.").summary == "Words, z = f(x); dx = dz."
    assert read_docstring("Words alone.\n\nA remark.").summary == "Words alone."


def test_equations_are_distinguished_from_the_commas_in_them():
    text = "dx = f(a, b=(1, 2)), dy[i] = (c, d), dz/dx = 1 with u = x, g(a) = a"
    assert equations(text) == ["dx = f(a, b=(1, 2))", "dy[i] = (c, d)", "dz/dx = 1", "with u = x", "g(a) = a"]
