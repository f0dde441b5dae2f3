"""What pydantic finds wrong with the form of a document, in the format's words, and what is broken by it."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError

from graphengine.errors import MOST_REPORTED, Problem, did_you_mean, make_pointer
from graphengine.format.annotations import fields_of, members_of
from graphengine.format.fields import SHA256, WITHOUT_START
from graphengine.format.paths import HOW_TO_WRITE
from graphengine.format.positions import has_part, value_at
from graphengine.format.remedies import example
from graphengine.format.salvage import Place
from graphengine.ops.shapes import HOW_TO_WRITE_A_SIZE
from graphengine.wording import ELSEWHERE, counted, nearest, shown

_TYPE_NAMES = {
    "string_type": "a string",
    "float_type": "a number",
    "int_type": "an integer",
    "bool_type": "true or false",
    "list_type": "an array",
    "tuple_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "none_required": "null",
}


_LENGTHS = {
    "string_too_short": "at least",
    "string_too_long": "at most",
    "too_short": "at least",
    "too_long": "at most",
}


class FormFinding(NamedTuple):
    """A problem of form, what is broken by it, and a key that is one too many; either is a path, or not there."""

    problem: Problem
    broken: Place = ()
    surplus: Place = ()


def problems_of(error: ValidationError, raw: Any, document: type[BaseModel]) -> list[Problem]:
    """Pydantic's findings in the format's words."""
    return [found.problem for found in findings_of(error, raw, document)]


def findings_of(error: ValidationError, raw: Any, document: type[BaseModel]) -> Iterator[FormFinding]:
    """Pydantic's findings in the format's words, one for each place, or for each key that a place lacks.

    Of a union pydantic reports every member. A member that failed at its very type says nothing where another
    one got further. A missing key that is there with a typo is one finding, and not two.
    """
    places: dict[Place, list[Any]] = {}
    for detail in error.errors(include_url=False):
        places.setdefault(_path(detail["loc"], raw), []).append(detail)
    return itertools.islice(_in_words(places, raw, document), MOST_REPORTED + 1)


def _in_words(places: Mapping[Place, list[Any]], raw: Any, document: type[BaseModel]) -> Iterator[FormFinding]:
    is_file = "nodes" in fields_of(document)
    further = _containers(places)
    meant = _Meant(places, raw, document)
    for path, details in places.items():
        hint = example(path) if is_file else None
        specific = _specific(details)
        missing = _missing(path, specific)
        if missing:
            yield from meant.missing_keys(path, missing, hint)
        elif specific:
            yield _specific_finding(specific[0], path, hint, meant)
        elif path not in further:
            message = _of_another_type(_without_words(details))
            yield FormFinding(Problem("GE112", message, hint, make_pointer(path)), path)


def _specific(details: list[Any]) -> list[Any]:
    """What was found at a place that is more than another type."""
    return [detail for detail in _without_words(details) if detail["type"] not in _TYPE_NAMES]


def _specific_finding(detail: Any, path: Place, hint: str | None, meant: _Meant) -> FormFinding:
    """What is wrong with a key, or with a value that has a possible type."""
    if detail["type"] == "extra_forbidden":
        where = _where_it_belongs(str(path[-1]), meant.possible(path[:-1]))
        problem = Problem("GE110", f"unknown key '{path[-1]}'", where, make_pointer(path), at_key=True)
        return FormFinding(problem, meant.by_unknown(path[:-1]).get(path, ()), path)
    return FormFinding(replace(_problem(detail, path, hint), at_key=detail["loc"][-1] == "[key]"), path)


def _containers(places: Iterable[Place]) -> set[Place]:
    """The places that have one of these inside."""
    return {path[:length] for path in places for length in range(len(path))}


def _missing(path: Place, details: Iterable[Any]) -> list[Place]:
    return [(*path, _lacking(detail)) for detail in details if detail["type"] in ("missing", WITHOUT_START)]


def _missing_key(place: Place, hint: str | None) -> FormFinding:
    problem = Problem("GE111", f"key '{place[-1]}' is missing", hint, make_pointer(place[:-1]))
    return FormFinding(problem, place)


def _of_another_type(details: Sequence[Any]) -> str:
    """The message of a value that has none of the types that are possible at a place."""
    expected = dict.fromkeys(_TYPE_NAMES[detail["type"]] for detail in details)
    if "a number" in expected:
        expected.pop("an integer", None)
    return f"must be {' or '.join(expected)}, not {shown(details[0]['input'])}"


def _lacking(detail: Any) -> Any:
    """The key that is missing."""
    return detail["loc"][-1] if detail["type"] == "missing" else "initializer"


def _without_words(details: list[Any]) -> list[Any]:
    """What was found at a place, without the words that are possible there too: what is no string is none of them."""
    kept = [each for each in details if each["type"] != "literal_error" or isinstance(each["input"], str)]
    return kept or details


class _Meant:
    """The keys that unknown ones probably mean: they are near, and not there."""

    def __init__(self, places: Mapping[Place, list[Any]], raw: Any, document: type[BaseModel]) -> None:
        self._raw, self._document = raw, document
        self._unknown: defaultdict[Place, list[Place]] = defaultdict(list)
        for path, details in places.items():
            if any(detail["type"] == "extra_forbidden" for detail in details):
                self._unknown[path[:-1]].append(path)
        self._known: dict[Place, dict[Place, Place]] = {}

    def possible(self, path: Place) -> list[Any]:
        """What is allowed at a path."""
        return _possible(self._document, path, self._raw)

    def missing_keys(self, path: Place, missing: Iterable[Place], hint: str | None) -> Iterator[FormFinding]:
        """The keys that an object lacks, except for those that it has with a typo."""
        meant = set(self.by_unknown(path).values())
        return (_missing_key(place, hint) for place in missing if place not in meant)

    def by_unknown(self, container: Place) -> dict[Place, Place]:
        """The paths of the keys that are meant in an object, by those of the unknown ones."""
        if container not in self._known:
            there, keys = value_at(self._raw, container), _keys(self.possible(container))
            unknown = self._unknown[container][: MOST_REPORTED + 1]
            near = {path: nearest(str(path[-1]), keys) for path in unknown}
            self._known[container] = {
                path: (*container, key) for path, key in near.items() if key is not None and key not in there
            }
        return self._known[container]


_PARTS: dict[type[Any], str] = {str: "character", dict: "key"}


def _impossible(got: Any, expected: Any, pointer: str) -> Problem:
    """A value that is not one of those that pydantic expects, each in quotes."""
    possible = re.findall(r"'([^']*)'", str(expected)) or [str(expected)]
    hint = did_you_mean(got, possible) if isinstance(got, str) else f"possible: {', '.join(possible)}"
    return Problem("GE112", f"{shown(got)} is not possible here", hint, pointer)


def _problem(detail: Any, path: Place, hint: str | None) -> Problem:
    """A finding about a value, and not about the keys of an object; `hint` is how to write one."""
    problem_of = _BY_TYPE.get(detail["type"], _other_problem)
    return problem_of(detail, path, hint)


def _other_problem(detail: Any, path: Place, _: str | None) -> Problem:
    message = detail["msg"].replace("Input should be", "must be").replace("Value error, ", "")
    return Problem("GE112", f"{message}, not {shown(detail['input'])}", None, make_pointer(path))


def _wrong_length(detail: Any, path: Place, hint: str | None) -> Problem:
    bound, got = _LENGTHS[detail["type"]], detail["input"]
    limit = detail["ctx"]["max_length" if "long" in detail["type"] else "min_length"]
    what: str = _PARTS.get(type(got), "element")
    return Problem("GE112", f"must have {bound} {counted(limit, what)}, not {len(got)}", hint, make_pointer(path))


def _wrong_pattern(detail: Any, path: Place, _: str | None) -> Problem:
    message = _pattern_message(detail["ctx"]["pattern"], path, detail["input"])
    return Problem("GE112", message, None, make_pointer(path))


def _wrong_tag(detail: Any, path: Place, _: str | None) -> Problem:
    return _impossible(detail["input"]["type"], detail["ctx"]["expected_tags"], f"{make_pointer(path)}/type")


def _wrong_path(detail: Any, path: Place, _: str | None) -> Problem:
    return Problem("GE504", f"path {shown(detail['input'])} {detail['msg']}", HOW_TO_WRITE, make_pointer(path))


_BY_TYPE: dict[str, Callable[[Any, Place, str | None], Problem]] = {
    "union_tag_not_found": lambda _, path, __: Problem("GE111", "key 'type' is missing", None, make_pointer(path)),
    "union_tag_invalid": _wrong_tag,
    "literal_error": lambda found, path, _: _impossible(found["input"], found["ctx"]["expected"], make_pointer(path)),
    "inexact": lambda found, path, _: Problem(
        "GE125", f"{found['msg']}, such as {shown(found['input'])}", None, make_pointer(path)
    ),
    "size": lambda found, path, _: Problem("GE134", found["msg"], None, make_pointer(path)),
    "path": _wrong_path,
    "string_pattern_mismatch": _wrong_pattern,
    **dict.fromkeys(_LENGTHS, _wrong_length),
}
"""The problem that a finding of pydantic is, by its type."""


def _pattern_message(pattern: str, path: Place, got: Any) -> str:
    if pattern == SHA256:
        return f"a sha256 is 64 hexadecimal digits, not {shown(got)}"
    if "shape" in path:
        return f"{HOW_TO_WRITE_A_SIZE}, not {shown(got)}"
    return f"{shown(got)} is not a name: letters, digits and _ . - /, a letter or _ first"


def _path(loc: Place, raw: Any) -> Place:
    """The part of pydantic's location that is in the file: tags of unions are left out."""
    path: list[str | int] = []
    for part in loc:
        if has_part(raw, part):
            raw = raw[part]
            path.append(part)
    return tuple(path)


def _possible(document: Any, path: Place, raw: Any) -> list[Any]:
    """What is allowed at a path, found by walking the annotations along it."""
    places = members_of(document)
    for part in path:
        raw = raw[part]
        places = [inner for place in places for inner in members_of(_inside(place, part))]
        places = _of_its_type(places, raw) or places
    return places


def _of_its_type(places: list[Any], raw: Any) -> list[Any]:
    """The documents that have the type of an object."""
    kind = raw.get("type") if isinstance(raw, dict) else None
    return [place for place in places if kind in get_args(fields_of(place).get("type"))]


def _keys(places: list[Any]) -> list[str]:
    return list(dict.fromkeys(key for place in places for key in fields_of(place)))


def _where_it_belongs(word: str, places: list[Any]) -> str:
    """What to do about an unknown key: one that is near, the part that has it, or what there is."""
    keys = _keys(places)
    if nearest(word, keys) is None:
        if "op" in keys:
            return f"possible keys: {', '.join(keys)}; attributes of an op go into 'attributes'"
        for name, key, members in _parts_of(word, places):
            if any(name in fields_of(member) for member in members):
                return f"'{name}' is a key of '{key}'"
    return did_you_mean(word, keys, "possible keys")


def _parts_of(word: str, places: list[Any]) -> Iterator[tuple[str | None, Any, list[Any]]]:
    """The keys that are possible, with what is possible for each, for a word and for what it is called elsewhere."""
    for place in places:
        for key, annotation in fields_of(place).items():
            for name in (word, ELSEWHERE.get(word)):
                yield name, key, members_of(annotation)


def _inside(place: Any, part: str | int) -> Any:
    """What is allowed at one key or index: the annotation of a field, or of the elements of a list or dictionary."""
    return fields_of(place).get(part) or (get_args(place) or (None,))[-1]
