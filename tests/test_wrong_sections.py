"""Sections of a wrong type with several errors inside: every error is reported, and no cut meets what another left."""

import copy
import json
import random

import pytest
from documents import document, linreg, training
from fuzzing import seeds

import graphengine as ge
from graphengine.errors import CODES
from graphengine.format.positions import path_of
from graphengine.format.reading import parse_model
from graphengine.format.salvage import salvaged

SECTIONS = ("parameters", "inputs", "nodes", "outputs", "data", "training", "functions", "state")
INSIDE = {
    "a list of two": "[NaN, NaN]",
    "a list of lists": "[[NaN, NaN], [NaN]]",
    "a list of objects": '[{"a": NaN}, {"b": NaN, "c": [NaN]}]',
    "an object": '{"a": NaN, "b": NaN}',
    "an object of lists": '{"a": [NaN, NaN], "b": [NaN]}',
    "an object of objects": '{"a": {"b": [NaN, NaN], "c": NaN}, "d": [NaN, {"e": NaN}]}',
    "a number": "NaN",
}


def problems(text):
    """What is wrong with a file, in its form and beside it."""
    try:
        parsed, source = parse_model(text.encode(), "m.json", salvage=True)
        ge.Model(parsed, source)
    except ge.errors.InvalidModelError as error:
        return error.problems
    return []


@pytest.mark.parametrize("text", INSIDE.values(), ids=INSIDE)
@pytest.mark.parametrize("section", SECTIONS)
def test_every_number_that_is_none_is_reported_in_a_section_of_any_type(section, text):
    content = json.dumps({**linreg(training=training()), section: "?"}).replace('"?"', text)
    found = problems(content)
    assert sum(problem.code == "GE123" for problem in found) == text.count("NaN")
    assert all(problem.code in CODES for problem in found)


@pytest.mark.parametrize("key", ["1", "²", "١", "9" * 5000], ids=["digit", "power", "arabic", "long"])
@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_that_is_there_twice_as_object_and_as_list(section, key):
    content = {name: value for name, value in linreg().items() if name != section}
    twice = f'"{section}": {{"{key}": 1, "{key}": 2}}, "{section}": [1, 2]'
    found = problems(json.dumps(content)[:-1] + f", {twice}}}")
    assert [problem.code for problem in found].count("GE122") == 2


def test_a_place_is_an_index_only_where_an_array_has_it():
    assert path_of("/a/1/b", {"a": [1, {"b": 2}]}) == ("a", 1, "b")
    assert path_of("/a/²", {"a": [1]}) == ("a", "²")
    assert path_of("/a/" + "9" * 5000, {"a": [1]}) == ("a", "9" * 5000)


def test_a_second_break_in_a_node_that_is_a_list_leaves_the_others_judged():
    content = document({"y": ("add", ["x", 1.0]), "z": ("subb", ["y", 1.0])}, inputs={"x": ["N"]})
    content["nodes"][0] = [1, 2]
    found = {problem.pointer: problem.code for problem in problems(json.dumps(content))}
    assert found == {"/nodes/0": "GE112", "/nodes/1/op": "GE211"}


WRONG = [3, "s", None, [], {}, [1, 2], {"x": 1, "y": 2}, [[1], {"x": 2}], {"x": [1, 2], "y": {"z": [1]}}]
WRONG += [{"x": {"shape": 1, "value": {"a": 2}}}, [{"id": 1, "inputs": [1, 2]}, {"inputs": {"a": 1}}]]
WRONG += [{"loss": 1, "optimizer": {"type": 1}, "metrics": {"1": 2, "a": {"b": 1}}, "early_stopping": [1]}]


def places(value, way=()):
    """The paths of all parts of a value, and of keys that its objects lack."""
    if isinstance(value, dict):
        yield (*way, "absent")
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*way, key)
        yield from places(value[key], (*way, key))


@pytest.mark.parametrize("seed", range(20))
def test_any_places_can_be_cut_out_of_sections_of_any_type(seed):
    rng = random.Random(seed)
    for _ in range(20):
        content = copy.deepcopy(rng.choice(seeds.whole_documents()))
        holders = [content, *(each for each in content.get("functions", {}).values())]
        for holder in holders:
            wrong = [section for section in (*SECTIONS, "opset_imports", "dtype") if rng.random() < 0.4]
            holder.update({section: copy.deepcopy(rng.choice(WRONG)) for section in wrong})
        broken = rng.choices(list(places(content)), k=rng.choice([1, 2, 3, 5, 8]))
        gaps = salvaged(content, broken, ())
        assert all(isinstance(name, str) for names in gaps.names.values() for name in names)
