"""The table of ops: the only place where an op's name in a file gets its meaning.

A family of shipped ops is imported when one of its ops is looked up, all of them when the whole table is.

`register` enters a node class under a name; a name with a dot ("acme.cube") belongs to the domain before the dot,
one without to the domain "core".
"""

from __future__ import annotations

import copyreg
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from graphengine import hooks
from graphengine.errors import RegistrationError
from graphengine.ops.body import bodies_of
from graphengine.ops.contract import inspect_class, is_shipped
from graphengine.ops.node import Node, Signature
from graphengine.ops.traits import OpTrait, traits_of

if TYPE_CHECKING:
    from graphengine.ops.docstring import Docstring

CORE = "core"
OPSET_VERSION = 1

NodeClass = TypeVar("NodeClass", bound=type[Node])


def domain_of(name: str) -> str:
    """The part of an op's name before the last dot; "core" for a name without one."""
    return name.rpartition(".")[0] or CORE


@dataclass(frozen=True, slots=True)
class Op:
    """A registered node class with what is known of it."""

    name: str
    cls: type[Node]
    signature: Signature
    numpy: Callable[..., Any] | None = None
    """The NumPy function that does the same, so that code which calls it can be recorded as this op."""

    @property
    def domain(self) -> str:
        """The domain of the name."""
        return domain_of(self.name)

    @property
    def docstring(self) -> Docstring:
        """What the docstring of the class says."""
        from graphengine.ops.docstring import read_docstring

        return read_docstring(self.cls.__doc__ or "", self.signature.outputs)

    def arguments(
        self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Sequence[Any], dict[str, Any]]:
        """Split the arguments of its NumPy function, no ufunc, into inputs and attributes.

        Attributes have the names of NumPy's parameters, so the op may lack some.
        """
        count = 1 if self.signature.variadic else len(self.signature.inputs)
        names = self._parameters(function) if len(args) > count or kwargs else []
        given = {**dict(zip(names[count:], args[count:], strict=False)), **kwargs}
        inputs = [*args[:count], *(given.pop(name) for name in names[len(args) : count] if name in given)]
        attributes = {name: value for name, value in given.items() if value is not None}
        # numpy.stack((x, y), axis) has all arrays in one argument
        return inputs[0] if self.signature.variadic else inputs, attributes

    def _parameters(self, function: Any) -> list[str]:
        """The names of the parameters of a NumPy function."""
        try:
            return list(inspect.signature(function).parameters)
        except ValueError:  # older versions of NumPy do not say it of `concatenate` and `where`
            return [*self.signature.inputs, *self.cls.model_fields]


class Registry(Mapping[str, Op]):
    """Ops by name. Reading is free for all threads; entering an op happens while a program starts."""

    def __init__(self) -> None:
        self._ops: dict[str, Op] = {}
        self._by_function: dict[Any, Op] = {}
        self._by_class: dict[type[Node], Op] = {}
        self._first: dict[str, Op] = {}
        self._whole: set[str] = set()
        """Names whose modules are imported to the end."""

    def __getitem__(self, name: str) -> Op:
        if name not in self._whole:
            self._load(name)
        return self._ops[name]

    def _load(self, name: str) -> None:
        """Import the module of a shipped op to its end: another thread may have entered the op and not the rest yet."""
        if name in hooks.shipped_ops or (name not in self._ops and domain_of(name) == CORE):
            _import_family(name)
        if name in self._ops:
            self._whole.add(name)

    def __iter__(self) -> Iterator[str]:
        _import_families()
        return iter(sorted(self._ops))

    def __len__(self) -> int:
        _import_families()
        return len(self._ops)

    def of_function(self, function: Any) -> Op | None:
        """The op that does what a NumPy function does."""
        if function not in self._by_function:
            _import_family(f"numpy.{getattr(function, '__name__', '')}")
        return self._by_function.get(function)

    def of_class(self, cls: type[Node]) -> Op | None:
        """The op that a node class was registered as last."""
        return self._by_class.get(cls)

    def original(self, name: str) -> Op:
        """The op that had a name first: of a name of this package, the shipped one, even where it was replaced."""
        if name not in self._whole:
            self._load(name)
        return self._first[name]

    def enter(
        self,
        name: str,
        cls: type[Node],
        *,
        replace: bool = False,
        numpy: Callable[..., Any] | None = None,
        traits: Iterable[str] = (),
    ) -> None:
        """Check a node class and enter it; see `register`."""
        if not re.fullmatch(r"[a-z_]\w*(\.[a-z_]\w*)*", name):
            raise RegistrationError(
                f"'{name}' is not a name for an op; use lower_snake_case, a domain before a dot: 'acme.cube'"
            )
        signature, declared = inspect_class(cls), traits_of(name, traits)
        if not is_shipped(cls) and domain_of(name) == CORE:
            _import_family(name)  # a class of this name is there before another one replaces it
        if name in self._ops and not replace and not same_definition(taken := self._ops[name].cls, cls):
            raise RegistrationError(
                f"op '{name}' is registered already, by {taken.__module__}.{taken.__qualname__}",
                code="GE702",
                hint="pass replace=True to replace it",
            )
        cls.signature, cls.is_core = signature, is_shipped(cls)
        cls.traits = declared or vars(cls).get("traits", frozenset())  # which it has from another name
        cls.traits |= frozenset(_implied(cls, numpy))
        if name in self._ops:
            self.remove(name)
        op = Op(name, cls, cls.signature, numpy)
        self._ops[name] = self._by_class[cls] = op
        self._first.setdefault(name, op)
        copyreg.pickle(cls, _reduced)
        if numpy is not None:
            self._by_function[numpy] = op

    def remove(self, name: str) -> None:
        """Take an op out again: for tests and interactive work."""
        del self._ops[self[name].name]
        self._by_class = {op.cls: op for op in self._ops.values()}  # a class may be there under another name
        self._by_function = {op.numpy: op for op in self._ops.values() if op.numpy is not None}


OPS = Registry()


def _implied(cls: type[Node], numpy: Callable[..., Any] | None) -> Iterator[OpTrait]:
    """Yield the traits that a class need not declare."""
    if isinstance(numpy, np.ufunc):  # `forward` is one call, so there is nothing to replace the op by
        yield OpTrait.PRIMITIVE
    mode = cls.model_fields.get("training")
    if mode and mode.annotation is bool:
        yield OpTrait.HAS_MODE


def _import_family(key: str) -> None:
    """Import the module that registers a shipped op, by a key of `hooks.shipped_ops`; all modules for another key."""
    if key in hooks.shipped_ops:
        import_module(hooks.shipped_ops[key])
    else:
        _import_families()


def _import_families() -> None:
    for module in dict.fromkeys(hooks.shipped_ops.values()):
        import_module(module)


def same_definition(one: type, other: type) -> bool:
    """Whether a class is defined again, as a notebook does when a cell is run twice."""
    return (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)


def _reduced(node: Node) -> str | tuple[Any, ...]:
    """What a pickle has of a node: the name of its op and its attributes, as a file has them, and no class."""
    op = OPS.of_class(type(node))
    if op is None:  # replaced by another one since
        return node.__reduce_ex__(2)
    return _restored, (op.name, {**node.model_dump(mode="json"), **bodies_of(node)})


def _restored(name: str, attributes: Mapping[str, Any]) -> Node:
    """The node of a pickle.

    Raises
    ------
    RegistrationError
        If the op is not registered in this process.
    """
    if name not in OPS:
        hint = "import the module that registers it first"
        raise RegistrationError(f"op '{name}' is not registered in this process", code="GE211", hint=hint)
    return OPS[name].cls.model_validate(attributes)


def instance_of(cls: type[Node], attributes: Mapping[str, Any]) -> Node:
    """Return the node of a class with given attributes; of a class without any there is nothing to validate."""
    return cls.model_validate(attributes) if attributes or cls.model_fields else cls.model_construct()


class Instances:
    """Nodes by op and attributes; equal ones are one object, so that its identity is enough.

    `find` gives the op of a name: the one that is registered, or the one that was.
    """

    def __init__(self, find: Callable[[str], Op]) -> None:
        self._find = find
        self._made: dict[Any, Node] = {}
        self._shared: dict[Any, Node] = {}
        self._firsts: set[tuple[str, int]] = set()

    def __call__(self, op: str, attributes: Mapping[str, Any]) -> Node:
        """The node of an op with given attributes."""
        key = (op, *sorted([(name, repr(value)) for name, value in attributes.items()])) if attributes else (op,)
        if key not in self._made:
            self._made[key] = self.shared(op, instance_of(self._find(op).cls, attributes))
        return self._made[key]

    def shared(self, op: str, node: Node) -> Node:
        """The first of all nodes that are equal to this one."""
        if (op, id(node)) not in self._firsts:  # writing the attributes takes longer than all else here
            node = self._shared.setdefault((op, repr(node)), node)
            self._firsts.add((op, id(node)))
        return node


def register(
    name: str, *, replace: bool = False, numpy: Callable[..., Any] | None = None, traits: Iterable[str] = ()
) -> Callable[[NodeClass], NodeClass]:
    """Register a node class under a name; used as a decorator, `@register("acme.cube")`.

    `numpy` is the equivalent NumPy function: a `backward` that calls it is recorded as this op. Replacing an op also
    removes its NumPy function. `traits` are names of facts about the op, see `OpTrait`: with them passes treat it like
    a shipped op.

    Raises
    ------
    RegistrationError
        If there is no such trait, if the class breaks the node contract, or if the name is taken by another class and
        `replace` is false. A class that is defined again, as when a cell of a notebook runs twice, replaces the
        previous one.
    """

    def decorate(cls: NodeClass) -> NodeClass:
        OPS.enter(name, cls, replace=replace, numpy=numpy, traits=traits)
        return cls

    return decorate
