"""From bytes to a document: orjson parses, pydantic checks, every finding gets its place in the file."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from threading import Lock
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, FailFast, TypeAdapter, ValidationError

from graphengine import gc_pause
from graphengine.errors import MOST_REPORTED, InvalidModelError, Problem, curtailed, make_pointer
from graphengine.format import pieces
from graphengine.format.documents import (
    FORMAT,
    FORMAT_VERSION,
    FUNCTION_FORMAT,
    FunctionFile,
    ModelDocument,
    NodeDocument,
    with_inputs,
)
from graphengine.format.pieces import Pieces, unfolded
from graphengine.format.salvage import Gaps, salvaged, without_hole
from graphengine.format.strict import BOM, read_json, strict_value
from graphengine.format.upgrading import FORMATS, OPSETS, upgraded
from graphengine.limits import DEFAULT, Limits
from graphengine.wording import shown, size_text

if TYPE_CHECKING:
    from graphengine.format.findings import FormFinding

DocumentType = TypeVar("DocumentType", bound=BaseModel)
Made = TypeVar("Made")

MOST_VERSIONS = 20
"""How often a file may be replaced while it is loaded."""


class Source:
    """The text of a file, kept to give findings their line and column; once read, without what is wrong as text.

    `problems` are the errors in its form; they are reported with those of the rest, of which `gaps` say what
    is not known because of them. A text that nobody has seen (not `is_written`) has an order, but no lines to report.
    """

    data: bytes
    name: str | None
    is_written: bool
    gaps: Gaps

    def __init__(self, data: bytes, name: str | None = None, *, is_written: bool = True) -> None:
        self.data, self.name, self.is_written = data, name, is_written
        self.problems: list[Problem] = []
        self.gaps = Gaps()

    def locate(self, problems: Iterable[Problem]) -> InvalidModelError:
        """An error with the problems of form and these, in the order of the file, each with file, line and column.

        What is wrong with another file comes last, and has its place already. Of one value only one thing is reported.
        """
        placed = self._placed([*self.problems, *map(without_hole, self._further(problems))])
        placed.sort(key=lambda problem: (problem.file != self.name, problem.line, problem.column))
        if not self.is_written:
            placed = [replace(each, line=None, column=None) if each.file == self.name else each for each in placed]
        return InvalidModelError(curtailed(placed, self.name))

    def _further(self, problems: Iterable[Problem]) -> list[Problem]:
        """The problems that are not about a value whose form is wrong."""
        reported = {problem.pointer for problem in self.problems if problem.code != "GE111"}
        return [each for each in problems if each.line is not None or each.pointer not in reported]

    def _placed(self, problems: Sequence[Problem]) -> list[Problem]:
        """The problems, each with a file, a line and a column."""
        unplaced = {problem.pointer or "": problem.at_key for problem in problems if problem.line is None}
        positions = self._positions(unplaced) if unplaced else {}

        def in_file(problem: Problem) -> Problem:
            if problem.line is not None:
                return problem
            line, column = positions[problem.pointer or ""]
            return replace(problem, file=self.name, line=line, column=column)

        return list(map(in_file, problems))

    def _positions(self, at_key: Mapping[str, bool]) -> dict[str, tuple[int, int]]:
        """Where pointers lead, or their keys are."""
        from graphengine.format.positions import find_positions

        return find_positions(self.text, at_key, {pointer for pointer in at_key if at_key[pointer]})

    def place(self, pointer: str) -> dict[str, Any]:
        """Where a pointer leads, as keys of a problem."""
        from graphengine.format.positions import find_positions

        line, column = find_positions(self.text, [pointer])[pointer] if self.is_written else (None, None)
        return {"pointer": pointer, "file": self.name, "line": line, "column": column}

    @property
    def text(self) -> str:
        """The file as text, without a byte order mark."""
        return self.data.removeprefix(BOM).decode()


def read_model(path: str | Path, limits: Limits = DEFAULT, *, salvage: bool = False) -> tuple[ModelDocument, Source]:
    """Read a model file and check its form; `salvage` and errors as of `parse_model`."""
    return parse_model(read_bytes(path, limits), str(path), limits, salvage=salvage)


def unless_replaced(path: str | Path, load: Callable[[], Made]) -> Made:
    """Return what `load` makes of a file; if it fails and the file was replaced meanwhile, load the new one.

    Who reads a large model while it is saved may have the old file, and find its tensors gone.

    Raises
    ------
    InvalidModelError
        As `load` does.
    """
    for _ in range(MOST_VERSIONS):
        before = _version(path)
        try:
            return load()
        except InvalidModelError:
            if _version(path) == before:
                raise
    return load()


def _version(path: str | Path) -> tuple[int, ...]:
    """What changes when a file is replaced."""
    with suppress(OSError, ValueError):
        seen = Path(path).stat()
        return seen.st_ino, seen.st_mtime_ns, seen.st_size
    return ()


def read_bytes(path: str | Path, limits: Limits = DEFAULT) -> bytes:
    """The content of a file.

    Raises
    ------
    InvalidModelError
        GE101 if the file cannot be read, GE103 if it is larger than `limits.file_bytes`.
    """
    try:
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            large = size > limits.file_bytes
            data = b"" if large else file.read(size + 1)  # as much as is requested is allocated
            if len(data) > size:  # it grows, or is a pipe, which has no size
                data += file.read(limits.file_bytes + 1 - len(data))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if large or len(data) > limits.file_bytes:
        raise InvalidModelError(f"the file is larger than {size_text(limits.file_bytes)}", code="GE103", file=str(path))
    return data


def _unreadable(path: str | Path, error: Exception) -> InvalidModelError:
    reason = getattr(error, "strerror", None) or error
    hint = "name a file in it" if isinstance(error, IsADirectoryError) else None
    return InvalidModelError(f"cannot read the file: {reason}", code="GE101", hint=hint, file=str(path))


def parse_model(
    data: bytes, name: str | None = None, limits: Limits = DEFAULT, *, salvage: bool = False, is_written: bool = True
) -> tuple[ModelDocument, Source]:
    """The document in the bytes of a model file; `name` names the file in messages.

    With `salvage`, problems of form are left in `source.problems`, to be reported together with the errors in the
    rest, and the document has only what is sound. Text that is not as a user has written it has no lines to report.

    Raises
    ------
    InvalidModelError
        With all problems of form.
    """
    source = Source(data, name, is_written=is_written)
    return parse_document(source, ModelDocument, FORMAT, limits, salvage=salvage), source


def as_json(content: Any) -> bytes:
    """Python objects as the bytes of a file; what JSON leaves open, such as NaN, stays for its reader to refuse.

    Raises
    ------
    InvalidModelError
        GE112 for each object that JSON does not have.
    """
    try:
        problems = list(itertools.islice(_foreign(content), MOST_REPORTED + 1))
        if not problems:
            return json.dumps(content).encode()
    except ValueError as error:
        problems = [Problem("GE112", f"the content cannot be written as JSON: {error}")]
    raise InvalidModelError(curtailed(problems, None))


def _foreign(content: Any) -> Iterator[Problem]:
    """Keys and values that JSON does not have."""
    pending: list[tuple[tuple[Any, ...], Any]] = [((), content)]
    while pending:
        path, value = pending.pop()
        if len(path) > _DEEPEST:
            raise ValueError("it is nested too deeply, or contains itself")
        if isinstance(value, (dict, list, tuple)):
            yield from _foreign_keys(value, path)
            pending += [((*path, part), each) for part, each in _parts(value) if type(each) not in _PLAIN]
        elif not isinstance(value, (str, int, float, NoneType)):
            message = f"JSON has no object of type '{type(value).__name__}'"
            yield Problem("GE112", message, "write it as a number, a string or nested lists", make_pointer(path))


def _foreign_keys(value: Any, path: tuple[Any, ...]) -> list[Problem]:
    keys = value if isinstance(value, dict) else ()
    return [_foreign_key(key, path) for key in keys if not isinstance(key, str)]


def _parts(value: Any) -> Iterable[tuple[Any, Any]]:
    """The members of an object, or the elements of an array, each with its key or index."""
    return value.items() if isinstance(value, dict) else enumerate(value)


def _foreign_key(key: Any, path: tuple[Any, ...]) -> Problem:
    message = f"a key must be a string, not {key!r:.60} of type '{type(key).__name__}'"
    return Problem("GE112", message, None, make_pointer(path))


_PLAIN = {str, int, float, bool, type(None)}
_DEEPEST = 500
"""Levels that are looked at: Python's writer has about a thousand, and a file 64 unless a caller wants more."""


def parse_function(
    data: bytes, name: str | None = None, limits: Limits = DEFAULT, *, salvage: bool = False
) -> tuple[FunctionFile, Source]:
    """The document in the bytes of a function file, such as an update rule; the rest is as of `parse_model`."""
    source = Source(data, name)
    return parse_document(source, FunctionFile, FUNCTION_FORMAT, limits, salvage=salvage), source


class ShippedFiles(Mapping[str, FunctionFile]):
    """The function files in a folder of this package, by name; each is read when it is first asked for."""

    def __init__(self, package: str, folder: str) -> None:
        self._folder = resources.files(package) / folder
        found = (file.name for file in self._folder.iterdir())
        self._names = sorted(name.removesuffix(".json") for name in found if name.endswith(".json"))
        self._read: dict[str, FunctionFile] = {}

    def __getitem__(self, name: str) -> FunctionFile:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._read:
            file = self._folder / f"{name}.json"
            self._read.setdefault(name, parse_function(file.read_bytes(), file.name)[0])
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


_files_in = cache(ShippedFiles)
_LISTING = Lock()


def shipped_files(package: str, folder: str) -> ShippedFiles:
    """Return the function files in a folder of this package: the same for all threads, as `is` compares them."""
    with _LISTING:
        return _files_in(package, folder)


_SHORT = 2**15
"""Bytes of a text in which no more can be wrong than fits into memory."""


def parse_document(
    source: Source, document: type[DocumentType], expected: str, limits: Limits = DEFAULT, *, salvage: bool = False
) -> DocumentType:
    """The document of one kind in a source."""
    with gc_pause.paused():
        raw, problems, source.data = read_json(source.data, source.name, limits, parse=_parsed)
        if problem := _format_problem(raw, expected):
            problems.append(problem)
            if problem.code == "GE104":
                raise source.locate(problems)
        raw = _in_newest_version(raw)
        _check_count(raw, source, limits)
        if len(source.data) > _SHORT:
            from graphengine.format.pruning import pruned

            raw = pruned(raw, document)
        checked, error = _validated(document, raw)
        if error or problems:
            raw = unfolded(raw)
            found = _new_findings(error, raw, document, problems) if error else []
            del error  # it holds what was read first
            checked = _mended(source, document, raw, problems, found, salvage=salvage)
        if checked is None:
            raise source.locate(())
        return checked


def _in_newest_version(raw: dict[str, Any]) -> dict[str, Any]:
    """The content of a file, through the adapters that there are for older versions."""
    return upgraded(raw) if FORMATS or OPSETS else raw


def _mended(
    source: Source,
    document: type[DocumentType],
    raw: Any,
    problems: list[Problem],
    found: list[FormFinding],
    *,
    salvage: bool,
) -> DocumentType | None:
    """The document without the errors in its form, which the source keeps; None if that is not wanted."""
    source.problems = [*problems, *(each.problem for each in found)]
    if not salvage or len(source.problems) > MOST_REPORTED:
        return None
    source.gaps = _cut_out(raw, problems, found)
    return _validated(document, raw)[0]


def _new_findings(
    error: ValidationError, raw: Any, document: type[BaseModel], problems: Sequence[Problem]
) -> list[FormFinding]:
    """The findings of what has no problem yet."""
    from graphengine.format.findings import findings_of

    reported = {problem.pointer for problem in problems}
    return [each for each in findings_of(error, raw, document) if each.problem.pointer not in reported]


def _cut_out(raw: Any, problems: Iterable[Problem], found: Sequence[FormFinding]) -> Gaps:
    """Cut what is wrong out of a document; the gaps that it leaves."""
    from graphengine.format.positions import path_of

    places = [path_of(problem.pointer or "", raw) for problem in problems]
    return salvaged(raw, [*places, *(each.broken for each in found)], [each.surplus for each in found])


def _validated(document: type[DocumentType], raw: Any) -> tuple[DocumentType | None, ValidationError | None]:
    """The document, or the errors in its form."""
    try:
        return document.model_validate(raw), None
    except ValidationError as error:
        return None, error


def _parsed(text: bytes) -> Any:
    """The value of a text; nodes that are most of a long one stay text."""
    if len(text) <= 2 * pieces.LENGTH:
        return strict_value(text)
    return pieces.parse_apart(text, accepts=_are_nodes, complete=with_inputs)


def _are_nodes(content: list[Any]) -> bool:
    try:
        _nodes_schema().validate_python(content)
    except ValidationError:
        return False
    return True


@cache
def _nodes_schema() -> TypeAdapter[list[NodeDocument]]:
    return TypeAdapter(Annotated[list[NodeDocument], FailFast()])


def _check_count(raw: dict[str, Any], source: Source, limits: Limits) -> None:
    """Refuse more nodes than the limit before anything is made for each."""
    nodes = raw.get("nodes")
    if isinstance(nodes, (list, Pieces)) and len(nodes) > limits.nodes:
        message = f"the file has {len(nodes):,} nodes, the limit is {limits.nodes:,}"
        raise source.locate([Problem("GE132", message, None, "/nodes")])


def _format_problem(raw: Any, expected: str) -> Problem | None:
    """Of a file of another kind or version just that is reported, and not a hundred things about its keys."""
    if not isinstance(raw, dict) or raw.get("format") != expected:
        return _other_kind(raw, expected)
    version = raw.get("format_version", FORMAT_VERSION)
    if type(version) is not int:
        return Problem("GE112", f"must be an integer, not {shown(version)}", None, "/format_version")
    if version > FORMAT_VERSION:
        message = f"format version {version} is newer than this version of graphengine, which reads {FORMAT_VERSION}"
        return Problem("GE104", message, "upgrade graphengine", "/format_version")
    return None


def _other_kind(raw: Any, expected: str) -> Problem:
    from graphengine.format.positions import has_part

    has_format = has_part(raw, "format")
    has = f"its format is {shown(raw['format'])}" if has_format else f"it is {_nature(raw)}"
    hint = f'the file must be an object with "format": "{expected}", "format_version": {FORMAT_VERSION}'
    return Problem("GE104", f"not a {expected} file: {has}", hint, "/format" if has_format else "")


def _nature(raw: Any) -> str:
    """What a JSON value is that does not say it."""
    if isinstance(raw, dict):
        return f"an object without the key 'format', its keys are {', '.join(map(repr, raw))}"[:120] if raw else "empty"
    return "an array" if isinstance(raw, list) else shown(raw)
