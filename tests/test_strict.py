"""Strict JSON: all that is JSON is read; what is not, or what JSON leaves open, is refused with a code.

The cases follow RFC 8259; what the standard leaves to the reader is decided once and written in docs/format.md.
"""

import json
import random

import orjson
import pytest

import graphengine as ge
from graphengine.format.lexical import lexical_findings
from graphengine.format.positions import find_positions
from graphengine.format.strict import parse_json
from graphengine.limits import Limits


def findings(data, **limits):
    """Code, line and column of all that is wrong with a text."""
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        parse_json(data, "m.json", Limits(**limits))
    assert all(problem.file == "m.json" for problem in caught.value.problems)
    return [(problem.code, problem.line, problem.column) for problem in caught.value.problems]


ACCEPTED = [
    *["null", "true", "false", "0", "-0", "7", "-1", "1.5", "-0.0", "1e5", "1E5", "1e+5", "1e-5", "0.5e-3", '""'],
    *["[]", "{}", "[[]]", "[{}]", '{"a":[]}', " [ ] ", "\t{\r\n}\n", "[1,2]", "[ 1 , 2 ]", '{"a":1,"b":2}', '{"":0}'],
    *[
        '"a"',
        '"\\""',
        '"\\\\"',
        '"\\/"',
        '"\\b\\f\\n\\r\\t"',
        '"\\u0041"',
        '"\\u00e9"',
        '"é"',
        '"\\ud834\\udd1e"',
        '"𝄞"',
    ],
    *['"\\u0000"', '"\\u2028\u2028"', '"\x7f"', '"\uffff"', '"[{,:\\"]}"', '"\\\\"', '["\\\\\\"",[]]', '"\\\\ud800"'],
    *['{"a":{"a":{"a":0}},"b":[{"a":1},{"a":2}]}', '{"a":1,"A":2}', '{"\\u0061":1,"b":":"}', '{"a:":1,"b":"\\u003a"}'],
    *["18446744073709551615", "-9223372036854775808", "1.7976931348623157e308", "5e-324", "1e-400"],
    *["0.1234567890123456789012345678901234567890", "[0.00012345678901234567890]", '"1234567890123456789012345"'],
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_what_is_json_is_read_as_pythons_own_reader_reads_it(text):
    assert parse_json(text.encode()) == json.loads(text)


REFUSED = [
    ("", "GE102"),
    (" \n", "GE102"),
    ("[", "GE102"),
    ("]", "GE102"),
    ("{", "GE102"),
    ("}", "GE102"),
    ("[1", "GE102"),
    ("[1,", "GE102"),
    ("[1,]", "GE102"),
    ("[,1]", "GE102"),
    ("[1 2]", "GE102"),
    ("[1:2]", "GE102"),
    ("[}", "GE102"),
    ("{]", "GE102"),
    ('{"a"}', "GE102"),
    ('{"a":}', "GE102"),
    ('{"a":1,}', "GE102"),
    ('{"a" 1}', "GE102"),
    ("{a:1}", "GE102"),
    ("{1:1}", "GE102"),
    ("{'a':1}", "GE102"),
    ('{"a":1 "b":2}', "GE102"),
    ('{"a"::1}', "GE102"),
    ("'a'", "GE102"),
    ('"a', "GE102"),
    ('"\\', "GE102"),
    ('"\\x"', "GE102"),
    ('"\\u12"', "GE102"),
    ('"\\u00G0"', "GE102"),
    ('"\n"', "GE102"),
    ('"\t"', "GE102"),
    ('"\x00"', "GE102"),
    ("tru", "GE102"),
    ("True", "GE102"),
    ("nul", "GE102"),
    ("undefined", "GE102"),
    ("nan", "GE102"),
    ("[nan]", "GE102"),
    ("+1", "GE102"),
    ("-", "GE102"),
    (".5", "GE102"),
    ("[1.]", "GE102"),
    ("[1.e5]", "GE102"),
    ("[1e]", "GE102"),
    ("[1e+]", "GE102"),
    ("[01]", "GE102"),
    ("[-01]", "GE102"),
    ("[1_000]", "GE102"),
    ("[0x1]", "GE102"),
    ("// c\n1", "GE102"),
    ("/* c */ 1", "GE102"),
    ("\f1", "GE102"),
    ("\u00a01", "GE102"),
    ("\u20281", "GE102"),
    ("[1]]", "GE127"),
    ("{}{}", "GE127"),
    ("{} x", "GE127"),
    ("0x10", "GE127"),
    ("1 2", "GE127"),
    ("[] // c", "GE127"),
    ("{}\x00", "GE127"),
    ("[NaN]", "GE123"),
    ("[Infinity]", "GE123"),
    ("[-Infinity]", "GE123"),
    ("[-NaN]", "GE123"),
    ("[1e999]", "GE124"),
    ("[-1e999]", "GE124"),
    ("[1e99999999999999999999]", "GE124"),
    ("[1" + "0" * 400 + "]", "GE124"),
    ("[1" + "0" * 5000 + "]", "GE124"),
    ("[123456789012345678901234567890]", "GE125"),
    ("[18446744073709551616]", "GE125"),
    ("[-9223372036854775809]", "GE125"),
    ('{"a":1,"a":1}', "GE122"),
    ('{"a":1,"\\u0061":2}', "GE122"),
    ('{"\\u003a":1,":":2}', "GE122"),
    ('{"a" :1,"a":2,"b":":"}', "GE122"),
    ('[{"a":{"b":{},"b":[]}}]', "GE122"),
    ('["\\ud800"]', "GE126"),
    ('["\\udc00"]', "GE126"),
    ('["\\udc00\\ud800"]', "GE126"),
    ('["\\ud800\\u0041"]', "GE126"),
    ('["\\uD800\\uD800\\uDC00"]', "GE126"),
    ('{"\\ud800":1}', "GE126"),
    ("\ufeff{}", "GE120"),
]


@pytest.mark.parametrize(("text", "code"), REFUSED, ids=[ascii(text[:30]) for text, _ in REFUSED])
def test_what_is_not_json_or_left_open_by_it_is_refused(text, code):
    assert {found[0] for found in findings(text.encode())} == {code}


@pytest.mark.parametrize(
    ("data", "column"),
    [
        (b'["\xff"]', 3),
        (b'{"a":"\xc3\xa9\xe4"}', 8),
        (b"\xff\xfe[\x00]\x00", 1),
        (b'"\xed\xa0\x80"', 2),
        (b'"\xc0\x80"', 2),
    ],
)
def test_what_is_not_utf8_is_located(data, column):
    assert findings(data) == [("GE121", 1, column)]


def test_all_problems_of_the_text_come_in_one_run_each_at_its_place():
    text = '{\n "a": NaN, "b": 1e999,\n "c": ["x\\ud800", "é", 99999999999999999999],\n "b": 2,,\n "a": NaN}'
    assert findings(text.encode()) == [
        ("GE123", 2, 7),
        ("GE124", 2, 17),
        ("GE126", 3, 10),
        ("GE125", 3, 24),
        ("GE122", 4, 2),
        ("GE102", 4, 9),
    ]


def test_problems_of_the_text_and_of_the_form_come_in_one_run():
    text = b'{"format": "graphengine.model", "format_version": 1, "name": "m", "name": "n", "nodes": NaN, "inputs": []}'
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.format.parse_model(text)
    assert {(found.code, found.pointer) for found in caught.value.problems} == {
        ("GE122", "/name"),
        ("GE123", "/nodes"),
        ("GE112", "/inputs"),
        ("GE111", ""),
    }


# ---------------------------------------------------------------- limits


def nested(depth, opening="[", closing="]"):
    return (opening * depth + closing * depth).encode()


def test_nesting_is_limited_and_brackets_in_strings_do_not_count():
    assert parse_json(nested(64)) is not None
    assert findings(nested(65)) == [("GE130", 1, 65)]
    assert findings(b"[" * 100_000) == [("GE130", 1, 65)]
    assert findings(b'{"a":' * 100_000) == [("GE130", 1, 64 * 5 + 1)]
    assert parse_json(b'["' + b"[{" * 100 + b'", "\\"' + b"[" * 100 + b'"]')
    assert findings(b'["]]]",' * 64 + b"[]" + b"]" * 64) == [("GE130", 1, 64 * 7 + 1)]
    assert parse_json(nested(900), None, Limits(depth=1000)) is not None


def test_the_number_of_values_is_limited():
    assert parse_json(b"[1,2,[3],{}]", None, Limits(values=7)) is not None
    assert findings(b"[1,2,[3],{}]", values=6) == [("GE131", 1, 1)]
    assert findings(b"[" + b"0," * 10_000_000 + b"0]") == [("GE131", 1, 1)]
    assert parse_json(b'[",,,,,,,,"]', None, Limits(values=2)) is not None


# ---------------------------------------------------------------- the quick look and the slow walk agree


def random_value(rng, depth=0):
    kind = rng.randrange(4 if depth < 4 else 2)
    if kind == 0:
        return rng.choice(["", ":", '"', "\\", "a:b", '":', "[", "]}", "\\u003a", "é\n", "0123456789012345678901"])
    if kind == 1:
        return rng.choice([0, -1.5, 1e300, None, True, 2**64 - 1, 0.12345678901234567])
    children = [random_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    keys = [rng.choice("abc:") * (index + 1) + rng.choice(['"', "\\", ""]) for index in range(len(children))]
    return children if kind == 2 else dict(zip(keys, children, strict=True))


@pytest.mark.parametrize("seed", range(100))
def test_random_values_are_read_and_their_doubled_keys_found(seed):
    rng = random.Random(seed)
    value = {"a": random_value(rng), "b": random_value(rng)}
    for text in (json.dumps(value), json.dumps(value, indent=1, ensure_ascii=False), orjson.dumps(value).decode()):
        assert parse_json(text.encode()) == value
        assert list(lexical_findings(text, 64)) == []
        doubled = text[:-1] + ', "a": ' + rng.choice(["1", '":"', "{}"]) + text[-1]
        assert [found[0] for found in findings(doubled.encode())] == ["GE122"]


@pytest.mark.parametrize("seed", range(20))
def test_every_value_of_a_random_document_is_located(seed):
    value = {"first": random_value(random.Random(seed)), "second": [random_value(random.Random(seed + 1000))]}
    text = json.dumps(value, indent=2, ensure_ascii=False)
    pending, places = [("", value)], {}
    while pending:
        pointer, inner = pending.pop()
        places[pointer] = inner
        items = inner.items() if isinstance(inner, dict) else enumerate(inner) if isinstance(inner, list) else ()
        pending += [(f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}", child) for key, child in items]
    starts = [0, *(index + 1 for index, letter in enumerate(text) if letter == "\n")]
    for pointer, (line, column) in find_positions(text, places).items():
        assert json.JSONDecoder().raw_decode(text[starts[line - 1] + column - 1 :])[0] == places[pointer]
