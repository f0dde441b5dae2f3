"""From bytes to a document: orjson parses, pydantic checks, every finding gets its place in the file."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import orjson
from pydantic import BaseModel, ValidationError
from typing_extensions import is_typeddict

from graphengine import collector
from graphengine.errors import MOST_TOLD, InvalidModelError, Problem, did_you_mean
from graphengine.format.documents import FORMAT, FORMAT_VERSION, FUNCTION_FORMAT, FunctionFile, ModelDocument
from graphengine.format.positions import find_positions, make_pointer
from graphengine.format.strict import BOM, read_json
from graphengine.format.upgrading import upgraded
from graphengine.limits import DEFAULT, Limits

DocumentType = TypeVar("DocumentType", bound=BaseModel)


class Source:
    """The text of a file, kept to give findings their line and column."""

    def __init__(self, data: bytes, name: str | None = None) -> None:
        self.data, self.name = data, name

    def locate(self, problems: Iterable[Problem]) -> InvalidModelError:
        """An error with the problems, each with file, line and column; those of another file have them already."""
        found = list(itertools.islice(problems, MOST_TOLD + 1))
        if len(found) > MOST_TOLD:
            found[MOST_TOLD:] = [Problem("GE140", f"only the first {MOST_TOLD} problems of the file are told")]
        unplaced = {problem.pointer or "" for problem in found if problem.line is None}
        positions = find_positions(self.text, unplaced) if unplaced else {}
        return InvalidModelError(
            replace(problem, file=self.name, line=line, column=column) if problem.line is None else problem
            for problem in found
            for line, column in [positions.get(problem.pointer or "", (1, 1))]
        )

    @property
    def text(self) -> str:
        """The file as text, without a byte order mark."""
        return self.data.removeprefix(BOM).decode()


def read_model(path: str | Path, limits: Limits = DEFAULT) -> tuple[ModelDocument, Source]:
    """Read a model file and check its form.

    Raises
    ------
    InvalidModelError
        With all problems of form that the file has.
    """
    return parse_model(read_bytes(path, limits), str(path), limits)


def read_bytes(path: str | Path, limits: Limits = DEFAULT) -> bytes:
    """The content of a file.

    Raises
    ------
    InvalidModelError
        GE101 if the file cannot be read, GE103 if it is larger than `limits.file_bytes`.
    """
    try:
        with Path(path).open("rb") as file:
            large = os.fstat(file.fileno()).st_size > limits.file_bytes
            data = b"" if large else file.read(limits.file_bytes + 1)  # it may grow, and a pipe has no size
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidModelError(f"cannot read the file: {reason}", code="GE101", file=str(path)) from error
    if large or len(data) > limits.file_bytes:
        raise InvalidModelError(f"the file is larger than {_size(limits.file_bytes)}", code="GE103", file=str(path))
    return data


def parse_model(data: bytes, name: str | None = None, limits: Limits = DEFAULT) -> tuple[ModelDocument, Source]:
    """The document in the bytes of a model file; `name` stands for the file in messages.

    Raises
    ------
    InvalidModelError
        With all problems of form.
    """
    return parse_document(data, ModelDocument, FORMAT, name, limits)


def as_json(content: Any) -> bytes:
    """Python objects as the bytes of a file.

    Raises
    ------
    InvalidModelError
        GE112 for what JSON does not have.
    """
    try:
        return orjson.dumps(content)
    except TypeError as error:
        raise InvalidModelError(f"the content cannot be written as JSON: {error}", code="GE112") from None


def parse_function(data: bytes, name: str | None = None, limits: Limits = DEFAULT) -> tuple[FunctionFile, Source]:
    """The document in the bytes of a function file, such as an update rule; raises as `parse_model`."""
    return parse_document(data, FunctionFile, FUNCTION_FORMAT, name, limits)


@cache
def shipped_files(package: str, folder: str) -> dict[str, FunctionFile]:
    """The function files that lie in a folder of this package, by name."""
    found = (file for file in (resources.files(package) / folder).iterdir() if file.name.endswith(".json"))
    files = sorted(found, key=lambda file: file.name)
    return {file.name.removesuffix(".json"): parse_function(file.read_bytes(), file.name)[0] for file in files}


def parse_document(
    data: bytes, document: type[DocumentType], expected: str, name: str | None, limits: Limits = DEFAULT
) -> tuple[DocumentType, Source]:
    """The document of one kind in the bytes of a file."""
    with collector.paused():
        raw, problems = read_json(data, name, limits)
        source = Source(data, name)
        if problem := _format_problem(raw, expected):
            raise source.locate([*problems, problem])
        raw = upgraded(raw)
        _check_count(raw, source, limits)
        try:
            checked = document.model_validate(raw)
        except ValidationError as error:
            told = {problem.pointer for problem in problems}
            problems += [each for each in problems_of(error, raw, document) if each.pointer not in told]
        if problems:
            raise source.locate(problems)
        return checked, source


def _check_count(raw: dict[str, Any], source: Source, limits: Limits) -> None:
    """Refuse more nodes than the limit before anything is made for each."""
    nodes = raw.get("nodes")
    if isinstance(nodes, list) and len(nodes) > limits.nodes:
        message = f"the file has {len(nodes):,} nodes, the limit is {limits.nodes:,}"
        raise source.locate([Problem("GE132", message, None, "/nodes")])


def _format_problem(raw: Any, expected: str) -> Problem | None:
    """Of a file of another kind or version just that is told, and not a hundred things about its keys."""
    if not isinstance(raw, dict) or raw.get("format") != expected:
        got = raw.get("format") if isinstance(raw, dict) else type(raw).__name__
        hint = f'the file must be an object with "format": "{expected}", "format_version": {FORMAT_VERSION}'
        pointer = "/format" if isinstance(raw, dict) and "format" in raw else ""
        return Problem("GE104", f"not a {expected} file: format is {_shown(got)}", hint, pointer)
    version = raw.get("format_version", FORMAT_VERSION)
    if type(version) is not int:
        return Problem("GE112", f"must be an integer, not {_shown(version)}", None, "/format_version")
    if version > FORMAT_VERSION:
        message = f"format version {version} is newer than this version of graphengine, which reads {FORMAT_VERSION}"
        return Problem("GE104", message, "upgrade graphengine", "/format_version")
    return None


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


def problems_of(error: ValidationError, raw: Any, document: type[BaseModel]) -> list[Problem]:
    """Pydantic's findings in the format's words, one for each place.

    Of a union pydantic reports every member. A member that failed at its very type says nothing where another
    one got further.
    """
    places: dict[str, list[Any]] = {}
    for detail in error.errors(include_url=False):
        places.setdefault(make_pointer(_path(detail["loc"], raw)), []).append(detail)
    found = []
    for pointer, details in itertools.islice(places.items(), MOST_TOLD + 1):
        telling = [detail for detail in details if detail["type"] not in _TYPE_NAMES]
        if telling:
            found.append(_problem(telling[0], pointer, raw, document))
        elif not any(other.startswith(f"{pointer}/") for other in places):
            expected = dict.fromkeys(_TYPE_NAMES[detail["type"]] for detail in details)
            if "a number" in expected:
                expected.pop("an integer", None)
            message = f"must be {' or '.join(expected)}, not {_shown(details[0]['input'])}"
            found.append(Problem("GE112", message, None, pointer))
    return found


def _problem(detail: Any, pointer: str, raw: Any, document: type[BaseModel]) -> Problem:
    kind, got, path = detail["type"], detail["input"], _path(detail["loc"], raw)
    if kind == "missing":
        return Problem("GE111", f"key '{detail['loc'][-1]}' is missing", None, pointer)
    if kind == "union_tag_not_found":
        return Problem("GE111", "key 'type' is missing", None, pointer)
    if kind == "extra_forbidden":
        hint = did_you_mean(str(path[-1]), _known_keys(document, path[:-1], raw), "possible keys")
        return Problem("GE110", f"unknown key '{path[-1]}'", hint, pointer)
    if kind in ("union_tag_invalid", "literal_error"):
        tag = kind == "union_tag_invalid"
        got = got["type"] if tag else got
        expected = str(detail["ctx"]["expected_tags" if tag else "expected"])
        possible = re.findall(r"'([^']*)'", expected) or [expected]
        return Problem(
            "GE112",
            f"{_shown(got)} is not possible here",
            did_you_mean(str(got), possible),
            pointer + "/type" * tag,
        )
    if kind == "inexact":
        return Problem("GE125", f"{detail['msg']}, such as {_shown(got)}", None, pointer)
    if kind == "string_pattern_mismatch":
        return Problem("GE112", _pattern_message(path, got), None, pointer)
    message = detail["msg"].replace("Input should be", "must be").replace("Value error, ", "")
    return Problem("GE112", f"{message}, not {_shown(got)}", None, pointer)


def _pattern_message(path: Sequence[str | int], got: Any) -> str:
    if "shape" in path:
        return f'a size is an integer, a symbol such as "N" or a product such as "2*N", not {_shown(got)}'
    return f"{_shown(got)} is not a name: letters, digits and _ . - /, a letter or _ first"


def _path(loc: tuple[str | int, ...], raw: Any) -> list[str | int]:
    """The part of pydantic's location that is in the file: tags of unions are left out."""
    path: list[str | int] = []
    for part in loc:
        possible = raw if isinstance(raw, dict) else range(len(raw)) if isinstance(raw, list) else ()
        if part in possible:
            raw = raw[part]
            path.append(part)
    return path


def _known_keys(document: Any, path: Sequence[str | int], raw: Any) -> list[str]:
    """The keys possible where an unknown one stands, found by walking the annotations along the path."""
    places = _members(document)
    for part in path:
        raw = raw[part]
        places = [inner for place in places for inner in _members(_inside(place, part))]
        kind = raw.get("type") if isinstance(raw, dict) else None
        places = [place for place in places if kind in get_args(_fields(place).get("type"))] or places
    return list(dict.fromkeys(key for place in places for key in _fields(place)))


def _members(annotation: Any) -> list[Any]:
    """What a value may be: the members of a union, through Annotated."""
    members, pending = [], [annotation]
    while pending:
        current = pending.pop()
        if get_origin(current) in (Annotated, Union, UnionType):
            arguments = get_args(current)
            pending.extend(arguments[:1] if get_origin(current) is Annotated else arguments)
        else:
            members.append(current)
    return members


def _inside(place: Any, part: str | int) -> Any:
    """What stands at one key or index: the annotation of a field, or of the elements of a list or dictionary."""
    return _fields(place).get(part) or (get_args(place) or (None,))[-1]


def _fields(document: Any) -> dict[Any, Any]:
    """The keys of a document class or typed dictionary, as the file writes them, with their annotations."""
    return _fields_of(document) if isinstance(document, type) else {}


@cache
def _fields_of(document: type) -> dict[Any, Any]:
    if issubclass(document, BaseModel):
        return {field.alias or name: field.annotation for name, field in document.model_fields.items()}
    return get_type_hints(document) if is_typeddict(document) else {}


def _size(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 2**20:g} MiB"


def _shown(value: Any) -> str:
    """A value from a file, short and escaped, for a message."""
    try:
        text = orjson.dumps(value).decode()
    except TypeError:
        text = repr(value)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= 60 else f"{text[:57]}..."
