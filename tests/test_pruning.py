"""A content that is wrong in many places is cut, and no other; what is left has as many problems as are reported."""

import json
import random
from typing import Annotated

import pytest
from documents import MODELS, document, linreg, training
from growing import DIMENSIONS, each, file_of, function, numbered, shaped, sized
from pydantic import BaseModel, ValidationError

import graphengine as ge
from graphengine.errors import MOST_REPORTED
from graphengine.format.documents import ModelDocument
from graphengine.format.findings import findings_of
from graphengine.format.pruning import pruned
from graphengine.format.reading import parse_model
from graphengine.ops.registry import OPS

STRICT_JSON = [
    name for name in DIMENSIONS if "there twice" not in name and name not in ("bare words", "integers of many digits")
]


def findings(content):
    """How many problems of form are found in a content, one more than are reported at most."""
    try:
        ModelDocument.model_validate(content)
    except ValidationError as error:
        return len(list(findings_of(error, content, ModelDocument)))
    return 0


def require_sound(content):
    """What is cut is not missed: the rest has all problems, or more than are reported."""
    before = json.dumps(content)
    kept = pruned(content, ModelDocument)
    assert json.dumps(content) == before
    if kept != content:
        assert findings(kept) == MOST_REPORTED + 1


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.json")), ids=lambda path: path.stem)
def test_of_a_sound_file_nothing_is_cut(path):
    content = json.loads(path.read_bytes())
    assert pruned(content, ModelDocument) == content


@pytest.mark.parametrize("name", STRICT_JSON)
def test_of_a_file_that_is_wrong_in_many_places_as_many_are_left_as_are_reported(name):
    require_sound(json.loads(sized(DIMENSIONS[name], 40)))


def wrong_parts(rng):
    """A content that is wrong in some of many ways, in some of them often."""
    content = linreg(training=training(), metadata={"a": numbered(300, None)})
    count = lambda: rng.choice([0, 1, 20, 90, 150])  # noqa: E731
    content["inputs"] |= numbered(count(), {"shape": ["N*"] * rng.choice([1, 40]), "dtype": "int65"}, "i")
    content["inputs"] |= numbered(count(), {"shape": [3], **numbered(rng.choice([0, 120]), 1)}, "j")
    content["parameters"] |= numbered(
        count(), {"shape": [], "initializer": {"type": "zeroes", **numbered(130, 1)}}, "p"
    )
    content["parameters"] |= numbered(count(), {"shape": [], "initializer": numbered(130, 1)}, "q")
    content["parameters"] |= numbered(
        count(), {"shape": [], "initializer": {"type": "zeros"}, "value": {"fle": 1}}, "r"
    )
    content["nodes"] += each(count(), "neg", *[None] * rng.choice([1, 150]))
    content["nodes"] += [{"id": "a b", "op": 1}] * count()
    content["functions"] = numbered(count(), {"nodes": [1] * count()}, "f") | {"g": function(each(count() + 1, 3, "x"))}
    content["data"] = numbered(count(), {"type": rng.choice(["csv", "cvs"]), "path": "../x"}, "d")
    content["outputs"] |= numbered(count(), 3, rng.choice(["o", "o "]))
    content["training"] |= numbered(count(), 1)
    content |= numbered(count(), 1, "k")
    return content if rng.random() < 0.7 else dict(rng.sample(sorted(content.items()), len(content)))


@pytest.mark.parametrize("seed", range(60))
def test_what_is_cut_is_not_missed(seed):
    require_sound(wrong_parts(random.Random(seed)))


def test_what_is_not_reported_is_not_kept():
    content = file_of(each(3, "neg", *[None] * 20_000), inputs=shaped(numbered(5000, 0, "x ")), **numbered(5000, 1))
    assert len(json.dumps(pruned(content, ModelDocument))) < 5000


def test_a_wrong_type_hides_what_else_its_object_says():
    misspelled = {"shape": [], "initializer": {"type": "zeroes", **numbered(200, 1)}}
    others = numbered(49, {"shape": [], "initializer": {"type": "zeros", "k": 1}}, "p")
    content = document({"z": ("neg", ["p"])}, parameters={"p": misspelled, **others})
    assert pruned(content, ModelDocument) == content
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        parse_model(json.dumps(content).encode())
    assert len(caught.value.problems) == 50


def test_attributes_of_an_op_are_cut_as_its_class_reads_them():
    assert pruned({"pad_width": [[1, 2]] * 500}, OPS["pad"].cls, strict=False) == {"pad_width": [[1, 2]] * 500}
    assert len(pruned({"pad_width": [["a", 2]] * 500}, OPS["pad"].cls, strict=False)["pad_width"]) == MOST_REPORTED + 1
    assert len(pruned(numbered(500, 1), OPS["neg"].cls, strict=False)) == MOST_REPORTED + 1
    assert len(pruned({"axis": ["a"] * 500}, OPS["sum"].cls, strict=False)["axis"]) == MOST_REPORTED + 1


def test_an_element_that_any_member_of_a_union_takes_is_right():
    class Both(BaseModel):
        values: list[int] | list[Annotated[str, "text"]]

    assert pruned({"values": ["a"] * 500}, Both) == {"values": ["a"] * 500}
    assert pruned({"values": [1, "a"] * 500}, Both) == {"values": [1, "a"] * 500}
    assert len(pruned({"values": [1, "a", None] * 500}, Both)["values"]) == 3 * MOST_REPORTED + 3
