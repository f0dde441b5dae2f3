"""Nodes that stay text: in every file they are those that a list of them would be, or there is a list."""

import itertools
import json
import pickle

import orjson
import pytest
from corpus.__main__ import corpus
from documents import SHIPPED, changed, document, linreg
from hypothesis import given
from hypothesis import strategies as st

import graphengine as ge
from graphengine.format import pieces
from graphengine.format.meaning import fingerprint
from graphengine.format.pieces import Pieces, parse_apart
from graphengine.format.reading import parse_model
from graphengine.format.writing import dump_model

FILES = {path.name: path.read_bytes() for path in SHIPPED} | {name: data for name, (data, _) in corpus().items()}
MANY = [{"id": f"n{i}", "op": "neg", "inputs": ["x"]} for i in range(12)]
"""Enough nodes to be most of a small file."""


@pytest.fixture(params=[1, 30, 200])
def in_pieces(request, monkeypatch):
    """Pieces so short that small files have some."""
    monkeypatch.setattr(pieces, "LENGTH", request.param)


def apart(text):
    return parse_apart(text if isinstance(text, bytes) else text.encode(), accepts=lambda elements: True)


def many(**sections):
    """A model of many nodes, as text."""
    content = {**document({"z": ("neg", ["x"])}, {"out": "n0"}, inputs={"x": []}), "nodes": MANY, **sections}
    return json.dumps(content)


def outcome(data):
    """What loading a file comes to: its canonical bytes, or all that is wrong."""
    try:
        document, source = parse_model(data, "m.json", salvage=True)
        return dump_model(document), fingerprint(document), ge.Model(document, source).graph.nodes
    except ge.errors.InvalidModelError as error:
        return error.problems


@pytest.mark.parametrize("length", [1, 40])
def test_every_file_means_the_same_in_pieces_and_whole(length, monkeypatch):
    whole = {name: outcome(data) for name, data in FILES.items()}
    monkeypatch.setattr(pieces, "LENGTH", length)
    for name, data in FILES.items():
        assert outcome(data) == whole[name], name


def test_nodes_that_are_most_of_a_file_stay_text(in_pieces):
    value = apart(many())
    assert type(value["nodes"]) is Pieces
    assert value == json.loads(many())
    assert list(value["nodes"]) == MANY
    loaded, _ = parse_model(many().encode())
    assert type(loaded.nodes) is Pieces
    assert parse_model(dump_model(loaded))[0] == loaded


def test_what_replaces_the_nodes_never_looks_like_a_long_integer():
    assert pieces._unguessable().isalpha()  # one in 400 had 19 digits in a row when it was hexadecimal
    assert pieces._unguessable() != pieces._unguessable()


def test_short_files_have_lists():
    assert type(parse_model(many().encode())[0].nodes) is list


def test_pieces_are_a_sequence_like_a_list(in_pieces):
    found = apart(many())["nodes"]
    assert len(found) == len(MANY)
    assert [found[index] for index in range(-len(MANY), len(MANY))] == [*MANY, *MANY]
    assert found[2:9:3] == MANY[2:9:3]
    assert found[::-1] == MANY[::-1]
    assert found == MANY == found
    assert found != MANY[1:]
    assert found == apart(many())["nodes"]
    assert MANY[5] in found
    assert found.index(MANY[7]) == 7
    assert pickle.loads(pickle.dumps(found)) == MANY
    with pytest.raises(IndexError):
        found[len(MANY)]
    with pytest.raises(TypeError):
        hash(found)


LONG = json.dumps(MANY)

ELSEWHERE = {
    "metadata": f'{{"metadata": {{"nodes": {LONG}}}, "nodes": [null]}}',
    "a function": f'{{"functions": {{"f": {{"nodes": {LONG}}}}}, "nodes": []}}',
    "a key that ends alike": f'{{"x\\"nodes": {LONG}, "nodes": ["x"]}}',
    "a key spelled in another way": f'{{"nod\\u0065s": {LONG}, "b": 1}}',
    "a string": f'{{"a": {json.dumps(LONG)}, "nodes": []}}',
    "a string that begins like it": f'{{"a": {json.dumps(json.dumps({"nodes": MANY}))}, "nodes": [{{}}]}}',
    "an array of files": f'[{{"nodes": {LONG}}}]',
    "an array of arrays": f'{{"nodes": [{LONG}]}}',
    "deep inside": f'{{"nodes": [{{"nodes": {LONG}}}]}}',
}


@pytest.mark.parametrize("place", ELSEWHERE)
def test_nodes_elsewhere_are_not_taken_for_those_of_the_file(place, in_pieces):
    value = apart(ELSEWHERE[place])
    assert value == json.loads(ELSEWHERE[place])
    assert type(value) is list or type(value["nodes"]) is list


TRICKY = {
    "strings that look like an end": [{"id": "},{", "a": "}]", "b": '"nodes": ['} for _ in range(30)],
    "objects inside": [{"a": [{"b": 1}, {"c": [{}, {}]}], "d": {}} for _ in range(20)],
    "the key as a value": [{"id": "nodes", "inputs": ["nodes"], "nodes": 1} for _ in range(20)],
    "all one object": [{"a": [{"b": index} for index in range(50)]}],
    "no objects": [*range(200)],
    "mixed": list(itertools.chain.from_iterable(zip(MANY, range(12), ["}, {"] * 12, strict=True))),
    "escapes and letters": [{"id": 'é"\\', "op": "\\", "inputs": ["日本", "\u2028"]} for _ in range(20)],
}


LAYOUTS = [{}, {"separators": (",", ":")}, {"indent": 1}, {"indent": "\t", "separators": (" ,\r\n", " : ")}]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("name", TRICKY)
def test_where_pieces_could_be_cut_wrongly_they_are_not(name, layout, in_pieces):
    content = {"a": 1, "nodes": TRICKY[name], "outputs": {"nodes": "z"}}
    assert apart(json.dumps(content, **layout)) == content


WRONG = {
    "a comma is missing": LONG.replace("}, {", "} {", 1),
    "a comma too many": LONG.replace("}, {", "},, {", 1),
    "a comma at the end": LONG[:-1] + ",]",
    "a comma at the start": "[," + LONG[1:],
    "a space that JSON has not": LONG.replace("}, {", "},\v{", 3),
    "no end": LONG[:-1],
    "two ends": LONG + "]",
    "the wrong end": LONG[:-1] + "}",
    "a double key": LONG.replace('"op"', '"id"', 1),
    "a double key spelled in another way": LONG.replace('"op"', '"\\u0069d"', 1),
    "a long integer": LONG.replace('"x"', "12345678901234567890123", 1),
    "a number that is none": LONG.replace('"x"', "NaN", 1),
    "half a character": LONG.replace('"x"', '"\\ud800"', 1),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_between_or_in_pieces_is_not_overlooked(what, in_pieces):
    text = f'{{"nodes": {WRONG[what]}, "a": 1}}'
    with pytest.raises(ValueError):  # noqa: PT011 - it is of orjson, or has no text
        apart(text)


def test_what_is_wrong_with_the_rest_is_not_overlooked(in_pieces):
    for text in (f'{{"a": 1, "a": 2, "nodes": {LONG}}}', f'{{"nodes": {LONG}, "nodes": []}}', f'{{"nodes": {LONG}}} 1'):
        with pytest.raises(ValueError):  # noqa: PT011
            apart(text)


def test_nodes_that_are_not_accepted_become_a_list(in_pieces):
    taken = parse_apart(many().encode(), accepts=lambda elements: MANY[-1] not in elements)
    assert taken["nodes"] == MANY
    assert type(taken["nodes"]) is list


_VALUES = st.recursive(
    st.none() | st.integers(-9, 9) | st.text('ab"\\{}[],: n\n', max_size=6) | st.just("nodes"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "nodes", "a}"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.lists(_VALUES, min_size=1, max_size=20), st.dictionaries(st.sampled_from("ab"), _VALUES), st.integers(1, 80))
def test_any_json_is_read_as_orjson_reads_it(nodes, rest, length):
    text = orjson.dumps({**rest, "nodes": nodes, "c": 1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "LENGTH", length)
        assert apart(text) == orjson.loads(text)


def test_what_is_changed_on_loading_has_lists(in_pieces):
    wrong = changed(json.loads(many()), ("unknown",), 1)
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.Model.from_dict({**wrong, "outputs": {"out": "nothing"}})
    assert {problem.code for problem in caught.value.problems} == {"GE110", "GE210"}


def test_the_nodes_of_a_file_run_as_they_do_whole(in_pieces):
    assert ge.Model.from_dict(linreg()).forward(x=[1.0, 2.0], y=[2.0, 4.0])["loss"] == 10.0
