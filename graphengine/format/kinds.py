"""Open unions: parts of a file whose key `type` names a class, one that is shipped or one that a plugin registers.

A class has both the form of the part, as pydantic fields, and its behavior. What a file names is looked up here and
nowhere else.
"""

from __future__ import annotations

import copyreg
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, core_schema

from graphengine import hooks
from graphengine.errors import RegistrationError
from graphengine.format.fields import Document
from graphengine.mappings import present
from graphengine.ops.registry import same_definition

Class = TypeVar("Class", bound=type[BaseModel])


class Kind(Document):
    """Base of the classes of an open union: each declares `type: Literal["its name"]`."""


_TABLES: dict[str, Kinds] = {}
"""The open unions, by what their classes are."""


class Kinds(Mapping[str, type[Kind]]):
    """The classes of an open union by name; the module that registers the shipped ones may lie in a higher room."""

    what: str
    method: str

    changes: ClassVar[int] = 0
    """How often a class was entered or taken out, in all unions: what was made of their members is old then."""

    def __init__(self, what: str, method: str) -> None:
        self.what, self.method = what, method
        self._classes: dict[str, type[Kind]] = {}
        _TABLES[what] = self

    __eq__, __hash__ = object.__eq__, object.__hash__  # a table is itself, whatever is in it

    def __getitem__(self, name: str) -> type[Kind]:
        self._load()
        return self._classes[name]

    def __contains__(self, name: object) -> bool:
        """Whether there is such a class; to find out, the module of the shipped ones is not imported."""
        if name in self._classes:
            return True
        module, shipped = hooks.shipped_kinds[self.what]
        if name not in shipped.split():
            return False
        if module in sys.modules:
            self._load()  # waits for another thread that is importing it
            return name in self._classes
        return True

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(self._classes)

    def __len__(self) -> int:
        self._load()
        return len(self._classes)

    @property
    def members(self) -> tuple[type[Kind], ...]:
        """The classes, each once, in the order in which they were registered."""
        self._load()
        return tuple(dict.fromkeys(self._classes.values()))

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of a field `Annotated[Any, kinds]`: that of the class which the content names.

        It is looked up when a file is read, so a field knows classes that are registered later, and no schema is made
        of those that nobody uses.
        """
        return core_schema.no_info_plain_validator_function(self._validated)

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the JSON Schema of the union of all classes."""
        return handler(_union_of(self.members).core_schema)

    def _validated(self, content: Any) -> Any:
        name = content.get("type") if isinstance(content, dict) else None
        if isinstance(name, str) and name in self:
            with suppress(ValidationError):
                return self[name].model_validate(content)
        return _union_of(self.members).validate_python(content)  # it has the words for all that may be wrong

    def register(self, cls: Class, *, replace: bool = False) -> Class:
        """Enter a class under the names of its field `type`.

        Raises
        ------
        RegistrationError
            GE701 if it is not a class of this kind, GE702 if a name is taken.
        """
        names = self._names_of(cls)
        taken = [] if replace else present(names, self._classes)
        if taken and not same_definition(self._classes[taken[0]], cls):
            message = f"'{taken[0]}' is {self.what} already, by {self._classes[taken[0]].__qualname__}"
            raise RegistrationError(message, code="GE702", hint="pass replace=True to replace it")
        self._classes.update(dict.fromkeys(names, cls))  # type: ignore[arg-type]
        copyreg.pickle(cls, self._reduced)  # type: ignore[arg-type] # its stubs know functions of one argument only
        Kinds.changes += 1
        return cls

    def _reduced(self, part: Kind) -> tuple[Any, ...]:
        """What a pickle has: the part as a file has it, and no class."""
        return _restored, (self.what, part.model_dump(mode="json"))

    def remove(self, name: str) -> None:
        """Take a class out again: for tests and interactive work."""
        del self._classes[name]
        Kinds.changes += 1

    def _names_of(self, cls: type[Any]) -> tuple[str, ...]:
        field = cls.model_fields.get("type") if isinstance(cls, type) and issubclass(cls, Kind) else None
        if field is None or get_origin(field.annotation) is not Literal or not hasattr(cls, self.method):
            message = f'{cls!r} is not {self.what}: a subclass with type: Literal["name"] and a method {self.method}'
            raise RegistrationError(message)
        return get_args(field.annotation)

    def _load(self) -> None:
        import_module(hooks.shipped_kinds[self.what][0])


@lru_cache(maxsize=8)
def _union_of(members: tuple[type[Kind], ...]) -> TypeAdapter[Any]:
    union: Any = Union[members]  # noqa: UP007 - made while running
    return TypeAdapter(Annotated[union, Field(discriminator="type")])


def _restored(what: str, content: Mapping[str, Any]) -> Kind:
    """The part of a pickle.

    Raises
    ------
    RegistrationError
        If its class is not registered in this process.
    """
    if content["type"] not in _TABLES[what]:
        hint = "import the module that registers it first"
        raise RegistrationError(f"'{content['type']}' is not {what} of this process", code="GE210", hint=hint)
    return _TABLES[what][content["type"]].model_validate(content)


READERS = Kinds("a reader of data", "read")
INITIALIZERS = Kinds("an initializer", "values")
SCHEDULES = Kinds("a learning-rate schedule", "rate")
SOLVERS = Kinds("a solver", "minimize")

AnyReader: TypeAlias = Annotated[Any, READERS]
AnyInitializer: TypeAlias = Annotated[Any, INITIALIZERS]
AnySchedule: TypeAlias = Annotated[Any, SCHEDULES]


def register_reader(cls: Class, *, replace: bool = False) -> Class:
    """Register a reader of data, a subclass of `Reader`; used as a decorator.

    Raises
    ------
    RegistrationError
        GE701 if it is not a reader, GE702 if its name is taken and `replace` is false.
    """
    return READERS.register(cls, replace=replace)


def register_initializer(cls: Class, *, replace: bool = False) -> Class:
    """Register a subclass of `Initializer`; used as a decorator.

    Raises
    ------
    RegistrationError
        GE701 if it is not an initializer, GE702 if its name is taken and `replace` is false.
    """
    return INITIALIZERS.register(cls, replace=replace)


def register_schedule(cls: Class, *, replace: bool = False) -> Class:
    """Register a learning-rate schedule, a subclass of `Schedule`; used as a decorator.

    Raises
    ------
    RegistrationError
        GE701 if it is not a schedule, GE702 if its name is taken and `replace` is false.
    """
    return SCHEDULES.register(cls, replace=replace)


def register_solver(cls: Class, *, replace: bool = False) -> Class:
    """Register a subclass of `Solver`; used as a decorator.

    Raises
    ------
    RegistrationError
        GE701 if it is not a solver, GE702 if its name is taken and `replace` is false.
    """
    return SOLVERS.register(cls, replace=replace)
