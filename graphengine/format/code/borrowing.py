"""Definitions copied into a text that runs without this package: functions, classes, constants, what they need.

An op is written once, in its class. So a text that computes without this package has the source of what it calls,
without annotations and without what only a recording needs. Names that two modules have are made different.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple, TypeVar

from graphengine.format.code.folding import Unborrowed, copied, literal, plain
from graphengine.ops.node import Node

PACKAGE = "graphengine"
BASE = '''class Op:
    """Attributes by name, and `forward`."""

    def __init__(self, **attributes):
        vars(self).update(attributes)

    def __call__(self, *operands):
        return self.forward(*operands)

    def model_copy(self, update):
        return type(self)(**vars(self) | update)'''
"""What the classes of a text have in common."""
STAND_INS = {"PYTHON_NUMBERS": "(int, float)"}
"""Constants of which a text needs only a part."""


Part = TypeVar("Part", bound=ast.AST)


class Module(NamedTuple):
    """What the text of a module defines and imports, by name."""

    defined: Mapping[str, ast.stmt]
    imported: Mapping[str, tuple[str, str | None]]
    """The module, and the name in it; None for a module as a whole."""


@cache
def module_of(name: str) -> Module:
    """Return the definitions and imports of a module.

    Raises
    ------
    Unborrowed
        If its source is not there.
    """
    try:
        tree = ast.parse(inspect.getsource(import_module(name)))
    except (ImportError, OSError, TypeError) as error:
        raise Unborrowed(f"the source of its module {name!r} cannot be read") from error
    defined: dict[str, ast.stmt] = {}
    imported: dict[str, tuple[str, str | None]] = {}
    for statement in tree.body:
        defined.update(dict.fromkeys(_names_of(statement), statement))
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            imported.update(imports_of(statement))
    return Module(defined, imported)


def _names_of(statement: ast.stmt) -> list[str]:
    """Return the names that a statement of a module defines."""
    match statement:
        case ast.FunctionDef() | ast.ClassDef():
            return [statement.name]
        case ast.Assign():
            return [each.id for each in found_in(ast.Name, *statement.targets)]
        case ast.AnnAssign(target=ast.Name(id=target)):
            return [target]
    return []


def found_in(kind: type[Part], *trees: ast.AST) -> list[Part]:
    """Return the parts of trees that are of a kind."""
    return [each for tree in trees for each in ast.walk(tree) if isinstance(each, kind)]


def imports_of(statement: ast.Import | ast.ImportFrom) -> dict[str, tuple[str, str | None]]:
    """Return what a statement imports, by the name that it gets here."""
    if isinstance(statement, ast.Import):
        return {_name_here(each): (each.name, None) for each in statement.names}
    module = statement.module or ""
    return {_name_here(each): (module, each.name) for each in statement.names}


def _name_here(imported: ast.alias) -> str:
    """Return the name that an import defines; that of a module in a package is the package's."""
    return imported.asname or imported.name.partition(".")[0]


class Borrowed:
    """The definitions that a text needs, each once and after those it needs itself.

    `taken` are names of the text; `replaced` are definitions that it has other expressions for.
    """

    def __init__(self, taken: Iterable[str], replaced: Mapping[str, str] | None = None) -> None:
        self.imports: set[str] = set()
        self.replaced = replaced or {}
        self.texts: list[str] = []
        self._taken = {*taken, *dir(builtins)}
        self._names: dict[tuple[str, str], str] = {}

    @property
    def names(self) -> set[str]:
        """All names that mean something at the top of the text."""
        return self._taken

    def name_of(self, module: str, name: str) -> str:
        """Return the name that a definition of a module has in the text, which gets it if it lacks it.

        Raises
        ------
        Unborrowed
            If its source is not there, or is that of a node with its own constructor.
        """
        if name in self.replaced:
            return self.replaced[name]
        found = module_of(module)
        if name in found.imported and name not in found.defined:
            return self._imported(*found.imported[name], as_name=name)
        if name not in found.defined:
            raise Unborrowed(f"{module}.{name} is defined where it cannot be found")
        key = (module, name)
        if key not in self._names:
            self._names[key] = self._free(name.lstrip("_"))
            self._define(module, name, found.defined[name])
        return self._names[key]

    def define(self, name: str, text: str | None) -> str:
        """Return the name that a definition of the text itself gets, under which its text is added if it has one."""
        chosen = self._free(name)
        if text is not None:
            self.texts.append(text)
        return chosen

    def of_class(self, cls: type[Node]) -> str:
        """Return the name of a node class."""
        return self.name_of(cls.__module__, cls.__qualname__)

    def _free(self, name: str) -> str:
        chosen, count = name, 1
        while chosen in self._taken:
            chosen, count = f"{name}_{count}", count + 1
        self._taken.add(chosen)
        return chosen

    def _imported(self, module: str, name: str | None, as_name: str) -> str:
        package = module.partition(".")[0]
        if package == PACKAGE:
            return self.name_of(module, str(name))
        if package not in {*sys.stdlib_module_names, "numpy"}:
            raise Unborrowed(f"it needs the package {package}")
        line, real = (f"import {module}", module) if name is None else (f"from {module} import {name}", name)
        self.imports.add(line if real == as_name else f"{line} as {as_name}")
        self._taken.add(as_name)
        return as_name

    def module_named(self, module: str, name: str) -> str | None:
        """Return the module of this package that a name of a module means, if it is one."""
        origin = module_of(module).imported.get(name)
        if origin is None or origin[0].partition(".")[0] != PACKAGE or origin[1] is None:
            return None
        full = f"{origin[0]}.{origin[1]}"
        return full if full.removeprefix(f"{PACKAGE}.") and _is_module(full) else None

    def _define(self, module: str, name: str, statement: ast.stmt) -> None:
        value = vars(import_module(module)).get(name)
        chosen = self._names[module, name]
        if isinstance(value, type) and issubclass(value, Node):
            self._define_class(value, chosen)
        elif name in STAND_INS:
            self.texts.append(f"{chosen} = {STAND_INS[name]}")
        elif isinstance(statement, ast.FunctionDef):
            made = plain(self.adapted(module, copied(statement)))
            made.name = chosen
            self.texts.append(ast.unparse(made))
        else:
            self.texts.append(self._constant(module, name, statement, value))

    def _constant(self, module: str, name: str, statement: ast.stmt, value: Any) -> str:
        """The line that gives a constant its value; one of several that a statement unpacks is written as a literal."""
        chosen = self._names[module, name]
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Tuple):
            return f"{chosen} = {ast.unparse(literal(value))}"
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
            made = ast.Assign([ast.Name(chosen, ast.Store())], copied(statement).value, lineno=0)
            return ast.unparse(self.adapted(module, made))
        raise Unborrowed(f"it needs the class {name}, which is not a node class")

    def _define_class(self, cls: type[Node], name: str) -> None:
        """A node class with the defaults of its attributes and the methods that its `forward` needs."""
        if BASE not in self.texts:
            self._taken.add("Op")
            self.texts.append(BASE)
        methods = _methods(cls)
        body: list[ast.stmt] = [ast.Expr(ast.Constant((cls.__doc__ or "").strip().partition("\n")[0]))]
        body += _defaults(cls)
        body += [self.adapted(module, copied(each)) for module, each in _constants(cls, methods)]
        body += [plain(self.adapted(module, copied(method))) for module, method in methods]
        made = ast.ClassDef(name, [ast.Name("Op", ast.Load())], [], body, [])
        self.texts.append(ast.unparse(made))

    def adapted(self, module: str, statement: Any) -> Any:
        """Return a statement of a module, which this changes, with the global names of the text."""
        return _Adapting(self, module, statement).visit(statement)


def _is_module(name: str) -> bool:
    try:
        import_module(name)
    except ImportError:
        return False
    return True


def _defaults(cls: type[Node]) -> list[ast.stmt]:
    """The attributes of a class that a call may leave out."""
    optional = {name: field.default for name, field in cls.model_fields.items() if not field.is_required()}
    return [ast.Assign([ast.Name(name, ast.Store())], literal(default), lineno=0) for name, default in optional.items()]


def _methods(cls: type[Node]) -> list[tuple[str, ast.FunctionDef]]:
    """The `forward` of a class and the methods and properties that it calls in turn, with their modules."""
    found: dict[str, tuple[str, ast.FunctionDef]] = {}
    pending = ["forward"]
    while pending:
        name = pending.pop()
        method = None if name in found else _method(cls, name)
        if method is not None:
            found[name] = method
            pending += [each.attr for each in found_in(ast.Attribute, method[1])]
    return list(found.values())


def _method(cls: type[Node], name: str) -> tuple[str, ast.FunctionDef] | None:
    """The definition of a method with its module, None for one that all nodes have, and for what is none."""
    place = next((base for base in cls.__mro__ if name in vars(base)), Node)
    method = None if place in Node.__mro__ else method_of(place, name)
    return None if method is None else (place.__module__, _without_super(method))


def _without_super(method: ast.FunctionDef) -> ast.FunctionDef:
    if "super" in [each.id for each in found_in(ast.Name, method)]:
        raise Unborrowed("it calls what a class above it defines")
    return method


def method_of(cls: type[Node], name: str) -> ast.FunctionDef | None:
    """Return the definition of a method in the body of its class, None if it is not there.

    Raises
    ------
    Unborrowed
        If the source of the class is not there.
    """
    found = [each for each in _body(cls) if isinstance(each, ast.FunctionDef) and each.name == name]
    return found[-1] if found else None


def _constants(cls: type[Node], methods: Iterable[tuple[str, ast.FunctionDef]]) -> list[tuple[str, ast.stmt]]:
    """What the body of a class assigns to names that methods use, with the modules."""
    used = {each.attr for each in found_in(ast.Attribute, *[method for _, method in methods])}
    names = sorted(used - cls.model_fields.keys())
    return [assignment for name in names for assignment in _assignments(cls, name)]


def _assignments(cls: type[Node], name: str) -> list[tuple[str, ast.stmt]]:
    """What a class assigns to a name of its body."""
    for base in _own_classes(cls):
        for statement in _body(base):
            if name in _assigned_by(statement):
                return [(base.__module__, statement)]
    return []


def _own_classes(cls: type[Node]) -> list[type[Node]]:
    """A node class and those above it that not all node classes have."""
    return [each for each in cls.__mro__ if issubclass(each, Node) and each is not Node]


def _assigned_by(statement: ast.stmt) -> list[str]:
    """The names that a statement of a class assigns to, one at a time."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [each.id for each in targets if isinstance(each, ast.Name)]


def _body(cls: type[Node]) -> list[ast.stmt]:
    owner = module_of(cls.__module__).defined.get(cls.__qualname__)
    if not isinstance(owner, ast.ClassDef):
        raise Unborrowed("its class is not defined at the top of a module")
    return owner.body


class _Adapting(ast.NodeTransformer):
    """Gives global names their names in the text, and takes out what only a recording or a type checker needs."""

    def __init__(self, borrowed: Borrowed, module: str, statement: ast.AST) -> None:
        self._borrowed, self._module = borrowed, module
        self._local = _locals_of(statement)
        self._inner: dict[str, tuple[str, str | None]] = {}

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(node.arg)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        if node.value is None:
            return None
        return ast.Assign([self.visit(node.target)], self.visit(node.value), lineno=0)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        self._inner |= imports_of(node)
        return None

    def visit_Call(self, node: ast.Call) -> Any:
        if isinstance(node.func, ast.Name) and node.func.id == "isinstance" and _names_recorded(node.args[1]):
            return ast.Constant(False)
        return self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        if isinstance(node.value, ast.Name) and node.value.id not in self._local:
            module = self._borrowed.module_named(self._module, node.value.id)
            if module is not None:
                return ast.Name(self._borrowed.name_of(module, node.attr), ast.Load())
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.Name:
        if not isinstance(node.ctx, ast.Load) or node.id in self._local:
            return node
        if node.id in self._inner:
            module, name = self._inner[node.id]
            return ast.Name(self._borrowed.name_of(module, str(name)), ast.Load())
        known = module_of(self._module)
        if node.id in known.defined or node.id in known.imported:
            return ast.Name(self._borrowed.name_of(self._module, node.id), ast.Load())
        return node


def _locals_of(statement: ast.AST) -> frozenset[str]:
    """The names of arguments and variables of a function; what is assigned at the top of a module is global."""
    if isinstance(statement, (ast.Assign, ast.AnnAssign)):
        return frozenset()
    stored = frozenset(each.id for each in found_in(ast.Name, statement) if _is_stored(each))
    return stored.union(each.arg for each in found_in(ast.arg, statement))


def _is_stored(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


def _names_recorded(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "Recorded"
