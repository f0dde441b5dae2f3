"""What the annotations of documents say: which keys there are, and what may be at each."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from types import UnionType
from typing import Annotated, Any, NotRequired, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typing_extensions import is_typeddict

from graphengine.format.kinds import Kinds


def members_of(annotation: Any) -> list[Any]:
    """What a value may be: the members of a union, without what else annotations say."""
    members: list[Any] = []
    pending = [annotation]
    while pending:
        current = pending.pop()
        if get_origin(current) in (Annotated, NotRequired, Union, UnionType):
            arguments = get_args(current)
            kinds = _kinds_in(arguments)
            if kinds is not None:
                members.extend(kinds.members)
            else:
                pending.extend(arguments[:1] if get_origin(current) is Annotated else arguments)
        else:
            members.append(current)
    return members


def fields_of(document: Any) -> dict[Any, Any]:
    """The keys of a document class or typed dictionary, as the file writes them, with their annotations."""
    return _fields_of(document) if is_document(document) else {}


def is_document(annotation: Any) -> bool:
    """Whether it is a class of objects with known keys."""
    return isinstance(annotation, type) and (issubclass(annotation, BaseModel) or is_typeddict(annotation))


@cache
def _fields_of(document: type) -> dict[Any, Any]:
    if issubclass(document, BaseModel):
        return {field.alias or name: _annotation(field) for name, field in document.model_fields.items()}
    return get_type_hints(document, include_extras=True)


def _annotation(field: FieldInfo) -> Any:
    """What a field is declared to be; pydantic takes an open union out of its annotation."""
    kinds = _kinds_in(field.metadata)
    return field.annotation if kinds is None else Annotated[field.annotation, kinds]


def _kinds_in(metadata: Iterable[Any]) -> Kinds | None:
    """The open union among what an annotation says."""
    return next((each for each in metadata if isinstance(each, Kinds)), None)
