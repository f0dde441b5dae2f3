"""The form of numbers that is hashed and saved: pinned texts, and the definition checked in exact arithmetic."""

import hashlib
import json
import math
import re
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import graphengine as ge
from graphengine.format.canonical import canonical_text
from graphengine.format.meaning import as_text
from graphengine.format.writing import LINE_WIDTH, dump_json

MODELS = Path(__file__).parents[1] / "models"
PINNED = {
    "0.0": 0.0,
    "-0.0": -0.0,
    "1.0": 1.0,
    "-100.0": -100.0,
    "0.1": 0.1,
    "0.30000000000000004": 0.1 + 0.2,
    "0.001": 1e-3,
    "0.0001": 1e-4,
    "0.00012": 1.2e-4,
    "0.00001": 1e-5,
    "-0.000015": -1.5e-5,
    "0.000012345678901234568": 1.2345678901234568e-5,
    "9.999999999999999e-6": math.nextafter(1e-5, 0),
    "1e-6": 1e-6,
    "-1.5e-7": -1.5e-7,
    "1e-8": 1e-8,
    "2.5e-9": 2.5e-9,
    "1e-10": 1e-10,
    "1.5e-99": 1.5e-99,
    "1e-100": 1e-100,
    "2.2250738585072014e-308": 2.2250738585072014e-308,
    "5e-324": 5e-324,
    "123456789.125": 123456789.125,
    "100000000000000.0": 1e14,
    "1000000000000000.0": 1e15,
    "1000000000000000.5": 1e15 + 0.5,
    "9007199254740992.0": 2.0**53,
    "9999999999999998.0": 1e16 - 2,
    "1e+16": 1e16,
    "-1e+16": -1e16,
    "1.2345678901234568e+17": 123456789012345678.0,
    "1e+22": 1e22,
    "1e+23": 1e23,
    "2e+23": 2e23,
    "1.5e+300": 1.5e300,
    "1.7976931348623157e+308": 1.7976931348623157e308,
    "0": 0,
    "-7": -7,
    "9007199254740993": 2**53 + 1,
    "10000000000000000": 10**16,
    "-9223372036854775808": -(2**63),
    "18446744073709551615": 2**64 - 1,
    "true": True,
    "false": False,
    "null": None,
}


@pytest.mark.parametrize("text", PINNED)
def test_the_form_of_a_number_is_pinned(text):
    assert canonical_text(PINNED[text]) == text
    assert as_text([PINNED[text]]) == f"[{text}]".encode()
    for values in ([PINNED[text]] * 60, [PINNED[text], []] * 60):
        written = set(re.split(r"[,\s]+", dump_json(values).decode()))
        assert written - {"[", "]", "[]", ""} == {text}


def digits_and_exponent(text):
    """The decimal digits of a text, and the power of ten of the first one."""
    mantissa, _, exponent = text.lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    leading = len(whole) - 1 if whole.strip("0") else -1 - (len(fraction) - len(fraction.lstrip("0")))
    return digits.rstrip("0"), leading + int(exponent or 0)


floats = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0])
finite = (floats | st.floats(allow_nan=False, allow_infinity=False)).filter(math.isfinite)


@given(finite)
@example(2.0**53)
@example(9.5367431640625e-07)
@example(2.0**-1022)
@example(2.0**-1007)  # 7.291122019556397e-304 is nearer, and is the number below
@example(math.nextafter(1e16, 0))
def test_a_number_has_the_fewest_digits_that_round_to_it_and_of_those_the_nearest(number):
    text = canonical_text(number)
    assert struct.pack("<d", float(text)) == struct.pack("<d", number)
    if number == 0:
        return
    digits, exponent = digits_and_exponent(text)
    exact = abs(Fraction(number))
    step = Fraction(10) ** (exponent - len(digits) + 1)
    for neighbor in (int(digits) - 1, int(digits) + 1):
        farther = abs(neighbor * step - exact) >= abs(int(digits) * step - exact)
        assert farther or not _rounds_to(neighbor * step, number), "nearest of its length"
    shorter = exact / (step * 10)
    for candidate in (math.floor(shorter), math.ceil(shorter)):
        assert not _rounds_to(candidate * step * 10, number)


def _rounds_to(exact, number):
    """Whether a fraction is rounded to the size of a number; below a power of two less of them are than above."""
    return exact <= Fraction(1.7976931348623157e308) and float(exact) == abs(number)


@given(finite)
def test_the_layout_depends_on_the_size_of_a_number_alone(number):
    text = canonical_text(number)
    if number == 0 or 1e-5 <= abs(number) < 1e16:
        assert "e" not in text
        whole, point, fraction = text.lstrip("-").partition(".")
        assert point
        assert fraction
        assert whole == "0" or not whole.startswith("0")
        assert fraction == "0" or not fraction.endswith("0")
    else:
        mantissa, mark, exponent = text.lstrip("-").partition("e")
        assert mark
        assert len(mantissa.partition(".")[0]) == 1
        assert not mantissa.endswith(("0", "."))
        assert exponent[0] in "+-"
        assert exponent[1] != "0"


STRINGS = st.text(st.sampled_from('ae-05,:"\\[]{} \u00e9\x01')) | st.text()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | finite | STRINGS,
    lambda inner: st.lists(inner) | st.dictionaries(STRINGS, inner),
)


@given(VALUES)
@example(["1e-05", 1e-5])
@example({'"\\': [1e-7, "\\", 1e-7], "1e-07": -2.5e-5})
@example(["\x011e-05,", "\\1e-06", 1e-6])
def test_texts_stay_as_they_are_and_json_stays_the_same_value(value):
    for text in (canonical_text(value), canonical_text(value, spaced=True), dump_json(value).decode()):
        assert repr(json.loads(text)) == repr(value)
    assert orjson.loads(canonical_text(value)) == value


@given(VALUES)
def test_keys_are_sorted_and_there_is_no_space_where_a_text_is_hashed(value):
    def ordered(each):
        if isinstance(each, dict):
            return {key: ordered(each[key]) for key in sorted(each)}
        return [ordered(item) for item in each] if isinstance(each, list) else each

    assert as_text(value).decode() == canonical_text(ordered(value))
    assert as_text([1, {"b": 2, "a": 3}]) == b'[1,{"a":3,"b":2}]'


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_does_not_have_is_never_written(number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_text([number])


@given(st.recursive(finite | st.integers(0, 9), st.lists, max_leaves=60))
def test_what_fits_on_a_line_is_on_one_line_and_nothing_else_is(value):
    text = dump_json(value).decode()
    one_line = canonical_text(value, spaced=True)
    assert (text == one_line + "\n") == (len(one_line) <= LINE_WIDTH or not isinstance(value, list))


def linreg(initial):
    content = json.loads((MODELS / "linreg.json").read_text(encoding="utf-8"))
    content["parameters"]["theta"]["initializer"] = {"type": "constant", "value": initial}
    return ge.Model.from_dict(content, MODELS / "linreg.json")


def test_a_fingerprint_is_the_hash_of_text_in_this_form():
    text = (
        '{"format":"graphengine.model","format_version":1,"nodes":{"z":{"attributes":{},'
        '"inputs":{"x":"p"},"op":"neg"}},"opset_imports":{"core":1},"outputs":{"z":"z"},"parameters":{"p":'
        '{"initializer":{"type":"constant","value":1e+16},"shape":[2],"value":[0.00001,1.5e-7]}}}'
    )
    content = json.loads(text)
    content |= {"name": "t", "inputs": {}, "nodes": [{"id": "z", "op": "neg", "inputs": ["p"]}]}
    assert ge.Model.from_dict(content).fingerprint == hashlib.sha256(text.encode()).hexdigest()


def test_numbers_of_different_dtypes_are_saved_in_the_same_form(tmp_path):
    model = linreg(1e16)
    model.parameters["theta"] = np.float64(1e16)
    model.save(tmp_path / "m.json")
    assert b'"value": 1e+16' in (tmp_path / "m.json").read_bytes()
