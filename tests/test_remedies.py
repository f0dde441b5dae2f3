"""What a message says to do: examples that can be copied, words of other tools, what makes a text JSON."""

import json

import orjson
import pytest
from documents import MODELS, changed, linreg, problem_of, problems_of, training

import graphengine as ge
from graphengine.format.functions import shipped_functions
from graphengine.format.reading import parse_model
from graphengine.format.remedies import EXAMPLES, example
from graphengine.ops.registry import OPS
from graphengine.wording import ELSEWHERE, WORDS_OF, counted, nearest, shown

SCHEMA = MODELS.parent / "schemas" / "model-1.schema.json"
FUNCTION = {"inputs": {"x": {}}, "nodes": [{"id": "n", "op": "neg", "inputs": ["x"]}], "outputs": {"out": "n"}}
WHOLE = linreg(
    state={"s": {"shape": [], "initializer": {"type": "zeros"}}},
    data={"d": {"type": "csv", "path": "d.csv"}},
    functions={"f": FUNCTION},
    training=training(data="d"),
)


def filled(places):
    """A path in the whole document for the places of an example."""
    path, inner = [], WHOLE
    for part in ["inputs", "x", *places[2:]] if places[0] == "*" else places:
        path.append((0 if isinstance(inner, list) else next(iter(inner))) if part == "*" else part)
        inner = inner.get(path[-1]) if isinstance(inner, dict) else inner[path[-1]]
        inner = {} if inner is None else inner
    return tuple(path)


@pytest.mark.parametrize("places", EXAMPLES, ids="/".join)
def test_an_example_is_offered_where_it_is_valid(places):
    path = ("parameters", "theta", "initializer") if places == ("*", "*", "initializer") else filled(places)
    parse_model(orjson.dumps(changed(WHOLE, path, json.loads(EXAMPLES[places]))))
    found = problem_of(changed(WHOLE, path, 3))
    assert found.pointer == "".join(f"/{part}" for part in path)
    assert found.hint == f"write it like {EXAMPLES[places]}"


def test_a_function_has_the_examples_of_a_file():
    assert example(("functions", "f", "nodes", 0)) == example(("nodes", 0))
    assert example(("functions", "f")) is None


def test_an_object_that_lacks_keys_is_shown_whole():
    found = problems_of(changed(WHOLE, ("nodes", 3), {"inputs": ["sq"]}))
    assert [(each.code, each.message) for each in found] == [
        ("GE111", "key 'id' is missing"),
        ("GE111", "key 'op' is missing"),
    ]
    assert {each.hint for each in found} == {'write it like {"id": "z", "op": "mul", "inputs": ["x", "y"]}'}


@pytest.mark.parametrize(
    ("path", "value", "hint"),
    [
        (("inputs", "x", "shape"), [None], 'a size that is not always the same is a symbol such as "N"'),
        (("nodes", 3, "axis"), 0, "attributes of an op go into 'attributes'"),
        (("training", "learning_rate"), 0.1, "'learning_rate' is a key of 'optimizer'"),
        (("training", "lr"), 0.1, "'learning_rate' is a key of 'optimizer'"),
        (("training", "patience"), 3, "'patience' is a key of 'early_stopping'"),
        (("nodes", 3, "config"), {}, "did you mean 'attributes'?"),
        (("inputs", "x", "dtype"), "double", "did you mean 'float64'?"),
        (("nodes", 0, "op"), "*", "did you mean 'mul'?"),
        (("nodes", 2, "op"), "Square", "did you mean 'square'?"),
    ],
)
def test_what_was_meant_is_named_where_it_belongs(path, value, hint):
    found = problem_of(changed(WHOLE, path, value))
    assert hint in found.hint


def test_a_node_of_onnx_is_shown_what_its_keys_are_called_here():
    node = {"name": "y_hat", "op_type": "Mul", "inputs": ["theta", "x"]}
    found = problems_of(changed(WHOLE, ("nodes", 0), node))
    assert [(each.code, each.hint) for each in found] == [
        ("GE110", "did you mean 'id'?"),
        ("GE110", "did you mean 'op'?"),
    ]


def test_every_word_of_another_tool_leads_to_one_of_this():
    words = SCHEMA.read_text()
    known = {*OPS, *shipped_functions()}
    assert all(meant in known or f'"{meant}"' in words for meant in ELSEWHERE.values())
    assert all(word == word.lower().replace("_", "") for word in ELSEWHERE)


def test_no_word_has_two_meanings():
    assert len(ELSEWHERE) == sum(len(words.split()) for words in WORDS_OF.values())


def test_an_op_is_found_under_the_name_of_its_numpy_function():
    counterparts = {op.numpy.__name__: name for name, op in OPS.items() if op.numpy}
    assert {word: nearest(word, OPS) for word in counterparts} == counterparts


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("LeakyReLU", "leaky_relu"),
        ("RMSNorm", "rms_norm"),
        ("BatchNormalization", "batch_norm"),
        ("MaxPooling2D", "max_pool2d"),
        ("KLDivLoss", "kl_divergence"),
        ("GRUCell", "nn.gru_cell"),
        ("cat", "concat"),
    ],
)
def test_an_op_is_found_under_its_name_in_another_tool(word, name):
    assert nearest(word, [*OPS, *shipped_functions()]) == name


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("{ // a model", "JSON has no comments"),
        ('{"a": 1, /* b */ "c": 2}', "JSON has no comments"),
        ('{"a": True}', "JSON writes true, false and null"),
        ("{'a': 1}", "write keys and strings in double quotes"),
        ("{a: 1}", "write keys and strings in double quotes"),
        ("format: graphengine.model", "a model file is a JSON object and begins with {"),
        ('{"a": 1,}', "remove the comma before the closing bracket"),
        ('{"a": [1,, 2]}', "this comma is one too many"),
        ('{"a": 1 "b": 2}', "a comma is missing in front of it"),
        ('{"a": [1, 2', "something is not closed: the file may have been cut off"),
        ("{} {}", "remove what follows"),
        ("@", "a model file is a JSON object and begins with {"),
    ],
)
def test_a_text_that_is_not_json_gets_the_reason(text, hint):
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        parse_model(text.encode())
    (found,) = caught.value.problems
    assert found.code in ("GE102", "GE127")
    assert hint in found.hint


def test_a_text_whose_fault_does_not_show_has_no_hint():
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        parse_model(b'{"a": "\t"}')
    assert caught.value.problems[0].hint is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(["a"] * 40, '["a","a"'), ({1, 2}, "{1, 2}"), ("\u202e\n", '"\\u202e\\n"'), (None, "null")],
)
def test_a_value_is_shown_short_and_printable(value, text):
    assert shown(value).startswith(text)
    assert len(shown(value)) <= 60
    assert shown(value).isprintable()


@pytest.mark.parametrize(
    ("changes", "reported"),
    [
        ({"outputs": {}}, 'must have at least 1 key, not 0 (/outputs); write it like {"out": "z"}'),
        ({"opset_imports": {}}, 'must have at least 1 key, not 0 (/opset_imports); write it like {"core": 1}'),
        ({"name": ""}, "must have at least 1 character, not 0 (/name)"),
        ({"name": "n" * 201}, "must have at most 200 characters, not 201 (/name)"),
        (
            {"inputs": {"x": {"shape": [1] * 33}}},
            'must have at most 32 elements, not 33 (/inputs/x/shape); write it like ["N", 3]',
        ),
    ],
)
def test_how_many_there_must_be_is_reported_in_the_words_of_the_format(changes, reported):
    problems = problems_of({**linreg(), **changes})
    assert f"GE112: {reported}" in map(str, problems)


def test_words_agree_with_numbers():
    assert [counted(number, "node") for number in (0, 1, 2, "1 to 2")] == [
        "0 nodes",
        "1 node",
        "2 nodes",
        "1 to 2 nodes",
    ]


def test_the_nearest_of_very_many_names_begins_or_ends_as_the_word():
    names = [f"node_{number}" for number in range(1000)] + ["weight"]
    for word in ("wieght", "xeight", "weigh", "weightt", "weigth", "ewight"):
        assert nearest(word, names) == "weight"
    assert nearest("wxiyzt", names) is None
    assert nearest("w" * 401, ["w" * 402]) is None


def test_an_unknown_folder_is_shown_as_one(tmp_path):
    with pytest.raises(ge.errors.InvalidModelError, match=r"GE101: cannot read the file: .*; name a file in it"):
        ge.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [([1], "it is an array"), ("text", 'it is "text"'), ({}, "it is empty"), ({"a": 1}, "its keys are 'a'")],
)
def test_what_is_no_model_is_shown_what_it_is(content, said):
    assert said in problem_of(content).message


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("plus", "add"),
        ("minus", "sub"),
        ("times", "mul"),
        ("divided", "div"),
        ("bce", "binary_cross_entropy"),
        ("BCE", "binary_cross_entropy"),
        ("nll", "negative_log_likelihood"),
        ("negate", "neg"),
    ],
)
def test_the_words_of_a_lesson_lead_to_the_op(word, meant):
    content = linreg()
    content["nodes"][0]["op"] = word
    found = problem_of(content)
    assert (found.code, found.hint) == ("GE211", f"did you mean '{meant}'?")
