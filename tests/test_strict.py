"""Strict JSON: all that is JSON is read; what is not, or what JSON leaves open, is refused with a code.

The cases follow RFC 8259; what the standard leaves to the reader is decided once and written in docs/format.md.
"""

import datetime
import json
import math
import random
import uuid

import numpy as np
import orjson
import pytest
from documents import document, linreg, parameter, problem_of, training

import graphengine as ge
from graphengine.format.lexical import lexical_findings
from graphengine.format.positions import Lines, find_positions
from graphengine.format.reading import parse_model
from graphengine.format.strict import parse_json
from graphengine.limits import Limits
from graphengine.wording import size_text


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
    ('"\\ud8\x0en"', "GE102"),
    ('"\\ud8G0"', "GE102"),
    ('"\\ud834\\udcG0"', "GE126 GE102"),
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
    ('{"\\x":1}', "GE102"),
    ("\ufeff{}", "GE120"),
]


@pytest.mark.parametrize(("text", "code"), REFUSED, ids=[ascii(text[:30]) for text, _ in REFUSED])
def test_what_is_not_json_or_left_open_by_it_is_refused(text, code):
    assert {found[0] for found in findings(text.encode())} == set(code.split())


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
        parse_model(text)
    assert {(found.code, found.pointer) for found in caught.value.problems} == {
        ("GE122", "/name"),
        ("GE123", "/nodes"),
        ("GE112", "/inputs"),
        ("GE111", ""),
    }


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("-NaN", "GE123"),
        ("[NaN, Infinity, -Infinity, -NaN]", "GE123"),
        ("1e999", "GE124"),
        ("9" * 5000, "GE124"),
        ('"\\ud800"', "GE126"),
        ('{"-NaN": 1, "-NaN": 2}', "GE122"),
    ],
)
def test_what_stands_behind_what_is_not_json_has_its_place(text, code):
    content = f'{{"format": "graphengine.model", "metadata": {{"-NaN": {text}}},\n "outputs": 3, "nodes": []}}'
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        parse_model(content.encode())
    assert {(found.code, found.line, found.column) for found in caught.value.problems} > {("GE112", 2, 13)}
    assert code in {found.code for found in caught.value.problems}


def test_what_is_wrong_behind_a_byte_order_mark_has_its_place():
    assert findings(b'\xef\xbb\xbf{"a": NaN,\n"a": 1}') == [("GE120", 1, 1), ("GE123", 1, 7), ("GE122", 2, 1)]


def test_of_many_problems_of_the_text_the_first_hundred_are_reported():
    assert findings(b"[" + b"NaN, " * 1000 + b"0]") == [
        *(("GE123", 1, 2 + 5 * i) for i in range(100)),
        ("GE140", None, None),
    ]


@pytest.mark.parametrize("nodes", [3, [{}]])
def test_of_a_thousand_unknown_keys_the_first_hundred_are_reported(nodes):
    content = {"format": "graphengine.model", "nodes": nodes, **dict.fromkeys(map(str, range(1000)))}
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.Model.from_dict(content)
    assert [problem.code for problem in caught.value.problems[-2:]] == ["GE110", "GE140"]
    assert len(caught.value.problems) == 101


@pytest.mark.parametrize("shift", range(-24, 3))
def test_a_long_integer_is_found_wherever_the_pieces_that_are_searched_meet(shift):
    before = b"[" + b" " * (2**20 + shift - 1)
    assert [code for code, *_ in findings(before + b"9" * 20 + b"]")] == ["GE125"]
    assert parse_json(before + b"0." + b"1" * 40 + b"]") == [0.1111111111111111]


@pytest.mark.parametrize("shift", range(4))
def test_what_stands_in_strings_does_not_count_wherever_the_pieces_that_are_searched_meet(shift):
    many = ", ".join(['"]]:"', r'"\\"', r'"\"[["', '{":": 1}'] * 30_000)
    assert len(parse_json(f"[{' ' * shift}{many}]".encode())) == 120_000
    assert parse_json(f"[{many}, {' ' * shift}{'[' * 63}{']' * 63}]".encode()) is not None
    assert [code for code, *_ in findings(f"[{many}, {' ' * shift}{'[' * 64}{']' * 64}]".encode())] == ["GE130"]


def test_double_keys_are_found_among_many_numbers():
    numbers = json.dumps({"a": {"b": [0.5] * 100, "c": [[1, 2]] * 10, "d": [[{"e": ":", "f": 2}]]}, ":": ["::"]})
    assert parse_json(numbers.encode()) == json.loads(numbers)
    doubled = numbers.replace('"f": 2', '"e": 2')
    assert findings(doubled.encode()) == [("GE122", 1, doubled.rindex('"e"') + 1)]


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
    assert parse_json(b'{"a":' * 500 + b"1" + b"}" * 500, None, Limits(depth=1000)) is not None


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


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ('"\\ud800x": {"shape": [1, @"?"]}', "/inputs/\ufffdx/shape/1"),
        ('"_": {"shape": ["N"]}, "\\ud800": {"shape": [@"?"]}', "/inputs/\ufffd/shape/0"),
        ('"\\ud800": {"shape": ["N"]}, "_": {"shape": [@"?"]}', "/inputs/_/shape/0"),
        ('"\\ud800": {"shape": ["?"]}, "\\udc00": {"shape": [@"?"]}', "/inputs/\ufffd/shape/0"),
    ],
)
def test_what_is_wrong_below_a_key_that_is_no_text_has_its_place_and_a_pointer_that_is_text(members, pointer):
    before, after = members.split("@")
    text = json.dumps(document({"z": ("neg", [1.0])})).replace(
        '"nodes"', f'"inputs": {{\n{before}{after}}}, "nodes"', 1
    )
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        parse_model(text.encode())
    found = [each for each in caught.value.problems if each.code == "GE112"]
    assert [(each.pointer, each.line, each.column) for each in found] == [(pointer, 2, len(before) + 1)]
    assert str(caught.value).encode()
    assert orjson.loads(orjson.dumps([each.as_dict() for each in caught.value.problems]))


def test_places_in_a_long_array_of_numbers_are_found_beside_strings_and_arrays():
    value = [*range(10_000), "a, [b", [1, 2], *range(9_000), {"c": 3}, None]
    text = json.dumps(value)
    wanted = [0, 4095, 4096, 4097, 9_999, 10_000, 10_001, 10_002, 19_001, 19_002, 19_003]
    for pointer, (_, column) in find_positions(text, [f"/{index}" for index in wanted]).items():
        assert json.JSONDecoder().raw_decode(text[column - 1 :])[0] == value[int(pointer[1:])]


@pytest.mark.parametrize(
    ("value", "path", "message"),
    [
        ([1, "x"], "/1", '"x" is not a number'),
        ([1, None], "/1", "null is not a number"),
        ([[1, 2], [3, {}]], "/1/1", "{} is not a number"),
        ([[1, 2], [3]], "/1", "not a regular array of numbers: one of length 1 beside one of 2"),
        ([[1, 2], 3], "/1", "not a regular array of numbers: 3 beside an array"),
        ([1, [2]], "/1", "not a regular array of numbers: [2] is not a number"),
        (["NaN", "nan"], "/1", '"nan" is not a number'),
        ("x", "", '"x" is not a number'),
    ],
)
def test_the_element_that_makes_a_value_no_array_is_reported(value, path, message):
    problem = problem_of(document({"z": ("neg", ["p"])}, parameters={"p": parameter([0.0, 0.0]) | {"value": value}}))
    assert problem.code == "GE302"
    assert problem.pointer == f"/parameters/p/value{path}"
    assert problem.message == f"parameter 'p': {message}"


def test_no_letter_is_looked_at_twice_for_the_places_of_a_file():
    class Counting(str):
        looked_at = 0

        def count(self, part, start, end):
            self.looked_at += end - start
            return super().count(part, start, end)

    text = Counting("a" * 1000 + "\n" + "b" * 1000)
    lines = Lines(text)
    places = [lines.place(offset) for offset in range(len(text))]
    assert places == [*((1, column) for column in range(1, 1002)), *((2, column) for column in range(1, 1001))]
    assert text.looked_at < len(text)


# ---------------------------------------------------------------- integers where a floating-point number is meant

BEYOND = 2**53 + 1
SCALED = {
    "inputs": {"x": {}},
    "attributes": {"k": {}},
    "nodes": [{"id": "n", "op": "mul", "inputs": ["x", "k"]}],
    "outputs": {"out": "n"},
}


@pytest.mark.parametrize(
    ("keys", "pointer"),
    [
        ({"nodes": {"z": ("mul", ["p", BEYOND])}}, "/nodes/0/inputs/1"),
        ({"nodes": {"z": ("mul", {"x": "p", "y": -BEYOND})}}, "/nodes/0/inputs/y"),
        ({"parameters": {"p": {"shape": [], "initializer": {"type": "constant", "value": BEYOND}}}},
         "/parameters/p/initializer/value"),
        ({"parameters": {"p": {"shape": [], "initializer": {"type": "uniform", "high": BEYOND}}}},
         "/parameters/p/initializer/high"),
        ({"nodes": {"z": ("f", ["p"], {"k": BEYOND})}, "functions": {"f": SCALED}}, "/nodes/0/attributes/k"),
        ({"functions": {"f": SCALED | {"attributes": {"k": {"default": BEYOND}}}}},
         "/functions/f/attributes/k/default"),
        ({"training": training(loss="out", optimizer={"type": "adam", "learning_rate": 0.1, "beta1": BEYOND})},
         "/training/optimizer/beta1"),
        ({"parameters": {"p": parameter([BEYOND, 1])}}, "/parameters/p/value"),
        ({"parameters": {"p": parameter([[0.0], [0.0]]) | {"value": [[0.5], [BEYOND]]}}}, "/parameters/p/value"),
        ({"parameters": {"p": parameter([0.0, 0.0]) | {"value": ["NaN", BEYOND]}}}, "/parameters/p/value"),
    ],
)  # fmt: skip
def test_an_integer_that_is_not_exact_as_a_double_is_refused_where_a_double_is_meant(keys, pointer):
    found = problem_of(document(**{"nodes": {"z": ("neg", ["p"])}, "parameters": {"p": 0.0}} | keys))
    assert (found.code, found.pointer) == ("GE125", pointer)


def test_the_largest_exact_integers_and_integers_of_integer_dtype_are_read():
    values = {"p": parameter([2**53, -(2**53), 0.5]), "q": parameter([BEYOND, 2**63 - 1], dtype="int64")}
    model = ge.Model.from_dict(document({"z": ("mul", ["p", 2**53])}, parameters=values))
    assert model.parameters["q"].tolist() == [BEYOND, 2**63 - 1]
    assert model.parameters["p"].tolist() == [2.0**53, -(2.0**53), 0.5]


# ---------------------------------------------------------------- memory

OUTER = {"z": ("add", ["x", "y"]), "loss": ("mean", ["z"])}


@pytest.mark.parametrize(
    ("keys", "pointer"),
    [
        ({"inputs": {"x": [10**9, 10**9]}}, "/inputs/x/shape"),
        ({"inputs": {"x": ["N", 10**9]}}, "/inputs/x/shape"),
        ({"parameters": {f"p{i}": {"shape": [3 * 2**27], "initializer": {"type": "zeros"}} for i in range(1000)},
          "inputs": {"x": []}}, "/parameters/p0/shape"),
        ({"nodes": {"z": ("add", ["x", "y"])}, "inputs": {"x": [100_000, 1], "y": [1, 100_000]}}, "/nodes/0"),
    ],
)  # fmt: skip
def test_what_takes_too_much_memory_is_refused_before_it_is_made(keys, pointer):
    found = problem_of(document(**{"nodes": {"z": ("neg", ["x"])}} | keys))
    assert (found.code, found.pointer) == ("GE133", pointer)


def test_a_batch_that_takes_too_much_memory_says_which_node_asks_for_how_much():
    model = ge.Model.from_dict(document(OUTER, inputs={"x": ["N", 1], "y": [1, "M"]}))
    x, y = np.ones((100_000, 1)), np.ones((1, 100_000))
    said = r"node 'z' \(add\), float64\(N, M\): 74.51 GiB; use smaller batches"
    for ask in (model.forward, model.predict):
        with pytest.raises(ge.errors.InputError, match=f"GE133: .* for N = 100000, M = 100000, .*{said}"):
            ask(x=x, y=y)
    assert model.forward(x=x[:10], y=y[:, :10])["out"] == 2.0


def test_a_training_batch_is_counted_with_its_gradient():
    content = linreg(training=training())
    data = {"x": np.ones(1000), "y": np.ones(1000)}
    assert len(ge.Model.from_dict(content, limits=Limits(array_bytes=200_000)).train(data)) == 1
    assert ge.Model.from_dict(content, limits=Limits(array_bytes=60_000)).forward(data)["loss"] == 1.0
    with pytest.raises(ge.errors.InputError, match="GE133"):
        ge.Model.from_dict(content, limits=Limits(array_bytes=60_000)).train(data)
    assert len(ge.Model.from_dict(content, limits=Limits(array_bytes=60_000)).train(data, batch_size=100)) == 10


def test_more_nodes_than_the_limit_are_refused():
    with pytest.raises(ge.errors.InvalidModelError, match="GE132: the file has 4 nodes, the limit is 3"):
        ge.Model.from_dict(linreg(), limits=Limits(nodes=3))


def test_a_number_of_bytes_is_reported_in_a_fitting_unit():
    assert [size_text(count) for count in (0, 1023, 2**10, 3 * 2**29, 2**90)] == [
        "0 bytes",
        "1023 bytes",
        "1 KiB",
        "1.5 GiB",
        "1.074e+09 EiB",
    ]


NESTED = []
NESTED.append(NESTED)


@pytest.mark.parametrize(
    ("changes", "code", "pointer"),
    [
        ({"metadata": {"a": [1, math.nan]}}, "GE123", "/metadata/a/1"),
        ({"description": math.nan}, "GE123", "/description"),
        ({"dtype": math.inf}, "GE123", "/dtype"),
        ({"name": uuid.UUID(int=0)}, "GE112", "/name"),
        ({"name": datetime.date(2000, 1, 1)}, "GE112", "/name"),
        ({"metadata": {"a": np.ones(2)}}, "GE112", "/metadata/a"),
        ({"metadata": {"a": 10**30}}, "GE125", "/metadata/a"),
        ({"metadata": {"a": 10**5000}}, "GE112", None),
        ({"metadata": {"a": {1: 2}}}, "GE112", "/metadata/a"),
        ({"name": "\ud800"}, "GE126", "/name"),
        ({"metadata": {"a": NESTED}}, "GE112", None),
    ],
)
def test_what_json_does_not_have_is_no_null_and_no_name_in_python_objects_either(changes, code, pointer):
    problem = problem_of({**linreg(), **changes})
    assert (problem.code, problem.pointer, problem.line) == (code, pointer, None)


def test_numbers_of_numpy_that_are_pythons_are_read():
    content = {**linreg(), "metadata": {"a": (np.float64(0.1), True)}}
    assert ge.Model.from_dict(content).document.metadata == {"a": [0.1, True]}


def test_python_objects_that_json_does_not_have_are_refused():
    with pytest.raises(ge.errors.InvalidModelError, match="GE112: JSON has no object of type 'set'"):
        ge.Model.from_dict({"a": {1, 2}})
    with pytest.raises(ge.errors.TrainingError, match=r"must be an integer, not \{1\}"):
        ge.Model.from_dict(linreg(training=training())).train(epochs={1})
